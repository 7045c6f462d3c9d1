/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/slot_table.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include <check.h>

#include "base/rng.h"
#include "tests/unit/broker/core/retire_bin.h"
#include "tests/unit/seed.h"

enum {
    OBJECTS = 600
};

typedef struct object {
    gv_slot_key_t key;
    uint32_t number;
} object_t;

static retire_bin_t bin;
static gv_shared_heap_t heap;
static gv_slot_table_t table;
static object_t objects[OBJECTS];

static bool object_is(const void *object, const void *key)
{
    return ((const object_t *)object)->number == *(const uint32_t *)key;
}

/* Two hashes in a row are the same, and many meet in one slot of a small array. */
static uint64_t bad_hash(uint32_t number)
{
    return (uint64_t)(number / 2 % 16) << 48 | number / 2 * 8;
}

static void set_up(void)
{
    heap = (gv_shared_heap_t){.retire = retire_into_bin, .retire_arg = &bin};
    gv_slot_table_init(&table);
    for (uint32_t i = 0; i < OBJECTS; i++) {
        objects[i] = (object_t){.key.hash = (uint32_t)bad_hash(i), .number = i};
    }
}

static void tear_down(void)
{
    gv_slot_table_deinit(&table, &heap);
    ck_assert_uint_eq(heap.bytes, 0);
    bin_deinit(&bin);
}

static void add(uint32_t number)
{
    gv_slot_table_add(&table, &heap, bad_hash(number), &objects[number].key);
}

static void take_out(uint32_t number)
{
    gv_slot_table_remove(&table, &objects[number].key);
    gv_slot_table_tidy(&table, &heap);
}

static object_t *find(uint32_t number)
{
    return gv_slot_table_find(&table, bad_hash(number), object_is, &number);
}

START_TEST(an_empty_table_finds_nothing_and_costs_nothing)
{
    size_t cursor = 0;
    ck_assert(gv_slot_table_is_empty(&table));
    ck_assert_ptr_null(find(0));
    ck_assert_ptr_null(gv_slot_table_next(&table, &cursor));
    ck_assert_uint_eq(gv_slot_table_count(&table), 0);
    ck_assert_uint_eq(heap.bytes, 0);
    gv_slot_table_prefetch(&table, 1);
    gv_slot_table_tidy(&table, &heap);
}
END_TEST

START_TEST(one_object_needs_no_array)
{
    add(5);
    ck_assert_uint_eq(heap.bytes, 0);
    ck_assert_ptr_eq(find(5), &objects[5]);
    ck_assert_ptr_null(find(4)); /* the same hash, another key */
    ck_assert_ptr_null(find(6));
    ck_assert_uint_eq(gv_slot_table_count(&table), 1);
    take_out(5);
    ck_assert(gv_slot_table_is_empty(&table));
    ck_assert_ptr_null(find(5));
}
END_TEST

START_TEST(equal_hashes_are_told_apart_by_the_key)
{
    add(4);
    add(5);
    ck_assert_ptr_eq(find(4), &objects[4]);
    ck_assert_ptr_eq(find(5), &objects[5]);
    take_out(4);
    ck_assert_ptr_null(find(4));
    ck_assert_ptr_eq(find(5), &objects[5]);
}
END_TEST

/* The tag of hash 0 is that of an empty slot and of a tombstone. */
START_TEST(a_hash_of_zero_is_a_hash)
{
    add(0);
    ck_assert_ptr_eq(find(0), &objects[0]);
    ck_assert_ptr_null(find(1));
    add(1);
    add(2);
    take_out(1);
    ck_assert_ptr_null(find(1));
    ck_assert_ptr_eq(find(0), &objects[0]);
    take_out(0);
    ck_assert_ptr_null(find(0));
}
END_TEST

START_TEST(it_grows_shrinks_and_keeps_everything)
{
    for (uint32_t i = 0; i < OBJECTS; i++) {
        add(i);
    }
    size_t grown = heap.bytes;
    ck_assert_uint_ge(grown, OBJECTS * 8);
    for (uint32_t i = 0; i < OBJECTS; i++) {
        ck_assert_ptr_eq(find(i), &objects[i]);
    }
    for (uint32_t i = 10; i < OBJECTS; i++) {
        take_out(i);
    }
    ck_assert_uint_lt(heap.bytes, grown / 8);
    for (uint32_t i = 0; i < OBJECTS; i++) {
        ck_assert_ptr_eq(find(i), i < 10 ? &objects[i] : NULL);
    }
    for (uint32_t i = 0; i < 10; i++) {
        take_out(i);
    }
    ck_assert_uint_eq(heap.bytes, 0);
}
END_TEST

/* Without cleaning up behind itself the array would fill with tombstones and be rebuilt for
 * nothing. */
START_TEST(coming_and_going_does_not_rebuild)
{
    for (uint32_t i = 0; i < 4; i++) {
        add(i);
    }
    empty_bin(&bin);
    for (uint32_t i = 0; i < 10000; i++) {
        add(100);
        take_out(100);
    }
    ck_assert_uint_le(bin.count, 1);
}
END_TEST

START_TEST(iteration_sees_each_object_once_also_while_removing)
{
    for (uint32_t i = 0; i < OBJECTS; i++) {
        add(i);
    }
    bool seen[OBJECTS] = {false};
    size_t cursor = 0;
    object_t *object;
    while ((object = gv_slot_table_next(&table, &cursor)) != NULL) {
        REQUIRE(!seen[object->number]);
        seen[object->number] = true;
        if (object->number % 3 != 0) {
            gv_slot_table_remove(&table, &object->key);
        }
    }
    gv_slot_table_tidy(&table, &heap);
    for (uint32_t i = 0; i < OBJECTS; i++) {
        REQUIRE(seen[i]);
        REQUIRE(find(i) == (i % 3 == 0 ? &objects[i] : NULL));
    }
    ck_assert_uint_eq(gv_slot_table_count(&table), OBJECTS / 3);
}
END_TEST

START_TEST(removing_what_is_not_there_aborts)
{
    add(0);
    add(1);
    gv_slot_table_remove(&table, &objects[2].key);
}
END_TEST

/* Against an array of flags, in phases of growth and decline. */
START_TEST(behaves_as_a_set)
{
    gv_rng_t rng;
    gv_rng_init(&rng, test_seed(__func__), 0);
    bool is_in[OBJECTS] = {false};
    size_t count = 0;
    for (int step = 0; step < 200000; step++) {
        uint32_t number = gv_rng_below(&rng, OBJECTS);
        bool growing = step / 2000 % 2 == 0;
        bool wanted = gv_rng_chance(&rng, growing ? 90 : 10);
        if (wanted && !is_in[number]) {
            add(number);
            count++;
        } else if (!wanted && is_in[number]) {
            take_out(number);
            count--;
        }
        is_in[number] = wanted;
        uint32_t other = gv_rng_below(&rng, OBJECTS);
        REQUIRE(find(other) == (is_in[other] ? &objects[other] : NULL));
        REQUIRE(gv_slot_table_count(&table) == count);
        if (step % 1000 == 0) {
            empty_bin(&bin);
        }
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("slot_table");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, an_empty_table_finds_nothing_and_costs_nothing);
    tcase_add_test(tc, one_object_needs_no_array);
    tcase_add_test(tc, equal_hashes_are_told_apart_by_the_key);
    tcase_add_test(tc, a_hash_of_zero_is_a_hash);
    tcase_add_test(tc, it_grows_shrinks_and_keeps_everything);
    tcase_add_test(tc, coming_and_going_does_not_rebuild);
    tcase_add_test(tc, iteration_sees_each_object_once_also_while_removing);
    tcase_add_test_raise_signal(tc, removing_what_is_not_there_aborts, SIGABRT);
    tcase_add_test(tc, behaves_as_a_set);

    Suite *suite = suite_create("broker/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
