/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Segments go in order, so one message that nobody comes for keeps all that were written after it.
 * When more than half of the log is done with, what is live in the oldest segment is written anew
 * at the end: each message is moved at most once while the log doubles.
 */
#define GV_MEMORY_OF GV_MEMORY_LOG

#include "broker/core/journal_p.h"

bool gv__journal_needs_cleaning(const gv_journal_t *journal)
{
    const gv_shelf_t *shelf = &journal->shelf;
    const gv_volume_t *oldest = gv_shelf_oldest(shelf);
    if (oldest == NULL || !oldest->is_durable || oldest->live == 0 || oldest->is_damaged ||
        oldest->is_cleaned || journal->is_finished) {
        return false;
    }
    bool is_in_the_way =
        oldest->is_old && atomic_load_explicit(&journal->log->wants_room, memory_order_relaxed);
    return is_in_the_way || gv__is_past(journal->shard, oldest->latest_s) ||
           (shelf->bytes > journal->clean_bytes_min && shelf->bytes / 2 > shelf->live_bytes);
}

/* A body that has been moved into a part already. */
typedef struct moved_body {
    uint32_t stamp;
    uint32_t index;
} moved_body_t;

static void move_delivery(gv_journal_t *journal, const gv_segment_view_t *segment,
                          gv_segment_delivery_t delivery, gv_backlog_entry_t *entry,
                          moved_body_t *moved)
{
    gv_part_t *part = gv__part_for_delivery(journal);
    if (moved->stamp != part->stamp) {
        gv_bytes_t body = gv_segment_raw_body(segment, delivery.body);
        memcpy(gv__part_add_body(part, body.size, &moved->index), body.data, body.size);
        moved->stamp = part->stamp;
    }
    delivery.body = moved->index;
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

static void clean_delivery(gv_journal_t *journal, const gv_segment_view_t *segment,
                           const gv_segment_item_t *item, moved_body_t *moved)
{
    const gv_segment_delivery_t *delivery = &item->delivery;
    gv_session_t *session = gv__durable_session(journal->shard, delivery->session);
    gv_backlog_entry_t *entry =
        session == NULL ? NULL : gv_backlog_at(&session->durable->backlog, delivery->number);
    if (entry == NULL || entry->state == GV_BACKLOG_DONE ||
        entry->place != gv_place(segment->number, item->offset)) {
        return;
    }
    if (gv__is_past(journal->shard, delivery->expires_s) && !gv_backlog_was_sent(entry)) {
        gv__durable_expire(session, delivery->number);
        return;
    }
    gv_segment_message_t message;
    bool is_moved = moved[delivery->body].stamp != 0; /* then it has been looked at */
    if (!is_moved && gv_segment_body(segment, delivery->body, &message) != GV_OK) {
        gv__journal_note_damaged(journal, segment->number, GV_ERR_CORRUPT);
        gv__durable_damaged(session, delivery->number);
        return;
    }
    move_delivery(journal, segment, *delivery, entry, &moved[delivery->body]);
    gv_journal_dirty(journal, session->durable, GV_DIRTY_MARK); /* its mark follows */
}

/* Writes anew what is live in the oldest segment, now or when it has been loaded. */
void gv__journal_clean(gv_journal_t *journal)
{
    gv_volume_t *oldest = gv_shelf_oldest(&journal->shelf);
    if (oldest->image == NULL) {
        gv__journal_load(journal, oldest);
        return;
    }
    oldest->is_cleaned = true;
    gv_msgbuf_t *image = gv_msgbuf_ref(oldest->image);
    gv_segment_view_t segment = gv_segment_view(gv_msgbuf_bytes(image));
    moved_body_t *moved = gv_xcalloc(segment.body_count + 1U, sizeof(*moved));
    gv_segment_item_t item;
    for (uint32_t offset = 0; gv_segment_next(&segment, &offset, &item);) {
        if (item.kind == GV_SEGMENT_DELIVERY && item.delivery.body < segment.body_count) {
            clean_delivery(journal, &segment, &item, moved);
        }
    }
    gv_free(moved);
    gv_msgbuf_unref(&image);
    gv__part_open(journal)->is_urgent = true;
    gv_counter_add(&journal->shard->stats.segments_cleaned, 1);
}
