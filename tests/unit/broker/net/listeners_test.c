/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/net/listeners.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "tests/unit/broker/net/rig.h"

START_TEST(every_address_serves_clients_and_tells_its_port)
{
    rig_init();
    rig_add_listener("tcp://127.0.0.1:0");
    rig_add_listener("tcp://127.0.0.1:0");
    rig_start();
    ck_assert_uint_eq(gv_listeners_count(rig.listeners), 2);
    for (int i = 0; i < 2000 && !gv_listeners_are_open(rig.listeners); i++) {
        sleep_ms(1);
    }
    ck_assert(gv_listeners_are_open(rig.listeners));
    ck_assert_uint_ne(gv_listeners_info(rig.listeners, 0).port,
                      gv_listeners_info(rig.listeners, 1).port);
    for (size_t i = 0; i < 2; i++) {
        gv_listeners_info_t info = gv_listeners_info(rig.listeners, i);
        ck_assert(info.is_bound);
        ck_assert_uint_ne(info.port, 0);
        ck_assert_str_eq(info.url, "tcp://127.0.0.1:0");
        visitor_t *visitor = rig_visit(i);
        visitor_connect(visitor, i == 0 ? "first" : "second");
        ck_assert_uint_eq(gv_listeners_info(rig.listeners, i).connections, 1);
        ck_assert_uint_eq(gv_listeners_info(rig.listeners, 1 - i).connections, 0);
        visitor_leave(&visitor);
        rig_wait_for_connections(0);
    }
    rig_close();
}
END_TEST

START_TEST(a_unix_socket_serves_both_shards)
{
    char directory[] = "/tmp/grapevine-listeners-XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(directory));
    char url[128];
    (void)snprintf(url, sizeof(url), "unix://%s/mqtt.sock", directory);
    rig_open(url);
    ck_assert_uint_eq(gv_listeners_info(rig.listeners, 0).port, 0);
    visitor_t *visitors[8];
    for (unsigned i = 0; i < 8; i++) {
        char id[16];
        (void)snprintf(id, sizeof(id), "local-%u", i);
        visitors[i] = rig_visit(0);
        visitor_connect(visitors[i], id);
    }
    for (uint32_t i = 0; i < RIG_SHARDS; i++) {
        ck_assert_uint_gt(gv_counter_get(&gv_frontend_stats(rig.frontends[i])->accepted), 0);
    }
    for (unsigned i = 0; i < 8; i++) {
        visitor_leave(&visitors[i]);
    }
    rig_wait_for_connections(0);
    char path[128];
    (void)snprintf(path, sizeof(path), "%s", rig.configs[0].path);
    rig_close();
    struct stat info;
    ck_assert_int_ne(stat(path, &info), 0); /* the file has gone with the listener */
    ck_assert_int_eq(rmdir(directory), 0);
}
END_TEST

START_TEST(an_address_in_use_is_one_clear_line)
{
    rig_open("tcp://127.0.0.1:0");
    visitor_t *visitor = rig_visit(0); /* it listens */
    visitor_leave(&visitor);
    char url[64];
    uint16_t port = gv_listeners_info(rig.listeners, 0).port;
    (void)snprintf(url, sizeof(url), "tcp://127.0.0.1:%u", port);
    rig_add_listener("tcp://127.0.0.1:0");
    rig_add_listener(url);

    gv_listeners_options_t options = rig_listeners_options();
    options.items++; /* the two new ones: the first of them has to be let go again */
    options.count--;
    gv_listeners_t *listeners = NULL;
    gv_error_text_t error;
    ck_assert_int_eq(gv_listeners_bind(&options, &listeners, &error), GV_ERR_BUSY);
    ck_assert_ptr_null(listeners);
    char expected[128];
    (void)snprintf(expected, sizeof(expected),
                   "cannot listen on '127.0.0.1:%u': address in use by another program", port);
    ck_assert_str_eq(error.text, expected);
    rig_close();
}
END_TEST

/* Both were bound before one of them listened. */
START_TEST(an_address_taken_since_it_was_bound_is_not_shared)
{
    rig_open("tcp://127.0.0.1:0");
    rig_add_listener("tcp://127.0.0.1:0");
    gv_listeners_options_t options = rig_listeners_options();
    options.items++;
    options.count--;
    gv_listeners_t *slow = NULL;
    gv_error_text_t error;
    ck_assert_int_eq(gv_listeners_bind(&options, &slow, &error), GV_OK);
    uint16_t port = gv_listeners_info(slow, 0).port;
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), 0);
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)), 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    ck_assert_int_eq(listen(fd, 1), 0);

    ck_assert_int_eq(gv_listeners_open(slow, &error), GV_ERR_BUSY);
    ck_assert_ptr_nonnull(strstr(error.text, "address in use by another program"));
    ck_assert(!gv_listeners_are_open(slow));
    ck_assert_int_eq(close(fd), 0);
    gv_listeners_free(&slow);
    rig_close();
}
END_TEST

START_TEST(an_address_configured_twice_is_refused)
{
    rig_open("tcp://127.0.0.1:0");
    rig_add_listener("tcp://127.0.0.1:0");
    gv_listeners_options_t options = rig_listeners_options();
    gv_listeners_t *listeners = NULL;
    gv_error_text_t error;
    /* A free port: the one that the system gives now. */
    ck_assert_int_eq(gv_listeners_bind(&options, &listeners, &error), GV_OK);
    char url[64];
    (void)snprintf(url, sizeof(url), "tcp://127.0.0.1:%u", gv_listeners_info(listeners, 1).port);
    gv_listeners_free(&listeners);
    rig_add_listener(url);
    rig_add_listener(url);
    options = rig_listeners_options();
    ck_assert_int_eq(gv_listeners_bind(&options, &listeners, &error), GV_ERR_BUSY);
    ck_assert_ptr_null(listeners);
    ck_assert_ptr_nonnull(strstr(error.text, "configured twice"));
    rig_close();
}
END_TEST

START_TEST(a_tls_listener_needs_its_certificate)
{
    rig_open("tcp://127.0.0.1:0");
    rig_add_listener("tls://127.0.0.1:0");
    gv_listeners_options_t options = rig_listeners_options();
    options.tls = (gv_listeners_tls_t){.cert = "/nowhere/cert.pem", .key = "/nowhere/key.pem"};
    gv_listeners_t *listeners = NULL;
    gv_error_text_t error;
    ck_assert_int_eq(gv_listeners_bind(&options, &listeners, &error), GV_ERR_INVAL);
    ck_assert_ptr_nonnull(strstr(error.text, "/nowhere/cert.pem"));
    rig_close();
}
END_TEST

START_TEST(only_an_optional_address_may_be_missing)
{
    rig_init();
    rig_add_listener("tcp://127.0.0.1:0");
    rig_add_listener("tcp://192.0.2.1:0"); /* documentation addresses: nobody has them */
    rig.configs[1].optional = true;
    rig_start();
    ck_assert(gv_listeners_info(rig.listeners, 0).is_bound);
    ck_assert(!gv_listeners_info(rig.listeners, 1).is_bound);

    rig.configs[1].optional = false;
    gv_listeners_options_t options = rig_listeners_options();
    gv_listeners_t *listeners = NULL;
    gv_error_text_t error;
    ck_assert_int_eq(gv_listeners_bind(&options, &listeners, &error), GV_ERR_IO);
    ck_assert_ptr_nonnull(strstr(error.text, "192.0.2.1"));
    rig_close();
}
END_TEST

START_TEST(a_closed_listener_keeps_its_connections)
{
    rig_open("tcp://127.0.0.1:0");
    visitor_t *visitor = rig_visit(0);
    visitor_connect(visitor, "alice");
    gv_listeners_close(rig.listeners);
    gv_listeners_close(rig.listeners);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(gv_listeners_info(rig.listeners, 0).port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int rc = 0;
    for (int i = 0; i < 2000 && rc == 0; i++) {
        rc = connect(fd, (struct sockaddr *)&address, sizeof(address));
        if (rc == 0) {
            (void)close(fd);
            fd = socket(AF_INET, SOCK_STREAM, 0);
            sleep_ms(1);
        }
    }
    ck_assert_int_ne(rc, 0);
    (void)close(fd);
    visitor_ping(visitor);
    visitor_leave(&visitor);
    rig_close();
}
END_TEST

START_TEST(connections_over_the_limit_are_turned_away)
{
    rig_open("tcp://127.0.0.1:0?connections_max=2");
    visitor_t *first = rig_visit(0);
    visitor_connect(first, "first");
    visitor_t *second = rig_visit(0);
    visitor_connect(second, "second");
    visitor_t *third = rig_visit(0);
    visitor_expect_end(third);
    visitor_leave(&third);
    visitor_leave(&second);
    rig_wait_for_connections(1);
    visitor_t *fourth = rig_visit(0);
    visitor_connect(fourth, "fourth");
    visitor_leave(&fourth);
    visitor_leave(&first);
    rig_close();
}
END_TEST

START_TEST(listeners_that_never_opened_are_let_go)
{
    rig_open("tcp://127.0.0.1:0");
    rig_add_listener("tcp://127.0.0.1:0");
    gv_listeners_options_t options = rig_listeners_options();
    gv_listeners_t *listeners = NULL;
    gv_error_text_t error;
    ck_assert_int_eq(gv_listeners_bind(&options, &listeners, &error), GV_OK);
    char url[64];
    (void)snprintf(url, sizeof(url), "tcp://127.0.0.1:%u", gv_listeners_info(listeners, 1).port);
    gv_listeners_close(listeners);
    ck_assert_uint_eq(gv_listeners_failed(listeners), 0);
    ck_assert(!gv_listeners_are_open(listeners));
    gv_listeners_free(&listeners);
    /* Its port is free again. */
    rig_add_listener(url);
    options = rig_listeners_options();
    ck_assert_int_eq(gv_listeners_bind(&options, &listeners, &error), GV_OK);
    gv_listeners_free(&listeners);
    rig_close();
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("listeners");
    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, every_address_serves_clients_and_tells_its_port);
    tcase_add_test(tc, a_unix_socket_serves_both_shards);
    tcase_add_test(tc, an_address_in_use_is_one_clear_line);
    tcase_add_test(tc, an_address_taken_since_it_was_bound_is_not_shared);
    tcase_add_test(tc, an_address_configured_twice_is_refused);
    tcase_add_test(tc, a_tls_listener_needs_its_certificate);
    tcase_add_test(tc, only_an_optional_address_may_be_missing);
    tcase_add_test(tc, a_closed_listener_keeps_its_connections);
    tcase_add_test(tc, connections_over_the_limit_are_turned_away);
    tcase_add_test(tc, listeners_that_never_opened_are_let_go);
    Suite *suite = suite_create("broker/net/listeners");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
