/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/loans.h"

#include <stdlib.h>

#include <check.h>

START_TEST(a_loan_is_found_until_it_ends)
{
    gv_loans_t loans = {0};
    uint32_t first = gv_loans_add(&loans, 7, 70);
    uint32_t second = gv_loans_add(&loans, 8, 80);
    ck_assert_uint_ne(first, second);
    gv_loan_t *loan = gv_loans_find(&loans, second, 1);
    ck_assert_uint_eq(loan->uid, 8);
    ck_assert_uint_eq(loan->number, 80);
    gv_loans_end(&loans, loan);
    ck_assert_ptr_null(gv_loans_find(&loans, second, 1));
    ck_assert_uint_eq(gv_loans_find(&loans, first, 1)->number, 70);
    ck_assert_ptr_null(gv_loans_find(&loans, 1000, 1));
    gv_loans_deinit(&loans);
}
END_TEST

START_TEST(a_loan_is_found_by_its_message)
{
    gv_loans_t loans = {0};
    ck_assert_ptr_null(gv_loans_of(&loans, 7, 70));
    (void)gv_loans_add(&loans, 7, 70);
    uint32_t second = gv_loans_add(&loans, 7, 71);
    ck_assert_ptr_null(gv_loans_of(&loans, 8, 70));
    ck_assert_ptr_eq(gv_loans_of(&loans, 7, 71), gv_loans_find(&loans, second, 1));
    gv_loans_end(&loans, gv_loans_find(&loans, second, 1));
    ck_assert_ptr_null(gv_loans_of(&loans, 7, 71)); /* uid 0 is nobody's */
    gv_loans_deinit(&loans);
}
END_TEST

START_TEST(an_index_that_is_used_again_is_another_loan)
{
    gv_loans_t loans = {0};
    uint32_t index = gv_loans_add(&loans, 7, 70);
    gv_loans_end(&loans, gv_loans_find(&loans, index, 1));
    ck_assert_uint_eq(gv_loans_add(&loans, 9, 90), index);
    ck_assert_ptr_null(gv_loans_find(&loans, index, 1));
    ck_assert_uint_eq(gv_loans_find(&loans, index, 2)->number, 90);
    for (uint32_t i = 0; i < 100; i++) {
        ck_assert_uint_eq(gv_loans_add(&loans, 10, i), i + 1);
    }
    ck_assert_uint_eq(gv_loans_find(&loans, 50, 1)->number, 49);
    gv_loans_deinit(&loans);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("broker/core/loans");
    TCase *tcase = tcase_create("loans");
    tcase_add_test(tcase, a_loan_is_found_until_it_ends);
    tcase_add_test(tcase, a_loan_is_found_by_its_message);
    tcase_add_test(tcase, an_index_that_is_used_again_is_another_loan);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
