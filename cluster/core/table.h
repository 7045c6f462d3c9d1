/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_table: one owner's rows (key -> value), with what is needed to replicate them.
 *
 * Each change takes the next sequence number; a withdrawn row stays as a tombstone (value 0) under
 * the number of its withdrawal.  So "what happened after seq" is the rows with a higher number, in
 * order, and a peer costs one cursor.  Tombstones may be dropped, oldest first, when `floor` is
 * raised to the last one dropped: who is behind the floor needs all rows, not the later ones.
 *
 * `hash` is the sum over the live rows of hash(key, value, seq): equal versions must have equal
 * hashes, whatever way the rows came.
 *
 * Threads: the owner's.  Memory: one allocation per row (24 bytes and the key), 8 to 18 bytes in
 * the map, 8 to 16 in the order.
 */

#include <stdint.h>

#include "base/map.h"
#include "cluster/core/core.h"

typedef struct gv_row {
    uint64_t seq;
    uint32_t value;       /* 0: withdrawn */
    uint32_t position;    /* in the table's order */
    uint32_t withdraw_ms; /* routes.c: when a pending withdrawal is due (low 32 bits) */
    uint16_t key_size;
    bool is_queued;      /* routes.c: is in the queue of pending withdrawals */
    bool is_withdrawing; /* routes.c: and is to be withdrawn when it comes out of it */
    uint8_t key[];
} gv_row_t;

/* All members may be read; those with _ belong to table.c. */
typedef struct gv_table {
    gv_incarnation_t incarnation;
    uint64_t seq;   /* of the newest change */
    uint64_t floor; /* tombstones up to here may be missing */
    uint64_t hash;
    size_t live_count;
    size_t tombstone_count;
    size_t row_bytes; /* of all row objects */
    gv_map_t _rows;
    /* Rows by seq: a row's address, or (seq << 1 | 1) where a row has moved on. */
    uint64_t *_order;
    size_t _order_count;
    size_t _order_capacity;
    size_t _hole_count;
} gv_table_t;

void gv_table_init(gv_table_t *table, uint64_t seed);
void gv_table_deinit(gv_table_t *table);

static inline gv_bytes_t gv_row_key(const gv_row_t *row)
{
    return gv_bytes(row->key, row->key_size);
}

/* All memory of the table [bytes], without the allocator's own. */
size_t gv_table_bytes(const gv_table_t *table);

/* Borrowed until the row is changed or dropped; tombstones too; NULL if there is none. */
gv_row_t *gv_table_find(const gv_table_t *table, gv_bytes_t key);

/*
 * Sets a row under `seq`, which must be above that of every row (asserted); value 0 makes a
 * tombstone, also of a key that was not there.  The key has 1..GV_ROUTE_KEY_MAX bytes (asserted).
 * Gives the value before in *before_out.  GV_OK or GV_ERR_NOMEM (nothing changed).  Raises
 * table->seq to `seq`.
 */
GV_MUST_USE gv_err_t gv_table_put(gv_table_t *table, gv_bytes_t key, uint32_t value, uint64_t seq,
                                  uint32_t *before_out);

/* The first row with a number above `seq`, tombstones included, or NULL. */
gv_row_t *gv_table_after(const gv_table_t *table, uint64_t seq);

/* The row changed next after `row`, or NULL. */
gv_row_t *gv_table_next(const gv_table_t *table, const gv_row_t *row);

/*
 * Once there are more than `max` tombstones: drops the older half of them and raises the floor
 * (unless `keeps_floor`, which breaks replication and is for tests).
 */
void gv_table_trim(gv_table_t *table, uint32_t max, bool keeps_floor);

/* Drops all rows; version, floor and hash become zero. */
void gv_table_clear(gv_table_t *table);
