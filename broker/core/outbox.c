/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parts: boxes - putting - nodes - the turn - life.  To the disk and back: outbox_write.c; to the
 * other node: outbox_send.c.
 */
#define GV_MEMORY_OF GV_MEMORY_LOG

#include "broker/core/outbox.h"

#include <inttypes.h>

#include "base/alloc.h"
#include "base/log.h"
#include "broker/core/outbox_p.h"
#include "cluster/core/forward_codec.h"

/*
 * So many records of a spool may be on their way to the disk; what comes meanwhile shares the next.
 */
#define WRITES_MAX 2U

/* What may wait in memory for a spool that is nearly empty, while its node is there [bytes]. */
#define HELD_BYTES_MAX ((size_t)4 << 20)

/* In both boxes of a node: the limit is for what it takes on this disk. */
static uint64_t bytes_for(const gv_outbox_t *outbox, gv_node_index_t node)
{
    uint64_t messages = 0;
    uint64_t bytes = 0;
    gv_outbox_waiting(outbox, node, &messages, &bytes);
    return bytes;
}

static void show(gv_outbox_t *outbox)
{
    uint64_t messages = 0;
    uint64_t bytes = 0;
    uint64_t full = 0;
    for (size_t i = 0; i < outbox->box_count; i++) {
        const gv_outbox_box_t *box = outbox->boxes[i];
        messages += box->messages;
        bytes += box->bytes;
        if (box->node != GV_NODE_NONE && bytes_for(outbox, box->node) >= outbox->bytes_max) {
            full |= (uint64_t)1 << box->node;
        }
    }
    gv_counter_set(&outbox->stats.messages, messages);
    gv_counter_set(&outbox->stats.bytes, bytes);
    atomic_store_explicit(outbox->nodes_full, full, memory_order_relaxed);
}

/* ---- boxes ----------------------------------------------------------------------------------- */

static gv_outbox_box_t *find_box(const gv_outbox_t *outbox, const gv_node_id_t *id,
                                 gv_outbox_kind_t kind)
{
    for (size_t i = 0; i < outbox->box_count; i++) {
        gv_outbox_box_t *box = outbox->boxes[i];
        if (box->kind == kind && memcmp(&box->id, id, sizeof(*id)) == 0) {
            return box;
        }
    }
    return NULL;
}

static gv_outbox_box_t *box_for(gv_outbox_t *outbox, const gv_node_id_t *id, gv_outbox_kind_t kind)
{
    gv_outbox_box_t *box = find_box(outbox, id, kind);
    if (box == NULL) {
        box = GV_NEW(gv_outbox_box_t);
        box->id = *id;
        box->kind = kind;
        box->node = GV_NODE_NONE;
        gv_list_init(&box->records);
        outbox->boxes =
            gv_xrealloc(outbox->boxes, (outbox->box_count + 1) * sizeof(outbox->boxes[0]));
        outbox->boxes[outbox->box_count++] = box;
    }
    return box;
}

gv_outbox_box_t *gv__outbox_box_of(const gv_outbox_t *outbox, gv_node_index_t node,
                                   gv_outbox_kind_t kind)
{
    bool is_known = node < GV_NODES_MAX && outbox->nodes[node].is_known;
    return is_known ? find_box(outbox, &outbox->nodes[node].id, kind) : NULL;
}

static void box_free(gv_outbox_t *outbox, gv_outbox_box_t *box)
{
    for (gv_link_t *link; (link = gv_list_first(&box->records)) != NULL;) {
        gv__outbox_record_free(gv_container_of(link, gv_outbox_record_t, link));
    }
    gv__outbox_drop_gathered(box);
    size_t at = 0;
    while (outbox->boxes[at] != box) {
        at++;
    }
    outbox->boxes[at] = outbox->boxes[--outbox->box_count];
    gv_free(box);
}

/* ---- putting --------------------------------------------------------------------------------- */

static void refuse(gv_outbox_t *outbox, uint64_t token)
{
    gv_counter_add(&outbox->stats.refused, 1);
    outbox->ports.answered(outbox->ports.arg, token, true);
}

gv_outbox_kept_t gv__outbox_encode(const gv_outbox_t *outbox, const gv_forward_t *message,
                                   uint64_t token)
{
    gv_forward_t plain = *message;
    plain.shared_count = 0;
    size_t size = gv_forward_size(&plain);
    gv_outbox_kept_t kept = {.body = gv_xalloc(size), .size = size, .token = token};
    gv_forward_encode(&plain, kept.body, size);
    if (message->expiry_ms != GV_FORWARD_NO_EXPIRY) {
        kept.expires_at_ms = outbox->ports.realtime_ms(outbox->ports.arg) + message->expiry_ms;
    }
    return kept;
}

bool gv__outbox_has_room(const gv_outbox_t *outbox, gv_node_index_t node, size_t size)
{
    return bytes_for(outbox, node) + size <= outbox->bytes_max && !gv_store_is_full(outbox->store);
}

gv_outbox_box_t *gv__outbox_spool_for(gv_outbox_t *outbox, gv_node_index_t node)
{
    gv_outbox_box_t *box = box_for(outbox, &outbox->nodes[node].id, GV_OUTBOX_SPOOL);
    box->node = node;
    return box;
}

static void put(gv_outbox_t *outbox, gv_node_index_t node, gv_outbox_kind_t kind,
                const gv_outbox_kept_t *kept)
{
    gv_outbox_box_t *box = box_for(outbox, &outbox->nodes[node].id, kind);
    box->node = node;
    if (box->gathered_count == 0) {
        box->gathered_ms = outbox->ports.monotonic_ms(outbox->ports.arg);
    }
    gv__outbox_gather(box, kept);
    box->messages++;
    box->bytes += kept->size;
}

void gv_outbox_put(gv_outbox_t *outbox, gv_node_index_t node, const gv_forward_t *message,
                   uint64_t token)
{
    GV_ASSERT(node < GV_NODES_MAX);
    GV_ASSERT(outbox->nodes[node].is_known);
    gv_outbox_kept_t kept = gv__outbox_encode(outbox, message, token);
    if (outbox->is_finished || !gv__outbox_has_room(outbox, node, kept.size)) {
        gv_free(kept.body);
        refuse(outbox, token);
        return;
    }
    put(outbox, node, GV_OUTBOX_SPOOL, &kept);
}

void gv_outbox_put_exact(gv_outbox_t *outbox, gv_node_index_t node, const gv_forward_t *message,
                         const gv_outbox_join_t *join, uint64_t token)
{
    GV_ASSERT(node < GV_NODES_MAX);
    if (outbox->is_finished) {
        refuse(outbox, token); /* a join that stays incomplete fails by itself */
        return;
    }
    gv_outbox_kept_t kept = gv__outbox_encode(outbox, message, token);
    kept.join = join != NULL ? join->join : 0;
    kept.join_parts = join != NULL ? join->parts : 0;
    bool may_put = outbox->nodes[node].is_known && gv__outbox_has_room(outbox, node, kept.size);
    if (join == NULL && !may_put) {
        gv_free(kept.body);
        refuse(outbox, token);
        return;
    }
    if (outbox->nodes[node].is_known) {
        put(outbox, node, GV_OUTBOX_EXACT, &kept);
        return;
    }
    gv_free(kept.body); /* forgotten meanwhile */
    gv__outbox_write_nothing(outbox, &kept);
}

/* ---- nodes ----------------------------------------------------------------------------------- */

static void forget(gv_outbox_t *outbox, gv_outbox_box_t *box)
{
    if (box->messages > 0) {
        gv_log_info("outbox_forgotten", "messages=%" PRIu64 " bytes=%" PRIu64, box->messages,
                    box->bytes);
    }
    gv_counter_add(&outbox->stats.lost, box->messages - box->gathered_count);
    for (size_t i = 0; i < box->gathered_count; i++) {
        if (box->gathered[i].join != 0) {
            gv__outbox_write_nothing(outbox, &box->gathered[i]);
        } else {
            outbox->ports.answered(outbox->ports.arg, box->gathered[i].token, false);
        }
    }
    gv_list_foreach_safe (&box->records, link) {
        gv_outbox_record_t *record = gv_container_of(link, gv_outbox_record_t, link);
        if (record->missing > 0) {
            gv__outbox_free_slot(outbox, record);
        }
        if (record->insured != NULL) {
            gv__outbox_forget_insured(outbox, record);
        }
        if (record->state != GV_OUTBOX_WRITING && record->place.number != 0) {
            gv__outbox_delete(outbox, &record->place);
        }
        if (record->state == GV_OUTBOX_WRITING || record->state == GV_OUTBOX_LOADING) {
            gv_list_remove(link);
            record->box = NULL;
            gv_list_append(&outbox->orphans, link);
        }
    }
    box_free(outbox, box);
}

/* What is on disk is not kept in memory for a node that is away. */
static void drop_images(gv_outbox_box_t *box)
{
    gv_list_foreach (&box->records, link) {
        gv_outbox_record_t *record = gv_container_of(link, gv_outbox_record_t, link);
        if (record->state == GV_OUTBOX_STORED) {
            gv__outbox_drop_image(record);
        }
    }
}

static void box_on_node(gv_outbox_t *outbox, gv_outbox_box_t *box, gv_node_index_t node,
                        gv_node_event_t event)
{
    box->node = node;
    box->retry_at_ms = 0;
    if (event == GV_NODE_FORGOTTEN) {
        forget(outbox, box);
    } else if (event == GV_NODE_HIDDEN) {
        drop_images(box);
    }
}

void gv_outbox_on_node(gv_outbox_t *outbox, gv_node_index_t node, const gv_node_id_t *id,
                       gv_node_event_t event)
{
    GV_ASSERT(node < GV_NODES_MAX);
    if (event != GV_NODE_FORGOTTEN) {
        outbox->nodes[node].id = *id;
        outbox->nodes[node].is_known = true;
    }
    outbox->nodes[node].is_there = event == GV_NODE_ROUTABLE;
    for (int kind = 0; kind < GV_OUTBOX_KINDS; kind++) {
        gv_outbox_box_t *box = gv__outbox_box_of(outbox, node, (gv_outbox_kind_t)kind);
        if (box != NULL) {
            box_on_node(outbox, box, node, event);
        }
    }
    outbox->nodes[node].is_known &= event != GV_NODE_FORGOTTEN;
}

bool gv_outbox_is_open(const gv_outbox_t *outbox, gv_node_index_t node, gv_outbox_kind_t kind)
{
    const gv_outbox_box_t *box =
        outbox->box_count == 0 ? NULL : gv__outbox_box_of(outbox, node, kind);
    return box != NULL && (box->unhanded > 0 || box->gathered_count > 0);
}

void gv_outbox_waiting(const gv_outbox_t *outbox, gv_node_index_t node, uint64_t *messages_out,
                       uint64_t *bytes_out)
{
    *messages_out = 0;
    *bytes_out = 0;
    for (int kind = 0; kind < GV_OUTBOX_KINDS; kind++) {
        const gv_outbox_box_t *box = gv__outbox_box_of(outbox, node, (gv_outbox_kind_t)kind);
        *messages_out += box != NULL ? box->messages : 0;
        *bytes_out += box != NULL ? box->bytes : 0;
    }
}

/* ---- the turn -------------------------------------------------------------------------------- */

/* What was gathered for a spool may wait for its turn; for an exact box others wait, in joins. */
static bool is_to_write(const gv_outbox_t *outbox, const gv_outbox_box_t *box, bool may_send)
{
    if (box->gathered_count == 0 || box->kind == GV_OUTBOX_EXACT) {
        return box->gathered_count > 0;
    }
    uint64_t now_ms = outbox->ports.monotonic_ms(outbox->ports.arg);
    bool is_late =
        outbox->spool_after_ms != 0 && now_ms > box->gathered_ms + outbox->spool_after_ms;
    bool may_hold = may_send && !is_late && box->unhanded <= GV_OUTBOX_WINDOW &&
                    box->gathered_bytes <= HELD_BYTES_MAX;
    return !may_hold && box->writes < WRITES_MAX;
}

static void pump(gv_outbox_t *outbox, gv_outbox_box_t *box)
{
    bool may_send = gv__outbox_is_there(outbox, box) && !box->is_halted &&
                    outbox->ports.monotonic_ms(outbox->ports.arg) >= box->retry_at_ms;
    if (may_send) {
        gv__outbox_hand_over(outbox, box);
    }
    bool is_free = gv__outbox_write_insured(outbox, box);
    while (is_free && is_to_write(outbox, box, may_send)) {
        gv__outbox_write(outbox, box);
    }
}

void gv_outbox_turn_end(gv_outbox_t *outbox)
{
    if (outbox->is_finished || (outbox->box_count == 0 && outbox->delete_count == 0)) {
        return;
    }
    for (size_t i = outbox->box_count; i-- > 0;) {
        gv_outbox_box_t *box = outbox->boxes[i];
        pump(outbox, box);
        if (gv_list_is_empty(&box->records) && box->gathered_count == 0) {
            box_free(outbox, box);
        }
    }
    if (outbox->ports.monotonic_ms(outbox->ports.arg) >= outbox->deletes_at_ms) {
        gv__outbox_submit_deletes(outbox);
    }
    show(outbox);
}

void gv_outbox_finish(gv_outbox_t *outbox)
{
    gv__outbox_submit_deletes(outbox);
    outbox->is_finished = true; /* who waits for what was gathered is not told anything */
}

/* ---- life ------------------------------------------------------------------------------------ */

void gv_outbox_new(const gv_outbox_options_t *options, gv_outbox_t **outbox_out)
{
    gv_outbox_t *outbox = GV_NEW(gv_outbox_t);
    outbox->store = options->store;
    outbox->bytes_max = options->bytes_max;
    outbox->spool_after_ms = options->spool_after_ms;
    outbox->nodes_full = options->nodes_full;
    outbox->run = options->run;
    outbox->next_number = 1;
    outbox->ports = options->ports;
    gv_store_lane_init(&outbox->lane, options->store, options->post, options->post_arg);
    gv_list_init(&outbox->orphans);
    gv_list_init(&outbox->nothings);
    gv_list_init(&outbox->deletions);
    *outbox_out = outbox;
}

static gv_err_t take_record(const gv_outbox_place_t *place, size_t bytes, void *arg)
{
    gv_outbox_t *outbox = arg;
    gv_node_id_t id;
    memcpy(id.bytes, place->node_id, sizeof(id.bytes));
    gv_outbox_box_t *box = box_for(outbox, &id, place->kind);
    gv_outbox_record_t *record = gv__outbox_record_new(outbox, box, place);
    record->state = GV_OUTBOX_STORED;
    record->bytes = bytes;
    box->messages += place->count;
    box->bytes += bytes;
    return GV_OK;
}

gv_err_t gv_outbox_load(gv_outbox_t *outbox)
{
    gv_err_t err = gv_outbox_record_scan(outbox->store, take_record, outbox);
    show(outbox);
    return err;
}

void gv_outbox_free(gv_outbox_t **outboxp)
{
    gv_outbox_t *outbox = *outboxp;
    *outboxp = NULL;
    if (gv_store_lane_pending(&outbox->lane) == 0 && gv_store_lane_loading(&outbox->lane) == 0) {
        gv_store_lane_deinit(&outbox->lane);
    } /* else the store has crashed (storage/mem_store.h), and its lanes with it */
    while (outbox->box_count > 0) {
        box_free(outbox, outbox->boxes[0]);
    }
    for (gv_link_t *link; (link = gv_list_first(&outbox->orphans)) != NULL;) {
        gv__outbox_record_free(gv_container_of(link, gv_outbox_record_t, link));
    }
    for (gv_link_t *link; (link = gv_list_first(&outbox->nothings)) != NULL;) {
        gv__outbox_nothing_free(link);
    }
    while (!gv_list_is_empty(&outbox->deletions)) {
        gv__outbox_deletion_free(gv_list_first(&outbox->deletions));
    }
    gv_free(outbox->deletes);
    gv_free(outbox->boxes);
    gv_free(outbox->slots);
    gv_free(outbox);
}

const gv_outbox_stats_t *gv_outbox_stats(const gv_outbox_t *outbox)
{
    return &outbox->stats;
}
