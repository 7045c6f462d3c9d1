/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_backlog: the QoS > 0 messages a persistent session has not acknowledged, in order.
 *
 * The messages themselves are in the log on disk (proto/segment.h); here is only where.  Each has a
 * number, which rises by one from message to message and gives the packet id:
 *
 *      low                  next                 end
 *       |  sent, or done     |   to be sent       |        packet id = number % 65535 + 1
 *       v                    v                    v
 *       S  D  R  S  S  D  S  O  O  O  O  O  O  O        O open, S sent, R received (PUBREC), D done
 *
 * So a session that comes back after a crash finds every message under the packet id it was sent
 * with, and nothing has to be written when one is sent.
 *
 *      OPEN --sent--> SENT --PUBACK------------------------> DONE
 *                       `---PUBREC--> RECEIVED --PUBCOMP---> DONE
 *
 * `next` goes back to `low` with each new connection: what is not done is sent again, in order
 * [MQTT-4.4.0-1].
 *
 * Threads: the session's shard.  Memory: 16 bytes per message, 16 in the session when empty.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/defs.h"

typedef enum gv_backlog_state {
    GV_BACKLOG_OPEN,
    GV_BACKLOG_SENT,
    GV_BACKLOG_RECEIVED,
    GV_BACKLOG_DONE,
} gv_backlog_state_t;

/* Where a message is: segment << 24 | offset of its delivery there.  0: it is lost. */
typedef uint64_t gv_place_t;

static inline gv_place_t gv_place(uint64_t segment, uint32_t offset)
{
    return segment << 24 | offset;
}
static inline uint64_t gv_place_segment(gv_place_t place)
{
    return place >> 24;
}
static inline uint32_t gv_place_offset(gv_place_t place)
{
    return (uint32_t)place & 0xffffffU;
}

typedef struct gv_backlog_entry {
    gv_place_t place;
    uint32_t expires_s;  /* real time; 0: never */
    uint32_t units : 24; /* its size, in GV_BACKLOG_UNIT bytes */
    uint32_t state : 2;  /* gv_backlog_state_t */
    uint32_t is_qos2 : 1;
    uint32_t is_shared : 1; /* came by a shared subscription */
    uint32_t was_sent : 1;  /* perhaps, over an earlier connection: DUP */
    uint32_t is_lent : 1;   /* another member of its group may have it: not to be sent */
    uint32_t is_given : 1;  /* lent, and durably not ours when what is on its way is durable */
    uint32_t is_stuck : 1;  /* lent, and nobody has it: it was not the time to take it back */
} gv_backlog_entry_t;

_Static_assert(sizeof(gv_backlog_entry_t) == 16, "every waiting message pays for this");

#define GV_BACKLOG_UNIT      16U
#define GV_BACKLOG_UNITS_MAX 0xffffffU /* 256 MiB: MQTT has no larger messages */

static inline uint32_t gv_backlog_units(size_t bytes)
{
    return (uint32_t)((bytes + GV_BACKLOG_UNIT - 1) / GV_BACKLOG_UNIT);
}

/* What there is only while messages are there. */
typedef struct gv_backlog_ring {
    uint32_t head; /* index of `low` */
    uint32_t capacity;
    uint32_t span;         /* end - low */
    uint32_t ahead;        /* next - low */
    uint32_t count;        /* not done */
    uint32_t open;         /* not done and below next */
    uint32_t shared_count; /* not done, by shared subscriptions */
    uint32_t lent_count;   /* not done, and lent */
    uint64_t done_end;     /* no number from here on is done */
    uint64_t sent;         /* no number from here on has ever been sent */
    uint64_t units;        /* of what is not done */
    uint64_t give_from;    /* see gv_backlog_give_from() */
    gv_backlog_entry_t entries[];
} gv_backlog_ring_t;

/* Public only so that its owner can embed it.  Names that start with _ are not for callers. */
typedef struct gv_backlog {
    gv_backlog_ring_t *_ring; /* NULL: empty */
    uint64_t low;
} gv_backlog_t;

static inline uint32_t gv_backlog_span(const gv_backlog_t *backlog)
{
    return backlog->_ring != NULL ? backlog->_ring->span : 0;
}

static inline uint64_t gv_backlog_end(const gv_backlog_t *backlog)
{
    return backlog->low + gv_backlog_span(backlog);
}

static inline uint64_t gv_backlog_next(const gv_backlog_t *backlog)
{
    return backlog->low + (backlog->_ring != NULL ? backlog->_ring->ahead : 0);
}

/* Messages that are not done. */
static inline uint32_t gv_backlog_count(const gv_backlog_t *backlog)
{
    return backlog->_ring != NULL ? backlog->_ring->count : 0;
}

/* Of these, sent over this connection: what Receive Maximum limits. */
static inline uint32_t gv_backlog_open(const gv_backlog_t *backlog)
{
    return backlog->_ring != NULL ? backlog->_ring->open : 0;
}

/* Of these, by shared subscriptions. */
static inline uint32_t gv_backlog_shared_count(const gv_backlog_t *backlog)
{
    return backlog->_ring != NULL ? backlog->_ring->shared_count : 0;
}

/* Of these, lent. */
static inline uint32_t gv_backlog_lent(const gv_backlog_t *backlog)
{
    return backlog->_ring != NULL ? backlog->_ring->lent_count : 0;
}

/* No number from here on is done; it may be below `low`. */
static inline uint64_t gv_backlog_done_end(const gv_backlog_t *backlog)
{
    return backlog->_ring != NULL ? backlog->_ring->done_end : 0;
}

/* No number from here on has ever been sent. */
static inline uint64_t gv_backlog_sent(const gv_backlog_t *backlog)
{
    const gv_backlog_ring_t *ring = backlog->_ring;
    return ring != NULL && ring->sent > backlog->low ? ring->sent : backlog->low;
}

static inline uint16_t gv_backlog_packet_id(uint64_t number)
{
    return (uint16_t)(number % 65535 + 1);
}

/* Bytes of the messages that wait or are in flight. */
static inline uint64_t gv_backlog_bytes(const gv_backlog_t *backlog)
{
    return backlog->_ring != NULL ? backlog->_ring->units * GV_BACKLOG_UNIT : 0;
}

/* Messages that have not been sent over this connection, and are to be. */
static inline uint32_t gv_backlog_waiting(const gv_backlog_t *backlog)
{
    const gv_backlog_ring_t *ring = backlog->_ring;
    return ring != NULL ? ring->count - ring->open - ring->lent_count : 0;
}

/* Where gv__durable_give() goes on when it is woken; forgotten when nothing waits any more. */
static inline uint64_t gv_backlog_give_from(const gv_backlog_t *backlog)
{
    return backlog->_ring != NULL ? backlog->_ring->give_from : 0;
}

static inline void gv_backlog_set_give_from(gv_backlog_t *backlog, uint64_t number)
{
    if (backlog->_ring != NULL) {
        backlog->_ring->give_from = number;
    }
}

/* The number that the next message gets is `number` from here on.  Only while empty. */
void gv_backlog_begin(gv_backlog_t *backlog, uint64_t number);

/* Adds a message at the end, OPEN and perhaps lent, and gives its number. */
uint64_t gv_backlog_push(gv_backlog_t *backlog, gv_backlog_entry_t entry);

/* The entry at a position that is there, counted from `low`. */
static inline gv_backlog_entry_t *gv_backlog_ring_at(gv_backlog_ring_t *ring, uint32_t position)
{
    uint32_t index = ring->head + position;
    return &ring->entries[index >= ring->capacity ? index - ring->capacity : index];
}

/* The entry of a number, borrowed until the next push; NULL when it is not between low and end. */
static inline gv_backlog_entry_t *gv_backlog_at(const gv_backlog_t *backlog, uint64_t number)
{
    uint64_t position = number - backlog->low; /* of a lower number it is beyond all there are */
    return position < gv_backlog_span(backlog)
               ? gv_backlog_ring_at(backlog->_ring, (uint32_t)position)
               : NULL;
}

/* Whether the client may have it, by this connection or one before. */
static inline bool gv_backlog_was_sent(const gv_backlog_entry_t *entry)
{
    return entry->state != GV_BACKLOG_OPEN || entry->was_sent;
}

/* The entry sent with this packet id and not done, or NULL; its number. */
gv_backlog_entry_t *gv_backlog_by_id(const gv_backlog_t *backlog, uint16_t packet_id,
                                     uint64_t *number_out);

/*
 * Whether the message at `next` may be sent: there is one, and its packet id is not that of one
 * that is still in flight.
 */
static inline bool gv_backlog_can_send(const gv_backlog_t *backlog)
{
    const gv_backlog_ring_t *ring = backlog->_ring;
    return ring != NULL && ring->ahead < ring->span && ring->ahead < 65535;
}

/* The same for the next message that comes: nothing is before it. */
static inline bool gv_backlog_can_send_new(const gv_backlog_t *backlog)
{
    const gv_backlog_ring_t *ring = backlog->_ring;
    return ring == NULL || (ring->ahead == ring->span && ring->ahead < 65535);
}

/* The entry at `next` has been sent, or is DONE: on to the one after it. */
static inline void gv_backlog_advance(gv_backlog_t *backlog)
{
    gv_backlog_ring_t *ring = backlog->_ring;
    GV_ASSERT(ring != NULL);
    GV_ASSERT(ring->ahead < ring->span);
    const gv_backlog_entry_t *entry = gv_backlog_ring_at(ring, ring->ahead);
    ring->ahead++;
    if (ring->sent < backlog->low + ring->ahead) {
        ring->sent = backlog->low + ring->ahead;
    }
    ring->open += entry->state != GV_BACKLOG_DONE && !entry->is_lent;
}

/*
 * Another member of its group is to have the message: it is not sent, and does not count as open.
 * take_back(): it is to be sent after all; false: `next` has passed it by, and it stays lent.
 */
void gv_backlog_lend(gv_backlog_t *backlog, uint64_t number);
GV_MUST_USE bool gv_backlog_take_back(gv_backlog_t *backlog, uint64_t number);

/* What is lent will be durably another's (`is_given`), or will not. */
void gv_backlog_set_given(gv_backlog_t *backlog, uint64_t number, bool is_given);

/* The message is done; it and its done neighbours at the low end go. */
void gv_backlog_finish(gv_backlog_t *backlog, uint64_t number);

/* The oldest message that has never been sent, to be dropped: it is not given again. */
bool gv_backlog_pass_over(gv_backlog_t *backlog, uint64_t *number_out);

/* A new connection: all that is not done is to be sent, from the lowest on. */
void gv_backlog_rewind(gv_backlog_t *backlog);

/*
 * For a restart: puts an entry under its number, wherever that is; gaps are DONE.  One that is
 * there already is replaced.  False: too far from the others to be true.
 */
GV_MUST_USE bool gv_backlog_restore(gv_backlog_t *backlog, uint64_t number,
                                    gv_backlog_entry_t entry);

/* For a restart: all numbers below are done, and the next is not below. */
void gv_backlog_done_below(gv_backlog_t *backlog, uint64_t low);

/* For a restart: the numbers below may have been sent. */
void gv_backlog_set_sent(gv_backlog_t *backlog, uint64_t sent);

/* Nothing is expected soon: an empty one gives all its memory back. */
void gv_backlog_rest(gv_backlog_t *backlog);

/* Forgets all; the next number stays. */
void gv_backlog_clear(gv_backlog_t *backlog);
