/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/mqtt/reason.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

START_TEST(every_byte_has_a_text)
{
    int known = 0;
    for (int value = 0; value < 256; value++) {
        const char *text = gv_mqtt_reason_text((uint8_t)value);
        ck_assert_ptr_nonnull(text);
        known += strcmp(text, "unknown reason") != 0;
    }
    ck_assert_int_eq(known, 43); /* rows of table 2-6, one per value */
    ck_assert_str_eq(gv_mqtt_reason_text(0x00), "success");
    ck_assert_str_eq(gv_mqtt_reason_text(0x8e), "session taken over");
    ck_assert_str_eq(gv_mqtt_reason_text(0x03), "unknown reason");
}
END_TEST

START_TEST(errors_begin_at_0x80)
{
    ck_assert(!gv_mqtt_reason_is_error(GV_MQTT_SUCCESS));
    ck_assert(!gv_mqtt_reason_is_error(GV_MQTT_REAUTHENTICATE));
    ck_assert(gv_mqtt_reason_is_error(GV_MQTT_UNSPECIFIED_ERROR));
    ck_assert(gv_mqtt_reason_is_error(GV_MQTT_WILDCARDS_NOT_SUPPORTED));
}
END_TEST

START_TEST(return_codes_map_both_ways)
{
    for (uint8_t code = 0; code <= 5; code++) {
        uint8_t again;
        ck_assert(gv_mqtt_reason_to_return_code(gv_mqtt_reason_from_return_code(code), &again));
        ck_assert_uint_eq(again, code);
    }
    ck_assert_int_eq(gv_mqtt_reason_from_return_code(1), GV_MQTT_UNSUPPORTED_VERSION);
    ck_assert_int_eq(gv_mqtt_reason_from_return_code(4), GV_MQTT_BAD_CREDENTIALS);
    ck_assert_int_eq(gv_mqtt_reason_from_return_code(6), GV_MQTT_UNSPECIFIED_ERROR);
    ck_assert_int_eq(gv_mqtt_reason_from_return_code(255), GV_MQTT_UNSPECIFIED_ERROR);
}
END_TEST

START_TEST(old_clients_are_told_what_is_nearest_or_nothing)
{
    uint8_t code;
    ck_assert(gv_mqtt_reason_to_return_code(GV_MQTT_SERVER_BUSY, &code));
    ck_assert_uint_eq(code, 3);
    ck_assert(gv_mqtt_reason_to_return_code(GV_MQTT_QUOTA_EXCEEDED, &code));
    ck_assert_uint_eq(code, 3);
    ck_assert(gv_mqtt_reason_to_return_code(GV_MQTT_BANNED, &code));
    ck_assert_uint_eq(code, 5);
    ck_assert(!gv_mqtt_reason_to_return_code(GV_MQTT_MALFORMED_PACKET, &code));
    ck_assert(!gv_mqtt_reason_to_return_code(GV_MQTT_PROTOCOL_ERROR, &code));
    ck_assert(!gv_mqtt_reason_to_return_code(GV_MQTT_TOPIC_NAME_INVALID, &code));
}
END_TEST

START_TEST(each_of_our_errors_has_a_reason)
{
    ck_assert_int_eq(gv_mqtt_reason_from_err(GV_OK), GV_MQTT_SUCCESS);
    ck_assert_int_eq(gv_mqtt_reason_from_err(GV_ERR_DENIED), GV_MQTT_NOT_AUTHORIZED);
    ck_assert_int_eq(gv_mqtt_reason_from_err(GV_ERR_FULL), GV_MQTT_QUOTA_EXCEEDED);
    ck_assert_int_eq(gv_mqtt_reason_from_err(GV_ERR_TOO_LARGE), GV_MQTT_PACKET_TOO_LARGE);
    ck_assert_int_eq(gv_mqtt_reason_from_err(GV_ERR_MALFORMED), GV_MQTT_MALFORMED_PACKET);
#define X(name, value, text)                                               \
    if (name != GV_OK) {                                                   \
        ck_assert(gv_mqtt_reason_is_error(gv_mqtt_reason_from_err(name))); \
    }
    GV_ERR_MAP(X)
#undef X
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("reason");
    tcase_add_test(tc, every_byte_has_a_text);
    tcase_add_test(tc, errors_begin_at_0x80);
    tcase_add_test(tc, return_codes_map_both_ways);
    tcase_add_test(tc, old_clients_are_told_what_is_nearest_or_nothing);
    tcase_add_test(tc, each_of_our_errors_has_a_reason);

    Suite *suite = suite_create("proto/mqtt");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
