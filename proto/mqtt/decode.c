/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/mqtt/codec_p.h"
#include "proto/mqtt/utf8.h"

/*
 * Packets out of bytes.  Parts of this file: fields that many packets have; CONNECT and
 * CONNACK; PUBLISH and its acknowledgements; SUBSCRIBE and UNSUBSCRIBE with their answers; the
 * rest.
 *
 * Each decoder reads with a sticky cursor, looks once whether all was there, and makes sure that
 * nothing is left over.
 */

/* ---- fields ------------------------------------------------------------------------------- */

/* A string; one that breaks the rules for strings fails the reader. */
static gv_bytes_t take_text(gv_reader_t *r)
{
    gv_bytes_t text = gv__mqtt_take_sized(r);
    if (!gv_mqtt_text_valid(text)) {
        r->failed = true;
    }
    return text;
}

static gv_bytes_t take_rest(gv_reader_t *r)
{
    return gv_reader_take(r, gv_reader_left(r));
}

/* Everything was there, and nothing more. */
static bool is_used_up(const gv_reader_t *r)
{
    return !r->failed && gv_reader_left(r) == 0;
}

/* The properties of a v5 packet; older packets have none. */
static gv_err_t take_props(gv_reader_t *r, gv_mqtt_version_t version, uint8_t place,
                           gv_mqtt_props_t *out, gv_mqtt_reason_t *reason)
{
    if (version < GV_MQTT_V5) {
        gv_mqtt_props_clear(out);
        return GV_OK;
    }
    return gv_mqtt_props_decode(r, place, out, reason);
}

static gv_err_t check_topic(gv_bytes_t topic, gv_mqtt_reason_t *reason)
{
    gv_err_t err = gv_mqtt_topic_check(topic);
    if (err == GV_OK) {
        return GV_OK;
    }
    return err == GV_ERR_MALFORMED ? gv__mqtt_malformed(reason)
                                   : gv__mqtt_protocol_error(reason, GV_MQTT_TOPIC_NAME_INVALID);
}

/*
 * The first thing in many packets.  0 is no identifier: [MQTT-2.2.1-3] for SUBSCRIBE, UNSUBSCRIBE
 * and PUBLISH, and so nothing with that number can be acknowledged either.
 */
static gv_err_t take_packet_id(gv_reader_t *r, uint16_t *out, gv_mqtt_reason_t *reason)
{
    *out = gv_reader_u16(r);
    if (r->failed) {
        return gv__mqtt_malformed(reason);
    }
    return *out == 0 ? gv__mqtt_protocol_error(reason, GV_MQTT_PROTOCOL_ERROR) : GV_OK;
}

/*
 * PUBREL, SUBSCRIBE and UNSUBSCRIBE: 0010 exactly ([MQTT-3.6.1-1], [MQTT-3.8.1-1],
 * [MQTT-3.10.1-1]), but 3.1 sets DUP when it repeats one.
 */
static bool has_request_flags(const gv_mqtt_frame_t *frame, gv_mqtt_version_t version)
{
    return frame->flags == 0x02 || (version == GV_MQTT_V31 && frame->flags == 0x0a);
}

/* ---- CONNECT ------------------------------------------------------------------------------ */

enum {
    CONNECT_RESERVED = 0x01,
    CONNECT_CLEAN_START = 0x02,
    CONNECT_WILL = 0x04,
    CONNECT_WILL_QOS_SHIFT = 3,
    CONNECT_WILL_RETAIN = 0x20,
    CONNECT_PASSWORD = 0x40,
    CONNECT_USERNAME = 0x80,
    /* Set in the level by mosquitto when it connects as a bridge; it then tries without. */
    LEVEL_BRIDGE = 0x80
};

/*
 * Finds the version in name and level.  Where we cannot serve it, *answer is still the version in
 * which the client will understand the refusal ([MQTT-3.1.2-2] of both standards).
 */
static gv_err_t find_version(gv_bytes_t name, uint8_t level, gv_mqtt_version_t *answer)
{
    if (gv_bytes_equal(name, GV_BYTES_LITERAL("MQIsdp"))) {
        *answer = GV_MQTT_V31;
        return level == GV_MQTT_V31 ? GV_OK : GV_ERR_VERSION;
    }
    if (!gv_bytes_equal(name, GV_BYTES_LITERAL("MQTT"))) {
        *answer = GV_MQTT_VERSION_UNKNOWN; /* [MQTT-3.1.2-1] */
        return GV_ERR_VERSION;
    }
    bool is_old = level < GV_MQTT_V5 || (level & LEVEL_BRIDGE) != 0;
    *answer = is_old ? GV_MQTT_V311 : GV_MQTT_V5;
    return level == *answer ? GV_OK : GV_ERR_VERSION;
}

/* The connect flags among themselves. */
static bool connect_flags_ok(uint8_t flags, gv_mqtt_version_t version)
{
    uint8_t will_qos = (flags >> CONNECT_WILL_QOS_SHIFT) & 0x03;
    if ((flags & CONNECT_RESERVED) != 0) {
        return false; /* [MQTT-3.1.2-3] */
    }
    if ((flags & CONNECT_WILL) != 0 && will_qos == 3) {
        return false; /* [MQTT-3.1.2-12] */
    }
    if ((flags & CONNECT_WILL) == 0 && version > GV_MQTT_V31 &&
        (will_qos != 0 || (flags & CONNECT_WILL_RETAIN) != 0)) {
        return false; /* [MQTT-3.1.2-11], [MQTT-3.1.2-13]; 3.1 disregards them */
    }
    if ((flags & CONNECT_USERNAME) == 0 && (flags & CONNECT_PASSWORD) != 0) {
        return version >= GV_MQTT_V5; /* [MQTT-3.1.2-22 of 3.1.1] */
    }
    return true;
}

static gv_err_t take_will(gv_reader_t *r, uint8_t flags, gv_mqtt_version_t version,
                          gv_mqtt_will_t *out, gv_mqtt_reason_t *reason)
{
    out->qos = (flags >> CONNECT_WILL_QOS_SHIFT) & 0x03;
    out->retain = (flags & CONNECT_WILL_RETAIN) != 0;
    gv_err_t err = take_props(r, version, GV_MQTT_PROPS_OF_WILL, &out->props, reason);
    if (err != GV_OK) {
        return err;
    }
    out->topic = gv__mqtt_take_sized(r);
    out->payload = gv__mqtt_take_sized(r);
    if (r->failed) {
        return gv__mqtt_malformed(reason); /* [MQTT-3.1.2-9] */
    }
    return check_topic(out->topic, reason); /* [MQTT-3.1.3-11] */
}

/*
 * User name and password, as the flags say: [MQTT-3.1.2-16] to [MQTT-3.1.2-19].  In 3.1 they may be
 * missing in spite of the flags, for the sake of clients older than itself.
 */
static void take_credentials(gv_reader_t *r, uint8_t flags, gv_mqtt_connect_t *out)
{
    bool may_be_missing = out->version == GV_MQTT_V31;
    if ((flags & CONNECT_USERNAME) != 0 && !(may_be_missing && gv_reader_left(r) == 0)) {
        out->has_username = true;
        out->username = take_text(r); /* [MQTT-3.1.3-12] */
    }
    if ((flags & CONNECT_PASSWORD) != 0 && !(may_be_missing && gv_reader_left(r) == 0)) {
        out->has_password = true;
        out->password = gv__mqtt_take_sized(r);
    }
}

static bool client_id_ok(const gv_mqtt_connect_t *connect)
{
    if (connect->client_id.size > 0 || connect->version == GV_MQTT_V5) {
        return true;
    }
    return connect->version == GV_MQTT_V311 && connect->clean_start; /* [MQTT-3.1.3-8 of 3.1.1] */
}

gv_err_t gv_mqtt_decode_connect(const gv_mqtt_frame_t *frame, gv_mqtt_connect_t *out,
                                gv_mqtt_reason_t *reason)
{
    GV_ASSERT(frame->type == GV_MQTT_CONNECT);
    *reason = GV_MQTT_SUCCESS;
    *out = (gv_mqtt_connect_t){.version = GV_MQTT_VERSION_UNKNOWN};

    gv_reader_t r = gv_reader(frame->body);
    gv_bytes_t name = gv__mqtt_take_sized(&r);
    out->level = gv_reader_u8(&r);
    if (r.failed) {
        return gv__mqtt_malformed(reason);
    }
    gv_err_t err = find_version(name, out->level, &out->version);
    if (err != GV_OK) {
        *reason = GV_MQTT_UNSUPPORTED_VERSION;
        return err;
    }

    uint8_t flags = gv_reader_u8(&r);
    out->keep_alive_s = gv_reader_u16(&r);
    if (r.failed || !connect_flags_ok(flags, out->version)) {
        return gv__mqtt_malformed(reason);
    }
    out->clean_start = (flags & CONNECT_CLEAN_START) != 0;
    err = take_props(&r, out->version, GV_MQTT_CONNECT, &out->props, reason);
    if (err != GV_OK) {
        return err;
    }
    if (gv_mqtt_props_has(&out->props, GV_MQTT_PROP_AUTHENTICATION_DATA) &&
        !gv_mqtt_props_has(&out->props, GV_MQTT_PROP_AUTHENTICATION_METHOD)) {
        return gv__mqtt_protocol_error(reason, GV_MQTT_PROTOCOL_ERROR); /* section 3.1.2.11.10 */
    }

    /* The payload, in this order: [MQTT-3.1.3-1], [MQTT-3.1.3-3], [MQTT-3.1.3-4]. */
    out->client_id = take_text(&r);
    if ((flags & CONNECT_WILL) != 0) {
        out->has_will = true;
        err = take_will(&r, flags, out->version, &out->will, reason);
        if (err != GV_OK) {
            return err;
        }
    }
    take_credentials(&r, flags, out);
    if (!is_used_up(&r)) {
        return gv__mqtt_malformed(reason); /* [MQTT-3.1.4-1] */
    }
    return client_id_ok(out) ? GV_OK : gv__mqtt_protocol_error(reason, GV_MQTT_CLIENT_ID_INVALID);
}

/* ---- CONNACK ------------------------------------------------------------------------------ */

/* A server that does not know v5 refuses in its own format: two bytes, the second one 1. */
static bool is_old_refusal(gv_bytes_t body, gv_mqtt_version_t version)
{
    return version >= GV_MQTT_V5 && body.size == 2 && body.data[1] == 1;
}

gv_err_t gv_mqtt_decode_connack(const gv_mqtt_frame_t *frame, const gv_mqtt_peer_t *peer,
                                gv_mqtt_connack_t *out, gv_mqtt_reason_t *reason)
{
    GV_ASSERT(frame->type == GV_MQTT_CONNACK);
    *reason = GV_MQTT_SUCCESS;
    gv_mqtt_version_t version =
        is_old_refusal(frame->body, peer->version) ? GV_MQTT_V311 : peer->version;

    gv_reader_t r = gv_reader(frame->body);
    uint8_t flags = gv_reader_u8(&r);
    uint8_t code = gv_reader_u8(&r);
    if (version == GV_MQTT_V31) {
        flags = 0; /* a reserved byte there */
    }
    gv_err_t err = take_props(&r, version, GV_MQTT_CONNACK, &out->props, reason);
    if (err != GV_OK) {
        return err;
    }
    if (!is_used_up(&r) || (flags & 0xfe) != 0) {
        return gv__mqtt_malformed(reason); /* [MQTT-3.2.2-1] */
    }
    out->session_present = (flags & 0x01) != 0;
    if (version >= GV_MQTT_V5) {
        if (!gv__mqtt_reason_fits(code, GV_MQTT_CONNACK, true)) {
            return gv__mqtt_protocol_error(reason, GV_MQTT_PROTOCOL_ERROR); /* [MQTT-3.2.2-8] */
        }
        out->reason = (gv_mqtt_reason_t)code;
    } else {
        out->reason = gv_mqtt_reason_from_return_code(code);
    }
    if (out->session_present && out->reason != GV_MQTT_SUCCESS) {
        return gv__mqtt_protocol_error(reason, GV_MQTT_PROTOCOL_ERROR); /* [MQTT-3.2.2-6] */
    }
    return GV_OK;
}

/* ---- PUBLISH ------------------------------------------------------------------------------ */

static gv_err_t check_publish_topic(const gv_mqtt_publish_t *publish, gv_mqtt_version_t version,
                                    gv_mqtt_reason_t *reason)
{
    if (publish->topic.size == 0 && version >= GV_MQTT_V5) {
        /* Section 3.3.2.3.4: no topic is fine when an alias stands for it. */
        return gv_mqtt_props_has(&publish->props, GV_MQTT_PROP_TOPIC_ALIAS)
                   ? GV_OK
                   : gv__mqtt_protocol_error(reason, GV_MQTT_PROTOCOL_ERROR);
    }
    return check_topic(publish->topic, reason); /* [MQTT-3.3.2-1], [MQTT-3.3.2-2] */
}

gv_err_t gv_mqtt_decode_publish(const gv_mqtt_frame_t *frame, const gv_mqtt_peer_t *peer,
                                gv_mqtt_publish_t *out, gv_mqtt_reason_t *reason)
{
    GV_ASSERT(frame->type == GV_MQTT_PUBLISH);
    *reason = GV_MQTT_SUCCESS;
    out->qos = (frame->flags >> 1) & 0x03;
    out->retain = (frame->flags & 0x01) != 0;
    out->dup = (frame->flags & 0x08) != 0;
    if (out->qos == 3 || (out->qos == 0 && out->dup)) {
        return gv__mqtt_malformed(reason); /* [MQTT-3.3.1-4], [MQTT-3.3.1-2] */
    }

    gv_reader_t r = gv_reader(frame->body);
    gv_err_t err;
    out->topic = gv__mqtt_take_sized(&r);
    out->packet_id = 0; /* [MQTT-2.2.1-2] */
    if (out->qos > 0) {
        err = take_packet_id(&r, &out->packet_id, reason);
        if (err != GV_OK) {
            return err;
        }
    }
    err = take_props(&r, peer->version, GV_MQTT_PUBLISH, &out->props, reason);
    if (err != GV_OK) {
        return err;
    }
    if (r.failed) {
        return gv__mqtt_malformed(reason);
    }
    if (!peer->is_server && gv_mqtt_props_has(&out->props, GV_MQTT_PROP_SUBSCRIPTION_ID)) {
        return gv__mqtt_protocol_error(reason, GV_MQTT_PROTOCOL_ERROR); /* [MQTT-3.3.4-6] */
    }
    out->payload = take_rest(&r);
    return check_publish_topic(out, peer->version, reason);
}

/* ---- PUBACK, PUBREC, PUBREL, PUBCOMP ------------------------------------------------------ */

static bool is_ack(gv_mqtt_type_t type)
{
    return type >= GV_MQTT_PUBACK && type <= GV_MQTT_PUBCOMP;
}

/*
 * Reason and properties, either of which may be left off when it says nothing: the end of the four
 * acknowledgements and of DISCONNECT.
 */
static gv_err_t take_reason_and_props(gv_reader_t *r, gv_mqtt_type_t type, bool from_server,
                                      gv_mqtt_reason_t *out, gv_mqtt_props_t *props,
                                      gv_mqtt_reason_t *reason)
{
    uint8_t code = gv_reader_left(r) > 0 ? gv_reader_u8(r) : 0;
    gv_mqtt_props_clear(props);
    if (gv_reader_left(r) > 0) {
        gv_err_t err = gv_mqtt_props_decode(r, (uint8_t)type, props, reason);
        if (err != GV_OK) {
            return err;
        }
    }
    if (!is_used_up(r)) {
        return gv__mqtt_malformed(reason);
    }
    if (!gv__mqtt_reason_fits(code, type, from_server)) {
        return gv__mqtt_protocol_error(reason, GV_MQTT_PROTOCOL_ERROR);
    }
    *out = (gv_mqtt_reason_t)code;
    return GV_OK;
}

gv_err_t gv_mqtt_decode_ack(const gv_mqtt_frame_t *frame, const gv_mqtt_peer_t *peer,
                            gv_mqtt_ack_t *out, gv_mqtt_reason_t *reason)
{
    GV_ASSERT(is_ack(frame->type));
    *reason = GV_MQTT_SUCCESS;
    if (frame->type == GV_MQTT_PUBREL && !has_request_flags(frame, peer->version)) {
        return gv__mqtt_malformed(reason);
    }
    gv_reader_t r = gv_reader(frame->body);
    gv_err_t err = take_packet_id(&r, &out->packet_id, reason);
    if (err != GV_OK) {
        return err;
    }
    if (peer->version >= GV_MQTT_V5) {
        /* [MQTT-3.4.2-1], [MQTT-3.5.2-1], [MQTT-3.6.2-1], [MQTT-3.7.2-1] */
        return take_reason_and_props(&r, frame->type, peer->is_server, &out->reason, &out->props,
                                     reason);
    }
    out->reason = GV_MQTT_SUCCESS;
    gv_mqtt_props_clear(&out->props);
    return is_used_up(&r) ? GV_OK : gv__mqtt_malformed(reason);
}

/* ---- SUBSCRIBE, UNSUBSCRIBE --------------------------------------------------------------- */

enum {
    OPTION_QOS = 0x03,
    OPTION_NO_LOCAL = 0x04,
    OPTION_RETAIN_AS_PUBLISHED = 0x08,
    OPTION_RETAIN_HANDLING_SHIFT = 4,
    OPTION_RESERVED = 0xc0
};

/*
 * Takes one filter with its options.  Gives GV_ERR_MALFORMED when they are not there or the filter
 * is no string ([MQTT-3.8.3-1], [MQTT-3.10.3-1]); a string that is no filter is an entry that will
 * be refused.
 */
static gv_err_t take_entry(gv_reader_t *r, bool has_options, gv_mqtt_subscription_t *out,
                           uint8_t *options)
{
    out->text = gv__mqtt_take_sized(r);
    *options = has_options ? gv_reader_u8(r) : 0;
    if (r->failed) {
        return GV_ERR_MALFORMED;
    }
    gv_err_t err = gv_mqtt_filter_parse(out->text, &out->parts);
    if (err == GV_ERR_MALFORMED) {
        return err;
    }
    out->reason = err == GV_OK ? GV_MQTT_SUCCESS : GV_MQTT_TOPIC_FILTER_INVALID;
    out->qos = *options & OPTION_QOS;
    out->no_local = (*options & OPTION_NO_LOCAL) != 0;
    out->retain_as_published = (*options & OPTION_RETAIN_AS_PUBLISHED) != 0;
    out->retain_handling = (*options >> OPTION_RETAIN_HANDLING_SHIFT) & 0x03;
    return GV_OK;
}

static gv_err_t check_options(const gv_mqtt_subscription_t *entry, uint8_t options,
                              gv_mqtt_version_t version, gv_mqtt_reason_t *reason)
{
    if (version < GV_MQTT_V5) {
        return options <= 2 ? GV_OK : gv__mqtt_malformed(reason); /* [MQTT-3.8.3-4 of 3.1.1] */
    }
    if ((options & OPTION_RESERVED) != 0) {
        return gv__mqtt_malformed(reason); /* [MQTT-3.8.3-5] */
    }
    bool shared_no_local = entry->no_local && gv_mqtt_filter_is_shared(&entry->parts);
    if (entry->qos == 3 || entry->retain_handling == 3 || shared_no_local) {
        /* Section 3.8.3.1, [MQTT-3.8.3-4]. */
        return gv__mqtt_protocol_error(reason, GV_MQTT_PROTOCOL_ERROR);
    }
    return GV_OK;
}

static gv_err_t decode_entries(const gv_mqtt_frame_t *frame, const gv_mqtt_peer_t *peer,
                               gv_mqtt_subscribe_t *out, gv_mqtt_reason_t *reason)
{
    *reason = GV_MQTT_SUCCESS;
    if (!has_request_flags(frame, peer->version)) {
        return gv__mqtt_malformed(reason);
    }
    gv_reader_t r = gv_reader(frame->body);
    gv_err_t err = take_packet_id(&r, &out->packet_id, reason);
    if (err != GV_OK) {
        return err;
    }
    err = take_props(&r, peer->version, (uint8_t)frame->type, &out->props, reason);
    if (err != GV_OK) {
        return err;
    }

    out->_has_options = frame->type == GV_MQTT_SUBSCRIBE;
    out->_entries = gv_bytes(r.pos, gv_reader_left(&r));
    out->count = 0;
    while (gv_reader_left(&r) > 0) {
        gv_mqtt_subscription_t entry;
        uint8_t options;
        if (take_entry(&r, out->_has_options, &entry, &options) != GV_OK) {
            return gv__mqtt_malformed(reason);
        }
        err = check_options(&entry, options, peer->version, reason);
        if (err != GV_OK) {
            return err;
        }
        out->count++;
    }
    /* [MQTT-3.8.3-2], [MQTT-3.10.3-2]: at least one. */
    return out->count > 0 ? GV_OK : gv__mqtt_protocol_error(reason, GV_MQTT_PROTOCOL_ERROR);
}

gv_err_t gv_mqtt_decode_subscribe(const gv_mqtt_frame_t *frame, const gv_mqtt_peer_t *peer,
                                  gv_mqtt_subscribe_t *out, gv_mqtt_reason_t *reason)
{
    GV_ASSERT(frame->type == GV_MQTT_SUBSCRIBE);
    return decode_entries(frame, peer, out, reason);
}

gv_err_t gv_mqtt_decode_unsubscribe(const gv_mqtt_frame_t *frame, const gv_mqtt_peer_t *peer,
                                    gv_mqtt_subscribe_t *out, gv_mqtt_reason_t *reason)
{
    GV_ASSERT(frame->type == GV_MQTT_UNSUBSCRIBE);
    return decode_entries(frame, peer, out, reason);
}

bool gv_mqtt_entries_next(gv_mqtt_entries_t *entries, gv_mqtt_subscription_t *out)
{
    uint8_t options;
    return gv_reader_left(&entries->_left) > 0 &&
           take_entry(&entries->_left, entries->_has_options, out, &options) == GV_OK;
}

/* ---- SUBACK, UNSUBACK --------------------------------------------------------------------- */

static bool suback_code_ok(uint8_t code, gv_mqtt_type_t type, gv_mqtt_version_t version)
{
    if (version < GV_MQTT_V5) {
        return code <= 2 || code == GV_MQTT_UNSPECIFIED_ERROR;
    }
    return gv__mqtt_reason_fits(code, type, true);
}

static gv_err_t decode_codes(const gv_mqtt_frame_t *frame, const gv_mqtt_peer_t *peer,
                             gv_mqtt_suback_t *out, gv_mqtt_reason_t *reason)
{
    *reason = GV_MQTT_SUCCESS;
    gv_reader_t r = gv_reader(frame->body);
    gv_err_t err = take_packet_id(&r, &out->packet_id, reason);
    if (err != GV_OK) {
        return err;
    }
    err = take_props(&r, peer->version, (uint8_t)frame->type, &out->props, reason);
    if (err != GV_OK) {
        return err;
    }
    out->codes = take_rest(&r);
    bool has_codes = frame->type == GV_MQTT_SUBACK || peer->version >= GV_MQTT_V5;
    if ((out->codes.size > 0) != has_codes) {
        return gv__mqtt_malformed(reason);
    }
    for (size_t i = 0; i < out->codes.size; i++) {
        /* [MQTT-3.9.3-2], [MQTT-3.11.3-2] */
        if (!suback_code_ok(out->codes.data[i], frame->type, peer->version)) {
            return gv__mqtt_protocol_error(reason, GV_MQTT_PROTOCOL_ERROR);
        }
    }
    return GV_OK;
}

gv_err_t gv_mqtt_decode_suback(const gv_mqtt_frame_t *frame, const gv_mqtt_peer_t *peer,
                               gv_mqtt_suback_t *out, gv_mqtt_reason_t *reason)
{
    GV_ASSERT(frame->type == GV_MQTT_SUBACK);
    return decode_codes(frame, peer, out, reason);
}

gv_err_t gv_mqtt_decode_unsuback(const gv_mqtt_frame_t *frame, const gv_mqtt_peer_t *peer,
                                 gv_mqtt_suback_t *out, gv_mqtt_reason_t *reason)
{
    GV_ASSERT(frame->type == GV_MQTT_UNSUBACK);
    return decode_codes(frame, peer, out, reason);
}

/* ---- DISCONNECT, AUTH, PINGREQ, PINGRESP -------------------------------------------------- */

gv_err_t gv_mqtt_decode_disconnect(const gv_mqtt_frame_t *frame, const gv_mqtt_peer_t *peer,
                                   gv_mqtt_disconnect_t *out, gv_mqtt_reason_t *reason)
{
    GV_ASSERT(frame->type == GV_MQTT_DISCONNECT);
    *reason = GV_MQTT_SUCCESS;
    gv_reader_t r = gv_reader(frame->body);
    if (peer->version < GV_MQTT_V5) {
        out->reason = GV_MQTT_NORMAL_DISCONNECTION;
        gv_mqtt_props_clear(&out->props);
        if (peer->is_server) {
            return gv__mqtt_protocol_error(reason, GV_MQTT_PROTOCOL_ERROR);
        }
        return is_used_up(&r) ? GV_OK : gv__mqtt_malformed(reason);
    }
    gv_err_t err = take_reason_and_props(&r, GV_MQTT_DISCONNECT, peer->is_server, &out->reason,
                                         &out->props, reason);
    if (err != GV_OK) {
        return err;
    }
    /* Each side has a property of its own here: [MQTT-3.14.2-2], section 3.14.2.2.5. */
    gv_mqtt_prop_id_t not_theirs =
        peer->is_server ? GV_MQTT_PROP_SESSION_EXPIRY : GV_MQTT_PROP_SERVER_REFERENCE;
    return gv_mqtt_props_has(&out->props, not_theirs)
               ? gv__mqtt_protocol_error(reason, GV_MQTT_PROTOCOL_ERROR)
               : GV_OK;
}

gv_err_t gv_mqtt_decode_auth(const gv_mqtt_frame_t *frame, const gv_mqtt_peer_t *peer,
                             gv_mqtt_auth_t *out, gv_mqtt_reason_t *reason)
{
    GV_ASSERT(frame->type == GV_MQTT_AUTH);
    *reason = GV_MQTT_SUCCESS;
    if (peer->version < GV_MQTT_V5) {
        return gv__mqtt_protocol_error(reason, GV_MQTT_PROTOCOL_ERROR);
    }
    uint8_t code = GV_MQTT_SUCCESS;
    gv_mqtt_props_clear(&out->props);
    gv_reader_t r = gv_reader(frame->body);
    if (frame->body.size > 0) {
        code = gv_reader_u8(&r);
        gv_err_t err = gv_mqtt_props_decode(&r, GV_MQTT_AUTH, &out->props, reason);
        if (err != GV_OK) {
            return err;
        }
        if (!is_used_up(&r)) {
            return gv__mqtt_malformed(reason);
        }
        /* Section 3.15.2.2.2: every AUTH that says anything says the method. */
        if (!gv_mqtt_props_has(&out->props, GV_MQTT_PROP_AUTHENTICATION_METHOD)) {
            return gv__mqtt_protocol_error(reason, GV_MQTT_PROTOCOL_ERROR);
        }
    }
    if (!gv__mqtt_reason_fits(code, GV_MQTT_AUTH, peer->is_server)) {
        return gv__mqtt_protocol_error(reason, GV_MQTT_PROTOCOL_ERROR); /* [MQTT-3.15.2-1] */
    }
    out->reason = (gv_mqtt_reason_t)code;
    return GV_OK;
}

gv_err_t gv_mqtt_decode_ping(const gv_mqtt_frame_t *frame, gv_mqtt_reason_t *reason)
{
    GV_ASSERT(frame->type == GV_MQTT_PINGREQ || frame->type == GV_MQTT_PINGRESP);
    *reason = GV_MQTT_SUCCESS;
    return frame->body.size == 0 ? GV_OK : gv__mqtt_malformed(reason);
}
