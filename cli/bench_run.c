/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/bench_run.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <netdb.h>

#include "base/alloc.h"
#include "base/hostport.h"
#include "base/io/os.h"

/*
 * A map of this file: where to connect to - samples - waiting and progress - the phases - the run.
 */

/* Nothing has happened for this long: connecting and subscribing are over [ns]. */
#define PATIENCE_NS ((uint64_t)10 * 1000000000U)

#define SECOND_NS ((uint64_t)1000000000U)

/* For the broker to come to rest before its memory is read [ns]. */
#define SETTLE_NS ((uint64_t)300 * 1000000U)

typedef struct run {
    const gv_bench_options_t *options;
    gv_bench_result_t *result;
    gv_bench_plan_t plan;
    gv_bench_shared_t shared;
    gv_address_t *addresses[2];
    gv_bench_worker_t *workers[64];
    uint64_t progress_ns; /* when the last progress line was due */
    gv_bench_counts_t progress;
} run_t;

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

static uint64_t now_ns(void)
{
    return gv_clock_monotonic_ns(gv_os_clock());
}

/* ---- where to connect to ------------------------------------------------------------------ */

static gv_err_t resolve(const char *text, gv_address_t *out, gv_bench_result_t *result)
{
    gv_hostport_t hostport;
    gv_err_t err = gv_hostport_parse(gv_bytes_text(text), 1883, &hostport);
    GV_ASSERT(err == GV_OK); /* the options have been checked */
    char port[8];
    (void)snprintf(port, sizeof(port), "%u", (unsigned)hostport.port);
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int rc = getaddrinfo(hostport.host, port, &hints, &found);
    if (rc != 0 || found == NULL) {
        (void)snprintf(result->problem, sizeof(result->problem), "'%.100s': %s", hostport.host,
                       gai_strerror(rc));
        return GV_ERR_INVAL;
    }
    memcpy(&out->storage, found->ai_addr, found->ai_addrlen);
    out->size = found->ai_addrlen;
    freeaddrinfo(found);
    return GV_OK;
}

static gv_err_t resolve_all(run_t *run)
{
    for (int role = 0; role < 2; role++) {
        const gv_bench_targets_t *targets = &run->options->targets[role];
        run->addresses[role] = gv_xcalloc(targets->count, sizeof(gv_address_t));
        run->shared.addresses[role] = run->addresses[role];
        for (size_t i = 0; i < targets->count; i++) {
            gv_err_t err = resolve(targets->address[i], &run->addresses[role][i], run->result);
            if (err != GV_OK) {
                return err;
            }
        }
    }
    return GV_OK;
}

/* ---- samples ------------------------------------------------------------------------------ */

static gv_bench_counts_t read_counts(const run_t *run)
{
    gv_bench_counts_t sum = {.connected = 0};
    for (uint32_t i = 0; i < run->shared.workers; i++) {
        const gv_bench_counters_t *counters = gv_bench_worker_counters(run->workers[i]);
#define X(name) sum.name += gv_counter_get(&counters->name);
        GV_BENCH_COUNTERS(X)
#undef X
    }
    return sum;
}

static uint64_t own_cpu_ns(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * SECOND_NS + (uint64_t)ts.tv_nsec;
}

static void take_sample(run_t *run, gv_bench_moment_t moment)
{
    gv_bench_sample_t *sample = &run->result->samples[moment];
    sample->broker = (gv_bench_usage_t){.cpu_ns = 0};
    for (size_t i = 0; i < run->options->pid_count; i++) {
        gv_bench_usage_t usage;
        if (gv_bench_usage_read(run->options->pids[i], &usage) != GV_OK) {
            (void)snprintf(run->result->problem, sizeof(run->result->problem),
                           "there is no process %" PRIu32, run->options->pids[i]);
        }
        sample->broker.cpu_ns += usage.cpu_ns;
        sample->broker.rss_bytes += usage.rss_bytes;
        sample->broker.threads += usage.threads;
    }
    sample->own_cpu_ns = own_cpu_ns();
    sample->counts = read_counts(run);
    sample->at_ns = now_ns();
}

uint64_t gv_bench_missing(const gv_bench_counts_t *counts, uint32_t copies)
{
    /* What the broker refused was not lost on the way. */
    uint64_t expected = (counts->sent - counts->refused) * copies;
    uint64_t arrived = counts->received - counts->duplicates;
    return expected > arrived ? expected - arrived : 0;
}

/* ---- waiting and progress ----------------------------------------------------------------- */

static void show_progress(run_t *run, const char *phase)
{
    gv_bench_counts_t counts = read_counts(run);
    if (!run->options->is_quiet) {
        (void)fprintf(stderr,
                      "%-9s connected %" PRIu64 "  subscriptions %" PRIu64 "  sent %" PRIu64
                      "/s  received %" PRIu64 "/s  missing %" PRIu64 "\n",
                      phase, counts.connected - counts.disconnected, counts.filters,
                      counts.sent - run->progress.sent, counts.received - run->progress.received,
                      gv_bench_missing(&counts, gv_bench_plan_copies(&run->plan)));
    }
    run->progress = counts;
}

/* Sleeps a little.  False when the user wants it to end. */
static bool wait_a_little(run_t *run, const char *phase, uint64_t pause_ns)
{
    const struct timespec pause = {.tv_sec = 0, .tv_nsec = (long)pause_ns};
    (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
    if (now_ns() - run->progress_ns >= SECOND_NS) {
        run->progress_ns += SECOND_NS;
        show_progress(run, phase);
    }
    return interrupted == 0;
}

static void wait_for(run_t *run, const char *phase, uint64_t span_ns)
{
    uint64_t until_ns = now_ns() + span_ns;
    for (uint64_t now = now_ns(); now < until_ns; now = now_ns()) {
        uint64_t left_ns = until_ns - now;
        if (!wait_a_little(run, phase, left_ns < 20000000 ? left_ns : 20000000)) {
            return;
        }
    }
}

static void tell_all(run_t *run, gv_bench_order_t order)
{
    for (uint32_t i = 0; i < run->shared.workers; i++) {
        gv_bench_worker_tell(run->workers[i], order);
    }
}

/* ---- the phases --------------------------------------------------------------------------- */

static uint64_t settled_connections(const gv_bench_counts_t *counts)
{
    return counts->connected + counts->connect_failed;
}

/* Until everybody is connected and has his subscriptions, or nothing happens any more. */
static void connect_all(run_t *run)
{
    gv_bench_result_t *result = run->result;
    uint64_t done = 0;
    uint64_t done_ns = now_ns();
    tell_all(run, GV_BENCH_CONNECT);
    do {
        gv_bench_counts_t counts = read_counts(run);
        uint64_t connections = settled_connections(&counts);
        uint64_t filters = counts.filters + counts.filters_refused;
        if (connections + filters > done) {
            done = connections + filters;
            done_ns = now_ns();
        }
        if (connections == result->wanted && result->connected_ns == 0) {
            result->connected_ns = now_ns() - result->samples[GV_BENCH_AT_START].at_ns;
        }
        bool is_hopeless = counts.connect_failed + counts.disconnected > 0;
        if (connections == result->wanted && (filters == result->filters || is_hopeless)) {
            return;
        }
    } while (wait_a_little(run, "connect", 1000000) && now_ns() - done_ns < PATIENCE_NS);
    (void)snprintf(result->problem, sizeof(result->problem),
                   "not everybody could connect and subscribe");
}

static void measure(run_t *run)
{
    const gv_bench_options_t *options = run->options;
    bool has_messages = gv_bench_has_messages(options);
    if (has_messages) {
        tell_all(run, GV_BENCH_PUBLISH);
        wait_for(run, "warm-up", options->warmup_s * SECOND_NS);
    }
    tell_all(run, GV_BENCH_MEASURE);
    take_sample(run, GV_BENCH_AT_FROM);
    wait_for(run, has_messages ? "measure" : "hold", options->duration_s * SECOND_NS);
    take_sample(run, GV_BENCH_AT_TO);
}

/* Until everything has arrived, or nothing does any more. */
static void drain(run_t *run)
{
    uint32_t copies = gv_bench_plan_copies(&run->plan);
    uint64_t done = 0;
    uint64_t done_ns = now_ns();
    tell_all(run, GV_BENCH_STOP);
    /* The workers have heard of it when nothing is sent any more. */
    gv_bench_counts_t counts;
    do {
        counts = read_counts(run);
        if (counts.received + counts.acked + counts.sent > done) {
            done = counts.received + counts.acked + counts.sent;
            done_ns = now_ns();
        }
        bool is_acked = run->options->qos == 0 || counts.acked + counts.refused >= counts.sent;
        if (gv_bench_missing(&counts, copies) == 0 && is_acked) {
            break;
        }
    } while (wait_a_little(run, "drain", 2000000) &&
             now_ns() - done_ns < run->options->drain_s * SECOND_NS);
    /* One more look: a worker may have sent a last burst before it heard of the end. */
    wait_for(run, "drain", SETTLE_NS / 3);
    counts = read_counts(run);
    run->result->lost = gv_bench_missing(&counts, copies);
}

static void run_phases(run_t *run)
{
    gv_bench_result_t *result = run->result;
    take_sample(run, GV_BENCH_AT_START);
    run->progress_ns = result->samples[GV_BENCH_AT_START].at_ns;
    connect_all(run);
    take_sample(run, GV_BENCH_AT_READY);
    gv_bench_counts_t counts = result->samples[GV_BENCH_AT_READY].counts;
    /* The time of the last SUBACK counts; memory and the rest are read when it is quiet. */
    uint64_t ready_ns = result->samples[GV_BENCH_AT_READY].at_ns;
    wait_for(run, "settle", SETTLE_NS);
    take_sample(run, GV_BENCH_AT_READY);
    result->samples[GV_BENCH_AT_READY].at_ns = ready_ns;
    bool is_complete = counts.connected == result->wanted && counts.filters == result->filters;
    if (gv_bench_has_messages(run->options) && !is_complete) {
        interrupted = 1; /* numbers of half a run would be misleading */
    }
    measure(run);
    if (gv_bench_has_messages(run->options)) {
        drain(run);
    }
    take_sample(run, GV_BENCH_AT_END);
}

/* ---- the run ------------------------------------------------------------------------------ */

static gv_err_t start_workers(run_t *run)
{
    uint32_t count = run->options->threads;
    run->shared.workers = count < run->result->wanted ? count : (uint32_t)run->result->wanted;
    for (uint32_t i = 0; i < run->shared.workers; i++) {
        gv_err_t err = gv_bench_worker_new(&run->shared, i, &run->workers[i]);
        if (err != GV_OK) {
            (void)snprintf(run->result->problem, sizeof(run->result->problem),
                           "the system gives no event loop");
            run->shared.workers = i;
            return GV_ERR_INVAL;
        }
    }
    return GV_OK;
}

static void end_workers(run_t *run)
{
    for (uint32_t i = 0; i < run->shared.workers; i++) {
        gv_bench_worker_t *worker = run->workers[i];
        gv_bench_worker_join(worker);
        const gv_bench_histograms_t *seen = gv_bench_worker_histograms(worker);
        gv_bench_histograms_t *all = &run->result->histograms;
        gv_bench_histogram_merge(&all->connect, &seen->connect);
        gv_bench_histogram_merge(&all->latency, &seen->latency);
        gv_bench_histogram_merge(&all->ack, &seen->ack);
        gv_bench_histogram_merge(&all->lag, &seen->lag);
        if (run->result->problem[0] == '\0') {
            (void)snprintf(run->result->problem, sizeof(run->result->problem), "%s",
                           gv_bench_worker_problem(worker));
        }
        gv_bench_worker_free(&run->workers[i]);
    }
}

static gv_err_t check_limits(run_t *run)
{
    uint64_t needed = run->result->wanted + 32 + 8 * (uint64_t)run->options->threads;
    uint64_t limit = gv_os_raise_fd_limit(needed);
    if (limit >= needed) {
        return GV_OK;
    }
    (void)snprintf(run->result->problem, sizeof(run->result->problem),
                   "%" PRIu64 " connections need %" PRIu64 " descriptors, the limit is %" PRIu64,
                   run->result->wanted, needed, limit);
    return GV_ERR_INVAL;
}

gv_err_t gv_bench_run(const gv_bench_options_t *options, gv_bench_result_t *result)
{
    memset(result, 0, sizeof(*result));
    run_t run = {.options = options, .result = result, .plan = {.options = options}};
    uint64_t word;
    gv_os_random(&word, sizeof(word));
    (void)snprintf(run.plan.run, sizeof(run.plan.run), "%08" PRIx32, (uint32_t)word);
    run.shared.plan = &run.plan;
    result->wanted = (uint64_t)options->publishers + options->subscribers;
    result->filters = gv_bench_plan_filter_count(&run.plan);
    if (options->qos == 0 && options->window > 0 && options->publishers > 0) {
        run.shared.delivered = gv_xcalloc(options->publishers, sizeof(*run.shared.delivered));
    }
    /* The second signal ends the process. */
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    interrupted = 0;

    gv_err_t err = resolve_all(&run);
    err = err == GV_OK ? check_limits(&run) : err;
    err = err == GV_OK ? start_workers(&run) : err;
    if (err == GV_OK) {
        run_phases(&run);
    } else {
        tell_all(&run, GV_BENCH_CONNECT); /* those that have started; for FINISH below */
    }
    tell_all(&run, GV_BENCH_FINISH);
    end_workers(&run);
    result->is_interrupted = interrupted != 0;
    gv_free(run.addresses[0]);
    gv_free(run.addresses[1]);
    gv_free(run.shared.delivered);
    return err;
}
