/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_leftover: the input a stream has read and its owner has not used yet - the beginning of a
 * packet, usually.  Exists only while there is some: NULL is the empty leftover.
 *
 * Functions take the stream's pointer, because growing moves the bytes and using the last one frees
 * them.  Memory comes from what a peer sends, so running out of it is an answer (GV_ERR_NOMEM; the
 * bytes are unchanged then).
 */

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/defs.h"
#include "base/err.h"

typedef struct gv_leftover {
    uint32_t _start; /* first byte not used */
    uint32_t _end;
    uint32_t _capacity;
    uint8_t _bytes[];
} gv_leftover_t;

static inline size_t gv__leftover_size(const gv_leftover_t *leftover)
{
    return leftover == NULL ? 0 : leftover->_end - leftover->_start;
}

static inline gv_bytes_t gv__leftover_bytes(const gv_leftover_t *leftover)
{
    return leftover == NULL
               ? GV_BYTES_EMPTY
               : gv_bytes(leftover->_bytes + leftover->_start, gv__leftover_size(leftover));
}

/* Holds exactly these bytes from now on, which are not its own; memory it has is used again. */
GV_MUST_USE gv_err_t gv__leftover_set(gv_leftover_t **leftoverp, gv_bytes_t bytes);

/* Forgets the first `used` bytes, and memory that has become far too large. */
void gv__leftover_use(gv_leftover_t **leftoverp, size_t used);

/*
 * Makes room behind what is there: at least one byte, twice as much as before if it has to grow,
 * but not beyond `expected` bytes in all when more is expected than there is.  So memory follows
 * what has arrived, and a large packet is copied a few times at most.
 */
GV_MUST_USE gv_err_t gv__leftover_grow(gv_leftover_t **leftoverp, size_t expected);

/* The room behind, and how much of it has been filled. */
uint8_t *gv__leftover_room(gv_leftover_t *leftover, size_t *size_out);
void gv__leftover_add(gv_leftover_t *leftover, size_t size);
