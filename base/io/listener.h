/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Listening sockets: one per loop on the same address, so that the kernel spreads connections over
 * the loops and no loop has to hand them on.
 *
 *     gv_listen_bind()      any thread, once (base/io/bind.h): one socket per loop
 *     gv_listener_open()    on each loop, with one of them
 *     gv_listener_pause() / gv_listener_resume()
 *     gv_listener_close()
 *
 * A unix socket cannot be bound several times: gv_listen_bind() gives one descriptor, and the
 * listener that holds it hands connections round robin to the loops in `spread_over`.
 *
 * When descriptors run out the listener refuses what waits (with a spare descriptor kept for that),
 * counts it, and stops accepting for 100 ms, instead of spinning.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bucket.h"
#include "base/defs.h"
#include "base/err.h"
#include "base/io/address.h"
#include "base/io/bind.h"
#include "base/io/loop.h"
#include "base/io/stream.h"

typedef struct gv_listener gv_listener_t;

/*
 * How many connections may be open that came in by a set of listeners, and how many may come in per
 * second.  Shared by the loops; the owner calls gv_admission_leave() for each accepted connection
 * when it has ended.  Those over the number are closed; those over the rate wait in the kernel's
 * queue, where they cost nothing.
 */
typedef struct gv_admission {
    atomic_uint_least32_t _open;
    atomic_uint_least32_t _open_max; /* 0: no limit */
    gv_bucket_t _comers;
    gv_rate_t _rate;
} gv_admission_t;

/* per_second: connections, 0: no limit; those of one second may come at once. */
GV_ANY_THREAD void gv_admission_init(gv_admission_t *admission, uint32_t open_max,
                                     uint32_t per_second);
GV_ANY_THREAD void gv_admission_set_max(gv_admission_t *admission, uint32_t open_max);
GV_ANY_THREAD void gv_admission_leave(gv_admission_t *admission);
GV_ANY_THREAD uint32_t gv_admission_open(const gv_admission_t *admission);

/*
 * A connection has come in, on the loop given by gv_loop_current() (one of spread_over, if that is
 * set).  The callback owns *socket's content: gv_stream_open() it or gv_socket_close() it.
 */
typedef void gv_accept_cb_t(gv_socket_t *socket, const gv_address_t *peer, void *arg);

typedef struct gv_listener_options {
    uint32_t backlog;          /* 0: 4096 */
    uint32_t accepts_per_turn; /* 0: 64 */
    gv_admission_t *admission; /* NULL: no limit */
    gv_loop_t **spread_over;   /* NULL: this loop; borrowed for the listener's life */
    uint32_t spread_count;
} gv_listener_options_t;

/*
 * Begins to listen and accept.  fd belongs to the listener on success.  options may be NULL.
 * Errors: GV_ERR_BUSY (another program was faster), GV_ERR_IO, with a sentence in *error.
 */
GV_MUST_USE GV_LOOP_ONLY gv_err_t gv_listener_open(gv_loop_t *loop, int fd,
                                                   const gv_listener_options_t *options,
                                                   gv_accept_cb_t *on_accepted, void *arg,
                                                   gv_listener_t **listener_out,
                                                   gv_error_text_t *error);

/* New connections wait in the kernel's queue meanwhile. */
GV_LOOP_ONLY void gv_listener_pause(gv_listener_t *listener);
GV_LOOP_ONLY void gv_listener_resume(gv_listener_t *listener);

/* Stops listening; a unix socket's file is removed.  No callback; sets *listenerp to NULL.  When
 * the loop stops it closes its listeners itself, and pointers to them are dead. */
GV_LOOP_ONLY void gv_listener_close(gv_listener_t **listenerp);
