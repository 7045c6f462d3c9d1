/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/link_store.h"

#include "proto/record.pb-c.h"

void gv_link_record_put(gv_batch_t *batch, const uint8_t *node_id, const gv_link_cursor_t *cursor)
{
    GV_ASSERT(cursor->number > 0);
    Gv__Record__Link record = GV__RECORD__LINK__INIT;
    record.run = cursor->run;
    record.applied = cursor->number;
    gv_record_put(batch, GV_TABLE_LINKS, gv_bytes(node_id, GV_NODE_ID_SIZE), &record.base);
}

void gv_link_record_delete(gv_batch_t *batch, const uint8_t *node_id)
{
    gv_batch_delete(batch, GV_TABLE_LINKS, gv_bytes(node_id, GV_NODE_ID_SIZE));
}

typedef struct scan {
    gv_store_t *store;
    gv_link_record_cb_t *on_record;
    void *arg;
} scan_t;

static gv_err_t on_scanned(gv_bytes_t key, gv_bytes_t value, void *arg)
{
    const scan_t *scan = arg;
    gv_link_cursor_t cursor = {.number = 0};
    ProtobufCMessage *unpacked = NULL;
    if (key.size == GV_NODE_ID_SIZE &&
        gv_record_unpack(GV_TABLE_LINKS, key, value, &gv__record__link__descriptor, &unpacked) ==
            GV_OK) {
        const Gv__Record__Link *record = (const Gv__Record__Link *)unpacked;
        cursor = (gv_link_cursor_t){.run = record->run, .number = record->applied};
    }
    gv_record_free(&unpacked);
    if (cursor.number == 0) {
        gv_store_note_damaged(scan->store, GV_TABLE_LINKS, key);
        return GV_OK;
    }
    return scan->on_record(key.data, &cursor, scan->arg);
}

gv_err_t gv_link_record_scan(gv_store_t *store, gv_link_record_cb_t *on_record, void *arg)
{
    scan_t scan = {.store = store, .on_record = on_record, .arg = arg};
    return gv_store_scan(store, GV_TABLE_LINKS, on_scanned, &scan);
}
