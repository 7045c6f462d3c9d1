/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * MQTT reason codes.
 *
 * Inside the broker there is one set of codes, that of MQTT 5.  What an older client is told
 * instead is decided here, when its packet is encoded: a CONNACK return code, a SUBACK code, or
 * nothing but the end of the connection.
 *
 * Threads: any.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* clang-format off */
#define GV_MQTT_REASON_MAP(X)                                                               \
    X(GV_MQTT_SUCCESS,                        0x00, "success")                              \
    X(GV_MQTT_GRANTED_QOS_1,                  0x01, "granted QoS 1")                        \
    X(GV_MQTT_GRANTED_QOS_2,                  0x02, "granted QoS 2")                        \
    X(GV_MQTT_DISCONNECT_WITH_WILL,           0x04, "disconnect with will message")         \
    X(GV_MQTT_NO_MATCHING_SUBSCRIBERS,        0x10, "no matching subscribers")              \
    X(GV_MQTT_NO_SUBSCRIPTION_EXISTED,        0x11, "no subscription existed")              \
    X(GV_MQTT_CONTINUE_AUTHENTICATION,        0x18, "continue authentication")              \
    X(GV_MQTT_REAUTHENTICATE,                 0x19, "re-authenticate")                      \
    X(GV_MQTT_UNSPECIFIED_ERROR,              0x80, "unspecified error")                    \
    X(GV_MQTT_MALFORMED_PACKET,               0x81, "malformed packet")                     \
    X(GV_MQTT_PROTOCOL_ERROR,                 0x82, "protocol error")                       \
    X(GV_MQTT_IMPLEMENTATION_ERROR,           0x83, "implementation specific error")        \
    X(GV_MQTT_UNSUPPORTED_VERSION,            0x84, "unsupported protocol version")         \
    X(GV_MQTT_CLIENT_ID_INVALID,              0x85, "client identifier not valid")          \
    X(GV_MQTT_BAD_CREDENTIALS,                0x86, "bad user name or password")            \
    X(GV_MQTT_NOT_AUTHORIZED,                 0x87, "not authorized")                       \
    X(GV_MQTT_SERVER_UNAVAILABLE,             0x88, "server unavailable")                   \
    X(GV_MQTT_SERVER_BUSY,                    0x89, "server busy")                          \
    X(GV_MQTT_BANNED,                         0x8a, "banned")                               \
    X(GV_MQTT_SERVER_SHUTTING_DOWN,           0x8b, "server shutting down")                 \
    X(GV_MQTT_BAD_AUTHENTICATION_METHOD,      0x8c, "bad authentication method")            \
    X(GV_MQTT_KEEP_ALIVE_TIMEOUT,             0x8d, "keep alive timeout")                   \
    X(GV_MQTT_SESSION_TAKEN_OVER,             0x8e, "session taken over")                   \
    X(GV_MQTT_TOPIC_FILTER_INVALID,           0x8f, "topic filter invalid")                 \
    X(GV_MQTT_TOPIC_NAME_INVALID,             0x90, "topic name invalid")                   \
    X(GV_MQTT_PACKET_ID_IN_USE,               0x91, "packet identifier in use")             \
    X(GV_MQTT_PACKET_ID_NOT_FOUND,            0x92, "packet identifier not found")          \
    X(GV_MQTT_RECEIVE_MAXIMUM_EXCEEDED,       0x93, "receive maximum exceeded")             \
    X(GV_MQTT_TOPIC_ALIAS_INVALID,            0x94, "topic alias invalid")                  \
    X(GV_MQTT_PACKET_TOO_LARGE,               0x95, "packet too large")                     \
    X(GV_MQTT_MESSAGE_RATE_TOO_HIGH,          0x96, "message rate too high")                \
    X(GV_MQTT_QUOTA_EXCEEDED,                 0x97, "quota exceeded")                       \
    X(GV_MQTT_ADMINISTRATIVE_ACTION,          0x98, "administrative action")                \
    X(GV_MQTT_PAYLOAD_FORMAT_INVALID,         0x99, "payload format invalid")               \
    X(GV_MQTT_RETAIN_NOT_SUPPORTED,           0x9a, "retain not supported")                 \
    X(GV_MQTT_QOS_NOT_SUPPORTED,              0x9b, "QoS not supported")                    \
    X(GV_MQTT_USE_ANOTHER_SERVER,             0x9c, "use another server")                   \
    X(GV_MQTT_SERVER_MOVED,                   0x9d, "server moved")                         \
    X(GV_MQTT_SHARED_SUBSCRIPTIONS_NOT_SUPPORTED, 0x9e, "shared subscriptions not supported") \
    X(GV_MQTT_CONNECTION_RATE_EXCEEDED,       0x9f, "connection rate exceeded")             \
    X(GV_MQTT_MAXIMUM_CONNECT_TIME,           0xa0, "maximum connect time")                 \
    X(GV_MQTT_SUBSCRIPTION_IDS_NOT_SUPPORTED, 0xa1, "subscription identifiers not supported") \
    X(GV_MQTT_WILDCARDS_NOT_SUPPORTED,        0xa2, "wildcard subscriptions not supported")
/* clang-format on */

typedef enum gv_mqtt_reason {
#define X(name, value, text) name = (value),
    GV_MQTT_REASON_MAP(X)
#undef X
} gv_mqtt_reason_t;

/* The same byte has other names elsewhere. */
#define GV_MQTT_GRANTED_QOS_0        GV_MQTT_SUCCESS
#define GV_MQTT_NORMAL_DISCONNECTION GV_MQTT_SUCCESS

static inline bool gv_mqtt_reason_is_error(gv_mqtt_reason_t reason)
{
    return reason >= GV_MQTT_UNSPECIFIED_ERROR;
}

/* Static text, never NULL; "unknown reason" for a value the standard does not have. */
const char *gv_mqtt_reason_text(uint8_t reason);

/*
 * The code a client is told when the broker failed with `err`: out of memory and limits are "quota
 * exceeded", refused is "not authorized", and so on.  GV_OK is GV_MQTT_SUCCESS.
 */
gv_mqtt_reason_t gv_mqtt_reason_from_err(gv_err_t err);

/*
 * CONNACK return code of MQTT 3.1 and 3.1.1 (0-5) for a reason.  There is no code for most errors:
 * false then, and the connection is closed without a CONNACK [MQTT-3.2.2-6 of 3.1.1].
 */
GV_MUST_USE bool gv_mqtt_reason_to_return_code(gv_mqtt_reason_t reason, uint8_t *code);

/* The reverse, for clients; GV_MQTT_UNSPECIFIED_ERROR for a code that does not exist. */
gv_mqtt_reason_t gv_mqtt_reason_from_return_code(uint8_t code);
