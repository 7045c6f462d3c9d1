/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_note: RetainedNote of proto/cluster.proto, which shards of two nodes send each other about a
 * bucket of retained messages (reconcile.h).
 *
 * Threads: one at a time.  Memory: what is written are views until it is packed; what is read is
 * bounded by the frame it came in.
 */

#include "broker/core/retained.h"
#include "cluster/core/codec.h"

typedef struct gv_note_entry {
    gv_bytes_t topic;
    gv_stamp_t stamp; /* all zero where a topic is all there is to say */
    uint64_t size;    /* of the message [bytes] */
    bool is_tombstone;
} gv_note_entry_t;

/* A note being written; zeroed, but for the bucket. */
typedef struct gv_note {
    uint32_t bucket;
    size_t count;
    size_t bytes; /* about, packed */
    gv_note_entry_t *_entries;
    size_t _capacity;
} gv_note_t;

void gv_note_deinit(gv_note_t *note);

/* The topic stays valid until the note is packed. */
void gv_note_add(gv_note_t *note, const gv_note_entry_t *entry);

/* The bytes are the caller's, to be freed with gv_free(); the note is empty again. */
uint8_t *gv_note_pack(gv_note_t *note, bool is_last, size_t *size_out);

/* Which bucket a packed note is about; false: it is no note. */
bool gv_note_bucket(gv_bytes_t packed, uint32_t *bucket_out);

/* What has been read; all of it is in the arena, or a view of it. */
typedef struct gv_note_view {
    uint32_t bucket;
    bool is_last;
    size_t count;
    const gv_note_entry_t *entries;
} gv_note_view_t;

/* GV_OK or GV_ERR_MALFORMED. */
GV_MUST_USE gv_err_t gv_note_read(gv_bytes_t packed, gv_arena_t *arena, gv_note_view_t *view_out);
