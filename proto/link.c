/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/link.h"

#include <string.h>

#include "base/alloc.h"

/* The part of the header that the checksum covers. */
#define CHECKED_HEADER_BYTES ((size_t)8)

/* Where an unfinished frame starts to be kept [bytes]; it doubles from there. */
#define HELD_CAPACITY_MIN ((size_t)512)

/* A finished frame's memory is kept for the next one only up to here [bytes]. */
#define HELD_CAPACITY_KEPT ((size_t)64 * 1024)

_Static_assert(CHECKED_HEADER_BYTES + sizeof(uint32_t) == GV_LINKFRAME_HEADER_BYTES,
               "the checksum is the last word of the header");
_Static_assert(HELD_CAPACITY_MIN >= GV_LINKFRAME_HEADER_BYTES, "a header always fits");

/* ---- writing ------------------------------------------------------------------------------ */

void gv_linkframe_header(uint8_t header_out[GV_LINKFRAME_HEADER_BYTES], uint8_t kind,
                         const gv_bytes_t *parts, size_t part_count)
{
    size_t size = 0;
    for (size_t i = 0; i < part_count; i++) {
        GV_ASSERT(parts[i].size <= GV_LINKFRAME_BODY_MAX - size);
        size += parts[i].size;
    }

    gv_writer_t w = gv_writer(header_out, GV_LINKFRAME_HEADER_BYTES);
    gv_writer_u32(&w, (uint32_t)size);
    /* Version, kind and flags in one: gcc 12 sees an overflow in single bytes where there is none.
     */
    gv_writer_u32(&w, (uint32_t)GV_LINKFRAME_VERSION << 24 | (uint32_t)kind << 16);
    uint32_t crc = gv_crc32c(0, gv_bytes(header_out, CHECKED_HEADER_BYTES));
    for (size_t i = 0; i < part_count; i++) {
        crc = gv_crc32c(crc, parts[i]);
    }
    gv_writer_u32(&w, crc);
    GV_ASSERT(!w.failed);
}

void gv_linkframe_write(gv_writer_t *writer, uint8_t kind, gv_bytes_t body)
{
    uint8_t *header = gv_writer_reserve(writer, GV_LINKFRAME_HEADER_BYTES);
    if (header != NULL) {
        gv_linkframe_header(header, kind, &body, 1);
        gv_writer_put(writer, body);
    }
}

/* ---- reading ------------------------------------------------------------------------------ */

void gv_linkframe_decoder_init(gv_linkframe_decoder_t *decoder, size_t body_max)
{
    GV_ASSERT(body_max <= GV_LINKFRAME_BODY_MAX);
    *decoder = (gv_linkframe_decoder_t){._body_max = body_max, ._err = GV_OK};
}

void gv_linkframe_decoder_deinit(gv_linkframe_decoder_t *decoder)
{
    gv_free(decoder->_held);
    *decoder = (gv_linkframe_decoder_t){._err = GV_ERR_CLOSED};
}

void gv_linkframe_decoder_limit(gv_linkframe_decoder_t *decoder, size_t body_max)
{
    GV_ASSERT(body_max <= GV_LINKFRAME_BODY_MAX);
    GV_ASSERT(decoder->_held_size == 0 || decoder->_given_out);
    decoder->_body_max = body_max;
}

size_t gv_linkframe_decoder_held(const gv_linkframe_decoder_t *decoder)
{
    return decoder->_given_out ? 0 : decoder->_held_size;
}

static void forget_given_out(gv_linkframe_decoder_t *decoder)
{
    if (!decoder->_given_out) {
        return;
    }
    decoder->_given_out = false;
    decoder->_held_size = 0;
    if (decoder->_held_capacity > HELD_CAPACITY_KEPT) {
        gv_free(decoder->_held);
        decoder->_held = NULL;
        decoder->_held_capacity = 0;
    }
}

/* Makes room for `size` bytes in all: at least doubling, so that growing costs O(1) per byte. */
static gv_err_t reserve(gv_linkframe_decoder_t *decoder, size_t size)
{
    if (size <= decoder->_held_capacity) {
        return GV_OK;
    }
    size_t capacity = decoder->_held_capacity > 0 ? 2 * decoder->_held_capacity : HELD_CAPACITY_MIN;
    if (capacity < size) {
        capacity = size;
    }
    uint8_t *held = gv_try_realloc(decoder->_held, capacity);
    if (held == NULL) {
        return GV_ERR_NOMEM;
    }
    decoder->_held = held;
    decoder->_held_capacity = capacity;
    return GV_OK;
}

/* Moves bytes from the input behind those held, until `size` are held or the input is used up. */
static gv_err_t hold_up_to(gv_linkframe_decoder_t *decoder, size_t size, gv_bytes_t *input)
{
    if (decoder->_held_size >= size || input->size == 0) {
        return GV_OK;
    }
    size_t missing = size - decoder->_held_size;
    size_t moved = missing < input->size ? missing : input->size;
    gv_err_t err = reserve(decoder, decoder->_held_size + moved);
    if (err != GV_OK) {
        return err;
    }
    memcpy(decoder->_held + decoder->_held_size, input->data, moved);
    decoder->_held_size += moved;
    *input = gv_bytes(input->data + moved, input->size - moved);
    return GV_OK;
}

/* What can be said about a header without its body; gives the size of the whole frame. */
static gv_err_t check_header(const gv_linkframe_decoder_t *decoder, gv_bytes_t bytes,
                             size_t *frame_size_out)
{
    gv_reader_t r = gv_reader(bytes);
    size_t body_size = gv_reader_u32(&r);
    uint8_t version = gv_reader_u8(&r);
    (void)gv_reader_u8(&r);
    uint16_t flags = gv_reader_u16(&r);
    GV_ASSERT(!r.failed);

    *frame_size_out = 0;
    if (version != GV_LINKFRAME_VERSION) {
        return GV_ERR_VERSION;
    }
    if (flags != 0) {
        return GV_ERR_MALFORMED;
    }
    if (body_size > decoder->_body_max) {
        return GV_ERR_TOO_LARGE;
    }
    *frame_size_out = GV_LINKFRAME_HEADER_BYTES + body_size;
    return GV_OK;
}

/* `bytes` is exactly one frame. */
static gv_err_t check_frame(gv_bytes_t bytes, gv_linkframe_t *frame_out)
{
    gv_reader_t r = gv_reader(bytes);
    gv_bytes_t checked = gv_reader_take(&r, CHECKED_HEADER_BYTES);
    uint32_t crc = gv_reader_u32(&r);
    gv_bytes_t body = gv_reader_take(&r, gv_reader_left(&r));
    GV_ASSERT(!r.failed);

    if (gv_crc32c(gv_crc32c(0, checked), body) != crc) {
        return GV_ERR_CORRUPT;
    }
    *frame_out = (gv_linkframe_t){.kind = checked.data[5], .body = body};
    return GV_OK;
}

/* A frame that lies whole in the input is used where it lies: the usual case costs no copy. */
static gv_err_t decode_in_place(gv_linkframe_decoder_t *decoder, gv_bytes_t *input,
                                gv_linkframe_t *frame_out)
{
    if (input->size < GV_LINKFRAME_HEADER_BYTES) {
        return GV_ERR_AGAIN;
    }
    size_t frame_size = 0;
    gv_err_t err = check_header(decoder, *input, &frame_size);
    if (err != GV_OK) {
        return err;
    }
    if (input->size < frame_size) {
        return GV_ERR_AGAIN;
    }
    err = check_frame(gv_bytes(input->data, frame_size), frame_out);
    if (err == GV_OK) {
        *input = gv_bytes(input->data + frame_size, input->size - frame_size);
    }
    return err;
}

static gv_err_t decode_held(gv_linkframe_decoder_t *decoder, gv_bytes_t *input,
                            gv_linkframe_t *frame_out)
{
    gv_err_t err = hold_up_to(decoder, GV_LINKFRAME_HEADER_BYTES, input);
    if (err != GV_OK) {
        return err;
    }
    if (decoder->_held_size < GV_LINKFRAME_HEADER_BYTES) {
        return GV_ERR_AGAIN;
    }
    size_t frame_size = 0;
    err = check_header(decoder, gv_bytes(decoder->_held, GV_LINKFRAME_HEADER_BYTES), &frame_size);
    if (err != GV_OK) {
        return err;
    }
    err = hold_up_to(decoder, frame_size, input);
    if (err != GV_OK) {
        return err;
    }
    if (decoder->_held_size < frame_size) {
        return GV_ERR_AGAIN;
    }
    err = check_frame(gv_bytes(decoder->_held, frame_size), frame_out);
    if (err == GV_OK) {
        decoder->_given_out = true;
    }
    return err;
}

gv_err_t gv_linkframe_decode(gv_linkframe_decoder_t *decoder, gv_bytes_t *input,
                             gv_linkframe_t *frame_out)
{
    GV_ASSERT(input != NULL);
    *frame_out = (gv_linkframe_t){.kind = 0, .body = GV_BYTES_EMPTY};
    if (decoder->_err != GV_OK) {
        return decoder->_err;
    }
    forget_given_out(decoder);

    gv_err_t err =
        decoder->_held_size == 0 ? decode_in_place(decoder, input, frame_out) : GV_ERR_AGAIN;
    if (err == GV_ERR_AGAIN) {
        err = decode_held(decoder, input, frame_out);
    }
    if (err != GV_OK && err != GV_ERR_AGAIN) {
        decoder->_err = err;
    }
    return err;
}
