/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bucket.h"

#define NS_PER_MS ((uint64_t)1000000)
#define NS_PER_S  ((uint64_t)1000000000)

void gv_bucket_init(gv_bucket_t *bucket)
{
    atomic_init(&bucket->_empty_at_ns, 0);
}

/* How long `amount` tokens take to come in; the factors fit in 60 bits. */
static uint64_t span_ns(const gv_rate_t *rate, uint64_t amount)
{
    GV_ASSERT(rate->per_second <= GV_BUCKET_RATE_MAX);
    GV_ASSERT(amount <= GV_BUCKET_RATE_MAX);
    return amount * NS_PER_S / rate->per_second;
}

/* A full bucket does not fill further: it was empty `burst` ago at most. */
static uint64_t filled(const gv_rate_t *rate, uint64_t empty_at_ns, uint64_t now_ns)
{
    uint64_t full_ns = span_ns(rate, rate->burst != 0 ? rate->burst : rate->per_second);
    uint64_t oldest_ns = now_ns > full_ns ? now_ns - full_ns : 0;
    return empty_at_ns > oldest_ns ? empty_at_ns : oldest_ns;
}

/* Relaxed throughout: a count, which orders nothing. */
bool gv_bucket_try(gv_bucket_t *bucket, const gv_rate_t *rate, uint64_t now_ms)
{
    if (rate->per_second == 0) {
        return true;
    }
    uint64_t now_ns = now_ms * NS_PER_MS;
    uint64_t before = atomic_load_explicit(&bucket->_empty_at_ns, memory_order_relaxed);
    uint64_t after = 0;
    do {
        after = filled(rate, before, now_ns) + span_ns(rate, 1);
        if (after > now_ns) {
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(&bucket->_empty_at_ns, &before, after,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

uint64_t gv_bucket_charge(gv_bucket_t *bucket, const gv_rate_t *rate, uint64_t amount,
                          uint64_t now_ms)
{
    if (rate->per_second == 0) {
        return 0;
    }
    uint64_t now_ns = now_ms * NS_PER_MS;
    uint64_t before = atomic_load_explicit(&bucket->_empty_at_ns, memory_order_relaxed);
    uint64_t after = 0;
    do {
        after = filled(rate, before, now_ns) + span_ns(rate, amount);
    } while (!atomic_compare_exchange_weak_explicit(&bucket->_empty_at_ns, &before, after,
                                                    memory_order_relaxed, memory_order_relaxed));
    return after > now_ns ? (after - now_ns + NS_PER_MS - 1) / NS_PER_MS : 0;
}
