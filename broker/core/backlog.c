/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/backlog.h"

#include "base/alloc.h"

/* Numbers of one session further apart than this are not one session's. */
#define SPAN_MAX ((uint64_t)1 << 26)

static gv_backlog_entry_t *at(const gv_backlog_t *backlog, uint32_t position)
{
    uint32_t index = backlog->_head + position;
    if (index >= backlog->_capacity) {
        index -= backlog->_capacity;
    }
    return &backlog->_ring[index];
}

/* By half, not by two: these rings are most of what a sleeping queue costs. */
static void grow(gv_backlog_t *backlog, uint32_t wanted)
{
    uint32_t capacity = backlog->_capacity + backlog->_capacity / 2;
    if (capacity < 8) {
        capacity = 8;
    }
    if (capacity < wanted) {
        capacity = wanted;
    }
    gv_backlog_entry_t *ring = gv_xalloc(capacity * sizeof(*ring));
    for (uint32_t i = 0; i < backlog->span; i++) {
        ring[i] = *at(backlog, i);
    }
    gv_free(backlog->_ring);
    backlog->_ring = ring;
    backlog->_head = 0;
    backlog->_capacity = capacity;
}

void gv_backlog_begin(gv_backlog_t *backlog, uint64_t number)
{
    GV_ASSERT(backlog->span == 0);
    backlog->low = number;
    backlog->next = number;
}

static void count_in(gv_backlog_t *backlog, const gv_backlog_entry_t *entry)
{
    backlog->count++;
    backlog->units += entry->units;
    backlog->shared_count += entry->is_shared;
}

static void count_out(gv_backlog_t *backlog, const gv_backlog_entry_t *entry)
{
    backlog->count--;
    backlog->units -= entry->units;
    backlog->shared_count -= entry->is_shared;
}

uint64_t gv_backlog_push(gv_backlog_t *backlog, gv_backlog_entry_t entry)
{
    if (backlog->span == backlog->_capacity) {
        grow(backlog, 0);
    }
    entry.state = GV_BACKLOG_OPEN;
    *at(backlog, backlog->span) = entry;
    backlog->span++;
    count_in(backlog, &entry);
    return gv_backlog_end(backlog) - 1;
}

gv_backlog_entry_t *gv_backlog_at(const gv_backlog_t *backlog, uint64_t number)
{
    if (number < backlog->low || number >= gv_backlog_end(backlog)) {
        return NULL;
    }
    return at(backlog, (uint32_t)(number - backlog->low));
}

gv_backlog_entry_t *gv_backlog_by_id(const gv_backlog_t *backlog, uint16_t packet_id,
                                     uint64_t *number_out)
{
    if (packet_id == 0) {
        return NULL;
    }
    uint64_t first = backlog->low % 65535;
    uint64_t distance = (packet_id - 1U + 65535U - first) % 65535;
    uint64_t number = backlog->low + distance;
    gv_backlog_entry_t *entry = gv_backlog_at(backlog, number);
    if (entry == NULL || entry->state == GV_BACKLOG_DONE || !gv_backlog_was_sent(entry)) {
        return NULL;
    }
    *number_out = number;
    return entry;
}

void gv_backlog_advance(gv_backlog_t *backlog)
{
    gv_backlog_entry_t *entry = gv_backlog_at(backlog, backlog->next);
    GV_ASSERT(entry != NULL);
    backlog->next++;
    if (entry->state != GV_BACKLOG_DONE) {
        backlog->open++;
    }
}

/* What is done at the low end goes, and the ring when nothing is left. */
static void trim(gv_backlog_t *backlog)
{
    while (backlog->span > 0 && at(backlog, 0)->state == GV_BACKLOG_DONE) {
        backlog->_head = backlog->_head + 1 == backlog->_capacity ? 0 : backlog->_head + 1;
        backlog->low++;
        backlog->span--;
    }
    if (backlog->next < backlog->low) {
        backlog->next = backlog->low;
    }
    /* A queue that was long gives its memory back; a short one keeps it for the next message. */
    if (backlog->span == 0 && backlog->_capacity > 64) {
        gv_free(backlog->_ring);
        backlog->_ring = NULL;
        backlog->_capacity = 0;
        backlog->_head = 0;
    }
}

void gv_backlog_finish(gv_backlog_t *backlog, uint64_t number)
{
    gv_backlog_entry_t *entry = gv_backlog_at(backlog, number);
    GV_ASSERT(entry != NULL);
    GV_ASSERT(entry->state != GV_BACKLOG_DONE);
    count_out(backlog, entry);
    if (number < backlog->next) {
        backlog->open--;
    }
    entry->state = GV_BACKLOG_DONE;
    if (backlog->done_end <= number) {
        backlog->done_end = number + 1;
    }
    trim(backlog);
}

void gv_backlog_rewind(gv_backlog_t *backlog)
{
    backlog->next = backlog->low;
    backlog->open = 0;
}

static void fill(gv_backlog_t *backlog, uint32_t from, uint32_t to)
{
    for (uint32_t i = from; i < to; i++) {
        *at(backlog, i) = (gv_backlog_entry_t){.state = GV_BACKLOG_DONE};
    }
}

/* Makes room for a number before `low`. */
static void extend_down(gv_backlog_t *backlog, uint64_t number)
{
    uint32_t more = (uint32_t)(backlog->low - number);
    if (backlog->span + more > backlog->_capacity) {
        grow(backlog, backlog->span + more);
    }
    backlog->_head =
        backlog->_head >= more ? backlog->_head - more : backlog->_head + backlog->_capacity - more;
    backlog->span += more;
    backlog->low = number;
    fill(backlog, 0, more);
}

static void extend_up(gv_backlog_t *backlog, uint64_t number)
{
    uint32_t span = (uint32_t)(number + 1 - backlog->low);
    if (span > backlog->_capacity) {
        grow(backlog, span);
    }
    uint32_t before = backlog->span;
    backlog->span = span;
    fill(backlog, before, span);
}

bool gv_backlog_restore(gv_backlog_t *backlog, uint64_t number, gv_backlog_entry_t entry)
{
    if (backlog->span == 0) {
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
        count_out(backlog, there);
    }
    *there = entry;
    if (entry.state != GV_BACKLOG_DONE) {
        count_in(backlog, &entry);
    }
    backlog->next = backlog->low;
    backlog->open = 0;
    return true;
}

void gv_backlog_done_below(gv_backlog_t *backlog, uint64_t low)
{
    while (backlog->span > 0 && backlog->low < low) {
        gv_backlog_entry_t *entry = at(backlog, 0);
        if (entry->state == GV_BACKLOG_DONE) {
            trim(backlog);
        } else {
            gv_backlog_finish(backlog, backlog->low);
        }
    }
    if (backlog->span == 0 && backlog->low < low) {
        gv_backlog_begin(backlog, low);
    }
}

void gv_backlog_clear(gv_backlog_t *backlog)
{
    uint64_t end = gv_backlog_end(backlog);
    gv_free(backlog->_ring);
    *backlog = (gv_backlog_t){.low = end, .next = end};
}
