/* SPDX-License-Identifier: Apache-2.0 */
#include "base/io/stream.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "tests/unit/base/io/loop_fixture.h"

/*
 * Each test has a stream on a loop of its own thread; the test's thread is the peer, on a plain
 * blocking socket, and arranges things on the loop with call_on().
 */

typedef struct conn conn_t;

struct conn {
    gv_stream_t stream;
    gv_loop_t *loop; /* where it is now */
    const gv_stream_ops_t *ops;
    gv_stream_options_t options;
    size_t (*behave)(conn_t *conn, gv_bytes_t bytes);
    int peer_fd;
    int fd; /* to be opened */

    /* What has happened, the loop's; the test looks after a call_on() or after `closed`. */
    atomic_int calls;
    atomic_int drained;
    atomic_int flushes;
    size_t received;
    uint64_t hash;
    gv_err_t why;
    bool is_inside; /* one of our calls: no callback may come */
    sem_t closed;

    gv_rng_t rng;
    gv_timer_t timer;
    uint32_t packet_size;
    gv_socket_t moving;
    gv_letter_t moving_letter;
    gv_loop_t *other;
    atomic_int moves;
};

static gv_loop_t *loop;
static conn_t conn;

static conn_t *conn_of(gv_stream_t *stream)
{
    conn_t *c = gv_container_of(stream, conn_t, stream);
    gv_loop_assert_current(c->loop);
    GV_ASSERT(!c->is_inside);
    return c;
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
    conn_t *c = conn_of(stream);
    c->calls++;
    return c->behave(c, bytes);
}

static void on_drained(gv_stream_t *stream)
{
    conn_of(stream)->drained++;
}

static void on_closed(gv_stream_t *stream, gv_err_t why)
{
    conn_t *c = conn_of(stream);
    c->why = why;
    (void)sem_post(&c->closed);
}

static const gv_stream_ops_t plain_ops = {
    .on_input = on_input, .on_drained = on_drained, .on_closed = on_closed};

static size_t use_all(conn_t *c, gv_bytes_t bytes)
{
    c->received += bytes.size;
    c->hash = mix(c->hash, bytes);
    return bytes.size;
}

static size_t use_nothing(conn_t *c, gv_bytes_t bytes)
{
    (void)c;
    (void)bytes;
    return 0;
}

/* ---- arranging ------------------------------------------------------------------------------ */

static void open_conn(gv_loop_t *on, void *arg)
{
    conn_t *c = arg;
    gv_loop_assert_current(on);
    gv_socket_t socket = gv_socket_init(c->fd);
    c->loop = on;
    c->is_inside = true;
    gv_err_t err = gv_stream_open(&c->stream, on, c->ops, &c->options, &socket);
    c->is_inside = false;
    GV_ASSERT(err == GV_OK);
    GV_ASSERT(socket.fd == -1);
}

static void make_pair(int domain, int *ours, int *theirs)
{
    int fds[2];
    if (domain == AF_UNIX) {
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
        *ours = fds[0];
        *theirs = fds[1];
        return;
    }
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int listening = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(listening, (struct sockaddr *)&address, size), 0);
    ck_assert_int_eq(getsockname(listening, (struct sockaddr *)&address, &size), 0);
    ck_assert_int_eq(listen(listening, 1), 0);
    *theirs = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(connect(*theirs, (struct sockaddr *)&address, size), 0);
    *ours = accept(listening, NULL, NULL);
    ck_assert_int_ge(*ours, 0);
    (void)close(listening);
}

static void open_with(int domain, size_t (*behave)(conn_t *, gv_bytes_t))
{
    conn.behave = behave;
    if (conn.ops == NULL) {
        conn.ops = &plain_ops;
    }
    make_pair(domain, &conn.fd, &conn.peer_fd);
    call_on(loop, open_conn, &conn);
}

static void close_as(gv_close_mode_t mode)
{
    gv_loop_assert_current(conn.loop);
    conn.is_inside = true;
    gv_stream_close(&conn.stream, mode);
    gv_stream_close(&conn.stream, mode); /* once more does nothing */
    conn.is_inside = false;
}

static void close_abort(gv_loop_t *on, void *arg)
{
    (void)on;
    (void)arg;
    close_as(GV_CLOSE_ABORT);
}

static void close_flush(gv_loop_t *on, void *arg)
{
    (void)on;
    (void)arg;
    close_as(GV_CLOSE_FLUSH);
}

static void write_text(gv_loop_t *on, void *arg)
{
    gv_loop_assert_current(on);
    conn.is_inside = true;
    gv_stream_write(&conn.stream, gv_bytes_text(arg));
    conn.is_inside = false;
}

static void pause_it(gv_loop_t *on, void *arg)
{
    gv_loop_assert_current(on);
    gv_stream_pause(&conn.stream, *(uint8_t *)arg);
}

static void resume_it(gv_loop_t *on, void *arg)
{
    gv_loop_assert_current(on);
    conn.is_inside = true;
    gv_stream_resume(&conn.stream, *(uint8_t *)arg);
    conn.is_inside = false;
}

/* arg: a function for conn.behave. */
static void behave_otherwise(gv_loop_t *on, void *arg)
{
    (void)on;
    memcpy(&conn.behave, &arg, sizeof(arg)); /* ISO C has no cast for this */
}

static void do_nothing(gv_loop_t *on, void *arg)
{
    (void)on;
    (void)arg;
}

static void setup(void)
{
    gv_os_ignore_sigpipe();
    loop = started_loop(0);
    memset(&conn, 0, sizeof(conn));
    conn.peer_fd = -1;
    (void)sem_init(&conn.closed, 0, 0);
}

static void teardown(void)
{
    gv_loop_stop(loop);
    gv_loop_join(loop);
    gv_loop_assert_current(NULL); /* it has ended, we may look into it */
    ck_assert_uint_eq(gv_counter_get(&gv_loop_stats(loop)->streams), 0);
    ck_assert_uint_eq(gv_chunkpool_bytes_out(gv_loop_chunkpool(loop)), 0);
    gv_loop_free(&loop);
    if (conn.peer_fd >= 0) {
        (void)close(conn.peer_fd);
    }
    ck_assert_int_ne(sem_trywait(&conn.closed), 0); /* on_closed came once at most */
    (void)sem_destroy(&conn.closed);
}

static void expect_closed(gv_err_t why)
{
    ck_assert(waited_for(&conn.closed, 10000));
    ck_assert_int_eq(conn.why, why);
}

static void note_received(gv_loop_t *on, void *arg)
{
    (void)on;
    *(size_t *)arg = conn.received;
}

/* Waits until the loop has received that many bytes. */
static void expect_received(size_t size)
{
    size_t received = 0;
    for (int i = 0; i < 5000 && received < size; i++) {
        sleep_ms(1);
        call_on(loop, note_received, &received);
    }
    ck_assert_uint_eq(received, size);
}

static void note_bytes_in(gv_loop_t *on, void *arg)
{
    (void)on;
    *(uint64_t *)arg = gv_stream_bytes_in(&conn.stream);
}

/* Waits until so many bytes have been read, used or not. */
static void expect_read(uint64_t size)
{
    uint64_t bytes_in = 0;
    for (int i = 0; i < 5000 && bytes_in < size; i++) {
        sleep_ms(1);
        call_on(loop, note_bytes_in, &bytes_in);
    }
    ck_assert_uint_eq(bytes_in, size);
}

static void send_all(int fd, const void *data, size_t size)
{
    const uint8_t *pos = data;
    while (size > 0) {
        ssize_t sent = send(fd, pos, size, MSG_NOSIGNAL);
        if (sent <= 0) {
            return; /* the test sees what is missing */
        }
        pos += sent;
        size -= (size_t)sent;
    }
}

/* Reads to the end: how many bytes, or -1 for a reset. */
static ssize_t read_to_end(int fd, char *out, size_t out_size)
{
    size_t total = 0;
    for (;;) {
        char buffer[4096];
        ssize_t got = recv(fd, buffer, sizeof(buffer), 0);
        if (got <= 0) {
            return got == 0 ? (ssize_t)total : -1;
        }
        for (ssize_t i = 0; i < got && total + (size_t)i < out_size; i++) {
            out[total + (size_t)i] = buffer[i];
        }
        total += (size_t)got;
    }
}

/* ---- echo ----------------------------------------------------------------------------------- */

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

/* Sends random bytes in random pieces and waits until all came back. */
static void echo(echo_peer_t *peer)
{
    pthread_t receiver;
    ck_assert_int_eq(pthread_create(&receiver, NULL, echo_receiver, peer), 0);
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
    ck_assert_int_eq(pthread_join(receiver, NULL), 0);
    ck_assert_uint_eq(peer->received, peer->total);
    ck_assert_uint_eq(peer->hash_received, peer->hash_sent);
}

static void on_resume_time(gv_timer_t *timer)
{
    conn_t *c = gv_container_of(timer, conn_t, timer);
    gv_loop_assert_current(c->loop);
    gv_stream_resume(&c->stream, 1);
}

/* Uses a random part of what is offered and sends it back, with pauses now and then. */
static size_t echo_in_pieces(conn_t *c, gv_bytes_t bytes)
{
    gv_loop_assert_current(c->loop);
    size_t used =
        gv_rng_chance(&c->rng, 70) ? bytes.size : gv_rng_below(&c->rng, (uint32_t)bytes.size);
    gv_stream_write(&c->stream, gv_bytes(bytes.data, used));
    if (gv_rng_chance(&c->rng, 5)) {
        gv_stream_pause(&c->stream, 1);
        gv_loop_timer_start(c->loop, &c->timer, gv_rng_below(&c->rng, 2));
    } else if (used < bytes.size) {
        gv_stream_repeat_input(&c->stream);
    }
    return used;
}

static void echo_test(int domain, int buffer_size, size_t total, uint64_t seed)
{
    gv_rng_init(&conn.rng, seed, 3);
    gv_timer_init(&conn.timer, on_resume_time);
    open_with(domain, echo_in_pieces);
    if (buffer_size > 0) {
        int fds[] = {conn.fd, conn.peer_fd};
        for (int i = 0; i < 2; i++) {
            (void)setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &buffer_size, sizeof(buffer_size));
            (void)setsockopt(fds[i], SOL_SOCKET, SO_RCVBUF, &buffer_size, sizeof(buffer_size));
        }
    }
    echo_peer_t peer = {.fd = conn.peer_fd, .total = total, .seed = seed};
    echo(&peer);
    (void)shutdown(conn.peer_fd, SHUT_RDWR);
    expect_closed(GV_ERR_CLOSED);
    ck_assert_uint_eq(gv_stream_bytes_in(&conn.stream), total);
}

START_TEST(echo_comes_back_whole_in_any_pieces)
{
    echo_test(_i % 2 == 0 ? AF_UNIX : AF_INET, 0, 3000000, (uint64_t)_i);
}
END_TEST

START_TEST(echo_comes_back_whole_through_tiny_socket_buffers)
{
    /* Over TCP each full window costs a delayed acknowledgement, so that is only for a few. */
    bool is_unix = _i > 0;
    echo_test(is_unix ? AF_UNIX : AF_INET, 1, is_unix ? 300000 : 20000, 100 + (uint64_t)_i);
}
END_TEST

/* ---- input ---------------------------------------------------------------------------------- */

/* Packets of packet_size bytes, expected as a codec would: the size stands in the first bytes. */
static size_t use_whole_packets(conn_t *c, gv_bytes_t bytes)
{
    gv_loop_assert_current(c->loop);
    size_t used = 0;
    while (bytes.size - used >= c->packet_size) {
        use_all(c, gv_bytes(bytes.data + used, c->packet_size));
        used += c->packet_size;
    }
    if (bytes.size > used) {
        gv_stream_expect(&c->stream, c->packet_size);
    }
    return used;
}

static void note_input_memory(gv_loop_t *on, void *arg)
{
    (void)on;
    *(size_t *)arg = malloc_usable_size(conn.stream._input);
}

START_TEST(big_packets_are_offered_whole_and_rarely)
{
    enum {
        SIZE = 10000000
    };
    conn.packet_size = SIZE;
    conn.options.input_max = SIZE;
    open_with(AF_UNIX, use_whole_packets);
    uint8_t *data = gv_xalloc(SIZE);
    gv_rng_t rng;
    gv_rng_init(&rng, 1, 1);
    gv_rng_fill(&rng, data, SIZE);
    for (int i = 0; i < 3; i++) {
        send_all(conn.peer_fd, data, SIZE);
    }
    expect_received(3 * (size_t)SIZE);
    ck_assert_int_le(conn.calls, 8);
    uint64_t hash = 0;
    for (int i = 0; i < 3; i++) {
        hash = mix(hash, gv_bytes(data, SIZE));
    }
    ck_assert_uint_eq(conn.hash, hash);
    size_t memory = 1;
    call_on(loop, note_input_memory, &memory);
    ck_assert_uint_eq(memory, 0); /* nothing is left, nothing is kept */
    gv_free(data);
    call_on(loop, close_abort, NULL);
    expect_closed(GV_OK);
}
END_TEST

START_TEST(announced_size_costs_no_memory_before_it_arrives)
{
    conn.packet_size = 200000000;
    conn.options.input_max = 200000000;
    open_with(AF_UNIX, use_whole_packets);
    uint8_t *data = gv_xcalloc(1, 300000);
    send_all(conn.peer_fd, data, 300000);
    gv_free(data);
    expect_read(300000);
    size_t memory = 0;
    call_on(loop, note_input_memory, &memory);
    ck_assert_uint_ge(memory, 300000);
    ck_assert_uint_le(memory, 700000);
    call_on(loop, close_abort, NULL);
    expect_closed(GV_OK);
}
END_TEST

START_TEST(unused_input_over_the_limit_ends_the_connection)
{
    conn.options.input_max = 1000;
    open_with(AF_UNIX, use_nothing);
    uint8_t data[999] = {0};
    send_all(conn.peer_fd, data, sizeof(data));
    expect_read(sizeof(data));
    ck_assert_int_ne(sem_trywait(&conn.closed), 0);
    send_all(conn.peer_fd, data, 1);
    expect_closed(GV_ERR_LIMIT);
}
END_TEST

START_TEST(expecting_more_than_the_limit_ends_the_connection)
{
    conn.packet_size = 1001;
    conn.options.input_max = 1000;
    open_with(AF_UNIX, use_whole_packets);
    send_all(conn.peer_fd, "x", 1);
    expect_closed(GV_ERR_LIMIT);
}
END_TEST

static size_t use_half_then_pause(conn_t *c, gv_bytes_t bytes)
{
    gv_loop_assert_current(c->loop);
    size_t half = (bytes.size + 1) / 2;
    use_all(c, gv_bytes(bytes.data, half));
    gv_stream_pause(&c->stream, 2);
    return half;
}

START_TEST(paused_stream_is_not_called_and_goes_on_with_what_was_left)
{
    uint8_t first = 1;
    uint8_t second = 2;
    open_with(AF_UNIX, use_half_then_pause);
    send_all(conn.peer_fd, "0123456789", 10);
    expect_received(5);
    send_all(conn.peer_fd, "more", 4);
    call_on(loop, pause_it, &first);
    sleep_ms(20);
    ck_assert_int_eq(conn.calls, 1);
    call_on(loop, resume_it, &second); /* one reason is left */
    sleep_ms(20);
    ck_assert_int_eq(conn.calls, 1);
    call_on(loop, behave_otherwise, (void *)(uintptr_t)use_all);
    call_on(loop, resume_it, &first);
    expect_received(14);
    ck_assert_uint_eq(conn.hash, mix(0, GV_BYTES_LITERAL("0123456789more")));
    call_on(loop, close_abort, NULL);
    expect_closed(GV_OK);
}
END_TEST

/* Takes one byte per call, as a parser does whose budget is one packet. */
static size_t use_one_byte(conn_t *c, gv_bytes_t bytes)
{
    gv_loop_assert_current(c->loop);
    gv_stream_repeat_input(&c->stream);
    return use_all(c, gv_bytes(bytes.data, 1));
}

START_TEST(repeated_input_comes_without_anything_new_and_before_the_end)
{
    open_with(AF_UNIX, use_one_byte);
    uint8_t data[5000];
    gv_rng_t rng;
    gv_rng_init(&rng, 1, 1);
    gv_rng_fill(&rng, data, sizeof(data));
    send_all(conn.peer_fd, data, sizeof(data));
    (void)shutdown(conn.peer_fd, SHUT_WR); /* the end is there long before the last byte's turn */
    expect_closed(GV_ERR_CLOSED);
    ck_assert_uint_eq(conn.received, sizeof(data));
    ck_assert_uint_eq(conn.hash, mix(0, gv_bytes(data, sizeof(data))));
}
END_TEST

/* ---- output --------------------------------------------------------------------------------- */

static void write_a_lot(gv_loop_t *on, void *arg)
{
    static const uint8_t piece[1000] = {0};
    gv_loop_assert_current(on);
    for (size_t size = *(size_t *)arg; size > 0; size -= sizeof(piece)) {
        gv_stream_write(&conn.stream, gv_bytes(piece, sizeof(piece)));
    }
}

static void note_is_above(gv_loop_t *on, void *arg)
{
    (void)on;
    *(bool *)arg = gv_stream_is_above_mark(&conn.stream);
}

static void note_stalled_ms(gv_loop_t *on, void *arg)
{
    gv_loop_assert_current(on);
    *(uint64_t *)arg = gv_stream_stalled_ms(&conn.stream);
}

START_TEST(slow_reader_is_seen_and_the_drain_is_told)
{
    size_t size = 4000000;
    uint64_t stalled_ms = 1;
    conn.options.drain_mark = 100000;
    open_with(AF_UNIX, use_all);
    call_on(loop, note_stalled_ms, &stalled_ms);
    ck_assert_uint_eq(stalled_ms, 0);
    call_on(loop, write_a_lot, &size);
    sleep_ms(60);
    call_on(loop, note_stalled_ms, &stalled_ms);
    ck_assert_uint_ge(stalled_ms, 30);
    bool is_above = false;
    call_on(loop, note_is_above, &is_above);
    ck_assert(is_above);
    ck_assert_int_eq(conn.drained, 0);

    static uint8_t buffer[4000000];
    ck_assert_int_eq(recv(conn.peer_fd, buffer, sizeof(buffer), MSG_WAITALL), 4000000);
    call_on(loop, note_stalled_ms, &stalled_ms);
    ck_assert_uint_eq(stalled_ms, 0);
    ck_assert_int_eq(conn.drained, 1);
    call_on(loop, note_is_above, &is_above);
    ck_assert(!is_above);
    call_on(loop, close_abort, NULL);
    expect_closed(GV_OK);
}
END_TEST

/* Everything of a turn that fits into the socket at once still counts as drained. */
START_TEST(drain_is_told_even_if_the_socket_took_everything_at_once)
{
    size_t size = 20000;
    conn.options.drain_mark = 10000;
    open_with(AF_UNIX, use_all);
    call_on(loop, write_a_lot, &size);
    call_on(loop, do_nothing, NULL);
    ck_assert_int_eq(conn.drained, 1);
    call_on(loop, close_abort, NULL);
    expect_closed(GV_OK);
}
END_TEST

static void write_many_references(gv_loop_t *on, void *arg)
{
    gv_loop_assert_current(on);
    gv_msgbuf_t *buf = NULL;
    GV_ASSERT(gv_msgbuf_new(100, &buf) == GV_OK);
    memset(gv_msgbuf_data(buf), 'r', 100);
    gv_msgbuf_seal(buf);
    for (int i = 0; i < *(int *)arg; i++) {
        gv_outbuf_append_ref(&conn.stream.out, gv_loop_chunkpool(on), buf, 0, 100);
    }
    gv_msgbuf_unref(&buf);
    gv_stream_dirty(&conn.stream);
}

START_TEST(more_segments_than_one_write_takes_all_go_out)
{
    int count = 1000;
    open_with(AF_UNIX, use_all);
    call_on(loop, write_many_references, &count);
    static uint8_t buffer[100000];
    ck_assert_int_eq(recv(conn.peer_fd, buffer, sizeof(buffer), MSG_WAITALL), sizeof(buffer));
    call_on(loop, close_abort, NULL);
    expect_closed(GV_OK);
}
END_TEST

static void add_trailer(gv_stream_t *stream)
{
    conn_t *c = conn_of(stream);
    gv_loop_assert_current(c->loop);
    c->flushes++;
    gv_outbuf_append(&stream->out, gv_loop_chunkpool(c->loop), GV_BYTES_LITERAL("|"));
    gv_stream_dirty(stream); /* a layer that marks itself dirty must not spin */
}

static const gv_stream_ops_t layered_ops = {
    .on_input = on_input, .before_flush = add_trailer, .on_closed = on_closed};

START_TEST(layer_adds_its_bytes_once_per_flush)
{
    conn.ops = &layered_ops;
    open_with(AF_UNIX, use_all);
    call_on(loop, write_text, "one");
    call_on(loop, write_text, "two");
    for (int i = 0; i < 5; i++) {
        call_on(loop, do_nothing, NULL); /* one turn each: none of them flushes again */
    }
    ck_assert_int_eq(conn.flushes, 2);
    call_on(loop, close_flush, NULL);
    (void)shutdown(conn.peer_fd, SHUT_WR);
    expect_closed(GV_OK);
    char text[100] = "";
    ck_assert_int_eq(read_to_end(conn.peer_fd, text, sizeof(text) - 1), 9);
    ck_assert_str_eq(text, "one|two||");
}
END_TEST

START_TEST(writes_of_one_turn_go_out_together)
{
    open_with(AF_UNIX, use_all);
    size_t size = 10000;
    uint64_t before = gv_counter_get(&gv_loop_stats(loop)->writes);
    call_on(loop, write_a_lot, &size);
    call_on(loop, do_nothing, NULL);
    ck_assert_uint_eq(gv_counter_get(&gv_loop_stats(loop)->writes) - before, 1);
    call_on(loop, close_abort, NULL);
    expect_closed(GV_OK);
}
END_TEST

/* ---- closing -------------------------------------------------------------------------------- */

static size_t pause_at_once(conn_t *c, gv_bytes_t bytes)
{
    (void)bytes;
    gv_loop_assert_current(c->loop);
    gv_stream_pause(&c->stream, 1);
    return 0;
}

/*
 * The peer is in the middle of sending.  If we just closed, its unread bytes would make the kernel
 * send a reset, and the reset would destroy our last words.
 */
START_TEST(last_words_survive_input_that_nobody_reads)
{
    open_with(AF_INET, pause_at_once);
    static const uint8_t data[50000];
    send_all(conn.peer_fd, data, sizeof(data));
    call_on(loop, write_text, "goodbye");
    call_on(loop, close_flush, NULL);
    send_all(conn.peer_fd, data, sizeof(data));
    char text[100] = "";
    ck_assert_int_eq(read_to_end(conn.peer_fd, text, sizeof(text) - 1), 7);
    ck_assert_str_eq(text, "goodbye");
    ck_assert_int_ne(sem_trywait(&conn.closed), 0); /* still waiting for the peer's end */
    (void)close(conn.peer_fd);
    conn.peer_fd = -1;
    expect_closed(GV_OK);
}
END_TEST

START_TEST(abort_closes_at_once)
{
    uint8_t reason = 1;
    open_with(AF_INET, use_all);
    call_on(loop, pause_it, &reason);
    send_all(conn.peer_fd, "unread", 6);
    call_on(loop, close_abort, NULL);
    expect_closed(GV_OK);
    char text[100];
    ck_assert_int_eq(read_to_end(conn.peer_fd, text, sizeof(text)), -1);
}
END_TEST

static void close_flush_then_abort(gv_loop_t *on, void *arg)
{
    close_flush(on, arg);
    close_abort(on, arg);
}

START_TEST(abort_cuts_a_flush_short)
{
    size_t size = 4000000;
    open_with(AF_UNIX, use_all);
    call_on(loop, write_a_lot, &size);
    call_on(loop, close_flush_then_abort, NULL);
    expect_closed(GV_OK); /* and not GV_ERR_TIMEOUT, as by itself */
}
END_TEST

START_TEST(flush_to_a_peer_that_reads_nothing_has_a_deadline)
{
    size_t size = 4000000;
    open_with(AF_UNIX, use_all);
    uint64_t before = now_ms();
    call_on(loop, write_a_lot, &size);
    call_on(loop, close_flush, NULL);
    expect_closed(GV_ERR_TIMEOUT);
    ck_assert_uint_ge(now_ms() - before, 290); /* the fixture's linger_ms is 300 */
}
END_TEST

START_TEST(lingering_for_a_peer_that_does_not_end_has_a_deadline)
{
    open_with(AF_UNIX, use_all);
    uint64_t before = now_ms();
    call_on(loop, write_text, "bye");
    call_on(loop, close_flush, NULL);
    expect_closed(GV_OK);
    ck_assert_uint_ge(now_ms() - before, 290);
}
END_TEST

static size_t close_from_inside(conn_t *c, gv_bytes_t bytes)
{
    gv_loop_assert_current(c->loop);
    use_all(c, bytes);
    c->is_inside = true;
    gv_stream_write(&c->stream, GV_BYTES_LITERAL("enough"));
    gv_stream_close(&c->stream, c->packet_size == 0 ? GV_CLOSE_FLUSH : GV_CLOSE_ABORT);
    c->is_inside = false;
    c->hash = mix(c->hash, bytes); /* the bytes are still there */
    return bytes.size / 2;
}

START_TEST(closing_from_inside_the_call_is_allowed)
{
    conn.packet_size = (uint32_t)_i;
    open_with(AF_UNIX, use_nothing);
    static const uint8_t data[10000];
    send_all(conn.peer_fd, data, sizeof(data)); /* so that the next call is from the leftover */
    expect_read(sizeof(data));
    call_on(loop, behave_otherwise, (void *)(uintptr_t)close_from_inside);
    send_all(conn.peer_fd, "!", 1);
    (void)shutdown(conn.peer_fd, SHUT_WR);
    expect_closed(GV_OK);
    ck_assert_uint_eq(conn.received, 10001);
}
END_TEST

START_TEST(what_came_before_a_reset_is_delivered)
{
    open_with(AF_INET, use_all);
    uint8_t reason = 1;
    call_on(loop, pause_it, &reason);
    send_all(conn.peer_fd, "last", 4);
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    ck_assert_int_eq(setsockopt(conn.peer_fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
    (void)close(conn.peer_fd);
    conn.peer_fd = -1;
    call_on(loop, resume_it, &reason);
    expect_closed(GV_ERR_CLOSED);
    ck_assert_uint_eq(conn.received, 4);
}
END_TEST

static void resume_and_write(gv_loop_t *on, void *reason)
{
    resume_it(on, reason);
    write_text(on, "into the void");
}

/* A subscriber says goodbye and closes while we write to it: the goodbye counts. */
START_TEST(goodbye_is_read_although_writing_fails)
{
    open_with(AF_INET, use_all);
    uint8_t reason = 1;
    call_on(loop, pause_it, &reason);
    call_on(loop, write_text, "unread by the peer");
    call_on(loop, do_nothing, NULL);
    sleep_ms(20);
    send_all(conn.peer_fd, "DISCONNECT", 10);
    (void)close(conn.peer_fd); /* with unread input: a reset */
    conn.peer_fd = -1;
    sleep_ms(20);
    /* In one turn: resumed, but the write fails before anything is read. */
    call_on(loop, resume_and_write, &reason);
    expect_closed(GV_ERR_CLOSED);
    ck_assert_uint_eq(conn.received, 10);
}
END_TEST

START_TEST(stopping_the_loop_ends_its_streams)
{
    open_with(AF_UNIX, use_all);
    gv_loop_stop(loop);
    expect_closed(GV_OK);
}
END_TEST

static void try_file(gv_loop_t *on, void *arg)
{
    (void)arg;
    gv_loop_assert_current(on);
    /* Not a file on a disk: some file systems let theirs be polled. */
    gv_socket_t socket = gv_socket_init(memfd_create("stream_test", 0));
    int fd = socket.fd;
    gv_err_t err = gv_stream_open(&conn.stream, on, &plain_ops, NULL, &socket);
    GV_ASSERT(err == GV_ERR_IO);
    GV_ASSERT(socket.fd == fd); /* still the caller's */
    gv_socket_close(&socket);
    gv_socket_close(&socket); /* once more does nothing */
}

START_TEST(what_is_no_socket_is_refused)
{
    call_on(loop, try_file, NULL);
}
END_TEST

/* ---- moving --------------------------------------------------------------------------------- */

static void move_on(gv_stream_t *stream, gv_err_t why);
static const gv_stream_ops_t moving_ops = {.on_input = on_input, .on_closed = move_on};

static void on_arrival(gv_letter_t *letter)
{
    conn_t *c = gv_container_of(letter, conn_t, moving_letter);
    gv_loop_t *there = c->other;
    gv_loop_assert_current(there);
    c->other = c->loop;
    c->loop = there;
    c->moves++;
    gv_err_t err = gv_stream_open(&c->stream, there, &moving_ops, NULL, &c->moving);
    GV_ASSERT(err == GV_OK);
}

/* The stream has left its loop (or has really ended). */
static void move_on(gv_stream_t *stream, gv_err_t why)
{
    conn_t *c = conn_of(stream);
    if (c->moving.fd < 0) {
        c->why = why;
        (void)sem_post(&c->closed);
        return;
    }
    c->moving_letter.deliver = on_arrival;
    gv_loop_send(c->other, &c->moving_letter);
}

/* Echoes a part, and leaves for the other loop in the middle of what is offered. */
static size_t echo_and_move(conn_t *c, gv_bytes_t bytes)
{
    gv_loop_assert_current(c->loop);
    size_t used = gv_rng_below(&c->rng, (uint32_t)bytes.size + 1);
    gv_stream_write(&c->stream, gv_bytes(bytes.data, used));
    if (gv_rng_chance(&c->rng, 50)) {
        c->is_inside = true;
        gv_stream_detach(&c->stream, &c->moving);
        c->is_inside = false;
    } else if (used < bytes.size) {
        gv_stream_repeat_input(&c->stream);
    }
    return used;
}

START_TEST(connection_moves_between_loops_under_traffic)
{
    gv_loop_t *second = started_loop(1);
    conn.other = second;
    conn.ops = &moving_ops;
    conn.moving = gv_socket_init(-1);
    gv_rng_init(&conn.rng, (uint64_t)_i, 3);
    open_with(_i % 2 == 0 ? AF_UNIX : AF_INET, echo_and_move);
    echo_peer_t peer = {.fd = conn.peer_fd, .total = 2000000, .seed = (uint64_t)_i};
    echo(&peer);
    (void)shutdown(conn.peer_fd, SHUT_RDWR);
    expect_closed(GV_ERR_CLOSED);
    ck_assert_int_gt(conn.moves, 10);
    ck_assert_uint_eq(gv_stream_bytes_in(&conn.stream), peer.total);
    call_on(loop, do_nothing, NULL); /* its last send to the second has returned */
    gv_loop_stop(second);
    gv_loop_join(second);
    gv_loop_assert_current(NULL);
    ck_assert_uint_eq(gv_chunkpool_bytes_out(gv_loop_chunkpool(second)), 0);
    gv_loop_free(&second);
}
END_TEST

static void detach_it(gv_loop_t *on, void *arg)
{
    gv_loop_assert_current(on);
    conn.is_inside = true;
    gv_stream_detach(&conn.stream, arg);
    conn.is_inside = false;
}

START_TEST(detached_connection_carries_input_and_output)
{
    size_t size = 1000000;
    gv_socket_t socket;
    open_with(AF_UNIX, use_nothing);
    send_all(conn.peer_fd, "left over", 9);
    expect_read(9);
    call_on(loop, write_a_lot, &size);
    call_on(loop, detach_it, &socket);
    expect_closed(GV_OK);
    ck_assert_int_ge(socket.fd, 0);
    ck_assert_ptr_nonnull(socket._input);
    ck_assert_uint_gt(gv_outbuf_size(&socket._out), 0);
    ck_assert_uint_eq(socket.bytes_in, 9);
    gv_socket_close(&socket);
    ck_assert_int_eq(socket.fd, -1);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("stream");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, echo_comes_back_whole_in_any_pieces, 0, 4);
    tcase_add_loop_test(tc, echo_comes_back_whole_through_tiny_socket_buffers, 0, 4);
    tcase_add_test(tc, big_packets_are_offered_whole_and_rarely);
    tcase_add_test(tc, announced_size_costs_no_memory_before_it_arrives);
    tcase_add_test(tc, unused_input_over_the_limit_ends_the_connection);
    tcase_add_test(tc, expecting_more_than_the_limit_ends_the_connection);
    tcase_add_test(tc, paused_stream_is_not_called_and_goes_on_with_what_was_left);
    tcase_add_test(tc, repeated_input_comes_without_anything_new_and_before_the_end);
    tcase_add_test(tc, slow_reader_is_seen_and_the_drain_is_told);
    tcase_add_test(tc, drain_is_told_even_if_the_socket_took_everything_at_once);
    tcase_add_test(tc, more_segments_than_one_write_takes_all_go_out);
    tcase_add_test(tc, layer_adds_its_bytes_once_per_flush);
    tcase_add_test(tc, writes_of_one_turn_go_out_together);
    tcase_add_test(tc, last_words_survive_input_that_nobody_reads);
    tcase_add_test(tc, abort_closes_at_once);
    tcase_add_test(tc, abort_cuts_a_flush_short);
    tcase_add_test(tc, flush_to_a_peer_that_reads_nothing_has_a_deadline);
    tcase_add_test(tc, lingering_for_a_peer_that_does_not_end_has_a_deadline);
    tcase_add_loop_test(tc, closing_from_inside_the_call_is_allowed, 0, 2);
    tcase_add_test(tc, what_came_before_a_reset_is_delivered);
    tcase_add_test(tc, goodbye_is_read_although_writing_fails);
    tcase_add_test(tc, stopping_the_loop_ends_its_streams);
    tcase_add_test(tc, what_is_no_socket_is_refused);
    tcase_add_loop_test(tc, connection_moves_between_loops_under_traffic, 0, 4);
    tcase_add_test(tc, detached_connection_carries_input_and_output);
    Suite *suite = suite_create("base/io");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
