/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/mqtt/props.h"

#include <stddef.h>

#include "proto/mqtt/codec_p.h"
#include "proto/mqtt/utf8.h"

/*
 * Parts of this file: the table; one property off a block (used by all readers); decoding a block;
 * the travelling block; encoding.
 */

/* ---- the table ---------------------------------------------------------------------------- */

typedef enum wire {
    WIRE_NONE = 0, /* no such property */
    WIRE_BYTE,
    WIRE_U16,
    WIRE_U32,
    WIRE_VARINT,
    WIRE_STRING,
    WIRE_BINARY,
    WIRE_PAIR
} wire_t;

/* What a value must be; [5.0 section 2.2.2.2 and the section of each property]. */
typedef enum rule {
    RULE_ANY = 0,
    RULE_BOOL, /* 0 or 1 */
    RULE_NOT_ZERO,
    RULE_ALIAS, /* not zero, with a reason code of its own */
    RULE_NO_WILDCARD
} rule_t;

typedef struct spec {
    const char *name;
    uint16_t places;  /* PLACE() of each packet it may stand in */
    uint16_t offset;  /* of the field in gv_mqtt_props_t */
    uint8_t wire;     /* wire_t */
    uint8_t rule;     /* rule_t */
    uint16_t repeats; /* PLACE() of each packet where it may stand more than once */
} spec_t;

enum {
    WILL = PLACE(GV_MQTT_PROPS_OF_WILL),
    CONNECT = PLACE(GV_MQTT_CONNECT),
    CONNACK = PLACE(GV_MQTT_CONNACK),
    PUBLISH = PLACE(GV_MQTT_PUBLISH),
    ACKS = PLACE(GV_MQTT_PUBACK) | PLACE(GV_MQTT_PUBREC) | PLACE(GV_MQTT_PUBREL) |
           PLACE(GV_MQTT_PUBCOMP) | PLACE(GV_MQTT_SUBACK) | PLACE(GV_MQTT_UNSUBACK),
    SUBSCRIBE = PLACE(GV_MQTT_SUBSCRIBE),
    UNSUBSCRIBE = PLACE(GV_MQTT_UNSUBSCRIBE),
    DISCONNECT = PLACE(GV_MQTT_DISCONNECT),
    AUTH = PLACE(GV_MQTT_AUTH),
    ANYWHERE =
        WILL | CONNECT | CONNACK | PUBLISH | ACKS | SUBSCRIBE | UNSUBSCRIBE | DISCONNECT | AUTH
};

#define FIELD(name) offsetof(gv_mqtt_props_t, name)

/* Table 2-4 of the standard, with the value rules of each property's own section. */
/* clang-format off */
static const spec_t specs[GV_MQTT_PROP_ID_MAX + 1] = {
    [GV_MQTT_PROP_PAYLOAD_FORMAT] = {
        "payload format indicator", WILL | PUBLISH,
        FIELD(payload_format), WIRE_BYTE, RULE_BOOL, 0},
    [GV_MQTT_PROP_MESSAGE_EXPIRY] = {
        "message expiry interval", WILL | PUBLISH,
        FIELD(message_expiry_s), WIRE_U32, RULE_ANY, 0},
    [GV_MQTT_PROP_CONTENT_TYPE] = {
        "content type", WILL | PUBLISH,
        FIELD(content_type), WIRE_STRING, RULE_ANY, 0},
    [GV_MQTT_PROP_RESPONSE_TOPIC] = { /* [MQTT-3.3.2-13], [MQTT-3.3.2-14] */
        "response topic", WILL | PUBLISH,
        FIELD(response_topic), WIRE_STRING, RULE_NO_WILDCARD, 0},
    [GV_MQTT_PROP_CORRELATION_DATA] = {
        "correlation data", WILL | PUBLISH,
        FIELD(correlation_data), WIRE_BINARY, RULE_ANY, 0},
    [GV_MQTT_PROP_SUBSCRIPTION_ID] = { /* a PUBLISH has one per matching subscription */
        "subscription identifier", PUBLISH | SUBSCRIBE,
        FIELD(subscription_id), WIRE_VARINT, RULE_NOT_ZERO, PUBLISH},
    [GV_MQTT_PROP_SESSION_EXPIRY] = {
        "session expiry interval", CONNECT | CONNACK | DISCONNECT,
        FIELD(session_expiry_s), WIRE_U32, RULE_ANY, 0},
    [GV_MQTT_PROP_ASSIGNED_CLIENT_ID] = {
        "assigned client identifier", CONNACK,
        FIELD(assigned_client_id), WIRE_STRING, RULE_ANY, 0},
    [GV_MQTT_PROP_SERVER_KEEP_ALIVE] = {
        "server keep alive", CONNACK,
        FIELD(server_keep_alive_s), WIRE_U16, RULE_ANY, 0},
    [GV_MQTT_PROP_AUTHENTICATION_METHOD] = {
        "authentication method", CONNECT | CONNACK | AUTH,
        FIELD(authentication_method), WIRE_STRING, RULE_ANY, 0},
    [GV_MQTT_PROP_AUTHENTICATION_DATA] = {
        "authentication data", CONNECT | CONNACK | AUTH,
        FIELD(authentication_data), WIRE_BINARY, RULE_ANY, 0},
    [GV_MQTT_PROP_REQUEST_PROBLEM_INFORMATION] = {
        "request problem information", CONNECT,
        FIELD(request_problem_information), WIRE_BYTE, RULE_BOOL, 0},
    [GV_MQTT_PROP_WILL_DELAY] = {
        "will delay interval", WILL,
        FIELD(will_delay_s), WIRE_U32, RULE_ANY, 0},
    [GV_MQTT_PROP_REQUEST_RESPONSE_INFORMATION] = {
        "request response information", CONNECT,
        FIELD(request_response_information), WIRE_BYTE, RULE_BOOL, 0},
    [GV_MQTT_PROP_RESPONSE_INFORMATION] = {
        "response information", CONNACK,
        FIELD(response_information), WIRE_STRING, RULE_ANY, 0},
    [GV_MQTT_PROP_SERVER_REFERENCE] = {
        "server reference", CONNACK | DISCONNECT,
        FIELD(server_reference), WIRE_STRING, RULE_ANY, 0},
    [GV_MQTT_PROP_REASON_STRING] = {
        "reason string", CONNACK | ACKS | DISCONNECT | AUTH,
        FIELD(reason_string), WIRE_STRING, RULE_ANY, 0},
    [GV_MQTT_PROP_RECEIVE_MAXIMUM] = {
        "receive maximum", CONNECT | CONNACK,
        FIELD(receive_maximum), WIRE_U16, RULE_NOT_ZERO, 0},
    [GV_MQTT_PROP_TOPIC_ALIAS_MAXIMUM] = {
        "topic alias maximum", CONNECT | CONNACK,
        FIELD(topic_alias_maximum), WIRE_U16, RULE_ANY, 0},
    [GV_MQTT_PROP_TOPIC_ALIAS] = { /* [MQTT-3.3.2-8] */
        "topic alias", PUBLISH,
        FIELD(topic_alias), WIRE_U16, RULE_ALIAS, 0},
    [GV_MQTT_PROP_MAXIMUM_QOS] = {
        "maximum QoS", CONNACK,
        FIELD(maximum_qos), WIRE_BYTE, RULE_BOOL, 0},
    [GV_MQTT_PROP_RETAIN_AVAILABLE] = {
        "retain available", CONNACK,
        FIELD(retain_available), WIRE_BYTE, RULE_BOOL, 0},
    [GV_MQTT_PROP_USER_PROPERTY] = { /* [MQTT-1.5.7-1]; no field: read by walking the block */
        "user property", ANYWHERE,
        0, WIRE_PAIR, RULE_ANY, ANYWHERE},
    [GV_MQTT_PROP_MAXIMUM_PACKET_SIZE] = {
        "maximum packet size", CONNECT | CONNACK,
        FIELD(maximum_packet_size), WIRE_U32, RULE_NOT_ZERO, 0},
    [GV_MQTT_PROP_WILDCARDS_AVAILABLE] = {
        "wildcard subscription available", CONNACK,
        FIELD(wildcards_available), WIRE_BYTE, RULE_BOOL, 0},
    [GV_MQTT_PROP_SUBSCRIPTION_IDS_AVAILABLE] = {
        "subscription identifiers available", CONNACK,
        FIELD(subscription_ids_available), WIRE_BYTE, RULE_BOOL, 0},
    [GV_MQTT_PROP_SHARED_SUBSCRIPTIONS_AVAILABLE] = {
        "shared subscription available", CONNACK,
        FIELD(shared_subscriptions_available), WIRE_BYTE, RULE_BOOL, 0},
};
/* clang-format on */

_Static_assert(GV_MQTT_PROP_ID_MAX < 64, "a bit of `present` for each property");
_Static_assert(GV_MQTT_PROP_ID_MAX < 128, "an identifier is one byte on the wire");

static const spec_t *find_spec(uint8_t id)
{
    static const spec_t unknown = {.name = "unknown property", .wire = WIRE_NONE};
    return id <= GV_MQTT_PROP_ID_MAX && specs[id].wire != WIRE_NONE ? &specs[id] : &unknown;
}

const char *gv_mqtt_prop_name(uint8_t id)
{
    return find_spec(id)->name;
}

/* ---- one property ------------------------------------------------------------------------- */

/* Takes identifier and value off the front.  False, and r->failed, if they are not there. */
static bool take_prop(gv_reader_t *r, gv_mqtt_prop_t *out)
{
    const uint8_t *start = r->pos;
    uint8_t id = gv_reader_u8(r);
    *out = (gv_mqtt_prop_t){.id = (gv_mqtt_prop_id_t)id};
    switch ((wire_t)find_spec(id)->wire) {
    case WIRE_BYTE:
        out->number = gv_reader_u8(r);
        break;
    case WIRE_U16:
        out->number = gv_reader_u16(r);
        break;
    case WIRE_U32:
        out->number = gv_reader_u32(r);
        break;
    case WIRE_VARINT:
        out->number = gv_mqtt_varint_read(r);
        break;
    case WIRE_STRING:
    case WIRE_BINARY:
        out->bytes = gv__mqtt_take_sized(r);
        break;
    case WIRE_PAIR:
        out->bytes = gv__mqtt_take_sized(r);
        out->value = gv__mqtt_take_sized(r);
        break;
    case WIRE_NONE:
        r->failed = true;
        break;
    }
    out->wire = gv_bytes(start, (size_t)(r->pos - start));
    return !r->failed;
}

bool gv_mqtt_props_next(gv_reader_t *block, gv_mqtt_prop_t *out)
{
    return gv_reader_left(block) > 0 && take_prop(block, out);
}

bool gv_mqtt_user_property_next(gv_reader_t *block, gv_bytes_t *name, gv_bytes_t *value)
{
    gv_mqtt_prop_t prop;
    while (gv_mqtt_props_next(block, &prop)) {
        if (prop.id == GV_MQTT_PROP_USER_PROPERTY) {
            *name = prop.bytes;
            *value = prop.value;
            return true;
        }
    }
    return false;
}

bool gv_mqtt_subscription_id_next(gv_reader_t *block, uint32_t *id)
{
    gv_mqtt_prop_t prop;
    while (gv_mqtt_props_next(block, &prop)) {
        if (prop.id == GV_MQTT_PROP_SUBSCRIPTION_ID) {
            *id = prop.number;
            return true;
        }
    }
    return false;
}

/* ---- decoding ----------------------------------------------------------------------------- */

/* Puts the value into its field. */
static void store(gv_mqtt_props_t *props, const spec_t *spec, const gv_mqtt_prop_t *prop)
{
    uint8_t *field = (uint8_t *)props + spec->offset;
    switch ((wire_t)spec->wire) {
    case WIRE_BYTE:
        *field = (uint8_t)prop->number;
        break;
    case WIRE_U16:
        *(uint16_t *)(void *)field = (uint16_t)prop->number;
        break;
    case WIRE_U32:
    case WIRE_VARINT:
        *(uint32_t *)(void *)field = prop->number;
        break;
    case WIRE_STRING:
    case WIRE_BINARY:
        *(gv_bytes_t *)(void *)field = prop->bytes;
        break;
    case WIRE_PAIR:
    case WIRE_NONE:
        break;
    }
}

static gv_err_t check_value(const spec_t *spec, const gv_mqtt_prop_t *prop,
                            gv_mqtt_reason_t *reason)
{
    gv_mqtt_text_t text = GV_MQTT_TEXT_PLAIN;
    if (spec->wire == WIRE_STRING) {
        text = gv_mqtt_text_scan(prop->bytes);
    } else if (spec->wire == WIRE_PAIR &&
               !(gv_mqtt_text_valid(prop->bytes) && gv_mqtt_text_valid(prop->value))) {
        text = GV_MQTT_TEXT_BAD; /* [MQTT-1.5.7-1] */
    }
    if (text == GV_MQTT_TEXT_BAD) {
        return gv__mqtt_malformed(reason);
    }
    switch ((rule_t)spec->rule) {
    case RULE_ANY:
        break;
    case RULE_BOOL:
        if (prop->number > 1) {
            return gv__mqtt_protocol_error(reason, GV_MQTT_PROTOCOL_ERROR);
        }
        break;
    case RULE_NOT_ZERO:
        if (prop->number == 0) {
            return gv__mqtt_protocol_error(reason, GV_MQTT_PROTOCOL_ERROR);
        }
        break;
    case RULE_ALIAS:
        if (prop->number == 0) {
            return gv__mqtt_protocol_error(reason, GV_MQTT_TOPIC_ALIAS_INVALID);
        }
        break;
    case RULE_NO_WILDCARD:
        if (text == GV_MQTT_TEXT_WILDCARD || prop->bytes.size == 0) {
            return gv__mqtt_protocol_error(reason, GV_MQTT_PROTOCOL_ERROR);
        }
        break;
    }
    return GV_OK;
}

static gv_err_t decode_block(gv_reader_t block, uint8_t place, gv_mqtt_props_t *out,
                             gv_mqtt_reason_t *reason)
{
    while (gv_reader_left(&block) > 0) {
        gv_mqtt_prop_t prop;
        if (!take_prop(&block, &prop)) {
            return gv__mqtt_malformed(reason);
        }
        const spec_t *spec = &specs[prop.id];
        if ((spec->places & PLACE(place)) == 0) {
            return gv__mqtt_malformed(reason);
        }
        bool is_repeated = gv_mqtt_props_has(out, prop.id);
        if (is_repeated && (spec->repeats & PLACE(place)) == 0) {
            return gv__mqtt_protocol_error(reason, GV_MQTT_PROTOCOL_ERROR);
        }
        gv_err_t err = check_value(spec, &prop, reason);
        if (err != GV_OK) {
            return err;
        }
        if (!is_repeated) {
            out->present |= GV_MQTT_PROP_BIT(prop.id);
            store(out, spec, &prop);
        }
    }
    return GV_OK;
}

gv_err_t gv_mqtt_props_decode(gv_reader_t *r, uint8_t place, gv_mqtt_props_t *out,
                              gv_mqtt_reason_t *reason)
{
    GV_ASSERT(place <= GV_MQTT_AUTH);
    *reason = GV_MQTT_SUCCESS;
    gv_mqtt_props_clear(out);
    uint32_t size = gv_mqtt_varint_read(r);
    out->raw = gv_reader_take(r, size);
    if (r->failed) {
        return gv__mqtt_malformed(reason);
    }
    return size == 0 ? GV_OK : decode_block(gv_reader(out->raw), place, out, reason);
}

/* ---- the travelling block ----------------------------------------------------------------- */

static bool travels(gv_mqtt_prop_id_t id)
{
    return (GV_MQTT_PROPS_STAY_BEHIND & GV_MQTT_PROP_BIT(id)) == 0;
}

size_t gv_mqtt_props_travel_size(const gv_mqtt_props_t *props)
{
    if (gv_mqtt_props_travel_as_is(props)) {
        return props->raw.size;
    }
    size_t size = 0;
    gv_reader_t block = gv_reader(props->raw);
    for (gv_mqtt_prop_t prop; gv_mqtt_props_next(&block, &prop);) {
        size += travels(prop.id) ? prop.wire.size : 0;
    }
    return size;
}

void gv_mqtt_props_travel_write(const gv_mqtt_props_t *props, gv_writer_t *w)
{
    if (gv_mqtt_props_travel_as_is(props)) {
        gv_writer_put(w, props->raw);
        return;
    }
    gv_reader_t block = gv_reader(props->raw);
    for (gv_mqtt_prop_t prop; gv_mqtt_props_next(&block, &prop);) {
        if (travels(prop.id)) {
            gv_writer_put(w, prop.wire);
        }
    }
}

/* ---- encoding ----------------------------------------------------------------------------- */

/* Takes the value of a property that is present out of its field. */
static gv_mqtt_prop_t load(const gv_mqtt_props_t *props, gv_mqtt_prop_id_t id)
{
    const spec_t *spec = &specs[id];
    GV_ASSERT(spec->wire >= WIRE_BYTE);
    GV_ASSERT(spec->wire <= WIRE_BINARY);
    const uint8_t *field = (const uint8_t *)props + spec->offset;
    gv_mqtt_prop_t prop = {.id = id};
    switch ((wire_t)spec->wire) {
    case WIRE_BYTE:
        prop.number = *field;
        break;
    case WIRE_U16:
        prop.number = *(const uint16_t *)(const void *)field;
        break;
    case WIRE_U32:
    case WIRE_VARINT:
        prop.number = *(const uint32_t *)(const void *)field;
        break;
    case WIRE_STRING:
    case WIRE_BINARY:
        prop.bytes = *(const gv_bytes_t *)(const void *)field;
        break;
    case WIRE_PAIR:
    case WIRE_NONE:
        break;
    }
    return prop;
}

void gv_mqtt_props_set_number(gv_mqtt_props_t *props, gv_mqtt_prop_id_t id, uint32_t value)
{
    const spec_t *spec = find_spec((uint8_t)id);
    GV_ASSERT(spec->wire >= WIRE_BYTE);
    GV_ASSERT(spec->wire <= WIRE_VARINT);
    GV_ASSERT(spec->wire != WIRE_BYTE || value <= UINT8_MAX);
    GV_ASSERT(spec->wire != WIRE_U16 || value <= UINT16_MAX);
    GV_ASSERT(spec->wire != WIRE_VARINT || value <= GV_MQTT_VARINT_MAX);
    store(props, spec, &(gv_mqtt_prop_t){.id = id, .number = value});
    props->present |= GV_MQTT_PROP_BIT(id);
}

void gv_mqtt_props_set_bytes(gv_mqtt_props_t *props, gv_mqtt_prop_id_t id, gv_bytes_t value)
{
    const spec_t *spec = find_spec((uint8_t)id);
    GV_ASSERT(spec->wire == WIRE_STRING || spec->wire == WIRE_BINARY);
    GV_ASSERT(value.size <= UINT16_MAX);
    store(props, spec, &(gv_mqtt_prop_t){.id = id, .bytes = value});
    props->present |= GV_MQTT_PROP_BIT(id);
}

void gv_mqtt_user_property_write(gv_writer_t *w, gv_bytes_t name, gv_bytes_t value)
{
    gv_writer_u8(w, GV_MQTT_PROP_USER_PROPERTY);
    gv__mqtt_put_sized(w, name);
    gv__mqtt_put_sized(w, value);
}

static size_t prop_size(const gv_mqtt_prop_t *prop)
{
    switch ((wire_t)specs[prop->id].wire) {
    case WIRE_BYTE:
        return 1 + 1;
    case WIRE_U16:
        return 1 + 2;
    case WIRE_U32:
        return 1 + 4;
    case WIRE_VARINT:
        return 1 + gv_mqtt_varint_size(prop->number);
    case WIRE_STRING:
    case WIRE_BINARY:
        return 1 + 2 + prop->bytes.size;
    case WIRE_PAIR:
    case WIRE_NONE:
        break;
    }
    return 0;
}

static void put_prop(gv_writer_t *w, const gv_mqtt_prop_t *prop)
{
    gv_writer_u8(w, (uint8_t)prop->id);
    switch ((wire_t)specs[prop->id].wire) {
    case WIRE_BYTE:
        gv_writer_u8(w, (uint8_t)prop->number);
        break;
    case WIRE_U16:
        gv_writer_u16(w, (uint16_t)prop->number);
        break;
    case WIRE_U32:
        gv_writer_u32(w, prop->number);
        break;
    case WIRE_VARINT:
        gv_mqtt_varint_write(w, prop->number);
        break;
    case WIRE_STRING:
    case WIRE_BINARY:
        gv__mqtt_put_sized(w, prop->bytes);
        break;
    case WIRE_PAIR:
    case WIRE_NONE:
        break;
    }
}

#define USER_PROPERTY_BIT GV_MQTT_PROP_BIT(GV_MQTT_PROP_USER_PROPERTY)

size_t gv__mqtt_props_size(const gv_mqtt_props_t *props, uint64_t mask)
{
    size_t size = (mask & USER_PROPERTY_BIT) != 0 ? props->appended.size : 0;
    uint64_t left = props->present & mask & ~USER_PROPERTY_BIT;
    for (; left != 0; left &= left - 1) {
        gv_mqtt_prop_t prop = load(props, (gv_mqtt_prop_id_t)__builtin_ctzll(left));
        size += prop_size(&prop);
    }
    return size;
}

void gv__mqtt_props_write(const gv_mqtt_props_t *props, uint64_t mask, gv_writer_t *w)
{
    gv_mqtt_varint_write(w, (uint32_t)gv__mqtt_props_size(props, mask));
    uint64_t left = props->present & mask & ~USER_PROPERTY_BIT;
    for (; left != 0; left &= left - 1) {
        gv_mqtt_prop_t prop = load(props, (gv_mqtt_prop_id_t)__builtin_ctzll(left));
        put_prop(w, &prop);
    }
    if ((mask & USER_PROPERTY_BIT) != 0) {
        gv_writer_put(w, props->appended);
    }
}

size_t gv_mqtt_props_size(const gv_mqtt_props_t *props)
{
    return gv__mqtt_props_size(props, UINT64_MAX);
}

void gv_mqtt_props_write(const gv_mqtt_props_t *props, gv_writer_t *w)
{
    gv__mqtt_props_write(props, UINT64_MAX, w);
}
