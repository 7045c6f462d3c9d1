/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Shared by the files of proto/mqtt, and nobody else's. */

#include "proto/mqtt/packet.h"

/* ---- results of decoding ------------------------------------------------------------------ */

static inline gv_err_t gv__mqtt_malformed(gv_mqtt_reason_t *reason)
{
    *reason = GV_MQTT_MALFORMED_PACKET;
    return GV_ERR_MALFORMED;
}

static inline gv_err_t gv__mqtt_protocol_error(gv_mqtt_reason_t *reason, gv_mqtt_reason_t code)
{
    *reason = code;
    return GV_ERR_PROTOCOL;
}

/* ---- strings and binary data: bytes behind their 16-bit length ---------------------------- */

static inline gv_bytes_t gv__mqtt_take_sized(gv_reader_t *r)
{
    uint16_t size = gv_reader_u16(r);
    return gv_reader_take(r, size);
}

static inline void gv__mqtt_put_sized(gv_writer_t *w, gv_bytes_t bytes)
{
    GV_ASSERT(bytes.size <= UINT16_MAX);
    gv_writer_u16(w, (uint16_t)bytes.size);
    gv_writer_put(w, bytes);
}

/* ---- tables ------------------------------------------------------------------------------- */

/* A set of packet types is a mask of these; the will inside CONNECT counts as type 0. */
#define PLACE(type) ((uint16_t)(1u << (type)))

/*
 * May this packet carry this code, sent by a server or by a client?  ([MQTT-3.2.2-8],
 * [MQTT-3.4.2-1], [MQTT-3.9.3-2], [MQTT-3.14.2-1] ...: one table of the standard per packet.)
 */
GV_MUST_USE bool gv__mqtt_reason_fits(uint8_t reason, gv_mqtt_type_t type, bool from_server);

/*
 * Size and writing of a block of which only the properties in `mask` are taken; the bit of the user
 * property stands for props->appended.  gv_mqtt_props_size() is this with all bits set.
 */
size_t gv__mqtt_props_size(const gv_mqtt_props_t *props, uint64_t mask);
void gv__mqtt_props_write(const gv_mqtt_props_t *props, uint64_t mask, gv_writer_t *w);
