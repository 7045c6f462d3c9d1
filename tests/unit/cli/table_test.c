/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/table.h"

#include <signal.h>
#include <stdlib.h>

#include <check.h>

START_TEST(columns_are_as_wide_as_they_have_to_be)
{
    gv_table_t table;
    gv_text_t out = GV_TEXT_EMPTY;
    gv_table_init(&table, 3);
    gv_table_print(&table, &out);
    ck_assert_str_eq(gv_text_get(&out), "");
    gv_table_cell(&table, "NODE");
    gv_table_cell(&table, "N");
    gv_table_cell(&table, "STATE");
    gv_table_cell(&table, "%s", "a");
    gv_table_cell(&table, "%d", 1000);
    gv_table_cell(&table, "%s", "");
    gv_table_print(&table, &out);
    ck_assert_str_eq(gv_text_get(&out), "NODE  N     STATE\n"
                                        "a     1000  \n");
    gv_text_deinit(&out);
    gv_table_deinit(&table);
}
END_TEST

START_TEST(what_a_terminal_would_obey_is_not_shown)
{
    gv_table_t table;
    gv_text_t out = GV_TEXT_EMPTY;
    gv_table_init(&table, 1);
    gv_table_cell(&table, "%s", "a\x1b[2J\nb\x7f \xc3\xa9");
    gv_table_print(&table, &out);
    ck_assert_str_eq(gv_text_get(&out), "a?[2J?b? \xc3\xa9\n");
    gv_text_deinit(&out);
    gv_table_deinit(&table);
}
END_TEST

START_TEST(half_a_row_is_our_mistake)
{
    gv_table_t table;
    gv_text_t out = GV_TEXT_EMPTY;
    gv_table_init(&table, 2);
    gv_table_cell(&table, "x");
    gv_table_print(&table, &out);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("table");
    tcase_add_test(tc, columns_are_as_wide_as_they_have_to_be);
    tcase_add_test(tc, what_a_terminal_would_obey_is_not_shown);
    tcase_add_test_raise_signal(tc, half_a_row_is_our_mistake, SIGABRT);

    Suite *suite = suite_create("cli");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
