/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/share_group.h"

#include <stdlib.h>

#include <check.h>

#include "tests/unit/broker/core/retire_bin.h"

/* How the choice is weighted, and who is eligible, is tested with the router. */

static retire_bin_t bin;
static gv_shared_heap_t heap;
static gv_matches_t matches;

static void set_up(void)
{
    heap = (gv_shared_heap_t){.retire = retire_into_bin, .retire_arg = &bin};
    gv_matches_init(&matches);
}

static void tear_down(void)
{
    ck_assert_uint_eq(heap.bytes, 0);
    gv_matches_deinit(&matches);
    bin_deinit(&bin);
}

START_TEST(a_group_keeps_its_text)
{
    gv_share_group_t *group = gv_share_group_new(&heap, GV_BYTES_LITERAL("$share/g/f"), 7);
    ck_assert_uint_eq(group->key.hash, 7);
    ck_assert(gv_bytes_equal(gv_share_group_text(group), GV_BYTES_LITERAL("$share/g/f")));
    gv_share_group_free(group, &heap);
}
END_TEST

START_TEST(the_last_member_stays_until_the_group_goes)
{
    gv_share_group_t *group = gv_share_group_new(&heap, GV_BYTES_LITERAL("$share/g/f"), 1);
    ck_assert(!gv_share_group_pick(group, UINT64_MAX, 0, &matches));
    gv_route_target_t shard = {.kind = GV_ROUTE_SHARD, .index = 3, .slot = 30, .weight = 2};
    gv_route_target_t node = {.kind = GV_ROUTE_NODE, .index = 3, .weight = 5};
    ck_assert(gv_share_group_set(group, &heap, shard));
    ck_assert(gv_share_group_set(group, &heap, node));
    ck_assert(!gv_share_group_set(group, &heap, node));
    ck_assert_uint_eq(gv_share_group_local(group).shards, 1);
    ck_assert_uint_eq(gv_share_group_local(group).weight, 2);
    ck_assert_int_eq(gv_share_group_unset(group, &heap, GV_ROUTE_NODE, 4), GV_SHARE_UNSET_ABSENT);
    ck_assert_int_eq(gv_share_group_unset(group, &heap, GV_ROUTE_NODE, 3), GV_SHARE_UNSET_REMOVED);
    ck_assert_int_eq(gv_share_group_unset(group, &heap, GV_ROUTE_SHARD, 3), GV_SHARE_UNSET_LAST);
    ck_assert(gv_share_group_pick(group, 0, 0, &matches));
    ck_assert_uint_eq(matches.hits[0].slot, 30);
    gv_share_group_free(group, &heap);
}
END_TEST

/* Two groups of the same size must not choose in step: one member would get all of both. */
START_TEST(groups_choose_independently)
{
    gv_share_group_t *groups[2];
    for (uint32_t i = 0; i < 2; i++) {
        groups[i] = gv_share_group_new(&heap, GV_BYTES_LITERAL("$share/g/f"), i * 77 + 1);
        for (uint8_t k = 0; k < 2; k++) {
            gv_route_target_t member = {.kind = GV_ROUTE_SHARD, .index = k, .weight = 1};
            ck_assert(gv_share_group_set(groups[i], &heap, member));
        }
    }
    int same = 0;
    for (uint32_t i = 0; i < 4000; i++) {
        matches.hit_count = 0;
        ck_assert(gv_share_group_pick(groups[0], 0, i * UINT32_C(1073743), &matches));
        ck_assert(gv_share_group_pick(groups[1], 0, i * UINT32_C(1073743), &matches));
        same += matches.hits[0].shard == matches.hits[1].shard;
    }
    ck_assert_int_gt(same, 1700);
    ck_assert_int_lt(same, 2300);
    gv_share_group_free(groups[0], &heap);
    gv_share_group_free(groups[1], &heap);
}
END_TEST

START_TEST(another_is_nobody_on_that_shard_and_online_if_it_has_to_be)
{
    gv_share_group_t *group = gv_share_group_new(&heap, GV_BYTES_LITERAL("$share/g/f"), 1);
    gv_route_target_t targets[] = {
        {.kind = GV_ROUTE_SHARD, .index = 0, .slot = 10, .weight = 5},
        {.kind = GV_ROUTE_SHARD, .index = 1, .slot = 11, .weight = 0},
        {.kind = GV_ROUTE_NODE, .index = 0, .weight = 0},
    };
    for (size_t i = 0; i < 3; i++) {
        ck_assert(gv_share_group_set(group, &heap, targets[i]));
    }
    gv_share_wish_t wish = {.but_shard = 0};
    ck_assert(gv_share_group_pick_other(group, &wish, &matches));
    ck_assert_uint_eq(matches.hits[0].slot, 11);
    wish.is_online = true;
    ck_assert(!gv_share_group_pick_other(group, &wish, &matches));
    wish.but_shard = 1;
    matches.hit_count = 0;
    ck_assert(gv_share_group_pick_other(group, &wish, &matches));
    ck_assert_uint_eq(matches.hits[0].slot, 10);
    gv_share_group_free(group, &heap);
}
END_TEST

/* What replaces the members leaves them whole for readers, and goes to the port. */
START_TEST(replaced_members_are_retired)
{
    gv_share_group_t *group = gv_share_group_new(&heap, GV_BYTES_LITERAL("$share/g/f"), 1);
    gv_route_target_t target = {.kind = GV_ROUTE_SHARD, .index = 1, .slot = 10, .weight = 1};
    ck_assert(gv_share_group_set(group, &heap, target));
    ck_assert_uint_eq(bin.count, 0);
    target.slot = 11;
    ck_assert(!gv_share_group_set(group, &heap, target));
    ck_assert_uint_eq(bin.count, 1);
    ck_assert(gv_share_group_pick(group, 0, 0, &matches));
    ck_assert_uint_eq(matches.hits[0].slot, 11);
    gv_share_group_retire(group, &heap);
    ck_assert_uint_eq(bin.count, 3);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("share_group");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, a_group_keeps_its_text);
    tcase_add_test(tc, the_last_member_stays_until_the_group_goes);
    tcase_add_test(tc, groups_choose_independently);
    tcase_add_test(tc, another_is_nobody_on_that_shard_and_online_if_it_has_to_be);
    tcase_add_test(tc, replaced_members_are_retired);

    Suite *suite = suite_create("broker/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
