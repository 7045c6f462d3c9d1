/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What moving bytes costs: a connection over loopback TCP on which one loop appends small messages,
 * a batch per turn, and another loop reads them.
 *
 *     stream_bench [message size] [messages per turn] [seconds]
 *
 * Prints messages per second and the CPU time per message of each side.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "base/io/loop.h"
#include "base/io/os.h"
#include "base/io/stream.h"

/* Stop appending above this, as a broker does. */
#define WAITING_MAX ((size_t)262144)

typedef struct side {
    gv_loop_t *loop;
    gv_stream_t stream;
    gv_socket_t socket;
    gv_letter_t start;
    gv_job_t job;
    gv_timer_t finish;
    uint64_t bytes;
    uint64_t cpu_ns;
} side_t;

static size_t message_size = 100;
static uint32_t batch = 64;
static uint64_t span_ms = 2000;
static uint8_t message[GV_CHUNK_LARGE];
static side_t sender;
static side_t receiver;

static uint64_t thread_cpu_ns(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000000U + (uint64_t)ts.tv_nsec;
}

static void on_batch(gv_job_t *job)
{
    side_t *side = gv_container_of(job, side_t, job);
    gv_loop_assert_current(side->loop);
    if (gv_outbuf_size(&side->stream.out) > WAITING_MAX) {
        return; /* on_drained() goes on */
    }
    gv_chunkpool_t *pool = gv_loop_chunkpool(side->loop);
    for (uint32_t i = 0; i < batch; i++) {
        gv_outbuf_append(&side->stream.out, pool, gv_bytes(message, message_size));
    }
    gv_stream_dirty(&side->stream);
    gv_loop_defer(side->loop, job);
}

static void on_drained(gv_stream_t *stream)
{
    side_t *side = gv_container_of(stream, side_t, stream);
    gv_loop_assert_current(side->loop);
    gv_loop_defer(side->loop, &side->job);
}

static size_t on_input(gv_stream_t *stream, gv_bytes_t bytes)
{
    side_t *side = gv_container_of(stream, side_t, stream);
    size_t used = bytes.size - bytes.size % message_size;
    side->bytes += used;
    return used;
}

static void on_closed(gv_stream_t *stream, gv_err_t why)
{
    side_t *side = gv_container_of(stream, side_t, stream);
    (void)why;
    side->cpu_ns = thread_cpu_ns();
    gv_loop_stop(side->loop);
}

static const gv_stream_ops_t ops = {
    .on_input = on_input, .on_drained = on_drained, .on_closed = on_closed};

static void on_finish(gv_timer_t *timer)
{
    side_t *side = gv_container_of(timer, side_t, finish);
    gv_loop_assert_current(side->loop);
    gv_job_cancel(&side->job);
    gv_stream_close(&side->stream, GV_CLOSE_ABORT);
}

static void on_start(gv_letter_t *letter)
{
    side_t *side = gv_container_of(letter, side_t, start);
    gv_loop_assert_current(side->loop);
    gv_err_t err = gv_stream_open(&side->stream, side->loop, &ops,
                                  &(gv_stream_options_t){.drain_mark = WAITING_MAX}, &side->socket);
    GV_ASSERT(err == GV_OK);
    if (side == &sender) {
        side->job.run = on_batch;
        gv_loop_defer(side->loop, &side->job);
        gv_timer_init(&side->finish, on_finish);
        gv_loop_timer_start(side->loop, &side->finish, span_ms);
    }
}

static void connect_both(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int listening = socket(AF_INET, SOCK_STREAM, 0);
    int from = socket(AF_INET, SOCK_STREAM, 0);
    bool is_ready = bind(listening, (struct sockaddr *)&address, size) == 0 &&
                    listen(listening, 1) == 0 &&
                    getsockname(listening, (struct sockaddr *)&address, &size) == 0 &&
                    connect(from, (struct sockaddr *)&address, size) == 0;
    GV_ASSERT(is_ready);
    int on = 1;
    (void)setsockopt(from, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    sender.socket = gv_socket_init(from);
    receiver.socket = gv_socket_init(accept(listening, NULL, NULL));
}

static void report(const char *name, const side_t *side, uint64_t messages)
{
    const gv_loop_stats_t *stats = gv_loop_stats(side->loop);
    uint64_t calls = gv_counter_get(&stats->reads) + gv_counter_get(&stats->writes);
    printf("%-8s  %6.1f ns CPU per message, %.3f reads+writes per message, %" PRIu64 " turns\n",
           name, (double)side->cpu_ns / (double)messages, (double)calls / (double)messages,
           gv_counter_get(&stats->turns));
}

int main(int argc, char **argv)
{
    message_size = argc > 1 ? strtoul(argv[1], NULL, 10) : message_size;
    batch = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : batch;
    span_ms = argc > 3 ? strtoul(argv[3], NULL, 10) * 1000 : span_ms;
    if (message_size == 0 || message_size > sizeof(message) || batch == 0) {
        (void)fprintf(stderr, "usage: stream_bench [message size] [messages per turn] [seconds]\n");
        return EXIT_FAILURE;
    }
    connect_both();
    side_t *sides[] = {&sender, &receiver};
    for (int i = 0; i < 2; i++) {
        gv_loop_options_t options = {.name = i == 0 ? "sender" : "receiver"};
        bool is_made = gv_loop_new(&options, &sides[i]->loop) == GV_OK &&
                       gv_loop_start(sides[i]->loop) == GV_OK;
        GV_ASSERT(is_made);
        sides[i]->start.deliver = on_start;
        gv_loop_send(sides[i]->loop, &sides[i]->start);
    }
    gv_loop_join(sender.loop);
    gv_loop_join(receiver.loop);
    uint64_t messages = receiver.bytes / message_size;
    printf("%zu bytes, %u per turn: %.2f M messages/s, %.1f MB/s\n", message_size, batch,
           (double)messages / (double)span_ms / 1000,
           (double)receiver.bytes / (double)span_ms / 1000);
    report("sender", &sender, messages);
    report("receiver", &receiver, messages);
    gv_loop_free(&sender.loop);
    gv_loop_free(&receiver.loop);
    return EXIT_SUCCESS;
}
