/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_STORE

#include "storage/mem_store.h"

#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"

#include "storage/batch_p.h"
#include "storage/join_p.h"
#include "storage/mem_image_p.h"
#include "storage/store_p.h"

/*
 * Parts of this file:
 *   txn       a committed transaction that is not synced yet: its changes, and who waits for it
 *   steps     apply, commit, sync, load
 *   crash, faults, damage
 *   ops       what gv_store_t wants
 */

/* ---- txn ---- */

typedef struct txn {
    gv_link_t link;
    gv_batch_t *redo;  /* all its changes */
    gv_list_t waiting; /* batches to be completed when it is synced */
} txn_t;

typedef struct mem_store {
    gv_store_t base;
    gv_mem_options_t options;
    gv_rng_t rng;

    gv_list_t queue;    /* submitted; at a step's end, what waits for partners */
    gv_list_t ready;    /* submitted, older, and complete */
    gv_list_t loads;    /* gv__load_t: asked for */
    gv_list_t applied;  /* in the transaction that is being built */
    gv_list_t unsynced; /* txn_t: committed, not synced */
    gv_batch_t *ghost;  /* a commit that failed, but may have reached the disk; or NULL */
    gv__image_t committed;
    gv__image_t synced;

    gv_err_t fault;
    uint32_t fault_percent;
    bool fault_filled; /* a commit has found the disk full */
} mem_store_t;

static mem_store_t *mem_of(gv_store_t *store)
{
    return gv_container_of(store, mem_store_t, base);
}

static gv_batch_t *batch_at(gv_link_t *link)
{
    return gv_container_of(link, gv_batch_t, link);
}

static txn_t *txn_at(gv_link_t *link)
{
    return gv_container_of(link, txn_t, link);
}

/* Posts the completions, each with the result the batch has by now. */
static void complete_all(mem_store_t *mem, gv_list_t *batches)
{
    for (gv_link_t *link; (link = gv_list_take_first(batches)) != NULL;) {
        gv_batch_t *batch = batch_at(link);
        gv_counter_add(&mem->base.stats.refused_full, batch->result == GV_ERR_FULL ? 1 : 0);
        gv_counter_add(&mem->base.stats.failed_io,
                       batch->result != GV_OK && batch->result != GV_ERR_FULL ? 1 : 0);
        gv_store_complete(batch, batch->result);
    }
}

static void drop_all(gv_list_t *batches)
{
    for (gv_link_t *link; (link = gv_list_take_first(batches)) != NULL;) {
        gv_batch_t *batch = batch_at(link);
        gv_batch_free(&batch);
    }
}

static void txn_free(txn_t *txn)
{
    gv_list_remove(&txn->link);
    drop_all(&txn->waiting);
    gv_batch_free(&txn->redo);
    gv_free(txn);
}

/* ---- steps ---- */

static bool is_struck(mem_store_t *mem)
{
    return mem->fault != GV_OK && gv_rng_chance(&mem->rng, mem->fault_percent);
}

/* Whether the batch still fits, with everything applied before it (deletes count as nothing). */
static bool fits(const mem_store_t *mem, const gv_batch_t *batch, uint64_t bytes_before)
{
    if (mem->options.size_bytes == 0) {
        return true;
    }
    uint64_t limit = mem->options.size_bytes;
    if (!gv_batch_is_draining(batch)) {
        limit -= mem->options.reserve_bytes;
    }
    uint64_t used = mem->committed.bytes + bytes_before + gv_batch_bytes(batch);
    gv_list_foreach (&mem->applied, link) {
        used += gv_batch_bytes(batch_at(link));
    }
    return used <= limit || !batch->_has_puts;
}

/* The oldest batch of a lane picked at random among those that can be applied. */
static gv_batch_t *pick_ready(mem_store_t *mem)
{
    uint32_t count = 0;
    gv_list_foreach (&mem->ready, link) {
        count++;
    }
    uint32_t skip = gv_rng_below(&mem->rng, count);
    const gv_store_lane_t *lane = NULL;
    gv_list_foreach (&mem->ready, link) {
        if (skip-- == 0) {
            lane = batch_at(link)->lane;
            break;
        }
    }
    gv_list_foreach (&mem->ready, link) {
        if (batch_at(link)->lane == lane) {
            return batch_at(link);
        }
    }
    return NULL; /* not reached: the lane has at least the one that was picked */
}

/* For new data; UINT64_MAX when there is no limit. */
static uint64_t room_of(const mem_store_t *mem)
{
    uint64_t limit = mem->options.size_bytes - mem->options.reserve_bytes;
    uint64_t used = mem->committed.bytes;
    if (mem->options.size_bytes == 0) {
        return UINT64_MAX;
    }
    return limit > used ? limit - used : 0;
}

static uint64_t reserve_left(const mem_store_t *mem)
{
    uint64_t size = mem->options.size_bytes;
    uint64_t used = mem->committed.bytes;
    return size == 0
               ? 100
               : gv__store_reserve_left(size > used ? size - used : 0, mem->options.reserve_bytes);
}

static uint64_t resume_bytes(const mem_store_t *mem)
{
    return gv__store_resume_bytes(mem->options.size_bytes - mem->options.reserve_bytes);
}

/* What the store on disk does every second, here before each step. */
static void look_for_room(mem_store_t *mem)
{
    if (!gv_store_is_full(&mem->base)) {
        return;
    }
    if (mem->fault_filled && !(mem->fault == GV_ERR_FULL && is_struck(mem))) {
        mem->fault_filled = false;
    }
    if (!mem->fault_filled && room_of(mem) >= resume_bytes(mem)) {
        gv__store_set_full(&mem->base, false);
    }
}

static void step_apply(mem_store_t *mem)
{
    gv_list_t unit;
    gv_list_init(&unit);
    gv__join_take_unit(&mem->ready, pick_ready(mem), &unit);
    gv__join_inherit_errors(&unit);
    uint64_t bytes = 0;
    gv_list_foreach (&unit, link) {
        gv_batch_t *batch = batch_at(link);
        if (batch->result == GV_OK && !fits(mem, batch, bytes)) {
            batch->result = GV_ERR_FULL;
            if (room_of(mem) < bytes + resume_bytes(mem)) {
                gv__store_set_full(&mem->base, true);
            }
        }
        bytes += gv_batch_bytes(batch);
    }
    gv__join_spread_errors(&unit);
    gv_list_foreach (&unit, link) {
        gv__join_note_result(batch_at(link), batch_at(link)->result);
    }
    gv_list_splice(&mem->applied, &unit);
}

/* All changes of the batches that were not refused, as one. */
static gv_batch_t *redo_of(const gv_list_t *batches)
{
    gv_batch_t *redo;
    gv_batch_new(&redo);
    gv_list_foreach (batches, link) {
        if (batch_at(link)->result == GV_OK) {
            gv__batch_add_all(redo, batch_at(link));
        }
    }
    GV_ASSERT(gv_batch_error(redo) == GV_OK);
    return redo;
}

/* A transaction with these changes (which it takes), the last of those that are not synced. */
static txn_t *txn_new(mem_store_t *mem, gv_batch_t *redo)
{
    txn_t *txn = GV_NEW(txn_t);
    txn->redo = redo;
    gv_list_init(&txn->waiting);
    gv_list_append(&mem->unsynced, &txn->link);
    return txn;
}

/* Makes `redo` (which it takes) a committed transaction. */
static txn_t *commit_redo(mem_store_t *mem, gv_batch_t *redo)
{
    gv__image_apply(&mem->committed, redo);
    gv_batch_free(&mem->ghost); /* its place on the disk is overwritten now */

    gv_store_stats_t *stats = &mem->base.stats;
    gv_counter_add(&stats->commits, 1);
    gv_counter_add(&stats->changes, gv_batch_count(redo));
    gv_counter_add(&stats->bytes, gv_batch_bytes(redo));
    gv_counter_set(&stats->used_bytes, mem->committed.bytes);
    gv_counter_set(&stats->reserve_left, reserve_left(mem));
    if (room_of(mem) == 0) {
        gv__store_set_full(&mem->base, true);
    }
    return txn_new(mem, redo);
}

static void count_batches(mem_store_t *mem, const gv_list_t *batches)
{
    uint64_t count = 0;
    gv_list_foreach (batches, link) {
        count += batch_at(link)->result == GV_OK ? 1 : 0;
    }
    gv_counter_add(&mem->base.stats.batches, count);
    gv_histogram_add(&mem->base.stats.batches_per_commit, count);
}

/*
 * The transaction fails as a whole; after an input/output error nobody knows what the disk has.
 * What is left of it is an empty one, in which its batches wait for those before them.
 */
static txn_t *fail_commit(mem_store_t *mem, gv_batch_t *redo, gv_err_t fault)
{
    gv_list_foreach (&mem->applied, link) {
        gv_batch_t *batch = batch_at(link);
        gv__join_note_result(batch, batch->result != GV_OK ? batch->result : fault);
    }
    if (fault == GV_ERR_FULL) {
        mem->fault_filled = true;
        gv__store_set_full(&mem->base, true);
    }
    gv_batch_free(&mem->ghost);
    if (fault == GV_ERR_IO) {
        mem->ghost = redo;
    } else {
        gv_batch_free(&redo);
    }
    gv_batch_t *nothing;
    gv_batch_new(&nothing);
    return txn_new(mem, nothing);
}

static void step_commit(mem_store_t *mem)
{
    gv_batch_t *redo = redo_of(&mem->applied);
    txn_t *txn = NULL;
    if (is_struck(mem)) {
        txn = fail_commit(mem, redo, mem->fault);
    } else {
        count_batches(mem, &mem->applied);
        txn = commit_redo(mem, redo);
    }
    if (mem->options.sync == GV_STORE_SYNC_COMMIT) {
        gv_list_splice(&txn->waiting, &mem->applied);
    } else {
        complete_all(mem, &mem->applied);
    }
}

static void step_sync(mem_store_t *mem)
{
    for (gv_link_t *link; (link = gv_list_first(&mem->unsynced)) != NULL;) {
        txn_t *txn = txn_at(link);
        gv__image_apply(&mem->synced, txn->redo);
        complete_all(mem, &txn->waiting);
        txn_free(txn);
    }
    gv_counter_add(&mem->base.stats.syncs, 1);
}

static gv__load_t *load_at(gv_link_t *link)
{
    return gv_container_of(link, gv__load_t, link);
}

/* The oldest load of a lane picked at random among those that wait. */
static void step_load(mem_store_t *mem)
{
    uint32_t count = 0;
    gv_list_foreach (&mem->loads, link) {
        count++;
    }
    uint32_t skip = gv_rng_below(&mem->rng, count);
    gv_link_t *picked = gv_list_first(&mem->loads);
    while (skip-- > 0) {
        picked = gv_list_next(&mem->loads, picked);
    }
    gv_link_t *oldest = gv_list_first(&mem->loads);
    while (load_at(oldest)->lane != load_at(picked)->lane) {
        oldest = gv_list_next(&mem->loads, oldest);
    }
    gv_list_remove(oldest);
    gv__load_read(load_at(oldest));
    gv_counter_add(&mem->base.stats.loads, 1);
    gv__load_finish(load_at(oldest));
}

typedef void step_t(mem_store_t *mem);

bool gv_mem_store_step(gv_store_t *store)
{
    mem_store_t *mem = mem_of(store);
    step_t *possible[4];
    uint32_t count = 0;
    look_for_room(mem);
    (void)gv__join_take(&mem->queue, SIZE_MAX, &mem->ready);
    if (!gv_list_is_empty(&mem->ready)) {
        possible[count++] = step_apply;
    }
    if (!gv_list_is_empty(&mem->applied)) {
        possible[count++] = step_commit;
    }
    if (!gv_list_is_empty(&mem->unsynced) && mem->options.sync != GV_STORE_SYNC_OFF) {
        possible[count++] = step_sync;
    }
    if (!gv_list_is_empty(&mem->loads)) {
        possible[count++] = step_load;
    }
    if (count == 0) {
        return false;
    }
    possible[gv_rng_below(&mem->rng, count)](mem);
    return true;
}

void gv_mem_store_settle(gv_store_t *store)
{
    while (gv_mem_store_step(store)) {
    }
}

/* ---- crash, faults, damage ---- */

void gv_mem_store_crash(gv_store_t *store, gv_mem_crash_t crash)
{
    mem_store_t *mem = mem_of(store);
    /* The commit that was under way may have been through, though nobody was told. */
    if (!gv_list_is_empty(&mem->applied) && gv_rng_chance(&mem->rng, 50)) {
        (void)commit_redo(mem, redo_of(&mem->applied));
    } else if (mem->ghost != NULL && gv_rng_chance(&mem->rng, 50)) {
        gv_batch_t *ghost = mem->ghost;
        mem->ghost = NULL;
        (void)commit_redo(mem, ghost);
    }
    gv_batch_free(&mem->ghost);
    drop_all(&mem->queue);
    drop_all(&mem->ready);
    drop_all(&mem->applied);
    for (gv_link_t *link; (link = gv_list_take_first(&mem->loads)) != NULL;) {
        gv__load_free(load_at(link));
    }

    bool survives = true;
    gv_list_foreach_safe (&mem->unsynced, link) {
        txn_t *txn = txn_at(link);
        drop_all(&txn->waiting);
        if (crash == GV_MEM_CRASH_PROCESS) {
            continue; /* still in the system's cache */
        }
        survives = survives && gv_rng_chance(&mem->rng, 50);
        if (survives) {
            gv__image_apply(&mem->synced, txn->redo);
        }
        txn_free(txn);
    }
    mem->fault_filled = false;
    gv__store_set_full(&mem->base, false);
    if (crash == GV_MEM_CRASH_POWER) {
        gv__image_copy(&mem->committed, &mem->synced);
    }
}

void gv_mem_store_set_fault(gv_store_t *store, gv_err_t fault, uint32_t percent)
{
    GV_ASSERT(percent <= 100);
    mem_store_t *mem = mem_of(store);
    mem->fault = fault;
    mem->fault_percent = percent;
}

static void flip_bit(gv__image_table_t *table, gv_bytes_t key, size_t offset, uint8_t bit)
{
    size_t index = gv__image_find(table, key);
    if (gv__image_has(table, index, key)) {
        gv__image_record_t *record = table->records[index];
        if (offset < record->value_size) {
            record->data[record->key_size + offset] ^= bit;
        }
    }
}

/* One at random, or the first one behind it that has a value; NULL: none has. */
static const gv__image_record_t *pick_value(mem_store_t *mem, const gv__image_table_t *table)
{
    size_t picked = gv_rng_below(&mem->rng, (uint32_t)table->count);
    for (size_t n = 0; n < table->count; n++) {
        const gv__image_record_t *record = table->records[(picked + n) % table->count];
        if (record->value_size > 0) {
            return record;
        }
    }
    return NULL;
}

bool gv_mem_store_damage(gv_store_t *store, gv_table_t table_number)
{
    mem_store_t *mem = mem_of(store);
    gv__image_table_t *table = &mem->committed.tables[table_number];
    if (table->count == 0) {
        return false;
    }
    const gv__image_record_t *record = pick_value(mem, table);
    if (record == NULL) {
        return false;
    }
    size_t offset = gv_rng_below(&mem->rng, (uint32_t)record->value_size);
    uint8_t bit = (uint8_t)(1U << gv_rng_below(&mem->rng, 8));
    flip_bit(&mem->synced.tables[table_number], gv__image_key(record), offset, bit);
    flip_bit(table, gv__image_key(record), offset, bit);
    return true;
}

/* ---- ops ---- */

static void mem_submit(gv_store_t *store, gv_batch_t *batch)
{
    gv_list_append(&mem_of(store)->queue, &batch->link);
}

static gv_err_t mem_write(gv_store_t *store, gv_batch_t *batch)
{
    mem_store_t *mem = mem_of(store);
    gv_err_t result = batch->result;
    if (result == GV_OK && !fits(mem, batch, 0)) {
        result = GV_ERR_FULL;
    }
    if (result == GV_OK && is_struck(mem)) {
        result = mem->fault;
    }
    if (result == GV_OK) {
        (void)commit_redo(mem, batch);
        step_sync(mem);
    } else {
        gv_batch_free(&batch);
    }
    return result;
}

static gv_err_t mem_get(gv_store_t *store, gv_table_t table_number, gv_bytes_t key,
                        gv_store_record_cb_t *on_record, void *arg)
{
    const gv__image_table_t *table = &mem_of(store)->committed.tables[table_number];
    size_t index = gv__image_find(table, key);
    if (!gv__image_has(table, index, key)) {
        return GV_ERR_NOENT;
    }
    return on_record(key, gv__image_value(table->records[index]), arg);
}

static gv_err_t mem_last(gv_store_t *store, gv_table_t table_number, gv_key_t *key_out)
{
    const gv__image_table_t *table = &mem_of(store)->committed.tables[table_number];
    if (table->count == 0) {
        return GV_ERR_NOENT;
    }
    gv_bytes_t key = gv__image_key(table->records[table->count - 1]);
    memcpy(key_out->data, key.data, key.size);
    key_out->size = key.size;
    return GV_OK;
}

static gv_err_t mem_scan_slice(gv_store_t *store, gv_table_t table_number,
                               gv_store_cursor_t *cursor, size_t records_max,
                               gv_store_record_cb_t *on_record, void *arg, bool *ended)
{
    const gv__image_table_t *table = &mem_of(store)->committed.tables[table_number];
    gv_bytes_t from = gv_bytes(cursor->_key, cursor->_key_size);
    size_t index = gv__image_find(table, from);
    if (cursor->_after && gv__image_has(table, index, from)) {
        index++;
    }
    gv_err_t err = GV_OK;
    for (size_t n = 0; n < records_max && index < table->count && err == GV_OK; n++, index++) {
        const gv__image_record_t *record = table->records[index];
        gv__store_cursor_pass(cursor, gv__image_key(record));
        err = on_record(gv__image_key(record), gv__image_value(record), arg);
    }
    *ended = err == GV_OK && index == table->count;
    return err;
}

static void mem_load(gv_store_t *store, gv__load_t *load)
{
    gv_list_append(&mem_of(store)->loads, &load->link);
}

static void mem_close(gv_store_t *store)
{
    mem_store_t *mem = mem_of(store);
    for (gv_link_t *link; (link = gv_list_take_first(&mem->loads)) != NULL;) {
        gv__load_finish(load_at(link)); /* GV_ERR_CLOSED, as it was made */
    }
    gv_mem_store_settle(store);
    while (!gv_list_is_empty(&mem->unsynced)) {
        step_sync(mem);
    }
    for (gv_link_t *link; (link = gv_list_take_first(&mem->queue)) != NULL;) {
        gv_store_complete(batch_at(link), GV_ERR_CLOSED); /* its partners never came */
    }
    gv_batch_free(&mem->ghost);
    gv__image_clear(&mem->committed);
    gv__image_clear(&mem->synced);
    gv_free(mem);
}

static const gv_store_ops_t mem_ops = {
    .submit = mem_submit,
    .write = mem_write,
    .get = mem_get,
    .last = mem_last,
    .scan_slice = mem_scan_slice,
    .load = mem_load,
    .close = mem_close,
};

void gv_mem_store_new(const gv_mem_options_t *options, gv_store_t **store_out)
{
    GV_ASSERT(options->reserve_bytes <= options->size_bytes);
    mem_store_t *mem = GV_NEW(mem_store_t);
    mem->base.ops = &mem_ops;
    mem->base.sync = options->sync;
    mem->options = *options;
    gv_rng_init(&mem->rng, options->seed, 0);
    gv_list_init(&mem->queue);
    gv_list_init(&mem->ready);
    gv_list_init(&mem->loads);
    gv_list_init(&mem->applied);
    gv_list_init(&mem->unsynced);
    mem->fault = GV_OK;
    gv_counter_set(&mem->base.stats.size_bytes, options->size_bytes);
    gv_counter_set(&mem->base.stats.limit_bytes, options->size_bytes - options->reserve_bytes);
    gv_counter_set(&mem->base.stats.reserve_left, 100);
    *store_out = &mem->base;
}
