/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

START_TEST(every_code_has_its_own_text)
{
    static const gv_err_t codes[] = {
#define X(name, value, text) name,
        GV_ERR_MAP(X)
#undef X
    };
    size_t count = sizeof(codes) / sizeof(codes[0]);
    for (size_t i = 0; i < count; i++) {
        ck_assert_int_eq((int)codes[i], -(int)i);
        ck_assert_str_ne(gv_err_text(codes[i]), "unknown error");
        for (size_t j = 0; j < i; j++) {
            ck_assert_str_ne(gv_err_text(codes[i]), gv_err_text(codes[j]));
        }
    }
    ck_assert_str_eq(gv_err_text((gv_err_t) - (int)count), "unknown error");
}
END_TEST

START_TEST(a_true_assertion_does_nothing)
{
    int evaluated = 0;
    GV_ASSERT(++evaluated == 1);
    ck_assert_int_eq(evaluated, 1);
}
END_TEST

START_TEST(a_false_assertion_aborts)
{
    volatile int one = 1;
    GV_ASSERT(one == 2);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("err");
    tcase_add_test(tc, every_code_has_its_own_text);
    tcase_add_test(tc, a_true_assertion_does_nothing);
    tcase_add_test_raise_signal(tc, a_false_assertion_aborts, SIGABRT);

    Suite *suite = suite_create("base");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
