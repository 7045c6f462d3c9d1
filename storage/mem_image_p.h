/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * All tables of the store in memory, as somebody would read them: sorted arrays of records.  The
 * store has two, one of what is committed and one of what is on its "disk".
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

#include "storage/batch.h"
#include "storage/keys.h"

typedef struct gv__image_record {
    size_t key_size;
    size_t value_size;
    uint8_t data[]; /* key, value */
} gv__image_record_t;

typedef struct gv__image_table {
    gv__image_record_t **records; /* in the order of the keys */
    size_t count;
    size_t capacity;
} gv__image_table_t;

/* All zero is an empty one. */
typedef struct gv__image {
    gv__image_table_t tables[GV_TABLE_COUNT];
    uint64_t bytes; /* keys, values, and something for each record's head */
} gv__image_t;

/* Makes the changes of the batch, in their order. */
void gv__image_apply(gv__image_t *image, const gv_batch_t *batch);

/* Makes `to`, which is cleared first, the same as `from`. */
void gv__image_copy(gv__image_t *to, const gv__image_t *from);

/* Frees everything; the image is empty then. */
void gv__image_clear(gv__image_t *image);

/* The index of the first record whose key is not below `key`; may be the count. */
size_t gv__image_find(const gv__image_table_t *table, gv_bytes_t key);

/* Whether the record at this index (the count included) has exactly this key. */
bool gv__image_has(const gv__image_table_t *table, size_t index, gv_bytes_t key);

static inline gv_bytes_t gv__image_key(const gv__image_record_t *record)
{
    return gv_bytes(record->data, record->key_size);
}

static inline gv_bytes_t gv__image_value(const gv__image_record_t *record)
{
    return gv_bytes(record->data + record->key_size, record->value_size);
}
