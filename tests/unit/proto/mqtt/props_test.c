/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/mqtt/props.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "proto/mqtt/packet.h"
#include "tests/unit/proto/mqtt/wire.h"

static gv_err_t decode(const char *text, uint8_t place, gv_mqtt_props_t *out,
                       gv_mqtt_reason_t *reason)
{
    gv_bytes_t bytes = wire(text);
    gv_reader_t r = gv_reader(bytes);
    gv_err_t err = gv_mqtt_props_decode(&r, place, out, reason);
    wire_free(bytes);
    return err;
}

static void assert_refused(const char *text, uint8_t place, gv_err_t err, gv_mqtt_reason_t code)
{
    gv_mqtt_props_t props;
    gv_mqtt_reason_t reason;
    ck_assert_msg(decode(text, place, &props, &reason) == err, "%s", text);
    ck_assert_msg(reason == code, "%s", text);
}

static void assert_taken(const char *text, uint8_t place)
{
    gv_mqtt_props_t props;
    gv_mqtt_reason_t reason;
    ck_assert_msg(decode(text, place, &props, &reason) == GV_OK, "%s", text);
    ck_assert_int_eq(reason, GV_MQTT_SUCCESS);
}

#define MALFORMED GV_ERR_MALFORMED, GV_MQTT_MALFORMED_PACKET
#define PROTOCOL  GV_ERR_PROTOCOL, GV_MQTT_PROTOCOL_ERROR

/* ---- table 2-4 of the standard, written down a second time -------------------------------- */

typedef struct row {
    uint8_t id;
    const char *value;  /* an allowed one, in wire notation */
    const char *places; /* W will, C connect, c connack, P publish, a acks, S, U, D, A */
} row_t;

static const row_t table[] = {
    {0x01, "01", "WP"},
    {0x02, "00000001", "WP"},
    {0x03, "<t>", "WP"},
    {0x08, "<t>", "WP"},
    {0x09, "<x>", "WP"},
    {0x0b, "01", "PS"},
    {0x11, "00000000", "CcD"},
    {0x12, "<id>", "c"},
    {0x13, "0000", "c"},
    {0x15, "<m>", "CcA"},
    {0x16, "<d>", "CcA"},
    {0x17, "01", "C"},
    {0x18, "00000000", "W"},
    {0x19, "01", "C"},
    {0x1a, "<r>", "c"},
    {0x1c, "<s>", "cD"},
    {0x1f, "<r>", "caDA"},
    {0x21, "0001", "Cc"},
    {0x22, "0000", "Cc"},
    {0x23, "0001", "P"},
    {0x24, "00", "c"},
    {0x25, "00", "c"},
    {0x26, "<n><v>", "WCcPaSUDA"},
    {0x27, "00000001", "Cc"},
    {0x28, "00", "c"},
    {0x29, "00", "c"},
    {0x2a, "00", "c"},
};

enum {
    ROWS = sizeof(table) / sizeof(table[0])
};

/* The letters of the table by packet type; 'x' for packets without properties. */
static const char place_letters[] = "WCcPaaaaSaUaxxDA";

START_TEST(each_property_is_taken_where_the_standard_has_it_and_nowhere_else)
{
    for (uint8_t place = 0; place <= GV_MQTT_AUTH; place++) {
        for (unsigned id = 0; id < 256; id++) {
            const row_t *row = NULL;
            for (size_t i = 0; i < ROWS; i++) {
                row = table[i].id == id ? &table[i] : row;
            }
            char text[64];
            (void)snprintf(text, sizeof(text), "[ %02x %s ]", id, row != NULL ? row->value : "00");
            if (row != NULL && strchr(row->places, place_letters[place]) != NULL) {
                assert_taken(text, place);
            } else {
                assert_refused(text, place, MALFORMED);
            }
        }
    }
}
END_TEST

/* The same property twice; only user properties, and identifiers in PUBLISH, may repeat. */
START_TEST(a_property_stands_once)
{
    for (uint8_t place = 0; place <= GV_MQTT_AUTH; place++) {
        for (size_t i = 0; i < ROWS; i++) {
            if (strchr(table[i].places, place_letters[place]) == NULL) {
                continue;
            }
            char text[64];
            (void)snprintf(text, sizeof(text), "[ %02x %s %02x %s ]", table[i].id, table[i].value,
                           table[i].id, table[i].value);
            bool repeats =
                table[i].id == GV_MQTT_PROP_USER_PROPERTY ||
                (table[i].id == GV_MQTT_PROP_SUBSCRIPTION_ID && place == GV_MQTT_PUBLISH);
            if (repeats) {
                assert_taken(text, place);
            } else {
                assert_refused(text, place, PROTOCOL);
            }
        }
    }
}
END_TEST

START_TEST(a_block_cut_anywhere_is_malformed)
{
    for (uint8_t place = 0; place <= GV_MQTT_AUTH; place++) {
        for (size_t i = 0; i < ROWS; i++) {
            if (strchr(table[i].places, place_letters[place]) == NULL) {
                continue;
            }
            char text[64];
            (void)snprintf(text, sizeof(text), "%02x %s", table[i].id, table[i].value);
            gv_bytes_t block = wire(text);
            for (size_t size = 1; size < block.size; size++) {
                /* The packet ends early; and the block ends early inside the packet. */
                for (int lies = 0; lies < 2; lies++) {
                    uint8_t room[64];
                    room[0] = (uint8_t)(lies ? block.size : size);
                    memcpy(room + 1, block.data, size);
                    gv_bytes_t cut = wire_copy(gv_bytes(room, size + 1));
                    gv_reader_t r = gv_reader(cut);
                    gv_mqtt_props_t props;
                    gv_mqtt_reason_t reason;
                    ck_assert_int_eq(gv_mqtt_props_decode(&r, place, &props, &reason),
                                     GV_ERR_MALFORMED);
                    ck_assert_int_eq(reason, GV_MQTT_MALFORMED_PACKET);
                    wire_free(cut);
                }
            }
            wire_free(block);
        }
    }
}
END_TEST

START_TEST(lengths_that_lie_are_malformed)
{
    assert_refused("", GV_MQTT_PUBLISH, MALFORMED);
    assert_refused("7f", GV_MQTT_PUBLISH, MALFORMED);
    assert_refused("7f 26 <a> <b>", GV_MQTT_PUBLISH, MALFORMED);
    assert_refused("ffffffff7f", GV_MQTT_PUBLISH, MALFORMED);
    assert_refused("8000", GV_MQTT_PUBLISH, MALFORMED);
    assert_refused("[ 26 <a> ffff 'b' ]", GV_MQTT_PUBLISH, MALFORMED);
    assert_refused("[ 0b ffffffff7f ]", GV_MQTT_SUBSCRIBE, MALFORMED);
    assert_refused("[ 0b 8100 ]", GV_MQTT_SUBSCRIBE, MALFORMED);
    assert_refused("[ a600 00 ]", GV_MQTT_PUBLISH, MALFORMED);
}
END_TEST

START_TEST(values_out_of_range_are_protocol_errors)
{
    assert_refused("[ 01 02 ]", GV_MQTT_PUBLISH, PROTOCOL);
    assert_refused("[ 01 02 ]", GV_MQTT_PROPS_OF_WILL, PROTOCOL);
    assert_refused("[ 17 02 ]", GV_MQTT_CONNECT, PROTOCOL);
    assert_refused("[ 19 ff ]", GV_MQTT_CONNECT, PROTOCOL);
    assert_refused("[ 21 0000 ]", GV_MQTT_CONNECT, PROTOCOL);
    assert_refused("[ 27 00000000 ]", GV_MQTT_CONNECT, PROTOCOL);
    assert_refused("[ 24 02 ]", GV_MQTT_CONNACK, PROTOCOL);
    assert_refused("[ 25 02 ]", GV_MQTT_CONNACK, PROTOCOL);
    assert_refused("[ 28 02 ]", GV_MQTT_CONNACK, PROTOCOL);
    assert_refused("[ 29 02 ]", GV_MQTT_CONNACK, PROTOCOL);
    assert_refused("[ 2a 02 ]", GV_MQTT_CONNACK, PROTOCOL);
    assert_refused("[ 0b 00 ]", GV_MQTT_SUBSCRIBE, PROTOCOL);
    assert_refused("[ 0b 00 ]", GV_MQTT_PUBLISH, PROTOCOL);
    assert_refused("[ 23 0000 ]", GV_MQTT_PUBLISH, GV_ERR_PROTOCOL, GV_MQTT_TOPIC_ALIAS_INVALID);
    /* [MQTT-3.3.2-14] */
    assert_refused("[ 08 <> ]", GV_MQTT_PUBLISH, PROTOCOL);
    assert_refused("[ 08 <a/+> ]", GV_MQTT_PUBLISH, PROTOCOL);
    assert_refused("[ 08 <#> ]", GV_MQTT_PROPS_OF_WILL, PROTOCOL);
    /* and the ends of ranges */
    assert_taken("[ 21 ffff ]", GV_MQTT_CONNECT);
    assert_taken("[ 02 ffffffff ]", GV_MQTT_PUBLISH);
    assert_taken("[ 02 00000000 ]", GV_MQTT_PUBLISH);
    assert_taken("[ 0b ffffff7f ]", GV_MQTT_SUBSCRIBE);
    assert_taken("[ 03 <a/#> 09 0000 26 <> <> ]", GV_MQTT_PUBLISH);
}
END_TEST

/* [MQTT-1.5.4-1], [MQTT-1.5.4-2], [MQTT-1.5.7-1], [MQTT-3.3.2-13], [MQTT-3.3.2-19] */
START_TEST(strings_keep_to_the_rules_for_strings)
{
    static const char *const bad[] = {"0001 00", "0001 ff", "0003 eda080", "0002 c0af"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        static const struct {
            const char *format;
            uint8_t place;
        } where[] = {
            {"[ 03 %s ]", GV_MQTT_PUBLISH},     {"[ 08 %s ]", GV_MQTT_PUBLISH},
            {"[ 26 %s <v> ]", GV_MQTT_PUBLISH}, {"[ 26 <n> %s ]", GV_MQTT_CONNECT},
            {"[ 12 %s ]", GV_MQTT_CONNACK},     {"[ 15 %s ]", GV_MQTT_AUTH},
            {"[ 1a %s ]", GV_MQTT_CONNACK},     {"[ 1c %s ]", GV_MQTT_DISCONNECT},
            {"[ 1f %s ]", GV_MQTT_PUBACK},
        };
        for (size_t j = 0; j < sizeof(where) / sizeof(where[0]); j++) {
            char text[64];
            const char *place = strstr(where[j].format, "%s");
            (void)snprintf(text, sizeof(text), "%.*s%s%s", (int)(place - where[j].format),
                           where[j].format, bad[i], place + 2);
            assert_refused(text, where[j].place, MALFORMED);
        }
        /* Binary data may be anything. */
        char text[64];
        (void)snprintf(text, sizeof(text), "[ 09 %s ]", bad[i]);
        assert_taken(text, GV_MQTT_PUBLISH);
    }
}
END_TEST

START_TEST(values_arrive_in_their_fields)
{
    gv_bytes_t bytes = wire("[ 26 <a> <1> 11 00000e10 21 0102 17 00 15 <SCRAM> 16 0002 00ff"
                            "  26 <b> <2> 27 01020304 22 ffff 26 <a> <3> ] 99");
    gv_reader_t r = gv_reader(bytes);
    gv_mqtt_props_t props;
    gv_mqtt_reason_t reason;
    ck_assert_int_eq(gv_mqtt_props_decode(&r, GV_MQTT_CONNECT, &props, &reason), GV_OK);
    ck_assert_uint_eq(gv_reader_u8(&r), 0x99); /* and the cursor stands behind the block */
    ck_assert_uint_eq(props.session_expiry_s, 3600);
    ck_assert_uint_eq(props.receive_maximum, 0x0102);
    ck_assert_uint_eq(props.request_problem_information, 0);
    ck_assert_uint_eq(props.maximum_packet_size, 0x01020304);
    ck_assert_uint_eq(props.topic_alias_maximum, 0xffff);
    ck_assert(gv_bytes_equal(props.authentication_method, GV_BYTES_LITERAL("SCRAM")));
    ck_assert(gv_bytes_equal(props.authentication_data, GV_BYTES_LITERAL("\x00\xff")));
    ck_assert(gv_mqtt_props_has(&props, GV_MQTT_PROP_REQUEST_PROBLEM_INFORMATION));
    ck_assert(gv_mqtt_props_has(&props, GV_MQTT_PROP_USER_PROPERTY));
    ck_assert(!gv_mqtt_props_has(&props, GV_MQTT_PROP_REQUEST_RESPONSE_INFORMATION));

    static const char *const expected[] = {"a", "1", "b", "2", "a", "3"};
    size_t seen = 0;
    gv_reader_t block = gv_reader(props.raw);
    for (gv_bytes_t name, value; gv_mqtt_user_property_next(&block, &name, &value);) {
        ck_assert_uint_lt(seen, 6);
        ck_assert(gv_bytes_equal(name, gv_bytes_text(expected[seen++])));
        ck_assert(gv_bytes_equal(value, gv_bytes_text(expected[seen++])));
    }
    ck_assert_uint_eq(seen, 6);
    wire_free(bytes);
}
END_TEST

START_TEST(subscription_identifiers_are_walked_in_order)
{
    gv_bytes_t bytes = wire("[ 0b 01 26 <a> <1> 0b 8001 0b ffffff7f ]");
    gv_reader_t r = gv_reader(bytes);
    gv_mqtt_props_t props;
    gv_mqtt_reason_t reason;
    ck_assert_int_eq(gv_mqtt_props_decode(&r, GV_MQTT_PUBLISH, &props, &reason), GV_OK);
    ck_assert_uint_eq(props.subscription_id, 1);
    static const uint32_t expected[] = {1, 128, GV_MQTT_VARINT_MAX};
    size_t seen = 0;
    gv_reader_t block = gv_reader(props.raw);
    for (uint32_t id; gv_mqtt_subscription_id_next(&block, &id); seen++) {
        ck_assert_uint_lt(seen, 3);
        ck_assert_uint_eq(id, expected[seen]);
    }
    ck_assert_uint_eq(seen, 3);
    wire_free(bytes);
}
END_TEST

START_TEST(nothing_is_present_in_an_empty_block)
{
    gv_mqtt_props_t props;
    memset(&props, 0xff, sizeof(props));
    gv_mqtt_reason_t reason;
    ck_assert_int_eq(decode("00", GV_MQTT_PUBLISH, &props, &reason), GV_OK);
    ck_assert_uint_eq(props.present, 0);
    ck_assert_uint_eq(props.raw.size, 0);
    gv_mqtt_props_clear(&props);
    gv_reader_t block = gv_reader(props.raw);
    gv_mqtt_prop_t prop;
    ck_assert(!gv_mqtt_props_next(&block, &prop));
    ck_assert_uint_eq(gv_mqtt_props_travel_size(&props), 0);
    ck_assert_uint_eq(gv_mqtt_props_size(&props), 0);
}
END_TEST

/* ---- travelling --------------------------------------------------------------------------- */

static void assert_travels(const char *text, uint8_t place, const char *expected, bool as_is)
{
    gv_bytes_t bytes = wire(text);
    gv_bytes_t rest = wire(expected);
    gv_reader_t r = gv_reader(bytes);
    gv_mqtt_props_t props;
    gv_mqtt_reason_t reason;
    ck_assert_int_eq(gv_mqtt_props_decode(&r, place, &props, &reason), GV_OK);
    ck_assert_int_eq(gv_mqtt_props_travel_as_is(&props), as_is);
    ck_assert_uint_eq(gv_mqtt_props_travel_size(&props), rest.size);

    uint8_t room[128];
    gv_writer_t w = gv_writer(room, rest.size); /* exactly what was announced */
    gv_mqtt_props_travel_write(&props, &w);
    ck_assert(!w.failed);
    ck_assert(gv_bytes_equal(gv_bytes(room, rest.size - gv_writer_left(&w)), rest));
    wire_free(bytes);
    wire_free(rest);
}

/* [MQTT-3.3.2-4], [MQTT-3.3.2-15] to [MQTT-3.3.2-18], [MQTT-3.3.2-20] */
START_TEST(what_belongs_to_the_message_travels_unaltered_and_in_order)
{
    const char *all = "26 <b> <2> 01 01 03 <t> 26 <a> <1> 08 <r> 09 <c> 26 <b> <2>";
    char block[128];
    (void)snprintf(block, sizeof(block), "[ %s ]", all);
    assert_travels(block, GV_MQTT_PUBLISH, all, true);
    assert_travels(block, GV_MQTT_PROPS_OF_WILL, all, true);
    assert_travels("00", GV_MQTT_PUBLISH, "", true);
}
END_TEST

START_TEST(what_each_receiver_gets_anew_stays_behind)
{
    assert_travels("[ 26 <b> <2> 02 00000001 01 01 23 0001 26 <a> <1> ]", GV_MQTT_PUBLISH,
                   "26 <b> <2> 01 01 26 <a> <1>", false);
    assert_travels("[ 23 0001 ]", GV_MQTT_PUBLISH, "", false);
    assert_travels("[ 0b 7f 0b 8001 03 <t> ]", GV_MQTT_PUBLISH, "03 <t>", false);
    assert_travels("[ 18 00000005 03 <t> ]", GV_MQTT_PROPS_OF_WILL, "03 <t>", false);
}
END_TEST

/* ---- encoding ----------------------------------------------------------------------------- */

START_TEST(properties_are_written_by_rising_identifier_and_appended_ones_last)
{
    uint8_t room[64];
    gv_writer_t user = gv_writer(room, sizeof(room));
    gv_mqtt_user_property_write(&user, GV_BYTES_LITERAL("n"), GV_BYTES_LITERAL("v"));

    gv_mqtt_props_t props = GV_MQTT_PROPS_NONE;
    gv_mqtt_props_set_bytes(&props, GV_MQTT_PROP_REASON_STRING, GV_BYTES_LITERAL("why"));
    gv_mqtt_props_set_number(&props, GV_MQTT_PROP_MAXIMUM_PACKET_SIZE, 0x01020304);
    gv_mqtt_props_set_number(&props, GV_MQTT_PROP_RECEIVE_MAXIMUM, 10);
    gv_mqtt_props_set_number(&props, GV_MQTT_PROP_RETAIN_AVAILABLE, 0);
    props.appended = gv_bytes(room, sizeof(room) - gv_writer_left(&user));

    gv_bytes_t expected = wire("[ 1f <why> 21 000a 25 00 27 01020304 26 <n> <v> ]");
    ck_assert_uint_eq(gv_mqtt_props_size(&props) + 1, expected.size);
    uint8_t out[64];
    gv_writer_t w = gv_writer(out, expected.size);
    gv_mqtt_props_write(&props, &w);
    ck_assert(!w.failed);
    ck_assert_mem_eq(out, expected.data, expected.size);
    wire_free(expected);
}
END_TEST

START_TEST(names_are_those_of_the_standard)
{
    ck_assert_str_eq(gv_mqtt_prop_name(0x02), "message expiry interval");
    ck_assert_str_eq(gv_mqtt_prop_name(0x2a), "shared subscription available");
    ck_assert_str_eq(gv_mqtt_prop_name(0x00), "unknown property");
    ck_assert_str_eq(gv_mqtt_prop_name(0xff), "unknown property");
}
END_TEST

START_TEST(setting_a_number_as_bytes_aborts)
{
    gv_mqtt_props_t props = GV_MQTT_PROPS_NONE;
    gv_mqtt_props_set_bytes(&props, GV_MQTT_PROP_RECEIVE_MAXIMUM, GV_BYTES_EMPTY);
}
END_TEST

START_TEST(setting_a_number_out_of_range_aborts)
{
    gv_mqtt_props_t props = GV_MQTT_PROPS_NONE;
    gv_mqtt_props_set_number(&props, GV_MQTT_PROP_RECEIVE_MAXIMUM, 65536);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("props");
    tcase_add_test(tc, each_property_is_taken_where_the_standard_has_it_and_nowhere_else);
    tcase_add_test(tc, a_property_stands_once);
    tcase_add_test(tc, a_block_cut_anywhere_is_malformed);
    tcase_add_test(tc, lengths_that_lie_are_malformed);
    tcase_add_test(tc, values_out_of_range_are_protocol_errors);
    tcase_add_test(tc, strings_keep_to_the_rules_for_strings);
    tcase_add_test(tc, values_arrive_in_their_fields);
    tcase_add_test(tc, subscription_identifiers_are_walked_in_order);
    tcase_add_test(tc, nothing_is_present_in_an_empty_block);
    tcase_add_test(tc, what_belongs_to_the_message_travels_unaltered_and_in_order);
    tcase_add_test(tc, what_each_receiver_gets_anew_stays_behind);
    tcase_add_test(tc, properties_are_written_by_rising_identifier_and_appended_ones_last);
    tcase_add_test(tc, names_are_those_of_the_standard);
    tcase_add_test_raise_signal(tc, setting_a_number_as_bytes_aborts, SIGABRT);
    tcase_add_test_raise_signal(tc, setting_a_number_out_of_range_aborts, SIGABRT);

    Suite *suite = suite_create("proto/mqtt");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
