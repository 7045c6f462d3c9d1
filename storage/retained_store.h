/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Retained messages on disk: one record per topic, the newest one; a delete is a record too (a
 * tombstone), because in a cluster it has to win against an older message that arrives late.
 *
 * Threads: as the batch or store they are used with.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/defs.h"
#include "base/err.h"

#include "storage/store.h"

/* Views; who gives the struct says how long they are valid. */
typedef struct gv_stored_retained {
    gv_bytes_t topic;
    gv_bytes_t payload;               /* empty in a tombstone */
    gv_bytes_t properties;            /* the travelling MQTT 5 properties, encoded; opaque here */
    uint8_t qos;                      /* 0, 1 or 2 */
    bool is_tombstone;                /* the message was deleted */
    uint64_t expires_at_ms;           /* real time; 0: never */
    uint64_t hlc;                     /* last writer wins by (hlc, node_id) */
    uint8_t node_id[GV_NODE_ID_SIZE]; /* the node it was published at */
} gv_stored_retained_t;

/* Adds to the batch: from now on this is the retained message (or tombstone) of its topic. */
void gv_retained_put(gv_batch_t *batch, const gv_stored_retained_t *retained);

/* Adds to the batch: nothing is known of this topic any more (a tombstone that has served). */
void gv_retained_delete(gv_batch_t *batch, gv_bytes_t topic);

/* The views are valid until it returns.  Anything but GV_OK ends the load and is handed on. */
typedef gv_err_t gv_retained_cb_t(const gv_stored_retained_t *retained, void *arg);

/*
 * Calls on_retained for every intact record, tombstones included, in the order of the topics'
 * keys.  Damaged ones are counted, logged and skipped.  Blocks: before the listeners open.
 * Returns GV_OK, what on_retained returned, or GV_ERR_IO.
 */
GV_MUST_USE gv_err_t gv_retained_load(gv_store_t *store, gv_retained_cb_t *on_retained, void *arg);
