/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_table: columns of text, as wide as they have to be.
 *
 *     gv_table_init(&table, 3);
 *     gv_table_cell(&table, "NODE"); ... row by row, from left to right
 *     gv_table_print(&table, &text);
 *     gv_table_deinit(&table);
 */

#include <stddef.h>

#include "base/defs.h"
#include "base/text.h"

typedef struct gv_table {
    char **_cells;
    size_t _count;
    size_t _capacity;
    size_t _columns;
} gv_table_t;

void gv_table_init(gv_table_t *table, size_t columns);
void gv_table_deinit(gv_table_t *table);

/* As printf, cut after 511 bytes; control characters become question marks. */
void gv_table_cell(gv_table_t *table, const char *format, ...) GV_PRINTF(2, 3);

/* Appends the rows to `out`, two spaces between columns.  All rows are complete (asserted). */
void gv_table_print(const gv_table_t *table, gv_text_t *out);
