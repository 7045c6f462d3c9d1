/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_filter_trie: the routes of filters with wildcards.  Part of the router (router.h).
 *
 * One node per distinct prefix of levels.  For the filters a/+, a/b/# and #:
 *
 *     root  [below: routes of #]
 *      `- a  [plus]
 *         |- +  [here: routes of a/+]
 *         `- b  [below: routes of a/b/#]
 *
 * A topic is matched by walking down with its levels: at each node along the literal child and
 * along the `+` child.  `below` of every node on the way matches, `here` of the node at the end. So
 * a match touches only nodes whose filters fit the topic so far; in the worst case, filters made
 * for it, that is every node down to the depth of the topic (out->nodes_visited tells).
 *
 * Depth is bounded: a filter has at most GV_ROUTER_LEVELS_MAX levels, a topic is split level by
 * level and only as far as the walk gets.  No recursion on what a peer sends.
 *
 * Threads: gv_filter_trie_match() from any thread in a read section, the rest by the writer.
 * Memory: 40 bytes and the level's text per node; nodes that lead nowhere are taken out at once.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "broker/core/exact_table.h"
#include "broker/core/routes.h"
#include "broker/core/shared_heap.h"
#include "broker/core/trail.h"

typedef struct gv_filter_node gv_filter_node_t;

/* Public only so that the router can embed it. */
typedef struct gv_filter_trie {
    uint64_t _hash_seed;
    gv_filter_node_t *_root;
} gv_filter_trie_t;

void gv_filter_trie_init(gv_filter_trie_t *trie, gv_shared_heap_t *heap, uint64_t hash_seed);

/* Frees everything at once: nobody reads any more. */
void gv_filter_trie_deinit(gv_filter_trie_t *trie, gv_shared_heap_t *heap);

/* Gives the routes of all filters that match the topic to the collector. */
GV_ANY_THREAD void gv_filter_trie_match(const gv_filter_trie_t *trie, gv_bytes_t topic,
                                        const gv_collector_t *collector);

/* Does the filter fit into the trie?  At most GV_ROUTER_LEVELS_MAX levels. */
bool gv_filter_trie_accepts(gv_bytes_t filter);

/* The routes of the filter, or NULL.  Any filter may be asked for. */
gv_routes_t *gv_filter_trie_find(const gv_filter_trie_t *trie, gv_bytes_t filter);

/* As find; makes the missing nodes, with empty routes.  The filter is one that the trie accepts. */
gv_routes_t *gv_filter_trie_find_or_add(gv_filter_trie_t *trie, gv_shared_heap_t *heap,
                                        gv_bytes_t filter);

/* Takes out the nodes that lead nowhere, now that the routes of `filter` are empty. */
void gv_filter_trie_prune(gv_filter_trie_t *trie, gv_shared_heap_t *heap, gv_bytes_t filter);

/* As gv_exact_table_sweep(). */
void gv_filter_trie_sweep(gv_filter_trie_t *trie, gv_shared_heap_t *heap,
                          gv_routes_sweep_cb_t *visit, void *arg);

/*
 * A walk through all filters, a slice at a time; filters may come and go between slices, and some
 * of those may be missed or seen twice.  Starts with all zero.
 */
typedef struct gv_filter_trie_walk {
    gv_trail_t _trail;  /* to the node that is next */
    bool _is_here_over; /* of its two filters the first one has been shown */
} gv_filter_trie_walk_t;

/* False: enough; the next slice begins with this one. */
typedef bool gv_filter_trie_cb_t(gv_bytes_t filter, const gv_routes_t *routes, void *arg);

/*
 * Shows filters that have routes, after visiting `visits_max` nodes at most.  True: that was the
 * last one.
 */
bool gv_filter_trie_walk_on(const gv_filter_trie_t *trie, gv_filter_trie_walk_t *walk,
                            uint32_t visits_max, gv_filter_trie_cb_t *on_filter, void *arg);

void gv_filter_trie_walk_deinit(gv_filter_trie_walk_t *walk);
