/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_shard: what one event loop owns: the connections whose clients have their home here, their
 * sessions, their subscriptions and a share of the retained messages.  Sans-I/O: bytes, letters and
 * time come in, bytes and letters go out through ports.h.
 *
 *     conn bytes ---> gv_client_input() --> on_publish --> router --> own sessions   (fanout.c)
 *                                                            |  `---> other shards   (office.c)
 *     letters ------> gv_shard_take() <----------------------+------> other nodes    (hub.c)
 *
 * Threads: one.  Shards share nothing but the router (read only here), the bitmap of nodes that are
 * alive, and letters.
 */

#include "base/bucket.h"
#include "base/clock.h"
#include "base/stats.h"
#include "base/timerwheel.h"
#include "broker/core/journal.h"
#include "broker/core/limits.h"
#include "broker/core/memory.h"
#include "broker/core/parcel.h"
#include "broker/core/ports.h"
#include "broker/core/retained.h"
#include "broker/core/router.h"
#include "proto/mqtt/reason.h"

/* Counters of one shard; anybody may read them (base/stats.h). */
typedef struct gv_shard_stats {
    gv_counter_t connections; /* with a session: gauge */
    gv_counter_t connections_total;
    gv_counter_t connections_refused;
    gv_counter_t authentications_failed; /* exchanges, also on connections that lived */
    gv_counter_t sessions;               /* gauge */
    gv_counter_t sessions_expired;
    gv_counter_t subscriptions;        /* gauge */
    gv_counter_t shared_subscriptions; /* of these: gauge */
    gv_counter_t retained;             /* gauge */
    gv_counter_t retained_bytes;       /* gauge */
    gv_counter_t retained_tombstones;  /* gauge */
    gv_counter_t retained_outdated;    /* not kept: what is there was written later */
    gv_counter_t tombstones_dropped;   /* there were too many: not all nodes may know yet */
    gv_counter_t queued_messages;      /* gauge */
    gv_counter_t alias_bytes;          /* memory of topic aliases: gauge */
    gv_counter_t received[3];          /* PUBLISH packets by QoS */
    gv_counter_t sent[3];
    gv_counter_t received_payload_bytes; /* of these */
    gv_counter_t sent_payload_bytes;
    gv_counter_t packets_received;
    gv_counter_t answers_sent;        /* all packets but PUBLISH */
    gv_counter_t dropped_slow_reader; /* QoS 0 for a connection whose output is full */
    gv_counter_t dropped_queue_full;
    gv_counter_t dropped_expired;
    gv_counter_t dropped_too_large;
    gv_counter_t dropped_offline; /* QoS 0 for a session that is away */
    gv_counter_t dropped_no_memory;
    gv_counter_t dropped_refused;       /* the publisher was not allowed to, or broke a limit */
    gv_counter_t dropped_store_full;    /* for persistent sessions, without room on the disk */
    gv_counter_t dropped_retained;      /* to be retained, beyond what the node may keep */
    gv_counter_t dropped_damaged;       /* waiting messages that could not be read back */
    gv_counter_t dropped_memory;        /* for receivers that were slow while memory was scarce */
    gv_counter_t dropped_session_ended; /* that waited for a session, which has ended */
    gv_counter_t journal_failures;      /* commits that failed */
    gv_counter_t segments_cleaned;      /* of the log, to make room */
    gv_counter_t queued_bytes;          /* gauges: messages of persistent sessions, ... */
    gv_counter_t pending_bytes;         /* ... what is not durable yet, ... */
    gv_counter_t log_segments;          /* ... this shard's part of the log, ... */
    gv_counter_t log_bytes;
    gv_counter_t log_live_bytes;
    gv_counter_t log_head; /* ... its oldest and newest segment, 0: none, ... */
    gv_counter_t log_tail;
    gv_counter_t image_bytes; /* ... and segments in memory */
    gv_counter_t protocol_errors;
    gv_counter_t keepalive_timeouts;
    gv_counter_t slow_readers_closed;
    gv_counter_t queue_full_closed; /* as queue_policy wants it */
    gv_counter_t takeovers;
    gv_counter_t takeovers_elsewhere; /* by a newer connection on another node */
    gv_counter_t drained;             /* clients sent away by a drain */
    gv_counter_t wills;
    gv_counter_t publishers_slowed;
    gv_counter_t publishers_paced;        /* pauses of clients above their rate */
    gv_counter_t connects_rate_refused;   /* CONNECTs above the node's rate */
    gv_counter_t connects_memory_refused; /* for want of memory, as are the next three */
    gv_counter_t subscribes_memory_refused;
    gv_counter_t retained_memory_refused;
    gv_counter_t publishes_memory_refused; /* before they went anywhere */
    gv_counter_t sessions_max_refused;     /* CONNECTs above mqtt.sessions_max */
    gv_counter_t publishers_starved;       /* pauses until there is memory again */
    gv_counter_t memory_closed;            /* clients that held much when it was scarce */
} gv_shard_stats_t;

typedef struct gv_shard_options {
    uint16_t index;
    uint16_t count;     /* of shards on this node */
    uint64_t hash_seed; /* the same for all shards of a node: decides the home of a client id */
    uint64_t random_seed;
    const gv_limits_t *limits; /* lives as long as the shard, or until gv_shard_set_limits() */
    const gv_router_t *router;
    const _Atomic uint64_t *nodes_alive;   /* bitmap of node indices that may be routed to */
    const _Atomic uint64_t *nodes_away;    /* of nodes that are known and not there (outbox.h) */
    const _Atomic uint64_t *nodes_full;    /* of nodes for which too much waits */
    gv_bucket_t *connects;                 /* of limits->connects: one for all shards of the node */
    gv_retained_common_t *retained_common; /* shared by all shards and the hub */
    gv_memory_t *memory;                   /* of the node, with a part per shard; NULL: no limit */
    gv_timerwheel_t *wheel;
    gv_chunkpool_t *pool;
    gv_bytes_t presence_prefix; /* "$SYS/brokers/NODE/clients/", outlives the shard; empty: none */
    gv_journal_options_t journal;
    uint64_t start_number; /* of this start of the node: never the same again (identity.h) */
    uint8_t node_id[GV_NODE_ID_SIZE];
    gv_ports_t ports;
} gv_shard_options_t;

void gv_shard_new(const gv_shard_options_t *options, gv_shard_t **shard_out);

/* All connections are closed, and nobody sends letters any more. */
void gv_shard_free(gv_shard_t **shardp);

/* Where this client id lives: a shard index. */
uint16_t gv_shard_home(gv_bytes_t client_id, uint64_t hash_seed, uint16_t shard_count);

/* Tells whom parcels are addressed to: the peers array has `count` shards, then the hub. */
void gv_shard_connect(gv_shard_t *shard, gv_shard_t *const *shards, void *hub);

/* Sends what this turn has collected for other threads.  Call at the end of each turn. */
void gv_shard_turn_end(gv_shard_t *shard);

/* Letters that shards and hub send carry parcels; their deliver() is one of these. */
void gv_shard_take(gv_letter_t *letter);     /* a parcel to work through */
void gv_shard_returned(gv_letter_t *letter); /* one of ours, back */

/*
 * Puts a retained message, or a tombstone (without payload), into place before the node starts, on
 * the shard that keeps the topic.  The clock follows the stamp.
 */
void gv_shard_retain_load(gv_shard_t *shard, gv_msgbuf_t *kept, const gv_stamp_t *stamp);

/*
 * Called before gv_restore(): wills and ends that fall due wait for gv_shard_release_dues(). Before
 * the routes of the other nodes are here, wills would miss those who wait for them there.
 */
void gv_shard_hold_dues(gv_shard_t *shard);
void gv_shard_release_dues(gv_shard_t *shard);

/*
 * Publishes a message of the node itself ($SYS/...), which stays off the disk and, unless it is one
 * of $SYS/brokers/..., on this node.
 */
void gv_shard_publish(gv_shard_t *shard, gv_publish_t *publish);

/* Hands what is not on disk yet to the store, the last thing before that is closed. */
void gv_shard_finish(gv_shard_t *shard);

/* How clients are sent away. */
typedef struct gv_drain {
    gv_mqtt_reason_t reason; /* 0x8B shutting down, 0x9C use another server, 0x9D server moved */
    gv_bytes_t server_reference; /* with 0x9C and 0x9D; empty: none */
    gv_rate_t clients;           /* that may be sent away by all shards; no rate: all at once */
    gv_bucket_t *bucket;         /* of that rate, shared by the shards */
    bool is_final;               /* the node ends: who has not connected yet goes, too */
} gv_drain_t;

/*
 * Begins to send all clients away, and refuses new ones; their sessions stay.  `drain` is borrowed
 * until gv_shard_undrain() or another gv_shard_drain(), which begins anew.
 */
void gv_shard_drain(gv_shard_t *shard, const gv_drain_t *drain);

/* Takes clients again; those that have been sent away know nothing of it. */
void gv_shard_undrain(gv_shard_t *shard);

/*
 * Ends the connection of a client (v5: DISCONNECT 0x98), with its will, and its session unless that
 * is to be kept.  GV_ERR_NOENT: there is no session of this id here.
 */
GV_MUST_USE gv_err_t gv_shard_kick(gv_shard_t *shard, gv_bytes_t client_id, bool keep_session,
                                   bool *was_connected);

/* The password of a CONNECT that waits has been checked (auth.h). */
void gv_shard_password_checked(gv_shard_t *shard, const gv_ticket_t *ticket, bool is_good);

void gv_shard_set_limits(gv_shard_t *shard, const gv_limits_t *limits);

const gv_shard_stats_t *gv_shard_stats(const gv_shard_t *shard);
