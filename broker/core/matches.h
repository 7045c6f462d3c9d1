/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Filling gv_matches_t: the router's side of the answer that router.h shows to its callers.
 *
 * Threads: a gv_matches_t belongs to one reader.  Memory: the arrays double when they are full.
 */

#include <stdint.h>

#include "base/bytes.h"
#include "broker/core/router.h"

/* Empties the answer and keeps its arrays. */
void gv_matches_clear(gv_matches_t *out);

void gv_matches_grow_hits(gv_matches_t *out);

static inline void gv_matches_add_hit(gv_matches_t *out, uint8_t shard, uint32_t slot)
{
    if (out->hit_count == out->_hit_capacity) {
        gv_matches_grow_hits(out);
    }
    out->hits[out->hit_count++] = (gv_route_hit_t){.slot = slot, .shard = shard};
    out->shards |= (uint64_t)1 << shard;
}

/* The view must stay valid as long as the read section. */
void gv_matches_add_node_share(gv_matches_t *out, uint8_t node, gv_bytes_t filter);
