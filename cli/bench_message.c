/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/bench_message.h"

#include "base/alloc.h"
#include "base/defs.h"

void gv_bench_message_init(gv_bench_message_t *message, gv_mqtt_version_t version, gv_bytes_t topic,
                           uint8_t qos, size_t payload_size)
{
    GV_ASSERT(payload_size >= GV_BENCH_STAMP_SIZE);
    const gv_mqtt_publish_head_t head = {
        .topic = topic, .payload_size = payload_size, .qos = qos, .packet_id = qos > 0 ? 1 : 0};
    size_t head_size = gv_mqtt_publish_head_size(&head, version);
    GV_ASSERT(head_size > 0);
    message->size = head_size + payload_size;
    message->packet = gv_xalloc(message->size);
    gv_writer_t writer = gv_writer(message->packet, head_size);
    size_t written =
        gv_mqtt_publish_head_write(&head, version, &writer, &message->packet_id_offset);
    GV_ASSERT(written == head_size);
    message->stamp_offset = head_size;
    memset(message->packet + head_size, 'x', payload_size);
}

void gv_bench_message_deinit(gv_bench_message_t *message)
{
    gv_free(message->packet);
    message->packet = NULL;
}

gv_err_t gv_bench_message_read(const gv_mqtt_frame_t *frame, gv_mqtt_version_t version,
                               uint16_t *packet_id_out, gv_bench_stamp_t *stamp_out)
{
    gv_reader_t reader = gv_reader(frame->body);
    (void)gv_reader_take(&reader, gv_reader_u16(&reader));
    uint8_t qos = frame->flags >> 1 & 3;
    *packet_id_out = qos > 0 ? gv_reader_u16(&reader) : 0;
    if (version >= GV_MQTT_V5) {
        (void)gv_reader_take(&reader, gv_mqtt_varint_read(&reader));
    }
    if (reader.failed || qos > 2 || (qos > 0 && *packet_id_out == 0)) {
        return GV_ERR_MALFORMED;
    }
    if (gv_reader_left(&reader) < GV_BENCH_STAMP_SIZE) {
        return GV_ERR_NOENT;
    }
    const uint8_t *at = reader.pos;
    stamp_out->publisher = gv__bench_get_u32(at);
    stamp_out->number = gv__bench_get_u32(at + 4);
    stamp_out->sent_ns = (uint64_t)gv__bench_get_u32(at + 8) << 32 | gv__bench_get_u32(at + 12);
    return GV_OK;
}
