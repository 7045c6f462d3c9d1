/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/ws/frame.h"

enum {
    BIT_FINAL = 0x80,
    BITS_RESERVED = 0x70,
    BITS_OPCODE = 0x0f,
    BIT_MASKED = 0x80,
    BITS_LENGTH = 0x7f,
    LENGTH_16 = 126, /* the length is in the next 2 bytes */
    LENGTH_64 = 127, /* in the next 8 */
    HEADER_MIN = 2,
    MASK_SIZE = 4
};

/* ---- receiving ------------------------------------------------------------------------------ */

static gv_err_t fail(gv_ws_decoder_t *decoder, gv_ws_event_t *out, gv_ws_code_t code)
{
    decoder->_has_ended = true;
    out->code = (uint16_t)code;
    return GV_ERR_MALFORMED;
}

static bool is_control(uint8_t opcode)
{
    return (opcode & 0x8) != 0;
}

/* How long the header is, as far as its first two bytes tell. */
static size_t header_size(const gv_ws_decoder_t *decoder)
{
    if (decoder->_header_size < HEADER_MIN) {
        return HEADER_MIN;
    }
    uint8_t length = decoder->_header[1] & BITS_LENGTH;
    size_t extended = length == LENGTH_16 ? 2 : length == LENGTH_64 ? 8 : 0;
    return HEADER_MIN + extended + MASK_SIZE;
}

/* What is wrong with the first two bytes, as soon as they are there; 0 if nothing is. */
static gv_ws_code_t check_start(const gv_ws_decoder_t *decoder)
{
    uint8_t opcode = decoder->_header[0] & BITS_OPCODE;
    bool is_final = (decoder->_header[0] & BIT_FINAL) != 0;
    uint8_t length = decoder->_header[1] & BITS_LENGTH;
    if ((decoder->_header[0] & BITS_RESERVED) != 0 || (decoder->_header[1] & BIT_MASKED) == 0) {
        return GV_WS_PROTOCOL_ERROR;
    }
    switch (opcode) {
    case GV_WS_CONTINUATION:
        return decoder->_is_in_message ? 0 : GV_WS_PROTOCOL_ERROR;
    case GV_WS_BINARY:
        return decoder->_is_in_message ? GV_WS_PROTOCOL_ERROR : 0;
    case GV_WS_TEXT:
        return decoder->_is_in_message ? GV_WS_PROTOCOL_ERROR : GV_WS_UNSUPPORTED_DATA;
    case GV_WS_CLOSE:
    case GV_WS_PING:
    case GV_WS_PONG:
        return is_final && length <= GV_WS_CONTROL_MAX ? 0 : GV_WS_PROTOCOL_ERROR;
    default:
        return GV_WS_PROTOCOL_ERROR;
    }
}

/* The header is complete.  Returns what is wrong with its length, or 0. */
static gv_ws_code_t begin_frame(gv_ws_decoder_t *decoder)
{
    gv_reader_t r = gv_reader(gv_bytes(decoder->_header, decoder->_header_size));
    uint8_t first = gv_reader_u8(&r);
    uint8_t length = gv_reader_u8(&r) & BITS_LENGTH;
    uint64_t size = length;
    uint64_t size_min = 0; /* that needs a field of this width */
    if (length == LENGTH_16) {
        size = gv_reader_u16(&r);
        size_min = LENGTH_16;
    } else if (length == LENGTH_64) {
        size = gv_reader_u64(&r);
        size_min = UINT16_MAX + 1;
    }
    if (size < size_min || size > INT64_MAX) {
        return GV_WS_PROTOCOL_ERROR;
    }
    if (size > GV_WS_FRAME_MAX) {
        return GV_WS_TOO_BIG;
    }
    memcpy(decoder->_mask, r.pos, MASK_SIZE);
    decoder->_mask_pos = 0;
    decoder->_left = size;
    decoder->_opcode = first & BITS_OPCODE;
    decoder->_control_size = 0;
    decoder->_is_in_frame = true;
    if (!is_control(decoder->_opcode)) {
        decoder->_is_in_message = (first & BIT_FINAL) == 0;
    }
    return 0;
}

/* Takes header bytes.  GV_ERR_AGAIN: it is not complete. */
static gv_err_t take_header(gv_ws_decoder_t *decoder, gv_bytes_t *input, gv_ws_event_t *out)
{
    gv_ws_code_t wrong = 0;
    while (decoder->_header_size < header_size(decoder)) {
        if (input->size == 0) {
            return GV_ERR_AGAIN;
        }
        decoder->_header[decoder->_header_size++] = input->data[0];
        *input = gv_bytes(input->data + 1, input->size - 1);
        if (decoder->_header_size == HEADER_MIN && (wrong = check_start(decoder)) != 0) {
            return fail(decoder, out, wrong);
        }
    }
    wrong = begin_frame(decoder);
    decoder->_header_size = 0;
    return wrong == 0 ? GV_OK : fail(decoder, out, wrong);
}

/* Takes payload off the input, unmasked, as much as there is and fits.  Returns how much. */
static size_t take_payload(gv_ws_decoder_t *decoder, gv_bytes_t *input, uint8_t *room, size_t size)
{
    size = input->size < size ? input->size : size;
    size = decoder->_left < size ? (size_t)decoder->_left : size;
    for (size_t i = 0; i < size; i++) {
        room[i] = input->data[i] ^ decoder->_mask[(decoder->_mask_pos + i) % MASK_SIZE];
    }
    decoder->_mask_pos = (uint8_t)((decoder->_mask_pos + size) % MASK_SIZE);
    decoder->_left -= size;
    decoder->_is_in_frame = decoder->_left > 0;
    if (size > 0) {
        *input = gv_bytes(input->data + size, input->size - size);
    }
    return size;
}

/* Codes that may be on the wire (RFC 6455, 7.4). */
static bool is_code_allowed(uint16_t code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
           (code >= 3000 && code <= 4999);
}

static gv_err_t on_close(gv_ws_decoder_t *decoder, gv_ws_event_t *out)
{
    gv_reader_t r = gv_reader(gv_bytes(decoder->_control, decoder->_control_size));
    out->code = GV_WS_NO_CODE;
    if (decoder->_control_size > 0) {
        out->code = gv_reader_u16(&r);
        if (r.failed || !is_code_allowed(out->code)) {
            return fail(decoder, out, GV_WS_PROTOCOL_ERROR);
        }
    }
    decoder->_has_ended = true;
    out->opcode = GV_WS_CLOSE;
    return GV_OK;
}

/* Payload of a control frame.  GV_ERR_AGAIN: there is nothing to tell, yet or at all. */
static gv_err_t take_control(gv_ws_decoder_t *decoder, gv_bytes_t *input, gv_ws_event_t *out)
{
    size_t room_size = sizeof(decoder->_control) - decoder->_control_size;
    size_t size =
        take_payload(decoder, input, decoder->_control + decoder->_control_size, room_size);
    decoder->_control_size += (uint8_t)size;
    if (decoder->_is_in_frame || decoder->_opcode == GV_WS_PONG) {
        return GV_ERR_AGAIN;
    }
    if (decoder->_opcode == GV_WS_CLOSE) {
        return on_close(decoder, out);
    }
    out->opcode = GV_WS_PING;
    out->bytes = gv_bytes(decoder->_control, decoder->_control_size);
    return GV_OK;
}

static gv_err_t take_data(gv_ws_decoder_t *decoder, gv_bytes_t *input, void *room, size_t room_size,
                          gv_ws_event_t *out)
{
    size_t size = take_payload(decoder, input, room, room_size);
    out->opcode = GV_WS_BINARY;
    out->bytes = gv_bytes(room, size);
    return size > 0 ? GV_OK : GV_ERR_AGAIN;
}

gv_err_t gv_ws_decode(gv_ws_decoder_t *decoder, gv_bytes_t *input, void *room, size_t room_size,
                      gv_ws_event_t *out)
{
    GV_ASSERT(room_size > 0);
    *out = (gv_ws_event_t){.opcode = GV_WS_BINARY};
    if (decoder->_has_ended) {
        return GV_ERR_CLOSED;
    }
    for (;;) {
        gv_err_t err = decoder->_is_in_frame ? GV_OK : take_header(decoder, input, out);
        if (err != GV_OK) {
            return err;
        }
        err = is_control(decoder->_opcode) ? take_control(decoder, input, out)
                                           : take_data(decoder, input, room, room_size, out);
        /* A frame that is complete and has told nothing: an empty one, or a pong.  Go on. */
        if (err != GV_ERR_AGAIN || decoder->_is_in_frame) {
            return err;
        }
    }
}

/* ---- sending -------------------------------------------------------------------------------- */

void gv_ws_write_header(gv_writer_t *w, gv_ws_opcode_t opcode, uint64_t size)
{
    gv_writer_u8(w, (uint8_t)(BIT_FINAL | opcode));
    if (size < LENGTH_16) {
        gv_writer_u8(w, (uint8_t)size);
    } else if (size <= UINT16_MAX) {
        gv_writer_u8(w, LENGTH_16);
        gv_writer_u16(w, (uint16_t)size);
    } else {
        gv_writer_u8(w, LENGTH_64);
        gv_writer_u64(w, size);
    }
}

void gv_ws_write_close(gv_writer_t *w, uint16_t code)
{
    gv_ws_write_header(w, GV_WS_CLOSE, code == GV_WS_NO_CODE ? 0 : 2);
    if (code != GV_WS_NO_CODE) {
        gv_writer_u16(w, code);
    }
}
