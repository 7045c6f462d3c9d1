/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_session: the MQTT session state of one client id: subscriptions, messages in flight and
 * waiting, the will.  It lives on the client's home shard and outlives connections as its expiry
 * says.
 *
 *        CONNECT                         connection lost, expiry > 0
 *   ----------------> online (client) ------------------------------> offline (client == NULL)
 *                        |    ^                                          |   |
 *     expiry 0, or clean |    +------------- CONNECT, same id -----------+   | expiry
 *     start elsewhere    v                                                   v
 *                      ended  <----------------------------------------------+
 *
 * Threads: the shard's.
 */

#include "broker/core/inflight.h"
#include "broker/core/ports.h"
#include "broker/core/queue.h"
#include "broker/core/subscriptions.h"

#define GV_EXPIRY_NEVER 0xffffffffU

/* A shared group the client has left while messages of it were in flight. */
typedef struct gv_left_group {
    struct gv_left_group *next;
    uint32_t share; /* as in gv_queued_t; the slot may be another filter's by now */
    uint16_t size;  /* of the text [bytes] */
    uint8_t text[];
} gv_left_group_t;

/* A publish that its connection has left without PUBREC: unanswered.c. */
typedef struct gv_unanswered gv_unanswered_t;

/* QoS > 0 state of both directions.  Most sessions of a large node have none, and no memory for it.
 */
typedef struct gv_flow {
    gv_queue_t queue;
    gv_inflight_t inflight;
    gv_received_ids_t received;
    gv_left_group_t *left;       /* usually none */
    gv_unanswered_t *unanswered; /* usually none */
} gv_flow_t;

/* What outlives the process: durable.h. */
typedef struct gv_durable gv_durable_t;

struct gv_session {
    gv_client_t *client; /* NULL while offline */
    gv_shard_t *shard;
    gv_flow_t *flow;       /* for reading: never NULL; for writing: gv_session_flow() */
    gv_durable_t *durable; /* NULL for a session that ends with its connection */
    gv_msgbuf_t *will;     /* NULL: none */
    uint64_t uid;          /* on this node; never 0, never used again */
    union {
        int64_t left_ms; /* offline: since then, monotonic; below 0: before the machine started */
        uint64_t connected_hlc; /* online, in a cluster: the stamp of CONNECT (claim.c) */
    };
    gv_list_t subscriptions;
    uint32_t subscription_count;
    uint32_t shared_count; /* of these, in shared groups */
    uint32_t expiry_s;     /* GV_EXPIRY_NEVER */
    uint32_t will_delay_s;
    uint32_t fanout_turn; /* gv_fanout: the message this session was last collected for */
    uint32_t fanout_index;
    uint32_t due_place; /* gv_dues */
    uint16_t id_size;
    uint16_t owner_size; /* the name its client has logged in with, behind the id; 0: it has not */
    bool is_persistent;  /* expiry_s > 0: messages in flight are kept for sending them again */
    uint8_t id[];
};

/* The session's flow, to be changed: made if there is none. */
gv_flow_t *gv_session_flow(gv_session_t *session);

static inline gv_bytes_t gv_session_id(const gv_session_t *session)
{
    return gv_bytes(session->id, session->id_size);
}

/* Whose it is: nobody else gets it.  Empty: whoever comes. */
static inline gv_bytes_t gv_session_owner(const gv_session_t *session)
{
    return gv_bytes(session->id + session->id_size, session->owner_size);
}

/* The session of this client id, or NULL. */
gv_session_t *gv_session_find(gv_shard_t *shard, gv_bytes_t id);

/* A new session, offline, without expiry timer; its id is not taken.  The owner may be empty. */
gv_session_t *gv_session_new(gv_shard_t *shard, gv_bytes_t id, gv_bytes_t owner);

/* Ends it: publishes a will that waits, drops subscriptions and messages, frees.  Offline. */
void gv_session_end(gv_session_t **sessionp);

/* Frees a session when the whole shard ends: tells nobody, publishes nothing. */
void gv_session_discard(gv_session_t **sessionp);

/* The client comes and goes.  Detaching starts the timers, or ends the session at once. */
void gv_session_attach(gv_session_t *session, gv_client_t *client);
void gv_session_detach(gv_session_t *session, bool publish_will);

/* Takes one subscription away and tells the router if it was the last one of its filter. */
void gv_session_unsubscribe(gv_session_t *session, gv_subscription_t *subscription);
