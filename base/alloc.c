/* SPDX-License-Identifier: Apache-2.0 */
#include "base/alloc.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the allocator keeps beside a block. */
#define BLOCK_HEAD 8

/* What is not larger may go a quarter above the limit [bytes]. */
#define SMALL_MAX 16384

/* So much may gather in a thread before the sum is told [bytes]. */
#define UNTOLD_MAX ((int64_t)65536)

/* ---- counting ------------------------------------------------------------------------------- */

/*
 * One thread's counters; a block may be freed by another thread than the one that made it, so each
 * may be negative.  They stay when the thread ends: what it has made may still be there.
 */
typedef struct counts {
    _Atomic int64_t bytes[GV_MEMORY_KINDS]; /* written by the thread only */
    int64_t untold;
    struct counts *next;
} counts_t;

static _Atomic(counts_t *) all_counts;
static _Atomic int64_t sum;
static _Atomic uint64_t sum_max;
static _Thread_local counts_t *own_counts;

static GV_NORETURN void give_up(size_t size)
{
    (void)fprintf(stderr, "out of memory: %zu bytes for an object of our own\n", size);
    abort();
}

static counts_t *begin_counting(void)
{
    counts_t *counts = calloc(1, sizeof(*counts));
    if (counts == NULL) {
        give_up(sizeof(*counts));
    }
    counts->next = atomic_load_explicit(&all_counts, memory_order_relaxed);
    /* Release: who finds the block finds what is in it. */
    while (!atomic_compare_exchange_weak_explicit(&all_counts, &counts->next, counts,
                                                  memory_order_release, memory_order_relaxed)) {
    }
    own_counts = counts;
    return counts;
}

static void count(gv_memory_kind_t kind, int64_t change)
{
    counts_t *counts = own_counts != NULL ? own_counts : begin_counting();
    int64_t now = atomic_load_explicit(&counts->bytes[kind], memory_order_relaxed);
    atomic_store_explicit(&counts->bytes[kind], now + change, memory_order_relaxed);
    counts->untold += change;
    if (counts->untold >= UNTOLD_MAX || counts->untold <= -UNTOLD_MAX) {
        atomic_fetch_add_explicit(&sum, counts->untold, memory_order_relaxed);
        counts->untold = 0;
    }
}

static int64_t taken_by(void *ptr)
{
    return ptr == NULL ? 0 : (int64_t)malloc_usable_size(ptr) + BLOCK_HEAD;
}

static uint64_t not_negative(int64_t bytes)
{
    return bytes > 0 ? (uint64_t)bytes : 0;
}

uint64_t gv_alloc_in_use(void)
{
    return not_negative(atomic_load_explicit(&sum, memory_order_relaxed));
}

uint64_t gv_alloc_in_use_for(gv_memory_kind_t kind)
{
    int64_t bytes = 0;
    /* Acquire: pairs with the release in begin_counting(). */
    for (counts_t *c = atomic_load_explicit(&all_counts, memory_order_acquire); c != NULL;
         c = c->next) {
        bytes += atomic_load_explicit(&c->bytes[kind], memory_order_relaxed);
    }
    return not_negative(bytes);
}

const char *gv_memory_kind_name(gv_memory_kind_t kind)
{
    static const char *const names[GV_MEMORY_KINDS] = {
        [GV_MEMORY_OTHER] = "other",
        [GV_MEMORY_CONNECTIONS] = "connections",
        [GV_MEMORY_INPUT] = "input",
        [GV_MEMORY_OUTPUT] = "output",
        [GV_MEMORY_MESSAGES] = "messages",
        [GV_MEMORY_PARCELS] = "parcels",
        [GV_MEMORY_SESSIONS] = "sessions",
        [GV_MEMORY_QUEUES] = "queues",
        [GV_MEMORY_SUBSCRIPTIONS] = "subscriptions",
        [GV_MEMORY_RETAINED] = "retained",
        [GV_MEMORY_ROUTER] = "router",
        [GV_MEMORY_LOG] = "log",
        [GV_MEMORY_STORE] = "store",
        [GV_MEMORY_TLS] = "tls",
    };
    GV_ASSERT(kind < GV_MEMORY_KINDS);
    return names[kind];
}

void gv_alloc_set_max(uint64_t bytes)
{
    atomic_store_explicit(&sum_max, bytes, memory_order_relaxed);
}

static bool is_too_much(size_t more)
{
    uint64_t max = atomic_load_explicit(&sum_max, memory_order_relaxed);
    uint64_t reserve = more <= SMALL_MAX ? max / 4 : 0;
    return max != 0 && gv_alloc_in_use() + more > max + reserve;
}

/* ---- memory --------------------------------------------------------------------------------- */

/* What malloc(0) gives is the library's choice; one byte is the same everywhere. */
static size_t at_least_one(size_t size)
{
    return size > 0 ? size : 1;
}

void *gv__xalloc(gv_memory_kind_t kind, size_t size)
{
    void *ptr = malloc(at_least_one(size));
    if (ptr == NULL) {
        give_up(size);
    }
    count(kind, taken_by(ptr));
    return ptr;
}

void *gv__xcalloc(gv_memory_kind_t kind, size_t items, size_t size)
{
    GV_ASSERT(size == 0 || items <= SIZE_MAX / size);
    void *ptr = calloc(1, at_least_one(items * size));
    if (ptr == NULL) {
        give_up(items * size);
    }
    count(kind, taken_by(ptr));
    return ptr;
}

void *gv__xrealloc(gv_memory_kind_t kind, void *ptr, size_t size)
{
    int64_t before = taken_by(ptr);
    void *moved = realloc(ptr, at_least_one(size));
    if (moved == NULL) {
        give_up(size);
    }
    count(kind, taken_by(moved) - before);
    return moved;
}

char *gv_xstrdup(const char *text)
{
    GV_ASSERT(text != NULL);
    size_t size = strlen(text) + 1;
    char *copy = gv_xalloc(size);
    memcpy(copy, text, size);
    return copy;
}

void *gv__try_realloc(gv_memory_kind_t kind, void *ptr, size_t size)
{
    int64_t before = taken_by(ptr);
    if ((int64_t)size > before && is_too_much(size - (size_t)before)) {
        return NULL;
    }
    void *moved = realloc(ptr, at_least_one(size));
    if (moved != NULL) {
        count(kind, taken_by(moved) - before);
    }
    return moved;
}

void gv__free(gv_memory_kind_t kind, void *ptr)
{
    if (ptr != NULL) {
        count(kind, -taken_by(ptr));
        free(ptr);
    }
}
