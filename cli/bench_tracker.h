/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What one subscriber has received of one publisher: in order, again, too late.
 *
 * Each publisher numbers its messages from 0.  The tracker remembers the next number it waits for
 * and which of the last 64 have come, so that a message that comes late can be told from one that
 * comes twice.  A zeroed tracker is a new one.
 */

#include <stdint.h>

typedef struct gv_bench_tracker {
    uint32_t _next;
    uint64_t _seen; /* bit i: number _next - 1 - i has come */
} gv_bench_tracker_t;

typedef enum gv_bench_arrival {
    GV_BENCH_IN_ORDER,  /* also after a gap */
    GV_BENCH_LATE,      /* a later one had come before */
    GV_BENCH_DUPLICATE, /* has come already */
} gv_bench_arrival_t;

/* More than 64 numbers behind counts as late. */
static inline gv_bench_arrival_t gv_bench_tracker_take(gv_bench_tracker_t *tracker, uint32_t number)
{
    uint32_t ahead = number - tracker->_next;
    if (ahead < UINT32_MAX / 2) {
        tracker->_seen = ahead >= 63 ? 1 : tracker->_seen << (ahead + 1) | 1;
        tracker->_next = number + 1;
        return GV_BENCH_IN_ORDER;
    }
    uint32_t behind = tracker->_next - 1 - number;
    if (behind >= 64) {
        return GV_BENCH_LATE;
    }
    uint64_t bit = (uint64_t)1 << behind;
    if ((tracker->_seen & bit) != 0) {
        return GV_BENCH_DUPLICATE;
    }
    tracker->_seen |= bit;
    return GV_BENCH_LATE;
}
