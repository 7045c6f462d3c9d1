/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a connection: its place in the shard's table, its input loop, its timers, its pauses
 * and its end.  What packets mean stands in the on_... files.
 */
#define GV_MEMORY_OF GV_MEMORY_CONNECTIONS

#include "broker/core/client.h"

#include "base/alloc.h"
#include "base/log.h"
#include "broker/core/shard_p.h"

/* How long a publisher rests when a subscriber of its messages is behind [ms]. */
#define CONGESTION_REST_MS 5U

/* ---- the table ------------------------------------------------------------------------------- */

static uint32_t slot_take(gv_shard_t *shard, gv_client_t *client)
{
    uint32_t index = 0;
    if (shard->client_free != 0) {
        index = shard->client_free - 1;
        shard->client_free = shard->clients[index].next_free;
    } else {
        if (shard->client_count == shard->client_capacity) {
            shard->client_capacity = shard->client_capacity == 0 ? 64 : shard->client_capacity * 2;
            shard->clients =
                gv_xrealloc(shard->clients, shard->client_capacity * sizeof(*shard->clients));
        }
        index = shard->client_count++;
        shard->clients[index] = (gv_client_slot_t){.generation = 1};
    }
    shard->clients[index].client = client;
    return index;
}

static void slot_give_back(gv_shard_t *shard, uint32_t index)
{
    gv_client_slot_t *slot = &shard->clients[index];
    slot->client = NULL;
    slot->generation++;
    slot->next_free = shard->client_free;
    shard->client_free = index + 1;
}

gv_client_t *gv__client_of(gv_shard_t *shard, const gv_ticket_t *ticket)
{
    if (ticket->client >= shard->client_count) {
        return NULL;
    }
    const gv_client_slot_t *slot = &shard->clients[ticket->client];
    return slot->generation == ticket->generation ? slot->client : NULL;
}

gv_ticket_t gv__client_ticket(const gv_client_t *client, uint32_t number)
{
    return (gv_ticket_t){
        .client = client->index,
        .generation = client->shard->clients[client->index].generation,
        .number = number,
        .shard = client->shard->index,
    };
}

/* ---- output ---------------------------------------------------------------------------------- */

uint8_t *gv__client_reserve(gv_client_t *client, size_t size)
{
    return gv_outbuf_reserve(gv__client_out(client), client->shard->pool, size);
}

void gv__client_commit(gv_client_t *client, size_t size)
{
    if (size > 0) {
        gv_outbuf_commit(gv__client_out(client), size);
        gv_counter_add(&client->shard->stats.answers_sent, 1);
        gv__client_output(client);
    }
}

void gv__client_answer(gv_client_t *client, gv_bytes_t packet)
{
    gv_outbuf_append(gv__client_out(client), client->shard->pool, packet);
    gv_counter_add(&client->shard->stats.answers_sent, 1);
    gv__client_output(client);
}

void gv__client_send_ack(gv_client_t *client, gv_mqtt_type_t type, uint16_t packet_id,
                         gv_mqtt_reason_t reason)
{
    enum {
        ROOM = 256
    };
    gv_mqtt_ack_t ack = {.packet_id = packet_id, .reason = reason, .props = GV_MQTT_PROPS_NONE};
    if (gv_mqtt_reason_is_error(reason)) {
        gv__explain(&ack.props, &client->peer, gv__why(type, reason));
    }
    gv_writer_t w = gv_writer(gv__client_reserve(client, ROOM), ROOM);
    gv__client_commit(client, gv_mqtt_encode_ack(type, &ack, &client->peer, &w));
}

/* ---- pauses ---------------------------------------------------------------------------------- */

void gv__client_pause(gv_client_t *client, uint16_t why)
{
    if (client->state == GV_CLIENT_CLOSING) {
        return;
    }
    bool was_running = client->paused == 0;
    client->paused |= why;
    if (was_running) {
        client->shard->ports.conn->pause(client->conn, true);
    }
}

void gv__client_resume(gv_client_t *client, uint16_t why)
{
    if ((client->paused & why) == 0 || client->state == GV_CLIENT_CLOSING) {
        return;
    }
    client->paused &= (uint16_t)~why;
    if (client->paused == 0) {
        client->shard->ports.conn->pause(client->conn, false);
    }
}

/* ---- publishers that rest
 * ------------------------------------------------------------------------ */

static gv_rest_t *rest_at(const gv_resting_t *resting, uint32_t position)
{
    return &resting->ring[(resting->head + position) & (resting->capacity - 1)];
}

static void rest_push(gv_resting_t *resting, gv_rest_t rest)
{
    if (resting->count == resting->capacity) {
        uint32_t capacity = resting->capacity == 0 ? 64 : resting->capacity * 2;
        gv_rest_t *ring = gv_xcalloc(capacity, sizeof(*ring));
        for (uint32_t i = 0; i < resting->count; i++) {
            ring[i] = *rest_at(resting, i);
        }
        gv_free(resting->ring);
        resting->ring = ring;
        resting->head = 0;
        resting->capacity = capacity;
    }
    *rest_at(resting, resting->count++) = rest;
}

static void on_rested(gv_timer_t *timer)
{
    gv_shard_t *shard = gv_container_of(timer, gv_shard_t, resting.timer);
    gv_resting_t *resting = &shard->resting;
    shard->now_ms = shard->ports.monotonic_ms(shard->ports.arg);
    while (resting->count > 0 && rest_at(resting, 0)->until_ms <= shard->now_ms) {
        gv_client_t *client = gv__client_of(shard, &rest_at(resting, 0)->client);
        resting->head = (resting->head + 1) & (resting->capacity - 1);
        resting->count--;
        if (client != NULL) {
            gv__client_resume(client, GV_PAUSE_CONGESTION);
        }
    }
    if (resting->count > 0) {
        gv_timer_start(shard->wheel, timer, rest_at(resting, 0)->until_ms);
    }
}

void gv__resting_init(gv_shard_t *shard)
{
    gv_timer_init(&shard->resting.timer, on_rested);
}

void gv__resting_deinit(gv_shard_t *shard)
{
    gv_timer_stop(&shard->resting.timer);
    gv_free(shard->resting.ring);
}

void gv__client_congested(gv_client_t *client)
{
    if ((client->paused & GV_PAUSE_CONGESTION) != 0 || client->state != GV_CLIENT_CONNECTED) {
        return;
    }
    gv_shard_t *shard = client->shard;
    gv_counter_add(&shard->stats.publishers_slowed, 1);
    gv__client_pause(client, GV_PAUSE_CONGESTION);
    gv_rest_t rest = {.client = gv__client_ticket(client, 0),
                      .until_ms = shard->now_ms + CONGESTION_REST_MS};
    rest_push(&shard->resting, rest);
    if (!gv_timer_is_armed(&shard->resting.timer)) {
        gv_timer_start(shard->wheel, &shard->resting.timer, rest.until_ms);
    }
}

/* ---- the end --------------------------------------------------------------------------------- */

static void close_connection(gv_client_t *client)
{
    client->state = GV_CLIENT_CLOSING;
    gv_timer_stop(&client->timer);
    gv_list_remove(&client->link);
    gv__claim_left(client);
    gv__auth_forget(client);
    client->shard->ports.conn->close(client->conn);
}

static void leave_session(gv_client_t *client, gv_mqtt_reason_t reason, bool is_lost,
                          bool publish_will)
{
    gv_session_t *session = client->session;
    if (session == NULL) {
        return;
    }
    gv__presence_disconnected(client, reason, is_lost);
    gv__acks_leave(client, session);
    client->session = NULL;
    gv_counter_sub(&client->shard->stats.connections, 1);
    gv_session_detach(session, publish_will);
}

static void say_goodbye(gv_client_t *client, gv_mqtt_reason_t reason)
{
    gv_mqtt_disconnect_t disconnect = {.reason = reason, .props = GV_MQTT_PROPS_NONE};
    gv__explain(&disconnect.props, &client->peer, gv__why(GV_MQTT_DISCONNECT, reason));
    gv_bytes_t elsewhere = gv__drain_reference(client->shard, reason);
    if (elsewhere.size > 0) {
        gv_mqtt_props_set_bytes(&disconnect.props, GV_MQTT_PROP_SERVER_REFERENCE, elsewhere);
    }
    size_t size = gv_mqtt_encode_disconnect(&disconnect, &client->peer, NULL);
    if (size == 0) { /* the reason alone is smaller than any packet size a client may ask for */
        disconnect.props = GV_MQTT_PROPS_NONE;
        size = gv_mqtt_encode_disconnect(&disconnect, &client->peer, NULL);
    }
    if (size > 0) {
        gv_writer_t w = gv_writer(gv__client_reserve(client, size), size);
        gv__client_commit(client, gv_mqtt_encode_disconnect(&disconnect, &client->peer, &w));
    }
}

/* Its CONNACK has gone out, and does not wait for the disk. */
static bool has_connack(const gv_client_t *client)
{
    return client->state == GV_CLIENT_CONNECTED && (client->paused & GV_PAUSE_STORE) == 0;
}

void gv__client_end(gv_client_t *client, gv_mqtt_reason_t reason, bool publish_will)
{
    if (client->state == GV_CLIENT_CLOSING) {
        return;
    }
    if (has_connack(client) && reason != GV_MQTT_SUCCESS) { /* not before [MQTT-3.14.0-1] */
        say_goodbye(client, reason);
    }
    close_connection(client);
    leave_session(client, reason, false, publish_will);
}

void gv__client_end_later(gv_client_t *client, gv_mqtt_reason_t reason)
{
    if (client->state == GV_CLIENT_CLOSING || client->ending_reason != 0) {
        return;
    }
    client->ending_reason = (uint8_t)reason;
    gv_list_remove(&client->link);
    gv_list_append(&client->shard->ending, &client->link);
}

gv_step_t gv__client_refuse(gv_client_t *client, gv_mqtt_reason_t reason)
{
    gv_counter_add(&client->shard->stats.protocol_errors, 1);
    if (client->state == GV_CLIENT_AUTHENTICATES) { /* no DISCONNECT before CONNACK */
        return gv__connect_refuse(client, client->peer.version, reason);
    }
    gv_log_peer(GV_LOG_INFO, "client_refused", "peer='%s' reason='%s'", client->conn->peer,
                gv_mqtt_reason_text((uint8_t)reason));
    gv__client_end(client, reason, true);
    return GV_STEP_END;
}

void gv_client_drained(gv_client_t *client)
{
    if (client->state == GV_CLIENT_CONNECTED) {
        gv_shard_t *shard = client->shard;
        shard->now_ms = shard->ports.monotonic_ms(shard->ports.arg);
        gv__pump(client->session);
        if (gv_outbuf_size(gv__client_out(client)) <= shard->limits->output_bytes_max) {
            gv__client_resume(client, GV_PAUSE_OUTPUT);
        }
    }
}

void gv_client_check_output(gv_client_t *client)
{
    gv_shard_t *shard = client->shard;
    shard->now_ms = shard->ports.monotonic_ms(shard->ports.arg);
    if (client->state != GV_CLIENT_CONNECTED || gv_outbuf_size(gv__client_out(client)) == 0 ||
        shard->now_ms - client->conn->progress_ms < shard->limits->slow_reader_timeout_ms) {
        return;
    }
    gv_counter_add(&shard->stats.slow_readers_closed, 1);
    gv_log_peer(GV_LOG_INFO, "slow_reader_closed", "peer='%s' waiting_bytes=%zu",
                client->conn->peer, gv_outbuf_size(gv__client_out(client)));
    shard->ports.read_begin(shard->ports.arg);
    gv__client_end(client, GV_MQTT_QUOTA_EXCEEDED, true);
    shard->ports.read_end(shard->ports.arg);
}

void gv_client_closed(gv_client_t **clientp)
{
    gv_client_t *client = *clientp;
    *clientp = NULL;
    gv_shard_t *shard = client->shard;
    shard->now_ms = shard->ports.monotonic_ms(shard->ports.arg);
    client->state = GV_CLIENT_CLOSING;
    shard->ports.read_begin(shard->ports.arg);
    gv__claim_left(client);
    leave_session(client, GV_MQTT_SUCCESS, true, true);
    shard->ports.read_end(shard->ports.arg);
    gv__client_forget(client);
}

void gv__client_forget(gv_client_t *client)
{
    GV_ASSERT(client->session == NULL);
    gv_timer_stop(&client->timer);
    gv_list_remove(&client->link);
    gv__pace_forget(client);
    gv__auth_forget(client);
    slot_give_back(client->shard, client->index);
    gv_aliases_free(&client->aliases, &client->shard->alias_budget);
    gv_free(client->acks);
    client->conn->client = NULL;
    gv_free(client);
}

/* ---- timers ---------------------------------------------------------------------------------- */

static void on_timer(gv_timer_t *timer)
{
    gv_client_t *client = gv_container_of(timer, gv_client_t, timer);
    gv_shard_t *shard = client->shard;
    shard->now_ms = shard->ports.monotonic_ms(shard->ports.arg);
    shard->ports.read_begin(shard->ports.arg);
    if (client->state < GV_CLIENT_CONNECTED) {
        gv_log_peer(GV_LOG_INFO, "connect_timeout", "peer='%s'", client->conn->peer);
        gv__client_end(client, GV_MQTT_SUCCESS, false);
    } else {
        /* One and a half times the keep alive [MQTT-3.1.2-22].  While we do not read, it cannot
         * speak. */
        uint64_t allowed_ms = (uint64_t)client->keep_alive_s * 1500;
        if (client->paused != 0) {
            client->last_input_ms = shard->now_ms;
        }
        if (client->keep_alive_s != 0 && shard->now_ms - client->last_input_ms >= allowed_ms) {
            gv_counter_add(&shard->stats.keepalive_timeouts, 1);
            gv__client_end(client, GV_MQTT_KEEP_ALIVE_TIMEOUT, true);
        } else {
            gv__client_watch(client);
        }
    }
    shard->ports.read_end(shard->ports.arg);
}

void gv__client_watch(gv_client_t *client)
{
    if (client->keep_alive_s == 0) {
        gv_timer_stop(&client->timer);
        return;
    }
    gv_timer_start(client->shard->wheel, &client->timer,
                   client->last_input_ms + (uint64_t)client->keep_alive_s * 1500);
}

/* ---- input ----------------------------------------------------------------------------------- */

void gv_client_open(gv_shard_t *shard, gv_conn_t *conn)
{
    gv_client_t *client = GV_NEW(gv_client_t);
    client->conn = conn;
    client->shard = shard;
    client->state = GV_CLIENT_WAITS_FOR_CONNECT;
    client->index = slot_take(shard, client);
    conn->client = client;
    gv_timer_init(&client->timer, on_timer);
    shard->now_ms = shard->ports.monotonic_ms(shard->ports.arg);
    gv_timer_start(shard->wheel, &client->timer, shard->now_ms + shard->limits->connect_timeout_ms);
}

static gv_step_t on_pingreq(gv_client_t *client)
{
    gv_writer_t w = gv_writer(gv__client_reserve(client, GV_MQTT_PING_SIZE), GV_MQTT_PING_SIZE);
    gv_mqtt_write_ping(&w, GV_MQTT_PINGRESP);
    gv__client_commit(client, GV_MQTT_PING_SIZE);
    return GV_STEP_NEXT;
}

static gv_step_t dispatch(gv_client_t *client, const gv_mqtt_frame_t *frame)
{
    if (client->state == GV_CLIENT_WAITS_FOR_CONNECT) {
        /* [MQTT-3.1.0-1]: nothing else may come first, and nobody is told anything. */
        if (frame->type != GV_MQTT_CONNECT) {
            return gv__client_refuse(client, GV_MQTT_PROTOCOL_ERROR);
        }
        return gv__on_connect(client, frame);
    }
    if (client->state == GV_CLIENT_AUTHENTICATES) {
        return gv__auth_packet(client, frame);
    }
    switch (frame->type) {
    case GV_MQTT_PUBLISH:
        return gv__on_publish(client, frame);
    case GV_MQTT_PUBACK:
    case GV_MQTT_PUBREC:
    case GV_MQTT_PUBREL:
    case GV_MQTT_PUBCOMP:
        return gv__on_ack(client, frame);
    case GV_MQTT_SUBSCRIBE:
        return gv__on_subscribe(client, frame);
    case GV_MQTT_UNSUBSCRIBE:
        return gv__on_unsubscribe(client, frame);
    case GV_MQTT_PINGREQ:
        return frame->body.size == 0 ? on_pingreq(client)
                                     : gv__client_refuse(client, GV_MQTT_MALFORMED_PACKET);
    case GV_MQTT_DISCONNECT:
        return gv__on_disconnect(client, frame);
    case GV_MQTT_AUTH:
        return gv__on_auth(client, frame);
    case GV_MQTT_CONNECT: /* a second one [MQTT-3.1.0-2] */
    case GV_MQTT_CONNACK:
    case GV_MQTT_SUBACK:
    case GV_MQTT_UNSUBACK:
    case GV_MQTT_PINGRESP:
        return gv__client_refuse(client, GV_MQTT_PROTOCOL_ERROR);
    }
    return gv__client_refuse(client, GV_MQTT_MALFORMED_PACKET);
}

static size_t packet_size_max(const gv_client_t *client)
{
    if (client->state == GV_CLIENT_CONNECTED) {
        return gv__client_terms(client)->packet_size_max;
    }
    return client->state == GV_CLIENT_AUTHENTICATES ? GV_AUTH_PACKET_SIZE_MAX
                                                    : client->shard->limits->connect_size_max;
}

/* Deliveries a shard makes in one turn before it looks after its other connections. */
#define WORK_PER_TURN 20000U

/*
 * Messages stop at output_bytes_max; above twice that it is our answers that it does not read, and
 * there is no other end to them than to ask for none.
 */
static bool has_too_much_output(const gv_client_t *client)
{
    return gv_outbuf_size(gv__client_out(client)) / 2 > client->shard->limits->output_bytes_max;
}

/* What is left is offered again in the next turn. */
static void go_on_later(gv_client_t *client)
{
    client->shard->ports.conn->pause(client->conn, true);
    client->shard->ports.conn->pause(client->conn, false);
}

static size_t work_through(gv_client_t *client, gv_bytes_t bytes)
{
    gv_shard_t *shard = client->shard;
    size_t used = 0;
    /* Who is to be ended does nothing more; its link is in shard->ending already. */
    while (client->paused == 0 && client->ending_reason == 0) {
        if (shard->work > WORK_PER_TURN) {
            go_on_later(client);
            return used;
        }
        gv_journal_breathe(shard->journal);
        if (gv_office_is_full(&shard->office) || gv_journal_is_full(shard->journal)) {
            gv__client_pause(client, GV_PAUSE_CREDIT);
            gv_list_append(&shard->waiting, &client->link);
            return used;
        }
        if (has_too_much_output(client)) {
            gv__client_pause(client, GV_PAUSE_OUTPUT);
            return used;
        }
        gv_mqtt_frame_t frame;
        gv_err_t err = gv_mqtt_frame(gv_bytes(bytes.data + used, bytes.size - used),
                                     packet_size_max(client), &frame);
        if (err == GV_ERR_AGAIN) {
            if (frame.size > 0) {
                shard->ports.conn->expect(client->conn, frame.size);
            }
            return used;
        }
        if (err != GV_OK) {
            (void)gv__client_refuse(client, err == GV_ERR_TOO_LARGE ? GV_MQTT_PACKET_TOO_LARGE
                                                                    : GV_MQTT_MALFORMED_PACKET);
            return bytes.size;
        }
        gv_step_t step = dispatch(client, &frame);
        if (step != GV_STEP_AGAIN && step != GV_STEP_MOVED) { /* else it comes again */
            gv_counter_add(&shard->stats.packets_received, 1);
        }
        switch (step) {
        case GV_STEP_NEXT:
            used += frame.size;
            if (gv__pace_is_limited(shard)) {
                gv__pace_charge(client, &frame);
            }
            break;
        case GV_STEP_AGAIN:
            return used;
        case GV_STEP_END:
            return bytes.size;
        case GV_STEP_MOVED:
            return used;
        }
    }
    return used;
}

size_t gv_client_input(gv_client_t *client, gv_bytes_t bytes)
{
    if (client->state == GV_CLIENT_CLOSING) {
        return bytes.size;
    }
    gv_shard_t *shard = client->shard;
    shard->now_ms = shard->ports.monotonic_ms(shard->ports.arg);
    client->last_input_ms = shard->now_ms;
    gv__relief_look(shard);
    shard->ports.read_begin(shard->ports.arg);
    size_t used = work_through(client, bytes);
    shard->ports.read_end(shard->ports.arg);
    gv__shard_end_clients(shard);
    return used;
}
