/* SPDX-License-Identifier: Apache-2.0 */
#include "base/io/connect.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "tests/unit/base/io/loop_fixture.h"

typedef struct attempt {
    const char *address;
    gv_connect_options_t options;
    gv_connecting_t *connecting;
    gv_err_t started;
    bool is_inside;
    gv_err_t err;
    char reason[256];
    gv_socket_t socket;
    bool is_kept; /* the callback takes the socket over */
    sem_t done;
} attempt_t;

static gv_loop_t *loop;
static attempt_t attempt;
static int listening;
static char address[64];

static void on_connected(gv_err_t err, gv_socket_t *socket, const char *reason, void *arg)
{
    attempt_t *a = arg;
    GV_ASSERT(!a->is_inside);
    GV_ASSERT(gv_loop_current() == loop);
    GV_ASSERT((socket != NULL) == (err == GV_OK));
    a->connecting = NULL; /* it is over: nobody may name it any more */
    a->err = err;
    (void)snprintf(a->reason, sizeof(a->reason), "%s", reason);
    if (socket != NULL && a->is_kept) {
        a->socket = *socket;
        *socket = gv_socket_init(-1);
    }
    (void)sem_post(&a->done);
}

static void start(gv_loop_t *on, void *arg)
{
    attempt_t *a = arg;
    gv_loop_assert_current(on);
    a->is_inside = true;
    a->started = gv_connect(on, a->address, &a->options, on_connected, a, &a->connecting);
    a->is_inside = false;
}

static void cancel(gv_loop_t *on, void *arg)
{
    attempt_t *a = arg;
    gv_loop_assert_current(on);
    gv_connect_cancel(&a->connecting);
    gv_connect_cancel(&a->connecting); /* once more does nothing */
}

static void start_and_cancel(gv_loop_t *on, void *arg)
{
    start(on, arg);
    cancel(on, arg);
}

static void setup(void)
{
    loop = started_loop(0);
    attempt = (attempt_t){.address = address, .socket = gv_socket_init(-1)};
    (void)sem_init(&attempt.done, 0, 0);
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(in);
    listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(listening, (struct sockaddr *)&in, size), 0);
    ck_assert_int_eq(getsockname(listening, (struct sockaddr *)&in, &size), 0);
    (void)snprintf(address, sizeof(address), "127.0.0.1:%u", ntohs(in.sin_port));
}

static void teardown(void)
{
    gv_socket_close(&attempt.socket);
    end_loop(&loop);
    ck_assert_int_ne(sem_trywait(&attempt.done), 0); /* once at most */
    if (listening >= 0) {
        (void)close(listening);
    }
}

static void expect(gv_err_t err, const char *reason)
{
    ck_assert_int_eq(attempt.started, GV_OK);
    ck_assert(waited_for(&attempt.done, 10000));
    ck_assert_msg(attempt.err == err, "%d %s", (int)attempt.err, attempt.reason);
    ck_assert_msg(strstr(attempt.reason, reason) != NULL, "%s", attempt.reason);
}

static int option_of(int fd, int level, int option)
{
    int value = -1;
    socklen_t size = sizeof(value);
    ck_assert_int_eq(getsockopt(fd, level, option, &value, &size), 0);
    return value;
}

START_TEST(connection_has_the_options_asked_for)
{
    ck_assert_int_eq(listen(listening, 10), 0);
    attempt.is_kept = true;
    attempt.options = (gv_connect_options_t){.user_timeout_ms = 5000, .keepalive_idle_s = 7};
    call_on(loop, start, &attempt);
    expect(GV_OK, "");
    int fd = attempt.socket.fd;
    ck_assert_int_eq(option_of(fd, IPPROTO_TCP, TCP_NODELAY), 1);
    ck_assert_int_eq(option_of(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 5000);
    ck_assert_int_eq(option_of(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
    ck_assert_int_eq(option_of(fd, IPPROTO_TCP, TCP_KEEPIDLE), 7);
    ck_assert_int_eq(option_of(fd, IPPROTO_TCP, TCP_KEEPINTVL), 7);
    ck_assert_int_eq(option_of(fd, IPPROTO_TCP, TCP_KEEPCNT), 3);
    int accepted = accept(listening, NULL, NULL);
    ck_assert_int_eq(send(accepted, "hello", 5, 0), 5);
    char text[8] = "";
    sleep_ms(10);
    ck_assert_int_eq(recv(fd, text, sizeof(text), 0), 5);
    (void)close(accepted);
}
END_TEST

START_TEST(socket_nobody_takes_is_closed)
{
    ck_assert_int_eq(listen(listening, 10), 0);
    call_on(loop, start, &attempt);
    expect(GV_OK, "");
    int accepted = accept(listening, NULL, NULL);
    char byte;
    ck_assert_int_eq(recv(accepted, &byte, 1, 0), 0);
    (void)close(accepted);
}
END_TEST

/* localhost may be ::1 first, where nobody listens: the next address is tried. */
START_TEST(names_are_looked_up_and_all_addresses_tried)
{
    char name[64];
    ck_assert_int_eq(listen(listening, 10), 0);
    (void)snprintf(name, sizeof(name), "localhost:%s", strchr(address, ':') + 1);
    attempt.address = name;
    call_on(loop, start, &attempt);
    expect(GV_OK, "");
}
END_TEST

START_TEST(refused_connection_says_so)
{
    (void)close(listening);
    listening = -1;
    call_on(loop, start, &attempt);
    expect(GV_ERR_CLOSED, "connection refused");
    ck_assert_ptr_nonnull(strstr(attempt.reason, address));
}
END_TEST

START_TEST(missing_unix_socket_is_like_a_refused_connection)
{
    attempt.address = "./no_such.sock";
    call_on(loop, start, &attempt);
    expect(GV_ERR_CLOSED, "./no_such.sock");
}
END_TEST

START_TEST(unknown_name_is_not_found)
{
    /* More than 63 characters: refused without asking a name server. */
    char name[128];
    memset(name, 'a', 70);
    memcpy(name + 70, ":1", 3);
    attempt.address = name;
    call_on(loop, start, &attempt);
    expect(GV_ERR_NOENT, "cannot connect to aaaa");
}
END_TEST

START_TEST(texts_that_are_no_addresses_are_refused_at_once)
{
    static const char *const texts[] = {"", "host", ":1883", "*:1", "127.0.0.1:0", "::1:5"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        attempt.address = texts[i];
        call_on(loop, start, &attempt);
        ck_assert_int_eq(attempt.started, GV_ERR_INVAL);
        ck_assert_ptr_null(attempt.connecting);
    }
}
END_TEST

/* A listener whose queue is full: Linux drops further connection requests silently. */
static void fill_backlog(int *fds, int count)
{
    struct sockaddr_in in;
    socklen_t size = sizeof(in);
    ck_assert_int_eq(listen(listening, 0), 0);
    ck_assert_int_eq(getsockname(listening, (struct sockaddr *)&in, &size), 0);
    for (int i = 0; i < count; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(fds[i], (struct sockaddr *)&in, size);
    }
    sleep_ms(20);
}

static void close_fds(const int *fds, int count)
{
    for (int i = 0; i < count; i++) {
        (void)close(fds[i]);
    }
}

START_TEST(silence_ends_with_the_deadline)
{
    int fds[8];
    fill_backlog(fds, 8);
    attempt.options.timeout_ms = 100;
    uint64_t before = now_ms();
    call_on(loop, start, &attempt);
    expect(GV_ERR_TIMEOUT, "no answer");
    ck_assert_uint_ge(now_ms() - before, 99);
    close_fds(fds, 8);
}
END_TEST

/* Starts an attempt and cancels it after a while; once more if it was over before, as happens where
 * this thread has to wait for its turn. */
static void start_and_cancel_after(long ms)
{
    do {
        call_on(loop, start, &attempt);
        sleep_ms(ms);
        call_on(loop, cancel, &attempt);
    } while (sem_trywait(&attempt.done) == 0);
    ck_assert_ptr_null(attempt.connecting);
}

/* teardown() sees that nobody was called back. */
START_TEST(cancelled_attempt_does_not_call_back)
{
    int fds[8];
    fill_backlog(fds, 8);
    attempt.options.timeout_ms = 50;
    call_on(loop, start_and_cancel, &attempt);
    start_and_cancel_after(10);
    attempt.address = "localhost:1";
    start_and_cancel_after(0);
    sleep_ms(100);
    close_fds(fds, 8);
}
END_TEST

START_TEST(stopping_the_loop_ends_the_attempt)
{
    int fds[8];
    fill_backlog(fds, 8);
    call_on(loop, start, &attempt);
    gv_loop_stop(loop);
    expect(GV_ERR_CLOSED, "shutting down");
    close_fds(fds, 8);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("connect");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, connection_has_the_options_asked_for);
    tcase_add_test(tc, socket_nobody_takes_is_closed);
    tcase_add_test(tc, names_are_looked_up_and_all_addresses_tried);
    tcase_add_test(tc, refused_connection_says_so);
    tcase_add_test(tc, missing_unix_socket_is_like_a_refused_connection);
    tcase_add_test(tc, unknown_name_is_not_found);
    tcase_add_test(tc, texts_that_are_no_addresses_are_refused_at_once);
    tcase_add_test(tc, silence_ends_with_the_deadline);
    tcase_add_test(tc, cancelled_attempt_does_not_call_back);
    tcase_add_test(tc, stopping_the_loop_ends_the_attempt);
    Suite *suite = suite_create("base/io");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
