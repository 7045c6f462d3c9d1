/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The LMDB store, as its parts see it: lmdb_store.c (environment, reading), writer.c. */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <lmdb.h>

#include "base/list.h"

#include "storage/datadir_p.h"
#include "storage/lmdb_store.h"

typedef struct gv__lmdb gv__lmdb_t;

/*
 * The writer thread.  Batches wait in `queue`; the thread takes what has gathered, in the order
 * submitted, and makes one transaction of it.
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
    uint64_t file_bytes;    /* how long data.mdb is at least */
    uint64_t room_bytes;    /* what batches that do not drain may still add, by the last count */
    uint64_t counted_at_ns; /* when the room was counted */
    uint64_t unsynced_since_ns; /* the oldest commit that is not synced; 0: none */
} gv__writer_t;

struct gv__lmdb {
    gv_store_t base;
    gv__datadir_t dir;
    MDB_env *env;
    MDB_dbi tables[GV_TABLE_COUNT];
    uint64_t map_bytes;
    uint32_t page_bytes;
    uint64_t reserve_bytes;      /* of the map */
    uint64_t disk_reserve_bytes; /* of the file system */
    uint64_t sync_interval_ns;
    gv__writer_t writer;
};

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

/* Starts the thread.  GV_OK or GV_ERR_IO. */
GV_MUST_USE gv_err_t gv__writer_start(gv__lmdb_t *lmdb);

/* Hands a batch to the thread.  Any thread. */
void gv__writer_submit(gv__lmdb_t *lmdb, gv_batch_t *batch);

/* Writes what is queued, syncs, and ends the thread. */
void gv__writer_stop(gv__lmdb_t *lmdb);
