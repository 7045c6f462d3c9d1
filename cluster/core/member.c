/* SPDX-License-Identifier: Apache-2.0 */
#include "base/alloc.h"
#include "cluster/core/core_p.h"
#include "cluster/core/directory.h"

/*
 * Facts about members, and how they change.
 *
 * A fact is (incarnation, claim, state) of one node.  Facts are ordered: the newer incarnation
 * wins; within one, LEFT wins; then the higher claim; then the worse state.  Only the node itself
 * raises its claim, and only to contradict: so ALIVE under claim 5 refutes SUSPECT and DEAD under
 * claim 4, and everybody who is told an older fact answers with the newer one.
 *
 * Parts of this file: a member's life - state - evidence and suspicion - facts about others - facts
 * about ourselves - probes.
 */

#define PROBE_HELPERS     3U
#define FOREIGN_CLAIMS_OK 2U
#define FOREIGN_PAUSE_MS  5000U

/* ---- a member's life --------------------------------------------------------------------------
 */

gv_member_t *gv__member_by_id(const gv_ccore_t *core, const gv_node_id_t *id)
{
    for (size_t i = 0; i < core->member_end; i++) {
        if (core->members[i] != NULL && gv_node_id_equal(&core->members[i]->id, id)) {
            return core->members[i];
        }
    }
    return NULL;
}

static size_t free_index(const gv_ccore_t *core)
{
    size_t i = 0;
    while (i < GV_NODES_MAX && core->members[i] != NULL) {
        i++;
    }
    return i;
}

/* When all places are taken, the one that has been gone the longest makes room. */
static void forget_longest_gone(gv_ccore_t *core)
{
    gv_member_t *longest = NULL;
    gv__foreach_peer(core, m)
    {
        if (!gv__is_up(m->state) && m->active == NULL &&
            (longest == NULL || m->state_ms < longest->state_ms)) {
            longest = m;
        }
    }
    if (longest != NULL) {
        gv__member_forget(core, longest);
    }
}

gv_member_t *gv__member_add(gv_ccore_t *core, const gv_node_id_t *id, gv_incarnation_t incarnation)
{
    GV_ASSERT(gv__member_by_id(core, id) == NULL);
    size_t index = free_index(core);
    if (index == GV_NODES_MAX) {
        forget_longest_gone(core);
        index = free_index(core);
    }
    if (index == GV_NODES_MAX) {
        return NULL;
    }
    gv_member_t *m = GV_NEW(gv_member_t);
    m->index = (gv_node_index_t)index;
    m->id = *id;
    m->incarnation = incarnation;
    m->state = GV_MEMBER_ALIVE;
    m->state_ms = core->now_ms;
    m->fact_for = UINT64_MAX;
    m->alive_ms = core->now_ms;
    m->relay = GV_NODE_NONE;
    m->dial.backoff_ms = core->timing.dial_min;
    m->dial.next_ms = core->now_ms;
    gv__replica_init(core, &m->replica);
    gv__channel_out_init(&m->out);
    gv__channel_in_init(&m->in);
    gv__channel_out_restart(core, m);
    gv__channels_resume(core, m);
    core->members[index] = m;
    if (core->member_end <= index) {
        core->member_end = index + 1;
    }
    return m;
}

void gv__member_free(gv_ccore_t *core, gv_member_t *m)
{
    core->members[m->index] = NULL;
    while (core->member_end > 0 && core->members[core->member_end - 1] == NULL) {
        core->member_end--;
    }
    gv__replica_deinit(&m->replica);
    gv__channel_out_deinit(&m->out);
    gv__channel_in_deinit(&m->in);
    gv_free(m);
}

static void close_all_links(gv_ccore_t *core, const gv_member_t *m, gv_link_close_t reason)
{
    gv_list_foreach_safe (&core->links, l) {
        gv_peer_link_t *link = gv_container_of(l, gv_peer_link_t, _link);
        if (link->member == m) {
            gv__close(core, link, reason, gv_link_close_text(reason));
        }
    }
}

void gv__member_forget(gv_ccore_t *core, gv_member_t *m)
{
    uint64_t others = ~gv__bit(m);
    close_all_links(core, m, GV_LINK_CLOSE_STALE);
    gv__channel_out_abandon(core, m);
    gv__channels_part(core, m);
    gv__replica_purge(core, m);
    core->ports.node(m->index, GV_NODE_FORGOTTEN, core->ports.arg);
    gv_directory_forget_peer(core->directory, m->index);
    gv__report(core, GV_CCORE_EVENT_MEMBER, "'%s' is forgotten", m->name);
    for (size_t i = 0; i < core->seed_count; i++) {
        if (core->seeds[i].member == m->index) {
            core->seeds[i].member = GV_NODE_NONE;
        }
    }
    for (size_t i = 0; i < core->member_end; i++) {
        gv_member_t *other = core->members[i];
        if (other == NULL) {
            continue;
        }
        other->fact_for &= others;
        other->view_for &= others;
        other->view.known &= others;
        if (other->relay == m->index) {
            other->relay = GV_NODE_NONE;
        }
        if (other->replica.pull_from == m->index) {
            other->replica.pull_from = GV_NODE_NONE;
        }
    }
    gv__tombstones_mask(core, others, 0);
    gv__member_free(core, m);
}

/* ---- state ------------------------------------------------------------------------------------
 */

static void tell_host(gv_ccore_t *core, gv_member_t *m)
{
    bool is_routable =
        gv__is_up(m->state) || (core->switches.dead_stays_routable && m->state == GV_MEMBER_DEAD);
    if (is_routable != m->is_routable) {
        m->is_routable = is_routable;
        core->ports.node(m->index, is_routable ? GV_NODE_ROUTABLE : GV_NODE_HIDDEN,
                         core->ports.arg);
    }
}

void gv__member_set_state(gv_ccore_t *core, gv_member_t *m, gv_member_state_t state)
{
    if (m->state != state) {
        m->down_ms = gv__is_up(m->state) ? core->now_ms : m->down_ms;
        m->state = state;
        m->state_ms = core->now_ms;
        m->fact_for = UINT64_MAX;
        gv__report(core, GV_CCORE_EVENT_MEMBER, "'%s' is %s", m->name, gv_member_state_text(state));
        gv__own_view_changed(core);
    }
    if (gv__is_up(state)) {
        m->replica.is_purged = false;
    } else {
        gv__channel_out_abandon(core, m);
    }
    tell_host(core, m);
}

void gv__member_set_incarnation(gv_ccore_t *core, gv_member_t *m, gv_incarnation_t incarnation)
{
    bool is_other_life = m->incarnation.boot_id != incarnation.boot_id;
    m->incarnation = incarnation;
    m->claim = 0;
    m->alive_ms = core->now_ms;
    m->fact_for = UINT64_MAX;
    if (is_other_life) {
        m->view.known = 0;
        gv__channel_out_restart(core, m);
        gv__close_other_lives(core, m);
        gv__report(core, GV_CCORE_EVENT_MEMBER, "'%s' has restarted", m->name);
    }
    gv__member_set_state(core, m, GV_MEMBER_ALIVE);
}

/* ---- evidence and suspicion ---------------------------------------------------------------------
 */

void gv__member_evidence(gv_ccore_t *core, gv_member_t *m, uint64_t boot_id, uint64_t ago_ms)
{
    if (boot_id != m->incarnation.boot_id || ago_ms > core->now_ms) {
        return;
    }
    if (core->now_ms - ago_ms > m->alive_ms) {
        m->alive_ms = core->now_ms - ago_ms;
    }
}

/* Asks a few others, picked at random, whether they hear the node. */
static void probe_indirectly(gv_ccore_t *core, gv_member_t *m)
{
    m->probed_ms = core->now_ms;
    gv_peer_link_t *helpers[GV_NODES_MAX];
    uint32_t count = 0;
    gv__foreach_peer(core, helper)
    {
        if (helper != m && helper->is_linked) {
            helpers[count++] = helper->active;
        }
    }
    Gv__Probe probe = GV__PROBE__INIT;
    probe.node_id = gv_codec_put_id(&m->id);
    for (uint32_t asked = 0; asked < PROBE_HELPERS && count > 0; asked++) {
        uint32_t pick = gv_rng_below(&core->rng, count);
        gv__send(core, helpers[pick], GV_FRAME_PROBE, &probe.base);
        helpers[pick] = helpers[--count];
    }
}

/* A broken link is a nearly free early hint: a process that was killed has its links reset. */
void gv__member_link_lost(gv_ccore_t *core, gv_member_t *m)
{
    if (m->state == GV_MEMBER_ALIVE) {
        gv__member_set_state(core, m, GV_MEMBER_SUSPECT);
    }
}

void gv__members_forgive_silence(gv_ccore_t *core)
{
    gv__foreach_peer(core, m)
    {
        m->alive_ms = core->now_ms;
        if (m->state == GV_MEMBER_SUSPECT) {
            m->state_ms = core->now_ms;
        }
    }
}

static void watch(gv_ccore_t *core, gv_member_t *m)
{
    const gv_ccore_timing_t *timing = &core->timing;
    uint64_t silent_ms = gv__since(core, m->alive_ms);
    if (silent_ms > timing->silence && gv__since(core, m->probed_ms) >= timing->probe / 2) {
        probe_indirectly(core, m);
    }
    if (m->state == GV_MEMBER_ALIVE && silent_ms > (uint64_t)timing->silence + timing->probe) {
        gv__member_set_state(core, m, GV_MEMBER_SUSPECT);
    } else if (m->state == GV_MEMBER_SUSPECT && gv__since(core, m->state_ms) >= timing->suspect) {
        gv__member_set_state(core, m, GV_MEMBER_DEAD);
    }
}

static void outlive(gv_ccore_t *core, gv_member_t *m)
{
    uint64_t gone_ms = gv__since(core, m->state_ms);
    /*
     * When a long partition heals, the others say of those on our side that they have been dead for
     * hours.  That is refuted in no time, and until then their rows stay.
     */
    if (gv__since(core, m->down_ms) >= core->timing.purge && !m->replica.is_purged) {
        gv__replica_purge(core, m);
        m->replica.is_purged = true;
    }
    if (gone_ms >= core->timing.forget && m->active == NULL) {
        gv__member_forget(core, m);
    }
}

void gv__members_tick(gv_ccore_t *core)
{
    gv__foreach_peer(core, m)
    {
        if (gv__is_up(m->state)) {
            watch(core, m);
        } else {
            outlive(core, m);
        }
    }
}

/* ---- facts about others -------------------------------------------------------------------------
 */

/* One decoded fact. */
typedef struct fact {
    gv_node_id_t id;
    gv_incarnation_t incarnation;
    uint32_t claim;
    gv_member_state_t state;
    uint64_t age_ms;
    char name[GV_NODE_NAME_MAX + 1];
    char address[GV_NODE_ADDRESS_MAX + 1];
} fact_t;

static bool decode_fact(const Gv__Fact *msg, fact_t *fact)
{
    fact->incarnation = (gv_incarnation_t){msg->start_counter, msg->boot_id};
    fact->claim = msg->claim;
    fact->state = (gv_member_state_t)msg->state;
    fact->age_ms = msg->age_ms;
    return gv_codec_get_id(&msg->node_id, &fact->id) &&
           gv_codec_get_text(msg->name, fact->name, sizeof(fact->name)) &&
           gv_codec_get_text(msg->address, fact->address, sizeof(fact->address)) &&
           msg->start_counter <= GV_COUNTER_MAX && msg->claim <= CLAIM_MAX &&
           msg->state >= GV__MEMBER_STATE__MEMBER_ALIVE &&
           msg->state <= GV__MEMBER_STATE__MEMBER_LEFT;
}

/* -1, 0, 1: whether the fact is older or newer than what we know. */
static int compare_fact(const fact_t *fact, const gv_member_t *m)
{
    int order = gv_incarnation_compare(fact->incarnation, m->incarnation);
    if (order != 0) {
        return order;
    }
    bool fact_left = fact->state == GV_MEMBER_LEFT;
    bool left = m->state == GV_MEMBER_LEFT;
    if (fact_left || left) {
        return (int)fact_left - (int)left;
    }
    if (fact->claim != m->claim) {
        return fact->claim < m->claim ? -1 : 1;
    }
    return fact->state == m->state ? 0 : (fact->state < m->state ? -1 : 1);
}

static void take_names(gv_member_t *m, const fact_t *fact)
{
    memcpy(m->name, fact->name, sizeof(m->name));
    /* Who listens on all addresses does not know its own; its peers saw where it was. */
    if (fact->address[0] != '\0') {
        memcpy(m->address, fact->address, sizeof(m->address));
    }
}

/*
 * A node we did not know.  One that is gone is taken only if it went not long ago: else nodes that
 * have forgotten it and nodes that have not would teach it to each other for ever.
 */
static gv_member_t *meet(gv_ccore_t *core, const fact_t *fact)
{
    if (!gv__is_up(fact->state) && fact->age_ms > core->timing.forget / 2) {
        return NULL;
    }
    gv_member_t *m = gv__member_add(core, &fact->id, fact->incarnation);
    if (m == NULL) {
        gv__report(core, GV_CCORE_EVENT_REFUSED_PEER, "no room for '%s': %u members already",
                   fact->name, GV_NODES_MAX);
        return NULL;
    }
    take_names(m, fact);
    m->claim = fact->claim;
    /* Both hear of each other now; the lower id dials first, and its link is the one that stays. */
    if (memcmp(gv__self(core)->id.bytes, m->id.bytes, GV_NODE_ID_SIZE) > 0) {
        m->dial.next_ms += (uint64_t)core->timing.dial_min * 3;
    }
    gv__member_set_state(core, m, fact->state);
    return m;
}

static void backdate(const gv_ccore_t *core, gv_member_t *m, uint64_t age_ms)
{
    if (!gv__is_up(m->state)) {
        m->state_ms = core->now_ms - (age_ms < core->now_ms ? age_ms : core->now_ms);
    }
}

static void adopt(gv_ccore_t *core, gv_member_t *m, const fact_t *fact)
{
    gv_member_state_t state = fact->state;
    if (gv_incarnation_compare(fact->incarnation, m->incarnation) != 0) {
        gv__member_set_incarnation(core, m, fact->incarnation);
        take_names(m, fact);
    } else if (state == GV_MEMBER_DEAD && m->is_linked) {
        /* We hear it this very moment.  It is told, and will refute under a higher claim. */
        state = GV_MEMBER_SUSPECT;
    }
    if (fact->claim > m->claim) {
        m->claim = fact->claim;
        m->fact_for = UINT64_MAX;
        if (state == GV_MEMBER_ALIVE) {
            m->alive_ms = core->now_ms; /* only the node itself raises its claim */
        }
    }
    gv__member_set_state(core, m, state);
    backdate(core, m, fact->age_ms);
}

/* ---- facts about ourselves ----------------------------------------------------------------------
 */

void gv__raise_start_counter(gv_ccore_t *core, gv_incarnation_t seen)
{
    gv_member_t *self = gv__self(core);
    if (core->switches.no_refute) {
        return;
    }
    if (seen.boot_id != self->incarnation.boot_id) {
        /* Once or twice peers may remember an earlier life; a dead one does not raise its counter.
         */
        if (core->foreign_claims >= FOREIGN_CLAIMS_OK) {
            if (gv__since(core, core->foreign_ms) < FOREIGN_PAUSE_MS) {
                return;
            }
            gv__report(core, GV_CCORE_EVENT_DUPLICATE_IDENTITY, "%s",
                       "another live process uses this node's id (a copied data directory?)");
        }
        core->foreign_claims++;
        core->foreign_ms = core->now_ms;
    }
    self->incarnation.start_counter = seen.start_counter + 1;
    self->claim = 0;
    self->fact_for = UINT64_MAX;
    self->replica.table.incarnation = self->incarnation;
    core->stats.refutations++;
    core->ports.start_counter(self->incarnation.start_counter, core->ports.arg);
}

void gv__refute(gv_ccore_t *core, const gv_member_t *teller, gv_incarnation_t incarnation,
                uint32_t claim)
{
    gv_member_t *self = gv__self(core);
    int order = gv_incarnation_compare(incarnation, self->incarnation);
    if (order > 0) {
        gv__raise_start_counter(core, incarnation);
    } else if (order < 0 || claim < self->claim || self->state == GV_MEMBER_LEFT) {
        self->fact_for |= gv__bit(teller);
    } else if (!core->switches.no_refute) {
        self->claim = claim + 1;
        self->fact_for = UINT64_MAX;
        core->stats.refutations++;
    }
}

static void hear_about_ourselves(gv_ccore_t *core, const gv_member_t *teller, const fact_t *fact)
{
    gv_member_t *self = gv__self(core);
    bool is_known = gv_incarnation_compare(fact->incarnation, self->incarnation) == 0 &&
                    fact->claim == self->claim && fact->state == self->state;
    if (!is_known) {
        gv__refute(core, teller, fact->incarnation, fact->claim);
    }
}

bool gv__on_facts(gv_ccore_t *core, gv_peer_link_t *link, const Gv__Facts *msg)
{
    gv_member_t *teller = link->member;
    if (msg->n_facts > GV_NODES_MAX || msg->n_forgotten > GV_NODES_MAX) {
        return false;
    }
    for (size_t i = 0; i < msg->n_forgotten; i++) {
        if (!gv__on_forgotten(core, teller, msg->forgotten[i])) {
            return false;
        }
    }
    for (size_t i = 0; i < msg->n_facts; i++) {
        fact_t fact;
        if (!decode_fact(msg->facts[i], &fact)) {
            return false;
        }
        gv_member_t *m = gv__member_by_id(core, &fact.id);
        bool is_forgotten =
            gv__is_forgotten(core, teller, &fact.id, fact.incarnation, fact.claim, fact.state);
        if (m == NULL) {
            m = is_forgotten ? NULL : meet(core, &fact);
            if (m != NULL) {
                backdate(core, m, fact.age_ms);
                m->fact_for &= ~gv__bit(teller);
            }
        } else if (m->index == GV_NODE_SELF) {
            hear_about_ourselves(core, teller, &fact);
        } else {
            int order = compare_fact(&fact, m);
            if (order > 0) {
                adopt(core, m, &fact);
                order = compare_fact(&fact, m); /* a fact may be taken in a milder form */
            }
            if (order < 0) {
                m->fact_for |= gv__bit(teller);
            } else if (order == 0) {
                m->fact_for &= ~gv__bit(teller);
            }
        }
    }
    return true;
}

/* ---- probes -------------------------------------------------------------------------------------
 */

bool gv__on_probe(gv_ccore_t *core, gv_peer_link_t *link, const Gv__Probe *msg)
{
    gv_node_id_t id;
    if (!gv_codec_get_id(&msg->node_id, &id)) {
        return false;
    }
    const gv_member_t *m = gv__member_by_id(core, &id);
    if (m == NULL || !m->was_heard) {
        return true;
    }
    /* Heartbeats flow on all links all the time, so the answer is known without another ping. */
    Gv__ProbeAnswer answer = GV__PROBE_ANSWER__INIT;
    answer.node_id = msg->node_id;
    answer.boot_id = m->incarnation.boot_id;
    uint64_t heard_ms = gv__since(core, m->heard_ms);
    answer.heard_ms = heard_ms < UINT32_MAX ? (uint32_t)heard_ms + 1 : UINT32_MAX;
    gv__send(core, link, GV_FRAME_PROBE_ANSWER, &answer.base);
    return true;
}

bool gv__on_probe_answer(gv_ccore_t *core, gv_peer_link_t *link, const Gv__ProbeAnswer *msg)
{
    (void)link;
    gv_node_id_t id;
    if (!gv_codec_get_id(&msg->node_id, &id)) {
        return false;
    }
    gv_member_t *m = gv__member_by_id(core, &id);
    if (m != NULL && msg->heard_ms > 0) {
        gv__member_evidence(core, m, msg->boot_id, msg->heard_ms - 1);
    }
    return true;
}
