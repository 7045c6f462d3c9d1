/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/routes.h"

/* ---- the set --------------------------------------------------------------------------------- */

typedef struct route_set {
    uint64_t nodes;
    uint64_t shards;
    uint64_t lasting_nodes;
    uint64_t lasting_shards;
    size_t group_count;
    gv_share_group_t *groups[]; /* then: one uint32_t slot per bit of `shards`, lowest bit first */
} route_set_t;

_Static_assert(GV_ROUTER_SHARDS_MAX == 64 && GV_ROUTER_NODES_MAX == 64,
               "targets are bits of a word");

static size_t bit_count(uint64_t bits)
{
    return (size_t)__builtin_popcountll(bits);
}

/* The lowest bit, which is taken out.  *bits must not be 0. */
static uint8_t take_lowest(uint64_t *bits)
{
    uint8_t index = (uint8_t)__builtin_ctzll(*bits);
    *bits &= *bits - 1;
    return index;
}

static size_t set_bytes(uint64_t shards, size_t group_count)
{
    return sizeof(route_set_t) + group_count * sizeof(gv_share_group_t *) +
           bit_count(shards) * sizeof(uint32_t);
}

static uint32_t *set_slots(const route_set_t *set)
{
    return (uint32_t *)(uintptr_t)(set->groups + set->group_count);
}

static route_set_t *set_of(uint64_t word)
{
    return word != 0 && (word & GV__ROUTES_SINGLE) == 0 ? (route_set_t *)(uintptr_t)word : NULL;
}

static uint64_t load_word(const gv_routes_t *routes)
{
    return atomic_load_explicit(&routes->_word, memory_order_relaxed);
}

void gv_routes_deinit(gv_routes_t *routes, gv_shared_heap_t *heap)
{
    route_set_t *set = set_of(load_word(routes));
    if (set != NULL) {
        gv_shared_heap_free(heap, set, set_bytes(set->shards, set->group_count));
    }
    atomic_store_explicit(&routes->_word, 0, memory_order_relaxed);
}

/* ---- changing -------------------------------------------------------------------------------- */

/* What the routes of a filter are to become: taken from the word, changed, published. */
typedef struct draft {
    uint64_t nodes;
    uint64_t shards;
    uint64_t lasting_nodes;
    uint64_t lasting_shards;
    uint32_t slots[GV_ROUTER_SHARDS_MAX]; /* by shard */
    const route_set_t *old;               /* its groups stay, but for these two */
    gv_share_group_t *group_added;
    gv_share_group_t *group_removed;
} draft_t;

static void draft_begin(draft_t *draft, const gv_routes_t *routes)
{
    uint64_t word = load_word(routes);
    draft->nodes = 0;
    draft->shards = 0;
    draft->lasting_nodes = 0;
    draft->lasting_shards = 0;
    draft->old = set_of(word);
    draft->group_added = NULL;
    draft->group_removed = NULL;
    if (draft->old != NULL) {
        draft->nodes = draft->old->nodes;
        draft->shards = draft->old->shards;
        draft->lasting_nodes = draft->old->lasting_nodes;
        draft->lasting_shards = draft->old->lasting_shards;
        const uint32_t *slot = set_slots(draft->old);
        for (uint64_t left = draft->shards; left != 0;) {
            draft->slots[take_lowest(&left)] = *slot++;
        }
    } else if (word != 0) {
        uint8_t index = (uint8_t)(word >> GV__ROUTES_INDEX_SHIFT);
        uint64_t bit = (uint64_t)1 << index;
        uint64_t lasting = (word & GV__ROUTES_LASTING) != 0 ? bit : 0;
        if ((word & GV__ROUTES_NODE) != 0) {
            draft->nodes = bit;
            draft->lasting_nodes = lasting;
        } else {
            draft->shards = bit;
            draft->lasting_shards = lasting;
            draft->slots[index] = (uint32_t)(word >> GV__ROUTES_SLOT_SHIFT);
        }
    }
}

static size_t draft_group_count(const draft_t *draft)
{
    size_t old = draft->old != NULL ? draft->old->group_count : 0;
    return old + (draft->group_added != NULL) - (draft->group_removed != NULL);
}

static uint64_t draft_single(const draft_t *draft)
{
    uint64_t head = GV__ROUTES_SINGLE;
    head |= (draft->lasting_nodes | draft->lasting_shards) != 0 ? GV__ROUTES_LASTING : 0;
    if (draft->nodes != 0) {
        return head | GV__ROUTES_NODE |
               (uint64_t)__builtin_ctzll(draft->nodes) << GV__ROUTES_INDEX_SHIFT;
    }
    uint64_t shard = (uint64_t)__builtin_ctzll(draft->shards);
    return head | shard << GV__ROUTES_INDEX_SHIFT |
           (uint64_t)draft->slots[shard] << GV__ROUTES_SLOT_SHIFT;
}

static uint64_t draft_set(const draft_t *draft, gv_shared_heap_t *heap)
{
    size_t group_count = draft_group_count(draft);
    route_set_t *set = gv_shared_heap_alloc(heap, set_bytes(draft->shards, group_count));
    set->nodes = draft->nodes;
    set->shards = draft->shards;
    set->lasting_nodes = draft->lasting_nodes;
    set->lasting_shards = draft->lasting_shards;
    set->group_count = 0;
    for (size_t i = 0; draft->old != NULL && i < draft->old->group_count; i++) {
        if (draft->old->groups[i] != draft->group_removed) {
            set->groups[set->group_count++] = draft->old->groups[i];
        }
    }
    if (draft->group_added != NULL) {
        set->groups[set->group_count++] = draft->group_added;
    }
    GV_ASSERT(set->group_count == group_count);
    uint32_t *slot = set_slots(set);
    for (uint64_t left = draft->shards; left != 0;) {
        *slot++ = draft->slots[take_lowest(&left)];
    }
    return (uint64_t)(uintptr_t)set;
}

/* The one store that makes the change visible. */
static void draft_publish(const draft_t *draft, gv_routes_t *routes, gv_shared_heap_t *heap)
{
    size_t targets = bit_count(draft->nodes) + bit_count(draft->shards);
    size_t group_count = draft_group_count(draft);
    uint64_t word = 0;
    if (targets + group_count > 0) {
        bool single = targets == 1 && group_count == 0;
        word = single ? draft_single(draft) : draft_set(draft, heap);
    }
    route_set_t *old = set_of(load_word(routes));
    atomic_store_explicit(&routes->_word, word, memory_order_release);
    if (old != NULL) {
        gv_shared_heap_retire(heap, old, set_bytes(old->shards, old->group_count));
    }
}

bool gv_routes_set(gv_routes_t *routes, gv_shared_heap_t *heap, gv_route_target_t target)
{
    uint64_t bit = (uint64_t)1 << target.index;
    draft_t draft;
    draft_begin(&draft, routes);
    bool is_node = target.kind == GV_ROUTE_NODE;
    uint64_t *targets = is_node ? &draft.nodes : &draft.shards;
    uint64_t *lasting = is_node ? &draft.lasting_nodes : &draft.lasting_shards;
    bool is_new = (*targets & bit) == 0;
    bool was_lasting = (*lasting & bit) != 0;
    if (is_node && !is_new && was_lasting == (target.weight != 0)) {
        return false; /* a node has no slot: nothing changes */
    }
    *targets |= bit;
    *lasting = target.weight != 0 ? *lasting | bit : *lasting & ~bit;
    if (!is_node) {
        draft.slots[target.index] = target.slot;
    }
    draft_publish(&draft, routes, heap);
    return is_new;
}

bool gv_routes_unset(gv_routes_t *routes, gv_shared_heap_t *heap, gv_route_kind_t kind,
                     uint8_t index)
{
    draft_t draft;
    draft_begin(&draft, routes);
    uint64_t *bits = kind == GV_ROUTE_NODE ? &draft.nodes : &draft.shards;
    uint64_t bit = (uint64_t)1 << index;
    if ((*bits & bit) == 0) {
        return false;
    }
    *bits &= ~bit;
    *(kind == GV_ROUTE_NODE ? &draft.lasting_nodes : &draft.lasting_shards) &= ~bit;
    draft_publish(&draft, routes, heap);
    return true;
}

void gv_routes_add_group(gv_routes_t *routes, gv_shared_heap_t *heap, gv_share_group_t *group)
{
    draft_t draft;
    draft_begin(&draft, routes);
    draft.group_added = group;
    draft_publish(&draft, routes, heap);
}

void gv_routes_remove_group(gv_routes_t *routes, gv_shared_heap_t *heap, gv_share_group_t *group)
{
    draft_t draft;
    draft_begin(&draft, routes);
    GV_ASSERT(draft.old != NULL);
    draft.group_removed = group;
    draft_publish(&draft, routes, heap);
}

uint32_t gv_routes_shard_count(const gv_routes_t *routes)
{
    uint64_t word = load_word(routes);
    const route_set_t *set = set_of(word);
    if (set != NULL) {
        return (uint32_t)bit_count(set->shards);
    }
    return word != 0 && (word & GV__ROUTES_NODE) == 0;
}

uint32_t gv_routes_lasting_shard_count(const gv_routes_t *routes)
{
    draft_t draft;
    draft_begin(&draft, routes);
    return (uint32_t)bit_count(draft.lasting_shards);
}

bool gv_routes_are_lasting_at(const gv_routes_t *routes, uint8_t node)
{
    draft_t draft;
    draft_begin(&draft, routes);
    return (draft.lasting_nodes >> node & 1) != 0;
}

void gv_routes_targets(const gv_routes_t *routes, uint64_t *shards_out, uint64_t *nodes_out)
{
    draft_t draft;
    draft_begin(&draft, routes);
    *shards_out = draft.shards;
    *nodes_out = draft.nodes;
}

/* ---- collecting ------------------------------------------------------------------------------ */

void gv__routes_collect_set(uint64_t word, const gv_collector_t *collector)
{
    const route_set_t *set = set_of(word);
    const uint32_t *slot = set_slots(set);
    for (uint64_t left = set->shards; left != 0;) {
        gv_matches_add_hit(collector->out, take_lowest(&left), *slot++);
    }
    if (collector->local_only) {
        return;
    }
    collector->out->nodes |= set->nodes;
    collector->out->lasting_nodes |= set->lasting_nodes;
    for (size_t i = 0; i < set->group_count; i++) {
        /* A group nobody of which can be reached gives nothing: that is an answer too. */
        (void)gv_share_group_pick(set->groups[i], collector->nodes_alive_mask, collector->random,
                                  collector->out);
    }
}
