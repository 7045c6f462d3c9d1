/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages to other nodes, and those of groups that look for a member.
 *
 * Who waits for a message has a ticket.  The hub's own name an entry in one of its two tables; an
 * entry there knows who waits for it in turn, which may be another entry of the hub's: a message
 * that finds no member of a group where it was sent goes elsewhere under an entry of its own, and
 * the first one waits for that.
 *
 * Parts: tickets - answers - to other nodes - groups.
 */
#include "base/alloc.h"
#include "broker/core/hub_p.h"
#include "broker/core/matches.h"
#include "proto/mqtt/reason.h"

/* ---- tickets --------------------------------------------------------------------------------- */

static const gv_ticket_t nobody = {.client = UINT32_MAX};

static bool is_incoming(const gv_ticket_t *ticket)
{
    return ticket->shard == GV_HUB_INDEX && ticket->number == GV__HUB_INCOMING;
}

static bool is_outgoing(const gv_ticket_t *ticket)
{
    return ticket->shard == GV_HUB_INDEX && ticket->number == GV__HUB_OUTGOING;
}

/* An entry for a message that one taker is to have, in the name of who waits for it. */
static gv_ticket_t wait_for_taker(gv_hub_t *hub, const gv_ticket_t *who, uint64_t tried)
{
    uint32_t index = gv_pending_take(&hub->outgoing);
    gv_pending_t *pending = &hub->outgoing.items[index];
    pending->ticket = *who;
    pending->missing = 1;
    pending->tried = tried;
    gv_ticket_t ticket = gv__hub_ticket_of(&hub->outgoing, index, GV__HUB_OUTGOING);
    ticket.is_loan = who->is_loan;
    return ticket;
}

/* ---- answers --------------------------------------------------------------------------------- */

static void tell(gv_hub_t *hub, const gv_ticket_t *who, uint8_t reason)
{
    if (who->client == UINT32_MAX) {
        return;
    }
    if (who->shard == GV_HUB_INDEX) {
        gv__hub_answered(hub, who, reason);
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

void gv__hub_answered(gv_hub_t *hub, const gv_ticket_t *ticket, uint8_t reason)
{
    if (is_incoming(ticket)) {
        gv__hub_incoming_done(hub, ticket, reason);
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

void gv__hub_forward_deinit(gv_hub_t *hub)
{
    gv_pending_deinit(&hub->outgoing);
}

void gv__hub_returned(gv_letter_t *letter)
{
    gv_parcel_t *parcel = gv_container_of(letter, gv_parcel_t, letter);
    gv_hub_t *hub = parcel->from;
    for (gv_entry_t *e = gv_parcel_first(parcel); e != NULL; e = gv_parcel_next(parcel, e)) {
        if ((e->flags & GV_ENTRY_WANTS_CONFIRM) != 0 && (e->flags & GV_ENTRY_DEFERRED) == 0) {
            bool is_refused = (e->flags & GV_ENTRY_REFUSED) != 0;
            gv__hub_answered(hub, &e->ticket,
                             is_refused ? GV_MQTT_QUOTA_EXCEEDED : GV_MQTT_SUCCESS);
        } else if (e->kind == GV_ENTRY_LET_GO) {
            gv__hub_let_gone(hub, e);
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
        token = gv__hub_token_of(&ticket);
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
            gv_ticket_t ticket = gv__hub_ticket_of_token(token, GV__HUB_OUTGOING);
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
            gv__hub_answered(hub, &e->ticket, e->qos);
        } else if (e->kind == GV_ENTRY_NOTE) {
            gv__hub_send_note(hub, e);
        } else if (e->kind == GV_ENTRY_COPY) {
            gv__hub_send_copy(hub, e);
        } else if (e->kind == GV_ENTRY_MORE) {
            one_more(hub, &e->ticket);
        } else if (e->kind == GV_ENTRY_CLAIM || e->kind == GV_ENTRY_ENROLL ||
                   e->kind == GV_ENTRY_RELEASE) {
            gv__hub_take_claim(hub, e);
        } else {
            GV_ASSERT(e->kind == GV_ENTRY_NODES);
            GV_ASSERT(hub->has_cluster);
            forward(hub, e);
        }
    }
    gv_office_return(&hub->office, parcel);
}

/*
 * A node could not give it to members of groups there: it has died, or (`without`, a bit each) it
 * has none any more.  Others get it, and the publisher is answered when they have it.
 */
static void give_lost(gv_hub_t *hub, const gv_ticket_t *ticket, uint64_t without,
                      const gv_forward_t *lost)
{
    gv_publish_t publish = gv__hub_publish_of(hub, lost);
    for (size_t i = 0; i < lost->shared_count; i++) {
        const gv_pending_t *pending =
            gv_pending_at(&hub->outgoing, ticket->client, ticket->generation);
        uint64_t tried = (pending != NULL ? pending->tried : 0) | without;
        gv_ticket_t who = pending != NULL ? *ticket : nobody;
        who.is_loan = pending != NULL ? pending->ticket.is_loan : 0;
        gv_ticket_t own = wait_for_taker(hub, &who, tried);
        one_more(hub, ticket);
        if (!gv__hub_pass_on(hub, &publish, lost->shared[i], &own)) {
            gv__hub_answered(hub, &own, GV_MQTT_QUOTA_EXCEEDED);
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
        gv__hub_answered(hub, ticket, GV_MQTT_UNSPECIFIED_ERROR);
    } else if (is_kept) {
        gv_outbox_put(hub->outbox, node, lost, gv__hub_token_of(ticket));
    } else {
        gv__hub_answered(hub, ticket, GV_MQTT_SUCCESS);
    }
}

/* The outbox has what is for the others at a node that is gone, but not what is for groups. */
static void give_groups_of_kept(gv_hub_t *hub, uint64_t token, const gv_forward_t *lost)
{
    uint64_t waiter = gv_outbox_waiter(hub->outbox, token);
    gv_ticket_t ticket = gv__hub_ticket_of_token(waiter, GV__HUB_OUTGOING);
    give_lost(hub, &ticket, 0, lost);
}

/*
 * Nobody knows whether the node will ever confirm it.  If somebody who stays waits for it there it
 * goes to the disk as well, and its publisher waits for that.  Where nobody stays nothing is
 * written, so the node is waited for: acknowledged, the message would be in our memory only.  So it
 * is at QoS 2, which could neither be refused nor sent again if the node died then, and with what
 * is for groups, which goes to others in that case.
 */
bool gv_hub_on_overdue(gv_hub_t *hub, uint64_t *token, gv_node_index_t node,
                       const gv_forward_t *message)
{
    bool is_kept_already = (*token & GV_OUTBOX_TOKEN) != 0;
    if (is_kept_already || message->qos == 2 || message->is_for_groups ||
        !is_kept_for(hub, node, message)) {
        return true;
    }
    return gv_outbox_insure(hub->outbox, node, message, token, message->shared_count > 0);
}

void gv_hub_on_confirmed(gv_hub_t *hub, uint64_t token, gv_node_index_t node,
                         gv_forward_result_t result, const gv_forward_t *lost)
{
    gv_forward_t plain;
    if ((token & GV_OUTBOX_TOKEN) != 0) {
        if (result == GV_FORWARD_GONE && lost != NULL && lost->shared_count > 0) {
            give_groups_of_kept(hub, token, lost);
            plain = *lost;
            plain.shared_count = 0;
            lost = &plain;
        }
        if (!gv_outbox_on_confirmed(hub->outbox, token, result, &token)) {
            return;
        }
    }
    bool is_in_doubt = result == GV_FORWARD_IN_DOUBT;
    gv_counter_add(&hub->stats.forward_gone, result == GV_FORWARD_GONE || is_in_doubt);
    gv_counter_add(&hub->stats.forward_full, result == GV_FORWARD_FULL);
    gv_counter_add(&hub->stats.forward_no_room, result == GV_FORWARD_REFUSED);
    gv_ticket_t ticket = gv__hub_ticket_of_token(token, GV__HUB_OUTGOING);
    if (result == GV_FORWARD_GONE || is_in_doubt) {
        on_gone(hub, &ticket, node, lost, is_in_doubt);
        return;
    }
    if (result == GV_FORWARD_RETURNED) {
        give_lost(hub, &ticket, (uint64_t)1 << node, lost);
    }
    bool is_refused = result == GV_FORWARD_FULL || result == GV_FORWARD_REFUSED;
    gv__hub_answered(hub, &ticket, is_refused ? GV_MQTT_QUOTA_EXCEEDED : GV_MQTT_SUCCESS);
}

void gv__hub_send_again(void *arg, const gv_forward_t *message, gv_node_index_t node,
                        uint64_t token)
{
    gv_hub_t *hub = arg;
    hub->cluster.publish(hub->cluster.arg, message, (uint64_t)1 << node, token);
}

void gv__hub_answer(void *arg, uint64_t token, bool is_refused)
{
    gv_ticket_t ticket = gv__hub_ticket_of_token(token, GV__HUB_OUTGOING);
    gv__hub_answered(arg, &ticket, is_refused ? GV_MQTT_QUOTA_EXCEEDED : GV_MQTT_SUCCESS);
}

/* ---- groups ---------------------------------------------------------------------------------- */

bool gv__hub_pass_on(gv_hub_t *hub, const gv_publish_t *publish, gv_bytes_t share_filter,
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
        gv__hub_give_to_member(hub, publish, ticket);
        return;
    }
    gv_pending_t *pending = gv_pending_at(&hub->incoming, ticket->client, ticket->generation);
    if (pending != NULL) {
        gv_pending_return(pending, gv_forward_group_key(filter));
    }
    gv__hub_answered(hub, ticket, GV_MQTT_SUCCESS);
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
        gv__hub_answered(hub, ticket, GV_MQTT_QUOTA_EXCEEDED); /* who has lent it keeps it */
    } else if (!is_found) {
        gv_counter_add(&hub->stats.shares_without_member, 1);
        gv__hub_answered(hub, ticket, GV_MQTT_SUCCESS);
    } else if (matches->hit_count > 0) {
        gv__hub_give_to_member(hub, publish, ticket);
    } else {
        gv_forward_t message = gv__hub_forward_of(hub, publish);
        message.shared = &matches->node_shares[0].filter;
        message.shared_count = 1;
        message.is_for_groups = true;
        uint64_t node = (uint64_t)1 << matches->node_shares[0].node;
        hub->cluster.publish(hub->cluster.arg, &message, node, gv__hub_token_of(ticket));
        if (publish->qos == 0) {
            gv__hub_answered(hub, ticket, GV_MQTT_SUCCESS); /* nobody else will */
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

/* What gv__hub_pass_on() wrote, a turn later. */
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
