/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The tables of a store and how their keys are made.
 *
 * A table is an ordered map from keys (1 to GV_KEY_SIZE_MAX bytes, in the order of memcmp) to
 * values of less than 4 GiB.  Numbers in keys are big-endian, so that their order is the order of
 * the numbers.  Text of any length becomes a key by gv_key_from_text().
 *
 *   table          key                                   value
 *   meta           name                                  format, identity, counters
 *   retained       topic                                 retained message or tombstone
 *
 *   sessions       client id                             session number, expiry
 *   subscriptions  session u64, filter                   options, identifier
 *   wills          session u64                           message, the moment it falls due
 *   inflight       session u64                           QoS 2 packet ids received, not released
 *   queue_log      segment number u64                    messages with the sessions that wait for
 *                                                        them, and acknowledgements: a segment
 *                                                        (proto/segment.h), not a record
 *   outbox, exact  peer's node id, number u64,           messages that wait for that node
 *                  count u32, run u64
 *   links          peer's node id                        its numbered messages are applied up to
 *   payloads       payload number u64, holder u64        holder 0: the payload of a message that
 *                                                        segments refer to; others: nothing, they
 *                                                        are the segments (storage/payload_store.h)
 *   members        node id                               name and address of another node
 *   member_routes  node id, filter                       there is a session for it that stays
 *
 * A session gets a number (u64) when it is made, and the other tables begin their keys with it:
 * what belongs to a session stands together and keys stay short.
 *
 * Reserved; nothing writes them yet.
 *
 *   queue_index    session u64                           checkpoint of its index into the log
 */

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/defs.h"

/*
 * The number stands in each record's checksum and the name is the LMDB database's: neither may
 * change.  New tables go to the end.
 */
/* clang-format off */
#define GV_TABLE_MAP(X)                             \
    X(GV_TABLE_META,          0, "meta")            \
    X(GV_TABLE_RETAINED,      1, "retained")        \
    X(GV_TABLE_SESSIONS,      2, "sessions")        \
    X(GV_TABLE_SUBSCRIPTIONS, 3, "subscriptions")   \
    X(GV_TABLE_WILLS,         4, "wills")           \
    X(GV_TABLE_INFLIGHT,      5, "inflight")        \
    X(GV_TABLE_QUEUE_LOG,     6, "queue_log")       \
    X(GV_TABLE_QUEUE_INDEX,   7, "queue_index")     \
    X(GV_TABLE_OUTBOX,        8, "outbox")          \
    X(GV_TABLE_LINKS,         9, "links")           \
    X(GV_TABLE_EXACT,        10, "exact")           \
    X(GV_TABLE_PAYLOADS,     11, "payloads")        \
    X(GV_TABLE_MEMBERS,      12, "members")         \
    X(GV_TABLE_MEMBER_ROUTES,13, "member_routes")
/* clang-format on */

typedef enum gv_table {
#define X(name, number, text) name = (number),
    GV_TABLE_MAP(X)
#undef X
} gv_table_t;

#define GV_TABLE_COUNT 14

/* Longest key [bytes]: what LMDB takes, as distributions build it. */
#define GV_KEY_SIZE_MAX 511

/* "retained" and so on; static. */
const char *gv_table_name(gv_table_t table);

/*
 * A node's id, as it stands in keys and records [bytes].  cluster/core/core.h, which may not see
 * this folder, has the same line.
 */
#define GV_NODE_ID_SIZE 16U

typedef struct gv_key {
    size_t size;
    uint8_t data[GV_KEY_SIZE_MAX];
} gv_key_t;

/* A view of the key; valid as long as the key is. */
gv_bytes_t gv_key_bytes(const gv_key_t *key);

/*
 * The key of a text without NUL bytes (a topic, a client id), at least one byte long.  Short texts
 * are their own key.  Longer ones keep their first GV_KEY_HEAD_SIZE bytes, then come a NUL and the
 * SHA-256 of the whole: different texts never share a key, not even on purpose, and keys stay in
 * the order of their first bytes.  Whoever needs the whole text back keeps it in the record.
 */
void gv_key_from_text(gv_key_t *key_out, gv_bytes_t text);

/* The key of a number: eight bytes, big-endian. */
void gv_key_from_number(gv_key_t *key_out, uint64_t number);

/* The key of a number and another one under it: sixteen bytes. */
void gv_key_from_number_pair(gv_key_t *key_out, uint64_t number, uint64_t under);

/*
 * The key of a number and a text under it, in the order of the numbers first.  A text of more than
 * GV_KEY_SIZE_MAX - 8 bytes is shortened as by gv_key_from_text(), with a head that is eight bytes
 * shorter.
 */
void gv_key_from_number_text(gv_key_t *key_out, uint64_t number, gv_bytes_t text);

/* The same with a node's id (GV_NODE_ID_SIZE bytes) in place of the number. */
void gv_key_from_node_text(gv_key_t *key_out, const uint8_t *node_id, gv_bytes_t text);

/* 511 = head, NUL, 32 bytes of hash. */
#define GV_KEY_HEAD_SIZE 478
