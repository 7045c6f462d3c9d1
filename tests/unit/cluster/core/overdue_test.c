/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/cluster/core/mesh.h"

/* What has been on its way to a silent node for long: the host is asked to keep it as well. */

#define KEPT ((uint64_t)1 << 40)

static void publish(mesh_t *mesh, uint64_t uid, uint8_t qos)
{
    mesh_publish(mesh, 0, 1, qos, uid, GV_BYTES_LITERAL("payload"));
}

static void publish_some(mesh_t *mesh, uint64_t first, uint64_t count)
{
    for (uint64_t uid = first; uid < first + count; uid++) {
        publish(mesh, uid, 1);
    }
}

static void assert_asked(const mesh_t *mesh, size_t count)
{
    ck_assert_uint_eq(mesh->node[0].overdue_count, count);
    for (size_t i = 0; i < count; i++) {
        ck_assert_uint_eq(mesh->node[0].overdue_uid[i], i + 1);
    }
    ck_assert_uint_eq(gv_ccore_stats(mesh->node[0].core)->forwards_overdue, count);
}

/* Two nodes, of which the second confirms nothing by itself. */
static mesh_t *mesh_with(uint32_t overdue_ms, uint64_t bytes)
{
    mesh_t *mesh = mesh_new();
    gv_ccore_options_t options;
    mesh_options(&mesh->node[0], &options);
    options.timing.overdue = overdue_ms;
    options.limits.overdue_bytes = bytes;
    mesh_start_with(&mesh->node[0], &options);
    mesh_start(mesh, 1);
    (void)mesh_connect(mesh, 0, 1, 0);
    mesh_run(mesh, 500);
    mesh->node[1].holds_back = true;
    mesh->node[0].kept_token = KEPT;
    return mesh;
}

static mesh_t *silent_pair(void)
{
    return mesh_with(200, 1 << 20);
}

static void apply(mesh_t *mesh, size_t index)
{
    gv_ccore_applied(mesh->node[1].core, mesh->node[1].deliveries[index], NULL);
}

START_TEST(the_host_is_asked_once_and_in_order)
{
    mesh_t *mesh = silent_pair();
    publish_some(mesh, 1, 3);
    mesh_run(mesh, 190);
    assert_asked(mesh, 0);
    mesh_run(mesh, 30);
    assert_asked(mesh, 3);
    publish(mesh, 0, 0); /* QoS 0 is nobody's worry */
    publish(mesh, 4, 2); /* it is silent still: there is no use in waiting once more */
    mesh_run(mesh, 20);
    assert_asked(mesh, 4);
    mesh_run(mesh, 3000);
    assert_asked(mesh, 4);

    apply(mesh, 0);
    mesh_run(mesh, 20);
    ck_assert_uint_eq(mesh->node[0].confirmed[GV_FORWARD_APPLIED], 1);
    ck_assert_uint_eq(mesh->node[0].last_token, KEPT | 1);
    mesh_kill(mesh, 1, true);
    mesh_run(mesh, 3000);
    ck_assert_uint_eq(mesh->node[0].confirmed[GV_FORWARD_GONE], 2);
    ck_assert_uint_eq(mesh->node[0].confirmed[GV_FORWARD_IN_DOUBT], 1);
    ck_assert_uint_eq(mesh->node[0].last_token, KEPT | 4);
    assert_asked(mesh, 4);
    mesh_free(mesh);
}
END_TEST

START_TEST(nobody_is_asked_about_those_who_are_prompt)
{
    mesh_t *mesh = silent_pair();
    mesh->node[1].holds_back = false;
    for (uint64_t uid = 1; uid <= 100; uid++) {
        publish(mesh, uid, 1);
        mesh_run(mesh, uid % 10 == 0 ? 500 : 10);
    }
    assert_asked(mesh, 0);
    mesh_free(mesh);
}
END_TEST

START_TEST(a_node_that_is_behind_and_goes_on_is_waited_for)
{
    mesh_t *mesh = silent_pair();
    publish_some(mesh, 1, 20);
    mesh_run(mesh, 100);
    for (size_t i = 0; i < 20; i++) {
        apply(mesh, i);
        mesh_run(mesh, 150);
    }
    ck_assert_uint_eq(mesh->node[0].confirmed[GV_FORWARD_APPLIED], 20);
    assert_asked(mesh, 0);
    mesh_free(mesh);
}
END_TEST

/* Twice the time, for a while, for whom we took for silent. */
START_TEST(a_node_that_is_slow_is_not_asked_about_again_and_again)
{
    mesh_t *mesh = silent_pair();
    size_t asked = 0;
    for (size_t i = 0; i < 20; i++) {
        publish(mesh, i + 1, 1);
        mesh_run(mesh, 300);
        apply(mesh, i);
        mesh_run(mesh, 20);
    }
    assert_asked(mesh, 1);
    publish(mesh, 2, 1);
    mesh_run(mesh, 450);
    assert_asked(mesh, 2);
    apply(mesh, 20);
    mesh_run(mesh, 61000);
    publish(mesh, 3, 1);
    mesh_run(mesh, 250);
    asked = mesh->node[0].overdue_count;
    ck_assert_uint_eq(asked, 3);
    mesh_free(mesh);
}
END_TEST

static void restart_peer(mesh_t *mesh)
{
    mesh_kill(mesh, 1, true);
    mesh->node[1].identity.incarnation.start_counter++;
    mesh->node[1].identity.incarnation.boot_id++;
    mesh->node[1].delivery_count = 0;
    mesh_start(mesh, 1);
    (void)mesh_connect(mesh, 1, 0, 0);
}

START_TEST(a_new_life_has_its_own_time_and_nothing_is_asked_about_twice)
{
    mesh_t *mesh = silent_pair();
    publish_some(mesh, 1, 2);
    mesh_run(mesh, 150);
    restart_peer(mesh);
    mesh_run(mesh, 150);
    assert_asked(mesh, 0);
    mesh_run(mesh, 100);
    assert_asked(mesh, 2);
    publish_some(mesh, 3, 1);
    restart_peer(mesh);
    mesh_run(mesh, 150);
    ck_assert_uint_eq(mesh->node[1].delivery_count, 3);
    apply(mesh, 0);
    apply(mesh, 1);
    mesh_run(mesh, 20);
    ck_assert_uint_eq(mesh->node[0].confirmed[GV_FORWARD_APPLIED], 2);
    ck_assert_uint_eq(mesh->node[0].last_token, KEPT | 2);
    mesh_run(mesh, 500);
    assert_asked(mesh, 3);
    mesh_free(mesh);
}
END_TEST

START_TEST(a_host_that_declines_is_asked_again)
{
    mesh_t *mesh = silent_pair();
    mesh->node[0].keeps_nothing = true;
    publish_some(mesh, 1, 3);
    mesh_run(mesh, 500);
    assert_asked(mesh, 0);
    mesh->node[0].keeps_nothing = false;
    mesh_run(mesh, 50);
    assert_asked(mesh, 3);
    mesh_free(mesh);
}
END_TEST

START_TEST(so_much_is_kept_and_no_more)
{
    mesh_t *mesh = mesh_with(200, 1000);
    uint8_t payload[300] = {0};
    for (uint64_t uid = 1; uid <= 10; uid++) {
        mesh_publish(mesh, 0, 1, 1, uid, gv_bytes(payload, sizeof(payload)));
    }
    mesh_run(mesh, 2000);
    size_t count = mesh->node[0].overdue_count;
    ck_assert_uint_gt(count, 1);
    ck_assert_uint_lt(count, 5);
    apply(mesh, 0);
    mesh_run(mesh, 1000);
    assert_asked(mesh, count + 1);
    mesh_free(mesh);
}
END_TEST

START_TEST(without_a_time_nobody_is_asked)
{
    mesh_t *mesh = mesh_with(0, 1 << 20);
    publish_some(mesh, 1, 3);
    mesh_run(mesh, 3000);
    assert_asked(mesh, 0);
    mesh_free(mesh);
}
END_TEST

START_TEST(a_pause_of_our_own_is_not_the_other_node_s_silence)
{
    mesh_t *mesh = silent_pair();
    publish_some(mesh, 1, 1);
    mesh_run(mesh, 50);
    apply(mesh, 0); /* and before we hear of it ... */
    mesh->node[0].is_paused = true;
    mesh_run(mesh, 5000);
    mesh->node[0].is_paused = false;
    mesh_run(mesh, 50);
    ck_assert_uint_eq(mesh->node[0].confirmed[GV_FORWARD_APPLIED], 1);
    publish_some(mesh, 2, 1);
    mesh->node[0].is_paused = true;
    mesh_run(mesh, 5000);
    mesh->node[0].is_paused = false;
    mesh_run(mesh, 150);
    assert_asked(mesh, 0);
    mesh_free(mesh);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("overdue");
    tcase_add_test(tc, the_host_is_asked_once_and_in_order);
    tcase_add_test(tc, nobody_is_asked_about_those_who_are_prompt);
    tcase_add_test(tc, a_node_that_is_behind_and_goes_on_is_waited_for);
    tcase_add_test(tc, a_node_that_is_slow_is_not_asked_about_again_and_again);
    tcase_add_test(tc, a_new_life_has_its_own_time_and_nothing_is_asked_about_twice);
    tcase_add_test(tc, a_host_that_declines_is_asked_again);
    tcase_add_test(tc, so_much_is_kept_and_no_more);
    tcase_add_test(tc, without_a_time_nobody_is_asked);
    tcase_add_test(tc, a_pause_of_our_own_is_not_the_other_node_s_silence);
    return mesh_run_tests(tc);
}
