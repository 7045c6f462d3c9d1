/* SPDX-License-Identifier: Apache-2.0 */
#include "base/stats.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "base/rng.h"
#include "tests/unit/seed.h"

START_TEST(counters_add_and_gauges_go_down)
{
    gv_counter_t counter = 0;
    gv_counter_add(&counter, 5);
    gv_counter_add(&counter, 2);
    ck_assert_uint_eq(gv_counter_get(&counter), 7);
    gv_counter_sub(&counter, 6);
    ck_assert_uint_eq(gv_counter_get(&counter), 1);
}
END_TEST

START_TEST(an_empty_histogram_is_all_zero)
{
    gv_histogram_t histogram = {0};
    ck_assert_uint_eq(gv_histogram_count(&histogram), 0);
    ck_assert_uint_eq(gv_histogram_sum(&histogram), 0);
    ck_assert_uint_eq(gv_histogram_quantile(&histogram, 500), 0);
}
END_TEST

static uint64_t edge_of(uint64_t value)
{
    gv_histogram_t histogram = {0};
    gv_histogram_add(&histogram, value);
    ck_assert_uint_eq(gv_histogram_count(&histogram), 1);
    ck_assert_uint_eq(gv_histogram_sum(&histogram), value);
    return gv_histogram_quantile(&histogram, 500);
}

START_TEST(the_edge_is_at_most_a_quarter_above_the_value)
{
    for (uint64_t value = 0; value < 8; value++) {
        ck_assert_uint_eq(edge_of(value), value);
    }
    ck_assert_uint_eq(edge_of(8), 9);
    ck_assert_uint_eq(edge_of(1023), 1023);
    ck_assert_uint_eq(edge_of(1024), 1279);
    ck_assert_uint_eq(edge_of(1280), 1535);
    ck_assert_uint_eq(edge_of(UINT64_MAX), UINT64_MAX);
    ck_assert_uint_eq(edge_of((uint64_t)7 << 61), UINT64_MAX);
    ck_assert_uint_eq(edge_of(((uint64_t)7 << 61) - 1), ((uint64_t)7 << 61) - 1);

    gv_rng_t rng;
    gv_rng_init(&rng, test_seed(__func__), 0);
    for (int i = 0; i < 20000; i++) {
        uint64_t value = gv_rng_u64(&rng) >> gv_rng_below(&rng, 64);
        uint64_t edge = edge_of(value);
        ck_assert_uint_ge(edge, value);
        ck_assert_uint_le(edge - value, value / 4);
    }
}
END_TEST

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

START_TEST(quantiles_are_those_of_the_sorted_values)
{
    enum {
        COUNT = 997
    };
    gv_rng_t rng;
    gv_rng_init(&rng, test_seed(__func__), 0);
    for (int round = 0; round < 20; round++) {
        gv_histogram_t histogram = {0};
        uint64_t values[COUNT];
        unsigned count = 1 + gv_rng_below(&rng, COUNT);
        for (unsigned i = 0; i < count; i++) {
            values[i] = gv_rng_u64(&rng) >> gv_rng_below(&rng, 64);
            gv_histogram_add(&histogram, values[i]);
        }
        qsort(values, count, sizeof(values[0]), by_value);
        for (uint32_t per_mille = 0; per_mille <= 1000; per_mille++) {
            unsigned rank = (count * per_mille + 999) / 1000; /* rounded up, from 1 */
            uint64_t value = values[rank == 0 ? 0 : rank - 1];
            ck_assert_uint_eq(gv_histogram_quantile(&histogram, per_mille), edge_of(value));
        }
    }
}
END_TEST

START_TEST(merge_adds_and_leaves_the_source)
{
    gv_histogram_t a = {0};
    gv_histogram_t b = {0};
    gv_histogram_add(&a, 1);
    gv_histogram_add(&a, 2);
    gv_histogram_add(&b, 3);
    gv_histogram_merge(&a, &b);
    ck_assert_uint_eq(gv_histogram_count(&a), 3);
    ck_assert_uint_eq(gv_histogram_sum(&a), 6);
    ck_assert_uint_eq(gv_histogram_quantile(&a, 1000), 3);
    ck_assert_uint_eq(gv_histogram_count(&b), 1);
}
END_TEST

enum {
    ADDS = 200000
};

static void *add_often(void *arg)
{
    gv_histogram_t *histogram = arg;
    for (uint64_t i = 0; i < ADDS; i++) {
        gv_histogram_add(histogram, i & 1023);
    }
    return NULL;
}

/* Meant for ThreadSanitizer. */
START_TEST(anybody_may_read_while_the_owner_writes)
{
    static gv_histogram_t histogram;
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, add_often, &histogram), 0);
    uint64_t count = 0;
    while (count < ADDS) {
        gv_histogram_t seen = {0};
        gv_histogram_merge(&seen, &histogram);
        ck_assert_uint_ge(gv_histogram_count(&seen), count);
        ck_assert_uint_le(gv_histogram_quantile(&histogram, 999), 1023);
        count = gv_histogram_count(&seen);
    }
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_uint_eq(gv_histogram_count(&histogram), ADDS);
}
END_TEST

START_TEST(values_below_a_power_of_two_are_counted)
{
    gv_histogram_t histogram = {0};
    static const uint64_t values[] = {0, 3, 4, 7, 8, 1023, 1024, 1025, UINT64_MAX};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        gv_histogram_add(&histogram, values[i]);
    }
    ck_assert_uint_eq(gv_histogram_below(&histogram, 2), 2);
    ck_assert_uint_eq(gv_histogram_below(&histogram, 3), 4);
    ck_assert_uint_eq(gv_histogram_below(&histogram, 10), 6);
    ck_assert_uint_eq(gv_histogram_below(&histogram, 11), 8);
    ck_assert_uint_eq(gv_histogram_below(&histogram, 63), 8);
}
END_TEST

START_TEST(a_quantile_over_1000_per_mille_aborts)
{
    gv_histogram_t histogram = {0};
    (void)gv_histogram_quantile(&histogram, 1001);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("stats");
    tcase_add_test(tc, counters_add_and_gauges_go_down);
    tcase_add_test(tc, an_empty_histogram_is_all_zero);
    tcase_add_test(tc, the_edge_is_at_most_a_quarter_above_the_value);
    tcase_add_test(tc, quantiles_are_those_of_the_sorted_values);
    tcase_add_test(tc, merge_adds_and_leaves_the_source);
    tcase_add_test(tc, anybody_may_read_while_the_owner_writes);
    tcase_add_test(tc, values_below_a_power_of_two_are_counted);
    tcase_add_test_raise_signal(tc, a_quantile_over_1000_per_mille_aborts, SIGABRT);

    Suite *suite = suite_create("base");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
