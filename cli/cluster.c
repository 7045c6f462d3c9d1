/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/text.h"
#include "cli/admin_command.h"
#include "cli/table.h"

static void add_cells(gv_table_t *table, const char *const *texts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        gv_table_cell(table, "%s", texts[i]);
    }
}

/* A number with its unit, or "-" where there is none. */
static void add_measure(gv_table_t *table, const json_t *object, const char *key, const char *unit)
{
    const json_t *value = gv_json_at(object, key);
    if (json_is_integer(value)) {
        gv_table_cell(table, "%lld%s", (long long)json_integer_value(value), unit);
    } else {
        gv_table_cell(table, "-");
    }
}

static void add_view(gv_table_t *table, const char *viewer, const json_t *view)
{
    gv_table_cell(table, "%s", viewer);
    gv_table_cell(table, "%s", gv_json_text(view, "node"));
    gv_table_cell(table, "%s", gv_json_text(view, "state"));
    gv_table_cell(table, "%s", json_is_true(gv_json_at(view, "link_up")) ? "up" : "down");
    add_measure(table, view, "last_heard_ms", "ms");
    add_measure(table, view, "rtt_us", "us");
    gv_table_cell(table, "%lld", gv_json_number(view, "incarnation"));
    gv_table_cell(table, "%s", gv_json_text(view, "table_version"));
    gv_table_cell(table, "%lld", gv_json_number(view, "table_rows"));
    gv_table_cell(table, "%.8s", gv_json_text(view, "table_hash"));
}

static void print_nodes(json_t *nodes, gv_text_t *out)
{
    static const char *const heads[] = {"NODE", "STATE", "ADDRESS", "ID"};
    gv_table_t table;
    gv_table_init(&table, 4);
    add_cells(&table, heads, 4);
    size_t i;
    json_t *node;
    json_array_foreach(nodes, i, node)
    {
        gv_table_cell(&table, "%s", gv_json_text(node, "node"));
        gv_table_cell(&table, "%s", gv_json_text(node, "state"));
        gv_table_cell(&table, "%s", gv_json_text(node, "address"));
        gv_table_cell(&table, "%s", gv_json_text(node, "id"));
    }
    gv_table_print(&table, out);
    gv_table_deinit(&table);
}

static void print_views(json_t *nodes, gv_text_t *out)
{
    static const char *const heads[] = {"VIEWER", "SEES",  "AS",    "LINK", "HEARD",
                                        "RTT",    "START", "TABLE", "ROWS", "HASH"};
    gv_table_t table;
    gv_table_init(&table, 10);
    add_cells(&table, heads, 10);
    size_t i, j;
    json_t *node, *view;
    json_array_foreach(nodes, i, node)
    {
        json_t *views = json_object_get(node, "views");
        json_array_foreach(views, j, view)
        {
            /* What a node thinks of itself is no news. */
            if (strcmp(gv_json_text(view, "id"), gv_json_text(node, "id")) != 0) {
                add_view(&table, gv_json_text(node, "node"), view);
            }
        }
    }
    gv_table_print(&table, out);
    gv_table_deinit(&table);
}

static void print_cluster(const json_t *cluster, gv_text_t *out)
{
    json_t *nodes = (json_t *)(uintptr_t)gv_json_at(cluster, "nodes");
    if (json_array_size(nodes) == 0) {
        gv_text_add(out, "%s is not in a cluster\n", gv_json_text(cluster, "node"));
        return;
    }
    gv_text_add(out, "cluster %s, asked %s\n\n", gv_json_text(cluster, "cluster"),
                gv_json_text(cluster, "node"));
    print_nodes(nodes, out);
    gv_text_add(out, "\n");
    print_views(nodes, out);
}

/* ---- join, leave, forget --------------------------------------------------------------------- */

static void print_joining(const json_t *answer, gv_text_t *out)
{
    (void)answer;
    gv_text_add(out,
                "dialling; `grapevine cluster show` tells who answers.\n"
                "Nodes remember each other; for a start without their data directories, put it "
                "into cluster.seeds.\n");
}

static void print_leaving(const json_t *answer, gv_text_t *out)
{
    (void)answer;
    gv_text_add(out, "leaving: the node sends its clients elsewhere, says goodbye and stops\n");
}

static void print_forgotten(const json_t *answer, gv_text_t *out)
{
    (void)answer;
    gv_text_add(out, "forgotten, by all nodes as they hear of it\n");
}

/* A command, and what stands behind its name. */
typedef struct verb {
    const char *word;
    const char *parameter; /* of the request; NULL: it has none */
    const char *value;     /* what people call it */
    gv_admin_command_t command;
} verb_t;

static const verb_t verbs[] = {
    {"show",
     NULL,
     NULL,
     {.name = "cluster show", .method = "GET", .path = "/api/v1/cluster", .print = print_cluster}},
    {"join",
     "seed",
     "HOST:PORT",
     {.name = "cluster join",
      .method = "POST",
      .path = "/api/v1/cluster/join",
      .help =
          "The node dials one more seed. Name and secret of the cluster must be the same there.\n",
      .print = print_joining}},
    {"leave",
     NULL,
     NULL,
     {.name = "cluster leave",
      .method = "POST",
      .path = "/api/v1/cluster/leave",
      .help = "As SIGTERM does it: clients are sent elsewhere within drain.stop_timeout.\n"
              "The others show the node as \"left\" until it is forgotten.\n",
      .print = print_leaving}},
    {"forget",
     "node",
     "NODE",
     {.name = "cluster forget",
      .method = "POST",
      .path = "/api/v1/cluster/forget",
      .help = "NODE is a name or an id, of a node that is dead or has left; what waits for it\n"
              "is dropped. Should it come back all the same, it is a member again.\n",
      .print = print_forgotten}},
};

static const verb_t *find_verb(const char *word)
{
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (strcmp(verbs[i].word, word) == 0) {
            return &verbs[i];
        }
    }
    return NULL;
}

static bool is_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

int gv_command_cluster(int argc, char **argv)
{
    if (argc > 1 && is_help(argv[1])) {
        (void)printf("usage: grapevine cluster show | join HOST:PORT | leave | forget NODE   "
                     "[OPTION]...\n\n(grapevine cluster show --help)\n");
        return GV_EXIT_OK;
    }
    const verb_t *verb = argc > 1 ? find_verb(argv[1]) : NULL;
    if (verb == NULL) {
        return gv_command_fail("cluster", GV_EXIT_USAGE,
                               "expected: grapevine cluster show, join, leave or forget");
    }
    argc--;
    argv++;
    gv_admin_command_t command = verb->command;
    gv_text_t path = GV_TEXT_EMPTY;
    gv_text_add(&path, "%s", command.path);
    if (verb->parameter != NULL && (argc < 2 || !is_help(argv[1]))) {
        if (argc < 2 || argv[1][0] == '-') {
            gv_text_deinit(&path);
            return gv_command_fail("cluster", GV_EXIT_USAGE, "expected: grapevine %s %s",
                                   command.name, verb->value);
        }
        gv_admin_add_parameter(&path, verb->parameter, argv[1]);
        argc--;
        argv++;
    }
    command.path = gv_text_get(&path);
    int status = gv_admin_command(argc, argv, &command);
    gv_text_deinit(&path);
    return status;
}
