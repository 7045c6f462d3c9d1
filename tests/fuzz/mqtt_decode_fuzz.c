/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The MQTT codec.  The first byte of the input says who is speaking (version, client or server) and
 * what limit the other side has announced; the rest is a byte stream, cut into packets as a
 * connection does it.
 *
 * What decodes must encode, not longer than it came; that must decode again, and encode to the same
 * bytes.  Encoded for a receiver with a limit it must keep to it.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/mqtt/packet.h"
#include "proto/mqtt/utf8.h"
#include "tests/unit/proto/mqtt/any_packet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static any_packet_t packet;
static any_packet_t packet_again;
static uint8_t room[ANY_BYTES_MAX];
static uint8_t room_again[ANY_BYTES_MAX];

static void require(bool condition)
{
    if (!condition) {
        abort();
    }
}

/* The bytes one packet is encoded to; empty when this version has no words for it. */
static gv_bytes_t encode(any_packet_t *from, const gv_mqtt_peer_t *receiver, uint8_t *out)
{
    gv_writer_t w = gv_writer(out, ANY_BYTES_MAX);
    size_t size = any_encode(from, receiver, &w);
    require(!w.failed);
    require(ANY_BYTES_MAX - gv_writer_left(&w) == size);
    require(receiver->packet_size_max == 0 || size <= receiver->packet_size_max);
    return gv_bytes(out, size);
}

static void decode_again(gv_bytes_t bytes, const gv_mqtt_peer_t *sender, any_packet_t *out)
{
    gv_mqtt_frame_t frame;
    gv_mqtt_reason_t reason;
    require(gv_mqtt_frame(bytes, GV_MQTT_PACKET_SIZE_MAX, &frame) == GV_OK);
    require(frame.size == bytes.size);
    require(any_decode(&frame, sender, out, &reason) == GV_OK);
}

/* As the broker passes a message on: a head made of the travelling block, then the payload. */
static void check_publish_head(const gv_mqtt_publish_t *publish, gv_mqtt_version_t version)
{
    gv_writer_t travel = gv_writer(room, sizeof(room));
    gv_mqtt_props_travel_write(&publish->props, &travel);
    require(!travel.failed);
    size_t travel_size = sizeof(room) - gv_writer_left(&travel);
    require(travel_size == gv_mqtt_props_travel_size(&publish->props));
    require(travel_size <= publish->props.raw.size);
    if (publish->topic.size == 0) {
        return; /* an alias has to be looked up first */
    }

    static const uint32_t ids[] = {1, 128, GV_MQTT_VARINT_MAX};
    gv_mqtt_publish_head_t head = {.topic = publish->topic,
                                   .travel = gv_bytes(room, travel_size),
                                   .payload_size = publish->payload.size,
                                   .subscription_ids = ids,
                                   .subscription_id_count = publish->payload.size % 4,
                                   .has_expiry = publish->retain,
                                   .qos = publish->qos,
                                   .packet_id = publish->packet_id};
    gv_writer_t w = gv_writer(room_again, sizeof(room_again));
    size_t size = gv_mqtt_publish_head_write(&head, version, &w, NULL);
    require(size > 0 && size == gv_mqtt_publish_head_size(&head, version));
    gv_writer_put(&w, publish->payload);
    gv_mqtt_peer_t server = {.version = version, .is_server = true};
    decode_again(gv_bytes(room_again, size + publish->payload.size), &server, &packet_again);
    require(gv_bytes_equal(packet_again.publish.topic, publish->topic));
    require(gv_bytes_equal(packet_again.publish.payload, publish->payload));
    require(packet_again.publish.packet_id == publish->packet_id);
}

static void check_packet(const gv_mqtt_frame_t *frame, const gv_mqtt_peer_t *sender, uint32_t limit)
{
    gv_mqtt_reason_t reason;
    gv_err_t err = any_decode(frame, sender, &packet, &reason);
    require((err == GV_OK) == (reason == GV_MQTT_SUCCESS));
    require((err == GV_ERR_MALFORMED) == (reason == GV_MQTT_MALFORMED_PACKET));
    if (err != GV_OK) {
        return;
    }
    gv_mqtt_peer_t receiver = {.version = sender->version, .is_server = !sender->is_server};
    gv_bytes_t once = encode(&packet, &receiver, room);
    if (frame->type == GV_MQTT_CONNACK) {
        /* Unknown return codes have no words in v3; and a v3 refusal of a v5 client is put in v5.
         */
        if (once.size == 0 || packet.connack.reason == GV_MQTT_UNSUPPORTED_VERSION) {
            return;
        }
    }
    require(once.size > 0 && once.size <= frame->size);
    decode_again(once, sender, &packet_again);
    gv_bytes_t twice = encode(&packet_again, &receiver, room_again);
    require(gv_bytes_equal(once, twice));

    receiver.packet_size_max = limit;
    receiver.is_terse = (limit & 1) != 0;
    if (receiver.version >= GV_MQTT_V5 && frame->type != GV_MQTT_CONNECT &&
        frame->type != GV_MQTT_PINGREQ && frame->type != GV_MQTT_PINGRESP) {
        (void)encode(&packet, &receiver, room);
    }
    if (frame->type == GV_MQTT_PUBLISH) {
        check_publish_head(&packet.publish, GV_MQTT_V311);
        check_publish_head(&packet.publish, GV_MQTT_V5);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const gv_mqtt_version_t versions[] = {GV_MQTT_V31, GV_MQTT_V311, GV_MQTT_V5, GV_MQTT_V5};
    if (size == 0 || size > ANY_BYTES_MAX / 4) {
        return 0;
    }
    gv_mqtt_peer_t sender = {.version = versions[data[0] & 0x03],
                             .is_server = (data[0] & 0x04) != 0};
    uint32_t limit = 1 + (data[0] >> 3) * 4u;
    gv_bytes_t stream = gv_bytes(data + 1, size - 1);
    gv_mqtt_frame_t frame;
    while (gv_mqtt_frame(stream, GV_MQTT_PACKET_SIZE_MAX, &frame) == GV_OK) {
        require(frame.size >= 2 && frame.size <= stream.size);
        check_packet(&frame, &sender, limit);
        stream = gv_bytes(stream.data + frame.size, stream.size - frame.size);
    }
    return 0;
}
