/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * WebSocket frames, server side (RFC 6455, chapter 5): the payload of binary messages out of a
 * client's bytes, whatever way it is cut into frames, and the headers of our own frames.
 *
 * MQTT uses WebSocket as a stream of bytes [MQTT-6.0.0-1, -2]: borders of frames and messages mean
 * nothing, so payload is handed on piece by piece and no frame is ever held as a whole.
 *
 * Written by hand although there is libwslay: wslay reads through callbacks into a buffer of 4 KiB
 * of its own per connection, and leaves the rules that make up most of this file (masks, message
 * borders, close codes) to its event layer, which allocates a whole message before it shows it.
 *
 * Threads: a decoder is its owner's.  Memory: 160 bytes, nothing is allocated.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/defs.h"
#include "base/err.h"

typedef enum gv_ws_opcode {
    GV_WS_CONTINUATION = 0x0,
    GV_WS_TEXT = 0x1,
    GV_WS_BINARY = 0x2,
    GV_WS_CLOSE = 0x8,
    GV_WS_PING = 0x9,
    GV_WS_PONG = 0xa,
} gv_ws_opcode_t;

typedef enum gv_ws_code {
    GV_WS_NORMAL = 1000,
    GV_WS_PROTOCOL_ERROR = 1002,
    GV_WS_UNSUPPORTED_DATA = 1003,
    GV_WS_NO_CODE = 1005, /* never on the wire */
    GV_WS_TOO_BIG = 1009,
} gv_ws_code_t;

/* The largest payload of pings, pongs and closes. */
#define GV_WS_CONTROL_MAX ((size_t)125)

/* The largest frame that is accepted: the largest MQTT packet. */
#define GV_WS_FRAME_MAX ((uint64_t)268435460)

/* ---- receiving ------------------------------------------------------------------------------ */

/* All zero is the beginning of a connection.  Public only so that owners can embed it. */
typedef struct gv_ws_decoder {
    uint64_t _left; /* payload of this frame that has not come */
    uint8_t _header[14];
    uint8_t _header_size; /* how much of it has come */
    uint8_t _opcode;
    uint8_t _mask_pos;
    uint8_t _control_size;
    bool _is_in_frame;   /* its header is complete */
    bool _is_in_message; /* more frames of it have to come */
    bool _has_ended;
    uint8_t _mask[4];
    uint8_t _control[GV_WS_CONTROL_MAX];
} gv_ws_decoder_t;

typedef struct gv_ws_event {
    gv_ws_opcode_t opcode; /* GV_WS_BINARY: payload; GV_WS_PING; GV_WS_CLOSE */
    gv_bytes_t bytes;      /* BINARY: in the caller's room; PING: what the pong has to repeat */
    uint16_t code;         /* CLOSE: the peer's, or GV_WS_NO_CODE; after an error: ours */
} gv_ws_event_t;

/*
 * Takes bytes off the front of *input until there is something to tell.
 *
 * GV_OK: *out is set; a ping's bytes are valid until the next call.  GV_ERR_AGAIN: the input is
 * used up.  GV_ERR_MALFORMED: close with out->code: 1002 for a broken rule (unmasked, reserved bits
 * or opcodes, a length not in its shortest form, control frames that are long or in pieces, a
 * continuation of nothing), 1003 for text, 1009 for a frame beyond GV_WS_FRAME_MAX.
 * GV_ERR_CLOSED: after an error or a close, which end it.
 */
GV_MUST_USE gv_err_t gv_ws_decode(gv_ws_decoder_t *decoder, gv_bytes_t *input, void *room,
                                  size_t room_size, gv_ws_event_t *out);

/* ---- sending -------------------------------------------------------------------------------- */

/* The longest header that we write. */
#define GV_WS_HEADER_MAX ((size_t)10)

/* The header of a whole, unmasked frame with `size` bytes behind it. */
void gv_ws_write_header(gv_writer_t *w, gv_ws_opcode_t opcode, uint64_t size);

/* A whole close frame; without a code for GV_WS_NO_CODE.  At most 4 bytes. */
void gv_ws_write_close(gv_writer_t *w, uint16_t code);
