/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/core/core_p.h"
#include "tests/unit/cluster/core/mesh.h"

/* Messages that were applied and not simply taken: refused for lack of room, or returned. */

static const gv_delivery_outcome_t refused = {.is_refused = true};

/* With groups a and b if it is for groups. */
static void publish(mesh_t *mesh, size_t from, size_t to, uint64_t token, bool is_for_groups)
{
    const gv_bytes_t shared[] = {GV_BYTES_LITERAL("$share/a/t"), GV_BYTES_LITERAL("$share/b/t")};
    gv_forward_t msg = {
        .topic = GV_BYTES_LITERAL("t"),
        .uid = {.node = mesh->node[from].identity.id, .seq = token},
        .shared = shared,
        .shared_count = is_for_groups ? 2 : 0,
        .expiry_ms = GV_FORWARD_NO_EXPIRY,
        .qos = 2,
    };
    gv_ccore_publish(mesh->node[from].core, &msg, (uint64_t)1 << mesh_index(mesh, from, to), token);
}

static void publish_some(mesh_t *mesh, size_t from, size_t to, uint64_t count)
{
    mesh->node[to].holds_back = true;
    for (uint64_t token = 1; token <= count; token++) {
        publish(mesh, from, to, token, false);
    }
    mesh_run(mesh, 500);
    ck_assert_uint_eq(mesh->node[to].delivery_count, count);
}

static void answer(mesh_t *mesh, size_t node, size_t delivery, const gv_delivery_outcome_t *outcome)
{
    gv_ccore_applied(mesh->node[node].core, mesh->node[node].deliveries[delivery], outcome);
}

START_TEST(who_was_refused_is_told_and_the_others_are_not)
{
    mesh_t *mesh = mesh_of(2);
    publish_some(mesh, 0, 1, 6);
    const mesh_node_t *origin = &mesh->node[0];
    answer(mesh, 1, 4, &refused);
    answer(mesh, 1, 2, &refused);
    answer(mesh, 1, 1, NULL);
    answer(mesh, 1, 2, NULL); /* a second word changes nothing */
    mesh_run(mesh, 100);
    ck_assert_uint_eq(origin->last_token, 0); /* the first message has no answer yet */
    answer(mesh, 1, 0, NULL);
    answer(mesh, 1, 3, &refused);
    answer(mesh, 1, 5, NULL);
    mesh_run(mesh, 100);
    ck_assert_uint_eq(origin->confirmed[GV_FORWARD_APPLIED], 3);
    ck_assert_uint_eq(origin->confirmed[GV_FORWARD_REFUSED], 3);
    for (uint64_t token = 1; token <= 6; token++) {
        ck_assert_int_eq(origin->result_of[token],
                         token >= 3 && token <= 5 ? GV_FORWARD_REFUSED : GV_FORWARD_APPLIED);
    }
    ck_assert_uint_eq(mesh_status(mesh, 0, 1).forward_queued_messages, 0);
    mesh_free(mesh);
}
END_TEST

START_TEST(an_answer_that_was_lost_on_its_way_comes_again)
{
    mesh_t *mesh = mesh_of(2);
    publish_some(mesh, 0, 1, 3);
    answer(mesh, 1, 0, NULL);
    answer(mesh, 1, 1, &refused);
    gv_ccore_flush(mesh->node[1].core);
    mesh_break_between(mesh, 0, 1);
    ck_assert_uint_eq(mesh->node[0].last_token, 0);
    answer(mesh, 1, 2, NULL);
    mesh_run(mesh, 3000);
    ck_assert_int_eq(mesh->node[0].result_of[2], GV_FORWARD_REFUSED);
    ck_assert_uint_eq(mesh->node[0].confirmed[GV_FORWARD_REFUSED], 1);
    ck_assert_uint_eq(mesh->node[0].confirmed[GV_FORWARD_APPLIED], 2);
    ck_assert_uint_eq(mesh->node[1].delivery_count, 3); /* nothing came a second time */
    mesh_free(mesh);
}
END_TEST

START_TEST(answers_come_through_a_third_node)
{
    mesh_t *mesh = mesh_of(3);
    mesh_cut(mesh, 0, 2, true);
    mesh_run(mesh, 3000);
    publish_some(mesh, 0, 2, 2);
    answer(mesh, 2, 0, &refused);
    answer(mesh, 2, 1, NULL);
    mesh_run(mesh, 100);
    ck_assert_int_eq(mesh->node[0].result_of[1], GV_FORWARD_REFUSED);
    ck_assert_uint_eq(mesh->node[0].confirmed[GV_FORWARD_APPLIED], 1);
    ck_assert_uint_ge(gv_ccore_stats(mesh->node[1].core)->forwards_relayed, 2);
    mesh_free(mesh);
}
END_TEST

/* It was not answered: the new life is asked anew, and may have room. */
START_TEST(a_refusal_that_was_not_heard_is_void_with_the_life_that_said_it)
{
    mesh_t *mesh = mesh_of(2);
    mesh->node[1].holds_back = true;
    mesh_publish(mesh, 0, 1, 1, 1, GV_BYTES_LITERAL("x"));
    mesh_run(mesh, 500);
    mesh_cut(mesh, 0, 1, true);
    answer(mesh, 1, 0, &refused);
    mesh_run(mesh, 100);
    mesh_kill(mesh, 1, true);
    mesh_cut(mesh, 0, 1, false);
    mesh->node[1].identity.incarnation = (gv_incarnation_t){.start_counter = 2, .boot_id = 3};
    mesh->node[1].holds_back = false;
    mesh_start(mesh, 1);
    mesh_connect(mesh, 1, 0, 0);
    mesh_run(mesh, 500);
    ck_assert_uint_eq(mesh->node[0].confirmed[GV_FORWARD_REFUSED], 0);
    ck_assert_uint_eq(mesh->node[0].confirmed[GV_FORWARD_APPLIED], 1);
    mesh_free(mesh);
}
END_TEST

START_TEST(a_group_without_member_is_handed_back_and_the_other_is_not)
{
    mesh_t *mesh = mesh_of(2);
    mesh_node_t *origin = &mesh->node[0];
    mesh->node[1].holds_back = true;
    uint64_t keys[] = {gv_forward_group_key(GV_BYTES_LITERAL("$share/b/t")), 4711};
    gv_delivery_outcome_t outcome = {.returned = keys, .returned_count = 2};
    publish(mesh, 0, 1, 1, true);
    publish(mesh, 0, 1, 2, true);
    publish(mesh, 0, 1, 3, true);
    mesh_run(mesh, 100);
    answer(mesh, 1, 0, &outcome);
    mesh_run(mesh, 100);
    ck_assert_uint_eq(origin->confirmed[GV_FORWARD_RETURNED], 1);
    ck_assert_uint_eq(origin->lost, 1);
    ck_assert_uint_eq(origin->last_lost_count, 1);
    ck_assert_str_eq(origin->last_lost, "$share/b/t");
    /* What is refused as well is published again, and comes to its groups then. */
    outcome.is_refused = true;
    answer(mesh, 1, 1, &outcome);
    /* Groups that nobody has asked for: no word to be trusted. */
    outcome = (gv_delivery_outcome_t){.returned = &keys[1], .returned_count = 1};
    answer(mesh, 1, 2, &outcome);
    mesh_run(mesh, 100);
    ck_assert_uint_eq(origin->confirmed[GV_FORWARD_REFUSED], 2);
    ck_assert_uint_eq(origin->lost, 1);
    mesh_free(mesh);
}
END_TEST

START_TEST(more_answers_than_a_frame_takes_come_one_frame_after_the_other)
{
    enum {
        COUNT = 4000
    };
    mesh_t *mesh = mesh_of(2);
    publish_some(mesh, 0, 1, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        uint64_t keys[] = {1, 2, 3};
        gv_delivery_outcome_t outcome = {
            .is_refused = true, .returned = keys, .returned_count = 1 + i % 3};
        answer(mesh, 1, i, i % 2 == 0 ? NULL : &outcome);
    }
    uint64_t frames = mesh->node[1].sent[GV_FRAME_FORWARD_ACK];
    mesh_run(mesh, 500);
    for (uint64_t token = 1; token <= COUNT; token++) {
        ck_assert_int_eq(mesh->node[0].result_of[token],
                         token % 2 == 1 ? GV_FORWARD_APPLIED : GV_FORWARD_REFUSED);
    }
    ck_assert_uint_eq(mesh->node[0].confirmed[GV_FORWARD_REFUSED], COUNT / 2);
    ck_assert_uint_ge(mesh->node[1].sent[GV_FRAME_FORWARD_ACK], frames + 2);
    /* Credit and channel are as before. */
    mesh->node[1].holds_back = false;
    publish(mesh, 0, 1, COUNT + 1, false);
    mesh_run(mesh, 100);
    ck_assert_uint_eq(mesh->node[0].last_token, COUNT + 1);
    frames = mesh->node[1].sent[GV_FRAME_FORWARD_ACK] + mesh->node[0].sent[GV_FRAME_FORWARD];
    mesh_run(mesh, 20000);
    ck_assert_uint_eq(mesh->node[1].sent[GV_FRAME_FORWARD_ACK] +
                          mesh->node[0].sent[GV_FRAME_FORWARD],
                      frames); /* heard, and not repeated any more */
    mesh_free(mesh);
}
END_TEST

/* ---- the list
 * ------------------------------------------------------------------------------------- */

static void add(gv_fifo_t *answers, uint64_t seq, bool is_refused)
{
    gv_delivered_t delivered = {.seq = seq, .is_applied = true, .is_refused = is_refused};
    gv__answers_add(answers, &delivered);
}

START_TEST(a_row_of_refusals_is_one_answer)
{
    gv_fifo_t answers;
    gv__answers_init(&answers);
    add(&answers, 3, true);
    add(&answers, 4, true);
    add(&answers, 5, false);
    add(&answers, 6, true);
    ck_assert_uint_eq(gv__fifo_count(&answers), 2);
    const gv_answer_t *first = gv__fifo_peek(&answers);
    ck_assert_uint_eq(first->seq, 3);
    ck_assert_uint_eq(first->count, 2);
    gv__answers_forget(&answers, 4);
    ck_assert_uint_eq(first->seq, 4);
    ck_assert_uint_eq(first->count, 1);
    gv__answers_forget(&answers, 5);
    ck_assert_uint_eq(gv__fifo_count(&answers), 1);
    gv__answers_forget(&answers, 100);
    ck_assert_uint_eq(gv__fifo_count(&answers), 0);
    gv__answers_deinit(&answers);
}
END_TEST

/* Whose host had no time to say what it makes of it: nobody is told that it is safe. */
START_TEST(what_a_channel_that_is_given_up_had_in_hand_counts_as_refused)
{
    gv_channel_in_t in;
    gv__channel_in_init(&in);
    gv_delivered_t entry = {.seq = 7};
    gv__fifo_push(&in.window, &entry);
    entry = (gv_delivered_t){.seq = 8, .is_applied = true};
    gv__fifo_push(&in.window, &entry);
    gv_fifo_t answers = gv__channel_in_take_answers(&in);
    ck_assert_uint_eq(gv__fifo_count(&answers), 1);
    ck_assert_uint_eq(((gv_answer_t *)gv__fifo_peek(&answers))->seq, 7);
    gv__answers_deinit(&answers);
    gv__channel_in_deinit(&in);
}
END_TEST

START_TEST(an_answer_is_found_among_others)
{
    Gv__ForwardAnswer row = GV__FORWARD_ANSWER__INIT;
    row.seq = 5;
    row.count = 3;
    Gv__ForwardAnswer one = GV__FORWARD_ANSWER__INIT;
    one.seq = 10;
    Gv__ForwardAnswer *list[] = {&row, &one};
    Gv__ForwardAck ack = GV__FORWARD_ACK__INIT;
    ack.answers = list;
    ack.n_answers = 2;
    size_t at = 0;
    ck_assert_ptr_null(gv__answer_about(&ack, 4, &at));
    ck_assert_ptr_eq(gv__answer_about(&ack, 5, &at), &row);
    ck_assert_ptr_eq(gv__answer_about(&ack, 7, &at), &row);
    ck_assert_ptr_null(gv__answer_about(&ack, 8, &at));
    ck_assert_ptr_eq(gv__answer_about(&ack, 10, &at), &one);
    ck_assert_ptr_null(gv__answer_about(&ack, 11, &at));
    ck_assert_ptr_null(gv__answer_about(&ack, UINT64_MAX, &at));
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("answer");
    tcase_add_test(tc, who_was_refused_is_told_and_the_others_are_not);
    tcase_add_test(tc, an_answer_that_was_lost_on_its_way_comes_again);
    tcase_add_test(tc, answers_come_through_a_third_node);
    tcase_add_test(tc, a_refusal_that_was_not_heard_is_void_with_the_life_that_said_it);
    tcase_add_test(tc, a_group_without_member_is_handed_back_and_the_other_is_not);
    tcase_add_test(tc, more_answers_than_a_frame_takes_come_one_frame_after_the_other);
    tcase_add_test(tc, a_row_of_refusals_is_one_answer);
    tcase_add_test(tc, what_a_channel_that_is_given_up_had_in_hand_counts_as_refused);
    tcase_add_test(tc, an_answer_is_found_among_others);
    return mesh_run_tests(tc);
}
