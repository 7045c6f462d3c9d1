/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Read-copy-update: tables that every thread reads without a lock and one writer replaces.
 *
 * A reader brackets its use of a shared table with gv_rcu_read_begin() and gv_rcu_read_end(); what
 * it has loaded in between stays valid in between.  The writer publishes a new version (an atomic
 * store with release order; readers load with acquire) and retires the old parts: they are freed
 * when every reader that could have seen them has left its section.
 *
 * A read section is short and never spans a turn of a loop (asserted in debug builds).  It may
 * nest. Inside one, do not block and do not wait for other threads.
 *
 * Loops register their threads themselves; other threads that read or retire do it by hand.
 * This is liburcu's membarrier flavour: begin and end cost a few nanoseconds and no atomic.
 */

#include <stdbool.h>

#define URCU_INLINE_SMALL_FUNCTIONS
#include <urcu/urcu-memb.h>

#include "base/defs.h"

#if defined(__SANITIZE_THREAD__)
#define GV_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define GV_TSAN 1
#endif
#endif

/*
 * ThreadSanitizer does not see liburcu's barriers.  What it has to know: everything a reader did in
 * its section happened before what it retired is freed.
 */
#ifdef GV_TSAN
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);
#define GV_RCU_TSAN_ACQUIRE(addr) __tsan_acquire(addr)
#define GV_RCU_TSAN_RELEASE(addr) __tsan_release(addr)
#else
#define GV_RCU_TSAN_ACQUIRE(addr) ((void)(addr))
#define GV_RCU_TSAN_RELEASE(addr) ((void)(addr))
#endif
extern char gv__rcu_sections; /* only its address matters */

/* Before a thread's first read section; unregistering sends off what it has retired.  They nest. */
GV_ANY_THREAD void gv_rcu_thread_register(void);
GV_ANY_THREAD void gv_rcu_thread_unregister(void);

static inline void gv_rcu_read_begin(void)
{
    urcu_memb_read_lock();
}

static inline void gv_rcu_read_end(void)
{
    GV_RCU_TSAN_RELEASE(&gv__rcu_sections);
    urcu_memb_read_unlock();
}

/* This thread is inside a read section. */
static inline bool gv_rcu_is_reading(void)
{
    return urcu_memb_read_ongoing() != 0;
}

/*
 * Frees ptr with free_fn(ptr) once no reader can hold it any more.  free_fn runs on liburcu's
 * thread: it frees memory (gv_free, gv_msgbuf_unref) and touches nothing of a loop.  Calls are
 * collected per thread and sent off together: by gv_rcu_retire_flush(), which loops do at the end
 * of each turn and other threads by hand, or when 64 have come together.
 */
GV_ANY_THREAD void gv_rcu_retire(void *ptr, void (*free_fn)(void *ptr));
GV_ANY_THREAD void gv_rcu_retire_flush(void);

/*
 * Waits until everything that was retired and flushed (by any thread) before the call has been
 * freed; flushes this thread's own first.  For shutdown and tests; not inside a read section.
 */
GV_ANY_THREAD void gv_rcu_barrier(void);
