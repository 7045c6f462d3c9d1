/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_loop: one thread that waits for sockets, letters and timers, and owns what hangs on it.
 *
 * A loop is a poller with the things every connection on it shares: a mailbox, a timer wheel, a
 * read buffer, a pool of output chunks, the list of streams with something to write; and a libuv
 * loop, for what that does better: name resolution, signals, handles of other libraries.
 *
 *     gv_loop_new()                     made on any thread
 *     gv_loop_send()                    letters may be sent from here on
 *     gv_loop_start()  or  gv_loop_run()   on a thread of its own, or on the caller's
 *     gv_loop_stop()                    any thread: asks it to end
 *     gv_loop_join()                    after start: waits for the thread
 *     gv_loop_free()
 *
 * One turn of a loop:
 *
 *     wait for events
 *     events          readable and writable sockets, accepts
 *     letters         at most letters_per_turn, the rest next turn
 *     timers
 *     jobs            what was deferred until now, and input that streams were asked to repeat
 *     turn-end hooks  e.g. send the letters a shard has collected for other shards
 *     flush           each stream that was marked dirty writes once
 *
 * Stopping: the loop closes its listeners, gives up connection attempts, aborts the streams that
 * are left (their on_closed runs), delivers the letters that are in the box, and ends.  An owner
 * that wants to end politely closes its streams and waits for them before it stops the loop.
 * Letters sent later are delivered by gv_loop_free(), on its caller's thread, so that what they
 * carry is freed: whoever receives letters must be ready to find gv_loop_is_stopping(), and must
 * not send them on to the same loop for ever.
 *
 * Threads: functions are marked.  Memory: about 80 KiB per loop.
 */

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "base/defs.h"
#include "base/err.h"
#include "base/io/mailbox.h"
#include "base/list.h"
#include "base/outbuf.h"
#include "base/stats.h"
#include "base/timerwheel.h"

typedef struct gv_loop gv_loop_t;

typedef struct gv_loop_options {
    const char *name;          /* of the thread, copied; the system shows 15 characters */
    uint32_t index;            /* the owner's number for it, e.g. which shard */
    uint32_t letters_per_turn; /* 0: 1024 */
    uint32_t linger_ms;        /* the time a closing stream gets (GV_CLOSE_FLUSH); 0: 2000 */
} gv_loop_options_t;

/* Written by the loop, readable from any thread (base/stats.h). */
typedef struct gv_loop_stats {
    gv_counter_t turns;
    gv_counter_t letters;
    gv_counter_t streams;        /* open now */
    gv_counter_t accepted;       /* connections, since the start */
    gv_counter_t accept_refused; /* over a listener's limit */
    gv_counter_t accept_delayed; /* times a listener held back because of its rate */
    gv_counter_t accept_failed;  /* no descriptor or memory left */
    gv_counter_t reads;          /* system calls */
    gv_counter_t writes;
    gv_counter_t writes_blocked; /* the socket was full before everything was out */
    gv_counter_t bytes_in;
    gv_counter_t bytes_out;
    gv_counter_t chunk_bytes; /* memory of waiting output, as of the last turn's end */
    gv_counter_t lag_ns;      /* recent longest turn, decaying: how long an event may wait */
    gv_histogram_t turn_ns;   /* the working part of each turn */
} gv_loop_stats_t;

/* Something to be done on the loop, embedded in its owner. */
typedef struct gv_job gv_job_t;
typedef void gv_job_cb_t(gv_job_t *job);
struct gv_job {
    gv_link_t _link;
    gv_job_cb_t *run;
};

/* ---- life ----------------------------------------------------------------------------------- */

/* GV_OK, or GV_ERR_IO when the system gives no descriptors.  options may be NULL. */
GV_MUST_USE GV_ANY_THREAD gv_err_t gv_loop_new(const gv_loop_options_t *options,
                                               gv_loop_t **loop_out);

/* Starts a thread that runs the loop.  GV_OK or GV_ERR_IO. */
GV_MUST_USE gv_err_t gv_loop_start(gv_loop_t *loop);

/* Runs the loop on this thread until it is stopped. */
void gv_loop_run(gv_loop_t *loop);

/* Asks the loop to end after the turn it is in.  May be called more than once. */
GV_ANY_THREAD void gv_loop_stop(gv_loop_t *loop);

/* Waits until the thread of a started loop has ended. */
void gv_loop_join(gv_loop_t *loop);

/* The loop has ended (or never ran).  Nobody may send to it any more. */
void gv_loop_free(gv_loop_t **loopp);

/* True from the moment the loop has begun to stop. */
GV_ANY_THREAD bool gv_loop_is_stopping(const gv_loop_t *loop);

/* ---- letters, jobs, timers ------------------------------------------------------------------ */

/* Hands a letter to the loop's mailbox (base/io/mailbox.h). */
GV_ANY_THREAD void gv_loop_send(gv_loop_t *loop, gv_letter_t *letter);

/*
 * Runs job->run at the end of this turn; a job deferred while jobs run waits for the next turn.
 * A job that is already waiting stays where it is.
 */
GV_LOOP_ONLY void gv_loop_defer(gv_loop_t *loop, gv_job_t *job);

/* Runs hook->run at the end of every turn, before the flush, in the order of registration. */
GV_LOOP_ONLY void gv_loop_on_turn_end(gv_loop_t *loop, gv_job_t *hook);

/* Takes a deferred job or a hook out; no effect if it is not waiting.  Not for a hook from inside
 * another hook. */
GV_LOOP_ONLY void gv_job_cancel(gv_job_t *job);

/*
 * The loop's wheel, for gv_timer_start(); times are those of gv_loop_now_ms().  The pointer may be
 * taken by whoever builds what runs on the loop; the wheel itself is the loop's.
 */
GV_ANY_THREAD gv_timerwheel_t *gv_loop_wheel(gv_loop_t *loop);

/* Arms (or moves) a timer to fire `after_ms` from now. */
GV_LOOP_ONLY void gv_loop_timer_start(gv_loop_t *loop, gv_timer_t *timer, uint64_t after_ms);

/* ---- what a loop knows ---------------------------------------------------------------------- */

/* Monotonic milliseconds as of this turn's beginning (same clock as gv_os_clock()). */
GV_LOOP_ONLY uint64_t gv_loop_now_ms(const gv_loop_t *loop);

/* Where this loop's outbufs take their chunks from; as with the wheel, the pointer is for all. */
GV_ANY_THREAD gv_chunkpool_t *gv_loop_chunkpool(gv_loop_t *loop);

GV_ANY_THREAD uint32_t gv_loop_index(const gv_loop_t *loop);
GV_ANY_THREAD const char *gv_loop_name(const gv_loop_t *loop);
GV_ANY_THREAD const gv_loop_stats_t *gv_loop_stats(const gv_loop_t *loop);

/* The owner's pointer, e.g. the shard.  Set it before the loop starts. */
void gv_loop_set_data(gv_loop_t *loop, void *data);
GV_ANY_THREAD void *gv_loop_data(const gv_loop_t *loop);

/*
 * The libuv loop, for handles this folder has no word for (signals).  Their owner closes them
 * before the loop stops, and does not point their `data` to the gv_loop_t.
 */
GV_LOOP_ONLY uv_loop_t *gv_loop_uv(gv_loop_t *loop);

extern _Thread_local gv_loop_t *gv__loop_current;

/* The loop this thread runs, or NULL. */
static inline gv_loop_t *gv_loop_current(void)
{
    return gv__loop_current;
}

/* Stops the process when called from another thread than the loop's; tells clang's analyser so. */
static inline void gv_loop_assert_current(const gv_loop_t *loop) GV_ASSERTS(gv_role_loop);
static inline void gv_loop_assert_current(const gv_loop_t *loop)
{
    GV_ASSERT(gv__loop_current == loop);
}
