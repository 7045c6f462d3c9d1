/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/admin/clients.h"

#include <stdlib.h>

#include <check.h>

static gv_session_view_t alice(void)
{
    return (gv_session_view_t){
        .client_id = GV_BYTES_LITERAL("plant/alice"),
        .username = GV_BYTES_LITERAL("al"),
        .peer = "[::1]:4711",
        .version = GV_MQTT_V5,
        .expiry_s = UINT32_MAX,
        .keep_alive_s = 60,
        .queued = 3,
        .is_connected = true,
    };
}

static bool takes(gv_client_filter_t filter)
{
    gv_session_view_t session = alice();
    return gv_client_filter_takes(&filter, &session);
}

START_TEST(a_filter_takes_what_is_all_that_it_says)
{
    ck_assert(takes((gv_client_filter_t){.has_state = false}));
    ck_assert(takes((gv_client_filter_t){.client_id = GV_BYTES_LITERAL("plant/alice")}));
    ck_assert(!takes((gv_client_filter_t){.client_id = GV_BYTES_LITERAL("plant/")}));
    ck_assert(takes((gv_client_filter_t){.like = GV_BYTES_LITERAL("t/al")}));
    ck_assert(takes((gv_client_filter_t){.like = GV_BYTES_LITERAL("plant/alice")}));
    ck_assert(!takes((gv_client_filter_t){.like = GV_BYTES_LITERAL("plant/alice!")}));
    ck_assert(takes((gv_client_filter_t){.username = GV_BYTES_LITERAL("al")}));
    ck_assert(!takes((gv_client_filter_t){.username = GV_BYTES_LITERAL("a")}));
    ck_assert(takes((gv_client_filter_t){.has_state = true, .is_connected = true}));
    ck_assert(!takes((gv_client_filter_t){.has_state = true}));
    ck_assert(!takes(
        (gv_client_filter_t){.username = GV_BYTES_LITERAL("al"), .like = GV_BYTES_LITERAL("bob")}));
}
END_TEST

static void check_text(const json_t *object, const char *key, const char *expected)
{
    const json_t *value = json_object_get(object, key);
    if (expected == NULL) {
        ck_assert_msg(json_is_null(value), "%s", key);
    } else {
        ck_assert_msg(json_is_string(value), "%s", key);
        ck_assert_str_eq(json_string_value(value), expected);
    }
}

START_TEST(addresses_are_taken_apart)
{
    static const struct {
        const char *peer, *address;
        int port;
    } peers[] = {{"[::1]:4711", "::1", 4711},  {"10.0.0.1:1", "10.0.0.1", 1}, {"unix", "unix", -1},
                 {"/run/a:b", "/run/a:b", -1}, {"a:99999", "a:99999", -1},    {NULL, NULL, -1}};
    for (size_t i = 0; i < sizeof(peers) / sizeof(peers[0]); i++) {
        gv_session_view_t session = alice();
        session.peer = peers[i].peer;
        json_t *object = gv_client_json(&session, "n");
        check_text(object, "ip_address", peers[i].address);
        const json_t *port = json_object_get(object, "port");
        ck_assert(peers[i].port < 0 ? json_is_null(port)
                                    : json_integer_value(port) == peers[i].port);
        json_decref(object);
    }
}
END_TEST

START_TEST(who_is_away_has_a_time_and_no_connection)
{
    gv_session_view_t session = alice();
    session.is_connected = false;
    session.peer = NULL;
    session.left_ms = 1700000000005;
    json_t *object = gv_client_json(&session, "n");
    check_text(object, "clientid", "plant/alice");
    check_text(object, "username", "al");
    check_text(object, "disconnected_at", "2023-11-14T22:13:20.005Z");
    check_text(object, "keepalive", NULL);
    check_text(object, "proto_ver", NULL);
    ck_assert_int_eq(json_integer_value(json_object_get(object, "expiry_interval")), UINT32_MAX);
    ck_assert_int_eq(json_integer_value(json_object_get(object, "mqueue_len")), 3);
    json_decref(object);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("clients");
    tcase_add_test(tc, a_filter_takes_what_is_all_that_it_says);
    tcase_add_test(tc, addresses_are_taken_apart);
    tcase_add_test(tc, who_is_away_has_a_time_and_no_connection);
    Suite *suite = suite_create("broker/admin");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
