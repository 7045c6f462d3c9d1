/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/trail.h"

#include "base/alloc.h"

void gv_trail_push(gv_trail_t *trail, gv_bytes_t level, size_t cursor)
{
    size_t size = trail->_size + 1 + level.size;
    if (size > trail->_capacity) {
        trail->_capacity = size * 2;
        trail->_text = gv_xrealloc(trail->_text, trail->_capacity);
    }
    trail->_text[trail->_size] = '/';
    if (level.size > 0) {
        memcpy(trail->_text + trail->_size + 1, level.data, level.size);
    }
    trail->_size = size;
    if (trail->_depth == trail->_depth_capacity) {
        trail->_depth_capacity = trail->_depth_capacity == 0 ? 16 : trail->_depth_capacity * 2;
        trail->_cursors =
            gv_xrealloc(trail->_cursors, trail->_depth_capacity * sizeof(*trail->_cursors));
    }
    trail->_cursors[trail->_depth++] = cursor;
}

void gv_trail_pop(gv_trail_t *trail, gv_bytes_t level)
{
    GV_ASSERT(trail->_depth > 0);
    GV_ASSERT(trail->_size > level.size);
    trail->_size -= 1 + level.size;
    trail->_depth--;
}

void gv_trail_deinit(gv_trail_t *trail)
{
    gv_free(trail->_text);
    gv_free(trail->_cursors);
    *trail = (gv_trail_t){._text = NULL};
}
