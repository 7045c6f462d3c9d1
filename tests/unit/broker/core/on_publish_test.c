/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/shard.h"

#include "house.h"

static house_t house;

static void open_house(void)
{
    house_open(&house, 1);
}

static void close_house(void)
{
    house_close(&house);
}

static void send_publish(guest_t *guest, const gv_mqtt_publish_t *publish)
{
    uint8_t bytes[512];
    gv_mqtt_peer_t server = guest_server(guest);
    gv_writer_t w = gv_writer(bytes, sizeof(bytes));
    size_t size = gv_mqtt_encode_publish(publish, &server, &w);
    ck_assert_uint_gt(size, 0);
    guest_send(guest, bytes, size);
}

/* ---- payload format ---------------------------------------------------------------------------
 */

static void send_claimed(guest_t *guest, gv_bytes_t payload, uint8_t qos, uint16_t packet_id)
{
    gv_mqtt_publish_t publish = {
        .topic = GV_BYTES_LITERAL("t"), .payload = payload, .qos = qos, .packet_id = packet_id};
    gv_mqtt_props_set_number(&publish.props, GV_MQTT_PROP_PAYLOAD_FORMAT, 1);
    send_publish(guest, &publish);
}

#define NOT_TEXT GV_BYTES_LITERAL("caf\xe9")

START_TEST(who_promises_text_and_sends_something_else_is_told)
{
    guest_t *alice = house_connect(&house, GV_MQTT_V5, "alice", true);
    guest_subscribe(alice, "t", 2);
    guest_t *bob = house_connect(&house, GV_MQTT_V5, "bob", true);
    send_claimed(bob, NOT_TEXT, 1, 1);
    ck_assert_str_eq(guest_next(bob), "PUBACK 1 99");
    send_claimed(bob, NOT_TEXT, 2, 2);
    ck_assert_str_eq(guest_next(bob), "PUBREC 2 99");
    send_claimed(bob, GV_BYTES_LITERAL("text"), 2, 2);
    ck_assert_str_eq(guest_next(bob), "PUBREC 2 00");
    ck_assert_str_eq(guest_next(alice), "PUBLISH t q2 text");
    send_claimed(bob, NOT_TEXT, 0, 0);
    ck_assert_str_eq(guest_next(bob), "DISCONNECT 99");
    ck_assert(bob->is_gone);
    ck_assert_str_eq(guest_next(alice), "");
}
END_TEST

static guest_t *connect_with_will(gv_bytes_t payload)
{
    guest_t *guest = house_visit(&house, GV_MQTT_V5);
    gv_mqtt_connect_t connect = {.client_id = GV_BYTES_LITERAL("carol"),
                                 .clean_start = true,
                                 .has_will = true,
                                 .will = {.topic = GV_BYTES_LITERAL("t"), .payload = payload}};
    gv_mqtt_props_set_number(&connect.will.props, GV_MQTT_PROP_PAYLOAD_FORMAT, 1);
    guest_connect(guest, connect);
    return guest;
}

START_TEST(a_will_keeps_its_promise_too)
{
    ck_assert_str_eq(guest_next(connect_with_will(GV_BYTES_LITERAL("text"))), "CONNACK 00");
    guest_t *guest = connect_with_will(NOT_TEXT);
    ck_assert_str_eq(guest_next(guest), "CONNACK 99");
    ck_assert(guest->is_gone);
}
END_TEST

START_TEST(payloads_are_not_looked_at_when_nobody_wants_that)
{
    house.limits.payload_format_check = false;
    guest_t *alice = house_connect(&house, GV_MQTT_V5, "alice", true);
    guest_subscribe(alice, "t", 0);
    send_claimed(alice, NOT_TEXT, 0, 0);
    ck_assert_str_eq(guest_next(alice), "PUBLISH t q0 caf\xe9");
    ck_assert_str_eq(guest_next(connect_with_will(NOT_TEXT)), "CONNACK 00");
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("on_publish");
    tcase_add_checked_fixture(tc, open_house, close_house);
    tcase_add_test(tc, who_promises_text_and_sends_something_else_is_told);
    tcase_add_test(tc, a_will_keeps_its_promise_too);
    tcase_add_test(tc, payloads_are_not_looked_at_when_nobody_wants_that);
    Suite *suite = suite_create("broker/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
