/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/matches.h"

#include <stdlib.h>

#include <check.h>

static gv_matches_t matches;

static void set_up(void)
{
    gv_matches_init(&matches);
}

static void tear_down(void)
{
    gv_matches_deinit(&matches);
    ck_assert_ptr_null(matches.hits);
    ck_assert_ptr_null(matches.node_shares);
}

START_TEST(it_grows_and_keeps_the_order)
{
    for (uint32_t i = 0; i < 1000; i++) {
        gv_matches_add_hit(&matches, (uint8_t)(i % 64), i);
        gv_matches_add_node_share(&matches, (uint8_t)(i % 64), gv_bytes("abc", i % 4));
    }
    ck_assert_uint_eq(matches.hit_count, 1000);
    ck_assert_uint_eq(matches.node_share_count, 1000);
    ck_assert_uint_eq(matches.shards, UINT64_MAX);
    for (uint32_t i = 0; i < 1000; i++) {
        ck_assert_uint_eq(matches.hits[i].slot, i);
        ck_assert_uint_eq(matches.hits[i].shard, i % 64);
        ck_assert_uint_eq(matches.node_shares[i].node, i % 64);
        ck_assert_uint_eq(matches.node_shares[i].filter.size, i % 4);
    }
}
END_TEST

START_TEST(clearing_keeps_the_arrays)
{
    gv_matches_add_hit(&matches, 63, 1);
    gv_matches_add_node_share(&matches, 1, GV_BYTES_LITERAL("$share/g/f"));
    matches.nodes = 1;
    matches.nodes_visited = 1;
    const gv_route_hit_t *hits = matches.hits;
    gv_matches_clear(&matches);
    ck_assert_uint_eq(matches.hit_count, 0);
    ck_assert_uint_eq(matches.node_share_count, 0);
    ck_assert_uint_eq(matches.shards, 0);
    ck_assert_uint_eq(matches.nodes, 0);
    ck_assert_uint_eq(matches.nodes_visited, 0);
    gv_matches_add_hit(&matches, 1, 2);
    ck_assert_ptr_eq(matches.hits, hits);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("matches");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, it_grows_and_keeps_the_order);
    tcase_add_test(tc, clearing_keeps_the_arrays);

    Suite *suite = suite_create("broker/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
