/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the node_*.c files share. */

#include <stdatomic.h>

#include <uv.h>

#include "base/io/loop.h"
#include "base/io/os.h"
#include "broker/admin/admin.h"
#include "broker/admin/clients.h"
#include "broker/admin/drain.h"
#include "broker/admin/members.h"
#include "broker/admin/publish.h"
#include "broker/admin/retained_list.h"
#include "broker/admin/route_list.h"
#include "broker/admin/routes.h"
#include "broker/admin/subscription_list.h"
#include "broker/auth/auth.h"
#include "broker/core/hub.h"
#include "broker/core/restore.h"
#include "broker/core/shard.h"
#include "broker/net/frontend.h"
#include "broker/net/listeners.h"
#include "broker/node.h"
#include "broker/sys_topics.h"
#include "cluster/cluster.h"
#include "storage/identity.h"
#include "storage/store.h"

typedef struct gv_drain_order gv_drain_order_t;

/* One shard with its thread. */
typedef struct gv_node_shard {
    gv_node_t *node;
    gv_loop_t *loop;
    gv_shard_t *shard;
    gv_job_t turn_end;
    gv_letter_t start_letter;
    gv_letter_t dues_letter; /* wills and ends of restored sessions may come */
    gv_msgbuf_t **events;    /* of clients that came and went in this turn: kept messages */
    size_t event_count;
    size_t event_capacity;
    gv_drain_order_t *drain_order; /* followed at the moment, or NULL; its thread's */
    gv_limits_t limits;            /* in force; written by this shard's thread once it runs */
    gv_auth_t auth;                /* likewise */
} gv_node_shard_t;

struct gv_node {
    const gv_config_t *config;
    gv_node_reload_cb_t *reload;
    void *reload_arg;

    gv_store_t *store;
    gv_identity_t identity;
    gv_log_t log; /* of waiting messages; shared by the shards */
    gv_restored_t restored;
    uint64_t restored_ms; /* what loading took */
    uint64_t boot_id;
    uint64_t hash_seed;
    uint64_t started_ms;

    gv_bucket_t connects; /* shared by the shards, as are the next two */
    gv_bucket_t drained;
    gv_retained_common_t retained_common;
    gv_memory_t memory; /* likewise */
    gv_users_t *users;  /* as the configuration in force has them */
    gv_passwords_t *passwords;
    gv_router_t *router;
    _Atomic uint64_t nodes_alive;
    _Atomic uint64_t nodes_away;
    _Atomic uint64_t nodes_full;

    gv_loop_t *main_loop;
    gv_admin_t *admin;
    gv_status_source_t status_source;
    char *presence_prefix; /* "$SYS/brokers/NODE/clients/" */
    uv_signal_t signals[3];
    gv_timer_t end_timer;
    gv_drain_ops_t drain_ops;
    gv_members_ops_t members_ops;
    gv_walk_host_t walk_host;
    gv_publish_ops_t publish_ops;
    gv_retained_source_t retained_source;
    gv_list_t publishes; /* messages from the admin port that are not safe yet */
    uint32_t publish_count;
    char *drain_reference; /* while draining; or NULL */
    gv_timer_t sys_timer;
    gv_timer_t memory_timer;
    _Atomic uint64_t resident_bytes; /* as the system counts; 0: not known */
    uint64_t in_use_trimmed;         /* when memory was last given back to the system */
    gv_memory_state_t memory_state;  /* as the log has it */
    gv_sys_topics_t *sys_topics;     /* NULL until the main loop runs */
    bool is_sys_asking;

    gv_loop_t *cluster_loop;
    gv_hub_t *hub;
    gv_cluster_t *cluster; /* NULL: the node is on its own */
    gv_job_t hub_turn_end;
    gv_letter_t main_start_letter;
    gv_letter_t give_up_letter;
    gv_letter_t cluster_start_letter;
    gv_letter_t cluster_leave_letter;

    gv_node_shard_t *shards;
    gv_frontend_t **frontends; /* of the shards, by index */
    uint16_t shard_count;
    gv_loop_t **shard_loops;
    gv_listeners_t *listeners;
    gv_letter_t arrival_letter; /* cluster loop -> main loop */
    gv_timer_t ready_timer;
    bool is_arrival_told; /* the cluster loop's */
    bool has_arrived;     /* in step with the other nodes, once; the main loop's, as is the next */
    bool is_waiting;      /* for that; no listener is open yet */
    gv_letter_t *late_letters; /* to loops that are freed; the end only */

    /* Written by one thread each, read by the admin port. */
    atomic_bool is_cluster_synced;
    atomic_bool has_cluster_left;
    atomic_bool has_failed;
    bool has_signals;
    bool is_draining; /* no clients are wanted: for a while, or because it */
    bool is_ending;
    bool is_stopping;       /* the main loop ends when no inquiry is under way any more */
    uint32_t inquiry_count; /* main loop -> another loop -> main loop */
    bool is_leaving;
    uint64_t end_until_ms;
};

/* Ends the node because a part of it could not start; from any thread, by one of them. */
void gv__node_give_up(gv_node_t *node);

/*
 * Lets go of what hangs on the main loop, and ends it; an inquiry that is with another loop
 * comes back first, because its answer looks at everything there is.  Main loop.
 */
void gv__node_stop(gv_node_t *node);

/* Ends the main loop if the node is stopping and nothing is under way. */
void gv__node_stop_if_idle(gv_node_t *node);

/* ---- node_listeners.c -------------------------------------------------------------------------
 */

/* Binds all addresses; nothing is accepted yet. */
GV_MUST_USE gv_err_t gv__node_listeners_new(gv_node_t *node, gv_error_text_t *error);
/*
 * Begins to accept, on all shards, when this node is in step with the others: at once if there are
 * none to wait for, and after cluster.ready_wait_ms in any case.  Main loop.
 */
void gv__node_listeners_start(gv_node_t *node);
/* In step with the others, for the first time: tells the main loop.  Cluster loop. */
void gv__node_tell_arrival(gv_node_t *node);
void gv__node_listeners_reload(gv_node_t *node); /* certificates */
/* No new connections from now on, also none that are being waited with.  Main loop. */
void gv__node_listeners_close(gv_node_t *node);
void gv__node_listeners_free(gv_node_t *node);
/* For status; the array is the caller's to free. */
size_t gv__node_fill_listeners(const gv_node_t *node, gv_status_listener_t **out);

/* ---- node_shard.c -----------------------------------------------------------------------------
 */

/* Makes loop, shard, lane and front end of one shard; nothing runs yet. */
GV_MUST_USE gv_err_t gv__node_shard_new(gv_node_t *node, uint16_t index, gv_limits_t limits,
                                        gv_error_text_t *error);
/* The thread has ended: delivers what is still in its mailbox. */
void gv__node_shard_settle(gv_node_shard_t *shard);
void gv__node_shard_free(gv_node_shard_t *shard);
/* Hands new limits, and the users there are now, to the shard's thread. */
void gv__node_shard_reload(gv_node_shard_t *shard, gv_limits_t limits);

/* Wills and ends of the sessions that were loaded, of those that fall due by now, may come. */
void gv__node_shard_release_dues(gv_node_shard_t *shard);

/* Ports common to shards and hub. */
void gv__node_post(void *arg, uint16_t to, gv_letter_t *letter);
void gv__node_read_begin(void *arg);
void gv__node_read_end(void *arg);
uint64_t gv__node_monotonic_ms(void *arg);
uint64_t gv__node_realtime_ms(void *arg);

/* Loads retained messages and sessions from the store into their shards. */
GV_MUST_USE gv_err_t gv__node_load(gv_node_t *node, gv_error_text_t *error);

/* Connections of all shards that are open still. */
uint64_t gv__node_connections(const gv_node_t *node);

/* ---- node_drain.c -------------------------------------------------------------------------------
 */

void gv__node_drain_init(gv_node_t *node);
void gv__node_drain_deinit(gv_node_t *node);
/* Sends clients away and then stops; the second call stops at once.  Main loop. */
void gv__node_end(gv_node_t *node);
void gv__node_fill_drain(const gv_node_t *node, gv_status_drain_t *out);

/* ---- node_sys.c ---------------------------------------------------------------------------------
 */

/* (Re)starts the timer of $SYS topics, as the configuration says.  Main loop. */
void gv__node_sys_start(gv_node_t *node);
void gv__node_sys_stop(gv_node_t *node);

/* ---- node_cluster.c ---------------------------------------------------------------------------
 */

GV_MUST_USE gv_err_t gv__node_cluster_new(gv_node_t *node, gv_error_text_t *error);
/* Tells shards and hub who the others are; when all are made. */
void gv__node_connect_threads(gv_node_t *node);
void gv__node_cluster_start(gv_node_t *node);
void gv__node_cluster_leave(gv_node_t *node);

/* ---- node_memory.c ------------------------------------------------------------------------------
 */

/* Needs the configuration and the number of shards; to be undone in any case. */
void gv__node_memory_init(gv_node_t *node);
void gv__node_memory_deinit(gv_node_t *node);

/* The limit as the configuration says; again after a reload. */
void gv__node_memory_set(gv_node_t *node);

/* Looks at it now and then.  Main loop. */
void gv__node_memory_start(gv_node_t *node);

/* ---- node_members.c -----------------------------------------------------------------------------
 */

void gv__node_members_init(gv_node_t *node);

/* ---- node_walk.c --------------------------------------------------------------------------------
 */

/* When identity and shards are there. */
void gv__node_walk_init(gv_node_t *node);

/* ---- node_publish.c -----------------------------------------------------------------------------
 */

void gv__node_publish_init(gv_node_t *node);
/* Answers whoever waits still: the node does not wait with him.  Main loop. */
void gv__node_publish_stop(gv_node_t *node);
/* When all loops are freed. */
void gv__node_publish_deinit(gv_node_t *node);

/* ---- node_status.c ----------------------------------------------------------------------------
 */

void gv__node_status_init(gv_node_t *node);
GV_MUST_USE gv_err_t gv__node_admin_open(gv_node_t *node, gv_error_text_t *error);
