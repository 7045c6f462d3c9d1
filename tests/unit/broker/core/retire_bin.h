/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A retire port for tests with one thread.  What is retired is overwritten at once, since no reader
 * is left that may see it: whoever still reaches it, writer or later reader, follows garbage.  It
 * is freed by empty_bin() only, so that the memory is not used again meanwhile, and so that
 * retiring something twice is noticed.
 */

#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "base/alloc.h"

/* As ck_assert(), which makes a system call each time, too slow for what runs millions of times. */
#define REQUIRE(cond) ((cond) ? (void)0 : ck_abort_msg("failed: %s", #cond))

typedef struct retire_bin {
    void **ptrs;
    size_t count;
    size_t capacity;
} retire_bin_t;

static inline void retire_into_bin(void *arg, void *ptr, void (*free_fn)(void *ptr))
{
    retire_bin_t *bin = arg;
    REQUIRE(ptr != NULL);
    REQUIRE(free_fn != NULL);
    static const uint64_t overwritten = UINT64_C(0xdbdbdbdbdbdbdbdb);
    REQUIRE(memcmp(ptr, &overwritten, sizeof(overwritten)) != 0); /* or it is retired twice */
    if (bin->count == bin->capacity) {
        bin->capacity = bin->capacity * 2 + 16;
        bin->ptrs = gv_xrealloc(bin->ptrs, bin->capacity * sizeof(*bin->ptrs));
    }
    memset(ptr, 0xdb, malloc_usable_size(ptr));
    bin->ptrs[bin->count++] = ptr;
}

/* A grace period has passed. */
static inline void empty_bin(retire_bin_t *bin)
{
    for (size_t i = 0; i < bin->count; i++) {
        gv_free(bin->ptrs[i]);
    }
    bin->count = 0;
}

static inline void bin_deinit(retire_bin_t *bin)
{
    empty_bin(bin);
    gv_free(bin->ptrs);
    *bin = (retire_bin_t){0};
}
