/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_dues: when something falls due for sessions whose clients are away: the will, or the end.
 *
 * A heap by time.  A timer of the loop's wheel would cost each of a million sleeping sessions 80
 * bytes; an entry here costs 16.
 *
 * Threads: the shard's.
 */

#include <stdint.h>

typedef struct gv_session gv_session_t;

typedef struct gv_due {
    uint64_t at_ms; /* monotonic */
    gv_session_t *session;
} gv_due_t;

/* Public only so that a shard can embed it; zeroed before use. */
typedef struct gv_dues {
    gv_due_t *_heap; /* a session's place is its due_place - 1 */
    uint32_t _count;
    uint32_t _capacity;
} gv_dues_t;

/* Frees the array, not the sessions. */
void gv_dues_deinit(gv_dues_t *dues);

/* The session falls due then; one that is there is moved. */
void gv_dues_set(gv_dues_t *dues, gv_session_t *session, uint64_t at_ms);

/* Takes it out; no effect when it is not there. */
void gv_dues_drop(gv_dues_t *dues, gv_session_t *session);

/* The earliest of those due by now, taken out, or NULL. */
gv_session_t *gv_dues_take(gv_dues_t *dues, uint64_t now_ms);

/* When the next falls due; UINT64_MAX: nobody waits. */
uint64_t gv_dues_next_ms(const gv_dues_t *dues);
