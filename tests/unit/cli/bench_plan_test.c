/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/bench_plan.h"

#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "proto/mqtt/topic.h"

static gv_bench_options_t options;
static gv_bench_plan_t plan = {.options = &options, .run = "run"};

static void set(gv_bench_scenario_t scenario, uint32_t publishers, uint32_t subscribers)
{
    memset(&options, 0, sizeof(options));
    options.scenario = scenario;
    options.publishers = publishers;
    options.subscribers = subscribers;
}

/* Whether the filter, the part behind $share/group/ if it is shared, matches the topic. */
static bool matches(uint32_t filter, uint32_t publisher)
{
    char filter_text[GV_BENCH_TOPIC_SIZE];
    char topic[GV_BENCH_TOPIC_SIZE];
    (void)gv_bench_plan_filter(&plan, filter, filter_text);
    (void)gv_bench_plan_topic(&plan, publisher, topic);
    gv_mqtt_filter_t parts;
    ck_assert_int_eq(gv_mqtt_filter_parse(gv_bytes_text(filter_text), &parts), GV_OK);
    return gv_mqtt_topic_matches(gv_bytes_text(topic), parts.filter);
}

/* Every message reaches as many subscribers as the plan says, and those expect its publisher. */
static void check_deliveries(void)
{
    for (uint32_t publisher = 0; publisher < options.publishers; publisher++) {
        uint32_t copies = 0;
        for (uint32_t subscriber = 0; subscriber < options.subscribers; subscriber++) {
            gv_bench_range_t filters = gv_bench_plan_filters(&plan, subscriber);
            gv_bench_range_t sources = gv_bench_plan_sources(&plan, subscriber);
            for (uint32_t i = 0; i < filters.count; i++) {
                if (matches(filters.first + i, publisher)) {
                    copies++;
                    ck_assert_uint_lt(publisher - sources.first, sources.count);
                }
            }
        }
        bool is_shared = options.scenario == GV_BENCH_SHARED;
        ck_assert_uint_eq(is_shared ? copies / options.subscribers : copies,
                          gv_bench_plan_copies(&plan));
    }
}

START_TEST(messages_reach_whom_the_plan_says)
{
    set(GV_BENCH_FAN_IN, 7, 3);
    check_deliveries();
    set(GV_BENCH_FAN_OUT, 3, 7);
    check_deliveries();
    set(GV_BENCH_PAIRS, 5, 5);
    check_deliveries();
    set(GV_BENCH_SHARED, 4, 6);
    check_deliveries();
    set(GV_BENCH_SUBS, 250, 3);
    options.subscriptions = 250;
    options.wildcard_percent = 30;
    check_deliveries();
}
END_TEST

START_TEST(subscriptions_are_spread_without_a_rest_and_all_different)
{
    set(GV_BENCH_SUBS, 0, 7);
    options.subscriptions = 1000;
    options.wildcard_percent = 20;
    uint32_t next = 0;
    for (uint32_t i = 0; i < 7; i++) {
        gv_bench_range_t range = gv_bench_plan_filters(&plan, i);
        ck_assert_uint_eq(range.first, next);
        ck_assert_uint_ge(range.count, 1000 / 7);
        next += range.count;
    }
    ck_assert_uint_eq(next, 1000);
    ck_assert_uint_eq(gv_bench_plan_filter_count(&plan), 1000);
}
END_TEST

START_TEST(as_many_wildcards_as_wanted_of_both_kinds)
{
    for (uint32_t percent = 0; percent <= 100; percent += 10) {
        set(GV_BENCH_SUBS, 0, 1);
        options.subscriptions = 1000;
        options.wildcard_percent = percent;
        uint32_t plus = 0;
        uint32_t hash = 0;
        for (uint32_t i = 0; i < 1000; i++) {
            char text[GV_BENCH_TOPIC_SIZE];
            (void)gv_bench_plan_filter(&plan, i, text);
            plus += strchr(text, '+') != NULL ? 1 : 0;
            hash += strchr(text, '#') != NULL ? 1 : 0;
        }
        ck_assert_uint_eq(plus + hash, percent * 10);
        ck_assert_uint_eq(plus, hash);
    }
}
END_TEST

START_TEST(connections_without_messages)
{
    set(GV_BENCH_CONNECTIONS, 0, 10);
    ck_assert_uint_eq(gv_bench_plan_filter_count(&plan), 0);
    ck_assert_uint_eq(gv_bench_plan_filters(&plan, 3).count, 0);
    set(GV_BENCH_IDLE, 0, 10);
    ck_assert_uint_eq(gv_bench_plan_filter_count(&plan), 10);
    ck_assert_uint_eq(gv_bench_plan_filters(&plan, 3).count, 1);
    ck_assert_uint_eq(gv_bench_plan_sources(&plan, 3).count, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bench_plan");
    TCase *tc = tcase_create("all");
    tcase_add_test(tc, messages_reach_whom_the_plan_says);
    tcase_add_test(tc, subscriptions_are_spread_without_a_rest_and_all_different);
    tcase_add_test(tc, as_many_wildcards_as_wanted_of_both_kinds);
    tcase_add_test(tc, connections_without_messages);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
