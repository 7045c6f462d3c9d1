/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/mqtt/reason.h"

#include "proto/mqtt/codec_p.h"

const char *gv_mqtt_reason_text(uint8_t reason)
{
    switch (reason) {
#define X(name, value, text) \
    case value:              \
        return text;
        GV_MQTT_REASON_MAP(X)
#undef X
    default:
        return "unknown reason";
    }
}

gv_mqtt_reason_t gv_mqtt_reason_from_err(gv_err_t err)
{
    switch (err) {
    case GV_OK:
        return GV_MQTT_SUCCESS;
    case GV_ERR_MALFORMED:
        return GV_MQTT_MALFORMED_PACKET;
    case GV_ERR_PROTOCOL:
        return GV_MQTT_PROTOCOL_ERROR;
    case GV_ERR_VERSION:
        return GV_MQTT_UNSUPPORTED_VERSION;
    case GV_ERR_TOO_LARGE:
        return GV_MQTT_PACKET_TOO_LARGE;
    case GV_ERR_DENIED:
        return GV_MQTT_NOT_AUTHORIZED;
    case GV_ERR_NOMEM:
    case GV_ERR_LIMIT:
    case GV_ERR_FULL:
        return GV_MQTT_QUOTA_EXCEEDED;
    case GV_ERR_BUSY:
    case GV_ERR_AGAIN:
        return GV_MQTT_SERVER_BUSY;
    case GV_ERR_CLOSED:
    case GV_ERR_TIMEOUT:
        return GV_MQTT_SERVER_UNAVAILABLE;
    case GV_ERR_STALE:
        return GV_MQTT_SESSION_TAKEN_OVER;
    case GV_ERR_INVAL:
    case GV_ERR_NOENT:
    case GV_ERR_EXISTS:
    case GV_ERR_IO:
    case GV_ERR_CORRUPT:
        break;
    }
    return GV_MQTT_UNSPECIFIED_ERROR;
}

/* Section 3.2.2.3 of 3.1.1; by return code. */
static const gv_mqtt_reason_t return_codes[] = {
    GV_MQTT_SUCCESS,             /* 0 accepted */
    GV_MQTT_UNSUPPORTED_VERSION, /* 1 unacceptable protocol version */
    GV_MQTT_CLIENT_ID_INVALID,   /* 2 identifier rejected */
    GV_MQTT_SERVER_UNAVAILABLE,  /* 3 server unavailable */
    GV_MQTT_BAD_CREDENTIALS,     /* 4 bad user name or password */
    GV_MQTT_NOT_AUTHORIZED,      /* 5 not authorized */
};

enum {
    RETURN_CODES = sizeof(return_codes) / sizeof(return_codes[0])
};

bool gv_mqtt_reason_to_return_code(gv_mqtt_reason_t reason, uint8_t *code)
{
    *code = 0;
    for (uint8_t i = 0; i < RETURN_CODES; i++) {
        if (return_codes[i] == reason) {
            *code = i;
            return true;
        }
    }
    switch ((unsigned)reason) { /* not all have a code of their own, but some say the same */
    case GV_MQTT_SERVER_BUSY:
    case GV_MQTT_SERVER_SHUTTING_DOWN:
    case GV_MQTT_QUOTA_EXCEEDED:
    case GV_MQTT_CONNECTION_RATE_EXCEEDED:
    case GV_MQTT_USE_ANOTHER_SERVER:
    case GV_MQTT_SERVER_MOVED:
        *code = 3;
        return true;
    case GV_MQTT_BANNED:
        *code = 5;
        return true;
    default:
        return false;
    }
}

gv_mqtt_reason_t gv_mqtt_reason_from_return_code(uint8_t code)
{
    return code < RETURN_CODES ? return_codes[code] : GV_MQTT_UNSPECIFIED_ERROR;
}

/* ---- which packet may carry which code ---------------------------------------------------- */

enum {
    CONNACK = PLACE(GV_MQTT_CONNACK),
    PUBACK = PLACE(GV_MQTT_PUBACK) | PLACE(GV_MQTT_PUBREC),  /* one table in the standard */
    PUBREL = PLACE(GV_MQTT_PUBREL) | PLACE(GV_MQTT_PUBCOMP), /* likewise */
    SUBACK = PLACE(GV_MQTT_SUBACK),
    UNSUBACK = PLACE(GV_MQTT_UNSUBACK),
    DISCONNECT = PLACE(GV_MQTT_DISCONNECT),
    AUTH = PLACE(GV_MQTT_AUTH)
};

typedef struct senders {
    uint16_t client; /* types a client may send with the code */
    uint16_t server; /* types a server may send with it */
} senders_t;

/* A server's DISCONNECT 0x00 is in no table, but some send it on shutdown: not worth an error. */
static const senders_t fitting[256] = {
    [GV_MQTT_SUCCESS] = {PUBACK | PUBREL | DISCONNECT,
                         CONNACK | PUBACK | PUBREL | SUBACK | UNSUBACK | DISCONNECT | AUTH},
    [GV_MQTT_GRANTED_QOS_1] = {0, SUBACK},
    [GV_MQTT_GRANTED_QOS_2] = {0, SUBACK},
    [GV_MQTT_DISCONNECT_WITH_WILL] = {DISCONNECT, 0},
    [GV_MQTT_NO_MATCHING_SUBSCRIBERS] = {PUBACK, PUBACK},
    [GV_MQTT_NO_SUBSCRIPTION_EXISTED] = {0, UNSUBACK},
    [GV_MQTT_CONTINUE_AUTHENTICATION] = {AUTH, AUTH},
    [GV_MQTT_REAUTHENTICATE] = {AUTH, 0},
    [GV_MQTT_UNSPECIFIED_ERROR] = {PUBACK | DISCONNECT,
                                   CONNACK | PUBACK | SUBACK | UNSUBACK | DISCONNECT},
    [GV_MQTT_MALFORMED_PACKET] = {DISCONNECT, CONNACK | DISCONNECT},
    [GV_MQTT_PROTOCOL_ERROR] = {DISCONNECT, CONNACK | DISCONNECT},
    [GV_MQTT_IMPLEMENTATION_ERROR] = {PUBACK | DISCONNECT,
                                      CONNACK | PUBACK | SUBACK | UNSUBACK | DISCONNECT},
    [GV_MQTT_UNSUPPORTED_VERSION] = {0, CONNACK},
    [GV_MQTT_CLIENT_ID_INVALID] = {0, CONNACK},
    [GV_MQTT_BAD_CREDENTIALS] = {0, CONNACK},
    [GV_MQTT_NOT_AUTHORIZED] = {PUBACK, CONNACK | PUBACK | SUBACK | UNSUBACK | DISCONNECT},
    [GV_MQTT_SERVER_UNAVAILABLE] = {0, CONNACK},
    [GV_MQTT_SERVER_BUSY] = {0, CONNACK | DISCONNECT},
    [GV_MQTT_BANNED] = {0, CONNACK},
    [GV_MQTT_SERVER_SHUTTING_DOWN] = {0, DISCONNECT},
    [GV_MQTT_BAD_AUTHENTICATION_METHOD] = {0, CONNACK},
    [GV_MQTT_KEEP_ALIVE_TIMEOUT] = {0, DISCONNECT},
    [GV_MQTT_SESSION_TAKEN_OVER] = {0, DISCONNECT},
    [GV_MQTT_TOPIC_FILTER_INVALID] = {0, SUBACK | UNSUBACK | DISCONNECT},
    [GV_MQTT_TOPIC_NAME_INVALID] = {PUBACK | DISCONNECT, CONNACK | PUBACK | DISCONNECT},
    [GV_MQTT_PACKET_ID_IN_USE] = {PUBACK, PUBACK | SUBACK | UNSUBACK},
    [GV_MQTT_PACKET_ID_NOT_FOUND] = {PUBREL, PUBREL},
    [GV_MQTT_RECEIVE_MAXIMUM_EXCEEDED] = {DISCONNECT, DISCONNECT},
    [GV_MQTT_TOPIC_ALIAS_INVALID] = {DISCONNECT, DISCONNECT},
    [GV_MQTT_PACKET_TOO_LARGE] = {DISCONNECT, CONNACK | DISCONNECT},
    [GV_MQTT_MESSAGE_RATE_TOO_HIGH] = {DISCONNECT, DISCONNECT},
    [GV_MQTT_QUOTA_EXCEEDED] = {PUBACK | DISCONNECT, CONNACK | PUBACK | SUBACK | DISCONNECT},
    [GV_MQTT_ADMINISTRATIVE_ACTION] = {DISCONNECT, DISCONNECT},
    [GV_MQTT_PAYLOAD_FORMAT_INVALID] = {PUBACK | DISCONNECT, CONNACK | PUBACK | DISCONNECT},
    [GV_MQTT_RETAIN_NOT_SUPPORTED] = {0, CONNACK | DISCONNECT},
    [GV_MQTT_QOS_NOT_SUPPORTED] = {0, CONNACK | DISCONNECT},
    [GV_MQTT_USE_ANOTHER_SERVER] = {0, CONNACK | DISCONNECT},
    [GV_MQTT_SERVER_MOVED] = {0, CONNACK | DISCONNECT},
    [GV_MQTT_SHARED_SUBSCRIPTIONS_NOT_SUPPORTED] = {0, SUBACK | DISCONNECT},
    [GV_MQTT_CONNECTION_RATE_EXCEEDED] = {0, CONNACK | DISCONNECT},
    [GV_MQTT_MAXIMUM_CONNECT_TIME] = {0, DISCONNECT},
    [GV_MQTT_SUBSCRIPTION_IDS_NOT_SUPPORTED] = {0, SUBACK | DISCONNECT},
    [GV_MQTT_WILDCARDS_NOT_SUPPORTED] = {0, SUBACK | DISCONNECT},
};

bool gv__mqtt_reason_fits(uint8_t reason, gv_mqtt_type_t type, bool from_server)
{
    const senders_t *senders = &fitting[reason];
    return ((from_server ? senders->server : senders->client) & PLACE(type)) != 0;
}
