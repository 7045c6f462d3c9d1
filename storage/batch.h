/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_batch: a list of changes that become durable together or not at all.
 *
 * Whatever must be atomic (a message and the link cursor it came under) goes into one batch, or
 * into several that are joined (gv_batch_join()).  Changes are applied in the order they were
 * added, so a later one to the same key wins.
 *
 * Life of a batch:
 *     gv_batch_new()                       empty
 *     gv_batch_put(), _append(), _delete(), _share(), _unshare() add changes
 *     gv_store_submit(lane, &batch, ...)   it belongs to the store now, which frees it
 *     gv_batch_free()                      only for a batch that is not submitted after all
 *
 * Keys and values are copied into one growing arena.  Their sizes come from peers, so running out
 * of memory is an answer: the error is sticky, and a batch that has it fails as a whole when it is
 * submitted.  So the adding functions return nothing and need no check.
 *
 * Threads: one at a time.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/defs.h"
#include "base/err.h"

#include "storage/keys.h"

typedef struct gv_batch gv_batch_t;

/* Never fails. */
void gv_batch_new(gv_batch_t **batch_out);

/* NULL in *batchp is allowed. */
void gv_batch_free(gv_batch_t **batchp);

/* Sets the value of a key, whether it is there or not.  1 <= key.size <= GV_KEY_SIZE_MAX. */
void gv_batch_put(gv_batch_t *batch, gv_table_t table, gv_bytes_t key, gv_bytes_t value);

/*
 * As gv_batch_put(), but gives room for `size` bytes of value to be filled in by the caller, which
 * saves a copy of a large payload.  The room is valid until the next call with this batch.  NULL
 * when the batch has failed.
 */
GV_MUST_USE uint8_t *gv_batch_put_room(gv_batch_t *batch, gv_table_t table, gv_bytes_t key,
                                       size_t size);

/*
 * As gv_batch_put(), for keys that are mostly above all others of the table (logs): the store then
 * goes to the end at once and packs its pages full.  A key that is not above the others is put in
 * its place all the same.
 */
void gv_batch_append(gv_batch_t *batch, gv_table_t table, gv_bytes_t key, gv_bytes_t value);

/* Removes a key; nothing happens if it is not there. */
void gv_batch_delete(gv_batch_t *batch, gv_table_t table, gv_bytes_t key);

/*
 * Shared values: one that several holders have, and that goes with the last of them.  Its key is a
 * number (u64) and 0; each holder has an empty record under the number and its own, which is not 0.
 * Who holds it is written down, rather than how many do, so both changes may be made twice, as
 * after an input/output error, and nothing is lost or kept by it.
 *
 * A table has either shared values or what the other functions put there.
 */

/*
 * From now on the holder has the value.  Every holder brings it, as nobody knows whose batch is
 * applied first; it is written if it is not there yet.  Holders of one number bring the same value.
 */
void gv_batch_share(gv_batch_t *batch, gv_table_t table, uint64_t number, uint64_t holder,
                    gv_bytes_t value);

/* As gv_batch_share(), with room for the value as of gv_batch_put_room(). */
GV_MUST_USE uint8_t *gv_batch_share_room(gv_batch_t *batch, gv_table_t table, uint64_t number,
                                         uint64_t holder, size_t size);

/*
 * The holder does not have it any more, and without any holder the value is removed.  Nothing
 * happens if none of them is there.  Counts as a delete.
 */
void gv_batch_unshare(gv_batch_t *batch, gv_table_t table, uint64_t number, uint64_t holder);

/*
 * Marks a batch that has to work when the store is full, because it makes room or because it
 * confirms what was already promised (cursors, acknowledgements).  It may use the reserve above the
 * soft limit.  A batch of deletes only is so by itself.
 */
void gv_batch_set_draining(gv_batch_t *batch);

/* Whether it may use the reserve: marked, or nothing but deletes. */
bool gv_batch_is_draining(const gv_batch_t *batch);

/*
 * Makes the batch one part of a join: the `parts` batches of one store that name the same `join`
 * are applied in one transaction or not at all, whatever lanes they come by.  When one of them is
 * refused, all are, with the same result.  For what concerns several threads and has to become
 * durable at once: a packet id that was received here, and the message that is queued there.
 *
 * A batch may be a part of any number of joins, and the order of its lane holds all the same: a
 * batch that waits for its partners makes those after it wait too.  So every part has to be
 * submitted, soon, and none may wait for another one's completion.  What is still incomplete when
 * the store is closed is answered with GV_ERR_CLOSED, and what came after it on its lane as well.
 *
 * The number is the caller's: one join in the life of a store.  All parts say the same `parts`; 1
 * is allowed and means nothing.  Naming a join twice in one batch counts once.
 */
void gv_batch_join(gv_batch_t *batch, uint64_t join, uint32_t parts);

/*
 * The batch builds on the one submitted before it on its lane: if that one fails, so does this one,
 * with the same result.  For what has to be submitted before the answer to what it builds on.
 */
void gv_batch_follow(gv_batch_t *batch);

/* How many keys it changes at most: two for a share or an unshare, one for all others. */
size_t gv_batch_count(const gv_batch_t *batch);

/* Keys and values with their small headers [bytes]; what the batch holds in memory. */
size_t gv_batch_bytes(const gv_batch_t *batch);

/* GV_OK, GV_ERR_NOMEM, or GV_ERR_LIMIT (a value of 4 GiB or more). */
gv_err_t gv_batch_error(const gv_batch_t *batch);

/* ---- reading, for stores ---- */

typedef enum gv_batch_kind {
    GV_BATCH_PUT,
    GV_BATCH_APPEND,
    GV_BATCH_DELETE,
    GV_BATCH_SHARE,
    GV_BATCH_UNSHARE,
} gv_batch_kind_t;

/* Views into the batch; valid until it changes or is freed. */
typedef struct gv_batch_op {
    gv_batch_kind_t kind;
    gv_table_t table;
    gv_bytes_t key;   /* the holder's, for a share and an unshare */
    gv_bytes_t value; /* empty for a delete and an unshare */
} gv_batch_op_t;

/* Start with *cursor = 0.  Fills *op_out with the next change; false at the end. */
bool gv_batch_next(const gv_batch_t *batch, size_t *cursor, gv_batch_op_t *op_out);
