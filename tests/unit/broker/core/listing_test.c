/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/listing.h"

#include "house.h"

enum {
    GUESTS = 40
};

static house_t house;
static int seen[GUESTS]; /* how often, by the number at the end of the client id */
static int stop_before;  /* sessions that are shown in one slice; 0: as many as there are */
static gv_session_view_t last;

static void setup(void)
{
    house_open(&house, 2);
    memset(seen, 0, sizeof(seen));
    stop_before = 0;
    for (int i = 0; i < GUESTS; i++) {
        char id[16];
        (void)snprintf(id, sizeof(id), "guest%d", i);
        (void)house_connect(&house, GV_MQTT_V5, id, true);
    }
}

static void teardown(void)
{
    house_close(&house);
}

static int number_of(gv_bytes_t id)
{
    char text[16] = "";
    ck_assert_uint_lt(id.size, sizeof(text));
    memcpy(text, id.data, id.size);
    return atoi(text + strlen("guest"));
}

static bool on_session(const gv_session_view_t *session, void *arg)
{
    int *left = arg;
    if (left != NULL && (*left)-- == 0) {
        return false;
    }
    last = *session;
    seen[number_of(session->client_id)]++;
    return true;
}

/* All slices of all shards; returns how many there were. */
static int list_all(uint32_t visits_max)
{
    int slices = 0;
    for (uint16_t i = 0; i < house.shard_count; i++) {
        uint64_t cursor = 0;
        bool is_end = false;
        while (!is_end) {
            int left = stop_before;
            slices++;
            is_end = gv_shard_list_sessions(house.shards[i], &cursor, visits_max, on_session,
                                            stop_before > 0 ? &left : NULL);
        }
    }
    return slices;
}

static void check_each_seen(int times)
{
    for (int i = 0; i < GUESTS; i++) {
        ck_assert_int_eq(seen[i], times);
    }
}

START_TEST(each_session_is_shown_once_however_thin_the_slices)
{
    ck_assert_int_eq(list_all(1000), house.shard_count);
    check_each_seen(1);
    ck_assert_int_eq(list_all(1), GUESTS + house.shard_count);
    check_each_seen(2);
    stop_before = 3;
    ck_assert_int_ge(list_all(1000), GUESTS / 3);
    check_each_seen(3);
}
END_TEST

START_TEST(a_shard_without_sessions_ends_at_once_wherever_one_begins)
{
    uint64_t cursor = UINT64_MAX;
    (void)gv_shard_list_sessions(house.shards[0], &cursor, 1000, on_session, NULL);
    house_close(&house);
    house_open(&house, 2);
    ck_assert(gv_shard_list_sessions(house.shards[0], &cursor, 1, on_session, NULL));
    cursor = 0;
    ck_assert(gv_shard_list_sessions(house.shards[0], &cursor, 1, on_session, NULL));
}
END_TEST

START_TEST(who_is_away_is_shown_with_what_waits_for_him)
{
    guest_t *guest = house_visit(&house, GV_MQTT_V5);
    gv_mqtt_connect_t connect = {
        .client_id = GV_BYTES_LITERAL("guest7"), .clean_start = true, .keep_alive_s = 9};
    gv_mqtt_props_set_number(&connect.props, GV_MQTT_PROP_SESSION_EXPIRY, 100);
    guest_connect(guest, connect); /* takes over */
    ck_assert_str_eq(guest_next(guest), "CONNACK 00");
    guest_subscribe(guest, "q", 1);
    house_settle(&house);
    gv_shard_t *home = house.shards[guest->shard];
    ck_assert(gv_shard_show_session(home, GV_BYTES_LITERAL("guest7"), on_session, NULL));
    ck_assert(last.is_connected);
    ck_assert_uint_eq(last.keep_alive_s, 9);
    ck_assert_uint_eq(last.expiry_s, 100);
    ck_assert_uint_eq(last.subscriptions, 1);
    ck_assert_ptr_nonnull(last.peer);
    house_pass(&house, 5000);
    guest_leave(guest);
    house_settle(&house);
    uint64_t left_ms = house_realtime(&house);
    house_pass(&house, 5000);
    guest_t *publisher = house_connect(&house, GV_MQTT_V5, "guest8", true);
    guest_publish(publisher, "q", "x", 1, false);
    house_settle(&house);
    ck_assert(gv_shard_show_session(home, GV_BYTES_LITERAL("guest7"), on_session, NULL));
    ck_assert(!last.is_connected);
    ck_assert_ptr_null(last.peer);
    ck_assert_uint_eq(last.queued, 1);
    ck_assert_uint_eq(last.inflight, 0);
    ck_assert_uint_eq(last.left_ms, left_ms);
    ck_assert(!gv_shard_show_session(home, GV_BYTES_LITERAL("guest"), on_session, NULL));
}
END_TEST

/* ---- subscriptions --------------------------------------------------------------------------- */

static int shown;

static bool on_subscription(const gv_subscription_view_t *subscription, void *arg)
{
    int *left = arg;
    if (left != NULL && (*left)-- == 0) {
        return false;
    }
    shown++;
    seen[number_of(subscription->client_id)]++;
    return true;
}

static void list_subscriptions(const char *client_id, const char *filter, uint32_t visits_max)
{
    const gv_subscription_query_t query = {.client_id = gv_bytes_text(client_id),
                                           .filter = gv_bytes_text(filter)};
    memset(seen, 0, sizeof(seen));
    shown = 0;
    for (uint16_t i = 0; i < house.shard_count; i++) {
        uint64_t cursor = 0;
        bool is_end = false;
        for (int slices = 0; !is_end; slices++) {
            int left = stop_before;
            ck_assert_int_lt(slices, 10000);
            is_end = gv_shard_list_subscriptions(house.shards[i], &query, &cursor, visits_max,
                                                 on_subscription, stop_before > 0 ? &left : NULL);
        }
    }
}

/* Whatever the slices are. */
static void check_subscriptions(const char *client_id, const char *filter, int expected)
{
    for (uint32_t visits_max = 1; visits_max <= 1000; visits_max = visits_max * 3 + 1) {
        for (stop_before = 0; stop_before < 3; stop_before++) {
            list_subscriptions(client_id, filter, visits_max);
            ck_assert_int_eq(shown, expected);
        }
    }
}

START_TEST(each_subscription_is_shown_once_however_thin_the_slices)
{
    for (size_t i = 0; i < house.guest_count; i++) {
        char own[16];
        (void)snprintf(own, sizeof(own), "own/%zu", i);
        guest_subscribe(house.guests[i], "all", 0);
        guest_subscribe(house.guests[i], own, 1);
    }
    for (int i = 0; i < 20; i++) {
        char more[16];
        (void)snprintf(more, sizeof(more), "more/%d", i);
        guest_subscribe(house.guests[0], more, 1);
    }
    check_subscriptions("", "", 2 * GUESTS + 20);
    ck_assert_int_eq(seen[0], 22);
    ck_assert_int_eq(seen[GUESTS - 1], 2);
    check_subscriptions("", "all", GUESTS);
    check_each_seen(1);
    check_subscriptions("guest0", "", 22);
    ck_assert_int_eq(seen[0], 22);
    check_subscriptions("guest1", "", 2);
    check_subscriptions("guest0", "all", 1);
    check_subscriptions("guest0", "own/1", 0);
    check_subscriptions("nobody", "", 0);
    check_subscriptions("", "nothing", 0);
}
END_TEST

START_TEST(a_cursor_from_anywhere_ends_somewhere)
{
    guest_subscribe(house.guests[0], "a", 0);
    static const uint64_t cursors[] = {
        1, UINT32_MAX, (uint64_t)1 << 32, (uint64_t)1 << 63, (uint64_t)1 << 63 | 5, UINT64_MAX};
    const gv_subscription_query_t queries[] = {
        {.client_id = {.size = 0}},
        {.client_id = GV_BYTES_LITERAL("guest0")},
        {.filter = GV_BYTES_LITERAL("a")},
    };
    for (size_t i = 0; i < sizeof(cursors) / sizeof(cursors[0]); i++) {
        for (size_t j = 0; j < sizeof(queries) / sizeof(queries[0]); j++) {
            uint64_t cursor = cursors[i];
            shown = 0;
            ck_assert(gv_shard_list_subscriptions(house.shards[0], &queries[j], &cursor, 1000,
                                                  on_subscription, NULL));
            ck_assert_int_le(shown, 1);
        }
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("listing");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, each_session_is_shown_once_however_thin_the_slices);
    tcase_add_test(tc, a_shard_without_sessions_ends_at_once_wherever_one_begins);
    tcase_add_test(tc, who_is_away_is_shown_with_what_waits_for_him);
    tcase_add_test(tc, each_subscription_is_shown_once_however_thin_the_slices);
    tcase_add_test(tc, a_cursor_from_anywhere_ends_somewhere);
    Suite *suite = suite_create("broker/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
