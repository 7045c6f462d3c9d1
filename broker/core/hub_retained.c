/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Retained messages between nodes: the hub carries notes and copies between a shard here and one
 * there (reconcile.h).
 */
#include <inttypes.h>

#include "base/log.h"
#include "broker/core/hub_p.h"
#include "broker/core/note.h"

/* ---- notes ----------------------------------------------------------------------------------- */

static bool send_note(void *arg, gv_node_index_t node, gv_frame_kind_t kind, gv_bytes_t body)
{
    gv_hub_t *hub = arg;
    return hub->cluster.note(hub->cluster.arg, node, kind, body);
}

static uint64_t members(void *arg)
{
    const gv_hub_t *hub = arg;
    return hub->cluster.members(hub->cluster.arg);
}

void gv_hub_on_note(gv_hub_t *hub, gv_node_index_t node, gv_frame_kind_t kind, gv_bytes_t body)
{
    uint32_t bucket = 0;
    if (kind == GV_FRAME_RETAINED_DIGEST) {
        (void)gv_reconcile_on_digest(hub->reconcile, node, body);
        return;
    }
    if (!gv_note_bucket(body, &bucket)) {
        return;
    }
    gv_entry_note_t head = {.kind = (uint8_t)kind, .node = node};
    gv_publish_t carrier = {.payload = body};
    gv_entry_t *entry = gv_office_append(&hub->office, gv_retained_home(bucket, hub->shard_count),
                                         &carrier, sizeof(head));
    if (entry != NULL) { /* else it comes again */
        entry->kind = GV_ENTRY_NOTE;
        memcpy(gv_parcel_extra(entry), &head, sizeof(head));
    }
}

void gv__hub_send_note(gv_hub_t *hub, gv_entry_t *entry)
{
    gv_entry_note_t head;
    memcpy(&head, gv_parcel_extra(entry), sizeof(head));
    gv_bytes_t body = gv_parcel_publish(entry).payload;
    if (head.kind == GV_FRAME_RETAINED_LIST) {
        (void)send_note(hub, head.node, GV_FRAME_RETAINED_LIST, body);
        return;
    }
    gv_reconcile_wish_t wish = {
        .node = head.node,
        .body = body,
        .count = head.count,
        .bytes = head.bytes,
        .is_last = head.is_last != 0,
        .is_cut = head.is_cut != 0,
    };
    gv_reconcile_on_wish(hub->reconcile, &wish);
}

/* At QoS 1 whatever its own is, so that the link carries it reliably. */
void gv__hub_send_copy(gv_hub_t *hub, gv_entry_t *entry)
{
    gv_entry_write_t write;
    memcpy(&write, gv_parcel_extra(entry), sizeof(write));
    gv_publish_t publish = gv_parcel_publish(entry);
    gv_forward_t message = gv__hub_forward_of(hub, &publish);
    message.retain = true;
    message.qos = 1;
    message.write =
        (gv_forward_write_t){.hlc = write.stamp.hlc, .qos = publish.qos, .is_copy = true};
    memcpy(message.write.writer.bytes, write.stamp.node, sizeof(write.stamp.node));
    gv_counter_add(&hub->stats.copies_sent, 1);
    hub->cluster.publish(hub->cluster.arg, &message, (uint64_t)1 << write.node, 0);
}

/* ---- stamps ---------------------------------------------------------------------------------- */

gv_entry_write_t gv__hub_write_of(gv_hub_t *hub, gv_node_index_t from, const gv_forward_t *message)
{
    const gv_node_id_t *writer =
        message->write.is_copy ? &message->write.writer : &hub->node_ids[from];
    gv_entry_write_t write = {.stamp.hlc = message->write.hlc, .is_copy = message->write.is_copy};
    memcpy(write.stamp.node, writer->bytes, sizeof(write.stamp.node));
    uint64_t now_ms = hub->ports.realtime_ms(hub->ports.arg);
    if (!gv_hlc_follow(&hub->retained->clock, write.stamp.hlc, now_ms)) {
        gv_counter_add(&hub->stats.clocks_ahead, 1);
        gv_log_peer(GV_LOG_WARN, "clock_ahead", "written_ms=%" PRIu64 " now_ms=%" PRIu64,
                    gv_hlc_ms(write.stamp.hlc), now_ms);
    }
    return write;
}

/* ---- life ------------------------------------------------------------------------------------ */

void gv__hub_retained_turn_end(gv_hub_t *hub)
{
    if (hub->has_cluster) {
        gv_reconcile_turn_end(hub->reconcile, hub->ports.monotonic_ms(hub->ports.arg),
                              hub->ports.realtime_ms(hub->ports.arg));
    }
}

bool gv_hub_has_arrived(const gv_hub_t *hub)
{
    return gv_reconcile_has_arrived(hub->reconcile);
}

const gv_reconcile_stats_t *gv_hub_reconcile_stats(const gv_hub_t *hub)
{
    return gv_reconcile_stats(hub->reconcile);
}

void gv__hub_retained_init(gv_hub_t *hub, const gv_hub_options_t *options)
{
    hub->retained = options->retained_common;
    gv_reconcile_options_t reconcile = {
        .common = options->retained_common,
        .random_seed = options->random_seed,
        .note = send_note,
        .members = members,
        .arg = hub,
    };
    gv_reconcile_new(&reconcile, &hub->reconcile);
    uint64_t start = gv_hlc_now(&hub->retained->clock, hub->ports.realtime_ms(hub->ports.arg));
    atomic_store_explicit(&hub->retained->horizon, start, memory_order_relaxed);
}

void gv__hub_retained_deinit(gv_hub_t *hub)
{
    gv_reconcile_free(&hub->reconcile);
}
