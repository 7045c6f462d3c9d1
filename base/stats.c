/* SPDX-License-Identifier: Apache-2.0 */
#include "base/stats.h"

#include <stddef.h>

#include "base/defs.h"

/*
 * Buckets 0..3 are the values 0..3.  From 4 on, a value with its highest bit at position p is in
 * one of four buckets, chosen by the two bits below: p = 2 has buckets 4..7, p = 63 has 248..251.
 */
#define SUB_BITS 2U
#define SUBS     (1U << SUB_BITS)

static unsigned bucket_of(uint64_t value)
{
    if (value < SUBS) {
        return (unsigned)value;
    }
    unsigned position = 63U - (unsigned)__builtin_clzll(value);
    unsigned shift = position - SUB_BITS;
    return (shift + 1) * SUBS + ((unsigned)(value >> shift) & (SUBS - 1));
}

/* The largest value of a bucket. */
static uint64_t upper_edge(unsigned bucket)
{
    if (bucket < SUBS) {
        return bucket;
    }
    unsigned shift = bucket / SUBS - 1;
    uint64_t lower = (uint64_t)(SUBS + bucket % SUBS) << shift;
    return lower + (((uint64_t)1 << shift) - 1);
}

_Static_assert((63 - SUB_BITS + 1) * SUBS + SUBS <= GV_HISTOGRAM_BUCKETS, "all 64-bit values fit");

void gv_histogram_add(gv_histogram_t *histogram, uint64_t value)
{
    gv_counter_add(&histogram->_count[bucket_of(value)], 1);
    gv_counter_add(&histogram->_sum, value);
}

void gv_histogram_merge(gv_histogram_t *to, const gv_histogram_t *from)
{
    for (size_t i = 0; i < GV_HISTOGRAM_BUCKETS; i++) {
        gv_counter_add(&to->_count[i], gv_counter_get(&from->_count[i]));
    }
    gv_counter_add(&to->_sum, gv_counter_get(&from->_sum));
}

uint64_t gv_histogram_count(const gv_histogram_t *histogram)
{
    uint64_t count = 0;
    for (size_t i = 0; i < GV_HISTOGRAM_BUCKETS; i++) {
        count += gv_counter_get(&histogram->_count[i]);
    }
    return count;
}

uint64_t gv_histogram_sum(const gv_histogram_t *histogram)
{
    return gv_counter_get(&histogram->_sum);
}

uint64_t gv_histogram_below(const gv_histogram_t *histogram, unsigned power)
{
    GV_ASSERT(power >= SUB_BITS && power <= 63);
    uint64_t count = 0;
    unsigned end = bucket_of((uint64_t)1 << power);
    for (unsigned bucket = 0; bucket < end; bucket++) {
        count += gv_counter_get(&histogram->_count[bucket]);
    }
    return count;
}

uint64_t gv_histogram_quantile(const gv_histogram_t *histogram, uint32_t per_mille)
{
    GV_ASSERT(per_mille <= 1000);
    uint64_t count = gv_histogram_count(histogram);
    if (count == 0) {
        return 0;
    }
    /* count * per_mille / 1000, rounded up, without overflow; at least the first value. */
    uint64_t rank = count / 1000 * per_mille + (count % 1000 * per_mille + 999) / 1000;
    if (rank == 0) {
        rank = 1;
    }
    uint64_t seen = 0;
    unsigned bucket = 0;
    for (; bucket < GV_HISTOGRAM_BUCKETS - 1; bucket++) {
        seen += gv_counter_get(&histogram->_count[bucket]);
        if (seen >= rank) {
            break;
        }
    }
    return upper_edge(bucket);
}
