/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/table.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

void gv_table_init(gv_table_t *table, size_t columns)
{
    GV_ASSERT(columns > 0);
    *table = (gv_table_t){._columns = columns};
}

void gv_table_deinit(gv_table_t *table)
{
    for (size_t i = 0; i < table->_count; i++) {
        gv_free(table->_cells[i]);
    }
    gv_free(table->_cells);
    *table = (gv_table_t){._columns = table->_columns};
}

void gv_table_cell(gv_table_t *table, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    /* Names come from clients: what a terminal would take as a command is shown as a mark. */
    for (char *c = text; *c != '\0'; c++) {
        if ((unsigned char)*c < ' ' || *c == 0x7f) {
            *c = '?';
        }
    }
    if (table->_count == table->_capacity) {
        table->_capacity = table->_capacity == 0 ? 64 : table->_capacity * 2;
        table->_cells = gv_xrealloc(table->_cells, table->_capacity * sizeof(*table->_cells));
    }
    table->_cells[table->_count++] = gv_xstrdup(text);
}

/* Of each column; the caller's to free. */
static size_t *widths_of(const gv_table_t *table)
{
    size_t *widths = gv_xcalloc(table->_columns, sizeof(*widths));
    for (size_t i = 0; i < table->_count; i++) {
        size_t size = strlen(table->_cells[i]);
        size_t *width = &widths[i % table->_columns];
        *width = size > *width ? size : *width;
    }
    return widths;
}

void gv_table_print(const gv_table_t *table, gv_text_t *out)
{
    GV_ASSERT(table->_count % table->_columns == 0);
    size_t *widths = widths_of(table);
    for (size_t i = 0; i < table->_count; i++) {
        size_t column = i % table->_columns;
        if (column + 1 == table->_columns) {
            gv_text_add(out, "%s\n", table->_cells[i]);
        } else {
            gv_text_add(out, "%-*s  ", (int)widths[column], table->_cells[i]);
        }
    }
    gv_free(widths);
}
