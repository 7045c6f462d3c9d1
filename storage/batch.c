/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_STORE

#include "storage/batch.h"

#include "base/alloc.h"

#include "storage/batch_p.h"

/*
 * The arena is a row of operations without gaps: a head, the key, the value.  Heads are copied in
 * and out, since they are not aligned.
 */
typedef struct op_head {
    uint32_t value_size;
    uint16_t key_size;
    uint8_t kind;
    uint8_t table;
} op_head_t;

#define ARENA_FIRST_SIZE ((size_t)512)

_Static_assert(sizeof(op_head_t) == 8, "no padding is copied");
_Static_assert(GV_KEY_SIZE_MAX <= UINT16_MAX, "a key's size fits");

void gv_batch_new(gv_batch_t **batch_out)
{
    GV_ASSERT(batch_out != NULL);
    *batch_out = GV_NEW(gv_batch_t);
}

void gv_batch_free(gv_batch_t **batchp)
{
    GV_ASSERT(batchp != NULL);
    gv_batch_t *batch = *batchp;
    *batchp = NULL;
    if (batch == NULL) {
        return;
    }
    GV_ASSERT(!gv_link_is_linked(&batch->link));
    gv_free(batch->_arena);
    gv_free(batch->joins);
    gv_free(batch);
}

/* Room at the end of the arena, or NULL and the sticky error. */
static uint8_t *arena_room(gv_batch_t *batch, size_t size)
{
    if (batch->_error != GV_OK) {
        return NULL;
    }
    if (batch->_capacity - batch->_size < size) {
        size_t capacity = batch->_capacity == 0 ? ARENA_FIRST_SIZE : batch->_capacity * 2;
        while (capacity - batch->_size < size) {
            capacity *= 2;
        }
        uint8_t *arena = gv_try_realloc(batch->_arena, capacity);
        if (arena == NULL) {
            batch->_error = GV_ERR_NOMEM;
            return NULL;
        }
        batch->_arena = arena;
        batch->_capacity = capacity;
    }
    uint8_t *room = batch->_arena + batch->_size;
    batch->_size += size;
    return room;
}

/* What removes keys only, and so makes room. */
static bool is_removal(gv_batch_kind_t kind)
{
    return kind == GV_BATCH_DELETE || kind == GV_BATCH_UNSHARE;
}

/* A shared value is a key beside the holder's. */
static size_t keys_of(gv_batch_kind_t kind)
{
    return kind == GV_BATCH_SHARE || kind == GV_BATCH_UNSHARE ? 2 : 1;
}

/* Adds head and key; returns the room for the value, or NULL when the batch has failed. */
static uint8_t *add_op(gv_batch_t *batch, gv_batch_kind_t kind, gv_table_t table, gv_bytes_t key,
                       size_t value_size)
{
    GV_ASSERT(batch != NULL);
    GV_ASSERT((unsigned)table < GV_TABLE_COUNT);
    GV_ASSERT(key.size >= 1);
    GV_ASSERT(key.size <= GV_KEY_SIZE_MAX);
    if (value_size > UINT32_MAX) {
        batch->_error = GV_ERR_LIMIT;
        return NULL;
    }
    op_head_t head = {
        .value_size = (uint32_t)value_size,
        .key_size = (uint16_t)key.size,
        .kind = (uint8_t)kind,
        .table = (uint8_t)table,
    };
    uint8_t *room = arena_room(batch, sizeof(head) + key.size + value_size);
    if (room == NULL) {
        return NULL;
    }
    memcpy(room, &head, sizeof(head));
    memcpy(room + sizeof(head), key.data, key.size);
    batch->_count += keys_of(kind);
    batch->_has_puts = batch->_has_puts || !is_removal(kind);
    return room + sizeof(head) + key.size;
}

static void add_value(gv_batch_t *batch, gv_batch_kind_t kind, gv_table_t table, gv_bytes_t key,
                      gv_bytes_t value)
{
    uint8_t *room = add_op(batch, kind, table, key, value.size);
    if (room != NULL && value.size > 0) {
        memcpy(room, value.data, value.size);
    }
}

void gv_batch_put(gv_batch_t *batch, gv_table_t table, gv_bytes_t key, gv_bytes_t value)
{
    add_value(batch, GV_BATCH_PUT, table, key, value);
}

uint8_t *gv_batch_put_room(gv_batch_t *batch, gv_table_t table, gv_bytes_t key, size_t size)
{
    return add_op(batch, GV_BATCH_PUT, table, key, size);
}

void gv_batch_append(gv_batch_t *batch, gv_table_t table, gv_bytes_t key, gv_bytes_t value)
{
    add_value(batch, GV_BATCH_APPEND, table, key, value);
}

void gv_batch_delete(gv_batch_t *batch, gv_table_t table, gv_bytes_t key)
{
    add_value(batch, GV_BATCH_DELETE, table, key, GV_BYTES_EMPTY);
}

uint8_t *gv_batch_share_room(gv_batch_t *batch, gv_table_t table, uint64_t number, uint64_t holder,
                             size_t size)
{
    GV_ASSERT(holder != 0);
    gv_key_t key;
    gv_key_from_number_pair(&key, number, holder);
    return add_op(batch, GV_BATCH_SHARE, table, gv_key_bytes(&key), size);
}

void gv_batch_share(gv_batch_t *batch, gv_table_t table, uint64_t number, uint64_t holder,
                    gv_bytes_t value)
{
    uint8_t *room = gv_batch_share_room(batch, table, number, holder, value.size);
    if (room != NULL && value.size > 0) {
        memcpy(room, value.data, value.size);
    }
}

void gv_batch_unshare(gv_batch_t *batch, gv_table_t table, uint64_t number, uint64_t holder)
{
    GV_ASSERT(holder != 0);
    gv_key_t key;
    gv_key_from_number_pair(&key, number, holder);
    add_value(batch, GV_BATCH_UNSHARE, table, gv_key_bytes(&key), GV_BYTES_EMPTY);
}

void gv_batch_set_draining(gv_batch_t *batch)
{
    GV_ASSERT(batch != NULL);
    batch->_draining = true;
}

void gv_batch_follow(gv_batch_t *batch)
{
    GV_ASSERT(batch->lane == NULL);
    batch->_follows = true;
}

bool gv_batch_is_draining(const gv_batch_t *batch)
{
    return batch->_draining || !batch->_has_puts;
}

void gv_batch_join(gv_batch_t *batch, uint64_t join, uint32_t parts)
{
    GV_ASSERT(batch != NULL);
    GV_ASSERT(parts >= 1);
    if (parts == 1) {
        return;
    }
    /* No answer but the end if there is no memory: the other parts would wait for this one. */
    if (batch->join_count == batch->_join_capacity) {
        batch->_join_capacity = batch->_join_capacity == 0 ? 8 : batch->_join_capacity * 2;
        batch->joins = gv_xrealloc(batch->joins, batch->_join_capacity * sizeof(gv__join_t));
    }
    batch->joins[batch->join_count++] = (gv__join_t){.number = join, .parts = parts};
}

size_t gv_batch_count(const gv_batch_t *batch)
{
    return batch->_count;
}

size_t gv_batch_bytes(const gv_batch_t *batch)
{
    return batch->_size;
}

gv_err_t gv_batch_error(const gv_batch_t *batch)
{
    return batch->_error;
}

bool gv_batch_next(const gv_batch_t *batch, size_t *cursor, gv_batch_op_t *op_out)
{
    GV_ASSERT(*cursor <= batch->_size);
    if (*cursor == batch->_size) {
        return false;
    }
    op_head_t head;
    const uint8_t *pos = batch->_arena + *cursor;
    memcpy(&head, pos, sizeof(head));
    pos += sizeof(head);
    op_out->kind = (gv_batch_kind_t)head.kind;
    op_out->table = (gv_table_t)head.table;
    op_out->key = gv_bytes(pos, head.key_size);
    op_out->value = gv_bytes(pos + head.key_size, head.value_size);
    *cursor += sizeof(head) + head.key_size + head.value_size;
    GV_ASSERT(*cursor <= batch->_size);
    return true;
}

void gv__batch_shared_key(const gv_batch_op_t *op, uint64_t holder, gv_key_t *key_out)
{
    GV_ASSERT(op->kind == GV_BATCH_SHARE || op->kind == GV_BATCH_UNSHARE);
    gv_reader_t r = gv_reader(op->key);
    gv_key_from_number_pair(key_out, gv_reader_u64(&r), holder);
}

bool gv__batch_shares(const gv_batch_op_t *op, gv_bytes_t key)
{
    return gv_bytes_has_prefix(key, gv_bytes(op->key.data, sizeof(uint64_t)));
}

void gv__batch_add_all(gv_batch_t *to, const gv_batch_t *from)
{
    GV_ASSERT(from->_error == GV_OK);
    uint8_t *room = from->_size > 0 ? arena_room(to, from->_size) : NULL;
    if (room != NULL) {
        memcpy(room, from->_arena, from->_size);
        to->_count += from->_count;
        to->_has_puts = to->_has_puts || from->_has_puts;
    }
}
