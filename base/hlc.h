/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_hlc: a hybrid logical clock, which all threads of a node share; and the stamps it gives.
 *
 * A stamp says when something was written, so that several nodes agree on what came last though
 * their clocks do not agree: the time of day in milliseconds and 16 bits that count.  It is above
 * all stamps this node has given or seen.  So who writes because of what he has read is above it,
 * whatever his machine's clock says; what was written without knowledge of each other is ordered by
 * the time of day, and, if that is the same, by the node.
 *
 * A stamp far ahead of the time of day is a clock that is wrong somewhere.  It is followed up to
 * GV_HLC_AHEAD_MAX_MS only, or one such machine would take all others with it.
 *
 * Threads: any.  Time is passed in, so that it can be simulated.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/defs.h"

#define GV_STAMP_NODE_SIZE  16U
#define GV_HLC_AHEAD_MAX_MS ((uint64_t)3600000)

/* Above any real stamp, and safe to add to. */
#define GV_HLC_MAX ((uint64_t)1 << 63)

/* Names one write; all zero is below every write. */
typedef struct gv_stamp {
    uint64_t hlc;
    uint8_t node[GV_STAMP_NODE_SIZE]; /* that has given it */
} gv_stamp_t;

typedef struct gv_hlc {
    _Atomic uint64_t _last;  /* the highest given or followed */
    _Atomic uint64_t _ahead; /* the highest that was too far ahead; 0: none was */
} gv_hlc_t;

/* Stamps begin above `floor`. */
void gv_hlc_init(gv_hlc_t *clock, uint64_t floor);

/* A new stamp's number, above all that were given or followed. */
GV_ANY_THREAD uint64_t gv_hlc_next(gv_hlc_t *clock, uint64_t realtime_ms);

/* What the next one would be, or a little less: all that are given from now on are above it. */
GV_ANY_THREAD uint64_t gv_hlc_now(const gv_hlc_t *clock, uint64_t realtime_ms);

/* Another clock's stamp has been seen.  False: it is too far ahead, and is not followed so far. */
GV_ANY_THREAD bool gv_hlc_follow(gv_hlc_t *clock, uint64_t seen, uint64_t realtime_ms);

/* Whether stamps may have been given below this one after it was seen: it was too far ahead. */
GV_ANY_THREAD bool gv_hlc_is_ahead(const gv_hlc_t *clock, uint64_t seen);

/* The time of day in a stamp [ms]. */
static inline uint64_t gv_hlc_ms(uint64_t hlc)
{
    return hlc >> 16;
}

/* Negative, zero, positive: which was written later. */
GV_ANY_THREAD int gv_stamp_compare(const gv_stamp_t *a, const gv_stamp_t *b);
