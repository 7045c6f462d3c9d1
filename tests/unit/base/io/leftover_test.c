/* SPDX-License-Identifier: Apache-2.0 */
#include "base/io/leftover_p.h"

#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "base/alloc.h"
#include "base/rng.h"

static gv_leftover_t *leftover;

static void is(const char *text)
{
    gv_bytes_t bytes = gv__leftover_bytes(leftover);
    ck_assert_uint_eq(bytes.size, strlen(text));
    ck_assert_mem_eq(bytes.data, text, bytes.size);
}

static void add(gv_bytes_t bytes, size_t expected)
{
    while (bytes.size > 0) {
        size_t room_size;
        ck_assert_int_eq(gv__leftover_grow(&leftover, expected), GV_OK);
        uint8_t *room = gv__leftover_room(leftover, &room_size);
        ck_assert_uint_gt(room_size, 0);
        size_t size = bytes.size < room_size ? bytes.size : room_size;
        memcpy(room, bytes.data, size);
        gv__leftover_add(leftover, size);
        bytes = gv_bytes(bytes.data + size, bytes.size - size);
    }
}

START_TEST(empty_one_is_null)
{
    ck_assert_uint_eq(gv__leftover_size(NULL), 0);
    ck_assert_uint_eq(gv__leftover_bytes(NULL).size, 0);
    ck_assert_int_eq(gv__leftover_set(&leftover, GV_BYTES_LITERAL("grape")), GV_OK);
    is("grape");
    gv__leftover_use(&leftover, 2);
    is("ape");
    gv__leftover_use(&leftover, 3);
    ck_assert_ptr_null(leftover);
    gv__leftover_use(&leftover, 0);
}
END_TEST

START_TEST(set_uses_its_memory_again)
{
    ck_assert_int_eq(gv__leftover_set(&leftover, GV_BYTES_LITERAL("vine")), GV_OK);
    gv_leftover_t *before = leftover;
    ck_assert_int_eq(gv__leftover_set(&leftover, GV_BYTES_LITERAL("ape")), GV_OK);
    ck_assert_ptr_eq(leftover, before);
    is("ape");
    ck_assert_int_eq(gv__leftover_set(&leftover, GV_BYTES_LITERAL("grapevine")), GV_OK);
    is("grapevine");
    gv_free(leftover);
}
END_TEST

START_TEST(growth_doubles_but_stops_at_what_is_expected)
{
    static uint8_t bytes[100000];
    ck_assert_int_eq(gv__leftover_set(&leftover, gv_bytes(bytes, 50000)), GV_OK);
    ck_assert_int_eq(gv__leftover_grow(&leftover, 1000000), GV_OK);
    ck_assert_uint_eq(leftover->_capacity, 100000);
    add(gv_bytes(bytes, 50000), 100001);
    add(gv_bytes(bytes, 1), 100001);
    ck_assert_uint_eq(leftover->_capacity, 100001);
    gv_free(leftover);
}
END_TEST

START_TEST(memory_shrinks_with_the_rest)
{
    static uint8_t bytes[100000];
    bytes[99999] = 'z';
    ck_assert_int_eq(gv__leftover_set(&leftover, gv_bytes(bytes, sizeof(bytes))), GV_OK);
    gv__leftover_use(&leftover, 10);
    ck_assert_uint_eq(leftover->_capacity, 100000);
    gv__leftover_use(&leftover, 99980);
    ck_assert_uint_eq(leftover->_capacity, 10);
    ck_assert_uint_eq(gv__leftover_bytes(leftover).data[9], 'z');
    gv_free(leftover);
}
END_TEST

START_TEST(impossible_sizes_are_an_answer)
{
    ck_assert_int_eq(gv__leftover_set(&leftover, gv_bytes("x", (size_t)UINT32_MAX + 1)),
                     GV_ERR_LIMIT);
    ck_assert_ptr_null(leftover);
}
END_TEST

/* Against a plain array. */
START_TEST(bytes_come_out_as_they_went_in)
{
    static uint8_t sent[400000];
    gv_rng_t rng;
    gv_rng_init(&rng, (uint64_t)_i, 1);
    gv_rng_fill(&rng, sent, sizeof(sent));
    size_t in = 0;
    size_t out = 0;
    while (out < sizeof(sent)) {
        if (gv_rng_chance(&rng, 60) && in < sizeof(sent)) {
            size_t size = gv_rng_below(&rng, gv_rng_chance(&rng, 50) ? 50 : 30000);
            size = size < sizeof(sent) - in ? size : sizeof(sent) - in;
            add(gv_bytes(sent + in, size), gv_rng_below(&rng, 100000));
            in += size;
        } else {
            size_t used = gv_rng_below(&rng, (uint32_t)(in - out) + 1);
            gv__leftover_use(&leftover, used);
            out += used;
        }
        gv_bytes_t bytes = gv__leftover_bytes(leftover);
        ck_assert_uint_eq(bytes.size, in - out);
        ck_assert_int_eq(gv_bytes_equal(bytes, gv_bytes(sent + out, in - out)), 1);
    }
    ck_assert_ptr_null(leftover);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("leftover");
    tcase_add_test(tc, empty_one_is_null);
    tcase_add_test(tc, set_uses_its_memory_again);
    tcase_add_test(tc, growth_doubles_but_stops_at_what_is_expected);
    tcase_add_test(tc, memory_shrinks_with_the_rest);
    tcase_add_test(tc, impossible_sizes_are_an_answer);
    tcase_add_loop_test(tc, bytes_come_out_as_they_went_in, 0, 8);
    Suite *suite = suite_create("base/io");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
