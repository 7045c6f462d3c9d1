/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/core/keytable.h"

#include <string.h>

#include "base/alloc.h"

#define CAPACITY_MIN ((size_t)16)

/* So that a place and one fit into the index. */
#define CAPACITY_MAX ((size_t)1 << 31)

void gv_keytable_init(gv_keytable_t *table, size_t entry_size)
{
    GV_ASSERT(entry_size >= sizeof(gv_id_key_t));
    GV_ASSERT(entry_size % sizeof(uint64_t) == 0);
    *table = (gv_keytable_t){._entry_size = entry_size};
}

void gv_keytable_deinit(gv_keytable_t *table)
{
    gv_free(table->_entries);
    gv_free(table->_index);
}

static const gv_id_key_t *key_at(const gv_keytable_t *table, size_t place)
{
    return gv_keytable_at(table, place);
}

static size_t home_of(const gv_keytable_t *table, const gv_id_key_t *key)
{
    uint64_t hash = (key->words[0] ^ key->words[1]) * 0x9e3779b97f4a7c15U;
    return (size_t)(hash >> 32) & (table->_index_size - 1);
}

/* Where the key is in the index, or where it would be. */
static size_t slot_of(const gv_keytable_t *table, const gv_id_key_t *key)
{
    size_t slot = home_of(table, key);
    while (table->_index[slot] != 0 &&
           !gv_id_key_equal(key_at(table, table->_index[slot] - 1), key)) {
        slot = (slot + 1) & (table->_index_size - 1);
    }
    return slot;
}

void *gv_keytable_find(const gv_keytable_t *table, const gv_id_key_t *key)
{
    if (table->_count == 0) {
        return NULL;
    }
    uint32_t place = table->_index[slot_of(table, key)];
    return place == 0 ? NULL : gv_keytable_at(table, place - 1);
}

/* The index is at most three quarters full. */
static bool grow_index(gv_keytable_t *table)
{
    size_t size = table->_index_size == 0 ? CAPACITY_MIN : table->_index_size * 2;
    uint32_t *index = gv_try_realloc(NULL, size * sizeof(*index));
    if (index == NULL) {
        return false;
    }
    memset(index, 0, size * sizeof(*index));
    gv_free(table->_index);
    table->_index = index;
    table->_index_size = size;
    for (size_t i = 0; i < table->_count; i++) {
        table->_index[slot_of(table, key_at(table, i))] = (uint32_t)(i + 1);
    }
    return true;
}

static bool grow_entries(gv_keytable_t *table)
{
    size_t capacity = table->_capacity + table->_capacity / 4 + CAPACITY_MIN;
    if (capacity > CAPACITY_MAX) {
        return false;
    }
    uint8_t *entries = gv_try_realloc(table->_entries, capacity * table->_entry_size);
    if (entries == NULL) {
        return false;
    }
    table->_entries = entries;
    table->_capacity = capacity;
    return true;
}

void *gv_keytable_add(gv_keytable_t *table, const gv_id_key_t *key)
{
    if ((table->_count == table->_capacity && !grow_entries(table)) ||
        (table->_count >= table->_index_size / 4 * 3 && !grow_index(table))) {
        return NULL;
    }
    size_t slot = slot_of(table, key);
    GV_ASSERT(table->_index[slot] == 0);
    size_t place = table->_count++;
    table->_index[slot] = (uint32_t)(place + 1);
    void *entry = gv_keytable_at(table, place);
    memset(entry, 0, table->_entry_size);
    memcpy(entry, key, sizeof(*key));
    return entry;
}

/* Empties a slot: what stands behind it and could not be where it belongs moves up. */
static void clear_slot(gv_keytable_t *table, size_t slot)
{
    size_t mask = table->_index_size - 1;
    size_t next = (slot + 1) & mask;
    while (table->_index[next] != 0) {
        size_t home = home_of(table, key_at(table, table->_index[next] - 1));
        if (((next - home) & mask) >= ((next - slot) & mask)) {
            table->_index[slot] = table->_index[next];
            slot = next;
        }
        next = (next + 1) & mask;
    }
    table->_index[slot] = 0;
}

void gv_keytable_remove(gv_keytable_t *table, void *entry)
{
    size_t place = (size_t)((uint8_t *)entry - table->_entries) / table->_entry_size;
    GV_ASSERT(place < table->_count);
    size_t last = table->_count - 1;
    clear_slot(table, slot_of(table, key_at(table, place)));
    if (place != last) {
        table->_index[slot_of(table, key_at(table, last))] = (uint32_t)(place + 1);
        memcpy(entry, gv_keytable_at(table, last), table->_entry_size);
    }
    table->_count = last;
    if (last == 0) {
        gv_keytable_deinit(table);
        gv_keytable_init(table, table->_entry_size);
    }
}
