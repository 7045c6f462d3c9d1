/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/core/forward_codec.h"

#include "base/hlc.h"
#include "cluster/core/codec.h"

/* ---- protobuf's wire format
 * ---------------------------------------------------------------------- */

enum {
    WIRE_VARINT = 0,
    WIRE_FIXED64 = 1,
    WIRE_BYTES = 2,
    WIRE_FIXED32 = 5,
};

#define TAG(number, wire) ((uint32_t)(number) << 3 | (uint32_t)(wire))
#define VARINT_MAX_BYTES  10

/* One field: the number for the first two wire types, the bytes for the third. */
typedef struct field {
    uint32_t tag;
    uint64_t number;
    gv_bytes_t bytes;
} field_t;

static uint64_t get_varint(gv_reader_t *r)
{
    uint64_t value = 0;
    for (uint32_t i = 0; i < VARINT_MAX_BYTES; i++) {
        uint8_t byte = gv_reader_u8(r);
        if (i == VARINT_MAX_BYTES - 1 && byte > 1) {
            r->failed = true; /* more than 64 bits */
        }
        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if ((byte & 0x80) == 0) {
            break;
        }
    }
    return r->failed ? 0 : value;
}

static uint64_t get_fixed64(gv_reader_t *r)
{
    uint64_t value = 0;
    gv_bytes_t bytes = gv_reader_take(r, 8);
    for (size_t i = 0; i < bytes.size; i++) {
        value |= (uint64_t)bytes.data[i] << (8 * i);
    }
    return value;
}

/* The next field; false at the end or on broken framing (r->failed tells which). */
static bool next_field(gv_reader_t *r, field_t *field)
{
    *field = (field_t){.tag = 0};
    if (r->failed || gv_reader_left(r) == 0) {
        return false;
    }
    uint64_t tag = get_varint(r);
    if (tag >> 3 == 0 || tag > UINT32_MAX) {
        r->failed = true;
        return false;
    }
    field->tag = (uint32_t)tag;
    switch (tag & 7) {
    case WIRE_VARINT:
        field->number = get_varint(r);
        break;
    case WIRE_FIXED64:
        field->number = get_fixed64(r);
        break;
    case WIRE_BYTES: {
        uint64_t size = get_varint(r);
        if (size > gv_reader_left(r)) {
            r->failed = true;
            return false;
        }
        field->bytes = gv_reader_take(r, (size_t)size);
        break;
    }
    case WIRE_FIXED32:
        (void)gv_reader_take(r, 4);
        break;
    default:
        r->failed = true;
        break;
    }
    return !r->failed;
}

static size_t varint_size(uint64_t value)
{
    size_t size = 1;
    while (value >= 0x80) {
        value >>= 7;
        size++;
    }
    return size;
}

static void put_varint(gv_writer_t *w, uint64_t value)
{
    while (value >= 0x80) {
        gv_writer_u8(w, (uint8_t)(value | 0x80));
        value >>= 7;
    }
    gv_writer_u8(w, (uint8_t)value);
}

/* Zero is what is not written, in proto3. */
static void put_number(gv_writer_t *w, uint32_t number, uint64_t value)
{
    if (value != 0) {
        put_varint(w, TAG(number, WIRE_VARINT));
        put_varint(w, value);
    }
}

static void put_fixed64(gv_writer_t *w, uint32_t number, uint64_t value)
{
    if (value == 0) {
        return;
    }
    put_varint(w, TAG(number, WIRE_FIXED64));
    for (size_t i = 0; i < 8; i++) {
        gv_writer_u8(w, (uint8_t)(value >> (8 * i)));
    }
}

static void put_bytes_always(gv_writer_t *w, uint32_t number, gv_bytes_t bytes)
{
    put_varint(w, TAG(number, WIRE_BYTES));
    put_varint(w, bytes.size);
    gv_writer_put(w, bytes);
}

static void put_bytes(gv_writer_t *w, uint32_t number, gv_bytes_t bytes)
{
    if (bytes.size > 0) {
        put_bytes_always(w, number, bytes);
    }
}

static void put_id(gv_writer_t *w, uint32_t number, const gv_node_id_t *id)
{
    put_bytes_always(w, number, gv_bytes(id->bytes, GV_NODE_ID_SIZE));
}

static bool get_id(const field_t *field, gv_node_id_t *id)
{
    if (field->bytes.size != GV_NODE_ID_SIZE) {
        return false;
    }
    memcpy(id->bytes, field->bytes.data, GV_NODE_ID_SIZE);
    return true;
}

/* ---- messages ---------------------------------------------------------------------------------
 */

enum {
    MESSAGE_TOPIC = TAG(1, WIRE_BYTES),
    MESSAGE_PAYLOAD = TAG(2, WIRE_BYTES),
    MESSAGE_PROPERTIES = TAG(3, WIRE_BYTES),
    MESSAGE_PUBLISHER = TAG(4, WIRE_BYTES),
    MESSAGE_SHARED = TAG(5, WIRE_BYTES),
    MESSAGE_UID_NODE = TAG(6, WIRE_BYTES),
    MESSAGE_UID_BOOT = TAG(7, WIRE_FIXED64),
    MESSAGE_UID_SEQ = TAG(8, WIRE_VARINT),
    MESSAGE_QOS = TAG(9, WIRE_VARINT),
    MESSAGE_RETAIN = TAG(10, WIRE_VARINT),
    MESSAGE_FOR_GROUPS = TAG(11, WIRE_VARINT),
    MESSAGE_EXACT_RUN = TAG(12, WIRE_FIXED64),
    MESSAGE_EXACT_NUMBER = TAG(13, WIRE_VARINT),
    MESSAGE_EXACT_PREVIOUS = TAG(14, WIRE_VARINT),
    MESSAGE_WRITE_HLC = TAG(15, WIRE_FIXED64),
    MESSAGE_WRITE_WRITER = TAG(16, WIRE_BYTES),
    MESSAGE_WRITE_QOS = TAG(17, WIRE_VARINT),
    MESSAGE_WRITE_COPY = TAG(18, WIRE_VARINT),
};

static size_t bytes_size(gv_bytes_t bytes)
{
    return bytes.size == 0 ? 0 : 1 + varint_size(bytes.size) + bytes.size;
}

static size_t number_size(uint64_t number)
{
    return number == 0 ? 0 : 1 + varint_size(number);
}

size_t gv_forward_size(const gv_forward_t *msg)
{
    size_t size = bytes_size(msg->topic) + bytes_size(msg->payload) + bytes_size(msg->properties) +
                  bytes_size(msg->publisher) + 2 + GV_NODE_ID_SIZE;
    for (size_t i = 0; i < msg->shared_count; i++) {
        size += 1 + varint_size(msg->shared[i].size) + msg->shared[i].size;
    }
    size += msg->uid.boot_id == 0 ? 0 : 9;
    size += number_size(msg->uid.seq);
    size += msg->qos == 0 ? 0 : 2;
    size += msg->retain ? 2 : 0;
    size += msg->is_for_groups ? 2 : 0;
    size += msg->exact.run == 0 ? 0 : 9;
    size += number_size(msg->exact.number) + number_size(msg->exact.previous);
    size += msg->write.hlc == 0 ? 0 : 9;
    size += msg->write.is_copy ? 3 + 3 + GV_NODE_ID_SIZE : 0;
    size += msg->write.qos == 0 ? 0 : 3;
    return size;
}

void gv_forward_encode(const gv_forward_t *msg, uint8_t *out, size_t size)
{
    GV_ASSERT(msg->shared_count <= GV_FORWARD_SHARED_MAX);
    gv_writer_t w = gv_writer(out, size);
    put_bytes(&w, 1, msg->topic);
    put_bytes(&w, 2, msg->payload);
    put_bytes(&w, 3, msg->properties);
    put_bytes(&w, 4, msg->publisher);
    for (size_t i = 0; i < msg->shared_count; i++) {
        put_bytes_always(&w, 5, msg->shared[i]);
    }
    put_id(&w, 6, &msg->uid.node);
    put_fixed64(&w, 7, msg->uid.boot_id);
    put_number(&w, 8, msg->uid.seq);
    put_number(&w, 9, msg->qos);
    put_number(&w, 10, msg->retain ? 1 : 0);
    put_number(&w, 11, msg->is_for_groups ? 1 : 0);
    put_fixed64(&w, 12, msg->exact.run);
    put_number(&w, 13, msg->exact.number);
    put_number(&w, 14, msg->exact.previous);
    put_fixed64(&w, 15, msg->write.hlc);
    if (msg->write.is_copy) {
        put_id(&w, 16, &msg->write.writer);
    }
    put_number(&w, 17, msg->write.qos);
    put_number(&w, 18, msg->write.is_copy ? 1 : 0);
    GV_ASSERT(!w.failed);
    GV_ASSERT(gv_writer_left(&w) == 0);
}

gv_err_t gv_forward_decode(gv_bytes_t body, gv_bytes_t *shared, gv_forward_t *msg_out)
{
    gv_forward_t msg = {.shared = shared, .expiry_ms = GV_FORWARD_NO_EXPIRY};
    gv_reader_t r = gv_reader(body);
    field_t field;
    bool has_uid = false;
    bool has_writer = false;
    while (next_field(&r, &field)) {
        switch (field.tag) {
        case MESSAGE_TOPIC:
            msg.topic = field.bytes;
            break;
        case MESSAGE_PAYLOAD:
            msg.payload = field.bytes;
            break;
        case MESSAGE_PROPERTIES:
            msg.properties = field.bytes;
            break;
        case MESSAGE_PUBLISHER:
            msg.publisher = field.bytes;
            break;
        case MESSAGE_SHARED:
            if (msg.shared_count == GV_FORWARD_SHARED_MAX) {
                return GV_ERR_MALFORMED;
            }
            shared[msg.shared_count++] = field.bytes;
            break;
        case MESSAGE_UID_NODE:
            has_uid = get_id(&field, &msg.uid.node);
            break;
        case MESSAGE_UID_BOOT:
            msg.uid.boot_id = field.number;
            break;
        case MESSAGE_UID_SEQ:
            msg.uid.seq = field.number;
            break;
        case MESSAGE_QOS:
            if (field.number > 2) {
                return GV_ERR_MALFORMED;
            }
            msg.qos = (uint8_t)field.number;
            break;
        case MESSAGE_RETAIN:
            msg.retain = field.number != 0;
            break;
        case MESSAGE_FOR_GROUPS:
            msg.is_for_groups = field.number != 0;
            break;
        case MESSAGE_EXACT_RUN:
            msg.exact.run = field.number;
            break;
        case MESSAGE_EXACT_NUMBER:
            msg.exact.number = field.number;
            break;
        case MESSAGE_EXACT_PREVIOUS:
            msg.exact.previous = field.number;
            break;
        case MESSAGE_WRITE_HLC:
            msg.write.hlc = field.number;
            break;
        case MESSAGE_WRITE_WRITER:
            has_writer = get_id(&field, &msg.write.writer);
            break;
        case MESSAGE_WRITE_QOS:
            if (field.number > 2) {
                return GV_ERR_MALFORMED;
            }
            msg.write.qos = (uint8_t)field.number;
            break;
        case MESSAGE_WRITE_COPY:
            msg.write.is_copy = field.number != 0;
            break;
        default:
            break; /* from a newer peer */
        }
    }
    *msg_out = msg;
    bool is_copy_fine = !msg.write.is_copy || (has_writer && msg.write.hlc != 0);
    bool is_fine = !r.failed && has_uid && is_copy_fine && msg.write.hlc < GV_HLC_MAX;
    return is_fine ? GV_OK : GV_ERR_MALFORMED;
}

/* ---- batches ----------------------------------------------------------------------------------
 */

enum {
    BATCH_FROM = TAG(1, WIRE_BYTES),
    BATCH_TO = TAG(2, WIRE_BYTES),
    BATCH_FROM_BOOT = TAG(3, WIRE_FIXED64),
    BATCH_TO_BOOT = TAG(4, WIRE_FIXED64),
    BATCH_LOWEST = TAG(5, WIRE_VARINT),
    BATCH_OFFSET = TAG(6, WIRE_VARINT),
    BATCH_ITEM = TAG(7, WIRE_BYTES),
};

enum {
    ITEM_SEQ = TAG(1, WIRE_VARINT),
    ITEM_EXPIRY = TAG(2, WIRE_VARINT),
    ITEM_TOTAL = TAG(3, WIRE_VARINT),
    ITEM_AT = TAG(4, WIRE_VARINT),
    ITEM_BODY = TAG(5, WIRE_BYTES),
};

void gv_forward_put_head(gv_writer_t *w, const gv_forward_batch_t *batch)
{
    put_id(w, 1, &batch->from);
    put_id(w, 2, &batch->to);
    put_fixed64(w, 3, batch->from_boot_id);
    put_fixed64(w, 4, batch->to_boot_id);
    put_number(w, 5, batch->lowest);
    put_number(w, 6, batch->offset);
}

void gv_forward_put_piece(gv_writer_t *w, const gv_forward_piece_t *piece)
{
    uint8_t head_bytes[GV_FORWARD_PIECE_OVERHEAD];
    gv_writer_t head = gv_writer(head_bytes, sizeof(head_bytes));
    put_number(&head, 1, piece->seq);
    if (piece->expiry_ms != GV_FORWARD_NO_EXPIRY) {
        put_number(&head, 2, piece->expiry_ms + 1);
    }
    put_number(&head, 3, piece->total);
    put_number(&head, 4, piece->at);
    if (piece->body.size > 0) {
        put_varint(&head, ITEM_BODY);
        put_varint(&head, piece->body.size);
    }
    GV_ASSERT(!head.failed);
    size_t head_size = (size_t)(head.pos - head_bytes);
    put_varint(w, BATCH_ITEM);
    put_varint(w, head_size + piece->body.size);
    gv_writer_put(w, gv_bytes(head_bytes, head_size));
    gv_writer_put(w, piece->body);
}

gv_err_t gv_forward_get_head(gv_bytes_t frame, gv_forward_batch_t *batch_out)
{
    *batch_out = (gv_forward_batch_t){.lowest = 0};
    gv_reader_t r = gv_reader(frame);
    field_t field;
    bool has_from = false;
    bool has_to = false;
    while (next_field(&r, &field)) {
        switch (field.tag) {
        case BATCH_FROM:
            has_from = get_id(&field, &batch_out->from);
            break;
        case BATCH_TO:
            has_to = get_id(&field, &batch_out->to);
            break;
        case BATCH_FROM_BOOT:
            batch_out->from_boot_id = field.number;
            break;
        case BATCH_TO_BOOT:
            batch_out->to_boot_id = field.number;
            break;
        case BATCH_LOWEST:
            batch_out->lowest = field.number;
            break;
        case BATCH_OFFSET:
            batch_out->offset = field.number;
            break;
        default:
            break;
        }
    }
    bool is_fine = !r.failed && has_from && has_to && batch_out->lowest > 0 &&
                   batch_out->lowest <= GV_COUNTER_MAX && batch_out->offset <= GV_COUNTER_MAX;
    return is_fine ? GV_OK : GV_ERR_MALFORMED;
}

static bool get_piece(gv_bytes_t item, gv_forward_piece_t *piece)
{
    gv_reader_t r = gv_reader(item);
    field_t field;
    *piece = (gv_forward_piece_t){.expiry_ms = GV_FORWARD_NO_EXPIRY};
    while (next_field(&r, &field)) {
        switch (field.tag) {
        case ITEM_SEQ:
            piece->seq = field.number;
            break;
        case ITEM_EXPIRY:
            piece->expiry_ms = field.number - 1; /* 0 becomes GV_FORWARD_NO_EXPIRY */
            break;
        case ITEM_TOTAL:
            piece->total = field.number;
            break;
        case ITEM_AT:
            piece->at = field.number;
            break;
        case ITEM_BODY:
            piece->body = field.bytes;
            break;
        default:
            break;
        }
    }
    return !r.failed && piece->seq <= GV_COUNTER_MAX &&
           (piece->total == 0 ? piece->at == 0
                              : piece->at < piece->total && piece->body.size > 0 &&
                                    piece->body.size <= piece->total - piece->at);
}

bool gv_forward_next_piece(gv_reader_t *reader, gv_forward_piece_t *piece_out)
{
    field_t field;
    while (next_field(reader, &field)) {
        if (field.tag == BATCH_ITEM) {
            if (!get_piece(field.bytes, piece_out)) {
                reader->failed = true;
                return false;
            }
            return true;
        }
    }
    return false;
}
