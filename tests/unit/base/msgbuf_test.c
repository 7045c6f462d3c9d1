/* SPDX-License-Identifier: Apache-2.0 */
#include "base/msgbuf.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

static gv_msgbuf_t *msgbuf_with(const char *text)
{
    gv_msgbuf_t *buf = NULL;
    ck_assert_int_eq(gv_msgbuf_new(strlen(text), &buf), GV_OK);
    memcpy(gv_msgbuf_data(buf), text, strlen(text));
    gv_msgbuf_seal(buf);
    return buf;
}

START_TEST(unref_clears_the_pointer_and_accepts_null)
{
    gv_msgbuf_t *buf = msgbuf_with("grape");
    gv_msgbuf_unref(&buf);
    ck_assert_ptr_null(buf);
    gv_msgbuf_unref(&buf);
}
END_TEST

START_TEST(second_holder_outlives_the_first)
{
    gv_msgbuf_t *first = msgbuf_with("grape");
    gv_msgbuf_t *second = gv_msgbuf_ref(first);
    gv_msgbuf_unref(&first);
    ck_assert_uint_eq(gv_msgbuf_bytes(second).size, 5);
    ck_assert_mem_eq(gv_msgbuf_bytes(second).data, "grape", 5);
    gv_msgbuf_unref(&second);
}
END_TEST

START_TEST(empty_and_oversized)
{
    gv_msgbuf_t *buf = NULL;
    ck_assert_int_eq(gv_msgbuf_new(0, &buf), GV_OK);
    gv_msgbuf_unref(&buf);
    ck_assert_int_eq(gv_msgbuf_new(GV_MSGBUF_SIZE_MAX + 1, &buf), GV_ERR_LIMIT);
    ck_assert_ptr_null(buf);
}
END_TEST

/* The negative space: sharing before the seal is our bug and must stop the process. */
START_TEST(ref_before_seal_aborts)
{
    gv_msgbuf_t *buf = NULL;
    ck_assert_int_eq(gv_msgbuf_new(1, &buf), GV_OK);
    gv_msgbuf_t *other = gv_msgbuf_ref(buf);
    gv_msgbuf_unref(&other);
}
END_TEST

static void *hold_and_drop(void *arg)
{
    gv_msgbuf_t *buf = arg;
    for (int i = 0; i < 10000; i++) {
        gv_msgbuf_t *more = gv_msgbuf_ref(buf);
        if (gv_msgbuf_bytes(more).data[0] != 'g') {
            abort(); /* ck_assert() is for the test's own thread only */
        }
        gv_msgbuf_unref(&more);
    }
    gv_msgbuf_unref(&buf);
    return NULL;
}

/* Four threads share one buffer; whoever is last frees it.  Meant for
 * ThreadSanitizer. */
START_TEST(last_of_many_threads_frees)
{
    gv_msgbuf_t *buf = msgbuf_with("grape");
    pthread_t thread[4];
    for (int i = 0; i < 4; i++) {
        gv_msgbuf_t *given = gv_msgbuf_ref(buf);
        ck_assert_int_eq(pthread_create(&thread[i], NULL, hold_and_drop, given), 0);
    }
    gv_msgbuf_unref(&buf);
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(pthread_join(thread[i], NULL), 0);
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("msgbuf");
    tcase_add_test(tc, unref_clears_the_pointer_and_accepts_null);
    tcase_add_test(tc, second_holder_outlives_the_first);
    tcase_add_test(tc, empty_and_oversized);
    tcase_add_test_raise_signal(tc, ref_before_seal_aborts, SIGABRT);
    tcase_add_test(tc, last_of_many_threads_frees);

    Suite *suite = suite_create("base");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
