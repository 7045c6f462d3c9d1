/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_LOG

#include <inttypes.h>

#include "broker/core/journal_p.h"

static void follow_note(gv_journal_t *journal, gv_part_note_t *note, gv_mqtt_reason_t reason)
{
    gv_shard_t *shard = journal->shard;
    if (note->kind == GV_NOTE_CONFIRM || note->kind == GV_NOTE_RECEIVED) {
        gv__confirm(shard, &note->ticket, reason);
        return;
    }
    if (note->kind == GV_NOTE_AGAIN) {
        /* When nothing has failed since, it may be gone only because it was released. */
        gv_session_t *session = gv__durable_session(shard, note->uid);
        bool is_safe =
            note->failures == journal->failures ||
            (session != NULL && gv_received_ids_has(&session->flow->received, note->packet_id));
        gv__confirm(shard, &note->ticket, is_safe ? reason : GV_MQTT_QUOTA_EXCEEDED);
        return;
    }
    gv_client_t *client = gv__client_of(shard, &note->ticket);
    if (client == NULL || client->state != GV_CLIENT_CONNECTED) {
        return;
    }
    if (note->kind == GV_NOTE_ACK) {
        gv__client_send_ack(client, (gv_mqtt_type_t)note->type, note->packet_id,
                            (gv_mqtt_reason_t)note->reason);
    } else if (note->kind == GV_NOTE_RESEND) {
        gv__durable_known(client->session);
    } else if (reason == GV_MQTT_SUCCESS && note->kind == GV_NOTE_SEND) {
        gv__client_answer(client, gv_msgbuf_bytes(note->bytes));
        gv__client_resume(client, GV_PAUSE_STORE);
    } else if (reason == GV_MQTT_SUCCESS) {
        gv_reader_t r = gv_reader(gv_msgbuf_bytes(note->bytes));
        gv_bytes_t codes = gv_reader_take(&r, note->code_count);
        gv_bytes_t why = gv_reader_take(&r, gv_reader_left(&r));
        gv__suback_stored(client, note->packet_id, codes, why, note->is_unsuback);
    } else {
        /* What it has asked for is not safe, and it has not been told that it is. */
        gv__client_end_later(client, reason);
    }
}

void gv__journal_wake(gv_volume_t *volume)
{
    gv__journal_wake_all(&volume->waiting);
}

void gv__journal_wake_all(gv_list_t *waiting)
{
    gv_list_t list;
    gv_list_init(&list);
    gv_list_splice(&list, waiting);
    for (gv_link_t *link; (link = gv_list_take_first(&list)) != NULL;) {
        gv_durable_t *durable = gv_container_of(link, gv_durable_t, waits);
        if (!durable->session->shard->journal->is_finished) {
            gv__durable_woken(durable);
        }
    }
}

static void gifts_succeeded(gv_journal_t *journal, const gv_part_t *part)
{
    for (size_t i = 0; i < GV_PILE_COUNT(&part->gifts, gv_part_gift_t); i++) {
        const gv_part_gift_t *gift = GV_PILE_AT(&part->gifts, gv_part_gift_t, i);
        if (gift->is_back) {
            gv__loan_back(journal->shard, &gift->loan);
        } else if (gift->kept == NULL) {
            gv__loan_settled(journal->shard, &gift->loan);
        }
    }
}

/* An error may mean that the disk has it all the same, until something else is durable. */
static void gifts_failed(gv_journal_t *journal, const gv_part_t *part)
{
    for (size_t i = 0; i < GV_PILE_COUNT(&part->gifts, gv_part_gift_t); i++) {
        const gv_part_gift_t *gift = GV_PILE_AT(&part->gifts, gv_part_gift_t, i);
        if (gift->is_back) {
            gv_journal_then_back(journal, &gift->loan);
        } else if (gift->kept == NULL) {
            gv__loan_undone(journal->shard, &gift->loan);
        } else {
            gv__give_over_again(journal->shard, gift->kept, gift->group);
        }
    }
}

static void part_succeeded(gv_journal_t *journal, gv_part_t *part)
{
    if (journal->is_failing) {
        gv_log_peer(GV_LOG_INFO, "journal_stored_again", "shard=%u", journal->shard->index);
        journal->is_failing = false;
    }
    for (size_t i = 0; i < GV_PILE_COUNT(&part->releases, gv_part_release_t); i++) {
        const gv_part_release_t *release = GV_PILE_AT(&part->releases, gv_part_release_t, i);
        gv_volume_t *volume = gv_shelf_find(&journal->shelf, release->number);
        GV_ASSERT(volume != NULL);
        gv_shelf_drop_live(&journal->shelf, volume, release->count);
    }
    for (size_t i = 0; i < GV_PILE_COUNT(&part->moves, gv_part_move_t); i++) {
        uint64_t from = gv_place_segment(GV_PILE_AT(&part->moves, gv_part_move_t, i)->from);
        gv_shelf_drop_live(&journal->shelf, gv_shelf_find(&journal->shelf, from), 1);
    }
    if (!journal->is_finished && gv__journal_has_garbage(journal) &&
        (part->moves.size > 0 || gv_store_is_full(journal->store) ||
         GV_PILE_COUNT(&part->deletes, gv_part_delete_t) >= GV_JOURNAL_DELETES_MAX)) {
        gv__part_open(journal)->is_urgent = true; /* deletes it, and goes on with the next */
    }
    if (part->deleting_old > 0) {
        gv_log_old_deleted(journal->log, part->deleting_old);
    }
    if (part->volume != NULL) {
        gv_shelf_set_durable(&journal->shelf, part->volume, (uint32_t)part->stored_size);
    }
    for (size_t i = 0; i < GV_PILE_COUNT(&part->body, gv_part_body_t); i++) {
        gv_part_body_t *body = GV_PILE_AT(&part->body, gv_part_body_t, i);
        if (body->is_awaited) {
            gv__confirm(journal->shard, &body->ticket, GV_MQTT_SUCCESS);
        }
    }
    for (size_t i = 0; i < GV_PILE_COUNT(&part->notes, gv_part_note_t); i++) {
        follow_note(journal, GV_PILE_AT(&part->notes, gv_part_note_t, i), GV_MQTT_SUCCESS);
    }
    gifts_succeeded(journal, part);
    if (part->volume != NULL) {
        gv__journal_wake(part->volume);
    }
}

/* Deliveries are over, marks are to be written again. */
static void undo_items(gv_journal_t *journal, gv_part_t *part)
{
    gv_segment_view_t segment = {.items = gv_bytes(part->items.data, part->items.size)};
    gv_segment_item_t item;
    for (uint32_t offset = 0; gv_segment_next(&segment, &offset, &item);) {
        uint64_t uid = item.kind == GV_SEGMENT_MARK ? item.mark.session : item.delivery.session;
        gv_session_t *session = gv__durable_session(journal->shard, uid);
        if (session == NULL) {
            continue;
        }
        if (item.kind == GV_SEGMENT_MARK) {
            gv_journal_dirty(journal, session->durable, GV_DIRTY_STAGE);
        } else if (gv__durable_lost(session, item.delivery.number,
                                    gv_place(part->volume->number, item.offset))) {
            gv_shelf_drop_live(&journal->shelf, part->volume, 1);
        }
    }
}

/* What was to be moved is where it was. */
static void undo_moves(gv_journal_t *journal, gv_part_t *part)
{
    for (size_t i = 0; i < GV_PILE_COUNT(&part->moves, gv_part_move_t); i++) {
        const gv_part_move_t *move = GV_PILE_AT(&part->moves, gv_part_move_t, i);
        gv_volume_t *volume = gv_shelf_find(&journal->shelf, gv_place_segment(move->from));
        volume->is_cleaned = false;
        gv_session_t *session = gv__durable_session(journal->shard, move->uid);
        gv_backlog_entry_t *entry =
            session == NULL ? NULL : gv_backlog_at(&session->durable->backlog, move->number);
        if (entry != NULL && entry->state != GV_BACKLOG_DONE && entry->place == move->to) {
            entry->place = move->from;
            gv_shelf_drop_live(&journal->shelf, part->volume, 1);
        } else {
            gv_journal_release(journal, move->from); /* done meanwhile */
        }
    }
}

static void undo_note(gv_journal_t *journal, gv_part_note_t *note)
{
    gv_session_t *session = gv__durable_session(journal->shard, note->uid);
    if (note->kind == GV_NOTE_RESEND) {
        /* Better without DUP after a crash than not at all while the disk is full. */
        if (session != NULL) {
            gv_journal_dirty(journal, session->durable, GV_DIRTY_MARK);
        }
        follow_note(journal, note, GV_MQTT_SUCCESS);
        return;
    }
    if (note->kind == GV_NOTE_ACK) {
        /* It is still to be written, and who is to be told waits for that. */
        if (session != NULL) {
            gv_journal_dirty(journal, session->durable, GV_DIRTY_STAGE | GV_DIRTY_RECEIVED);
        }
        gv__part_add_note(gv__part_open(journal), *note);
        return;
    }
    if (note->kind == GV_NOTE_AGAIN) {
        gv__part_add_note(gv__part_open(journal), *note);
        return;
    }
    if (note->kind == GV_NOTE_RECEIVED && session != NULL &&
        gv_received_ids_remove(&gv_session_flow(session)->received, note->packet_id)) {
        gv_journal_dirty(journal, session->durable, GV_DIRTY_RECEIVED);
    }
    follow_note(journal, note, GV_MQTT_QUOTA_EXCEEDED);
}

/*
 * Nothing of the part is on disk, as far as we know.  Its publishers are told; what it said about
 * older segments is said again.
 */
static void part_failed(gv_journal_t *journal, gv_part_t *part, gv_err_t error)
{
    gv_shard_t *shard = journal->shard;
    if (!journal->is_failing) { /* else that is known */
        gv_log_peer(GV_LOG_ERROR, "journal_not_stored", "shard=%u bytes=%zu error='%s'",
                    shard->index, part->items.size + part->bodies.size, gv_err_text(error));
        journal->pause_ms = GV_JOURNAL_PAUSE_MS / 2;
    }
    gv_counter_add(&shard->stats.journal_failures, 1);
    journal->is_failing = true;
    journal->failures++;
    if (shard->now_ms >= journal->rests_until_ms && journal->pause_ms < GV_JOURNAL_PAUSE_MS_MAX) {
        journal->pause_ms *= 2; /* not for those that followed the one that failed */
    }
    journal->rests_until_ms = shard->now_ms + journal->pause_ms;
    gv_volume_t *volume = part->volume;
    if (volume != NULL) {
        volume->part = NULL;
    }
    for (size_t i = 0; i < GV_PILE_COUNT(&part->releases, gv_part_release_t); i++) {
        const gv_part_release_t *release = GV_PILE_AT(&part->releases, gv_part_release_t, i);
        *GV_PILE_PUSH(&gv__part_open(journal)->releases, gv_part_release_t) = *release;
    }
    undo_moves(journal, part);
    gv__part_change_again(journal, part);
    size_t deletes = part->deletes.size;
    if (deletes > 0) {
        memcpy(gv__pile_room(&journal->undeleted, deletes), part->deletes.data, deletes);
        journal->has_undeleted_old = journal->has_undeleted_old || part->deleting_old > 0;
    }
    if (volume != NULL) {
        undo_items(journal, part);
        gv_shelf_set_durable(&journal->shelf, volume, 0);
        gv__journal_wake(volume);
    }
    for (size_t i = 0; i < GV_PILE_COUNT(&part->body, gv_part_body_t); i++) {
        gv_part_body_t *body = GV_PILE_AT(&part->body, gv_part_body_t, i);
        if (body->is_awaited) {
            gv__confirm(shard, &body->ticket, GV_MQTT_QUOTA_EXCEEDED);
        }
    }
    for (size_t i = 0; i < GV_PILE_COUNT(&part->notes, gv_part_note_t); i++) {
        undo_note(journal, GV_PILE_AT(&part->notes, gv_part_note_t, i));
    }
    gifts_failed(journal, part);
    gv__part_open(journal)->is_urgent = true;
}

void gv__journal_on_stored(gv_err_t result, void *arg)
{
    gv_part_t *part = arg;
    gv_journal_t *journal = part->journal;
    gv_shard_t *shard = journal->shard;
    shard->now_ms = shard->ports.monotonic_ms(shard->ports.arg);
    GV_ASSERT(gv_list_first(&journal->submitted) == &part->link);
    gv_list_remove(&part->link);
    journal->flushes--;
    bool was_full = gv_journal_is_full(journal);
    journal->pending_bytes -= part->items.size + part->bodies.size;
    journal->stored_stamp = part->stamp;
    gv__journal_note_commit(journal, shard->now_ms - part->submitted_ms);
    shard->ports.read_begin(shard->ports.arg);
    if (result == GV_OK) {
        part_succeeded(journal, part);
    } else {
        part_failed(journal, part, result);
    }
    shard->ports.read_end(shard->ports.arg);
    gv__part_free(part);
    if (was_full && !gv_journal_is_full(journal)) {
        gv__resume_waiting(shard);
    }
}
