/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_cluster: this node's part in a cluster, as the broker sees it.
 *
 * It puts the cluster core (cluster/core/core.h: membership, route tables, forwarding) onto real
 * connections (cluster/link) and real time.  The broker announces its routes, publishes to other
 * nodes, and hears through the ops what the others have.
 *
 *     gv_cluster_new()      any thread: checks the options and binds the port; errors come here
 *     gv_cluster_start()    on the loop: listens, dials the seeds
 *       ...
 *     gv_cluster_leave()    tells everybody that the node stops on purpose, and ends the links
 *     gv_cluster_free()     after that, or after the loop has ended without it (a crash, to others)
 *
 * When ops run: on the loop, never from inside a function of this header.  They must not call back,
 * except for the functions marked "const": an op writes down what happened, and the broker acts on
 * it at the end of its turn.  Calls made there go out in the same or in the very next turn, without
 * waiting for anything else.
 *
 * Threads: the cluster loop's, except where said otherwise.
 * Memory: bounded by the limits in the options, which are the core's (gv_ccore_limits_t).
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/defs.h"
#include "base/err.h"
#include "base/io/address.h"
#include "base/io/loop.h"
#include "cluster/core/core.h"
#include "cluster/link/link.h"

typedef struct gv_cluster gv_cluster_t;

/* What the broker hears; the words are explained at the ports of the same names in core.h. */
typedef struct gv_cluster_ops {
    void (*row)(gv_node_index_t node, gv_bytes_t key, uint32_t value, void *arg);
    void (*node)(gv_node_index_t node, gv_node_event_t event, void *arg);
    void (*deliver)(const gv_delivery_t *delivery, const gv_forward_t *msg, void *arg);
    void (*confirmed)(uint64_t token, gv_node_index_t node, gv_forward_result_t result,
                      const gv_forward_t *lost, void *arg);
    bool (*overdue)(uint64_t *token, gv_node_index_t node, const gv_forward_t *msg, void *arg);
    void (*note)(gv_node_index_t node, gv_frame_kind_t kind, gv_bytes_t body, void *arg);
    void (*claimed)(const gv_claim_t *claim, gv_claim_verdict_t verdict, void *arg);
    void (*let_go)(const gv_letting_t *letting, void *arg);
    void (*barrier)(uint64_t token, bool in_time, void *arg);
    void (*start_counter)(uint64_t start_counter, void *arg);
} gv_cluster_ops_t;

/* Everything is copied. */
typedef struct gv_cluster_options {
    gv_loop_t *loop;
    gv_node_id_t node_id;
    gv_incarnation_t incarnation; /* the counter is on disk already */
    const char *node_name;
    const char *cluster_name;
    /* "host:port"; port 0: any free one.  NULL or "": a node on its own; no secret is needed then.
     */
    const char *listen;
    /*
     * "host:port" at which the others can reach this node; NULL or "": the listen address, and if
     * that is a wildcard, the host at which each peer sees us.  In containers, where a node knows
     * its name and not its address, this is the name.  Port 0: the port it listens on.
     */
    const char *advertise;
    const char *const *seeds; /* "host:port"; a name may stand for several nodes */
    size_t seed_count;
    gv_bytes_t secret; /* empty: none, and then is_insecure must be set */
    bool is_insecure;  /* the operator wants no secret: whoever reaches the port is a member */
    gv_ccore_timing_t timing;
    gv_ccore_limits_t limits;
    gv_cluster_ops_t ops;
    void *arg;
} gv_cluster_options_t;

/* The default timing and limits; everything else zero. */
void gv_cluster_options_init(gv_cluster_options_t *options);

/*
 * Checks everything and binds the port.
 *
 * Errors, each with one line for the operator in *error: GV_ERR_INVAL (a name, an address),
 * GV_ERR_DENIED (no secret and not insecure, or no right to the port), GV_ERR_BUSY (address in
 * use), GV_ERR_NOENT (the host cannot be resolved), GV_ERR_IO.
 */
GV_MUST_USE GV_ANY_THREAD gv_err_t gv_cluster_new(const gv_cluster_options_t *options,
                                                  gv_cluster_t **cluster_out,
                                                  gv_error_text_t *error);

/* Errors: GV_ERR_BUSY, GV_ERR_IO, with words in *error; only gv_cluster_free() is left then. */
GV_MUST_USE GV_LOOP_ONLY gv_err_t gv_cluster_start(gv_cluster_t *cluster, gv_error_text_t *error);

typedef void gv_cluster_left_cb_t(void *arg);

/*
 * Says goodbye, writes what is waiting (within the loop's linger time), ends the links.  Ops go on
 * until on_left, so that everything asked gets its answer.  on_left comes once, later.
 */
GV_LOOP_ONLY void gv_cluster_leave(gv_cluster_t *cluster, gv_cluster_left_cb_t *on_left, void *arg);

/* On any thread, when the loop has ended, or on the loop after on_left. */
void gv_cluster_free(gv_cluster_t **clusterp);

/* Where it listens, with the real port; "" if nowhere.  Any thread, from gv_cluster_new() on. */
GV_ANY_THREAD const char *gv_cluster_address(const gv_cluster_t *cluster);

/* ---- asking (see the functions of the same names in core.h) ------------------------------- */

GV_MUST_USE GV_LOOP_ONLY gv_err_t gv_cluster_route_set(gv_cluster_t *cluster, gv_bytes_t key,
                                                       uint32_t value);
GV_LOOP_ONLY void gv_cluster_barrier(gv_cluster_t *cluster, uint64_t token);
GV_LOOP_ONLY void gv_cluster_publish(gv_cluster_t *cluster, const gv_forward_t *msg,
                                     uint64_t node_mask, uint64_t token);
GV_LOOP_ONLY void gv_cluster_applied(gv_cluster_t *cluster, gv_delivery_t delivery,
                                     const gv_delivery_outcome_t *outcome);
GV_LOOP_ONLY bool gv_cluster_note(gv_cluster_t *cluster, gv_node_index_t node, gv_frame_kind_t kind,
                                  gv_bytes_t body);
GV_LOOP_ONLY gv_node_index_t gv_cluster_remember(gv_cluster_t *cluster,
                                                 const gv_remembered_t *member);
GV_MUST_USE GV_LOOP_ONLY gv_err_t gv_cluster_remember_row(gv_cluster_t *cluster,
                                                          gv_node_index_t node, gv_bytes_t key,
                                                          uint32_t value);
GV_LOOP_ONLY void gv_cluster_claim(gv_cluster_t *cluster, const gv_claim_t *claim);
GV_LOOP_ONLY void gv_cluster_register(gv_cluster_t *cluster, const gv_claim_t *claim);
GV_LOOP_ONLY void gv_cluster_withdraw(gv_cluster_t *cluster, const gv_id_key_t *key,
                                      gv_holder_t holder);
GV_LOOP_ONLY void gv_cluster_let_gone(gv_cluster_t *cluster, const gv_letting_t *letting);
GV_LOOP_ONLY void gv_cluster_pause_credit(gv_cluster_t *cluster, bool is_paused);
/* Also GV_ERR_INVAL: that is no HOST:PORT. */
GV_MUST_USE GV_LOOP_ONLY gv_err_t gv_cluster_join(gv_cluster_t *cluster, const char *address);
GV_MUST_USE GV_LOOP_ONLY gv_err_t gv_cluster_forget(gv_cluster_t *cluster, gv_node_index_t node);

/* Bit i: node i is another one that messages can go to.  const */
GV_LOOP_ONLY uint64_t gv_cluster_routable(const gv_cluster_t *cluster);

/* Bit i: node i is another one that is known.  const */
GV_LOOP_ONLY uint64_t gv_cluster_members(const gv_cluster_t *cluster);

/* The member with this id, or GV_NODE_NONE.  const */
GV_LOOP_ONLY gv_node_index_t gv_cluster_index_of(const gv_cluster_t *cluster,
                                                 const gv_node_id_t *id);

/* Every linked member has told what it has, and we have it.  const */
/* Who a member is; also from within ops. */
GV_LOOP_ONLY void gv_cluster_who(const gv_cluster_t *cluster, gv_node_index_t node,
                                 gv_remembered_t *member_out);

GV_LOOP_ONLY bool gv_cluster_is_synced(const gv_cluster_t *cluster);

/* After the start: this node is in step with all others that are alive, and clients can come. const
 */
GV_LOOP_ONLY bool gv_cluster_has_arrived(const gv_cluster_t *cluster);

/* ---- status ------------------------------------------------------------------------------- */

typedef struct gv_cluster_member {
    gv_node_index_t index;
    gv_member_status_t member; /* how we see it */
    bool has_link;
    gv_link_info_t link;      /* if it has */
    uint64_t outbox_messages; /* 0: what the host keeps for it is the host's to say */
    uint64_t outbox_bytes;
} gv_cluster_member_t;

/* How one member sees another, by their places in `members`. */
typedef struct gv_cluster_view {
    bool is_known;
    gv_node_view_t view;
} gv_cluster_view_t;

/* A copy of everything there is to show, for the admin port; may go to another thread as it is. */
typedef struct gv_cluster_status {
    char cluster_name[GV_NODE_NAME_MAX + 1];
    char listen[GV_ADDRESS_TEXT_SIZE];       /* "" : nobody can dial us */
    char advertise[GV_NODE_ADDRESS_MAX + 1]; /* "" : as each peer sees us */
    bool has_secret;
    bool is_synced;
    bool is_leaving;
    uint64_t identity_conflicts; /* signs of a second node with our, or one, identity */
    uint64_t routable;
    size_t member_count; /* ourselves included, who come first */
    gv_cluster_member_t *members;
    gv_cluster_view_t *views; /* [viewer * member_count + node] */
    gv_ccore_stats_t core;
    gv_directory_stats_t directory;
    gv_links_stats_t links;
} gv_cluster_status_t;

/* The caller frees it.  const */
GV_LOOP_ONLY void gv_cluster_status_new(const gv_cluster_t *cluster,
                                        gv_cluster_status_t **status_out);
GV_ANY_THREAD void gv_cluster_status_free(gv_cluster_status_t **statusp);
