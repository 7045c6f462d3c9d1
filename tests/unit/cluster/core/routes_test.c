/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/cluster/core/mesh.h"

/* Our own routes: set, withdraw, push, confirm; barriers. */

START_TEST(a_route_reaches_all_peers_in_one_step)
{
    mesh_t *mesh = mesh_of(3);
    mesh_set(mesh, 0, "a/+", 3);
    gv_ccore_flush(mesh->node[0].core);
    mesh_step(mesh);
    ck_assert_uint_eq(mesh_value(mesh, 1, 0, "a/+"), 3);
    ck_assert_uint_eq(mesh_value(mesh, 2, 0, "a/+"), 3);
    ck_assert_uint_eq(mesh->node[1].row_changes, 1);
    mesh_set(mesh, 0, "a/+", 3);
    mesh_run(mesh, 1000);
    ck_assert_uint_eq(mesh->node[1].row_changes, 1); /* the same value is no change */
    ck_assert_uint_eq(mesh_status(mesh, 1, 0).view.table_seq, 1);
    mesh_free(mesh);
}
END_TEST

START_TEST(a_withdrawal_waits_and_can_be_taken_back)
{
    mesh_t *mesh = mesh_of(2);
    mesh_set(mesh, 0, "a", 1);
    mesh_run(mesh, 50);
    mesh_set(mesh, 0, "a", 0);
    mesh_run(mesh, 100);
    ck_assert_uint_eq(mesh_value(mesh, 1, 0, "a"), 1);
    mesh_set(mesh, 0, "a", 1); /* back before anybody noticed */
    mesh_run(mesh, 1000);
    ck_assert_uint_eq(mesh_value(mesh, 1, 0, "a"), 1);
    ck_assert_uint_eq(mesh->node[1].row_changes, 1);
    mesh_set(mesh, 0, "a", 0);
    mesh_run(mesh, 400);
    ck_assert_uint_eq(mesh_value(mesh, 1, 0, "a"), 0);
    ck_assert_uint_eq(mesh->node[1].rows, 0);
    mesh_free(mesh);
}
END_TEST

START_TEST(a_second_withdrawal_has_its_own_delay)
{
    mesh_t *mesh = mesh_of(2);
    mesh_set(mesh, 0, "a", 1);
    mesh_run(mesh, 50);
    mesh_set(mesh, 0, "a", 0);
    mesh_run(mesh, 150);
    mesh_set(mesh, 0, "a", 1);
    mesh_set(mesh, 0, "a", 0);
    mesh_run(mesh, 150); /* 300 ms after the first, 150 after the second */
    ck_assert_uint_eq(mesh_value(mesh, 1, 0, "a"), 1);
    mesh_run(mesh, 200);
    ck_assert_uint_eq(mesh_value(mesh, 1, 0, "a"), 0);
    mesh_free(mesh);
}
END_TEST

START_TEST(keys_have_limits)
{
    mesh_t *mesh = mesh_of(2);
    uint8_t *long_key = gv_xcalloc(1, GV_ROUTE_KEY_MAX + 1);
    gv_ccore_t *core = mesh->node[0].core;
    ck_assert_int_eq(gv_ccore_route_set(core, GV_BYTES_EMPTY, 1), GV_ERR_LIMIT);
    ck_assert_int_eq(gv_ccore_route_set(core, gv_bytes(long_key, GV_ROUTE_KEY_MAX + 1), 1),
                     GV_ERR_LIMIT);
    ck_assert_int_eq(gv_ccore_route_set(core, gv_bytes(long_key, GV_ROUTE_KEY_MAX), 5), GV_OK);
    mesh_set(mesh, 0, "after", 1);
    mesh_run(mesh, 100);
    gv_node_index_t index = mesh_index(mesh, 1, 0);
    ck_assert_uint_eq(
        gv_ccore_route_value(mesh->node[1].core, index, gv_bytes(long_key, GV_ROUTE_KEY_MAX)), 5);
    ck_assert_uint_eq(mesh_value(mesh, 1, 0, "after"), 1);
    gv_free(long_key);
    mesh_free(mesh);
}
END_TEST

START_TEST(a_barrier_answers_when_all_peers_have_confirmed)
{
    mesh_t *mesh = mesh_of(3);
    mesh_node_t *node = &mesh->node[0];
    mesh_set(mesh, 0, "a", 1);
    gv_ccore_barrier(node->core, 41);
    gv_ccore_flush(node->core);
    ck_assert_uint_eq(node->barriers_in_time, 0); /* nobody can have confirmed yet */
    mesh_step(mesh);
    mesh_step(mesh);
    ck_assert_uint_eq(node->barriers_in_time, 1);
    ck_assert_uint_eq(node->last_token, 41);
    ck_assert_uint_eq(mesh_value(mesh, 1, 0, "a"), 1);
    /* Nothing new to confirm: at once. */
    gv_ccore_barrier(node->core, 42);
    ck_assert_uint_eq(node->barriers_in_time, 1); /* but never within the call */
    gv_ccore_flush(node->core);
    ck_assert_uint_eq(node->barriers_in_time, 2);
    mesh_free(mesh);
}
END_TEST

START_TEST(a_barrier_does_not_wait_for_ever)
{
    mesh_t *mesh = mesh_of(3);
    mesh_node_t *node = &mesh->node[0];
    mesh->node[2].is_paused = true;
    mesh_set(mesh, 0, "a", 1);
    gv_ccore_barrier(node->core, 1);
    mesh_run(mesh, 400);
    ck_assert_uint_eq(node->barriers_in_time + node->barriers_late, 0);
    mesh_run(mesh, 150);
    ck_assert_uint_eq(node->barriers_late, 1);
    ck_assert_uint_eq(gv_ccore_stats(node->core)->barriers_late, 1);
    mesh_run(mesh, 1000); /* suspect by now: nobody waits for it any more */
    mesh_set(mesh, 0, "b", 1);
    gv_ccore_barrier(node->core, 2);
    mesh_run(mesh, 50);
    ck_assert_uint_eq(node->barriers_in_time, 1);
    mesh_free(mesh);
}
END_TEST

START_TEST(many_barriers_are_answered_in_order_by_one_confirmation)
{
    mesh_t *mesh = mesh_of(2);
    mesh_node_t *node = &mesh->node[0];
    for (uint64_t i = 0; i < 100000; i++) {
        char key[24];
        (void)snprintf(key, sizeof(key), "k/%" PRIu64, i % 1000);
        mesh_set(mesh, 0, key, (uint32_t)(i / 1000 + 1));
        gv_ccore_barrier(node->core, i);
    }
    mesh_run(mesh, 300);
    ck_assert_uint_eq(node->barriers_in_time, 100000);
    ck_assert_uint_eq(node->last_token, 99999);
    ck_assert_uint_eq(mesh->node[1].rows, 1000);
    ck_assert_uint_eq(mesh->node[1].row_changes, 1000); /* only the last value travels */
    mesh_free(mesh);
}
END_TEST

START_TEST(a_node_alone_passes_its_barriers)
{
    mesh_t *mesh = mesh_new();
    mesh_start(mesh, 0);
    mesh_set(mesh, 0, "a", 1);
    gv_ccore_barrier(mesh->node[0].core, 5);
    gv_ccore_flush(mesh->node[0].core);
    ck_assert_uint_eq(mesh->node[0].barriers_in_time, 1);
    mesh_free(mesh);
}
END_TEST

START_TEST(a_peer_that_claims_more_than_we_wrote_makes_us_newer)
{
    mesh_t *mesh = mesh_new();
    mesh_start(mesh, 0);
    mesh_set(mesh, 0, "a", 1);
    gv_link_id_t link = mesh_play(mesh, 1, 0);
    Gv__TableAck ack = GV__TABLE_ACK__INIT;
    ack.start_counter = 1;
    ack.boot_id = 100;
    ack.seq = 77;
    ack.complete = true;
    mesh_say(mesh, 0, link, GV_FRAME_TABLE_ACK, &ack.base);
    ck_assert_uint_eq(mesh->node[0].stored_counter, 2);
    gv_member_status_t self;
    ck_assert(gv_ccore_member(mesh->node[0].core, GV_NODE_SELF, &self));
    ck_assert_uint_eq(self.view.table_incarnation.start_counter, 2);
    ck_assert_uint_eq(self.view.table_seq, 1);
    mesh_free(mesh);
}
END_TEST

START_TEST(a_restarted_peer_has_to_confirm_anew)
{
    mesh_t *mesh = mesh_of(2);
    mesh_set(mesh, 0, "r", 1);
    mesh_run(mesh, 300);
    mesh_kill(mesh, 1, true);
    mesh->node[1].identity.incarnation = (gv_incarnation_t){.start_counter = 2, .boot_id = 222};
    mesh_start(mesh, 1);
    mesh_connect(mesh, 0, 1, 0);
    uint64_t in_time = mesh->node[0].barriers_in_time;
    for (uint64_t token = 1; token <= 20; token++) {
        gv_ccore_barrier(mesh->node[0].core, token);
        mesh_step(mesh);
        if (mesh_is_linked(mesh, 0, 1) && mesh->node[0].barriers_in_time > in_time) {
            ck_assert_uint_eq(mesh_value(mesh, 1, 0, "r"), 1);
        }
        in_time = mesh->node[0].barriers_in_time;
    }
    ck_assert_uint_ge(in_time, 10);
    mesh_free(mesh);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("routes");
    tcase_add_test(tc, a_route_reaches_all_peers_in_one_step);
    tcase_add_test(tc, a_withdrawal_waits_and_can_be_taken_back);
    tcase_add_test(tc, a_second_withdrawal_has_its_own_delay);
    tcase_add_test(tc, keys_have_limits);
    tcase_add_test(tc, a_barrier_answers_when_all_peers_have_confirmed);
    tcase_add_test(tc, a_barrier_does_not_wait_for_ever);
    tcase_add_test(tc, many_barriers_are_answered_in_order_by_one_confirmation);
    tcase_add_test(tc, a_node_alone_passes_its_barriers);
    tcase_add_test(tc, a_peer_that_claims_more_than_we_wrote_makes_us_newer);
    tcase_add_test(tc, a_restarted_peer_has_to_confirm_anew);
    return mesh_run_tests(tc);
}
