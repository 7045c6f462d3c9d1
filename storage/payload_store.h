/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The table `payloads`: what large messages carry, once in the node, however many segments of the
 * log refer to it.
 *
 * A payload has a number of the node's, and the segments that refer to it are its holders, by their
 * numbers: a shared value (gv_batch_share()).  A segment and its hold on a payload come in one
 * batch, and they go in one, so a segment that is there has its payloads.
 *
 * Threads: plain functions.
 */

#include "storage/batch.h"
#include "storage/keys.h"
#include "storage/store.h"

/*
 * Adds to the batch: the holder has the payload.  Each holder brings the whole of it, which is
 * copied once, into the batch.  Neither number is 0.
 */
void gv_payload_share(gv_batch_t *batch, uint64_t number, uint64_t holder, gv_bytes_t body);

/* Adds to the batch: the holder has it no more; the last one takes it along. */
void gv_payload_unshare(gv_batch_t *batch, uint64_t number, uint64_t holder);

/* The key of the payload itself, for gv_store_load() and gv_store_get(). */
void gv_payload_key(gv_key_t *key_out, uint64_t number);

/*
 * Takes a key of the table apart; *holder_out is 0 if it is the payload's own.  False: no key of
 * this table.
 */
bool gv_payload_key_read(gv_bytes_t key, uint64_t *number_out, uint64_t *holder_out);

/*
 * Checks what is stored under gv_payload_key() and gives the payload, a view into it.  GV_OK,
 * GV_ERR_CORRUPT, or GV_ERR_VERSION (intact, but of an envelope we do not know).
 */
GV_MUST_USE gv_err_t gv_payload_open(gv_bytes_t value, uint64_t number, gv_bytes_t *body_out);

/*
 * The highest number there is a payload or a holder of, 0 if there is none, so that a node knows
 * which numbers are new.  Reads no payload.  GV_OK or GV_ERR_IO.
 */
GV_MUST_USE gv_err_t gv_payload_last(gv_store_t *store, uint64_t *number_out);
