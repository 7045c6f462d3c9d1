/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_notices: what was said lately, so that a peer that is refused once a second gets one line a
 * minute in the log and not sixty.
 *
 * Threads: the owner's.  Memory: a table of fixed size; when it is full the oldest notice goes, and
 * is news again.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

#define GV_NOTICES_MAX     64U
#define GV_NOTICE_PAUSE_MS 60000U

/* Zeroed before use. */
typedef struct gv_notices {
    struct {
        uint64_t hash;
        uint64_t until_ms;
    } _entries[GV_NOTICES_MAX];
    size_t _next;
} gv_notices_t;

/* True, and remembered, when nothing equal was asked about in the last GV_NOTICE_PAUSE_MS. */
bool gv_notices_is_news(gv_notices_t *notices, gv_bytes_t about, uint64_t what, uint64_t now_ms);
