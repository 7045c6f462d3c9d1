/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Latencies of millions of messages in a fixed table: 32 buckets per power of two (3 % wide), where
 * base/stats.h has 4; two brokers are compared by these numbers.
 *
 * Threads: one writer; nobody reads before it has stopped.
 */

#include <stddef.h>
#include <stdint.h>

#define GV_BENCH_BUCKETS 1920

typedef struct gv_bench_histogram {
    uint64_t _count[GV_BENCH_BUCKETS];
    uint64_t _total;
    uint64_t _max;
} gv_bench_histogram_t;

/* Adds `count` times the same value. */
void gv_bench_histogram_add(gv_bench_histogram_t *histogram, uint64_t value, uint64_t count);

void gv_bench_histogram_merge(gv_bench_histogram_t *to, const gv_bench_histogram_t *from);

void gv_bench_histogram_clear(gv_bench_histogram_t *histogram);

uint64_t gv_bench_histogram_count(const gv_bench_histogram_t *histogram);

/* Exact; 0 if empty. */
uint64_t gv_bench_histogram_max(const gv_bench_histogram_t *histogram);

/*
 * The smallest value that is not exceeded by `per_mille` of the values, as the upper edge of its
 * bucket, but never more than the maximum; 0 if empty.
 */
uint64_t gv_bench_histogram_quantile(const gv_bench_histogram_t *histogram, uint32_t per_mille);
