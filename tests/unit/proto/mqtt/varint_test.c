/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/mqtt/varint.h"

#include <signal.h>
#include <stdlib.h>

#include <check.h>

#include "tests/unit/proto/mqtt/wire.h"

static void assert_round_trip(uint32_t value, size_t size)
{
    uint8_t bytes[4];
    gv_writer_t w = gv_writer(bytes, sizeof(bytes));
    gv_mqtt_varint_write(&w, value);
    ck_assert(!w.failed);
    ck_assert_uint_eq(sizeof(bytes) - gv_writer_left(&w), size);
    ck_assert_uint_eq(gv_mqtt_varint_size(value), size);
    gv_reader_t r = gv_reader(gv_bytes(bytes, size));
    ck_assert_uint_eq(gv_mqtt_varint_read(&r), value);
    ck_assert(!r.failed);
    ck_assert_uint_eq(gv_reader_left(&r), 0);
}

START_TEST(sizes_change_where_the_standard_says)
{
    assert_round_trip(0, 1);
    assert_round_trip(127, 1);
    assert_round_trip(128, 2);
    assert_round_trip(16383, 2);
    assert_round_trip(16384, 3);
    assert_round_trip(2097151, 3);
    assert_round_trip(2097152, 4);
    assert_round_trip(GV_MQTT_VARINT_MAX, 4);
}
END_TEST

static bool reads(const char *text)
{
    gv_bytes_t bytes = wire(text);
    gv_reader_t r = gv_reader(bytes);
    uint32_t value = gv_mqtt_varint_read(&r);
    ck_assert(!r.failed || value == 0);
    wire_free(bytes);
    return !r.failed;
}

/* CVE-2026-21888 and its likes elsewhere. */
START_TEST(a_fifth_byte_fails)
{
    ck_assert(!reads("ffffffff7f"));
    ck_assert(!reads("8080808001"));
    ck_assert(!reads("ffffffffffffffff"));
}
END_TEST

START_TEST(a_missing_byte_fails)
{
    ck_assert(!reads(""));
    ck_assert(!reads("80"));
    ck_assert(!reads("ffff"));
    ck_assert(!reads("ffffff"));
}
END_TEST

/* [MQTT-1.5.5-1] */
START_TEST(more_bytes_than_needed_fail)
{
    ck_assert(reads("00"));
    ck_assert(!reads("8000"));
    ck_assert(!reads("ff00"));
    ck_assert(!reads("80808000"));
}
END_TEST

START_TEST(writing_a_value_too_large_aborts)
{
    uint8_t bytes[8];
    gv_writer_t w = gv_writer(bytes, sizeof(bytes));
    gv_mqtt_varint_write(&w, GV_MQTT_VARINT_MAX + 1);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("varint");
    tcase_add_test(tc, sizes_change_where_the_standard_says);
    tcase_add_test(tc, a_fifth_byte_fails);
    tcase_add_test(tc, a_missing_byte_fails);
    tcase_add_test(tc, more_bytes_than_needed_fail);
    tcase_add_test_raise_signal(tc, writing_a_value_too_large_aborts, SIGABRT);

    Suite *suite = suite_create("proto/mqtt");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
