/* SPDX-License-Identifier: Apache-2.0 */
/* broker/core/regive.c, by what the members of a group get. */
#include "house.h"

static house_t house;

static void for_each_size(void (*test)(void))
{
    for (uint16_t shards = 1; shards <= 3; shards += 2) {
        house_open(&house, shards);
        test();
        house_close(&house);
    }
}

/* How many messages come, all of which are acknowledged. */
static int take_all(guest_t *guest)
{
    int count = 0;
    while (*guest_next(guest) != '\0') {
        ck_assert_uint_ne(guest->last_packet_id, 0);
        guest_ack(guest, GV_MQTT_PUBACK, guest->last_packet_id);
        count++;
    }
    return count;
}

static void given_again(void)
{
    guest_t *first = house_connect(&house, GV_MQTT_V5, "first", true);
    guest_subscribe(first, "$share/g/t", 1);
    guest_t *alice = house_connect(&house, GV_MQTT_V5, "alice", true);
    for (int i = 0; i < 12; i++) { /* eight in its window, the rest waiting */
        guest_publish(alice, "t", "x", 1, false);
    }
    guest_t *second = house_connect(&house, GV_MQTT_V5, "second", true);
    guest_subscribe(second, "$share/g/t", 1);
    ck_assert_str_eq(guest_next(first), "PUBLISH t q1 x");
    guest_ack(first, GV_MQTT_PUBACK, first->last_packet_id);
    guest_leave(first);
    ck_assert_int_eq(take_all(second), 11);
}

START_TEST(what_a_member_leaves_unacknowledged_goes_to_another)
{
    for_each_size(given_again);
}
END_TEST

static void just_left(void)
{
    guest_t *stays = house_connect(&house, GV_MQTT_V5, "stays", true);
    guest_subscribe(stays, "$share/g/t", 1);
    guest_t *alice = house_connect(&house, GV_MQTT_V5, "alice", true);
    for (int i = 0; i < 20; i++) {
        char id[8];
        (void)snprintf(id, sizeof(id), "m%d", i);
        guest_t *leaves = house_connect(&house, GV_MQTT_V5, id, true);
        guest_subscribe(leaves, "$share/g/t", 1);
        /* The router hears of it when the turn has ended; the message is there before. */
        leaves->is_gone = true;
        gv_client_closed(&leaves->conn.client);
        guest_publish(alice, "t", "x", 1, false);
        ck_assert_str_eq(guest_next(stays), "PUBLISH t q1 x");
        guest_ack(stays, GV_MQTT_PUBACK, stays->last_packet_id);
        ck_assert_str_eq(guest_next(stays), "");
    }
}

START_TEST(a_message_for_a_member_that_has_just_left_goes_to_another)
{
    for_each_size(just_left);
}
END_TEST

/* ---- members that unsubscribe -------------------------------------------------------------------
 */

/* `first` has eight messages in flight and four waiting, `second` has joined since. */
static void fill_and_leave(guest_t **first, guest_t **second, bool clean_start)
{
    *first = house_connect(&house, GV_MQTT_V5, "first", clean_start);
    guest_subscribe(*first, "$share/g/t", 1);
    guest_t *alice = house_connect(&house, GV_MQTT_V5, "alice", true);
    for (int i = 0; i < 12; i++) {
        guest_publish(alice, "t", "x", 1, false);
    }
    *second = house_connect(&house, GV_MQTT_V5, "second", true);
    guest_subscribe(*second, "$share/g/t", 1);
    guest_push_unsubscribe(*first, "$share/g/t");
    house_settle(&house);
    ck_assert_int_eq(take_all(*second), 4);
    for (int i = 0; i < 8; i++) {
        ck_assert_str_eq(guest_next(*first), "PUBLISH t q1 x");
    }
    ck_assert_str_eq(guest_next(*first), "UNSUBACK 00");
}

static void unsubscribed_and_gone(void)
{
    guest_t *first = NULL;
    guest_t *second = NULL;
    fill_and_leave(&first, &second, true);
    ck_assert_int_eq(take_all(second), 0); /* they are the first one's, as long as it is there */
    guest_leave(first);
    ck_assert_int_eq(take_all(second), 8);
}

START_TEST(what_is_in_flight_when_a_member_unsubscribes_and_goes_reaches_another)
{
    for_each_size(unsubscribed_and_gone);
}
END_TEST

static void unsubscribed_and_back(void)
{
    guest_t *first = NULL;
    guest_t *second = NULL;
    fill_and_leave(&first, &second, false);
    guest_leave(first);
    ck_assert_int_eq(take_all(second), 0);
    first = house_connect(&house, GV_MQTT_V5, "first", false);
    for (int i = 0; i < 8; i++) {
        ck_assert_str_eq(guest_next(first), "PUBLISH t q1 dup x");
        guest_ack(first, GV_MQTT_PUBACK, first->last_packet_id);
    }
    guest_leave(first);
    ck_assert_int_eq(take_all(second), 0);
}

START_TEST(what_is_in_flight_when_a_member_unsubscribes_is_finished_with_it_when_it_comes_back)
{
    for_each_size(unsubscribed_and_back);
}
END_TEST

static void unsubscribed_and_ended(void)
{
    guest_t *first = NULL;
    guest_t *second = NULL;
    fill_and_leave(&first, &second, false);
    guest_leave(first);
    (void)house_connect(&house, GV_MQTT_V5, "first", true); /* a new session instead */
    ck_assert_int_eq(take_all(second), 8);
}

START_TEST(what_is_in_flight_when_a_member_unsubscribes_outlives_its_session)
{
    for_each_size(unsubscribed_and_ended);
}
END_TEST

static void subscribed_again(void)
{
    guest_t *first = NULL;
    guest_t *second = NULL;
    fill_and_leave(&first, &second, false);
    guest_subscribe(first, "$share/g/t", 1);
    guest_leave(first);
    ck_assert_int_eq(take_all(second), 8); /* a member again, like any other */
}

START_TEST(who_unsubscribes_and_subscribes_again_is_a_member_like_any_other)
{
    /* With one shard the group has never been gone there: it has its slot of before. */
    house_open(&house, 1);
    subscribed_again();
    house_close(&house);
}
END_TEST

/* In and out of many groups with one message in flight in each, and a window of eight. */
START_TEST(groups_that_are_left_take_no_more_room_than_what_is_in_flight)
{
    house_open(&house, 1);
    guest_t *first = house_connect(&house, GV_MQTT_V5, "first", true);
    guest_t *alice = house_connect(&house, GV_MQTT_V5, "alice", true);
    gv_session_t *session = gv_session_find(house.shards[0], GV_BYTES_LITERAL("first"));
    uint16_t in_flight[300];
    for (int i = 0; i < 300; i++) {
        char group[32];
        (void)snprintf(group, sizeof(group), "$share/g%d/t", i);
        guest_subscribe(first, group, 1);
        guest_publish(alice, "t", "x", 1, false);
        ck_assert_str_eq(guest_next(first), "PUBLISH t q1 x");
        in_flight[i] = first->last_packet_id;
        guest_push_unsubscribe(first, group);
        house_settle(&house);
        ck_assert_str_eq(guest_next(first), "UNSUBACK 00");
        size_t count = 0;
        for (const gv_left_group_t *left = session->flow->left; left != NULL; left = left->next) {
            count++;
        }
        ck_assert_uint_le(count, 8);
        if (i >= 7) {
            guest_ack(first, GV_MQTT_PUBACK, in_flight[i - 7]);
        }
    }
    house_close(&house);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("regive");
    tcase_add_test(tc, what_a_member_leaves_unacknowledged_goes_to_another);
    tcase_add_test(tc, a_message_for_a_member_that_has_just_left_goes_to_another);
    tcase_add_test(tc, what_is_in_flight_when_a_member_unsubscribes_and_goes_reaches_another);
    tcase_add_test(
        tc, what_is_in_flight_when_a_member_unsubscribes_is_finished_with_it_when_it_comes_back);
    tcase_add_test(tc, what_is_in_flight_when_a_member_unsubscribes_outlives_its_session);
    tcase_add_test(tc, who_unsubscribes_and_subscribes_again_is_a_member_like_any_other);
    tcase_add_test(tc, groups_that_are_left_take_no_more_room_than_what_is_in_flight);
    Suite *suite = suite_create("broker/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
