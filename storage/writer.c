/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <time.h>

#include "base/io/os.h"
#include "base/log.h"

#include "storage/batch_p.h"
#include "storage/join_p.h"
#include "storage/lmdb_store_p.h"
#include "storage/room_p.h"
#include "storage/store_p.h"

/*
 * The group-commit thread of the LMDB store.  Parts of this file:
 *   apply    batches into a transaction
 *   commit   a group of batches: all together, or in the smallest units when that fails
 *   thread   waiting, taking groups, periodic sync, start and stop
 */

/*
 * A group is everything that waits, up to this much.  It bounds the memory LMDB needs for dirty
 * pages and the time the last of the queue waits; 32 MiB are some 50 ms.
 */
#define GROUP_BYTES_MAX ((size_t)32 << 20)

/* Where a failed write means a full disk even if the system calls it an input/output error. */
#define DISK_FULL_BYTES ((uint64_t)1 << 20)

/* The same clock as pthread_cond_timedwait() is told to use below. */
static uint64_t now_ns(void)
{
    return gv_clock_monotonic_ns(gv_os_clock());
}

static gv_batch_t *batch_at(gv_link_t *link)
{
    return gv_container_of(link, gv_batch_t, link);
}

/* ---- apply ---- */

static int put(MDB_txn *txn, MDB_dbi table, gv_bytes_t key, gv_bytes_t value, unsigned flags)
{
    MDB_val mdb_key = gv__mdb_val(key);
    MDB_val mdb_value = gv__mdb_val(value);
    return mdb_put(txn, table, &mdb_key, &mdb_value, flags);
}

/* `flags`: what it is put with if it is not above all others; LMDB has changed nothing then. */
static int append(MDB_txn *txn, MDB_dbi table, gv_bytes_t key, gv_bytes_t value, unsigned flags)
{
    int rc = put(txn, table, key, value, MDB_APPEND);
    return rc == MDB_KEYEXIST ? put(txn, table, key, value, flags) : rc;
}

static int append_if_missing(MDB_txn *txn, MDB_dbi table, gv_bytes_t key, gv_bytes_t value)
{
    int rc = append(txn, table, key, value, MDB_NOOVERWRITE);
    return rc == MDB_KEYEXIST ? MDB_SUCCESS : rc;
}

static int remove_key(MDB_txn *txn, MDB_dbi table, gv_bytes_t key)
{
    MDB_val mdb_key = gv__mdb_val(key);
    int rc = mdb_del(txn, table, &mdb_key, NULL);
    return rc == MDB_NOTFOUND ? MDB_SUCCESS : rc;
}

static int apply_share(MDB_txn *txn, MDB_dbi table, const gv_batch_op_t *op)
{
    gv_key_t value_key;
    gv__batch_shared_key(op, 0, &value_key);
    int rc = append_if_missing(txn, table, gv_key_bytes(&value_key), op->value);
    return rc == MDB_SUCCESS ? append_if_missing(txn, table, op->key, GV_BYTES_EMPTY) : rc;
}

/* MDB_NOTFOUND: there is none. */
static int find_holder(MDB_txn *txn, MDB_dbi table, const gv_batch_op_t *op)
{
    MDB_cursor *cursor = NULL;
    int rc = mdb_cursor_open(txn, table, &cursor);
    if (rc != MDB_SUCCESS) {
        return rc;
    }
    gv_key_t lowest;
    gv__batch_shared_key(op, 1, &lowest);
    MDB_val key = gv__mdb_val(gv_key_bytes(&lowest));
    MDB_val value;
    rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    if (rc == MDB_SUCCESS && !gv__batch_shares(op, gv__mdb_bytes(key))) {
        rc = MDB_NOTFOUND;
    }
    mdb_cursor_close(cursor);
    return rc;
}

static int apply_unshare(MDB_txn *txn, MDB_dbi table, const gv_batch_op_t *op)
{
    int rc = remove_key(txn, table, op->key);
    if (rc == MDB_SUCCESS) {
        rc = find_holder(txn, table, op);
    }
    if (rc != MDB_NOTFOUND) {
        return rc;
    }
    gv_key_t value_key;
    gv__batch_shared_key(op, 0, &value_key);
    return remove_key(txn, table, gv_key_bytes(&value_key));
}

static int apply_op(MDB_txn *txn, MDB_dbi table, const gv_batch_op_t *op)
{
    switch (op->kind) {
    case GV_BATCH_APPEND:
        return append(txn, table, op->key, op->value, 0);
    case GV_BATCH_PUT:
        return put(txn, table, op->key, op->value, 0);
    case GV_BATCH_DELETE:
        return remove_key(txn, table, op->key);
    case GV_BATCH_SHARE:
        return apply_share(txn, table, op);
    case GV_BATCH_UNSHARE:
        return apply_unshare(txn, table, op);
    }
    return EINVAL;
}

static int apply_batch(gv__lmdb_t *lmdb, MDB_txn *txn, const gv_batch_t *batch)
{
    size_t cursor = 0;
    gv_batch_op_t op;
    int rc = MDB_SUCCESS;
    while (rc == MDB_SUCCESS && gv_batch_next(batch, &cursor, &op)) {
        rc = apply_op(txn, lmdb->tables[op.table], &op);
    }
    return rc;
}

/* ---- commit ---- */

/* What a group comes to, without the batches that were refused. */
typedef struct load {
    uint64_t batches;
    uint64_t changes;
    uint64_t bytes;
    bool synced_wanted;
} load_t;

static load_t load_of(const gv_list_t *group)
{
    load_t load = {.batches = 0};
    gv_list_foreach (group, link) {
        const gv_batch_t *batch = batch_at(link);
        if (batch->result == GV_OK) {
            load.batches++;
            load.changes += gv_batch_count(batch);
            load.bytes += gv_batch_bytes(batch);
            load.synced_wanted = load.synced_wanted || batch->synced_wanted;
        }
    }
    return load;
}

/* A short write is an "input/output error" to LMDB, and mostly it is a full disk. */
static gv_err_t translate(gv__lmdb_t *lmdb, int rc)
{
    gv_err_t err = gv__err_from_mdb(rc);
    if (err == GV_ERR_IO && gv__datadir_free_bytes(&lmdb->dir) < DISK_FULL_BYTES) {
        err = GV_ERR_FULL;
    }
    if (err == GV_ERR_FULL && rc != MDB_MAP_FULL && gv__datadir_drop_ballast(&lmdb->dir)) {
        gv_log_warn("ballast_dropped", "directory='%s'", lmdb->dir.path);
    }
    /* All that is left for a batch: not durable, and it is not the batch's fault. */
    return err == GV_ERR_FULL || err == GV_ERR_LIMIT || err == GV_ERR_NOMEM ? err : GV_ERR_IO;
}

static gv_err_t sync_now(gv__lmdb_t *lmdb)
{
    gv_store_stats_t *stats = &lmdb->base.stats;
    int rc = mdb_env_sync(lmdb->env, 1);
    if (rc != MDB_SUCCESS) {
        gv_counter_add(&stats->failed_syncs, 1);
        gv_log_peer(GV_LOG_ERROR, "store_sync_failed", "error='%s'", mdb_strerror(rc));
        lmdb->writer.unsynced_since_ns = now_ns(); /* again after an interval */
        return translate(lmdb, rc);
    }
    gv_counter_add(&stats->syncs, 1);
    lmdb->writer.unsynced_since_ns = 0;
    return GV_OK;
}

/* One transaction with all batches of the group that are not refused. */
static gv_err_t commit_together(gv__lmdb_t *lmdb, gv_list_t *group)
{
    load_t load = load_of(group);
    if (load.changes == 0) {
        return GV_OK;
    }
    uint64_t begun_at_ns = now_ns();
    gv_err_t err = gv__room_lengthen_file(lmdb, load.changes, load.bytes);
    if (err != GV_OK) {
        return err;
    }
    MDB_txn *txn = NULL;
    int rc = mdb_txn_begin(lmdb->env, NULL, 0, &txn);
    if (rc != MDB_SUCCESS) {
        return translate(lmdb, rc);
    }
    gv_list_foreach (group, link) {
        if (rc == MDB_SUCCESS && batch_at(link)->result == GV_OK) {
            rc = apply_batch(lmdb, txn, batch_at(link));
        }
    }
    if (rc != MDB_SUCCESS) {
        mdb_txn_abort(txn);
        return translate(lmdb, rc);
    }
    rc = mdb_txn_commit(txn);
    if (rc != MDB_SUCCESS) {
        return translate(lmdb, rc);
    }
    uint64_t ended_at_ns = now_ns();
    gv_store_stats_t *stats = &lmdb->base.stats;
    gv_counter_add(&stats->commits, 1);
    gv_counter_add(&stats->batches, load.batches);
    gv_counter_add(&stats->changes, load.changes);
    gv_counter_add(&stats->bytes, load.bytes);
    gv_histogram_add(&stats->batches_per_commit, load.batches);
    gv_histogram_add(&stats->commit_ns, ended_at_ns - begun_at_ns);
    if (lmdb->base.sync == GV_STORE_SYNC_COMMIT) {
        return GV_OK;
    }
    if (lmdb->writer.unsynced_since_ns == 0) {
        lmdb->writer.unsynced_since_ns = ended_at_ns;
    }
    return load.synced_wanted ? sync_now(lmdb) : GV_OK;
}

/* Takes the batches out of the group and posts their completions, in order. */
static void complete_group(gv__lmdb_t *lmdb, gv_list_t *group, gv_err_t result)
{
    gv_store_stats_t *stats = &lmdb->base.stats;
    uint64_t ended_at_ns = now_ns();
    for (gv_link_t *link; (link = gv_list_take_first(group)) != NULL;) {
        gv_batch_t *batch = batch_at(link);
        gv_err_t own = batch->result != GV_OK ? batch->result : result;
        if (own == GV_OK) {
            gv_histogram_add(&stats->done_ns, ended_at_ns - batch->submitted_ns);
        } else {
            gv_counter_add(own == GV_ERR_FULL ? &stats->refused_full : &stats->failed_io, 1);
        }
        gv__join_note_result(batch, own);
        gv_store_complete(batch, own);
    }
}

/*
 * As many transactions as there can be, so that a batch that is too large for any transaction fails
 * alone, or with those it is joined with.  Once there is no space, only those that drain are tried.
 */
static void commit_by_units(gv__lmdb_t *lmdb, gv_list_t *group)
{
    bool is_full = false;
    gv_list_t unit;
    gv_list_init(&unit);
    for (gv_link_t *first; (first = gv_list_first(group)) != NULL;) {
        gv__join_take_unit(group, batch_at(first), &unit);
        gv__join_inherit_errors(&unit);
        gv_list_foreach (&unit, link) {
            gv_batch_t *batch = batch_at(link);
            if (is_full && batch->result == GV_OK && !gv_batch_is_draining(batch)) {
                batch->result = GV_ERR_FULL;
            }
        }
        gv__join_spread_errors(&unit);
        gv_err_t err = commit_together(lmdb, &unit);
        is_full = is_full || err == GV_ERR_FULL;
        complete_group(lmdb, &unit, err);
    }
}

/*
 * After an input/output error there is no second try: what a disk has dropped once it may claim to
 * have written the next time.
 */
static void commit_group(gv__lmdb_t *lmdb, gv_list_t *group)
{
    gv__join_inherit_errors(group);
    gv__room_refuse(lmdb, group);
    gv__join_spread_errors(group);
    gv_err_t err = commit_together(lmdb, group);
    if (err != GV_OK) {
        gv_log_peer(GV_LOG_ERROR, "store_commit_failed", "directory='%s' error='%s'",
                    lmdb->dir.path, gv_err_text(err));
    }
    if (err == GV_ERR_FULL) {
        gv__room_note_refused(lmdb);
    }
    if (err == GV_OK || err == GV_ERR_IO) {
        complete_group(lmdb, group, err);
    } else {
        commit_by_units(lmdb, group);
    }
}

/* ---- thread ---- */

/* When there has to be a sync; 0: not before there is something new. */
static uint64_t sync_due_ns(const gv__lmdb_t *lmdb)
{
    const gv__writer_t *writer = &lmdb->writer;
    bool is_waiting = lmdb->base.sync == GV_STORE_SYNC_INTERVAL && writer->unsynced_since_ns != 0;
    return is_waiting ? writer->unsynced_since_ns + lmdb->sync_interval_ns : 0;
}

/* When the thread has to wake up by itself; 0: not before there is something to do. */
static uint64_t next_due_ns(const gv__lmdb_t *lmdb)
{
    uint64_t sync_due = sync_due_ns(lmdb);
    uint64_t count_due = gv__room_due_ns(lmdb);
    bool is_sync_first = sync_due != 0 && (count_due == 0 || sync_due < count_due);
    return is_sync_first ? sync_due : count_due;
}

static bool is_due(uint64_t due_ns)
{
    return due_ns != 0 && now_ns() >= due_ns;
}

static void wait_until(gv__writer_t *writer, uint64_t due_ns)
{
    if (due_ns == 0) {
        (void)pthread_cond_wait(&writer->filled, &writer->mutex);
        return;
    }
    struct timespec due = {.tv_sec = (time_t)(due_ns / 1000000000U),
                           .tv_nsec = (long)(due_ns % 1000000000U)};
    (void)pthread_cond_timedwait(&writer->filled, &writer->mutex, &due);
}

/* Waits for work.  False when there is none left that can be done and the thread shall end. */
static bool wait_for_group(gv__lmdb_t *lmdb, gv_list_t *group)
{
    gv__writer_t *writer = &lmdb->writer;
    uint64_t due_ns = next_due_ns(lmdb);
    (void)pthread_mutex_lock(&writer->mutex);
    while (gv_list_is_empty(&writer->queue) && !writer->held_ready && !writer->stopping &&
           !is_due(due_ns)) {
        wait_until(writer, due_ns);
    }
    bool goes_on = !writer->stopping || !gv_list_is_empty(&writer->queue) || writer->held_ready;
    gv_list_splice(&writer->held, &writer->queue);
    writer->held_count += writer->queue_count;
    writer->queue_count = 0;
    (void)pthread_mutex_unlock(&writer->mutex);

    writer->held_ready = gv__join_take(&writer->held, GROUP_BYTES_MAX, group);
    gv_list_foreach (group, link) {
        writer->held_count--;
    }
    gv_counter_set(&lmdb->base.stats.queued_batches, writer->held_count);
    return goes_on;
}

/* Nothing will come any more that could make it whole. */
static void refuse_incomplete(gv__lmdb_t *lmdb)
{
    for (gv_link_t *link; (link = gv_list_take_first(&lmdb->writer.held)) != NULL;) {
        gv_store_complete(batch_at(link), GV_ERR_CLOSED);
    }
}

static void *writer_main(void *arg)
{
    gv__lmdb_t *lmdb = arg;
    gv_os_name_thread("gv-store");
    gv_list_t group;
    gv_list_init(&group);
    while (wait_for_group(lmdb, &group)) {
        if (!gv_list_is_empty(&group)) {
            commit_group(lmdb, &group);
        }
        if (is_due(sync_due_ns(lmdb))) {
            (void)sync_now(lmdb);
        }
        if (is_due(gv__room_due_ns(lmdb))) {
            gv__room_count(lmdb);
        }
    }
    refuse_incomplete(lmdb);
    if (lmdb->writer.unsynced_since_ns != 0) {
        (void)sync_now(lmdb);
    }
    return NULL;
}

gv_err_t gv__writer_start(gv__lmdb_t *lmdb)
{
    gv__writer_t *writer = &lmdb->writer;
    gv_list_init(&writer->queue);
    gv_list_init(&writer->held);
    gv_counter_set(&lmdb->base.stats.size_bytes, lmdb->map_bytes);
    gv_counter_set(&lmdb->base.stats.limit_bytes, lmdb->map_bytes - lmdb->reserve_bytes);
    gv__room_count(lmdb);

    (void)pthread_mutex_init(&writer->mutex, NULL);
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&writer->filled, &attr);
    (void)pthread_condattr_destroy(&attr);
    return gv__thread_start(&writer->thread, writer_main, lmdb);
}

void gv__writer_submit(gv__lmdb_t *lmdb, gv_batch_t *batch)
{
    gv__writer_t *writer = &lmdb->writer;
    batch->submitted_ns = now_ns();
    (void)pthread_mutex_lock(&writer->mutex);
    GV_ASSERT(!writer->stopping);
    bool was_empty = gv_list_is_empty(&writer->queue);
    gv_list_append(&writer->queue, &batch->link);
    writer->queue_count++;
    (void)pthread_mutex_unlock(&writer->mutex);
    if (was_empty) {
        (void)pthread_cond_signal(&writer->filled);
    }
}

void gv__writer_stop(gv__lmdb_t *lmdb)
{
    gv__writer_t *writer = &lmdb->writer;
    (void)pthread_mutex_lock(&writer->mutex);
    writer->stopping = true;
    (void)pthread_mutex_unlock(&writer->mutex);
    (void)pthread_cond_signal(&writer->filled);
    (void)pthread_join(writer->thread, NULL);
    (void)pthread_cond_destroy(&writer->filled);
    (void)pthread_mutex_destroy(&writer->mutex);
}
