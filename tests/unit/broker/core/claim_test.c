/* SPDX-License-Identifier: Apache-2.0 */
#include "houses.h"

/* How a shard waits for its clients' ids, and lets them go. */

static void answer(wire_t *wire, gv_claim_verdict_t verdict)
{
    gv_hub_on_claimed(wire->from->hub, &wire->last_claim, verdict);
    settle_both();
}

/* A client whose CONNECT waits. */
static guest_t *knock(gv_mqtt_version_t version, const char *id)
{
    guest_t *guest = house_visit(&houses[0], version);
    guest_connect(guest, (gv_mqtt_connect_t){.client_id = gv_bytes_text(id), .clean_start = true});
    settle_both();
    ck_assert_str_eq(guest_next(guest), "");
    return guest;
}

static void let_go(guest_t *guest, const gv_claim_t *claim)
{
    gv_letting_t letting = {
        .key = claim->key, .hlc = claim->hlc + 1, .holder = claim->holder, .registrar = 1};
    gv_hub_on_let_go(guest->house->hub, &letting);
    settle_both();
}

START_TEST(connack_waits_for_the_answer_and_what_comes_behind_connect_stays_in_order)
{
    open_both();
    wires[0].holds_claims = true;
    guest_t *alice = knock(GV_MQTT_V311, "alice");
    ck_assert_uint_eq(wires[0].claim_count, 1);
    ck_assert_uint_gt(wires[0].last_claim.hlc, 0);
    guest_push_publish(alice, "t", "early", 1, false);
    settle_both();
    ck_assert_str_eq(guest_next(alice), "");
    answer(&wires[0], GV_CLAIM_GRANTED);
    ck_assert_str_eq(guest_next(alice), "CONNACK 00");
    ck_assert_str_eq(guest_next(alice), "PUBACK 1 00");
    guest_leave(alice);
    settle_both();
    ck_assert_uint_eq(wires[0].release_count, 1);
    ck_assert(gv_holder_equal(wires[0].last_released, wires[0].last_claim.holder));
    close_both();
}
END_TEST

START_TEST(an_answer_that_is_late_lets_in)
{
    open_both();
    wires[0].holds_claims = true;
    guest_t *alice = knock(GV_MQTT_V5, "alice");
    answer(&wires[0], GV_CLAIM_LATE);
    ck_assert_str_eq(guest_next(alice), "CONNACK 00");
    close_both();
}
END_TEST

START_TEST(who_has_lost_is_closed_and_who_is_denied_is_told)
{
    open_both();
    wires[0].holds_claims = true;
    guest_t *alice = knock(GV_MQTT_V5, "alice");
    answer(&wires[0], GV_CLAIM_LOST);
    ck_assert_str_eq(guest_next(alice), "");
    ck_assert(alice->is_gone);
    guest_t *bob = knock(GV_MQTT_V5, "bob");
    answer(&wires[0], GV_CLAIM_DENIED);
    ck_assert_str_eq(guest_next(bob), "CONNACK 87");
    ck_assert(bob->is_gone);
    close_both();
}
END_TEST

START_TEST(who_goes_away_while_it_waits_is_released_and_an_answer_finds_nobody)
{
    open_both();
    wires[0].holds_claims = true;
    guest_t *alice = knock(GV_MQTT_V5, "alice");
    guest_leave(alice);
    settle_both();
    ck_assert_uint_eq(wires[0].release_count, 1);
    /* Somebody else has her place in the table by now. */
    gv_claim_t old = wires[0].last_claim;
    guest_t *bob = knock(GV_MQTT_V5, "bob");
    gv_hub_on_claimed(houses[0].hub, &old, GV_CLAIM_GRANTED);
    settle_both();
    ck_assert_str_eq(guest_next(bob), "");
    answer(&wires[0], GV_CLAIM_GRANTED);
    ck_assert_str_eq(guest_next(bob), "CONNACK 00");
    close_both();
}
END_TEST

START_TEST(who_is_to_let_go_ends_as_in_a_takeover_with_its_will)
{
    open_both();
    guest_t *bob = house_connect(&houses[0], GV_MQTT_V5, "bob", true);
    subscribe(bob, "will", 0);
    guest_t *alice = house_visit(&houses[0], GV_MQTT_V5);
    guest_connect(alice, (gv_mqtt_connect_t){.client_id = GV_BYTES_LITERAL("alice"),
                                             .clean_start = true,
                                             .has_will = true,
                                             .will = {.topic = GV_BYTES_LITERAL("will"),
                                                      .payload = GV_BYTES_LITERAL("gone")}});
    settle_both();
    ck_assert_str_eq(guest_next(alice), "CONNACK 00");
    let_go(alice, &wires[0].last_claim);
    ck_assert_str_eq(guest_next(alice), "DISCONNECT 8e");
    ck_assert(alice->is_gone);
    ck_assert_str_eq(guest_next(bob), "PUBLISH will q0 gone");
    /* It is answered when it is done, and once. */
    ck_assert_uint_eq(wires[0].let_gone_count, 1);
    ck_assert_uint_eq(wires[0].last_let_gone.registrar, 1);
    let_go(alice, &wires[0].last_claim);
    ck_assert_uint_eq(wires[0].let_gone_count, 2);
    ck_assert(!bob->is_gone);
    close_both();
}
END_TEST

START_TEST(a_newer_connect_on_the_node_ends_the_older_before_it_asks)
{
    open_both();
    guest_t *old = house_connect(&houses[0], GV_MQTT_V5, "alice", true);
    wires[0].holds_claims = true;
    gv_holder_t holder = wires[0].last_claim.holder;
    guest_t *young = knock(GV_MQTT_V5, "alice");
    ck_assert_str_eq(guest_next(old), "DISCONNECT 8e");
    ck_assert(gv_holder_equal(wires[0].last_released, holder));
    answer(&wires[0], GV_CLAIM_GRANTED);
    ck_assert_str_eq(guest_next(young), "CONNACK 00");
    close_both();
}
END_TEST

START_TEST(alone_nobody_is_asked_and_all_are_told_when_somebody_comes)
{
    enum {
        CLIENTS = 5
    };
    open_both();
    gv_hub_on_node(houses[0].hub, 1, GV_NODE_HIDDEN);
    settle_both();
    for (int i = 0; i < CLIENTS; i++) {
        char id[16];
        (void)snprintf(id, sizeof(id), "c%d", i);
        (void)house_connect(&houses[0], GV_MQTT_V5, id, true);
    }
    ck_assert_uint_eq(wires[0].claim_count, 0);
    ck_assert_uint_eq(wires[0].enroll_count, 0);
    gv_hub_on_node(houses[0].hub, 1, GV_NODE_ROUTABLE);
    settle_both();
    house_pass(&houses[0], 50);
    settle_both();
    ck_assert_uint_eq(wires[0].enroll_count, CLIENTS);
    ck_assert_uint_gt(wires[0].last_claim.hlc, 0);
    /* Once is enough. */
    gv_hub_on_node(houses[0].hub, 1, GV_NODE_HIDDEN);
    gv_hub_on_node(houses[0].hub, 1, GV_NODE_ROUTABLE);
    settle_both();
    house_pass(&houses[0], 50);
    settle_both();
    ck_assert_uint_eq(wires[0].enroll_count, CLIENTS);
    close_both();
}
END_TEST

START_TEST(an_assigned_id_is_told_and_not_asked_for)
{
    open_both();
    wires[0].holds_claims = true;
    guest_t *guest = house_visit(&houses[0], GV_MQTT_V5);
    guest_connect(guest, (gv_mqtt_connect_t){.clean_start = true});
    settle_both();
    ck_assert_str_eq(guest_next(guest), "CONNACK 00");
    ck_assert_uint_eq(wires[0].claim_count, 0);
    ck_assert_uint_eq(wires[0].enroll_count, 1);
    close_both();
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("claim");
    tcase_add_test(tc, connack_waits_for_the_answer_and_what_comes_behind_connect_stays_in_order);
    tcase_add_test(tc, an_answer_that_is_late_lets_in);
    tcase_add_test(tc, who_has_lost_is_closed_and_who_is_denied_is_told);
    tcase_add_test(tc, who_goes_away_while_it_waits_is_released_and_an_answer_finds_nobody);
    tcase_add_test(tc, who_is_to_let_go_ends_as_in_a_takeover_with_its_will);
    tcase_add_test(tc, a_newer_connect_on_the_node_ends_the_older_before_it_asks);
    tcase_add_test(tc, alone_nobody_is_asked_and_all_are_told_when_somebody_comes);
    tcase_add_test(tc, an_assigned_id_is_told_and_not_asked_for);
    Suite *suite = suite_create("broker/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
