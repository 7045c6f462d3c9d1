/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Retained messages on their way to new subscriptions.
 *
 * The shard that keeps a topic's message (its home) finds what matches and sends it to the shard of
 * the subscriber, in slices: so many parcels at a time, and slower when the subscriber falls
 * behind, so that a subscription to everything neither fills memory nor stops the shard.  Nor do
 * thousands of subscriptions of one client: a turn does only so much for all replays together, and
 * those that wait for their turn have their filter only.
 *
 * Threads: the shard's.
 */

#include "base/list.h"
#include "base/map.h"
#include "base/timerwheel.h"
#include "broker/core/parcel.h"
#include "broker/core/retained.h"

/* Public only so that a shard can embed it. */
typedef struct gv_replays {
    gv_list_t _running; /* whose turn is next stands first */
    gv_map_t _by_subscriber;
    uint32_t _work;       /* of this turn: messages sent, and nodes searched */
    size_t _found;        /* messages that replays hold, ... */
    size_t _found_of[32]; /* ... and those of the clients with the same remainder */
    gv_timer_t _timer;
} gv_replays_t;
