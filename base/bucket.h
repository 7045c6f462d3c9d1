/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_bucket: a token bucket, for limits like "100 messages a second, 200 at once".
 *
 * The whole state is one number: the instant at which the bucket was, or will be, empty.  Tokens
 * come in with time, so the level is (now - that instant) * rate, at most `burst`; taking tokens
 * moves the instant forward.  An instant in the future is a debt.  That one number is what lets
 * threads share a bucket without a lock, and what lets the rate change while it is in use.
 *
 *     gv_bucket_init()     full
 *     gv_bucket_try()      for work that can be turned away: a token, or none
 *     gv_bucket_charge()   for work that is done already: pay, and learn for how long to stop
 *
 * A thing larger than the whole bucket can be paid for by gv_bucket_charge() only, with a debt.
 *
 * Threads: any.  Time is passed in; it may lie back a little, where threads look at their clocks at
 * different moments.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/defs.h"

/* The most tokens that come, go and fit in [per second]. */
#define GV_BUCKET_RATE_MAX ((uint64_t)1 << 30)

typedef struct gv_rate {
    uint64_t per_second; /* 0: no limit */
    uint64_t burst;      /* what the bucket holds; 0: what comes in one second */
} gv_rate_t;

typedef struct gv_bucket {
    _Atomic uint64_t _empty_at_ns;
} gv_bucket_t;

/* A full bucket, whatever its rate is going to be. */
void gv_bucket_init(gv_bucket_t *bucket);

/* Takes one token if there is one; without a limit there always is. */
GV_MUST_USE GV_ANY_THREAD bool gv_bucket_try(gv_bucket_t *bucket, const gv_rate_t *rate,
                                             uint64_t now_ms);

/*
 * Takes `amount` tokens, there or not.  Returns for how long the bucket is in debt now [ms],
 * rounded up: nothing more should be taken before.  amount is at most GV_BUCKET_RATE_MAX; 0 only
 * asks.
 */
GV_MUST_USE GV_ANY_THREAD uint64_t gv_bucket_charge(gv_bucket_t *bucket, const gv_rate_t *rate,
                                                    uint64_t amount, uint64_t now_ms);
