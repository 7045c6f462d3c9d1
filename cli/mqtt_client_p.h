/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Inside of a client: its state, shared by what it sends (mqtt_client.c) and what comes in
 * (mqtt_client_packets.c).
 *
 *     CONNECTING --socket--> GREETING --CONNACK--> CONNECTED --close--> CLOSING --> (freed)
 *         '---------------------'--- any failure --------'-----------------^
 */

#include "base/io/connect.h"
#include "base/io/stream.h"
#include "cli/mqtt_client.h"

typedef enum gv__client_state {
    GV__CLIENT_CONNECTING,
    GV__CLIENT_GREETING,
    GV__CLIENT_CONNECTED,
    GV__CLIENT_CLOSING,
} gv__client_state_t;

/* Of an outgoing packet id. */
typedef enum gv__slot_state {
    GV__SLOT_FREE,
    GV__SLOT_PUBLISHED, /* QoS 1: waits for PUBACK; QoS 2: for PUBREC */
    GV__SLOT_RELEASED,  /* waits for PUBCOMP */
} gv__slot_state_t;

typedef struct gv__slot {
    uint8_t state;
    uint8_t qos;
} gv__slot_t;

struct gv_mqtt_client {
    gv_stream_t stream;
    gv_loop_t *loop;
    const gv_mqtt_client_ops_t *ops;
    void *arg;
    gv_connecting_t *connecting;
    gv_mqtt_peer_t peer;
    gv_timer_t timer;        /* until CONNACK: the time-out; then: the keep-alive */
    gv_job_t end_job;        /* when closed before there is a stream */
    gv__slot_t *slots;       /* of packet ids 1..slot_count */
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
    gv__client_state_t state;
    bool was_full;      /* on_ready is owed */
    bool is_delivering; /* inside on_message: what it closes is closed after the acknowledgement */
    bool is_close_wanted;
    gv_mqtt_reason_t close_reason;
    gv_err_t why;
    char text[192];
};

/* Begins to close; of several reasons the first counts. */
GV_LOOP_ONLY void gv__mqtt_client_end(gv_mqtt_client_t *client, gv_close_mode_t mode, gv_err_t why,
                                      const char *format, ...) GV_PRINTF(4, 5);

/* A packet is in the stream's buffer. */
GV_LOOP_ONLY void gv__mqtt_client_sent(gv_mqtt_client_t *client);

/* Calls on_ready if it is owed. */
GV_LOOP_ONLY void gv__mqtt_client_become_ready(gv_mqtt_client_t *client);

/*
 * Does what a packet from the server asks for.  GV_OK, or GV_ERR_MALFORMED or GV_ERR_PROTOCOL with
 * *reason: the connection cannot go on.
 */
GV_MUST_USE GV_LOOP_ONLY gv_err_t gv__mqtt_client_take(gv_mqtt_client_t *client,
                                                       const gv_mqtt_frame_t *frame,
                                                       gv_mqtt_reason_t *reason);
