/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_bench_worker: one thread of the load generator, with its share of the clients.
 *
 *     gv_bench_worker_new()
 *     gv_bench_worker_tell(CONNECT)    connects and subscribes; `connected` and `filters` grow
 *     gv_bench_worker_tell(PUBLISH)    publishers begin
 *     gv_bench_worker_tell(MEASURE)    messages sent from here on count for the latencies
 *     gv_bench_worker_tell(STOP)       publishers stop; what is on the way still arrives
 *     gv_bench_worker_tell(FINISH)     says goodbye and ends the thread
 *     gv_bench_worker_join()
 *     gv_bench_worker_free()
 *
 * Threads: one thread tells; each worker has its own.  The counters may be read at any time, the
 * histograms and the text after the join.
 */

#include <stdatomic.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/err.h"
#include "base/io/address.h"
#include "base/stats.h"
#include "cli/bench_histogram.h"
#include "cli/bench_plan.h"

typedef struct gv_bench_worker gv_bench_worker_t;

/* What all workers of a run have in common. */
typedef struct gv_bench_shared {
    const gv_bench_plan_t *plan;
    const gv_address_t *addresses[2]; /* of options->targets, in their order */
    uint32_t workers;
    /* By publisher: messages received by anybody, for the window at QoS 0; else NULL. */
    _Atomic(uint32_t) *delivered;
} gv_bench_shared_t;

/* X(name): in the order in which a run makes them grow. */
#define GV_BENCH_COUNTERS(X)                                      \
    X(connected) /* CONNACK with success */                       \
    X(connect_failed)                                             \
    X(disconnected) /* by the broker, or by an error */           \
    X(filters)      /* granted in a SUBACK */                     \
    X(filters_refused)                                            \
    X(sent)    /* messages handed to a connection */              \
    X(acked)   /* PUBACK or PUBCOMP; at QoS 0 nothing */          \
    X(refused) /* acknowledged with an error */                   \
    X(received)                                                   \
    X(duplicates)                                                 \
    X(late)   /* a later message of that publisher came before */ \
    X(strays) /* nobody's: no stamp, or of a publisher that is not ours */

typedef struct gv_bench_counters {
#define X(name) gv_counter_t name;
    GV_BENCH_COUNTERS(X)
#undef X
} gv_bench_counters_t;

typedef struct gv_bench_histograms {
    gv_bench_histogram_t connect; /* connect() to CONNACK [ns] */
    gv_bench_histogram_t latency; /* publisher to subscriber [ns] */
    gv_bench_histogram_t ack;     /* publisher to its last acknowledgement [ns] */
    gv_bench_histogram_t lag;     /* with a rate: how late we were in sending [ns] */
} gv_bench_histograms_t;

typedef enum gv_bench_order {
    GV_BENCH_CONNECT,
    GV_BENCH_PUBLISH,
    GV_BENCH_MEASURE,
    GV_BENCH_STOP,
    GV_BENCH_FINISH,
    GV_BENCH_ORDER_COUNT,
} gv_bench_order_t;

/* Starts the thread.  GV_OK or GV_ERR_IO.  `shared` outlives the worker. */
GV_MUST_USE gv_err_t gv_bench_worker_new(const gv_bench_shared_t *shared, uint32_t index,
                                         gv_bench_worker_t **worker_out);

/* Each order once. */
void gv_bench_worker_tell(gv_bench_worker_t *worker, gv_bench_order_t order);

/* After FINISH. */
void gv_bench_worker_join(gv_bench_worker_t *worker);

void gv_bench_worker_free(gv_bench_worker_t **workerp);

const gv_bench_counters_t *gv_bench_worker_counters(const gv_bench_worker_t *worker);

/* After the join. */
const gv_bench_histograms_t *gv_bench_worker_histograms(const gv_bench_worker_t *worker);

/* The first thing that went wrong, as a sentence, or "".  After the join. */
const char *gv_bench_worker_problem(const gv_bench_worker_t *worker);
