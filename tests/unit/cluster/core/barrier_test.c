/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/cluster/core/mesh.h"

/* Who is waited for until a barrier is answered. */

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

START_TEST(a_barrier_waits_for_who_is_reached_through_a_relay)
{
    mesh_t *mesh = mesh_of(3);
    mesh_node_t *node = &mesh->node[0];
    mesh_cut(mesh, 0, 2, true);
    mesh_run(mesh, 4000);
    ck_assert(!mesh_is_linked(mesh, 0, 2));
    ck_assert(mesh_status(mesh, 0, 2).has_path);
    for (uint32_t i = 1; i <= 20; i++) {
        mesh_set(mesh, 0, "a", i);
        gv_ccore_barrier(node->core, i);
        for (uint32_t step = 0; step < 20 && node->barriers_in_time < i; step++) {
            mesh_step(mesh);
        }
        ck_assert_uint_eq(node->barriers_in_time, i);
        ck_assert_uint_eq(mesh_value(mesh, 2, 0, "a"), i);
        mesh_run(mesh, 100);
    }
    /* Nobody relays any more: nobody is waited for any more. */
    mesh_cut(mesh, 1, 2, true);
    mesh_run(mesh, 4000);
    mesh_set(mesh, 0, "a", 21);
    gv_ccore_barrier(node->core, 21);
    mesh_run(mesh, 50);
    ck_assert_uint_eq(node->barriers_in_time, 21);
    mesh_free(mesh);
}
END_TEST

/* Seed 400215 with 4 nodes: the peer had confirmed, and dropped the rows while we slept. */
START_TEST(what_was_confirmed_before_a_pause_of_our_own_does_not_count)
{
    mesh_t *mesh = mesh_of(2);
    mesh_node_t *node = &mesh->node[0];
    mesh_set(mesh, 0, "a", 1);
    mesh_run(mesh, 200);
    node->is_paused = true;
    mesh_run(mesh, 1000);
    node->is_paused = false;
    gv_ccore_tick(node->core, mesh->now_ms);
    gv_ccore_barrier(node->core, 1);
    gv_ccore_flush(node->core);
    ck_assert(mesh_is_linked(mesh, 0, 1)); /* its silence was ours */
    ck_assert_uint_eq(node->barriers_in_time, 0);
    mesh_run(mesh, 50);
    ck_assert_uint_eq(node->barriers_in_time, 1);
    mesh_free(mesh);
}
END_TEST

START_TEST(who_holds_us_for_dead_has_not_confirmed)
{
    for (uint64_t pause_ms = 1000; pause_ms <= 6000; pause_ms += 250) {
        mesh_t *mesh = mesh_of(2);
        mesh_node_t *node = &mesh->node[0];
        mesh_set(mesh, 0, "a", 1);
        mesh_run(mesh, 200);
        node->is_paused = true;
        mesh_run(mesh, pause_ms);
        node->is_paused = false;
        gv_ccore_tick(node->core, mesh->now_ms);
        gv_ccore_barrier(node->core, 1);
        gv_ccore_flush(node->core);
        while (node->barriers_in_time + node->barriers_late == 0) {
            mesh_step(mesh);
        }
        /* Its peer comes back well within the time, however long the pause was. */
        ck_assert_uint_eq(node->barriers_in_time, 1);
        ck_assert_int_eq(mesh_state(mesh, 1, 0), GV_MEMBER_ALIVE);
        mesh_free(mesh);
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("barrier");
    tcase_add_test(tc, a_barrier_answers_when_all_peers_have_confirmed);
    tcase_add_test(tc, a_barrier_does_not_wait_for_ever);
    tcase_add_test(tc, many_barriers_are_answered_in_order_by_one_confirmation);
    tcase_add_test(tc, a_node_alone_passes_its_barriers);
    tcase_add_test(tc, a_restarted_peer_has_to_confirm_anew);
    tcase_add_test(tc, a_barrier_waits_for_who_is_reached_through_a_relay);
    tcase_add_test(tc, what_was_confirmed_before_a_pause_of_our_own_does_not_count);
    tcase_add_test(tc, who_holds_us_for_dead_has_not_confirmed);
    return mesh_run_tests(tc);
}
