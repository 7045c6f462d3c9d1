/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * MQTT 5 properties.
 *
 * One table (props.c) says for each property: wire type, the packets it may stand in, whether it
 * may repeat, which values are allowed.  Everything else follows from it.
 *
 * gv_mqtt_props_t holds what a packet's property block said.  A field means something only when its
 * bit is in `present`, so that a packet without properties costs one store.  What may repeat (user
 * properties, the subscription identifiers of a PUBLISH) is read by walking the raw block.
 *
 * The same struct is what packets are encoded from: start from GV_MQTT_PROPS_NONE, set fields with
 * gv_mqtt_props_set_...(), and give ready-made user properties in `appended`.
 *
 * Threads: any.  Memory: none; views point into the packet that was decoded.
 */

#include "base/bytes.h"
#include "base/err.h"
#include "proto/mqtt/reason.h"

/* clang-format off */
#define GV_MQTT_PROP_MAP(X) \
    X(PAYLOAD_FORMAT,                  0x01) \
    X(MESSAGE_EXPIRY,                  0x02) \
    X(CONTENT_TYPE,                    0x03) \
    X(RESPONSE_TOPIC,                  0x08) \
    X(CORRELATION_DATA,                0x09) \
    X(SUBSCRIPTION_ID,                 0x0b) \
    X(SESSION_EXPIRY,                  0x11) \
    X(ASSIGNED_CLIENT_ID,              0x12) \
    X(SERVER_KEEP_ALIVE,               0x13) \
    X(AUTHENTICATION_METHOD,           0x15) \
    X(AUTHENTICATION_DATA,             0x16) \
    X(REQUEST_PROBLEM_INFORMATION,     0x17) \
    X(WILL_DELAY,                      0x18) \
    X(REQUEST_RESPONSE_INFORMATION,    0x19) \
    X(RESPONSE_INFORMATION,            0x1a) \
    X(SERVER_REFERENCE,                0x1c) \
    X(REASON_STRING,                   0x1f) \
    X(RECEIVE_MAXIMUM,                 0x21) \
    X(TOPIC_ALIAS_MAXIMUM,             0x22) \
    X(TOPIC_ALIAS,                     0x23) \
    X(MAXIMUM_QOS,                     0x24) \
    X(RETAIN_AVAILABLE,                0x25) \
    X(USER_PROPERTY,                   0x26) \
    X(MAXIMUM_PACKET_SIZE,             0x27) \
    X(WILDCARDS_AVAILABLE,             0x28) \
    X(SUBSCRIPTION_IDS_AVAILABLE,      0x29) \
    X(SHARED_SUBSCRIPTIONS_AVAILABLE,  0x2a)
/* clang-format on */

typedef enum gv_mqtt_prop_id {
#define X(name, id) GV_MQTT_PROP_##name = (id),
    GV_MQTT_PROP_MAP(X)
#undef X
} gv_mqtt_prop_id_t;

#define GV_MQTT_PROP_ID_MAX 0x2a

/* Its bit in gv_mqtt_props_t.present. */
#define GV_MQTT_PROP_BIT(id) ((uint64_t)1 << (id))

typedef struct gv_mqtt_props {
    uint64_t present; /* GV_MQTT_PROP_BIT() of each property that is there; check first */

    /*
     * Decoding: the whole block, without its length.  Encoding: ignored.
     * Not valid as input for another packet type; see the travelling block below.
     */
    gv_bytes_t raw;

    /*
     * Encoding only: properties already in wire form (gv_mqtt_user_property_write()), put behind
     * all others.  Not set by decoding.
     */
    gv_bytes_t appended;

    gv_bytes_t content_type;
    gv_bytes_t response_topic;
    gv_bytes_t correlation_data;
    gv_bytes_t assigned_client_id;
    gv_bytes_t authentication_method;
    gv_bytes_t authentication_data;
    gv_bytes_t response_information;
    gv_bytes_t server_reference;
    gv_bytes_t reason_string;

    uint32_t message_expiry_s;
    uint32_t session_expiry_s; /* 0xffffffff: never */
    uint32_t will_delay_s;
    uint32_t maximum_packet_size; /* [bytes] */
    uint32_t subscription_id;     /* the first one; a PUBLISH may carry more */
    uint16_t server_keep_alive_s;
    uint16_t receive_maximum;
    uint16_t topic_alias_maximum;
    uint16_t topic_alias;
    uint8_t payload_format; /* 1: the payload is UTF-8 text */
    uint8_t request_problem_information;
    uint8_t request_response_information;
    uint8_t maximum_qos;
    uint8_t retain_available;
    uint8_t wildcards_available;
    uint8_t subscription_ids_available;
    uint8_t shared_subscriptions_available;
} gv_mqtt_props_t;

/* No properties: enough to encode none, and what decoding gives for an empty block. */
#define GV_MQTT_PROPS_NONE ((gv_mqtt_props_t){.present = 0})

static inline void gv_mqtt_props_clear(gv_mqtt_props_t *props)
{
    props->present = 0;
    props->raw = GV_BYTES_EMPTY;
    props->appended = GV_BYTES_EMPTY;
}

static inline bool gv_mqtt_props_has(const gv_mqtt_props_t *props, gv_mqtt_prop_id_t id)
{
    return (props->present & GV_MQTT_PROP_BIT(id)) != 0;
}

/* Static text such as "message expiry interval"; "unknown property" for what is not in the table.
 */
const char *gv_mqtt_prop_name(uint8_t id);

/* ---- decoding ----------------------------------------------------------------------------- */

/* Where a property block stands: a packet type of packet.h, or the will inside CONNECT. */
#define GV_MQTT_PROPS_OF_WILL 0

/*
 * Reads the length and the block at the front of `r`.  `place` is the packet type (as in the fixed
 * header) or GV_MQTT_PROPS_OF_WILL.
 *
 * GV_OK; GV_ERR_MALFORMED (*reason 0x81) when the block runs over the packet, a value runs over the
 * block, a string is none, or an identifier is unknown or has no business in this packet;
 * GV_ERR_PROTOCOL when a property is there twice or has a value it must not have (*reason 0x82, or
 * 0x94 for topic alias 0).
 */
GV_MUST_USE gv_err_t gv_mqtt_props_decode(gv_reader_t *r, uint8_t place, gv_mqtt_props_t *out,
                                          gv_mqtt_reason_t *reason);

/* One property as it stands in a block.  What its type does not have is 0 or empty. */
typedef struct gv_mqtt_prop {
    gv_mqtt_prop_id_t id;
    uint32_t number;  /* value of the integer types */
    gv_bytes_t bytes; /* value of strings and binary data; name of a user property */
    gv_bytes_t value; /* value of a user property */
    gv_bytes_t wire;  /* identifier and value as they stand there */
} gv_mqtt_prop_t;

/*
 * Walks a block that has been decoded (props.raw), in order:
 *
 *     gv_reader_t block = gv_reader(props.raw);
 *     for (gv_mqtt_prop_t prop; gv_mqtt_props_next(&block, &prop);) { ... }
 */
GV_MUST_USE bool gv_mqtt_props_next(gv_reader_t *block, gv_mqtt_prop_t *out);

/* As gv_mqtt_props_next(), but skips to the next user property. */
GV_MUST_USE bool gv_mqtt_user_property_next(gv_reader_t *block, gv_bytes_t *name,
                                            gv_bytes_t *value);

/* As gv_mqtt_props_next(), but skips to the next subscription identifier. */
GV_MUST_USE bool gv_mqtt_subscription_id_next(gv_reader_t *block, uint32_t *id);

/* ---- the travelling block ----------------------------------------------------------------- */

/* Properties that do not travel. */
#define GV_MQTT_PROPS_STAY_BEHIND                                                                  \
    (GV_MQTT_PROP_BIT(GV_MQTT_PROP_MESSAGE_EXPIRY) |                                               \
     GV_MQTT_PROP_BIT(GV_MQTT_PROP_SUBSCRIPTION_ID) | GV_MQTT_PROP_BIT(GV_MQTT_PROP_TOPIC_ALIAS) | \
     GV_MQTT_PROP_BIT(GV_MQTT_PROP_WILL_DELAY))

/*
 * What goes with a message from publisher to subscriber unaltered and in order [MQTT-3.3.2-4, -15,
 * -16, -17, -18, -20]: payload format, content type, response topic, correlation data, user
 * properties.  What each receiver gets anew (expiry, subscription identifiers, topic alias) and the
 * will delay stay behind.  A will's properties travel by the same rule.
 *
 * True when the raw block already is that, so that it can be kept without copying its parts.
 */
static inline bool gv_mqtt_props_travel_as_is(const gv_mqtt_props_t *props)
{
    return (props->present & GV_MQTT_PROPS_STAY_BEHIND) == 0;
}

/* Size of the travelling block of decoded properties [bytes]; never more than raw.size. */
size_t gv_mqtt_props_travel_size(const gv_mqtt_props_t *props);

/* Writes it, without a length in front. */
void gv_mqtt_props_travel_write(const gv_mqtt_props_t *props, gv_writer_t *w);

/* ---- encoding ----------------------------------------------------------------------------- */

/* Sets an integer property (asserted against the table). */
void gv_mqtt_props_set_number(gv_mqtt_props_t *props, gv_mqtt_prop_id_t id, uint32_t value);

/* Sets a string or binary property.  The bytes are not copied.  At most 65535 of them. */
void gv_mqtt_props_set_bytes(gv_mqtt_props_t *props, gv_mqtt_prop_id_t id, gv_bytes_t value);

/* Writes one user property in wire form, for props.appended. */
void gv_mqtt_user_property_write(gv_writer_t *w, gv_bytes_t name, gv_bytes_t value);

/* Size of the block that gv_mqtt_props_write() makes, without its length [bytes]. */
size_t gv_mqtt_props_size(const gv_mqtt_props_t *props);

/* Writes length and block: fixed properties by rising identifier, then `appended`. */
void gv_mqtt_props_write(const gv_mqtt_props_t *props, gv_writer_t *w);
