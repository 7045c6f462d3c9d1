/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_STORE

#include "storage/records.h"

#include "base/alloc.h"

/* Over everything but itself: see the header. */
static uint32_t checksum(gv_table_t table, gv_bytes_t key, uint8_t version, gv_bytes_t body)
{
    uint8_t head[] = {(uint8_t)table, (uint8_t)(key.size >> 8), (uint8_t)key.size, version};
    uint32_t crc = gv_crc32c(0, gv_bytes(head, sizeof(head)));
    crc = gv_crc32c(crc, key);
    return gv_crc32c(crc, body);
}

void gv_record_seal(gv_table_t table, gv_bytes_t key, uint8_t *value, size_t size)
{
    GV_ASSERT(size >= GV_RECORD_HEAD_SIZE);
    gv_bytes_t body = gv_bytes(value + GV_RECORD_HEAD_SIZE, size - GV_RECORD_HEAD_SIZE);
    gv_writer_t head = gv_writer(value, GV_RECORD_HEAD_SIZE);
    gv_writer_u8(&head, GV_RECORD_VERSION);
    gv_writer_u32(&head, checksum(table, key, GV_RECORD_VERSION, body));
    GV_ASSERT(!head.failed);
}

void gv_record_put(gv_batch_t *batch, gv_table_t table, gv_bytes_t key,
                   const ProtobufCMessage *message)
{
    size_t body_size = protobuf_c_message_get_packed_size(message);
    uint8_t *room = gv_batch_put_room(batch, table, key, GV_RECORD_HEAD_SIZE + body_size);
    if (room == NULL) {
        return; /* the batch remembers */
    }
    size_t packed_size = protobuf_c_message_pack(message, room + GV_RECORD_HEAD_SIZE);
    GV_ASSERT(packed_size == body_size);
    gv_record_seal(table, key, room, GV_RECORD_HEAD_SIZE + body_size);
}

gv_err_t gv_record_open(gv_table_t table, gv_bytes_t key, gv_bytes_t value, gv_bytes_t *body_out)
{
    *body_out = GV_BYTES_EMPTY;
    gv_reader_t r = gv_reader(value);
    uint8_t version = gv_reader_u8(&r);
    uint32_t crc = gv_reader_u32(&r);
    gv_bytes_t body = gv_reader_take(&r, gv_reader_left(&r));
    if (r.failed || crc != checksum(table, key, version, body)) {
        return GV_ERR_CORRUPT;
    }
    if (version != GV_RECORD_VERSION) {
        return GV_ERR_VERSION;
    }
    *body_out = body;
    return GV_OK;
}

gv_err_t gv_record_unpack(gv_table_t table, gv_bytes_t key, gv_bytes_t value,
                          const ProtobufCMessageDescriptor *descriptor,
                          ProtobufCMessage **message_out)
{
    *message_out = NULL;
    gv_bytes_t body;
    gv_err_t err = gv_record_open(table, key, value, &body);
    if (err != GV_OK) {
        return err;
    }
    *message_out = protobuf_c_message_unpack(descriptor, NULL, body.size, body.data);
    return *message_out != NULL ? GV_OK : GV_ERR_CORRUPT;
}

void gv_record_free(ProtobufCMessage **messagep)
{
    ProtobufCMessage *message = *messagep;
    *messagep = NULL;
    if (message != NULL) {
        protobuf_c_message_free_unpacked(message, NULL);
    }
}

/* ---- arena ---- */

typedef struct gv__record_piece {
    struct gv__record_piece *next;
    _Alignas(max_align_t) uint8_t room[];
} record_piece_t;

void gv_record_arena_init(gv_record_arena_t *arena)
{
    arena->_used = 0;
    arena->_pieces = NULL;
}

void gv_record_arena_deinit(gv_record_arena_t *arena)
{
    for (record_piece_t *piece; (piece = arena->_pieces) != NULL;) {
        arena->_pieces = piece->next;
        gv_free(piece);
    }
    arena->_used = 0;
}

static void *arena_alloc(void *allocator_data, size_t size)
{
    gv_record_arena_t *arena = allocator_data;
    size_t alignment = _Alignof(max_align_t);
    size_t left = sizeof(arena->_room) - arena->_used;
    if (size <= left) {
        void *room = arena->_room + arena->_used;
        size_t padded = (size + alignment - 1) / alignment * alignment;
        arena->_used += padded < left ? padded : left;
        return room;
    }
    record_piece_t *piece = gv_try_alloc(sizeof(*piece) + size);
    if (piece == NULL) {
        return NULL;
    }
    piece->next = arena->_pieces;
    arena->_pieces = piece;
    return piece->room;
}

/* Everything goes at once, with the next message. */
static void arena_free(void *allocator_data, void *room)
{
    (void)allocator_data;
    (void)room;
}

gv_err_t gv_record_unpack_in(gv_record_arena_t *arena, gv_table_t table, gv_bytes_t key,
                             gv_bytes_t value, const ProtobufCMessageDescriptor *descriptor,
                             const ProtobufCMessage **message_out)
{
    *message_out = NULL;
    gv_bytes_t body;
    gv_err_t err = gv_record_open(table, key, value, &body);
    if (err != GV_OK) {
        return err;
    }
    gv_record_arena_deinit(arena);
    ProtobufCAllocator allocator = {
        .alloc = arena_alloc, .free = arena_free, .allocator_data = arena};
    *message_out = protobuf_c_message_unpack(descriptor, &allocator, body.size, body.data);
    return *message_out != NULL ? GV_OK : GV_ERR_CORRUPT;
}
