/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages from other nodes.  Parts: what is done here - to the shards - from the cluster.
 */
#include "base/alloc.h"
#include "broker/core/hub_p.h"
#include "broker/core/matches.h"
#include "proto/mqtt/reason.h"

/* ---- what is done here ----------------------------------------------------------------------- */

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

void gv__hub_incoming_done(gv_hub_t *hub, const gv_ticket_t *ticket, uint8_t reason)
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

void gv__hub_tell_applied(gv_hub_t *hub)
{
    for (size_t i = 0; i < hub->applied_count; i++) {
        const gv_hub_applied_t *applied = &hub->applied[i];
        hub->cluster.applied(hub->cluster.arg, applied->delivery, &applied->outcome);
        gv_free((uint64_t *)(uintptr_t)applied->outcome.returned);
    }
    hub->applied_count = 0;
}

void gv__hub_deliver_deinit(gv_hub_t *hub)
{
    for (size_t i = 0; i < hub->applied_count; i++) {
        gv_free((uint64_t *)(uintptr_t)hub->applied[i].outcome.returned);
    }
    gv_free(hub->applied);
    gv_pending_deinit(&hub->incoming);
}

/* ---- to the shards --------------------------------------------------------------------------- */

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

void gv__hub_give_to_member(gv_hub_t *hub, gv_publish_t *publish, const gv_ticket_t *ticket)
{
    gift_t gift = {.publish = publish, .ticket = *ticket, .wants_confirm = true};
    if (!give(hub, hub->matches.hits[0].shard, &gift, GV_ENTRY_SLOTS)) {
        gv__hub_answered(hub, ticket, GV_MQTT_QUOTA_EXCEEDED);
    }
}

/* ---- from the cluster ------------------------------------------------------------------------ */

gv_publish_t gv__hub_publish_of(const gv_hub_t *hub, const gv_forward_t *message)
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
            (void)gv__hub_pass_on(hub, publish, filter,
                                  NULL); /* the sender keeps nothing of QoS 0 */
        }
    }
}

static void deliver(gv_hub_t *hub, uint32_t index, const gv_forward_t *message,
                    gv_publish_t *publish)
{
    gv_pending_t *pending = &hub->incoming.items[index];
    gift_t gift = {.publish = publish,
                   .ticket = gv__hub_ticket_of(&hub->incoming, index, GV__HUB_INCOMING),
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
    gv_ticket_t ticket = gv__hub_ticket_of(&hub->incoming, index, GV__HUB_INCOMING);
    gv_msgbuf_t *kept = NULL;
    gv_inbox_verdict_t verdict = GV_INBOX_REFUSED;
    /* In a full store it would fail, and with each try go to those who are not on the disk. */
    if (!gv_store_is_full(hub->store) && gv_publish_keep(publish, &kept) == GV_OK) {
        gv_msgbuf_unref(&kept);
        verdict = gv_inbox_judge(hub->inbox, &hub->node_ids[pending->delivery.from],
                                 &message->exact, gv__hub_token_of(&ticket));
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
    gv_ticket_t ticket = gv__hub_ticket_of_token(token, GV__HUB_INCOMING);
    gv__hub_incoming_done(arg, &ticket, is_refused ? GV_MQTT_QUOTA_EXCEEDED : GV_MQTT_SUCCESS);
}

void gv_hub_on_deliver(gv_hub_t *hub, const gv_delivery_t *delivery, const gv_forward_t *message)
{
    gv_publish_t publish = gv__hub_publish_of(hub, message);
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
