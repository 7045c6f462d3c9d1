/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_map: bytes -> pointer, for keys that peers choose (client ids, topics, node ids).
 *
 * The map stores the caller's pointer and asks the caller for its key (`key_of`), so a key is kept
 * once, inside the object, and an entry costs one 8-byte slot plus slack.  Hashing is seeded.
 *
 * Iteration is in slot order: it depends on the seed and the history of operations, never on
 * addresses, so a simulated run repeats exactly.
 *
 * Threads: the owner's.  Memory: one array, at most 7/8 full.  It doubles, and shrinks when less
 * than 1/8 full, both inside gv_map_add() and in one step, which asks every value for its key:
 * about 50 ms for a million entries.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/defs.h"

/* The key inside `value`; must not change while the value is in the map. */
typedef gv_bytes_t gv_map_key_of_t(const void *value);

/* Public only so that owners can embed it.  Names that start with _ are not for callers. */
typedef struct gv_map {
    gv_map_key_of_t *_key_of;
    uint64_t _seed;
    uint64_t *_slots; /* 16 bits of hash, 48 bits of pointer */
    uint32_t _slot_count;
    uint32_t _memory_kind; /* gv_memory_kind_t */
    size_t _count;
} gv_map_t;

void gv__map_init(gv_map_t *map, gv_map_key_of_t *key_of, uint64_t seed, gv_memory_kind_t kind);

/* The map's array is memory of the calling file's kind (alloc.h). */
static inline void gv_map_init(gv_map_t *map, gv_map_key_of_t *key_of, uint64_t seed)
{
    gv__map_init(map, key_of, seed, GV_MEMORY_OF);
}

/* Frees the array, not the values. */
void gv_map_deinit(gv_map_t *map);

size_t gv_map_count(const gv_map_t *map);

/* The memory of the array [bytes]. */
size_t gv_map_bytes(const gv_map_t *map);

/* The value with this key, borrowed, or NULL. */
void *gv_map_find(const gv_map_t *map, gv_bytes_t key);

/* Adds a value whose key is not in the map yet (asserted in debug builds). */
void gv_map_add(gv_map_t *map, void *value);

/* Takes the value with this key out and returns it, or NULL. */
void *gv_map_remove(gv_map_t *map, gv_bytes_t key);

/*
 * Iteration: start with *cursor = 0; NULL ends it.  Values may be removed meanwhile, the current
 * one or any other (one may then be seen twice, none is missed); adding is not allowed.
 */
void *gv_map_next(const gv_map_t *map, size_t *cursor);
