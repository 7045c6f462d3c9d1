/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_memory: how much memory the node may use, and what follows from how much it does (P9).
 *
 *      0            75 %  80 %    90 %   100 % of node.memory_max
 *      |- - - - - - - | - - | - - - | - - - |
 *        enough             scarce    critical     what peers ask for is refused (base/alloc.h)
 *                     <-----+         |
 *                           <---------+            back again, so that it does not flutter
 *
 * - enough: nothing is different.
 * - scarce: nothing new is begun: clients without a session, subscriptions and retained messages
 *   are refused, and so are QoS 1 and 2 messages that somebody could not take at once; a publisher
 *   that cannot be told so (MQTT 3) is paused.  QoS 0 for slow receivers is dropped.
 * - critical, or scarce for GV_MEMORY_PATIENCE_MS: those who hold most and move least are
 *   disconnected, until it is no longer scarce.
 *
 * Besides, how many sessions the node has, which no single shard knows: each writes its own part,
 * and whoever wants the sum adds them up.
 *
 * Threads: any; the parts are their shards'.  Sans-I/O: how much is in use is a port.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/stats.h"

typedef enum gv_memory_state {
    GV_MEMORY_ENOUGH,
    GV_MEMORY_SCARCE,
    GV_MEMORY_CRITICAL,
} gv_memory_state_t;

/* Scarce for so long, memory is not coming back by itself [ms]. */
#define GV_MEMORY_PATIENCE_MS 10000U

/* What one shard contributes.  As long as a cache line, so that writing it disturbs few. */
typedef struct gv_memory_part {
    gv_counter_t sessions;
    uint64_t _reserved[7];
} gv_memory_part_t;

_Static_assert(sizeof(gv_memory_part_t) == 64, "a cache line");

/* Public only so that its owner can embed it.  Names that start with _ are not for callers. */
typedef struct gv_memory {
    uint64_t (*_in_use)(void);
    _Atomic uint64_t _max; /* 0: no limit */
    _Atomic uint32_t _state;
    _Atomic uint64_t _since_ms; /* the state is not GV_MEMORY_ENOUGH; else 0 */
    atomic_bool _is_swollen;
    _Atomic uint64_t _times[GV_MEMORY_CRITICAL + 1];
    gv_memory_part_t *_parts;
    uint32_t _part_count;
} gv_memory_t;

/* in_use: what is used of `max` bytes, from any thread; NULL: gv_alloc_in_use(). */
void gv_memory_init(gv_memory_t *memory, uint32_t part_count, uint64_t max,
                    uint64_t (*in_use)(void));
void gv_memory_deinit(gv_memory_t *memory);

/* Another limit; 0: none. */
void gv_memory_set_max(gv_memory_t *memory, uint64_t max);
uint64_t gv_memory_max(const gv_memory_t *memory);

/*
 * The system says that the process is larger than the limit although less is in use: what the
 * allocator cannot give back.  It counts as scarce.
 */
void gv_memory_set_swollen(gv_memory_t *memory, bool is_swollen);

/* The state now.  Cheap enough for every turn of a loop. */
gv_memory_state_t gv_memory_look(gv_memory_t *memory, uint64_t now_ms);

/* The state at the last look. */
static inline gv_memory_state_t gv_memory_state(const gv_memory_t *memory)
{
    return (gv_memory_state_t)atomic_load_explicit(&memory->_state, memory_order_relaxed);
}

/* "enough" */
const char *gv_memory_state_name(gv_memory_state_t state);

/*
 * How much has to be given back by those who hold most [bytes]; 0: nobody has to.  The state must
 * have been looked at.
 */
uint64_t gv_memory_excess(const gv_memory_t *memory, uint64_t now_ms);

/* How often this state began. */
uint64_t gv_memory_times(const gv_memory_t *memory, gv_memory_state_t state);

/* A shard's own part. */
static inline gv_memory_part_t *gv_memory_part(gv_memory_t *memory, uint32_t index)
{
    GV_ASSERT(index < memory->_part_count);
    return &memory->_parts[index];
}

/* The sum of all parts. */
uint64_t gv_memory_sessions(const gv_memory_t *memory);
