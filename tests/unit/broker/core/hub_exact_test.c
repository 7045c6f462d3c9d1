/* SPDX-License-Identifier: Apache-2.0 */
/* QoS 2 of persistent publishers over two nodes: on disk first, and known when it comes again. */
#include "broker/core/hub.h"

#include "houses.h"

static uint64_t waiting_on_disk(void)
{
    return gv_counter_get(&gv_outbox_stats(gv_hub_outbox(houses[0].hub))->messages);
}

/* Publisher and one who stays on this node, and all kinds of receivers on the other. */
START_TEST(what_must_not_come_twice_reaches_everybody_once)
{
    open_both();
    guest_t *alice = house_connect(&houses[0], GV_MQTT_V5, "alice", false);
    guest_t *here = house_connect(&houses[0], GV_MQTT_V5, "here", false);
    guest_t *bob = house_connect(&houses[1], GV_MQTT_V5, "bob", false);
    guest_t *clean = house_connect(&houses[1], GV_MQTT_V5, "clean", true);
    guest_t *member = house_connect(&houses[1], GV_MQTT_V5, "member", false);
    subscribe(here, "t", 2);
    subscribe(bob, "t", 2);
    subscribe(clean, "t", 2);
    subscribe(member, "$share/group/t", 2);
    for (int i = 0; i < 3; i++) {
        guest_publish(alice, "t", i == 0 ? "one" : i == 1 ? "two" : "three", 2, i == 2);
        settle_both();
    }
    ck_assert_str_eq(guest_next(alice), "PUBREC 1 00");
    ck_assert_str_eq(guest_next(alice), "PUBREC 2 00");
    ck_assert_str_eq(guest_next(alice), "PUBREC 3 00");
    ck_assert_str_eq(guest_next(alice), "");
    guest_t *receivers[] = {here, bob, clean, member};
    for (size_t i = 0; i < 4; i++) {
        ck_assert_str_eq(guest_next(receivers[i]), "PUBLISH t q2 one");
        ck_assert_str_eq(guest_next(receivers[i]), "PUBLISH t q2 two");
        ck_assert_str_eq(guest_next(receivers[i]), "PUBLISH t q2 three");
        ck_assert_str_eq(guest_next(receivers[i]), "");
    }
    ck_assert_uint_eq(waiting_on_disk(), 0);
    guest_t *late = house_connect(&houses[1], GV_MQTT_V5, "late", true);
    subscribe(late, "t", 2);
    ck_assert_str_eq(guest_next(late), "PUBLISH t q2 r three");
    close_both();
}
END_TEST

START_TEST(what_is_on_disk_need_not_wait_for_the_other_node)
{
    open_both();
    guest_t *alice = house_connect(&houses[0], GV_MQTT_V5, "alice", false);
    guest_t *bob = house_connect(&houses[1], GV_MQTT_V5, "bob", false);
    subscribe(bob, "t", 2);
    houses[0].is_store_slow = true;
    guest_publish(alice, "t", "one", 2, false);
    settle_both();
    ck_assert_str_eq(guest_next(alice), "");
    ck_assert_uint_eq(wires[0].publish_count, 0);
    houses[0].is_store_slow = false;
    wires[0].is_cut = true;
    settle_both();
    ck_assert_str_eq(guest_next(alice), "PUBREC 1 00");
    ck_assert_uint_eq(wires[0].publish_count, 1);
    guest_publish(alice, "t", "two", 2, false);
    settle_both();
    ck_assert_str_eq(guest_next(alice), "PUBREC 2 00");

    /* It dies; then it comes back. */
    for (size_t i = 0; i < 2; i++) {
        gv_hub_on_confirmed(houses[0].hub, wires[0].sent[i].token, 1, GV_FORWARD_IN_DOUBT, NULL);
    }
    wires[0].sent_count = 0;
    gv_hub_on_node(houses[0].hub, 1, GV_NODE_HIDDEN);
    settle_both();
    ck_assert_uint_eq(waiting_on_disk(), 2);
    guest_publish(alice, "t", "three", 2, false);
    settle_both();
    ck_assert_str_eq(guest_next(alice), "PUBREC 3 00");
    wires[0].is_cut = false;
    gv_hub_on_node(houses[0].hub, 1, GV_NODE_ROUTABLE);
    settle_both();
    ck_assert_str_eq(guest_next(bob), "PUBLISH t q2 one");
    ck_assert_str_eq(guest_next(bob), "PUBLISH t q2 two");
    ck_assert_str_eq(guest_next(bob), "PUBLISH t q2 three");
    ck_assert_str_eq(guest_next(bob), "");
    ck_assert_uint_eq(waiting_on_disk(), 0);
    close_both();
}
END_TEST

/* It was delivered, and the answer was lost: as when a node dies, or is thought to. */
START_TEST(what_has_come_already_is_known)
{
    open_both();
    guest_t *alice = house_connect(&houses[0], GV_MQTT_V5, "alice", false);
    guest_t *bob = house_connect(&houses[1], GV_MQTT_V5, "bob", false);
    subscribe(bob, "t", 2);
    wires[0].is_mute = true;
    guest_publish(alice, "t", "one", 2, false);
    settle_both();
    ck_assert_str_eq(guest_next(bob), "PUBLISH t q2 one");
    ck_assert_uint_eq(waiting_on_disk(), 1);
    wires[0].is_mute = false;
    gv_hub_on_confirmed(houses[0].hub, wires[0].sent[0].token, 1, GV_FORWARD_IN_DOUBT, NULL);
    wires[0].sent_count = 0;
    settle_both();
    ck_assert_uint_eq(waiting_on_disk(), 0);
    ck_assert_str_eq(guest_next(bob), "");
    ck_assert_uint_eq(gv_counter_get(&gv_hub_stats(houses[1].hub)->received_again), 1);
    close_both();
}
END_TEST

/* Those who are not on the disk would get it with each try. */
START_TEST(a_full_node_gives_it_to_nobody)
{
    open_both();
    guest_t *alice = house_connect(&houses[0], GV_MQTT_V5, "alice", false);
    guest_t *bob = house_connect(&houses[1], GV_MQTT_V5, "bob", false);
    guest_t *clean = house_connect(&houses[1], GV_MQTT_V5, "clean", true);
    subscribe(bob, "t", 2);
    subscribe(clean, "t", 2);
    gv_mem_store_set_fault(houses[1].store, GV_ERR_FULL, 100);
    guest_publish(alice, "t", "one", 2, false); /* that it is full is found with this one */
    settle_both();
    ck_assert_str_eq(guest_next(alice), "PUBREC 1 00");
    ck_assert_str_eq(guest_next(clean), "PUBLISH t q2 one");
    for (int i = 0; i < 10; i++) {
        house_pass(&houses[0], 1000); /* another try */
        house_pass(&houses[1], 1000);
        settle_both();
    }
    ck_assert_str_eq(guest_next(clean), "");
    ck_assert_str_eq(guest_next(bob), "");
    ck_assert_uint_eq(waiting_on_disk(), 1);
    gv_mem_store_set_fault(houses[1].store, GV_OK, 0);
    for (int i = 0; i < 3; i++) {
        house_pass(&houses[0], 1000);
        house_pass(&houses[1], 1000);
        settle_both();
    }
    ck_assert_str_eq(guest_next(bob), "PUBLISH t q2 one");
    ck_assert_str_eq(guest_next(bob), "");
    ck_assert_uint_eq(waiting_on_disk(), 0);
    close_both();
}
END_TEST

/* QoS 0 is not confirmed by other nodes, so it must not wait in a box for that. */
START_TEST(wills_go_as_their_qos_says)
{
    static const char *const expected[] = {"PUBLISH will q0 gone", "PUBLISH will q1 gone",
                                           "PUBLISH will q2 gone"};
    open_both();
    guest_t *bob = house_connect(&houses[1], GV_MQTT_V5, "bob", false);
    subscribe(bob, "will", 2);
    for (uint8_t qos = 0; qos <= 2; qos++) {
        guest_t *alice = house_visit(&houses[0], GV_MQTT_V5);
        gv_mqtt_connect_t connect = {.client_id = GV_BYTES_LITERAL("alice"), .has_will = true};
        gv_mqtt_props_set_number(&connect.props, GV_MQTT_PROP_SESSION_EXPIRY, 3600);
        connect.will.topic = GV_BYTES_LITERAL("will");
        connect.will.payload = GV_BYTES_LITERAL("gone");
        connect.will.qos = qos;
        guest_connect(alice, connect);
        settle_both();
        guest_leave(alice);
        settle_both();
        ck_assert_str_eq(guest_next(bob), expected[qos]);
        ck_assert_str_eq(guest_next(bob), "");
        ck_assert_uint_eq(waiting_on_disk(), 0);
    }
    close_both();
}
END_TEST

START_TEST(too_much_for_a_node_is_refused_before_it_goes_anywhere)
{
    enum {
        MESSAGES = 150, /* of 8000 bytes are more than a box takes */
    };
    static char large[8000];
    memset(large, 'x', sizeof(large) - 1);
    open_both();
    guest_t *alice = house_connect(&houses[0], GV_MQTT_V5, "alice", false);
    guest_t *here = house_connect(&houses[0], GV_MQTT_V5, "here", true);
    guest_t *bob = house_connect(&houses[1], GV_MQTT_V5, "bob", false);
    subscribe(here, "small", 2);
    subscribe(bob, "#", 2);
    gv_hub_on_node(houses[0].hub, 1, GV_NODE_HIDDEN);
    unsigned refused = 0;
    for (unsigned i = 1; i <= MESSAGES; i++) {
        guest_publish(alice, "large", large, 2, false);
        settle_both();
        unsigned packet_id = 0;
        unsigned reason = 0;
        ck_assert_int_eq(sscanf(guest_next(alice), "PUBREC %u %x", &packet_id, &reason), 2);
        ck_assert_uint_eq(packet_id, i);
        refused += reason == GV_MQTT_QUOTA_EXCEEDED;
        ck_assert(reason == (refused > 0 ? GV_MQTT_QUOTA_EXCEEDED : 0));
        if (reason == 0) {
            guest_ack(alice, GV_MQTT_PUBREL, (uint16_t)i);
            settle_both();
            ck_assert_int_eq(strncmp(guest_next(alice), "PUBCOMP", 7), 0);
        }
    }
    ck_assert_uint_gt(refused, 0);
    ck_assert_uint_gt(waiting_on_disk(), 100);
    guest_publish(alice, "small", "x", 2, false);
    settle_both();
    ck_assert_str_eq(guest_next(alice), "PUBREC 151 97");
    ck_assert_str_eq(guest_next(here), "");
    gv_hub_on_node(houses[0].hub, 1, GV_NODE_ROUTABLE);
    settle_both();
    alice->next_packet_id--;
    guest_publish(alice, "small", "y", 2, false); /* the packet id is free again */
    settle_both();
    ck_assert_str_eq(guest_next(alice), "PUBREC 151 00");
    ck_assert_str_eq(guest_next(here), "PUBLISH small q2 y");
    close_both();
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("exact");
    tcase_add_test(tc, what_must_not_come_twice_reaches_everybody_once);
    tcase_add_test(tc, what_is_on_disk_need_not_wait_for_the_other_node);
    tcase_add_test(tc, what_has_come_already_is_known);
    tcase_add_test(tc, a_full_node_gives_it_to_nobody);
    tcase_add_test(tc, wills_go_as_their_qos_says);
    tcase_add_test(tc, too_much_for_a_node_is_refused_before_it_goes_anywhere);
    Suite *suite = suite_create("broker/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
