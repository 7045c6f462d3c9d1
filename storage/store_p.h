/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the stores share. */

#include "base/list.h"

#include "storage/store.h"

/* Moves the cursor past the record with this key. */
void gv__store_cursor_pass(gv_store_cursor_t *cursor, gv_bytes_t key);

/* Says for gv_store_is_full() how it is, and logs the change.  One thread at a time. */
void gv__store_set_full(gv_store_t *store, bool is_full);

/*
 * Room that has to be there before a full store takes new data again [bytes], where `capacity` is
 * all it can hold of it.  A little more than a page, or every freed page would begin a new rush.
 */
uint64_t gv__store_resume_bytes(uint64_t capacity);

/* gv_store_stats_t.reserve_left, when there is so much room and such is the reserve [bytes]. */
uint64_t gv__store_reserve_left(uint64_t room, uint64_t reserve);

/* One value that somebody has asked for, on its way through a store and back. */
struct gv__load {
    gv_letter_t letter;
    gv_link_t link; /* the store's queue */
    gv_store_lane_t *lane;
    gv_store_loaded_cb_t *on_loaded;
    void *arg;
    uint64_t asked_ns; /* for stores that have a clock */
    gv_err_t result;
    gv_msgbuf_t *value;
    gv_table_t table;
    size_t key_size;
    uint8_t key[];
};

/* Reads the value with ops->get().  Any thread. */
void gv__load_read(gv__load_t *load);

/* Posts the answer to the lane, whose the load is from here on. */
void gv__load_finish(gv__load_t *load);

/* For a load whose lane is gone. */
void gv__load_free(gv__load_t *load);
