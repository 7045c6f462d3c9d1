/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_INPUT

#include "base/alloc.h"
#include "broker/net/inbuf_p.h"

#define GROWTH_MIN ((size_t)512)

gv_err_t gv__inbuf_append(gv__inbuf_t *inbuf, gv_bytes_t bytes)
{
    if (bytes.size == 0) {
        return GV_OK;
    }
    size_t size = gv__inbuf_size(inbuf);
    if (inbuf->capacity - inbuf->end < bytes.size) {
        if (inbuf->start > 0) {
            memmove(inbuf->data, inbuf->data + inbuf->start, size);
            inbuf->start = 0;
            inbuf->end = size;
        }
        if (inbuf->capacity - size < bytes.size) {
            size_t growth = size > GROWTH_MIN ? size : GROWTH_MIN;
            size_t capacity = size + (growth > bytes.size ? growth : bytes.size);
            uint8_t *data = gv_try_realloc(inbuf->data, capacity);
            if (data == NULL) {
                return GV_ERR_NOMEM;
            }
            inbuf->data = data;
            inbuf->capacity = capacity;
        }
    }
    memcpy(inbuf->data + inbuf->end, bytes.data, bytes.size);
    inbuf->end += bytes.size;
    return GV_OK;
}

void gv__inbuf_use(gv__inbuf_t *inbuf, size_t size)
{
    GV_ASSERT(size <= gv__inbuf_size(inbuf));
    inbuf->start += size;
    if (inbuf->start == inbuf->end) {
        gv__inbuf_clear(inbuf);
    }
}

void gv__inbuf_clear(gv__inbuf_t *inbuf)
{
    gv_free(inbuf->data);
    *inbuf = (gv__inbuf_t){.data = NULL};
}
