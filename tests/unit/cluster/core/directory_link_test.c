/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/cluster/core/mesh.h"

/* Claims between whole cores: over links, through a third node, and past the dead. */

static gv_claim_t claim_of(uint64_t number, uint64_t hlc)
{
    return (gv_claim_t){
        .key = {.words = {number * 0x9e3779b97f4a7c15U, number * 0xbf58476d1ce4e5b9U}},
        .hlc = hlc,
        .holder = {.token = number, .desk = 1},
    };
}

static void claim(mesh_t *mesh, size_t node, uint64_t number, uint64_t hlc)
{
    gv_claim_t wanted = claim_of(number, hlc);
    gv_ccore_claim(mesh->node[node].core, &wanted);
}

/* What the host does that is told to let go. */
static void let_go(mesh_t *mesh, size_t node)
{
    gv_ccore_let_gone(mesh->node[node].core, &mesh->node[node].last_letting);
}

/* Ids with all registrars: each is claimed at `first`, then at `then`, which waits for the other.
 */
static void claim_at_both(mesh_t *mesh, size_t first, size_t then)
{
    for (uint64_t number = 1; number <= 20; number++) {
        mesh_node_t *loser = &mesh->node[first];
        mesh_node_t *winner = &mesh->node[then];
        uint64_t granted = winner->claimed[GV_CLAIM_GRANTED];
        uint64_t let_go_before = loser->let_go;
        claim(mesh, first, number, 1000 * number);
        mesh_run(mesh, 100);
        claim(mesh, then, number, 1000 * number + 1);
        mesh_run(mesh, 100);
        ck_assert_uint_eq(loser->let_go, let_go_before + 1);
        ck_assert_uint_eq(loser->last_letting.holder.token, number);
        ck_assert_uint_eq(winner->claimed[GV_CLAIM_GRANTED], granted);
        let_go(mesh, first);
        mesh_run(mesh, 100);
        ck_assert_uint_eq(winner->claimed[GV_CLAIM_GRANTED], granted + 1);
        ck_assert_uint_eq(winner->claimed[GV_CLAIM_LATE], 0);
    }
}

START_TEST(claims_cross_links)
{
    mesh_t *mesh = mesh_of(3);
    claim_at_both(mesh, 0, 2);
    for (size_t i = 0; i < 3; i++) {
        ck_assert_uint_eq(mesh->node[i].sent[GV_FRAME_DIRECTORY_RELAY], 0);
    }
    mesh_free(mesh);
}
END_TEST

START_TEST(claims_go_through_a_third_node)
{
    mesh_t *mesh = mesh_of(3);
    mesh_cut(mesh, 0, 2, true);
    mesh_run(mesh, 4000);
    ck_assert(!mesh_is_linked(mesh, 0, 2));
    claim_at_both(mesh, 0, 2);
    ck_assert_uint_gt(mesh->node[0].sent[GV_FRAME_DIRECTORY_RELAY], 0);
    mesh_free(mesh);
}
END_TEST

START_TEST(a_dead_node_holds_nothing_and_registers_nothing)
{
    mesh_t *mesh = mesh_of(3);
    for (uint64_t number = 1; number <= 20; number++) {
        claim(mesh, 2, number, number);
    }
    mesh_run(mesh, 500);
    ck_assert_uint_eq(mesh->node[2].claimed[GV_CLAIM_GRANTED], 20);
    mesh_kill(mesh, 2, true);
    mesh_run(mesh, 5000);
    for (uint64_t number = 1; number <= 20; number++) {
        claim(mesh, 0, number, number + 1000);
    }
    mesh_run(mesh, 100);
    ck_assert_uint_eq(mesh->node[0].claimed[GV_CLAIM_GRANTED], 20);
    mesh_free(mesh);
}
END_TEST

START_TEST(a_forgotten_node_is_dropped)
{
    mesh_t *mesh = mesh_of(3);
    for (uint64_t number = 1; number <= 20; number++) {
        claim(mesh, 2, number, number);
    }
    mesh_run(mesh, 500);
    mesh_kill(mesh, 2, true);
    mesh_run(mesh, 5000);
    gv_ccore_t *core = mesh->node[0].core;
    ck_assert_uint_gt(gv_ccore_directory_stats(core)->registered, 0);
    ck_assert_int_eq(gv_ccore_forget(core, mesh_index(mesh, 0, 2)), GV_OK);
    mesh_run(mesh, 500);
    ck_assert_uint_eq(gv_ccore_directory_stats(core)->registered, 0);
    ck_assert_uint_eq(gv_ccore_directory_stats(mesh->node[1].core)->registered, 0);
    mesh_free(mesh);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("directory_link");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, claims_cross_links);
    tcase_add_test(tc, claims_go_through_a_third_node);
    tcase_add_test(tc, a_dead_node_holds_nothing_and_registers_nothing);
    tcase_add_test(tc, a_forgotten_node_is_dropped);
    Suite *suite = suite_create("cluster/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
