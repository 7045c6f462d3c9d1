/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_ROUTER

#include "broker/core/shared_heap.h"

#include "base/alloc.h"

/* What an allocation takes in glibc: eight bytes more, in steps of 16, at least 32. */
static size_t bytes_taken(size_t size)
{
    size_t taken = (size + 8 + 15) & ~(size_t)15;
    return taken < 32 ? 32 : taken;
}

void *gv_shared_heap_alloc(gv_shared_heap_t *heap, size_t size)
{
    heap->bytes += bytes_taken(size);
    return gv_xalloc(size);
}

void gv_shared_heap_retire(gv_shared_heap_t *heap, void *ptr, size_t size)
{
    if (ptr == NULL) {
        return;
    }
    GV_ASSERT(heap->bytes >= bytes_taken(size));
    heap->bytes -= bytes_taken(size);
    heap->retire(heap->retire_arg, ptr, gv_free);
}

void gv_shared_heap_free(gv_shared_heap_t *heap, void *ptr, size_t size)
{
    if (ptr == NULL) {
        return;
    }
    GV_ASSERT(heap->bytes >= bytes_taken(size));
    heap->bytes -= bytes_taken(size);
    gv_free(ptr);
}
