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
 * Each topic has the stamp of its last write (base/hlc.h), also when that was a deletion: then a
 * tombstone takes the message's place, so that an older message that comes late, from another node,
 * is known to be older.  What a shard has is divided into buckets by a hash of the topic that is
 * the same on all nodes.  Each bucket has a sum over its topics and stamps; nodes compare sums, and
 * then what is in the buckets that differ (reconcile.h).  A bucket belongs to one shard.
 *
 * Threads: the shard's.  Memory: a node of about 140 bytes per level that is not shared, 8 bytes
 * for each message that expires and each tombstone, 64 KiB of lists, and the messages.
 */

#include "base/hlc.h"
#include "base/list.h"
#include "base/map.h"
#include "broker/core/message.h"
#include "broker/core/trail.h"

typedef struct gv_retained_node gv_retained_node_t;

#define GV_RETAINED_BUCKETS 4096U

/* What the shards and the hub of a node share about retained messages. */
typedef struct gv_retained_common {
    gv_hlc_t clock;
    uint64_t seed;      /* of the buckets: all nodes of a cluster have the same */
    uint64_t forget_ms; /* who has been away for longer is forgotten (cluster.forget_after) */
    bool is_clustered;  /* there may be other nodes: deletions are remembered */
    _Atomic uint64_t messages; /* what the shards hold; each adds and takes away its own */
    _Atomic uint64_t bytes;
    _Atomic uint64_t bound; /* of the stamps this node gives; on the disk, or about to be */
    _Atomic uint64_t floor; /* what was written up to here all nodes know; the hub's, as the next */
    _Atomic uint64_t horizon; /* ... but for what was written before this: since then, somebody who
                                 is here remembers who belongs to the cluster */
    _Atomic uint64_t sums[GV_RETAINED_BUCKETS]; /* each written by the shard it belongs to */
} gv_retained_common_t;

/* Zeroed memory; the clock begins above hlc_floor. */
void gv_retained_common_init(gv_retained_common_t *common, uint64_t hlc_floor);

uint32_t gv_retained_bucket(gv_bytes_t topic, uint64_t seed);

/* The shard that keeps a bucket, and so the retained message of a topic. */
static inline uint16_t gv_retained_home(uint32_t bucket, uint16_t shard_count)
{
    return (uint16_t)(bucket % shard_count);
}

typedef struct gv_retained_heap {
    gv_retained_node_t **_nodes; /* the one that is due first at the top */
    uint32_t _count;
    uint32_t _capacity;
} gv_retained_heap_t;

/* Public only so that a shard can embed it. */
typedef struct gv_retained {
    gv_retained_node_t *_root;
    uint64_t _seed;
    gv_retained_common_t *_common;
    gv_retained_heap_t _expiring;
    gv_retained_heap_t _tombstones; /* the oldest at the top */
    gv_list_t *_buckets;
    size_t count; /* of messages */
    size_t bytes; /* of them */
} gv_retained_t;

void gv_retained_init(gv_retained_t *table, uint64_t hash_seed, gv_retained_common_t *common);
void gv_retained_deinit(gv_retained_t *table);

/*
 * Puts a message in the place of what its topic has; takes a reference.  One without a payload is a
 * tombstone: it is not found, not matched and not counted, but its stamp is known.  A stamp of all
 * zero is for what concerns this node only: it is in no bucket.
 */
void gv_retained_set(gv_retained_t *table, gv_msgbuf_t *kept, const gv_stamp_t *stamp);

/* Forgets the topic.  Whether there was a message. */
bool gv_retained_remove(gv_retained_t *table, gv_bytes_t topic);

/* The topic's message, borrowed, or NULL. */
gv_msgbuf_t *gv_retained_find(const gv_retained_t *table, gv_bytes_t topic);

/* The last write of a topic; `kept` is borrowed, and a tombstone's has no payload. */
typedef struct gv_retained_write {
    gv_msgbuf_t *kept;
    gv_stamp_t stamp;
    bool is_tombstone;
} gv_retained_write_t;

/* False: nothing is known of the topic. */
bool gv_retained_look(const gv_retained_t *table, gv_bytes_t topic, gv_retained_write_t *write_out);

/* Walks through the writes of a bucket; starts with NULL.  The table must not change meanwhile. */
gv_link_t *gv_retained_bucket_next(const gv_retained_t *table, uint32_t bucket, gv_link_t *link,
                                   gv_retained_write_t *write_out);

/* How many tombstones there are; one of them, in no order but that the first is the oldest. */
size_t gv_retained_tombstones(const gv_retained_t *table);
gv_retained_write_t gv_retained_tombstone_at(const gv_retained_t *table, size_t place);

/* When the first message expires, on the monotonic clock [ms]; UINT64_MAX: none ever does. */
uint64_t gv_retained_next_expiry(const gv_retained_t *table);

/*
 * Takes out a message that has expired by now, the caller's reference then, and says what its stamp
 * was; NULL: there is none.
 */
gv_msgbuf_t *gv_retained_take_expired(gv_retained_t *table, uint64_t now_ms, gv_stamp_t *stamp_out);

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
