/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/cluster/core/mesh.h"

/* Routes and their confirmations between nodes that do not hear each other. */

static uint64_t notices(const mesh_t *mesh)
{
    uint64_t count = 0;
    for (size_t i = 0; i < MESH_NODES; i++) {
        if (mesh->node[i].core != NULL) {
            count += gv_ccore_stats(mesh->node[i].core)->table_notices_sent;
        }
    }
    return count;
}

static mesh_t *cut_mesh(size_t count, size_t a, size_t b)
{
    mesh_t *mesh = mesh_of(count);
    uint64_t at_start = notices(mesh); /* while links came up one by one */
    mesh_set(mesh, 0, "before", 1);
    mesh_run(mesh, 100);
    ck_assert_uint_eq(notices(mesh), at_start); /* everybody hears everybody: nothing to tell */
    mesh_cut(mesh, a, b, true);
    mesh_run(mesh, 4000);
    ck_assert(!mesh_is_linked(mesh, a, b));
    ck_assert_int_eq(mesh_state(mesh, a, b), GV_MEMBER_ALIVE);
    return mesh;
}

START_TEST(a_route_crosses_a_cut_link_at_once_and_its_owner_hears_so)
{
    mesh_t *mesh = cut_mesh(3, 0, 2);
    for (uint32_t i = 1; i <= 20; i++) {
        mesh_set(mesh, 0, "a", i);
        mesh_run(mesh, 100); /* six ways of one step each, and a few turns */
        ck_assert_uint_eq(mesh_value(mesh, 2, 0, "a"), i);
        ck_assert_uint_eq(mesh_status(mesh, 0, 2).acked_seq, 1 + i);
    }
    mesh_free(mesh);
}
END_TEST

/* Ten nodes would do as two do: of all that hear both, one tells. */
START_TEST(one_notice_tells_of_many_changes)
{
    mesh_t *mesh = cut_mesh(4, 0, 3);
    uint64_t before = notices(mesh);
    for (uint32_t i = 0; i < 100; i++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "k/%" PRIu32, i);
        mesh_set(mesh, 0, key, 1);
    }
    mesh_run(mesh, 100);
    ck_assert_uint_eq(mesh_value(mesh, 3, 0, "k/99"), 1);
    ck_assert_uint_eq(notices(mesh), before + 1);
    mesh_run(mesh, 5000);
    ck_assert_uint_eq(notices(mesh), before + 1); /* and nobody tells what nobody has changed */
    mesh_free(mesh);
}
END_TEST

START_TEST(a_chain_of_nodes_passes_routes_on)
{
    /* 0 - 1 - 2 - 3: each hears its neighbours only. */
    mesh_t *mesh = mesh_of(4);
    mesh_cut(mesh, 0, 2, true);
    mesh_cut(mesh, 0, 3, true);
    mesh_cut(mesh, 1, 3, true);
    mesh_run(mesh, 5000);
    uint64_t before = notices(mesh);
    mesh_set(mesh, 0, "a", 1);
    mesh_run(mesh, 150);
    ck_assert_uint_eq(mesh_value(mesh, 3, 0, "a"), 1);
    ck_assert_uint_le(notices(mesh) - before, 3); /* one per link at most */
    mesh_free(mesh);
}
END_TEST

START_TEST(what_was_on_its_way_when_the_link_broke_follows)
{
    mesh_t *mesh = mesh_of(3);
    mesh_cut(mesh, 0, 2, true);
    mesh_set(mesh, 0, "a", 1); /* pushed into the cut */
    uint64_t ms = 0;
    while (mesh_is_linked(mesh, 2, 0)) {
        mesh_step(mesh);
        ms += MESH_STEP_MS;
        ck_assert_uint_lt(ms, 5000);
    }
    mesh_run(mesh, 150); /* views go at most every 50 ms */
    ck_assert_uint_eq(mesh_value(mesh, 2, 0, "a"), 1);
    mesh_free(mesh);
}
END_TEST

START_TEST(a_relayed_confirmation_counts_for_the_right_life_only)
{
    mesh_t *mesh = cut_mesh(3, 0, 2);
    mesh->node[2].is_paused = true; /* the test speaks for it */
    mesh_set(mesh, 0, "a", 1);
    mesh_run(mesh, 20);
    ck_assert_uint_eq(mesh_status(mesh, 0, 2).acked_seq, 1);
    gv_link_id_t link = 2; /* 0 - 1, end of 0 */
    ck_assert_uint_eq(mesh->owner[link], 0);
    Gv__RelayedAck ack = GV__RELAYED_ACK__INIT;
    ack.from_id = mesh_id(mesh, 2);
    ack.to_id = mesh_id(mesh, 0);
    ack.from_boot_id = mesh->node[2].identity.incarnation.boot_id + 1;
    ack.start_counter = mesh->node[0].identity.incarnation.start_counter;
    ack.boot_id = mesh->node[0].identity.incarnation.boot_id;
    ack.seq = 2;
    mesh_say(mesh, 0, link, GV_FRAME_TABLE_ACK_RELAYED, &ack.base);
    ck_assert_uint_eq(mesh_status(mesh, 0, 2).acked_seq, 1);
    ack.from_boot_id--;
    ack.seq = 3; /* more than there is */
    mesh_say(mesh, 0, link, GV_FRAME_TABLE_ACK_RELAYED, &ack.base);
    ck_assert_uint_eq(mesh_status(mesh, 0, 2).acked_seq, 1);
    ack.seq = 2;
    mesh_say(mesh, 0, link, GV_FRAME_TABLE_ACK_RELAYED, &ack.base);
    ck_assert_uint_eq(mesh_status(mesh, 0, 2).acked_seq, 2);
    /* Neither passed on nor taken: it is for nobody we know. */
    ack.to_id = mesh_id(mesh, 3);
    mesh_say(mesh, 0, link, GV_FRAME_TABLE_ACK_RELAY, &ack.base);
    ck_assert(mesh->is_open[link]);
    ack.to_id.len = 3;
    mesh_say(mesh, 0, link, GV_FRAME_TABLE_ACK_RELAY, &ack.base);
    ck_assert(!mesh->is_open[link]);
    ck_assert_uint_eq(gv_ccore_stats(mesh->node[0].core)->frames_bad, 1);
    mesh_free(mesh);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("detour");
    tcase_add_test(tc, a_route_crosses_a_cut_link_at_once_and_its_owner_hears_so);
    tcase_add_test(tc, one_notice_tells_of_many_changes);
    tcase_add_test(tc, a_chain_of_nodes_passes_routes_on);
    tcase_add_test(tc, what_was_on_its_way_when_the_link_broke_follows);
    tcase_add_test(tc, a_relayed_confirmation_counts_for_the_right_life_only);
    return mesh_run_tests(tc);
}
