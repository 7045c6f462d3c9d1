/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_QUEUES

#include "base/alloc.h"

#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>
#include <pthread.h>

/* The sanitizers would end the process themselves; what our code does with NULL is the question. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}

/* More than any address space; volatile, or the compiler sees through it and warns. */
static volatile size_t far_too_much = SIZE_MAX / 2;

START_TEST(size_zero_gives_a_pointer_that_can_be_freed)
{
    void *ptr[] = {gv_xalloc(0),
                   gv_xcalloc(0, 8),
                   gv_xcalloc(8, 0),
                   gv_xrealloc(NULL, 0),
                   gv_try_alloc(0),
                   gv_xrealloc(gv_xalloc(8), 0),
                   gv_try_realloc(gv_xalloc(8), 0)};
    for (size_t i = 0; i < sizeof(ptr) / sizeof(ptr[0]); i++) {
        ck_assert_ptr_nonnull(ptr[i]);
        gv_free(ptr[i]);
    }
    gv_free(NULL);
}
END_TEST

START_TEST(calloc_and_new_are_zeroed)
{
    static const uint8_t zeros[640];
    uint8_t *bytes = gv_xcalloc(64, 10);
    ck_assert_mem_eq(bytes, zeros, 640);
    gv_free(bytes);

    struct pair {
        uint64_t a;
        void *b;
    } *pair = GV_NEW(struct pair);
    ck_assert_uint_eq(pair->a, 0);
    ck_assert_ptr_null(pair->b);
    gv_free(pair);
}
END_TEST

START_TEST(realloc_keeps_the_bytes)
{
    char *text = gv_xstrdup("grape");
    ck_assert_str_eq(text, "grape");
    text = gv_xrealloc(text, 100000);
    ck_assert_str_eq(text, "grape");
    text = gv_try_realloc(text, 200000);
    ck_assert_str_eq(text, "grape");
    gv_free(text);
}
END_TEST

START_TEST(try_answers_null_and_keeps_the_old_block)
{
    ck_assert_ptr_null(gv_try_alloc(far_too_much));
    char *text = gv_xstrdup("grape");
    ck_assert_ptr_null(gv_try_realloc(text, far_too_much));
    ck_assert_str_eq(text, "grape");
    gv_free(text);
}
END_TEST

START_TEST(xalloc_aborts_when_there_is_no_memory)
{
    gv_free(gv_xalloc(far_too_much));
}
END_TEST

START_TEST(xcalloc_aborts_when_there_is_no_memory)
{
    gv_free(gv_xcalloc(far_too_much, 1));
}
END_TEST

START_TEST(xrealloc_aborts_when_there_is_no_memory)
{
    gv_free(gv_xrealloc(NULL, far_too_much));
}
END_TEST

START_TEST(xcalloc_aborts_when_the_size_wraps)
{
    gv_free(gv_xcalloc(far_too_much / 4 + 1, 8)); /* 2^61 * 8: nothing is left */
}
END_TEST

/* ---- the account ---- */

static uint64_t in_use_here(void)
{
    return gv_alloc_in_use_for(GV_MEMORY_QUEUES);
}

START_TEST(what_is_in_use_is_counted_under_the_kind_of_the_file)
{
    uint64_t others = gv_alloc_in_use_for(GV_MEMORY_OTHER);
    uint64_t before = in_use_here();
    void *small = gv_xalloc(100);
    ck_assert_uint_ge(in_use_here(), before + 100);
    ck_assert_uint_lt(in_use_here(), before + 200);
    small = gv_xrealloc(small, 5000);
    ck_assert_uint_ge(in_use_here(), before + 5000);
    ck_assert_uint_lt(in_use_here(), before + 6000);
    small = gv_try_realloc(small, 50);
    ck_assert_uint_lt(in_use_here(), before + 200);
    void *zeros = gv_xcalloc(10, 10);
    void *tried = gv_try_alloc(300);
    ck_assert_uint_ge(in_use_here(), before + 450);
    gv_free(small);
    gv_free(zeros);
    gv_free(tried);
    ck_assert_uint_eq(in_use_here(), before);
    ck_assert_uint_eq(gv_alloc_in_use_for(GV_MEMORY_OTHER), others);
}
END_TEST

static void *free_it(void *ptr)
{
    gv_free(ptr);
    return gv_xalloc(1 << 20);
}

START_TEST(memory_may_be_freed_by_another_thread_and_outlive_the_one_that_made_it)
{
    uint64_t before = in_use_here();
    uint64_t sum_before = gv_alloc_in_use();
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, free_it, gv_xalloc(3 << 20)), 0);
    void *made = NULL;
    ck_assert_int_eq(pthread_join(thread, &made), 0);
    ck_assert_uint_ge(in_use_here(), before + (1 << 20));
    ck_assert_uint_lt(in_use_here(), before + (1 << 20) + 10000);
    ck_assert_uint_ge(gv_alloc_in_use(), sum_before + (1 << 20) - (1 << 18));
    ck_assert_uint_le(gv_alloc_in_use(), sum_before + (1 << 20) + (1 << 18));
    gv_free(made);
    ck_assert_uint_eq(in_use_here(), before);
}
END_TEST

START_TEST(above_the_limit_what_peers_ask_for_is_refused_and_what_is_ours_is_not)
{
    gv_alloc_set_max(gv_alloc_in_use() + (8 << 20));
    void *half = gv_try_alloc(4 << 20);
    ck_assert_ptr_nonnull(half);
    ck_assert_ptr_null(gv_try_alloc(6 << 20));
    ck_assert_ptr_null(gv_try_realloc(half, 12 << 20));
    void *ours = gv_xalloc(5 << 20);
    ck_assert_ptr_null(gv_try_alloc(1 << 20));
    void *small = gv_try_alloc(16384);
    ck_assert_ptr_nonnull(small);
    gv_free(small);
    void *more = gv_xalloc(4 << 20);
    ck_assert_ptr_null(gv_try_alloc(1)); /* a quarter above, and more */
    gv_free(more);
    half = gv_try_realloc(half, 1 << 20); /* giving back is always right */
    ck_assert_ptr_nonnull(half);
    gv_free(ours);
    void *again = gv_try_alloc(4 << 20);
    ck_assert_ptr_nonnull(again);
    gv_free(again);
    gv_free(half);
    gv_alloc_set_max(0);
    void *much = gv_try_alloc(64 << 20);
    ck_assert_ptr_nonnull(much);
    gv_free(much);
}
END_TEST

START_TEST(every_kind_has_a_name_of_its_own)
{
    for (int i = 0; i < GV_MEMORY_KINDS; i++) {
        for (int j = 0; j < i; j++) {
            ck_assert_str_ne(gv_memory_kind_name((gv_memory_kind_t)i),
                             gv_memory_kind_name((gv_memory_kind_t)j));
        }
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("alloc");
    tcase_add_test(tc, what_is_in_use_is_counted_under_the_kind_of_the_file);
    tcase_add_test(tc, memory_may_be_freed_by_another_thread_and_outlive_the_one_that_made_it);
    tcase_add_test(tc, above_the_limit_what_peers_ask_for_is_refused_and_what_is_ours_is_not);
    tcase_add_test(tc, every_kind_has_a_name_of_its_own);
    tcase_add_test(tc, size_zero_gives_a_pointer_that_can_be_freed);
    tcase_add_test(tc, calloc_and_new_are_zeroed);
    tcase_add_test(tc, realloc_keeps_the_bytes);
    tcase_add_test(tc, try_answers_null_and_keeps_the_old_block);
    tcase_add_test_raise_signal(tc, xalloc_aborts_when_there_is_no_memory, SIGABRT);
    tcase_add_test_raise_signal(tc, xcalloc_aborts_when_there_is_no_memory, SIGABRT);
    tcase_add_test_raise_signal(tc, xrealloc_aborts_when_there_is_no_memory, SIGABRT);
    tcase_add_test_raise_signal(tc, xcalloc_aborts_when_the_size_wraps, SIGABRT);

    Suite *suite = suite_create("base");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
