/* SPDX-License-Identifier: Apache-2.0 */
/*
 * To the disk and back.  Parts: messages and records - writing - deleting - reading.
 */
#define GV_MEMORY_OF GV_MEMORY_LOG

#include "base/alloc.h"
#include "base/log.h"
#include "broker/core/outbox_p.h"

/*
 * So much of what is on disk may be in memory as well, for a node that is there and will have it
 * soon [bytes].
 */
#define IMAGE_BYTES_MAX ((size_t)4 << 20)

/* The pause after a deletion that failed [ms]. */
#define DELETE_PAUSE_MS 1000U

/* ---- messages and records -------------------------------------------------------------------- */

static void free_messages(gv_outbox_kept_t **messagesp, size_t count)
{
    for (size_t i = 0; *messagesp != NULL && i < count; i++) {
        gv_free((*messagesp)[i].body);
    }
    gv_free(*messagesp);
    *messagesp = NULL;
}

gv_outbox_record_t *gv__outbox_record_new(gv_outbox_t *outbox, gv_outbox_box_t *box,
                                          const gv_outbox_place_t *place)
{
    gv_outbox_record_t *record = GV_NEW(gv_outbox_record_t);
    record->outbox = outbox;
    record->box = box;
    record->place = *place;
    gv_list_append(&box->records, &record->link);
    box->unhanded++;
    if (place->number + place->count > outbox->next_number) {
        outbox->next_number = place->number + place->count;
    }
    return record;
}

static void set_image(gv_outbox_record_t *record)
{
    record->messages = gv_xcalloc(record->place.count, sizeof(gv_outbox_kept_t));
    record->box->image_bytes += record->bytes;
}

void gv__outbox_drop_image(gv_outbox_record_t *record)
{
    if (record->messages != NULL && record->box != NULL) {
        record->box->image_bytes -= record->bytes;
    }
    free_messages(&record->messages, record->place.count);
}

void gv__outbox_record_free(gv_outbox_record_t *record)
{
    gv_list_remove(&record->link);
    gv__outbox_drop_image(record);
    gv_free(record->done);
    gv_free(record->insured);
    gv_free(record);
}

void gv__outbox_drop_gathered(gv_outbox_box_t *box)
{
    free_messages(&box->gathered, box->gathered_count);
    box->gathered_count = 0;
    box->gathered_capacity = 0;
    box->gathered_bytes = 0;
}

void gv__outbox_gather(gv_outbox_box_t *box, const gv_outbox_kept_t *message)
{
    if (box->gathered_count == box->gathered_capacity) {
        box->gathered_capacity = box->gathered_capacity == 0 ? 64 : box->gathered_capacity * 2;
        box->gathered =
            gv_xrealloc(box->gathered, box->gathered_capacity * sizeof(box->gathered[0]));
    }
    box->gathered[box->gathered_count++] = *message;
    box->gathered_bytes += message->size;
}

/* ---- writing --------------------------------------------------------------------------------- */

void gv__outbox_note_failure(gv_outbox_t *outbox, gv_err_t result)
{
    if (result != GV_OK && !outbox->is_failing) {
        gv_log_error("outbox_not_stored", "error='%s'", gv_err_text(result));
    }
    outbox->is_failing = result != GV_OK;
}

static void on_stored(gv_err_t result, void *arg)
{
    gv_outbox_record_t *record = arg;
    gv_outbox_t *outbox = record->outbox;
    gv_outbox_box_t *box = record->box;
    gv__outbox_note_failure(outbox, result);
    for (uint32_t i = 0; i < record->place.count; i++) {
        gv_counter_add(result == GV_OK ? &outbox->stats.stored : &outbox->stats.refused, 1);
        outbox->ports.answered(outbox->ports.arg, record->messages[i].token, result != GV_OK);
    }
    if (box == NULL) {
        gv__outbox_delete(outbox, &record->place);
        gv__outbox_record_free(record);
        return;
    }
    box->writes--;
    if (result != GV_OK) {
        box->messages -= record->place.count;
        box->bytes -= record->bytes;
        box->unhanded--;
        gv__outbox_record_free(record);
        return;
    }
    record->state = GV_OUTBOX_STORED;
    if (!gv__outbox_is_there(outbox, box) || box->image_bytes > IMAGE_BYTES_MAX) {
        gv__outbox_drop_image(record);
    }
}

/* The first messages that fit into a record together. */
static gv_outbox_place_t next_place(const gv_outbox_t *outbox, const gv_outbox_box_t *box,
                                    size_t *bytes_out)
{
    uint32_t count = 0;
    size_t bytes = 0;
    while (count < box->gathered_count && count < GV_OUTBOX_RECORD_MESSAGES &&
           (count == 0 || bytes + box->gathered[count].size <= GV_OUTBOX_RECORD_BYTES)) {
        bytes += box->gathered[count++].size;
    }
    gv_outbox_place_t place = {
        .kind = box->kind, .number = outbox->next_number, .count = count, .run = outbox->run};
    memcpy(place.node_id, box->id.bytes, sizeof(place.node_id));
    *bytes_out = bytes;
    return place;
}

void gv__outbox_submit(gv_outbox_t *outbox, gv_outbox_record_t *record, gv_store_done_cb_t *cb)
{
    gv_batch_t *batch = NULL;
    gv_batch_new(&batch);
    gv_outbox_message_t *views = gv_xcalloc(record->place.count, sizeof(*views));
    for (uint32_t i = 0; i < record->place.count; i++) {
        const gv_outbox_kept_t *message = &record->messages[i];
        views[i] = (gv_outbox_message_t){.body = gv_bytes(message->body, message->size),
                                         .expires_at_ms = message->expires_at_ms};
        if (message->join != 0) {
            gv_batch_join(batch, message->join, message->join_parts);
        }
    }
    gv_outbox_record_put(batch, &record->place, views);
    gv_free(views);
    gv_store_submit(&outbox->lane, &batch, cb, record);
}

void gv__outbox_write(gv_outbox_t *outbox, gv_outbox_box_t *box)
{
    size_t bytes = 0;
    gv_outbox_place_t place = next_place(outbox, box, &bytes);
    uint32_t count = place.count;
    gv_outbox_record_t *record = gv__outbox_record_new(outbox, box, &place);
    record->state = GV_OUTBOX_WRITING;
    record->bytes = bytes;
    set_image(record);
    memcpy(record->messages, box->gathered, count * sizeof(box->gathered[0]));
    box->gathered_count -= count;
    box->gathered_bytes -= bytes;
    memmove(box->gathered, box->gathered + count, box->gathered_count * sizeof(box->gathered[0]));
    box->writes++;
    gv__outbox_submit(outbox, record, on_stored);
}

/* Of a join in which nothing was to be written for another node. */
typedef struct nothing {
    gv_link_t link; /* in outbox->nothings */
    gv_outbox_t *outbox;
    uint64_t token;
} nothing_t;

void gv__outbox_nothing_free(gv_link_t *link)
{
    gv_list_remove(link);
    gv_free(gv_container_of(link, nothing_t, link));
}

static void on_nothing_stored(gv_err_t result, void *arg)
{
    nothing_t *nothing = arg;
    const gv_outbox_t *outbox = nothing->outbox;
    outbox->ports.answered(outbox->ports.arg, nothing->token, result != GV_OK);
    gv__outbox_nothing_free(&nothing->link);
}

void gv__outbox_write_nothing(gv_outbox_t *outbox, const gv_outbox_kept_t *message)
{
    nothing_t *nothing = GV_NEW(nothing_t);
    *nothing = (nothing_t){.outbox = outbox, .token = message->token};
    gv_list_append(&outbox->nothings, &nothing->link);
    gv_batch_t *batch = NULL;
    gv_batch_new(&batch);
    gv_batch_join(batch, message->join, message->join_parts);
    gv_store_submit(&outbox->lane, &batch, on_nothing_stored, nothing);
}

/* ---- deleting -------------------------------------------------------------------------------- */

/* Records that leave the disk in one batch. */
typedef struct deletion {
    gv_link_t link; /* in outbox->deletions */
    gv_outbox_t *outbox;
    uint32_t count;
    gv_outbox_place_t places[];
} deletion_t;

void gv__outbox_deletion_free(gv_link_t *link)
{
    gv_list_remove(link);
    gv_free(gv_container_of(link, deletion_t, link));
}

void gv__outbox_delete(gv_outbox_t *outbox, const gv_outbox_place_t *place)
{
    if (outbox->delete_count == outbox->delete_capacity) {
        outbox->delete_capacity = outbox->delete_capacity == 0 ? 16 : outbox->delete_capacity * 2;
        outbox->deletes =
            gv_xrealloc(outbox->deletes, outbox->delete_capacity * sizeof(outbox->deletes[0]));
    }
    outbox->deletes[outbox->delete_count++] = *place;
}

bool gv__outbox_is_deleting(const gv_outbox_t *outbox)
{
    return outbox->delete_count > 0 || !gv_list_is_empty(&outbox->deletions);
}

static void on_deleted(gv_err_t result, void *arg)
{
    deletion_t *deletion = arg;
    gv_outbox_t *outbox = deletion->outbox;
    gv__outbox_note_failure(outbox, result);
    if (result != GV_OK) {
        outbox->deletes_at_ms = outbox->ports.monotonic_ms(outbox->ports.arg) + DELETE_PAUSE_MS;
        for (uint32_t i = 0; i < deletion->count; i++) {
            gv__outbox_delete(outbox, &deletion->places[i]);
        }
    }
    gv__outbox_deletion_free(&deletion->link);
}

void gv__outbox_submit_deletes(gv_outbox_t *outbox)
{
    if (outbox->delete_count == 0) {
        return;
    }
    size_t size = outbox->delete_count * sizeof(outbox->deletes[0]);
    deletion_t *deletion = gv_xalloc(sizeof(*deletion) + size);
    *deletion = (deletion_t){.outbox = outbox, .count = outbox->delete_count};
    gv_list_append(&outbox->deletions, &deletion->link);
    memcpy(deletion->places, outbox->deletes, size);
    outbox->delete_count = 0;
    gv_batch_t *batch = NULL;
    gv_batch_new(&batch);
    for (uint32_t i = 0; i < deletion->count; i++) {
        gv_outbox_record_delete(batch, &deletion->places[i]);
    }
    gv_store_submit(&outbox->lane, &batch, on_deleted, deletion);
}

/* ---- reading --------------------------------------------------------------------------------- */

static void take_message(uint32_t index, const gv_outbox_message_t *message, void *arg)
{
    gv_outbox_record_t *record = arg;
    gv_outbox_kept_t *kept = &record->messages[index];
    *kept = (gv_outbox_kept_t){.body = gv_xalloc(message->body.size),
                               .size = message->body.size,
                               .expires_at_ms = message->expires_at_ms};
    memcpy(kept->body, message->body.data, message->body.size);
}

/* What of a record is not done waits no more. */
static void count_out(gv_outbox_record_t *record)
{
    uint64_t left = record->place.count;
    for (uint32_t i = 0; record->done != NULL && i < record->place.count; i++) {
        left -= record->done[i];
    }
    record->box->messages -= left;
    record->box->bytes -= record->bytes;
}

static void on_loaded(gv_err_t result, gv_msgbuf_t *value, void *arg)
{
    gv_outbox_record_t *record = arg;
    gv_outbox_t *outbox = record->outbox;
    gv_outbox_box_t *box = record->box;
    bool is_usable = box != NULL && gv__outbox_is_there(outbox, box) && !outbox->is_finished;
    if (!is_usable || result == GV_ERR_CLOSED || result == GV_ERR_NOMEM) {
        gv_msgbuf_unref(&value);
        record->state = GV_OUTBOX_STORED;
        if (box == NULL) {
            gv__outbox_record_free(record);
        }
        return;
    }
    if (result == GV_OK) {
        set_image(record);
        result =
            gv_outbox_record_read(&record->place, gv_msgbuf_bytes(value), take_message, record);
    }
    gv_msgbuf_unref(&value);
    record->state = GV_OUTBOX_STORED;
    if (result == GV_OK) {
        return;
    }
    /* It stays on the disk, as evidence; those behind it go on. */
    gv_key_t key;
    gv_outbox_key(&key, &record->place);
    gv_store_note_damaged(outbox->store, gv_outbox_table(record->place.kind), gv_key_bytes(&key));
    gv_counter_add(&outbox->stats.lost, record->place.count);
    count_out(record);
    box->unhanded--;
    gv__outbox_record_free(record);
}

void gv__outbox_load_image(gv_outbox_t *outbox, gv_outbox_record_t *record)
{
    gv_key_t key;
    gv_outbox_key(&key, &record->place);
    record->state = GV_OUTBOX_LOADING;
    gv_store_load(&outbox->lane, gv_outbox_table(record->place.kind), gv_key_bytes(&key), on_loaded,
                  record);
}
