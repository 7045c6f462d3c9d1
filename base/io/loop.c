/* SPDX-License-Identifier: Apache-2.0 */
#include "base/io/loop.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/io/loop_p.h"
#include "base/io/os.h"
#include "base/io/rcu.h"

/*
 * Map: the turn - letters, jobs, timers - running and stopping - making and freeing - accessors.
 *
 * How the turn of loop.h lies on libuv's: "events" is its poll phase, "letters" and "timers" its
 * check phase, everything from "jobs" on its prepare phase, just before it polls again.  Handles
 * that were closed get their callbacks between check and prepare.
 */

#define LETTERS_PER_TURN_DEFAULT 1024U
#define LINGER_MS_DEFAULT        2000U

/* Letters that beget letters while the loop stops: after so many rounds the rest is for free(). */
#define STOP_ROUNDS_MAX 64U

gv_role_t gv_role_loop;
_Thread_local gv_loop_t *gv__loop_current;

/* ---- the turn ------------------------------------------------------------------------------- */

void gv__loop_begin_turn(gv_loop_t *loop)
{
    loop->turn_began_ns = uv_hrtime();
    gv_mailbox_wake(&loop->mailbox);
}

static GV_LOOP_ONLY void deliver_letters(gv_loop_t *loop)
{
    uint32_t count = gv_mailbox_deliver(&loop->mailbox, loop->letters_per_turn);
    if (count > 0) {
        gv_counter_add(&loop->stats.letters, count);
    }
}

static void on_check(uv_check_t *check)
{
    gv_loop_t *loop = check->data;
    gv_loop_assert_current(loop);
    gv__loop_on_event(loop);
    deliver_letters(loop);
    (void)gv_timerwheel_advance(loop->wheel, uv_now(&loop->uv));
}

/* Both have done their work by ending the wait. */
static void on_alarm(uv_timer_t *alarm)
{
    gv_loop_t *loop = alarm->data;
    loop->alarm_at_ms = UINT64_MAX;
}

static void on_busy(uv_idle_t *idle)
{
    (void)idle;
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
    uint64_t took_ns = loop->turn_began_ns == 0 ? 0 : uv_hrtime() - loop->turn_began_ns;
    loop->turn_began_ns = 0;
    gv_counter_add(&stats->turns, 1);
    gv_histogram_add(&stats->turn_ns, took_ns);
    uint64_t lag_ns = gv_counter_get(&stats->lag_ns);
    lag_ns -= lag_ns / 8;
    gv_counter_set(&stats->lag_ns, took_ns > lag_ns ? took_ns : lag_ns);
    gv_counter_set(&stats->chunk_bytes, gv_chunkpool_bytes_out(&loop->chunks));
}

/* Makes libuv's one timer agree with the wheel.  False: something is due already. */
static GV_LOOP_ONLY bool set_alarm(gv_loop_t *loop)
{
    uint64_t now_ms = uv_now(&loop->uv);
    uint64_t wait_ms = gv_timerwheel_next_ms(loop->wheel, now_ms);
    if (wait_ms == 0) {
        return false;
    }
    uint64_t at_ms = wait_ms == UINT64_MAX ? UINT64_MAX : now_ms + wait_ms;
    if (at_ms == loop->alarm_at_ms) {
        return true;
    }
    loop->alarm_at_ms = at_ms;
    int rc = at_ms == UINT64_MAX ? uv_timer_stop(&loop->alarm)
                                 : uv_timer_start(&loop->alarm, on_alarm, wait_ms, 0);
    GV_ASSERT(rc == 0);
    return true;
}

static GV_LOOP_ONLY bool may_sleep(gv_loop_t *loop)
{
    /* set_alarm() first: it has to run in any case; the mailbox last: it says "asleep" to all. */
    bool is_turn_wanted = loop->is_turn_wanted;
    loop->is_turn_wanted = false;
    return set_alarm(loop) && !is_turn_wanted && gv_list_is_empty(&loop->jobs) &&
           gv_list_is_empty(&loop->due) && gv_list_is_empty(&loop->dirty) &&
           gv_mailbox_sleep(&loop->mailbox);
}

static void on_prepare(uv_prepare_t *prepare)
{
    gv_loop_t *loop = prepare->data;
    gv_loop_assert_current(loop);
    end_turn(loop);
    account_turn(loop);
    int rc = may_sleep(loop) ? uv_idle_stop(&loop->busy) : uv_idle_start(&loop->busy, on_busy);
    GV_ASSERT(rc == 0);
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
    if (!atomic_exchange_explicit(&loop->is_stopping, true, memory_order_relaxed)) {
        uv_stop(&loop->uv); /* not from gv_loop_free(): nothing runs then that could be stopped */
    }
}

void gv_loop_stop(gv_loop_t *loop)
{
    GV_ASSERT(loop != NULL);
    /* Relaxed: only who is first matters, the letter itself does the ordering. */
    if (!atomic_exchange_explicit(&loop->stop_wanted, true, memory_order_relaxed)) {
        gv_loop_send(loop, &loop->stop_letter);
    }
}

static bool is_own_handle(const gv_loop_t *loop, const uv_handle_t *handle)
{
    const void *own[] = {&loop->prepare, &loop->check, &loop->busy, &loop->alarm,
                         &loop->mailbox._bell};
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
        if (own[i] == handle) {
            return true;
        }
    }
    return false;
}

static void close_guest(uv_handle_t *handle, void *arg)
{
    gv_loop_t *loop = arg;
    gv_loop_assert_current(loop);
    if (is_own_handle(loop, handle) || uv_is_closing(handle)) {
        return;
    }
    if (handle->type == UV_POLL && handle->data == loop) {
        gv__stream_stop(gv_container_of(handle, gv_stream_t, _poll));
    } else {
        uv_close(handle, NULL);
    }
}

/* Ends all that hangs on the loop and runs it until the last of it has been told. */
static GV_LOOP_ONLY void close_guests(gv_loop_t *loop)
{
    gv__listeners_stop(loop);
    gv__connectings_stop(loop);
    uv_walk(&loop->uv, close_guest, loop);
    /* Without the bell none of our own handles keeps the loop alive: it runs as long as guests. */
    uv_unref((uv_handle_t *)&loop->mailbox._bell);
    (void)uv_run(&loop->uv, UV_RUN_DEFAULT);
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
    (void)uv_run(&loop->uv, UV_RUN_DEFAULT);
    GV_ASSERT(gv_loop_is_stopping(loop));
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
    gv_list_init(&loop->dirty);
    gv_list_init(&loop->due);
    gv_list_init(&loop->lingering);
    gv_list_init(&loop->listeners);
    gv_list_init(&loop->connectings);
}

/* These cannot fail: no descriptor and no memory is involved. */
static void init_handles(gv_loop_t *loop)
{
    (void)uv_prepare_init(&loop->uv, &loop->prepare);
    (void)uv_check_init(&loop->uv, &loop->check);
    (void)uv_idle_init(&loop->uv, &loop->busy);
    (void)uv_timer_init(&loop->uv, &loop->alarm);
    loop->prepare.data = loop;
    loop->check.data = loop;
    loop->busy.data = loop;
    loop->alarm.data = loop;
    /* The bell alone keeps the loop running (see close_guests). */
    uv_unref((uv_handle_t *)&loop->prepare);
    uv_unref((uv_handle_t *)&loop->check);
    uv_unref((uv_handle_t *)&loop->busy);
    uv_unref((uv_handle_t *)&loop->alarm);
    (void)uv_prepare_start(&loop->prepare, on_prepare);
    (void)uv_check_start(&loop->check, on_check);
}

gv_err_t gv_loop_new(const gv_loop_options_t *options, gv_loop_t **loop_out)
{
    static const gv_loop_options_t defaults = {.name = "loop"};
    GV_ASSERT(loop_out != NULL);
    *loop_out = NULL;
    const gv_loop_options_t *wanted = options != NULL ? options : &defaults;

    gv_loop_t *loop = GV_NEW(gv_loop_t);
    if (uv_loop_init(&loop->uv) != 0) {
        gv_free(loop);
        return GV_ERR_IO;
    }
    if (gv_mailbox_open(&loop->mailbox, &loop->uv) != GV_OK) {
        (void)uv_loop_close(&loop->uv);
        gv_free(loop);
        return GV_ERR_IO;
    }
    init_handles(loop);
    init_lists(loop);
    gv_timerwheel_new(uv_now(&loop->uv), &loop->wheel);
    gv_timer_init(&loop->linger_timer, gv__stream_on_linger_timer);
    gv_chunkpool_init(&loop->chunks);
    loop->alarm_at_ms = UINT64_MAX;
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
    gv_mailbox_close(&loop->mailbox, NULL);
    uv_close((uv_handle_t *)&loop->prepare, NULL);
    uv_close((uv_handle_t *)&loop->check, NULL);
    uv_close((uv_handle_t *)&loop->busy, NULL);
    uv_close((uv_handle_t *)&loop->alarm, NULL);
    (void)uv_run(&loop->uv, UV_RUN_DEFAULT);
    leave();
    int rc = uv_loop_close(&loop->uv);
    GV_ASSERT(rc == 0);
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
