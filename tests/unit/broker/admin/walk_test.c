/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/admin/walk.h"

#include <stdlib.h>

#include <check.h>

#include "base/alloc.h"
#include "tests/unit/broker/admin/rig.h"

/* Shards whose tables are numbers: shard i has i * 1000, i * 1000 + 1, ...; PER_SHARD of them. */
enum {
    SHARDS = 3,
    PER_SHARD = 10,
    PER_SLICE = 4,
};

static struct {
    int slices;
    int freed;
    size_t row_bytes;
    bool is_stopping;
} world;

static bool slice(gv_walk_t *walk, gv_shard_t *shard)
{
    ck_assert_ptr_null(shard);
    world.slices++;
    for (int i = 0; i < PER_SLICE; i++) {
        if (walk->at.cursor == PER_SHARD) {
            return true;
        }
        gv_walk_step_t step = gv_walk_step(walk);
        if (step == GV_WALK_END) {
            return false;
        }
        if (step == GV_WALK_TAKE) {
            uint64_t *row = gv_walk_add(walk, world.row_bytes);
            *row = walk->at.shard * 1000 + walk->at.cursor;
        }
        walk->at.cursor++;
    }
    return false;
}

static json_t *row_json(const gv_walk_t *walk, const void *row)
{
    (void)walk;
    return json_integer((json_int_t) * (const uint64_t *)row);
}

static void walk_free(gv_walk_t *walk)
{
    world.freed++;
    gv_free(walk);
}

static const gv_walk_kind_t kind = {.slice = slice, .row = row_json, .free = walk_free};

static void on_back(gv_letter_t *letter)
{
    gv_loop_assert_current(loop);
    gv_walk_returned(gv_container_of(letter, gv_walk_t, letter), world.is_stopping);
}

static void on_asked(gv_letter_t *letter)
{
    gv_walk_slice(gv_container_of(letter, gv_walk_t, letter), NULL);
    letter->deliver = on_back;
    gv_loop_send(loop, letter);
}

static void send_walk(void *arg, gv_walk_t *walk)
{
    ck_assert_str_eq(arg, "host");
    walk->letter.deliver = on_asked;
    gv_loop_send(loop, &walk->letter);
}

static const gv_walk_host_t host = {
    .send = send_walk, .arg = (void *)(uintptr_t) "host", .node = "n", .shard_count = SHARDS};

static void on_list(gv_admin_call_t *call, void *arg)
{
    gv_loop_assert_current(loop);
    (void)arg;
    gv_walk_t *walk = GV_NEW(gv_walk_t);
    *walk = (gv_walk_t){.host = &host, .kind = &kind, .call = call, .count = UINT64_MAX};
    ck_assert_ptr_null(gv_page_of(call, SHARDS, &walk->page));
    walk->at = walk->page.from;
    gv_walk_begin(walk);
}

static const gv_admin_route_t routes[] = {{"GET", "/list", "numbers", on_list, false}};

static void open_admin(void)
{
    gv_loop_assert_current(loop);
    rig_open_admin();
    gv_admin_add(admin, routes, 1, NULL);
}

static void setup(void)
{
    memset(&world, 0, sizeof(world));
    world.row_bytes = sizeof(uint64_t);
    rig_start_loop();
    on_loop_do(open_admin);
}

static void teardown(void)
{
    on_loop_do(rig_close_admin);
    rig_stop_loop();
}

START_TEST(a_page_is_put_together_from_the_slices_of_all_shards)
{
    rig_expect("GET", "/list", "200", "\"hasnext\": false");
    ck_assert_int_eq(world.slices, SHARDS * 3); /* 4 and 4 and 2, each */
    ck_assert_int_eq(world.freed, 1);
    rig_expect("GET", "/list?limit=2&page=6", "200", "1000,\n    1001\n");
    rig_expect("GET", "/list?limit=2&page=6", "200", "\"cursor\": \"1-2\"");
    rig_expect("GET", "/list?limit=3&cursor=1-9", "200", "1009,\n    2000,\n    2001\n");
    rig_expect("GET", "/list?limit=1&cursor=2-9", "200", "\"hasnext\": false");
    rig_expect("GET", "/list?limit=10&page=4", "200", "\"data\": []");
    rig_expect("GET", "/list?limit=10&page=3", "200", "\"hasnext\": false");
}
END_TEST

START_TEST(a_slice_ends_when_it_has_copied_much_and_an_answer_is_not_endless)
{
    world.row_bytes = GV_WALK_SLICE_BYTES_MAX;
    rig_expect("GET", "/list", "200", "2009");
    ck_assert_int_eq(world.slices, SHARDS * PER_SHARD); /* a row each */
    world.row_bytes = GV_WALK_BYTES_MAX / 8;
    rig_expect("GET", "/list?limit=8", "200", "7\n");
    rig_expect("GET", "/list?limit=9", "400", "ask for fewer");
}
END_TEST

START_TEST(a_node_that_stops_answers_too)
{
    world.is_stopping = true;
    rig_expect("GET", "/list", "503", "shutting down");
    ck_assert_int_eq(world.freed, 1);
}
END_TEST

START_TEST(copies_are_behind_each_other)
{
    uint8_t memory[8];
    uint8_t *end = memory;
    gv_bytes_t a = gv_walk_copy(GV_BYTES_LITERAL("abc"), &end);
    gv_bytes_t none = gv_walk_copy(GV_BYTES_EMPTY, &end);
    gv_bytes_t b = gv_walk_copy(GV_BYTES_LITERAL("de"), &end);
    ck_assert_ptr_eq(end, memory + 5);
    ck_assert(gv_bytes_equal(a, GV_BYTES_LITERAL("abc")) && none.size == 0);
    ck_assert(gv_bytes_equal(b, GV_BYTES_LITERAL("de")));
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("walk");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_page_is_put_together_from_the_slices_of_all_shards);
    tcase_add_test(tc, a_slice_ends_when_it_has_copied_much_and_an_answer_is_not_endless);
    tcase_add_test(tc, a_node_that_stops_answers_too);
    tcase_add_test(tc, copies_are_behind_each_other);
    Suite *suite = suite_create("broker/admin");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
