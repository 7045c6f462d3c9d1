/* SPDX-License-Identifier: Apache-2.0 */
/* What a node does when its memory is scarce, and limits of the whole node. */
#include "broker/core/shard.h"

#include "house.h"

/* The node has so much; its marks are at 800 and 900. */
#define MAX 1000U

static house_t house;

static void open_house(void)
{
    house_memory_used = 0;
    house_open(&house, 2);
    gv_memory_set_max(&house.memory, MAX);
}

static void close_house(void)
{
    house_memory_used = 0;
    house_close(&house);
}

/* From now on so much is used, and every shard has seen it. */
static void use(uint64_t bytes)
{
    house_memory_used = bytes;
    house_settle(&house);
}

static uint64_t sum(size_t offset)
{
    uint64_t total = 0;
    for (uint16_t i = 0; i < house.shard_count; i++) {
        const gv_shard_stats_t *stats = gv_shard_stats(house.shards[i]);
        total += gv_counter_get((const gv_counter_t *)(const void *)((const char *)stats + offset));
    }
    return total;
}
#define SUM(member) sum(offsetof(gv_shard_stats_t, member))

/* Return code 3, by the name that MQTT 5 has for it. */
#define V3_UNAVAILABLE "CONNACK 88"

static void try_to_connect(gv_mqtt_version_t version, const char *id, const char *expected)
{
    guest_t *guest = house_visit(&house, version);
    guest_connect(guest, (gv_mqtt_connect_t){.client_id = gv_bytes_text(id), .clean_start = true});
    ck_assert_str_eq(guest_next(guest), expected);
}

START_TEST(new_clients_are_refused_and_sessions_that_are_there_go_on)
{
    guest_t *alice = house_connect(&house, GV_MQTT_V5, "alice", false);
    guest_leave(alice);
    use(800);
    try_to_connect(GV_MQTT_V5, "bob", "CONNACK 97");
    try_to_connect(GV_MQTT_V311, "carol", V3_UNAVAILABLE);
    try_to_connect(GV_MQTT_V31, "dave", V3_UNAVAILABLE);
    ck_assert_uint_eq(SUM(connects_memory_refused), 3);
    ck_assert_uint_eq(SUM(connections_refused), 3);
    (void)house_connect(&house, GV_MQTT_V5, "alice", false);
    use(0);
    (void)house_connect(&house, GV_MQTT_V5, "bob", true);
}
END_TEST

START_TEST(new_subscriptions_are_refused_and_those_that_are_there_may_change)
{
    guest_t *alice = house_connect(&house, GV_MQTT_V5, "alice", true);
    guest_t *old = house_connect(&house, GV_MQTT_V311, "old", true);
    guest_subscribe(alice, "a", 0);
    use(800);
    guest_push_subscribe(alice, (gv_mqtt_subscription_t){.text = GV_BYTES_LITERAL("b")}, 0);
    guest_push_subscribe(alice, (gv_mqtt_subscription_t){.text = GV_BYTES_LITERAL("a"), .qos = 1},
                         0);
    guest_push_subscribe(old, (gv_mqtt_subscription_t){.text = GV_BYTES_LITERAL("b")}, 0);
    house_settle(&house);
    ck_assert_str_eq(guest_next(alice), "SUBACK 97");
    ck_assert_str_eq(guest_next(alice), "SUBACK 01");
    ck_assert_str_eq(guest_next(old), "SUBACK 80");
    ck_assert_uint_eq(SUM(subscribes_memory_refused), 2);
    use(0);
    guest_subscribe(alice, "b", 0);
}
END_TEST

START_TEST(new_retained_messages_are_refused_and_smaller_ones_and_none_are_not)
{
    guest_t *bob = house_connect(&house, GV_MQTT_V5, "bob", true);
    guest_publish(bob, "a", "long enough", 1, true);
    ck_assert_str_eq(guest_next(bob), "PUBACK 1 10");
    guest_publish(bob, "b", "x", 1, true);
    ck_assert_str_eq(guest_next(bob), "PUBACK 2 10");
    use(800);
    guest_publish(bob, "c", "new", 1, true);
    ck_assert_str_eq(guest_next(bob), "PUBACK 3 97");
    guest_publish(bob, "b", "longer than it was", 1, true);
    ck_assert_str_eq(guest_next(bob), "PUBACK 4 97");
    guest_publish(bob, "a", "shorter", 1, true);
    ck_assert_str_eq(guest_next(bob), "PUBACK 5 10");
    guest_publish(bob, "d", "nobody is told", 0, true);
    guest_publish(bob, "b", "", 1, true);
    ck_assert_str_eq(guest_next(bob), "PUBACK 6 10");
    ck_assert_uint_eq(SUM(retained), 1);
    ck_assert_uint_eq(SUM(retained_memory_refused), 3);
    use(0);
    guest_publish(bob, "c", "new", 1, true);
    ck_assert_str_eq(guest_next(bob), "PUBACK 7 10");
    ck_assert_uint_eq(SUM(retained), 2);
}
END_TEST

/* Eight in flight and one that waits. */
static guest_t *behind(const char *id, const char *filter, bool clean_start, guest_t *publisher)
{
    guest_t *guest = house_connect(&house, GV_MQTT_V5, id, clean_start);
    guest_subscribe(guest, filter, 2);
    for (int i = 0; i < 9; i++) {
        guest_publish(publisher, filter, "x", 1, false);
        ck_assert_int_eq(strncmp(guest_next(publisher), "PUBACK", 6), 0);
    }
    return guest;
}

START_TEST(what_somebody_cannot_take_now_is_refused_and_the_others_are_served)
{
    guest_t *bob = house_connect(&house, GV_MQTT_V5, "bob", true);
    guest_t *slow = behind("slow", "slow", true, bob);
    guest_t *quick = house_connect(&house, GV_MQTT_V5, "quick", true);
    guest_subscribe(quick, "#", 2);
    use(800);
    guest_publish(bob, "slow", "y", 1, false);
    ck_assert_str_eq(guest_next(bob), "PUBACK 10 97");
    ck_assert_str_eq(guest_next(quick), "PUBLISH slow q1 y");
    guest_publish(bob, "other", "z", 1, false);
    ck_assert_str_eq(guest_next(bob), "PUBACK 11 00");
    guest_publish(bob, "slow", "y", 2, false);
    ck_assert_str_eq(guest_next(bob), "PUBREC 12 97");
    ck_assert_uint_eq(SUM(dropped_memory), 2);
    /* What was acknowledged is still there. */
    for (int i = 0; i < 9; i++) {
        ck_assert_str_eq(guest_next(slow), "PUBLISH slow q1 x");
        guest_ack(slow, GV_MQTT_PUBACK, slow->last_packet_id);
    }
    ck_assert_str_eq(guest_next(slow), "");
    guest_publish(bob, "slow", "y", 1, false); /* it keeps up again */
    ck_assert_str_eq(guest_next(bob), "PUBACK 13 00");
}
END_TEST

START_TEST(a_publisher_that_cannot_be_told_is_paused_until_there_is_memory)
{
    guest_t *bob = house_connect(&house, GV_MQTT_V5, "bob", true);
    (void)behind("slow", "slow", true, bob);
    guest_t *old = house_connect(&house, GV_MQTT_V311, "old", true);
    use(800);
    guest_publish(old, "free", "y", 1, false);
    ck_assert_str_eq(guest_next(old), "PUBACK 1 00");
    guest_publish(old, "slow", "y", 1, false);
    ck_assert_str_eq(guest_next(old), "");
    ck_assert(old->is_paused);
    ck_assert_uint_eq(SUM(publishers_starved), 1);
    guest_publish(old, "free", "y", 1, false);
    ck_assert_str_eq(guest_next(old), "");
    use(700);
    ck_assert(!old->is_paused);
    house_settle(&house);
    ck_assert_str_eq(guest_next(old), "PUBACK 3 00");
}
END_TEST

START_TEST(a_paused_publisher_may_leave)
{
    guest_t *bob = house_connect(&house, GV_MQTT_V5, "bob", true);
    (void)behind("slow", "slow", true, bob);
    guest_t *old = house_connect(&house, GV_MQTT_V311, "old", true);
    use(800);
    guest_publish(old, "slow", "y", 1, false);
    ck_assert(old->is_paused);
    guest_leave(old);
    use(0);
    ck_assert_uint_eq(SUM(connections), 2);
}
END_TEST

START_TEST(what_was_acknowledged_for_a_persistent_session_is_kept)
{
    guest_t *bob = house_connect(&house, GV_MQTT_V5, "bob", true);
    guest_t *alice = behind("alice", "a", false, bob);
    guest_leave(alice);
    use(800);
    guest_publish(bob, "a", "refused", 1, false);
    ck_assert_str_eq(guest_next(bob), "PUBACK 10 97");
    use(1000);
    alice = house_connect(&house, GV_MQTT_V5, "alice", false);
    for (int i = 0; i < 9; i++) {
        ck_assert_str_eq(guest_next(alice), i < 8 ? "PUBLISH a q1 dup x" : "PUBLISH a q1 x");
        guest_ack(alice, GV_MQTT_PUBACK, alice->last_packet_id);
    }
    guest_publish(bob, "a", "she keeps up", 1, false);
    ck_assert_str_eq(guest_next(alice), "PUBLISH a q1 she keeps up");
}
END_TEST

START_TEST(exactly_once_is_refused_before_it_goes_anywhere)
{
    guest_t *quick = house_connect(&house, GV_MQTT_V5, "quick", true);
    guest_subscribe(quick, "#", 2);
    guest_t *bob = house_connect(&house, GV_MQTT_V5, "bob", false);
    use(900);
    guest_publish(bob, "a", "y", 2, false);
    ck_assert_str_eq(guest_next(bob), "PUBREC 1 97");
    ck_assert_str_eq(guest_next(quick), "");
    use(800);
    guest_publish(bob, "a", "y", 2, false);
    ck_assert_str_eq(guest_next(bob), "PUBREC 2 97");
    use(790);
    guest_publish(bob, "a", "retained", 2, true);
    ck_assert_str_eq(guest_next(bob), "PUBREC 3 97");
    ck_assert_uint_eq(SUM(publishes_memory_refused), 3);
    guest_publish(bob, "a", "y", 2, false);
    ck_assert_str_eq(guest_next(bob), "PUBREC 4 00");
    ck_assert_str_eq(guest_next(quick), "PUBLISH a q2 y");
}
END_TEST

/* A megabyte may wait; while memory is scarce a sixteenth of that. */
START_TEST(qos_0_for_a_slow_receiver_is_dropped_earlier)
{
    static char payload[4000];
    memset(payload, 'x', sizeof(payload) - 1);
    guest_t *slow = house_connect(&house, GV_MQTT_V5, "slow", true);
    guest_subscribe(slow, "a", 0);
    slow->is_slow = true;
    guest_t *bob = house_connect(&house, GV_MQTT_V5, "bob", true);
    use(800);
    for (int i = 0; i < 50; i++) {
        guest_publish(bob, "a", payload, 0, false);
    }
    ck_assert_uint_gt(gv_outbuf_size(&slow->out), 65536);
    ck_assert_uint_lt(gv_outbuf_size(&slow->out), 65536 + 5000);
    uint64_t dropped = SUM(dropped_memory);
    ck_assert_uint_gt(dropped, 30);
    use(0);
    guest_publish(bob, "a", payload, 0, false);
    ck_assert_uint_eq(SUM(dropped_memory), dropped);
    ck_assert_uint_eq(SUM(dropped_slow_reader), 0);
}
END_TEST

/* So many packets of 4 KB wait in the connection. */
static guest_t *stuck(const char *id, guest_t *publisher, int count)
{
    static char payload[4000];
    memset(payload, 'x', sizeof(payload) - 1);
    guest_t *guest = house_connect(&house, GV_MQTT_V5, id, true);
    guest_subscribe(guest, id, 0);
    guest->is_slow = true;
    for (int i = 0; i < count; i++) {
        guest_publish(publisher, id, payload, 0, false);
        house_pass(&house, 10); /* it does not slow the publisher for ever */
    }
    return guest;
}

START_TEST(when_it_is_critical_those_who_hold_most_and_do_not_move_give_way)
{
    guest_t *bob = house_connect(&house, GV_MQTT_V5, "bob", true);
    guest_t *most = stuck("most", bob, 100);
    guest_t *much = stuck("much", bob, 50);
    guest_t *little = stuck("little", bob, 2);
    house_pass(&house, 1500);
    use(895);
    house_pass(&house, 1500);
    ck_assert(!most->is_closing);
    use(900); /* 150 too many, by the node's account; here each round ends one per shard at most */
    for (int i = 0; i < 200 && !(most->is_closing || much->is_closing); i++) {
        house_pass(&house, 10);
    }
    ck_assert(most->is_closing || much->is_closing);
    house_pass(&house, 1000);
    ck_assert(most->is_closing);
    ck_assert(much->is_closing);
    ck_assert(!little->is_closing);
    ck_assert(!bob->is_closing);
    ck_assert_uint_eq(SUM(memory_closed), 2);
    (void)guest_take(most, SIZE_MAX);
    const char *last = "";
    static char text[sizeof(most->text)];
    while (*(last = guest_next(most)) != '\0') {
        (void)snprintf(text, sizeof(text), "%s", last);
    }
    ck_assert_str_eq(text, "DISCONNECT 97");
}
END_TEST

START_TEST(when_it_stays_scarce_who_does_not_move_gives_way_and_who_moves_does_not)
{
    guest_t *bob = house_connect(&house, GV_MQTT_V5, "bob", true);
    guest_t *slow = stuck("slow", bob, 50);
    guest_t *moving = stuck("moving", bob, 50);
    use(800);
    for (int i = 0; i < 45; i++) {
        house_pass(&house, 200);
        (void)guest_take(moving, 1000);
    }
    ck_assert(!slow->is_closing); /* not yet: it may come back by itself */
    for (int i = 0; i < 20; i++) {
        house_pass(&house, 200);
        (void)guest_take(moving, 1000);
    }
    ck_assert(slow->is_closing);
    ck_assert(!moving->is_closing);
}
END_TEST

START_TEST(sessions_of_the_whole_node_have_a_limit)
{
    house.limits.sessions_max = 3;
    guest_t *a = house_connect(&house, GV_MQTT_V5, "a", true);
    (void)house_connect(&house, GV_MQTT_V5, "b", false);
    guest_t *c = house_connect(&house, GV_MQTT_V5, "c", false);
    guest_leave(c); /* its session stays */
    try_to_connect(GV_MQTT_V5, "d", "CONNACK 97");
    try_to_connect(GV_MQTT_V311, "e", V3_UNAVAILABLE);
    (void)house_connect(&house, GV_MQTT_V5, "a", true); /* takes its own place */
    (void)house_connect(&house, GV_MQTT_V5, "c", false);
    ck_assert_uint_eq(SUM(sessions_max_refused), 2);
    ck_assert(a->is_closing);
    ck_assert_uint_eq(gv_memory_sessions(&house.memory), 3);
    guest_leave(c);
    house_restart(&house);
    ck_assert_uint_eq(gv_memory_sessions(&house.memory), 2); /* b and c are remembered */
    (void)house_connect(&house, GV_MQTT_V5, "d", true);
    try_to_connect(GV_MQTT_V5, "e", "CONNACK 97");
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("relief");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, open_house, close_house);
    tcase_add_test(tc, new_clients_are_refused_and_sessions_that_are_there_go_on);
    tcase_add_test(tc, new_subscriptions_are_refused_and_those_that_are_there_may_change);
    tcase_add_test(tc, new_retained_messages_are_refused_and_smaller_ones_and_none_are_not);
    tcase_add_test(tc, what_somebody_cannot_take_now_is_refused_and_the_others_are_served);
    tcase_add_test(tc, a_publisher_that_cannot_be_told_is_paused_until_there_is_memory);
    tcase_add_test(tc, a_paused_publisher_may_leave);
    tcase_add_test(tc, what_was_acknowledged_for_a_persistent_session_is_kept);
    tcase_add_test(tc, exactly_once_is_refused_before_it_goes_anywhere);
    tcase_add_test(tc, qos_0_for_a_slow_receiver_is_dropped_earlier);
    tcase_add_test(tc, when_it_is_critical_those_who_hold_most_and_do_not_move_give_way);
    tcase_add_test(tc, when_it_stays_scarce_who_does_not_move_gives_way_and_who_moves_does_not);
    tcase_add_test(tc, sessions_of_the_whole_node_have_a_limit);

    Suite *suite = suite_create("broker/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
