/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/core/table.h"

#include "base/alloc.h"

/* The order array: entries ascend by seq; holes keep theirs, so that a binary search can step on
 * them.  It is compacted when more than half of it is holes, so each change pays O(1) for that. */

#define ORDER_CAPACITY_MIN 16U

_Static_assert(sizeof(gv_row_t) == 24, "a row's header is 24 bytes; the header file says so");

static gv_bytes_t key_of(const void *value)
{
    return gv_row_key(value);
}

static bool is_hole(uint64_t entry)
{
    return (entry & 1) != 0;
}

static gv_row_t *row_of(uint64_t entry)
{
    return (gv_row_t *)(uintptr_t)entry; /* NOLINT(performance-no-int-to-ptr) */
}

static uint64_t seq_of(uint64_t entry)
{
    return is_hole(entry) ? entry >> 1 : row_of(entry)->seq;
}

static uint64_t row_hash(const gv_row_t *row)
{
    /* The same on all nodes, so the seed may hold nothing but the row. */
    return gv_bytes_hash(gv_row_key(row), row->seq * 0x9E3779B97F4A7C15U + row->value);
}

static size_t row_bytes(const gv_row_t *row)
{
    return sizeof(*row) + row->key_size;
}

void gv_table_init(gv_table_t *table, uint64_t seed)
{
    *table = (gv_table_t){.seq = 0};
    gv_map_init(&table->_rows, key_of, seed);
}

static void free_rows(gv_table_t *table)
{
    for (size_t i = 0; i < table->_order_count; i++) {
        if (!is_hole(table->_order[i])) {
            gv_free(row_of(table->_order[i]));
        }
    }
}

void gv_table_deinit(gv_table_t *table)
{
    free_rows(table);
    gv_free(table->_order);
    gv_map_deinit(&table->_rows);
}

void gv_table_clear(gv_table_t *table)
{
    uint64_t seed = table->_rows._seed;
    gv_table_deinit(table);
    gv_table_init(table, seed);
}

size_t gv_table_bytes(const gv_table_t *table)
{
    return table->row_bytes + gv_map_bytes(&table->_rows) +
           table->_order_capacity * sizeof(table->_order[0]);
}

gv_row_t *gv_table_find(const gv_table_t *table, gv_bytes_t key)
{
    return gv_map_find(&table->_rows, key);
}

static void compact(gv_table_t *table)
{
    size_t kept = 0;
    for (size_t i = 0; i < table->_order_count; i++) {
        uint64_t entry = table->_order[i];
        if (!is_hole(entry)) {
            row_of(entry)->position = (uint32_t)kept;
            table->_order[kept++] = entry;
        }
    }
    table->_order_count = kept;
    table->_hole_count = 0;
}

/* Room for one more entry.  Rows are counted with 32 bits, far above any limit on them. */
static gv_err_t reserve_entry(gv_table_t *table)
{
    if (table->_order_count < table->_order_capacity) {
        return GV_OK;
    }
    if (table->_hole_count > table->_order_count / 2) {
        compact(table);
        return GV_OK;
    }
    size_t capacity = table->_order_capacity + table->_order_capacity / 2;
    if (capacity < ORDER_CAPACITY_MIN) {
        capacity = ORDER_CAPACITY_MIN;
    }
    if (capacity > UINT32_MAX) {
        return GV_ERR_NOMEM;
    }
    uint64_t *grown = gv_try_realloc(table->_order, capacity * sizeof(grown[0]));
    if (grown == NULL) {
        return GV_ERR_NOMEM;
    }
    table->_order = grown;
    table->_order_capacity = capacity;
    return GV_OK;
}

static void append(gv_table_t *table, gv_row_t *row)
{
    row->position = (uint32_t)table->_order_count;
    table->_order[table->_order_count++] = (uint64_t)(uintptr_t)row;
}

static void make_hole(gv_table_t *table, const gv_row_t *row)
{
    GV_ASSERT(table->_order[row->position] == (uint64_t)(uintptr_t)row);
    table->_order[row->position] = row->seq << 1 | 1;
    table->_hole_count++;
}

/* Takes the row out of hash and counts, or puts it in. */
static void account(gv_table_t *table, const gv_row_t *row, bool in)
{
    if (row->value == 0) {
        table->tombstone_count += in ? 1 : (size_t)-1;
        return;
    }
    table->live_count += in ? 1 : (size_t)-1;
    table->hash += in ? row_hash(row) : 0 - row_hash(row);
}

gv_err_t gv_table_put(gv_table_t *table, gv_bytes_t key, uint32_t value, uint64_t seq,
                      uint32_t *before_out)
{
    GV_ASSERT(key.size > 0);
    GV_ASSERT(key.size <= GV_ROUTE_KEY_MAX);
    *before_out = 0;
    if (table->_order_count > 0) {
        GV_ASSERT(seq >= seq_of(table->_order[table->_order_count - 1]));
    }
    gv_err_t err = reserve_entry(table);
    if (err != GV_OK) {
        return err;
    }
    gv_row_t *row = gv_map_find(&table->_rows, key);
    if (row == NULL) {
        row = gv_try_alloc(sizeof(*row) + key.size);
        if (row == NULL) {
            return GV_ERR_NOMEM;
        }
        *row = (gv_row_t){.key_size = (uint16_t)key.size};
        memcpy(row->key, key.data, key.size);
        gv_map_add(&table->_rows, row);
        table->row_bytes += row_bytes(row);
    } else {
        *before_out = row->value;
        account(table, row, false);
        make_hole(table, row);
    }
    row->value = value;
    row->seq = seq;
    append(table, row);
    account(table, row, true);
    table->seq = seq;
    return GV_OK;
}

gv_row_t *gv_table_after(const gv_table_t *table, uint64_t seq)
{
    size_t low = 0;
    size_t high = table->_order_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (seq_of(table->_order[middle]) > seq) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    while (low < table->_order_count && is_hole(table->_order[low])) {
        low++;
    }
    return low < table->_order_count ? row_of(table->_order[low]) : NULL;
}

gv_row_t *gv_table_next(const gv_table_t *table, const gv_row_t *row)
{
    size_t i = (size_t)row->position + 1;
    while (i < table->_order_count && is_hole(table->_order[i])) {
        i++;
    }
    return i < table->_order_count ? row_of(table->_order[i]) : NULL;
}

void gv_table_trim(gv_table_t *table, uint32_t max, bool keeps_floor)
{
    if (table->tombstone_count <= max) {
        return;
    }
    size_t left = max / 2;
    for (size_t i = 0; i < table->_order_count && table->tombstone_count > left; i++) {
        if (is_hole(table->_order[i]) || row_of(table->_order[i])->value != 0) {
            continue;
        }
        gv_row_t *row = row_of(table->_order[i]);
        GV_ASSERT(!row->is_queued);
        account(table, row, false);
        make_hole(table, row);
        if (!keeps_floor) {
            table->floor = row->seq;
        }
        table->row_bytes -= row_bytes(row);
        (void)gv_map_remove(&table->_rows, gv_row_key(row));
        gv_free(row);
    }
    compact(table);
}
