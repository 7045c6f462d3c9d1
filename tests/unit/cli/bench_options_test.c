/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/bench_options.h"

#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "base/alloc.h"

static gv_bench_options_t options;
static char problem[256];

/* `line` is what follows "grapevine", split at spaces. */
static gv_err_t parse(const char *line)
{
    static char copy[512];
    static char *argv[48];
    int argc = 0;
    ck_assert_uint_lt(strlen(line), sizeof(copy));
    memcpy(copy, line, strlen(line) + 1);
    char *rest;
    for (char *word = strtok_r(copy, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        argv[argc++] = word;
    }
    argv[argc] = NULL;
    char *text;
    gv_err_t err = gv_bench_options_parse(argc, argv, &options, &text);
    (void)snprintf(problem, sizeof(problem), "%s", text != NULL ? text : "");
    ck_assert_int_eq(text == NULL, err == GV_OK);
    gv_free(text);
    return err;
}

static void refuses(const char *line, const char *why)
{
    ck_assert_int_eq(parse(line), GV_ERR_INVAL);
    ck_assert_msg(strstr(problem, why) != NULL, "%s: '%s', not '%s'", line, problem, why);
}

START_TEST(each_scenario_has_its_own_beginning)
{
    ck_assert_int_eq(parse("bench fan-in"), GV_OK);
    ck_assert_uint_eq(options.publishers, 100);
    ck_assert_uint_eq(options.subscribers, 1);
    ck_assert_int_eq(parse("bench fan-out"), GV_OK);
    ck_assert_uint_eq(options.publishers, 1);
    ck_assert_uint_eq(options.subscribers, 100);
    ck_assert_int_eq(parse("bench idle"), GV_OK);
    ck_assert_uint_eq(options.publishers, 0);
    ck_assert(!gv_bench_has_messages(&options));
    ck_assert_str_eq(gv_bench_scenario_name(options.scenario), "idle");
    ck_assert_str_eq(options.targets[0].address[0], "127.0.0.1:1883");
    ck_assert_str_eq(options.targets[1].address[0], "127.0.0.1:1883");
}
END_TEST

START_TEST(the_window_is_unlimited_at_qos_0_only)
{
    ck_assert_int_eq(parse("bench pairs"), GV_OK);
    ck_assert_uint_eq(options.window, 0);
    ck_assert_int_eq(parse("bench pairs --qos 1"), GV_OK);
    ck_assert_uint_eq(options.window, 64);
    ck_assert_int_eq(parse("bench pairs --window 9"), GV_OK);
    ck_assert_uint_eq(options.window, 9);
    refuses("bench pairs --qos 2 --window 0", "QoS 0");
}
END_TEST

START_TEST(everything_that_can_be_said)
{
    ck_assert_int_eq(parse("bench pairs --publishers 7 --subscribers 7 --qos 2 --size 1000 "
                           "--window 5 --rate 900 --duration 3 --warm-up 2 --drain 4 --threads 2 "
                           "--concurrency 8 --keep-alive 11 --protocol 5 --username u --password p "
                           "--broker-pid 12 --broker-pid 13 --json --quiet"),
                     GV_OK);
    ck_assert_uint_eq(options.publishers, 7);
    ck_assert_uint_eq(options.subscribers, 7);
    ck_assert_uint_eq(options.qos, 2);
    ck_assert_uint_eq(options.payload_size, 1000);
    ck_assert_uint_eq(options.window, 5);
    ck_assert_uint_eq(options.rate, 900);
    ck_assert_uint_eq(options.duration_s, 3);
    ck_assert_uint_eq(options.warmup_s, 2);
    ck_assert_uint_eq(options.drain_s, 4);
    ck_assert_uint_eq(options.threads, 2);
    ck_assert_uint_eq(options.concurrency, 8);
    ck_assert_uint_eq(options.keep_alive_s, 11);
    ck_assert_int_eq(options.version, GV_MQTT_V5);
    ck_assert_str_eq(options.username, "u");
    ck_assert_str_eq(options.password, "p");
    ck_assert_uint_eq(options.pid_count, 2);
    ck_assert_uint_eq(options.pids[1], 13);
    ck_assert(options.is_json && options.is_quiet);
}
END_TEST

START_TEST(publishers_and_subscribers_may_be_elsewhere)
{
    ck_assert_int_eq(parse("bench pairs --pub-target a:1 --sub-target b:2 --sub-target c"), GV_OK);
    ck_assert_uint_eq(options.targets[0].count, 1);
    ck_assert_str_eq(options.targets[0].address[0], "a:1");
    ck_assert_uint_eq(options.targets[1].count, 2);
    ck_assert_str_eq(options.targets[1].address[1], "c");
    ck_assert_int_eq(parse("bench pairs --target a --target b"), GV_OK);
    ck_assert_uint_eq(options.targets[0].count, 2);
    ck_assert_uint_eq(options.targets[1].count, 2);
}
END_TEST

START_TEST(what_is_wrong_is_named)
{
    refuses("bench", "which scenario");
    refuses("bench storm", "no scenario 'storm'");
    refuses("bench pairs --publishers 2", "as many publishers");
    refuses("bench pairs --size 15", "from 16 to");
    refuses("bench pairs --size x", "--size 'x'");
    refuses("bench pairs --rate -1", "--rate '-1'");
    refuses("bench pairs --qos 3", "--qos '3'");
    refuses("bench pairs --protocol 4", "--protocol '4'");
    refuses("bench pairs --target host:0x", "HOST:PORT");
    refuses("bench pairs --nonsense", "'--nonsense'");
    refuses("bench pairs --qos", "needs a value");
    refuses("bench pairs extra", "'extra'");
    refuses("bench pairs --password p", "without --username");
    refuses("bench pairs --persistent", "needs --protocol 5");
    refuses("bench idle --publishers 1", "no publishers");
    refuses("bench idle --connections 0", "--connections");
    refuses("bench idle --subscribers 0", "nobody");
    refuses("bench fan-in --publishers 1 --subscribers 0", "nobody");
    refuses("bench fan-out --publishers 1 --subscribers 0 --qos 1", "nobody");
    refuses("bench shared --publishers 0", "needs publishers");
    refuses("bench subs --subscriptions 5 --publishers 6", "a subscription for each");
}
END_TEST

START_TEST(help_needs_no_scenario)
{
    ck_assert_int_eq(parse("bench --help"), GV_OK);
    ck_assert(options.is_help);
    ck_assert_int_eq(parse("bench pairs --help"), GV_OK);
    ck_assert(options.is_help);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bench_options");
    TCase *tc = tcase_create("all");
    tcase_add_test(tc, each_scenario_has_its_own_beginning);
    tcase_add_test(tc, the_window_is_unlimited_at_qos_0_only);
    tcase_add_test(tc, everything_that_can_be_said);
    tcase_add_test(tc, publishers_and_subscribers_may_be_elsewhere);
    tcase_add_test(tc, what_is_wrong_is_named);
    tcase_add_test(tc, help_needs_no_scenario);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
