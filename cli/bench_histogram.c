/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/bench_histogram.h"

#include <string.h>

#include "base/defs.h"

/*
 * Buckets 0..31 are the values 0..31.  From 32 on, a value with its highest bit at position p >= 5
 * is in one of 32 buckets, chosen by the five bits below.
 */
#define SUB_BITS 5U
#define SUBS     (1U << SUB_BITS)

_Static_assert((64 - SUB_BITS) * SUBS + SUBS == GV_BENCH_BUCKETS, "all 64-bit values fit");

static size_t bucket_of(uint64_t value)
{
    if (value < SUBS) {
        return (size_t)value;
    }
    unsigned position = 63U - (unsigned)__builtin_clzll(value);
    unsigned shift = position - SUB_BITS;
    return (size_t)(shift + 1) * SUBS + ((size_t)(value >> shift) & (SUBS - 1));
}

/* The largest value of a bucket. */
static uint64_t upper_edge(size_t bucket)
{
    if (bucket < SUBS) {
        return bucket;
    }
    unsigned shift = (unsigned)(bucket / SUBS) - 1;
    uint64_t lower = (uint64_t)(SUBS + bucket % SUBS) << shift;
    return lower + (((uint64_t)1 << shift) - 1);
}

void gv_bench_histogram_add(gv_bench_histogram_t *histogram, uint64_t value, uint64_t count)
{
    histogram->_count[bucket_of(value)] += count;
    histogram->_total += count;
    if (value > histogram->_max && count > 0) {
        histogram->_max = value;
    }
}

void gv_bench_histogram_merge(gv_bench_histogram_t *to, const gv_bench_histogram_t *from)
{
    for (size_t i = 0; i < GV_BENCH_BUCKETS; i++) {
        to->_count[i] += from->_count[i];
    }
    to->_total += from->_total;
    to->_max = from->_max > to->_max ? from->_max : to->_max;
}

void gv_bench_histogram_clear(gv_bench_histogram_t *histogram)
{
    memset(histogram, 0, sizeof(*histogram));
}

uint64_t gv_bench_histogram_count(const gv_bench_histogram_t *histogram)
{
    return histogram->_total;
}

uint64_t gv_bench_histogram_max(const gv_bench_histogram_t *histogram)
{
    return histogram->_max;
}

uint64_t gv_bench_histogram_quantile(const gv_bench_histogram_t *histogram, uint32_t per_mille)
{
    GV_ASSERT(per_mille <= 1000);
    uint64_t total = histogram->_total;
    if (total == 0) {
        return 0;
    }
    /* total * per_mille / 1000, rounded up, without overflow; at least the first value. */
    uint64_t rank = total / 1000 * per_mille + (total % 1000 * per_mille + 999) / 1000;
    rank = rank == 0 ? 1 : rank;
    uint64_t seen = 0;
    size_t bucket = 0;
    for (; bucket < GV_BENCH_BUCKETS - 1; bucket++) {
        seen += histogram->_count[bucket];
        if (seen >= rank) {
            break;
        }
    }
    uint64_t edge = upper_edge(bucket);
    return edge < histogram->_max ? edge : histogram->_max;
}
