/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What another process on this machine has used, from /proc: the broker's side of a measurement.
 */

#include <stdint.h>

#include "base/defs.h"
#include "base/err.h"

typedef struct gv_bench_usage {
    uint64_t cpu_ns;    /* user and system, all threads, since its start */
    uint64_t rss_bytes; /* resident and its own (not files mapped) */
    uint32_t threads;
} gv_bench_usage_t;

/* GV_OK, or GV_ERR_NOENT when there is no such process (any more). */
GV_MUST_USE gv_err_t gv_bench_usage_read(uint32_t pid, gv_bench_usage_t *out);

/* The number behind "KEY:" at the beginning of a line of /proc/PID/status, or 0. */
uint64_t gv_bench_status_number(const char *status, const char *key);

/* Fields 14 and 15 of /proc/PID/stat added [clock ticks]; the name before them may hold anything.
 * GV_OK or GV_ERR_MALFORMED. */
GV_MUST_USE gv_err_t gv_bench_stat_ticks(const char *stat, uint64_t *ticks_out);
