/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the files of broker/core share about a shard and a client; nobody else includes this. */

#include "base/rng.h"
#include "broker/core/aliases.h"
#include "broker/core/client.h"
#include "broker/core/dues.h"
#include "broker/core/durable.h"
#include "broker/core/fanout.h"
#include "broker/core/loans.h"
#include "broker/core/office.h"
#include "broker/core/replay.h"
#include "broker/core/retained.h"
#include "broker/core/session.h"
#include "broker/core/shard.h"
#include "proto/mqtt/packet.h"
#include "proto/mqtt/utf8.h"

/* ---- acknowledgements that wait -------------------------------------------------------------- */

/* One received QoS > 0 publish; answered when nothing is missing, in the order received. */
typedef struct gv_ack {
    uint16_t packet_id;
    uint16_t missing; /* confirmations still to come */
    uint8_t type;     /* GV_MQTT_PUBACK or GV_MQTT_PUBREC */
    uint8_t reason;
    bool is_forgotten; /* refused: its packet id is free when that is durable, and then it leaves */
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
    GV_CLIENT_AUTHENTICATES, /* CONNECT has come, CONNACK waits for an exchange of AUTH packets */
    GV_CLIENT_CONNECTED,
    GV_CLIENT_CLOSING, /* nothing more is read or written */
} gv_client_state_t;

/* What the cluster's directory knows of a client. */
typedef enum gv_claim_state {
    GV_CLAIM_NONE, /* nothing: there is no cluster, or nobody else in it, or CONNECT has not come */
    GV_CLAIM_ASKED, /* it is in shard->claims */
    GV_CLAIM_KNOWN, /* its connection, which lives */
} gv_claim_state_t;

/* Why input is not read at the moment. */
enum {
    GV_PAUSE_CONGESTION = 1, /* a subscriber of what it publishes is behind */
    GV_PAUSE_CREDIT = 2,     /* other threads are behind */
    GV_PAUSE_ACKS = 4,       /* as many publishes unacknowledged as we take */
    GV_PAUSE_SUBSCRIBE = 8,  /* PUBLISH or UNSUBSCRIBE waits for the SUBSCRIBE before it */
    GV_PAUSE_RATE = 16,      /* it has sent faster than it may */
    GV_PAUSE_OUTPUT = 32,    /* it does not read what we answer */
    GV_PAUSE_PASSWORD = 64,  /* its CONNECT waits until its password is checked */
    GV_PAUSE_STORE = 128,    /* its CONNACK waits for the disk */
    GV_PAUSE_CLAIM = 512,    /* its CONNECT waits until no other node has a client of its id */
    GV_PAUSE_MEMORY = 256,   /* what it publishes cannot be kept, and it cannot be told so */
};

/*
 * What a client has been told in CONNACK, and therefore may rely on: a reload changes the limits,
 * not what was agreed before.  Clients hold a number, for few different terms are ever in use.
 */
typedef struct gv_terms {
    uint32_t packet_size_max;
    uint16_t receive_max;
    uint16_t topic_alias_max;
} gv_terms_t;

_Static_assert(sizeof(gv_terms_t) == 8, "they are compared as bytes");

struct gv_client {
    gv_conn_t *conn;
    gv_shard_t *shard;
    gv_session_t *session; /* NULL unless connected */
    gv_timer_t timer;      /* CONNECT must come; then keep alive */
    gv_mqtt_peer_t peer;
    uint8_t ending_reason; /* while in shard->ending */
    uint8_t state : 5;     /* gv_client_state_t */
    uint8_t claim : 2;     /* gv_claim_state_t */
    uint8_t has_login : 1; /* it is in shard->logins */
    uint16_t terms;        /* in shard->terms */
    uint64_t last_input_ms;
    gv_ack_fifo_t *acks;   /* NULL until one has to wait */
    gv_aliases_t *aliases; /* NULL until the first */
    gv_link_t link;        /* in shard->waiting while paused for credit, in shard->starving while
                              paused for memory, or in shard->ending */
    uint32_t index;        /* in shard->clients */
    uint16_t subscribes_waiting; /* SUBSCRIBEs the hub has not answered */
    uint16_t alias_max;          /* topic aliases it takes from us */
    uint16_t keep_alive_s;
    uint16_t inflight_max; /* QoS > 0 messages it takes at a time */
    uint16_t receiving;    /* QoS > 0 publishes without their PUBACK or PUBCOMP */
    uint16_t paused;       /* GV_PAUSE_... */
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

typedef struct gv_pace gv_pace_t;

typedef struct gv_client_slot {
    gv_client_t *client; /* NULL while free */
    uint32_t generation;
    uint32_t next_free;
} gv_client_slot_t;

/*
 * Publishes that are confirmed at the turn's end: a client acknowledges many messages at once, and
 * often they have one publisher, in whose order they came.
 */
typedef struct gv_confirmed {
    gv_ticket_t first;
    uint32_t count; /* its number, and those that follow; 0: none */
} gv_confirmed_t;

struct gv_shard {
    const gv_limits_t *limits;
    gv_alias_budget_t alias_budget; /* as the limits say */
    const gv_router_t *router;
    const _Atomic uint64_t *nodes_alive;
    const _Atomic uint64_t *nodes_away;
    const _Atomic uint64_t *nodes_full;
    gv_bucket_t *connects;
    gv_memory_t *memory;     /* NULL: there is always enough */
    uint8_t memory_state;    /* gv_memory_state_t at this shard's last look */
    gv_timer_t memory_timer; /* the next look, when nothing else happens */
    gv_list_t starving;      /* clients paused for memory */
    uint32_t relief_cursor;  /* slot of the client that is looked at next */
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
    gv_dues_t dues; /* of sessions whose clients are away */
    gv_timer_t dues_timer;
    uint64_t dues_watched_ms; /* what the timer is set to; 0: it is not */
    bool holds_dues;          /* until the node is in step with the others */
    gv_map_t durables;        /* gv_durable_t by the uid of its session */
    gv_map_t unanswered;      /* gv_unanswered_t by its ticket */
    gv_journal_t *journal;
    gv_confirmed_t confirmed;
    gv_loans_t loans;        /* shared messages that members elsewhere are to have */
    uint32_t ended_stamp;    /* the journal's part in which the last stored session has ended */
    uint32_t retained_stamp; /* and the one with the last change of a retained message */
    gv_map_t logins; /* of clients that authenticate or have: gv_login_t by index of the client */
    gv_map_t claims; /* of clients whose CONNECT has asked for their id: by index of the client */
    gv_timer_t enlist_timer;
    uint32_t enlist_left; /* slots of clients that have not been told to the directory yet */
    gv_retained_t retained;
    gv_retained_common_t *retained_common;
    gv_replays_t replays;
    gv_rng_t rng;
    gv_client_slot_t *clients;
    uint32_t client_count; /* slots ever used */
    uint32_t client_capacity;
    uint32_t client_free; /* first free slot + 1, or 0 */
    gv_terms_t *terms;    /* all that were in force since the start; only grows */
    uint32_t terms_count;
    gv_pace_t **paces; /* by slot; nobody has one until there is a limit */
    uint32_t pace_capacity;
    gv_list_t waiting;     /* clients paused for credit */
    gv_resting_t resting;  /* publishers that pause because a subscriber is behind */
    gv_list_t submissions; /* that have no answer yet */
    uint64_t next_submission;
    gv_list_t ending;  /* clients to end when this turn's deliveries are done */
    uint64_t uid_base; /* of this start and shard */
    uint32_t next_uid;
    uint32_t next_join;
    uint64_t retained_floor; /* of the tombstones that were dropped, the highest stamp */
    gv_timer_t expiry_timer; /* of the first retained message to expire */
    gv_timer_t tombstones_timer;
    uint8_t node_id[GV_NODE_ID_SIZE];
    uint64_t hash_seed;
    uint32_t routes_out; /* route entries the hub has not answered yet */
    uint16_t index;
    uint16_t count;
    gv_bytes_t presence_prefix;
    const gv_drain_t *drain; /* NULL: clients are welcome */
    gv_timer_t drain_timer;
    uint32_t drain_left; /* slots of clients not looked at yet */
    gv_ports_t ports;
    gv_shard_stats_t stats;
};

static inline const gv_terms_t *gv__client_terms(const gv_client_t *client)
{
    return &client->shard->terms[client->terms];
}

/* Desks of a shard's office: one per shard (its own is for answers to loans), then these. */
static inline uint16_t gv__desk_forward(const gv_shard_t *shard)
{
    return shard->count;
}
static inline uint16_t gv__desk_routes(const gv_shard_t *shard)
{
    return (uint16_t)(shard->count + 1);
}

/* The loop's clock against the time of day; both in milliseconds. */
uint64_t gv__to_realtime(const gv_shard_t *shard, uint64_t monotonic_ms);
int64_t gv__from_realtime(const gv_shard_t *shard, uint64_t realtime_ms);

/* Starts the clocks of an offline session: its will and its end, counted from left_ms. */
void gv__session_away(gv_session_t *session);

/* When the will of an offline session is due; UINT64_MAX: it has none. */
uint64_t gv__session_will_at(const gv_session_t *session);

/* dues_timer: publishes wills and ends sessions. */
void gv__session_on_dues(gv_timer_t *timer);

/* Whether this second of the time of day has come; 0 never does. */
static inline bool gv__is_past(const gv_shard_t *shard, uint32_t realtime_s)
{
    return realtime_s != 0 && (uint64_t)realtime_s * 1000 <= gv__to_realtime(shard, shard->now_ms);
}

/* Whether a client that has been welcomed is there. */
static inline bool gv__is_online(const gv_session_t *session)
{
    return session->client != NULL && session->client->state == GV_CLIENT_CONNECTED;
}

/* The persistent session with this uid, or NULL. */
gv_session_t *gv__durable_session(gv_shard_t *shard, uint64_t uid);

/* A session becomes durable, without a word to the disk. */
gv_durable_t *gv__durable_new(gv_session_t *session);

/* There is credit again: clients that waited for it go on. */
void gv__resume_waiting(gv_shard_t *shard);

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

void gv__client_pause(gv_client_t *client, uint16_t why);
void gv__client_resume(gv_client_t *client, uint16_t why);

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
/* A whole packet of any size, other than PUBLISH. */
void gv__client_answer(gv_client_t *client, gv_bytes_t packet);

/* ---- relief.c -------------------------------------------------------------------------------- */

void gv__relief_init(gv_shard_t *shard);
void gv__relief_deinit(gv_shard_t *shard);

/* The node's memory has become scarce, or has come back. */
void gv__relief_changed(gv_shard_t *shard, gv_memory_state_t state);

/* Looks how much memory there is; often, for it is cheap. */
static inline void gv__relief_look(gv_shard_t *shard)
{
    if (shard->memory != NULL) {
        gv_memory_state_t state = gv_memory_look(shard->memory, shard->now_ms);
        if (state != shard->memory_state) {
            gv__relief_changed(shard, state);
        }
    }
}

static inline bool gv__memory_is_scarce(const gv_shard_t *shard)
{
    return shard->memory_state != GV_MEMORY_ENOUGH;
}

/* A publisher of before v5 whose message was refused is not listened to until there is memory. */
void gv__relief_starve(gv_client_t *client);

/* How much may wait to be written to one connection [bytes]; above it, messages do not go there. */
static inline uint64_t gv__output_max(const gv_shard_t *shard)
{
    uint64_t max = shard->limits->output_bytes_max;
    if (!gv__memory_is_scarce(shard)) {
        return max;
    }
    uint64_t scarce_max = max / 16 > 16384 ? max / 16 : 16384;
    return scarce_max < max ? scarce_max : max;
}

/* ---- drain.c --------------------------------------------------------------------------------- */

void gv__drain_init(gv_shard_t *shard);
/* Where else to go, for a packet with this reason; empty: nothing is known, or it does not say. */
gv_bytes_t gv__drain_reference(const gv_shard_t *shard, gv_mqtt_reason_t reason);
/* Why a CONNECT is refused; GV_MQTT_SUCCESS while clients are welcome. */
gv_mqtt_reason_t gv__drain_refusal(const gv_shard_t *shard);
/* The node is about to end. */
static inline bool gv__drain_is_final(const gv_shard_t *shard)
{
    return shard->drain != NULL && shard->drain->is_final;
}

/* ---- why.c ----------------------------------------------------------------------------------- */

/* A static sentence on why a reply has this reason; empty: the reason says it all. */
gv_bytes_t gv__why(gv_mqtt_type_t reply, gv_mqtt_reason_t reason);
/* Adds it as the Reason String, for a client that has not said that it wants none. */
void gv__explain(gv_mqtt_props_t *props, const gv_mqtt_peer_t *peer, gv_bytes_t why);

/* ---- presence.c ------------------------------------------------------------------------------ */

/* Tell who wants to know; in a read section, with the session attached. */
void gv__presence_connected(const gv_client_t *client, const gv_mqtt_connect_t *connect);
void gv__presence_disconnected(const gv_client_t *client, gv_mqtt_reason_t reason, bool is_lost);

/* ---- pace.c ---------------------------------------------------------------------------------- */

/* Whether clients have to keep to a rate. */
static inline bool gv__pace_is_limited(const gv_shard_t *shard)
{
    return (shard->limits->client_messages.per_second | shard->limits->client_bytes.per_second) !=
           0;
}

/* Pays for a packet that has been worked through; pauses the client while it is in debt. */
void gv__pace_charge(gv_client_t *client, const gv_mqtt_frame_t *frame);
void gv__pace_forget(gv_client_t *client);

/* ---- packets, one family a file -------------------------------------------------------------- */

typedef enum gv_step {
    GV_STEP_NEXT,  /* go on with the next packet */
    GV_STEP_AGAIN, /* not now: offer this packet again later */
    GV_STEP_END,   /* the connection has ended */
    GV_STEP_MOVED, /* the connection has moved; the client is freed */
} gv_step_t;

/*
 * Whether a client may publish this, or have it published as its will.  GV_MQTT_SUCCESS, or what is
 * not the packet's fault but not allowed here.
 */
gv_mqtt_reason_t gv__judge_message(const gv_limits_t *limits, gv_bytes_t topic,
                                   const gv_mqtt_props_t *props, gv_bytes_t payload, bool retain);

gv_step_t gv__on_connect(gv_client_t *client, const gv_mqtt_frame_t *frame);
gv_step_t gv__on_publish(gv_client_t *client, const gv_mqtt_frame_t *frame);
gv_step_t gv__on_ack(gv_client_t *client, const gv_mqtt_frame_t *frame);
gv_step_t gv__on_subscribe(gv_client_t *client, const gv_mqtt_frame_t *frame);
gv_step_t gv__on_unsubscribe(gv_client_t *client, const gv_mqtt_frame_t *frame);
gv_step_t gv__on_disconnect(gv_client_t *client, const gv_mqtt_frame_t *frame);
gv_step_t gv__on_auth(gv_client_t *client, const gv_mqtt_frame_t *frame);

/* Ends the connection because of a decoding error; always GV_STEP_END. */
gv_step_t gv__client_refuse(gv_client_t *client, gv_mqtt_reason_t reason);

/* False: the Payload Format Indicator says UTF-8, the payload is something else, and we care. */
static inline bool gv__payload_is_as_promised(const gv_limits_t *limits,
                                              const gv_mqtt_props_t *props, gv_bytes_t payload)
{
    return !gv_mqtt_props_has(props, GV_MQTT_PROP_PAYLOAD_FORMAT) || props->payload_format == 0 ||
           !limits->payload_format_check || gv_mqtt_payload_is_utf8(payload);
}

/* ---- authentication (on_auth.c) -------------------------------------------------------------- */

typedef struct gv_login gv_login_t;

/* Largest packet taken between CONNECT and CONNACK [bytes]. */
#define GV_AUTH_PACKET_SIZE_MAX 4096U

void gv__logins_init(gv_shard_t *shard);
void gv__logins_deinit(gv_shard_t *shard);

/*
 * A CONNECT with an authentication method: the first step of the exchange.  Ends in
 * gv__connect_accept(), gv__connect_refuse(), or in waiting for AUTH.
 */
gv_step_t gv__auth_begin(gv_client_t *client, const gv_mqtt_connect_t *connect,
                         const gv_mqtt_frame_t *frame);

/* Whether a CONNECT with a password has to have a right one. */
bool gv__auth_wants_passwords(const gv_shard_t *shard);

/* Such a CONNECT: it waits until its password is checked, and is offered again then. */
gv_step_t gv__auth_password(gv_client_t *client, const gv_mqtt_connect_t *connect);

/* A CONNECT of a client that has begun to log in is offered again: it has waited for something. */
gv_step_t gv__auth_connect_again(gv_client_t *client, const gv_mqtt_connect_t *connect);

/* A packet between CONNECT and CONNACK. */
gv_step_t gv__auth_packet(gv_client_t *client, const gv_mqtt_frame_t *frame);

/* The method that was agreed on in CONNECT; empty if none was. */
gv_bytes_t gv__auth_method(const gv_client_t *client);

/* Who the client has shown to be; empty if it has not. */
gv_bytes_t gv__auth_user(const gv_client_t *client);

/* The connection ends: so does an exchange, and what is known of the user. */
void gv__auth_forget(gv_client_t *client);

/* ---- one connection per client id (claim.c) ---------------------------------------------------
 */

void gv__claims_init(gv_shard_t *shard);
void gv__claims_deinit(gv_shard_t *shard);

/*
 * A CONNECT would be welcome: whether it has to wait until nobody else has the id.  It is offered
 * again then.  An older connection on this shard ends at once.
 */
bool gv__claim_must_wait(gv_client_t *client, gv_bytes_t id);

/* It is offered again. */
bool gv__claim_is_granted(const gv_client_t *client);

/* The client has its session. */
void gv__claim_attached(gv_client_t *client, bool is_assigned);

/* The connection ends, whether it was let in or not; before it loses its session. */
void gv__claim_left(gv_client_t *client);

void gv__take_claimed(gv_shard_t *shard, gv_entry_t *entry);
void gv__take_let_go(gv_shard_t *shard, gv_entry_t *entry);
void gv__take_enlist(gv_shard_t *shard);
void gv__on_enlist_timer(gv_timer_t *timer);

/* ---- connecting (on_connect.c) --------------------------------------------------------------- */

/*
 * The client may come in: makes or finds its session and sends CONNACK with `auth_data`.  Checks
 * once more what may have changed since CONNECT came.
 */
gv_step_t gv__connect_accept(gv_client_t *client, const gv_mqtt_connect_t *connect,
                             gv_bytes_t auth_data);

/* The connection of this client id on this shard, if there is one, ends [MQTT-3.1.4-3]. */
void gv__connect_take_over(gv_shard_t *shard, gv_bytes_t id);

/* CONNACK with an error, and the end; always GV_STEP_END. */
gv_step_t gv__connect_refuse(gv_client_t *client, gv_mqtt_version_t version,
                             gv_mqtt_reason_t reason);

/* A SUBSCRIBE's routes are in force: sends SUBACK, unless the disk is still to be waited for. */
void gv__subscribe_done(gv_shard_t *shard, gv_entry_t *entry);

/* What a SUBSCRIBE or UNSUBSCRIBE has changed is durable: its SUBACK or UNSUBACK goes out. */
void gv__suback_stored(gv_client_t *client, uint16_t packet_id, gv_bytes_t codes, gv_bytes_t why,
                       bool is_unsuback);

/* ---- acknowledgements (ack_fifo.c) ----------------------------------------------------------- */

/* The number the next publish that is pushed gets. */
uint32_t gv__acks_next(const gv_client_t *client);
/* Notes a received publish, or answers it at once. */
void gv__acks_push(gv_client_t *client, gv_ack_t ack);
/* One confirmation has come for each of `count` publishes; sends what can be sent. */
void gv__acks_confirm(gv_client_t *client, uint32_t number, uint32_t count,
                      gv_mqtt_reason_t reason);
/* One more confirmation will come. */
void gv__acks_expect(gv_client_t *client, uint32_t number);
uint32_t gv__acks_waiting(const gv_client_t *client);
/* A publish of the client is over: it may send another [MQTT-3.3.4-7]. */
void gv__received_done(gv_client_t *client);

/* The connection ends: what it has not answered of QoS 2 is the session's, if that stays. */
void gv__acks_leave(const gv_client_t *client, gv_session_t *session);

/* For the publish of a ticket of this shard, whether its connection is still there or not. */
void gv__confirm_here(gv_shard_t *shard, const gv_ticket_t *ticket, gv_mqtt_reason_t reason);

/* The packet id of a QoS 2 publish is free again. */
void gv__received_forget(gv_session_t *session, uint16_t packet_id);

/* ---- QoS 2 publishes whose connection has ended (unanswered.c) ------------------------------- */

gv_bytes_t gv__unanswered_key(const void *value);
void gv__unanswered_keep(gv_session_t *session, const gv_ticket_t *ticket, const gv_ack_t *ack);
/* It has come again: true if one more confirmation will come, for this ticket. */
bool gv__unanswered_wait(gv_session_t *session, uint16_t packet_id, const gv_ticket_t *waiter);
/* As gv__acks_expect() and gv__acks_confirm(); of others nothing is known, and nothing happens. */
void gv__unanswered_expect(gv_shard_t *shard, const gv_ticket_t *ticket);
void gv__unanswered_confirm(gv_shard_t *shard, const gv_ticket_t *ticket, gv_mqtt_reason_t reason);
void gv__unanswered_forget(gv_session_t *session, uint16_t packet_id);
void gv__unanswered_clear(gv_session_t *session);

/* ---- messages of operators (submission.c) ---------------------------------------------------- */

/* As gv__acks_expect() and gv__acks_confirm(); of others nothing is known, and nothing happens. */
void gv__submission_expect(gv_shard_t *shard, const gv_ticket_t *ticket);
void gv__submission_confirm(gv_shard_t *shard, const gv_ticket_t *ticket, gv_mqtt_reason_t reason);
/* The shard ends: those that wait still are their owners'. */
void gv__submissions_forget(gv_shard_t *shard);

/*
 * One confirmation for the publish of this ticket, wherever its publisher is: on this shard, on
 * another, or on another node (the hub's).
 */
void gv__confirm(gv_shard_t *shard, const gv_ticket_t *ticket, gv_mqtt_reason_t reason);

/* Those that gv__confirm() has put off.  At the turn's end. */
void gv__confirm_now(gv_shard_t *shard);

/* An entry that is about a ticket and nothing else, for its owner on another thread. */
void gv__tell(gv_shard_t *shard, const gv_ticket_t *ticket, gv_entry_kind_t kind,
              gv_mqtt_reason_t reason);

/* ---- routing (route.c) ----------------------------------------------------------------------- */

typedef struct gv_routed {
    uint16_t missing;  /* confirmations that will come for the ticket */
    bool has_matched;  /* somebody had a matching subscription */
    bool is_congested; /* a subscriber here is behind */
    bool has_failed;   /* somebody does not get it, for want of memory or of room on the disk */
} gv_routed_t;

/* What the publisher waits for. */
typedef enum gv_route_wish {
    GV_ROUTE_PLAIN,   /* nothing */
    GV_ROUTE_CONFIRM, /* confirmations: QoS > 0 */
    GV_ROUTE_JOINED,  /* these, and all that becomes durable of the message does so together with
                         its packet id, which is in the open part of this shard's journal */
} gv_route_wish_t;

/*
 * Sends a message to all who want it, and drops the view's reference.  `ticket` names the publisher
 * (NULL: nobody, as for a will): it is told of congestion, and if it wishes it gets as many
 * confirmations as the result says are missing.
 */
gv_routed_t gv__route(gv_shard_t *shard, gv_publish_t *publish, const gv_ticket_t *ticket,
                      gv_route_wish_t wish);

/* If the entry is joined, the open part of the journal is. */
void gv__take_join(gv_shard_t *shard, const gv_entry_t *entry);

/*
 * Gives a message to the subscribers of one filter; what they need on disk becomes durable together
 * with the open part of this shard's journal.  False: no memory, and nothing has happened.
 */
bool gv__pass_to_shard(gv_shard_t *shard, gv_publish_t *publish, uint16_t to, uint32_t slot);

/* Gives a message that a session somewhere has lent to a member of a group of this shard. */
gv_taken_t gv__take_gift(gv_shard_t *shard, gv_publish_t *publish, uint32_t slot,
                         const gv_ticket_t *loan);

/* A message from another thread for filters of this shard. */
void gv__take_slots(gv_shard_t *shard, gv_entry_t *entry);

/* What the router is told of a filter's members (gv_route_target_t.weight). */
uint32_t gv__route_weight(const gv_filter_t *filter);

/* Tells the router about a filter of this shard. */
void gv__route_set(gv_shard_t *shard, gv_filter_t *filter);
void gv__route_unset(gv_shard_t *shard, gv_filter_t *filter);

/* ---- retain.c -------------------------------------------------------------------------------- */

typedef enum gv_retain_result {
    GV_RETAIN_DONE,
    GV_RETAIN_LATER,   /* the ticket is confirmed when it is durable */
    GV_RETAIN_REFUSED, /* no room */
} gv_retain_result_t;

void gv__retain_init(gv_shard_t *shard);
void gv__retain_deinit(gv_shard_t *shard);

/* A stamp for what is being written on this node now. */
gv_stamp_t gv__retain_stamp(gv_shard_t *shard);

/*
 * Stores or clears a retained message of this shard, unless what is there was written later;
 * ticket: who waits for it, or NULL.
 */
gv_retain_result_t gv__retain(gv_shard_t *shard, gv_publish_t *publish,
                              const gv_entry_write_t *write, const gv_ticket_t *ticket,
                              bool is_joined);

/* Which shard keeps the retained message of a topic. */
uint16_t gv__retained_home(const gv_shard_t *shard, gv_bytes_t topic);

/* Tombstones up to here are not needed. */
uint64_t gv__retained_floor(const gv_shard_t *shard);

/* Whether a tombstone with this stamp may say something that is not known to all. */
bool gv__retained_is_news(const gv_shard_t *shard, uint64_t hlc);

/* Whether there is room for a retained message of another node. */
bool gv__retained_has_room(const gv_shard_t *shard, gv_bytes_t topic, uint64_t size);

/* The retained message of a topic was changed, and that did not become durable: once more. */
void gv__retain_again(gv_shard_t *shard, gv_bytes_t topic);
void gv__take_retain(gv_shard_t *shard, gv_entry_t *entry);

/* ---- retain_notes.c -------------------------------------------------------------------------- */

/* From another node (reconcile.h). */
void gv__take_note(gv_shard_t *shard, gv_entry_t *entry);

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

/* ---- outgoing.c ------------------------------------------------------------------------------ */

/* How a session is to get a message. */
typedef struct gv_manner {
    const uint32_t *ids; /* subscription identifiers */
    size_t id_count;
    uint32_t share; /* as in gv_queued_t */
    uint8_t qos;
    bool retain;
    bool is_lent; /* it is there already, and another member of the group has it */
} gv_manner_t;

/* Whether a client with so many unacknowledged messages takes another one now. */
bool gv__window_is_open(const gv_session_t *session, uint32_t open);

typedef enum gv_sent {
    GV_SENT,
    GV_SENT_TOO_LARGE, /* for this client, which will never have it [MQTT-3.1.2-25] */
    GV_SENT_NO_MEMORY,
} gv_sent_t;

/* Puts one PUBLISH into the output.  What is too large has been counted. */
gv_sent_t gv__send_publish(gv_shard_t *shard, gv_client_t *client, gv_fanout_t *fanout,
                           const gv_manner_t *manner, bool dup, uint16_t packet_id);

/* A subscriber far behind slows its publishers, as long as it moves at all. */
void gv__look_for_congestion(gv_shard_t *shard, gv_fanout_t *fanout, const gv_client_t *client);

/* Gives the fanout's message to a session: sends, queues, or drops and counts. */
void gv__deliver(gv_shard_t *shard, gv_session_t *session, gv_fanout_t *fanout,
                 const gv_manner_t *manner);

/*
 * A member of shared groups is gone: what it has not acknowledged (QoS 1) or not been sent goes to
 * another member, wherever it is [MQTT-4.8.2-5 says no to what it has begun at QoS 2].  What is in
 * flight of groups it had left before waits for its return, unless the session is over.
 */
void gv__give_to_others(gv_session_t *session, bool is_over);

/*
 * The client has unsubscribed: what it has not been sent goes to another member at once, what is in
 * flight is finished with it [MQTT-3.10.4-3].  The group is remembered in case that never happens.
 */
void gv__leave_group(gv_session_t *session, const gv_filter_t *filter);
void gv__left_group_forget(gv_flow_t *flow, uint32_t share);
void gv__left_groups_clear(gv_flow_t *flow);

/*
 * The hub chooses: it knows the members everywhere, and has heard of those that left here.  Who has
 * a ticket gets a confirmation more: on another thread he is told to expect it, on this one the
 * caller counts it.  False: no memory.
 */
bool gv__give_to_group(gv_shard_t *shard, const gv_publish_t *publish, gv_bytes_t group,
                       const gv_ticket_t *ticket);

/*
 * A message that may have been lent is over here, before it is dropped: acknowledged (success), or
 * it could not be kept.  The answer is a letter, also on the same shard: this may be in the midst
 * of a delivery.  False: it was not lent.
 */
bool gv__end_loan(gv_shard_t *shard, gv_queued_extra_t *extra, gv_mqtt_reason_t reason);

/* Sends what waits, as far as the window allows. */
void gv__pump(gv_session_t *session);

/* After CONNACK of a resumed session: sends again what was in flight, then what waits. */
void gv__resend(gv_session_t *session);
