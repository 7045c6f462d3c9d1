/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Counters and histograms with one writer each.
 *
 * Each loop owns a block of counters and is the only one to write it, with relaxed stores; anybody
 * may read it with relaxed loads and add the blocks of all loops together.  No locked instruction,
 * no shared cache line on the hot path.
 *
 * A histogram has 4 buckets per power of two (error below 25 %), for nanoseconds and for sizes.
 */

#include <stdatomic.h>
#include <stdint.h>

typedef _Atomic uint64_t gv_counter_t;

/* Only by the owner of the block. */
static inline void gv_counter_add(gv_counter_t *counter, uint64_t n)
{
    uint64_t now = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, now + n, memory_order_relaxed);
}

/* For gauges.  Only by the owner of the block. */
static inline void gv_counter_sub(gv_counter_t *counter, uint64_t n)
{
    gv_counter_add(counter, (uint64_t)0 - n);
}

/* For gauges.  Only by the owner of the block. */
static inline void gv_counter_set(gv_counter_t *counter, uint64_t value)
{
    atomic_store_explicit(counter, value, memory_order_relaxed);
}

/* Any thread. */
static inline uint64_t gv_counter_get(const gv_counter_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

#define GV_HISTOGRAM_BUCKETS 256

typedef struct gv_histogram {
    gv_counter_t _count[GV_HISTOGRAM_BUCKETS];
    gv_counter_t _sum;
} gv_histogram_t;

/* Only by the owner. */
void gv_histogram_add(gv_histogram_t *histogram, uint64_t value);

/* Adds what `from` has at this moment to `to`; `to` belongs to the caller. */
void gv_histogram_merge(gv_histogram_t *to, const gv_histogram_t *from);

uint64_t gv_histogram_count(const gv_histogram_t *histogram);
uint64_t gv_histogram_sum(const gv_histogram_t *histogram);

/* How many values are below 2^power; power is 2 to 63. */
uint64_t gv_histogram_below(const gv_histogram_t *histogram, unsigned power);

/* The upper edge of the bucket in which the given quantile (0..1000 per mille) lies; 0 if empty. */
uint64_t gv_histogram_quantile(const gv_histogram_t *histogram, uint32_t per_mille);
