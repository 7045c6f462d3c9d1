/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_LOG

#include "broker/core/journal.h"

#include "broker/core/journal_p.h"
#include "storage/payload_store.h"

/* So many parts may be on their way; what comes meanwhile shares the next. */
#define FLUSHES_MAX 4U

/* With more than this waiting for the disk, publishers wait as well [bytes]. */
#define PENDING_BYTES_MAX ((size_t)16 << 20)

static void on_timer(gv_timer_t *timer);
static void on_patience(gv_timer_t *timer);

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
    gv_list_init(&journal->resting);
    gv_list_init(&journal->thirsty);
    gv_timer_init(&journal->timer, on_timer);
    gv_timer_init(&journal->patience, on_patience);
    gv_shelf_init(&journal->shelf, options->image_bytes_max);
    *journal_out = journal;
}

void gv_journal_free(gv_journal_t **journalp)
{
    gv_journal_t *journal = *journalp;
    *journalp = NULL;
    gv_timer_stop(&journal->timer);
    gv_timer_stop(&journal->patience);
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
    if (journal->spare != NULL) {
        gv__part_free(journal->spare);
    }
    gv_shelf_deinit(&journal->shelf);
    gv_free(journal->expiry.uids.data);
    gv_free(journal->ids.data);
    gv_free(journal->undeleted.data);
    gv_free(journal->dirty.data);
    gv_free(journal);
}

gv_shelf_t *gv_journal_shelf(gv_journal_t *journal)
{
    return &journal->shelf;
}

gv_log_t *gv_journal_log(const gv_journal_t *journal)
{
    return journal->log;
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

static void remove_record(gv_part_t *part, gv_part_delete_t what)
{
    if (what.payload != 0) {
        gv_payload_unshare(part->batch, what.payload, what.segment);
    } else {
        gv_key_t key;
        gv_key_from_number(&key, what.segment);
        gv_batch_delete(part->batch, GV_TABLE_QUEUE_LOG, gv_key_bytes(&key));
    }
    *GV_PILE_PUSH(&part->deletes, gv_part_delete_t) = what;
    part->has_tables = true;
}

static void delete_volume(gv_part_t *part, const gv_volume_t *volume)
{
    for (uint32_t i = 0; i < volume->apart_count; i++) {
        remove_record(part, (gv_part_delete_t){volume->number, volume->aparts[i].number});
    }
    remove_record(part, (gv_part_delete_t){.segment = volume->number});
}

static void delete_old(gv_part_t *part, const gv_old_segment_t *old)
{
    for (uint32_t i = 0; i < old->payload_count; i++) {
        remove_record(part, (gv_part_delete_t){old->number, old->payloads[i]});
    }
    remove_record(part, (gv_part_delete_t){.segment = old->number});
}

/* What an earlier part should have deleted. */
static void trim_again(gv_journal_t *journal, gv_part_t *part)
{
    for (size_t i = 0; i < GV_PILE_COUNT(&journal->undeleted, gv_part_delete_t); i++) {
        remove_record(part, *GV_PILE_AT(&journal->undeleted, gv_part_delete_t, i));
    }
    if (journal->has_undeleted_old) {
        part->deleting_old = journal->log->old_deleting;
    }
    journal->undeleted.size = 0;
    journal->has_undeleted_old = false;
}

/* The oldest segment, if it may go. */
static gv_volume_t *garbage(const gv_journal_t *journal)
{
    gv_volume_t *oldest = gv_shelf_oldest(&journal->shelf);
    bool is_dead = oldest != NULL && oldest->live == 0 && oldest->is_durable &&
                   gv_list_is_empty(&oldest->waiting);
    return is_dead && (oldest->is_old || gv_log_old_is_gone(journal->log)) ? oldest : NULL;
}

bool gv__journal_has_garbage(const gv_journal_t *journal)
{
    return garbage(journal) != NULL ||
           (journal->shard->index == 0 && gv_log_may_take_old(journal->log));
}

/* The rest has to wait for the next part. */
static bool is_enough(const gv_part_t *part)
{
    return GV_PILE_COUNT(&part->deletes, gv_part_delete_t) >= GV_JOURNAL_DELETES_MAX;
}

/* Segments that nobody needs go, the oldest first. */
static void trim(gv_journal_t *journal, gv_part_t *part)
{
    trim_again(journal, part);
    for (gv_volume_t *volume; !is_enough(part) && (volume = garbage(journal)) != NULL;) {
        if (volume->is_old) {
            gv_log_release_old(journal->log, volume->number);
        } else if (volume->bytes > 0) {
            delete_volume(part, volume);
        }
        gv_shelf_remove_oldest(&journal->shelf);
    }
    const gv_volume_t *oldest = gv_shelf_oldest(&journal->shelf);
    if (oldest != NULL && !oldest->is_old && !gv_log_old_is_gone(journal->log) &&
        gv__journal_is_wasteful(journal)) {
        atomic_store_explicit(&journal->log->wants_room, true, memory_order_relaxed);
    }
    if (journal->shard->index == 0) {
        const gv_old_segment_t *old = NULL;
        while (!is_enough(part) && (old = gv_log_take_old(journal->log)) != NULL) {
            delete_old(part, old);
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
    part->is_submitted = true;
    part->submitted_ms = journal->shard->now_ms;
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
    trim(journal, gv__part_open(journal));
    if (gv__journal_needs_cleaning(journal)) {
        gv__journal_clean(journal);
    }
    gv_part_t *part = gv__part_open(journal);
    gv__part_write_dirty(journal, GV_DIRTY_MARK | GV_DIRTY_STAGE | GV_DIRTY_RECEIVED);
    journal->has_urgent_dirty = false;
    gv_list_append(&journal->closed, &part->link);
    journal->open = NULL;
    for (gv_link_t *link; (link = gv_list_take_first(&journal->closed)) != NULL;) {
        submit(journal, gv_container_of(link, gv_part_t, link));
    }
    show(journal);
}

static bool has_joined(const gv_journal_t *journal)
{
    gv_list_foreach (&journal->closed, link) {
        if (gv_container_of(link, gv_part_t, link)->is_joined) {
            return true;
        }
    }
    return journal->open != NULL && journal->open->is_joined;
}

void gv_journal_turn_end(gv_journal_t *journal)
{
    if (journal->is_finished) {
        return;
    }
    gv_shard_t *shard = journal->shard;
    gv__journal_leave_out(journal);
    uint64_t due_ms = gv__journal_due_ms(journal);
    if (due_ms > shard->now_ms) {
        if (due_ms != UINT64_MAX && !gv_timer_is_armed(&journal->patience)) {
            gv_timer_start(shard->wheel, &journal->patience, due_ms);
        }
        return;
    }
    if (journal->is_failing && shard->now_ms < journal->rests_until_ms) {
        gv__journal_arm(journal, journal->rests_until_ms - shard->now_ms);
        return;
    }
    /* Parts that are joined to others never wait: those others might wait for them. */
    if (journal->flushes < FLUSHES_MAX || has_joined(journal)) {
        flush(journal);
    }
}

void gv_journal_finish(gv_journal_t *journal)
{
    GV_ASSERT(!journal->is_finished);
    flush(journal);
    journal->is_finished = true;
}

/* What has expired goes, without a pause when the store is full; what is in the way moves. */
static void make_room(gv_journal_t *journal)
{
    gv_shard_t *shard = journal->shard;
    if (journal->is_finished || journal->is_failing) {
        return;
    }
    shard->ports.read_begin(shard->ports.arg);
    if (gv__journal_expire(journal)) {
        gv__journal_arm(journal, gv_store_is_full(journal->store) ? 1 : GV_JOURNAL_LAZY_MS);
    }
    if (gv__journal_needs_cleaning(journal)) {
        gv__journal_clean(journal);
    }
    shard->ports.read_end(shard->ports.arg);
}

static void on_timer(gv_timer_t *timer)
{
    gv_journal_t *journal = gv_container_of(timer, gv_journal_t, timer);
    gv_shard_t *shard = journal->shard;
    shard->now_ms = shard->ports.monotonic_ms(shard->ports.arg);
    show(journal);
    make_room(journal);
    gv__journal_load_again(journal);
    if (journal->dirty.size > 0 || gv__journal_has_garbage(journal)) {
        gv__part_open(journal)->is_urgent = true;
    }
    if (gv_shelf_count(&journal->shelf) > 0 || !gv_log_old_is_gone(journal->log)) {
        gv__journal_arm(journal, GV_JOURNAL_CLEAN_MS);
    }
}

/* The turn's end does what is due. */
static void on_patience(gv_timer_t *timer)
{
    gv_shard_t *shard = gv_container_of(timer, gv_journal_t, patience)->shard;
    shard->now_ms = shard->ports.monotonic_ms(shard->ports.arg);
}

void gv_journal_resume(gv_journal_t *journal)
{
    show(journal);
    gv__journal_arm(journal, 0);
}
