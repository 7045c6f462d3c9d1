/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Bytes that have come and are not used yet.  Empty it owns no memory; it grows with what really
 * arrives, and a peer decides how much that is: so it can fail.
 */

#include <stdint.h>

#include "base/bytes.h"
#include "base/defs.h"
#include "base/err.h"

/* All zero is empty. */
typedef struct gv__inbuf {
    uint8_t *data;
    size_t start; /* first byte that is not used */
    size_t end;
    size_t capacity;
} gv__inbuf_t;

static inline size_t gv__inbuf_size(const gv__inbuf_t *inbuf)
{
    return inbuf->end - inbuf->start;
}

/* Valid until the next change. */
static inline gv_bytes_t gv__inbuf_bytes(const gv__inbuf_t *inbuf)
{
    return inbuf->data == NULL ? GV_BYTES_EMPTY
                               : gv_bytes(inbuf->data + inbuf->start, gv__inbuf_size(inbuf));
}

/* GV_OK or GV_ERR_NOMEM; nothing has changed then. */
GV_MUST_USE gv_err_t gv__inbuf_append(gv__inbuf_t *inbuf, gv_bytes_t bytes);

/* Forgets the first `size` bytes, and all memory when none are left. */
void gv__inbuf_use(gv__inbuf_t *inbuf, size_t size);

void gv__inbuf_clear(gv__inbuf_t *inbuf);
