/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"

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

int gv_command_cluster(int argc, char **argv)
{
    bool is_help = argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);
    if (!is_help && (argc < 2 || strcmp(argv[1], "show") != 0)) {
        return gv_command_fail("cluster", GV_EXIT_USAGE, "expected: grapevine cluster show");
    }
    return gv_admin_command(is_help ? argc : argc - 1, is_help ? argv : argv + 1, "cluster show",
                            "/api/v1/cluster", print_cluster);
}
