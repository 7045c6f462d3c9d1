/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/link_store.h"

#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "proto/record.pb-c.h"
#include "storage/mem_store.h"

static gv_store_t *store;

static const uint8_t node_a[GV_NODE_ID_SIZE] = {1};
static const uint8_t node_b[GV_NODE_ID_SIZE] = {2};
static const uint8_t node_c[GV_NODE_ID_SIZE] = {2, 1};

static void set_up(void)
{
    gv_mem_options_t options = {.seed = 1};
    gv_mem_store_new(&options, &store);
}

static void tear_down(void)
{
    gv_store_close(&store);
}

static void put(const uint8_t *node_id, uint64_t applied)
{
    gv_batch_t *batch = NULL;
    gv_batch_new(&batch);
    gv_link_cursor_t cursor = {.run = applied + 1, .number = applied};
    gv_link_record_put(batch, node_id, &cursor);
    ck_assert_int_eq(gv_store_write(store, &batch), GV_OK);
}

typedef struct seen {
    uint8_t ids[4][GV_NODE_ID_SIZE];
    uint64_t applied[4];
    size_t count;
    gv_err_t answer;
} seen_t;

static gv_err_t on_record(const uint8_t *node_id, const gv_link_cursor_t *cursor, void *arg)
{
    seen_t *seen = arg;
    ck_assert_uint_lt(seen->count, 4);
    memcpy(seen->ids[seen->count], node_id, GV_NODE_ID_SIZE);
    ck_assert_uint_eq(cursor->run, cursor->number + 1);
    seen->applied[seen->count++] = cursor->number;
    return seen->answer;
}

static seen_t scan(void)
{
    seen_t seen = {.answer = GV_OK};
    ck_assert_int_eq(gv_link_record_scan(store, on_record, &seen), GV_OK);
    return seen;
}

static uint64_t damaged(void)
{
    return atomic_load(&gv_store_stats(store)->damaged);
}

START_TEST(each_node_has_one_number)
{
    put(node_c, 1);
    put(node_b, UINT64_MAX);
    put(node_a, 7);
    put(node_a, 9);
    seen_t seen = scan();
    ck_assert_uint_eq(seen.count, 3);
    ck_assert_mem_eq(seen.ids[0], node_a, GV_NODE_ID_SIZE);
    ck_assert_mem_eq(seen.ids[1], node_b, GV_NODE_ID_SIZE);
    ck_assert_mem_eq(seen.ids[2], node_c, GV_NODE_ID_SIZE);
    ck_assert_uint_eq(seen.applied[0], 9);
    ck_assert_uint_eq(seen.applied[1], UINT64_MAX);
    ck_assert_uint_eq(seen.applied[2], 1);
    ck_assert_uint_eq(damaged(), 0);
}
END_TEST

START_TEST(what_is_deleted_is_gone)
{
    put(node_a, 7);
    put(node_b, 8);
    gv_batch_t *batch = NULL;
    gv_batch_new(&batch);
    gv_link_record_delete(batch, node_a);
    gv_link_record_delete(batch, node_c); /* was never there */
    ck_assert(gv_batch_is_draining(batch));
    ck_assert_int_eq(gv_store_write(store, &batch), GV_OK);
    seen_t seen = scan();
    ck_assert_uint_eq(seen.count, 1);
    ck_assert_uint_eq(seen.applied[0], 8);
}
END_TEST

START_TEST(a_record_whose_bits_have_changed_is_noted_and_passed_over)
{
    put(node_b, 8);
    ck_assert(gv_mem_store_damage(store, GV_TABLE_LINKS));
    put(node_a, 7);
    put(node_c, 9);
    seen_t seen = scan();
    ck_assert_uint_eq(seen.count, 2);
    ck_assert_uint_eq(seen.applied[0], 7);
    ck_assert_uint_eq(seen.applied[1], 9);
    ck_assert_uint_eq(damaged(), 1);
}
END_TEST

START_TEST(a_record_that_makes_no_sense_is_noted_and_passed_over)
{
    Gv__Record__Link record = GV__RECORD__LINK__INIT; /* says nothing */
    gv_batch_t *batch = NULL;
    gv_batch_new(&batch);
    gv_record_put(batch, GV_TABLE_LINKS, gv_bytes(node_a, sizeof(node_a)), &record.base);
    record.applied = 5;
    gv_record_put(batch, GV_TABLE_LINKS, gv_bytes(node_b, sizeof(node_b) - 1), &record.base);
    uint8_t longer[GV_NODE_ID_SIZE + 1] = {3};
    gv_record_put(batch, GV_TABLE_LINKS, gv_bytes(longer, sizeof(longer)), &record.base);
    ck_assert_int_eq(gv_store_write(store, &batch), GV_OK);
    put(node_c, 9);
    seen_t seen = scan();
    ck_assert_uint_eq(seen.count, 1);
    ck_assert_uint_eq(seen.applied[0], 9);
    ck_assert_uint_eq(damaged(), 3);
}
END_TEST

START_TEST(an_error_ends_the_scan)
{
    put(node_a, 7);
    put(node_b, 8);
    seen_t seen = {.answer = GV_ERR_LIMIT};
    ck_assert_int_eq(gv_link_record_scan(store, on_record, &seen), GV_ERR_LIMIT);
    ck_assert_uint_eq(seen.count, 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("storage/link_store");
    TCase *tcase = tcase_create("link_store");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, each_node_has_one_number);
    tcase_add_test(tcase, what_is_deleted_is_gone);
    tcase_add_test(tcase, a_record_whose_bits_have_changed_is_noted_and_passed_over);
    tcase_add_test(tcase, a_record_that_makes_no_sense_is_noted_and_passed_over);
    tcase_add_test(tcase, an_error_ends_the_scan);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
