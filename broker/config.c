/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/config.h"

#include <ctype.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/text.h"
#include "broker/config_p.h"

/*
 * A map of this file: snapshots and reports - complaints - the four sources (defaults, file,
 * environment, command line) - loading - reloading - the list of keys for people.
 */

struct gv_config_hidden {
    atomic_uint_least32_t refs;
};

/* One load on its way.  origins[i] says where the value of key i came from, NULL for its default.
 */
typedef struct load {
    const gv_config_sources_t *sources;
    gv_config_t *config;
    gv_config_report_t *report;
    char **origins;
    bool failed;
} load_t;

/* ---- snapshots and reports ---------------------------------------------------------------- */

static gv_config_t *config_new(void)
{
    gv_config_t *config = GV_NEW(gv_config_t);
    config->_hidden = GV_NEW(struct gv_config_hidden);
    atomic_init(&config->_hidden->refs, 1);
    return config;
}

static void config_free(gv_config_t *config)
{
    for (size_t i = 0; i < gv__config_table_count; i++) {
        gv__config_release(&gv__config_table[i], config);
    }
    gv_free(config->_hidden);
    gv_free(config);
}

const gv_config_t *gv_config_ref(const gv_config_t *config)
{
    GV_ASSERT(config != NULL);
    uint32_t before = atomic_fetch_add_explicit(&config->_hidden->refs, 1, memory_order_relaxed);
    GV_ASSERT(before > 0);
    return config;
}

void gv_config_unref(const gv_config_t **configp)
{
    GV_ASSERT(configp != NULL);
    const gv_config_t *config = *configp;
    *configp = NULL;
    if (config == NULL) {
        return;
    }
    /* acq_rel: all holders' reads come before the free. */
    uint32_t before = atomic_fetch_sub_explicit(&config->_hidden->refs, 1, memory_order_acq_rel);
    GV_ASSERT(before > 0);
    if (before == 1) {
        /* Snapshots are made by config_new(); only their readers see them as const. */
        config_free((gv_config_t *)(uintptr_t)config);
    }
}

void gv_config_report_deinit(gv_config_report_t *report)
{
    for (size_t i = 0; i < report->count; i++) {
        gv_free(report->lines[i]);
    }
    gv_free(report->lines);
    *report = (gv_config_report_t){.lines = NULL};
}

void gv_config_changes_deinit(gv_config_changes_t *changes)
{
    gv_free(changes->applied);
    gv_free(changes->needs_restart);
    *changes = (gv_config_changes_t){.applied = NULL};
}

/* ---- complaints --------------------------------------------------------------------------- */

static void add_line(load_t *load, char *line)
{
    gv_config_report_t *report = load->report;
    report->lines = gv_xrealloc(report->lines, (report->count + 1) * sizeof(*report->lines));
    report->lines[report->count++] = line;
}

static void add_error(load_t *load, char *line)
{
    load->failed = true;
    add_line(load, line);
}

/* `problem` is freed; NULL is no problem. */
static void add_problem(load_t *load, const char *origin, const char *key, char *problem)
{
    if (problem != NULL) {
        add_error(load, gv_text_format("%s: %s: %s", origin, key, problem));
        gv_free(problem);
    }
}

static char *unknown_key(const char *key)
{
    const char *suggestion = gv__config_suggest(key);
    return suggestion != NULL ? gv_text_format("unknown key; did you mean %s?", suggestion)
                              : gv_xstrdup("unknown key; `grapevined --keys` lists all");
}

static void set_origin(load_t *load, const gv__config_row_t *row, char *origin)
{
    size_t i = (size_t)(row - gv__config_table);
    gv_free(load->origins[i]);
    load->origins[i] = origin;
}

/*
 * A key such as auth.scram.NAME is a part of its row's value.  False: it is nothing of the kind,
 * and `origin` stays the caller's.
 */
static bool load_user(load_t *load, const char *key, const char *text, char *origin,
                      bool may_replace)
{
    const char *name;
    const gv__config_row_t *row = gv__config_find_users(key, &name);
    if (row == NULL) {
        return false;
    }
    add_problem(load, origin, row->key,
                gv__config_user_set(gv__config_at(row, load->config), name, text, may_replace));
    set_origin(load, row, origin);
    return true;
}

static void on_complaint(const char *key, const char *problem, void *arg)
{
    load_t *load = arg;
    const gv__config_row_t *row = gv__config_find(key);
    GV_ASSERT(row != NULL);
    const char *origin = load->origins[row - gv__config_table];
    add_problem(load, origin != NULL ? origin : "default", key, gv_xstrdup(problem));
}

/* ---- source 1: the defaults --------------------------------------------------------------- */

static void load_defaults(load_t *load)
{
    for (size_t i = 0; i < gv__config_table_count; i++) {
        const gv__config_row_t *row = &gv__config_table[i];
        char *problem = gv__config_set_text(row, row->fallback, load->config);
        GV_ASSERT(problem == NULL);
    }
    /* A machine without IPv6 has no [::1], and nobody asked for it. */
    for (size_t i = 0; i < load->config->listeners.count; i++) {
        load->config->listeners.items[i].optional = true;
    }
    load->config->listeners.items[0].optional = false;
}

/* ---- source 2: the file ------------------------------------------------------------------- */

char *gv__config_read_file(const char *path, size_t *size_out)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return NULL;
    }
    gv_text_t text = GV_TEXT_EMPTY;
    char part[4096];
    size_t size;
    while ((size = fread(part, 1, sizeof(part), file)) > 0 &&
           gv_text_size(&text) <= GV_CONFIG_FILE_SIZE_MAX) {
        gv_text_put(&text, gv_bytes(part, size));
    }
    int problem = ferror(file) != 0 ? errno : 0;
    (void)fclose(file);
    if (problem != 0) {
        gv_text_deinit(&text);
        errno = problem;
        return NULL;
    }
    *size_out = gv_text_size(&text);
    return gv_text_take(&text);
}

static char *file_origin(const load_t *load, uint32_t line)
{
    return gv_text_format("%s:%u", load->sources->file, (unsigned)line);
}

static void load_key(load_t *load, const char *key, const gv_config_node_t *node)
{
    char *origin = file_origin(load, node->line);
    const gv__config_row_t *row = gv__config_find(key);
    if (row == NULL && node->kind == GV_CONFIG_WORD &&
        load_user(load, key, node->text, origin, false)) {
        return;
    }
    if (row == NULL) {
        add_problem(load, origin, key, unknown_key(key));
        gv_free(origin);
        return;
    }
    const char *before = load->origins[row - gv__config_table];
    if (before != NULL) {
        add_problem(load, origin, key, gv_text_format("given twice; first at %s", before));
        gv_free(origin);
        return;
    }
    const gv_config_node_t *where = node;
    char *problem = gv__config_set(row, node, load->config, &where);
    if (problem != NULL) {
        char *exact = file_origin(load, where->line);
        add_problem(load, exact, key, problem);
        gv_free(exact);
    }
    set_origin(load, row, origin);
}

/* Sections nest at most GV_CONFIG_DEPTH_MAX deep. */
static void load_section(load_t *load, const char *prefix, const gv_config_node_t *section)
{
    for (const gv_config_node_t *node = section->first; node != NULL; node = node->next) {
        char *key = gv_text_format("%s%s%s", prefix, prefix[0] != '\0' ? "." : "", node->key);
        if (node->kind == GV_CONFIG_SECTION && gv__config_find(key) == NULL) {
            load_section(load, key, node);
        } else {
            load_key(load, key, node);
        }
        gv_free(key);
    }
}

static void load_file(load_t *load)
{
    const char *path = load->sources->file;
    size_t size = 0;
    char *text = gv__config_read_file(path, &size);
    if (text == NULL) {
        add_error(load, gv_text_format("%s: cannot be read: %s", path, strerror(errno)));
        return;
    }
    gv_config_node_t *root;
    gv_config_syntax_error_t error;
    if (gv_config_read(gv_bytes(text, size), &root, &error) != GV_OK) {
        add_error(load, gv_text_format("%s:%u: %s", path, (unsigned)error.line, error.text));
    } else {
        load_section(load, "", root);
        gv_config_node_free(&root);
    }
    gv_free(text);
}

/* ---- source 3: the environment ------------------------------------------------------------ */

#define PREFIX "GRAPEVINE_"

/* GRAPEVINE_CLUSTER__SEEDS -> cluster.seeds */
static char *key_of_variable(const char *name, size_t size)
{
    gv_text_t key = GV_TEXT_EMPTY;
    for (size_t i = strlen(PREFIX); i < size; i++) {
        if (name[i] == '_' && i + 1 < size && name[i + 1] == '_') {
            gv_text_put(&key, GV_BYTES_LITERAL("."));
            i++;
        } else {
            char lower = (char)tolower((unsigned char)name[i]);
            gv_text_put(&key, gv_bytes(&lower, 1));
        }
    }
    return gv_text_take(&key);
}

static void load_variable(load_t *load, const char *variable)
{
    const char *equals = strchr(variable, '=');
    if (equals == NULL || strncmp(variable, PREFIX, strlen(PREFIX)) != 0) {
        return;
    }
    size_t name_size = (size_t)(equals - variable);
    char *key = key_of_variable(variable, name_size);
    char *origin = gv_text_format("environment %.*s", (int)name_size, variable);
    const gv__config_row_t *row = gv__config_find(key);
    if (row != NULL) {
        add_problem(load, origin, key, gv__config_set_text(row, equals + 1, load->config));
        set_origin(load, row, origin);
        origin = NULL;
    } else if (load_user(load, key, equals + 1, origin, true)) {
        origin = NULL;
    } else if (strchr(key, '.') != NULL) {
        add_problem(load, origin, key, unknown_key(key));
    } else if (gv__config_suggest(key) != NULL) {
        /* Not an error: Docker and Kubernetes set GRAPEVINE_PORT and the like for a service that is
         * called grapevine. */
        add_line(load,
                 gv_text_format("%s: ignored; did you mean %s?", origin, gv__config_suggest(key)));
    }
    gv_free(origin);
    gv_free(key);
}

/* ---- source 4: the command line ----------------------------------------------------------- */

static void load_assignment(load_t *load, const gv_config_assignment_t *assignment)
{
    const gv__config_row_t *row = gv__config_find(assignment->key);
    if (row == NULL) {
        char *origin = gv_xstrdup(assignment->source);
        if (load_user(load, assignment->key, assignment->value, origin, true)) {
            return;
        }
        gv_free(origin);
        add_problem(load, assignment->source, assignment->key, unknown_key(assignment->key));
        return;
    }
    add_problem(load, assignment->source, assignment->key,
                gv__config_set_text(row, assignment->value, load->config));
    set_origin(load, row, gv_xstrdup(assignment->source));
}

/* ---- loading ------------------------------------------------------------------------------ */

static void load_sources(load_t *load)
{
    const gv_config_sources_t *sources = load->sources;
    load_defaults(load);
    if (sources->file != NULL) {
        load_file(load);
    }
    for (size_t i = 0; sources->environment != NULL && sources->environment[i] != NULL; i++) {
        load_variable(load, sources->environment[i]);
    }
    for (size_t i = 0; i < sources->assignment_count; i++) {
        load_assignment(load, &sources->assignments[i]);
    }
}

static void name_the_node(load_t *load)
{
    gv_config_t *config = load->config;
    if (load->failed || config->node.name[0] != '\0') {
        return;
    }
    config->is_name_default = true;
    const char *host_name = load->sources->host_name;
    char *problem = gv__config_set_text(gv__config_find("node.name"),
                                        host_name != NULL ? host_name : "", config);
    if (problem != NULL || config->node.name[0] == '\0') {
        add_problem(load, "default", "node.name",
                    gv_text_format("the host name cannot be used: %s",
                                   problem != NULL ? problem : "it is empty"));
        gv_free(problem);
    }
}

gv_err_t gv_config_load(const gv_config_sources_t *sources, const gv_config_t **config_out,
                        gv_config_report_t *report_out)
{
    GV_ASSERT(sources != NULL);
    GV_ASSERT(config_out != NULL);
    GV_ASSERT(report_out != NULL);
    *config_out = NULL;
    *report_out = (gv_config_report_t){.lines = NULL};

    load_t load = {.sources = sources, .config = config_new(), .report = report_out};
    load.origins = gv_xcalloc(gv__config_table_count, sizeof(*load.origins));
    load_sources(&load);
    name_the_node(&load);
    if (!load.failed) {
        gv__config_check(load.config, on_complaint, &load);
    }
    load.config->is_default = sources->file == NULL;
    for (size_t i = 0; i < gv__config_table_count; i++) {
        load.config->is_default = load.config->is_default && load.origins[i] == NULL;
        gv_free(load.origins[i]);
    }
    gv_free(load.origins);
    if (load.failed) {
        config_free(load.config);
        return GV_ERR_INVAL;
    }
    *config_out = load.config;
    return GV_OK;
}

/* ---- reloading ---------------------------------------------------------------------------- */

static void add_change(const char ***keys, size_t *count, const char *key)
{
    *keys = gv_xrealloc(*keys, (*count + 1) * sizeof(**keys));
    (*keys)[(*count)++] = key;
}

gv_err_t gv_config_reload(const gv_config_t *old, const gv_config_sources_t *sources,
                          const gv_config_t **config_out, gv_config_changes_t *changes_out,
                          gv_config_report_t *report_out)
{
    GV_ASSERT(old != NULL);
    GV_ASSERT(changes_out != NULL);
    *changes_out = (gv_config_changes_t){.applied = NULL};

    gv_err_t err = gv_config_load(sources, config_out, report_out);
    if (err != GV_OK) {
        return err;
    }
    /* Nobody else holds it yet. */
    gv_config_t *fresh = (gv_config_t *)(uintptr_t)*config_out;
    for (size_t i = 0; i < gv__config_table_count; i++) {
        const gv__config_row_t *row = &gv__config_table[i];
        bool changed = !gv__config_equal(row, old, fresh);
        if (changed && row->reloadable) {
            add_change(&changes_out->applied, &changes_out->applied_count, row->key);
        } else if (changed) {
            add_change(&changes_out->needs_restart, &changes_out->needs_restart_count, row->key);
        }
        if (!row->reloadable) {
            /* Also when it is equal: what was derived from other keys is then the old one too. */
            gv__config_copy(row, old, fresh);
        }
    }
    return GV_OK;
}

/* ---- for people --------------------------------------------------------------------------- */

void gv_config_print_keys(FILE *out)
{
    for (size_t i = 0; i < gv__config_table_count; i++) {
        const gv__config_row_t *row = &gv__config_table[i];
        gv_text_t expected = GV_TEXT_EMPTY;
        gv__config_describe(row, &expected);
        (void)fprintf(out, "%s = %s\n    %s\n    %s%s\n", row->key,
                      row->fallback[0] != '\0' ? row->fallback : "\"\"", row->doc,
                      gv_text_get(&expected), row->reloadable ? "; takes effect on SIGHUP" : "");
        gv_text_deinit(&expected);
    }
}
