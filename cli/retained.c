/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"

#include <jansson.h>

#include "base/text.h"
#include "cli/admin_command.h"
#include "cli/list_options.h"
#include "cli/table.h"

static void print_retained(const json_t *answer, gv_text_t *out)
{
    gv_table_t table;
    gv_table_init(&table, 4);
    gv_table_cell(&table, "QOS");
    gv_table_cell(&table, "BYTES");
    gv_table_cell(&table, "EXPIRES");
    gv_table_cell(&table, "TOPIC");
    size_t i;
    json_t *row;
    json_t *data = (json_t *)(uintptr_t)gv_json_at(answer, "data");
    json_array_foreach(data, i, row)
    {
        gv_table_cell(&table, "%lld", gv_json_number(row, "qos"));
        gv_table_cell(&table, "%lld", gv_json_number(row, "payload_size"));
        gv_table_cell(&table, "%s", gv_json_text(row, "expires_at"));
        gv_table_cell(&table, "%s", gv_json_text(row, "topic"));
    }
    gv_table_print(&table, out);
    gv_table_deinit(&table);
    gv_list_print_more(answer, out);
}

int gv_command_retained(int argc, char **argv)
{
    static const gv_list_option_t options[] = {
        {"--limit", "limit", NULL},
        {"--page", "page", NULL},
    };
    static const gv_list_command_t list = {
        .command =
            {
                .name = "retained",
                .arguments = "[FILTER] ",
                .method = "GET",
                .path = "/api/v1/retained",
                .help =
                    "  --limit N           so many at a time, default 100, at most 10000\n"
                    "  --page N            from 1 on\n"
                    "\n"
                    "The retained messages whose topics match FILTER, without one all but $SYS.\n"
                    "`grapevine sub` shows what is in them.\n",
                .print = print_retained,
            },
        .options = options,
        .option_count = sizeof(options) / sizeof(options[0]),
        .word = "topic",
    };
    return gv_list_command(argc, argv, &list);
}
