/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "tests/unit/seed.h"

/* The first numbers of the reference implementation's demo (pcg32, state 42, stream 54). */
START_TEST(numbers_are_those_of_the_reference)
{
    static const uint32_t expected[] = {0xa15c02b7, 0x7b47f409, 0xba1d3330,
                                        0x83d2f293, 0xbfa4784b, 0xcbed606e};
    uint64_t stream = 54U << 1 | 1;
    gv_rng_t rng = {._state = (stream + 42) * 6364136223846793005U + stream, ._stream = stream};
    for (size_t i = 0; i < 6; i++) {
        ck_assert_uint_eq(gv_rng_u32(&rng), expected[i]);
    }
}
END_TEST

START_TEST(same_seed_and_stream_repeat_and_others_differ)
{
    gv_rng_t first;
    gv_rng_t again;
    gv_rng_t other_seed;
    gv_rng_t other_stream;
    gv_rng_init(&first, 1, 0);
    gv_rng_init(&again, 1, 0);
    gv_rng_init(&other_seed, 2, 0);
    gv_rng_init(&other_stream, 1, 1);
    int same = 0;
    for (int i = 0; i < 1000; i++) {
        uint32_t drawn = gv_rng_u32(&first);
        ck_assert_uint_eq(gv_rng_u32(&again), drawn);
        same += gv_rng_u32(&other_seed) == drawn;
        same += gv_rng_u32(&other_stream) == drawn;
    }
    ck_assert_int_lt(same, 3); /* each of 2000 is equal once in 4 billion */
}
END_TEST

/* Neighbouring streams and seeds are what programs use; their bits must not follow each
 * other. */
START_TEST(bits_of_neighbouring_streams_are_independent)
{
    for (uint64_t n = 0; n < 16; n++) {
        gv_rng_t a;
        gv_rng_t b;
        gv_rng_init(&a, 7 + (n & 1), n);
        gv_rng_init(&b, 7, n + 1);
        unsigned equal_bits = 0;
        for (int i = 0; i < 1000; i++) {
            equal_bits += (unsigned)__builtin_popcount(~(gv_rng_u32(&a) ^ gv_rng_u32(&b)));
        }
        /* 32000 coin tosses: mean 16000, deviation 89; fixed seeds, so it cannot
         * flicker. */
        ck_assert_uint_gt(equal_bits, 16000 - 450);
        ck_assert_uint_lt(equal_bits, 16000 + 450);
    }
}
END_TEST

START_TEST(u64_is_two_draws_high_half_first)
{
    gv_rng_t one;
    gv_rng_t two;
    gv_rng_init(&one, 3, 3);
    gv_rng_init(&two, 3, 3);
    uint64_t high = gv_rng_u32(&two);
    uint64_t low = gv_rng_u32(&two);
    ck_assert_uint_eq(gv_rng_u64(&one), high << 32 | low);
}
END_TEST

START_TEST(below_is_even_and_below)
{
    gv_rng_t rng;
    gv_rng_init(&rng, 1, 1);
    unsigned hits[7] = {0};
    for (int i = 0; i < 70000; i++) {
        hits[gv_rng_below(&rng, 7)]++;
    }
    for (int i = 0; i < 7; i++) {
        ck_assert_uint_gt(hits[i], 9500);
        ck_assert_uint_lt(hits[i], 10500);
    }
    ck_assert_uint_eq(gv_rng_below(&rng, 1), 0);
}
END_TEST

/* 2^32 numbers on 3 * 2^30: without repeated draws every third one would come twice as often. */
START_TEST(below_has_no_bias)
{
    gv_rng_t rng;
    gv_rng_init(&rng, 1, 2);
    uint32_t bound = 3U << 30;
    int third = 0;
    int low = 0;
    for (int i = 0; i < 30000; i++) {
        uint32_t drawn = gv_rng_below(&rng, bound);
        ck_assert_uint_lt(drawn, bound);
        third += drawn % 3 == 0;
        low += drawn < bound / 3;
    }
    ck_assert_int_gt(third, 9500);
    ck_assert_int_lt(third, 10500);
    ck_assert_int_gt(low, 9500);
    ck_assert_int_lt(low, 10500);
}
END_TEST

START_TEST(chance_of_0_and_100_is_certain)
{
    gv_rng_t rng;
    gv_rng_init(&rng, test_seed(__func__), 0);
    for (int i = 0; i < 1000; i++) {
        ck_assert(!gv_rng_chance(&rng, 0));
        ck_assert(gv_rng_chance(&rng, 100));
    }
}
END_TEST

START_TEST(fill_writes_size_bytes_and_no_more)
{
    for (size_t size = 0; size <= 16; size++) {
        gv_rng_t rng;
        uint8_t bytes[20];
        uint8_t longer[20];
        memset(bytes, 0x55, sizeof(bytes));
        gv_rng_init(&rng, 5, 5);
        gv_rng_fill(&rng, bytes, size);
        gv_rng_init(&rng, 5, 5);
        gv_rng_fill(&rng, longer, sizeof(longer));
        ck_assert_mem_eq(bytes, longer, size);
        for (size_t i = size; i < sizeof(bytes); i++) {
            ck_assert_uint_eq(bytes[i], 0x55);
        }
    }
}
END_TEST

START_TEST(below_zero_aborts)
{
    gv_rng_t rng;
    gv_rng_init(&rng, 1, 1);
    (void)gv_rng_below(&rng, 0);
}
END_TEST

START_TEST(chance_over_100_aborts)
{
    gv_rng_t rng;
    gv_rng_init(&rng, 1, 1);
    (void)gv_rng_chance(&rng, 101);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("rng");
    tcase_add_test(tc, numbers_are_those_of_the_reference);
    tcase_add_test(tc, same_seed_and_stream_repeat_and_others_differ);
    tcase_add_test(tc, bits_of_neighbouring_streams_are_independent);
    tcase_add_test(tc, u64_is_two_draws_high_half_first);
    tcase_add_test(tc, below_is_even_and_below);
    tcase_add_test(tc, below_has_no_bias);
    tcase_add_test(tc, chance_of_0_and_100_is_certain);
    tcase_add_test(tc, fill_writes_size_bytes_and_no_more);
    tcase_add_test_raise_signal(tc, below_zero_aborts, SIGABRT);
    tcase_add_test_raise_signal(tc, chance_over_100_aborts, SIGABRT);

    Suite *suite = suite_create("base");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
