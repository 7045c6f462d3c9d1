/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What protobuf-c needs to be safe and cheap here: an arena that all parts of one decoded message
 * come from, with a limit, and checks for the fields a peer fills in.
 *
 * An arena is used for one frame at a time: alloc, alloc, ..., gv_arena_reset().  It keeps its
 * first chunk, so that decoding a usual frame allocates nothing.
 */

#include <protobuf-c/protobuf-c.h>

#include "cluster/core/core.h"

/* Numbers a peer counts up; far above any real one, and safe to add to and to shift. */
#define GV_COUNTER_MAX ((uint64_t)1 << 62)

typedef struct gv_arena_chunk gv_arena_chunk_t;

typedef struct gv_arena {
    gv_arena_chunk_t *_chunks; /* newest first; the last one is kept */
    size_t _total;             /* [bytes] in all chunks */
    size_t _max;
} gv_arena_t;

void gv_arena_init(gv_arena_t *arena, size_t max);
void gv_arena_deinit(gv_arena_t *arena);

/* Aligned for anything, not initialised; NULL when the arena's limit is reached. */
void *gv_arena_alloc(gv_arena_t *arena, size_t size);

/* Everything that came from the arena is gone. */
void gv_arena_reset(gv_arena_t *arena);

/* An allocator for protobuf-c's unpack; its free does nothing. */
ProtobufCAllocator gv_arena_allocator(gv_arena_t *arena);

/* ---- fields --------------------------------------------------------------------------------- */

/* False unless it has GV_NODE_ID_SIZE bytes and they are not all zero. */
bool gv_codec_get_id(const ProtobufCBinaryData *field, gv_node_id_t *id_out);

/* A view of an id for packing; valid as long as the id is. */
ProtobufCBinaryData gv_codec_put_id(const gv_node_id_t *id);

/* False unless the text fits (NUL included) and is printable ASCII. */
bool gv_codec_get_text(const char *field, char *out, size_t out_size);

/* -1, 0, 1: which incarnation is the newer. */
int gv_incarnation_compare(gv_incarnation_t a, gv_incarnation_t b);

static inline bool gv_node_id_equal(const gv_node_id_t *a, const gv_node_id_t *b)
{
    return memcmp(a->bytes, b->bytes, GV_NODE_ID_SIZE) == 0;
}
