/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * MQTT control packets, 3.1, 3.1.1 and 5.0: bytes into structs (decode.c) and structs into bytes
 * (encode.c), in both directions, because the broker's tests and the `grapevine` command are
 * clients.
 *
 * Receiving:  gv_mqtt_frame() cuts a packet off a byte stream, gv_mqtt_decode_...() reads it.  The
 * structs hold views into the packet's bytes and are valid as long as those stay where they are.
 *
 * Sending:  gv_mqtt_encode_...() puts a struct into a writer.  gv_mqtt_peer_t says for whom; all
 * differences between versions, and what a v5 client has said it does not want to see, are dealt
 * with there, so that the broker builds the same struct for everybody.
 *
 * Errors of decoding:
 *     GV_ERR_MALFORMED   the bytes cannot be read as that packet (*reason is 0x81)
 *     GV_ERR_PROTOCOL    they can, and say something that is not allowed (0x82, 0x85, 0x90, ...)
 *     GV_ERR_VERSION     CONNECT of a protocol version we do not speak (0x84)
 * In each case the connection ends: [MQTT-4.13.1-1], [MQTT-3.1.4-1].  *reason is what a v5 peer is
 * told in CONNACK or DISCONNECT, and GV_MQTT_SUCCESS when the result is GV_OK.  After an error the
 * out struct is not to be used, but for what gv_mqtt_decode_connect() promises.
 *
 * Threads: any.  Memory: nothing is allocated.
 */

#include "base/bytes.h"
#include "base/err.h"
#include "proto/mqtt/props.h"
#include "proto/mqtt/reason.h"
#include "proto/mqtt/topic.h"
#include "proto/mqtt/varint.h"

/* The protocol level byte of CONNECT.  They compare: `version >= GV_MQTT_V5`. */
typedef enum gv_mqtt_version {
    GV_MQTT_VERSION_UNKNOWN = 0,
    GV_MQTT_V31 = 3,
    GV_MQTT_V311 = 4,
    GV_MQTT_V5 = 5
} gv_mqtt_version_t;

/* Control packet types, as in the fixed header. */
typedef enum gv_mqtt_type {
    GV_MQTT_CONNECT = 1,
    GV_MQTT_CONNACK = 2,
    GV_MQTT_PUBLISH = 3,
    GV_MQTT_PUBACK = 4,
    GV_MQTT_PUBREC = 5,
    GV_MQTT_PUBREL = 6,
    GV_MQTT_PUBCOMP = 7,
    GV_MQTT_SUBSCRIBE = 8,
    GV_MQTT_SUBACK = 9,
    GV_MQTT_UNSUBSCRIBE = 10,
    GV_MQTT_UNSUBACK = 11,
    GV_MQTT_PINGREQ = 12,
    GV_MQTT_PINGRESP = 13,
    GV_MQTT_DISCONNECT = 14,
    GV_MQTT_AUTH = 15
} gv_mqtt_type_t;

/* Largest packet there can be, fixed header included [bytes]. */
#define GV_MQTT_PACKET_SIZE_MAX (GV_MQTT_VARINT_MAX + 5u)

/* Whom we talk to. */
typedef struct gv_mqtt_peer {
    gv_mqtt_version_t version;
    bool is_server; /* we are the client: decides which properties and codes it may send */
    bool is_terse;  /* v5: asked for no reason strings (Request Problem Information 0) */
    uint32_t packet_size_max; /* v5: the largest packet it takes [bytes]; 0: any */
} gv_mqtt_peer_t;

/* Static texts, "PUBLISH" and "3.1.1"; never NULL. */
const char *gv_mqtt_type_text(gv_mqtt_type_t type);
const char *gv_mqtt_version_text(gv_mqtt_version_t version);

/* ---- framing ------------------------------------------------------------------------------ */

typedef struct gv_mqtt_frame {
    gv_mqtt_type_t type;
    uint8_t flags;   /* low four bits of the first byte */
    gv_bytes_t body; /* what follows the fixed header */
    size_t size;     /* of the whole packet [bytes] */
} gv_mqtt_frame_t;

/* Flags that a first byte must have, by type; DUP is looked at later, see gv_mqtt_frame(). */
static inline bool gv_mqtt_first_byte_ok(uint8_t first)
{
    uint8_t type = first >> 4;
    uint8_t flags = first & 0x0f;
    if (type == GV_MQTT_PUBLISH) {
        return true;
    }
    if (type == GV_MQTT_PUBREL || type == GV_MQTT_SUBSCRIBE || type == GV_MQTT_UNSUBSCRIBE) {
        return (flags & 0x07) == 0x02;
    }
    return type != 0 && flags == 0;
}

/*
 * Looks for a packet at the front of `input`.  size_max is the largest packet we take, fixed header
 * included [bytes].
 *
 * GV_OK: *out is the packet.
 * GV_ERR_AGAIN: more bytes are needed; out->size is the size of the whole packet if the header is
 * complete, otherwise 0.
 * GV_ERR_TOO_LARGE: the header announces more than size_max (reason 0x95).
 * GV_ERR_MALFORMED: type 0, wrong flags [MQTT-2.1.3-1], or a length of five bytes (reason 0x81).
 *
 * Two things are not judged here, because the version is not known: a remaining length written with
 * more bytes than it needs is let through (3.1.1 has no rule against it, and small devices do it),
 * and so is the DUP bit that 3.1 has in PUBREL, SUBSCRIBE and UNSUBSCRIBE.
 */
GV_MUST_USE static inline gv_err_t gv_mqtt_frame(gv_bytes_t input, size_t size_max,
                                                 gv_mqtt_frame_t *out)
{
    out->size = 0;
    if (input.size == 0) {
        return GV_ERR_AGAIN;
    }
    uint8_t first = input.data[0];
    if (!gv_mqtt_first_byte_ok(first)) {
        return GV_ERR_MALFORMED;
    }
    size_t length = 0;
    size_t header = 1;
    uint32_t shift = 0;
    uint8_t byte;
    do {
        if (header == 5) {
            return GV_ERR_MALFORMED;
        }
        if (header == input.size) {
            return GV_ERR_AGAIN;
        }
        byte = input.data[header++];
        length |= (size_t)(byte & 0x7f) << shift;
        shift += 7;
    } while (byte >= 0x80);

    size_t size = header + length;
    if (size > size_max) {
        return GV_ERR_TOO_LARGE;
    }
    out->size = size;
    if (size > input.size) {
        return GV_ERR_AGAIN;
    }
    out->type = (gv_mqtt_type_t)(first >> 4);
    out->flags = first & 0x0f;
    out->body = (gv_bytes_t){.data = input.data + header, .size = length};
    return GV_OK;
}

/* ---- CONNECT ------------------------------------------------------------------------------ */

typedef struct gv_mqtt_will {
    gv_bytes_t topic;
    gv_bytes_t payload;
    uint8_t qos;
    bool retain;
    gv_mqtt_props_t props;
} gv_mqtt_will_t;

typedef struct gv_mqtt_connect {
    gv_mqtt_version_t version;
    uint8_t level; /* the protocol level byte as it came; encoding takes `version` */
    bool clean_start;
    bool has_will;
    bool has_username;
    bool has_password;
    uint16_t keep_alive_s; /* 0: none */
    gv_bytes_t client_id;  /* may be empty: the server assigns one */
    gv_bytes_t username;
    gv_bytes_t password;
    gv_mqtt_will_t will; /* only when has_will */
    gv_mqtt_props_t props;
} gv_mqtt_connect_t;

/*
 * Finds the version by itself: "MQTT" with level 4 or 5, "MQIsdp" with level 3.
 *
 * Also after an error out->version is set: to the version whose CONNACK the client will understand
 * (for an unsupported level the nearest we have), or GV_MQTT_VERSION_UNKNOWN when this is no MQTT
 * client at all.  So the answer to every error is gv_mqtt_encode_connack() with *reason for that
 * version, which writes nothing where the standard wants none.
 *
 * Client ids may have any length and any characters in all versions; an empty one that the version
 * does not allow gives GV_ERR_PROTOCOL with 0x85 (3.1: always; 3.1.1: without clean session).
 */
GV_MUST_USE gv_err_t gv_mqtt_decode_connect(const gv_mqtt_frame_t *frame, gv_mqtt_connect_t *out,
                                            gv_mqtt_reason_t *reason);

/* ---- CONNACK ------------------------------------------------------------------------------ */

typedef struct gv_mqtt_connack {
    bool session_present;
    gv_mqtt_reason_t reason; /* v3 return codes are translated */
    gv_mqtt_props_t props;
} gv_mqtt_connack_t;

GV_MUST_USE gv_err_t gv_mqtt_decode_connack(const gv_mqtt_frame_t *frame,
                                            const gv_mqtt_peer_t *peer, gv_mqtt_connack_t *out,
                                            gv_mqtt_reason_t *reason);

/* ---- PUBLISH ------------------------------------------------------------------------------ */

typedef struct gv_mqtt_publish {
    gv_bytes_t topic; /* empty only together with a topic alias */
    gv_bytes_t payload;
    uint16_t packet_id; /* 0 at QoS 0 */
    uint8_t qos;
    bool retain;
    bool dup;
    gv_mqtt_props_t props;
} gv_mqtt_publish_t;

/*
 * The topic has been checked (gv_mqtt_topic_check()); a topic alias is not 0, but whether it is
 * within the announced maximum and known is for the caller to see (0x94 or 0x82).
 */
GV_MUST_USE gv_err_t gv_mqtt_decode_publish(const gv_mqtt_frame_t *frame,
                                            const gv_mqtt_peer_t *peer, gv_mqtt_publish_t *out,
                                            gv_mqtt_reason_t *reason);

/* ---- PUBACK, PUBREC, PUBREL, PUBCOMP ------------------------------------------------------ */

typedef struct gv_mqtt_ack {
    uint16_t packet_id;
    gv_mqtt_reason_t reason; /* 0 in v3 */
    gv_mqtt_props_t props;
} gv_mqtt_ack_t;

/* Which of the four it is stands in frame->type. */
GV_MUST_USE gv_err_t gv_mqtt_decode_ack(const gv_mqtt_frame_t *frame, const gv_mqtt_peer_t *peer,
                                        gv_mqtt_ack_t *out, gv_mqtt_reason_t *reason);

/* ---- SUBSCRIBE, UNSUBSCRIBE --------------------------------------------------------------- */

/* What is sent when a subscription is made [MQTT-3.3.1-9, -10, -11]. */
typedef enum gv_mqtt_retain_handling {
    GV_MQTT_RETAIN_SEND = 0,        /* the retained messages */
    GV_MQTT_RETAIN_SEND_IF_NEW = 1, /* only if the subscription was not there */
    GV_MQTT_RETAIN_SEND_NOT = 2     /* nothing */
} gv_mqtt_retain_handling_t;

/* One entry of a SUBSCRIBE; an UNSUBSCRIBE uses text, parts and reason. */
typedef struct gv_mqtt_subscription {
    gv_bytes_t text;        /* the filter as the client wrote it, with "$share/group/" */
    gv_mqtt_filter_t parts; /* the same, taken apart; empty if reason is an error */
    /* GV_MQTT_SUCCESS or GV_MQTT_TOPIC_FILTER_INVALID, for SUBACK: the rest of the packet counts */
    gv_mqtt_reason_t reason;
    uint8_t qos;              /* the maximum asked for */
    bool no_local;            /* v5 */
    bool retain_as_published; /* v5 */
    uint8_t retain_handling;  /* v5: gv_mqtt_retain_handling_t */
} gv_mqtt_subscription_t;

/* A SUBSCRIBE or UNSUBSCRIBE. */
typedef struct gv_mqtt_subscribe {
    uint16_t packet_id;
    uint32_t count;        /* entries, at least 1 */
    gv_mqtt_props_t props; /* SUBSCRIBE: subscription_id; both: user properties */
    gv_bytes_t _entries;   /* for the iterator */
    bool _has_options;
} gv_mqtt_subscribe_t;

/* Reads and checks the whole packet, so that no half of it is carried out. */
GV_MUST_USE gv_err_t gv_mqtt_decode_subscribe(const gv_mqtt_frame_t *frame,
                                              const gv_mqtt_peer_t *peer, gv_mqtt_subscribe_t *out,
                                              gv_mqtt_reason_t *reason);
GV_MUST_USE gv_err_t gv_mqtt_decode_unsubscribe(const gv_mqtt_frame_t *frame,
                                                const gv_mqtt_peer_t *peer,
                                                gv_mqtt_subscribe_t *out, gv_mqtt_reason_t *reason);

/*
 * The entries of a decoded packet, in order:
 *
 *     gv_mqtt_entries_t entries = gv_mqtt_entries(&subscribe);
 *     for (gv_mqtt_subscription_t entry; gv_mqtt_entries_next(&entries, &entry);) { ... }
 */
typedef struct gv_mqtt_entries {
    gv_reader_t _left;
    bool _has_options;
} gv_mqtt_entries_t;

static inline gv_mqtt_entries_t gv_mqtt_entries(const gv_mqtt_subscribe_t *packet)
{
    return (gv_mqtt_entries_t){._left = gv_reader(packet->_entries),
                               ._has_options = packet->_has_options};
}

GV_MUST_USE bool gv_mqtt_entries_next(gv_mqtt_entries_t *entries, gv_mqtt_subscription_t *out);

/* ---- SUBACK, UNSUBACK --------------------------------------------------------------------- */

typedef struct gv_mqtt_suback {
    uint16_t packet_id;
    /* One reason code a byte, in the order of the entries.  Empty in a v3 UNSUBACK. */
    gv_bytes_t codes;
    gv_mqtt_props_t props;
} gv_mqtt_suback_t;

GV_MUST_USE gv_err_t gv_mqtt_decode_suback(const gv_mqtt_frame_t *frame, const gv_mqtt_peer_t *peer,
                                           gv_mqtt_suback_t *out, gv_mqtt_reason_t *reason);
GV_MUST_USE gv_err_t gv_mqtt_decode_unsuback(const gv_mqtt_frame_t *frame,
                                             const gv_mqtt_peer_t *peer, gv_mqtt_suback_t *out,
                                             gv_mqtt_reason_t *reason);

/* ---- DISCONNECT, AUTH, PINGREQ, PINGRESP -------------------------------------------------- */

/* A DISCONNECT or AUTH. */
typedef struct gv_mqtt_disconnect {
    gv_mqtt_reason_t reason;
    gv_mqtt_props_t props;
} gv_mqtt_disconnect_t;

typedef gv_mqtt_disconnect_t gv_mqtt_auth_t;

/* In v3 from a client only; it says no more than "discard the will". */
GV_MUST_USE gv_err_t gv_mqtt_decode_disconnect(const gv_mqtt_frame_t *frame,
                                               const gv_mqtt_peer_t *peer,
                                               gv_mqtt_disconnect_t *out, gv_mqtt_reason_t *reason);

/* v5 only: GV_ERR_PROTOCOL in v3. */
GV_MUST_USE gv_err_t gv_mqtt_decode_auth(const gv_mqtt_frame_t *frame, const gv_mqtt_peer_t *peer,
                                         gv_mqtt_auth_t *out, gv_mqtt_reason_t *reason);

/* PINGREQ or PINGRESP: there must be no body. */
GV_MUST_USE gv_err_t gv_mqtt_decode_ping(const gv_mqtt_frame_t *frame, gv_mqtt_reason_t *reason);

/* ---- encoding ----------------------------------------------------------------------------- */

/*
 * All gv_mqtt_encode_...() give back the bytes they wrote: the whole packet or nothing.  Nothing
 * (0) means: this version has no such packet or no code for that reason, or it would be larger than
 * peer->packet_size_max [MQTT-3.1.2-24], or the writer has no room (w->failed tells this case).
 * With w == NULL they only compute the size.
 *
 * What we say is for us to know: reason codes outside the packet's table, packet id 0, strings of
 * more than 65535 bytes are our mistakes, and asserted (the tables in debug builds only).
 *
 * Reason String and then user properties (props.appended) are left out where the peer does not want
 * them [MQTT-3.1.2-29] or where they make the packet too large for it ([MQTT-3.2.2-19, -20],
 * [MQTT-3.4.2-2, -3] and so on for each packet that has them).
 */

/* For the version in packet->version. */
size_t gv_mqtt_encode_connect(const gv_mqtt_connect_t *packet, gv_writer_t *w);

/* Says nothing to a client of unknown version, and to a v3 client when it has no code for this. */
size_t gv_mqtt_encode_connack(const gv_mqtt_connack_t *packet, const gv_mqtt_peer_t *peer,
                              gv_writer_t *w);

/* `type` is one of the four acknowledgements. */
size_t gv_mqtt_encode_ack(gv_mqtt_type_t type, const gv_mqtt_ack_t *packet,
                          const gv_mqtt_peer_t *peer, gv_writer_t *w);

/* What a client asks for; `text` and the options of each entry count. */
typedef struct gv_mqtt_subscribe_request {
    uint16_t packet_id;
    const gv_mqtt_subscription_t *entries;
    size_t count; /* at least 1 */
    gv_mqtt_props_t props;
} gv_mqtt_subscribe_request_t;

size_t gv_mqtt_encode_subscribe(const gv_mqtt_subscribe_request_t *request,
                                const gv_mqtt_peer_t *peer, gv_writer_t *w);
size_t gv_mqtt_encode_unsubscribe(const gv_mqtt_subscribe_request_t *request,
                                  const gv_mqtt_peer_t *peer, gv_writer_t *w);

/*
 * packet->codes are v5 reason codes: 3.1.1 has one failure code (0x80); 3.1 has none, its clients
 * are told QoS 0, because not to be answered would be worse.
 */
size_t gv_mqtt_encode_suback(const gv_mqtt_suback_t *packet, const gv_mqtt_peer_t *peer,
                             gv_writer_t *w);
size_t gv_mqtt_encode_unsuback(const gv_mqtt_suback_t *packet, const gv_mqtt_peer_t *peer,
                               gv_writer_t *w);

/* In v3 only a client disconnects with a packet, and without a reason: others are not written. */
size_t gv_mqtt_encode_disconnect(const gv_mqtt_disconnect_t *packet, const gv_mqtt_peer_t *peer,
                                 gv_writer_t *w);
size_t gv_mqtt_encode_auth(const gv_mqtt_auth_t *packet, const gv_mqtt_peer_t *peer,
                           gv_writer_t *w);

/*
 * The acknowledgement without reason and properties, the same in all versions: what nearly every
 * message causes.
 */
#define GV_MQTT_ACK_SIZE 4
static inline void gv_mqtt_write_ack(gv_writer_t *w, gv_mqtt_type_t type, uint16_t packet_id)
{
    uint8_t *room = gv_writer_reserve(w, GV_MQTT_ACK_SIZE);
    if (room != NULL) {
        room[0] = (uint8_t)(type << 4 | (type == GV_MQTT_PUBREL ? 0x02 : 0x00));
        room[1] = 2;
        room[2] = (uint8_t)(packet_id >> 8);
        room[3] = (uint8_t)packet_id;
    }
}

/* PINGREQ or PINGRESP. */
#define GV_MQTT_PING_SIZE 2
static inline void gv_mqtt_write_ping(gv_writer_t *w, gv_mqtt_type_t type)
{
    uint8_t *room = gv_writer_reserve(w, GV_MQTT_PING_SIZE);
    if (room != NULL) {
        room[0] = (uint8_t)(type << 4);
        room[1] = 0;
    }
}

/* ---- encoding PUBLISH, for fan-out -------------------------------------------------------- */

/*
 * A PUBLISH up to its payload.  The payload is shared by all receivers and put behind the head by
 * whoever owns the output; heads are the same for all receivers of one variant but for the packet
 * id and the DUP bit, which gv_mqtt_publish_patch() sets in a ready copy.
 */
typedef struct gv_mqtt_publish_head {
    gv_bytes_t topic;                 /* empty only with an alias */
    gv_bytes_t travel;                /* the travelling block, without length; left out in v3 */
    size_t payload_size;              /* [bytes] */
    const uint32_t *subscription_ids; /* v5; each 1 .. GV_MQTT_VARINT_MAX */
    size_t subscription_id_count;
    uint32_t expiry_s; /* v5, seconds left; only when has_expiry */
    bool has_expiry;
    bool retain;
    bool dup;
    uint8_t qos;
    uint16_t packet_id;   /* ignored at QoS 0 */
    uint16_t topic_alias; /* v5; 0: none */
} gv_mqtt_publish_head_t;

/*
 * Size of the head [bytes], or 0 when head and payload together exceed GV_MQTT_PACKET_SIZE_MAX.
 * Size of the packet, to be held against the receiver's maximum: this plus payload_size.
 */
size_t gv_mqtt_publish_head_size(const gv_mqtt_publish_head_t *head, gv_mqtt_version_t version);

/* The size is at most this: for who has room for more, and need not measure. */
static inline size_t gv_mqtt_publish_head_bound(const gv_mqtt_publish_head_t *head)
{
    /* First byte and length, topic's size, packet id, properties' length, expiry, alias. */
    const size_t fixed = 5 + 2 + 2 + 4 + 5 + 3;
    return fixed + head->topic.size + head->travel.size + head->subscription_id_count * 5;
}

/*
 * Writes the head; gives back its size, or 0 as above or when the writer has no room.
 * *packet_id_offset is where the packet id stands in the head, or 0 at QoS 0; may be NULL.
 */
size_t gv_mqtt_publish_head_write(const gv_mqtt_publish_head_t *head, gv_mqtt_version_t version,
                                  gv_writer_t *w, size_t *packet_id_offset);

/* Where the two bytes of the topic alias stand in a head of that size that has one. */
static inline size_t gv_mqtt_publish_alias_offset(const gv_mqtt_publish_head_t *head, size_t size)
{
    return size - head->travel.size - 2;
}

/* Sets packet id and DUP in a copy of a head with QoS > 0. */
static inline void gv_mqtt_publish_patch(uint8_t *head, size_t packet_id_offset, uint16_t packet_id,
                                         bool dup)
{
    head[0] = (uint8_t)((head[0] & ~0x08) | (dup ? 0x08 : 0));
    head[packet_id_offset] = (uint8_t)(packet_id >> 8);
    head[packet_id_offset + 1] = (uint8_t)packet_id;
}

/* A whole PUBLISH with its payload, for clients; properties from packet->props. */
size_t gv_mqtt_encode_publish(const gv_mqtt_publish_t *packet, const gv_mqtt_peer_t *peer,
                              gv_writer_t *w);
