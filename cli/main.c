/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "base/io/os.h"
#include "cli/command.h"

static const gv_command_t commands[] = {
    {"pub", "publish messages", gv_command_pub},
    {"sub", "subscribe and print what comes", gv_command_sub},
    {"bench", "put load on a broker and measure it", gv_command_bench},
    {"status", "show how a node is doing", gv_command_status},
    {"cluster", "show how the nodes see each other; join, leave, forget", gv_command_cluster},
    {"clients", "show the sessions of a node, online and offline", gv_command_clients},
    {"subscriptions", "show who has subscribed to what on a node", gv_command_subscriptions},
    {"routes", "show which nodes messages go to, filter by filter", gv_command_routes},
    {"retained", "show the retained messages of a node", gv_command_retained},
    {"kick", "end the connection and the session of a client", gv_command_kick},
    {"drain", "send the clients of a node elsewhere", gv_command_drain},
    {"undrain", "let a node take clients again", gv_command_undrain},
    {"passwd", "make the verifier of a user's password", gv_command_passwd},
    {"store", "check, measure or compact the data directory of a stopped node", gv_command_store},
    {"check-config", "check a configuration file of grapevined", gv_command_check_config},
};

#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

static void print_help(FILE *out)
{
    (void)fputs("grapevine: the command for the Grapevine MQTT broker\n"
                "\n"
                "usage: grapevine COMMAND [OPTION]...     (grapevine COMMAND --help)\n"
                "\n",
                out);
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        (void)fprintf(out, "  %-14s %s\n", commands[i].name, commands[i].about);
    }
}

int main(int argc, char **argv)
{
    gv_os_ignore_sigpipe();
    const char *name = argc > 1 ? argv[1] : "";
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(commands[i].name, name) == 0) {
            return commands[i].run(argc - 1, argv + 1);
        }
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        print_help(stdout);
        return GV_EXIT_OK;
    }
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        (void)printf("grapevine %s\n", GV_VERSION);
        return GV_EXIT_OK;
    }
    if (name[0] == '\0') {
        print_help(stderr);
    } else {
        (void)fprintf(stderr, "grapevine: no command '%s'; grapevine --help lists them\n", name);
    }
    return GV_EXIT_USAGE;
}
