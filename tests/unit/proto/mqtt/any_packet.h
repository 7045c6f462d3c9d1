/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * For tests and fuzzers of proto/mqtt: decode a packet of any type and encode it again.
 *
 * Memory: what has to be gathered for encoding (entries, properties that repeat) goes into the
 * any_packet_t itself, which is therefore big: keep it static.
 */

#include <stdlib.h>
#include <string.h>

#include "proto/mqtt/packet.h"

#define ANY_BYTES_MAX   ((size_t)1 << 18)
#define ANY_ENTRIES_MAX ((size_t)1 << 14)

typedef struct any_packet {
    gv_mqtt_type_t type;
    union {
        gv_mqtt_connect_t connect;
        gv_mqtt_connack_t connack;
        gv_mqtt_publish_t publish;
        gv_mqtt_ack_t ack;
        gv_mqtt_subscribe_t subscribe;
        gv_mqtt_suback_t suback;
        gv_mqtt_disconnect_t disconnect;
    };
    gv_mqtt_subscription_t entries[ANY_ENTRIES_MAX];
    uint8_t repeated[ANY_BYTES_MAX];
    uint8_t will_repeated[ANY_BYTES_MAX];
} any_packet_t;

static inline gv_err_t any_decode(const gv_mqtt_frame_t *frame, const gv_mqtt_peer_t *sender,
                                  any_packet_t *out, gv_mqtt_reason_t *reason)
{
    out->type = frame->type;
    switch (frame->type) {
    case GV_MQTT_CONNECT:
        return gv_mqtt_decode_connect(frame, &out->connect, reason);
    case GV_MQTT_CONNACK:
        return gv_mqtt_decode_connack(frame, sender, &out->connack, reason);
    case GV_MQTT_PUBLISH:
        return gv_mqtt_decode_publish(frame, sender, &out->publish, reason);
    case GV_MQTT_PUBACK:
    case GV_MQTT_PUBREC:
    case GV_MQTT_PUBREL:
    case GV_MQTT_PUBCOMP:
        return gv_mqtt_decode_ack(frame, sender, &out->ack, reason);
    case GV_MQTT_SUBSCRIBE:
        return gv_mqtt_decode_subscribe(frame, sender, &out->subscribe, reason);
    case GV_MQTT_SUBACK:
        return gv_mqtt_decode_suback(frame, sender, &out->suback, reason);
    case GV_MQTT_UNSUBSCRIBE:
        return gv_mqtt_decode_unsubscribe(frame, sender, &out->subscribe, reason);
    case GV_MQTT_UNSUBACK:
        return gv_mqtt_decode_unsuback(frame, sender, &out->suback, reason);
    case GV_MQTT_PINGREQ:
    case GV_MQTT_PINGRESP:
        return gv_mqtt_decode_ping(frame, reason);
    case GV_MQTT_DISCONNECT:
        return gv_mqtt_decode_disconnect(frame, sender, &out->disconnect, reason);
    case GV_MQTT_AUTH:
        return gv_mqtt_decode_auth(frame, sender, &out->disconnect, reason);
    }
    abort();
}

/* Gathers what the fixed fields do not hold: user properties, and identifiers after the first. */
static inline void any_gather(gv_mqtt_props_t *props, uint8_t *room, size_t room_size)
{
    gv_writer_t w = gv_writer(room, room_size);
    bool id_seen = false;
    gv_reader_t block = gv_reader(props->raw);
    for (gv_mqtt_prop_t prop; gv_mqtt_props_next(&block, &prop);) {
        bool more_ids = prop.id == GV_MQTT_PROP_SUBSCRIPTION_ID && id_seen;
        if (prop.id == GV_MQTT_PROP_USER_PROPERTY || more_ids) {
            gv_writer_put(&w, prop.wire);
        }
        id_seen |= prop.id == GV_MQTT_PROP_SUBSCRIPTION_ID;
    }
    if (w.failed || block.failed) {
        abort();
    }
    props->appended = gv_bytes(room, room_size - gv_writer_left(&w));
}

static inline size_t any_encode_entries(any_packet_t *packet, const gv_mqtt_peer_t *receiver,
                                        gv_writer_t *w)
{
    gv_mqtt_subscribe_request_t request = {.packet_id = packet->subscribe.packet_id,
                                           .entries = packet->entries,
                                           .props = packet->subscribe.props};
    gv_mqtt_entries_t entries = gv_mqtt_entries(&packet->subscribe);
    while (request.count < ANY_ENTRIES_MAX &&
           gv_mqtt_entries_next(&entries, &packet->entries[request.count])) {
        request.count++;
    }
    if (request.count != packet->subscribe.count) {
        abort();
    }
    return packet->type == GV_MQTT_SUBSCRIBE ? gv_mqtt_encode_subscribe(&request, receiver, w)
                                             : gv_mqtt_encode_unsubscribe(&request, receiver, w);
}

/* Encodes what any_decode() gave, for the other side of the one it came from. */
static inline size_t any_encode(any_packet_t *packet, const gv_mqtt_peer_t *receiver,
                                gv_writer_t *w)
{
    switch (packet->type) {
    case GV_MQTT_CONNECT:
        any_gather(&packet->connect.props, packet->repeated, ANY_BYTES_MAX);
        if (packet->connect.has_will) {
            any_gather(&packet->connect.will.props, packet->will_repeated, ANY_BYTES_MAX);
        }
        return gv_mqtt_encode_connect(&packet->connect, w);
    case GV_MQTT_CONNACK:
        any_gather(&packet->connack.props, packet->repeated, ANY_BYTES_MAX);
        return gv_mqtt_encode_connack(&packet->connack, receiver, w);
    case GV_MQTT_PUBLISH:
        any_gather(&packet->publish.props, packet->repeated, ANY_BYTES_MAX);
        return gv_mqtt_encode_publish(&packet->publish, receiver, w);
    case GV_MQTT_PUBACK:
    case GV_MQTT_PUBREC:
    case GV_MQTT_PUBREL:
    case GV_MQTT_PUBCOMP:
        any_gather(&packet->ack.props, packet->repeated, ANY_BYTES_MAX);
        return gv_mqtt_encode_ack(packet->type, &packet->ack, receiver, w);
    case GV_MQTT_SUBSCRIBE:
    case GV_MQTT_UNSUBSCRIBE:
        any_gather(&packet->subscribe.props, packet->repeated, ANY_BYTES_MAX);
        return any_encode_entries(packet, receiver, w);
    case GV_MQTT_SUBACK:
        any_gather(&packet->suback.props, packet->repeated, ANY_BYTES_MAX);
        return gv_mqtt_encode_suback(&packet->suback, receiver, w);
    case GV_MQTT_UNSUBACK:
        any_gather(&packet->suback.props, packet->repeated, ANY_BYTES_MAX);
        return gv_mqtt_encode_unsuback(&packet->suback, receiver, w);
    case GV_MQTT_PINGREQ:
    case GV_MQTT_PINGRESP:
        gv_mqtt_write_ping(w, packet->type);
        return GV_MQTT_PING_SIZE;
    case GV_MQTT_DISCONNECT:
        any_gather(&packet->disconnect.props, packet->repeated, ANY_BYTES_MAX);
        return gv_mqtt_encode_disconnect(&packet->disconnect, receiver, w);
    case GV_MQTT_AUTH:
        any_gather(&packet->disconnect.props, packet->repeated, ANY_BYTES_MAX);
        return gv_mqtt_encode_auth(&packet->disconnect, receiver, w);
    }
    abort();
}
