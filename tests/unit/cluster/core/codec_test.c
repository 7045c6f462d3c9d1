/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/core/codec.h"

#include <stdlib.h>
#include <string.h>

#include <check.h>

START_TEST(an_arena_hands_out_memory_that_does_not_overlap)
{
    gv_arena_t arena;
    gv_arena_init(&arena, 1000000);
    for (int round = 0; round < 3; round++) {
        uint8_t *pieces[100];
        for (size_t i = 0; i < 100; i++) {
            pieces[i] = gv_arena_alloc(&arena, 3000);
            ck_assert_ptr_nonnull(pieces[i]);
            ck_assert_uint_eq((uintptr_t)pieces[i] % 16, 0);
            memset(pieces[i], (int)i, 3000);
        }
        for (size_t i = 0; i < 100; i++) {
            ck_assert_uint_eq(pieces[i][0], i);
            ck_assert_uint_eq(pieces[i][2999], i);
        }
        gv_arena_reset(&arena);
    }
    gv_arena_deinit(&arena);
}
END_TEST

START_TEST(an_arena_stops_at_its_limit_and_starts_again)
{
    gv_arena_t arena;
    gv_arena_init(&arena, 200000);
    ck_assert_ptr_null(gv_arena_alloc(&arena, 200001));
    ck_assert_ptr_nonnull(gv_arena_alloc(&arena, 150000));
    ck_assert_ptr_null(gv_arena_alloc(&arena, 150000));
    gv_arena_reset(&arena);
    ck_assert_ptr_nonnull(gv_arena_alloc(&arena, 150000));
    gv_arena_deinit(&arena);
}
END_TEST

START_TEST(ids_have_sixteen_bytes_and_are_somebody)
{
    uint8_t bytes[17] = {0};
    gv_node_id_t id;
    ProtobufCBinaryData field = {.len = 16, .data = bytes};
    ck_assert(!gv_codec_get_id(&field, &id)); /* all zero is nobody */
    bytes[15] = 1;
    ck_assert(gv_codec_get_id(&field, &id));
    ck_assert_uint_eq(id.bytes[15], 1);
    field.len = 15;
    ck_assert(!gv_codec_get_id(&field, &id));
    field.len = 17;
    ck_assert(!gv_codec_get_id(&field, &id));
}
END_TEST

START_TEST(texts_are_printable_and_fit)
{
    char out[5];
    ck_assert(gv_codec_get_text("node", out, sizeof(out)));
    ck_assert_str_eq(out, "node");
    ck_assert(!gv_codec_get_text("nodes", out, sizeof(out)));
    ck_assert_str_eq(out, "");
    ck_assert(!gv_codec_get_text("a\nb", out, sizeof(out)));
    ck_assert(!gv_codec_get_text("\xc3\xa4", out, sizeof(out)));
    ck_assert(gv_codec_get_text("", out, sizeof(out)));
}
END_TEST

START_TEST(incarnations_are_ordered_by_counter_then_boot)
{
    gv_incarnation_t old = {.start_counter = 1, .boot_id = 9};
    gv_incarnation_t new = {.start_counter = 2, .boot_id = 1};
    gv_incarnation_t other = {.start_counter = 2, .boot_id = 2};
    ck_assert_int_eq(gv_incarnation_compare(old, new), -1);
    ck_assert_int_eq(gv_incarnation_compare(new, old), 1);
    ck_assert_int_eq(gv_incarnation_compare(new, other), -1);
    ck_assert_int_eq(gv_incarnation_compare(new, new), 0);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("codec");
    tcase_add_test(tc, an_arena_hands_out_memory_that_does_not_overlap);
    tcase_add_test(tc, an_arena_stops_at_its_limit_and_starts_again);
    tcase_add_test(tc, ids_have_sixteen_bytes_and_are_somebody);
    tcase_add_test(tc, texts_are_printable_and_fit);
    tcase_add_test(tc, incarnations_are_ordered_by_counter_then_boot);

    Suite *suite = suite_create("cluster/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
