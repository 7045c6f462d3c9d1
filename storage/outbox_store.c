/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/outbox_store.h"

#include "base/alloc.h"
#include "proto/record.pb-c.h"

#define KEY_SIZE (GV_NODE_ID_SIZE + 2 * sizeof(uint64_t) + sizeof(uint32_t))

gv_table_t gv_outbox_table(gv_outbox_kind_t kind)
{
    return kind == GV_OUTBOX_EXACT ? GV_TABLE_EXACT : GV_TABLE_OUTBOX;
}

void gv_outbox_key(gv_key_t *key_out, const gv_outbox_place_t *place)
{
    gv_writer_t w = gv_writer(key_out->data, KEY_SIZE);
    gv_writer_put(&w, gv_bytes(place->node_id, sizeof(place->node_id)));
    gv_writer_u64(&w, place->number);
    gv_writer_u32(&w, place->count);
    gv_writer_u64(&w, place->run);
    GV_ASSERT(!w.failed);
    key_out->size = KEY_SIZE;
}

void gv_outbox_record_put(gv_batch_t *batch, const gv_outbox_place_t *place,
                          const gv_outbox_message_t *messages)
{
    Gv__Record__OutboxMessage *items = gv_xcalloc(place->count, sizeof(*items));
    Gv__Record__OutboxMessage **pointers = gv_xcalloc(place->count, sizeof(*pointers));
    for (uint32_t i = 0; i < place->count; i++) {
        items[i] = (Gv__Record__OutboxMessage)GV__RECORD__OUTBOX_MESSAGE__INIT;
        items[i].body = gv_record_bytes(messages[i].body);
        items[i].expires_at_ms = messages[i].expires_at_ms;
        pointers[i] = &items[i];
    }
    Gv__Record__Outbox record = GV__RECORD__OUTBOX__INIT;
    record.n_messages = place->count;
    record.messages = pointers;
    gv_key_t key;
    gv_outbox_key(&key, place);
    gv_record_put(batch, gv_outbox_table(place->kind), gv_key_bytes(&key), &record.base);
    gv_free(pointers);
    gv_free(items);
}

void gv_outbox_record_delete(gv_batch_t *batch, const gv_outbox_place_t *place)
{
    gv_key_t key;
    gv_outbox_key(&key, place);
    gv_batch_delete(batch, gv_outbox_table(place->kind), gv_key_bytes(&key));
}

typedef struct scan {
    gv_store_t *store;
    gv_outbox_kind_t kind;
    gv_outbox_record_cb_t *on_record;
    void *arg;
} scan_t;

static gv_err_t on_scanned(gv_bytes_t key, gv_bytes_t value, void *arg)
{
    const scan_t *scan = arg;
    gv_outbox_place_t place = {.kind = scan->kind};
    gv_reader_t r = gv_reader(key);
    gv_bytes_t id = gv_reader_take(&r, GV_NODE_ID_SIZE);
    place.number = gv_reader_u64(&r);
    place.count = gv_reader_u32(&r);
    place.run = gv_reader_u64(&r);
    bool is_possible = place.count > 0 && place.count <= value.size;
    if (r.failed || gv_reader_left(&r) > 0 || !is_possible) {
        gv_store_note_damaged(scan->store, gv_outbox_table(scan->kind), key);
        return GV_OK;
    }
    memcpy(place.node_id, id.data, sizeof(place.node_id));
    return scan->on_record(&place, value.size, scan->arg);
}

gv_err_t gv_outbox_record_scan(gv_store_t *store, gv_outbox_record_cb_t *on_record, void *arg)
{
    scan_t scan = {.store = store, .on_record = on_record, .arg = arg};
    gv_err_t err = GV_OK;
    for (int kind = 0; kind < GV_OUTBOX_KINDS && err == GV_OK; kind++) {
        scan.kind = (gv_outbox_kind_t)kind;
        err = gv_store_scan(store, gv_outbox_table(scan.kind), on_scanned, &scan);
    }
    return err;
}

gv_err_t gv_outbox_record_read(const gv_outbox_place_t *place, gv_bytes_t value,
                               gv_outbox_message_cb_t *on_message, void *arg)
{
    gv_key_t key;
    gv_outbox_key(&key, place);
    ProtobufCMessage *unpacked = NULL;
    gv_err_t err = gv_record_unpack(gv_outbox_table(place->kind), gv_key_bytes(&key), value,
                                    &gv__record__outbox__descriptor, &unpacked);
    if (err != GV_OK) {
        return err;
    }
    const Gv__Record__Outbox *record = (const Gv__Record__Outbox *)unpacked;
    if (record->n_messages == place->count) {
        for (uint32_t i = 0; i < place->count; i++) {
            gv_outbox_message_t message = {.body = gv_record_view(record->messages[i]->body),
                                           .expires_at_ms = record->messages[i]->expires_at_ms};
            on_message(i, &message, arg);
        }
    } else {
        err = GV_ERR_CORRUPT;
    }
    gv_record_free(&unpacked);
    return err;
}
