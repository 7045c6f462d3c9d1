/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The node's memory as the system sees it: how much there may be, how much there is, and giving
 * back what is not in use any more.  What is done when it is scarce: broker/core/memory.h.
 */
#include <inttypes.h>

#include "base/alloc.h"
#include "base/io/memory.h"
#include "base/log.h"
#include "broker/node_p.h"

/* How often it is looked at [ms]. */
#define LOOK_MS 500U

/*
 * Less than this between what is in use and what the system counts is as it should be [bytes]; but
 * not more than a quarter of what there may be.
 */
#define SLACK_MIN ((uint64_t)16 << 20)

static uint64_t limit_of(const gv_config_t *config)
{
    return config->node.memory_max != 0 ? config->node.memory_max
                                        : gv_os_memory_available() / 4 * 3;
}

void gv__node_memory_set(gv_node_t *node)
{
    uint64_t max = limit_of(node->config);
    gv_memory_set_max(&node->memory, max);
    gv_alloc_set_max(max);
}

void gv__node_memory_init(gv_node_t *node)
{
    gv_memory_init(&node->memory, node->shard_count, 0, NULL);
    gv__node_memory_set(node);
    gv_log_info("memory", "max_bytes=%" PRIu64 " from='%s'", gv_memory_max(&node->memory),
                node->config->node.memory_max != 0 ? "node.memory_max" : "what there is");
}

void gv__node_memory_deinit(gv_node_t *node)
{
    gv_alloc_set_max(0);
    gv_memory_deinit(&node->memory);
}

/*
 * The allocator keeps what was freed, for there will be more.  After a time of need it may be far
 * more than is in use; then it goes back, once until it has grown again.
 */
static void trim(gv_node_t *node, uint64_t resident, uint64_t in_use)
{
    uint64_t max = gv_memory_max(&node->memory);
    uint64_t slack = max / 8 > SLACK_MIN ? max / 8 : SLACK_MIN;
    slack = slack < max / 4 ? slack : max / 4;
    if (in_use > node->in_use_trimmed + slack / 2) {
        node->in_use_trimmed = UINT64_MAX; /* it has grown */
    }
    bool has_changed =
        node->in_use_trimmed == UINT64_MAX || in_use + slack / 2 < node->in_use_trimmed;
    if (resident > in_use + slack && has_changed) {
        gv_os_memory_trim();
        node->in_use_trimmed = in_use;
    }
}

static void on_memory_timer(gv_timer_t *timer)
{
    gv_node_t *node = gv_container_of(timer, gv_node_t, memory_timer);
    gv_loop_assert_current(node->main_loop);
    uint64_t resident = gv_os_memory_resident();
    uint64_t in_use = gv_alloc_in_use();
    trim(node, resident, in_use);
    resident = gv_os_memory_resident();
    atomic_store_explicit(&node->resident_bytes, resident, memory_order_relaxed);
    gv_memory_set_swollen(&node->memory, resident >= gv_memory_max(&node->memory));

    gv_memory_state_t before = node->memory_state;
    node->memory_state = gv_memory_look(&node->memory, gv_loop_now_ms(node->main_loop));
    if (node->memory_state != before) {
        gv_log_warn("memory", "state='%s' before='%s' in_use_bytes=%" PRIu64 " max_bytes=%" PRIu64,
                    gv_memory_state_name(node->memory_state), gv_memory_state_name(before), in_use,
                    gv_memory_max(&node->memory));
    }
    gv_loop_timer_start(node->main_loop, timer, LOOK_MS);
}

void gv__node_memory_start(gv_node_t *node)
{
    gv_loop_assert_current(node->main_loop);
    atomic_store_explicit(&node->resident_bytes, gv_os_memory_resident(), memory_order_relaxed);
    gv_timer_init(&node->memory_timer, on_memory_timer);
    gv_loop_timer_start(node->main_loop, &node->memory_timer, LOOK_MS);
}
