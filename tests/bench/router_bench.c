/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What the router costs: nanoseconds per match with few and many filters, changes per second, bytes
 * per filter, and the filters an attacker would choose.
 *
 *     build/release/bench/router_bench [FILTERS_MAX]      default 1000000
 *
 * "cold": random topics of all, so that with many filters each match meets memory that is in no
 * cache, the worst a broker sees.  "warm": the same 1000 topics again and again, as most traffic
 * is.
 */

#include <inttypes.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/io/rcu.h"
#include "base/rng.h"
#include "broker/core/router.h"

enum {
    TEXT_MAX = 64,
    BATCH = 1000, /* topics made before they are timed, as small as what has just been received */
    BATCHES = 1000
};

/* Keeps the compiler from leaving out what is measured. */
static uint64_t checksum;

static double now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* One thread, and never inside a match here: nothing to wait for. */
static void retire_now(void *arg, void *ptr, void (*free_fn)(void *ptr))
{
    (void)arg;
    free_fn(ptr);
}

static gv_router_t *new_router(void)
{
    gv_router_options_t options = {.hash_seed = 42, .retire = retire_now};
    gv_router_t *router = NULL;
    gv_router_new(&options, &router);
    return router;
}

/*
 * What one access to memory in no cache costs here and now, to judge the cold figures by: a chain
 * of loads, each of which says where the next one goes.
 */
static void measure_memory(void)
{
    enum {
        LINES = 1 << 21, /* of 64 bytes: 128 MiB */
        LOADS = 1 << 20
    };
    typedef struct line {
        uint64_t next;
        uint64_t rest[7];
    } line_t;
    line_t *lines = gv_xcalloc(LINES, sizeof(line_t));
    for (uint64_t i = 0; i < LINES; i++) {
        /* A full-period generator modulo a power of two: every line once, in no order. */
        lines[i].next = (i * 1664525 + 1013904223) % LINES;
    }
    uint64_t at = 0;
    double start = now_ns();
    for (int i = 0; i < LOADS; i++) {
        at = lines[at].next;
    }
    (void)printf("one cold access to memory: %.0f ns\n", (now_ns() - start) / LOADS);
    checksum += at;
    gv_free(lines);
}

/* How a set of filters is made, and topics that match exactly one each. */
typedef void make_text_t(uint32_t number, char out[TEXT_MAX]);

static void exact_text(uint32_t number, char out[TEXT_MAX])
{
    (void)snprintf(out, TEXT_MAX, "site/%04u/device/%07u/temp", number % 1000, number);
}

/* One in five has wildcards, in three shapes. */
static void mixed_filter(uint32_t number, char out[TEXT_MAX])
{
    switch (number % 15) {
    case 0:
        (void)snprintf(out, TEXT_MAX, "site/%04u/+/%07u/alarm", number % 1000, number);
        break;
    case 5:
        (void)snprintf(out, TEXT_MAX, "home/%07u/#", number);
        break;
    case 10:
        (void)snprintf(out, TEXT_MAX, "car/%04u/%07u/+/speed", number % 1000, number);
        break;
    default:
        exact_text(number, out);
        break;
    }
}

static void mixed_topic(uint32_t number, char out[TEXT_MAX])
{
    switch (number % 15) {
    case 0:
        (void)snprintf(out, TEXT_MAX, "site/%04u/sensor/%07u/alarm", number % 1000, number);
        break;
    case 5:
        (void)snprintf(out, TEXT_MAX, "home/%07u/kitchen/light", number);
        break;
    case 10:
        (void)snprintf(out, TEXT_MAX, "car/%04u/%07u/front/speed", number % 1000, number);
        break;
    default:
        exact_text(number, out);
        break;
    }
}

static void wildcard_filter(uint32_t number, char out[TEXT_MAX])
{
    mixed_filter(number * 5, out);
}

static void wildcard_topic(uint32_t number, char out[TEXT_MAX])
{
    mixed_topic(number * 5, out);
}

static void unknown_topic(uint32_t number, char out[TEXT_MAX])
{
    (void)snprintf(out, TEXT_MAX, "site/%04u/unknown/%07u/temp", number % 1000, number);
}

static gv_route_target_t shard_target(uint32_t number)
{
    return (gv_route_target_t){
        .kind = GV_ROUTE_SHARD, .index = (uint8_t)(number % 4), .slot = number, .weight = 1};
}

static void set(gv_router_t *router, const char *filter, gv_route_target_t target)
{
    if (gv_router_set(router, gv_bytes_text(filter), target) != GV_OK) {
        abort();
    }
}

/* ---- filling and emptying -------------------------------------------------------------------- */

static void fill(gv_router_t *router, uint32_t filters, make_text_t *make_filter)
{
    size_t heap_before = mallinfo2().uordblks + mallinfo2().hblkhd;
    double longest_ns = 0;
    double total_ns = 0;
    for (uint32_t i = 0; i < filters; i++) {
        char text[TEXT_MAX];
        make_filter(i, text);
        double start = now_ns();
        set(router, text, shard_target(i));
        double took = now_ns() - start;
        total_ns += took;
        longest_ns = took > longest_ns ? took : longest_ns;
    }
    size_t heap = mallinfo2().uordblks + mallinfo2().hblkhd - heap_before;
    gv_router_counters_t counters = gv_router_counters(router);
    (void)printf("  set   %7.0f ns each, longest %.2f ms; %.1f bytes per filter (counted %.1f)\n",
                 total_ns / filters, longest_ns / 1e6, (double)heap / filters,
                 (double)counters.memory_bytes / filters);
}

static void empty(gv_router_t *router, uint32_t filters, make_text_t *make_filter)
{
    double total_ns = 0;
    for (uint32_t i = 0; i < filters; i++) {
        char text[TEXT_MAX];
        make_filter(i, text);
        double start = now_ns();
        bool found = gv_router_unset(router, gv_bytes_text(text), GV_ROUTE_SHARD, (uint8_t)(i % 4));
        total_ns += now_ns() - start;
        if (!found) {
            abort();
        }
    }
    (void)printf("  unset %7.0f ns each\n", total_ns / filters);
}

/* ---- matching -------------------------------------------------------------------------------- */

typedef struct batch {
    char texts[BATCH][TEXT_MAX];
    gv_bytes_t topics[BATCH];
} batch_t;

static void make_batch(batch_t *batch, gv_rng_t *rng, uint32_t filters, make_text_t *make_topic)
{
    for (size_t i = 0; i < BATCH; i++) {
        make_topic(gv_rng_below(rng, filters), batch->texts[i]);
        batch->topics[i] = gv_bytes_text(batch->texts[i]);
    }
}

/* Nanoseconds for all topics of the batch; each must have as many hits as are expected. */
static double match_batch(const gv_router_t *router, const batch_t *batch, gv_matches_t *matches,
                          size_t hits_expected)
{
    size_t hits = 0;
    double start = now_ns();
    for (size_t i = 0; i < BATCH; i++) {
        gv_router_match(router, batch->topics[i], UINT64_MAX, (uint32_t)i, matches);
        hits += matches->hit_count;
    }
    double took = now_ns() - start;
    if (hits != hits_expected * BATCH) {
        abort();
    }
    checksum += hits;
    return took;
}

static void measure_matches(const gv_router_t *router, const char *what, uint32_t filters,
                            make_text_t *make_topic, size_t hits_expected)
{
    static batch_t batch;
    gv_matches_t matches;
    gv_matches_init(&matches);
    gv_rng_t rng;
    gv_rng_init(&rng, 1, 0);
    double cold_ns = 0;
    double warm_ns = 0;
    for (int i = 0; i < BATCHES; i++) {
        make_batch(&batch, &rng, filters, make_topic);
        cold_ns += match_batch(router, &batch, &matches, hits_expected);
    }
    for (int i = 0; i < BATCHES; i++) {
        warm_ns += match_batch(router, &batch, &matches, hits_expected);
    }
    (void)printf("  match %7.1f ns cold, %7.1f ns warm: %s\n", cold_ns / BATCH / BATCHES,
                 warm_ns / BATCH / BATCHES, what);
    gv_matches_deinit(&matches);
}

static void measure_set(const char *name, uint32_t filters, make_text_t *make_filter,
                        make_text_t *make_topic)
{
    (void)printf("%s, %" PRIu32 " filters\n", name, filters);
    gv_router_t *router = new_router();
    fill(router, filters, make_filter);
    measure_matches(router, "a filter that is there", filters, make_topic, 1);
    measure_matches(router, "nothing that matches", filters, unknown_topic, 0);
    empty(router, filters, make_filter);
    gv_router_free(&router);
}

/* ---- the worst ------------------------------------------------------------------------------- */

static void measure_topic(const gv_router_t *router, const char *name, const char *topic)
{
    gv_matches_t matches;
    gv_matches_init(&matches);
    gv_router_match(router, gv_bytes_text(topic), UINT64_MAX, 1, &matches);
    uint32_t rounds = 1 + 20000000 / (matches.nodes_visited + 100);
    double start = now_ns();
    for (uint32_t i = 0; i < rounds; i++) {
        gv_router_match(router, gv_bytes_text(topic), UINT64_MAX, i, &matches);
        checksum += matches.hit_count;
    }
    double took = (now_ns() - start) / rounds;
    (void)printf("  match %9.0f ns, %7zu hits, %7" PRIu32 " nodes, %5.1f ns per node  %s\n", took,
                 matches.hit_count, matches.nodes_visited, took / matches.nodes_visited, name);
    gv_matches_deinit(&matches);
}

/* All filters of `levels` levels out of `a` and `+`, each with the same last level. */
static void set_all_combinations(gv_router_t *router, uint32_t levels, const char *last)
{
    for (uint32_t bits = 0; bits < 1U << levels; bits++) {
        char text[TEXT_MAX];
        size_t size = 0;
        for (uint32_t i = 0; i < levels; i++) {
            text[size++] = (bits >> i & 1) != 0 ? '+' : 'a';
            text[size++] = '/';
        }
        (void)snprintf(text + size, TEXT_MAX - size, "%s", last);
        set(router, text, shard_target(bits));
    }
}

static void repeat(char *out, const char *part, uint32_t times)
{
    out[0] = '\0';
    for (uint32_t i = 0; i < times; i++) {
        (void)strcat(out, part);
    }
}

static void measure_worst(void)
{
    char topic[512];
    (void)printf("filters chosen to hurt\n");

    gv_router_t *router = new_router();
    set_all_combinations(router, 16, "x");
    measure_topic(router, "65536 filters {a,+} * 16 / x, topic a * 16 / y",
                  "a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/y");
    measure_topic(router, "the same, topic a * 16 / x", "a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/x");
    measure_topic(router, "the same, topic a/b", "a/b");
    gv_router_free(&router);

    router = new_router();
    char filter[512];
    for (uint32_t i = 0; i < 127; i++) {
        repeat(filter, "+/", i);
        (void)strcat(filter, "#");
        set(router, filter, shard_target(i));
    }
    repeat(topic, "a/", 128);
    measure_topic(router, "+/+/.../# of each length to 127, topic of 129 levels", topic);
    gv_router_free(&router);

    router = new_router();
    for (uint32_t i = 0; i < 10000; i++) {
        (void)snprintf(filter, sizeof(filter), "$share/g%" PRIu32 "/#", i);
        set(router, filter, shard_target(i));
    }
    measure_topic(router, "10000 groups on #", "a/b");
    gv_router_free(&router);
}

static void measure_forgetting(uint32_t filters)
{
    gv_router_t *router = new_router();
    for (uint32_t i = 0; i < filters; i++) {
        char text[TEXT_MAX];
        mixed_filter(i, text);
        set(router, text, (gv_route_target_t){.kind = GV_ROUTE_NODE, .index = (uint8_t)(i % 3)});
    }
    double start = now_ns();
    size_t routes = gv_router_unset_node(router, 1);
    (void)printf("forget a node: %.1f ms for %zu of %" PRIu32 " filters\n",
                 (now_ns() - start) / 1e6, routes, filters);
    gv_router_free(&router);
}

/* ---- beside a writer ---------------------------------------------------------------------------
 */

static atomic_bool readers_done;

static void retire_after_readers(void *arg, void *ptr, void (*free_fn)(void *ptr))
{
    (void)arg;
    gv_rcu_retire(ptr, free_fn);
}

/* Takes filters out and puts them back, with a pause for what was retired as a loop's turn makes.
 */
static void *change_on_and_on(void *arg)
{
    gv_router_t *router = arg;
    gv_rcu_thread_register();
    gv_rng_t rng;
    gv_rng_init(&rng, 2, 0);
    uint64_t changes = 0;
    double start = now_ns();
    while (!atomic_load_explicit(&readers_done, memory_order_relaxed)) {
        char text[TEXT_MAX];
        uint32_t number = 50000 + gv_rng_below(&rng, 50000);
        mixed_filter(number, text);
        (void)gv_router_unset(router, gv_bytes_text(text), GV_ROUTE_SHARD, (uint8_t)(number % 4));
        set(router, text, shard_target(number));
        changes += 2;
        if (changes % 64 == 0) {
            gv_rcu_retire_flush();
        }
    }
    (void)printf("  %.0f changes per second meanwhile\n",
                 (double)changes / (now_ns() - start) * 1e9);
    gv_rcu_thread_unregister();
    return NULL;
}

static double match_beside(const gv_router_t *router)
{
    static batch_t batch;
    gv_matches_t matches;
    gv_matches_init(&matches);
    gv_rng_t rng;
    gv_rng_init(&rng, 1, 0);
    make_batch(&batch, &rng, 50000, mixed_topic); /* the half that is always there */
    double took = 0;
    for (int i = 0; i < BATCHES * 10; i++) {
        gv_rcu_read_begin();
        took += match_batch(router, &batch, &matches, 1);
        gv_rcu_read_end();
    }
    gv_matches_deinit(&matches);
    return took / BATCH / (BATCHES * 10);
}

static void measure_beside_writer(void)
{
    gv_router_options_t options = {.hash_seed = 42, .retire = retire_after_readers};
    gv_router_t *router = NULL;
    gv_router_new(&options, &router);
    gv_rcu_thread_register();
    for (uint32_t i = 0; i < 100000; i++) {
        char text[TEXT_MAX];
        mixed_filter(i, text);
        set(router, text, shard_target(i));
    }
    (void)printf("one in five with wildcards, 100000 filters, warm\n");
    (void)printf("  match %7.1f ns alone\n", match_beside(router));
    pthread_t writer;
    if (pthread_create(&writer, NULL, change_on_and_on, router) != 0) {
        abort();
    }
    double took = match_beside(router);
    atomic_store_explicit(&readers_done, true, memory_order_relaxed);
    (void)pthread_join(writer, NULL);
    (void)printf("  match %7.1f ns beside a thread that changes it all the time\n", took);
    gv_rcu_barrier();
    gv_rcu_thread_unregister();
    gv_router_free(&router);
}

int main(int argc, char **argv)
{
    uint32_t filters_max = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 1000000;
    measure_memory();
    static const uint32_t sizes[] = {10, 100000, 1000000};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]) && sizes[i] <= filters_max; i++) {
        measure_set("exact filters", sizes[i], exact_text, exact_text);
        measure_set("one in five with wildcards", sizes[i], mixed_filter, mixed_topic);
        measure_set("all with wildcards", sizes[i], wildcard_filter, wildcard_topic);
    }
    measure_beside_writer();
    measure_worst();
    measure_forgetting(filters_max);
    (void)printf("(checksum %" PRIu64 ")\n", checksum);
    return 0;
}
