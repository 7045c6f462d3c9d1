/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/roster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "storage/mem_store.h"

enum {
    LETTERS_MAX = 64,
    MANY = 10000,
};

static gv_store_t *store;
static gv_roster_t *roster;
static gv_letter_t *letters[LETTERS_MAX];
static size_t letter_count;
static uint64_t now_ms;
static char seen[4096]; /* what was recalled, one line each */
static size_t seen_routes;
static bool is_unwanted; /* nobody wants to know of members */

static const gv_node_id_t node_a = {.bytes = {'a'}};
static const gv_node_id_t node_b = {.bytes = {'b'}};

static void on_post(void *arg, gv_letter_t *letter)
{
    (void)arg;
    ck_assert_uint_lt(letter_count, LETTERS_MAX);
    letters[letter_count++] = letter;
}

static void start(void)
{
    gv_roster_options_t options = {.store = store, .post = on_post};
    gv_roster_new(&options, &roster);
    ck_assert_int_eq(gv_roster_load(roster), GV_OK);
}

static void deliver_letters(void)
{
    size_t count = letter_count;
    letter_count = 0;
    for (size_t i = 0; i < count; i++) {
        letters[i]->deliver(letters[i]);
    }
}

static void settle(void)
{
    for (int quiet = 0; quiet < 3; quiet++) {
        gv_roster_turn_end(roster, now_ms);
        while (gv_mem_store_step(store)) {
            quiet = 0;
        }
        deliver_letters();
    }
}

static void set_up(void)
{
    gv_mem_options_t options = {.seed = 1};
    gv_mem_store_new(&options, &store);
    letter_count = 0;
    now_ms = 1000;
    is_unwanted = false;
    start();
}

static void tear_down(void)
{
    settle();
    gv_roster_free(&roster);
    gv_store_close(&store);
}

static void crash(void)
{
    gv_mem_store_crash(store, GV_MEM_CRASH_POWER);
    letter_count = 0;
    gv_roster_free(&roster);
    start();
}

static void set_member(const gv_node_id_t *id, const char *name, uint64_t gone_at_ms)
{
    gv_remembered_t member = {.id = *id, .address = "host:1"};
    (void)snprintf(member.name, sizeof(member.name), "%s", name);
    gv_roster_set_member(roster, &member, gone_at_ms);
}

static void set_route(const gv_node_id_t *id, const char *filter, bool is_lasting)
{
    gv_roster_set_route(roster, id, gv_bytes_text(filter), is_lasting);
}

static gv_node_index_t on_member(void *arg, const gv_remembered_t *member)
{
    (void)arg;
    size_t size = strlen(seen);
    (void)snprintf(seen + size, sizeof(seen) - size, "%s at %s, gone %llu\n", member->name,
                   member->address, (unsigned long long)member->gone_ms);
    return is_unwanted ? GV_NODE_NONE : (gv_node_index_t)member->id.bytes[0];
}

static void on_route(void *arg, gv_node_index_t node, gv_bytes_t filter)
{
    (void)arg;
    seen_routes++;
    size_t size = strlen(seen);
    (void)snprintf(seen + size, sizeof(seen) - size, "%c %.*s\n", node, (int)filter.size,
                   (const char *)filter.data);
}

static const char *recall(void)
{
    gv_roster_recall_t to = {.member = on_member, .route = on_route};
    seen[0] = '\0';
    seen_routes = 0;
    gv_roster_recall(roster, &to, 5000);
    return seen;
}

static uint64_t waiting(void)
{
    return gv_counter_get(&gv_roster_stats(roster)->waiting);
}

START_TEST(what_was_durable_is_recalled_once)
{
    set_member(&node_b, "n2", 0);
    set_member(&node_a, "n1", 0);
    set_route(&node_b, "b/1", true);
    set_route(&node_a, "a/1", true);
    set_route(&node_b, "b/2", true);
    set_route(&node_a, "a/1", false);
    set_member(&node_b, "n2", 4000);
    ck_assert_uint_eq(waiting(), 7);
    settle();
    ck_assert_uint_eq(waiting(), 0);
    ck_assert_str_eq(recall(), ""); /* nothing was there when this run began */
    crash();
    ck_assert_str_eq(recall(), "n1 at host:1, gone 0\nn2 at host:1, gone 1000\nb b/1\nb b/2\n");
    ck_assert_str_eq(recall(), "");
}
END_TEST

START_TEST(what_was_not_durable_is_not_there)
{
    set_member(&node_a, "n1", 0);
    settle();
    set_route(&node_a, "a", true);
    gv_roster_turn_end(roster, now_ms);
    crash();
    ck_assert_str_eq(recall(), "n1 at host:1, gone 0\n");
}
END_TEST

/* In some batches, one after the other. */
START_TEST(many_changes_go_in_slices)
{
    char filter[32];
    set_member(&node_a, "n1", 0);
    for (int i = 0; i < MANY; i++) {
        (void)snprintf(filter, sizeof(filter), "many/%d", i);
        set_route(&node_a, filter, true);
    }
    uint64_t before = gv_counter_get(&gv_store_stats(store)->batches);
    gv_roster_turn_end(roster, now_ms);
    set_route(&node_a, "many/7", false); /* behind those that are on their way */
    settle();
    ck_assert_uint_eq(waiting(), 0);
    ck_assert_uint_eq(gv_counter_get(&gv_store_stats(store)->batches) - before, 3);
    crash();
    (void)recall();
    ck_assert_uint_eq(seen_routes, MANY - 1);
}
END_TEST

START_TEST(a_disk_that_fails_is_tried_again)
{
    set_member(&node_a, "n1", 0);
    settle();
    gv_mem_store_set_fault(store, GV_ERR_FULL, 100);
    set_route(&node_a, "a", true);
    settle();
    set_route(&node_a, "b", true);
    settle();
    ck_assert_uint_eq(waiting(), 2);
    gv_mem_store_set_fault(store, GV_OK, 0);
    settle();
    ck_assert_uint_eq(waiting(), 2); /* not at once */
    now_ms += 2000;
    settle();
    ck_assert_uint_eq(waiting(), 0);
    crash();
    ck_assert_str_eq(recall(), "n1 at host:1, gone 0\na a\na b\n");
}
END_TEST

START_TEST(a_member_that_is_forgotten_takes_its_routes_along)
{
    set_member(&node_a, "n1", 0);
    set_member(&node_b, "n2", 0);
    set_route(&node_a, "a", true);
    set_route(&node_b, "b", true);
    gv_roster_forget(roster, &node_a); /* and its route is not taken off, as by a crash */
    settle();
    crash();
    ck_assert_str_eq(recall(), "n2 at host:1, gone 0\nb b\n");
    ck_assert_uint_eq(waiting(), 1);
    settle();
    set_member(&node_a, "n1", 0); /* it is back, and has no routes */
    settle();
    crash();
    ck_assert_str_eq(recall(), "n1 at host:1, gone 0\nn2 at host:1, gone 0\nb b\n");
}
END_TEST

START_TEST(routes_of_members_nobody_wants_are_not_told)
{
    set_member(&node_a, "n1", 0);
    set_route(&node_a, "a", true);
    settle();
    crash();
    is_unwanted = true;
    ck_assert_str_eq(recall(), "n1 at host:1, gone 0\n");
}
END_TEST

START_TEST(the_last_changes_are_handed_over_at_the_end)
{
    set_member(&node_a, "n1", 0);
    set_route(&node_a, "a", true);
    gv_roster_finish(roster);
    gv_roster_turn_end(roster, now_ms);
    gv_mem_store_settle(store);
    deliver_letters();
    ck_assert_uint_eq(waiting(), 0);
    crash();
    ck_assert_str_eq(recall(), "n1 at host:1, gone 0\na a\n");
}
END_TEST

START_TEST(changes_that_find_no_room_are_counted)
{
    static uint8_t filter[60000];
    memset(filter, 'x', sizeof(filter));
    uint64_t count = GV_ROSTER_BYTES_MAX / sizeof(filter) + 10;
    for (uint64_t i = 0; i < count; i++) {
        gv_roster_set_route(roster, &node_a, gv_bytes(filter, sizeof(filter)), i % 2 == 0);
    }
    uint64_t lost = gv_counter_get(&gv_roster_stats(roster)->lost);
    ck_assert_uint_ge(lost, 10);
    ck_assert_uint_eq(waiting() + lost, count);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("broker/core/roster");
    TCase *tcase = tcase_create("roster");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, what_was_durable_is_recalled_once);
    tcase_add_test(tcase, what_was_not_durable_is_not_there);
    tcase_add_test(tcase, many_changes_go_in_slices);
    tcase_add_test(tcase, a_disk_that_fails_is_tried_again);
    tcase_add_test(tcase, a_member_that_is_forgotten_takes_its_routes_along);
    tcase_add_test(tcase, routes_of_members_nobody_wants_are_not_told);
    tcase_add_test(tcase, the_last_changes_are_handed_over_at_the_end);
    tcase_add_test(tcase, changes_that_find_no_room_are_counted);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
