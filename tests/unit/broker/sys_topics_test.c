/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/sys_topics.h"

#include <stdio.h>
#include <stdlib.h>

#include <check.h>

/* What the last report said of one topic; empty if it said nothing. */
static const char *wanted;
static char heard[64];
static int count;

static void on_topic(gv_bytes_t topic, gv_bytes_t payload, void *arg)
{
    (void)arg;
    count++;
    ck_assert(gv_bytes_has_prefix(topic, GV_BYTES_LITERAL("$SYS/broker/")));
    if (gv_bytes_equal(gv_bytes(topic.data + 12, topic.size - 12), gv_bytes_text(wanted))) {
        (void)snprintf(heard, sizeof(heard), "%.*s", (int)payload.size, (const char *)payload.data);
    }
}

static const char *report(gv_sys_topics_t *topics, const gv_status_t *status, uint64_t now_ms,
                          const char *name)
{
    wanted = name;
    heard[0] = '\0';
    count = 0;
    gv_sys_topics_report(topics, status, now_ms, on_topic, NULL);
    return heard;
}

START_TEST(only_what_has_changed_is_said)
{
    gv_sys_topics_t *topics = NULL;
    gv_sys_topics_new(&topics);
    gv_status_t status = {.version = "1.2", .sessions = 5, .connections = 3, .received = {1, 2, 3}};
    ck_assert_str_eq(report(topics, &status, 1000, "clients/disconnected"), "2");
    ck_assert_int_gt(count, 20);
    ck_assert_str_eq(report(topics, &status, 1000, "version"), "");
    ck_assert_int_eq(count, 0);
    status.connections = 4;
    ck_assert_str_eq(report(topics, &status, 1000, "clients/connected"), "4");
    status.connections = 1;
    ck_assert_str_eq(report(topics, &status, 1000, "clients/maximum"), "");
    status.received[1] = 10;
    ck_assert_str_eq(report(topics, &status, 1000, "publish/messages/received"), "14");
    gv_sys_topics_free(&topics);
}
END_TEST

START_TEST(clients_that_met_a_rate_limit_are_counted)
{
    gv_sys_topics_t *topics = NULL;
    gv_sys_topics_new(&topics);
    const gv_status_counter_t counters[] = {{.name = "publishers_paced_total", .value = 3},
                                            {.name = "connects_rate_refused_total", .value = 4}};
    gv_status_t status = {
        .version = "1.2", .connections_refused = 5, .counters = counters, .counter_count = 2};
    ck_assert_str_eq(report(topics, &status, 1000, "clients/paced"), "3");
    gv_sys_topics_free(&topics);
    gv_sys_topics_new(&topics);
    ck_assert_str_eq(report(topics, &status, 1000, "clients/rate_refused"), "4");
    gv_sys_topics_free(&topics);
    gv_sys_topics_new(&topics);
    ck_assert_str_eq(report(topics, &status, 1000, "clients/refused"), "5");
    gv_sys_topics_free(&topics);
}
END_TEST

START_TEST(packets_of_all_kinds_and_what_is_stored)
{
    const gv_status_counter_t counters[] = {
        {.name = "packets_received_total", .value = 100},
        {.name = "answers_sent_total", .value = 50},
        {.name = "received_payload_bytes_total", .value = 640},
        {.name = "sent_payload_bytes_total", .value = 1280},
        {.name = "shared_subscriptions", .value = 7},
        {.name = "sessions_expired_total", .value = 8},
        {.name = "retained_bytes", .value = 900},
    };
    gv_status_t status = {.version = "1.2",
                          .sent = {1, 2, 3},
                          .retained = 4,
                          .queued_messages = 5,
                          .log = {.queued_bytes = 100},
                          .memory = {.in_use_bytes = 5000},
                          .counters = counters,
                          .counter_count = sizeof(counters) / sizeof(counters[0])};
    static const char *const expected[][2] = {
        {"messages/received", "100"},     {"messages/sent", "56"},
        {"messages/stored", "9"},         {"store/messages/count", "9"},
        {"store/messages/bytes", "1000"}, {"publish/bytes/received", "640"},
        {"publish/bytes/sent", "1280"},   {"shared_subscriptions/count", "7"},
        {"clients/expired", "8"},         {"heap/current", "5000"},
        {"heap/maximum", "5000"},
    };
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        gv_sys_topics_t *topics = NULL;
        gv_sys_topics_new(&topics);
        ck_assert_str_eq(report(topics, &status, 1000, expected[i][0]), expected[i][1]);
        gv_sys_topics_free(&topics);
    }
}
END_TEST

START_TEST(loads_are_per_minute_and_fade)
{
    gv_sys_topics_t *topics = NULL;
    gv_sys_topics_new(&topics);
    gv_status_t status = {.version = "1.2", .connections_total = 1000};
    /* What was there before the first report is not load. */
    ck_assert_str_eq(report(topics, &status, 1000, "load/connections/1min"), "0.00");
    for (uint64_t s = 0; s < 3600; s += 10) {
        status.connections_total += 10; /* one a second */
        (void)report(topics, &status, 1000 + (s + 10) * 1000, "load/connections/15min");
    }
    ck_assert_double_eq_tol(atof(report(topics, &status, 3611000, "load/connections/15min")), 59,
                            2);
    (void)report(topics, &status, 3911000, "load/connections/1min");
    ck_assert_double_lt(atof(heard), 1);
    gv_sys_topics_free(&topics);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("sys_topics");
    tcase_add_test(tc, only_what_has_changed_is_said);
    tcase_add_test(tc, clients_that_met_a_rate_limit_are_counted);
    tcase_add_test(tc, packets_of_all_kinds_and_what_is_stored);
    tcase_add_test(tc, loads_are_per_minute_and_fade);
    Suite *suite = suite_create("broker");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
