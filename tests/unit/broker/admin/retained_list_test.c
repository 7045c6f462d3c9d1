/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/admin/retained_list.h"

#include <stdlib.h>

#include <check.h>

#include "proto/mqtt/props.h"

static void check_json(const gv_retained_view_t *message, bool with_all, const char *expected)
{
    json_t *object = gv_retained_json(message, "n", with_all);
    char *text = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);
    ck_assert_str_eq(text, expected);
    free(text);
    json_decref(object);
}

START_TEST(a_row_has_no_payload)
{
    gv_retained_view_t message = {.topic = GV_BYTES_LITERAL("a/b"),
                                  .payload = {.size = 7},
                                  .expires_at_ms = 1700000000005,
                                  .qos = 1};
    check_json(&message, false,
               "{\"expires_at\":\"2023-11-14T22:13:20.005Z\",\"node\":\"n\",\"payload_size\":7,"
               "\"qos\":1,\"topic\":\"a/b\"}");
}
END_TEST

START_TEST(properties_have_the_names_that_publish_takes)
{
    uint8_t block[200];
    uint8_t user[40];
    gv_writer_t user_writer = gv_writer(user, sizeof(user));
    gv_mqtt_user_property_write(&user_writer, GV_BYTES_LITERAL("k"), GV_BYTES_LITERAL("v"));
    gv_mqtt_props_t props = GV_MQTT_PROPS_NONE;
    gv_mqtt_props_set_number(&props, GV_MQTT_PROP_PAYLOAD_FORMAT, 1);
    gv_mqtt_props_set_bytes(&props, GV_MQTT_PROP_CONTENT_TYPE, GV_BYTES_LITERAL("t"));
    gv_mqtt_props_set_bytes(&props, GV_MQTT_PROP_RESPONSE_TOPIC, GV_BYTES_LITERAL("r"));
    gv_mqtt_props_set_bytes(&props, GV_MQTT_PROP_CORRELATION_DATA, GV_BYTES_LITERAL("c\xff"));
    props.appended = gv_bytes(user, sizeof(user) - gv_writer_left(&user_writer));
    gv_writer_t w = gv_writer(block, sizeof(block));
    gv_mqtt_props_write(&props, &w);
    gv_retained_view_t message = {
        .topic = GV_BYTES_LITERAL("a"),
        .payload = GV_BYTES_LITERAL("x"),
        .props = gv_bytes(block + 1, sizeof(block) - gv_writer_left(&w) - 1), /* its length */
    };
    check_json(
        &message, true,
        "{\"expires_at\":null,\"node\":\"n\",\"payload\":\"eA==\",\"payload_encoding\":"
        "\"base64\",\"payload_size\":1,\"properties\":{\"content_type\":\"t\","
        "\"correlation_data\":\"c\\\\xff\",\"payload_format_indicator\":1,"
        "\"response_topic\":\"r\",\"user_properties\":{\"k\":\"v\"}},\"qos\":0,\"topic\":\"a\"}");
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("retained_list");
    tcase_add_test(tc, a_row_has_no_payload);
    tcase_add_test(tc, properties_have_the_names_that_publish_takes);
    Suite *suite = suite_create("broker/admin");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
