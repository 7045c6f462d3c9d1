/* SPDX-License-Identifier: Apache-2.0 */
/* Persistent sessions on nodes that restart, crash, and run out of disk. */
#include "house.h"

static house_t house;

static void for_each_size(void (*test)(void))
{
    for (uint16_t shards = 1; shards <= 3; shards++) {
        house_open(&house, shards);
        test();
        house_close(&house);
    }
}

static guest_t *persistent(const char *id)
{
    return house_connect(&house, GV_MQTT_V5, id, false);
}

static guest_t *transient(const char *id)
{
    return house_connect(&house, GV_MQTT_V5, id, true);
}

/* ---- restarts ---------------------------------------------------------------------------------
 */

static void survives_restart(void)
{
    guest_t *bob = persistent("bob");
    guest_subscribe(bob, "a/+", 1);
    guest_subscribe(bob, "b", 2);
    guest_leave(bob);
    guest_t *alice = transient("alice");
    guest_publish(alice, "a/1", "one", 1, false);
    ck_assert_str_eq(guest_next(alice), "PUBACK 1 00");
    guest_publish(alice, "b", "two", 2, false);
    ck_assert_str_eq(guest_next(alice), "PUBREC 2 00");
    house_restart(&house);

    alice = transient("alice");
    guest_publish(alice, "a/1", "three", 1, false);
    bob = persistent("bob");
    ck_assert_str_eq(guest_next(bob), "PUBLISH a/1 q1 one");
    ck_assert_str_eq(guest_next(bob), "PUBLISH b q2 two");
    guest_ack(bob, GV_MQTT_PUBREC, bob->last_packet_id);
    ck_assert_str_eq(guest_next(bob), "PUBLISH a/1 q1 three");
    ck_assert_str_eq(guest_next(bob), "PUBREL 2 00");
}

START_TEST(subscriptions_and_waiting_messages_survive_a_restart)
{
    for_each_size(survives_restart);
}
END_TEST

static uint64_t queued_bytes(void)
{
    uint64_t bytes = 0;
    for (uint16_t i = 0; i < house.shard_count; i++) {
        bytes += gv_counter_get(&gv_shard_stats(house.shards[i])->queued_bytes);
    }
    return bytes;
}

static void weighs_the_same(void)
{
    guest_t *bob = persistent("bob");
    guest_subscribe(bob, "a", 1);
    guest_leave(bob);
    guest_t *alice = transient("alice");
    for (int i = 0; i < 10; i++) {
        guest_publish(alice, "a", "a", 1, false);
    }
    uint64_t before = queued_bytes();
    ck_assert_uint_gt(before, 0);
    house_crash(&house, GV_MEM_CRASH_POWER, 0);
    ck_assert_uint_eq(queued_bytes(), before);
}

START_TEST(a_queue_is_as_long_after_a_restart_as_before)
{
    for_each_size(weighs_the_same);
}
END_TEST

static void nothing_left(void)
{
    guest_t *bob = persistent("bob");
    guest_subscribe(bob, "a", 1);
    guest_t *alice = transient("alice");
    guest_publish(alice, "a", "one", 1, false);
    ck_assert_str_eq(guest_next(bob), "PUBLISH a q1 one");
    guest_leave(bob);
    bob = transient("bob"); /* a clean start ends the session */
    guest_leave(bob);
    house_restart(&house);
    guest_t *again = house_visit(&house, GV_MQTT_V5);
    gv_mqtt_connect_t connect = {.client_id = GV_BYTES_LITERAL("bob")};
    guest_connect(again, connect);
    ck_assert_str_eq(guest_next(again), "CONNACK 00");
    ck_assert_str_eq(guest_next(again), "");
}

START_TEST(a_session_that_has_ended_does_not_come_back)
{
    for_each_size(nothing_left);
}
END_TEST

static void acknowledged_stays_so(void)
{
    guest_t *bob = persistent("bob");
    guest_subscribe(bob, "a", 1);
    guest_t *alice = transient("alice");
    guest_publish(alice, "a", "one", 1, false);
    guest_publish(alice, "a", "two", 1, false);
    guest_publish(alice, "a", "three", 1, false);
    ck_assert_str_eq(guest_next(bob), "PUBLISH a q1 one");
    ck_assert_str_eq(guest_next(bob), "PUBLISH a q1 two");
    guest_ack(bob, GV_MQTT_PUBACK, 2);
    house_restart(&house);
    bob = persistent("bob");
    ck_assert_str_eq(guest_next(bob), "PUBLISH a q1 dup one");
    ck_assert_uint_eq(bob->last_packet_id, 1);
    ck_assert_str_eq(guest_next(bob), "PUBLISH a q1 dup three");
    ck_assert_uint_eq(bob->last_packet_id, 3);
    ck_assert_str_eq(guest_next(bob), "");
}

START_TEST(what_was_in_flight_comes_again_under_its_packet_id)
{
    for_each_size(acknowledged_stays_so);
}
END_TEST

static void away_and_back(void)
{
    guest_t *bob = persistent("bob");
    guest_subscribe(bob, "a", 1);
    guest_subscribe(bob, "b", 2);
    guest_leave(bob);
    guest_t *alice = transient("alice");
    guest_publish(alice, "a", "one", 1, false);
    guest_publish(alice, "b", "two", 2, false);
    house_crash(&house, GV_MEM_CRASH_POWER, 0);
    house.is_store_slow = true;
    bob = persistent("bob");
    ck_assert_str_eq(guest_next(bob), ""); /* it is not durable yet that bob is here */
    house.is_store_slow = false;
    house_settle(&house);
    ck_assert_str_eq(guest_next(bob), "PUBLISH a q1 one");
    ck_assert_str_eq(guest_next(bob), "PUBLISH b q2 two");
    house_crash(&house, GV_MEM_CRASH_POWER, 0);
    bob = persistent("bob");
    ck_assert_str_eq(guest_next(bob), "PUBLISH a q1 dup one");
    ck_assert_str_eq(guest_next(bob), "PUBLISH b q2 dup two");
    ck_assert_str_eq(guest_next(bob), "");
}

START_TEST(what_waited_is_a_repetition_only_after_the_client_was_there)
{
    for_each_size(away_and_back);
}
END_TEST

/* ---- crashes ----------------------------------------------------------------------------------
 */

static void waits_for_disk(void)
{
    guest_t *bob = persistent("bob");
    guest_subscribe(bob, "a", 2);
    guest_t *alice = transient("alice");
    house.is_store_slow = true;
    guest_publish(alice, "a", "one", 1, false);
    guest_publish(alice, "a", "two", 2, false);
    ck_assert_str_eq(guest_next(alice), "");
    ck_assert_str_eq(guest_next(bob), "PUBLISH a q1 one"); /* sooner than it is durable */
    ck_assert_str_eq(guest_next(bob), "");                 /* QoS 2: not before */
    guest_ack(bob, GV_MQTT_PUBACK, bob->last_packet_id);
    ck_assert_str_eq(guest_next(alice), "PUBACK 1 00"); /* delivered everywhere: safe */
    house.is_store_slow = false;
    house_settle(&house);
    ck_assert_str_eq(guest_next(alice), "PUBREC 2 00");
    ck_assert_str_eq(guest_next(bob), "PUBLISH a q2 two");
    house.is_store_slow = true;
    guest_ack(bob, GV_MQTT_PUBREC, bob->last_packet_id);
    ck_assert_str_eq(guest_next(bob), ""); /* PUBREL: when the stage is durable */
    house.is_store_slow = false;
    house_settle(&house);
    ck_assert_str_eq(guest_next(bob), "PUBREL 2 00");
}

static void clears_twice(void)
{
    guest_t *alice = transient("alice");
    guest_t *bob = transient("bob");
    guest_publish(alice, "r", "x", 1, true);
    ck_assert_str_eq(guest_next(alice), "PUBACK 1 10");
    house.is_store_slow = true;
    guest_publish(alice, "r", "", 1, true);
    guest_publish(bob, "r", "", 1, true);
    ck_assert_str_eq(guest_next(alice), "");
    ck_assert_str_eq(guest_next(bob), ""); /* it is not there any more, and still on the disk */
    house.is_store_slow = false;
    house_settle(&house);
    ck_assert_str_eq(guest_next(alice), "PUBACK 2 10");
    ck_assert_str_eq(guest_next(bob), "PUBACK 1 10");
    house.is_store_slow = true;
    guest_publish(bob, "r", "", 1, true);
    ck_assert_str_eq(guest_next(bob), "PUBACK 2 10");
    house.is_store_slow = false;
}

START_TEST(clearing_what_is_being_cleared_waits_for_the_disk_too)
{
    for_each_size(clears_twice);
}
END_TEST

START_TEST(acknowledgements_wait_for_the_disk_or_for_all_receivers)
{
    for_each_size(waits_for_disk);
}
END_TEST

static void released_once(void)
{
    guest_t *bob = persistent("bob");
    guest_subscribe(bob, "a", 2);
    guest_t *alice = transient("alice");
    guest_publish(alice, "a", "one", 2, false);
    ck_assert_str_eq(guest_next(bob), "PUBLISH a q2 one");
    guest_ack(bob, GV_MQTT_PUBREC, bob->last_packet_id);
    ck_assert_str_eq(guest_next(bob), "PUBREL 1 00");
    house_crash(&house, GV_MEM_CRASH_POWER, 0);
    bob = persistent("bob");
    ck_assert_str_eq(guest_next(bob), "PUBREL 1 00"); /* and not the message */
    guest_ack(bob, GV_MQTT_PUBCOMP, 1);
    ck_assert_str_eq(guest_next(bob), "");
}

START_TEST(a_message_that_was_received_is_only_released_after_a_crash)
{
    for_each_size(released_once);
}
END_TEST

static void ended_late(void)
{
    guest_leave(persistent("bob"));
    house.is_store_slow = true;
    gv_mqtt_connect_t connect = {.client_id = GV_BYTES_LITERAL("bob"), .clean_start = true};
    for (int i = 0; i < 2; i++) { /* the second finds no session, but it is on the disk still */
        guest_t *bob = house_visit(&house, GV_MQTT_V5);
        guest_connect(bob, connect);
        ck_assert_str_eq(guest_next(bob), "");
        guest_leave(bob);
    }
    house.is_store_slow = false;
    house_settle(&house);
    guest_t *bob = house_visit(&house, GV_MQTT_V5);
    guest_connect(bob, connect);
    ck_assert_str_eq(guest_next(bob), "CONNACK 00");
}

START_TEST(who_is_told_that_there_is_no_session_can_rely_on_it)
{
    for_each_size(ended_late);
}
END_TEST

static void once_more(void)
{
    guest_t *alice = transient("alice");
    gv_mem_store_set_fault(house.store, GV_ERR_IO, 100);
    guest_t *bob = persistent("bob"); /* its record fails, and what it wants meanwhile */
    guest_push_subscribe(bob, (gv_mqtt_subscription_t){.text = gv_bytes_text("a"), .qos = 1}, 0);
    house_pass(&house, 2000);
    gv_mem_store_set_fault(house.store, GV_OK, 0);
    house_pass(&house, 2000);
    bob = persistent("bob");
    guest_subscribe(bob, "b", 1);
    guest_publish(alice, "b", "one", 1, false);
    ck_assert_str_eq(guest_next(alice), "PUBACK 1 00");
    house_crash(&house, GV_MEM_CRASH_POWER, 0);
    bob = house_visit(&house, GV_MQTT_V5);
    gv_mqtt_connect_t connect = {.client_id = GV_BYTES_LITERAL("bob")};
    guest_connect(bob, connect);
    ck_assert_str_eq(guest_next(bob), "CONNACK 00 present");
    ck_assert_str_eq(guest_next(bob), "PUBLISH b q1 dup one");
}

START_TEST(what_a_failed_commit_said_of_sessions_is_said_again)
{
    for_each_size(once_more);
}
END_TEST

static void released_late(void)
{
    guest_t *bob = persistent("bob");
    guest_subscribe(bob, "a", 2);
    guest_t *alice = transient("alice");
    guest_publish(alice, "a", "one", 2, false);
    ck_assert_str_eq(guest_next(bob), "PUBLISH a q2 one");
    house.is_store_slow = true;
    guest_ack(bob, GV_MQTT_PUBREC, bob->last_packet_id);
    bob = persistent("bob");
    /* A crash now would bring the message again, and bob would have forgotten its id. */
    ck_assert_str_eq(guest_next(bob), "");
    house.is_store_slow = false;
    house_settle(&house);
    ck_assert_str_eq(guest_next(bob), "PUBREL 1 00");
    bob = persistent("bob");
    ck_assert_str_eq(guest_next(bob), "PUBREL 1 00");
    ck_assert_str_eq(guest_next(bob), "");
}

START_TEST(pubrel_waits_for_its_mark_also_over_the_next_connection)
{
    for_each_size(released_late);
}
END_TEST

static void not_received(void)
{
    guest_t *bob = persistent("bob");
    guest_subscribe(bob, "a", 2);
    guest_leave(bob);
    guest_t *alice = persistent("alice");
    house.is_store_slow = true;
    guest_publish(alice, "a", "one", 2, false);
    alice = persistent("alice");
    guest_publish(alice, "a", "one", 2, false); /* the id is known, but not on disk */
    house.is_store_slow = false;
    gv_mem_store_set_fault(house.store, GV_ERR_IO, 100);
    house_settle(&house);
    gv_mem_store_set_fault(house.store, GV_OK, 0);
    house_pass(&house, 1000);
    ck_assert_str_eq(guest_next(alice), "PUBREC 1 97");
    ck_assert_str_eq(guest_next(persistent("bob")), "");
}

START_TEST(a_repetition_is_not_acknowledged_when_the_first_was_lost)
{
    for_each_size(not_received);
}
END_TEST

static void last_member(void)
{
    house.image_bytes_max = 1;
    guest_t *bob = persistent("bob");
    guest_subscribe(bob, "$share/g/a", 1);
    guest_leave(bob);
    guest_t *alice = transient("alice");
    guest_publish(alice, "a", "one", 1, false);
    guest_publish(alice, "a", "two", 1, false);
    house_restart(&house);
    guest_leave(persistent("bob")); /* each segment goes when the other one is read */
    bob = persistent("bob");
    ck_assert_str_eq(guest_next(bob), "PUBLISH a q1 dup one");
    ck_assert_str_eq(guest_next(bob), "PUBLISH a q1 dup two");
    ck_assert_str_eq(guest_next(bob), "");
}

START_TEST(the_last_member_of_a_group_looks_through_its_messages_once)
{
    for_each_size(last_member);
}
END_TEST

static void received_once(void)
{
    guest_t *bob = persistent("bob");
    guest_t *carol = persistent("carol-on-another-shard");
    guest_subscribe(bob, "a", 2);
    guest_subscribe(carol, "a", 2);
    guest_t *alice = persistent("alice");
    guest_publish(alice, "a", "one", 2, true);
    ck_assert_str_eq(guest_next(alice), "PUBREC 1 00");
    house_crash(&house, GV_MEM_CRASH_POWER, 0);
    alice = persistent("alice");
    guest_publish(alice, "a", "one", 2, true); /* PUBREC was lost on the way */
    ck_assert_str_eq(guest_next(alice), "PUBREC 1 00");
    guest_ack(alice, GV_MQTT_PUBREL, 1);
    ck_assert_str_eq(guest_next(alice), "PUBCOMP 1 00");
    house_crash(&house, GV_MEM_CRASH_POWER, 0);
    alice = persistent("alice");
    guest_publish(alice, "a", "two", 2, false); /* the id is free again */
    ck_assert_str_eq(guest_next(alice), "PUBREC 1 00");
    static const char *const names[] = {"bob", "carol-on-another-shard"};
    for (size_t i = 0; i < 2; i++) {
        guest_t *guest = persistent(names[i]);
        const char *first = guest_next(guest);
        ck_assert(strcmp(first, "PUBLISH a q2 one") == 0 ||
                  strcmp(first, "PUBLISH a q2 dup one") == 0);
        ck_assert_str_eq(guest_next(guest), "PUBLISH a q2 two");
        ck_assert_str_eq(guest_next(guest), "");
    }
}

START_TEST(a_repeated_publish_is_known_after_a_crash)
{
    for_each_size(received_once);
}
END_TEST

/* Every acknowledgement holds, wherever the crash comes; what was not acknowledged may be lost. */
static void ledger(uint64_t seed, gv_mem_crash_t kind)
{
    enum {
        ROUNDS = 8,
        MESSAGES = 12
    };
    gv_rng_t rng;
    gv_rng_init(&rng, seed, 3);
    char next[2][16] = {{0}};
    int expected[2] = {0, 0}; /* acknowledged up to, per receiver the same */
    int sent = 0;
    static const char *const names[] = {"bob", "carol"};
    for (size_t i = 0; i < 2; i++) {
        guest_subscribe(persistent(names[i]), "a", 1);
    }
    for (int round = 0; round < ROUNDS; round++) {
        guest_t *alice = persistent("alice");
        alice->next_packet_id = 0;
        house.is_store_slow = gv_rng_u32(&rng) % 2 == 0;
        int first = sent;
        for (int i = 0; i < MESSAGES; i++) {
            (void)snprintf(next[0], sizeof(next[0]), "%d", sent++);
            guest_push_publish(alice, "a", next[0], 1, false);
        }
        house_settle(&house);
        int acknowledged = 0;
        while (*guest_next(alice) != '\0') {
            acknowledged++;
        }
        house_crash(&house, kind, gv_rng_u32(&rng) % 10);
        for (size_t r = 0; r < 2; r++) {
            guest_t *guest = persistent(names[r]);
            int seen = 0;
            for (const char *text; *(text = guest_next(guest)) != '\0';) {
                int number = atoi(strrchr(text, ' ') + 1);
                ck_assert_int_ge(number, first);
                ck_assert_int_eq(number, first + seen); /* in order, nothing between missing */
                seen++;
                guest_ack(guest, GV_MQTT_PUBACK, guest->last_packet_id);
            }
            ck_assert_msg(seen >= acknowledged, "seed %d: %d acknowledged, %d there", (int)seed,
                          acknowledged, seen);
            expected[r] += seen;
        }
        house_restart(&house);
    }
}

START_TEST(nothing_acknowledged_is_lost_in_a_crash)
{
    for (uint64_t seed = 0; seed < 20; seed++) {
        house_open(&house, (uint16_t)(1 + seed % 3));
        ledger(seed + 100 * (uint64_t)_i, _i == 0 ? GV_MEM_CRASH_PROCESS : GV_MEM_CRASH_POWER);
        house_close(&house);
    }
}
END_TEST

/* ---- groups ------------------------------------------------------------------------------------
 */

/* [MQTT-4.8.2-5]: whose window is full takes no message while another has room. */
START_TEST(a_member_whose_window_is_full_is_passed_over)
{
    house_open(&house, 1);
    guest_t *full = persistent("full");
    guest_subscribe(full, "$share/g/t", 1);
    guest_t *alice = transient("alice");
    for (int i = 0; i < 8; i++) { /* as many as its window holds */
        guest_publish(alice, "t", "x", 1, false);
    }
    guest_t *free_one = persistent("free");
    guest_subscribe(free_one, "$share/g/t", 1);
    for (int i = 0; i < 4; i++) {
        guest_publish(alice, "t", "y", 1, false);
        ck_assert_str_eq(guest_next(free_one), "PUBLISH t q1 y");
    }
    house_close(&house);
}
END_TEST

/* ---- the log -----------------------------------------------------------------------------------
 */

static gv_err_t count_segment(gv_bytes_t key, gv_bytes_t value, void *arg)
{
    (void)key;
    *(size_t *)arg += value.size;
    return GV_OK;
}

static size_t log_bytes(void)
{
    size_t bytes = 0;
    ck_assert_int_eq(gv_store_scan(house.store, GV_TABLE_QUEUE_LOG, count_segment, &bytes), GV_OK);
    return bytes;
}

/* One message sleeps while many pass. */
static void straggler(void)
{
    guest_t *bob = persistent("bob");
    guest_subscribe(bob, "sleeps", 2);
    guest_leave(bob);
    guest_t *alice = transient("alice");
    guest_publish(alice, "sleeps", "here I am", 2, false);
    static const char *const names[] = {"carol", "dave"};
    guest_t *busy[2];
    for (size_t i = 0; i < 2; i++) {
        busy[i] = persistent(names[i]);
        guest_subscribe(busy[i], "passes", 1);
    }
    for (int round = 0; round < 3; round++) {
        char text[1000];
        memset(text, 'x', sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        for (int i = 0; i < 300; i++) {
            guest_publish(alice, "passes", text, 1, false);
            for (size_t k = 0; k < 2; k++) {
                while (*guest_next(busy[k]) != '\0') {
                    guest_ack(busy[k], GV_MQTT_PUBACK, busy[k]->last_packet_id);
                }
            }
            while (*guest_next(alice) != '\0') {
            }
        }
        house_pass(&house, 3000);
        ck_assert_uint_lt(log_bytes(), 100000); /* of 600 000 and more that were written */
        house_restart(&house);
        alice = transient("alice");
        for (size_t i = 0; i < 2; i++) {
            busy[i] = persistent(names[i]);
        }
    }
    bob = persistent("bob");
    ck_assert_str_eq(guest_next(bob), "PUBLISH sleeps q2 here I am");
    ck_assert_uint_eq(bob->last_packet_id, 1);
    guest_ack(bob, GV_MQTT_PUBREC, 1);
    guest_ack(bob, GV_MQTT_PUBCOMP, 1);
    house_restart(&house);
    house_pass(&house, 3000);
    ck_assert_uint_lt(log_bytes(), 1000);
}

START_TEST(a_message_that_nobody_comes_for_does_not_keep_the_log_from_shrinking)
{
    for_each_size(straggler);
}
END_TEST

static void replaced(void)
{
    guest_t *bob = persistent("bob");
    guest_subscribe(bob, "a", 1);
    guest_leave(bob);
    house.is_store_slow = true;
    guest_t *again = house_visit(&house, GV_MQTT_V311);
    guest_connect(again,
                  (gv_mqtt_connect_t){.client_id = GV_BYTES_LITERAL("bob"), .clean_start = true});
    ck_assert_str_eq(guest_next(again), ""); /* a crash would bring the session back */
    house.is_store_slow = false;
    house_settle(&house);
    ck_assert_str_eq(guest_next(again), "CONNACK 00");
    house_crash(&house, GV_MEM_CRASH_POWER, 0);
    guest_t *last = house_visit(&house, GV_MQTT_V311);
    guest_connect(last, (gv_mqtt_connect_t){.client_id = GV_BYTES_LITERAL("bob")});
    ck_assert_str_eq(guest_next(last), "CONNACK 00");
}

START_TEST(a_clean_start_is_answered_when_the_session_of_before_is_gone_for_good)
{
    for_each_size(replaced);
}
END_TEST

/* [MQTT-3.14.0-1]: no DISCONNECT to whom has not had his CONNACK. */
static void replaced_while_waiting(void)
{
    guest_leave(persistent("bob"));
    house.is_store_slow = true;
    guest_t *waiting = house_visit(&house, GV_MQTT_V5);
    guest_connect(waiting,
                  (gv_mqtt_connect_t){.client_id = GV_BYTES_LITERAL("bob"), .clean_start = true});
    guest_t *last = house_visit(&house, GV_MQTT_V5);
    guest_connect(last,
                  (gv_mqtt_connect_t){.client_id = GV_BYTES_LITERAL("bob"), .clean_start = true});
    ck_assert(waiting->is_gone);
    house.is_store_slow = false;
    house_settle(&house);
    ck_assert_str_eq(guest_next(waiting), "");
    ck_assert_str_eq(guest_next(last), "CONNACK 00");
}

START_TEST(who_is_taken_over_before_his_connack_hears_nothing)
{
    for_each_size(replaced_while_waiting);
}
END_TEST

/* ---- groups -----------------------------------------------------------------------------------
 */

/* "one" is begun with bob, "two" waits for him; carol is there. */
static guest_t *begin_with_bob(guest_t **carol)
{
    house.limits.inflight_max = 1;
    guest_t *bob = persistent("bob");
    guest_subscribe(bob, "$share/g/a", 2);
    guest_t *alice = transient("alice");
    guest_publish(alice, "a", "one", 2, false);
    guest_publish(alice, "a", "two", 2, false);
    ck_assert_str_eq(guest_next(bob), "PUBLISH a q2 one");
    ck_assert_str_eq(guest_next(bob), "");
    *carol = persistent("carol");
    guest_subscribe(*carol, "$share/g/a", 2);
    return bob;
}

static void given_once(gv_err_t fault)
{
    guest_t *carol = NULL;
    guest_t *bob = begin_with_bob(&carol);
    gv_mem_store_set_fault(house.store, fault, 100);
    guest_leave(bob);
    if (fault != GV_OK) {
        house_pass(&house, 500);
        ck_assert_str_eq(guest_next(carol), "");
        gv_mem_store_set_fault(house.store, GV_OK, 0);
        house_pass(&house, 5000);
    }
    ck_assert_str_eq(guest_next(carol), "PUBLISH a q2 two");
    house_crash(&house, GV_MEM_CRASH_POWER, 0);
    bob = persistent("bob");
    ck_assert_str_eq(guest_next(bob), "PUBLISH a q2 dup one");
    guest_ack(bob, GV_MQTT_PUBREC, bob->last_packet_id);
    guest_ack(bob, GV_MQTT_PUBCOMP, bob->last_packet_id);
    ck_assert_str_eq(guest_next(bob), "PUBREL 1 00");
    ck_assert_str_eq(guest_next(bob), "");
    carol = persistent("carol");
    ck_assert_str_eq(guest_next(carol), "PUBLISH a q2 dup two");
}

static void given_at_once(void)
{
    given_once(GV_OK);
}

static void given_though_commits_fail(void)
{
    given_once(GV_ERR_IO);
}

START_TEST(a_message_that_is_given_away_is_with_one_of_them)
{
    for_each_size(given_at_once);
    for_each_size(given_though_commits_fail);
}
END_TEST

/* It comes back before anything is decided, and is sent what was lent when that has come back. */
static void comes_back_meanwhile(void)
{
    guest_t *carol = NULL;
    guest_t *bob = begin_with_bob(&carol);
    house.is_store_slow = true;
    guest_leave(bob);
    house.limits.inflight_max = 8;
    bob = persistent("bob");
    guest_leave(carol);
    gv_mem_store_set_fault(house.store, GV_ERR_IO, 100);
    house.is_store_slow = false;
    house_settle(&house);
    gv_mem_store_set_fault(house.store, GV_OK, 0);
    house_pass(&house, 5000);
    ck_assert_str_eq(guest_next(bob), "PUBLISH a q2 dup one");
    ck_assert_str_eq(guest_next(bob), "PUBLISH a q2 two");
    ck_assert_str_eq(guest_next(bob), "");
    carol = persistent("carol");
    ck_assert_str_eq(guest_next(carol), "");
}

START_TEST(what_nobody_took_is_sent_to_who_has_come_back)
{
    for_each_size(comes_back_meanwhile);
}
END_TEST

/* ---- a disk that is full -----------------------------------------------------------------------
 */

static void full_disk(void)
{
    guest_t *bob = persistent("bob");
    guest_subscribe(bob, "a", 1);
    guest_leave(bob);
    guest_t *alice = transient("alice");
    guest_t *old = house_connect(&house, GV_MQTT_V311, "old", true);
    guest_publish(alice, "a", "one", 1, false);
    ck_assert_str_eq(guest_next(alice), "PUBACK 1 00");
    gv_mem_store_set_fault(house.store, GV_ERR_FULL, 100);
    guest_publish(alice, "a", "two", 1, false);
    ck_assert_str_eq(guest_next(alice), "PUBACK 2 97");
    guest_publish(old, "a", "three", 1, false);
    ck_assert_str_eq(guest_next(old), ""); /* there is no way to say no */
    gv_mem_store_set_fault(house.store, GV_OK, 0);
    house_pass(&house, 1000);
    guest_publish(alice, "a", "four", 1, false);
    ck_assert_str_eq(guest_next(alice), "PUBACK 3 00");
    bob = persistent("bob");
    ck_assert_str_eq(guest_next(bob), "PUBLISH a q1 one");
    ck_assert_str_eq(guest_next(bob), "PUBLISH a q1 four");
    ck_assert_str_eq(guest_next(bob), "");
}

START_TEST(a_full_disk_refuses_and_loses_nothing)
{
    for_each_size(full_disk);
}
END_TEST

/* A shard that refuses at once has nothing to write, but the one with the packet id has. */
static void refused_elsewhere(void)
{
    static const char *const ids[] = {"bob", "carol", "dave", "erin"};
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        guest_t *receiver = persistent(ids[i]);
        guest_subscribe(receiver, "a", 2);
        guest_leave(receiver);
    }
    guest_t *alice = persistent("alice");
    gv_mem_store_set_fault(house.store, GV_ERR_FULL, 100);
    guest_publish(alice, "a", "one", 2, false);
    ck_assert_str_eq(guest_next(alice), "PUBREC 1 97");
    gv_mem_store_set_fault(house.store, GV_OK, 0);
    guest_publish(alice, "a", "two", 2, false);
    house_pass(&house, 1000);
    ck_assert_str_eq(guest_next(alice), "PUBREC 2 97");
    guest_publish(alice, "a", "three", 2, false);
    ck_assert_str_eq(guest_next(alice), "PUBREC 3 00");
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        ck_assert_str_eq(guest_next(persistent(ids[i])), "PUBLISH a q2 three");
    }
}

START_TEST(a_message_refused_by_another_shard_is_refused)
{
    for_each_size(refused_elsewhere);
}
END_TEST

/* ---- clocks ------------------------------------------------------------------------------------
 */

static void clocks(void)
{
    guest_t *bob = house_visit(&house, GV_MQTT_V5);
    gv_mqtt_connect_t connect = {.client_id = GV_BYTES_LITERAL("bob"), .has_will = true};
    gv_mqtt_props_set_number(&connect.props, GV_MQTT_PROP_SESSION_EXPIRY, 60);
    connect.will.topic = GV_BYTES_LITERAL("will");
    connect.will.payload = GV_BYTES_LITERAL("gone");
    gv_mqtt_props_set_number(&connect.will.props, GV_MQTT_PROP_WILL_DELAY, 20);
    guest_connect(bob, connect);
    ck_assert_str_eq(guest_next(bob), "CONNACK 00");
    house_crash(&house, GV_MEM_CRASH_POWER, 1000);
    guest_t *carol = transient("carol");
    guest_subscribe(carol, "will", 0);
    house_pass(&house, 19000);
    ck_assert_str_eq(guest_next(carol), "");
    house_pass(&house, 2000);
    ck_assert_str_eq(guest_next(carol), "PUBLISH will q0 gone");
    house_crash(&house, GV_MEM_CRASH_POWER, 1000);
    house.now_ms += 120000; /* down for two minutes */
    house_restart(&house);
    house_pass(&house, 100);
    guest_t *again = house_visit(&house, GV_MQTT_V5);
    guest_connect(again, (gv_mqtt_connect_t){.client_id = GV_BYTES_LITERAL("bob")});
    ck_assert_str_eq(guest_next(again), "CONNACK 00"); /* its session has expired */
}

START_TEST(wills_and_expiry_go_on_over_restarts)
{
    for_each_size(clocks);
}
END_TEST

/* The node dies after so many steps of the commits that a will has caused. */
static void dies_with_a_will(uint32_t steps)
{
    static const char *const sleepers[] = {"carol", "dave", "erin"};
    for (size_t i = 0; i < 3; i++) {
        guest_t *guest = persistent(sleepers[i]);
        guest_subscribe(guest, "will", 1);
        guest_leave(guest);
    }
    guest_t *bob = house_visit(&house, GV_MQTT_V5);
    gv_mqtt_connect_t connect = {.client_id = GV_BYTES_LITERAL("bob"), .has_will = true};
    gv_mqtt_props_set_number(&connect.props, GV_MQTT_PROP_SESSION_EXPIRY, 600);
    connect.will.topic = GV_BYTES_LITERAL("will");
    connect.will.qos = 1;
    connect.will.payload = GV_BYTES_LITERAL("gone");
    guest_connect(bob, connect);
    house_settle(&house);
    house.is_store_slow = true;
    guest_leave(bob);
    house_crash(&house, GV_MEM_CRASH_POWER, steps);
    house_pass(&house, 100);
    for (size_t i = 0; i < 3; i++) {
        guest_t *guest = persistent(sleepers[i]);
        ck_assert_str_eq(guest_next(guest), "PUBLISH will q1 gone");
        ck_assert_str_eq(guest_next(guest), "");
    }
}

START_TEST(a_will_is_published_once_whenever_its_node_dies)
{
    for (uint16_t shards = 1; shards <= 3; shards++) {
        for (uint32_t steps = 0; steps < 20; steps++) {
            house_open(&house, shards);
            dies_with_a_will(steps);
            house_close(&house);
        }
    }
}
END_TEST

static void after_a_reboot(uint64_t down_ms, const char *will, const char *connack)
{
    guest_t *bob = house_visit(&house, GV_MQTT_V5);
    gv_mqtt_connect_t connect = {.client_id = GV_BYTES_LITERAL("bob"), .has_will = true};
    gv_mqtt_props_set_number(&connect.props, GV_MQTT_PROP_SESSION_EXPIRY, 600);
    connect.will.topic = GV_BYTES_LITERAL("will");
    connect.will.qos = 1;
    connect.will.payload = GV_BYTES_LITERAL("gone");
    gv_mqtt_props_set_number(&connect.will.props, GV_MQTT_PROP_WILL_DELAY, 300);
    guest_connect(bob, connect);
    ck_assert_str_eq(guest_next(bob), "CONNACK 00");
    guest_t *carol = persistent("carol");
    guest_subscribe(carol, "will", 1);
    guest_leave(bob);
    house_settle(&house);
    house_restart(&house);
    house_reboot(&house, down_ms);
    house_clear(&house);
    house_boot(&house);
    house_pass(&house, 100);
    carol = house_visit(&house, GV_MQTT_V5);
    guest_connect(carol, (gv_mqtt_connect_t){.client_id = GV_BYTES_LITERAL("carol")});
    ck_assert_str_eq(guest_next(carol), "CONNACK 00 present");
    ck_assert_str_eq(guest_next(carol), will);
    guest_t *again = house_visit(&house, GV_MQTT_V5);
    guest_connect(again, (gv_mqtt_connect_t){.client_id = GV_BYTES_LITERAL("bob")});
    ck_assert_str_eq(guest_next(again), connack);
}

static void soon_after_a_reboot(void)
{
    after_a_reboot(120000, "", "CONNACK 00 present");
}

static void later_after_a_reboot(void)
{
    after_a_reboot(400000, "PUBLISH will q1 gone", "CONNACK 00 present");
}

static void long_after_a_reboot(void)
{
    after_a_reboot(700000, "PUBLISH will q1 gone", "CONNACK 00");
}

START_TEST(wills_and_expiry_fall_due_while_the_machine_is_down)
{
    for_each_size(soon_after_a_reboot);
    for_each_size(later_after_a_reboot);
    for_each_size(long_after_a_reboot);
}
END_TEST

static void publish_short_lived(guest_t *guest)
{
    gv_mqtt_publish_t publish = {.topic = GV_BYTES_LITERAL("t"),
                                 .payload = GV_BYTES_LITERAL("short"),
                                 .packet_id = ++guest->next_packet_id,
                                 .qos = 1};
    gv_mqtt_props_set_number(&publish.props, GV_MQTT_PROP_MESSAGE_EXPIRY, 1);
    uint8_t bytes[100];
    gv_mqtt_peer_t server = guest_server(guest);
    gv_writer_t w = gv_writer(bytes, sizeof(bytes));
    guest_send(guest, bytes, gv_mqtt_encode_publish(&publish, &server, &w));
}

/* Not a moment longer than it may, although what is kept of it in memory has seconds only. */
static void expires_between_seconds(void)
{
    guest_t *bob = persistent("bob");
    guest_subscribe(bob, "t", 1);
    guest_leave(bob);
    guest_t *alice = transient("alice");
    house_pass(&house, 10);
    publish_short_lived(alice);
    guest_publish(alice, "t", "long", 1, false);
    house_pass(&house, 1200);
    bob = persistent("bob");
    ck_assert_str_eq(guest_next(bob), "PUBLISH t q1 long");
    ck_assert_str_eq(guest_next(bob), "");
}

START_TEST(a_message_that_waits_expires_in_time)
{
    for_each_size(expires_between_seconds);
}
END_TEST

/* It has not been sent: nobody was there. */
static void expires_after_a_crash(void)
{
    guest_t *bob = persistent("bob");
    guest_subscribe(bob, "t", 1);
    guest_leave(bob);
    guest_t *alice = transient("alice");
    publish_short_lived(alice);
    guest_publish(alice, "t", "long", 1, false);
    house_crash(&house, GV_MEM_CRASH_POWER, 0);
    house_pass(&house, 1200);
    bob = persistent("bob");
    ck_assert_str_eq(guest_next(bob), "PUBLISH t q1 long");
    ck_assert_str_eq(guest_next(bob), "");
}

START_TEST(a_message_that_waits_expires_after_a_crash)
{
    for_each_size(expires_after_a_crash);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("broker/core/durable");
    TCase *tcase = tcase_create("durable");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, subscriptions_and_waiting_messages_survive_a_restart);
    tcase_add_test(tcase, a_queue_is_as_long_after_a_restart_as_before);
    tcase_add_test(tcase, a_session_that_has_ended_does_not_come_back);
    tcase_add_test(tcase, what_was_in_flight_comes_again_under_its_packet_id);
    tcase_add_test(tcase, what_waited_is_a_repetition_only_after_the_client_was_there);
    tcase_add_test(tcase, acknowledgements_wait_for_the_disk_or_for_all_receivers);
    tcase_add_test(tcase, clearing_what_is_being_cleared_waits_for_the_disk_too);
    tcase_add_test(tcase, a_message_that_was_received_is_only_released_after_a_crash);
    tcase_add_test(tcase, who_is_told_that_there_is_no_session_can_rely_on_it);
    tcase_add_test(tcase, what_a_failed_commit_said_of_sessions_is_said_again);
    tcase_add_test(tcase, pubrel_waits_for_its_mark_also_over_the_next_connection);
    tcase_add_test(tcase, a_repetition_is_not_acknowledged_when_the_first_was_lost);
    tcase_add_test(tcase, the_last_member_of_a_group_looks_through_its_messages_once);
    tcase_add_test(tcase, a_repeated_publish_is_known_after_a_crash);
    tcase_add_loop_test(tcase, nothing_acknowledged_is_lost_in_a_crash, 0, 2);
    tcase_add_test(tcase, a_member_whose_window_is_full_is_passed_over);
    tcase_add_test(tcase, a_message_that_nobody_comes_for_does_not_keep_the_log_from_shrinking);
    tcase_add_test(tcase, a_clean_start_is_answered_when_the_session_of_before_is_gone_for_good);
    tcase_add_test(tcase, a_message_that_is_given_away_is_with_one_of_them);
    tcase_add_test(tcase, what_nobody_took_is_sent_to_who_has_come_back);
    tcase_add_test(tcase, a_full_disk_refuses_and_loses_nothing);
    tcase_add_test(tcase, who_is_taken_over_before_his_connack_hears_nothing);
    tcase_add_test(tcase, a_message_refused_by_another_shard_is_refused);
    tcase_add_test(tcase, wills_and_expiry_go_on_over_restarts);
    tcase_add_test(tcase, a_will_is_published_once_whenever_its_node_dies);
    tcase_add_test(tcase, wills_and_expiry_fall_due_while_the_machine_is_down);
    tcase_add_test(tcase, a_message_that_waits_expires_in_time);
    tcase_add_test(tcase, a_message_that_waits_expires_after_a_crash);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
