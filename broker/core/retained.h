/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_retained: the retained messages of one shard, found by filter.
 *
 * Every topic has a home shard (a hash of its name) that keeps its retained message; so a node has
 * one copy, and no lock.  A subscription without wildcards asks one shard, one with wildcards asks
 * all.  Inside, a trie of topic levels: finding costs what matches, not what is there.
 *
 * Threads: the shard's.  Memory: a node of about 100 bytes per level that is not shared, and the
 * messages.
 */

#include "base/map.h"
#include "broker/core/message.h"

typedef struct gv_retained_node gv_retained_node_t;

/* Public only so that a shard can embed it. */
typedef struct gv_retained {
    gv_retained_node_t *_root;
    uint64_t _seed;
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

/* What matched a filter: references of the caller's.  Start with all zero. */
typedef struct gv_retained_found {
    gv_msgbuf_t **messages;
    size_t count;
    size_t capacity;
} gv_retained_found_t;

/* Appends references to all messages whose topic matches; '$' topics only by name [MQTT-4.7.2-1].
 */
void gv_retained_match(const gv_retained_t *table, gv_bytes_t filter, gv_retained_found_t *found);
