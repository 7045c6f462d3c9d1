/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_log: what the shards of a node share about the message log on disk.
 *
 * Each shard appends segments of its own (journal.h); their numbers come from one counter, so that
 * the order of numbers is the order of time for everything that one shard has written.  When a node
 * starts, sessions may find themselves on other shards than before, so a segment of the run before
 * ("old") may hold deliveries of several shards.  It goes when none of them needs it any more, and
 * strictly the oldest first, because marks in a later segment speak of deliveries in earlier ones.
 * Until all old ones are gone, no shard deletes segments of this run.
 *
 * Threads: gv_log_add_old() before the shards run; the rest any shard's, as each function says.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct gv_old_segment {
    uint64_t number;
    uint32_t bytes;
    uint32_t deliveries;      /* that were written to it */
    _Atomic uint32_t holders; /* shards that have live deliveries in it */
} gv_old_segment_t;

typedef struct gv_log {
    _Atomic uint64_t next_number;
    gv_old_segment_t *old; /* by number; written before the shards run, but for the holders */
    uint32_t old_count;
    uint32_t old_capacity;
    uint32_t old_deleting;     /* the first so many are being deleted; shard 0's */
    _Atomic uint32_t old_gone; /* so many have been deleted durably; shard 0 writes */
    _Atomic bool wants_room;   /* somebody would delete segments of this run, but old ones remain */
} gv_log_t;

void gv_log_init(gv_log_t *log);
void gv_log_deinit(gv_log_t *log);

/* Before the shards run: there is this segment, above those added before.  Holders: none yet. */
void gv_log_add_old(gv_log_t *log, const gv_old_segment_t *old);

/* Numbers are below this: a place (backlog.h) has 40 bits for them. */
#define GV_LOG_NUMBER_MAX ((uint64_t)1 << 40)

/*
 * Before the shards run: there is something under this number that is left alone.  A number that
 * cannot be one is a damaged key, and never in the way.
 */
void gv_log_pass_by(gv_log_t *log, uint64_t number);

/* Its index among the old ones; it is one. */
uint32_t gv_log_find_old(const gv_log_t *log, uint64_t number);

/* Before the shards run: one shard more has live deliveries in it. */
void gv_log_hold_old(gv_log_t *log, uint64_t number);

/* A number above all there were.  Any shard. */
uint64_t gv_log_next_number(gv_log_t *log);

/* A shard does not need an old segment any more. */
void gv_log_release_old(gv_log_t *log, uint64_t number);

/*
 * Shard 0: the next old segment to delete, or 0.  It counts as being deleted then;
 * gv_log_old_deleted() says that the first `count` are durably gone.
 */
bool gv_log_may_take_old(const gv_log_t *log);
uint64_t gv_log_take_old(gv_log_t *log);
void gv_log_old_deleted(gv_log_t *log, uint32_t count);

/* Whether segments of this run may be deleted.  Any shard. */
bool gv_log_old_is_gone(const gv_log_t *log);
