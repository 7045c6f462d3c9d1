/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_STORE

#include "storage/lmdb_store.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"

#include "proto/record.pb-c.h"

#include "storage/batch_p.h"
#include "storage/lmdb_store_p.h"
#include "storage/records.h"
#include "storage/store_p.h"

/*
 * Parts of this file:
 *   threads     what stands between gv_store_t and the writer's and reader's threads
 *   format      is this store one we understand?
 *   opening     for a node; and for a tool, which changes nothing
 */

/* What the tables and records of this program mean.  Higher: written by a newer one. */
#define FORMAT_NUMBER 1U
#define KEY_FORMAT    GV_BYTES_LITERAL("format")

#define SYNC_INTERVAL_DEFAULT_MS 1000U
#define DISK_RESERVE_MAX         ((uint64_t)64 << 20)
#define MAP_SIZE_MIN             ((uint64_t)1 << 20)
#define NS_PER_MS                ((uint64_t)1000000)

/* ---- threads ---- */

static void lmdb_submit(gv_store_t *store, gv_batch_t *batch)
{
    gv__writer_submit(gv__lmdb_of(store), batch);
}

/* Somebody who waits for one batch. */
typedef struct waiter {
    pthread_mutex_t mutex; /* protects done and result */
    pthread_cond_t finished;
    bool done;
    gv_err_t result;
} waiter_t;

/* The waiter's lane has no thread of its own: the writer delivers at once. */
static void post_at_once(void *arg, gv_letter_t *letter)
{
    (void)arg;
    letter->deliver(letter);
}

static void on_written(gv_err_t result, void *arg)
{
    waiter_t *waiter = arg;
    (void)pthread_mutex_lock(&waiter->mutex);
    waiter->result = result;
    waiter->done = true;
    (void)pthread_cond_signal(&waiter->finished);
    (void)pthread_mutex_unlock(&waiter->mutex);
}

static gv_err_t lmdb_write(gv_store_t *store, gv_batch_t *batch)
{
    waiter_t waiter = {.done = false};
    (void)pthread_mutex_init(&waiter.mutex, NULL);
    (void)pthread_cond_init(&waiter.finished, NULL);
    gv_store_lane_t lane;
    gv_store_lane_init(&lane, store, post_at_once, NULL);

    batch->synced_wanted = true;
    gv_store_submit(&lane, &batch, on_written, &waiter);
    (void)pthread_mutex_lock(&waiter.mutex);
    while (!waiter.done) {
        (void)pthread_cond_wait(&waiter.finished, &waiter.mutex);
    }
    (void)pthread_mutex_unlock(&waiter.mutex);

    gv_store_lane_deinit(&lane);
    (void)pthread_cond_destroy(&waiter.finished);
    (void)pthread_mutex_destroy(&waiter.mutex);
    return waiter.result;
}

static void lmdb_free(gv__lmdb_t *lmdb)
{
    if (lmdb->env != NULL) {
        mdb_env_close(lmdb->env);
    }
    gv__datadir_close(&lmdb->dir); /* the lock goes last */
    gv_free(lmdb);
}

static void lmdb_load(gv_store_t *store, gv__load_t *load)
{
    gv__reader_ask(gv__lmdb_of(store), load);
}

static void lmdb_close(gv_store_t *store)
{
    gv__lmdb_t *lmdb = gv__lmdb_of(store);
    gv__reader_stop(lmdb);
    gv__writer_stop(lmdb);
    lmdb_free(lmdb);
}

static void offline_close(gv_store_t *store)
{
    lmdb_free(gv__lmdb_of(store));
}

/* For a tool: there is no thread, and nothing to write. */
static const gv_store_ops_t offline_ops = {
    .get = gv__lmdb_get,
    .last = gv__lmdb_last,
    .scan_slice = gv__lmdb_scan_slice,
    .close = offline_close,
};

static const gv_store_ops_t lmdb_ops = {
    .submit = lmdb_submit,
    .write = lmdb_write,
    .get = gv__lmdb_get,
    .last = gv__lmdb_last,
    .scan_slice = gv__lmdb_scan_slice,
    .oldest_reader_ns = gv__lmdb_oldest_reader_ns,
    .load = lmdb_load,
    .close = lmdb_close,
};

/* ---- format ---- */

/* Reads the format of an existing store before anything in it is touched. */
static gv_err_t check_format(MDB_txn *txn, MDB_dbi meta, const char *path, gv__why_t why)
{
    MDB_val key = gv__mdb_val(KEY_FORMAT);
    MDB_val value;
    gv_err_t err = gv__err_from_mdb(mdb_get(txn, meta, &key, &value));
    ProtobufCMessage *unpacked = NULL;
    if (err == GV_OK) {
        err = gv_record_unpack(GV_TABLE_META, KEY_FORMAT, gv__mdb_bytes(value),
                               &gv__record__format__descriptor, &unpacked);
    }
    const Gv__Record__Format *format = (const Gv__Record__Format *)unpacked;
    if (err == GV_OK && format->format != FORMAT_NUMBER) {
        gv__why_set(why,
                    "the store in '%s' has format %u, made by Grapevine %s, and this is %s, which "
                    "knows format %u: start a newer version",
                    path, format->format, format->written_by, GV_VERSION, FORMAT_NUMBER);
        err = GV_ERR_VERSION;
    } else if (err == GV_ERR_VERSION) {
        gv__why_set(why, "the store in '%s' was written by a newer Grapevine: start that version",
                    path);
    } else if (err != GV_OK) {
        gv__why_set(why,
                    "the store in '%s' is not Grapevine's, or its head is damaged: restore the "
                    "directory from a backup, or give this node another one",
                    path);
        err = err == GV_ERR_IO ? GV_ERR_IO : GV_ERR_CORRUPT;
    }
    gv_record_free(&unpacked);
    return err;
}

/* Returns LMDB's code. */
static int put_format(MDB_txn *txn, MDB_dbi meta)
{
    Gv__Record__Format format = GV__RECORD__FORMAT__INIT;
    char written_by[] = GV_VERSION;
    format.format = FORMAT_NUMBER;
    format.written_by = written_by;
    gv_batch_t *batch;
    gv_batch_new(&batch);
    gv_record_put(batch, GV_TABLE_META, KEY_FORMAT, &format.base);

    int rc = gv_batch_error(batch) == GV_OK ? MDB_SUCCESS : ENOMEM;
    size_t cursor = 0;
    gv_batch_op_t op;
    while (rc == MDB_SUCCESS && gv_batch_next(batch, &cursor, &op)) {
        MDB_val key = gv__mdb_val(op.key);
        MDB_val value = gv__mdb_val(op.value);
        rc = mdb_put(txn, meta, &key, &value, 0);
    }
    gv_batch_free(&batch);
    return rc;
}

static gv_err_t explain(const char *what, int rc, const gv__lmdb_t *lmdb, gv__why_t why)
{
    gv__why_set(why, "cannot %s the store in '%s': %s", what, lmdb->dir.path, mdb_strerror(rc));
    return gv__err_from_mdb(rc);
}

static gv_err_t open_meta(gv__lmdb_t *lmdb, MDB_txn *txn, gv__why_t why)
{
    MDB_dbi *meta = &lmdb->tables[GV_TABLE_META];
    const char *name = gv_table_name(GV_TABLE_META);
    int rc = mdb_dbi_open(txn, name, 0, meta);
    if (rc == MDB_SUCCESS) {
        return check_format(txn, *meta, lmdb->dir.path, why);
    }
    /* All tables come with the first transaction: an environment with none of ours is empty. */
    MDB_stat stat = {.ms_entries = 0};
    (void)mdb_env_stat(lmdb->env, &stat);
    if (rc != MDB_NOTFOUND || stat.ms_entries > 0 || !lmdb->dir.is_new) {
        gv__why_set(why,
                    "the store in '%s' is not Grapevine's, or its head is damaged: restore the "
                    "directory from a backup, or give this node another one",
                    lmdb->dir.path);
        return GV_ERR_CORRUPT;
    }
    rc = mdb_dbi_open(txn, name, MDB_CREATE, meta);
    if (rc == MDB_SUCCESS) {
        rc = put_format(txn, *meta);
    }
    return rc == MDB_SUCCESS ? GV_OK : explain("make", rc, lmdb, why);
}

/* Tables that an older program of the same format did not know are added. */
static gv_err_t open_tables(gv__lmdb_t *lmdb, gv__why_t why)
{
    MDB_txn *txn = NULL;
    int rc = mdb_txn_begin(lmdb->env, NULL, 0, &txn);
    if (rc != MDB_SUCCESS) {
        return explain("open", rc, lmdb, why);
    }
    gv_err_t err = open_meta(lmdb, txn, why);
    if (err != GV_OK) {
        mdb_txn_abort(txn);
        return err;
    }
    for (size_t t = 0; rc == MDB_SUCCESS && t < GV_TABLE_COUNT; t++) {
        const char *name = gv_table_name((gv_table_t)t);
        rc = mdb_dbi_open(txn, name, MDB_CREATE, &lmdb->tables[t]);
    }
    if (rc != MDB_SUCCESS) {
        mdb_txn_abort(txn);
    } else {
        rc = mdb_txn_commit(txn);
    }
    if (rc == MDB_SUCCESS) {
        rc = mdb_env_sync(lmdb->env, 1);
    }
    return rc == MDB_SUCCESS ? GV_OK : explain("open", rc, lmdb, why);
}

/* ---- opening ---- */

void gv_lmdb_options_init(gv_lmdb_options_t *options)
{
    *options = (gv_lmdb_options_t){.directory = NULL, .sync = GV_STORE_SYNC_COMMIT};
}

static gv_err_t take_options(gv__lmdb_t *lmdb, const gv_lmdb_options_t *options, gv__why_t why)
{
    uint64_t map = options->map_size != 0 ? options->map_size : GV_LMDB_MAP_SIZE_DEFAULT;
    uint64_t reserve =
        options->reserve_bytes != 0 ? options->reserve_bytes : gv_lmdb_reserve_default(map);
    if (map < MAP_SIZE_MIN || reserve > map / 2) {
        gv__why_set(why,
                    "storage.map_size of %" PRIu64 " bytes is too small for a reserve of %" PRIu64
                    ": at least twice the reserve and 1 MiB are needed",
                    map, reserve);
        return GV_ERR_INVAL;
    }
    uint32_t interval_ms =
        options->sync_interval_ms != 0 ? options->sync_interval_ms : SYNC_INTERVAL_DEFAULT_MS;
    lmdb->map_bytes = map;
    lmdb->reserve_bytes = reserve;
    /* Of a disk that others fill as well, the share of a 64 GiB map would be too much to ask. */
    lmdb->disk_reserve_bytes = reserve < DISK_RESERVE_MAX ? reserve : DISK_RESERVE_MAX;
    lmdb->ballast_bytes = options->ballast_bytes;
    lmdb->sync_interval_ns = interval_ms * NS_PER_MS;
    lmdb->base.sync = options->sync;
    return GV_OK;
}

/* LMDB calls it before it aborts; the line is all that can be saved. */
static void on_lmdb_assert(MDB_env *env, const char *message)
{
    (void)env;
    gv_log_error("lmdb_assert", "message='%s'", message);
}

static void take_sizes(gv__lmdb_t *lmdb)
{
    MDB_envinfo info;
    MDB_stat stat;
    (void)mdb_env_info(lmdb->env, &info);
    (void)mdb_env_stat(lmdb->env, &stat);
    lmdb->mapped_bytes = info.me_mapsize;
    lmdb->page_bytes = stat.ms_psize;
}

/*
 * A map_size below what is in use already: the store is full, and so that it can be drained there
 * has to be room for deleting all the same.  Nobody reads yet.  Returns LMDB's code.
 */
static int leave_room_to_drain(gv__lmdb_t *lmdb)
{
    take_sizes(lmdb);
    MDB_envinfo info;
    (void)mdb_env_info(lmdb->env, &info);
    uint64_t page = lmdb->page_bytes;
    uint64_t used_bytes = (info.me_last_pgno + 1) * page;
    uint64_t needed = used_bytes + (lmdb->reserve_bytes + page - 1) / page * page;
    if (needed <= lmdb->mapped_bytes) {
        return MDB_SUCCESS;
    }
    gv_log_warn("store_larger_than_map_size",
                "directory='%s' file_bytes=%" PRIu64 " map_size=%" PRIu64, lmdb->dir.path,
                used_bytes, lmdb->map_bytes);
    lmdb->mapped_bytes = needed;
    return mdb_env_set_mapsize(lmdb->env, needed);
}

static gv_err_t open_environment(gv__lmdb_t *lmdb, gv__why_t why)
{
    int rc = mdb_env_create(&lmdb->env);
    if (rc != MDB_SUCCESS) {
        return explain("open", rc, lmdb, why);
    }
    (void)mdb_env_set_assert(lmdb->env, on_lmdb_assert);
    (void)mdb_env_set_maxdbs(lmdb->env, GV_TABLE_COUNT);
    /*
     * The map is made once and not grown later: growing it under a reader leaves the reader's
     * pointers dangling.  It costs address space only.  No MDB_WRITEMAP: a full disk would be a
     * SIGBUS.
     */
    rc = mdb_env_set_mapsize(lmdb->env, lmdb->map_bytes);
    unsigned flags = MDB_NOTLS;
    if (lmdb->base.sync != GV_STORE_SYNC_COMMIT) {
        flags |= MDB_NOSYNC;
    }
    if (rc == MDB_SUCCESS) {
        rc = mdb_env_open(lmdb->env, lmdb->dir.path, flags, 0600);
    }
    if (rc == ENOMEM) {
        gv__why_set(why,
                    "no address space for a storage.map_size of %" PRIu64
                    " bytes: make it smaller, or raise the limit of this process (ulimit -v)",
                    lmdb->map_bytes);
        return GV_ERR_NOMEM;
    }
    if (rc != MDB_SUCCESS) {
        return explain("open", rc, lmdb, why);
    }
    int dead = 0;
    (void)mdb_reader_check(lmdb->env, &dead);
    rc = leave_room_to_drain(lmdb);
    return rc == MDB_SUCCESS ? GV_OK : explain("open", rc, lmdb, why);
}

gv_err_t gv__thread_start(pthread_t *thread_out, void *(*main)(void *), gv__lmdb_t *lmdb)
{
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(thread_out, NULL, main, lmdb);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc == 0 ? GV_OK : GV_ERR_IO;
}

static gv_err_t start_threads(gv__lmdb_t *lmdb, gv__why_t why)
{
    gv_err_t err = gv__writer_start(lmdb);
    if (err != GV_OK) {
        gv__why_set(why, "cannot start the storage writer's thread");
        return err;
    }
    err = gv__reader_start(lmdb);
    if (err != GV_OK) {
        gv__why_set(why, "cannot start the storage reader's thread");
        gv__writer_stop(lmdb);
    }
    return err;
}

static gv_err_t open_all(gv__lmdb_t *lmdb, const gv_lmdb_options_t *options, gv__why_t why)
{
    gv_err_t err = take_options(lmdb, options, why);
    if (err == GV_OK) {
        err = gv__datadir_open(options->directory, &lmdb->dir, why);
    }
    if (err == GV_OK) {
        err = gv__datadir_fill_readers(&lmdb->dir, why);
    }
    if (err == GV_OK) {
        err = open_environment(lmdb, why);
    }
    if (err == GV_OK) {
        err = open_tables(lmdb, why);
    }
    if (err == GV_OK && lmdb->dir.is_new) {
        err = gv__datadir_mark(&lmdb->dir, why);
    }
    if (err != GV_OK) {
        return err;
    }
    gv__datadir_find_ballast(&lmdb->dir, options->ballast_bytes);
    return start_threads(lmdb, why);
}

gv_err_t gv_lmdb_store_open(const gv_lmdb_options_t *options, gv_store_t **store_out, char *why,
                            size_t why_size)
{
    GV_ASSERT(options->directory != NULL);
    GV_ASSERT(why_size > 0);
    *store_out = NULL;
    why[0] = '\0';
    gv__lmdb_t *lmdb = GV_NEW(gv__lmdb_t);
    lmdb->base.ops = &lmdb_ops;
    lmdb->dir = (gv__datadir_t){.fd = -1, .lock_fd = -1};
    gv_err_t err = open_all(lmdb, options, (gv__why_t){.text = why, .size = why_size});
    if (err != GV_OK) {
        lmdb_free(lmdb);
        return err;
    }
    *store_out = &lmdb->base;
    return GV_OK;
}

/* ---- opening for a tool ---- */

static gv_err_t open_existing_tables(gv__lmdb_t *lmdb, gv__why_t why)
{
    MDB_txn *txn = NULL;
    int rc = mdb_txn_begin(lmdb->env, NULL, MDB_RDONLY, &txn);
    if (rc != MDB_SUCCESS) {
        return explain("read", rc, lmdb, why);
    }
    for (size_t t = 0; rc == MDB_SUCCESS && t < GV_TABLE_COUNT; t++) {
        rc = mdb_dbi_open(txn, gv_table_name((gv_table_t)t), 0, &lmdb->tables[t]);
        if (rc == MDB_NOTFOUND) {
            lmdb->tables[t] = GV__LMDB_NO_TABLE; /* of a later program than the store's */
            rc = MDB_SUCCESS;
        }
    }
    gv_err_t err = rc == MDB_SUCCESS
                       ? check_format(txn, lmdb->tables[GV_TABLE_META], lmdb->dir.path, why)
                       : explain("read", rc, lmdb, why);
    if (err != GV_OK) {
        mdb_txn_abort(txn);
        return err;
    }
    rc = mdb_txn_commit(txn); /* which keeps the tables open */
    return rc == MDB_SUCCESS ? GV_OK : explain("read", rc, lmdb, why);
}

static gv_err_t open_existing(gv__lmdb_t *lmdb, const char *directory, gv__why_t why)
{
    gv_err_t err = gv__datadir_open_existing(directory, &lmdb->dir, why);
    if (err != GV_OK) {
        return err;
    }
    int rc = mdb_env_create(&lmdb->env);
    if (rc == MDB_SUCCESS) {
        (void)mdb_env_set_assert(lmdb->env, on_lmdb_assert);
        (void)mdb_env_set_maxdbs(lmdb->env, GV_TABLE_COUNT);
        /* The directory's own lock is held, so LMDB needs none. */
        rc = mdb_env_open(lmdb->env, lmdb->dir.path, MDB_RDONLY | MDB_NOLOCK | MDB_NOTLS, 0600);
    }
    if (rc != MDB_SUCCESS) {
        return explain("read", rc, lmdb, why);
    }
    take_sizes(lmdb);
    lmdb->map_bytes = lmdb->mapped_bytes;
    return open_existing_tables(lmdb, why);
}

gv_err_t gv__lmdb_open_offline(const char *directory, gv__lmdb_t **lmdb_out, gv__why_t why)
{
    *lmdb_out = NULL;
    why.text[0] = '\0';
    gv__lmdb_t *lmdb = GV_NEW(gv__lmdb_t);
    lmdb->base.ops = &offline_ops;
    lmdb->dir = (gv__datadir_t){.fd = -1, .lock_fd = -1};
    gv_err_t err = open_existing(lmdb, directory, why);
    if (err != GV_OK) {
        lmdb_free(lmdb);
        return err;
    }
    *lmdb_out = lmdb;
    return GV_OK;
}
