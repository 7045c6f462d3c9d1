/* SPDX-License-Identifier: Apache-2.0 */
#include "base/io/loop.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/io/loop_p.h"
#include "base/io/os.h"
#include "base/io/rcu.h"

/*
 * Map: the turn - letters, jobs, timers - running and stopping - making and freeing - accessors.
 *
 * libuv's loop is a guest of ours: name resolution, signals and a few other handles are its, and it
 * runs when it says so, which it does by its epoll descriptor and by uv_backend_timeout() (that is
 * 0 also while it has handles to close or descriptors to begin to watch).
 */

#define LETTERS_PER_TURN_DEFAULT 1024U
#define LINGER_MS_DEFAULT        2000U

/* Letters that beget letters while the loop stops: after so many rounds the rest is for free(). */
#define STOP_ROUNDS_MAX 64U

gv_role_t gv_role_loop;
_Thread_local gv_loop_t *gv__loop_current;

/* ---- the turn ------------------------------------------------------------------------------- */

static GV_LOOP_ONLY void deliver_letters(gv_loop_t *loop)
{
    uint32_t count = gv_mailbox_deliver(&loop->mailbox, loop->letters_per_turn);
    if (count > 0) {
        gv_counter_add(&loop->stats.letters, count);
    }
}

/* Owners of streams that have ended may use their memory again. */
static GV_LOOP_ONLY void tell_closed(gv_loop_t *loop)
{
    for (gv_link_t *link; (link = gv_list_take_first(&loop->closed)) != NULL;) {
        gv__stream_tell_closed(gv_container_of(link, gv_stream_t, _loop_link));
    }
}

/* What jobs defer meanwhile waits for the next turn, or a job could keep the loop for ever. */
static GV_LOOP_ONLY void run_jobs(gv_loop_t *loop)
{
    gv_list_t jobs;
    gv_list_init(&jobs);
    gv_list_splice(&jobs, &loop->jobs);
    for (gv_link_t *link; (link = gv_list_take_first(&jobs)) != NULL;) {
        gv_job_t *job = gv_container_of(link, gv_job_t, _link);
        job->run(job);
    }
}

static GV_LOOP_ONLY void offer_input(gv_loop_t *loop)
{
    gv_list_t due;
    gv_list_init(&due);
    gv_list_splice(&due, &loop->due);
    for (gv_link_t *link; (link = gv_list_take_first(&due)) != NULL;) {
        gv__stream_offer_input(gv_container_of(link, gv_stream_t, _due_link));
    }
}

static GV_LOOP_ONLY void run_hooks(gv_loop_t *loop)
{
    gv_list_foreach_safe (&loop->hooks, link) {
        gv_job_t *hook = gv_container_of(link, gv_job_t, _link);
        hook->run(hook);
    }
}

static GV_LOOP_ONLY void flush_streams(gv_loop_t *loop)
{
    gv_list_t dirty;
    gv_list_init(&dirty);
    gv_list_splice(&dirty, &loop->dirty);
    /* A stream leaves the list inside the flush, after before_flush has had its say. */
    for (gv_link_t *link; (link = gv_list_first(&dirty)) != NULL;) {
        gv_stream_t *stream = gv_container_of(link, gv_stream_t, _dirty_link);
        gv__stream_flush(stream);
        GV_ASSERT(gv_list_first(&dirty) != link);
    }
}

static GV_LOOP_ONLY void end_turn(gv_loop_t *loop)
{
    tell_closed(loop);
    run_jobs(loop);
    offer_input(loop);
    run_hooks(loop);
    flush_streams(loop);
    gv_rcu_retire_flush();
    GV_DEBUG_ASSERT(!gv_rcu_is_reading());
}

static GV_LOOP_ONLY void account_turn(gv_loop_t *loop)
{
    gv_loop_stats_t *stats = &loop->stats;
    uint64_t took_ns = uv_hrtime() - loop->turn_began_ns;
    gv_counter_add(&stats->turns, 1);
    gv_histogram_add(&stats->turn_ns, took_ns);
    uint64_t lag_ns = gv_counter_get(&stats->lag_ns);
    lag_ns -= lag_ns / 8;
    gv_counter_set(&stats->lag_ns, took_ns > lag_ns ? took_ns : lag_ns);
    gv_counter_set(&stats->chunk_bytes, gv_chunkpool_bytes_out(&loop->chunks));
}

static GV_LOOP_ONLY bool may_sleep(gv_loop_t *loop)
{
    bool is_turn_wanted = loop->is_turn_wanted;
    loop->is_turn_wanted = false;
    /* The mailbox last: it says "asleep" to all. */
    return !is_turn_wanted && gv_list_is_empty(&loop->jobs) && gv_list_is_empty(&loop->due) &&
           gv_list_is_empty(&loop->dirty) && gv_list_is_empty(&loop->closed) &&
           gv_mailbox_sleep(&loop->mailbox);
}

/* How long to wait for events [ms]; -1 is for ever. */
static GV_LOOP_ONLY int wait_ms(gv_loop_t *loop)
{
    int uv_wait_ms = loop->is_uv_ready ? 0 : uv_backend_timeout(&loop->uv);
    uint64_t wheel_ms = gv_timerwheel_next_ms(loop->wheel, uv_now(&loop->uv));
    if (uv_wait_ms == 0 || wheel_ms == 0 || !may_sleep(loop)) {
        return 0;
    }
    int own_wait_ms = wheel_ms < INT_MAX ? (int)wheel_ms : -1;
    return uv_wait_ms < 0 || (own_wait_ms >= 0 && own_wait_ms < uv_wait_ms) ? own_wait_ms
                                                                            : uv_wait_ms;
}

static void on_uv_ready(gv_watch_t *watch, uint32_t events)
{
    gv_loop_t *loop = gv_container_of(watch, gv_loop_t, uv_watch);
    (void)events;
    loop->is_uv_ready = true;
}

static GV_LOOP_ONLY void run_uv(gv_loop_t *loop)
{
    if (loop->is_uv_ready || uv_backend_timeout(&loop->uv) == 0) {
        loop->is_uv_ready = false;
        (void)uv_run(&loop->uv, UV_RUN_NOWAIT);
    }
}

static GV_LOOP_ONLY void turn(gv_loop_t *loop)
{
    gv_poller_wait(&loop->poller, wait_ms(loop));
    uv_update_time(&loop->uv);
    loop->turn_began_ns = uv_hrtime();
    gv_mailbox_wake(&loop->mailbox);
    gv_poller_tell(&loop->poller);
    run_uv(loop);
    deliver_letters(loop);
    (void)gv_timerwheel_advance(loop->wheel, uv_now(&loop->uv));
    end_turn(loop);
    account_turn(loop);
}

/* ---- letters, jobs, timers ------------------------------------------------------------------ */

void gv_loop_send(gv_loop_t *loop, gv_letter_t *letter)
{
    gv_mailbox_send(&loop->mailbox, letter);
}

void gv_loop_defer(gv_loop_t *loop, gv_job_t *job)
{
    gv_loop_assert_current(loop);
    GV_ASSERT(job->run != NULL);
    if (!gv_link_is_linked(&job->_link)) {
        gv_list_append(&loop->jobs, &job->_link);
    }
}

void gv_loop_on_turn_end(gv_loop_t *loop, gv_job_t *hook)
{
    gv_loop_assert_current(loop);
    GV_ASSERT(hook->run != NULL);
    GV_ASSERT(!gv_link_is_linked(&hook->_link));
    gv_list_append(&loop->hooks, &hook->_link);
}

void gv_job_cancel(gv_job_t *job)
{
    gv_list_remove(&job->_link);
}

gv_timerwheel_t *gv_loop_wheel(gv_loop_t *loop)
{
    return loop->wheel;
}

void gv_loop_timer_start(gv_loop_t *loop, gv_timer_t *timer, uint64_t after_ms)
{
    gv_loop_assert_current(loop);
    gv_timer_start(loop->wheel, timer, uv_now(&loop->uv) + after_ms);
}

/* ---- running and stopping ------------------------------------------------------------------- */

static void on_stop_letter(gv_letter_t *letter)
{
    gv_loop_t *loop = gv_container_of(letter, gv_loop_t, stop_letter);
    /* Relaxed: a flag for others to look at; nothing is published by it. */
    atomic_store_explicit(&loop->is_stopping, true, memory_order_relaxed);
}

void gv_loop_stop(gv_loop_t *loop)
{
    GV_ASSERT(loop != NULL);
    /* Relaxed: only who is first matters, the letter itself does the ordering. */
    if (!atomic_exchange_explicit(&loop->stop_wanted, true, memory_order_relaxed)) {
        gv_loop_send(loop, &loop->stop_letter);
    }
}

static void close_guest(uv_handle_t *handle, void *arg)
{
    const gv_loop_t *loop = arg;
    if (handle != (const uv_handle_t *)&loop->anchor && !uv_is_closing(handle)) {
        uv_close(handle, NULL);
    }
}

/* Ends all that hangs on the loop and runs it until the last of it has been told. */
static GV_LOOP_ONLY void close_guests(gv_loop_t *loop)
{
    gv__listeners_stop(loop);
    gv__connectings_stop(loop);
    for (gv_link_t *link; (link = gv_list_first(&loop->streams)) != NULL;) {
        gv_stream_close(gv_container_of(link, gv_stream_t, _loop_link), GV_CLOSE_ABORT);
    }
    uv_walk(&loop->uv, close_guest, loop);
    uv_unref((uv_handle_t *)&loop->anchor);
    while (uv_loop_alive(&loop->uv) != 0 || !gv_list_is_empty(&loop->closed) ||
           !gv_list_is_empty(&loop->jobs)) {
        turn(loop);
    }
}

/* Letters and jobs until there are none, within reason. */
static GV_LOOP_ONLY void drain(gv_loop_t *loop, uint32_t rounds_max)
{
    for (uint32_t round = 0; round < rounds_max; round++) {
        uint32_t count = gv_mailbox_deliver(&loop->mailbox, UINT32_MAX);
        if (count == 0 && gv_list_is_empty(&loop->jobs)) {
            break;
        }
        end_turn(loop);
    }
}

/* Makes the calling thread the loop's thread. */
static void enter(gv_loop_t *loop)
{
    GV_ASSERT(gv__loop_current == NULL);
    gv__loop_current = loop;
    gv_rcu_thread_register();
}

static void leave(void)
{
    gv_rcu_thread_unregister();
    gv__loop_current = NULL;
}

void gv_loop_run(gv_loop_t *loop)
{
    enter(loop);
    gv_loop_assert_current(loop);
    while (!gv_loop_is_stopping(loop)) {
        turn(loop);
    }
    close_guests(loop);
    drain(loop, STOP_ROUNDS_MAX);
    leave();
}

static void *thread_main(void *arg)
{
    gv_loop_t *loop = arg;
    gv_os_name_thread(loop->name);
    gv_loop_run(loop);
    return NULL;
}

gv_err_t gv_loop_start(gv_loop_t *loop)
{
    GV_ASSERT(loop != NULL);
    GV_ASSERT(!loop->is_started);
    /* Signals are for the main thread; here they would only interrupt system calls. */
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&loop->thread, NULL, thread_main, loop);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) {
        return gv_err_from_errno(rc) == GV_ERR_NOMEM ? GV_ERR_NOMEM : GV_ERR_IO;
    }
    loop->is_started = true;
    return GV_OK;
}

void gv_loop_join(gv_loop_t *loop)
{
    GV_ASSERT(loop != NULL);
    GV_ASSERT(loop->is_started);
    int rc = pthread_join(loop->thread, NULL);
    GV_ASSERT(rc == 0);
    loop->is_started = false;
}

/* ---- making and freeing --------------------------------------------------------------------- */

static void init_lists(gv_loop_t *loop)
{
    gv_list_init(&loop->jobs);
    gv_list_init(&loop->hooks);
    gv_list_init(&loop->streams);
    gv_list_init(&loop->closed);
    gv_list_init(&loop->dirty);
    gv_list_init(&loop->due);
    gv_list_init(&loop->lingering);
    gv_list_init(&loop->listeners);
    gv_list_init(&loop->connectings);
}

static void on_anchor(uv_prepare_t *anchor)
{
    (void)anchor;
}

/* GV_OK; or GV_ERR_IO, and nothing is open. */
static gv_err_t open_poller(gv_loop_t *loop)
{
    if (uv_loop_init(&loop->uv) != 0) {
        return GV_ERR_IO;
    }
    if (gv_poller_open(&loop->poller) != GV_OK) {
        (void)uv_loop_close(&loop->uv);
        return GV_ERR_IO;
    }
    gv_watch_init(&loop->uv_watch, uv_backend_fd(&loop->uv), on_uv_ready);
    if (gv_watch_set(&loop->poller, &loop->uv_watch, GV_POLL_IN) != GV_OK ||
        gv_mailbox_open(&loop->mailbox, &loop->poller) != GV_OK) {
        gv_poller_close(&loop->poller);
        (void)uv_loop_close(&loop->uv);
        return GV_ERR_IO;
    }
    (void)uv_prepare_init(&loop->uv, &loop->anchor);
    (void)uv_prepare_start(&loop->anchor, on_anchor);
    return GV_OK;
}

gv_err_t gv_loop_new(const gv_loop_options_t *options, gv_loop_t **loop_out)
{
    static const gv_loop_options_t defaults = {.name = "loop"};
    GV_ASSERT(loop_out != NULL);
    *loop_out = NULL;
    const gv_loop_options_t *wanted = options != NULL ? options : &defaults;

    gv_loop_t *loop = GV_NEW(gv_loop_t);
    if (open_poller(loop) != GV_OK) {
        gv_free(loop);
        return GV_ERR_IO;
    }
    init_lists(loop);
    gv_timerwheel_new(uv_now(&loop->uv), &loop->wheel);
    gv_timer_init(&loop->linger_timer, gv__stream_on_linger_timer);
    gv_chunkpool_init(&loop->chunks);
    loop->letters_per_turn =
        wanted->letters_per_turn > 0 ? wanted->letters_per_turn : LETTERS_PER_TURN_DEFAULT;
    loop->linger_ms = wanted->linger_ms > 0 ? wanted->linger_ms : LINGER_MS_DEFAULT;
    loop->index = wanted->index;
    (void)snprintf(loop->name, sizeof(loop->name), "%s",
                   wanted->name != NULL ? wanted->name : defaults.name);
    loop->stop_letter.deliver = on_stop_letter;
    atomic_init(&loop->stop_wanted, false);
    atomic_init(&loop->is_stopping, false);

    *loop_out = loop;
    return GV_OK;
}

void gv_loop_free(gv_loop_t **loopp)
{
    GV_ASSERT(loopp != NULL);
    gv_loop_t *loop = *loopp;
    *loopp = NULL;
    if (loop == NULL) {
        return;
    }
    GV_ASSERT(!loop->is_started);
    enter(loop);
    gv_loop_assert_current(loop);
    atomic_store_explicit(&loop->is_stopping, true, memory_order_relaxed);
    drain(loop, UINT32_MAX);
    close_guests(loop); /* only in a loop that never ran */
    gv_mailbox_close(&loop->mailbox, &loop->poller);
    uv_close((uv_handle_t *)&loop->anchor, NULL);
    (void)uv_run(&loop->uv, UV_RUN_DEFAULT);
    leave();
    int rc = uv_loop_close(&loop->uv);
    GV_ASSERT(rc == 0);
    gv_poller_close(&loop->poller);
    gv_timerwheel_free(&loop->wheel);
    gv_chunkpool_deinit(&loop->chunks);
    gv_free(loop);
}

/* ---- accessors ------------------------------------------------------------------------------ */

bool gv_loop_is_stopping(const gv_loop_t *loop)
{
    return atomic_load_explicit(&loop->is_stopping, memory_order_relaxed);
}

uint64_t gv_loop_now_ms(const gv_loop_t *loop)
{
    gv_loop_assert_current(loop);
    return uv_now(&loop->uv);
}

gv_chunkpool_t *gv_loop_chunkpool(gv_loop_t *loop)
{
    return &loop->chunks;
}

uint32_t gv_loop_index(const gv_loop_t *loop)
{
    return loop->index;
}

const char *gv_loop_name(const gv_loop_t *loop)
{
    return loop->name;
}

const gv_loop_stats_t *gv_loop_stats(const gv_loop_t *loop)
{
    return &loop->stats;
}

void gv_loop_set_data(gv_loop_t *loop, void *data)
{
    loop->data = data;
}

void *gv_loop_data(const gv_loop_t *loop)
{
    return loop->data;
}

uv_loop_t *gv_loop_uv(gv_loop_t *loop)
{
    gv_loop_assert_current(loop);
    return &loop->uv;
}
