/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages on their way out of a session: straight into the connection's output while the window is
 * open, into the queue while it is not, and from there as acknowledgements come.
 */
#include "broker/core/shard_p.h"

static bool is_online(const gv_session_t *session)
{
    return session->client != NULL && session->client->state == GV_CLIENT_CONNECTED;
}

static bool window_is_open(const gv_session_t *session)
{
    const gv_client_t *client = session->client;
    return gv_inflight_open(&session->flow->inflight) < client->inflight_max &&
           gv_inflight_has_id(&session->flow->inflight) &&
           gv_outbuf_size(gv__client_out(client)) < client->shard->limits->output_bytes_max;
}

/* Puts one PUBLISH into the output.  False: too large for this client, or no memory. */
static bool send(gv_shard_t *shard, gv_client_t *client, gv_fanout_t *fanout,
                 const gv_manner_t *manner, bool dup, uint16_t packet_id)
{
    const gv_fanout_variant_t *variant = gv_fanout_encode(
        fanout, client->peer.version, manner->qos > 0, manner->ids, manner->id_count);
    if (variant == NULL) {
        gv_counter_add(&shard->stats.dropped_no_memory, 1);
        return false;
    }
    gv_publish_t *publish = fanout->publish;
    size_t referenced = fanout->is_shared ? publish->payload.size : 0;
    if (client->peer.packet_size_max != 0 &&
        variant->size + referenced > client->peer.packet_size_max) {
        gv_counter_add(&shard->stats.dropped_too_large, 1);
        return false;
    }
    gv_fanout_patch(variant, manner->qos, manner->retain, dup, packet_id);
    gv_outbuf_t *out = gv__client_out(client);
    if (referenced > 0) {
        gv_msgbuf_t *kept = NULL;
        if (gv_publish_keep(publish, &kept) != GV_OK) {
            gv_counter_add(&shard->stats.dropped_no_memory, 1);
            return false;
        }
        gv_outbuf_append(out, shard->pool, gv_bytes(variant->bytes, variant->size));
        gv_outbuf_append_ref(out, shard->pool, kept, gv_publish_payload_offset(publish),
                             referenced);
        gv_msgbuf_unref(&kept);
    } else {
        gv_outbuf_append(out, shard->pool, gv_bytes(variant->bytes, variant->size));
    }
    gv_counter_add(&shard->stats.sent[manner->qos], 1);
    gv__client_output(client);
    return true;
}

/* A subscriber far behind slows its publishers, as long as it moves at all. */
static void look_for_congestion(gv_shard_t *shard, gv_fanout_t *fanout, const gv_client_t *client)
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
    if (!is_online(session)) {
        gv_counter_add(&shard->stats.dropped_offline, 1);
        return;
    }
    gv_client_t *client = session->client;
    if (gv_outbuf_size(gv__client_out(client)) > shard->limits->output_bytes_max) {
        gv_counter_add(&shard->stats.dropped_slow_reader, 1);
        return;
    }
    (void)send(shard, client, fanout, manner, false, 0);
    look_for_congestion(shard, fanout, client);
}

/* Sends a QoS > 0 message within the window; the window must be open. */
static void send_in_window(gv_shard_t *shard, gv_session_t *session, gv_fanout_t *fanout,
                           const gv_manner_t *manner)
{
    gv_flight_t *flight = NULL;
    gv_stage_t stage = manner->qos == 1 ? GV_STAGE_AWAITS_PUBACK : GV_STAGE_AWAITS_PUBREC;
    gv_inflight_t *inflight = &gv_session_flow(session)->inflight;
    uint16_t packet_id = gv_inflight_start(inflight, stage, &flight);
    if (!send(shard, session->client, fanout, manner, false, packet_id)) {
        /* Not sent, so the id was never used [MQTT-3.1.2-25]. */
        gv_inflight_cancel(inflight, flight);
        return;
    }
    /* Kept for whom it may have to be sent to again: this session, or another of the group. */
    if (!session->is_persistent && manner->share == 0) {
        return;
    }
    flight->retain = manner->retain;
    flight->share = manner->share;
    if (gv_publish_keep(fanout->publish, &flight->kept) != GV_OK) {
        gv_counter_add(&shard->stats.dropped_no_memory, 1);
        return;
    }
    flight->id = manner->id_count > 0 ? manner->ids[0] : 0;
    flight->more_ids = gv_queued_more_ids(manner->ids, manner->id_count);
}

static void make_room(gv_shard_t *shard, gv_session_t *session, size_t size)
{
    gv_queue_t *queue = &session->flow->queue;
    const gv_limits_t *limits = shard->limits;
    while (queue->count > 0 && (queue->count >= limits->queue_messages_max ||
                                queue->bytes + size > limits->queue_bytes_max)) {
        gv_queued_t oldest = gv_queue_take(queue);
        gv_queued_drop(&oldest);
        gv_counter_sub(&shard->stats.queued_messages, 1);
        gv_counter_add(&shard->stats.dropped_queue_full, 1);
    }
}

static void enqueue(gv_shard_t *shard, gv_session_t *session, gv_fanout_t *fanout,
                    const gv_manner_t *manner)
{
    gv_queued_t delivery = {
        .qos = manner->qos,
        .retain = manner->retain,
        .share = manner->share,
        .id = manner->id_count > 0 ? manner->ids[0] : 0,
    };
    if (gv_publish_keep(fanout->publish, &delivery.kept) != GV_OK) {
        gv_counter_add(&shard->stats.dropped_no_memory, 1);
        return;
    }
    const gv_limits_t *limits = shard->limits;
    size_t size = gv_msgbuf_bytes(delivery.kept).size;
    bool is_full = session->flow->queue.count >= limits->queue_messages_max ||
                   session->flow->queue.bytes + size > limits->queue_bytes_max;
    if (is_full && limits->queue_policy == GV_QUEUE_DROP_OLDEST) {
        make_room(shard, session, size);
    } else if (is_full) {
        gv_counter_add(&shard->stats.dropped_queue_full, 1);
        gv_queued_drop(&delivery);
        if (limits->queue_policy == GV_QUEUE_DISCONNECT && is_online(session)) {
            gv__client_end_later(session->client, GV_MQTT_QUOTA_EXCEEDED);
        }
        return;
    }
    delivery.more_ids = gv_queued_more_ids(manner->ids, manner->id_count);
    gv_queue_push(&gv_session_flow(session)->queue, delivery);
    gv_counter_add(&shard->stats.queued_messages, 1);
    /* Half a queue is the sign to slow down: what the publisher still has on its way fits in. */
    if (is_online(session) && session->flow->queue.count > limits->queue_messages_max / 2 &&
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
    } else if (is_online(session) && session->flow->queue.count == 0 &&
               session->flow->inflight.unsent == 0 && window_is_open(session)) {
        send_in_window(shard, session, fanout, manner);
        look_for_congestion(shard, fanout, session->client);
    } else if (!is_online(session) && !session->is_persistent) {
        gv_counter_add(&shard->stats.dropped_offline, 1);
    } else {
        enqueue(shard, session, fanout, manner);
    }
}

/* ---- from the queue and from the window ------------------------------------------------------ */

static const uint32_t *ids_of(const uint32_t *more_ids, const uint32_t *id, size_t *count_out)
{
    if (more_ids != NULL) {
        *count_out = more_ids[0];
        return more_ids + 1;
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
    manner.ids = ids_of(flight->more_ids, &flight->id, &manner.id_count);
    gv_fanout_begin(&shard->fanout, &publish, shard->now_ms);
    if (!send(shard, client, &shard->fanout, &manner, true, packet_id)) {
        gv_inflight_finish(&session->flow->inflight, flight);
    }
}

void gv__pump(gv_session_t *session)
{
    gv_shard_t *shard = session->shard;
    uint16_t packet_id = 0;
    while (session->flow->inflight.unsent > 0 && is_online(session) && window_is_open(session)) {
        gv_flight_t *flight = gv_inflight_resend(&session->flow->inflight, &packet_id);
        resend(shard, session, flight, packet_id);
    }
    while (session->flow->queue.count > 0 && session->flow->inflight.unsent == 0 &&
           is_online(session) && window_is_open(session)) {
        gv_queued_t delivery = gv_queue_take(&session->flow->queue);
        gv_counter_sub(&shard->stats.queued_messages, 1);
        gv_publish_t publish = gv_publish_of(delivery.kept);
        if (publish.expires_at_ms != 0 && publish.expires_at_ms <= shard->now_ms) {
            gv_counter_add(&shard->stats.dropped_expired, 1);
        } else {
            gv_manner_t manner = {
                .share = delivery.share, .qos = delivery.qos, .retain = delivery.retain};
            manner.ids = ids_of(delivery.more_ids, &delivery.id, &manner.id_count);
            gv_fanout_begin(&shard->fanout, &publish, shard->now_ms);
            send_in_window(shard, session, &shard->fanout, &manner);
        }
        gv_queued_drop(&delivery);
    }
}

void gv__resend(gv_session_t *session)
{
    if (session->flow->inflight.count > 0) {
        gv_inflight_rewind(&session->flow->inflight);
    }
    gv__pump(session);
}

/* ---- to other members of a group ----------------------------------------------------------- */

void gv__give_to_group(gv_shard_t *shard, const gv_publish_t *publish, const gv_filter_t *filter)
{
    gv_bytes_t text = gv_filter_text(filter);
    gv_entry_t *entry =
        gv_office_append(&shard->office, gv__desk_routes(shard), publish, text.size);
    if (entry == NULL) {
        gv_counter_add(&shard->stats.dropped_no_memory, 1);
        return;
    }
    entry->kind = GV_ENTRY_REGIVE;
    entry->slot_count = (uint32_t)text.size;
    memcpy(gv_parcel_extra(entry), text.data, text.size);
}

static void give_away(gv_shard_t *shard, gv_msgbuf_t *kept, uint32_t share)
{
    gv_filter_t *filter = gv_subscriptions_at(&shard->subscriptions, share - 1);
    if (filter == NULL) {
        gv_counter_add(&shard->stats.dropped_offline, 1);
        return;
    }
    gv_publish_t publish = gv_publish_of(kept);
    gv__give_to_group(shard, &publish, filter);
}

void gv__give_to_others(gv_session_t *session)
{
    gv_shard_t *shard = session->shard;
    gv_flow_t *flow = session->flow;
    uint16_t packet_id = 0;
    if (flow->inflight.count > 0) {
        gv_inflight_rewind(&flow->inflight);
    }
    for (gv_flight_t *flight; (flight = gv_inflight_resend(&flow->inflight, &packet_id)) != NULL;) {
        if (flight->share != 0 && flight->stage == GV_STAGE_AWAITS_PUBACK && flight->kept != NULL) {
            give_away(shard, flight->kept, flight->share);
            gv_inflight_finish(&flow->inflight, flight);
        }
    }
    for (uint32_t left = flow->queue.count; left > 0; left--) {
        gv_queued_t queued = gv_queue_take(&flow->queue);
        if (queued.share == 0) {
            gv_queue_push(&flow->queue, queued); /* round once: the order stays */
            continue;
        }
        give_away(shard, queued.kept, queued.share);
        gv_queued_drop(&queued);
        gv_counter_sub(&shard->stats.queued_messages, 1);
    }
}
