/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is on its way to a node, and on the disk as well.
 *
 *     GATHERING -- turn's end --> WRITING -- durable: answered --> SENT
 *                                    '------ failed -------------> LOST
 *
 * The answers of the node may come at any of these.  When all have come the record is done with, or
 * (the node is gone, or has refused some) it is one of the spool as any other.  A record that is
 * LOST only says whose messages they were: nothing is insured behind it, or it would be sent before
 * them if the node died.  For the same reason there is one write at a time.
 *
 * Parts: insuring - writing - answers.
 */
#define GV_MEMORY_OF GV_MEMORY_LOG

#include "base/alloc.h"
#include "broker/core/outbox_p.h"
#include "cluster/core/forward_codec.h"

/* ---- insuring -------------------------------------------------------------------------------- */

static gv_outbox_record_t *begin_record(gv_outbox_t *outbox, gv_outbox_box_t *box)
{
    gv_outbox_place_t place = {.kind = GV_OUTBOX_SPOOL, .run = outbox->run};
    memcpy(place.node_id, box->id.bytes, sizeof(place.node_id));
    gv_outbox_record_t *record = gv__outbox_record_new(outbox, box, &place);
    record->state = GV_OUTBOX_GATHERING;
    gv__outbox_take_slot(outbox, record);
    box->unhanded--; /* it is on its way */
    box->gathering = record;
    return record;
}

/* Where so much more [bytes] can be gathered, or NULL: the disk has to catch up. */
static gv_outbox_record_t *record_for(gv_outbox_t *outbox, gv_outbox_box_t *box, size_t size)
{
    gv_outbox_record_t *record = box->gathering;
    if (record != NULL && (record->place.count == GV_OUTBOX_RECORD_MESSAGES ||
                           record->bytes + size > GV_OUTBOX_RECORD_BYTES)) {
        if (!gv__outbox_write_insured(outbox, box)) {
            return NULL;
        }
        record = NULL;
    }
    return record != NULL ? record : begin_record(outbox, box);
}

static void grow(gv_outbox_record_t *record)
{
    if (record->place.count < record->capacity) {
        return;
    }
    record->capacity = record->capacity == 0 ? 8 : record->capacity * 2;
    record->messages =
        gv_xrealloc(record->messages, record->capacity * sizeof(record->messages[0]));
    record->done = gv_xrealloc(record->done, record->capacity * sizeof(record->done[0]));
    record->insured = gv_xrealloc(record->insured, record->capacity * sizeof(record->insured[0]));
}

bool gv_outbox_insure(gv_outbox_t *outbox, gv_node_index_t node, const gv_forward_t *message,
                      uint64_t *token, bool is_held)
{
    GV_ASSERT(message->qos == 1);
    GV_ASSERT(outbox->nodes[node].is_known);
    gv_outbox_box_t *box = gv__outbox_box_of(outbox, node, GV_OUTBOX_SPOOL);
    if (outbox->is_finished || gv_outbox_is_open(outbox, node, GV_OUTBOX_SPOOL) ||
        (box != NULL && box->lost > 0)) {
        return false;
    }
    /* Refused, it is asked for again and again: nothing is copied before there is room. */
    gv_forward_t plain = *message;
    plain.shared_count = 0;
    size_t size = gv_forward_size(&plain);
    if (!gv__outbox_has_room(outbox, node, size)) {
        return false;
    }
    box = gv__outbox_spool_for(outbox, node);
    gv_outbox_record_t *record = record_for(outbox, box, size);
    if (record == NULL) {
        return false;
    }
    gv_outbox_kept_t kept = gv__outbox_encode(outbox, message, 0);
    GV_ASSERT(kept.size == size);
    grow(record);
    uint32_t index = record->place.count++;
    record->messages[index] = kept;
    record->done[index] = false;
    record->insured[index] =
        (gv_outbox_insured_t){.waiter = *token, .is_held = is_held, .is_away = true};
    record->missing++;
    record->bytes += kept.size;
    box->image_bytes += kept.size;
    box->messages++;
    box->bytes += kept.size;
    *token = gv__outbox_token(record, index);
    return true;
}

uint64_t gv_outbox_waiter(const gv_outbox_t *outbox, uint64_t token)
{
    const gv_outbox_record_t *record = gv__outbox_record_of_token(outbox, token);
    bool is_insured = record != NULL && record->insured != NULL;
    return is_insured ? record->insured[gv__outbox_index_of_token(token)].waiter : 0;
}

/* ---- writing --------------------------------------------------------------------------------- */

static void answer(gv_outbox_t *outbox, gv_outbox_insured_t *insured, bool is_refused)
{
    uint64_t waiter = insured->waiter;
    insured->waiter = 0;
    if (waiter != 0) {
        outbox->ports.answered(outbox->ports.arg, waiter, is_refused);
    }
}

/* It could not be written: who waits for a message goes on waiting for the node. */
static void lose(gv_outbox_t *outbox, gv_outbox_record_t *record)
{
    gv_outbox_box_t *box = record->box;
    bool was_unhanded = record->missing == 0 && !gv__outbox_is_all_done(record);
    for (uint32_t i = 0; i < record->place.count; i++) {
        if (record->done[i]) {
            continue;
        }
        box->messages--;
        if (!record->insured[i].is_away) { /* and the node is gone */
            gv_counter_add(&outbox->stats.refused, 1);
            record->done[i] = true;
            answer(outbox, &record->insured[i], true);
        }
    }
    gv__outbox_drop_image(record);
    box->bytes -= record->bytes;
    if (record->missing > 0) {
        record->state = GV_OUTBOX_LOST;
        box->lost++;
        return;
    }
    box->unhanded -= was_unhanded ? 1 : 0;
    gv__outbox_record_free(record);
}

/* Its node has been forgotten meanwhile. */
static void on_orphan_written(gv_outbox_t *outbox, gv_outbox_record_t *record, bool is_refused)
{
    for (uint32_t i = 0; i < record->place.count; i++) {
        answer(outbox, &record->insured[i], is_refused);
    }
    gv__outbox_delete(outbox, &record->place);
    gv__outbox_record_free(record);
}

static void on_written(gv_err_t result, void *arg)
{
    gv_outbox_record_t *record = arg;
    gv_outbox_t *outbox = record->outbox;
    gv_outbox_box_t *box = record->box;
    gv__outbox_note_failure(outbox, result);
    if (box == NULL) {
        on_orphan_written(outbox, record, result != GV_OK);
        return;
    }
    box->is_insuring = false;
    if (result != GV_OK) {
        lose(outbox, record);
        if (box->gathering != NULL) {
            gv_outbox_record_t *next = box->gathering;
            box->gathering = NULL;
            lose(outbox, next);
        }
        return;
    }
    gv_counter_add(&outbox->stats.stored, record->place.count);
    gv_counter_add(&outbox->stats.early, record->place.count);
    for (uint32_t i = 0; i < record->place.count; i++) {
        if (!record->insured[i].is_held) {
            answer(outbox, &record->insured[i], false);
        }
    }
    record->state = record->missing > 0 ? GV_OUTBOX_SENT : GV_OUTBOX_STORED;
    if (gv__outbox_is_all_done(record)) {
        gv__outbox_finish_record(record);
    }
}

bool gv__outbox_write_insured(gv_outbox_t *outbox, gv_outbox_box_t *box)
{
    gv_outbox_record_t *record = box->gathering;
    if (record == NULL || box->is_insuring) {
        return record == NULL;
    }
    box->gathering = NULL;
    box->is_insuring = true;
    record->state = GV_OUTBOX_WRITING;
    record->place.number = outbox->next_number;
    outbox->next_number += record->place.count;
    gv__outbox_submit(outbox, record, on_written);
    gv__outbox_drop_image(record); /* the cluster has it all while it is on its way */
    return true;
}

/* ---- answers --------------------------------------------------------------------------------- */

/* There is no more to come for a record. */
static void on_last_answer(gv_outbox_t *outbox, gv_outbox_record_t *record)
{
    gv_outbox_box_t *box = record->box;
    gv__outbox_free_slot(outbox, record);
    if (record->state == GV_OUTBOX_LOST) {
        box->lost--;
        gv__outbox_record_free(record);
        return;
    }
    if (!gv__outbox_is_all_done(record)) {
        box->unhanded++; /* to be sent once more, in its place */
        record->state = record->state == GV_OUTBOX_SENT ? GV_OUTBOX_STORED : record->state;
    } else if (record->state == GV_OUTBOX_SENT) {
        gv__outbox_finish_record(record);
    } else if (record->state == GV_OUTBOX_GATHERING) {
        box->gathering = NULL;
        box->bytes -= record->bytes;
        gv__outbox_record_free(record);
    }
}

bool gv__outbox_insured_confirmed(gv_outbox_t *outbox, gv_outbox_record_t *record, uint32_t index,
                                  gv_forward_result_t result, uint64_t *waiter_out)
{
    gv_outbox_insured_t *insured = &record->insured[index];
    bool is_gone = result == GV_FORWARD_GONE || result == GV_FORWARD_IN_DOUBT;
    bool is_there = result == GV_FORWARD_APPLIED || result == GV_FORWARD_RETURNED;
    bool is_promised = record->state == GV_OUTBOX_SENT && insured->waiter == 0 && !insured->is_held;
    bool is_callers = false;
    insured->is_away = false;
    gv_counter_add(&outbox->stats.sent, is_there && record->state != GV_OUTBOX_LOST);
    if (record->state == GV_OUTBOX_LOST) {
        record->done[index] = true;
        is_callers = true;
    } else if (is_gone) {
        insured->is_held = false;
        if (record->state == GV_OUTBOX_SENT) {
            answer(outbox, insured, false);
        }
    } else if (is_promised && !is_there) {
        gv__outbox_not_taken(outbox, record->box, result);
    } else {
        gv__outbox_set_done(record, index);
        is_callers = insured->waiter != 0 || insured->is_held;
    }
    if (is_callers) {
        *waiter_out = insured->waiter;
        insured->waiter = 0;
    }
    if (--record->missing == 0) {
        on_last_answer(outbox, record);
    }
    return is_callers;
}

void gv__outbox_forget_insured(gv_outbox_t *outbox, gv_outbox_record_t *record)
{
    if (record->state == GV_OUTBOX_WRITING) {
        return; /* who waits is answered when that is over */
    }
    for (uint32_t i = 0; i < record->place.count; i++) {
        answer(outbox, &record->insured[i], false);
    }
}
