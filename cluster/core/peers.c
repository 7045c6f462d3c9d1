/* SPDX-License-Identifier: Apache-2.0 */
#include "base/alloc.h"
#include "cluster/core/core_p.h"

/*
 * Links: dialling (seeds and members), two links to one peer, heartbeats, what "linked" means.
 *
 * Parts of this file: dialling - links of a member - opening - losing - heartbeat - tick.
 *
 * Two nodes that dial each other at once both end up with two links and must drop the same one: the
 * one dialled by the lower id stays.  Two links in the same direction: one that works is not given
 * up for a new one, and only the dialler closes, because the two ends may not agree on which is
 * which.
 */

#define SELF_SEED_PAUSE_MS 10000U

/* ---- dialling ------------------------------------------------------------------------------- */

/* The next try, half of the pause fixed and half random, so that nodes do not dial in step. */
static void dial_later(gv_ccore_t *core, gv_dial_t *dial)
{
    uint32_t half = dial->backoff_ms / 2;
    dial->token = 0;
    dial->next_ms = core->now_ms + half + gv_rng_below(&core->rng, half + 1);
    dial->backoff_ms *= 2;
    if (dial->backoff_ms > core->timing.dial_max) {
        dial->backoff_ms = core->timing.dial_max;
    }
}

static bool dial_is_due(const gv_ccore_t *core, const gv_dial_t *dial)
{
    return dial->token == 0 && dial->next_ms <= core->now_ms;
}

static void dial_now(gv_ccore_t *core, gv_dial_t *dial, const char *address)
{
    dial->token = ++core->dial_token;
    core->ports.dial(address, dial->token, core->ports.arg);
}

/* Whether somebody at this address is linked or being dialled already. */
static bool is_address_busy(const gv_ccore_t *core, const char *address)
{
    gv__foreach_peer(core, m)
    {
        if ((m->active != NULL || m->dial.token != 0) && strcmp(m->address, address) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_seed_wanted(const gv_ccore_t *core, const gv_seed_t *seed)
{
    if (strcmp(seed->address, gv__self(core)->address) == 0) {
        return false;
    }
    const gv_member_t *m = seed->member == GV_NODE_NONE ? NULL : core->members[seed->member];
    return (m == NULL || m->active == NULL) && !is_address_busy(core, seed->address);
}

/* A node that was replaced by another under the same address cannot be found there any more. */
static bool is_replaced(const gv_ccore_t *core, const gv_member_t *m)
{
    for (size_t i = 0; i < core->member_end; i++) {
        const gv_member_t *other = core->members[i];
        if (other != NULL && other != m && gv__is_up(other->state) && !gv__is_up(m->state) &&
            strcmp(other->address, m->address) == 0) {
            return true;
        }
    }
    return false;
}

/* The dead too: after a partition both sides hold each other dead, and somebody must begin. */
static bool is_member_wanted(const gv_ccore_t *core, const gv_member_t *m)
{
    return m->active == NULL && m->state != GV_MEMBER_LEFT && m->address[0] != '\0' &&
           !is_replaced(core, m);
}

static void dial_what_is_due(gv_ccore_t *core)
{
    if (core->is_leaving) {
        return;
    }
    gv__foreach_peer(core, m)
    {
        if (dial_is_due(core, &m->dial) && is_member_wanted(core, m)) {
            dial_now(core, &m->dial, m->address);
        }
    }
    for (size_t i = 0; i < core->seed_count; i++) {
        gv_seed_t *seed = &core->seeds[i];
        if (dial_is_due(core, &seed->dial) && is_seed_wanted(core, seed)) {
            dial_now(core, &seed->dial, seed->address);
        }
    }
}

/*
 * The dial with this token is over, whatever came of it: the next one waits its time, which counts
 * only if there is no link then.  Gives the seed it was for, or NULL.
 */
static gv_seed_t *dial_over(gv_ccore_t *core, uint64_t token)
{
    for (size_t i = 0; i < core->seed_count && token != 0; i++) {
        if (core->seeds[i].dial.token == token) {
            dial_later(core, &core->seeds[i].dial);
            core->seeds[i].was_tried = true;
            return &core->seeds[i];
        }
    }
    gv__foreach_peer(core, m)
    {
        if (token != 0 && m->dial.token == token) {
            dial_later(core, &m->dial);
            m->was_tried = true;
        }
    }
    return NULL;
}

void gv__on_dial_failed(gv_ccore_t *core, uint64_t token)
{
    (void)dial_over(core, token);
}

gv_err_t gv_ccore_join(gv_ccore_t *core, const char *address)
{
    GV_ASSERT(!core->in_port_phase);
    size_t i = 0;
    while (i < core->seed_count && strcmp(core->seeds[i].address, address) != 0) {
        i++;
    }
    if (i == core->seed_count) {
        size_t size = strlen(address);
        if (size == 0 || size > GV_NODE_ADDRESS_MAX || i >= GV_SEEDS_MAX) {
            return GV_ERR_LIMIT;
        }
        core->seeds = gv_xrealloc(core->seeds, (i + 1) * sizeof(core->seeds[0]));
        core->seeds[core->seed_count++] =
            (gv_seed_t){.address = gv_xstrdup(address), .member = GV_NODE_NONE};
    }
    core->seeds[i].dial.next_ms = core->now_ms;
    core->seeds[i].dial.backoff_ms = core->timing.dial_min;
    return GV_OK;
}

/* ---- links of a member ------------------------------------------------------------------------
 */

gv_peer_link_t *gv__peer_link(const gv_ccore_t *core, gv_link_id_t id)
{
    gv_list_foreach (&core->links, l) {
        gv_peer_link_t *link = gv_container_of(l, gv_peer_link_t, _link);
        if (link->id == id) {
            return link;
        }
    }
    return NULL;
}

bool gv__link_is_current(const gv_peer_link_t *link)
{
    return link->boot_id == link->member->incarnation.boot_id;
}

static gv_peer_link_t *newest_current_link(const gv_ccore_t *core, const gv_member_t *m)
{
    gv_peer_link_t *newest = NULL;
    gv_list_foreach (&core->links, l) {
        gv_peer_link_t *link = gv_container_of(l, gv_peer_link_t, _link);
        if (link->member == m && gv__link_is_current(link)) {
            newest = link;
        }
    }
    return newest;
}

static void set_active(gv_ccore_t *core, gv_member_t *m, gv_peer_link_t *link)
{
    if (m->active == link) {
        return;
    }
    m->active = link;
    if (link != NULL) {
        gv__gossip_session(core, m);
    }
}

/* Only for a link that works: one that is opened and refused again must not be dialled faster. */
static void reset_backoff(const gv_ccore_t *core, gv_member_t *m)
{
    m->dial.backoff_ms = core->timing.dial_min;
    for (size_t i = 0; i < core->seed_count; i++) {
        if (core->seeds[i].member == m->index) {
            core->seeds[i].dial.backoff_ms = core->timing.dial_min;
        }
    }
}

/* Sets m->is_linked; whoever depends on it notices by itself (views, paths, barriers). */
static void judge_link(gv_ccore_t *core, gv_member_t *m)
{
    const gv_peer_link_t *link = m->active;
    bool is_linked = link != NULL && gv__link_is_current(link) &&
                     gv__since(core, link->heard_ms) <= core->timing.silence && link->has_echo &&
                     gv__since(core, link->echoed_ms) <= core->timing.echo;
    if (is_linked == m->is_linked) {
        return;
    }
    m->is_linked = is_linked;
    if (is_linked) {
        reset_backoff(core, m);
    }
    gv__report(core, GV_CCORE_EVENT_LINK, "link to '%s' is %s", m->name, is_linked ? "up" : "down");
    gv__own_view_changed(core);
}

void gv__link_forget(gv_ccore_t *core, gv_peer_link_t *link)
{
    gv_member_t *m = link->member;
    gv_list_remove(&link->_link);
    if (m->active == link) {
        set_active(core, m, newest_current_link(core, m));
        if (m->active == NULL && m->dial.token == 0) {
            dial_later(core, &m->dial);
        }
        judge_link(core, m);
    }
    gv_free(link);
}

void gv__close_other_lives(gv_ccore_t *core, gv_member_t *m)
{
    gv_list_foreach_safe (&core->links, l) {
        gv_peer_link_t *link = gv_container_of(l, gv_peer_link_t, _link);
        if (link->member == m && !gv__link_is_current(link)) {
            gv__close(core, link, GV_LINK_CLOSE_STALE, "a newer life of this node is known");
        }
    }
    if (m->active == NULL) {
        set_active(core, m, newest_current_link(core, m));
    }
    judge_link(core, m);
}

/* Of two links to the same life of a peer, whether the newer one takes over. */
static bool newer_link_wins(const gv_ccore_t *core, const gv_peer_link_t *older,
                            const gv_peer_link_t *newer)
{
    if (older->is_dialled == newer->is_dialled) {
        return !older->member->is_linked;
    }
    if (!older->member->is_linked && gv__since(core, older->opened_ms) > core->timing.echo) {
        return true; /* the older one had its time and does not work */
    }
    const gv_node_id_t *self = &gv__self(core)->id;
    bool self_is_lower = memcmp(self->bytes, newer->member->id.bytes, GV_NODE_ID_SIZE) < 0;
    return newer->is_dialled == self_is_lower;
}

static void settle_links(gv_ccore_t *core, gv_member_t *m, gv_peer_link_t *newer)
{
    gv_peer_link_t *older = m->active;
    if (older == NULL) {
        set_active(core, m, newer);
        return;
    }
    bool same_direction = older->is_dialled == newer->is_dialled;
    gv_peer_link_t *loser = older;
    if (newer_link_wins(core, older, newer)) {
        set_active(core, m, newer);
    } else {
        loser = newer;
    }
    if (!same_direction || loser->is_dialled) {
        gv__close(core, loser, GV_LINK_CLOSE_REPLACED, "another link to this node is kept");
    }
}

static void close_surplus_links(gv_ccore_t *core, const gv_member_t *m)
{
    size_t count = 0;
    gv_list_foreach (&core->links, l) {
        count += gv_container_of(l, gv_peer_link_t, _link)->member == m ? 1 : 0;
    }
    gv_list_foreach_safe (&core->links, l) {
        gv_peer_link_t *link = gv_container_of(l, gv_peer_link_t, _link);
        if (count > LINKS_PER_MEMBER_MAX && link->member == m && link != m->active) {
            gv__close(core, link, GV_LINK_CLOSE_LIMIT, "too many links from one node");
            count--;
        }
    }
}

/* ---- opening ----------------------------------------------------------------------------------
 */

static void refuse(gv_ccore_t *core, gv_link_id_t id, gv_link_close_t reason,
                   const gv_peer_identity_t *peer)
{
    const char *text = gv_link_close_text(reason);
    gv_ccore_event_t event = reason == GV_LINK_CLOSE_DUPLICATE ? GV_CCORE_EVENT_DUPLICATE_IDENTITY
                                                               : GV_CCORE_EVENT_REFUSED_PEER;
    gv__report(core, event, "refused peer '%s' at '%s': %s", peer->name, peer->address, text);
    core->stats.links_closed++;
    Gv__Refused goodbye = GV__REFUSED__INIT;
    goodbye.reason = (uint32_t)reason + 1;
    goodbye.text = (char *)(uintptr_t)text; /* packing only reads */
    gv_peer_link_t unborn = {.id = id};
    gv__send(core, &unborn, GV_FRAME_GOODBYE, &goodbye.base);
    core->ports.close(id, reason, text, core->ports.arg);
}

/* What the handshake should have refused already. */
static bool is_acceptable(gv_ccore_t *core, gv_link_id_t id, const gv_peer_identity_t *peer,
                          gv_seed_t *seed)
{
    const gv_member_t *self = gv__self(core);
    if (strcmp(peer->cluster, core->cluster) != 0) {
        refuse(core, id, GV_LINK_CLOSE_CLUSTER, peer);
        return false;
    }
    if (peer->protocol < GV_PROTOCOL_VERSION_OLDEST || peer->protocol > GV_PROTOCOL_VERSION) {
        refuse(core, id, GV_LINK_CLOSE_VERSION, peer);
        return false;
    }
    if (!gv_node_id_equal(&peer->id, &self->id)) {
        return true;
    }
    if (peer->incarnation.boot_id != self->incarnation.boot_id) {
        refuse(core, id, GV_LINK_CLOSE_DUPLICATE, peer);
        return false;
    }
    if (seed != NULL) {
        seed->is_self = true;
        seed->dial.next_ms = core->now_ms + SELF_SEED_PAUSE_MS;
    }
    core->stats.links_closed++;
    core->ports.close(id, GV_LINK_CLOSE_SELF, gv_link_close_text(GV_LINK_CLOSE_SELF),
                      core->ports.arg);
    return false;
}

static void take_identity(gv_member_t *m, const gv_peer_identity_t *peer)
{
    if (strcmp(m->name, peer->name) != 0 || strcmp(m->address, peer->address) != 0) {
        memcpy(m->name, peer->name, sizeof(m->name));
        memcpy(m->address, peer->address, sizeof(m->address));
        m->fact_for = UINT64_MAX;
    }
}

/*
 * Finds or makes the member behind a new link.  A second life of a node whose first one is alive on
 * a link of ours is a second process with the same identity: the older stays, the newer is refused
 * (it tries again, and is let in as soon as the older is silent).
 */
static gv_member_t *member_behind(gv_ccore_t *core, gv_link_id_t id, const gv_peer_identity_t *peer)
{
    gv_member_t *m = gv__member_by_id(core, &peer->id);
    if (m == NULL) {
        m = gv__member_add(core, &peer->id, peer->incarnation);
        if (m == NULL) {
            refuse(core, id, GV_LINK_CLOSE_FULL, peer);
            return NULL;
        }
        take_identity(m, peer);
        gv__member_set_state(core, m, GV_MEMBER_ALIVE);
        return m;
    }
    if (peer->incarnation.boot_id != m->incarnation.boot_id && m->is_linked) {
        refuse(core, id, GV_LINK_CLOSE_DUPLICATE, peer);
        return NULL;
    }
    int order = gv_incarnation_compare(peer->incarnation, m->incarnation);
    if (order == 0 && m->state == GV_MEMBER_LEFT) {
        refuse(core, id, GV_LINK_CLOSE_LEAVING, peer);
        return NULL;
    }
    if (order > 0) {
        gv__member_set_incarnation(core, m, peer->incarnation);
    }
    if (order >= 0) {
        take_identity(m, peer);
    }
    return m;
}

void gv__on_link_opened(gv_ccore_t *core, gv_link_id_t id, const gv_peer_identity_t *peer,
                        uint64_t dial_token)
{
    GV_ASSERT(id != 0);
    GV_ASSERT(gv__peer_link(core, id) == NULL);
    gv_seed_t *seed = dial_over(core, dial_token);
    if (!is_acceptable(core, id, peer, seed)) {
        return;
    }
    gv_member_t *m = member_behind(core, id, peer);
    if (m == NULL) {
        return;
    }
    if (seed != NULL) {
        seed->member = m->index;
    }
    gv_peer_link_t *link = GV_NEW(gv_peer_link_t);
    link->id = id;
    link->member = m;
    link->boot_id = peer->incarnation.boot_id;
    link->is_dialled = dial_token != 0;
    link->opened_ms = core->now_ms;
    link->heartbeat_ms = core->now_ms;
    gv_list_append(&core->links, &link->_link);
    gv__link_heard(core, link);
    if (!gv__link_is_current(link)) {
        /* We know a newer life; perhaps it lost its counter.  Told, it will be newer still. */
        gv__send_fact(core, link, m);
        return;
    }
    settle_links(core, m, link);
    close_surplus_links(core, m);
}

/* ---- losing -----------------------------------------------------------------------------------
 */

void gv__on_link_closed(gv_ccore_t *core, gv_link_id_t id)
{
    gv_peer_link_t *link = gv__peer_link(core, id);
    if (link == NULL) {
        return;
    }
    gv_member_t *m = link->member;
    bool was_active = m->active == link;
    gv__link_forget(core, link);
    if (was_active && m->active == NULL) {
        gv__member_link_lost(core, m);
    }
}

/* The peer closes the link on purpose: no sign of its death. */
bool gv__on_goodbye(gv_ccore_t *core, gv_peer_link_t *link, const Gv__Refused *msg)
{
    char text[128];
    gv_member_t *m = link->member;
    if (!gv_codec_get_text(msg->text, text, sizeof(text))) {
        return false;
    }
    if (msg->reason == GV_LINK_CLOSE_DUPLICATE + 1 || msg->reason == GV_LINK_CLOSE_STALE + 1) {
        gv__report(core, GV_CCORE_EVENT_DUPLICATE_IDENTITY,
                   "'%s' refuses us: %s; is another process using this data directory?", m->name,
                   text);
    } else if (msg->reason != GV_LINK_CLOSE_REPLACED + 1) {
        gv__report(core, GV_CCORE_EVENT_LINK, "'%s' closes the link: %s", m->name, text);
    }
    bool is_known = msg->reason > 0 && msg->reason <= GV_LINK_CLOSE_TIMEOUT + 1;
    core->ports.close(link->id,
                      is_known ? (gv_link_close_t)(msg->reason - 1) : GV_LINK_CLOSE_LEAVING,
                      "the peer said goodbye", core->ports.arg);
    gv__link_forget(core, link);
    return true;
}

/* ---- heartbeat --------------------------------------------------------------------------------
 */

void gv__link_heard(gv_ccore_t *core, gv_peer_link_t *link)
{
    link->heard_ms = core->now_ms;
    if (!gv__link_is_current(link)) {
        return;
    }
    gv_member_t *m = link->member;
    m->was_heard = true;
    m->heard_ms = core->now_ms;
    gv__member_evidence(core, m, link->boot_id, 0);
}

bool gv__on_heartbeat(gv_ccore_t *core, gv_peer_link_t *link, const Gv__Heartbeat *msg)
{
    if (msg->stamp != 0) {
        /* Echoed at once: what the peer measures is the way there and back, nothing else. */
        Gv__Heartbeat echo = GV__HEARTBEAT__INIT;
        echo.echo = msg->stamp;
        gv__send(core, link, GV_FRAME_HEARTBEAT, &echo.base);
    }
    if (msg->echo == 0) {
        return true;
    }
    uint64_t stamp_ms = msg->echo - 1;
    if (stamp_ms > core->now_ms || msg->echo_held_ms > core->now_ms - stamp_ms) {
        return false; /* not a stamp of ours */
    }
    if (!link->has_echo || stamp_ms > link->echoed_ms) {
        link->echoed_ms = stamp_ms;
        link->has_echo = true;
    }
    if (stamp_ms > link->stamp_ms) {
        link->stamp_ms = stamp_ms;
    }
    /* Smoothed over 8 samples: a mean of whole milliseconds tells their fractions. */
    uint64_t sample_us = (core->now_ms - stamp_ms - msg->echo_held_ms) * 1000;
    if (sample_us > UINT32_MAX) {
        sample_us = UINT32_MAX;
    }
    gv_member_t *m = link->member;
    uint64_t before = m->rtt_us == 0 ? sample_us : m->rtt_us;
    uint64_t smoothed = (before * 7 + sample_us) / 8;
    m->rtt_us = smoothed == 0 ? 1 : (uint32_t)smoothed;
    judge_link(core, m);
    return true;
}

static void send_heartbeat(gv_ccore_t *core, gv_peer_link_t *link)
{
    Gv__Heartbeat heartbeat = GV__HEARTBEAT__INIT;
    heartbeat.stamp = core->now_ms + 1; /* 0 means none */
    gv__send(core, link, GV_FRAME_HEARTBEAT, &heartbeat.base);
    link->heartbeat_ms = core->now_ms + core->timing.heartbeat;
}

/* ---- tick -------------------------------------------------------------------------------------
 */

void gv__peers_forgive_silence(gv_ccore_t *core)
{
    gv_list_foreach (&core->links, l) {
        gv_peer_link_t *link = gv_container_of(l, gv_peer_link_t, _link);
        link->heard_ms = core->now_ms;
        link->echoed_ms = core->now_ms;
        link->opened_ms = core->now_ms;
    }
}

static bool is_silent(const gv_ccore_t *core, const gv_peer_link_t *link)
{
    uint64_t patience = (uint64_t)core->timing.echo * 2;
    uint64_t echoed_ms = link->has_echo ? link->echoed_ms : link->opened_ms;
    return gv__since(core, link->heard_ms) > patience || gv__since(core, echoed_ms) > patience;
}

void gv__peers_tick(gv_ccore_t *core)
{
    gv_list_foreach_safe (&core->links, l) {
        gv_peer_link_t *link = gv_container_of(l, gv_peer_link_t, _link);
        if (is_silent(core, link)) {
            gv__close(core, link, GV_LINK_CLOSE_SILENT, "nothing heard or nothing echoed");
        } else if (!gv__link_is_current(link) &&
                   gv__since(core, link->opened_ms) > core->timing.echo) {
            gv__close(core, link, GV_LINK_CLOSE_STALE, "a newer life of this node is known");
        } else if (link->heartbeat_ms <= core->now_ms) {
            send_heartbeat(core, link);
        }
    }
    gv__foreach_peer(core, m)
    {
        judge_link(core, m);
    }
    dial_what_is_due(core);
}
