/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"

#include <string.h>

#include <jansson.h>

#include "base/text.h"
#include "cli/admin_command.h"
#include "cli/list_options.h"
#include "cli/table.h"

static void add_flag(gv_table_t *table, const json_t *object, const char *key)
{
    gv_table_cell(table, "%s", gv_json_number(object, key) != 0 ? "yes" : "no");
}

static void print_subscriptions(const json_t *answer, gv_text_t *out)
{
    static const char *const heads[] = {"CLIENTID",     "QOS", "NO-LOCAL",
                                        "AS-PUBLISHED", "ID",  "FILTER"};
    gv_table_t table;
    gv_table_init(&table, sizeof(heads) / sizeof(heads[0]));
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
        gv_table_cell(&table, "%s", heads[i]);
    }
    size_t i;
    json_t *row;
    json_t *data = (json_t *)(uintptr_t)gv_json_at(answer, "data");
    json_array_foreach(data, i, row)
    {
        gv_table_cell(&table, "%s", gv_json_text(row, "clientid"));
        gv_table_cell(&table, "%lld", gv_json_number(row, "qos"));
        add_flag(&table, row, "nl");
        add_flag(&table, row, "rap");
        if (json_is_integer(gv_json_at(row, "subid"))) {
            gv_table_cell(&table, "%lld", gv_json_number(row, "subid"));
        } else {
            gv_table_cell(&table, "-");
        }
        gv_table_cell(&table, "%s", gv_json_text(row, "topic"));
    }
    gv_table_print(&table, out);
    gv_table_deinit(&table);
    gv_list_print_more(answer, out);
}

int gv_command_subscriptions(int argc, char **argv)
{
    static const gv_list_option_t options[] = {
        {"--client", "clientid", NULL}, {"--qos", "qos", NULL},   {"--share", "share", NULL},
        {"--limit", "limit", NULL},     {"--page", "page", NULL}, {"--cursor", "cursor", NULL},
    };
    static const gv_list_command_t list = {
        .command =
            {
                .name = "subscriptions",
                .arguments = "[FILTER] ",
                .method = "GET",
                .path = "/api/v1/subscriptions",
                .help = "  --client ID         those of one client\n"
                        "  --qos N             those with this QoS\n"
                        "  --share GROUP       those to this group\n"
                        "  --limit N           so many at a time, default 100, at most 10000\n"
                        "  --page N            from 1 on\n"
                        "  --cursor TEXT       go on where an answer before has ended\n"
                        "\n"
                        "The subscriptions of one node, or those to one FILTER as it stands.\n",
                .print = print_subscriptions,
            },
        .options = options,
        .option_count = sizeof(options) / sizeof(options[0]),
        .word = "topic",
    };
    return gv_list_command(argc, argv, &list);
}
