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
 * gv_share_group: the targets of one `$share/GROUP/FILTER`, found by its text
 * (gv_router_pick_share) and from the routes of FILTER.  Its members are an immutable array that is
 * replaced in the same way.
 *
 * Threads: gv_routes_collect...() and gv_share_group_pick...() from any thread in a read section,
 * the rest by the writer.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/defs.h"
#include "broker/core/router.h"
#include "broker/core/shared_heap.h"
#include "broker/core/slot_table.h"

typedef struct gv_share_group gv_share_group_t;
typedef struct gv_share_members gv_share_members_t;

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

/* Adds or replaces a plain target.  True: it was not there before. */
bool gv_routes_set(gv_routes_t *routes, gv_shared_heap_t *heap, gv_route_target_t target);

/* True: it was there. */
bool gv_routes_unset(gv_routes_t *routes, gv_shared_heap_t *heap, gv_route_kind_t kind,
                     uint8_t index);

/* The group is borrowed and must be in the routes only while it lives.  Each at most once. */
void gv_routes_add_group(gv_routes_t *routes, gv_shared_heap_t *heap, gv_share_group_t *group);
void gv_routes_remove_group(gv_routes_t *routes, gv_shared_heap_t *heap, gv_share_group_t *group);

/* How many shards of this node are targets. */
uint32_t gv_routes_shard_count(const gv_routes_t *routes);

/* ---- share groups ---------------------------------------------------------------------------- */

struct gv_share_group {
    gv_slot_key_t key; /* of the text */
    uint16_t text_size;
    _Atomic(gv_share_members_t *) _members; /* NULL only before the first target */
    uint8_t text[];                         /* "$share/GROUP/FILTER" */
};

/* A group without targets; text.size at most 65535. */
gv_share_group_t *gv_share_group_new(gv_shared_heap_t *heap, gv_bytes_t text, uint32_t hash);

/* With its members: retired when readers may see it, freed at once when nobody reads any more. */
void gv_share_group_retire(gv_share_group_t *group, gv_shared_heap_t *heap);
void gv_share_group_free(gv_share_group_t *group, gv_shared_heap_t *heap);

static inline gv_bytes_t gv_share_group_text(const gv_share_group_t *group)
{
    return gv_bytes(group->text, group->text_size);
}

/* Adds or replaces a target.  True: it was not there before. */
bool gv_share_group_set(gv_share_group_t *group, gv_shared_heap_t *heap, gv_route_target_t target);

typedef enum gv_share_unset {
    GV_SHARE_UNSET_ABSENT,  /* there was no such target */
    GV_SHARE_UNSET_REMOVED, /* others are left */
    GV_SHARE_UNSET_LAST,    /* it is the only one, and still there: retire the whole group */
} gv_share_unset_t;

gv_share_unset_t gv_share_group_unset(gv_share_group_t *group, gv_shared_heap_t *heap,
                                      gv_route_kind_t kind, uint8_t index);

gv_router_local_t gv_share_group_local(const gv_share_group_t *group);

/* Adds the chosen target to `out`; false: none is eligible.  See gv_router_match(). */
bool gv_share_group_pick(const gv_share_group_t *group, uint64_t nodes_alive_mask, uint32_t random,
                         gv_matches_t *out);

/* ---- reading --------------------------------------------------------------------------------- */

/* What a match wants to know, and where it goes. */
typedef struct gv_collector {
    gv_matches_t *out;
    uint64_t nodes_alive_mask;
    uint32_t random;
    bool local_only; /* plain targets on this node's shards, nothing else */
} gv_collector_t;

/* Layout of the word; for the inlined part of collecting. */
#define GV__ROUTES_SINGLE ((uint64_t)1)
#define GV__ROUTES_NODE   ((uint64_t)2)
enum {
    GV__ROUTES_INDEX_SHIFT = 8,
    GV__ROUTES_SLOT_SHIFT = 32
};

void gv__matches_grow_hits(gv_matches_t *out);
void gv__routes_collect_set(uint64_t word, const gv_collector_t *collector);

static inline void gv__matches_add_hit(gv_matches_t *out, uint8_t shard, uint32_t slot)
{
    if (out->hit_count == out->_hit_capacity) {
        gv__matches_grow_hits(out);
    }
    out->hits[out->hit_count++] = (gv_route_hit_t){.slot = slot, .shard = shard};
    out->shards |= (uint64_t)1 << shard;
}

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
        gv__matches_add_hit(collector->out, index, (uint32_t)(word >> GV__ROUTES_SLOT_SHIFT));
    } else if (!collector->local_only) {
        collector->out->nodes |= (uint64_t)1 << index;
    }
}
