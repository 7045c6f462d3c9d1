/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/shard_p.h"

#include "house.h"

static house_t house;
static guest_t *alice;
static guest_t *bob;

static void setup(void)
{
    house_open(&house, 1);
    alice = house_connect(&house, GV_MQTT_V5, "alice", true);
    bob = house_connect(&house, GV_MQTT_V5, "bob", true);
    guest_subscribe(bob, "t", 0);
}

static void teardown(void)
{
    house_close(&house);
}

static int heard(guest_t *guest)
{
    int count = 0;
    while (guest_next(guest)[0] != '\0') {
        count++;
    }
    return count;
}

static void push(guest_t *guest, int count)
{
    for (int i = 0; i < count; i++) {
        guest_push_publish(guest, "t", "0123456789", 0, false);
    }
    house_settle(guest->house);
}

START_TEST(without_limits_nobody_has_a_bucket)
{
    push(alice, 1000);
    ck_assert_int_eq(heard(bob), 1000);
    ck_assert_ptr_null(house.shards[0]->paces);
}
END_TEST

START_TEST(who_sends_too_many_messages_is_slowed_and_loses_none)
{
    house.limits.client_messages = (gv_rate_t){.per_second = 100, .burst = 20};
    push(alice, 60);
    ck_assert(alice->is_paused);
    ck_assert_int_eq(heard(bob), 21); /* the last of them is paid for afterwards */
    house_pass(&house, 100);
    ck_assert_int_eq(heard(bob), 10);
    house_pass(&house, 1000);
    ck_assert_int_eq(heard(bob), 29);
    ck_assert(!alice->is_paused);
    const gv_shard_stats_t *stats = gv_shard_stats(house.shards[0]);
    ck_assert_uint_ge(gv_counter_get(&stats->publishers_paced), 2);
}
END_TEST

START_TEST(everybody_has_buckets_of_his_own)
{
    house.limits.client_messages = (gv_rate_t){.per_second = 100, .burst = 10};
    push(alice, 50);
    ck_assert(alice->is_paused);
    (void)heard(bob);
    push(bob, 5);
    ck_assert(!bob->is_paused);
    ck_assert_int_eq(heard(bob), 5);
}
END_TEST

START_TEST(bytes_count_too_and_a_large_packet_is_paid_for_afterwards)
{
    house.limits.client_bytes = (gv_rate_t){.per_second = 100, .burst = 50};
    char payload[500];
    memset(payload, 'x', sizeof(payload) - 1);
    payload[sizeof(payload) - 1] = '\0';
    guest_publish(alice, "t", payload, 0, false);
    ck_assert_int_eq(heard(bob), 1);
    push(alice, 1);
    house_pass(&house, 4500);
    ck_assert_int_eq(heard(bob), 0);
    house_pass(&house, 300);
    ck_assert_int_eq(heard(bob), 1);
}
END_TEST

START_TEST(a_limit_that_is_lifted_lets_go_of_who_waits)
{
    house.limits.client_messages = (gv_rate_t){.per_second = 1, .burst = 1};
    push(alice, 10);
    ck_assert_int_eq(heard(bob), 2);
    house.limits.client_messages = (gv_rate_t){0};
    house_pass(&house, 1000);
    ck_assert_int_eq(heard(bob), 8);
}
END_TEST

START_TEST(who_waits_may_leave_and_his_place_starts_afresh)
{
    house.limits.client_messages = (gv_rate_t){.per_second = 10, .burst = 10};
    push(alice, 100);
    guest_leave(alice);
    (void)heard(bob);
    guest_t *carol = house_connect(&house, GV_MQTT_V5, "carol", true);
    push(carol, 10);
    ck_assert(!carol->is_paused);
    ck_assert_int_eq(heard(bob), 10);
}
END_TEST

/* While we do not read, it cannot speak. */
START_TEST(who_waits_is_not_silent)
{
    guest_t *carol = house_visit(&house, GV_MQTT_V5);
    guest_connect(carol, (gv_mqtt_connect_t){.client_id = gv_bytes_text("carol"),
                                             .clean_start = true,
                                             .keep_alive_s = 1});
    ck_assert_str_eq(guest_next(carol), "CONNACK 00");
    house.limits.client_bytes = (gv_rate_t){.per_second = 10, .burst = 10};
    push(carol, 5);
    house_pass(&house, 5000);
    ck_assert(!carol->is_closing);
}
END_TEST

START_TEST(connects_above_the_rate_are_refused)
{
    house.limits.connects = (gv_rate_t){.per_second = 10, .burst = 3};
    for (int i = 0; i < 4; i++) {
        guest_t *guest = house_visit(&house, i < 2 ? GV_MQTT_V5 : GV_MQTT_V311);
        guest_connect(guest, (gv_mqtt_connect_t){.clean_start = true});
        ck_assert_str_eq(guest_next(guest), i < 3 ? "CONNACK 00" : "CONNACK 88");
    }
    guest_t *late = house_visit(&house, GV_MQTT_V5);
    guest_connect(late, (gv_mqtt_connect_t){.clean_start = true});
    ck_assert_str_eq(guest_next(late), "CONNACK 9f");
    ck_assert(late->is_closing);
    const gv_shard_stats_t *stats = gv_shard_stats(house.shards[0]);
    ck_assert_uint_eq(gv_counter_get(&stats->connects_rate_refused), 2);
    house_pass(&house, 100);
    (void)house_connect(&house, GV_MQTT_V5, "later", true);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("pace");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, without_limits_nobody_has_a_bucket);
    tcase_add_test(tc, who_sends_too_many_messages_is_slowed_and_loses_none);
    tcase_add_test(tc, everybody_has_buckets_of_his_own);
    tcase_add_test(tc, bytes_count_too_and_a_large_packet_is_paid_for_afterwards);
    tcase_add_test(tc, a_limit_that_is_lifted_lets_go_of_who_waits);
    tcase_add_test(tc, who_waits_may_leave_and_his_place_starts_afresh);
    tcase_add_test(tc, who_waits_is_not_silent);
    tcase_add_test(tc, connects_above_the_rate_are_refused);
    Suite *suite = suite_create("broker/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
