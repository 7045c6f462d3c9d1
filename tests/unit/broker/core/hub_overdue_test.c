/* SPDX-License-Identifier: Apache-2.0 */
/* Messages that another node does not confirm for long: who is acknowledged, and what is kept. */
#include "broker/core/hub.h"

#include "houses.h"

static uint64_t waiting_on_disk(void)
{
    return gv_counter_get(&gv_outbox_stats(gv_hub_outbox(houses[0].hub))->messages);
}

/* What is on its way to the other node: these tests send one thing at a time. */
static gv_forward_t on_its_way(gv_bytes_t *shared)
{
    gv_forward_t message = lost_message(&wires[0], shared);
    message.shared_count = wires[0].last_shared[0] != '\0' ? 1 : 0;
    return message;
}

/* The cluster has had no answer about what was sent last. */
static void be_overdue(void)
{
    gv_bytes_t shared[1];
    gv_forward_t message = on_its_way(shared);
    uint64_t *token = &wires[0].sent[wires[0].sent_count - 1].token;
    ck_assert(gv_hub_on_overdue(houses[0].hub, token, 1, &message));
    settle_both();
}

/* It comes there after all. */
static void arrive(void)
{
    gv_bytes_t shared[1];
    gv_forward_t message = on_its_way(shared);
    gv_delivery_t delivery = {.from = 1, .seq = wires[0].sent[0].seq};
    gv_hub_on_deliver(houses[1].hub, &delivery, &message);
    settle_both();
    ck_assert_uint_eq(wires[0].sent_count, 0);
}

static void die(void)
{
    gv_bytes_t shared[1];
    gv_forward_t lost = on_its_way(shared);
    uint64_t token = wires[0].sent[0].token;
    wires[0].sent_count = 0;
    gv_hub_on_node(houses[0].hub, 1, GV_NODE_HIDDEN);
    gv_hub_on_confirmed(houses[0].hub, token, 1, GV_FORWARD_GONE, &lost);
    settle_both();
}

static void come_back(void)
{
    wires[0].is_cut = false;
    wires[0].last_shared[0] = '\0';
    gv_hub_on_node(houses[0].hub, 1, GV_NODE_ROUTABLE);
    settle_both();
}

/* Alice here has published, and the other node, where bob is, does not answer. */
static guest_t *alice_publishes(uint8_t qos, bool retain)
{
    guest_t *alice = house_connect(&houses[0], GV_MQTT_V5, "alice", true);
    wires[0].is_cut = true;
    guest_publish(alice, "t", "x", qos, retain);
    settle_both();
    ck_assert_str_eq(guest_next(alice), "");
    ck_assert_uint_eq(wires[0].sent_count, 1);
    return alice;
}

START_TEST(what_is_kept_is_acknowledged_and_comes_once)
{
    open_both();
    guest_t *bob = house_connect(&houses[1], GV_MQTT_V5, "bob", false);
    subscribe(bob, "t", 1);
    guest_t *alice = alice_publishes(1, false);
    houses[0].is_store_slow = true;
    be_overdue();
    ck_assert_str_eq(guest_next(alice), ""); /* it is not durable yet */
    houses[0].is_store_slow = false;
    settle_both();
    ck_assert_str_eq(guest_next(alice), "PUBACK 1 00");
    ck_assert_uint_eq(waiting_on_disk(), 1);
    ck_assert_uint_eq(wires[0].publish_count, 1);

    arrive();
    ck_assert_str_eq(guest_next(bob), "PUBLISH t q1 x");
    ck_assert_str_eq(guest_next(bob), "");
    ck_assert_uint_eq(waiting_on_disk(), 0);
    ck_assert_uint_eq(wires[0].publish_count, 1);
    ck_assert_str_eq(guest_next(alice), "");
    close_both();
}
END_TEST

START_TEST(what_is_kept_is_sent_when_a_dead_node_comes_back)
{
    open_both();
    guest_t *bob = house_connect(&houses[1], GV_MQTT_V5, "bob", false);
    subscribe(bob, "t", 1);
    guest_t *alice = alice_publishes(1, false);
    be_overdue();
    ck_assert_str_eq(guest_next(alice), "PUBACK 1 00");
    die();
    ck_assert_uint_eq(waiting_on_disk(), 1); /* and not twice */
    come_back();
    ck_assert_str_eq(guest_next(bob), "PUBLISH t q1 x");
    ck_assert_str_eq(guest_next(bob), "");
    ck_assert_uint_eq(waiting_on_disk(), 0);
    close_both();
}
END_TEST

START_TEST(a_full_disk_lets_the_publisher_wait)
{
    open_both();
    guest_t *bob = house_connect(&houses[1], GV_MQTT_V5, "bob", false);
    subscribe(bob, "t", 1);
    guest_t *alice = alice_publishes(1, false);
    gv_mem_store_set_fault(houses[0].store, GV_ERR_FULL, 100);
    be_overdue();
    ck_assert_str_eq(guest_next(alice), "");
    gv_mem_store_set_fault(houses[0].store, GV_OK, 0);
    arrive();
    ck_assert_str_eq(guest_next(alice), "PUBACK 1 00");
    ck_assert_str_eq(guest_next(bob), "PUBLISH t q1 x");
    close_both();
}
END_TEST

/* Acknowledged it would be in our memory only, and they are connected. */
START_TEST(where_nobody_stays_nothing_is_written_and_the_node_is_waited_for)
{
    for (uint8_t qos = 1; qos <= 2; qos++) {
        open_both();
        guest_t *bob = house_connect(&houses[1], GV_MQTT_V5, "bob", true);
        subscribe(bob, "t", 2);
        guest_t *alice = alice_publishes(qos, qos == 1);
        be_overdue();
        ck_assert_str_eq(guest_next(alice), "");
        ck_assert_uint_eq(waiting_on_disk(), 0);
        arrive();
        ck_assert_str_eq(guest_next(alice), qos == 1 ? "PUBACK 1 00" : "PUBREC 1 00");
        ck_assert_str_eq(guest_next(bob), qos == 1 ? "PUBLISH t q1 x" : "PUBLISH t q2 x");
        close_both();
    }
}
END_TEST

/* Should the node die it can only be refused: sent again it might come twice. */
START_TEST(qos_2_waits_for_the_node)
{
    open_both();
    guest_t *bob = house_connect(&houses[1], GV_MQTT_V5, "bob", false);
    subscribe(bob, "t", 2);
    guest_t *alice = alice_publishes(2, false);
    be_overdue();
    ck_assert_str_eq(guest_next(alice), "");
    ck_assert_uint_eq(waiting_on_disk(), 0);
    arrive();
    ck_assert_str_eq(guest_next(alice), "PUBREC 1 00");
    ck_assert_str_eq(guest_next(bob), "PUBLISH t q2 x");
    close_both();
}
END_TEST

START_TEST(what_is_for_a_group_waits_for_its_member)
{
    open_both();
    guest_t *member = house_connect(&houses[1], GV_MQTT_V5, "member", false);
    subscribe(member, "$share/g/t", 1);
    guest_t *alice = alice_publishes(1, false);
    be_overdue();
    ck_assert_str_eq(guest_next(alice), "");
    ck_assert_uint_eq(waiting_on_disk(), 0);
    guest_t *here = house_connect(&houses[0], GV_MQTT_V5, "here", true);
    subscribe(here, "$share/g/t", 1);
    die();
    ck_assert_str_eq(guest_next(here), "PUBLISH t q1 x");
    ck_assert_str_eq(guest_next(alice), "PUBACK 1 00");
    close_both();
}
END_TEST

/* What is for the others there is on the disk in its place; the publisher waits for the group. */
START_TEST(a_message_for_a_group_and_others_is_kept_for_these)
{
    open_both();
    guest_t *bob = house_connect(&houses[1], GV_MQTT_V5, "bob", false);
    guest_t *member = house_connect(&houses[1], GV_MQTT_V5, "member", false);
    subscribe(bob, "t", 1);
    subscribe(member, "$share/g/t", 1);
    guest_t *alice = alice_publishes(1, false);
    be_overdue();
    ck_assert_str_eq(guest_next(alice), "");
    ck_assert_uint_eq(waiting_on_disk(), 1);
    guest_t *here = house_connect(&houses[0], GV_MQTT_V5, "here", true);
    subscribe(here, "$share/g/t", 1);
    die();
    ck_assert_str_eq(guest_next(here), "PUBLISH t q1 x");
    ck_assert_str_eq(guest_next(here), "");
    ck_assert_str_eq(guest_next(alice), "PUBACK 1 00");
    come_back();
    ck_assert_str_eq(guest_next(bob), "PUBLISH t q1 x");
    ck_assert_str_eq(guest_next(bob), "");
    ck_assert_str_eq(guest_next(member), "");
    ck_assert_uint_eq(waiting_on_disk(), 0);
    close_both();
}
END_TEST

START_TEST(a_message_for_a_group_and_others_arrives_for_both)
{
    open_both();
    guest_t *bob = house_connect(&houses[1], GV_MQTT_V5, "bob", false);
    guest_t *member = house_connect(&houses[1], GV_MQTT_V5, "member", false);
    subscribe(bob, "t", 1);
    subscribe(member, "$share/g/t", 1);
    guest_t *alice = alice_publishes(1, false);
    be_overdue();
    arrive();
    ck_assert_str_eq(guest_next(alice), "PUBACK 1 00");
    ck_assert_str_eq(guest_next(bob), "PUBLISH t q1 x");
    ck_assert_str_eq(guest_next(member), "PUBLISH t q1 x");
    ck_assert_uint_eq(waiting_on_disk(), 0);
    close_both();
}
END_TEST

/* A third node: what is sent there stays on the way, and so does what is sent to the second. */
static uint64_t token_to_two;

static void publish_to_two(void *arg, const gv_forward_t *message, uint64_t nodes, uint64_t token)
{
    (void)arg, (void)message;
    ck_assert_uint_eq(nodes, 6);
    token_to_two = token;
}

static void who_of_two(void *arg, gv_node_index_t node, gv_remembered_t *member_out)
{
    (void)arg;
    *member_out = (gv_remembered_t){.id.bytes = {(uint8_t)(node + 1)}};
}

START_TEST(each_node_is_waited_for_in_its_own_way_and_once)
{
    open_both();
    void *shards[] = {houses[0].shards[0], houses[0].shards[1]};
    wires[0].ops.publish = publish_to_two;
    wires[0].ops.who = who_of_two;
    gv_hub_connect(houses[0].hub, shards, &wires[0].ops);
    gv_hub_on_node(houses[0].hub, 2, GV_NODE_ROUTABLE);
    gv_hub_on_row(houses[0].hub, 1, GV_BYTES_LITERAL("t"), 1); /* nobody stays there, ... */
    gv_hub_on_row(houses[0].hub, 2, GV_BYTES_LITERAL("t"), 2); /* ... and here somebody does */
    guest_t *alice = house_connect(&houses[0], GV_MQTT_V5, "alice", true);
    guest_publish(alice, "t", "x", 1, false);
    settle_both();
    gv_forward_t message = {
        .topic = GV_BYTES_LITERAL("t"), .expiry_ms = GV_FORWARD_NO_EXPIRY, .qos = 1};
    uint64_t token = token_to_two;
    ck_assert(gv_hub_on_overdue(houses[0].hub, &token, 1, &message));
    ck_assert_uint_eq(token, token_to_two);
    ck_assert(gv_hub_on_overdue(houses[0].hub, &token, 2, &message));
    ck_assert_uint_ne(token, token_to_two);
    settle_both();
    ck_assert_uint_eq(waiting_on_disk(), 1);
    gv_hub_on_confirmed(houses[0].hub, token, 2, GV_FORWARD_APPLIED, NULL);
    settle_both();
    ck_assert_uint_eq(waiting_on_disk(), 0);
    ck_assert_str_eq(guest_next(alice), "");
    gv_hub_on_confirmed(houses[0].hub, token_to_two, 1, GV_FORWARD_APPLIED, NULL);
    settle_both();
    ck_assert_str_eq(guest_next(alice), "PUBACK 1 00");
    ck_assert_str_eq(guest_next(alice), "");
    close_both();
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("overdue");
    tcase_add_test(tc, what_is_kept_is_acknowledged_and_comes_once);
    tcase_add_test(tc, what_is_kept_is_sent_when_a_dead_node_comes_back);
    tcase_add_test(tc, a_full_disk_lets_the_publisher_wait);
    tcase_add_test(tc, where_nobody_stays_nothing_is_written_and_the_node_is_waited_for);
    tcase_add_test(tc, qos_2_waits_for_the_node);
    tcase_add_test(tc, what_is_for_a_group_waits_for_its_member);
    tcase_add_test(tc, a_message_for_a_group_and_others_is_kept_for_these);
    tcase_add_test(tc, a_message_for_a_group_and_others_arrives_for_both);
    tcase_add_test(tc, each_node_is_waited_for_in_its_own_way_and_once);
    Suite *suite = suite_create("broker/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
