/* SPDX-License-Identifier: Apache-2.0 */
#include "base/io/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "tests/unit/base/io/loop_fixture.h"

enum {
    LOOPS = 2,
    ACCEPTED_MAX = 600
};

/* What a loop has accepted; the loop's, looked at through call_on(). */
typedef struct door {
    gv_loop_t *loop;
    gv_listener_t *listener;
    gv_listener_options_t options;
    int fd;
    gv_err_t err;
    gv_error_text_t error;
    int accepted_fds[ACCEPTED_MAX];
    gv_address_t peer; /* of the last one */
    int count;
} door_t;

static door_t doors[LOOPS];
static gv_loop_t *loops[LOOPS];
static gv_admission_t admission;
static char path[64];

static void on_accepted(gv_socket_t *socket, const gv_address_t *peer, void *arg)
{
    (void)arg; /* with spread_over it is the accepting door's, so the loop tells whose it is */
    door_t *door = &doors[gv_loop_index(gv_loop_current())];
    GV_ASSERT(gv_loop_current() == door->loop);
    GV_ASSERT(door->count < ACCEPTED_MAX);
    door->accepted_fds[door->count++] = socket->fd;
    door->peer = *peer;
}

static void open_door(gv_loop_t *loop, void *arg)
{
    door_t *door = arg;
    gv_loop_assert_current(loop);
    door->err = gv_listener_open(loop, door->fd, &door->options, on_accepted, door, &door->listener,
                                 &door->error);
}

static void close_door(gv_loop_t *loop, void *arg)
{
    door_t *door = arg;
    gv_loop_assert_current(loop);
    gv_listener_close(&door->listener);
    gv_listener_close(&door->listener); /* once more does nothing */
}

static void pause_door(gv_loop_t *loop, void *arg)
{
    gv_loop_assert_current(loop);
    gv_listener_pause(((door_t *)arg)->listener);
}

static void resume_door(gv_loop_t *loop, void *arg)
{
    gv_loop_assert_current(loop);
    gv_listener_resume(((door_t *)arg)->listener);
}

static void note_count(gv_loop_t *loop, void *arg)
{
    *(int *)arg = doors[gv_loop_index(loop)].count;
}

static int count_on(uint32_t i)
{
    int count = 0;
    call_on(loops[i], note_count, &count);
    return count;
}

static bool count_reaches(int wanted)
{
    for (int i = 0; i < 3000; i++) {
        if (count_on(0) + count_on(1) >= wanted) {
            return true;
        }
        sleep_ms(1);
    }
    return false;
}

static void setup(void)
{
    for (uint32_t i = 0; i < LOOPS; i++) {
        loops[i] = started_loop(i);
        doors[i] = (door_t){.loop = loops[i], .fd = -1};
    }
    gv_admission_init(&admission, 0, 0);
    (void)snprintf(path, sizeof(path), "./listener_test.%d.sock", (int)getpid());
}

static void teardown(void)
{
    for (uint32_t i = 0; i < LOOPS; i++) {
        end_loop(&loops[i]);
        for (int j = 0; j < doors[i].count; j++) {
            (void)close(doors[i].accepted_fds[j]);
        }
    }
}

/* Binds sockets and opens a door with each; returns the port. */
static uint16_t open_doors(const char *address, uint32_t count)
{
    int fds[LOOPS];
    uint32_t bound = 0;
    gv_error_text_t error;
    gv_err_t err = gv_listen_bind(address, count, fds, &bound, &error);
    ck_assert_msg(err == GV_OK, "%s", error.text);
    for (uint32_t i = 0; i < bound; i++) {
        doors[i].fd = fds[i];
        call_on(loops[i], open_door, &doors[i]);
        ck_assert_msg(doors[i].err == GV_OK, "%s", doors[i].error.text);
    }
    gv_address_t first = gv_address_of_socket(fds[0]);
    return gv_address_port(&first);
}

/* A connected client, or -1. */
static int dial(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

static int dial_path(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

static bool is_closed_by_server(int fd)
{
    struct timeval timeout = {.tv_sec = 3};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    char byte;
    ssize_t got = recv(fd, &byte, 1, 0);
    return got == 0 || (got < 0 && errno == ECONNRESET);
}

/* ---- TCP ------------------------------------------------------------------------------------ */

START_TEST(two_loops_share_one_port_and_both_get_connections)
{
    enum {
        CLIENTS = 200
    };
    uint16_t port = open_doors("127.0.0.1:0", LOOPS);
    ck_assert_uint_gt(port, 0);
    int clients[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = dial(port);
        ck_assert_int_ge(clients[i], 0);
    }
    ck_assert(count_reaches(CLIENTS));
    ck_assert_int_gt(count_on(0), CLIENTS / 10);
    ck_assert_int_gt(count_on(1), CLIENTS / 10);
    ck_assert_uint_eq(gv_counter_get(&gv_loop_stats(loops[0])->accepted), (unsigned)count_on(0));

    int on = 0;
    socklen_t size = sizeof(on);
    int fd = doors[0].accepted_fds[0];
    ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, &size), 0);
    ck_assert_int_eq(on, 1);
    ck_assert_int_ne(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    ck_assert_int_ne(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    char text[GV_ADDRESS_TEXT_SIZE];
    ck_assert_int_eq(strncmp(gv_address_text(&doors[0].peer, text), "127.0.0.1:", 10), 0);
    for (int i = 0; i < CLIENTS; i++) {
        (void)close(clients[i]);
    }
}
END_TEST

static void binding_fails(const char *address, gv_err_t wanted, const char *why)
{
    int fds[LOOPS];
    uint32_t bound = 1;
    gv_error_text_t error = {.text = ""};
    ck_assert_int_eq(gv_listen_bind(address, LOOPS, fds, &bound, &error), wanted);
    ck_assert_uint_eq(bound, 0);
    ck_assert_msg(strstr(error.text, why) != NULL, "%s", error.text);
}

/* Also when the other program allows sharing, as a second node of the same user would. */
START_TEST(port_in_use_is_a_clear_error)
{
    char address[32];
    uint16_t port = open_doors("127.0.0.1:0", LOOPS);
    (void)snprintf(address, sizeof(address), "127.0.0.1:%u", port);
    binding_fails(address, GV_ERR_BUSY, "address in use by another program");
    binding_fails(address, GV_ERR_BUSY, address);
}
END_TEST

START_TEST(names_and_every_address_can_be_bound)
{
    uint16_t port = open_doors("localhost:0", 1);
    int fd = dial(port);
    ck_assert_int_ge(fd, 0);
    (void)close(fd);
    call_on(loops[0], close_door, &doors[0]);
    port = open_doors(":0", LOOPS);
    fd = dial(port);
    ck_assert_int_ge(fd, 0);
    (void)close(fd);
    ck_assert(count_reaches(1));
}
END_TEST

START_TEST(closed_listener_refuses)
{
    uint16_t port = open_doors("127.0.0.1:0", 1);
    call_on(loops[0], close_door, &doors[0]);
    ck_assert_int_eq(dial(port), -1);
}
END_TEST

START_TEST(paused_listener_lets_clients_wait)
{
    uint16_t port = open_doors("127.0.0.1:0", 1);
    call_on(loops[0], pause_door, &doors[0]);
    int fd = dial(port); /* the kernel takes it in */
    ck_assert_int_ge(fd, 0);
    sleep_ms(30);
    ck_assert_int_eq(count_on(0), 0);
    call_on(loops[0], resume_door, &doors[0]);
    ck_assert(count_reaches(1));
    (void)close(fd);
}
END_TEST

START_TEST(connections_over_the_limit_are_closed_and_counted)
{
    gv_admission_init(&admission, 3, 0);
    doors[0].options.admission = &admission;
    uint16_t port = open_doors("127.0.0.1:0", 1);
    int fds[5];
    for (int i = 0; i < 5; i++) {
        fds[i] = dial(port);
    }
    ck_assert(is_closed_by_server(fds[4]));
    ck_assert_int_eq(count_on(0), 3);
    ck_assert_uint_eq(gv_admission_open(&admission), 3);
    ck_assert_uint_eq(gv_counter_get(&gv_loop_stats(loops[0])->accept_refused), 2);
    gv_admission_leave(&admission);
    int next = dial(port);
    ck_assert(count_reaches(4));
    (void)close(next);
    for (int i = 0; i < 5; i++) {
        (void)close(fds[i]);
    }
}
END_TEST

START_TEST(connections_above_the_rate_wait_and_then_come_in)
{
    gv_admission_init(&admission, 0, 20);
    for (int i = 0; i < LOOPS; i++) {
        doors[i].options.admission = &admission;
    }
    uint16_t port = open_doors("127.0.0.1:0", LOOPS);
    int fds[30];
    for (int i = 0; i < 30; i++) {
        fds[i] = dial(port); /* the kernel takes it in */
        ck_assert_int_ge(fds[i], 0);
    }
    sleep_ms(20);
    ck_assert_int_lt(count_on(0) + count_on(1), 30);
    ck_assert(count_reaches(30));
    ck_assert_uint_gt(gv_counter_get(&gv_loop_stats(loops[0])->accept_delayed) +
                          gv_counter_get(&gv_loop_stats(loops[1])->accept_delayed),
                      0);
    ck_assert_uint_eq(gv_counter_get(&gv_loop_stats(loops[0])->accept_refused), 0);
    for (int i = 0; i < 30; i++) {
        (void)close(fds[i]);
    }
}
END_TEST

/*
 * With no descriptor left the listener refuses with its spare one and rests, instead of being woken
 * for ever by a connection it cannot take.
 */
START_TEST(running_out_of_descriptors_does_not_spin)
{
    uint16_t port = open_doors("127.0.0.1:0", 1);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    int highest = dup(0);
    struct rlimit limit = {.rlim_cur = (rlim_t)highest + 1, .rlim_max = (rlim_t)highest + 1};
    struct rlimit before;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    limit.rlim_max = before.rlim_max;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);

    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    ck_assert_int_eq(connect(client, (struct sockaddr *)&address, sizeof(address)), 0);
    ck_assert(is_closed_by_server(client));
    const gv_loop_stats_t *stats = gv_loop_stats(loops[0]);
    ck_assert_uint_eq(gv_counter_get(&stats->accept_failed), 1);
    uint64_t turns = gv_counter_get(&stats->turns);
    sleep_ms(300);
    ck_assert_uint_lt(gv_counter_get(&stats->turns) - turns, 20);
    ck_assert_int_eq(count_on(0), 0);

    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    int again = dial(port);
    ck_assert_int_ge(again, 0);
    ck_assert(count_reaches(1)); /* it has recovered by itself */
    (void)close(again);
    (void)close(client);
}
END_TEST

/* ---- unix sockets --------------------------------------------------------------------------- */

START_TEST(unix_connections_go_to_the_loops_in_turn)
{
    doors[0].options.spread_over = loops;
    doors[0].options.spread_count = LOOPS;
    doors[0].options.admission = &admission;
    (void)open_doors(path, LOOPS);
    struct stat info;
    ck_assert_int_eq(stat(path, &info), 0);
    ck_assert_uint_eq(info.st_mode & 0777, 0660);
    int fds[6];
    for (int i = 0; i < 6; i++) {
        fds[i] = dial_path();
        ck_assert_int_ge(fds[i], 0);
    }
    ck_assert(count_reaches(6));
    ck_assert_int_eq(count_on(0), 3);
    ck_assert_int_eq(count_on(1), 3);
    char text[GV_ADDRESS_TEXT_SIZE];
    ck_assert_str_eq(gv_address_text(&doors[1].peer, text), "unix");

    binding_fails(path, GV_ERR_BUSY, "address in use");
    call_on(loops[0], close_door, &doors[0]);
    ck_assert_int_ne(stat(path, &info), 0); /* the file is gone */
    for (int i = 0; i < 6; i++) {
        (void)close(fds[i]);
    }
}
END_TEST

/* Connections on their way to a loop that stops are closed, not lost. */
START_TEST(connection_for_a_stopping_loop_is_closed)
{
    gv_admission_init(&admission, 10, 0);
    gv_loop_t *second[] = {loops[1]};
    doors[0].options.spread_over = second;
    doors[0].options.spread_count = 1;
    doors[0].options.admission = &admission;
    (void)open_doors(path, 1);
    gv_loop_stop(loops[1]);
    gv_loop_join(loops[1]);
    int fd = dial_path();
    ck_assert_int_ge(fd, 0);
    for (int i = 0; i < 3000 && gv_admission_open(&admission) == 0; i++) {
        sleep_ms(1);
    }
    ck_assert_uint_eq(gv_admission_open(&admission), 1);
    call_on(loops[0], close_door, &doors[0]);
    gv_loop_free(&loops[1]);
    ck_assert(is_closed_by_server(fd));
    ck_assert_uint_eq(gv_admission_open(&admission), 0);
    (void)close(fd);
    loops[1] = started_loop(1); /* for the teardown */
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("listener");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, two_loops_share_one_port_and_both_get_connections);
    tcase_add_test(tc, port_in_use_is_a_clear_error);
    tcase_add_test(tc, names_and_every_address_can_be_bound);
    tcase_add_test(tc, closed_listener_refuses);
    tcase_add_test(tc, paused_listener_lets_clients_wait);
    tcase_add_test(tc, connections_over_the_limit_are_closed_and_counted);
    tcase_add_test(tc, connections_above_the_rate_wait_and_then_come_in);
    tcase_add_test(tc, running_out_of_descriptors_does_not_spin);
    tcase_add_test(tc, unix_connections_go_to_the_loops_in_turn);
    tcase_add_test(tc, connection_for_a_stopping_loop_is_closed);
    Suite *suite = suite_create("base/io");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
