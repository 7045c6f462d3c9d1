/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The messages that wait for one session: because its receive window is full or it is away.
 *
 * A queue holds references to kept messages, in order, and is limited in messages and in bytes;
 * what happens at the limit is the configured policy.  An empty queue owns no memory.
 *
 * Threads: the session's shard.
 */

#include "base/err.h"
#include "broker/core/parcel.h"

/* What few deliveries have. */
typedef struct gv_queued_extra {
    gv_ticket_t loan;  /* is_loan: who has lent the message, and is to hear what becomes of it */
    uint32_t id_count; /* 0: `id` says it all */
    uint32_t ids[];
} gv_queued_extra_t;

/* Subscription identifiers of one delivery: the first inline, which is nearly always all. */
typedef struct gv_queued {
    gv_msgbuf_t *kept;
    gv_queued_extra_t *extra; /* usually NULL */
    uint32_t id;              /* 0 is none */
    uint32_t share;           /* the shared filter's slot + 1 if it came by one, else 0 */
    uint8_t qos;
    bool retain; /* as the subscriber is to see it */
} gv_queued_t;

/* NULL unless there is more than one id, or a loan. */
gv_queued_extra_t *gv_queued_extra_new(const uint32_t *ids, size_t count, const gv_ticket_t *loan);

/* The loan belongs to the caller now, who answers it; is_loan 0: there is none.  NULL is fine. */
gv_ticket_t gv_queued_take_loan(gv_queued_extra_t *extra);

/* Whoever had lent it has his answer. */
void gv_queued_drop(gv_queued_t *delivery);

typedef enum gv_queue_policy {
    GV_QUEUE_DROP_OLDEST,
    GV_QUEUE_DROP_NEWEST,
    GV_QUEUE_DISCONNECT,
} gv_queue_policy_t;

typedef struct gv_queue {
    gv_queued_t *_ring;
    uint32_t _head;
    uint32_t _capacity; /* power of two */
    uint32_t count;
    size_t bytes; /* of the messages waiting here */
} gv_queue_t;

/* Puts a delivery at the end; the queue owns its references from here on. */
void gv_queue_push(gv_queue_t *queue, gv_queued_t delivery);

/* The oldest, borrowed until the next call; NULL when empty. */
gv_queued_t *gv_queue_first(gv_queue_t *queue);

/* Takes the oldest out; it is the caller's now.  Not when empty. */
gv_queued_t gv_queue_take(gv_queue_t *queue);

/* Drops everything and frees the ring; nobody hears of loans. */
void gv_queue_clear(gv_queue_t *queue);
