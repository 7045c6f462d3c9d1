/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/routes.h"

#include <stdlib.h>

#include <check.h>

#include "tests/unit/broker/core/retire_bin.h"

static retire_bin_t bin;
static gv_shared_heap_t heap;
static gv_routes_t routes;
static gv_matches_t matches;

static void set_up(void)
{
    heap = (gv_shared_heap_t){.retire = retire_into_bin, .retire_arg = &bin};
    gv_routes_init(&routes);
    gv_matches_init(&matches);
}

static void tear_down(void)
{
    gv_routes_deinit(&routes, &heap);
    ck_assert_uint_eq(heap.bytes, 0);
    gv_matches_deinit(&matches);
    bin_deinit(&bin);
}

static bool set_shard(uint8_t shard, uint32_t slot)
{
    gv_route_target_t target = {.kind = GV_ROUTE_SHARD, .index = shard, .slot = slot};
    return gv_routes_set(&routes, &heap, target);
}

static bool set_node(uint8_t node)
{
    gv_route_target_t target = {.kind = GV_ROUTE_NODE, .index = node};
    return gv_routes_set(&routes, &heap, target);
}

static void collect(bool local_only)
{
    matches.hit_count = 0;
    matches.node_share_count = 0;
    matches.shards = 0;
    matches.nodes = 0;
    gv_collector_t collector = {
        .out = &matches, .nodes_alive_mask = UINT64_MAX, .local_only = local_only};
    gv_routes_collect(&routes, &collector);
}

START_TEST(a_single_target_needs_no_memory)
{
    ck_assert(gv_routes_are_empty(&routes));
    ck_assert(set_shard(63, UINT32_MAX));
    ck_assert_uint_eq(heap.bytes, 0);
    collect(true);
    ck_assert_uint_eq(matches.hit_count, 1);
    ck_assert_uint_eq(matches.hits[0].shard, 63);
    ck_assert_uint_eq(matches.hits[0].slot, UINT32_MAX);
    ck_assert(gv_routes_unset(&routes, &heap, GV_ROUTE_SHARD, 63));
    ck_assert(gv_routes_are_empty(&routes));

    ck_assert(set_node(63));
    ck_assert(!set_node(63));
    ck_assert_uint_eq(heap.bytes, 0);
    collect(false);
    ck_assert_uint_eq(matches.nodes, UINT64_C(1) << 63);
    ck_assert_uint_eq(matches.hit_count, 0);
    collect(true);
    ck_assert_uint_eq(matches.nodes, 0);
}
END_TEST

START_TEST(shard_zero_and_slot_zero_are_a_target)
{
    ck_assert(set_shard(0, 0));
    ck_assert(!gv_routes_are_empty(&routes));
    ck_assert_uint_eq(gv_routes_shard_count(&routes), 1);
    collect(false);
    ck_assert_uint_eq(matches.hit_count, 1);
}
END_TEST

START_TEST(all_targets_there_can_be)
{
    for (uint8_t i = 0; i < 64; i++) {
        uint8_t index = (uint8_t)(i * 7 % 64); /* in no order */
        ck_assert(set_shard(index, 100U + index));
        ck_assert(set_node(index));
    }
    ck_assert_uint_eq(gv_routes_shard_count(&routes), 64);
    collect(false);
    ck_assert_uint_eq(matches.shards, UINT64_MAX);
    ck_assert_uint_eq(matches.nodes, UINT64_MAX);
    ck_assert_uint_eq(matches.hit_count, 64);
    for (size_t i = 0; i < 64; i++) {
        ck_assert_uint_eq(matches.hits[i].slot, 100U + matches.hits[i].shard);
    }
    for (uint8_t i = 0; i < 64; i++) {
        ck_assert(gv_routes_unset(&routes, &heap, GV_ROUTE_NODE, i));
        ck_assert(!gv_routes_unset(&routes, &heap, GV_ROUTE_NODE, i));
        collect(false);
        ck_assert_uint_eq(matches.nodes, i == 63 ? 0 : UINT64_MAX << (i + 1));
    }
    ck_assert_uint_eq(gv_routes_shard_count(&routes), 64);
}
END_TEST

START_TEST(back_to_one_target_is_back_in_the_word)
{
    ck_assert(set_shard(1, 10));
    ck_assert(set_node(2));
    ck_assert_uint_gt(heap.bytes, 0);
    ck_assert(gv_routes_unset(&routes, &heap, GV_ROUTE_NODE, 2));
    ck_assert_uint_eq(heap.bytes, 0);
    collect(false);
    ck_assert_uint_eq(matches.hits[0].slot, 10);
    ck_assert(set_node(2));
    ck_assert(gv_routes_unset(&routes, &heap, GV_ROUTE_SHARD, 1));
    ck_assert_uint_eq(heap.bytes, 0);
    collect(false);
    ck_assert_uint_eq(matches.nodes, 4);
    ck_assert_uint_eq(gv_routes_shard_count(&routes), 0);
}
END_TEST

START_TEST(groups_stand_beside_plain_targets)
{
    gv_share_group_t *groups[3];
    static const char *const texts[] = {"$share/a/f", "$share/b/f", "$share/c/f"};
    for (uint8_t i = 0; i < 3; i++) {
        groups[i] = gv_share_group_new(&heap, gv_bytes_text(texts[i]), i);
        gv_route_target_t member = {
            .kind = GV_ROUTE_SHARD, .index = i, .slot = 10U + i, .weight = 1};
        ck_assert(gv_share_group_set(groups[i], &heap, member));
        gv_routes_add_group(&routes, &heap, groups[i]);
    }
    ck_assert_uint_eq(gv_routes_shard_count(&routes), 0);
    ck_assert(set_shard(5, 50));
    collect(false);
    ck_assert_uint_eq(matches.shards, 1U << 5 | 7);
    gv_routes_remove_group(&routes, &heap, groups[1]);
    collect(false);
    ck_assert_uint_eq(matches.shards, 1U << 5 | 5);
    collect(true);
    ck_assert_uint_eq(matches.shards, 1U << 5);
    ck_assert(gv_routes_unset(&routes, &heap, GV_ROUTE_SHARD, 5));
    gv_routes_remove_group(&routes, &heap, groups[0]);
    ck_assert(!gv_routes_are_empty(&routes));
    gv_routes_remove_group(&routes, &heap, groups[2]);
    ck_assert(gv_routes_are_empty(&routes));
    gv_share_group_retire(groups[0], &heap);
    gv_share_group_retire(groups[1], &heap);
    gv_share_group_free(groups[2], &heap);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("routes");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, a_single_target_needs_no_memory);
    tcase_add_test(tc, shard_zero_and_slot_zero_are_a_target);
    tcase_add_test(tc, all_targets_there_can_be);
    tcase_add_test(tc, back_to_one_target_is_back_in_the_word);
    tcase_add_test(tc, groups_stand_beside_plain_targets);

    Suite *suite = suite_create("broker/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
