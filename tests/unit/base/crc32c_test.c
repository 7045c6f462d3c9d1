/* SPDX-License-Identifier: Apache-2.0 */
#include "base/crc32c_p.h"

#include <stdlib.h>

#include <check.h>

#include "base/rng.h"
#include "tests/unit/seed.h"

typedef uint32_t crc_t(uint32_t crc, gv_bytes_t bytes);

/* The examples of RFC 3720, appendix B.4, and the usual check value. */
static void assert_known_values(crc_t *crc)
{
    uint8_t bytes[32];
    ck_assert_uint_eq(crc(0, GV_BYTES_EMPTY), 0);
    ck_assert_uint_eq(crc(0, GV_BYTES_LITERAL("123456789")), 0xe3069283);
    memset(bytes, 0, sizeof(bytes));
    ck_assert_uint_eq(crc(0, gv_bytes(bytes, 32)), 0x8a9136aa);
    memset(bytes, 0xff, sizeof(bytes));
    ck_assert_uint_eq(crc(0, gv_bytes(bytes, 32)), 0x62a8ab43);
    for (uint8_t i = 0; i < 32; i++) {
        bytes[i] = i;
    }
    ck_assert_uint_eq(crc(0, gv_bytes(bytes, 32)), 0x46dd794e);
}

START_TEST(known_values)
{
    assert_known_values(gv_crc32c);
    assert_known_values(gv__crc32c_by_table);
    if (gv__crc32c_has_instruction()) {
        assert_known_values(gv__crc32c_by_instruction);
    }
}
END_TEST

/* One bit at a time, as the definition says. */
static uint32_t crc_by_definition(uint32_t crc, gv_bytes_t bytes)
{
    crc = ~crc;
    for (size_t i = 0; i < bytes.size; i++) {
        crc ^= bytes.data[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ ((crc & 1) != 0 ? 0x82f63b78U : 0);
        }
    }
    return ~crc;
}

START_TEST(all_ways_agree_at_every_length_and_alignment)
{
    gv_rng_t rng;
    gv_rng_init(&rng, test_seed(__func__), 0);
    uint8_t bytes[128];
    for (int round = 0; round < 3000; round++) {
        gv_rng_fill(&rng, bytes, sizeof(bytes));
        size_t from = gv_rng_below(&rng, 9);
        gv_bytes_t part = gv_bytes(bytes + from, gv_rng_below(&rng, 100));
        uint32_t start = gv_rng_u32(&rng);
        uint32_t expected = crc_by_definition(start, part);
        ck_assert_uint_eq(gv__crc32c_by_table(start, part), expected);
        if (gv__crc32c_has_instruction()) {
            ck_assert_uint_eq(gv__crc32c_by_instruction(start, part), expected);
        }
    }
}
END_TEST

START_TEST(pieces_give_the_same_as_the_whole)
{
    gv_bytes_t whole = GV_BYTES_LITERAL("the quick brown fox jumps over the lazy dog");
    for (size_t cut = 0; cut <= whole.size; cut++) {
        uint32_t crc = gv_crc32c(0, gv_bytes(whole.data, cut));
        crc = gv_crc32c(crc, gv_bytes(whole.data + cut, whole.size - cut));
        ck_assert_uint_eq(crc, gv_crc32c(0, whole));
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("crc32c");
    tcase_add_test(tc, known_values);
    tcase_add_test(tc, all_ways_agree_at_every_length_and_alignment);
    tcase_add_test(tc, pieces_give_the_same_as_the_whole);

    Suite *suite = suite_create("base");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
