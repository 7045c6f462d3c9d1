/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_roster: what this node has to know of the others when it starts and they are not there.
 *
 * A message for a persistent session on a node that is away waits on disk here (outbox.h), so it
 * has to be known that there is such a session: also by a node that has failed as well, has started
 * again, and finds nobody who could tell it (P1, P6).  So each node keeps on its disk who the
 * others are, where they can be dialled, and which of their routes are lasting ones.
 *
 *     changes -> queued -> at most one batch on its way -> durable
 *     start:  load() before the loops run, recall() when the cluster has started
 *
 * What changes is written within a commit or two, and nobody waits for it: a node that fails in
 * that time, together with the one whose subscription it was, does not remember it.  With a full
 * disk the changes wait, in memory, and with more than GV_ROSTER_BYTES_MAX of them the newest are
 * lost, and counted.
 *
 * Sans-I/O; belongs to the hub (hub.h).  Threads: the cluster loop's.  Memory: the changes that are
 * not durable yet; from load() to recall(), all there is.
 */

#include "base/stats.h"
#include "cluster/core/core.h"
#include "storage/store.h"

/* Of changes that are not on the disk. */
#define GV_ROSTER_BYTES_MAX ((uint64_t)256 << 20)

typedef struct gv_roster gv_roster_t;

typedef struct gv_roster_options {
    gv_store_t *store;
    gv_store_post_t *post; /* to the cluster loop's thread */
    void *post_arg;
} gv_roster_options_t;

typedef struct gv_roster_stats {
    gv_counter_t waiting; /* gauge: changes that are not on the disk */
    gv_counter_t lost;    /* changes for which there was no room */
} gv_roster_stats_t;

void gv_roster_new(const gv_roster_options_t *options, gv_roster_t **roster_out);

/* What is not durable is lost. */
void gv_roster_free(gv_roster_t **rosterp);

/* Before the loops run: what earlier runs have left.  Results as gv_store_scan(). */
GV_MUST_USE gv_err_t gv_roster_load(gv_roster_t *roster);

/* What was loaded is told, and is not kept here any longer. */
typedef struct gv_roster_recall {
    void *arg;
    /* Before its routes.  GV_NODE_NONE: nobody wants to know. */
    gv_node_index_t (*member)(void *arg, const gv_remembered_t *member);
    void (*route)(void *arg, gv_node_index_t node, gv_bytes_t filter);
} gv_roster_recall_t;
void gv_roster_recall(gv_roster_t *roster, const gv_roster_recall_t *recall, uint64_t realtime_ms);

/* A member is there (gone_at_ms 0), or is away since then. */
void gv_roster_set_member(gv_roster_t *roster, const gv_remembered_t *member, uint64_t gone_at_ms);

/* Its route for a filter is a lasting one now, or is none any more. */
void gv_roster_set_route(gv_roster_t *roster, const gv_node_id_t *node, gv_bytes_t filter,
                         bool is_lasting);

/* The member itself; its routes go one by one. */
void gv_roster_forget(gv_roster_t *roster, const gv_node_id_t *node);

/* Writes what has gathered; at the end of each turn, and several times a second. */
void gv_roster_turn_end(gv_roster_t *roster, uint64_t now_ms);

/* The store is being closed: the rest is handed to it, and nothing is asked of it after. */
void gv_roster_finish(gv_roster_t *roster);

const gv_roster_stats_t *gv_roster_stats(const gv_roster_t *roster);
