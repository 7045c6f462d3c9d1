/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"

#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/text.h"
#include "cli/admin_command.h"
#include "cli/list_options.h"
#include "cli/table.h"

/* ---- clients ------------------------------------------------------------------------------ */

static void add_cells(gv_table_t *table, const char *const *texts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        gv_table_cell(table, "%s", texts[i]);
    }
}

static void add_number(gv_table_t *table, const json_t *object, const char *key)
{
    const json_t *value = gv_json_at(object, key);
    if (json_is_integer(value)) {
        gv_table_cell(table, "%lld", (long long)json_integer_value(value));
    } else {
        gv_table_cell(table, "-");
    }
}

static void add_expiry(gv_table_t *table, const json_t *client)
{
    long long seconds = gv_json_number(client, "expiry_interval");
    if (seconds == 0xffffffffLL) {
        gv_table_cell(table, "never");
    } else {
        gv_table_cell(table, "%llds", seconds);
    }
}

static void add_address(gv_table_t *table, const json_t *client)
{
    const char *host = gv_json_text(client, "ip_address");
    if (json_is_integer(gv_json_at(client, "port"))) {
        gv_table_cell(table, strchr(host, ':') != NULL ? "[%s]:%lld" : "%s:%lld", host,
                      gv_json_number(client, "port"));
    } else {
        gv_table_cell(table, "%s", host);
    }
}

static const char *protocol(const json_t *client)
{
    long long version = gv_json_number(client, "proto_ver");
    return version == 5 ? "5.0" : version == 4 ? "3.1.1" : version == 3 ? "3.1" : "-";
}

static const char *state(const json_t *client)
{
    return json_is_true(gv_json_at(client, "connected")) ? "online" : "offline";
}

static void print_clients(const json_t *answer, gv_text_t *out)
{
    static const char *const heads[] = {"CLIENTID",  "STATE",  "USER", "ADDRESS", "MQTT",
                                        "KEEPALIVE", "EXPIRY", "SUBS", "QUEUED",  "INFLIGHT"};
    gv_table_t table;
    gv_table_init(&table, sizeof(heads) / sizeof(heads[0]));
    add_cells(&table, heads, sizeof(heads) / sizeof(heads[0]));
    size_t i;
    json_t *client;
    json_t *data = (json_t *)(uintptr_t)gv_json_at(answer, "data");
    json_array_foreach(data, i, client)
    {
        gv_table_cell(&table, "%s", gv_json_text(client, "clientid"));
        gv_table_cell(&table, "%s", state(client));
        gv_table_cell(&table, "%s", gv_json_text(client, "username"));
        add_address(&table, client);
        gv_table_cell(&table, "%s", protocol(client));
        add_number(&table, client, "keepalive");
        add_expiry(&table, client);
        add_number(&table, client, "subscriptions_cnt");
        add_number(&table, client, "mqueue_len");
        add_number(&table, client, "inflight_cnt");
    }
    gv_table_print(&table, out);
    gv_table_deinit(&table);
    gv_list_print_more(answer, out);
}

static void add_row(gv_table_t *table, const char *name, const char *value)
{
    gv_table_cell(table, "%s", name);
    gv_table_cell(table, "%s", value);
}

static void print_client(const json_t *client, gv_text_t *out)
{
    gv_table_t table;
    gv_table_init(&table, 2);
    add_row(&table, "client", gv_json_text(client, "clientid"));
    add_row(&table, "node", gv_json_text(client, "node"));
    add_row(&table, "state", state(client));
    if (json_is_true(gv_json_at(client, "connected"))) {
        gv_table_cell(&table, "address");
        add_address(&table, client);
        add_row(&table, "MQTT", protocol(client));
        gv_table_cell(&table, "keep alive");
        add_number(&table, client, "keepalive");
    } else {
        add_row(&table, "since", gv_json_text(client, "disconnected_at"));
    }
    add_row(&table, "user", gv_json_text(client, "username"));
    gv_table_cell(&table, "session expiry");
    add_expiry(&table, client);
    gv_table_cell(&table, "subscriptions");
    add_number(&table, client, "subscriptions_cnt");
    gv_table_cell(&table, "queued");
    add_number(&table, client, "mqueue_len");
    gv_table_cell(&table, "in flight");
    add_number(&table, client, "inflight_cnt");
    gv_table_cell(&table, "awaiting PUBREL");
    add_number(&table, client, "awaiting_rel_cnt");
    add_row(&table, "will", json_is_true(gv_json_at(client, "has_will")) ? "yes" : "no");
    gv_table_print(&table, out);
    gv_table_deinit(&table);
}

int gv_command_clients(int argc, char **argv)
{
    static const gv_list_option_t options[] = {
        {"--like", "like_clientid", NULL},
        {"--user", "username", NULL},
        {"--online", "conn_state", "connected"},
        {"--offline", "conn_state", "disconnected"},
        {"--limit", "limit", NULL},
        {"--page", "page", NULL},
        {"--cursor", "cursor", NULL},
    };
    static const gv_list_command_t list = {
        .command =
            {
                .name = "clients",
                .arguments = "[ID] ",
                .method = "GET",
                .path = "/api/v1/clients",
                .help = "  --like TEXT         those with TEXT in their client id\n"
                        "  --user NAME         those who have logged in with this name\n"
                        "  --online            those who are connected; or --offline\n"
                        "  --limit N           so many at a time, default 100, at most 10000\n"
                        "  --page N            from 1 on\n"
                        "  --cursor TEXT       go on where an answer before has ended\n"
                        "\n"
                        "The sessions of one node. A list that is read while clients come and\n"
                        "go may miss some of these, or have them twice.\n",
                .print = print_clients,
            },
        .options = options,
        .option_count = sizeof(options) / sizeof(options[0]),
        .print_one = print_client,
    };
    return gv_list_command(argc, argv, &list);
}

/* ---- kick --------------------------------------------------------------------------------- */

static void print_kicked(const json_t *answer, gv_text_t *out)
{
    bool was_connected = json_is_true(gv_json_at(answer, "was_connected"));
    bool is_kept = json_is_true(gv_json_at(answer, "keep_session"));
    gv_text_add(out, "%s%s\n", was_connected ? "disconnected" : "was not connected",
                is_kept ? ", a session that outlives connections stays" : ", the session is gone");
}

int gv_command_kick(int argc, char **argv)
{
    static const gv_list_option_t options[] = {{"--keep-session", "keep_session", "true"}};
    static const gv_list_command_t kick = {
        .command =
            {
                .name = "kick",
                .arguments = "ID ",
                .method = "POST",
                .path = "/api/v1/kick",
                .help = "  --keep-session      what waits for the client stays, if its session\n"
                        "                      outlives connections; else the session ends\n"
                        "\n"
                        "Ends the connection of a client of this node, and its session. Its will\n"
                        "is published. Nothing keeps it from coming back.\n",
                .print = print_kicked,
            },
        .options = options,
        .option_count = 1,
        .word = "clientid",
        .expected = "grapevine kick ID",
    };
    return gv_list_command(argc, argv, &kick);
}
