/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The store on disk: an LMDB environment in a data directory, and one writer thread.
 *
 * The writer takes everything that has been submitted meanwhile into one transaction and syncs
 * once: alone a batch is committed at once, under load hundreds share a sync.
 *
 * Large values.  One of more than 2 KB takes pages of its own, which have to lie in a row; so a log
 * of large values is packed by its writer, and 1 MiB is a good size to pack: a commit of one takes
 * 2 ms, throughput grows no further (over 1 GiB/s here), and the file is a fifth larger than what
 * is alive.  At 4 MiB commits take twice as long, with tails of 40 ms, and holes that nothing fits
 * cost a third; below 256 KiB the work per commit shows.  A file that was larger once stays so, and
 * is not slower for it.  Measured with tests/bench/segment_bench.
 *
 * The data directory holds `data.mdb`, `lock.mdb` (LMDB's own), `grapevine.lock` (locked as long as
 * the store is open: one process per directory) and perhaps `ballast`, a file that is deleted when
 * the disk is full to leave room to drain.  It must be on a local file system.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/err.h"

#include "storage/store.h"

/* Address space, not disk: the file grows as it is used. */
#define GV_LMDB_MAP_SIZE_DEFAULT ((uint64_t)64 << 30)

typedef struct gv_lmdb_options {
    const char *directory; /* made, with mode 0700, if its parent exists */
    gv_store_sync_t sync;
    uint32_t sync_interval_ms; /* GV_STORE_SYNC_INTERVAL only; 0: 1000 */
    uint64_t map_size;         /* [bytes]; the store's final size.  0: GV_LMDB_MAP_SIZE_DEFAULT */
    uint64_t reserve_bytes;    /* kept free for draining.  0: the larger of 64 MiB and 5 % */
    uint64_t ballast_bytes;    /* 0: no ballast */
} gv_lmdb_options_t;

/* What a reserve of 0 means for a map of so many bytes.  A map has to be twice its reserve. */
static inline uint64_t gv_lmdb_reserve_default(uint64_t map_size)
{
    const uint64_t least = (uint64_t)64 << 20;
    const uint64_t part = map_size / 20;
    return part > least ? part : least;
}

/* Defaults: sync = commit, the rest 0. */
void gv_lmdb_options_init(gv_lmdb_options_t *options);

/*
 * Opens the store, or makes it.  Starts the writer thread.
 *
 * Returns GV_OK and the store; GV_ERR_BUSY: another process has the directory; GV_ERR_DENIED: no
 * permission; GV_ERR_CORRUPT: data.mdb is truncated or not LMDB's; GV_ERR_VERSION: written by a
 * newer Grapevine; GV_ERR_INVAL: not a directory, or sizes that make no sense; GV_ERR_NOENT: the
 * directory's parent is missing; GV_ERR_FULL; GV_ERR_NOMEM; GV_ERR_IO.  With an error `why` holds
 * one line that says what is wrong and what to do.
 */
GV_MUST_USE gv_err_t gv_lmdb_store_open(const gv_lmdb_options_t *options, gv_store_t **store_out,
                                        char *why, size_t why_size);
