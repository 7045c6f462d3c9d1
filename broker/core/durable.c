/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parts: what the store knows of a session - messages in - messages out - acknowledgements.
 */
#define GV_MEMORY_OF GV_MEMORY_SESSIONS

#include "broker/core/durable.h"

#include "base/alloc.h"
#include "broker/core/shard_p.h"
#include "storage/session_store.h"

/* ---- what the store knows of a session --------------------------------------------------------
 */

gv_session_t *gv__durable_session(gv_shard_t *shard, uint64_t uid)
{
    gv_durable_t *durable = gv_map_find(&shard->durables, gv_bytes(&uid, sizeof(uid)));
    return durable == NULL ? NULL : durable->session;
}

static void put_session(gv_session_t *session, bool has_left)
{
    gv_shard_t *shard = session->shard;
    gv_durable_t *durable = session->durable;
    gv_stored_session_t record = {
        .client_id = gv_session_id(session),
        .uid = session->uid,
        .expiry_s = session->expiry_s,
        .left_at_ms = has_left ? gv__to_realtime(shard, (uint64_t)session->left_ms) : 0,
        .username = gv_session_owner(session),
    };
    gv_session_put(
        gv_journal_change(shard->journal, GV_CHANGE_SESSION, session->uid, gv_session_id(session)),
        &record);
    durable->is_stored = true;
    durable->is_stored_left = has_left;
    durable->stored_expiry = session->expiry_s;
}

static void put_will(gv_session_t *session, bool is_due)
{
    gv_publish_t will = gv_publish_of(session->will);
    gv_stored_will_t record = {
        .uid = session->uid,
        .topic = will.topic,
        .payload = will.payload,
        .properties = will.props,
        .qos = will.qos,
        .retain = will.retain,
        .delay_s = session->will_delay_s,
        .due_at_ms = is_due ? gv__to_realtime(session->shard, gv__session_will_at(session)) : 0,
    };
    if (will.expires_at_ms != 0) {
        record.has_expiry = true;
        record.expiry_s = (uint32_t)((will.expires_at_ms - 1) / 1000);
    }
    gv_journal_t *journal = session->shard->journal;
    gv_will_put(gv_journal_change(journal, GV_CHANGE_WILL, session->uid, GV_BYTES_EMPTY), &record);
    session->durable->has_stored_will = true;
    session->durable->is_stored_due = is_due;
}

static void delete_will(gv_shard_t *shard, uint64_t uid)
{
    gv_will_delete(gv_journal_change(shard->journal, GV_CHANGE_WILL, uid, GV_BYTES_EMPTY), uid);
}

static void delete_subscription(gv_shard_t *shard, uint64_t uid, gv_bytes_t filter)
{
    gv_batch_t *tables = gv_journal_change(shard->journal, GV_CHANGE_SUBSCRIPTION, uid, filter);
    gv_subscription_delete(tables, uid, filter);
}

static void delete_session(gv_shard_t *shard, uint64_t uid, gv_bytes_t client_id)
{
    shard->ended_stamp = gv_journal_stamp(shard->journal);
    gv_batch_t *tables = gv_journal_change(shard->journal, GV_CHANGE_SESSION, uid, client_id);
    gv_session_delete(tables, client_id);
    gv_received_put(tables, uid, NULL, 0);
}

gv_durable_t *gv__durable_new(gv_session_t *session)
{
    GV_ASSERT(session->durable == NULL);
    gv_durable_t *durable = GV_NEW(gv_durable_t);
    durable->session = session;
    gv_link_init(&durable->waits);
    session->durable = durable;
    gv_map_add(&session->shard->durables, durable);
    return durable;
}

/* The session has just become durable: other nodes are told that somebody here stays. */
static void count_lasting(gv_session_t *session)
{
    gv_list_foreach (&session->subscriptions, link) {
        gv_filter_t *filter = gv_container_of(link, gv_subscription_t, link)->filter;
        if (!filter->is_shared && filter->lasting++ == 0) {
            gv__route_set(session->shard, filter);
        }
    }
}

void gv__durable_connect(gv_session_t *session)
{
    gv_durable_t *durable = session->durable;
    if (durable == NULL) {
        if (session->expiry_s == 0) {
            return;
        }
        durable = gv__durable_new(session);
        count_lasting(session);
    }
    if (!durable->is_stored || durable->is_stored_left ||
        durable->stored_expiry != session->expiry_s) {
        put_session(session, false);
    }
    if (session->will != NULL) {
        put_will(session, false);
    } else {
        gv__durable_will_gone(session);
    }
    /*
     * What waits may have been sent by the time of a crash, and has to be marked as a repetition
     * then: so it is durable that the client is here before any of it goes out.
     */
    durable->is_held = gv_backlog_count(&durable->backlog) > 0;
    if (durable->is_held) {
        gv_journal_mark_now(session->shard->journal, durable);
        gv_journal_then_resend(session->shard->journal, session);
    }
}

void gv__durable_left(gv_session_t *session)
{
    gv_shard_t *shard = session->shard;
    gv_durable_t *durable = session->durable;
    if (session->expiry_s != GV_EXPIRY_NEVER || session->expiry_s != durable->stored_expiry) {
        put_session(session, true);
    }
    if (session->will != NULL) {
        put_will(session, true);
    }
    durable->is_held = false;
    gv_backlog_rewind(&durable->backlog);
    gv_backlog_rest(&durable->backlog);
    gv_backlog_set_give_from(&durable->backlog, 0);
    if (gv_backlog_count(&durable->backlog) > 0) {
        gv_journal_dirty(shard->journal, durable, GV_DIRTY_MARK);
    }
}

void gv__durable_will_gone(gv_session_t *session)
{
    gv_durable_t *durable = session->durable;
    if (durable != NULL && durable->has_stored_will) {
        delete_will(session->shard, session->uid);
        durable->has_stored_will = false;
    }
}

void gv__durable_subscribed(gv_session_t *session, const gv_subscription_t *subscription)
{
    if (session->durable == NULL) {
        return;
    }
    gv_stored_subscription_t record = {
        .uid = session->uid,
        .filter = gv_filter_text(subscription->filter),
        .options = subscription->options,
        .id = subscription->id,
    };
    gv_subscription_put(gv_journal_change(session->shard->journal, GV_CHANGE_SUBSCRIPTION,
                                          session->uid, record.filter),
                        &record);
}

void gv__durable_unsubscribed(gv_session_t *session, gv_bytes_t filter)
{
    if (session->durable != NULL) {
        delete_subscription(session->shard, session->uid, filter);
    }
}

static void subscribe_again(gv_shard_t *shard, uint64_t uid, gv_bytes_t text)
{
    gv_session_t *session = gv__durable_session(shard, uid);
    const gv_filter_t *filter = gv_subscriptions_find(&shard->subscriptions, text);
    const gv_subscription_t *subscription =
        session == NULL || filter == NULL ? NULL : gv_subscriptions_of(filter, session);
    if (subscription != NULL) {
        gv__durable_subscribed(session, subscription);
    } else {
        delete_subscription(shard, uid, text);
    }
}

void gv__durable_change_again(gv_shard_t *shard, gv_change_t what, uint64_t uid, gv_bytes_t text)
{
    gv_session_t *session = gv__durable_session(shard, uid);
    if (what == GV_CHANGE_SUBSCRIPTION) {
        subscribe_again(shard, uid, text);
    } else if (what == GV_CHANGE_WILL && session != NULL && session->durable->has_stored_will) {
        put_will(session, session->durable->is_stored_due);
    } else if (what == GV_CHANGE_WILL) {
        delete_will(shard, uid);
    } else if (session != NULL) {
        put_session(session, session->durable->is_stored_left);
    } else {
        gv_session_t *now = gv_session_find(shard, text);
        delete_session(shard, uid, text);
        if (now != NULL && now->durable != NULL) {
            put_session(now, now->durable->is_stored_left);
        }
    }
}

void gv__durable_end(gv_session_t *session)
{
    gv_shard_t *shard = session->shard;
    gv_durable_t *durable = session->durable;
    gv_backlog_t *backlog = &durable->backlog;
    for (uint64_t n = backlog->low; n < gv_backlog_end(backlog); n++) {
        const gv_backlog_entry_t *entry = gv_backlog_at(backlog, n);
        if (entry->state != GV_BACKLOG_DONE) {
            bool was_waiting = entry->state == GV_BACKLOG_OPEN;
            gv_counter_sub(&shard->stats.queued_messages, was_waiting);
            gv_counter_add(&shard->stats.dropped_session_ended, was_waiting);
            gv_journal_release(shard->journal, entry->place);
        }
    }
    gv_counter_sub(&shard->stats.queued_bytes, gv_backlog_bytes(backlog));
    gv_backlog_clear(backlog);
    gv__durable_will_gone(session);
    delete_session(shard, session->uid, gv_session_id(session));
}

void gv__durable_free(gv_session_t *session)
{
    gv_durable_t *durable = session->durable;
    gv_journal_forget(durable);
    void *removed =
        gv_map_remove(&session->shard->durables, gv_bytes(&session->uid, sizeof(session->uid)));
    GV_ASSERT(removed == durable);
    gv_backlog_clear(&durable->backlog);
    gv_free(durable);
    session->durable = NULL;
}

/* ---- messages in ------------------------------------------------------------------------------
 */

void gv__durable_finish(gv_session_t *session, uint64_t number)
{
    gv_durable_t *durable = session->durable;
    gv_shard_t *shard = session->shard;
    const gv_backlog_entry_t *entry = gv_backlog_at(&durable->backlog, number);
    gv_place_t place = entry->place;
    gv_counter_sub(&shard->stats.queued_messages, entry->state == GV_BACKLOG_OPEN);
    gv_counter_sub(&shard->stats.queued_bytes, (uint64_t)entry->units * GV_BACKLOG_UNIT);
    gv_backlog_finish(&durable->backlog, number);
    gv_journal_dirty(shard->journal, durable, GV_DIRTY_MARK);
    gv_journal_release(shard->journal, place);
}

static bool is_too_full(const gv_session_t *session, size_t size)
{
    const gv_limits_t *limits = session->shard->limits;
    const gv_backlog_t *backlog = &session->durable->backlog;
    return gv_backlog_waiting(backlog) >= limits->stored_queue_messages_max ||
           gv_backlog_bytes(backlog) + size > limits->stored_queue_bytes_max;
}

/* Drops the oldest message that has not been sent.  False: there is none. */
static bool drop_oldest(gv_session_t *session)
{
    uint64_t number;
    if (!gv_backlog_pass_over(&session->durable->backlog, &number)) {
        return false;
    }
    gv__durable_finish(session, number);
    gv_counter_add(&session->shard->stats.dropped_queue_full, 1);
    return true;
}

/* Makes room for one more as the policy says.  False: the new message is dropped. */
static bool make_room(gv_session_t *session, size_t size)
{
    gv_shard_t *shard = session->shard;
    if (!is_too_full(session, size)) {
        return true;
    }
    /* What is larger than the whole queue is not worth all that waits there. */
    if (shard->limits->queue_policy == GV_QUEUE_DROP_OLDEST &&
        size <= shard->limits->stored_queue_bytes_max) {
        while (is_too_full(session, size)) {
            if (!drop_oldest(session)) {
                break;
            }
        }
        return true;
    }
    gv_counter_add(&shard->stats.dropped_queue_full, 1);
    if (shard->limits->queue_policy == GV_QUEUE_DISCONNECT && gv__is_online(session)) {
        gv_counter_add(&shard->stats.queue_full_closed, 1);
        gv__client_end_later(session->client, GV_MQTT_QUOTA_EXCEEDED);
    }
    return false;
}

static uint32_t units_of(const gv_publish_t *publish)
{
    return gv_backlog_units(publish->topic.size + publish->props.size + publish->payload.size) &
           GV_BACKLOG_UNITS_MAX;
}

static gv_backlog_entry_t entry_of(gv_shard_t *shard, const gv_publish_t *publish, uint32_t units,
                                   const gv_manner_t *manner)
{
    gv_backlog_entry_t entry = {
        .units = units & GV_BACKLOG_UNITS_MAX,
        .is_qos2 = manner->qos == 2,
        .is_shared = manner->share != 0,
        .is_lent = manner->is_lent,
    };
    if (publish->expires_at_ms != 0) {
        uint64_t expires_s = (gv__to_realtime(shard, publish->expires_at_ms) + 999) / 1000;
        /* After 2106 is never, here; the receiver is told what is left. */
        entry.expires_s = expires_s <= UINT32_MAX ? (uint32_t)expires_s : 0;
    }
    return entry;
}

/* It has gone out over this connection, as the next one of the backlog. */
static void note_sent(gv_durable_t *durable, gv_backlog_entry_t *entry)
{
    gv_counter_sub(&durable->session->shard->stats.queued_messages,
                   entry->state == GV_BACKLOG_OPEN);
    entry->state = GV_BACKLOG_SENT;
    gv_backlog_advance(&durable->backlog);
}

/* Whether its client keeps up: the message goes out as soon as it may. */
static bool takes_now(const gv_session_t *session)
{
    const gv_backlog_t *backlog = &session->durable->backlog;
    return gv__is_online(session) && gv_backlog_waiting(backlog) == 0 &&
           gv__window_is_open(session, gv_backlog_open(backlog));
}

/* Whether a message of QoS 1 that comes now is sent before it is durable. */
static bool goes_out_at_once(const gv_session_t *session)
{
    const gv_durable_t *durable = session->durable;
    return gv__is_online(session) && !durable->is_held &&
           gv_backlog_can_send_new(&durable->backlog) &&
           gv__window_is_open(session, gv_backlog_open(&durable->backlog));
}

/* What cannot be sent for want of memory stays where it is, and is tried again. */
static void note_result(gv_session_t *session, uint64_t number, gv_sent_t sent)
{
    switch (sent) {
    case GV_SENT:
        note_sent(session->durable, gv_backlog_at(&session->durable->backlog, number));
        break;
    case GV_SENT_TOO_LARGE:
        gv__durable_finish(session, number);
        break;
    case GV_SENT_NO_MEMORY:
        gv_journal_wait_for_memory(session->shard->journal, session->durable);
        break;
    }
}

void gv__durable_deliver(gv_shard_t *shard, gv_session_t *session, gv_fanout_t *fanout,
                         const gv_manner_t *manner)
{
    gv_durable_t *durable = session->durable;
    gv_backlog_t *backlog = &durable->backlog;
    const gv_publish_t *publish = fanout->publish;
    if (!fanout->is_joined && gv_journal_refuses(shard->journal)) {
        gv_counter_add(&shard->stats.dropped_store_full, 1);
        fanout->has_refused = true;
        return;
    }
    if (!fanout->is_joined && gv__memory_is_scarce(shard) && !takes_now(session)) {
        gv_counter_add(&shard->stats.dropped_memory, 1);
        fanout->has_refused = true;
        return;
    }
    uint32_t units = units_of(publish);
    size_t size = (size_t)units * GV_BACKLOG_UNIT;
    if (!manner->is_lent && !make_room(session, size)) {
        return;
    }
    gv_backlog_entry_t entry = entry_of(shard, publish, units, manner);
    uint64_t number = gv_backlog_end(backlog);
    gv_segment_delivery_t delivery = {
        .session = session->uid,
        .number = number,
        .expires_s = entry.expires_s,
        .qos = manner->qos,
        .retain = manner->retain,
        .is_connected = session->client != NULL,
    };
    if (manner->share != 0) {
        delivery.share =
            gv_filter_text(gv_subscriptions_at(&shard->subscriptions, manner->share - 1));
    }
    bool goes_out = manner->qos == 1 && !manner->is_lent && goes_out_at_once(session);
    entry.place = gv_journal_deliver(shard->journal, fanout, &delivery, manner->ids,
                                     manner->id_count, goes_out && durable->is_prompt);
    (void)gv_backlog_push(backlog, entry);
    if (entry.expires_s != 0) {
        gv_journal_expires(shard->journal, durable, entry.expires_s);
    }
    fanout->is_journaled = true;
    gv_counter_add(&shard->stats.queued_messages, 1);
    gv_counter_add(&shard->stats.queued_bytes, size);
    if (!gv__is_online(session)) {
        return;
    }
    if (goes_out) {
        /* Before it is durable: if it is lost, its publisher has not been told otherwise. */
        note_result(session, number,
                    gv__send_publish(shard, session->client, fanout, manner, false,
                                     gv_backlog_packet_id(number)));
        gv__look_for_congestion(shard, fanout, session->client);
        return;
    }
    if (gv_backlog_next(backlog) == number && !gv_link_is_linked(&durable->waits)) {
        gv__durable_pump(session); /* QoS 2: waits for its commit */
    }
    if (gv_backlog_waiting(backlog) > shard->limits->queue_messages_max / 2 &&
        shard->now_ms - session->client->last_input_ms < 1000) {
        fanout->has_congested = true;
    }
}

void gv__durable_expire(gv_session_t *session, uint64_t number)
{
    gv_counter_add(&session->shard->stats.dropped_expired, 1);
    gv__durable_finish(session, number);
}

void gv__durable_damaged(gv_session_t *session, uint64_t number)
{
    bool was_stored = gv_backlog_at(&session->durable->backlog, number)->place != 0;
    gv_counter_add(&session->shard->stats.dropped_damaged, was_stored);
    gv__durable_finish(session, number);
}

bool gv__durable_lost(gv_session_t *session, uint64_t number, gv_place_t place)
{
    gv_backlog_entry_t *entry = gv_backlog_at(&session->durable->backlog, number);
    if (entry == NULL || entry->state == GV_BACKLOG_DONE || entry->place != place) {
        return false;
    }
    entry->place = 0;
    if (entry->state == GV_BACKLOG_OPEN || entry->is_qos2) {
        gv_counter_add(&session->shard->stats.dropped_store_full, 1);
        gv__durable_finish(session, number);
    }
    return true;
}

/* ---- messages out -----------------------------------------------------------------------------
 */

static void send_pubrel(gv_session_t *session, uint64_t number)
{
    gv_client_t *client = session->client;
    gv_writer_t w = gv_writer(gv__client_reserve(client, GV_MQTT_ACK_SIZE), GV_MQTT_ACK_SIZE);
    gv_mqtt_write_ack(&w, GV_MQTT_PUBREL, gv_backlog_packet_id(number));
    gv__client_commit(client, GV_MQTT_ACK_SIZE);
}

/* What has been begun is finished: the receiver may have it already. */
bool gv__durable_may_expire(const gv_backlog_entry_t *entry)
{
    return entry->expires_s != 0 && entry->state == GV_BACKLOG_OPEN && !entry->was_sent;
}

bool gv__durable_has_expired(const gv_shard_t *shard, const gv_backlog_entry_t *entry)
{
    return gv__durable_may_expire(entry) && !entry->is_lent && gv__is_past(shard, entry->expires_s);
}

/* PUBREL, when the mark that says RECEIVED is durable. */
static void release(gv_session_t *session, uint64_t number)
{
    gv_journal_t *journal = session->shard->journal;
    const gv_durable_t *durable = session->durable;
    if ((durable->dirty_what & GV_DIRTY_STAGE) == 0 &&
        gv_journal_is_stored(journal, durable->stage_stamp)) {
        send_pubrel(session, number);
    } else {
        gv_journal_then_ack(journal, session, GV_MQTT_PUBREL, gv_backlog_packet_id(number),
                            GV_MQTT_SUCCESS);
    }
}

typedef enum step {
    STEP_NEXT,
    STEP_WAIT,
} step_t;

/* Sends the message at `next`, or finds that it is over. */
static step_t send_next(gv_session_t *session)
{
    gv_shard_t *shard = session->shard;
    gv_durable_t *durable = session->durable;
    gv_backlog_t *backlog = &durable->backlog;
    uint64_t number = gv_backlog_next(backlog);
    gv_backlog_entry_t *entry = gv_backlog_at(backlog, number);
    if (entry->state == GV_BACKLOG_DONE || entry->is_lent) {
        gv_backlog_advance(backlog);
        return STEP_NEXT;
    }
    if (entry->state == GV_BACKLOG_RECEIVED) {
        release(session, number);
        gv_backlog_advance(backlog);
        return STEP_NEXT;
    }
    if (gv__durable_has_expired(shard, entry)) {
        gv__durable_expire(session, number);
        return STEP_NEXT;
    }
    gv_waiting_message_t message;
    switch (gv_journal_read(shard->journal, durable, entry->place, entry->is_qos2, &message)) {
    case GV_READ_LATER:
        return STEP_WAIT;
    case GV_READ_LOST:
        gv__durable_damaged(session, number);
        return STEP_NEXT;
    case GV_READ_OK:
        break;
    }
    if (gv__durable_may_expire(entry) && message.publish.expires_at_ms <= shard->now_ms) {
        gv__durable_expire(session, number);
        gv_publish_done(&message.publish);
        return STEP_NEXT;
    }
    gv_manner_t manner = {
        .ids = message.ids,
        .id_count = message.id_count,
        .qos = message.qos,
        .retain = message.retain,
    };
    bool dup = gv_backlog_was_sent(entry);
    gv_fanout_begin(&shard->fanout, &message.publish, shard->now_ms);
    gv_sent_t sent = gv__send_publish(shard, session->client, &shard->fanout, &manner, dup,
                                      gv_backlog_packet_id(number));
    note_result(session, number, sent);
    gv_publish_done(&message.publish);
    return sent == GV_SENT_NO_MEMORY ? STEP_WAIT : STEP_NEXT;
}

void gv__durable_pump(gv_session_t *session)
{
    gv_durable_t *durable = session->durable;
    gv_backlog_t *backlog = &durable->backlog;
    if (durable->is_held || gv_link_is_linked(&durable->waits)) {
        return;
    }
    while (gv__is_online(session) && gv_backlog_can_send(backlog) &&
           gv__window_is_open(session, gv_backlog_open(backlog)) &&
           send_next(session) == STEP_NEXT) {
    }
}

void gv__durable_resend(gv_session_t *session)
{
    gv_backlog_rewind(&session->durable->backlog);
    gv__durable_pump(session);
}

void gv__durable_known(gv_session_t *session)
{
    session->durable->is_held = false;
    gv__durable_pump(session);
}

/* ---- acknowledgements -------------------------------------------------------------------------
 */

static void on_pubrec(gv_session_t *session, const gv_mqtt_ack_t *ack, gv_backlog_entry_t *entry,
                      uint64_t number)
{
    gv_journal_t *journal = session->shard->journal;
    bool is_error = gv_mqtt_reason_is_error(ack->reason);
    if (entry == NULL || !entry->is_qos2) {
        if (!is_error) {
            gv__client_send_ack(session->client, GV_MQTT_PUBREL, ack->packet_id,
                                GV_MQTT_PACKET_ID_NOT_FOUND);
        }
        return;
    }
    if (entry->state != GV_BACKLOG_RECEIVED && is_error) {
        gv__durable_finish(session, number);
        return;
    }
    if (entry->state != GV_BACKLOG_RECEIVED) {
        gv_counter_sub(&session->shard->stats.queued_messages, entry->state == GV_BACKLOG_OPEN);
        entry->state = GV_BACKLOG_RECEIVED;
        gv_journal_dirty(journal, session->durable, GV_DIRTY_STAGE);
    }
    gv_journal_then_ack(journal, session, GV_MQTT_PUBREL, ack->packet_id, GV_MQTT_SUCCESS);
}

void gv__durable_ack(gv_session_t *session, const gv_mqtt_ack_t *ack, gv_mqtt_type_t type)
{
    uint64_t number = 0;
    gv_backlog_entry_t *entry =
        gv_backlog_by_id(&session->durable->backlog, ack->packet_id, &number);
    if (type == GV_MQTT_PUBREC) {
        on_pubrec(session, ack, entry, number);
    } else if (entry != NULL && type == GV_MQTT_PUBACK && !entry->is_qos2) {
        session->durable->is_prompt = gv_journal_was_soon(session->shard->journal, entry->place);
        gv__durable_finish(session, number);
    } else if (entry != NULL && type == GV_MQTT_PUBCOMP && entry->state == GV_BACKLOG_RECEIVED) {
        gv__durable_finish(session, number);
    }
    if (gv_backlog_lent(&session->durable->backlog) > 0) {
        gv__lent_behind(session);
    }
    if (gv_backlog_can_send(&session->durable->backlog)) {
        gv__durable_pump(session);
    }
}

void gv__durable_woken(gv_durable_t *durable)
{
    gv_session_t *session = durable->session;
    if (gv__is_online(session)) {
        gv__durable_pump(session);
    } else {
        gv__durable_give(session, GV_GIVE_AWAY, GV_BYTES_EMPTY);
    }
}
