/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/cluster/core/mesh.h"

/* Links: dialling, two links to one peer, whom we refuse, when a link counts as up. */

static mesh_t *mesh_with_seed(const char *seed)
{
    const char *seeds[] = {seed};
    mesh_t *mesh = mesh_new();
    gv_ccore_options_t options;
    mesh_options(&mesh->node[0], &options);
    options.seeds = seeds;
    options.seed_count = 1;
    mesh_start_with(&mesh->node[0], &options);
    return mesh;
}

START_TEST(a_seed_is_dialled_for_ever_until_somebody_answers)
{
    mesh_t *mesh = mesh_with_seed("n1:1");
    mesh_run(mesh, 20000);
    ck_assert_uint_ge(mesh->node[0].dials, 15); /* the longest pause is a second */
    ck_assert_uint_le(mesh->node[0].dials, 50); /* and they do grow */
    mesh_start(mesh, 1);
    mesh_run(mesh, 1500);
    ck_assert(mesh_is_linked(mesh, 0, 1));
    ck_assert(mesh_is_linked(mesh, 1, 0));
    uint64_t dials = mesh->node[0].dials;
    mesh_run(mesh, 3000);
    ck_assert_uint_eq(mesh->node[0].dials, dials);
    mesh_free(mesh);
}
END_TEST

START_TEST(a_node_joins_whom_it_is_told_to_join)
{
    mesh_t *mesh = mesh_new();
    mesh_start(mesh, 0);
    mesh_start(mesh, 1);
    mesh_start(mesh, 2);
    mesh_connect(mesh, 1, 2, 0);
    mesh_run(mesh, 2000);
    ck_assert_uint_eq(mesh_index(mesh, 0, 1), GV_NODE_NONE);
    ck_assert_int_eq(gv_ccore_join(mesh->node[0].core, "n1:1"), GV_OK);
    mesh_run(mesh, 1500);
    ck_assert(mesh_is_linked(mesh, 0, 1));
    ck_assert(mesh_is_linked(mesh, 0, 2));
    ck_assert_int_eq(gv_ccore_join(mesh->node[0].core, "n1:1"), GV_OK); /* nothing new */
    ck_assert_int_eq(gv_ccore_join(mesh->node[0].core, ""), GV_ERR_LIMIT);
    for (unsigned i = 1; i < GV_SEEDS_MAX; i++) {
        char address[16];
        (void)snprintf(address, sizeof(address), "n9:%u", i);
        ck_assert_int_eq(gv_ccore_join(mesh->node[0].core, address), GV_OK);
    }
    ck_assert_int_eq(gv_ccore_join(mesh->node[0].core, "n8:1"), GV_ERR_LIMIT);
    ck_assert_int_eq(gv_ccore_join(mesh->node[0].core, "n9:7"), GV_OK);
    mesh_free(mesh);
}
END_TEST

START_TEST(a_member_heard_of_is_dialled_until_the_mesh_is_full)
{
    mesh_t *mesh = mesh_new();
    for (size_t i = 0; i < 4; i++) {
        mesh_start(mesh, i);
    }
    mesh_connect(mesh, 0, 1, 0);
    mesh_connect(mesh, 1, 2, 0);
    mesh_connect(mesh, 2, 3, 0);
    mesh_run(mesh, 1500);
    for (size_t i = 0; i < 4; i++) {
        for (size_t j = 0; j < 4; j++) {
            ck_assert(i == j || mesh_is_linked(mesh, i, j));
        }
    }
    mesh_free(mesh);
}
END_TEST

START_TEST(our_own_address_among_the_seeds_is_not_dialled)
{
    mesh_t *mesh = mesh_with_seed("n0:1");
    mesh_run(mesh, 3000);
    ck_assert_uint_eq(mesh->node[0].dials, 0);
    mesh_free(mesh);
}
END_TEST

START_TEST(of_two_crossing_links_the_lower_ids_stays)
{
    for (int order = 0; order < 2; order++) {
        mesh_t *mesh = mesh_new();
        mesh_start(mesh, 0);
        mesh_start(mesh, 1);
        gv_link_id_t first = mesh_connect(mesh, order == 0 ? 0 : 1, order == 0 ? 1 : 0, 77);
        gv_link_id_t second = mesh_connect(mesh, order == 0 ? 1 : 0, order == 0 ? 0 : 1, 78);
        gv_link_id_t by_lower = order == 0 ? first : second;
        gv_link_id_t by_higher = order == 0 ? second : first;
        mesh_run(mesh, 500);
        ck_assert(mesh->is_open[by_lower] && mesh->is_open[by_lower ^ 1]);
        ck_assert(!mesh->is_open[by_higher] && !mesh->is_open[by_higher ^ 1]);
        ck_assert(mesh_is_linked(mesh, 0, 1));
        ck_assert_int_eq(mesh_state(mesh, 0, 1), GV_MEMBER_ALIVE);
        ck_assert_int_eq(mesh_state(mesh, 1, 0), GV_MEMBER_ALIVE);
        mesh_free(mesh);
    }
}
END_TEST

START_TEST(a_link_that_works_is_not_given_up_for_a_second_one)
{
    mesh_t *mesh = mesh_of(2);
    gv_link_id_t second = mesh_connect(mesh, 0, 1, 99);
    mesh_run(mesh, 100);
    ck_assert(!mesh->is_open[second]);
    ck_assert(mesh_is_linked(mesh, 0, 1));
    ck_assert_uint_eq(mesh->node[0].closes, 1);
    mesh_free(mesh);
}
END_TEST

static gv_link_close_t refusal_of(const gv_peer_identity_t *peer)
{
    mesh_t *mesh = mesh_new();
    mesh_start(mesh, 0);
    mesh->owner[2] = 0;
    gv_ccore_link_opened(mesh->node[0].core, 2, peer, 0);
    ck_assert_uint_eq(mesh->node[0].closes, 1);
    gv_link_close_t reason = mesh->node[0].last_close;
    ck_assert_uint_eq(gv_ccore_members(mesh->node[0].core), 1);
    mesh_free(mesh);
    return reason;
}

START_TEST(strangers_are_refused_with_a_reason)
{
    mesh_t *mesh = mesh_new();
    gv_peer_identity_t peer = mesh->node[1].identity;
    gv_peer_identity_t self = mesh->node[0].identity;
    mesh_free(mesh);

    gv_peer_identity_t other = peer;
    (void)snprintf(other.cluster, sizeof(other.cluster), "another");
    ck_assert_int_eq(refusal_of(&other), GV_LINK_CLOSE_CLUSTER);
    other = peer;
    other.protocol = GV_PROTOCOL_VERSION + 1;
    ck_assert_int_eq(refusal_of(&other), GV_LINK_CLOSE_VERSION);
    ck_assert_int_eq(refusal_of(&self), GV_LINK_CLOSE_SELF);
    self.incarnation.boot_id++;
    ck_assert_int_eq(refusal_of(&self), GV_LINK_CLOSE_DUPLICATE);
}
END_TEST

START_TEST(a_second_process_with_a_live_nodes_identity_is_refused)
{
    mesh_t *mesh = mesh_of(2);
    gv_peer_identity_t copy = mesh->node[1].identity;
    copy.incarnation = (gv_incarnation_t){.start_counter = 2, .boot_id = 4711};
    gv_link_id_t id = mesh->next_link;
    mesh->next_link += 2;
    mesh->owner[id] = 0;
    mesh->owner[id + 1] = 3;
    gv_ccore_link_opened(mesh->node[0].core, id, &copy, 0);
    ck_assert_int_eq(mesh->node[0].last_close, GV_LINK_CLOSE_DUPLICATE);
    ck_assert_uint_eq(mesh->node[0].events[GV_CCORE_EVENT_DUPLICATE_IDENTITY], 1);
    mesh_run(mesh, 200);
    ck_assert(mesh_is_linked(mesh, 0, 1)); /* the first one is not disturbed */
    ck_assert_uint_eq(mesh_status(mesh, 0, 1).view.incarnation.boot_id, 101);

    /* Once the first one is silent, the second is let in. */
    mesh_kill(mesh, 1, false);
    mesh_run(mesh, 800);
    id = mesh->next_link;
    mesh->next_link += 2;
    mesh->owner[id] = 0;
    mesh->owner[id + 1] = 3;
    mesh->is_open[id] = true;
    gv_ccore_link_opened(mesh->node[0].core, id, &copy, 0);
    ck_assert_uint_eq(mesh_status(mesh, 0, 1).view.incarnation.boot_id, 4711);
    mesh_free(mesh);
}
END_TEST

START_TEST(who_is_refused_does_not_dial_its_seed_faster_and_faster)
{
    mesh_t *mesh = mesh_of(2);
    const char *seeds[] = {"n0:1"};
    gv_ccore_options_t options;
    /* A copy of node 1's data directory was started. */
    memcpy(&mesh->node[2].identity.id, &mesh->node[1].identity.id, sizeof(gv_node_id_t));
    mesh_options(&mesh->node[2], &options);
    options.seeds = seeds;
    options.seed_count = 1;
    mesh_start_with(&mesh->node[2], &options);
    mesh_run(mesh, 5000);
    uint64_t dials = mesh->node[2].dials;
    mesh_run(mesh, 10000);
    ck_assert_uint_le(mesh->node[2].dials - dials, 40); /* one address, two ways to it */
    ck_assert_uint_ge(mesh->node[2].dials - dials, 5);
    ck_assert(mesh_is_linked(mesh, 0, 1));
    mesh_free(mesh);
}
END_TEST

START_TEST(who_is_told_that_its_identity_is_taken_reports_it)
{
    mesh_t *mesh = mesh_new();
    mesh_start(mesh, 0);
    gv_link_id_t link = mesh_play(mesh, 1, 0);
    char text[] = "node id in use by another live node";
    Gv__Refused goodbye = GV__REFUSED__INIT;
    goodbye.reason = GV_LINK_CLOSE_DUPLICATE + 1;
    goodbye.text = text;
    mesh_say(mesh, 0, link, GV_FRAME_GOODBYE, &goodbye.base);
    ck_assert_uint_eq(mesh->node[0].events[GV_CCORE_EVENT_DUPLICATE_IDENTITY], 1);
    ck_assert_int_eq(mesh_state(mesh, 0, 1), GV_MEMBER_ALIVE); /* a goodbye is no death */
    mesh_free(mesh);
}
END_TEST

START_TEST(a_link_is_up_only_when_our_stamps_come_back)
{
    mesh_t *mesh = mesh_of(3);
    ck_assert(mesh_is_linked(mesh, 0, 1));
    mesh->cut[0][1] = true; /* 1 hears nothing of 0, but 0 hears 1 */
    mesh_run(mesh, 2000);
    ck_assert(!mesh_is_linked(mesh, 0, 1));
    ck_assert(!mesh_is_linked(mesh, 1, 0));
    ck_assert_int_eq(mesh_state(mesh, 0, 1), GV_MEMBER_ALIVE);
    mesh->cut[0][1] = false;
    mesh_run(mesh, 3000);
    ck_assert(mesh_is_linked(mesh, 0, 1));
    ck_assert(mesh_is_linked(mesh, 1, 0));
    mesh_free(mesh);
}
END_TEST

START_TEST(the_round_trip_is_measured)
{
    mesh_t *mesh = mesh_of(2);
    mesh_run(mesh, 3000);
    uint32_t rtt_us = mesh_status(mesh, 0, 1).view.rtt_us;
    ck_assert_uint_ge(rtt_us, MESH_STEP_MS * 1000);
    ck_assert_uint_le(rtt_us, 3 * MESH_STEP_MS * 1000);
    mesh_free(mesh);
}
END_TEST

START_TEST(an_echo_of_what_we_never_sent_is_malformed)
{
    mesh_t *mesh = mesh_new();
    mesh_start(mesh, 0);
    gv_link_id_t link = mesh_play(mesh, 1, 0);
    Gv__Heartbeat heartbeat = GV__HEARTBEAT__INIT;
    heartbeat.echo = mesh->now_ms + 1000;
    mesh_say(mesh, 0, link, GV_FRAME_HEARTBEAT, &heartbeat.base);
    ck_assert_int_eq(mesh->node[0].last_close, GV_LINK_CLOSE_MALFORMED);
    mesh_free(mesh);
}
END_TEST

START_TEST(a_mute_link_is_closed_and_dialled_anew)
{
    mesh_t *mesh = mesh_of(2);
    mesh_cut(mesh, 0, 1, true);
    mesh_run(mesh, 5000);
    ck_assert_int_eq(mesh->node[0].last_close, GV_LINK_CLOSE_SILENT);
    mesh_cut(mesh, 0, 1, false);
    mesh_run(mesh, 1500);
    ck_assert(mesh_is_linked(mesh, 0, 1));
    mesh_free(mesh);
}
END_TEST

START_TEST(a_node_replaced_under_the_same_address_is_not_called_any_more)
{
    mesh_t *mesh = mesh_of(2);
    mesh_kill(mesh, 1, true);
    ck_assert_uint_ne(mesh_until(mesh, 0, 1, GV_MEMBER_DEAD), UINT64_MAX);
    gv_node_index_t old = mesh_index(mesh, 0, 1);
    memset(mesh->node[1].identity.id.bytes, 0x77, GV_NODE_ID_SIZE);
    mesh->node[1].identity.incarnation.boot_id = 555;
    mesh_start(mesh, 1);
    mesh_run(mesh, 1500); /* the call for the old one finds the new one */
    ck_assert(mesh_is_linked(mesh, 0, 1));
    ck_assert_uint_ne(mesh_index(mesh, 0, 1), old);
    uint64_t dials = mesh->node[0].dials;
    uint64_t closes = mesh->node[0].closes;
    mesh_run(mesh, 5000);
    ck_assert_uint_eq(mesh->node[0].dials, dials);
    ck_assert_uint_eq(mesh->node[0].closes, closes);
    mesh_free(mesh);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("peers");
    tcase_add_test(tc, a_seed_is_dialled_for_ever_until_somebody_answers);
    tcase_add_test(tc, a_node_joins_whom_it_is_told_to_join);
    tcase_add_test(tc, a_member_heard_of_is_dialled_until_the_mesh_is_full);
    tcase_add_test(tc, our_own_address_among_the_seeds_is_not_dialled);
    tcase_add_test(tc, of_two_crossing_links_the_lower_ids_stays);
    tcase_add_test(tc, a_link_that_works_is_not_given_up_for_a_second_one);
    tcase_add_test(tc, strangers_are_refused_with_a_reason);
    tcase_add_test(tc, a_second_process_with_a_live_nodes_identity_is_refused);
    tcase_add_test(tc, who_is_refused_does_not_dial_its_seed_faster_and_faster);
    tcase_add_test(tc, who_is_told_that_its_identity_is_taken_reports_it);
    tcase_add_test(tc, a_link_is_up_only_when_our_stamps_come_back);
    tcase_add_test(tc, the_round_trip_is_measured);
    tcase_add_test(tc, an_echo_of_what_we_never_sent_is_malformed);
    tcase_add_test(tc, a_mute_link_is_closed_and_dialled_anew);
    tcase_add_test(tc, a_node_replaced_under_the_same_address_is_not_called_any_more);
    return mesh_run_tests(tc);
}
