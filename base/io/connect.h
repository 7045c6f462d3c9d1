/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Outgoing connections: name lookup (on libuv's threads), one address after the other, a deadline
 * over all of it.  The result is a gv_socket_t to open a stream with.
 *
 * Threads: the loop's.  Memory: one object per attempt, freed by itself.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/err.h"
#include "base/io/address.h"
#include "base/io/loop.h"
#include "base/io/stream.h"

typedef struct gv_connecting gv_connecting_t;

typedef struct gv_connect_options {
    uint32_t timeout_ms;        /* over name lookup and all addresses; 0: 10 000 */
    uint32_t user_timeout_ms;   /* TCP_USER_TIMEOUT: unacknowledged data ends it; 0: system's */
    uint32_t keepalive_idle_s;  /* 0: no keep-alive probes */
    uint32_t keepalive_every_s; /* 0: as idle */
    uint32_t keepalive_count;   /* 0: 3 */
} gv_connect_options_t;

/*
 * err GV_OK: *socket's content is the callback's.  Otherwise socket is NULL: GV_ERR_NOENT (unknown
 * host), GV_ERR_TIMEOUT, GV_ERR_CLOSED (refused, unreachable), GV_ERR_IO, with a sentence in
 * reason (never NULL).
 */
typedef void gv_connected_cb_t(gv_err_t err, gv_socket_t *socket, const char *reason, void *arg);

/*
 * Begins to connect to "host:port", "[v6]:port" or a unix path.  The callback comes exactly once,
 * later, unless the attempt is cancelled; also when the loop stops (GV_ERR_CLOSED).  From the
 * callback on *connecting_out is dead.  options may be NULL.
 *
 * Without a callback: GV_ERR_INVAL, the text is no address; GV_ERR_CLOSED, the loop is stopping.
 */
GV_MUST_USE GV_LOOP_ONLY gv_err_t gv_connect(gv_loop_t *loop, const char *address,
                                             const gv_connect_options_t *options,
                                             gv_connected_cb_t *on_connected, void *arg,
                                             gv_connecting_t **connecting_out);

/* Gives up; the callback will not come.  Sets *connectingp to NULL; NULL is allowed. */
GV_LOOP_ONLY void gv_connect_cancel(gv_connecting_t **connectingp);
