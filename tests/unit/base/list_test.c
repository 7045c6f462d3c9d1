/* SPDX-License-Identifier: Apache-2.0 */
#include "base/list.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "base/rng.h"
#include "tests/unit/seed.h"

typedef struct item {
    int number;
    gv_link_t link;
} item_t;

static int number_of(const gv_link_t *link)
{
    return gv_container_of(link, item_t, link)->number;
}

/* The list, forwards and backwards, holds these numbers. */
static void assert_numbers(const gv_list_t *list, const int *expected, size_t count)
{
    size_t i = 0;
    gv_list_foreach (list, link) {
        ck_assert_uint_lt(i, count);
        ck_assert_int_eq(number_of(link), expected[i]);
        i++;
    }
    ck_assert_uint_eq(i, count);
    const gv_link_t *back = list->_head._prev;
    for (; i > 0; i--, back = back->_prev) {
        ck_assert_int_eq(number_of(back), expected[i - 1]);
    }
    ck_assert_ptr_eq(back, &list->_head);
    ck_assert_int_eq(gv_list_is_empty(list), count == 0);
}

START_TEST(append_prepend_remove)
{
    gv_list_t list;
    gv_list_init(&list);
    assert_numbers(&list, NULL, 0);
    ck_assert_ptr_null(gv_list_first(&list));
    ck_assert_ptr_null(gv_list_take_first(&list));

    item_t item[4] = {{.number = 0}, {.number = 1}, {.number = 2}, {.number = 3}};
    gv_list_append(&list, &item[1].link);
    gv_list_append(&list, &item[2].link);
    gv_list_prepend(&list, &item[0].link);
    assert_numbers(&list, (int[]){0, 1, 2}, 3);
    ck_assert(gv_link_is_linked(&item[1].link));

    gv_list_remove(&item[1].link);
    assert_numbers(&list, (int[]){0, 2}, 2);
    ck_assert(!gv_link_is_linked(&item[1].link));
    gv_list_remove(&item[1].link);
    gv_list_remove(&item[3].link);
    assert_numbers(&list, (int[]){0, 2}, 2);

    ck_assert_ptr_eq(gv_list_take_first(&list), &item[0].link);
    ck_assert_ptr_eq(gv_list_take_first(&list), &item[2].link);
    ck_assert(gv_list_is_empty(&list));
}
END_TEST

START_TEST(foreach_safe_lets_the_body_free_the_current_element)
{
    gv_list_t list;
    gv_list_init(&list);
    for (int i = 0; i < 10; i++) {
        item_t *item = calloc(1, sizeof(*item));
        item->number = i;
        gv_list_append(&list, &item->link);
    }
    gv_list_foreach_safe (&list, link) {
        if (number_of(link) % 2 == 0) {
            gv_list_remove(link);
            free(gv_container_of(link, item_t, link));
        }
    }
    assert_numbers(&list, (int[]){1, 3, 5, 7, 9}, 5);
    gv_list_foreach_safe (&list, link) {
        gv_list_remove(link);
        free(gv_container_of(link, item_t, link));
    }
    ck_assert(gv_list_is_empty(&list));
}
END_TEST

START_TEST(splice_moves_all_to_the_end)
{
    gv_list_t to;
    gv_list_t from;
    gv_list_init(&to);
    gv_list_init(&from);
    gv_list_splice(&to, &from);
    ck_assert(gv_list_is_empty(&to));

    item_t item[4] = {{.number = 0}, {.number = 1}, {.number = 2}, {.number = 3}};
    gv_list_append(&from, &item[0].link);
    gv_list_append(&from, &item[1].link);
    gv_list_splice(&to, &from);
    assert_numbers(&to, (int[]){0, 1}, 2);
    ck_assert(gv_list_is_empty(&from));

    gv_list_append(&from, &item[2].link);
    gv_list_append(&from, &item[3].link);
    gv_list_splice(&to, &from);
    assert_numbers(&to, (int[]){0, 1, 2, 3}, 4);
    ck_assert(gv_list_is_empty(&from));
    gv_list_splice(&to, &from);
    assert_numbers(&to, (int[]){0, 1, 2, 3}, 4);
}
END_TEST

enum {
    ITEMS = 12,
    LISTS = 2
};

/* What the lists should hold: plain arrays. */
typedef struct model {
    int number[ITEMS];
    size_t count;
} model_t;

static void model_insert(model_t *model, size_t at, int number)
{
    memmove(&model->number[at + 1], &model->number[at], (model->count - at) * sizeof(int));
    model->number[at] = number;
    model->count++;
}

static void model_remove(model_t *model, int number)
{
    for (size_t i = 0; i < model->count; i++) {
        if (model->number[i] == number) {
            model->count--;
            memmove(&model->number[i], &model->number[i + 1], (model->count - i) * sizeof(int));
            return;
        }
    }
}

START_TEST(behaves_like_an_array)
{
    gv_rng_t rng;
    gv_rng_init(&rng, test_seed(__func__), 0);
    gv_list_t list[LISTS];
    model_t model[LISTS] = {{{0}, 0}};
    item_t item[ITEMS] = {{0}};
    for (int i = 0; i < LISTS; i++) {
        gv_list_init(&list[i]);
    }
    for (int i = 0; i < ITEMS; i++) {
        item[i].number = i;
    }
    for (int round = 0; round < 20000; round++) {
        int n = (int)gv_rng_below(&rng, ITEMS);
        int l = (int)gv_rng_below(&rng, LISTS);
        uint32_t action = gv_rng_below(&rng, 16);
        if (action == 0) {
            gv_list_splice(&list[l], &list[1 - l]);
            for (size_t i = 0; i < model[1 - l].count; i++) {
                model_insert(&model[l], model[l].count, model[1 - l].number[i]);
            }
            model[1 - l].count = 0;
        } else if (action == 1) {
            gv_link_t *first = gv_list_take_first(&list[l]);
            if (model[l].count == 0) {
                ck_assert_ptr_null(first);
            } else {
                ck_assert_int_eq(number_of(first), model[l].number[0]);
                model_remove(&model[l], model[l].number[0]);
            }
        } else if (gv_link_is_linked(&item[n].link)) {
            gv_list_remove(&item[n].link);
            model_remove(&model[0], n);
            model_remove(&model[1], n);
        } else if (action % 2 == 0) {
            gv_list_append(&list[l], &item[n].link);
            model_insert(&model[l], model[l].count, n);
        } else {
            gv_list_prepend(&list[l], &item[n].link);
            model_insert(&model[l], 0, n);
        }
        assert_numbers(&list[0], model[0].number, model[0].count);
        assert_numbers(&list[1], model[1].number, model[1].count);
    }
}
END_TEST

#ifdef GV_DEBUG
START_TEST(linking_twice_aborts_in_debug_builds)
{
    gv_list_t list;
    gv_list_init(&list);
    item_t item = {0};
    gv_list_append(&list, &item.link);
    gv_list_append(&list, &item.link);
}
END_TEST
#endif

int main(void)
{
    TCase *tc = tcase_create("list");
    tcase_add_test(tc, append_prepend_remove);
    tcase_add_test(tc, foreach_safe_lets_the_body_free_the_current_element);
    tcase_add_test(tc, splice_moves_all_to_the_end);
    tcase_add_test(tc, behaves_like_an_array);
#ifdef GV_DEBUG
    tcase_add_test_raise_signal(tc, linking_twice_aborts_in_debug_builds, SIGABRT);
#endif

    Suite *suite = suite_create("base");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
