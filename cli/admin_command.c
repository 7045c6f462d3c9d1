/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/admin_command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <getopt.h>

#include "base/bytes.h"
#include "base/hostport.h"
#include "cli/command.h"
#include "cli/http_request.h"

#define ADDRESS_DEFAULT "127.0.0.1:18083"
#define PORT_DEFAULT    18083
#define TIMEOUT_MS      10000

typedef struct query_options {
    const char *address;
    const char *token;
    bool json;
    bool help;
} query_options_t;

/* ---- into JSON ---------------------------------------------------------------------------- */

const json_t *gv_json_at(const json_t *object, const char *path)
{
    while (object != NULL) {
        size_t size = strcspn(path, ".");
        char key[64];
        if (size >= sizeof(key)) {
            return NULL;
        }
        memcpy(key, path, size);
        key[size] = '\0';
        object = json_object_get(object, key);
        if (path[size] == '\0') {
            return object;
        }
        path += size + 1;
    }
    return NULL;
}

const char *gv_json_text(const json_t *object, const char *path)
{
    const char *text = json_string_value(gv_json_at(object, path));
    return text != NULL ? text : "-";
}

long long gv_json_number(const json_t *object, const char *path)
{
    return json_integer_value(gv_json_at(object, path));
}

/* [RFC 3986, 2.1 and 2.3] */
static void add_encoded(gv_text_t *path, const char *value)
{
    for (const unsigned char *p = (const unsigned char *)value; *p != '\0'; p++) {
        bool is_plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
                        (*p >= '0' && *p <= '9') || strchr("-._~:", *p) != NULL;
        gv_text_add(path, is_plain ? "%c" : "%%%02X", *p);
    }
}

void gv_admin_add_parameter(gv_text_t *path, const char *name, const char *value)
{
    gv_text_add(path, "%c%s=", strchr(gv_text_get(path), '?') == NULL ? '?' : '&', name);
    add_encoded(path, value);
}

void gv_admin_add_path_value(gv_text_t *path, const char *value)
{
    gv_text_add(path, "/");
    add_encoded(path, value);
}

bool gv_admin_asks_for_help(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            return true;
        }
    }
    return false;
}

/* ---- the command -------------------------------------------------------------------------- */

static void print_help(const gv_admin_command_t *command)
{
    (void)printf("usage: grapevine %s %s[OPTION]...\n"
                 "\n"
                 "  --admin HOST:PORT   the node to ask, default " ADDRESS_DEFAULT "\n"
                 "  --token TOKEN       its admin.token, needed from another machine; default\n"
                 "                      $GRAPEVINE_ADMIN__TOKEN\n"
                 "  --json              the answer as it is, for programs\n"
                 "%s",
                 command->name, command->arguments != NULL ? command->arguments : "",
                 command->help != NULL ? command->help : "");
}

/* Returns an exit status. */
static int parse_options(int argc, char **argv, const char *name, query_options_t *out)
{
    static const struct option options[] = {{"admin", required_argument, NULL, 'a'},
                                            {"token", required_argument, NULL, 't'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    *out = (query_options_t){.address = ADDRESS_DEFAULT, .token = getenv("GRAPEVINE_ADMIN__TOKEN")};
    optind = 0;
    opterr = 0;
    int code;
    while ((code = getopt_long(argc, argv, "+:h", options, NULL)) != -1) {
        switch (code) {
        case 'a':
            out->address = optarg;
            break;
        case 't':
            out->token = optarg;
            break;
        case 'j':
            out->json = true;
            break;
        case 'h':
            out->help = true;
            break;
        default:
            return gv_command_fail(name, GV_EXIT_USAGE, "%s %s", argv[optind - 1],
                                   code == ':' ? "needs a value" : "is not an option");
        }
    }
    if (optind < argc) {
        return gv_command_fail(name, GV_EXIT_USAGE, "unexpected argument '%s'", argv[optind]);
    }
    return GV_EXIT_OK;
}

/* The message of a JSON error, or the body's beginning. */
static int fail_with_answer(const char *name, const char *address, const gv_http_answer_t *answer)
{
    json_t *body = json_loads(gv_text_get(&answer->body), 0, NULL);
    const char *message = json_string_value(gv_json_at(body, "message"));
    char printable[200];
    gv_bytes_t start = gv_bytes_text(gv_text_get(&answer->body));
    int status = gv_command_fail(
        name, GV_EXIT_FAILED, "%s answers %u: %s", address, answer->status,
        message != NULL ? message : gv_bytes_printable(start, printable, sizeof(printable)));
    json_decref(body);
    return status;
}

static void print(const gv_admin_command_t *command, const query_options_t *options,
                  const gv_http_answer_t *answer, const json_t *body)
{
    gv_text_t out = GV_TEXT_EMPTY;
    if (options->json) {
        gv_text_add(&out, "%s", gv_text_get(&answer->body));
    } else {
        command->print(body, &out);
    }
    (void)fputs(gv_text_get(&out), stdout);
    gv_text_deinit(&out);
}

static int show(const gv_admin_command_t *command, const query_options_t *options,
                const gv_http_answer_t *answer)
{
    json_error_t error;
    json_t *body = json_loads(gv_text_get(&answer->body), 0, &error);
    if (body == NULL) {
        return gv_command_fail(command->name, GV_EXIT_FAILED,
                               "%s answers something that is not JSON: %s", options->address,
                               error.text);
    }
    if (command->print != NULL) {
        print(command, options, answer, body);
    }
    int status = command->judge != NULL ? command->judge(body) : GV_EXIT_OK;
    json_decref(body);
    return status;
}

int gv_admin_command(int argc, char **argv, const gv_admin_command_t *command)
{
    const char *name = command->name;
    query_options_t options;
    int status = parse_options(argc, argv, name, &options);
    if (status != GV_EXIT_OK) {
        return status;
    }
    if (options.help) {
        print_help(command);
        return GV_EXIT_OK;
    }
    gv_hostport_t hostport;
    if (gv_hostport_parse(gv_bytes_text(options.address), PORT_DEFAULT, &hostport) != GV_OK) {
        return gv_command_fail(name, GV_EXIT_USAGE, "--admin '%s': expected HOST:PORT",
                               options.address);
    }
    char address[GV_HOSTPORT_TEXT_SIZE];
    (void)gv_hostport_print(&hostport, address);
    options.address = address;
    gv_http_answer_t answer;
    if (gv_http_request(command->method, address, command->path, options.token, TIMEOUT_MS,
                        &answer) != GV_OK) {
        status = gv_command_fail(name, GV_EXIT_FAILED, "%s", answer.problem);
    } else if (answer.status != 200) {
        status = fail_with_answer(name, address, &answer);
    } else {
        status = show(command, &options, &answer);
    }
    gv_http_answer_deinit(&answer);
    return status;
}
