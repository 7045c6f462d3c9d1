/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Sessions on disk: who they are, what they subscribe to, the will they left, and the QoS 2 packet
 * ids a publisher has not released yet.  Their queues are in the log (GV_TABLE_QUEUE_LOG).
 *
 * A session has a number, its uid, which no other session of this store ever had or will have.  The
 * records that belong to a session carry it; so whatever a crash or damage leaves behind of a
 * session that is gone can never be taken for another one's, and loaders of the tables after the
 * sessions meet uids nobody knows: these records are ignored and may be deleted.
 *
 * Writing: views in, changes in a batch out; durable with the batch.
 * Loading: each walks a whole table at the start of a node, in the order of the keys, before the
 * listeners open.  A record that is damaged, or intact and senseless, is counted, logged and
 * skipped (gv_store_note_damaged()), and never deleted.  A million records take about a second.
 *
 * Threads: as the batch or store they are used with.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/defs.h"
#include "base/err.h"

#include "storage/store.h"

/* ---- sessions ---- */

/* Views, here and below; who gives the struct says how long they are valid. */
typedef struct gv_stored_session {
    gv_bytes_t client_id; /* at least one byte */
    uint64_t uid;         /* not 0 */
    uint32_t expiry_s;    /* as in MQTT 5: UINT32_MAX is never */
    uint64_t left_at_ms;  /* real time the client went away; 0: it was connected */
    gv_bytes_t username;  /* may be empty */
} gv_stored_session_t;

/* Adds to the batch: this is the session of its client id. */
void gv_session_put(gv_batch_t *batch, const gv_stored_session_t *session);

/* Adds to the batch: the client id has no session.  What else belongs to it goes separately. */
void gv_session_delete(gv_batch_t *batch, gv_bytes_t client_id);

/* The views are valid until it returns.  Anything but GV_OK ends the load and is handed on. */
typedef gv_err_t gv_session_cb_t(const gv_stored_session_t *session, void *arg);

/* Returns GV_OK, what on_session returned, or GV_ERR_IO.  The others below alike. */
GV_MUST_USE gv_err_t gv_session_load(gv_store_t *store, gv_session_cb_t *on_session, void *arg);

/* ---- subscriptions ---- */

typedef struct gv_stored_subscription {
    uint64_t uid;
    gv_bytes_t filter; /* as the client sent it, with $share and group */
    uint32_t options;  /* the subscription options byte of MQTT 5; opaque here */
    uint32_t id;       /* subscription identifier; 0: none */
} gv_stored_subscription_t;

/* Adds to the batch: the session subscribes to the filter with these options. */
void gv_subscription_put(gv_batch_t *batch, const gv_stored_subscription_t *subscription);

void gv_subscription_delete(gv_batch_t *batch, uint64_t uid, gv_bytes_t filter);

typedef gv_err_t gv_subscription_cb_t(const gv_stored_subscription_t *subscription, void *arg);

/* In the order of the uids: those of one session come together. */
GV_MUST_USE gv_err_t gv_subscription_load(gv_store_t *store, gv_subscription_cb_t *on_subscription,
                                          void *arg);

/* ---- wills ---- */

typedef struct gv_stored_will {
    uint64_t uid;
    gv_bytes_t topic;
    gv_bytes_t payload;
    gv_bytes_t properties; /* the travelling MQTT 5 properties, encoded; opaque here */
    uint8_t qos;           /* 0, 1 or 2 */
    bool retain;
    bool has_expiry;
    uint32_t delay_s;
    uint32_t expiry_s;  /* message expiry interval; with has_expiry only */
    uint64_t due_at_ms; /* real time; 0: the session was connected */
} gv_stored_will_t;

/* Adds to the batch: this is the session's will. */
void gv_will_put(gv_batch_t *batch, const gv_stored_will_t *will);

void gv_will_delete(gv_batch_t *batch, uint64_t uid);

typedef gv_err_t gv_will_cb_t(const gv_stored_will_t *will, void *arg);

GV_MUST_USE gv_err_t gv_will_load(gv_store_t *store, gv_will_cb_t *on_will, void *arg);

/* ---- received packet ids ---- */

/*
 * Adds to the batch: these are all packet ids of QoS 2 messages that were received from the
 * session's client and that it has not released.  In any order, none twice, none 0; none at all
 * removes the record.
 */
void gv_received_put(gv_batch_t *batch, uint64_t uid, const uint16_t *packet_ids, size_t count);

typedef struct gv_stored_received {
    uint64_t uid;
    const uint16_t *packet_ids; /* ascending */
    size_t count;               /* at least one */
} gv_stored_received_t;

typedef gv_err_t gv_received_cb_t(const gv_stored_received_t *received, void *arg);

GV_MUST_USE gv_err_t gv_received_load(gv_store_t *store, gv_received_cb_t *on_received, void *arg);
