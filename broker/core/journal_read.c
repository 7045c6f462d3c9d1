/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_LOG

#include <inttypes.h>

#include "broker/core/journal_p.h"
#include "storage/payload_store.h"

/* A segment that is being read, and then what stands apart of it. */
typedef struct load {
    gv_link_t link; /* in journal->loads, or in journal->resting */
    gv_journal_t *journal;
    uint64_t number;
    gv_msgbuf_t *image; /* the segment has come; so many of its payloads have not: */
    uint32_t missing;
    uint32_t next; /* payloads come in the order asked */
    bool lacks_memory;
    bool has_rested;
} load_t;

void gv__journal_note_damaged(gv_journal_t *journal, uint64_t number, gv_err_t error)
{
    if (journal->is_finished) {
        return; /* the store is closed, and that is why it could not be read */
    }
    gv_key_t key;
    gv_key_from_number(&key, number);
    gv_store_note_damaged(journal->store, GV_TABLE_QUEUE_LOG, gv_key_bytes(&key));
    gv_log_peer(GV_LOG_ERROR, "segment_unreadable", "number=%" PRIu64 " error='%s'", number,
                gv_err_text(error));
}

/* ---- what has come ---- */

/* A segment has come.  Errors as gv_segment_open(). */
static gv_err_t take_segment(gv_volume_t *volume, const gv_msgbuf_t *image)
{
    gv_segment_view_t segment;
    gv_err_t err = gv_segment_open(gv_msgbuf_bytes(image), volume->number, &segment);
    if (err == GV_OK) {
        gv__apart_find(volume, &segment);
    }
    return err;
}

/*
 * All has come: keeps the image, or notes that it cannot be had; takes the reference.  What was
 * fetched meanwhile (gv_journal_fetch()) may have gone again, and payloads with it: then who waits
 * asks once more.  So it is when there was no memory for it, which is no damage.
 */
static void take_image(gv_journal_t *journal, gv_volume_t *volume, gv_err_t result,
                       gv_msgbuf_t *image)
{
    if (result == GV_OK && volume->image == NULL && gv_shelf_has_aparts(volume)) {
        gv_shelf_give_image(&journal->shelf, volume, image);
        return;
    }
    gv_msgbuf_unref(&image);
    if (volume->image == NULL) {
        gv_shelf_drop_aparts(volume);
    }
    if (result != GV_OK && result != GV_ERR_NOMEM) {
        volume->is_damaged = true;
        gv__journal_note_damaged(journal, volume->number, result);
    }
}

/* ---- asking ---- */

static void finish_load(load_t *load, gv_volume_t *volume, gv_err_t result)
{
    gv_journal_t *journal = load->journal;
    gv_shard_t *shard = journal->shard;
    gv_msgbuf_t *image = load->image;
    gv_list_remove(&load->link);
    gv_free(load);
    if (volume == NULL) {
        gv_msgbuf_unref(&image);
        return;
    }
    volume->is_loading = false;
    take_image(journal, volume, result, image);
    shard->ports.read_begin(shard->ports.arg);
    gv__journal_wake(volume);
    if (gv__journal_needs_cleaning(journal)) {
        gv__journal_clean(journal);
    }
    shard->ports.read_end(shard->ports.arg);
}

/* Whether it has come to nothing for want of memory only. */
static bool may_rest(const load_t *load, const gv_volume_t *volume)
{
    return load->lacks_memory && volume != NULL && volume->image == NULL &&
           !load->journal->is_finished;
}

/* It is tried again in a while; who waits goes on waiting, and what has come makes room. */
static void rest(load_t *load, gv_volume_t *volume)
{
    gv_journal_t *journal = load->journal;
    gv_msgbuf_unref(&load->image);
    gv_shelf_drop_aparts(volume);
    gv_list_remove(&load->link);
    gv_list_append(&journal->resting, &load->link);
    if (!load->has_rested) {
        gv_log_peer(GV_LOG_WARN, "segment_waits_for_memory", "number=%" PRIu64, load->number);
    }
    load->has_rested = true;
    gv__journal_arm(journal, GV_JOURNAL_LAZY_MS);
}

static void on_payload(gv_err_t result, gv_msgbuf_t *value, void *arg)
{
    load_t *load = arg;
    gv_journal_t *journal = load->journal;
    journal->shard->now_ms = journal->shard->ports.monotonic_ms(journal->shard->ports.arg);
    gv_volume_t *volume = gv_shelf_find(&journal->shelf, load->number);
    if (volume != NULL) {
        gv__apart_take(journal, &volume->aparts[load->next++], result, value);
    } else {
        gv_msgbuf_unref(&value);
    }
    load->lacks_memory = load->lacks_memory || result == GV_ERR_NOMEM;
    load->missing--;
    if (load->missing > 0) {
        return;
    }
    if (may_rest(load, volume)) {
        rest(load, volume);
    } else {
        finish_load(load, volume, GV_OK);
    }
}

static void ask_for_payloads(load_t *load, const gv_volume_t *volume)
{
    load->missing = volume->apart_count;
    for (uint32_t i = 0; i < volume->apart_count; i++) {
        gv_key_t key;
        gv_payload_key(&key, volume->aparts[i].number);
        gv_store_load(&load->journal->lane, GV_TABLE_PAYLOADS, gv_key_bytes(&key), on_payload,
                      load);
    }
}

static void on_loaded(gv_err_t result, gv_msgbuf_t *image, void *arg)
{
    load_t *load = arg;
    gv_journal_t *journal = load->journal;
    journal->shard->now_ms = journal->shard->ports.monotonic_ms(journal->shard->ports.arg);
    gv_volume_t *volume = gv_shelf_find(&journal->shelf, load->number);
    load->image = image;
    load->lacks_memory = result == GV_ERR_NOMEM;
    if (volume != NULL && result == GV_OK) {
        result = take_segment(volume, image);
    }
    if (may_rest(load, volume)) {
        rest(load, volume);
    } else if (volume != NULL && result == GV_OK && volume->apart_count > 0 &&
               !journal->is_finished) {
        ask_for_payloads(load, volume);
    } else {
        finish_load(load, volume, result);
    }
}

static void wait_for(gv_volume_t *volume, gv_durable_t *durable)
{
    if (!gv_link_is_linked(&durable->waits)) {
        gv_list_append(&volume->waiting, &durable->waits);
    }
}

static void ask(load_t *load)
{
    gv_journal_t *journal = load->journal;
    gv_list_append(&journal->loads, &load->link);
    gv_key_t key;
    gv_key_from_number(&key, load->number);
    gv_store_load(&journal->lane, GV_TABLE_QUEUE_LOG, gv_key_bytes(&key), on_loaded, load);
}

void gv_journal_wait_for_memory(gv_journal_t *journal, gv_durable_t *durable)
{
    if (!gv_link_is_linked(&durable->waits)) {
        gv_list_append(&journal->thirsty, &durable->waits);
        gv__journal_arm(journal, GV_JOURNAL_LAZY_MS);
    }
}

void gv__journal_load(gv_journal_t *journal, gv_volume_t *volume)
{
    if (volume->is_loading || journal->is_finished) {
        return;
    }
    volume->is_loading = true;
    load_t *load = GV_NEW(load_t);
    load->journal = journal;
    load->number = volume->number;
    ask(load);
}

void gv__journal_load_again(gv_journal_t *journal)
{
    if (journal->is_finished) {
        return;
    }
    journal->shard->ports.read_begin(journal->shard->ports.arg);
    gv__journal_wake_all(&journal->thirsty);
    journal->shard->ports.read_end(journal->shard->ports.arg);
    gv_list_t resting;
    gv_list_init(&resting);
    gv_list_splice(&resting, &journal->resting);
    for (gv_link_t *link; (link = gv_list_take_first(&resting)) != NULL;) {
        load_t *load = gv_container_of(link, load_t, link);
        load->next = 0;
        ask(load);
    }
}

gv_err_t gv__copy_value(gv_bytes_t key, gv_bytes_t value, void *arg)
{
    (void)key;
    gv_msgbuf_t **copy_out = arg;
    gv_err_t err = gv_msgbuf_new(value.size, copy_out);
    if (err == GV_OK) {
        memcpy(gv_msgbuf_data(*copy_out), value.data, value.size);
        gv_msgbuf_seal(*copy_out);
    }
    return err;
}

bool gv_journal_fetch(gv_journal_t *journal, gv_place_t place)
{
    gv_volume_t *volume = gv_shelf_find(&journal->shelf, gv_place_segment(place));
    if (volume == NULL || volume->part != NULL || journal->is_finished) {
        return false;
    }
    gv_key_t key;
    gv_key_from_number(&key, volume->number);
    gv_msgbuf_t *image = NULL;
    gv_err_t err = gv_store_get(journal->store, GV_TABLE_QUEUE_LOG, gv_key_bytes(&key),
                                gv__copy_value, &image);
    if (err == GV_OK) {
        err = take_segment(volume, image);
    }
    for (uint32_t i = 0; err == GV_OK && i < volume->apart_count; i++) {
        gv__apart_fetch(journal, &volume->aparts[i]);
    }
    take_image(journal, volume, err, image);
    return volume->image != NULL;
}

void gv__journal_drop_loads(gv_journal_t *journal)
{
    gv_list_splice(&journal->loads, &journal->resting);
    for (gv_link_t *link; (link = gv_list_take_first(&journal->loads)) != NULL;) {
        load_t *load = gv_container_of(link, load_t, link);
        gv_msgbuf_unref(&load->image);
        gv_free(load);
    }
}

/* ---- reading ---- */

/* The message of a delivery, from a segment's image or from a part that is still being built. */
static gv_err_t message_of(const gv_volume_t *volume, gv_place_t place, gv_segment_item_t *item,
                           gv_segment_message_t *message)
{
    gv_segment_view_t segment = {0};
    if (volume->image != NULL) {
        segment = gv_segment_view(gv_msgbuf_bytes(volume->image));
    } else {
        segment.items = gv_bytes(volume->part->items.data, volume->part->items.size);
    }
    if (!gv_segment_at(&segment, gv_place_offset(place), item) ||
        item->kind != GV_SEGMENT_DELIVERY) {
        return GV_ERR_CORRUPT;
    }
    if (volume->image != NULL) {
        gv_bytes_t body;
        gv_err_t err = gv__volume_body(volume, &segment, item->delivery.body, &body);
        return err == GV_OK ? gv_segment_read_body(body, message) : err;
    }
    return gv_segment_read_body(gv__part_body(volume->part, item->delivery.body), message);
}

gv_journal_read_t gv_journal_read(gv_journal_t *journal, gv_durable_t *durable, gv_place_t place,
                                  bool wants_durable, gv_waiting_message_t *message_out)
{
    if (place == 0) {
        return GV_READ_LOST;
    }
    gv_volume_t *volume = gv_shelf_find(&journal->shelf, gv_place_segment(place));
    GV_ASSERT(volume != NULL);
    if (volume->is_damaged) {
        return GV_READ_LOST;
    }
    if (wants_durable && !volume->is_durable) {
        wait_for(volume, durable);
        return GV_READ_LATER;
    }
    if (volume->image == NULL && volume->part == NULL) {
        gv__journal_load(journal, volume);
        wait_for(volume, durable);
        return GV_READ_LATER;
    }
    gv_segment_item_t item;
    gv_segment_message_t message;
    gv_err_t err = message_of(volume, place, &item, &message);
    if (err != GV_OK) {
        if (err != GV_ERR_NOENT) {
            gv__journal_note_damaged(journal, volume->number, err);
        }
        return GV_READ_LOST;
    }
    size_t count = gv_segment_id_count(&item.delivery);
    journal->ids.size = 0;
    for (size_t i = 0; i < count; i++) {
        *GV_PILE_PUSH(&journal->ids, uint32_t) = gv_segment_id(&item.delivery, i);
    }
    *message_out = (gv_waiting_message_t){
        .publish = {.topic = message.topic,
                    .props = message.props,
                    .payload = message.payload,
                    .qos = message.qos,
                    .retain = message.retain},
        .qos = item.delivery.qos,
        .retain = item.delivery.retain,
        .share = item.delivery.share,
        .ids = (const uint32_t *)(const void *)journal->ids.data,
        .id_count = count,
    };
    if (message.expires_at_ms != 0) {
        int64_t expires_at_ms = gv__from_realtime(journal->shard, message.expires_at_ms);
        message_out->publish.expires_at_ms = expires_at_ms > 0 ? (uint64_t)expires_at_ms : 1;
    }
    return GV_READ_OK;
}
