/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/lmdb_store_p.h"

#include <signal.h>

#include <sys/resource.h>

#include "tests/unit/storage/fixture.h"

/* The writer through the store's front door: grouping, order, and what it does when it fails. */

enum {
    THREADS = 4,
    BATCHES_EACH = 3000,
    WINDOW = 64
};

typedef struct submitter {
    pthread_t thread;
    gv_store_t *store;
    letterbox_t box;
    gv_store_lane_t lane;
    uint32_t number;
    uint32_t submitted;
    uint32_t completed;
    uint32_t wrong;
} submitter_t;

typedef struct ticket {
    submitter_t *submitter;
    uint32_t n;
} ticket_t;

static void on_done(gv_err_t result, void *arg)
{
    ticket_t *ticket = arg;
    ticket->submitter->wrong += result != GV_OK || ticket->submitter->completed != ticket->n;
    ticket->submitter->completed++;
    free(ticket);
}

static void *submitter_main(void *arg)
{
    submitter_t *submitter = arg;
    while (submitter->completed < BATCHES_EACH) {
        while (submitter->submitted < BATCHES_EACH &&
               gv_store_lane_pending(&submitter->lane) < WINDOW) {
            uint32_t key[] = {submitter->number, submitter->submitted % 100};
            gv_batch_t *batch;
            gv_batch_new(&batch);
            gv_batch_put(batch, GV_TABLE_RETAINED, gv_bytes(key, sizeof(key)),
                         gv_bytes(&submitter->submitted, sizeof(uint32_t)));
            ticket_t *ticket = malloc(sizeof(*ticket));
            *ticket = (ticket_t){.submitter = submitter, .n = submitter->submitted++};
            gv_store_submit(&submitter->lane, &batch, on_done, ticket);
        }
        letterbox_deliver(&submitter->box, true);
    }
    return NULL;
}

START_TEST(batches_of_many_threads_share_commits_and_keep_their_order)
{
    workdir_t dir;
    workdir_make(&dir);
    gv_store_t *store = lmdb_open_at(&dir);
    static submitter_t submitters[THREADS];
    for (uint32_t i = 0; i < THREADS; i++) {
        submitter_t *submitter = &submitters[i];
        *submitter = (submitter_t){.store = store, .number = i};
        letterbox_init(&submitter->box);
        gv_store_lane_init(&submitter->lane, store, letterbox_post, &submitter->box);
        ck_assert_int_eq(pthread_create(&submitter->thread, NULL, submitter_main, submitter), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_join(submitters[i].thread, NULL), 0);
        ck_assert_uint_eq(submitters[i].completed, BATCHES_EACH);
        ck_assert_uint_eq(submitters[i].wrong, 0);
        gv_store_lane_deinit(&submitters[i].lane);
    }
    const gv_store_stats_t *stats = gv_store_stats(store);
    uint64_t batches = gv_counter_get(&stats->batches);
    uint64_t commits = gv_counter_get(&stats->commits);
    ck_assert_uint_eq(batches, THREADS * BATCHES_EACH);
    ck_assert_uint_eq(gv_counter_get(&stats->changes), batches);
    ck_assert_uint_lt(commits, batches / 4);
    ck_assert_uint_eq(gv_histogram_count(&stats->commit_ns), commits);
    ck_assert_uint_eq(gv_histogram_count(&stats->done_ns), batches);
    ck_assert_uint_eq(gv_histogram_sum(&stats->batches_per_commit), batches);
    ck_assert_uint_eq(count_records(store, GV_TABLE_RETAINED), THREADS * 100);
    gv_store_close(&store);
    workdir_remove(&dir);
}
END_TEST

START_TEST(a_lone_batch_is_committed_at_once)
{
    fixture_t fx;
    fixture_open(&fx, KIND_LMDB, 0);
    for (int i = 0; i < 20; i++) {
        ck_assert_ok(fixture_put(&fx, "key", gv_bytes(&i, sizeof(i))));
    }
    ck_assert_uint_eq(gv_counter_get(&gv_store_stats(fx.store)->commits), 20);
    fixture_close(&fx);
}
END_TEST

START_TEST(with_sync_interval_the_file_is_synced_by_and_by)
{
    workdir_t dir;
    workdir_make(&dir);
    gv_lmdb_options_t options;
    gv_lmdb_options_init(&options);
    options.directory = dir.path;
    options.sync = GV_STORE_SYNC_INTERVAL;
    options.sync_interval_ms = 20;
    fixture_t fx = {.kind = KIND_LMDB, .dir = dir, .store = lmdb_open(&options)};
    letterbox_init(&fx.box);
    gv_store_lane_init(&fx.lane, fx.store, letterbox_post, &fx.box);
    const gv_store_stats_t *stats = gv_store_stats(fx.store);
    ck_assert_ok(fixture_put(&fx, "key", text("value")));
    for (int i = 0; i < 500 && gv_counter_get(&stats->syncs) == 0; i++) {
        usleep(10000);
    }
    ck_assert_uint_eq(gv_counter_get(&stats->syncs), 1);
    usleep(100000); /* nothing new: nothing to sync */
    ck_assert_uint_eq(gv_counter_get(&stats->syncs), 1);
    fixture_close(&fx);
}
END_TEST

/*
 * A transaction that takes pages at the end of the file and gives them back before its commit does
 * not write them, if it has other free pages for its own lists.  The file must be long enough for
 * them all the same, or it passes for a truncated one.
 */
START_TEST(a_file_is_as_long_as_its_pages_even_where_none_was_written)
{
    enum {
        ROUNDS = 6, /* puts and deletes in turn, for free pages that are known as such */
        RECORDS = 2000,
        LARGE = 60 << 20 /* beyond what the rounds have made the file */
    };
    workdir_t dir;
    workdir_make(&dir);
    gv_store_t *store = lmdb_open_at(&dir);
    static const uint8_t value[1000];
    gv_batch_t *batch;
    for (int round = 0; round < ROUNDS; round++) {
        gv_batch_new(&batch);
        for (int i = 0; i < RECORDS; i++) {
            gv_bytes_t key = gv_bytes(&i, sizeof(i));
            if (round % 2 == 0) {
                gv_batch_put(batch, GV_TABLE_OUTBOX, key, gv_bytes(value, sizeof(value)));
            } else {
                gv_batch_delete(batch, GV_TABLE_OUTBOX, key);
            }
        }
        ck_assert_ok(gv_store_write(store, &batch));
    }
    gv_batch_new(&batch);
    uint8_t *room = gv_batch_put_room(batch, GV_TABLE_RETAINED, text("large"), LARGE);
    memset(room, 'x', LARGE);
    gv_batch_delete(batch, GV_TABLE_RETAINED, text("large"));
    gv_batch_put(batch, GV_TABLE_RETAINED, text("small"), text("value"));
    ck_assert_ok(gv_store_write(store, &batch));
    gv_store_close(&store);

    store = lmdb_open_at(&dir);
    assert_value(store, "small", text("value"));
    gv_store_close(&store);
    workdir_remove(&dir);
}
END_TEST

/* ---- no space ------------------------------------------------------------------------------- */

/* Draining batches may fill the map to the brim; even then it is an answer. */
START_TEST(the_very_end_of_the_map_is_an_error_and_the_store_opens_again)
{
    enum {
        MAP = 2 << 20
    };
    workdir_t dir;
    workdir_make(&dir);
    gv_lmdb_options_t options;
    gv_lmdb_options_init(&options);
    options.directory = dir.path;
    options.map_size = MAP;
    options.reserve_bytes = MAP / 2;
    gv_store_t *store = lmdb_open(&options);
    static const uint8_t value[3000];
    gv_err_t err = GV_OK;
    int stored = 0;
    while (err == GV_OK) {
        gv_batch_t *batch;
        gv_batch_new(&batch);
        gv_batch_put(batch, GV_TABLE_OUTBOX, gv_bytes(&stored, sizeof(stored)),
                     gv_bytes(value, sizeof(value)));
        gv_batch_set_draining(batch);
        err = gv_store_write(store, &batch);
        stored += err == GV_OK ? 1 : 0;
        ck_assert_int_lt(stored, MAP / 3000);
    }
    ck_assert_int_eq(err, GV_ERR_FULL);
    ck_assert_int_gt(stored, MAP / 4096 / 2);
    ck_assert_uint_eq(count_records(store, GV_TABLE_OUTBOX), (size_t)stored);
    gv_store_close(&store);
    store = lmdb_open(&options);
    ck_assert_uint_eq(count_records(store, GV_TABLE_OUTBOX), (size_t)stored);
    gv_store_close(&store);
    workdir_remove(&dir);
}
END_TEST

/*
 * In one group: a batch that cannot fit between others that do.  `_i` is 0: the writer sees it
 * coming; 1: all of them drain, so they are tried, and LMDB finds out.
 */
START_TEST(in_a_group_only_what_does_not_fit_is_refused)
{
    fixture_t fx;
    fixture_open(&fx, KIND_LMDB, 4 << 20);
    static const uint8_t value[5 << 20];
    gv_err_t results[40];
    for (int i = 0; i < 40; i++) {
        gv_batch_t *batch;
        gv_batch_new(&batch);
        char key[8];
        (void)snprintf(key, sizeof(key), "%d", i);
        gv_batch_put(batch, GV_TABLE_RETAINED, text(key),
                     gv_bytes(value, i == 20 ? sizeof(value) : 10));
        if (_i == 1) {
            gv_batch_set_draining(batch);
        }
        results[i] = GV_ERR_AGAIN;
        gv_store_submit(&fx.lane, &batch, keep_result, &results[i]);
    }
    fixture_settle(&fx);
    for (int i = 0; i < 40; i++) {
        ck_assert_int_eq(results[i], i == 20 ? GV_ERR_FULL : GV_OK);
    }
    ck_assert_uint_eq(count_records(fx.store, GV_TABLE_RETAINED), 39);
    fixture_close(&fx);
}
END_TEST

/*
 * A limit on file sizes stands in for a failing disk: the write ends short in the middle of a
 * commit, which LMDB calls an input/output error.
 */
START_TEST(a_write_that_fails_within_a_commit_fails_the_batch_and_nothing_else)
{
    fixture_t fx;
    fixture_open(&fx, KIND_LMDB, 0);
    static const uint8_t value[1 << 20];
    ck_assert_ok(fixture_put(&fx, "before", text("x")));
    (void)signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit;
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    rlim_t unlimited = limit.rlim_cur;
    limit.rlim_cur = 200000;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    ck_assert_int_eq(fixture_put(&fx, "large", gv_bytes(value, sizeof(value))), GV_ERR_IO);
    assert_value(fx.store, "large", GV_BYTES_EMPTY);
    ck_assert_uint_eq(gv_counter_get(&gv_store_stats(fx.store)->failed_io), 1);
    ck_assert_ok(fixture_put(&fx, "small", text("x")));
    limit.rlim_cur = unlimited;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    ck_assert_ok(fixture_put(&fx, "large", gv_bytes(value, sizeof(value))));
    assert_value(fx.store, "before", text("x"));
    assert_value(fx.store, "small", text("x"));
    fixture_close(&fx);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("writer");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, batches_of_many_threads_share_commits_and_keep_their_order);
    tcase_add_test(tc, a_lone_batch_is_committed_at_once);
    tcase_add_test(tc, with_sync_interval_the_file_is_synced_by_and_by);
    tcase_add_test(tc, a_file_is_as_long_as_its_pages_even_where_none_was_written);
    tcase_add_test(tc, the_very_end_of_the_map_is_an_error_and_the_store_opens_again);
    tcase_add_loop_test(tc, in_a_group_only_what_does_not_fit_is_refused, 0, 2);
    tcase_add_test(tc, a_write_that_fails_within_a_commit_fails_the_batch_and_nothing_else);
    return run_case("storage", tc);
}
