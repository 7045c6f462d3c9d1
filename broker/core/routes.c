/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/routes.h"

#include <string.h>

#include "base/alloc.h"

/*
 * Parts of this file: the set behind the word; a draft of the next set and how it is published; the
 * members of share groups; the choice among them; the scratch memory of readers.
 */

/* ---- the set --------------------------------------------------------------------------------- */

typedef struct route_set {
    uint64_t nodes;
    uint64_t shards;
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
    draft->old = set_of(word);
    draft->group_added = NULL;
    draft->group_removed = NULL;
    if (draft->old != NULL) {
        draft->nodes = draft->old->nodes;
        draft->shards = draft->old->shards;
        const uint32_t *slot = set_slots(draft->old);
        for (uint64_t left = draft->shards; left != 0;) {
            draft->slots[take_lowest(&left)] = *slot++;
        }
    } else if (word != 0) {
        uint8_t index = (uint8_t)(word >> GV__ROUTES_INDEX_SHIFT);
        if ((word & GV__ROUTES_NODE) != 0) {
            draft->nodes = (uint64_t)1 << index;
        } else {
            draft->shards = (uint64_t)1 << index;
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
    if (draft->nodes != 0) {
        return GV__ROUTES_SINGLE | GV__ROUTES_NODE |
               (uint64_t)__builtin_ctzll(draft->nodes) << GV__ROUTES_INDEX_SHIFT;
    }
    uint64_t shard = (uint64_t)__builtin_ctzll(draft->shards);
    return GV__ROUTES_SINGLE | shard << GV__ROUTES_INDEX_SHIFT |
           (uint64_t)draft->slots[shard] << GV__ROUTES_SLOT_SHIFT;
}

static uint64_t draft_set(const draft_t *draft, gv_shared_heap_t *heap)
{
    size_t group_count = draft_group_count(draft);
    route_set_t *set = gv_shared_heap_alloc(heap, set_bytes(draft->shards, group_count));
    set->nodes = draft->nodes;
    set->shards = draft->shards;
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
    bool added;
    if (target.kind == GV_ROUTE_NODE) {
        added = (draft.nodes & bit) == 0;
        if (!added) {
            return false; /* a node has no slot: nothing changes */
        }
        draft.nodes |= bit;
    } else {
        added = (draft.shards & bit) == 0;
        draft.shards |= bit;
        draft.slots[target.index] = target.slot;
    }
    draft_publish(&draft, routes, heap);
    return added;
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

/* ---- the members of a group ------------------------------------------------------------------ */

typedef struct member {
    uint32_t slot;
    uint32_t weight;
    uint8_t kind; /* gv_route_kind_t */
    uint8_t index;
} member_t;

struct gv_share_members {
    size_t count;
    member_t member[];
};

static size_t members_bytes(size_t count)
{
    return sizeof(gv_share_members_t) + count * sizeof(member_t);
}

static size_t group_bytes(const gv_share_group_t *group)
{
    return sizeof(*group) + group->text_size;
}

static gv_share_members_t *load_members(const gv_share_group_t *group, memory_order order)
{
    return atomic_load_explicit(&group->_members, order);
}

gv_share_group_t *gv_share_group_new(gv_shared_heap_t *heap, gv_bytes_t text, uint32_t hash)
{
    GV_ASSERT(text.size > 0);
    GV_ASSERT(text.size <= UINT16_MAX);
    gv_share_group_t *group = gv_shared_heap_alloc(heap, sizeof(*group) + text.size);
    group->key.hash = hash;
    group->text_size = (uint16_t)text.size;
    atomic_init(&group->_members, NULL);
    memcpy(group->text, text.data, text.size);
    return group;
}

void gv_share_group_retire(gv_share_group_t *group, gv_shared_heap_t *heap)
{
    gv_share_members_t *members = load_members(group, memory_order_relaxed);
    if (members != NULL) {
        gv_shared_heap_retire(heap, members, members_bytes(members->count));
    }
    gv_shared_heap_retire(heap, group, group_bytes(group));
}

void gv_share_group_free(gv_share_group_t *group, gv_shared_heap_t *heap)
{
    gv_share_members_t *members = load_members(group, memory_order_relaxed);
    if (members != NULL) {
        gv_shared_heap_free(heap, members, members_bytes(members->count));
    }
    gv_shared_heap_free(heap, group, group_bytes(group));
}

/* The position of a target, or the count if it is not among the members. */
static size_t find_member(const gv_share_members_t *members, gv_route_kind_t kind, uint8_t index)
{
    size_t i = 0;
    while (i < members->count &&
           (members->member[i].kind != (uint8_t)kind || members->member[i].index != index)) {
        i++;
    }
    return i;
}

static void publish_members(gv_share_group_t *group, gv_shared_heap_t *heap,
                            gv_share_members_t *members)
{
    gv_share_members_t *old = load_members(group, memory_order_relaxed);
    atomic_store_explicit(&group->_members, members, memory_order_release);
    if (old != NULL) {
        gv_shared_heap_retire(heap, old, members_bytes(old->count));
    }
}

bool gv_share_group_set(gv_share_group_t *group, gv_shared_heap_t *heap, gv_route_target_t target)
{
    const gv_share_members_t *old = load_members(group, memory_order_relaxed);
    size_t old_count = old != NULL ? old->count : 0;
    size_t place = old != NULL ? find_member(old, target.kind, target.index) : 0;
    bool added = place == old_count;

    size_t count = old_count + added;
    gv_share_members_t *members = gv_shared_heap_alloc(heap, members_bytes(count));
    members->count = count;
    if (old_count > 0) {
        memcpy(members->member, old->member, old_count * sizeof(member_t));
    }
    members->member[place] = (member_t){
        .slot = target.slot,
        .weight = target.weight < GV_ROUTER_WEIGHT_MAX ? target.weight : GV_ROUTER_WEIGHT_MAX,
        .kind = (uint8_t)target.kind,
        .index = target.index,
    };
    publish_members(group, heap, members);
    return added;
}

gv_share_unset_t gv_share_group_unset(gv_share_group_t *group, gv_shared_heap_t *heap,
                                      gv_route_kind_t kind, uint8_t index)
{
    const gv_share_members_t *old = load_members(group, memory_order_relaxed);
    GV_ASSERT(old != NULL);
    size_t place = find_member(old, kind, index);
    if (place == old->count) {
        return GV_SHARE_UNSET_ABSENT;
    }
    if (old->count == 1) {
        return GV_SHARE_UNSET_LAST;
    }
    gv_share_members_t *members = gv_shared_heap_alloc(heap, members_bytes(old->count - 1));
    members->count = old->count - 1;
    memcpy(members->member, old->member, place * sizeof(member_t));
    memcpy(members->member + place, old->member + place + 1,
           (members->count - place) * sizeof(member_t));
    publish_members(group, heap, members);
    return GV_SHARE_UNSET_REMOVED;
}

gv_router_local_t gv_share_group_local(const gv_share_group_t *group)
{
    const gv_share_members_t *members = load_members(group, memory_order_relaxed);
    gv_router_local_t local = {.shards = 0, .weight = 0};
    for (size_t i = 0; members != NULL && i < members->count; i++) {
        if (members->member[i].kind == GV_ROUTE_SHARD) {
            local.shards++;
            local.weight += members->member[i].weight;
        }
    }
    return local;
}

/* ---- the choice ------------------------------------------------------------------------------ */

static bool is_eligible(const member_t *member, uint64_t nodes_alive_mask)
{
    return member->kind == GV_ROUTE_SHARD || (nodes_alive_mask >> member->index & 1) != 0;
}

/* Each target's share of the choice: online members, or 1 each if nobody is online anywhere. */
static uint64_t share_of(const member_t *member, bool anyone_online)
{
    return anyone_online ? member->weight : 1;
}

/*
 * All groups of a match get the same random number; mixed with the group's hash, so that the
 * choices of two groups do not go together.  Each step can be undone: uniform stays uniform.
 */
static uint64_t draw_below(uint64_t bound, uint32_t random, uint32_t salt)
{
    uint32_t mixed = (random ^ salt) * UINT32_C(0x9E3779B1);
    mixed ^= mixed >> 15;
    mixed *= UINT32_C(0x85EBCA77);
    mixed ^= mixed >> 13;
    return mixed * bound >> 32; /* bound is at most 2^31: see GV_ROUTER_WEIGHT_MAX */
}

static const member_t *pick_member(const gv_share_members_t *members, uint64_t nodes_alive_mask,
                                   uint32_t random, uint32_t salt)
{
    uint64_t eligible = 0;
    uint64_t online = 0;
    for (size_t i = 0; i < members->count; i++) {
        if (is_eligible(&members->member[i], nodes_alive_mask)) {
            eligible++;
            online += members->member[i].weight;
        }
    }
    if (eligible == 0) {
        return NULL;
    }
    uint64_t draw = draw_below(online > 0 ? online : eligible, random, salt);
    size_t i = 0;
    for (;; i++) {
        if (is_eligible(&members->member[i], nodes_alive_mask)) {
            uint64_t share = share_of(&members->member[i], online > 0);
            if (draw < share) {
                break;
            }
            draw -= share;
        }
    }
    return &members->member[i];
}

static void grow_node_shares(gv_matches_t *out)
{
    size_t capacity = out->_node_share_capacity > 0 ? out->_node_share_capacity * 2 : 8;
    out->node_shares = gv_xrealloc(out->node_shares, capacity * sizeof(*out->node_shares));
    out->_node_share_capacity = capacity;
}

static void add_node_share(gv_matches_t *out, uint8_t node, gv_bytes_t filter)
{
    if (out->node_share_count == out->_node_share_capacity) {
        grow_node_shares(out);
    }
    out->node_shares[out->node_share_count++] =
        (gv_route_node_share_t){.filter = filter, .node = node};
}

bool gv_share_group_pick(const gv_share_group_t *group, uint64_t nodes_alive_mask, uint32_t random,
                         gv_matches_t *out)
{
    const gv_share_members_t *members = load_members(group, memory_order_acquire);
    if (members == NULL) {
        return false;
    }
    const member_t *chosen = pick_member(members, nodes_alive_mask, random, group->key.hash);
    if (chosen == NULL) {
        return false;
    }
    if (chosen->kind == GV_ROUTE_SHARD) {
        gv__matches_add_hit(out, chosen->index, chosen->slot);
    } else {
        add_node_share(out, chosen->index, gv_share_group_text(group));
    }
    return true;
}

/* ---- collecting ------------------------------------------------------------------------------ */

void gv__routes_collect_set(uint64_t word, const gv_collector_t *collector)
{
    const route_set_t *set = set_of(word);
    const uint32_t *slot = set_slots(set);
    for (uint64_t left = set->shards; left != 0;) {
        gv__matches_add_hit(collector->out, take_lowest(&left), *slot++);
    }
    if (collector->local_only) {
        return;
    }
    collector->out->nodes |= set->nodes;
    for (size_t i = 0; i < set->group_count; i++) {
        /* A group nobody of which can be reached gives nothing: that is an answer too. */
        (void)gv_share_group_pick(set->groups[i], collector->nodes_alive_mask, collector->random,
                                  collector->out);
    }
}

void gv__matches_grow_hits(gv_matches_t *out)
{
    size_t capacity = out->_hit_capacity > 0 ? out->_hit_capacity * 2 : 16;
    out->hits = gv_xrealloc(out->hits, capacity * sizeof(*out->hits));
    out->_hit_capacity = capacity;
}

void gv_matches_init(gv_matches_t *matches)
{
    *matches = (gv_matches_t){0};
}

void gv_matches_deinit(gv_matches_t *matches)
{
    gv_free(matches->hits);
    gv_free(matches->node_shares);
    *matches = (gv_matches_t){0};
}
