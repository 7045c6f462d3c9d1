/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bucket.h"

#include <stdlib.h>

#include <check.h>

#include "base/rng.h"
#include "tests/unit/seed.h"

static gv_bucket_t bucket;

static void setup(void)
{
    gv_bucket_init(&bucket);
}

/* How many tokens it gives at this instant. */
static unsigned given(const gv_rate_t *rate, uint64_t now_ms)
{
    unsigned count = 0;
    while (gv_bucket_try(&bucket, rate, now_ms)) {
        count++;
        ck_assert_uint_lt(count, 1000000);
    }
    return count;
}

START_TEST(a_full_bucket_gives_its_burst_and_then_its_rate)
{
    gv_rate_t rate = {.per_second = 10, .burst = 25};
    ck_assert_uint_eq(given(&rate, 100000), 25);
    ck_assert_uint_eq(given(&rate, 100099), 0);
    ck_assert_uint_eq(given(&rate, 100100), 1);
    ck_assert_uint_eq(given(&rate, 101100), 10);
    ck_assert_uint_eq(given(&rate, 200000), 25); /* not more, however long nobody came */
}
END_TEST

START_TEST(without_a_burst_one_second_s_tokens_are_there_at_once)
{
    gv_rate_t rate = {.per_second = 7};
    ck_assert_uint_eq(given(&rate, 5000), 7);
}
END_TEST

START_TEST(no_rate_is_no_limit)
{
    gv_rate_t none = {.burst = 1};
    for (int i = 0; i < 1000; i++) {
        ck_assert(gv_bucket_try(&bucket, &none, 1));
        ck_assert_uint_eq(gv_bucket_charge(&bucket, &none, GV_BUCKET_RATE_MAX, 1), 0);
    }
}
END_TEST

START_TEST(a_charge_larger_than_the_bucket_is_a_debt_that_time_pays)
{
    gv_rate_t rate = {.per_second = 1000, .burst = 500};
    ck_assert_uint_eq(gv_bucket_charge(&bucket, &rate, 500, 10000), 0);
    ck_assert_uint_eq(gv_bucket_charge(&bucket, &rate, 3000, 10000), 3000);
    ck_assert_uint_eq(gv_bucket_charge(&bucket, &rate, 0, 11000), 2000);
    ck_assert(!gv_bucket_try(&bucket, &rate, 12999));
    ck_assert_uint_eq(gv_bucket_charge(&bucket, &rate, 0, 13000), 0);
    ck_assert(gv_bucket_try(&bucket, &rate, 13001));
}
END_TEST

START_TEST(a_higher_rate_counts_from_now_on)
{
    gv_rate_t slow = {.per_second = 1, .burst = 1};
    gv_rate_t fast = {.per_second = 1000, .burst = 10};
    ck_assert_uint_eq(given(&slow, 10000), 1);
    ck_assert_uint_eq(given(&fast, 10005), 5);
}
END_TEST

START_TEST(a_clock_that_is_a_little_behind_gets_nothing_twice)
{
    gv_rate_t rate = {.per_second = 100, .burst = 10};
    ck_assert_uint_eq(given(&rate, 10000), 10);
    ck_assert_uint_eq(given(&rate, 9990), 0);
    ck_assert_uint_eq(given(&rate, 10010), 1);
}
END_TEST

START_TEST(the_largest_numbers_do_not_overflow)
{
    gv_rate_t rate = {.per_second = 1, .burst = GV_BUCKET_RATE_MAX};
    uint64_t year_ms = (uint64_t)365 * 86400 * 1000;
    ck_assert(gv_bucket_try(&bucket, &rate, year_ms));
    uint64_t debt_ms = gv_bucket_charge(&bucket, &rate, GV_BUCKET_RATE_MAX, year_ms);
    ck_assert_uint_ge(debt_ms, 1);
    gv_rate_t fast = {.per_second = GV_BUCKET_RATE_MAX, .burst = 1};
    gv_bucket_init(&bucket);
    ck_assert_uint_eq(gv_bucket_charge(&bucket, &fast, GV_BUCKET_RATE_MAX, year_ms), 1000);
}
END_TEST

/* Never more than burst + rate * time, and never less than what waits to be taken. */
START_TEST(behaves_like_a_bucket_of_fractions)
{
    gv_rng_t rng;
    gv_rng_init(&rng, test_seed("bucket"), 0);
    for (int round = 0; round < 200; round++) {
        gv_rate_t rate = {.per_second = 1 + gv_rng_u32(&rng) % 5000,
                          .burst = 1 + gv_rng_u32(&rng) % 5000};
        gv_bucket_init(&bucket);
        uint64_t now_ms = 1000000000;
        double level = (double)rate.burst;
        for (int i = 0; i < 300; i++) {
            uint64_t pause_ms = gv_rng_u32(&rng) % 50;
            now_ms += pause_ms;
            level += (double)rate.per_second * (double)pause_ms / 1000.0;
            level = level < (double)rate.burst ? level : (double)rate.burst;
            bool has_given = gv_bucket_try(&bucket, &rate, now_ms);
            /* Rounding may decide only where the model is within a thousandth of a token. */
            ck_assert(!has_given || level > 1 - 1e-3);
            ck_assert(has_given || level < 1 + 1e-3);
            level -= has_given ? 1 : 0;
        }
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("bucket");
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_test(tc, a_full_bucket_gives_its_burst_and_then_its_rate);
    tcase_add_test(tc, without_a_burst_one_second_s_tokens_are_there_at_once);
    tcase_add_test(tc, no_rate_is_no_limit);
    tcase_add_test(tc, a_charge_larger_than_the_bucket_is_a_debt_that_time_pays);
    tcase_add_test(tc, a_higher_rate_counts_from_now_on);
    tcase_add_test(tc, a_clock_that_is_a_little_behind_gets_nothing_twice);
    tcase_add_test(tc, the_largest_numbers_do_not_overflow);
    tcase_add_test(tc, behaves_like_a_bucket_of_fractions);
    Suite *suite = suite_create("base");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
