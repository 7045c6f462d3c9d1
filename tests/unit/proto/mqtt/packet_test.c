/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/mqtt/packet.h"

#include <signal.h>
#include <stdlib.h>

#include <check.h>

#include "tests/unit/proto/mqtt/samples.h"
#include "tests/unit/proto/mqtt/wire.h"

#define ANY_SIZE ((size_t)GV_MQTT_PACKET_SIZE_MAX)

static gv_err_t frame(const char *text, size_t size_max, gv_mqtt_frame_t *out)
{
    gv_bytes_t bytes = wire(text);
    gv_err_t err = gv_mqtt_frame(bytes, size_max, out);
    wire_free(bytes);
    return err;
}

START_TEST(a_packet_is_cut_off_the_front)
{
    gv_bytes_t stream = wire("32 [ <a> 0001 'x' ] c0 [] 40");
    gv_mqtt_frame_t out;
    ck_assert_int_eq(gv_mqtt_frame(stream, ANY_SIZE, &out), GV_OK);
    ck_assert_int_eq(out.type, GV_MQTT_PUBLISH);
    ck_assert_uint_eq(out.flags, 2);
    ck_assert_uint_eq(out.size, 8);
    ck_assert_uint_eq(out.body.size, 6);
    ck_assert_ptr_eq(out.body.data, stream.data + 2);

    gv_bytes_t rest = gv_bytes(stream.data + 8, stream.size - 8);
    ck_assert_int_eq(gv_mqtt_frame(rest, ANY_SIZE, &out), GV_OK);
    ck_assert_int_eq(out.type, GV_MQTT_PINGREQ);
    ck_assert_uint_eq(out.size, 2);
    rest = gv_bytes(stream.data + 10, stream.size - 10);
    ck_assert_int_eq(gv_mqtt_frame(rest, ANY_SIZE, &out), GV_ERR_AGAIN);
    wire_free(stream);
}
END_TEST

START_TEST(every_sample_cut_anywhere_asks_for_more)
{
    for (size_t i = 0; i < SAMPLE_COUNT; i++) {
        gv_bytes_t whole = wire(samples[i].text);
        gv_mqtt_frame_t out;
        for (size_t size = 0; size < whole.size; size++) {
            gv_bytes_t part = wire_copy(gv_bytes(whole.data, size));
            ck_assert_int_eq(gv_mqtt_frame(part, ANY_SIZE, &out), GV_ERR_AGAIN);
            bool header_complete = size >= 2 && (whole.data[1] < 0x80 || size >= 3);
            ck_assert_uint_eq(out.size, header_complete ? whole.size : 0);
            wire_free(part);
        }
        ck_assert_int_eq(gv_mqtt_frame(whole, ANY_SIZE, &out), GV_OK);
        ck_assert_uint_eq(out.size, whole.size);
        wire_free(whole);
    }
}
END_TEST

START_TEST(a_length_of_five_bytes_is_malformed)
{
    gv_mqtt_frame_t out;
    ck_assert_int_eq(frame("30 ffffffff7f", ANY_SIZE, &out), GV_ERR_MALFORMED);
    ck_assert_int_eq(frame("30 ffffffff", ANY_SIZE, &out), GV_ERR_MALFORMED);
    ck_assert_int_eq(frame("10 ffffffff ffffffff", ANY_SIZE, &out), GV_ERR_MALFORMED);
    ck_assert_int_eq(frame("30 ffffff", ANY_SIZE, &out), GV_ERR_AGAIN);
}
END_TEST

/* Before anything is allocated for it: eleven bytes must not cost 256 MB. */
START_TEST(too_large_is_told_by_the_header_alone)
{
    gv_mqtt_frame_t out;
    ck_assert_int_eq(frame("10 ffffff7f", 65536, &out), GV_ERR_TOO_LARGE);
    ck_assert_int_eq(frame("30 ffffff7f 0001", ANY_SIZE - 1, &out), GV_ERR_TOO_LARGE);
    ck_assert_int_eq(frame("30 ffffff7f", ANY_SIZE, &out), GV_ERR_AGAIN);
    ck_assert_uint_eq(out.size, ANY_SIZE);
    /* The limit counts the whole packet. */
    ck_assert_int_eq(frame("30 0a", 12, &out), GV_ERR_AGAIN);
    ck_assert_int_eq(frame("30 0a", 11, &out), GV_ERR_TOO_LARGE);
}
END_TEST

/* Firmware that reserves four bytes for the length; 3.1.1 has no rule against it. */
START_TEST(a_padded_length_is_let_through)
{
    gv_mqtt_frame_t out;
    ck_assert_int_eq(frame("c0 8000", ANY_SIZE, &out), GV_OK);
    ck_assert_uint_eq(out.body.size, 0);
    ck_assert_uint_eq(out.size, 3);
    ck_assert_int_eq(frame("40 82808000 0001", ANY_SIZE, &out), GV_OK);
    ck_assert_uint_eq(out.body.size, 2);
}
END_TEST

/* [MQTT-2.1.3-1], [MQTT-2.2.2-2 of 3.1.1] */
START_TEST(type_and_flags_are_judged_by_the_first_byte)
{
    for (unsigned first = 0; first < 256; first++) {
        unsigned type = first >> 4;
        unsigned flags = first & 0x0f;
        bool request =
            type == GV_MQTT_PUBREL || type == GV_MQTT_SUBSCRIBE || type == GV_MQTT_UNSUBSCRIBE;
        bool good = type == GV_MQTT_PUBLISH || (request && (flags == 2 || flags == 0xa)) ||
                    (type != 0 && !request && flags == 0);
        uint8_t byte = (uint8_t)first;
        gv_mqtt_frame_t out;
        ck_assert_int_eq(gv_mqtt_frame(gv_bytes(&byte, 1), ANY_SIZE, &out),
                         good ? GV_ERR_AGAIN : GV_ERR_MALFORMED);
    }
}
END_TEST

START_TEST(types_and_versions_have_texts)
{
    ck_assert_str_eq(gv_mqtt_type_text(GV_MQTT_CONNECT), "CONNECT");
    ck_assert_str_eq(gv_mqtt_type_text(GV_MQTT_AUTH), "AUTH");
    ck_assert_str_eq(gv_mqtt_type_text((gv_mqtt_type_t)0), "unknown packet");
    ck_assert_str_eq(gv_mqtt_type_text((gv_mqtt_type_t)16), "unknown packet");
    ck_assert_str_eq(gv_mqtt_version_text(GV_MQTT_V31), "3.1");
    ck_assert_str_eq(gv_mqtt_version_text(GV_MQTT_V311), "3.1.1");
    ck_assert_str_eq(gv_mqtt_version_text(GV_MQTT_V5), "5.0");
    ck_assert_str_eq(gv_mqtt_version_text((gv_mqtt_version_t)9), "unknown");
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("packet");
    tcase_add_test(tc, a_packet_is_cut_off_the_front);
    tcase_add_test(tc, every_sample_cut_anywhere_asks_for_more);
    tcase_add_test(tc, a_length_of_five_bytes_is_malformed);
    tcase_add_test(tc, too_large_is_told_by_the_header_alone);
    tcase_add_test(tc, a_padded_length_is_let_through);
    tcase_add_test(tc, type_and_flags_are_judged_by_the_first_byte);
    tcase_add_test(tc, types_and_versions_have_texts);

    Suite *suite = suite_create("proto/mqtt");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
