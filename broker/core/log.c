/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_LOG

#include "broker/core/log.h"

#include "base/alloc.h"
#include "base/defs.h"

/*
 * What a shared payload costs: LMDB gives a value whole pages, with a head, and each holder has a
 * key [bytes].
 */
#define PAGE_SIZE  4096U
#define VALUE_HEAD 40U
#define HOLDER     48U

static size_t shared_room(size_t size, uint32_t shards)
{
    size_t pages = (size + VALUE_HEAD + PAGE_SIZE - 1) / PAGE_SIZE;
    return pages * PAGE_SIZE + (size_t)shards * HOLDER;
}

void gv_log_init(gv_log_t *log)
{
    *log = (gv_log_t){0};
    atomic_init(&log->next_number, 1);
    atomic_init(&log->next_payload, 1);
}

void gv_log_deinit(gv_log_t *log)
{
    for (uint32_t i = 0; i < log->old_count; i++) {
        gv_free(log->old[i].payloads);
    }
    gv_free(log->old);
    log->old = NULL;
}

void gv_log_add_old(gv_log_t *log, const gv_old_segment_t *old)
{
    GV_ASSERT(log->old_count == 0 || log->old[log->old_count - 1].number < old->number);
    if (log->old_count == log->old_capacity) {
        log->old_capacity = log->old_capacity == 0 ? 64 : log->old_capacity * 2;
        log->old = gv_xrealloc(log->old, log->old_capacity * sizeof(*log->old));
    }
    gv_old_segment_t *added = &log->old[log->old_count++];
    added->number = old->number;
    added->payloads = old->payloads;
    added->payload_count = old->payload_count;
    added->bytes = old->bytes;
    added->deliveries = old->deliveries;
    atomic_init(&added->holders, 0);
    gv_log_pass_by(log, old->number);
}

void gv_log_pass_by(gv_log_t *log, uint64_t number)
{
    if (number < GV_LOG_NUMBER_MAX &&
        atomic_load_explicit(&log->next_number, memory_order_relaxed) <= number) {
        atomic_store_explicit(&log->next_number, number + 1, memory_order_relaxed);
    }
}

void gv_log_hold_old(gv_log_t *log, uint64_t number)
{
    atomic_fetch_add_explicit(&log->old[gv_log_find_old(log, number)].holders, 1,
                              memory_order_relaxed);
}

uint64_t gv_log_next_number(gv_log_t *log)
{
    return atomic_fetch_add_explicit(&log->next_number, 1, memory_order_relaxed);
}

void gv_log_pass_payload(gv_log_t *log, uint64_t number)
{
    if (atomic_load_explicit(&log->next_payload, memory_order_relaxed) <= number) {
        atomic_store_explicit(&log->next_payload, number + 1, memory_order_relaxed);
    }
}

uint64_t gv_log_name_payload(gv_log_t *log, size_t size, uint32_t shards)
{
    if (size < GV_LOG_SHARED_MIN || shared_room(size, shards) >= size * shards) {
        return 0;
    }
    return atomic_fetch_add_explicit(&log->next_payload, 1, memory_order_relaxed);
}

uint32_t gv_log_find_old(const gv_log_t *log, uint64_t number)
{
    uint32_t low = 0;
    uint32_t high = log->old_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (log->old[middle].number < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    GV_ASSERT(low < log->old_count);
    GV_ASSERT(log->old[low].number == number);
    return low;
}

void gv_log_release_old(gv_log_t *log, uint64_t number)
{
    gv_old_segment_t *old = &log->old[gv_log_find_old(log, number)];
    /* Pairs with the acquire in gv_log_may_take_old(): the marks of the releasing shard are
     * durable. */
    uint32_t before = atomic_fetch_sub_explicit(&old->holders, 1, memory_order_acq_rel);
    GV_ASSERT(before > 0);
}

bool gv_log_may_take_old(const gv_log_t *log)
{
    return log->old_deleting < log->old_count &&
           atomic_load_explicit(&log->old[log->old_deleting].holders, memory_order_acquire) == 0;
}

const gv_old_segment_t *gv_log_take_old(gv_log_t *log)
{
    return gv_log_may_take_old(log) ? &log->old[log->old_deleting++] : NULL;
}

void gv_log_old_deleted(gv_log_t *log, uint32_t count)
{
    /* Pairs with gv_log_old_is_gone(). */
    atomic_store_explicit(&log->old_gone, count, memory_order_release);
}

bool gv_log_old_is_gone(const gv_log_t *log)
{
    return atomic_load_explicit(&log->old_gone, memory_order_acquire) == log->old_count;
}
