/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/core/core_p.h"

/*
 * Our own routes: setting and withdrawing them, and pushing them to all linked peers.
 *
 * Pushing: a peer is a cursor into the table's sequence numbers.  In each turn it gets the rows
 * after its cursor, in pieces, at most PUSH_PIECES_MAX of them unconfirmed; a slow peer's cursor
 * just stays behind.  The cursor survives a broken link: what was lost with it is found out because
 * a piece does not fit (the peer asks to resync), or because the peer reports less than the cursor
 * while nothing is on its way.
 *
 * Parts of this file: set and withdraw - pieces - push - confirmations.
 */

#define PIECE_ROWS_MAX   4096U
#define ROW_OVERHEAD     20U /* tags, seq and value of a packed row, about */
#define PUSH_PATIENCE_MS 3000U

static gv_table_t *own_table(const gv_ccore_t *core)
{
    return &gv__self(core)->replica.table;
}

static bool is_same_life(gv_incarnation_t a, gv_incarnation_t b)
{
    return gv_incarnation_compare(a, b) == 0;
}

/* ---- set and withdraw ---------------------------------------------------------------------------
 */

static gv_err_t change_row(gv_ccore_t *core, gv_bytes_t key, uint32_t value)
{
    gv_table_t *table = own_table(core);
    uint32_t before;
    gv_err_t err = gv_table_put(table, key, value, table->seq + 1, &before);
    gv_table_trim(table, core->limits.tombstones, core->switches.tombstones_keep_floor);
    return err;
}

static void queue_withdrawal(gv_ccore_t *core, gv_row_t *row, uint64_t due_ms)
{
    gv_withdrawal_t entry = {.row = row, .due_ms = due_ms};
    row->is_queued = true;
    gv__fifo_push(&core->withdrawals, &entry);
}

gv_err_t gv_ccore_route_set(gv_ccore_t *core, gv_bytes_t key, uint32_t value)
{
    GV_ASSERT(!core->in_port_phase);
    if (key.size == 0 || key.size > GV_ROUTE_KEY_MAX) {
        return GV_ERR_LIMIT;
    }
    gv_row_t *row = gv_table_find(own_table(core), key);
    uint32_t before = row == NULL ? 0 : row->value;
    if (value == 0) {
        if (before != 0 && !row->is_withdrawing) {
            uint64_t due_ms = core->now_ms + core->timing.withdraw;
            row->is_withdrawing = true;
            row->withdraw_ms = (uint32_t)due_ms;
            if (!row->is_queued) {
                queue_withdrawal(core, row, due_ms);
            }
        }
        return GV_OK;
    }
    if (row != NULL) {
        row->is_withdrawing = false;
    }
    return before == value ? GV_OK : change_row(core, key, value);
}

static void withdraw_due(gv_ccore_t *core)
{
    gv_withdrawal_t *first;
    while ((first = gv__fifo_peek(&core->withdrawals)) != NULL && first->due_ms <= core->now_ms) {
        gv_row_t *row = first->row;
        gv__fifo_pop(&core->withdrawals);
        row->is_queued = false;
        if (!row->is_withdrawing) {
            continue; /* set again in time */
        }
        int32_t left_ms = (int32_t)(row->withdraw_ms - (uint32_t)core->now_ms);
        if (left_ms > 0) {
            /* Set and withdrawn again since: the newer withdrawal has its own delay. */
            queue_withdrawal(core, row, core->now_ms + (uint64_t)left_ms);
            continue;
        }
        row->is_withdrawing = false;
        if (change_row(core, gv_row_key(row), 0) != GV_OK) {
            row->is_withdrawing = true; /* out of memory just now */
            queue_withdrawal(core, row, core->now_ms + core->timing.withdraw + 1);
        }
    }
}

/* ---- pieces -------------------------------------------------------------------------------------
 */

/* How many rows after from_seq fit into one piece; at least one if there is any. */
static size_t count_rows(const gv_ccore_t *core, const gv_table_t *table, uint64_t from_seq)
{
    size_t count = 0;
    size_t bytes = 0;
    gv_row_t *row = gv_table_after(table, from_seq);
    while (row != NULL && count < PIECE_ROWS_MAX) {
        bytes += row->key_size + ROW_OVERHEAD;
        if (count > 0 && bytes > core->limits.piece_bytes) {
            break;
        }
        count++;
        row = gv_table_next(table, row);
    }
    return count;
}

void gv__build_piece(gv_ccore_t *core, const gv_member_t *owner, bool is_snapshot,
                     uint64_t from_seq, Gv__TablePiece *piece)
{
    const gv_table_t *table = &owner->replica.table;
    size_t count = count_rows(core, table, from_seq);
    Gv__Row *rows = gv__build(core, count, sizeof(*rows));
    gv__table_piece__init(piece);
    piece->rows = gv__build(core, count, sizeof(piece->rows[0]));
    piece->n_rows = count;
    gv_row_t *row = gv_table_after(table, from_seq);
    uint64_t to_seq = from_seq;
    for (size_t i = 0; i < count; i++) {
        gv__row__init(&rows[i]);
        rows[i].key = (ProtobufCBinaryData){.len = row->key_size, .data = row->key};
        rows[i].value = row->value;
        rows[i].seq = row->seq;
        piece->rows[i] = &rows[i];
        to_seq = row->seq;
        row = gv_table_next(table, row);
    }
    piece->owner_id = gv_codec_put_id(&owner->id);
    piece->start_counter = table->incarnation.start_counter;
    piece->boot_id = table->incarnation.boot_id;
    piece->snapshot = is_snapshot;
    piece->from_seq = from_seq;
    piece->last = row == NULL;
    piece->to_seq = piece->last ? table->seq : to_seq;
    piece->hash = piece->last ? table->hash : 0;
    piece->floor = table->floor;
    piece->sender_seq = table->seq;
    core->stats.table_pieces_sent++;
}

/* ---- push ---------------------------------------------------------------------------------------
 */

static void go_on_with_snapshot(const gv_ccore_t *core, gv_push_t *push, uint64_t from_seq,
                                uint64_t begin_seq)
{
    push->is_snapshot = true;
    push->cursor = from_seq;
    push->begin_seq = begin_seq;
    push->incarnation = own_table(core)->incarnation;
    push->piece_count = 0;
}

static void begin_snapshot(const gv_ccore_t *core, gv_push_t *push)
{
    go_on_with_snapshot(core, push, 0, own_table(core)->seq);
}

static void begin_delta(const gv_ccore_t *core, gv_push_t *push, uint64_t from_seq)
{
    push->is_snapshot = false;
    push->cursor = from_seq;
    push->incarnation = own_table(core)->incarnation;
    push->piece_count = 0;
}

static void push_to(gv_ccore_t *core, gv_member_t *m)
{
    const gv_table_t *table = own_table(core);
    gv_push_t *push = &m->push;
    if (!push->is_known || push->boot_id != m->incarnation.boot_id) {
        return; /* it has not told yet what it has */
    }
    if (push->piece_count > 0 && gv__since(core, push->progress_ms) > PUSH_PATIENCE_MS) {
        if (is_same_life(push->acked_incarnation, table->incarnation)) {
            begin_delta(core, push, push->acked_seq);
        } else {
            begin_snapshot(core, push);
        }
    }
    /*
     * A delta needs all withdrawals after its cursor.  A snapshot needs those of rows it has sent
     * already: they are newer than its beginning.
     */
    uint64_t needed_seq = push->is_snapshot ? push->begin_seq : push->cursor;
    bool is_behind_floor = needed_seq < table->floor;
    if (!is_same_life(push->incarnation, table->incarnation) || is_behind_floor) {
        begin_snapshot(core, push);
    }
    while (push->piece_count < PUSH_PIECES_MAX &&
           (push->cursor < table->seq || push->is_snapshot)) {
        Gv__TablePiece piece;
        gv__build_piece(core, gv__self(core), push->is_snapshot, push->cursor, &piece);
        gv__send(core, m->active, GV_FRAME_TABLE_PIECE, &piece.base);
        gv_arena_reset(&core->arena);
        if (push->piece_count == 0) {
            push->progress_ms = core->now_ms;
        }
        push->pieces[push->piece_count++] = piece.to_seq;
        push->cursor = piece.to_seq;
        if (piece.last) {
            push->is_snapshot = false;
        }
    }
}

/* ---- confirmations
 * -------------------------------------------------------------------------------- */

static void take_pieces_off(gv_ccore_t *core, gv_push_t *push, uint64_t progress_seq)
{
    size_t done = 0;
    while (done < push->piece_count && push->pieces[done] <= progress_seq) {
        done++;
    }
    if (done > 0) {
        push->piece_count -= done;
        memmove(push->pieces, push->pieces + done, push->piece_count * sizeof(push->pieces[0]));
        push->progress_ms = core->now_ms;
    }
}

bool gv__on_table_ack(gv_ccore_t *core, gv_peer_link_t *link, const Gv__TableAck *msg)
{
    gv_member_t *m = link->member;
    gv_push_t *push = &m->push;
    if (msg->start_counter > GV_COUNTER_MAX || msg->staged_start_counter > GV_COUNTER_MAX ||
        msg->seq > GV_COUNTER_MAX || msg->staged_seq > GV_COUNTER_MAX) {
        return false;
    }
    gv_incarnation_t theirs = {msg->start_counter, msg->boot_id};
    gv_incarnation_t staged = {msg->staged_start_counter, msg->staged_boot_id};
    const gv_table_t *table = own_table(core);
    int order = gv_incarnation_compare(theirs, table->incarnation);
    if (order > 0 || (order == 0 && msg->seq > table->seq)) {
        gv__raise_start_counter(core, theirs); /* a version of us that we do not know */
        order = gv_incarnation_compare(theirs, table->incarnation);
    }
    bool is_ours = order == 0;
    bool is_staged_ours = is_same_life(staged, table->incarnation) && msg->staged_seq > 0;
    if (is_ours && msg->complete) {
        push->acked_incarnation = theirs;
        push->acked_seq = msg->seq;
    } else if (!is_ours) {
        /* It has restarted, or has purged us: what it confirmed before is gone. */
        push->acked_incarnation = (gv_incarnation_t){.start_counter = 0};
        push->acked_seq = 0;
    }
    uint64_t progress_seq = is_ours ? msg->seq : 0;
    if (is_staged_ours && msg->staged_seq > progress_seq) {
        progress_seq = msg->staged_seq;
    }
    take_pieces_off(core, push, progress_seq);
    bool is_new = !push->is_known || push->boot_id != m->incarnation.boot_id;
    bool was_lost = push->piece_count == 0 && progress_seq < push->cursor;
    if (is_new || msg->resync || was_lost) {
        push->is_known = true;
        push->boot_id = m->incarnation.boot_id;
        if (is_ours) {
            begin_delta(core, push, msg->seq);
        } else if (is_staged_ours) {
            go_on_with_snapshot(core, push, msg->staged_seq, msg->staged_begin_seq);
        } else {
            begin_snapshot(core, push);
        }
    }
    return true;
}

/* ---- the turn
 * ------------------------------------------------------------------------------------- */

void gv__routes_tick(gv_ccore_t *core)
{
    withdraw_due(core);
}

void gv__routes_flush(gv_ccore_t *core)
{
    gv__foreach_peer(core, m)
    {
        if (m->active != NULL) {
            push_to(core, m);
        }
    }
}

uint64_t gv__routes_deadline(const gv_ccore_t *core)
{
    const gv_withdrawal_t *withdrawal = gv__fifo_peek(&core->withdrawals);
    return withdrawal == NULL ? UINT64_MAX : withdrawal->due_ms;
}
