/* SPDX-License-Identifier: Apache-2.0 */
#include "base/io/rcu.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <check.h>

#include "base/alloc.h"

enum {
    READERS = 3,
    VERSIONS = 3000,
    ALIVE = 0x600d,
    DEAD = 0xdead
};

typedef struct version {
    int state;
    int number;
} version_t;

static _Atomic(version_t *) current;
static atomic_int freed;
static atomic_bool done;
static atomic_int seen_dead;

static void free_version(void *ptr)
{
    version_t *version = ptr;
    version->state = DEAD; /* a reader that still looks will see it (or a sanitizer will) */
    gv_free(version);
    /* Relaxed: read after gv_rcu_barrier(). */
    atomic_fetch_add_explicit(&freed, 1, memory_order_relaxed);
}

static version_t *new_version(int number)
{
    version_t *version = GV_NEW(version_t);
    *version = (version_t){.state = ALIVE, .number = number};
    return version;
}

static void *reader_main(void *arg)
{
    (void)arg;
    gv_rcu_thread_register();
    int last = 0;
    while (!atomic_load_explicit(&done, memory_order_relaxed)) {
        gv_rcu_read_begin();
        version_t *version = atomic_load_explicit(&current, memory_order_acquire);
        gv_rcu_read_begin(); /* sections nest */
        for (int i = 0; i < 50; i++) {
            if (version->state != ALIVE || version->number < last) {
                atomic_fetch_add_explicit(&seen_dead, 1, memory_order_relaxed);
            }
        }
        last = version->number;
        gv_rcu_read_end();
        gv_rcu_read_end();
    }
    gv_rcu_thread_unregister();
    return NULL;
}

START_TEST(no_reader_ever_sees_what_was_freed)
{
    gv_rcu_thread_register();
    atomic_store_explicit(&current, new_version(0), memory_order_release);
    pthread_t reader[READERS];
    for (int i = 0; i < READERS; i++) {
        ck_assert_int_eq(pthread_create(&reader[i], NULL, reader_main, NULL), 0);
    }
    for (int i = 1; i <= VERSIONS; i++) {
        version_t *old = atomic_exchange_explicit(&current, new_version(i), memory_order_acq_rel);
        gv_rcu_retire(old, free_version);
        if (i % 7 == 0) {
            gv_rcu_retire_flush();
        }
        if (i % 500 == 0) {
            gv_rcu_barrier();
            ck_assert_int_eq(atomic_load_explicit(&freed, memory_order_relaxed), i);
        }
    }
    atomic_store_explicit(&done, true, memory_order_relaxed);
    for (int i = 0; i < READERS; i++) {
        ck_assert_int_eq(pthread_join(reader[i], NULL), 0);
    }
    gv_rcu_retire(atomic_load_explicit(&current, memory_order_relaxed), free_version);
    gv_rcu_barrier();
    ck_assert_int_eq(atomic_load_explicit(&freed, memory_order_relaxed), VERSIONS + 1);
    ck_assert_int_eq(atomic_load_explicit(&seen_dead, memory_order_relaxed), 0);
    gv_rcu_thread_unregister();
}
END_TEST

START_TEST(nothing_is_freed_inside_a_section)
{
    gv_rcu_thread_register();
    gv_rcu_read_begin();
    ck_assert(gv_rcu_is_reading());
    for (int i = 0; i < 200; i++) { /* more than a batch */
        gv_rcu_retire(new_version(i), free_version);
    }
    gv_rcu_retire_flush();
    struct timespec span = {.tv_nsec = 50000000};
    (void)nanosleep(&span, NULL);
    ck_assert_int_eq(atomic_load_explicit(&freed, memory_order_relaxed), 0);
    gv_rcu_read_end();
    ck_assert(!gv_rcu_is_reading());
    gv_rcu_barrier();
    ck_assert_int_eq(atomic_load_explicit(&freed, memory_order_relaxed), 200);
    gv_rcu_thread_unregister();
}
END_TEST

static void *retire_and_leave(void *arg)
{
    (void)arg;
    gv_rcu_thread_register();
    gv_rcu_thread_register(); /* nests */
    gv_rcu_retire(new_version(1), free_version);
    gv_rcu_thread_unregister();
    gv_rcu_thread_unregister();
    return NULL;
}

START_TEST(thread_that_leaves_sends_off_what_it_retired)
{
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, retire_and_leave, NULL), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    gv_rcu_barrier();
    ck_assert_int_eq(atomic_load_explicit(&freed, memory_order_relaxed), 1);
}
END_TEST

START_TEST(retiring_without_registration_aborts)
{
    gv_rcu_retire(new_version(1), free_version);
}
END_TEST

START_TEST(waiting_inside_a_section_aborts)
{
    gv_rcu_thread_register();
    gv_rcu_read_begin();
    gv_rcu_barrier();
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("rcu");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, no_reader_ever_sees_what_was_freed);
    tcase_add_test(tc, nothing_is_freed_inside_a_section);
    tcase_add_test(tc, thread_that_leaves_sends_off_what_it_retired);
    tcase_add_test_raise_signal(tc, retiring_without_registration_aborts, SIGABRT);
    tcase_add_test_raise_signal(tc, waiting_inside_a_section_aborts, SIGABRT);
    Suite *suite = suite_create("base/io");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
