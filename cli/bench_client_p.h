/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One connection of `grapevine bench`, and what it shares with the others of its worker.
 *
 *     CLOSED --open--> CONNECTING --CONNACK--> READY --close--> LEAVING --> CLOSED
 *
 * A subscriber subscribes as soon as it is READY; a publisher sends when it is allowed to
 * (gv__bench_client_top_up()): in a burst into the connection's buffer, which the loop writes with
 * one system call at the end of its turn.  The buffer's emptiness is what asks for the next burst.
 *
 * Threads: the worker's loop.
 */

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "base/io/loop.h"
#include "base/io/stream.h"
#include "cli/bench_message.h"
#include "cli/bench_tracker.h"
#include "cli/bench_worker.h"

/* A publisher's burst [bytes]. */
#define GV_BENCH_BURST_SIZE ((size_t)32768)

/* SUBSCRIBE packets that one connection has on the way. */
#define GV_BENCH_SUBSCRIBES_MAX 8

typedef struct gv_bench_publisher {
    uint32_t number;   /* in the plan */
    uint32_t place;    /* among the worker's publishers */
    uint32_t next;     /* number of the next message */
    uint32_t due;      /* with a rate: messages up to here, not including, may be sent */
    uint32_t forgiven; /* QoS 0 with a window: copies that will not come any more */
    gv_bench_message_t message;
    uint16_t *free_ids; /* QoS 1 and 2: packet ids nobody uses */
    uint32_t free_count;
    uint32_t window;
    uint64_t *sent_ns; /* by packet id - 1 */
} gv_bench_publisher_t;

typedef struct gv_bench_subscriber {
    uint32_t number;          /* in the plan */
    gv_bench_range_t filters; /* not asked for yet */
    uint32_t unanswered;      /* SUBSCRIBE packets */
    uint16_t packet_id;
    gv_bench_range_t sources;
    gv_bench_tracker_t *trackers; /* one for each source */
} gv_bench_subscriber_t;

typedef enum gv_bench_client_state {
    GV_BENCH_CLOSED,
    GV_BENCH_CONNECTING,
    GV_BENCH_READY,
    GV_BENCH_LEAVING,
} gv_bench_client_state_t;

typedef struct gv_bench_client {
    gv_stream_t stream;
    gv_bench_worker_t *worker;
    gv_bench_publisher_t *publisher;   /* NULL: it is a subscriber */
    gv_bench_subscriber_t *subscriber; /* NULL: it is a publisher */
    uint64_t began_ns;
    gv_bench_client_state_t state;
} gv_bench_client_t;

struct gv_bench_worker {
    const gv_bench_shared_t *shared;
    gv_loop_t *loop;
    gv_bench_counters_t counters;
    gv_bench_histograms_t histograms;
    char problem[192];

    gv_bench_client_t *clients;
    uint32_t client_count;
    uint32_t opened;     /* of them, so far */
    uint32_t connecting; /* now */
    uint32_t open;       /* not CLOSED */
    gv_bench_client_t **publishers;
    uint32_t publisher_count;

    bool is_publishing;
    bool is_finishing;
    bool is_stopped;
    uint64_t measured_from_ns; /* UINT64_MAX before */
    uint64_t start_ns;         /* with a rate: the time of message 0 */
    double interval_ns;        /* with a rate: between two messages of this worker; else 0 */
    uint64_t scheduled;        /* messages whose time has come */
    int clock_fd;              /* a timerfd, or -1 */
    uv_poll_t clock;
    gv_job_t turn_end;
    gv_timer_t second;
    uint32_t seconds;
    uint64_t progress; /* `received` at the last second */

    uint8_t *scratch; /* for a packet that is not built in place */
    size_t scratch_size;
    struct order {
        gv_letter_t letter;
        gv_bench_worker_t *worker;
    } orders[GV_BENCH_ORDER_COUNT];
};

uint64_t gv__bench_now_ns(void);

/* Fills in a zeroed client: publishers first, then subscribers, by `number`. */
void gv__bench_client_init(gv_bench_client_t *client, gv_bench_worker_t *worker, uint32_t number);
void gv__bench_client_deinit(gv_bench_client_t *client);

/* Begins to connect; a failure is counted, and told by gv__bench_worker_client_settled(). */
GV_LOOP_ONLY void gv__bench_client_open(gv_bench_client_t *client);

/* Sends what this publisher may send now. */
GV_LOOP_ONLY void gv__bench_client_top_up(gv_bench_client_t *client, uint64_t now_ns);

GV_LOOP_ONLY void gv__bench_client_ping(gv_bench_client_t *client);

/* DISCONNECT, and the end. */
GV_LOOP_ONLY void gv__bench_client_leave(gv_bench_client_t *client);

/* Told by a client: it is READY, or will never be. */
GV_LOOP_ONLY void gv__bench_worker_client_settled(gv_bench_worker_t *worker);

/* Told by a client: it is CLOSED. */
GV_LOOP_ONLY void gv__bench_worker_client_closed(gv_bench_worker_t *worker);

/* Keeps the first one. */
void gv__bench_worker_note(gv_bench_worker_t *worker, const char *format, ...) GV_PRINTF(2, 3);
