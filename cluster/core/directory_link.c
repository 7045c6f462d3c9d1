/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/core/core_p.h"
#include "cluster/core/directory.h"

/*
 * The directory's place in the core: who its peers are, and the way of its notes, which is a link
 * or, where two nodes do not hear each other, one that leads through a third.
 */

/* ---- ports of the directory ---------------------------------------------------------------------
 */

static void send_note(gv_node_index_t to, Gv__DirectoryNote *note, void *arg)
{
    gv_ccore_t *core = arg;
    const gv_member_t *m = core->members[to];
    const gv_peer_link_t *link = gv__path(core, m);
    if (link == NULL) {
        return;
    }
    const gv_member_t *self = gv__self(core);
    note->from_id = gv_codec_put_id(&self->id);
    note->to_id = gv_codec_put_id(&m->id);
    note->from_boot_id = self->incarnation.boot_id;
    note->to_boot_id = m->incarnation.boot_id;
    gv__send(core, link, link->member == m ? GV_FRAME_DIRECTORY : GV_FRAME_DIRECTORY_RELAY,
             &note->base);
}

static void claimed(const gv_claim_t *claim, gv_claim_verdict_t verdict, void *arg)
{
    gv_ccore_t *core = arg;
    core->ports.claimed(claim, verdict, core->ports.arg);
}

static void let_go(const gv_letting_t *letting, void *arg)
{
    gv_ccore_t *core = arg;
    core->ports.let_go(letting, core->ports.arg);
}

/* ---- life ---------------------------------------------------------------------------------------
 */

void gv__directory_init(gv_ccore_t *core)
{
    const gv_directory_options_t options = {
        .wait_ms = core->timing.claim,
        .registered_max = core->limits.registered_max,
        .self = gv__self(core)->id,
        .ports = {.send = send_note, .claimed = claimed, .let_go = let_go, .arg = core},
    };
    gv_directory_new(&options, &core->directory);
}

void gv__directory_flush(gv_ccore_t *core)
{
    gv__foreach_peer(core, m)
    {
        const gv_directory_peer_t peer = {
            .id = m->id,
            .boot_id = m->incarnation.boot_id,
            .path = gv__path_identity(core, m),
            .is_routable = m->is_routable,
        };
        gv_directory_set_peer(core->directory, m->index, &peer);
    }
    gv_directory_flush(core->directory, core->now_ms);
}

uint64_t gv__directory_deadline(const gv_ccore_t *core)
{
    return gv_directory_deadline_ms(core->directory);
}

/* ---- notes of others ----------------------------------------------------------------------------
 */

bool gv__on_directory(gv_ccore_t *core, const gv_peer_link_t *link, const Gv__DirectoryNote *msg,
                      bool may_pass_on)
{
    gv_node_id_t from;
    gv_node_id_t to;
    if (!gv_codec_get_id(&msg->from_id, &from) || !gv_codec_get_id(&msg->to_id, &to)) {
        return false;
    }
    const gv_member_t *self = gv__self(core);
    if (!gv_node_id_equal(&to, &self->id)) {
        const gv_member_t *other = gv__member_by_id(core, &to);
        if (may_pass_on && other != NULL && other->is_linked) {
            gv__send(core, other->active, GV_FRAME_DIRECTORY, &msg->base);
        }
        return true;
    }
    const gv_member_t *m = gv__member_by_id(core, &from);
    if (m == NULL || m->index == GV_NODE_SELF || msg->to_boot_id != self->incarnation.boot_id ||
        msg->from_boot_id != m->incarnation.boot_id) {
        return true; /* meant for, or said by, another life */
    }
    /* What comes through a relay is not the relay's fault. */
    return gv_directory_take(core->directory, m->index, msg) || link->member != m;
}

/* ---- calls of the host --------------------------------------------------------------------------
 */

void gv_ccore_claim(gv_ccore_t *core, const gv_claim_t *claim)
{
    GV_ASSERT(!core->in_port_phase);
    gv_directory_claim(core->directory, claim);
}

void gv_ccore_register(gv_ccore_t *core, const gv_claim_t *claim)
{
    GV_ASSERT(!core->in_port_phase);
    gv_directory_register(core->directory, claim);
}

void gv_ccore_withdraw(gv_ccore_t *core, const gv_id_key_t *key, gv_holder_t holder)
{
    GV_ASSERT(!core->in_port_phase);
    gv_directory_withdraw(core->directory, key, holder);
}

void gv_ccore_let_gone(gv_ccore_t *core, const gv_letting_t *letting)
{
    GV_ASSERT(!core->in_port_phase);
    gv_directory_let_gone(core->directory, letting);
}

const gv_directory_stats_t *gv_ccore_directory_stats(const gv_ccore_t *core)
{
    return gv_directory_stats(core->directory);
}
