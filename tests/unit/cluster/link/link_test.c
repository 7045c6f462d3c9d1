/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Links over loopback: two sets on one loop, and raw sockets that play peers of all kinds.  This is
 * the test of conn.c, dial.c and notice.c too, which cannot be met but through link.h.
 */

#include "cluster/link/link.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "base/io/listener.h"
#include "cluster/core/frame_kind.h"
#include "cluster/link/hmac.h"
#include "tests/unit/cluster/on_loop.h"

#define KIND_CONTROL ((uint8_t)GV_FRAME_HEARTBEAT)
#define KIND_DATA    ((uint8_t)GV_FRAME_FORWARD)

/* ---- one set of links and what happened to it --------------------------------------------- */

#define KINDS_MAX 4096

typedef struct side {
    gv_loop_t *loop;
    gv_handshake_self_t self;
    gv_links_t *links;
    int fd;
    char address[GV_ADDRESS_TEXT_SIZE];
    bool has_closed;

    uint32_t opened;
    gv_link_id_t link; /* opened last */
    uint64_t dial_token;
    gv_peer_identity_t peer;
    uint32_t closed;
    uint32_t dials_failed;
    uint64_t failed_token;
    uint32_t frames;
    uint8_t kinds[KINDS_MAX];
    uint64_t bytes;
    bool is_spoilt; /* a frame's body was not what was sent */
    bool pause_reading;
} side_t;

static void on_opened(gv_link_id_t link, const gv_peer_identity_t *peer, uint64_t dial_token,
                      void *arg)
{
    side_t *side = arg;
    side->opened++;
    side->link = link;
    side->peer = *peer;
    side->dial_token = dial_token;
}

/* A body is all of one byte: the low bits of the frame's number. */
static void on_frame(gv_link_id_t link, uint8_t kind, gv_bytes_t body, void *arg)
{
    side_t *side = arg;
    ck_assert_uint_eq(link, side->link);
    ck_assert_uint_lt(side->frames, KINDS_MAX);
    side->kinds[side->frames++] = kind;
    side->bytes += body.size;
    for (size_t i = 1; i < body.size; i++) {
        side->is_spoilt = side->is_spoilt || body.data[i] != body.data[0];
    }
}

static void on_closed(gv_link_id_t link, void *arg)
{
    side_t *side = arg;
    ck_assert_uint_eq(link, side->link);
    side->closed++;
}

static void on_dial_failed(uint64_t dial_token, void *arg)
{
    side_t *side = arg;
    side->dials_failed++;
    side->failed_token = dial_token;
}

static void open_side(void *arg)
{
    side_t *side = arg;
    gv_loop_assert_current(side->loop);
    const gv_links_options_t options = {
        .loop = side->loop,
        .self = &side->self,
        .listen_fd = side->fd,
        .ops = {.opened = on_opened,
                .frame = on_frame,
                .closed = on_closed,
                .dial_failed = on_dial_failed},
        .arg = side,
    };
    gv_error_text_t error;
    ck_assert_int_eq(gv_links_open(&options, &side->links, &error), GV_OK);
}

static void on_side_closed(void *arg)
{
    side_t *side = arg;
    side->has_closed = true;
}

static void close_side(void *arg)
{
    side_t *side = arg;
    gv_loop_assert_current(side->loop);
    gv_links_close(side->links, on_side_closed, side);
}

static bool has_closed(void *arg)
{
    const side_t *side = arg;
    return side->has_closed;
}

static gv_loop_t *loop;
static side_t a;
static side_t b;

static void set_up_side(side_t *side, uint8_t number)
{
    *side = (side_t){.loop = loop};
    gv_peer_identity_t *identity = &side->self.identity;
    memset(identity->id.bytes, number, GV_NODE_ID_SIZE);
    identity->incarnation = (gv_incarnation_t){.start_counter = 1, .boot_id = number};
    (void)snprintf(identity->name, sizeof(identity->name), "node%u", number);
    (void)snprintf(identity->cluster, sizeof(identity->cluster), "vineyard");
    side->self.protocol_oldest = side->self.protocol_newest = 1;
    side->self.secret = GV_BYTES_LITERAL("sesame");
    side->self.hmac = gv_hmac_openssl();

    gv_error_text_t error;
    uint32_t count;
    ck_assert_int_eq(gv_listen_bind("127.0.0.1:0", 1, &side->fd, &count, &error), GV_OK);
    gv_address_t address = gv_address_of_socket(side->fd);
    (void)gv_address_text(&address, side->address);
    (void)snprintf(identity->address, sizeof(identity->address), "%s", side->address);
}

static void set_up(void)
{
    ck_assert_int_eq(gv_loop_new(NULL, &loop), GV_OK);
    set_up_side(&a, 1);
    set_up_side(&b, 2);
    ck_assert_int_eq(gv_loop_start(loop), GV_OK);
    on_loop(loop, open_side, &a);
    on_loop(loop, open_side, &b);
}

static void tear_down(void)
{
    on_loop(loop, close_side, &a);
    ck_assert(comes_true(loop, has_closed, &a, 20000));
    /* b is left open: the loop's end has to be enough. */
    gv_loop_stop(loop);
    gv_loop_join(loop);
    gv_links_free(&a.links);
    gv_links_free(&b.links);
    gv_loop_free(&loop);
}

static void dial_b(void *arg)
{
    side_t *side = arg;
    gv_loop_assert_current(side->loop);
    gv_links_dial(side->links, b.address, 77);
}

static bool is_opened(void *arg)
{
    const side_t *side = arg;
    return side->opened > 0;
}

static bool is_closed(void *arg)
{
    const side_t *side = arg;
    return side->closed > 0;
}

static bool has_dial_failed(void *arg)
{
    const side_t *side = arg;
    return side->dials_failed > 0;
}

static void link_both(void)
{
    on_loop(loop, dial_b, &a);
    ck_assert(comes_true(loop, is_opened, &a, 20000));
    ck_assert(comes_true(loop, is_opened, &b, 20000));
}

static gv_links_stats_t stats_of_b;

static void copy_stats_of_b(void *arg)
{
    (void)arg;
    gv_loop_assert_current(loop);
    stats_of_b = *gv_links_stats(b.links);
}

static const gv_links_stats_t *stats_b(void)
{
    on_loop(loop, copy_stats_of_b, NULL);
    return &stats_of_b;
}

/* ---- raw peers ---------------------------------------------------------------------------- */

static int connect_to_b(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)strtoul(strrchr(b.address, ':') + 1, NULL, 10)),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    struct timeval patience = {.tv_sec = 10};
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    return fd;
}

static void send_all(int fd, gv_bytes_t bytes)
{
    while (bytes.size > 0) {
        ssize_t sent = send(fd, bytes.data, bytes.size, MSG_NOSIGNAL);
        ck_assert_int_gt(sent, 0);
        bytes = gv_bytes(bytes.data + sent, bytes.size - (size_t)sent);
    }
}

/* True when the other side has closed, whatever it has said before. */
static bool is_at_end(int fd)
{
    char bytes[4096];
    ssize_t size;
    while ((size = recv(fd, bytes, sizeof(bytes), 0)) > 0) {
    }
    return size == 0 || errno == ECONNRESET;
}

/* A peer that does the handshake over a blocking socket; gives the frame decoder's leftovers up. */
static void shake_hands(int fd, const gv_handshake_self_t *self)
{
    uint8_t challenge[GV_HANDSHAKE_CHALLENGE_BYTES] = {1};
    gv_handshake_t *handshake;
    gv_handshake_new(self, GV_HANDSHAKE_DIALER, challenge, &handshake);
    gv_linkframe_decoder_t decoder;
    gv_linkframe_decoder_init(&decoder, GV_HANDSHAKE_BODY_MAX);
    send_all(fd, gv_handshake_output(handshake));
    while (gv_handshake_state(handshake) != GV_HANDSHAKE_OPEN) {
        uint8_t byte;
        ck_assert_int_eq(recv(fd, &byte, 1, 0), 1);
        gv_bytes_t input = gv_bytes(&byte, 1);
        gv_linkframe_t frame;
        if (gv_linkframe_decode(&decoder, &input, &frame) == GV_OK) {
            ck_assert_int_ne(gv_handshake_input(handshake, &frame), GV_HANDSHAKE_REFUSED);
            send_all(fd, gv_handshake_output(handshake));
        }
    }
    gv_linkframe_decoder_deinit(&decoder);
    gv_handshake_free(&handshake);
}

static gv_handshake_self_t raw_self(void)
{
    gv_handshake_self_t self = a.self;
    memset(self.identity.id.bytes, 9, GV_NODE_ID_SIZE);
    (void)snprintf(self.identity.name, sizeof(self.identity.name), "raw");
    return self;
}

/* ---- opening ------------------------------------------------------------------------------ */

START_TEST(two_nodes_link)
{
    link_both();
    ck_assert_uint_eq(a.dial_token, 77);
    ck_assert_uint_eq(b.dial_token, 0);
    ck_assert_str_eq(a.peer.name, "node2");
    ck_assert_str_eq(b.peer.name, "node1");
    ck_assert_str_eq(b.peer.address, a.address);
}
END_TEST

static void forget_own_address(void *arg)
{
    (void)arg;
    (void)snprintf(a.self.identity.address, sizeof(a.self.identity.address), "%s", ":7883");
}

START_TEST(a_port_alone_is_completed_with_the_host_the_peer_is_seen_at)
{
    on_loop(loop, forget_own_address, NULL);
    link_both();
    ck_assert_str_eq(b.peer.address, "127.0.0.1:7883");
}
END_TEST

static void look_up_info(void *arg)
{
    (void)arg;
    gv_loop_assert_current(loop);
    gv_link_info_t info;
    ck_assert(gv_links_info(a.links, &b.self.identity.id, &info));
    ck_assert(info.is_dialled);
    ck_assert_str_eq(info.address, b.address);
    ck_assert_uint_eq(info.protocol, 1);
    ck_assert(!gv_links_info(a.links, &a.self.identity.id, &info));
}

START_TEST(an_open_link_can_be_looked_at)
{
    link_both();
    on_loop(loop, look_up_info, NULL);
}
END_TEST

static void dial_nowhere(void *arg)
{
    side_t *side = arg;
    gv_loop_assert_current(side->loop);
    gv_links_dial(side->links, "127.0.0.1:1", 5);
}

static void dial_nonsense(void *arg)
{
    side_t *side = arg;
    gv_loop_assert_current(side->loop);
    gv_links_dial(side->links, "no port here", 6);
    ck_assert_msg(side->dials_failed == 0, "never from inside the call");
}

START_TEST(a_dial_that_leads_nowhere_fails_once)
{
    on_loop(loop, dial_nowhere, &a);
    ck_assert(comes_true(loop, has_dial_failed, &a, 20000));
    ck_assert_uint_eq(a.failed_token, 5);
    a.dials_failed = 0;
    on_loop(loop, dial_nonsense, &a);
    ck_assert(comes_true(loop, has_dial_failed, &a, 20000));
    ck_assert_uint_eq(a.failed_token, 6);
}
END_TEST

static void dial_itself(void *arg)
{
    side_t *side = arg;
    gv_loop_assert_current(side->loop);
    gv_links_dial(side->links, side->address, 8);
}

START_TEST(a_node_that_dials_itself_fails_and_does_not_try_again_soon)
{
    on_loop(loop, dial_itself, &b);
    ck_assert(comes_true(loop, has_dial_failed, &b, 20000));
    ck_assert_uint_eq(stats_b()->dialled, 1);
    ck_assert_uint_eq(b.opened, 0);
    b.dials_failed = 0;
    on_loop(loop, dial_itself, &b);
    ck_assert(comes_true(loop, has_dial_failed, &b, 20000));
    ck_assert_uint_eq(stats_b()->dialled, 1);
}
END_TEST

static void forget_secret(void *arg)
{
    (void)arg;
    a.self.secret = GV_BYTES_LITERAL("another");
}

START_TEST(a_wrong_secret_opens_nothing_on_either_side)
{
    on_loop(loop, forget_secret, NULL);
    on_loop(loop, dial_b, &a);
    ck_assert(comes_true(loop, has_dial_failed, &a, 20000));
    ck_assert_uint_eq(a.opened, 0);
    ck_assert_uint_eq(b.opened, 0);
    ck_assert_uint_eq(stats_b()->refused[GV_LINK_CLOSE_SECRET], 1);
}
END_TEST

/* ---- frames ------------------------------------------------------------------------------- */

static uint8_t body_bytes[65536];

static void send_one(side_t *side, gv_link_priority_t priority, size_t size)
{
    static uint8_t number;
    gv_loop_assert_current(side->loop);
    memset(body_bytes, ++number, size);
    gv_links_send(side->links, side->link, priority,
                  priority == GV_LINK_DATA ? KIND_DATA : KIND_CONTROL, gv_bytes(body_bytes, size));
}

static void send_sizes(void *arg)
{
    static const size_t sizes[] = {0, 1, 100, 4096, 65536, 7};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        send_one(arg, GV_LINK_CONTROL, sizes[i]);
    }
}

static bool has_6_frames(void *arg)
{
    const side_t *side = arg;
    return side->frames == 6;
}

START_TEST(frames_of_all_sizes_arrive_both_ways)
{
    link_both();
    on_loop(loop, send_sizes, &a);
    on_loop(loop, send_sizes, &b);
    ck_assert(comes_true(loop, has_6_frames, &a, 20000));
    ck_assert(comes_true(loop, has_6_frames, &b, 20000));
    ck_assert_uint_eq(b.bytes, 0 + 1 + 100 + 4096 + 65536 + 7);
    ck_assert(!a.is_spoilt);
    ck_assert(!b.is_spoilt);
}
END_TEST

#define BULK_FRAMES 200U

/* 12 MiB of data, and then, in the same turn, one control frame. */
static void send_bulk_then_control(void *arg)
{
    for (uint32_t i = 0; i < BULK_FRAMES; i++) {
        send_one(arg, GV_LINK_DATA, sizeof(body_bytes));
    }
    send_one(arg, GV_LINK_CONTROL, 10);
    gv_link_info_t info;
    gv_loop_assert_current(loop);
    ck_assert(gv_links_info(a.links, &b.self.identity.id, &info));
    ck_assert_uint_gt(info.queue_bytes, (BULK_FRAMES - 1) * sizeof(body_bytes));
}

static bool has_bulk(void *arg)
{
    const side_t *side = arg;
    return side->frames == BULK_FRAMES + 1;
}

START_TEST(control_overtakes_data_that_waits)
{
    link_both();
    on_loop(loop, send_bulk_then_control, &a);
    ck_assert(comes_true(loop, has_bulk, &b, 20000));
    ck_assert(!b.is_spoilt);
    size_t before = 0;
    while (b.kinds[before] == KIND_DATA) {
        before++;
    }
    ck_assert_uint_le(before, GV_LINK_SOCKET_BYTES / sizeof(body_bytes) + 1);
    ck_assert_uint_eq(b.bytes, BULK_FRAMES * sizeof(body_bytes) + 10);
}
END_TEST

static void end_link(void *arg)
{
    side_t *side = arg;
    gv_loop_assert_current(side->loop);
    send_one(side, GV_LINK_CONTROL, 33);
    gv_links_end_link(side->links, side->link);
    send_one(side, GV_LINK_CONTROL, 44); /* too late, and harmless */
}

START_TEST(ending_a_link_delivers_what_was_sent_before)
{
    link_both();
    on_loop(loop, end_link, &a);
    ck_assert(comes_true(loop, is_closed, &b, 20000));
    ck_assert_uint_eq(b.frames, 1);
    ck_assert_uint_eq(b.bytes, 33);
    ck_assert_msg(a.closed == 0, "not told what it did itself");
}
END_TEST

START_TEST(closing_the_set_ends_its_links)
{
    link_both();
    on_loop(loop, close_side, &b);
    ck_assert(comes_true(loop, has_closed, &b, 20000));
    ck_assert(comes_true(loop, is_closed, &a, 20000));
    ck_assert_uint_eq(b.closed, 0);
}
END_TEST

/* ---- bad peers ---------------------------------------------------------------------------- */

START_TEST(garbage_is_closed_without_an_answer)
{
    static const char *const garbage[] = {
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00",
        "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00",
    };
    static const size_t sizes[] = {27, 14, 12, 12};
    for (size_t i = 0; i < 4; i++) {
        int fd = connect_to_b();
        send_all(fd, gv_bytes(garbage[i], sizes[i]));
        char byte;
        ck_assert_int_le(recv(fd, &byte, 1, 0), 0);
        (void)close(fd);
    }
    ck_assert_uint_eq(stats_b()->garbage, 4);
    link_both();
}
END_TEST

START_TEST(a_silent_stranger_is_sent_away_after_three_seconds)
{
    uint64_t began_ms = now_ms();
    int fd = connect_to_b();
    ck_assert(is_at_end(fd));
    uint64_t took_ms = now_ms() - began_ms;
    ck_assert_uint_ge(took_ms, GV_HANDSHAKE_TIMEOUT_MS - 100);
    ck_assert_uint_le(took_ms, GV_HANDSHAKE_TIMEOUT_MS + 20000);
    (void)close(fd);
}
END_TEST

START_TEST(strangers_are_limited_and_nodes_get_in_again_afterwards)
{
    enum {
        TOO_MANY = GV_LINK_STRANGERS_MAX + 20
    };
    int fds[TOO_MANY];
    for (size_t i = 0; i < TOO_MANY; i++) {
        fds[i] = connect_to_b();
    }
    for (size_t i = GV_LINK_STRANGERS_MAX; i < TOO_MANY; i++) {
        ck_assert_msg(is_at_end(fds[i]), "number %zu was let in", i);
    }
    ck_assert_uint_eq(stats_b()->strangers_refused, TOO_MANY - GV_LINK_STRANGERS_MAX);
    ck_assert_uint_eq(stats_b()->accepted, GV_LINK_STRANGERS_MAX);
    for (size_t i = 0; i < TOO_MANY; i++) {
        (void)close(fds[i]);
    }
    uint64_t until_ms = now_ms() + 20000;
    while (a.opened == 0 && now_ms() < until_ms) {
        a.dials_failed = 0;
        on_loop(loop, dial_b, &a);
        (void)comes_true(loop, is_opened, &a, 200);
    }
    ck_assert_uint_gt(a.opened, 0);
}
END_TEST

static void begin_raw_link(int *fd_out)
{
    gv_handshake_self_t self = raw_self();
    *fd_out = connect_to_b();
    shake_hands(*fd_out, &self);
    ck_assert(comes_true(loop, is_opened, &b, 20000));
}

START_TEST(a_damaged_frame_costs_the_link_and_nothing_else)
{
    int fd;
    begin_raw_link(&fd);
    uint8_t bytes[64];
    gv_writer_t w = gv_writer(bytes, sizeof(bytes));
    gv_linkframe_write(&w, KIND_CONTROL, GV_BYTES_LITERAL("whole"));
    size_t size = sizeof(bytes) - gv_writer_left(&w);
    send_all(fd, gv_bytes(bytes, size));
    bytes[size - 1] ^= 1;
    send_all(fd, gv_bytes(bytes, size));
    ck_assert(comes_true(loop, is_closed, &b, 20000));
    ck_assert_uint_eq(b.frames, 1);
    ck_assert_uint_eq(stats_b()->frames_bad, 1);
    ck_assert(is_at_end(fd));
    (void)close(fd);
    b.opened = 0;
    link_both();
}
END_TEST

START_TEST(a_frame_over_the_limit_costs_the_link)
{
    int fd;
    begin_raw_link(&fd);
    uint8_t *body = gv_xcalloc(1, GV_FRAME_BODY_MAX + 1);
    gv_bytes_t bytes = gv_bytes(body, GV_FRAME_BODY_MAX + 1);
    uint8_t header[GV_LINKFRAME_HEADER_BYTES];
    gv_linkframe_header(header, KIND_DATA, &bytes, 1);
    send_all(fd, gv_bytes(header, sizeof(header)));
    ck_assert(comes_true(loop, is_closed, &b, 20000));
    ck_assert_uint_eq(b.frames, 0);
    (void)close(fd);
    gv_free(body);
}
END_TEST

START_TEST(a_second_handshake_costs_the_link)
{
    int fd;
    begin_raw_link(&fd);
    uint8_t bytes[64];
    gv_writer_t w = gv_writer(bytes, sizeof(bytes));
    gv_linkframe_write(&w, GV_FRAME_HELLO, GV_BYTES_LITERAL("again"));
    send_all(fd, gv_bytes(bytes, sizeof(bytes) - gv_writer_left(&w)));
    ck_assert(comes_true(loop, is_closed, &b, 20000));
    ck_assert_uint_eq(b.frames, 0);
    (void)close(fd);
}
END_TEST

START_TEST(a_peer_that_goes_away_is_noticed)
{
    int fd;
    begin_raw_link(&fd);
    (void)close(fd);
    ck_assert(comes_true(loop, is_closed, &b, 20000));
}
END_TEST

int main(void)
{
    gv_os_ignore_sigpipe();
    TCase *tc = tcase_create("links");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, two_nodes_link);
    tcase_add_test(tc, a_port_alone_is_completed_with_the_host_the_peer_is_seen_at);
    tcase_add_test(tc, an_open_link_can_be_looked_at);
    tcase_add_test(tc, a_dial_that_leads_nowhere_fails_once);
    tcase_add_test(tc, a_node_that_dials_itself_fails_and_does_not_try_again_soon);
    tcase_add_test(tc, a_wrong_secret_opens_nothing_on_either_side);
    tcase_add_test(tc, frames_of_all_sizes_arrive_both_ways);
    tcase_add_test(tc, control_overtakes_data_that_waits);
    tcase_add_test(tc, ending_a_link_delivers_what_was_sent_before);
    tcase_add_test(tc, closing_the_set_ends_its_links);
    tcase_add_test(tc, garbage_is_closed_without_an_answer);
    tcase_add_test(tc, a_silent_stranger_is_sent_away_after_three_seconds);
    tcase_add_test(tc, strangers_are_limited_and_nodes_get_in_again_afterwards);
    tcase_add_test(tc, a_damaged_frame_costs_the_link_and_nothing_else);
    tcase_add_test(tc, a_frame_over_the_limit_costs_the_link);
    tcase_add_test(tc, a_second_handshake_costs_the_link);
    tcase_add_test(tc, a_peer_that_goes_away_is_noticed);

    Suite *suite = suite_create("cluster/link");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
