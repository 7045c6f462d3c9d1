/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A segment of the message log as the disk may give it back.  The first byte of the input says
 * whether its checksums are made good, so that the walk over its items is met as well as the check
 * of its head.  Whatever is read lies inside the image, and every item is found again at its
 * offset.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "proto/segment.h"

#define IMAGE_MAX ((size_t)1 << 16)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds) {
        abort();
    }
}

static uint32_t u32_at(const uint8_t *bytes)
{
    gv_reader_t r = gv_reader(gv_bytes(bytes, 4));
    return gv_reader_u32(&r);
}

static void put_crc(uint8_t *at, gv_bytes_t bytes)
{
    gv_writer_t w = gv_writer(at, 4);
    gv_writer_u32(&w, gv_crc32c(0, bytes));
}

/* Makes the checksums right, as far as there is something for them to be about. */
static void repair(uint8_t *image, size_t size)
{
    size_t items_end = GV_SEGMENT_HEAD_SIZE + (size_t)u32_at(image + 16);
    uint32_t count = u32_at(image + 20);
    if (items_end > size || count > (size - items_end) / GV_SEGMENT_BODY_ENTRY) {
        return;
    }
    size_t head = items_end + (size_t)count * GV_SEGMENT_BODY_ENTRY;
    for (uint8_t *entry = image + items_end; entry < image + head; entry += GV_SEGMENT_BODY_ENTRY) {
        uint32_t offset = u32_at(entry);
        uint32_t body_size = u32_at(entry + 4);
        if (offset <= size - head && body_size <= size - head - offset) {
            put_crc(entry + 8, gv_bytes(image + head + offset, body_size));
        }
    }
    put_crc(image + 4, gv_bytes(image + 8, head - 8));
}

static void check_inside(gv_bytes_t image, gv_bytes_t view)
{
    must(view.size == 0 || (view.data >= image.data && view.size <= image.size &&
                            (size_t)(view.data - image.data) <= image.size - view.size));
}

static void check_item(gv_bytes_t image, const gv_segment_view_t *segment,
                       const gv_segment_item_t *item)
{
    gv_segment_item_t again;
    must(gv_segment_at(segment, item->offset, &again));
    must(again.kind == item->kind);
    if (item->kind == GV_SEGMENT_MARK) {
        check_inside(image, item->mark.states);
        for (uint32_t i = 0; i < item->mark.count; i++) {
            (void)gv_segment_state_at(&item->mark, i);
        }
        return;
    }
    check_inside(image, item->delivery.share);
    check_inside(image, item->delivery.ids);
    for (size_t i = 0; i < gv_segment_id_count(&item->delivery); i++) {
        (void)gv_segment_id(&item->delivery, i);
    }
    gv_segment_message_t message;
    if (gv_segment_body(segment, item->delivery.body, &message) == GV_OK) {
        check_inside(image, message.topic);
        check_inside(image, message.props);
        check_inside(image, message.payload);
        must(gv_segment_body_bytes(segment, item->delivery.body) > 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 + GV_SEGMENT_HEAD_SIZE || size > IMAGE_MAX) {
        return 0;
    }
    /* A copy of exactly that size, so that reading behind its end is seen. */
    size_t image_size = size - 1;
    uint8_t *bytes = malloc(image_size);
    must(bytes != NULL);
    memcpy(bytes, data + 1, image_size);
    gv_bytes_t image = gv_bytes(bytes, image_size);
    gv_reader_t r = gv_reader(gv_bytes(bytes + 8, 8));
    uint64_t number = gv_reader_u64(&r);
    if ((data[0] & 1) != 0) {
        repair(bytes, image_size);
    }
    gv_segment_view_t segment;
    if (gv_segment_open(image, number, &segment) == GV_OK) {
        gv_segment_item_t item;
        for (uint32_t offset = 0; gv_segment_next(&segment, &offset, &item);) {
            check_item(image, &segment, &item);
        }
        for (uint32_t i = 0; i < segment.body_count; i++) {
            gv_segment_message_t message;
            (void)!gv_segment_body(&segment, i, &message);
        }
    }
    free(bytes);
    return 0;
}
