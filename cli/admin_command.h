/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Commands that show what the admin port says: their options, the request, JSON or a text for
 * people; and safe ways into JSON that came from a server.
 */

#include <jansson.h>

#include "base/text.h"

typedef void gv_admin_print_t(const json_t *answer, gv_text_t *out);

/*
 * Runs such a command: argv has only its options (argv[0] is skipped), `name` is what it is called
 * in messages, `print` shows the answer when --json is not given.  Returns the exit status.
 */
int gv_admin_command(int argc, char **argv, const char *name, const char *path,
                     gv_admin_print_t *print);

/* The value at "a.b.c", or NULL; borrowed. */
const json_t *gv_json_at(const json_t *object, const char *path);

/* The same as a text, "-" if it is none; borrowed. */
const char *gv_json_text(const json_t *object, const char *path);

/* The same as a number, 0 if it is none. */
long long gv_json_number(const json_t *object, const char *path);
