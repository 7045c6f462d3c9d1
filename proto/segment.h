/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A segment of the message log: what one shard has made durable in one go.
 *
 *      0         4     8        16           20          24            28       32
 *      +---------+-----+--------+------------+-----------+-------------+--------+---------
 *      | version | crc | number | items_size | body_count| bodies_size | latest | items
 *      +---------+-----+--------+------------+-----------+-------------+--------+---------
 *      ... items, then body_count times { offset u32, size u32, crc u32 }, then the bodies
 *
 * The head (everything before the bodies) is what a node reads when it starts: who waits for what,
 * and what has been acknowledged.  The bodies are read when a client comes for them.  The head has
 * one CRC-32C, each body its own.  A message stands in a segment once, however many sessions wait
 * for it.
 *
 * A body may stand apart, in the table `payloads` (storage/payload_store.h), where segments of
 * several shards refer to it.  Its entry is { number's high half, 1 << 31 | size, number's low half
 * }.
 *
 * Items:
 *   delivery  session S is to get body B as its message number N.  A session's numbers rise by one
 *             with each QoS > 0 message, and the packet id is N % 65535 + 1: so the id that a
 *             message was sent with before a crash is known after it.
 *   mark      where session S stands: everything below `low` is done, from there on two bits per
 *             number.  The newest mark of a session is the one that counts.
 *
 * Written by hand and not in protobuf because deliveries are written millions of times a second and
 * are read in place.  Integers are big-endian.  `version` changes when an older program would
 * misread it; version 1 had no bodies that stand apart.
 *
 * Threads: plain functions.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/defs.h"
#include "base/err.h"

#define GV_SEGMENT_VERSION    2
#define GV_SEGMENT_HEAD_SIZE  32U /* before the items [bytes] */
#define GV_SEGMENT_BODY_ENTRY 12U /* in the table of bodies [bytes] */

/* Items and bodies of a segment are below this, so that an offset has 24 bits [bytes]. */
#define GV_SEGMENT_ITEMS_MAX ((size_t)1 << 24)

/* ---- items ---- */

typedef enum gv_segment_kind {
    GV_SEGMENT_DELIVERY = 1,
    GV_SEGMENT_MARK = 2,
} gv_segment_kind_t;

/* How far a message of a mark has come. */
typedef enum gv_segment_state {
    GV_SEGMENT_OPEN = 0,     /* not acknowledged */
    GV_SEGMENT_RECEIVED = 1, /* QoS 2: PUBREC has come, PUBCOMP has not */
    GV_SEGMENT_DONE = 2,
} gv_segment_state_t;

typedef struct gv_segment_delivery {
    uint64_t session; /* its uid */
    uint64_t number;
    uint32_t body;      /* index in the table of bodies */
    uint32_t expires_s; /* real time, rounded up; 0: never */
    uint8_t qos;        /* 1 or 2 */
    bool retain;        /* as the subscriber is to see it */
    bool is_connected;  /* the client was there: it may have been sent at once */
    gv_bytes_t share;   /* "$share/group/filter" it came by, or empty */
    gv_bytes_t ids;     /* subscription identifiers; see gv_segment_id() */
} gv_segment_delivery_t;

typedef struct gv_segment_mark {
    uint64_t session;
    uint64_t low;      /* all numbers below are done */
    uint64_t sent;     /* all numbers from here on have never been sent ... */
    bool is_connected; /* ... unless the client was there, and may have got more since */
    uint32_t count;    /* of states, for low, low + 1, ... */
    gv_bytes_t states; /* packed; see gv_segment_state_at() */
} gv_segment_mark_t;

typedef struct gv_segment_item {
    gv_segment_kind_t kind;
    uint32_t offset; /* from the first item [bytes] */
    union {
        gv_segment_delivery_t delivery;
        gv_segment_mark_t mark;
    };
} gv_segment_item_t;

/* Bytes of a delivery with so much extra. */
static inline size_t gv_segment_delivery_size(size_t id_count, size_t share_size)
{
    return 28 + id_count * 4 + share_size + (share_size > 0 ? 2 : 0);
}

/* Appends a delivery; the ids are given apart, as numbers.  At most 16000 of them. */
void gv_segment_put_delivery(gv_writer_t *w, const gv_segment_delivery_t *delivery,
                             const uint32_t *ids, size_t id_count);

static inline size_t gv_segment_mark_size(uint32_t count)
{
    return 32 + ((size_t)count + 3) / 4;
}

/* Appends a mark whose states are all OPEN, and gives the place of its states. */
uint8_t *gv_segment_put_mark(gv_writer_t *w, const gv_segment_mark_t *mark);

static inline void gv_segment_set_state(uint8_t *states, uint32_t index, gv_segment_state_t state)
{
    states[index / 4] = (uint8_t)(states[index / 4] | (unsigned)state << (index % 4 * 2));
}

/* OPEN again. */
static inline void gv_segment_clear_state(uint8_t *states, uint32_t index)
{
    states[index / 4] = (uint8_t)(states[index / 4] & ~(3U << (index % 4 * 2)));
}

static inline gv_segment_state_t gv_segment_state_at(const gv_segment_mark_t *mark, uint32_t index)
{
    return (gv_segment_state_t)(mark->states.data[index / 4] >> (index % 4 * 2) & 3);
}

/* How many identifiers a delivery has, and one of them. */
static inline size_t gv_segment_id_count(const gv_segment_delivery_t *delivery)
{
    return delivery->ids.size / 4;
}
uint32_t gv_segment_id(const gv_segment_delivery_t *delivery, size_t index);

/* The body index of a delivery that starts at `item`: one that was put and not read. */
uint32_t gv_segment_body_of(const uint8_t *item);

/* ---- bodies ---- */

/* A message as it waits. */
typedef struct gv_segment_message {
    gv_bytes_t topic;
    gv_bytes_t props; /* travelling properties, encoded */
    gv_bytes_t payload;
    uint64_t expires_at_ms; /* real time; 0: never */
    uint8_t qos;            /* as published, like retain */
    bool retain;
} gv_segment_message_t;

/* Before its texts: topic_size u16, props_size u32, expires_at_ms u64, qos and retain u8 [bytes].
 */
#define GV_SEGMENT_BODY_FIXED 15U

/* Bytes of a body, and writing one; reading what was written: GV_OK or GV_ERR_CORRUPT. */
static inline size_t gv_segment_body_size(const gv_segment_message_t *message)
{
    return GV_SEGMENT_BODY_FIXED + message->topic.size + message->props.size +
           message->payload.size;
}
void gv_segment_put_body(gv_writer_t *w, const gv_segment_message_t *message);
GV_MUST_USE gv_err_t gv_segment_read_body(gv_bytes_t body, gv_segment_message_t *message_out);

/* ---- a whole segment ---- */

typedef struct gv_segment_parts {
    uint64_t number;
    uint32_t latest_s;     /* when the last delivery will have expired, real time; 0: never */
    gv_bytes_t items;      /* as put */
    gv_bytes_t bodies;     /* as put, one behind the other */
    uint32_t body_count;   /* of these ... */
    const uint32_t *ends;  /* ... where each ends in `bodies` */
    const bool *wanted;    /* false: left out, nobody waits for it any more */
    const uint64_t *apart; /* its number in the table `payloads`, 0: it is here; NULL: all are */
} gv_segment_parts_t;

/* The size of the image, and the image: `image` has that many bytes. */
size_t gv_segment_size(const gv_segment_parts_t *parts);
void gv_segment_write(uint8_t *image, const gv_segment_parts_t *parts);

typedef struct gv_segment_view {
    uint64_t number;
    uint32_t latest_s;
    uint32_t body_count;
    gv_bytes_t items;
    gv_bytes_t table;
    gv_bytes_t bodies;
} gv_segment_view_t;

/*
 * Checks the head and gives views into the image; touches no body.  `number` is the one in its key.
 * GV_ERR_CORRUPT, or GV_ERR_VERSION for a version we do not know.
 */
GV_MUST_USE gv_err_t gv_segment_open(gv_bytes_t image, uint64_t number,
                                     gv_segment_view_t *segment_out);

/* The same for an image that has been checked before, or that we have made. */
gv_segment_view_t gv_segment_view(gv_bytes_t image);

/*
 * The next item; start with *offset = 0.  False at the end, and when the items make no sense from
 * here on, which a good CRC rules out unless the writer was wrong.
 */
bool gv_segment_next(const gv_segment_view_t *segment, uint32_t *offset,
                     gv_segment_item_t *item_out);

/* The item at an offset that an item once had.  False: there is no such item. */
bool gv_segment_at(const gv_segment_view_t *segment, uint32_t offset, gv_segment_item_t *item_out);

/* How many bytes a body has; 0: it was left out. */
size_t gv_segment_body_bytes(const gv_segment_view_t *segment, uint32_t index);

/* Bytes of the topic, the properties and the payload of a body; 0: it was left out. */
size_t gv_segment_message_bytes(const gv_segment_view_t *segment, uint32_t index);

/* The number under which a body stands in the table `payloads`; 0: it stands here. */
uint64_t gv_segment_apart(const gv_segment_view_t *segment, uint32_t index);

/*
 * A body, checked, as it was put; and the same as a message.  GV_ERR_NOENT when it was left out or
 * stands apart, GV_ERR_CORRUPT.
 */
GV_MUST_USE gv_err_t gv_segment_checked_body(const gv_segment_view_t *segment, uint32_t index,
                                             gv_bytes_t *body_out);
GV_MUST_USE gv_err_t gv_segment_body(const gv_segment_view_t *segment, uint32_t index,
                                     gv_segment_message_t *message_out);
