/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/cluster/core/mesh.h"

/* Members that are forgotten on demand, in the whole cluster. */

static void forget(mesh_t *mesh, size_t here, size_t whom)
{
    gv_node_index_t index = mesh_index(mesh, here, whom);
    ck_assert_int_eq(gv_ccore_forget(mesh->node[here].core, index), GV_OK);
}

static bool is_known(const mesh_t *mesh, size_t viewer, size_t node)
{
    return mesh_index(mesh, viewer, node) != GV_NODE_NONE;
}

START_TEST(forgetting_on_demand_is_for_the_dead_only)
{
    mesh_t *mesh = mesh_of(2);
    gv_node_index_t index = mesh_index(mesh, 0, 1);
    ck_assert_int_eq(gv_ccore_forget(mesh->node[0].core, index), GV_ERR_BUSY);
    ck_assert_int_eq(gv_ccore_forget(mesh->node[0].core, GV_NODE_SELF), GV_ERR_NOENT);
    mesh_kill(mesh, 1, true);
    ck_assert_uint_ne(mesh_until(mesh, 0, 1, GV_MEMBER_DEAD), UINT64_MAX);
    ck_assert_int_eq(gv_ccore_forget(mesh->node[0].core, index), GV_OK);
    mesh_run(mesh, 50);
    ck_assert_uint_eq(mesh_index(mesh, 0, 1), GV_NODE_NONE);
    mesh_free(mesh);
}
END_TEST

START_TEST(one_is_told_and_all_forget)
{
    mesh_t *mesh = mesh_of(4);
    mesh_set(mesh, 3, "r", 1);
    mesh_run(mesh, 300);
    mesh_kill(mesh, 3, true);
    mesh_run(mesh, 4000);
    ck_assert(is_known(mesh, 1, 3));
    ck_assert_uint_eq(mesh->node[1].rows, 1);
    forget(mesh, 0, 3);
    mesh_run(mesh, 50);
    for (size_t i = 0; i < 3; i++) {
        ck_assert(!is_known(mesh, i, 3));
        ck_assert_uint_eq(mesh->node[i].rows, 0);
    }
    mesh_free(mesh);
}
END_TEST

START_TEST(who_was_away_does_not_bring_it_back)
{
    mesh_t *mesh = mesh_of(4);
    mesh_kill(mesh, 3, true);
    mesh_run(mesh, 4000);
    mesh_cut(mesh, 2, 0, true);
    mesh_cut(mesh, 2, 1, true);
    mesh_run(mesh, 4000);
    forget(mesh, 0, 3);
    mesh_run(mesh, 1000);
    ck_assert(is_known(mesh, 2, 3)); /* it could not hear of it */
    mesh_cut(mesh, 2, 0, false);
    mesh_cut(mesh, 2, 1, false);
    mesh_run(mesh, 3000);
    for (size_t i = 0; i < 3; i++) {
        ck_assert(!is_known(mesh, i, 3));
    }
    mesh_free(mesh);
}
END_TEST

START_TEST(who_held_it_for_alive_forgets_it_when_it_is_dead)
{
    mesh_t *mesh = mesh_of(4);
    mesh_kill(mesh, 3, true);
    mesh_run(mesh, 1000);
    mesh->node[2].is_paused = true; /* holds it for suspect, and sleeps over its death */
    mesh_run(mesh, 2000);
    forget(mesh, 0, 3);
    mesh_run(mesh, 1000);
    mesh->node[2].is_paused = false;
    mesh_run(mesh, 5000);
    for (size_t i = 0; i < 3; i++) {
        ck_assert(!is_known(mesh, i, 3));
    }
    mesh_free(mesh);
}
END_TEST

START_TEST(who_was_forgotten_and_lives_is_a_member_again)
{
    mesh_t *mesh = mesh_of(3);
    mesh_set(mesh, 2, "r", 1);
    mesh_run(mesh, 100);
    mesh_cut(mesh, 2, 0, true);
    mesh_cut(mesh, 2, 1, true);
    mesh_run(mesh, 4000);
    forget(mesh, 0, 2);
    mesh_run(mesh, 100);
    ck_assert(!is_known(mesh, 0, 2));
    ck_assert(!is_known(mesh, 1, 2));
    /* It is let in again by one, and only that one hears it: the other believes its refutation. */
    mesh_cut(mesh, 2, 0, false);
    mesh_run(mesh, 4000);
    for (size_t i = 0; i < 2; i++) {
        ck_assert_int_eq(mesh_state(mesh, i, 2), GV_MEMBER_ALIVE);
        ck_assert_uint_eq(mesh_value(mesh, i, 2, "r"), 1);
    }
    /* Nothing of it is left that would forget it later. */
    mesh_cut(mesh, 2, 0, true);
    mesh_run(mesh, 5000);
    ck_assert_int_eq(mesh_state(mesh, 0, 2), GV_MEMBER_DEAD);
    mesh_free(mesh);
}
END_TEST

START_TEST(a_new_life_of_a_forgotten_node_joins)
{
    mesh_t *mesh = mesh_of(3);
    mesh_kill(mesh, 2, true);
    mesh_run(mesh, 4000);
    forget(mesh, 0, 2);
    mesh_run(mesh, 100);
    mesh->node[2].identity.incarnation = (gv_incarnation_t){.start_counter = 2, .boot_id = 222};
    mesh_start(mesh, 2);
    mesh_connect(mesh, 0, 2, 0);
    mesh_run(mesh, 1000);
    ck_assert_int_eq(mesh_state(mesh, 0, 2), GV_MEMBER_ALIVE);
    ck_assert_int_eq(mesh_state(mesh, 1, 2), GV_MEMBER_ALIVE);
    mesh_free(mesh);
}
END_TEST

/* The test plays node 1 and says what is in `msg`. */
static void tell(mesh_t *mesh, gv_link_id_t link, Gv__Forgotten *msg)
{
    Gv__Forgotten *list[] = {msg};
    Gv__Facts facts = GV__FACTS__INIT;
    facts.forgotten = list;
    facts.n_forgotten = 1;
    mesh_say(mesh, 0, link, GV_FRAME_FACTS, &facts.base);
}

/* Node 1, which the test plays, claims that node 2 is dead. */
static void tell_of_death(mesh_t *mesh, gv_link_id_t link)
{
    char name[] = "x";
    char address[] = "";
    Gv__Fact fact = GV__FACT__INIT;
    fact.node_id = mesh_id(mesh, 2);
    fact.name = name;
    fact.address = address;
    fact.start_counter = 1;
    fact.boot_id = 102;
    fact.state = GV__MEMBER_STATE__MEMBER_DEAD;
    Gv__Fact *list[] = {&fact};
    Gv__Facts facts = GV__FACTS__INIT;
    facts.facts = list;
    facts.n_facts = 1;
    mesh_say(mesh, 0, link, GV_FRAME_FACTS, &facts.base);
}

START_TEST(a_tombstone_has_its_time)
{
    for (uint64_t age_ms = 0; age_ms <= 8000; age_ms += 4000) {
        mesh_t *mesh = mesh_new();
        gv_ccore_options_t options;
        mesh_options(&mesh->node[0], &options);
        options.timing.forget = 8000;
        mesh_start_with(&mesh->node[0], &options);
        gv_link_id_t link = mesh_play(mesh, 1, 0);
        Gv__Forgotten msg = GV__FORGOTTEN__INIT;
        msg.node_id = mesh_id(mesh, 2);
        msg.start_counter = 1;
        msg.boot_id = 102;
        msg.age_ms = age_ms;
        tell(mesh, link, &msg);
        for (uint64_t left_ms = 8000 - age_ms; left_ms > 0; left_ms -= 1000) {
            tell_of_death(mesh, link);
            ck_assert(!is_known(mesh, 0, 2));
            mesh->now_ms += 1000;
            gv_ccore_tick(mesh->node[0].core, mesh->now_ms);
        }
        tell_of_death(mesh, link);
        ck_assert(is_known(mesh, 0, 2));
        mesh_free(mesh);
    }
}
END_TEST

START_TEST(there_are_only_so_many_tombstones)
{
    mesh_t *mesh = mesh_new();
    mesh_start(mesh, 0);
    gv_link_id_t link = mesh_play(mesh, 1, 0);
    Gv__Forgotten msg = GV__FORGOTTEN__INIT;
    gv_node_id_t id = {.bytes = {1}};
    msg.start_counter = 1;
    for (uint8_t i = 0; i < 200; i++) {
        id.bytes[1] = i;
        msg.node_id = (ProtobufCBinaryData){.len = GV_NODE_ID_SIZE, .data = id.bytes};
        msg.age_ms = 1000 - i;
        tell(mesh, link, &msg);
        ck_assert(mesh->is_open[link]);
    }
    mesh_run(mesh, 100);
    msg.claim = UINT32_MAX; /* no node comes by so many */
    tell(mesh, link, &msg);
    ck_assert(!mesh->is_open[link]);
    mesh_free(mesh);
}
END_TEST

START_TEST(who_hears_that_it_is_forgotten_contradicts)
{
    mesh_t *mesh = mesh_new();
    mesh_start(mesh, 0);
    gv_link_id_t link = mesh_play(mesh, 1, 0);
    Gv__Forgotten msg = GV__FORGOTTEN__INIT;
    msg.node_id = mesh_id(mesh, 0);
    msg.start_counter = 1;
    msg.boot_id = 100;
    msg.claim = 4;
    tell(mesh, link, &msg);
    gv_member_status_t self;
    ck_assert(gv_ccore_member(mesh->node[0].core, GV_NODE_SELF, &self));
    ck_assert_uint_eq(self.view.claim, 5);
    msg.start_counter = 7; /* a life it does not know: an old copy of the disk */
    tell(mesh, link, &msg);
    ck_assert_uint_eq(mesh->node[0].stored_counter, 8);
    mesh_free(mesh);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("forget");
    tcase_add_test(tc, forgetting_on_demand_is_for_the_dead_only);
    tcase_add_test(tc, one_is_told_and_all_forget);
    tcase_add_test(tc, who_was_away_does_not_bring_it_back);
    tcase_add_test(tc, who_held_it_for_alive_forgets_it_when_it_is_dead);
    tcase_add_test(tc, who_was_forgotten_and_lives_is_a_member_again);
    tcase_add_test(tc, a_new_life_of_a_forgotten_node_joins);
    tcase_add_test(tc, a_tombstone_has_its_time);
    tcase_add_test(tc, there_are_only_so_many_tombstones);
    tcase_add_test(tc, who_hears_that_it_is_forgotten_contradicts);
    return mesh_run_tests(tc);
}
