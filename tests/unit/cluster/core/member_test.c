/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/cluster/core/mesh.h"

/* Who is alive: suspicion, refutation, lives of a node, forgetting. */

START_TEST(a_silent_node_is_suspect_within_a_second_and_dead_within_three)
{
    mesh_t *mesh = mesh_of(3);
    mesh_kill(mesh, 2, false);
    uint64_t suspect_ms = mesh_until(mesh, 0, 2, GV_MEMBER_SUSPECT);
    uint64_t dead_ms = suspect_ms + mesh_until(mesh, 0, 2, GV_MEMBER_DEAD);
    ck_assert_uint_ge(suspect_ms, 500); /* not for a hiccup */
    ck_assert_uint_le(suspect_ms, 1000);
    ck_assert_uint_le(dead_ms, 3000);
    ck_assert_uint_le(mesh_until(mesh, 1, 2, GV_MEMBER_DEAD), 100);
    ck_assert_int_eq(mesh_state(mesh, 0, 1), GV_MEMBER_ALIVE);
    mesh_free(mesh);
}
END_TEST

START_TEST(a_reset_link_makes_suspect_at_once)
{
    mesh_t *mesh = mesh_of(3);
    mesh_kill(mesh, 2, true);
    ck_assert_int_eq(mesh_state(mesh, 0, 2), GV_MEMBER_SUSPECT);
    ck_assert_uint_le(mesh_until(mesh, 0, 2, GV_MEMBER_DEAD), 2000);
    mesh_free(mesh);
}
END_TEST

START_TEST(a_suspected_node_refutes_as_soon_as_it_hears_of_it)
{
    mesh_t *mesh = mesh_of(3);
    mesh_break_between(mesh, 0, 2);
    ck_assert_int_eq(mesh_state(mesh, 0, 2), GV_MEMBER_SUSPECT);
    ck_assert_uint_le(mesh_until(mesh, 0, 2, GV_MEMBER_ALIVE), 100); /* through node 1 */
    ck_assert_uint_ge(gv_ccore_stats(mesh->node[2].core)->refutations, 1);
    mesh_free(mesh);
}
END_TEST

START_TEST(who_can_be_heard_by_others_is_not_suspect)
{
    mesh_t *mesh = mesh_of(3);
    mesh_cut(mesh, 0, 2, true);
    for (int i = 0; i < 600; i++) {
        mesh_step(mesh);
        ck_assert_int_ne(mesh_state(mesh, 0, 2), GV_MEMBER_DEAD);
    }
    ck_assert_int_eq(mesh_state(mesh, 0, 2), GV_MEMBER_ALIVE);
    ck_assert(!mesh_is_linked(mesh, 0, 2));
    ck_assert_int_eq(mesh_state(mesh, 2, 0), GV_MEMBER_ALIVE);
    mesh_free(mesh);
}
END_TEST

START_TEST(a_restarted_node_is_alive_at_once)
{
    mesh_t *mesh = mesh_of(3);
    mesh_set(mesh, 2, "old", 1);
    mesh_run(mesh, 100);
    ck_assert_uint_eq(mesh_value(mesh, 0, 2, "old"), 1);
    mesh_kill(mesh, 2, false);
    ck_assert_uint_ne(mesh_until(mesh, 0, 2, GV_MEMBER_DEAD), UINT64_MAX);
    mesh->node[2].identity.incarnation = (gv_incarnation_t){.start_counter = 2, .boot_id = 1};
    mesh_start(mesh, 2);
    mesh_connect(mesh, 2, 0, 0);
    mesh_run(mesh, 50);
    ck_assert_int_eq(mesh_state(mesh, 0, 2), GV_MEMBER_ALIVE);
    ck_assert_int_eq(mesh_state(mesh, 1, 2), GV_MEMBER_ALIVE); /* by word of 0 */
    ck_assert_uint_eq(mesh_value(mesh, 0, 2, "old"), 0);       /* its new life has no routes */
    mesh_run(mesh, 1000);
    ck_assert(mesh_is_linked(mesh, 1, 2));
    mesh_free(mesh);
}
END_TEST

START_TEST(a_node_that_lost_its_counter_becomes_newer_than_what_others_remember)
{
    mesh_t *mesh = mesh_new();
    mesh->node[2].identity.incarnation.start_counter = 50;
    for (size_t i = 0; i < 3; i++) {
        mesh_start(mesh, i);
    }
    mesh_connect(mesh, 0, 1, 0);
    mesh_connect(mesh, 0, 2, 0);
    mesh_run(mesh, 500);
    mesh_kill(mesh, 2, true);
    ck_assert_uint_ne(mesh_until(mesh, 0, 2, GV_MEMBER_DEAD), UINT64_MAX);
    mesh->node[2].identity.incarnation = (gv_incarnation_t){.start_counter = 1, .boot_id = 7};
    mesh_start(mesh, 2);
    mesh_connect(mesh, 2, 0, 0);
    ck_assert_uint_le(mesh_until(mesh, 0, 2, GV_MEMBER_ALIVE), 200);
    ck_assert_uint_eq(mesh->node[2].stored_counter, 51);
    mesh_run(mesh, 50);
    ck_assert_uint_eq(mesh_status(mesh, 1, 2).view.incarnation.start_counter, 51);
    ck_assert_uint_eq(mesh->node[2].events[GV_CCORE_EVENT_DUPLICATE_IDENTITY], 0);
    mesh_free(mesh);
}
END_TEST

START_TEST(a_paused_node_does_not_blame_the_others)
{
    mesh_t *mesh = mesh_of(3);
    mesh->node[0].is_paused = true;
    mesh_run(mesh, 1500);
    mesh->node[0].is_paused = false;
    uint64_t late = gv_ccore_stats(mesh->node[0].core)->wakeups_late;
    gv_ccore_tick(mesh->node[0].core, mesh->now_ms);
    ck_assert_int_eq(mesh_state(mesh, 0, 1), GV_MEMBER_ALIVE);
    ck_assert_int_eq(mesh_state(mesh, 0, 2), GV_MEMBER_ALIVE);
    ck_assert_uint_eq(gv_ccore_stats(mesh->node[0].core)->wakeups_late, late + 1);
    mesh_run(mesh, 200);
    ck_assert_int_eq(mesh_state(mesh, 1, 0), GV_MEMBER_ALIVE);
    mesh_free(mesh);
}
END_TEST

START_TEST(a_node_paused_for_long_is_dead_and_alive_again_when_it_wakes)
{
    mesh_t *mesh = mesh_of(3);
    mesh->node[0].is_paused = true;
    mesh_run(mesh, 10000);
    ck_assert_int_eq(mesh_state(mesh, 1, 0), GV_MEMBER_DEAD);
    mesh->node[0].is_paused = false;
    mesh_run(mesh, 2000);
    for (size_t i = 0; i < 3; i++) {
        for (size_t j = 0; j < 3; j++) {
            ck_assert_int_eq(mesh_state(mesh, i, j), GV_MEMBER_ALIVE);
        }
    }
    mesh_free(mesh);
}
END_TEST

START_TEST(death_hides_and_life_shows)
{
    mesh_t *mesh = mesh_of(2);
    uint64_t bit = (uint64_t)1 << mesh_index(mesh, 0, 1);
    mesh_set(mesh, 1, "r", 1);
    mesh_run(mesh, 100);
    ck_assert_uint_eq(mesh->node[0].visible, bit);
    ck_assert_uint_eq(gv_ccore_routable(mesh->node[0].core), bit);
    mesh_cut(mesh, 0, 1, true);
    ck_assert_uint_ne(mesh_until(mesh, 0, 1, GV_MEMBER_DEAD), UINT64_MAX);
    ck_assert_uint_eq(mesh->node[0].visible, 0);
    ck_assert_uint_eq(gv_ccore_routable(mesh->node[0].core), 0);
    ck_assert_uint_eq(mesh->node[0].rows, 1); /* hidden, not withdrawn */
    mesh_cut(mesh, 0, 1, false);
    ck_assert_uint_ne(mesh_until(mesh, 0, 1, GV_MEMBER_ALIVE), UINT64_MAX);
    ck_assert_uint_eq(mesh->node[0].visible, bit);
    mesh_free(mesh);
}
END_TEST

START_TEST(who_leaves_is_gone_at_once_and_never_suspect)
{
    mesh_t *mesh = mesh_of(3);
    gv_ccore_leave(mesh->node[2].core);
    gv_ccore_flush(mesh->node[2].core);
    mesh_run(mesh, 20);
    ck_assert_int_eq(mesh_state(mesh, 0, 2), GV_MEMBER_LEFT);
    ck_assert_int_eq(mesh_state(mesh, 1, 2), GV_MEMBER_LEFT);
    ck_assert_str_eq(mesh->node[0].last_member_report, "'n2' is left");
    gv_ccore_free(&mesh->node[2].core);
    uint64_t dials = mesh->node[0].dials;
    mesh_run(mesh, 5000);
    ck_assert_uint_eq(mesh->node[0].dials, dials); /* nobody calls after it */
    ck_assert_int_eq(mesh_state(mesh, 0, 2), GV_MEMBER_LEFT);
    mesh_free(mesh);
}
END_TEST

START_TEST(the_dead_are_forgotten_in_the_end)
{
    mesh_t *mesh = mesh_new();
    gv_ccore_options_t options;
    mesh_options(&mesh->node[0], &options);
    options.timing.forget = 8000;
    options.timing.purge = 4000;
    mesh_start_with(&mesh->node[0], &options);
    mesh_start(mesh, 1);
    mesh_connect(mesh, 0, 1, 0);
    mesh_run(mesh, 300);
    mesh_set(mesh, 1, "r", 1);
    mesh_run(mesh, 300);
    gv_node_index_t index = mesh_index(mesh, 0, 1);
    mesh_kill(mesh, 1, true);
    mesh_run(mesh, 3000);
    ck_assert_uint_eq(mesh->node[0].rows, 1);
    ck_assert_int_eq(gv_ccore_forget(mesh->node[0].core, 9), GV_ERR_NOENT);
    mesh_run(mesh, 4000);
    ck_assert_uint_eq(mesh->node[0].rows, 0); /* purged */
    ck_assert_uint_ne(mesh_index(mesh, 0, 1), GV_NODE_NONE);
    mesh_run(mesh, 5000);
    ck_assert_uint_eq(mesh_index(mesh, 0, 1), GV_NODE_NONE);
    ck_assert_uint_eq(mesh->node[0].forgotten, (uint64_t)1 << index);
    mesh_free(mesh);
}
END_TEST

/* The test plays node 1, which claims things about others. */
static void claim(mesh_t *mesh, gv_link_id_t link, size_t about, gv_incarnation_t incarnation,
                  uint32_t number, Gv__MemberState state)
{
    char name[] = "x";
    char address[] = "";
    Gv__Fact fact = GV__FACT__INIT;
    fact.node_id = mesh_id(mesh, about);
    fact.name = name;
    fact.address = address;
    fact.start_counter = incarnation.start_counter;
    fact.boot_id = incarnation.boot_id;
    fact.claim = number;
    fact.state = state;
    Gv__Fact *list[] = {&fact};
    Gv__Facts facts = GV__FACTS__INIT;
    facts.facts = list;
    facts.n_facts = 1;
    mesh_say(mesh, 0, link, GV_FRAME_FACTS, &facts.base);
}

/* After a long partition; what it has been dead for is not what we have held it dead for. */
START_TEST(the_rows_of_who_is_said_to_be_long_dead_stay_until_it_can_refute)
{
    mesh_t *mesh = mesh_new();
    gv_ccore_options_t options;
    mesh_options(&mesh->node[0], &options);
    options.timing.purge = 2000;
    mesh_start_with(&mesh->node[0], &options);
    for (size_t i = 1; i < 3; i++) {
        mesh_start(mesh, i);
        mesh_connect(mesh, 0, i, 0);
    }
    mesh_connect(mesh, 1, 2, 0);
    mesh_run(mesh, 500);
    mesh_set(mesh, 2, "r", 1);
    mesh_cut(mesh, 0, 2, true);
    mesh_run(mesh, 4000);
    ck_assert_int_eq(mesh_state(mesh, 0, 2), GV_MEMBER_ALIVE); /* by the word of node 1 */
    char name[] = "n2";
    char address[] = "";
    Gv__Fact fact = GV__FACT__INIT;
    fact.node_id = mesh_id(mesh, 2);
    fact.name = name;
    fact.address = address;
    fact.start_counter = 1;
    fact.boot_id = 102;
    fact.claim = mesh_status(mesh, 0, 2).view.claim;
    fact.state = GV__MEMBER_STATE__MEMBER_DEAD;
    fact.age_ms = (uint64_t)5 * 3600 * 1000;
    Gv__Fact *list[] = {&fact};
    Gv__Facts facts = GV__FACTS__INIT;
    facts.facts = list;
    facts.n_facts = 1;
    gv_link_id_t link = 2; /* 0 - 1, end of 0 */
    mesh_say(mesh, 0, link, GV_FRAME_FACTS, &facts.base);
    mesh_say(mesh, 1, link ^ 1, GV_FRAME_FACTS, &facts.base); /* they have told each other */
    ck_assert_int_eq(mesh_state(mesh, 0, 2), GV_MEMBER_DEAD);
    uint64_t changes = mesh->node[0].row_changes;
    mesh_run(mesh, 500);
    ck_assert_int_eq(mesh_state(mesh, 0, 2), GV_MEMBER_ALIVE);
    ck_assert_uint_eq(mesh->node[0].row_changes, changes);
    ck_assert_uint_eq(mesh_value(mesh, 0, 2, "r"), 1);
    mesh_free(mesh);
}
END_TEST

START_TEST(another_process_with_our_identity_is_reported)
{
    mesh_t *mesh = mesh_new();
    mesh_start(mesh, 0);
    gv_link_id_t link = mesh_play(mesh, 1, 0);
    gv_incarnation_t other = {.start_counter = 10, .boot_id = 999};
    for (int i = 0; i < 4; i++) {
        claim(mesh, link, 0, other, 0, GV__MEMBER_STATE__MEMBER_ALIVE);
        other.start_counter = mesh->node[0].stored_counter + 1; /* it is alive, and answers */
        mesh->now_ms += 6000;
        gv_ccore_tick(mesh->node[0].core, mesh->now_ms);
    }
    ck_assert_uint_ge(mesh->node[0].events[GV_CCORE_EVENT_DUPLICATE_IDENTITY], 1);
    mesh_free(mesh);
}
END_TEST

START_TEST(an_address_seen_is_not_lost_to_one_that_is_not_said)
{
    mesh_t *mesh = mesh_new();
    mesh_start(mesh, 0);
    gv_link_id_t link = mesh_play(mesh, 1, 0);
    ck_assert_str_eq(mesh_status(mesh, 0, 1).address, "n1:1"); /* as the link layer saw it */
    gv_incarnation_t newer = {.start_counter = 7, .boot_id = 101};
    claim(mesh, link, 1, newer, 0, GV__MEMBER_STATE__MEMBER_ALIVE); /* names no address */
    ck_assert_uint_eq(mesh_status(mesh, 0, 1).view.incarnation.start_counter, 7);
    ck_assert_str_eq(mesh_status(mesh, 0, 1).address, "n1:1");
    mesh_free(mesh);
}
END_TEST

START_TEST(an_absurd_claim_is_malformed)
{
    mesh_t *mesh = mesh_new();
    mesh_start(mesh, 0);
    gv_link_id_t link = mesh_play(mesh, 1, 0);
    gv_incarnation_t absurd = {.start_counter = UINT64_MAX, .boot_id = 1};
    claim(mesh, link, 2, absurd, 0, GV__MEMBER_STATE__MEMBER_ALIVE);
    ck_assert_uint_eq(mesh->node[0].closes, 1);
    ck_assert_int_eq(mesh->node[0].last_close, GV_LINK_CLOSE_MALFORMED);
    ck_assert_uint_eq(mesh_index(mesh, 0, 2), GV_NODE_NONE);
    mesh_free(mesh);
}
END_TEST

START_TEST(word_of_a_death_is_not_believed_about_a_node_we_hear)
{
    mesh_t *mesh = mesh_new();
    mesh_start(mesh, 0);
    mesh_start(mesh, 2);
    mesh_connect(mesh, 0, 2, 0);
    gv_link_id_t link = mesh_play(mesh, 1, 0);
    mesh_run(mesh, 300);
    ck_assert(mesh_is_linked(mesh, 0, 2));
    claim(mesh, link, 2, mesh->node[2].identity.incarnation, 0, GV__MEMBER_STATE__MEMBER_DEAD);
    ck_assert_int_eq(mesh_state(mesh, 0, 2), GV_MEMBER_SUSPECT);
    mesh_run(mesh, 50);
    ck_assert_int_eq(mesh_state(mesh, 0, 2), GV_MEMBER_ALIVE);
    ck_assert_uint_eq(mesh_status(mesh, 0, 2).view.claim, 1);
    mesh_free(mesh);
}
END_TEST

START_TEST(a_full_cluster_takes_no_more_but_lets_the_dead_go)
{
    mesh_t *mesh = mesh_new();
    mesh_start(mesh, 0);
    gv_peer_identity_t peer = mesh->node[1].identity;
    for (size_t i = 1; i < GV_NODES_MAX; i++) {
        peer.id.bytes[0] = (uint8_t)(i + 10);
        peer.incarnation.boot_id = 1000 + i;
        gv_ccore_link_opened(mesh->node[0].core, 1000 + i, &peer, 0);
    }
    ck_assert_uint_eq(gv_ccore_members(mesh->node[0].core), UINT64_MAX);
    peer.id.bytes[0] = 200;
    gv_ccore_link_opened(mesh->node[0].core, 2, &peer, 0);
    ck_assert_int_eq(mesh->node[0].last_close, GV_LINK_CLOSE_FULL);
    mesh_free(mesh);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("member");
    tcase_add_test(tc, a_silent_node_is_suspect_within_a_second_and_dead_within_three);
    tcase_add_test(tc, a_reset_link_makes_suspect_at_once);
    tcase_add_test(tc, a_suspected_node_refutes_as_soon_as_it_hears_of_it);
    tcase_add_test(tc, who_can_be_heard_by_others_is_not_suspect);
    tcase_add_test(tc, a_restarted_node_is_alive_at_once);
    tcase_add_test(tc, a_node_that_lost_its_counter_becomes_newer_than_what_others_remember);
    tcase_add_test(tc, a_paused_node_does_not_blame_the_others);
    tcase_add_test(tc, a_node_paused_for_long_is_dead_and_alive_again_when_it_wakes);
    tcase_add_test(tc, death_hides_and_life_shows);
    tcase_add_test(tc, who_leaves_is_gone_at_once_and_never_suspect);
    tcase_add_test(tc, the_dead_are_forgotten_in_the_end);
    tcase_add_test(tc, the_rows_of_who_is_said_to_be_long_dead_stay_until_it_can_refute);
    tcase_add_test(tc, another_process_with_our_identity_is_reported);
    tcase_add_test(tc, an_address_seen_is_not_lost_to_one_that_is_not_said);
    tcase_add_test(tc, an_absurd_claim_is_malformed);
    tcase_add_test(tc, word_of_a_death_is_not_believed_about_a_node_we_hear);
    tcase_add_test(tc, a_full_cluster_takes_no_more_but_lets_the_dead_go);
    return mesh_run_tests(tc);
}
