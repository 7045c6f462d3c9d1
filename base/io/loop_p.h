/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the files of base/io share: the inside of a loop, and the calls by which the loop, its
 * streams, listeners and connection attempts know each other.
 */

#include <pthread.h>
#include <stdatomic.h>

#include "base/io/connect.h"
#include "base/io/listener.h"
#include "base/io/loop.h"
#include "base/io/stream.h"

/* One read takes at most this. */
#define GV_READ_SIZE ((size_t)65536)

/* Unused input up to this size is copied in front of the next read, larger input is read behind. */
#define GV_READ_JOIN_MAX ((size_t)4096)

#define GV_LOOP_NAME_SIZE 32

struct gv_loop {
    gv_poller_t poller;
    uv_loop_t uv;
    uv_prepare_t anchor; /* does nothing: with a handle, libuv's loop has timeouts */
    gv_watch_t uv_watch; /* on libuv's own epoll descriptor */
    gv_mailbox_t mailbox;
    gv_timerwheel_t *wheel;
    gv_chunkpool_t chunks;

    gv_list_t jobs;        /* gv_job_t */
    gv_list_t hooks;       /* gv_job_t */
    gv_list_t streams;     /* gv_stream_t by _loop_link */
    gv_list_t closed;      /* gv_stream_t by _loop_link: to be told so */
    gv_list_t dirty;       /* gv_stream_t by _dirty_link */
    gv_list_t due;         /* gv_stream_t by _due_link: input to be offered again */
    gv_list_t lingering;   /* gv_stream_t by _due_link, the first one is the first to be cut off */
    gv_list_t listeners;   /* gv_listener_t */
    gv_list_t connectings; /* gv_connecting_t */
    gv_timer_t linger_timer;

    gv_stream_t *calling;  /* whose on_input runs */
    gv_socket_t *detached; /* where that call has detached its stream to, or NULL */

    bool is_turn_wanted; /* a callback after the hooks may have left them something to do */
    bool is_uv_ready;    /* libuv has events */
    uint64_t turn_began_ns;
    uint32_t letters_per_turn;
    uint32_t linger_ms;

    gv_letter_t stop_letter;
    atomic_bool stop_wanted;
    atomic_bool is_stopping;
    bool is_started; /* has a thread of its own */
    pthread_t thread;

    void *data;
    uint32_t index;
    char name[GV_LOOP_NAME_SIZE];
    gv_loop_stats_t stats;
    uint8_t read_buffer[GV_READ_JOIN_MAX + GV_READ_SIZE];
};

/* stream.c */
GV_LOOP_ONLY void gv__stream_flush(gv_stream_t *stream);
GV_LOOP_ONLY void gv__stream_offer_input(gv_stream_t *stream);
GV_LOOP_ONLY void gv__stream_tell_closed(gv_stream_t *stream);
void gv__stream_on_linger_timer(gv_timer_t *timer);

/* listener.c, connect.c: the loop stops. */
GV_LOOP_ONLY void gv__listeners_stop(gv_loop_t *loop);
GV_LOOP_ONLY void gv__connectings_stop(gv_loop_t *loop);
