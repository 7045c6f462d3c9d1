/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/segment.h"

#include <string.h>

enum {
    FLAG_QOS2 = 1,
    FLAG_RETAIN = 2,
    FLAG_SHARED = 4,
    FLAG_CONNECTED = 8,
};

/* In a body, above its QoS. */
#define FLAG_PUBLISHED_RETAIN 4

/* ---- items ---- */

void gv_segment_put_delivery(gv_writer_t *w, const gv_segment_delivery_t *delivery,
                             const uint32_t *ids, size_t id_count)
{
    size_t share_size = delivery->share.size;
    size_t extra = gv_segment_delivery_size(id_count, share_size) - 28;
    GV_ASSERT(extra <= UINT16_MAX);
    unsigned flags = (delivery->qos == 2 ? FLAG_QOS2 : 0U) | (delivery->retain ? FLAG_RETAIN : 0U) |
                     (share_size > 0 ? FLAG_SHARED : 0U) |
                     (delivery->is_connected ? FLAG_CONNECTED : 0U);
    gv_writer_u8(w, GV_SEGMENT_DELIVERY);
    gv_writer_u8(w, (uint8_t)flags);
    gv_writer_u16(w, (uint16_t)extra);
    gv_writer_u32(w, delivery->body);
    gv_writer_u64(w, delivery->session);
    gv_writer_u64(w, delivery->number);
    gv_writer_u32(w, delivery->expires_s);
    if (share_size > 0) {
        gv_writer_u16(w, (uint16_t)share_size);
        gv_writer_put(w, delivery->share);
    }
    for (size_t i = 0; i < id_count; i++) {
        gv_writer_u32(w, ids[i]);
    }
}

uint8_t *gv_segment_put_mark(gv_writer_t *w, const gv_segment_mark_t *mark)
{
    gv_writer_u8(w, GV_SEGMENT_MARK);
    gv_writer_u8(w, mark->is_connected ? FLAG_CONNECTED : 0);
    gv_writer_u16(w, 0);
    gv_writer_u32(w, mark->count);
    gv_writer_u64(w, mark->session);
    gv_writer_u64(w, mark->low);
    gv_writer_u64(w, mark->sent);
    size_t size = ((size_t)mark->count + 3) / 4;
    uint8_t *states = gv_writer_reserve(w, size);
    if (states != NULL && size > 0) {
        memset(states, 0, size);
    }
    return states;
}

static uint32_t u32_at(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 |
           (uint32_t)bytes[3];
}

uint32_t gv_segment_id(const gv_segment_delivery_t *delivery, size_t index)
{
    GV_ASSERT(index < gv_segment_id_count(delivery));
    return u32_at(delivery->ids.data + index * 4);
}

uint32_t gv_segment_body_of(const uint8_t *item)
{
    GV_ASSERT(item[0] == GV_SEGMENT_DELIVERY);
    return u32_at(item + 4);
}

static bool read_delivery(gv_reader_t *r, gv_segment_delivery_t *delivery)
{
    uint8_t flags = gv_reader_u8(r);
    uint16_t extra_size = gv_reader_u16(r);
    *delivery = (gv_segment_delivery_t){
        .body = gv_reader_u32(r),
        .qos = (flags & FLAG_QOS2) != 0 ? 2 : 1,
        .retain = (flags & FLAG_RETAIN) != 0,
        .is_connected = (flags & FLAG_CONNECTED) != 0,
    };
    delivery->session = gv_reader_u64(r);
    delivery->number = gv_reader_u64(r);
    delivery->expires_s = gv_reader_u32(r);
    gv_reader_t extra = gv_reader(gv_reader_take(r, extra_size));
    if ((flags & FLAG_SHARED) != 0) {
        uint16_t size = gv_reader_u16(&extra);
        delivery->share = gv_reader_take(&extra, size);
    }
    delivery->ids = gv_reader_take(&extra, gv_reader_left(&extra));
    return !r->failed && !extra.failed && delivery->ids.size % 4 == 0;
}

static bool read_mark(gv_reader_t *r, gv_segment_mark_t *mark)
{
    uint8_t flags = gv_reader_u8(r);
    (void)gv_reader_u16(r);
    *mark = (gv_segment_mark_t){
        .is_connected = (flags & FLAG_CONNECTED) != 0,
        .count = gv_reader_u32(r),
    };
    mark->session = gv_reader_u64(r);
    mark->low = gv_reader_u64(r);
    mark->sent = gv_reader_u64(r);
    mark->states = gv_reader_take(r, ((size_t)mark->count + 3) / 4);
    return !r->failed;
}

/* ---- bodies ---- */

/* topic_size u16, props_size u32, expires_at_ms u64, qos and retain u8 */
#define BODY_FIXED 15U

size_t gv_segment_body_size(const gv_segment_message_t *message)
{
    return BODY_FIXED + message->topic.size + message->props.size + message->payload.size;
}

void gv_segment_put_body(gv_writer_t *w, const gv_segment_message_t *message)
{
    gv_writer_u16(w, (uint16_t)message->topic.size);
    gv_writer_u32(w, (uint32_t)message->props.size);
    gv_writer_u64(w, message->expires_at_ms);
    gv_writer_u8(w, (uint8_t)(message->qos | (message->retain ? FLAG_PUBLISHED_RETAIN : 0)));
    gv_writer_put(w, message->topic);
    gv_writer_put(w, message->props);
    gv_writer_put(w, message->payload);
}

/* ---- a whole segment ---- */

static size_t body_size(const gv_segment_parts_t *parts, uint32_t index)
{
    return parts->ends[index] - (index == 0 ? 0 : parts->ends[index - 1]);
}

static size_t wanted_size(const gv_segment_parts_t *parts)
{
    size_t size = 0;
    for (uint32_t i = 0; i < parts->body_count; i++) {
        size += parts->wanted[i] ? body_size(parts, i) : 0;
    }
    return size;
}

static size_t head_size(size_t items_size, uint32_t body_count)
{
    return GV_SEGMENT_HEAD_SIZE + items_size + (size_t)body_count * GV_SEGMENT_BODY_ENTRY;
}

size_t gv_segment_size(const gv_segment_parts_t *parts)
{
    return head_size(parts->items.size, parts->body_count) + wanted_size(parts);
}

void gv_segment_write(uint8_t *image, const gv_segment_parts_t *parts)
{
    size_t head = head_size(parts->items.size, parts->body_count);
    size_t bodies_size = wanted_size(parts);
    gv_writer_t w = gv_writer(image, head);
    gv_writer_u32(&w, GV_SEGMENT_VERSION);
    gv_writer_u32(&w, 0); /* the CRC, below */
    gv_writer_u64(&w, parts->number);
    gv_writer_u32(&w, (uint32_t)parts->items.size);
    gv_writer_u32(&w, parts->body_count);
    gv_writer_u32(&w, (uint32_t)bodies_size);
    gv_writer_u32(&w, parts->latest_s);
    gv_writer_put(&w, parts->items);
    size_t from = 0;
    size_t to = 0;
    for (uint32_t i = 0; i < parts->body_count; i++) {
        size_t size = parts->wanted[i] ? body_size(parts, i) : 0;
        gv_bytes_t body = gv_bytes(parts->bodies.data + from, size);
        gv_writer_u32(&w, (uint32_t)to);
        gv_writer_u32(&w, (uint32_t)size);
        gv_writer_u32(&w, gv_crc32c(0, body));
        if (size > 0) {
            memcpy(image + head + to, body.data, size);
        }
        to += size;
        from = parts->ends[i];
    }
    GV_ASSERT(!w.failed);
    gv_writer_t crc = gv_writer(image + 4, 4);
    gv_writer_u32(&crc, gv_crc32c(0, gv_bytes(image + 8, head - 8)));
}

gv_err_t gv_segment_open(gv_bytes_t image, uint64_t number, gv_segment_view_t *segment_out)
{
    gv_reader_t r = gv_reader(image);
    uint32_t version = gv_reader_u32(&r);
    uint32_t crc = gv_reader_u32(&r);
    *segment_out = (gv_segment_view_t){.number = gv_reader_u64(&r)};
    uint32_t items_size = gv_reader_u32(&r);
    segment_out->body_count = gv_reader_u32(&r);
    uint32_t bodies_size = gv_reader_u32(&r);
    segment_out->latest_s = gv_reader_u32(&r);
    if (r.failed) {
        return GV_ERR_CORRUPT;
    }
    if (version != GV_SEGMENT_VERSION) {
        return GV_ERR_VERSION;
    }
    segment_out->items = gv_reader_take(&r, items_size);
    segment_out->table =
        gv_reader_take(&r, (size_t)segment_out->body_count * GV_SEGMENT_BODY_ENTRY);
    if (r.failed || gv_reader_left(&r) != bodies_size || segment_out->number != number) {
        return GV_ERR_CORRUPT;
    }
    size_t head = head_size(items_size, segment_out->body_count);
    if (gv_crc32c(0, gv_bytes(image.data + 8, head - 8)) != crc) {
        return GV_ERR_CORRUPT;
    }
    segment_out->bodies = gv_reader_take(&r, bodies_size);
    return GV_OK;
}

gv_segment_view_t gv_segment_view(gv_bytes_t image)
{
    GV_ASSERT(image.size >= GV_SEGMENT_HEAD_SIZE);
    gv_segment_view_t segment = {
        .body_count = u32_at(image.data + 20),
        .latest_s = u32_at(image.data + 28),
    };
    gv_reader_t r = gv_reader(gv_bytes(image.data + 8, image.size - 8));
    segment.number = gv_reader_u64(&r);
    gv_reader_t parts =
        gv_reader(gv_bytes(image.data + GV_SEGMENT_HEAD_SIZE, image.size - GV_SEGMENT_HEAD_SIZE));
    segment.items = gv_reader_take(&parts, u32_at(image.data + 16));
    segment.table = gv_reader_take(&parts, (size_t)segment.body_count * GV_SEGMENT_BODY_ENTRY);
    segment.bodies = gv_reader_take(&parts, gv_reader_left(&parts));
    return segment;
}

bool gv_segment_at(const gv_segment_view_t *segment, uint32_t offset, gv_segment_item_t *item_out)
{
    return gv_segment_next(segment, &offset, item_out);
}

bool gv_segment_next(const gv_segment_view_t *segment, uint32_t *offset,
                     gv_segment_item_t *item_out)
{
    if (*offset >= segment->items.size) {
        return false;
    }
    gv_reader_t r =
        gv_reader(gv_bytes(segment->items.data + *offset, segment->items.size - *offset));
    item_out->kind = (gv_segment_kind_t)gv_reader_u8(&r);
    item_out->offset = *offset;
    bool is_good = false;
    if (item_out->kind == GV_SEGMENT_DELIVERY) {
        is_good = read_delivery(&r, &item_out->delivery);
    } else if (item_out->kind == GV_SEGMENT_MARK) {
        is_good = read_mark(&r, &item_out->mark);
    }
    *offset = (uint32_t)(segment->items.size - gv_reader_left(&r));
    return is_good;
}

size_t gv_segment_message_bytes(const gv_segment_view_t *segment, uint32_t index)
{
    size_t size = gv_segment_body_bytes(segment, index);
    return size > BODY_FIXED ? size - BODY_FIXED : 0;
}

size_t gv_segment_body_bytes(const gv_segment_view_t *segment, uint32_t index)
{
    return index < segment->body_count
               ? u32_at(segment->table.data + (size_t)index * GV_SEGMENT_BODY_ENTRY + 4)
               : 0;
}

gv_bytes_t gv_segment_raw_body(const gv_segment_view_t *segment, uint32_t index)
{
    if (index >= segment->body_count) {
        return GV_BYTES_EMPTY;
    }
    const uint8_t *entry = segment->table.data + (size_t)index * GV_SEGMENT_BODY_ENTRY;
    uint32_t offset = u32_at(entry);
    uint32_t size = u32_at(entry + 4);
    if (offset > segment->bodies.size || size > segment->bodies.size - offset) {
        return GV_BYTES_EMPTY;
    }
    return gv_bytes(segment->bodies.data + offset, size);
}

gv_err_t gv_segment_body(const gv_segment_view_t *segment, uint32_t index,
                         gv_segment_message_t *message_out)
{
    if (index >= segment->body_count) {
        return GV_ERR_CORRUPT;
    }
    if (gv_segment_body_bytes(segment, index) == 0) {
        return GV_ERR_NOENT;
    }
    gv_bytes_t body = gv_segment_raw_body(segment, index);
    const uint8_t *entry = segment->table.data + (size_t)index * GV_SEGMENT_BODY_ENTRY;
    if (body.size == 0 || gv_crc32c(0, body) != u32_at(entry + 8)) {
        return GV_ERR_CORRUPT;
    }
    return gv_segment_read_body(body, message_out);
}

gv_err_t gv_segment_read_body(gv_bytes_t body, gv_segment_message_t *message_out)
{
    gv_reader_t r = gv_reader(body);
    uint16_t topic_size = gv_reader_u16(&r);
    uint32_t props_size = gv_reader_u32(&r);
    message_out->expires_at_ms = gv_reader_u64(&r);
    uint8_t flags = gv_reader_u8(&r);
    message_out->qos = flags & 3;
    message_out->retain = (flags & FLAG_PUBLISHED_RETAIN) != 0;
    message_out->topic = gv_reader_take(&r, topic_size);
    message_out->props = gv_reader_take(&r, props_size);
    message_out->payload = gv_reader_take(&r, gv_reader_left(&r));
    return r.failed ? GV_ERR_CORRUPT : GV_OK;
}
