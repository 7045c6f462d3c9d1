/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/member_store.h"

#include "proto/record.pb-c.h"

/* ---- writing --------------------------------------------------------------------------------- */

void gv_member_record_put(gv_batch_t *batch, const gv_stored_member_t *member)
{
    Gv__Record__Member record = GV__RECORD__MEMBER__INIT;
    record.name = gv_record_bytes(member->name);
    record.address = gv_record_bytes(member->address);
    record.gone_at_ms = member->gone_at_ms;
    gv_record_put(batch, GV_TABLE_MEMBERS, gv_bytes(member->node_id, GV_NODE_ID_SIZE),
                  &record.base);
}

void gv_member_record_delete(gv_batch_t *batch, const uint8_t *node_id)
{
    gv_batch_delete(batch, GV_TABLE_MEMBERS, gv_bytes(node_id, GV_NODE_ID_SIZE));
}

void gv_member_route_put(gv_batch_t *batch, const uint8_t *node_id, gv_bytes_t filter)
{
    gv_key_t key;
    gv_key_from_node_text(&key, node_id, filter);
    Gv__Record__MemberRoute record = GV__RECORD__MEMBER_ROUTE__INIT;
    record.filter = gv_record_bytes(filter);
    gv_record_put(batch, GV_TABLE_MEMBER_ROUTES, gv_key_bytes(&key), &record.base);
}

void gv_member_route_delete(gv_batch_t *batch, const uint8_t *node_id, gv_bytes_t filter)
{
    gv_key_t key;
    gv_key_from_node_text(&key, node_id, filter);
    gv_batch_delete(batch, GV_TABLE_MEMBER_ROUTES, gv_key_bytes(&key));
}

/* ---- reading --------------------------------------------------------------------------------- */

typedef struct scan {
    gv_store_t *store;
    gv_record_arena_t arena;
    gv_member_record_cb_t *on_member;
    gv_member_route_cb_t *on_route;
    void *arg;
} scan_t;

static gv_err_t on_member(gv_bytes_t key, gv_bytes_t value, void *arg)
{
    scan_t *scan = arg;
    const ProtobufCMessage *unpacked = NULL;
    if (key.size != GV_NODE_ID_SIZE ||
        gv_record_unpack_in(&scan->arena, GV_TABLE_MEMBERS, key, value,
                            &gv__record__member__descriptor, &unpacked) != GV_OK) {
        gv_store_note_damaged(scan->store, GV_TABLE_MEMBERS, key);
        return GV_OK;
    }
    const Gv__Record__Member *record = (const Gv__Record__Member *)unpacked;
    gv_stored_member_t member = {.node_id = key.data,
                                 .name = gv_record_view(record->name),
                                 .address = gv_record_view(record->address),
                                 .gone_at_ms = record->gone_at_ms};
    return scan->on_member(&member, scan->arg);
}

static gv_err_t on_route(gv_bytes_t key, gv_bytes_t value, void *arg)
{
    scan_t *scan = arg;
    const ProtobufCMessage *unpacked = NULL;
    gv_bytes_t filter = GV_BYTES_EMPTY;
    if (key.size > GV_NODE_ID_SIZE &&
        gv_record_unpack_in(&scan->arena, GV_TABLE_MEMBER_ROUTES, key, value,
                            &gv__record__member_route__descriptor, &unpacked) == GV_OK) {
        filter = gv_record_view(((const Gv__Record__MemberRoute *)unpacked)->filter);
    }
    if (filter.size == 0) {
        gv_store_note_damaged(scan->store, GV_TABLE_MEMBER_ROUTES, key);
        return GV_OK;
    }
    return scan->on_route(key.data, filter, scan->arg);
}

static gv_err_t run(scan_t *scan, gv_table_t table, gv_store_record_cb_t *on_record)
{
    gv_record_arena_init(&scan->arena);
    gv_err_t err = gv_store_scan(scan->store, table, on_record, scan);
    gv_record_arena_deinit(&scan->arena);
    return err;
}

gv_err_t gv_member_record_scan(gv_store_t *store, gv_member_record_cb_t *callback, void *arg)
{
    scan_t scan = {.store = store, .on_member = callback, .arg = arg};
    return run(&scan, GV_TABLE_MEMBERS, on_member);
}

gv_err_t gv_member_route_scan(gv_store_t *store, gv_member_route_cb_t *callback, void *arg)
{
    scan_t scan = {.store = store, .on_route = callback, .arg = arg};
    return run(&scan, GV_TABLE_MEMBER_ROUTES, on_route);
}
