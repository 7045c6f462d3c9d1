/* SPDX-License-Identifier: Apache-2.0 */
/* PUBLISH, and the acknowledgements of both directions. */
#include "base/alloc.h"
#include "broker/core/shard_p.h"

/* ---- topic aliases --------------------------------------------------------------------------- */

/* Puts the topic of an alias into *topic, or remembers it.  GV_MQTT_SUCCESS or why not. */
static gv_mqtt_reason_t resolve_alias(gv_client_t *client, uint16_t alias, gv_bytes_t *topic)
{
    if (alias > gv__client_terms(client)->topic_alias_max) {
        return GV_MQTT_TOPIC_ALIAS_INVALID;
    }
    if (topic->size == 0) {
        *topic = gv_aliases_topic(client->aliases, alias);
        return topic->size == 0 ? GV_MQTT_PROTOCOL_ERROR : GV_MQTT_SUCCESS;
    }
    const gv_shard_t *shard = client->shard;
    gv_err_t err = gv_aliases_learn(&client->aliases, &shard->alias_budget, alias,
                                    gv__client_terms(client)->topic_alias_max, *topic);
    return err == GV_OK ? GV_MQTT_SUCCESS : GV_MQTT_QUOTA_EXCEEDED;
}

/* ---- PUBLISH --------------------------------------------------------------------------------- */

static bool has_too_many_levels(gv_bytes_t topic, uint32_t levels_max)
{
    uint32_t levels = 1;
    for (size_t i = 0; i < topic.size; i++) {
        levels += topic.data[i] == '/';
    }
    return levels > levels_max;
}

gv_mqtt_reason_t gv__judge_message(const gv_limits_t *limits, gv_bytes_t topic,
                                   const gv_mqtt_props_t *props, gv_bytes_t payload, bool retain)
{
    if (topic.size > limits->topic_size_max ||
        (topic.size > limits->topic_levels_max &&
         has_too_many_levels(topic, limits->topic_levels_max))) {
        return GV_MQTT_TOPIC_NAME_INVALID;
    }
    if (retain && !limits->retain_available) {
        return GV_MQTT_RETAIN_NOT_SUPPORTED;
    }
    if (!gv__payload_is_as_promised(limits, props, payload)) {
        return GV_MQTT_PAYLOAD_FORMAT_INVALID;
    }
    /* Topics the server speaks on itself [MQTT-4.7.2-1 and its note]. */
    if (gv_topic_is_own(topic) || gv_bytes_has_prefix(topic, GV_BYTES_LITERAL("$share/"))) {
        return GV_MQTT_NOT_AUTHORIZED;
    }
    return GV_MQTT_SUCCESS;
}

/* A publish that is not allowed: answered, where there is an answer, and not routed. */
static gv_step_t turn_down(gv_client_t *client, const gv_mqtt_publish_t *packet,
                           gv_mqtt_reason_t reason)
{
    bool has_answer = packet->qos > 0;
    if (reason == GV_MQTT_RETAIN_NOT_SUPPORTED ||
        (reason == GV_MQTT_PAYLOAD_FORMAT_INVALID && !has_answer)) {
        return gv__client_refuse(client, reason); /* sections 3.2.2.3.5 and 3.3.2.3.2 */
    }
    gv_counter_add(&client->shard->stats.dropped_refused, 1);
    if (!has_answer) {
        return GV_STEP_NEXT;
    }
    gv_ack_t ack = {
        .packet_id = packet->packet_id,
        .type = packet->qos == 1 ? GV_MQTT_PUBACK : GV_MQTT_PUBREC,
        .reason = (uint8_t)reason,
    };
    if (packet->qos == 2 && client->peer.version < GV_MQTT_V5) {
        /* In v3 there is no refusing: the exchange goes on, the message goes nowhere. */
        ack.reason = GV_MQTT_SUCCESS;
        if (!gv_received_ids_has(&client->session->flow->received, packet->packet_id)) {
            gv_received_ids_add(&gv_session_flow(client->session)->received, packet->packet_id);
        }
    }
    gv__acks_push(client, ack);
    return GV_STEP_NEXT;
}

static void build(gv_publish_t *publish, const gv_client_t *client, const gv_mqtt_publish_t *packet,
                  gv_bytes_t topic)
{
    *publish = (gv_publish_t){
        .topic = topic,
        .payload = packet->payload,
        .publisher = client->session->uid,
        .qos = packet->qos,
        .retain = packet->retain,
    };
    if (packet->props.present == 0) {
        return;
    }
    publish->props = packet->props.raw;
    if (gv_mqtt_props_has(&packet->props, GV_MQTT_PROP_MESSAGE_EXPIRY)) {
        publish->expires_at_ms =
            client->shard->now_ms + (uint64_t)packet->props.message_expiry_s * 1000;
    }
}

/* Sends the message on its way; what travels of its properties may need a copy. */
static gv_routed_t route(gv_client_t *client, gv_publish_t *publish,
                         const gv_mqtt_publish_t *packet, const gv_ticket_t *ticket)
{
    gv_shard_t *shard = client->shard;
    gv_route_wish_t wish = packet->qos > 0 ? GV_ROUTE_CONFIRM : GV_ROUTE_PLAIN;
    if (packet->qos == 2 && client->session->durable != NULL) {
        wish = GV_ROUTE_JOINED;
    }
    if (packet->props.present == 0 || gv_mqtt_props_travel_as_is(&packet->props)) {
        return gv__route(shard, publish, ticket, wish);
    }
    size_t size = gv_mqtt_props_travel_size(&packet->props);
    uint8_t small[512];
    uint8_t *block = size <= sizeof(small) ? small : gv_try_alloc(size);
    if (block == NULL) {
        gv_counter_add(&shard->stats.dropped_no_memory, 1);
        return (gv_routed_t){.has_matched = true, .has_failed = true};
    }
    gv_writer_t w = gv_writer(block, size);
    gv_mqtt_props_travel_write(&packet->props, &w);
    publish->props = gv_bytes(block, size);
    gv_routed_t routed = gv__route(shard, publish, ticket, wish);
    if (block != small) {
        gv_free(block);
    }
    return routed;
}

/*
 * Received before and not yet released: answered again, not routed again [MQTT-4.3.3-10].  It may
 * be on its way to the disk still; what is written after it is durable after it.
 */
static void answer_again(gv_client_t *client, uint16_t packet_id)
{
    gv_ack_t ack = {.packet_id = packet_id, .type = GV_MQTT_PUBREC};
    if (client->session->durable != NULL) {
        gv_ticket_t ticket = gv__client_ticket(client, gv__acks_next(client));
        gv_journal_then_again(client->shard->journal, client->session, &ticket, packet_id);
        ack.missing = 1;
        ack.missing += gv__unanswered_wait(client->session, packet_id, &ticket);
    }
    gv__acks_push(client, ack);
}

/* The packet id is taken, until PUBREL: durable together with what the message causes. */
static void take_id(gv_session_t *session, uint16_t packet_id)
{
    gv_received_ids_add(&gv_session_flow(session)->received, packet_id);
    if (session->durable != NULL) {
        gv_journal_dirty(session->shard->journal, session->durable, GV_DIRTY_RECEIVED);
    }
}

/* Whether a retained message might be refused, for all that can be known on any shard. */
static bool might_not_be_kept(const gv_shard_t *shard, const gv_mqtt_publish_t *packet)
{
    const gv_limits_t *limits = shard->limits;
    const gv_retained_common_t *common = shard->retained_common;
    uint64_t messages = atomic_load_explicit(&common->messages, memory_order_relaxed);
    uint64_t bytes = atomic_load_explicit(&common->bytes, memory_order_relaxed);
    return gv__memory_is_scarce(shard) ||
           (limits->retained_messages_max != 0 && messages >= limits->retained_messages_max) ||
           (limits->retained_bytes_max != 0 &&
            bytes + packet->payload.size >= limits->retained_bytes_max);
}

/*
 * A message that is to come exactly once is refused before it goes anywhere, or not at all: what is
 * sent again must not reach some a second time.
 */
static bool is_refused(gv_shard_t *shard, const gv_mqtt_publish_t *packet)
{
    if (gv_journal_refuses(shard->journal)) {
        gv_counter_add(&shard->stats.dropped_store_full, 1);
        return true;
    }
    bool is_retained = packet->retain && packet->payload.size > 0;
    if (shard->memory_state == GV_MEMORY_CRITICAL ||
        (is_retained && might_not_be_kept(shard, packet))) {
        gv_counter_add(&shard->stats.publishes_memory_refused, 1);
        return true;
    }
    return false;
}

gv_step_t gv__on_publish(gv_client_t *client, const gv_mqtt_frame_t *frame)
{
    gv_shard_t *shard = client->shard;
    if (client->subscribes_waiting > 0) {
        /* Who subscribes and then publishes on one connection expects to hear himself. */
        gv__client_pause(client, GV_PAUSE_SUBSCRIBE);
        return GV_STEP_AGAIN;
    }
    gv_mqtt_publish_t packet;
    gv_mqtt_reason_t reason = GV_MQTT_SUCCESS;
    if (gv_mqtt_decode_publish(frame, &client->peer, &packet, &reason) != GV_OK) {
        return gv__client_refuse(client, reason);
    }
    if (packet.qos > 0 && client->peer.version >= GV_MQTT_V5 &&
        client->receiving >= gv__client_terms(client)->receive_max) {
        /* [MQTT-3.3.4-7]: it knows how many it may send; QoS 2 counts until PUBCOMP. */
        return gv__client_refuse(client, GV_MQTT_RECEIVE_MAXIMUM_EXCEEDED);
    }
    if (packet.qos > 0 && gv__acks_waiting(client) >= gv__client_terms(client)->receive_max) {
        gv__client_pause(client, GV_PAUSE_ACKS);
        return GV_STEP_AGAIN;
    }
    gv_bytes_t topic = packet.topic;
    if (gv_mqtt_props_has(&packet.props, GV_MQTT_PROP_TOPIC_ALIAS)) {
        reason = resolve_alias(client, packet.props.topic_alias, &topic);
        if (reason != GV_MQTT_SUCCESS) {
            return gv__client_refuse(client, reason);
        }
    }
    gv_counter_add(&shard->stats.received[packet.qos], 1);
    gv_counter_add(&shard->stats.received_payload_bytes, packet.payload.size);
    if (packet.qos == 2 &&
        gv_received_ids_has(&client->session->flow->received, packet.packet_id)) {
        answer_again(client, packet.packet_id);
        return GV_STEP_NEXT;
    }
    if (packet.qos > 0) {
        client->receiving++;
    }
    reason = gv__judge_message(shard->limits, topic, &packet.props, packet.payload, packet.retain);
    if (reason != GV_MQTT_SUCCESS) {
        return turn_down(client, &packet, reason);
    }
    bool is_kept = packet.qos == 2 && client->session->durable != NULL;
    if (is_kept && is_refused(shard, &packet)) {
        gv__acks_push(client, (gv_ack_t){.packet_id = packet.packet_id,
                                         .type = GV_MQTT_PUBREC,
                                         .reason = GV_MQTT_QUOTA_EXCEEDED});
        return GV_STEP_NEXT;
    }
    if (packet.qos == 2) {
        take_id(client->session, packet.packet_id);
    }
    gv_publish_t publish;
    build(&publish, client, &packet, topic);
    gv_ticket_t ticket = gv__client_ticket(client, gv__acks_next(client));
    gv_routed_t routed = route(client, &publish, &packet, &ticket);
    if (is_kept) {
        gv_journal_then_received(shard->journal, client->session, &ticket, packet.packet_id);
        routed.missing++;
    }
    if (packet.qos > 0) {
        gv_ack_t ack = {
            .packet_id = packet.packet_id,
            .missing = routed.missing,
            .type = packet.qos == 1 ? GV_MQTT_PUBACK : GV_MQTT_PUBREC,
            .reason = GV_MQTT_SUCCESS,
        };
        if (routed.has_failed) {
            ack.reason = GV_MQTT_QUOTA_EXCEEDED;
        } else if (!routed.has_matched) {
            ack.reason = GV_MQTT_NO_MATCHING_SUBSCRIBERS;
        }
        gv__acks_push(client, ack);
    }
    if (routed.is_congested) {
        gv__client_congested(client);
    }
    return GV_STEP_NEXT;
}

/* ---- acknowledgements ------------------------------------------------------------------------ */

static void on_pubrel(gv_client_t *client, const gv_mqtt_ack_t *ack)
{
    gv_session_t *session = client->session;
    bool was_there = gv_received_ids_remove(&session->flow->received, ack->packet_id);
    if (was_there) {
        gv__received_done(client);
        gv__unanswered_forget(session, ack->packet_id);
    }
    gv_mqtt_reason_t reason = was_there ? GV_MQTT_SUCCESS : GV_MQTT_PACKET_ID_NOT_FOUND;
    if (session->durable == NULL) {
        gv__client_send_ack(client, GV_MQTT_PUBCOMP, ack->packet_id, reason);
        return;
    }
    /* Also for an id that is not there: an earlier release may be on its way to the disk. */
    gv_journal_t *journal = session->shard->journal;
    if (was_there) {
        gv_journal_dirty(journal, session->durable, GV_DIRTY_RECEIVED);
    }
    gv_journal_then_ack(journal, session, GV_MQTT_PUBCOMP, ack->packet_id, (uint8_t)reason);
}

static void finish(gv_client_t *client, gv_flight_t *flight)
{
    (void)gv__end_loan(client->shard, flight->extra, GV_MQTT_SUCCESS);
    gv_inflight_finish(&client->session->flow->inflight, flight);
}

static void on_pubrec(gv_client_t *client, const gv_mqtt_ack_t *ack)
{
    gv_inflight_t *inflight = &client->session->flow->inflight;
    gv_flight_t *flight = gv_inflight_find(inflight, ack->packet_id);
    if (flight != NULL && flight->stage == GV_STAGE_AWAITS_PUBREC &&
        gv_mqtt_reason_is_error(ack->reason)) {
        finish(client, flight);
        return;
    }
    bool is_known = flight != NULL && flight->stage != GV_STAGE_AWAITS_PUBACK;
    if (is_known && flight->stage == GV_STAGE_AWAITS_PUBREC) {
        /* From here on only PUBREL is repeated; the message itself is the receiver's. */
        (void)gv__end_loan(client->shard, flight->extra, GV_MQTT_SUCCESS);
        gv_msgbuf_unref(&flight->kept);
        flight->stage = GV_STAGE_AWAITS_PUBCOMP;
    }
    if (!gv_mqtt_reason_is_error(ack->reason)) {
        gv__client_send_ack(client, GV_MQTT_PUBREL, ack->packet_id,
                            is_known ? GV_MQTT_SUCCESS : GV_MQTT_PACKET_ID_NOT_FOUND);
    }
}

static void on_final_ack(gv_client_t *client, const gv_mqtt_ack_t *ack, gv_stage_t stage)
{
    gv_inflight_t *inflight = &client->session->flow->inflight;
    gv_flight_t *flight = gv_inflight_find(inflight, ack->packet_id);
    if (flight != NULL && flight->stage == stage) {
        finish(client, flight);
    }
}

gv_step_t gv__on_ack(gv_client_t *client, const gv_mqtt_frame_t *frame)
{
    gv_mqtt_ack_t ack;
    gv_mqtt_reason_t reason = GV_MQTT_SUCCESS;
    if (gv_mqtt_decode_ack(frame, &client->peer, &ack, &reason) != GV_OK) {
        return gv__client_refuse(client, reason);
    }
    if (frame->type == GV_MQTT_PUBREL) {
        on_pubrel(client, &ack);
    } else if (client->session->durable != NULL) {
        gv__durable_ack(client->session, &ack, frame->type); /* and what may follow */
        return GV_STEP_NEXT;
    } else if (frame->type == GV_MQTT_PUBREC) {
        on_pubrec(client, &ack);
    } else {
        on_final_ack(client, &ack,
                     frame->type == GV_MQTT_PUBACK ? GV_STAGE_AWAITS_PUBACK
                                                   : GV_STAGE_AWAITS_PUBCOMP);
    }
    gv__pump(client->session);
    return GV_STEP_NEXT;
}
