/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Which part of a long list is asked for: ?limit=100&page=2, or ?limit=100&cursor=..., which the
 * answer before has given in its meta.
 *
 * A page is reached by passing over those before it, which is work, so there is a last one; a
 * cursor goes on where the answer before has ended, however far that is.
 *
 * Threads: plain values.
 */

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "broker/admin/admin.h"

#define GV_PAGE_LIMIT_DEFAULT 100U
#define GV_PAGE_LIMIT_MAX     10000U
#define GV_PAGE_SKIP_MAX      1000000U

/* A place in the tables of a node: its shards are walked through in order. */
typedef struct gv_place_in_list {
    uint64_t cursor; /* 0: the shard's first */
    uint16_t shard;
} gv_place_in_list_t;

typedef struct gv_page {
    gv_place_in_list_t from;
    uint32_t limit;
    uint32_t page; /* from 1 on; 0: it was asked for by cursor */
    uint32_t skip; /* what the pages before it have */
} gv_page_t;

/* NULL and *out, or what is wrong; texts may be NULL. */
GV_MUST_USE const char *gv_page_parse(const char *limit, const char *page, const char *cursor,
                                      uint16_t shard_count, gv_page_t *out);

/* The same, from a request's limit, page and cursor; it may have fewer. */
GV_MUST_USE const char *gv_page_of(const gv_admin_call_t *call, uint16_t shard_count,
                                   gv_page_t *out);

/*
 * The answer's "meta".  `next` is where a cursor would go on, NULL if there is nowhere to or the
 * list has none; `count` is UINT64_MAX when nobody knows how many there are without counting, and
 * is left out then, as EMQX does.
 */
GV_MUST_USE json_t *gv_page_meta(const gv_page_t *page, bool has_next,
                                 const gv_place_in_list_t *next, uint64_t count);

/* A whole number without sign, up to max.  False: it is none. */
GV_MUST_USE bool gv_parse_number(const char *text, uint64_t max, uint64_t *out);
