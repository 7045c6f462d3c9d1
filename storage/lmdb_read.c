/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/io/os.h"

#include "storage/lmdb_store_p.h"
#include "storage/store_p.h"

/* Reading the LMDB store: one short read transaction for each call, on any thread. */

/* ---- codes ---- */

gv_err_t gv__err_from_mdb(int rc)
{
    switch (rc) {
    case MDB_SUCCESS:
        return GV_OK;
    case MDB_NOTFOUND:
        return GV_ERR_NOENT;
    case MDB_MAP_FULL:
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return GV_ERR_FULL;
    case MDB_TXN_FULL:
        return GV_ERR_LIMIT;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
        return GV_ERR_CORRUPT;
    case MDB_VERSION_MISMATCH:
        return GV_ERR_VERSION;
    case ENOMEM:
        return GV_ERR_NOMEM;
    case EACCES:
    case EPERM:
    case EROFS:
        return GV_ERR_DENIED;
    default:
        return GV_ERR_IO;
    }
}

/* ---- reading ---- */

static uint64_t now_ns(void)
{
    return gv_clock_monotonic_ns(gv_os_clock());
}

/* Relaxed, here and below: they are figures, and nothing is read because of them. */
static _Atomic uint64_t *take_place(gv__lmdb_t *lmdb)
{
    uint64_t begun_ns = now_ns();
    for (size_t i = 0; i < GV__READERS_MAX; i++) {
        uint64_t is_free = 0;
        if (atomic_compare_exchange_strong_explicit(&lmdb->readers[i], &is_free, begun_ns,
                                                    memory_order_relaxed, memory_order_relaxed)) {
            return &lmdb->readers[i];
        }
    }
    return NULL;
}

gv_err_t gv__lmdb_read_begin(gv__lmdb_t *lmdb, gv__read_t *read_out)
{
    gv__read_t *read = read_out;
    *read = (gv__read_t){.txn = NULL};
    int rc = mdb_txn_begin(lmdb->env, NULL, MDB_RDONLY, &read->txn);
    if (rc == MDB_READERS_FULL) { /* a slot that a dead reader left is taken back once */
        int dead = 0;
        (void)mdb_reader_check(lmdb->env, &dead);
        rc = mdb_txn_begin(lmdb->env, NULL, MDB_RDONLY, &read->txn);
    }
    if (rc == MDB_SUCCESS) {
        read->begun_ns = take_place(lmdb);
    }
    return gv__err_from_mdb(rc);
}

void gv__lmdb_read_end(gv__read_t *read)
{
    mdb_txn_abort(read->txn);
    if (read->begun_ns != NULL) {
        atomic_store_explicit(read->begun_ns, 0, memory_order_relaxed);
    }
    *read = (gv__read_t){.txn = NULL};
}

uint64_t gv__lmdb_oldest_reader_ns(const gv_store_t *store)
{
    const gv__lmdb_t *lmdb = gv_container_of(store, gv__lmdb_t, base);
    uint64_t oldest_ns = UINT64_MAX;
    for (size_t i = 0; i < GV__READERS_MAX; i++) {
        uint64_t begun_ns = atomic_load_explicit(&lmdb->readers[i], memory_order_relaxed);
        if (begun_ns != 0 && begun_ns < oldest_ns) {
            oldest_ns = begun_ns;
        }
    }
    uint64_t at_ns = now_ns();
    return at_ns > oldest_ns ? at_ns - oldest_ns : 0;
}

gv_err_t gv__lmdb_get(gv_store_t *store, gv_table_t table, gv_bytes_t key,
                      gv_store_record_cb_t *on_record, void *arg)
{
    gv__lmdb_t *lmdb = gv__lmdb_of(store);
    if (lmdb->tables[table] == GV__LMDB_NO_TABLE) {
        return GV_ERR_NOENT;
    }
    gv__read_t read;
    gv_err_t err = gv__lmdb_read_begin(lmdb, &read);
    if (err != GV_OK) {
        return err;
    }
    MDB_val mdb_key = gv__mdb_val(key);
    MDB_val value;
    err = gv__err_from_mdb(mdb_get(read.txn, lmdb->tables[table], &mdb_key, &value));
    if (err == GV_OK) {
        err = on_record(key, gv__mdb_bytes(value), arg);
    }
    gv__lmdb_read_end(&read);
    return err;
}

static gv_err_t read_last(MDB_cursor *cursor, gv_key_t *key_out)
{
    MDB_val key;
    MDB_val value; /* where it is; its bytes are not touched */
    int rc = mdb_cursor_get(cursor, &key, &value, MDB_LAST);
    if (rc == MDB_SUCCESS) {
        GV_ASSERT(key.mv_size <= GV_KEY_SIZE_MAX);
        memcpy(key_out->data, key.mv_data, key.mv_size);
        key_out->size = key.mv_size;
    }
    return gv__err_from_mdb(rc);
}

/* A read transaction with a cursor in a table that is there.  On an error there is nothing to end.
 */
static gv_err_t cursor_begin(gv__lmdb_t *lmdb, gv_table_t table, gv__read_t *read_out,
                             MDB_cursor **cursor_out)
{
    gv_err_t err = gv__lmdb_read_begin(lmdb, read_out);
    if (err != GV_OK) {
        return err;
    }
    err = gv__err_from_mdb(mdb_cursor_open(read_out->txn, lmdb->tables[table], cursor_out));
    if (err != GV_OK) {
        gv__lmdb_read_end(read_out);
    }
    return err;
}

static void cursor_end(gv__read_t *read, MDB_cursor *cursor)
{
    mdb_cursor_close(cursor);
    gv__lmdb_read_end(read);
}

gv_err_t gv__lmdb_last(gv_store_t *store, gv_table_t table, gv_key_t *key_out)
{
    gv__lmdb_t *lmdb = gv__lmdb_of(store);
    if (lmdb->tables[table] == GV__LMDB_NO_TABLE) {
        return GV_ERR_NOENT;
    }
    gv__read_t read;
    MDB_cursor *cursor = NULL;
    gv_err_t err = cursor_begin(lmdb, table, &read, &cursor);
    if (err == GV_OK) {
        err = read_last(cursor, key_out);
        cursor_end(&read, cursor);
    }
    return err;
}

/* Sets the LMDB cursor to the first record the walk has not seen. */
static int seek(MDB_cursor *mdb_cursor, const gv_store_cursor_t *cursor, MDB_val *key,
                MDB_val *value)
{
    if (cursor->_key_size == 0) {
        return mdb_cursor_get(mdb_cursor, key, value, MDB_FIRST);
    }
    gv_bytes_t from = gv_bytes(cursor->_key, cursor->_key_size);
    *key = gv__mdb_val(from);
    int rc = mdb_cursor_get(mdb_cursor, key, value, MDB_SET_RANGE);
    if (rc == MDB_SUCCESS && cursor->_after && gv_bytes_equal(gv__mdb_bytes(*key), from)) {
        rc = mdb_cursor_get(mdb_cursor, key, value, MDB_NEXT);
    }
    return rc;
}

static gv_err_t walk(MDB_cursor *mdb_cursor, gv_store_cursor_t *cursor, size_t records_max,
                     gv_store_record_cb_t *on_record, void *arg, bool *ended)
{
    MDB_val key;
    MDB_val value;
    int rc = seek(mdb_cursor, cursor, &key, &value);
    for (size_t n = 0; rc == MDB_SUCCESS && n < records_max; n++) {
        gv__store_cursor_pass(cursor, gv__mdb_bytes(key));
        gv_err_t err = on_record(gv__mdb_bytes(key), gv__mdb_bytes(value), arg);
        if (err != GV_OK) {
            return err;
        }
        rc = mdb_cursor_get(mdb_cursor, &key, &value, MDB_NEXT);
    }
    *ended = rc == MDB_NOTFOUND;
    return rc == MDB_NOTFOUND ? GV_OK : gv__err_from_mdb(rc);
}

gv_err_t gv__lmdb_scan_slice(gv_store_t *store, gv_table_t table, gv_store_cursor_t *cursor,
                             size_t records_max, gv_store_record_cb_t *on_record, void *arg,
                             bool *ended)
{
    gv__lmdb_t *lmdb = gv__lmdb_of(store);
    if (lmdb->tables[table] == GV__LMDB_NO_TABLE) {
        *ended = true;
        return GV_OK;
    }
    gv__read_t read;
    MDB_cursor *mdb_cursor = NULL;
    gv_err_t err = cursor_begin(lmdb, table, &read, &mdb_cursor);
    if (err == GV_OK) {
        err = walk(mdb_cursor, cursor, records_max, on_record, arg, ended);
        cursor_end(&read, mdb_cursor);
    }
    return err;
}
