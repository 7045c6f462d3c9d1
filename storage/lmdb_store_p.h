/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The LMDB store, as its parts see it: lmdb_store.c (opening), lmdb_read.c, the threads in writer.c
 * (with room.c) and reader.c, and inspect.c, which looks at a store that no node has open.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <lmdb.h>

#include "base/list.h"

#include "storage/datadir_p.h"
#include "storage/lmdb_store.h"

typedef struct gv__lmdb gv__lmdb_t;

/*
 * The writer thread.  Batches wait in `queue`; the thread takes what has gathered, in the order
 * submitted, and makes one transaction of it.  What waits for partners (gv_batch_join()), or was
 * too much for one transaction, stays in `held`.
 */
typedef struct gv__writer {
    pthread_t thread;
    pthread_mutex_t
        mutex; /* protects queue, queue_count and stopping; held for a few instructions */
    pthread_cond_t filled; /* queue is not empty any more, or stopping */
    gv_list_t queue;
    size_t queue_count;
    bool stopping;

    /* The thread's own. */
    gv_list_t held; /* older than what is in the queue */
    size_t held_count;
    bool held_ready;         /* there is more in `held` that could be committed at once */
    uint64_t file_bytes;     /* how long data.mdb is at least */
    uint64_t room_bytes;     /* what batches that do not drain may still add, by the last count */
    uint64_t resume_bytes;   /* the room that ends being full */
    uint64_t counted_at_ns;  /* when the room was counted */
    bool has_changed;        /* something has been written since */
    uint64_t refused_at_ns;  /* when a commit last found no space; 0: never */
    uint64_t ballast_due_ns; /* not to be tried before; 0: at once */
    uint64_t unsynced_since_ns; /* the oldest commit that is not synced; 0: none */
} gv__writer_t;

/*
 * The reader thread.  Loads wait in `queue` and are read one after the other, each in a read
 * transaction of its own: one that stayed open would keep the writer from using any page again.
 */
typedef struct gv__reader {
    pthread_t thread;
    pthread_mutex_t mutex; /* protects queue and stopping; held for a few instructions */
    pthread_cond_t filled; /* queue is not empty any more, or stopping */
    gv_list_t queue;
    bool stopping;
} gv__reader_t;

/*
 * When each open read transaction began [ns]; 0: a free place.  A transaction that finds none is
 * not counted: that many are never open at once, since each thread has one at most.
 */
#define GV__READERS_MAX 64U
typedef _Atomic uint64_t gv__readers_t[GV__READERS_MAX];

struct gv__lmdb {
    gv_store_t base;
    gv__datadir_t dir;
    MDB_env *env;
    MDB_dbi tables[GV_TABLE_COUNT];
    uint64_t map_bytes;    /* what the store may become, as configured */
    uint64_t mapped_bytes; /* LMDB's own limit: more, when more than that is in use already */
    uint32_t page_bytes;
    uint64_t reserve_bytes;      /* of the map */
    uint64_t disk_reserve_bytes; /* of the file system */
    uint64_t ballast_bytes;
    uint64_t sync_interval_ns;
    gv__writer_t writer;
    gv__reader_t reader;
    gv__readers_t readers;
};

static inline gv__lmdb_t *gv__lmdb_of(gv_store_t *store)
{
    return gv_container_of(store, gv__lmdb_t, base);
}

/* In `tables`: the store does not have it.  LMDB has the number for its free list. */
#define GV__LMDB_NO_TABLE ((MDB_dbi)0)

/*
 * Opens a store that exists, for a tool: nothing in the directory is changed, no thread is started,
 * and of a store's functions only those that read can be used.  The directory is locked as by a
 * node.  To be closed with gv_store_close().  Errors as of gv_lmdb_store_open(); GV_ERR_NOENT:
 * there is no store.
 */
GV_MUST_USE gv_err_t gv__lmdb_open_offline(const char *directory, gv__lmdb_t **lmdb_out,
                                           gv__why_t why);

/* One read transaction.  Any thread. */
typedef struct gv__read {
    MDB_txn *txn;
    _Atomic uint64_t *begun_ns; /* its place in `readers`, or NULL */
} gv__read_t;

/* GV_OK or an error, after which there is nothing to end. */
GV_MUST_USE gv_err_t gv__lmdb_read_begin(gv__lmdb_t *lmdb, gv__read_t *read_out);
void gv__lmdb_read_end(gv__read_t *read);

/* gv_store_ops_t.oldest_reader_ns, get, last and scan_slice. */
uint64_t gv__lmdb_oldest_reader_ns(const gv_store_t *store);
gv_err_t gv__lmdb_get(gv_store_t *store, gv_table_t table, gv_bytes_t key,
                      gv_store_record_cb_t *on_record, void *arg);
gv_err_t gv__lmdb_last(gv_store_t *store, gv_table_t table, gv_key_t *key_out);
gv_err_t gv__lmdb_scan_slice(gv_store_t *store, gv_table_t table, gv_store_cursor_t *cursor,
                             size_t records_max, gv_store_record_cb_t *on_record, void *arg,
                             bool *ended);

/* The one place where LMDB's codes (and errno values that come through it) are translated. */
gv_err_t gv__err_from_mdb(int rc);

static inline MDB_val gv__mdb_val(gv_bytes_t bytes)
{
    return (MDB_val){.mv_size = bytes.size, .mv_data = (void *)(uintptr_t)bytes.data};
}

static inline gv_bytes_t gv__mdb_bytes(MDB_val val)
{
    return gv_bytes(val.mv_data, val.mv_size);
}

/* A thread that gets no signals: they are the main loop's.  GV_OK or GV_ERR_IO. */
GV_MUST_USE gv_err_t gv__thread_start(pthread_t *thread_out, void *(*main)(void *),
                                      gv__lmdb_t *lmdb);

/* Starts the thread.  GV_OK or GV_ERR_IO. */
GV_MUST_USE gv_err_t gv__writer_start(gv__lmdb_t *lmdb);

/* Hands a batch to the thread.  Any thread. */
void gv__writer_submit(gv__lmdb_t *lmdb, gv_batch_t *batch);

/* Writes what is queued, syncs, and ends the thread. */
void gv__writer_stop(gv__lmdb_t *lmdb);

/* Starts the thread.  GV_OK or GV_ERR_IO. */
GV_MUST_USE gv_err_t gv__reader_start(gv__lmdb_t *lmdb);

/* Hands a load to the thread.  Any thread. */
void gv__reader_ask(gv__lmdb_t *lmdb, gv__load_t *load);

/* Answers what has not begun with GV_ERR_CLOSED, and ends the thread. */
void gv__reader_stop(gv__lmdb_t *lmdb);
