/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Inside of the configuration: the table of keys, and texts turned into values.
 *
 * Functions that can refuse a value return NULL, or a text that says what is wrong and what was
 * expected, to be freed with gv_free().
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/text.h"
#include "broker/config.h"
#include "broker/config_reader.h"

typedef enum gv__config_type {
    GV__CONFIG_BOOL,
    GV__CONFIG_INTEGER,
    GV__CONFIG_SIZE,     /* 64KiB; a plain number is bytes */
    GV__CONFIG_DURATION, /* 500ms; a plain number is in the row's unit */
    GV__CONFIG_TEXT,
    GV__CONFIG_NAME, /* text that may stand in a topic level and in a log line */
    GV__CONFIG_CHOICE,
    GV__CONFIG_ADDRESS,   /* HOST:PORT, or empty for none */
    GV__CONFIG_ADDRESSES, /* a list of them */
    GV__CONFIG_LISTENERS, /* a list of URLs or of sections */
    GV__CONFIG_USERS,     /* a section of NAME = verifier, or single keys below the row's */
} gv__config_type_t;

/* One word of a choice and what it means; a word of NULL ends an array. */
typedef struct gv__config_choice {
    const char *word;
    int value;
} gv__config_choice_t;

typedef struct gv__config_row {
    const char *key;
    gv__config_type_t type;
    size_t offset; /* of the value in gv_config_t */
    const char *fallback;
    uint64_t min; /* numbers */
    uint64_t max;
    uint64_t unit_ms; /* durations: what a plain number means */
    const gv__config_choice_t *choices;
    int port_default; /* addresses */
    bool reloadable;  /* takes effect on SIGHUP */
    const char *doc;
} gv__config_row_t;

/* ---- config_table.c ----------------------------------------------------------------------- */

extern const gv__config_row_t gv__config_table[];
extern const size_t gv__config_table_count;

/* NULL if there is no such key. */
const gv__config_row_t *gv__config_find(const char *key);

/* The row of users that a key such as auth.scram.NAME is in, and NAME; NULL if there is none. */
const gv__config_row_t *gv__config_find_users(const char *key, const char **name_out);

/* The key that was probably meant, or NULL if none is near. */
const char *gv__config_suggest(const char *key);

/* ---- config_value.c ----------------------------------------------------------------------- */

bool gv__config_parse_bool(const char *text, bool *out);
bool gv__config_parse_integer(const char *text, uint64_t *out);
bool gv__config_parse_size(const char *text, uint64_t *bytes_out);
bool gv__config_parse_duration(const char *text, uint64_t unit_ms, uint64_t *ms_out);

/* "a whole number from 1 to 65535": what a value of this row looks like. */
void gv__config_describe(const gv__config_row_t *row, gv_text_t *out);

/* Where the row's value is. */
void *gv__config_at(const gv__config_row_t *row, gv_config_t *config);

/*
 * Sets the row's value out of a node of the file's tree.  The old value is released, also on an
 * error.  *where_out is the node that an error is about (an element of a list perhaps).
 */
GV_MUST_USE char *gv__config_set(const gv__config_row_t *row, const gv_config_node_t *node,
                                 gv_config_t *config, const gv_config_node_t **where_out);

/* The same out of one text (environment, command line); lists have commas between their values. */
GV_MUST_USE char *gv__config_set_text(const gv__config_row_t *row, const char *text,
                                      gv_config_t *config);

bool gv__config_equal(const gv__config_row_t *row, const gv_config_t *a, const gv_config_t *b);

/* A copy of the value in `from` replaces the one in `to`. */
void gv__config_copy(const gv__config_row_t *row, const gv_config_t *from, gv_config_t *to);

void gv__config_release(const gv__config_row_t *row, gv_config_t *config);

/* ---- config_users.c ----------------------------------------------------------------------- */

/* Adds a user, or replaces the one of that name where that is allowed. */
GV_MUST_USE char *gv__config_user_set(gv_user_list_t *users, const char *name, const char *text,
                                      bool may_replace);
/* Adds those of a section; *where_out is the one that an error is about. */
GV_MUST_USE char *gv__config_users_set(gv_user_list_t *users, const gv_config_node_t *section,
                                       const gv_config_node_t **where_out);
bool gv__config_users_equal(const gv_user_list_t *a, const gv_user_list_t *b);
/* `to` is empty. */
void gv__config_users_copy(const gv_user_list_t *from, gv_user_list_t *to);
void gv__config_users_release(gv_user_list_t *users);

/* ---- config_check.c ----------------------------------------------------------------------- */

/* Says that the value of a key is wrong, with the place it came from. */
typedef void gv__config_complain_t(const char *key, const char *problem, void *arg);

/*
 * Fills in what follows from other keys (the secret from its file, the address to advertise) and
 * checks what must hold between keys.  Each problem goes to `complain`.
 */
void gv__config_check(gv_config_t *config, gv__config_complain_t *complain, void *arg);

/* ---- config.c ------------------------------------------------------------------------------ */

/* A whole file, NUL-terminated, to be freed; NULL with errno set. */
char *gv__config_read_file(const char *path, size_t *size_out);
