/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/admin/url.h"

#include <string.h>

static bool ends_with(gv_bytes_t text, gv_bytes_t end)
{
    return text.size >= end.size &&
           memcmp(text.data + (text.size - end.size), end.data, end.size) == 0;
}

bool gv_url_match(const char *pattern, const char *path, gv_bytes_t *value_out)
{
    *value_out = GV_BYTES_EMPTY;
    const char *open = strchr(pattern, '{');
    if (open == NULL) {
        return strcmp(pattern, path) == 0;
    }
    const char *close = strchr(open, '}');
    GV_ASSERT(close != NULL);
    gv_bytes_t text = gv_bytes_text(path);
    gv_bytes_t prefix = gv_bytes(pattern, (size_t)(open - pattern));
    gv_bytes_t suffix = gv_bytes_text(close + 1);
    if (text.size <= prefix.size + suffix.size || !gv_bytes_has_prefix(text, prefix) ||
        !ends_with(text, suffix)) {
        return false;
    }
    gv_bytes_t value = gv_bytes(text.data + prefix.size, text.size - prefix.size - suffix.size);
    bool takes_slashes = close[-1] == '.';
    if (!takes_slashes && memchr(value.data, '/', value.size) != NULL) {
        return false;
    }
    *value_out = value;
    return true;
}

/* 0 to 15, or -1. */
static int digit(uint8_t c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool gv_url_decode(gv_bytes_t value, char *out)
{
    size_t size = 0;
    for (size_t i = 0; i < value.size; i++) {
        uint8_t c = value.data[i];
        if (c == '%') {
            bool is_whole = i + 2 < value.size;
            int high = is_whole ? digit(value.data[i + 1]) : -1;
            int low = is_whole ? digit(value.data[i + 2]) : -1;
            if (high < 0 || low < 0 || high + low == 0) {
                return false;
            }
            c = (uint8_t)(high * 16 + low);
            i += 2;
        }
        out[size++] = (char)c;
    }
    out[size] = '\0';
    return true;
}
