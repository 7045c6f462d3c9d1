/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_mqtt_client: one MQTT connection seen from the client, for `pub`, `sub` and `bench`.
 *
 *     gv_mqtt_client_open()      connects and sends CONNECT
 *     on_connected               CONNACK with success; from here on:
 *       gv_mqtt_client_publish() / _subscribe() / _unsubscribe()
 *       on_message, on_acked, on_subscribed
 *     gv_mqtt_client_close()     DISCONNECT
 *     on_closed                  the end, exactly once, whoever wanted it; then the client is freed
 *
 * QoS 1 and 2 both ways: incoming messages are acknowledged when on_message has returned, and a
 * QoS 2 message is given to it once; outgoing ones are reported by on_acked when the last
 * acknowledgement is there.  Nothing is sent again after a reconnect: a client is one connection.
 *
 * Threads: the loop's.  Memory: about 500 bytes, and 8 KiB from the first QoS 2 message received
 * on.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/io/loop.h"
#include "proto/mqtt/packet.h"

typedef struct gv_mqtt_client gv_mqtt_client_t;

typedef struct gv_mqtt_client_ops {
    void (*on_connected)(gv_mqtt_client_t *client, const gv_mqtt_connack_t *connack);
    /* The views are valid during the call.  May be NULL. */
    void (*on_message)(gv_mqtt_client_t *client, const gv_mqtt_publish_t *message);
    /*
     * A message of ours is through, or was refused (reason >= 0x80).  For QoS 0, packet_id 0, it is
     * called when the message is in the connection's buffer.  May be NULL.
     */
    void (*on_acked)(gv_mqtt_client_t *client, uint16_t packet_id, gv_mqtt_reason_t reason);
    /* A SUBACK, or an UNSUBACK (`codes` may be empty then).  May be NULL. */
    void (*on_subscribed)(gv_mqtt_client_t *client, const gv_mqtt_suback_t *suback);
    /* gv_mqtt_client_can_publish() has become true again.  May be NULL. */
    void (*on_ready)(gv_mqtt_client_t *client);
    /*
     * GV_OK: closed by us.  GV_ERR_DENIED: refused by the server (CONNACK or DISCONNECT with an
     * error).  Others: as gv_connect() and gv_stream_t say, and GV_ERR_MALFORMED or
     * GV_ERR_PROTOCOL when the server does not speak MQTT well.  `text` is a sentence.
     */
    void (*on_closed)(gv_mqtt_client_t *client, gv_err_t why, const char *text);
} gv_mqtt_client_ops_t;

typedef struct gv_mqtt_client_options {
    const char *address; /* as gv_connect() takes it; used during the call only */
    /*
     * Copied, with what its views point to; props.appended too.  Will and properties are sent as
     * they are.
     */
    const gv_mqtt_connect_t *connect;
    uint32_t connect_timeout_ms; /* to CONNACK; 0: 10 000 */
    uint16_t inflight_max;       /* our QoS 1 and 2 messages on the way at a time; 0: 20 */
} gv_mqtt_client_options_t;

/*
 * GV_OK, or GV_ERR_INVAL when the address is none, GV_ERR_TOO_LARGE when a CONNECT like that cannot
 * be.  Callbacks come later.  `arg` is gv_mqtt_client_arg().
 */
GV_MUST_USE GV_LOOP_ONLY gv_err_t gv_mqtt_client_open(gv_loop_t *loop,
                                                      const gv_mqtt_client_options_t *options,
                                                      const gv_mqtt_client_ops_t *ops, void *arg,
                                                      gv_mqtt_client_t **client_out);

void *gv_mqtt_client_arg(const gv_mqtt_client_t *client);

/* Connected, a packet id is free, and the connection's buffer is not too full. */
GV_LOOP_ONLY bool gv_mqtt_client_can_publish(const gv_mqtt_client_t *client);

/* QoS 1 and 2 messages that are not through. */
uint32_t gv_mqtt_client_inflight(const gv_mqtt_client_t *client);

/*
 * Sends a message; message->packet_id is chosen here and given back (0 for QoS 0).
 *
 * GV_OK; GV_ERR_CLOSED; GV_ERR_LIMIT when no packet id is free; GV_ERR_TOO_LARGE when the server
 * said it does not take such a large packet; GV_ERR_NOMEM.
 */
GV_MUST_USE GV_LOOP_ONLY gv_err_t gv_mqtt_client_publish(gv_mqtt_client_t *client,
                                                         const gv_mqtt_publish_t *message,
                                                         uint16_t *packet_id_out);

/* GV_OK, GV_ERR_CLOSED or GV_ERR_TOO_LARGE.  The request's packet id is chosen here. */
GV_MUST_USE GV_LOOP_ONLY gv_err_t
gv_mqtt_client_subscribe(gv_mqtt_client_t *client, const gv_mqtt_subscribe_request_t *request);
GV_MUST_USE GV_LOOP_ONLY gv_err_t
gv_mqtt_client_unsubscribe(gv_mqtt_client_t *client, const gv_mqtt_subscribe_request_t *request);

/* The end has begun: nothing more is sent or taken, and on_closed is to come, or running. */
GV_LOOP_ONLY bool gv_mqtt_client_is_closing(const gv_mqtt_client_t *client);

/* Sends DISCONNECT (v5: with this reason) after what waits, and closes.  on_closed comes later. */
GV_LOOP_ONLY void gv_mqtt_client_close(gv_mqtt_client_t *client, gv_mqtt_reason_t reason);
