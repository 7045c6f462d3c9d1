/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_reconcile: makes the retained messages of all nodes the same, whatever was lost on the way.
 *
 * Live messages and the outbox bring retained messages to other nodes at once; the last writer wins
 * everywhere by its stamp.  What they do not bring (QoS 0 over a link that breaks, all while a node
 * is away, everything for a node that is new) is found by comparing, every few seconds with one
 * other node, and fetched:
 *
 *     asks                              other node
 *       DIGEST: a sum over all  ------>   the same: both know, and that is all
 *       <----- DIGEST with the sums of all buckets, when it is not
 *     for some buckets that differ, at a time:
 *       ASK  -------------------------->  (the shard that has the bucket)
 *       <----- LIST: topics and stamps
 *       (the shard here compares)
 *       WANT: topics that are newer there, or unknown here  ---->
 *       <===== copies, forwarded as publishes are; the newer stamp wins again
 *
 * Each node fetches what it lacks itself; nothing is pushed.  Every note stands for itself: one
 * that is lost costs time.  A round asks for GV_RECONCILE_BUCKETS buckets, and copies are wanted up
 * to GV_RECONCILE_BYTES at a time, so that a node that has everything to fetch is in nobody's way.
 *
 * The floor.  A tombstone has served when every node knows of the deletion.  Two nodes whose sums
 * are equal have the same; so a node that has found itself equal to each of the others, all of
 * whose clocks had passed a mark, knows all that was written up to there; and when it has been
 * equal to each of them once more, all of them know it.  Then the mark is the floor, digests spread
 * it, and tombstones up to it go, on all nodes.  A node that is away holds the floor where it is
 * until it is back or forgotten.
 *
 * The horizon.  When all nodes start anew, nobody remembers one that has not come back yet.  So
 * tombstones older than the start of the node that has been there longest are kept, whatever the
 * floor is; digests spread that, too.
 *
 * Sans-I/O; belongs to the hub (hub.h), which carries the notes of the shards (note.h).  Threads:
 * the cluster loop's.  Memory: the notes that want copies, of one round.
 */

#include "base/stats.h"
#include "broker/core/retained.h"
#include "cluster/core/core.h"

#define GV_RECONCILE_BUCKETS 64U
#define GV_RECONCILE_BYTES   ((uint64_t)4 << 20)

typedef struct gv_reconcile gv_reconcile_t;

typedef struct gv_reconcile_stats {
    gv_counter_t compared;    /* digests that were answered */
    gv_counter_t differences; /* buckets found to differ, and asked for */
    gv_counter_t fetched;     /* copies that have come */
    gv_counter_t nodes_apart; /* gauge: nodes that had something else when last compared */
} gv_reconcile_stats_t;

typedef struct gv_reconcile_options {
    gv_retained_common_t *common;
    uint64_t random_seed;
    /* Sends a note; false: there is no link to that node. */
    bool (*note)(void *arg, gv_node_index_t node, gv_frame_kind_t kind, gv_bytes_t body);
    /* All other nodes that are known, there or not, a bit each. */
    uint64_t (*members)(void *arg);
    void *arg;
} gv_reconcile_options_t;

void gv_reconcile_new(const gv_reconcile_options_t *options, gv_reconcile_t **reconcile_out);
void gv_reconcile_free(gv_reconcile_t **reconcilep);

void gv_reconcile_on_node(gv_reconcile_t *reconcile, gv_node_index_t node, gv_node_event_t event);

/* A digest of another node.  False: it makes no sense. */
bool gv_reconcile_on_digest(gv_reconcile_t *reconcile, gv_node_index_t from, gv_bytes_t body);

/* What a shard here has made of a list of another node's. */
typedef struct gv_reconcile_wish {
    gv_node_index_t node;
    gv_bytes_t body; /* a note that wants copies; borrowed */
    uint32_t count;  /* of copies */
    uint64_t bytes;  /* of them, about */
    bool is_last;    /* there is no more in that bucket ... */
    bool is_cut;     /* ... but not all that is newer there is in the notes */
} gv_reconcile_wish_t;
void gv_reconcile_on_wish(gv_reconcile_t *reconcile, const gv_reconcile_wish_t *wish);

/* A copy from that node has come, and is applied or refused. */
void gv_reconcile_on_copy(gv_reconcile_t *reconcile, gv_node_index_t from, uint64_t bytes);

/* Says what there is to say; at the end of each turn, and several times a second. */
void gv_reconcile_turn_end(gv_reconcile_t *reconcile, uint64_t now_ms, uint64_t realtime_ms);

/*
 * After a start: whether one of the others has been gone through from end to end, or has the same,
 * or nobody answers.  Ask until it is so, and no more.
 */
bool gv_reconcile_has_arrived(const gv_reconcile_t *reconcile);

const gv_reconcile_stats_t *gv_reconcile_stats(const gv_reconcile_t *reconcile);
