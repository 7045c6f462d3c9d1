/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/cluster/core/mesh.h"

/* Publishes to other nodes: reliable, in order, once, whatever happens to the links. */

static void publish(mesh_t *mesh, size_t from, size_t to, uint64_t uid)
{
    mesh_publish(mesh, from, to, 1, uid, GV_BYTES_LITERAL("payload"));
}

static void assert_in_order(const mesh_node_t *node, uint64_t count)
{
    ck_assert_uint_eq(node->delivery_count, count);
    for (uint64_t i = 0; i < count; i++) {
        ck_assert_uint_eq(node->delivered_uid[i], i + 1);
    }
}

START_TEST(a_publish_is_confirmed_when_the_other_host_has_applied_it)
{
    mesh_t *mesh = mesh_of(2);
    mesh->node[1].holds_back = true;
    publish(mesh, 0, 1, 1);
    mesh_run(mesh, 500);
    ck_assert_uint_eq(mesh->node[1].delivery_count, 1);
    ck_assert_uint_eq(mesh->node[0].confirmed[GV_FORWARD_APPLIED], 0);
    ck_assert_uint_eq(mesh_status(mesh, 0, 1).forward_queued_messages, 1);
    gv_ccore_applied(mesh->node[1].core, mesh->node[1].deliveries[0], NULL);
    mesh_run(mesh, 50);
    ck_assert_uint_eq(mesh->node[0].confirmed[GV_FORWARD_APPLIED], 1);
    ck_assert_uint_eq(mesh_status(mesh, 0, 1).forward_queued_messages, 0);
    ck_assert_uint_eq(mesh_status(mesh, 0, 1).forward_queued_bytes, 0);
    mesh_free(mesh);
}
END_TEST

START_TEST(many_messages_share_a_frame)
{
    mesh_t *mesh = mesh_of(2);
    for (uint64_t uid = 1; uid <= 500; uid++) {
        publish(mesh, 0, 1, uid);
    }
    mesh_run(mesh, 100);
    assert_in_order(&mesh->node[1], 500);
    ck_assert_uint_eq(mesh->node[0].confirmed[GV_FORWARD_APPLIED], 500);
    ck_assert_uint_le(mesh->node[0].sent[GV_FRAME_FORWARD], 3);
    ck_assert_uint_le(mesh->node[1].sent[GV_FRAME_FORWARD_ACK], 5);
    mesh_free(mesh);
}
END_TEST

START_TEST(one_publish_to_many_nodes_is_confirmed_by_each)
{
    mesh_t *mesh = mesh_of(4);
    gv_forward_t msg = {.topic = GV_BYTES_LITERAL("t"),
                        .uid = {.node = mesh->node[0].identity.id, .seq = 1},
                        .expiry_ms = GV_FORWARD_NO_EXPIRY,
                        .qos = 2};
    gv_ccore_publish(mesh->node[0].core, &msg, UINT64_MAX, 9);
    ck_assert_uint_eq(mesh->node[0].confirmed[GV_FORWARD_GONE], 0); /* never within the call */
    mesh_run(mesh, 100);
    ck_assert_uint_eq(mesh->node[0].confirmed[GV_FORWARD_APPLIED], 3);
    ck_assert_uint_eq(mesh->node[0].confirmed[GV_FORWARD_GONE], 60); /* indices nobody has */
    mesh_free(mesh);
}
END_TEST

START_TEST(a_break_loses_and_doubles_nothing)
{
    mesh_t *mesh = mesh_of(2);
    uint64_t uid = 0;
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 10; i++) {
            publish(mesh, 0, 1, ++uid);
        }
        gv_ccore_flush(mesh->node[0].core);
        if (round % 2 == 0) {
            mesh_step(mesh); /* delivered, the acknowledgement is on its way */
        }
        mesh_break_between(mesh, 0, 1);
        mesh_run(mesh, 600);
    }
    mesh_run(mesh, 1000);
    assert_in_order(&mesh->node[1], uid);
    ck_assert_uint_eq(mesh->node[0].confirmed[GV_FORWARD_APPLIED], uid);
    ck_assert_uint_ge(gv_ccore_stats(mesh->node[0].core)->forwards_resent, 10);
    mesh_free(mesh);
}
END_TEST

START_TEST(a_third_node_carries_what_cannot_go_directly)
{
    mesh_t *mesh = mesh_of(3);
    mesh_cut(mesh, 0, 2, true);
    for (uint64_t uid = 1; uid <= 100; uid++) {
        publish(mesh, 0, 2, uid);
        mesh_run(mesh, 30); /* begins on the direct link, before the cut is noticed */
    }
    mesh_run(mesh, 3000);
    assert_in_order(&mesh->node[2], 100);
    ck_assert_uint_eq(mesh->node[0].confirmed[GV_FORWARD_APPLIED], 100);
    ck_assert_uint_ge(gv_ccore_stats(mesh->node[1].core)->forwards_relayed, 10);
    mesh_cut(mesh, 0, 2, false);
    mesh_run(mesh, 3000);
    publish(mesh, 0, 2, 101);
    mesh_run(mesh, 100);
    assert_in_order(&mesh->node[2], 101);
    mesh_free(mesh);
}
END_TEST

START_TEST(what_waits_for_a_dead_node_is_gone)
{
    mesh_t *mesh = mesh_of(2);
    gv_node_index_t index = mesh_index(mesh, 0, 1);
    mesh_kill(mesh, 1, true);
    publish(mesh, 0, 1, 1); /* suspect: kept */
    mesh_run(mesh, 100);
    ck_assert_uint_eq(mesh->node[0].confirmed[GV_FORWARD_GONE], 0);
    mesh_run(mesh, 3000);
    ck_assert_uint_eq(mesh->node[0].confirmed[GV_FORWARD_GONE], 1);
    publish(mesh, 0, 1, 2);
    gv_ccore_flush(mesh->node[0].core);
    ck_assert_uint_eq(mesh->node[0].confirmed[GV_FORWARD_GONE], 2);
    ck_assert_uint_eq(gv_ccore_stats(mesh->node[0].core)->forwards_gone, 2);
    gv_member_status_t status;
    ck_assert(gv_ccore_member(mesh->node[0].core, index, &status));
    ck_assert_uint_eq(status.forward_queued_bytes, 0);
    mesh_free(mesh);
}
END_TEST

/* All come back; what was begun at QoS 2 is in doubt. */
START_TEST(what_a_dead_node_was_to_have_is_handed_back)
{
    mesh_t *mesh = mesh_of(2);
    mesh_cut(mesh, 0, 1, true);
    const gv_bytes_t shared[] = {GV_BYTES_LITERAL("$share/g/t")};
    gv_forward_t msg = {.topic = GV_BYTES_LITERAL("t"),
                        .payload = GV_BYTES_LITERAL("x"),
                        .uid = {.seq = 1},
                        .expiry_ms = GV_FORWARD_NO_EXPIRY};
    uint64_t mask = (uint64_t)1 << mesh_index(mesh, 0, 1);
    for (uint8_t qos = 1; qos <= 2; qos++) {
        msg.qos = qos;
        msg.shared = NULL;
        msg.shared_count = 0;
        gv_ccore_publish(mesh->node[0].core, &msg, mask, 1);
        msg.shared = shared;
        msg.shared_count = 1;
        gv_ccore_publish(mesh->node[0].core, &msg, mask, 1);
    }
    mesh_run(mesh, 1000); /* sent, into the cut */
    gv_ccore_publish(mesh->node[0].core, &msg, mask, 1);
    mesh_run(mesh, 4000);
    ck_assert_uint_eq(mesh->node[0].confirmed[GV_FORWARD_GONE], 3);
    ck_assert_uint_eq(mesh->node[0].confirmed[GV_FORWARD_IN_DOUBT], 2);
    ck_assert_uint_eq(mesh->node[0].lost, 5);
    gv_ccore_publish(mesh->node[0].core, &msg, mask, 1); /* known to be dead */
    mesh_run(mesh, 50);
    ck_assert_uint_eq(mesh->node[0].confirmed[GV_FORWARD_GONE], 4);
    ck_assert_uint_eq(mesh->node[0].lost, 6);
    mesh_free(mesh);
}
END_TEST

/* Else what the host publishes to it then would come before what it gets back. */
START_TEST(what_a_node_was_to_have_is_handed_back_before_it_can_be_there_again)
{
    mesh_t *mesh = mesh_of(2);
    mesh->node[1].holds_back = true;
    publish(mesh, 0, 1, 1);
    mesh_run(mesh, 50);
    gv_ccore_leave(mesh->node[1].core);
    gv_ccore_flush(mesh->node[1].core);
    mesh_deliver_frames(mesh); /* and within the same turn of ours: */
    mesh_kill(mesh, 1, false);
    mesh->node[1].identity.incarnation = (gv_incarnation_t){.start_counter = 2, .boot_id = 3};
    mesh->node[1].delivery_count = 0;
    mesh->node[1].holds_back = false;
    mesh_start(mesh, 1);
    mesh_connect(mesh, 1, 0, 0);
    ck_assert_int_eq(mesh_state(mesh, 0, 1), GV_MEMBER_ALIVE);
    ck_assert_uint_eq(mesh->node[0].confirmed[GV_FORWARD_GONE], 1);
    publish(mesh, 0, 1, 2);
    mesh_run(mesh, 200);
    ck_assert_uint_eq(mesh->node[1].delivery_count, 1);
    ck_assert_uint_eq(mesh->node[1].delivered_uid[0], 2);
    mesh_free(mesh);
}
END_TEST

START_TEST(the_channel_goes_on_after_a_death_that_was_none)
{
    mesh_t *mesh = mesh_of(2);
    publish(mesh, 0, 1, 1);
    mesh_run(mesh, 50);
    mesh_cut(mesh, 0, 1, true);
    publish(mesh, 0, 1, 100);
    publish(mesh, 0, 1, 101);
    mesh_run(mesh, 5000);
    ck_assert_uint_eq(mesh->node[0].confirmed[GV_FORWARD_GONE], 2);
    mesh_cut(mesh, 0, 1, false);
    mesh_run(mesh, 3000);
    publish(mesh, 0, 1, 2);
    mesh_run(mesh, 100);
    assert_in_order(&mesh->node[1], 2);
    ck_assert_uint_eq(mesh->node[0].confirmed[GV_FORWARD_APPLIED], 2);
    mesh_free(mesh);
}
END_TEST

START_TEST(a_restarted_peer_gets_what_it_had_not_confirmed)
{
    mesh_t *mesh = mesh_of(2);
    mesh->node[1].holds_back = true;
    publish(mesh, 0, 1, 1);
    publish(mesh, 0, 1, 2);
    mesh_run(mesh, 100);
    gv_delivery_t stale = mesh->node[1].deliveries[0];
    mesh_kill(mesh, 1, true);
    mesh->node[1].identity.incarnation = (gv_incarnation_t){.start_counter = 2, .boot_id = 3};
    mesh->node[1].delivery_count = 0;
    mesh->node[1].holds_back = false;
    mesh_start(mesh, 1);
    mesh_connect(mesh, 1, 0, 0);
    mesh_run(mesh, 200);
    assert_in_order(&mesh->node[1], 2);
    ck_assert_uint_eq(mesh->node[0].confirmed[GV_FORWARD_APPLIED], 2);
    gv_ccore_applied(mesh->node[1].core, stale, NULL); /* of the earlier life: nothing happens */
    mesh_free(mesh);
}
END_TEST

START_TEST(a_queue_has_a_limit_but_one_message_always_fits)
{
    mesh_t *mesh = mesh_new();
    gv_ccore_options_t options;
    mesh_options(&mesh->node[0], &options);
    options.limits.forward_queue_bytes = 1000;
    mesh_start_with(&mesh->node[0], &options);
    mesh_start(mesh, 1);
    mesh_connect(mesh, 0, 1, 0);
    mesh_run(mesh, 300);
    uint8_t *payload = gv_xcalloc(1, 5000);
    mesh_publish(mesh, 0, 1, 1, 1, gv_bytes(payload, 5000));
    mesh_publish(mesh, 0, 1, 1, 2, gv_bytes(payload, 5000));
    mesh_run(mesh, 100);
    ck_assert_uint_eq(mesh->node[0].confirmed[GV_FORWARD_APPLIED], 1);
    ck_assert_uint_eq(mesh->node[0].confirmed[GV_FORWARD_FULL], 1);
    gv_free(payload);
    mesh_free(mesh);
}
END_TEST

START_TEST(a_long_message_goes_in_pieces_within_the_credit)
{
    mesh_t *mesh = mesh_of(2);
    size_t size = (size_t)20 << 20; /* more than the receiver's window */
    uint8_t *payload = gv_xalloc(size);
    for (size_t i = 0; i < size; i++) {
        payload[i] = (uint8_t)(i * 31 + i / 255);
    }
    uint64_t hash = gv_bytes_hash(gv_bytes(payload, size), 0);
    mesh_publish(mesh, 0, 1, 1, 1, gv_bytes(payload, size));
    publish(mesh, 0, 1, 2);
    mesh_step(mesh);
    mesh_step(mesh);
    mesh_break_between(mesh, 0, 1); /* in the middle of it */
    mesh_run(mesh, 3000);
    ck_assert_uint_eq(mesh->node[0].confirmed[GV_FORWARD_APPLIED], 2);
    ck_assert_uint_eq(mesh->node[1].delivery_count, 2);
    ck_assert_uint_eq(mesh->node[1].delivered_uid[0], 1);
    mesh_publish(mesh, 0, 1, 0, 3, gv_bytes(payload, size)); /* QoS 0: no credit for all of it */
    mesh_run(mesh, 500);
    ck_assert_uint_eq(gv_ccore_stats(mesh->node[0].core)->qos0_dropped_no_credit, 1);
    mesh_publish(mesh, 0, 1, 1, 4, gv_bytes(payload, size));
    mesh_run(mesh, 2000);
    ck_assert_uint_eq(mesh->node[1].last_payload_size, size);
    ck_assert_uint_eq(mesh->node[1].last_payload_hash, hash);
    gv_free(payload);
    mesh_free(mesh);
}
END_TEST

START_TEST(qos_0_is_sent_once_or_dropped_and_counted)
{
    mesh_t *mesh = mesh_of(2);
    const gv_ccore_stats_t *stats = gv_ccore_stats(mesh->node[0].core);
    mesh_publish(mesh, 0, 1, 0, 1, GV_BYTES_LITERAL("x"));
    mesh_run(mesh, 50);
    ck_assert_uint_eq(mesh->node[1].delivery_count, 1);
    ck_assert_uint_eq(mesh->node[1].deliveries[0].seq, 0);
    ck_assert_uint_eq(stats->qos0_sent, 1);
    mesh_cut(mesh, 0, 1, true);
    mesh_run(mesh, 2000);
    mesh_publish(mesh, 0, 1, 0, 2, GV_BYTES_LITERAL("x"));
    mesh_run(mesh, 50);
    ck_assert_uint_eq(stats->qos0_dropped_no_path, 1);
    mesh_cut(mesh, 0, 1, false);
    mesh_run(mesh, 3000);
    ck_assert_uint_eq(mesh->node[1].delivery_count, 1);
    ck_assert_uint_eq(mesh->node[0].confirmed[GV_FORWARD_APPLIED], 0);
    mesh_free(mesh);
}
END_TEST

START_TEST(without_credit_messages_wait_and_qos_0_goes)
{
    mesh_t *mesh = mesh_of(2);
    mesh->node[1].holds_back = true;
    uint8_t *payload = gv_xcalloc(1, 100000);
    for (uint64_t uid = 1; uid <= 100; uid++) {
        mesh_publish(mesh, 0, 1, 1, uid, gv_bytes(payload, 100000)); /* 10 MB, window 8 MiB */
    }
    mesh_run(mesh, 500);
    size_t delivered = mesh->node[1].delivery_count;
    ck_assert_uint_ge(delivered, 70);
    ck_assert_uint_le(delivered, 85);
    mesh_publish(mesh, 0, 1, 0, 999, GV_BYTES_LITERAL("x"));
    ck_assert_uint_eq(gv_ccore_stats(mesh->node[0].core)->qos0_dropped_no_credit, 1);
    mesh->node[1].holds_back = false;
    mesh_apply(&mesh->node[1], 0);
    mesh_run(mesh, 500);
    assert_in_order(&mesh->node[1], 100);
    ck_assert_uint_eq(mesh->node[0].confirmed[GV_FORWARD_APPLIED], 100);
    gv_free(payload);
    mesh_free(mesh);
}
END_TEST

START_TEST(while_credit_is_paused_nothing_new_is_granted)
{
    mesh_t *mesh = mesh_of(2);
    gv_ccore_pause_credit(mesh->node[1].core, true);
    uint8_t *payload = gv_xcalloc(1, 10000);
    for (uint64_t uid = 1; uid <= 50; uid++) {
        mesh_publish(mesh, 0, 1, 1, uid, gv_bytes(payload, 10000));
    }
    mesh_run(mesh, 1000);
    ck_assert_uint_le(mesh->node[1].delivery_count, 7); /* what every channel may begin with */
    gv_ccore_pause_credit(mesh->node[1].core, false);
    mesh_run(mesh, 100);
    assert_in_order(&mesh->node[1], 50);
    gv_free(payload);
    mesh_free(mesh);
}
END_TEST

START_TEST(credit_that_lost_qos_0_took_comes_back)
{
    mesh_t *mesh = mesh_of(2);
    const gv_ccore_stats_t *stats = gv_ccore_stats(mesh->node[0].core);
    uint8_t *payload = gv_xcalloc(1, 10000);
    mesh_cut(mesh, 0, 1, true); /* not noticed yet: all of it is sent, and lost */
    for (uint64_t uid = 1; stats->qos0_dropped_no_credit == 0; uid++) {
        mesh_publish(mesh, 0, 1, 0, uid, gv_bytes(payload, 10000));
    }
    mesh_run(mesh, 2000);
    ck_assert_uint_ge(stats->qos0_sent, 6);
    mesh_cut(mesh, 0, 1, false);
    mesh_run(mesh, 3000);
    ck_assert(mesh_is_linked(mesh, 0, 1));
    mesh_publish(mesh, 0, 1, 0, 100, gv_bytes(payload, 10000));
    mesh_run(mesh, 100);
    ck_assert_uint_eq(mesh->node[1].delivery_count, 1);
    uint64_t frames = mesh->node[0].sent[GV_FRAME_FORWARD];
    mesh_run(mesh, 20000);
    ck_assert_uint_eq(mesh->node[0].sent[GV_FRAME_FORWARD], frames); /* idle is silent */
    gv_free(payload);
    mesh_free(mesh);
}
END_TEST

/* Two nodes that held each other dead, and one has forgotten the other; then they meet again. */
static void assert_channel_survives_forgetting(size_t who, size_t whom)
{
    mesh_t *mesh = mesh_of(2);
    uint8_t *payload = gv_xcalloc(1, 10000);
    for (uint64_t uid = 1; uid <= 20; uid++) {
        mesh_publish(mesh, 0, 1, 1, uid, gv_bytes(payload, 10000));
    }
    mesh_run(mesh, 200);
    assert_in_order(&mesh->node[1], 20);
    mesh_cut(mesh, 0, 1, true);
    ck_assert_uint_ne(mesh_until(mesh, 0, 1, GV_MEMBER_DEAD), UINT64_MAX);
    ck_assert_uint_ne(mesh_until(mesh, 1, 0, GV_MEMBER_DEAD), UINT64_MAX);
    mesh_run(mesh, 2000);
    gv_node_index_t index = mesh_index(mesh, who, whom);
    ck_assert_int_eq(gv_ccore_forget(mesh->node[who].core, index), GV_OK);
    mesh_run(mesh, 50);
    ck_assert_uint_eq(mesh_index(mesh, who, whom), GV_NODE_NONE);
    mesh_cut(mesh, 0, 1, false);
    mesh_run(mesh, 5000);
    ck_assert(mesh_is_linked(mesh, 0, 1));
    for (uint64_t uid = 21; uid <= 30; uid++) {
        mesh_publish(mesh, 0, 1, 1, uid, gv_bytes(payload, 10000));
    }
    mesh_run(mesh, 500);
    assert_in_order(&mesh->node[1], 30);
    ck_assert_uint_eq(mesh->node[0].confirmed[GV_FORWARD_APPLIED], 30);
    ck_assert_uint_eq(gv_ccore_stats(mesh->node[1].core)->frames_bad, 0);
    gv_free(payload);
    mesh_free(mesh);
}

START_TEST(the_channel_goes_on_with_a_peer_that_was_forgotten)
{
    assert_channel_survives_forgetting(0, 1);
    assert_channel_survives_forgetting(1, 0);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("forward");
    tcase_add_test(tc, a_publish_is_confirmed_when_the_other_host_has_applied_it);
    tcase_add_test(tc, many_messages_share_a_frame);
    tcase_add_test(tc, one_publish_to_many_nodes_is_confirmed_by_each);
    tcase_add_test(tc, a_break_loses_and_doubles_nothing);
    tcase_add_test(tc, a_third_node_carries_what_cannot_go_directly);
    tcase_add_test(tc, what_waits_for_a_dead_node_is_gone);
    tcase_add_test(tc, what_a_dead_node_was_to_have_is_handed_back);
    tcase_add_test(tc, what_a_node_was_to_have_is_handed_back_before_it_can_be_there_again);
    tcase_add_test(tc, the_channel_goes_on_after_a_death_that_was_none);
    tcase_add_test(tc, a_restarted_peer_gets_what_it_had_not_confirmed);
    tcase_add_test(tc, a_queue_has_a_limit_but_one_message_always_fits);
    tcase_add_test(tc, a_long_message_goes_in_pieces_within_the_credit);
    tcase_add_test(tc, qos_0_is_sent_once_or_dropped_and_counted);
    tcase_add_test(tc, without_credit_messages_wait_and_qos_0_goes);
    tcase_add_test(tc, while_credit_is_paused_nothing_new_is_granted);
    tcase_add_test(tc, credit_that_lost_qos_0_took_comes_back);
    tcase_add_test(tc, the_channel_goes_on_with_a_peer_that_was_forgotten);
    return mesh_run_tests(tc);
}
