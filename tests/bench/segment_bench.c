/* SPDX-License-Identifier: Apache-2.0 */

/*
 * How LMDB takes a log of large values: two lanes append segments, each under keys of its own, and
 * delete them from the head so that a constant number is alive.  Every 16th segment stays eight
 * times as long, as one does that a sleeping session still needs.
 *
 *     segment_bench [DIRECTORY [MIB_PER_ROW [LIVE_MIB [PEAK_MIB [SEGMENT_KIB]]]]]
 *
 * DIRECTORY must be on the disk that is to be measured (default: the current one).  With PEAK_MIB
 * so much is appended first and trimmed then, as by a long queue that has been drained: LMDB has
 * many free pages to look through from then on.  SEGMENT_KIB measures one size only.  Segments are
 * between half of the given size and all of it, so that a hole seldom fits the next one exactly.
 * `live`: bytes of segments that are not deleted; `file`: pages the file has ever taken, after half
 * of the row and at its end: what it grows by is lost to fragmentation.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lmdb.h>
#include <pthread.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/io/os.h"
#include "base/rng.h"

#include "storage/lmdb_store.h"
#include "storage/lmdb_store_p.h"

enum {
    LANES = 2,
    WINDOW = 2, /* batches under way, per lane */
    STRAGGLER_EVERY = 16,
    STRAGGLER_LIVES = 8,
    SEGMENTS_MAX = 1 << 20
};

static const size_t sizes[] = {4 << 10,   16 << 10, 64 << 10, 256 << 10,
                               512 << 10, 1 << 20,  2 << 20,  4 << 20};

/* ---- letters ---- */

typedef struct box {
    pthread_mutex_t mutex;
    pthread_cond_t filled;
    gv_letter_t *first;
    gv_letter_t **end;
} box_t;

static void post(void *arg, gv_letter_t *letter)
{
    box_t *box = arg;
    letter->_next = NULL;
    (void)pthread_mutex_lock(&box->mutex);
    *box->end = letter;
    box->end = &letter->_next;
    (void)pthread_mutex_unlock(&box->mutex);
    (void)pthread_cond_signal(&box->filled);
}

static void deliver(box_t *box)
{
    (void)pthread_mutex_lock(&box->mutex);
    while (box->first == NULL) {
        (void)pthread_cond_wait(&box->filled, &box->mutex);
    }
    gv_letter_t *letter = box->first;
    box->first = NULL;
    box->end = &box->first;
    (void)pthread_mutex_unlock(&box->mutex);
    while (letter != NULL) {
        gv_letter_t *next = letter->_next;
        letter->deliver(letter);
        letter = next;
    }
}

/* ---- a lane's log ---- */

typedef struct log {
    gv_store_lane_t lane;
    uint8_t number;
    uint64_t appended;
    uint64_t head; /* everything before it is deleted, stragglers apart */
    uint64_t straggler_head;
    uint64_t live_bytes;
    uint32_t *bytes; /* of each segment */
} log_t;

static gv_bytes_t key_of(const log_t *log, uint64_t sequence, uint8_t key[9])
{
    gv_writer_t w = gv_writer(key, 9);
    gv_writer_u8(&w, log->number);
    gv_writer_u64(&w, sequence);
    return gv_bytes(key, 9);
}

static void trim_one(log_t *log, gv_batch_t *batch, uint64_t sequence)
{
    uint8_t key[9];
    gv_batch_delete(batch, GV_TABLE_QUEUE_LOG, key_of(log, sequence, key));
    log->live_bytes -= log->bytes[sequence];
}

static void trim(log_t *log, gv_batch_t *batch, uint64_t live_count)
{
    for (; log->head + live_count < log->appended; log->head++) {
        if (log->head % STRAGGLER_EVERY != 0) {
            trim_one(log, batch, log->head);
        }
    }
    uint64_t straggling = live_count * STRAGGLER_LIVES;
    for (; log->straggler_head + straggling < log->appended; log->straggler_head++) {
        if (log->straggler_head % STRAGGLER_EVERY == 0) {
            trim_one(log, batch, log->straggler_head);
        }
    }
}

static void on_done(gv_err_t result, void *arg)
{
    (void)arg;
    if (result != GV_OK) {
        (void)fprintf(stderr, "segment_bench: %s\n", gv_err_text(result));
        exit(1);
    }
}

static size_t append(log_t *log, gv_rng_t *rng, size_t size, uint64_t live_count)
{
    size_t bytes = size / 2 + gv_rng_below(rng, (uint32_t)(size / 2));
    gv_batch_t *batch;
    gv_batch_new(&batch);
    uint8_t key[9];
    uint8_t *room =
        gv_batch_put_room(batch, GV_TABLE_QUEUE_LOG, key_of(log, log->appended, key), bytes);
    memset(room, (int)log->appended, bytes);
    log->bytes[log->appended++] = (uint32_t)bytes;
    log->live_bytes += bytes;
    trim(log, batch, live_count);
    gv_store_submit(&log->lane, &batch, on_done, log);
    return bytes;
}

/* ---- a row ---- */

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

static double file_mib(gv_store_t *store)
{
    MDB_envinfo info;
    (void)mdb_env_info(gv_container_of(store, gv__lmdb_t, base)->env, &info);
    return (double)(info.me_last_pgno + 1) * 4096 / (1 << 20);
}

static gv_store_t *open_store(const char *directory)
{
    gv_lmdb_options_t options;
    gv_lmdb_options_init(&options);
    options.directory = directory;
    gv_store_t *store;
    char why[256];
    if (gv_lmdb_store_open(&options, &store, why, sizeof(why)) != GV_OK) {
        (void)fprintf(stderr, "segment_bench: %s\n", why);
        exit(1);
    }
    return store;
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

typedef struct row {
    size_t size;
    uint64_t payload;
    uint64_t commits;
    uint64_t written;
    uint64_t live;
    double seconds;
    double half_mib;
    double end_mib;
} row_t;

static void print_row(const row_t *row, const gv_store_stats_t *stats)
{
    double mib = 1 << 20;
    printf("%7zu %8.0f %8.0f %8.2f %8.2f %8.2f %8.1f %8.1f %8.1f\n", row->size >> 10,
           (double)row->payload / mib / row->seconds, (double)row->commits / row->seconds,
           (double)gv_histogram_quantile(&stats->commit_ns, 500) / 1e6,
           (double)gv_histogram_quantile(&stats->commit_ns, 990) / 1e6,
           (double)row->written / (double)row->payload, (double)row->live / mib, row->half_mib,
           row->end_mib);
    (void)fflush(stdout);
}

/* Until `bytes` are appended; returns what was. */
static uint64_t run(log_t logs[LANES], box_t *box, gv_rng_t *rng, size_t size, uint64_t bytes,
                    uint64_t live_count)
{
    uint64_t payload = 0;
    while (payload < bytes && logs[0].appended < SEGMENTS_MAX) {
        for (size_t i = 0; i < LANES; i++) {
            while (gv_store_lane_pending(&logs[i].lane) < WINDOW) {
                payload += append(&logs[i], rng, size, live_count);
            }
        }
        deliver(box);
    }
    for (size_t i = 0; i < LANES; i++) {
        while (gv_store_lane_pending(&logs[i].lane) > 0) {
            deliver(box);
        }
    }
    return payload;
}

typedef struct plan {
    const char *parent;
    uint64_t row_bytes;
    uint64_t live_bytes;
    uint64_t peak_bytes;
} plan_t;

static void run_row(const plan_t *plan, size_t size)
{
    char directory[256];
    (void)snprintf(directory, sizeof(directory), "%s/segment-bench-%d", plan->parent,
                   (int)getpid());
    gv_store_t *store = open_store(directory);
    box_t box = {.first = NULL, .end = &box.first};
    (void)pthread_mutex_init(&box.mutex, NULL);
    (void)pthread_cond_init(&box.filled, NULL);
    gv_rng_t rng;
    gv_rng_init(&rng, 1, 0);
    log_t logs[LANES];
    for (uint8_t i = 0; i < LANES; i++) {
        logs[i] = (log_t){.number = i, .bytes = gv_xcalloc(SEGMENTS_MAX, sizeof(uint32_t))};
        gv_store_lane_init(&logs[i].lane, store, post, &box);
    }
    uint64_t live_count = plan->live_bytes / LANES / (size * 3 / 4) + 1;
    (void)run(logs, &box, &rng, size, plan->peak_bytes, SEGMENTS_MAX);
    (void)run(logs, &box, &rng, size, plan->live_bytes, live_count);
    const gv_store_stats_t *stats = gv_store_stats(store);
    uint64_t commits_before = gv_counter_get(&stats->commits);
    uint64_t written_before = written_bytes();
    uint64_t begun_at_ns = gv_clock_monotonic_ns(gv_os_clock());
    row_t row = {.size = size};
    row.payload = run(logs, &box, &rng, size, plan->row_bytes / 2, live_count);
    row.half_mib = file_mib(store);
    row.payload += run(logs, &box, &rng, size, plan->row_bytes / 2, live_count);
    row.end_mib = file_mib(store);
    row.seconds = (double)(gv_clock_monotonic_ns(gv_os_clock()) - begun_at_ns) / 1e9;
    row.written = written_bytes() - written_before;
    row.commits = gv_counter_get(&stats->commits) - commits_before;
    for (size_t i = 0; i < LANES; i++) {
        row.live += logs[i].live_bytes;
    }
    print_row(&row, stats);
    gv_store_close(&store);
    for (size_t i = 0; i < LANES; i++) {
        gv_store_lane_deinit(&logs[i].lane);
        gv_free(logs[i].bytes);
    }
    remove_store(directory);
}

static uint64_t argument(int argc, char **argv, int at, uint64_t fallback)
{
    return argc > at ? strtoull(argv[at], NULL, 10) : fallback;
}

int main(int argc, char **argv)
{
    plan_t plan = {
        .parent = argc > 1 ? argv[1] : ".",
        .row_bytes = argument(argc, argv, 2, 2000) << 20,
        .live_bytes = argument(argc, argv, 3, 100) << 20,
        .peak_bytes = argument(argc, argv, 4, 0) << 20,
    };
    size_t only = argument(argc, argv, 5, 0) << 10;
    printf("%7s %8s %8s %8s %8s %8s %8s %8s %8s\n", "segment", "payload", "commits", "commit",
           "commit", "written/", "live", "file", "file");
    printf("%7s %8s %8s %8s %8s %8s %8s %8s %8s\n", "KiB", "MiB/s", "/s", "p50 ms", "p99 ms",
           "payload", "MiB", "half", "end");
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        if (only == 0 || only == sizes[i]) {
            run_row(&plan, sizes[i]);
        }
    }
    return 0;
}
