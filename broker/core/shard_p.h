/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the files of broker/core share about a shard and a client; nobody else includes this. */

#include "base/rng.h"
#include "broker/core/client.h"
#include "broker/core/fanout.h"
#include "broker/core/office.h"
#include "broker/core/replay.h"
#include "broker/core/retained.h"
#include "broker/core/session.h"
#include "broker/core/shard.h"
#include "proto/mqtt/packet.h"

/* ---- acknowledgements that wait -------------------------------------------------------------- */

/* One received QoS > 0 publish; answered when nothing is missing, in the order received. */
typedef struct gv_ack {
    uint16_t packet_id;
    uint16_t missing; /* confirmations still to come */
    uint8_t type;     /* GV_MQTT_PUBACK or GV_MQTT_PUBREC */
    uint8_t reason;
} gv_ack_t;

typedef struct gv_ack_fifo {
    uint32_t head; /* number of the oldest */
    uint32_t tail;
    uint32_t capacity; /* power of two */
    gv_ack_t ring[];
} gv_ack_fifo_t;

/* ---- client ---------------------------------------------------------------------------------- */

typedef enum gv_client_state {
    GV_CLIENT_WAITS_FOR_CONNECT,
    GV_CLIENT_CONNECTED,
    GV_CLIENT_CLOSING, /* nothing more is read or written */
} gv_client_state_t;

/* Why input is not read at the moment. */
enum {
    GV_PAUSE_CONGESTION = 1, /* a subscriber of what it publishes is behind */
    GV_PAUSE_CREDIT = 2,     /* other threads are behind */
    GV_PAUSE_ACKS = 4,       /* as many publishes unacknowledged as we take */
    GV_PAUSE_SUBSCRIBE = 8,  /* a SUBSCRIBE is on its way to the router; PUBLISH waits for it */
};

struct gv_client {
    gv_conn_t *conn;
    gv_shard_t *shard;
    gv_session_t *session; /* NULL unless connected */
    gv_timer_t timer;      /* CONNECT must come; then keep alive */
    gv_mqtt_peer_t peer;
    uint8_t ending_reason; /* while in shard->ending */
    uint64_t last_input_ms;
    gv_ack_fifo_t *acks;   /* NULL until one has to wait */
    gv_msgbuf_t **aliases; /* topics by alias - 1, or NULL */
    gv_link_t link;        /* in shard->waiting while paused for credit, or in shard->ending */
    uint32_t index;        /* in shard->clients */
    uint16_t subscribes_waiting; /* SUBSCRIBEs the hub has not answered */
    uint16_t alias_count;
    uint16_t keep_alive_s;
    uint16_t inflight_max; /* QoS > 0 messages it takes at a time */
    uint16_t receiving;    /* QoS > 0 publishes without their PUBACK or PUBCOMP */
    uint8_t state;         /* gv_client_state_t */
    uint8_t paused;        /* GV_PAUSE_... */
};

_Static_assert(sizeof(struct gv_client) <= 136, "every idle connection pays for this");

static inline gv_outbuf_t *gv__client_out(const gv_client_t *client)
{
    return client->conn->out;
}

/* ---- shard ----------------------------------------------------------------------------------- */

/* A publisher that pauses; all pause equally long, so the first is the first to go on. */
typedef struct gv_rest {
    gv_ticket_t client;
    uint64_t until_ms;
} gv_rest_t;

typedef struct gv_resting {
    gv_rest_t *ring;
    uint32_t head;
    uint32_t count;
    uint32_t capacity; /* power of two */
    gv_timer_t timer;
} gv_resting_t;

typedef struct gv_client_slot {
    gv_client_t *client; /* NULL while free */
    uint32_t generation;
    uint32_t next_free;
} gv_client_slot_t;

struct gv_shard {
    const gv_limits_t *limits;
    const gv_router_t *router;
    const _Atomic uint64_t *nodes_alive;
    gv_timerwheel_t *wheel;
    gv_chunkpool_t *pool;
    uint64_t now_ms;
    uint32_t work; /* deliveries since the last turn's end */
    gv_matches_t matches;
    uint32_t *slots; /* scratch: this shard's part of the matches */
    size_t slot_capacity;
    gv_fanout_t fanout;
    gv_office_t office;
    gv_subscriptions_t subscriptions;
    gv_map_t sessions;
    gv_retained_t retained;
    gv_replays_t replays;
    gv_rng_t rng;
    gv_client_slot_t *clients;
    uint32_t client_count; /* slots ever used */
    uint32_t client_capacity;
    uint32_t client_free; /* first free slot + 1, or 0 */
    gv_list_t waiting;    /* clients paused for credit */
    gv_resting_t resting; /* publishers that pause because a subscriber is behind */
    gv_list_t ending;     /* clients to end when this turn's deliveries are done */
    uint64_t next_uid;
    uint64_t hash_seed;
    uint32_t routes_out; /* route entries the hub has not answered yet */
    uint16_t index;
    uint16_t count;
    bool is_draining;
    gv_ports_t ports;
    gv_shard_stats_t stats;
};

/* Desks of a shard's office: one per shard (its own stays empty), then these. */
static inline uint16_t gv__desk_forward(const gv_shard_t *shard)
{
    return shard->count;
}
static inline uint16_t gv__desk_routes(const gv_shard_t *shard)
{
    return (uint16_t)(shard->count + 1);
}

/* ---- client.c -------------------------------------------------------------------------------- */

/* The client of a ticket, or NULL if it has gone. */
gv_client_t *gv__client_of(gv_shard_t *shard, const gv_ticket_t *ticket);
gv_ticket_t gv__client_ticket(const gv_client_t *client, uint32_t number);

/* Takes note that bytes wait for the connection. */
static inline void gv__client_output(gv_client_t *client)
{
    if (!client->conn->has_output) {
        client->conn->has_output = true;
        client->shard->ports.conn->output(client->conn);
    }
}

/*
 * Ends the connection from our side: tells a v5 client why (nothing for GV_MQTT_SUCCESS), detaches
 * the session, with or without its will.
 */
void gv__client_end(gv_client_t *client, gv_mqtt_reason_t reason, bool publish_will);

/* The same, at the end of the turn: for use while subscriptions are being walked. */
void gv__client_end_later(gv_client_t *client, gv_mqtt_reason_t reason);

void gv__client_pause(gv_client_t *client, uint8_t why);
void gv__client_resume(gv_client_t *client, uint8_t why);

void gv__resting_init(gv_shard_t *shard);
void gv__resting_deinit(gv_shard_t *shard);

/* Slows a publisher whose messages cause more output than is taken. */
void gv__client_congested(gv_client_t *client);

/* Frees a client that has no session and whose connection goes elsewhere. */
void gv__client_forget(gv_client_t *client);

/* (Re)starts the timer that watches the keep alive. */
void gv__client_watch(gv_client_t *client);

/* PUBACK, PUBREC, PUBREL or PUBCOMP with a reason. */
void gv__client_send_ack(gv_client_t *client, gv_mqtt_type_t type, uint16_t packet_id,
                         gv_mqtt_reason_t reason);

/* Ends those that gv__client_end_later() has named. */
void gv__shard_end_clients(gv_shard_t *shard);

/* Contiguous room in the output, at most 16 KiB; then how much of it is used. */
uint8_t *gv__client_reserve(gv_client_t *client, size_t size);
void gv__client_commit(gv_client_t *client, size_t size);

/* ---- packets, one family a file -------------------------------------------------------------- */

typedef enum gv_step {
    GV_STEP_NEXT,  /* go on with the next packet */
    GV_STEP_AGAIN, /* not now: offer this packet again later */
    GV_STEP_END,   /* the connection has ended */
    GV_STEP_MOVED, /* the connection has moved; the client is freed */
} gv_step_t;

gv_step_t gv__on_connect(gv_client_t *client, const gv_mqtt_frame_t *frame);
gv_step_t gv__on_publish(gv_client_t *client, const gv_mqtt_frame_t *frame);
gv_step_t gv__on_ack(gv_client_t *client, const gv_mqtt_frame_t *frame);
gv_step_t gv__on_subscribe(gv_client_t *client, const gv_mqtt_frame_t *frame);
gv_step_t gv__on_unsubscribe(gv_client_t *client, const gv_mqtt_frame_t *frame);
gv_step_t gv__on_disconnect(gv_client_t *client, const gv_mqtt_frame_t *frame);

/* Ends the connection because of a decoding error; always GV_STEP_END. */
gv_step_t gv__client_refuse(gv_client_t *client, gv_mqtt_reason_t reason);

/* A SUBSCRIBE's routes are in force: sends SUBACK. */
void gv__subscribe_done(gv_shard_t *shard, gv_entry_t *entry);

/* ---- acknowledgements (ack_fifo.c) ----------------------------------------------------------- */

/* The number the next publish that is pushed gets. */
uint32_t gv__acks_next(const gv_client_t *client);
/* Notes a received publish, or answers it at once. */
void gv__acks_push(gv_client_t *client, gv_ack_t ack);
/* One confirmation has come; sends what can be sent. */
void gv__acks_confirm(gv_client_t *client, uint32_t number, gv_mqtt_reason_t reason);
uint32_t gv__acks_waiting(const gv_client_t *client);
/* A publish of the client is over: it may send another [MQTT-3.3.4-7]. */
void gv__received_done(gv_client_t *client);

/* ---- routing (route.c) ----------------------------------------------------------------------- */

typedef struct gv_routed {
    uint16_t missing;  /* confirmations that will come for the ticket */
    bool has_matched;  /* somebody had a matching subscription */
    bool is_congested; /* a subscriber here is behind */
    bool has_failed;   /* it went nowhere, for want of memory */
} gv_routed_t;

/*
 * Sends a message to all who want it, and drops the view's reference.  `ticket` names the publisher
 * (NULL: nobody, as for a will): it is told of congestion, and with wants_confirm it gets as many
 * confirmations as the result says are missing.
 */
gv_routed_t gv__route(gv_shard_t *shard, gv_publish_t *publish, const gv_ticket_t *ticket,
                      bool wants_confirm);

/* A message from another thread for filters of this shard. */
void gv__take_slots(gv_shard_t *shard, gv_entry_t *entry);

/* Stores or clears a retained message of this shard.  True: the ticket is confirmed later. */
bool gv__retain(gv_shard_t *shard, gv_publish_t *publish, const gv_ticket_t *ticket);

/* Tells the router about a filter of this shard. */
void gv__route_set(gv_shard_t *shard, gv_filter_t *filter);
void gv__route_unset(gv_shard_t *shard, gv_filter_t *filter);

/* Which shard keeps the retained message of a topic. */
uint16_t gv__retained_home(const gv_shard_t *shard, gv_bytes_t topic);

/* ---- replay.c -------------------------------------------------------------------------------- */

void gv__replays_init(gv_shard_t *shard);
void gv__replays_deinit(gv_shard_t *shard);
/* Goes on with what is running; at the end of each turn. */
void gv__replays_run(gv_shard_t *shard);
/* The subscriber of a running replay is behind. */
void gv__replay_congested(gv_shard_t *shard, const gv_ticket_t *subscriber);
/* For whom retained messages are. */
gv_entry_replay_t gv__replay_for(const gv_client_t *client, const gv_subscription_t *subscription);
/* Asks the shards that may have some for what is retained. */
void gv__retained_want(gv_shard_t *shard, gv_entry_replay_t to, gv_bytes_t filter);
void gv__take_want(gv_shard_t *shard, gv_entry_t *entry);
void gv__take_replay(gv_shard_t *shard, gv_entry_t *entry);
void gv__take_retain(gv_shard_t *shard, gv_entry_t *entry);

/* ---- outgoing.c ------------------------------------------------------------------------------ */

/* How a session is to get a message. */
typedef struct gv_manner {
    const uint32_t *ids; /* subscription identifiers */
    size_t id_count;
    uint32_t share; /* as in gv_queued_t */
    uint8_t qos;
    bool retain;
} gv_manner_t;

/* Gives the fanout's message to a session: sends, queues, or drops and counts. */
void gv__deliver(gv_shard_t *shard, gv_session_t *session, gv_fanout_t *fanout,
                 const gv_manner_t *manner);

/*
 * A member of shared groups has left: what it has not acknowledged (QoS 1) or not been sent goes to
 * another member, wherever it is [MQTT-4.8.2-5 says no to what it has begun at QoS 2].
 */
void gv__give_to_others(gv_session_t *session);

/* The hub chooses: it knows the members everywhere, and has heard of those that left here. */
void gv__give_to_group(gv_shard_t *shard, const gv_publish_t *publish, const gv_filter_t *filter);

/* Sends what waits, as far as the window allows. */
void gv__pump(gv_session_t *session);

/* After CONNACK of a resumed session: sends again what was in flight, then what waits. */
void gv__resend(gv_session_t *session);
