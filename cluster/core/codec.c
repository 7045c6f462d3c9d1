/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/core/codec.h"

#include "base/alloc.h"

#define CHUNK_SIZE ((size_t)65536)
#define ALIGNMENT  ((size_t)16)

struct gv_arena_chunk {
    gv_arena_chunk_t *older;
    size_t size; /* of data */
    size_t used;
    _Alignas(16) uint8_t data[];
};

void gv_arena_init(gv_arena_t *arena, size_t max)
{
    *arena = (gv_arena_t){._max = max};
}

static void free_chunks_until(gv_arena_t *arena, const gv_arena_chunk_t *kept)
{
    while (arena->_chunks != kept) {
        gv_arena_chunk_t *chunk = arena->_chunks;
        arena->_chunks = chunk->older;
        arena->_total -= chunk->size;
        gv_free(chunk);
    }
}

void gv_arena_deinit(gv_arena_t *arena)
{
    free_chunks_until(arena, NULL);
}

void gv_arena_reset(gv_arena_t *arena)
{
    gv_arena_chunk_t *oldest = arena->_chunks;
    while (oldest != NULL && oldest->older != NULL) {
        oldest = oldest->older;
    }
    if (oldest == NULL) {
        return;
    }
    free_chunks_until(arena, oldest);
    oldest->used = 0;
    if (oldest->size > CHUNK_SIZE) {
        free_chunks_until(arena, NULL);
    }
}

void *gv_arena_alloc(gv_arena_t *arena, size_t size)
{
    if (size > arena->_max) {
        return NULL;
    }
    size_t rounded = (size + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
    gv_arena_chunk_t *chunk = arena->_chunks;
    if (chunk == NULL || chunk->size - chunk->used < rounded) {
        size_t wanted = rounded > CHUNK_SIZE ? rounded : CHUNK_SIZE;
        if (wanted > arena->_max - arena->_total) {
            return NULL;
        }
        /* Bounded by the arena, and gone with the frame: the limit of memory is not for it. */
        chunk = gv_xalloc(sizeof(*chunk) + wanted);
        chunk->older = arena->_chunks;
        chunk->size = wanted;
        chunk->used = 0;
        arena->_chunks = chunk;
        arena->_total += wanted;
    }
    void *room = chunk->data + chunk->used;
    chunk->used += rounded;
    return room;
}

static void *allocator_alloc(void *arg, size_t size)
{
    return gv_arena_alloc(arg, size);
}

static void allocator_free(void *arg, void *pointer)
{
    (void)arg;
    (void)pointer;
}

ProtobufCAllocator gv_arena_allocator(gv_arena_t *arena)
{
    return (ProtobufCAllocator){
        .alloc = allocator_alloc, .free = allocator_free, .allocator_data = arena};
}

bool gv_codec_get_id(const ProtobufCBinaryData *field, gv_node_id_t *id_out)
{
    static const gv_node_id_t nobody;
    *id_out = nobody;
    if (field->len != GV_NODE_ID_SIZE) {
        return false;
    }
    memcpy(id_out->bytes, field->data, GV_NODE_ID_SIZE);
    return !gv_node_id_equal(id_out, &nobody);
}

ProtobufCBinaryData gv_codec_put_id(const gv_node_id_t *id)
{
    /* Packing only reads; the generated type is not const. */
    return (ProtobufCBinaryData){.len = GV_NODE_ID_SIZE, .data = (uint8_t *)(uintptr_t)id->bytes};
}

bool gv_codec_get_text(const char *field, char *out, size_t out_size)
{
    out[0] = '\0';
    size_t size = strlen(field);
    if (size >= out_size) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        if (field[i] < 0x20 || field[i] > 0x7e) {
            return false;
        }
    }
    memcpy(out, field, size + 1);
    return true;
}

int gv_incarnation_compare(gv_incarnation_t a, gv_incarnation_t b)
{
    if (a.start_counter != b.start_counter) {
        return a.start_counter < b.start_counter ? -1 : 1;
    }
    if (a.boot_id != b.boot_id) {
        return a.boot_id < b.boot_id ? -1 : 1;
    }
    return 0;
}
