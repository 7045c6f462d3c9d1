/* SPDX-License-Identifier: Apache-2.0 */
#include "base/io/os.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/resource.h>

#include <check.h>
#include <uv.h>

START_TEST(monotonic_time_advances_and_real_time_is_of_our_days)
{
    const gv_clock_t *clock = gv_os_clock();
    uint64_t before = gv_clock_monotonic_ns(clock);
    uint64_t after = gv_clock_monotonic_ns(clock);
    ck_assert_uint_ge(after, before);
    ck_assert_uint_gt(gv_clock_realtime_ms(clock), 1600000000000U);
    ck_assert_uint_le(gv_clock_realtime_ms(clock), gv_os_log_now());
}
END_TEST

START_TEST(random_bytes_differ_and_fill_everything)
{
    uint8_t a[1000] = {0};
    uint8_t b[1000] = {0};
    gv_os_random(a, sizeof(a));
    gv_os_random(b, sizeof(b));
    ck_assert_mem_ne(a, b, sizeof(a));
    int zeros = 0;
    for (size_t i = 0; i < sizeof(a); i++) {
        zeros += a[i] == 0 ? 1 : 0;
    }
    ck_assert_int_lt(zeros, 50); /* about 4 are to be expected */
    gv_os_random(NULL, 0);
}
END_TEST

START_TEST(descriptor_limit_is_raised_as_far_as_allowed)
{
    struct rlimit limit = {.rlim_cur = 64, .rlim_max = 128};
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    ck_assert_uint_eq(gv_os_raise_fd_limit(32), 64); /* never lowered */
    ck_assert_uint_eq(gv_os_raise_fd_limit(100), 100);
    if (geteuid() != 0) {
        ck_assert_uint_eq(gv_os_raise_fd_limit(1000), 128);
    }
}
END_TEST

START_TEST(machine_has_processors_and_a_name)
{
    char name[256];
    ck_assert_uint_ge(gv_os_cpu_count(), 1);
    ck_assert_uint_gt(strlen(gv_os_hostname(name, sizeof(name))), 0);
    char tiny[2] = "xx";
    ck_assert_uint_eq(strlen(gv_os_hostname(tiny, sizeof(tiny))), 1);
}
END_TEST

START_TEST(writing_to_a_closed_pipe_is_an_error_and_no_signal)
{
    gv_os_ignore_sigpipe();
    int fds[2];
    ck_assert_int_eq(pipe(fds), 0);
    (void)close(fds[0]);
    ck_assert_int_eq(write(fds[1], "x", 1), -1);
    ck_assert_int_eq(errno, EPIPE);
    (void)close(fds[1]);
}
END_TEST

static volatile sig_atomic_t signals_seen;

static void on_signal(int number)
{
    (void)number;
    signals_seen++;
}

START_TEST(signals_that_are_held_come_when_they_are_released)
{
    const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    gv_os_hold_signals();
    for (size_t i = 0; i < 3; i++) {
        ck_assert(signal(numbers[i], on_signal) != SIG_ERR);
        ck_assert_int_eq(raise(numbers[i]), 0);
    }
    ck_assert_int_eq(signals_seen, 0);
    gv_os_release_signals();
    ck_assert_int_eq(signals_seen, 3);
}
END_TEST

START_TEST(codes_of_the_system_and_of_libuv_are_translated)
{
    ck_assert_int_eq(gv_err_from_errno(0), GV_OK);
    ck_assert_int_eq(gv_err_from_errno(ECONNRESET), GV_ERR_CLOSED);
    ck_assert_int_eq(gv_err_from_errno(EADDRINUSE), GV_ERR_BUSY);
    ck_assert_int_eq(gv_err_from_errno(ENOSPC), GV_ERR_FULL);
    ck_assert_int_eq(gv_err_from_errno(EXDEV), GV_ERR_IO);
    ck_assert_int_eq(gv_err_from_uv(0), GV_OK);
    ck_assert_int_eq(gv_err_from_uv(UV_ETIMEDOUT), GV_ERR_TIMEOUT);
    ck_assert_int_eq(gv_err_from_uv(UV_EAI_NONAME), GV_ERR_NOENT);
    ck_assert_int_eq(gv_err_from_uv(UV_EOF), GV_ERR_CLOSED);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("os");
    tcase_add_test(tc, monotonic_time_advances_and_real_time_is_of_our_days);
    tcase_add_test(tc, random_bytes_differ_and_fill_everything);
    tcase_add_test(tc, descriptor_limit_is_raised_as_far_as_allowed);
    tcase_add_test(tc, machine_has_processors_and_a_name);
    tcase_add_test(tc, writing_to_a_closed_pipe_is_an_error_and_no_signal);
    tcase_add_test(tc, signals_that_are_held_come_when_they_are_released);
    tcase_add_test(tc, codes_of_the_system_and_of_libuv_are_translated);
    Suite *suite = suite_create("base/io");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
