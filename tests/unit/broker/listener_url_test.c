/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/listener_url.h"

#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "base/alloc.h"

START_TEST(each_scheme_has_its_defaults)
{
    static const struct {
        const char *url;
        gv_listener_scheme_t scheme;
        const char *host;
        uint16_t port;
        const char *path;
        bool is_loopback;
    } cases[] = {
        {"tcp://127.0.0.1", GV_LISTENER_TCP, "127.0.0.1", 1883, "", true},
        {"tcp://[::]:0", GV_LISTENER_TCP, "::", 0, "", false},
        {"tls://broker.example", GV_LISTENER_TLS, "broker.example", 8883, "", false},
        {"ws://localhost", GV_LISTENER_WS, "localhost", 8083, "/mqtt", true},
        {"ws://localhost:1/", GV_LISTENER_WS, "localhost", 1, "/", true},
        {"wss://10.0.0.1/a/b", GV_LISTENER_WSS, "10.0.0.1", 8084, "/a/b", false},
        {"unix:///run/x.sock", GV_LISTENER_UNIX, "", 0, "/run/x.sock", true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        gv_listener_config_t listener;
        ck_assert_ptr_null(gv_listener_url_parse(cases[i].url, &listener));
        ck_assert_str_eq(listener.url, cases[i].url);
        ck_assert_int_eq(listener.scheme, cases[i].scheme);
        ck_assert_str_eq(listener.address.host, cases[i].host);
        ck_assert_uint_eq(listener.address.port, cases[i].port);
        ck_assert_str_eq(listener.path, cases[i].path);
        ck_assert_int_eq(listener.is_loopback, cases[i].is_loopback);
        ck_assert(!listener.proxy_protocol);
        gv_listener_config_deinit(&listener);
    }
}
END_TEST

START_TEST(options_stand_behind_the_question_mark)
{
    gv_listener_config_t listener;
    ck_assert_ptr_null(gv_listener_url_parse(
        "ws://a:1/p?proxy_protocol=true&connections_max=7&accept_rate=9", &listener));
    ck_assert(listener.proxy_protocol);
    ck_assert_uint_eq(listener.connections_max, 7);
    ck_assert_uint_eq(listener.accept_rate, 9);
    ck_assert_str_eq(listener.path, "/p");
    gv_listener_config_t copy;
    gv_listener_config_copy(&listener, &copy);
    gv_listener_config_deinit(&listener);
    ck_assert_ptr_null(listener.url);
    ck_assert_str_eq(copy.path, "/p");
    ck_assert(copy.proxy_protocol);
    gv_listener_config_deinit(&copy);
}
END_TEST

START_TEST(what_is_no_listener_is_refused_with_a_reason)
{
    static const char *const bad[] = {
        "",
        "127.0.0.1:1883",
        "mqtt://a",
        "TCP://a",
        "tcp://",
        "tcp://a:99999",
        "tcp://a b",
        "tcp://a/",
        "tls://a/p",
        "unix://relative",
        "unix://",
        "tcp://a?x",
        "tcp://a?x=1",
        "tcp://a?proxy_protocol=2",
        "tcp://a?connections_max=-1",
        "tcp://a?accept_rate=9999999999",
        "tcp://a#x",
    };
    char path[200] = "unix:///";
    memset(path + 8, 'a', sizeof(path) - 9);
    for (size_t i = 0; i <= sizeof(bad) / sizeof(bad[0]); i++) {
        const char *url = i == 0 ? path : bad[i - 1];
        gv_listener_config_t listener;
        char *problem = gv_listener_url_parse(url, &listener);
        ck_assert_msg(problem != NULL, "'%s' was taken", url);
        ck_assert_ptr_null(listener.url);
        gv_free(problem);
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("listener_url");
    tcase_add_test(tc, each_scheme_has_its_defaults);
    tcase_add_test(tc, options_stand_behind_the_question_mark);
    tcase_add_test(tc, what_is_no_listener_is_refused_with_a_reason);

    Suite *suite = suite_create("broker");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
