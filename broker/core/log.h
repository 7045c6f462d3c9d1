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
#include <stddef.h>
#include <stdint.h>

/*
 * Large messages for several shards.  Each writes its own deliveries; the message itself stands in
 * the store once, under a number that it gets when it is routed, and each segment that refers to it
 * holds it (storage/payload_store.h).  So segments come and go by themselves all the same.
 */

typedef struct gv_old_segment {
    uint64_t number;
    uint64_t *payloads; /* that it holds: the log's */
    uint32_t payload_count;
    uint32_t bytes;           /* with its payloads */
    uint32_t deliveries;      /* that were written to it */
    _Atomic uint32_t holders; /* shards that have live deliveries in it */
} gv_old_segment_t;

typedef struct gv_log {
    _Atomic uint64_t next_number;
    _Atomic uint64_t next_payload;
    gv_old_segment_t *old; /* by number; written before the shards run, but for the holders */
    uint32_t old_count;
    uint32_t old_capacity;
    uint32_t old_deleting;     /* the first so many are being deleted; shard 0's */
    _Atomic uint32_t old_gone; /* so many have been deleted durably; shard 0 writes */
    _Atomic bool wants_room;   /* somebody would delete segments of this run, but old ones remain */
} gv_log_t;

void gv_log_init(gv_log_t *log);
void gv_log_deinit(gv_log_t *log);

/*
 * Before the shards run: there is this segment, above those added before, and its `payloads` are
 * the log's to free.  Holders: none yet.
 */
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

/* Before the shards run: there may be payloads up to this number. */
void gv_log_pass_payload(gv_log_t *log, uint64_t number);

/*
 * Smaller payloads are not shared: they might have half a page, but a put and a delete for each
 * message cost the writer several times what it costs to append it to a segment [bytes].
 */
#define GV_LOG_SHARED_MIN 2048U

/*
 * The number by which so many shards share a payload of that size; 0 if it takes less of the disk
 * when each has its own, because a value that is not small has whole pages to itself.  Any thread.
 */
uint64_t gv_log_name_payload(gv_log_t *log, size_t size, uint32_t shards);

/* A shard does not need an old segment any more. */
void gv_log_release_old(gv_log_t *log, uint64_t number);

/*
 * Shard 0: the next old segment to delete, borrowed, or NULL.  It counts as being deleted then;
 * gv_log_old_deleted() says that the first `count` are durably gone.
 */
bool gv_log_may_take_old(const gv_log_t *log);
const gv_old_segment_t *gv_log_take_old(gv_log_t *log);
void gv_log_old_deleted(gv_log_t *log, uint32_t count);

/* Whether segments of this run may be deleted.  Any shard. */
bool gv_log_old_is_gone(const gv_log_t *log);
