/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/retained_store.h"

#include <protobuf-c/protobuf-c.h>

#include "proto/record.pb-c.h"

#include "storage/records.h"

#define QOS_MAX 2U

void gv_retained_put(gv_batch_t *batch, const gv_stored_retained_t *retained)
{
    GV_ASSERT(retained->topic.size >= 1);
    GV_ASSERT(retained->qos <= QOS_MAX);
    gv_key_t key;
    gv_key_from_text(&key, retained->topic);

    Gv__Record__Retained message = GV__RECORD__RETAINED__INIT;
    message.topic = gv_record_bytes(retained->topic);
    message.payload = gv_record_bytes(retained->payload);
    message.properties = gv_record_bytes(retained->properties);
    message.qos = retained->qos;
    message.is_tombstone = retained->is_tombstone;
    message.expires_at_ms = retained->expires_at_ms;
    message.hlc = retained->hlc;
    message.node_id = gv_record_bytes(gv_bytes(retained->node_id, sizeof(retained->node_id)));
    gv_record_put(batch, GV_TABLE_RETAINED, gv_key_bytes(&key), &message.base);
}

void gv_retained_delete(gv_batch_t *batch, gv_bytes_t topic)
{
    gv_key_t key;
    gv_key_from_text(&key, topic);
    gv_batch_delete(batch, GV_TABLE_RETAINED, gv_key_bytes(&key));
}

/* The checks that a checksum cannot make: it may have been a wrong record from the start. */
static bool is_sound(const Gv__Record__Retained *message, gv_bytes_t key)
{
    if (message->topic.len == 0 || message->qos > QOS_MAX ||
        message->node_id.len != GV_NODE_ID_SIZE) {
        return false;
    }
    gv_key_t expected;
    gv_key_from_text(&expected, gv_record_view(message->topic));
    return gv_bytes_equal(gv_key_bytes(&expected), key);
}

typedef struct load {
    gv_store_t *store;
    gv_retained_cb_t *on_retained;
    void *arg;
    gv_record_arena_t arena;
} load_t;

static gv_err_t on_record(gv_bytes_t key, gv_bytes_t value, void *arg)
{
    load_t *load = arg;
    const ProtobufCMessage *unpacked;
    gv_err_t err = gv_record_unpack_in(&load->arena, GV_TABLE_RETAINED, key, value,
                                       &gv__record__retained__descriptor, &unpacked);
    const Gv__Record__Retained *message = (const Gv__Record__Retained *)unpacked;
    if (err != GV_OK || !is_sound(message, key)) {
        gv_store_note_damaged(load->store, GV_TABLE_RETAINED, key);
        return GV_OK; /* the others are worth having */
    }
    gv_stored_retained_t retained = {
        .topic = gv_record_view(message->topic),
        .payload = gv_record_view(message->payload),
        .properties = gv_record_view(message->properties),
        .qos = (uint8_t)message->qos,
        .is_tombstone = message->is_tombstone,
        .expires_at_ms = message->expires_at_ms,
        .hlc = message->hlc,
    };
    memcpy(retained.node_id, message->node_id.data, sizeof(retained.node_id));
    return load->on_retained(&retained, load->arg);
}

gv_err_t gv_retained_load(gv_store_t *store, gv_retained_cb_t *on_retained, void *arg)
{
    GV_ASSERT(on_retained != NULL);
    load_t load = {.store = store, .on_retained = on_retained, .arg = arg};
    gv_record_arena_init(&load.arena);
    gv_err_t err = gv_store_scan(store, GV_TABLE_RETAINED, on_record, &load);
    gv_record_arena_deinit(&load.arena);
    return err;
}
