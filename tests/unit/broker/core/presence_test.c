/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/shard_p.h"

#include "house.h"

static house_t house;
static guest_t *watcher;

static void setup(void)
{
    house_open(&house, 2);
    watcher = house_connect(&house, GV_MQTT_V5, "watcher", true);
}

static void teardown(void)
{
    house_close(&house);
}

static const char *told(void)
{
    static char last[sizeof(house.told)];
    memcpy(last, house.told, sizeof(last));
    house.told[0] = '\0';
    return last;
}

START_TEST(nobody_listens_and_nothing_is_told)
{
    guest_leave(house_connect(&house, GV_MQTT_V5, "a", true));
    guest_subscribe(watcher, "#", 0);
    guest_subscribe(watcher, "+/brokers/#", 0);
    guest_leave(house_connect(&house, GV_MQTT_V5, "a", true));
    ck_assert_str_eq(told(), "");
}
END_TEST

START_TEST(comings_and_goings_are_told_to_who_listens)
{
    guest_subscribe(watcher, "$SYS/brokers/+/clients/#", 0);
    guest_t *a = house_connect(&house, GV_MQTT_V311, "a", true);
    ck_assert_str_eq(told(), "$SYS/brokers/n1/clients/a/connected 00\n");
    guest_leave(a);
    ck_assert_str_eq(told(), "$SYS/brokers/n1/clients/a/disconnected 00 lost\n");
    guest_t *b = house_connect(&house, GV_MQTT_V5, "b", true);
    guest_send(b, "\xe0\x00", 2);
    ck_assert_str_eq(told(), "$SYS/brokers/n1/clients/b/connected 00\n"
                             "$SYS/brokers/n1/clients/b/disconnected 00\n");
}
END_TEST

START_TEST(only_what_somebody_wants_is_told)
{
    guest_subscribe(watcher, "$SYS/brokers/n1/clients/+/disconnected", 0);
    guest_leave(house_connect(&house, GV_MQTT_V5, "a", true));
    ck_assert_str_eq(told(), "$SYS/brokers/n1/clients/a/disconnected 00 lost\n");
    house.limits.client_events = false;
    guest_leave(house_connect(&house, GV_MQTT_V5, "a", true));
    ck_assert_str_eq(told(), "");
}
END_TEST

START_TEST(the_reason_is_told)
{
    guest_subscribe(watcher, "$SYS/brokers/+/clients/+/disconnected", 0);
    (void)house_connect(&house, GV_MQTT_V5, "a", true);
    (void)house_connect(&house, GV_MQTT_V5, "a", true);
    ck_assert_str_eq(told(), "$SYS/brokers/n1/clients/a/disconnected 8e\n");
    guest_t *rude = house_connect(&house, GV_MQTT_V5, "rude", true);
    guest_send(rude, "\x20\x00", 2);
    ck_assert_str_eq(told(), "$SYS/brokers/n1/clients/rude/disconnected 82\n");
}
END_TEST

/* A client may not make another topic, or a wildcard, of its name. */
START_TEST(odd_names_stay_one_level)
{
    guest_subscribe(watcher, "$SYS/brokers/+/clients/+/connected", 0);
    (void)house_connect(&house, GV_MQTT_V5, "a/b", true);
    (void)house_connect(&house, GV_MQTT_V5, "+#%", true);
    ck_assert_str_eq(told(), "$SYS/brokers/n1/clients/a%2Fb/connected 00\n"
                             "$SYS/brokers/n1/clients/%2B%23%25/connected 00\n");
}
END_TEST

START_TEST(a_long_name_needs_more_room_but_not_more_than_a_topic_has)
{
    static char id[40000];
    memset(id, 'x', 1000);
    guest_subscribe(watcher, "$SYS/brokers/+/clients/+/connected", 0);
    house.limits.client_id_size_max = 65535;
    id[1000] = '\0';
    (void)house_connect(&house, GV_MQTT_V5, id, true);
    ck_assert_uint_gt(strlen(told()), 1000);
    guest_t *long_one = house_visit(&house, GV_MQTT_V5);
    memset(id, '/', sizeof(id));
    uint8_t *bytes = gv_xalloc(sizeof(id) + 100);
    gv_mqtt_connect_t connect = {
        .version = GV_MQTT_V5, .client_id = gv_bytes(id, sizeof(id)), .clean_start = true};
    gv_writer_t w = gv_writer(bytes, sizeof(id) + 100);
    size_t size = gv_mqtt_encode_connect(&connect, &w);
    guest_send(long_one, bytes, size);
    gv_free(bytes);
    ck_assert_str_eq(guest_next(long_one), "CONNACK 00");
    ck_assert_str_eq(told(), "");
}
END_TEST

START_TEST(who_gives_a_name_is_told_with_it)
{
    guest_subscribe(watcher, "$SYS/brokers/+/clients/+/connected", 0);
    guest_t *named = house_visit(&house, GV_MQTT_V5);
    guest_connect(named, (gv_mqtt_connect_t){.client_id = gv_bytes_text("n"),
                                             .clean_start = true,
                                             .has_username = true,
                                             .username = gv_bytes_text("nina")});
    ck_assert_str_eq(told(), "$SYS/brokers/n1/clients/n/connected named 00\n");
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("presence");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, nobody_listens_and_nothing_is_told);
    tcase_add_test(tc, comings_and_goings_are_told_to_who_listens);
    tcase_add_test(tc, only_what_somebody_wants_is_told);
    tcase_add_test(tc, the_reason_is_told);
    tcase_add_test(tc, odd_names_stay_one_level);
    tcase_add_test(tc, a_long_name_needs_more_room_but_not_more_than_a_topic_has);
    tcase_add_test(tc, who_gives_a_name_is_told_with_it);
    Suite *suite = suite_create("broker/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
