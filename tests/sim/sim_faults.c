/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/sim.h"

/* What goes wrong while the chaos lasts; each fault undoes itself after a while. */

static uint32_t between(sim_world_t *world, uint32_t low, uint32_t high)
{
    return low + gv_rng_below(&world->fault_rng, high - low + 1);
}

static size_t any_node(sim_world_t *world)
{
    return gv_rng_below(&world->fault_rng, (uint32_t)world->node_count);
}

static size_t other_node(sim_world_t *world, size_t than)
{
    size_t other = gv_rng_below(&world->fault_rng, (uint32_t)world->node_count - 1);
    return other >= than ? other + 1 : other;
}

static size_t up_count(const sim_world_t *world)
{
    size_t count = 0;
    for (size_t i = 0; i < world->node_count; i++) {
        count += world->nodes[i].status == SIM_RUNNING ? 1 : 0;
    }
    return count;
}

/* ---- cuts
 * ------------------------------------------------------------------------------------------- */

static void on_healed(sim_world_t *world, const sim_event_t *event)
{
    sim_trace(world, "cut n%llu -> n%llu healed", (unsigned long long)event->number,
              (unsigned long long)event->other);
    sim_heal(world, event->number, event->other);
}

static void cut_for(sim_world_t *world, size_t from, size_t to, uint64_t ms)
{
    sim_trace(world, "cut n%zu -> n%zu for %llu ms", from, to, (unsigned long long)ms);
    sim_cut(world, from, to);
    sim_after(world, ms,
              (sim_event_t){.run = on_healed, .node = SIM_NODE_NONE, .number = from, .other = to});
}

static void one_way_cut(sim_world_t *world)
{
    size_t a = any_node(world);
    cut_for(world, a, other_node(world, a), between(world, 100, 5000));
}

static void two_way_cut(sim_world_t *world)
{
    size_t a = any_node(world);
    size_t b = other_node(world, a);
    uint64_t ms = between(world, 100, 6000);
    cut_for(world, a, b, ms);
    cut_for(world, b, a, ms);
}

/* Long enough to be held for dead, and at times to have the rows purged. */
static void partition(sim_world_t *world)
{
    uint64_t side = gv_rng_u64(&world->fault_rng);
    uint64_t ms = between(world, 500, 10000);
    for (size_t a = 0; a < world->node_count; a++) {
        for (size_t b = 0; b < world->node_count; b++) {
            if ((side >> a & 1) != (side >> b & 1)) {
                cut_for(world, a, b, ms);
            }
        }
    }
}

static void break_link(sim_world_t *world)
{
    size_t a = any_node(world);
    size_t b = other_node(world, a);
    sim_trace(world, "n%zu - n%zu breaks", a, b);
    world->breaks++;
    sim_break(world, a, b);
}

static void on_flap(sim_world_t *world, const sim_event_t *event)
{
    sim_break(world, event->number >> 8, event->number & 0xff);
    if (event->other > 0) {
        sim_event_t again = *event;
        again.other--;
        sim_after(world, 200, again);
    }
}

static void flap(sim_world_t *world)
{
    size_t a = any_node(world);
    size_t b = other_node(world, a);
    sim_trace(world, "n%zu - n%zu flaps", a, b);
    sim_after(
        world, 1,
        (sim_event_t){.run = on_flap, .node = SIM_NODE_NONE, .number = a << 8 | b, .other = 10});
}

static void on_fast(sim_world_t *world, const sim_event_t *event)
{
    world->slow[event->number][event->other] = 0;
}

static void slow_link(sim_world_t *world)
{
    size_t a = any_node(world);
    size_t b = other_node(world, a);
    world->slow[a][b] = between(world, 5, 200);
    sim_trace(world, "n%zu -> n%zu is slow", a, b);
    sim_after(world, between(world, 500, 5000),
              (sim_event_t){.run = on_fast, .node = SIM_NODE_NONE, .number = a, .other = b});
}

/* ---- processes
 * ---------------------------------------------------------------------------------------- */

static sim_restart_t any_restart(sim_world_t *world)
{
    uint32_t draw = gv_rng_below(&world->fault_rng, 10);
    return draw < 6   ? SIM_RESTART_NORMAL
           : draw < 8 ? SIM_RESTART_LOST
           : draw < 9 ? SIM_RESTART_OLD_COPY
                      : SIM_RESTART_NEW_ID;
}

static void on_start(sim_world_t *world, const sim_event_t *event)
{
    sim_node_t *node = &world->nodes[event->number];
    if (!sim_node_is_up(node) && !node->is_away) {
        sim_node_start(node, (sim_restart_t)event->other);
    }
}

static void start_later(sim_world_t *world, size_t node, uint64_t ms)
{
    world->restarts++;
    sim_after(
        world, ms,
        (sim_event_t){
            .run = on_start, .node = SIM_NODE_NONE, .number = node, .other = any_restart(world)});
}

static void kill_node(sim_world_t *world)
{
    size_t a = any_node(world);
    if (sim_node_is_up(&world->nodes[a])) {
        sim_node_stop(&world->nodes[a], gv_rng_chance(&world->fault_rng, 40));
        start_later(world, a, between(world, 1, 7000));
    }
}

static void kill_many(sim_world_t *world)
{
    for (size_t i = 0; i < world->node_count; i++) {
        if (sim_node_is_up(&world->nodes[i]) && gv_rng_chance(&world->fault_rng, 70)) {
            sim_node_stop(&world->nodes[i], gv_rng_chance(&world->fault_rng, 30));
            start_later(world, i, between(world, 1, 4000));
        }
    }
}

static void leave(sim_world_t *world)
{
    size_t a = any_node(world);
    if (world->nodes[a].status == SIM_RUNNING) {
        sim_node_leave(&world->nodes[a]);
        start_later(world, a, between(world, 500, 5000));
    }
}

static void on_woken(sim_world_t *world, const sim_event_t *event)
{
    sim_ask_barrier(&world->nodes[event->node]);
}

/* A client's SUBSCRIBE has been waiting, and is read among the first things. */
static void on_resume(sim_world_t *world, const sim_event_t *event)
{
    sim_node_t *node = &world->nodes[event->number];
    if (node->status == SIM_PAUSED) {
        sim_after(world, 0,
                  (sim_event_t){.run = on_woken, .node = node->number, .life = node->life});
    }
    sim_node_resume(node);
}

static void pause_node(sim_world_t *world)
{
    size_t a = any_node(world);
    if (world->nodes[a].status == SIM_RUNNING && up_count(world) > 2) {
        sim_node_pause(&world->nodes[a]);
        sim_after(world, between(world, 100, 9000),
                  (sim_event_t){.run = on_resume, .node = SIM_NODE_NONE, .number = a});
    }
}

size_t sim_any_node_up(sim_world_t *world)
{
    GV_ASSERT(up_count(world) > 0);
    size_t a = any_node(world);
    while (world->nodes[a].status != SIM_RUNNING) {
        a = (a + 1) % world->node_count;
    }
    return a;
}

bool sim_forget_someone(sim_node_t *node)
{
    for (gv_node_index_t index = 1; index < GV_NODES_MAX; index++) {
        gv_member_status_t status;
        if (gv_ccore_member(node->core, index, &status) &&
            gv_ccore_forget(node->core, index) == GV_OK) {
            sim_trace(node->world, "n%zu is told to forget '%s'", node->number, status.name);
            gv_ccore_tick(node->core, node->world->now_ms);
            return true;
        }
    }
    return false;
}

static void on_forget_fault(sim_world_t *world, const sim_event_t *event)
{
    (void)sim_forget_someone(&world->nodes[event->node]);
}

/* Rashly: it may be alive, on the other side of a cut. */
static void forget_someone(sim_world_t *world)
{
    if (up_count(world) > 0) {
        const sim_node_t *node = &world->nodes[sim_any_node_up(world)];
        sim_after(world, 0,
                  (sim_event_t){.run = on_forget_fault, .node = node->number, .life = node->life});
    }
}

/* ---- the chaos
 * ---------------------------------------------------------------------------------------- */

static void on_fault(sim_world_t *world, const sim_event_t *event)
{
    static void (*const faults[])(sim_world_t *) = {
        one_way_cut, two_way_cut, partition, break_link, break_link, break_link, flap,
        slow_link,   kill_node,   kill_node, leave,      pause_node, kill_many,  forget_someone,
    };
    if (!world->is_chaos) {
        return;
    }
    faults[gv_rng_below(&world->fault_rng, sizeof(faults) / sizeof(faults[0]))](world);
    sim_after(world, between(world, 50, 2000), *event);
}

void sim_faults_begin(sim_world_t *world)
{
    world->is_chaos = true;
    if (gv_rng_chance(&world->fault_rng, 30)) {
        size_t a = any_node(world);
        size_t b = other_node(world, a);
        sim_trace(world, "n%zu - n%zu is cut for ever", a, b);
        sim_cut(world, a, b);
        sim_cut(world, b, a);
        world->cut_for_ever[0] = a;
        world->cut_for_ever[1] = b;
    }
    sim_after(world, 1000, (sim_event_t){.run = on_fault, .node = SIM_NODE_NONE});
}

/* The undoing of all that is under way is scheduled already: it is brought forward here. */
void sim_faults_end(sim_world_t *world)
{
    world->is_chaos = false;
    size_t dead = SIM_NODE_NONE;
    if (world->cut_for_ever[0] == SIM_NODE_NONE && gv_rng_chance(&world->fault_rng, 30)) {
        dead = any_node(world); /* one that stays away, so that ghosts would show */
    }
    for (size_t i = 0; i < world->node_count; i++) {
        sim_node_t *node = &world->nodes[i];
        sim_node_resume(node);
        if (i == dead) {
            if (sim_node_is_up(node)) {
                sim_node_stop(node, false);
            }
            node->is_away = true;
        } else if (!sim_node_is_up(node)) {
            sim_node_start(node, SIM_RESTART_NORMAL);
        }
    }
}
