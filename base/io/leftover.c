/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_INPUT

#include "base/io/leftover_p.h"

#include <string.h>

#include "base/alloc.h"

/* Memory is reduced when it is at least this much and three quarters of it are unused. */
#define ROOMY ((size_t)4096)

/* The least to grow by. */
#define GROWTH_MIN ((size_t)16384)

/* Moves the bytes to the front and changes the capacity. */
static gv_err_t resize(gv_leftover_t **leftoverp, size_t capacity)
{
    gv_leftover_t *old = *leftoverp;
    size_t size = gv__leftover_size(old);
    GV_ASSERT(capacity >= size);
    if (capacity > UINT32_MAX) {
        return GV_ERR_LIMIT;
    }
    if (old != NULL && old->_start > 0) {
        memmove(old->_bytes, old->_bytes + old->_start, size);
        old->_start = 0;
        old->_end = (uint32_t)size;
    }
    gv_leftover_t *resized = gv_try_realloc(old, sizeof(*old) + capacity);
    if (resized == NULL) {
        return GV_ERR_NOMEM;
    }
    if (old == NULL) {
        resized->_start = 0;
        resized->_end = 0;
    }
    resized->_capacity = (uint32_t)capacity;
    *leftoverp = resized;
    return GV_OK;
}

gv_err_t gv__leftover_set(gv_leftover_t **leftoverp, gv_bytes_t bytes)
{
    GV_ASSERT(bytes.size > 0);
    if (*leftoverp == NULL || (*leftoverp)->_capacity < bytes.size) {
        gv_leftover_t *fresh = NULL;
        gv_err_t err = resize(&fresh, bytes.size);
        if (err != GV_OK) {
            return err;
        }
        gv_free(*leftoverp);
        *leftoverp = fresh;
    }
    gv_leftover_t *leftover = *leftoverp;
    memcpy(leftover->_bytes, bytes.data, bytes.size);
    leftover->_start = 0;
    leftover->_end = (uint32_t)bytes.size;
    return GV_OK;
}

void gv__leftover_use(gv_leftover_t **leftoverp, size_t used)
{
    gv_leftover_t *leftover = *leftoverp;
    GV_ASSERT(used <= gv__leftover_size(leftover));
    if (leftover == NULL) {
        return;
    }
    leftover->_start += (uint32_t)used;
    size_t size = gv__leftover_size(leftover);
    if (size == 0) {
        gv_free(leftover);
        *leftoverp = NULL;
        return;
    }
    if (leftover->_capacity >= ROOMY && size < leftover->_capacity / 4) {
        gv_leftover_t *small = NULL;
        if (gv__leftover_set(&small, gv__leftover_bytes(leftover)) == GV_OK) {
            gv_free(leftover);
            *leftoverp = small;
        }
    }
}

gv_err_t gv__leftover_grow(gv_leftover_t **leftoverp, size_t expected)
{
    gv_leftover_t *leftover = *leftoverp;
    if (leftover != NULL && leftover->_end < leftover->_capacity) {
        return GV_OK;
    }
    size_t size = gv__leftover_size(leftover);
    size_t capacity = size + (size > GROWTH_MIN ? size : GROWTH_MIN);
    if (expected > size && expected < capacity) {
        capacity = expected;
    }
    return resize(leftoverp, capacity);
}

uint8_t *gv__leftover_room(gv_leftover_t *leftover, size_t *size_out)
{
    *size_out = leftover->_capacity - leftover->_end;
    return leftover->_bytes + leftover->_end;
}

void gv__leftover_add(gv_leftover_t *leftover, size_t size)
{
    GV_ASSERT(size <= leftover->_capacity - leftover->_end);
    leftover->_end += (uint32_t)size;
}
