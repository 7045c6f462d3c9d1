/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_QUEUES

#include "broker/core/queue.h"

#include "base/alloc.h"

gv_queued_extra_t *gv_queued_extra_new(const uint32_t *ids, size_t count, const gv_ticket_t *loan)
{
    if (count < 2 && loan == NULL) {
        return NULL;
    }
    size_t id_count = count < 2 ? 0 : count;
    gv_queued_extra_t *extra = gv_xalloc(sizeof(*extra) + id_count * sizeof(*ids));
    *extra = (gv_queued_extra_t){.id_count = (uint32_t)id_count};
    if (loan != NULL) {
        GV_ASSERT(loan->is_loan != 0);
        extra->loan = *loan;
    }
    if (id_count > 0) {
        memcpy(extra->ids, ids, id_count * sizeof(*ids));
    }
    return extra;
}

gv_ticket_t gv_queued_take_loan(gv_queued_extra_t *extra)
{
    gv_ticket_t loan = {.is_loan = 0};
    if (extra != NULL) {
        loan = extra->loan;
        extra->loan.is_loan = 0;
    }
    return loan;
}

static void release(gv_queued_t *delivery)
{
    gv_msgbuf_unref(&delivery->kept);
    gv_free(delivery->extra);
    delivery->extra = NULL;
}

void gv_queued_drop(gv_queued_t *delivery)
{
    GV_ASSERT(delivery->extra == NULL || delivery->extra->loan.is_loan == 0);
    release(delivery);
}

static gv_queued_t *at(const gv_queue_t *queue, uint32_t position)
{
    return &queue->_ring[(queue->_head + position) & (queue->_capacity - 1)];
}

static void grow(gv_queue_t *queue)
{
    uint32_t capacity = queue->_capacity == 0 ? 8 : queue->_capacity * 2;
    gv_queued_t *ring = gv_xcalloc(capacity, sizeof(*ring));
    for (uint32_t i = 0; i < queue->count; i++) {
        ring[i] = *at(queue, i);
    }
    gv_free(queue->_ring);
    queue->_ring = ring;
    queue->_head = 0;
    queue->_capacity = capacity;
}

void gv_queue_push(gv_queue_t *queue, gv_queued_t delivery)
{
    GV_ASSERT(delivery.kept != NULL);
    if (queue->count == queue->_capacity) {
        grow(queue);
    }
    *at(queue, queue->count) = delivery;
    queue->count++;
    queue->bytes += gv_msgbuf_bytes(delivery.kept).size;
}

gv_queued_t *gv_queue_first(gv_queue_t *queue)
{
    return queue->count == 0 ? NULL : at(queue, 0);
}

gv_queued_t gv_queue_take(gv_queue_t *queue)
{
    GV_ASSERT(queue->count > 0);
    gv_queued_t taken = *at(queue, 0);
    queue->_head = (queue->_head + 1) & (queue->_capacity - 1);
    queue->count--;
    queue->bytes -= gv_msgbuf_bytes(taken.kept).size;
    if (queue->count == 0) {
        gv_free(queue->_ring);
        *queue = (gv_queue_t){0};
    }
    return taken;
}

void gv_queue_clear(gv_queue_t *queue)
{
    while (queue->count > 0) {
        gv_queued_t taken = gv_queue_take(queue);
        release(&taken);
    }
}
