/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The message that tells of a client that has come or gone: JSON with EMQX's names, which tools
 * know already.
 *
 * Threads: plain functions.
 */

#include "base/defs.h"
#include "broker/core/ports.h"

/* A text to be freed with gv_free().  now_ms: time of day [ms since 1970]. */
GV_MUST_USE char *gv_client_event_json(const gv_presence_t *presence, const char *node,
                                       uint64_t now_ms);
