/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/shared_heap.h"

#include <signal.h>
#include <stdlib.h>

#include <check.h>

#include "tests/unit/broker/core/retire_bin.h"

static retire_bin_t bin;
static gv_shared_heap_t heap;

static void set_up(void)
{
    heap = (gv_shared_heap_t){.retire = retire_into_bin, .retire_arg = &bin};
}

static void tear_down(void)
{
    bin_deinit(&bin);
}

START_TEST(bytes_are_what_the_allocator_takes)
{
    void *small = gv_shared_heap_alloc(&heap, 1);
    ck_assert_uint_eq(heap.bytes, 32);
    void *middle = gv_shared_heap_alloc(&heap, 40);
    ck_assert_uint_eq(heap.bytes, 32 + 48);
    void *large = gv_shared_heap_alloc(&heap, 41);
    ck_assert_uint_eq(heap.bytes, 32 + 48 + 64);
    gv_shared_heap_free(&heap, large, 41);
    gv_shared_heap_free(&heap, middle, 40);
    gv_shared_heap_free(&heap, small, 1);
    ck_assert_uint_eq(heap.bytes, 0);
    ck_assert_uint_eq(bin.count, 0);
}
END_TEST

START_TEST(retired_memory_goes_to_the_port_and_no_longer_counts)
{
    void *ptr = gv_shared_heap_alloc(&heap, 100);
    gv_shared_heap_retire(&heap, ptr, 100);
    ck_assert_uint_eq(heap.bytes, 0);
    ck_assert_uint_eq(bin.count, 1);
    ck_assert_ptr_eq(bin.ptrs[0], ptr);
}
END_TEST

START_TEST(null_is_neither_retired_nor_freed)
{
    gv_shared_heap_retire(&heap, NULL, 100);
    gv_shared_heap_free(&heap, NULL, 100);
    ck_assert_uint_eq(bin.count, 0);
    ck_assert_uint_eq(heap.bytes, 0);
}
END_TEST

/* A wrong size would spoil the account for ever: it is our mistake and stops the process. */
START_TEST(more_than_is_in_use_aborts)
{
    void *ptr = gv_shared_heap_alloc(&heap, 16);
    gv_shared_heap_retire(&heap, ptr, 100);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("shared_heap");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, bytes_are_what_the_allocator_takes);
    tcase_add_test(tc, retired_memory_goes_to_the_port_and_no_longer_counts);
    tcase_add_test(tc, null_is_neither_retired_nor_freed);
    tcase_add_test_raise_signal(tc, more_than_is_in_use_aborts, SIGABRT);

    Suite *suite = suite_create("broker/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
