/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The simulator: a whole cluster of gv_ccore machines in one process, on a virtual clock, from one
 * seed.  See sim.c for the program and the phases of a run.
 *
 *     sim.c           arguments, phases, what is printed
 *     sim_world.c     the event queue, time, failing, the running hash
 *     sim_net.c       connections: order, delay, bandwidth, cuts, breaks
 *     sim_node.c      a node's host: ports, restarts, pauses
 *     sim_faults.c    what goes wrong
 *     sim_workload.c  routes, barriers and publishes, and the ledger of them
 *     sim_check.c     what must hold in the end
 *
 * The seed is split into streams, so that one more draw in one does not shift the others.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/rng.h"
#include "cluster/core/core.h"

#define SIM_NODES_MAX     9U
#define SIM_NODE_NONE     SIZE_MAX
#define SIM_KEYS          120U
#define SIM_PUBLISHES_MAX 8192U
#define SIM_CHAOS_MS      20000U
#define SIM_DRAIN_MS      40000U
#define SIM_START_MS      100000U

typedef struct sim_world sim_world_t;
typedef struct sim_node sim_node_t;
typedef struct sim_event sim_event_t;
typedef struct sim_conn sim_conn_t;

/* ---- events -----------------------------------------------------------------------------------
 */

typedef void sim_event_cb_t(sim_world_t *world, const sim_event_t *event);

struct sim_event {
    uint64_t at_ms;
    uint64_t order; /* of scheduling: events of one millisecond run in it */
    sim_event_cb_t *run;
    size_t node;   /* runs on this node, in a turn of it; or SIM_NODE_NONE: in the world */
    uint32_t life; /* of the node; an event for another life is dropped */
    sim_conn_t *conn;
    gv_delivery_t delivery;
    uint64_t number;
    uint64_t other;
};

/* ---- connections --------------------------------------------------------------------------------
 */

typedef struct sim_frame {
    gv_link_t link;
    gv_frame_kind_t kind;
    uint64_t arrives_ms;
    size_t size;
    uint8_t body[];
} sim_frame_t;

/* Frames from end 0 to end 1 are in direction 0. */
typedef struct sim_direction {
    gv_list_t frames[2]; /* by priority */
    uint64_t last_ms[2];
    bool is_pumping[2]; /* a delivery is scheduled */
    bool is_closing;    /* the sender has closed: a notice follows the last control frame */
} sim_direction_t;

struct sim_conn {
    gv_link_t link;
    size_t node[2]; /* [0] dialled */
    uint32_t life[2];
    gv_link_id_t id[2];
    uint64_t token;
    bool is_open[2]; /* that end has been told, and has not closed */
    bool is_broken;  /* nothing gets through any more */
    sim_direction_t direction[2];
};

/* ---- nodes --------------------------------------------------------------------------------------
 */

typedef enum sim_status {
    SIM_RUNNING,
    SIM_PAUSED,
    SIM_DOWN,        /* connections to it are refused */
    SIM_DOWN_SILENT, /* nothing comes back */
} sim_status_t;

/* What a host keeps about one remote node: the rows it was told. */
typedef struct sim_mirror {
    bool is_routable;
    uint32_t value[SIM_KEYS];
} sim_mirror_t;

struct sim_node {
    sim_world_t *world;
    size_t number;
    sim_status_t status;
    bool is_away; /* never started again */
    bool is_leaving;
    bool is_full;  /* its host refuses what comes */
    uint32_t life; /* counts starts, unlike what the node itself may believe */
    gv_ccore_t *core;
    gv_node_id_t id;
    uint64_t start_counter; /* on its disk */
    uint64_t boot_id;
    uint64_t paused_ms;       /* since when, while paused; then until the first turn afterwards */
    uint64_t wake_ms;         /* scheduled */
    gv_list_t deferred;       /* events while paused */
    uint32_t truth[SIM_KEYS]; /* own routes as they should be */
    sim_mirror_t mirror[GV_NODES_MAX];
    uint64_t barriers_in_time;
};

/* ---- the ledger of publishes
 * ---------------------------------------------------------------------- */

typedef struct sim_publish {
    size_t origin;
    uint32_t origin_life;
    uint8_t qos;
    size_t payload_size;
    gv_node_index_t index[SIM_NODES_MAX]; /* of each destination at the origin, or NONE */
    bool is_confirmed[SIM_NODES_MAX];
    bool is_overdue[SIM_NODES_MAX];         /* the origin was asked to keep it as well */
    bool is_applied[SIM_NODES_MAX];         /* some life of the node applied it, all of it */
    bool is_refused[SIM_NODES_MAX];         /* ... had no room for it */
    bool is_returned[SIM_NODES_MAX];        /* ... had no member of its group */
    uint32_t delivered_life[SIM_NODES_MAX]; /* last life it was delivered to */
} sim_publish_t;

/* Set in the token of what the origin keeps as well. */
#define SIM_KEPT_TOKEN ((uint64_t)1 << 63)

/* The last reliable message of one origin at one destination, for the order. */
typedef struct sim_last {
    uint32_t origin_life;
    uint32_t life;
    size_t publish;
} sim_last_t;

typedef struct sim_barrier {
    size_t node;
    uint32_t life;
    uint64_t seq; /* of the node's table when asked */
    uint64_t asked_ms;
} sim_barrier_t;

#define SIM_BARRIERS_MAX 4096U

struct sim_world {
    uint64_t seed;
    uint64_t now_ms;
    uint64_t order;
    uint64_t hash;
    bool is_verbose;
    bool has_failed;
    char failure[512];

    sim_event_t *heap;
    size_t heap_count;
    size_t heap_capacity;

    gv_rng_t net_rng;
    gv_rng_t fault_rng;
    gv_rng_t core_rng;
    gv_rng_t work_rng;

    size_t node_count;
    sim_node_t nodes[SIM_NODES_MAX];
    gv_ccore_switches_t switches;
    bool restart_keeps_incarnation; /* the broken rule that lives in the host */

    gv_list_t conns;
    sim_conn_t **conn_of_link;                      /* by link id; both ends have one */
    gv_link_id_t link_id;                           /* last given */
    uint32_t blocked[SIM_NODES_MAX][SIM_NODES_MAX]; /* count of cuts from -> to */
    uint32_t slow[SIM_NODES_MAX][SIM_NODES_MAX];    /* bytes per ms; 0: fast */
    size_t cut_for_ever[2];                         /* a pair, or SIM_NODE_NONE */
    bool is_chaos;

    sim_publish_t publishes[SIM_PUBLISHES_MAX];
    size_t publish_count;
    sim_last_t last[SIM_NODES_MAX][SIM_NODES_MAX]; /* [destination][origin] */
    bool is_calm; /* everything has converged and nothing goes wrong any more */
    sim_last_t last_overdue[SIM_NODES_MAX][SIM_NODES_MAX]; /* the same, of what is overdue */
    sim_barrier_t barriers[SIM_BARRIERS_MAX];
    size_t barrier_count;
    uint64_t restarts;
    uint64_t breaks;
};

/* ---- sim_world.c
 * ---------------------------------------------------------------------------------- */

void sim_world_init(sim_world_t *world, uint64_t seed, size_t node_count);
void sim_world_deinit(sim_world_t *world);
/* Schedules event->run after delay_ms; the event is copied. */
void sim_after(sim_world_t *world, uint64_t delay_ms, sim_event_t event);
/* Runs until `until_ms`, or until something has failed. */
void sim_run_until(sim_world_t *world, uint64_t until_ms);
/* The first failure is kept. */
void sim_fail(sim_world_t *world, const char *format, ...) GV_PRINTF(2, 3);
void sim_trace(const sim_world_t *world, const char *format, ...) GV_PRINTF(2, 3);
void sim_fold(sim_world_t *world, uint64_t what, uint64_t a, uint64_t b);

/* ---- sim_net.c
 * ------------------------------------------------------------------------------------ */

void sim_dial(sim_node_t *from, const char *address, uint64_t token);
void sim_send(sim_node_t *from, gv_link_id_t link, gv_link_priority_t priority,
              gv_frame_kind_t kind, gv_bytes_t body);
void sim_close(sim_node_t *from, gv_link_id_t link);
/* Breaks all connections between two nodes; what is on its way is lost. */
void sim_break(sim_world_t *world, size_t a, size_t b);
/* All connections of a node that stops; silent: nobody is told. */
void sim_drop_node(sim_world_t *world, size_t node, bool is_silent);
void sim_cut(sim_world_t *world, size_t from, size_t to);
void sim_heal(sim_world_t *world, size_t from, size_t to);
void sim_free_conns(sim_world_t *world);

/* ---- sim_node.c
 * ----------------------------------------------------------------------------------- */

typedef enum sim_restart {
    SIM_RESTART_NORMAL,
    SIM_RESTART_LOST,     /* the counter begins at 1 again, the id is kept */
    SIM_RESTART_OLD_COPY, /* an older counter */
    SIM_RESTART_NEW_ID,   /* another node under the same name and address */
    SIM_RESTART_KINDS,
} sim_restart_t;

void sim_node_start(sim_node_t *node, sim_restart_t how);
void sim_node_stop(sim_node_t *node, bool is_silent);
void sim_node_leave(sim_node_t *node);
void sim_node_pause(sim_node_t *node);
void sim_node_resume(sim_node_t *node);
bool sim_node_is_up(const sim_node_t *node);
/* A turn of the node's host: tick, `run`, flush, and the next wake-up. */
void sim_node_turn(sim_node_t *node, const sim_event_t *event);
void sim_node_defer(sim_node_t *node, const sim_event_t *event);
/* The node that `core` knows under this index, or NULL if it is not one of today's. */
sim_node_t *sim_node_at(sim_node_t *viewer, gv_node_index_t index);
gv_node_index_t sim_index_of(const sim_node_t *viewer, const sim_node_t *node);

/* ---- sim_faults.c, sim_workload.c, sim_check.c
 * -------------------------------------------------------- */

void sim_faults_begin(sim_world_t *world);
/* One that runs and is not paused; there is one. */
size_t sim_any_node_up(sim_world_t *world);
/* The node's operator forgets a member that is dead or has left; false: there is none. */
bool sim_forget_someone(sim_node_t *node);
/* Everything is healed, everybody runs, except what the seed says is for ever. */
void sim_faults_end(sim_world_t *world);

void sim_workload_begin(sim_world_t *world);
void sim_key(size_t key, char out[64]);
void sim_set_random_route(sim_node_t *node);
void sim_ask_barrier(sim_node_t *node);
void sim_publish_to_all(sim_node_t *node);
void sim_on_row(sim_node_t *node, gv_node_index_t index, gv_bytes_t key, uint32_t value);
void sim_on_node(sim_node_t *node, gv_node_index_t index, gv_node_event_t event);
void sim_on_deliver(sim_node_t *node, const gv_delivery_t *delivery, const gv_forward_t *msg);
void sim_on_confirmed(sim_node_t *node, uint64_t token, gv_node_index_t index,
                      gv_forward_result_t result, const gv_forward_t *lost);
bool sim_on_overdue(sim_node_t *node, uint64_t *token, gv_node_index_t index,
                    const gv_forward_t *msg);
void sim_on_barrier(sim_node_t *node, uint64_t token, bool in_time);

/* NULL when everything has converged, else what has not (static text in a buffer). */
const char *sim_unconverged(sim_world_t *world);
/* NULL when all members that anybody knows are nodes of today. */
const char *sim_remembered(sim_world_t *world);
void sim_check_end(sim_world_t *world);
