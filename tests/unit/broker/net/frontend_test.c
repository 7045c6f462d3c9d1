/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/net/frontend.h"

#include <stdatomic.h>

#include "base/log.h"
#include "tests/unit/broker/net/rig.h"

#define TCP "tcp://127.0.0.1:0"

static uint64_t moved_connections(void)
{
    return gv_counter_get(&gv_frontend_stats(rig.frontends[0])->moved) +
           gv_counter_get(&gv_frontend_stats(rig.frontends[1])->moved);
}

/* ---- bytes in, bytes out -------------------------------------------------------------------- */

START_TEST(a_client_is_served)
{
    rig_open(TCP);
    visitor_t *alice = rig_visit(0);
    visitor_connect(alice, "alice");
    visitor_ping(alice);
    ck_assert_uint_eq(gv_listeners_info(rig.listeners, 0).connections, 1);
    visitor_leave(&alice);
    rig_wait_for_connections(0);
    rig_close();
}
END_TEST

START_TEST(messages_keep_their_order_between_shards)
{
    enum {
        MESSAGES = 3000
    };
    rig_open(TCP);
    char id[64];
    visitor_t *publisher = rig_visit(0);
    visitor_connect(publisher, id_at_home_on(0, 1, id, sizeof(id)));
    visitor_t *reader = rig_visit(0);
    visitor_connect(reader, id_at_home_on(1, 2, id, sizeof(id)));
    visitor_subscribe(reader, "order/#");
    for (uint32_t i = 0; i < MESSAGES; i++) {
        visitor_publish(publisher, "order/x", gv_bytes(&i, sizeof(i)));
    }
    for (uint32_t i = 0; i < MESSAGES; i++) {
        uint32_t number = 0;
        gv_bytes_t payload = visitor_expect_publish(reader);
        ck_assert_uint_eq(payload.size, sizeof(number));
        memcpy(&number, payload.data, sizeof(number));
        ck_assert_uint_eq(number, i);
    }
    visitor_leave(&publisher);
    visitor_leave(&reader);
    rig_close();
}
END_TEST

/* ---- moving to the home shard --------------------------------------------------------------- */

START_TEST(what_follows_connect_moves_with_it)
{
    enum {
        ROUNDS = 60,
        PINGS = 20
    };
    rig_open(TCP);
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint8_t bytes[1024];
        char id[64];
        /* One write: CONNECT, pings and half of a ping; the rest of it comes after the move. */
        visitor_t *visitor = rig_visit(0);
        size_t size = connect_packet(
            id_at_home_on((uint16_t)(round % RIG_SHARDS), round, id, sizeof(id)), bytes, 512);
        for (int i = 0; i < PINGS; i++) {
            bytes[size++] = 0xc0;
            bytes[size++] = 0x00;
        }
        visitor_send(visitor, bytes, size - 1);
        visitor_expect(visitor, GV_MQTT_CONNACK);
        for (int i = 0; i < PINGS - 1; i++) {
            visitor_expect(visitor, GV_MQTT_PINGRESP);
        }
        visitor_send(visitor, bytes + size - 1, 1);
        visitor_expect(visitor, GV_MQTT_PINGRESP);
        visitor_leave(&visitor);
    }
    /* The kernel chooses the accepting shard; that all of 60 are at home is all but impossible. */
    ck_assert_uint_gt(moved_connections(), 0);
    rig_wait_for_connections(0);
    rig_close();
}
END_TEST

START_TEST(a_client_that_leaves_while_it_moves_is_cleaned_up)
{
    rig_open(TCP);
    for (unsigned round = 0; round < 200; round++) {
        uint8_t bytes[512];
        char id[64];
        visitor_t *visitor = rig_visit(0);
        id_at_home_on((uint16_t)(round % RIG_SHARDS), round, id, sizeof(id));
        visitor_send(visitor, bytes, connect_packet(id, bytes, sizeof(bytes)));
        visitor_leave(&visitor);
    }
    rig_wait_for_connections(0);
    rig_close();
}
END_TEST

START_TEST(a_node_that_stops_while_clients_move_frees_them)
{
    rig_open(TCP);
    visitor_t *visitors[50];
    for (unsigned i = 0; i < 50; i++) {
        uint8_t bytes[512];
        char id[64];
        visitors[i] = rig_visit(0);
        id_at_home_on((uint16_t)(i % RIG_SHARDS), i, id, sizeof(id));
        visitor_send(visitors[i], bytes, connect_packet(id, bytes, sizeof(bytes)));
    }
    rig_close(); /* checks that no connection is counted any more */
    for (unsigned i = 0; i < 50; i++) {
        visitor_leave(&visitors[i]);
    }
}
END_TEST

/* ---- large packets, slow readers ------------------------------------------------------------ */

START_TEST(a_large_packet_arrives_whole)
{
    enum {
        SIZE = 3 << 20
    };
    rig_open(TCP);
    char id[64];
    visitor_t *publisher = rig_visit(0);
    visitor_connect(publisher, id_at_home_on(0, 1, id, sizeof(id)));
    visitor_t *reader = rig_visit(0);
    visitor_connect(reader, id_at_home_on(1, 2, id, sizeof(id)));
    visitor_subscribe(reader, "big");
    uint8_t *payload = gv_xalloc(SIZE);
    for (size_t i = 0; i < SIZE; i++) {
        payload[i] = (uint8_t)(i * 7 >> 3);
    }
    visitor_publish(publisher, "big", gv_bytes(payload, SIZE));
    ck_assert(gv_bytes_equal(visitor_expect_publish(reader), gv_bytes(payload, SIZE)));
    gv_free(payload);
    visitor_leave(&publisher);
    visitor_leave(&reader);
    rig_close();
}
END_TEST

static void fill_a_reader(visitor_t **publisher_out, visitor_t **reader_out, uint32_t messages)
{
    char id[64];
    visitor_t *publisher = rig_visit(0);
    visitor_connect(publisher, id_at_home_on(0, 1, id, sizeof(id)));
    visitor_t *reader = rig_visit(0);
    visitor_connect(reader, id_at_home_on(1, 2, id, sizeof(id)));
    visitor_subscribe(reader, "much");
    uint8_t *payload = gv_xcalloc(1, 100000);
    for (uint32_t i = 0; i < messages; i++) {
        memcpy(payload, &i, sizeof(i));
        visitor_publish(publisher, "much", gv_bytes(payload, 100000));
    }
    gv_free(payload);
    *publisher_out = publisher;
    *reader_out = reader;
}

START_TEST(a_slow_reader_gets_everything_in_the_end)
{
    rig_open(TCP);
    visitor_t *publisher = NULL;
    visitor_t *reader = NULL;
    fill_a_reader(&publisher, &reader, 300); /* 30 MB: more than sockets hold */
    sleep_ms(300);
    for (uint32_t i = 0; i < 300; i++) {
        uint32_t number = 0;
        gv_bytes_t payload = visitor_expect_publish(reader);
        ck_assert_uint_eq(payload.size, 100000);
        memcpy(&number, payload.data, sizeof(number));
        ck_assert_uint_eq(number, i);
    }
    visitor_ping(publisher);
    visitor_leave(&publisher);
    visitor_leave(&reader);
    rig_close();
}
END_TEST

static uint64_t slow_readers_closed(void)
{
    return gv_counter_get(&gv_shard_stats(rig.shards[0])->slow_readers_closed) +
           gv_counter_get(&gv_shard_stats(rig.shards[1])->slow_readers_closed);
}

START_TEST(a_reader_that_takes_nothing_is_ended)
{
    rig_init();
    rig.limits.slow_reader_timeout_ms = 500;
    rig_add_listener(TCP);
    rig_start();
    visitor_t *publisher = NULL;
    visitor_t *reader = NULL;
    fill_a_reader(&publisher, &reader, 300);
    for (int i = 0; i < 2000 && slow_readers_closed() == 0; i++) {
        sleep_ms(10);
    }
    ck_assert_uint_eq(slow_readers_closed(), 1);
    visitor_leave(&publisher);
    visitor_leave(&reader);
    rig_close();
}
END_TEST

/*
 * Everything the reader gets was put out before it began to read, so that the core has nothing to
 * say meanwhile; the progress it has to be shown is that of the socket alone.
 */
static bool is_ended_though_it_moves(uint32_t timeout_ms)
{
    rig_init();
    rig.limits.slow_reader_timeout_ms = timeout_ms;
    rig_add_listener(TCP);
    rig_start();
    visitor_t *publisher = NULL;
    visitor_t *reader = NULL;
    fill_a_reader(&publisher, &reader, 300);
    visitor_ping(publisher);
    /* The core looks every five seconds: read for longer than that, in small portions. */
    bool is_ended = false;
    for (uint32_t i = 0; !is_ended && i < 200; i++) {
        is_ended = !visitor_next(reader);
        if (!is_ended) {
            uint32_t number = 0;
            memcpy(&number, visitor_payload(reader).data, sizeof(number));
            ck_assert_uint_eq(number, i);
        }
        sleep_ms(timeout_ms / 50);
    }
    ck_assert_uint_eq(slow_readers_closed(), is_ended ? 1 : 0);
    visitor_leave(&publisher);
    visitor_leave(&reader);
    rig_close();
    return is_ended;
}

START_TEST(a_reader_that_moves_slowly_is_not_ended)
{
    /* Who has no time himself for two seconds reads nothing; so, if need be, with more. */
    ck_assert(!is_ended_though_it_moves(2000) || !is_ended_though_it_moves(8000));
}
END_TEST

/* ---- ends ----------------------------------------------------------------------------------- */

static void drain_shard(gv_loop_t *loop, void *arg)
{
    static const gv_drain_t drain = {.reason = GV_MQTT_SERVER_SHUTTING_DOWN};
    (void)arg;
    gv_shard_drain(rig.shards[gv_loop_index(loop)], &drain);
}

START_TEST(the_last_words_arrive_although_input_is_unread)
{
    rig_open(TCP);
    char id[64];
    visitor_t *visitor = rig_visit(0);
    visitor_connect(visitor, id_at_home_on(1, 1, id, sizeof(id)));
    visitor_subscribe(visitor, "x");
    /* Messages for itself, a drain in the middle: the end has to be a DISCONNECT, not a reset. */
    uint8_t *payload = gv_xcalloc(1, 1000);
    for (int i = 0; i < 500; i++) {
        visitor_publish(visitor, "x", gv_bytes(payload, 1000));
        if (i == 250) {
            call_on(rig.loops[1], drain_shard, NULL);
        }
    }
    gv_free(payload);
    gv_mqtt_type_t last = GV_MQTT_CONNACK;
    while (visitor_next(visitor)) {
        last = visitor->frame.type;
    }
    ck_assert_int_eq(last, GV_MQTT_DISCONNECT);
    rig_wait_for_connections(0);
    visitor_leave(&visitor);
    rig_close();
}
END_TEST

START_TEST(a_refused_client_gets_its_connack)
{
    rig_init();
    rig_add_listener(TCP);
    rig.configs[0].anonymous_allowed = false;
    rig_start();
    uint8_t bytes[512];
    visitor_t *visitor = rig_visit(0);
    visitor_send(visitor, bytes, connect_packet("alice", bytes, sizeof(bytes)));
    visitor_expect(visitor, GV_MQTT_CONNACK);
    ck_assert_uint_ge(visitor->frame.body.data[1], 0x80);
    visitor_expect_end(visitor);
    visitor_leave(&visitor);
    rig_close();
}
END_TEST

START_TEST(garbage_is_closed_and_nobody_else_is_disturbed)
{
    rig_open(TCP);
    visitor_t *alice = rig_visit(0);
    visitor_connect(alice, "alice");
    for (unsigned i = 0; i < 64; i++) {
        uint8_t bytes[64];
        memset(bytes, (int)(i * 37 + 3), sizeof(bytes));
        visitor_t *stranger = rig_visit(0);
        visitor_send(stranger, bytes, sizeof(bytes));
        (void)shutdown(stranger->fd, SHUT_WR);
        visitor_expect_end(stranger);
        visitor_leave(&stranger);
    }
    visitor_ping(alice);
    visitor_leave(&alice);
    rig_close();
}
END_TEST

START_TEST(who_says_nothing_is_closed_in_time)
{
    rig_init();
    rig.limits.connect_timeout_ms = 200;
    rig_add_listener(TCP);
    rig_start();
    visitor_t *visitor = rig_visit(0);
    visitor_expect_end(visitor);
    visitor_leave(&visitor);
    rig_close();
}
END_TEST

START_TEST(a_taken_over_client_is_told_and_closed)
{
    rig_open(TCP);
    visitor_t *first = rig_visit(0);
    visitor_connect(first, "same");
    visitor_t *second = rig_visit(0);
    visitor_connect(second, "same");
    visitor_expect(first, GV_MQTT_DISCONNECT);
    ck_assert_uint_eq(first->frame.body.data[0], 0x8e);
    visitor_expect_end(first);
    visitor_ping(second);
    visitor_leave(&first);
    visitor_leave(&second);
    rig_close();
}
END_TEST

/* ---- behind a load balancer ----------------------------------------------------------------- */

static char log_line[1024];
static atomic_int log_lines;

/* Keeps the first line with the event that the test waits for. */
static void keep_line(gv_log_level_t level, const char *line, void *event)
{
    (void)level;
    if (strstr(line, event) != NULL && atomic_fetch_add(&log_lines, 1) == 0) {
        (void)snprintf(log_line, sizeof(log_line), "%s", line);
    }
}

static uint64_t proxy_errors(void)
{
    return gv_counter_get(&gv_frontend_stats(rig.frontends[0])->proxy_errors) +
           gv_counter_get(&gv_frontend_stats(rig.frontends[1])->proxy_errors);
}

#define PROXIED    TCP "?proxy_protocol=true"
#define PROXY_LINE "PROXY TCP6 2001:db8::7 2001:db8::1 4711 1883\r\n"

static const uint8_t proxy_v2[] =
    "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\2\7\xc0\0\2\1\x12\x67\7\x5b";

START_TEST(a_proxy_header_goes_before_connect)
{
    rig_open(PROXIED);
    for (unsigned round = 0; round < 20; round++) {
        uint8_t bytes[1024];
        char id[64];
        /* In one write with CONNECT and a ping, so that all of it meets the move. */
        bool is_v1 = round % 2 == 0;
        size_t size = is_v1 ? strlen(PROXY_LINE) : sizeof(proxy_v2) - 1;
        memcpy(bytes, is_v1 ? (const uint8_t *)PROXY_LINE : proxy_v2, size);
        id_at_home_on((uint16_t)(round / 2 % RIG_SHARDS), round, id, sizeof(id));
        size += connect_packet(id, bytes + size, 512);
        bytes[size++] = 0xc0;
        bytes[size++] = 0;
        visitor_t *visitor = rig_visit(0);
        visitor_send(visitor, bytes, size);
        visitor_expect(visitor, GV_MQTT_CONNACK);
        visitor_expect(visitor, GV_MQTT_PINGRESP);
        visitor_leave(&visitor);
    }
    ck_assert_uint_eq(proxy_errors(), 0);
    rig_close();
}
END_TEST

static void expect_peer_in_log(const void *header, size_t size, const char *peer)
{
    static char event[] = "client_refused";
    atomic_store(&log_lines, 0);
    gv_log_configure(GV_LOG_INFO, NULL, keep_line, event);
    rig_open(PROXIED);
    visitor_t *visitor = rig_visit(0);
    for (size_t i = 0; i < size; i++) { /* byte by byte: the header may come in pieces */
        visitor_send(visitor, (const uint8_t *)header + i, 1);
        if (i % 16 == 0) {
            sleep_ms(1);
        }
    }
    visitor_send(visitor, "\xc0\0", 2); /* not a CONNECT: refused, with the address */
    visitor_expect_end(visitor);
    visitor_leave(&visitor);
    rig_close();
    char expected[160];
    (void)snprintf(expected, sizeof(expected), "peer='%s'", peer);
    ck_assert_msg(strstr(log_line, expected) != NULL, "%s", log_line);
    gv_log_configure(GV_LOG_INFO, NULL, NULL, NULL);
}

START_TEST(the_log_names_the_client_and_not_the_balancer)
{
    expect_peer_in_log(PROXY_LINE, strlen(PROXY_LINE), "[2001:db8::7]:4711");
    expect_peer_in_log(proxy_v2, sizeof(proxy_v2) - 1, "192.0.2.7:4711");
}
END_TEST

START_TEST(without_a_proxy_header_nobody_is_heard)
{
    rig_open(PROXIED);
    uint8_t bytes[512];
    visitor_t *visitor = rig_visit(0);
    visitor_send(visitor, bytes, connect_packet("alice", bytes, sizeof(bytes)));
    visitor_expect_end(visitor);
    ck_assert_uint_eq(visitor->received_size, 0);
    ck_assert_uint_eq(proxy_errors(), 1);
    visitor_leave(&visitor);
    rig_close();
}
END_TEST

START_TEST(half_a_proxy_header_is_not_waited_for_for_ever)
{
    rig_init();
    rig.limits.connect_timeout_ms = 200;
    rig_add_listener(PROXIED);
    rig_start();
    visitor_t *visitor = rig_visit(0);
    visitor_send(visitor, proxy_v2, 20);
    visitor_expect_end(visitor);
    visitor_leave(&visitor);
    rig_close();
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("frontend");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_client_is_served);
    tcase_add_test(tc, messages_keep_their_order_between_shards);
    tcase_add_test(tc, what_follows_connect_moves_with_it);
    tcase_add_test(tc, a_client_that_leaves_while_it_moves_is_cleaned_up);
    tcase_add_test(tc, a_node_that_stops_while_clients_move_frees_them);
    tcase_add_test(tc, a_large_packet_arrives_whole);
    tcase_add_test(tc, a_slow_reader_gets_everything_in_the_end);
    tcase_add_test(tc, a_reader_that_takes_nothing_is_ended);
    tcase_add_test(tc, a_reader_that_moves_slowly_is_not_ended);
    tcase_add_test(tc, the_last_words_arrive_although_input_is_unread);
    tcase_add_test(tc, a_refused_client_gets_its_connack);
    tcase_add_test(tc, garbage_is_closed_and_nobody_else_is_disturbed);
    tcase_add_test(tc, who_says_nothing_is_closed_in_time);
    tcase_add_test(tc, a_taken_over_client_is_told_and_closed);
    tcase_add_test(tc, a_proxy_header_goes_before_connect);
    tcase_add_test(tc, the_log_names_the_client_and_not_the_balancer);
    tcase_add_test(tc, without_a_proxy_header_nobody_is_heard);
    tcase_add_test(tc, half_a_proxy_header_is_not_waited_for_for_ever);
    Suite *suite = suite_create("broker/net/frontend");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
