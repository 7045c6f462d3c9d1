/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/cluster/core/mesh.h"

#include <signal.h>

/* The turn, the dispatch of frames, and what bad frames do. */

START_TEST(a_new_core_calls_no_port_and_wants_to_be_woken_soon)
{
    mesh_t *mesh = mesh_new();
    mesh_start(mesh, 0);
    ck_assert_uint_eq(mesh->node[0].dials, 0);
    uint64_t deadline_ms = gv_ccore_next_deadline_ms(mesh->node[0].core);
    ck_assert_uint_ge(deadline_ms, mesh->now_ms);
    ck_assert_uint_le(deadline_ms, mesh->now_ms + 100);
    ck_assert_uint_eq(gv_ccore_members(mesh->node[0].core), 1);
    mesh_free(mesh);
}
END_TEST

START_TEST(frames_of_unknown_links_are_ignored)
{
    mesh_t *mesh = mesh_new();
    mesh_start(mesh, 0);
    gv_ccore_link_frame(mesh->node[0].core, 99, GV_FRAME_FACTS, GV_BYTES_LITERAL("garbage"));
    gv_ccore_link_closed(mesh->node[0].core, 99);
    gv_ccore_dial_failed(mesh->node[0].core, 99);
    ck_assert_uint_eq(mesh->node[0].closes, 0);
    ck_assert_uint_eq(gv_ccore_stats(mesh->node[0].core)->frames_bad, 0);
    mesh_free(mesh);
}
END_TEST

START_TEST(a_malformed_frame_of_any_kind_closes_the_link_with_a_reason)
{
    static const gv_frame_kind_t kinds[] = {
        GV_FRAME_HEARTBEAT,    GV_FRAME_FACTS,         GV_FRAME_VIEW,
        GV_FRAME_PROBE,        GV_FRAME_GOODBYE,       GV_FRAME_PROBE_ANSWER,
        GV_FRAME_DIGEST,       GV_FRAME_TABLE_PIECE,   GV_FRAME_TABLE_ACK,
        GV_FRAME_TABLE_ANSWER, GV_FRAME_FORWARD,       GV_FRAME_TABLE_REQUEST,
        GV_FRAME_FORWARD_ACK,  GV_FRAME_FORWARD_RELAY, GV_FRAME_FORWARD_ACK_RELAY,
        GV_FRAME_HELLO,        GV_FRAME_PROOF,         GV_FRAME_REFUSED,
    };
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        mesh_t *mesh = mesh_of(2);
        gv_link_id_t link = mesh_play(mesh, 3, 0);
        gv_ccore_link_frame(mesh->node[0].core, link, kinds[i],
                            GV_BYTES_LITERAL("\x0a\xff\xff\xff\xff\x0f nonsense"));
        ck_assert_uint_eq(mesh->node[0].closes, 1);
        ck_assert_int_eq(mesh->node[0].last_close, GV_LINK_CLOSE_MALFORMED);
        ck_assert_uint_eq(gv_ccore_stats(mesh->node[0].core)->frames_bad, 1);
        mesh_run(mesh, 100);
        ck_assert(mesh_is_linked(mesh, 0, 1)); /* nobody else is disturbed */
        mesh_free(mesh);
    }
}
END_TEST

START_TEST(a_kind_nobody_knows_is_skipped)
{
    mesh_t *mesh = mesh_of(2);
    gv_link_id_t link = mesh_play(mesh, 3, 0);
    gv_ccore_link_frame(mesh->node[0].core, link, (gv_frame_kind_t)200, GV_BYTES_LITERAL("x"));
    ck_assert_uint_eq(mesh->node[0].closes, 0);
    mesh_free(mesh);
}
END_TEST

START_TEST(an_oversized_frame_closes_the_link)
{
    mesh_t *mesh = mesh_of(2);
    gv_link_id_t link = mesh_play(mesh, 3, 0);
    uint8_t *body = gv_xcalloc(1, GV_FRAME_BODY_MAX + 1);
    gv_ccore_link_frame(mesh->node[0].core, link, (gv_frame_kind_t)200,
                        gv_bytes(body, GV_FRAME_BODY_MAX + 1));
    ck_assert_uint_eq(mesh->node[0].closes, 1);
    gv_free(body);
    mesh_free(mesh);
}
END_TEST

/* A quarter of a million empty rows in one frame must not become gigabytes. */
START_TEST(a_frame_of_very_many_parts_is_bounded)
{
    mesh_t *mesh = mesh_of(2);
    gv_link_id_t link = mesh_play(mesh, 3, 0);
    uint8_t *body = gv_xalloc(GV_FRAME_BODY_MAX);
    for (size_t i = 0; i < GV_FRAME_BODY_MAX; i += 2) {
        body[i] = 0x52; /* field 10, bytes */
        body[i + 1] = 0;
    }
    gv_ccore_link_frame(mesh->node[0].core, link, GV_FRAME_TABLE_PIECE,
                        gv_bytes(body, GV_FRAME_BODY_MAX));
    ck_assert_uint_eq(mesh->node[0].closes, 1);
    gv_free(body);
    mesh_free(mesh);
}
END_TEST

START_TEST(leaving_tells_everybody_and_answers_what_waits)
{
    mesh_t *mesh = mesh_of(2);
    mesh->node[1].holds_back = true;
    mesh_publish(mesh, 0, 1, 1, 1, GV_BYTES_LITERAL("x"));
    mesh_run(mesh, 50);
    gv_ccore_leave(mesh->node[0].core);
    gv_ccore_leave(mesh->node[0].core); /* once is enough */
    gv_ccore_flush(mesh->node[0].core);
    ck_assert_uint_eq(mesh->node[0].confirmed[GV_FORWARD_IN_DOUBT], 1);
    ck_assert_uint_eq(mesh->node[0].lost, 0); /* nobody is left to do anything about it */
    ck_assert_uint_eq(mesh->node[0].sent[GV_FRAME_GOODBYE], 1);
    ck_assert_int_eq(mesh->node[0].last_close, GV_LINK_CLOSE_LEAVING);
    uint64_t dials = mesh->node[0].dials;
    mesh_run(mesh, 3000);
    ck_assert_uint_eq(mesh->node[0].dials, dials);
    ck_assert_int_eq(mesh_state(mesh, 1, 0), GV_MEMBER_LEFT);
    mesh_free(mesh);
}
END_TEST

static void reenter(uint64_t token, bool in_time, void *arg)
{
    (void)token;
    (void)in_time;
    gv_ccore_flush(((mesh_node_t *)arg)->core);
}

START_TEST(a_port_that_calls_back_in_aborts)
{
    mesh_t *mesh = mesh_new();
    gv_ccore_options_t options;
    mesh_options(&mesh->node[0], &options);
    options.ports.barrier = reenter;
    mesh_start_with(&mesh->node[0], &options);
    gv_ccore_barrier(mesh->node[0].core, 1);
    gv_ccore_flush(mesh->node[0].core);
}
END_TEST

START_TEST(time_that_goes_back_aborts)
{
    mesh_t *mesh = mesh_new();
    mesh_start(mesh, 0);
    gv_ccore_tick(mesh->node[0].core, mesh->now_ms - 1);
}
END_TEST

START_TEST(every_state_and_reason_has_a_text)
{
    for (int state = GV_MEMBER_ALIVE; state <= GV_MEMBER_LEFT; state++) {
        ck_assert_str_ne(gv_member_state_text((gv_member_state_t)state), "unknown");
    }
    for (int reason = GV_LINK_CLOSE_MALFORMED; reason <= GV_LINK_CLOSE_TIMEOUT; reason++) {
        ck_assert_str_ne(gv_link_close_text((gv_link_close_t)reason), "unknown reason");
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("core");
    tcase_add_test(tc, a_new_core_calls_no_port_and_wants_to_be_woken_soon);
    tcase_add_test(tc, frames_of_unknown_links_are_ignored);
    tcase_add_test(tc, a_malformed_frame_of_any_kind_closes_the_link_with_a_reason);
    tcase_add_test(tc, a_kind_nobody_knows_is_skipped);
    tcase_add_test(tc, an_oversized_frame_closes_the_link);
    tcase_add_test(tc, a_frame_of_very_many_parts_is_bounded);
    tcase_add_test(tc, leaving_tells_everybody_and_answers_what_waits);
    tcase_add_test_raise_signal(tc, a_port_that_calls_back_in_aborts, SIGABRT);
    tcase_add_test_raise_signal(tc, time_that_goes_back_aborts, SIGABRT);
    tcase_add_test(tc, every_state_and_reason_has_a_text);
    return mesh_run_tests(tc);
}
