/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/payload_store.h"

#include "storage/records.h"

void gv_payload_share(gv_batch_t *batch, uint64_t number, uint64_t holder, gv_bytes_t body)
{
    GV_ASSERT(number != 0);
    size_t size = GV_RECORD_HEAD_SIZE + body.size;
    uint8_t *room = gv_batch_share_room(batch, GV_TABLE_PAYLOADS, number, holder, size);
    if (room == NULL) {
        return; /* the batch remembers */
    }
    if (body.size > 0) {
        memcpy(room + GV_RECORD_HEAD_SIZE, body.data, body.size);
    }
    gv_key_t key;
    gv_payload_key(&key, number);
    gv_record_seal(GV_TABLE_PAYLOADS, gv_key_bytes(&key), room, size);
}

void gv_payload_unshare(gv_batch_t *batch, uint64_t number, uint64_t holder)
{
    GV_ASSERT(number != 0);
    gv_batch_unshare(batch, GV_TABLE_PAYLOADS, number, holder);
}

void gv_payload_key(gv_key_t *key_out, uint64_t number)
{
    gv_key_from_number_pair(key_out, number, 0);
}

bool gv_payload_key_read(gv_bytes_t key, uint64_t *number_out, uint64_t *holder_out)
{
    gv_reader_t r = gv_reader(key);
    *number_out = gv_reader_u64(&r);
    *holder_out = gv_reader_u64(&r);
    return !r.failed && gv_reader_left(&r) == 0;
}

gv_err_t gv_payload_open(gv_bytes_t value, uint64_t number, gv_bytes_t *body_out)
{
    gv_key_t key;
    gv_payload_key(&key, number);
    return gv_record_open(GV_TABLE_PAYLOADS, gv_key_bytes(&key), value, body_out);
}

gv_err_t gv_payload_last(gv_store_t *store, uint64_t *number_out)
{
    *number_out = 0;
    gv_key_t key;
    gv_err_t err = gv_store_last(store, GV_TABLE_PAYLOADS, &key);
    if (err != GV_OK) {
        return err == GV_ERR_NOENT ? GV_OK : err;
    }
    uint64_t holder;
    if (!gv_payload_key_read(gv_key_bytes(&key), number_out, &holder)) {
        gv_store_note_damaged(store, GV_TABLE_PAYLOADS, gv_key_bytes(&key));
        /* It stands above all others, and so does what it begins with, whatever it was. */
        uint8_t head[sizeof(uint64_t)] = {0};
        memcpy(head, key.data, key.size < sizeof(head) ? key.size : sizeof(head));
        gv_reader_t r = gv_reader(gv_bytes(head, sizeof(head)));
        *number_out = gv_reader_u64(&r);
    }
    return GV_OK;
}
