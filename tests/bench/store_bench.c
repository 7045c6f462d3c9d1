/* SPDX-License-Identifier: Apache-2.0 */

/*
 * How fast the LMDB store takes puts: two loops submit, the writer commits, the loops hear of it.
 * Values of 200 bytes under growing keys, as in a log.
 *
 *     store_bench [DIRECTORY [SECONDS]]
 *
 * DIRECTORY must be on the disk that is to be measured (default: the current one).  Each row is one
 * load.  `window`: how many batches each loop keeps under way; it makes the number of puts that
 * share a commit.  `written/payload`: bytes the kernel wrote for this process per byte of values.
 */

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <unistd.h>

#include "base/alloc.h"
#include "base/io/loop.h"
#include "base/io/os.h"

#include "storage/lmdb_store.h"
#include "storage/post.h"

enum {
    LOOPS = 2,
    VALUE_SIZE = 200
};

typedef struct row {
    uint32_t puts_per_batch;
    uint32_t window; /* batches under way, per loop */
    gv_store_sync_t sync;
} row_t;

static const row_t rows[] = {
    /* Every put is a batch of its own: the store's own work per batch shows. */
    {1, 1, GV_STORE_SYNC_COMMIT},
    {1, 100, GV_STORE_SYNC_COMMIT},
    {1, 1000, GV_STORE_SYNC_COMMIT},
    {1, 10000, GV_STORE_SYNC_COMMIT},
    /* As a shard submits: the puts of a turn in one batch. */
    {100, 1, GV_STORE_SYNC_COMMIT},
    {1000, 1, GV_STORE_SYNC_COMMIT},
    {10000, 1, GV_STORE_SYNC_COMMIT},
    /* What the sync costs. */
    {1, 1, GV_STORE_SYNC_INTERVAL},
    {1000, 1, GV_STORE_SYNC_INTERVAL},
};

typedef struct bench {
    const row_t *row;
    gv_store_t *store;
    atomic_uint_least64_t next_key;
    atomic_bool ending;
} bench_t;

typedef struct submitter {
    bench_t *bench;
    gv_loop_t *loop;
    gv_store_lane_t lane;
    gv_letter_t start;
} submitter_t;

static void on_done(gv_err_t result, void *arg);

static void submit(submitter_t *submitter)
{
    static const uint8_t value[VALUE_SIZE] = "a message that waits for its subscriber";
    bench_t *bench = submitter->bench;
    gv_batch_t *batch;
    gv_batch_new(&batch);
    for (uint32_t i = 0; i < bench->row->puts_per_batch; i++) {
        uint8_t key[8];
        gv_writer_t w = gv_writer(key, sizeof(key));
        gv_writer_u64(&w, atomic_fetch_add_explicit(&bench->next_key, 1, memory_order_relaxed));
        gv_batch_append(batch, GV_TABLE_QUEUE_LOG, gv_bytes(key, sizeof(key)),
                        gv_bytes(value, sizeof(value)));
    }
    gv_store_submit(&submitter->lane, &batch, on_done, submitter);
}

static void on_done(gv_err_t result, void *arg)
{
    submitter_t *submitter = arg;
    if (result != GV_OK) {
        (void)fprintf(stderr, "store_bench: %s\n", gv_err_text(result));
        exit(1);
    }
    if (!atomic_load_explicit(&submitter->bench->ending, memory_order_relaxed)) {
        submit(submitter);
    } else if (gv_store_lane_pending(&submitter->lane) == 0) {
        gv_loop_stop(submitter->loop);
    }
}

static void on_start(gv_letter_t *letter)
{
    submitter_t *submitter = gv_container_of(letter, submitter_t, start);
    for (uint32_t i = 0; i < submitter->bench->row->window; i++) {
        submit(submitter);
    }
}

/* Bytes this process made the kernel write to the disk. */
static uint64_t written_bytes(void)
{
    uint64_t bytes = 0;
    char line[128];
    FILE *file = fopen("/proc/self/io", "r");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        (void)sscanf(line, "write_bytes: %" SCNu64, &bytes);
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return bytes;
}

static gv_store_t *open_store(const char *directory, gv_store_sync_t sync)
{
    gv_lmdb_options_t options;
    gv_lmdb_options_init(&options);
    options.directory = directory;
    options.sync = sync;
    gv_store_t *store;
    char why[256];
    if (gv_lmdb_store_open(&options, &store, why, sizeof(why)) != GV_OK) {
        (void)fprintf(stderr, "store_bench: %s\n", why);
        exit(1);
    }
    return store;
}

static void print_row(const bench_t *bench, double seconds, uint64_t written)
{
    const gv_store_stats_t *stats = gv_store_stats(bench->store);
    uint64_t puts = gv_counter_get(&stats->changes);
    uint64_t commits = gv_counter_get(&stats->commits);
    printf("%-8s %6u %6u %10.0f %9.1f %9.0f %8.2f %8.2f %8.2f %8.2f\n",
           gv_store_sync_name(bench->row->sync), bench->row->puts_per_batch, bench->row->window,
           (double)puts / (double)commits, (double)commits / seconds, (double)puts / seconds,
           (double)gv_histogram_quantile(&stats->commit_ns, 500) / 1e6,
           (double)gv_histogram_quantile(&stats->done_ns, 500) / 1e6,
           (double)gv_histogram_quantile(&stats->done_ns, 990) / 1e6,
           (double)written / (double)(puts * VALUE_SIZE));
    (void)fflush(stdout);
}

static void remove_store(const char *directory)
{
    static const char *const names[] = {"data.mdb", "lock.mdb", "grapevine.lock"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[512];
        (void)snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
        (void)unlink(path);
    }
    (void)rmdir(directory);
}

static void run_row(const char *parent, const row_t *row, unsigned seconds)
{
    char directory[256];
    (void)snprintf(directory, sizeof(directory), "%s/store-bench-%d", parent, (int)getpid());
    bench_t bench = {.row = row, .store = open_store(directory, row->sync)};
    submitter_t submitters[LOOPS];
    uint64_t written_before = written_bytes();
    uint64_t begun_at_ns = gv_clock_monotonic_ns(gv_os_clock());
    for (int i = 0; i < LOOPS; i++) {
        submitter_t *submitter = &submitters[i];
        *submitter = (submitter_t){.bench = &bench, .start.deliver = on_start};
        if (gv_loop_new(NULL, &submitter->loop) != GV_OK) {
            exit(1);
        }
        gv_store_lane_init(&submitter->lane, bench.store, gv_store_post_to_loop, submitter->loop);
        gv_loop_send(submitter->loop, &submitter->start);
        if (gv_loop_start(submitter->loop) != GV_OK) {
            exit(1);
        }
    }
    (void)sleep(seconds);
    atomic_store_explicit(&bench.ending, true, memory_order_relaxed);
    for (int i = 0; i < LOOPS; i++) {
        gv_loop_join(submitters[i].loop);
    }
    uint64_t took_ns = gv_clock_monotonic_ns(gv_os_clock()) - begun_at_ns;
    print_row(&bench, (double)took_ns / 1e9, written_bytes() - written_before);
    gv_store_close(&bench.store);
    for (int i = 0; i < LOOPS; i++) {
        gv_loop_free(&submitters[i].loop);
        gv_store_lane_deinit(&submitters[i].lane);
    }
    remove_store(directory);
}

int main(int argc, char **argv)
{
    const char *parent = argc > 1 ? argv[1] : ".";
    unsigned seconds = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 3;
    printf("%-8s %6s %6s %10s %9s %9s %8s %8s %8s %8s\n", "sync", "puts/", "window", "puts/",
           "commits", "puts", "commit", "done", "done", "written/");
    printf("%-8s %6s %6s %10s %9s %9s %8s %8s %8s %8s\n", "", "batch", "", "commit", "/s", "/s",
           "p50 ms", "p50 ms", "p99 ms", "payload");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        run_row(parent, &rows[i], seconds);
    }
    return 0;
}
