/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_outbuf: the bytes that wait to be written to one connection.
 *
 * A broker sends mostly tiny packets, many per connection and turn.  Each one is copied behind the
 * last into a chunk from the loop's pool (a copy of 100 bytes is cheaper than an element of an I/O
 * vector); a large payload that many connections share is not copied but referenced.  The result is
 * a chain of segments that one gathered write sends.
 *
 * An empty outbuf owns no memory.  The first chunk is small (GV_CHUNK_SMALL), the following ones
 * are large: an idle connection's ping answer must not cost 16 KiB, a busy one's stream must not
 * cost a chunk per ten packets.
 *
 *     gv_outbuf_init(&out)
 *     gv_outbuf_append() / gv_outbuf_reserve() + gv_outbuf_commit() / gv_outbuf_append_ref()
 *     gv_outbuf_iovec() -> write -> gv_outbuf_consume()
 *     gv_outbuf_clear()                 forget everything, at the end of a connection
 *
 * How a chunk with a reference in it looks: the segment of the referenced bytes and the segment for
 * the bytes after it stand inside the chunk's own room, so a reference allocates nothing.
 *
 *     chunk: | segment 1 | bytes ... | segment 2 (reference) | segment 3 | bytes ... room ... |
 *
 * Threads: the owner's; an outbuf and its pool belong to the same loop.
 * Memory: chunks are gv_xalloc'ed.  How much may wait for one connection is the owner's limit.
 */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/bytes.h"
#include "base/defs.h"
#include "base/msgbuf.h"

/* Room of the two kinds of chunks [bytes]. */
#define GV_CHUNK_SMALL ((size_t)1024)
#define GV_CHUNK_LARGE ((size_t)16384)

typedef struct gv_chunk gv_chunk_t;

/* ---- the pool: one per loop ----------------------------------------------------------------- */

typedef struct gv_chunklist {
    gv_chunk_t *_first;
    uint32_t _count;
    uint32_t _count_max; /* more than this go back to the allocator */
} gv_chunklist_t;

/* Public only so that a loop can embed it. */
typedef struct gv_chunkpool {
    gv_chunklist_t _small;
    gv_chunklist_t _large;
    size_t _bytes_out;
} gv_chunkpool_t;

void gv_chunkpool_init(gv_chunkpool_t *pool);

/* Frees what is cached.  Chunks that are still out stay valid; they are simply not counted. */
void gv_chunkpool_deinit(gv_chunkpool_t *pool);

/* Memory in chunks that outbufs hold at the moment [bytes]. */
static inline size_t gv_chunkpool_bytes_out(const gv_chunkpool_t *pool)
{
    return pool->_bytes_out;
}

/* ---- the buffer ----------------------------------------------------------------------------- */

/* A run of bytes: in a chunk, or in a referenced message. */
typedef struct gv_segment {
    struct gv_segment *_next;
    const uint8_t *_start; /* first byte that is not consumed */
    uint8_t *_end;         /* one past the last byte */
    uint8_t *_room_end;    /* bytes may be added up to here; == _end: closed */
    gv_msgbuf_t *_ref;     /* the message referenced, or NULL */
    gv_chunk_t *_chunk;    /* the chunk that ends with this segment, or NULL */
} gv_segment_t;

typedef struct gv_outbuf {
    gv_segment_t *_first;
    gv_segment_t *_last;
    size_t _size;
} gv_outbuf_t;

_Static_assert(sizeof(gv_outbuf_t) <= 32, "an idle connection pays for this");

static inline void gv_outbuf_init(gv_outbuf_t *out)
{
    *out = (gv_outbuf_t){._first = NULL, ._last = NULL, ._size = 0};
}

/* Bytes waiting. */
static inline size_t gv_outbuf_size(const gv_outbuf_t *out)
{
    return out->_size;
}

static inline size_t gv__outbuf_room(const gv_outbuf_t *out)
{
    const gv_segment_t *last = out->_last;
    return last == NULL ? 0 : (size_t)(last->_room_end - last->_end);
}

/* The slow halves of the two functions below: make a chunk. */
uint8_t *gv__outbuf_reserve_chunk(gv_outbuf_t *out, gv_chunkpool_t *pool, size_t size);
void gv__outbuf_append_chunks(gv_outbuf_t *out, gv_chunkpool_t *pool, gv_bytes_t bytes);

/*
 * Contiguous room for `size` bytes at the end (at most GV_CHUNK_LARGE), to be filled and then
 * committed.  Nothing is in the buffer before the commit; the next reserve or append forgets it.
 */
static inline uint8_t *gv_outbuf_reserve(gv_outbuf_t *out, gv_chunkpool_t *pool, size_t size)
{
    if (gv__outbuf_room(out) >= size && out->_last != NULL) {
        return out->_last->_end;
    }
    return gv__outbuf_reserve_chunk(out, pool, size);
}

/* The first `size` bytes of the room reserved are valid now; size may be less than reserved. */
static inline void gv_outbuf_commit(gv_outbuf_t *out, size_t size)
{
    GV_DEBUG_ASSERT(size <= gv__outbuf_room(out));
    out->_last->_end += size;
    out->_size += size;
}

/* Copies bytes to the end.  Any size; bytes may be split between chunks. */
static inline void gv_outbuf_append(gv_outbuf_t *out, gv_chunkpool_t *pool, gv_bytes_t bytes)
{
    if (gv__outbuf_room(out) >= bytes.size && bytes.size > 0) {
        memcpy(out->_last->_end, bytes.data, bytes.size);
        gv_outbuf_commit(out, bytes.size);
        return;
    }
    gv__outbuf_append_chunks(out, pool, bytes);
}

/*
 * Puts `size` bytes of `buf` from `offset` on to the end without copying; takes a reference of its
 * own.  Worth it from about 2 KiB on: a reference costs about 100 bytes of chunk and a place in the
 * I/O vector.
 */
void gv_outbuf_append_ref(gv_outbuf_t *out, gv_chunkpool_t *pool, gv_msgbuf_t *buf, size_t offset,
                          size_t size);

/*
 * Fills vec with the first segments that have bytes, at most `count_max`; returns how many.  A
 * gv_bytes_t is laid out as a struct iovec (asserted where it is used as one).
 */
size_t gv_outbuf_iovec(const gv_outbuf_t *out, gv_bytes_t *vec, size_t count_max);

/* Forgets the first `size` bytes (they have been written) and gives memory back. */
void gv_outbuf_consume(gv_outbuf_t *out, gv_chunkpool_t *pool, size_t size);

/* Forgets everything.  pool may be NULL when the buffer belongs to no loop (see below). */
void gv_outbuf_clear(gv_outbuf_t *out, gv_chunkpool_t *pool);

/*
 * A connection moves to another loop with what it has not written: the old loop's pool lets go of
 * the chunks, the new one's takes them over.  In between the buffer may be on any one thread.
 */
void gv_outbuf_leave(const gv_outbuf_t *out, gv_chunkpool_t *from);
void gv_outbuf_join(const gv_outbuf_t *out, gv_chunkpool_t *to);
