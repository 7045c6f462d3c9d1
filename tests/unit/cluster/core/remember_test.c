/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/cluster/core/mesh.h"

/* Members and rows that an earlier run knew. */

static gv_node_index_t remember(mesh_t *mesh, size_t here, size_t whom, uint64_t gone_ms)
{
    const gv_peer_identity_t *identity = &mesh->node[whom].identity;
    gv_remembered_t member = {.id = identity->id, .gone_ms = gone_ms};
    memcpy(member.name, identity->name, sizeof(member.name));
    memcpy(member.address, identity->address, sizeof(member.address));
    return gv_ccore_remember(mesh->node[here].core, &member);
}

static void remember_row(mesh_t *mesh, size_t here, size_t whom, const char *key)
{
    gv_node_index_t index = mesh_index(mesh, here, whom);
    ck_assert_int_eq(gv_ccore_remember_row(mesh->node[here].core, index, gv_bytes_text(key), 2),
                     GV_OK);
    mesh->node[here].rows++; /* as its host has them */
}

static bool has_arrived(const mesh_t *mesh, size_t node)
{
    return gv_ccore_has_arrived(mesh->node[node].core);
}

START_TEST(a_remembered_member_is_dead_and_has_its_rows)
{
    mesh_t *mesh = mesh_new();
    mesh_start(mesh, 0);
    gv_node_index_t index = remember(mesh, 0, 1, 0);
    ck_assert_uint_eq(index, 1);
    remember_row(mesh, 0, 1, "a");
    remember_row(mesh, 0, 1, "b");
    ck_assert_uint_eq(remember(mesh, 0, 1, 0), GV_NODE_NONE); /* known already */
    ck_assert_uint_eq(remember(mesh, 0, 0, 0), GV_NODE_NONE); /* ourselves */
    mesh_run(mesh, 2000);
    ck_assert_int_eq(mesh_state(mesh, 0, 1), GV_MEMBER_DEAD);
    ck_assert_uint_eq(mesh_value(mesh, 0, 1, "a"), 2);
    ck_assert_str_eq(mesh->node[0].last_dial, "n1:1");
    ck_assert_uint_eq(mesh->node[0].visible, 0);
    mesh_free(mesh);
}
END_TEST

/* Nobody has seeds: each is found at the address that is remembered. */
START_TEST(rows_are_replaced_when_the_member_is_there)
{
    mesh_t *mesh = mesh_new();
    mesh_start(mesh, 0);
    (void)remember(mesh, 0, 1, 0);
    remember_row(mesh, 0, 1, "kept");
    remember_row(mesh, 0, 1, "withdrawn");
    ck_assert(!has_arrived(mesh, 0)); /* it may be there */
    mesh_start(mesh, 1);
    mesh_set(mesh, 1, "kept", 2);
    mesh_set(mesh, 1, "new", 1);
    mesh_run(mesh, 1000);
    ck_assert(has_arrived(mesh, 0));
    ck_assert_int_eq(mesh_state(mesh, 0, 1), GV_MEMBER_ALIVE);
    ck_assert_uint_eq(mesh_value(mesh, 0, 1, "kept"), 2);
    ck_assert_uint_eq(mesh_value(mesh, 0, 1, "new"), 1);
    ck_assert_uint_eq(mesh_value(mesh, 0, 1, "withdrawn"), 0);
    ck_assert_uint_eq(mesh->node[0].rows, 2);
    ck_assert_uint_eq(mesh->node[0].row_changes, 2); /* the host knew of the other */
    ck_assert_uint_eq(gv_ccore_stats(mesh->node[0].core)->table_mismatches, 0);
    mesh_free(mesh);
}
END_TEST

/* Who has only heard of a member says nothing about its rows, and nothing that is news. */
START_TEST(what_is_remembered_is_older_than_what_anybody_knows)
{
    mesh_t *mesh = mesh_of(3);
    mesh_set(mesh, 2, "r", 2);
    mesh_run(mesh, 300);
    mesh_kill(mesh, 0, true);
    mesh->node[0].identity.incarnation = (gv_incarnation_t){2, 200};
    mesh->node[0].rows = 0;
    mesh_start(mesh, 0);
    (void)remember(mesh, 0, 1, 0);
    (void)remember(mesh, 0, 2, 0);
    remember_row(mesh, 0, 2, "old");
    uint64_t suspected = mesh->node[1].events[GV_CCORE_EVENT_MEMBER];
    mesh_run(mesh, 2000);
    for (size_t i = 0; i < 3; i++) {
        for (size_t n = 0; n < 3; n++) {
            ck_assert_int_eq(mesh_state(mesh, i, n), GV_MEMBER_ALIVE);
        }
    }
    ck_assert_uint_eq(mesh_value(mesh, 0, 2, "r"), 2);
    ck_assert_uint_eq(mesh_value(mesh, 0, 2, "old"), 0);
    ck_assert_uint_eq(mesh_value(mesh, 1, 2, "old"), 0);
    /* n0 was suspect, has restarted, is alive; nobody ever doubted n2. */
    ck_assert_uint_le(mesh->node[1].events[GV_CCORE_EVENT_MEMBER], suspected + 2);
    ck_assert_uint_eq(gv_ccore_stats(mesh->node[2].core)->refutations, 0);
    mesh_free(mesh);
}
END_TEST

/* The third has seen more of the one that is dead. */
START_TEST(rows_come_from_who_knows_better)
{
    mesh_t *mesh = mesh_of(3);
    mesh_set(mesh, 2, "r", 2);
    mesh_run(mesh, 300);
    mesh_kill(mesh, 2, true);
    mesh_kill(mesh, 0, true);
    mesh->node[0].identity.incarnation = (gv_incarnation_t){2, 200};
    mesh->node[0].rows = 0;
    ck_assert_uint_ne(mesh_until(mesh, 1, 2, GV_MEMBER_DEAD), UINT64_MAX);
    mesh_start(mesh, 0);
    (void)remember(mesh, 0, 1, 0);
    (void)remember(mesh, 0, 2, 0);
    remember_row(mesh, 0, 2, "old");
    mesh_run(mesh, 5000);
    ck_assert(has_arrived(mesh, 0));
    ck_assert_int_eq(mesh_state(mesh, 0, 2), GV_MEMBER_DEAD);
    ck_assert_uint_eq(mesh_value(mesh, 0, 2, "r"), 2);
    ck_assert_uint_eq(mesh_value(mesh, 0, 2, "old"), 0);
    ck_assert_uint_eq(mesh->node[0].rows, 1);
    mesh_free(mesh);
}
END_TEST

START_TEST(nobody_waits_for_who_does_not_answer)
{
    mesh_t *mesh = mesh_new();
    mesh_start(mesh, 0);
    (void)remember(mesh, 0, 1, 0);
    (void)remember(mesh, 0, 2, 0);
    ck_assert(!has_arrived(mesh, 0));
    mesh_run(mesh, 100);
    ck_assert(has_arrived(mesh, 0));
    mesh_free(mesh);
}
END_TEST

/* The time it was away before counts. */
START_TEST(a_remembered_member_is_forgotten_in_time)
{
    mesh_t *mesh = mesh_new();
    gv_ccore_options_t options;
    mesh_options(&mesh->node[0], &options);
    options.timing.purge = 8000;
    options.timing.forget = 8000;
    mesh_start_with(&mesh->node[0], &options);
    (void)remember(mesh, 0, 1, 5000);
    (void)remember(mesh, 0, 2, 0);
    remember_row(mesh, 0, 1, "a");
    mesh_run(mesh, 2500);
    ck_assert_uint_ne(mesh_index(mesh, 0, 1), GV_NODE_NONE);
    mesh_run(mesh, 1000);
    ck_assert_uint_eq(mesh_index(mesh, 0, 1), GV_NODE_NONE);
    ck_assert_uint_ne(mesh_index(mesh, 0, 2), GV_NODE_NONE);
    ck_assert_uint_eq(mesh->node[0].rows, 0);
    ck_assert_uint_ne(mesh->node[0].forgotten, 0);
    mesh_free(mesh);
}
END_TEST

START_TEST(rows_have_limits)
{
    mesh_t *mesh = mesh_new();
    gv_ccore_options_t options;
    mesh_options(&mesh->node[0], &options);
    options.limits.table_rows = 1;
    mesh_start_with(&mesh->node[0], &options);
    gv_node_index_t index = remember(mesh, 0, 1, 0);
    gv_ccore_t *core = mesh->node[0].core;
    ck_assert_int_eq(gv_ccore_remember_row(core, index, GV_BYTES_EMPTY, 2), GV_ERR_LIMIT);
    ck_assert_int_eq(gv_ccore_remember_row(core, index, GV_BYTES_LITERAL("a"), 2), GV_OK);
    ck_assert_int_eq(gv_ccore_remember_row(core, index, GV_BYTES_LITERAL("b"), 2), GV_ERR_LIMIT);
    mesh_free(mesh);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("remember");
    tcase_add_test(tc, a_remembered_member_is_dead_and_has_its_rows);
    tcase_add_test(tc, rows_are_replaced_when_the_member_is_there);
    tcase_add_test(tc, what_is_remembered_is_older_than_what_anybody_knows);
    tcase_add_test(tc, rows_come_from_who_knows_better);
    tcase_add_test(tc, nobody_waits_for_who_does_not_answer);
    tcase_add_test(tc, a_remembered_member_is_forgotten_in_time);
    tcase_add_test(tc, rows_have_limits);
    return mesh_run_tests(tc);
}
