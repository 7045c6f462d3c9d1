/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A store in memory with a disk's bad habits, for the simulator and for tests.
 *
 * Three layers, as between a process and a disk:
 *
 *     submitted -> applied    in the transaction that is being built     dies with the process
 *                  committed  in the system's cache                      dies with the power
 *                  synced     on the disk
 *
 * Nothing moves by itself: gv_mem_store_step() does one step, chosen by the seed, so that batches
 * of different lanes overtake each other, transactions group at random, and a crash can come
 * between any two of them.  Completions are posted when the batch is as safe as the sync mode
 * promises; a load is answered by a step too.  The same seed and the same calls give the same
 * history.
 *
 * Threads: one.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#include "storage/store.h"

typedef struct gv_mem_options {
    uint64_t seed;
    gv_store_sync_t sync;
    uint64_t size_bytes;    /* 0: no limit */
    uint64_t reserve_bytes; /* of these, only for batches that drain */
} gv_mem_options_t;

/* Never fails. */
void gv_mem_store_new(const gv_mem_options_t *options, gv_store_t **store_out);

/* Does one step.  False: there was nothing to do. */
bool gv_mem_store_step(gv_store_t *store);

/* Steps until there is nothing to do. */
void gv_mem_store_settle(gv_store_t *store);

typedef enum gv_mem_crash {
    GV_MEM_CRASH_PROCESS, /* kill -9: what was committed is there */
    GV_MEM_CRASH_POWER,   /* what was synced is there, and perhaps some of what was committed */
} gv_mem_crash_t;

/*
 * Loses what such a crash loses: of the layers that may go, a random first part survives, in the
 * order of the transactions and each whole.  Batches that were not completed never will be: their
 * lanes are forgotten (the node that had them is dead) and may not be used again; loads alike.
 * The store itself can be used by the restarted node at once.
 */
void gv_mem_store_crash(gv_store_t *store, gv_mem_crash_t crash);

/*
 * From now on `percent` of 100 transactions fail: GV_ERR_IO or GV_ERR_FULL (a full disk: the
 * transaction is undone as a whole).  A failed sync is GV_ERR_IO as well; with sync = commit its
 * transaction may be found after a crash all the same, as on a real disk.  GV_OK ends it.
 */
void gv_mem_store_set_fault(gv_store_t *store, gv_err_t fault, uint32_t percent);

/* Flips one bit in a stored value, chosen by the seed.  False: the table has no values. */
bool gv_mem_store_damage(gv_store_t *store, gv_table_t table);
