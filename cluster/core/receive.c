/* SPDX-License-Identifier: Apache-2.0 */
#include "base/alloc.h"
#include "cluster/core/core_p.h"

/*
 * Publishes from other nodes: one channel per origin.
 *
 * A message is delivered when it is the next one; what has been seen is dropped, what comes too
 * early is dropped too (the origin sends again from the first one missing).  `lowest` in a batch
 * says that the origin has given up everything below it, which is how a channel goes on after the
 * origin held us for dead.  Acknowledged is, cumulatively, what the host has applied; that it has
 * refused some of it, or found no member for a group, goes with the acknowledgement (answer.c).
 *
 * Parts of this file: life - applied - assembling pieces - delivering - batches - acknowledgements.
 */

#define ASSEMBLY_CAPACITY_MIN ((size_t)131072)

/* ---- life ---------------------------------------------------------------------------------------
 */

void gv__channel_in_init(gv_channel_in_t *in)
{
    *in = (gv_channel_in_t){.credit = FORWARD_CREDIT_START};
    gv__fifo_init(&in->window, sizeof(gv_delivered_t));
    gv__answers_init(&in->answers);
}

static void drop_assembly(gv_assembly_t *assembly)
{
    gv_free(assembly->data);
    *assembly = (gv_assembly_t){.total = 0};
}

void gv__channel_in_deinit(gv_channel_in_t *in)
{
    drop_assembly(&in->assembly[0]);
    drop_assembly(&in->assembly[1]);
    for (size_t i = 0; i < gv__fifo_count(&in->window); i++) {
        gv_free(((gv_delivered_t *)gv__fifo_at(&in->window, i))->returned);
    }
    gv__fifo_deinit(&in->window);
    gv__answers_deinit(&in->answers);
}

gv_fifo_t gv__channel_in_take_answers(gv_channel_in_t *in)
{
    gv_delivered_t *entry;
    while ((entry = gv__fifo_peek(&in->window)) != NULL) {
        entry->is_refused = entry->is_refused || !entry->is_applied;
        gv__answers_add(&in->answers, entry);
        gv__fifo_pop(&in->window);
    }
    gv_fifo_t answers = in->answers;
    gv__answers_init(&in->answers);
    return answers;
}

/* The origin has a new life: its numbers begin anew, old deliveries mean nothing any more. */
static void begin_life(gv_ccore_t *core, gv_channel_in_t *in, const gv_forward_batch_t *batch)
{
    gv__channel_in_deinit(in);
    gv__channel_in_init(in);
    in->boot_id = batch->from_boot_id;
    in->epoch = ++core->epoch;
    in->received = batch->lowest - 1;
}

/* ---- applied
 * -------------------------------------------------------------------------------------- */

static gv_delivered_t *find_delivered(const gv_channel_in_t *in, uint64_t seq)
{
    size_t low = 0;
    size_t high = gv__fifo_count(&in->window);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        gv_delivered_t *entry = gv__fifo_at(&in->window, middle);
        if (entry->seq == seq) {
            return entry;
        }
        if (entry->seq < seq) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

/* What is applied leaves the window in the order it came in. */
static void note_applied(gv_channel_in_t *in, gv_delivered_t *entry)
{
    entry->is_applied = true;
    in->unapplied_bytes -= entry->cost;
    in->ack_due = true;
    while ((entry = gv__fifo_peek(&in->window)) != NULL && entry->is_applied) {
        gv__answers_add(&in->answers, entry);
        gv__fifo_pop(&in->window);
    }
}

void gv_ccore_applied(gv_ccore_t *core, gv_delivery_t delivery,
                      const gv_delivery_outcome_t *outcome)
{
    GV_ASSERT(!core->in_port_phase);
    GV_ASSERT(delivery.from < GV_NODES_MAX);
    gv_member_t *m = core->members[delivery.from];
    if (m == NULL || m->in.epoch != delivery.epoch) {
        return; /* of an earlier life */
    }
    gv_delivered_t *entry = find_delivered(&m->in, delivery.seq);
    if (entry == NULL || entry->is_applied) {
        return;
    }
    if (outcome != NULL) {
        GV_ASSERT(outcome->returned_count <= GV_FORWARD_SHARED_MAX);
        entry->is_refused = outcome->is_refused;
        entry->returned_count = (uint32_t)outcome->returned_count;
        if (outcome->returned_count > 0) {
            size_t size = outcome->returned_count * sizeof(uint64_t);
            entry->returned = gv_xalloc(size);
            memcpy(entry->returned, outcome->returned, size);
        }
    }
    note_applied(&m->in, entry);
}

/* ---- assembling pieces
 * ---------------------------------------------------------------------------- */

typedef enum assembly_outcome {
    ASSEMBLY_WAITS,
    ASSEMBLY_COMPLETE,
    ASSEMBLY_BROKEN, /* a piece is missing, or memory is */
} assembly_outcome_t;

/* Memory grows with what has come, not with what was announced. */
static bool reserve(gv_assembly_t *assembly, size_t size)
{
    if (size <= assembly->capacity) {
        return true;
    }
    size_t capacity = assembly->capacity * 2;
    capacity = capacity < ASSEMBLY_CAPACITY_MIN ? ASSEMBLY_CAPACITY_MIN : capacity;
    capacity = capacity < size ? size : capacity;
    capacity = capacity > assembly->total ? (size_t)assembly->total : capacity;
    uint8_t *data = gv_try_realloc(assembly->data, capacity);
    if (data == NULL) {
        return false;
    }
    assembly->data = data;
    assembly->capacity = capacity;
    return true;
}

static assembly_outcome_t assemble(gv_ccore_t *core, gv_assembly_t *assembly,
                                   const gv_forward_piece_t *piece)
{
    if (piece->at == 0) {
        if (assembly->total != 0 && piece->seq == 0) {
            core->stats.qos0_dropped_incomplete++;
        }
        drop_assembly(assembly);
        assembly->seq = piece->seq;
        assembly->total = piece->total;
        assembly->expiry_ms = piece->expiry_ms;
    }
    if (assembly->total != piece->total || assembly->seq != piece->seq ||
        assembly->size != piece->at || !reserve(assembly, assembly->size + piece->body.size)) {
        if (assembly->total != 0 && piece->seq == 0) {
            core->stats.qos0_dropped_incomplete++;
        }
        drop_assembly(assembly);
        return ASSEMBLY_BROKEN;
    }
    memcpy(assembly->data + assembly->size, piece->body.data, piece->body.size);
    assembly->size += piece->body.size;
    return assembly->size == assembly->total ? ASSEMBLY_COMPLETE : ASSEMBLY_WAITS;
}

/* ---- delivering
 * ----------------------------------------------------------------------------------- */

static void deliver(gv_ccore_t *core, gv_member_t *m, uint64_t seq, uint64_t expiry_ms,
                    gv_bytes_t body)
{
    gv_channel_in_t *in = &m->in;
    bool is_new = seq > in->received;
    if (is_new) {
        in->received = seq;
    }
    if (seq != 0 && is_new) {
        gv_delivered_t entry = {.seq = seq, .cost = body.size + FORWARD_ITEM_OVERHEAD};
        gv__fifo_push(&in->window, &entry);
        in->unapplied_bytes += entry.cost;
    }
    gv_forward_t msg;
    if (gv_forward_decode(body, core->shared, &msg) != GV_OK) {
        /* It has arrived, or it would come again for ever; nobody here can have it. */
        core->stats.frames_bad++;
        gv_delivered_t *entry = is_new ? find_delivered(in, seq) : NULL;
        if (entry != NULL) {
            entry->is_refused = true;
            note_applied(in, entry);
        }
        return;
    }
    msg.expiry_ms = expiry_ms;
    core->stats.forwards_delivered++;
    gv_delivery_t delivery = {.seq = seq, .epoch = in->epoch, .from = m->index};
    core->ports.deliver(&delivery, &msg, core->ports.arg);
}

/*
 * `is_late`: the batch came by an earlier path and was overtaken.  What is numbered in it is known,
 * or comes again; what is not would be out of order now.  False: the rest of the batch is of no
 * use.
 */
static bool take_piece(gv_ccore_t *core, gv_member_t *m, const gv_forward_piece_t *piece,
                       bool is_late)
{
    gv_channel_in_t *in = &m->in;
    bool is_numbered = piece->seq != 0;
    if (is_late && !is_numbered) {
        core->stats.qos0_dropped_late++;
        return true;
    }
    if (is_numbered && piece->seq <= in->received) {
        core->stats.forwards_repeated += piece->at == 0 ? 1 : 0;
        if (!core->switches.no_dedupe || piece->total != 0) {
            return true;
        }
    } else if (is_numbered && piece->seq != in->received + 1) {
        return false; /* something before it is missing; it will all come again */
    }
    if (piece->total == 0) {
        deliver(core, m, piece->seq, piece->expiry_ms, piece->body);
        return true;
    }
    gv_assembly_t *assembly = &in->assembly[is_numbered ? 1 : 0];
    switch (assemble(core, assembly, piece)) {
    case ASSEMBLY_WAITS:
        return true;
    case ASSEMBLY_COMPLETE:
        deliver(core, m, piece->seq, assembly->expiry_ms, gv_bytes(assembly->data, assembly->size));
        drop_assembly(assembly);
        return true;
    case ASSEMBLY_BROKEN:
        return !is_numbered;
    }
    return false;
}

/* ---- batches
 * -------------------------------------------------------------------------------------- */

static bool is_within_limits(const gv_ccore_t *core, const gv_channel_in_t *in,
                             const gv_forward_batch_t *batch)
{
    return batch->offset <= in->credit &&
           in->unapplied_bytes <=
               core->limits.forward_window_bytes + core->limits.forward_message_bytes;
}

/* A batch for us.  False: the origin breaks the rules. */
static bool take_batch(gv_ccore_t *core, gv_member_t *m, const gv_forward_batch_t *batch,
                       gv_bytes_t frame)
{
    gv_channel_in_t *in = &m->in;
    if (in->boot_id != batch->from_boot_id) {
        begin_life(core, in, batch);
    }
    if (batch->lowest - 1 > in->received) {
        in->received = batch->lowest - 1; /* given up by the origin */
    }
    gv__answers_forget(&in->answers, batch->lowest);
    if (!is_within_limits(core, in, batch)) {
        return false;
    }
    /* Each batch that has anything in it is further on than the one before. */
    bool is_late = batch->offset <= in->offset;
    in->offset = is_late ? in->offset : batch->offset;
    in->ack_due = true;
    gv_reader_t reader = gv_reader(frame);
    gv_forward_piece_t piece;
    while (gv_forward_next_piece(&reader, &piece)) {
        if (piece.total > core->limits.forward_message_bytes) {
            return false;
        }
        if (!take_piece(core, m, &piece, is_late)) {
            break;
        }
    }
    return !reader.failed;
}

/* For somebody else: once, over our own link to it, as the kind that goes no further. */
static void pass_on(gv_ccore_t *core, const gv_node_id_t *to, gv_link_priority_t priority,
                    gv_frame_kind_t kind, gv_bytes_t body)
{
    const gv_member_t *m = gv__member_by_id(core, to);
    if (m == NULL || !m->is_linked) {
        core->stats.relays_failed++;
        return;
    }
    core->stats.forwards_relayed++;
    core->ports.send(m->active->id, priority, kind, body, core->ports.arg);
}

static bool on_ack(gv_ccore_t *core, bool may_pass_on, gv_bytes_t body)
{
    ProtobufCAllocator allocator = gv_arena_allocator(&core->arena);
    Gv__ForwardAck *ack = gv__forward_ack__unpack(&allocator, body.size, body.data);
    gv_node_id_t from;
    gv_node_id_t to;
    if (ack == NULL || !gv_codec_get_id(&ack->from_id, &from) ||
        !gv_codec_get_id(&ack->to_id, &to)) {
        return false;
    }
    if (!gv_node_id_equal(&to, &gv__self(core)->id)) {
        if (may_pass_on) {
            pass_on(core, &to, GV_LINK_CONTROL, GV_FRAME_FORWARD_ACK, body);
        }
        return true;
    }
    gv_member_t *m = gv__member_by_id(core, &from);
    if (m != NULL && m->index != GV_NODE_SELF) {
        gv__on_forward_ack(core, m, ack);
    }
    return true;
}

static bool on_batch(gv_ccore_t *core, const gv_peer_link_t *link, bool may_pass_on,
                     gv_bytes_t frame)
{
    gv_forward_batch_t batch;
    if (gv_forward_get_head(frame, &batch) != GV_OK) {
        return false;
    }
    const gv_member_t *self = gv__self(core);
    if (!gv_node_id_equal(&batch.to, &self->id)) {
        if (may_pass_on) {
            pass_on(core, &batch.to, GV_LINK_DATA, GV_FRAME_FORWARD, frame);
        }
        return true;
    }
    gv_member_t *m = gv__member_by_id(core, &batch.from);
    if (m == NULL || m->index == GV_NODE_SELF || batch.to_boot_id != self->incarnation.boot_id ||
        batch.from_boot_id != m->incarnation.boot_id) {
        return true; /* meant for, or said by, another life */
    }
    /* What comes through a relay is not the relay's fault. */
    return take_batch(core, m, &batch, frame) || link->member != m;
}

bool gv__on_forward(gv_ccore_t *core, gv_peer_link_t *link, gv_frame_kind_t kind, gv_bytes_t body)
{
    bool may_pass_on = kind == GV_FRAME_FORWARD_RELAY || kind == GV_FRAME_FORWARD_ACK_RELAY;
    if (kind == GV_FRAME_FORWARD_ACK || kind == GV_FRAME_FORWARD_ACK_RELAY) {
        return on_ack(core, may_pass_on, body);
    }
    return on_batch(core, link, may_pass_on, body);
}

void gv_ccore_pause_credit(gv_ccore_t *core, bool is_paused)
{
    GV_ASSERT(!core->in_port_phase);
    core->credit_paused = is_paused;
    gv__foreach_peer(core, m)
    {
        m->in.ack_due = m->in.ack_due || !is_paused;
    }
}

/* ---- acknowledgements
 * ------------------------------------------------------------------------------- */

static uint64_t applied_seq(const gv_channel_in_t *in)
{
    const gv_delivered_t *first = gv__fifo_peek(&in->window);
    return first == NULL ? in->received : first->seq - 1;
}

static void grant_credit(const gv_ccore_t *core, gv_channel_in_t *in)
{
    uint64_t window = core->limits.forward_window_bytes;
    if (core->credit_paused || gv__fifo_count(&in->answers) >= FORWARD_ANSWERS_MAX ||
        in->unapplied_bytes >= in->offset + window) {
        return;
    }
    uint64_t credit = in->offset + window - in->unapplied_bytes;
    in->credit = credit > in->credit ? credit : in->credit;
}

static void acknowledge(gv_ccore_t *core, gv_member_t *m, const gv_peer_link_t *link)
{
    gv_channel_in_t *in = &m->in;
    grant_credit(core, in);
    Gv__ForwardAck ack = GV__FORWARD_ACK__INIT;
    ack.from_id = gv_codec_put_id(&gv__self(core)->id);
    ack.to_id = gv_codec_put_id(&m->id);
    ack.from_boot_id = gv__self(core)->incarnation.boot_id;
    ack.to_boot_id = in->boot_id;
    ack.received = in->received;
    ack.applied = gv__answers_pack(core, &in->answers, applied_seq(in), &ack);
    ack.credit = in->credit;
    ack.offset = in->offset;
    gv__send(core, link, m->is_linked ? GV_FRAME_FORWARD_ACK : GV_FRAME_FORWARD_ACK_RELAY,
             &ack.base);
    in->ack_due = false;
    if (core->switches.answers_once) {
        gv__answers_forget(&in->answers, ack.applied + 1);
    }
}

void gv__receive_flush(gv_ccore_t *core)
{
    gv__foreach_peer(core, m)
    {
        if (!m->in.ack_due) {
            continue;
        }
        if (m->in.boot_id != m->incarnation.boot_id) {
            m->in.ack_due = false; /* nothing has come from this life */
            continue;
        }
        const gv_peer_link_t *link = gv__path(core, m);
        if (link != NULL) {
            acknowledge(core, m, link);
        }
    }
}
