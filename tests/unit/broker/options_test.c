/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "base/alloc.h"

static gv_options_t options;
static char *problem;

/* `line` is split at spaces. */
static gv_err_t parse(const char *line)
{
    static char copy[512];
    static char *argv[32];
    int argc = 0;
    (void)snprintf(copy, sizeof(copy), "grapevined %s", line);
    char *rest = copy;
    while (rest != NULL && argc < 31) {
        argv[argc++] = strsep(&rest, " ");
    }
    argc -= argv[argc - 1][0] == '\0' ? 1 : 0;
    argv[argc] = NULL;
    gv_options_deinit(&options);
    gv_free(problem);
    return gv_options_parse(argc, argv, &options, &problem);
}

static const char *value_of(const char *key)
{
    for (size_t i = 0; i < options.assignment_count; i++) {
        if (strcmp(options.assignments[i].key, key) == 0) {
            return options.assignments[i].value;
        }
    }
    return "(none)";
}

START_TEST(short_options_are_names_for_keys)
{
    ck_assert_int_eq(parse("-c f.conf --node n1 --data /d --cluster a:1 --admin b:2 --seed a:1 "
                           "--listen tcp://a:1 --seed b:2 --listen=ws://b:2 --set x.y=a=b"),
                     GV_OK);
    ck_assert_int_eq(options.action, GV_ACTION_RUN);
    ck_assert_str_eq(options.file, "f.conf");
    ck_assert_str_eq(value_of("node.name"), "n1");
    ck_assert_str_eq(value_of("node.data"), "/d");
    ck_assert_str_eq(value_of("cluster.listen"), "a:1");
    ck_assert_str_eq(value_of("admin.listen"), "b:2");
    ck_assert_str_eq(value_of("cluster.seeds"), "a:1,b:2");
    ck_assert_str_eq(value_of("listeners"), "tcp://a:1,ws://b:2");
    ck_assert_str_eq(value_of("x.y"), "a=b");
    ck_assert_uint_eq(options.assignment_count, 7);
    ck_assert_str_eq(options.assignments[5].source, "--listen");
    ck_assert_int_eq(parse(""), GV_OK);
    ck_assert_uint_eq(options.assignment_count, 0);
    ck_assert_ptr_null(options.file);
    ck_assert_int_eq(parse(""), GV_OK);
    gv_options_deinit(&options);
}
END_TEST

START_TEST(every_short_option_reaches_a_key_that_exists)
{
    ck_assert_int_eq(parse("--node n --data d --cluster 127.0.0.1:1 --admin 127.0.0.1:2 --seed "
                           "localhost:1 --listen tcp://127.0.0.1:1"),
                     GV_OK);
    const gv_config_t *config;
    gv_config_report_t report;
    const gv_config_sources_t sources = {.assignments = options.assignments,
                                         .assignment_count = options.assignment_count};
    ck_assert_int_eq(gv_config_load(&sources, &config, &report), GV_OK);
    ck_assert_uint_eq(config->cluster.seeds.count, 1);
    gv_config_report_deinit(&report);
    gv_config_unref(&config);
    gv_options_deinit(&options);
}
END_TEST

START_TEST(actions)
{
    ck_assert_int_eq(parse("--check-config -c x"), GV_OK);
    ck_assert_int_eq(options.action, GV_ACTION_CHECK_CONFIG);
    ck_assert_int_eq(parse("--keys"), GV_OK);
    ck_assert_int_eq(options.action, GV_ACTION_KEYS);
    ck_assert_int_eq(parse("-h"), GV_OK);
    ck_assert_int_eq(options.action, GV_ACTION_HELP);
    ck_assert_int_eq(parse("--version"), GV_OK);
    ck_assert_int_eq(options.action, GV_ACTION_VERSION);
    gv_options_deinit(&options);
}
END_TEST

START_TEST(mistakes_are_named)
{
    static const char *const bad[][2] = {
        {"--nod", NULL}, /* an unambiguous beginning is an option, here without its value */
        {"--bogus", "--bogus is not an option; --help shows all"},
        {"-x", "-x is not an option; --help shows all"},
        {"-hx", "-x is not an option; --help shows all"},
        {"-c", "-c needs a value"},
        {"--node", "--node needs a value"},
        {"--keys=1", "--keys=1 is not an option; --help shows all"},
        {"--set node.name", "--set node.name: expected --set KEY=VALUE"},
        {"--set =x", "--set =x: expected --set KEY=VALUE"},
        {"extra", "unexpected argument 'extra'; --help shows all options"},
        {"--node a b", "unexpected argument 'b'; --help shows all options"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_int_eq(parse(bad[i][0]), GV_ERR_INVAL);
        ck_assert_ptr_nonnull(problem);
        if (bad[i][1] != NULL) {
            ck_assert_str_eq(problem, bad[i][1]);
        }
    }
    gv_options_deinit(&options);
    gv_free(problem);
    problem = NULL;
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("options");
    tcase_add_test(tc, short_options_are_names_for_keys);
    tcase_add_test(tc, every_short_option_reaches_a_key_that_exists);
    tcase_add_test(tc, actions);
    tcase_add_test(tc, mistakes_are_named);

    Suite *suite = suite_create("broker");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
