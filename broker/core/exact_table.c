/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/exact_table.h"

#include <string.h>

typedef struct leaf {
    gv_slot_key_t key;
    uint16_t filter_size;
    gv_routes_t routes;
    uint8_t filter[];
} leaf_t;

static size_t leaf_bytes(const leaf_t *leaf)
{
    return sizeof(leaf_t) + leaf->filter_size;
}

/* A gv_slot_is_t; the key is a gv_bytes_t. */
static inline bool leaf_is(const void *object, const void *key)
{
    const leaf_t *leaf = object;
    const gv_bytes_t *filter = key;
    return leaf->filter_size == filter->size &&
           memcmp(leaf->filter, filter->data, filter->size) == 0;
}

static leaf_t *find_leaf(const gv_exact_table_t *table, gv_bytes_t filter, uint64_t hash)
{
    return gv_slot_table_find(&table->_filters, hash, leaf_is, &filter);
}

void gv_exact_table_init(gv_exact_table_t *table)
{
    gv_slot_table_init(&table->_filters);
}

void gv_exact_table_deinit(gv_exact_table_t *table, gv_shared_heap_t *heap)
{
    size_t cursor = 0;
    leaf_t *leaf;
    while ((leaf = gv_slot_table_next(&table->_filters, &cursor)) != NULL) {
        gv_routes_deinit(&leaf->routes, heap);
        gv_shared_heap_free(heap, leaf, leaf_bytes(leaf));
    }
    gv_slot_table_deinit(&table->_filters, heap);
}

void gv_exact_table_prefetch(const gv_exact_table_t *table, uint64_t hash)
{
    gv_slot_table_prefetch(&table->_filters, hash);
}

gv_routes_t *gv_exact_table_find(const gv_exact_table_t *table, gv_bytes_t topic, uint64_t hash)
{
    leaf_t *leaf = find_leaf(table, topic, hash);
    return leaf != NULL ? &leaf->routes : NULL;
}

gv_routes_t *gv_exact_table_find_or_add(gv_exact_table_t *table, gv_shared_heap_t *heap,
                                        gv_bytes_t filter, uint64_t hash)
{
    GV_ASSERT(filter.size <= UINT16_MAX);
    leaf_t *leaf = find_leaf(table, filter, hash);
    if (leaf == NULL) {
        leaf = gv_shared_heap_alloc(heap, sizeof(leaf_t) + filter.size);
        leaf->key.hash = (uint32_t)hash;
        leaf->filter_size = (uint16_t)filter.size;
        gv_routes_init(&leaf->routes);
        memcpy(leaf->filter, filter.data, filter.size);
        gv_slot_table_add(&table->_filters, heap, hash, &leaf->key);
    }
    return &leaf->routes;
}

/* Out of the table first, so that no new reader finds it; then retired. */
static void remove_leaf(gv_exact_table_t *table, gv_shared_heap_t *heap, leaf_t *leaf)
{
    GV_ASSERT(gv_routes_are_empty(&leaf->routes));
    gv_slot_table_remove(&table->_filters, &leaf->key);
    gv_shared_heap_retire(heap, leaf, leaf_bytes(leaf));
}

void gv_exact_table_remove(gv_exact_table_t *table, gv_shared_heap_t *heap, gv_bytes_t filter,
                           uint64_t hash)
{
    leaf_t *leaf = find_leaf(table, filter, hash);
    GV_ASSERT(leaf != NULL);
    remove_leaf(table, heap, leaf);
    gv_slot_table_tidy(&table->_filters, heap);
}

void gv_exact_table_sweep(gv_exact_table_t *table, gv_shared_heap_t *heap,
                          gv_routes_sweep_cb_t *visit, void *arg)
{
    size_t cursor = 0;
    leaf_t *leaf;
    while ((leaf = gv_slot_table_next(&table->_filters, &cursor)) != NULL) {
        visit(&leaf->routes, arg);
        if (gv_routes_are_empty(&leaf->routes)) {
            remove_leaf(table, heap, leaf);
        }
    }
    gv_slot_table_tidy(&table->_filters, heap);
}

const gv_routes_t *gv_exact_table_next(const gv_exact_table_t *table, size_t *cursor,
                                       gv_bytes_t *filter_out)
{
    const leaf_t *leaf = gv_slot_table_next(&table->_filters, cursor);
    *filter_out = leaf != NULL ? gv_bytes(leaf->filter, leaf->filter_size) : GV_BYTES_EMPTY;
    return leaf != NULL ? &leaf->routes : NULL;
}
