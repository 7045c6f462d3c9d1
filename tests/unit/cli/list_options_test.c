/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/list_options.h"

#include <stdlib.h>
#include <string.h>

#include <check.h>

static const gv_list_option_t options[] = {{"--like", "like_clientid", NULL},
                                           {"--online", "conn_state", "connected"}};
static gv_list_arguments_t taken;
static char *argv[20];
static int argc;

static int take(const char *const *words)
{
    argv[0] = (char *)(uintptr_t) "clients";
    for (argc = 1; words[argc - 1] != NULL; argc++) {
        argv[argc] = (char *)(uintptr_t)words[argc - 1];
    }
    argv[argc] = NULL;
    argc = gv_list_arguments_take(argc, argv, options, 2, &taken);
    return argc;
}

#define TAKE(...) take((const char *const[]){__VA_ARGS__, NULL})

static void teardown(void)
{
    gv_list_arguments_deinit(&taken);
}

START_TEST(own_options_become_parameters_and_the_others_stay)
{
    ck_assert_int_eq(TAKE("--admin", "x:1", "--like", "a b", "me", "--json", "--online"), 4);
    ck_assert_str_eq(gv_text_get(&taken.parameters), "?like_clientid=a%20b&conn_state=connected");
    ck_assert_str_eq(taken.word, "me");
    ck_assert_str_eq(argv[1], "--admin");
    ck_assert_str_eq(argv[2], "x:1");
    ck_assert_str_eq(argv[3], "--json");
    ck_assert_ptr_null(argv[4]);
}
END_TEST

START_TEST(a_word_may_look_like_an_option)
{
    ck_assert_int_eq(TAKE("--", "--like"), 1);
    ck_assert_str_eq(taken.word, "--like");
    ck_assert_str_eq(gv_text_get(&taken.parameters), "");
}
END_TEST

START_TEST(an_option_without_its_value_is_named)
{
    ck_assert_int_eq(TAKE("--online", "--like"), -1);
    ck_assert_str_eq(taken.problem, "--like needs a value");
}
END_TEST

START_TEST(a_second_word_is_one_too_many)
{
    ck_assert_int_eq(TAKE("a", "b"), -1);
    ck_assert_str_eq(taken.problem, "unexpected argument 'b'");
}
END_TEST

static void check_more(const char *text, const char *expected)
{
    json_t *answer = json_loads(text, 0, NULL);
    gv_text_t out = GV_TEXT_EMPTY;
    gv_list_print_more(answer, &out);
    ck_assert_str_eq(gv_text_get(&out), expected);
    gv_text_deinit(&out);
    json_decref(answer);
}

START_TEST(a_page_that_is_not_the_last_says_how_to_go_on)
{
    check_more("{\"meta\": {\"hasnext\": true, \"cursor\": \"1-2\"}}",
               "there are more: --cursor 1-2\n");
    check_more("{\"meta\": {\"hasnext\": false}}", "");
    check_more("{\"meta\": {\"hasnext\": true, \"page\": 3}}", "there are more: --page 4\n");
    check_more("{}", "");
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("list_options");
    tcase_add_checked_fixture(tc, NULL, teardown);
    tcase_add_test(tc, own_options_become_parameters_and_the_others_stay);
    tcase_add_test(tc, a_word_may_look_like_an_option);
    tcase_add_test(tc, an_option_without_its_value_is_named);
    tcase_add_test(tc, a_second_word_is_one_too_many);
    tcase_add_test(tc, a_page_that_is_not_the_last_says_how_to_go_on);
    Suite *suite = suite_create("cli");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
