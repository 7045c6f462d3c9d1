/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The data directory: makes it, locks it for this process, and looks at its contents before LMDB
 * does, because LMDB maps the file and a truncated one is a SIGBUS, not an error.
 *
 * `grapevine.lock` is locked (flock) as long as the directory is open; the system drops the lock
 * with the process, however that ends.  It also remembers that there has been a store, so that a
 * data.mdb that has vanished is noticed and not replaced by an empty one: an empty store would make
 * this a new node and its emptiness could spread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/err.h"

typedef struct gv__datadir {
    char *path;
    int fd; /* the directory itself */
    int lock_fd;
    bool is_new;      /* there has never been a store here */
    bool is_begun;    /* new, and an earlier start has not come to the end of making one */
    bool has_ballast; /* the file `ballast` exists */
} gv__datadir_t;

/* Where an explanation goes: one line. */
typedef struct gv__why {
    char *text;
    size_t size;
} gv__why_t;

void gv__why_set(gv__why_t why, const char *format, ...) GV_PRINTF(2, 3);

/*
 * GV_OK, GV_ERR_BUSY, GV_ERR_DENIED, GV_ERR_INVAL (not a directory), GV_ERR_NOENT (no parent),
 * GV_ERR_CORRUPT (data.mdb is missing, truncated or not ours), GV_ERR_FULL, GV_ERR_IO; with an
 * error `why` is set and nothing is held.
 */
GV_MUST_USE gv_err_t gv__datadir_open(const char *path, gv__datadir_t *dir_out, gv__why_t why);

/* The same for a directory with a store in it; GV_ERR_NOENT if there is none, and nothing is made.
 */
GV_MUST_USE gv_err_t gv__datadir_open_existing(const char *path, gv__datadir_t *dir_out,
                                               gv__why_t why);

/* The store exists now, on the disk: remember it.  Sets is_new to false. */
GV_MUST_USE gv_err_t gv__datadir_mark(gv__datadir_t *dir, gv__why_t why);

/*
 * Sees to it that LMDB's list of readers has its place on the disk, before LMDB maps it: in a hole
 * of a file on a full disk the first reader would be a SIGBUS.  GV_OK, or as of gv__datadir_open().
 */
GV_MUST_USE gv_err_t gv__datadir_fill_readers(gv__datadir_t *dir, gv__why_t why);

/* Gives up the lock. */
void gv__datadir_close(gv__datadir_t *dir);

/*
 * Whether there is a ballast of that size, from an earlier run.  One that is smaller, or that is
 * not wanted (0), is removed: a disk that is full now is not made fuller by a start.
 */
void gv__datadir_find_ballast(gv__datadir_t *dir, uint64_t bytes);

/*
 * Reserves disk space under the name `ballast`; no space is no error, only no ballast.  0: removes
 * what is there.
 */
void gv__datadir_fill_ballast(gv__datadir_t *dir, uint64_t bytes);

/* Gives the space back.  False if there was none. */
bool gv__datadir_drop_ballast(gv__datadir_t *dir);

/* What an ordinary user may still write to the file system [bytes]; UINT64_MAX if unknown. */
uint64_t gv__datadir_free_bytes(const gv__datadir_t *dir);
