/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

/* Room for `more` characters and the NUL. */
static void make_room(gv_text_t *text, size_t more)
{
    size_t needed = text->_size + more + 1;
    if (needed <= text->_capacity) {
        return;
    }
    size_t capacity = text->_capacity * 2 > needed ? text->_capacity * 2 : needed;
    text->_data = gv_xrealloc(text->_data, capacity);
    text->_capacity = capacity;
}

static GV_PRINTF(2, 0) void add_list(gv_text_t *text, const char *format, va_list arguments)
{
    va_list again;
    va_copy(again, arguments);
    int size = vsnprintf(NULL, 0, format, arguments);
    GV_ASSERT(size >= 0);
    make_room(text, (size_t)size);
    (void)vsnprintf(text->_data + text->_size, (size_t)size + 1, format, again);
    text->_size += (size_t)size;
    va_end(again);
}

void gv_text_deinit(gv_text_t *text)
{
    gv_free(text->_data);
    *text = GV_TEXT_EMPTY;
}

void gv_text_add(gv_text_t *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add_list(text, format, arguments);
    va_end(arguments);
}

void gv_text_put(gv_text_t *text, gv_bytes_t bytes)
{
    make_room(text, bytes.size);
    if (bytes.size > 0) {
        memcpy(text->_data + text->_size, bytes.data, bytes.size);
    }
    text->_size += bytes.size;
    text->_data[text->_size] = '\0';
}

void gv_text_clear(gv_text_t *text)
{
    text->_size = 0;
    if (text->_data != NULL) {
        text->_data[0] = '\0';
    }
}

char *gv_text_take(gv_text_t *text)
{
    char *taken = text->_data != NULL ? text->_data : gv_xstrdup("");
    *text = GV_TEXT_EMPTY;
    return taken;
}

char *gv_text_format(const char *format, ...)
{
    gv_text_t text = GV_TEXT_EMPTY;
    va_list arguments;
    va_start(arguments, format);
    add_list(&text, format, arguments);
    va_end(arguments);
    return gv_text_take(&text);
}
