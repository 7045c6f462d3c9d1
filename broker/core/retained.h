/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_retained: the retained messages of one shard, found by filter.
 *
 * Every topic has a home shard (a hash of its name) that keeps its retained message; so a node has
 * one copy, and no lock.  A subscription without wildcards asks one shard, one with wildcards asks
 * all.  Inside, a trie of topic levels: finding costs what matches, not what is there.
 *
 * Messages that expire are also in a heap, so that they can be taken out when their time has come.
 *
 * Threads: the shard's.  Memory: a node of about 100 bytes per level that is not shared, 8 bytes
 * for each message that expires, and the messages.
 */

#include "base/map.h"
#include "broker/core/message.h"
#include "broker/core/trail.h"

typedef struct gv_retained_node gv_retained_node_t;

/* What the tables of all shards of a node hold; each adds and takes away its own. */
typedef struct gv_retained_total {
    _Atomic uint64_t messages;
    _Atomic uint64_t bytes;
} gv_retained_total_t;

/* Public only so that a shard can embed it. */
typedef struct gv_retained {
    gv_retained_node_t *_root;
    uint64_t _seed;
    gv_retained_node_t **_expiring; /* a heap, the first to expire at the top */
    uint32_t _expiring_count;
    uint32_t _expiring_capacity;
    size_t count;
    size_t bytes; /* of the messages */
} gv_retained_t;

void gv_retained_init(gv_retained_t *table, uint64_t hash_seed);
void gv_retained_deinit(gv_retained_t *table);

/* Puts a message in the place of its topic's; takes a reference. */
void gv_retained_set(gv_retained_t *table, gv_msgbuf_t *kept);

/* Whether there was one. */
bool gv_retained_remove(gv_retained_t *table, gv_bytes_t topic);

/* The topic's message, borrowed, or NULL. */
gv_msgbuf_t *gv_retained_find(const gv_retained_t *table, gv_bytes_t topic);

/* When the first message expires, on the monotonic clock [ms]; UINT64_MAX: none ever does. */
uint64_t gv_retained_next_expiry(const gv_retained_t *table);

/* Takes out a message that has expired by now, the caller's reference then; NULL: there is none. */
gv_msgbuf_t *gv_retained_take_expired(gv_retained_t *table, uint64_t now_ms);

/* What matched a filter: references of the caller's.  Start with all zero. */
typedef struct gv_retained_found {
    gv_msgbuf_t **messages;
    size_t count;
    size_t capacity;
    size_t visited; /* nodes of the trie: what the search has cost */
    size_t missed;  /* that there was no memory for */
} gv_retained_found_t;

/* Appends references to all messages whose topic matches; '$' topics only by name [MQTT-4.7.2-1].
 */
void gv_retained_match(const gv_retained_t *table, gv_bytes_t filter, gv_retained_found_t *found);

/*
 * A walk through what matches a filter, a slice at a time, for somebody who has time: no reference
 * is held between slices, and what comes or goes meanwhile may be missed or seen twice.
 */
typedef struct gv_retained_walk {
    gv_bytes_t filter; /* valid, and not shared; for all slices */
    gv_trail_t _trail; /* to the node that is next */
} gv_retained_walk_t;

/* False: enough; the next slice begins with this one. */
typedef bool gv_retained_walk_cb_t(gv_msgbuf_t *kept, void *arg);

/*
 * Shows messages, borrowed, after visiting `visits_max` nodes of the trie at most.  True: that was
 * the last one; the walk begins anew then.  Starts with all zero but the filter.
 */
bool gv_retained_walk_on(const gv_retained_t *table, gv_retained_walk_t *walk, uint32_t visits_max,
                         gv_retained_walk_cb_t *on_message, void *arg);

void gv_retained_walk_deinit(gv_retained_walk_t *walk);
