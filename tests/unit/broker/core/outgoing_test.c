/* SPDX-License-Identifier: Apache-2.0 */
/* Topic aliases of what is sent; queues and windows are in shard_test.c. */
#include "broker/core/shard.h"

#include "house.h"

#define TOPIC "plant/7/line/3/temperature"

static house_t house;

static void open_house(void)
{
    house_open(&house, 2);
}

static void close_house(void)
{
    house_close(&house);
}

static guest_t *connect_with_aliases(const char *id, bool clean_start, uint16_t alias_max)
{
    guest_t *guest = house_visit(&house, GV_MQTT_V5);
    guest->alias_max = alias_max;
    guest_come_in(guest, id, clean_start);
    return guest;
}

START_TEST(a_topic_is_said_once_at_every_qos)
{
    guest_t *alice = connect_with_aliases("alice", true, 10);
    guest_subscribe(alice, "#", 2);
    guest_t *plain = house_connect(&house, GV_MQTT_V5, "plain", true);
    guest_subscribe(plain, "#", 2);
    guest_t *old = house_connect(&house, GV_MQTT_V311, "old", true);
    guest_subscribe(old, "#", 2);
    guest_t *bob = house_connect(&house, GV_MQTT_V311, "bob", true);
    for (int i = 0; i < 6; i++) {
        char expected[64];
        uint8_t qos = (uint8_t)(i % 3);
        guest_publish(bob, TOPIC, "x", qos, false);
        (void)snprintf(expected, sizeof(expected), "PUBLISH " TOPIC " q%u x", qos);
        ck_assert_str_eq(guest_next(old), expected);
        size_t v3_size = old->last_size;
        ck_assert_str_eq(guest_next(plain), expected);
        ck_assert_uint_eq(plain->last_alias, 0);
        ck_assert_uint_eq(plain->last_size, v3_size + 1);
        ck_assert_str_eq(guest_next(alice), expected);
        ck_assert_uint_ne(alice->last_alias, 0);
        ck_assert_uint_eq(alice->last_size, v3_size + 1 + 3 - (i == 0 ? 0 : strlen(TOPIC)));
    }
}
END_TEST

START_TEST(receivers_of_one_message_have_numbers_of_their_own)
{
    guest_t *bob = house_connect(&house, GV_MQTT_V5, "bob", true);
    guest_t *alices[4];
    for (size_t i = 0; i < 4; i++) {
        char id[8];
        (void)snprintf(id, sizeof(id), "a%zu", i);
        alices[i] = connect_with_aliases(id, true, 16);
        guest_subscribe(alices[i], "news/of/+", 1);
        guest_push_subscribe(
            alices[i], (gv_mqtt_subscription_t){.text = GV_BYTES_LITERAL("with/an/id"), .qos = 1},
            70000);
        house_settle(&house);
        ck_assert_str_eq(guest_next(alices[i]), "SUBACK 01");
        for (size_t k = 0; k <= i; k++) { /* who came later has heard less */
            char topic[24];
            (void)snprintf(topic, sizeof(topic), "news/of/%zu", i);
            guest_publish(bob, topic, "x", 0, false);
        }
    }
    for (int round = 0; round < 3; round++) {
        guest_publish(bob, "news/of/0", "y", 1, false);
        guest_publish(bob, "with/an/id", "z", 0, false);
    }
    for (size_t i = 0; i < 4; i++) {
        unsigned count = 0;
        for (const char *text; *(text = guest_next(alices[i])) != '\0';) {
            count += strcmp(text, "PUBLISH news/of/0 q1 y") == 0;
            count += strcmp(text, "PUBLISH with/an/id q0 z") == 0;
            ck_assert_uint_ne(alices[i]->last_alias, 0);
        }
        ck_assert_uint_eq(count, 6);
    }
}
END_TEST

/* [MQTT-3.3.2-7]: what an alias means ends with the connection. */
START_TEST(what_is_sent_again_is_sent_with_its_topic)
{
    guest_t *alice = connect_with_aliases("alice", false, 10);
    guest_subscribe(alice, "#", 1);
    guest_t *bob = house_connect(&house, GV_MQTT_V5, "bob", true);
    for (int i = 0; i < 12; i++) { /* eight in flight, four queued */
        guest_publish(bob, TOPIC, "x", 1, false);
    }
    for (int i = 0; i < 8; i++) {
        ck_assert_str_eq(guest_next(alice), "PUBLISH " TOPIC " q1 x");
    }
    ck_assert_uint_ne(alice->last_alias, 0);
    guest_leave(alice);
    alice = connect_with_aliases("alice", false, 10);
    for (int i = 0; i < 8; i++) {
        ck_assert_str_eq(guest_next(alice), "PUBLISH " TOPIC " q1 dup x");
        guest_ack(alice, GV_MQTT_PUBACK, alice->last_packet_id);
    }
    for (int i = 0; i < 4; i++) {
        ck_assert_str_eq(guest_next(alice), "PUBLISH " TOPIC " q1 x");
        ck_assert_uint_ne(alice->last_alias, 0);
    }
    /* A client of the same session that takes none any more gets none. */
    guest_leave(alice);
    alice = house_connect(&house, GV_MQTT_V5, "alice", false);
    ck_assert_str_eq(guest_next(alice), "PUBLISH " TOPIC " q1 dup x");
    ck_assert_uint_eq(alice->last_alias, 0);
}
END_TEST

START_TEST(large_payloads_have_aliases_too)
{
    static char payload[6000];
    memset(payload, 'p', sizeof(payload) - 1);
    guest_t *alice = connect_with_aliases("alice", true, 10);
    guest_subscribe(alice, "#", 0);
    guest_t *bob = house_connect(&house, GV_MQTT_V5, "bob", true);
    size_t sizes[2];
    for (size_t i = 0; i < 2; i++) {
        guest_publish(bob, TOPIC, payload, 0, false);
        ck_assert_int_eq(strncmp(guest_next(alice), "PUBLISH " TOPIC " q0 ppp", 38), 0);
        sizes[i] = alice->last_size;
    }
    ck_assert_uint_eq(sizes[0] - sizes[1], strlen(TOPIC));
}
END_TEST

/* [MQTT-3.1.2-24]: a packet that just fits is not made too large by introducing an alias. */
START_TEST(an_introduction_that_does_not_fit_is_left_out)
{
    guest_t *alice = house_visit(&house, GV_MQTT_V5);
    alice->alias_max = 10;
    gv_mqtt_connect_t connect = {.client_id = GV_BYTES_LITERAL("alice"), .clean_start = true};
    /* Fixed header, topic, no properties, one byte. */
    gv_mqtt_props_set_number(&connect.props, GV_MQTT_PROP_MAXIMUM_PACKET_SIZE,
                             2 + 2 + sizeof(TOPIC) - 1 + 1 + 1);
    guest_connect(alice, connect);
    ck_assert_str_eq(guest_next(alice), "CONNACK 00");
    guest_subscribe(alice, "#", 0);
    guest_t *bob = house_connect(&house, GV_MQTT_V5, "bob", true);
    for (int i = 0; i < 2; i++) {
        guest_publish(bob, TOPIC, "x", 0, false);
        ck_assert_str_eq(guest_next(alice), "PUBLISH " TOPIC " q0 x");
        ck_assert_uint_eq(alice->last_alias, 0);
    }
    guest_publish(bob, TOPIC, "too large", 0, false);
    ck_assert_str_eq(guest_next(alice), "");
}
END_TEST

START_TEST(who_makes_us_remember_too_much_is_disconnected)
{
    static char topic[1500];
    guest_t *bob = house_connect(&house, GV_MQTT_V5, "bob", true);
    memset(topic, 't', sizeof(topic));
    for (uint32_t i = 1; i <= 3; i++) {
        uint8_t bytes[2048];
        gv_mqtt_publish_t publish = {.topic = gv_bytes((uint8_t *)topic, sizeof(topic))};
        gv_mqtt_props_set_number(&publish.props, GV_MQTT_PROP_TOPIC_ALIAS, i);
        gv_mqtt_peer_t server = guest_server(bob);
        gv_writer_t w = gv_writer(bytes, sizeof(bytes));
        guest_send(bob, bytes, gv_mqtt_encode_publish(&publish, &server, &w));
        ck_assert_str_eq(guest_next(bob), i < 3 ? "" : "DISCONNECT 97");
    }
    for (uint16_t i = 0; i < 2; i++) {
        ck_assert_uint_eq(gv_counter_get(&gv_shard_stats(house.shards[i])->alias_bytes), 0);
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("outgoing");
    tcase_add_checked_fixture(tc, open_house, close_house);
    tcase_add_test(tc, a_topic_is_said_once_at_every_qos);
    tcase_add_test(tc, receivers_of_one_message_have_numbers_of_their_own);
    tcase_add_test(tc, what_is_sent_again_is_sent_with_its_topic);
    tcase_add_test(tc, large_payloads_have_aliases_too);
    tcase_add_test(tc, an_introduction_that_does_not_fit_is_left_out);
    tcase_add_test(tc, who_makes_us_remember_too_much_is_disconnected);
    Suite *suite = suite_create("broker/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
