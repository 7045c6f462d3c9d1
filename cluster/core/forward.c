/* SPDX-License-Identifier: Apache-2.0 */
#include "base/alloc.h"
#include "cluster/core/core_p.h"

/*
 * Publishes to other nodes: one channel per destination.
 *
 * QoS >= 1 messages are numbered, kept until the destination's host has applied them, and sent
 * again from the first one that has not arrived (go-back-N) whenever what was sent may have been
 * lost: the path has changed, or there is no progress for a while.  The numbers belong to the two
 * ends, so it does not matter which way a message goes, directly or through a relay.  QoS 0
 * messages ride in the same order, without a number: gone as soon as they are sent.
 *
 *        confirmed              sent, not confirmed              not sent
 *   ...------------|---------------------|--------------------|-----------------> seq
 *               applied               received               next
 *
 * Credit is counted as an offset: all bytes ever sent on the channel, those sent twice and those
 * lost included.  The receiver says up to which offset it takes more.  The offset is in each batch,
 * so loss costs no credit.
 *
 * Parts of this file: bodies and items - results - publish - sending - confirmations - the peer's
 * lives - forgotten and met again.
 */

#define BACKOFF_MAX 3U

/* ---- bodies and items ---------------------------------------------------------------------------
 */

gv_forward_body_t *gv__forward_body_new(const gv_forward_t *msg)
{
    size_t size = gv_forward_size(msg);
    gv_forward_body_t *body = gv_xalloc(sizeof(*body) + size);
    body->refs = 0;
    body->qos = msg->qos;
    body->size = size;
    gv_forward_encode(msg, body->data, size);
    return body;
}

static void body_unref(gv_forward_body_t *body)
{
    if (--body->refs == 0) {
        gv_free(body);
    }
}

static gv_forward_item_t *item_at(const gv_link_t *link)
{
    return link == NULL ? NULL : gv_container_of(link, gv_forward_item_t, _link);
}

uint64_t gv__forward_cost(const gv_ccore_t *core, const gv_forward_body_t *body)
{
    uint64_t pieces = (body->size + core->limits.piece_bytes - 1) / core->limits.piece_bytes;
    return body->size + (pieces == 0 ? 1 : pieces) * FORWARD_ITEM_OVERHEAD;
}

static void drop_item(gv_ccore_t *core, gv_channel_out_t *out, gv_forward_item_t *item)
{
    if (out->next == item) {
        out->next = item_at(gv_list_next(&out->items, &item->_link));
        out->next_at = 0;
        out->next_cost = 0;
    }
    uint64_t cost = gv__forward_cost(core, item->body);
    out->queue_bytes -= cost;
    out->queue_count--;
    if (item->is_overdue) { /* those asked about are confirmed in order: before it there is none */
        out->overdue.bytes -= cost;
        out->overdue.last = out->overdue.last == item ? NULL : out->overdue.last;
    }
    gv_list_remove(&item->_link);
    body_unref(item->body);
    gv_free(item);
}

void gv__channel_out_init(gv_channel_out_t *out)
{
    *out = (gv_channel_out_t){.credit = FORWARD_CREDIT_START};
    gv_list_init(&out->items);
}

void gv__channel_out_deinit(gv_channel_out_t *out)
{
    gv_list_foreach_safe (&out->items, link) {
        gv_forward_item_t *item = item_at(link);
        gv_list_remove(link);
        body_unref(item->body);
        gv_free(item);
    }
}

/* ---- results ------------------------------------------------------------------------------------
 */

static void note_result(gv_ccore_t *core, uint64_t token, size_t node, gv_forward_result_t result)
{
    gv_result_t entry = {.token = token, .node = (gv_node_index_t)node, .result = result};
    gv__fifo_push(&core->results, &entry);
}

/* The node is gone, and with it what we know of the message. */
static void note_gone(gv_ccore_t *core, size_t node, const gv_forward_item_t *item)
{
    gv_forward_body_t *body = item->body;
    bool is_in_doubt = core->is_leaving || (body->qos == 2 && item->was_sent);
    gv_result_t entry = {
        .token = item->token,
        .node = (gv_node_index_t)node,
        .result = is_in_doubt ? GV_FORWARD_IN_DOUBT : GV_FORWARD_GONE,
        .expires_ms = item->expires_ms,
        .lost = core->is_leaving ? NULL : body,
    };
    body->refs += entry.lost != NULL ? 1 : 0;
    gv__fifo_push(&core->results, &entry);
    core->stats.forwards_gone++;
}

/* Its groups, or some of them, had no member there. */
static void note_returned(gv_ccore_t *core, size_t node, const gv_forward_item_t *item,
                          gv_forward_body_t *lost)
{
    gv_result_t entry = {
        .token = item->token,
        .node = (gv_node_index_t)node,
        .result = GV_FORWARD_RETURNED,
        .expires_ms = item->expires_ms,
        .lost = lost,
    };
    gv__fifo_push(&core->results, &entry);
    core->stats.forwards_returned++;
}

static uint64_t expiry_left_ms(const gv_ccore_t *core, uint64_t expires_ms)
{
    if (expires_ms == GV_FORWARD_NO_EXPIRY) {
        return GV_FORWARD_NO_EXPIRY;
    }
    return expires_ms > core->now_ms ? expires_ms - core->now_ms : 0;
}

gv_forward_t gv__forward_message(gv_ccore_t *core, const gv_forward_body_t *body,
                                 uint64_t expires_ms)
{
    gv_forward_t msg;
    gv_err_t err = gv_forward_decode(gv_bytes(body->data, body->size), core->shared, &msg);
    GV_ASSERT(err == GV_OK); /* we have encoded it ourselves */
    msg.expiry_ms = expiry_left_ms(core, expires_ms);
    return msg;
}

void gv__results_flush(gv_ccore_t *core)
{
    gv_result_t *first;
    while ((first = gv__fifo_peek(&core->results)) != NULL) {
        gv_result_t result = *first;
        gv__fifo_pop(&core->results);
        if (result.lost == NULL) {
            core->ports.confirmed(result.token, result.node, result.result, NULL, core->ports.arg);
            continue;
        }
        gv_forward_t msg = gv__forward_message(core, result.lost, result.expires_ms);
        core->ports.confirmed(result.token, result.node, result.result, &msg, core->ports.arg);
        body_unref(result.lost);
    }
}

void gv__results_deinit(gv_ccore_t *core)
{
    const gv_result_t *first;
    while ((first = gv__fifo_peek(&core->results)) != NULL) {
        if (first->lost != NULL) {
            body_unref(first->lost);
        }
        gv__fifo_pop(&core->results);
    }
    gv__fifo_deinit(&core->results);
}

/* ---- publish ------------------------------------------------------------------------------------
 */

static gv_forward_item_t make_item(const gv_ccore_t *core, const gv_forward_t *msg, uint64_t token,
                                   gv_forward_body_t *body)
{
    gv_forward_item_t item = {.token = token, .expires_ms = GV_FORWARD_NO_EXPIRY, .body = body};
    if (msg->expiry_ms < GV_FORWARD_NO_EXPIRY - core->now_ms) {
        item.expires_ms = core->now_ms + msg->expiry_ms;
    }
    return item;
}

static void append(gv_ccore_t *core, gv_channel_out_t *out, const gv_forward_t *msg, uint64_t token,
                   gv_forward_body_t *body)
{
    gv_forward_item_t *item = GV_NEW(gv_forward_item_t);
    *item = make_item(core, msg, token, body);
    if (msg->qos > 0 && out->applied == out->seq) {
        out->overdue.quiet_ms = core->now_ms; /* nothing else has been on its way */
    }
    item->seq = msg->qos == 0 ? 0 : ++out->seq;
    body->refs++;
    if (gv_list_is_empty(&out->items)) {
        out->progress_ms = core->now_ms;
    }
    gv_list_append(&out->items, &item->_link);
    if (out->next == NULL) {
        out->next = item;
        out->next_at = 0;
    }
    uint64_t cost = gv__forward_cost(core, body);
    out->queue_bytes += cost;
    out->queue_count++;
    out->unsent_bytes += cost;
}

static void publish_at_most_once(gv_ccore_t *core, gv_member_t *m, const gv_forward_t *msg,
                                 gv_forward_body_t *body)
{
    if (m == NULL || !gv__is_up(m->state) || gv__path(core, m) == NULL) {
        core->stats.qos0_dropped_no_path++;
        return;
    }
    gv_channel_out_t *out = &m->out;
    if (out->offset + out->unsent_bytes + gv__forward_cost(core, body) > out->credit) {
        core->stats.qos0_dropped_no_credit++;
        return;
    }
    append(core, out, msg, 0, body);
}

static void publish_reliably(gv_ccore_t *core, size_t node, const gv_forward_t *msg, uint64_t token,
                             gv_forward_body_t *body)
{
    gv_member_t *m = core->members[node];
    if (m == NULL || !gv__is_up(m->state) || core->is_leaving) {
        gv_forward_item_t item = make_item(core, msg, token, body);
        note_gone(core, node, &item);
        return;
    }
    gv_channel_out_t *out = &m->out;
    uint64_t queue_bytes = out->queue_bytes + gv__forward_cost(core, body);
    if (out->queue_bytes > 0 && queue_bytes > core->limits.forward_queue_bytes) {
        core->stats.forwards_refused_full++;
        note_result(core, token, node, GV_FORWARD_FULL);
        return;
    }
    append(core, out, msg, token, body);
}

void gv_ccore_publish(gv_ccore_t *core, const gv_forward_t *msg, uint64_t node_mask, uint64_t token)
{
    GV_ASSERT(!core->in_port_phase);
    GV_ASSERT(msg->qos <= 2);
    gv_forward_body_t *body = gv__forward_body_new(msg);
    body->refs = 1;
    uint64_t left = node_mask & ~((uint64_t)1 << GV_NODE_SELF);
    for (; left != 0; left &= left - 1) {
        size_t node = (size_t)__builtin_ctzll(left);
        if (msg->qos == 0) {
            publish_at_most_once(core, core->members[node], msg, body);
        } else {
            publish_reliably(core, node, msg, token, body);
        }
    }
    body_unref(body);
}

/* ---- sending ------------------------------------------------------------------------------------
 */

static void count_unsent(const gv_ccore_t *core, gv_channel_out_t *out)
{
    uint64_t bytes = 0;
    for (gv_forward_item_t *item = out->next; item != NULL;
         item = item_at(gv_list_next(&out->items, &item->_link))) {
        bytes += gv__forward_cost(core, item->body);
    }
    out->unsent_bytes = bytes - out->next_cost;
}

/* Everything that has not arrived is to be sent (again). */
static void rewind_to_received(const gv_ccore_t *core, gv_channel_out_t *out)
{
    gv_forward_item_t *item = item_at(gv_list_first(&out->items));
    while (item != NULL && item->seq != 0 && item->seq <= out->received) {
        item = item_at(gv_list_next(&out->items, &item->_link));
    }
    out->next = item;
    out->next_at = 0;
    out->next_cost = 0;
    count_unsent(core, out);
}

static void drop_unsent_qos0(gv_ccore_t *core, gv_channel_out_t *out)
{
    gv_list_foreach_safe (&out->items, link) {
        gv_forward_item_t *item = item_at(link);
        if (item->seq == 0) {
            core->stats.qos0_dropped_no_path++;
            drop_item(core, out, item);
        }
    }
    count_unsent(core, out);
}

static uint64_t lowest_unconfirmed(const gv_channel_out_t *out)
{
    gv_list_foreach (&out->items, link) {
        if (item_at(link)->seq != 0) {
            return item_at(link)->seq;
        }
    }
    return out->seq + 1;
}

/* All of the next item has been sent. */
static void step_over_next(gv_ccore_t *core, gv_channel_out_t *out)
{
    gv_forward_item_t *item = out->next;
    out->next = item_at(gv_list_next(&out->items, &item->_link));
    out->next_at = 0;
    out->next_cost = 0;
    if (item->seq == 0) {
        core->stats.qos0_sent++;
        drop_item(core, out, item);
        return;
    }
    if (item->was_sent) {
        core->stats.forwards_resent++;
    } else {
        core->stats.forwards_sent++;
    }
    item->was_sent = true;
}

/* Adds the next piece to the batch; false when there is none or no credit for it. */
static bool put_next(gv_ccore_t *core, gv_channel_out_t *out, gv_writer_t *w)
{
    gv_forward_item_t *item = out->next;
    if (item == NULL) {
        return false;
    }
    uint64_t left = item->body->size - out->next_at;
    uint64_t size = left < core->limits.piece_bytes ? left : core->limits.piece_bytes;
    uint64_t cost = size + FORWARD_ITEM_OVERHEAD;
    if (out->offset + cost > out->credit) {
        return false;
    }
    gv_forward_piece_t piece = {
        .seq = item->seq,
        .expiry_ms = expiry_left_ms(core, item->expires_ms),
        .total = item->body->size > core->limits.piece_bytes ? item->body->size : 0,
        .at = out->next_at,
        .body = gv_bytes(item->body->data + out->next_at, size),
    };
    gv_forward_put_piece(w, &piece);
    out->offset += cost;
    out->unsent_bytes -= cost;
    out->next_at += size;
    out->next_cost += cost;
    if (out->next_at == item->body->size) {
        step_over_next(core, out);
    }
    return true;
}

static bool send_batch(gv_ccore_t *core, gv_member_t *m, const gv_peer_link_t *link)
{
    gv_channel_out_t *out = &m->out;
    size_t room = (size_t)core->limits.piece_bytes * 2 + GV_FORWARD_BATCH_OVERHEAD +
                  2 * GV_FORWARD_PIECE_OVERHEAD;
    uint8_t *frame = gv__scratch(core, room);
    gv_writer_t w = gv_writer(frame, room);
    gv_forward_batch_t head = {
        .from = gv__self(core)->id,
        .to = m->id,
        .from_boot_id = gv__self(core)->incarnation.boot_id,
        .to_boot_id = out->boot_id,
        .lowest = lowest_unconfirmed(out),
    };
    /* The offset is known at the end: the head is written behind the pieces. */
    size_t used = 0;
    bool is_empty = true;
    while (used < core->limits.piece_bytes && put_next(core, out, &w)) {
        used = (size_t)(w.pos - frame);
        is_empty = false;
    }
    if (is_empty && !out->is_probe_due) {
        return false;
    }
    out->is_probe_due = false;
    head.offset = out->offset;
    gv_forward_put_head(&w, &head);
    GV_ASSERT(!w.failed);
    gv_frame_kind_t kind = m->is_linked ? GV_FRAME_FORWARD : GV_FRAME_FORWARD_RELAY;
    core->ports.send(link->id, GV_LINK_DATA, kind, gv_bytes(frame, (size_t)(w.pos - frame)),
                     core->ports.arg);
    return !is_empty;
}

/* Whether what was sent may be lost, and so has to be sent again. */
static void consider_resending(gv_ccore_t *core, gv_member_t *m)
{
    gv_channel_out_t *out = &m->out;
    uint64_t path = gv__path_identity(core, m);
    uint64_t patience = m->is_linked ? core->timing.resend_direct : core->timing.resend_relayed;
    bool is_new_path = path != out->path;
    bool is_stuck = gv__since(core, out->progress_ms) > patience << out->backoff;
    out->path = path;
    if (core->switches.no_rewind || (!is_new_path && !is_stuck)) {
        return;
    }
    out->progress_ms = core->now_ms;
    out->backoff = is_new_path || out->backoff == BACKOFF_MAX ? out->backoff : out->backoff + 1;
    out->is_probe_due = true;
    rewind_to_received(core, out);
}

static void forward_to(gv_ccore_t *core, gv_member_t *m)
{
    gv_channel_out_t *out = &m->out;
    /* QoS 0 leaves nothing behind, but if it was lost, the credit it took has to come back. */
    if (gv_list_is_empty(&out->items) && out->offset == out->seen_offset && !out->is_probe_due) {
        return;
    }
    const gv_peer_link_t *link = gv__path(core, m);
    if (link == NULL) {
        out->path = 0;
        drop_unsent_qos0(core, out);
        return;
    }
    consider_resending(core, m);
    while (send_batch(core, m, link)) {
    }
}

void gv__forward_flush(gv_ccore_t *core)
{
    gv__foreach_peer(core, m)
    {
        if (gv__is_up(m->state)) {
            forward_to(core, m);
        }
    }
}

/* ---- confirmations
 * -------------------------------------------------------------------------------- */

/* What the peer's host has made of it. */
static void note_answer(gv_ccore_t *core, const gv_member_t *m, const gv_forward_item_t *item,
                        const Gv__ForwardAnswer *answer)
{
    if (answer == NULL || core->switches.refusals_are_forgotten) {
        note_result(core, item->token, m->index, GV_FORWARD_APPLIED);
        return;
    }
    /* A refused message is published again: then its groups get it. */
    gv_forward_body_t *lost = answer->refused ? NULL : gv__answer_body(core, item->body, answer);
    if (lost != NULL) {
        note_returned(core, m->index, item, lost);
        return;
    }
    note_result(core, item->token, m->index, GV_FORWARD_REFUSED);
    core->stats.forwards_refused_there++;
}

static void release_applied(gv_ccore_t *core, gv_member_t *m, const Gv__ForwardAck *ack)
{
    gv_channel_out_t *out = &m->out;
    size_t at = 0;
    gv_list_foreach_safe (&out->items, link) {
        gv_forward_item_t *item = item_at(link);
        if (item->seq > out->applied) {
            break;
        }
        if (item->seq != 0) {
            note_answer(core, m, item, gv__answer_about(ack, item->seq, &at));
            drop_item(core, out, item);
        }
    }
    /* So that the peer hears that its answers were heard: see `lowest`. */
    out->is_probe_due = out->is_probe_due || ack->n_answers > 0;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

void gv__on_forward_ack(gv_ccore_t *core, gv_member_t *m, const Gv__ForwardAck *msg)
{
    gv_channel_out_t *out = &m->out;
    if (msg->to_boot_id != gv__self(core)->incarnation.boot_id ||
        msg->from_boot_id != out->boot_id || msg->received > out->seq ||
        msg->applied > msg->received || msg->credit > GV_COUNTER_MAX) {
        return; /* of another life, or nonsense that came through a relay */
    }
    uint64_t applied = core->switches.confirm_on_receipt ? msg->received : msg->applied;
    if (msg->received > out->received || applied > out->applied || msg->credit > out->credit ||
        msg->offset > out->seen_offset) {
        out->progress_ms = core->now_ms;
        out->backoff = 0;
    }
    if (applied > out->applied) {
        gv__overdue_progress(core, out);
    }
    out->seen_offset = larger(out->seen_offset, msg->offset);
    out->credit = larger(out->credit, msg->credit);
    out->received = larger(out->received, msg->received);
    out->applied = larger(out->applied, applied);
    /* After a rewind it may turn out that what is to be sent again has arrived after all. */
    bool is_next_there =
        out->next != NULL && out->next->seq != 0 && out->next->seq <= out->received;
    release_applied(core, m, msg);
    if (is_next_there) {
        rewind_to_received(core, out);
    }
}

/* ---- the peer's lives
 * ----------------------------------------------------------------------------- */

void gv__channel_out_restart(gv_ccore_t *core, gv_member_t *m)
{
    gv_channel_out_t *out = &m->out;
    out->boot_id = m->incarnation.boot_id;
    out->received = lowest_unconfirmed(out) - 1;
    out->applied = out->received;
    out->offset = 0;
    out->seen_offset = 0;
    out->credit = FORWARD_CREDIT_START;
    out->backoff = 0;
    out->path = 0;
    out->overdue.quiet_ms = core->now_ms;
    out->overdue.backoff = 0;
    rewind_to_received(core, out);
}

void gv__channel_out_abandon(gv_ccore_t *core, gv_member_t *m)
{
    gv_channel_out_t *out = &m->out;
    gv_list_foreach_safe (&out->items, link) {
        gv_forward_item_t *item = item_at(link);
        if (item->seq != 0) {
            note_gone(core, m->index, item);
        } else {
            core->stats.qos0_dropped_no_path++;
        }
        drop_item(core, out, item);
    }
    out->received = out->seq;
    out->applied = out->seq;
    out->unsent_bytes = 0;
    out->next_cost = 0;
}

/* ---- forgotten and met again --------------------------------------------------------------------
 */

static gv_parting_t *find_parting(gv_ccore_t *core, const gv_node_id_t *id)
{
    for (size_t i = 0; i < core->parting_count && i < GV_NODES_MAX; i++) {
        if (gv_node_id_equal(&core->partings[i].id, id)) {
            return &core->partings[i];
        }
    }
    return NULL;
}

void gv__channels_part(gv_ccore_t *core, gv_member_t *m)
{
    GV_ASSERT(gv_list_is_empty(&m->out.items));
    gv_parting_t *parting = find_parting(core, &m->id);
    if (parting == NULL) {
        parting = &core->partings[core->parting_count++ % GV_NODES_MAX];
    }
    gv__answers_deinit(&parting->in_answers);
    *parting = (gv_parting_t){
        .id = m->id,
        .out_boot_id = m->out.boot_id,
        .out_seq = m->out.seq,
        .out_offset = m->out.offset,
        .out_credit = m->out.credit,
        .in_boot_id = m->in.boot_id,
        .in_received = m->in.received,
        .in_offset = m->in.offset,
        .in_credit = m->in.credit,
        .in_answers = gv__channel_in_take_answers(&m->in),
    };
}

void gv__partings_deinit(gv_ccore_t *core)
{
    for (size_t i = 0; i < core->parting_count && i < GV_NODES_MAX; i++) {
        gv__answers_deinit(&core->partings[i].in_answers);
    }
}

void gv__channels_resume(gv_ccore_t *core, gv_member_t *m)
{
    gv_parting_t *parting = find_parting(core, &m->id);
    if (parting == NULL) {
        return;
    }
    gv_channel_out_t *out = &m->out;
    if (parting->out_boot_id == out->boot_id) {
        out->seq = parting->out_seq;
        out->received = parting->out_seq;
        out->applied = parting->out_seq;
        out->offset = parting->out_offset;
        out->credit = parting->out_credit;
    }
    gv_channel_in_t *in = &m->in;
    in->boot_id = parting->in_boot_id;
    in->epoch = ++core->epoch;
    in->received = parting->in_received;
    in->offset = parting->in_offset;
    in->credit = parting->in_credit;
    gv__answers_deinit(&in->answers);
    in->answers = parting->in_answers;
    gv__answers_init(&parting->in_answers);
}
