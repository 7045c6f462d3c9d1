/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reason Strings: what a person who wonders why his client is refused wants to read.  They name the
 * key of the configuration, because that is what can be looked up and changed.
 */
#include "broker/core/shard_p.h"

#define TOPIC_LIMITS "longer than mqtt.topic_size_max, or more levels than mqtt.topic_levels_max"
#define NO_ROOM      "memory (node.memory_max) or disk is short"

static const char *why_connack(unsigned reason)
{
    switch (reason) {
    case GV_MQTT_CLIENT_ID_INVALID:
        return "the client id is longer than mqtt.client_id_size_max, or not one";
    case GV_MQTT_NOT_AUTHORIZED:
        return "this client may not connect here, or not have this client id or will";
    case GV_MQTT_TOPIC_NAME_INVALID:
        return "the topic of the will is " TOPIC_LIMITS;
    case GV_MQTT_RETAIN_NOT_SUPPORTED:
        return "retained messages are not kept, mqtt.retain_available";
    case GV_MQTT_PAYLOAD_FORMAT_INVALID:
        return "the payload of the will is not the UTF-8 it claims to be";
    case GV_MQTT_QUOTA_EXCEEDED:
        return "more sessions than mqtt.sessions_max, or " NO_ROOM;
    case GV_MQTT_CONNECTION_RATE_EXCEEDED:
        return "more clients per second than mqtt.connect_rate; try again later";
    case GV_MQTT_USE_ANOTHER_SERVER:
    case GV_MQTT_SERVER_MOVED:
        return "this node takes no clients at the moment";
    default:
        return NULL;
    }
}

static const char *why_puback(unsigned reason)
{
    switch (reason) {
    case GV_MQTT_QUOTA_EXCEEDED:
        return NO_ROOM;
    case GV_MQTT_TOPIC_NAME_INVALID:
        return "the topic is " TOPIC_LIMITS;
    case GV_MQTT_NOT_AUTHORIZED:
        return "this client may not publish to this topic";
    case GV_MQTT_PAYLOAD_FORMAT_INVALID:
        return "the payload is not the UTF-8 it claims to be";
    default:
        return NULL;
    }
}

static const char *why_suback(unsigned reason)
{
    switch (reason) {
    case GV_MQTT_TOPIC_FILTER_INVALID:
        return "not a filter, or " TOPIC_LIMITS;
    case GV_MQTT_NOT_AUTHORIZED:
        return "this client may not subscribe to it";
    case GV_MQTT_QUOTA_EXCEEDED:
        return "more subscriptions than mqtt.subscriptions_max, or " NO_ROOM;
    default:
        return NULL;
    }
}

static const char *why_disconnect(unsigned reason)
{
    switch (reason) {
    case GV_MQTT_KEEP_ALIVE_TIMEOUT:
        return "nothing came for one and a half times the keep alive";
    case GV_MQTT_SESSION_TAKEN_OVER:
        return "another connection uses this client id";
    case GV_MQTT_RECEIVE_MAXIMUM_EXCEEDED:
        return "more unacknowledged messages than Receive Maximum, mqtt.receive_max";
    case GV_MQTT_TOPIC_ALIAS_INVALID:
        return "a topic alias of 0 or above Topic Alias Maximum, mqtt.topic_alias_max";
    case GV_MQTT_PACKET_TOO_LARGE:
        return "larger than Maximum Packet Size, mqtt.packet_size_max";
    case GV_MQTT_QUOTA_EXCEEDED:
        return "too much waits for it (mqtt.slow_reader_timeout, mqtt.queue_policy), or " NO_ROOM;
    case GV_MQTT_RETAIN_NOT_SUPPORTED:
        return "retained messages are not kept, mqtt.retain_available";
    case GV_MQTT_PAYLOAD_FORMAT_INVALID:
        return "the payload is not the UTF-8 it claims to be";
    case GV_MQTT_USE_ANOTHER_SERVER:
    case GV_MQTT_SERVER_MOVED:
    case GV_MQTT_SERVER_SHUTTING_DOWN:
        return "an operator takes clients off this node";
    case GV_MQTT_ADMINISTRATIVE_ACTION:
        return "an operator has ended this connection";
    default:
        return NULL;
    }
}

gv_bytes_t gv__why(gv_mqtt_type_t reply, gv_mqtt_reason_t reason)
{
    const char *text = NULL;
    if (reply == GV_MQTT_CONNACK) {
        text = why_connack(reason);
    } else if (reply == GV_MQTT_PUBACK || reply == GV_MQTT_PUBREC) {
        text = why_puback(reason);
    } else if (reply == GV_MQTT_SUBACK) {
        text = why_suback(reason);
    } else if (reply == GV_MQTT_DISCONNECT) {
        text = why_disconnect(reason);
    }
    return text != NULL ? gv_bytes_text(text) : GV_BYTES_EMPTY;
}

void gv__explain(gv_mqtt_props_t *props, const gv_mqtt_peer_t *peer, gv_bytes_t why)
{
    if (why.size > 0 && peer->version >= GV_MQTT_V5 && !peer->is_terse) {
        gv_mqtt_props_set_bytes(props, GV_MQTT_PROP_REASON_STRING, why);
    }
}
