/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_routes: the targets of one filter.  Part of the router (router.h); the exact table and the
 * trie say where the routes of a filter are, this says what they are.
 *
 * The routes are one word, because most filters have exactly one target:
 *
 *     0                     nobody
 *     bit 0 set             one shard with its slot, or one node, in the word itself
 *     a pointer             an immutable set of shards with slots, nodes and share groups
 *
 * A change builds the new set aside, stores the word, and retires the old set: a reader sees the
 * targets of a filter before or after it, and the common case costs it no memory access at all.
 *
 * Threads: gv_routes_collect() from any thread in a read section, the rest by the writer.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"
#include "broker/core/matches.h"
#include "broker/core/router.h"
#include "broker/core/share_group.h"
#include "broker/core/shared_heap.h"

typedef struct gv_routes {
    _Atomic uint64_t _word;
} gv_routes_t;

static inline void gv_routes_init(gv_routes_t *routes)
{
    atomic_init(&routes->_word, 0);
}

static inline bool gv_routes_are_empty(const gv_routes_t *routes)
{
    return atomic_load_explicit(&routes->_word, memory_order_relaxed) == 0;
}

/* Frees the set at once: nobody reads any more. */
void gv_routes_deinit(gv_routes_t *routes, gv_shared_heap_t *heap);

/* Adds or replaces a plain target; one with a weight is lasting.  True: it was not there before. */
bool gv_routes_set(gv_routes_t *routes, gv_shared_heap_t *heap, gv_route_target_t target);

/* True: it was there. */
bool gv_routes_unset(gv_routes_t *routes, gv_shared_heap_t *heap, gv_route_kind_t kind,
                     uint8_t index);

/* The group is borrowed and must be in the routes only while it lives.  Each at most once. */
void gv_routes_add_group(gv_routes_t *routes, gv_shared_heap_t *heap, gv_share_group_t *group);
void gv_routes_remove_group(gv_routes_t *routes, gv_shared_heap_t *heap, gv_share_group_t *group);

/* How many shards of this node are targets, and of these lasting ones. */
uint32_t gv_routes_shard_count(const gv_routes_t *routes);
uint32_t gv_routes_lasting_shard_count(const gv_routes_t *routes);

/* Whether the node is a lasting plain target. */
bool gv_routes_are_lasting_at(const gv_routes_t *routes, uint8_t node);

/* The plain targets, as bits: shards of this node, and other nodes. */
void gv_routes_targets(const gv_routes_t *routes, uint64_t *shards_out, uint64_t *nodes_out);

/* ---- reading --------------------------------------------------------------------------------- */

/* What a match wants to know, and where it goes. */
typedef struct gv_collector {
    gv_matches_t *out;
    uint64_t nodes_alive_mask;
    uint32_t random;
    bool local_only; /* plain targets on this node's shards, nothing else */
} gv_collector_t;

/* Layout of the word; for the inlined part of collecting. */
#define GV__ROUTES_SINGLE  ((uint64_t)1)
#define GV__ROUTES_NODE    ((uint64_t)2)
#define GV__ROUTES_LASTING ((uint64_t)4)
enum {
    GV__ROUTES_INDEX_SHIFT = 8,
    GV__ROUTES_SLOT_SHIFT = 32
};

void gv__routes_collect_set(uint64_t word, const gv_collector_t *collector);

static inline void gv_routes_collect(const gv_routes_t *routes, const gv_collector_t *collector)
{
    /* Acquire: pairs with the writer's release, the set behind the word is seen whole. */
    uint64_t word = atomic_load_explicit(&routes->_word, memory_order_acquire);
    if (word == 0) {
        return;
    }
    if ((word & GV__ROUTES_SINGLE) == 0) {
        gv__routes_collect_set(word, collector);
        return;
    }
    uint8_t index = (uint8_t)(word >> GV__ROUTES_INDEX_SHIFT);
    if ((word & GV__ROUTES_NODE) == 0) {
        gv_matches_add_hit(collector->out, index, (uint32_t)(word >> GV__ROUTES_SLOT_SHIFT));
    } else if (!collector->local_only) {
        uint64_t bit = (uint64_t)1 << index;
        collector->out->nodes |= bit;
        collector->out->lasting_nodes |= (word & GV__ROUTES_LASTING) != 0 ? bit : 0;
    }
}
