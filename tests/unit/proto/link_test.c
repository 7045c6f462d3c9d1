/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/link.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"

#define BODY_MAX ((size_t)1000)
#define KIND_A   ((uint8_t)4)
#define KIND_B   ((uint8_t)200)

static size_t encode(uint8_t *out, size_t out_size, uint8_t kind, gv_bytes_t body)
{
    gv_writer_t w = gv_writer(out, out_size);
    gv_linkframe_write(&w, kind, body);
    ck_assert(!w.failed);
    return out_size - gv_writer_left(&w);
}

static gv_linkframe_decoder_t decoder_of(size_t body_max)
{
    gv_linkframe_decoder_t decoder;
    gv_linkframe_decoder_init(&decoder, body_max);
    return decoder;
}

/* The error that a lone, complete piece of input gives. */
static gv_err_t decode_once(gv_bytes_t input, size_t body_max)
{
    gv_linkframe_decoder_t decoder = decoder_of(body_max);
    gv_linkframe_t frame;
    gv_err_t err = gv_linkframe_decode(&decoder, &input, &frame);
    gv_linkframe_decoder_deinit(&decoder);
    return err;
}

START_TEST(the_layout_on_the_wire_is_fixed)
{
    uint8_t bytes[32];
    size_t size = encode(bytes, sizeof(bytes), KIND_A, GV_BYTES_LITERAL("grape"));
    ck_assert_uint_eq(size, 17);
    static const uint8_t expected_front[8] = {0, 0, 0, 5, 1, 4, 0, 0};
    ck_assert_mem_eq(bytes, expected_front, sizeof(expected_front));
    ck_assert_mem_eq(bytes + 12, "grape", 5);
}
END_TEST

START_TEST(a_frame_comes_out_as_it_went_in)
{
    uint8_t bytes[64];
    size_t size = encode(bytes, sizeof(bytes), KIND_B, GV_BYTES_LITERAL("vine"));
    gv_linkframe_decoder_t decoder = decoder_of(BODY_MAX);
    gv_bytes_t input = gv_bytes(bytes, size);
    gv_linkframe_t frame;
    ck_assert_int_eq(gv_linkframe_decode(&decoder, &input, &frame), GV_OK);
    ck_assert_uint_eq(frame.kind, KIND_B);
    ck_assert(gv_bytes_equal(frame.body, GV_BYTES_LITERAL("vine")));
    ck_assert_msg(frame.body.data == bytes + GV_LINKFRAME_HEADER_BYTES, "decoded in place");
    ck_assert_uint_eq(input.size, 0);
    ck_assert_int_eq(gv_linkframe_decode(&decoder, &input, &frame), GV_ERR_AGAIN);
    gv_linkframe_decoder_deinit(&decoder);
}
END_TEST

START_TEST(an_empty_body_is_a_frame)
{
    uint8_t bytes[64];
    size_t size = encode(bytes, sizeof(bytes), KIND_A, GV_BYTES_EMPTY);
    ck_assert_uint_eq(size, GV_LINKFRAME_HEADER_BYTES);
    ck_assert_int_eq(decode_once(gv_bytes(bytes, size), 0), GV_OK);
}
END_TEST

START_TEST(parts_make_the_same_frame_as_their_concatenation)
{
    const gv_bytes_t parts[] = {GV_BYTES_LITERAL("gra"), GV_BYTES_EMPTY, GV_BYTES_LITERAL("pe")};
    uint8_t header[GV_LINKFRAME_HEADER_BYTES];
    gv_linkframe_header(header, KIND_A, parts, 3);
    uint8_t whole[32];
    (void)encode(whole, sizeof(whole), KIND_A, GV_BYTES_LITERAL("grape"));
    ck_assert_mem_eq(header, whole, sizeof(header));
}
END_TEST

START_TEST(a_writer_without_room_says_so)
{
    uint8_t bytes[GV_LINKFRAME_HEADER_BYTES + 4];
    gv_writer_t w = gv_writer(bytes, sizeof(bytes));
    gv_linkframe_write(&w, KIND_A, GV_BYTES_LITERAL("grape"));
    ck_assert(w.failed);
}
END_TEST

START_TEST(one_byte_at_a_time_gives_the_same_frames)
{
    uint8_t bytes[128];
    size_t size = encode(bytes, sizeof(bytes), KIND_A, GV_BYTES_LITERAL("one"));
    size += encode(bytes + size, sizeof(bytes) - size, KIND_A, GV_BYTES_EMPTY);
    size += encode(bytes + size, sizeof(bytes) - size, KIND_B, GV_BYTES_LITERAL("three"));
    gv_linkframe_decoder_t decoder = decoder_of(BODY_MAX);
    static const char *const expected[] = {"one", "", "three"};
    size_t frame_count = 0;
    for (size_t i = 0; i < size; i++) {
        gv_bytes_t input = gv_bytes(bytes + i, 1);
        gv_linkframe_t frame;
        gv_err_t err = gv_linkframe_decode(&decoder, &input, &frame);
        ck_assert_uint_eq(input.size, 0);
        if (err == GV_OK) {
            ck_assert_uint_lt(frame_count, 3);
            ck_assert(gv_bytes_equal(frame.body, gv_bytes_text(expected[frame_count])));
            ck_assert_uint_eq(gv_linkframe_decoder_held(&decoder), 0);
            frame_count++;
        } else {
            ck_assert_int_eq(err, GV_ERR_AGAIN);
            ck_assert_uint_gt(gv_linkframe_decoder_held(&decoder), 0);
        }
    }
    ck_assert_uint_eq(frame_count, 3);
    gv_linkframe_decoder_deinit(&decoder);
}
END_TEST

START_TEST(a_body_over_the_limit_is_refused_from_its_header)
{
    uint8_t bytes[64];
    size_t size = encode(bytes, sizeof(bytes), KIND_A, GV_BYTES_LITERAL("grape"));
    ck_assert_int_eq(decode_once(gv_bytes(bytes, size), 5), GV_OK);
    ck_assert_int_eq(decode_once(gv_bytes(bytes, GV_LINKFRAME_HEADER_BYTES), 4), GV_ERR_TOO_LARGE);
}
END_TEST

START_TEST(an_announced_gigabyte_costs_only_what_came)
{
    /* A header that promises the most the format can, and then ten
     * bytes. */
    uint8_t bytes[GV_LINKFRAME_HEADER_BYTES + 10] = {0xff, 0xff, 0xff, 0xff, GV_LINKFRAME_VERSION};
    gv_linkframe_decoder_t decoder = decoder_of(GV_LINKFRAME_BODY_MAX);
    gv_bytes_t input = gv_bytes(bytes, sizeof(bytes));
    gv_linkframe_t frame;
    ck_assert_int_eq(gv_linkframe_decode(&decoder, &input, &frame), GV_ERR_AGAIN);
    ck_assert_uint_eq(gv_linkframe_decoder_held(&decoder), sizeof(bytes));
    ck_assert_uint_le(decoder._held_capacity, 4096);
    gv_linkframe_decoder_deinit(&decoder);
}
END_TEST

START_TEST(strangers_are_told_apart)
{
    ck_assert_int_eq(decode_once(GV_BYTES_LITERAL("GET / HTTP/1.1\r\n"), BODY_MAX), GV_ERR_VERSION);

    uint8_t bytes[64];
    size_t size = encode(bytes, sizeof(bytes), KIND_A, GV_BYTES_LITERAL("grape"));
    bytes[4] = GV_LINKFRAME_VERSION + 1;
    ck_assert_int_eq(decode_once(gv_bytes(bytes, size), BODY_MAX), GV_ERR_VERSION);
    bytes[4] = GV_LINKFRAME_VERSION;
    bytes[7] = 1;
    ck_assert_int_eq(decode_once(gv_bytes(bytes, size), BODY_MAX), GV_ERR_MALFORMED);
}
END_TEST

START_TEST(every_flipped_bit_is_noticed)
{
    uint8_t bytes[64];
    size_t size = encode(bytes, sizeof(bytes), KIND_A, GV_BYTES_LITERAL("grapevine"));
    for (size_t bit = 0; bit < size * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
        ck_assert_int_ne(decode_once(gv_bytes(bytes, size), BODY_MAX), GV_OK);
        bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    ck_assert_int_eq(decode_once(gv_bytes(bytes, size), BODY_MAX), GV_OK);
}
END_TEST

START_TEST(an_error_is_final)
{
    uint8_t bytes[64];
    size_t size = encode(bytes, sizeof(bytes), KIND_A, GV_BYTES_LITERAL("grape"));
    bytes[size - 1] ^= 1;
    gv_linkframe_decoder_t decoder = decoder_of(BODY_MAX);
    gv_bytes_t input = gv_bytes(bytes, size);
    gv_linkframe_t frame;
    ck_assert_int_eq(gv_linkframe_decode(&decoder, &input, &frame), GV_ERR_CORRUPT);
    bytes[size - 1] ^= 1;
    input = gv_bytes(bytes, size);
    ck_assert_int_eq(gv_linkframe_decode(&decoder, &input, &frame), GV_ERR_CORRUPT);
    ck_assert_uint_eq(frame.body.size, 0);
    gv_linkframe_decoder_deinit(&decoder);
}
END_TEST

START_TEST(the_limit_can_be_raised_between_frames)
{
    uint8_t bytes[64];
    size_t size = encode(bytes, sizeof(bytes), KIND_A, GV_BYTES_LITERAL("ab"));
    size += encode(bytes + size, sizeof(bytes) - size, KIND_A, GV_BYTES_LITERAL("longer than two"));
    gv_linkframe_decoder_t decoder = decoder_of(2);
    gv_bytes_t input = gv_bytes(bytes, size);
    gv_linkframe_t frame;
    ck_assert_int_eq(gv_linkframe_decode(&decoder, &input, &frame), GV_OK);
    gv_linkframe_decoder_limit(&decoder, 100);
    ck_assert_int_eq(gv_linkframe_decode(&decoder, &input, &frame), GV_OK);
    ck_assert_uint_eq(frame.body.size, 15);
    gv_linkframe_decoder_deinit(&decoder);
}
END_TEST

/* Frames of random sizes, cut into pieces at random
 * places. */
START_TEST(any_cutting_of_the_stream_gives_the_frames_in_order)
{
    gv_rng_t rng;
    gv_rng_init(&rng, UINT64_C(0x6772617065) + (uint64_t)_i, 1);
    enum {
        FRAMES = 50,
        STREAM_MAX = 200000
    };
    uint8_t *stream = gv_xalloc(STREAM_MAX);
    uint8_t body[3000];
    size_t sizes[FRAMES];
    size_t stream_size = 0;
    for (size_t i = 0; i < FRAMES; i++) {
        sizes[i] = gv_rng_below(&rng, gv_rng_chance(&rng, 30) ? sizeof(body) : 40);
        memset(body, (int)(i + 1), sizes[i]);
        stream_size += encode(stream + stream_size, STREAM_MAX - stream_size, KIND_B,
                              gv_bytes(body, sizes[i]));
    }

    gv_linkframe_decoder_t decoder = decoder_of(sizeof(body));
    size_t frame_count = 0;
    size_t pos = 0;
    while (pos < stream_size) {
        size_t piece = 1 + gv_rng_below(&rng, gv_rng_chance(&rng, 50) ? 20 : 5000);
        piece = piece < stream_size - pos ? piece : stream_size - pos;
        gv_bytes_t input = gv_bytes(stream + pos, piece);
        pos += piece;
        gv_linkframe_t frame;
        gv_err_t err = GV_OK;
        while ((err = gv_linkframe_decode(&decoder, &input, &frame)) == GV_OK) {
            ck_assert_uint_lt(frame_count, FRAMES);
            ck_assert_uint_eq(frame.body.size, sizes[frame_count]);
            memset(body, (int)(frame_count + 1), sizeof(body));
            ck_assert_mem_eq(frame.body.data, body, frame.body.size);
            frame_count++;
        }
        ck_assert_int_eq(err, GV_ERR_AGAIN);
        ck_assert_uint_eq(input.size, 0);
    }
    ck_assert_uint_eq(frame_count, FRAMES);
    gv_linkframe_decoder_deinit(&decoder);
    gv_free(stream);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("link frame");
    tcase_add_test(tc, the_layout_on_the_wire_is_fixed);
    tcase_add_test(tc, a_frame_comes_out_as_it_went_in);
    tcase_add_test(tc, an_empty_body_is_a_frame);
    tcase_add_test(tc, parts_make_the_same_frame_as_their_concatenation);
    tcase_add_test(tc, a_writer_without_room_says_so);
    tcase_add_test(tc, one_byte_at_a_time_gives_the_same_frames);
    tcase_add_test(tc, a_body_over_the_limit_is_refused_from_its_header);
    tcase_add_test(tc, an_announced_gigabyte_costs_only_what_came);
    tcase_add_test(tc, strangers_are_told_apart);
    tcase_add_test(tc, every_flipped_bit_is_noticed);
    tcase_add_test(tc, an_error_is_final);
    tcase_add_test(tc, the_limit_can_be_raised_between_frames);
    tcase_add_loop_test(tc, any_cutting_of_the_stream_gives_the_frames_in_order, 0, 20);

    Suite *suite = suite_create("proto");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
