/* SPDX-License-Identifier: Apache-2.0 */
#include "base/io/stream.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/socket.h>

#include <check.h>

#include "base/alloc.h"
#include "base/io/os.h"
#include "base/rng.h"

/*
 * Each test has one or two loops and a "peer": a plain blocking socket in a thread of its own, that
 * behaves as the test needs it.
 */

typedef struct conn {
    gv_stream_t stream;
    int peer_fd;
    size_t received;
    uint64_t hash; /* of what was received, order included */
    int calls;
    int drained;
    int closed;
    gv_err_t why;
    size_t (*behave)(struct conn *conn, gv_bytes_t bytes);
    gv_job_t job;
    gv_timer_t timer;
    gv_socket_t moving;
    gv_letter_t letter;
    gv_loop_t *home;
    uint32_t packet_size;
    void *data;
} conn_t;

static conn_t *conn_of(gv_stream_t *stream)
{
    return gv_container_of(stream, conn_t, stream);
}

static uint64_t mix(uint64_t hash, gv_bytes_t bytes)
{
    for (size_t i = 0; i < bytes.size; i++) {
        hash = (hash ^ bytes.data[i]) * 1099511628211U;
    }
    return hash;
}

static size_t on_input(gv_stream_t *stream, gv_bytes_t bytes)
{
    conn_t *conn = conn_of(stream);
    gv_loop_assert_current(gv_stream_loop(stream));
    conn->calls++;
    return conn->behave(conn, bytes);
}

static void on_drained(gv_stream_t *stream)
{
    conn_of(stream)->drained++;
}

static void on_closed_stop(gv_stream_t *stream, gv_err_t why)
{
    conn_t *conn = conn_of(stream);
    conn->closed++;
    conn->why = why;
    gv_loop_stop(gv_stream_loop(stream));
}

static const gv_stream_ops_t ops = {
    .on_input = on_input, .on_drained = on_drained, .on_closed = on_closed_stop};

static void make_pair(int *ours, int *theirs, int buffer_size)
{
    int fds[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    if (buffer_size > 0) {
        for (int i = 0; i < 2; i++) {
            ck_assert_int_eq(
                setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &buffer_size, sizeof(buffer_size)), 0);
        }
    }
    *ours = fds[0];
    *theirs = fds[1];
}

/* Opens conn on a new loop when the loop runs. */
typedef struct opening {
    gv_letter_t letter;
    gv_loop_t *loop;
    conn_t *conn;
    int fd;
    const gv_stream_ops_t *ops;
    gv_stream_options_t options;
    void (*then)(conn_t *conn);
} opening_t;

static void on_open(gv_letter_t *letter)
{
    opening_t *opening = gv_container_of(letter, opening_t, letter);
    gv_loop_assert_current(opening->loop);
    gv_socket_t socket = gv_socket_init(opening->fd);
    gv_err_t err = gv_stream_open(&opening->conn->stream, opening->loop, opening->ops,
                                  &opening->options, &socket);
    ck_assert_int_eq(err, GV_OK);
    ck_assert_int_eq(socket.fd, -1);
    if (opening->then != NULL) {
        opening->then(opening->conn);
    }
}

static void run_with(opening_t *opening)
{
    gv_loop_options_t options = {.name = "test", .linger_ms = 300};
    ck_assert_int_eq(gv_loop_new(&options, &opening->loop), GV_OK);
    opening->letter.deliver = on_open;
    opening->conn->home = opening->loop;
    if (opening->ops == NULL) {
        opening->ops = &ops;
    }
    gv_loop_send(opening->loop, &opening->letter);
    gv_loop_run(opening->loop);
    ck_assert_int_eq(opening->conn->closed, 1);
    ck_assert_uint_eq(gv_counter_get(&gv_loop_stats(opening->loop)->streams), 0);
    gv_loop_assert_current(NULL); /* the loop has ended, we may look into it */
    ck_assert_uint_eq(gv_chunkpool_bytes_out(gv_loop_chunkpool(opening->loop)), 0);
    gv_loop_free(&opening->loop);
}

/* ---- the peer's side ------------------------------------------------------------------------ */

static void send_all(int fd, const uint8_t *data, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent <= 0) {
            return; /* the test sees what is missing */
        }
        data += sent;
        size -= (size_t)sent;
    }
}

typedef struct echo_peer {
    int fd;
    size_t total;
    uint64_t seed;
    uint64_t hash_sent;
    uint64_t hash_received;
    size_t received;
} echo_peer_t;

static void *echo_receiver(void *arg)
{
    echo_peer_t *peer = arg;
    uint8_t buffer[5000];
    gv_rng_t rng;
    gv_rng_init(&rng, peer->seed, 2);
    while (peer->received < peer->total) {
        ssize_t got = recv(peer->fd, buffer, 1 + gv_rng_below(&rng, sizeof(buffer) - 1), 0);
        if (got <= 0) {
            break;
        }
        peer->hash_received = mix(peer->hash_received, gv_bytes(buffer, (size_t)got));
        peer->received += (size_t)got;
    }
    return NULL;
}

static void *echo_sender(void *arg)
{
    echo_peer_t *peer = arg;
    pthread_t receiver;
    if (pthread_create(&receiver, NULL, echo_receiver, peer) != 0) {
        abort();
    }
    uint8_t buffer[20000];
    gv_rng_t rng;
    gv_rng_init(&rng, peer->seed, 1);
    for (size_t sent = 0; sent < peer->total;) {
        size_t size = 1 + gv_rng_below(&rng, gv_rng_chance(&rng, 20) ? sizeof(buffer) - 1 : 300);
        size = size < peer->total - sent ? size : peer->total - sent;
        gv_rng_fill(&rng, buffer, size);
        peer->hash_sent = mix(peer->hash_sent, gv_bytes(buffer, size));
        send_all(peer->fd, buffer, size);
        sent += size;
    }
    (void)pthread_join(receiver, NULL);
    (void)close(peer->fd);
    return NULL;
}

/* ---- tests ---------------------------------------------------------------------------------- */

/* Uses a random part of what is offered and sends it back, with pauses now and then. */
static void resume_later(gv_timer_t *timer)
{
    conn_t *conn = gv_container_of(timer, conn_t, timer);
    gv_loop_assert_current(conn->home);
    gv_stream_resume(&conn->stream, 1);
}

static size_t echo_in_pieces(conn_t *conn, gv_bytes_t bytes)
{
    gv_loop_assert_current(conn->home);
    gv_rng_t *rng = conn->data;
    size_t used = gv_rng_chance(rng, 70) ? bytes.size : gv_rng_below(rng, (uint32_t)bytes.size);
    gv_stream_write(&conn->stream, gv_bytes(bytes.data, used));
    if (gv_rng_chance(rng, 5)) {
        gv_stream_pause(&conn->stream, 1);
        gv_loop_timer_start(conn->home, &conn->timer, gv_rng_below(rng, 2));
    } else if (used < bytes.size) {
        gv_stream_repeat_input(&conn->stream);
    }
    conn->received += used;
    return used;
}

static void echo_test(int buffer_size, size_t total, uint64_t seed)
{
    gv_rng_t rng;
    gv_rng_init(&rng, seed, 3);
    conn_t conn = {.behave = echo_in_pieces, .data = &rng};
    gv_timer_init(&conn.timer, resume_later);
    opening_t opening = {.conn = &conn};
    echo_peer_t peer = {.total = total, .seed = seed};
    make_pair(&opening.fd, &peer.fd, buffer_size);
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, echo_sender, &peer), 0);
    run_with(&opening);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_uint_eq(peer.received, total);
    ck_assert_uint_eq(peer.hash_received, peer.hash_sent);
    ck_assert_int_eq(conn.why, GV_ERR_CLOSED);
    ck_assert_uint_eq(gv_stream_bytes_in(&conn.stream), total);
    ck_assert_uint_eq(gv_stream_bytes_out(&conn.stream), total);
}

START_TEST(echo_comes_back_whole_in_any_pieces)
{
    echo_test(0, 3000000, (uint64_t)_i);
}
END_TEST

START_TEST(echo_comes_back_whole_through_tiny_socket_buffers)
{
    echo_test(1, 300000, 100 + (uint64_t)_i);
}
END_TEST

int main(void)
{
    gv_os_ignore_sigpipe();
    TCase *tc = tcase_create("stream");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, echo_comes_back_whole_in_any_pieces, 0, 4);
    tcase_add_loop_test(tc, echo_comes_back_whole_through_tiny_socket_buffers, 0, 4);
    Suite *suite = suite_create("base/io");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
