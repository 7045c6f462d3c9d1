/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/bench_process.h"

#include <stdlib.h>
#include <time.h>

#include <check.h>
#include <unistd.h>

START_TEST(a_name_with_spaces_and_brackets_does_not_matter)
{
    uint64_t ticks;
    ck_assert_int_eq(gv_bench_stat_ticks("17 (a) b ) R 1 2 3 4 5 6 7 8 9 10 250 50 0 0", &ticks),
                     GV_OK);
    ck_assert_uint_eq(ticks, 300);
}
END_TEST

START_TEST(what_is_no_stat_line_is_malformed)
{
    uint64_t ticks;
    ck_assert_int_eq(gv_bench_stat_ticks("", &ticks), GV_ERR_MALFORMED);
    ck_assert_int_eq(gv_bench_stat_ticks("17 (x", &ticks), GV_ERR_MALFORMED);
    ck_assert_int_eq(gv_bench_stat_ticks("17 (x) R 1 2 3 4 5 6 7 8 9 10", &ticks),
                     GV_ERR_MALFORMED);
    ck_assert_int_eq(gv_bench_stat_ticks("17 (x) R 1 2 3 4 5 6 7 8 9 10 250", &ticks),
                     GV_ERR_MALFORMED);
}
END_TEST

START_TEST(a_key_is_the_whole_word_at_the_beginning_of_a_line)
{
    static const char status[] =
        "Name:\tRss:\nRssAnonX:\t1\nXRss:\t2\nRssAnon:\t   4096 kB\nRss:\t9\n";
    ck_assert_uint_eq(gv_bench_status_number(status, "RssAnon"), 4096);
    ck_assert_uint_eq(gv_bench_status_number(status, "Rss"), 9);
    ck_assert_uint_eq(gv_bench_status_number(status, "Threads"), 0);
}
END_TEST

START_TEST(this_process_uses_memory_and_time)
{
    gv_bench_usage_t before;
    gv_bench_usage_t after;
    ck_assert_int_eq(gv_bench_usage_read((uint32_t)getpid(), &before), GV_OK);
    ck_assert_uint_ge(before.rss_bytes, 4096);
    ck_assert_uint_ge(before.threads, 1);
    clock_t until = clock() + CLOCKS_PER_SEC / 10;
    while (clock() < until) {
    }
    ck_assert_int_eq(gv_bench_usage_read((uint32_t)getpid(), &after), GV_OK);
    ck_assert_uint_ge(after.cpu_ns - before.cpu_ns, 50000000);
    ck_assert_uint_le(after.cpu_ns - before.cpu_ns, 1000000000);
}
END_TEST

START_TEST(nobody_has_process_zero)
{
    gv_bench_usage_t usage;
    ck_assert_int_eq(gv_bench_usage_read(0, &usage), GV_ERR_NOENT);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bench_process");
    TCase *tc = tcase_create("all");
    tcase_add_test(tc, a_name_with_spaces_and_brackets_does_not_matter);
    tcase_add_test(tc, what_is_no_stat_line_is_malformed);
    tcase_add_test(tc, a_key_is_the_whole_word_at_the_beginning_of_a_line);
    tcase_add_test(tc, this_process_uses_memory_and_time);
    tcase_add_test(tc, nobody_has_process_zero);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
