/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Variable byte integers (5.0 section 1.5.5): seven bits a byte, low end first, four bytes at most.
 */

#include "base/bytes.h"

/* Largest value of four bytes; also the longest remaining length. */
#define GV_MQTT_VARINT_MAX 268435455u

/* Bytes that `value` takes.  value <= GV_MQTT_VARINT_MAX. */
static inline size_t gv_mqtt_varint_size(uint32_t value)
{
    return value < 128 ? 1 : value < 16384 ? 2 : value < 2097152 ? 3 : 4;
}

static inline void gv_mqtt_varint_write(gv_writer_t *w, uint32_t value)
{
    GV_ASSERT(value <= GV_MQTT_VARINT_MAX);
    while (value >= 128) {
        gv_writer_u8(w, (uint8_t)(value | 0x80));
        value >>= 7;
    }
    gv_writer_u8(w, (uint8_t)value);
}

/*
 * A fifth byte, a missing byte and an encoding longer than necessary [MQTT-1.5.5-1] all fail the
 * reader, and the value is 0.
 */
static inline uint32_t gv_mqtt_varint_read(gv_reader_t *r)
{
    uint32_t value = 0;
    for (uint32_t shift = 0; shift < 28; shift += 7) {
        uint8_t byte = gv_reader_u8(r);
        value |= (uint32_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            if (byte == 0 && shift > 0) {
                break;
            }
            return value;
        }
    }
    r->failed = true;
    return 0;
}
