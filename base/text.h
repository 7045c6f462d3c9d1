/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_text: text that grows while it is written.  For tables, messages and answers of the admin
 * port; not for hot paths, and not for sizes that a peer decides (running out of memory aborts).
 *
 *     gv_text_t text = GV_TEXT_EMPTY;
 *     gv_text_add(&text, "%s=%d", key, value);
 *     puts(gv_text_get(&text));
 *     gv_text_deinit(&text);
 *
 * Threads: the owner's.
 */

#include "base/bytes.h"
#include "base/defs.h"

/* Public only so that owners can embed it.  Names that start with _ are not for callers. */
typedef struct gv_text {
    char *_data; /* NULL, or NUL-terminated */
    size_t _size;
    size_t _capacity;
} gv_text_t;

#define GV_TEXT_EMPTY ((gv_text_t){._data = NULL, ._size = 0, ._capacity = 0})

void gv_text_deinit(gv_text_t *text);

/* As printf. */
void gv_text_add(gv_text_t *text, const char *format, ...) GV_PRINTF(2, 3);

void gv_text_put(gv_text_t *text, gv_bytes_t bytes);

/* Forgets what was written and keeps the memory. */
void gv_text_clear(gv_text_t *text);

static inline size_t gv_text_size(const gv_text_t *text)
{
    return text->_size;
}

/* NUL-terminated, never NULL; valid until the next change. */
static inline const char *gv_text_get(const gv_text_t *text)
{
    return text->_data != NULL ? text->_data : "";
}

/* The text becomes the caller's, to be freed with gv_free(); `text` is empty again. */
GV_MUST_USE char *gv_text_take(gv_text_t *text);

/* A new NUL-terminated text, to be freed with gv_free().  As printf. */
GV_MUST_USE char *gv_text_format(const char *format, ...) GV_PRINTF(1, 2);
