/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/config_p.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "base/alloc.h"

/* The rules between keys; the words of each complaint are in config_test.c. */

static void collect(const char *key, const char *problem, void *arg)
{
    gv_text_add(arg, "%s ", key);
    ck_assert_str_ne(problem, "");
}

/* Checks the defaults with some KEY=VALUE on top; gives the keys that were complained about. */
static const char *checked(gv_config_t *config, const char *const *settings)
{
    static char shown[256];
    memset(config, 0, sizeof(*config));
    for (size_t i = 0; i < gv__config_table_count; i++) {
        ck_assert_ptr_null(
            gv__config_set_text(&gv__config_table[i], gv__config_table[i].fallback, config));
    }
    for (; *settings != NULL; settings++) {
        char key[64];
        const char *equals = strchr(*settings, '=');
        (void)snprintf(key, sizeof(key), "%.*s", (int)(equals - *settings), *settings);
        ck_assert_ptr_null(gv__config_set_text(gv__config_find(key), equals + 1, config));
    }
    gv_text_t keys = GV_TEXT_EMPTY;
    gv__config_check(config, collect, &keys);
    (void)snprintf(shown, sizeof(shown), "%s", gv_text_get(&keys));
    gv_text_deinit(&keys);
    return shown;
}

#define SETTINGS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void release(gv_config_t *config)
{
    for (size_t i = 0; i < gv__config_table_count; i++) {
        gv__config_release(&gv__config_table[i], config);
    }
}

START_TEST(who_may_come_in_without_a_login)
{
    static const struct {
        const char *listener;
        const char *anonymous;
        const char *complaints;
        bool allowed;
    } cases[] = {
        {"tcp://127.0.0.1", "loopback", "", true},
        {"unix:///s", "loopback", "", true},
        {"tcp://0.0.0.0", "loopback", "listeners ", false},
        {"tcp://[::]", "loopback", "listeners ", false},
        {"tcp://name", "loopback", "listeners ", false},
        {"tcp://0.0.0.0", "true", "", true},
        {"tcp://127.0.0.1", "false", "auth.anonymous ", false},
        {"tcp://0.0.0.0", "false", "auth.anonymous ", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        gv_config_t config;
        char listeners[64];
        char anonymous[64];
        (void)snprintf(listeners, sizeof(listeners), "listeners=%s", cases[i].listener);
        (void)snprintf(anonymous, sizeof(anonymous), "auth.anonymous=%s", cases[i].anonymous);
        ck_assert_str_eq(checked(&config, SETTINGS(listeners, anonymous)), cases[i].complaints);
        ck_assert_int_eq(config.listeners.items[0].anonymous_allowed, cases[i].allowed);
        release(&config);
    }
}
END_TEST

START_TEST(a_certificate_is_a_login_also_when_nothing_else_is)
{
    gv_config_t config;
    ck_assert_str_eq(
        checked(&config, SETTINGS("listeners=tls://0.0.0.0", "tls.cert=c", "tls.key=k", "tls.ca=a",
                                  "tls.verify_client=true", "auth.anonymous=false")),
        "");
    ck_assert(config.listeners.items[0].anonymous_allowed);
    release(&config);
}
END_TEST

START_TEST(only_certificates_that_are_required_are_a_login)
{
    gv_config_t config;
    ck_assert_str_eq(checked(&config, SETTINGS("listeners=tls://0.0.0.0", "tls.cert=c", "tls.key=k",
                                               "tls.ca=a")),
                     "listeners ");
    release(&config);
    ck_assert_str_eq(checked(&config, SETTINGS("listeners=tls://0.0.0.0", "tls.cert=c", "tls.key=k",
                                               "tls.ca=a", "tls.verify_client=true")),
                     "");
    ck_assert(config.listeners.items[0].anonymous_allowed);
    release(&config);
    /* A certificate does not help a listener without TLS. */
    ck_assert_str_eq(
        checked(&config, SETTINGS("listeners=tcp://0.0.0.0", "tls.ca=a", "tls.verify_client=true")),
        "listeners ");
    release(&config);
}
END_TEST

START_TEST(a_tls_listener_needs_certificates)
{
    static const char *const without_certificates[] = {"listeners=tls://127.0.0.1",
                                                       "listeners=wss://127.0.0.1"};
    for (size_t i = 0; i < sizeof(without_certificates) / sizeof(without_certificates[0]); i++) {
        gv_config_t config;
        ck_assert_str_eq(checked(&config, SETTINGS(without_certificates[i])), "listeners ");
        release(&config);
    }
}
END_TEST

START_TEST(the_same_place_twice_is_a_mistake_but_port_0_is_many)
{
    gv_config_t config;
    ck_assert_str_eq(
        checked(&config, SETTINGS("listeners=tcp://[::1]:1,tcp://[::1]:1?proxy_protocol=true")),
        "listeners ");
    release(&config);
    ck_assert_str_eq(checked(&config, SETTINGS("listeners=unix:///a,unix:///a")), "listeners ");
    release(&config);
    ck_assert_str_eq(checked(&config, SETTINGS("listeners=tcp://127.0.0.1:0,tcp://127.0.0.1:0,"
                                               "unix:///a,unix:///b")),
                     "");
    release(&config);
}
END_TEST

START_TEST(a_cluster_beyond_this_machine_needs_a_secret)
{
    static const struct {
        const char *listen;
        const char *more;
        const char *complaints;
    } cases[] = {
        {"cluster.listen=127.0.0.1", "cluster.seeds=localhost,[::1]:1", ""},
        {"cluster.listen=127.0.0.1", "cluster.seeds=localhost,elsewhere", "cluster.listen "},
        {"cluster.listen=0.0.0.0", "cluster.seeds=", "cluster.listen "},
        {"cluster.listen=0.0.0.0", "cluster.insecure=true", ""},
        {"cluster.listen=0.0.0.0", "cluster.secret=s", ""},
        {"cluster.listen=0.0.0.0", "cluster.secret_file=/nonexistent", "cluster.secret_file "},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        gv_config_t config;
        ck_assert_str_eq(checked(&config, SETTINGS("node.name=n", cases[i].listen, cases[i].more)),
                         cases[i].complaints);
        bool open = strcmp(cases[i].complaints, "") == 0 && config.cluster.secret[0] == '\0';
        ck_assert_int_eq(config.cluster.insecure, open);
        ck_assert(gv_hostport_is_set(&config.cluster.advertise));
        ck_assert(!gv_hostport_is_unspecified(&config.cluster.advertise));
        release(&config);
    }
}
END_TEST

START_TEST(advertised_address_stays_what_the_operator_said)
{
    gv_config_t config;
    ck_assert_str_eq(
        checked(&config, SETTINGS("cluster.listen=127.0.0.1:5", "cluster.advertise=public:6")), "");
    ck_assert_str_eq(config.cluster.advertise.host, "public");
    ck_assert_uint_eq(config.cluster.advertise.port, 6);
    release(&config);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("config_check");
    tcase_add_test(tc, who_may_come_in_without_a_login);
    tcase_add_test(tc, only_certificates_that_are_required_are_a_login);
    tcase_add_test(tc, a_certificate_is_a_login_also_when_nothing_else_is);
    tcase_add_test(tc, a_tls_listener_needs_certificates);
    tcase_add_test(tc, the_same_place_twice_is_a_mistake_but_port_0_is_many);
    tcase_add_test(tc, a_cluster_beyond_this_machine_needs_a_secret);
    tcase_add_test(tc, advertised_address_stays_what_the_operator_said);

    Suite *suite = suite_create("broker");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
