/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The decoder of peer frames.  The first byte of the input decides how the rest is cut into pieces,
 * so that both ways through the decoder (in place, and gathered) are met.  Every frame that comes
 * out must give the bytes it was made of when it is written again.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/link.h"

#define BODY_MAX ((size_t)4096)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_round_trip(const gv_linkframe_t *frame)
{
    uint8_t bytes[GV_LINKFRAME_HEADER_BYTES + BODY_MAX];
    gv_writer_t w = gv_writer(bytes, sizeof(bytes));
    gv_linkframe_write(&w, frame->kind, frame->body);

    gv_linkframe_decoder_t again;
    gv_linkframe_decoder_init(&again, BODY_MAX);
    gv_bytes_t input = gv_bytes(bytes, sizeof(bytes) - gv_writer_left(&w));
    gv_linkframe_t copy;
    if (w.failed || gv_linkframe_decode(&again, &input, &copy) != GV_OK ||
        copy.kind != frame->kind || !gv_bytes_equal(copy.body, frame->body) || input.size != 0) {
        abort();
    }
    gv_linkframe_decoder_deinit(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    size_t piece_max = (size_t)data[0] + 1;
    gv_linkframe_decoder_t decoder;
    gv_linkframe_decoder_init(&decoder, BODY_MAX);

    gv_err_t err = GV_ERR_AGAIN;
    for (size_t pos = 1; pos < size && err == GV_ERR_AGAIN;) {
        size_t piece = piece_max < size - pos ? piece_max : size - pos;
        gv_bytes_t input = gv_bytes(data + pos, piece);
        pos += piece;
        gv_linkframe_t frame;
        while ((err = gv_linkframe_decode(&decoder, &input, &frame)) == GV_OK) {
            check_round_trip(&frame);
        }
        if (gv_linkframe_decoder_held(&decoder) > GV_LINKFRAME_HEADER_BYTES + BODY_MAX) {
            abort();
        }
    }
    gv_linkframe_decoder_deinit(&decoder);
    return 0;
}
