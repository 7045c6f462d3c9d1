/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/aliases.h"

#include <stdio.h>
#include <stdlib.h>

#include <check.h>

#include "base/rng.h"

static gv_counter_t used;
static gv_alias_budget_t budget;
static gv_aliases_t *aliases;

static void begin(void)
{
    gv_counter_set(&used, 0);
    budget = (gv_alias_budget_t){.connection_max = 1 << 16, .total_max = 1 << 20, .used = &used};
    aliases = NULL;
}

static void end(void)
{
    gv_aliases_free(&aliases, &budget);
    ck_assert_ptr_null(aliases);
    ck_assert_uint_eq(gv_counter_get(&used), 0);
}

/* ---- what the client sends --------------------------------------------------------------------
 */

static gv_err_t learn(uint16_t number, const char *topic)
{
    return gv_aliases_learn(&aliases, &budget, number, 100, gv_bytes_text(topic));
}

static bool means(uint16_t number, const char *topic)
{
    return gv_bytes_equal(gv_aliases_topic(aliases, number), gv_bytes_text(topic));
}

START_TEST(a_number_means_the_topic_it_came_with_last)
{
    ck_assert(means(1, ""));
    ck_assert_int_eq(learn(1, "one"), GV_OK);
    ck_assert_int_eq(learn(100, "hundred"), GV_OK);
    ck_assert_int_eq(learn(9, "nine"), GV_OK);
    ck_assert(means(1, "one"));
    ck_assert(means(9, "nine"));
    ck_assert(means(100, "hundred"));
    ck_assert(means(2, ""));
    ck_assert(means(0, ""));
    ck_assert(means(101, ""));
    ck_assert(means(65535, ""));
    ck_assert_int_eq(learn(9, "another"), GV_OK);
    ck_assert(means(9, "another"));
    ck_assert(means(1, "one"));
}
END_TEST

START_TEST(what_a_client_makes_us_remember_is_limited)
{
    budget.connection_max = 10;
    ck_assert_int_eq(learn(1, "12345"), GV_OK);
    ck_assert_int_eq(learn(2, "67890"), GV_OK);
    ck_assert_int_eq(learn(3, "x"), GV_ERR_LIMIT);
    ck_assert(means(3, ""));
    ck_assert(means(2, "67890"));
    /* The old meaning makes room for the new, and is over also when there is not enough. */
    ck_assert_int_eq(learn(1, "54321"), GV_OK);
    ck_assert_int_eq(learn(1, "123456"), GV_ERR_LIMIT);
    ck_assert(means(1, ""));
    ck_assert_int_eq(learn(3, "x"), GV_OK);
}
END_TEST

START_TEST(connections_share_a_budget)
{
    gv_aliases_t *other = NULL;
    budget.total_max = 600;
    char topic[400];
    memset(topic, 't', sizeof(topic));
    ck_assert_int_eq(
        gv_aliases_learn(&other, &budget, 1, 10, gv_bytes((uint8_t *)topic, sizeof(topic))), GV_OK);
    uint64_t before = gv_counter_get(&used);
    ck_assert_uint_gt(before, sizeof(topic));
    ck_assert_int_eq(learn(100, "t"), GV_ERR_LIMIT); /* the table is too long */
    gv_aliases_free(&other, &budget);
    ck_assert_uint_lt(gv_counter_get(&used), before);
    budget.total_max = 2000;
    ck_assert_int_eq(learn(100, "t"), GV_OK);
}
END_TEST

/* ---- what we send ------------------------------------------------------------------------------
 */

/* The client's side: what each number means to it. */
static char heard[1025][32];
static uint16_t number_max;

static uint64_t hash_of(const char *topic)
{
    return gv_bytes_hash(gv_bytes_text(topic), 1);
}

/* Sends a topic as outgoing.c does; what the client understands is checked.  Bytes on the wire. */
static size_t say(const char *topic)
{
    gv_bytes_t text = gv_bytes_text(topic);
    gv_alias_choice_t choice =
        gv_aliases_choose(&aliases, &budget, number_max, text, hash_of(topic));
    ck_assert_uint_le(choice.number, number_max);
    if (choice.number == 0) {
        ck_assert(!choice.is_new);
        return text.size;
    }
    if (choice.is_new) {
        (void)snprintf(heard[choice.number], sizeof(heard[0]), "%s", topic);
        gv_aliases_introduce(aliases, &budget, choice, text, hash_of(topic));
        return text.size + 3;
    }
    ck_assert_str_eq(heard[choice.number], topic);
    return 3;
}

static size_t say_numbered(uint32_t number)
{
    char topic[32];
    (void)snprintf(topic, sizeof(topic), "topic/%05u", number);
    return say(topic);
}

enum {
    NUMBERED_SIZE = 11
};

START_TEST(a_topic_is_said_once)
{
    number_max = 10;
    ck_assert_uint_eq(say_numbered(1), NUMBERED_SIZE + 3);
    ck_assert_uint_eq(say_numbered(2), NUMBERED_SIZE + 3);
    ck_assert_uint_eq(say_numbered(1), 3);
    ck_assert_uint_eq(say_numbered(2), 3);
    ck_assert_uint_eq(say("short/1"), 7);
    ck_assert_uint_eq(say("short/1"), 7);
}
END_TEST

START_TEST(a_choice_that_is_not_sent_changes_nothing)
{
    number_max = 1;
    gv_bytes_t text = GV_BYTES_LITERAL("a/long/topic");
    for (int i = 0; i < 3; i++) {
        ck_assert(gv_aliases_choose(&aliases, &budget, 1, text, 5).is_new);
    }
    ck_assert_uint_eq(say_numbered(1), NUMBERED_SIZE + 3);
}
END_TEST

START_TEST(nobody_who_does_not_want_aliases_has_memory_for_them)
{
    number_max = 0;
    ck_assert_uint_eq(say_numbered(1), NUMBERED_SIZE);
    ck_assert_ptr_null(aliases);
}
END_TEST

START_TEST(every_number_a_client_takes_can_be_used)
{
    for (number_max = 1; number_max <= 40; number_max++) {
        memset(heard, 0, sizeof(heard));
        for (uint32_t i = 0; i < 1000; i++) {
            (void)say_numbered(i);
        }
        uint32_t usable = number_max < 8 ? number_max : number_max / 8 * 8U; /* whole sets */
        for (uint32_t number = 1; number <= usable; number++) {
            ck_assert_str_ne(heard[number], "");
        }
        gv_aliases_free(&aliases, &budget);
    }
}
END_TEST

START_TEST(topics_in_turn_keep_their_numbers_for_the_most_part)
{
    number_max = 32;
    uint32_t saved = 0;
    for (uint32_t i = 0; i < 6400; i++) {
        saved += say_numbered(i % 64) == 3 ? 1 : 0;
    }
    ck_assert_uint_gt(saved, 6400 / 3); /* at best one in two */
}
END_TEST

START_TEST(a_crowd_costs_little)
{
    number_max = 32;
    size_t bytes = 0;
    for (uint32_t i = 0; i < 100000; i++) {
        bytes += say_numbered(i);
    }
    /* Nothing comes twice: three bytes for one in eight. */
    ck_assert_uint_le(bytes, 100000 * NUMBERED_SIZE + 100000 / 8 * 3 + 32 * 3);
}
END_TEST

START_TEST(what_comes_often_now_replaces_what_came_often_once)
{
    number_max = 4;
    for (uint32_t i = 0; i < 1000; i++) {
        (void)say_numbered(i % 4);
    }
    size_t bytes = 0;
    for (uint32_t i = 0; i < 1000; i++) {
        bytes += say_numbered(100 + i % 3);
    }
    ck_assert_uint_lt(bytes, 1000 * 3 + 40 * NUMBERED_SIZE);
    /* And a few strangers between do not drive it out. */
    bytes = 0;
    for (uint32_t i = 0; i < 1000; i++) {
        bytes += say_numbered(i % 10 == 9 ? 200 + i : 100 + i % 3);
    }
    ck_assert_uint_lt(bytes, 900 * 4 + 100 * (NUMBERED_SIZE + 3));
}
END_TEST

START_TEST(our_own_aliases_leave_half_of_the_budget_to_the_clients)
{
    number_max = 1000;
    budget.total_max = 40000;
    for (uint32_t i = 0; i < 20000; i++) {
        (void)say_numbered(i);
    }
    ck_assert_uint_le(gv_counter_get(&used), 20000);
    ck_assert_uint_gt(gv_counter_get(&used), 19000);
    ck_assert_int_eq(learn(1, "topic"), GV_OK);
    budget.connection_max = 5;
    ck_assert_int_eq(learn(2, "12345"), GV_ERR_LIMIT);
    ck_assert_int_eq(learn(1, "12345"), GV_OK); /* ours do not count against it */
}
END_TEST

START_TEST(client_and_server_agree_whatever_is_sent)
{
    const char *text = getenv("GV_TEST_SEED");
    uint64_t seed = text != NULL ? strtoull(text, NULL, 10) : 1;
    (void)fprintf(stderr, "GV_TEST_SEED=%llu\n", (unsigned long long)seed);
    gv_rng_t rng;
    gv_rng_init(&rng, seed, 0);
    for (int round = 0; round < 200; round++) {
        memset(heard, 0, sizeof(heard));
        number_max = (uint16_t)(1 + gv_rng_below(&rng, 100));
        budget.connection_max = 100 + gv_rng_below(&rng, 2000);
        budget.total_max = 2000 + gv_rng_below(&rng, 20000);
        uint32_t topics = 1 + (uint32_t)gv_rng_below(&rng, 200);
        for (int i = 0; i < 1000; i++) {
            (void)say_numbered((uint32_t)gv_rng_below(&rng, topics));
            ck_assert_uint_le(gv_counter_get(&used), budget.total_max);
        }
        end();
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("aliases");
    tcase_add_checked_fixture(tc, begin, end);
    tcase_add_test(tc, a_number_means_the_topic_it_came_with_last);
    tcase_add_test(tc, what_a_client_makes_us_remember_is_limited);
    tcase_add_test(tc, connections_share_a_budget);
    tcase_add_test(tc, a_topic_is_said_once);
    tcase_add_test(tc, a_choice_that_is_not_sent_changes_nothing);
    tcase_add_test(tc, nobody_who_does_not_want_aliases_has_memory_for_them);
    tcase_add_test(tc, every_number_a_client_takes_can_be_used);
    tcase_add_test(tc, topics_in_turn_keep_their_numbers_for_the_most_part);
    tcase_add_test(tc, a_crowd_costs_little);
    tcase_add_test(tc, what_comes_often_now_replaces_what_came_often_once);
    tcase_add_test(tc, our_own_aliases_leave_half_of_the_budget_to_the_clients);
    tcase_add_test(tc, client_and_server_agree_whatever_is_sent);
    Suite *suite = suite_create("broker/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
