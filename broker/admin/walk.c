/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/admin/walk.h"

#include <string.h>

#include "base/alloc.h"

/* ---- in a slice ----------------------------------------------------------------------------- */

void gv_walk_slice(gv_walk_t *walk, gv_shard_t *shard)
{
    walk->slice_bytes = 0;
    walk->is_shard_done = walk->kind->slice(walk, shard);
}

void gv_walk_router_slice(gv_walk_t *walk, const gv_router_t *router)
{
    walk->slice_bytes = 0;
    walk->is_shard_done = walk->kind->router_slice(walk, router);
}

gv_walk_step_t gv_walk_step(gv_walk_t *walk)
{
    if (walk->skipped < walk->page.skip) {
        walk->skipped++;
        return GV_WALK_PASS;
    }
    if (walk->row_count == walk->page.limit) {
        walk->has_next = true;
        return GV_WALK_END;
    }
    return walk->slice_bytes < GV_WALK_SLICE_BYTES_MAX ? GV_WALK_TAKE : GV_WALK_END;
}

void *gv_walk_add(gv_walk_t *walk, size_t size)
{
    if (walk->row_count == walk->row_capacity) {
        walk->row_capacity = walk->row_capacity == 0 ? 64 : walk->row_capacity * 2;
        walk->rows = gv_xrealloc(walk->rows, walk->row_capacity * sizeof(*walk->rows));
    }
    void *row = gv_xcalloc(1, size);
    walk->rows[walk->row_count++] = row;
    walk->bytes += size;
    walk->slice_bytes += size;
    walk->is_too_large = walk->bytes > GV_WALK_BYTES_MAX;
    return row;
}

gv_bytes_t gv_walk_copy(gv_bytes_t bytes, uint8_t **end)
{
    if (bytes.size == 0) {
        return GV_BYTES_EMPTY;
    }
    uint8_t *begin = *end;
    memcpy(begin, bytes.data, bytes.size);
    *end += bytes.size;
    return gv_bytes(begin, bytes.size);
}

/* ---- on the admin loop ---------------------------------------------------------------------- */

void gv_walk_answer_page(gv_walk_t *walk)
{
    if (walk->is_too_large) {
        gv_admin_answer_error(walk->call, 400, "BAD_REQUEST",
                              "limit: so many are more than 16 MiB; ask for fewer");
        return;
    }
    json_t *data = json_array();
    for (size_t i = 0; i < walk->row_count; i++) {
        (void)json_array_append_new(data, walk->kind->row(walk, walk->rows[i]));
    }
    json_t *meta =
        gv_page_meta(&walk->page, walk->has_next,
                     walk->has_next && !walk->kind->has_no_cursor ? &walk->at : NULL, walk->count);
    gv_admin_answer_json(walk->call, 200, json_pack("{s:o, s:o}", "data", data, "meta", meta));
}

static GV_LOOP_ONLY void finish(gv_walk_t *walk, bool is_stopping)
{
    if (is_stopping) {
        gv_admin_answer_error(walk->call, 503, "SHUTTING_DOWN", "the node is shutting down");
    } else if (walk->kind->answer != NULL) {
        walk->kind->answer(walk);
    } else {
        gv_walk_answer_page(walk);
    }
    for (size_t i = 0; i < walk->row_count; i++) {
        gv_free(walk->rows[i]);
    }
    gv_free(walk->rows);
    walk->kind->free(walk);
}

void gv_walk_begin(gv_walk_t *walk)
{
    GV_ASSERT(walk->host != NULL);
    GV_ASSERT(walk->kind != NULL);
    GV_ASSERT(walk->call != NULL);
    GV_ASSERT(walk->at.shard < walk->host->shard_count);
    walk->host->send(walk->host->arg, walk);
}

void gv_walk_returned(gv_walk_t *walk, bool is_stopping)
{
    bool is_over =
        walk->has_next || walk->is_too_large || is_stopping || !gv_admin_is_waited_for(walk->call);
    if (!is_over && walk->is_shard_done) {
        is_over = walk->is_on_one_shard || walk->at.shard + 1 == walk->host->shard_count;
        if (!is_over) {
            walk->at = (gv_place_in_list_t){.shard = (uint16_t)(walk->at.shard + 1)};
        }
    }
    if (is_over) {
        finish(walk, is_stopping);
    } else {
        walk->host->send(walk->host->arg, walk);
    }
}
