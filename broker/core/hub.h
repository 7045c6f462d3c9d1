/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_hub: where the threads of a node meet.  It lives on the cluster loop and is two things:
 *
 * - the router's one writer: shards send it their route changes, it applies them, announces them to
 *   the cluster, and sends the parcel back when the other nodes have confirmed (that is when SUBACK
 * may go out);
 * - the door to the other nodes: what shards have for them goes out here, what comes from them is
 *   matched here and given to the shards.
 *
 *     shards --- routes ----> hub ---> router, cluster (rows), barrier ---> back
 *     shards --- messages --> hub ---> cluster (publish) ... confirmed ---> CONFIRM to the shard
 *     cluster - deliver ----> hub ---> shards ... back ---> cluster (applied, refused, returned)
 *
 * Retained messages that some nodes have missed are found by comparing (reconcile.h); the hub
 * carries what the shards of the nodes have to say about that.
 *
 * A client that connects waits until the cluster's directory has seen to it that it is the only one
 * of its id (cluster/core/directory.h); the hub passes that on.
 *
 * What a node that is away has not got waits in the outbox (outbox.h), and so does what must not
 * come twice even when nodes fail; the inbox (inbox.h) knows which of that has come.  The roster
 * (roster.h) knows them and what waits for them over restarts of this node.
 *
 * Sans-I/O as the shards are.  Without a cluster the ops are NULL and parcels come back at once.
 *
 * Threads: the cluster loop's.
 */

#include <stdatomic.h>

#include "base/stats.h"
#include "broker/core/log.h"
#include "broker/core/outbox.h"
#include "broker/core/parcel.h"
#include "broker/core/ports.h"
#include "broker/core/reconcile.h"
#include "broker/core/roster.h"
#include "broker/core/router.h"
#include "cluster/core/core.h"

typedef struct gv_hub gv_hub_t;

/* What the hub asks of the cluster module (cluster/cluster.h, or a simulated one). */
typedef struct gv_hub_cluster {
    void *arg;
    void (*route_set)(void *arg, gv_bytes_t key, uint32_t value);
    void (*barrier)(void *arg, uint64_t token);
    void (*publish)(void *arg, const gv_forward_t *message, uint64_t nodes, uint64_t token);
    void (*applied)(void *arg, gv_delivery_t delivery, const gv_delivery_outcome_t *outcome);
    void (*pause_credit)(void *arg, bool is_paused);
    /* See gv_ccore_claim() and those that follow it (register is C's). */
    void (*claim)(void *arg, const gv_claim_t *claim);
    void (*enroll)(void *arg, const gv_claim_t *claim);
    void (*release)(void *arg, const gv_id_key_t *key, gv_holder_t holder);
    void (*let_gone)(void *arg, const gv_letting_t *letting);
    /* False: there is no link to that node. */
    bool (*note)(void *arg, gv_node_index_t node, gv_frame_kind_t kind, gv_bytes_t body);
    /* All other nodes that are known, there or not, a bit each; as the next. */
    uint64_t (*members)(void *arg);
    /* Who a node is; may be called from within the calls below. */
    void (*who)(void *arg, gv_node_index_t node, gv_remembered_t *member_out);
    /* What an earlier run knew of another node (roster.h); when the cluster has just started. */
    gv_node_index_t (*remember)(void *arg, const gv_remembered_t *member);
    gv_err_t (*remember_row)(void *arg, gv_node_index_t node, gv_bytes_t key, uint32_t value);
} gv_hub_cluster_t;

typedef struct gv_hub_stats {
    gv_counter_t routes; /* gauges: what the router holds */
    gv_counter_t filters;
    gv_counter_t router_bytes;
    gv_counter_t forwarded;      /* messages given to the cluster, once per message */
    gv_counter_t received;       /* messages from other nodes */
    gv_counter_t received_again; /* of them, known from before a node failed, and left out */
    gv_counter_t barriers_late;
    gv_counter_t forward_gone;          /* messages for nodes that were gone */
    gv_counter_t forward_in_doubt;      /* refused: QoS 2, and the node has died with it */
    gv_counter_t forward_full;          /* refused: the queue for the node is full */
    gv_counter_t forward_no_room;       /* refused: the node's store is full */
    gv_counter_t shares_without_member; /* the last member had left when the message came */
    gv_counter_t rows_refused;          /* filters of other nodes that we cannot hold */
    gv_counter_t copies_sent;           /* retained messages that other nodes had missed */
    gv_counter_t clocks_ahead;          /* stamps of retained messages too far ahead of our clock */
} gv_hub_stats_t;

typedef struct gv_hub_options {
    uint16_t shard_count;
    uint64_t hash_seed;
    uint64_t random_seed;
    gv_router_t *router;
    _Atomic uint64_t *nodes_alive; /* written here only, a bit each: where messages can go */
    _Atomic uint64_t *nodes_away;  /* the same: known, and not there now */
    _Atomic uint64_t *nodes_full;  /* the same: too much waits for them (outbox.h) */
    gv_log_t *log;                 /* of the shards; names what several of them write */
    gv_store_t *store;             /* for what waits for nodes that are away */
    gv_store_post_t *store_post;   /* to the hub's thread */
    void *store_post_arg;
    uint64_t outbox_bytes_max;
    uint64_t spool_after_ms;               /* as gv_outbox_options_t has it */
    uint64_t run;                          /* of the process: random, another one each time */
    gv_retained_common_t *retained_common; /* shared with the shards */
    gv_ports_t ports; /* post, read_begin, read_end, monotonic_ms and realtime_ms are used */
} gv_hub_options_t;

void gv_hub_new(const gv_hub_options_t *options, gv_hub_t **hub_out);
void gv_hub_free(gv_hub_t **hubp);

/* Before the start: who the shards are; and, if there is a cluster, how to reach it. */
void gv_hub_connect(gv_hub_t *hub, void *const *shards, const gv_hub_cluster_t *cluster);

/* Before the loops run: a shard has this filter, from the store. */
void gv_hub_restore_route(gv_hub_t *hub, uint16_t shard, gv_bytes_t filter, uint32_t slot,
                          uint32_t weight);

/*
 * Before the loops run: who the other nodes are, what waits on disk for them, and how far their
 * messages have come here.  Results as gv_store_scan().
 */
GV_MUST_USE gv_err_t gv_hub_restore(gv_hub_t *hub);

/*
 * On the cluster loop, when the cluster has just started, and in the same turn: tells it what the
 * last run knew of others, and announces what was restored.
 */
void gv_hub_announce_restored(gv_hub_t *hub);

/* Sends what has gathered; at the end of each turn. */
void gv_hub_turn_end(gv_hub_t *hub);

/* The store is being closed; the loops run no more. */
void gv_hub_finish(gv_hub_t *hub);

/* Letters from shards. */
void gv_hub_take_routes(gv_letter_t *letter);
void gv_hub_take_forward(gv_letter_t *letter);

/* From the cluster.  These only write down what is to be done: the cluster is not called back. */
void gv_hub_on_row(gv_hub_t *hub, gv_node_index_t node, gv_bytes_t key, uint32_t value);
void gv_hub_on_node(gv_hub_t *hub, gv_node_index_t node, gv_node_event_t event);
void gv_hub_on_deliver(gv_hub_t *hub, const gv_delivery_t *delivery, const gv_forward_t *message);
void gv_hub_on_confirmed(gv_hub_t *hub, uint64_t token, gv_node_index_t node,
                         gv_forward_result_t result, const gv_forward_t *lost);
bool gv_hub_on_overdue(gv_hub_t *hub, uint64_t *token, gv_node_index_t node,
                       const gv_forward_t *message);
void gv_hub_on_barrier(gv_hub_t *hub, uint64_t token, bool in_time);
void gv_hub_on_claimed(gv_hub_t *hub, const gv_claim_t *claim, gv_claim_verdict_t verdict);
void gv_hub_on_let_go(gv_hub_t *hub, const gv_letting_t *letting);
void gv_hub_on_note(gv_hub_t *hub, gv_node_index_t node, gv_frame_kind_t kind, gv_bytes_t body);

/* After a start: whether this node has the retained messages of the others (reconcile.h). */
bool gv_hub_has_arrived(const gv_hub_t *hub);

const gv_hub_stats_t *gv_hub_stats(const gv_hub_t *hub);

const gv_reconcile_stats_t *gv_hub_reconcile_stats(const gv_hub_t *hub);

const gv_roster_stats_t *gv_hub_roster_stats(const gv_hub_t *hub);

/* What waits for other nodes; borrowed. */
const gv_outbox_t *gv_hub_outbox(const gv_hub_t *hub);
