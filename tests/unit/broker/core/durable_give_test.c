/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared messages of a persistent session whose client is away, with members of the group whose
 * sessions end with their connections.  Between persistent sessions: durable_test.c.
 */
#include "broker/core/durable.h"

#include "house.h"

static house_t house;

static void for_each_size(void (*test)(void))
{
    for (uint16_t shards = 1; shards <= 4; shards++) {
        house_open(&house, shards);
        test();
        house_close(&house);
    }
}

static guest_t *member(const char *id, bool is_transient, uint8_t qos)
{
    guest_t *guest = house_connect(&house, GV_MQTT_V5, id, is_transient);
    guest_subscribe(guest, "$share/g/a", qos);
    return guest;
}

static void publish(guest_t *alice, const char *const *payloads, uint8_t qos)
{
    for (; *payloads != NULL; payloads++) {
        guest_publish(alice, "a", *payloads, qos, false);
    }
}

static void expect(guest_t *guest, const char *text)
{
    house_settle(&house);
    ck_assert_str_eq(guest_next(guest), text);
}

static void answer(guest_t *guest, gv_mqtt_type_t type)
{
    guest_ack(guest, type, guest->last_packet_id);
}

/* What is in flight with nobody who has kept his session is over, at whatever moment that ends. */
static void crash(void)
{
    house_crash(&house, GV_MEM_CRASH_POWER, 0);
}

/*
 * Bob's session has "one", which he has been sent, and "two"; he is away, and carol, whose session
 * is not persistent, is there.  At QoS 2, "one" is bob's for ever.
 */
static guest_t *leave_to_carol(uint8_t qos)
{
    static const char *const payloads[] = {"one", "two", NULL};
    uint16_t inflight_max = house.limits.inflight_max;
    house.limits.inflight_max = 1;
    guest_t *bob = member("bob", false, qos);
    publish(house_connect(&house, GV_MQTT_V5, "alice", true), payloads, qos);
    expect(bob, qos == 1 ? "PUBLISH a q1 one" : "PUBLISH a q2 one");
    house.limits.inflight_max = inflight_max;
    guest_t *carol = member("carol", true, qos);
    guest_leave(bob);
    return carol;
}

static guest_t *bob_again(void)
{
    return house_connect(&house, GV_MQTT_V5, "bob", false);
}

static void expect_all_at_bob(void)
{
    guest_t *bob = bob_again();
    expect(bob, "PUBLISH a q1 dup one");
    expect(bob, "PUBLISH a q1 two");
    expect(bob, "");
}

/* ---- acknowledged, or not ---------------------------------------------------------------------
 */

static void not_acknowledged(void)
{
    guest_t *carol = leave_to_carol(1);
    expect(carol, "PUBLISH a q1 one");
    expect(carol, "PUBLISH a q1 two");
    house_pass(&house, 5000);
    crash();
    expect_all_at_bob();
}

START_TEST(what_is_not_acknowledged_by_who_has_it_in_memory_survives_a_crash)
{
    for_each_size(not_acknowledged);
}
END_TEST

static void acknowledged(void)
{
    guest_t *carol = leave_to_carol(1);
    expect(carol, "PUBLISH a q1 one");
    answer(carol, GV_MQTT_PUBACK);
    expect(carol, "PUBLISH a q1 two");
    answer(carol, GV_MQTT_PUBACK);
    crash();
    expect(bob_again(), "");
}

START_TEST(what_is_acknowledged_is_over_also_after_a_crash)
{
    for_each_size(acknowledged);
}
END_TEST

static void lower_qos(void)
{
    house.limits.inflight_max = 1;
    guest_t *bob = member("bob", false, 2);
    guest_t *alice = house_connect(&house, GV_MQTT_V5, "alice", true);
    static const char *const payloads[] = {"zero", "one", NULL};
    publish(alice, payloads, 2);
    guest_t *carol = member("carol", true, 0);
    guest_leave(bob);
    expect(carol, "PUBLISH a q0 one");
    crash();
    house.limits.inflight_max = 8;
    bob = bob_again();
    expect(bob, "PUBLISH a q2 dup zero");
    expect(bob, "");
}

START_TEST(at_qos_0_it_is_given_for_good)
{
    for_each_size(lower_qos);
}
END_TEST

/* ---- exactly once -----------------------------------------------------------------------------
 */

static void expect_one_of_two_at_bob(bool is_two_there)
{
    guest_t *bob = bob_again();
    expect(bob, "PUBLISH a q2 dup one");
    if (is_two_there) {
        expect(bob, "PUBLISH a q2 two");
    }
    expect(bob, "");
}

static void not_received(void)
{
    guest_t *carol = leave_to_carol(2);
    expect(carol, "PUBLISH a q2 two");
    house_pass(&house, 5000);
    crash();
    expect_one_of_two_at_bob(true);
}

static void received(void)
{
    guest_t *carol = leave_to_carol(2);
    expect(carol, "PUBLISH a q2 two");
    answer(carol, GV_MQTT_PUBREC);
    expect(carol, "PUBREL 1 00");
    crash();
    expect_one_of_two_at_bob(false);
}

static void refused_by_client(void)
{
    guest_t *carol = leave_to_carol(2);
    expect(carol, "PUBLISH a q2 two");
    uint8_t bytes[] = {0x50, 0x03, (uint8_t)(carol->last_packet_id >> 8),
                       (uint8_t)carol->last_packet_id, GV_MQTT_QUOTA_EXCEEDED};
    guest_send(carol, bytes, sizeof(bytes));
    expect(carol, "");
    crash();
    expect_one_of_two_at_bob(false);
}

START_TEST(at_qos_2_it_is_the_receivers_with_its_pubrec)
{
    for_each_size(not_received);
    for_each_size(received);
    for_each_size(refused_by_client);
}
END_TEST

static void begun_and_gone(void)
{
    house.limits.inflight_max = 1;
    guest_t *bob = member("bob", false, 2);
    guest_t *alice = house_connect(&house, GV_MQTT_V5, "alice", true);
    static const char *const payloads[] = {"one", "two", "three", NULL};
    publish(alice, payloads, 2);
    guest_t *carol = member("carol", true, 2);
    guest_leave(bob);
    expect(carol, "PUBLISH a q2 two");
    expect(carol, "");
    guest_leave(carol);
    house.limits.inflight_max = 8;
    bob = bob_again();
    expect(bob, "PUBLISH a q2 dup one");
    expect(bob, "PUBLISH a q2 three");
    expect(bob, "");
}

START_TEST(what_was_begun_at_qos_2_goes_to_nobody_else) /* [MQTT-4.8.2-5] */
{
    for_each_size(begun_and_gone);
}
END_TEST

/* ---- taken away again -------------------------------------------------------------------------
 */

static void taker_goes(void)
{
    guest_t *carol = leave_to_carol(1);
    expect(carol, "PUBLISH a q1 one");
    guest_leave(carol);
    expect_all_at_bob();
}

START_TEST(what_its_taker_leaves_goes_back)
{
    for_each_size(taker_goes);
}
END_TEST

static void to_the_next(void)
{
    guest_t *carol = leave_to_carol(1);
    expect(carol, "PUBLISH a q1 one");
    expect(carol, "PUBLISH a q1 two");
    guest_t *dave = member("dave", true, 1);
    guest_leave(carol);
    expect(dave, "PUBLISH a q1 one");
    expect(dave, "PUBLISH a q1 two");
    expect(dave, "");
    expect(bob_again(), "");
    answer(dave, GV_MQTT_PUBACK);
    guest_t *erin = member("erin", false, 1);
    guest_t *bob = bob_again();
    guest_leave(dave);
    expect(bob, "PUBLISH a q1 one");
    expect(bob, "");
    expect(erin, "");
}

START_TEST(what_its_taker_leaves_goes_to_the_next_once)
{
    for_each_size(to_the_next);
}
END_TEST

static void bob_is_there(void)
{
    guest_t *carol = leave_to_carol(1);
    expect(carol, "PUBLISH a q1 one");
    expect(carol, "PUBLISH a q1 two");
    answer(carol, GV_MQTT_PUBACK);
    guest_t *bob = bob_again();
    expect(bob, "");
    guest_leave(carol);
    expect(bob, "PUBLISH a q1 one"); /* its turn has passed: it is a new message */
    expect(bob, "");
}

START_TEST(who_has_come_back_is_sent_what_its_taker_leaves)
{
    for_each_size(bob_is_there);
}
END_TEST

static void taker_unsubscribes(void)
{
    house.limits.inflight_max = 1;
    guest_t *carol = leave_to_carol(1);
    expect(carol, "PUBLISH a q1 one");
    guest_t *dave = member("dave", true, 1);
    guest_push_unsubscribe(carol, "$share/g/a");
    expect(carol, "UNSUBACK 00");
    expect(dave, "PUBLISH a q1 two");
    answer(dave, GV_MQTT_PUBACK);
    expect(dave, "");
    guest_leave(carol);
    expect(dave, "PUBLISH a q1 one");
    answer(dave, GV_MQTT_PUBACK);
    expect(bob_again(), "");
}

START_TEST(a_taker_that_unsubscribes_gives_back_what_it_was_not_sent)
{
    for_each_size(taker_unsubscribes);
}
END_TEST

static void giver_ends(void)
{
    guest_t *carol = leave_to_carol(1);
    expect(carol, "PUBLISH a q1 one");
    expect(carol, "PUBLISH a q1 two");
    answer(carol, GV_MQTT_PUBACK);
    guest_leave(house_connect(&house, GV_MQTT_V5, "bob", true));
    guest_t *dave = member("dave", true, 1);
    expect(dave, "");
    guest_leave(carol);
    expect(dave, "PUBLISH a q1 one");
    expect(dave, "");
}

START_TEST(what_was_lent_by_a_session_that_has_ended_is_given_on)
{
    for_each_size(giver_ends);
}
END_TEST

static gv_session_t *session_of(const char *id)
{
    gv_session_t *session = NULL;
    for (uint16_t i = 0; i < house.shard_count && session == NULL; i++) {
        session = gv_session_find(house.shards[i], gv_bytes_text(id));
    }
    return session;
}

/* Bob goes on, and carol does not answer. */
static void stays_behind(void (*end)(guest_t *carol))
{
    enum {
        MESSAGES = 4096 + 256,
        AT_ONCE = 64,
    };
    guest_t *carol = leave_to_carol(1);
    expect(carol, "PUBLISH a q1 one");
    expect(carol, "PUBLISH a q1 two");
    house.limits.inflight_max = AT_ONCE;
    guest_t *bob = bob_again();
    guest_subscribe(bob, "b", 1);
    guest_t *alice = house_connect(&house, GV_MQTT_V5, "alice", true);
    for (int i = 0; i < MESSAGES / AT_ONCE; i++) {
        for (int k = 0; k < AT_ONCE; k++) {
            guest_push_publish(alice, "b", "new", 1, false);
        }
        house_settle(&house);
        for (int k = 0; k < AT_ONCE; k++) {
            ck_assert_str_eq(guest_next(bob), "PUBLISH b q1 new");
            uint16_t id = bob->last_packet_id;
            uint8_t bytes[] = {GV_MQTT_PUBACK << 4, 2, (uint8_t)(id >> 8), (uint8_t)id};
            guest_push(bob, bytes, sizeof(bytes));
        }
        house_settle(&house);
        while (*guest_next(alice) != '\0') {
        }
    }
    const gv_backlog_t *backlog = &session_of("bob")->durable->backlog;
    ck_assert_uint_eq(gv_backlog_count(backlog), 2);
    ck_assert_uint_eq(gv_backlog_waiting(backlog), 0);
    ck_assert_uint_lt(gv_backlog_span(backlog), 4096);
    end(carol);
}

static void then_crash(guest_t *carol)
{
    (void)carol;
    house_pass(&house, 5000);
    crash();
    guest_t *bob = bob_again();
    expect(bob, "PUBLISH a q1 dup one");
    expect(bob, "PUBLISH a q1 dup two");
    expect(bob, "");
}

static void then_acknowledge(guest_t *carol)
{
    guest_ack(carol, GV_MQTT_PUBACK, 1);
    guest_ack(carol, GV_MQTT_PUBACK, 2);
    house_settle(&house);
    ck_assert_uint_eq(gv_backlog_count(&session_of("bob")->durable->backlog), 0);
    crash();
    expect(bob_again(), "");
}

static void then_leave(guest_t *carol)
{
    guest_t *bob = bob_again();
    expect(bob, "");
    guest_leave(carol);
    expect(bob, "PUBLISH a q1 one");
    expect(bob, "PUBLISH a q1 two");
    expect(bob, "");
}

static void behind_at_a_crash(void)
{
    stays_behind(then_crash);
}

static void behind_and_acknowledged(void)
{
    stays_behind(then_acknowledge);
}

static void behind_and_left(void)
{
    stays_behind(then_leave);
}

START_TEST(what_stays_lent_for_long_moves_on_with_its_session)
{
    for_each_size(behind_at_a_crash);
    for_each_size(behind_and_acknowledged);
    for_each_size(behind_and_left);
}
END_TEST

/* ---- no room ----------------------------------------------------------------------------------
 */

static void window_and_queue_are_full(void)
{
    house.limits.inflight_max = 1;
    guest_t *bob = member("bob", false, 1);
    guest_t *alice = house_connect(&house, GV_MQTT_V5, "alice", true);
    static const char *const payloads[] = {"1", "2", "3", "4", NULL};
    publish(alice, payloads, 1);
    house.limits.queue_messages_max = 1;
    guest_t *carol = member("carol", true, 1);
    guest_leave(bob);
    expect(carol, "PUBLISH a q1 1");
    answer(carol, GV_MQTT_PUBACK);
    expect(carol, "PUBLISH a q1 2");
    expect(carol, "");
    guest_publish(alice, "a", "5", 1, false);
    guest_publish(alice, "a", "6", 1, false); /* "5" makes room, as it is told to */
    house_pass(&house, 1000);                 /* alice is slowed down */
    answer(carol, GV_MQTT_PUBACK);
    expect(carol, "PUBLISH a q1 6");
    expect(carol, "");
    house.limits.inflight_max = 8;
    bob = bob_again();
    expect(bob, "PUBLISH a q1 3");
    expect(bob, "PUBLISH a q1 4");
    expect(bob, "");
}

START_TEST(what_a_taker_has_no_room_for_stays)
{
    for_each_size(window_and_queue_are_full);
}
END_TEST

static void pushed_out(void)
{
    house.limits.inflight_max = 1;
    guest_t *carol = leave_to_carol(1);
    expect(carol, "PUBLISH a q1 one");
    house.limits.queue_messages_max = 1;
    guest_t *alice = house_connect(&house, GV_MQTT_V5, "alice", true);
    guest_publish(alice, "a", "new", 1, false);
    answer(carol, GV_MQTT_PUBACK);
    expect(carol, "PUBLISH a q1 new");
    guest_t *bob = bob_again();
    expect(bob, "PUBLISH a q1 two");
    expect(bob, "");
}

START_TEST(what_new_messages_push_out_goes_back)
{
    for_each_size(pushed_out);
}
END_TEST

static void too_large(void)
{
    house.limits.inflight_max = 1;
    guest_t *bob = member("bob", false, 1);
    guest_t *alice = house_connect(&house, GV_MQTT_V5, "alice", true);
    static const char *const payloads[] = {"1", "far too much for carol, and too much", "3",
                                           "far too much for carol, and then some", NULL};
    publish(alice, payloads, 1);
    guest_t *carol = house_visit(&house, GV_MQTT_V5);
    gv_mqtt_connect_t connect = {.client_id = GV_BYTES_LITERAL("carol"), .clean_start = true};
    gv_mqtt_props_set_number(&connect.props, GV_MQTT_PROP_MAXIMUM_PACKET_SIZE, 30);
    guest_connect(carol, connect);
    expect(carol, "CONNACK 00");
    guest_subscribe(carol, "$share/g/a", 1);
    guest_leave(bob);
    expect(carol, "PUBLISH a q1 1");
    answer(carol, GV_MQTT_PUBACK); /* the next waits, and does not fit when its turn comes */
    expect(carol, "PUBLISH a q1 3");
    answer(carol, GV_MQTT_PUBACK);
    expect(carol, "");
    house.limits.inflight_max = 8;
    bob = bob_again();
    expect(bob, "PUBLISH a q1 far too much for carol, and too much");
    expect(bob, "PUBLISH a q1 far too much for carol, and then some");
    expect(bob, "");
}

START_TEST(what_is_too_large_for_a_taker_goes_back)
{
    for_each_size(too_large);
}
END_TEST

static void expires(void)
{
    house.limits.inflight_max = 1;
    guest_t *bob = member("bob", false, 1);
    guest_t *alice = house_connect(&house, GV_MQTT_V5, "alice", true);
    static const char *const payloads[] = {"one", NULL};
    publish(alice, payloads, 1);
    uint8_t bytes[64];
    gv_mqtt_publish_t message = {.topic = GV_BYTES_LITERAL("a"),
                                 .payload = GV_BYTES_LITERAL("short-lived"),
                                 .packet_id = ++alice->next_packet_id,
                                 .qos = 1};
    gv_mqtt_props_set_number(&message.props, GV_MQTT_PROP_MESSAGE_EXPIRY, 2);
    gv_mqtt_peer_t server = guest_server(alice);
    gv_writer_t w = gv_writer(bytes, sizeof(bytes));
    guest_send(alice, bytes, gv_mqtt_encode_publish(&message, &server, &w));
    guest_t *carol = member("carol", true, 1);
    guest_leave(bob);
    expect(carol, "PUBLISH a q1 one");
    house_pass(&house, 3000);
    answer(carol, GV_MQTT_PUBACK);
    expect(carol, "");
    expect(bob_again(), "");
    uint64_t queued = 0;
    for (uint16_t i = 0; i < house.shard_count; i++) {
        queued += gv_counter_get(&gv_shard_stats(house.shards[i])->queued_messages);
    }
    ck_assert_uint_eq(queued, 0);
}

START_TEST(what_expires_with_its_taker_is_over)
{
    for_each_size(expires);
}
END_TEST

START_TEST(a_loan_does_not_change_what_is_sent)
{
    house_open(&house, 1);
    guest_t *bob = member("bob", false, 1);
    guest_t *alice = house_connect(&house, GV_MQTT_V5, "alice", true);
    guest_publish(alice, "a", "one", 1, false);
    guest_t *carol = house_connect(&house, GV_MQTT_V5, "carol", true);
    guest_push_subscribe(
        carol, (gv_mqtt_subscription_t){.text = GV_BYTES_LITERAL("$share/g/a"), .qos = 1}, 7);
    expect(carol, "SUBACK 01");
    guest_leave(bob);
    house_settle(&house);
    size_t size_with_id = carol->received_size;
    guest_publish(alice, "a", "two", 1, false);
    ck_assert_uint_eq(carol->received_size, 2 * size_with_id);
    expect(carol, "PUBLISH a q1 one");
    expect(carol, "PUBLISH a q1 two");
    house_close(&house);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("durable_give");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, what_is_not_acknowledged_by_who_has_it_in_memory_survives_a_crash);
    tcase_add_test(tc, what_is_acknowledged_is_over_also_after_a_crash);
    tcase_add_test(tc, at_qos_0_it_is_given_for_good);
    tcase_add_test(tc, at_qos_2_it_is_the_receivers_with_its_pubrec);
    tcase_add_test(tc, what_was_begun_at_qos_2_goes_to_nobody_else);
    tcase_add_test(tc, what_its_taker_leaves_goes_back);
    tcase_add_test(tc, what_its_taker_leaves_goes_to_the_next_once);
    tcase_add_test(tc, who_has_come_back_is_sent_what_its_taker_leaves);
    tcase_add_test(tc, a_taker_that_unsubscribes_gives_back_what_it_was_not_sent);
    tcase_add_test(tc, what_was_lent_by_a_session_that_has_ended_is_given_on);
    tcase_add_test(tc, what_stays_lent_for_long_moves_on_with_its_session);
    tcase_add_test(tc, what_a_taker_has_no_room_for_stays);
    tcase_add_test(tc, what_new_messages_push_out_goes_back);
    tcase_add_test(tc, what_is_too_large_for_a_taker_goes_back);
    tcase_add_test(tc, what_expires_with_its_taker_is_over);
    tcase_add_test(tc, a_loan_does_not_change_what_is_sent);
    Suite *suite = suite_create("broker/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
