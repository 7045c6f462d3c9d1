/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/member_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "proto/record.pb-c.h"
#include "storage/mem_store.h"

static gv_store_t *store;
static char seen[4096]; /* what a scan has said, one line each */

static const uint8_t node_a[GV_NODE_ID_SIZE] = {'a'};
static const uint8_t node_b[GV_NODE_ID_SIZE] = {'b'};

static void set_up(void)
{
    gv_mem_options_t options = {.seed = 1};
    gv_mem_store_new(&options, &store);
}

static void tear_down(void)
{
    gv_store_close(&store);
}

static gv_batch_t *begin(void)
{
    gv_batch_t *batch = NULL;
    gv_batch_new(&batch);
    return batch;
}

static void write_batch(gv_batch_t *batch)
{
    ck_assert_int_eq(gv_store_write(store, &batch), GV_OK);
}

static void say(const char *text, gv_bytes_t bytes)
{
    size_t size = strlen(seen);
    (void)snprintf(seen + size, sizeof(seen) - size, "%s%.*s", text, (int)bytes.size,
                   (const char *)bytes.data);
}

static gv_err_t on_member(const gv_stored_member_t *member, void *arg)
{
    char gone[32];
    (void)snprintf(gone, sizeof(gone), " %llu\n", (unsigned long long)member->gone_at_ms);
    say("", gv_bytes(member->node_id, 1));
    say(" ", member->name);
    say(" ", member->address);
    say(gone, GV_BYTES_EMPTY);
    return *(gv_err_t *)arg;
}

static gv_err_t on_route(const uint8_t *node_id, gv_bytes_t filter, void *arg)
{
    say("", gv_bytes(node_id, 1));
    say(" ", filter);
    say("\n", GV_BYTES_EMPTY);
    return *(gv_err_t *)arg;
}

static void expect_members(const char *expected)
{
    gv_err_t go_on = GV_OK;
    seen[0] = '\0';
    ck_assert_int_eq(gv_member_record_scan(store, on_member, &go_on), GV_OK);
    ck_assert_str_eq(seen, expected);
}

static void expect_routes(const char *expected)
{
    gv_err_t go_on = GV_OK;
    seen[0] = '\0';
    ck_assert_int_eq(gv_member_route_scan(store, on_route, &go_on), GV_OK);
    ck_assert_str_eq(seen, expected);
}

static void put_member(gv_batch_t *batch, const uint8_t *id, const char *name, uint64_t gone_at_ms)
{
    gv_stored_member_t member = {.node_id = id,
                                 .name = gv_bytes_text(name),
                                 .address = GV_BYTES_LITERAL("host:1"),
                                 .gone_at_ms = gone_at_ms};
    gv_member_record_put(batch, &member);
}

START_TEST(members_are_what_they_were_last)
{
    gv_batch_t *batch = begin();
    put_member(batch, node_b, "n2", 7);
    put_member(batch, node_a, "n1", 0);
    put_member(batch, node_b, "n2 again", 0);
    write_batch(batch);
    expect_members("a n1 host:1 0\nb n2 again host:1 0\n");
    batch = begin();
    gv_member_record_delete(batch, node_a);
    put_member(batch, node_b, "", 9);
    write_batch(batch);
    expect_members("b  host:1 9\n");
}
END_TEST

START_TEST(routes_stand_by_node)
{
    char filter[1000];
    memset(filter, 'x', sizeof(filter));
    gv_bytes_t whole = gv_bytes(filter, sizeof(filter));
    gv_bytes_t shorter = gv_bytes(filter, sizeof(filter) - 1);
    gv_batch_t *batch = begin();
    gv_member_route_put(batch, node_b, GV_BYTES_LITERAL("t"));
    gv_member_route_put(batch, node_a, GV_BYTES_LITERAL("t"));
    gv_member_route_put(batch, node_a, GV_BYTES_LITERAL("a/#"));
    gv_member_route_put(batch, node_a, whole); /* their keys are hashes */
    gv_member_route_put(batch, node_a, shorter);
    write_batch(batch);
    batch = begin();
    gv_member_route_delete(batch, node_b, GV_BYTES_LITERAL("t"));
    gv_member_route_delete(batch, node_a, whole);
    gv_member_route_delete(batch, node_a, GV_BYTES_LITERAL("was never there"));
    write_batch(batch);
    char expected[2000];
    (void)snprintf(expected, sizeof(expected), "a a/#\na t\na %.*s\n", (int)shorter.size,
                   (const char *)shorter.data);
    expect_routes(expected);
}
END_TEST

START_TEST(what_is_damaged_or_makes_no_sense_is_noted_and_passed_over)
{
    gv_batch_t *batch = begin();
    put_member(batch, node_a, "n1", 0);
    gv_member_route_put(batch, node_a, GV_BYTES_LITERAL("damaged"));
    write_batch(batch);
    ck_assert(gv_mem_store_damage(store, GV_TABLE_MEMBERS));
    ck_assert(gv_mem_store_damage(store, GV_TABLE_MEMBER_ROUTES));
    Gv__Record__MemberRoute nothing = GV__RECORD__MEMBER_ROUTE__INIT;
    Gv__Record__Member member = GV__RECORD__MEMBER__INIT;
    uint8_t longer[GV_NODE_ID_SIZE + 1] = {'c'};
    batch = begin();
    gv_record_put(batch, GV_TABLE_MEMBER_ROUTES, gv_bytes(longer, sizeof(longer)), &nothing.base);
    gv_record_put(batch, GV_TABLE_MEMBERS, gv_bytes(longer, sizeof(longer)), &member.base);
    gv_record_put(batch, GV_TABLE_MEMBERS, gv_bytes(longer, 3), &member.base);
    put_member(batch, node_b, "n2", 0);
    gv_member_route_put(batch, node_b, GV_BYTES_LITERAL("sound"));
    write_batch(batch);
    expect_members("b n2 host:1 0\n");
    expect_routes("b sound\n");
    ck_assert_uint_eq(atomic_load(&gv_store_stats(store)->damaged), 5);
}
END_TEST

START_TEST(an_error_ends_the_scan)
{
    gv_batch_t *batch = begin();
    put_member(batch, node_a, "n1", 0);
    put_member(batch, node_b, "n2", 0);
    gv_member_route_put(batch, node_a, GV_BYTES_LITERAL("1"));
    gv_member_route_put(batch, node_a, GV_BYTES_LITERAL("2"));
    write_batch(batch);
    gv_err_t stop = GV_ERR_LIMIT;
    seen[0] = '\0';
    ck_assert_int_eq(gv_member_record_scan(store, on_member, &stop), GV_ERR_LIMIT);
    ck_assert_int_eq(gv_member_route_scan(store, on_route, &stop), GV_ERR_LIMIT);
    ck_assert_str_eq(seen, "a n1 host:1 0\na 1\n");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("storage/member_store");
    TCase *tcase = tcase_create("member_store");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, members_are_what_they_were_last);
    tcase_add_test(tcase, routes_stand_by_node);
    tcase_add_test(tcase, what_is_damaged_or_makes_no_sense_is_noted_and_passed_over);
    tcase_add_test(tcase, an_error_ends_the_scan);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
