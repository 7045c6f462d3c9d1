/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_keytable: entries of one size by a key of 16 bytes, densely packed.
 *
 * For millions of small records: the entries stand in one array, an index of 4 bytes each finds
 * them.  Keys are hashes already.  Who removes an entry puts the last one into its place, so a walk
 * from the end downwards misses nothing, whatever is added or removed meanwhile.
 *
 * Threads: the owner's.  Memory: entries and a quarter more at most while growing, and 5 to 11
 * bytes of index each; growing copies, which is some 30 ms for a million.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"

/* Uniformly distributed. */
typedef struct gv_id_key {
    uint64_t words[2];
} gv_id_key_t;

static inline bool gv_id_key_equal(const gv_id_key_t *a, const gv_id_key_t *b)
{
    return a->words[0] == b->words[0] && a->words[1] == b->words[1];
}

/* Public only so that owners can embed it.  Names that start with _ are not for callers. */
typedef struct gv_keytable {
    uint8_t *_entries;
    uint32_t *_index; /* the place of an entry, and one */
    size_t _entry_size;
    size_t _count;
    size_t _capacity;
    size_t _index_size; /* a power of two, or 0 */
} gv_keytable_t;

/* Entries are aligned for a uint64_t and begin with their key. */
void gv_keytable_init(gv_keytable_t *table, size_t entry_size);
void gv_keytable_deinit(gv_keytable_t *table);

static inline size_t gv_keytable_count(const gv_keytable_t *table)
{
    return table->_count;
}

/* All entries stand at 0 to count - 1; borrowed until the next change of the table. */
static inline void *gv_keytable_at(const gv_keytable_t *table, size_t place)
{
    GV_ASSERT(place < table->_count);
    return table->_entries + place * table->_entry_size;
}

/* The entry with this key, borrowed until the next change of the table, or NULL. */
void *gv_keytable_find(const gv_keytable_t *table, const gv_id_key_t *key);

/* Adds an entry, which is zero but for the key, at the end; the key is new.  NULL: no memory. */
void *gv_keytable_add(gv_keytable_t *table, const gv_id_key_t *key);

/* Takes an entry of the table out. */
void gv_keytable_remove(gv_keytable_t *table, void *entry);
