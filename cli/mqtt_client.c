/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/mqtt_client.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/io/connect.h"
#include "base/io/stream.h"

/*
 * A map of this file: the object - its end - sending packets - keep-alive - packets that come in -
 * the stream - opening - what callers ask for.
 *
 *     CONNECTING --socket--> GREETING --CONNACK--> CONNECTED --close--> CLOSING --> (freed)
 *         '---------------------'--- any failure --------'-----------------^
 */

/* Above this we do not take more messages to send [bytes]. */
#define OUTPUT_MARK ((uint32_t)256 * 1024)

#define QOS2_RECEIVED_SIZE ((size_t)65536 / 8)

typedef enum client_state {
    CLIENT_CONNECTING,
    CLIENT_GREETING,
    CLIENT_CONNECTED,
    CLIENT_CLOSING,
} client_state_t;

/* Of an outgoing packet id. */
typedef enum slot_state {
    SLOT_FREE,
    SLOT_PUBLISHED, /* QoS 1: waits for PUBACK; QoS 2: for PUBREC */
    SLOT_RELEASED,  /* waits for PUBCOMP */
} slot_state_t;

typedef struct slot {
    uint8_t state;
    uint8_t qos;
} slot_t;

struct gv_mqtt_client {
    gv_stream_t stream;
    gv_loop_t *loop;
    const gv_mqtt_client_ops_t *ops;
    void *arg;
    gv_connecting_t *connecting;
    gv_mqtt_peer_t peer;
    gv_timer_t timer;        /* until CONNACK: the time-out; then: the keep-alive */
    gv_job_t end_job;        /* when closed before there is a stream */
    slot_t *slots;           /* of packet ids 1..slot_count */
    uint8_t *qos2_received;  /* bitmap of packet ids; NULL before the first */
    uint8_t *connect_packet; /* until it is sent */
    size_t connect_size;
    uint32_t connect_timeout_ms;
    uint64_t sent_ms; /* when the last packet went out */
    uint64_t ping_ms; /* when a ping went out that nothing has followed; 0: none */
    uint64_t heard_bytes;
    uint32_t inflight;
    uint16_t slot_count;
    uint16_t slot_next;
    uint16_t keep_alive_s;
    uint16_t request_id; /* of SUBSCRIBE and UNSUBSCRIBE: above the slots */
    client_state_t state;
    bool was_full;      /* on_ready is owed */
    bool is_delivering; /* inside on_message: what it closes is closed after the acknowledgement */
    bool is_close_wanted;
    gv_mqtt_reason_t close_reason;
    gv_err_t why;
    char text[192];
};

/* ---- the end ------------------------------------------------------------------------------ */

static void client_free(gv_mqtt_client_t *client)
{
    gv_free(client->slots);
    gv_free(client->qos2_received);
    gv_free(client->connect_packet);
    gv_free(client);
}

static GV_LOOP_ONLY void report_end(gv_mqtt_client_t *client)
{
    gv_timer_stop(&client->timer);
    client->state = CLIENT_CLOSING;
    client->ops->on_closed(client, client->why, client->text);
    client_free(client);
}

/* The first reason counts. */
static GV_LOOP_ONLY GV_PRINTF(4, 5) void end(gv_mqtt_client_t *client, gv_close_mode_t mode,
                                             gv_err_t why, const char *format, ...)
{
    if (client->state != CLIENT_CLOSING) {
        va_list arguments;
        va_start(arguments, format);
        (void)vsnprintf(client->text, sizeof(client->text), format, arguments);
        va_end(arguments);
        client->why = why;
    }
    client->state = CLIENT_CLOSING;
    gv_stream_close(&client->stream, mode);
}

/* Tells a v5 server why, and closes. */
static GV_LOOP_ONLY void give_up(gv_mqtt_client_t *client, gv_err_t why, gv_mqtt_reason_t reason)
{
    if (client->state == CLIENT_CONNECTED && client->peer.version >= GV_MQTT_V5) {
        gv_mqtt_disconnect_t packet = {.reason = reason};
        uint8_t bytes[32];
        gv_writer_t w = gv_writer(bytes, sizeof(bytes));
        size_t size = gv_mqtt_encode_disconnect(&packet, &client->peer, &w);
        gv_stream_write(&client->stream, gv_bytes(bytes, size));
    }
    end(client, GV_CLOSE_FLUSH, why, "the server broke the protocol: %s",
        gv_mqtt_reason_text((uint8_t)reason));
}

/* ---- sending packets ---------------------------------------------------------------------- */

static GV_LOOP_ONLY void sent(gv_mqtt_client_t *client)
{
    client->sent_ms = gv_loop_now_ms(client->loop);
    gv_stream_dirty(&client->stream);
}

/* Where a packet of `size` can be written, for send_end(); NULL without memory. */
static GV_LOOP_ONLY gv_writer_t send_begin(gv_mqtt_client_t *client, size_t size, uint8_t **large)
{
    *large = NULL;
    if (size <= GV_CHUNK_LARGE) {
        return gv_writer(
            gv_outbuf_reserve(&client->stream.out, gv_loop_chunkpool(client->loop), size), size);
    }
    *large = gv_try_alloc(size);
    return gv_writer(*large, *large != NULL ? size : 0);
}

static GV_LOOP_ONLY gv_err_t send_end(gv_mqtt_client_t *client, gv_writer_t *w, size_t size,
                                      uint8_t *large)
{
    gv_chunkpool_t *pool = gv_loop_chunkpool(client->loop);
    if (w->failed) {
        gv_free(large);
        return GV_ERR_NOMEM;
    }
    if (large != NULL) {
        gv_outbuf_append(&client->stream.out, pool, gv_bytes(large, size));
        gv_free(large);
    } else {
        gv_outbuf_commit(&client->stream.out, size);
    }
    sent(client);
    return GV_OK;
}

static GV_LOOP_ONLY void send_ack(gv_mqtt_client_t *client, gv_mqtt_type_t type, uint16_t packet_id,
                                  gv_mqtt_reason_t reason)
{
    const gv_mqtt_ack_t ack = {.packet_id = packet_id, .reason = reason};
    uint8_t bytes[16];
    gv_writer_t w = gv_writer(bytes, sizeof(bytes));
    size_t size = gv_mqtt_encode_ack(type, &ack, &client->peer, &w);
    gv_stream_write(&client->stream, gv_bytes(bytes, size));
    sent(client);
}

/* ---- keep-alive --------------------------------------------------------------------------- */

/*
 * Every half keep-alive time: a ping when nothing was sent for that long, so that the server always
 * hears of us in time; and the end when nothing has come since a ping for the whole time.
 */
static GV_LOOP_ONLY void on_keep_alive(gv_mqtt_client_t *client)
{
    uint64_t half_ms = (uint64_t)client->keep_alive_s * 500;
    uint64_t now_ms = gv_loop_now_ms(client->loop);
    if (gv_stream_bytes_in(&client->stream) != client->heard_bytes) {
        client->heard_bytes = gv_stream_bytes_in(&client->stream);
        client->ping_ms = 0;
    }
    if (client->ping_ms != 0 && now_ms - client->ping_ms >= 2 * half_ms) {
        end(client, GV_CLOSE_ABORT, GV_ERR_TIMEOUT, "the server does not answer pings");
        return;
    }
    if (client->ping_ms == 0 && now_ms - client->sent_ms >= half_ms) {
        static const uint8_t ping[] = {GV_MQTT_PINGREQ << 4, 0};
        gv_stream_write(&client->stream, gv_bytes(ping, sizeof(ping)));
        client->ping_ms = now_ms;
        sent(client);
    }
    gv_loop_timer_start(client->loop, &client->timer, half_ms);
}

static void on_timer(gv_timer_t *timer)
{
    gv_mqtt_client_t *client = gv_container_of(timer, gv_mqtt_client_t, timer);
    gv_loop_assert_current(client->loop);
    if (client->state == CLIENT_GREETING) {
        end(client, GV_CLOSE_ABORT, GV_ERR_TIMEOUT, "the server did not answer CONNECT in time");
    } else if (client->state == CLIENT_CONNECTED) {
        on_keep_alive(client);
    }
}

/* ---- packets that come in ----------------------------------------------------------------- */

static GV_LOOP_ONLY void become_ready(gv_mqtt_client_t *client)
{
    if (client->was_full && gv_mqtt_client_can_publish(client)) {
        client->was_full = false;
        if (client->ops->on_ready != NULL) {
            client->ops->on_ready(client);
        }
    }
}

/* What the server said about itself. */
static GV_LOOP_ONLY void take_limits(gv_mqtt_client_t *client, const gv_mqtt_props_t *props)
{
    if (gv_mqtt_props_has(props, GV_MQTT_PROP_RECEIVE_MAXIMUM) &&
        props->receive_maximum < client->slot_count) {
        client->slot_count = props->receive_maximum;
    }
    if (gv_mqtt_props_has(props, GV_MQTT_PROP_MAXIMUM_PACKET_SIZE)) {
        client->peer.packet_size_max = props->maximum_packet_size;
    }
    if (gv_mqtt_props_has(props, GV_MQTT_PROP_SERVER_KEEP_ALIVE)) {
        client->keep_alive_s = props->server_keep_alive_s;
    }
}

static GV_LOOP_ONLY gv_err_t take_connack(gv_mqtt_client_t *client, const gv_mqtt_frame_t *frame,
                                          gv_mqtt_reason_t *reason)
{
    gv_mqtt_connack_t connack;
    gv_err_t err = gv_mqtt_decode_connack(frame, &client->peer, &connack, reason);
    if (err != GV_OK) {
        return err;
    }
    gv_timer_stop(&client->timer);
    if (connack.reason != GV_MQTT_SUCCESS) {
        end(client, GV_CLOSE_FLUSH, GV_ERR_DENIED, "the server refused the connection: %s",
            gv_mqtt_reason_text((uint8_t)connack.reason));
        return GV_OK;
    }
    client->state = CLIENT_CONNECTED;
    take_limits(client, &connack.props);
    if (client->keep_alive_s > 0) {
        gv_loop_timer_start(client->loop, &client->timer, (uint64_t)client->keep_alive_s * 500);
    }
    client->ops->on_connected(client, &connack);
    return GV_OK;
}

/* True when a QoS 2 message with this packet id has been given to on_message already. */
static bool seen_qos2(gv_mqtt_client_t *client, uint16_t packet_id)
{
    if (client->qos2_received == NULL) {
        client->qos2_received = gv_xcalloc(1, QOS2_RECEIVED_SIZE);
    }
    uint8_t bit = (uint8_t)(1U << (packet_id % 8));
    bool seen = (client->qos2_received[packet_id / 8] & bit) != 0;
    client->qos2_received[packet_id / 8] |= bit;
    return seen;
}

static void forget_qos2(gv_mqtt_client_t *client, uint16_t packet_id)
{
    if (client->qos2_received != NULL) {
        client->qos2_received[packet_id / 8] &= (uint8_t) ~(1U << (packet_id % 8));
    }
}

static GV_LOOP_ONLY gv_err_t take_publish(gv_mqtt_client_t *client, const gv_mqtt_frame_t *frame,
                                          gv_mqtt_reason_t *reason)
{
    gv_mqtt_publish_t message;
    gv_err_t err = gv_mqtt_decode_publish(frame, &client->peer, &message, reason);
    if (err != GV_OK) {
        return err;
    }
    /* We allow no topic aliases, so a topic is always there. */
    if (gv_mqtt_props_has(&message.props, GV_MQTT_PROP_TOPIC_ALIAS)) {
        *reason = GV_MQTT_TOPIC_ALIAS_INVALID;
        return GV_ERR_PROTOCOL;
    }
    bool is_new = message.qos < 2 || !seen_qos2(client, message.packet_id);
    client->is_delivering = true;
    if (is_new && client->ops->on_message != NULL) {
        client->ops->on_message(client, &message);
    }
    client->is_delivering = false;
    if (message.qos > 0) {
        send_ack(client, message.qos == 1 ? GV_MQTT_PUBACK : GV_MQTT_PUBREC, message.packet_id,
                 GV_MQTT_SUCCESS);
    }
    if (client->is_close_wanted) {
        gv_mqtt_client_close(client, client->close_reason);
    }
    return GV_OK;
}

static GV_LOOP_ONLY void finish(gv_mqtt_client_t *client, uint16_t packet_id,
                                gv_mqtt_reason_t reason)
{
    client->slots[packet_id].state = SLOT_FREE;
    client->inflight--;
    if (client->ops->on_acked != NULL) {
        client->ops->on_acked(client, packet_id, reason);
    }
    become_ready(client);
}

/* PUBACK, PUBREC, PUBCOMP of a message of ours; one we do not know is answered, not punished. */
static GV_LOOP_ONLY void take_ack_of_ours(gv_mqtt_client_t *client, gv_mqtt_type_t type,
                                          const gv_mqtt_ack_t *ack)
{
    bool known = ack->packet_id <= client->slot_count;
    const slot_t slot = known ? client->slots[ack->packet_id] : (slot_t){.state = SLOT_FREE};
    bool is_error = ack->reason >= GV_MQTT_UNSPECIFIED_ERROR;
    if (type == GV_MQTT_PUBREC && !is_error) {
        bool expected = slot.state != SLOT_FREE && slot.qos == 2;
        if (expected) {
            client->slots[ack->packet_id].state = SLOT_RELEASED;
        }
        send_ack(client, GV_MQTT_PUBREL, ack->packet_id,
                 expected ? GV_MQTT_SUCCESS : GV_MQTT_PACKET_ID_NOT_FOUND);
        return;
    }
    uint8_t state = type == GV_MQTT_PUBCOMP ? SLOT_RELEASED : SLOT_PUBLISHED;
    uint8_t qos = type == GV_MQTT_PUBACK ? 1 : 2;
    if (slot.state == state && slot.qos == qos) {
        finish(client, ack->packet_id, ack->reason);
    }
}

static GV_LOOP_ONLY gv_err_t take_ack(gv_mqtt_client_t *client, const gv_mqtt_frame_t *frame,
                                      gv_mqtt_reason_t *reason)
{
    gv_mqtt_ack_t ack;
    gv_err_t err = gv_mqtt_decode_ack(frame, &client->peer, &ack, reason);
    if (err != GV_OK) {
        return err;
    }
    if (frame->type == GV_MQTT_PUBREL) {
        forget_qos2(client, ack.packet_id);
        send_ack(client, GV_MQTT_PUBCOMP, ack.packet_id, GV_MQTT_SUCCESS);
    } else {
        take_ack_of_ours(client, frame->type, &ack);
    }
    return GV_OK;
}

static GV_LOOP_ONLY gv_err_t take_suback(gv_mqtt_client_t *client, const gv_mqtt_frame_t *frame,
                                         gv_mqtt_reason_t *reason)
{
    gv_mqtt_suback_t suback;
    gv_err_t err = frame->type == GV_MQTT_SUBACK
                       ? gv_mqtt_decode_suback(frame, &client->peer, &suback, reason)
                       : gv_mqtt_decode_unsuback(frame, &client->peer, &suback, reason);
    if (err == GV_OK && client->ops->on_subscribed != NULL) {
        client->ops->on_subscribed(client, &suback);
    }
    return err;
}

static GV_LOOP_ONLY gv_err_t take_disconnect(gv_mqtt_client_t *client, const gv_mqtt_frame_t *frame,
                                             gv_mqtt_reason_t *reason)
{
    gv_mqtt_disconnect_t disconnect;
    gv_err_t err = gv_mqtt_decode_disconnect(frame, &client->peer, &disconnect, reason);
    if (err == GV_OK) {
        char said[128] = "";
        if (gv_mqtt_props_has(&disconnect.props, GV_MQTT_PROP_REASON_STRING)) {
            (void)gv_bytes_printable(disconnect.props.reason_string, said, sizeof(said));
        }
        end(client, GV_CLOSE_FLUSH, GV_ERR_DENIED, "the server closed the connection: %s%s%s",
            gv_mqtt_reason_text((uint8_t)disconnect.reason), said[0] != '\0' ? ", " : "", said);
    }
    return err;
}

static GV_LOOP_ONLY gv_err_t take_packet(gv_mqtt_client_t *client, const gv_mqtt_frame_t *frame,
                                         gv_mqtt_reason_t *reason)
{
    if ((client->state == CLIENT_GREETING) != (frame->type == GV_MQTT_CONNACK)) {
        *reason = GV_MQTT_PROTOCOL_ERROR;
        return GV_ERR_PROTOCOL;
    }
    switch (frame->type) {
    case GV_MQTT_CONNACK:
        return take_connack(client, frame, reason);
    case GV_MQTT_PUBLISH:
        return take_publish(client, frame, reason);
    case GV_MQTT_PUBACK:
    case GV_MQTT_PUBREC:
    case GV_MQTT_PUBREL:
    case GV_MQTT_PUBCOMP:
        return take_ack(client, frame, reason);
    case GV_MQTT_SUBACK:
    case GV_MQTT_UNSUBACK:
        return take_suback(client, frame, reason);
    case GV_MQTT_PINGRESP:
        return gv_mqtt_decode_ping(frame, reason);
    case GV_MQTT_DISCONNECT:
        return take_disconnect(client, frame, reason);
    case GV_MQTT_CONNECT:
    case GV_MQTT_SUBSCRIBE:
    case GV_MQTT_UNSUBSCRIBE:
    case GV_MQTT_PINGREQ:
    case GV_MQTT_AUTH:
        break;
    }
    *reason = GV_MQTT_PROTOCOL_ERROR;
    return GV_ERR_PROTOCOL;
}

/* ---- the stream --------------------------------------------------------------------------- */

static gv_mqtt_client_t *client_of(gv_stream_t *stream)
{
    return gv_container_of(stream, gv_mqtt_client_t, stream);
}

static size_t on_input(gv_stream_t *stream, gv_bytes_t bytes)
{
    gv_loop_assert_current(gv_stream_loop(stream));
    gv_mqtt_client_t *client = client_of(stream);
    size_t used = 0;
    while (client->state != CLIENT_CLOSING) {
        gv_mqtt_frame_t frame;
        gv_bytes_t rest = gv_bytes(bytes.data + used, bytes.size - used);
        gv_mqtt_reason_t reason = GV_MQTT_MALFORMED_PACKET;
        gv_err_t err = gv_mqtt_frame(rest, GV_MQTT_PACKET_SIZE_MAX, &frame);
        if (err == GV_ERR_AGAIN) {
            if (frame.size > 0) {
                gv_stream_expect(stream, (uint32_t)frame.size);
            }
            return used;
        }
        if (err == GV_OK) {
            used += frame.size;
            err = take_packet(client, &frame, &reason);
        }
        if (err != GV_OK) {
            give_up(client, err, reason);
        }
    }
    return bytes.size; /* nobody is interested any more */
}

static void on_drained(gv_stream_t *stream)
{
    gv_loop_assert_current(gv_stream_loop(stream));
    become_ready(client_of(stream));
}

static void on_stream_closed(gv_stream_t *stream, gv_err_t why)
{
    gv_mqtt_client_t *client = client_of(stream);
    gv_loop_assert_current(client->loop);
    if (client->state != CLIENT_CLOSING) {
        client->why = why;
        (void)snprintf(client->text, sizeof(client->text), "%s",
                       why == GV_ERR_CLOSED ? "the server closed the connection"
                                            : gv_err_text(why));
    } else if (client->why == GV_OK && why != GV_OK) {
        client->why = why;
        (void)snprintf(client->text, sizeof(client->text),
                       "the server closed the connection before everything was sent");
    }
    report_end(client);
}

static const gv_stream_ops_t stream_ops = {
    .on_input = on_input, .on_drained = on_drained, .on_closed = on_stream_closed};

/* ---- opening ------------------------------------------------------------------------------ */

static void on_socket(gv_err_t err, gv_socket_t *socket, const char *reason, void *arg)
{
    gv_mqtt_client_t *client = arg;
    gv_loop_assert_current(client->loop);
    client->connecting = NULL;
    const gv_stream_options_t options = {.input_max = GV_MQTT_PACKET_SIZE_MAX,
                                         .drain_mark = OUTPUT_MARK};
    if (err == GV_OK) {
        err = gv_stream_open(&client->stream, client->loop, &stream_ops, &options, socket);
        reason = gv_err_text(err);
        if (err != GV_OK) {
            gv_socket_close(socket);
        }
    }
    if (err != GV_OK) {
        client->why = err;
        (void)snprintf(client->text, sizeof(client->text), "%s", reason);
        report_end(client);
        return;
    }
    client->state = CLIENT_GREETING;
    gv_stream_write(&client->stream, gv_bytes(client->connect_packet, client->connect_size));
    gv_free(client->connect_packet);
    client->connect_packet = NULL;
    gv_loop_timer_start(client->loop, &client->timer, client->connect_timeout_ms);
    sent(client);
}

static void on_end_job(gv_job_t *job)
{
    gv_mqtt_client_t *client = gv_container_of(job, gv_mqtt_client_t, end_job);
    gv_loop_assert_current(client->loop);
    report_end(client);
}

gv_err_t gv_mqtt_client_open(gv_loop_t *loop, const gv_mqtt_client_options_t *options,
                             const gv_mqtt_client_ops_t *ops, void *arg,
                             gv_mqtt_client_t **client_out)
{
    gv_loop_assert_current(loop);
    GV_ASSERT(options->connect != NULL);
    GV_ASSERT(ops->on_connected != NULL);
    GV_ASSERT(ops->on_closed != NULL);
    *client_out = NULL;

    size_t size = gv_mqtt_encode_connect(options->connect, NULL);
    if (size == 0) {
        return GV_ERR_TOO_LARGE;
    }
    gv_mqtt_client_t *client = GV_NEW(gv_mqtt_client_t);
    client->loop = loop;
    client->ops = ops;
    client->arg = arg;
    client->peer = (gv_mqtt_peer_t){.version = options->connect->version, .is_server = true};
    client->keep_alive_s = options->connect->keep_alive_s;
    client->slot_count = options->inflight_max != 0 ? options->inflight_max : 20;
    client->slots = gv_xcalloc((size_t)client->slot_count + 1, sizeof(*client->slots));
    client->connect_packet = gv_xalloc(size);
    client->connect_size = size;
    gv_writer_t w = gv_writer(client->connect_packet, size);
    (void)gv_mqtt_encode_connect(options->connect, &w);
    GV_ASSERT(!w.failed);
    gv_timer_init(&client->timer, on_timer);

    client->end_job.run = on_end_job;
    client->connect_timeout_ms =
        options->connect_timeout_ms != 0 ? options->connect_timeout_ms : 10000;
    const gv_connect_options_t connect_options = {.timeout_ms = client->connect_timeout_ms};
    gv_err_t err = gv_connect(loop, options->address, &connect_options, on_socket, client,
                              &client->connecting);
    if (err != GV_OK) {
        client_free(client);
        return err;
    }
    *client_out = client;
    return GV_OK;
}

/* ---- what callers ask for ----------------------------------------------------------------- */

void *gv_mqtt_client_arg(const gv_mqtt_client_t *client)
{
    return client->arg;
}

uint32_t gv_mqtt_client_inflight(const gv_mqtt_client_t *client)
{
    return client->inflight;
}

bool gv_mqtt_client_can_publish(const gv_mqtt_client_t *client)
{
    return client->state == CLIENT_CONNECTED && client->inflight < client->slot_count &&
           !gv_stream_is_above_mark(&client->stream);
}

/* A free packet id; there is one. */
static uint16_t take_slot(gv_mqtt_client_t *client, uint8_t qos)
{
    GV_ASSERT(client->inflight < client->slot_count);
    do {
        client->slot_next = client->slot_next < client->slot_count ? client->slot_next + 1 : 1;
    } while (client->slots[client->slot_next].state != SLOT_FREE);
    client->slots[client->slot_next] = (slot_t){.state = SLOT_PUBLISHED, .qos = qos};
    client->inflight++;
    return client->slot_next;
}

gv_err_t gv_mqtt_client_publish(gv_mqtt_client_t *client, const gv_mqtt_publish_t *message,
                                uint16_t *packet_id_out)
{
    gv_loop_assert_current(client->loop);
    *packet_id_out = 0;
    if (client->state != CLIENT_CONNECTED) {
        return GV_ERR_CLOSED;
    }
    if (message->qos > 0 && client->inflight >= client->slot_count) {
        client->was_full = true;
        return GV_ERR_LIMIT;
    }
    gv_mqtt_publish_t packet = *message;
    packet.packet_id = 1; /* any: the size does not depend on it */
    size_t size = gv_mqtt_encode_publish(&packet, &client->peer, NULL);
    if (size == 0) {
        return GV_ERR_TOO_LARGE;
    }
    packet.packet_id = message->qos > 0 ? take_slot(client, message->qos) : 0;
    uint8_t *large;
    gv_writer_t w = send_begin(client, size, &large);
    (void)gv_mqtt_encode_publish(&packet, &client->peer, &w);
    gv_err_t err = send_end(client, &w, size, large);
    if (err != GV_OK && packet.packet_id != 0) {
        client->slots[packet.packet_id].state = SLOT_FREE;
        client->inflight--;
        return err;
    }
    *packet_id_out = packet.packet_id;
    client->was_full = !gv_mqtt_client_can_publish(client);
    if (err == GV_OK && message->qos == 0 && client->ops->on_acked != NULL) {
        client->ops->on_acked(client, 0, GV_MQTT_SUCCESS);
    }
    return err;
}

/* SUBSCRIBE and UNSUBSCRIBE share the packet ids with messages; theirs are above the slots. */
static uint16_t next_request_id(gv_mqtt_client_t *client)
{
    uint32_t above = (uint32_t)client->slot_count + 1;
    if (client->request_id < above || client->request_id == UINT16_MAX) {
        client->request_id = (uint16_t)(above <= UINT16_MAX ? above : UINT16_MAX);
    } else {
        client->request_id++;
    }
    return client->request_id;
}

typedef size_t encode_request_t(const gv_mqtt_subscribe_request_t *request,
                                const gv_mqtt_peer_t *peer, gv_writer_t *w);

static GV_LOOP_ONLY gv_err_t send_request(gv_mqtt_client_t *client,
                                          const gv_mqtt_subscribe_request_t *request,
                                          encode_request_t *encode)
{
    if (client->state != CLIENT_CONNECTED) {
        return GV_ERR_CLOSED;
    }
    gv_mqtt_subscribe_request_t packet = *request;
    packet.packet_id = next_request_id(client);
    size_t size = encode(&packet, &client->peer, NULL);
    if (size == 0) {
        return GV_ERR_TOO_LARGE;
    }
    uint8_t *large;
    gv_writer_t w = send_begin(client, size, &large);
    (void)encode(&packet, &client->peer, &w);
    return send_end(client, &w, size, large);
}

gv_err_t gv_mqtt_client_subscribe(gv_mqtt_client_t *client,
                                  const gv_mqtt_subscribe_request_t *request)
{
    gv_loop_assert_current(client->loop);
    return send_request(client, request, gv_mqtt_encode_subscribe);
}

gv_err_t gv_mqtt_client_unsubscribe(gv_mqtt_client_t *client,
                                    const gv_mqtt_subscribe_request_t *request)
{
    gv_loop_assert_current(client->loop);
    return send_request(client, request, gv_mqtt_encode_unsubscribe);
}

void gv_mqtt_client_close(gv_mqtt_client_t *client, gv_mqtt_reason_t reason)
{
    gv_loop_assert_current(client->loop);
    if (client->state == CLIENT_CLOSING) {
        return;
    }
    if (client->is_delivering) {
        client->is_close_wanted = true;
        client->close_reason = reason;
        return;
    }
    if (client->state == CLIENT_CONNECTING) {
        client->state = CLIENT_CLOSING;
        gv_connect_cancel(&client->connecting);
        gv_loop_defer(client->loop, &client->end_job);
        return;
    }
    if (client->state == CLIENT_CONNECTED) {
        const gv_mqtt_disconnect_t packet = {.reason = reason};
        uint8_t bytes[32];
        gv_writer_t w = gv_writer(bytes, sizeof(bytes));
        size_t size = gv_mqtt_encode_disconnect(&packet, &client->peer, &w);
        gv_stream_write(&client->stream, gv_bytes(bytes, size));
    }
    end(client, GV_CLOSE_FLUSH, GV_OK, "closed");
}
