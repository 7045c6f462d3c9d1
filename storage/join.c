/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_STORE

#include "storage/join_p.h"

#include "base/alloc.h"

#include "storage/batch_p.h"

/*
 * Parts of this file: the graph of a list of batches (who is before whom on a lane, who is joined
 * with whom); walks over it; and the three questions asked of it.
 */

#define NONE UINT32_MAX

/* ---- graph ---- */

typedef struct item {
    gv_batch_t *batch;
    uint32_t before; /* on its lane; an item or NONE */
    uint32_t after;
    uint32_t first_member; /* its members are a row */
    uint32_t member_count;
    uint32_t seen; /* the last walk that came here */
    bool is_excluded;
    bool is_taken;
} item_t;

typedef struct join {
    uint64_t number;
    uint32_t parts;
    uint32_t count;  /* of the parts that are here */
    uint32_t newest; /* member; the others by `next` */
    uint32_t seen;
} join_t;

/* An item is in a join. */
typedef struct member {
    uint32_t item;
    uint32_t join;
    uint32_t next; /* of the same join, or NONE */
} member_t;

typedef struct graph {
    item_t *items;
    uint32_t item_count;
    join_t *joins;
    uint32_t join_count;
    member_t *members;
    uint32_t member_count;
    uint32_t *slots; /* hash table of joins, open addressing: index + 1, or 0 */
    uint32_t slot_mask;
    uint32_t *lanes; /* the newest item of each lane, while the graph is built */
    uint32_t lane_count;
    uint32_t *found; /* items that the current walk has come to */
    uint32_t found_count;
    uint32_t walk;
} graph_t;

static gv_batch_t *batch_at(gv_link_t *link)
{
    return gv_container_of(link, gv_batch_t, link);
}

static join_t *join_of(graph_t *graph, const gv__join_t *named)
{
    /* Multiplying by the golden ratio spreads numbers that follow each other. */
    uint32_t slot = (uint32_t)((named->number * 0x9E3779B97F4A7C15U) >> 32) & graph->slot_mask;
    while (graph->slots[slot] != 0) {
        join_t *join = &graph->joins[graph->slots[slot] - 1];
        if (join->number == named->number) {
            return join;
        }
        slot = (slot + 1) & graph->slot_mask;
    }
    join_t *join = &graph->joins[graph->join_count++];
    graph->slots[slot] = graph->join_count;
    *join = (join_t){.number = named->number, .parts = named->parts, .newest = NONE};
    return join;
}

static void add_member(graph_t *graph, uint32_t index, const gv__join_t *named)
{
    join_t *join = join_of(graph, named);
    GV_ASSERT(join->parts == named->parts);
    if (join->newest != NONE && graph->members[join->newest].item == index) {
        return; /* named twice by one batch */
    }
    GV_ASSERT(join->count < join->parts);
    uint32_t member = graph->member_count++;
    graph->members[member] =
        (member_t){.item = index, .join = (uint32_t)(join - graph->joins), .next = join->newest};
    join->newest = member;
    join->count++;
    graph->items[index].member_count++;
}

/* There are about as many lanes as threads: a search in a row is fine. */
static void add_to_lane(graph_t *graph, uint32_t index)
{
    item_t *item = &graph->items[index];
    for (uint32_t i = 0; i < graph->lane_count; i++) {
        uint32_t newest = graph->lanes[i];
        if (graph->items[newest].batch->lane == item->batch->lane) {
            item->before = newest;
            graph->items[newest].after = index;
            graph->lanes[i] = index;
            return;
        }
    }
    graph->lanes[graph->lane_count++] = index;
}

static void graph_init(graph_t *graph, const gv_list_t *list)
{
    uint32_t items = 0;
    uint32_t members = 0;
    gv_list_foreach (list, link) {
        items++;
        members += batch_at(link)->join_count;
    }
    uint32_t slots = 16;
    while (slots < 2 * members) {
        slots *= 2;
    }
    *graph = (graph_t){
        .items = gv_xcalloc(items, sizeof(item_t)),
        .joins = gv_xcalloc(members, sizeof(join_t)),
        .members = gv_xcalloc(members, sizeof(member_t)),
        .slots = gv_xcalloc(slots, sizeof(uint32_t)),
        .slot_mask = slots - 1,
        .lanes = gv_xcalloc(items, sizeof(uint32_t)),
        .found = gv_xcalloc(items, sizeof(uint32_t)),
    };
    gv_list_foreach (list, link) {
        uint32_t index = graph->item_count++;
        gv_batch_t *batch = batch_at(link);
        graph->items[index] = (item_t){
            .batch = batch, .before = NONE, .after = NONE, .first_member = graph->member_count};
        add_to_lane(graph, index);
        for (uint32_t j = 0; j < batch->join_count; j++) {
            add_member(graph, index, &batch->joins[j]);
        }
    }
}

static void graph_deinit(graph_t *graph)
{
    gv_free(graph->items);
    gv_free(graph->joins);
    gv_free(graph->members);
    gv_free(graph->slots);
    gv_free(graph->lanes);
    gv_free(graph->found);
}

/* ---- walks ---- */

static void begin_walk(graph_t *graph)
{
    graph->walk++;
    graph->found_count = 0;
}

/* Comes to an item, unless the walk was there already or it is taken. */
static void come_to(graph_t *graph, uint32_t index)
{
    if (index == NONE) {
        return;
    }
    item_t *item = &graph->items[index];
    if (item->seen != graph->walk && !item->is_taken) {
        item->seen = graph->walk;
        graph->found[graph->found_count++] = index;
    }
}

/* Comes to all parts of a join. */
static void come_to_parts(graph_t *graph, join_t *join)
{
    if (join->seen == graph->walk) {
        return;
    }
    join->seen = graph->walk;
    for (uint32_t m = join->newest; m != NONE; m = graph->members[m].next) {
        come_to(graph, graph->members[m].item);
    }
}

static void come_to_partners(graph_t *graph, const item_t *item)
{
    for (uint32_t m = 0; m < item->member_count; m++) {
        come_to_parts(graph, &graph->joins[graph->members[item->first_member + m].join]);
    }
}

/* The smallest closed set with this item, of those not taken: in `found`. */
static void find_closure(graph_t *graph, uint32_t index)
{
    begin_walk(graph);
    come_to(graph, index);
    for (uint32_t i = 0; i < graph->found_count; i++) {
        const item_t *item = &graph->items[graph->found[i]];
        come_to(graph, item->before);
        come_to_partners(graph, item);
    }
}

/* What cannot be in any closed set: parts of incomplete joins, and what needs such a part. */
static void exclude_incomplete(graph_t *graph)
{
    begin_walk(graph);
    for (uint32_t j = 0; j < graph->join_count; j++) {
        if (graph->joins[j].count < graph->joins[j].parts) {
            come_to_parts(graph, &graph->joins[j]);
        }
    }
    for (uint32_t i = 0; i < graph->found_count; i++) {
        item_t *item = &graph->items[graph->found[i]];
        item->is_excluded = true;
        come_to(graph, item->after);
        come_to_partners(graph, item);
    }
}

/* Returns how many bytes were found. */
static size_t take_found(graph_t *graph)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < graph->found_count; i++) {
        item_t *item = &graph->items[graph->found[i]];
        item->is_taken = true;
        bytes += gv_batch_bytes(item->batch);
    }
    return bytes;
}

static void move_taken(const graph_t *graph, gv_list_t *to)
{
    for (uint32_t i = 0; i < graph->item_count; i++) {
        if (graph->items[i].is_taken) {
            gv_link_t *link = &graph->items[i].batch->link;
            gv_list_remove(link);
            gv_list_append(to, link);
        }
    }
}

/* ---- questions ---- */

/* True when it was bytes_max that ended it. */
static bool take_closures(gv_list_t *waiting, size_t bytes, size_t bytes_max, gv_list_t *group)
{
    graph_t graph;
    graph_init(&graph, waiting);
    exclude_incomplete(&graph);
    bool is_cut = false;
    for (uint32_t i = 0; i < graph.item_count && !is_cut; i++) {
        if (graph.items[i].is_excluded || graph.items[i].is_taken) {
            continue;
        }
        is_cut = bytes >= bytes_max;
        if (!is_cut) {
            find_closure(&graph, i);
            bytes += take_found(&graph);
        }
    }
    move_taken(&graph, group);
    graph_deinit(&graph);
    return is_cut;
}

bool gv__join_take(gv_list_t *waiting, size_t bytes_max, gv_list_t *group)
{
    GV_ASSERT(bytes_max > 0);
    size_t bytes = 0;
    for (gv_link_t *link; (link = gv_list_first(waiting)) != NULL;) {
        if (batch_at(link)->join_count > 0) {
            return take_closures(waiting, bytes, bytes_max, group);
        }
        if (bytes >= bytes_max) {
            return true;
        }
        bytes += gv_batch_bytes(batch_at(link));
        gv_list_remove(link);
        gv_list_append(group, link);
    }
    return false;
}

/*
 * Every closed set has the oldest of some lane in it.  So the smallest of the closures of these is
 * one without a smaller one within it.
 */
static void find_unit(graph_t *graph, uint32_t seed)
{
    find_closure(graph, seed);
    uint32_t heads = 0;
    for (uint32_t i = 0; i < graph->found_count; i++) {
        if (graph->items[graph->found[i]].before == NONE) {
            graph->lanes[heads++] = graph->found[i];
        }
    }
    uint32_t smallest = seed;
    uint32_t smallest_count = graph->found_count;
    for (uint32_t i = 0; i < heads; i++) {
        find_closure(graph, graph->lanes[i]);
        if (graph->found_count < smallest_count) {
            smallest = graph->lanes[i];
            smallest_count = graph->found_count;
        }
    }
    find_closure(graph, smallest);
}

void gv__join_take_unit(gv_list_t *from, gv_batch_t *seed, gv_list_t *unit)
{
    if (seed->join_count == 0) {
        gv_list_remove(&seed->link);
        gv_list_append(unit, &seed->link);
        return;
    }
    graph_t graph;
    graph_init(&graph, from);
    uint32_t index = 0;
    while (graph.items[index].batch != seed) {
        index++;
    }
    find_unit(&graph, index);
    (void)take_found(&graph);
    move_taken(&graph, unit);
    graph_deinit(&graph);
}

void gv__join_note_result(gv_batch_t *batch, gv_err_t result)
{
    batch->result = result;
    batch->lane->_failure = result;
}

void gv__join_inherit_errors(gv_list_t *group)
{
    gv_list_foreach (group, link) {
        gv_batch_t *batch = batch_at(link);
        if (batch->_follows && batch->result == GV_OK) {
            batch->result = batch->lane->_failure;
        }
    }
}

/* Who fails if this one does. */
static void come_to_dependants(graph_t *graph, const item_t *item)
{
    come_to_partners(graph, item);
    if (item->after != NONE && graph->items[item->after].batch->_follows) {
        come_to(graph, item->after);
    }
}

void gv__join_spread_errors(gv_list_t *group)
{
    bool has_errors = false;
    bool has_ties = false;
    gv_list_foreach (group, link) {
        const gv_batch_t *batch = batch_at(link);
        has_errors = has_errors || batch->result != GV_OK;
        has_ties = has_ties || batch->join_count > 0 || batch->_follows;
    }
    if (!has_errors || !has_ties) {
        return;
    }
    graph_t graph;
    graph_init(&graph, group);
    for (uint32_t i = 0; i < graph.item_count; i++) {
        gv_err_t error = graph.items[i].batch->result;
        if (error == GV_OK) {
            continue;
        }
        begin_walk(&graph);
        come_to(&graph, i);
        for (uint32_t f = 0; f < graph.found_count; f++) {
            const item_t *item = &graph.items[graph.found[f]];
            item->batch->result = item->batch->result != GV_OK ? item->batch->result : error;
            come_to_dependants(&graph, item);
        }
    }
    graph_deinit(&graph);
}
