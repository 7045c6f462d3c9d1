/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/mqtt/codec_p.h"

/*
 * Structs into packets.  Parts of this file: the fixed header and fields; replies, whose reason
 * string and user properties give way when there is no room; what clients ask; PUBLISH.
 *
 * Each encoder first computes the exact size.  It then either has room for all of it or writes
 * nothing, so that no half packet can ever get out.
 */

/* ---- fixed header and fields -------------------------------------------------------------- */

/* Whole packet for a body [bytes], or 0 if there is no such packet. */
static size_t packet_size(size_t body)
{
    return body > GV_MQTT_VARINT_MAX ? 0 : 1 + gv_mqtt_varint_size((uint32_t)body) + body;
}

static bool peer_takes(const gv_mqtt_peer_t *peer, size_t size)
{
    bool limited = peer->version >= GV_MQTT_V5 && peer->packet_size_max > 0;
    return size > 0 && (!limited || size <= peer->packet_size_max); /* [MQTT-3.1.2-24] */
}

static uint8_t first_byte(gv_mqtt_type_t type)
{
    /* [MQTT-2.1.3-1] */
    bool is_request =
        type == GV_MQTT_PUBREL || type == GV_MQTT_SUBSCRIBE || type == GV_MQTT_UNSUBSCRIBE;
    return (uint8_t)(type << 4 | (is_request ? 0x02 : 0x00));
}

/* Writes the fixed header, but only if the whole packet has room. */
static bool put_header(gv_writer_t *w, uint8_t first, size_t body)
{
    if (w->failed || gv_writer_left(w) < packet_size(body)) {
        w->failed = true;
        return false;
    }
    gv_writer_u8(w, first);
    gv_mqtt_varint_write(w, (uint32_t)body);
    return true;
}

static size_t sized_size(gv_bytes_t bytes)
{
    return 2 + bytes.size;
}

/* Length and block; nothing in v3. */
static size_t props_field_size(const gv_mqtt_props_t *props, gv_mqtt_version_t version)
{
    if (version < GV_MQTT_V5) {
        return 0;
    }
    size_t block = gv_mqtt_props_size(props);
    return gv_mqtt_varint_size((uint32_t)block) + block;
}

static void put_props_field(gv_writer_t *w, const gv_mqtt_props_t *props, gv_mqtt_version_t version)
{
    if (version >= GV_MQTT_V5) {
        gv_mqtt_props_write(props, w);
    }
}

/* ---- replies ------------------------------------------------------------------------------ */

#define REASON_STRING_BIT GV_MQTT_PROP_BIT(GV_MQTT_PROP_REASON_STRING)
#define USER_PROPERTY_BIT GV_MQTT_PROP_BIT(GV_MQTT_PROP_USER_PROPERTY)

typedef struct reply {
    gv_mqtt_type_t type;
    size_t fixed; /* of the body, besides what follows here [bytes] */
    const gv_mqtt_props_t *props;
    bool is_short;  /* reason and properties are left off when they say nothing */
    uint8_t reason; /* only of a short reply; otherwise part of `fixed` */
} reply_t;

/* What of a reply is written. */
typedef struct plan {
    uint64_t mask; /* properties */
    bool has_reason;
    bool has_props;
    size_t body;
    size_t size;
} plan_t;

static void lay_out(const reply_t *reply, const gv_mqtt_peer_t *peer, plan_t *plan)
{
    size_t block = 0;
    plan->has_reason = false;
    plan->has_props = false;
    if (peer->version >= GV_MQTT_V5) {
        block = gv__mqtt_props_size(reply->props, plan->mask);
        plan->has_props = !reply->is_short || block > 0;
        plan->has_reason = reply->is_short && (reply->reason != 0 || plan->has_props);
    }
    plan->body = reply->fixed + (plan->has_reason ? 1 : 0);
    if (plan->has_props) {
        plan->body += gv_mqtt_varint_size((uint32_t)block) + block;
    }
    plan->size = packet_size(plan->body);
}

/* The properties the peer wants to see: [MQTT-3.1.2-29]. */
static uint64_t wanted_props(gv_mqtt_type_t type, const gv_mqtt_peer_t *peer)
{
    bool may_explain = type == GV_MQTT_CONNACK || type == GV_MQTT_DISCONNECT;
    return peer->is_terse && !may_explain ? ~(REASON_STRING_BIT | USER_PROPERTY_BIT) : UINT64_MAX;
}

/*
 * Decides what is written.  What explains gives way to what matters, reason string first
 * ([MQTT-3.2.2-19], [MQTT-3.2.2-20], [MQTT-3.4.2-2], [MQTT-3.4.2-3] and their likes for every
 * reply).  False when even the rest is too large for the peer.
 */
static bool make_plan(const reply_t *reply, const gv_mqtt_peer_t *peer, plan_t *plan)
{
    plan->mask = wanted_props(reply->type, peer);
    lay_out(reply, peer, plan);
    if (!peer_takes(peer, plan->size)) {
        plan->mask &= ~REASON_STRING_BIT;
        lay_out(reply, peer, plan);
    }
    if (!peer_takes(peer, plan->size)) {
        plan->mask &= ~USER_PROPERTY_BIT;
        lay_out(reply, peer, plan);
    }
    return peer_takes(peer, plan->size);
}

static void put_reason_and_props(gv_writer_t *w, const reply_t *reply, const plan_t *plan)
{
    if (plan->has_reason) {
        gv_writer_u8(w, reply->reason);
    }
    if (plan->has_props) {
        gv__mqtt_props_write(reply->props, plan->mask, w);
    }
}

size_t gv_mqtt_encode_connack(const gv_mqtt_connack_t *packet, const gv_mqtt_peer_t *peer,
                              gv_writer_t *w)
{
    GV_DEBUG_ASSERT(gv__mqtt_reason_fits((uint8_t)packet->reason, GV_MQTT_CONNACK, true));
    uint8_t code = (uint8_t)packet->reason;
    bool has_code = peer->version >= GV_MQTT_V5 ||
                    gv_mqtt_reason_to_return_code(packet->reason, &code); /* [MQTT-3.2.2-6] */
    if (peer->version == GV_MQTT_VERSION_UNKNOWN || !has_code) {
        return 0;
    }
    reply_t reply = {.type = GV_MQTT_CONNACK, .fixed = 2, .props = &packet->props};
    plan_t plan;
    if (!make_plan(&reply, peer, &plan)) {
        return 0;
    }
    if (w == NULL) {
        return plan.size;
    }
    if (!put_header(w, first_byte(GV_MQTT_CONNACK), plan.body)) {
        return 0;
    }
    /* [MQTT-3.2.2-1], [MQTT-3.2.2-6]; in 3.1 the byte is reserved. */
    bool says_present =
        packet->session_present && packet->reason == GV_MQTT_SUCCESS && peer->version > GV_MQTT_V31;
    gv_writer_u8(w, says_present ? 0x01 : 0x00);
    gv_writer_u8(w, code);
    put_reason_and_props(w, &reply, &plan);
    return plan.size;
}

size_t gv_mqtt_encode_ack(gv_mqtt_type_t type, const gv_mqtt_ack_t *packet,
                          const gv_mqtt_peer_t *peer, gv_writer_t *w)
{
    GV_ASSERT(type >= GV_MQTT_PUBACK);
    GV_ASSERT(type <= GV_MQTT_PUBCOMP);
    GV_ASSERT(packet->packet_id != 0);
    GV_DEBUG_ASSERT(gv__mqtt_reason_fits((uint8_t)packet->reason, type, !peer->is_server));
    reply_t reply = {.type = type,
                     .fixed = 2,
                     .props = &packet->props,
                     .is_short = true,
                     .reason = (uint8_t)packet->reason};
    plan_t plan;
    if (!make_plan(&reply, peer, &plan)) {
        return 0;
    }
    if (w == NULL) {
        return plan.size;
    }
    if (!put_header(w, first_byte(type), plan.body)) {
        return 0;
    }
    gv_writer_u16(w, packet->packet_id);
    put_reason_and_props(w, &reply, &plan);
    return plan.size;
}

/* One code of SUBACK for the peer's version. */
static uint8_t suback_code(uint8_t code, gv_mqtt_version_t version)
{
    bool is_error = gv_mqtt_reason_is_error((gv_mqtt_reason_t)code);
    if (version >= GV_MQTT_V5 || !is_error) {
        return code;
    }
    return version == GV_MQTT_V31 ? GV_MQTT_GRANTED_QOS_0 : GV_MQTT_UNSPECIFIED_ERROR;
}

static size_t encode_codes(gv_mqtt_type_t type, const gv_mqtt_suback_t *packet,
                           const gv_mqtt_peer_t *peer, gv_writer_t *w)
{
    GV_ASSERT(packet->packet_id != 0);
    /* UNSUBACK has codes only since v5. */
    bool has_codes = type == GV_MQTT_SUBACK || peer->version >= GV_MQTT_V5;
    gv_bytes_t codes = has_codes ? packet->codes : GV_BYTES_EMPTY;
    GV_ASSERT(!has_codes || codes.size > 0);

    reply_t reply = {.type = type, .fixed = 2 + codes.size, .props = &packet->props};
    plan_t plan;
    if (!make_plan(&reply, peer, &plan)) {
        return 0;
    }
    if (w == NULL) {
        return plan.size;
    }
    if (!put_header(w, first_byte(type), plan.body)) {
        return 0;
    }
    gv_writer_u16(w, packet->packet_id);
    put_reason_and_props(w, &reply, &plan);
    for (size_t i = 0; i < codes.size; i++) {
        GV_DEBUG_ASSERT(gv__mqtt_reason_fits(codes.data[i], type, true));
        gv_writer_u8(w, suback_code(codes.data[i], peer->version));
    }
    return plan.size;
}

size_t gv_mqtt_encode_suback(const gv_mqtt_suback_t *packet, const gv_mqtt_peer_t *peer,
                             gv_writer_t *w)
{
    return encode_codes(GV_MQTT_SUBACK, packet, peer, w);
}

size_t gv_mqtt_encode_unsuback(const gv_mqtt_suback_t *packet, const gv_mqtt_peer_t *peer,
                               gv_writer_t *w)
{
    return encode_codes(GV_MQTT_UNSUBACK, packet, peer, w);
}

/* DISCONNECT and AUTH. */
static size_t encode_reason(gv_mqtt_type_t type, const gv_mqtt_disconnect_t *packet,
                            const gv_mqtt_peer_t *peer, gv_writer_t *w)
{
    GV_DEBUG_ASSERT(gv__mqtt_reason_fits((uint8_t)packet->reason, type, !peer->is_server));
    reply_t reply = {
        .type = type, .props = &packet->props, .is_short = true, .reason = (uint8_t)packet->reason};
    plan_t plan;
    if (!make_plan(&reply, peer, &plan)) {
        return 0;
    }
    if (w == NULL) {
        return plan.size;
    }
    if (!put_header(w, first_byte(type), plan.body)) {
        return 0;
    }
    put_reason_and_props(w, &reply, &plan);
    return plan.size;
}

size_t gv_mqtt_encode_disconnect(const gv_mqtt_disconnect_t *packet, const gv_mqtt_peer_t *peer,
                                 gv_writer_t *w)
{
    bool is_normal = packet->reason == GV_MQTT_NORMAL_DISCONNECTION;
    if (peer->version < GV_MQTT_V5 && !(peer->is_server && is_normal)) {
        return 0;
    }
    return encode_reason(GV_MQTT_DISCONNECT, packet, peer, w);
}

size_t gv_mqtt_encode_auth(const gv_mqtt_auth_t *packet, const gv_mqtt_peer_t *peer, gv_writer_t *w)
{
    /* Section 3.15.2.2.2: an AUTH that says anything says the method. */
    GV_ASSERT(packet->reason == GV_MQTT_SUCCESS ||
              gv_mqtt_props_has(&packet->props, GV_MQTT_PROP_AUTHENTICATION_METHOD));
    return peer->version < GV_MQTT_V5 ? 0 : encode_reason(GV_MQTT_AUTH, packet, peer, w);
}

/* ---- what clients ask --------------------------------------------------------------------- */

static gv_bytes_t protocol_name(gv_mqtt_version_t version)
{
    return version == GV_MQTT_V31 ? GV_BYTES_LITERAL("MQIsdp") : GV_BYTES_LITERAL("MQTT");
}

static uint8_t connect_flags(const gv_mqtt_connect_t *packet)
{
    uint8_t flags = 0;
    flags |= packet->clean_start ? 0x02 : 0;
    if (packet->has_will) {
        flags |= (uint8_t)(0x04 | packet->will.qos << 3 | (packet->will.retain ? 0x20 : 0));
    }
    flags |= packet->has_password ? 0x40 : 0;
    flags |= packet->has_username ? 0x80 : 0;
    return flags;
}

static size_t connect_body_size(const gv_mqtt_connect_t *packet, gv_mqtt_version_t version)
{
    size_t body = sized_size(protocol_name(version)) + 1 + 1 + 2; /* level, flags, keep alive */
    body += props_field_size(&packet->props, version);
    body += sized_size(packet->client_id);
    if (packet->has_will) {
        body += props_field_size(&packet->will.props, version);
        body += sized_size(packet->will.topic) + sized_size(packet->will.payload);
    }
    body += packet->has_username ? sized_size(packet->username) : 0;
    body += packet->has_password ? sized_size(packet->password) : 0;
    return body;
}

size_t gv_mqtt_encode_connect(const gv_mqtt_connect_t *packet, gv_writer_t *w)
{
    gv_mqtt_version_t version = packet->version;
    GV_ASSERT(version >= GV_MQTT_V31);
    GV_ASSERT(version <= GV_MQTT_V5);
    GV_ASSERT(!packet->has_will || packet->will.qos <= 2);
    /* [MQTT-3.1.2-22 of 3.1.1] */
    GV_ASSERT(version == GV_MQTT_V5 || packet->has_username || !packet->has_password);

    size_t body = connect_body_size(packet, version);
    size_t size = packet_size(body);
    if (w == NULL || size == 0) {
        return size;
    }
    if (!put_header(w, first_byte(GV_MQTT_CONNECT), body)) {
        return 0;
    }
    gv__mqtt_put_sized(w, protocol_name(version));
    gv_writer_u8(w, (uint8_t)version);
    gv_writer_u8(w, connect_flags(packet));
    gv_writer_u16(w, packet->keep_alive_s);
    put_props_field(w, &packet->props, version);
    gv__mqtt_put_sized(w, packet->client_id);
    if (packet->has_will) {
        put_props_field(w, &packet->will.props, version);
        gv__mqtt_put_sized(w, packet->will.topic);
        gv__mqtt_put_sized(w, packet->will.payload);
    }
    if (packet->has_username) {
        gv__mqtt_put_sized(w, packet->username);
    }
    if (packet->has_password) {
        gv__mqtt_put_sized(w, packet->password);
    }
    return size;
}

static uint8_t subscribe_options(const gv_mqtt_subscription_t *entry, gv_mqtt_version_t version)
{
    GV_ASSERT(entry->qos <= 2);
    GV_ASSERT(entry->retain_handling <= GV_MQTT_RETAIN_SEND_NOT);
    uint8_t options = entry->qos;
    if (version >= GV_MQTT_V5) {
        options |= entry->no_local ? 0x04 : 0;
        options |= entry->retain_as_published ? 0x08 : 0;
        options |= (uint8_t)(entry->retain_handling << 4);
    }
    return options;
}

static size_t encode_entries(gv_mqtt_type_t type, const gv_mqtt_subscribe_request_t *request,
                             const gv_mqtt_peer_t *peer, gv_writer_t *w)
{
    GV_ASSERT(request->packet_id != 0); /* [MQTT-2.2.1-3] */
    GV_ASSERT(request->count > 0);      /* [MQTT-3.8.3-2], [MQTT-3.10.3-2] */
    bool has_options = type == GV_MQTT_SUBSCRIBE;
    size_t body = 2 + props_field_size(&request->props, peer->version);
    for (size_t i = 0; i < request->count; i++) {
        body += sized_size(request->entries[i].text) + (has_options ? 1 : 0);
    }
    size_t size = packet_size(body);
    if (!peer_takes(peer, size)) {
        return 0;
    }
    if (w == NULL) {
        return size;
    }
    if (!put_header(w, first_byte(type), body)) {
        return 0;
    }
    gv_writer_u16(w, request->packet_id);
    put_props_field(w, &request->props, peer->version);
    for (size_t i = 0; i < request->count; i++) {
        gv__mqtt_put_sized(w, request->entries[i].text);
        if (has_options) {
            gv_writer_u8(w, subscribe_options(&request->entries[i], peer->version));
        }
    }
    return size;
}

size_t gv_mqtt_encode_subscribe(const gv_mqtt_subscribe_request_t *request,
                                const gv_mqtt_peer_t *peer, gv_writer_t *w)
{
    return encode_entries(GV_MQTT_SUBSCRIBE, request, peer, w);
}

size_t gv_mqtt_encode_unsubscribe(const gv_mqtt_subscribe_request_t *request,
                                  const gv_mqtt_peer_t *peer, gv_writer_t *w)
{
    return encode_entries(GV_MQTT_UNSUBSCRIBE, request, peer, w);
}

/* ---- PUBLISH ------------------------------------------------------------------------------ */

static uint8_t publish_first_byte(uint8_t qos, bool retain, bool dup)
{
    GV_ASSERT(qos <= 2);
    GV_ASSERT(qos > 0 || !dup); /* [MQTT-3.3.1-2] */
    return (uint8_t)(GV_MQTT_PUBLISH << 4 | (dup ? 0x08 : 0) | qos << 1 | (retain ? 0x01 : 0));
}

/* Sizes of the parts of a head [bytes]. */
typedef struct head_sizes {
    size_t props; /* the block, without its length */
    size_t body;  /* of the whole packet: what the remaining length says */
    size_t head;  /* or 0 if there is no such packet */
} head_sizes_t;

static head_sizes_t measure_head(const gv_mqtt_publish_head_t *head, gv_mqtt_version_t version)
{
    head_sizes_t sizes = {.props = 0};
    size_t variable = 2 + head->topic.size + (head->qos > 0 ? 2 : 0);
    if (version >= GV_MQTT_V5) {
        sizes.props =
            head->travel.size + (head->has_expiry ? 5 : 0) + (head->topic_alias > 0 ? 3 : 0);
        for (size_t i = 0; i < head->subscription_id_count; i++) {
            sizes.props += 1 + gv_mqtt_varint_size(head->subscription_ids[i]);
        }
        variable += gv_mqtt_varint_size((uint32_t)sizes.props) + sizes.props;
    }
    sizes.body = variable + head->payload_size;
    size_t packet = packet_size(sizes.body);
    sizes.head = packet > 0 ? packet - head->payload_size : 0;
    return sizes;
}

size_t gv_mqtt_publish_head_size(const gv_mqtt_publish_head_t *head, gv_mqtt_version_t version)
{
    return measure_head(head, version).head;
}

/*
 * The properties of a head: the receiver's own, then those that travel with the message.  The alias
 * is the last of the former, see gv_mqtt_publish_alias_offset().
 */
static void put_head_props(gv_writer_t *w, const gv_mqtt_publish_head_t *head, size_t size)
{
    gv_mqtt_varint_write(w, (uint32_t)size);
    if (head->has_expiry) {
        gv_writer_u8(w, GV_MQTT_PROP_MESSAGE_EXPIRY);
        gv_writer_u32(w, head->expiry_s);
    }
    for (size_t i = 0; i < head->subscription_id_count; i++) {
        gv_writer_u8(w, GV_MQTT_PROP_SUBSCRIPTION_ID);
        gv_mqtt_varint_write(w, head->subscription_ids[i]);
    }
    if (head->topic_alias > 0) {
        gv_writer_u8(w, GV_MQTT_PROP_TOPIC_ALIAS);
        gv_writer_u16(w, head->topic_alias);
    }
    gv_writer_put(w, head->travel);
}

size_t gv_mqtt_publish_head_write(const gv_mqtt_publish_head_t *head, gv_mqtt_version_t version,
                                  gv_writer_t *w, size_t *packet_id_offset)
{
    GV_ASSERT(head->topic.size <= GV_MQTT_TOPIC_SIZE_MAX);
    GV_ASSERT(head->topic.size > 0 || (version >= GV_MQTT_V5 && head->topic_alias > 0));
    if (packet_id_offset != NULL) {
        *packet_id_offset = 0;
    }
    head_sizes_t sizes = measure_head(head, version);
    uint8_t *start = sizes.head > 0 ? gv_writer_reserve(w, sizes.head) : NULL;
    if (start == NULL) {
        return 0;
    }
    gv_writer_t out = gv_writer(start, sizes.head);
    gv_writer_u8(&out, publish_first_byte(head->qos, head->retain, head->dup));
    gv_mqtt_varint_write(&out, (uint32_t)sizes.body);
    gv__mqtt_put_sized(&out, head->topic);
    if (head->qos > 0) {
        if (packet_id_offset != NULL) {
            *packet_id_offset = (size_t)(out.pos - start);
        }
        gv_writer_u16(&out, head->packet_id);
    }
    if (version >= GV_MQTT_V5) {
        put_head_props(&out, head, sizes.props);
    }
    GV_ASSERT(!out.failed);
    GV_ASSERT(gv_writer_left(&out) == 0);
    return sizes.head;
}

size_t gv_mqtt_encode_publish(const gv_mqtt_publish_t *packet, const gv_mqtt_peer_t *peer,
                              gv_writer_t *w)
{
    GV_ASSERT(packet->qos == 0 || packet->packet_id != 0); /* [MQTT-2.2.1-3] */
    size_t body = sized_size(packet->topic) + (packet->qos > 0 ? 2 : 0) +
                  props_field_size(&packet->props, peer->version) + packet->payload.size;
    size_t size = packet_size(body);
    if (!peer_takes(peer, size)) {
        return 0;
    }
    if (w == NULL) {
        return size;
    }
    if (!put_header(w, publish_first_byte(packet->qos, packet->retain, packet->dup), body)) {
        return 0;
    }
    gv__mqtt_put_sized(w, packet->topic);
    if (packet->qos > 0) {
        gv_writer_u16(w, packet->packet_id);
    }
    put_props_field(w, &packet->props, peer->version);
    gv_writer_put(w, packet->payload);
    return size;
}
