/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Views of bytes, and the two cursors every codec is written with.
 *
 * gv_bytes_t   a read-only view of bytes somebody else owns
 * gv_reader_t  takes values off the front of a view; never reads past the end
 * gv_writer_t  puts values into a caller's buffer; never writes past the end
 *
 * Both cursors have a sticky error: after the first value that does not fit, every later call gives
 * zero (reader) or does nothing (writer), and `failed` stays set.  So ten reads need one check, at
 * the end.  Integers are big-endian (network order), as in MQTT and in our storage keys.
 *
 * Threads: plain values, no sharing.  Memory: nothing is allocated.
 */

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/defs.h"

/* Valid as long as the owner of the bytes is; never freed through the view. */
typedef struct gv_bytes {
    const uint8_t *data;
    size_t size; /* [bytes] */
} gv_bytes_t;

#define GV_BYTES_EMPTY ((gv_bytes_t){.data = NULL, .size = 0})

/* A view of a string constant, without its NUL. */
#define GV_BYTES_LITERAL(text) \
    ((gv_bytes_t){.data = (const uint8_t *)(text), .size = sizeof(text) - 1})

static inline gv_bytes_t gv_bytes(const void *data, size_t size)
{
    return (gv_bytes_t){.data = (const uint8_t *)data, .size = size};
}

/* A view of a NUL-terminated string, without its NUL. */
static inline gv_bytes_t gv_bytes_text(const char *text)
{
    return (gv_bytes_t){.data = (const uint8_t *)text, .size = strlen(text)};
}

static inline bool gv_bytes_equal(gv_bytes_t a, gv_bytes_t b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* Order of memcmp, then the shorter first: -1, 0 or 1. */
int gv_bytes_compare(gv_bytes_t a, gv_bytes_t b);

bool gv_bytes_has_prefix(gv_bytes_t bytes, gv_bytes_t prefix);

/*
 * Seeded 64-bit hash (XXH3).  The same on every run for the same seed, so that a simulated run can
 * be repeated; tables that hold keys chosen by peers take their seed from the random port.
 */
uint64_t gv_bytes_hash(gv_bytes_t bytes, uint64_t seed);

/* CRC-32C (Castagnoli), as in frames between peers and in stored records.  `crc` is 0 to start. */
uint32_t gv_crc32c(uint32_t crc, gv_bytes_t bytes);

/*
 * Writes bytes as text for a log line, to stand in single quotes: printable ASCII as it is, all
 * else (also ' and \) as \xNN, cut with "..." when it does not fit.  Always ends with NUL; returns
 * `out`.  out_size at least 8 [bytes].
 */
const char *gv_bytes_printable(gv_bytes_t bytes, char *out, size_t out_size);

/* ---- reading ------------------------------------------------------------------------------ */

typedef struct gv_reader {
    const uint8_t *pos;
    const uint8_t *end;
    bool failed; /* something was read that was not there */
} gv_reader_t;

static inline gv_reader_t gv_reader(gv_bytes_t bytes)
{
    return (gv_reader_t){
        .pos = bytes.data,
        .end = bytes.size == 0 ? bytes.data : bytes.data + bytes.size, /* NULL + 0 is undefined */
        .failed = false,
    };
}

static inline size_t gv_reader_left(const gv_reader_t *r)
{
    return (size_t)(r->end - r->pos);
}

/* The next `size` bytes as a view into the input; an empty view and `failed` if they are missing.
 */
static inline gv_bytes_t gv_reader_take(gv_reader_t *r, size_t size)
{
    if (r->failed || gv_reader_left(r) < size) {
        r->failed = true;
        return GV_BYTES_EMPTY;
    }
    gv_bytes_t taken = {.data = r->pos, .size = size};
    if (size > 0) {
        r->pos += size;
    }
    return taken;
}

static inline uint8_t gv_reader_u8(gv_reader_t *r)
{
    gv_bytes_t b = gv_reader_take(r, 1);
    return b.size == 1 ? b.data[0] : 0;
}

static inline uint16_t gv_reader_u16(gv_reader_t *r)
{
    gv_bytes_t b = gv_reader_take(r, 2);
    return b.size == 2 ? (uint16_t)(b.data[0] << 8 | b.data[1]) : 0;
}

static inline uint32_t gv_reader_u32(gv_reader_t *r)
{
    gv_bytes_t b = gv_reader_take(r, 4);
    return b.size == 4 ? (uint32_t)b.data[0] << 24 | (uint32_t)b.data[1] << 16 |
                             (uint32_t)b.data[2] << 8 | (uint32_t)b.data[3]
                       : 0;
}

static inline uint64_t gv_reader_u64(gv_reader_t *r)
{
    uint64_t high = gv_reader_u32(r);
    uint64_t low = gv_reader_u32(r);
    return r->failed ? 0 : high << 32 | low;
}

/* ---- writing ------------------------------------------------------------------------------ */

typedef struct gv_writer {
    uint8_t *pos;
    uint8_t *end;
    bool failed; /* something was written that did not fit */
} gv_writer_t;

static inline gv_writer_t gv_writer(void *buffer, size_t size)
{
    uint8_t *start = buffer;
    return (gv_writer_t){
        .pos = start,
        .end = size == 0 ? start : start + size,
        .failed = false,
    };
}

static inline size_t gv_writer_left(const gv_writer_t *w)
{
    return (size_t)(w->end - w->pos);
}

/* Room for `size` bytes, or NULL and `failed`. */
static inline uint8_t *gv_writer_reserve(gv_writer_t *w, size_t size)
{
    if (w->failed || gv_writer_left(w) < size) {
        w->failed = true;
        return NULL;
    }
    uint8_t *room = w->pos;
    if (size > 0) {
        w->pos += size;
    }
    return room;
}

static inline void gv_writer_put(gv_writer_t *w, gv_bytes_t bytes)
{
    uint8_t *room = gv_writer_reserve(w, bytes.size);
    if (room != NULL && bytes.size > 0) {
        memcpy(room, bytes.data, bytes.size);
    }
}

static inline void gv_writer_u8(gv_writer_t *w, uint8_t value)
{
    uint8_t *room = gv_writer_reserve(w, 1);
    if (room != NULL) {
        room[0] = value;
    }
}

static inline void gv_writer_u16(gv_writer_t *w, uint16_t value)
{
    uint8_t *room = gv_writer_reserve(w, 2);
    if (room != NULL) {
        room[0] = (uint8_t)(value >> 8);
        room[1] = (uint8_t)value;
    }
}

static inline void gv_writer_u32(gv_writer_t *w, uint32_t value)
{
    uint8_t *room = gv_writer_reserve(w, 4);
    if (room != NULL) {
        room[0] = (uint8_t)(value >> 24);
        room[1] = (uint8_t)(value >> 16);
        room[2] = (uint8_t)(value >> 8);
        room[3] = (uint8_t)value;
    }
}

static inline void gv_writer_u64(gv_writer_t *w, uint64_t value)
{
    gv_writer_u32(w, (uint32_t)(value >> 32));
    gv_writer_u32(w, (uint32_t)value);
}
