/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"

#include <stdlib.h>

#include <check.h>

#include "base/alloc.h"

START_TEST(grows_as_it_is_written)
{
    gv_text_t text = GV_TEXT_EMPTY;
    ck_assert_str_eq(gv_text_get(&text), "");
    size_t expected = 0;
    for (int i = 0; i < 1000; i++) {
        gv_text_add(&text, "%d,", i);
        expected += i < 10 ? 2 : i < 100 ? 3 : 4;
        ck_assert_uint_eq(gv_text_size(&text), expected);
    }
    ck_assert_int_eq(strncmp(gv_text_get(&text), "0,1,2,", 6), 0);
    ck_assert_str_eq(gv_text_get(&text) + expected - 8, "998,999,");
    gv_text_deinit(&text);
    ck_assert_str_eq(gv_text_get(&text), "");
}
END_TEST

START_TEST(bytes_and_formats_mix)
{
    gv_text_t text = GV_TEXT_EMPTY;
    gv_text_put(&text, GV_BYTES_EMPTY);
    ck_assert_str_eq(gv_text_get(&text), "");
    gv_text_put(&text, gv_bytes("grapes", 5));
    gv_text_add(&text, "%s", "");
    gv_text_add(&text, "-%s", "vine");
    ck_assert_str_eq(gv_text_get(&text), "grape-vine");
    gv_text_clear(&text);
    ck_assert_str_eq(gv_text_get(&text), "");
    gv_text_deinit(&text);
}
END_TEST

START_TEST(taken_text_outlives_its_builder)
{
    gv_text_t text = GV_TEXT_EMPTY;
    char *nothing = gv_text_take(&text);
    ck_assert_str_eq(nothing, "");
    gv_text_add(&text, "%s", "one");
    char *one = gv_text_take(&text);
    gv_text_add(&text, "%s", "two");
    ck_assert_str_eq(one, "one");
    ck_assert_str_eq(gv_text_get(&text), "two");
    char *both = gv_text_format("%s and %s", one, gv_text_get(&text));
    ck_assert_str_eq(both, "one and two");
    gv_free(both);
    gv_free(one);
    gv_free(nothing);
    gv_text_deinit(&text);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("text");
    tcase_add_test(tc, grows_as_it_is_written);
    tcase_add_test(tc, bytes_and_formats_mix);
    tcase_add_test(tc, taken_text_outlives_its_builder);

    Suite *suite = suite_create("base");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
