/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * For tests with real loops: runs a function on a loop's thread and waits for it, and waits until a
 * condition, looked at on the loop, holds.  So tests touch what a loop owns only on its thread.
 */

#include <check.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/io/loop.h"
#include "base/io/os.h"

typedef struct call {
    gv_letter_t letter;
    void (*function)(void *arg);
    void *arg;
    sem_t done;
} call_t;

static inline void on_call(gv_letter_t *letter)
{
    call_t *call = gv_container_of(letter, call_t, letter);
    call->function(call->arg);
    (void)sem_post(&call->done);
}

static inline void on_loop(gv_loop_t *loop, void (*function)(void *arg), void *arg)
{
    call_t call = {.letter = {.deliver = on_call}, .function = function, .arg = arg};
    ck_assert_int_eq(sem_init(&call.done, 0, 0), 0);
    gv_loop_send(loop, &call.letter);
    while (sem_wait(&call.done) != 0) {
    }
    (void)sem_destroy(&call.done);
}

typedef struct condition {
    bool (*holds)(void *arg);
    void *arg;
    bool held;
} condition_t;

static inline void look(void *arg)
{
    condition_t *condition = arg;
    condition->held = condition->holds(condition->arg);
}

static inline uint64_t now_ms(void)
{
    return gv_clock_monotonic_ms(gv_os_clock());
}

static inline void sleep_ms(uint32_t ms)
{
    struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    (void)nanosleep(&pause, NULL);
}

/* False when the condition has not come true in time. */
static inline bool comes_true(gv_loop_t *loop, bool (*holds)(void *arg), void *arg,
                              uint32_t timeout_ms)
{
    uint64_t until_ms = now_ms() + timeout_ms;
    condition_t condition = {.holds = holds, .arg = arg};
    for (;;) {
        on_loop(loop, look, &condition);
        if (condition.held || now_ms() > until_ms) {
            return condition.held;
        }
        sleep_ms(5);
    }
}
