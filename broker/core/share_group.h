/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_share_group: the targets of one `$share/GROUP/FILTER`, and the choice among them.  Part of the
 * router (router.h), which finds a group by its whole text and from the routes of FILTER.
 *
 * The members are an immutable array behind one pointer: a change builds the next one aside, stores
 * the pointer, and retires the old one.  A reader chooses among the members of one moment.
 *
 * Threads: gv_share_group_pick(), _pick_other() and _text() from any thread in a read section, the
 * rest by the writer.  Memory: 16 bytes and the text, and 12 bytes per target.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/defs.h"
#include "broker/core/router.h"
#include "broker/core/shared_heap.h"
#include "broker/core/slot_table.h"

typedef struct gv_share_members gv_share_members_t;

/* Public so that the router's table can compare its text. */
typedef struct gv_share_group {
    gv_slot_key_t key; /* of the text */
    uint16_t text_size;
    _Atomic(gv_share_members_t *) _members; /* NULL only before the first target */
    uint8_t text[];                         /* "$share/GROUP/FILTER" */
} gv_share_group_t;

/* A group without targets; text.size at most 65535. */
gv_share_group_t *gv_share_group_new(gv_shared_heap_t *heap, gv_bytes_t text, uint32_t hash);

/* With its members: retired when readers may see it, freed at once when nobody reads any more. */
void gv_share_group_retire(gv_share_group_t *group, gv_shared_heap_t *heap);
void gv_share_group_free(gv_share_group_t *group, gv_shared_heap_t *heap);

static inline gv_bytes_t gv_share_group_text(const gv_share_group_t *group)
{
    return gv_bytes(group->text, group->text_size);
}

/* Adds or replaces a target.  True: it was not there before. */
bool gv_share_group_set(gv_share_group_t *group, gv_shared_heap_t *heap, gv_route_target_t target);

typedef enum gv_share_unset {
    GV_SHARE_UNSET_ABSENT,  /* there was no such target */
    GV_SHARE_UNSET_REMOVED, /* others are left */
    GV_SHARE_UNSET_LAST,    /* it is the only one, and still there: retire the whole group */
} gv_share_unset_t;

gv_share_unset_t gv_share_group_unset(gv_share_group_t *group, gv_shared_heap_t *heap,
                                      gv_route_kind_t kind, uint8_t index);

/* The targets, as bits: shards of this node, and other nodes. */
void gv_share_group_targets(const gv_share_group_t *group, uint64_t *shards_out,
                            uint64_t *nodes_out);

gv_router_local_t gv_share_group_local(const gv_share_group_t *group);

/* Adds the chosen target to `out`; false: none is eligible.  See gv_router_match(). */
bool gv_share_group_pick(const gv_share_group_t *group, uint64_t nodes_alive_mask, uint32_t random,
                         gv_matches_t *out);
bool gv_share_group_pick_other(const gv_share_group_t *group, const gv_share_wish_t *wish,
                               gv_matches_t *out);
