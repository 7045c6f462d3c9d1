/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/share_group.h"

#include <string.h>

#include "broker/core/matches.h"

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

void gv_share_group_targets(const gv_share_group_t *group, uint64_t *shards_out,
                            uint64_t *nodes_out)
{
    const gv_share_members_t *members = load_members(group, memory_order_relaxed);
    *shards_out = 0;
    *nodes_out = 0;
    for (size_t i = 0; members != NULL && i < members->count; i++) {
        const member_t *member = &members->member[i];
        uint64_t bit = (uint64_t)1 << member->index;
        *(member->kind == GV_ROUTE_NODE ? nodes_out : shards_out) |= bit;
    }
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

static bool is_eligible(const member_t *member, const gv_share_wish_t *wish)
{
    return member->kind == GV_ROUTE_SHARD ? member->index != wish->but_shard
                                          : (wish->nodes_alive_mask >> member->index & 1) != 0;
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

static const member_t *pick_member(const gv_share_members_t *members, const gv_share_wish_t *wish,
                                   uint32_t salt)
{
    uint64_t eligible = 0;
    uint64_t online = 0;
    for (size_t i = 0; i < members->count; i++) {
        if (is_eligible(&members->member[i], wish)) {
            eligible++;
            online += members->member[i].weight;
        }
    }
    if (eligible == 0 || (wish->is_online && online == 0)) {
        return NULL;
    }
    uint64_t draw = draw_below(online > 0 ? online : eligible, wish->random, salt);
    size_t i = 0;
    for (;; i++) {
        if (is_eligible(&members->member[i], wish)) {
            uint64_t share = share_of(&members->member[i], online > 0);
            if (draw < share) {
                break;
            }
            draw -= share;
        }
    }
    return &members->member[i];
}

bool gv_share_group_pick(const gv_share_group_t *group, uint64_t nodes_alive_mask, uint32_t random,
                         gv_matches_t *out)
{
    gv_share_wish_t wish = {
        .nodes_alive_mask = nodes_alive_mask, .random = random, .but_shard = UINT16_MAX};
    return gv_share_group_pick_other(group, &wish, out);
}

bool gv_share_group_pick_other(const gv_share_group_t *group, const gv_share_wish_t *wish,
                               gv_matches_t *out)
{
    const gv_share_members_t *members = load_members(group, memory_order_acquire);
    if (members == NULL) {
        return false;
    }
    const member_t *chosen = pick_member(members, wish, group->key.hash);
    if (chosen == NULL) {
        return false;
    }
    if (chosen->kind == GV_ROUTE_SHARD) {
        gv_matches_add_hit(out, chosen->index, chosen->slot);
    } else {
        gv_matches_add_node_share(out, chosen->index, gv_share_group_text(group));
    }
    return true;
}
