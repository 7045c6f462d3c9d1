/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/mqtt_client_p.h"

#include "base/alloc.h"

/*
 * A map of this file: CONNACK - messages from the server - acknowledgements of ours - the rest.
 */

/* One bit per packet id. */
#define QOS2_RECEIVED_SIZE ((size_t)65536 / 8)

static GV_LOOP_ONLY void send_ack(gv_mqtt_client_t *client, gv_mqtt_type_t type, uint16_t packet_id,
                                  gv_mqtt_reason_t reason)
{
    const gv_mqtt_ack_t ack = {.packet_id = packet_id, .reason = reason};
    uint8_t bytes[16];
    gv_writer_t w = gv_writer(bytes, sizeof(bytes));
    size_t size = gv_mqtt_encode_ack(type, &ack, &client->peer, &w);
    gv_stream_write(&client->stream, gv_bytes(bytes, size));
    gv__mqtt_client_sent(client);
}

/* What the server said about itself. */
static GV_LOOP_ONLY void take_limits(gv_mqtt_client_t *client, const gv_mqtt_props_t *props)
{
    if (gv_mqtt_props_has(props, GV_MQTT_PROP_RECEIVE_MAXIMUM) &&
        props->receive_maximum < client->slot_count) {
        client->slot_count = props->receive_maximum;
    }
    if (gv_mqtt_props_has(props, GV_MQTT_PROP_MAXIMUM_PACKET_SIZE)) {
        client->peer.packet_size_max = props->maximum_packet_size;
    }
    if (gv_mqtt_props_has(props, GV_MQTT_PROP_SERVER_KEEP_ALIVE)) {
        client->keep_alive_s = props->server_keep_alive_s;
    }
}

static GV_LOOP_ONLY gv_err_t take_connack(gv_mqtt_client_t *client, const gv_mqtt_frame_t *frame,
                                          gv_mqtt_reason_t *reason)
{
    gv_mqtt_connack_t connack;
    gv_err_t err = gv_mqtt_decode_connack(frame, &client->peer, &connack, reason);
    if (err != GV_OK) {
        return err;
    }
    gv_timer_stop(&client->timer);
    if (connack.reason != GV_MQTT_SUCCESS) {
        gv__mqtt_client_end(client, GV_CLOSE_FLUSH, GV_ERR_DENIED,
                            "the server refused the connection: %s",
                            gv_mqtt_reason_text((uint8_t)connack.reason));
        return GV_OK;
    }
    client->state = GV__CLIENT_CONNECTED;
    take_limits(client, &connack.props);
    if (client->keep_alive_s > 0) {
        gv_loop_timer_start(client->loop, &client->timer, (uint64_t)client->keep_alive_s * 500);
    }
    client->ops->on_connected(client, &connack);
    return GV_OK;
}

/* True when a QoS 2 message with this packet id has been given to on_message already. */
static bool seen_qos2(gv_mqtt_client_t *client, uint16_t packet_id)
{
    if (client->qos2_received == NULL) {
        client->qos2_received = gv_xcalloc(1, QOS2_RECEIVED_SIZE);
    }
    uint8_t bit = (uint8_t)(1U << (packet_id % 8));
    bool seen = (client->qos2_received[packet_id / 8] & bit) != 0;
    client->qos2_received[packet_id / 8] |= bit;
    return seen;
}

static void forget_qos2(gv_mqtt_client_t *client, uint16_t packet_id)
{
    if (client->qos2_received != NULL) {
        client->qos2_received[packet_id / 8] &= (uint8_t) ~(1U << (packet_id % 8));
    }
}

static GV_LOOP_ONLY gv_err_t take_publish(gv_mqtt_client_t *client, const gv_mqtt_frame_t *frame,
                                          gv_mqtt_reason_t *reason)
{
    gv_mqtt_publish_t message;
    gv_err_t err = gv_mqtt_decode_publish(frame, &client->peer, &message, reason);
    if (err != GV_OK) {
        return err;
    }
    /* We allow no topic aliases, so a topic is always there. */
    if (gv_mqtt_props_has(&message.props, GV_MQTT_PROP_TOPIC_ALIAS)) {
        *reason = GV_MQTT_TOPIC_ALIAS_INVALID;
        return GV_ERR_PROTOCOL;
    }
    bool is_new = message.qos < 2 || !seen_qos2(client, message.packet_id);
    client->is_delivering = true;
    if (is_new && client->ops->on_message != NULL) {
        client->ops->on_message(client, &message);
    }
    client->is_delivering = false;
    if (message.qos > 0) {
        send_ack(client, message.qos == 1 ? GV_MQTT_PUBACK : GV_MQTT_PUBREC, message.packet_id,
                 GV_MQTT_SUCCESS);
    }
    if (client->is_close_wanted) {
        gv_mqtt_client_close(client, client->close_reason);
    }
    return GV_OK;
}

static GV_LOOP_ONLY void finish(gv_mqtt_client_t *client, uint16_t packet_id,
                                gv_mqtt_reason_t reason)
{
    client->slots[packet_id].state = GV__SLOT_FREE;
    client->inflight--;
    if (client->ops->on_acked != NULL) {
        client->ops->on_acked(client, packet_id, reason);
    }
    gv__mqtt_client_become_ready(client);
}

/* PUBACK, PUBREC, PUBCOMP of a message of ours; one we do not know is answered, not punished. */
static GV_LOOP_ONLY void take_ack_of_ours(gv_mqtt_client_t *client, gv_mqtt_type_t type,
                                          const gv_mqtt_ack_t *ack)
{
    bool known = ack->packet_id <= client->slot_count;
    const gv__slot_t slot =
        known ? client->slots[ack->packet_id] : (gv__slot_t){.state = GV__SLOT_FREE};
    bool is_error = ack->reason >= GV_MQTT_UNSPECIFIED_ERROR;
    if (type == GV_MQTT_PUBREC && !is_error) {
        bool expected = slot.state != GV__SLOT_FREE && slot.qos == 2;
        if (expected) {
            client->slots[ack->packet_id].state = GV__SLOT_RELEASED;
        }
        send_ack(client, GV_MQTT_PUBREL, ack->packet_id,
                 expected ? GV_MQTT_SUCCESS : GV_MQTT_PACKET_ID_NOT_FOUND);
        return;
    }
    uint8_t state = type == GV_MQTT_PUBCOMP ? GV__SLOT_RELEASED : GV__SLOT_PUBLISHED;
    uint8_t qos = type == GV_MQTT_PUBACK ? 1 : 2;
    if (slot.state == state && slot.qos == qos) {
        finish(client, ack->packet_id, ack->reason);
    }
}

static GV_LOOP_ONLY gv_err_t take_ack(gv_mqtt_client_t *client, const gv_mqtt_frame_t *frame,
                                      gv_mqtt_reason_t *reason)
{
    gv_mqtt_ack_t ack;
    gv_err_t err = gv_mqtt_decode_ack(frame, &client->peer, &ack, reason);
    if (err != GV_OK) {
        return err;
    }
    if (frame->type == GV_MQTT_PUBREL) {
        forget_qos2(client, ack.packet_id);
        send_ack(client, GV_MQTT_PUBCOMP, ack.packet_id, GV_MQTT_SUCCESS);
    } else {
        take_ack_of_ours(client, frame->type, &ack);
    }
    return GV_OK;
}

static GV_LOOP_ONLY gv_err_t take_suback(gv_mqtt_client_t *client, const gv_mqtt_frame_t *frame,
                                         gv_mqtt_reason_t *reason)
{
    gv_mqtt_suback_t suback;
    gv_err_t err = frame->type == GV_MQTT_SUBACK
                       ? gv_mqtt_decode_suback(frame, &client->peer, &suback, reason)
                       : gv_mqtt_decode_unsuback(frame, &client->peer, &suback, reason);
    if (err == GV_OK && client->ops->on_subscribed != NULL) {
        client->ops->on_subscribed(client, &suback);
    }
    return err;
}

static GV_LOOP_ONLY gv_err_t take_disconnect(gv_mqtt_client_t *client, const gv_mqtt_frame_t *frame,
                                             gv_mqtt_reason_t *reason)
{
    gv_mqtt_disconnect_t disconnect;
    gv_err_t err = gv_mqtt_decode_disconnect(frame, &client->peer, &disconnect, reason);
    if (err == GV_OK) {
        char said[128] = "";
        if (gv_mqtt_props_has(&disconnect.props, GV_MQTT_PROP_REASON_STRING)) {
            (void)gv_bytes_printable(disconnect.props.reason_string, said, sizeof(said));
        }
        gv__mqtt_client_end(
            client, GV_CLOSE_FLUSH, GV_ERR_DENIED, "the server closed the connection: %s%s%s",
            gv_mqtt_reason_text((uint8_t)disconnect.reason), said[0] != '\0' ? ", " : "", said);
    }
    return err;
}

gv_err_t gv__mqtt_client_take(gv_mqtt_client_t *client, const gv_mqtt_frame_t *frame,
                              gv_mqtt_reason_t *reason)
{
    if ((client->state == GV__CLIENT_GREETING) != (frame->type == GV_MQTT_CONNACK)) {
        *reason = GV_MQTT_PROTOCOL_ERROR;
        return GV_ERR_PROTOCOL;
    }
    switch (frame->type) {
    case GV_MQTT_CONNACK:
        return take_connack(client, frame, reason);
    case GV_MQTT_PUBLISH:
        return take_publish(client, frame, reason);
    case GV_MQTT_PUBACK:
    case GV_MQTT_PUBREC:
    case GV_MQTT_PUBREL:
    case GV_MQTT_PUBCOMP:
        return take_ack(client, frame, reason);
    case GV_MQTT_SUBACK:
    case GV_MQTT_UNSUBACK:
        return take_suback(client, frame, reason);
    case GV_MQTT_PINGRESP:
        return gv_mqtt_decode_ping(frame, reason);
    case GV_MQTT_DISCONNECT:
        return take_disconnect(client, frame, reason);
    case GV_MQTT_CONNECT:
    case GV_MQTT_SUBSCRIBE:
    case GV_MQTT_UNSUBSCRIBE:
    case GV_MQTT_PINGREQ:
    case GV_MQTT_AUTH:
        break;
    }
    *reason = GV_MQTT_PROTOCOL_ERROR;
    return GV_ERR_PROTOCOL;
}
