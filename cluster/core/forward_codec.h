/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * ForwardBatch, ForwardItem and ForwardMessage of proto/cluster.proto, written and read by hand.
 *
 * These carry every publish between nodes.  Generated code would copy each payload twice (the
 * item's body, then the message's payload) and allocate for each field; here a batch is written
 * straight into the frame, and what is read are views into the frame.  The format is protobuf's all
 * the same: unknown fields are skipped, fields come in any order, and a unit test reads ours with
 * protobuf-c and protobuf-c's with ours.
 *
 * Threads: none of its own.  Memory: nothing is allocated.
 */

#include "cluster/core/core.h"

/* ---- messages ---------------------------------------------------------------------------------
 */

/* Bytes that gv_forward_encode() will write. */
size_t gv_forward_size(const gv_forward_t *msg);

/* Writes the message, without its expiry (which belongs to the item); `size` as above (asserted).
 */
void gv_forward_encode(const gv_forward_t *msg, uint8_t *out, size_t size);

/*
 * Reads a message; all views are into `body`, msg_out->shared points to `shared`, which has room
 * for GV_FORWARD_SHARED_MAX views.  GV_OK or GV_ERR_MALFORMED.
 */
GV_MUST_USE gv_err_t gv_forward_decode(gv_bytes_t body, gv_bytes_t *shared, gv_forward_t *msg_out);

/* ---- batches ----------------------------------------------------------------------------------
 */

typedef struct gv_forward_batch {
    gv_node_id_t from;
    gv_node_id_t to;
    uint64_t from_boot_id;
    uint64_t to_boot_id;
    uint64_t lowest;
    uint64_t offset;
} gv_forward_batch_t;

typedef struct gv_forward_piece {
    uint64_t seq;
    uint64_t expiry_ms; /* or GV_FORWARD_NO_EXPIRY */
    uint64_t total;     /* 0: body is the whole message */
    uint64_t at;
    gv_bytes_t body;
} gv_forward_piece_t;

/* The most a batch adds to its items, and an item to its body [bytes]. */
#define GV_FORWARD_BATCH_OVERHEAD ((size_t)96)
#define GV_FORWARD_PIECE_OVERHEAD ((size_t)64)

/* A batch is written head, pieces; the fields of the head may stand anywhere. */
void gv_forward_put_head(gv_writer_t *w, const gv_forward_batch_t *batch);
void gv_forward_put_piece(gv_writer_t *w, const gv_forward_piece_t *piece);

/* Reads the head and checks the framing of the whole.  GV_OK or GV_ERR_MALFORMED. */
GV_MUST_USE gv_err_t gv_forward_get_head(gv_bytes_t frame, gv_forward_batch_t *batch_out);

/*
 * The next piece of a batch; begin with a gv_reader() over the frame.  False at the end, or when a
 * piece is malformed (then reader->failed is set).
 */
bool gv_forward_next_piece(gv_reader_t *reader, gv_forward_piece_t *piece_out);
