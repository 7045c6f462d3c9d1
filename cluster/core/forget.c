/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/core/core_p.h"

/*
 * Members that an operator has forgotten: in the whole cluster, not only where he said so.
 *
 * What is gossiped is a tombstone: "up to this life and this claim, that node is forgotten".  It is
 * to the facts about the node what a fact is to an older one:
 *
 *     a fact under a later life, or that says "up" under a higher claim      is the newer one
 *     any other                                                             is ignored; the teller
 *                                                                           is told the tombstone
 *
 * So a node that was away during the forgetting cannot bring the member back, and the member itself
 * can: hearing the tombstone it raises its claim, as it refutes that it is dead.  Nobody who holds
 * the member for alive forgets it: such a one waits until it is seen dead under the tombstone.
 *
 * A tombstone lives for timing.forget since it was made, as long as anybody could remember the
 * member; there are at most GV_NODES_MAX, and the oldest makes room.
 */

static gv_tombstone_t *find(gv_ccore_t *core, const gv_node_id_t *id)
{
    for (size_t i = 0; i < core->tombstone_count; i++) {
        if (gv_node_id_equal(&core->tombstones[i].id, id)) {
            return &core->tombstones[i];
        }
    }
    return NULL;
}

static void drop(gv_ccore_t *core, gv_tombstone_t *tombstone)
{
    *tombstone = core->tombstones[--core->tombstone_count];
}

/* -1, 0, 1: whether the claim of that life is older or newer than the tombstone's. */
static int compare(gv_incarnation_t incarnation, uint32_t claim, const gv_tombstone_t *tombstone)
{
    int order = gv_incarnation_compare(incarnation, tombstone->incarnation);
    if (order != 0) {
        return order;
    }
    return claim == tombstone->claim ? 0 : (claim < tombstone->claim ? -1 : 1);
}

static gv_tombstone_t *make_room(gv_ccore_t *core)
{
    if (core->tombstone_count == GV_NODES_MAX) {
        gv_tombstone_t *oldest = &core->tombstones[0];
        for (size_t i = 1; i < core->tombstone_count; i++) {
            if (core->tombstones[i].made_ms < oldest->made_ms) {
                oldest = &core->tombstones[i];
            }
        }
        drop(core, oldest);
    }
    return &core->tombstones[core->tombstone_count++];
}

static gv_tombstone_t *bury(gv_ccore_t *core, const gv_node_id_t *id, gv_incarnation_t incarnation,
                            uint32_t claim, uint64_t age_ms)
{
    gv_tombstone_t *tombstone = find(core, id);
    if (tombstone == NULL) {
        tombstone = make_room(core);
    } else if (compare(incarnation, claim, tombstone) <= 0) {
        return tombstone;
    }
    *tombstone = (gv_tombstone_t){
        .id = *id,
        .incarnation = incarnation,
        .claim = claim,
        .made_ms = core->now_ms - (age_ms < core->now_ms ? age_ms : core->now_ms),
        .told_for = core->switches.forgets_alone ? 0 : UINT64_MAX,
    };
    return tombstone;
}

gv_err_t gv_ccore_forget(gv_ccore_t *core, gv_node_index_t node)
{
    GV_ASSERT(!core->in_port_phase);
    if (node == GV_NODE_SELF || node >= GV_NODES_MAX || core->members[node] == NULL) {
        return GV_ERR_NOENT;
    }
    const gv_member_t *m = core->members[node];
    if (gv__is_up(m->state)) {
        return GV_ERR_BUSY;
    }
    /* The rows are withdrawn through a port, so the next tick does the work. */
    (void)bury(core, &m->id, m->incarnation, m->claim, 0);
    return GV_OK;
}

/* ---- against facts ------------------------------------------------------------------------------
 */

bool gv__is_forgotten(gv_ccore_t *core, const gv_member_t *teller, const gv_node_id_t *id,
                      gv_incarnation_t incarnation, uint32_t claim, gv_member_state_t state)
{
    gv_tombstone_t *tombstone = find(core, id);
    if (tombstone == NULL) {
        return false;
    }
    bool is_newer_life = gv_incarnation_compare(incarnation, tombstone->incarnation) > 0;
    if (is_newer_life || (gv__is_up(state) && compare(incarnation, claim, tombstone) > 0)) {
        drop(core, tombstone);
        return false;
    }
    tombstone->told_for |= gv__bit(teller);
    return true;
}

static bool is_buried(gv_ccore_t *core, const gv_member_t *m)
{
    const gv_tombstone_t *tombstone = find(core, &m->id);
    return tombstone != NULL && !gv__is_up(m->state) &&
           gv_incarnation_compare(m->incarnation, tombstone->incarnation) <= 0;
}

/* ---- from and to peers --------------------------------------------------------------------------
 */

bool gv__on_forgotten(gv_ccore_t *core, const gv_member_t *teller, const Gv__Forgotten *msg)
{
    gv_node_id_t id;
    if (!gv_codec_get_id(&msg->node_id, &id) || msg->start_counter > GV_COUNTER_MAX ||
        msg->claim > CLAIM_MAX) {
        return false;
    }
    gv_incarnation_t incarnation = {msg->start_counter, msg->boot_id};
    if (gv_node_id_equal(&id, &gv__self(core)->id)) {
        gv__refute(core, teller, incarnation, msg->claim);
        return true;
    }
    gv_member_t *m = gv__member_by_id(core, &id);
    gv_tombstone_t heard = {.incarnation = incarnation, .claim = msg->claim};
    if (m != NULL && gv__is_up(m->state) && compare(m->incarnation, m->claim, &heard) > 0) {
        m->fact_for |= gv__bit(teller);
        return true;
    }
    if (msg->age_ms < core->timing.forget) {
        gv_tombstone_t *tombstone = bury(core, &id, incarnation, msg->claim, msg->age_ms);
        if (compare(incarnation, msg->claim, tombstone) < 0) {
            tombstone->told_for |= gv__bit(teller);
        } else {
            tombstone->told_for &= ~gv__bit(teller);
        }
    }
    return true;
}

size_t gv__forgotten_for(gv_ccore_t *core, const gv_member_t *peer, Gv__Forgotten ***list_out)
{
    Gv__Forgotten *entries = gv__build(core, core->tombstone_count, sizeof(*entries));
    *list_out = gv__build(core, core->tombstone_count, sizeof(**list_out));
    size_t count = 0;
    for (size_t i = 0; i < core->tombstone_count; i++) {
        gv_tombstone_t *tombstone = &core->tombstones[i];
        if ((tombstone->told_for & gv__bit(peer)) == 0) {
            continue;
        }
        tombstone->told_for &= ~gv__bit(peer);
        gv__forgotten__init(&entries[count]);
        entries[count].node_id = gv_codec_put_id(&tombstone->id);
        entries[count].start_counter = tombstone->incarnation.start_counter;
        entries[count].boot_id = tombstone->incarnation.boot_id;
        entries[count].claim = tombstone->claim;
        entries[count].age_ms = gv__since(core, tombstone->made_ms);
        (*list_out)[count] = &entries[count];
        count++;
    }
    return count;
}

void gv__tombstones_mask(gv_ccore_t *core, uint64_t keep, uint64_t add)
{
    for (size_t i = 0; i < core->tombstone_count && !core->switches.forgets_alone; i++) {
        core->tombstones[i].told_for = (core->tombstones[i].told_for & keep) | add;
    }
}

/* ---- the turn -----------------------------------------------------------------------------------
 */

void gv__tombstones_tick(gv_ccore_t *core)
{
    for (size_t i = core->tombstone_count; i-- > 0;) {
        if (gv__since(core, core->tombstones[i].made_ms) >= core->timing.forget) {
            drop(core, &core->tombstones[i]);
        }
    }
    gv__foreach_peer(core, m)
    {
        if (is_buried(core, m)) {
            gv__member_forget(core, m);
        }
    }
}
