/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hlc.h"

#include <string.h>

static uint64_t of_time(uint64_t realtime_ms)
{
    return realtime_ms << 16;
}

void gv_hlc_init(gv_hlc_t *clock, uint64_t floor)
{
    atomic_init(&clock->_last, floor);
    atomic_init(&clock->_ahead, 0);
}

/*
 * Raises a number to at least `to`.  Relaxed is enough, here and below: the values of one atomic
 * have one order, and whoever is told of a write is told by a letter or a frame, which orders what
 * went before.
 */
static void raise_to(_Atomic uint64_t *number, uint64_t to)
{
    uint64_t seen = atomic_load_explicit(number, memory_order_relaxed);
    while (seen < to && !atomic_compare_exchange_weak_explicit(
                            number, &seen, to, memory_order_relaxed, memory_order_relaxed)) {
    }
}

uint64_t gv_hlc_next(gv_hlc_t *clock, uint64_t realtime_ms)
{
    uint64_t now = of_time(realtime_ms);
    uint64_t last = atomic_load_explicit(&clock->_last, memory_order_relaxed);
    uint64_t next;
    do {
        next = now > last ? now : last + 1;
    } while (!atomic_compare_exchange_weak_explicit(&clock->_last, &last, next,
                                                    memory_order_relaxed, memory_order_relaxed));
    return next;
}

uint64_t gv_hlc_now(const gv_hlc_t *clock, uint64_t realtime_ms)
{
    uint64_t last = atomic_load_explicit(&clock->_last, memory_order_relaxed);
    uint64_t now = of_time(realtime_ms);
    /* The time of day itself may be given out next. */
    return now > last ? now - 1 : last;
}

bool gv_hlc_follow(gv_hlc_t *clock, uint64_t seen, uint64_t realtime_ms)
{
    uint64_t limit = of_time(realtime_ms + GV_HLC_AHEAD_MAX_MS);
    raise_to(&clock->_last, seen < limit ? seen : limit);
    if (seen > limit) {
        raise_to(&clock->_ahead, seen);
    }
    return seen <= limit;
}

bool gv_hlc_is_ahead(const gv_hlc_t *clock, uint64_t seen)
{
    return seen <= atomic_load_explicit(&clock->_ahead, memory_order_relaxed);
}

int gv_stamp_compare(const gv_stamp_t *a, const gv_stamp_t *b)
{
    if (a->hlc != b->hlc) {
        return a->hlc < b->hlc ? -1 : 1;
    }
    return memcmp(a->node, b->node, sizeof(a->node));
}
