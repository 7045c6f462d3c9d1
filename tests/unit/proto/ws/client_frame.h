/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Frames as clients send them: masked, and wrong if a test wants that. */

#include "proto/ws/frame.h"

typedef struct client_frame {
    uint8_t first;  /* final and reserved bits, opcode */
    uint8_t width;  /* of the length field: 0 (in the second byte), 2, 8; 1: the shortest */
    bool is_naked;  /* not masked */
    uint64_t claim; /* the length to write; 0: the payload's */
    gv_bytes_t payload;
} client_frame_t;

static inline void write_client_frame(gv_writer_t *w, client_frame_t frame)
{
    static const uint8_t mask[4] = {0x5a, 0x00, 0xff, 0x13};
    uint64_t size = frame.claim != 0 ? frame.claim : frame.payload.size;
    uint8_t masked = frame.is_naked ? 0 : 0x80;
    uint8_t width = frame.width;
    if (width == 1) {
        width = size < 126 ? 0 : size <= UINT16_MAX ? 2 : 8;
    }
    gv_writer_u8(w, frame.first);
    if (width == 0) {
        gv_writer_u8(w, (uint8_t)(masked | size));
    } else if (width == 2) {
        gv_writer_u8(w, masked | 126);
        gv_writer_u16(w, (uint16_t)size);
    } else {
        gv_writer_u8(w, masked | 127);
        gv_writer_u64(w, size);
    }
    if (frame.is_naked) {
        gv_writer_put(w, frame.payload);
        return;
    }
    gv_writer_put(w, gv_bytes(mask, sizeof(mask)));
    for (size_t i = 0; i < frame.payload.size; i++) {
        gv_writer_u8(w, frame.payload.data[i] ^ mask[i % 4]);
    }
}

/* A proper frame. */
static inline void write_proper_frame(gv_writer_t *w, bool is_final, gv_ws_opcode_t opcode,
                                      gv_bytes_t payload)
{
    write_client_frame(w, (client_frame_t){.first = (uint8_t)((is_final ? 0x80 : 0) | opcode),
                                           .width = 1,
                                           .payload = payload});
}
