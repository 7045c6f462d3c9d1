/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The command line of grapevined.  Every option but a few is another name for a configuration key,
 * so what comes out is mostly a list of KEY=VALUE for gv_config_load().
 *
 * Life: gv_options_parse() fills, gv_options_deinit() releases; texts may point into argv.
 * Threads: getopt_long() has global state, so: main thread, before others start.
 */

#include <stdio.h>

#include "base/err.h"
#include "broker/config.h"

typedef enum gv_action {
    GV_ACTION_RUN,
    GV_ACTION_CHECK_CONFIG,
    GV_ACTION_KEYS,
    GV_ACTION_HELP,
    GV_ACTION_VERSION,
} gv_action_t;

typedef struct gv_options {
    gv_action_t action;
    const char *file; /* NULL: none */
    gv_config_assignment_t *assignments;
    size_t assignment_count;
} gv_options_t;

/*
 * Returns GV_OK, or GV_ERR_INVAL with one line in *problem_out (to be freed with gv_free()) that
 * says what is wrong.  *out needs a deinit in both cases.
 */
GV_MUST_USE gv_err_t gv_options_parse(int argc, char *const *argv, gv_options_t *out,
                                      char **problem_out);

void gv_options_deinit(gv_options_t *options);

void gv_options_print_help(FILE *out);
