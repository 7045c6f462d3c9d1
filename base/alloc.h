/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Memory.  Two families, and the choice says who decides the size:
 *
 * gv_xalloc...   our own bounded objects.  Running out is the end of the process: there is nothing
 *                sensible to do, and untested recovery paths are worse (h2o, BIND).
 * gv_try_...     sizes or numbers a peer decides.  Running out, or reaching the limit of
 *                gv_alloc_set_max(), is an answer (NULL) the caller turns into GV_ERR_NOMEM.
 *
 * Both are freed with gv_free().  Threads: any; an object may be freed on another thread.
 *
 * What is in use is counted, in bytes as the allocator sees them, and by what it is for.  A source
 * file that works with one kind of memory says so before its first include:
 *
 *     #define GV_MEMORY_OF GV_MEMORY_SESSIONS
 *
 * Memory is to be freed in a file of the same kind; else the kinds are wrong, though not their sum.
 * Each thread has its own counters and adds what has gathered to the sum now and then, so counting
 * needs no locked instruction; the sum is out of date by 64 KiB per thread at most.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"

typedef enum gv_memory_kind {
    GV_MEMORY_OTHER,
    GV_MEMORY_CONNECTIONS,
    GV_MEMORY_INPUT,    /* what has come of packets that are not complete, or cannot be taken now */
    GV_MEMORY_OUTPUT,   /* what waits to be written to connections, messages by reference apart */
    GV_MEMORY_MESSAGES, /* shared buffers: messages that wait or are retained, log segments */
    GV_MEMORY_PARCELS,  /* messages between threads */
    GV_MEMORY_SESSIONS,
    GV_MEMORY_QUEUES, /* what sessions remember of messages in flight or waiting */
    GV_MEMORY_SUBSCRIPTIONS,
    GV_MEMORY_RETAINED, /* the tree of topics; the messages are shared buffers */
    GV_MEMORY_ROUTER,
    GV_MEMORY_LOG, /* the log of waiting messages: what is being written, where segments are */
    GV_MEMORY_STORE,
    GV_MEMORY_TLS,
    GV_MEMORY_KINDS,
} gv_memory_kind_t;

#ifndef GV_MEMORY_OF
#define GV_MEMORY_OF GV_MEMORY_OTHER
#endif

GV_MUST_USE void *gv__xalloc(gv_memory_kind_t kind, size_t size);
GV_MUST_USE void *gv__xcalloc(gv_memory_kind_t kind, size_t count, size_t size);
GV_MUST_USE void *gv__xrealloc(gv_memory_kind_t kind, void *ptr, size_t size);
GV_MUST_USE void *gv__try_realloc(gv_memory_kind_t kind, void *ptr, size_t size);
void gv__free(gv_memory_kind_t kind, void *ptr);

/* Uninitialised, never NULL; size 0 gives a pointer that can be freed. */
GV_MUST_USE static inline void *gv_xalloc(size_t size)
{
    return gv__xalloc(GV_MEMORY_OF, size);
}

/* Zeroed, never NULL; count * size must not overflow (asserted). */
GV_MUST_USE static inline void *gv_xcalloc(size_t count, size_t size)
{
    return gv__xcalloc(GV_MEMORY_OF, count, size);
}

/* As realloc(), never NULL. */
GV_MUST_USE static inline void *gv_xrealloc(void *ptr, size_t size)
{
    return gv__xrealloc(GV_MEMORY_OF, ptr, size);
}

/* A NUL-terminated copy, never NULL. */
GV_MUST_USE char *gv_xstrdup(const char *text);

/* Uninitialised, or NULL. */
GV_MUST_USE static inline void *gv_try_alloc(size_t size)
{
    return gv__try_realloc(GV_MEMORY_OF, NULL, size);
}

/* As realloc(), or NULL (ptr stays valid then). */
GV_MUST_USE static inline void *gv_try_realloc(void *ptr, size_t size)
{
    return gv__try_realloc(GV_MEMORY_OF, ptr, size);
}

/* NULL is allowed. */
static inline void gv_free(void *ptr)
{
    gv__free(GV_MEMORY_OF, ptr);
}

/* One object of a type, zeroed. */
#define GV_NEW(type) ((type *)gv_xcalloc(1, sizeof(type)))

/* ---- the account ---- */

/* All that is in use [bytes]. */
uint64_t gv_alloc_in_use(void);

/* Of one kind [bytes]; asks all threads' counters. */
uint64_t gv_alloc_in_use_for(gv_memory_kind_t kind);

/* "sessions" */
const char *gv_memory_kind_name(gv_memory_kind_t kind);

/*
 * gv_try_... refuses what would bring the sum above this [bytes]; 0, as at first: nothing.  Up to a
 * quarter above, small requests are granted: who sends half a packet at the wrong moment does not
 * lose its connection for what others hold.
 */
void gv_alloc_set_max(uint64_t bytes);
