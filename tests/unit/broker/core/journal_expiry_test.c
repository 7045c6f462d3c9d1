/* SPDX-License-Identifier: Apache-2.0 */
/* Messages that expire while nobody comes for them: the room they had is there for others. */
#include "house.h"

static house_t house;

enum {
    EXPIRY_S = 5,
    STORE_BYTES = 400000,
    RESERVE_BYTES = 100000,
};

static void reopen(uint64_t size_bytes, uint64_t reserve_bytes)
{
    house_empty(&house);
    house_clear(&house);
    gv_store_close(&house.store);
    gv_mem_options_t options = {
        .seed = 7, .size_bytes = size_bytes, .reserve_bytes = reserve_bytes};
    gv_mem_store_new(&options, &house.store);
    house.limits.stored_queue_messages_max = 100000;
    house.limits.stored_queue_bytes_max = 1 << 26;
    house_boot(&house);
}

/* With a store that is soon full, or one that never is. */
static void for_each_size(void (*test)(void), bool is_small)
{
    for (uint16_t shards = 1; shards <= 3; shards++) {
        house_open(&house, shards);
        reopen(is_small ? STORE_BYTES : 0, is_small ? RESERVE_BYTES : 0);
        test();
        house_close(&house);
    }
}

static uint64_t commits(void)
{
    return gv_counter_get(&gv_store_stats(house.store)->commits);
}

/* What the shards count together. */
static uint64_t sum(size_t offset)
{
    uint64_t value = 0;
    for (uint16_t i = 0; i < house.shard_count; i++) {
        const char *stats = (const char *)gv_shard_stats(house.shards[i]);
        value += gv_counter_get((const gv_counter_t *)(const void *)(stats + offset));
    }
    return value;
}

#define SUM(name) sum(offsetof(gv_shard_stats_t, name))

static guest_t *come(const char *id)
{
    return house_connect(&house, GV_MQTT_V5, id, false);
}

static void asleep(const char *id)
{
    guest_t *guest = come(id);
    guest_subscribe(guest, "t", 1);
    guest_leave(guest);
}

/* expiry_s 0: never. */
static void push(guest_t *guest, const char *payload, uint32_t expiry_s)
{
    uint8_t bytes[1200];
    gv_mqtt_publish_t publish = {.topic = GV_BYTES_LITERAL("t"),
                                 .payload = gv_bytes_text(payload),
                                 .packet_id = (uint16_t)(++guest->next_packet_id % 65535 + 1),
                                 .qos = 1};
    if (expiry_s != 0) {
        gv_mqtt_props_set_number(&publish.props, GV_MQTT_PROP_MESSAGE_EXPIRY, expiry_s);
    }
    gv_mqtt_peer_t server = guest_server(guest);
    gv_writer_t w = gv_writer(bytes, sizeof(bytes));
    guest_push(guest, bytes, gv_mqtt_encode_publish(&publish, &server, &w));
}

/* Whether it is taken. */
static bool offer(guest_t *guest, const char *payload, uint32_t expiry_s)
{
    push(guest, payload, expiry_s);
    house_settle(&house);
    const char *answer = guest_next(guest);
    ck_assert_int_eq(strncmp(answer, "PUBACK ", 7), 0);
    return strcmp(strchr(answer + 7, ' '), " 00") == 0;
}

/* The message of a number, 500 bytes long. */
static const char *text_of(uint32_t number)
{
    static char text[501];
    (void)snprintf(text, sizeof(text), "%u %0*d", number, 480, 0);
    return text;
}

/* Messages until the store is full; every `eternal`-th does not expire (0: all do).  How many. */
static uint32_t fill(guest_t *guest, uint32_t eternal)
{
    uint32_t count = 0;
    while (offer(guest, text_of(count), eternal != 0 && count % eternal == 0 ? 0 : EXPIRY_S)) {
        count++;
    }
    ck_assert_uint_gt(count, 100);
    ck_assert(gv_store_is_full(house.store));
    return count;
}

/* ---- a full store ------------------------------------------------------------------------------
 */

static void all_expire(void)
{
    asleep("bob");
    guest_t *alice = come("alice");
    for (int round = 0; round < 3; round++) {
        uint64_t before = SUM(dropped_expired);
        uint32_t count = fill(alice, 0);
        house_pass(&house, (uint64_t)EXPIRY_S * 1000 + 2500);
        ck_assert(!gv_store_is_full(house.store));
        ck_assert_uint_eq(SUM(dropped_expired), before + count);
        ck_assert_uint_eq(SUM(queued_messages), 0);
        ck_assert_uint_eq(SUM(queued_bytes), 0);
        ck_assert_uint_le(SUM(log_segments), 2U * house.shard_count);
    }
    /* Nothing had to be read. */
    ck_assert_uint_eq(SUM(segments_cleaned), 0);
    ck_assert(offer(alice, "new", EXPIRY_S));
    guest_t *bob = come("bob");
    ck_assert_str_eq(guest_next(bob), "PUBLISH t q1 new");
    ck_assert_str_eq(guest_next(bob), "");
}

START_TEST(a_store_full_of_expired_messages_has_room_at_once)
{
    for_each_size(all_expire, true);
}
END_TEST

/* Bob gets these, and nothing else. */
static void check_eternal(uint32_t from, uint32_t to, uint32_t step)
{
    guest_t *bob = come("bob");
    for (uint32_t i = from; i < to; i += step) {
        char expected[600];
        (void)snprintf(expected, sizeof(expected), "PUBLISH t q1 %s", text_of(i));
        ck_assert_str_eq(guest_next(bob), expected);
        guest_ack(bob, GV_MQTT_PUBACK, bob->last_packet_id);
    }
    ck_assert_str_eq(guest_next(bob), "");
    guest_leave(bob);
}

static void some_expire(void)
{
    asleep("bob");
    guest_t *alice = come("alice");
    uint32_t count = fill(alice, 10);
    house_pass(&house, (uint64_t)EXPIRY_S * 1000 + 4000);
    ck_assert(!gv_store_is_full(house.store));
    uint32_t eternal = (count + 9) / 10;
    ck_assert_uint_eq(SUM(dropped_expired), count - eternal);
    ck_assert_uint_eq(SUM(queued_messages), eternal);
    ck_assert_uint_ge(SUM(queued_bytes), eternal * 480U);
    ck_assert_uint_le(SUM(queued_bytes), eternal * 520U);
    check_eternal(0, count, 10);
    ck_assert_uint_eq(SUM(queued_bytes), 0);
}

START_TEST(among_messages_that_never_expire_they_leave_room_too)
{
    for_each_size(some_expire, true);
}
END_TEST

/* The store is full again and again, and what was written anew is not lost. */
static void often_full(void)
{
    asleep("bob");
    guest_t *alice = come("alice");
    uint32_t eternal = 0;
    for (int round = 0; round < 6; round++) {
        ck_assert(offer(alice, text_of(eternal++), 0));
        while (offer(alice, "short", EXPIRY_S)) {
        }
        house_pass(&house, (uint64_t)EXPIRY_S * 1000 + 4000);
        ck_assert(!gv_store_is_full(house.store));
        if (round % 2 == 1) {
            house_crash(&house, GV_MEM_CRASH_POWER, 0);
            alice = come("alice");
        }
    }
    check_eternal(0, eternal, 1);
}

START_TEST(what_stays_is_kept_however_often_the_rest_goes)
{
    for_each_size(often_full, true);
}
END_TEST

static void over_restarts(void)
{
    asleep("bob");
    guest_t *alice = come("alice");
    uint32_t count = fill(alice, 10);
    house.next_shard_count = (uint16_t)(house.shard_count % 3 + 1);
    house_crash(&house, GV_MEM_CRASH_PROCESS, 0);
    house_pass(&house, 1000);
    ck_assert_uint_eq(SUM(queued_messages), count);
    alice = come("alice");
    ck_assert(!offer(alice, "no", 0));
    house_pass(&house, (uint64_t)EXPIRY_S * 1000 + 5000);
    ck_assert(!gv_store_is_full(house.store));
    ck_assert_uint_eq(SUM(queued_messages), (count + 9) / 10);
    check_eternal(0, count, 10);
    house_pass(&house, 5000);
    ck_assert_uint_le(SUM(log_segments), 2U * house.shard_count);
    house.next_shard_count = 0;
}

START_TEST(they_leave_room_after_a_restart_as_well)
{
    for_each_size(over_restarts, true);
}
END_TEST

/* Nothing has expired: what is there is left alone. */
static void full_of_others(void)
{
    asleep("bob");
    guest_t *alice = come("alice");
    uint32_t count = fill(alice, 1);
    house_pass(&house, 3000);
    uint64_t before = commits();
    house_pass(&house, 10000);
    ck_assert_uint_le(commits(), before + house.shard_count);
    ck_assert_uint_eq(SUM(segments_cleaned), 0);
    ck_assert(gv_store_is_full(house.store));
    check_eternal(0, count, 1);
    house_pass(&house, 3000);
    ck_assert(offer(alice, "again", 0));
}

START_TEST(a_store_full_of_others_is_left_alone)
{
    for_each_size(full_of_others, true);
}
END_TEST

/* ---- one that is not ---------------------------------------------------------------------------
 */

/* So many in one go that they are not all looked at in one. */
static void many(void)
{
    const uint32_t count = 20000;
    asleep("bob");
    guest_t *alice = come("alice");
    for (uint32_t i = 0; i < count; i++) {
        push(alice, i % 4 == 0 ? "long" : "short", i % 4 == 0 ? 3600 : 1);
        if (i % 50 == 0) {
            house_settle(&house);
        }
    }
    house_settle(&house);
    ck_assert_uint_eq(SUM(queued_messages), count);
    uint64_t before = 0;
    uint64_t most = 0;
    for (int i = 0; i < 350; i++) {
        house_pass(&house, 10);
        uint64_t now = SUM(dropped_expired);
        most = now - before > most ? now - before : most;
        before = now;
    }
    ck_assert_uint_eq(before, count / 4 * 3);
    ck_assert_uint_lt(most, 10000);
    ck_assert_uint_eq(SUM(queued_messages), count / 4);
}

START_TEST(many_of_them_go_in_a_few_steps)
{
    for_each_size(many, false);
}
END_TEST

/* More segments than are deleted with one commit. */
static void apart(void)
{
    asleep("bob");
    guest_t *alice = come("alice");
    for (int i = 0; i < 2500; i++) {
        ck_assert(offer(alice, "x", EXPIRY_S));
    }
    house_pass(&house, (uint64_t)EXPIRY_S * 1000 + 3000);
    ck_assert_uint_eq(SUM(queued_messages), 0);
    ck_assert_uint_le(SUM(log_segments), 2U * house.shard_count);
}

START_TEST(their_segments_go_however_many_they_are)
{
    for_each_size(apart, false);
}
END_TEST

/* It may have been received, so it stays; and it is not written again and again. */
static void sent(void)
{
    asleep("bob");
    guest_t *bob = come("bob");
    guest_t *alice = come("alice");
    ck_assert(offer(alice, "one", 1));
    ck_assert_str_eq(guest_next(bob), "PUBLISH t q1 one");
    guest_leave(bob);
    house_pass(&house, 3000);
    uint64_t before = commits();
    house_pass(&house, 20000);
    ck_assert_uint_le(commits(), before + house.shard_count);
    ck_assert_uint_eq(SUM(dropped_expired), 0);
    bob = come("bob");
    ck_assert_str_eq(guest_next(bob), "PUBLISH t q1 dup one");
}

START_TEST(what_was_sent_before_it_expired_stays)
{
    for_each_size(sent, false);
}
END_TEST

/* Sessions that have ended are forgotten, those that come meanwhile are not. */
static void ended(void)
{
    for (int i = 0; i < 20; i++) {
        char id[16];
        (void)snprintf(id, sizeof(id), "bob%d", i);
        asleep(id);
    }
    guest_t *alice = come("alice");
    ck_assert(offer(alice, "one", EXPIRY_S));
    for (int i = 0; i < 20; i += 3) {
        char id[16];
        (void)snprintf(id, sizeof(id), "bob%d", i);
        guest_leave(house_connect(&house, GV_MQTT_V5, id, true));
    }
    asleep("late");
    ck_assert(offer(alice, "two", 2 * EXPIRY_S));
    ck_assert_uint_eq(SUM(queued_messages), 13 + 14);
    house_pass(&house, (uint64_t)EXPIRY_S * 1000 + 2500);
    ck_assert_uint_eq(SUM(dropped_expired), 13);
    ck_assert_uint_eq(SUM(queued_messages), 14);
    house_pass(&house, (uint64_t)EXPIRY_S * 1000);
    ck_assert_uint_eq(SUM(dropped_expired), 13 + 14);
    ck_assert_uint_eq(SUM(queued_messages), 0);
}

START_TEST(sessions_come_and_go_meanwhile)
{
    for_each_size(ended, false);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("broker/core/journal_expiry");
    TCase *tcase = tcase_create("expiry");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, a_store_full_of_expired_messages_has_room_at_once);
    tcase_add_test(tcase, among_messages_that_never_expire_they_leave_room_too);
    tcase_add_test(tcase, what_stays_is_kept_however_often_the_rest_goes);
    tcase_add_test(tcase, they_leave_room_after_a_restart_as_well);
    tcase_add_test(tcase, a_store_full_of_others_is_left_alone);
    tcase_add_test(tcase, many_of_them_go_in_a_few_steps);
    tcase_add_test(tcase, their_segments_go_however_many_they_are);
    tcase_add_test(tcase, what_was_sent_before_it_expired_stays);
    tcase_add_test(tcase, sessions_come_and_go_meanwhile);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
