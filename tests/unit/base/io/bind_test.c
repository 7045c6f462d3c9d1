/* SPDX-License-Identifier: Apache-2.0 */
#include "base/io/bind.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/socket.h>
#include <sys/stat.h>

#include <check.h>

enum {
    COUNT = 3
};

static int fds[COUNT];
static uint32_t bound;
static gv_error_text_t error;

static void binds(const char *address, uint32_t count)
{
    gv_err_t err = gv_listen_bind(address, COUNT, fds, &bound, &error);
    ck_assert_msg(err == GV_OK, "%s", error.text);
    ck_assert_uint_eq(bound, count);
}

static void close_bound(void)
{
    for (uint32_t i = 0; i < bound; i++) {
        (void)close(fds[i]);
    }
}

static void fails(const char *address, gv_err_t wanted, const char *why)
{
    int others[COUNT];
    uint32_t count = 1;
    gv_error_text_t text = {.text = ""};
    ck_assert_int_eq(gv_listen_bind(address, COUNT, others, &count, &text), wanted);
    ck_assert_uint_eq(count, 0);
    ck_assert_msg(strstr(text.text, why) != NULL, "%s", text.text);
}

static uint16_t port_of(int fd)
{
    gv_address_t address = gv_address_of_socket(fd);
    return gv_address_port(&address);
}

START_TEST(all_sockets_share_the_port_that_was_free)
{
    static const char *const addresses[] = {"127.0.0.1:0", "localhost:0", "*:0"};
    for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
        binds(addresses[i], COUNT);
        ck_assert_uint_gt(port_of(fds[0]), 0);
        ck_assert_uint_eq(port_of(fds[0]), port_of(fds[1]));
        ck_assert_uint_eq(port_of(fds[0]), port_of(fds[2]));
        close_bound();
    }
}
END_TEST

START_TEST(listening_program_keeps_its_port_to_itself)
{
    char address[32];
    binds("127.0.0.1:0", COUNT);
    (void)snprintf(address, sizeof(address), "127.0.0.1:%u", port_of(fds[0]));
    ck_assert_int_eq(listen(fds[0], 1), 0);
    fails(address, GV_ERR_BUSY, "address in use by another program");
    fails(address, GV_ERR_BUSY, address);
    close_bound();
    binds(address, COUNT); /* free again */
    close_bound();
}
END_TEST

START_TEST(addresses_that_cannot_be_bound_are_clear_errors)
{
    fails("nonsense", GV_ERR_INVAL, "expected host:port");
    fails("192.0.2.1:0", GV_ERR_IO, "192.0.2.1:0");
    fails("/no/such/folder/x.sock", GV_ERR_IO, "/no/such/folder/x.sock");
    /* A label of more than 63 characters is refused without asking a name server. */
    char name[128];
    memset(name, 'a', 70);
    memcpy(name + 70, ":0", 3);
    fails(name, GV_ERR_NOENT, "cannot listen");
}
END_TEST

START_TEST(unix_socket_is_one_and_for_the_group)
{
    char path[64];
    struct stat info;
    (void)snprintf(path, sizeof(path), "./bind_test.%d.sock", (int)getpid());
    binds(path, 1);
    ck_assert_int_eq(stat(path, &info), 0);
    ck_assert(S_ISSOCK(info.st_mode));
    ck_assert_uint_eq(info.st_mode & 0777, 0660);
    ck_assert_int_eq(listen(fds[0], 1), 0);
    fails(path, GV_ERR_BUSY, "address in use");
    close_bound();
    binds(path, 1); /* what a killed process left is replaced */
    close_bound();
    ck_assert_int_eq(unlink(path), 0);
}
END_TEST

START_TEST(file_that_is_no_socket_is_left_alone)
{
    char path[64];
    struct stat info;
    (void)snprintf(path, sizeof(path), "./bind_test.%d.file", (int)getpid());
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fclose(file), 0);
    fails(path, GV_ERR_BUSY, path);
    ck_assert_int_eq(stat(path, &info), 0);
    ck_assert_int_eq(unlink(path), 0);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("bind");
    tcase_add_test(tc, all_sockets_share_the_port_that_was_free);
    tcase_add_test(tc, listening_program_keeps_its_port_to_itself);
    tcase_add_test(tc, addresses_that_cannot_be_bound_are_clear_errors);
    tcase_add_test(tc, unix_socket_is_one_and_for_the_group);
    tcase_add_test(tc, file_that_is_no_socket_is_left_alone);
    Suite *suite = suite_create("base/io");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
