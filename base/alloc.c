/* SPDX-License-Identifier: Apache-2.0 */
#include "base/alloc.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static GV_NORETURN void give_up(size_t size)
{
    (void)fprintf(stderr, "out of memory: %zu bytes for an object of our own\n", size);
    abort();
}

/* What malloc(0) gives is the library's choice; one byte is the same everywhere. */
static size_t at_least_one(size_t size)
{
    return size > 0 ? size : 1;
}

void *gv_xalloc(size_t size)
{
    void *ptr = malloc(at_least_one(size));
    if (ptr == NULL) {
        give_up(size);
    }
    return ptr;
}

void *gv_xcalloc(size_t count, size_t size)
{
    GV_ASSERT(size == 0 || count <= SIZE_MAX / size);
    void *ptr = calloc(1, at_least_one(count * size));
    if (ptr == NULL) {
        give_up(count * size);
    }
    return ptr;
}

void *gv_xrealloc(void *ptr, size_t size)
{
    void *moved = realloc(ptr, at_least_one(size));
    if (moved == NULL) {
        give_up(size);
    }
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

void *gv_try_alloc(size_t size)
{
    return malloc(at_least_one(size));
}

void *gv_try_realloc(void *ptr, size_t size)
{
    return realloc(ptr, at_least_one(size));
}

void gv_free(void *ptr)
{
    free(ptr);
}
