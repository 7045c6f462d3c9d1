/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_trail: the way to a node of a tree of topic levels, for walks that pause: the levels, and for
 * each of them a cursor in the table of the node above it.
 *
 * Between two slices of a walk nodes may come and go, so it holds no pointer; the next slice goes
 * down the old trail as far as that still leads, and makes a new one.
 *
 * Threads: the owner's.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

/* Starts with all zero: at the root. */
typedef struct gv_trail {
    uint8_t *_text; /* each level with a '/' before it */
    size_t _size;
    size_t _capacity;
    size_t *_cursors;
    size_t _depth;
    size_t _depth_capacity;
} gv_trail_t;

void gv_trail_deinit(gv_trail_t *trail);

/* One level down, one up. */
void gv_trail_push(gv_trail_t *trail, gv_bytes_t level, size_t cursor);
void gv_trail_pop(gv_trail_t *trail, gv_bytes_t level);

/* How many levels there are. */
static inline size_t gv_trail_depth(const gv_trail_t *trail)
{
    return trail->_depth;
}

/* The levels with '/' between them; not at the root.  Borrowed until the next change. */
static inline gv_bytes_t gv_trail_text(const gv_trail_t *trail)
{
    GV_ASSERT(trail->_depth > 0);
    return gv_bytes(trail->_text + 1, trail->_size - 1);
}

/* The cursor of the level below a node at this depth. */
static inline size_t gv_trail_cursor(const gv_trail_t *trail, size_t depth)
{
    GV_ASSERT(depth < trail->_depth);
    return trail->_cursors[depth];
}
