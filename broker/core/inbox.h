/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_inbox: how far this node has come in the exact boxes of other nodes (outbox.h), on its disk.
 *
 * A QoS 2 message of a persistent publisher is on the disk of the publisher's node before it goes
 * anywhere, and comes with its number there.  The number of the last one taken, the cursor, becomes
 * durable here together with what the messages cause: the cursors of a turn are one batch, joined
 * with the part of each shard's journal that has one of the messages (gv_batch_join()).  So what is
 * sent again, because either node has failed in between, is known here, and comes once (P2).
 *
 *     number <= cursor             known: it is confirmed, and goes nowhere
 *     number <= what is on its way pending: confirmed, or refused, when that is known
 *     `previous` has not come      refused: what was sent before it was not taken and comes again
 *     else                         new: goes to the shards, and moves the cursor
 *
 * A batch that fails takes with it all that were submitted after it; the cursors are then where
 * they were, and the sender, which is refused, begins there.
 *
 * Sans-I/O; belongs to the hub (hub.h).  Threads: the cluster loop's.  Memory: a few dozen bytes
 * for each node, also in each batch on its way, and 16 for each message that is pending.
 */

#include "cluster/core/core.h"
#include "storage/store.h"

typedef struct gv_inbox gv_inbox_t;

typedef enum gv_inbox_verdict {
    GV_INBOX_NEW,     /* to be delivered, once; each shard's part is named by gv_inbox_join() */
    GV_INBOX_KNOWN,   /* durable here */
    GV_INBOX_PENDING, /* on its way to the disk: `answered` comes later */
    GV_INBOX_REFUSED, /* not now */
} gv_inbox_verdict_t;

typedef struct gv_inbox_options {
    gv_store_t *store;
    gv_store_post_t *post; /* to the cluster loop's thread */
    void *post_arg;
    /* A pending message is durable, or is not (it was refused where it came first). */
    void (*answered)(void *arg, uint64_t token, bool is_refused);
    void *arg;
} gv_inbox_options_t;

void gv_inbox_new(const gv_inbox_options_t *options, gv_inbox_t **inbox_out);

/* What is not durable is lost; no port is called. */
void gv_inbox_free(gv_inbox_t **inboxp);

/* Before the loops run: the cursors.  Results as gv_store_scan(). */
GV_MUST_USE gv_err_t gv_inbox_load(gv_inbox_t *inbox);

/*
 * A message with this number has come from that node; 0 < number, previous < number (0: none; a
 * message whose sender lies about that is refused).  The token is for PENDING only.
 */
gv_inbox_verdict_t gv_inbox_judge(gv_inbox_t *inbox, const gv_node_id_t *from,
                                  const gv_forward_exact_t *exact, uint64_t token);

/*
 * What was new goes to a shard, whose open part names the same join, of two parts.  In the turn of
 * the verdict.
 */
void gv_inbox_join(gv_inbox_t *inbox, uint64_t join);

/* Submits the turn's cursors.  At the end of each turn. */
void gv_inbox_turn_end(gv_inbox_t *inbox);

/*
 * The node has been forgotten: its cursor goes, with this turn's batch, or the next one that comes
 * through.  What is pending is answered all the same.
 */
void gv_inbox_forget(gv_inbox_t *inbox, const gv_node_id_t *node);

/* The store is being closed: nothing is asked of it after, and what comes is refused. */
void gv_inbox_finish(gv_inbox_t *inbox);
