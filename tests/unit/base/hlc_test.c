/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hlc.h"

#include <pthread.h>
#include <stdlib.h>

#include <check.h>

#include "base/rng.h"
#include "tests/unit/seed.h"

static gv_hlc_t hlc;

static void setup(void)
{
    gv_hlc_init(&hlc, 0);
}

START_TEST(stamps_rise_whatever_the_time_of_day_does)
{
    uint64_t first = gv_hlc_next(&hlc, 5000);
    ck_assert_uint_eq(gv_hlc_ms(first), 5000);
    uint64_t second = gv_hlc_next(&hlc, 5000);
    ck_assert_uint_eq(second, first + 1);
    uint64_t third = gv_hlc_next(&hlc, 10); /* set back */
    ck_assert_uint_eq(third, first + 2);
    uint64_t fourth = gv_hlc_next(&hlc, 6000);
    ck_assert_uint_eq(fourth, (uint64_t)6000 << 16);
}
END_TEST

START_TEST(stamps_begin_above_the_floor)
{
    gv_hlc_init(&hlc, (uint64_t)9000 << 16);
    ck_assert_uint_eq(gv_hlc_next(&hlc, 5000), ((uint64_t)9000 << 16) + 1);
}
END_TEST

START_TEST(who_has_seen_a_stamp_is_above_it)
{
    uint64_t seen = (uint64_t)70000 << 16 | 17;
    ck_assert(gv_hlc_follow(&hlc, seen, 5000));
    ck_assert_uint_eq(gv_hlc_next(&hlc, 5000), seen + 1);
    ck_assert(!gv_hlc_is_ahead(&hlc, seen));
    ck_assert(gv_hlc_follow(&hlc, 1, 5000)); /* an old one changes nothing */
    ck_assert_uint_eq(gv_hlc_next(&hlc, 5000), seen + 2);
}
END_TEST

START_TEST(a_stamp_too_far_ahead_is_followed_to_the_limit)
{
    uint64_t limit_ms = 5000 + GV_HLC_AHEAD_MAX_MS;
    ck_assert(gv_hlc_follow(&hlc, limit_ms << 16, 5000));
    uint64_t seen = ((limit_ms + 1) << 16);
    ck_assert(!gv_hlc_follow(&hlc, seen, 5000));
    ck_assert_uint_eq(gv_hlc_next(&hlc, 5000), (limit_ms << 16) + 1);
    ck_assert(gv_hlc_is_ahead(&hlc, seen));
    ck_assert(!gv_hlc_is_ahead(&hlc, seen + 1));
}
END_TEST

START_TEST(now_is_below_all_that_are_given_from_then_on)
{
    gv_rng_t rng;
    gv_rng_init(&rng, test_seed(__func__), 0);
    uint64_t last = 0;
    for (int i = 0; i < 10000; i++) {
        uint64_t realtime_ms = 1000 + gv_rng_below(&rng, 50);
        uint64_t now = gv_hlc_now(&hlc, realtime_ms);
        ck_assert_uint_ge(now, last);
        if (gv_rng_chance(&rng, 10)) {
            ck_assert(gv_hlc_follow(&hlc, now + gv_rng_below(&rng, 100), realtime_ms));
        }
        uint64_t next = gv_hlc_next(&hlc, realtime_ms);
        ck_assert_uint_gt(next, now);
        ck_assert_uint_gt(next, last);
        last = next;
    }
}
END_TEST

START_TEST(stamps_are_ordered_by_time_and_then_by_node)
{
    gv_stamp_t a = {.hlc = 5, .node = {1}};
    gv_stamp_t b = {.hlc = 5, .node = {2}};
    gv_stamp_t c = {.hlc = 6, .node = {0}};
    ck_assert_int_lt(gv_stamp_compare(&a, &b), 0);
    ck_assert_int_gt(gv_stamp_compare(&c, &b), 0);
    ck_assert_int_eq(gv_stamp_compare(&a, &a), 0);
}
END_TEST

enum {
    THREADS = 4,
    STAMPS = 50000
};

static uint64_t given[THREADS][STAMPS];

static void *give(void *arg)
{
    uint64_t *own = arg;
    for (int i = 0; i < STAMPS; i++) {
        own[i] = gv_hlc_next(&hlc, 1000 + (uint64_t)i / 100);
    }
    return NULL;
}

static int compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

START_TEST(threads_never_get_the_same)
{
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, give, given[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
        for (int n = 1; n < STAMPS; n++) {
            ck_assert_uint_gt(given[i][n], given[i][n - 1]);
        }
    }
    uint64_t *all = &given[0][0];
    qsort(all, (size_t)THREADS * STAMPS, sizeof(*all), compare);
    for (size_t i = 1; i < (size_t)THREADS * STAMPS; i++) {
        ck_assert_uint_ne(all[i], all[i - 1]);
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("hlc");
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_test(tc, stamps_rise_whatever_the_time_of_day_does);
    tcase_add_test(tc, stamps_begin_above_the_floor);
    tcase_add_test(tc, who_has_seen_a_stamp_is_above_it);
    tcase_add_test(tc, a_stamp_too_far_ahead_is_followed_to_the_limit);
    tcase_add_test(tc, now_is_below_all_that_are_given_from_then_on);
    tcase_add_test(tc, stamps_are_ordered_by_time_and_then_by_node);
    tcase_add_test(tc, threads_never_get_the_same);
    Suite *suite = suite_create("base");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
