/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_SESSIONS

#include "broker/core/dues.h"

#include "base/alloc.h"
#include "broker/core/session.h"

#define CAPACITY_MIN 16U

void gv_dues_deinit(gv_dues_t *dues)
{
    GV_ASSERT(dues->_count == 0);
    gv_free(dues->_heap);
    *dues = (gv_dues_t){0};
}

static void put(gv_dues_t *dues, uint32_t place, gv_due_t due)
{
    dues->_heap[place] = due;
    due.session->due_place = place + 1;
}

/* Puts it at this place or, past those that are later, above. */
static void rise(gv_dues_t *dues, uint32_t place, gv_due_t due)
{
    while (place > 0 && dues->_heap[(place - 1) / 2].at_ms > due.at_ms) {
        put(dues, place, dues->_heap[(place - 1) / 2]);
        place = (place - 1) / 2;
    }
    put(dues, place, due);
}

/* Puts it at this place or, past those that are earlier, below. */
static void sink(gv_dues_t *dues, uint32_t place, gv_due_t due)
{
    for (;;) {
        uint32_t child = place * 2 + 1;
        if (child + 1 < dues->_count && dues->_heap[child + 1].at_ms < dues->_heap[child].at_ms) {
            child++;
        }
        if (child >= dues->_count || dues->_heap[child].at_ms >= due.at_ms) {
            break;
        }
        put(dues, place, dues->_heap[child]);
        place = child;
    }
    put(dues, place, due);
}

static void settle(gv_dues_t *dues, uint32_t place, gv_due_t due)
{
    if (place > 0 && dues->_heap[(place - 1) / 2].at_ms > due.at_ms) {
        rise(dues, place, due);
    } else {
        sink(dues, place, due);
    }
}

static void resize(gv_dues_t *dues, uint32_t capacity)
{
    dues->_heap = gv_xrealloc(dues->_heap, capacity * sizeof(gv_due_t));
    dues->_capacity = capacity;
}

void gv_dues_set(gv_dues_t *dues, gv_session_t *session, uint64_t at_ms)
{
    gv_due_t due = {.at_ms = at_ms, .session = session};
    if (session->due_place != 0) {
        settle(dues, session->due_place - 1, due);
        return;
    }
    if (dues->_count == dues->_capacity) {
        uint32_t capacity = dues->_capacity + dues->_capacity / 2;
        resize(dues, capacity < CAPACITY_MIN ? CAPACITY_MIN : capacity);
    }
    rise(dues, dues->_count++, due);
}

void gv_dues_drop(gv_dues_t *dues, gv_session_t *session)
{
    if (session->due_place == 0) {
        return;
    }
    uint32_t place = session->due_place - 1;
    session->due_place = 0;
    gv_due_t last = dues->_heap[--dues->_count];
    if (last.session != session) {
        settle(dues, place, last);
    }
    if (dues->_count > CAPACITY_MIN && dues->_count < dues->_capacity / 4) {
        resize(dues, dues->_capacity / 2);
    }
}

gv_session_t *gv_dues_take(gv_dues_t *dues, uint64_t now_ms)
{
    if (dues->_count == 0 || dues->_heap[0].at_ms > now_ms) {
        return NULL;
    }
    gv_session_t *session = dues->_heap[0].session;
    gv_dues_drop(dues, session);
    return session;
}

uint64_t gv_dues_next_ms(const gv_dues_t *dues)
{
    return dues->_count == 0 ? UINT64_MAX : dues->_heap[0].at_ms;
}
