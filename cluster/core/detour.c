/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/core/core_p.h"

/*
 * Routes across a cut link, without waiting for the next digest.
 *
 *     A owns rows, B cannot hear A, C hears both
 *
 *     A --- piece --> C --- notice (a digest of A's table only) --> B
 *                     C <-- request --------------------------------- B
 *                     C --- answer ---------------------------------> B
 *     A <-- confirmation -- C <-- confirmation ---------------------- B
 *
 * A notice says what there is and no more: B asks for what it lacks, once at a time, and the answer
 * has the rows of many changes.  So the work is bounded: a node gives notice when its own copy has
 * come to a version it did not have, in one frame per turn and peer, and only to neighbours that do
 * not hear the owner and that no better placed node tells.  Better placed is who hears the owner if
 * we do not, and otherwise the lower id.  That is one notice per change and cut pair in a mesh, and
 * at most one per link in any other shape; what is lost, or left to a node that could not do it,
 * the digests catch.
 *
 * Confirmations are stateless at the relay.  Views tell the same, only later.
 */

/* ---- notices ------------------------------------------------------------------------------------
 */

static bool hears(const gv_ccore_t *core, const gv_member_t *viewer, const gv_member_t *m)
{
    return gv__is_up(viewer->state) && (viewer->view.known & gv__bit(m)) != 0 &&
           gv__since(core, viewer->view.received_ms) <= VIEW_TRUSTED_MS &&
           viewer->view.rows[m->index].is_linked;
}

/* Whether somebody better placed than we are tells `peer` about the owner's rows. */
static bool is_told_by_another(const gv_ccore_t *core, const gv_member_t *peer,
                               const gv_member_t *owner)
{
    gv__foreach_peer(core, other)
    {
        if (other == peer || other == owner || !hears(core, peer, other) ||
            !hears(core, other, owner)) {
            continue;
        }
        if (!owner->is_linked ||
            memcmp(other->id.bytes, gv__self(core)->id.bytes, GV_NODE_ID_SIZE) < 0) {
            return true;
        }
    }
    return false;
}

static bool needs_notice(const gv_ccore_t *core, const gv_member_t *peer, const gv_member_t *owner)
{
    if (peer == owner || !owner->replica.notice_due || (peer->view.known & gv__bit(owner)) == 0) {
        return false;
    }
    return !peer->view.rows[owner->index].is_linked && !is_told_by_another(core, peer, owner);
}

static void give_notices(gv_ccore_t *core, const gv_member_t *peer)
{
    const gv_member_t *owners[GV_NODES_MAX];
    size_t count = 0;
    gv__foreach_peer(core, owner)
    {
        if (needs_notice(core, peer, owner)) {
            owners[count++] = owner;
        }
    }
    if (count > 0) {
        gv__send_versions(core, peer->active, owners, count);
        core->stats.table_notices_sent++;
    }
}

/* ---- confirmations ------------------------------------------------------------------------------
 */

static void confirm(gv_ccore_t *core, gv_member_t *owner)
{
    gv_replica_t *replica = &owner->replica;
    const gv_peer_link_t *link = gv__path(core, owner);
    if (link == NULL || !replica->is_complete || replica->wants_snapshot) {
        return; /* later: the flag stays */
    }
    Gv__RelayedAck ack = GV__RELAYED_ACK__INIT;
    ack.from_id = gv_codec_put_id(&gv__self(core)->id);
    ack.to_id = gv_codec_put_id(&owner->id);
    ack.from_boot_id = gv__self(core)->incarnation.boot_id;
    ack.start_counter = replica->table.incarnation.start_counter;
    ack.boot_id = replica->table.incarnation.boot_id;
    ack.seq = replica->table.seq;
    gv__send(core, link, GV_FRAME_TABLE_ACK_RELAY, &ack.base);
    replica->relayed_ack_due = false;
}

void gv__detour_confirmed(gv_ccore_t *core, gv_member_t *m, const gv_peer_link_t *link,
                          gv_incarnation_t incarnation, uint64_t seq)
{
    const gv_table_t *table = &gv__self(core)->replica.table;
    gv_push_t *push = &m->push;
    if (m->is_linked || link->stamp_ms < core->woke_ms || seq > table->seq ||
        gv_incarnation_compare(incarnation, table->incarnation) != 0) {
        return; /* it says so itself; or it is from before a pause of ours, or another life */
    }
    if (push->boot_id != m->incarnation.boot_id) {
        *push = (gv_push_t){.boot_id = m->incarnation.boot_id};
    }
    bool is_first = gv_incarnation_compare(push->acked_incarnation, incarnation) != 0;
    if (is_first || seq > push->acked_seq) {
        push->acked_incarnation = incarnation;
        push->acked_seq = seq;
    }
    push->is_stale = false;
}

bool gv__on_relayed_ack(gv_ccore_t *core, gv_peer_link_t *link, const Gv__RelayedAck *msg,
                        bool may_pass_on)
{
    gv_node_id_t from;
    gv_node_id_t to;
    if (!gv_codec_get_id(&msg->from_id, &from) || !gv_codec_get_id(&msg->to_id, &to) ||
        msg->start_counter > GV_COUNTER_MAX || msg->seq > GV_COUNTER_MAX) {
        return false;
    }
    const gv_member_t *addressee = gv__member_by_id(core, &to);
    if (addressee == NULL) {
        return true;
    }
    if (addressee->index != GV_NODE_SELF) {
        if (may_pass_on && addressee->is_linked) {
            gv__send(core, addressee->active, GV_FRAME_TABLE_ACK_RELAYED, &msg->base);
        }
        return true;
    }
    gv_member_t *m = gv__member_by_id(core, &from);
    if (m != NULL && m->index != GV_NODE_SELF && m->incarnation.boot_id == msg->from_boot_id) {
        gv_incarnation_t incarnation = {msg->start_counter, msg->boot_id};
        gv__detour_confirmed(core, m, link, incarnation, msg->seq);
    }
    return true;
}

/* ---- the turn -----------------------------------------------------------------------------------
 */

void gv__detours_flush(gv_ccore_t *core)
{
    gv__foreach_peer(core, peer)
    {
        if (peer->is_linked && !core->switches.no_notices) {
            give_notices(core, peer);
        }
    }
    gv__foreach_peer(core, owner)
    {
        owner->replica.notice_due = false;
        if (owner->is_linked) {
            owner->replica.relayed_ack_due = false; /* it is told directly */
        } else if (owner->replica.relayed_ack_due) {
            confirm(core, owner);
        }
    }
}
