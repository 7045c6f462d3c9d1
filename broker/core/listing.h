/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a shard has, for people to look at: a slice at a time, so that a table of millions never
 * keeps a shard from its clients.
 *
 *     uint64_t cursor = 0;
 *     while (!gv_shard_list_sessions(shard, &cursor, 1000, on_session, arg)) { other work }
 *
 * A cursor is a place in a hash table, and good for as long as its owner likes; what comes, goes or
 * makes the table grow between two slices may be missed or seen twice.  Views and what they point
 * to are borrowed for the call.
 *
 * Threads: the shard's.
 */

#include "broker/core/shard.h"

typedef struct gv_session_view {
    gv_bytes_t client_id;
    gv_bytes_t username;       /* that the client has logged in with; empty: it has not */
    const char *peer;          /* its address; NULL: it is away */
    uint64_t left_ms;          /* when it is away: since then, time of day */
    uint64_t queued;           /* messages of QoS > 0 that wait to be sent */
    uint32_t inflight;         /* that are sent and not acknowledged */
    uint32_t receiving;        /* that came at QoS 2 and wait for PUBREL */
    uint32_t subscriptions;    /* filters */
    uint32_t expiry_s;         /* UINT32_MAX: never */
    gv_mqtt_version_t version; /* this and the following: only of who is here */
    uint16_t listener_port;    /* 0: a unix socket */
    uint16_t keep_alive_s;
    uint16_t inflight_max;
    bool is_connected;
    bool has_will;
} gv_session_view_t;

/* False: enough; the next slice begins with this one. */
typedef bool gv_session_view_cb_t(const gv_session_view_t *session, void *arg);

/*
 * Shows sessions from *cursor on (0: the first), after looking at `visits_max` of them at most, and
 * moves the cursor.  True: the last one has been shown.
 */
bool gv_shard_list_sessions(gv_shard_t *shard, uint64_t *cursor, uint32_t visits_max,
                            gv_session_view_cb_t *on_session, void *arg);

/* Shows the session of this client id.  False: there is none here. */
bool gv_shard_show_session(gv_shard_t *shard, gv_bytes_t client_id,
                           gv_session_view_cb_t *on_session, void *arg);

typedef struct gv_subscription_view {
    gv_bytes_t client_id;
    gv_bytes_t filter; /* of a shared one "$share/group/filter" */
    uint32_t id;       /* subscription identifier; 0: none */
    uint8_t qos;
    bool no_local;
    bool retain_as_published;
    bool is_shared;
} gv_subscription_view_t;

/* Which ones; empty: any. */
typedef struct gv_subscription_query {
    gv_bytes_t client_id;
    gv_bytes_t filter;
} gv_subscription_query_t;

/* False: enough; the next slice begins with this one. */
typedef bool gv_subscription_view_cb_t(const gv_subscription_view_t *subscription, void *arg);

/*
 * Shows subscriptions as gv_shard_list_sessions() shows sessions, filter by filter, or those of one
 * client or one filter.  A cursor belongs to its query.
 */
bool gv_shard_list_subscriptions(gv_shard_t *shard, const gv_subscription_query_t *query,
                                 uint64_t *cursor, uint32_t visits_max,
                                 gv_subscription_view_cb_t *on_subscription, void *arg);

typedef struct gv_retained_view {
    gv_bytes_t topic;
    gv_bytes_t payload;
    gv_bytes_t props;       /* travelling properties, encoded */
    uint64_t expires_at_ms; /* time of day; 0: never */
    gv_msgbuf_t *kept;      /* all of it; whoever wants to keep it takes a reference */
    uint8_t qos;
} gv_retained_view_t;

/* False: enough; the next slice begins with this one. */
typedef bool gv_retained_view_cb_t(const gv_retained_view_t *message, void *arg);

/* Shows retained messages of this shard, as retained.h has it. */
bool gv_shard_list_retained(gv_shard_t *shard, gv_retained_walk_t *walk, uint32_t visits_max,
                            gv_retained_view_cb_t *on_message, void *arg);

/* Shows the one of this topic, whose home this shard is.  False: there is none. */
bool gv_shard_show_retained(gv_shard_t *shard, gv_bytes_t topic, gv_retained_view_cb_t *on_message,
                            void *arg);
