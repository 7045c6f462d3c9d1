/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"

#include <jansson.h>

#include "base/text.h"
#include "cli/admin_command.h"
#include "cli/list_options.h"
#include "cli/table.h"

/* Names or numbers, with commas between them; "-" for none. */
static void add_list(gv_table_t *table, const json_t *row, const char *key)
{
    gv_text_t text = GV_TEXT_EMPTY;
    size_t i;
    json_t *value;
    json_t *list = (json_t *)(uintptr_t)gv_json_at(row, key);
    json_array_foreach(list, i, value)
    {
        const char *comma = i > 0 ? "," : "";
        if (json_is_integer(value)) {
            gv_text_add(&text, "%s%lld", comma, (long long)json_integer_value(value));
        } else {
            const char *name = json_string_value(value);
            gv_text_add(&text, "%s%s", comma, name != NULL ? name : "?");
        }
    }
    gv_table_cell(table, "%s", gv_text_size(&text) > 0 ? gv_text_get(&text) : "-");
    gv_text_deinit(&text);
}

static void print_routes(const json_t *answer, gv_text_t *out)
{
    gv_table_t table;
    gv_table_init(&table, 3);
    gv_table_cell(&table, "NODES");
    gv_table_cell(&table, "SHARDS");
    gv_table_cell(&table, "FILTER");
    size_t i;
    json_t *row;
    json_t *data = (json_t *)(uintptr_t)gv_json_at(answer, "data");
    json_array_foreach(data, i, row)
    {
        add_list(&table, row, "nodes");
        add_list(&table, row, "shards");
        gv_table_cell(&table, "%s", gv_json_text(row, "topic"));
    }
    gv_table_print(&table, out);
    gv_table_deinit(&table);
    gv_list_print_more(answer, out);
}

int gv_command_routes(int argc, char **argv)
{
    static const gv_list_option_t options[] = {
        {"--match", "match_topic", NULL},
        {"--limit", "limit", NULL},
        {"--page", "page", NULL},
    };
    static const gv_list_command_t list = {
        .command =
            {
                .name = "routes",
                .arguments = "[FILTER] ",
                .method = "GET",
                .path = "/api/v1/routes",
                .help = "  --match TOPIC       the filters that match TOPIC\n"
                        "  --limit N           so many at a time, default 100, at most 10000\n"
                        "  --page N            from 1 on\n"
                        "\n"
                        "What one node knows of who wants what: the nodes that messages for a "
                        "filter go\n"
                        "to, and the shards of that node among them.\n",
                .print = print_routes,
            },
        .options = options,
        .option_count = sizeof(options) / sizeof(options[0]),
        .word = "topic",
    };
    return gv_list_command(argc, argv, &list);
}
