/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/ws/handshake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "tests/unit/seed.h"

#define KEY  "dGhlIHNhbXBsZSBub25jZQ=="
#define PATH GV_BYTES_LITERAL("/mqtt")

/* What every request below is made of; a case leaves out or changes a line. */
#define LINE       "GET /mqtt HTTP/1.1\r\n"
#define HOST       "Host: broker.example\r\n"
#define UPGRADE    "Upgrade: websocket\r\n"
#define CONNECTION "Connection: Upgrade\r\n"
#define VERSION    "Sec-WebSocket-Version: 13\r\n"
#define KEY_LINE   "Sec-WebSocket-Key: " KEY "\r\n"
#define PROTOCOL   "Sec-WebSocket-Protocol: mqtt\r\n"
#define END        "\r\n"
#define GOOD       LINE HOST UPGRADE CONNECTION VERSION KEY_LINE PROTOCOL END

/* In an allocation of its own, so that the sanitizer sees a read too far. */
static gv_err_t read_copy(gv_bytes_t bytes, gv_ws_request_t *out)
{
    uint8_t *copy = gv_xalloc(bytes.size);
    memcpy(copy, bytes.data, bytes.size);
    gv_err_t err = gv_ws_request_read(gv_bytes(copy, bytes.size), PATH, out);
    gv_free(copy);
    return err;
}

typedef struct accepted {
    const char *request;
    const char *protocol;
} accepted_t;

static const accepted_t accepted[] = {
    {GOOD, "mqtt"},
    {LINE HOST UPGRADE CONNECTION VERSION KEY_LINE "Sec-WebSocket-Protocol: mqttv3.1\r\n" END,
     "mqttv3.1"},
    {LINE HOST UPGRADE CONNECTION VERSION KEY_LINE
     "Sec-WebSocket-Protocol: chat, mqttv3.1 ,mqtt\r\n" END,
     "mqttv3.1"},
    {LINE HOST UPGRADE CONNECTION VERSION KEY_LINE "Sec-WebSocket-Protocol: chat\r\n" PROTOCOL END,
     "mqtt"},
    {"GET /mqtt?token=1 HTTP/1.1\r\n" HOST UPGRADE CONNECTION VERSION KEY_LINE PROTOCOL END,
     "mqtt"},
    {LINE "HOST:x\r\nuPGRADE:WebSocket\r\nconnection: keep-alive,\tUPGRADE \r\n"
          "sec-websocket-version:13\r\nsec-websocket-key:" KEY "\r\n" PROTOCOL END,
     "mqtt"},
    {LINE HOST UPGRADE CONNECTION VERSION KEY_LINE PROTOCOL
     "Origin: http://x\r\nCookie: a=b; c=\"\xc3\xa9\"\r\nX-Empty:\r\n" END,
     "mqtt"},
};

START_TEST(proper_requests_are_accepted)
{
    gv_ws_request_t request;
    gv_bytes_t bytes = gv_bytes_text(accepted[_i].request);
    ck_assert_int_eq(gv_ws_request_read(bytes, PATH, &request), GV_OK);
    ck_assert_uint_eq(request.size, bytes.size);
    ck_assert(gv_bytes_equal(request.key, GV_BYTES_LITERAL(KEY)));
    ck_assert(gv_bytes_equal(request.protocol, gv_bytes_text(accepted[_i].protocol)));
}
END_TEST

START_TEST(a_request_cut_at_any_byte_waits_for_more)
{
    gv_bytes_t bytes = gv_bytes_text(accepted[_i].request);
    for (size_t size = 0; size < bytes.size; size++) {
        gv_ws_request_t request;
        ck_assert_int_eq(read_copy(gv_bytes(bytes.data, size), &request), GV_ERR_AGAIN);
    }
}
END_TEST

START_TEST(what_follows_the_request_is_left_alone)
{
    gv_ws_request_t request;
    ck_assert_int_eq(gv_ws_request_read(GV_BYTES_LITERAL(GOOD "\x82\x80"), PATH, &request), GV_OK);
    ck_assert_uint_eq(request.size, strlen(GOOD));
}
END_TEST

typedef struct refused {
    const char *request;
    uint16_t status;
} refused_t;

static const refused_t refused[] = {
    /* Not HTTP, not GET, not this version: known at the first byte or at the end of the line. */
    {"\x10", 400},
    {"POST /mqtt HTTP/1.1\r\n", 400},
    {"GETS", 400},
    {"GET /mqtt HTTP/1.0\r\n" HOST UPGRADE CONNECTION VERSION KEY_LINE PROTOCOL END, 400},
    {"GET /mqtt\r\n\r\n", 400},
    {"GET  HTTP/1.1\r\n\r\n", 400},
    {"GET /mqtt HTTP/1.1 \r\n\r\n", 400},
    /* Another path; escapes are not ours to resolve. */
    {"GET / HTTP/1.1\r\n" HOST UPGRADE CONNECTION VERSION KEY_LINE PROTOCOL END, 404},
    {"GET /mqtt/ HTTP/1.1\r\n" HOST UPGRADE CONNECTION VERSION KEY_LINE PROTOCOL END, 404},
    {"GET /%6dqtt HTTP/1.1\r\n" HOST UPGRADE CONNECTION VERSION KEY_LINE PROTOCOL END, 404},
    {"GET /mqt HTTP/1.1\r\n" HOST UPGRADE CONNECTION VERSION KEY_LINE PROTOCOL END, 404},
    {"GET /mqtt#x HTTP/1.1\r\n" HOST UPGRADE CONNECTION VERSION KEY_LINE PROTOCOL END, 404},
    /* No upgrade, or to another version. */
    {LINE HOST END, 426},
    {LINE HOST CONNECTION VERSION KEY_LINE PROTOCOL END, 426},
    {LINE HOST UPGRADE VERSION KEY_LINE PROTOCOL END, 426},
    {LINE HOST "Upgrade: h2c\r\n" CONNECTION VERSION KEY_LINE PROTOCOL END, 426},
    {LINE HOST UPGRADE "Connection: keep-alive\r\n" VERSION KEY_LINE PROTOCOL END, 426},
    {LINE HOST UPGRADE CONNECTION KEY_LINE PROTOCOL END, 426},
    {LINE HOST UPGRADE CONNECTION "Sec-WebSocket-Version: 8\r\n" KEY_LINE PROTOCOL END, 426},
    {LINE HOST UPGRADE CONNECTION VERSION VERSION KEY_LINE PROTOCOL END, 400},
    /* Something is missing, or there twice. */
    {LINE UPGRADE CONNECTION VERSION KEY_LINE PROTOCOL END, 400},
    {LINE HOST HOST UPGRADE CONNECTION VERSION KEY_LINE PROTOCOL END, 400},
    {LINE HOST UPGRADE CONNECTION VERSION PROTOCOL END, 400},
    {LINE HOST UPGRADE CONNECTION VERSION KEY_LINE KEY_LINE PROTOCOL END, 400},
    {LINE HOST UPGRADE CONNECTION VERSION KEY_LINE END, 400},
    {LINE HOST UPGRADE CONNECTION VERSION KEY_LINE "Sec-WebSocket-Protocol: MQTT\r\n" END, 400},
    {LINE HOST UPGRADE CONNECTION VERSION KEY_LINE "Sec-WebSocket-Protocol: mqtts\r\n" END, 400},
    /* A key that is not 16 bytes of base64. */
    {LINE HOST UPGRADE CONNECTION VERSION "Sec-WebSocket-Key: c2hvcnQ=\r\n" PROTOCOL END, 400},
    {LINE HOST UPGRADE CONNECTION VERSION
     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=A\r\n" PROTOCOL END,
     400},
    {LINE HOST UPGRADE CONNECTION VERSION
     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBu-25jZQ==\r\n" PROTOCOL END,
     400},
    /* Lines that are none. */
    {LINE "Host broker\r\n" UPGRADE CONNECTION VERSION KEY_LINE PROTOCOL END, 400},
    {LINE " Host: folded\r\n" HOST UPGRADE CONNECTION VERSION KEY_LINE PROTOCOL END, 400},
    {LINE "Host : blank\r\n" UPGRADE CONNECTION VERSION KEY_LINE PROTOCOL END, 400},
    {LINE ": nameless\r\n" HOST UPGRADE CONNECTION VERSION KEY_LINE PROTOCOL END, 400},
    {LINE "X: a\rb\r\n" HOST UPGRADE CONNECTION VERSION KEY_LINE PROTOCOL END, 400},
    {LINE "X: \x01\r\n" HOST UPGRADE CONNECTION VERSION KEY_LINE PROTOCOL END, 400},
    {LINE "X: bare line end\n" HOST UPGRADE CONNECTION VERSION KEY_LINE PROTOCOL END, 400},
};

START_TEST(other_requests_are_refused_with_the_right_status)
{
    gv_ws_request_t request;
    ck_assert_int_eq(read_copy(gv_bytes_text(refused[_i].request), &request),
                     strstr(refused[_i].request, "\r\n\r\n") == NULL &&
                             strncmp(refused[_i].request, "GET ", 4) == 0
                         ? GV_ERR_AGAIN
                         : GV_ERR_MALFORMED);
    ck_assert_uint_eq(request.status, refused[_i].status);
}
END_TEST

START_TEST(a_request_without_end_is_given_up)
{
    uint8_t *bytes = gv_xalloc(GV_WS_REQUEST_MAX);
    memset(bytes, 'a', GV_WS_REQUEST_MAX);
    memcpy(bytes, LINE, strlen(LINE));
    gv_ws_request_t request;
    ck_assert_int_eq(gv_ws_request_read(gv_bytes(bytes, GV_WS_REQUEST_MAX - 1), PATH, &request),
                     GV_ERR_AGAIN);
    ck_assert_int_eq(gv_ws_request_read(gv_bytes(bytes, GV_WS_REQUEST_MAX), PATH, &request),
                     GV_ERR_MALFORMED);
    ck_assert_uint_eq(request.status, 431);
    gv_free(bytes);
}
END_TEST

START_TEST(the_answers_are_http)
{
    char text[GV_WS_ANSWER_MAX];
    gv_writer_t w = gv_writer(text, sizeof(text));
    /* The example of RFC 6455, 1.3. */
    gv_ws_write_accept(&w, GV_BYTES_LITERAL("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
                       GV_BYTES_LITERAL("mqtt"));
    ck_assert(!w.failed);
    ck_assert(gv_bytes_equal(gv_bytes(text, sizeof(text) - gv_writer_left(&w)),
                             GV_BYTES_LITERAL("HTTP/1.1 101 Switching Protocols\r\n"
                                              "Upgrade: websocket\r\n"
                                              "Connection: Upgrade\r\n"
                                              "Sec-WebSocket-Accept: "
                                              "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
                                              "Sec-WebSocket-Protocol: mqtt\r\n\r\n")));
    static const uint16_t statuses[] = {400, 404, 426, 431};
    for (size_t i = 0; i < 4; i++) {
        char expected[32];
        (void)snprintf(expected, sizeof(expected), "HTTP/1.1 %u ", statuses[i]);
        w = gv_writer(text, sizeof(text));
        gv_ws_write_refusal(&w, statuses[i]);
        ck_assert(!w.failed);
        gv_bytes_t answer = gv_bytes(text, sizeof(text) - gv_writer_left(&w));
        ck_assert(gv_bytes_has_prefix(answer, gv_bytes_text(expected)));
        ck_assert_mem_eq(answer.data + answer.size - 4, "\r\n\r\n", 4);
        ck_assert_int_eq(memmem(answer.data, answer.size, "Sec-WebSocket-Version: 13", 25) != NULL,
                         statuses[i] == 426);
    }
}
END_TEST

START_TEST(random_damage_never_reads_too_far)
{
    gv_rng_t rng;
    gv_rng_init(&rng, test_seed("proto/ws/handshake"), 1);
    for (int round = 0; round < 20000; round++) {
        char bytes[] = GOOD;
        for (uint32_t i = gv_rng_below(&rng, 4) + 1; i > 0; i--) {
            static const char odd[] = "\r\n: ,\0\t=/?\x7f\xff";
            bytes[gv_rng_below(&rng, sizeof(bytes) - 1)] = odd[gv_rng_below(&rng, sizeof(odd) - 1)];
        }
        gv_ws_request_t request;
        gv_err_t err = read_copy(gv_bytes(bytes, sizeof(bytes) - 1), &request);
        ck_assert(err == GV_OK || err == GV_ERR_AGAIN || request.status >= 400);
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("handshake");
    int accepted_count = (int)(sizeof(accepted) / sizeof(accepted[0]));
    int refused_count = (int)(sizeof(refused) / sizeof(refused[0]));
    tcase_add_loop_test(tc, proper_requests_are_accepted, 0, accepted_count);
    tcase_add_loop_test(tc, a_request_cut_at_any_byte_waits_for_more, 0, accepted_count);
    tcase_add_test(tc, what_follows_the_request_is_left_alone);
    tcase_add_loop_test(tc, other_requests_are_refused_with_the_right_status, 0, refused_count);
    tcase_add_test(tc, a_request_without_end_is_given_up);
    tcase_add_test(tc, the_answers_are_http);
    tcase_add_test(tc, random_damage_never_reads_too_far);
    Suite *suite = suite_create("proto/ws/handshake");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
