/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Segments go in order, so one message that nobody comes for keeps all that were written after it.
 * When more than half of the log is done with, what is live in the oldest segments is written anew
 * at the end: each message is moved at most once while the log doubles.  When the store is full, a
 * quarter is enough, however small the log is.
 */
#define GV_MEMORY_OF GV_MEMORY_LOG

#include "broker/core/journal_p.h"

/* So many segments are read together; and a part with so much [bytes] gets no more of them. */
#define AHEAD_MAX   16U
#define CLEAN_BYTES ((size_t)256 << 10)

/* After a commit that failed nothing is moved for so long: it may have failed for that [ms]. */
#define PAUSE_MS 5000U

/* So much of the store's reserve is not used for what is moved, of 100. */
#define RESERVE_KEPT 50U

bool gv__journal_is_wasteful(const gv_journal_t *journal)
{
    const gv_shelf_t *shelf = &journal->shelf;
    uint64_t done_bytes = shelf->bytes - shelf->live_bytes;
    if (gv_store_is_full(journal->store)) {
        return done_bytes > shelf->bytes / 4;
    }
    return shelf->bytes > journal->clean_bytes_min && done_bytes > shelf->bytes / 2;
}

/* The oldest segments, as far ahead as they are read: others go only after them. */
static uint32_t ahead(const gv_journal_t *journal)
{
    uint32_t count = gv_shelf_count(&journal->shelf);
    return count < AHEAD_MAX ? count : AHEAD_MAX;
}

/* Whether it is in the way of others, and can be written anew. */
static bool can_be_cleaned(const gv_journal_t *journal, const gv_volume_t *volume)
{
    return volume->is_durable && !volume->is_damaged &&
           (volume->is_old || gv_log_old_is_gone(journal->log));
}

/*
 * What is moved is there twice until the old segment goes, and room for that deletion has to be
 * left: in a full store no more than half of the reserve is used.
 */
static bool has_room_to_move(const gv_journal_t *journal)
{
    bool has_failed_lately =
        journal->rests_until_ms > 0 && journal->shard->now_ms < journal->rests_until_ms + PAUSE_MS;
    if (journal->is_failing || has_failed_lately) {
        return false;
    }
    return gv_counter_get(&gv_store_stats(journal->store)->reserve_left) > RESERVE_KEPT;
}

bool gv__journal_needs_cleaning(const gv_journal_t *journal)
{
    if (gv_shelf_count(&journal->shelf) == 0 || journal->is_finished ||
        !has_room_to_move(journal)) {
        return false;
    }
    const gv_volume_t *oldest = gv_shelf_oldest(&journal->shelf);
    bool is_in_the_way =
        oldest->is_old && atomic_load_explicit(&journal->log->wants_room, memory_order_relaxed);
    if (!is_in_the_way && !gv__journal_is_wasteful(journal)) {
        return false;
    }
    for (uint32_t i = 0; i < ahead(journal); i++) {
        const gv_volume_t *volume = gv_shelf_at(&journal->shelf, i);
        if (volume->live > 0 && !volume->is_cleaned) {
            return can_be_cleaned(journal, volume);
        }
    }
    return false;
}

/* A body that has been moved into a part already. */
typedef struct moved_body {
    uint32_t stamp;
    uint32_t index;
} moved_body_t;

/* A segment that is being cleaned. */
typedef struct cleaning {
    gv_journal_t *journal;
    const gv_volume_t *volume;
    gv_segment_view_t segment;
    moved_body_t *moved; /* by body */
} cleaning_t;

/* Errors as gv__volume_body(). */
static gv_err_t move_body(const cleaning_t *cleaning, uint32_t index)
{
    moved_body_t *moved = &cleaning->moved[index];
    gv_part_t *part = gv__part_for_delivery(cleaning->journal);
    if (moved->stamp == part->stamp) {
        return GV_OK;
    }
    gv_bytes_t body;
    gv_err_t err = gv__volume_body(cleaning->volume, &cleaning->segment, index, &body);
    if (err != GV_OK) {
        return err;
    }
    uint64_t apart = gv_segment_apart(&cleaning->segment, index);
    memcpy(gv__part_add_body(part, body.size, apart, &moved->index), body.data, body.size);
    moved->stamp = part->stamp;
    return GV_OK;
}

static void move_delivery(gv_journal_t *journal, gv_segment_delivery_t delivery,
                          gv_backlog_entry_t *entry, uint32_t body)
{
    gv_part_t *part = journal->open;
    delivery.body = body;
    delivery.is_connected = gv_backlog_was_sent(entry);
    size_t count = gv_segment_id_count(&delivery);
    journal->ids.size = 0;
    for (size_t i = 0; i < count; i++) {
        *GV_PILE_PUSH(&journal->ids, uint32_t) = gv_segment_id(&delivery, i);
    }
    gv_place_t from = entry->place;
    entry->place = gv__part_add_delivery(part, &delivery,
                                         (const uint32_t *)(const void *)journal->ids.data, count);
    *GV_PILE_PUSH(&part->moves, gv_part_move_t) = (gv_part_move_t){
        .uid = delivery.session, .number = delivery.number, .from = from, .to = entry->place};
}

static void clean_delivery(const cleaning_t *cleaning, const gv_segment_item_t *item)
{
    gv_journal_t *journal = cleaning->journal;
    const gv_segment_delivery_t *delivery = &item->delivery;
    gv_session_t *session = gv__durable_session(journal->shard, delivery->session);
    gv_backlog_entry_t *entry =
        session == NULL ? NULL : gv_backlog_at(&session->durable->backlog, delivery->number);
    if (entry == NULL || entry->state == GV_BACKLOG_DONE ||
        entry->place != gv_place(cleaning->segment.number, item->offset)) {
        return;
    }
    if (gv__durable_has_expired(journal->shard, entry)) {
        gv__durable_expire(session, delivery->number);
        return;
    }
    gv_err_t err = move_body(cleaning, delivery->body);
    if (err != GV_OK) {
        if (err != GV_ERR_NOENT) {
            gv__journal_note_damaged(journal, cleaning->segment.number, err);
        }
        gv__durable_damaged(session, delivery->number);
        return;
    }
    move_delivery(journal, *delivery, entry, cleaning->moved[delivery->body].index);
    gv_journal_dirty(journal, session->durable, GV_DIRTY_MARK); /* its mark follows */
}

static void clean(gv_journal_t *journal, gv_volume_t *volume)
{
    volume->is_cleaned = true;
    gv_msgbuf_t *image = gv_msgbuf_ref(volume->image);
    cleaning_t cleaning = {
        .journal = journal,
        .volume = volume,
        .segment = gv_segment_view(gv_msgbuf_bytes(image)),
    };
    uint32_t body_count = cleaning.segment.body_count;
    cleaning.moved = gv_xcalloc(body_count + 1U, sizeof(*cleaning.moved));
    gv_segment_item_t item;
    for (uint32_t offset = 0;
         volume->image == image && gv_segment_next(&cleaning.segment, &offset, &item);) {
        if (item.kind == GV_SEGMENT_DELIVERY && item.delivery.body < body_count) {
            clean_delivery(&cleaning, &item);
        }
    }
    if (volume->image != image) {
        volume->is_cleaned = false; /* it had to go: when it has been loaded again */
    }
    gv_free(cleaning.moved);
    gv_msgbuf_unref(&image);
    gv__part_open(journal)->is_urgent = true;
    gv_counter_add(&journal->shard->stats.segments_cleaned, 1);
}

void gv__journal_clean(gv_journal_t *journal)
{
    for (uint32_t i = 0; i < ahead(journal); i++) {
        gv_volume_t *volume = gv_shelf_at(&journal->shelf, i);
        if (volume->live == 0 || volume->is_cleaned) {
            continue;
        }
        bool is_enough = journal->open != NULL && journal->open->bodies.size > CLEAN_BYTES;
        if (is_enough || !can_be_cleaned(journal, volume)) {
            return;
        }
        if (volume->image == NULL) {
            gv__journal_load(journal, volume);
        } else {
            clean(journal, volume);
        }
    }
}
