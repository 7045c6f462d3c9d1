/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * How much the LMDB store may still write.
 *
 * At the end of the map, or of the disk, deletes fail as well: they copy pages before they free
 * any.  So new data stops well before, and what is left is for batches that drain.  Room is what
 * the map and the disk can still take above that reserve; it is counted every second at most, and
 * guessed in between.
 *
 * Threads: the writer's.
 */

#include "base/list.h"

#include "storage/lmdb_store_p.h"

/* Pages that LMDB may use again, by a walk through its free list.  Any thread. */
uint64_t gv__room_free_pages(gv__lmdb_t *lmdb);

/* How many pages the file has taken, free ones included.  Any thread. */
uint64_t gv__room_pages(gv__lmdb_t *lmdb);

/* Counts the room, and whether the store is full by it. */
void gv__room_count(gv__lmdb_t *lmdb);

/* Gives GV_ERR_FULL to the batches that do not fit any more.  Those that drain always try. */
void gv__room_refuse(gv__lmdb_t *lmdb, gv_list_t *group);

/* A commit has found no space. */
void gv__room_note_refused(gv__lmdb_t *lmdb);

/* When the room has to be counted though nobody writes; 0: not before somebody does. */
uint64_t gv__room_due_ns(const gv__lmdb_t *lmdb);

/*
 * Keeps the file longer than any page a transaction of this size could use.  LMDB writes no page
 * that is free again at the commit, so without this a healthy file may end before its last page,
 * and a truncated one could not be told from it (lmdb_verify.c).  GV_OK, GV_ERR_FULL or GV_ERR_IO.
 */
GV_MUST_USE gv_err_t gv__room_lengthen_file(gv__lmdb_t *lmdb, uint64_t changes, uint64_t bytes);
