/* SPDX-License-Identifier: Apache-2.0 */
#include "base/io/address.h"

#include <stdlib.h>
#include <string.h>

#include <check.h>

static void parses_as(const char *text, bool is_unix, const char *host, uint16_t port)
{
    gv_endpoint_t endpoint;
    gv_error_text_t error = {.text = ""};
    ck_assert_msg(gv_endpoint_parse(text, &endpoint, &error) == GV_OK, "%s", error.text);
    ck_assert(endpoint.is_unix == is_unix);
    ck_assert_str_eq(endpoint.host, host);
    ck_assert_uint_eq(endpoint.port, port);
}

static void is_refused(const char *text)
{
    gv_endpoint_t endpoint;
    gv_error_text_t error = {.text = ""};
    ck_assert_msg(gv_endpoint_parse(text, &endpoint, &error) == GV_ERR_INVAL, "%s", text);
    ck_assert_uint_gt(strlen(error.text), 0);
    ck_assert_int_eq(gv_endpoint_parse(text, &endpoint, NULL), GV_ERR_INVAL);
}

START_TEST(addresses_are_taken_apart)
{
    parses_as("127.0.0.1:1883", false, "127.0.0.1", 1883);
    parses_as("[::1]:65535", false, "::1", 65535);
    parses_as("broker.example:0", false, "broker.example", 0);
    parses_as(":1883", false, "", 1883);
    parses_as("*:1883", false, "", 1883);
    parses_as("/run/x.sock", true, "/run/x.sock", 0);
    parses_as("./a:b", true, "./a:b", 0);
}
END_TEST

START_TEST(what_is_no_address_is_refused_with_a_reason)
{
    is_refused("");
    is_refused("host");
    is_refused("host:");
    is_refused("host:65536");
    is_refused("host:123456");
    is_refused("host:-1");
    is_refused("host:12x");
    is_refused("::1:1883");
    is_refused("[::1:1883");
    is_refused("[zz]:1883");
    is_refused("[]:1883");
    is_refused("[1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc]:1");
    char path[200] = "/";
    memset(path + 1, 'p', 150);
    is_refused(path);
    char host[400];
    memset(host, 'h', 300);
    memcpy(host + 300, ":1", 3);
    is_refused(host);
}
END_TEST

static void has_text(const char *text, const char *wanted, bool is_local)
{
    gv_endpoint_t endpoint;
    gv_address_t address;
    char out[GV_ADDRESS_TEXT_SIZE];
    ck_assert_int_eq(gv_endpoint_parse(text, &endpoint, NULL), GV_OK);
    ck_assert_int_eq(gv_address_from_endpoint(&endpoint, &address), GV_OK);
    ck_assert_str_eq(gv_address_text(&address, out), wanted);
    ck_assert_uint_eq(gv_address_port(&address), endpoint.port);
    ck_assert(gv_address_is_local(&address) == is_local);
}

START_TEST(addresses_have_texts)
{
    has_text("127.0.0.1:1883", "127.0.0.1:1883", true);
    has_text("10.1.2.3:1", "10.1.2.3:1", false);
    has_text("[::1]:7883", "[::1]:7883", true);
    has_text("[fe80::1]:2", "[fe80::1]:2", false);
    has_text("[::ffff:127.0.0.1]:3", "127.0.0.1:3", true);
    has_text("[::ffff:9.8.7.6]:3", "9.8.7.6:3", false);
    has_text(":5", "[::]:5", false);
    has_text("/run/x.sock", "/run/x.sock", true);
}
END_TEST

START_TEST(names_have_to_be_resolved)
{
    gv_endpoint_t endpoint;
    gv_address_t address;
    ck_assert_int_eq(gv_endpoint_parse("localhost:1883", &endpoint, NULL), GV_OK);
    ck_assert_int_eq(gv_address_from_endpoint(&endpoint, &address), GV_ERR_NOENT);
}
END_TEST

START_TEST(descriptor_that_is_no_socket_has_no_address)
{
    char out[GV_ADDRESS_TEXT_SIZE];
    gv_address_t address = gv_address_of_peer(-1);
    ck_assert_uint_eq(address.size, 0);
    ck_assert_str_eq(gv_address_text(&address, out), "unknown");
    ck_assert(!gv_address_is_local(&address));
    int fds[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    address = gv_address_of_peer(fds[0]);
    ck_assert_str_eq(gv_address_text(&address, out), "unix");
    address = gv_address_of_socket(fds[1]);
    ck_assert(gv_address_is_local(&address));
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("address");
    tcase_add_test(tc, addresses_are_taken_apart);
    tcase_add_test(tc, what_is_no_address_is_refused_with_a_reason);
    tcase_add_test(tc, addresses_have_texts);
    tcase_add_test(tc, names_have_to_be_resolved);
    tcase_add_test(tc, descriptor_that_is_no_socket_has_no_address);
    Suite *suite = suite_create("base/io");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
