/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/filter_trie.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "tests/unit/broker/core/retire_bin.h"

/* What matches what is tested with the router, which also knows the rules of the whole. */

static retire_bin_t bin;
static gv_shared_heap_t heap;
static gv_filter_trie_t trie;
static gv_matches_t matches;
static size_t empty_bytes;

static void set_up(void)
{
    heap = (gv_shared_heap_t){.retire = retire_into_bin, .retire_arg = &bin};
    gv_filter_trie_init(&trie, &heap, 9);
    gv_matches_init(&matches);
    empty_bytes = heap.bytes;
}

static void tear_down(void)
{
    gv_filter_trie_deinit(&trie, &heap);
    ck_assert_uint_eq(heap.bytes, 0);
    gv_matches_deinit(&matches);
    bin_deinit(&bin);
}

static gv_routes_t *add(const char *filter, uint8_t shard)
{
    gv_routes_t *routes = gv_filter_trie_find_or_add(&trie, &heap, gv_bytes_text(filter));
    (void)gv_routes_set(routes, &heap, (gv_route_target_t){.kind = GV_ROUTE_SHARD, .index = shard});
    return routes;
}

static void take_out(const char *filter, uint8_t shard)
{
    gv_routes_t *routes = gv_filter_trie_find(&trie, gv_bytes_text(filter));
    ck_assert_ptr_nonnull(routes);
    ck_assert(gv_routes_unset(routes, &heap, GV_ROUTE_SHARD, shard));
    gv_filter_trie_prune(&trie, &heap, gv_bytes_text(filter));
}

static uint64_t match(const char *topic)
{
    matches.hit_count = 0;
    matches.shards = 0;
    matches.nodes_visited = 0;
    gv_collector_t collector = {.out = &matches, .nodes_alive_mask = UINT64_MAX};
    gv_filter_trie_match(&trie, gv_bytes_text(topic), &collector);
    return matches.shards;
}

START_TEST(an_empty_trie_is_not_walked)
{
    ck_assert_uint_eq(match("a/b"), 0);
    ck_assert_uint_eq(matches.nodes_visited, 0);
}
END_TEST

START_TEST(filters_that_share_a_path_keep_their_own_routes)
{
    static const char *const filters[] = {"+",     "+/+", "+/#", "a/+", "a/+/b",
                                          "a/b/#", "#",   "/+",  "+/"};
    gv_routes_t *routes[9];
    for (uint8_t i = 0; i < 9; i++) {
        routes[i] = add(filters[i], i);
        for (uint8_t k = 0; k < i; k++) {
            ck_assert_ptr_ne(routes[i], routes[k]);
        }
    }
    for (uint8_t i = 0; i < 9; i++) {
        ck_assert_ptr_eq(gv_filter_trie_find(&trie, gv_bytes_text(filters[i])), routes[i]);
    }
    ck_assert_uint_eq(match("a/b"), 1U << 1 | 1U << 2 | 1U << 3 | 1U << 5 | 1U << 6);
    ck_assert_uint_eq(match("/"), 1U << 1 | 1U << 2 | 1U << 6 | 1U << 7 | 1U << 8);
    ck_assert_uint_eq(match("x"), 1U << 0 | 1U << 2 | 1U << 6);
}
END_TEST

START_TEST(pruning_takes_only_what_leads_nowhere)
{
    add("a/b/+", 1);
    size_t one = heap.bytes;
    add("a/b/+/c/+/d", 2);
    add("a/b/+/c/#", 3);
    add("a/b/x/#", 4);
    take_out("a/b/+/c/+/d", 2);
    ck_assert_uint_eq(match("a/b/x/c/y/d"), 1U << 3 | 1U << 4);
    take_out("a/b/x/#", 4);
    take_out("a/b/+/c/#", 3);
    ck_assert_uint_eq(heap.bytes, one);
    ck_assert_uint_eq(match("a/b/x"), 1U << 1);
    take_out("a/b/+", 1);
    ck_assert_uint_eq(heap.bytes, empty_bytes);
    ck_assert_uint_eq(match("a/b/x"), 0);
}
END_TEST

START_TEST(a_filter_in_the_middle_of_another_can_go)
{
    add("a/+", 1);
    add("a/+/b/+", 2);
    take_out("a/+", 1);
    ck_assert_uint_eq(match("a/x"), 0);
    ck_assert_uint_eq(match("a/x/b/y"), 1U << 2);
}
END_TEST

START_TEST(a_topic_without_match_ends_the_walk_early)
{
    add("a/b/c/d/e/f/+", 1);
    ck_assert_uint_eq(match("x/b/c/d/e/f/g"), 0);
    ck_assert_uint_eq(matches.nodes_visited, 1);
    ck_assert_uint_eq(match("a/x/c/d/e/f/g"), 0);
    ck_assert_uint_eq(matches.nodes_visited, 2);
    ck_assert_uint_eq(match("$a/b/c"), 0);
}
END_TEST

/* 2^10 ways down, each of which is taken, and none twice. */
START_TEST(all_ways_that_match_are_walked_once)
{
    enum {
        LEVELS = 10
    };
    for (uint32_t bits = 0; bits < 1U << LEVELS; bits++) {
        char filter[LEVELS * 2 + 2];
        for (uint32_t i = 0; i < LEVELS; i++) {
            filter[i * 2] = (bits >> i & 1) != 0 ? '+' : 'a';
            filter[i * 2 + 1] = '/';
        }
        filter[LEVELS * 2] = '#';
        filter[LEVELS * 2 + 1] = '\0';
        add(filter, (uint8_t)(bits % 64));
    }
    ck_assert_uint_eq(match("a/a/a/a/a/a/a/a/a/a/x"), UINT64_MAX);
    ck_assert_uint_eq(matches.hit_count, 1U << LEVELS);
    ck_assert_uint_eq(matches.nodes_visited, (2U << LEVELS) - 1);
}
END_TEST

static void drop_shard(gv_routes_t *routes, void *arg)
{
    (void)gv_routes_unset(routes, &heap, GV_ROUTE_SHARD, *(const uint8_t *)arg);
}

START_TEST(a_sweep_takes_out_what_it_empties)
{
    char filter[32];
    for (int i = 0; i < 300; i++) {
        (void)snprintf(filter, sizeof(filter), "t/%d/+/x/#", i);
        add(filter, (uint8_t)(i % 2));
        (void)snprintf(filter, sizeof(filter), "+/%d/+", i);
        add(filter, 0);
    }
    uint8_t shard = 0;
    gv_filter_trie_sweep(&trie, &heap, drop_shard, &shard);
    ck_assert_uint_eq(match("t/10/y/x/z"), 0);
    ck_assert_uint_eq(matches.nodes_visited, 2);
    ck_assert_uint_eq(match("t/11/y/x/z"), 1U << 1);
    shard = 1;
    gv_filter_trie_sweep(&trie, &heap, drop_shard, &shard);
    ck_assert_uint_eq(heap.bytes, empty_bytes);
}
END_TEST

/* ---- looking at all ------------------------------------------------------------------------- */

static struct {
    const char *const *filters;
    size_t count;
    int seen[16];
    int left; /* that are taken in this slice; below 0: any number */
} look;

static bool on_filter(gv_bytes_t filter, const gv_routes_t *routes, void *arg)
{
    ck_assert_ptr_eq(arg, &look);
    ck_assert(!gv_routes_are_empty(routes));
    if (look.left-- == 0) {
        return false;
    }
    for (size_t i = 0; i < look.count; i++) {
        if (gv_bytes_equal(filter, gv_bytes_text(look.filters[i]))) {
            look.seen[i]++;
            return true;
        }
    }
    ck_abort_msg("%.*s was never added", (int)filter.size, (const char *)filter.data);
    return true;
}

START_TEST(a_walk_shows_each_filter_once_however_thin_the_slices)
{
    static const char *const filters[] = {"+",  "+/+", "+/#", "a/+",   "a/+/b", "a/b/#", "#",
                                          "/+", "+/",  "/#",  "+/+/+", "b/+",   "c/+",   "d/#"};
    look.filters = filters;
    look.count = sizeof(filters) / sizeof(filters[0]);
    for (uint8_t i = 0; i < look.count; i++) {
        add(filters[i], i);
    }
    for (uint32_t visits_max = 1; visits_max < 100; visits_max = visits_max * 3) {
        for (int taken = -1; taken < 4; taken++) {
            if (taken == 0) {
                continue; /* that would never end */
            }
            memset(look.seen, 0, sizeof(look.seen));
            gv_filter_trie_walk_t walk = {._is_here_over = false};
            int slices = 0;
            do {
                ck_assert_int_lt(slices++, 1000);
                look.left = taken;
            } while (!gv_filter_trie_walk_on(&trie, &walk, visits_max, on_filter, &look));
            gv_filter_trie_walk_deinit(&walk);
            for (size_t i = 0; i < look.count; i++) {
                ck_assert_msg(look.seen[i] == 1, "%s: %d times", filters[i], look.seen[i]);
            }
        }
    }
}
END_TEST

START_TEST(a_walk_misses_nothing_that_stays_when_others_go)
{
    static const char *const filters[] = {"+/1", "+/2", "a/+",   "b/+",   "c/+",   "d/+",
                                          "e/+", "f/+", "a/b/#", "a/c/#", "a/d/#", "a/e/#"};
    look.filters = filters;
    look.count = sizeof(filters) / sizeof(filters[0]);
    for (size_t gone = 0; gone < look.count; gone++) {
        for (int after = 0; after < 20; after++) {
            for (uint8_t i = 0; i < look.count; i++) {
                add(filters[i], i);
            }
            memset(look.seen, 0, sizeof(look.seen));
            look.left = -1;
            gv_filter_trie_walk_t walk = {._is_here_over = false};
            bool is_end = false;
            for (int slice = 0; !is_end; slice++) {
                if (slice == after) {
                    take_out(filters[gone], (uint8_t)gone);
                }
                is_end = gv_filter_trie_walk_on(&trie, &walk, 1, on_filter, &look);
            }
            gv_filter_trie_walk_deinit(&walk);
            for (size_t i = 0; i < look.count; i++) {
                ck_assert_msg(i == gone || look.seen[i] >= 1, "%s, when %s goes after %d",
                              filters[i], filters[gone], after);
            }
        }
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("filter_trie");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, an_empty_trie_is_not_walked);
    tcase_add_test(tc, filters_that_share_a_path_keep_their_own_routes);
    tcase_add_test(tc, pruning_takes_only_what_leads_nowhere);
    tcase_add_test(tc, a_filter_in_the_middle_of_another_can_go);
    tcase_add_test(tc, a_topic_without_match_ends_the_walk_early);
    tcase_add_test(tc, all_ways_that_match_are_walked_once);
    tcase_add_test(tc, a_sweep_takes_out_what_it_empties);
    tcase_add_test(tc, a_walk_shows_each_filter_once_however_thin_the_slices);
    tcase_add_test(tc, a_walk_misses_nothing_that_stays_when_others_go);

    Suite *suite = suite_create("broker/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
