/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/admin/members.h"

#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <check.h>
#include <sys/socket.h>
#include <unistd.h>

static gv_loop_t *loop;
static gv_admin_t *admin;
static uint16_t port;

/* ---- a node with others --------------------------------------------------------------------- */

static struct {
    char text[200];
    gv_err_t err;
    int asked;
} node;

static void keep(void *arg, const char *text, gv_members_done_cb_t *finished, void *done_arg)
{
    gv_loop_assert_current(loop);
    ck_assert_str_eq(arg, "node");
    node.asked++;
    (void)snprintf(node.text, sizeof(node.text), "%s", text);
    finished(node.err, done_arg);
}

static gv_err_t leave(void *arg)
{
    gv_loop_assert_current(loop);
    ck_assert_str_eq(arg, "node");
    node.asked++;
    return node.err;
}

static const gv_members_ops_t ops = {
    .join = keep, .forget = keep, .leave = leave, .arg = (void *)(uintptr_t) "node"};

/* ---- the server and its client ------------------------------------------------------------- */

static sem_t done;

static void on_open(gv_letter_t *letter)
{
    (void)letter;
    gv_loop_assert_current(loop);
    gv_error_text_t error;
    const gv_admin_options_t options = {.address = "127.0.0.1:0"};
    ck_assert_int_eq(gv_admin_open(loop, &options, &admin, &error), GV_OK);
    gv_admin_add_member_routes(admin, &ops);
    port = gv_admin_port(admin);
    sem_post(&done);
}

static void on_close(gv_letter_t *letter)
{
    (void)letter;
    gv_loop_assert_current(loop);
    gv_admin_close(&admin);
    sem_post(&done);
}

static void setup(void)
{
    memset(&node, 0, sizeof(node));
    sem_init(&done, 0, 0);
    ck_assert_int_eq(gv_loop_new(NULL, &loop), GV_OK);
    ck_assert_int_eq(gv_loop_start(loop), GV_OK);
    static gv_letter_t letter;
    letter.deliver = on_open;
    gv_loop_send(loop, &letter);
    sem_wait(&done);
}

static void teardown(void)
{
    static gv_letter_t letter;
    letter.deliver = on_close;
    gv_loop_send(loop, &letter);
    sem_wait(&done);
    gv_loop_stop(loop);
    gv_loop_join(loop);
    gv_loop_free(&loop);
    sem_destroy(&done);
}

static void expect(const char *path, const char *status, const char *part)
{
    char text[8192];
    size_t size = 0;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int size_sent = snprintf(
        text, sizeof(text),
        "POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", path);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    ck_assert_int_eq(send(fd, text, (size_t)size_sent, MSG_NOSIGNAL), size_sent);
    ssize_t got;
    while ((got = recv(fd, text + size, sizeof(text) - 1 - size, 0)) > 0) {
        size += (size_t)got;
    }
    text[size] = '\0';
    close(fd);
    ck_assert_msg(strncmp(text + strlen("HTTP/1.1 "), status, 3) == 0 && strstr(text, part) != NULL,
                  "%s: expected %s with %s, got\n%s", path, status, part, text);
}

/* ---- tests -------------------------------------------------------------------------------- */

START_TEST(what_is_asked_for_is_done)
{
    expect("/api/v1/cluster/join?seed=n2%3A7883", "200", "\"dialling\": true");
    ck_assert_str_eq(node.text, "n2:7883");
    expect("/api/v1/cluster/forget?node=n%202", "200", "\"forgotten\": true");
    ck_assert_str_eq(node.text, "n 2");
    expect("/api/v1/cluster/leave", "200", "\"leaving\": true");
    ck_assert_int_eq(node.asked, 3);
}
END_TEST

START_TEST(nobody_is_asked_for_nothing)
{
    static const char *const bad[] = {"join", "join?seed=", "join?node=a:1", "forget",
                                      "forget?node="};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char path[100];
        (void)snprintf(path, sizeof(path), "/api/v1/cluster/%s", bad[i]);
        expect(path, "400", "expected");
    }
    ck_assert_int_eq(node.asked, 0);
}
END_TEST

START_TEST(a_refusal_says_why)
{
    static const struct {
        const char *path;
        gv_err_t err;
        const char *status;
        const char *part;
    } refusals[] = {
        {"join?seed=x", GV_ERR_INVAL, "400", "HOST:PORT"},
        {"join?seed=a:1", GV_ERR_LIMIT, "409", "too many"},
        {"join?seed=a:1", GV_ERR_CLOSED, "409", "NOT_IN_CLUSTER"},
        {"forget?node=a", GV_ERR_NOENT, "404", "NOT_FOUND"},
        {"forget?node=a", GV_ERR_BUSY, "409", "alive"},
        {"forget?node=a", GV_ERR_CLOSED, "409", "NOT_IN_CLUSTER"},
        {"leave", GV_ERR_BUSY, "409", "STOPPING"},
        {"leave", GV_ERR_CLOSED, "409", "NOT_IN_CLUSTER"},
    };
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        char path[100];
        (void)snprintf(path, sizeof(path), "/api/v1/cluster/%s", refusals[i].path);
        node.err = refusals[i].err;
        expect(path, refusals[i].status, refusals[i].part);
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("members");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, what_is_asked_for_is_done);
    tcase_add_test(tc, nobody_is_asked_for_nothing);
    tcase_add_test(tc, a_refusal_says_why);
    Suite *suite = suite_create("broker/admin");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
