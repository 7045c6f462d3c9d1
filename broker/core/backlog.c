/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_QUEUES

#include "broker/core/backlog.h"

#include "base/alloc.h"

/* Numbers of one session further apart than this are not one session's. */
#define SPAN_MAX ((uint64_t)1 << 26)

#define CAPACITY_MIN 8U
/* What an empty one keeps for the next messages. */
#define CAPACITY_KEPT 128U

/* By half, not by two: these rings are most of what a sleeping queue costs. */
static void grow(gv_backlog_t *backlog, uint32_t wanted)
{
    gv_backlog_ring_t *old = backlog->_ring;
    uint32_t capacity = old == NULL ? 0 : old->capacity + old->capacity / 2;
    if (capacity < CAPACITY_MIN) {
        capacity = CAPACITY_MIN;
    }
    if (capacity < wanted) {
        capacity = wanted;
    }
    gv_backlog_ring_t *ring = gv_xalloc(sizeof(*ring) + capacity * sizeof(ring->entries[0]));
    *ring = (gv_backlog_ring_t){0};
    if (old != NULL) {
        *ring = *old;
        for (uint32_t i = 0; i < old->span; i++) {
            ring->entries[i] = *gv_backlog_ring_at(old, i);
        }
        gv_free(old);
    }
    ring->head = 0;
    ring->capacity = capacity;
    backlog->_ring = ring;
}

static void drop_ring(gv_backlog_t *backlog)
{
    gv_free(backlog->_ring);
    backlog->_ring = NULL;
}

void gv_backlog_begin(gv_backlog_t *backlog, uint64_t number)
{
    GV_ASSERT(gv_backlog_span(backlog) == 0);
    backlog->low = number;
}

static void count_in(gv_backlog_ring_t *ring, const gv_backlog_entry_t *entry)
{
    ring->count++;
    ring->units += entry->units;
    ring->shared_count += entry->is_shared;
    ring->lent_count += entry->is_lent;
}

static void count_out(gv_backlog_ring_t *ring, const gv_backlog_entry_t *entry)
{
    ring->count--;
    ring->units -= entry->units;
    ring->shared_count -= entry->is_shared;
    ring->lent_count -= entry->is_lent;
}

uint64_t gv_backlog_push(gv_backlog_t *backlog, gv_backlog_entry_t entry)
{
    if (backlog->_ring == NULL || backlog->_ring->span == backlog->_ring->capacity) {
        grow(backlog, 0);
    }
    gv_backlog_ring_t *ring = backlog->_ring;
    entry.state = GV_BACKLOG_OPEN;
    *gv_backlog_ring_at(ring, ring->span) = entry;
    ring->span++;
    count_in(ring, &entry);
    return gv_backlog_end(backlog) - 1;
}

gv_backlog_entry_t *gv_backlog_by_id(const gv_backlog_t *backlog, uint16_t packet_id,
                                     uint64_t *number_out)
{
    if (packet_id == 0) {
        return NULL;
    }
    uint64_t first = backlog->low % 65535;
    uint64_t wanted = packet_id - 1U;
    uint64_t number = backlog->low + (wanted < first ? wanted + 65535U : wanted) - first;
    gv_backlog_entry_t *entry = gv_backlog_at(backlog, number);
    if (entry == NULL || entry->state == GV_BACKLOG_DONE || entry->is_lent ||
        !gv_backlog_was_sent(entry)) {
        return NULL;
    }
    *number_out = number;
    return entry;
}

void gv_backlog_lend(gv_backlog_t *backlog, uint64_t number)
{
    gv_backlog_entry_t *entry = gv_backlog_at(backlog, number);
    GV_ASSERT(entry != NULL);
    GV_ASSERT(entry->state != GV_BACKLOG_DONE);
    GV_ASSERT(!entry->is_lent);
    if (number < gv_backlog_next(backlog)) {
        backlog->_ring->open--;
    }
    backlog->_ring->lent_count++;
    entry->is_lent = true;
}

bool gv_backlog_take_back(gv_backlog_t *backlog, uint64_t number)
{
    gv_backlog_entry_t *entry = gv_backlog_at(backlog, number);
    GV_ASSERT(entry != NULL);
    GV_ASSERT(entry->is_lent);
    GV_ASSERT(!entry->is_given);
    if (number < gv_backlog_next(backlog)) {
        return false;
    }
    backlog->_ring->lent_count--;
    entry->is_lent = false;
    return true;
}

void gv_backlog_set_given(gv_backlog_t *backlog, uint64_t number, bool is_given)
{
    gv_backlog_entry_t *entry = gv_backlog_at(backlog, number);
    GV_ASSERT(entry != NULL);
    GV_ASSERT(entry->is_lent);
    entry->is_given = is_given;
    if (is_given && backlog->_ring->done_end <= number) {
        backlog->_ring->done_end = number + 1; /* so that a mark tells it */
    }
}

/* What is done at the low end goes; and so does the ring of a queue that was long. */
static void trim(gv_backlog_t *backlog)
{
    gv_backlog_ring_t *ring = backlog->_ring;
    uint32_t gone = 0;
    while (gone < ring->span && gv_backlog_ring_at(ring, gone)->state == GV_BACKLOG_DONE) {
        gone++;
    }
    ring->head += ring->head + gone < ring->capacity ? gone : gone - ring->capacity;
    ring->ahead -= ring->ahead < gone ? ring->ahead : gone;
    ring->span -= gone;
    backlog->low += gone;
    if (ring->span == 0 && ring->capacity > CAPACITY_KEPT) {
        drop_ring(backlog);
    }
}

void gv_backlog_finish(gv_backlog_t *backlog, uint64_t number)
{
    gv_backlog_entry_t *entry = gv_backlog_at(backlog, number);
    GV_ASSERT(entry != NULL);
    GV_ASSERT(entry->state != GV_BACKLOG_DONE);
    gv_backlog_ring_t *ring = backlog->_ring;
    count_out(ring, entry);
    if (number < gv_backlog_next(backlog) && !entry->is_lent) {
        ring->open--;
    }
    entry->state = GV_BACKLOG_DONE;
    if (ring->done_end <= number) {
        ring->done_end = number + 1;
    }
    trim(backlog);
}

bool gv_backlog_pass_over(gv_backlog_t *backlog, uint64_t *number_out)
{
    for (uint64_t n = gv_backlog_sent(backlog); n < gv_backlog_end(backlog); n++) {
        gv_backlog_set_sent(backlog, n + 1);
        const gv_backlog_entry_t *entry = gv_backlog_at(backlog, n);
        if (entry->state == GV_BACKLOG_OPEN && !entry->is_lent) {
            *number_out = n;
            return true;
        }
    }
    return false;
}

void gv_backlog_rewind(gv_backlog_t *backlog)
{
    if (backlog->_ring != NULL) {
        backlog->_ring->ahead = 0;
        backlog->_ring->open = 0;
    }
}

void gv_backlog_set_sent(gv_backlog_t *backlog, uint64_t sent)
{
    if (backlog->_ring != NULL && backlog->_ring->sent < sent) {
        backlog->_ring->sent = sent;
    }
}

void gv_backlog_rest(gv_backlog_t *backlog)
{
    if (gv_backlog_span(backlog) == 0) {
        drop_ring(backlog);
    }
}

/* ---- restarts ---- */

static void fill(gv_backlog_ring_t *ring, uint32_t from, uint32_t to)
{
    for (uint32_t i = from; i < to; i++) {
        *gv_backlog_ring_at(ring, i) = (gv_backlog_entry_t){.state = GV_BACKLOG_DONE};
    }
}

static void make_room(gv_backlog_t *backlog, uint32_t span)
{
    if (backlog->_ring == NULL || span > backlog->_ring->capacity) {
        grow(backlog, span);
    }
}

/* Makes room for a number before `low`. */
static void extend_down(gv_backlog_t *backlog, uint64_t number)
{
    uint32_t more = (uint32_t)(backlog->low - number);
    make_room(backlog, gv_backlog_span(backlog) + more);
    gv_backlog_ring_t *ring = backlog->_ring;
    ring->head = ring->head >= more ? ring->head - more : ring->head + ring->capacity - more;
    ring->span += more;
    backlog->low = number;
    fill(ring, 0, more);
}

static void extend_up(gv_backlog_t *backlog, uint64_t number)
{
    uint32_t before = gv_backlog_span(backlog);
    uint32_t span = (uint32_t)(number + 1 - backlog->low);
    make_room(backlog, span);
    backlog->_ring->span = span;
    fill(backlog->_ring, before, span);
}

bool gv_backlog_restore(gv_backlog_t *backlog, uint64_t number, gv_backlog_entry_t entry)
{
    if (gv_backlog_span(backlog) == 0) {
        gv_backlog_begin(backlog, number);
    }
    uint64_t low = number < backlog->low ? number : backlog->low;
    uint64_t end = number >= gv_backlog_end(backlog) ? number + 1 : gv_backlog_end(backlog);
    if (end - low > SPAN_MAX) {
        return false;
    }
    if (number < backlog->low) {
        extend_down(backlog, number);
    } else if (number >= gv_backlog_end(backlog)) {
        extend_up(backlog, number);
    }
    gv_backlog_entry_t *there = gv_backlog_at(backlog, number);
    if (there->state != GV_BACKLOG_DONE) {
        count_out(backlog->_ring, there);
    }
    *there = entry;
    if (entry.state != GV_BACKLOG_DONE) {
        count_in(backlog->_ring, &entry);
    }
    gv_backlog_rewind(backlog);
    return true;
}

void gv_backlog_done_below(gv_backlog_t *backlog, uint64_t low)
{
    while (gv_backlog_span(backlog) > 0 && backlog->low < low) {
        if (gv_backlog_ring_at(backlog->_ring, 0)->state == GV_BACKLOG_DONE) {
            trim(backlog);
        } else {
            gv_backlog_finish(backlog, backlog->low);
        }
    }
    if (gv_backlog_span(backlog) == 0 && backlog->low < low) {
        gv_backlog_begin(backlog, low);
    }
}

void gv_backlog_clear(gv_backlog_t *backlog)
{
    backlog->low = gv_backlog_end(backlog);
    drop_ring(backlog);
}
