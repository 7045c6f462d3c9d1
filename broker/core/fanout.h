/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_fanout: one message on its way to many sessions of a shard.
 *
 * A PUBLISH is encoded once per variant (version, with or without packet id, how the topic is said)
 * and then copied into each receiver's output with its first byte, packet id and topic alias set. A
 * large payload is not copied: the head is, and the payload is referenced.
 *
 * Where several subscriptions of one session match, the session gets one copy with the highest QoS
 * and all subscription identifiers [MQTT-3.3.4-2, -3, -4].
 *
 * Threads: the shard's; one fanout per shard, used again for each message.
 */

#include "broker/core/message.h"
#include "broker/core/parcel.h"
#include "broker/core/subscriptions.h"
#include "proto/mqtt/packet.h"

typedef struct gv_fanout_variant {
    uint8_t *bytes;
    size_t size; /* head, and payload if that is inline */
    size_t capacity;
    size_t id_offset;
    size_t alias_offset;
} gv_fanout_variant_t;

/* How a receiver is told the topic. */
typedef enum gv_fanout_topic {
    GV_FANOUT_TOPIC,           /* as it is */
    GV_FANOUT_TOPIC_AND_ALIAS, /* with the alias that will stand for it */
    GV_FANOUT_ALIAS,           /* by its alias alone */
} gv_fanout_topic_t;

/* What decides which variant a receiver gets. */
typedef struct gv_fanout_form {
    gv_mqtt_version_t version;
    gv_fanout_topic_t topic; /* before v5 it is as it is */
    bool has_id;             /* QoS > 0 */
    const uint32_t *ids;     /* subscription identifiers */
    size_t id_count;
} gv_fanout_form_t;

#define GV_FANOUT_VARIANTS 8 /* v3 and v5 with three ways to say the topic; with and without id */

/* A session that matched more than once. */
typedef struct gv_fanout_target {
    gv_session_t *session;
    uint32_t first_id; /* in ids */
    uint32_t id_count;
    uint8_t qos;
    bool retain_as_published;
} gv_fanout_target_t;

/* A subscription identifier and the target it is for. */
typedef struct gv_fanout_pair {
    uint32_t target;
    uint32_t id;
} gv_fanout_pair_t;

typedef struct gv_fanout {
    gv_publish_t *publish;
    uint32_t expiry_s;
    bool has_expiry;
    bool is_shared;            /* the payload goes by reference */
    bool has_congested;        /* some receiver is behind; set by who delivers */
    bool is_journaled;         /* some receiver is persistent: it is in the journal */
    bool has_refused;          /* there was no room for some receiver: on the disk, or in memory */
    bool is_lent;              /* the receiver has it by the ticket's loan, which it will answer */
    bool is_passed_on;         /* another shard has it together with the journal's open part */
    bool is_joined;            /* nobody refuses it: the store takes it for all, or for none */
    bool is_replay;            /* a retained message, for somebody who has just subscribed */
    uint32_t given_on;         /* to groups whose member here has just left; each confirms */
    const gv_ticket_t *ticket; /* who waits for it, or NULL; set by who delivers */
    uint32_t journal_stamp;    /* the journal's part it is in, and as which of its messages */
    uint32_t journal_body;
    uint64_t topic_hash; /* 0: nobody has asked for it */
    uint32_t made;       /* a bit for each variant: it is this message's */
    gv_fanout_variant_t variants[GV_FANOUT_VARIANTS];
    gv_fanout_variant_t odd; /* with subscription identifiers: made for one receiver */
    /* collecting */
    gv_fanout_target_t *targets;
    uint32_t target_count;
    uint32_t target_capacity;
    gv_fanout_pair_t *pairs; /* in the order collected */
    uint32_t pair_count;
    uint32_t pair_capacity;
    uint32_t *ids; /* the same, by target; as long as pairs */
    uint32_t turn;
} gv_fanout_t;

void gv_fanout_deinit(gv_fanout_t *fanout);

/* Begins with a message; it must stay until the next begin.  now_ms: for its expiry. */
void gv_fanout_begin(gv_fanout_t *fanout, gv_publish_t *publish, uint64_t now_ms);

/* Which of the variants this is, if it is without subscription identifiers. */
static inline size_t gv__fanout_index(const gv_fanout_form_t *form)
{
    size_t manner = form->version >= GV_MQTT_V5 ? 1 + (size_t)form->topic : 0;
    return manner * 2 + (form->has_id ? 1 : 0);
}

/* The slow half of the function below. */
const gv_fanout_variant_t *gv__fanout_make(gv_fanout_t *fanout, const gv_fanout_form_t *form);

/*
 * The bytes for one receiver.  Gives the variant, whose bytes the caller patches
 * (gv_fanout_patch()) and copies; NULL when the packet would be larger than MQTT allows or memory
 * is short.
 */
static inline const gv_fanout_variant_t *gv_fanout_encode(gv_fanout_t *fanout,
                                                          const gv_fanout_form_t *form)
{
    size_t index = gv__fanout_index(form);
    bool is_made = (fanout->made >> index & 1) != 0;
    if (is_made && (form->id_count == 0 || form->version < GV_MQTT_V5)) {
        return &fanout->variants[index];
    }
    return gv__fanout_make(fanout, form);
}

/* The hash of the message's topic, computed once a message. */
static inline uint64_t gv_fanout_topic_hash(gv_fanout_t *fanout, uint64_t seed)
{
    if (fanout->topic_hash == 0) {
        fanout->topic_hash = gv_bytes_hash(fanout->publish->topic, seed);
    }
    return fanout->topic_hash;
}

/* Sets the bits of the first byte, the packet id and, in a variant that has one, the alias. */
static inline void gv_fanout_patch(const gv_fanout_variant_t *variant, uint8_t qos, bool retain,
                                   bool dup, uint16_t packet_id, uint16_t alias)
{
    variant->bytes[0] =
        (uint8_t)(GV_MQTT_PUBLISH << 4 | (dup ? 8 : 0) | qos << 1 | (retain ? 1 : 0));
    if (qos > 0) {
        variant->bytes[variant->id_offset] = (uint8_t)(packet_id >> 8);
        variant->bytes[variant->id_offset + 1] = (uint8_t)packet_id;
    }
    if (alias > 0) {
        variant->bytes[variant->alias_offset] = (uint8_t)(alias >> 8);
        variant->bytes[variant->alias_offset + 1] = (uint8_t)alias;
    }
}

/* Collecting the sessions that match: begin, add each subscription, end, then walk targets. */
void gv_fanout_collect_begin(gv_fanout_t *fanout);
void gv_fanout_collect(gv_fanout_t *fanout, const gv_subscription_t *subscription);
void gv_fanout_collect_end(gv_fanout_t *fanout);

/* The subscription identifiers of a collected target, in the order of their adding. */
static inline const uint32_t *gv_fanout_ids(const gv_fanout_t *fanout,
                                            const gv_fanout_target_t *target)
{
    return target->id_count == 0 ? NULL : fanout->ids + target->first_id;
}
