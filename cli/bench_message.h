/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The messages of `grapevine bench`.  A publisher's PUBLISH is encoded once; for each message the
 * packet is copied and the few bytes that differ are set.  The other side finds them without
 * looking at more of the packet than it has to.
 *
 * Every payload begins with a stamp, in big endian:
 *
 *     4 bytes  the publisher       its number in the plan
 *     4 bytes  the number          of the message, from 0 for each publisher
 *     8 bytes  the time            [ns], when it was sent or should have been
 *
 * Threads: any.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "proto/mqtt/packet.h"

#define GV_BENCH_STAMP_SIZE 16

typedef struct gv_bench_stamp {
    uint32_t publisher;
    uint32_t number;
    uint64_t sent_ns;
} gv_bench_stamp_t;

/* ---- sending ------------------------------------------------------------------------------ */

/* A whole PUBLISH, and where in it the packet id (0: none) and the stamp stand. */
typedef struct gv_bench_message {
    uint8_t *packet;
    size_t size;
    size_t packet_id_offset;
    size_t stamp_offset;
} gv_bench_message_t;

/* payload_size at least GV_BENCH_STAMP_SIZE; the bytes behind the stamp are the letter x. */
void gv_bench_message_init(gv_bench_message_t *message, gv_mqtt_version_t version, gv_bytes_t topic,
                           uint8_t qos, size_t payload_size);
void gv_bench_message_deinit(gv_bench_message_t *message);

static inline void gv__bench_put_u32(uint8_t *room, uint32_t value)
{
    uint32_t big = __builtin_bswap32(value);
    memcpy(room, &big, sizeof(big));
}

static inline uint32_t gv__bench_get_u32(const uint8_t *bytes)
{
    uint32_t big;
    memcpy(&big, bytes, sizeof(big));
    return __builtin_bswap32(big);
}

/* Writes the packet to `room`, which has message->size bytes. */
static inline void gv_bench_message_write(const gv_bench_message_t *message, uint8_t *room,
                                          uint16_t packet_id, const gv_bench_stamp_t *stamp)
{
    memcpy(room, message->packet, message->size);
    if (message->packet_id_offset > 0) {
        gv_mqtt_publish_patch(room, message->packet_id_offset, packet_id, false);
    }
    uint8_t *at = room + message->stamp_offset;
    gv__bench_put_u32(at, stamp->publisher);
    gv__bench_put_u32(at + 4, stamp->number);
    gv__bench_put_u32(at + 8, (uint32_t)(stamp->sent_ns >> 32));
    gv__bench_put_u32(at + 12, (uint32_t)stamp->sent_ns);
}

/* ---- receiving ---------------------------------------------------------------------------- */

/*
 * Reads packet id (0 at QoS 0) and stamp of a received PUBLISH.  GV_OK; GV_ERR_MALFORMED; or
 * GV_ERR_NOENT: a message without a stamp, the packet id is good.
 *
 * Not gv_mqtt_decode_publish(), which checks topic and properties, because the generator must be
 * cheaper than what it measures.
 */
GV_MUST_USE gv_err_t gv_bench_message_read(const gv_mqtt_frame_t *frame, gv_mqtt_version_t version,
                                           uint16_t *packet_id_out, gv_bench_stamp_t *stamp_out);
