/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/cluster/core/mesh.h"

START_TEST(nobody_is_there_under_an_index_nobody_has)
{
    mesh_t *mesh = mesh_of(2);
    const gv_ccore_t *core = mesh->node[0].core;
    gv_member_status_t status;
    gv_node_view_t view;
    gv_bytes_t key;
    uint32_t value;
    uint64_t cursor = 0;
    ck_assert(!gv_ccore_member(core, 40, &status));
    ck_assert(!gv_ccore_member(core, GV_NODE_NONE, &status));
    ck_assert(!gv_ccore_view(core, 1, 40, &view));
    ck_assert(!gv_ccore_view(core, 40, 1, &view));
    ck_assert(!gv_ccore_route_next(core, 40, &cursor, &key, &value));
    ck_assert_uint_eq(gv_ccore_route_value(core, 40, GV_BYTES_LITERAL("a")), 0);
    ck_assert_uint_eq(gv_ccore_index_of(core, &mesh->node[3].identity.id), GV_NODE_NONE);
    mesh_free(mesh);
}
END_TEST

START_TEST(we_are_our_own_member_zero)
{
    mesh_t *mesh = mesh_of(2);
    gv_member_status_t status;
    ck_assert(gv_ccore_member(mesh->node[0].core, GV_NODE_SELF, &status));
    ck_assert_str_eq(status.name, "n0");
    ck_assert_str_eq(status.address, "n0:1");
    ck_assert(status.has_path);
    ck_assert_uint_eq(status.view_age_ms, 0);
    ck_assert_int_eq(status.view.state, GV_MEMBER_ALIVE);
    ck_assert_uint_eq(gv_ccore_members(mesh->node[0].core), 3);
    mesh_free(mesh);
}
END_TEST

START_TEST(rows_are_walked_in_the_order_of_change_without_the_withdrawn)
{
    mesh_t *mesh = mesh_of(2);
    mesh_set(mesh, 0, "a", 1);
    mesh_set(mesh, 0, "b", 2);
    mesh_set(mesh, 0, "c", 3);
    mesh_set(mesh, 0, "a", 4);
    mesh_set(mesh, 0, "b", 0);
    mesh_run(mesh, 500);
    uint64_t cursor = 0;
    gv_bytes_t key;
    uint32_t value;
    gv_node_index_t index = mesh_index(mesh, 1, 0);
    ck_assert(gv_ccore_route_next(mesh->node[1].core, index, &cursor, &key, &value));
    ck_assert_mem_eq(key.data, "c", 1);
    ck_assert(gv_ccore_route_next(mesh->node[1].core, index, &cursor, &key, &value));
    ck_assert_mem_eq(key.data, "a", 1);
    ck_assert_uint_eq(value, 4);
    ck_assert(!gv_ccore_route_next(mesh->node[1].core, index, &cursor, &key, &value));
    ck_assert_uint_eq(mesh_status(mesh, 0, 1).acked_seq, 5);
    mesh_free(mesh);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("status");
    tcase_add_test(tc, nobody_is_there_under_an_index_nobody_has);
    tcase_add_test(tc, we_are_our_own_member_zero);
    tcase_add_test(tc, rows_are_walked_in_the_order_of_change_without_the_withdrawn);
    return mesh_run_tests(tc);
}
