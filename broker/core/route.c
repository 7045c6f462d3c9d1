/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A message's way through the node (design section 5): the router says who wants it; sessions of
 * this shard get it at once, other shards and other nodes by a parcel.
 */
#include <stdatomic.h>

#include "base/alloc.h"
#include "broker/core/shard_p.h"

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

/* Whether the online session takes a message at once. */
static bool has_room(const gv_session_t *session)
{
    uint32_t max = session->client->inflight_max;
    if (session->durable != NULL) {
        const gv_backlog_t *backlog = &session->durable->backlog;
        return gv_backlog_waiting(backlog) == 0 && gv_backlog_open(backlog) < max;
    }
    return session->flow->queue.count == 0 && gv_inflight_open(&session->flow->inflight) < max;
}

/*
 * One member of a shared group: the next in turn that is online and has room in its window, else
 * the next online one, else the next [MQTT-4.8.2-4, -5].
 */
static gv_subscription_t *choose_member(gv_filter_t *filter)
{
    gv_subscription_t *online = NULL;
    gv_subscription_t *chosen = NULL;
    for (uint32_t i = 0; i < filter->count && chosen == NULL; i++) {
        gv_subscription_t *member = gv_filter_member(filter, (filter->turn + i) % filter->count);
        const gv_client_t *client = member->session->client;
        if (client == NULL) {
            continue;
        }
        if (has_room(member->session)) {
            chosen = member;
        } else if (online == NULL) {
            online = member;
        }
    }
    if (chosen == NULL) {
        chosen = online != NULL ? online : gv_filter_member(filter, filter->turn % filter->count);
    }
    filter->turn = (chosen->position + 1) % filter->count;
    return chosen;
}

static void deliver_shared(gv_shard_t *shard, gv_filter_t *filter)
{
    deliver_one(shard, choose_member(filter), filter->slot + 1);
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

static void leave_to_group(gv_shard_t *shard, const gv_filter_t *filter)
{
    gv_fanout_t *fanout = &shard->fanout;
    if (gv__give_to_group(shard, fanout->publish, gv_filter_text(filter), fanout->ticket)) {
        fanout->given_on++;
    } else {
        fanout->has_refused = true;
    }
}

static bool is_loan(const gv_ticket_t *ticket)
{
    return ticket != NULL && ticket->is_loan != 0;
}

/*
 * The last member of a group has left here, and the router did not know it yet: there may be others
 * elsewhere.  On this node they get the message in one transaction with what this shard writes,
 * which its publisher waits for.  Who has lent it has that already, and waits for more.  False:
 * the hub is to choose.
 */
static bool pass_on(gv_shard_t *shard, const gv_filter_t *filter)
{
    gv_publish_t *publish = shard->fanout.publish;
    gv_share_wish_t wish = {
        .nodes_alive_mask = atomic_load_explicit(shard->nodes_alive, memory_order_relaxed),
        .random = gv_rng_u32(&shard->rng),
        .but_shard = shard->index,
    };
    gv_matches_t *matches = &shard->matches;
    if (publish->qos == 0 || is_loan(shard->fanout.ticket) ||
        !gv_router_pick_other(shard->router, gv_filter_text(filter), &wish, matches) ||
        matches->hit_count == 0 ||
        !gv__pass_to_shard(shard, publish, matches->hits[0].shard, matches->hits[0].slot)) {
        return false;
    }
    shard->fanout.is_passed_on = true;
    return true;
}

/* The filter of a slot if it has subscribers. */
static gv_filter_t *filter_at(gv_shard_t *shard, uint32_t slot)
{
    gv_filter_t *filter = gv_subscriptions_at(&shard->subscriptions, slot);
    if (filter != NULL && filter->count == 0) {
        if (filter->is_shared && !pass_on(shard, filter)) {
            leave_to_group(shard, filter);
        }
        return NULL;
    }
    return filter;
}

/* How a message has come. */
typedef struct origin {
    const gv_ticket_t *ticket; /* who waits for it, or NULL */
    bool is_joined;
} origin_t;

/* Gives the message to the sessions on these filters.  True if there was one. */
static bool deliver_slots(gv_shard_t *shard, gv_publish_t *publish, const uint32_t *slots,
                          size_t count, origin_t origin, bool *is_congested)
{
    gv_fanout_begin(&shard->fanout, publish, shard->now_ms);
    shard->fanout.is_joined = origin.is_joined;
    shard->fanout.ticket = origin.ticket;
    bool has_matched = false;
    if (count == 1 || shard->limits->overlaps_each) {
        for (size_t i = 0; i < count; i++) {
            gv_filter_t *filter = filter_at(shard, slots[i]);
            if (filter != NULL) {
                has_matched = true;
                deliver_filter(shard, filter);
            }
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

/* A message on its way, as all that send it on need to know it. */
typedef struct passage {
    gv_publish_t *publish;
    const gv_ticket_t *ticket;
    gv_route_wish_t wish;
    gv_entry_write_t write; /* if it is to be retained */
    gv_routed_t routed;
} passage_t;

/*
 * What a shard is to do besides taking the message.
 *
 * Joined is a QoS 2 message of a persistent publisher: its packet id is in the open part of this
 * shard's journal, and the message will be in those of others.  All of that becomes durable at
 * once, or a retry after a crash would be lost for some or doubled for others (P2).  Each of the
 * others is joined with this shard's part, and so with all.
 */
static void set_wish(gv_shard_t *shard, passage_t *passage, gv_entry_t *entry)
{
    entry->ticket = *passage->ticket;
    if (passage->wish != GV_ROUTE_PLAIN) {
        entry->flags |= GV_ENTRY_WANTS_CONFIRM;
        passage->routed.missing++;
    }
    if (passage->wish == GV_ROUTE_JOINED) {
        entry->flags |= GV_ENTRY_JOINED;
        entry->join = ++shard->next_join;
        gv_journal_join(shard->journal, gv_join_of(shard->index, entry->join), 2);
    }
}

/*
 * For sessions that stay on other nodes such a message is on this node's disk, in the same way,
 * before it goes anywhere: the hub has a part for each of these nodes (outbox.h).
 */
static void join_outbox(gv_shard_t *shard, gv_entry_t *entry, uint64_t exact)
{
    entry->flags |= GV_ENTRY_JOINED;
    entry->join = ++shard->next_join;
    uint32_t parts = 1 + (uint32_t)__builtin_popcountll(exact);
    gv_journal_join(shard->journal, gv_join_of(shard->index, entry->join), parts);
}

/* Its receivers there get nothing: the publisher is not told that they did. */
static void give_up(gv_shard_t *shard, passage_t *passage)
{
    gv_counter_add(&shard->stats.dropped_no_memory, 1);
    passage->routed.has_failed = true;
}

static void send_to_shard(gv_shard_t *shard, uint16_t to, passage_t *passage)
{
    const gv_matches_t *matches = &shard->matches;
    size_t count = 0;
    for (size_t i = 0; i < matches->hit_count; i++) {
        count += matches->hits[i].shard == to;
    }
    gv_entry_t *entry =
        gv_office_append(&shard->office, to, passage->publish, count * sizeof(uint32_t));
    if (entry == NULL) {
        give_up(shard, passage);
        return;
    }
    entry->kind = GV_ENTRY_SLOTS;
    entry->slot_count = (uint32_t)count;
    uint32_t *slots = gv_parcel_extra(entry);
    for (size_t i = 0; i < matches->hit_count; i++) {
        if (matches->hits[i].shard == to) {
            *slots++ = matches->hits[i].slot;
        }
    }
    set_wish(shard, passage, entry);
}

static void send_to_nodes(gv_shard_t *shard, uint64_t nodes, uint64_t exact, passage_t *passage)
{
    const gv_matches_t *matches = &shard->matches;
    size_t extra = sizeof(gv_entry_nodes_t);
    for (size_t i = 0; i < matches->node_share_count; i++) {
        nodes |= (uint64_t)1 << matches->node_shares[i].node;
        extra += GV_ENTRY_SHARE_HEAD + matches->node_shares[i].filter.size;
    }
    gv_entry_t *entry =
        gv_office_append(&shard->office, gv__desk_forward(shard), passage->publish, extra);
    if (entry == NULL) {
        give_up(shard, passage);
        return;
    }
    entry->kind = GV_ENTRY_NODES;
    entry->ticket = *passage->ticket;
    gv_entry_nodes_t head = {.nodes = nodes,
                             .exact = exact,
                             .hlc = passage->write.stamp.hlc,
                             .share_count = (uint32_t)matches->node_share_count};
    gv_writer_t w = gv_writer(gv_parcel_extra(entry), extra);
    gv_writer_put(&w, gv_bytes(&head, sizeof(head)));
    for (size_t i = 0; i < matches->node_share_count; i++) {
        gv_writer_u8(&w, matches->node_shares[i].node);
        gv_writer_u16(&w, (uint16_t)matches->node_shares[i].filter.size);
        gv_writer_put(&w, matches->node_shares[i].filter);
    }
    GV_ASSERT(!w.failed);
    if (passage->wish != GV_ROUTE_PLAIN) {
        entry->flags |= GV_ENTRY_WANTS_CONFIRM;
        passage->routed.missing = (uint16_t)(passage->routed.missing + __builtin_popcountll(nodes));
    }
    if (exact != 0) {
        join_outbox(shard, entry, exact);
    }
}

static void keep_retained(gv_shard_t *shard, passage_t *passage)
{
    uint16_t home = gv__retained_home(shard, passage->publish->topic);
    if (home == shard->index) {
        const gv_ticket_t *ticket = passage->wish != GV_ROUTE_PLAIN ? passage->ticket : NULL;
        gv_retain_result_t result = gv__retain(shard, passage->publish, &passage->write, ticket,
                                               passage->wish == GV_ROUTE_JOINED);
        if (result == GV_RETAIN_LATER) {
            passage->routed.missing++;
        }
        passage->routed.has_failed |= result == GV_RETAIN_REFUSED;
        return;
    }
    gv_entry_t *entry =
        gv_office_append(&shard->office, home, passage->publish, sizeof(passage->write));
    if (entry == NULL) {
        give_up(shard, passage);
        return;
    }
    entry->kind = GV_ENTRY_RETAIN;
    memcpy(gv_parcel_extra(entry), &passage->write, sizeof(passage->write));
    set_wish(shard, passage, entry);
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

/* One shared buffer instead of a copy for each thread it goes to. */
static void share_large(gv_publish_t *publish)
{
    gv_msgbuf_t *kept = NULL;
    if (publish->payload.size >= GV_PAYLOAD_SHARED_MIN && publish->kept == NULL &&
        gv_publish_keep(publish, &kept) == GV_OK) {
        gv_msgbuf_unref(&kept);
    }
}

static void deliver_here(gv_shard_t *shard, passage_t *passage)
{
    const uint32_t *slots = NULL;
    size_t count = own_slots(shard, &slots);
    origin_t origin = {.ticket = passage->wish != GV_ROUTE_PLAIN ? passage->ticket : NULL,
                       .is_joined = passage->wish == GV_ROUTE_JOINED};
    (void)deliver_slots(shard, passage->publish, slots, count, origin,
                        &passage->routed.is_congested);
    if (origin.ticket != NULL) {
        passage->routed.missing = (uint16_t)(passage->routed.missing + shard->fanout.given_on);
    }
    if (shard->fanout.has_refused) {
        passage->routed.has_failed = true;
    }
    if (passage->wish != GV_ROUTE_PLAIN && shard->fanout.is_passed_on) {
        gv_journal_then_confirm(shard->journal, passage->ticket);
        passage->routed.missing++;
    } else if (passage->wish != GV_ROUTE_PLAIN && shard->fanout.is_journaled) {
        gv_journal_confirm_body(shard->journal, &shard->fanout, passage->ticket);
        passage->routed.missing++;
    }
}

gv_routed_t gv__route(gv_shard_t *shard, gv_publish_t *publish, const gv_ticket_t *ticket,
                      gv_route_wish_t wish)
{
    static const gv_ticket_t nobody = {.client = UINT32_MAX};
    passage_t passage = {
        .publish = publish, .ticket = ticket != NULL ? ticket : &nobody, .wish = wish};
    gv_matches_t *matches = &shard->matches;
    bool stays_here = gv_topic_stays_here(publish->topic);
    uint64_t alive =
        stays_here ? 0 : atomic_load_explicit(shard->nodes_alive, memory_order_relaxed);
    /* Of what waits for nodes that are not there, QoS 0 is nothing. */
    uint64_t away = stays_here || publish->qos == 0
                        ? 0
                        : atomic_load_explicit(shard->nodes_away, memory_order_relaxed);
    gv_router_match(shard->router, publish->topic, alive, gv_rng_u32(&shard->rng), matches);

    uint64_t own = (uint64_t)1 << shard->index;
    uint64_t nodes = (matches->nodes & alive) | (matches->lasting_nodes & away);
    passage.routed.has_matched =
        matches->hit_count > 0 || nodes != 0 || matches->node_share_count > 0;
    if (publish->retain) {
        /*
         * All nodes keep retained messages, whoever subscribes there.  Who is away, or misses one,
         * fetches it later (reconcile.h).
         */
        if (!gv_topic_is_own(publish->topic)) {
            passage.write.stamp = gv__retain_stamp(shard);
        }
        nodes |= alive;
    }
    /* Wills of QoS 0 and 1 are joined as well, but may come twice. */
    uint64_t exact =
        wish == GV_ROUTE_JOINED && publish->qos == 2 ? nodes & matches->lasting_nodes : 0;
    bool is_full = (exact & atomic_load_explicit(shard->nodes_full, memory_order_relaxed)) != 0;
    if (is_full && passage.ticket->client != UINT32_MAX) { /* a will has nobody to try again */
        gv_counter_add(&shard->stats.dropped_store_full, 1);
        passage.routed.has_failed = true;
        gv_publish_done(publish);
        return passage.routed;
    }
    bool goes_to_nodes = nodes != 0 || matches->node_share_count > 0;
    if ((matches->shards & ~own) != 0 || goes_to_nodes || publish->retain) {
        share_large(publish);
    }
    if (publish->payload.size >= GV_LOG_SHARED_MIN) {
        publish->payload_number =
            gv_log_name_payload(gv_journal_log(shard->journal), publish->payload.size,
                                (uint32_t)__builtin_popcountll(matches->shards));
    }
    for (uint64_t left = matches->shards & ~own; left != 0; left &= left - 1) {
        send_to_shard(shard, (uint16_t)__builtin_ctzll(left), &passage);
    }
    if (goes_to_nodes) {
        send_to_nodes(shard, nodes, exact, &passage);
    }
    if (publish->retain) {
        keep_retained(shard, &passage);
    }
    if ((matches->shards & own) != 0) {
        deliver_here(shard, &passage);
    }
    gv_publish_done(publish);
    return passage.routed;
}

/* ---- from others ----------------------------------------------------------------------------- */

void gv__take_join(gv_shard_t *shard, const gv_entry_t *entry)
{
    if ((entry->flags & GV_ENTRY_JOINED) != 0) {
        gv_journal_join(shard->journal, gv_join_of(entry->ticket.shard, entry->join), 2);
    }
}

/* The sender is confirmed when what was journaled is durable; joined it is, even if it is nothing.
 */
static void confirm_later(gv_shard_t *shard, gv_entry_t *entry)
{
    if ((entry->flags & GV_ENTRY_JOINED) != 0 || shard->fanout.is_passed_on) {
        gv_journal_then_confirm(shard->journal, &entry->ticket);
        entry->flags |= GV_ENTRY_DEFERRED;
    } else if (shard->fanout.is_journaled) {
        gv_journal_confirm_body(shard->journal, &shard->fanout, &entry->ticket);
        entry->flags |= GV_ENTRY_DEFERRED;
    } else if (shard->fanout.is_lent) {
        entry->flags |= GV_ENTRY_DEFERRED; /* until it is acknowledged */
    }
}

gv_taken_t gv__take_gift(gv_shard_t *shard, gv_publish_t *publish, uint32_t slot,
                         const gv_ticket_t *loan)
{
    gv_give_t why = (gv_give_t)loan->number;
    gv_filter_t *filter = gv_subscriptions_at(&shard->subscriptions, slot);
    if (filter == NULL || filter->count == 0 || (why == GV_GIVE_AWAY && filter->online == 0)) {
        return GV_TAKEN_NOT;
    }
    if (gv_journal_refuses(shard->journal)) {
        return GV_TAKEN_REFUSED;
    }
    gv_subscription_t *member = choose_member(filter);
    uint8_t qos = lower_qos(publish->qos, member->options & GV_SUB_QOS_MASK);
    gv_fanout_begin(&shard->fanout, publish, shard->now_ms);
    shard->fanout.ticket = loan;
    deliver_one(shard, member, filter->slot + 1);
    if (qos == 0) {
        return GV_TAKEN_FOR_GOOD;
    }
    if (shard->fanout.is_lent) {
        return GV_TAKEN_LENT;
    }
    return shard->fanout.is_journaled ? GV_TAKEN_DURABLY : GV_TAKEN_REFUSED;
}

/* Durable here it becomes only together with what the sender writes: that it has it no more. */
static void take_loan(gv_shard_t *shard, gv_entry_t *entry)
{
    gv_publish_t publish = gv_parcel_publish(entry);
    bool is_borrowed = publish.kept != NULL;
    const uint32_t *slots = gv_parcel_extra(entry);
    switch (gv__take_gift(shard, &publish, slots[0], &entry->ticket)) {
    case GV_TAKEN_DURABLY:
        entry->join = ++shard->next_join;
        entry->flags |= GV_ENTRY_JOINED;
        gv_journal_join(shard->journal, gv_join_of(shard->index, entry->join), 2);
        break;
    case GV_TAKEN_FOR_GOOD:
        break;
    case GV_TAKEN_LENT:
        entry->flags |= GV_ENTRY_DEFERRED;
        break;
    case GV_TAKEN_NOT:
        entry->flags |= GV_ENTRY_NO_MATCH;
        break;
    case GV_TAKEN_REFUSED:
        entry->flags |= GV_ENTRY_REFUSED;
        break;
    }
    if (!is_borrowed) {
        gv_publish_done(&publish);
    }
}

void gv__take_slots(gv_shard_t *shard, gv_entry_t *entry)
{
    if ((entry->flags & GV_ENTRY_LOAN) != 0) {
        take_loan(shard, entry);
        return;
    }
    gv_publish_t publish = gv_parcel_publish(entry);
    bool is_borrowed = publish.kept != NULL;
    bool is_congested = false;
    gv__take_join(shard, entry);
    origin_t origin = {
        .ticket = (entry->flags & GV_ENTRY_WANTS_CONFIRM) != 0 ? &entry->ticket : NULL,
        .is_joined = (entry->flags & GV_ENTRY_JOINED) != 0,
    };
    if (!deliver_slots(shard, &publish, gv_parcel_extra(entry), entry->slot_count, origin,
                       &is_congested)) {
        entry->flags |= GV_ENTRY_NO_MATCH;
    }
    if (is_congested || gv_journal_is_full(shard->journal)) {
        entry->flags |= GV_ENTRY_CONGESTED;
    }
    if (shard->fanout.has_refused) {
        entry->flags |= GV_ENTRY_REFUSED;
    } else if ((entry->flags & GV_ENTRY_WANTS_CONFIRM) != 0) {
        confirm_later(shard, entry);
    }
    if (!is_borrowed) {
        gv_publish_done(&publish);
    }
}

bool gv__pass_to_shard(gv_shard_t *shard, gv_publish_t *publish, uint16_t to, uint32_t slot)
{
    if (to == shard->index) {
        bool is_congested = false;
        (void)deliver_slots(shard, publish, &slot, 1, (origin_t){.is_joined = true}, &is_congested);
        return true;
    }
    gv_entry_t *entry = gv_office_append(&shard->office, to, publish, sizeof(slot));
    if (entry == NULL) {
        return false;
    }
    entry->kind = GV_ENTRY_SLOTS;
    entry->slot_count = 1;
    memcpy(gv_parcel_extra(entry), &slot, sizeof(slot));
    entry->ticket = (gv_ticket_t){.client = UINT32_MAX, .shard = shard->index};
    entry->flags |= GV_ENTRY_JOINED;
    entry->join = ++shard->next_join;
    gv_journal_join(shard->journal, gv_join_of(shard->index, entry->join), 2);
    return true;
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

uint32_t gv__route_weight(const gv_filter_t *filter)
{
    return filter->is_shared ? filter->online : filter->lasting > 0;
}

void gv__route_set(gv_shard_t *shard, gv_filter_t *filter)
{
    filter->is_leaving = false;
    filter->announced = gv__route_weight(filter);
    send_route(shard, filter, true);
}

void gv__route_unset(gv_shard_t *shard, gv_filter_t *filter)
{
    GV_ASSERT(filter->count == 0);
    filter->is_leaving = true;
    filter->unsets_out++;
    send_route(shard, filter, false);
}
