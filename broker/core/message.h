/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One application message on its way through the node.
 *
 * gv_publish_t is a view: topic, properties and payload may lie in a connection's read buffer, in a
 * parcel from another shard or in a shared buffer; it is valid during the call it is passed to.
 * Most messages are never more than that: they are copied once into each receiver's output buffer.
 *
 * Who wants to keep a message (a queue, an in-flight window, the retained table, a large payload
 * that several connections will send) calls gv_publish_keep(): the first caller makes one sealed
 * gv_msgbuf_t that holds everything, the later ones get a reference to the same.
 *
 * Threads: a view belongs to one thread; the kept buffer may be shared.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/msgbuf.h"

/* Payloads from this size on are shared by reference instead of copied [bytes]. */
#define GV_PAYLOAD_SHARED_MIN 4096U

typedef struct gv_publish {
    gv_bytes_t topic;
    gv_bytes_t
        props; /* the v5 properties that travel with a message, encoded, without their length */
    gv_bytes_t payload;
    gv_msgbuf_t *kept; /* the same message as a shared buffer, or NULL; a reference of the view's */
    uint64_t expires_at_ms;  /* on the monotonic clock; 0 is never */
    uint64_t publisher;      /* session uid, for No Local; 0 is nobody on this node */
    uint64_t payload_number; /* by which the shards that write it share it (log.h), or 0 */
    uint8_t qos;
    bool retain; /* as the publisher set it */
} gv_publish_t;

/* What a node says about itself: not for the disk, not for clients to publish. */
static inline bool gv_topic_is_own(gv_bytes_t topic)
{
    return topic.size > 0 && topic.data[0] == '$' &&
           gv_bytes_has_prefix(topic, GV_BYTES_LITERAL("$SYS")) &&
           (topic.size == 4 || topic.data[4] == '/'); /* "$SYS/#" matches "$SYS" too */
}

/* And not for other nodes: only what has the node's name in it makes sense there. */
static inline bool gv_topic_stays_here(gv_bytes_t topic)
{
    return gv_topic_is_own(topic) && !gv_bytes_has_prefix(topic, GV_BYTES_LITERAL("$SYS/brokers/"));
}

/*
 * A reference to the whole message as one buffer, made at the first call.
 * GV_ERR_NOMEM or GV_ERR_LIMIT: nothing is kept, *out is NULL.
 */
GV_MUST_USE gv_err_t gv_publish_keep(gv_publish_t *publish, gv_msgbuf_t **out);

/* A view of a kept message.  It borrows the caller's reference: no gv_publish_done() on it. */
gv_publish_t gv_publish_of(gv_msgbuf_t *kept);

/* Where the payload lies in the kept buffer [bytes from its start]. */
size_t gv_publish_payload_offset(const gv_publish_t *publish);

/* Drops the reference that gv_publish_keep() left in the view, if it did. */
void gv_publish_done(gv_publish_t *publish);
