/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_RETAINED

#include "broker/core/retained.h"

#include "base/alloc.h"
#include "proto/mqtt/topic.h"

struct gv_retained_node {
    gv_retained_node_t *parent;
    gv_msgbuf_t *kept; /* NULL: only a step on the way to others */
    gv_map_t children;
    uint32_t expiring; /* its place in the heap, from 1 on; 0: its message never expires */
    uint16_t size;
    uint8_t level[];
};

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

void gv_retained_init(gv_retained_t *table, uint64_t hash_seed)
{
    *table = (gv_retained_t){._seed = hash_seed};
    table->_root = node_new(table, NULL, GV_BYTES_EMPTY);
}

/* The first child, or NULL: enough to take a tree down without recursion. */
static gv_retained_node_t *any_child(const gv_retained_node_t *node)
{
    size_t cursor = 0;
    return gv_map_next(&node->children, &cursor);
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
    gv_retained_node_t *node = table->_root;
    while (node != NULL) {
        gv_retained_node_t *child = any_child(node);
        if (child != NULL) {
            node = child;
            continue;
        }
        gv_retained_node_t *parent = node->parent;
        node_free(node);
        node = parent;
    }
    gv_free(table->_expiring);
    *table = (gv_retained_t){0};
}

/* ---- what expires ---------------------------------------------------------------------------- */

static uint64_t expiry_of(const gv_retained_node_t *node)
{
    return gv_publish_of(node->kept).expires_at_ms;
}

/* Puts a node at a place of the heap, from 1 on: the children of n are at 2n and 2n + 1. */
static void put_at(gv_retained_t *table, uint32_t place, gv_retained_node_t *node)
{
    table->_expiring[place - 1] = node;
    node->expiring = place;
}

static void move_up(gv_retained_t *table, gv_retained_node_t *node, uint32_t place)
{
    while (place > 1 && expiry_of(table->_expiring[place / 2 - 1]) > expiry_of(node)) {
        put_at(table, place, table->_expiring[place / 2 - 1]);
        place /= 2;
    }
    put_at(table, place, node);
}

static void move_down(gv_retained_t *table, gv_retained_node_t *node, uint32_t place)
{
    for (uint32_t child; (child = place * 2) <= table->_expiring_count; place = child) {
        if (child < table->_expiring_count &&
            expiry_of(table->_expiring[child]) < expiry_of(table->_expiring[child - 1])) {
            child++;
        }
        if (expiry_of(table->_expiring[child - 1]) >= expiry_of(node)) {
            break;
        }
        put_at(table, place, table->_expiring[child - 1]);
    }
    put_at(table, place, node);
}

static void watch(gv_retained_t *table, gv_retained_node_t *node)
{
    if (table->_expiring_count == table->_expiring_capacity) {
        uint32_t capacity = table->_expiring_capacity == 0 ? 16 : table->_expiring_capacity * 2;
        table->_expiring = gv_xrealloc(table->_expiring, capacity * sizeof(gv_retained_node_t *));
        table->_expiring_capacity = capacity;
    }
    table->_expiring_count++;
    move_up(table, node, table->_expiring_count);
}

/* Its message is about to go, or to be replaced. */
static void unwatch(gv_retained_t *table, gv_retained_node_t *node)
{
    uint32_t place = node->expiring;
    if (place == 0) {
        return;
    }
    node->expiring = 0;
    gv_retained_node_t *last = table->_expiring[--table->_expiring_count];
    if (last == node) {
        return;
    }
    if (place > 1 && expiry_of(table->_expiring[place / 2 - 1]) > expiry_of(last)) {
        move_up(table, last, place);
    } else {
        move_down(table, last, place);
    }
}

uint64_t gv_retained_next_expiry(const gv_retained_t *table)
{
    return table->_expiring_count == 0 ? UINT64_MAX : expiry_of(table->_expiring[0]);
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

static void take_message(gv_retained_t *table, gv_retained_node_t *node)
{
    unwatch(table, node);
    table->bytes -= gv_msgbuf_bytes(node->kept).size;
    table->count--;
    gv_msgbuf_unref(&node->kept);
}

void gv_retained_set(gv_retained_t *table, gv_msgbuf_t *kept)
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
        take_message(table, node);
    }
    node->kept = gv_msgbuf_ref(kept);
    table->bytes += gv_msgbuf_bytes(kept).size;
    table->count++;
    if (publish.expires_at_ms != 0) {
        watch(table, node);
    }
}

/* Removes a node's message, and the nodes that were there for it only. */
static void clear(gv_retained_t *table, gv_retained_node_t *node)
{
    take_message(table, node);
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
    clear(table, node);
    return true;
}

gv_msgbuf_t *gv_retained_take_expired(gv_retained_t *table, uint64_t now_ms)
{
    if (gv_retained_next_expiry(table) > now_ms) {
        return NULL;
    }
    gv_retained_node_t *node = table->_expiring[0];
    gv_msgbuf_t *kept = gv_msgbuf_ref(node->kept);
    clear(table, node);
    return kept;
}

gv_msgbuf_t *gv_retained_find(const gv_retained_t *table, gv_bytes_t topic)
{
    const gv_retained_node_t *node = find(table, topic);
    return node == NULL ? NULL : node->kept;
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
    if (node->kept != NULL) {
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
        if (node->kept != NULL) {
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
