/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The envelope of every stored value:
 *
 *     0      version of the envelope, now 1
 *     1..4   CRC-32C, big-endian, of (table, key, version, body)
 *     5..    body: a message of proto/record.proto; in `payloads`, a message's payload
 *
 * The checksum covers the place as well as the value, so that a record that turns up under another
 * key or in another table is noticed.  LMDB itself has no checksums.
 *
 * Threads: plain functions.
 */

#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "base/bytes.h"
#include "base/defs.h"
#include "base/err.h"

#include "storage/batch.h"
#include "storage/keys.h"

#define GV_RECORD_VERSION   1
#define GV_RECORD_HEAD_SIZE 5 /* [bytes] */

/* Adds to the batch: `message`, in its envelope, as the value of key. */
void gv_record_put(gv_batch_t *batch, gv_table_t table, gv_bytes_t key,
                   const ProtobufCMessage *message);

/*
 * Fills in the head of a value whose body stands already behind the room for it, for what is no
 * message of proto/record.proto.  `value` is head and body, as long as `size`.
 */
void gv_record_seal(gv_table_t table, gv_bytes_t key, uint8_t *value, size_t size);

/*
 * Checks a stored value and gives its body, a view into it.  GV_OK, GV_ERR_CORRUPT (too short or
 * checksum wrong), or GV_ERR_VERSION (intact, but of an envelope we do not know).
 */
GV_MUST_USE gv_err_t gv_record_open(gv_table_t table, gv_bytes_t key, gv_bytes_t value,
                                    gv_bytes_t *body_out);

/*
 * As gv_record_open(), and unpacks the body.  *message_out is the caller's, to be freed with
 * gv_record_free().  GV_ERR_CORRUPT also when it is no such message.
 */
GV_MUST_USE gv_err_t gv_record_unpack(gv_table_t table, gv_bytes_t key, gv_bytes_t value,
                                      const ProtobufCMessageDescriptor *descriptor,
                                      ProtobufCMessage **message_out);

/*
 * For walks over whole tables: memory that one message after the other is unpacked into, without a
 * call to the allocator for each of its fields.  A message too large for it takes more, until the
 * next one.
 *
 * Public only so that it can stand on the stack.
 */
typedef struct gv_record_arena {
    size_t _used;
    struct gv__record_piece *_pieces; /* what did not fit */
    _Alignas(max_align_t) uint8_t _room[4096];
} gv_record_arena_t;

void gv_record_arena_init(gv_record_arena_t *arena);

void gv_record_arena_deinit(gv_record_arena_t *arena);

/* As gv_record_unpack(), but the message lives in the arena, until the next one. */
GV_MUST_USE gv_err_t gv_record_unpack_in(gv_record_arena_t *arena, gv_table_t table, gv_bytes_t key,
                                         gv_bytes_t value,
                                         const ProtobufCMessageDescriptor *descriptor,
                                         const ProtobufCMessage **message_out);

/* NULL in *messagep is allowed. */
void gv_record_free(ProtobufCMessage **messagep);

/* A view as protobuf-c wants it, for messages that are packed and forgotten. */
static inline ProtobufCBinaryData gv_record_bytes(gv_bytes_t bytes)
{
    return (ProtobufCBinaryData){.len = bytes.size, .data = (uint8_t *)(uintptr_t)bytes.data};
}

/* And back: a view of a field. */
static inline gv_bytes_t gv_record_view(ProtobufCBinaryData data)
{
    return gv_bytes(data.data, data.len);
}
