/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_outbox: messages of QoS > 0 that are on the disk for other nodes.
 *
 *     put() -> gathered in the turn -> one record for all of them -> durable: answered
 *                                          |
 *     node is there:  handed to the cluster, record by record, in order -> confirmed: deleted
 *
 * A node has two boxes.
 *
 * The *spool* has what could not be delivered because the node is dead, or has stopped, if somebody
 * who stays is subscribed there.  What was handed over and not confirmed when either node fails is
 * sent once more.  Until all of its records have been handed over, the box is open: whatever else
 * of QoS 1 there is for that node has to come this way too, so that nothing overtakes (P3).  While
 * the node is there, what comes last waits in memory for that and not for the disk.
 *
 * A message that the cluster has and the node does not confirm for long is *insured*: it is written
 * into the spool although it is on its way, so that its publisher need not wait until it is known
 * whether the node is dead.  To the spool it is as if it had been handed over from there: when it
 * is confirmed it leaves the disk, when the node is gone it is sent once more, in its place;
 * meanwhile the box is not open for it, because it stands before all that comes now, here and
 * there.
 *
 * The *exact* box has the QoS 2 messages of persistent publishers, whether the node is there or
 * not: written in one transaction with the publisher's packet id (gv_batch_join()), before they go
 * anywhere.  Each is sent with its number and the run of the process that has numbered it, which
 * are the same when it is sent again, also after a restart; by them the other node, which has on
 * its own disk how far it has come, knows what it has already (inbox.h).  So they come exactly
 * once, whoever fails when (P2).
 *
 * Sans-I/O; belongs to the hub (hub.h).  Threads: the cluster loop's.  Memory: about 100 bytes per
 * record, and 16 for each message that is insured; the messages of the last turns, at most about 4
 * MiB for each box, and of the records that are on their way.
 */

#include "base/stats.h"
#include "cluster/core/core.h"
#include "storage/outbox_store.h"
#include "storage/store.h"

typedef struct gv_outbox gv_outbox_t;

/* Records of a spool that are handed over and not confirmed, or being read. */
#define GV_OUTBOX_WINDOW 4U

/* What a message that is put exactly once is joined with. */
typedef struct gv_outbox_join {
    uint64_t join;
    uint32_t parts;
} gv_outbox_join_t;

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
    gv_counter_t early;    /* of these, insured */
    gv_counter_t sent;     /* that have been confirmed */
    gv_counter_t expired;  /* that nobody needed any more */
    gv_counter_t refused;  /* no room */
    gv_counter_t lost;     /* with a node that was forgotten, or unreadable */
} gv_outbox_stats_t;

typedef struct gv_outbox_options {
    gv_store_t *store;
    gv_store_post_t *post; /* to the cluster loop's thread */
    void *post_arg;
    uint64_t bytes_max; /* waiting for a node, in both boxes; more is refused */
    /*
     * Nodes for which so much waits, a bit each; written here only.  What comes in spite of it is
     * still taken: it may be part of a join.
     */
    _Atomic uint64_t *nodes_full;
    /* What waits in memory for its turn in a spool is written after so long; 0: it is not. */
    uint64_t spool_after_ms;
    uint64_t run; /* of the process: random, another one each time */
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

/* Messages for this node have to be put into that box: something there is not handed over. */
bool gv_outbox_is_open(const gv_outbox_t *outbox, gv_node_index_t node, gv_outbox_kind_t kind);

/*
 * The message, without its shared subscriptions, into the spool; the token is not 0 if somebody
 * waits.
 */
void gv_outbox_put(gv_outbox_t *outbox, gv_node_index_t node, const gv_forward_t *message,
                   uint64_t token);

/*
 * The same into the exact box.  It is answered when it and all it is joined with is durable; `join`
 * NULL: with nothing.
 */
void gv_outbox_put_exact(gv_outbox_t *outbox, gv_node_index_t node, const gv_forward_t *message,
                         const gv_outbox_join_t *join, uint64_t token);

/* Tokens of messages that were handed over; and what became of them. */
#define GV_OUTBOX_TOKEN ((uint64_t)1 << 63)

/*
 * Writes a message of QoS 1 as well that the cluster has handed to the node under `*token`, and
 * sets that to the token under which it has to be confirmed from now on.  Who had that token is
 * answered when the message is durable, or is_held: only when the node has confirmed it or is gone.
 * False: not now; nothing that was handed over behind it must be insured before it.
 */
bool gv_outbox_insure(gv_outbox_t *outbox, gv_node_index_t node, const gv_forward_t *message,
                      uint64_t *token, bool is_held);

/* Who has not been answered yet about a message that was insured; 0: nobody. */
uint64_t gv_outbox_waiter(const gv_outbox_t *outbox, uint64_t token);

/*
 * What has become of a message.  True: it was insured, and it is to the caller to do what there is
 * to do, as if it had never been here, for *waiter_out, who has not been answered.
 */
bool gv_outbox_on_confirmed(gv_outbox_t *outbox, uint64_t token, gv_forward_result_t result,
                            uint64_t *waiter_out);

/* Writes, hands over, deletes.  At the end of each turn; calls port `publish`. */
void gv_outbox_turn_end(gv_outbox_t *outbox);

/* The store is being closed: nothing is asked of it after, and what comes is refused. */
void gv_outbox_finish(gv_outbox_t *outbox);

/* What waits for a node. */
void gv_outbox_waiting(const gv_outbox_t *outbox, gv_node_index_t node, uint64_t *messages_out,
                       uint64_t *bytes_out);

const gv_outbox_stats_t *gv_outbox_stats(const gv_outbox_t *outbox);
