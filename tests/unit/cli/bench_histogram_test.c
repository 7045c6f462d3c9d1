/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/bench_histogram.h"

#include <signal.h>
#include <stdlib.h>

#include <check.h>

#include "base/rng.h"
#include "tests/unit/seed.h"

static gv_bench_histogram_t histogram;

START_TEST(an_empty_one_answers_zero)
{
    gv_bench_histogram_clear(&histogram);
    ck_assert_uint_eq(gv_bench_histogram_count(&histogram), 0);
    ck_assert_uint_eq(gv_bench_histogram_max(&histogram), 0);
    ck_assert_uint_eq(gv_bench_histogram_quantile(&histogram, 999), 0);
}
END_TEST

START_TEST(small_values_are_exact)
{
    gv_bench_histogram_clear(&histogram);
    for (uint64_t value = 1; value <= 20; value++) {
        gv_bench_histogram_add(&histogram, value, 1);
    }
    ck_assert_uint_eq(gv_bench_histogram_quantile(&histogram, 0), 1);
    ck_assert_uint_eq(gv_bench_histogram_quantile(&histogram, 500), 10);
    ck_assert_uint_eq(gv_bench_histogram_quantile(&histogram, 501), 11);
    ck_assert_uint_eq(gv_bench_histogram_quantile(&histogram, 950), 19);
    ck_assert_uint_eq(gv_bench_histogram_quantile(&histogram, 1000), 20);
}
END_TEST

START_TEST(no_quantile_is_above_the_maximum)
{
    gv_bench_histogram_clear(&histogram);
    gv_bench_histogram_add(&histogram, 1000003, 7);
    gv_bench_histogram_add(&histogram, UINT64_MAX, 0); /* none of them */
    ck_assert_uint_eq(gv_bench_histogram_quantile(&histogram, 500), 1000003);
    ck_assert_uint_eq(gv_bench_histogram_max(&histogram), 1000003);
    gv_bench_histogram_add(&histogram, UINT64_MAX, 1);
    ck_assert_uint_eq(gv_bench_histogram_quantile(&histogram, 1000), UINT64_MAX);
}
END_TEST

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

START_TEST(quantiles_of_random_values_are_within_a_thirtieth)
{
    enum {
        COUNT = 4000
    };
    static uint64_t values[COUNT];
    gv_rng_t rng;
    gv_rng_init(&rng, test_seed("bench_histogram"), 1);
    gv_bench_histogram_t other = {._total = 0};
    gv_bench_histogram_clear(&histogram);
    for (int i = 0; i < COUNT; i++) {
        values[i] = gv_rng_u64(&rng) >> (gv_rng_u64(&rng) % 63);
        gv_bench_histogram_add(i % 2 == 0 ? &histogram : &other, values[i], 1);
    }
    gv_bench_histogram_merge(&histogram, &other);
    qsort(values, COUNT, sizeof(values[0]), compare);
    ck_assert_uint_eq(gv_bench_histogram_count(&histogram), COUNT);
    for (uint32_t per_mille = 1; per_mille <= 1000; per_mille++) {
        uint64_t exact = values[(COUNT * per_mille + 999) / 1000 - 1];
        uint64_t told = gv_bench_histogram_quantile(&histogram, per_mille);
        ck_assert_uint_ge(told, exact);
        ck_assert_uint_le(told - exact, exact / 30);
    }
}
END_TEST

START_TEST(more_than_all_is_our_mistake)
{
    gv_bench_histogram_clear(&histogram);
    (void)gv_bench_histogram_quantile(&histogram, 1001);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bench_histogram");
    TCase *tc = tcase_create("all");
    tcase_add_test(tc, an_empty_one_answers_zero);
    tcase_add_test(tc, small_values_are_exact);
    tcase_add_test(tc, no_quantile_is_above_the_maximum);
    tcase_add_test(tc, quantiles_of_random_values_are_within_a_thirtieth);
    tcase_add_test_raise_signal(tc, more_than_all_is_our_mistake, SIGABRT);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
