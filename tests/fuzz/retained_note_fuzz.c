/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What other nodes say about retained messages: notes about a bucket, and digests.  A note that can
 * be read is written again, and is the same then.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "broker/core/note.h"
#include "broker/core/reconcile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition) {
        abort();
    }
}

static bool no_note(void *arg, gv_node_index_t node, gv_frame_kind_t kind, gv_bytes_t body)
{
    (void)arg;
    require(node == 1 && gv_frame_is_note(kind) && body.size <= GV_FRAME_BODY_MAX);
    return true;
}

static uint64_t one_member(void *arg)
{
    (void)arg;
    return 2;
}

static void try_note(gv_bytes_t input)
{
    gv_arena_t arena;
    gv_arena_init(&arena, (size_t)8 << 20);
    gv_note_view_t view;
    uint32_t bucket = 0;
    if (gv_note_read(input, &arena, &view) == GV_OK) {
        require(view.bucket < GV_RETAINED_BUCKETS);
        gv_note_t note = {.bucket = view.bucket};
        for (size_t i = 0; i < view.count; i++) {
            require(view.entries[i].topic.size > 0);
            gv_note_add(&note, &view.entries[i]);
        }
        size_t packed_size = 0;
        uint8_t *packed = gv_note_pack(&note, view.is_last, &packed_size);
        require(gv_note_bucket(gv_bytes(packed, packed_size), &bucket) && bucket == view.bucket);
        gv_note_view_t again;
        require(gv_note_read(gv_bytes(packed, packed_size), &arena, &again) == GV_OK);
        require(again.count == view.count && again.is_last == view.is_last);
        gv_free(packed);
        gv_note_deinit(&note);
    }
    if (gv_note_bucket(input, &bucket)) {
        require(bucket < GV_RETAINED_BUCKETS);
    }
    gv_arena_deinit(&arena);
}

static void try_digest(gv_bytes_t input)
{
    static gv_retained_common_t common;
    gv_retained_common_init(&common, 0);
    gv_reconcile_options_t options = {
        .common = &common, .random_seed = 1, .note = no_note, .members = one_member};
    gv_reconcile_t *reconcile = NULL;
    gv_reconcile_new(&options, &reconcile);
    gv_reconcile_on_node(reconcile, 1, GV_NODE_ROUTABLE);
    for (uint64_t now_ms = 1; now_ms < 20000; now_ms += 2500) {
        gv_reconcile_turn_end(reconcile, now_ms, 1700000000000U + now_ms);
        (void)gv_reconcile_on_digest(reconcile, 1, input);
    }
    gv_reconcile_free(&reconcile);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_note(gv_bytes(data, size));
    try_digest(gv_bytes(data, size));
    return 0;
}
