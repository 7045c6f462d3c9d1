/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The table `links`: for each other node, how far its numbered messages have been applied here.
 *
 * A record is written in the transaction of what the messages have caused, so it says neither more
 * nor less than what is there.
 *
 * Threads: plain functions.
 */

#include "storage/keys.h"
#include "storage/records.h"
#include "storage/store.h"

typedef struct gv_link_cursor {
    uint64_t run;    /* of the process there that has numbered the messages; random */
    uint64_t number; /* of the last one that is applied; not 0 */
} gv_link_cursor_t;

/* The messages of the node (GV_NODE_ID_SIZE bytes) are applied so far. */
void gv_link_record_put(gv_batch_t *batch, const uint8_t *node_id, const gv_link_cursor_t *cursor);

void gv_link_record_delete(gv_batch_t *batch, const uint8_t *node_id);

typedef gv_err_t gv_link_record_cb_t(const uint8_t *node_id, const gv_link_cursor_t *cursor,
                                     void *arg);

/* All there is, by node; what is damaged is noted and passed over.  Results as gv_store_scan(). */
GV_MUST_USE gv_err_t gv_link_record_scan(gv_store_t *store, gv_link_record_cb_t *on_record,
                                         void *arg);
