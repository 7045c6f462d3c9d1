/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_LOG

#include "broker/core/journal.h"

#include "broker/core/journal_p.h"

/* So many flushes may be on their way; what comes meanwhile shares the next. */
#define FLUSHES_MAX 2U

/* With more than this waiting for the disk, publishers wait as well [bytes]. */
#define PENDING_BYTES_MAX ((size_t)16 << 20)

static void on_timer(gv_timer_t *timer);

void gv_journal_new(gv_shard_t *shard, const gv_journal_options_t *options,
                    gv_journal_t **journal_out)
{
    gv_journal_t *journal = GV_NEW(gv_journal_t);
    journal->shard = shard;
    journal->log = options->log;
    journal->store = options->store;
    journal->clean_bytes_min = options->clean_bytes_min;
    gv_store_lane_init(&journal->lane, options->store, options->post, options->post_arg);
    gv_list_init(&journal->closed);
    gv_list_init(&journal->submitted);
    gv_list_init(&journal->loads);
    gv_timer_init(&journal->timer, on_timer);
    gv_shelf_init(&journal->shelf, options->image_bytes_max);
    *journal_out = journal;
}

void gv_journal_free(gv_journal_t **journalp)
{
    gv_journal_t *journal = *journalp;
    *journalp = NULL;
    gv_timer_stop(&journal->timer);
    if (gv_list_is_empty(&journal->submitted) && gv_list_is_empty(&journal->loads)) {
        gv_store_lane_deinit(&journal->lane);
    } /* else the store has crashed (storage/mem_store.h), and its lanes with it */
    gv__journal_drop_loads(journal);
    gv_list_splice(&journal->closed, &journal->submitted);
    for (gv_link_t *link; (link = gv_list_take_first(&journal->closed)) != NULL;) {
        gv__part_free(gv_container_of(link, gv_part_t, link));
    }
    if (journal->open != NULL) {
        gv__part_free(journal->open);
    }
    gv_shelf_deinit(&journal->shelf);
    gv_free(journal->ids.data);
    gv_free(journal->undeleted.data);
    gv_free(journal->dirty.data);
    gv_free(journal);
}

gv_shelf_t *gv_journal_shelf(gv_journal_t *journal)
{
    return &journal->shelf;
}

bool gv_journal_is_full(const gv_journal_t *journal)
{
    return journal->pending_bytes > PENDING_BYTES_MAX;
}

bool gv_journal_refuses(const gv_journal_t *journal)
{
    return journal->is_finished || journal->is_failing || gv_store_is_full(journal->store);
}

/* ---- submitting ------------------------------------------------------------------------------ */

void gv__journal_arm(gv_journal_t *journal, uint64_t delay_ms)
{
    gv_timer_t *timer = &journal->timer;
    uint64_t at_ms = journal->shard->now_ms + delay_ms;
    if (!gv_timer_is_armed(timer) || at_ms < journal->timer_at_ms) {
        journal->timer_at_ms = at_ms;
        gv_timer_start(journal->shard->wheel, timer, at_ms);
    }
}

static void delete_segment(gv_part_t *part, uint64_t number)
{
    gv_key_t key;
    gv_key_from_number(&key, number);
    gv_batch_delete(part->batch, GV_TABLE_QUEUE_LOG, gv_key_bytes(&key));
    *GV_PILE_PUSH(&part->deletes, uint64_t) = number;
    part->has_tables = true;
}

/* What an earlier part should have deleted. */
static void trim_again(gv_journal_t *journal, gv_part_t *part)
{
    for (size_t i = 0; i < GV_PILE_COUNT(&journal->undeleted, uint64_t); i++) {
        delete_segment(part, *GV_PILE_AT(&journal->undeleted, uint64_t, i));
    }
    if (journal->has_undeleted_old) {
        part->deleting_old = journal->log->old_deleting;
    }
    journal->undeleted.size = 0;
    journal->has_undeleted_old = false;
}

/* Segments that nobody needs go, the oldest first. */
static void trim(gv_journal_t *journal, gv_part_t *part)
{
    trim_again(journal, part);
    gv_volume_t *volume = NULL;
    while ((volume = gv_shelf_oldest(&journal->shelf)) != NULL && volume->live == 0 &&
           volume->is_durable && gv_list_is_empty(&volume->waiting)) {
        if (volume->is_old) {
            gv_log_release_old(journal->log, volume->number);
        } else if (!gv_log_old_is_gone(journal->log)) {
            if (gv__journal_needs_cleaning(journal)) {
                atomic_store_explicit(&journal->log->wants_room, true, memory_order_relaxed);
            }
            break;
        } else if (volume->bytes > 0) {
            delete_segment(part, volume->number);
        }
        gv_shelf_remove_oldest(&journal->shelf);
    }
    if (journal->shard->index == 0) {
        uint64_t number = 0;
        while ((number = gv_log_take_old(journal->log)) != 0) {
            delete_segment(part, number);
            part->deleting_old = journal->log->old_deleting;
        }
    }
}

static void submit(gv_journal_t *journal, gv_part_t *part)
{
    /*
     * It may use the reserve: it says what is done, makes room, or changes what is there.  Whether
     * a new session, subscription or retained message is taken has been decided before
     * (gv_journal_refuses()); if such a change kept acknowledgements from being written, a full
     * store would never have room again.
     */
    bool promises_only = part->total == GV_PILE_COUNT(&part->moves, gv_part_move_t);
    if (part->volume != NULL) {
        gv__part_write(journal, part);
    }
    if (promises_only) {
        gv_batch_set_draining(part->batch);
    }
    /*
     * What it says builds on the parts before it: marks name deliveries that have been given away
     * there, and a segment may go because an older one has.
     */
    if (!gv_list_is_empty(&journal->submitted)) {
        gv_batch_follow(part->batch);
    }
    gv_list_append(&journal->submitted, &part->link);
    journal->flushes++;
    gv_store_submit(&journal->lane, &part->batch, gv__journal_on_stored, part);
}

/* What status and metrics show. */
static void show(gv_journal_t *journal)
{
    gv_shard_stats_t *stats = &journal->shard->stats;
    const gv_shelf_t *shelf = &journal->shelf;
    const gv_volume_t *oldest = gv_shelf_oldest(shelf);
    const gv_volume_t *newest = gv_shelf_newest(shelf);
    gv_counter_set(&stats->pending_bytes, journal->pending_bytes);
    gv_counter_set(&stats->log_segments, gv_shelf_count(shelf));
    gv_counter_set(&stats->log_bytes, shelf->bytes);
    gv_counter_set(&stats->log_live_bytes, shelf->live_bytes);
    gv_counter_set(&stats->log_head, oldest == NULL ? 0 : oldest->number);
    gv_counter_set(&stats->log_tail, newest == NULL ? 0 : newest->number);
    gv_counter_set(&stats->image_bytes, shelf->image_bytes);
}

static void flush(gv_journal_t *journal)
{
    if (gv__journal_needs_cleaning(journal)) {
        gv__journal_clean(journal);
    }
    gv_part_t *part = gv__part_open(journal);
    gv__part_write_dirty(journal, GV_DIRTY_MARK | GV_DIRTY_STAGE | GV_DIRTY_RECEIVED);
    journal->has_urgent_dirty = false;
    trim(journal, part);
    gv_list_append(&journal->closed, &part->link);
    journal->open = NULL;
    for (gv_link_t *link; (link = gv_list_take_first(&journal->closed)) != NULL;) {
        submit(journal, gv_container_of(link, gv_part_t, link));
    }
    show(journal);
}

/* Everything in it has been acknowledged before it was written: there is nothing to write. */
static bool is_moot(const gv_journal_t *journal)
{
    const gv_part_t *part = journal->open;
    if (part->live > 0 || part->has_tables || part->is_joined || part->volume == NULL ||
        part->notes.size > 0 || part->moves.size > 0 || part->gifts.size > 0 ||
        journal->has_urgent_dirty || !gv_list_is_empty(&journal->closed)) {
        return false;
    }
    for (size_t i = 0; i < GV_PILE_COUNT(&part->releases, gv_part_release_t); i++) {
        if (GV_PILE_AT(&part->releases, gv_part_release_t, i)->number != part->volume->number) {
            return false;
        }
    }
    return true;
}

static void drop_open(gv_journal_t *journal)
{
    gv_part_t *part = journal->open;
    journal->open = NULL;
    journal->pending_bytes -= part->items.size + part->bodies.size;
    gv_shelf_remove_newest(&journal->shelf);
    gv__part_free(part);
}

void gv_journal_turn_end(gv_journal_t *journal)
{
    const gv_part_t *part = journal->open;
    bool is_due = journal->has_urgent_dirty || !gv_list_is_empty(&journal->closed) ||
                  (part != NULL && part->is_urgent);
    if (!is_due || journal->is_finished) {
        return;
    }
    gv_shard_t *shard = journal->shard;
    if (journal->is_failing && shard->now_ms < journal->rests_until_ms) {
        gv__journal_arm(journal, journal->rests_until_ms - shard->now_ms);
        return;
    }
    bool is_joined = part != NULL && part->is_joined;
    gv_list_foreach (&journal->closed, link) {
        is_joined = is_joined || gv_container_of(link, gv_part_t, link)->is_joined;
    }
    /* Parts that are joined to others never wait: those others might wait for them. */
    if (journal->flushes >= FLUSHES_MAX && !is_joined) {
        return;
    }
    if (part != NULL && is_moot(journal)) {
        drop_open(journal);
        return;
    }
    flush(journal);
}

void gv_journal_finish(gv_journal_t *journal)
{
    GV_ASSERT(!journal->is_finished);
    flush(journal);
    journal->is_finished = true;
}

/* Whether there are segments that trim() would delete. */
static bool has_garbage(const gv_journal_t *journal)
{
    const gv_volume_t *oldest = gv_shelf_oldest(&journal->shelf);
    bool is_dead = oldest != NULL && oldest->live == 0 && oldest->is_durable &&
                   (oldest->is_old || gv_log_old_is_gone(journal->log));
    return is_dead || (journal->shard->index == 0 && gv_log_may_take_old(journal->log));
}

static void on_timer(gv_timer_t *timer)
{
    gv_journal_t *journal = gv_container_of(timer, gv_journal_t, timer);
    gv_shard_t *shard = journal->shard;
    shard->now_ms = shard->ports.monotonic_ms(shard->ports.arg);
    show(journal);
    if (journal->dirty.size > 0 || gv__journal_needs_cleaning(journal) || has_garbage(journal)) {
        gv__part_open(journal)->is_urgent = true;
    }
    if (gv_shelf_count(&journal->shelf) > 0 || !gv_log_old_is_gone(journal->log)) {
        gv__journal_arm(journal, GV_JOURNAL_CLEAN_MS);
    }
}

void gv_journal_resume(gv_journal_t *journal)
{
    show(journal);
    gv__journal_arm(journal, 0);
}
