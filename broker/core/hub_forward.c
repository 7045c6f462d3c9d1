/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages to other nodes and from them, and those of groups that look for a member.
 *
 * Who waits for a message has a ticket.  The hub's own name an entry in one of its two tables; an
 * entry there knows who waits for it in turn, which may be another entry of the hub's: a message
 * that finds no member of a group where it was sent goes elsewhere under an entry of its own, and
 * the first one waits for that.
 *
 * Parts: tickets - to other nodes - from other nodes - groups - answers.
 */
#include "base/alloc.h"
#include "broker/core/hub_p.h"
#include "broker/core/matches.h"
#include "proto/mqtt/reason.h"

/* ---- tickets --------------------------------------------------------------------------------- */

/* What the number in a ticket of the hub's says: which table it is in. */
enum {
    OF_INCOMING,
    OF_OUTGOING,
};

static const gv_ticket_t nobody = {.client = UINT32_MAX};

static gv_ticket_t ticket_of(const gv_pending_table_t *table, uint32_t index, uint32_t number)
{
    return (gv_ticket_t){.client = index,
                         .generation = table->items[index].generation,
                         .number = number,
                         .shard = GV_HUB_INDEX};
}

static bool is_incoming(const gv_ticket_t *ticket)
{
    return ticket->shard == GV_HUB_INDEX && ticket->number == OF_INCOMING;
}

static bool is_outgoing(const gv_ticket_t *ticket)
{
    return ticket->shard == GV_HUB_INDEX && ticket->number == OF_OUTGOING;
}

/* What others call an entry, and back.  0 is none: generations begin with 1. */
static uint64_t token_of(const gv_ticket_t *ticket)
{
    return (uint64_t)ticket->generation << 32 | ticket->client;
}

static gv_ticket_t ticket_of_token(uint64_t token, uint32_t number)
{
    return (gv_ticket_t){.client = (uint32_t)token,
                         .generation = (uint32_t)(token >> 32),
                         .number = number,
                         .shard = GV_HUB_INDEX};
}

/* An entry for a message that one taker is to have, in the name of who waits for it. */
static gv_ticket_t wait_for_taker(gv_hub_t *hub, const gv_ticket_t *who, uint64_t tried)
{
    uint32_t index = gv_pending_take(&hub->outgoing);
    gv_pending_t *pending = &hub->outgoing.items[index];
    pending->ticket = *who;
    pending->missing = 1;
    pending->tried = tried;
    gv_ticket_t ticket = ticket_of(&hub->outgoing, index, OF_OUTGOING);
    ticket.is_loan = who->is_loan;
    return ticket;
}

/* ---- answers --------------------------------------------------------------------------------- */

static void answered(gv_hub_t *hub, const gv_ticket_t *ticket, uint8_t reason);

static void tell(gv_hub_t *hub, const gv_ticket_t *who, uint8_t reason)
{
    if (who->client == UINT32_MAX) {
        return;
    }
    if (who->shard == GV_HUB_INDEX) {
        answered(hub, who, reason);
        return;
    }
    /* The reason travels where a message's QoS would. */
    gv_publish_t nothing = {.qos = reason};
    gv_entry_t *entry = gv_office_append(&hub->office, who->shard, &nothing, 0);
    GV_ASSERT(entry != NULL);
    entry->kind = GV_ENTRY_CONFIRM;
    entry->ticket = *who;
}

/* One of those a publish has gone to has it, or will never have it. */
static void outgoing_done(gv_hub_t *hub, const gv_ticket_t *ticket, uint8_t reason)
{
    gv_pending_t *pending = gv_pending_at(&hub->outgoing, ticket->client, ticket->generation);
    if (pending == NULL) {
        return;
    }
    pending->reason = reason > pending->reason ? reason : pending->reason;
    gv_ticket_t who = pending->ticket;
    uint8_t worst = pending->reason;
    bool is_counted = pending->uncounted == 0;
    pending->uncounted -= is_counted ? 0 : 1;
    pending->missing--;
    if (pending->missing == 0) {
        gv_pending_give_back(&hub->outgoing, ticket->client);
    }
    if (is_counted) {
        tell(hub, &who, worst);
    }
}

/* The message of another node is through here.  The cluster is told later: it may be calling now.
 */
static void apply_later(gv_hub_t *hub, uint32_t index)
{
    gv_pending_t *pending = &hub->incoming.items[index];
    if (pending->delivery.seq != 0) {
        if (hub->applied_count == hub->applied_capacity) {
            hub->applied_capacity = hub->applied_capacity == 0 ? 256 : hub->applied_capacity * 2;
            hub->applied = gv_xrealloc(hub->applied, hub->applied_capacity * sizeof(*hub->applied));
        }
        hub->applied[hub->applied_count++] = (gv_hub_applied_t){
            .delivery = pending->delivery,
            .outcome = {.is_refused = gv_mqtt_reason_is_error(pending->reason),
                        .returned = pending->returned,
                        .returned_count = pending->returned_count},
        };
        pending->returned = NULL;
    }
    if (pending->copied > 0) {
        gv_reconcile_on_copy(hub->reconcile, pending->delivery.from, pending->copied);
    }
    gv_pending_give_back(&hub->incoming, index);
}

static void incoming_done(gv_hub_t *hub, const gv_ticket_t *ticket, uint8_t reason)
{
    gv_pending_t *pending = gv_pending_at(&hub->incoming, ticket->client, ticket->generation);
    if (pending == NULL) {
        return;
    }
    pending->reason = reason > pending->reason ? reason : pending->reason;
    pending->missing--;
    if (pending->missing == 0) {
        apply_later(hub, ticket->client);
    }
}

static void answered(gv_hub_t *hub, const gv_ticket_t *ticket, uint8_t reason)
{
    if (is_incoming(ticket)) {
        incoming_done(hub, ticket, reason);
    } else {
        outgoing_done(hub, ticket, reason);
    }
}

/* A shard gives a message on to another member of a group: there is one more to wait for. */
static void one_more(gv_hub_t *hub, const gv_ticket_t *ticket)
{
    gv_pending_t *pending = gv_pending_at(is_incoming(ticket) ? &hub->incoming : &hub->outgoing,
                                          ticket->client, ticket->generation);
    if (pending != NULL) {
        pending->missing++;
        pending->uncounted++; /* who waits for it in turn has not counted it */
    }
}

void gv__hub_tell_applied(gv_hub_t *hub)
{
    for (size_t i = 0; i < hub->applied_count; i++) {
        const gv_hub_applied_t *applied = &hub->applied[i];
        hub->cluster.applied(hub->cluster.arg, applied->delivery, &applied->outcome);
        gv_free((uint64_t *)(uintptr_t)applied->outcome.returned);
    }
    hub->applied_count = 0;
}

void gv__hub_forward_deinit(gv_hub_t *hub)
{
    for (size_t i = 0; i < hub->applied_count; i++) {
        gv_free((uint64_t *)(uintptr_t)hub->applied[i].outcome.returned);
    }
    gv_free(hub->applied);
    gv_pending_deinit(&hub->outgoing);
    gv_pending_deinit(&hub->incoming);
}

void gv__hub_returned(gv_letter_t *letter)
{
    gv_parcel_t *parcel = gv_container_of(letter, gv_parcel_t, letter);
    gv_hub_t *hub = parcel->from;
    for (gv_entry_t *e = gv_parcel_first(parcel); e != NULL; e = gv_parcel_next(parcel, e)) {
        if ((e->flags & GV_ENTRY_WANTS_CONFIRM) != 0 && (e->flags & GV_ENTRY_DEFERRED) == 0) {
            bool is_refused = (e->flags & GV_ENTRY_REFUSED) != 0;
            answered(hub, &e->ticket, is_refused ? GV_MQTT_QUOTA_EXCEEDED : GV_MQTT_SUCCESS);
        }
    }
    gv_office_reuse(&hub->office, parcel);
}

/* ---- to other nodes -------------------------------------------------------------------------- */

static gv_entry_nodes_t read_nodes(gv_entry_t *entry, gv_hub_shares_t *shares)
{
    gv_entry_nodes_t head;
    gv_reader_t r = gv_reader(gv_bytes(gv_parcel_extra(entry), entry->extra_size));
    memcpy(&head, gv_reader_take(&r, sizeof(head)).data, sizeof(head));
    shares->count = 0;
    for (uint32_t i = 0; i < head.share_count && shares->count < GV_FORWARD_SHARED_MAX; i++) {
        shares->nodes[shares->count] = gv_reader_u8(&r);
        uint16_t size = gv_reader_u16(&r);
        shares->filters[shares->count] = gv_reader_take(&r, size);
        shares->count++;
    }
    GV_ASSERT(!r.failed);
    return head;
}

gv_forward_t gv__hub_forward_of(gv_hub_t *hub, const gv_publish_t *publish)
{
    uint64_t now_ms = hub->ports.monotonic_ms(hub->ports.arg);
    gv_forward_t message = {
        .topic = publish->topic,
        .payload = publish->payload,
        .properties = publish->props,
        .expiry_ms = GV_FORWARD_NO_EXPIRY,
        .qos = publish->qos,
        .retain = publish->retain,
    };
    if (publish->expires_at_ms != 0) {
        message.expiry_ms = publish->expires_at_ms > now_ms ? publish->expires_at_ms - now_ms : 0;
    }
    return message;
}

/* Behind what waits for its node already, if anything does.  Gives the others of the nodes. */
static uint64_t put_behind(gv_hub_t *hub, const gv_forward_t *message, uint64_t nodes,
                           uint64_t token)
{
    uint64_t others = nodes;
    for (uint64_t left = message->qos > 0 ? nodes : 0; left != 0; left &= left - 1) {
        gv_node_index_t node = (gv_node_index_t)__builtin_ctzll(left);
        uint64_t bit = (uint64_t)1 << node;
        if (message->qos == 2 && gv_outbox_is_open(hub->outbox, node, GV_OUTBOX_EXACT)) {
            gv_outbox_put_exact(hub->outbox, node, message, NULL, token);
            others &= ~bit;
        } else if (gv_outbox_is_open(hub->outbox, node, GV_OUTBOX_SPOOL)) {
            gv_outbox_put(hub->outbox, node, message, token);
            others &= ~bit;
        }
    }
    return others;
}

/* What must not come twice: it is on our disk first. */
static void put_exact(gv_hub_t *hub, const gv_entry_t *entry, uint64_t nodes,
                      const gv_forward_t *message, uint64_t token)
{
    gv_outbox_join_t join = {.join = gv_join_of(entry->ticket.shard, entry->join),
                             .parts = 1 + (uint32_t)__builtin_popcountll(nodes)};
    for (uint64_t left = nodes; left != 0; left &= left - 1) {
        gv_node_index_t node = (gv_node_index_t)__builtin_ctzll(left);
        gv_outbox_put_exact(hub->outbox, node, message, &join, token);
    }
}

static void forward(gv_hub_t *hub, gv_entry_t *entry)
{
    const gv_hub_shares_t *shares = &hub->shares;
    gv_entry_nodes_t head = read_nodes(entry, &hub->shares);
    gv_publish_t publish = gv_parcel_publish(entry);
    gv_forward_t message = gv__hub_forward_of(hub, &publish);
    message.write.hlc = head.hlc;
    uint64_t token = 0;
    if ((entry->flags & GV_ENTRY_WANTS_CONFIRM) != 0) {
        gv_ticket_t ticket = wait_for_taker(hub, &entry->ticket, 0);
        hub->outgoing.items[ticket.client].missing = (uint32_t)__builtin_popcountll(head.nodes);
        token = token_of(&ticket);
        entry->flags |= GV_ENTRY_DEFERRED;
    }
    gv_counter_add(&hub->stats.forwarded, 1);
    uint64_t with_shares = 0;
    for (size_t i = 0; i < shares->count; i++) {
        with_shares |= (uint64_t)1 << shares->nodes[i];
    }
    put_exact(hub, entry, head.exact, &message, token);
    uint64_t plain = put_behind(hub, &message, head.nodes & ~with_shares & ~head.exact, token);
    if (plain != 0) {
        hub->cluster.publish(hub->cluster.arg, &message, plain, token);
    }
    for (uint64_t left = with_shares; left != 0; left &= left - 1) {
        uint8_t node = (uint8_t)__builtin_ctzll(left);
        gv_bytes_t own[GV_FORWARD_SHARED_MAX];
        message.shared = own;
        message.shared_count = 0;
        for (size_t i = 0; i < shares->count; i++) {
            if (shares->nodes[i] == node) {
                own[message.shared_count++] = shares->filters[i];
            }
        }
        message.is_for_groups = (head.exact & (uint64_t)1 << node) != 0;
        if (message.is_for_groups) {
            gv_ticket_t ticket = ticket_of_token(token, OF_OUTGOING);
            one_more(hub, &ticket); /* besides what goes to the others there */
        }
        hub->cluster.publish(hub->cluster.arg, &message, (uint64_t)1 << node, token);
    }
}

void gv_hub_take_forward(gv_letter_t *letter)
{
    gv_parcel_t *parcel = gv_container_of(letter, gv_parcel_t, letter);
    gv_hub_t *hub = parcel->to;
    for (gv_entry_t *e = gv_parcel_first(parcel); e != NULL; e = gv_parcel_next(parcel, e)) {
        if (e->kind == GV_ENTRY_CONFIRM) {
            answered(hub, &e->ticket, e->qos);
        } else if (e->kind == GV_ENTRY_NOTE) {
            gv__hub_send_note(hub, e);
        } else if (e->kind == GV_ENTRY_COPY) {
            gv__hub_send_copy(hub, e);
        } else if (e->kind == GV_ENTRY_MORE) {
            one_more(hub, &e->ticket);
        } else {
            GV_ASSERT(e->kind == GV_ENTRY_NODES);
            GV_ASSERT(hub->has_cluster);
            forward(hub, e);
        }
    }
    gv_office_return(&hub->office, parcel);
}

static bool pass_on(gv_hub_t *hub, const gv_publish_t *publish, gv_bytes_t share_filter,
                    const gv_ticket_t *ticket);
static gv_publish_t publish_of(const gv_hub_t *hub, const gv_forward_t *message);

/*
 * A node could not give it to members of groups there: it has died, or (`without`, a bit each) it
 * has none any more.  Others get it, and the publisher is answered when they have it.
 */
static void give_lost(gv_hub_t *hub, const gv_ticket_t *ticket, uint64_t without,
                      const gv_forward_t *lost)
{
    gv_publish_t publish = publish_of(hub, lost);
    for (size_t i = 0; i < lost->shared_count; i++) {
        const gv_pending_t *pending =
            gv_pending_at(&hub->outgoing, ticket->client, ticket->generation);
        uint64_t tried = (pending != NULL ? pending->tried : 0) | without;
        gv_ticket_t who = pending != NULL ? *ticket : nobody;
        who.is_loan = pending != NULL ? pending->ticket.is_loan : 0;
        gv_ticket_t own = wait_for_taker(hub, &who, tried);
        one_more(hub, ticket);
        if (!pass_on(hub, &publish, lost->shared[i], &own)) {
            answered(hub, &own, GV_MQTT_QUOTA_EXCEEDED);
        }
    }
    gv_publish_done(&publish);
}

/* Whether somebody at that node is to have the message all the same. */
static bool is_kept_for(gv_hub_t *hub, gv_node_index_t node, const gv_forward_t *lost)
{
    uint64_t bit = (uint64_t)1 << node;
    /* It may be back by now. */
    uint64_t known = atomic_load_explicit(hub->nodes_away, memory_order_relaxed) |
                     atomic_load_explicit(hub->nodes_alive, memory_order_relaxed);
    if ((known & bit) == 0) {
        return false; /* forgotten */
    }
    hub->ports.read_begin(hub->ports.arg);
    gv_router_match(hub->router, lost->topic, 0, 0, &hub->matches);
    hub->ports.read_end(hub->ports.arg);
    return !lost->write.is_copy && (hub->matches.lasting_nodes & bit) != 0;
}

/* The node has died, or stopped, with the message or before it had it. */
static void on_gone(gv_hub_t *hub, const gv_ticket_t *ticket, gv_node_index_t node,
                    const gv_forward_t *lost, bool is_in_doubt)
{
    bool is_kept = lost != NULL && !lost->is_for_groups && is_kept_for(hub, node, lost);
    if (lost != NULL && lost->shared_count > 0 && !is_in_doubt) {
        give_lost(hub, ticket, 0, lost);
    }
    if (is_in_doubt && (is_kept || lost == NULL)) {
        gv_counter_add(&hub->stats.forward_in_doubt, 1);
        answered(hub, ticket, GV_MQTT_UNSPECIFIED_ERROR);
    } else if (is_kept) {
        gv_outbox_put(hub->outbox, node, lost, token_of(ticket));
    } else {
        answered(hub, ticket, GV_MQTT_SUCCESS);
    }
}

void gv_hub_on_confirmed(gv_hub_t *hub, uint64_t token, gv_node_index_t node,
                         gv_forward_result_t result, const gv_forward_t *lost)
{
    if ((token & GV_OUTBOX_TOKEN) != 0) {
        gv_outbox_on_confirmed(hub->outbox, token, result);
        return;
    }
    bool is_in_doubt = result == GV_FORWARD_IN_DOUBT;
    gv_counter_add(&hub->stats.forward_gone, result == GV_FORWARD_GONE || is_in_doubt);
    gv_counter_add(&hub->stats.forward_full, result == GV_FORWARD_FULL);
    gv_counter_add(&hub->stats.forward_no_room, result == GV_FORWARD_REFUSED);
    gv_ticket_t ticket = ticket_of_token(token, OF_OUTGOING);
    if (result == GV_FORWARD_GONE || is_in_doubt) {
        on_gone(hub, &ticket, node, lost, is_in_doubt);
        return;
    }
    if (result == GV_FORWARD_RETURNED) {
        give_lost(hub, &ticket, (uint64_t)1 << node, lost);
    }
    bool is_refused = result == GV_FORWARD_FULL || result == GV_FORWARD_REFUSED;
    answered(hub, &ticket, is_refused ? GV_MQTT_QUOTA_EXCEEDED : GV_MQTT_SUCCESS);
}

void gv__hub_send_again(void *arg, const gv_forward_t *message, gv_node_index_t node,
                        uint64_t token)
{
    gv_hub_t *hub = arg;
    hub->cluster.publish(hub->cluster.arg, message, (uint64_t)1 << node, token);
}

void gv__hub_answer(void *arg, uint64_t token, bool is_refused)
{
    gv_ticket_t ticket = ticket_of_token(token, OF_OUTGOING);
    answered(arg, &ticket, is_refused ? GV_MQTT_QUOTA_EXCEEDED : GV_MQTT_SUCCESS);
}

/* ---- from other nodes ------------------------------------------------------------------------ */

/* What a shard gets of a message from another node, and how. */
typedef struct gift {
    gv_publish_t *publish;
    gv_ticket_t ticket;
    gv_entry_write_t write; /* if it is to be retained */
    bool wants_confirm;
    bool is_exact; /* durable only together with the sender's cursor (inbox.h) */
} gift_t;

/* One entry for a shard; false when there is no memory for it. */
static bool give(gv_hub_t *hub, uint16_t shard, const gift_t *gift, gv_entry_kind_t kind)
{
    size_t count = 0;
    for (size_t i = 0; kind == GV_ENTRY_SLOTS && i < hub->matches.hit_count; i++) {
        count += hub->matches.hits[i].shard == shard;
    }
    size_t extra = kind == GV_ENTRY_RETAIN ? sizeof(gift->write) : count * sizeof(uint32_t);
    gv_entry_t *entry = gv_office_append(&hub->office, shard, gift->publish, extra);
    if (entry == NULL) {
        return false;
    }
    if (kind == GV_ENTRY_RETAIN) {
        memcpy(gv_parcel_extra(entry), &gift->write, sizeof(gift->write));
    }
    entry->kind = (uint8_t)kind;
    entry->slot_count = (uint32_t)count;
    entry->ticket = gift->ticket;
    entry->flags |= gift->wants_confirm ? GV_ENTRY_WANTS_CONFIRM : 0;
    if (gift->is_exact) {
        entry->flags |= GV_ENTRY_JOINED;
        entry->join = ++hub->next_join;
        gv_inbox_join(hub->inbox, gv_join_of(GV_HUB_INDEX, entry->join));
    }
    uint32_t *slots = gv_parcel_extra(entry);
    for (size_t i = 0; count > 0 && i < hub->matches.hit_count; i++) {
        if (hub->matches.hits[i].shard == shard) {
            *slots++ = hub->matches.hits[i].slot;
        }
    }
    return true;
}

/* A message of another node as it is here. */
static gv_publish_t publish_of(const gv_hub_t *hub, const gv_forward_t *message)
{
    gv_publish_t publish = {
        .topic = message->topic,
        .props = message->properties,
        .payload = message->payload,
        .qos = message->write.is_copy ? message->write.qos : message->qos,
        .retain = message->retain,
    };
    if (message->expiry_ms != GV_FORWARD_NO_EXPIRY) {
        publish.expires_at_ms = hub->ports.monotonic_ms(hub->ports.arg) + message->expiry_ms + 1;
    }
    if (publish.payload.size >= GV_PAYLOAD_SHARED_MIN) {
        gv_msgbuf_t *kept = NULL;
        if (gv_publish_keep(&publish, &kept) == GV_OK) {
            gv_msgbuf_unref(&kept);
        }
    }
    return publish;
}

/* The members here that it was sent to; a group that has none any more goes back to the sender. */
static void add_groups(gv_hub_t *hub, const gv_publish_t *publish, const gv_forward_t *message,
                       gv_pending_t *pending)
{
    for (size_t i = 0; i < message->shared_count; i++) {
        gv_bytes_t filter = message->shared[i];
        if (gv_router_add_share(hub->router, filter, gv_rng_u32(&hub->rng), &hub->matches)) {
            continue;
        }
        if (pending->delivery.seq != 0) {
            gv_pending_return(pending, gv_forward_group_key(filter));
        } else {
            (void)pass_on(hub, publish, filter, NULL); /* the sender keeps nothing of QoS 0 */
        }
    }
}

/* Gives it to the shards where there is somebody, and to that which keeps retained messages. */
static uint32_t give_all(gv_hub_t *hub, const gift_t *gift, bool is_retained, bool *has_failed)
{
    uint32_t given = 0;
    uint32_t wanted = 0;
    for (uint64_t left = hub->matches.shards; left != 0; left &= left - 1) {
        wanted++;
        given += give(hub, (uint16_t)__builtin_ctzll(left), gift, GV_ENTRY_SLOTS);
    }
    if (is_retained) {
        uint32_t bucket = gv_retained_bucket(gift->publish->topic, hub->retained->seed);
        wanted++;
        given += give(hub, gv_retained_home(bucket, hub->shard_count), gift, GV_ENTRY_RETAIN);
    }
    *has_failed = given < wanted;
    return given;
}

static void deliver(gv_hub_t *hub, uint32_t index, const gv_forward_t *message,
                    gv_publish_t *publish)
{
    gv_pending_t *pending = &hub->incoming.items[index];
    gift_t gift = {.publish = publish,
                   .ticket = ticket_of(&hub->incoming, index, OF_INCOMING),
                   .wants_confirm = pending->delivery.seq != 0,
                   .is_exact = message->exact.number != 0 && pending->delivery.seq != 0};
    bool is_retained = publish->retain && !message->is_for_groups;
    if (is_retained) {
        gift.write = gv__hub_write_of(hub, pending->delivery.from, message);
    }
    hub->ports.read_begin(hub->ports.arg);
    if (message->is_for_groups || message->write.is_copy) {
        gv_matches_clear(&hub->matches);
    } else {
        gv_router_match_local(hub->router, publish->topic, &hub->matches);
    }
    add_groups(hub, publish, message, pending);
    hub->ports.read_end(hub->ports.arg);
    publish->payload_number = gv_log_name_payload(
        hub->log, publish->payload.size, (uint32_t)__builtin_popcountll(hub->matches.shards));

    bool has_failed = false;
    uint32_t given = give_all(hub, &gift, is_retained, &has_failed);
    pending->reason = has_failed ? GV_MQTT_QUOTA_EXCEEDED : GV_MQTT_SUCCESS;
    pending->missing = gift.wants_confirm ? given : 0;
    if (pending->missing == 0) {
        apply_later(hub, index);
    }
}

/*
 * A message that must not come twice.  It goes to all or to nobody: with a buffer of its own it
 * needs no memory in any parcel that might not be had.
 */
static void deliver_exact(gv_hub_t *hub, uint32_t index, const gv_forward_t *message,
                          gv_publish_t *publish)
{
    gv_pending_t *pending = &hub->incoming.items[index];
    gv_ticket_t ticket = ticket_of(&hub->incoming, index, OF_INCOMING);
    gv_msgbuf_t *kept = NULL;
    gv_inbox_verdict_t verdict = GV_INBOX_REFUSED;
    /* In a full store it would fail, and with each try go to those who are not on the disk. */
    if (!gv_store_is_full(hub->store) && gv_publish_keep(publish, &kept) == GV_OK) {
        gv_msgbuf_unref(&kept);
        verdict = gv_inbox_judge(hub->inbox, &hub->node_ids[pending->delivery.from],
                                 &message->exact, token_of(&ticket));
    }
    switch (verdict) {
    case GV_INBOX_NEW:
        deliver(hub, index, message, publish);
        return;
    case GV_INBOX_PENDING:
        pending->missing = 1;
        break;
    case GV_INBOX_REFUSED:
        pending->reason = GV_MQTT_QUOTA_EXCEEDED;
        break;
    case GV_INBOX_KNOWN:
        break;
    }
    gv_counter_add(&hub->stats.received_again, verdict != GV_INBOX_REFUSED);
    if (pending->missing == 0) {
        apply_later(hub, index);
    }
}

void gv__hub_settled(void *arg, uint64_t token, bool is_refused)
{
    gv_ticket_t ticket = ticket_of_token(token, OF_INCOMING);
    answered(arg, &ticket, is_refused ? GV_MQTT_QUOTA_EXCEEDED : GV_MQTT_SUCCESS);
}

void gv_hub_on_deliver(gv_hub_t *hub, const gv_delivery_t *delivery, const gv_forward_t *message)
{
    gv_publish_t publish = publish_of(hub, message);
    gv_counter_add(&hub->stats.received, 1);
    uint32_t index = gv_pending_take(&hub->incoming);
    gv_pending_t *pending = &hub->incoming.items[index];
    pending->delivery = *delivery;
    if (message->write.is_copy) {
        pending->copied = gv_publish_payload_offset(&publish) + publish.payload.size;
    }
    if (message->exact.number != 0 && delivery->seq != 0) {
        deliver_exact(hub, index, message, &publish);
    } else {
        deliver(hub, index, message, &publish);
    }
    gv_publish_done(&publish);
}

/* ---- groups ---------------------------------------------------------------------------------- */

/*
 * A message did not find a member of a group where it was sent: one elsewhere is to have it.  The
 * cluster cannot be called now, so the hub writes to itself what a shard writes whose member has
 * left.  With a ticket it is answered when the message is safe; false: no memory.
 */
static bool pass_on(gv_hub_t *hub, const gv_publish_t *publish, gv_bytes_t share_filter,
                    const gv_ticket_t *ticket)
{
    gv_entry_t *entry =
        gv_office_append(&hub->office, gv__hub_own_desk(hub), publish, share_filter.size);
    if (entry == NULL) {
        gv_counter_add(&hub->stats.shares_without_member, 1);
        return false;
    }
    entry->kind = GV_ENTRY_REGIVE;
    entry->slot_count = (uint32_t)share_filter.size;
    if (ticket != NULL) {
        entry->ticket = *ticket;
        entry->flags |= GV_ENTRY_WANTS_CONFIRM;
    }
    memcpy(gv_parcel_extra(entry), share_filter.data, share_filter.size);
    return true;
}

/* To the member on this node that the router has picked. */
static void give_to_member(gv_hub_t *hub, gv_publish_t *publish, const gv_ticket_t *ticket)
{
    gift_t gift = {.publish = publish, .ticket = *ticket, .wants_confirm = true};
    if (!give(hub, hub->matches.hits[0].shard, &gift, GV_ENTRY_SLOTS)) {
        answered(hub, ticket, GV_MQTT_QUOTA_EXCEEDED);
    }
}

/*
 * The message of another node was given to a shard whose member has just left: another shard has
 * one, or the sender is told.  It is not sent on from here.  Nodes confirm in the order of arrival,
 * so two that pass messages to each other would wait for each other.
 */
static void give_here(gv_hub_t *hub, gv_publish_t *publish, gv_bytes_t filter,
                      const gv_ticket_t *ticket)
{
    gv_matches_t *matches = &hub->matches;
    if (gv_router_pick_share(hub->router, filter, 0, gv_rng_u32(&hub->rng), matches)) {
        give_to_member(hub, publish, ticket);
        return;
    }
    gv_pending_t *pending = gv_pending_at(&hub->incoming, ticket->client, ticket->generation);
    if (pending != NULL) {
        gv_pending_return(pending, gv_forward_group_key(filter));
    }
    answered(hub, ticket, GV_MQTT_SUCCESS);
}

/* To a member anywhere, but where there was none when it was tried. */
static void give_anywhere(gv_hub_t *hub, gv_publish_t *publish, gv_bytes_t filter,
                          const gv_ticket_t *ticket)
{
    const gv_pending_t *pending = gv_pending_at(&hub->outgoing, ticket->client, ticket->generation);
    uint64_t alive = atomic_load_explicit(hub->nodes_alive, memory_order_relaxed);
    gv_matches_t *matches = &hub->matches;
    if (pending != NULL) {
        alive &= ~pending->tried;
    }
    bool is_found =
        gv_router_pick_share(hub->router, filter, alive, gv_rng_u32(&hub->rng), matches);
    if (!is_found && ticket->is_loan != 0) {
        answered(hub, ticket, GV_MQTT_QUOTA_EXCEEDED); /* who has lent it keeps it */
    } else if (!is_found) {
        gv_counter_add(&hub->stats.shares_without_member, 1);
        answered(hub, ticket, GV_MQTT_SUCCESS);
    } else if (matches->hit_count > 0) {
        give_to_member(hub, publish, ticket);
    } else {
        gv_forward_t message = gv__hub_forward_of(hub, publish);
        message.shared = &matches->node_shares[0].filter;
        message.shared_count = 1;
        message.is_for_groups = true;
        uint64_t node = (uint64_t)1 << matches->node_shares[0].node;
        hub->cluster.publish(hub->cluster.arg, &message, node, token_of(ticket));
        if (publish->qos == 0) {
            answered(hub, ticket, GV_MQTT_SUCCESS); /* nobody else will */
        }
    }
}

void gv__hub_give_again(gv_hub_t *hub, gv_entry_t *entry)
{
    bool is_awaited = (entry->flags & GV_ENTRY_WANTS_CONFIRM) != 0;
    gv_ticket_t ticket = is_awaited ? entry->ticket : nobody;
    gv_publish_t publish = gv_parcel_publish(entry);
    gv_bytes_t filter = gv_bytes(gv_parcel_extra(entry), entry->slot_count);
    entry->flags |= GV_ENTRY_DEFERRED;
    hub->ports.read_begin(hub->ports.arg);
    if (is_incoming(&ticket)) {
        give_here(hub, &publish, filter, &ticket);
    } else {
        if (!is_outgoing(&ticket)) {
            ticket = wait_for_taker(hub, &ticket, 0);
        }
        give_anywhere(hub, &publish, filter, &ticket);
    }
    hub->ports.read_end(hub->ports.arg);
}

/* What pass_on() wrote, a turn later. */
void gv__hub_passed_on(gv_letter_t *letter)
{
    gv_parcel_t *parcel = gv_container_of(letter, gv_parcel_t, letter);
    gv_hub_t *hub = parcel->to;
    for (gv_entry_t *e = gv_parcel_first(parcel); e != NULL; e = gv_parcel_next(parcel, e)) {
        GV_ASSERT(e->kind == GV_ENTRY_REGIVE);
        gv__hub_give_again(hub, e);
    }
    gv_office_return(&hub->office, parcel);
}
