/* SPDX-License-Identifier: Apache-2.0 */
/* grapevined: arguments, configuration, one node. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <jansson.h>

#include "base/alloc.h"
#include "base/io/os.h"
#include "base/io/tls.h"
#include "base/log.h"
#include "broker/node.h"
#include "broker/options.h"

extern char **environ;

/* Descriptors for connections; what the system does not give is said at the start. */
#define DESCRIPTORS_WANTED 1048576U

static void print_report(const gv_config_report_t *report)
{
    for (size_t i = 0; i < report->count; i++) {
        (void)fprintf(stderr, "%s\n", report->lines[i]);
    }
}

static gv_config_sources_t sources_of(const gv_options_t *options)
{
    static char host_name[256];
    return (gv_config_sources_t){
        .file = options->file,
        .environment = environ,
        .assignments = options->assignments,
        .assignment_count = options->assignment_count,
        .host_name = gv_os_hostname(host_name, sizeof(host_name)),
    };
}

static gv_err_t load(const gv_options_t *options, const gv_config_t **config_out)
{
    gv_config_sources_t sources = sources_of(options);
    gv_config_report_t report;
    gv_err_t err = gv_config_load(&sources, config_out, &report);
    print_report(&report);
    gv_config_report_deinit(&report);
    return err;
}

/* SIGHUP: what cannot change while running is named and stays. */
static gv_err_t reload(const gv_config_t *old, const gv_config_t **config_out, void *arg)
{
    gv_config_sources_t sources = sources_of(arg);
    gv_config_report_t report;
    gv_config_changes_t changes;
    gv_err_t err = gv_config_reload(old, &sources, config_out, &changes, &report);
    for (size_t i = 0; i < report.count; i++) {
        gv_log_warn("reload", "message='%s'", report.lines[i]);
    }
    gv_config_report_deinit(&report);
    if (err != GV_OK) {
        gv_log_error("reload_refused", "kept='the configuration in force'");
        return err;
    }
    for (size_t i = 0; i < changes.applied_count; i++) {
        gv_log_info("reload_applied", "key='%s'", changes.applied[i]);
    }
    for (size_t i = 0; i < changes.needs_restart_count; i++) {
        gv_log_warn("reload_needs_restart", "key='%s'", changes.needs_restart[i]);
    }
    gv_log_info("reloaded", "applied=%zu needs_restart=%zu", changes.applied_count,
                changes.needs_restart_count);
    gv_config_changes_deinit(&changes);
    return GV_OK;
}

static int run(gv_options_t *options)
{
    const gv_config_t *config = NULL;
    if (load(options, &config) != GV_OK) {
        return EXIT_FAILURE;
    }
    gv_log_configure(config->log.level, gv_os_log_now, NULL, NULL);
    gv_os_ignore_sigpipe();
    uint64_t descriptors = gv_os_raise_fd_limit(DESCRIPTORS_WANTED);
    gv_log_info("descriptors", "limit=%llu", (unsigned long long)descriptors);
    if (config->is_default) {
        gv_log_info("no_configuration",
                    "using='loopback only, anonymous clients, data in %s, no cluster'",
                    config->node.data);
    }
    gv_node_t *node = NULL;
    gv_error_text_t error;
    gv_err_t err = gv_node_new(config, &node, &error);
    gv_config_unref(&config);
    if (err != GV_OK) {
        (void)fprintf(stderr, "grapevined: %s\n", error.text);
        return EXIT_FAILURE;
    }
    gv_node_on_reload(node, reload, options);
    err = gv_node_run(node);
    gv_node_free(&node);
    return err == GV_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int check(const gv_options_t *options)
{
    const gv_config_t *config = NULL;
    gv_err_t err = load(options, &config);
    if (err == GV_OK) {
        (void)printf("configuration is valid\n");
        gv_config_unref(&config);
    }
    return err == GV_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

static void *json_alloc(size_t size)
{
    return gv_xalloc(size);
}

int main(int argc, char **argv)
{
    gv_os_hold_signals(); /* until the node can end in order: gv_node_run() */
    gv_options_t options;
    char *problem = NULL;
    int status = EXIT_SUCCESS;
    gv_tls_count_memory();
    /* Its texts are freed with gv_free(): what was not counted would be taken off the account. */
    json_set_alloc_funcs(json_alloc, gv_free);
    if (gv_options_parse(argc, argv, &options, &problem) != GV_OK) {
        (void)fprintf(stderr, "grapevined: %s\n", problem);
        gv_free(problem);
        gv_options_deinit(&options);
        return EXIT_FAILURE;
    }
    switch (options.action) {
    case GV_ACTION_RUN:
        status = run(&options);
        break;
    case GV_ACTION_CHECK_CONFIG:
        status = check(&options);
        break;
    case GV_ACTION_KEYS:
        gv_config_print_keys(stdout);
        break;
    case GV_ACTION_HELP:
        gv_options_print_help(stdout);
        break;
    case GV_ACTION_VERSION:
        (void)printf("grapevined %s\n", GV_VERSION);
        break;
    }
    gv_options_deinit(&options);
    return status;
}
