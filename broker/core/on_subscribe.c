/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SUBSCRIBE and UNSUBSCRIBE.
 *
 * A new filter has to be known to the router, and to the other nodes, before SUBACK goes out, so
 * that who subscribes here and publishes there finds the message.  So the SUBACK travels behind its
 * routes to the hub, in the same parcel, and is sent when the parcel comes back.  Retained messages
 * are asked for only then: one stored before is found by asking, one stored later comes through the
 * route.
 */
#include <stdio.h>

#include "base/alloc.h"
#include "broker/core/shard_p.h"

/* Longest SUBACK or UNSUBACK that is written without a buffer of its own. */
#define ACK_ROOM ((size_t)8192)

static void send_suback(gv_client_t *client, uint16_t packet_id, gv_bytes_t codes, gv_bytes_t why,
                        bool is_unsuback)
{
    gv_mqtt_suback_t suback = {.packet_id = packet_id, .codes = codes, .props = GV_MQTT_PROPS_NONE};
    gv__explain(&suback.props, &client->peer, why);
    size_t (*encode)(const gv_mqtt_suback_t *, const gv_mqtt_peer_t *, gv_writer_t *) =
        is_unsuback ? gv_mqtt_encode_unsuback : gv_mqtt_encode_suback;
    size_t size = encode(&suback, &client->peer, NULL);
    if (size == 0) {
        return;
    }
    if (size <= ACK_ROOM) {
        gv_writer_t w = gv_writer(gv__client_reserve(client, size), size);
        gv__client_commit(client, encode(&suback, &client->peer, &w));
        return;
    }
    uint8_t *buffer = gv_xalloc(size);
    gv_writer_t w = gv_writer(buffer, size);
    size_t written = encode(&suback, &client->peer, &w);
    gv__client_answer(client, gv_bytes(buffer, written));
    gv_free(buffer);
}

/* ---- SUBSCRIBE ------------------------------------------------------------------------------- */

static gv_subscription_t *existing(const gv_client_t *client, gv_bytes_t text)
{
    gv_filter_t *filter = gv_subscriptions_find(&client->shard->subscriptions, text);
    return filter == NULL ? NULL : gv_subscriptions_of(filter, client->session);
}

/* Whether this filter may be subscribed to; the code for SUBACK if not. */
static gv_mqtt_reason_t judge(const gv_client_t *client, const gv_mqtt_subscription_t *entry)
{
    const gv_limits_t *limits = client->shard->limits;
    if (entry->reason != GV_MQTT_SUCCESS) {
        return entry->reason;
    }
    uint32_t levels = 1;
    for (size_t i = 0; i < entry->parts.filter.size; i++) {
        levels += entry->parts.filter.data[i] == '/';
    }
    if (entry->text.size > limits->topic_size_max || levels > limits->topic_levels_max ||
        levels > GV_ROUTER_LEVELS_MAX) {
        return GV_MQTT_TOPIC_FILTER_INVALID;
    }
    if (client->session->durable != NULL && gv_journal_refuses(client->shard->journal)) {
        return GV_MQTT_QUOTA_EXCEEDED;
    }
    bool is_full = client->session->subscription_count >= limits->subscriptions_max;
    bool is_scarce = gv__memory_is_scarce(client->shard);
    if ((is_full || is_scarce) && existing(client, entry->text) == NULL) {
        if (!is_full) {
            gv_counter_add(&client->shard->stats.subscribes_memory_refused, 1);
        }
        return GV_MQTT_QUOTA_EXCEEDED;
    }
    return GV_MQTT_SUCCESS;
}

static uint8_t options_of(const gv_mqtt_subscription_t *entry)
{
    return (uint8_t)(entry->qos | (entry->no_local ? GV_SUB_NO_LOCAL : 0) |
                     (entry->retain_as_published ? GV_SUB_RETAIN_AS_PUBLISHED : 0));
}

/* Makes one subscription; *wants_retained says whether retained messages are to follow. */
static gv_mqtt_reason_t subscribe(gv_client_t *client, const gv_mqtt_subscription_t *entry,
                                  uint32_t id, gv_subscription_t **out, bool *wants_retained)
{
    gv_shard_t *shard = client->shard;
    gv_session_t *session = client->session;
    *wants_retained = false;
    gv_mqtt_reason_t reason = judge(client, entry);
    if (reason != GV_MQTT_SUCCESS) {
        return reason;
    }
    bool is_shared = gv_mqtt_filter_is_shared(&entry->parts);
    bool is_new = false;
    gv_err_t err = gv_subscriptions_add(&shard->subscriptions, session, entry->text, is_shared,
                                        options_of(entry), id, out, &is_new);
    if (err != GV_OK) {
        return gv_mqtt_reason_from_err(err);
    }
    gv_filter_t *filter = (*out)->filter;
    if (is_new) {
        gv_counter_add(&shard->stats.subscriptions, 1);
        if (is_shared) {
            session->shared_count++;
            gv_counter_add(&shard->stats.shared_subscriptions, 1);
            filter->online++;
            gv__left_group_forget(session->flow, filter->slot + 1);
        }
        bool is_first_lasting = !is_shared && session->durable != NULL && filter->lasting++ == 0;
        if (filter->count == 1 || is_shared || is_first_lasting) {
            gv__route_set(shard, filter);
        }
    }
    gv__durable_subscribed(session, *out);
    *wants_retained =
        !is_shared && (entry->retain_handling == GV_MQTT_RETAIN_SEND ||
                       (entry->retain_handling == GV_MQTT_RETAIN_SEND_IF_NEW && is_new));
    return (gv_mqtt_reason_t)entry->qos;
}

/* [MQTT-3.8.3-4]: No Local makes no sense for a group. */
static bool asks_for_nonsense(const gv_mqtt_subscribe_t *packet)
{
    gv_mqtt_entries_t entries = gv_mqtt_entries(packet);
    for (gv_mqtt_subscription_t entry; gv_mqtt_entries_next(&entries, &entry);) {
        if (entry.no_local && gv_mqtt_filter_is_shared(&entry.parts)) {
            return true;
        }
    }
    return false;
}

static void note_want(gv_shard_t *shard, const gv_client_t *client,
                      const gv_subscription_t *subscription)
{
    gv_publish_t carrier = {.topic = gv_filter_text(subscription->filter)};
    gv_entry_t *entry = gv_office_append(&shard->office, gv__desk_routes(shard), &carrier,
                                         sizeof(gv_entry_replay_t));
    GV_ASSERT(entry != NULL);
    entry->kind = GV_ENTRY_WANT;
    gv_entry_replay_t replay = gv__replay_for(client, subscription);
    memcpy(gv_parcel_extra(entry), &replay, sizeof(replay));
}

/* Names what has to be durable before a persistent session is answered. */
static uint32_t stamp_of(const gv_client_t *client)
{
    return client->session->durable == NULL ? 0 : gv_journal_stamp(client->shard->journal);
}

/* Answers, or has the journal answer when what was changed is durable. */
static void answer(gv_client_t *client, uint32_t stamp, uint16_t packet_id, gv_bytes_t codes,
                   gv_bytes_t why, bool is_unsuback)
{
    gv_journal_t *journal = client->shard->journal;
    if (stamp == 0 || gv_journal_is_stored(journal, stamp)) {
        gv__suback_stored(client, packet_id, codes, why, is_unsuback);
        return;
    }
    gv_ticket_t ticket = gv__client_ticket(client, 0);
    gv_journal_then_suback(journal, stamp, &ticket, packet_id, codes, why, is_unsuback);
}

static void note_suback(gv_shard_t *shard, const gv_client_t *client, uint16_t packet_id,
                        gv_bytes_t codes, gv_bytes_t why)
{
    gv_publish_t carrier = {.topic = why, .payload = codes};
    gv_entry_t *entry = gv_office_append(&shard->office, gv__desk_routes(shard), &carrier,
                                         sizeof(gv_entry_suback_t));
    GV_ASSERT(entry != NULL);
    entry->kind = GV_ENTRY_SUBACK;
    entry->ticket = gv__client_ticket(client, 0);
    gv_entry_suback_t suback = {.packet_id = packet_id, .stamp = stamp_of(client)};
    memcpy(gv_parcel_extra(entry), &suback, sizeof(suback));
}

/* A Reason String of ours, and how much of a filter it shows [bytes]. */
enum {
    FILTER_SHOWN_MAX = 100,
    WHY_SIZE = 256
};

/* What a SUBSCRIBE asks for, with the codes and the retained messages it is owed. */
typedef struct order {
    uint8_t *codes;
    gv_subscription_t **wants;
    size_t want_count;
    char why[WHY_SIZE]; /* about the first filter that is refused; "" while there is none */
} order_t;

/* The filter, cut where it is long and another character begins, and what is wrong with it. */
static void explain(order_t *order, gv_bytes_t text, gv_mqtt_reason_t reason)
{
    gv_bytes_t why = gv__why(GV_MQTT_SUBACK, reason);
    size_t size = text.size < FILTER_SHOWN_MAX ? text.size : FILTER_SHOWN_MAX;
    while (size > 0 && size < text.size && (text.data[size] & 0xc0) == 0x80) {
        size--;
    }
    if (order->why[0] == '\0' && why.size > 0) {
        (void)snprintf(order->why, sizeof(order->why), "%.*s%s: %.*s", (int)size,
                       (const char *)text.data, size < text.size ? "..." : "", (int)why.size,
                       (const char *)why.data);
    }
}

static void carry_out(gv_client_t *client, const gv_mqtt_subscribe_t *packet, order_t *order)
{
    uint32_t id = gv_mqtt_props_has(&packet->props, GV_MQTT_PROP_SUBSCRIPTION_ID)
                      ? packet->props.subscription_id
                      : 0;
    gv_mqtt_entries_t entries = gv_mqtt_entries(packet);
    size_t i = 0;
    for (gv_mqtt_subscription_t entry; gv_mqtt_entries_next(&entries, &entry); i++) {
        gv_subscription_t *subscription = NULL;
        bool wants_retained = false;
        order->codes[i] = (uint8_t)subscribe(client, &entry, id, &subscription, &wants_retained);
        if (order->codes[i] >= GV_MQTT_UNSPECIFIED_ERROR) {
            explain(order, entry.text, (gv_mqtt_reason_t)order->codes[i]);
        }
        if (wants_retained) {
            order->wants[order->want_count++] = subscription;
        }
    }
}

/* Full parcels of route changes that may be on their way; then SUBSCRIBE waits. */
#define ROUTE_PARCELS_MAX 32U

/* Other nodes are slow to confirm routes: whoever wants to add more waits with us. */
static bool must_wait(gv_client_t *client)
{
    gv_shard_t *shard = client->shard;
    if (client->subscribes_waiting == UINT16_MAX) {
        gv__client_pause(client, GV_PAUSE_SUBSCRIBE);
        return true;
    }
    if (gv_office_out(&shard->office, gv__desk_routes(shard)) < ROUTE_PARCELS_MAX) {
        return false;
    }
    gv__client_pause(client, GV_PAUSE_CREDIT);
    gv_list_append(&shard->waiting, &client->link);
    return true;
}

gv_step_t gv__on_subscribe(gv_client_t *client, const gv_mqtt_frame_t *frame)
{
    gv_shard_t *shard = client->shard;
    if (must_wait(client)) {
        return GV_STEP_AGAIN;
    }
    gv_mqtt_subscribe_t packet;
    gv_mqtt_reason_t reason = GV_MQTT_SUCCESS;
    if (gv_mqtt_decode_subscribe(frame, &client->peer, &packet, &reason) != GV_OK) {
        return gv__client_refuse(client, reason);
    }
    if (asks_for_nonsense(&packet)) {
        return gv__client_refuse(client, GV_MQTT_PROTOCOL_ERROR);
    }
    /* Nearly always a handful of filters; a client may send thousands. */
    enum {
        FEW = 16
    };
    uint8_t few_codes[FEW];
    gv_subscription_t *few_wants[FEW];
    order_t order = {.codes = few_codes, .wants = few_wants};
    bool is_many = packet.count > FEW;
    if (is_many) {
        order.codes = gv_try_alloc(packet.count);
        order.wants = gv_try_alloc(packet.count * sizeof(gv_subscription_t *));
    }
    if (order.codes == NULL || order.wants == NULL) {
        gv_free(order.codes);
        gv_free(order.wants);
        return gv__client_refuse(client, GV_MQTT_QUOTA_EXCEEDED);
    }
    carry_out(client, &packet, &order);

    gv_bytes_t codes = gv_bytes(order.codes, packet.count);
    client->subscribes_waiting++;
    if (shard->routes_out == 0) {
        answer(client, stamp_of(client), packet.packet_id, codes, gv_bytes_text(order.why), false);
        for (size_t i = 0; i < order.want_count; i++) {
            gv__retained_want(shard, gv__replay_for(client, order.wants[i]),
                              gv_filter_text(order.wants[i]->filter));
        }
    } else {
        note_suback(shard, client, packet.packet_id, codes, gv_bytes_text(order.why));
        for (size_t i = 0; i < order.want_count; i++) {
            note_want(shard, client, order.wants[i]);
        }
    }
    if (is_many) {
        gv_free(order.codes);
        gv_free(order.wants);
    }
    return GV_STEP_NEXT;
}

void gv__subscribe_done(gv_shard_t *shard, gv_entry_t *entry)
{
    gv_client_t *client = gv__client_of(shard, &entry->ticket);
    if (client == NULL || client->state != GV_CLIENT_CONNECTED) {
        return;
    }
    gv_entry_suback_t suback;
    memcpy(&suback, gv_parcel_extra(entry), sizeof(suback));
    gv_publish_t carrier = gv_parcel_publish(entry);
    answer(client, suback.stamp, suback.packet_id, carrier.payload, carrier.topic, false);
}

void gv__suback_stored(gv_client_t *client, uint16_t packet_id, gv_bytes_t codes, gv_bytes_t why,
                       bool is_unsuback)
{
    send_suback(client, packet_id, codes, why, is_unsuback);
    if (is_unsuback) {
        return;
    }
    GV_ASSERT(client->subscribes_waiting > 0);
    client->subscribes_waiting--;
    if (client->subscribes_waiting == 0) {
        gv__client_resume(client, GV_PAUSE_SUBSCRIBE);
    }
}

/* ---- UNSUBSCRIBE ----------------------------------------------------------------------------- */

static gv_mqtt_reason_t unsubscribe(gv_client_t *client, const gv_mqtt_subscription_t *entry)
{
    if (entry->reason != GV_MQTT_SUCCESS) {
        return entry->reason;
    }
    gv_subscription_t *subscription = existing(client, entry->text);
    if (subscription == NULL) {
        return GV_MQTT_NO_SUBSCRIPTION_EXISTED;
    }
    gv_session_unsubscribe(client->session, subscription);
    return GV_MQTT_SUCCESS;
}

gv_step_t gv__on_unsubscribe(gv_client_t *client, const gv_mqtt_frame_t *frame)
{
    if (client->subscribes_waiting > 0) {
        /* Else SUBACK, and retained messages behind it, would follow UNSUBACK. */
        gv__client_pause(client, GV_PAUSE_SUBSCRIBE);
        return GV_STEP_AGAIN;
    }
    if (must_wait(client)) {
        return GV_STEP_AGAIN;
    }
    gv_mqtt_subscribe_t packet;
    gv_mqtt_reason_t reason = GV_MQTT_SUCCESS;
    if (gv_mqtt_decode_unsubscribe(frame, &client->peer, &packet, &reason) != GV_OK) {
        return gv__client_refuse(client, reason);
    }
    uint8_t *codes = gv_try_alloc(packet.count);
    if (codes == NULL) {
        return gv__client_refuse(client, GV_MQTT_QUOTA_EXCEEDED);
    }
    gv_mqtt_entries_t entries = gv_mqtt_entries(&packet);
    size_t i = 0;
    for (gv_mqtt_subscription_t entry; gv_mqtt_entries_next(&entries, &entry); i++) {
        codes[i] = (uint8_t)unsubscribe(client, &entry);
    }
    answer(client, stamp_of(client), packet.packet_id, gv_bytes(codes, packet.count),
           GV_BYTES_EMPTY, true);
    gv_free(codes);
    return GV_STEP_NEXT;
}
