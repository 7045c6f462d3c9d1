/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/option_value.h"

#include <stdio.h>
#include <stdlib.h>

#include <check.h>

#include "base/alloc.h"

static void expect_problem(char *problem, const char *text)
{
    ck_assert_ptr_nonnull(problem);
    ck_assert_str_eq(problem, text);
    gv_free(problem);
}

START_TEST(numbers_are_decimal_and_within_their_limits)
{
    uint32_t value = 0;
    ck_assert_ptr_null(gv_take_number("-k", "10", 10, 60, &value));
    ck_assert_uint_eq(value, 10);
    ck_assert_ptr_null(gv_take_number("-k", "4294967295", 0, UINT32_MAX, &value));
    ck_assert_uint_eq(value, UINT32_MAX);
    static const char *const bad[] = {"9", "61", "", "1x", "-1", "+10", " 10", "99999999999"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char text[100];
        (void)snprintf(text, sizeof(text), "-k '%s': expected a number from 10 to 60", bad[i]);
        expect_problem(gv_take_number("-k", bad[i], 10, 60, &value), text);
    }
    ck_assert_uint_eq(value, UINT32_MAX);
}
END_TEST

START_TEST(qos_and_versions)
{
    uint8_t qos = 0;
    ck_assert_ptr_null(gv_take_qos("-q", "2", &qos));
    ck_assert_uint_eq(qos, 2);
    expect_problem(gv_take_qos("-q", "3", &qos), "-q '3': expected a number from 0 to 2");
    gv_mqtt_version_t version = GV_MQTT_V31;
    ck_assert_ptr_null(gv_take_version("-V", "mqttv311", &version));
    ck_assert_int_eq(version, GV_MQTT_V311);
    ck_assert_ptr_null(gv_take_version("-V", "5.0", &version));
    ck_assert_int_eq(version, GV_MQTT_V5);
    expect_problem(gv_take_version("-V", "4", &version), "-V '4': expected 3.1, 3.1.1 or 5");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cli/option_value");
    TCase *tcase = tcase_create("option_value");
    tcase_add_test(tcase, numbers_are_decimal_and_within_their_limits);
    tcase_add_test(tcase, qos_and_versions);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
