/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_router: who on this node, and which other nodes, want messages of a topic.
 *
 * A route is (topic filter, target).  A target is a local shard, with the number by which that
 * shard knows the filter (`slot`), or a remote node.  A shared subscription `$share/GROUP/FILTER`
 * is a route of its own: each group gets one of its targets per message.  Which sessions hang on a
 * filter is the business of the shard: a filter held by a million sessions costs one route per
 * shard.
 *
 * Life of a router:
 *     gv_router_new()     empty
 *     gv_router_set() / gv_router_unset()          one thread, the writer
 *     gv_router_match() and its relatives          any thread, at any time, in a read section
 *     gv_router_free()    when nobody reads any more
 *
 * How it is read without locks.  The router changes in place: a change is prepared aside and
 * becomes visible with one release store of one word; what it replaces goes to the retire port,
 * which frees it when every reader that may still see it has left its read section (RCU).  A reader
 * therefore finds each filter as it was before or after a change, never half of it.  Two filters
 * changed one after the other may be seen one new and one old: MQTT asks for nothing more, and it
 * is why a change costs one or two small allocations and not a copied path from the root, as a trie
 * with whole versions needs.
 *
 * Where a filter lives.  Without wildcards: in a hash table of whole filters, so a topic costs one
 * hash and one probe however many there are.  With wildcards: in a trie of levels; a match walks
 * only the nodes whose path matches, and does not start when there are none.
 *
 * The worst filters.  A walk visits every trie node whose path matches: n filters made of `+` and
 * of one topic's own levels cost a publish to that topic about 2n nodes of 10 to 50 ns each
 * (`nodes_visited` tells).  And a filter may have 128 levels that it shares with no other: 8 KB of
 * nodes.  Both are bounded by how many filters a client may hold, which is not decided here.
 *
 * Threads: as said at each function.  The writer's calls (and gv_router_free) need no read section.
 * Memory: about 85 bytes for a filter of 30 bytes without wildcards and with one target; 64 per
 * level that no other filter shares, and nothing for the target, for one with wildcards.
 *
 * Filters and topics are valid MQTT (proto/mqtt/topic.h); nothing here depends on it for safety.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/defs.h"
#include "base/err.h"
#include "broker/core/shared_heap.h"

enum {
    GV_ROUTER_SHARDS_MAX = 64, /* shard and node indexes are below these: they are bits of a word */
    GV_ROUTER_NODES_MAX = 64,
    GV_ROUTER_LEVELS_MAX = 128, /* levels of a filter with wildcards; the others have no limit */
};

/* Weights of a target above this count as this much (64 shards and 64 nodes still add up). */
#define GV_ROUTER_WEIGHT_MAX ((uint32_t)1 << 24)

typedef struct gv_router gv_router_t;

typedef struct gv_router_options {
    uint64_t hash_seed;     /* from the random port: the keys are chosen by clients */
    gv_retire_cb_t *retire; /* port: frees what readers may still see; called by the writer */
    void *retire_arg;
} gv_router_options_t;

typedef enum gv_route_kind {
    GV_ROUTE_SHARD, /* a shard of this node */
    GV_ROUTE_NODE,  /* another node */
} gv_route_kind_t;

typedef struct gv_route_target {
    gv_route_kind_t kind;
    uint8_t index; /* which shard or node: below GV_ROUTER_SHARDS_MAX or GV_ROUTER_NODES_MAX */
    uint32_t slot; /* shards only: the shard's own number for the filter, given back in hits */
    /*
     * `$share`: members online there; 0: offline members only.  Else: not 0 when there are sessions
     * there that outlive their connections.
     */
    uint32_t weight;
} gv_route_target_t;

/* ---- the writer ------------------------------------------------------------------------------ */

/* Makes an empty router in *router_out.  Cannot fail: options->retire must be set (asserted). */
void gv_router_new(const gv_router_options_t *options, gv_router_t **router_out);

/* Frees everything at once, not through the port, and sets *routerp to NULL.  No reader is left. */
void gv_router_free(gv_router_t **routerp);

/*
 * Adds the route, or replaces slot and weight of the one with the same filter, kind and index.
 * The filter's bytes are copied.  When it returns, every match that starts sees the route.
 *
 * Returns GV_OK; GV_ERR_LIMIT when the filter has wildcards and more than GV_ROUTER_LEVELS_MAX
 * levels or is longer than 65535 bytes; GV_ERR_INVAL for an empty filter or a `$share/` without
 * group or filter.  Nothing has changed after an error.
 */
GV_MUST_USE gv_err_t gv_router_set(gv_router_t *router, gv_bytes_t filter,
                                   gv_route_target_t target);

/* Takes the route away.  False: there was none. */
bool gv_router_unset(gv_router_t *router, gv_bytes_t filter, gv_route_kind_t kind, uint8_t index);

/*
 * Takes away all routes of a node that is forgotten, and returns how many they were.  Visits every
 * filter: some 100 ms for a million.
 */
size_t gv_router_unset_node(gv_router_t *router, uint8_t node);

typedef struct gv_router_local {
    uint32_t shards; /* shards of this node that hold a route for the filter */
    uint64_t weight; /* the sum of their weights, each at most GV_ROUTER_WEIGHT_MAX; plain: 1 */
} gv_router_local_t;

/*
 * What this node itself holds of a filter.  The writer announces a filter to the cluster when
 * `shards` leaves 0 and withdraws it when it comes back to 0.
 */
gv_router_local_t gv_router_local_weight(const gv_router_t *router, gv_bytes_t filter);

/* Whether the node has a plain route for the filter, and a lasting one.  The writer. */
bool gv_router_is_lasting_at(const gv_router_t *router, gv_bytes_t filter, uint8_t node);

typedef struct gv_router_counters {
    size_t routes;           /* (filter, target) pairs, `$share` ones included */
    size_t filters;          /* distinct plain filters that lead anywhere, be it to a group only */
    size_t wildcard_filters; /* of these, with wildcards */
    size_t groups;           /* distinct `$share/GROUP/FILTER` */
    size_t memory_bytes;     /* held by the router, with the allocator's overhead; retired memory
                                that waits for readers is not counted */
} gv_router_counters_t;

/* Writer's thread only; others get them by a letter. */
gv_router_counters_t gv_router_counters(const gv_router_t *router);

/* One filter, and where messages for it go. */
typedef struct gv_route_view {
    gv_bytes_t filter; /* of a group "$share/GROUP/FILTER" */
    uint64_t shards;   /* bits: shards of this node */
    uint64_t nodes;    /* bits: other nodes */
} gv_route_view_t;

/* False: enough; the next slice begins with this one.  Borrowed for the call. */
typedef bool gv_route_view_cb_t(const gv_route_view_t *route, void *arg);

/* A walk through all routes, a slice at a time. */
typedef struct gv_router_walk gv_router_walk_t;

void gv_router_walk_new(gv_router_walk_t **walk_out);
void gv_router_walk_free(gv_router_walk_t **walkp);

/*
 * Shows filters, after visiting `visits_max` places at most.  What comes or goes between two slices
 * may be missed or seen twice, and more when a table grows or shrinks.  True: that was the last
 * one.  The writer's thread only.
 */
bool gv_router_walk_on(const gv_router_t *router, gv_router_walk_t *walk, uint32_t visits_max,
                       gv_route_view_cb_t *on_route, void *arg);

/* Shows one filter.  False: nobody has it.  The writer's thread only. */
bool gv_router_show(const gv_router_t *router, gv_bytes_t filter, gv_route_view_cb_t *on_route,
                    void *arg);

/* ---- readers --------------------------------------------------------------------------------- */

/* A local shard that wants the message, and for which of its filters. */
typedef struct gv_route_hit {
    uint32_t slot;
    uint8_t shard;
} gv_route_hit_t;

/* A `$share` group whose copy of the message goes to a member on another node. */
typedef struct gv_route_node_share {
    gv_bytes_t filter; /* "$share/GROUP/FILTER"; valid within the read section only */
    uint8_t node;
} gv_route_node_share_t;

/*
 * The answer to a match: scratch memory of the caller, one per thread, used again and again.  Start
 * with gv_matches_init() (all zero); the arrays grow to what was needed and stay.
 */
typedef struct gv_matches {
    uint64_t shards; /* bit i: shard i has at least one hit */
    uint64_t nodes;  /* bit i: node i has a plain route; dead nodes too, the outbox decides */
    uint64_t lasting_nodes; /* of these, where sessions outlive their connections */
    gv_route_hit_t *hits;
    size_t hit_count;
    gv_route_node_share_t *node_shares;
    size_t node_share_count;
    uint32_t nodes_visited; /* trie nodes the walk looked at: what the match has cost */
    size_t _hit_capacity;
    size_t _node_share_capacity;
} gv_matches_t;

void gv_matches_init(gv_matches_t *matches);
void gv_matches_deinit(gv_matches_t *matches);

/*
 * Answers for a message published here.  Each matching plain filter gives one hit per shard and one
 * bit per node; a shard that holds several matching filters has several hits.  Each matching
 * `$share` group gives exactly one hit or one node share: chosen by `random`, a target with n
 * members online n times as likely as one with 1; targets without any only if no target has one;
 * nodes whose bit in nodes_alive_mask is clear not at all.  A group with no eligible target gives
 * nothing.
 *
 * `out` is emptied first.  Nothing is allocated once `out` has grown.  Any thread, in a read
 * section.
 */
GV_ANY_THREAD void gv_router_match(const gv_router_t *router, gv_bytes_t topic,
                                   uint64_t nodes_alive_mask, uint32_t random, gv_matches_t *out);

/*
 * Answers for a message that came from another node: local hits of plain filters only.  The groups
 * whose member here was chosen are named by the sender: gv_router_add_share() for each of them.
 * `out` is emptied first.  Any thread, in a read section.
 */
GV_ANY_THREAD void gv_router_match_local(const gv_router_t *router, gv_bytes_t topic,
                                         gv_matches_t *out);

/*
 * Adds to `out` one local target of the group `share_filter` ("$share/GROUP/FILTER"), chosen as in
 * gv_router_match(), for a message for which another node has chosen us.  False, and `out`
 * unchanged: no target is left (the last member went away while the message was on its way).  Any
 * thread, in a read section.
 */
GV_ANY_THREAD GV_MUST_USE bool gv_router_add_share(const gv_router_t *router,
                                                   gv_bytes_t share_filter, uint32_t random,
                                                   gv_matches_t *out);

/*
 * Answers for a message that one group is to have, be it here or on another node: one target,
 * chosen as in gv_router_match().  `out` is emptied first.  False: there is none.  Any thread, in a
 * read section.
 */
GV_ANY_THREAD GV_MUST_USE bool gv_router_pick_share(const gv_router_t *router,
                                                    gv_bytes_t share_filter,
                                                    uint64_t nodes_alive_mask, uint32_t random,
                                                    gv_matches_t *out);

/* Which member of a group is to have a message that another one has left behind. */
typedef struct gv_share_wish {
    uint64_t nodes_alive_mask;
    uint32_t random;
    uint16_t but_shard; /* nobody on this local shard; UINT16_MAX: anybody */
    bool is_online;     /* only who is online */
} gv_share_wish_t;

/* As gv_router_pick_share(), among those the wish allows. */
GV_ANY_THREAD GV_MUST_USE bool gv_router_pick_other(const gv_router_t *router,
                                                    gv_bytes_t share_filter,
                                                    const gv_share_wish_t *wish, gv_matches_t *out);

/*
 * A number that grows with each change, after the change is visible.  A cache takes the version
 * before it matches; what it has stored is right as long as the version is the same.  Any thread.
 */
GV_ANY_THREAD uint64_t gv_router_version(const gv_router_t *router);
