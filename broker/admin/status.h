/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a node says about itself: one plain snapshot, and its forms as JSON (the API) and as text
 * for Prometheus (metrics.c).
 *
 * The node fills the structs; nothing here knows where the numbers come from.  All texts and arrays
 * are borrowed for the call they are passed to.  Counters with no word of their own here (of links,
 * of the store, of a later feature) go into `counters` and appear in both forms by themselves.
 *
 * Threads: plain values; rendering on the admin loop.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/defs.h"

#define GV_STATUS_NEVER UINT64_MAX

/* grapevine_NAME in metrics; `is_gauge` false: it only grows, and the name ends in _total. */
typedef struct gv_status_counter {
    const char *name;
    const char *help;
    bool is_gauge;
    uint64_t value;
} gv_status_counter_t;

/* Messages that were dropped, by reason; reasons are words like "queue_full". */
typedef struct gv_status_drop {
    const char *reason;
    uint64_t count;
} gv_status_drop_t;

typedef struct gv_status_shard {
    uint64_t connections;
    uint64_t sessions;
    uint64_t turns;
    uint64_t turn_p50_ns; /* working time of a loop's turn: what an event has to wait for */
    uint64_t turn_p99_ns;
    uint64_t lag_ns; /* the longest recent turn */
} gv_status_shard_t;

typedef struct gv_status_listener {
    const char *url; /* as configured */
    uint16_t port;   /* as bound; 0: a unix socket */
    uint64_t connections;
} gv_status_listener_t;

/* How one node sees another. */
typedef struct gv_status_view {
    const char *node; /* the one seen */
    const char *id;
    const char *state; /* "alive", "suspect", "dead", "left" */
    bool is_linked;    /* a working link, both ways */
    uint64_t incarnation;
    uint64_t last_heard_ms; /* ago; GV_STATUS_NEVER */
    uint64_t rtt_us;        /* 0: not measured */
    uint64_t table_incarnation;
    uint64_t table_seq;
    uint64_t table_hash;
    uint64_t table_rows;
} gv_status_view_t;

/* A member of the cluster; the first of the array is the node itself. */
typedef struct gv_status_node {
    const char *node;
    const char *id;
    const char *address;
    const char *state; /* as this node sees it */
    const char *relay; /* through whom messages go, or NULL: direct or no path */
    bool is_self;
    bool is_linked;
    bool has_path;
    uint64_t incarnation;
    uint64_t last_heard_ms;
    uint64_t rtt_us;
    uint64_t routes;
    uint64_t route_bytes;
    uint64_t forward_queued_messages; /* waiting here for it */
    uint64_t forward_queued_bytes;
    uint64_t outbox_messages; /* on disk for it */
    uint64_t outbox_bytes;
    uint64_t view_age_ms; /* of `views`; GV_STATUS_NEVER: it has told us none */
    const gv_status_view_t *views;
    size_t view_count;
} gv_status_node_t;

/* The longest Server Reference we give [bytes]. */
#define GV_SERVER_REFERENCE_SIZE_MAX 1024U

typedef struct gv_status_drain {
    const char *state;            /* "no", "draining", "drained" */
    const char *server_reference; /* where clients are sent; NULL or "": nowhere in particular */
    uint64_t clients_left;
} gv_status_drain_t;

/* Edges of the buckets that metrics show: 2^17 ns (0.13 ms) to 2^31 ns (2.1 s). */
#define GV_STATUS_TIME_FIRST   17U
#define GV_STATUS_TIME_BUCKETS 15U

/* How long something takes, since the start [ns]. */
typedef struct gv_status_times {
    uint64_t p50_ns;
    uint64_t p99_ns;
    uint64_t below[GV_STATUS_TIME_BUCKETS]; /* how often it took less than 2^(FIRST + i) */
    uint64_t count;
    uint64_t sum_ns;
} gv_status_times_t;

typedef struct gv_status_storage {
    const char *sync;    /* "commit", "interval", "off" */
    const char *promise; /* what that means, as a sentence */
    uint64_t used_bytes;
    uint64_t limit_bytes; /* new messages are refused above it */
    uint64_t max_bytes;
    bool is_full;
    uint64_t waiting_batches;  /* for the writer */
    uint64_t batches_p50;      /* that share a commit */
    gv_status_times_t commit;  /* a transaction with its sync */
    gv_status_times_t durable; /* from a batch's submission to its durability */
    gv_status_times_t load;    /* of a value that was not in memory */
    uint64_t oldest_reader_ns; /* read transaction; 0: none is open */
} gv_status_storage_t;

/* The log of messages that wait for persistent sessions. */
typedef struct gv_status_log {
    uint64_t queued_bytes;  /* of messages that wait or are not acknowledged */
    uint64_t pending_bytes; /* not durable yet */
    uint64_t segments;
    uint64_t bytes;
    uint64_t live_bytes;   /* of these, still needed (estimate) */
    uint64_t head;         /* number of the oldest segment; 0: there is none */
    uint64_t tail;         /* of the newest */
    uint64_t memory_bytes; /* of segments that are kept in memory */
    uint64_t cleaned_segments;
    uint64_t restored_sessions; /* at the start, ... */
    uint64_t restored_messages;
    uint64_t restored_ms; /* ... which took so long */
} gv_status_log_t;

/* Memory in use for one purpose. */
typedef struct gv_status_memory_part {
    const char *kind;
    uint64_t bytes;
} gv_status_memory_part_t;

typedef struct gv_status_memory {
    const char *state; /* "enough", "scarce", "critical" */
    bool is_scarce;    /* or critical */
    bool is_critical;
    uint64_t max_bytes; /* 0: no limit */
    uint64_t in_use_bytes;
    uint64_t resident_bytes; /* as the system counts it; 0: not known */
    uint64_t scarce_times;
    uint64_t critical_times;
    const gv_status_memory_part_t *parts;
    size_t part_count;
} gv_status_memory_t;

typedef struct gv_status {
    const char *node;
    const char *id;
    const char *version;
    uint64_t incarnation;
    uint64_t uptime_ms;
    const char *const *not_ready; /* reasons, in words; none: the node is ready */
    size_t not_ready_count;
    gv_status_drain_t drain;

    uint64_t connections;
    uint64_t connections_total;
    uint64_t connections_refused;
    uint64_t sessions;
    uint64_t subscriptions;
    uint64_t routes;
    uint64_t retained;
    uint64_t queued_messages;
    uint64_t received[3]; /* PUBLISH, by QoS */
    uint64_t sent[3];
    uint64_t received_bytes;
    uint64_t sent_bytes;
    const gv_status_drop_t *drops;
    size_t drop_count;
    const gv_status_counter_t *counters;
    size_t counter_count;

    const gv_status_shard_t *shards;
    size_t shard_count;
    const gv_status_listener_t *listeners;
    size_t listener_count;

    gv_status_memory_t memory;
    gv_status_storage_t storage;
    gv_status_log_t log;

    const char *cluster; /* its name, or NULL: the node is alone */
    const gv_status_node_t *nodes;
    size_t node_count;
} gv_status_t;

/* /api/v1/status: this node. */
GV_MUST_USE json_t *gv_status_json(const gv_status_t *status);

/* /api/v1/nodes: the members, as this node sees them, under EMQX's names where they fit. */
GV_MUST_USE json_t *gv_status_nodes_json(const gv_status_t *status);

/* /api/v1/cluster: every node's own view of every other. */
GV_MUST_USE json_t *gv_status_cluster_json(const gv_status_t *status);

/* "drain" in /api/v1/status, and the answer to /api/v1/drain. */
GV_MUST_USE json_t *gv_status_drain_json(const gv_status_drain_t *drain);

/* /readyz */
GV_MUST_USE json_t *gv_status_ready_json(const gv_status_t *status);
