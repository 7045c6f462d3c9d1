/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/log.h"

#include <stdlib.h>

#include <check.h>

static void add(gv_log_t *log, uint64_t number, int holders)
{
    gv_log_add_old(log, &(gv_old_segment_t){.number = number, .bytes = 10});
    while (holders-- > 0) {
        gv_log_hold_old(log, number);
    }
}

START_TEST(numbers_go_on_above_the_old_ones)
{
    gv_log_t log;
    gv_log_init(&log);
    add(&log, 7, 0);
    add(&log, 12, 0);
    ck_assert_uint_eq(gv_log_next_number(&log), 13);
    ck_assert_uint_eq(gv_log_next_number(&log), 14);
    gv_log_deinit(&log);
}
END_TEST

START_TEST(the_number_of_what_is_left_alone_is_not_used_again)
{
    gv_log_t log;
    gv_log_init(&log);
    add(&log, 7, 1);
    gv_log_pass_by(&log, 9);
    gv_log_pass_by(&log, 8);
    gv_log_pass_by(&log, 5 | (uint64_t)1 << 40); /* a damaged key: places have no room for it */
    gv_log_pass_by(&log, 5 | (uint64_t)1 << 63);
    ck_assert_uint_eq(gv_log_next_number(&log), 10);
    gv_log_deinit(&log);
}
END_TEST

START_TEST(old_segments_go_in_order_and_when_nobody_holds_them)
{
    gv_log_t log;
    gv_log_init(&log);
    add(&log, 7, 1);
    add(&log, 12, 2);
    add(&log, 13, 0);
    ck_assert(!gv_log_old_is_gone(&log));
    ck_assert_ptr_null(gv_log_take_old(&log));
    gv_log_release_old(&log, 12);
    gv_log_release_old(&log, 12);
    ck_assert_ptr_null(gv_log_take_old(&log)); /* 7 is in the way */
    gv_log_release_old(&log, 7);
    ck_assert_uint_eq(gv_log_take_old(&log)->number, 7);
    ck_assert_uint_eq(gv_log_take_old(&log)->number, 12);
    ck_assert_uint_eq(gv_log_take_old(&log)->number, 13);
    ck_assert_ptr_null(gv_log_take_old(&log));
    ck_assert(!gv_log_old_is_gone(&log)); /* not durably */
    gv_log_old_deleted(&log, 3);
    ck_assert(gv_log_old_is_gone(&log));
    gv_log_deinit(&log);
}
END_TEST

START_TEST(a_payload_is_named_where_that_saves_room)
{
    gv_log_t log;
    gv_log_init(&log);
    ck_assert_uint_eq(gv_log_name_payload(&log, 1 << 20, 0), 0);
    ck_assert_uint_eq(gv_log_name_payload(&log, 1 << 20, 1), 0);
    ck_assert_uint_eq(gv_log_name_payload(&log, 1000, 64), 0); /* small: a put each is too dear */
    ck_assert_uint_eq(gv_log_name_payload(&log, 1 << 20, 2), 1);
    ck_assert_uint_eq(gv_log_name_payload(&log, 3000, 2), 2);
    ck_assert_uint_eq(gv_log_name_payload(&log, 4100, 2), 0); /* two pages, nearly half empty */
    ck_assert_uint_eq(gv_log_name_payload(&log, 4100, 3), 3);
    gv_log_pass_payload(&log, 41);
    gv_log_pass_payload(&log, 40);
    ck_assert_uint_eq(gv_log_name_payload(&log, 1 << 20, 2), 42);
    gv_log_deinit(&log);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("broker/core/log");
    TCase *tcase = tcase_create("log");
    tcase_add_test(tcase, numbers_go_on_above_the_old_ones);
    tcase_add_test(tcase, the_number_of_what_is_left_alone_is_not_used_again);
    tcase_add_test(tcase, old_segments_go_in_order_and_when_nobody_holds_them);
    tcase_add_test(tcase, a_payload_is_named_where_that_saves_room);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
