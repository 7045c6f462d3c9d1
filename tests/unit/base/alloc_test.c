/* SPDX-License-Identifier: Apache-2.0 */
#include "base/alloc.h"

#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

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

int main(void)
{
    TCase *tc = tcase_create("alloc");
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
