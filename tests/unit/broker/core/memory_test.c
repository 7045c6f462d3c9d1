/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/memory.h"

#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "base/alloc.h"

static gv_memory_t memory;
static uint64_t used;

static uint64_t in_use(void)
{
    return used;
}

static void setup(void)
{
    used = 0;
    gv_memory_init(&memory, 3, 1000, in_use);
}

static void teardown(void)
{
    gv_memory_deinit(&memory);
}

static gv_memory_state_t look(uint64_t bytes, uint64_t now_ms)
{
    used = bytes;
    gv_memory_state_t state = gv_memory_look(&memory, now_ms);
    ck_assert_int_eq(gv_memory_state(&memory), state);
    return state;
}

START_TEST(states_begin_at_their_marks_and_end_below_them)
{
    ck_assert_int_eq(look(799, 1), GV_MEMORY_ENOUGH);
    ck_assert_int_eq(look(800, 2), GV_MEMORY_SCARCE);
    ck_assert_int_eq(look(750, 3), GV_MEMORY_SCARCE);
    ck_assert_int_eq(look(899, 4), GV_MEMORY_SCARCE);
    ck_assert_int_eq(look(900, 5), GV_MEMORY_CRITICAL);
    ck_assert_int_eq(look(800, 6), GV_MEMORY_CRITICAL);
    ck_assert_int_eq(look(799, 7), GV_MEMORY_SCARCE);
    ck_assert_int_eq(look(749, 8), GV_MEMORY_ENOUGH);
    ck_assert_int_eq(look(5000, 9), GV_MEMORY_CRITICAL);
    ck_assert_int_eq(look(0, 10), GV_MEMORY_ENOUGH);
    ck_assert_uint_eq(gv_memory_times(&memory, GV_MEMORY_SCARCE), 2);
    ck_assert_uint_eq(gv_memory_times(&memory, GV_MEMORY_CRITICAL), 2);
}
END_TEST

START_TEST(without_a_limit_there_is_always_enough)
{
    gv_memory_set_max(&memory, 0);
    ck_assert_int_eq(look(UINT64_MAX, 1), GV_MEMORY_ENOUGH);
    gv_memory_set_max(&memory, 100);
    ck_assert_int_eq(look(1000, 2), GV_MEMORY_CRITICAL);
    gv_memory_set_max(&memory, 10000); /* a reload helps at once */
    ck_assert_int_eq(look(1000, 3), GV_MEMORY_ENOUGH);
    ck_assert_uint_eq(gv_memory_max(&memory), 10000);
}
END_TEST

START_TEST(nobody_gives_way_before_it_is_critical_or_has_lasted)
{
    ck_assert_int_eq(look(850, 1000), GV_MEMORY_SCARCE);
    ck_assert_uint_eq(gv_memory_excess(&memory, 1000), 0);
    ck_assert_uint_eq(gv_memory_excess(&memory, 1000 + GV_MEMORY_PATIENCE_MS - 1), 0);
    ck_assert_uint_eq(gv_memory_excess(&memory, 1000 + GV_MEMORY_PATIENCE_MS), 100);
    ck_assert_int_eq(look(950, 1001), GV_MEMORY_CRITICAL);
    ck_assert_uint_eq(gv_memory_excess(&memory, 1001), 200);
    /* What lasts is the whole time of need, also when it was worse in between. */
    ck_assert_int_eq(look(760, 1002), GV_MEMORY_SCARCE);
    ck_assert_uint_eq(gv_memory_excess(&memory, 1002), 0);
    ck_assert_uint_eq(gv_memory_excess(&memory, 1000 + GV_MEMORY_PATIENCE_MS), 10);
    ck_assert_int_eq(look(700, 1003), GV_MEMORY_ENOUGH);
    ck_assert_uint_eq(gv_memory_excess(&memory, 1000000), 0);
    ck_assert_int_eq(look(850, 2000000), GV_MEMORY_SCARCE);
    ck_assert_uint_eq(gv_memory_excess(&memory, 2000000), 0);
}
END_TEST

START_TEST(a_process_that_cannot_give_back_is_scarce_and_ends_nobody)
{
    gv_memory_set_swollen(&memory, true);
    ck_assert_int_eq(look(100, 1), GV_MEMORY_SCARCE);
    ck_assert_uint_eq(gv_memory_excess(&memory, 1 + GV_MEMORY_PATIENCE_MS), 0);
    gv_memory_set_swollen(&memory, false);
    ck_assert_int_eq(look(100, 2), GV_MEMORY_ENOUGH);
}
END_TEST

START_TEST(totals_are_the_sums_of_the_parts)
{
    for (uint32_t i = 0; i < 3; i++) {
        gv_memory_part_t *part = gv_memory_part(&memory, i);
        gv_counter_set(&part->sessions, 1 + i);
    }
    ck_assert_uint_eq(gv_memory_sessions(&memory), 6);
}
END_TEST

START_TEST(what_the_process_uses_is_what_counts_unless_told_otherwise)
{
    gv_memory_t real;
    gv_memory_init(&real, 1, gv_alloc_in_use() + (20 << 20), NULL);
    ck_assert_int_eq(gv_memory_look(&real, 1), GV_MEMORY_ENOUGH);
    void *much = gv_xalloc(20 << 20);
    ck_assert_int_eq(gv_memory_look(&real, 1), GV_MEMORY_CRITICAL);
    gv_free(much);
    ck_assert_int_eq(gv_memory_look(&real, 1), GV_MEMORY_ENOUGH);
    gv_memory_deinit(&real);
    ck_assert_str_eq(gv_memory_state_name(GV_MEMORY_ENOUGH), "enough");
    ck_assert_str_eq(gv_memory_state_name(GV_MEMORY_SCARCE), "scarce");
    ck_assert_str_eq(gv_memory_state_name(GV_MEMORY_CRITICAL), "critical");
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("memory");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, states_begin_at_their_marks_and_end_below_them);
    tcase_add_test(tc, without_a_limit_there_is_always_enough);
    tcase_add_test(tc, nobody_gives_way_before_it_is_critical_or_has_lasted);
    tcase_add_test(tc, a_process_that_cannot_give_back_is_scarce_and_ends_nobody);
    tcase_add_test(tc, totals_are_the_sums_of_the_parts);
    tcase_add_test(tc, what_the_process_uses_is_what_counts_unless_told_otherwise);

    Suite *suite = suite_create("broker/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
