/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_OUTPUT

#include "base/outbuf.h"

#include <stdalign.h>
#include <stdbool.h>

#include "base/alloc.h"

/* What a loop keeps for the next turn, per kind: about 1 MiB each. */
#define CACHED_SMALL_MAX 1024U
#define CACHED_LARGE_MAX 64U

/* Less room than this behind a reference is not worth a segment. */
#define ROOM_AFTER_REF_MIN 64U

struct gv_chunk {
    gv_chunk_t *next; /* in the pool's list */
    size_t room;      /* GV_CHUNK_SMALL or GV_CHUNK_LARGE */
    gv_segment_t segment;
    uint8_t bytes[];
};

/* ---- the pool ------------------------------------------------------------------------------- */

void gv_chunkpool_init(gv_chunkpool_t *pool)
{
    GV_ASSERT(pool != NULL);
    *pool = (gv_chunkpool_t){._small._count_max = CACHED_SMALL_MAX,
                             ._large._count_max = CACHED_LARGE_MAX};
}

static void free_list(gv_chunklist_t *list)
{
    while (list->_first != NULL) {
        gv_chunk_t *chunk = list->_first;
        list->_first = chunk->next;
        gv_free(chunk);
    }
    list->_count = 0;
}

void gv_chunkpool_deinit(gv_chunkpool_t *pool)
{
    GV_ASSERT(pool != NULL);
    free_list(&pool->_small);
    free_list(&pool->_large);
}

static gv_chunklist_t *list_for(gv_chunkpool_t *pool, size_t room)
{
    return room == GV_CHUNK_SMALL ? &pool->_small : &pool->_large;
}

/* The allocator's view of a chunk, which is what counts against a limit. */
static size_t chunk_memory(const gv_chunk_t *chunk)
{
    return sizeof(*chunk) + chunk->room;
}

static gv_chunk_t *take_chunk(gv_chunkpool_t *pool, size_t room)
{
    gv_chunklist_t *list = list_for(pool, room);
    gv_chunk_t *chunk = list->_first;
    if (chunk != NULL) {
        list->_first = chunk->next;
        list->_count--;
    } else {
        chunk = gv_xalloc(sizeof(*chunk) + room);
        chunk->room = room;
    }
    chunk->next = NULL;
    chunk->segment = (gv_segment_t){._start = chunk->bytes,
                                    ._end = chunk->bytes,
                                    ._room_end = chunk->bytes + room,
                                    ._chunk = chunk};
    pool->_bytes_out += chunk_memory(chunk);
    return chunk;
}

static void give_chunk_back(gv_chunkpool_t *pool, gv_chunk_t *chunk)
{
    if (pool == NULL) {
        gv_free(chunk);
        return;
    }
    GV_ASSERT(pool->_bytes_out >= chunk_memory(chunk));
    pool->_bytes_out -= chunk_memory(chunk);
    gv_chunklist_t *list = list_for(pool, chunk->room);
    if (list->_count >= list->_count_max) {
        gv_free(chunk);
        return;
    }
    chunk->next = list->_first;
    list->_first = chunk;
    list->_count++;
}

/* ---- adding --------------------------------------------------------------------------------- */

static void link_segment(gv_outbuf_t *out, gv_segment_t *segment)
{
    if (out->_last != NULL) {
        out->_last->_room_end = out->_last->_end;
        out->_last->_next = segment;
    } else {
        out->_first = segment;
    }
    out->_last = segment;
}

/* A chunk for at least `size` bytes: small for the first bytes of a connection, then large. */
static void add_chunk(gv_outbuf_t *out, gv_chunkpool_t *pool, size_t size)
{
    bool is_small = out->_size == 0 && size <= GV_CHUNK_SMALL;
    gv_chunk_t *chunk = take_chunk(pool, is_small ? GV_CHUNK_SMALL : GV_CHUNK_LARGE);
    link_segment(out, &chunk->segment);
}

uint8_t *gv__outbuf_reserve_chunk(gv_outbuf_t *out, gv_chunkpool_t *pool, size_t size)
{
    GV_ASSERT(size <= GV_CHUNK_LARGE);
    add_chunk(out, pool, size);
    return out->_last->_end;
}

void gv__outbuf_append_chunks(gv_outbuf_t *out, gv_chunkpool_t *pool, gv_bytes_t bytes)
{
    while (bytes.size > 0) {
        size_t room = gv__outbuf_room(out);
        if (room == 0) {
            add_chunk(out, pool, bytes.size);
            room = gv__outbuf_room(out);
        }
        size_t size = bytes.size < room ? bytes.size : room;
        memcpy(out->_last->_end, bytes.data, size);
        gv_outbuf_commit(out, size);
        bytes.data += size;
        bytes.size -= size;
    }
}

/* The next place in a chunk where a segment can stand. */
static uint8_t *segment_place(uint8_t *pos)
{
    size_t past = (uintptr_t)pos % alignof(gv_segment_t);
    return past == 0 ? pos : pos + (alignof(gv_segment_t) - past);
}

/* Cuts a new last segment out of the last one's room, with the room behind it. */
static void split_last(gv_outbuf_t *out)
{
    gv_segment_t *last = out->_last;
    uint8_t *place = segment_place(last->_end);
    gv_segment_t *segment = (gv_segment_t *)(void *)place;
    uint8_t *bytes = place + sizeof(*segment);
    GV_ASSERT(bytes <= last->_room_end);
    *segment = (gv_segment_t){
        ._start = bytes, ._end = bytes, ._room_end = last->_room_end, ._chunk = last->_chunk};
    /* The chunk goes back with the last segment that stands in it. */
    last->_chunk = NULL;
    link_segment(out, segment);
}

void gv_outbuf_append_ref(gv_outbuf_t *out, gv_chunkpool_t *pool, gv_msgbuf_t *buf, size_t offset,
                          size_t size)
{
    const size_t needed = 2 * sizeof(gv_segment_t) + alignof(gv_segment_t) + ROOM_AFTER_REF_MIN;
    gv_bytes_t bytes = gv_msgbuf_bytes(buf);
    GV_ASSERT(offset <= bytes.size);
    GV_ASSERT(size <= bytes.size - offset);
    if (size == 0) {
        return;
    }
    if (gv__outbuf_room(out) < needed) {
        add_chunk(out, pool, needed);
    }
    /*
     * Two new segments: the first becomes the reference, the second has the room that is left and
     * owns the chunk, because it is consumed last.
     */
    split_last(out);
    gv_segment_t *ref = out->_last;
    split_last(out);
    ref->_start = bytes.data + offset;
    ref->_end = (uint8_t *)(uintptr_t)(ref->_start + size); /* closed: nobody writes there */
    ref->_room_end = ref->_end;
    ref->_ref = gv_msgbuf_ref(buf);
    out->_size += size;
}

/* ---- writing and forgetting ----------------------------------------------------------------- */

static size_t segment_size(const gv_segment_t *segment)
{
    return (size_t)(segment->_end - segment->_start);
}

size_t gv_outbuf_iovec(const gv_outbuf_t *out, gv_bytes_t *vec, size_t count_max)
{
    size_t count = 0;
    for (const gv_segment_t *s = out->_first; s != NULL && count < count_max; s = s->_next) {
        if (segment_size(s) > 0) {
            vec[count++] = (gv_bytes_t){.data = s->_start, .size = segment_size(s)};
        }
    }
    return count;
}

static void drop_first(gv_outbuf_t *out, gv_chunkpool_t *pool)
{
    gv_segment_t *first = out->_first;
    out->_first = first->_next;
    if (out->_first == NULL) {
        out->_last = NULL;
    }
    gv_msgbuf_unref(&first->_ref);
    if (first->_chunk != NULL) {
        give_chunk_back(pool, first->_chunk); /* and with it `first` */
    }
}

void gv_outbuf_consume(gv_outbuf_t *out, gv_chunkpool_t *pool, size_t size)
{
    GV_ASSERT(size <= out->_size);
    out->_size -= size;
    if (out->_size == 0) {
        gv_outbuf_clear(out, pool);
        return;
    }
    while (size >= segment_size(out->_first)) {
        size -= segment_size(out->_first);
        drop_first(out, pool);
    }
    out->_first->_start += size;
}

void gv_outbuf_clear(gv_outbuf_t *out, gv_chunkpool_t *pool)
{
    GV_ASSERT(out != NULL);
    while (out->_first != NULL) {
        drop_first(out, pool);
    }
    out->_size = 0;
}

/* ---- moving to another pool ----------------------------------------------------------------- */

static size_t chunks_memory(const gv_outbuf_t *out)
{
    size_t sum = 0;
    for (const gv_segment_t *s = out->_first; s != NULL; s = s->_next) {
        sum += s->_chunk != NULL ? chunk_memory(s->_chunk) : 0;
    }
    return sum;
}

void gv_outbuf_leave(const gv_outbuf_t *out, gv_chunkpool_t *from)
{
    size_t memory = chunks_memory(out);
    GV_ASSERT(from->_bytes_out >= memory);
    from->_bytes_out -= memory;
}

void gv_outbuf_join(const gv_outbuf_t *out, gv_chunkpool_t *to)
{
    to->_bytes_out += chunks_memory(out);
}
