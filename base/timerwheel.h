/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Intrusive timers for one loop: a hierarchical wheel (Varghese and Lauck 1987), so that a million
 * keep-alive timers cost O(1) each to start and to stop and nothing while they wait.
 *
 * The wheel knows no clock: the owner calls gv_timerwheel_advance(now) and uses
 * gv_timerwheel_next_ms() to know when to call again.  Resolution is 1 ms; timers due in the same
 * millisecond fire in the order they were started.  A timer never fires early.
 *
 *     gv_timer_init(&t, on_expired)   once
 *     gv_timer_start(wheel, &t, at)   (re)arms; an armed timer is moved
 *     gv_timer_stop(&t)               no effect when not armed
 *
 * The callback runs from gv_timerwheel_advance(), with the timer already stopped: it may start it
 * again, start and stop others, and free the object that holds it; not free the wheel.  What a
 * callback starts for a time already reached fires in the next gv_timerwheel_advance().
 * Threads: the owner's loop.  Memory: 40 bytes in each timer, 6 KiB for the wheel.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

typedef struct gv_timer gv_timer_t;
typedef struct gv_timerwheel gv_timerwheel_t;
typedef void gv_timer_cb_t(gv_timer_t *timer);

struct gv_timer {
    gv_link_t _link;
    gv_timer_cb_t *_on_expired;
    uint64_t _at_ms;
    gv_timerwheel_t *_wheel; /* NULL while stopped */
};

void gv_timerwheel_new(uint64_t now_ms, gv_timerwheel_t **wheel_out);

/* Timers that are still armed are stopped. */
void gv_timerwheel_free(gv_timerwheel_t **wheelp);

/* Fires everything due at or before now_ms, which never goes back.  Returns how many fired. */
uint32_t gv_timerwheel_advance(gv_timerwheel_t *wheel, uint64_t now_ms);

/*
 * How long until something may be due [ms]: 0 if something is due now, UINT64_MAX if nothing is
 * armed.  May be early (the owner advances and asks again), never late.
 */
uint64_t gv_timerwheel_next_ms(const gv_timerwheel_t *wheel, uint64_t now_ms);

void gv_timer_init(gv_timer_t *timer, gv_timer_cb_t *on_expired);
void gv_timer_start(gv_timerwheel_t *wheel, gv_timer_t *timer, uint64_t at_ms);
void gv_timer_stop(gv_timer_t *timer);

static inline bool gv_timer_is_armed(const gv_timer_t *timer)
{
    return timer->_wheel != NULL;
}
