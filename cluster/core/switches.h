/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Switches for tests, all zero in production.
 *
 * Each breaks one of the rules that make a cluster converge.  The simulator turns them on one at a
 * time to show that its checks would notice: a check that cannot fail proves nothing.
 */

#include <stdbool.h>

typedef struct gv_ccore_switches {
    bool no_relay_answers;        /* only the owner answers for its table */
    bool snapshot_merges;         /* a snapshot is merged into the table, not put in its place */
    bool no_refute;               /* claims about ourselves are let stand */
    bool accept_delta_across_gap; /* a delta that does not start at our version is applied */
    bool tombstones_keep_floor;   /* dropping tombstones does not raise the floor */
    bool purge_keeps_version;     /* rows of a dead node go, their version stays */
    bool no_dedupe;               /* a message seen before is delivered again */
    bool confirm_on_receipt;      /* a forward is confirmed before the host has applied it */
    bool refusals_are_forgotten;  /* what a peer's host refused counts as applied */
    bool answers_once;            /* how a delivery ended is told once, be it lost on its way */
    bool asks_twice;              /* the host is asked again to keep what it has been asked for */
    bool no_rewind;               /* nothing is sent again after a path changed */
    bool barrier_ignores_peers;   /* a barrier is answered at once */
    bool barrier_ignores_relayed; /* it does not wait for nodes that only a relay reaches */
    bool barrier_trusts_the_past; /* what was confirmed before a pause of our own counts */
    bool no_notices;              /* nodes that do not hear the owner wait for the next digest */
    bool ignore_late_tick;        /* silence is not forgiven after a pause of our own */
    bool dead_stays_routable;     /* death does not hide a node's rows */
    bool forgets_alone;           /* that a member is forgotten is not told */
} gv_ccore_switches_t;
