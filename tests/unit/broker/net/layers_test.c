/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/net/layers_p.h"

#include <fcntl.h>

#include "tests/unit/broker/net/tls_way.h"
#include "tests/unit/broker/net/ws_way.h"

#define TLS "tls://127.0.0.1:0"

static uint64_t tls_errors(void)
{
    return gv_counter_get(&gv_frontend_stats(rig.frontends[0])->tls_errors) +
           gv_counter_get(&gv_frontend_stats(rig.frontends[1])->tls_errors);
}

START_TEST(tls_clients_are_served_on_their_home_shard)
{
    tls_rig_init(TLS);
    rig_start();
    for (unsigned round = 0; round < 20; round++) {
        uint8_t bytes[1024];
        char id[64];
        /* CONNECT and pings in one record, so that what follows CONNECT meets the move. */
        size_t size = connect_packet(
            id_at_home_on((uint16_t)(round % RIG_SHARDS), round, id, sizeof(id)), bytes, 512);
        for (int i = 0; i < 20; i++) {
            bytes[size++] = 0xc0;
            bytes[size++] = 0;
        }
        visitor_t *visitor = tls_visit(0);
        visitor_send(visitor, bytes, size - 1);
        visitor_expect(visitor, GV_MQTT_CONNACK);
        for (int i = 0; i < 19; i++) {
            visitor_expect(visitor, GV_MQTT_PINGRESP);
        }
        visitor_send(visitor, bytes + size - 1, 1);
        visitor_expect(visitor, GV_MQTT_PINGRESP);
        visitor_leave(&visitor);
    }
    uint64_t moved = gv_counter_get(&gv_frontend_stats(rig.frontends[0])->moved) +
                     gv_counter_get(&gv_frontend_stats(rig.frontends[1])->moved);
    ck_assert_uint_gt(moved, 0);
    ck_assert_uint_eq(tls_errors(), 0);
    rig_wait_for_connections(0);
    rig_close();
}
END_TEST

static void exchange(visitor_t *publisher, visitor_t *reader, uint32_t messages, size_t size)
{
    visitor_subscribe(reader, "t/#");
    uint8_t *payload = gv_xcalloc(1, size);
    for (uint32_t i = 0; i < messages; i++) {
        memcpy(payload, &i, sizeof(i));
        payload[size - 1] = (uint8_t)i;
        visitor_publish(publisher, "t/x", gv_bytes(payload, size));
    }
    for (uint32_t i = 0; i < messages; i++) {
        uint32_t number = 0;
        gv_bytes_t got = visitor_expect_publish(reader);
        ck_assert_uint_eq(got.size, size);
        memcpy(&number, got.data, sizeof(number));
        ck_assert_uint_eq(number, i);
        ck_assert_uint_eq(got.data[size - 1], (uint8_t)i);
    }
    gv_free(payload);
}

START_TEST(messages_go_through_tls_in_order)
{
    static const struct {
        uint32_t messages;
        size_t size;
    } loads[] = {{2000, 20}, {200, 5000}, {5, 3000000}};
    tls_rig_init(TLS);
    rig_start();
    char id[64];
    visitor_t *publisher = tls_visit(0);
    visitor_connect(publisher, id_at_home_on(0, 1, id, sizeof(id)));
    visitor_t *reader = tls_visit(0);
    visitor_connect(reader, id_at_home_on(1, 2, id, sizeof(id)));
    exchange(publisher, reader, loads[_i].messages, loads[_i].size);
    visitor_leave(&publisher);
    visitor_leave(&reader);
    rig_close();
}
END_TEST

START_TEST(a_slow_tls_reader_gets_everything_in_the_end)
{
    enum {
        MESSAGES = 300
    };
    tls_rig_init(TLS);
    rig_start();
    char id[64];
    visitor_t *publisher = tls_visit(0);
    visitor_connect(publisher, id_at_home_on(0, 1, id, sizeof(id)));
    visitor_t *reader = tls_visit(0);
    visitor_connect(reader, id_at_home_on(1, 2, id, sizeof(id)));
    visitor_subscribe(reader, "much");
    uint8_t *payload = gv_xcalloc(1, 100000);
    for (uint32_t i = 0; i < MESSAGES; i++) {
        memcpy(payload, &i, sizeof(i));
        visitor_publish(publisher, "much", gv_bytes(payload, 100000));
    }
    gv_free(payload);
    visitor_ping(publisher);
    sleep_ms(300);
    for (uint32_t i = 0; i < MESSAGES; i++) {
        uint32_t number = 0;
        memcpy(&number, visitor_expect_publish(reader).data, sizeof(number));
        ck_assert_uint_eq(number, i);
    }
    visitor_leave(&publisher);
    visitor_leave(&reader);
    rig_close();
}
END_TEST

START_TEST(the_last_words_arrive_through_tls)
{
    tls_rig_init(TLS);
    rig_start();
    visitor_t *first = tls_visit(0);
    visitor_connect(first, "same");
    visitor_t *second = tls_visit(0);
    visitor_connect(second, "same");
    visitor_expect(first, GV_MQTT_DISCONNECT);
    visitor_expect_end(first);
    ck_assert_int_ne(SSL_get_shutdown(first->data) & SSL_RECEIVED_SHUTDOWN, 0);
    visitor_leave(&first);
    visitor_leave(&second);
    rig_close();
}
END_TEST

START_TEST(a_tls_close_ends_the_client)
{
    tls_rig_init(TLS);
    rig_start();
    visitor_t *visitor = tls_visit(0);
    visitor_connect(visitor, "alice");
    ck_assert_int_ge(SSL_shutdown(visitor->data), 0);
    visitor_expect_end(visitor);
    ck_assert_int_ne(SSL_get_shutdown(visitor->data) & SSL_RECEIVED_SHUTDOWN, 0);
    visitor_leave(&visitor);
    rig_wait_for_connections(0);
    ck_assert_uint_eq(tls_errors(), 0);
    rig_close();
}
END_TEST

START_TEST(plain_mqtt_on_a_tls_port_is_closed_cleanly)
{
    tls_rig_init(TLS);
    rig_start();
    uint8_t bytes[512];
    visitor_t *visitor = rig_visit(0);
    visitor_send(visitor, bytes, connect_packet("alice", bytes, sizeof(bytes)));
    /* The end, not a reset; an alert would be no MQTT. */
    char byte = 0;
    ck_assert_int_eq(recv(visitor->fd, &byte, 1, 0), 0);
    visitor_leave(&visitor);
    rig_wait_for_connections(0);
    ck_assert_uint_eq(tls_errors(), 1);
    rig_close();
}
END_TEST

START_TEST(tls_on_a_plain_port_is_closed_cleanly)
{
    rig_open("tcp://127.0.0.1:0");
    visitor_t *visitor = rig_visit(0);
    ck_assert(!tls_begin(visitor, false));
    visitor_leave(&visitor);
    rig_wait_for_connections(0);
    rig_close();
}
END_TEST

/* Long enough for what has to be in time, on a machine with other things to do [ms]. */
#define CONNECT_TIMEOUT_MS 3000

START_TEST(a_handshake_is_not_waited_for_for_ever)
{
    tls_rig_init(TLS);
    rig.limits.connect_timeout_ms = CONNECT_TIMEOUT_MS;
    rig_start();
    visitor_t *silent = rig_visit(0);
    visitor_t *shaken = tls_visit(0); /* hands shaken, but no CONNECT */
    visitor_expect_end(silent);
    visitor_expect_end(shaken);
    visitor_leave(&silent);
    visitor_leave(&shaken);
    rig_wait_for_connections(0);
    rig_close();
}
END_TEST

START_TEST(where_certificates_are_wanted_only_those_who_have_one_come_in)
{
    tls_rig_init(TLS);
    rig.tls.ca = tls_files.ca;
    rig.tls.verify_client = true;
    rig_start();
    visitor_t *known = rig_visit(0);
    ck_assert(tls_begin(known, true));
    visitor_connect(known, "known");
    visitor_t *unknown = rig_visit(0);
    (void)tls_begin(unknown, false); /* in TLS 1.3 the client learns it with its first read */
    visitor_expect_end(unknown);
    visitor_ping(known);
    visitor_leave(&unknown);
    visitor_leave(&known);
    ck_assert_uint_eq(tls_errors(), 1);
    rig_close();
}
END_TEST

START_TEST(a_proxy_header_goes_before_the_handshake)
{
    static const char line[] = "PROXY TCP4 192.0.2.7 192.0.2.1 4711 8883\r\n";
    tls_rig_init(TLS "?proxy_protocol=true");
    rig_start();
    visitor_t *visitor = rig_visit(0);
    visitor_send(visitor, line, sizeof(line) - 1);
    ck_assert(tls_begin(visitor, false));
    visitor_connect(visitor, "alice");
    visitor_ping(visitor);
    visitor_leave(&visitor);
    rig_close();
}
END_TEST

/* Who the server says it is: the serial number of its certificate. */
static long serial_of_server(void)
{
    visitor_t *visitor = tls_visit(0);
    X509 *cert = SSL_get1_peer_certificate(visitor->data);
    ck_assert_ptr_nonnull(cert);
    long serial = ASN1_INTEGER_get(X509_get0_serialNumber(cert));
    X509_free(cert);
    visitor_leave(&visitor);
    return serial;
}

static void nothing(gv_loop_t *loop, void *arg)
{
    (void)loop;
    (void)arg;
}

START_TEST(a_reload_takes_new_certificates_or_none)
{
    tls_rig_init(TLS);
    rig_start();
    visitor_t *visitor = tls_visit(0);
    visitor_connect(visitor, "alice");
    long before = serial_of_server();

    gv_error_text_t error;
    gv_listeners_tls_t bad = {.cert = tls_files.client_cert, .key = tls_files.server_key};
    ck_assert_int_eq(gv_listeners_reload_tls(rig.listeners, &bad, &error), GV_ERR_INVAL);
    ck_assert_str_ne(error.text, "");
    ck_assert_int_eq(serial_of_server(), before);

    gv_listeners_tls_t good = {.cert = tls_files.client_cert, .key = tls_files.client_key};
    ck_assert_int_eq(gv_listeners_reload_tls(rig.listeners, &good, &error), GV_OK);
    for (uint32_t i = 0; i < RIG_SHARDS; i++) {
        call_on(rig.loops[i], nothing, NULL); /* the letters before this one have arrived */
    }
    ck_assert_int_ne(serial_of_server(), before);
    visitor_ping(visitor); /* who was there before keeps what he has */
    visitor_leave(&visitor);
    rig_close();
}
END_TEST

START_TEST(a_node_that_stops_frees_tls_clients_on_the_move)
{
    tls_rig_init(TLS);
    rig_start();
    visitor_t *visitors[10];
    for (unsigned i = 0; i < 10; i++) {
        uint8_t bytes[512];
        char id[64];
        visitors[i] = tls_visit(0);
        id_at_home_on((uint16_t)(i % RIG_SHARDS), i, id, sizeof(id));
        visitor_send(visitors[i], bytes, connect_packet(id, bytes, sizeof(bytes)));
    }
    rig_close();
    for (unsigned i = 0; i < 10; i++) {
        visitor_leave(&visitors[i]);
    }
}
END_TEST

static void on_busy_letter(gv_letter_t *letter)
{
    (void)letter;
    sleep_ms(200);
}

START_TEST(many_handshakes_at_once_all_get_their_turn)
{
    enum {
        CLIENTS = 100
    };
    tls_rig_init(TLS);
    rig_start();
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    visitor_t *visitors[CLIENTS];
    for (size_t i = 0; i < CLIENTS; i++) {
        visitors[i] = rig_visit(0);
        SSL *ssl = SSL_new(ctx);
        ck_assert_int_eq(SSL_set_fd(ssl, visitors[i]->fd), 1);
        SSL_set_connect_state(ssl);
        visitors[i]->data = ssl;
        visitors[i]->way = &tls_way;
        ck_assert_int_eq(fcntl(visitors[i]->fd, F_SETFL, O_NONBLOCK), 0);
    }
    SSL_CTX_free(ctx);
    rig_wait_for_connections(CLIENTS);
    /* While the loops are busy all say hello, so that they find everything in one turn. */
    gv_letter_t busy[RIG_SHARDS] = {{.deliver = on_busy_letter}, {.deliver = on_busy_letter}};
    for (uint32_t i = 0; i < RIG_SHARDS; i++) {
        gv_loop_send(rig.loops[i], &busy[i]);
    }
    size_t done = 0;
    for (uint64_t end_ms = now_ms() + 60000; done < CLIENTS && now_ms() < end_ms;) {
        done = 0;
        for (size_t i = 0; i < CLIENTS; i++) {
            ERR_clear_error();
            done += SSL_do_handshake(visitors[i]->data) == 1;
        }
        sleep_ms(1);
    }
    ck_assert_uint_eq(done, CLIENTS);
    for (size_t i = 0; i < CLIENTS; i++) {
        visitor_leave(&visitors[i]);
    }
    rig_wait_for_connections(0);
    rig_close();
}
END_TEST

/* ---- WebSocket ------------------------------------------------------------------------------ */

#define WS "ws://127.0.0.1:0"

/* The listeners that the tests below run on: 0 is ws, 1 is wss. */
static void ws_rig_start(void)
{
    tls_rig_init(WS);
    rig_add_listener("wss://127.0.0.1:0");
    rig_start();
}

static visitor_t *ws_visit(size_t listener)
{
    visitor_t *visitor = listener == 0 ? rig_visit(0) : tls_visit(1);
    ws_upgrade(visitor);
    return visitor;
}

static uint64_t ws_errors(void)
{
    return gv_counter_get(&gv_frontend_stats(rig.frontends[0])->ws_errors) +
           gv_counter_get(&gv_frontend_stats(rig.frontends[1])->ws_errors);
}

START_TEST(websocket_clients_are_served_on_their_home_shard)
{
    size_t listener = (size_t)_i;
    ws_rig_start();
    for (unsigned round = 0; round < 24; round++) {
        static const size_t frame_sizes[] = {0, 1, 7};
        uint8_t bytes[1024];
        char id[64];
        size_t size = connect_packet(
            id_at_home_on((uint16_t)(round % RIG_SHARDS), round, id, sizeof(id)), bytes, 512);
        for (int i = 0; i < 20; i++) {
            bytes[size++] = 0xc0;
            bytes[size++] = 0;
        }
        visitor_t *visitor = ws_visit(listener);
        ws_client_t *client = visitor->data;
        client->frame_max = frame_sizes[round % 3];
        visitor_send(visitor, bytes, size - 1);
        visitor_expect(visitor, GV_MQTT_CONNACK);
        for (int i = 0; i < 19; i++) {
            visitor_expect(visitor, GV_MQTT_PINGRESP);
        }
        visitor_send(visitor, bytes + size - 1, 1);
        visitor_expect(visitor, GV_MQTT_PINGRESP);
        visitor_leave(&visitor);
    }
    uint64_t moved = gv_counter_get(&gv_frontend_stats(rig.frontends[0])->moved) +
                     gv_counter_get(&gv_frontend_stats(rig.frontends[1])->moved);
    ck_assert_uint_gt(moved, 0);
    ck_assert_uint_eq(ws_errors(), 0);
    rig_wait_for_connections(0);
    rig_close();
}
END_TEST

/*
 * Request, CONNECT, pings of MQTT and of WebSocket, close: everything in one write, so that all of
 * it meets the move.
 */
START_TEST(everything_at_once_is_answered_in_order)
{
    size_t listener = (size_t)_i;
    ws_rig_start();
    for (unsigned round = 0; round < 24; round++) {
        uint8_t bytes[2048];
        uint8_t packets[512];
        char id[64];
        size_t size = connect_packet(
            id_at_home_on((uint16_t)(round % RIG_SHARDS), round, id, sizeof(id)), packets, 512);
        gv_writer_t w = gv_writer(bytes, sizeof(bytes));
        gv_writer_put(&w, GV_BYTES_LITERAL(WS_REQUEST));
        write_proper_frame(&w, true, GV_WS_BINARY, gv_bytes(packets, size));
        write_proper_frame(&w, true, GV_WS_BINARY, GV_BYTES_LITERAL("\xc0\0\xc0"));
        write_proper_frame(&w, true, GV_WS_PING, GV_BYTES_LITERAL("are you there"));
        write_proper_frame(&w, true, GV_WS_BINARY, GV_BYTES_LITERAL("\0"));
        write_proper_frame(&w, true, GV_WS_CLOSE, GV_BYTES_LITERAL("\x0b\xb8")); /* 3000 */
        visitor_t *visitor = listener == 0 ? rig_visit(0) : tls_visit(1);
        ws_client_t *client = ws_begin(visitor);
        ws_send_below(visitor, bytes, sizeof(bytes) - gv_writer_left(&w));
        ws_expect_answer(visitor, "HTTP/1.1 101 Switching Protocols\r\n");
        visitor_expect(visitor, GV_MQTT_CONNACK);
        visitor_expect(visitor, GV_MQTT_PINGRESP);
        visitor_expect(visitor, GV_MQTT_PINGRESP);
        visitor_expect_end(visitor);
        ck_assert_uint_eq(client->pongs, 1);
        ck_assert_uint_eq(client->close_code, 3000);
        visitor_leave(&visitor);
    }
    ck_assert_uint_eq(ws_errors(), 0);
    rig_wait_for_connections(0);
    rig_close();
}
END_TEST

START_TEST(messages_go_through_websocket_in_order)
{
    static const struct {
        size_t listener;
        uint32_t messages;
        size_t size;
        size_t frame_max;
    } loads[] = {{0, 2000, 20, 0}, {0, 50, 5000, 100}, {0, 5, 3000000, 70000},
                 {1, 2000, 20, 3}, {1, 200, 5000, 0},  {1, 5, 3000000, 0}};
    ws_rig_start();
    char id[64];
    visitor_t *publisher = ws_visit(loads[_i].listener);
    visitor_connect(publisher, id_at_home_on(0, 1, id, sizeof(id)));
    visitor_t *reader = ws_visit(loads[_i].listener);
    visitor_connect(reader, id_at_home_on(1, 2, id, sizeof(id)));
    ((ws_client_t *)publisher->data)->frame_max = loads[_i].frame_max;
    exchange(publisher, reader, loads[_i].messages, loads[_i].size);
    visitor_leave(&publisher);
    visitor_leave(&reader);
    rig_close();
}
END_TEST

START_TEST(the_last_words_arrive_through_websocket)
{
    size_t listener = (size_t)_i;
    ws_rig_start();
    visitor_t *first = ws_visit(listener);
    visitor_connect(first, "same");
    visitor_t *second = ws_visit(listener);
    visitor_connect(second, "same");
    visitor_expect(first, GV_MQTT_DISCONNECT);
    visitor_expect_end(first);
    ck_assert_uint_eq(((ws_client_t *)first->data)->close_code, GV_WS_NORMAL);
    visitor_leave(&first);
    visitor_leave(&second);
    rig_close();
}
END_TEST

START_TEST(a_broken_rule_is_told_by_its_code)
{
    static const struct {
        client_frame_t frame;
        uint16_t code;
    } cases[] = {
        {{.first = 0x82, .is_naked = true, .payload = {(const uint8_t *)"\xc0", 1}}, 1002},
        {{.first = 0x81, .payload = {(const uint8_t *)"\xc0", 1}}, 1003},
        {{.first = 0x82, .width = 8, .claim = UINT32_MAX}, 1009},
        {{.first = 0xf2}, 1002},
    };
    ws_rig_start();
    visitor_t *visitor = ws_visit(0);
    visitor_connect(visitor, "alice");
    ws_send_frame(visitor, cases[_i].frame);
    visitor_expect_end(visitor);
    ck_assert_uint_eq(((ws_client_t *)visitor->data)->close_code, cases[_i].code);
    ck_assert_uint_eq(ws_errors(), 1);
    visitor_leave(&visitor);
    rig_wait_for_connections(0);
    rig_close();
}
END_TEST

START_TEST(other_http_requests_are_refused)
{
    static const struct {
        const char *request;
        const char *status_line;
    } cases[] = {
        {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 "},
        {"GET /mqtt HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 426 "},
        {"POST /mqtt HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 400 "},
        {"\x10\x0c\x04MQTT", "HTTP/1.1 400 "}, /* MQTT without WebSocket */
    };
    ws_rig_start();
    visitor_t *visitor = rig_visit(0);
    (void)ws_begin(visitor);
    ws_send_below(visitor, cases[_i].request, strlen(cases[_i].request));
    ws_expect_answer(visitor, cases[_i].status_line);
    ck_assert(!ws_fill(visitor));
    ck_assert_uint_eq(((ws_client_t *)visitor->data)->size, 0);
    ck_assert_uint_eq(ws_errors(), 1);
    visitor_leave(&visitor);
    rig_wait_for_connections(0);
    rig_close();
}
END_TEST

START_TEST(a_request_may_come_byte_by_byte_but_not_for_ever)
{
    tls_rig_init(WS);
    rig.limits.connect_timeout_ms = CONNECT_TIMEOUT_MS;
    rig_start();
    visitor_t *visitor = rig_visit(0);
    (void)ws_begin(visitor);
    for (size_t i = 0; i < strlen(WS_REQUEST); i++) {
        ws_send_below(visitor, &WS_REQUEST[i], 1);
    }
    ws_expect_answer(visitor, "HTTP/1.1 101 ");
    visitor_connect(visitor, "alice");
    visitor_leave(&visitor);

    visitor_t *slow = rig_visit(0);
    (void)ws_begin(slow);
    ws_send_below(slow, WS_REQUEST, 30);
    ck_assert(!ws_fill(slow));
    visitor_leave(&slow);
    rig_wait_for_connections(0);
    rig_close();
}
END_TEST

/* The publisher is made to wait for a slow reader, and has said its last word by then. */
START_TEST(what_was_sent_before_the_close_counts)
{
    enum {
        MESSAGES = 300, /* small ones: many in one read, with the close behind the last of them */
        SIZE = 1000
    };
    size_t listener = (size_t)_i;
    tls_rig_init(WS);
    rig_add_listener("wss://127.0.0.1:0");
    rig.limits.output_bytes_soft = 16000;
    rig_start();
    /* On one shard, so that the publisher is stopped in the middle of what it has sent. */
    char id[64];
    visitor_t *publisher = ws_visit(listener);
    visitor_connect(publisher, id_at_home_on(0, 1, id, sizeof(id)));
    visitor_t *reader = rig_visit(0);
    int buffer_size = 4096; /* what the sockets hold is not slow */
    ck_assert_int_eq(
        setsockopt(reader->fd, SOL_SOCKET, SO_RCVBUF, &buffer_size, sizeof(buffer_size)), 0);
    ws_upgrade(reader);
    visitor_connect(reader, id_at_home_on(0, 2, id, sizeof(id)));
    visitor_subscribe(reader, "much");

    uint8_t payload[SIZE] = {0};
    for (uint32_t i = 0; i < MESSAGES; i++) {
        memcpy(payload, &i, sizeof(i));
        visitor_publish(publisher, "much", gv_bytes(payload, SIZE));
    }
    ws_send_frame(publisher, (client_frame_t){.first = 0x88});
    if (listener == 1) {
        (void)SSL_shutdown(((ws_client_t *)publisher->data)->data);
    }
    for (uint32_t i = 0; i < MESSAGES; i++) {
        uint32_t number = 0;
        memcpy(&number, visitor_expect_publish(reader).data, sizeof(number));
        ck_assert_uint_eq(number, i);
        sleep_ms(10);
    }
    ck_assert_uint_gt(gv_counter_get(&gv_shard_stats(rig.shards[0])->publishers_slowed), 10);
    ck_assert_uint_eq(ws_errors() + tls_errors(), 0);
    visitor_leave(&publisher);
    visitor_leave(&reader);
    rig_wait_for_connections(0);
    rig_close();
}
END_TEST

START_TEST(pings_without_end_cost_no_memory)
{
    enum {
        PINGS = 100000
    };
    ws_rig_start();
    visitor_t *visitor = ws_visit(0);
    visitor_connect(visitor, "alice");
    uint8_t frame[256];
    uint8_t payload[GV_WS_CONTROL_MAX] = {0};
    gv_writer_t w = gv_writer(frame, sizeof(frame));
    write_proper_frame(&w, true, GV_WS_PING, gv_bytes(payload, sizeof(payload)));
    size_t size = sizeof(frame) - gv_writer_left(&w);
    uint8_t *many = gv_xalloc(size * 1000);
    for (size_t i = 0; i < 1000; i++) {
        memcpy(many + i * size, frame, size);
    }
    for (int i = 0; i < PINGS / 1000; i++) { /* without reading */
        ws_send_below(visitor, many, size * 1000);
    }
    gv_free(many);
    for (uint32_t i = 0; i < RIG_SHARDS; i++) {
        call_on(rig.loops[i], nothing, NULL);
        ck_assert_uint_lt(gv_counter_get(&gv_loop_stats(rig.loops[i])->chunk_bytes), 1 << 20);
    }
    visitor_ping(visitor);
    visitor_leave(&visitor);
    rig_close();
}
END_TEST

START_TEST(a_node_that_stops_frees_websocket_clients_on_the_move)
{
    ws_rig_start();
    visitor_t *visitors[10];
    for (unsigned i = 0; i < 10; i++) {
        uint8_t bytes[512];
        char id[64];
        visitors[i] = ws_visit(i % 2);
        id_at_home_on((uint16_t)(i / 2 % RIG_SHARDS), i, id, sizeof(id));
        visitor_send(visitors[i], bytes, connect_packet(id, bytes, sizeof(bytes)));
    }
    rig_close();
    for (unsigned i = 0; i < 10; i++) {
        visitor_leave(&visitors[i]);
    }
}
END_TEST

int main(void)
{
    gv_os_ignore_sigpipe();
    TCase *tc = tcase_create("layers");
    tcase_set_timeout(tc, 180);
    tcase_add_unchecked_fixture(tc, tls_make_files, tls_remove_files);
    tcase_add_test(tc, tls_clients_are_served_on_their_home_shard);
    tcase_add_loop_test(tc, messages_go_through_tls_in_order, 0, 3);
    tcase_add_test(tc, a_slow_tls_reader_gets_everything_in_the_end);
    tcase_add_test(tc, the_last_words_arrive_through_tls);
    tcase_add_test(tc, a_tls_close_ends_the_client);
    tcase_add_test(tc, plain_mqtt_on_a_tls_port_is_closed_cleanly);
    tcase_add_test(tc, tls_on_a_plain_port_is_closed_cleanly);
    tcase_add_test(tc, a_handshake_is_not_waited_for_for_ever);
    tcase_add_test(tc, where_certificates_are_wanted_only_those_who_have_one_come_in);
    tcase_add_test(tc, a_proxy_header_goes_before_the_handshake);
    tcase_add_test(tc, a_reload_takes_new_certificates_or_none);
    tcase_add_test(tc, a_node_that_stops_frees_tls_clients_on_the_move);
    tcase_add_test(tc, many_handshakes_at_once_all_get_their_turn);
    tcase_add_loop_test(tc, what_was_sent_before_the_close_counts, 0, 2);
    tcase_add_loop_test(tc, websocket_clients_are_served_on_their_home_shard, 0, 2);
    tcase_add_loop_test(tc, everything_at_once_is_answered_in_order, 0, 2);
    tcase_add_loop_test(tc, messages_go_through_websocket_in_order, 0, 6);
    tcase_add_loop_test(tc, the_last_words_arrive_through_websocket, 0, 2);
    tcase_add_loop_test(tc, a_broken_rule_is_told_by_its_code, 0, 4);
    tcase_add_loop_test(tc, other_http_requests_are_refused, 0, 4);
    tcase_add_test(tc, a_request_may_come_byte_by_byte_but_not_for_ever);
    tcase_add_test(tc, pings_without_end_cost_no_memory);
    tcase_add_test(tc, a_node_that_stops_frees_websocket_clients_on_the_move);
    Suite *suite = suite_create("broker/net/layers");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
