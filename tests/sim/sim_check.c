/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "tests/sim/sim.h"

/* What must hold once everything is healed and quiet. */

static char complaint[256];

static const char *complain(const sim_node_t *x, const sim_node_t *y, const char *what)
{
    (void)snprintf(complaint, sizeof(complaint), "n%zu about n%zu: %s", x->number, y->number, what);
    return complaint;
}

static bool is_cut_for_ever(const sim_world_t *world, const sim_node_t *x, const sim_node_t *y)
{
    const size_t *pair = world->cut_for_ever;
    return (pair[0] == x->number && pair[1] == y->number) ||
           (pair[1] == x->number && pair[0] == y->number);
}

/* ---- tables
 * --------------------------------------------------------------------------------------- */

static const char *wrong_rows(const sim_node_t *x, const sim_node_t *y, gv_node_index_t index)
{
    for (size_t key = 0; key < SIM_KEYS; key++) {
        char text[64];
        sim_key(key, text);
        uint32_t value = gv_ccore_route_value(x->core, index, gv_bytes_text(text));
        if (value != y->truth[key]) {
            return complain(x, y, "a row differs from the owner's");
        }
        if (index != GV_NODE_SELF && x->mirror[index].value[key] != value) {
            return complain(x, y, "the host was told another value");
        }
    }
    return NULL;
}

static const char *wrong_version(const sim_node_t *x, const sim_node_t *y,
                                 const gv_node_view_t *copy)
{
    gv_member_status_t own;
    (void)gv_ccore_member(y->core, GV_NODE_SELF, &own);
    if (copy->table_incarnation.boot_id != own.view.table_incarnation.boot_id ||
        copy->table_incarnation.start_counter != own.view.table_incarnation.start_counter ||
        copy->table_seq != own.view.table_seq) {
        char text[128];
        (void)snprintf(text, sizeof(text), "its table is at %llu.%llx.%llu, here at %llu.%llx.%llu",
                       (unsigned long long)own.view.table_incarnation.start_counter,
                       (unsigned long long)own.view.table_incarnation.boot_id >> 48,
                       (unsigned long long)own.view.table_seq,
                       (unsigned long long)copy->table_incarnation.start_counter,
                       (unsigned long long)copy->table_incarnation.boot_id >> 48,
                       (unsigned long long)copy->table_seq);
        return complain(x, y, text);
    }
    if (copy->table_hash != own.view.table_hash) {
        return complain(x, y, "another hash of the table");
    }
    return NULL;
}

/* ---- members
 * -------------------------------------------------------------------------------------- */

/* What x knows about y's view of z is what y holds. */
static const char *wrong_view(sim_node_t *x, sim_node_t *y, const sim_node_t *z)
{
    gv_node_view_t view;
    gv_member_status_t truth;
    if (!gv_ccore_view(x->core, sim_index_of(x, y), sim_index_of(x, z), &view)) {
        return complain(x, y, "its view of some node has not come");
    }
    (void)gv_ccore_member(y->core, sim_index_of(y, z), &truth);
    if (view.state != truth.view.state || view.is_linked != truth.view.is_linked ||
        view.table_seq != truth.view.table_seq) {
        return complain(x, y, "its view of some node is outdated");
    }
    return NULL;
}

static const char *wrong_about_live(sim_node_t *x, sim_node_t *y)
{
    gv_node_index_t index = sim_index_of(x, y);
    gv_member_status_t seen;
    if (index == GV_NODE_NONE || !gv_ccore_member(x->core, index, &seen)) {
        return complain(x, y, "not known");
    }
    if (seen.view.state != GV_MEMBER_ALIVE || seen.view.incarnation.boot_id != y->boot_id) {
        return complain(x, y, "not alive, or another life");
    }
    if (seen.view.is_linked == is_cut_for_ever(x->world, x, y)) {
        return complain(x, y, "wrong about the link");
    }
    if (!seen.has_path) {
        return complain(x, y, "no path");
    }
    if (!x->mirror[index].is_routable) {
        return complain(x, y, "not routable");
    }
    const char *wrong = wrong_version(x, y, &seen.view);
    return wrong != NULL ? wrong : wrong_rows(x, y, index);
}

/* Members that are no node of today must not attract anything. */
static const char *wrong_about_gone(sim_node_t *x)
{
    for (gv_node_index_t index = 1; index < GV_NODES_MAX; index++) {
        gv_member_status_t seen;
        if (!gv_ccore_member(x->core, index, &seen)) {
            continue;
        }
        sim_node_t *y = sim_node_at(x, index);
        if (y != NULL && sim_node_is_up(y)) {
            continue;
        }
        if (seen.view.state != GV_MEMBER_DEAD && seen.view.state != GV_MEMBER_LEFT) {
            return complain(x, y == NULL ? x : y, "a node that is gone is held for alive");
        }
        if (x->mirror[index].is_routable) {
            return complain(x, y == NULL ? x : y, "ghost routes of a node that is gone");
        }
    }
    return NULL;
}

/* ---- publishes
 * ------------------------------------------------------------------------------------ */

static const char *unanswered(sim_world_t *world)
{
    for (size_t i = 0; i < world->publish_count; i++) {
        const sim_publish_t *p = &world->publishes[i];
        sim_node_t *origin = &world->nodes[p->origin];
        if (p->qos == 0 || !sim_node_is_up(origin) || origin->life != p->origin_life) {
            continue;
        }
        for (size_t to = 0; to < world->node_count; to++) {
            if (p->index[to] != GV_NODE_NONE && !p->is_confirmed[to]) {
                return complain(origin, &world->nodes[to], "a publish has no answer");
            }
        }
    }
    return NULL;
}

/* ---- all of it
 * ------------------------------------------------------------------------------------ */

static const char *wrong_at(sim_node_t *x)
{
    sim_world_t *world = x->world;
    const char *wrong = wrong_rows(x, x, GV_NODE_SELF);
    for (size_t i = 0; i < world->node_count && wrong == NULL; i++) {
        sim_node_t *y = &world->nodes[i];
        if (y == x || !sim_node_is_up(y)) {
            continue;
        }
        wrong = wrong_about_live(x, y);
        for (size_t j = 0; j < world->node_count && wrong == NULL; j++) {
            sim_node_t *z = &world->nodes[j];
            if (z != y && sim_node_is_up(z)) {
                wrong = wrong_view(x, y, z);
            }
        }
    }
    return wrong != NULL ? wrong : wrong_about_gone(x);
}

const char *sim_unconverged(sim_world_t *world)
{
    const char *wrong = unanswered(world);
    for (size_t i = 0; i < world->node_count && wrong == NULL; i++) {
        if (sim_node_is_up(&world->nodes[i])) {
            wrong = wrong_at(&world->nodes[i]);
        }
    }
    return wrong;
}

const char *sim_remembered(sim_world_t *world)
{
    for (size_t i = 0; i < world->node_count; i++) {
        sim_node_t *x = &world->nodes[i];
        gv_member_status_t seen;
        for (gv_node_index_t index = 1; sim_node_is_up(x) && index < GV_NODES_MAX; index++) {
            const sim_node_t *y =
                gv_ccore_member(x->core, index, &seen) ? sim_node_at(x, index) : x;
            if (y == NULL || !sim_node_is_up(y)) {
                return complain(x, y == NULL ? x : y, "a forgotten node is remembered");
            }
        }
    }
    return NULL;
}

void sim_check_end(sim_world_t *world)
{
    for (size_t i = 0; i < world->node_count && !world->has_failed; i++) {
        const sim_node_t *node = &world->nodes[i];
        if (!sim_node_is_up(node)) {
            continue;
        }
        const gv_ccore_stats_t *stats = gv_ccore_stats(node->core);
        if (stats->table_mismatches > 0) {
            sim_fail(world, "n%zu counted %llu table mismatches", i,
                     (unsigned long long)stats->table_mismatches);
        }
        if (stats->frames_bad > 0) {
            sim_fail(world, "n%zu counted bad frames", i);
        }
        if (!gv_ccore_is_synced(node->core)) {
            sim_fail(world, "n%zu is not synced", i);
        }
        if (!gv_ccore_has_arrived(node->core)) {
            sim_fail(world, "n%zu has not arrived", i);
        }
    }
}
