/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "tests/sim/sim.h"

/* A node's host: it gives the core its turns, and writes down what comes out of its ports. */

typedef struct deferred {
    gv_link_t link;
    sim_event_t event;
} deferred_t;

bool sim_node_is_up(const sim_node_t *node)
{
    return node->status == SIM_RUNNING || node->status == SIM_PAUSED;
}

sim_node_t *sim_node_at(sim_node_t *viewer, gv_node_index_t index)
{
    gv_member_status_t status;
    if (!gv_ccore_member(viewer->core, index, &status)) {
        return NULL;
    }
    for (size_t i = 0; i < viewer->world->node_count; i++) {
        sim_node_t *node = &viewer->world->nodes[i];
        if (memcmp(node->id.bytes, status.id.bytes, GV_NODE_ID_SIZE) == 0) {
            return node;
        }
    }
    return NULL;
}

gv_node_index_t sim_index_of(const sim_node_t *viewer, const sim_node_t *node)
{
    return gv_ccore_index_of(viewer->core, &node->id);
}

/* ---- ports
 * ------------------------------------------------------------------------------------------ */

static void port_send(gv_link_id_t link, gv_link_priority_t priority, gv_frame_kind_t kind,
                      gv_bytes_t body, void *arg)
{
    sim_send(arg, link, priority, kind, body);
}

static void port_dial(const char *address, uint64_t token, void *arg)
{
    sim_dial(arg, address, token);
}

static void port_close(gv_link_id_t link, gv_link_close_t reason, const char *text, void *arg)
{
    sim_node_t *node = arg;
    sim_trace(node->world, "n%zu closes link %llu: %s (%s)", node->number, (unsigned long long)link,
              gv_link_close_text(reason), text);
    if (reason == GV_LINK_CLOSE_MALFORMED) {
        sim_fail(node->world, "n%zu was sent a malformed frame: %s", node->number, text);
    }
    sim_close(node, link);
}

static void port_row(gv_node_index_t index, gv_bytes_t key, uint32_t value, void *arg)
{
    sim_on_row(arg, index, key, value);
}

static void port_node(gv_node_index_t index, gv_node_event_t event, void *arg)
{
    sim_on_node(arg, index, event);
}

static void port_deliver(const gv_delivery_t *delivery, const gv_forward_t *msg, void *arg)
{
    sim_on_deliver(arg, delivery, msg);
}

static void port_confirmed(uint64_t token, gv_node_index_t index, gv_forward_result_t result,
                           const gv_forward_t *lost, void *arg)
{
    sim_on_confirmed(arg, token, index, result, lost);
}

static bool port_overdue(uint64_t *token, gv_node_index_t index, const gv_forward_t *msg, void *arg)
{
    return sim_on_overdue(arg, token, index, msg);
}

/* The simulated hosts have no retained messages. */
static void port_note(gv_node_index_t index, gv_frame_kind_t kind, gv_bytes_t body, void *arg)
{
    (void)index, (void)kind, (void)body, (void)arg;
}

static void port_claimed(const gv_claim_t *claim, gv_claim_verdict_t verdict, void *arg)
{
    (void)claim, (void)verdict, (void)arg;
}

static void port_let_go(const gv_letting_t *letting, void *arg)
{
    (void)letting, (void)arg;
}

static void port_barrier(uint64_t token, bool in_time, void *arg)
{
    sim_on_barrier(arg, token, in_time);
}

static void port_start_counter(uint64_t start_counter, void *arg)
{
    sim_node_t *node = arg;
    sim_trace(node->world, "n%zu raises its start counter to %llu", node->number,
              (unsigned long long)start_counter);
    node->start_counter = start_counter;
}

static void port_report(gv_ccore_event_t event, const char *text, void *arg)
{
    sim_node_t *node = arg;
    sim_trace(node->world, "n%zu reports: %s", node->number, text);
    sim_fold(node->world, 4, (uint64_t)event, gv_bytes_hash(gv_bytes_text(text), 0));
    if (event == GV_CCORE_EVENT_TABLE_MISMATCH) {
        sim_fail(node->world, "n%zu: %s", node->number, text);
    }
}

/* ---- turns
 * ------------------------------------------------------------------------------------------ */

static void on_wake(sim_world_t *world, const sim_event_t *event)
{
    world->nodes[event->node].wake_ms = 0; /* the turn itself is all there is to do */
}

static void schedule_wake(sim_node_t *node)
{
    uint64_t deadline_ms = gv_ccore_next_deadline_ms(node->core);
    if (deadline_ms < node->world->now_ms + 1) {
        deadline_ms = node->world->now_ms + 1;
    }
    if (node->wake_ms != 0 && node->wake_ms <= deadline_ms) {
        return;
    }
    node->wake_ms = deadline_ms;
    sim_after(node->world, deadline_ms - node->world->now_ms,
              (sim_event_t){.run = on_wake, .node = node->number, .life = node->life});
}

/* How many nodes are held for suspect or worse. */
static size_t count_doubted(const sim_node_t *node)
{
    size_t count = 0;
    for (gv_node_index_t index = 1; index < GV_NODES_MAX; index++) {
        gv_member_status_t status;
        count += gv_ccore_member(node->core, index, &status) && status.view.state != GV_MEMBER_ALIVE
                     ? 1
                     : 0;
    }
    return count;
}

/* The first tick after a pause: that we heard nothing says nothing about anybody else. */
static void tick_after_pause(sim_node_t *node)
{
    sim_world_t *world = node->world;
    bool is_long = world->now_ms - node->paused_ms > 500;
    node->paused_ms = 0;
    size_t before = count_doubted(node);
    gv_ccore_tick(node->core, world->now_ms);
    if (is_long && count_doubted(node) > before) {
        sim_fail(world, "n%zu wakes from a pause and suspects the others", node->number);
    }
}

void sim_node_turn(sim_node_t *node, const sim_event_t *event)
{
    sim_world_t *world = node->world;
    if (node->paused_ms != 0) {
        tick_after_pause(node);
    } else {
        gv_ccore_tick(node->core, world->now_ms);
    }
    event->run(world, event);
    if (node->core == NULL || event->life != node->life) {
        return; /* it stopped in this very turn */
    }
    gv_ccore_flush(node->core);
    schedule_wake(node);
}

void sim_node_defer(sim_node_t *node, const sim_event_t *event)
{
    deferred_t *deferred = GV_NEW(deferred_t);
    deferred->event = *event;
    gv_list_append(&node->deferred, &deferred->link);
}

void sim_node_pause(sim_node_t *node)
{
    if (node->status == SIM_RUNNING) {
        sim_trace(node->world, "n%zu is paused", node->number);
        node->status = SIM_PAUSED;
        node->paused_ms = node->world->now_ms;
    }
}

void sim_node_resume(sim_node_t *node)
{
    if (node->status != SIM_PAUSED) {
        return;
    }
    sim_trace(node->world, "n%zu goes on", node->number);
    node->status = SIM_RUNNING;
    gv_link_t *link;
    while ((link = gv_list_take_first(&node->deferred)) != NULL) {
        deferred_t *deferred = gv_container_of(link, deferred_t, link);
        sim_event_t event = deferred->event;
        gv_free(deferred);
        sim_after(node->world, 0, event);
    }
}

/* ---- starting and stopping
 * ---------------------------------------------------------------------------- */

static void choose_identity(sim_node_t *node, sim_restart_t how)
{
    gv_rng_t *rng = &node->world->core_rng;
    if (how == SIM_RESTART_NORMAL && node->world->restart_keeps_incarnation &&
        node->start_counter > 0) {
        return; /* the broken rule */
    }
    node->boot_id = gv_rng_u64(rng);
    switch (how) {
    case SIM_RESTART_NORMAL:
        node->start_counter++;
        break;
    case SIM_RESTART_LOST:
        node->start_counter = 1;
        break;
    case SIM_RESTART_OLD_COPY:
        node->start_counter = node->start_counter > 1 ? node->start_counter - 1 : 1;
        break;
    case SIM_RESTART_NEW_ID:
    case SIM_RESTART_KINDS:
        gv_rng_fill(rng, node->id.bytes, GV_NODE_ID_SIZE);
        node->start_counter = 1;
        break;
    }
}

static void fill_options(sim_node_t *node, gv_ccore_options_t *options)
{
    gv_ccore_options_init(options);
    options->self = (gv_peer_identity_t){
        .id = node->id, .incarnation = {node->start_counter, node->boot_id}, .cluster = "sim"};
    (void)snprintf(options->self.name, sizeof(options->self.name), "n%zu", node->number);
    (void)snprintf(options->self.address, sizeof(options->self.address), "n%zu:7883", node->number);
    options->random_seed = gv_rng_u64(&node->world->core_rng);
    options->now_ms = node->world->now_ms;
    /* Rare paths made common: short purge, few tombstones, small pieces, little credit. */
    options->timing.purge = 5000;
    options->timing.forget = 600000;
    options->limits.tombstones = 12;
    options->limits.piece_bytes = 400;
    options->limits.forward_window_bytes = 80000;
    options->limits.forward_queue_bytes = 200000;
    options->limits.overdue_bytes = 50000;
    options->switches = node->world->switches;
    options->ports = (gv_ccore_ports_t){
        .send = port_send,
        .dial = port_dial,
        .close = port_close,
        .row = port_row,
        .node = port_node,
        .deliver = port_deliver,
        .confirmed = port_confirmed,
        .overdue = port_overdue,
        .note = port_note,
        .claimed = port_claimed,
        .let_go = port_let_go,
        .barrier = port_barrier,
        .start_counter = port_start_counter,
        .report = port_report,
        .arg = node,
    };
}

void sim_node_start(sim_node_t *node, sim_restart_t how)
{
    static const char *const seeds[] = {"n0:7883", "n1:7883"};
    GV_ASSERT(!sim_node_is_up(node));
    choose_identity(node, how);
    memset(node->truth, 0, sizeof(node->truth));
    memset(node->mirror, 0, sizeof(node->mirror));
    node->life++;
    node->is_leaving = false;
    node->wake_ms = 0;
    node->paused_ms = 0;
    node->status = SIM_RUNNING;
    gv_ccore_options_t options;
    fill_options(node, &options);
    options.seeds = seeds;
    options.seed_count = 2;
    gv_ccore_new(&options, &node->core);
    sim_trace(node->world, "n%zu starts, life %u, counter %llu, way %d", node->number, node->life,
              (unsigned long long)node->start_counter, (int)how);
    schedule_wake(node);
}

void sim_node_stop(sim_node_t *node, bool is_silent)
{
    sim_trace(node->world, "n%zu stops%s", node->number, is_silent ? " silently" : "");
    sim_drop_node(node->world, node->number, is_silent);
    node->status = is_silent ? SIM_DOWN_SILENT : SIM_DOWN;
    gv_ccore_free(&node->core);
    gv_link_t *link;
    while ((link = gv_list_take_first(&node->deferred)) != NULL) {
        gv_free(gv_container_of(link, deferred_t, link));
    }
}

void sim_node_leave(sim_node_t *node)
{
    sim_trace(node->world, "n%zu leaves", node->number);
    gv_ccore_tick(node->core, node->world->now_ms);
    node->is_leaving = true;
    gv_ccore_leave(node->core);
    gv_ccore_flush(node->core);
    node->status = SIM_DOWN;
    gv_ccore_free(&node->core);
}
