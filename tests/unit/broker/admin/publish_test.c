/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/admin/publish.h"

#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "proto/mqtt/packet.h"
#include "tests/unit/broker/admin/rig.h"

static gv_publish_request_t request;
static gv_error_text_t error;

static bool parse(const char *body)
{
    error.text[0] = '\0';
    return gv_publish_request_parse(gv_bytes_text(body), &request, &error);
}

static void check_bytes(gv_bytes_t actual, const char *expected, size_t size)
{
    ck_assert_uint_eq(actual.size, size);
    ck_assert(memcmp(actual.data, expected, size) == 0);
}

START_TEST(a_message_needs_a_topic_and_a_payload_only)
{
    ck_assert_msg(parse("{\"topic\": \"a/b\", \"payload\": \"x\\u0000y\"}"), "%s", error.text);
    check_bytes(request.topic, "a/b", 3);
    check_bytes(request.payload, "x\0y", 3);
    check_bytes(request.props, "\0", 1);
    ck_assert_uint_eq(request.qos, 0);
    ck_assert(!request.retain);
    gv_publish_request_deinit(&request);
    gv_publish_request_deinit(&request);
}
END_TEST

START_TEST(all_that_a_message_may_have_is_taken)
{
    ck_assert_msg(
        parse("{\"topic\": \"t\", \"payload\": \"AP8=\", \"payload_encoding\": \"base64\","
              " \"qos\": 2, \"retain\": true, \"properties\": {\"message_expiry_interval\": 9,"
              " \"user_properties\": {\"a\": \"1\", \"b\": \"\"}, \"correlation_data\": \"c\"}}"),
        "%s", error.text);
    check_bytes(request.payload, "\0\xff", 2);
    ck_assert_uint_eq(request.qos, 2);
    ck_assert(request.retain);
    gv_reader_t r = gv_reader(request.props);
    gv_mqtt_props_t props;
    gv_mqtt_reason_t reason;
    ck_assert_int_eq(gv_mqtt_props_decode(&r, GV_MQTT_PUBLISH, &props, &reason), GV_OK);
    ck_assert_uint_eq(gv_reader_left(&r), 0);
    ck_assert_uint_eq(props.message_expiry_s, 9);
    check_bytes(props.correlation_data, "c", 1);
    gv_reader_t block = gv_reader(props.raw);
    gv_bytes_t name, value;
    ck_assert(gv_mqtt_user_property_next(&block, &name, &value));
    check_bytes(name, "a", 1);
    check_bytes(value, "1", 1);
    ck_assert(gv_mqtt_user_property_next(&block, &name, &value));
    check_bytes(name, "b", 1);
    ck_assert_uint_eq(value.size, 0);
    gv_publish_request_deinit(&request);
}
END_TEST

START_TEST(what_is_wrong_is_named)
{
    static const struct {
        const char *body, *part;
    } bad[] = {
        {"", "not JSON"},
        {"[1]", "expected a JSON object"},
        {"{}", "topic: expected"},
        {"{\"topic\": \"a\"}", "payload: expected"},
        {"{\"topic\": \"a\", \"payload\": \"\", \"dup\": 1}", "dup: there is no such key"},
        {"{\"topic\": \"\", \"payload\": \"\"}", "topic: empty"},
        {"{\"topic\": \"a\", \"payload\": \"x\", \"payload_encoding\": \"base64\"}", "base64"},
        {"{\"topic\": \"a\", \"payload\": \"x\", \"qos\": 1.5}", "qos:"},
        {"{\"topic\": \"a\", \"payload\": \"x\", \"properties\": {\"qos\": 1}}", "properties.qos:"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert(!parse(bad[i].body));
        ck_assert_msg(strstr(error.text, bad[i].part) != NULL, "%s: %s", bad[i].body, error.text);
        gv_publish_request_deinit(&request);
    }
}
END_TEST

/* ---- the endpoint --------------------------------------------------------------------------- */

static gv_err_t err;
static gv_mqtt_reason_t answer;

static void publish(void *arg, const gv_publish_request_t *message, gv_publish_done_cb_t *done,
                    void *done_arg)
{
    gv_loop_assert_current(loop);
    ck_assert_str_eq(arg, "node");
    check_bytes(message->topic, "a", 1);
    done(err, answer, done_arg);
}

static const gv_publish_ops_t ops = {.publish = publish, .arg = (void *)(uintptr_t) "node"};

static void open_admin(void)
{
    gv_loop_assert_current(loop);
    rig_open_admin();
    gv_admin_add_publish_routes(admin, &ops);
}

static void expect(gv_err_t the_err, gv_mqtt_reason_t the_answer, const char *status,
                   const char *part)
{
    err = the_err;
    answer = the_answer;
    static const char body[] = "{\"topic\": \"a\", \"payload\": \"x\"}";
    char text[4096];
    int fd = rig_connect();
    int size = snprintf(text, sizeof(text),
                        "POST /api/v1/publish HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                        "Content-Length: %zu\r\n\r\n%s",
                        sizeof(body) - 1, body);
    ck_assert_int_eq(send(fd, text, (size_t)size, MSG_NOSIGNAL), size);
    size_t got = 0;
    for (ssize_t n; (n = recv(fd, text + got, sizeof(text) - 1 - got, 0)) > 0;) {
        got += (size_t)n;
    }
    text[got] = '\0';
    close(fd);
    ck_assert_msg(strncmp(text + strlen("HTTP/1.1 "), status, 3) == 0 && strstr(text, part) != NULL,
                  "expected %s with %s, got\n%s", status, part, text);
}

START_TEST(an_answer_says_how_it_went)
{
    rig_start_loop();
    on_loop_do(open_admin);
    expect(GV_OK, GV_MQTT_SUCCESS, "200", "\"reason_code\": 0");
    expect(GV_OK, GV_MQTT_NO_MATCHING_SUBSCRIBERS, "202", "no matching subscribers");
    expect(GV_OK, GV_MQTT_NOT_AUTHORIZED, "400", "0x87, not authorized");
    expect(GV_OK, GV_MQTT_QUOTA_EXCEEDED, "503", "NO_ROOM");
    expect(GV_OK, GV_MQTT_UNSPECIFIED_ERROR, "503", "0x80");
    expect(GV_ERR_BUSY, GV_MQTT_SUCCESS, "503", "BUSY");
    expect(GV_ERR_CLOSED, GV_MQTT_SUCCESS, "503", "SHUTTING_DOWN");
    on_loop_do(rig_close_admin);
    rig_stop_loop();
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("publish");
    tcase_add_test(tc, a_message_needs_a_topic_and_a_payload_only);
    tcase_add_test(tc, all_that_a_message_may_have_is_taken);
    tcase_add_test(tc, what_is_wrong_is_named);
    tcase_add_test(tc, an_answer_says_how_it_went);
    Suite *suite = suite_create("broker/admin");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
