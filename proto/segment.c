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

/* A delivery without ids and share: see gv_segment_delivery_size(). */
#define DELIVERY_FIXED 28U

void gv_segment_put_delivery(gv_writer_t *w, const gv_segment_delivery_t *delivery,
                             const uint32_t *ids, size_t id_count)
{
    size_t share_size = delivery->share.size;
    size_t extra = gv_segment_delivery_size(id_count, share_size) - DELIVERY_FIXED;
    GV_ASSERT(extra <= UINT16_MAX);
    unsigned flags = (delivery->qos == 2 ? FLAG_QOS2 : 0U) | (delivery->retain ? FLAG_RETAIN : 0U) |
                     (share_size > 0 ? FLAG_SHARED : 0U) |
                     (delivery->is_connected ? FLAG_CONNECTED : 0U);
    uint8_t *room = gv_writer_reserve(w, DELIVERY_FIXED);
    if (room == NULL) {
        return;
    }
    /* A writer that is not the caller's: so it is known here that all of it fits, and not asked. */
    gv_writer_t fixed = gv_writer(room, DELIVERY_FIXED);
    gv_writer_u8(&fixed, GV_SEGMENT_DELIVERY);
    gv_writer_u8(&fixed, (uint8_t)flags);
    gv_writer_u16(&fixed, (uint16_t)extra);
    gv_writer_u32(&fixed, delivery->body);
    gv_writer_u64(&fixed, delivery->session);
    gv_writer_u64(&fixed, delivery->number);
    gv_writer_u32(&fixed, delivery->expires_s);
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

void gv_segment_put_body(gv_writer_t *w, const gv_segment_message_t *message)
{
    uint8_t *room = gv_writer_reserve(w, gv_segment_body_size(message));
    if (room == NULL) {
        return;
    }
    uint8_t qos = (uint8_t)(message->qos | (message->retain ? FLAG_PUBLISHED_RETAIN : 0));
    gv_writer_t fixed = gv_writer(room, GV_SEGMENT_BODY_FIXED);
    gv_writer_u16(&fixed, (uint16_t)message->topic.size);
    gv_writer_u32(&fixed, (uint32_t)message->props.size);
    gv_writer_u64(&fixed, message->expires_at_ms);
    gv_writer_u8(&fixed, qos);
    gv_writer_t texts = gv_writer(room + GV_SEGMENT_BODY_FIXED,
                                  gv_segment_body_size(message) - GV_SEGMENT_BODY_FIXED);
    gv_writer_put(&texts, message->topic);
    gv_writer_put(&texts, message->props);
    gv_writer_put(&texts, message->payload);
}

/* ---- a whole segment ---- */

static size_t body_size(const gv_segment_parts_t *parts, uint32_t index)
{
    return parts->ends[index] - (index == 0 ? 0 : parts->ends[index - 1]);
}

/* With the size of a body: it stands in the table `payloads`. */
#define APART ((uint32_t)1 << 31)

/* The oldest version that is read. */
#define VERSION_MIN 1U

static uint64_t apart(const gv_segment_parts_t *parts, uint32_t index)
{
    return parts->apart == NULL || !parts->wanted[index] ? 0 : parts->apart[index];
}

/* How many bytes of a body stand in the segment. */
static size_t size_here(const gv_segment_parts_t *parts, uint32_t index)
{
    return parts->wanted[index] && apart(parts, index) == 0 ? body_size(parts, index) : 0;
}

static size_t bodies_size(const gv_segment_parts_t *parts)
{
    size_t size = 0;
    for (uint32_t i = 0; i < parts->body_count; i++) {
        size += size_here(parts, i);
    }
    return size;
}

static size_t head_size(size_t items_size, uint32_t body_count)
{
    return GV_SEGMENT_HEAD_SIZE + items_size + (size_t)body_count * GV_SEGMENT_BODY_ENTRY;
}

size_t gv_segment_size(const gv_segment_parts_t *parts)
{
    return head_size(parts->items.size, parts->body_count) + bodies_size(parts);
}

void gv_segment_write(uint8_t *image, const gv_segment_parts_t *parts)
{
    size_t head = head_size(parts->items.size, parts->body_count);
    gv_writer_t w = gv_writer(image, head);
    gv_writer_u32(&w, GV_SEGMENT_VERSION);
    gv_writer_u32(&w, 0); /* the CRC, below */
    gv_writer_u64(&w, parts->number);
    gv_writer_u32(&w, (uint32_t)parts->items.size);
    gv_writer_u32(&w, parts->body_count);
    gv_writer_u32(&w, (uint32_t)bodies_size(parts));
    gv_writer_u32(&w, parts->latest_s);
    gv_writer_put(&w, parts->items);
    size_t from = 0;
    size_t to = 0;
    for (uint32_t i = 0; i < parts->body_count; i++) {
        gv_bytes_t body = gv_bytes(parts->bodies.data + from, size_here(parts, i));
        uint64_t number = apart(parts, i);
        if (number != 0) {
            gv_writer_u32(&w, (uint32_t)(number >> 32));
            gv_writer_u32(&w, APART | (uint32_t)body_size(parts, i));
            gv_writer_u32(&w, (uint32_t)number);
        } else {
            gv_writer_u32(&w, (uint32_t)to);
            gv_writer_u32(&w, (uint32_t)body.size);
            gv_writer_u32(&w, gv_crc32c(0, body));
        }
        if (body.size > 0) {
            memcpy(image + head + to, body.data, body.size);
        }
        to += body.size;
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
    uint32_t size = gv_reader_u32(&r); /* of the bodies */
    segment_out->latest_s = gv_reader_u32(&r);
    if (r.failed) {
        return GV_ERR_CORRUPT;
    }
    if (version < VERSION_MIN || version > GV_SEGMENT_VERSION) {
        return GV_ERR_VERSION;
    }
    segment_out->items = gv_reader_take(&r, items_size);
    segment_out->table =
        gv_reader_take(&r, (size_t)segment_out->body_count * GV_SEGMENT_BODY_ENTRY);
    if (r.failed || gv_reader_left(&r) != size || segment_out->number != number) {
        return GV_ERR_CORRUPT;
    }
    size_t head = head_size(items_size, segment_out->body_count);
    if (gv_crc32c(0, gv_bytes(image.data + 8, head - 8)) != crc) {
        return GV_ERR_CORRUPT;
    }
    segment_out->bodies = gv_reader_take(&r, size);
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
    return size > GV_SEGMENT_BODY_FIXED ? size - GV_SEGMENT_BODY_FIXED : 0;
}

/* The place of a body's entry in the table. */
static const uint8_t *entry_of(const gv_segment_view_t *segment, uint32_t index)
{
    return segment->table.data + (size_t)index * GV_SEGMENT_BODY_ENTRY;
}

size_t gv_segment_body_bytes(const gv_segment_view_t *segment, uint32_t index)
{
    return index < segment->body_count ? u32_at(entry_of(segment, index) + 4) & ~APART : 0;
}

uint64_t gv_segment_apart(const gv_segment_view_t *segment, uint32_t index)
{
    if (index >= segment->body_count) {
        return 0;
    }
    const uint8_t *entry = entry_of(segment, index);
    return (u32_at(entry + 4) & APART) == 0 ? 0 : (uint64_t)u32_at(entry) << 32 | u32_at(entry + 8);
}

gv_err_t gv_segment_checked_body(const gv_segment_view_t *segment, uint32_t index,
                                 gv_bytes_t *body_out)
{
    if (index >= segment->body_count) {
        return GV_ERR_CORRUPT;
    }
    if (gv_segment_body_bytes(segment, index) == 0 || gv_segment_apart(segment, index) != 0) {
        return GV_ERR_NOENT;
    }
    const uint8_t *entry = entry_of(segment, index);
    uint32_t offset = u32_at(entry);
    uint32_t size = u32_at(entry + 4);
    if (offset > segment->bodies.size || size > segment->bodies.size - offset) {
        return GV_ERR_CORRUPT; /* among them what stands apart and has no number */
    }
    *body_out = gv_bytes(segment->bodies.data + offset, size);
    return gv_crc32c(0, *body_out) == u32_at(entry + 8) ? GV_OK : GV_ERR_CORRUPT;
}

gv_err_t gv_segment_body(const gv_segment_view_t *segment, uint32_t index,
                         gv_segment_message_t *message_out)
{
    gv_bytes_t body;
    gv_err_t err = gv_segment_checked_body(segment, index, &body);
    return err == GV_OK ? gv_segment_read_body(body, message_out) : err;
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
