/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/admin_command.h"

#include <stdlib.h>

#include <check.h>

/* The command itself is tested by tests/cli/cli_test.py. */

START_TEST(paths_lead_into_json_or_nowhere)
{
    json_t *object = json_loads("{\"a\": {\"b\": 7, \"c\": \"x\"}, \"l\": [1]}", 0, NULL);
    ck_assert_int_eq(gv_json_number(object, "a.b"), 7);
    ck_assert_str_eq(gv_json_text(object, "a.c"), "x");
    ck_assert_ptr_null(gv_json_at(object, "a.d"));
    ck_assert_ptr_null(gv_json_at(object, "a.b.c"));
    ck_assert_ptr_null(gv_json_at(object, "l.0"));
    ck_assert_ptr_null(gv_json_at(object, ""));
    ck_assert_ptr_null(gv_json_at(NULL, "a"));
    ck_assert_str_eq(gv_json_text(object, "a.b"), "-");
    ck_assert_int_eq(gv_json_number(object, "a.c"), 0);
    ck_assert_ptr_null(gv_json_at(
        object, "a-name-that-is-much-longer-than-any-that-a-node-would-ever-use-in-its-answers"));
    json_decref(object);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("admin_command");
    tcase_add_test(tc, paths_lead_into_json_or_nowhere);

    Suite *suite = suite_create("cli");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
