/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/core/core_p.h"

/*
 * Barriers: who has subscribed here is told so when the others can find the way (SUBACK).
 *
 * A member is waited for when messages can come from it: it is alive, and we have a link to it or a
 * relay leads there.  It has confirmed when it has our rows as they were when the barrier was
 * asked, and does not hold us for dead, which would hide them.
 *
 * After a pause of our own (SIGSTOP) nothing that was confirmed before it counts: we may have been
 * held for dead, and our rows may have been dropped.  What a peer said before is behind us once it
 * has echoed a stamp that is newer than the pause, because links keep the order.  For as long as a
 * barrier may take we then wait for suspects too: their links broke while we slept, and most come
 * back at once.
 */

void gv_ccore_barrier(gv_ccore_t *core, uint64_t token)
{
    GV_ASSERT(!core->in_port_phase);
    gv_barrier_entry_t entry = {
        .token = token,
        .seq = gv__self(core)->replica.table.seq,
        .until_ms = core->now_ms + core->timing.barrier,
    };
    gv__fifo_push(&core->barriers, &entry);
    core->stats.barriers++;
}

static bool is_awaited(const gv_ccore_t *core, const gv_member_t *m)
{
    bool is_waking = core->woke_ms != 0 && gv__since(core, core->woke_ms) < core->timing.barrier;
    if (is_waking && gv__is_up(m->state)) {
        return true;
    }
    bool is_reached =
        m->is_linked || (!core->switches.barrier_ignores_relayed && gv__path(core, m) != NULL);
    return is_reached && m->state == GV_MEMBER_ALIVE;
}

/* By its own word: it does not hide our rows. */
static bool holds_us_for_alive(const gv_ccore_t *core, const gv_member_t *m)
{
    const gv_node_view_t *row = &m->view.rows[GV_NODE_SELF];
    return (m->view.known & gv__bit(gv__self(core))) != 0 && gv__is_up(row->state) &&
           row->incarnation.boot_id == gv__self(core)->incarnation.boot_id;
}

/* Whether what it has confirmed is of today; *seq_out says up to where. */
static bool has_confirmed(const gv_ccore_t *core, const gv_member_t *m, uint64_t *seq_out)
{
    const gv_push_t *push = &m->push;
    bool is_fresh = m->is_linked ? m->active->stamp_ms >= core->woke_ms : !push->is_stale;
    *seq_out = push->acked_seq;
    return is_fresh && push->boot_id == m->incarnation.boot_id &&
           gv_incarnation_compare(push->acked_incarnation,
                                  gv__self(core)->replica.table.incarnation) == 0 &&
           holds_us_for_alive(core, m);
}

bool gv__has_our_rows(const gv_ccore_t *core, const gv_member_t *m)
{
    uint64_t seq = 0;
    return has_confirmed(core, m, &seq) && seq >= gv__self(core)->replica.table.seq;
}

/* Up to where all who are waited for have our rows; false: one has not confirmed any. */
static bool lowest_confirmed(const gv_ccore_t *core, uint64_t *seq_out)
{
    *seq_out = gv__self(core)->replica.table.seq;
    if (core->switches.barrier_ignores_peers) {
        return true;
    }
    gv__foreach_peer(core, m)
    {
        uint64_t seq = 0;
        if (!is_awaited(core, m)) {
            continue;
        }
        if (!has_confirmed(core, m, &seq)) {
            return false;
        }
        *seq_out = seq < *seq_out ? seq : *seq_out;
    }
    return true;
}

void gv__barriers_flush(gv_ccore_t *core)
{
    if (gv__fifo_peek(&core->barriers) == NULL) {
        return;
    }
    uint64_t confirmed_seq;
    bool is_confirmed = lowest_confirmed(core, &confirmed_seq);
    gv_barrier_entry_t *first;
    while ((first = gv__fifo_peek(&core->barriers)) != NULL) {
        bool in_time = is_confirmed && first->seq <= confirmed_seq;
        if (!in_time && first->until_ms > core->now_ms) {
            break;
        }
        uint64_t token = first->token;
        gv__fifo_pop(&core->barriers);
        core->stats.barriers_late += in_time ? 0 : 1;
        core->ports.barrier(token, in_time, core->ports.arg);
    }
}

uint64_t gv__barriers_deadline(const gv_ccore_t *core)
{
    const gv_barrier_entry_t *barrier = gv__fifo_peek(&core->barriers);
    return barrier == NULL ? UINT64_MAX : barrier->until_ms;
}

void gv__barriers_woke(gv_ccore_t *core)
{
    if (core->switches.barrier_trusts_the_past) {
        return;
    }
    core->woke_ms = core->now_ms;
    gv__foreach_peer(core, m)
    {
        m->push.is_stale = true;
    }
}
