/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/shard_p.h"

#include "house.h"

static house_t house;
static guest_t *watcher;
static guest_t *guest;
static bool was_connected;

/* A guest with a session that stays and a will that waits. */
static void setup(void)
{
    house_open(&house, 2);
    watcher = house_connect(&house, GV_MQTT_V5, "watcher", true);
    guest_subscribe(watcher, "will", 0);
    guest = house_visit(&house, GV_MQTT_V5);
    gv_mqtt_connect_t connect = {.client_id = GV_BYTES_LITERAL("guest"), .clean_start = true};
    gv_mqtt_props_set_number(&connect.props, GV_MQTT_PROP_SESSION_EXPIRY, 100);
    connect.has_will = true;
    connect.will.topic = GV_BYTES_LITERAL("will");
    connect.will.payload = GV_BYTES_LITERAL("gone");
    gv_mqtt_props_set_number(&connect.will.props, GV_MQTT_PROP_WILL_DELAY, 50);
    guest_connect(guest, connect);
    ck_assert_str_eq(guest_next(guest), "CONNACK 00");
    guest_subscribe(guest, "q", 1);
    house_settle(&house);
    while (guest_next(guest)[0] != '\0' || guest_next(watcher)[0] != '\0') {
    }
}

static void teardown(void)
{
    house_close(&house);
}

static gv_err_t kick(const char *id, bool keep_session)
{
    uint16_t home = gv_shard_home(gv_bytes_text(id), house.shards[0]->hash_seed, house.shard_count);
    gv_err_t err =
        gv_shard_kick(house.shards[home], gv_bytes_text(id), keep_session, &was_connected);
    house_settle(&house);
    return err;
}

static gv_session_t *session(void)
{
    return gv_session_find(house.shards[guest->shard], GV_BYTES_LITERAL("guest"));
}

START_TEST(a_kick_ends_connection_and_session_and_the_will_does_not_wait)
{
    ck_assert_int_eq(kick("guest", false), GV_OK);
    ck_assert(was_connected);
    ck_assert_str_eq(guest_next(guest), "DISCONNECT 98");
    ck_assert(guest->is_gone);
    ck_assert_ptr_null(session());
    ck_assert_str_eq(guest_next(watcher), "PUBLISH will q0 gone");
    ck_assert_int_eq(kick("guest", false), GV_ERR_NOENT);
    ck_assert(!was_connected);
}
END_TEST

START_TEST(a_session_that_is_kept_waits_for_its_client_and_the_will_for_its_delay)
{
    ck_assert_int_eq(kick("guest", true), GV_OK);
    ck_assert_str_eq(guest_next(guest), "DISCONNECT 98");
    ck_assert_ptr_nonnull(session());
    ck_assert_str_eq(guest_next(watcher), "");
    guest_publish(watcher, "q", "waits", 1, false);
    house_settle(&house);
    house_pass(&house, 51000);
    ck_assert_str_eq(guest_next(watcher), "PUBACK 2 00");
    ck_assert_str_eq(guest_next(watcher), "PUBLISH will q0 gone");
    ck_assert_int_eq(kick("guest", true), GV_OK);
    ck_assert(!was_connected);
    ck_assert_ptr_nonnull(session());
    ck_assert_int_eq(kick("guest", false), GV_OK);
    ck_assert_ptr_null(session());
    ck_assert_str_eq(guest_next(watcher), "");
}
END_TEST

START_TEST(a_session_that_ends_with_its_connection_is_not_kept)
{
    (void)house_connect(&house, GV_MQTT_V311, "old", true);
    ck_assert_int_eq(kick("old", true), GV_OK);
    ck_assert(was_connected);
    ck_assert_int_eq(kick("old", true), GV_ERR_NOENT);
}
END_TEST

START_TEST(what_was_kicked_does_not_come_back_after_a_restart)
{
    ck_assert_int_eq(kick("guest", false), GV_OK);
    house_restart(&house);
    for (uint16_t i = 0; i < house.shard_count; i++) {
        ck_assert_ptr_null(gv_session_find(house.shards[i], GV_BYTES_LITERAL("guest")));
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("kick");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_kick_ends_connection_and_session_and_the_will_does_not_wait);
    tcase_add_test(tc, a_session_that_is_kept_waits_for_its_client_and_the_will_for_its_delay);
    tcase_add_test(tc, a_session_that_ends_with_its_connection_is_not_kept);
    tcase_add_test(tc, what_was_kicked_does_not_come_back_after_a_restart);
    Suite *suite = suite_create("broker/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
