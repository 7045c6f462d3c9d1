/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/filter_trie.h"

#include <string.h>

#include "broker/core/slot_table.h"

/*
 * Parts of this file: levels of a filter and nodes; the writer's way down and up again; sweeping;
 * looking at all; the readers' walk.
 */

typedef struct gv_filter_node {
    gv_slot_key_t key; /* of the level's text */
    uint16_t level_size;
    gv_slot_table_t children;              /* by the text of their level */
    _Atomic(struct gv_filter_node *) plus; /* the child for the level `+` */
    gv_routes_t here;                      /* of the filter that ends here */
    gv_routes_t below;                     /* of the filter that goes on with a last level `#` */
    uint8_t level[];
} node_t;

/* ---- levels and nodes ------------------------------------------------------------------------ */

/* "a/" has two levels, the second one empty. */
typedef struct level_iterator {
    const uint8_t *pos; /* NULL: at the end */
    const uint8_t *end;
} level_iterator_t;

static level_iterator_t levels_of(gv_bytes_t text)
{
    return (level_iterator_t){.pos = text.data, .end = text.data + text.size};
}

/* Takes the next level off; false: there is none left. */
static bool next_level(level_iterator_t *levels, gv_bytes_t *level_out)
{
    if (levels->pos == NULL) {
        return false;
    }
    size_t left = (size_t)(levels->end - levels->pos);
    const uint8_t *slash = left > 0 ? memchr(levels->pos, '/', left) : NULL;
    *level_out = gv_bytes(levels->pos, slash != NULL ? (size_t)(slash - levels->pos) : left);
    levels->pos = slash != NULL ? slash + 1 : NULL;
    return true;
}

static bool is_sign(gv_bytes_t level, char sign)
{
    return level.size == 1 && level.data[0] == (uint8_t)sign;
}

/* A gv_slot_is_t; the key is a gv_bytes_t. */
static inline bool node_is(const void *object, const void *key)
{
    const node_t *node = object;
    const gv_bytes_t *level = key;
    return node->level_size == level->size &&
           (level->size == 0 || memcmp(node->level, level->data, level->size) == 0);
}

static uint64_t hash_of(const gv_filter_trie_t *trie, gv_bytes_t level)
{
    return gv_bytes_hash(level, trie->_hash_seed);
}

/* Acquire: pairs with the release in add_child(), so that the child is seen whole. */
static node_t *plus_of(const node_t *node)
{
    return atomic_load_explicit(&node->plus, memory_order_acquire);
}

static node_t *new_node(gv_shared_heap_t *heap, gv_bytes_t level, uint64_t hash)
{
    node_t *node = gv_shared_heap_alloc(heap, sizeof(*node) + level.size);
    node->key.hash = (uint32_t)hash;
    node->level_size = (uint16_t)level.size;
    if (level.size > 0) {
        memcpy(node->level, level.data, level.size);
    }
    gv_slot_table_init(&node->children);
    atomic_init(&node->plus, NULL);
    gv_routes_init(&node->here);
    gv_routes_init(&node->below);
    return node;
}

static size_t node_bytes(const node_t *node)
{
    return sizeof(*node) + node->level_size;
}

/* For readers too.  For the writer right once the table of the children is tidy. */
static bool leads_nowhere(const node_t *node)
{
    return gv_routes_are_empty(&node->here) && gv_routes_are_empty(&node->below) &&
           plus_of(node) == NULL && gv_slot_table_is_empty(&node->children);
}

void gv_filter_trie_init(gv_filter_trie_t *trie, gv_shared_heap_t *heap, uint64_t hash_seed)
{
    trie->_hash_seed = hash_seed;
    trie->_root = new_node(heap, GV_BYTES_EMPTY, 0);
}

/* ---- the writer ------------------------------------------------------------------------------ */

bool gv_filter_trie_accepts(gv_bytes_t filter)
{
    level_iterator_t levels = levels_of(filter);
    gv_bytes_t level;
    size_t count = 0;
    while (count <= GV_ROUTER_LEVELS_MAX && next_level(&levels, &level)) {
        count++;
    }
    return count <= GV_ROUTER_LEVELS_MAX;
}

static node_t *find_child(const gv_filter_trie_t *trie, const node_t *node, gv_bytes_t level)
{
    if (is_sign(level, '+')) {
        return plus_of(node);
    }
    return gv_slot_table_find(&node->children, hash_of(trie, level), node_is, &level);
}

static node_t *add_child(const gv_filter_trie_t *trie, gv_shared_heap_t *heap, node_t *parent,
                         gv_bytes_t level)
{
    uint64_t hash = hash_of(trie, level);
    node_t *child = new_node(heap, level, hash);
    if (is_sign(level, '+')) {
        /* Release: the child is complete for whoever finds it. */
        atomic_store_explicit(&parent->plus, child, memory_order_release);
    } else {
        gv_slot_table_add(&parent->children, heap, hash, &child->key);
    }
    return child;
}

/* Out of its parent first, so that no new reader finds it; then retired. */
static void remove_child(gv_shared_heap_t *heap, node_t *parent, node_t *child)
{
    if (plus_of(parent) == child) {
        atomic_store_explicit(&parent->plus, NULL, memory_order_relaxed);
    } else {
        gv_slot_table_remove(&parent->children, &child->key);
    }
    GV_ASSERT(leads_nowhere(child));
    gv_shared_heap_retire(heap, child, node_bytes(child));
}

/* The nodes from the root to where a filter ends. */
typedef struct path {
    node_t *nodes[GV_ROUTER_LEVELS_MAX + 1];
    size_t count;
    bool ends_below; /* the last level is `#`: the routes are `below` of the last node */
} path_t;

/* Goes down along the filter.  A missing node is made if there is a heap, or else ends the way. */
static bool follow(const gv_filter_trie_t *trie, gv_shared_heap_t *heap, gv_bytes_t filter,
                   path_t *path)
{
    path->nodes[0] = trie->_root;
    path->count = 1;
    path->ends_below = false;
    level_iterator_t levels = levels_of(filter);
    gv_bytes_t level;
    while (next_level(&levels, &level)) {
        if (is_sign(level, '#') && levels.pos == NULL) {
            path->ends_below = true;
            break;
        }
        node_t *parent = path->nodes[path->count - 1];
        node_t *child = find_child(trie, parent, level);
        if (child == NULL && heap != NULL) {
            child = add_child(trie, heap, parent, level);
        }
        if (child == NULL || path->count > GV_ROUTER_LEVELS_MAX) {
            return false;
        }
        path->nodes[path->count++] = child;
    }
    return true;
}

static gv_routes_t *path_routes(const path_t *path)
{
    node_t *last = path->nodes[path->count - 1];
    return path->ends_below ? &last->below : &last->here;
}

gv_routes_t *gv_filter_trie_find(const gv_filter_trie_t *trie, gv_bytes_t filter)
{
    path_t path;
    return follow(trie, NULL, filter, &path) ? path_routes(&path) : NULL;
}

gv_routes_t *gv_filter_trie_find_or_add(gv_filter_trie_t *trie, gv_shared_heap_t *heap,
                                        gv_bytes_t filter)
{
    GV_ASSERT(gv_filter_trie_accepts(filter));
    path_t path;
    bool found = follow(trie, heap, filter, &path);
    GV_ASSERT(found);
    return path_routes(&path);
}

void gv_filter_trie_prune(gv_filter_trie_t *trie, gv_shared_heap_t *heap, gv_bytes_t filter)
{
    path_t path;
    bool found = follow(trie, NULL, filter, &path);
    GV_ASSERT(found);
    for (size_t i = path.count - 1; i > 0 && leads_nowhere(path.nodes[i]); i--) {
        remove_child(heap, path.nodes[i - 1], path.nodes[i]);
        gv_slot_table_tidy(&path.nodes[i - 1]->children, heap);
    }
}

/* ---- all filters ----------------------------------------------------------------------------- */

/* Recursion as deep as the filters have levels, at most GV_ROUTER_LEVELS_MAX. */
static void free_below(node_t *node, gv_shared_heap_t *heap)
{
    size_t cursor = 0;
    node_t *child;
    while ((child = gv_slot_table_next(&node->children, &cursor)) != NULL) {
        free_below(child, heap);
        gv_shared_heap_free(heap, child, node_bytes(child));
    }
    child = plus_of(node);
    if (child != NULL) {
        free_below(child, heap);
        gv_shared_heap_free(heap, child, node_bytes(child));
    }
    gv_slot_table_deinit(&node->children, heap);
    gv_routes_deinit(&node->here, heap);
    gv_routes_deinit(&node->below, heap);
}

void gv_filter_trie_deinit(gv_filter_trie_t *trie, gv_shared_heap_t *heap)
{
    free_below(trie->_root, heap);
    gv_shared_heap_free(heap, trie->_root, node_bytes(trie->_root));
    trie->_root = NULL;
}

typedef struct sweep {
    gv_shared_heap_t *heap;
    gv_routes_sweep_cb_t *visit;
    void *arg;
} sweep_t;

static void sweep_node(node_t *node, const sweep_t *sweep);

static void sweep_child(node_t *parent, node_t *child, const sweep_t *sweep)
{
    sweep_node(child, sweep);
    if (leads_nowhere(child)) {
        remove_child(sweep->heap, parent, child);
    }
}

static void sweep_node(node_t *node, const sweep_t *sweep)
{
    sweep->visit(&node->here, sweep->arg);
    sweep->visit(&node->below, sweep->arg);
    size_t cursor = 0;
    node_t *child;
    while ((child = gv_slot_table_next(&node->children, &cursor)) != NULL) {
        sweep_child(node, child, sweep);
    }
    gv_slot_table_tidy(&node->children, sweep->heap);
    child = plus_of(node);
    if (child != NULL) {
        sweep_child(node, child, sweep);
    }
}

void gv_filter_trie_sweep(gv_filter_trie_t *trie, gv_shared_heap_t *heap,
                          gv_routes_sweep_cb_t *visit, void *arg)
{
    sweep_t sweep = {.heap = heap, .visit = visit, .arg = arg};
    sweep_node(trie->_root, &sweep);
}

/* ---- looking at all, a slice at a time --------------------------------------------------------
 */

/* In a trail: the child for the level `+`, which comes last. */
#define CURSOR_PLUS SIZE_MAX

typedef struct slice {
    gv_filter_trie_walk_t *walk;
    const gv_trail_t *old; /* what the trail was before this slice */
    uint32_t visits_left;
    gv_filter_trie_cb_t *on_filter;
    void *arg;
} slice_t;

static bool show_below(slice_t *slice, const node_t *node)
{
    const gv_bytes_t rest = GV_BYTES_LITERAL("#");
    gv_trail_t *trail = &slice->walk->_trail;
    gv_trail_push(trail, rest, 0);
    bool is_taken = slice->on_filter(gv_trail_text(trail), &node->below, slice->arg);
    gv_trail_pop(trail, rest);
    return is_taken;
}

/* The two filters of a node.  False: the slice is over. */
static bool show(slice_t *slice, const node_t *node)
{
    gv_filter_trie_walk_t *walk = slice->walk;
    if (slice->visits_left == 0 ||
        (!walk->_is_here_over && !gv_routes_are_empty(&node->here) &&
         !slice->on_filter(gv_trail_text(&walk->_trail), &node->here, slice->arg))) {
        return false;
    }
    walk->_is_here_over = !gv_routes_are_empty(&node->below) && !show_below(slice, node);
    slice->visits_left -= walk->_is_here_over ? 0 : 1;
    return !walk->_is_here_over;
}

/* `resume`: what is left of the old trail; nothing is left at the node that is next. */
static bool walk_node(slice_t *slice, const node_t *node, level_iterator_t resume);

static bool walk_child(slice_t *slice, const node_t *child, size_t cursor, level_iterator_t resume)
{
    gv_bytes_t level = gv_bytes(child->level, child->level_size);
    gv_trail_push(&slice->walk->_trail, level, cursor);
    if (!walk_node(slice, child, resume)) {
        return false;
    }
    gv_trail_pop(&slice->walk->_trail, level);
    return true;
}

static bool walk_node(slice_t *slice, const node_t *node, level_iterator_t resume)
{
    static const level_iterator_t nothing = {.pos = NULL};
    size_t cursor = 0;
    gv_bytes_t from = GV_BYTES_EMPTY;
    bool is_resuming = next_level(&resume, &from);
    if (is_resuming) {
        cursor = gv_trail_cursor(slice->old, gv_trail_depth(&slice->walk->_trail));
    } else if (!show(slice, node)) {
        return false;
    }
    bool is_in_plus = cursor == CURSOR_PLUS;
    size_t before = cursor;
    const node_t *child;
    while (cursor != CURSOR_PLUS &&
           (child = gv_slot_table_next(&node->children, &cursor)) != NULL) {
        /* If the one where the slice before has ended is gone, nothing is skipped. */
        bool is_way = is_resuming && node_is(child, &from);
        is_resuming = false;
        if (!walk_child(slice, child, before, is_way ? resume : nothing)) {
            return false;
        }
        before = cursor;
    }
    child = plus_of(node);
    return child == NULL || walk_child(slice, child, CURSOR_PLUS, is_in_plus ? resume : nothing);
}

bool gv_filter_trie_walk_on(const gv_filter_trie_t *trie, gv_filter_trie_walk_t *walk,
                            uint32_t visits_max, gv_filter_trie_cb_t *on_filter, void *arg)
{
    GV_ASSERT(visits_max > 0);
    gv_trail_t old = walk->_trail;
    walk->_trail = (gv_trail_t){._text = NULL};
    slice_t slice = {
        .walk = walk, .old = &old, .visits_left = visits_max, .on_filter = on_filter, .arg = arg};
    level_iterator_t resume = {.pos = NULL};
    if (gv_trail_depth(&old) > 0) {
        resume = levels_of(gv_trail_text(&old));
    }
    bool is_end = walk_node(&slice, trie->_root, resume);
    gv_trail_deinit(&old);
    return is_end;
}

void gv_filter_trie_walk_deinit(gv_filter_trie_walk_t *walk)
{
    gv_trail_deinit(&walk->_trail);
    walk->_is_here_over = false;
}

/* ---- the readers' walk ----------------------------------------------------------------------- */

typedef struct topic_level {
    gv_bytes_t text;
    uint64_t hash;
    bool is_hashed;
} topic_level_t;

/* The levels of a topic, split and hashed once each, and only as far as the walk comes. */
typedef struct split_topic {
    level_iterator_t rest;
    size_t count;
    topic_level_t levels[GV_ROUTER_LEVELS_MAX];
} split_topic_t;

/* Does the topic have exactly this many levels?  The walk has split all levels before `depth`. */
static bool ends_at(const split_topic_t *topic, size_t depth)
{
    return depth == topic->count && topic->rest.pos == NULL;
}

/* The level at `depth`, which the topic has, and below which there are nodes. */
static topic_level_t *level_at(split_topic_t *topic, size_t depth)
{
    GV_DEBUG_ASSERT(depth < GV_ROUTER_LEVELS_MAX);
    topic_level_t *level = &topic->levels[depth];
    if (depth == topic->count) {
        bool found = next_level(&topic->rest, &level->text);
        GV_DEBUG_ASSERT(found);
        (void)found;
        level->is_hashed = false;
        topic->count++;
    }
    return level;
}

/* Where to go on when the way along the literal levels has ended. */
typedef struct branch {
    const node_t *node;
    size_t depth;
} branch_t;

/*
 * Depth first, the literal child before `+`.  A waiting branch is always deeper than those that
 * wait below it, so there is at most one per level.
 */
typedef struct walk {
    uint64_t hash_seed;
    const gv_collector_t *collector;
    size_t branch_count;
    branch_t branches[GV_ROUTER_LEVELS_MAX];
    split_topic_t topic;
} walk_t;

static const node_t *literal_child(const walk_t *walk, const node_t *node, topic_level_t *level)
{
    if (!level->is_hashed) {
        level->hash = gv_bytes_hash(level->text, walk->hash_seed);
        level->is_hashed = true;
    }
    return gv_slot_table_find(&node->children, level->hash, node_is, &level->text);
}

/*
 * The next node on the way; if there are two, `+` waits as a branch.  A topic is not split for a
 * node without children: most walks end at one.
 */
static const node_t *step(walk_t *walk, const node_t *node, const node_t *plus, size_t depth)
{
    if (gv_slot_table_is_empty(&node->children)) {
        if (plus != NULL) {
            (void)level_at(&walk->topic, depth);
        }
        return plus;
    }
    const node_t *child = literal_child(walk, node, level_at(&walk->topic, depth));
    if (child == NULL || plus == NULL) {
        return child != NULL ? child : plus;
    }
    __builtin_prefetch(plus);
    GV_DEBUG_ASSERT(walk->branch_count < GV_ROUTER_LEVELS_MAX);
    walk->branches[walk->branch_count++] = (branch_t){.node = plus, .depth = depth + 1};
    return child;
}

static void walk_from(walk_t *walk, branch_t start)
{
    const node_t *node = start.node;
    for (size_t depth = start.depth; node != NULL; depth++) {
        walk->collector->out->nodes_visited++;
        gv_routes_collect(&node->below, walk->collector);
        if (ends_at(&walk->topic, depth)) {
            gv_routes_collect(&node->here, walk->collector);
            return;
        }
        node = step(walk, node, plus_of(node), depth);
    }
}

void gv_filter_trie_match(const gv_filter_trie_t *trie, gv_bytes_t topic,
                          const gv_collector_t *collector)
{
    const node_t *root = trie->_root;
    if (leads_nowhere(root) || topic.size == 0) {
        return;
    }
    walk_t walk; /* the arrays are filled as far as they are used */
    walk.hash_seed = trie->_hash_seed;
    walk.collector = collector;
    walk.topic.rest = levels_of(topic);
    walk.topic.count = 0;
    walk.branch_count = 0;
    branch_t start = {.node = root, .depth = 0};
    if (topic.data[0] == '$') {
        /* [MQTT-4.7.2-1] Wildcards in the first level do not match: to the literal child only. */
        collector->out->nodes_visited++;
        start = (branch_t){.node = step(&walk, root, NULL, 0), .depth = 1};
    }
    walk_from(&walk, start);
    while (walk.branch_count > 0) {
        walk_from(&walk, walk.branches[--walk.branch_count]);
    }
}
