/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/core/core_p.h"

/*
 * What peers are told about members: facts and views; and the paths that follow from views.
 *
 * In a full mesh a fact goes straight to everybody: each member has a mask of the peers that should
 * still hear its fact, all bits are set when the fact changes, and a peer's bit is set for all
 * members when it gets a new link (what was in flight on the old one may be lost).  Who learns a
 * fact tells it on, so facts cross a cut link through any third node.
 *
 * A view is how one node sees all others.  It goes to all its peers from time to time, and at once
 * when a link comes or goes; whoever gets it passes it on to those the viewer has no link to.
 */

#define VIEW_GAP_MIN_MS 50U

/* ---- facts ---------------------------------------------------------------------------------- */

static void fill_fact(const gv_ccore_t *core, const gv_member_t *m, Gv__Fact *fact)
{
    gv__fact__init(fact);
    fact->node_id = gv_codec_put_id(&m->id);
    fact->name = (char *)(uintptr_t)m->name; /* packing only reads */
    fact->address = (char *)(uintptr_t)m->address;
    fact->start_counter = m->incarnation.start_counter;
    fact->boot_id = m->incarnation.boot_id;
    fact->claim = m->claim;
    fact->state = (Gv__MemberState)m->state;
    fact->age_ms = gv__since(core, m->state_ms);
}

static void send_facts(gv_ccore_t *core, gv_peer_link_t *link, const gv_member_t *const *about,
                       size_t count)
{
    Gv__Facts facts = GV__FACTS__INIT;
    facts.n_forgotten = gv__forgotten_for(core, link->member, &facts.forgotten);
    Gv__Fact *fact = gv__build(core, count, sizeof(*fact));
    facts.facts = gv__build(core, count, sizeof(facts.facts[0]));
    for (size_t i = 0; i < count; i++) {
        fill_fact(core, about[i], &fact[i]);
        facts.facts[i] = &fact[i];
    }
    facts.n_facts = count;
    if (facts.n_facts + facts.n_forgotten > 0) {
        gv__send(core, link, GV_FRAME_FACTS, &facts.base);
    }
}

void gv__send_fact(gv_ccore_t *core, gv_peer_link_t *link, const gv_member_t *about)
{
    send_facts(core, link, &about, 1);
}

static void flush_facts(gv_ccore_t *core, const gv_member_t *peer)
{
    const gv_member_t *about[GV_NODES_MAX];
    size_t count = 0;
    for (size_t i = 0; i < core->member_end; i++) {
        gv_member_t *m = core->members[i];
        if (m != NULL && (m->fact_for & gv__bit(peer)) != 0) {
            m->fact_for &= ~gv__bit(peer);
            about[count++] = m;
        }
    }
    if (count > 0 || core->tombstone_count > 0) {
        send_facts(core, peer->active, about, count);
    }
}

/* ---- views ------------------------------------------------------------------------------------
 */

gv_node_view_t gv__view_of(const gv_ccore_t *core, const gv_member_t *m)
{
    const gv_replica_t *replica = &m->replica;
    uint64_t heard_ms = gv__since(core, m->heard_ms);
    bool has_age = m->was_heard && heard_ms < UINT32_MAX;
    return (gv_node_view_t){
        .state = m->state,
        .is_linked = m->is_linked,
        .incarnation = m->incarnation,
        .claim = m->claim,
        .heard_ms = has_age ? (uint32_t)heard_ms : UINT32_MAX,
        .rtt_us = m->rtt_us,
        .table_incarnation = replica->table.incarnation,
        .table_seq = replica->table.seq,
        .table_hash = replica->is_complete ? replica->table.hash : 0,
        .table_rows = replica->table.live_count,
    };
}

static void fill_row(const gv_member_t *m, const gv_node_view_t *view, uint64_t age_ms,
                     Gv__ViewRow *row)
{
    gv__view_row__init(row);
    row->node_id = gv_codec_put_id(&m->id);
    row->state = (Gv__MemberState)view->state;
    row->linked = view->is_linked;
    row->start_counter = view->incarnation.start_counter;
    row->boot_id = view->incarnation.boot_id;
    row->claim = view->claim;
    if (view->heard_ms < UINT32_MAX - 1 - age_ms) {
        row->heard_ms = view->heard_ms + (uint32_t)age_ms + 1;
    }
    row->rtt_us = view->rtt_us;
    row->table_start_counter = view->table_incarnation.start_counter;
    row->table_boot_id = view->table_incarnation.boot_id;
    row->table_seq = view->table_seq;
    row->table_hash = view->table_hash;
    row->table_rows = view->table_rows;
}

/* The view of `viewer` (ours as it is now, another's as it came) as a message. */
static void build_view(gv_ccore_t *core, const gv_member_t *viewer, Gv__View *msg)
{
    bool is_own = viewer->index == GV_NODE_SELF;
    uint64_t age_ms = is_own ? 0 : gv__since(core, viewer->view.received_ms);
    age_ms = age_ms < VIEW_TRUSTED_MS ? age_ms : VIEW_TRUSTED_MS;
    gv__view__init(msg);
    msg->viewer_id = gv_codec_put_id(&viewer->id);
    msg->viewer_boot_id = is_own ? viewer->incarnation.boot_id : viewer->view.boot_id;
    msg->seq = is_own ? core->view_seq : viewer->view.seq;
    Gv__ViewRow *rows = gv__build(core, core->member_end, sizeof(*rows));
    msg->rows = gv__build(core, core->member_end, sizeof(msg->rows[0]));
    for (size_t i = 0; i < core->member_end; i++) {
        const gv_member_t *m = core->members[i];
        if (m == NULL || m == viewer || (!is_own && (viewer->view.known & gv__bit(m)) == 0)) {
            continue;
        }
        gv_node_view_t view = is_own ? gv__view_of(core, m) : viewer->view.rows[i];
        fill_row(m, &view, age_ms, &rows[msg->n_rows]);
        msg->rows[msg->n_rows] = &rows[msg->n_rows];
        msg->n_rows++;
    }
}

void gv__own_view_changed(gv_ccore_t *core)
{
    uint64_t soon_ms = core->view_sent_ms + VIEW_GAP_MIN_MS;
    if (core->view_ms > soon_ms) {
        core->view_ms = soon_ms;
    }
}

/* Views grow with the cluster and so does their number: longer pauses keep the sum linear. */
static uint64_t view_pause_ms(const gv_ccore_t *core)
{
    uint64_t count = 0;
    gv__foreach_peer(core, m)
    {
        count++;
    }
    return core->timing.view * (1 + count / 16);
}

static void flush_own_view(gv_ccore_t *core)
{
    if (core->view_ms > core->now_ms) {
        return;
    }
    core->view_seq++;
    core->view_sent_ms = core->now_ms;
    core->view_ms = core->now_ms + view_pause_ms(core);
    Gv__View msg;
    build_view(core, gv__self(core), &msg);
    gv__foreach_peer(core, m)
    {
        if (m->active != NULL) {
            gv__send(core, m->active, GV_FRAME_VIEW, &msg.base);
        }
    }
}

static void flush_passed_view(gv_ccore_t *core, gv_member_t *viewer)
{
    if (viewer->view_for == 0 || viewer->view.seq == 0) {
        return;
    }
    uint64_t wanted = viewer->view_for;
    Gv__View msg;
    build_view(core, viewer, &msg);
    gv__foreach_peer(core, m)
    {
        if ((wanted & gv__bit(m)) != 0 && m->active != NULL) {
            gv__send(core, m->active, GV_FRAME_VIEW, &msg.base);
            viewer->view_for &= ~gv__bit(m);
        }
    }
}

static bool decode_row(const Gv__ViewRow *row, gv_node_view_t *view)
{
    *view = (gv_node_view_t){
        .state = (gv_member_state_t)row->state,
        .is_linked = row->linked,
        .incarnation = {row->start_counter, row->boot_id},
        .claim = row->claim,
        .heard_ms = row->heard_ms == 0 ? UINT32_MAX : row->heard_ms - 1,
        .rtt_us = row->rtt_us,
        .table_incarnation = {row->table_start_counter, row->table_boot_id},
        .table_seq = row->table_seq,
        .table_hash = row->table_hash,
        .table_rows = row->table_rows,
    };
    return row->state >= GV__MEMBER_STATE__MEMBER_ALIVE &&
           row->state <= GV__MEMBER_STATE__MEMBER_LEFT;
}

/* Those the viewer has no link to should hear its view from us. */
static void pass_on(const gv_ccore_t *core, gv_member_t *viewer, const gv_member_t *teller)
{
    viewer->view_for = 0;
    gv__foreach_peer(core, m)
    {
        bool hears_itself =
            (viewer->view.known & gv__bit(m)) != 0 && viewer->view.rows[m->index].is_linked;
        if (m != viewer && m != teller && !hears_itself) {
            viewer->view_for |= gv__bit(m);
        }
    }
}

bool gv__on_view(gv_ccore_t *core, gv_peer_link_t *link, const Gv__View *msg)
{
    gv_node_id_t id;
    if (!gv_codec_get_id(&msg->viewer_id, &id) || msg->n_rows > GV_NODES_MAX || msg->seq == 0) {
        return false;
    }
    gv_member_t *viewer = gv__member_by_id(core, &id);
    if (viewer == NULL || viewer->index == GV_NODE_SELF ||
        viewer->incarnation.boot_id != msg->viewer_boot_id) {
        return true;
    }
    gv_gossiped_view_t *view = &viewer->view;
    if (view->boot_id == msg->viewer_boot_id && view->seq >= msg->seq) {
        return true;
    }
    view->boot_id = msg->viewer_boot_id;
    view->seq = msg->seq;
    view->received_ms = core->now_ms;
    view->known = 0;
    for (size_t i = 0; i < msg->n_rows; i++) {
        gv_node_view_t row;
        if (!gv_codec_get_id(&msg->rows[i]->node_id, &id) || !decode_row(msg->rows[i], &row)) {
            return false;
        }
        gv_member_t *m = gv__member_by_id(core, &id);
        if (m == NULL || m == viewer) {
            continue;
        }
        /* Who has just lost the owner's link may lack what was on its way over it. */
        m->replica.notice_due =
            m->replica.notice_due || (view->rows[m->index].is_linked && !row.is_linked);
        view->rows[m->index] = row;
        view->known |= gv__bit(m);
        if (m->index == GV_NODE_SELF && row.table_hash != 0) {
            gv__detour_confirmed(core, viewer, link, row.table_incarnation, row.table_seq);
        }
        if (row.heard_ms != UINT32_MAX && m->index != GV_NODE_SELF) {
            gv__member_evidence(core, m, row.incarnation.boot_id, row.heard_ms);
        }
    }
    pass_on(core, viewer, link->member);
    return true;
}

/* ---- paths ------------------------------------------------------------------------------------
 */

/* Whether `helper` can pass messages on to m: we reach it, and it says that it reaches m. */
static bool can_relay(const gv_ccore_t *core, const gv_member_t *helper, const gv_member_t *m)
{
    if (helper == NULL || helper == m || !helper->is_linked ||
        (helper->view.known & gv__bit(m)) == 0 ||
        gv__since(core, helper->view.received_ms) > VIEW_TRUSTED_MS) {
        return false;
    }
    const gv_node_view_t *row = &helper->view.rows[m->index];
    return row->is_linked && row->incarnation.boot_id == m->incarnation.boot_id;
}

static void choose_relay(const gv_ccore_t *core, gv_member_t *m)
{
    if (m->is_linked) {
        m->relay = GV_NODE_NONE;
        return;
    }
    if (m->relay != GV_NODE_NONE && can_relay(core, core->members[m->relay], m)) {
        return; /* changing the path costs a resend */
    }
    const gv_member_t *best = NULL;
    gv__foreach_peer(core, helper)
    {
        if (can_relay(core, helper, m) &&
            (best == NULL || memcmp(helper->id.bytes, best->id.bytes, GV_NODE_ID_SIZE) < 0)) {
            best = helper;
        }
    }
    m->relay = best == NULL ? GV_NODE_NONE : best->index;
    m->replica.relayed_ack_due = best != NULL;
}

void gv__choose_paths(gv_ccore_t *core)
{
    gv__foreach_peer(core, m)
    {
        choose_relay(core, m);
    }
}

gv_peer_link_t *gv__path(const gv_ccore_t *core, const gv_member_t *m)
{
    if (m->is_linked) {
        return m->active;
    }
    if (m->relay == GV_NODE_NONE || core->members[m->relay] == NULL) {
        return NULL;
    }
    const gv_member_t *relay = core->members[m->relay];
    return relay->is_linked ? relay->active : NULL;
}

uint64_t gv__path_identity(const gv_ccore_t *core, const gv_member_t *m)
{
    const gv_peer_link_t *link = gv__path(core, m);
    if (link == NULL) {
        return 0;
    }
    return link->id << 1 | (m->is_linked ? 0 : 1);
}

/* ---- the turn ---------------------------------------------------------------------------------
 */

/* Whatever was in flight on the link before may be lost: say it all again. */
void gv__gossip_session(gv_ccore_t *core, gv_member_t *m)
{
    for (size_t i = 0; i < core->member_end; i++) {
        gv_member_t *other = core->members[i];
        if (other != NULL) {
            other->fact_for |= gv__bit(m);
        }
    }
    gv__tombstones_mask(core, UINT64_MAX, gv__bit(m));
    m->digest_due = true;
    m->replica.ack_due = true;
    m->in.ack_due = true;
    m->push.piece_count = 0;
    gv__own_view_changed(core);
}

void gv__gossip_tick(gv_ccore_t *core)
{
    if (core->gossip_ms > core->now_ms) {
        return;
    }
    core->gossip_ms = core->now_ms + core->timing.gossip;
    gv_member_t *peers[GV_NODES_MAX];
    uint32_t count = 0;
    gv__foreach_peer(core, m)
    {
        if (m->is_linked) {
            peers[count++] = m;
        }
    }
    if (count > 0) {
        peers[gv_rng_below(&core->rng, count)]->digest_due = true;
    }
}

void gv__gossip_flush(gv_ccore_t *core)
{
    gv__foreach_peer(core, m)
    {
        if (m->active != NULL) {
            flush_facts(core, m);
        }
    }
    flush_own_view(core);
    gv__foreach_peer(core, m)
    {
        flush_passed_view(core, m);
    }
}
