/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_slot_table: a hash table that one thread changes while others look things up without locks.
 *
 * It holds pointers to the owner's objects, which carry their key and begin with gv_slot_key_t. The
 * table itself is one word:
 *
 *     0                     empty
 *     a slot                the only object (most nodes of a trie have one child)
 *     a pointer with bit 0  an array: open addressing, linear probing, a power of two of slots
 *
 * A slot is 16 bits of the hash above 48 bits of pointer, so that a probe seldom touches an object
 * with another key.  Adding is one store into a free slot, removing leaves a tombstone, and an
 * array that gets full is rebuilt aside and published with one store: at each moment a lookup finds
 * an object that was in the table all the time, and may or may not find one that is coming or
 * going.
 *
 * Threads: gv_slot_table_find() and _prefetch() from any thread in a read section, the rest by the
 * writer.  Objects are the owner's: take them out first, then retire them.
 * Memory: 16 bytes and 8 per slot, at most 3/4 full, 3/8 after growing; nothing for one object.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"
#include "broker/core/shared_heap.h"

/* The first member of each object in a table; set before it is added, unchanged while it is in. */
typedef struct gv_slot_key {
    uint32_t hash; /* the low half of its 64-bit hash: enough to move it to another array */
} gv_slot_key_t;

/* Does `object` have the key that is looked for?  Static inline, it is called in the probe. */
typedef bool gv_slot_is_t(const void *object, const void *key);

typedef struct gv_slot_table {
    _Atomic uint64_t _word;
} gv_slot_table_t;

/* Names that start with _ or gv__ are not for callers; they are here to be inlined. */
typedef struct gv__slot_array {
    uint64_t mask;            /* slots - 1 */
    _Atomic uint64_t slots[]; /* behind the last one: the writer's counts, away from the readers */
} gv__slot_array_t;

#define GV__SLOT_ARRAY_BIT    ((uint64_t)1)
#define GV__SLOT_TOMBSTONE    ((uint64_t)1)
#define GV__SLOT_POINTER_BITS 48
#define GV__SLOT_POINTER_MASK (((uint64_t)1 << GV__SLOT_POINTER_BITS) - 1)

static inline uint64_t gv__slot_tag(uint64_t hash)
{
    return hash & ~GV__SLOT_POINTER_MASK;
}

static inline void *gv__slot_object(uint64_t slot)
{
    return (void *)(uintptr_t)(slot & GV__SLOT_POINTER_MASK);
}

static inline gv__slot_array_t *gv__slot_array(uint64_t word)
{
    return (gv__slot_array_t *)(uintptr_t)(word & ~GV__SLOT_ARRAY_BIT);
}

/* The object in this slot if it is the one looked for; a tombstone never is. */
static inline void *gv__slot_try(uint64_t slot, uint64_t hash, gv_slot_is_t *is, const void *key)
{
    uint64_t pointer = slot ^ gv__slot_tag(hash);
    if (pointer > GV__SLOT_POINTER_MASK || pointer <= GV__SLOT_TOMBSTONE) {
        return NULL;
    }
    void *object = gv__slot_object(pointer);
    return is(object, key) ? object : NULL;
}

static inline void gv_slot_table_init(gv_slot_table_t *table)
{
    atomic_init(&table->_word, 0);
}

static inline bool gv_slot_table_is_empty(const gv_slot_table_t *table)
{
    return atomic_load_explicit(&table->_word, memory_order_relaxed) == 0;
}

/* Acquire: pairs with the writer's release, so that what an object holds is seen whole. */
static inline void *gv_slot_table_find(const gv_slot_table_t *table, uint64_t hash,
                                       gv_slot_is_t *is, const void *key)
{
    uint64_t word = atomic_load_explicit(&table->_word, memory_order_acquire);
    if ((word & GV__SLOT_ARRAY_BIT) == 0) {
        return gv__slot_try(word, hash, is, key);
    }
    const gv__slot_array_t *array = gv__slot_array(word);
    for (uint64_t i = hash & array->mask;; i = (i + 1) & array->mask) {
        uint64_t slot = atomic_load_explicit(&array->slots[i], memory_order_acquire);
        if (slot == 0) {
            return NULL;
        }
        void *object = gv__slot_try(slot, hash, is, key);
        if (object != NULL) {
            return object;
        }
    }
}

/* Brings the first slot nearer that a lookup of this hash will read. */
static inline void gv_slot_table_prefetch(const gv_slot_table_t *table, uint64_t hash)
{
    uint64_t word = atomic_load_explicit(&table->_word, memory_order_acquire);
    if ((word & GV__SLOT_ARRAY_BIT) != 0) {
        const gv__slot_array_t *array = gv__slot_array(word);
        __builtin_prefetch((const void *)&array->slots[hash & array->mask]);
    }
}

/* Adds an object whose key is not in the table.  `hash`: 64 bits; the object holds the low half. */
void gv_slot_table_add(gv_slot_table_t *table, gv_shared_heap_t *heap, uint64_t hash,
                       gv_slot_key_t *object);

/* Takes out an object of the table (asserted).  Moves no other: allowed while iterating. */
void gv_slot_table_remove(gv_slot_table_t *table, gv_slot_key_t *object);

/* Gives back what removals have left unused.  Not while iterating. */
void gv_slot_table_tidy(gv_slot_table_t *table, gv_shared_heap_t *heap);

size_t gv_slot_table_count(const gv_slot_table_t *table);

/* The next object; start with *cursor = 0, NULL ends it.  Adding and tidying meanwhile: no. */
void *gv_slot_table_next(const gv_slot_table_t *table, size_t *cursor);

/* Frees the array at once, not the objects: nobody reads any more. */
void gv_slot_table_deinit(gv_slot_table_t *table, gv_shared_heap_t *heap);
