/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/fanout.h"

#include <stdlib.h>

#include <check.h>

static uint32_t expiry_left(uint64_t expires_at_ms, uint64_t now_ms)
{
    gv_fanout_t fanout = {.has_expiry = false};
    gv_publish_t publish = {.topic = GV_BYTES_LITERAL("t"), .expires_at_ms = expires_at_ms};
    gv_fanout_begin(&fanout, &publish, now_ms);
    ck_assert(fanout.has_expiry);
    return fanout.expiry_s;
}

START_TEST(the_expiry_that_is_left_is_never_more_than_was_received)
{
    ck_assert_uint_eq(expiry_left(150000, 100000), 50);
    /* Another loop's clock, some milliseconds behind the publisher's, and ahead. */
    ck_assert_uint_eq(expiry_left(150000, 99993), 50);
    ck_assert_uint_eq(expiry_left(150000, 100007), 50);
    ck_assert_uint_eq(expiry_left(150000, 102100), 48);
    ck_assert_uint_eq(expiry_left(150000, 149900), 1);
    ck_assert_uint_eq(expiry_left(150000, 150000), 0);
    ck_assert_uint_eq(expiry_left(150000, 150001), 0);
    ck_assert_uint_eq(expiry_left(1000 * (uint64_t)UINT32_MAX + 7, 7), UINT32_MAX);
    gv_fanout_t fanout = {.has_expiry = true};
    gv_publish_t publish = {.topic = GV_BYTES_LITERAL("t")};
    gv_fanout_begin(&fanout, &publish, 5);
    ck_assert(!fanout.has_expiry);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("fanout");
    tcase_add_test(tc, the_expiry_that_is_left_is_never_more_than_was_received);
    Suite *suite = suite_create("broker/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
