/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/alloc.h"
#include "tests/sim/sim.h"

/* ---- the queue: a binary heap by (time, order)
 * ------------------------------------------------------ */

static bool comes_before(const sim_event_t *a, const sim_event_t *b)
{
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->order < b->order;
}

static void swap(sim_event_t *a, sim_event_t *b)
{
    sim_event_t c = *a;
    *a = *b;
    *b = c;
}

void sim_after(sim_world_t *world, uint64_t delay_ms, sim_event_t event)
{
    if (world->heap_count == world->heap_capacity) {
        world->heap_capacity = world->heap_capacity == 0 ? 256 : world->heap_capacity * 2;
        world->heap = gv_xrealloc(world->heap, world->heap_capacity * sizeof(event));
    }
    event.at_ms = world->now_ms + delay_ms;
    event.order = ++world->order;
    size_t i = world->heap_count++;
    world->heap[i] = event;
    while (i > 0 && comes_before(&world->heap[i], &world->heap[(i - 1) / 2])) {
        swap(&world->heap[i], &world->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
}

static sim_event_t take_first(sim_world_t *world)
{
    sim_event_t first = world->heap[0];
    world->heap[0] = world->heap[--world->heap_count];
    size_t i = 0;
    for (;;) {
        size_t least = i;
        for (size_t child = 2 * i + 1; child <= 2 * i + 2; child++) {
            if (child < world->heap_count &&
                comes_before(&world->heap[child], &world->heap[least])) {
                least = child;
            }
        }
        if (least == i) {
            return first;
        }
        swap(&world->heap[i], &world->heap[least]);
        i = least;
    }
}

static void run(sim_world_t *world, const sim_event_t *event)
{
    if (event->node == SIM_NODE_NONE) {
        event->run(world, event);
        return;
    }
    sim_node_t *node = &world->nodes[event->node];
    if (event->life != node->life || !sim_node_is_up(node)) {
        return;
    }
    if (node->status == SIM_PAUSED) {
        sim_node_defer(node, event);
        return;
    }
    sim_node_turn(node, event);
}

void sim_run_until(sim_world_t *world, uint64_t until_ms)
{
    while (!world->has_failed && world->heap_count > 0 && world->heap[0].at_ms <= until_ms) {
        sim_event_t event = take_first(world);
        world->now_ms = event.at_ms;
        run(world, &event);
    }
    world->now_ms = until_ms;
}

/* ---- life ---------------------------------------------------------------------------------------
 */

void sim_world_init(sim_world_t *world, uint64_t seed, size_t node_count)
{
    *world = (sim_world_t){.seed = seed, .now_ms = SIM_START_MS, .node_count = node_count};
    gv_rng_init(&world->net_rng, seed, 1);
    gv_rng_init(&world->fault_rng, seed, 2);
    gv_rng_init(&world->core_rng, seed, 3);
    gv_rng_init(&world->work_rng, seed, 4);
    gv_list_init(&world->conns);
    world->cut_for_ever[0] = SIM_NODE_NONE;
    world->cut_for_ever[1] = SIM_NODE_NONE;
    for (size_t i = 0; i < node_count; i++) {
        sim_node_t *node = &world->nodes[i];
        node->world = world;
        node->number = i;
        node->status = SIM_DOWN;
        gv_list_init(&node->deferred);
        gv_rng_fill(&world->core_rng, node->id.bytes, GV_NODE_ID_SIZE);
    }
}

void sim_world_deinit(sim_world_t *world)
{
    for (size_t i = 0; i < world->node_count; i++) {
        sim_node_t *node = &world->nodes[i];
        if (sim_node_is_up(node)) {
            sim_node_stop(node, true);
        }
    }
    sim_free_conns(world);
    gv_free(world->heap);
}

/* ---- saying what happens
 * ---------------------------------------------------------------------------- */

void sim_fail(sim_world_t *world, const char *format, ...)
{
    if (world->has_failed) {
        return;
    }
    world->has_failed = true;
    int at = snprintf(world->failure, sizeof(world->failure),
                      "at %" PRIu64 " ms: ", world->now_ms - SIM_START_MS);
    va_list args;
    va_start(args, format);
    (void)vsnprintf(world->failure + at, sizeof(world->failure) - (size_t)at, format, args);
    va_end(args);
}

void sim_trace(const sim_world_t *world, const char *format, ...)
{
    if (!world->is_verbose) {
        return;
    }
    (void)printf("%8" PRIu64 "  ", world->now_ms - SIM_START_MS);
    va_list args;
    va_start(args, format);
    (void)vprintf(format, args);
    va_end(args);
    (void)printf("\n");
}

void sim_fold(sim_world_t *world, uint64_t what, uint64_t a, uint64_t b)
{
    uint64_t words[5] = {world->hash, world->now_ms, what, a, b};
    world->hash = gv_bytes_hash(gv_bytes(words, sizeof(words)), 0);
}
