/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The tables `outbox` and `exact`: messages that wait for other nodes, some in each record.
 *
 * What stands in a record's key (whose it is, its number, how many messages) is enough to know what
 * there is; the records themselves are read when their node is back.
 *
 * Threads: plain functions.
 */

#include "storage/keys.h"
#include "storage/records.h"
#include "storage/store.h"

typedef enum gv_outbox_kind {
    GV_OUTBOX_SPOOL, /* `outbox`: for nodes that are away */
    GV_OUTBOX_EXACT, /* `exact`: those that must not come twice, whatever happens */
} gv_outbox_kind_t;

#define GV_OUTBOX_KINDS 2

typedef struct gv_outbox_place {
    gv_outbox_kind_t kind;
    uint8_t node_id[GV_NODE_ID_SIZE];
    uint64_t number; /* of the first message; the others have the numbers behind it */
    uint32_t count;  /* messages */
    uint64_t run;    /* of the process that has numbered them; random */
} gv_outbox_place_t;

typedef struct gv_outbox_message {
    gv_bytes_t body;        /* as it goes over a link */
    uint64_t expires_at_ms; /* real time; 0: never */
} gv_outbox_message_t;

gv_table_t gv_outbox_table(gv_outbox_kind_t kind);
void gv_outbox_key(gv_key_t *key_out, const gv_outbox_place_t *place);

/* place->count messages; they are copied. */
void gv_outbox_record_put(gv_batch_t *batch, const gv_outbox_place_t *place,
                          const gv_outbox_message_t *messages);

void gv_outbox_record_delete(gv_batch_t *batch, const gv_outbox_place_t *place);

/* `bytes` is the size of the record. */
typedef gv_err_t gv_outbox_record_cb_t(const gv_outbox_place_t *place, size_t bytes, void *arg);

/* All there is in both tables, by node and number.  Results as gv_store_scan(). */
GV_MUST_USE gv_err_t gv_outbox_record_scan(gv_store_t *store, gv_outbox_record_cb_t *on_record,
                                           void *arg);

/*
 * Reads a record: calls on_message with each of its messages and its index.  GV_OK,
 * GV_ERR_CORRUPT or GV_ERR_VERSION; then nothing has been called.
 */
typedef void gv_outbox_message_cb_t(uint32_t index, const gv_outbox_message_t *message, void *arg);
GV_MUST_USE gv_err_t gv_outbox_record_read(const gv_outbox_place_t *place, gv_bytes_t value,
                                           gv_outbox_message_cb_t *on_message, void *arg);
