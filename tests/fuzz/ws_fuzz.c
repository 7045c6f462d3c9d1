/* SPDX-License-Identifier: Apache-2.0 */

/*
 * WebSocket, server side: the request, and the frames.  The first byte chooses which, and how the
 * rest is cut.  What the decoder of frames tells must not depend on where the bytes were cut or how
 * much room it had.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/ws/frame.h"
#include "proto/ws/handshake.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_request(gv_bytes_t input)
{
    gv_ws_request_t whole;
    gv_err_t err = gv_ws_request_read(input, GV_BYTES_LITERAL("/mqtt"), &whole);
    if (err == GV_OK &&
        (whole.size > input.size || whole.key.size != GV_WS_KEY_SIZE || whole.protocol.size == 0)) {
        abort();
    }
    if (err == GV_ERR_MALFORMED && whole.status < 400) {
        abort();
    }
    for (size_t cut = 0; cut < input.size; cut++) {
        gv_ws_request_t part;
        gv_err_t early =
            gv_ws_request_read(gv_bytes(input.data, cut), GV_BYTES_LITERAL("/mqtt"), &part);
        if (early != GV_ERR_AGAIN && (early != err || part.status != whole.status)) {
            abort();
        }
    }
}

/* A sum over all that is told, in order. */
static uint32_t decode(gv_bytes_t input, size_t piece_max, size_t room_size)
{
    gv_ws_decoder_t decoder = {._left = 0};
    uint32_t sum = 0;
    gv_err_t err = GV_ERR_AGAIN;
    while (input.size > 0 && err == GV_ERR_AGAIN) {
        size_t size = input.size < piece_max ? input.size : piece_max;
        gv_bytes_t piece = gv_bytes(input.data, size);
        input = gv_bytes(input.data + size, input.size - size);
        uint8_t room[64];
        gv_ws_event_t event;
        while ((err = gv_ws_decode(&decoder, &piece, room, room_size, &event)) == GV_OK) {
            sum = gv_crc32c(sum, event.bytes);
            if (event.opcode != GV_WS_BINARY) {
                uint8_t note[3] = {(uint8_t)event.opcode, (uint8_t)(event.code >> 8),
                                   (uint8_t)event.code};
                sum = gv_crc32c(sum, gv_bytes(note, sizeof(note)));
            }
        }
        if (err == GV_ERR_MALFORMED) {
            sum ^= event.code;
        }
    }
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }
    gv_bytes_t input = gv_bytes(data + 1, size - 1);
    if (data[0] == 0) {
        read_request(input);
        return 0;
    }
    if (decode(input, data[0], 1 + data[0] % 64) != decode(input, SIZE_MAX, 64)) {
        abort();
    }
    return 0;
}
