/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bodies that stand apart: a large message for sessions of several shards stands in the store once,
 * under the number that it got when it was routed (log.h), and each shard's segment refers to it.
 * They come with the segment's image and go with it.
 */
#define GV_MEMORY_OF GV_MEMORY_LOG

#include <inttypes.h>

#include "broker/core/journal_p.h"
#include "storage/payload_store.h"

/* ---- writing --------------------------------------------------------------------------------- */

bool gv__apart_write(gv_part_t *part, const uint64_t *numbers)
{
    gv_volume_t *volume = part->volume;
    gv_apart_t *aparts = gv_shelf_add_aparts(volume, part->apart_count);
    uint32_t body_count = (uint32_t)GV_PILE_COUNT(&part->body, gv_part_body_t);
    bool is_kept = true;
    for (uint32_t i = 0; i < body_count; i++) {
        if (numbers[i] == 0) {
            continue;
        }
        gv_bytes_t body = gv__part_body(part, i);
        gv_payload_share(part->batch, numbers[i], volume->number, body);
        part->stored_size += body.size;
        *aparts = (gv_apart_t){.number = numbers[i], .body = i};
        if (gv_msgbuf_new(body.size, &aparts->bytes) == GV_OK) {
            memcpy(gv_msgbuf_data(aparts->bytes), body.data, body.size);
            gv_msgbuf_seal(aparts->bytes);
        } else {
            is_kept = false;
        }
        aparts++;
    }
    return is_kept;
}

/* ---- reading --------------------------------------------------------------------------------- */

void gv__apart_find(gv_volume_t *volume, const gv_segment_view_t *segment)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < segment->body_count; i++) {
        count += gv_segment_apart(segment, i) != 0;
    }
    if (count == 0 || volume->aparts != NULL) {
        return;
    }
    gv_apart_t *apart = gv_shelf_add_aparts(volume, count);
    for (uint32_t i = 0; i < segment->body_count; i++) {
        uint64_t number = gv_segment_apart(segment, i);
        if (number != 0) {
            *apart++ = (gv_apart_t){.number = number, .body = i};
        }
    }
}

void gv__apart_take(gv_journal_t *journal, gv_apart_t *apart, gv_err_t result, gv_msgbuf_t *value)
{
    gv_bytes_t body = GV_BYTES_EMPTY;
    if (result == GV_OK) {
        result = gv_payload_open(gv_msgbuf_bytes(value), apart->number, &body);
    }
    if (result == GV_OK && apart->bytes == NULL && !apart->is_damaged) {
        apart->offset = (uint32_t)(body.data - gv_msgbuf_bytes(value).data);
        apart->bytes = value;
        return;
    }
    gv_msgbuf_unref(&value);
    if (result != GV_OK && result != GV_ERR_NOMEM && !journal->is_finished) {
        apart->is_damaged = true;
        gv_key_t key;
        gv_payload_key(&key, apart->number);
        gv_store_note_damaged(journal->store, GV_TABLE_PAYLOADS, gv_key_bytes(&key));
        gv_log_peer(GV_LOG_ERROR, "payload_unreadable", "number=%" PRIu64 " error='%s'",
                    apart->number, gv_err_text(result));
    }
}

void gv__apart_fetch(gv_journal_t *journal, gv_apart_t *apart)
{
    gv_key_t key;
    gv_payload_key(&key, apart->number);
    gv_msgbuf_t *value = NULL;
    gv_err_t err =
        gv_store_get(journal->store, GV_TABLE_PAYLOADS, gv_key_bytes(&key), gv__copy_value, &value);
    gv__apart_take(journal, apart, err, value);
}

static const gv_apart_t *apart_of(const gv_volume_t *volume, uint32_t body)
{
    for (uint32_t i = 0; i < volume->apart_count; i++) {
        if (volume->aparts[i].body == body) {
            return &volume->aparts[i];
        }
    }
    return NULL;
}

gv_err_t gv__volume_body(const gv_volume_t *volume, const gv_segment_view_t *segment,
                         uint32_t index, gv_bytes_t *body_out)
{
    if (gv_segment_apart(segment, index) == 0) {
        return gv_segment_checked_body(segment, index, body_out);
    }
    const gv_apart_t *apart = apart_of(volume, index);
    if (apart == NULL || apart->is_damaged) {
        return GV_ERR_NOENT;
    }
    gv_bytes_t bytes = gv_msgbuf_bytes(apart->bytes);
    *body_out = gv_bytes(bytes.data + apart->offset, bytes.size - apart->offset);
    return GV_OK;
}
