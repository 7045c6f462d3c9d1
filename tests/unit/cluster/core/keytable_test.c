/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/core/keytable.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "base/rng.h"

typedef struct item {
    gv_id_key_t key;
    uint64_t value;
} item_t;

enum {
    KEYS = 500,
    STEPS = 40000,
};

static gv_keytable_t table;

static gv_id_key_t key_of(uint64_t number)
{
    return (gv_id_key_t){.words = {number * 0x9e3779b97f4a7c15U, number}};
}

static item_t *add(uint64_t number, uint64_t value)
{
    gv_id_key_t key = key_of(number);
    item_t *item = gv_keytable_add(&table, &key);
    ck_assert_ptr_nonnull(item);
    item->value = value;
    return item;
}

static item_t *find(uint64_t number)
{
    gv_id_key_t key = key_of(number);
    return gv_keytable_find(&table, &key);
}

START_TEST(what_is_added_is_found_until_it_is_removed)
{
    gv_keytable_init(&table, sizeof(item_t));
    ck_assert_ptr_null(find(1));
    add(1, 10);
    add(2, 20);
    ck_assert_uint_eq(find(1)->value, 10);
    gv_keytable_remove(&table, find(1));
    ck_assert_ptr_null(find(1));
    ck_assert_uint_eq(find(2)->value, 20);
    ck_assert_uint_eq(gv_keytable_count(&table), 1);
    gv_keytable_deinit(&table);
}
END_TEST

START_TEST(a_walk_downwards_misses_nothing_that_stays)
{
    static bool was_seen[KEYS];
    memset(was_seen, 0, sizeof(was_seen));
    gv_rng_t rng;
    gv_rng_init(&rng, 1, 1);
    gv_keytable_init(&table, sizeof(item_t));
    for (uint64_t i = 0; i < KEYS; i++) {
        add(i, i);
    }
    uint64_t next = KEYS;
    for (size_t at = KEYS; at > 0;) {
        at = at < gv_keytable_count(&table) ? at : gv_keytable_count(&table);
        const item_t *item = gv_keytable_at(&table, --at);
        if (item->value < KEYS) {
            was_seen[item->value] = true;
        }
        item_t *other = find(gv_rng_below(&rng, (uint32_t)next));
        if (other != NULL) {
            gv_keytable_remove(&table, other);
        }
        if (gv_rng_below(&rng, 2) == 0) {
            add(next, next);
            next++;
        }
    }
    for (uint64_t i = 0; i < KEYS; i++) {
        ck_assert_msg(find(i) == NULL || was_seen[i], "%u was missed", (unsigned)i);
    }
    gv_keytable_deinit(&table);
}
END_TEST

START_TEST(it_agrees_with_an_array)
{
    const char *given = getenv("GV_TEST_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : 20260;
    (void)printf("seed %llu\n", (unsigned long long)seed);
    static uint64_t model[KEYS]; /* 0: not there */
    memset(model, 0, sizeof(model));
    gv_rng_t rng;
    gv_rng_init(&rng, seed, 1);
    gv_keytable_init(&table, sizeof(item_t));
    size_t count = 0;
    for (uint64_t step = 1; step <= STEPS; step++) {
        /* It grows and shrinks in turn, down to nothing. */
        bool is_growing = step / 5000 % 2 == 0;
        uint64_t number = gv_rng_below(&rng, KEYS);
        item_t *item = find(number);
        ck_assert_int_eq(item != NULL, model[number] != 0);
        ck_assert(item == NULL || item->value == model[number]);
        if (item == NULL && (is_growing || gv_rng_below(&rng, 8) == 0)) {
            add(number, step);
            model[number] = step;
            count++;
        } else if (item != NULL && (!is_growing || gv_rng_below(&rng, 8) == 0)) {
            gv_keytable_remove(&table, item);
            model[number] = 0;
            count--;
        }
        ck_assert_uint_eq(gv_keytable_count(&table), count);
    }
    gv_keytable_deinit(&table);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("keytable");
    tcase_add_test(tc, what_is_added_is_found_until_it_is_removed);
    tcase_add_test(tc, a_walk_downwards_misses_nothing_that_stays);
    tcase_add_test(tc, it_agrees_with_an_array);
    Suite *suite = suite_create("cluster/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
