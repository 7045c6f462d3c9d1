/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/core/core_p.h"

/*
 * Arrival: when a node that has just started is in step with the others, so that its host may take
 * clients.
 *
 * It has arrived when it knows who the members are, has the routes of each that is alive, and each
 * of them has its routes and waits for it before it answers a SUBACK.  A publish then goes to
 * whoever wants it, here and there.  Who is suspect, dead or gone is not waited for.
 *
 * A peer has told us whom it knows once the digest has come that it sends on each new link: facts
 * go before it.  Nobody may have told anybody yet when all nodes start at once; so each seed is
 * tried before those who have answered count as all there are.
 */

/* The link may be of a life that we do not take for the current one yet: it says this only once. */
void gv__arrival_told(gv_ccore_t *core, const gv_peer_link_t *link)
{
    link->member->told_boot_id = link->boot_id;
    core->is_introduced = true;
}

/* Whether the seed is a member we know, and so is judged as one. */
static bool is_known(const gv_ccore_t *core, const gv_seed_t *seed)
{
    if (seed->member != GV_NODE_NONE) {
        return true;
    }
    gv__foreach_peer(core, m)
    {
        if (strcmp(m->address, seed->address) == 0 && !gv__is_remembered(m)) {
            return true;
        }
    }
    return false;
}

/* Whether there is somebody to ask, and whether all who can be asked have been. */
static bool are_seeds_through(const gv_ccore_t *core)
{
    bool has_others = false;
    for (size_t i = 0; i < core->seed_count; i++) {
        const gv_seed_t *seed = &core->seeds[i];
        if (seed->is_self || strcmp(seed->address, gv__self(core)->address) == 0) {
            continue;
        }
        has_others = true;
        if (!seed->was_tried && !is_known(core, seed)) {
            return false;
        }
    }
    return !has_others || core->is_introduced;
}

/* Those of an earlier run are dead until they turn up, and that takes a try. */
static bool are_remembered_tried(const gv_ccore_t *core)
{
    gv__foreach_peer(core, m)
    {
        if (gv__is_remembered(m) && !m->was_tried && m->address[0] != '\0') {
            return false;
        }
    }
    return true;
}

static bool is_in_step(const gv_ccore_t *core, const gv_member_t *m)
{
    const gv_replica_t *replica = &m->replica;
    bool has_their_rows = replica->is_complete && !replica->wants_snapshot &&
                          gv_incarnation_compare(replica->table.incarnation, m->incarnation) == 0;
    bool is_reached = m->is_linked ? m->told_boot_id == m->incarnation.boot_id &&
                                         m->view.rows[GV_NODE_SELF].is_linked
                                   : gv__path(core, m) != NULL;
    return is_reached && has_their_rows && gv__has_our_rows(core, m);
}

bool gv_ccore_has_arrived(const gv_ccore_t *core)
{
    if (!are_seeds_through(core) || !are_remembered_tried(core)) {
        return false;
    }
    gv__foreach_peer(core, m)
    {
        if (m->state == GV_MEMBER_ALIVE && !is_in_step(core, m)) {
            return false;
        }
    }
    return true;
}
