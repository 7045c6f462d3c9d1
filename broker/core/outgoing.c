/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages on their way out of a session: straight into the connection's output while the window is
 * open, into the queue while it is not, and from there as acknowledgements come.
 */
#include "broker/core/shard_p.h"

bool gv__window_is_open(const gv_session_t *session, uint32_t open)
{
    const gv_client_t *client = session->client;
    return open < client->inflight_max &&
           gv_outbuf_size(gv__client_out(client)) < gv__output_max(client->shard);
}

static bool fits(const gv_client_t *client, size_t size)
{
    return client->peer.packet_size_max == 0 || size <= client->peer.packet_size_max;
}

/* The alias a client that takes some is told instead of the topic, or with it. */
static gv_alias_choice_t choose_alias(gv_shard_t *shard, gv_client_t *client, gv_fanout_t *fanout)
{
    if (client->alias_max == 0) {
        return (gv_alias_choice_t){.number = 0};
    }
    return gv_aliases_choose(&client->aliases, &shard->alias_budget, client->alias_max,
                             fanout->publish->topic,
                             gv_fanout_topic_hash(fanout, shard->hash_seed));
}

static bool window_is_open(const gv_session_t *session)
{
    const gv_inflight_t *inflight = &session->flow->inflight;
    return gv__window_is_open(session, gv_inflight_open(inflight)) && gv_inflight_has_id(inflight);
}

gv_sent_t gv__send_publish(gv_shard_t *shard, gv_client_t *client, gv_fanout_t *fanout,
                           const gv_manner_t *manner, bool dup, uint16_t packet_id)
{
    gv_fanout_form_t form = {.version = client->peer.version,
                             .has_id = manner->qos > 0,
                             .ids = manner->ids,
                             .id_count = manner->id_count};
    gv_alias_choice_t alias = choose_alias(shard, client, fanout);
    if (alias.number != 0) {
        form.topic = alias.is_new ? GV_FANOUT_TOPIC_AND_ALIAS : GV_FANOUT_ALIAS;
    }
    gv_publish_t *publish = fanout->publish;
    size_t referenced = fanout->is_shared ? publish->payload.size : 0;
    const gv_fanout_variant_t *variant = gv_fanout_encode(fanout, &form);
    if (alias.is_new && variant != NULL && !fits(client, variant->size + referenced)) {
        /* Perhaps it is the introduction that is too much. */
        alias = (gv_alias_choice_t){.number = 0};
        form.topic = GV_FANOUT_TOPIC;
        variant = gv_fanout_encode(fanout, &form);
    }
    if (variant == NULL) {
        return GV_SENT_NO_MEMORY;
    }
    if (!fits(client, variant->size + referenced)) {
        gv_counter_add(&shard->stats.dropped_too_large, 1);
        return GV_SENT_TOO_LARGE;
    }
    gv_fanout_patch(variant, manner->qos, manner->retain, dup, packet_id, alias.number);
    gv_outbuf_t *out = gv__client_out(client);
    if (referenced > 0) {
        gv_msgbuf_t *kept = NULL;
        if (gv_publish_keep(publish, &kept) != GV_OK) {
            return GV_SENT_NO_MEMORY;
        }
        gv_outbuf_append(out, shard->pool, gv_bytes(variant->bytes, variant->size));
        gv_outbuf_append_ref(out, shard->pool, kept, gv_publish_payload_offset(publish),
                             referenced);
        gv_msgbuf_unref(&kept);
    } else {
        gv_outbuf_append(out, shard->pool, gv_bytes(variant->bytes, variant->size));
    }
    if (alias.is_new) {
        gv_aliases_introduce(client->aliases, &shard->alias_budget, alias, publish->topic,
                             gv_fanout_topic_hash(fanout, shard->hash_seed));
    }
    gv_counter_add(&shard->stats.sent[manner->qos], 1);
    gv_counter_add(&shard->stats.sent_payload_bytes, publish->payload.size);
    gv__client_output(client);
    return GV_SENT;
}

/* As above, where what is not sent is over.  Whether it has been. */
static bool send_or_drop(gv_shard_t *shard, gv_client_t *client, gv_fanout_t *fanout,
                         const gv_manner_t *manner, bool dup, uint16_t packet_id)
{
    gv_sent_t sent = gv__send_publish(shard, client, fanout, manner, dup, packet_id);
    gv_counter_add(&shard->stats.dropped_no_memory, sent == GV_SENT_NO_MEMORY);
    return sent == GV_SENT;
}

void gv__look_for_congestion(gv_shard_t *shard, gv_fanout_t *fanout, const gv_client_t *client)
{
    const uint64_t still_moving_ms = 1000;
    if (gv_outbuf_size(gv__client_out(client)) > shard->limits->output_bytes_soft &&
        shard->now_ms - client->conn->progress_ms < still_moving_ms) {
        fanout->has_congested = true;
    }
}

static void deliver_qos0(gv_shard_t *shard, gv_session_t *session, gv_fanout_t *fanout,
                         const gv_manner_t *manner)
{
    if (!gv__is_online(session)) {
        gv_counter_add(&shard->stats.dropped_offline, 1);
        return;
    }
    gv_client_t *client = session->client;
    size_t waiting = gv_outbuf_size(gv__client_out(client));
    if (waiting > gv__output_max(shard)) {
        gv_counter_add(waiting > shard->limits->output_bytes_max ? &shard->stats.dropped_slow_reader
                                                                 : &shard->stats.dropped_memory,
                       1);
        return;
    }
    (void)send_or_drop(shard, client, fanout, manner, false, 0);
    gv__look_for_congestion(shard, fanout, client);
}

/* ---- what is lent -------------------------------------------------------------------------- */

bool gv__end_loan(gv_shard_t *shard, gv_queued_extra_t *extra, gv_mqtt_reason_t reason)
{
    gv_ticket_t loan = gv_queued_take_loan(extra);
    if (loan.is_loan != 0) {
        gv__tell(shard, &loan, GV_ENTRY_CONFIRM, reason);
    }
    return loan.is_loan != 0;
}

static const gv_ticket_t *loan_of(const gv_fanout_t *fanout, const gv_manner_t *manner)
{
    bool is_loan = manner->share != 0 && fanout->ticket != NULL && fanout->ticket->is_loan != 0;
    return is_loan ? fanout->ticket : NULL;
}

/* Who has lent it still has it; anybody else has lost it, for which reason counts. */
static void drop(gv_fanout_t *fanout, const gv_manner_t *manner, gv_counter_t *reason)
{
    if (loan_of(fanout, manner) != NULL) {
        fanout->has_refused = true;
    } else {
        gv_counter_add(reason, 1);
    }
}

/* ---- window and queue ------------------------------------------------------------------------ */

/* Sends a QoS > 0 message within the window; the window must be open. */
static void send_in_window(gv_shard_t *shard, gv_session_t *session, gv_fanout_t *fanout,
                           const gv_manner_t *manner)
{
    gv_flight_t *flight = NULL;
    gv_stage_t stage = manner->qos == 1 ? GV_STAGE_AWAITS_PUBACK : GV_STAGE_AWAITS_PUBREC;
    gv_inflight_t *inflight = &gv_session_flow(session)->inflight;
    uint16_t packet_id = gv_inflight_start(inflight, stage, &flight);
    if (!send_or_drop(shard, session->client, fanout, manner, false, packet_id)) {
        /* Not sent, so the id was never used [MQTT-3.1.2-25]. */
        gv_inflight_cancel(inflight, flight);
        fanout->has_refused |= loan_of(fanout, manner) != NULL;
        return;
    }
    /* Kept for whom it may have to be sent to again: this session, or another of the group. */
    if (!session->is_persistent && manner->share == 0) {
        return;
    }
    flight->retain = manner->retain;
    flight->share = manner->share;
    flight->extra = gv_queued_extra_new(manner->ids, manner->id_count, loan_of(fanout, manner));
    fanout->is_lent = loan_of(fanout, manner) != NULL;
    if (gv_publish_keep(fanout->publish, &flight->kept) != GV_OK) {
        gv_counter_add(&shard->stats.dropped_no_memory, 1);
        return;
    }
    flight->id = manner->id_count > 0 ? manner->ids[0] : 0;
}

static void make_room(gv_shard_t *shard, gv_session_t *session, size_t size)
{
    gv_queue_t *queue = &session->flow->queue;
    const gv_limits_t *limits = shard->limits;
    while (queue->count > 0 && (queue->count >= limits->queue_messages_max ||
                                queue->bytes + size > limits->queue_bytes_max)) {
        gv_queued_t oldest = gv_queue_take(queue);
        bool was_lent = gv__end_loan(shard, oldest.extra, GV_MQTT_QUOTA_EXCEEDED);
        gv_queued_drop(&oldest);
        gv_counter_sub(&shard->stats.queued_messages, 1);
        gv_counter_add(&shard->stats.dropped_queue_full, was_lent ? 0 : 1);
    }
}

/*
 * Memory is scarce: what somebody cannot take at once is not taken from its publisher.  Who has
 * just subscribed is still given what is retained, unless it is critical.
 */
static bool is_refused(const gv_shard_t *shard, const gv_fanout_t *fanout)
{
    return shard->memory_state > (fanout->is_replay ? GV_MEMORY_SCARCE : GV_MEMORY_ENOUGH);
}

static void enqueue(gv_shard_t *shard, gv_session_t *session, gv_fanout_t *fanout,
                    const gv_manner_t *manner)
{
    const gv_ticket_t *loan = loan_of(fanout, manner);
    if (is_refused(shard, fanout)) {
        drop(fanout, manner, &shard->stats.dropped_memory);
        fanout->has_refused = true;
        return;
    }
    gv_queued_t delivery = {
        .qos = manner->qos,
        .retain = manner->retain,
        .share = manner->share,
        .id = manner->id_count > 0 ? manner->ids[0] : 0,
    };
    if (gv_publish_keep(fanout->publish, &delivery.kept) != GV_OK) {
        drop(fanout, manner, &shard->stats.dropped_no_memory);
        return;
    }
    const gv_limits_t *limits = shard->limits;
    size_t size = gv_msgbuf_bytes(delivery.kept).size;
    bool is_full = session->flow->queue.count >= limits->queue_messages_max ||
                   session->flow->queue.bytes + size > limits->queue_bytes_max;
    /* What is larger than the whole queue is not worth all that waits there; a loan stays at home.
     */
    if (is_full && limits->queue_policy == GV_QUEUE_DROP_OLDEST &&
        size <= limits->queue_bytes_max && loan == NULL) {
        make_room(shard, session, size);
    } else if (is_full) {
        drop(fanout, manner, &shard->stats.dropped_queue_full);
        gv_queued_drop(&delivery);
        if (limits->queue_policy == GV_QUEUE_DISCONNECT && gv__is_online(session) && loan == NULL) {
            gv_counter_add(&shard->stats.queue_full_closed, 1);
            gv__client_end_later(session->client, GV_MQTT_QUOTA_EXCEEDED);
        }
        return;
    }
    delivery.extra = gv_queued_extra_new(manner->ids, manner->id_count, loan);
    fanout->is_lent = loan != NULL;
    gv_queue_push(&gv_session_flow(session)->queue, delivery);
    gv_counter_add(&shard->stats.queued_messages, 1);
    /* Early, because a hundred publishers have much on the way when they are told to slow down. */
    if (gv__is_online(session) && session->flow->queue.count > limits->queue_messages_max / 8 &&
        shard->now_ms - session->client->last_input_ms < 1000) {
        fanout->has_congested = true;
    }
}

void gv__deliver(gv_shard_t *shard, gv_session_t *session, gv_fanout_t *fanout,
                 const gv_manner_t *manner)
{
    shard->work++;
    if (manner->qos == 0) {
        deliver_qos0(shard, session, fanout, manner);
    } else if (session->durable != NULL) {
        gv__durable_deliver(shard, session, fanout, manner);
    } else if (gv__is_online(session) && session->flow->queue.count == 0 &&
               session->flow->inflight.unsent == 0 && window_is_open(session)) {
        send_in_window(shard, session, fanout, manner);
        gv__look_for_congestion(shard, fanout, session->client);
    } else if (!gv__is_online(session) && !session->is_persistent) {
        gv_counter_add(&shard->stats.dropped_offline, 1);
    } else {
        enqueue(shard, session, fanout, manner);
    }
}

/* ---- from the queue and from the window ------------------------------------------------------ */

static const uint32_t *ids_of(const gv_queued_extra_t *extra, const uint32_t *id, size_t *count_out)
{
    if (extra != NULL && extra->id_count > 0) {
        *count_out = extra->id_count;
        return extra->ids;
    }
    *count_out = *id == 0 ? 0 : 1;
    return id;
}

/* Sends again what the connection before this one left open, or releases it again. */
static void resend(gv_shard_t *shard, gv_session_t *session, gv_flight_t *flight,
                   uint16_t packet_id)
{
    gv_client_t *client = session->client;
    if (flight->stage == GV_STAGE_AWAITS_PUBCOMP) {
        gv_writer_t w = gv_writer(gv__client_reserve(client, GV_MQTT_ACK_SIZE), GV_MQTT_ACK_SIZE);
        gv_mqtt_write_ack(&w, GV_MQTT_PUBREL, packet_id);
        gv__client_commit(client, GV_MQTT_ACK_SIZE);
        return;
    }
    if (flight->kept == NULL) {
        gv_inflight_finish(&session->flow->inflight, flight);
        return;
    }
    gv_publish_t publish = gv_publish_of(flight->kept);
    gv_manner_t manner = {.qos = flight->stage == GV_STAGE_AWAITS_PUBACK ? 1 : 2,
                          .retain = flight->retain};
    manner.ids = ids_of(flight->extra, &flight->id, &manner.id_count);
    gv_fanout_begin(&shard->fanout, &publish, shard->now_ms);
    if (!send_or_drop(shard, client, &shard->fanout, &manner, true, packet_id)) {
        gv_inflight_finish(&session->flow->inflight, flight);
    }
}

/* The fanout is the delivery's; a loan goes over to the flight. */
static void send_queued(gv_shard_t *shard, gv_session_t *session, gv_queued_t *delivery,
                        const gv_manner_t *manner)
{
    gv_ticket_t loan = gv_queued_take_loan(delivery->extra);
    shard->fanout.ticket = loan.is_loan != 0 ? &loan : NULL;
    send_in_window(shard, session, &shard->fanout, manner);
    shard->fanout.ticket = NULL;
    if (loan.is_loan != 0 && !shard->fanout.is_lent) {
        gv__tell(shard, &loan, GV_ENTRY_CONFIRM, GV_MQTT_QUOTA_EXCEEDED);
    }
}

void gv__pump(gv_session_t *session)
{
    if (session->durable != NULL) {
        gv__durable_pump(session);
        return;
    }
    gv_shard_t *shard = session->shard;
    uint16_t packet_id = 0;
    while (session->flow->inflight.unsent > 0 && gv__is_online(session) &&
           window_is_open(session)) {
        gv_flight_t *flight = gv_inflight_resend(&session->flow->inflight, &packet_id);
        resend(shard, session, flight, packet_id);
    }
    while (session->flow->queue.count > 0 && session->flow->inflight.unsent == 0 &&
           gv__is_online(session) && window_is_open(session)) {
        gv_queued_t delivery = gv_queue_take(&session->flow->queue);
        gv_counter_sub(&shard->stats.queued_messages, 1);
        gv_publish_t publish = gv_publish_of(delivery.kept);
        if (publish.expires_at_ms != 0 && publish.expires_at_ms <= shard->now_ms) {
            gv_counter_add(&shard->stats.dropped_expired, 1);
            (void)gv__end_loan(shard, delivery.extra, GV_MQTT_SUCCESS);
        } else {
            gv_manner_t manner = {
                .share = delivery.share, .qos = delivery.qos, .retain = delivery.retain};
            manner.ids = ids_of(delivery.extra, &delivery.id, &manner.id_count);
            gv_fanout_begin(&shard->fanout, &publish, shard->now_ms);
            send_queued(shard, session, &delivery, &manner);
        }
        gv_queued_drop(&delivery);
    }
}

void gv__resend(gv_session_t *session)
{
    if (session->durable != NULL) {
        gv__durable_resend(session);
        return;
    }
    if (session->flow->inflight.count > 0) {
        gv_inflight_rewind(&session->flow->inflight);
    }
    gv__pump(session);
}
