/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/pending.h"

#include <stdlib.h>

#include <check.h>

START_TEST(who_comes_late_finds_nothing)
{
    gv_pending_table_t table = {.count = 0};
    uint32_t first = gv_pending_take(&table);
    uint32_t second = gv_pending_take(&table);
    ck_assert_uint_ne(first, second);
    uint32_t generation = gv_pending_at(&table, first, 1)->generation;
    ck_assert_uint_eq(generation, 1); /* and never 0: that is nobody's name */
    table.items[first].reason = 7;
    table.items[first].missing = 3;
    gv_pending_give_back(&table, first);
    ck_assert_ptr_null(gv_pending_at(&table, first, generation));
    ck_assert_uint_eq(gv_pending_take(&table), first);
    ck_assert_ptr_null(gv_pending_at(&table, first, generation));
    const gv_pending_t *again = gv_pending_at(&table, first, generation + 1);
    ck_assert_ptr_nonnull(again);
    ck_assert_uint_eq(again->reason, 0); /* nothing is left of the first one */
    ck_assert_uint_eq(again->missing, 0);
    ck_assert_ptr_null(gv_pending_at(&table, 2, 1));
    gv_pending_deinit(&table);
}
END_TEST

START_TEST(entries_keep_their_numbers_when_the_table_grows)
{
    gv_pending_table_t table = {.count = 0};
    for (uint32_t i = 0; i < 2000; i++) {
        ck_assert_uint_eq(gv_pending_take(&table), i);
        table.items[i].missing = i;
    }
    for (uint32_t i = 0; i < 2000; i++) {
        ck_assert_uint_eq(gv_pending_at(&table, i, 1)->missing, i);
    }
    gv_pending_deinit(&table);
}
END_TEST

START_TEST(groups_that_go_back_are_gathered)
{
    gv_pending_table_t table = {.count = 0};
    uint32_t index = gv_pending_take(&table);
    for (uint64_t key = 1; key <= 5; key++) {
        gv_pending_return(&table.items[index], key * 11);
    }
    ck_assert_uint_eq(table.items[index].returned_count, 5);
    ck_assert_uint_eq(table.items[index].returned[4], 55);
    gv_pending_give_back(&table, index);
    index = gv_pending_take(&table);
    ck_assert_uint_eq(table.items[index].returned_count, 0);
    gv_pending_return(&table.items[index], 1); /* freed with the table */
    gv_pending_deinit(&table);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("pending");
    tcase_add_test(tc, who_comes_late_finds_nothing);
    tcase_add_test(tc, entries_keep_their_numbers_when_the_table_grows);
    tcase_add_test(tc, groups_that_go_back_are_gathered);
    Suite *suite = suite_create("broker/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
