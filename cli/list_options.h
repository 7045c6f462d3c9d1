/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Options of commands that ask the admin port for something in particular: `--like TEXT` becomes
 * the parameter like_clientid=TEXT of the request.
 */

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

#include "base/text.h"
#include "cli/admin_command.h"

typedef struct gv_list_option {
    const char *option;    /* "--like" */
    const char *parameter; /* "like_clientid" */
    const char *value;     /* NULL: the option has one; else it stands for this one */
} gv_list_option_t;

typedef struct gv_list_arguments {
    const char *word;     /* the one argument that is no option; NULL: none */
    char problem[128];    /* a sentence, on an error */
    gv_text_t parameters; /* "?a=b&c=d", or empty */
} gv_list_arguments_t;

/*
 * Takes these options, and one word, out of argv, which keeps those that all commands have; a word
 * that begins with - stands behind "--".  Returns the new argc, or -1 and out->problem.
 * gv_list_arguments_deinit() in each case.
 */
int gv_list_arguments_take(int argc, char **argv, const gv_list_option_t *options, size_t count,
                           gv_list_arguments_t *out);

void gv_list_arguments_deinit(gv_list_arguments_t *arguments);

/* A command with such options, and what its word means. */
typedef struct gv_list_command {
    gv_admin_command_t command; /* the path without parameters */
    const gv_list_option_t *options;
    size_t option_count;
    /* The parameter that the word is; NULL: it is the last part of the path, ... */
    const char *word;
    gv_admin_print_t *print_one; /* ... and the answer is shown by this */
    const char *expected;        /* what is said without a word; NULL: there need not be one */
} gv_list_command_t;

/* Runs it.  Returns the exit status. */
int gv_list_command(int argc, char **argv, const gv_list_command_t *list);

/* The last line of a page that is not the last one: how to go on.  Else nothing. */
void gv_list_print_more(const json_t *answer, gv_text_t *out);
