/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * For tests of base/io: loops on threads of their own, and a way for the test's thread to do
 * something on one of them and wait until it is done.  What the test reads after call_on() has
 * happened before (the semaphore says so to ThreadSanitizer as well).
 */

#include <semaphore.h>
#include <stdlib.h>
#include <time.h>

#include <check.h>

#include "base/io/loop.h"
#include "base/io/os.h"

typedef void on_loop_fn_t(gv_loop_t *loop, void *arg);

typedef struct call {
    gv_letter_t letter;
    gv_loop_t *loop;
    on_loop_fn_t *fn;
    void *arg;
    sem_t done;
} call_t;

static inline void on_call(gv_letter_t *letter)
{
    call_t *call = gv_container_of(letter, call_t, letter);
    call->fn(call->loop, call->arg);
    (void)sem_post(&call->done);
}

static inline void wait_for(sem_t *sem)
{
    while (sem_wait(sem) != 0) {
    }
}

/* True if it was posted within the time. */
static inline bool waited_for(sem_t *sem, int timeout_ms)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    return sem_timedwait(sem, &until) == 0;
}

static inline void sleep_ms(long ms)
{
    struct timespec span = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    (void)nanosleep(&span, NULL);
}

static inline void call_on(gv_loop_t *loop, on_loop_fn_t *fn, void *arg)
{
    call_t call = {.letter.deliver = on_call, .loop = loop, .fn = fn, .arg = arg};
    (void)sem_init(&call.done, 0, 0);
    gv_loop_send(loop, &call.letter);
    wait_for(&call.done);
    (void)sem_destroy(&call.done);
}

static inline gv_loop_t *started_loop(uint32_t index)
{
    gv_loop_options_t options = {.name = "test", .index = index, .linger_ms = 300};
    gv_loop_t *loop = NULL;
    ck_assert_int_eq(gv_loop_new(&options, &loop), GV_OK);
    ck_assert_int_eq(gv_loop_start(loop), GV_OK);
    return loop;
}

static inline void end_loop(gv_loop_t **loopp)
{
    gv_loop_stop(*loopp);
    gv_loop_join(*loopp);
    gv_loop_free(loopp);
}

static inline uint64_t now_ms(void)
{
    return gv_clock_monotonic_ms(gv_os_clock());
}
