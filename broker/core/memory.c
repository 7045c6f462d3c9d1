/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/memory.h"

#include "base/alloc.h"

/* Parts of the limit [%]. */
#define ENOUGH_BELOW  75U
#define SCARCE_FROM   80U
#define CRITICAL_FROM 90U

void gv_memory_init(gv_memory_t *memory, uint32_t part_count, uint64_t max,
                    uint64_t (*in_use)(void))
{
    GV_ASSERT(part_count > 0);
    *memory = (gv_memory_t){
        ._in_use = in_use != NULL ? in_use : gv_alloc_in_use,
        ._parts = gv_xcalloc(part_count, sizeof(gv_memory_part_t)),
        ._part_count = part_count,
    };
    gv_memory_set_max(memory, max);
}

void gv_memory_deinit(gv_memory_t *memory)
{
    gv_free(memory->_parts);
    memory->_parts = NULL;
}

void gv_memory_set_max(gv_memory_t *memory, uint64_t max)
{
    atomic_store_explicit(&memory->_max, max, memory_order_relaxed);
}

uint64_t gv_memory_max(const gv_memory_t *memory)
{
    return atomic_load_explicit(&memory->_max, memory_order_relaxed);
}

void gv_memory_set_swollen(gv_memory_t *memory, bool is_swollen)
{
    atomic_store_explicit(&memory->_is_swollen, is_swollen, memory_order_relaxed);
}

static uint64_t part_of(uint64_t max, uint64_t percent)
{
    return max / 100 * percent;
}

static gv_memory_state_t judge(const gv_memory_t *memory, gv_memory_state_t before)
{
    uint64_t max = gv_memory_max(memory);
    if (max == 0) {
        return GV_MEMORY_ENOUGH;
    }
    uint64_t in_use = memory->_in_use();
    if (in_use >= part_of(max, before == GV_MEMORY_CRITICAL ? SCARCE_FROM : CRITICAL_FROM)) {
        return GV_MEMORY_CRITICAL;
    }
    if (in_use >= part_of(max, before == GV_MEMORY_ENOUGH ? SCARCE_FROM : ENOUGH_BELOW)) {
        return GV_MEMORY_SCARCE;
    }
    bool is_swollen = atomic_load_explicit(&memory->_is_swollen, memory_order_relaxed);
    return is_swollen ? GV_MEMORY_SCARCE : GV_MEMORY_ENOUGH;
}

gv_memory_state_t gv_memory_look(gv_memory_t *memory, uint64_t now_ms)
{
    uint32_t before = atomic_load_explicit(&memory->_state, memory_order_relaxed);
    gv_memory_state_t state = judge(memory, (gv_memory_state_t)before);
    if (state == before) {
        return state;
    }
    /* Of several threads that see it at once one notes it. */
    if (atomic_compare_exchange_strong_explicit(&memory->_state, &before, (uint32_t)state,
                                                memory_order_relaxed, memory_order_relaxed)) {
        atomic_fetch_add_explicit(&memory->_times[state], 1, memory_order_relaxed);
        if (state == GV_MEMORY_ENOUGH) {
            atomic_store_explicit(&memory->_since_ms, 0, memory_order_relaxed);
        } else if (before == GV_MEMORY_ENOUGH) {
            atomic_store_explicit(&memory->_since_ms, now_ms, memory_order_relaxed);
        }
    }
    return state;
}

const char *gv_memory_state_name(gv_memory_state_t state)
{
    switch (state) {
    case GV_MEMORY_ENOUGH:
        return "enough";
    case GV_MEMORY_SCARCE:
        return "scarce";
    case GV_MEMORY_CRITICAL:
        return "critical";
    }
    return "?";
}

uint64_t gv_memory_excess(const gv_memory_t *memory, uint64_t now_ms)
{
    gv_memory_state_t state = gv_memory_state(memory);
    uint64_t since_ms = atomic_load_explicit(&memory->_since_ms, memory_order_relaxed);
    bool is_lasting = since_ms != 0 && now_ms >= since_ms + GV_MEMORY_PATIENCE_MS;
    if (state == GV_MEMORY_ENOUGH || (state == GV_MEMORY_SCARCE && !is_lasting)) {
        return 0;
    }
    uint64_t in_use = memory->_in_use();
    uint64_t wanted = part_of(gv_memory_max(memory), ENOUGH_BELOW);
    return in_use > wanted ? in_use - wanted : 0;
}

uint64_t gv_memory_times(const gv_memory_t *memory, gv_memory_state_t state)
{
    return atomic_load_explicit(&memory->_times[state], memory_order_relaxed);
}

/* ---- totals --------------------------------------------------------------------------------- */

uint64_t gv_memory_sessions(const gv_memory_t *memory)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < memory->_part_count; i++) {
        sum += gv_counter_get(&memory->_parts[i].sessions);
    }
    return sum;
}
