/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/cluster/core/mesh.h"

/* Copies of the others' routes: pieces, snapshots, gaps, limits, and the way through a third node.
 */

static void set_many(mesh_t *mesh, size_t node, uint32_t first, uint32_t end, uint32_t value)
{
    for (uint32_t i = first; i < end; i++) {
        char key[48];
        (void)snprintf(key, sizeof(key), "building/%" PRIu32 "/floor/+/sensor", i);
        mesh_set(mesh, node, key, value);
    }
}

static void assert_same(const mesh_t *mesh, size_t viewer, size_t owner)
{
    gv_member_status_t own;
    ck_assert(gv_ccore_member(mesh->node[owner].core, GV_NODE_SELF, &own));
    gv_node_view_t copy = mesh_status(mesh, viewer, owner).view;
    ck_assert_uint_eq(copy.table_seq, own.view.table_seq);
    ck_assert_uint_eq(copy.table_hash, own.view.table_hash);
    ck_assert_uint_eq(copy.table_rows, own.view.table_rows);
    ck_assert_uint_eq(gv_ccore_stats(mesh->node[viewer].core)->table_mismatches, 0);
}

START_TEST(a_hundred_thousand_routes_arrive_small)
{
    mesh_t *mesh = mesh_of(3);
    set_many(mesh, 0, 0, 100000, 1);
    mesh_run(mesh, 2000);
    assert_same(mesh, 1, 0);
    assert_same(mesh, 2, 0);
    ck_assert_uint_eq(mesh->node[1].rows, 100000);
    /* 29 to 33 bytes of key in each. */
    ck_assert_uint_le(mesh_status(mesh, 1, 0).table_bytes, 100000U * (100 + 33));
    mesh_free(mesh);
}
END_TEST

START_TEST(who_comes_late_gets_a_snapshot_in_pieces)
{
    mesh_t *mesh = mesh_new();
    mesh_start(mesh, 0);
    mesh_start(mesh, 1);
    set_many(mesh, 0, 0, 20000, 1);
    mesh_connect(mesh, 0, 1, 0);
    ck_assert(gv_ccore_is_synced(mesh->node[1].core));
    mesh_run(mesh, 30);
    ck_assert(!gv_ccore_is_synced(mesh->node[1].core));
    ck_assert_uint_eq(mesh->node[1].rows, 0); /* staged: nothing is shown before all is there */
    set_many(mesh, 0, 100, 200, 2);           /* meanwhile it goes on changing */
    set_many(mesh, 0, 300, 400, 0);
    mesh_run(mesh, 1000);
    assert_same(mesh, 1, 0);
    ck_assert_uint_eq(mesh->node[1].rows, 19900);
    ck_assert(gv_ccore_is_synced(mesh->node[1].core));
    ck_assert_uint_ge(gv_ccore_stats(mesh->node[1].core)->table_snapshots, 1);
    mesh_free(mesh);
}
END_TEST

START_TEST(after_a_break_only_what_is_missing_is_sent)
{
    mesh_t *mesh = mesh_of(2);
    set_many(mesh, 0, 0, 20000, 1);
    mesh_run(mesh, 1000);
    uint64_t pieces = mesh->node[0].sent[GV_FRAME_TABLE_PIECE];
    mesh_break_between(mesh, 0, 1);
    set_many(mesh, 0, 20000, 20010, 1);
    mesh_run(mesh, 1500);
    assert_same(mesh, 1, 0);
    ck_assert_uint_le(mesh->node[0].sent[GV_FRAME_TABLE_PIECE] - pieces, 3);
    mesh_free(mesh);
}
END_TEST

START_TEST(withdrawals_long_ago_need_a_snapshot)
{
    mesh_t *mesh = mesh_new();
    gv_ccore_options_t options;
    mesh_options(&mesh->node[0], &options);
    options.limits.tombstones = 10;
    mesh_start_with(&mesh->node[0], &options);
    mesh_start(mesh, 1);
    mesh_connect(mesh, 0, 1, 0);
    set_many(mesh, 0, 0, 100, 1);
    mesh_run(mesh, 500);
    mesh_cut(mesh, 0, 1, true);
    mesh_break_between(mesh, 0, 1);
    set_many(mesh, 0, 0, 50, 0);
    mesh_run(mesh, 1000);
    mesh_cut(mesh, 0, 1, false);
    mesh_run(mesh, 3000);
    assert_same(mesh, 1, 0);
    ck_assert_uint_eq(mesh->node[1].rows, 50);
    mesh_free(mesh);
}
END_TEST

START_TEST(routes_cross_a_cut_through_a_third_node)
{
    mesh_t *mesh = mesh_of(3);
    mesh_cut(mesh, 0, 2, true);
    mesh_run(mesh, 3000);
    set_many(mesh, 0, 0, 5000, 1);
    mesh_run(mesh, 6000);
    assert_same(mesh, 2, 0);
    ck_assert_uint_eq(mesh->node[2].rows, 5000);
    set_many(mesh, 0, 0, 5000, 0);
    mesh_run(mesh, 6000);
    assert_same(mesh, 2, 0);
    ck_assert_uint_eq(mesh->node[2].rows, 0);
    mesh_free(mesh);
}
END_TEST

/* ---- the test plays node 1
 * -------------------------------------------------------------------------- */

typedef struct piece {
    uint64_t from_seq;
    uint64_t to_seq;
    bool is_snapshot;
    bool is_last;
    const char *key; /* one row under to_seq, or NULL */
    uint64_t row_seq;
} piece_t;

static void push(mesh_t *mesh, gv_link_id_t link, piece_t piece)
{
    Gv__Row row = GV__ROW__INIT;
    Gv__Row *rows[] = {&row};
    Gv__TablePiece msg = GV__TABLE_PIECE__INIT;
    msg.owner_id = mesh_id(mesh, 1);
    msg.start_counter = 1;
    msg.boot_id = 101;
    msg.from_seq = piece.from_seq;
    msg.to_seq = piece.to_seq;
    msg.sender_seq = piece.to_seq;
    msg.snapshot = piece.is_snapshot;
    msg.last = piece.is_last;
    if (piece.key != NULL) {
        row.key = (ProtobufCBinaryData){.len = strlen(piece.key),
                                        .data = (uint8_t *)(uintptr_t)piece.key};
        row.value = 1;
        row.seq = piece.row_seq;
        msg.rows = rows;
        msg.n_rows = 1;
    }
    mesh_say(mesh, 0, link, GV_FRAME_TABLE_PIECE, &msg.base);
}

START_TEST(a_delta_across_a_gap_is_refused)
{
    mesh_t *mesh = mesh_new();
    mesh_start(mesh, 0);
    gv_link_id_t link = mesh_play(mesh, 1, 0);
    push(mesh, link, (piece_t){0, 1, true, false, "a", 1});
    push(mesh, link, (piece_t){1, 2, true, false, "b", 2});
    push(mesh, link, (piece_t){4, 5, true, true, "e", 5});
    ck_assert_uint_eq(gv_ccore_stats(mesh->node[0].core)->table_pieces_refused, 1);
    ck_assert_uint_eq(mesh->node[0].rows, 0);
    push(mesh, link, (piece_t){2, 3, true, true, "c", 3});
    ck_assert_uint_eq(mesh->node[0].rows, 3);
    push(mesh, link, (piece_t){5, 6, false, true, "f", 6});
    ck_assert_uint_eq(mesh->node[0].rows, 3);
    ck_assert_uint_eq(gv_ccore_stats(mesh->node[0].core)->table_pieces_refused, 2);
    uint64_t acks = mesh->node[0].sent[GV_FRAME_TABLE_ACK];
    gv_ccore_flush(mesh->node[0].core);
    ck_assert_uint_eq(mesh->node[0].sent[GV_FRAME_TABLE_ACK], acks + 1); /* "go on from 3" */
    ck_assert_uint_eq(mesh->node[0].closes, 0);
    mesh_free(mesh);
}
END_TEST

START_TEST(equal_versions_with_unequal_hashes_are_counted_and_healed)
{
    mesh_t *mesh = mesh_new();
    mesh_start(mesh, 0);
    gv_link_id_t link = mesh_play(mesh, 1, 0);
    push(mesh, link, (piece_t){0, 1, true, true, "a", 1}); /* its hash field is 0: wrong */
    ck_assert_uint_eq(gv_ccore_stats(mesh->node[0].core)->table_mismatches, 1);
    ck_assert_uint_eq(mesh->node[0].events[GV_CCORE_EVENT_TABLE_MISMATCH], 1);
    ck_assert(!gv_ccore_is_synced(mesh->node[0].core) ||
              mesh_status(mesh, 0, 1).view.table_rows == 1);
    mesh_free(mesh);
}
END_TEST

static gv_link_close_t closing_of(piece_t piece)
{
    mesh_t *mesh = mesh_new();
    mesh_start(mesh, 0);
    gv_link_id_t link = mesh_play(mesh, 1, 0);
    push(mesh, link, piece);
    ck_assert_uint_eq(mesh->node[0].closes, 1);
    gv_link_close_t reason = mesh->node[0].last_close;
    ck_assert_uint_eq(mesh->node[0].rows, 0);
    mesh_free(mesh);
    return reason;
}

START_TEST(pieces_that_make_no_sense_close_the_link)
{
    ck_assert_int_eq(closing_of((piece_t){2, 1, true, true, NULL, 0}), GV_LINK_CLOSE_MALFORMED);
    ck_assert_int_eq(closing_of((piece_t){0, UINT64_MAX, true, true, NULL, 0}),
                     GV_LINK_CLOSE_MALFORMED);
    ck_assert_int_eq(closing_of((piece_t){0, 5, true, true, "a", 6}), GV_LINK_CLOSE_MALFORMED);
    ck_assert_int_eq(closing_of((piece_t){0, 5, true, true, "a", 0}), GV_LINK_CLOSE_MALFORMED);
    ck_assert_int_eq(closing_of((piece_t){0, 5, true, true, "", 1}), GV_LINK_CLOSE_MALFORMED);
}
END_TEST

START_TEST(a_table_over_the_limit_closes_the_link)
{
    mesh_t *mesh = mesh_new();
    gv_ccore_options_t options;
    mesh_options(&mesh->node[0], &options);
    options.limits.table_rows = 2;
    mesh_start_with(&mesh->node[0], &options);
    gv_link_id_t link = mesh_play(mesh, 1, 0);
    push(mesh, link, (piece_t){0, 1, true, false, "a", 1});
    push(mesh, link, (piece_t){1, 2, true, false, "b", 2});
    ck_assert_uint_eq(mesh->node[0].closes, 0);
    push(mesh, link, (piece_t){2, 3, true, false, "c", 3});
    ck_assert_uint_eq(mesh->node[0].closes, 1);
    mesh_free(mesh);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("replica");
    tcase_add_test(tc, a_hundred_thousand_routes_arrive_small);
    tcase_add_test(tc, who_comes_late_gets_a_snapshot_in_pieces);
    tcase_add_test(tc, after_a_break_only_what_is_missing_is_sent);
    tcase_add_test(tc, withdrawals_long_ago_need_a_snapshot);
    tcase_add_test(tc, routes_cross_a_cut_through_a_third_node);
    tcase_add_test(tc, a_delta_across_a_gap_is_refused);
    tcase_add_test(tc, equal_versions_with_unequal_hashes_are_counted_and_healed);
    tcase_add_test(tc, pieces_that_make_no_sense_close_the_link);
    tcase_add_test(tc, a_table_over_the_limit_closes_the_link);
    return mesh_run_tests(tc);
}
