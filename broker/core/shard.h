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

#include "base/clock.h"
#include "base/stats.h"
#include "base/timerwheel.h"
#include "broker/core/limits.h"
#include "broker/core/parcel.h"
#include "broker/core/ports.h"
#include "broker/core/router.h"

/* Counters of one shard; anybody may read them (base/stats.h). */
typedef struct gv_shard_stats {
    gv_counter_t connections; /* with a session: gauge */
    gv_counter_t connections_total;
    gv_counter_t connections_refused;
    gv_counter_t sessions;        /* gauge */
    gv_counter_t subscriptions;   /* gauge */
    gv_counter_t retained;        /* gauge */
    gv_counter_t queued_messages; /* gauge */
    gv_counter_t received[3];     /* PUBLISH packets by QoS */
    gv_counter_t sent[3];
    gv_counter_t received_bytes;
    gv_counter_t dropped_slow_reader; /* QoS 0 for a connection whose output is full */
    gv_counter_t dropped_queue_full;
    gv_counter_t dropped_expired;
    gv_counter_t dropped_too_large;
    gv_counter_t dropped_offline; /* QoS 0 for a session that is away */
    gv_counter_t dropped_no_memory;
    gv_counter_t protocol_errors;
    gv_counter_t keepalive_timeouts;
    gv_counter_t slow_readers_closed;
    gv_counter_t takeovers;
    gv_counter_t wills;
    gv_counter_t publishers_slowed;
} gv_shard_stats_t;

typedef struct gv_shard_options {
    uint16_t index;
    uint16_t count;     /* of shards on this node */
    uint64_t hash_seed; /* the same for all shards of a node: decides the home of a client id */
    uint64_t random_seed;
    const gv_limits_t *limits; /* lives as long as the shard, or until gv_shard_set_limits() */
    const gv_router_t *router;
    const _Atomic uint64_t *nodes_alive; /* bitmap of node indices that may be routed to */
    gv_timerwheel_t *wheel;
    gv_chunkpool_t *pool;
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

/* A retained message is on disk, or will not be (err).  From ports.retain_store(). */
void gv_shard_retain_stored(gv_shard_t *shard, const void *ticket, gv_err_t err);

/* Puts a retained message into place before the node starts. */
void gv_shard_retain_load(gv_shard_t *shard, gv_msgbuf_t *kept);

/*
 * Publishes a message of the node itself ($SYS/...), which stays on this node and off the disk.
 */
void gv_shard_publish(gv_shard_t *shard, gv_publish_t *publish);

/* Closes all clients with a reason (0x8B: shutting down); their sessions stay. */
void gv_shard_drain(gv_shard_t *shard);

void gv_shard_set_limits(gv_shard_t *shard, const gv_limits_t *limits);

const gv_shard_stats_t *gv_shard_stats(const gv_shard_t *shard);
