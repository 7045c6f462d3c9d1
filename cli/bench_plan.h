/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Who does what in a run: pure answers to "which topic does publisher 7 use", made from the options
 * and a word that no other run has.
 *
 * Publishers are numbered 0 .. publishers - 1, subscribers 0 .. subscribers - 1.
 */

#include <stddef.h>
#include <stdint.h>

#include "cli/bench_options.h"

#define GV_BENCH_TOPIC_SIZE 96

typedef struct gv_bench_plan {
    const gv_bench_options_t *options;
    char run[17]; /* the word */
} gv_bench_plan_t;

/* A run of numbers: first .. first + count - 1. */
typedef struct gv_bench_range {
    uint32_t first;
    uint32_t count;
} gv_bench_range_t;

/* The topic of a publisher; returns out (GV_BENCH_TOPIC_SIZE). */
const char *gv_bench_plan_topic(const gv_bench_plan_t *plan, uint32_t publisher, char *out);

/*
 * Which of all filters a subscriber has: in `subs` its share of the subscriptions, elsewhere one or
 * none.
 */
gv_bench_range_t gv_bench_plan_filters(const gv_bench_plan_t *plan, uint32_t subscriber);

/* The text of a filter, by its number in that range; returns out (GV_BENCH_TOPIC_SIZE). */
const char *gv_bench_plan_filter(const gv_bench_plan_t *plan, uint32_t filter, char *out);

/* The publishers whose messages a subscriber may get. */
gv_bench_range_t gv_bench_plan_sources(const gv_bench_plan_t *plan, uint32_t subscriber);

/* How many subscribers get each message. */
uint32_t gv_bench_plan_copies(const gv_bench_plan_t *plan);

/* Of all subscribers together. */
uint32_t gv_bench_plan_filter_count(const gv_bench_plan_t *plan);
