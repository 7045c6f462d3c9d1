/* SPDX-License-Identifier: Apache-2.0 */
#include "base/io/tls.h"

#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "tests/unit/base/io/tls_fixture.h"
#include "tests/unit/seed.h"

/*
 * Two ends of a connection, and two pipes of wire bytes between them.  Each test decides how the
 * bytes are cut on the way.
 */

typedef struct side {
    gv_tls_t *tls;
    gv_outbuf_t out;   /* wire bytes to the other side */
    uint8_t *received; /* plaintext */
    size_t received_size;
    gv_err_t last; /* of gv_tls_receive() */
} side_t;

static tls_files_t files;
static gv_chunkpool_t pool;
static gv_rng_t rng;
static gv_tlsctx_t *server_ctx;
static gv_tlsctx_t *client_ctx;
static side_t server;
static side_t client;

static gv_tlsctx_t *context(gv_tlsctx_options_t options)
{
    gv_tlsctx_t *ctx = NULL;
    gv_error_text_t error;
    gv_err_t err = gv_tlsctx_new(&options, &ctx, &error);
    ck_assert_msg(err == GV_OK, "%s", error.text);
    return ctx;
}

static gv_tls_sink_t sink_of(side_t *side)
{
    return (gv_tls_sink_t){.out = &side->out, .pool = &pool};
}

static void setup(void)
{
    gv_chunkpool_init(&pool);
    gv_rng_init(&rng, test_seed("base/io/tls"), 1);
    server_ctx = context((gv_tlsctx_options_t){
        .role = GV_TLS_SERVER, .cert = files.server_cert, .key = files.server_key});
    client_ctx = context((gv_tlsctx_options_t){.role = GV_TLS_CLIENT, .ca = files.ca});
    server = (side_t){.last = GV_ERR_AGAIN};
    client = (side_t){.last = GV_ERR_AGAIN};
}

static void side_deinit(side_t *side)
{
    gv_tls_free(&side->tls);
    gv_outbuf_clear(&side->out, &pool);
    gv_free(side->received);
}

static void teardown(void)
{
    side_deinit(&server);
    side_deinit(&client);
    gv_tlsctx_unref(&server_ctx);
    gv_tlsctx_unref(&client_ctx);
    ck_assert_uint_eq(gv_chunkpool_bytes_out(&pool), 0);
    gv_chunkpool_deinit(&pool);
}

static void make_ends(void)
{
    ck_assert_int_eq(gv_tls_new(server_ctx, NULL, &server.tls), GV_OK);
    ck_assert_int_eq(gv_tls_new(client_ctx, "localhost", &client.tls), GV_OK);
}

static void take_in(side_t *side, gv_bytes_t wire)
{
    static uint8_t room[5000];
    do {
        size_t got = 0;
        side->last = gv_tls_receive(side->tls, &wire, sink_of(side), room, sizeof(room), &got);
        ck_assert(got == 0 || side->last == GV_OK);
        side->received = gv_xrealloc(side->received, side->received_size + got);
        memcpy(side->received + side->received_size, room, got);
        side->received_size += got;
    } while (side->last == GV_OK);
    ck_assert(side->last != GV_ERR_AGAIN || wire.size == 0);
}

/* Carries up to piece_max bytes over, in an allocation of exactly their size. */
static bool carry(side_t *from, side_t *to, size_t piece_max)
{
    gv_bytes_t vec[1];
    if (gv_outbuf_iovec(&from->out, vec, 1) == 0) {
        return false;
    }
    size_t size = vec[0].size < piece_max ? vec[0].size : piece_max;
    size = gv_rng_below(&rng, (uint32_t)size) + 1;
    uint8_t *copy = gv_xalloc(size);
    memcpy(copy, vec[0].data, size);
    gv_outbuf_consume(&from->out, &pool, size);
    take_in(to, gv_bytes(copy, size));
    gv_free(copy);
    return true;
}

static void settle(size_t piece_max)
{
    for (bool goes_on = true; goes_on;) {
        goes_on = carry(&client, &server, piece_max);
        goes_on = carry(&server, &client, piece_max) || goes_on;
    }
}

static void shake_hands(size_t piece_max)
{
    make_ends();
    take_in(&client, GV_BYTES_EMPTY); /* the client begins */
    settle(piece_max);
    ck_assert(gv_tls_is_open(server.tls));
    ck_assert(gv_tls_is_open(client.tls));
}

static void send_text(side_t *side, const char *text)
{
    gv_bytes_t bytes = gv_bytes_text(text);
    ck_assert_int_eq(gv_tls_send(side->tls, &bytes, sink_of(side)), GV_OK);
    ck_assert_uint_eq(bytes.size, 0);
}

static void expect_received(const side_t *side, const char *text)
{
    ck_assert(gv_bytes_equal(gv_bytes(side->received, side->received_size), gv_bytes_text(text)));
}

START_TEST(two_ends_talk_however_the_bytes_are_cut)
{
    static const size_t pieces[] = {1, 7, 100, 100000};
    shake_hands(pieces[_i]);
    send_text(&client, "hello ");
    send_text(&client, "server");
    send_text(&server, "hello client");
    settle(pieces[_i]);
    expect_received(&server, "hello server");
    expect_received(&client, "hello client");
}
END_TEST

START_TEST(nothing_is_sent_before_the_handshake_is_done)
{
    make_ends();
    gv_bytes_t bytes = GV_BYTES_LITERAL("early");
    ck_assert_int_eq(gv_tls_send(server.tls, &bytes, sink_of(&server)), GV_ERR_AGAIN);
    ck_assert_uint_eq(bytes.size, 5);
    ck_assert_uint_eq(gv_outbuf_size(&server.out), 0);
    ck_assert(!gv_tls_is_open(server.tls));
}
END_TEST

START_TEST(megabytes_arrive_as_they_were_sent)
{
    enum {
        SIZE = 3000000
    };
    shake_hands(100000);
    uint8_t *data = gv_xalloc(SIZE);
    for (size_t i = 0; i < SIZE; i++) {
        data[i] = (uint8_t)gv_rng_below(&rng, 256);
    }
    gv_bytes_t left = gv_bytes(data, SIZE);
    while (left.size > 0) {
        size_t size = gv_rng_below(&rng, 50000) + 1;
        size = size < left.size ? size : left.size;
        gv_bytes_t piece = gv_bytes(left.data, size);
        ck_assert_int_eq(gv_tls_send(client.tls, &piece, sink_of(&client)), GV_OK);
        left = gv_bytes(left.data + size, left.size - size);
        if (gv_rng_below(&rng, 3) == 0) {
            settle(65536);
        }
    }
    settle(65536);
    ck_assert(
        gv_bytes_equal(gv_bytes(server.received, server.received_size), gv_bytes(data, SIZE)));
    gv_free(data);
}
END_TEST

START_TEST(a_close_is_answered_and_final)
{
    shake_hands(100);
    send_text(&client, "bye");
    gv_tls_close(client.tls, sink_of(&client));
    settle(100);
    expect_received(&server, "bye");
    ck_assert_int_eq(server.last, GV_ERR_CLOSED);
    gv_tls_close(server.tls, sink_of(&server));
    ck_assert_uint_gt(gv_outbuf_size(&server.out), 0);
    settle(100);
    ck_assert_int_eq(client.last, GV_ERR_CLOSED);
    gv_bytes_t bytes = GV_BYTES_LITERAL("more");
    ck_assert_int_eq(gv_tls_send(server.tls, &bytes, sink_of(&server)), GV_ERR_CLOSED);
    gv_tls_close(server.tls, sink_of(&server)); /* once more says nothing more */
    ck_assert_uint_eq(gv_outbuf_size(&server.out), 0);
}
END_TEST

START_TEST(plain_bytes_on_a_tls_port_are_refused)
{
    static const char *const greetings[] = {
        "\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c", "GET / HTTP/1.1\r\n\r\n", "PROXY TCP4 1.2.3.4\r\n",
        "\x16\x03\x01\xff\xff garbage after a header that looks right ........................."};
    ck_assert_int_eq(gv_tls_new(server_ctx, NULL, &server.tls), GV_OK);
    take_in(&server, gv_bytes(greetings[_i], _i == 0 ? 14 : strlen(greetings[_i])));
    ck_assert_int_eq(server.last, GV_ERR_MALFORMED);
    ck_assert_str_ne(gv_tls_error(server.tls), "");
    ck_assert(!gv_tls_is_open(server.tls));
    take_in(&server, GV_BYTES_LITERAL("more")); /* it only repeats itself */
    ck_assert_int_eq(server.last, GV_ERR_MALFORMED);
    gv_tls_close(server.tls, sink_of(&server));
}
END_TEST

START_TEST(damage_on_the_wire_is_noticed)
{
    for (int round = 0; round < 200; round++) {
        shake_hands(100000);
        send_text(&client, "0123456789 0123456789 0123456789");
        gv_bytes_t vec[1];
        ck_assert_uint_eq(gv_outbuf_iovec(&client.out, vec, 1), 1);
        uint8_t *copy = gv_xalloc(vec[0].size);
        memcpy(copy, vec[0].data, vec[0].size);
        copy[gv_rng_below(&rng, (uint32_t)vec[0].size)] ^= (uint8_t)(1U << gv_rng_below(&rng, 8));
        take_in(&server, gv_bytes(copy, vec[0].size));
        gv_free(copy);
        /* A longer length waits for the rest; everything else is an error. */
        ck_assert_int_ne(server.last, GV_OK);
        ck_assert_uint_eq(server.received_size, 0);
        side_deinit(&server);
        side_deinit(&client);
        server = (side_t){.last = GV_ERR_AGAIN};
        client = (side_t){.last = GV_ERR_AGAIN};
    }
}
END_TEST

static void use_clients(gv_tlsctx_options_t server_options, gv_tlsctx_options_t client_options)
{
    gv_tlsctx_unref(&server_ctx);
    gv_tlsctx_unref(&client_ctx);
    server_ctx = context(server_options);
    client_ctx = context(client_options);
    make_ends();
    take_in(&client, GV_BYTES_EMPTY);
    settle(1000);
}

static gv_tlsctx_options_t server_that_verifies(void)
{
    return (gv_tlsctx_options_t){.role = GV_TLS_SERVER,
                                 .cert = files.server_cert,
                                 .key = files.server_key,
                                 .ca = files.ca,
                                 .verify_client = true};
}

START_TEST(a_known_client_certificate_is_let_in)
{
    use_clients(server_that_verifies(), (gv_tlsctx_options_t){.role = GV_TLS_CLIENT,
                                                              .ca = files.ca,
                                                              .cert = files.client_cert,
                                                              .key = files.client_key});
    ck_assert(gv_tls_is_open(server.tls));
    send_text(&client, "it is me");
    settle(1000);
    expect_received(&server, "it is me");
}
END_TEST

START_TEST(an_unknown_client_certificate_is_refused)
{
    use_clients(server_that_verifies(), (gv_tlsctx_options_t){.role = GV_TLS_CLIENT,
                                                              .ca = files.ca,
                                                              .cert = files.stranger_cert,
                                                              .key = files.stranger_key});
    ck_assert(!gv_tls_is_open(server.tls));
    ck_assert_int_eq(server.last, GV_ERR_MALFORMED);
    ck_assert_int_eq(client.last, GV_ERR_MALFORMED); /* the alert has reached it */
    ck_assert_ptr_nonnull(strstr(gv_tls_error(server.tls), "self-signed"));
}
END_TEST

START_TEST(no_client_certificate_is_refused_where_one_is_wanted)
{
    use_clients(server_that_verifies(),
                (gv_tlsctx_options_t){.role = GV_TLS_CLIENT, .ca = files.ca});
    ck_assert(!gv_tls_is_open(server.tls));
    ck_assert_int_eq(server.last, GV_ERR_MALFORMED);
}
END_TEST

START_TEST(a_client_refuses_a_server_it_does_not_know)
{
    use_clients((gv_tlsctx_options_t){.role = GV_TLS_SERVER,
                                      .cert = files.stranger_cert,
                                      .key = files.stranger_key},
                (gv_tlsctx_options_t){.role = GV_TLS_CLIENT, .ca = files.ca});
    ck_assert(!gv_tls_is_open(client.tls));
    ck_assert_int_eq(client.last, GV_ERR_MALFORMED);
    ck_assert_int_eq(server.last, GV_ERR_MALFORMED);
}
END_TEST

START_TEST(a_client_looks_at_the_name)
{
    static const char *const names[] = {"localhost", "127.0.0.1", "example.org", "127.0.0.2"};
    ck_assert_int_eq(gv_tls_new(server_ctx, NULL, &server.tls), GV_OK);
    ck_assert_int_eq(gv_tls_new(client_ctx, names[_i], &client.tls), GV_OK);
    take_in(&client, GV_BYTES_EMPTY);
    settle(1000);
    ck_assert_int_eq(gv_tls_is_open(client.tls), _i < 2);
}
END_TEST

START_TEST(a_connection_outlives_its_context)
{
    shake_hands(1000);
    gv_tlsctx_unref(&server_ctx); /* what a reload does */
    server_ctx = context((gv_tlsctx_options_t){
        .role = GV_TLS_SERVER, .cert = files.stranger_cert, .key = files.stranger_key});
    send_text(&client, "still");
    send_text(&server, "here");
    settle(10);
    expect_received(&server, "still");
    expect_received(&client, "here");
}
END_TEST

static void make_files(void)
{
    tls_files_make(&files);
}

static void remove_files(void)
{
    tls_files_remove(&files);
}

int main(void)
{
    TCase *tc = tcase_create("tls");
    tcase_add_unchecked_fixture(tc, make_files, remove_files);
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, two_ends_talk_however_the_bytes_are_cut, 0, 4);
    tcase_add_test(tc, nothing_is_sent_before_the_handshake_is_done);
    tcase_add_test(tc, megabytes_arrive_as_they_were_sent);
    tcase_add_test(tc, a_close_is_answered_and_final);
    tcase_add_loop_test(tc, plain_bytes_on_a_tls_port_are_refused, 0, 4);
    tcase_add_test(tc, damage_on_the_wire_is_noticed);
    tcase_add_test(tc, a_known_client_certificate_is_let_in);
    tcase_add_test(tc, an_unknown_client_certificate_is_refused);
    tcase_add_test(tc, no_client_certificate_is_refused_where_one_is_wanted);
    tcase_add_test(tc, a_client_refuses_a_server_it_does_not_know);
    tcase_add_loop_test(tc, a_client_looks_at_the_name, 0, 4);
    tcase_add_test(tc, a_connection_outlives_its_context);
    Suite *suite = suite_create("base/io/tls");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
