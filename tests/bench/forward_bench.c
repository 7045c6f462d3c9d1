/* SPDX-License-Identifier: Apache-2.0 */

/*
 * How fast one node forwards to another: two clusters on two loops, over loopback, without the
 * broker on top.  The receiver answers each QoS 1 message at the end of its turn.
 *
 *     forward_bench [SECONDS]
 *
 * `window`: messages under way.  `cpu`: of both nodes together, per message.  `round trip`: mean
 * time from publish to confirmed, by Little's law.
 */

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <sys/resource.h>

#include "base/alloc.h"
#include "base/io/loop.h"
#include "base/io/os.h"
#include "base/log.h"
#include "cluster/cluster.h"

enum {
    UNAPPLIED_MAX = 65536
};

typedef struct row {
    uint8_t qos;
    size_t payload_bytes;
    uint32_t window;
} row_t;

static const row_t rows[] = {
    {0, 64, 1000}, {1, 64, 1}, {1, 64, 100}, {1, 64, 5000}, {1, 1024, 1000}, {1, 65536, 64},
};

typedef struct node {
    gv_loop_t *loop;
    gv_cluster_t *cluster;
    gv_job_t job; /* sender: publish; receiver: answer */
    const row_t *row;
    const uint8_t *payload;
    atomic_uint_least64_t published;
    atomic_uint_least64_t done;
    atomic_bool running;
    gv_delivery_t *unapplied;
    size_t unapplied_count;
} node_t;

static node_t sender;
static node_t receiver;

static void ignore_row(gv_node_index_t node, gv_bytes_t key, uint32_t value, void *arg)
{
    (void)node, (void)key, (void)value, (void)arg;
}

static void ignore_node(gv_node_index_t node, gv_node_event_t event, void *arg)
{
    (void)node, (void)event, (void)arg;
}

static bool ignore_overdue(uint64_t *token, gv_node_index_t node, const gv_forward_t *msg,
                           void *arg)
{
    (void)token, (void)node, (void)msg, (void)arg;
    return true;
}

static void ignore_note(gv_node_index_t node, gv_frame_kind_t kind, gv_bytes_t body, void *arg)
{
    (void)node, (void)kind, (void)body, (void)arg;
}

static void ignore_claimed(const gv_claim_t *claim, gv_claim_verdict_t verdict, void *arg)
{
    (void)claim, (void)verdict, (void)arg;
}

static void ignore_let_go(const gv_letting_t *letting, void *arg)
{
    (void)letting, (void)arg;
}

static void ignore_barrier(uint64_t token, bool in_time, void *arg)
{
    (void)token, (void)in_time, (void)arg;
}

static void ignore_start_counter(uint64_t start_counter, void *arg)
{
    (void)start_counter, (void)arg;
}

static void on_deliver(const gv_delivery_t *delivery, const gv_forward_t *msg, void *arg)
{
    node_t *node = arg;
    gv_loop_assert_current(node->loop);
    (void)msg;
    if (delivery->seq == 0) {
        atomic_fetch_add_explicit(&sender.done, 1, memory_order_relaxed);
        return;
    }
    GV_ASSERT(node->unapplied_count < UNAPPLIED_MAX);
    node->unapplied[node->unapplied_count++] = *delivery;
    gv_loop_defer(node->loop, &node->job);
}

static void answer(gv_job_t *job)
{
    node_t *node = gv_container_of(job, node_t, job);
    gv_loop_assert_current(node->loop);
    for (size_t i = 0; i < node->unapplied_count; i++) {
        gv_cluster_applied(node->cluster, node->unapplied[i], NULL);
    }
    node->unapplied_count = 0;
}

static void on_confirmed(uint64_t token, gv_node_index_t index, gv_forward_result_t result,
                         const gv_forward_t *lost, void *arg)
{
    (void)token, (void)index, (void)lost, (void)arg;
    GV_ASSERT(result == GV_FORWARD_APPLIED);
    atomic_fetch_add_explicit(&sender.done, 1, memory_order_relaxed);
}

/* Once per turn: fills the window. */
static void publish(gv_job_t *job)
{
    node_t *node = gv_container_of(job, node_t, job);
    gv_loop_assert_current(node->loop);
    const row_t *row = node->row;
    uint64_t done = atomic_load_explicit(&node->done, memory_order_relaxed);
    if (!atomic_load_explicit(&node->running, memory_order_relaxed)) {
        return;
    }
    gv_forward_t forward = {
        .topic = GV_BYTES_LITERAL("cellar/temperature"),
        .payload = gv_bytes(node->payload, row->payload_bytes),
        .publisher = GV_BYTES_LITERAL("client"),
        .expiry_ms = GV_FORWARD_NO_EXPIRY,
        .qos = row->qos,
    };
    uint64_t nodes = gv_cluster_routable(node->cluster);
    uint64_t published = atomic_load_explicit(&node->published, memory_order_relaxed);
    while (published - done < row->window) {
        gv_cluster_publish(node->cluster, &forward, nodes, ++published);
    }
    atomic_store_explicit(&node->published, published, memory_order_relaxed);
    gv_loop_defer(node->loop, &node->job);
}

typedef struct start {
    gv_letter_t letter;
    node_t *node;
    atomic_bool done;
} start_t;

static void start_cluster(gv_letter_t *letter)
{
    start_t *start = gv_container_of(letter, start_t, letter);
    gv_loop_assert_current(start->node->loop);
    gv_error_text_t error;
    gv_err_t err = gv_cluster_start(start->node->cluster, &error);
    GV_ASSERT(err == GV_OK);
    atomic_store(&start->done, true);
}

static void begin_publishing(gv_letter_t *letter)
{
    start_t *start = gv_container_of(letter, start_t, letter);
    gv_loop_assert_current(start->node->loop);
    gv_loop_defer(start->node->loop, &start->node->job);
    atomic_store(&start->done, true);
}

static void sleep_ms(uint32_t ms)
{
    struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    (void)nanosleep(&pause, NULL);
}

static void on_loop(node_t *node, gv_letter_cb_t *deliver)
{
    start_t start = {.letter = {.deliver = deliver}, .node = node};
    gv_loop_send(node->loop, &start.letter);
    while (!atomic_load(&start.done)) {
        sleep_ms(1);
    }
}

static void start_node(node_t *node, uint8_t number, const char *seed, gv_job_cb_t *run)
{
    gv_err_t err = gv_loop_new(NULL, &node->loop);
    GV_ASSERT(err == GV_OK);
    gv_cluster_options_t options;
    gv_cluster_options_init(&options);
    options.loop = node->loop;
    memset(options.node_id.bytes, number, GV_NODE_ID_SIZE);
    options.incarnation = (gv_incarnation_t){.start_counter = 1, .boot_id = number};
    options.node_name = number == 1 ? "receiver" : "sender";
    options.cluster_name = "bench";
    options.listen = "127.0.0.1:0";
    options.seeds = &seed;
    options.seed_count = seed != NULL ? 1 : 0;
    options.is_insecure = true;
    options.ops = (gv_cluster_ops_t){
        .row = ignore_row,
        .node = ignore_node,
        .deliver = on_deliver,
        .confirmed = on_confirmed,
        .overdue = ignore_overdue,
        .note = ignore_note,
        .claimed = ignore_claimed,
        .let_go = ignore_let_go,
        .barrier = ignore_barrier,
        .start_counter = ignore_start_counter,
    };
    options.arg = node;
    node->job.run = run;
    gv_error_text_t error;
    err = gv_cluster_new(&options, &node->cluster, &error);
    GV_ASSERT(err == GV_OK);
    err = gv_loop_start(node->loop);
    GV_ASSERT(err == GV_OK);
    on_loop(node, start_cluster);
}

static uint64_t cpu_us(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
           (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static void run_row(const row_t *row, uint32_t seconds)
{
    sender.row = row;
    atomic_store(&sender.running, true);
    on_loop(&sender, begin_publishing);
    sleep_ms(300);
    uint64_t cpu_before = cpu_us();
    uint64_t done_before = atomic_load(&sender.done);
    sleep_ms(seconds * 1000);
    double done = (double)(atomic_load(&sender.done) - done_before);
    double cpu = (double)(cpu_us() - cpu_before);
    atomic_store(&sender.running, false);
    (void)printf("%3u %9zu %7" PRIu32 " %12.0f %10.2f %12.1f\n", row->qos, row->payload_bytes,
                 row->window, done / seconds, done > 0 ? cpu / done : 0,
                 row->qos > 0 && done > 0 ? row->window * seconds * 1e6 / done : 0);
    while (row->qos > 0 && atomic_load(&sender.done) < atomic_load(&sender.published)) {
        sleep_ms(1);
    }
    sleep_ms(200); /* what is still on its way */
    atomic_store(&sender.done, atomic_load(&sender.published));
}

int main(int argc, char **argv)
{
    uint32_t seconds = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 2;
    gv_os_ignore_sigpipe();
    gv_log_configure(GV_LOG_WARN, NULL, NULL, NULL);
    uint8_t *payload = gv_xcalloc(1, 65536);
    sender.payload = payload;
    receiver.unapplied = gv_xcalloc(UNAPPLIED_MAX, sizeof(receiver.unapplied[0]));
    start_node(&receiver, 1, NULL, answer);
    start_node(&sender, 2, gv_cluster_address(receiver.cluster), publish);
    sleep_ms(1000);
    (void)printf("qos   payload  window   messages/s     cpu us   round trip us\n");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        run_row(&rows[i], seconds);
    }
    node_t *nodes[] = {&sender, &receiver};
    for (size_t i = 0; i < 2; i++) {
        gv_loop_stop(nodes[i]->loop);
        gv_loop_join(nodes[i]->loop);
        gv_cluster_free(&nodes[i]->cluster);
        gv_loop_free(&nodes[i]->loop);
    }
    gv_free(receiver.unapplied);
    gv_free(payload);
    return EXIT_SUCCESS;
}
