/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "tests/sim/sim.h"

/* What the hosts do: routes, barriers, publishes; and whether what comes back is true. */

#define PAYLOAD_MAX 6000U
#define SIM_GROUP   "$share/g/t/#"
/* Six ways of at most 4 ms if there is a relay, and turns in between; digests would take longer. */
#define CALM_BARRIER_MS 100U

static uint32_t draw(sim_world_t *world, uint32_t below)
{
    return gv_rng_below(&world->work_rng, below);
}

/* ---- routes
 * ----------------------------------------------------------------------------------------- */

void sim_key(size_t key, char out[64])
{
    (void)snprintf(out, 64, key % 5 == 0 ? "k/%zu/a/rather/long/filter/+/with/levels/#" : "k/%zu",
                   key);
}

static void set_route(sim_node_t *node, size_t key, uint32_t value)
{
    char text[64];
    sim_key(key, text);
    node->truth[key] = value;
    gv_err_t err = gv_ccore_route_set(node->core, gv_bytes_text(text), value);
    GV_ASSERT(err == GV_OK);
}

void sim_set_random_route(sim_node_t *node)
{
    sim_world_t *world = node->world;
    size_t key = draw(world, SIM_KEYS);
    set_route(node, key, draw(world, 100) < 40 ? 0 : 1 + draw(world, 3));
}

static size_t key_number(gv_bytes_t key)
{
    size_t number = 0;
    for (size_t i = 2; i < key.size && key.data[i] != '/'; i++) {
        number = number * 10 + (size_t)(key.data[i] - '0');
    }
    GV_ASSERT(number < SIM_KEYS);
    return number;
}

void sim_on_row(sim_node_t *node, gv_node_index_t index, gv_bytes_t key, uint32_t value)
{
    size_t number = key_number(key);
    sim_fold(node->world, 10, node->number << 16 | (uint64_t)index << 8 | number, value);
    if (node->mirror[index].value[number] == value) {
        sim_fail(node->world, "n%zu is told a row of index %u again: key %zu value %u",
                 node->number, index, number, value);
    }
    node->mirror[index].value[number] = value;
}

void sim_on_node(sim_node_t *node, gv_node_index_t index, gv_node_event_t event)
{
    sim_mirror_t *mirror = &node->mirror[index];
    sim_fold(node->world, 11, node->number << 8 | index, (uint64_t)event);
    if (event != GV_NODE_FORGOTTEN) {
        mirror->is_routable = event == GV_NODE_ROUTABLE;
        return;
    }
    for (size_t key = 0; key < SIM_KEYS; key++) {
        if (mirror->value[key] != 0) {
            sim_fail(node->world, "n%zu forgets index %u, key %zu is left", node->number, index,
                     key);
        }
    }
    mirror->is_routable = false;
}

/* ---- barriers
 * --------------------------------------------------------------------------------------- */

void sim_ask_barrier(sim_node_t *node)
{
    sim_world_t *world = node->world;
    if (world->barrier_count == SIM_BARRIERS_MAX) {
        return;
    }
    gv_member_status_t self;
    (void)gv_ccore_member(node->core, GV_NODE_SELF, &self);
    world->barriers[world->barrier_count++] = (sim_barrier_t){.node = node->number,
                                                              .life = node->life,
                                                              .seq = self.view.table_seq,
                                                              .asked_ms = world->now_ms};
    gv_ccore_barrier(node->core, world->barrier_count);
}

/* Whether a peer that the node holds for alive and reaches lacks rows a barrier has vouched for. */
static bool lacks_rows(sim_node_t *node, const sim_node_t *peer, uint64_t seq)
{
    gv_member_status_t self;
    gv_member_status_t seen;
    gv_member_status_t copy;
    (void)gv_ccore_member(node->core, GV_NODE_SELF, &self);
    gv_node_index_t index = sim_index_of(node, peer);
    if (index == GV_NODE_NONE || !gv_ccore_member(node->core, index, &seen) || !seen.has_path ||
        seen.view.state != GV_MEMBER_ALIVE || seen.view.incarnation.boot_id != peer->boot_id) {
        return false;
    }
    if (!gv_ccore_member(peer->core, sim_index_of(peer, node), &copy)) {
        return true;
    }
    return copy.view.table_incarnation.boot_id != self.view.table_incarnation.boot_id ||
           copy.view.table_seq < seq;
}

void sim_on_barrier(sim_node_t *node, uint64_t token, bool in_time)
{
    sim_world_t *world = node->world;
    const sim_barrier_t *barrier = &world->barriers[token - 1];
    sim_fold(world, 12, token, in_time);
    if (barrier->node != node->number || barrier->life != node->life) {
        sim_fail(world, "barrier %llu answered by n%zu, which did not ask",
                 (unsigned long long)token, node->number);
        return;
    }
    node->barriers_in_time += in_time ? 1 : 0;
    for (size_t i = 0; in_time && i < world->node_count; i++) {
        const sim_node_t *peer = &world->nodes[i];
        if (peer != node && sim_node_is_up(peer) && lacks_rows(node, peer, barrier->seq)) {
            sim_fail(world, "barrier of n%zu at seq %llu is answered, but n%zu lacks the rows",
                     node->number, (unsigned long long)barrier->seq, i);
        }
    }
    uint64_t took_ms = world->now_ms - barrier->asked_ms;
    if (world->is_calm && (!in_time || took_ms > CALM_BARRIER_MS)) {
        sim_fail(world, "barrier of n%zu takes %llu ms though all is calm", node->number,
                 (unsigned long long)took_ms);
    }
}

/* ---- publishes
 * -------------------------------------------------------------------------------------- */

static uint8_t payload_byte(size_t publish, size_t at)
{
    return (uint8_t)(publish * 31 + at * 7 + at / 256);
}

static void publish(sim_node_t *node, uint64_t destinations, uint8_t qos, size_t size)
{
    sim_world_t *world = node->world;
    /* Some room is kept for the calm at the end. */
    size_t max = world->is_chaos ? SIM_PUBLISHES_MAX - 64 : SIM_PUBLISHES_MAX;
    if (world->publish_count >= max) {
        return;
    }
    size_t number = world->publish_count++;
    sim_publish_t *p = &world->publishes[number];
    *p = (sim_publish_t){
        .origin = node->number, .origin_life = node->life, .qos = qos, .payload_size = size};
    uint64_t mask = 0;
    for (size_t i = 0; i < world->node_count; i++) {
        p->index[i] = GV_NODE_NONE;
        gv_node_index_t index = sim_index_of(node, &world->nodes[i]);
        if (i != node->number && (destinations >> i & 1) != 0 && index != GV_NODE_NONE) {
            p->index[i] = index;
            mask |= (uint64_t)1 << index;
        }
    }
    uint8_t payload[PAYLOAD_MAX];
    GV_ASSERT(size <= PAYLOAD_MAX);
    for (size_t at = 0; at < size; at++) {
        payload[at] = payload_byte(number, at);
    }
    const gv_bytes_t shared[] = {GV_BYTES_LITERAL(SIM_GROUP)};
    gv_forward_t msg = {
        .topic = GV_BYTES_LITERAL("t/x"),
        .payload = gv_bytes(payload, size),
        .properties = GV_BYTES_LITERAL("\x01\x01"),
        .publisher = GV_BYTES_LITERAL("client"),
        .shared = shared,
        .shared_count = number % 3 == 0 ? 1 : 0,
        .uid = {.node = node->id, .boot_id = node->boot_id, .seq = number + 1},
        .expiry_ms = number % 4 == 0 ? 60000 : GV_FORWARD_NO_EXPIRY,
        .qos = qos,
        .retain = number % 7 == 0,
    };
    gv_ccore_publish(node->core, &msg, mask, number + 1);
}

void sim_publish_to_all(sim_node_t *node)
{
    publish(node, UINT64_MAX, 1, 100);
}

static bool is_intact(sim_world_t *world, const gv_forward_t *msg)
{
    size_t number = (size_t)msg->uid.seq - 1;
    const sim_publish_t *p = &world->publishes[number];
    if (msg->payload.size != p->payload_size || msg->qos != p->qos ||
        msg->retain != (number % 7 == 0) || msg->shared_count != (number % 3 == 0 ? 1 : 0) ||
        (msg->expiry_ms == GV_FORWARD_NO_EXPIRY) != (number % 4 != 0)) {
        return false;
    }
    for (size_t at = 0; at < p->payload_size; at++) {
        if (msg->payload.data[at] != payload_byte(number, at)) {
            return false;
        }
    }
    return true;
}

/* Some are refused, often a few in a row; some find that the last member of their group has left.
 */
static void on_applied(sim_world_t *world, const sim_event_t *event)
{
    sim_publish_t *p = &world->publishes[event->number];
    sim_node_t *node = &world->nodes[event->node];
    uint64_t key = gv_forward_group_key(GV_BYTES_LITERAL(SIM_GROUP));
    gv_delivery_outcome_t outcome = {.returned = &key};
    if (draw(world, 100) < 10) {
        node->is_full = !node->is_full;
    }
    outcome.is_refused = node->is_full || draw(world, 100) < 5;
    outcome.returned_count = event->number % 3 == 0 && draw(world, 100) < 20 ? 1 : 0;
    if (outcome.is_refused) {
        p->is_refused[event->node] = true;
    } else if (outcome.returned_count > 0) {
        p->is_returned[event->node] = true;
    } else {
        p->is_applied[event->node] = true;
    }
    gv_ccore_applied(node->core, event->delivery, &outcome);
}

static void check_order(sim_node_t *node, size_t number, const sim_publish_t *p)
{
    sim_last_t *last = &node->world->last[node->number][p->origin];
    if (last->life == node->life && last->origin_life == p->origin_life && last->publish > number) {
        sim_fail(node->world, "n%zu gets publish %zu of n%zu after %zu", node->number, number,
                 p->origin, last->publish);
    }
    *last = (sim_last_t){.origin_life = p->origin_life, .life = node->life, .publish = number};
}

void sim_on_deliver(sim_node_t *node, const gv_delivery_t *delivery, const gv_forward_t *msg)
{
    sim_world_t *world = node->world;
    size_t number = (size_t)msg->uid.seq - 1;
    sim_fold(world, 13, node->number << 32 | number, delivery->seq);
    if (number >= world->publish_count || !is_intact(world, msg)) {
        sim_fail(world, "n%zu gets a publish nobody made", node->number);
        return;
    }
    sim_publish_t *p = &world->publishes[number];
    if (p->delivered_life[node->number] == node->life) {
        sim_fail(world, "n%zu gets publish %zu of n%zu twice", node->number, number, p->origin);
    }
    p->delivered_life[node->number] = node->life;
    if ((delivery->seq != 0) != (p->qos > 0)) {
        sim_fail(world, "publish %zu of QoS %u has delivery %llu", number, p->qos,
                 (unsigned long long)delivery->seq);
    }
    if (p->qos == 0) {
        return;
    }
    check_order(node, number, p);
    sim_after(world, draw(world, 150),
              (sim_event_t){.run = on_applied,
                            .node = node->number,
                            .life = node->life,
                            .number = number,
                            .delivery = *delivery});
}

/*
 * What a dead node was to have comes back whole, and at QoS 2 as something in doubt if it was
 * begun; and so does what a node has returned.
 */
static const char *wrong_loss(const sim_node_t *node, size_t number, size_t to,
                              gv_forward_result_t result, const gv_forward_t *lost)
{
    sim_world_t *world = node->world;
    const sim_publish_t *p = &world->publishes[number];
    bool is_gone = result == GV_FORWARD_GONE || result == GV_FORWARD_IN_DOUBT;
    if (lost == NULL) {
        bool is_owed = (is_gone && !node->is_leaving) || result == GV_FORWARD_RETURNED;
        return is_owed ? "is not handed back" : NULL;
    }
    if ((!is_gone && result != GV_FORWARD_RETURNED) || lost->uid.seq != number + 1 ||
        !is_intact(world, lost)) {
        return "is handed back as something else";
    }
    if (result == GV_FORWARD_RETURNED) {
        return NULL;
    }
    bool is_begun = p->qos == 2 && p->delivered_life[to] != 0;
    return is_begun && result == GV_FORWARD_GONE ? "was begun and is not in doubt" : NULL;
}

/* The destination that the origin knows under this index; node_count: none. */
static size_t destination(const sim_world_t *world, const sim_publish_t *p, gv_node_index_t index)
{
    size_t to = 0;
    while (to < world->node_count && p->index[to] != index) {
        to++;
    }
    return to;
}

/* Now and then a host has no room. */
bool sim_on_overdue(sim_node_t *node, uint64_t *token, gv_node_index_t index,
                    const gv_forward_t *msg)
{
    sim_world_t *world = node->world;
    size_t number = (size_t)((*token & ~SIM_KEPT_TOKEN) - 1);
    sim_publish_t *p = &world->publishes[number];
    sim_fold(world, 15, *token << 8 | index, msg->qos);
    size_t to = destination(world, p, index);
    if (to == world->node_count || p->qos == 0 || p->is_confirmed[to] || p->is_overdue[to] ||
        p->origin != node->number || p->origin_life != node->life || !is_intact(world, msg)) {
        sim_fail(world, "n%zu: publish %zu is overdue out of turn for index %u", node->number,
                 number + 1, index);
        return true;
    }
    sim_last_t *last = &world->last_overdue[to][node->number];
    if (last->origin_life == node->life && last->publish > number) {
        sim_fail(world, "n%zu: publish %zu is overdue behind %zu", node->number, number + 1,
                 last->publish + 1);
    }
    if (draw(world, 100) < 20) {
        return false;
    }
    *last = (sim_last_t){.origin_life = node->life, .publish = number};
    p->is_overdue[to] = true;
    *token |= SIM_KEPT_TOKEN;
    return true;
}

void sim_on_confirmed(sim_node_t *node, uint64_t token, gv_node_index_t index,
                      gv_forward_result_t result, const gv_forward_t *lost)
{
    sim_world_t *world = node->world;
    bool is_kept = (token & SIM_KEPT_TOKEN) != 0;
    token &= ~SIM_KEPT_TOKEN;
    sim_publish_t *p = &world->publishes[token - 1];
    sim_fold(world, 14, token << 8 | index, (uint64_t)result);
    size_t to = destination(world, p, index);
    if (to == world->node_count || p->qos == 0 || p->is_confirmed[to] ||
        p->is_overdue[to] != is_kept || p->origin != node->number || p->origin_life != node->life) {
        sim_fail(world, "n%zu: publish %llu is confirmed out of turn for index %u", node->number,
                 (unsigned long long)token, index);
        return;
    }
    p->is_confirmed[to] = true;
    const char *wrong = wrong_loss(node, token - 1, to, result, lost);
    if (wrong != NULL) {
        sim_fail(world, "publish %llu to n%zu %s", (unsigned long long)token, to, wrong);
    }
    if ((result == GV_FORWARD_APPLIED && !p->is_applied[to]) ||
        (result == GV_FORWARD_REFUSED && !p->is_refused[to]) ||
        (result == GV_FORWARD_RETURNED && !p->is_returned[to])) {
        sim_fail(world, "publish %llu is confirmed with %d, but n%zu has not said so",
                 (unsigned long long)token, (int)result, to);
    }
    bool is_failure =
        result == GV_FORWARD_GONE || result == GV_FORWARD_IN_DOUBT || result == GV_FORWARD_FULL;
    if (world->is_calm && is_failure && !world->nodes[to].is_away) {
        sim_fail(world, "publish %llu to n%zu ends with %d though all is calm",
                 (unsigned long long)token, to, (int)result);
    }
}

/* ---- the work
 * ----------------------------------------------------------------------------------------- */

static void on_work(sim_world_t *world, const sim_event_t *event);

static void work_later(sim_world_t *world, const sim_node_t *node)
{
    sim_after(world, 1 + draw(world, 250),
              (sim_event_t){.run = on_work, .node = SIM_NODE_NONE, .number = node->number});
}

static void work(sim_world_t *world, const sim_event_t *event)
{
    sim_node_t *node = &world->nodes[event->node];
    uint32_t what = draw(world, 100);
    if (what < 3) {
        for (size_t key = 0; key < SIM_KEYS; key += 1 + draw(world, 4)) {
            set_route(node, key, 1 + draw(world, 3)); /* many at once: several pieces */
        }
    } else if (what < 6) {
        for (size_t key = 0; key < SIM_KEYS; key += 1 + draw(world, 3)) {
            set_route(node, key, 0); /* many tombstones */
        }
    } else if (what < 50) {
        sim_set_random_route(node);
        if (draw(world, 100) < 50) {
            sim_ask_barrier(node);
        }
    } else if (what < 51) {
        for (uint32_t i = 0; i < 50; i++) { /* more than the credit */
            publish(node, UINT64_MAX, (uint8_t)draw(world, 3), draw(world, PAYLOAD_MAX));
        }
    } else {
        uint32_t count = 1 + draw(world, 4);
        for (uint32_t i = 0; i < count; i++) {
            size_t size = draw(world, 100) < 10 ? draw(world, PAYLOAD_MAX) : draw(world, 200);
            publish(node, gv_rng_u64(&world->work_rng), (uint8_t)draw(world, 3), size);
        }
    }
}

static void on_work(sim_world_t *world, const sim_event_t *event)
{
    if (!world->is_chaos) {
        return;
    }
    sim_node_t *node = &world->nodes[event->number];
    if (node->status == SIM_RUNNING) {
        sim_after(world, 0, (sim_event_t){.run = work, .node = node->number, .life = node->life});
    }
    work_later(world, node);
}

void sim_workload_begin(sim_world_t *world)
{
    for (size_t i = 0; i < world->node_count; i++) {
        work_later(world, &world->nodes[i]);
    }
}
