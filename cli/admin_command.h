/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Commands that show what the admin port says: their options, the request, JSON or a text for
 * people; and safe ways into JSON that came from a server.
 */

#include <stdbool.h>

#include <jansson.h>

#include "base/text.h"

typedef void gv_admin_print_t(const json_t *answer, gv_text_t *out);
typedef int gv_admin_judge_t(const json_t *answer);

/* What makes one command different from another. */
typedef struct gv_admin_command {
    const char *name;      /* in messages */
    const char *arguments; /* in the first line of --help, with a space behind; or NULL */
    const char *method;    /* "GET" or "POST" */
    const char *path;
    const char *help;        /* more lines of --help, or NULL */
    gv_admin_print_t *print; /* shows the answer, unless there is --json; NULL: nobody does */
    gv_admin_judge_t *judge; /* the exit status that an answer means; NULL: 0 */
} gv_admin_command_t;

/*
 * Runs such a command: argv has only the options that all of them have (argv[0] is skipped).
 * Returns the exit status.
 */
int gv_admin_command(int argc, char **argv, const gv_admin_command_t *command);

/* Adds ?name=value, or &name=value, to a path. */
void gv_admin_add_parameter(gv_text_t *path, const char *name, const char *value);

/* Adds /value to a path. */
void gv_admin_add_path_value(gv_text_t *path, const char *value);

/* Whether argv has --help or -h. */
bool gv_admin_asks_for_help(int argc, char **argv);

/* The value at "a.b.c", or NULL; borrowed. */
const json_t *gv_json_at(const json_t *object, const char *path);

/* The same as a text, "-" if it is none; borrowed. */
const char *gv_json_text(const json_t *object, const char *path);

/* The same as a number, 0 if it is none. */
long long gv_json_number(const json_t *object, const char *path);
