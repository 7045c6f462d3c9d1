/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/bench_worker.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <sys/timerfd.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/io/os.h"
#include "cli/bench_client_p.h"

/*
 * A map of this file: time - the schedule of a rate - at the end of each turn and once per second -
 * orders - a worker's life.
 */

/* With a rate, messages due within this time are sent together [ns]. */
#define TICK_NS 50000U

/* How often to look what other workers have received (QoS 0 with a window) [ns]. */
#define LOOK_NS 500000U

/* ---- time --------------------------------------------------------------------------------- */

uint64_t gv__bench_now_ns(void)
{
    return gv_clock_monotonic_ns(gv_os_clock());
}

static GV_LOOP_ONLY void set_clock(gv_bench_worker_t *worker, uint64_t at_ns, uint64_t every_ns)
{
    struct itimerspec spec = {.it_value = {.tv_sec = (time_t)(at_ns / 1000000000U),
                                           .tv_nsec = (long)(at_ns % 1000000000U)},
                              .it_interval = {.tv_sec = 0, .tv_nsec = (long)every_ns}};
    int rc = timerfd_settime(worker->clock_fd, TFD_TIMER_ABSTIME, &spec, NULL);
    GV_ASSERT(rc == 0);
}

/* ---- the schedule of a rate --------------------------------------------------------------- */

static uint64_t due_ns(const gv_bench_worker_t *worker, uint64_t message)
{
    return worker->start_ns + (uint64_t)((double)message * worker->interval_ns);
}

/* Publishers take turns. */
static GV_LOOP_ONLY void send_what_is_due(gv_bench_worker_t *worker)
{
    uint64_t now_ns = gv__bench_now_ns();
    while (due_ns(worker, worker->scheduled) <= now_ns) {
        gv_bench_client_t *client = worker->publishers[worker->scheduled % worker->publisher_count];
        client->publisher->due++;
        worker->scheduled++;
        gv__bench_client_top_up(client, now_ns);
    }
    uint64_t next_ns = due_ns(worker, worker->scheduled);
    set_clock(worker, next_ns > now_ns + TICK_NS ? next_ns : now_ns + TICK_NS, 0);
}

static GV_LOOP_ONLY void top_up_all(gv_bench_worker_t *worker)
{
    uint64_t now_ns = gv__bench_now_ns();
    for (uint32_t i = 0; i < worker->publisher_count; i++) {
        gv__bench_client_top_up(worker->publishers[i], now_ns);
    }
}

static void on_clock(uv_poll_t *clock, int status, int events)
{
    gv_bench_worker_t *worker = clock->data;
    gv_loop_assert_current(worker->loop);
    (void)status;
    (void)events;
    uint64_t expirations;
    if (read(worker->clock_fd, &expirations, sizeof(expirations)) < 0 || !worker->is_publishing) {
        return;
    }
    if (worker->interval_ns > 0) {
        send_what_is_due(worker);
    }
    /* What a QoS 0 window lets through is seen at the turn's end, which follows. */
}

/* ---- at the end of each turn and once per second ------------------------------------------ */

static GV_LOOP_ONLY void stop_when_all_are_closed(gv_bench_worker_t *worker)
{
    if (worker->is_finishing && worker->open == 0 && !worker->is_stopped) {
        worker->is_stopped = true;
        gv_timer_stop(&worker->second);
        uv_close((uv_handle_t *)&worker->clock, NULL);
        gv_loop_stop(worker->loop);
    }
}

static GV_LOOP_ONLY void connect_more(gv_bench_worker_t *worker)
{
    const gv_bench_options_t *options = worker->shared->plan->options;
    uint32_t limit = (options->concurrency + worker->shared->workers - 1) / worker->shared->workers;
    while (worker->opened < worker->client_count && worker->connecting < limit &&
           !worker->is_finishing) {
        worker->connecting++;
        worker->open++;
        gv__bench_client_open(&worker->clients[worker->opened++]);
    }
}

static void on_turn_end(gv_job_t *job)
{
    gv_bench_worker_t *worker = gv_container_of(job, gv_bench_worker_t, turn_end);
    gv_loop_assert_current(worker->loop);
    if (worker->is_publishing && worker->shared->delivered != NULL) {
        top_up_all(worker);
    }
    connect_more(worker);
    stop_when_all_are_closed(worker);
}

/*
 * QoS 0 with a window: what did not come in a second does not come any more, and must not keep
 * others waiting.
 */
static GV_LOOP_ONLY void forgive(gv_bench_worker_t *worker)
{
    uint64_t received = gv_counter_get(&worker->counters.received);
    bool is_stuck = worker->is_publishing && received == worker->progress;
    worker->progress = received;
    if (!is_stuck || worker->shared->delivered == NULL) {
        return;
    }
    uint32_t copies = gv_bench_plan_copies(worker->shared->plan);
    for (uint32_t i = 0; i < worker->publisher_count; i++) {
        gv_bench_publisher_t *publisher = worker->publishers[i]->publisher;
        uint32_t delivered = atomic_load_explicit(&worker->shared->delivered[publisher->number],
                                                  memory_order_relaxed);
        publisher->forgiven = publisher->next * copies - delivered;
    }
}

static void on_second(gv_timer_t *timer)
{
    gv_bench_worker_t *worker = gv_container_of(timer, gv_bench_worker_t, second);
    gv_loop_assert_current(worker->loop);
    worker->seconds++;
    forgive(worker);
    /* Pings are spread over half the keep alive, so that they come as a trickle. */
    uint32_t every_s = worker->shared->plan->options->keep_alive_s / 2U;
    for (uint32_t i = 0; every_s > 0 && i < worker->opened; i++) {
        if (i % every_s == worker->seconds % every_s) {
            gv__bench_client_ping(&worker->clients[i]);
        }
    }
    gv_loop_timer_start(worker->loop, &worker->second, 1000);
}

void gv__bench_worker_client_settled(gv_bench_worker_t *worker)
{
    GV_ASSERT(worker->connecting > 0);
    worker->connecting--;
}

void gv__bench_worker_client_closed(gv_bench_worker_t *worker)
{
    GV_ASSERT(worker->open > 0);
    worker->open--;
}

void gv__bench_worker_note(gv_bench_worker_t *worker, const char *format, ...)
{
    if (worker->problem[0] == '\0') {
        va_list arguments;
        va_start(arguments, format);
        (void)vsnprintf(worker->problem, sizeof(worker->problem), format, arguments);
        va_end(arguments);
    }
}

/* ---- orders ------------------------------------------------------------------------------- */

static GV_LOOP_ONLY void begin(gv_bench_worker_t *worker)
{
    int rc = uv_poll_init(gv_loop_uv(worker->loop), &worker->clock, worker->clock_fd);
    GV_ASSERT(rc == 0);
    worker->clock.data = worker;
    rc = uv_poll_start(&worker->clock, UV_READABLE, on_clock);
    GV_ASSERT(rc == 0);
    worker->turn_end.run = on_turn_end;
    gv_loop_on_turn_end(worker->loop, &worker->turn_end);
    gv_loop_timer_start(worker->loop, &worker->second, 1000);
}

static GV_LOOP_ONLY void begin_publishing(gv_bench_worker_t *worker)
{
    const gv_bench_options_t *options = worker->shared->plan->options;
    worker->is_publishing = true;
    if (worker->publisher_count == 0) {
        return;
    }
    worker->start_ns = gv__bench_now_ns();
    if (options->rate > 0) {
        /* This worker's share of the rate is its share of the publishers. */
        worker->interval_ns = 1e9 / options->rate * options->publishers / worker->publisher_count;
        send_what_is_due(worker);
        return;
    }
    if (worker->shared->delivered != NULL && worker->shared->workers > 1) {
        set_clock(worker, worker->start_ns + LOOK_NS, LOOK_NS);
    }
    top_up_all(worker);
}

static GV_LOOP_ONLY void finish(gv_bench_worker_t *worker)
{
    worker->is_publishing = false;
    worker->is_finishing = true;
    for (uint32_t i = 0; i < worker->opened; i++) {
        gv__bench_client_leave(&worker->clients[i]);
    }
}

static void on_order(gv_letter_t *letter)
{
    struct order *order = gv_container_of(letter, struct order, letter);
    gv_bench_worker_t *worker = order->worker;
    gv_loop_assert_current(worker->loop);
    switch ((gv_bench_order_t)(order - worker->orders)) {
    case GV_BENCH_CONNECT:
        begin(worker);
        break;
    case GV_BENCH_PUBLISH:
        begin_publishing(worker);
        break;
    case GV_BENCH_MEASURE:
        worker->measured_from_ns = gv__bench_now_ns();
        break;
    case GV_BENCH_STOP:
        worker->is_publishing = false;
        break;
    case GV_BENCH_FINISH:
        finish(worker);
        break;
    case GV_BENCH_ORDER_COUNT:
        break;
    }
}

void gv_bench_worker_tell(gv_bench_worker_t *worker, gv_bench_order_t order)
{
    GV_ASSERT(order < GV_BENCH_ORDER_COUNT);
    GV_ASSERT(worker->orders[order].worker == NULL);
    worker->orders[order].worker = worker;
    worker->orders[order].letter.deliver = on_order;
    gv_loop_send(worker->loop, &worker->orders[order].letter);
}

/* ---- a worker's life ---------------------------------------------------------------------- */

/* Every workers-th client, beginning with number `index`. */
static void make_clients(gv_bench_worker_t *worker, uint32_t index)
{
    const gv_bench_options_t *options = worker->shared->plan->options;
    uint32_t total = options->publishers + options->subscribers;
    uint32_t workers = worker->shared->workers;
    worker->client_count = (total - index + workers - 1) / workers;
    worker->clients = gv_xcalloc(worker->client_count, sizeof(*worker->clients));
    worker->publishers = gv_xcalloc(worker->client_count, sizeof(gv_bench_client_t *));
    for (uint32_t i = 0; i < worker->client_count; i++) {
        gv_bench_client_t *client = &worker->clients[i];
        gv__bench_client_init(client, worker, index + i * workers);
        if (client->publisher != NULL) {
            client->publisher->place = worker->publisher_count;
            worker->publishers[worker->publisher_count++] = client;
        }
    }
}

gv_err_t gv_bench_worker_new(const gv_bench_shared_t *shared, uint32_t index,
                             gv_bench_worker_t **worker_out)
{
    GV_ASSERT(index < shared->plan->options->publishers + shared->plan->options->subscribers);
    *worker_out = NULL;
    gv_bench_worker_t *worker = GV_NEW(gv_bench_worker_t);
    worker->shared = shared;
    worker->measured_from_ns = UINT64_MAX;
    gv_timer_init(&worker->second, on_second);
    make_clients(worker, index);
    worker->clock_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    const gv_loop_options_t options = {.name = "bench", .index = index};
    gv_err_t err = worker->clock_fd < 0 ? GV_ERR_IO : gv_loop_new(&options, &worker->loop);
    if (err == GV_OK) {
        err = gv_loop_start(worker->loop);
    }
    if (err != GV_OK) {
        gv_bench_worker_free(&worker);
        return err;
    }
    *worker_out = worker;
    return GV_OK;
}

void gv_bench_worker_join(gv_bench_worker_t *worker)
{
    gv_loop_join(worker->loop);
}

void gv_bench_worker_free(gv_bench_worker_t **workerp)
{
    gv_bench_worker_t *worker = *workerp;
    *workerp = NULL;
    if (worker->loop != NULL) {
        gv_loop_free(&worker->loop);
    }
    for (uint32_t i = 0; i < worker->client_count; i++) {
        gv__bench_client_deinit(&worker->clients[i]);
    }
    if (worker->clock_fd >= 0) {
        (void)close(worker->clock_fd);
    }
    gv_free(worker->clients);
    gv_free(worker->publishers);
    gv_free(worker->scratch);
    gv_free(worker);
}

const gv_bench_counters_t *gv_bench_worker_counters(const gv_bench_worker_t *worker)
{
    return &worker->counters;
}

const gv_bench_histograms_t *gv_bench_worker_histograms(const gv_bench_worker_t *worker)
{
    return &worker->histograms;
}

const char *gv_bench_worker_problem(const gv_bench_worker_t *worker)
{
    return worker->problem;
}
