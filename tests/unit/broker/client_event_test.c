/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/client_event.h"

#include <stdio.h>
#include <stdlib.h>

#include <check.h>

#include "base/alloc.h"

static void expect(const gv_presence_t *presence, const char *expected)
{
    char *text = gv_client_event_json(presence, "n1", 1700000000123);
    ck_assert_str_eq(text, expected);
    gv_free(text);
}

START_TEST(a_client_that_comes)
{
    gv_presence_t presence = {
        .is_connected = true,
        .client_id = gv_bytes_text("sensor \"7\""),
        .has_username = true,
        .username = gv_bytes_text("nina"),
        .peer = "10.1.2.3:4711",
        .port = 1883,
        .version = GV_MQTT_V5,
        .keep_alive_s = 60,
        .expiry_s = 300,
        .clean_start = true,
    };
    expect(&presence,
           "{\"node\":\"n1\",\"clientid\":\"sensor \\\"7\\\"\",\"ipaddress\":\"10.1.2.3\","
           "\"sockport\":1883,\"proto_name\":\"MQTT\",\"proto_ver\":5,"
           "\"username\":\"nina\",\"keepalive\":60,\"clean_start\":true,"
           "\"expiry_interval\":300,\"connack\":0,\"connected_at\":1700000000123,"
           "\"ts\":1700000000123}");
    presence.has_username = false;
    presence.version = GV_MQTT_V31;
    presence.peer = "[2001:db8::1]:99";
    presence.clean_start = false;
    expect(&presence, "{\"node\":\"n1\",\"clientid\":\"sensor \\\"7\\\"\","
                      "\"ipaddress\":\"2001:db8::1\",\"sockport\":1883,\"proto_name\":\"MQIsdp\","
                      "\"proto_ver\":3,\"username\":null,\"keepalive\":60,\"clean_start\":false,"
                      "\"expiry_interval\":300,\"connack\":0,\"connected_at\":1700000000123,"
                      "\"ts\":1700000000123}");
}
END_TEST

START_TEST(a_client_that_goes)
{
    static const struct {
        gv_mqtt_reason_t reason;
        bool is_lost;
        const char *word;
    } ends[] = {
        {GV_MQTT_SUCCESS, false, "normal"},
        {GV_MQTT_SUCCESS, true, "tcp_closed"},
        {GV_MQTT_KEEP_ALIVE_TIMEOUT, false, "keepalive_timeout"},
        {GV_MQTT_SESSION_TAKEN_OVER, false, "takenover"},
        {GV_MQTT_ADMINISTRATIVE_ACTION, false, "kicked"},
        {GV_MQTT_PACKET_TOO_LARGE, false, "packet_too_large"},
    };
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        gv_presence_t presence = {
            .client_id = gv_bytes_text("a"),
            .peer = "unix",
            .version = GV_MQTT_V311,
            .reason = ends[i].reason,
            .is_lost = ends[i].is_lost,
        };
        char expected[300];
        (void)snprintf(
            expected, sizeof(expected),
            "{\"node\":\"n1\",\"clientid\":\"a\",\"ipaddress\":\"unix\","
            "\"proto_name\":\"MQTT\",\"proto_ver\":4,\"username\":null,\"reason\":\"%s\","
            "\"disconnected_at\":1700000000123,\"ts\":1700000000123}",
            ends[i].word);
        expect(&presence, expected);
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("client_event");
    tcase_add_test(tc, a_client_that_comes);
    tcase_add_test(tc, a_client_that_goes);
    Suite *suite = suite_create("broker");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
