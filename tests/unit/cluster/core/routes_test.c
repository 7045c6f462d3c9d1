/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/cluster/core/mesh.h"

/* Our own routes: set, withdraw, push, confirm. */

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

int main(void)
{
    TCase *tc = tcase_create("routes");
    tcase_add_test(tc, a_route_reaches_all_peers_in_one_step);
    tcase_add_test(tc, a_withdrawal_waits_and_can_be_taken_back);
    tcase_add_test(tc, a_second_withdrawal_has_its_own_delay);
    tcase_add_test(tc, keys_have_limits);
    tcase_add_test(tc, a_peer_that_claims_more_than_we_wrote_makes_us_newer);
    return mesh_run_tests(tc);
}
