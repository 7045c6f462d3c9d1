/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/shard.h"

#include "house.h"

/* Every test runs with one shard and with three: clients then meet across threads. */
static house_t house;

static void for_each_size(void (*test)(void))
{
    for (uint16_t shards = 1; shards <= 3; shards += 2) {
        house_open(&house, shards);
        test();
        house_close(&house);
    }
}

/* ---- publish and subscribe --------------------------------------------------------------------
 */

static void pub_sub(void)
{
    guest_t *alice = house_connect(&house, GV_MQTT_V5, "alice", true);
    guest_t *bob = house_connect(&house, GV_MQTT_V311, "bob", true);
    guest_t *carol = house_connect(&house, GV_MQTT_V31, "carol", true);
    guest_subscribe(alice, "a/+", 0);
    guest_subscribe(bob, "a/b", 1);
    guest_subscribe(carol, "#", 2);
    guest_publish(alice, "a/b", "one", 0, false);
    ck_assert_str_eq(guest_next(alice), "PUBLISH a/b q0 one");
    ck_assert_str_eq(guest_next(bob), "PUBLISH a/b q0 one");
    ck_assert_str_eq(guest_next(carol), "PUBLISH a/b q0 one");
    guest_publish(bob, "a/b", "two", 2, false);
    ck_assert_str_eq(guest_next(alice), "PUBLISH a/b q0 two");
    ck_assert_str_eq(guest_next(carol), "PUBLISH a/b q2 two");
    /* Acknowledgement and message may leave in any order. */
    const char *first = guest_next(bob);
    ck_assert(strncmp(first, "PUB", 3) == 0);
    first = guest_next(bob);
    ck_assert(strncmp(first, "PUB", 3) == 0);
    ck_assert_str_eq(guest_next(bob), "");
}

START_TEST(messages_reach_all_who_match)
{
    for_each_size(pub_sub);
}
END_TEST

static void qos1_and_2(void)
{
    guest_t *alice = house_connect(&house, GV_MQTT_V5, "alice", true);
    guest_t *bob = house_connect(&house, GV_MQTT_V5, "bob", true);
    guest_subscribe(bob, "t", 2);
    guest_publish(alice, "t", "x", 1, false);
    ck_assert_str_eq(guest_next(alice), "PUBACK 1 00");
    ck_assert_str_eq(guest_next(bob), "PUBLISH t q1 x");
    guest_ack(bob, GV_MQTT_PUBACK, bob->last_packet_id);
    guest_publish(alice, "t", "y", 2, false);
    ck_assert_str_eq(guest_next(alice), "PUBREC 2 00");
    ck_assert_str_eq(guest_next(bob), "PUBLISH t q2 y");
    /* The same again before PUBREL: answered, not delivered [MQTT-4.3.3-10]. */
    alice->next_packet_id = 1;
    guest_publish(alice, "t", "y", 2, false);
    ck_assert_str_eq(guest_next(alice), "PUBREC 2 00");
    ck_assert_str_eq(guest_next(bob), "");
    guest_ack(alice, GV_MQTT_PUBREL, 2);
    ck_assert_str_eq(guest_next(alice), "PUBCOMP 2 00");
    guest_ack(alice, GV_MQTT_PUBREL, 2);
    ck_assert_str_eq(guest_next(alice), "PUBCOMP 2 92");
    guest_ack(bob, GV_MQTT_PUBREC, bob->last_packet_id);
    ck_assert_str_eq(guest_next(bob), "PUBREL 2 00");
    guest_ack(bob, GV_MQTT_PUBCOMP, 2);
    ck_assert_str_eq(guest_next(bob), "");
    guest_publish(alice, "nobody/listens", "z", 1, false);
    ck_assert_str_eq(guest_next(alice), "PUBACK 3 10");
}

START_TEST(acknowledgements_of_both_directions)
{
    for_each_size(qos1_and_2);
}
END_TEST

static void acks_in_order(void)
{
    guest_t *alice = house_connect(&house, GV_MQTT_V5, "alice", true);
    guest_t *others[8];
    for (int i = 0; i < 8; i++) {
        char id[8];
        (void)snprintf(id, sizeof(id), "o%d", i);
        others[i] = house_connect(&house, GV_MQTT_V5, id, true);
        char filter[8];
        (void)snprintf(filter, sizeof(filter), "t/%d", i);
        guest_subscribe(others[i], filter, 1);
    }
    for (int i = 0; i < 8; i++) {
        char topic[8];
        (void)snprintf(topic, sizeof(topic), "t/%d", i);
        guest_push_publish(alice, topic, "x", 1, false);
    }
    house_settle(&house);
    for (int i = 1; i <= 8; i++) {
        char expected[32];
        (void)snprintf(expected, sizeof(expected), "PUBACK %d 00", i);
        ck_assert_str_eq(guest_next(alice), expected);
    }
}

/* [MQTT-4.6.0-2], also when some are confirmed by other threads and some at once. */
START_TEST(acknowledgements_leave_in_the_order_of_the_publishes)
{
    for_each_size(acks_in_order);
}
END_TEST

/* ---- overlapping subscriptions and options ------------------------------------------------------
 */

static void overlap(void)
{
    guest_t *alice = house_connect(&house, GV_MQTT_V5, "alice", true);
    guest_push_subscribe(alice, (gv_mqtt_subscription_t){.text = GV_BYTES_LITERAL("a/#"), .qos = 0},
                         7);
    guest_push_subscribe(alice, (gv_mqtt_subscription_t){.text = GV_BYTES_LITERAL("a/+"), .qos = 2},
                         9);
    house_settle(&house);
    ck_assert_str_eq(guest_next(alice), "SUBACK 00");
    ck_assert_str_eq(guest_next(alice), "SUBACK 02");
    guest_t *bob = house_connect(&house, GV_MQTT_V5, "bob", true);
    guest_publish(bob, "a/b", "x", 1, false);
    /* One copy, the highest QoS [MQTT-3.3.4-2]. */
    ck_assert_str_eq(guest_next(alice), "PUBLISH a/b q1 x");
    ck_assert_str_eq(guest_next(alice), "");
    guest_push_subscribe(
        alice,
        (gv_mqtt_subscription_t){.text = GV_BYTES_LITERAL("own"), .qos = 0, .no_local = true}, 0);
    house_settle(&house);
    ck_assert_str_eq(guest_next(alice), "SUBACK 00");
    guest_publish(alice, "own", "mine", 0, false);
    ck_assert_str_eq(guest_next(alice), "");
    guest_publish(bob, "own", "his", 0, false);
    ck_assert_str_eq(guest_next(alice), "PUBLISH own q0 his");
}

START_TEST(overlapping_subscriptions_give_one_copy)
{
    for_each_size(overlap);
}
END_TEST

static void overlap_each(void)
{
    house.limits.overlaps_each = true;
    guest_t *alice = house_connect(&house, GV_MQTT_V5, "alice", true);
    guest_subscribe(alice, "t/#", 0);
    guest_subscribe(alice, "t/+", 1);
    guest_t *bob = house_connect(&house, GV_MQTT_V5, "bob", true);
    guest_publish(bob, "t/x", "m", 1, false);
    bool has_come[2] = {false, false};
    for (int i = 0; i < 2; i++) {
        const char *next = guest_next(alice);
        has_come[0] = has_come[0] || strcmp(next, "PUBLISH t/x q0 m") == 0;
        has_come[1] = has_come[1] || strcmp(next, "PUBLISH t/x q1 m") == 0;
    }
    ck_assert(has_come[0]);
    ck_assert(has_come[1]);
    ck_assert_str_eq(guest_next(alice), "");
}

START_TEST(overlapping_subscriptions_give_a_copy_each_where_that_is_wanted)
{
    for_each_size(overlap_each);
}
END_TEST

static void own_subscription(void)
{
    guest_t *alice = house_connect(&house, GV_MQTT_V311, "alice", true);
    guest_push_subscribe(alice, (gv_mqtt_subscription_t){.text = GV_BYTES_LITERAL("t")}, 0);
    guest_push_publish(alice, "t", "x", 0, false);
    house_settle(&house);
    ck_assert_str_eq(guest_next(alice), "SUBACK 00");
    ck_assert_str_eq(guest_next(alice), "PUBLISH t q0 x");
}

START_TEST(who_subscribes_and_publishes_in_one_breath_hears_himself)
{
    for_each_size(own_subscription);
}
END_TEST

/* ---- retained
 * ------------------------------------------------------------------------------------- */

static void retained(void)
{
    guest_t *alice = house_connect(&house, GV_MQTT_V5, "alice", true);
    for (int i = 0; i < 6; i++) {
        char topic[8];
        (void)snprintf(topic, sizeof(topic), "r/%d", i);
        guest_publish(alice, topic, "x", 1, true);
        ck_assert_int_eq(strncmp(guest_next(alice), "PUBACK", 6), 0);
    }
    guest_publish(alice, "r/3", "", 0, true); /* clears */
    guest_t *bob = house_connect(&house, GV_MQTT_V5, "bob", true);
    guest_subscribe(bob, "r/+", 1);
    int count = 0;
    for (const char *text; *(text = guest_next(bob)) != '\0'; count++) {
        ck_assert_int_eq(strncmp(text, "PUBLISH r/", 10), 0);
        ck_assert_ptr_nonnull(strstr(text, " r x"));
        ck_assert_ptr_null(strstr(text, "r/3"));
    }
    ck_assert_int_eq(count, 5);
    guest_subscribe(bob, "r/1", 0);
    ck_assert_str_eq(guest_next(bob), "PUBLISH r/1 q0 r x");
    ck_assert_str_eq(guest_next(bob), "");
    /* A live one comes without the flag [MQTT-3.3.1-12]. */
    guest_publish(alice, "r/9", "new", 0, true);
    ck_assert_str_eq(guest_next(bob), "PUBLISH r/9 q0 new");
}

START_TEST(retained_messages_are_kept_cleared_and_replayed)
{
    for_each_size(retained);
}
END_TEST

/* ---- sessions
 * --------------------------------------------------------------------------------------- */

static void takeover(void)
{
    guest_t *first = house_connect(&house, GV_MQTT_V5, "twin", true);
    guest_t *second = house_connect(&house, GV_MQTT_V5, "twin", true);
    ck_assert_str_eq(guest_next(first), "DISCONNECT 8e");
    ck_assert(first->is_gone);
    ck_assert(!second->is_gone);
    guest_subscribe(second, "t", 0);
    guest_publish(second, "t", "x", 0, false);
    ck_assert_str_eq(guest_next(second), "PUBLISH t q0 x");
}

START_TEST(a_second_connection_takes_over)
{
    for_each_size(takeover);
}
END_TEST

static void resume(void)
{
    guest_t *alice = house_connect(&house, GV_MQTT_V5, "alice", true);
    guest_t *bob = house_connect(&house, GV_MQTT_V5, "bob", false);
    guest_subscribe(bob, "t", 2);
    guest_publish(alice, "t", "in flight", 1, false);
    ck_assert_str_eq(guest_next(bob), "PUBLISH t q1 in flight");
    uint16_t id = bob->last_packet_id;
    guest_publish(alice, "t", "halfway", 2, false);
    ck_assert_str_eq(guest_next(bob), "PUBLISH t q2 halfway");
    guest_ack(bob, GV_MQTT_PUBREC, bob->last_packet_id);
    ck_assert_str_eq(guest_next(bob), "PUBREL 2 00");
    guest_leave(bob);
    guest_publish(alice, "t", "queued", 1, false);
    guest_publish(alice, "t", "lost", 0, false);

    guest_t *again = house_visit(&house, GV_MQTT_V5);
    guest_connect(again, (gv_mqtt_connect_t){.client_id = GV_BYTES_LITERAL("bob")});
    ck_assert_str_eq(guest_next(again), "CONNACK 00 present");
    ck_assert_str_eq(guest_next(again), "PUBLISH t q1 dup in flight");
    ck_assert_uint_eq(again->last_packet_id, id);
    ck_assert_str_eq(guest_next(again), "PUBREL 2 00");
    ck_assert_str_eq(guest_next(again), "PUBLISH t q1 queued");
    ck_assert_str_eq(guest_next(again), "");
}

START_TEST(a_resumed_session_gets_what_it_missed_in_order)
{
    for_each_size(resume);
}
END_TEST

static void window(void)
{
    guest_t *alice = house_connect(&house, GV_MQTT_V5, "alice", true);
    guest_t *bob = house_connect(&house, GV_MQTT_V5, "bob", true);
    guest_subscribe(bob, "t", 1);
    for (int i = 0; i < 20; i++) {
        char text[8];
        (void)snprintf(text, sizeof(text), "%d", i);
        guest_publish(alice, "t", text, 1, false);
    }
    /* inflight_max is 8: nothing more before an acknowledgement.  Such a PUBLISH has 9 bytes. */
    ck_assert_uint_eq(bob->received_size, 8 * 9);
    for (int i = 0; i < 20; i++) {
        char expected[32];
        (void)snprintf(expected, sizeof(expected), "PUBLISH t q1 %d", i);
        ck_assert_str_eq(guest_next(bob), expected);
        guest_ack(bob, GV_MQTT_PUBACK, bob->last_packet_id);
    }
    ck_assert_str_eq(guest_next(bob), "");
}

START_TEST(the_receive_window_is_kept_and_the_rest_waits)
{
    for_each_size(window);
}
END_TEST

static void full_output(void)
{
    house.limits.output_bytes_max = 64;
    guest_t *alice = house_connect(&house, GV_MQTT_V5, "alice", true);
    guest_t *bob = house_connect(&house, GV_MQTT_V5, "bob", true);
    guest_subscribe(bob, "t", 1);
    char large[200];
    memset(large, 'x', sizeof(large));
    large[sizeof(large) - 1] = '\0';
    guest_push_publish(alice, "t", large, 0, false);
    guest_push_publish(alice, "t", "a", 1, false);
    guest_push_publish(alice, "t", "b", 1, false);
    house_settle(&house);
    ck_assert_int_eq(strncmp(guest_next(bob), "PUBLISH t q0 x", 14), 0);
    ck_assert_str_eq(guest_next(bob), "PUBLISH t q1 a");
    ck_assert_str_eq(guest_next(bob), "PUBLISH t q1 b");
}

static void subscription_limit(void)
{
    house.limits.subscriptions_max = 2;
    guest_t *bob = house_connect(&house, GV_MQTT_V5, "bob", true);
    guest_subscribe(bob, "a", 0);
    guest_subscribe(bob, "b", 0);
    guest_push_subscribe(bob, (gv_mqtt_subscription_t){.text = GV_BYTES_LITERAL("c")}, 0);
    house_settle(&house);
    ck_assert_str_eq(guest_next(bob), "SUBACK 97");
    guest_subscribe(bob, "b", 2);
}

START_TEST(a_subscription_is_replaced_where_no_new_one_is_allowed)
{
    for_each_size(subscription_limit);
}
END_TEST

static void stalled_reader(void)
{
    guest_t *bob = house_connect(&house, GV_MQTT_V5, "bob", true);
    guest_subscribe(bob, "t", 0);
    guest_t *alice = house_connect(&house, GV_MQTT_V5, "alice", true);
    guest_publish(alice, "t", "x", 0, false);
    uint8_t word[] = {0xc0, 0x00};
    gv_outbuf_append(&bob->out, &house.pool, gv_bytes(word, sizeof(word)));
    house.now_ms += house.limits.slow_reader_timeout_ms - 1;
    gv_client_check_output(bob->conn.client);
    ck_assert(!bob->is_closing);
    house.now_ms += 1;
    gv_client_check_output(alice->conn.client); /* nothing waits for her */
    ck_assert(!alice->is_closing);
    gv_client_check_output(bob->conn.client);
    ck_assert(bob->is_closing);
    gv_client_check_output(bob->conn.client); /* once more while it is closing */
}

START_TEST(a_reader_that_takes_nothing_is_ended)
{
    for_each_size(stalled_reader);
}
END_TEST

/* Nothing is acknowledged here that could set the queue going. */
START_TEST(what_waits_for_room_in_the_output_follows_when_there_is)
{
    for_each_size(full_output);
}
END_TEST

/* [MQTT-4.9.0-1]: the window of the new connection counts, also for what is sent again. */
static void smaller_window(void)
{
    guest_t *bob = house_connect(&house, GV_MQTT_V5, "bob", false);
    guest_t *alice = house_connect(&house, GV_MQTT_V5, "alice", true);
    guest_subscribe(bob, "t", 2);
    for (int i = 0; i < 5; i++) {
        guest_publish(alice, "t", (const char *[]){"0", "1", "2", "3", "4"}[i], 1, false);
    }
    guest_leave(bob);
    guest_t *again = house_visit(&house, GV_MQTT_V5);
    gv_mqtt_connect_t connect = {.client_id = GV_BYTES_LITERAL("bob")};
    gv_mqtt_props_set_number(&connect.props, GV_MQTT_PROP_RECEIVE_MAXIMUM, 2);
    gv_mqtt_props_set_number(&connect.props, GV_MQTT_PROP_SESSION_EXPIRY, GV_EXPIRY_NEVER);
    guest_connect(again, connect);
    ck_assert_str_eq(guest_next(again), "CONNACK 00 present");
    ck_assert_str_eq(guest_next(again), "PUBLISH t q1 dup 0");
    ck_assert_str_eq(guest_next(again), "PUBLISH t q1 dup 1");
    ck_assert_str_eq(guest_next(again), "");
    guest_publish(alice, "t", "5", 1, false);
    ck_assert_str_eq(guest_next(again), "");
    /* The first acknowledges the one that comes next before it has come. */
    guest_ack(again, GV_MQTT_PUBACK, 3);
    ck_assert_str_eq(guest_next(again), "");
    guest_ack(again, GV_MQTT_PUBACK, 1);
    ck_assert_str_eq(guest_next(again), "PUBLISH t q1 dup 3");
    guest_ack(again, GV_MQTT_PUBACK, 2);
    ck_assert_str_eq(guest_next(again), "PUBLISH t q1 dup 4");
    guest_ack(again, GV_MQTT_PUBACK, 4);
    ck_assert_str_eq(guest_next(again), "PUBLISH t q1 5");
    ck_assert_str_eq(guest_next(again), "");
}

START_TEST(what_is_sent_again_keeps_to_the_new_window)
{
    for_each_size(smaller_window);
}
END_TEST

/* [MQTT-3.3.4-7]: QoS 2 counts until PUBCOMP, and each end gives its place back. */
static void receive_maximum(void)
{
    guest_t *alice = house_connect(&house, GV_MQTT_V5, "alice", true);
    for (int round = 0; round < 3; round++) {
        for (uint16_t i = 0; i < house.limits.receive_max; i++) {
            guest_publish(alice, "t", "x", 2, false);
            ck_assert_int_eq(strncmp(guest_next(alice), "PUBREC", 6), 0);
        }
        guest_ack(alice, GV_MQTT_PUBREL, alice->last_packet_id);
        ck_assert_int_eq(strncmp(guest_next(alice), "PUBCOMP", 7), 0);
        guest_publish(alice, "t", "x", 1, false);
        ck_assert_int_eq(strncmp(guest_next(alice), "PUBACK", 6), 0);
        for (uint16_t i = 1; i < house.limits.receive_max; i++) {
            guest_ack(alice, GV_MQTT_PUBREL, (uint16_t)(alice->next_packet_id - 1 - i));
            ck_assert_int_eq(strncmp(guest_next(alice), "PUBCOMP", 7), 0);
        }
    }
    for (uint16_t i = 0; i <= house.limits.receive_max; i++) {
        guest_publish(alice, "t", "x", 2, false);
    }
    for (uint16_t i = 0; i < house.limits.receive_max; i++) {
        ck_assert_int_eq(strncmp(guest_next(alice), "PUBREC", 6), 0);
    }
    ck_assert_str_eq(guest_next(alice), "DISCONNECT 93");
}

START_TEST(who_sends_more_than_we_take_is_told_so)
{
    for_each_size(receive_maximum);
}
END_TEST

/* A will's expiry begins when it is published; 0 is over at once, and not "never". */
static void will_expiry(void)
{
    guest_t *bob = house_connect(&house, GV_MQTT_V5, "bob", false);
    guest_subscribe(bob, "w", 1);
    guest_leave(bob);
    for (uint32_t expiry_s = 0; expiry_s <= 20; expiry_s += 10) {
        guest_t *alice = house_visit(&house, GV_MQTT_V5);
        gv_mqtt_connect_t connect = {.client_id = GV_BYTES_LITERAL("alice"), .clean_start = true};
        connect.has_will = true;
        connect.will.topic = GV_BYTES_LITERAL("w");
        connect.will.qos = 1;
        connect.will.payload = expiry_s == 20 ? GV_BYTES_LITERAL("20") : GV_BYTES_LITERAL("less");
        gv_mqtt_props_set_number(&connect.will.props, GV_MQTT_PROP_MESSAGE_EXPIRY, expiry_s);
        guest_connect(alice, connect);
        house_pass(&house, 15000);
        guest_leave(alice);
    }
    house_pass(&house, 15000);
    bob = house_connect(&house, GV_MQTT_V5, "bob", false);
    ck_assert_str_eq(guest_next(bob), "PUBLISH w q1 20");
    ck_assert_str_eq(guest_next(bob), "");
}

START_TEST(a_will_expires_after_it_was_published)
{
    for_each_size(will_expiry);
}
END_TEST

static void expiry(void)
{
    guest_t *bob = house_visit(&house, GV_MQTT_V5);
    gv_mqtt_connect_t connect = {.client_id = GV_BYTES_LITERAL("bob"), .clean_start = true};
    gv_mqtt_props_set_number(&connect.props, GV_MQTT_PROP_SESSION_EXPIRY, 2);
    guest_connect(bob, connect);
    guest_leave(bob);
    house_pass(&house, 1000);
    guest_t *again = house_visit(&house, GV_MQTT_V5);
    connect.clean_start = false;
    guest_connect(again, connect);
    ck_assert_str_eq(guest_next(again), "CONNACK 00 present");
    guest_leave(again);
    house_pass(&house, 2500);
    guest_t *late = house_visit(&house, GV_MQTT_V5);
    guest_connect(late, connect);
    ck_assert_str_eq(guest_next(late), "CONNACK 00");
}

START_TEST(a_session_ends_when_its_time_is_over)
{
    for_each_size(expiry);
}
END_TEST

/* ---- wills, keep alive
 * ------------------------------------------------------------------------------ */

static gv_mqtt_connect_t with_will(const char *id)
{
    return (gv_mqtt_connect_t){
        .client_id = gv_bytes_text(id),
        .clean_start = true,
        .has_will = true,
        .keep_alive_s = 10,
        .will = {.topic = GV_BYTES_LITERAL("will"), .payload = GV_BYTES_LITERAL("gone"), .qos = 1},
    };
}

static void wills(void)
{
    guest_t *watcher = house_connect(&house, GV_MQTT_V5, "watcher", true);
    guest_subscribe(watcher, "will", 0);
    guest_t *polite = house_visit(&house, GV_MQTT_V5);
    guest_connect(polite, with_will("polite"));
    guest_send(polite, "\xe0\x00", 2);
    ck_assert(polite->is_gone);
    ck_assert_str_eq(guest_next(watcher), "");
    guest_t *rude = house_visit(&house, GV_MQTT_V5);
    guest_connect(rude, with_will("rude"));
    guest_leave(rude);
    ck_assert_str_eq(guest_next(watcher), "PUBLISH will q0 gone");
    guest_t *silent = house_visit(&house, GV_MQTT_V5);
    guest_connect(silent, with_will("silent"));
    ck_assert_str_eq(guest_next(silent), "CONNACK 00");
    house_pass(&house, 14900);
    ck_assert(!silent->is_gone);
    house_pass(&house, 200);
    ck_assert(silent->is_gone);
    ck_assert_str_eq(guest_next(silent), "DISCONNECT 8d");
    ck_assert_str_eq(guest_next(watcher), "PUBLISH will q0 gone");
    /* A delayed will is taken back by coming again in time. */
    guest_t *delayed = house_visit(&house, GV_MQTT_V5);
    gv_mqtt_connect_t connect = with_will("delayed");
    gv_mqtt_props_set_number(&connect.will.props, GV_MQTT_PROP_WILL_DELAY, 5);
    gv_mqtt_props_set_number(&connect.props, GV_MQTT_PROP_SESSION_EXPIRY, 60);
    guest_connect(delayed, connect);
    guest_leave(delayed);
    house_pass(&house, 3000);
    guest_t *back = house_visit(&house, GV_MQTT_V5);
    connect.clean_start = false;
    guest_connect(back, connect);
    house_pass(&house, 6000);
    ck_assert_str_eq(guest_next(watcher), "");
    guest_leave(back);
    house_pass(&house, 6000);
    ck_assert_str_eq(guest_next(watcher), "PUBLISH will q0 gone");
}

START_TEST(wills_are_published_when_they_should_and_only_then)
{
    for_each_size(wills);
}
END_TEST

/* ---- shared subscriptions
 * ----------------------------------------------------------------------------- */

static void shared(void)
{
    guest_t *members[3];
    for (int i = 0; i < 3; i++) {
        char id[8];
        (void)snprintf(id, sizeof(id), "m%d", i);
        members[i] = house_connect(&house, GV_MQTT_V5, id, i != 2);
        guest_subscribe(members[i], "$share/g/t", 1);
    }
    guest_leave(members[2]); /* its session stays, but is not preferred */
    guest_t *alice = house_connect(&house, GV_MQTT_V5, "alice", true);
    for (int i = 0; i < 40; i++) {
        guest_publish(alice, "t", "x", 0, false);
    }
    int got[2] = {0};
    for (int i = 0; i < 2; i++) {
        while (*guest_next(members[i]) != '\0') {
            got[i]++;
        }
        ck_assert_int_gt(got[i], 0);
    }
    ck_assert_int_eq(got[0] + got[1], 40);
}

START_TEST(a_group_gets_one_copy_and_online_members_are_preferred)
{
    for_each_size(shared);
}
END_TEST

/* ---- bad manners
 * -------------------------------------------------------------------------------------- */

static void refused(void)
{
    guest_t *guest = house_visit(&house, GV_MQTT_V5);
    guest_send(guest, "\xc0\x00", 2); /* PINGREQ first */
    ck_assert(guest->is_gone);
    guest = house_visit(&house, GV_MQTT_V5);
    house_pass(&house, 10100);
    ck_assert(guest->is_gone);
    guest = house_connect(&house, GV_MQTT_V5, "twice", true);
    guest_connect(guest, (gv_mqtt_connect_t){.client_id = GV_BYTES_LITERAL("twice")});
    ck_assert_str_eq(guest_next(guest), "DISCONNECT 82");
    ck_assert(guest->is_gone);
    guest = house_connect(&house, GV_MQTT_V5, "sys", true);
    guest_publish(guest, "$SYS/broker/uptime", "0", 1, false);
    ck_assert_str_eq(guest_next(guest), "PUBACK 1 87");
    guest = house_visit(&house, GV_MQTT_V311);
    guest->conn.anonymous_allowed = false;
    guest_connect(guest, (gv_mqtt_connect_t){.client_id = GV_BYTES_LITERAL("x")});
    ck_assert_str_eq(guest_next(guest), "CONNACK 87");
    ck_assert(guest->is_gone);
}

START_TEST(bad_manners_end_the_connection_with_a_reason)
{
    for_each_size(refused);
}
END_TEST

/* ---- who is to be ended -------------------------------------------------------------------------
 */

/* An id whose home is the shard. */
static const char *id_at(uint16_t shard, char *id, size_t size)
{
    for (int i = 0; i < 100; i++) {
        (void)snprintf(id, size, "at%u-%d", shard, i);
        if (gv_shard_home(gv_bytes_text(id), 7, house.shard_count) == shard) {
            return id;
        }
    }
    ck_abort_msg("no id for shard %u", shard);
    return NULL;
}

/* What is answered has to be read, or nothing more is asked. */
START_TEST(who_does_not_read_our_answers_is_not_listened_to)
{
    house_open(&house, 1);
    house.limits.output_bytes_max = 100;
    guest_t *deaf = house_connect(&house, GV_MQTT_V5, "deaf", true);
    for (int i = 0; i < 1000; i++) {
        guest_push(deaf, "\xc0\x00", 2);
    }
    ck_assert(guest_offer(deaf));
    ck_assert(deaf->is_paused);
    ck_assert_uint_le(gv_outbuf_size(&deaf->out), 202);
    house_settle(&house); /* reads them */
    ck_assert_uint_eq(deaf->received_size, 2000);
    house_close(&house);
}
END_TEST

START_TEST(what_was_agreed_outlives_the_limits)
{
    house_open(&house, 1);
    house.limits.receive_max = 3;
    guest_t *old = house_connect(&house, GV_MQTT_V5, "old", true);
    house.limits.receive_max = 1;
    guest_t *new = house_connect(&house, GV_MQTT_V5, "new", true);
    for (uint16_t i = 1; i <= 3; i++) {
        guest_publish(old, "t", "x", 2, false);
        ck_assert(strncmp(guest_next(old), "PUBREC", 6) == 0);
    }
    guest_publish(new, "t", "x", 2, false);
    ck_assert(strncmp(guest_next(new), "PUBREC", 6) == 0);
    guest_publish(new, "t", "x", 2, false);
    ck_assert_str_eq(guest_next(new), "DISCONNECT 93");
    guest_publish(old, "t", "x", 2, false);
    ck_assert_str_eq(guest_next(old), "DISCONNECT 93");
    house_close(&house);
}
END_TEST

/*
 * A client's queue is full, which ends it with the turn; in the same turn it speaks, and the shard
 * has no credit left: it must not be put among those that wait for some.
 */
START_TEST(who_is_to_be_ended_does_nothing_more)
{
    char id[16];
    char payload[4001];
    memset(payload, 'p', sizeof(payload) - 1);
    payload[sizeof(payload) - 1] = '\0';
    house_open(&house, 2);
    house.limits.queue_policy = GV_QUEUE_DISCONNECT;
    house.limits.queue_messages_max = 2;
    house.limits.inflight_max = 1;
    guest_t *slow = house_connect(&house, GV_MQTT_V5, id_at(0, id, sizeof(id)), true);
    guest_subscribe(slow, "slow", 1);
    guest_t *far = house_connect(&house, GV_MQTT_V5, id_at(1, id, sizeof(id)), true);
    guest_subscribe(far, "far", 0);
    guest_t *flood = house_connect(&house, GV_MQTT_V311, "flood", true);
    flood = flood->shard == 0 ? flood : house_connect(&house, GV_MQTT_V311, "at0", true);
    ck_assert_uint_eq(flood->shard, 0);
    for (int i = 0; i < 3; i++) { /* one in the window, two in the queue */
        guest_publish(far, "slow", "x", 1, false);
        house_pass(&house, 20);
    }
    for (int i = 0; i < 700; i++) {
        guest_push_publish(flood, "far", payload, 0, false);
    }
    (void)guest_offer(flood);
    ck_assert(flood->is_paused);

    guest_push_publish(far, "slow", "one too many", 1, false);
    (void)guest_offer(far);
    gv_shard_turn_end(house.shards[1]);
    gv_letter_t *letter = house.letters[--house.letter_tail % HOUSE_LETTERS_MAX].letter;
    letter->deliver(letter);
    static const uint8_t pingreq[] = {0xc0, 0};
    guest_push(slow, pingreq, sizeof(pingreq));
    (void)guest_offer(slow);

    house_settle(&house);
    ck_assert(slow->is_gone);
    ck_assert_str_eq(guest_next(slow), "PUBLISH slow q1 x");
    ck_assert_str_eq(guest_next(slow), "DISCONNECT 97");
    house_pass(&house, 100); /* the flood has been told to rest, too */
    ck_assert(!flood->is_paused);
    house_close(&house);
}
END_TEST

/* Subscribing to everything again and again must not make us remember it all as often. */
START_TEST(subscribing_again_replaces_the_replay_that_runs)
{
    enum {
        TOPICS = 600,
        SUBSCRIBES = 20
    };
    house_open(&house, 1);
    guest_t *alice = house_connect(&house, GV_MQTT_V311, "alice", true);
    for (int i = 0; i < TOPICS; i++) {
        char topic[16];
        (void)snprintf(topic, sizeof(topic), "r/%d", i);
        guest_push_publish(alice, topic, "x", 0, true);
    }
    house_settle(&house);
    guest_t *bob = house_connect(&house, GV_MQTT_V311, "bob", true);
    for (int i = 0; i < SUBSCRIBES; i++) {
        guest_push_subscribe(bob, (gv_mqtt_subscription_t){.text = GV_BYTES_LITERAL("#")}, 0);
    }
    house_settle(&house);
    house_pass(&house, 100);
    size_t count = 0;
    size_t subacks = 0;
    for (const char *text; *(text = guest_next(bob)) != '\0';) {
        count += strncmp(text, "PUBLISH r/", 10) == 0;
        subacks += strncmp(text, "SUBACK", 6) == 0;
    }
    ck_assert_uint_eq(subacks, SUBSCRIBES);
    /* Each of the others has sent one slice before the next came. */
    ck_assert_uint_ge(count, TOPICS);
    ck_assert_uint_le(count, TOPICS + (SUBSCRIBES - 1) * 256);
    house_close(&house);
}
END_TEST

/* ---- chance
 * --------------------------------------------------------------------------------------------- */

/* Clients that come, go, subscribe and publish at random; nothing may leak, hang or fail. */
static void storm(void)
{
    static const char *const filters[] = {"a",   "a/b",        "a/+", "#",
                                          "+/b", "$share/g/#", "a/#", "$share/h/a/b"};
    static const char *const topics[] = {"a", "a/b", "a/c", "b/b"};
    gv_rng_t rng;
    gv_rng_init(&rng, 20261121, 1);
    guest_t *guests[10] = {NULL};
    for (int round = 0; round < 54; round++) {
        uint32_t who = gv_rng_below(&rng, 10);
        char id[8];
        (void)snprintf(id, sizeof(id), "c%u", who % 7);
        if (guests[who] != NULL && gv_rng_chance(&rng, 50)) {
            guest_leave(guests[who]);
        }
        gv_mqtt_version_t version = gv_rng_chance(&rng, 50) ? GV_MQTT_V5 : GV_MQTT_V311;
        guests[who] = house_connect(&house, version, id, gv_rng_chance(&rng, 50));
        for (int i = 0; i < 20; i++) {
            guest_t *guest = guests[gv_rng_below(&rng, 10)];
            if (guest == NULL || guest->is_gone) {
                continue;
            }
            uint8_t qos = (uint8_t)gv_rng_below(&rng, 3);
            if (gv_rng_chance(&rng, 30)) {
                guest_push_subscribe(
                    guest,
                    (gv_mqtt_subscription_t){.text = gv_bytes_text(filters[gv_rng_below(&rng, 8)]),
                                             .qos = qos},
                    0);
            } else {
                guest_push_publish(guest, topics[gv_rng_below(&rng, 4)], "x", qos,
                                   gv_rng_chance(&rng, 10));
            }
            if (gv_rng_chance(&rng, 50)) {
                house_settle(&house);
            }
            guest->received_size = 0;
        }
    }
    house_settle(&house);
}

START_TEST(a_storm_of_clients_leaves_nothing_behind)
{
    for_each_size(storm);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("shard");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, messages_reach_all_who_match);
    tcase_add_test(tc, acknowledgements_of_both_directions);
    tcase_add_test(tc, acknowledgements_leave_in_the_order_of_the_publishes);
    tcase_add_test(tc, overlapping_subscriptions_give_one_copy);
    tcase_add_test(tc, overlapping_subscriptions_give_a_copy_each_where_that_is_wanted);
    tcase_add_test(tc, who_subscribes_and_publishes_in_one_breath_hears_himself);
    tcase_add_test(tc, retained_messages_are_kept_cleared_and_replayed);
    tcase_add_test(tc, a_second_connection_takes_over);
    tcase_add_test(tc, a_resumed_session_gets_what_it_missed_in_order);
    tcase_add_test(tc, the_receive_window_is_kept_and_the_rest_waits);
    tcase_add_test(tc, a_subscription_is_replaced_where_no_new_one_is_allowed);
    tcase_add_test(tc, a_reader_that_takes_nothing_is_ended);
    tcase_add_test(tc, what_waits_for_room_in_the_output_follows_when_there_is);
    tcase_add_test(tc, what_is_sent_again_keeps_to_the_new_window);
    tcase_add_test(tc, a_will_expires_after_it_was_published);
    tcase_add_test(tc, who_sends_more_than_we_take_is_told_so);
    tcase_add_test(tc, a_session_ends_when_its_time_is_over);
    tcase_add_test(tc, wills_are_published_when_they_should_and_only_then);
    tcase_add_test(tc, a_group_gets_one_copy_and_online_members_are_preferred);
    tcase_add_test(tc, bad_manners_end_the_connection_with_a_reason);
    tcase_add_test(tc, who_does_not_read_our_answers_is_not_listened_to);
    tcase_add_test(tc, what_was_agreed_outlives_the_limits);
    tcase_add_test(tc, who_is_to_be_ended_does_nothing_more);
    tcase_add_test(tc, subscribing_again_replaces_the_replay_that_runs);
    tcase_add_test(tc, a_storm_of_clients_leaves_nothing_behind);
    Suite *suite = suite_create("broker/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
