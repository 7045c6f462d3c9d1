/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/restore.h"

#include <inttypes.h>

#include "base/alloc.h"
#include "base/log.h"
#include "broker/core/shard_p.h"
#include "proto/segment.h"
#include "storage/payload_store.h"
#include "storage/session_store.h"

typedef struct restore {
    gv_shard_t *const *shards;
    uint16_t shard_count;
    gv_hub_t *hub;
    gv_log_t *log;
    gv_store_t *store;
    gv_restored_t counts;
} restore_t;

/* The session of a uid; it may be on any shard. */
static gv_session_t *session_of(const restore_t *restore, uint64_t uid)
{
    for (uint16_t i = 0; i < restore->shard_count; i++) {
        gv_session_t *session = gv__durable_session(restore->shards[i], uid);
        if (session != NULL) {
            return session;
        }
    }
    return NULL;
}

static gv_session_t *session_or_orphan(restore_t *restore, uint64_t uid)
{
    gv_session_t *session = session_of(restore, uid);
    restore->counts.orphans += session == NULL;
    return session;
}

/* ---- tables ---- */

static gv_err_t on_session(const gv_stored_session_t *record, void *arg)
{
    restore_t *restore = arg;
    uint16_t home =
        gv_shard_home(record->client_id, restore->shards[0]->hash_seed, restore->shard_count);
    gv_shard_t *shard = restore->shards[home];
    gv_session_t *session = gv_session_new(shard, record->client_id, record->username);
    session->uid = record->uid;
    session->expiry_s = record->expiry_s;
    session->is_persistent = true;
    gv_durable_t *durable = gv__durable_new(session);
    durable->is_stored = true;
    durable->is_stored_left = record->left_at_ms != 0;
    durable->stored_expiry = record->expiry_s;
    session->left_ms = record->left_at_ms != 0 ? gv__from_realtime(shard, record->left_at_ms)
                                               : (int64_t)shard->now_ms;
    restore->counts.sessions++;
    return GV_OK;
}

static gv_err_t on_subscription(const gv_stored_subscription_t *record, void *arg)
{
    restore_t *restore = arg;
    gv_session_t *session = session_or_orphan(restore, record->uid);
    if (session == NULL) {
        return GV_OK;
    }
    gv_shard_t *shard = session->shard;
    gv_subscription_t *subscription = NULL;
    bool is_new = false;
    bool is_shared = gv_bytes_has_prefix(record->filter, GV_BYTES_LITERAL("$share/"));
    gv_err_t err =
        gv_subscriptions_add(&shard->subscriptions, session, record->filter, is_shared,
                             (uint8_t)record->options, record->id, &subscription, &is_new);
    if (err != GV_OK) {
        gv_log_error("subscription_not_restored", "error='%s'", gv_err_text(err));
        return GV_OK;
    }
    gv_counter_add(&shard->stats.subscriptions, 1);
    session->shared_count += is_shared;
    gv_counter_add(&shard->stats.shared_subscriptions, is_shared);
    gv_filter_t *filter = subscription->filter;
    filter->lasting += is_shared ? 0 : 1;
    if (filter->count == 1) {
        filter->announced = gv__route_weight(filter);
        gv_hub_restore_route(restore->hub, shard->index, gv_filter_text(filter), filter->slot,
                             filter->announced);
    }
    restore->counts.subscriptions++;
    return GV_OK;
}

static gv_err_t on_will(const gv_stored_will_t *record, void *arg)
{
    restore_t *restore = arg;
    gv_session_t *session = session_or_orphan(restore, record->uid);
    if (session == NULL) {
        return GV_OK;
    }
    gv_publish_t publish = {
        .topic = record->topic,
        .payload = record->payload,
        .props = record->properties,
        .publisher = session->uid,
        .qos = record->qos,
        .retain = record->retain,
        .expires_at_ms = record->has_expiry ? (uint64_t)record->expiry_s * 1000 + 1 : 0,
    };
    if (gv_publish_keep(&publish, &session->will) != GV_OK) {
        return GV_OK;
    }
    gv_publish_done(&publish);
    session->will_delay_s = record->delay_s;
    session->durable->has_stored_will = true;
    session->durable->is_stored_due = record->due_at_ms != 0;
    if (record->due_at_ms != 0) {
        session->left_ms =
            gv__from_realtime(session->shard, record->due_at_ms) - (int64_t)record->delay_s * 1000;
    }
    restore->counts.wills++;
    return GV_OK;
}

static gv_err_t on_received(const gv_stored_received_t *record, void *arg)
{
    restore_t *restore = arg;
    gv_session_t *session = session_or_orphan(restore, record->uid);
    for (size_t i = 0; session != NULL && i < record->count; i++) {
        gv_received_ids_add(&gv_session_flow(session)->received, record->packet_ids[i]);
    }
    return GV_OK;
}

/* ---- the log ---- */

/* How many bytes a delivery's message has, for the limits of its queue: as gv__durable_deliver().
 */
static uint32_t units_of(const gv_segment_view_t *segment, uint32_t body)
{
    return gv_backlog_units(gv_segment_message_bytes(segment, body));
}

static void on_delivery(restore_t *restore, const gv_segment_view_t *segment,
                        const gv_segment_item_t *item)
{
    const gv_segment_delivery_t *delivery = &item->delivery;
    gv_session_t *session = session_of(restore, delivery->session);
    if (session == NULL) {
        return; /* it has ended since */
    }
    gv_backlog_entry_t entry = {
        .place = gv_place(segment->number, item->offset),
        .expires_s = delivery->expires_s,
        .units = units_of(segment, delivery->body) & GV_BACKLOG_UNITS_MAX,
        .state = GV_BACKLOG_OPEN,
        .is_qos2 = delivery->qos == 2,
        .is_shared = delivery->share.size > 0,
        .was_sent = delivery->is_connected,
    };
    if (units_of(segment, delivery->body) == 0) {
        entry.state = GV_BACKLOG_DONE; /* acknowledged before it was written */
    }
    if (!gv_backlog_restore(&session->durable->backlog, delivery->number, entry)) {
        gv_log_error("delivery_not_restored", "segment=%" PRIu64 " number=%" PRIu64,
                     segment->number, delivery->number);
    }
}

static void on_mark(restore_t *restore, const gv_segment_mark_t *mark)
{
    gv_session_t *session = session_of(restore, mark->session);
    if (session == NULL) {
        return;
    }
    gv_durable_t *durable = session->durable;
    gv_backlog_t *backlog = &durable->backlog;
    gv_backlog_done_below(backlog, mark->low);
    for (uint32_t i = 0; i < mark->count; i++) {
        gv_backlog_entry_t *entry = gv_backlog_at(backlog, mark->low + i);
        gv_segment_state_t state = gv_segment_state_at(mark, i);
        if (entry == NULL || entry->state == GV_BACKLOG_DONE || state == GV_SEGMENT_OPEN) {
            continue;
        }
        if (state == GV_SEGMENT_RECEIVED) {
            entry->state = GV_BACKLOG_RECEIVED;
        } else {
            gv_backlog_finish(backlog, mark->low + i);
        }
    }
    durable->marked.sent = mark->sent;
    durable->was_connected = mark->is_connected;
    durable->marked.end = gv_backlog_end(backlog);
}

/* What the segment holds of the payloads. */
static void note_payloads(const gv_segment_view_t *segment, gv_old_segment_t *old)
{
    for (uint32_t i = 0; i < segment->body_count; i++) {
        old->payload_count += gv_segment_apart(segment, i) != 0;
    }
    if (old->payload_count == 0) {
        return;
    }
    old->payloads = gv_xalloc(old->payload_count * sizeof(*old->payloads));
    uint32_t count = 0;
    for (uint32_t i = 0; i < segment->body_count; i++) {
        uint64_t number = gv_segment_apart(segment, i);
        if (number != 0) {
            old->payloads[count++] = number;
            old->bytes += (uint32_t)gv_segment_body_bytes(segment, i);
        }
    }
}

static gv_err_t on_segment(gv_bytes_t key, gv_bytes_t value, void *arg)
{
    restore_t *restore = arg;
    gv_reader_t r = gv_reader(key);
    uint64_t number = gv_reader_u64(&r);
    gv_segment_view_t segment;
    gv_err_t err = r.failed || number >= GV_LOG_NUMBER_MAX
                       ? GV_ERR_CORRUPT
                       : gv_segment_open(value, number, &segment);
    if (!r.failed) {
        gv_log_pass_by(restore->log, number);
    }
    if (err != GV_OK) {
        gv_store_note_damaged(restore->store, GV_TABLE_QUEUE_LOG, key);
        restore->counts.damaged++;
        return GV_OK;
    }
    gv_old_segment_t old = {.number = number, .bytes = (uint32_t)value.size};
    note_payloads(&segment, &old);
    gv_segment_item_t item;
    for (uint32_t offset = 0; gv_segment_next(&segment, &offset, &item);) {
        if (item.kind == GV_SEGMENT_MARK) {
            on_mark(restore, &item.mark);
        } else {
            on_delivery(restore, &segment, &item);
            old.deliveries++;
        }
    }
    gv_log_add_old(restore->log, &old);
    restore->counts.segments++;
    return GV_OK;
}

static gv_err_t pass_payloads(gv_log_t *log, gv_store_t *store)
{
    uint64_t last = 0;
    gv_err_t err = gv_payload_last(store, &last);
    if (err == GV_OK) {
        gv_log_pass_payload(log, last);
    }
    return err;
}

/* ---- afterwards ---- */

/* Which segments a shard's sessions need: a count for each old segment, in their order. */
static void count_live(const restore_t *restore, gv_shard_t *shard, uint32_t *live)
{
    size_t cursor = 0;
    for (gv_durable_t *durable; (durable = gv_map_next(&shard->durables, &cursor)) != NULL;) {
        const gv_backlog_t *backlog = &durable->backlog;
        for (uint64_t n = backlog->low; n < gv_backlog_end(backlog); n++) {
            const gv_backlog_entry_t *entry = gv_backlog_at(backlog, n);
            if (entry->state != GV_BACKLOG_DONE) {
                live[gv_log_find_old(restore->log, gv_place_segment(entry->place))]++;
                gv_counter_add(&shard->stats.queued_messages, entry->state == GV_BACKLOG_OPEN);
            }
        }
    }
}

static void shelve(restore_t *restore, gv_shard_t *shard)
{
    uint32_t *live = gv_xcalloc(restore->log->old_count + 1U, sizeof(*live));
    count_live(restore, shard, live);
    gv_shelf_t *shelf = gv_journal_shelf(shard->journal);
    for (uint32_t i = 0; i < restore->log->old_count; i++) {
        if (live[i] == 0) {
            continue;
        }
        const gv_old_segment_t *old = &restore->log->old[i];
        gv_volume_t *volume = gv_shelf_add(shelf, old->number);
        volume->is_old = true;
        gv_shelf_add_live(shelf, volume, old->deliveries);
        gv_shelf_drop_live(shelf, volume, old->deliveries - live[i]);
        gv_shelf_set_durable(shelf, volume, old->bytes);
        gv_log_hold_old(restore->log, old->number);
        restore->counts.messages += live[i];
    }
    gv_free(live);
}

/*
 * What may have been sent before the end, and what may expire.  The last mark decides for what was
 * there when it was written: nothing waiting is sent before there is a mark that tells of the
 * connection.  What came later has noted by itself whether the client was there.
 */
static void note_sent(gv_durable_t *durable)
{
    gv_backlog_t *backlog = &durable->backlog;
    for (uint64_t n = backlog->low; n < gv_backlog_end(backlog); n++) {
        gv_backlog_entry_t *entry = gv_backlog_at(backlog, n);
        if (n < durable->marked.end) {
            entry->was_sent = n < durable->marked.sent || durable->was_connected;
        }
        if (entry->was_sent) {
            gv_backlog_set_sent(backlog, n + 1);
        } else if (entry->expires_s != 0) {
            gv_journal_expires(durable->session->shard->journal, durable, entry->expires_s);
        }
    }
    gv_link_init(&durable->waits); /* it was `marked` until now */
    gv_backlog_rest(backlog);
}

/* Its clocks: as if the client had left when it did, or at this start, which is written then. */
static void resume_clocks(gv_session_t *session)
{
    const gv_durable_t *durable = session->durable;
    if ((!durable->is_stored_left && session->expiry_s != GV_EXPIRY_NEVER) ||
        (session->will != NULL && !durable->is_stored_due)) {
        gv__durable_left(session);
    }
    gv__session_away(session);
}

static void finish_shard(restore_t *restore, gv_shard_t *shard)
{
    shelve(restore, shard);
    size_t cursor = 0;
    for (gv_durable_t *durable; (durable = gv_map_next(&shard->durables, &cursor)) != NULL;) {
        note_sent(durable);
        gv_counter_add(&shard->stats.queued_bytes, gv_backlog_bytes(&durable->backlog));
        resume_clocks(durable->session);
    }
}

gv_err_t gv_restore(gv_shard_t *const *shards, uint16_t shard_count, gv_hub_t *hub, gv_log_t *log,
                    gv_store_t *store, gv_restored_t *restored_out)
{
    restore_t restore = {
        .shards = shards, .shard_count = shard_count, .hub = hub, .log = log, .store = store};
    for (uint16_t i = 0; i < shard_count; i++) {
        shards[i]->now_ms = shards[i]->ports.monotonic_ms(shards[i]->ports.arg);
    }
    gv_err_t err = gv_session_load(store, on_session, &restore);
    err = err == GV_OK ? gv_subscription_load(store, on_subscription, &restore) : err;
    err = err == GV_OK ? gv_will_load(store, on_will, &restore) : err;
    err = err == GV_OK ? gv_received_load(store, on_received, &restore) : err;
    err = err == GV_OK ? pass_payloads(log, store) : err;
    err = err == GV_OK ? gv_store_scan(store, GV_TABLE_QUEUE_LOG, on_segment, &restore) : err;
    for (uint16_t i = 0; err == GV_OK && i < shard_count; i++) {
        finish_shard(&restore, shards[i]);
        gv_journal_resume(shards[i]->journal);
    }
    *restored_out = restore.counts;
    return err;
}
