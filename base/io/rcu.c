/* SPDX-License-Identifier: Apache-2.0 */
#include "base/io/rcu.h"

#include <stdint.h>

#include "base/alloc.h"

/* One kilobyte of pointers per wait for the readers. */
#define BATCH_COUNT_MAX 64U

typedef struct retired {
    void *ptr;
    void (*free_fn)(void *ptr);
} retired_t;

typedef struct batch {
    struct rcu_head head;
    uint32_t count;
    retired_t items[BATCH_COUNT_MAX];
} batch_t;

char gv__rcu_sections;

/* Likewise an address for ThreadSanitizer: what free_fn did happened before the barrier's end. */
static char freed;

#ifdef GV_TSAN
/*
 * urcu_memb_barrier() hands a small object of its own to liburcu's thread, which frees it; the
 * library is not instrumented, so the hand-over is not seen.  For every program that links this
 * file.
 */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race:urcu_memb_barrier\n";
}
#endif

static _Thread_local batch_t *current_batch;
static _Thread_local uint32_t registrations;

void gv_rcu_thread_register(void)
{
    if (registrations++ == 0) {
        urcu_memb_register_thread();
    }
}

void gv_rcu_thread_unregister(void)
{
    GV_ASSERT(registrations > 0);
    GV_ASSERT(!gv_rcu_is_reading());
    if (registrations == 1) {
        gv_rcu_retire_flush();
        urcu_memb_unregister_thread();
    }
    registrations--;
}

/* On liburcu's thread, when no reader is left that began before the batch was sent off. */
static void on_readers_gone(struct rcu_head *head)
{
    batch_t *batch = gv_container_of(head, batch_t, head);
    GV_RCU_TSAN_ACQUIRE(&gv__rcu_sections);
    GV_RCU_TSAN_ACQUIRE(batch);
    for (uint32_t i = 0; i < batch->count; i++) {
        batch->items[i].free_fn(batch->items[i].ptr);
    }
    gv_free(batch);
    GV_RCU_TSAN_RELEASE(&freed);
}

void gv_rcu_retire(void *ptr, void (*free_fn)(void *ptr))
{
    GV_ASSERT(free_fn != NULL);
    GV_ASSERT(registrations > 0);
    if (current_batch == NULL) {
        current_batch = gv_xalloc(sizeof(*current_batch));
        current_batch->count = 0;
    }
    batch_t *batch = current_batch;
    batch->items[batch->count++] = (retired_t){.ptr = ptr, .free_fn = free_fn};
    if (batch->count == BATCH_COUNT_MAX) {
        gv_rcu_retire_flush();
    }
}

void gv_rcu_retire_flush(void)
{
    batch_t *batch = current_batch;
    if (batch == NULL) {
        return;
    }
    current_batch = NULL;
    GV_RCU_TSAN_RELEASE(batch);
    urcu_memb_call_rcu(&batch->head, on_readers_gone);
}

void gv_rcu_barrier(void)
{
    GV_ASSERT(!gv_rcu_is_reading());
    gv_rcu_retire_flush();
    urcu_memb_barrier();
    GV_RCU_TSAN_ACQUIRE(&freed);
}
