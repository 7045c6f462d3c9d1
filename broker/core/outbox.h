/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_outbox: messages of QoS > 0 that wait on the disk for nodes that are away.
 *
 * A message for a node that is dead, or has stopped, is written here if somebody who stays is
 * subscribed there, and its publisher is answered when it is durable.  When the node is back its
 * messages go out first, in order, and each leaves the disk when that node has confirmed it.
 *
 *     put() -> gathered in the turn -> one record for all of them -> durable: answered
 *                                          |
 *     node is back:                     handed to the cluster, record by record -> confirmed:
 * deleted
 *
 * Until all of a node's records have been handed over, its box is open: whatever else of QoS > 0
 * there is for that node has to come this way too, so that nothing overtakes (P3).  While the node
 * is there, what comes last waits in memory for that and not for the disk.
 *
 * Exactly once holds as long as this node and the other do not fail in the middle: what was handed
 * over and not confirmed by then is sent once more.
 *
 * Sans-I/O; belongs to the hub (hub.h).  Threads: the cluster loop's.  Memory: about 100 bytes per
 * record; the messages of the last turns, and of GV_OUTBOX_WINDOW records on their way.
 */

#include "base/stats.h"
#include "cluster/core/core.h"
#include "storage/store.h"

typedef struct gv_outbox gv_outbox_t;

/* Records of a node that are handed over and not confirmed, or being read. */
#define GV_OUTBOX_WINDOW 4U

typedef struct gv_outbox_ports {
    void *arg;
    /* Hands a message to the cluster; what becomes of it comes back with the token. */
    void (*publish)(void *arg, const gv_forward_t *message, gv_node_index_t node, uint64_t token);
    /* A message that was put is durable, or is refused (0x97). */
    void (*answered)(void *arg, uint64_t token, bool is_refused);
    uint64_t (*monotonic_ms)(void *arg);
    uint64_t (*realtime_ms)(void *arg);
} gv_outbox_ports_t;

typedef struct gv_outbox_stats {
    gv_counter_t messages; /* gauge: waiting, durable or about to be */
    gv_counter_t bytes;    /* gauge: of them */
    gv_counter_t stored;   /* messages that were written */
    gv_counter_t sent;     /* that have been confirmed */
    gv_counter_t expired;  /* that nobody needed any more */
    gv_counter_t refused;  /* no room */
    gv_counter_t lost;     /* with a node that was forgotten, or unreadable */
} gv_outbox_stats_t;

typedef struct gv_outbox_options {
    gv_store_t *store;
    gv_store_post_t *post; /* to the cluster loop's thread */
    void *post_arg;
    uint64_t bytes_max; /* waiting for one node; more is refused */
    gv_outbox_ports_t ports;
} gv_outbox_options_t;

void gv_outbox_new(const gv_outbox_options_t *options, gv_outbox_t **outbox_out);

/* What is not durable is lost. */
void gv_outbox_free(gv_outbox_t **outboxp);

/* Before the loops run: what earlier runs have left.  Results as gv_store_scan(). */
GV_MUST_USE gv_err_t gv_outbox_load(gv_outbox_t *outbox);

/* A node is there, is away, or is forgotten: then what waits for it goes. */
void gv_outbox_on_node(gv_outbox_t *outbox, gv_node_index_t node, const gv_node_id_t *id,
                       gv_node_event_t event);

/* Messages for this node have to be put. */
bool gv_outbox_is_open(const gv_outbox_t *outbox, gv_node_index_t node);

/* The message, without its shared subscriptions; the token is not 0 if somebody waits. */
void gv_outbox_put(gv_outbox_t *outbox, gv_node_index_t node, const gv_forward_t *message,
                   uint64_t token);

/* Tokens of messages that were handed over; and what became of them. */
#define GV_OUTBOX_TOKEN ((uint64_t)1 << 63)
void gv_outbox_on_confirmed(gv_outbox_t *outbox, uint64_t token, gv_forward_result_t result);

/* Writes, hands over, deletes.  At the end of each turn; calls port `publish`. */
void gv_outbox_turn_end(gv_outbox_t *outbox);

/* The store is being closed: nothing is asked of it after, and what comes is refused. */
void gv_outbox_finish(gv_outbox_t *outbox);

/* What waits for a node. */
void gv_outbox_waiting(const gv_outbox_t *outbox, gv_node_index_t node, uint64_t *messages_out,
                       uint64_t *bytes_out);

const gv_outbox_stats_t *gv_outbox_stats(const gv_outbox_t *outbox);
