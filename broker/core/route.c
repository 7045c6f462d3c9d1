/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A message's way through the node (design section 5): the router says who wants it; sessions of
 * this shard get it at once, other shards and other nodes by a parcel.
 */
#include <stdatomic.h>

#include "base/alloc.h"
#include "broker/core/shard_p.h"

uint16_t gv__retained_home(const gv_shard_t *shard, gv_bytes_t topic)
{
    return (uint16_t)(gv_bytes_hash(topic, shard->hash_seed) % shard->count);
}

/* ---- to sessions of this shard --------------------------------------------------------------- */

static uint8_t lower_qos(uint8_t a, uint8_t b)
{
    return a < b ? a : b;
}

static void deliver_one(gv_shard_t *shard, const gv_subscription_t *subscription, uint32_t share)
{
    gv_publish_t *publish = shard->fanout.publish;
    if ((subscription->options & GV_SUB_NO_LOCAL) != 0 &&
        publish->publisher == subscription->session->uid) {
        return;
    }
    gv_manner_t manner = {
        .ids = &subscription->id,
        .id_count = subscription->id == 0 ? 0 : 1,
        .share = share,
        .qos = lower_qos(publish->qos, subscription->options & GV_SUB_QOS_MASK),
        .retain = publish->retain && (subscription->options & GV_SUB_RETAIN_AS_PUBLISHED) != 0,
    };
    gv__deliver(shard, subscription->session, &shard->fanout, &manner);
}

/*
 * One member of a shared group: the next in turn that is online and has room in its window, else
 * the next online one, else the next [MQTT-4.8.2-4, -5].
 */
static void deliver_shared(gv_shard_t *shard, gv_filter_t *filter)
{
    gv_subscription_t *online = NULL;
    gv_subscription_t *chosen = NULL;
    for (uint32_t i = 0; i < filter->count && chosen == NULL; i++) {
        gv_subscription_t *member = gv_filter_member(filter, (filter->turn + i) % filter->count);
        const gv_client_t *client = member->session->client;
        if (client == NULL) {
            continue;
        }
        if (member->session->flow->queue.count == 0 &&
            gv_inflight_open(&member->session->flow->inflight) < client->inflight_max) {
            chosen = member;
        } else if (online == NULL) {
            online = member;
        }
    }
    if (chosen == NULL) {
        chosen = online != NULL ? online : gv_filter_member(filter, filter->turn % filter->count);
    }
    filter->turn = (chosen->position + 1) % filter->count;
    deliver_one(shard, chosen, filter->slot + 1);
}

static void deliver_filter(gv_shard_t *shard, gv_filter_t *filter)
{
    if (filter->is_shared) {
        deliver_shared(shard, filter);
        return;
    }
    for (uint32_t i = 0; i < filter->count; i++) {
        deliver_one(shard, gv_filter_member(filter, i), 0);
    }
}

static void collect_filter(gv_shard_t *shard, gv_filter_t *filter)
{
    const gv_publish_t *publish = shard->fanout.publish;
    for (uint32_t i = 0; i < filter->count; i++) {
        gv_subscription_t *subscription = gv_filter_member(filter, i);
        if ((subscription->options & GV_SUB_NO_LOCAL) == 0 ||
            publish->publisher != subscription->session->uid) {
            gv_fanout_collect(&shard->fanout, subscription);
        }
    }
}

static void deliver_collected(gv_shard_t *shard)
{
    gv_fanout_t *fanout = &shard->fanout;
    const gv_publish_t *publish = fanout->publish;
    for (uint32_t i = 0; i < fanout->target_count; i++) {
        const gv_fanout_target_t *target = &fanout->targets[i];
        gv_manner_t manner = {
            .ids = gv_fanout_ids(fanout, target),
            .id_count = target->id_count,
            .qos = lower_qos(publish->qos, target->qos),
            .retain = publish->retain && target->retain_as_published,
        };
        gv__deliver(shard, target->session, fanout, &manner);
    }
}

/*
 * The filter of a slot if it has subscribers.  The router may be a moment behind: when the last
 * member of a shared group has left here, there may be others elsewhere.
 */
static gv_filter_t *filter_at(gv_shard_t *shard, uint32_t slot)
{
    gv_filter_t *filter = gv_subscriptions_at(&shard->subscriptions, slot);
    if (filter != NULL && filter->count == 0) {
        if (filter->is_shared) {
            gv__give_to_group(shard, shard->fanout.publish, filter);
        }
        return NULL;
    }
    return filter;
}

/* Gives the message to the sessions on these filters.  True if there was one. */
static bool deliver_slots(gv_shard_t *shard, gv_publish_t *publish, const uint32_t *slots,
                          size_t count, bool *is_congested)
{
    gv_fanout_begin(&shard->fanout, publish, shard->now_ms);
    bool has_matched = false;
    if (count == 1) {
        gv_filter_t *filter = filter_at(shard, slots[0]);
        if (filter != NULL) {
            has_matched = true;
            deliver_filter(shard, filter);
        }
    } else {
        /* Several filters may lead to one session, which is to get one copy. */
        gv_fanout_collect_begin(&shard->fanout);
        for (size_t i = 0; i < count; i++) {
            gv_filter_t *filter = filter_at(shard, slots[i]);
            if (filter == NULL) {
                continue;
            }
            has_matched = true;
            if (filter->is_shared) {
                deliver_shared(shard, filter);
            } else {
                collect_filter(shard, filter);
            }
        }
        gv_fanout_collect_end(&shard->fanout);
        deliver_collected(shard);
    }
    *is_congested = shard->fanout.has_congested;
    return has_matched;
}

/* ---- to others ------------------------------------------------------------------------------- */

static void send_to_shard(gv_shard_t *shard, uint16_t to, gv_publish_t *publish,
                          const gv_ticket_t *ticket, bool wants_confirm, gv_routed_t *routed)
{
    const gv_matches_t *matches = &shard->matches;
    size_t count = 0;
    for (size_t i = 0; i < matches->hit_count; i++) {
        count += matches->hits[i].shard == to;
    }
    gv_entry_t *entry = gv_office_append(&shard->office, to, publish, count * sizeof(uint32_t));
    if (entry == NULL) {
        gv_counter_add(&shard->stats.dropped_no_memory, 1);
        return;
    }
    entry->kind = GV_ENTRY_SLOTS;
    entry->slot_count = (uint32_t)count;
    entry->ticket = *ticket;
    uint32_t *slots = gv_parcel_extra(entry);
    for (size_t i = 0; i < matches->hit_count; i++) {
        if (matches->hits[i].shard == to) {
            *slots++ = matches->hits[i].slot;
        }
    }
    if (wants_confirm) {
        entry->flags |= GV_ENTRY_WANTS_CONFIRM;
        routed->missing++;
    }
}

static void send_to_nodes(gv_shard_t *shard, uint64_t nodes, gv_publish_t *publish,
                          const gv_ticket_t *ticket, bool wants_confirm, gv_routed_t *routed)
{
    const gv_matches_t *matches = &shard->matches;
    size_t extra = sizeof(gv_entry_nodes_t);
    for (size_t i = 0; i < matches->node_share_count; i++) {
        nodes |= (uint64_t)1 << matches->node_shares[i].node;
        extra += GV_ENTRY_SHARE_HEAD + matches->node_shares[i].filter.size;
    }
    gv_entry_t *entry = gv_office_append(&shard->office, gv__desk_forward(shard), publish, extra);
    if (entry == NULL) {
        gv_counter_add(&shard->stats.dropped_no_memory, 1);
        return;
    }
    entry->kind = GV_ENTRY_NODES;
    entry->ticket = *ticket;
    gv_entry_nodes_t head = {.nodes = nodes, .share_count = (uint32_t)matches->node_share_count};
    gv_writer_t w = gv_writer(gv_parcel_extra(entry), extra);
    gv_writer_put(&w, gv_bytes(&head, sizeof(head)));
    for (size_t i = 0; i < matches->node_share_count; i++) {
        gv_writer_u8(&w, matches->node_shares[i].node);
        gv_writer_u16(&w, (uint16_t)matches->node_shares[i].filter.size);
        gv_writer_put(&w, matches->node_shares[i].filter);
    }
    GV_ASSERT(!w.failed);
    if (wants_confirm) {
        entry->flags |= GV_ENTRY_WANTS_CONFIRM;
        routed->missing = (uint16_t)(routed->missing + __builtin_popcountll(nodes));
    }
}

static void keep_retained(gv_shard_t *shard, gv_publish_t *publish, const gv_ticket_t *ticket,
                          bool wants_confirm, gv_routed_t *routed)
{
    uint16_t home = gv__retained_home(shard, publish->topic);
    if (home == shard->index) {
        routed->missing =
            (uint16_t)(routed->missing + gv__retain(shard, publish, wants_confirm ? ticket : NULL));
        return;
    }
    gv_entry_t *entry = gv_office_append(&shard->office, home, publish, 0);
    if (entry == NULL) {
        gv_counter_add(&shard->stats.dropped_no_memory, 1);
        return;
    }
    entry->kind = GV_ENTRY_RETAIN;
    entry->ticket = *ticket;
    if (wants_confirm) {
        entry->flags |= GV_ENTRY_WANTS_CONFIRM;
        routed->missing++;
    }
}

/* The slots of this shard among the hits, in scratch memory. */
static size_t own_slots(gv_shard_t *shard, const uint32_t **slots_out)
{
    const gv_matches_t *matches = &shard->matches;
    if (matches->hit_count > shard->slot_capacity) {
        shard->slot_capacity = matches->hit_count * 2;
        shard->slots = gv_xrealloc(shard->slots, shard->slot_capacity * sizeof(uint32_t));
    }
    size_t count = 0;
    for (size_t i = 0; i < matches->hit_count; i++) {
        if (matches->hits[i].shard == shard->index) {
            shard->slots[count++] = matches->hits[i].slot;
        }
    }
    *slots_out = shard->slots;
    return count;
}

gv_routed_t gv__route(gv_shard_t *shard, gv_publish_t *publish, const gv_ticket_t *ticket,
                      bool wants_confirm)
{
    static const gv_ticket_t nobody = {.client = UINT32_MAX};
    const gv_ticket_t *from = ticket != NULL ? ticket : &nobody;
    gv_routed_t routed = {0};
    gv_matches_t *matches = &shard->matches;
    uint64_t alive = gv_topic_is_own(publish->topic)
                         ? 0
                         : atomic_load_explicit(shard->nodes_alive, memory_order_relaxed);
    gv_router_match(shard->router, publish->topic, alive, gv_rng_u32(&shard->rng), matches);

    uint64_t nodes = matches->nodes & alive;
    routed.has_matched = matches->hit_count > 0 || nodes != 0 || matches->node_share_count > 0;
    if (publish->retain) {
        /* All nodes keep retained messages, whoever subscribes there. */
        nodes = alive;
    }
    bool is_large = publish->payload.size >= GV_PAYLOAD_SHARED_MIN;
    bool goes_far = (matches->shards & ~((uint64_t)1 << shard->index)) != 0 || nodes != 0 ||
                    matches->node_share_count > 0 || publish->retain;
    if (is_large && goes_far && publish->kept == NULL) {
        gv_msgbuf_t *kept = NULL;
        if (gv_publish_keep(publish, &kept) == GV_OK) {
            gv_msgbuf_unref(&kept);
        }
    }
    for (uint64_t left = matches->shards; left != 0; left &= left - 1) {
        uint16_t to = (uint16_t)__builtin_ctzll(left);
        if (to != shard->index) {
            send_to_shard(shard, to, publish, from, wants_confirm, &routed);
        }
    }
    if (nodes != 0 || matches->node_share_count > 0) {
        send_to_nodes(shard, nodes, publish, from, wants_confirm, &routed);
    }
    if (publish->retain) {
        keep_retained(shard, publish, from, wants_confirm, &routed);
    }
    if ((matches->shards & (uint64_t)1 << shard->index) != 0) {
        const uint32_t *slots = NULL;
        size_t count = own_slots(shard, &slots);
        bool is_congested = false;
        (void)deliver_slots(shard, publish, slots, count, &is_congested);
        routed.is_congested = is_congested;
    }
    gv_publish_done(publish);
    return routed;
}

/* ---- from others ----------------------------------------------------------------------------- */

void gv__take_slots(gv_shard_t *shard, gv_entry_t *entry)
{
    gv_publish_t publish = gv_parcel_publish(entry);
    bool is_borrowed = publish.kept != NULL;
    bool is_congested = false;
    if (!deliver_slots(shard, &publish, gv_parcel_extra(entry), entry->slot_count, &is_congested)) {
        entry->flags |= GV_ENTRY_NO_MATCH;
    }
    if (is_congested) {
        entry->flags |= GV_ENTRY_CONGESTED;
    }
    if (!is_borrowed) {
        gv_publish_done(&publish);
    }
}

/* ---- the router's table ---------------------------------------------------------------------- */

static void send_route(gv_shard_t *shard, gv_filter_t *filter, bool is_set)
{
    gv_publish_t carrier = {.topic = gv_filter_text(filter)};
    gv_entry_t *entry = gv_office_append(&shard->office, gv__desk_routes(shard), &carrier,
                                         sizeof(gv_entry_route_t));
    GV_ASSERT(entry != NULL); /* a filter is far smaller than a parcel can be */
    entry->kind = GV_ENTRY_ROUTE;
    gv_entry_route_t route = {
        .slot = filter->slot, .weight = filter->announced, .is_set = is_set ? 1 : 0};
    memcpy(gv_parcel_extra(entry), &route, sizeof(route));
    shard->routes_out++;
}

void gv__route_set(gv_shard_t *shard, gv_filter_t *filter)
{
    filter->is_leaving = false;
    filter->announced = filter->is_shared ? filter->online : 1;
    send_route(shard, filter, true);
}

void gv__route_unset(gv_shard_t *shard, gv_filter_t *filter)
{
    GV_ASSERT(filter->count == 0);
    filter->is_leaving = true;
    filter->unsets_out++;
    send_route(shard, filter, false);
}
