/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/core/table.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include <check.h>

#include "base/rng.h"

enum {
    KEYS = 64,
    STEPS = 20000,
};

static void put(gv_table_t *table, const char *key, uint32_t value)
{
    uint32_t before;
    gv_err_t err = gv_table_put(table, gv_bytes_text(key), value, table->seq + 1, &before);
    ck_assert_int_eq(err, GV_OK);
}

static const char *key_after(const gv_table_t *table, uint64_t seq)
{
    static char text[16];
    const gv_row_t *row = gv_table_after(table, seq);
    if (row == NULL) {
        return "none";
    }
    (void)snprintf(text, sizeof(text), "%.*s", (int)row->key_size, (const char *)row->key);
    return text;
}

START_TEST(rows_after_a_cursor_come_in_the_order_of_change)
{
    gv_table_t table;
    gv_table_init(&table, 1);
    put(&table, "a", 1);
    put(&table, "b", 1);
    put(&table, "c", 1);
    put(&table, "a", 2); /* moves to the end */
    ck_assert_str_eq(key_after(&table, 0), "b");
    ck_assert_str_eq(key_after(&table, 2), "c");
    ck_assert_str_eq(key_after(&table, 3), "a");
    ck_assert_str_eq(key_after(&table, 4), "none");
    ck_assert_uint_eq(table.live_count, 3);
    gv_table_deinit(&table);
}
END_TEST

START_TEST(a_put_gives_the_value_before)
{
    gv_table_t table;
    uint32_t before = 9;
    gv_table_init(&table, 1);
    ck_assert_int_eq(gv_table_put(&table, GV_BYTES_LITERAL("a"), 7, 1, &before), GV_OK);
    ck_assert_uint_eq(before, 0);
    ck_assert_int_eq(gv_table_put(&table, GV_BYTES_LITERAL("a"), 0, 2, &before), GV_OK);
    ck_assert_uint_eq(before, 7);
    ck_assert_uint_eq(table.live_count, 0);
    ck_assert_uint_eq(table.tombstone_count, 1);
    gv_table_deinit(&table);
}
END_TEST

START_TEST(equal_rows_have_equal_hashes_whatever_the_way)
{
    gv_table_t one;
    gv_table_t two;
    uint32_t before;
    gv_table_init(&one, 1);
    gv_table_init(&two, 2); /* the map's seed must not matter */
    put(&one, "a", 1);
    put(&one, "gone", 1);
    put(&one, "b", 5);
    put(&one, "gone", 0);
    ck_assert_int_eq(gv_table_put(&two, GV_BYTES_LITERAL("a"), 1, 1, &before), GV_OK);
    ck_assert_int_eq(gv_table_put(&two, GV_BYTES_LITERAL("b"), 5, 3, &before), GV_OK);
    ck_assert_uint_eq(one.hash, two.hash);
    ck_assert_int_eq(gv_table_put(&two, GV_BYTES_LITERAL("b"), 6, 4, &before), GV_OK);
    ck_assert_uint_ne(one.hash, two.hash);
    gv_table_deinit(&one);
    gv_table_deinit(&two);
}
END_TEST

START_TEST(trimming_drops_the_oldest_tombstones_and_raises_the_floor)
{
    gv_table_t table;
    gv_table_init(&table, 1);
    const char *keys[] = {"a", "b", "c", "d", "e"};
    for (size_t i = 0; i < 5; i++) {
        put(&table, keys[i], 1);
    }
    for (size_t i = 0; i < 4; i++) {
        put(&table, keys[i], 0); /* seq 6 to 9 */
    }
    gv_table_trim(&table, 4, false);
    ck_assert_uint_eq(table.tombstone_count, 4);
    ck_assert_uint_eq(table.floor, 0);
    gv_table_trim(&table, 3, false);
    ck_assert_uint_eq(table.tombstone_count, 1);
    ck_assert_uint_eq(table.floor, 8);
    ck_assert_ptr_null(gv_table_find(&table, GV_BYTES_LITERAL("a")));
    ck_assert_ptr_nonnull(gv_table_find(&table, GV_BYTES_LITERAL("d")));
    ck_assert_uint_eq(gv_table_find(&table, GV_BYTES_LITERAL("e"))->value, 1);
    gv_table_deinit(&table);
}
END_TEST

START_TEST(a_row_costs_less_than_a_hundred_bytes_and_its_key)
{
    gv_table_t table;
    gv_table_init(&table, 1);
    size_t key_bytes = 0;
    for (uint32_t i = 0; i < 100000; i++) {
        char key[32];
        key_bytes += (size_t)snprintf(key, sizeof(key), "site/%" PRIu32 "/sensor", i);
        put(&table, key, 1);
    }
    ck_assert_uint_lt(gv_table_bytes(&table) - key_bytes, 100000U * 100U);
    gv_table_deinit(&table);
}
END_TEST

START_TEST(an_order_that_steps_back_aborts)
{
    gv_table_t table;
    uint32_t before;
    gv_table_init(&table, 1);
    put(&table, "a", 1);
    put(&table, "b", 1);
    gv_err_t err = gv_table_put(&table, GV_BYTES_LITERAL("c"), 1, 1, &before);
    ck_assert_int_eq(err, GV_OK); /* not reached */
}
END_TEST

/* The model: an array of what each key should be. */
typedef struct model {
    uint32_t value[KEYS];
    uint64_t seq[KEYS];
} model_t;

static void compare_with_model(const gv_table_t *table, const model_t *model)
{
    size_t live = 0;
    for (uint32_t i = 0; i < KEYS; i++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "k%" PRIu32, i);
        const gv_row_t *row = gv_table_find(table, gv_bytes_text(key));
        live += model->value[i] != 0 ? 1 : 0;
        ck_assert_uint_eq(row == NULL ? 0 : row->value, model->value[i]);
        if (row != NULL) {
            ck_assert_uint_eq(row->seq, model->seq[i]);
        } else if (model->seq[i] != 0) {
            ck_assert_uint_le(model->seq[i], table->floor);
        }
    }
    ck_assert_uint_eq(table->live_count, live);
    uint64_t before_seq = 0;
    size_t rows = 0;
    for (gv_row_t *row = gv_table_after(table, 0); row != NULL; row = gv_table_next(table, row)) {
        ck_assert_uint_gt(row->seq, before_seq);
        before_seq = row->seq;
        rows++;
    }
    ck_assert_uint_eq(rows, table->live_count + table->tombstone_count);
}

START_TEST(random_changes_agree_with_a_model)
{
    for (uint64_t seed = 1; seed <= 5; seed++) {
        gv_rng_t rng;
        gv_rng_init(&rng, seed, 1);
        gv_table_t table;
        gv_table_init(&table, seed);
        model_t model = {.seq = {0}};
        for (uint32_t step = 0; step < STEPS; step++) {
            uint32_t i = gv_rng_below(&rng, KEYS);
            char key[16];
            (void)snprintf(key, sizeof(key), "k%" PRIu32, i);
            model.value[i] = gv_rng_below(&rng, 3);
            put(&table, key, model.value[i]);
            model.seq[i] = table.seq;
            gv_table_trim(&table, 8, false);
            if (step % 500 == 0) {
                compare_with_model(&table, &model);
            }
        }
        compare_with_model(&table, &model);
        gv_table_clear(&table);
        ck_assert_uint_eq(table.seq, 0);
        ck_assert_ptr_null(gv_table_after(&table, 0));
        gv_table_deinit(&table);
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("table");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, rows_after_a_cursor_come_in_the_order_of_change);
    tcase_add_test(tc, a_put_gives_the_value_before);
    tcase_add_test(tc, equal_rows_have_equal_hashes_whatever_the_way);
    tcase_add_test(tc, trimming_drops_the_oldest_tombstones_and_raises_the_floor);
    tcase_add_test(tc, a_row_costs_less_than_a_hundred_bytes_and_its_key);
    tcase_add_test_raise_signal(tc, an_order_that_steps_back_aborts, SIGABRT);
    tcase_add_test(tc, random_changes_agree_with_a_model);

    Suite *suite = suite_create("cluster/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
