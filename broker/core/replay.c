/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_RETAINED

#include "broker/core/replay.h"

#include "base/alloc.h"
#include "broker/core/shard_p.h"
#include "proto/mqtt/topic.h"

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

void gv__replays_init(gv_shard_t *shard)
{
    gv_list_init(&shard->replays._running);
    gv_map_init(&shard->replays._by_subscriber, subscriber_of, shard->hash_seed);
    gv_timer_init(&shard->replays._timer, on_rested);
}

void gv__replays_deinit(gv_shard_t *shard)
{
    gv_timer_stop(&shard->replays._timer);
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
