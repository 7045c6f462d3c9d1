/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <getopt.h>
#include <jansson.h>

#include "base/text.h"
#include "cli/table.h"
#include "storage/inspect.h"

/* The data directory of a node that does not run: is it sound, what is in it, make it smaller. */

#define NAME "store"

/* So many findings are shown to people; --json has them all. */
#define FINDINGS_SHOWN 100U

typedef struct store_options {
    const char *directory;
    bool json;
    bool help;
} store_options_t;

/* ---- output ------------------------------------------------------------------------------- */

/* "17.3 MiB" */
static const char *size_text(uint64_t bytes, char out[32])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double size = (double)bytes;
    size_t unit = 0;
    while (size >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        size /= 1024;
        unit++;
    }
    (void)snprintf(out, 32, unit == 0 ? "%.0f %s" : "%.1f %s", size, units[unit]);
    return out;
}

static void print_text(gv_text_t *text)
{
    (void)fputs(gv_text_get(text), stdout);
    gv_text_deinit(text);
}

static void print_json(json_t *object)
{
    (void)json_dumpf(object, stdout, JSON_INDENT(2));
    (void)putchar('\n');
    json_decref(object);
}

static void add_number(json_t *object, const char *key, uint64_t value)
{
    (void)json_object_set_new(object, key, json_integer((json_int_t)value));
}

static void add_node(json_t *object, const gv_inspect_t *inspect)
{
    json_t *node = json_null();
    if (inspect->node_id[0] != '\0') {
        node = json_pack("{s:s, s:s, s:s, s:I}", "id", inspect->node_id, "name", inspect->node_name,
                         "cluster", inspect->cluster_name, "starts", (json_int_t)inspect->starts);
    }
    (void)json_object_set_new(object, "node", node);
}

static void add_payloads(json_t *object, const gv_inspect_t *inspect)
{
    json_t *payloads = json_object();
    add_number(payloads, "count", inspect->payloads);
    add_number(payloads, "bytes", inspect->payload_bytes);
    add_number(payloads, "holders", inspect->payload_holders);
    (void)json_object_set_new(object, "payloads", payloads);
}

static json_t *stats_json(const gv_inspect_t *inspect, const char *directory, bool is_check)
{
    json_t *object = json_object();
    (void)json_object_set_new(object, "directory", json_string(directory));
    add_node(object, inspect);
    add_number(object, "map_bytes", inspect->map_bytes);
    add_number(object, "file_bytes", inspect->file_bytes);
    add_number(object, "disk_bytes", inspect->disk_bytes);
    add_number(object, "used_bytes", inspect->used_bytes);
    add_number(object, "free_bytes", inspect->free_bytes);
    json_t *tables = json_object();
    for (size_t t = 0; t < inspect->table_count; t++) {
        const gv_inspect_table_t *from = &inspect->tables[t];
        json_t *table = json_object();
        add_number(table, "records", from->records);
        add_number(table, "bytes", from->bytes);
        if (is_check) {
            add_number(table, "damaged", from->damaged);
            add_number(table, "stray", from->stray);
        }
        (void)json_object_set_new(tables, from->name, table);
    }
    (void)json_object_set_new(object, "tables", tables);
    add_payloads(object, inspect);
    return object;
}

static void add_node_line(gv_text_t *out, const gv_inspect_t *inspect)
{
    if (inspect->node_id[0] == '\0') {
        gv_text_add(out, "no node has used this store yet\n");
    } else {
        gv_text_add(out, "node '%s' of cluster '%s', start %" PRIu64 ", id %s\n",
                    inspect->node_name, inspect->cluster_name, inspect->starts, inspect->node_id);
    }
}

static void add_tables(gv_text_t *out, const gv_inspect_t *inspect, bool is_check)
{
    char size[32];
    gv_table_t table;
    gv_table_init(&table, is_check ? 5 : 3);
    gv_table_cell(&table, "TABLE");
    gv_table_cell(&table, "RECORDS");
    gv_table_cell(&table, "SIZE");
    if (is_check) {
        gv_table_cell(&table, "DAMAGED");
        gv_table_cell(&table, "STRAY");
    }
    for (size_t t = 0; t < inspect->table_count; t++) {
        const gv_inspect_table_t *from = &inspect->tables[t];
        gv_table_cell(&table, "%s", from->name);
        gv_table_cell(&table, "%" PRIu64, from->records);
        gv_table_cell(&table, "%s", size_text(from->bytes, size));
        if (is_check) {
            gv_table_cell(&table, "%" PRIu64, from->damaged);
            gv_table_cell(&table, "%" PRIu64, from->stray);
        }
    }
    gv_table_print(&table, out);
    gv_table_deinit(&table);
}

/* ---- stats -------------------------------------------------------------------------------- */

static int run_stats(const store_options_t *options)
{
    gv_inspect_t inspect;
    char why[512];
    if (gv_inspect_stats(options->directory, &inspect, why, sizeof(why)) != GV_OK) {
        return gv_command_fail(NAME " stats", GV_EXIT_FAILED, "%s", why);
    }
    if (options->json) {
        print_json(stats_json(&inspect, options->directory, false));
        return GV_EXIT_OK;
    }
    gv_text_t out = GV_TEXT_EMPTY;
    char a[32];
    char b[32];
    add_node_line(&out, &inspect);
    gv_text_add(&out, "%s in use of %s (%.1f %%), %s free within the file\n",
                size_text(inspect.used_bytes, a), size_text(inspect.map_bytes, b),
                100.0 * (double)inspect.used_bytes / (double)inspect.map_bytes,
                size_text(inspect.free_bytes, (char[32]){0}));
    gv_text_add(&out, "data.mdb is %s long and takes %s of the disk\n\n",
                size_text(inspect.file_bytes, a), size_text(inspect.disk_bytes, b));
    add_tables(&out, &inspect, false);
    gv_text_add(&out, "\npayloads: %" PRIu64 " of %s, which %" PRIu64 " holders share\n",
                inspect.payloads, size_text(inspect.payload_bytes, a), inspect.payload_holders);
    print_text(&out);
    return GV_EXIT_OK;
}

/* ---- check -------------------------------------------------------------------------------- */

typedef struct findings {
    json_t *array; /* NULL: for people */
    gv_text_t text;
    uint64_t count;
} findings_t;

static void on_finding(const gv_inspect_finding_t *finding, void *arg)
{
    findings_t *findings = arg;
    findings->count++;
    if (findings->array != NULL) {
        (void)json_array_append_new(findings->array,
                                    json_pack("{s:s, s:s, s:s}", "table", finding->table, "key",
                                              finding->key, "what", finding->text));
    } else if (findings->count <= FINDINGS_SHOWN) {
        gv_text_add(&findings->text, "%s '%s': %s\n", finding->table, finding->key, finding->text);
    }
}

static void print_check(const gv_inspect_t *inspect, findings_t *findings)
{
    gv_text_t out = GV_TEXT_EMPTY;
    add_node_line(&out, inspect);
    gv_text_add(&out, "\n");
    add_tables(&out, inspect, true);
    if (findings->count > 0) {
        gv_text_add(&out, "\n%s", gv_text_get(&findings->text));
    }
    if (findings->count > FINDINGS_SHOWN) {
        gv_text_add(&out, "... and %" PRIu64 " more (--json has them all)\n",
                    findings->count - FINDINGS_SHOWN);
    }
    gv_text_add(&out, "\n%s\n",
                inspect->damaged > 0 ? "damaged records are skipped by a node, and kept"
                : inspect->stray > 0 ? "sound; what is stray is ignored by a node"
                                     : "sound");
    print_text(&out);
}

static int run_check(const store_options_t *options)
{
    findings_t findings = {.array = options->json ? json_array() : NULL, .text = GV_TEXT_EMPTY};
    gv_inspect_t inspect;
    char why[512];
    gv_err_t err =
        gv_inspect_check(options->directory, &inspect, on_finding, &findings, why, sizeof(why));
    int status = GV_EXIT_FAILED;
    if (err != GV_OK) {
        status = gv_command_fail(NAME " check", GV_EXIT_FAILED, "%s", why);
    } else if (options->json) {
        json_t *object = stats_json(&inspect, options->directory, true);
        add_number(object, "damaged", inspect.damaged);
        add_number(object, "stray", inspect.stray);
        (void)json_object_set(object, "findings", findings.array);
        print_json(object);
    } else {
        print_check(&inspect, &findings);
    }
    gv_text_deinit(&findings.text);
    json_decref(findings.array);
    return err == GV_OK && inspect.damaged == 0 ? GV_EXIT_OK : status;
}

/* ---- compact ------------------------------------------------------------------------------ */

static int run_compact(const store_options_t *options)
{
    uint64_t before;
    uint64_t after;
    char why[512];
    if (gv_inspect_compact(options->directory, &before, &after, why, sizeof(why)) != GV_OK) {
        return gv_command_fail(NAME " compact", GV_EXIT_FAILED, "%s", why);
    }
    if (options->json) {
        json_t *object = json_object();
        (void)json_object_set_new(object, "directory", json_string(options->directory));
        add_number(object, "before_bytes", before);
        add_number(object, "after_bytes", after);
        print_json(object);
        return GV_EXIT_OK;
    }
    char a[32];
    char b[32];
    (void)printf("data.mdb had %s and has %s now\n", size_text(before, a), size_text(after, b));
    return GV_EXIT_OK;
}

/* ---- the command -------------------------------------------------------------------------- */

typedef struct store_action {
    const char *name;
    int (*run)(const store_options_t *options);
} store_action_t;

static const store_action_t actions[] = {
    {"check", run_check},
    {"stats", run_stats},
    {"compact", run_compact},
};

static void print_help(void)
{
    (void)puts(
        "usage: grapevine store (check|stats|compact) [--json] DIRECTORY\n"
        "\n"
        "For the data directory (node.data) of a node that does not run.\n"
        "\n"
        "  check     reads everything and lists what is damaged, and what belongs to no session "
        "or\n"
        "            segment; exit status 1 if something is damaged\n"
        "  stats     sizes, and records per table\n"
        "  compact   writes the file again without its free pages; needs their room meanwhile\n"
        "\n"
        "  --json    the same for programs");
}

static int parse_options(int argc, char **argv, store_options_t *options)
{
    static const struct option names[] = {
        {"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    optind = 0;
    opterr = 0;
    for (int code; (code = getopt_long(argc, argv, "h", names, NULL)) != -1;) {
        options->json = options->json || code == 'j';
        options->help = options->help || code == 'h';
        if (code != 'j' && code != 'h') {
            return gv_command_fail(NAME, GV_EXIT_USAGE, "%s is not an option", argv[optind - 1]);
        }
    }
    if (argc - optind != 1 && !options->help) {
        return gv_command_fail(NAME, GV_EXIT_USAGE, "expected one directory");
    }
    options->directory = argv[optind];
    return GV_EXIT_OK;
}

int gv_command_store(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    bool is_help = strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0;
    for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]) && !is_help; i++) {
        if (strcmp(name, actions[i].name) == 0) {
            store_options_t options = {.directory = NULL};
            int status = parse_options(argc - 1, argv + 1, &options);
            is_help = options.help;
            if (status != GV_EXIT_OK || !is_help) {
                return status == GV_EXIT_OK ? actions[i].run(&options) : status;
            }
        }
    }
    if (is_help) {
        print_help();
        return GV_EXIT_OK;
    }
    return gv_command_fail(NAME, GV_EXIT_USAGE,
                           "expected: grapevine store (check|stats|compact) [--json] DIRECTORY");
}
