/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "tests/sim/sim.h"

/*
 * Connections behave as TCP does: frames arrive in order and once, or not at all because the
 * connection is gone.  Under a cut they wait, as retransmitted segments would, and go on when it is
 * healed.  Control frames may overtake data, data takes its time on a slow link.
 */

#define DIAL_TIMEOUT_MS 1000U

static uint64_t latency_ms(sim_world_t *world)
{
    return 1 + gv_rng_below(&world->net_rng, 4);
}

static void free_frames(sim_direction_t *direction)
{
    for (size_t priority = 0; priority < 2; priority++) {
        gv_link_t *link;
        while ((link = gv_list_take_first(&direction->frames[priority])) != NULL) {
            gv_free(gv_container_of(link, sim_frame_t, link));
        }
    }
}

void sim_free_conns(sim_world_t *world)
{
    gv_link_t *link;
    while ((link = gv_list_take_first(&world->conns)) != NULL) {
        sim_conn_t *conn = gv_container_of(link, sim_conn_t, link);
        free_frames(&conn->direction[0]);
        free_frames(&conn->direction[1]);
        gv_free(conn);
    }
    gv_free(world->conn_of_link);
}

/* ---- delivering
 * ------------------------------------------------------------------------------------- */

static void on_closed(sim_world_t *world, const sim_event_t *event)
{
    sim_conn_t *conn = event->conn;
    if (conn->is_open[event->number]) {
        conn->is_open[event->number] = false;
        sim_fold(world, 1, event->node, conn->id[event->number]);
        gv_ccore_link_closed(world->nodes[event->node].core, conn->id[event->number]);
    }
}

static void tell_closed(sim_world_t *world, sim_conn_t *conn, size_t end, uint64_t delay_ms)
{
    sim_after(world, delay_ms,
              (sim_event_t){.run = on_closed,
                            .node = conn->node[end],
                            .life = conn->life[end],
                            .conn = conn,
                            .number = end});
}

static void on_frame(sim_world_t *world, const sim_event_t *event);

/* Schedules the delivery of the first frame, if there is one and nothing is in its way. */
static void pump(sim_world_t *world, sim_conn_t *conn, size_t from, size_t priority)
{
    sim_direction_t *direction = &conn->direction[from];
    size_t to = 1 - from;
    if (direction->is_pumping[priority] || world->blocked[conn->node[from]][conn->node[to]] > 0) {
        return;
    }
    gv_link_t *first = gv_list_first(&direction->frames[priority]);
    if (first == NULL) {
        if (direction->is_closing && priority == GV_LINK_CONTROL) {
            tell_closed(world, conn, to, 0);
        }
        return;
    }
    uint64_t arrives_ms = gv_container_of(first, sim_frame_t, link)->arrives_ms;
    direction->is_pumping[priority] = true;
    sim_after(world, arrives_ms > world->now_ms ? arrives_ms - world->now_ms : 0,
              (sim_event_t){.run = on_frame,
                            .node = conn->node[to],
                            .life = conn->life[to],
                            .conn = conn,
                            .number = from,
                            .other = priority});
}

static void on_frame(sim_world_t *world, const sim_event_t *event)
{
    sim_conn_t *conn = event->conn;
    size_t from = event->number;
    size_t priority = event->other;
    sim_direction_t *direction = &conn->direction[from];
    direction->is_pumping[priority] = false;
    if (world->blocked[conn->node[from]][conn->node[1 - from]] > 0) {
        return; /* sim_heal() goes on */
    }
    gv_link_t *link = gv_list_take_first(&direction->frames[priority]);
    if (link == NULL) {
        return; /* the connection broke meanwhile */
    }
    sim_frame_t *frame = gv_container_of(link, sim_frame_t, link);
    if (conn->is_open[1 - from]) {
        sim_fold(world, 2, conn->id[1 - from] << 8 | (uint64_t)frame->kind,
                 gv_bytes_hash(gv_bytes(frame->body, frame->size), 0));
        gv_ccore_link_frame(world->nodes[event->node].core, conn->id[1 - from], frame->kind,
                            gv_bytes(frame->body, frame->size));
    }
    gv_free(frame);
    pump(world, conn, from, priority);
}

static sim_conn_t *conn_of(const sim_node_t *node, gv_link_id_t id, size_t *end_out)
{
    const sim_world_t *world = node->world;
    sim_conn_t *conn = id <= world->link_id ? world->conn_of_link[id] : NULL;
    if (conn == NULL) {
        return NULL;
    }
    *end_out = conn->id[0] == id ? 0 : 1;
    return conn->node[*end_out] == node->number ? conn : NULL;
}

static gv_link_id_t new_link(sim_world_t *world, sim_conn_t *conn)
{
    gv_link_id_t id = ++world->link_id;
    world->conn_of_link = gv_xrealloc(world->conn_of_link, (id + 1) * sizeof(sim_conn_t *));
    world->conn_of_link[0] = NULL;
    world->conn_of_link[id] = conn;
    return id;
}

void sim_send(sim_node_t *from, gv_link_id_t link, gv_link_priority_t priority,
              gv_frame_kind_t kind, gv_bytes_t body)
{
    sim_world_t *world = from->world;
    size_t end = 0;
    sim_conn_t *conn = conn_of(from, link, &end);
    if (conn == NULL || !conn->is_open[end]) {
        sim_fail(world, "n%zu sends on link %llu, which is closed", from->number,
                 (unsigned long long)link);
        return;
    }
    if (conn->is_broken) {
        return;
    }
    if (body.size > GV_FRAME_BODY_MAX) {
        sim_fail(world, "n%zu sends a frame of %zu bytes", from->number, body.size);
        return;
    }
    sim_direction_t *direction = &conn->direction[end];
    sim_frame_t *frame = gv_xalloc(sizeof(*frame) + body.size);
    *frame = (sim_frame_t){.kind = kind, .size = body.size};
    if (body.size > 0) {
        memcpy(frame->body, body.data, body.size);
    }
    uint64_t arrives_ms = world->now_ms + latency_ms(world);
    uint32_t bytes_per_ms = world->slow[conn->node[end]][conn->node[1 - end]];
    if (bytes_per_ms != 0 && priority == GV_LINK_DATA) {
        uint64_t begins_ms = direction->last_ms[priority] > world->now_ms
                                 ? direction->last_ms[priority]
                                 : world->now_ms;
        arrives_ms = begins_ms + body.size / bytes_per_ms + 1;
    }
    if (arrives_ms < direction->last_ms[priority]) {
        arrives_ms = direction->last_ms[priority];
    }
    direction->last_ms[priority] = arrives_ms;
    frame->arrives_ms = arrives_ms;
    gv_list_append(&direction->frames[priority], &frame->link);
    pump(world, conn, end, priority);
}

/* ---- opening
 * ---------------------------------------------------------------------------------------- */

static void identify(const sim_node_t *node, gv_peer_identity_t *identity)
{
    *identity = (gv_peer_identity_t){
        .id = node->id,
        .incarnation = {node->start_counter, node->boot_id},
        .protocol = GV_PROTOCOL_VERSION,
        .cluster = "sim",
    };
    (void)snprintf(identity->name, sizeof(identity->name), "n%zu", node->number);
    (void)snprintf(identity->address, sizeof(identity->address), "n%zu:7883", node->number);
}

static void on_dial_failed(sim_world_t *world, const sim_event_t *event)
{
    gv_ccore_dial_failed(world->nodes[event->node].core, event->number);
}

static void fail_dial(sim_node_t *from, uint64_t token, uint64_t delay_ms)
{
    sim_after(
        from->world, delay_ms,
        (sim_event_t){
            .run = on_dial_failed, .node = from->number, .life = from->life, .number = token});
}

static void on_opened(sim_world_t *world, const sim_event_t *event)
{
    sim_conn_t *conn = event->conn;
    size_t end = event->number;
    sim_node_t *other = &world->nodes[conn->node[1 - end]];
    bool is_other_there = !conn->is_broken && other->life == conn->life[1 - end] &&
                          sim_node_is_up(other) &&
                          (end == 1 || conn->is_open[1] || conn->direction[1].is_closing);
    if (!is_other_there) {
        if (end == 0) {
            gv_ccore_dial_failed(world->nodes[event->node].core, conn->token);
        }
        return;
    }
    conn->is_open[end] = true;
    gv_peer_identity_t peer;
    identify(other, &peer);
    sim_fold(world, 3, event->node, conn->id[end]);
    gv_ccore_link_opened(world->nodes[event->node].core, conn->id[end], &peer,
                         end == 0 ? conn->token : 0);
}

static void on_dialled(sim_world_t *world, const sim_event_t *event)
{
    sim_node_t *from = &world->nodes[event->node];
    sim_node_t *to = &world->nodes[event->other];
    bool is_cut = world->blocked[from->number][to->number] > 0 ||
                  world->blocked[to->number][from->number] > 0;
    if (to->status == SIM_DOWN && !is_cut) {
        fail_dial(from, event->number, latency_ms(world));
        return;
    }
    if (is_cut || to->status != SIM_RUNNING) {
        fail_dial(from, event->number, DIAL_TIMEOUT_MS);
        return;
    }
    sim_conn_t *conn = GV_NEW(sim_conn_t);
    conn->node[0] = from->number;
    conn->node[1] = to->number;
    conn->life[0] = from->life;
    conn->life[1] = to->life;
    conn->id[0] = new_link(world, conn);
    conn->id[1] = new_link(world, conn);
    conn->token = event->number;
    for (size_t i = 0; i < 2; i++) {
        gv_list_init(&conn->direction[i].frames[0]);
        gv_list_init(&conn->direction[i].frames[1]);
    }
    gv_list_append(&world->conns, &conn->link);
    uint64_t there_ms = latency_ms(world);
    uint64_t back_ms = there_ms + latency_ms(world);
    sim_after(
        world, there_ms,
        (sim_event_t){
            .run = on_opened, .node = to->number, .life = to->life, .conn = conn, .number = 1});
    sim_after(
        world, back_ms,
        (sim_event_t){
            .run = on_opened, .node = from->number, .life = from->life, .conn = conn, .number = 0});
    /* What the acceptor says at once must not be there before the dialler knows of the link. */
    conn->direction[1].last_ms[GV_LINK_CONTROL] = world->now_ms + back_ms;
    conn->direction[1].last_ms[GV_LINK_DATA] = world->now_ms + back_ms;
}

void sim_dial(sim_node_t *from, const char *address, uint64_t token)
{
    sim_world_t *world = from->world;
    size_t to = (size_t)(address[1] - '0');
    GV_ASSERT(to < world->node_count);
    sim_after(world, 1,
              (sim_event_t){.run = on_dialled,
                            .node = from->number,
                            .life = from->life,
                            .number = token,
                            .other = to});
}

/* ---- closing and breaking
 * ------------------------------------------------------------------------------ */

void sim_close(sim_node_t *from, gv_link_id_t link)
{
    size_t end = 0;
    sim_conn_t *conn = conn_of(from, link, &end);
    if (conn == NULL || !conn->is_open[end]) {
        sim_fail(from->world, "n%zu closes link %llu, which is closed", from->number,
                 (unsigned long long)link);
        return;
    }
    conn->is_open[end] = false;
    conn->direction[end].is_closing = true;
    pump(from->world, conn, end, GV_LINK_CONTROL);
}

static void break_conn(sim_world_t *world, sim_conn_t *conn, bool is_silent)
{
    conn->is_broken = true;
    free_frames(&conn->direction[0]);
    free_frames(&conn->direction[1]);
    conn->direction[0].is_closing = false;
    conn->direction[1].is_closing = false;
    for (size_t end = 0; end < 2; end++) {
        bool is_cut = world->blocked[conn->node[1 - end]][conn->node[end]] > 0;
        if (conn->is_open[end] && !is_silent && !is_cut) {
            tell_closed(world, conn, end, latency_ms(world));
        }
    }
}

void sim_break(sim_world_t *world, size_t a, size_t b)
{
    gv_list_foreach (&world->conns, link) {
        sim_conn_t *conn = gv_container_of(link, sim_conn_t, link);
        if ((conn->node[0] == a && conn->node[1] == b) ||
            (conn->node[0] == b && conn->node[1] == a)) {
            break_conn(world, conn, false);
        }
    }
}

void sim_drop_node(sim_world_t *world, size_t node, bool is_silent)
{
    gv_list_foreach (&world->conns, link) {
        sim_conn_t *conn = gv_container_of(link, sim_conn_t, link);
        for (size_t end = 0; end < 2; end++) {
            if (conn->node[end] == node && conn->life[end] == world->nodes[node].life) {
                conn->is_open[end] = false;
                break_conn(world, conn, is_silent);
            }
        }
    }
}

void sim_cut(sim_world_t *world, size_t from, size_t to)
{
    world->blocked[from][to]++;
}

void sim_heal(sim_world_t *world, size_t from, size_t to)
{
    GV_ASSERT(world->blocked[from][to] > 0);
    world->blocked[from][to]--;
    gv_list_foreach (&world->conns, link) {
        sim_conn_t *conn = gv_container_of(link, sim_conn_t, link);
        for (size_t end = 0; end < 2; end++) {
            if (conn->node[end] == from && conn->node[1 - end] == to) {
                pump(world, conn, end, GV_LINK_CONTROL);
                pump(world, conn, end, GV_LINK_DATA);
            }
        }
    }
}
