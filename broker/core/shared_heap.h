/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_shared_heap: memory that one thread writes and others read without locks.
 *
 * The writer allocates, fills, and publishes an object with a release store.  An object that
 * readers may still see is not freed but retired: the port frees it when they have all left (RCU).
 * The heap also knows how much is in use, for the router's counters.
 *
 * Threads: the writer's.  Memory: none of its own.
 */

#include <stddef.h>

#include "base/defs.h"

/*
 * Port: frees `ptr` with free_fn(ptr) once no read section that has begun before this call is left.
 * Must not call free_fn before it returns.
 */
typedef void gv_retire_cb_t(void *arg, void *ptr, void (*free_fn)(void *ptr));

typedef struct gv_shared_heap {
    gv_retire_cb_t *retire;
    void *retire_arg;
    size_t bytes; /* in use, with the allocator's overhead; what is retired no longer counts */
} gv_shared_heap_t;

/* Uninitialised, never NULL; the sizes are bounded by ourselves. */
GV_MUST_USE void *gv_shared_heap_alloc(gv_shared_heap_t *heap, size_t size);

/* `size` as it was allocated.  NULL is allowed: nothing was published yet. */
void gv_shared_heap_retire(gv_shared_heap_t *heap, void *ptr, size_t size);

/* Frees at once what no reader can see: at the end of everything. */
void gv_shared_heap_free(gv_shared_heap_t *heap, void *ptr, size_t size);
