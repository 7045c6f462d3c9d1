/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_exact_table: the routes of filters without wildcards, found by the whole topic at once.  Part
 * of the router (router.h).
 *
 * Threads: gv_exact_table_prefetch() and _find() from any thread in a read section, the rest by the
 * writer.  Memory: one object per filter (16 bytes and its text) and its slot in the table.
 */

#include "base/bytes.h"
#include "broker/core/routes.h"
#include "broker/core/shared_heap.h"
#include "broker/core/slot_table.h"

typedef struct gv_exact_table {
    gv_slot_table_t _filters;
} gv_exact_table_t;

void gv_exact_table_init(gv_exact_table_t *table);

/* Frees everything at once: nobody reads any more. */
void gv_exact_table_deinit(gv_exact_table_t *table, gv_shared_heap_t *heap);

/* `hash` is gv_bytes_hash() of the topic here and below, always with the same seed. */
GV_ANY_THREAD void gv_exact_table_prefetch(const gv_exact_table_t *table, uint64_t hash);

/* The routes of the filter that is equal to the topic, or NULL; borrowed for the read section. */
GV_ANY_THREAD gv_routes_t *gv_exact_table_find(const gv_exact_table_t *table, gv_bytes_t topic,
                                               uint64_t hash);

/* As find; adds the filter with empty routes if it is not there.  filter.size at most 65535. */
gv_routes_t *gv_exact_table_find_or_add(gv_exact_table_t *table, gv_shared_heap_t *heap,
                                        gv_bytes_t filter, uint64_t hash);

/* Takes the filter out, whose routes are empty. */
void gv_exact_table_remove(gv_exact_table_t *table, gv_shared_heap_t *heap, gv_bytes_t filter,
                           uint64_t hash);

/*
 * The next filter and its routes, or NULL; the cursor starts with 0.  Filters may come and go
 * meanwhile: of those, and of all when the table grows or shrinks, some are missed or seen twice.
 */
const gv_routes_t *gv_exact_table_next(const gv_exact_table_t *table, size_t *cursor,
                                       gv_bytes_t *filter_out);

/* Called for the routes of each filter; may change them.  Filters left empty are taken out. */
typedef void gv_routes_sweep_cb_t(gv_routes_t *routes, void *arg);

void gv_exact_table_sweep(gv_exact_table_t *table, gv_shared_heap_t *heap,
                          gv_routes_sweep_cb_t *visit, void *arg);
