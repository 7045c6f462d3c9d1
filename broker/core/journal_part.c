/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What goes into the open part: parts - messages and deliveries - what they cause later - marks -
 * the whole as a segment.
 */
#define GV_MEMORY_OF GV_MEMORY_LOG

#include "broker/core/journal_p.h"
#include "storage/session_store.h"

/* A part is closed between two messages when it has so much [bytes]. */
#define PART_BYTES ((size_t)256 << 10)

/* And in the middle of one that has a million receivers, before its offsets run out. */
#define PART_ITEMS_MAX (GV_SEGMENT_ITEMS_MAX - ((size_t)1 << 17))

void gv__pile_grow(gv_pile_t *pile, size_t size)
{
    size_t capacity = pile->capacity == 0 ? 4096 : pile->capacity * 2;
    while (capacity < pile->size + size) {
        capacity *= 2;
    }
    pile->data = gv_xrealloc(pile->data, capacity);
    pile->capacity = capacity;
}

/* ---- parts ----------------------------------------------------------------------------------- */

gv_part_t *gv__part_open(gv_journal_t *journal)
{
    if (journal->open == NULL) {
        if (journal->spare == NULL) {
            journal->spare = GV_NEW(gv_part_t);
            journal->spare->journal = journal;
            gv_batch_new(&journal->spare->batch);
        }
        journal->open = journal->spare;
        journal->open->stamp = ++journal->next_stamp;
        journal->spare = NULL;
    }
    return journal->open;
}

gv_volume_t *gv__part_volume(gv_part_t *part)
{
    gv_journal_t *journal = part->journal;
    if (part->volume == NULL) {
        part->volume = gv_shelf_add(&journal->shelf, gv_log_next_number(journal->log));
        part->volume->part = part;
        part->volume->begun_ms = journal->shard->now_ms;
        gv__journal_arm(journal, GV_JOURNAL_CLEAN_MS);
    }
    return part->volume;
}

void gv__part_free(gv_part_t *part)
{
    for (size_t i = 0; i < GV_PILE_COUNT(&part->notes, gv_part_note_t); i++) {
        gv_msgbuf_unref(&GV_PILE_AT(&part->notes, gv_part_note_t, i)->bytes);
    }
    for (size_t i = 0; i < GV_PILE_COUNT(&part->gifts, gv_part_gift_t); i++) {
        gv_msgbuf_unref(&GV_PILE_AT(&part->gifts, gv_part_gift_t, i)->kept);
        gv_msgbuf_unref(&GV_PILE_AT(&part->gifts, gv_part_gift_t, i)->group);
    }
    gv_batch_free(&part->batch);
    gv_free(part->gifts.data);
    gv_free(part->items.data);
    gv_free(part->bodies.data);
    gv_free(part->ends.data);
    gv_free(part->body.data);
    gv_free(part->releases.data);
    gv_free(part->notes.data);
    gv_free(part->moves.data);
    gv_free(part->changes.data);
    gv_free(part->deletes.data);
    gv_free(part);
}

void gv__part_close(gv_journal_t *journal)
{
    /*
     * A received packet id and its message stay together, so do a stage and its PUBREL, and what
     * has been moved and how far it had come.
     */
    unsigned mark = journal->open->moves.size > 0 ? GV_DIRTY_MARK : 0;
    gv__part_write_dirty(journal, GV_DIRTY_RECEIVED | GV_DIRTY_STAGE | mark);
    gv_list_append(&journal->closed, &journal->open->link);
    journal->open = NULL;
}

void gv_journal_breathe(gv_journal_t *journal)
{
    gv_part_t *part = journal->open;
    if (part != NULL && part->items.size + part->bodies.size > PART_BYTES) {
        gv__part_close(journal);
    }
}

/* ---- messages and deliveries ------------------------------------------------------------------
 */

gv_batch_t *gv_journal_tables(gv_journal_t *journal)
{
    gv_part_t *part = gv__part_open(journal);
    part->has_tables = true;
    part->is_urgent = true;
    return part->batch;
}

/* Keeps the entries of a pile aligned. */
static size_t padded(size_t size)
{
    return (size + 7) & ~(size_t)7;
}

gv_batch_t *gv_journal_change(gv_journal_t *journal, gv_change_t what, uint64_t uid,
                              gv_bytes_t text)
{
    gv_batch_t *tables = gv_journal_tables(journal);
    uint8_t *room =
        gv__pile_room(&journal->open->changes, sizeof(gv_part_change_t) + padded(text.size));
    gv_part_change_t change = {.uid = uid, .size = (uint32_t)text.size, .what = what};
    memcpy(room, &change, sizeof(change));
    if (text.size > 0) {
        memcpy(room + sizeof(change), text.data, text.size);
    }
    return tables;
}

void gv__part_change_again(gv_journal_t *journal, const gv_part_t *part)
{
    for (size_t at = 0; at < part->changes.size;) {
        const uint8_t *entry = part->changes.data + at;
        gv_part_change_t change;
        memcpy(&change, entry, sizeof(change));
        gv_bytes_t text = gv_bytes(entry + sizeof(change), change.size);
        if (change.what == GV_CHANGE_RETAINED) {
            gv__retain_again(journal->shard, text);
        } else {
            gv__durable_change_again(journal->shard, change.what, change.uid, text);
        }
        at += sizeof(change) + padded(change.size);
    }
    if (part->changes.size > 0) {
        journal->redo_stamp = gv_journal_stamp(journal);
    }
}

uint32_t gv_journal_stamp(gv_journal_t *journal)
{
    gv_part_t *part = gv__part_open(journal);
    part->has_tables = true; /* so that it is submitted, whatever becomes of its messages */
    return part->stamp;
}

bool gv_journal_is_stored(const gv_journal_t *journal, uint32_t stamp)
{
    uint32_t stored = journal->stored_stamp;
    return (int32_t)(stored - stamp) >= 0 && (int32_t)(stored - journal->redo_stamp) >= 0;
}

uint8_t *gv__part_add_body(gv_part_t *part, size_t size, uint64_t apart, uint32_t *index_out)
{
    uint8_t *room = gv__pile_room(&part->bodies, size);
    *GV_PILE_PUSH(&part->ends, uint32_t) = (uint32_t)part->bodies.size;
    *GV_PILE_PUSH(&part->body, gv_part_body_t) = (gv_part_body_t){.apart = apart};
    part->apart_count += apart != 0;
    part->journal->pending_bytes += size;
    *index_out = (uint32_t)GV_PILE_COUNT(&part->body, gv_part_body_t) - 1;
    return room;
}

gv_bytes_t gv__part_body(const gv_part_t *part, uint32_t index)
{
    uint32_t from = index == 0 ? 0 : *GV_PILE_AT(&part->ends, uint32_t, index - 1);
    uint32_t to = *GV_PILE_AT(&part->ends, uint32_t, index);
    return gv_bytes(part->bodies.data + from, to - from);
}

/* The index of the fanout's message in the open part; it is written if it is not there yet. */
static uint32_t body_of(gv_part_t *part, gv_fanout_t *fanout)
{
    if (fanout->journal_stamp == part->stamp) {
        return fanout->journal_body;
    }
    const gv_publish_t *publish = fanout->publish;
    gv_segment_message_t message = {
        .topic = publish->topic,
        .props = publish->props,
        .payload = publish->payload,
        .qos = publish->qos,
        .retain = publish->retain,
    };
    if (publish->expires_at_ms != 0) {
        message.expires_at_ms = gv__to_realtime(part->journal->shard, publish->expires_at_ms);
    }
    size_t size = gv_segment_body_size(&message);
    uint8_t *room = gv__part_add_body(part, size, publish->payload_number, &fanout->journal_body);
    gv_writer_t w = gv_writer(room, size);
    gv_segment_put_body(&w, &message);
    GV_ASSERT(!w.failed);
    fanout->journal_stamp = part->stamp;
    return fanout->journal_body;
}

/* The open part, with room for one delivery more. */
gv_part_t *gv__part_for_delivery(gv_journal_t *journal)
{
    if (gv__part_open(journal)->items.size > PART_ITEMS_MAX) {
        gv__part_close(journal);
    }
    return gv__part_open(journal);
}

gv_place_t gv__part_add_delivery(gv_part_t *part, const gv_segment_delivery_t *delivery,
                                 const uint32_t *ids, size_t id_count)
{
    gv_journal_t *journal = part->journal;
    gv_volume_t *volume = gv__part_volume(part);
    size_t size = gv_segment_delivery_size(id_count, delivery->share.size);
    uint32_t offset = (uint32_t)part->items.size;
    gv_writer_t w = gv_writer(gv__pile_room(&part->items, size), size);
    gv_segment_put_delivery(&w, delivery, ids, id_count);
    GV_ASSERT(!w.failed);
    GV_PILE_AT(&part->body, gv_part_body_t, delivery->body)->live++;
    if (part->total == 0) {
        volume->begun_ms = journal->shard->now_ms;
    }
    part->live++;
    part->total++;
    if (delivery->expires_s == 0) {
        part->has_eternal = true;
    } else if (delivery->expires_s > part->latest_s) {
        part->latest_s = delivery->expires_s;
    }
    journal->pending_bytes += size;
    gv_shelf_add_live(&journal->shelf, volume, 1);
    return gv_place(volume->number, offset);
}

gv_place_t gv_journal_deliver(gv_journal_t *journal, gv_fanout_t *fanout,
                              gv_segment_delivery_t *delivery, const uint32_t *ids, size_t id_count,
                              bool is_done_soon)
{
    gv_part_t *part = gv__part_for_delivery(journal);
    delivery->body = body_of(part, fanout);
    part->is_urgent = part->is_urgent || !is_done_soon;
    return gv__part_add_delivery(part, delivery, ids, id_count);
}

void gv_journal_confirm_body(gv_journal_t *journal, const gv_fanout_t *fanout,
                             const gv_ticket_t *ticket)
{
    gv_part_t *part = journal->open;
    GV_ASSERT(part != NULL);
    GV_ASSERT(part->stamp == fanout->journal_stamp);
    gv_part_body_t *body = GV_PILE_AT(&part->body, gv_part_body_t, fanout->journal_body);
    if (body->live == 0) {
        gv_journal_then_confirm(journal, ticket);
        return;
    }
    body->ticket = *ticket;
    body->is_awaited = true;
}

static inline void add_release(gv_part_t *part, uint64_t number, uint32_t count)
{
    size_t entries = GV_PILE_COUNT(&part->releases, gv_part_release_t);
    gv_part_release_t *last =
        entries > 0 ? GV_PILE_AT(&part->releases, gv_part_release_t, entries - 1) : NULL;
    if (last != NULL && last->number == number) {
        last->count += count;
    } else {
        *GV_PILE_PUSH(&part->releases, gv_part_release_t) =
            (gv_part_release_t){.number = number, .count = count};
    }
}

void gv__part_release(gv_part_t *part, uint64_t number, uint32_t count)
{
    add_release(part, number, count);
}

void gv_journal_release(gv_journal_t *journal, gv_place_t place)
{
    if (place == 0) {
        return;
    }
    uint64_t number = gv_place_segment(place);
    gv_volume_t *volume = gv_shelf_find(&journal->shelf, number);
    GV_ASSERT(volume != NULL);
    if (volume->part != NULL) {
        gv_part_t *part = volume->part;
        part->live--;
        gv_part_body_t *body =
            GV_PILE_AT(&part->body, gv_part_body_t,
                       gv_segment_body_of(part->items.data + gv_place_offset(place)));
        body->live--;
        if (body->live == 0 && body->is_awaited) {
            body->is_awaited = false;
            gv__confirm(journal->shard, &body->ticket, GV_MQTT_SUCCESS);
        }
    }
    /* With the part itself while it may be left out, else with the mark that is to say it. */
    bool is_early = volume->part != NULL && !volume->part->is_submitted;
    add_release(is_early ? volume->part : gv__part_open(journal), number, 1);
}

void gv_journal_dirty(gv_journal_t *journal, gv_durable_t *durable, unsigned what)
{
    if (durable->dirty_what == 0) {
        durable->dirty_at = (uint32_t)GV_PILE_COUNT(&journal->dirty, gv_durable_t *);
        *GV_PILE_PUSH(&journal->dirty, gv_durable_t *) = durable;
    }
    durable->dirty_what |= (uint8_t)what;
    if (what != GV_DIRTY_MARK) {
        journal->has_urgent_dirty = true;
    } else {
        gv__journal_arm(journal, GV_JOURNAL_LAZY_MS);
    }
}

void gv_journal_forget(gv_durable_t *durable)
{
    if (durable->dirty_what != 0) {
        gv_journal_t *journal = durable->session->shard->journal;
        *GV_PILE_AT(&journal->dirty, gv_durable_t *, durable->dirty_at) = NULL;
        durable->dirty_what = 0;
    }
    if (gv_link_is_linked(&durable->waits)) {
        gv_list_remove(&durable->waits);
    }
}

void gv_journal_join(gv_journal_t *journal, uint64_t join, uint32_t parts)
{
    gv_part_t *part = gv__part_open(journal);
    gv_batch_join(part->batch, join, parts);
    part->is_joined = true;
    part->is_urgent = true;
}

void gv__part_add_note(gv_part_t *part, gv_part_note_t note)
{
    part->is_urgent = true;
    *GV_PILE_PUSH(&part->notes, gv_part_note_t) = note;
}

void gv_journal_then_confirm(gv_journal_t *journal, const gv_ticket_t *ticket)
{
    gv__part_add_note(gv__part_open(journal),
                      (gv_part_note_t){.kind = GV_NOTE_CONFIRM, .ticket = *ticket});
}

void gv_journal_then_received(gv_journal_t *journal, const gv_session_t *session,
                              const gv_ticket_t *ticket, uint16_t packet_id)
{
    gv__part_add_note(gv__part_open(journal), (gv_part_note_t){.kind = GV_NOTE_RECEIVED,
                                                               .packet_id = packet_id,
                                                               .ticket = *ticket,
                                                               .uid = session->uid});
}

void gv_journal_then_again(gv_journal_t *journal, const gv_session_t *session,
                           const gv_ticket_t *ticket, uint16_t packet_id)
{
    gv__part_add_note(gv__part_open(journal), (gv_part_note_t){.kind = GV_NOTE_AGAIN,
                                                               .failures = journal->failures,
                                                               .packet_id = packet_id,
                                                               .ticket = *ticket,
                                                               .uid = session->uid});
}

void gv_journal_then_ack(gv_journal_t *journal, gv_session_t *session, uint8_t type,
                         uint16_t packet_id, uint8_t reason)
{
    gv__part_add_note(gv__part_open(journal),
                      (gv_part_note_t){.kind = GV_NOTE_ACK,
                                       .type = type,
                                       .reason = reason,
                                       .packet_id = packet_id,
                                       .ticket = gv__client_ticket(session->client, 0),
                                       .uid = session->uid});
}

void gv_journal_then_resend(gv_journal_t *journal, gv_session_t *session)
{
    gv__part_add_note(gv__part_open(journal),
                      (gv_part_note_t){.kind = GV_NOTE_RESEND,
                                       .ticket = gv__client_ticket(session->client, 0),
                                       .uid = session->uid});
}

void gv_journal_then_send(gv_journal_t *journal, const gv_ticket_t *client, gv_msgbuf_t *bytes)
{
    gv__part_add_note(gv__part_open(journal),
                      (gv_part_note_t){.kind = GV_NOTE_SEND, .ticket = *client, .bytes = bytes});
}

static void add_gift(gv_journal_t *journal, gv_part_gift_t gift)
{
    gv_part_t *part = gv__part_open(journal);
    part->is_urgent = true;
    *GV_PILE_PUSH(&part->gifts, gv_part_gift_t) = gift;
}

void gv_journal_then_given(gv_journal_t *journal, const gv_ticket_t *loan)
{
    add_gift(journal, (gv_part_gift_t){.loan = *loan});
}

void gv_journal_then_back(gv_journal_t *journal, const gv_ticket_t *loan)
{
    add_gift(journal, (gv_part_gift_t){.loan = *loan, .is_back = true});
}

void gv_journal_then_gone(gv_journal_t *journal, gv_msgbuf_t *kept, gv_msgbuf_t *group)
{
    add_gift(journal, (gv_part_gift_t){.kept = kept, .group = group});
}

static gv_part_t *part_with(const gv_journal_t *journal, uint32_t stamp)
{
    if (journal->open != NULL && journal->open->stamp == stamp) {
        return journal->open;
    }
    gv_list_foreach (&journal->submitted, link) {
        gv_part_t *part = gv_container_of(link, gv_part_t, link);
        if (part->stamp == stamp) {
            return part;
        }
    }
    gv_list_foreach (&journal->closed, link) {
        gv_part_t *part = gv_container_of(link, gv_part_t, link);
        if (part->stamp == stamp) {
            return part;
        }
    }
    return NULL;
}

void gv_journal_then_suback(gv_journal_t *journal, uint32_t stamp, const gv_ticket_t *client,
                            uint16_t packet_id, gv_bytes_t codes, gv_bytes_t why, bool is_unsuback)
{
    gv_part_t *part = part_with(journal, stamp);
    if (part == NULL) {
        part = gv__part_open(journal); /* it has failed: what it changed is here, or before */
    }
    gv_part_note_t note = {.kind = GV_NOTE_SUBACK,
                           .is_unsuback = is_unsuback,
                           .packet_id = packet_id,
                           .ticket = *client,
                           .code_count = (uint32_t)codes.size};
    if (gv_msgbuf_new(codes.size + why.size, &note.bytes) != GV_OK) {
        return; /* the client will ask again */
    }
    gv_writer_t w = gv_writer(gv_msgbuf_data(note.bytes), codes.size + why.size);
    gv_writer_put(&w, codes);
    gv_writer_put(&w, why);
    gv_msgbuf_seal(note.bytes);
    gv__part_add_note(part, note);
}

/* ---- marks ----------------------------------------------------------------------------------- */

static gv_segment_state_t state_of(const gv_backlog_entry_t *entry)
{
    if (entry->is_given) {
        return GV_SEGMENT_DONE; /* what it was given to is durable with this, or before */
    }
    switch ((gv_backlog_state_t)entry->state) {
    case GV_BACKLOG_OPEN:
    case GV_BACKLOG_SENT:
        return GV_SEGMENT_OPEN;
    case GV_BACKLOG_RECEIVED:
        return GV_SEGMENT_RECEIVED;
    case GV_BACKLOG_DONE:
        return GV_SEGMENT_DONE;
    }
    return GV_SEGMENT_OPEN;
}

static void write_mark(gv_part_t *part, const gv_durable_t *durable)
{
    const gv_backlog_t *backlog = &durable->backlog;
    /* States are needed up to the last one that is not plainly open. */
    uint64_t sent = gv_backlog_sent(backlog);
    uint64_t done_end = gv_backlog_done_end(backlog);
    uint64_t end = sent > done_end ? sent : done_end;
    uint32_t count = (uint32_t)(end > backlog->low ? end - backlog->low : 0);
    count = count < gv_backlog_span(backlog) ? count : gv_backlog_span(backlog);
    while (count > 0 &&
           state_of(gv_backlog_at(backlog, backlog->low + count - 1)) == GV_SEGMENT_OPEN) {
        count--;
    }
    gv_segment_mark_t mark = {
        .session = durable->session->uid,
        .low = backlog->low,
        .sent = sent,
        .is_connected = durable->session->client != NULL,
        .count = count,
    };
    (void)gv__part_volume(part);
    part->has_marks = true;
    size_t size = gv_segment_mark_size(count);
    gv_writer_t w = gv_writer(gv__pile_room(&part->items, size), size);
    uint8_t *states = gv_segment_put_mark(&w, &mark);
    GV_ASSERT(!w.failed);
    for (uint32_t i = 0; i < count; i++) {
        gv_segment_set_state(states, i, state_of(gv_backlog_at(backlog, backlog->low + i)));
    }
    part->journal->pending_bytes += size;
}

void gv_journal_mark_now(gv_journal_t *journal, gv_durable_t *durable)
{
    write_mark(gv__part_open(journal), durable);
}

static void unmark(gv_part_t *part, uint64_t uid, uint64_t number)
{
    gv_segment_view_t segment = {.items = gv_bytes(part->items.data, part->items.size)};
    gv_segment_item_t item;
    for (uint32_t offset = 0; gv_segment_next(&segment, &offset, &item);) {
        const gv_segment_mark_t *mark = &item.mark;
        if (item.kind == GV_SEGMENT_MARK && mark->session == uid && number >= mark->low &&
            number - mark->low < mark->count) {
            uint8_t *states = part->items.data + (mark->states.data - part->items.data);
            gv_segment_clear_state(states, (uint32_t)(number - mark->low));
        }
    }
}

void gv_journal_unmark(gv_journal_t *journal, const gv_durable_t *durable, uint64_t number)
{
    gv_list_foreach (&journal->closed, link) {
        unmark(gv_container_of(link, gv_part_t, link), durable->session->uid, number);
    }
    if (journal->open != NULL) {
        unmark(journal->open, durable->session->uid, number);
    }
}

/* `what` of all dirty sessions goes into the open part. */
void gv__part_write_dirty(gv_journal_t *journal, unsigned what)
{
    gv_part_t *part = gv__part_open(journal);
    gv_durable_t **dirty = (gv_durable_t **)(void *)journal->dirty.data;
    size_t count = GV_PILE_COUNT(&journal->dirty, gv_durable_t *);
    uint32_t left = 0;
    for (size_t i = 0; i < count; i++) {
        gv_durable_t *durable = dirty[i];
        if (durable == NULL) {
            continue;
        }
        unsigned due = durable->dirty_what & what;
        if ((due & (GV_DIRTY_MARK | GV_DIRTY_STAGE)) != 0) {
            write_mark(part, durable);
        }
        if ((due & GV_DIRTY_STAGE) != 0) {
            durable->stage_stamp = part->stamp;
        }
        if ((due & GV_DIRTY_RECEIVED) != 0) {
            const gv_received_ids_t *ids = &durable->session->flow->received;
            gv_received_put(part->batch, durable->session->uid, ids->_ids, ids->count);
            part->has_tables = true;
        }
        durable->dirty_what &= (uint8_t)~due;
        if (durable->dirty_what != 0) {
            durable->dirty_at = left;
            dirty[left++] = durable;
        }
    }
    journal->dirty.size = left * sizeof(gv_durable_t *);
}

/* ---- the segment ------------------------------------------------------------------------------
 */

/* Which bodies somebody waits for, and which of them stand apart. */
typedef struct choice {
    bool *wanted;
    uint64_t *apart; /* NULL: none */
} choice_t;

static choice_t choose(gv_part_t *part)
{
    uint32_t count = (uint32_t)GV_PILE_COUNT(&part->body, gv_part_body_t);
    uint32_t count_apart = 0;
    choice_t choice = {.wanted = gv_xalloc(count + 1U)};
    if (part->apart_count > 0) {
        choice.apart = gv_xcalloc(count, sizeof(*choice.apart));
    }
    for (uint32_t i = 0; i < count; i++) {
        const gv_part_body_t *body = GV_PILE_AT(&part->body, gv_part_body_t, i);
        choice.wanted[i] = body->live > 0;
        if (choice.wanted[i] && body->apart != 0) {
            choice.apart[i] = body->apart;
            count_apart++;
        }
    }
    part->apart_count = count_apart;
    return choice;
}

static gv_segment_parts_t parts_of(const gv_part_t *part, const choice_t *choice)
{
    return (gv_segment_parts_t){
        .number = part->volume->number,
        .latest_s = part->has_eternal ? 0 : part->latest_s,
        .items = gv_bytes(part->items.data, part->items.size),
        .bodies = gv_bytes(part->bodies.data, part->bodies.size),
        .body_count = (uint32_t)GV_PILE_COUNT(&part->body, gv_part_body_t),
        .ends = (const uint32_t *)(const void *)part->ends.data,
        .wanted = choice->wanted,
        .apart = choice->apart,
    };
}

/* The segment becomes a record; its image stays in memory for those that will read it soon. */
void gv__part_write(gv_journal_t *journal, gv_part_t *part)
{
    choice_t choice = choose(part);
    gv_segment_parts_t parts = parts_of(part, &choice);
    size_t size = gv_segment_size(&parts);
    part->stored_size = size;
    bool is_kept = part->apart_count == 0 || gv__apart_write(part, choice.apart);
    gv_key_t key;
    gv_key_from_number(&key, part->volume->number);
    gv_msgbuf_t *image = NULL;
    if (part->live > 0 && is_kept && gv_msgbuf_new(size, &image) == GV_OK) {
        gv_segment_write(gv_msgbuf_data(image), &parts);
        gv_msgbuf_seal(image);
        gv_batch_append(part->batch, GV_TABLE_QUEUE_LOG, gv_key_bytes(&key),
                        gv_msgbuf_bytes(image));
        gv_shelf_give_image(&journal->shelf, part->volume, image);
    } else {
        gv_shelf_drop_aparts(part->volume);
        uint8_t *room =
            gv_batch_put_room(part->batch, GV_TABLE_QUEUE_LOG, gv_key_bytes(&key), size);
        if (room != NULL) {
            gv_segment_write(room, &parts);
        }
    }
    gv_free(choice.wanted);
    gv_free(choice.apart);
}
