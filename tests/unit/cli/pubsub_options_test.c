/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/pubsub_options.h"

#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "base/alloc.h"

static gv_pubsub_options_t options;
static char *problem;

/* `line` is split at spaces; its first word is pub or sub. */
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
    gv_pubsub_options_deinit(&options);
    gv_free(problem);
    return gv_pubsub_options_parse(argc, argv, &options, &problem);
}

static void forget(void)
{
    gv_pubsub_options_deinit(&options);
    gv_free(problem);
    problem = NULL;
}

START_TEST(defaults_are_those_of_mosquitto_but_for_the_version)
{
    ck_assert_int_eq(parse("sub -t a"), GV_OK);
    ck_assert_str_eq(options.address, "localhost:1883");
    ck_assert_int_eq(options.version, GV_MQTT_V5);
    ck_assert_uint_eq(options.keep_alive_s, 60);
    ck_assert_uint_eq(options.qos, 0);
    gv_mqtt_connect_t connect;
    gv_pubsub_connect(&options, "random", &connect);
    ck_assert(gv_bytes_equal(connect.client_id, GV_BYTES_LITERAL("random")));
    ck_assert(connect.clean_start);
    ck_assert(!connect.has_username && !connect.has_password && !connect.has_will);
    forget();
}
END_TEST

START_TEST(everything_that_can_be_said)
{
    ck_assert_int_eq(parse("pub -h ::1 -p 18 -t a/b -m x -q 2 -r -V 311 -i me -u u -P p -k 7 -c "
                           "--will-topic w --will-payload gone --will-qos 1 --will-retain -d"),
                     GV_OK);
    ck_assert_str_eq(options.address, "[::1]:18");
    ck_assert_str_eq(options.topics[0], "a/b");
    ck_assert_int_eq(options.source, GV_PUB_MESSAGE);
    ck_assert(options.retain && options.is_debugging);
    gv_mqtt_connect_t connect;
    gv_pubsub_connect(&options, "random", &connect);
    ck_assert_int_eq(connect.version, GV_MQTT_V311);
    ck_assert(!connect.clean_start);
    ck_assert(gv_bytes_equal(connect.client_id, GV_BYTES_LITERAL("me")));
    ck_assert(gv_bytes_equal(connect.username, GV_BYTES_LITERAL("u")));
    ck_assert(gv_bytes_equal(connect.password, GV_BYTES_LITERAL("p")));
    ck_assert_uint_eq(connect.keep_alive_s, 7);
    ck_assert(connect.has_will && connect.will.retain);
    ck_assert_uint_eq(connect.will.qos, 1);
    ck_assert(gv_bytes_equal(connect.will.payload, GV_BYTES_LITERAL("gone")));
    ck_assert_uint_eq(connect.props.present, 0);
    ck_assert_int_eq(parse("sub -t a -t b -C 3 -W 4 -v -N -R -E"), GV_OK);
    ck_assert_uint_eq(options.topic_count, 2);
    ck_assert_uint_eq(options.count, 3);
    ck_assert_uint_eq(options.timeout_s, 4);
    ck_assert(options.is_verbose && options.no_newline);
    ck_assert(options.skip_retained && options.exit_on_suback);
    forget();
}
END_TEST

START_TEST(a_kept_session_does_not_expire_unless_said)
{
    gv_mqtt_connect_t connect;
    ck_assert_int_eq(parse("sub -t a -i me -c"), GV_OK);
    gv_pubsub_connect(&options, "", &connect);
    ck_assert_uint_eq(connect.props.session_expiry_s, UINT32_MAX);
    ck_assert_int_eq(parse("sub -t a -i me -c -x 5"), GV_OK);
    gv_pubsub_connect(&options, "", &connect);
    ck_assert_uint_eq(connect.props.session_expiry_s, 5);
    ck_assert_int_eq(parse("sub -t a -i me -c -D connect session-expiry-interval 6 -v"), GV_OK);
    ck_assert(options.is_verbose);
    gv_pubsub_connect(&options, "", &connect);
    ck_assert_uint_eq(connect.props.session_expiry_s, 6);
    forget();
}
END_TEST

START_TEST(a_url_has_everything)
{
    ck_assert_int_eq(parse("sub -L mqtt://u:p:q@host:18/a/b"), GV_OK);
    ck_assert_str_eq(options.address, "host:18");
    ck_assert_str_eq(options.username, "u");
    ck_assert_str_eq(options.password, "p:q");
    ck_assert_str_eq(options.topics[0], "a/b");
    ck_assert_int_eq(parse("sub -L mqtt://[::1]/t -t x"), GV_OK);
    ck_assert_str_eq(options.address, "[::1]:1883");
    ck_assert_ptr_null(options.username);
    ck_assert_uint_eq(options.topic_count, 2);
    forget();
}
END_TEST

START_TEST(mistakes_are_named)
{
    static const char *const bad[][2] = {
        {"pub -m x", "-t TOPIC is missing"},
        {"sub", "-t FILTER is missing"},
        {"pub -t a", "one of -m MESSAGE, -f FILE, -n, -s, -l is missing"},
        {"pub -t a -m x -n", "only one of -m, -f, -n, -s, -l can be the message"},
        {"pub -t a -t b -m x", "a message has one topic"},
        {"pub -t a/+ -m x", "'a/+' is not a topic to publish to"},
        {"sub -t a/#/b", "'a/#/b' is not a topic filter"},
        {"sub -t $share/g", "'$share/g' is not a topic filter"},
        {"sub -t a -p 0", "-p '0': expected a number from 1 to 65535"},
        {"sub -t a -p 65536", "-p '65536': expected a number from 1 to 65535"},
        {"sub -t a -p 1x", "-p '1x': expected a number from 1 to 65535"},
        {"sub -t a -k 99999999999", "-k '99999999999': expected a number from 0 to 65535"},
        {"sub -t a -q -1", "-q '-1': expected a number from 0 to 2"},
        {"sub -t a -V 4", "-V '4': expected 3.1, 3.1.1 or 5"},
        {"sub -t a -h a/b", "-h 'a/b' is not a host name or address"},
        {"sub -L http://a/b",
         "-L 'http://a/b': expected mqtt://[USER[:PASSWORD]@]HOST[:PORT]/TOPIC"},
        {"sub -L mqtt://a/", "-L 'mqtt://a/': expected mqtt://[USER[:PASSWORD]@]HOST[:PORT]/TOPIC"},
        {"sub -L mqtt://a:b/c", "-L: 'a:b' is not HOST or HOST:PORT"},
        {"sub -L mqtt://a/b -L mqtt://a/b", "-L is given twice"},
        {"sub -t a -c", "-c needs a client id (-i): the session is found again by it"},
        {"sub -t a -V 311 -x 5", "-D and -x need -V 5"},
        {"sub -t a -V 311 -D connect receive-maximum 5", "-D and -x need -V 5"},
        {"sub -t a -V 311 -P p", "-P needs a user name (-u)"},
        {"sub -t a --will-retain", "a will needs --will-topic"},
        {"sub -t a --will-topic +", "'+' is not a topic for a will"},
        {"sub -t a -m x", "-m is not an option here; --help shows all"},
        {"sub -t a --retain", "--retain is not an option here; --help shows all"},
        {"pub -t a -n --verbose", "--verbose is not an option here; --help shows all"},
        {"sub -t a -C 0", "-C '0': expected a number from 1 to 4294967295"},
        {"sub -t", "-t needs a value"},
        {"sub -t a b", "unexpected argument 'b'"},
        {"sub -t a -D publish", "-D needs PACKET NAME VALUE"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_msg(parse(bad[i][0]) == GV_ERR_INVAL, "'%s' was taken", bad[i][0]);
        ck_assert_ptr_nonnull(problem);
        ck_assert_str_eq(problem, bad[i][1]);
    }
    forget();
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("pubsub_options");
    tcase_add_test(tc, defaults_are_those_of_mosquitto_but_for_the_version);
    tcase_add_test(tc, everything_that_can_be_said);
    tcase_add_test(tc, a_kept_session_does_not_expire_unless_said);
    tcase_add_test(tc, a_url_has_everything);
    tcase_add_test(tc, mistakes_are_named);

    Suite *suite = suite_create("cli");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
