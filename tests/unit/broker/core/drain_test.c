/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/shard_p.h"

#include "house.h"

enum {
    GUESTS = 30
};

static house_t house;
static guest_t *guests[GUESTS];
static gv_bucket_t bucket;
static gv_drain_t orders;

static void setup(void)
{
    house_open(&house, 2);
    for (int i = 0; i < GUESTS; i++) {
        char id[16];
        (void)snprintf(id, sizeof(id), "guest%d", i);
        guests[i] = house_connect(&house, i % 3 == 0 ? GV_MQTT_V311 : GV_MQTT_V5, id, true);
    }
    gv_bucket_init(&bucket);
    orders = (gv_drain_t){.reason = GV_MQTT_USE_ANOTHER_SERVER,
                          .server_reference = GV_BYTES_LITERAL("other:1883"),
                          .bucket = &bucket};
}

static void teardown(void)
{
    house_close(&house);
}

static void drain(void)
{
    for (uint16_t i = 0; i < house.shard_count; i++) {
        gv_shard_drain(house.shards[i], &orders);
    }
    house_settle(&house);
}

static int left(void)
{
    int count = 0;
    for (int i = 0; i < GUESTS; i++) {
        count += guests[i]->is_gone ? 0 : 1;
    }
    return count;
}

/* Whether what the guest has received has this text somewhere. */
static bool has_heard(const guest_t *guest, const char *text)
{
    return memmem(guest->received, guest->received_size, text, strlen(text)) != NULL;
}

START_TEST(without_a_rate_all_go_at_once_and_are_told_where)
{
    drain();
    ck_assert_int_eq(left(), 0);
    ck_assert_uint_eq(guests[0]->received_size, 0); /* there are no words for it in 3.1.1 */
    ck_assert(has_heard(guests[1], "other:1883"));
    ck_assert_str_eq(guest_next(guests[1]), "DISCONNECT 9c");
    uint64_t drained = 0;
    for (uint16_t i = 0; i < house.shard_count; i++) {
        drained += gv_counter_get(&gv_shard_stats(house.shards[i])->drained);
    }
    ck_assert_uint_eq(drained, GUESTS);
}
END_TEST

START_TEST(with_a_rate_they_go_one_after_the_other)
{
    orders.clients = (gv_rate_t){.per_second = 10, .burst = 1};
    drain();
    ck_assert_int_eq(left(), GUESTS - 1);
    house_pass(&house, 1000);
    ck_assert_int_ge(left(), GUESTS - 12);
    ck_assert_int_le(left(), GUESTS - 10);
    house_pass(&house, 3000);
    ck_assert_int_eq(left(), 0);
}
END_TEST

START_TEST(who_comes_meanwhile_is_sent_elsewhere)
{
    orders.reason = GV_MQTT_SERVER_MOVED;
    drain();
    guest_t *late = house_visit(&house, GV_MQTT_V5);
    guest_connect(late, (gv_mqtt_connect_t){.client_id = gv_bytes_text("late")});
    ck_assert(has_heard(late, "other:1883"));
    ck_assert_str_eq(guest_next(late), "CONNACK 9d");
    guest_t *old = house_visit(&house, GV_MQTT_V311);
    guest_connect(old, (gv_mqtt_connect_t){.client_id = gv_bytes_text("old")});
    ck_assert_str_eq(guest_next(old), "CONNACK 88"); /* code 3 */
    ck_assert(old->is_closing);
}
END_TEST

START_TEST(an_undrain_keeps_who_is_still_there_and_takes_new_ones)
{
    orders.clients = (gv_rate_t){.per_second = 1, .burst = 5};
    drain();
    ck_assert_int_eq(left(), GUESTS - 5);
    for (uint16_t i = 0; i < house.shard_count; i++) {
        gv_shard_undrain(house.shards[i]);
    }
    house_pass(&house, 10000);
    ck_assert_int_eq(left(), GUESTS - 5);
    (void)house_connect(&house, GV_MQTT_V5, "new", true);
}
END_TEST

/* The connection is there, its CONNECT is not: it is told where to go, or the node ends. */
START_TEST(who_has_said_nothing_yet_stays_until_the_end)
{
    guest_t *silent = house_visit(&house, GV_MQTT_V5);
    drain();
    ck_assert(!silent->is_closing);
    orders = (gv_drain_t){.reason = GV_MQTT_SERVER_SHUTTING_DOWN, .is_final = true};
    drain();
    ck_assert(silent->is_closing);
    ck_assert_uint_eq(silent->received_size, 0);
}
END_TEST

START_TEST(shutting_down_has_no_reference_and_another_word_in_connack)
{
    orders.reason = GV_MQTT_SERVER_SHUTTING_DOWN;
    drain();
    ck_assert(!has_heard(guests[1], "other"));
    ck_assert_str_eq(guest_next(guests[1]), "DISCONNECT 8b");
    guest_t *late = house_visit(&house, GV_MQTT_V5);
    guest_connect(late, (gv_mqtt_connect_t){.client_id = gv_bytes_text("late")});
    ck_assert_str_eq(guest_next(late), "CONNACK 88");
}
END_TEST

/* [MQTT-3.1.2-24]: the reason is more important than the place. */
START_TEST(a_client_that_takes_small_packets_only_gets_the_reason_alone)
{
    guest_t *small = house_visit(&house, GV_MQTT_V5);
    gv_mqtt_connect_t connect = {.client_id = gv_bytes_text("small"), .clean_start = true};
    gv_mqtt_props_set_number(&connect.props, GV_MQTT_PROP_MAXIMUM_PACKET_SIZE, 30);
    guest_connect(small, connect);
    ck_assert_str_eq(guest_next(small), "CONNACK 00");
    orders.server_reference = GV_BYTES_LITERAL("a-place-with-a-long-name.example.com:1883");
    drain();
    ck_assert_str_eq(guest_next(small), "DISCONNECT 9c");
}
END_TEST

START_TEST(wills_are_published_and_sessions_stay)
{
    guest_t *watcher = house_connect(&house, GV_MQTT_V5, "watcher", false);
    guest_subscribe(watcher, "will", 1);
    guest_t *dying = house_visit(&house, GV_MQTT_V5);
    guest_connect(dying, (gv_mqtt_connect_t){.client_id = gv_bytes_text("dying"),
                                             .clean_start = true,
                                             .has_will = true,
                                             .will = {.topic = gv_bytes_text("will"),
                                                      .payload = gv_bytes_text("gone"),
                                                      .qos = 1}});
    drain();
    for (uint16_t i = 0; i < house.shard_count; i++) {
        gv_shard_undrain(house.shards[i]);
    }
    watcher = house_visit(&house, GV_MQTT_V5);
    gv_mqtt_connect_t again = {.client_id = gv_bytes_text("watcher")};
    gv_mqtt_props_set_number(&again.props, GV_MQTT_PROP_SESSION_EXPIRY, GV_EXPIRY_NEVER);
    guest_connect(watcher, again);
    ck_assert_str_eq(guest_next(watcher), "CONNACK 00 present");
    const char *will = guest_next(watcher); /* again, if it had come before the drain */
    ck_assert(strncmp(will, "PUBLISH will q1", 15) == 0);
    ck_assert_ptr_nonnull(strstr(will, "gone"));
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("drain");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, without_a_rate_all_go_at_once_and_are_told_where);
    tcase_add_test(tc, with_a_rate_they_go_one_after_the_other);
    tcase_add_test(tc, who_comes_meanwhile_is_sent_elsewhere);
    tcase_add_test(tc, an_undrain_keeps_who_is_still_there_and_takes_new_ones);
    tcase_add_test(tc, who_has_said_nothing_yet_stays_until_the_end);
    tcase_add_test(tc, shutting_down_has_no_reference_and_another_word_in_connack);
    tcase_add_test(tc, a_client_that_takes_small_packets_only_gets_the_reason_alone);
    tcase_add_test(tc, wills_are_published_and_sessions_stay);
    Suite *suite = suite_create("broker/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
