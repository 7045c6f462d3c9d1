/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <stdlib.h>

#include <check.h>

static uint64_t times_asked;

static uint64_t monotonic(void *arg)
{
    times_asked++;
    return *(uint64_t *)arg;
}

static uint64_t realtime(void *arg)
{
    times_asked++;
    return *(uint64_t *)arg + 1;
}

START_TEST(each_question_reaches_the_port_in_its_unit)
{
    uint64_t value = 5999999;
    gv_clock_t clock = {.monotonic_ns = monotonic, .realtime_ms = realtime, .arg = &value};
    ck_assert_uint_eq(gv_clock_monotonic_ns(&clock), 5999999);
    ck_assert_uint_eq(gv_clock_monotonic_ms(&clock), 5);
    ck_assert_uint_eq(gv_clock_realtime_ms(&clock), 6000000);
    ck_assert_uint_eq(times_asked, 3);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("clock");
    tcase_add_test(tc, each_question_reaches_the_port_in_its_unit);

    Suite *suite = suite_create("base");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
