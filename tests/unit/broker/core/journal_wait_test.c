/* SPDX-License-Identifier: Apache-2.0 */
/* Messages of QoS 1 to persistent sessions that keep up: what is written, and when. */
#include "house.h"

static house_t house;

static void for_each_size(void (*test)(void))
{
    for (uint16_t shards = 1; shards <= 3; shards++) {
        house_open(&house, shards);
        test();
        house_close(&house);
    }
}

static uint64_t commits(void)
{
    return gv_counter_get(&gv_store_stats(house.store)->commits);
}

static uint64_t segments(void)
{
    uint64_t count = 0;
    for (uint16_t i = 0; i < house.shard_count; i++) {
        count += gv_counter_get(&gv_shard_stats(house.shards[i])->log_segments);
    }
    return count;
}

/* A millisecond at a time: the patience is a few of them. */
static void pass(uint64_t ms)
{
    for (uint64_t i = 0; i < ms; i++) {
        house_pass(&house, 1);
    }
}

static guest_t *subscriber(const char *id)
{
    guest_t *guest = house_connect(&house, GV_MQTT_V5, id, false);
    guest_subscribe(guest, "a", 1);
    return guest;
}

/* Sends one message, which the subscriber acknowledges at once: he is known to keep up. */
static guest_t *publisher_for(guest_t *subscriber)
{
    guest_t *alice = house_connect(&house, GV_MQTT_V5, "alice", true);
    guest_publish(alice, "a", "zero", 1, false);
    ck_assert_str_eq(guest_next(subscriber), "PUBLISH a q1 zero");
    guest_ack(subscriber, GV_MQTT_PUBACK, subscriber->last_packet_id);
    ck_assert_str_eq(guest_next(alice), "PUBACK 1 00");
    pass(500); /* until nothing is left to be written */
    return alice;
}

static void never_written(void)
{
    guest_t *bob = subscriber("bob");
    guest_t *alice = publisher_for(bob);
    uint64_t before = commits();
    for (uint32_t i = 0; i < 30; i++) {
        char text[32];
        guest_publish(alice, "a", "x", 1, false);
        ck_assert_str_eq(guest_next(alice), ""); /* it is nowhere but on its way */
        ck_assert_str_eq(guest_next(bob), "PUBLISH a q1 x");
        pass(1);
        guest_ack(bob, GV_MQTT_PUBACK, bob->last_packet_id);
        (void)snprintf(text, sizeof(text), "PUBACK %u 00", i + 2);
        ck_assert_str_eq(guest_next(alice), text);
    }
    ck_assert_uint_eq(commits(), before);
    pass(1200);
    ck_assert_uint_le(commits(), before + 3U * house.shard_count); /* how far bob has come */
    ck_assert_uint_eq(segments(), 0);
}

START_TEST(what_is_acknowledged_soon_is_not_written)
{
    for_each_size(never_written);
}
END_TEST

/* While one message is on its way there is always another. */
static void overlapping(void)
{
    guest_t *bob = subscriber("bob");
    guest_t *alice = publisher_for(bob);
    uint64_t before = commits();
    guest_publish(alice, "a", "x", 1, false);
    ck_assert_str_eq(guest_next(bob), "PUBLISH a q1 x");
    for (int i = 0; i < 50; i++) {
        uint16_t packet_id = bob->last_packet_id;
        guest_publish(alice, "a", "x", 1, false);
        ck_assert_str_eq(guest_next(bob), "PUBLISH a q1 x");
        pass(1);
        guest_ack(bob, GV_MQTT_PUBACK, packet_id);
        ck_assert_str_ne(guest_next(alice), "");
    }
    ck_assert_uint_eq(commits(), before);
}

START_TEST(a_stream_that_never_pauses_is_not_written_either)
{
    for_each_size(overlapping);
}
END_TEST

static void taken_down(void)
{
    guest_t *bob = subscriber("bob");
    guest_t *alice = publisher_for(bob);
    uint64_t before = commits();
    guest_publish(alice, "a", "one", 1, false);
    ck_assert_str_eq(guest_next(bob), "PUBLISH a q1 one");
    pass(3);
    ck_assert_str_eq(guest_next(alice), "");
    pass(2);
    ck_assert_str_eq(guest_next(alice), "PUBACK 2 00");
    ck_assert_uint_gt(commits(), before);
    house_crash(&house, GV_MEM_CRASH_POWER, 0);
    bob = house_connect(&house, GV_MQTT_V5, "bob", false);
    ck_assert_str_eq(guest_next(bob), "PUBLISH a q1 dup one");
    ck_assert_str_eq(guest_next(bob), "");
}

START_TEST(who_does_not_answer_is_waited_for_only_so_long)
{
    for_each_size(taken_down);
}
END_TEST

static void not_waited_for(void)
{
    guest_t *bob = subscriber("bob");
    guest_t *alice = publisher_for(bob);
    for (int i = 0; i < 2; i++) {
        guest_publish(alice, "a", "one", 1, false);
        ck_assert_str_eq(guest_next(bob), "PUBLISH a q1 one");
        ck_assert_int_eq(guest_next(alice)[0] == '\0', i == 0);
        pass(50); /* a long way */
        guest_ack(bob, GV_MQTT_PUBACK, bob->last_packet_id);
        (void)guest_next(alice);
    }
}

START_TEST(who_answers_late_is_not_waited_for_again)
{
    for_each_size(not_waited_for);
}
END_TEST

static void at_once(void)
{
    guest_t *bob = subscriber("bob");
    guest_leave(subscriber("carol"));
    guest_t *alice = publisher_for(bob);
    uint64_t before = commits();
    guest_publish(alice, "a", "one", 1, false);
    ck_assert_str_eq(guest_next(bob), "PUBLISH a q1 one");
    guest_ack(bob, GV_MQTT_PUBACK, bob->last_packet_id);
    ck_assert_str_eq(guest_next(alice), "PUBACK 2 00");
    ck_assert_uint_gt(commits(), before); /* carol is not there */
    house_crash(&house, GV_MEM_CRASH_POWER, 0);
    guest_t *carol = house_connect(&house, GV_MQTT_V5, "carol", false);
    ck_assert_str_eq(guest_next(carol), "PUBLISH a q1 zero");
    ck_assert_str_eq(guest_next(carol), "PUBLISH a q1 one");
}

START_TEST(what_somebody_else_waits_for_is_written_at_once)
{
    for_each_size(at_once);
}
END_TEST

/* Parts that wait, behind one another, when the node dies: nobody was told anything. */
static void dies_while_waiting(void)
{
    guest_t *bob = subscriber("bob");
    guest_t *alice = publisher_for(bob);
    guest_publish(alice, "a", "one", 1, false);
    ck_assert_str_eq(guest_next(bob), "PUBLISH a q1 one");
    pass(2);
    guest_publish(alice, "a", "two", 1, false);
    ck_assert_str_eq(guest_next(bob), "PUBLISH a q1 two");
    pass(1);
    ck_assert_str_eq(guest_next(alice), "");
    house_crash(&house, GV_MEM_CRASH_PROCESS, 0);
    bob = house_connect(&house, GV_MQTT_V5, "bob", false);
    ck_assert_str_eq(guest_next(bob), "");
}

START_TEST(what_nobody_was_told_may_be_lost)
{
    for_each_size(dies_while_waiting);
}
END_TEST

/* What of older segments is done while parts are left out is not forgotten. */
static void releases_older(void)
{
    guest_t *bob = subscriber("bob");
    guest_t *alice = publisher_for(bob);
    guest_publish(alice, "a", "late", 1, false);
    ck_assert_str_eq(guest_next(bob), "PUBLISH a q1 late");
    uint16_t late = bob->last_packet_id;
    pass(6);
    ck_assert_str_eq(guest_next(alice), "PUBACK 2 00"); /* it is on the disk */
    guest_publish(alice, "a", "x", 1, false);
    ck_assert_str_eq(guest_next(bob), "PUBLISH a q1 x");
    guest_ack(bob, GV_MQTT_PUBACK, late);
    guest_ack(bob, GV_MQTT_PUBACK, bob->last_packet_id);
    ck_assert_str_eq(guest_next(alice), "PUBACK 3 00");
    pass(2500);
    ck_assert_uint_eq(segments(), 0);
    house_restart(&house);
    bob = house_connect(&house, GV_MQTT_V5, "bob", false);
    ck_assert_str_eq(guest_next(bob), "");
}

START_TEST(older_messages_that_are_done_meanwhile_leave_the_disk)
{
    for_each_size(releases_older);
}
END_TEST

static void push_puback(guest_t *guest, uint16_t packet_id)
{
    uint8_t bytes[GV_MQTT_ACK_SIZE];
    gv_writer_t w = gv_writer(bytes, sizeof(bytes));
    gv_mqtt_write_ack(&w, GV_MQTT_PUBACK, packet_id);
    guest_push(guest, bytes, sizeof(bytes));
}

static void check_pubacks(guest_t *publisher, unsigned first, unsigned count)
{
    char text[32];
    for (unsigned i = first; i < first + count; i++) {
        (void)snprintf(text, sizeof(text), "PUBACK %u 00", i);
        ck_assert_str_eq(guest_next(publisher), text);
    }
    ck_assert_str_eq(guest_next(publisher), "");
}

/* Of three publishers, in rows and alone; one of them does not wait for what is his. */
static void acknowledged_at_once(void)
{
    enum {
        COUNT = 20
    };
    house.limits.inflight_max = 3 * COUNT;
    guest_t *bob = subscriber("bob");
    guest_t *alice = publisher_for(bob);
    guest_t *carol = house_connect(&house, GV_MQTT_V5, "carol", true);
    guest_t *dave = house_connect(&house, GV_MQTT_V5, "dave", true);
    uint16_t ids[3 * COUNT];
    for (int i = 0; i < 3 * COUNT; i++) {
        guest_t *publisher = i < COUNT ? alice : i % 2 == 0 ? carol : dave;
        guest_publish(publisher, "a", "x", 1, false);
        ck_assert_str_eq(guest_next(bob), "PUBLISH a q1 x");
        ids[i] = bob->last_packet_id;
    }
    check_pubacks(alice, 2, 0);
    check_pubacks(carol, 1, 0);
    guest_leave(dave);
    for (int i = 1; i < 3 * COUNT; i++) {
        push_puback(bob, ids[i]);
    }
    house_settle(&house);
    check_pubacks(alice, 2, 0); /* the first holds up those behind it */
    check_pubacks(carol, 1, COUNT);
    guest_ack(bob, GV_MQTT_PUBACK, ids[0]);
    check_pubacks(alice, 2, COUNT);
}

START_TEST(many_that_are_acknowledged_at_once_are_confirmed_one_by_one)
{
    for_each_size(acknowledged_at_once);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("broker/core/journal_wait");
    TCase *waiting = tcase_create("waiting");
    tcase_add_test(waiting, what_is_acknowledged_soon_is_not_written);
    tcase_add_test(waiting, a_stream_that_never_pauses_is_not_written_either);
    tcase_add_test(waiting, who_does_not_answer_is_waited_for_only_so_long);
    tcase_add_test(waiting, who_answers_late_is_not_waited_for_again);
    tcase_add_test(waiting, what_somebody_else_waits_for_is_written_at_once);
    tcase_add_test(waiting, what_nobody_was_told_may_be_lost);
    tcase_add_test(waiting, older_messages_that_are_done_meanwhile_leave_the_disk);
    tcase_add_test(waiting, many_that_are_acknowledged_at_once_are_confirmed_one_by_one);
    suite_add_tcase(suite, waiting);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
