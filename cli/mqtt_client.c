/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/mqtt_client.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "cli/mqtt_client_p.h"

/*
 * A map of this file: the end - sending - keep-alive - the stream - opening - what callers ask for.
 * What comes in is in mqtt_client_packets.c.
 */

/* Above this we do not take more messages to send [bytes]. */
#define OUTPUT_MARK ((uint32_t)256 * 1024)

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
    client->state = GV__CLIENT_CLOSING;
    client->ops->on_closed(client, client->why, client->text);
    client_free(client);
}

void gv__mqtt_client_end(gv_mqtt_client_t *client, gv_close_mode_t mode, gv_err_t why,
                         const char *format, ...)
{
    if (client->state != GV__CLIENT_CLOSING) {
        va_list arguments;
        va_start(arguments, format);
        (void)vsnprintf(client->text, sizeof(client->text), format, arguments);
        va_end(arguments);
        client->why = why;
    }
    client->state = GV__CLIENT_CLOSING;
    gv_stream_close(&client->stream, mode);
}

static GV_LOOP_ONLY void send_disconnect(gv_mqtt_client_t *client, gv_mqtt_reason_t reason)
{
    const gv_mqtt_disconnect_t packet = {.reason = reason};
    uint8_t bytes[32];
    gv_writer_t w = gv_writer(bytes, sizeof(bytes));
    size_t size = gv_mqtt_encode_disconnect(&packet, &client->peer, &w);
    gv_stream_write(&client->stream, gv_bytes(bytes, size));
}

/* Tells a v5 server why, and closes. */
static GV_LOOP_ONLY void give_up(gv_mqtt_client_t *client, gv_err_t why, gv_mqtt_reason_t reason)
{
    if (client->state == GV__CLIENT_CONNECTED && client->peer.version >= GV_MQTT_V5) {
        send_disconnect(client, reason);
    }
    gv__mqtt_client_end(client, GV_CLOSE_FLUSH, why, "the server broke the protocol: %s",
                        gv_mqtt_reason_text((uint8_t)reason));
}

/* ---- sending packets ---------------------------------------------------------------------- */

void gv__mqtt_client_sent(gv_mqtt_client_t *client)
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
    gv__mqtt_client_sent(client);
    return GV_OK;
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
        gv__mqtt_client_end(client, GV_CLOSE_ABORT, GV_ERR_TIMEOUT,
                            "the server does not answer pings");
        return;
    }
    if (client->ping_ms == 0 && now_ms - client->sent_ms >= half_ms) {
        static const uint8_t ping[] = {GV_MQTT_PINGREQ << 4, 0};
        gv_stream_write(&client->stream, gv_bytes(ping, sizeof(ping)));
        client->ping_ms = now_ms;
        gv__mqtt_client_sent(client);
    }
    gv_loop_timer_start(client->loop, &client->timer, half_ms);
}

static void on_timer(gv_timer_t *timer)
{
    gv_mqtt_client_t *client = gv_container_of(timer, gv_mqtt_client_t, timer);
    gv_loop_assert_current(client->loop);
    if (client->state == GV__CLIENT_GREETING) {
        gv__mqtt_client_end(client, GV_CLOSE_ABORT, GV_ERR_TIMEOUT,
                            "the server did not answer CONNECT in time");
    } else if (client->state == GV__CLIENT_CONNECTED) {
        on_keep_alive(client);
    }
}

void gv__mqtt_client_become_ready(gv_mqtt_client_t *client)
{
    if (client->was_full && gv_mqtt_client_can_publish(client)) {
        client->was_full = false;
        if (client->ops->on_ready != NULL) {
            client->ops->on_ready(client);
        }
    }
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
    while (client->state != GV__CLIENT_CLOSING) {
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
            err = gv__mqtt_client_take(client, &frame, &reason);
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
    gv__mqtt_client_become_ready(client_of(stream));
}

static void on_stream_closed(gv_stream_t *stream, gv_err_t why)
{
    gv_mqtt_client_t *client = client_of(stream);
    gv_loop_assert_current(client->loop);
    if (client->state != GV__CLIENT_CLOSING) {
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
    client->state = GV__CLIENT_GREETING;
    gv_stream_write(&client->stream, gv_bytes(client->connect_packet, client->connect_size));
    gv_free(client->connect_packet);
    client->connect_packet = NULL;
    gv_loop_timer_start(client->loop, &client->timer, client->connect_timeout_ms);
    gv__mqtt_client_sent(client);
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
    return client->state == GV__CLIENT_CONNECTED && client->inflight < client->slot_count &&
           !gv_stream_is_above_mark(&client->stream);
}

/* A free packet id; there is one. */
static uint16_t take_slot(gv_mqtt_client_t *client, uint8_t qos)
{
    GV_ASSERT(client->inflight < client->slot_count);
    do {
        client->slot_next = client->slot_next < client->slot_count ? client->slot_next + 1 : 1;
    } while (client->slots[client->slot_next].state != GV__SLOT_FREE);
    client->slots[client->slot_next] = (gv__slot_t){.state = GV__SLOT_PUBLISHED, .qos = qos};
    client->inflight++;
    return client->slot_next;
}

gv_err_t gv_mqtt_client_publish(gv_mqtt_client_t *client, const gv_mqtt_publish_t *message,
                                uint16_t *packet_id_out)
{
    gv_loop_assert_current(client->loop);
    *packet_id_out = 0;
    if (client->state != GV__CLIENT_CONNECTED) {
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
        client->slots[packet.packet_id].state = GV__SLOT_FREE;
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
    if (client->state != GV__CLIENT_CONNECTED) {
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

bool gv_mqtt_client_is_closing(const gv_mqtt_client_t *client)
{
    gv_loop_assert_current(client->loop);
    return client->state == GV__CLIENT_CLOSING;
}

void gv_mqtt_client_close(gv_mqtt_client_t *client, gv_mqtt_reason_t reason)
{
    gv_loop_assert_current(client->loop);
    if (client->state == GV__CLIENT_CLOSING) {
        return;
    }
    if (client->is_delivering) {
        client->is_close_wanted = true;
        client->close_reason = reason;
        return;
    }
    if (client->state == GV__CLIENT_CONNECTING) {
        client->state = GV__CLIENT_CLOSING;
        gv_connect_cancel(&client->connecting);
        gv_loop_defer(client->loop, &client->end_job);
        return;
    }
    if (client->state == GV__CLIENT_CONNECTED) {
        send_disconnect(client, reason);
    }
    gv__mqtt_client_end(client, GV_CLOSE_FLUSH, GV_OK, "closed");
}
