/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_STORE

#include "storage/session_store.h"

#include <stdlib.h>

#include <protobuf-c/protobuf-c.h>

#include "base/alloc.h"

#include "proto/record.pb-c.h"

#include "storage/records.h"

/*
 * Parts of this file: what the loaders share; then one part per table, each with its writers, the
 * checks that a checksum cannot make (a record may have been senseless from the start), and its
 * loader.
 */

#define QOS_MAX             2U
#define PACKET_ID_SIZE      ((size_t)2)
#define PACKET_IDS_MAX      ((size_t)UINT16_MAX)
#define SUBSCRIPTION_ID_MAX 268435455U /* what an MQTT variable byte integer holds */

/* ---- loading ---- */

typedef struct load load_t;

/* Gives the record to the caller.  False: it makes no sense. */
typedef bool load_one_t(load_t *load, gv_bytes_t key, const ProtobufCMessage *message);

struct load {
    gv_store_t *store;
    gv_table_t table;
    const ProtobufCMessageDescriptor *descriptor;
    load_one_t *load_one;
    union {
        gv_session_cb_t *on_session;
        gv_subscription_cb_t *on_subscription;
        gv_will_cb_t *on_will;
        gv_received_cb_t *on_received;
    };
    void *arg;
    uint16_t *packet_ids; /* room for all there can be; received only */
    gv_err_t result;      /* what the caller said last */
    gv_record_arena_t arena;
};

static gv_err_t on_record(gv_bytes_t key, gv_bytes_t value, void *arg)
{
    load_t *load = arg;
    const ProtobufCMessage *message;
    gv_err_t err =
        gv_record_unpack_in(&load->arena, load->table, key, value, load->descriptor, &message);
    if (err != GV_OK || !load->load_one(load, key, message)) {
        gv_store_note_damaged(load->store, load->table, key);
        return GV_OK; /* the others are worth having */
    }
    return load->result;
}

static gv_err_t run(load_t *load)
{
    gv_record_arena_init(&load->arena);
    gv_err_t err = gv_store_scan(load->store, load->table, on_record, load);
    gv_record_arena_deinit(&load->arena);
    return err;
}

static bool is_key_of_text(gv_bytes_t key, gv_bytes_t text)
{
    if (text.size == 0) {
        return false;
    }
    gv_key_t expected;
    gv_key_from_text(&expected, text);
    return gv_bytes_equal(gv_key_bytes(&expected), key);
}

static bool is_key_of_uid(gv_bytes_t key, uint64_t uid)
{
    gv_key_t expected;
    gv_key_from_number(&expected, uid);
    return uid != 0 && gv_bytes_equal(gv_key_bytes(&expected), key);
}

/* ---- sessions ---- */

void gv_session_put(gv_batch_t *batch, const gv_stored_session_t *session)
{
    GV_ASSERT(session->client_id.size >= 1);
    GV_ASSERT(session->uid != 0);
    gv_key_t key;
    gv_key_from_text(&key, session->client_id);

    Gv__Record__Session message = GV__RECORD__SESSION__INIT;
    message.client_id = gv_record_bytes(session->client_id);
    message.uid = session->uid;
    message.expiry_s = session->expiry_s;
    message.left_at_ms = session->left_at_ms;
    message.username = gv_record_bytes(session->username);
    gv_record_put(batch, GV_TABLE_SESSIONS, gv_key_bytes(&key), &message.base);
}

void gv_session_delete(gv_batch_t *batch, gv_bytes_t client_id)
{
    gv_key_t key;
    gv_key_from_text(&key, client_id);
    gv_batch_delete(batch, GV_TABLE_SESSIONS, gv_key_bytes(&key));
}

static bool load_session(load_t *load, gv_bytes_t key, const ProtobufCMessage *unpacked)
{
    const Gv__Record__Session *message = (const Gv__Record__Session *)unpacked;
    gv_stored_session_t session = {
        .client_id = gv_record_view(message->client_id),
        .uid = message->uid,
        .expiry_s = message->expiry_s,
        .left_at_ms = message->left_at_ms,
        .username = gv_record_view(message->username),
    };
    if (session.uid == 0 || !is_key_of_text(key, session.client_id)) {
        return false;
    }
    load->result = load->on_session(&session, load->arg);
    return true;
}

gv_err_t gv_session_load(gv_store_t *store, gv_session_cb_t *on_session, void *arg)
{
    GV_ASSERT(on_session != NULL);
    load_t load = {
        .store = store,
        .table = GV_TABLE_SESSIONS,
        .descriptor = &gv__record__session__descriptor,
        .load_one = load_session,
        .on_session = on_session,
        .arg = arg,
    };
    return run(&load);
}

/* ---- subscriptions ---- */

void gv_subscription_put(gv_batch_t *batch, const gv_stored_subscription_t *subscription)
{
    GV_ASSERT(subscription->uid != 0);
    GV_ASSERT(subscription->filter.size >= 1);
    GV_ASSERT(subscription->options <= UINT8_MAX);
    GV_ASSERT(subscription->id <= SUBSCRIPTION_ID_MAX);
    gv_key_t key;
    gv_key_from_number_text(&key, subscription->uid, subscription->filter);

    Gv__Record__Subscription message = GV__RECORD__SUBSCRIPTION__INIT;
    message.uid = subscription->uid;
    message.filter = gv_record_bytes(subscription->filter);
    message.options = subscription->options;
    message.id = subscription->id;
    gv_record_put(batch, GV_TABLE_SUBSCRIPTIONS, gv_key_bytes(&key), &message.base);
}

void gv_subscription_delete(gv_batch_t *batch, uint64_t uid, gv_bytes_t filter)
{
    gv_key_t key;
    gv_key_from_number_text(&key, uid, filter);
    gv_batch_delete(batch, GV_TABLE_SUBSCRIPTIONS, gv_key_bytes(&key));
}

static bool load_subscription(load_t *load, gv_bytes_t key, const ProtobufCMessage *unpacked)
{
    const Gv__Record__Subscription *message = (const Gv__Record__Subscription *)unpacked;
    gv_stored_subscription_t subscription = {
        .uid = message->uid,
        .filter = gv_record_view(message->filter),
        .options = message->options,
        .id = message->id,
    };
    if (subscription.uid == 0 || subscription.filter.size == 0 ||
        subscription.options > UINT8_MAX || subscription.id > SUBSCRIPTION_ID_MAX) {
        return false;
    }
    gv_key_t expected;
    gv_key_from_number_text(&expected, subscription.uid, subscription.filter);
    if (!gv_bytes_equal(gv_key_bytes(&expected), key)) {
        return false;
    }
    load->result = load->on_subscription(&subscription, load->arg);
    return true;
}

gv_err_t gv_subscription_load(gv_store_t *store, gv_subscription_cb_t *on_subscription, void *arg)
{
    GV_ASSERT(on_subscription != NULL);
    load_t load = {
        .store = store,
        .table = GV_TABLE_SUBSCRIPTIONS,
        .descriptor = &gv__record__subscription__descriptor,
        .load_one = load_subscription,
        .on_subscription = on_subscription,
        .arg = arg,
    };
    return run(&load);
}

/* ---- wills ---- */

void gv_will_put(gv_batch_t *batch, const gv_stored_will_t *will)
{
    GV_ASSERT(will->uid != 0);
    GV_ASSERT(will->topic.size >= 1);
    GV_ASSERT(will->qos <= QOS_MAX);
    gv_key_t key;
    gv_key_from_number(&key, will->uid);

    Gv__Record__Will message = GV__RECORD__WILL__INIT;
    message.uid = will->uid;
    message.topic = gv_record_bytes(will->topic);
    message.payload = gv_record_bytes(will->payload);
    message.properties = gv_record_bytes(will->properties);
    message.qos = will->qos;
    message.retain = will->retain;
    message.delay_s = will->delay_s;
    message.has_expiry = will->has_expiry;
    message.expiry_s = will->has_expiry ? will->expiry_s : 0;
    message.due_at_ms = will->due_at_ms;
    gv_record_put(batch, GV_TABLE_WILLS, gv_key_bytes(&key), &message.base);
}

void gv_will_delete(gv_batch_t *batch, uint64_t uid)
{
    gv_key_t key;
    gv_key_from_number(&key, uid);
    gv_batch_delete(batch, GV_TABLE_WILLS, gv_key_bytes(&key));
}

static bool load_will(load_t *load, gv_bytes_t key, const ProtobufCMessage *unpacked)
{
    const Gv__Record__Will *message = (const Gv__Record__Will *)unpacked;
    if (!is_key_of_uid(key, message->uid) || message->topic.len == 0 || message->qos > QOS_MAX) {
        return false;
    }
    gv_stored_will_t will = {
        .uid = message->uid,
        .topic = gv_record_view(message->topic),
        .payload = gv_record_view(message->payload),
        .properties = gv_record_view(message->properties),
        .qos = (uint8_t)message->qos,
        .retain = message->retain,
        .has_expiry = message->has_expiry,
        .delay_s = message->delay_s,
        .expiry_s = message->expiry_s,
        .due_at_ms = message->due_at_ms,
    };
    load->result = load->on_will(&will, load->arg);
    return true;
}

gv_err_t gv_will_load(gv_store_t *store, gv_will_cb_t *on_will, void *arg)
{
    GV_ASSERT(on_will != NULL);
    load_t load = {
        .store = store,
        .table = GV_TABLE_WILLS,
        .descriptor = &gv__record__will__descriptor,
        .load_one = load_will,
        .on_will = on_will,
        .arg = arg,
    };
    return run(&load);
}

/* ---- received packet ids ---- */

static int compare_packed_ids(const void *a, const void *b)
{
    return memcmp(a, b, PACKET_ID_SIZE);
}

void gv_received_put(gv_batch_t *batch, uint64_t uid, const uint16_t *packet_ids, size_t count)
{
    GV_ASSERT(uid != 0);
    GV_ASSERT(count <= PACKET_IDS_MAX);
    gv_key_t key;
    gv_key_from_number(&key, uid);
    if (count == 0) {
        gv_batch_delete(batch, GV_TABLE_INFLIGHT, gv_key_bytes(&key));
        return;
    }
    size_t size = count * PACKET_ID_SIZE;
    uint8_t *packed = gv_xalloc(size);
    gv_writer_t w = gv_writer(packed, size);
    bool is_ascending = true;
    for (size_t i = 0; i < count; i++) {
        GV_ASSERT(packet_ids[i] != 0);
        is_ascending = is_ascending && (i == 0 || packet_ids[i - 1] < packet_ids[i]);
        gv_writer_u16(&w, packet_ids[i]);
    }
    if (!is_ascending) {
        qsort(packed, count, PACKET_ID_SIZE, compare_packed_ids);
    }
    Gv__Record__Received message = GV__RECORD__RECEIVED__INIT;
    message.uid = uid;
    message.packet_ids = gv_record_bytes(gv_bytes(packed, size));
    gv_record_put(batch, GV_TABLE_INFLIGHT, gv_key_bytes(&key), &message.base);
    gv_free(packed);
}

static bool load_received(load_t *load, gv_bytes_t key, const ProtobufCMessage *unpacked)
{
    const Gv__Record__Received *message = (const Gv__Record__Received *)unpacked;
    size_t count = message->packet_ids.len / PACKET_ID_SIZE;
    if (!is_key_of_uid(key, message->uid) || count == 0 || count > PACKET_IDS_MAX ||
        message->packet_ids.len % PACKET_ID_SIZE != 0) {
        return false;
    }
    gv_reader_t r = gv_reader(gv_record_view(message->packet_ids));
    uint16_t before = 0;
    for (size_t i = 0; i < count; i++) {
        load->packet_ids[i] = gv_reader_u16(&r);
        if (load->packet_ids[i] <= before) {
            return false;
        }
        before = load->packet_ids[i];
    }
    gv_stored_received_t received = {
        .uid = message->uid, .packet_ids = load->packet_ids, .count = count};
    load->result = load->on_received(&received, load->arg);
    return true;
}

gv_err_t gv_received_load(gv_store_t *store, gv_received_cb_t *on_received, void *arg)
{
    GV_ASSERT(on_received != NULL);
    load_t load = {
        .store = store,
        .table = GV_TABLE_INFLIGHT,
        .descriptor = &gv__record__received__descriptor,
        .load_one = load_received,
        .on_received = on_received,
        .arg = arg,
        .packet_ids = gv_xalloc(PACKET_IDS_MAX * sizeof(uint16_t)),
    };
    gv_err_t err = run(&load);
    gv_free(load.packet_ids);
    return err;
}
