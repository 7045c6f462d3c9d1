/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/exact_table.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include <check.h>

#include "tests/unit/broker/core/retire_bin.h"

static retire_bin_t bin;
static gv_shared_heap_t heap;
static gv_exact_table_t table;

static void set_up(void)
{
    heap = (gv_shared_heap_t){.retire = retire_into_bin, .retire_arg = &bin};
    gv_exact_table_init(&table);
}

static void tear_down(void)
{
    gv_exact_table_deinit(&table, &heap);
    ck_assert_uint_eq(heap.bytes, 0);
    bin_deinit(&bin);
}

static uint64_t hash_of(const char *text)
{
    return gv_bytes_hash(gv_bytes_text(text), 9);
}

static gv_routes_t *find(const char *text)
{
    return gv_exact_table_find(&table, gv_bytes_text(text), hash_of(text));
}

static gv_routes_t *add(const char *text, uint8_t shard)
{
    gv_routes_t *routes =
        gv_exact_table_find_or_add(&table, &heap, gv_bytes_text(text), hash_of(text));
    (void)gv_routes_set(routes, &heap, (gv_route_target_t){.kind = GV_ROUTE_SHARD, .index = shard});
    return routes;
}

START_TEST(a_filter_keeps_its_place)
{
    ck_assert_ptr_null(find("a/b"));
    gv_routes_t *routes = add("a/b", 1);
    ck_assert_ptr_eq(find("a/b"), routes);
    ck_assert_ptr_null(find("a/c"));
    ck_assert_ptr_null(find("a/"));
    ck_assert_ptr_eq(add("a/b", 2), routes);
    add("a/c", 1);
    add("a", 1);
    ck_assert_ptr_eq(find("a/b"), routes);
}
END_TEST

START_TEST(a_removed_filter_is_gone)
{
    gv_routes_t *routes = add("a/b", 1);
    add("a/c", 1);
    ck_assert(gv_routes_unset(routes, &heap, GV_ROUTE_SHARD, 1));
    gv_exact_table_remove(&table, &heap, GV_BYTES_LITERAL("a/b"), hash_of("a/b"));
    ck_assert_ptr_null(find("a/b"));
    ck_assert_ptr_nonnull(find("a/c"));
    ck_assert_uint_eq(bin.count, 1);
}
END_TEST

START_TEST(removing_a_filter_with_routes_aborts)
{
    add("a/b", 1);
    gv_exact_table_remove(&table, &heap, GV_BYTES_LITERAL("a/b"), hash_of("a/b"));
}
END_TEST

static void drop_shard(gv_routes_t *routes, void *arg)
{
    (void)gv_routes_unset(routes, &heap, GV_ROUTE_SHARD, *(const uint8_t *)arg);
}

START_TEST(a_sweep_takes_out_what_it_empties)
{
    char text[32];
    for (int i = 0; i < 1000; i++) {
        (void)snprintf(text, sizeof(text), "t/%d", i);
        add(text, (uint8_t)(i % 2));
        if (i % 4 == 0) {
            add(text, 3);
        }
    }
    uint8_t shard = 0;
    gv_exact_table_sweep(&table, &heap, drop_shard, &shard);
    for (int i = 0; i < 1000; i++) {
        (void)snprintf(text, sizeof(text), "t/%d", i);
        ck_assert((find(text) != NULL) == (i % 2 == 1 || i % 4 == 0));
    }
    shard = 1;
    gv_exact_table_sweep(&table, &heap, drop_shard, &shard);
    shard = 3;
    gv_exact_table_sweep(&table, &heap, drop_shard, &shard);
    ck_assert_uint_eq(heap.bytes, 0);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("exact_table");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, a_filter_keeps_its_place);
    tcase_add_test(tc, a_removed_filter_is_gone);
    tcase_add_test_raise_signal(tc, removing_a_filter_with_routes_aborts, SIGABRT);
    tcase_add_test(tc, a_sweep_takes_out_what_it_empties);

    Suite *suite = suite_create("broker/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
