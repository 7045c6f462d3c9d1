/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/admin/page.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Sixteen digits are the longest cursor. */
#define CURSOR_SIZE_MAX 32U

bool gv_parse_number(const char *text, uint64_t max, uint64_t *out)
{
    size_t size = strlen(text);
    if (size == 0 || size > 18 || strspn(text, "0123456789") != size) {
        return false;
    }
    *out = strtoull(text, NULL, 10);
    return *out <= max;
}

/* SHARD-CURSOR, as gv_page_meta() has written it. */
static bool parse_cursor(const char *text, uint16_t shard_count, gv_place_in_list_t *out)
{
    const char *dash = strchr(text, '-');
    size_t size = strlen(text);
    if (dash == NULL || dash == text || dash - text > 5 || size > CURSOR_SIZE_MAX) {
        return false;
    }
    size_t shard_size = (size_t)(dash - text);
    size_t cursor_size = size - shard_size - 1;
    if (strspn(text, "0123456789") != shard_size || cursor_size == 0 || cursor_size > 16 ||
        strspn(dash + 1, "0123456789abcdef") != cursor_size) {
        return false;
    }
    uint64_t shard = strtoull(text, NULL, 10);
    if (shard >= shard_count) {
        return false;
    }
    *out = (gv_place_in_list_t){.shard = (uint16_t)shard, .cursor = strtoull(dash + 1, NULL, 16)};
    return true;
}

const char *gv_page_parse(const char *limit, const char *page, const char *cursor,
                          uint16_t shard_count, gv_page_t *out)
{
    *out = (gv_page_t){.page = 1};
    uint64_t number = GV_PAGE_LIMIT_DEFAULT;
    if (limit != NULL && (!gv_parse_number(limit, GV_PAGE_LIMIT_MAX, &number) || number == 0)) {
        return "limit: expected a number from 1 to 10000";
    }
    out->limit = (uint32_t)number;
    if (cursor != NULL) {
        out->page = 0;
        if (page != NULL) {
            return "page: not together with cursor";
        }
        return parse_cursor(cursor, shard_count, &out->from)
                   ? NULL
                   : "cursor: expected what an answer of this node has in meta.cursor";
    }
    number = 1;
    if (page != NULL && (!gv_parse_number(page, UINT32_MAX, &number) || number == 0)) {
        return "page: expected a number from 1 on";
    }
    if ((number - 1) * out->limit > GV_PAGE_SKIP_MAX) {
        return "page: too far behind the first 1000000; go on by meta.cursor, or ask for less";
    }
    out->page = (uint32_t)number;
    out->skip = (uint32_t)(number - 1) * out->limit;
    return NULL;
}

const char *gv_page_of(const gv_admin_call_t *call, uint16_t shard_count, gv_page_t *out)
{
    return gv_page_parse(gv_admin_query(call, "limit"), gv_admin_query(call, "page"),
                         gv_admin_query(call, "cursor"), shard_count, out);
}

json_t *gv_page_meta(const gv_page_t *page, bool has_next, const gv_place_in_list_t *next,
                     uint64_t count)
{
    json_t *meta = json_pack("{s:I, s:b}", "limit", (json_int_t)page->limit, "hasnext", has_next);
    GV_ASSERT(meta != NULL);
    if (page->page != 0) {
        (void)json_object_set_new(meta, "page", json_integer(page->page));
    }
    if (count != UINT64_MAX) {
        (void)json_object_set_new(meta, "count", json_integer((json_int_t)count));
    }
    if (next != NULL) {
        char cursor[CURSOR_SIZE_MAX];
        (void)snprintf(cursor, sizeof(cursor), "%u-%" PRIx64, next->shard, next->cursor);
        (void)json_object_set_new(meta, "cursor", json_string(cursor));
    }
    return meta;
}
