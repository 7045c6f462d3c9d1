/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A run of `grapevine bench` from the first connection to the last goodbye, and what was seen.
 *
 *     START  connect, subscribe  READY  settle  FROM  measure  TO  wait for the rest  END
 *
 * At each of the words in capitals a sample of everything that counts is taken.
 * Threads: the main one; the load comes from workers (cli/bench_worker.h).
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/err.h"
#include "cli/bench_options.h"
#include "cli/bench_process.h"
#include "cli/bench_worker.h"

typedef struct gv_bench_counts {
#define X(name) uint64_t name;
    GV_BENCH_COUNTERS(X)
#undef X
} gv_bench_counts_t;

typedef struct gv_bench_sample {
    uint64_t at_ns;
    uint64_t own_cpu_ns;
    gv_bench_usage_t broker; /* all of options->pids together */
    gv_bench_counts_t counts;
} gv_bench_sample_t;

typedef enum gv_bench_moment {
    GV_BENCH_AT_START,
    GV_BENCH_AT_READY,
    GV_BENCH_AT_FROM,
    GV_BENCH_AT_TO,
    GV_BENCH_AT_END,
    GV_BENCH_MOMENTS,
} gv_bench_moment_t;

typedef struct gv_bench_result {
    gv_bench_sample_t samples[GV_BENCH_MOMENTS];
    gv_bench_histograms_t histograms;
    uint64_t connected_ns; /* after START, when the last connection was there */
    uint64_t wanted;       /* connections */
    uint64_t filters;      /* subscriptions */
    uint64_t lost;         /* messages that did not come */
    bool is_interrupted;
    char problem[192]; /* the first thing that went wrong, or "" */
} gv_bench_result_t;

/*
 * GV_OK, also for a run in which things went wrong (result->problem tells); GV_ERR_INVAL when it
 * could not begin, with the reason in result->problem.
 */
GV_MUST_USE gv_err_t gv_bench_run(const gv_bench_options_t *options, gv_bench_result_t *result);

/* Messages that should have arrived by now and did not. */
uint64_t gv_bench_missing(const gv_bench_counts_t *counts, uint32_t copies);
