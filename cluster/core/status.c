/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/core/core_p.h"

/* Looking in: nothing here changes anything. */

static const gv_member_t *member_at(const gv_ccore_t *core, gv_node_index_t node)
{
    return node < GV_NODES_MAX ? core->members[node] : NULL;
}

const gv_ccore_stats_t *gv_ccore_stats(const gv_ccore_t *core)
{
    return &core->stats;
}

uint64_t gv_ccore_members(const gv_ccore_t *core)
{
    uint64_t mask = 0;
    for (size_t i = 0; i < core->member_end; i++) {
        mask |= core->members[i] != NULL ? gv__bit(core->members[i]) : 0;
    }
    return mask;
}

uint64_t gv_ccore_routable(const gv_ccore_t *core)
{
    uint64_t mask = 0;
    gv__foreach_peer(core, m)
    {
        mask |= m->is_routable ? gv__bit(m) : 0;
    }
    return mask;
}

gv_node_index_t gv_ccore_index_of(const gv_ccore_t *core, const gv_node_id_t *id)
{
    const gv_member_t *m = gv__member_by_id(core, id);
    return m == NULL ? GV_NODE_NONE : m->index;
}

static uint64_t view_age_ms(const gv_ccore_t *core, const gv_member_t *m)
{
    if (m->index == GV_NODE_SELF) {
        return 0;
    }
    return m->view.seq == 0 ? UINT64_MAX : gv__since(core, m->view.received_ms);
}

bool gv_ccore_member(const gv_ccore_t *core, gv_node_index_t node, gv_member_status_t *status_out)
{
    *status_out = (gv_member_status_t){.relay = GV_NODE_NONE};
    const gv_member_t *m = member_at(core, node);
    if (m == NULL) {
        return false;
    }
    bool is_self = node == GV_NODE_SELF;
    status_out->id = m->id;
    memcpy(status_out->name, m->name, sizeof(status_out->name));
    memcpy(status_out->address, m->address, sizeof(status_out->address));
    status_out->view = gv__view_of(core, m);
    if (is_self) {
        status_out->view.is_linked = true;
        status_out->view.heard_ms = 0;
    }
    status_out->view_age_ms = view_age_ms(core, m);
    status_out->table_bytes = gv_table_bytes(&m->replica.table);
    status_out->acked_seq = m->push.acked_seq;
    status_out->forward_queued_messages = m->out.queue_count;
    status_out->forward_queued_bytes = m->out.queue_bytes;
    status_out->relay = m->is_linked ? GV_NODE_NONE : m->relay;
    status_out->has_path = is_self || gv__path(core, m) != NULL;
    return true;
}

bool gv_ccore_view(const gv_ccore_t *core, gv_node_index_t viewer, gv_node_index_t node,
                   gv_node_view_t *view_out)
{
    const gv_member_t *v = member_at(core, viewer);
    const gv_member_t *m = member_at(core, node);
    *view_out = (gv_node_view_t){.heard_ms = UINT32_MAX};
    if (v == NULL || m == NULL) {
        return false;
    }
    if (viewer == GV_NODE_SELF || viewer == node) {
        *view_out = gv__view_of(core, m);
        return viewer == GV_NODE_SELF;
    }
    if ((v->view.known & gv__bit(m)) == 0) {
        return false;
    }
    *view_out = v->view.rows[node];
    return true;
}

uint32_t gv_ccore_route_value(const gv_ccore_t *core, gv_node_index_t node, gv_bytes_t key)
{
    const gv_member_t *m = member_at(core, node);
    const gv_row_t *row = m == NULL ? NULL : gv_table_find(&m->replica.table, key);
    return row == NULL ? 0 : row->value;
}

bool gv_ccore_route_next(const gv_ccore_t *core, gv_node_index_t node, uint64_t *cursor,
                         gv_bytes_t *key_out, uint32_t *value_out)
{
    const gv_member_t *m = member_at(core, node);
    if (m == NULL) {
        return false;
    }
    const gv_table_t *table = &m->replica.table;
    const gv_row_t *row = gv_table_after(table, *cursor);
    while (row != NULL && row->value == 0) {
        row = gv_table_next(table, row);
    }
    if (row == NULL) {
        return false;
    }
    *cursor = row->seq;
    *key_out = gv_row_key(row);
    *value_out = row->value;
    return true;
}

bool gv_ccore_is_synced(const gv_ccore_t *core)
{
    gv__foreach_peer(core, m)
    {
        if (m->is_linked && m->state == GV_MEMBER_ALIVE &&
            (!m->replica.is_complete ||
             gv_incarnation_compare(m->replica.table.incarnation, m->incarnation) != 0)) {
            return false;
        }
    }
    return true;
}
