/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Which batches may or must share a transaction, when some are joined (gv_batch_join()).
 *
 * The lists hold batches as they were submitted: those of one lane in their order.  A set of them
 * is *closed* when it has with each batch all those before it on its lane, and all parts of its
 * joins. Only closed sets may be committed: taken out of what waits, they leave the order of every
 * lane and the atomicity of every join intact.  Two closed sets together are closed again, so there
 * is always a largest one.
 *
 * All functions keep the order of what they move.  Cost: that of a walk for batches without joins;
 * for others, in the number of batches and of the joins they name.
 *
 * Threads: pure functions of the lists and their batches.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/list.h"

#include "storage/store.h"

/*
 * Moves a closed set from `waiting` to the end of `group`: the oldest batches first, with what they
 * need, until they come to `bytes_max`; then returns true, if more could be taken.  Otherwise the
 * set is the largest there is, perhaps none at all.
 */
bool gv__join_take(gv_list_t *waiting, size_t bytes_max, gv_list_t *group);

/*
 * Moves a closed set that has no smaller one within it to the end of `unit`: `seed`, or something
 * that has to be committed before it or with it.  `from` is closed, and `seed` is in it, the oldest
 * of its lane.  Taking units until nothing is left commits everything, each on its own if it fails.
 */
void gv__join_take_unit(gv_list_t *from, gv_batch_t *seed, gv_list_t *unit);

/* A batch that follows one that has failed before gets its error. */
void gv__join_inherit_errors(gv_list_t *group);

/* The batch has this result, also for those that follow it. */
void gv__join_note_result(gv_batch_t *batch, gv_err_t result);

/*
 * A batch whose result is an error gives it to all those it is joined with and to the one that
 * follows it, and they to theirs.  `group` is closed.
 */
void gv__join_spread_errors(gv_list_t *group);
