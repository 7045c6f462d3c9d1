/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/trail.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include <check.h>

static void check_text(const gv_trail_t *trail, const char *expected)
{
    ck_assert(gv_bytes_equal(gv_trail_text(trail), gv_bytes_text(expected)));
}

START_TEST(levels_come_and_go_at_the_end)
{
    gv_trail_t trail = {._text = NULL};
    ck_assert_uint_eq(gv_trail_depth(&trail), 0);
    gv_trail_push(&trail, GV_BYTES_EMPTY, 7);
    check_text(&trail, "");
    gv_trail_push(&trail, GV_BYTES_LITERAL("plant"), 8);
    gv_trail_push(&trail, GV_BYTES_EMPTY, 9);
    check_text(&trail, "/plant/");
    ck_assert_uint_eq(gv_trail_depth(&trail), 3);
    ck_assert_uint_eq(gv_trail_cursor(&trail, 0), 7);
    ck_assert_uint_eq(gv_trail_cursor(&trail, 2), 9);
    gv_trail_pop(&trail, GV_BYTES_EMPTY);
    gv_trail_pop(&trail, GV_BYTES_LITERAL("plant"));
    check_text(&trail, "");
    gv_trail_pop(&trail, GV_BYTES_EMPTY);
    ck_assert_uint_eq(gv_trail_depth(&trail), 0);
    gv_trail_deinit(&trail);
    gv_trail_deinit(&trail);
}
END_TEST

START_TEST(a_trail_may_be_long)
{
    gv_trail_t trail = {._text = NULL};
    for (size_t i = 0; i < 1000; i++) {
        gv_trail_push(&trail, GV_BYTES_LITERAL("x"), i);
    }
    ck_assert_uint_eq(gv_trail_text(&trail).size, 1999);
    ck_assert_uint_eq(gv_trail_cursor(&trail, 999), 999);
    gv_trail_deinit(&trail);
}
END_TEST

START_TEST(there_is_nothing_above_the_root)
{
    gv_trail_t trail = {._text = NULL};
    gv_trail_pop(&trail, GV_BYTES_EMPTY);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("trail");
    tcase_add_test(tc, levels_come_and_go_at_the_end);
    tcase_add_test(tc, a_trail_may_be_long);
    tcase_add_test_raise_signal(tc, there_is_nothing_above_the_root, SIGABRT);
    Suite *suite = suite_create("broker/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
