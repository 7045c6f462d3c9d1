/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/hub.h"

#include "houses.h"

START_TEST(a_publish_here_reaches_a_subscriber_there_once)
{
    open_both();
    guest_t *alice = house_connect(&houses[0], GV_MQTT_V5, "alice", true);
    guest_t *bob = house_connect(&houses[1], GV_MQTT_V5, "bob", true);
    subscribe(bob, "a/+", 1);
    subscribe(bob, "a/#", 1);
    guest_publish(alice, "a/b", "hello", 1, false);
    settle_both();
    /* Two filters match there, the message travels once and the session gets one copy. */
    ck_assert_uint_eq(wires[0].publish_count, 1);
    ck_assert_str_eq(guest_next(bob), "PUBLISH a/b q1 hello");
    ck_assert_str_eq(guest_next(bob), "");
    ck_assert_str_eq(guest_next(alice), "PUBACK 1 00");
    close_both();
}
END_TEST

START_TEST(the_acknowledgement_waits_for_the_other_node)
{
    open_both();
    guest_t *alice = house_connect(&houses[0], GV_MQTT_V5, "alice", true);
    guest_t *bob = house_connect(&houses[1], GV_MQTT_V5, "bob", true);
    subscribe(bob, "t", 1);
    wires[0].is_cut = true;
    guest_publish(alice, "t", "x", 1, false);
    settle_both();
    ck_assert_str_eq(guest_next(alice), "");
    /* The node is gone for good: there is nobody to wait for. */
    gv_hub_on_confirmed(houses[0].hub, wires[0].sent[0].token, 1, GV_FORWARD_GONE, NULL);
    settle_both();
    ck_assert_str_eq(guest_next(alice), "PUBACK 1 00");
    guest_publish(alice, "t", "y", 1, false);
    settle_both();
    gv_hub_on_confirmed(houses[0].hub, wires[0].sent[1].token, 1, GV_FORWARD_FULL, NULL);
    settle_both();
    ck_assert_str_eq(guest_next(alice), "PUBACK 2 97");
    close_both();
}
END_TEST

START_TEST(suback_waits_for_the_other_node)
{
    open_both();
    guest_t *bob = house_connect(&houses[1], GV_MQTT_V5, "bob", true);
    wires[1].is_silent = true;
    guest_push_subscribe(bob, (gv_mqtt_subscription_t){.text = GV_BYTES_LITERAL("t")}, 0);
    settle_both();
    ck_assert_str_eq(guest_next(bob), "");
    wires[1].is_silent = false;
    settle_both();
    ck_assert_str_eq(guest_next(bob), "SUBACK 00");
    close_both();
}
END_TEST

/* The parcels are with the hub then.  Leaks show in the asan build with CK_FORK=no. */
START_TEST(a_node_may_end_while_others_have_not_confirmed_its_routes)
{
    open_both();
    guest_t *bob = house_connect(&houses[1], GV_MQTT_V5, "bob", true);
    wires[1].is_silent = true;
    guest_push_subscribe(bob, (gv_mqtt_subscription_t){.text = GV_BYTES_LITERAL("t")}, 0);
    settle_both();
    ck_assert_uint_eq(wires[1].barrier_count, 1);
    house_close(&houses[1]);
    house_close(&houses[0]);
}
END_TEST

START_TEST(a_dead_node_attracts_nothing_and_its_rows_come_back_with_it)
{
    open_both();
    guest_t *alice = house_connect(&houses[0], GV_MQTT_V5, "alice", true);
    guest_t *bob = house_connect(&houses[1], GV_MQTT_V5, "bob", true);
    subscribe(bob, "t", 0);
    gv_hub_on_node(houses[0].hub, 1, GV_NODE_HIDDEN);
    guest_publish(alice, "t", "x", 1, false);
    settle_both();
    ck_assert_uint_eq(wires[0].publish_count, 0);
    ck_assert_str_eq(guest_next(alice), "PUBACK 1 10");
    gv_hub_on_node(houses[0].hub, 1, GV_NODE_ROUTABLE);
    guest_publish(alice, "t", "y", 0, false);
    settle_both();
    ck_assert_str_eq(guest_next(bob), "PUBLISH t q0 y");
    close_both();
}
END_TEST

START_TEST(a_group_over_two_nodes_gets_one_copy)
{
    open_both();
    guest_t *alice = house_connect(&houses[0], GV_MQTT_V5, "alice", true);
    guest_t *here = house_connect(&houses[0], GV_MQTT_V5, "here", true);
    guest_t *there = house_connect(&houses[1], GV_MQTT_V5, "there", true);
    subscribe(here, "$share/g/t/#", 1);
    subscribe(there, "$share/g/t/#", 1);
    ck_assert_uint_eq(wires[1].last_value, 2); /* one member online */
    int counts[2] = {0};
    for (int i = 0; i < 60; i++) {
        guest_publish(alice, "t/1", "x", 1, false);
        settle_both();
        for (guest_t *member = here;; member = there) {
            while (*guest_next(member) != '\0') {
                counts[member == there]++;
                guest_ack(member, GV_MQTT_PUBACK, member->last_packet_id);
            }
            if (member == there) {
                break;
            }
        }
    }
    ck_assert_int_eq(counts[0] + counts[1], 60);
    ck_assert_int_gt(counts[0], 5);
    ck_assert_int_gt(counts[1], 5);
    ck_assert_str_eq(wires[0].last_shared, "$share/g/t/#");
    close_both();
}
END_TEST

START_TEST(a_group_whose_members_there_have_left_gets_its_message_here)
{
    open_both();
    guest_t *alice = house_connect(&houses[0], GV_MQTT_V5, "alice", true);
    guest_t *here = house_connect(&houses[0], GV_MQTT_V5, "here", true);
    guest_t *there = house_connect(&houses[1], GV_MQTT_V5, "there", true);
    subscribe(here, "$share/g/t", 1);
    subscribe(there, "$share/g/t", 1);
    /* The sender hears of the departure late. */
    wires[1].is_deaf = true;
    guest_leave(there);
    settle_both();
    for (int i = 0; i < 60; i++) {
        guest_publish(alice, "t", "x", 1, false);
        settle_both();
        ck_assert_str_eq(guest_next(here), "PUBLISH t q1 x");
        guest_ack(here, GV_MQTT_PUBACK, here->last_packet_id);
        ck_assert_int_eq(strncmp(guest_next(alice), "PUBACK", 6), 0);
    }
    ck_assert_uint_gt(wires[0].publish_count, 5);
    ck_assert_uint_eq(wires[0].returned_count, wires[0].publish_count);
    ck_assert_uint_eq(wires[1].publish_count, 0);
    close_both();
}
END_TEST

/* The last member there leaves, and this node does not hear of it. */
static void leave_unheard(guest_t *there)
{
    wires[1].is_deaf = true;
    guest_leave(there);
    settle_both();
}

START_TEST(the_acknowledgement_waits_for_the_member_that_gets_it_in_the_end)
{
    open_both();
    guest_t *alice = house_connect(&houses[0], GV_MQTT_V5, "alice", true);
    guest_t *there = house_connect(&houses[1], GV_MQTT_V5, "there", true);
    subscribe(there, "$share/g/t", 1);
    guest_t *here = house_connect(&houses[0], GV_MQTT_V5, "here", false);
    subscribe(here, "$share/g/t", 1);
    guest_leave(here); /* who is online is preferred, as far as this node knows */
    settle_both();
    leave_unheard(there);
    houses[0].is_store_slow = true;
    guest_publish(alice, "t", "one", 1, false);
    settle_both();
    ck_assert_uint_eq(wires[0].publish_count, 1);
    ck_assert_uint_eq(wires[0].returned_count, 1);
    ck_assert_str_eq(guest_next(alice), ""); /* nobody has it on disk */
    houses[0].is_store_slow = false;
    settle_both();
    ck_assert_str_eq(guest_next(alice), "PUBACK 1 00");

    gv_mem_store_set_fault(houses[0].store, GV_ERR_FULL, 100);
    guest_publish(alice, "t", "two", 1, false);
    settle_both();
    ck_assert_uint_eq(wires[0].returned_count, 2);
    ck_assert_str_eq(guest_next(alice), "PUBACK 2 97"); /* and here there was no room for it */
    gv_mem_store_set_fault(houses[0].store, GV_OK, 0);
    house_pass(&houses[0], 1000);
    here = house_connect(&houses[0], GV_MQTT_V5, "here", false);
    ck_assert_str_eq(guest_next(here), "PUBLISH t q1 one");
    ck_assert_str_eq(guest_next(here), "");
    close_both();
}
END_TEST

START_TEST(a_message_that_no_node_has_a_member_for_is_acknowledged_and_counted)
{
    open_both();
    guest_t *alice = house_connect(&houses[0], GV_MQTT_V5, "alice", true);
    guest_t *there = house_connect(&houses[1], GV_MQTT_V5, "there", true);
    subscribe(there, "$share/g/t", 2);
    leave_unheard(there);
    for (uint8_t qos = 0; qos <= 2; qos++) {
        guest_publish(alice, "t", "x", qos, false);
        settle_both();
    }
    /* It is not tried again where there was nobody. */
    ck_assert_uint_eq(wires[0].publish_count, 3);
    ck_assert_str_eq(guest_next(alice), "PUBACK 1 00");
    ck_assert_str_eq(guest_next(alice), "PUBREC 2 00");
    ck_assert_uint_eq(gv_hub_stats(houses[0].hub)->shares_without_member, 2);
    close_both();
}
END_TEST

static guest_t *guest_on_shard(const char *name, const guest_t *other, bool is_same)
{
    char text[32];
    guest_t *guest = NULL;
    for (int i = 0; guest == NULL || (guest->shard == other->shard) != is_same; i++) {
        (void)snprintf(text, sizeof(text), "%s%d", name, i);
        guest = house_connect(&houses[0], GV_MQTT_V5, text, true);
    }
    return guest;
}

/*
 * The publisher's node gives it to a shard of its own whose member leaves at that moment.  Guests
 * are served in the order they came: on another shard the publisher is first, and on the same one
 * the member.
 */
static void assert_waits_for_another_member_here(bool is_same_shard)
{
    open_both();
    guest_t *first = house_connect(&houses[0], GV_MQTT_V5, "first", true);
    guest_t *second = guest_on_shard("second", first, is_same_shard);
    guest_t *alice = is_same_shard ? second : first;
    guest_t *bob = is_same_shard ? first : second;
    guest_t *carol = house_connect(&houses[0], GV_MQTT_V5, "carol", false);
    subscribe(carol, "$share/g/t", 1);
    guest_leave(carol);
    settle_both();
    subscribe(bob, "$share/g/t", 1);
    houses[0].is_store_slow = true;
    guest_push_publish(alice, "t", "one", 1, false);
    guest_push_unsubscribe(bob, "$share/g/t");
    settle_both();
    ck_assert_str_eq(guest_next(bob), "UNSUBACK 00");
    ck_assert_str_eq(guest_next(alice), "");
    houses[0].is_store_slow = false;
    settle_both();
    ck_assert_str_eq(guest_next(alice), "PUBACK 1 00");
    ck_assert_str_eq(guest_next(alice), "");
    carol = house_connect(&houses[0], GV_MQTT_V5, "carol", false);
    ck_assert_str_eq(guest_next(carol), "PUBLISH t q1 one");
    close_both();
}

START_TEST(the_acknowledgement_waits_for_another_member_also_on_one_node)
{
    assert_waits_for_another_member_here(false);
    assert_waits_for_another_member_here(true);
}
END_TEST

/* The same for a message of another node: it goes back there. */
START_TEST(a_member_that_leaves_while_the_message_comes_sends_it_back)
{
    open_both();
    guest_t *alice = house_connect(&houses[0], GV_MQTT_V5, "alice", true);
    guest_t *here = house_connect(&houses[0], GV_MQTT_V5, "here", false);
    subscribe(here, "$share/g/t", 1);
    guest_leave(here);
    guest_t *there = house_connect(&houses[1], GV_MQTT_V5, "there", true);
    subscribe(there, "$share/g/t", 1);
    wires[1].is_deaf = true;
    guest_push_unsubscribe(there, "$share/g/t");
    houses[0].is_store_slow = true;
    guest_publish(alice, "t", "one", 1,
                  false); /* is with the hub there, and not yet with the shard */
    settle_both();
    ck_assert_uint_eq(wires[0].publish_count, 1);
    ck_assert_uint_eq(wires[0].returned_count, 1);
    ck_assert_uint_eq(gv_hub_stats(houses[1].hub)->received, 1);
    ck_assert_str_eq(guest_next(alice), "");
    houses[0].is_store_slow = false;
    settle_both();
    ck_assert_str_eq(guest_next(alice), "PUBACK 1 00");
    here = house_connect(&houses[0], GV_MQTT_V5, "here", false);
    ck_assert_str_eq(guest_next(here), "PUBLISH t q1 one");
    close_both();
}
END_TEST

/* ---- no room there -----------------------------------------------------------------------------
 */

START_TEST(what_another_node_has_no_room_for_is_refused)
{
    open_both();
    guest_t *alice = house_connect(&houses[0], GV_MQTT_V5, "alice", true);
    guest_t *old = house_connect(&houses[0], GV_MQTT_V311, "old", true);
    guest_t *bob = house_connect(&houses[1], GV_MQTT_V5, "bob", false);
    subscribe(bob, "t", 2);
    guest_leave(bob);
    guest_t *carol = house_connect(&houses[1], GV_MQTT_V5, "carol", true);
    subscribe(carol, "t", 0);
    settle_both();
    static const gv_err_t faults[] = {GV_ERR_FULL, GV_ERR_IO};
    for (size_t i = 0; i < 2; i++) {
        char expected[32];
        gv_mem_store_set_fault(houses[1].store, faults[i], 100);
        guest_publish(alice, "t", "refused", 1, false);
        settle_both();
        (void)snprintf(expected, sizeof(expected), "PUBACK %zu 97", 3 * i + 1);
        ck_assert_str_eq(guest_next(alice), expected);
        guest_publish(alice, "t", "refused", 2, false);
        settle_both();
        (void)snprintf(expected, sizeof(expected), "PUBREC %zu 97", 3 * i + 2);
        ck_assert_str_eq(guest_next(alice), expected);
        guest_publish(old, "t", "refused", 1, false);
        guest_publish(old, "t", "refused", 2, false);
        settle_both();
        ck_assert_str_eq(guest_next(old), ""); /* there is no way to say no */
        gv_mem_store_set_fault(houses[1].store, GV_OK, 0);
        house_pass(&houses[1], 1000);
        /* That exchange was over: the same packet id is a new message. */
        alice->next_packet_id--;
        guest_publish(alice, "t", "taken", 2, false);
        settle_both();
        (void)snprintf(expected, sizeof(expected), "PUBREC %zu 00", 3 * i + 2);
        ck_assert_str_eq(guest_next(alice), expected);
        guest_publish(alice, "t", "taken", 1, false);
        settle_both();
        (void)snprintf(expected, sizeof(expected), "PUBACK %zu 00", 3 * i + 3);
        ck_assert_str_eq(guest_next(alice), expected);
    }
    ck_assert_uint_eq(gv_hub_stats(houses[0].hub)->forward_no_room, 8);
    for (int i = 0; i < 12; i++) { /* who could have it has it */
        ck_assert_str_eq(guest_next(carol),
                         i % 6 < 4 ? "PUBLISH t q0 refused" : "PUBLISH t q0 taken");
    }
    bob = house_connect(&houses[1], GV_MQTT_V5, "bob", false);
    for (int i = 0; i < 4; i++) {
        ck_assert_str_eq(guest_next(bob), i % 2 == 0 ? "PUBLISH t q2 taken" : "PUBLISH t q1 taken");
    }
    ck_assert_str_eq(guest_next(bob), "");
    close_both();
}
END_TEST

/* ---- publishers with a session -----------------------------------------------------------------
 */

/*
 * bob's session is on the other node, whose disk takes its time; and waited for it is, as bob is a
 * member of a group.
 */
static guest_t *publisher_with_session(void)
{
    open_both();
    guest_t *bob = house_connect(&houses[1], GV_MQTT_V5, "bob", false);
    subscribe(bob, "$share/group/t", 2);
    guest_leave(bob);
    guest_t *alice = house_connect(&houses[0], GV_MQTT_V5, "alice", false);
    settle_both();
    houses[1].is_store_slow = true;
    return alice;
}

static guest_t *publish_again(guest_t *alice)
{
    uint16_t id = alice->next_packet_id;
    guest_leave(alice);
    alice = house_connect(&houses[0], GV_MQTT_V5, "alice", false);
    alice->next_packet_id = (uint16_t)(id - 1);
    guest_publish(alice, "t", "again", 2, false);
    settle_both();
    return alice;
}

static void disk_goes_on(gv_err_t fault)
{
    gv_mem_store_set_fault(houses[1].store, fault, fault == GV_OK ? 0 : 100);
    houses[1].is_store_slow = false;
    settle_both();
    gv_mem_store_set_fault(houses[1].store, GV_OK, 0);
    house_pass(&houses[1], 1000);
    settle_both();
}

static void assert_bob_has(const char *expected)
{
    guest_t *bob = house_connect(&houses[1], GV_MQTT_V5, "bob", false);
    ck_assert_str_eq(guest_next(bob), expected);
    ck_assert_str_eq(guest_next(bob), "");
}

START_TEST(a_second_pubrec_waits_for_what_the_first_one_waited_for)
{
    guest_t *alice = publisher_with_session();
    guest_publish(alice, "t", "first", 2, false);
    settle_both();
    alice = publish_again(alice);
    ck_assert_str_eq(guest_next(alice), "");
    alice = publish_again(alice); /* and once more */
    ck_assert_str_eq(guest_next(alice), "");
    disk_goes_on(GV_OK);
    ck_assert_str_eq(guest_next(alice), "PUBREC 1 00");
    ck_assert_str_eq(guest_next(alice), "");
    assert_bob_has("PUBLISH t q2 first");
    close_both();
}
END_TEST

START_TEST(a_second_pubrec_says_what_has_become_of_the_message)
{
    guest_t *alice = publisher_with_session();
    guest_publish(alice, "t", "first", 2, false);
    settle_both();
    alice = publish_again(alice);
    disk_goes_on(GV_ERR_FULL);
    ck_assert_str_eq(guest_next(alice), "PUBREC 1 97");
    ck_assert_str_eq(guest_next(alice), "");
    alice->next_packet_id = 0;
    guest_publish(alice, "t", "another", 2, false); /* the id is free */
    settle_both();
    ck_assert_str_eq(guest_next(alice), "PUBREC 1 00");
    assert_bob_has("PUBLISH t q2 another");
    close_both();
}
END_TEST

START_TEST(what_was_refused_while_its_publisher_was_away_is_a_new_message)
{
    guest_t *alice = publisher_with_session();
    guest_publish(alice, "t", "first", 2, false);
    settle_both();
    guest_leave(alice);
    disk_goes_on(GV_ERR_IO);
    alice = publish_again(alice);
    ck_assert_str_eq(guest_next(alice), "PUBREC 1 00");
    assert_bob_has("PUBLISH t q2 again");
    close_both();
}
END_TEST

START_TEST(what_was_taken_while_its_publisher_was_away_is_not_taken_twice)
{
    guest_t *alice = publisher_with_session();
    guest_publish(alice, "t", "first", 2, false);
    settle_both();
    guest_leave(alice);
    disk_goes_on(GV_OK);
    alice = publish_again(alice);
    ck_assert_str_eq(guest_next(alice), "PUBREC 1 00");
    assert_bob_has("PUBLISH t q2 first");
    close_both();
}
END_TEST

/* Or after a crash a new message under that id would be taken for the one that was refused. */
START_TEST(a_refusal_leaves_when_it_is_durable_that_the_packet_id_is_free)
{
    guest_t *alice = publisher_with_session();
    guest_publish(alice, "t", "first", 2, false);
    guest_publish(alice, "none", "second", 2, false);
    settle_both();
    houses[0].is_store_slow = true;
    disk_goes_on(GV_ERR_FULL);
    ck_assert_str_eq(guest_next(alice), "");
    houses[0].is_store_slow = false;
    settle_both();
    ck_assert_str_eq(guest_next(alice), "PUBREC 1 97");
    ck_assert_str_eq(guest_next(alice), "PUBREC 2 10"); /* in the order they came */
    close_both();
}
END_TEST

START_TEST(a_retained_message_that_another_node_has_no_room_for_is_refused)
{
    open_both();
    guest_t *alice = house_connect(&houses[0], GV_MQTT_V5, "alice", true);
    gv_mem_store_set_fault(houses[1].store, GV_ERR_FULL, 100);
    guest_publish(alice, "r", "x", 1, true);
    settle_both();
    ck_assert_str_eq(guest_next(alice), "PUBACK 1 97");
    gv_mem_store_set_fault(houses[1].store, GV_OK, 0);
    house_pass(&houses[1], 1000);
    close_both();
}
END_TEST

START_TEST(what_a_dead_node_was_to_have_for_a_group_goes_to_a_member_elsewhere)
{
    open_both();
    guest_t *alice = house_connect(&houses[0], GV_MQTT_V5, "alice", true);
    guest_t *there = house_connect(&houses[1], GV_MQTT_V5, "there", true);
    subscribe(there, "$share/g/t", 1);
    guest_t *here = house_connect(&houses[0], GV_MQTT_V5, "here", true);
    wires[0].is_cut = true;
    guest_publish(alice, "t", "early", 1, false);
    settle_both();
    ck_assert_uint_eq(wires[0].sent_count, 1);
    subscribe(here, "$share/g/t", 1);
    ck_assert_str_eq(guest_next(alice), "");

    gv_bytes_t shared[1];
    gv_forward_t lost = lost_message(&wires[0], shared);
    gv_hub_on_node(houses[0].hub, 1, GV_NODE_HIDDEN);
    gv_hub_on_confirmed(houses[0].hub, wires[0].sent[0].token, 1, GV_FORWARD_GONE, &lost);
    settle_both();
    ck_assert_str_eq(guest_next(here), "PUBLISH t q1 early");
    ck_assert_str_eq(guest_next(here), "");
    ck_assert_str_eq(guest_next(alice), "PUBACK 1 00");
    ck_assert_str_eq(guest_next(alice), "");
    close_both();
}
END_TEST

/*
 * Bob leaves a message that another node is to have; that one dies, and carol, whose session ends
 * with her connection, gets it through the hub.
 */
static guest_t *lend_through_the_hub(void)
{
    open_both();
    guest_t *bob = house_connect(&houses[0], GV_MQTT_V5, "bob", false);
    subscribe(bob, "$share/g/t", 1);
    guest_t *alice = house_connect(&houses[0], GV_MQTT_V5, "alice", true);
    guest_publish(alice, "t", "x", 1, false);
    settle_both();
    guest_t *there = house_connect(&houses[1], GV_MQTT_V5, "there", true);
    subscribe(there, "$share/g/t", 1);
    wires[0].is_cut = true;
    guest_leave(bob);
    settle_both();
    ck_assert_uint_eq(wires[0].sent_count, 1);
    guest_t *carol = house_connect(&houses[0], GV_MQTT_V5, "carol", true);
    subscribe(carol, "$share/g/t", 1);

    gv_bytes_t shared[1];
    gv_forward_t lost = lost_message(&wires[0], shared);
    gv_hub_on_node(houses[0].hub, 1, GV_NODE_HIDDEN);
    gv_hub_on_confirmed(houses[0].hub, wires[0].sent[0].token, 1, GV_FORWARD_GONE, &lost);
    settle_both();
    ck_assert_str_eq(guest_next(carol), "PUBLISH t q1 x");
    return carol;
}

/* And is alone then. */
static void crash_here(void)
{
    house_crash(&houses[0], GV_MEM_CRASH_POWER, 0);
    wires[0].barrier_count = 0;
}

START_TEST(what_the_hub_gives_to_a_member_that_does_not_acknowledge_survives)
{
    (void)lend_through_the_hub();
    house_pass(&houses[0], 5000);
    crash_here();
    guest_t *bob = house_connect(&houses[0], GV_MQTT_V5, "bob", false);
    settle_both();
    ck_assert_str_eq(guest_next(bob), "PUBLISH t q1 dup x");
    close_both();
}
END_TEST

START_TEST(what_the_hub_has_given_is_over_when_it_is_acknowledged)
{
    guest_t *carol = lend_through_the_hub();
    guest_ack(carol, GV_MQTT_PUBACK, carol->last_packet_id);
    guest_leave(carol);
    guest_t *bob = house_connect(&houses[0], GV_MQTT_V5, "bob", false);
    settle_both();
    ck_assert_str_eq(guest_next(bob), "");
    close_both();
}
END_TEST

START_TEST(what_the_hub_has_given_goes_from_one_to_the_next)
{
    guest_t *carol = lend_through_the_hub();
    guest_t *dave = house_connect(&houses[0], GV_MQTT_V5, "dave", true);
    subscribe(dave, "$share/g/t", 1);
    guest_leave(carol);
    ck_assert_str_eq(guest_next(dave), "PUBLISH t q1 x");
    guest_t *bob = house_connect(&houses[0], GV_MQTT_V5, "bob", false);
    settle_both();
    ck_assert_str_eq(guest_next(bob), "");
    guest_leave(dave);
    ck_assert_str_eq(guest_next(bob), "PUBLISH t q1 x");
    guest_ack(bob, GV_MQTT_PUBACK, bob->last_packet_id);
    ck_assert_str_eq(guest_next(bob), "");
    house_pass(&houses[0], 5000);
    crash_here();
    bob = house_connect(&houses[0], GV_MQTT_V5, "bob", false);
    settle_both();
    ck_assert_str_eq(guest_next(bob), "");
    close_both();
}
END_TEST

START_TEST(what_a_dead_node_was_to_have_for_a_group_without_members_is_counted)
{
    open_both();
    guest_t *alice = house_connect(&houses[0], GV_MQTT_V5, "alice", true);
    guest_t *there = house_connect(&houses[1], GV_MQTT_V5, "there", true);
    subscribe(there, "$share/g/t", 1);
    wires[0].is_cut = true;
    guest_publish(alice, "t", "x", 1, false);
    settle_both();
    gv_bytes_t shared[1];
    gv_forward_t lost = lost_message(&wires[0], shared);
    gv_hub_on_node(houses[0].hub, 1, GV_NODE_HIDDEN);
    gv_hub_on_confirmed(houses[0].hub, wires[0].sent[0].token, 1, GV_FORWARD_GONE, &lost);
    settle_both();
    ck_assert_str_eq(guest_next(alice), "PUBACK 1 00");
    ck_assert_uint_eq(gv_hub_stats(houses[0].hub)->shares_without_member, 1);
    close_both();
}
END_TEST

/* It was chosen again, because it has come back meanwhile: then its own answer counts. */
START_TEST(what_is_given_to_another_node_is_acknowledged_when_that_one_has_it)
{
    open_both();
    guest_t *alice = house_connect(&houses[0], GV_MQTT_V5, "alice", true);
    guest_t *there = house_connect(&houses[1], GV_MQTT_V5, "there", true);
    subscribe(there, "$share/g/t", 1);
    wires[0].is_cut = true;
    guest_publish(alice, "t", "x", 1, false);
    settle_both();
    gv_bytes_t shared[1];
    gv_forward_t lost = lost_message(&wires[0], shared);
    gv_hub_on_confirmed(houses[0].hub, wires[0].sent[0].token, 1, GV_FORWARD_GONE, &lost);
    settle_both();
    ck_assert_uint_eq(wires[0].publish_count, 2);
    ck_assert_str_eq(guest_next(alice), "");
    gv_hub_on_confirmed(houses[0].hub, wires[0].sent[1].token, 1, GV_FORWARD_FULL, NULL);
    settle_both();
    ck_assert_str_eq(guest_next(alice), "PUBACK 1 97");
    close_both();
}
END_TEST

START_TEST(a_retained_message_is_kept_on_every_node)
{
    open_both();
    guest_t *alice = house_connect(&houses[0], GV_MQTT_V5, "alice", true);
    for (int i = 0; i < 4; i++) {
        char topic[8];
        (void)snprintf(topic, sizeof(topic), "r/%d", i);
        guest_publish(alice, topic, "x", 1, true);
        settle_both();
        ck_assert_int_eq(strncmp(guest_next(alice), "PUBACK", 6), 0);
    }
    guest_t *bob = house_connect(&houses[1], GV_MQTT_V5, "bob", true);
    subscribe(bob, "r/+", 0);
    settle_both();
    int count = 0;
    while (*guest_next(bob) != '\0') {
        count++;
    }
    ck_assert_int_eq(count, 4);
    close_both();
}
END_TEST

/* The message last published, as it is handed back when its node is gone. */
static void lose_last(gv_forward_result_t result)
{
    wire_t *wire = &wires[0];
    gv_bytes_t shared[1];
    gv_forward_t lost = lost_message(wire, shared);
    lost.shared_count = 0;
    uint64_t token = wire->sent[--wire->sent_count].token;
    gv_hub_on_node(houses[0].hub, 1, GV_NODE_HIDDEN);
    gv_hub_on_confirmed(houses[0].hub, token, 1, result, &lost);
}

START_TEST(what_a_node_that_is_away_is_to_have_waits_on_disk)
{
    open_both();
    guest_t *alice = house_connect(&houses[0], GV_MQTT_V5, "alice", true);
    guest_t *bob = house_connect(&houses[1], GV_MQTT_V5, "bob", false);
    subscribe(bob, "t", 1);
    wires[0].is_cut = true;
    guest_publish(alice, "t", "one", 1, false);
    settle_both();
    ck_assert_str_eq(guest_next(alice), "");
    houses[0].is_store_slow = true;
    lose_last(GV_FORWARD_GONE);
    guest_publish(alice, "t", "two", 1, false);
    settle_both();
    ck_assert_str_eq(guest_next(alice), "");
    houses[0].is_store_slow = false;
    settle_both();
    ck_assert_str_eq(guest_next(alice), "PUBACK 1 00");
    ck_assert_str_eq(guest_next(alice), "PUBACK 2 00");
    guest_publish(alice, "t", "not for the disk", 0, false);
    settle_both();
    ck_assert_uint_eq(wires[0].publish_count, 1);

    wires[0].is_cut = false;
    gv_hub_on_node(houses[0].hub, 1, GV_NODE_ROUTABLE);
    settle_both();
    ck_assert_str_eq(guest_next(bob), "PUBLISH t q1 one");
    ck_assert_str_eq(guest_next(bob), "PUBLISH t q1 two");
    ck_assert_str_eq(guest_next(bob), "");
    ck_assert_uint_eq(gv_counter_get(&gv_outbox_stats(gv_hub_outbox(houses[0].hub))->messages), 0);
    close_both();
}
END_TEST

START_TEST(nothing_waits_for_sessions_that_ended_with_their_node)
{
    open_both();
    guest_t *alice = house_connect(&houses[0], GV_MQTT_V5, "alice", true);
    guest_t *bob = house_connect(&houses[1], GV_MQTT_V5, "bob", true);
    subscribe(bob, "t", 1);
    wires[0].is_cut = true;
    guest_publish(alice, "t", "one", 1, false);
    settle_both();
    lose_last(GV_FORWARD_GONE);
    settle_both();
    ck_assert_str_eq(guest_next(alice), "PUBACK 1 00");
    guest_publish(alice, "t", "two", 1, false);
    settle_both();
    ck_assert_str_eq(guest_next(alice), "PUBACK 2 10");
    ck_assert_uint_eq(gv_counter_get(&gv_outbox_stats(gv_hub_outbox(houses[0].hub))->stored), 0);
    close_both();
}
END_TEST

START_TEST(what_was_begun_at_qos_2_is_refused_when_its_node_dies)
{
    open_both();
    guest_t *alice = house_connect(&houses[0], GV_MQTT_V5, "alice", true);
    guest_t *bob = house_connect(&houses[1], GV_MQTT_V5, "bob", false);
    subscribe(bob, "t", 2);
    wires[0].is_cut = true;
    guest_publish(alice, "t", "one", 2, false);
    settle_both();
    lose_last(GV_FORWARD_IN_DOUBT);
    settle_both();
    ck_assert_str_eq(guest_next(alice), "PUBREC 1 80");

    /* Also when it is back so soon that nobody has missed it. */
    gv_hub_on_node(houses[0].hub, 1, GV_NODE_ROUTABLE);
    guest_publish(alice, "t", "two", 2, false);
    settle_both();
    gv_hub_on_node(houses[0].hub, 1, GV_NODE_ROUTABLE);
    gv_bytes_t shared[1];
    gv_forward_t lost = lost_message(&wires[0], shared);
    lost.shared_count = 0;
    gv_hub_on_confirmed(houses[0].hub, wires[0].sent[0].token, 1, GV_FORWARD_IN_DOUBT, &lost);
    settle_both();
    ck_assert_str_eq(guest_next(alice), "PUBREC 2 80");
    close_both();
}
END_TEST

/* Who has got it by a subscription of his own does not get it once more. */
START_TEST(what_goes_on_to_a_group_goes_to_nobody_else)
{
    open_both();
    guest_t *bob = house_connect(&houses[0], GV_MQTT_V5, "bob", false);
    subscribe(bob, "$share/g/t", 1);
    guest_t *carol = house_connect(&houses[1], GV_MQTT_V5, "carol", true);
    subscribe(carol, "t", 1);
    guest_t *alice = house_connect(&houses[0], GV_MQTT_V5, "alice", true);
    guest_publish(alice, "t", "x", 1, false);
    settle_both();
    ck_assert_str_eq(guest_next(carol), "PUBLISH t q1 x");
    guest_t *there = house_connect(&houses[1], GV_MQTT_V5, "there", true);
    subscribe(there, "$share/g/t", 1);
    guest_leave(bob);
    settle_both();
    ck_assert_str_eq(guest_next(there), "PUBLISH t q1 x");
    ck_assert_str_eq(guest_next(carol), "");
    close_both();
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("hub");
    tcase_add_test(tc, a_publish_here_reaches_a_subscriber_there_once);
    tcase_add_test(tc, the_acknowledgement_waits_for_the_other_node);
    tcase_add_test(tc, suback_waits_for_the_other_node);
    tcase_add_test(tc, a_node_may_end_while_others_have_not_confirmed_its_routes);
    tcase_add_test(tc, a_dead_node_attracts_nothing_and_its_rows_come_back_with_it);
    tcase_add_test(tc, a_group_over_two_nodes_gets_one_copy);
    tcase_add_test(tc, a_group_whose_members_there_have_left_gets_its_message_here);
    tcase_add_test(tc, the_acknowledgement_waits_for_the_member_that_gets_it_in_the_end);
    tcase_add_test(tc, a_message_that_no_node_has_a_member_for_is_acknowledged_and_counted);
    tcase_add_test(tc, the_acknowledgement_waits_for_another_member_also_on_one_node);
    tcase_add_test(tc, a_member_that_leaves_while_the_message_comes_sends_it_back);
    tcase_add_test(tc, what_another_node_has_no_room_for_is_refused);
    tcase_add_test(tc, a_second_pubrec_waits_for_what_the_first_one_waited_for);
    tcase_add_test(tc, a_second_pubrec_says_what_has_become_of_the_message);
    tcase_add_test(tc, what_was_refused_while_its_publisher_was_away_is_a_new_message);
    tcase_add_test(tc, what_was_taken_while_its_publisher_was_away_is_not_taken_twice);
    tcase_add_test(tc, a_refusal_leaves_when_it_is_durable_that_the_packet_id_is_free);
    tcase_add_test(tc, a_retained_message_that_another_node_has_no_room_for_is_refused);
    tcase_add_test(tc, what_a_dead_node_was_to_have_for_a_group_goes_to_a_member_elsewhere);
    tcase_add_test(tc, what_the_hub_gives_to_a_member_that_does_not_acknowledge_survives);
    tcase_add_test(tc, what_the_hub_has_given_is_over_when_it_is_acknowledged);
    tcase_add_test(tc, what_the_hub_has_given_goes_from_one_to_the_next);
    tcase_add_test(tc, what_a_dead_node_was_to_have_for_a_group_without_members_is_counted);
    tcase_add_test(tc, what_is_given_to_another_node_is_acknowledged_when_that_one_has_it);
    tcase_add_test(tc, a_retained_message_is_kept_on_every_node);
    tcase_add_test(tc, what_a_node_that_is_away_is_to_have_waits_on_disk);
    tcase_add_test(tc, nothing_waits_for_sessions_that_ended_with_their_node);
    tcase_add_test(tc, what_was_begun_at_qos_2_is_refused_when_its_node_dies);
    tcase_add_test(tc, what_goes_on_to_a_group_goes_to_nobody_else);
    Suite *suite = suite_create("broker/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
