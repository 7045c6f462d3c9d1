/* SPDX-License-Identifier: Apache-2.0 */
#include "base/map.h"

#include "base/alloc.h"

/*
 * Open addressing with linear probing.  A slot is 0 (empty) or the upper 16 bits of the key's hash
 * (the tag) above a 48-bit pointer; the lower bits of the hash say where the probing begins (the
 * key's home).  A probe that meets another key is turned away by its tag 65535 times of 65536,
 * without touching that key's object.
 *
 * Removal closes the gap by moving later values of the run down, towards their homes, so there are
 * no tombstones.  No value ever moves up, and an empty slot stays empty: gv_map_next() lives on
 * that.
 */

#define TAG_SHIFT      48
#define POINTER_MASK   (((uint64_t)1 << TAG_SHIFT) - 1)
#define SLOT_COUNT_MIN 8U
#define PREFETCH_SLOTS 16U

/* A cursor holds the slot it began at in its upper half and the steps taken in its lower. */
#define CURSOR_SHIFT   32
#define CURSOR_STEPS   (((size_t)1 << CURSOR_SHIFT) - 1)
#define SLOT_COUNT_MAX ((size_t)1 << 31)

_Static_assert(sizeof(size_t) == 8, "a slot and a cursor are 64 bits");

static void *value_of(uint64_t slot)
{
    return (void *)(uintptr_t)(slot & POINTER_MASK); /* NOLINT(performance-no-int-to-ptr) */
}

static size_t mask_of(const gv_map_t *map)
{
    return (size_t)map->_slot_count - 1;
}

static uint64_t hash_of(const gv_map_t *map, const void *value)
{
    return gv_bytes_hash(map->_key_of(value), map->_seed);
}

/* The slot of `key`, or SIZE_MAX. */
static size_t slot_with(const gv_map_t *map, gv_bytes_t key)
{
    if (map->_count == 0) {
        return SIZE_MAX;
    }
    uint64_t hash = gv_bytes_hash(key, map->_seed);
    size_t mask = mask_of(map);
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        uint64_t slot = map->_slots[i];
        if (slot == 0) {
            return SIZE_MAX;
        }
        if ((slot ^ hash) >> TAG_SHIFT == 0 && gv_bytes_equal(map->_key_of(value_of(slot)), key)) {
            return i;
        }
    }
}

/* There is at least one empty slot. */
static void place(gv_map_t *map, void *value)
{
    uint64_t hash = hash_of(map, value);
    size_t mask = mask_of(map);
    size_t i = hash & mask;
    while (map->_slots[i] != 0) {
        i = (i + 1) & mask;
    }
    map->_slots[i] = (hash & ~POINTER_MASK) | (uint64_t)(uintptr_t)value;
}

static void resize(gv_map_t *map, size_t slot_count)
{
    GV_ASSERT(slot_count <= SLOT_COUNT_MAX);
    GV_ASSERT(slot_count > map->_count);
    uint64_t *old = map->_slots;
    size_t old_count = map->_slot_count;

    gv_memory_kind_t kind = (gv_memory_kind_t)map->_memory_kind;
    map->_slots = gv__xcalloc(kind, slot_count, sizeof(*map->_slots));
    map->_slot_count = (uint32_t)slot_count;
    for (size_t i = 0; i < old_count; i++) {
        /* Each value is asked for its key, and most are not in the cache. */
        if (i + PREFETCH_SLOTS < old_count) {
            __builtin_prefetch(value_of(old[i + PREFETCH_SLOTS]));
        }
        if (old[i] != 0) {
            place(map, value_of(old[i]));
        }
    }
    gv__free(kind, old);
}

/*
 * Sizes the array for one more value.  Shrinking waits for an add, so that a removal never moves
 * values under an iteration; it ends between 1/8 and 1/4 full, far from both limits.
 */
static void make_room(gv_map_t *map)
{
    size_t count = map->_count + 1;
    size_t slot_count = map->_slot_count == 0 ? SLOT_COUNT_MIN : map->_slot_count;
    if (count * 8 > slot_count * 7) {
        slot_count *= 2;
    }
    while (slot_count > SLOT_COUNT_MIN && count * 8 < slot_count) {
        slot_count /= 2;
    }
    if (slot_count != map->_slot_count) {
        resize(map, slot_count);
    }
}

/* Moves down what may come down to the empty slot `gap`, and into the gap that leaves, and so on.
 */
static void close_gap(gv_map_t *map, size_t gap)
{
    size_t mask = mask_of(map);
    for (size_t i = (gap + 1) & mask; map->_slots[i] != 0; i = (i + 1) & mask) {
        size_t home = hash_of(map, value_of(map->_slots[i])) & mask;
        /* Not past its home: probing for it would begin behind it. */
        if (((i - home) & mask) >= ((i - gap) & mask)) {
            map->_slots[gap] = map->_slots[i];
            gap = i;
        }
    }
    map->_slots[gap] = 0;
}

void gv__map_init(gv_map_t *map, gv_map_key_of_t *key_of, uint64_t seed, gv_memory_kind_t kind)
{
    GV_ASSERT(map != NULL);
    GV_ASSERT(key_of != NULL);
    *map = (gv_map_t){._key_of = key_of, ._seed = seed, ._memory_kind = kind};
}

void gv_map_deinit(gv_map_t *map)
{
    GV_ASSERT(map != NULL);
    gv__free((gv_memory_kind_t)map->_memory_kind, map->_slots);
    *map = (gv_map_t){0};
}

size_t gv_map_count(const gv_map_t *map)
{
    return map->_count;
}

size_t gv_map_bytes(const gv_map_t *map)
{
    return map->_slot_count * sizeof(*map->_slots);
}

void *gv_map_find(const gv_map_t *map, gv_bytes_t key)
{
    size_t i = slot_with(map, key);
    return i == SIZE_MAX ? NULL : value_of(map->_slots[i]);
}

void gv_map_add(gv_map_t *map, void *value)
{
    GV_ASSERT(map->_key_of != NULL);
    GV_ASSERT(value != NULL);
    GV_ASSERT(((uint64_t)(uintptr_t)value & ~POINTER_MASK) == 0);
    GV_DEBUG_ASSERT(gv_map_find(map, map->_key_of(value)) == NULL);
    make_room(map);
    place(map, value);
    map->_count++;
}

void *gv_map_remove(gv_map_t *map, gv_bytes_t key)
{
    size_t i = slot_with(map, key);
    if (i == SIZE_MAX) {
        return NULL;
    }
    void *value = value_of(map->_slots[i]);
    close_gap(map, i);
    map->_count--;
    if (map->_count == 0 && map->_slot_count > SLOT_COUNT_MIN) {
        gv__free((gv_memory_kind_t)map->_memory_kind, map->_slots);
        map->_slots = NULL;
        map->_slot_count = 0;
    }
    return value;
}

/*
 * Once round the array, downwards, from an empty slot.  A removal moves values only down, inside
 * one run, and no run crosses an empty slot.  So a value can move from the part still ahead of the
 * walk only further ahead, and from the part behind it into the part ahead (seen twice), but never
 * from ahead to behind.
 */
void *gv_map_next(const gv_map_t *map, size_t *cursor)
{
    if (map->_count == 0) {
        return NULL;
    }
    size_t mask = mask_of(map);
    size_t start = *cursor >> CURSOR_SHIFT;
    size_t steps = *cursor & CURSOR_STEPS;
    if (steps == 0) {
        start = 0;
        while (map->_slots[start] != 0) {
            start++;
        }
    }
    while (++steps < map->_slot_count) {
        uint64_t slot = map->_slots[(start - steps) & mask];
        if (slot != 0) {
            *cursor = start << CURSOR_SHIFT | steps;
            return value_of(slot);
        }
    }
    return NULL;
}
