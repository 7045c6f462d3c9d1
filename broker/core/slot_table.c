/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/slot_table.h"

#include <limits.h>

#define SLOTS_MIN ((uint64_t)4)

/* The hash in an object has 32 bits; more slots than that would never be used. */
#define SLOTS_MAX ((uint64_t)1 << 32)

/* How far ahead a rebuild asks for the objects it will need: their hashes are cache misses. */
enum {
    PREFETCH_DISTANCE = 16
};

_Static_assert(sizeof(void *) == sizeof(uint64_t), "a slot is a pointer with a tag above it");

/* Behind the slots of an array. */
typedef struct slot_counts {
    uint32_t objects;
    uint32_t filled; /* objects and tombstones */
} slot_counts_t;

static slot_counts_t *counts_of(const gv__slot_array_t *array)
{
    return (slot_counts_t *)(uintptr_t)&array->slots[array->mask + 1];
}

static size_t array_bytes(uint64_t slots)
{
    return sizeof(gv__slot_array_t) + slots * sizeof(uint64_t) + sizeof(slot_counts_t);
}

static uint64_t make_slot(uint64_t hash, const gv_slot_key_t *object)
{
    uint64_t pointer = (uint64_t)(uintptr_t)object;
    GV_ASSERT((pointer & ~GV__SLOT_POINTER_MASK) == 0);
    GV_ASSERT((pointer & GV__SLOT_ARRAY_BIT) == 0);
    return gv__slot_tag(hash) | pointer;
}

/* The writer reads what it wrote itself. */
static uint64_t load_word(const gv_slot_table_t *table)
{
    return atomic_load_explicit(&table->_word, memory_order_relaxed);
}

static uint64_t load_slot(const gv__slot_array_t *array, uint64_t i)
{
    return atomic_load_explicit(&array->slots[i], memory_order_relaxed);
}

/* The only array of the table, or NULL when it has none. */
static gv__slot_array_t *array_of(const gv_slot_table_t *table)
{
    uint64_t word = load_word(table);
    return (word & GV__SLOT_ARRAY_BIT) != 0 ? gv__slot_array(word) : NULL;
}

static gv__slot_array_t *new_array(gv_shared_heap_t *heap, uint64_t slots)
{
    gv__slot_array_t *array = gv_shared_heap_alloc(heap, array_bytes(slots));
    array->mask = slots - 1;
    for (uint64_t i = 0; i < slots; i++) {
        atomic_init(&array->slots[i], 0);
    }
    *counts_of(array) = (slot_counts_t){.objects = 0, .filled = 0};
    return array;
}

/* Into the first slot that holds no object; the release publishes the object. */
static void put(gv__slot_array_t *array, uint64_t slot)
{
    const gv_slot_key_t *object = gv__slot_object(slot);
    uint64_t i = object->hash & array->mask;
    while (load_slot(array, i) > GV__SLOT_TOMBSTONE) {
        i = (i + 1) & array->mask;
    }
    slot_counts_t *counts = counts_of(array);
    counts->objects++;
    counts->filled += load_slot(array, i) == 0;
    atomic_store_explicit(&array->slots[i], slot, memory_order_release);
}

/* At most half full, so that the next rebuild is at least half a table of additions away. */
static uint64_t slots_for(uint64_t objects)
{
    uint64_t slots = SLOTS_MIN;
    while (slots < objects * 2) {
        slots *= 2;
    }
    GV_ASSERT(slots <= SLOTS_MAX);
    return slots;
}

static void copy_objects(gv__slot_array_t *to, const gv__slot_array_t *from)
{
    for (uint64_t i = 0; i <= from->mask; i++) {
        if (i + PREFETCH_DISTANCE <= from->mask) {
            __builtin_prefetch(gv__slot_object(load_slot(from, i + PREFETCH_DISTANCE)));
        }
        uint64_t slot = load_slot(from, i);
        if (slot > GV__SLOT_TOMBSTONE) {
            put(to, slot);
        }
    }
}

/* Makes `array`, filled with what the table holds, the table's array. */
static void replace_array(gv_slot_table_t *table, gv_shared_heap_t *heap, gv__slot_array_t *array)
{
    gv__slot_array_t *old = array_of(table);
    atomic_store_explicit(&table->_word, (uint64_t)(uintptr_t)array | GV__SLOT_ARRAY_BIT,
                          memory_order_release);
    if (old != NULL) {
        gv_shared_heap_retire(heap, old, array_bytes(old->mask + 1));
    }
}

void gv_slot_table_add(gv_slot_table_t *table, gv_shared_heap_t *heap, uint64_t hash,
                       gv_slot_key_t *object)
{
    GV_ASSERT(object != NULL);
    GV_ASSERT(object->hash == (uint32_t)hash);
    uint64_t slot = make_slot(hash, object);
    uint64_t word = load_word(table);
    if (word == 0) {
        atomic_store_explicit(&table->_word, slot, memory_order_release);
        return;
    }

    gv__slot_array_t *array = array_of(table);
    if (array != NULL && counts_of(array)->filled < (array->mask + 1) / 4 * 3) {
        put(array, slot);
        return;
    }
    /* The new object goes in before the array is published: readers get both with one store. */
    gv__slot_array_t *bigger = new_array(heap, slots_for(gv_slot_table_count(table) + 1));
    if (array != NULL) {
        copy_objects(bigger, array);
    } else {
        put(bigger, word);
    }
    put(bigger, slot);
    replace_array(table, heap, bigger);
}

/*
 * No lookup needs to go on behind slot i if it would find nothing there: then i, and tombstones
 * just before it, may become empty again.  Without this, a table that comes and goes would fill up.
 */
static void clear_slot(gv__slot_array_t *array, uint64_t i)
{
    slot_counts_t *counts = counts_of(array);
    counts->objects--;
    if (load_slot(array, (i + 1) & array->mask) != 0) {
        atomic_store_explicit(&array->slots[i], GV__SLOT_TOMBSTONE, memory_order_relaxed);
        return;
    }
    do {
        atomic_store_explicit(&array->slots[i], 0, memory_order_relaxed);
        counts->filled--;
        i = (i - 1) & array->mask;
    } while (load_slot(array, i) == GV__SLOT_TOMBSTONE);
}

void gv_slot_table_remove(gv_slot_table_t *table, gv_slot_key_t *object)
{
    GV_ASSERT(object != NULL);
    gv__slot_array_t *array = array_of(table);
    if (array == NULL) {
        GV_ASSERT(gv__slot_object(load_word(table)) == object);
        atomic_store_explicit(&table->_word, 0, memory_order_relaxed);
        return;
    }
    uint64_t i = object->hash & array->mask;
    while (gv__slot_object(load_slot(array, i)) != object) {
        GV_ASSERT(load_slot(array, i) != 0);
        i = (i + 1) & array->mask;
    }
    clear_slot(array, i);
}

void gv_slot_table_tidy(gv_slot_table_t *table, gv_shared_heap_t *heap)
{
    gv__slot_array_t *array = array_of(table);
    if (array == NULL) {
        return;
    }
    uint64_t slots = array->mask + 1;
    uint32_t objects = counts_of(array)->objects;
    if (objects == 0) {
        atomic_store_explicit(&table->_word, 0, memory_order_relaxed);
        gv_shared_heap_retire(heap, array, array_bytes(slots));
    } else if (slots > SLOTS_MIN && objects <= slots / 8) {
        gv__slot_array_t *smaller = new_array(heap, slots_for(objects));
        copy_objects(smaller, array);
        replace_array(table, heap, smaller);
    }
}

size_t gv_slot_table_count(const gv_slot_table_t *table)
{
    const gv__slot_array_t *array = array_of(table);
    return array != NULL ? counts_of(array)->objects : !gv_slot_table_is_empty(table);
}

void *gv_slot_table_next(const gv_slot_table_t *table, size_t *cursor)
{
    const gv__slot_array_t *array = array_of(table);
    if (array == NULL) {
        return (*cursor)++ == 0 ? gv__slot_object(load_word(table)) : NULL;
    }
    while (*cursor <= array->mask) {
        uint64_t slot = load_slot(array, (*cursor)++);
        if (slot > GV__SLOT_TOMBSTONE) {
            return gv__slot_object(slot);
        }
    }
    return NULL;
}

void gv_slot_table_deinit(gv_slot_table_t *table, gv_shared_heap_t *heap)
{
    gv__slot_array_t *array = array_of(table);
    if (array != NULL) {
        gv_shared_heap_free(heap, array, array_bytes(array->mask + 1));
    }
    atomic_store_explicit(&table->_word, 0, memory_order_relaxed);
}
