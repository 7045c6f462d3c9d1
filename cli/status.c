/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/text.h"
#include "cli/admin_command.h"
#include "cli/table.h"

static void add_row(gv_table_t *table, const char *name, const char *value)
{
    gv_table_cell(table, "%s", name);
    gv_table_cell(table, "%s", value);
}

static void add_number(gv_table_t *table, const char *name, const json_t *object, const char *path)
{
    char digits[32];
    (void)snprintf(digits, sizeof(digits), "%lld", gv_json_number(object, path));
    add_row(table, name, digits);
}

/* 1d 02:03:04 */
static void add_duration(gv_table_t *table, const char *name, long long ms)
{
    char text[64];
    long long s = ms / 1000;
    (void)snprintf(text, sizeof(text), "%lldd %02lld:%02lld:%02lld", s / 86400, s / 3600 % 24,
                   s / 60 % 60, s % 60);
    add_row(table, name, text);
}

static void add_by_qos(gv_table_t *table, const char *name, const json_t *object, const char *path)
{
    const json_t *counts = gv_json_at(object, path);
    char text[128];
    (void)snprintf(text, sizeof(text), "%lld at QoS 0, %lld at QoS 1, %lld at QoS 2",
                   gv_json_number(counts, "qos0"), gv_json_number(counts, "qos1"),
                   gv_json_number(counts, "qos2"));
    add_row(table, name, text);
}

/* Only the reasons that have happened. */
static void add_drops(gv_table_t *table, const json_t *object)
{
    gv_text_t text = GV_TEXT_EMPTY;
    const char *reason;
    json_t *count;
    json_t *drops = (json_t *)(uintptr_t)gv_json_at(object, "messages.dropped");
    json_object_foreach(drops, reason, count)
    {
        if (json_integer_value(count) > 0) {
            gv_text_add(&text, "%s%s %lld", gv_text_size(&text) > 0 ? ", " : "", reason,
                        (long long)json_integer_value(count));
        }
    }
    add_row(table, "dropped", gv_text_size(&text) > 0 ? gv_text_get(&text) : "none");
    gv_text_deinit(&text);
}

static void add_readiness(gv_table_t *table, const json_t *object)
{
    if (json_is_true(gv_json_at(object, "ready"))) {
        add_row(table, "ready", "yes");
        return;
    }
    size_t i;
    json_t *reason;
    json_t *reasons = (json_t *)(uintptr_t)gv_json_at(object, "reasons");
    json_array_foreach(reasons, i, reason)
    {
        const char *text = json_string_value(reason);
        add_row(table, i == 0 ? "not ready" : "", text != NULL ? text : "");
    }
}

/* Only while there is a drain. */
static void add_drain(gv_table_t *table, const json_t *object)
{
    const char *state = gv_json_text(object, "drain.state");
    if (strcmp(state, "draining") != 0 && strcmp(state, "drained") != 0) {
        return;
    }
    char text[64];
    (void)snprintf(text, sizeof(text), "%s, %lld clients left", state,
                   gv_json_number(object, "drain.clients_left"));
    add_row(table, "drain", text);
    if (json_is_string(gv_json_at(object, "drain.server_reference"))) {
        add_row(table, "", gv_json_text(object, "drain.server_reference"));
    }
}

static void add_listeners(gv_table_t *table, const json_t *object)
{
    size_t i;
    json_t *listener;
    json_t *listeners = (json_t *)(uintptr_t)gv_json_at(object, "listeners");
    json_array_foreach(listeners, i, listener)
    {
        add_row(table, i == 0 ? "listeners" : "", gv_json_text(listener, "url"));
    }
}

static void add_storage(gv_table_t *table, const json_t *object)
{
    char used[64];
    (void)snprintf(
        used, sizeof(used), "%.1f of %.0f MiB%s",
        (double)gv_json_number(object, "storage.used_bytes") / (1 << 20),
        (double)gv_json_number(object, "storage.max_bytes") / (1 << 20),
        json_is_true(gv_json_at(object, "storage.full")) ? ", full: new messages are refused" : "");
    add_row(table, "storage", used);
    char commits[96];
    (void)snprintf(commits, sizeof(commits),
                   "a commit takes %.1f ms, 99 %% of them less than %.1f ms",
                   (double)gv_json_number(object, "storage.commit.p50_us") / 1000,
                   (double)gv_json_number(object, "storage.commit.p99_us") / 1000);
    add_row(table, "", commits);
    char reader[64];
    (void)snprintf(reader, sizeof(reader), "%.1f ms",
                   (double)gv_json_number(object, "storage.oldest_reader_us") / 1000);
    add_row(table, "oldest reader", reader);
    add_row(table, "sync", gv_json_text(object, "storage.sync"));
    add_row(table, "", gv_json_text(object, "storage.promise"));
}

/* What most of the memory is for: the three largest. */
static void add_memory_kinds(gv_table_t *table, const json_t *object)
{
    enum {
        SHOWN = 3
    };
    const char *names[SHOWN] = {NULL};
    long long bytes[SHOWN] = {0};
    const char *kind;
    json_t *value;
    json_t *kinds = (json_t *)(uintptr_t)gv_json_at(object, "memory.by_kind");
    json_object_foreach(kinds, kind, value)
    {
        long long size = (long long)json_integer_value(value);
        for (int i = 0; i < SHOWN; i++) {
            if (size > bytes[i]) {
                for (int j = SHOWN - 1; j > i; j--) {
                    names[j] = names[j - 1];
                    bytes[j] = bytes[j - 1];
                }
                names[i] = kind;
                bytes[i] = size;
                break;
            }
        }
    }
    gv_text_t text = GV_TEXT_EMPTY;
    for (int i = 0; i < SHOWN && names[i] != NULL; i++) {
        gv_text_add(&text, "%s%s %.1f MiB", i > 0 ? ", " : "", names[i],
                    (double)bytes[i] / (1 << 20));
    }
    add_row(table, "", gv_text_size(&text) > 0 ? gv_text_get(&text) : "nothing");
    gv_text_deinit(&text);
}

static void add_memory(gv_table_t *table, const json_t *object)
{
    char used[128];
    const char *state = gv_json_text(object, "memory.state");
    const char *meaning = strcmp(state, "scarce") == 0 ? ", scarce: what is new is refused"
                          : strcmp(state, "critical") == 0
                              ? ", critical: clients that hold much are disconnected"
                              : "";
    (void)snprintf(used, sizeof(used), "%.1f of %.0f MiB%s",
                   (double)gv_json_number(object, "memory.in_use_bytes") / (1 << 20),
                   (double)gv_json_number(object, "memory.max_bytes") / (1 << 20), meaning);
    add_row(table, "memory", used);
    add_memory_kinds(table, object);
}

static void print_status(const json_t *status, gv_text_t *out)
{
    gv_table_t table;
    gv_table_init(&table, 2);
    add_row(&table, "node", gv_json_text(status, "node"));
    add_row(&table, "id", gv_json_text(status, "id"));
    add_row(&table, "version", gv_json_text(status, "version"));
    add_duration(&table, "up", gv_json_number(status, "uptime_ms"));
    add_readiness(&table, status);
    add_drain(&table, status);
    add_row(&table, "cluster", gv_json_text(status, "cluster"));
    add_listeners(&table, status);
    add_number(&table, "connections", status, "connections.current");
    add_number(&table, "sessions", status, "sessions");
    add_number(&table, "subscriptions", status, "subscriptions");
    add_number(&table, "routes", status, "routes");
    add_number(&table, "retained", status, "retained");
    add_number(&table, "queued", status, "queued_messages");
    add_number(&table, "outbox", status, "counters.outbox_messages");
    add_by_qos(&table, "received", status, "messages.received");
    add_by_qos(&table, "sent", status, "messages.sent");
    add_drops(&table, status);
    add_memory(&table, status);
    add_storage(&table, status);
    gv_table_print(&table, out);
    gv_table_deinit(&table);
}

static int judge_readiness(const json_t *status)
{
    return json_is_true(gv_json_at(status, "ready")) ? GV_EXIT_OK : GV_EXIT_NOT_READY;
}

/* Takes our own option out of argv, which keeps those that all such commands have. */
static bool take_ready(int *argc, char **argv)
{
    int kept = 0;
    for (int i = 0; i < *argc; i++) {
        if (strcmp(argv[i], "--ready") != 0) {
            argv[kept++] = argv[i];
        }
    }
    bool is_taken = kept < *argc;
    *argc = kept;
    return is_taken;
}

int gv_command_status(int argc, char **argv)
{
    bool has_to_be_ready = take_ready(&argc, argv);
    const gv_admin_command_t command = {
        .name = "status",
        .method = "GET",
        .path = "/api/v1/status",
        .help = "  --ready             exit with 3 unless the node is ready for clients; without\n"
                "                      it a node that answers is enough for 0\n",
        .print = print_status,
        .judge = has_to_be_ready ? judge_readiness : NULL,
    };
    return gv_admin_command(argc, argv, &command);
}
