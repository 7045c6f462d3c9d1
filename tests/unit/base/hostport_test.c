/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hostport.h"

#include <stdlib.h>

#include <check.h>

static const char *parsed(const char *text, int port_default)
{
    static char out[GV_HOSTPORT_TEXT_SIZE];
    gv_hostport_t address;
    if (gv_hostport_parse(gv_bytes_text(text), port_default, &address) != GV_OK) {
        ck_assert(!gv_hostport_is_set(&address));
        return "refused";
    }
    return gv_hostport_print(&address, out);
}

START_TEST(hosts_and_ports_are_taken_apart)
{
    ck_assert_str_eq(parsed("127.0.0.1:1883", GV_HOSTPORT_PORT_REQUIRED), "127.0.0.1:1883");
    ck_assert_str_eq(parsed("[::1]:1883", GV_HOSTPORT_PORT_REQUIRED), "[::1]:1883");
    ck_assert_str_eq(parsed("node_2.example", 7883), "node_2.example:7883");
    ck_assert_str_eq(parsed("[fe80::1]", 7883), "[fe80::1]:7883");
    ck_assert_str_eq(parsed("a:0", 7883), "a:0");
    ck_assert_str_eq(parsed("a:65535", 7883), "a:65535");
}
END_TEST

START_TEST(everything_else_is_refused)
{
    static const char *const bad[] = {"",      ":1883",     "a:",          "a:65536", "a:-1",
                                      "a:+1",  "a:1 ",      "a b:1",       "::1",     "[::1",
                                      "[]:1",  "[a]:1",     "[::1]x",      "[::1]1",  "a:000001",
                                      "a/b:1", "tcp://a:1", "[1.2.3.4]:1", "[",       "a:1:2"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_msg(strcmp(parsed(bad[i], 1), "refused") == 0, "'%s' was taken", bad[i]);
    }
    ck_assert_str_eq(parsed("a", GV_HOSTPORT_PORT_REQUIRED), "refused");
}
END_TEST

START_TEST(longest_host_fits_and_one_more_is_refused)
{
    char text[300];
    memset(text, 'a', sizeof(text));
    gv_hostport_t address;
    ck_assert_int_eq(gv_hostport_parse(gv_bytes(text, 246), 1, &address), GV_OK);
    ck_assert_int_eq(gv_hostport_parse(gv_bytes(text, 247), 1, &address), GV_ERR_INVAL);
    ck_assert_int_eq(gv_hostport_parse(gv_bytes("a\0b", 3), 1, &address), GV_ERR_INVAL);
    ck_assert_int_eq(gv_hostport_parse(gv_bytes("[::1\0]", 6), 1, &address), GV_ERR_INVAL);
}
END_TEST

static gv_hostport_t host(const char *name)
{
    gv_hostport_t address = {.port = 1};
    memcpy(address.host, name, strlen(name) + 1);
    return address;
}

START_TEST(loopback_is_what_no_other_machine_reaches)
{
    static const char *const inside[] = {"127.0.0.1", "127.255.1.2", "::1", "localhost",
                                         "LocalHost"};
    static const char *const outside[] = {"128.0.0.1", "0.0.0.0",     "::", "10.0.0.1",
                                          "fe80::1",   "localhost.x", "a"};
    for (size_t i = 0; i < sizeof(inside) / sizeof(inside[0]); i++) {
        gv_hostport_t address = host(inside[i]);
        ck_assert_msg(gv_hostport_is_loopback(&address), "%s", inside[i]);
    }
    for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++) {
        gv_hostport_t address = host(outside[i]);
        ck_assert_msg(!gv_hostport_is_loopback(&address), "%s", outside[i]);
        bool unspecified = strcmp(outside[i], "0.0.0.0") == 0 || strcmp(outside[i], "::") == 0;
        ck_assert_int_eq(gv_hostport_is_unspecified(&address), unspecified);
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("address");
    tcase_add_test(tc, hosts_and_ports_are_taken_apart);
    tcase_add_test(tc, everything_else_is_refused);
    tcase_add_test(tc, longest_host_fits_and_one_more_is_refused);
    tcase_add_test(tc, loopback_is_what_no_other_machine_reaches);

    Suite *suite = suite_create("base");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
