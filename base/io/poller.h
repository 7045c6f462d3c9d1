/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_poller: which of a loop's descriptors are ready.
 *
 * epoll, and 16 bytes for each descriptor that is watched, inside its owner.  libuv's uv_poll_t
 * does the same with 160 bytes and a table by descriptor, and takes four more system calls to begin
 * and to end; a hundred thousand idle connections, and a storm of new ones, pay for that.  libuv's
 * own descriptor is watched here like any other (loop.c).
 *
 *     gv_watch_init()            watches nothing yet
 *     gv_watch_set(events)       watches from now on; 0 takes it out
 *
 * Watching is level-triggered, what was not read is told again, unless GV_POLL_ONCE is asked for.
 *
 * Threads: the loop's.
 */

#include <stdint.h>

#include <sys/epoll.h>

#include "base/defs.h"
#include "base/err.h"

enum {
    GV_POLL_IN = EPOLLIN,
    GV_POLL_OUT = EPOLLOUT,
    GV_POLL_ERROR = EPOLLERR, /* told only, and the watch has been taken out then */
};

/* Asked for beside others: each is told once for each time it happens, read or not. */
#define GV_POLL_ONCE ((uint32_t)EPOLLET)

/* Descriptors told about in one turn. */
#define GV_POLL_BATCH 256

typedef struct gv_watch gv_watch_t;

/* `events` of those asked for.  A peer that has hung up makes all of them ready. */
typedef void gv_watch_cb_t(gv_watch_t *watch, uint32_t events);

struct gv_watch {
    gv_watch_cb_t *_on_ready;
    int fd; /* borrowed, see gv_watch_close() */
    uint32_t _events;
};

/* Public only so that a loop can embed it. */
typedef struct gv_poller {
    int _fd;
    int _at;    /* the event that is being told; -1: none is */
    int _count; /* of the last wait */
    struct epoll_event _batch[GV_POLL_BATCH];
} gv_poller_t;

/* GV_OK or GV_ERR_IO. */
GV_MUST_USE gv_err_t gv_poller_open(gv_poller_t *poller);

void gv_poller_close(gv_poller_t *poller);

/*
 * Waits for events, at most timeout_ms (-1: for ever), and for no more than are there already if it
 * is 0.  Tells nobody yet.
 */
void gv_poller_wait(gv_poller_t *poller, int timeout_ms);

/* Tells what the last wait has found.  A callback may do with all watches what it likes. */
void gv_poller_tell(gv_poller_t *poller);

void gv_watch_init(gv_watch_t *watch, int fd, gv_watch_cb_t *on_ready);

/*
 * Watches for these events from now on; with 0 for none, also none already found: the memory is the
 * owner's again.  Taking out never fails; before the descriptor is closed, it is taken out.
 * GV_OK; GV_ERR_NOMEM: the system has no more; GV_ERR_IO: it cannot be watched.
 */
GV_MUST_USE gv_err_t gv_watch_set(gv_poller_t *poller, gv_watch_t *watch, uint32_t events);

/* The same with 0. */
void gv_watch_end(gv_poller_t *poller, gv_watch_t *watch);

/* Ends it and closes the descriptor, with one system call instead of two. */
void gv_watch_close(gv_poller_t *poller, gv_watch_t *watch);

/* What is watched for. */
static inline uint32_t gv_watch_events(const gv_watch_t *watch)
{
    return watch->_events;
}
