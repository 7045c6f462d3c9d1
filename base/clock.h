/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Time as a port: sans-I/O code is told the time or asks this struct, never the system.  The real
 * one is in base/io/os.h, a simulated one in tests/sim.
 */

#include <stdint.h>

typedef struct gv_clock {
    uint64_t (*monotonic_ns)(void *arg); /* since some start; never goes back */
    uint64_t (*realtime_ms)(void *arg);  /* since 1970 UTC; may jump */
    void *arg;
} gv_clock_t;

static inline uint64_t gv_clock_monotonic_ns(const gv_clock_t *clock)
{
    return clock->monotonic_ns(clock->arg);
}

static inline uint64_t gv_clock_monotonic_ms(const gv_clock_t *clock)
{
    return clock->monotonic_ns(clock->arg) / 1000000U;
}

static inline uint64_t gv_clock_realtime_ms(const gv_clock_t *clock)
{
    return clock->realtime_ms(clock->arg);
}
