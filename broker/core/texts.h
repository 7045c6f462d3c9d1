/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_texts: many texts in one piece of memory, to be gone through once: what a start has read and
 * cannot use yet.  Each is a length (u16) and its bytes.
 *
 * Threads: the owner's.  Memory: counted for who includes this (GV_MEMORY_OF).
 */

#include "base/alloc.h"
#include "base/bytes.h"

/* Zeroed: none. */
typedef struct gv_texts {
    uint8_t *_data;
    size_t _size;
    size_t _capacity;
} gv_texts_t;

/* At most 65535 bytes (asserted); they are copied. */
static inline void gv_texts_add(gv_texts_t *texts, gv_bytes_t text)
{
    GV_ASSERT(text.size <= UINT16_MAX);
    size_t needed = texts->_size + sizeof(uint16_t) + text.size;
    if (needed > texts->_capacity) {
        texts->_capacity = needed * 2;
        texts->_data = gv_xrealloc(texts->_data, texts->_capacity);
    }
    gv_writer_t w = gv_writer(texts->_data + texts->_size, needed - texts->_size);
    gv_writer_u16(&w, (uint16_t)text.size);
    gv_writer_put(&w, text);
    GV_ASSERT(!w.failed);
    texts->_size = needed;
}

/* For gv_texts_next(), as long as gv_reader_left() is not 0; valid until a text is added. */
static inline gv_reader_t gv_texts_read(const gv_texts_t *texts)
{
    return gv_reader(gv_bytes(texts->_data, texts->_size));
}

static inline gv_bytes_t gv_texts_next(gv_reader_t *r)
{
    uint16_t size = gv_reader_u16(r);
    gv_bytes_t text = gv_reader_take(r, size);
    GV_ASSERT(!r->failed);
    return text;
}

/* Empty again. */
static inline void gv_texts_clear(gv_texts_t *texts)
{
    gv_free(texts->_data);
    *texts = (gv_texts_t){._size = 0};
}
