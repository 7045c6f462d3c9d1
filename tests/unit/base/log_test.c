/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>

static char last_line[4096];
static gv_log_level_t last_level;
static int lines;
static uint64_t now_ms;

static void on_line(gv_log_level_t level, const char *line, void *arg)
{
    ck_assert_ptr_eq(arg, &lines);
    ck_assert_uint_lt(strlen(line), 1024);
    memcpy(last_line, line, strlen(line) + 1);
    last_level = level;
    lines++;
}

static uint64_t test_now(void)
{
    return now_ms;
}

static void setup_without_clock(void)
{
    gv_log_configure(GV_LOG_INFO, NULL, on_line, &lines);
}

static void setup_with_clock(void)
{
    gv_log_configure(GV_LOG_INFO, test_now, on_line, &lines);
}

START_TEST(a_line_is_level_event_and_text)
{
    setup_without_clock();
    gv_log_warn("takeover_stale", "client='%s' epoch=%" PRIu64, "c7", (uint64_t)4);
    ck_assert_str_eq(last_line, "WARN takeover_stale client='c7' epoch=4\n");
    ck_assert_int_eq((int)last_level, (int)GV_LOG_WARN);
    gv_log_error("disk_full", "path='%s'", "/data");
    ck_assert_str_eq(last_line, "ERROR disk_full path='/data'\n");
    gv_log_info("ready", "port=%d", 1883);
    ck_assert_str_eq(last_line, "INFO ready port=1883\n");
}
END_TEST

START_TEST(the_clock_gives_a_utc_stamp)
{
    static const struct {
        uint64_t ms;
        const char *line;
    } expected[] = {
        {0, "1970-01-01T00:00:00.000Z INFO tick n=1\n"},
        {86399999, "1970-01-01T23:59:59.999Z INFO tick n=1\n"},
        {951782400000, "2000-02-29T00:00:00.000Z INFO tick n=1\n"},
        {1000000000000, "2001-09-09T01:46:40.000Z INFO tick n=1\n"},
        {1735689599999, "2024-12-31T23:59:59.999Z INFO tick n=1\n"},
        {4107542400000, "2100-03-01T00:00:00.000Z INFO tick n=1\n"},
    };
    setup_with_clock();
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        now_ms = expected[i].ms;
        gv_log_info("tick", "n=%d", 1);
        ck_assert_str_eq(last_line, expected[i].line);
    }
}
END_TEST

static int evaluations;

static int evaluated(void)
{
    return ++evaluations;
}

START_TEST(what_is_off_is_not_even_evaluated)
{
    setup_without_clock();
    gv_log_debug("tick", "n=%d", evaluated());
    ck_assert_int_eq(lines, 0);
    ck_assert_int_eq(evaluations, 0);

    gv_log_set_level(GV_LOG_DEBUG);
    ck_assert(gv_log_is_on(GV_LOG_DEBUG));
    gv_log_debug("tick", "n=%d", evaluated());
    ck_assert_str_eq(last_line, "DEBUG tick n=1\n");

    gv_log_set_level(GV_LOG_ERROR);
    ck_assert(!gv_log_is_on(GV_LOG_WARN));
    gv_log_warn("tick", "n=%d", evaluated());
    ck_assert_int_eq(lines, 1);
    gv_log_error("tick", "n=%d", evaluated());
    ck_assert_int_eq(lines, 2);
}
END_TEST

START_TEST(levels_are_parsed_by_their_exact_names)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    for (unsigned i = 0; i < 4; i++) {
        gv_log_level_t level = GV_LOG_ERROR;
        ck_assert(gv_log_level_parse(names[i], &level));
        ck_assert_uint_eq((unsigned)level, i);
    }
    gv_log_level_t level = GV_LOG_WARN;
    ck_assert(!gv_log_level_parse("", &level));
    ck_assert(!gv_log_level_parse("Info", &level));
    ck_assert(!gv_log_level_parse("information", &level));
    ck_assert_int_eq((int)level, (int)GV_LOG_WARN);
}
END_TEST

START_TEST(a_line_stays_one_line)
{
    setup_without_clock();
    gv_log_info("client_connected", "client='%s'", "a\nERROR forged\r\x1b[2J\x7f \t");
    ck_assert_str_eq(last_line, "INFO client_connected client='a?ERROR forged?"
                                "?[2J? ?'\n");
}
END_TEST

START_TEST(long_lines_are_cut_at_1023_bytes)
{
    setup_without_clock();
    char text[3000];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';

    /* "INFO e " is 7 characters: 1015 of text and the newline still fit. */
    gv_log_info("e", "%.1015s", text);
    ck_assert_uint_eq(strlen(last_line), 1023);
    ck_assert_str_eq(last_line + 1019, "xxx\n");
    gv_log_info("e", "%.1016s", text);
    ck_assert_uint_eq(strlen(last_line), 1023);
    ck_assert_str_eq(last_line + 1018, "x...\n");
    gv_log_info("e", "%s", text);
    ck_assert_str_eq(last_line + 1018, "x...\n");
    gv_log_info(text, "n=%d", 1);
    ck_assert_uint_eq(strlen(last_line), 1023);
    ck_assert_str_eq(last_line + 1018, "x...\n");
}
END_TEST

START_TEST(the_cut_does_not_split_a_utf8_character)
{
    setup_without_clock();
    char text[2001];
    for (size_t shift = 0; shift < 3; shift++) {
        memset(text, 'x', sizeof(text));
        for (size_t i = shift; i + 3 < sizeof(text); i += 3) {
            memcpy(text + i, "\xe2\x82\xac", 3); /* the euro sign */
        }
        text[sizeof(text) - 1] = '\0';
        gv_log_info("e", "%s", text);
        const char *dots = strstr(last_line, "...\n");
        ck_assert_ptr_nonnull(dots);
        ck_assert_int_eq(memcmp(dots - 3, "\xe2\x82\xac", 3), 0);
    }
}
END_TEST

static void many_peers_misbehave(int times)
{
    for (int i = 0; i < times; i++) {
        gv_log_peer(GV_LOG_WARN, "bad_packet", "peer='%s'", "p");
    }
}

START_TEST(a_peer_can_cause_ten_lines_in_a_second_and_then_their_number)
{
    setup_with_clock();
    now_ms = 1000000;
    many_peers_misbehave(9);
    ck_assert_int_eq(lines, 9);
    now_ms += 999;
    many_peers_misbehave(200);
    ck_assert_int_eq(lines, 10);
    ck_assert_ptr_nonnull(strstr(last_line, "WARN bad_packet peer='p' left_out=0\n"));
    now_ms += 1;
    many_peers_misbehave(2);
    ck_assert_int_eq(lines, 12);
    ck_assert_ptr_nonnull(strstr(last_line, "left_out=0\n"));
    many_peers_misbehave(9);
    now_ms += 5000;
    many_peers_misbehave(1);
    ck_assert_ptr_nonnull(strstr(last_line, "left_out=1\n"));
    many_peers_misbehave(12);
    now_ms -= 100000; /* the wall clock may jump back: that is another second too */
    many_peers_misbehave(1);
    ck_assert_ptr_nonnull(strstr(last_line, "left_out=3\n"));
}
END_TEST

START_TEST(the_first_line_of_a_new_second_tells_how_many_were_left_out)
{
    setup_with_clock();
    static gv_log_limit_t limit;
    uint32_t left_out = 7;
    now_ms = 5000;
    for (int i = 0; i < 110; i++) {
        ck_assert_int_eq(gv_log_limit_pass(&limit, &left_out), i < 10);
        ck_assert_uint_eq(left_out, 0);
    }
    now_ms = 6000;
    ck_assert(gv_log_limit_pass(&limit, &left_out));
    ck_assert_uint_eq(left_out, 100);
    ck_assert(gv_log_limit_pass(&limit, &left_out));
    ck_assert_uint_eq(left_out, 0);
}
END_TEST

START_TEST(without_a_clock_nothing_is_left_out)
{
    setup_without_clock();
    many_peers_misbehave(50);
    ck_assert_int_eq(lines, 50);
}
END_TEST

enum {
    THREADS = 4,
    TRIES = 5000
};

static gv_log_limit_t shared_limit;

static void *try_often(void *arg)
{
    uint32_t *passed = arg;
    for (int i = 0; i < TRIES; i++) {
        uint32_t left_out = 0;
        *passed += gv_log_limit_pass(&shared_limit, &left_out);
        gv_log_set_level(i % 2 == 0 ? GV_LOG_INFO : GV_LOG_DEBUG);
        (void)gv_log_is_on(GV_LOG_DEBUG);
    }
    return NULL;
}

/* Meant for ThreadSanitizer too. */
START_TEST(the_limit_is_exact_with_many_threads)
{
    setup_with_clock();
    now_ms = 9000;
    pthread_t thread[THREADS];
    uint32_t passed[THREADS] = {0};
    for (int i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_create(&thread[i], NULL, try_often, &passed[i]), 0);
    }
    uint32_t sum = 0;
    for (int i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_join(thread[i], NULL), 0);
        sum += passed[i];
    }
    ck_assert_uint_eq(sum, GV_LOG_BURST);
    now_ms = 10000;
    uint32_t left_out = 0;
    ck_assert(gv_log_limit_pass(&shared_limit, &left_out));
    ck_assert_uint_eq(left_out, THREADS * TRIES - GV_LOG_BURST);
}
END_TEST

START_TEST(the_default_sink_is_stderr)
{
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
    gv_log_configure(GV_LOG_INFO, NULL, NULL, NULL);
    gv_log_info("ready", "port=%d", 1883);
    char got[100] = {0};
    ck_assert_int_eq(read(ends[0], got, sizeof(got) - 1), 21);
    ck_assert_str_eq(got, "INFO ready port=1883\n");
}
END_TEST

START_TEST(a_level_that_is_none_aborts)
{
    gv_log_set_level((gv_log_level_t)4);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("log");
    tcase_add_test(tc, a_line_is_level_event_and_text);
    tcase_add_test(tc, the_clock_gives_a_utc_stamp);
    tcase_add_test(tc, what_is_off_is_not_even_evaluated);
    tcase_add_test(tc, levels_are_parsed_by_their_exact_names);
    tcase_add_test(tc, a_line_stays_one_line);
    tcase_add_test(tc, long_lines_are_cut_at_1023_bytes);
    tcase_add_test(tc, the_cut_does_not_split_a_utf8_character);
    tcase_add_test(tc, a_peer_can_cause_ten_lines_in_a_second_and_then_their_number);
    tcase_add_test(tc, the_first_line_of_a_new_second_tells_how_many_were_left_out);
    tcase_add_test(tc, without_a_clock_nothing_is_left_out);
    tcase_add_test(tc, the_limit_is_exact_with_many_threads);
    tcase_add_test(tc, the_default_sink_is_stderr);
    tcase_add_test_raise_signal(tc, a_level_that_is_none_aborts, SIGABRT);

    Suite *suite = suite_create("base");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
