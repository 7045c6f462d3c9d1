/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The seed of a randomised test: GV_TEST_SEED from the environment, or another one in each run.  It
 * is printed, so that a failure can be repeated:
 *
 *     GV_TEST_SEED=17 build/debug/unit/base.map_test
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline uint64_t test_seed(const char *test)
{
    uint64_t seed = 0;
    const char *given = getenv("GV_TEST_SEED");
    if (given != NULL) {
        seed = strtoull(given, NULL, 10);
    } else {
        struct timespec now;
        (void)clock_gettime(CLOCK_REALTIME, &now);
        seed = (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
    }
    (void)printf("%s: GV_TEST_SEED=%llu\n", test, (unsigned long long)seed);
    (void)fflush(stdout);
    return seed;
}
