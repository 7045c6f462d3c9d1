/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_QUEUES

#include "broker/core/inflight.h"

#include "base/alloc.h"

static gv_flight_t *at(const gv_inflight_t *inflight, uint64_t number)
{
    return &inflight->_ring[number & (inflight->_capacity - 1)];
}

static void grow(gv_inflight_t *inflight)
{
    uint32_t capacity = inflight->_capacity == 0 ? 8 : inflight->_capacity * 2;
    gv_flight_t *ring = gv_xcalloc(capacity, sizeof(*ring));
    for (uint64_t n = inflight->_head; n != inflight->_tail; n++) {
        ring[n & (capacity - 1)] = *at(inflight, n);
    }
    gv_free(inflight->_ring);
    inflight->_ring = ring;
    inflight->_capacity = capacity;
}

static uint16_t id_of(uint64_t number)
{
    return (uint16_t)(number % GV_PACKET_IDS + 1);
}

uint16_t gv_inflight_start(gv_inflight_t *inflight, gv_stage_t stage, gv_flight_t **flight_out)
{
    GV_ASSERT(gv_inflight_has_id(inflight));
    GV_ASSERT(inflight->unsent == 0);
    if (inflight->_tail - inflight->_head == inflight->_capacity) {
        grow(inflight);
    }
    uint64_t number = inflight->_tail++;
    gv_flight_t *flight = at(inflight, number);
    *flight = (gv_flight_t){.stage = (uint8_t)stage};
    inflight->_sent = inflight->_tail;
    inflight->count++;
    *flight_out = flight;
    return id_of(number);
}

gv_flight_t *gv_inflight_find(gv_inflight_t *inflight, uint16_t packet_id)
{
    if (packet_id == 0 || inflight->_tail == inflight->_head) {
        return NULL;
    }
    uint32_t oldest = id_of(inflight->_head);
    uint32_t ahead = packet_id >= oldest ? packet_id - oldest : packet_id + GV_PACKET_IDS - oldest;
    if (ahead >= inflight->_tail - inflight->_head) {
        return NULL;
    }
    gv_flight_t *flight = at(inflight, inflight->_head + ahead);
    return flight->stage == GV_STAGE_DONE ? NULL : flight;
}

/* How far behind the oldest it stands. */
static uint64_t place_of(const gv_inflight_t *inflight, const gv_flight_t *flight)
{
    return ((uint64_t)(flight - inflight->_ring) - inflight->_head) & (inflight->_capacity - 1);
}

void gv_inflight_finish(gv_inflight_t *inflight, gv_flight_t *flight)
{
    GV_ASSERT(flight->stage != GV_STAGE_DONE);
    if (inflight->unsent > 0 && inflight->_head + place_of(inflight, flight) >= inflight->_sent) {
        inflight->unsent--;
    }
    GV_ASSERT(flight->extra == NULL || flight->extra->loan.is_loan == 0);
    gv_msgbuf_unref(&flight->kept);
    gv_free(flight->extra);
    flight->extra = NULL;
    flight->stage = GV_STAGE_DONE;
    inflight->count--;
    while (inflight->_head != inflight->_tail &&
           at(inflight, inflight->_head)->stage == GV_STAGE_DONE) {
        inflight->_head++;
    }
}

void gv_inflight_cancel(gv_inflight_t *inflight, gv_flight_t *flight)
{
    GV_ASSERT(flight == at(inflight, inflight->_tail - 1));
    GV_ASSERT(flight->stage != GV_STAGE_DONE);
    GV_ASSERT(flight->kept == NULL);
    flight->stage = GV_STAGE_DONE;
    inflight->_tail--;
    inflight->_sent = inflight->_tail;
    inflight->count--;
}

void gv_inflight_rewind(gv_inflight_t *inflight)
{
    inflight->_sent = inflight->_head;
    inflight->unsent = inflight->count;
}

gv_flight_t *gv_inflight_resend(gv_inflight_t *inflight, uint16_t *packet_id_out)
{
    if (inflight->_sent < inflight->_head) {
        inflight->_sent = inflight->_head;
    }
    while (inflight->_sent < inflight->_tail) {
        uint64_t number = inflight->_sent++;
        gv_flight_t *flight = at(inflight, number);
        if (flight->stage != GV_STAGE_DONE) {
            inflight->unsent--;
            *packet_id_out = id_of(number);
            return flight;
        }
    }
    return NULL;
}

bool gv_inflight_has_share(const gv_inflight_t *inflight, uint32_t share)
{
    for (uint64_t n = inflight->_head; n != inflight->_tail; n++) {
        const gv_flight_t *flight = at(inflight, n);
        if (flight->stage == GV_STAGE_AWAITS_PUBACK && flight->share == share) {
            return true;
        }
    }
    return false;
}

void gv_inflight_clear(gv_inflight_t *inflight)
{
    for (uint64_t n = inflight->_head; n != inflight->_tail; n++) {
        gv_flight_t *flight = at(inflight, n);
        gv_msgbuf_unref(&flight->kept);
        gv_free(flight->extra);
    }
    gv_free(inflight->_ring);
    *inflight = (gv_inflight_t){0};
}

/* ---- incoming QoS 2 -------------------------------------------------------------------------- */

/* Where the id stands, or would stand. */
static uint32_t place_for(const gv_received_ids_t *set, uint16_t packet_id)
{
    uint32_t low = 0;
    uint32_t high = set->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (set->_ids[middle] < packet_id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool is_at(const gv_received_ids_t *set, uint32_t place, uint16_t packet_id)
{
    return place < set->count && set->_ids[place] == packet_id;
}

bool gv_received_ids_has(const gv_received_ids_t *set, uint16_t packet_id)
{
    return is_at(set, place_for(set, packet_id), packet_id);
}

void gv_received_ids_add(gv_received_ids_t *set, uint16_t packet_id)
{
    uint32_t place = place_for(set, packet_id);
    GV_DEBUG_ASSERT(!is_at(set, place, packet_id));
    if (set->count == set->_capacity) {
        set->_capacity = set->_capacity == 0 ? 16 : set->_capacity * 2;
        set->_ids = gv_xrealloc(set->_ids, set->_capacity * sizeof(uint16_t));
    }
    memmove(&set->_ids[place + 1], &set->_ids[place], (set->count - place) * sizeof(uint16_t));
    set->_ids[place] = packet_id;
    set->count++;
}

bool gv_received_ids_remove(gv_received_ids_t *set, uint16_t packet_id)
{
    uint32_t place = place_for(set, packet_id);
    if (!is_at(set, place, packet_id)) {
        return false;
    }
    set->count--;
    memmove(&set->_ids[place], &set->_ids[place + 1], (set->count - place) * sizeof(uint16_t));
    return true;
}

void gv_received_ids_clear(gv_received_ids_t *set)
{
    gv_free(set->_ids);
    *set = (gv_received_ids_t){0};
}
