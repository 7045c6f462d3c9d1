/* SPDX-License-Identifier: Apache-2.0 */
#include "base/alloc.h"
#include "cluster/core/core_p.h"

/*
 * Notes: what the hosts of two linked nodes say to each other, carried and not looked at.
 */

typedef struct note {
    gv_link_t link;
    gv_node_index_t node;
    gv_frame_kind_t kind;
    size_t size;
    uint8_t body[];
} note_t;

bool gv_ccore_note(gv_ccore_t *core, gv_node_index_t node, gv_frame_kind_t kind, gv_bytes_t body)
{
    GV_ASSERT(!core->in_port_phase);
    GV_ASSERT(node < GV_NODES_MAX);
    GV_ASSERT(gv_frame_is_note(kind));
    GV_ASSERT(body.size <= GV_FRAME_BODY_MAX);
    const gv_member_t *m = core->members[node];
    if (m == NULL || !m->is_linked) {
        return false;
    }
    note_t *note = gv_xalloc(sizeof(*note) + body.size);
    *note = (note_t){.node = node, .kind = kind, .size = body.size};
    memcpy(note->body, body.data, body.size);
    gv_list_append(&core->notes, &note->link);
    return true;
}

void gv__notes_flush(gv_ccore_t *core)
{
    for (gv_link_t *link; (link = gv_list_take_first(&core->notes)) != NULL;) {
        note_t *note = gv_container_of(link, note_t, link);
        const gv_member_t *m = core->members[note->node];
        if (m != NULL && m->is_linked) {
            core->ports.send(m->active->id, GV_LINK_DATA, note->kind,
                             gv_bytes(note->body, note->size), core->ports.arg);
        }
        gv_free(note);
    }
}

void gv__notes_deinit(gv_ccore_t *core)
{
    for (gv_link_t *link; (link = gv_list_take_first(&core->notes)) != NULL;) {
        gv_free(gv_container_of(link, note_t, link));
    }
}
