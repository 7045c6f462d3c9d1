/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/pending.h"

#include "base/alloc.h"

uint32_t gv_pending_take(gv_pending_table_t *table)
{
    uint32_t index = 0;
    if (table->_free != 0) {
        index = table->_free - 1;
        table->_free = table->items[index]._next_free;
    } else {
        if (table->count == table->_capacity) {
            table->_capacity = table->_capacity == 0 ? 256 : table->_capacity * 2;
            table->items = gv_xrealloc(table->items, table->_capacity * sizeof(*table->items));
        }
        index = table->count++;
        table->items[index].generation = 1;
    }
    table->items[index] = (gv_pending_t){.generation = table->items[index].generation};
    return index;
}

void gv_pending_give_back(gv_pending_table_t *table, uint32_t index)
{
    GV_ASSERT(index < table->count);
    gv_pending_t *pending = &table->items[index];
    gv_free(pending->returned);
    pending->returned = NULL;
    pending->generation++;
    pending->_next_free = table->_free;
    table->_free = index + 1;
}

gv_pending_t *gv_pending_at(const gv_pending_table_t *table, uint32_t index, uint32_t generation)
{
    if (index >= table->count || table->items[index].generation != generation) {
        return NULL;
    }
    return &table->items[index];
}

void gv_pending_return(gv_pending_t *pending, uint64_t key)
{
    size_t size = (pending->returned_count + 1) * sizeof(key);
    pending->returned = gv_xrealloc(pending->returned, size);
    pending->returned[pending->returned_count++] = key;
}

void gv_pending_deinit(gv_pending_table_t *table)
{
    for (uint32_t i = 0; i < table->count; i++) {
        gv_free(table->items[i].returned);
    }
    gv_free(table->items);
    *table = (gv_pending_table_t){.count = 0};
}
