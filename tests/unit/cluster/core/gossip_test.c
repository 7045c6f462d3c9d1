/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/cluster/core/mesh.h"

/* Facts and views, also across a third node; and the paths that follow. */

START_TEST(every_node_can_show_every_nodes_view_of_every_other)
{
    mesh_t *mesh = mesh_of(4);
    mesh_set(mesh, 3, "r", 1);
    mesh_run(mesh, 1500);
    gv_node_view_t view;
    for (size_t x = 0; x < 4; x++) {
        for (size_t y = 0; y < 4; y++) {
            for (size_t z = 0; z < 4; z++) {
                if (y == z) {
                    continue;
                }
                ck_assert(gv_ccore_view(mesh->node[x].core, mesh_index(mesh, x, y),
                                        mesh_index(mesh, x, z), &view));
                ck_assert_int_eq(view.state, GV_MEMBER_ALIVE);
                ck_assert(view.is_linked);
                ck_assert_uint_eq(view.incarnation.boot_id, 100 + z);
                ck_assert_uint_eq(view.table_seq, z == 3 ? 1 : 0);
                ck_assert_uint_le(view.heard_ms, 400);
            }
        }
    }
    mesh_free(mesh);
}
END_TEST

START_TEST(a_cut_is_seen_from_everywhere_and_a_relay_is_found)
{
    mesh_t *mesh = mesh_of(4);
    mesh_cut(mesh, 0, 3, true);
    mesh_run(mesh, 3000);
    gv_node_view_t view;
    /* 1 and 2 know that 0 has no link to 3. */
    for (size_t x = 1; x < 3; x++) {
        ck_assert(gv_ccore_view(mesh->node[x].core, mesh_index(mesh, x, 0), mesh_index(mesh, x, 3),
                                &view));
        ck_assert(!view.is_linked);
        ck_assert_int_eq(view.state, GV_MEMBER_ALIVE);
    }
    /* 3's view reaches 0 although 3 cannot. */
    ck_assert(
        gv_ccore_view(mesh->node[0].core, mesh_index(mesh, 0, 3), mesh_index(mesh, 0, 1), &view));
    ck_assert(view.is_linked);
    ck_assert_uint_le(mesh_status(mesh, 0, 3).view_age_ms, 1000);
    gv_member_status_t status = mesh_status(mesh, 0, 3);
    ck_assert(status.has_path);
    ck_assert_uint_eq(status.relay, mesh_index(mesh, 0, 1)); /* the lowest id that reaches both */
    mesh_cut(mesh, 0, 1, true);
    mesh_run(mesh, 3000);
    ck_assert_uint_eq(mesh_status(mesh, 0, 3).relay, mesh_index(mesh, 0, 2));
    mesh_cut(mesh, 0, 2, true);
    mesh_run(mesh, 3000);
    ck_assert(!mesh_status(mesh, 0, 3).has_path);
    mesh_free(mesh);
}
END_TEST

START_TEST(a_new_address_is_learned_from_the_newest_life)
{
    mesh_t *mesh = mesh_of(3);
    mesh_kill(mesh, 2, true);
    mesh->node[2].identity.incarnation = (gv_incarnation_t){.start_counter = 2, .boot_id = 8};
    (void)snprintf(mesh->node[2].identity.address, sizeof(mesh->node[2].identity.address), "n2:99");
    mesh_start(mesh, 2);
    mesh_connect(mesh, 2, 0, 0);
    mesh_run(mesh, 100);
    ck_assert_str_eq(mesh_status(mesh, 0, 2).address, "n2:99");
    ck_assert_str_eq(mesh_status(mesh, 1, 2).address, "n2:99");
    mesh_free(mesh);
}
END_TEST

START_TEST(a_view_that_is_nonsense_is_malformed)
{
    mesh_t *mesh = mesh_new();
    mesh_start(mesh, 0);
    gv_link_id_t link = mesh_play(mesh, 1, 0);
    Gv__ViewRow row = GV__VIEW_ROW__INIT;
    row.node_id = mesh_id(mesh, 0);
    row.state = (Gv__MemberState)9;
    Gv__ViewRow *rows[] = {&row};
    Gv__View view = GV__VIEW__INIT;
    view.viewer_id = mesh_id(mesh, 1);
    view.viewer_boot_id = 101;
    view.seq = 1;
    view.rows = rows;
    view.n_rows = 1;
    mesh_say(mesh, 0, link, GV_FRAME_VIEW, &view.base);
    ck_assert_int_eq(mesh->node[0].last_close, GV_LINK_CLOSE_MALFORMED);
    mesh_free(mesh);
}
END_TEST

START_TEST(a_quiet_cluster_says_little)
{
    mesh_t *mesh = mesh_of(3);
    mesh_run(mesh, 2000);
    uint64_t facts = mesh->node[0].sent[GV_FRAME_FACTS];
    uint64_t pieces = mesh->node[0].sent[GV_FRAME_TABLE_PIECE];
    uint64_t views = mesh->node[0].sent[GV_FRAME_VIEW];
    uint64_t beats = mesh->node[0].sent[GV_FRAME_HEARTBEAT];
    mesh_run(mesh, 10000);
    ck_assert_uint_eq(mesh->node[0].sent[GV_FRAME_FACTS], facts);
    ck_assert_uint_eq(mesh->node[0].sent[GV_FRAME_TABLE_PIECE], pieces);
    ck_assert_uint_le(mesh->node[0].sent[GV_FRAME_VIEW] - views, 2 * 21);
    /* 5 a second to each of 2 peers, and an echo for each of theirs. */
    ck_assert_uint_le(mesh->node[0].sent[GV_FRAME_HEARTBEAT] - beats, 210);
    mesh_free(mesh);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("gossip");
    tcase_add_test(tc, every_node_can_show_every_nodes_view_of_every_other);
    tcase_add_test(tc, a_cut_is_seen_from_everywhere_and_a_relay_is_found);
    tcase_add_test(tc, a_new_address_is_learned_from_the_newest_life);
    tcase_add_test(tc, a_view_that_is_nonsense_is_malformed);
    tcase_add_test(tc, a_quiet_cluster_says_little);
    return mesh_run_tests(tc);
}
