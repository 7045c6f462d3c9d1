/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_LOG

#include <inttypes.h>

#include "broker/core/journal_p.h"

typedef struct load {
    gv_link_t link; /* in journal->loads */
    gv_journal_t *journal;
    uint64_t number;
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

/* Keeps an image that has come, or notes that it cannot be had; takes the reference. */
static void take_image(gv_journal_t *journal, gv_volume_t *volume, gv_err_t result,
                       gv_msgbuf_t *image)
{
    gv_segment_view_t segment;
    if (result == GV_OK) {
        result = gv_segment_open(gv_msgbuf_bytes(image), volume->number, &segment);
    }
    if (result == GV_OK && volume->image == NULL) {
        gv_shelf_give_image(&journal->shelf, volume, image);
        return;
    }
    gv_msgbuf_unref(&image);
    if (result != GV_OK) {
        volume->is_damaged = true;
        gv__journal_note_damaged(journal, volume->number, result);
    }
}

static void on_loaded(gv_err_t result, gv_msgbuf_t *image, void *arg)
{
    load_t *load = arg;
    gv_journal_t *journal = load->journal;
    gv_shard_t *shard = journal->shard;
    shard->now_ms = shard->ports.monotonic_ms(shard->ports.arg);
    gv_volume_t *volume = gv_shelf_find(&journal->shelf, load->number);
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

static void wait_for(gv_volume_t *volume, gv_durable_t *durable)
{
    if (!gv_link_is_linked(&durable->waits)) {
        gv_list_append(&volume->waiting, &durable->waits);
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
    gv_list_append(&journal->loads, &load->link);
    load->number = volume->number;
    gv_key_t key;
    gv_key_from_number(&key, volume->number);
    gv_store_load(&journal->lane, GV_TABLE_QUEUE_LOG, gv_key_bytes(&key), on_loaded, load);
}

static gv_err_t copy_image(gv_bytes_t key, gv_bytes_t value, void *arg)
{
    (void)key;
    gv_msgbuf_t **image_out = arg;
    gv_err_t err = gv_msgbuf_new(value.size, image_out);
    if (err == GV_OK) {
        memcpy(gv_msgbuf_data(*image_out), value.data, value.size);
        gv_msgbuf_seal(*image_out);
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
    gv_err_t err =
        gv_store_get(journal->store, GV_TABLE_QUEUE_LOG, gv_key_bytes(&key), copy_image, &image);
    take_image(journal, volume, err, image);
    return volume->image != NULL;
}

void gv__journal_drop_loads(gv_journal_t *journal)
{
    for (gv_link_t *link; (link = gv_list_take_first(&journal->loads)) != NULL;) {
        gv_free(gv_container_of(link, load_t, link));
    }
}

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
        return gv_segment_body(&segment, item->delivery.body, message);
    }
    const gv_part_t *part = volume->part;
    uint32_t index = item->delivery.body;
    uint32_t from = index == 0 ? 0 : *GV_PILE_AT(&part->ends, uint32_t, index - 1);
    uint32_t to = *GV_PILE_AT(&part->ends, uint32_t, index);
    return gv_segment_read_body(gv_bytes(part->bodies.data + from, to - from), message);
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
        gv__journal_note_damaged(journal, volume->number, err);
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
