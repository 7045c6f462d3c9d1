/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_STORE

#include "storage/mem_image_p.h"

#include <string.h>

#include "base/alloc.h"

#include "storage/batch_p.h"

/* What a record costs beside its bytes; the order of magnitude of LMDB's node and page heads. */
#define RECORD_OVERHEAD 32U

static uint64_t cost_of(size_t key_size, size_t value_size)
{
    return (uint64_t)key_size + value_size + RECORD_OVERHEAD;
}

static gv__image_record_t *record_new(gv_bytes_t key, gv_bytes_t value)
{
    gv__image_record_t *record = gv_xalloc(sizeof(*record) + key.size + value.size);
    record->key_size = key.size;
    record->value_size = value.size;
    memcpy(record->data, key.data, key.size);
    if (value.size > 0) {
        memcpy(record->data + key.size, value.data, value.size);
    }
    return record;
}

size_t gv__image_find(const gv__image_table_t *table, gv_bytes_t key)
{
    size_t low = 0;
    size_t high = table->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (gv_bytes_compare(gv__image_key(table->records[middle]), key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

bool gv__image_has(const gv__image_table_t *table, size_t index, gv_bytes_t key)
{
    return index < table->count && gv_bytes_equal(gv__image_key(table->records[index]), key);
}

static void table_insert(gv__image_table_t *table, size_t index, gv__image_record_t *record)
{
    if (table->count == table->capacity) {
        table->capacity = table->capacity == 0 ? 16 : table->capacity * 2;
        table->records =
            gv_xrealloc(table->records, table->capacity * sizeof(gv__image_record_t *));
    }
    gv__image_record_t **at = table->records + index;
    memmove(at + 1, at, (table->count - index) * sizeof(gv__image_record_t *));
    *at = record;
    table->count++;
}

static void table_remove(gv__image_table_t *table, size_t index)
{
    gv__image_record_t **at = table->records + index;
    gv_free(*at);
    table->count--;
    memmove(at, at + 1, (table->count - index) * sizeof(gv__image_record_t *));
}

static void image_remove(gv__image_t *image, gv_table_t table_number, gv_bytes_t key)
{
    gv__image_table_t *table = &image->tables[table_number];
    size_t index = gv__image_find(table, key);
    if (gv__image_has(table, index, key)) {
        image->bytes -= cost_of(key.size, table->records[index]->value_size);
        table_remove(table, index);
    }
}

static void image_put(gv__image_t *image, gv_table_t table_number, gv_bytes_t key, gv_bytes_t value)
{
    image_remove(image, table_number, key);
    gv__image_table_t *table = &image->tables[table_number];
    table_insert(table, gv__image_find(table, key), record_new(key, value));
    image->bytes += cost_of(key.size, value.size);
}

static void image_share(gv__image_t *image, const gv_batch_op_t *op)
{
    const gv__image_table_t *table = &image->tables[op->table];
    gv_key_t key;
    gv__batch_shared_key(op, 0, &key);
    gv_bytes_t value_key = gv_key_bytes(&key);
    if (!gv__image_has(table, gv__image_find(table, value_key), value_key)) {
        image_put(image, op->table, value_key, op->value);
    }
    image_put(image, op->table, op->key, GV_BYTES_EMPTY);
}

static void image_unshare(gv__image_t *image, const gv_batch_op_t *op)
{
    const gv__image_table_t *table = &image->tables[op->table];
    image_remove(image, op->table, op->key);
    gv_key_t key;
    gv__batch_shared_key(op, 1, &key);
    size_t index = gv__image_find(table, gv_key_bytes(&key));
    bool is_held =
        index < table->count && gv__batch_shares(op, gv__image_key(table->records[index]));
    if (!is_held) {
        gv__batch_shared_key(op, 0, &key);
        image_remove(image, op->table, gv_key_bytes(&key));
    }
}

void gv__image_apply(gv__image_t *image, const gv_batch_t *batch)
{
    size_t cursor = 0;
    gv_batch_op_t op;
    while (gv_batch_next(batch, &cursor, &op)) {
        switch (op.kind) {
        case GV_BATCH_PUT:
        case GV_BATCH_APPEND:
            image_put(image, op.table, op.key, op.value);
            break;
        case GV_BATCH_DELETE:
            image_remove(image, op.table, op.key);
            break;
        case GV_BATCH_SHARE:
            image_share(image, &op);
            break;
        case GV_BATCH_UNSHARE:
            image_unshare(image, &op);
            break;
        }
    }
}

void gv__image_clear(gv__image_t *image)
{
    for (size_t t = 0; t < GV_TABLE_COUNT; t++) {
        gv__image_table_t *table = &image->tables[t];
        for (size_t i = 0; i < table->count; i++) {
            gv_free(table->records[i]);
        }
        gv_free(table->records);
    }
    *image = (gv__image_t){.bytes = 0};
}

void gv__image_copy(gv__image_t *to, const gv__image_t *from)
{
    gv__image_clear(to);
    for (size_t t = 0; t < GV_TABLE_COUNT; t++) {
        const gv__image_table_t *table = &from->tables[t];
        for (size_t i = 0; i < table->count; i++) {
            const gv__image_record_t *record = table->records[i];
            table_insert(&to->tables[t], i,
                         record_new(gv__image_key(record), gv__image_value(record)));
        }
    }
    to->bytes = from->bytes;
}
