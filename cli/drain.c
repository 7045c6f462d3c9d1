/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"

#include <stdbool.h>
#include <string.h>

#include <poll.h>

#include <jansson.h>

#include "base/text.h"
#include "cli/admin_command.h"

static void print_drain(const json_t *drain, gv_text_t *out)
{
    const char *state = gv_json_text(drain, "state");
    if (strcmp(state, "no") == 0) {
        gv_text_add(out, "clients are taken again\n");
        return;
    }
    gv_text_add(out, "%s, %lld clients left", state, gv_json_number(drain, "clients_left"));
    if (json_is_string(gv_json_at(drain, "server_reference"))) {
        gv_text_add(out, ", sent to %s", gv_json_text(drain, "server_reference"));
    }
    gv_text_add(out, "\n");
}

/* ---- waiting ------------------------------------------------------------------------------ */

enum {
    STILL_THERE = 100, /* no exit status of ours */
    LOOK_EVERY_MS = 200
};

static int judge_progress(const json_t *status)
{
    const char *state = gv_json_text(status, "drain.state");
    if (strcmp(state, "drained") == 0) {
        return GV_EXIT_OK;
    }
    return strcmp(state, "draining") == 0 ? STILL_THERE : GV_EXIT_FAILED;
}

/* Until the last client is gone; fails when somebody else ends the drain. */
static int wait_until_drained(int argc, char **argv)
{
    static const gv_admin_command_t command = {
        .name = "drain", .method = "GET", .path = "/api/v1/status", .judge = judge_progress};
    int status;
    while ((status = gv_admin_command(argc, argv, &command)) == STILL_THERE) {
        (void)poll(NULL, 0, LOOK_EVERY_MS);
    }
    return status;
}

/* ---- the commands ------------------------------------------------------------------------- */

typedef struct own_options {
    const char *to;
    const char *rate;
    bool wait;
} own_options_t;

/*
 * Takes our own options out of argv, which keeps those that all such commands have.  Returns the
 * new argc, or -1 when one has no value.
 */
static int take_options(int argc, char **argv, own_options_t *out)
{
    int kept = 0;
    for (int i = 0; i < argc; i++) {
        const char **value = strcmp(argv[i], "--to") == 0     ? &out->to
                             : strcmp(argv[i], "--rate") == 0 ? &out->rate
                                                              : NULL;
        if (strcmp(argv[i], "--wait") == 0) {
            out->wait = true;
        } else if (value == NULL) {
            argv[kept++] = argv[i];
        } else if (++i < argc) {
            *value = argv[i];
        } else {
            return -1;
        }
    }
    return kept;
}

int gv_command_drain(int argc, char **argv)
{
    own_options_t own = {.to = NULL};
    const char *last = argv[argc - 1];
    argc = take_options(argc, argv, &own);
    if (argc < 0) {
        return gv_command_fail("drain", GV_EXIT_USAGE, "%s needs a value", last);
    }
    gv_text_t path = GV_TEXT_EMPTY;
    gv_text_add(&path, "/api/v1/drain");
    if (own.to != NULL) {
        gv_admin_add_parameter(&path, "server_reference", own.to);
    }
    if (own.rate != NULL) {
        gv_admin_add_parameter(&path, "clients_per_second", own.rate);
    }
    const gv_admin_command_t command = {
        .name = "drain",
        .method = "POST",
        .path = gv_text_get(&path),
        .help = "  --to HOST:PORT      where MQTT 5 clients are sent, instead of\n"
                "                      drain.server_reference\n"
                "  --rate N            clients per second, instead of drain.clients_per_second;\n"
                "                      0: all at once\n"
                "  --wait              until the last of them is gone\n"
                "\n"
                "The node is not ready from now on, and refuses new clients, until\n"
                "`grapevine undrain`.  `grapevine status` shows how many are left.\n",
        .print = print_drain,
    };
    int status = gv_admin_command(argc, argv, &command);
    if (status == GV_EXIT_OK && own.wait && !gv_admin_asks_for_help(argc, argv)) {
        status = wait_until_drained(argc, argv);
    }
    gv_text_deinit(&path);
    return status;
}

int gv_command_undrain(int argc, char **argv)
{
    static const gv_admin_command_t command = {
        .name = "undrain", .method = "POST", .path = "/api/v1/undrain", .print = print_drain};
    return gv_admin_command(argc, argv, &command);
}
