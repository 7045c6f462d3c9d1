/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The frame of a peer link: what cuts the TCP stream between two nodes into messages.
 *
 *      0       4         5      6       8        12
 *      +-------+---------+------+-------+--------+----------------
 *      | size  | version | kind | flags | crc32c | body: size bytes
 *      +-------+---------+------+-------+--------+----------------
 *
 * Integers are big-endian.  `size` counts the body only.  The CRC-32C covers the first eight bytes
 * and the body: TCP's own sum has 16 bits and lets one damaged segment in 65 536 through, and a
 * route table must not learn from it.  `version` belongs to this header alone; what the bodies mean
 * is negotiated in the hello (cluster/core/handshake.h), so this byte changes almost never; what
 * the kinds mean stands in cluster/core/frame_kind.h. `flags` are zero for now and refused
 * otherwise, so that a later meaning is never ignored.
 *
 * The size is checked against the receiver's limit before anything is allocated, and memory for a
 * frame grows with the bytes that came, not with the bytes that were announced.
 *
 * Threads: plain values of one owner.  Memory: a decoder holds at most one unfinished frame.
 */

#include <stdint.h>

#include "base/bytes.h"
#include "base/defs.h"
#include "base/err.h"

#define GV_LINKFRAME_HEADER_BYTES ((size_t)12)
#define GV_LINKFRAME_VERSION      1

/* The largest body the format can hold; each receiver has a limit of its own, usually far lower. */
#define GV_LINKFRAME_BODY_MAX ((size_t)UINT32_MAX)

typedef struct gv_linkframe {
    uint8_t kind; /* gv_frame_kind_t (cluster/core), or one we do not know: the receiver decides */
    gv_bytes_t body;
} gv_linkframe_t;

/* ---- writing ------------------------------------------------------------------------------ */

/*
 * Writes the header of a frame whose body is the concatenation of `parts`.  The parts stay where
 * they are, so that a payload is sent without being copied.  Together they must not be larger than
 * GV_LINKFRAME_BODY_MAX.
 */
void gv_linkframe_header(uint8_t header_out[GV_LINKFRAME_HEADER_BYTES], uint8_t kind,
                         const gv_bytes_t *parts, size_t part_count);

/* A whole frame, header and body; the writer's sticky error tells when it did not fit. */
void gv_linkframe_write(gv_writer_t *writer, uint8_t kind, gv_bytes_t body);

/* ---- reading ------------------------------------------------------------------------------ */

/* Public only so that owners can embed it.  Names that start with _ are not for callers. */
typedef struct gv_linkframe_decoder {
    size_t _body_max; /* [bytes] */
    uint8_t *_held;   /* the front of a frame that is not complete yet, or the one given out last */
    size_t _held_size;
    size_t _held_capacity;
    bool _given_out; /* the frame in _held was returned: forget it at the next call */
    gv_err_t _err;   /* sticky */
} gv_linkframe_decoder_t;

void gv_linkframe_decoder_init(gv_linkframe_decoder_t *decoder, size_t body_max);
void gv_linkframe_decoder_deinit(gv_linkframe_decoder_t *decoder);

/*
 * Another limit for the frames that begin from now on: small until the peer has proved itself,
 * large afterwards.  Must not be called while a frame is half read (after a frame was returned is
 * the right moment).
 */
void gv_linkframe_decoder_limit(gv_linkframe_decoder_t *decoder, size_t body_max);

/*
 * Takes the next frame off the front of *input and moves the view past the bytes used.
 *
 * GV_OK: *frame_out is a frame whose checksum is right.  Its body points into the input or into the
 * decoder and is valid until the next call with this decoder, or the end of the input's life.
 * GV_ERR_AGAIN: the input is used up and the next frame is not complete; what came is kept.
 *
 * Errors are final, the decoder gives the same one for ever and the link has to be closed:
 * GV_ERR_TOO_LARGE (body over the limit), GV_ERR_VERSION (not our frame version: most likely not a
 * node at all), GV_ERR_MALFORMED (flags we do not know), GV_ERR_CORRUPT (checksum),
 * GV_ERR_NOMEM.
 */
GV_MUST_USE gv_err_t gv_linkframe_decode(gv_linkframe_decoder_t *decoder, gv_bytes_t *input,
                                         gv_linkframe_t *frame_out);

/* Bytes held for the frame that is not complete yet. */
size_t gv_linkframe_decoder_held(const gv_linkframe_decoder_t *decoder);
