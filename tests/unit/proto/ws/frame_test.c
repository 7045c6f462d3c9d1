/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/ws/frame.h"

#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "tests/unit/proto/ws/client_frame.h"
#include "tests/unit/seed.h"

/* Everything a decoder has told, in the order it was told. */
typedef struct story {
    uint8_t data[200000]; /* payload of all binary messages */
    size_t data_size;
    uint8_t pings[4096];
    size_t pings_size;
    uint32_t ping_count;
    uint16_t code; /* of the close, or of the error */
    gv_err_t end;  /* the last result */
} story_t;

static story_t story;

/* Feeds the bytes in allocations of their own; pieces of up to piece_max bytes, room of room_size.
 */
static void feed(gv_ws_decoder_t *decoder, gv_bytes_t bytes, size_t room_size)
{
    uint8_t room[512];
    uint8_t *copy = gv_xalloc(bytes.size);
    if (bytes.size > 0) {
        memcpy(copy, bytes.data, bytes.size);
    }
    gv_bytes_t input = gv_bytes(copy, bytes.size);
    gv_ws_event_t event;
    while ((story.end = gv_ws_decode(decoder, &input, room, room_size, &event)) == GV_OK) {
        if (event.opcode == GV_WS_BINARY) {
            ck_assert_uint_gt(event.bytes.size, 0);
            ck_assert_uint_le(event.bytes.size, room_size);
            memcpy(story.data + story.data_size, event.bytes.data, event.bytes.size);
            story.data_size += event.bytes.size;
        } else if (event.opcode == GV_WS_PING) {
            memcpy(story.pings + story.pings_size, event.bytes.data, event.bytes.size);
            story.pings_size += event.bytes.size;
            story.ping_count++;
        } else {
            ck_assert_int_eq(event.opcode, GV_WS_CLOSE);
            story.code = event.code;
        }
    }
    if (story.end == GV_ERR_MALFORMED) {
        story.code = event.code;
    }
    ck_assert(story.end != GV_ERR_AGAIN || input.size == 0);
    gv_free(copy);
}

static void tell(gv_bytes_t bytes)
{
    gv_ws_decoder_t decoder = {._left = 0};
    memset(&story, 0, sizeof(story));
    feed(&decoder, bytes, 512);
}

START_TEST(the_example_of_the_standard_is_understood)
{
    /* RFC 6455, 5.7: "Hello", masked; there it is text, here binary. */
    tell(GV_BYTES_LITERAL("\x82\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"));
    ck_assert_int_eq(story.end, GV_ERR_AGAIN);
    ck_assert(gv_bytes_equal(gv_bytes(story.data, story.data_size), GV_BYTES_LITERAL("Hello")));
}
END_TEST

/* A random conversation: messages in frames, empty frames, pings and pongs in between. */
START_TEST(payload_does_not_depend_on_how_it_is_cut)
{
    gv_rng_t rng;
    gv_rng_init(&rng, test_seed("proto/ws/frame"), 1);
    uint8_t *expected = gv_xalloc(sizeof(story.data));
    uint8_t *wire = gv_xalloc(2 * sizeof(story.data));
    for (int round = 0; round < 60; round++) {
        size_t expected_size = 0;
        uint32_t pings = 0;
        gv_writer_t w = gv_writer(wire, 2 * sizeof(story.data));
        for (uint32_t message = gv_rng_below(&rng, 8); message > 0; message--) {
            uint32_t frames = gv_rng_below(&rng, 4) + 1;
            for (uint32_t i = 0; i < frames; i++) {
                static const uint32_t sizes[] = {1, 5, 130, 3000, 70000 / 8};
                size_t size = gv_rng_below(&rng, sizes[gv_rng_below(&rng, 5)]);
                for (size_t j = 0; j < size; j++) {
                    expected[expected_size + j] = (uint8_t)gv_rng_below(&rng, 256);
                }
                write_proper_frame(&w, i == frames - 1, i == 0 ? GV_WS_BINARY : GV_WS_CONTINUATION,
                                   gv_bytes(expected + expected_size, size));
                expected_size += size;
                if (gv_rng_below(&rng, 3) == 0) {
                    write_proper_frame(&w, true, GV_WS_PING, gv_bytes(expected, size % 126));
                    pings++;
                }
                if (gv_rng_below(&rng, 3) == 0) {
                    write_proper_frame(&w, true, GV_WS_PONG, gv_bytes(expected, size % 126));
                }
            }
        }
        write_proper_frame(&w, true, GV_WS_CLOSE,
                           GV_BYTES_LITERAL("\x03\xe8"
                                            "bye"));
        ck_assert(!w.failed);
        gv_bytes_t left = gv_bytes(wire, (size_t)(w.pos - wire));
        uint32_t piece_max = gv_rng_below(&rng, 2) == 0 ? 3 : 5000;
        size_t room_size = gv_rng_below(&rng, 2) == 0 ? 1 : 512;
        gv_ws_decoder_t decoder = {._left = 0};
        memset(&story, 0, sizeof(story));
        while (left.size > 0) {
            size_t size = gv_rng_below(&rng, piece_max) + 1;
            size = size < left.size ? size : left.size;
            feed(&decoder, gv_bytes(left.data, size), room_size);
            left = gv_bytes(left.data + size, left.size - size);
        }
        ck_assert_int_eq(story.end, GV_ERR_CLOSED);
        ck_assert_uint_eq(story.code, 1000);
        ck_assert_uint_eq(story.ping_count, pings);
        ck_assert(gv_bytes_equal(gv_bytes(story.data, story.data_size),
                                 gv_bytes(expected, expected_size)));
    }
    gv_free(expected);
    gv_free(wire);
}
END_TEST

START_TEST(a_ping_is_told_with_what_to_repeat)
{
    uint8_t wire[512];
    uint8_t payload[GV_WS_CONTROL_MAX];
    memset(payload, 'p', sizeof(payload));
    gv_writer_t w = gv_writer(wire, sizeof(wire));
    write_proper_frame(&w, true, GV_WS_PING, GV_BYTES_EMPTY);
    write_proper_frame(&w, true, GV_WS_PING, gv_bytes(payload, sizeof(payload)));
    tell(gv_bytes(wire, (size_t)(w.pos - wire)));
    ck_assert_uint_eq(story.ping_count, 2);
    ck_assert_uint_eq(story.pings_size, sizeof(payload));
    ck_assert_mem_eq(story.pings, payload, sizeof(payload));
}
END_TEST

START_TEST(lengths_of_all_widths_are_read)
{
    static const struct {
        size_t size;
        uint8_t width;
    } cases[] = {{125, 0}, {126, 2}, {65535, 2}, {65536, 8}};
    uint8_t *wire = gv_xalloc(70000);
    uint8_t *payload = gv_xcalloc(1, 65536);
    gv_writer_t w = gv_writer(wire, 70000);
    write_client_frame(&w, (client_frame_t){.first = 0x82,
                                            .width = cases[_i].width,
                                            .payload = gv_bytes(payload, cases[_i].size)});
    tell(gv_bytes(wire, (size_t)(w.pos - wire)));
    ck_assert_int_eq(story.end, GV_ERR_AGAIN);
    ck_assert_uint_eq(story.data_size, cases[_i].size);
    gv_free(wire);
    gv_free(payload);
}
END_TEST

#define DATA                                       \
    {                                              \
        .data = (const uint8_t *)"data", .size = 4 \
    }

typedef struct bad {
    client_frame_t frames[2];
    uint16_t code;
} bad_t;

static const bad_t bads[] = {
    {{{.first = 0x82, .is_naked = true, .payload = DATA}}, 1002},
    {{{.first = 0x88, .is_naked = true}}, 1002},
    {{{.first = 0xc2, .payload = DATA}}, 1002}, /* reserved bits, one by one */
    {{{.first = 0xa2, .payload = DATA}}, 1002},
    {{{.first = 0x92, .payload = DATA}}, 1002},
    {{{.first = 0x83, .payload = DATA}}, 1002}, /* reserved opcodes */
    {{{.first = 0x87, .payload = DATA}}, 1002},
    {{{.first = 0x8b, .payload = DATA}}, 1002},
    {{{.first = 0x8f, .payload = DATA}}, 1002},
    {{{.first = 0x81, .payload = DATA}}, 1003}, /* text */
    {{{.first = 0x01, .payload = DATA}}, 1003},
    {{{.first = 0x80, .payload = DATA}}, 1002}, /* a continuation of nothing */
    {{{.first = 0x00, .payload = DATA}}, 1002},
    {{{.first = 0x82, .payload = DATA}, {.first = 0x80, .payload = DATA}}, 1002},
    {{{.first = 0x02, .payload = DATA}, {.first = 0x82, .payload = DATA}}, 1002}, /* in a message */
    {{{.first = 0x02, .payload = DATA}, {.first = 0x81, .payload = DATA}}, 1002},
    {{{.first = 0x09, .payload = DATA}}, 1002}, /* control frames in pieces */
    {{{.first = 0x08}}, 1002},
    {{{.first = 0x89, .width = 2, .claim = 126}}, 1002}, /* or long */
    {{{.first = 0x8a, .width = 8, .claim = 65536}}, 1002},
    {{{.first = 0x88, .width = 2, .claim = 4}}, 1002},
    {{{.first = 0x82, .width = 2, .claim = 125}}, 1002}, /* lengths wider than needed */
    {{{.first = 0x82, .width = 2, .claim = 1}}, 1002},
    {{{.first = 0x82, .width = 8, .claim = 65535}}, 1002},
    {{{.first = 0x82, .width = 8, .claim = 1}}, 1002},
    {{{.first = 0x82, .width = 8, .claim = 0x8000000000000000U}}, 1002}, /* the highest bit */
    {{{.first = 0x82, .width = 8, .claim = 0xffffffffffffffffU}}, 1002},
    {{{.first = 0x82, .width = 8, .claim = 0x7fffffffffffffffU}}, 1009}, /* lies and giants */
    {{{.first = 0x82, .width = 8, .claim = 268435461}}, 1009},
    {{{.first = 0x88, .payload = {.data = (const uint8_t *)"\x03", .size = 1}}}, 1002},
    {{{.first = 0x88, .payload = {.data = (const uint8_t *)"\x03\xed", .size = 2}}},
     1002}, /* 1005 */
    {{{.first = 0x88, .payload = {.data = (const uint8_t *)"\x03\xee", .size = 2}}},
     1002}, /* 1006 */
    {{{.first = 0x88, .payload = {.data = (const uint8_t *)"\x00\x00", .size = 2}}}, 1002},
    {{{.first = 0x88, .payload = {.data = (const uint8_t *)"\xff\xff", .size = 2}}}, 1002},
};

START_TEST(a_broken_rule_ends_it_with_the_right_code)
{
    uint8_t wire[64];
    gv_writer_t w = gv_writer(wire, sizeof(wire));
    write_client_frame(&w, bads[_i].frames[0]);
    if (bads[_i].frames[1].first != 0) {
        write_client_frame(&w, bads[_i].frames[1]);
    }
    write_proper_frame(&w, true, GV_WS_PING, GV_BYTES_EMPTY); /* nobody listens any more */
    ck_assert(!w.failed);
    gv_bytes_t bytes = gv_bytes(wire, (size_t)(w.pos - wire));
    tell(bytes);
    ck_assert_int_eq(story.end, GV_ERR_MALFORMED);
    ck_assert_uint_eq(story.code, bads[_i].code);
    ck_assert_uint_eq(story.ping_count, 0);

    /* Byte by byte it is the same, and it stays ended. */
    gv_ws_decoder_t decoder = {._left = 0};
    memset(&story, 0, sizeof(story));
    for (size_t i = 0; i < bytes.size; i++) {
        bool had_ended = story.end == GV_ERR_MALFORMED || story.end == GV_ERR_CLOSED;
        feed(&decoder, gv_bytes(bytes.data + i, 1), 1);
        ck_assert(!had_ended || story.end == GV_ERR_CLOSED);
    }
    ck_assert_uint_eq(story.code, bads[_i].code);
    ck_assert_uint_eq(story.ping_count, 0);
}
END_TEST

START_TEST(a_close_without_a_code_is_one)
{
    uint8_t wire[16];
    gv_writer_t w = gv_writer(wire, sizeof(wire));
    write_proper_frame(&w, true, GV_WS_CLOSE, GV_BYTES_EMPTY);
    tell(gv_bytes(wire, (size_t)(w.pos - wire)));
    ck_assert_int_eq(story.end, GV_ERR_CLOSED);
    ck_assert_uint_eq(story.code, GV_WS_NO_CODE);
}
END_TEST

START_TEST(our_headers_are_the_shortest_and_not_masked)
{
    static const struct {
        uint64_t size;
        gv_bytes_t header;
    } cases[] = {
        {0, {(const uint8_t *)"\x82\x00", 2}},
        {125, {(const uint8_t *)"\x82\x7d", 2}},
        {126, {(const uint8_t *)"\x82\x7e\x00\x7e", 4}},
        {65535, {(const uint8_t *)"\x82\x7e\xff\xff", 4}},
        {65536, {(const uint8_t *)"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00", 10}},
    };
    uint8_t bytes[GV_WS_HEADER_MAX];
    gv_writer_t w = gv_writer(bytes, sizeof(bytes));
    gv_ws_write_header(&w, GV_WS_BINARY, cases[_i].size);
    ck_assert(
        gv_bytes_equal(gv_bytes(bytes, sizeof(bytes) - gv_writer_left(&w)), cases[_i].header));
}
END_TEST

START_TEST(our_close_has_a_code_or_none)
{
    uint8_t bytes[4];
    gv_writer_t w = gv_writer(bytes, sizeof(bytes));
    gv_ws_write_close(&w, GV_WS_PROTOCOL_ERROR);
    ck_assert_mem_eq(bytes, "\x88\x02\x03\xea", 4);
    w = gv_writer(bytes, sizeof(bytes));
    gv_ws_write_close(&w, GV_WS_NO_CODE);
    ck_assert_uint_eq(gv_writer_left(&w), 2);
    ck_assert_mem_eq(bytes, "\x88\x00", 2);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("frame");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, the_example_of_the_standard_is_understood);
    tcase_add_test(tc, payload_does_not_depend_on_how_it_is_cut);
    tcase_add_test(tc, a_ping_is_told_with_what_to_repeat);
    tcase_add_loop_test(tc, lengths_of_all_widths_are_read, 0, 4);
    tcase_add_loop_test(tc, a_broken_rule_ends_it_with_the_right_code, 0,
                        (int)(sizeof(bads) / sizeof(bads[0])));
    tcase_add_test(tc, a_close_without_a_code_is_one);
    tcase_add_loop_test(tc, our_headers_are_the_shortest_and_not_masked, 0, 5);
    tcase_add_test(tc, our_close_has_a_code_or_none);
    Suite *suite = suite_create("proto/ws/frame");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
