/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_RETAINED

#include "broker/core/retained.h"

#include "base/alloc.h"
#include "proto/mqtt/topic.h"

struct gv_retained_node {
    gv_retained_node_t *parent;
    gv_msgbuf_t *kept; /* NULL: only a step on the way to others */
    gv_map_t children;
    gv_link_t in_bucket;
    gv_stamp_t stamp;
    uint32_t place; /* in its heap, from 1 on; 0: it is in none */
    uint16_t size;
    bool is_tombstone;
    uint8_t level[];
};

void gv_retained_common_init(gv_retained_common_t *common, uint64_t hlc_floor)
{
    gv_hlc_init(&common->clock, hlc_floor);
    atomic_init(&common->bound, hlc_floor);
    atomic_init(&common->floor, 0);
    atomic_init(&common->horizon, 0);
    for (uint32_t i = 0; i < GV_RETAINED_BUCKETS; i++) {
        atomic_init(&common->sums[i], 0);
    }
}

uint32_t gv_retained_bucket(gv_bytes_t topic, uint64_t seed)
{
    return (uint32_t)(gv_bytes_hash(topic, seed) % GV_RETAINED_BUCKETS);
}

static gv_bytes_t level_of(const void *value)
{
    const gv_retained_node_t *node = value;
    return gv_bytes(node->level, node->size);
}

static gv_retained_node_t *node_new(const gv_retained_t *table, gv_retained_node_t *parent,
                                    gv_bytes_t level)
{
    gv_retained_node_t *node = gv_xcalloc(1, sizeof(*node) + level.size);
    node->parent = parent;
    node->size = (uint16_t)level.size;
    if (level.size > 0) {
        memcpy(node->level, level.data, level.size);
    }
    gv_map_init(&node->children, level_of, table->_seed);
    return node;
}

void gv_retained_init(gv_retained_t *table, uint64_t hash_seed, gv_retained_common_t *common)
{
    *table = (gv_retained_t){._seed = hash_seed, ._common = common};
    table->_root = node_new(table, NULL, GV_BYTES_EMPTY);
    table->_buckets = gv_xcalloc(GV_RETAINED_BUCKETS, sizeof(gv_list_t));
    for (uint32_t i = 0; i < GV_RETAINED_BUCKETS; i++) {
        gv_list_init(&table->_buckets[i]);
    }
}

static void node_free(gv_retained_node_t *node)
{
    if (node->parent != NULL) {
        (void)gv_map_remove(&node->parent->children, level_of(node));
    }
    gv_msgbuf_unref(&node->kept);
    gv_map_deinit(&node->children);
    gv_free(node);
}

void gv_retained_deinit(gv_retained_t *table)
{
    /* No recursion: nodes whose turn is to come are a list, by what was their parent. */
    for (gv_retained_node_t *node = table->_root, *next = NULL; node != NULL; node = next) {
        next = node->parent;
        size_t cursor = 0;
        for (gv_retained_node_t *child; (child = gv_map_next(&node->children, &cursor)) != NULL;) {
            child->parent = next;
            next = child;
        }
        node->parent = NULL;
        node_free(node);
    }
    gv_free(table->_expiring._nodes);
    gv_free(table->_tombstones._nodes);
    gv_free(table->_buckets);
    *table = (gv_retained_t){0};
}

/* ---- what expires, and tombstones ------------------------------------------------------------ */

static uint64_t due_of(const gv_retained_node_t *node)
{
    return node->is_tombstone ? node->stamp.hlc : gv_publish_of(node->kept).expires_at_ms;
}

/* Puts a node at a place of the heap, from 1 on: the children of n are at 2n and 2n + 1. */
static void put_at(gv_retained_heap_t *heap, uint32_t place, gv_retained_node_t *node)
{
    heap->_nodes[place - 1] = node;
    node->place = place;
}

static void move_up(gv_retained_heap_t *heap, gv_retained_node_t *node, uint32_t place)
{
    while (place > 1 && due_of(heap->_nodes[place / 2 - 1]) > due_of(node)) {
        put_at(heap, place, heap->_nodes[place / 2 - 1]);
        place /= 2;
    }
    put_at(heap, place, node);
}

static void move_down(gv_retained_heap_t *heap, gv_retained_node_t *node, uint32_t place)
{
    for (uint32_t child; (child = place * 2) <= heap->_count; place = child) {
        if (child < heap->_count && due_of(heap->_nodes[child]) < due_of(heap->_nodes[child - 1])) {
            child++;
        }
        if (due_of(heap->_nodes[child - 1]) >= due_of(node)) {
            break;
        }
        put_at(heap, place, heap->_nodes[child - 1]);
    }
    put_at(heap, place, node);
}

static void watch(gv_retained_heap_t *heap, gv_retained_node_t *node)
{
    if (heap->_count == heap->_capacity) {
        uint32_t capacity = heap->_capacity == 0 ? 16 : heap->_capacity * 2;
        heap->_nodes = gv_xrealloc(heap->_nodes, capacity * sizeof(gv_retained_node_t *));
        heap->_capacity = capacity;
    }
    heap->_count++;
    move_up(heap, node, heap->_count);
}

/* What it is in the heap for is about to go, or to be replaced. */
static void unwatch(gv_retained_heap_t *heap, gv_retained_node_t *node)
{
    uint32_t place = node->place;
    if (place == 0) {
        return;
    }
    node->place = 0;
    gv_retained_node_t *last = heap->_nodes[--heap->_count];
    if (last == node) {
        return;
    }
    if (place > 1 && due_of(heap->_nodes[place / 2 - 1]) > due_of(last)) {
        move_up(heap, last, place);
    } else {
        move_down(heap, last, place);
    }
}

uint64_t gv_retained_next_expiry(const gv_retained_t *table)
{
    return table->_expiring._count == 0 ? UINT64_MAX : due_of(table->_expiring._nodes[0]);
}

/* ---- buckets --------------------------------------------------------------------------------- */

/* Adds the write of a node to its bucket's sum, or takes it away: addition has no order. */
static void count_in(const gv_retained_t *table, const gv_retained_node_t *node, bool is_added)
{
    gv_bytes_t topic = gv_publish_of(node->kept).topic;
    uint64_t seed = table->_common->seed;
    uint64_t hash =
        gv_bytes_hash(gv_bytes(&node->stamp, sizeof(node->stamp)), gv_bytes_hash(topic, ~seed));
    _Atomic uint64_t *sum = &table->_common->sums[gv_retained_bucket(topic, seed)];
    /* Relaxed: the hub compares again and again, and one shard writes it. */
    (void)atomic_fetch_add_explicit(sum, is_added ? hash : 0 - hash, memory_order_relaxed);
}

static void enter_bucket(const gv_retained_t *table, gv_retained_node_t *node)
{
    if (node->stamp.hlc != 0) {
        uint32_t bucket = gv_retained_bucket(gv_publish_of(node->kept).topic, table->_common->seed);
        gv_list_append(&table->_buckets[bucket], &node->in_bucket);
        count_in(table, node, true);
    }
}

static void leave_bucket(const gv_retained_t *table, gv_retained_node_t *node)
{
    if (gv_link_is_linked(&node->in_bucket)) {
        gv_list_remove(&node->in_bucket);
        count_in(table, node, false);
    }
}

static gv_retained_write_t write_of(const gv_retained_node_t *node)
{
    return (gv_retained_write_t){
        .kept = node->kept, .stamp = node->stamp, .is_tombstone = node->is_tombstone};
}

gv_link_t *gv_retained_bucket_next(const gv_retained_t *table, uint32_t bucket, gv_link_t *link,
                                   gv_retained_write_t *write_out)
{
    const gv_list_t *list = &table->_buckets[bucket];
    gv_link_t *next = link == NULL ? gv_list_first(list) : gv_list_next(list, link);
    if (next != NULL) {
        *write_out = write_of(gv_container_of(next, gv_retained_node_t, in_bucket));
    }
    return next;
}

/* ---- messages ---- */

static gv_retained_node_t *find(const gv_retained_t *table, gv_bytes_t topic)
{
    gv_retained_node_t *node = table->_root;
    gv_mqtt_levels_t levels = gv_mqtt_levels(topic);
    for (gv_bytes_t level; node != NULL && gv_mqtt_levels_next(&levels, &level);) {
        node = gv_map_find(&node->children, level);
    }
    return node;
}

/* The message, or NULL. */
static gv_msgbuf_t *message_of(const gv_retained_node_t *node)
{
    return node->is_tombstone ? NULL : node->kept;
}

/* Takes the write away that a node has. */
static void take_write(gv_retained_t *table, gv_retained_node_t *node)
{
    leave_bucket(table, node);
    unwatch(node->is_tombstone ? &table->_tombstones : &table->_expiring, node);
    if (!node->is_tombstone) {
        table->bytes -= gv_msgbuf_bytes(node->kept).size;
        table->count--;
    }
    node->is_tombstone = false;
    gv_msgbuf_unref(&node->kept);
}

void gv_retained_set(gv_retained_t *table, gv_msgbuf_t *kept, const gv_stamp_t *stamp)
{
    gv_publish_t publish = gv_publish_of(kept);
    gv_retained_node_t *node = table->_root;
    gv_mqtt_levels_t levels = gv_mqtt_levels(publish.topic);
    for (gv_bytes_t level; gv_mqtt_levels_next(&levels, &level);) {
        gv_retained_node_t *child = gv_map_find(&node->children, level);
        if (child == NULL) {
            child = node_new(table, node, level);
            gv_map_add(&node->children, child);
        }
        node = child;
    }
    if (node->kept != NULL) {
        take_write(table, node);
    }
    node->kept = gv_msgbuf_ref(kept);
    node->stamp = *stamp;
    node->is_tombstone = publish.payload.size == 0;
    if (node->is_tombstone) {
        watch(&table->_tombstones, node);
    } else {
        table->bytes += gv_msgbuf_bytes(kept).size;
        table->count++;
        if (publish.expires_at_ms != 0) {
            watch(&table->_expiring, node);
        }
    }
    enter_bucket(table, node);
}

/* Removes what a node has, and the nodes that were there for it only. */
static void clear(gv_retained_t *table, gv_retained_node_t *node)
{
    take_write(table, node);
    while (node->parent != NULL && node->kept == NULL && gv_map_count(&node->children) == 0) {
        gv_retained_node_t *parent = node->parent;
        node_free(node);
        node = parent;
    }
}

bool gv_retained_remove(gv_retained_t *table, gv_bytes_t topic)
{
    gv_retained_node_t *node = find(table, topic);
    if (node == NULL || node->kept == NULL) {
        return false;
    }
    bool is_message = message_of(node) != NULL;
    clear(table, node);
    return is_message;
}

gv_msgbuf_t *gv_retained_take_expired(gv_retained_t *table, uint64_t now_ms, gv_stamp_t *stamp_out)
{
    if (gv_retained_next_expiry(table) > now_ms) {
        return NULL;
    }
    gv_retained_node_t *node = table->_expiring._nodes[0];
    gv_msgbuf_t *kept = gv_msgbuf_ref(node->kept);
    *stamp_out = node->stamp;
    clear(table, node);
    return kept;
}

bool gv_retained_look(const gv_retained_t *table, gv_bytes_t topic, gv_retained_write_t *write_out)
{
    const gv_retained_node_t *node = find(table, topic);
    if (node == NULL || node->kept == NULL) {
        return false;
    }
    *write_out = write_of(node);
    return true;
}

size_t gv_retained_tombstones(const gv_retained_t *table)
{
    return table->_tombstones._count;
}

gv_retained_write_t gv_retained_tombstone_at(const gv_retained_t *table, size_t place)
{
    GV_ASSERT(place < table->_tombstones._count);
    return write_of(table->_tombstones._nodes[place]);
}

gv_msgbuf_t *gv_retained_find(const gv_retained_t *table, gv_bytes_t topic)
{
    const gv_retained_node_t *node = find(table, topic);
    return node == NULL ? NULL : message_of(node);
}

/* ---- matching -------------------------------------------------------------------------------- */

static void add(gv_retained_found_t *found, gv_msgbuf_t *kept)
{
    if (found->count == found->capacity) {
        size_t capacity = found->capacity == 0 ? 16 : found->capacity * 2;
        gv_msgbuf_t **messages = gv_try_realloc(found->messages, capacity * sizeof(*messages));
        if (messages == NULL) {
            found->missed++;
            return;
        }
        found->messages = messages;
        found->capacity = capacity;
    }
    found->messages[found->count++] = gv_msgbuf_ref(kept);
}

static bool is_system(const gv_retained_node_t *node)
{
    return node->size > 0 && node->level[0] == '$';
}

/*
 * The depth of both recursions is limited by the levels a topic may have (limits.h), which is
 * checked before a message is retained.
 */
static void add_all_below(const gv_retained_node_t *node, bool is_root, gv_retained_found_t *found)
{
    found->visited++;
    if (message_of(node) != NULL) {
        add(found, node->kept);
    }
    size_t cursor = 0;
    for (const gv_retained_node_t *child;
         (child = gv_map_next(&node->children, &cursor)) != NULL;) {
        if (!is_root || !is_system(child)) {
            add_all_below(child, false, found);
        }
    }
}

static void match(const gv_retained_node_t *node, bool is_root, gv_mqtt_levels_t levels,
                  gv_retained_found_t *found)
{
    found->visited++;
    gv_bytes_t level;
    if (!gv_mqtt_levels_next(&levels, &level)) {
        if (message_of(node) != NULL) {
            add(found, node->kept);
        }
        return;
    }
    if (gv_bytes_equal(level, GV_BYTES_LITERAL("#"))) {
        add_all_below(node, is_root, found);
        return;
    }
    if (!gv_bytes_equal(level, GV_BYTES_LITERAL("+"))) {
        const gv_retained_node_t *child = gv_map_find(&node->children, level);
        if (child != NULL) {
            match(child, false, levels, found);
        }
        return;
    }
    size_t cursor = 0;
    for (const gv_retained_node_t *child;
         (child = gv_map_next(&node->children, &cursor)) != NULL;) {
        if (!is_root || !is_system(child)) {
            match(child, false, levels, found);
        }
    }
}

void gv_retained_match(const gv_retained_t *table, gv_bytes_t filter, gv_retained_found_t *found)
{
    match(table->_root, true, gv_mqtt_levels(filter), found);
}

/* ---- a slice at a time ----------------------------------------------------------------------- */

/* What all steps of a slice share. */
typedef struct slice {
    gv_trail_t *trail;     /* made anew by each slice, ... */
    const gv_trail_t *old; /* ... from this one */
    uint32_t visits_left;
    gv_retained_walk_cb_t *on_message;
    void *arg;
} slice_t;

/* Where a step is. */
typedef struct step {
    gv_mqtt_levels_t filter; /* what is left of it */
    gv_mqtt_levels_t resume; /* what is left of the way to where the slice before has ended */
    bool is_resuming;
    bool is_below; /* a # has been passed: all of it */
    bool is_root;
} step_t;

static bool has_more(gv_mqtt_levels_t levels)
{
    gv_bytes_t level;
    return gv_mqtt_levels_next(&levels, &level);
}

static bool walk_node(slice_t *slice, const gv_retained_node_t *node, step_t step);

/* False: the slice is over, and the trail leads to where. */
static bool walk_child(slice_t *slice, const gv_retained_node_t *child, size_t cursor, step_t step)
{
    gv_trail_push(slice->trail, level_of(child), cursor);
    if (!walk_node(slice, child, step)) {
        return false;
    }
    gv_trail_pop(slice->trail, level_of(child));
    return true;
}

/*
 * All children, or those from the one on in which the slice before has ended.  If that is gone, or
 * another has taken its place, nothing is skipped.
 */
static bool walk_children(slice_t *slice, const gv_retained_node_t *node, step_t step, bool is_root)
{
    size_t cursor = 0;
    gv_bytes_t from = GV_BYTES_EMPTY;
    bool is_resuming = step.is_resuming;
    if (is_resuming) {
        cursor = gv_trail_cursor(slice->old, gv_trail_depth(slice->trail));
        (void)gv_mqtt_levels_next(&step.resume, &from);
    }
    size_t before = cursor;
    for (const gv_retained_node_t *child; (child = gv_map_next(&node->children, &cursor)) != NULL;
         before = cursor) {
        /* The last level of the way is of the node itself that is next. */
        step.is_resuming =
            is_resuming && has_more(step.resume) && gv_bytes_equal(level_of(child), from);
        is_resuming = false;
        if ((!is_root || !is_system(child)) && !walk_child(slice, child, before, step)) {
            return false;
        }
    }
    return true;
}

/* A node whose path matches so far: its message, unless it has been passed, then what is below. */
static bool walk_node(slice_t *slice, const gv_retained_node_t *node, step_t step)
{
    bool is_root = step.is_root;
    step.is_root = false;
    gv_bytes_t level = GV_BYTES_EMPTY;
    bool has_level = !step.is_below && gv_mqtt_levels_next(&step.filter, &level);
    step.is_below |= has_level && gv_bytes_equal(level, GV_BYTES_LITERAL("#"));
    if (!step.is_resuming) {
        bool is_match = step.is_below || !has_level;
        if (slice->visits_left == 0 ||
            (is_match && message_of(node) != NULL && !slice->on_message(node->kept, slice->arg))) {
            return false;
        }
        slice->visits_left--;
    }
    if (step.is_below || (has_level && gv_bytes_equal(level, GV_BYTES_LITERAL("+")))) {
        return walk_children(slice, node, step, is_root);
    }
    const gv_retained_node_t *child = has_level ? gv_map_find(&node->children, level) : NULL;
    if (step.is_resuming) {
        gv_bytes_t from;
        (void)gv_mqtt_levels_next(&step.resume, &from);
        step.is_resuming = has_more(step.resume);
    }
    return child == NULL || walk_child(slice, child, 0, step);
}

bool gv_retained_walk_on(const gv_retained_t *table, gv_retained_walk_t *walk, uint32_t visits_max,
                         gv_retained_walk_cb_t *on_message, void *arg)
{
    GV_ASSERT(visits_max > 0);
    gv_trail_t old = walk->_trail;
    walk->_trail = (gv_trail_t){._text = NULL};
    slice_t slice = {.trail = &walk->_trail,
                     .old = &old,
                     .visits_left = visits_max,
                     .on_message = on_message,
                     .arg = arg};
    step_t step = {.filter = gv_mqtt_levels(walk->filter),
                   .is_root = true,
                   .is_resuming = gv_trail_depth(&old) > 0};
    if (step.is_resuming) {
        step.resume = gv_mqtt_levels(gv_trail_text(&old));
    }
    bool is_end = walk_node(&slice, table->_root, step);
    gv_trail_deinit(&old);
    return is_end;
}

void gv_retained_walk_deinit(gv_retained_walk_t *walk)
{
    gv_trail_deinit(&walk->_trail);
}
