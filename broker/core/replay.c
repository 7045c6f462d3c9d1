/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_RETAINED

#include "broker/core/replay.h"

#include "base/alloc.h"
#include "broker/core/shard_p.h"
#include "proto/mqtt/topic.h"
#include "storage/retained_store.h"

/* Messages per replay and turn: some tens of microseconds' work. */
#define SLICE 256U

/* How long a replay rests when its subscriber is behind [ms]. */
#define REST_MS 5U

/* Messages and nodes of the trie that all replays of a shard may cost in one turn. */
#define WORK_PER_TURN 8192U

/* Messages that replays of a shard hold at a time; whose client has none may take more [8 bytes].
 */
#define FOUND_MAX (4U << 20)

typedef struct replay {
    gv_link_t link;
    gv_retained_found_t found;
    size_t next;
    uint64_t rests_until_ms;
    gv_entry_replay_t to;
    bool is_found; /* the search has been made */
    uint16_t filter_size;
    uint8_t filter[];
} replay_t;

static gv_bytes_t subscriber_of(const void *value)
{
    const replay_t *replay = value;
    return gv_bytes(&replay->to.subscriber, sizeof(replay->to.subscriber));
}

static size_t *found_of(gv_shard_t *shard, const replay_t *replay)
{
    const gv_ticket_t *subscriber = &replay->to.subscriber;
    size_t count = sizeof(shard->replays._found_of) / sizeof(shard->replays._found_of[0]);
    return &shard->replays._found_of[(subscriber->client + subscriber->shard) % count];
}

static void replay_free(gv_shard_t *shard, replay_t *replay)
{
    shard->replays._found -= replay->found.count;
    *found_of(shard, replay) -= replay->found.count;
    for (size_t i = replay->next; i < replay->found.count; i++) {
        gv_msgbuf_unref(&replay->found.messages[i]);
    }
    gv_list_remove(&replay->link);
    (void)gv_map_remove(&shard->replays._by_subscriber, subscriber_of(replay));
    gv_free(replay->found.messages);
    gv_free(replay);
}

static void on_rested(gv_timer_t *timer)
{
    /* The turn this timer fires in ends with gv__replays_run(). */
    (void)timer;
}

static void on_expiry(gv_timer_t *timer);

void gv__replays_init(gv_shard_t *shard)
{
    gv_list_init(&shard->replays._running);
    gv_map_init(&shard->replays._by_subscriber, subscriber_of, shard->hash_seed);
    gv_timer_init(&shard->replays._timer, on_rested);
    gv_timer_init(&shard->replays._expiry, on_expiry);
}

void gv__replays_deinit(gv_shard_t *shard)
{
    gv_timer_stop(&shard->replays._timer);
    gv_timer_stop(&shard->replays._expiry);
    gv_list_foreach_safe (&shard->replays._running, link) {
        replay_free(shard, gv_container_of(link, replay_t, link));
    }
    gv_map_deinit(&shard->replays._by_subscriber);
}

gv_entry_replay_t gv__replay_for(const gv_client_t *client, const gv_subscription_t *subscription)
{
    return (gv_entry_replay_t){
        .subscriber = gv__client_ticket(client, subscription->filter->slot),
        .subscription_id = subscription->id,
        .qos_max = subscription->options & GV_SUB_QOS_MASK,
    };
}

/* Whether the subscription is still there; among very many of both this is not looked up. */
static bool is_subscribed(gv_shard_t *shard, const gv_session_t *session, uint32_t slot)
{
    const gv_filter_t *filter = gv_subscriptions_at(&shard->subscriptions, slot);
    if (filter == NULL) {
        return false;
    }
    return (filter->count > 64 && session->subscription_count > 64) ||
           gv_subscriptions_of(filter, session) != NULL;
}

/* Whether its subscriber is still the one that asked; elsewhere only that shard knows. */
static bool deliver_here(gv_shard_t *shard, const gv_entry_replay_t *to, gv_msgbuf_t *kept,
                         bool *is_congested)
{
    gv_client_t *client = gv__client_of(shard, &to->subscriber);
    if (client == NULL || client->session == NULL ||
        !is_subscribed(shard, client->session, to->subscriber.number)) {
        return false; /* [MQTT-3.10.4-2] */
    }
    gv_publish_t publish = gv_publish_of(kept);
    if (publish.expires_at_ms != 0 && publish.expires_at_ms <= shard->now_ms) {
        return true;
    }
    gv_fanout_begin(&shard->fanout, &publish, shard->now_ms);
    shard->fanout.is_replay = true;
    gv_manner_t manner = {
        .ids = &to->subscription_id,
        .id_count = to->subscription_id == 0 ? 0 : 1,
        .qos = publish.qos < to->qos_max ? publish.qos : to->qos_max,
        .retain = true,
    };
    gv__deliver(shard, client->session, &shard->fanout, &manner);
    *is_congested = shard->fanout.has_congested;
    return true;
}

static bool send_there(gv_shard_t *shard, const gv_entry_replay_t *to, gv_msgbuf_t *kept)
{
    gv_publish_t publish = gv_publish_of(kept);
    if (publish.payload.size < GV_PAYLOAD_SHARED_MIN) {
        publish.kept = NULL;
    }
    gv_entry_t *entry =
        gv_office_append(&shard->office, to->subscriber.shard, &publish, sizeof(*to));
    if (entry == NULL) {
        gv_counter_add(&shard->stats.dropped_no_memory, 1);
        return true;
    }
    entry->kind = GV_ENTRY_REPLAY;
    entry->ticket = to->subscriber;
    memcpy(gv_parcel_extra(entry), to, sizeof(*to));
    return true;
}

/* One slice.  True: the replay is over. */
static bool run_slice(gv_shard_t *shard, replay_t *replay)
{
    bool is_here = replay->to.subscriber.shard == shard->index;
    for (uint32_t i = 0; i < SLICE && replay->next < replay->found.count; i++) {
        if (!is_here && gv_office_is_full(&shard->office)) {
            return false;
        }
        gv_msgbuf_t *kept = replay->found.messages[replay->next++];
        shard->replays._work++;
        bool is_congested = false;
        bool goes_on = is_here ? deliver_here(shard, &replay->to, kept, &is_congested)
                               : send_there(shard, &replay->to, kept);
        gv_msgbuf_unref(&kept);
        if (!goes_on) {
            return true;
        }
        if (is_congested) {
            replay->rests_until_ms = shard->now_ms + REST_MS;
            break;
        }
    }
    return replay->next == replay->found.count;
}

static void find(gv_shard_t *shard, replay_t *replay)
{
    gv_retained_match(&shard->retained, gv_bytes(replay->filter, replay->filter_size),
                      &replay->found);
    replay->is_found = true;
    shard->replays._found += replay->found.count;
    *found_of(shard, replay) += replay->found.count;
    shard->replays._work += (uint32_t)replay->found.visited;
    gv_counter_add(&shard->stats.dropped_no_memory, replay->found.missed);
}

/* Its turn has come.  True: the replay is over. */
static bool go_on(gv_shard_t *shard, replay_t *replay)
{
    if (!replay->is_found) {
        if (shard->replays._found >= FOUND_MAX && *found_of(shard, replay) > 0) {
            return false;
        }
        find(shard, replay);
    }
    return run_slice(shard, replay);
}

void gv__replays_run(gv_shard_t *shard)
{
    gv_replays_t *replays = &shard->replays;
    if (gv_list_is_empty(&replays->_running)) {
        replays->_work = 0;
        return;
    }
    shard->now_ms = shard->ports.monotonic_ms(shard->ports.arg);
    for (size_t left = gv_map_count(&replays->_by_subscriber);
         left > 0 && replays->_work < WORK_PER_TURN; left--) {
        replay_t *replay = gv_container_of(gv_list_first(&replays->_running), replay_t, link);
        gv_list_remove(&replay->link);
        gv_list_append(&replays->_running, &replay->link);
        if (replay->rests_until_ms <= shard->now_ms && go_on(shard, replay)) {
            replay_free(shard, replay);
        }
    }
    replays->_work = 0;
    if (!gv_list_is_empty(&replays->_running)) {
        gv_timer_start(shard->wheel, &replays->_timer, shard->now_ms + 1);
    }
}

static replay_t *replay_of(const gv_shard_t *shard, const gv_ticket_t *subscriber)
{
    return gv_map_find(&shard->replays._by_subscriber, gv_bytes(subscriber, sizeof(*subscriber)));
}

void gv__replay_congested(gv_shard_t *shard, const gv_ticket_t *subscriber)
{
    replay_t *replay = replay_of(shard, subscriber);
    if (replay != NULL) {
        replay->rests_until_ms = shard->now_ms + REST_MS;
    }
}

/*
 * Finds what matches here and starts sending it, or remembers to.  Whoever subscribes again gets it
 * all again: what the subscription before has not sent yet is part of that.  So a client cannot
 * make us remember more replays than it has subscriptions.
 */
static void start(gv_shard_t *shard, const gv_entry_replay_t *to, gv_bytes_t filter)
{
    replay_t *replay = replay_of(shard, &to->subscriber);
    if (replay != NULL) {
        replay_free(shard, replay);
    }
    if (shard->memory_state == GV_MEMORY_CRITICAL) {
        /* A list of all that matches is too much. */
        gv_counter_add(&shard->stats.dropped_memory, 1);
        return;
    }
    if (shard->retained.count == 0) {
        return;
    }
    replay = gv_xcalloc(1, sizeof(*replay) + filter.size);
    replay->to = *to;
    replay->filter_size = (uint16_t)filter.size;
    memcpy(replay->filter, filter.data, filter.size);
    gv_list_append(&shard->replays._running, &replay->link);
    gv_map_add(&shard->replays._by_subscriber, replay);
    if (shard->replays._work < WORK_PER_TURN && go_on(shard, replay)) {
        replay_free(shard, replay);
    }
}

void gv__retained_want(gv_shard_t *shard, gv_entry_replay_t to, gv_bytes_t filter)
{
    gv_mqtt_filter_t parts;
    if (gv_mqtt_filter_parse(filter, &parts) != GV_OK) {
        return;
    }
    uint16_t only = gv__retained_home(shard, filter);
    for (uint16_t i = 0; i < shard->count; i++) {
        if (!parts.has_wildcard && i != only) {
            continue;
        }
        if (i == shard->index) {
            start(shard, &to, filter);
            continue;
        }
        gv_publish_t carrier = {.topic = filter};
        gv_entry_t *entry = gv_office_append(&shard->office, i, &carrier, sizeof(to));
        GV_ASSERT(entry != NULL);
        entry->kind = GV_ENTRY_WANT;
        memcpy(gv_parcel_extra(entry), &to, sizeof(to));
    }
}

void gv__take_want(gv_shard_t *shard, gv_entry_t *entry)
{
    gv_entry_replay_t to;
    memcpy(&to, gv_parcel_extra(entry), sizeof(to));
    start(shard, &to, gv_parcel_publish(entry).topic);
}

void gv__take_replay(gv_shard_t *shard, gv_entry_t *entry)
{
    gv_entry_replay_t to;
    memcpy(&to, gv_parcel_extra(entry), sizeof(to));
    gv_publish_t publish = gv_parcel_publish(entry);
    gv_msgbuf_t *kept = NULL;
    if (gv_publish_keep(&publish, &kept) != GV_OK) {
        gv_counter_add(&shard->stats.dropped_no_memory, 1);
        return;
    }
    bool is_congested = false;
    (void)deliver_here(shard, &to, kept, &is_congested);
    if (is_congested) {
        entry->flags |= GV_ENTRY_CONGESTED;
    }
    if (entry->kept == NULL) {
        gv_publish_done(&publish);
    }
    gv_msgbuf_unref(&kept);
}

/* ---- storing --------------------------------------------------------------------------------- */

/* A stamp above all that this shard has given, near the time of day (design 6.2, P7). */
static uint64_t next_stamp(gv_shard_t *shard)
{
    uint64_t now = gv__to_realtime(shard, shard->now_ms) << 16;
    shard->hlc = now > shard->hlc ? now : shard->hlc + 1;
    return shard->hlc;
}

static void store(gv_shard_t *shard, const gv_publish_t *publish, const gv_msgbuf_t *kept)
{
    shard->retained_stamp = gv_journal_stamp(shard->journal);
    gv_batch_t *tables = gv_journal_change(shard->journal, GV_CHANGE_RETAINED, 0, publish->topic);
    if (kept == NULL) {
        gv_retained_delete(tables, publish->topic);
        return;
    }
    gv_stored_retained_t record = {
        .topic = publish->topic,
        .payload = publish->payload,
        .properties = publish->props,
        .qos = publish->qos,
        .hlc = next_stamp(shard),
    };
    if (publish->expires_at_ms != 0) {
        record.expires_at_ms = gv__to_realtime(shard, publish->expires_at_ms);
    }
    memcpy(record.node_id, shard->node_id, sizeof(record.node_id));
    gv_retained_put(tables, &record);
}

void gv__retain_again(gv_shard_t *shard, gv_bytes_t topic)
{
    gv_msgbuf_t *kept = gv_retained_find(&shard->retained, topic);
    gv_publish_t publish = {.topic = topic};
    if (kept != NULL) {
        publish = gv_publish_of(kept);
    }
    store(shard, &publish, kept);
}

/* There are more of them, or fewer. */
static void changed(gv_shard_t *shard)
{
    if (shard->retained_total != NULL) {
        /* What this shard has told before, and the difference: other shards add theirs. */
        atomic_fetch_add_explicit(&shard->retained_total->messages,
                                  shard->retained.count - gv_counter_get(&shard->stats.retained),
                                  memory_order_relaxed);
        atomic_fetch_add_explicit(&shard->retained_total->bytes,
                                  shard->retained.bytes -
                                      gv_counter_get(&shard->stats.retained_bytes),
                                  memory_order_relaxed);
    }
    gv_counter_set(&shard->stats.retained, shard->retained.count);
    gv_counter_set(&shard->stats.retained_bytes, shard->retained.bytes);
    uint64_t next_ms = gv_retained_next_expiry(&shard->retained);
    if (next_ms == UINT64_MAX) {
        gv_timer_stop(&shard->replays._expiry);
    } else {
        gv_timer_start(shard->wheel, &shard->replays._expiry, next_ms);
    }
}

/* A slice of what has expired; the timer fires again at once when that was not all. */
static void on_expiry(gv_timer_t *timer)
{
    gv_shard_t *shard = gv_container_of(timer, gv_shard_t, replays._expiry);
    shard->now_ms = shard->ports.monotonic_ms(shard->ports.arg);
    gv_msgbuf_t *kept = NULL;
    for (uint32_t i = 0;
         i < SLICE && (kept = gv_retained_take_expired(&shard->retained, shard->now_ms)) != NULL;
         i++) {
        gv_publish_t publish = gv_publish_of(kept);
        if (!gv_topic_is_own(publish.topic)) {
            store(shard, &publish, NULL);
        }
        gv_msgbuf_unref(&kept);
    }
    changed(shard);
}

void gv_shard_retain_load(gv_shard_t *shard, gv_msgbuf_t *kept)
{
    GV_ASSERT(gv__retained_home(shard, gv_publish_of(kept).topic) == shard->index);
    gv_retained_set(&shard->retained, kept);
    changed(shard);
}

/* There is none; but one that has been cleared a moment ago may still be on the disk. */
static gv_retain_result_t confirm_absence(gv_shard_t *shard, const gv_ticket_t *ticket)
{
    if (ticket == NULL || gv_journal_is_stored(shard->journal, shard->retained_stamp)) {
        return GV_RETAIN_DONE;
    }
    gv_journal_then_confirm(shard->journal, ticket);
    return GV_RETAIN_LATER;
}

/* Whether the node would keep more than it may.  What takes the place of another may come in. */
static bool is_beyond_limits(const gv_shard_t *shard, gv_bytes_t topic, const gv_msgbuf_t *kept)
{
    const gv_limits_t *limits = shard->limits;
    if (shard->retained_total == NULL) {
        return false;
    }
    uint64_t messages =
        atomic_load_explicit(&shard->retained_total->messages, memory_order_relaxed) + 1;
    uint64_t bytes = atomic_load_explicit(&shard->retained_total->bytes, memory_order_relaxed) +
                     gv_msgbuf_bytes(kept).size;
    bool is_many = limits->retained_messages_max != 0 && messages > limits->retained_messages_max;
    bool is_much = limits->retained_bytes_max != 0 && bytes > limits->retained_bytes_max;
    if (!is_many && !is_much) {
        return false;
    }
    const gv_msgbuf_t *before = gv_retained_find(&shard->retained, topic);
    return before == NULL || (is_much && gv_msgbuf_bytes(before).size < gv_msgbuf_bytes(kept).size);
}

/* Memory is scarce; what takes no more than the one before it always has some. */
static bool has_no_memory(gv_shard_t *shard, const gv_publish_t *publish)
{
    if (!gv__memory_is_scarce(shard)) {
        return false;
    }
    const gv_msgbuf_t *old = gv_retained_find(&shard->retained, publish->topic);
    size_t size = gv_publish_payload_offset(publish) + publish->payload.size;
    if (old != NULL && size <= gv_msgbuf_bytes(old).size) {
        return false;
    }
    gv_counter_add(&shard->stats.retained_memory_refused, 1);
    return true;
}

gv_retain_result_t gv__retain(gv_shard_t *shard, gv_publish_t *publish, const gv_ticket_t *ticket,
                              bool is_joined)
{
    bool is_own = gv_topic_is_own(publish->topic);
    gv_msgbuf_t *kept = NULL;
    if (publish->payload.size == 0) {
        /* [MQTT-3.3.1-6, -7]: an empty one clears, and is not kept itself. */
        if (!gv_retained_remove(&shard->retained, publish->topic)) {
            return confirm_absence(shard, ticket);
        }
    } else if (!is_own && !is_joined && gv_journal_refuses(shard->journal)) {
        gv_counter_add(&shard->stats.dropped_store_full, 1);
        return GV_RETAIN_REFUSED;
    } else if (!is_own && !is_joined && has_no_memory(shard, publish)) {
        return GV_RETAIN_REFUSED;
    } else if (gv_publish_keep(publish, &kept) != GV_OK) {
        gv_counter_add(&shard->stats.dropped_no_memory, 1);
        return GV_RETAIN_REFUSED;
    } else if (!is_own && is_beyond_limits(shard, publish->topic, kept)) {
        gv_counter_add(&shard->stats.dropped_retained, 1);
        gv_msgbuf_unref(&kept);
        /* What was joined to a packet id has been taken on already; it is only not kept. */
        return is_joined ? GV_RETAIN_DONE : GV_RETAIN_REFUSED;
    } else {
        gv_retained_set(&shard->retained, kept);
    }
    changed(shard);
    if (is_own) {
        gv_msgbuf_unref(&kept);
        return GV_RETAIN_DONE;
    }
    store(shard, publish, kept);
    gv_msgbuf_unref(&kept);
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
    gv__take_join(shard, entry);
    switch (gv__retain(shard, &publish, is_awaited ? &entry->ticket : NULL, is_joined)) {
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
