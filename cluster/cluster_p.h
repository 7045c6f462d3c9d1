/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The inside of a gv_cluster: cluster.c runs it, options.c makes it, status.c shows it.
 */

#include "base/timerwheel.h"
#include "cluster/cluster.h"
#include "cluster/core/handshake.h"
#include "cluster/link/notice.h"

struct gv_cluster {
    gv_loop_t *loop;
    gv_cluster_ops_t ops;
    void *arg;

    /* settled by gv_cluster_new() */
    gv_handshake_self_t self; /* .address is ":port" when each peer shall say where it sees us */
    uint8_t *secret;
    gv_ccore_options_t core_options; /* with copies of the seeds */
    char **seeds;
    size_t seed_count;
    int listen_fd; /* until the links own it; -1 */
    char listen[GV_ADDRESS_TEXT_SIZE];

    /* from gv_cluster_start() on */
    gv_ccore_t *core;
    gv_links_t *links;
    uint64_t ticked_ms; /* the core has been told this time */
    gv_timer_t tick_timer;
    gv_job_t turn_job; /* waiting: something was done in this turn, the core must be flushed */
    gv_notices_t notices;
    uint64_t identity_conflicts;

    bool is_leaving;
    bool has_left;
    gv_cluster_left_cb_t *on_left;
    void *on_left_arg;
};

/* Whether it can be dialled, as far as the text goes.  Any thread. */
bool gv__cluster_is_destination(const char *address);

/* Sets up the timer and the job; cluster.c's, called while the cluster is made. */
void gv__cluster_init_turn(gv_cluster_t *cluster);
