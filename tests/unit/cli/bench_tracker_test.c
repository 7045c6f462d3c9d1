/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/bench_tracker.h"

#include <stdbool.h>
#include <stdlib.h>

#include <check.h>

#include "base/rng.h"
#include "tests/unit/seed.h"

START_TEST(a_stream_in_order)
{
    gv_bench_tracker_t tracker = {._next = 0};
    for (uint32_t i = 0; i < 200; i++) {
        ck_assert_int_eq(gv_bench_tracker_take(&tracker, i), GV_BENCH_IN_ORDER);
    }
    ck_assert_int_eq(gv_bench_tracker_take(&tracker, 199), GV_BENCH_DUPLICATE);
    ck_assert_int_eq(gv_bench_tracker_take(&tracker, 136), GV_BENCH_DUPLICATE);
}
END_TEST

START_TEST(two_that_changed_places)
{
    gv_bench_tracker_t tracker = {._next = 0};
    ck_assert_int_eq(gv_bench_tracker_take(&tracker, 1), GV_BENCH_IN_ORDER);
    ck_assert_int_eq(gv_bench_tracker_take(&tracker, 0), GV_BENCH_LATE);
    ck_assert_int_eq(gv_bench_tracker_take(&tracker, 0), GV_BENCH_DUPLICATE);
    ck_assert_int_eq(gv_bench_tracker_take(&tracker, 2), GV_BENCH_IN_ORDER);
}
END_TEST

START_TEST(a_gap_wider_than_the_memory)
{
    gv_bench_tracker_t tracker = {._next = 0};
    ck_assert_int_eq(gv_bench_tracker_take(&tracker, 0), GV_BENCH_IN_ORDER);
    ck_assert_int_eq(gv_bench_tracker_take(&tracker, 1000), GV_BENCH_IN_ORDER);
    ck_assert_int_eq(gv_bench_tracker_take(&tracker, 937), GV_BENCH_LATE);
    ck_assert_int_eq(gv_bench_tracker_take(&tracker, 937), GV_BENCH_DUPLICATE);
    /* Too long ago to know. */
    ck_assert_int_eq(gv_bench_tracker_take(&tracker, 936), GV_BENCH_LATE);
    ck_assert_int_eq(gv_bench_tracker_take(&tracker, 936), GV_BENCH_LATE);
}
END_TEST

START_TEST(numbers_may_begin_again_after_the_largest)
{
    gv_bench_tracker_t tracker = {._next = UINT32_MAX};
    ck_assert_int_eq(gv_bench_tracker_take(&tracker, UINT32_MAX), GV_BENCH_IN_ORDER);
    ck_assert_int_eq(gv_bench_tracker_take(&tracker, 0), GV_BENCH_IN_ORDER);
    ck_assert_int_eq(gv_bench_tracker_take(&tracker, UINT32_MAX), GV_BENCH_DUPLICATE);
}
END_TEST

/* Numbers within 60 of the newest, in any order and any number of times, against a list. */
START_TEST(as_a_list_of_all_numbers_would_say)
{
    enum {
        SPAN = 60,
        COUNT = 20000
    };
    static bool seen[COUNT + SPAN];
    gv_rng_t rng;
    gv_rng_init(&rng, test_seed("bench_tracker"), 1);
    gv_bench_tracker_t tracker = {._next = 0};
    uint32_t newest = 0;
    bool has_newest = false;
    for (int i = 0; i < COUNT; i++) {
        uint32_t low = newest > SPAN ? newest - SPAN : 0;
        uint32_t number = low + (uint32_t)(gv_rng_u64(&rng) % (newest - low + 3));
        gv_bench_arrival_t expected = !has_newest || number > newest ? GV_BENCH_IN_ORDER
                                      : seen[number]                 ? GV_BENCH_DUPLICATE
                                                                     : GV_BENCH_LATE;
        ck_assert_int_eq(gv_bench_tracker_take(&tracker, number), expected);
        seen[number] = true;
        newest = !has_newest || number > newest ? number : newest;
        has_newest = true;
        if (newest >= COUNT) {
            break;
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bench_tracker");
    TCase *tc = tcase_create("all");
    tcase_add_test(tc, a_stream_in_order);
    tcase_add_test(tc, two_that_changed_places);
    tcase_add_test(tc, a_gap_wider_than_the_memory);
    tcase_add_test(tc, numbers_may_begin_again_after_the_largest);
    tcase_add_test(tc, as_a_list_of_all_numbers_would_say);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
