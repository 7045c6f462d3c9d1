/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/core/core_p.h"

/*
 * Members of an earlier run.
 *
 * A node that starts while another is away has to know what that one's sessions wait for, and
 * perhaps nobody is there to tell.  So its host remembers the members and those of their rows that
 * matter when they are away, and says so before anything is heard of anybody.
 *
 * Such a member is dead, in a life before all lives (the incarnation is zero), and its table is an
 * incomplete copy of that life's: whatever anybody says about it is newer, and the first copy of a
 * real table replaces the remembered rows.  Until then the rows are neither compared with anybody's
 * nor passed on.
 */

static const gv_incarnation_t before_all;

bool gv__is_remembered(const gv_member_t *m)
{
    return gv_incarnation_compare(m->incarnation, before_all) == 0;
}

gv_node_index_t gv_ccore_remember(gv_ccore_t *core, const gv_remembered_t *member)
{
    GV_ASSERT(!core->in_port_phase);
    if (gv__member_by_id(core, &member->id) != NULL) {
        return GV_NODE_NONE;
    }
    gv_member_t *m = gv__member_add(core, &member->id, before_all);
    if (m == NULL) {
        return GV_NODE_NONE;
    }
    memcpy(m->name, member->name, sizeof(m->name));
    memcpy(m->address, member->address, sizeof(m->address));
    m->state = GV_MEMBER_DEAD; /* the host knows: it is not told */
    m->down_ms = core->now_ms - (member->gone_ms < core->now_ms ? member->gone_ms : core->now_ms);
    m->state_ms = m->down_ms;
    return m->index;
}

gv_err_t gv_ccore_remember_row(gv_ccore_t *core, gv_node_index_t node, gv_bytes_t key,
                               uint32_t value)
{
    GV_ASSERT(!core->in_port_phase);
    gv_member_t *m = core->members[node];
    GV_ASSERT(m != NULL);
    GV_ASSERT(gv__is_remembered(m));
    GV_ASSERT(value != 0);
    if (key.size == 0 || key.size > GV_ROUTE_KEY_MAX) {
        return GV_ERR_LIMIT;
    }
    gv_table_t *table = &m->replica.table;
    if (table->live_count >= core->limits.table_rows ||
        gv_table_bytes(table) > core->limits.table_bytes) {
        return GV_ERR_LIMIT;
    }
    uint32_t before;
    return gv_table_put(table, key, value, table->seq + 1, &before);
}
