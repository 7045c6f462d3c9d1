/* SPDX-License-Identifier: Apache-2.0 */
#include "base/io/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <sys/socket.h>
#include <sys/un.h>

#include "base/alloc.h"
#include "base/io/bind_p.h"
#include "base/io/loop_p.h"
#include "base/io/os.h"

/*
 * Map: admission - watching - accepting - running out of descriptors - opening and closing.
 */

#define BACKLOG_DEFAULT          4096U
#define ACCEPTS_PER_TURN_DEFAULT 64U

/* How long accepting stops when the system has nothing left to give. */
#define HOLD_MS 100U

struct gv_listener {
    gv_watch_t watch;
    gv_loop_t *loop;
    gv_link_t link; /* in the loop's list */
    bool is_closed; /* and freed at the end of the turn */
    int spare_fd;   /* closed to have one descriptor for refusing; -1: even that is gone */
    bool is_paused;
    bool is_held; /* until hold_timer fires */
    uint32_t accepts_per_turn;
    gv_admission_t *admission;
    gv_loop_t **spread_over;
    uint32_t spread_count;
    uint32_t spread_next;
    gv_timer_t hold_timer;
    gv_job_t free_job;
    gv_accept_cb_t *on_accepted;
    void *arg;
};

/* An accepted connection on its way to another loop. */
typedef struct handover {
    gv_letter_t letter;
    gv_loop_t *to;
    gv_socket_t socket;
    gv_address_t peer;
    gv_admission_t *admission;
    gv_accept_cb_t *on_accepted;
    void *arg;
} handover_t;

/* ---- admission ------------------------------------------------------------------------------ */

void gv_admission_init(gv_admission_t *admission, uint32_t open_max, uint32_t per_second)
{
    GV_ASSERT(admission != NULL);
    atomic_init(&admission->_open, 0);
    atomic_init(&admission->_open_max, open_max);
    gv_bucket_init(&admission->_comers);
    admission->_rate = (gv_rate_t){.per_second = per_second};
}

/* Relaxed throughout: a count, which orders nothing. */
void gv_admission_set_max(gv_admission_t *admission, uint32_t open_max)
{
    atomic_store_explicit(&admission->_open_max, open_max, memory_order_relaxed);
}

uint32_t gv_admission_open(const gv_admission_t *admission)
{
    return atomic_load_explicit(&admission->_open, memory_order_relaxed);
}

void gv_admission_leave(gv_admission_t *admission)
{
    uint32_t before = atomic_fetch_sub_explicit(&admission->_open, 1, memory_order_relaxed);
    GV_ASSERT(before > 0);
}

static bool admit(gv_admission_t *admission)
{
    if (admission == NULL) {
        return true;
    }
    uint32_t open_max = atomic_load_explicit(&admission->_open_max, memory_order_relaxed);
    uint32_t before = atomic_fetch_add_explicit(&admission->_open, 1, memory_order_relaxed);
    if (open_max == 0 || before < open_max) {
        return true;
    }
    gv_admission_leave(admission);
    return false;
}

/* Counts connections against the rate; returns for how long no other may come [ms]. */
static uint64_t count_comers(gv_admission_t *admission, uint64_t count, uint64_t now_ms)
{
    return admission == NULL
               ? 0
               : gv_bucket_charge(&admission->_comers, &admission->_rate, count, now_ms);
}

/* ---- watching ------------------------------------------------------------------------------- */

static GV_LOOP_ONLY void hold(gv_listener_t *listener, uint64_t ms);

static GV_LOOP_ONLY void update_watch(gv_listener_t *listener)
{
    bool is_wanted = !listener->is_closed && !listener->is_paused && !listener->is_held;
    gv_err_t err =
        gv_watch_set(&listener->loop->poller, &listener->watch, is_wanted ? GV_POLL_IN : 0);
    if (err != GV_OK) {
        hold(listener, HOLD_MS); /* the system has no memory; perhaps a little later */
    }
}

static GV_LOOP_ONLY void hold(gv_listener_t *listener, uint64_t ms)
{
    listener->is_held = true;
    gv_loop_timer_start(listener->loop, &listener->hold_timer, ms);
    gv_watch_end(&listener->loop->poller, &listener->watch);
}

static void on_hold_over(gv_timer_t *timer)
{
    gv_listener_t *listener = gv_container_of(timer, gv_listener_t, hold_timer);
    gv_loop_assert_current(listener->loop);
    listener->is_held = false;
    update_watch(listener);
}

/* ---- accepting ------------------------------------------------------------------------------ */

static void on_handover(gv_letter_t *letter)
{
    handover_t *handover = gv_container_of(letter, handover_t, letter);
    gv_loop_assert_current(handover->to);
    if (gv_loop_is_stopping(handover->to)) {
        gv_socket_close(&handover->socket);
        if (handover->admission != NULL) {
            gv_admission_leave(handover->admission);
        }
    } else {
        handover->on_accepted(&handover->socket, &handover->peer, handover->arg);
    }
    gv_free(handover);
}

/* Gives the connection to this loop's owner, or to the next loop in turn. */
static GV_LOOP_ONLY void pass_on(gv_listener_t *listener, int fd, const gv_address_t *peer)
{
    gv_socket_t socket = gv_socket_init(fd);
    if (listener->spread_count == 0) {
        listener->on_accepted(&socket, peer, listener->arg);
        return;
    }
    handover_t *handover = GV_NEW(handover_t);
    handover->letter.deliver = on_handover;
    handover->to = listener->spread_over[listener->spread_next++ % listener->spread_count];
    handover->socket = socket;
    handover->peer = *peer;
    handover->admission = listener->admission;
    handover->on_accepted = listener->on_accepted;
    handover->arg = listener->arg;
    gv_loop_send(handover->to, &handover->letter);
}

/* ---- running out of descriptors ------------------------------------------------------------- */

static int open_spare(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* Refuses the connection at the head of the queue, so that its client knows at once. */
static GV_LOOP_ONLY void shed_one(gv_listener_t *listener)
{
    if (listener->spare_fd < 0) {
        listener->spare_fd = open_spare();
        return;
    }
    (void)close(listener->spare_fd);
    int fd = accept4(listener->watch.fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0) {
        (void)close(fd);
    }
    listener->spare_fd = open_spare();
}

/* accept() has failed.  Returns whether to try the next one. */
static GV_LOOP_ONLY bool goes_on_after(gv_listener_t *listener, int code)
{
    switch (code) {
    case EAGAIN:
        return false;
    case EMFILE:
    case ENFILE:
        gv_counter_add(&listener->loop->stats.accept_failed, 1);
        shed_one(listener);
        hold(listener, HOLD_MS);
        return false;
    case ENOBUFS:
    case ENOMEM:
        gv_counter_add(&listener->loop->stats.accept_failed, 1);
        hold(listener, HOLD_MS);
        return false;
    default:
        /* The connection has died in the queue, or its network has: see accept(2). */
        return true;
    }
}

/* Several loops may ask before one of them counts: the debt that makes is paid by all. */
static GV_LOOP_ONLY bool must_wait(gv_listener_t *listener)
{
    uint64_t wait_ms = count_comers(listener->admission, 0, gv_loop_now_ms(listener->loop));
    if (wait_ms == 0) {
        return false;
    }
    gv_counter_add(&listener->loop->stats.accept_delayed, 1);
    hold(listener, wait_ms);
    return true;
}

static GV_LOOP_ONLY bool accept_one(gv_listener_t *listener)
{
    gv_loop_t *loop = listener->loop;
    gv_address_t peer = {.size = sizeof(peer.storage)};
    int fd = accept4(listener->watch.fd, (struct sockaddr *)&peer.storage, &peer.size,
                     SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        return goes_on_after(listener, errno);
    }
    if (!admit(listener->admission)) {
        (void)close(fd);
        gv_counter_add(&loop->stats.accept_refused, 1);
        return true;
    }
    gv_counter_add(&loop->stats.accepted, 1);
    (void)count_comers(listener->admission, 1, gv_loop_now_ms(loop));
    pass_on(listener, fd, &peer);
    return true;
}

static void on_ready(gv_watch_t *watch, uint32_t events)
{
    gv_listener_t *listener = gv_container_of(watch, gv_listener_t, watch);
    gv_loop_assert_current(listener->loop);
    (void)events; /* an error of a listening socket shows itself in accept() */
    uint32_t count = 0;
    /* The owner may pause or close the listener from its callback. */
    while (count < listener->accepts_per_turn && !listener->is_closed && !listener->is_paused &&
           !must_wait(listener) && accept_one(listener)) {
        count++;
    }
    update_watch(listener);
}

/* ---- opening and closing -------------------------------------------------------------------- */

static void on_free(gv_job_t *job)
{
    gv_free(gv_container_of(job, gv_listener_t, free_job));
}

static gv_err_t fail_open(int fd, int code, gv_error_text_t *error)
{
    gv_address_t address = gv_address_of_socket(fd);
    char text[GV_ADDRESS_TEXT_SIZE];
    return gv__bind_failed(gv_address_text(&address, text), code, error);
}

gv_err_t gv_listener_open(gv_loop_t *loop, int fd, const gv_listener_options_t *options,
                          gv_accept_cb_t *on_accepted, void *arg, gv_listener_t **listener_out,
                          gv_error_text_t *error)
{
    static const gv_listener_options_t defaults = {.backlog = 0};
    gv_loop_assert_current(loop);
    GV_ASSERT(fd >= 0);
    GV_ASSERT(on_accepted != NULL);
    GV_ASSERT(error != NULL);
    *listener_out = NULL;
    error->text[0] = '\0';
    const gv_listener_options_t *wanted = options != NULL ? options : &defaults;
    uint32_t backlog = wanted->backlog > 0 ? wanted->backlog : BACKLOG_DEFAULT;
    if (gv_loop_is_stopping(loop)) {
        return fail_open(fd, ESHUTDOWN, error);
    }
    if (listen(fd, (int)backlog) != 0) {
        return fail_open(fd, errno, error);
    }
    gv_listener_t *listener = GV_NEW(gv_listener_t);
    gv_watch_init(&listener->watch, fd, on_ready);
    listener->free_job.run = on_free;
    listener->loop = loop;
    listener->spare_fd = open_spare();
    listener->accepts_per_turn =
        wanted->accepts_per_turn > 0 ? wanted->accepts_per_turn : ACCEPTS_PER_TURN_DEFAULT;
    listener->admission = wanted->admission;
    listener->spread_over = wanted->spread_over;
    listener->spread_count = wanted->spread_over != NULL ? wanted->spread_count : 0;
    listener->on_accepted = on_accepted;
    listener->arg = arg;
    gv_timer_init(&listener->hold_timer, on_hold_over);
    gv_list_append(&loop->listeners, &listener->link);
    update_watch(listener);
    *listener_out = listener;
    return GV_OK;
}

void gv_listener_pause(gv_listener_t *listener)
{
    gv_loop_assert_current(listener->loop);
    listener->is_paused = true;
    update_watch(listener);
}

void gv_listener_resume(gv_listener_t *listener)
{
    gv_loop_assert_current(listener->loop);
    listener->is_paused = false;
    update_watch(listener);
}

static GV_LOOP_ONLY void end(gv_listener_t *listener)
{
    gv_list_remove(&listener->link);
    gv_timer_stop(&listener->hold_timer);
    listener->is_closed = true;
    update_watch(listener);
    gv_loop_defer(listener->loop, &listener->free_job); /* its callback may be running */
    gv_address_t address = gv_address_of_socket(listener->watch.fd);
    if (address.size > 0 && address.storage.ss_family == AF_UNIX) {
        (void)unlink(((const struct sockaddr_un *)&address.storage)->sun_path);
    }
    (void)close(listener->watch.fd);
    if (listener->spare_fd >= 0) {
        (void)close(listener->spare_fd);
    }
}

void gv_listener_close(gv_listener_t **listenerp)
{
    GV_ASSERT(listenerp != NULL);
    gv_listener_t *listener = *listenerp;
    *listenerp = NULL;
    if (listener == NULL) {
        return;
    }
    gv_loop_assert_current(listener->loop);
    end(listener);
}

void gv__listeners_stop(gv_loop_t *loop)
{
    for (gv_link_t *link; (link = gv_list_first(&loop->listeners)) != NULL;) {
        end(gv_container_of(link, gv_listener_t, link));
    }
}
