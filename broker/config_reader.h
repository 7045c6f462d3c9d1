/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The syntax of the configuration file: text in, a tree of sections, lists and words out.  What the
 * keys mean is not known here (config_table.c).
 *
 *     # a comment; also between slash-star and star-slash
 *     cluster {                               a section, `cluster = {` is the same
 *         seeds = ["a:7883", "b:7883"]        a list; `=` or `:` or only a space
 *         dead_after_ms = 2500ms;             a word; ends at the line, at `;` or at `,`
 *         secret = "quoted: spaces, \"quotes\", \u00e9"
 *     }
 *     cluster.name = grapes                   a dotted key reaches into a section
 *
 * It is the part of libucl's language (which takes JSON too) that a configuration of ours needs:
 * such a file means the same to libucl.  Macros, includes, here-documents and variables are not
 * known.  The reader is our own because Debian 12 has no package of libucl (its libucl-dev is a
 * compression library), libconfig 1.5 silently wraps numbers over 32 bits, and none of the packaged
 * ones gives the line of each value together with words that need no quotes, like 500ms.
 *
 * Life: gv_config_read() makes a tree, gv_config_node_free() takes it away.  Every text in it is
 * NUL-terminated and contains no other NUL.  Threads: the caller's; no system calls.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

/* A configuration of ours has one or two levels; this bounds the recursion on a hostile file. */
#define GV_CONFIG_DEPTH_MAX 16

/* A configuration file is some kilobytes [bytes]. */
#define GV_CONFIG_FILE_SIZE_MAX ((size_t)1024 * 1024)

typedef enum gv_config_node_kind {
    GV_CONFIG_WORD,    /* `text` */
    GV_CONFIG_LIST,    /* children without keys */
    GV_CONFIG_SECTION, /* children with keys */
} gv_config_node_kind_t;

typedef struct gv_config_node {
    gv_config_node_kind_t kind;
    char *key;  /* as written, may have dots; NULL in a list and at the root */
    char *text; /* of a word, else NULL */
    uint32_t line;
    struct gv_config_node *first;
    struct gv_config_node *next; /* of the same parent, in the order of the file */
} gv_config_node_t;

/* What is wrong and where; the text needs no more than the line before it to be understood. */
typedef struct gv_config_syntax_error {
    uint32_t line;
    char text[160];
} gv_config_syntax_error_t;

/*
 * Reads a whole file's text.  Returns GV_OK and the root section, or GV_ERR_INVAL with *error_out
 * filled in and *root_out NULL.
 */
GV_MUST_USE gv_err_t gv_config_read(gv_bytes_t file, gv_config_node_t **root_out,
                                    gv_config_syntax_error_t *error_out);

void gv_config_node_free(gv_config_node_t **nodep);
