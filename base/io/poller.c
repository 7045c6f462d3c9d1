/* SPDX-License-Identifier: Apache-2.0 */
#include "base/io/poller.h"

#include <errno.h>
#include <unistd.h>

gv_err_t gv_poller_open(gv_poller_t *poller)
{
    poller->_at = -1;
    poller->_count = 0;
    poller->_fd = epoll_create1(EPOLL_CLOEXEC);
    return poller->_fd < 0 ? GV_ERR_IO : GV_OK;
}

void gv_poller_close(gv_poller_t *poller)
{
    (void)close(poller->_fd);
    poller->_fd = -1;
}

void gv_poller_wait(gv_poller_t *poller, int timeout_ms)
{
    GV_ASSERT(poller->_at < 0);
    int count = epoll_wait(poller->_fd, poller->_batch, GV_POLL_BATCH, timeout_ms);
    GV_ASSERT(count >= 0 || errno == EINTR); /* a signal ends the wait, as an event would */
    poller->_count = count > 0 ? count : 0;
}

static void tell(gv_poller_t *poller, gv_watch_t *watch, uint32_t found)
{
    if ((found & EPOLLERR) != 0) {
        /* Told for ever otherwise, whatever is asked for. */
        gv_watch_end(poller, watch);
        watch->_on_ready(watch, GV_POLL_ERROR);
        return;
    }
    uint32_t asked_for = watch->_events & ~GV_POLL_ONCE;
    uint32_t events = (found & EPOLLHUP) != 0 ? asked_for : found & asked_for;
    if (events != 0) {
        watch->_on_ready(watch, events);
    }
}

void gv_poller_tell(gv_poller_t *poller)
{
    for (poller->_at = 0; poller->_at < poller->_count; poller->_at++) {
        const struct epoll_event *event = &poller->_batch[poller->_at];
        if (event->data.ptr != NULL) {
            tell(poller, event->data.ptr, event->events);
        }
    }
    poller->_at = -1;
    poller->_count = 0;
}

void gv_watch_init(gv_watch_t *watch, int fd, gv_watch_cb_t *on_ready)
{
    GV_ASSERT(fd >= 0);
    *watch = (gv_watch_t){._on_ready = on_ready, .fd = fd};
}

gv_err_t gv_watch_set(gv_poller_t *poller, gv_watch_t *watch, uint32_t events)
{
    if (events == 0) {
        gv_watch_end(poller, watch);
        return GV_OK;
    }
    if (events == watch->_events) {
        return GV_OK;
    }
    struct epoll_event wanted = {.events = events, .data.ptr = watch};
    int operation = watch->_events == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    if (epoll_ctl(poller->_fd, operation, watch->fd, &wanted) != 0) {
        return errno == ENOMEM || errno == ENOSPC ? GV_ERR_NOMEM : GV_ERR_IO;
    }
    watch->_events = events;
    return GV_OK;
}

/* What was found for it and not told yet is forgotten. */
static void forget(gv_poller_t *poller, const gv_watch_t *watch)
{
    for (int i = poller->_at + 1; i < poller->_count; i++) {
        if (poller->_batch[i].data.ptr == watch) {
            poller->_batch[i].data.ptr = NULL;
        }
    }
}

void gv_watch_end(gv_poller_t *poller, gv_watch_t *watch)
{
    if (watch->_events == 0) {
        return;
    }
    struct epoll_event none = {.events = 0};
    int rc = epoll_ctl(poller->_fd, EPOLL_CTL_DEL, watch->fd, &none);
    GV_ASSERT(rc == 0);
    watch->_events = 0;
    forget(poller, watch);
}

void gv_watch_close(gv_poller_t *poller, gv_watch_t *watch)
{
    /* Nobody else has a copy of the descriptor, so that closing takes it out of the epoll set. */
    (void)close(watch->fd);
    watch->fd = -1;
    if (watch->_events != 0) {
        watch->_events = 0;
        forget(poller, watch);
    }
}
