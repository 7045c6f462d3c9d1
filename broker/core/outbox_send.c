/* SPDX-License-Identifier: Apache-2.0 */
/*
 * To the other node.  Parts: handing over - confirmations.
 */
#define GV_MEMORY_OF GV_MEMORY_LOG

#include "base/alloc.h"
#include "broker/core/outbox_p.h"
#include "cluster/core/forward_codec.h"

/* Records of a box that are on their way, or being read for it; and how large they may be. */
static const struct {
    uint32_t records;
    size_t bytes;
} windows[] = {
    [GV_OUTBOX_SPOOL] = {.records = GV_OUTBOX_WINDOW, .bytes = SIZE_MAX},
    /* One for each turn of the loop, so they are small. */
    [GV_OUTBOX_EXACT] = {.records = 64, .bytes = (size_t)1 << 20},
};

/* The pause after a node has refused something [ms]. */
#define REFUSED_PAUSE_MS 1000U

/* ---- handing over ---------------------------------------------------------------------------- */

void gv__outbox_take_slot(gv_outbox_t *outbox, gv_outbox_record_t *record)
{
    uint32_t slot = outbox->slot_hint;
    while (slot < outbox->slot_count && outbox->slots[slot] != NULL) {
        slot++;
    }
    if (slot == outbox->slot_count) {
        outbox->slot_count++;
        outbox->slots = gv_xrealloc(outbox->slots, outbox->slot_count * sizeof(outbox->slots[0]));
    }
    outbox->slots[slot] = record;
    outbox->slot_hint = slot + 1;
    record->slot = slot;
}

void gv__outbox_free_slot(gv_outbox_t *outbox, const gv_outbox_record_t *record)
{
    outbox->slots[record->slot] = NULL;
    if (record->slot < outbox->slot_hint) {
        outbox->slot_hint = record->slot;
    }
}

/* False: it is not worth sending, or cannot be read. */
static bool publish(gv_outbox_t *outbox, gv_outbox_box_t *box, const gv_outbox_kept_t *message,
                    const gv_forward_exact_t *exact, uint64_t token)
{
    uint64_t now_ms = outbox->ports.realtime_ms(outbox->ports.arg);
    if (message->expires_at_ms != 0 && message->expires_at_ms <= now_ms) {
        gv_counter_add(&outbox->stats.expired, 1);
        return false;
    }
    gv_forward_t forward;
    gv_bytes_t shared[GV_FORWARD_SHARED_MAX];
    if (gv_forward_decode(gv_bytes(message->body, message->size), shared, &forward) != GV_OK) {
        gv_counter_add(&outbox->stats.lost, 1);
        return false;
    }
    forward.expiry_ms =
        message->expires_at_ms == 0 ? GV_FORWARD_NO_EXPIRY : message->expires_at_ms - now_ms;
    forward.exact = *exact;
    box->last_run = exact->run;
    box->last_sent = exact->number;
    outbox->ports.publish(outbox->ports.arg, &forward, box->node, token);
    return true;
}

/* All of it is done: it leaves the disk. */
void gv__outbox_finish_record(gv_outbox_record_t *record)
{
    record->box->bytes -= record->bytes;
    gv__outbox_delete(record->outbox, &record->place);
    gv__outbox_record_free(record);
}

void gv__outbox_set_done(gv_outbox_record_t *record, uint32_t index)
{
    record->done[index] = true;
    record->box->messages--;
}

static void hand_over(gv_outbox_t *outbox, gv_outbox_record_t *record)
{
    gv_outbox_box_t *box = record->box;
    if (record->done == NULL) {
        record->done = gv_xcalloc(record->place.count, sizeof(bool));
    }
    record->state = GV_OUTBOX_SENT;
    gv__outbox_take_slot(outbox, record);
    record->missing = 0;
    box->unhanded--;
    for (uint32_t i = 0; i < record->place.count; i++) {
        if (record->done[i]) {
            continue;
        }
        gv_forward_exact_t exact = {0};
        if (box->kind == GV_OUTBOX_EXACT) {
            exact = (gv_forward_exact_t){.run = record->place.run,
                                         .number = record->place.number + i,
                                         .previous = box->outstanding > 0 ? box->last_sent : 0};
        }
        if (publish(outbox, box, &record->messages[i], &exact, gv__outbox_token(record, i))) {
            record->missing++;
            box->outstanding++;
        } else {
            gv__outbox_set_done(record, i);
        }
    }
    gv__outbox_drop_image(record);
    if (record->missing == 0) {
        gv__outbox_free_slot(outbox, record);
        gv__outbox_finish_record(record);
    }
}

/*
 * The other node remembers one run, and then it is this one: nothing of earlier ones may have to be
 * sent again, not even after a crash.
 */
static bool has_to_wait_for_run(const gv_outbox_t *outbox, const gv_outbox_record_t *record)
{
    const gv_outbox_box_t *box = record->box;
    bool is_over = box->outstanding == 0 && !gv__outbox_is_deleting(outbox);
    return box->kind == GV_OUTBOX_EXACT && record->place.run != box->last_run && !is_over;
}

/* Records in order, as far as the window and the disk allow. */
static void hand_over_records(gv_outbox_t *outbox, gv_outbox_box_t *box)
{
    uint32_t records = 0;
    size_t bytes = 0;
    bool is_in_order = true;
    gv_list_foreach_safe (&box->records, link) {
        gv_outbox_record_t *record = gv_container_of(link, gv_outbox_record_t, link);
        if (++records > windows[box->kind].records || bytes > windows[box->kind].bytes) {
            return;
        }
        bytes += record->bytes;
        if (record->state == GV_OUTBOX_STORED && record->messages == NULL) {
            gv__outbox_load_image(outbox, record);
        }
        is_in_order = is_in_order && !has_to_wait_for_run(outbox, record);
        if (record->state == GV_OUTBOX_STORED && is_in_order) {
            hand_over(outbox, record);
        } else if (record->missing == 0) {
            is_in_order = false;
        }
    }
}

/* Everything before it has been handed over: it need not be written. */
static void hand_over_gathered(gv_outbox_t *outbox, gv_outbox_box_t *box)
{
    for (size_t i = 0; i < box->gathered_count; i++) {
        const gv_outbox_kept_t *message = &box->gathered[i];
        box->messages--;
        box->bytes -= message->size;
        static const gv_forward_exact_t none = {0};
        if (!publish(outbox, box, message, &none, message->token)) {
            outbox->ports.answered(outbox->ports.arg, message->token, false);
        }
    }
    gv__outbox_drop_gathered(box);
}

void gv__outbox_hand_over(gv_outbox_t *outbox, gv_outbox_box_t *box)
{
    hand_over_records(outbox, box);
    if (box->kind == GV_OUTBOX_SPOOL && box->unhanded == 0) {
        hand_over_gathered(outbox, box);
    }
}

/* ---- confirmations --------------------------------------------------------------------------- */

/*
 * Not taken, or nobody knows: it is handed over once more.  From an exact box nothing else is
 * before all answers have come: what was sent behind it is not taken without it.
 */
void gv__outbox_not_taken(gv_outbox_t *outbox, gv_outbox_box_t *box, gv_forward_result_t result)
{
    box->is_halted = box->kind == GV_OUTBOX_EXACT;
    if (result == GV_FORWARD_REFUSED || result == GV_FORWARD_FULL) {
        box->retry_at_ms = outbox->ports.monotonic_ms(outbox->ports.arg) + REFUSED_PAUSE_MS;
    }
}

bool gv__outbox_is_all_done(const gv_outbox_record_t *record)
{
    for (uint32_t i = 0; i < record->place.count; i++) {
        if (!record->done[i]) {
            return false;
        }
    }
    return true;
}

/* All answers about a record of the disk have come. */
static void on_answered(gv_outbox_t *outbox, gv_outbox_record_t *record)
{
    gv__outbox_free_slot(outbox, record);
    if (gv__outbox_is_all_done(record)) {
        gv__outbox_finish_record(record);
        return;
    }
    record->state = GV_OUTBOX_STORED; /* once more, what is not done of it */
    record->box->unhanded++;
}

bool gv_outbox_on_confirmed(gv_outbox_t *outbox, uint64_t token, gv_forward_result_t result,
                            uint64_t *waiter_out)
{
    *waiter_out = 0;
    gv_outbox_record_t *record = gv__outbox_record_of_token(outbox, token);
    if (record == NULL) {
        return false;
    }
    uint32_t index = gv__outbox_index_of_token(token);
    if (record->insured != NULL && record->insured[index].is_away) {
        return gv__outbox_insured_confirmed(outbox, record, index, result, waiter_out);
    }
    gv_outbox_box_t *box = record->box;
    box->outstanding--;
    if (result == GV_FORWARD_APPLIED || result == GV_FORWARD_RETURNED) {
        gv_counter_add(&outbox->stats.sent, 1);
        gv__outbox_set_done(record, index);
    } else {
        gv__outbox_not_taken(outbox, box, result);
    }
    box->is_halted = box->is_halted && box->outstanding > 0;
    if (--record->missing == 0) {
        on_answered(outbox, record);
    }
    return false;
}
