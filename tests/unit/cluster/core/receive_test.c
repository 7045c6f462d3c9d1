/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/core/forward_codec.h"
#include "tests/unit/cluster/core/mesh.h"

/* Publishes from another node.  The test plays that node (1) and sees what node 0 makes of it. */

typedef struct origin {
    mesh_t *mesh;
    gv_link_id_t link;
    uint64_t offset;
    uint64_t lowest;
    uint64_t to_boot_id;
} origin_t;

static origin_t origin_new(void)
{
    mesh_t *mesh = mesh_new();
    mesh_start(mesh, 0);
    return (origin_t){.mesh = mesh, .link = mesh_play(mesh, 1, 0), .lowest = 1, .to_boot_id = 100};
}

static void send_piece(origin_t *origin, gv_forward_piece_t piece)
{
    uint8_t frame[4096];
    gv_writer_t w = gv_writer(frame, sizeof(frame));
    origin->offset += piece.body.size + 32;
    gv_forward_batch_t head = {
        .from = origin->mesh->node[1].identity.id,
        .to = origin->mesh->node[0].identity.id,
        .from_boot_id = 101,
        .to_boot_id = origin->to_boot_id,
        .lowest = origin->lowest,
        .offset = origin->offset,
    };
    gv_forward_put_piece(&w, &piece);
    gv_forward_put_head(&w, &head);
    ck_assert(!w.failed);
    gv_ccore_link_frame(origin->mesh->node[0].core, origin->link, GV_FRAME_FORWARD,
                        gv_bytes(frame, sizeof(frame) - gv_writer_left(&w)));
}

static gv_bytes_t body_of(uint64_t uid, uint8_t buffer[64])
{
    gv_forward_t msg = {
        .topic = GV_BYTES_LITERAL("t"), .uid = {.boot_id = 101, .seq = uid}, .qos = 1};
    memset(msg.uid.node.bytes, 2, GV_NODE_ID_SIZE);
    size_t size = gv_forward_size(&msg);
    ck_assert_uint_le(size, 64);
    gv_forward_encode(&msg, buffer, size);
    return gv_bytes(buffer, size);
}

static void send_message(origin_t *origin, uint64_t seq)
{
    uint8_t buffer[64];
    send_piece(origin, (gv_forward_piece_t){
                           .seq = seq, .expiry_ms = 5, .body = body_of(seq + 1000, buffer)});
}

/* The newest acknowledgement node 0 has sent. */
static Gv__ForwardAck last_ack(origin_t *origin)
{
    gv_ccore_flush(origin->mesh->node[0].core);
    Gv__ForwardAck found = GV__FORWARD_ACK__INIT;
    gv_list_foreach (&origin->mesh->frames, link) {
        const mesh_frame_t *frame = gv_container_of(link, mesh_frame_t, link);
        if (frame->kind == GV_FRAME_FORWARD_ACK || frame->kind == GV_FRAME_FORWARD_ACK_RELAY) {
            Gv__ForwardAck *ack = gv__forward_ack__unpack(NULL, frame->size, frame->body);
            ck_assert_ptr_nonnull(ack);
            found.received = ack->received;
            found.applied = ack->applied;
            found.credit = ack->credit;
            found.n_answers = ack->n_answers;
            gv__forward_ack__free_unpacked(ack, NULL);
        }
    }
    return found;
}

/* Makes the link count as up, so that acknowledgements have a way. */
static void bring_up(origin_t *origin)
{
    Gv__Heartbeat echo = GV__HEARTBEAT__INIT;
    echo.echo = origin->mesh->now_ms + 1;
    mesh_say(origin->mesh, 0, origin->link, GV_FRAME_HEARTBEAT, &echo.base);
    ck_assert(mesh_is_linked(origin->mesh, 0, 1));
}

START_TEST(acknowledged_is_what_is_applied_without_a_gap)
{
    origin_t origin = origin_new();
    mesh_node_t *node = &origin.mesh->node[0];
    bring_up(&origin);
    for (uint64_t seq = 1; seq <= 4; seq++) {
        send_message(&origin, seq);
    }
    ck_assert_uint_eq(node->delivery_count, 4);
    gv_ccore_applied(node->core, node->deliveries[1], NULL);
    gv_ccore_applied(node->core, node->deliveries[3], NULL);
    Gv__ForwardAck ack = last_ack(&origin);
    ck_assert_uint_eq(ack.received, 4);
    ck_assert_uint_eq(ack.applied, 0);
    gv_ccore_applied(node->core, node->deliveries[0], NULL);
    gv_ccore_applied(node->core, node->deliveries[0], NULL); /* twice is once */
    ck_assert_uint_eq(last_ack(&origin).applied, 2);
    gv_ccore_applied(node->core, node->deliveries[2], NULL);
    ck_assert_uint_eq(last_ack(&origin).applied, 4);
    mesh_free(origin.mesh);
}
END_TEST

START_TEST(the_seen_and_the_early_are_dropped)
{
    origin_t origin = origin_new();
    mesh_node_t *node = &origin.mesh->node[0];
    send_message(&origin, 1);
    send_message(&origin, 1);
    send_message(&origin, 3);
    send_message(&origin, 2);
    ck_assert_uint_eq(node->delivery_count, 2);
    ck_assert_uint_eq(node->delivered_uid[1], 1002);
    ck_assert_uint_eq(gv_ccore_stats(node->core)->forwards_repeated, 1);
    mesh_free(origin.mesh);
}
END_TEST

START_TEST(what_the_origin_has_given_up_is_not_waited_for)
{
    origin_t origin = origin_new();
    mesh_node_t *node = &origin.mesh->node[0];
    bring_up(&origin);
    send_message(&origin, 1);
    origin.lowest = 1000000;
    send_message(&origin, 1000000);
    ck_assert_uint_eq(node->delivery_count, 2);
    gv_ccore_applied(node->core, node->deliveries[1], NULL);
    ck_assert_uint_eq(last_ack(&origin).applied, 0);
    gv_ccore_applied(node->core, node->deliveries[0], NULL);
    ck_assert_uint_eq(last_ack(&origin).applied, 1000000);
    mesh_free(origin.mesh);
}
END_TEST

/* By the path of before, when another one is in use already. */
START_TEST(what_was_overtaken_comes_in_order_or_not_at_all)
{
    origin_t origin = origin_new();
    mesh_node_t *node = &origin.mesh->node[0];
    uint8_t buffer[64];
    send_message(&origin, 1);
    uint64_t late = origin.offset;
    origin.offset += 200; /* what is on its way there */
    send_piece(&origin, (gv_forward_piece_t){.body = body_of(7, buffer)});
    ck_assert_uint_eq(node->delivered_uid[node->delivery_count - 1], 7);
    uint64_t count = node->delivery_count;
    origin.offset = late;
    send_piece(&origin, (gv_forward_piece_t){.body = body_of(6, buffer)});
    ck_assert_uint_eq(node->delivery_count, count);
    ck_assert_uint_eq(gv_ccore_stats(node->core)->qos0_dropped_late, 1);
    send_message(&origin, 2); /* numbered: not seen before, so it is taken */
    ck_assert_uint_eq(node->delivery_count, count + 1);
    mesh_free(origin.mesh);
}
END_TEST

START_TEST(what_was_meant_for_an_earlier_life_is_ignored)
{
    origin_t origin = origin_new();
    origin.to_boot_id = 99;
    send_message(&origin, 1);
    ck_assert_uint_eq(origin.mesh->node[0].delivery_count, 0);
    ck_assert_uint_eq(origin.mesh->node[0].closes, 0);
    mesh_free(origin.mesh);
}
END_TEST

START_TEST(pieces_are_put_together_and_a_restart_of_them_is_understood)
{
    origin_t origin = origin_new();
    mesh_node_t *node = &origin.mesh->node[0];
    uint8_t buffer[64];
    gv_bytes_t body = body_of(7, buffer);
    gv_forward_piece_t first = {
        .seq = 1, .total = body.size, .at = 0, .body = gv_bytes(body.data, 10)};
    gv_forward_piece_t second = {
        .seq = 1, .total = body.size, .at = 10, .body = gv_bytes(body.data + 10, body.size - 10)};
    send_piece(&origin, second); /* too early */
    send_piece(&origin, first);
    send_piece(&origin, first); /* sent again from the beginning */
    ck_assert_uint_eq(node->delivery_count, 0);
    send_piece(&origin, second);
    ck_assert_uint_eq(node->delivery_count, 1);
    ck_assert_uint_eq(node->delivered_uid[0], 7);
    /* QoS 0 with a piece missing is dropped and counted. */
    first.seq = 0;
    send_piece(&origin, first);
    send_piece(&origin, first);
    ck_assert_uint_eq(gv_ccore_stats(node->core)->qos0_dropped_incomplete, 1);
    mesh_free(origin.mesh);
}
END_TEST

START_TEST(more_than_the_credit_closes_the_link)
{
    origin_t origin = origin_new();
    origin.offset = 1 << 20; /* before anything was granted beyond the start */
    send_message(&origin, 1);
    ck_assert_uint_eq(origin.mesh->node[0].closes, 1);
    ck_assert_uint_eq(origin.mesh->node[0].delivery_count, 0);
    mesh_free(origin.mesh);
}
END_TEST

START_TEST(a_message_over_the_limit_closes_the_link)
{
    origin_t origin = origin_new();
    send_piece(&origin, (gv_forward_piece_t){.seq = 1,
                                             .total = (uint64_t)1 << 40,
                                             .body = GV_BYTES_LITERAL("a beginning")});
    ck_assert_uint_eq(origin.mesh->node[0].closes, 1);
    mesh_free(origin.mesh);
}
END_TEST

START_TEST(a_message_that_cannot_be_read_is_refused_not_repeated_for_ever)
{
    origin_t origin = origin_new();
    bring_up(&origin);
    send_piece(&origin, (gv_forward_piece_t){.seq = 1, .body = GV_BYTES_LITERAL("garbage")});
    send_message(&origin, 2);
    mesh_node_t *node = &origin.mesh->node[0];
    ck_assert_uint_eq(node->delivery_count, 1);
    gv_ccore_applied(node->core, node->deliveries[0], NULL);
    Gv__ForwardAck ack = last_ack(&origin);
    ck_assert_uint_eq(ack.applied, 2);
    ck_assert_uint_eq(ack.n_answers, 1); /* its publisher is not told that anybody has it */
    ck_assert_uint_eq(gv_ccore_stats(node->core)->frames_bad, 1);
    mesh_free(origin.mesh);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("receive");
    tcase_add_test(tc, acknowledged_is_what_is_applied_without_a_gap);
    tcase_add_test(tc, the_seen_and_the_early_are_dropped);
    tcase_add_test(tc, what_the_origin_has_given_up_is_not_waited_for);
    tcase_add_test(tc, what_was_overtaken_comes_in_order_or_not_at_all);
    tcase_add_test(tc, what_was_meant_for_an_earlier_life_is_ignored);
    tcase_add_test(tc, pieces_are_put_together_and_a_restart_of_them_is_understood);
    tcase_add_test(tc, more_than_the_credit_closes_the_link);
    tcase_add_test(tc, a_message_over_the_limit_closes_the_link);
    tcase_add_test(tc, a_message_that_cannot_be_read_is_refused_not_repeated_for_ever);
    return mesh_run_tests(tc);
}
