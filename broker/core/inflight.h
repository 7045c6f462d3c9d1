/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Packet ids and QoS stages of one session, both directions.
 *
 * Outgoing: ids are given out in turn (1..65535, then 1 again), so the window is a ring in order of
 * sending, and finding an id is a subtraction:
 *
 *     PUBLISH QoS 1 sent -> AWAITS_PUBACK --PUBACK--> done
 *     PUBLISH QoS 2 sent -> AWAITS_PUBREC --PUBREC--> AWAITS_PUBCOMP --PUBCOMP--> done
 *                                  `------PUBREC >= 0x80------------------------> done
 *
 * A session that will be resumed keeps the message until it is acknowledged, to send it again in
 * the original order [MQTT-4.4.0-1]; one that ends with its connection keeps only the state.  What
 * the new connection's window has no room for waits: it is "unsent", and nothing new starts before.
 *
 * Incoming: the ids of QoS 2 messages received and not yet released [MQTT-4.3.3-10].
 *
 * Threads: the session's shard.  Memory: nothing until the first QoS > 0 message; 32 bytes per id
 * in flight.
 */

#include "base/err.h"
#include "broker/core/queue.h"

typedef enum gv_stage {
    GV_STAGE_DONE,
    GV_STAGE_AWAITS_PUBACK,
    GV_STAGE_AWAITS_PUBREC,
    GV_STAGE_AWAITS_PUBCOMP,
} gv_stage_t;

typedef struct gv_flight {
    gv_msgbuf_t *kept; /* NULL when nobody will ever send it again */
    gv_queued_extra_t *extra;
    uint32_t id;
    uint32_t share; /* as in gv_queued_t */
    uint8_t stage;  /* gv_stage_t */
    bool retain;
} gv_flight_t;

_Static_assert(sizeof(gv_flight_t) == 32, "every message in flight pays for this");

typedef struct gv_inflight {
    gv_flight_t *_ring;
    uint64_t _head; /* number of the oldest; its packet id is number % 65535 + 1 */
    uint64_t _tail; /* number of the next */
    uint64_t _sent; /* number of the first that this connection has not seen */
    uint32_t _capacity;
    uint32_t count;  /* not done */
    uint32_t unsent; /* of these, not sent over this connection */
} gv_inflight_t;

#define GV_PACKET_IDS 65535U

/* Whether an id is free: at most that many between the oldest unfinished and the next. */
static inline bool gv_inflight_has_id(const gv_inflight_t *inflight)
{
    return inflight->_tail - inflight->_head < GV_PACKET_IDS;
}

/* Not done and sent over this connection: what Receive Maximum limits. */
static inline uint32_t gv_inflight_open(const gv_inflight_t *inflight)
{
    return inflight->count - inflight->unsent;
}

/* Takes the next id for a message in that stage.  Ask gv_inflight_has_id() first; nothing may be
 * unsent. */
uint16_t gv_inflight_start(gv_inflight_t *inflight, gv_stage_t stage, gv_flight_t **flight_out);

/* The flight with this id that is not done, or NULL. */
gv_flight_t *gv_inflight_find(gv_inflight_t *inflight, uint16_t packet_id);

/* Ends it: drops what it keeps and gives its room back.  Whoever had lent it has his answer. */
void gv_inflight_finish(gv_inflight_t *inflight, gv_flight_t *flight);

/* Gives back the id just started: as if it had never been.  Only the newest. */
void gv_inflight_cancel(gv_inflight_t *inflight, gv_flight_t *flight);

/* A new connection: all that is not done is to be sent again. */
void gv_inflight_rewind(gv_inflight_t *inflight);

/* The next in order of sending that is unsent, with its id; it counts as sent then.  Or NULL. */
gv_flight_t *gv_inflight_resend(gv_inflight_t *inflight, uint16_t *packet_id_out);

/* Whether a message of this group awaits its PUBACK. */
bool gv_inflight_has_share(const gv_inflight_t *inflight, uint32_t share);

/* Drops everything; nobody hears of loans. */
void gv_inflight_clear(gv_inflight_t *inflight);

/* ---- incoming QoS 2 -------------------------------------------------------------------------- */

typedef struct gv_received_ids {
    uint16_t *_ids; /* sorted: before v5 nothing keeps a client from having all of them open */
    uint32_t count;
    uint32_t _capacity;
} gv_received_ids_t;

bool gv_received_ids_has(const gv_received_ids_t *set, uint16_t packet_id);

/* The id is not in the set. */
void gv_received_ids_add(gv_received_ids_t *set, uint16_t packet_id);

/* Whether it was there. */
bool gv_received_ids_remove(gv_received_ids_t *set, uint16_t packet_id);

void gv_received_ids_clear(gv_received_ids_t *set);
