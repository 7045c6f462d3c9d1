/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_store: durable tables, and the way from a loop to the disk and back.
 *
 * Two stores stand behind this header: LMDB with a writer thread (storage/lmdb_store.h) and one in
 * memory with simulated crashes and faults (storage/mem_store.h).  Callers cannot tell them apart.
 *
 * Writing.  A submitter (a shard, the cluster loop) has a lane: its own way into the store.
 *
 *     gv_store_lane_init(&lane, store, post, arg)      once per submitter
 *     gv_batch_new(&batch); gv_batch_put(batch, ...)   collect the changes of a turn
 *     gv_store_submit(&lane, &batch, on_done, arg)     hand them over
 *     on_done(result, arg)                             later, on the lane's own thread
 *
 * on_done is never called from within gv_store_submit().  What its result means:
 *
 *   GV_OK        every change of the batch is durable as storage.sync promises (gv_store_sync_t)
 *   GV_ERR_FULL  nothing of it was applied: the disk or the configured size is full.  Batches that
 *                drain (gv_batch_set_draining()) still work; the rest does when space has returned
 *   GV_ERR_IO    not acknowledged by the disk.  The batch may be found after a restart all the
 *                same: replaying must be idempotent
 *   GV_ERR_NOMEM, GV_ERR_LIMIT   the batch could not be built (gv_batch_error()), or is too large
 * for any transaction; nothing applied GV_ERR_CLOSED   it was waiting for its partners in a join
 * (gv_batch_join()) when the store was closed; nothing applied
 *
 * Order: batches of one lane are applied, become durable and are completed in the order submitted,
 * except that one which fails is passed over, with those that follow it (gv_batch_follow()).
 * Batches of two lanes come in any order.  Many batches share one transaction and one sync (group
 * commit); how many is the store's business, except for joined ones.
 *
 * Reading is for the start of a node and for tools: gv_store_get(), gv_store_last(),
 * gv_store_scan().  A running loop that must read (a queue that was not kept in memory) asks with
 * gv_store_load(), which does not wait for the disk on the loop's thread.
 *
 * Threads: each function says it.  A lane belongs to one thread.
 * Memory: a submitted batch is held until its completion has run; gv_store_lane_pending_bytes() is
 * what a submitter uses to slow its publishers.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/defs.h"
#include "base/err.h"
#include "base/letter.h"
#include "base/msgbuf.h"
#include "base/stats.h"

#include "storage/batch.h"
#include "storage/keys.h"

typedef struct gv_store gv_store_t;
typedef struct gv_store_lane gv_store_lane_t;

/* ---- promises ---- */

typedef enum gv_store_sync {
    GV_STORE_SYNC_COMMIT,   /* durable = on the disk: survives the process and the power */
    GV_STORE_SYNC_INTERVAL, /* durable = in the system's cache: survives the process.  Synced every
                               so many ms: a power failure takes at most that from a disk and file
                               system that write in order, and may take more from others */
    GV_STORE_SYNC_OFF,      /* as INTERVAL, but synced only when the store is closed */
} gv_store_sync_t;

/* "commit", "interval", "off" -> mode; false if it is none of these. */
bool gv_store_sync_parse(const char *text, gv_store_sync_t *sync_out);

const char *gv_store_sync_name(gv_store_sync_t sync);

/* One sentence for status: what an acknowledgement means in this mode. */
const char *gv_store_sync_promise(gv_store_sync_t sync);

/* ---- writing ---- */

typedef void gv_store_done_cb_t(gv_err_t result, void *arg);

/*
 * Port: brings the letter to the lane's thread, where letter->deliver(letter) must be run, letters
 * of one lane in the order posted.  Called on any thread.  The real one is
 * gv_store_post_to_loop() (storage/post.h); a simulator queues the letter.
 */
typedef void gv_store_post_t(void *arg, gv_letter_t *letter);

/* Public only so that submitters can embed it.  Names that start with _ are not for callers. */
struct gv_store_lane {
    gv_store_t *_store;
    gv_store_post_t *_post;
    void *_post_arg;
    size_t _pending_count;
    size_t _pending_bytes;
    size_t _loading_count;
    gv_err_t _failure; /* of the last batch; the store's thread */
};

/* Before the lane's thread runs, or on it. */
void gv_store_lane_init(gv_store_lane_t *lane, gv_store_t *store, gv_store_post_t *post, void *arg);

/* Asserts that nothing is pending, loads included. */
void gv_store_lane_deinit(gv_store_lane_t *lane);

/*
 * Hands the batch over: *batchp is NULL afterwards.  Always answered by exactly one on_done, also
 * for an empty batch (which tells that everything before it is done) and for one that has failed.
 * The lane's thread only.  Never blocks on the disk.
 */
void gv_store_submit(gv_store_lane_t *lane, gv_batch_t **batchp, gv_store_done_cb_t *on_done,
                     void *arg);

/* Batches submitted and not completed yet, and the bytes they hold.  The lane's thread only. */
size_t gv_store_lane_pending(const gv_store_lane_t *lane);
size_t gv_store_lane_pending_bytes(const gv_store_lane_t *lane);

/*
 * Writes a batch, which has no joins, and waits until it is on the disk, synced in every mode.
 * *batchp is NULL afterwards.  Same results as a completion.  For the start of a node and for
 * tools: not on a loop.
 */
GV_MUST_USE gv_err_t gv_store_write(gv_store_t *store, gv_batch_t **batchp);

/* ---- reading ---- */

/* The views are valid until it returns.  Anything but GV_OK ends the walk and is handed on. */
typedef gv_err_t gv_store_record_cb_t(gv_bytes_t key, gv_bytes_t value, void *arg);

/*
 * Calls on_record with the committed value of a key.  Returns what on_record returned,
 * GV_ERR_NOENT when there is none, or GV_ERR_IO.  Any thread.
 */
GV_ANY_THREAD GV_MUST_USE gv_err_t gv_store_get(gv_store_t *store, gv_table_t table, gv_bytes_t key,
                                                gv_store_record_cb_t *on_record, void *arg);

/*
 * The highest committed key of a table; no value is read.  GV_ERR_NOENT when the table is empty, or
 * GV_ERR_IO.  Any thread.
 */
GV_ANY_THREAD GV_MUST_USE gv_err_t gv_store_last(gv_store_t *store, gv_table_t table,
                                                 gv_key_t *key_out);

/* Where a walk is.  Start with gv_store_cursor_init(); one that begins in the middle sets a key. */
typedef struct gv_store_cursor {
    size_t _key_size; /* 0: before the first record */
    bool _after;      /* the record with exactly this key has been seen already */
    uint8_t _key[GV_KEY_SIZE_MAX];
} gv_store_cursor_t;

void gv_store_cursor_init(gv_store_cursor_t *cursor);

/* The walk begins at the first key that is not below `from`. */
void gv_store_cursor_init_at(gv_store_cursor_t *cursor, gv_bytes_t from);

/*
 * Walks on for at most `records_max` records within one short read transaction, in the order of the
 * keys.  *ended tells whether the end of the table was reached.  Between slices the table may
 * change: what is added or removed behind the cursor is not seen, everything else once.
 * Returns GV_OK, what on_record returned, or GV_ERR_IO.  Any thread.
 */
GV_ANY_THREAD GV_MUST_USE gv_err_t gv_store_scan_slice(gv_store_t *store, gv_table_t table,
                                                       gv_store_cursor_t *cursor,
                                                       size_t records_max,
                                                       gv_store_record_cb_t *on_record, void *arg,
                                                       bool *ended);

/* Walks a whole table, in slices.  Results as above. */
GV_ANY_THREAD GV_MUST_USE gv_err_t gv_store_scan(gv_store_t *store, gv_table_t table,
                                                 gv_store_record_cb_t *on_record, void *arg);

/*
 * `value` is a sealed copy of the committed value, and its reference the callee's; NULL unless the
 * result is GV_OK.  Other results: GV_ERR_NOENT, GV_ERR_NOMEM, GV_ERR_LIMIT (more than
 * GV_MSGBUF_SIZE_MAX), GV_ERR_IO, and GV_ERR_CLOSED (the store was closed before).
 */
typedef void gv_store_loaded_cb_t(gv_err_t result, gv_msgbuf_t *value, void *arg);

/*
 * Reads one value without waiting: on_loaded comes later, on the lane's thread, exactly once, and
 * never from within the call.  The key is copied.  Loads of one lane are answered in the order
 * asked.  They are not ordered with its batches: what was submitted and is not completed yet may
 * or may not be seen.  How many loads are under way, and so how much memory they take, is the
 * caller's to limit.  The lane's thread only.
 */
void gv_store_load(gv_store_lane_t *lane, gv_table_t table, gv_bytes_t key,
                   gv_store_loaded_cb_t *on_loaded, void *arg);

/* Loads that were asked for and not answered yet.  The lane's thread only. */
size_t gv_store_lane_loading(const gv_store_lane_t *lane);

/* ---- figures ---- */

/* Any thread may read them, with gv_counter_get() and gv_histogram_merge(). */
typedef struct gv_store_stats {
    gv_counter_t commits;      /* transactions that ended well */
    gv_counter_t batches;      /* batches in them */
    gv_counter_t changes;      /* keys changed in them, at most (gv_batch_count()) */
    gv_counter_t bytes;        /* keys and values in them */
    gv_counter_t syncs;        /* of the file, in the modes interval and off */
    gv_counter_t refused_full; /* batches completed with GV_ERR_FULL */
    gv_counter_t failed_io; /* batches completed with another error: hardly ever not the disk's */
    gv_counter_t failed_syncs;   /* interval and off: what was acknowledged may be gone */
    gv_counter_t queued_batches; /* gauge: waiting for the writer */
    gv_counter_t used_bytes;     /* gauge: pages in use, as of the last commit */
    gv_counter_t limit_bytes;    /* gauge: soft limit; above it only draining batches work */
    gv_counter_t size_bytes;     /* gauge: the configured size of the store */
    gv_counter_t reserve_left;   /* gauge: of 100, what batches that drain may still take before the
                                    disk or the configured size is at its end */
    gv_histogram_t commit_ns;    /* one transaction, from its begin to the end of its sync */
    gv_histogram_t done_ns;      /* one batch, from its submission to its durability */
    gv_histogram_t batches_per_commit;
    gv_counter_t loads;            /* values read by gv_store_load() */
    gv_histogram_t load_ns;        /* one load, from the call to the moment it is posted */
    atomic_uint_least64_t damaged; /* records found damaged while reading, by any thread */
} gv_store_stats_t;

/*
 * Whether new data would be refused: the soft limit is reached, or the disk was full the last time
 * it was tried.  It stays so until there is some room again, not merely a page, and is looked at
 * every second also when nobody writes.  A hint to turn work away before it begins, and cheap; the
 * answer is a batch's result.
 */
GV_ANY_THREAD bool gv_store_is_full(const gv_store_t *store);

GV_ANY_THREAD const gv_store_stats_t *gv_store_stats(const gv_store_t *store);

GV_ANY_THREAD gv_store_sync_t gv_store_sync_mode(const gv_store_t *store);

/*
 * How long the oldest read transaction has been open [ns]; 0: none is.  As long as it is, no page
 * that commits have left since is used again, and the store grows.
 */
GV_ANY_THREAD uint64_t gv_store_oldest_reader_ns(const gv_store_t *store);

/*
 * Counts and logs (rate limited) a record whose checksum or structure is wrong.  The reader skips
 * it; it stays where it is, as evidence, until a newer value replaces it.  It never becomes a
 * delete.
 */
GV_ANY_THREAD void gv_store_note_damaged(gv_store_t *store, gv_table_t table, gv_bytes_t key);

/* ---- end ---- */

/*
 * Commits and syncs everything submitted, posts the completions, answers the loads that have not
 * begun with GV_ERR_CLOSED, closes and frees the store and sets *storep to NULL.  Blocks.  The
 * order at the end of a node: submitters stop submitting; this; the loops are freed (which delivers
 * the last completions); lanes are deinitialised.
 */
void gv_store_close(gv_store_t **storep);

/* ---- for stores ---- */

/* One gv_store_load() under way (storage/store_p.h). */
typedef struct gv__load gv__load_t;

/*
 * A submitted batch comes back through gv_store_complete(), and a load through gv__load_finish(),
 * exactly once, on any thread.
 */
typedef struct gv_store_ops {
    void (*submit)(gv_store_t *store, gv_batch_t *batch);
    gv_err_t (*write)(gv_store_t *store, gv_batch_t *batch); /* frees the batch */
    gv_err_t (*get)(gv_store_t *store, gv_table_t table, gv_bytes_t key,
                    gv_store_record_cb_t *on_record, void *arg);
    gv_err_t (*last)(gv_store_t *store, gv_table_t table, gv_key_t *key_out);
    gv_err_t (*scan_slice)(gv_store_t *store, gv_table_t table, gv_store_cursor_t *cursor,
                           size_t records_max, gv_store_record_cb_t *on_record, void *arg,
                           bool *ended);
    void (*load)(gv_store_t *store, gv__load_t *load);
    uint64_t (*oldest_reader_ns)(const gv_store_t *store); /* NULL: reading takes no time */
    void (*close)(gv_store_t *store);                      /* frees the store too */
} gv_store_ops_t;

/* The head of every store.  An implementation embeds it. */
struct gv_store {
    const gv_store_ops_t *ops;
    gv_store_sync_t sync;
    atomic_bool is_full; /* gv__store_set_full() */
    gv_store_stats_t stats;

    /* For tools, which tell of damage themselves; NULL: it is logged. */
    void (*on_damaged)(gv_table_t table, gv_bytes_t key, void *arg);
    void *on_damaged_arg;
};

/* Posts the completion of a submitted batch to its lane.  The batch is the lane's from here on. */
void gv_store_complete(gv_batch_t *batch, gv_err_t result);
