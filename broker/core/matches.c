/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/matches.h"

#include "base/alloc.h"

void gv_matches_init(gv_matches_t *matches)
{
    *matches = (gv_matches_t){0};
}

void gv_matches_deinit(gv_matches_t *matches)
{
    gv_free(matches->hits);
    gv_free(matches->node_shares);
    *matches = (gv_matches_t){0};
}

void gv_matches_clear(gv_matches_t *out)
{
    out->shards = 0;
    out->nodes = 0;
    out->lasting_nodes = 0;
    out->hit_count = 0;
    out->node_share_count = 0;
    out->nodes_visited = 0;
}

void gv_matches_grow_hits(gv_matches_t *out)
{
    size_t capacity = out->_hit_capacity > 0 ? out->_hit_capacity * 2 : 16;
    out->hits = gv_xrealloc(out->hits, capacity * sizeof(*out->hits));
    out->_hit_capacity = capacity;
}

static void grow_node_shares(gv_matches_t *out)
{
    size_t capacity = out->_node_share_capacity > 0 ? out->_node_share_capacity * 2 : 8;
    out->node_shares = gv_xrealloc(out->node_shares, capacity * sizeof(*out->node_shares));
    out->_node_share_capacity = capacity;
}

void gv_matches_add_node_share(gv_matches_t *out, uint8_t node, gv_bytes_t filter)
{
    if (out->node_share_count == out->_node_share_capacity) {
        grow_node_shares(out);
    }
    out->node_shares[out->node_share_count++] =
        (gv_route_node_share_t){.filter = filter, .node = node};
}
