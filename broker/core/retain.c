/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Retained messages being written: by clients here, by other nodes, by time that passes.
 *
 * Whatever it is, and whichever way it has come, the write with the higher stamp stays.  On a node
 * that may have others a deletion stays as a tombstone, and so does a message that has expired,
 * with its own stamp: else one that it had replaced could come back from a node that has missed it.
 *
 * Parts: stamps - the disk - what goes with time - limits - writing.
 */
#define GV_MEMORY_OF GV_MEMORY_RETAINED

#include "base/alloc.h"
#include "broker/core/shard_p.h"
#include "storage/identity.h"
#include "storage/retained_store.h"

/* What one firing of a timer does at most. */
#define SLICE 256U

/*
 * How far above the stamp that is being written the bound of stamps is set, so that it is written
 * once in this time, and not each time.  After a restart the clock may be so much ahead.
 */
#define BOUND_AHEAD ((uint64_t)1000 << 16)

/* How often tombstones are looked at; and when a slice of them was not all that goes [ms]. */
#define TOMBSTONES_MS      1000U
#define TOMBSTONES_MORE_MS 10U

uint16_t gv__retained_home(const gv_shard_t *shard, gv_bytes_t topic)
{
    return gv_retained_home(gv_retained_bucket(topic, shard->retained_common->seed), shard->count);
}

/* ---- stamps ---------------------------------------------------------------------------------- */

static uint64_t realtime_of(const gv_shard_t *shard)
{
    return shard->ports.realtime_ms(shard->ports.arg);
}

gv_stamp_t gv__retain_stamp(gv_shard_t *shard)
{
    gv_stamp_t stamp = {.hlc = gv_hlc_next(&shard->retained_common->clock, realtime_of(shard))};
    memcpy(stamp.node, shard->node_id, sizeof(stamp.node));
    return stamp;
}

uint64_t gv__retained_floor(const gv_shard_t *shard)
{
    uint64_t floor = atomic_load_explicit(&shard->retained_common->floor, memory_order_relaxed);
    return floor > shard->retained_floor ? floor : shard->retained_floor;
}

bool gv__retained_is_news(const gv_shard_t *shard, uint64_t hlc)
{
    uint64_t horizon = atomic_load_explicit(&shard->retained_common->horizon, memory_order_relaxed);
    return (hlc > gv__retained_floor(shard) || hlc < horizon) &&
           gv_hlc_ms(hlc) + shard->retained_common->forget_ms > realtime_of(shard);
}

static bool is_written_here(const gv_shard_t *shard, const gv_entry_write_t *write)
{
    return write->is_copy == 0 &&
           memcmp(write->stamp.node, shard->node_id, sizeof(shard->node_id)) == 0;
}

/*
 * Whether what is there was written later.  A client here that overwrites what has a stamp too far
 * ahead for our clock to follow would lose for as long as it is: its write gets a stamp just above,
 * which the other nodes are to fetch.
 *
 * A message on its way for a topic that we know nothing of, though it was written when every node
 * knew all there was, has been overtaken by a deletion that nobody remembers.
 */
static bool is_outdated(gv_shard_t *shard, gv_bytes_t topic, gv_entry_write_t *write)
{
    gv_retained_write_t last;
    if (!gv_retained_look(&shard->retained, topic, &last)) {
        return write->is_copy == 0 && write->stamp.hlc <= gv__retained_floor(shard);
    }
    if (gv_stamp_compare(&last.stamp, &write->stamp) < 0) {
        return false;
    }
    gv_hlc_t *clock = &shard->retained_common->clock;
    if (is_written_here(shard, write) && gv_hlc_is_ahead(clock, last.stamp.hlc)) {
        write->stamp.hlc = last.stamp.hlc + 1;
        (void)gv_hlc_follow(clock, write->stamp.hlc, realtime_of(shard));
        return false;
    }
    return true;
}

/* ---- the disk -------------------------------------------------------------------------------- */

/*
 * Stamps of this node rise above what it has on its disk after a restart, whatever the clock says
 * then: what is stored, and this bound, for what has been overwritten or dropped since.
 */
static void keep_bound(gv_shard_t *shard, gv_batch_t *tables, uint64_t hlc)
{
    _Atomic uint64_t *bound = &shard->retained_common->bound;
    if (hlc > atomic_load_explicit(bound, memory_order_relaxed)) {
        /* Relaxed: another shard that does the same now writes nearly the same. */
        atomic_store_explicit(bound, hlc + BOUND_AHEAD, memory_order_relaxed);
        gv_identity_put_hlc_bound(tables, hlc + BOUND_AHEAD);
    }
}

/* Writes what is known of a topic, or that nothing is. */
static void store(gv_shard_t *shard, gv_bytes_t topic)
{
    shard->retained_stamp = gv_journal_stamp(shard->journal);
    gv_batch_t *tables = gv_journal_change(shard->journal, GV_CHANGE_RETAINED, 0, topic);
    gv_retained_write_t last;
    if (!gv_retained_look(&shard->retained, topic, &last)) {
        gv_retained_delete(tables, topic);
        return;
    }
    gv_publish_t publish = gv_publish_of(last.kept);
    gv_stored_retained_t record = {
        .topic = publish.topic,
        .payload = publish.payload,
        .properties = publish.props,
        .qos = publish.qos,
        .is_tombstone = last.is_tombstone,
        .hlc = last.stamp.hlc,
    };
    if (publish.expires_at_ms != 0) {
        record.expires_at_ms = gv__to_realtime(shard, publish.expires_at_ms);
    }
    memcpy(record.node_id, last.stamp.node, sizeof(record.node_id));
    gv_retained_put(tables, &record);
    if (memcmp(last.stamp.node, shard->node_id, sizeof(shard->node_id)) == 0) {
        keep_bound(shard, tables, last.stamp.hlc);
    }
}

void gv__retain_again(gv_shard_t *shard, gv_bytes_t topic)
{
    store(shard, topic);
}

/* ---- what goes with time --------------------------------------------------------------------- */

/* There are more of them, or fewer. */
static void changed(gv_shard_t *shard)
{
    /* What this shard has told before, and the difference: other shards add theirs. */
    gv_retained_common_t *common = shard->retained_common;
    atomic_fetch_add_explicit(&common->messages,
                              shard->retained.count - gv_counter_get(&shard->stats.retained),
                              memory_order_relaxed);
    atomic_fetch_add_explicit(&common->bytes,
                              shard->retained.bytes - gv_counter_get(&shard->stats.retained_bytes),
                              memory_order_relaxed);
    gv_counter_set(&shard->stats.retained, shard->retained.count);
    gv_counter_set(&shard->stats.retained_bytes, shard->retained.bytes);
    gv_counter_set(&shard->stats.retained_tombstones, gv_retained_tombstones(&shard->retained));
    uint64_t next_ms = gv_retained_next_expiry(&shard->retained);
    if (next_ms == UINT64_MAX) {
        gv_timer_stop(&shard->expiry_timer);
    } else {
        gv_timer_start(shard->wheel, &shard->expiry_timer, next_ms);
    }
    if (gv_retained_tombstones(&shard->retained) > 0 &&
        !gv_timer_is_armed(&shard->tombstones_timer)) {
        gv_timer_start(shard->wheel, &shard->tombstones_timer, shard->now_ms + TOMBSTONES_MS);
    }
}

/* Puts a tombstone into the topic's place.  False: no memory. */
static bool bury(gv_shard_t *shard, gv_bytes_t topic, const gv_stamp_t *stamp)
{
    gv_publish_t bare = {.topic = topic, .retain = true};
    gv_msgbuf_t *kept = NULL;
    if (gv_publish_keep(&bare, &kept) != GV_OK) {
        return false;
    }
    gv_retained_set(&shard->retained, kept, stamp);
    gv_msgbuf_unref(&kept);
    gv_publish_done(&bare);
    return true;
}

static void drop_tombstone(gv_shard_t *shard, const gv_retained_write_t *tombstone)
{
    gv_msgbuf_t *kept = gv_msgbuf_ref(tombstone->kept);
    gv_bytes_t topic = gv_publish_of(kept).topic;
    if (tombstone->stamp.hlc > shard->retained_floor) {
        shard->retained_floor = tombstone->stamp.hlc;
    }
    (void)gv_retained_remove(&shard->retained, topic);
    store(shard, topic);
    gv_msgbuf_unref(&kept);
}

/* The oldest of those that are too many; after each write, for they come as fast as clients like.
 */
static void drop_surplus(gv_shard_t *shard)
{
    uint64_t max = shard->limits->retained_tombstones_max;
    uint64_t own_max = max == 0 ? UINT64_MAX : max / shard->count;
    for (uint32_t i = 0; i < SLICE && gv_retained_tombstones(&shard->retained) > own_max; i++) {
        gv_retained_write_t oldest = gv_retained_tombstone_at(&shard->retained, 0);
        gv_counter_add(&shard->stats.tombstones_dropped, 1);
        drop_tombstone(shard, &oldest);
    }
}

/* A slice of what has expired; the timer fires again at once when that was not all. */
static void on_expiry(gv_timer_t *timer)
{
    gv_shard_t *shard = gv_container_of(timer, gv_shard_t, expiry_timer);
    shard->now_ms = shard->ports.monotonic_ms(shard->ports.arg);
    gv_msgbuf_t *kept = NULL;
    gv_stamp_t stamp;
    for (uint32_t i = 0;
         i < SLICE &&
         (kept = gv_retained_take_expired(&shard->retained, shard->now_ms, &stamp)) != NULL;
         i++) {
        gv_bytes_t topic = gv_publish_of(kept).topic;
        if (!gv_topic_is_own(topic)) {
            if (shard->retained_common->is_clustered && gv__retained_is_news(shard, stamp.hlc)) {
                (void)bury(shard, topic, &stamp);
            }
            store(shard, topic);
        }
        gv_msgbuf_unref(&kept);
    }
    drop_surplus(shard);
    changed(shard);
}

/* A slice of the tombstones that have served.  All are looked at: a millisecond or two. */
static void on_tombstones(gv_timer_t *timer)
{
    gv_shard_t *shard = gv_container_of(timer, gv_shard_t, tombstones_timer);
    shard->now_ms = shard->ports.monotonic_ms(shard->ports.arg);
    const gv_retained_t *table = &shard->retained;
    uint32_t dropped = 0;
    for (size_t i = gv_retained_tombstones(table); i > 0 && dropped < SLICE; i--) {
        /* From the end: what is put into a place that gets free stood behind it. */
        gv_retained_write_t tombstone = gv_retained_tombstone_at(table, i - 1);
        if (!gv__retained_is_news(shard, tombstone.stamp.hlc)) {
            drop_tombstone(shard, &tombstone);
            dropped++;
        }
    }
    drop_surplus(shard); /* of a restart */
    if (dropped == SLICE) {
        gv_timer_start(shard->wheel, timer, shard->now_ms + TOMBSTONES_MORE_MS);
    }
    changed(shard);
}

void gv__retain_init(gv_shard_t *shard)
{
    gv_timer_init(&shard->expiry_timer, on_expiry);
    gv_timer_init(&shard->tombstones_timer, on_tombstones);
}

void gv__retain_deinit(gv_shard_t *shard)
{
    gv_timer_stop(&shard->expiry_timer);
    gv_timer_stop(&shard->tombstones_timer);
}

void gv_shard_retain_load(gv_shard_t *shard, gv_msgbuf_t *kept, const gv_stamp_t *stamp)
{
    GV_ASSERT(gv__retained_home(shard, gv_publish_of(kept).topic) == shard->index);
    (void)gv_hlc_follow(&shard->retained_common->clock, stamp->hlc, realtime_of(shard));
    gv_retained_set(&shard->retained, kept, stamp);
    changed(shard);
}

/* ---- limits ---------------------------------------------------------------------------------- */

/* Whether the node would keep more than it may.  What takes the place of another may come in. */
static bool is_beyond_limits(const gv_shard_t *shard, gv_bytes_t topic, uint64_t size)
{
    const gv_limits_t *limits = shard->limits;
    const gv_retained_common_t *common = shard->retained_common;
    uint64_t messages = atomic_load_explicit(&common->messages, memory_order_relaxed) + 1;
    uint64_t bytes = atomic_load_explicit(&common->bytes, memory_order_relaxed) + size;
    bool is_many = limits->retained_messages_max != 0 && messages > limits->retained_messages_max;
    bool is_much = limits->retained_bytes_max != 0 && bytes > limits->retained_bytes_max;
    if (!is_many && !is_much) {
        return false;
    }
    const gv_msgbuf_t *before = gv_retained_find(&shard->retained, topic);
    return before == NULL || (is_much && gv_msgbuf_bytes(before).size < size);
}

/* Memory is scarce; what takes no more than the one before it always has some. */
static bool has_no_memory(const gv_shard_t *shard, gv_bytes_t topic, uint64_t size)
{
    if (!gv__memory_is_scarce(shard)) {
        return false;
    }
    const gv_msgbuf_t *old = gv_retained_find(&shard->retained, topic);
    return old == NULL || size > gv_msgbuf_bytes(old).size;
}

bool gv__retained_has_room(const gv_shard_t *shard, gv_bytes_t topic, uint64_t size)
{
    return !gv_journal_refuses(shard->journal) && !has_no_memory(shard, topic, size) &&
           !is_beyond_limits(shard, topic, size);
}

/* ---- writing --------------------------------------------------------------------------------- */

/* Nothing changes; but what was changed a moment ago may be on its way to the disk still. */
static gv_retain_result_t confirm_unchanged(gv_shard_t *shard, const gv_ticket_t *ticket)
{
    if (ticket == NULL || gv_journal_is_stored(shard->journal, shard->retained_stamp)) {
        return GV_RETAIN_DONE;
    }
    gv_journal_then_confirm(shard->journal, ticket);
    return GV_RETAIN_LATER;
}

/* What this node says about itself is neither for the disk nor for other nodes. */
static gv_retain_result_t retain_own(gv_shard_t *shard, gv_publish_t *publish)
{
    static const gv_stamp_t none;
    gv_msgbuf_t *kept = NULL;
    if (publish->payload.size == 0) {
        (void)gv_retained_remove(&shard->retained, publish->topic);
    } else if (gv_publish_keep(publish, &kept) != GV_OK) {
        gv_counter_add(&shard->stats.dropped_no_memory, 1);
        return GV_RETAIN_REFUSED;
    } else {
        gv_retained_set(&shard->retained, kept, &none);
        gv_msgbuf_unref(&kept);
    }
    changed(shard);
    return GV_RETAIN_DONE;
}

/* A message into its topic's place.  DONE: it is there. */
static gv_retain_result_t set(gv_shard_t *shard, gv_publish_t *publish, const gv_stamp_t *stamp,
                              bool is_joined)
{
    uint64_t size = gv_publish_payload_offset(publish) + publish->payload.size;
    if (!is_joined && gv_journal_refuses(shard->journal)) {
        gv_counter_add(&shard->stats.dropped_store_full, 1);
        return GV_RETAIN_REFUSED;
    }
    if (!is_joined && has_no_memory(shard, publish->topic, size)) {
        gv_counter_add(&shard->stats.retained_memory_refused, 1);
        return GV_RETAIN_REFUSED;
    }
    if (is_beyond_limits(shard, publish->topic, size)) {
        gv_counter_add(&shard->stats.dropped_retained, 1);
        return GV_RETAIN_REFUSED;
    }
    gv_msgbuf_t *kept = NULL;
    if (gv_publish_keep(publish, &kept) != GV_OK) {
        gv_counter_add(&shard->stats.dropped_no_memory, 1);
        return GV_RETAIN_REFUSED;
    }
    gv_retained_set(&shard->retained, kept, stamp);
    gv_msgbuf_unref(&kept);
    return GV_RETAIN_DONE;
}

/* [MQTT-3.3.1-6, -7]: an empty one clears, and is not kept itself.  False: there is nothing to do.
 */
static bool unset(gv_shard_t *shard, gv_bytes_t topic, const gv_stamp_t *stamp)
{
    if (shard->retained_common->is_clustered && bury(shard, topic, stamp)) {
        return true;
    }
    return gv_retained_remove(&shard->retained, topic);
}

gv_retain_result_t gv__retain(gv_shard_t *shard, gv_publish_t *publish,
                              const gv_entry_write_t *write, const gv_ticket_t *ticket,
                              bool is_joined)
{
    if (gv_topic_is_own(publish->topic)) {
        return retain_own(shard, publish);
    }
    gv_entry_write_t now = *write;
    if (now.stamp.hlc == 0) {
        now.stamp = gv__retain_stamp(shard); /* from a node that gives none: an older version */
    }
    if (is_outdated(shard, publish->topic, &now)) {
        gv_counter_add(&shard->stats.retained_outdated, 1);
        return confirm_unchanged(shard, ticket);
    }
    if (publish->payload.size == 0) {
        if (!unset(shard, publish->topic, &now.stamp)) {
            return confirm_unchanged(shard, ticket);
        }
    } else if (set(shard, publish, &now.stamp, is_joined) == GV_RETAIN_REFUSED) {
        /* What was joined to a packet id has been taken on already; it is only not kept. */
        return is_joined ? GV_RETAIN_DONE : GV_RETAIN_REFUSED;
    }
    store(shard, publish->topic);
    drop_surplus(shard);
    changed(shard);
    if (ticket == NULL) {
        return GV_RETAIN_DONE;
    }
    gv_journal_then_confirm(shard->journal, ticket);
    return GV_RETAIN_LATER;
}

void gv__take_retain(gv_shard_t *shard, gv_entry_t *entry)
{
    gv_publish_t publish = gv_parcel_publish(entry);
    bool is_borrowed = publish.kept != NULL;
    bool is_awaited = (entry->flags & GV_ENTRY_WANTS_CONFIRM) != 0;
    bool is_joined = (entry->flags & GV_ENTRY_JOINED) != 0;
    gv_entry_write_t write;
    memcpy(&write, gv_parcel_extra(entry), sizeof(write));
    gv__take_join(shard, entry);
    switch (gv__retain(shard, &publish, &write, is_awaited ? &entry->ticket : NULL, is_joined)) {
    case GV_RETAIN_DONE:
        break;
    case GV_RETAIN_LATER:
        entry->flags |= GV_ENTRY_DEFERRED;
        break;
    case GV_RETAIN_REFUSED:
        entry->flags |= GV_ENTRY_REFUSED;
        break;
    }
    if (!is_borrowed) {
        gv_publish_done(&publish);
    }
}
