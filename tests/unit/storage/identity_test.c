/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/identity.h"

#include "tests/unit/storage/fixture.h"

static gv_identity_options_t options_of(const char *node, const char *cluster)
{
    gv_identity_options_t options = {
        .node_name = node, .cluster_name = cluster, .where = "the test's directory"};
    memcpy(options.fresh_node_id, "fresh node id 16", GV_NODE_ID_SIZE);
    options.hlc_bound = 1000;
    return options;
}

static gv_identity_t open_ok(gv_store_t *store, const gv_identity_options_t *options)
{
    gv_identity_t identity;
    char why[256] = "untouched";
    gv_err_t err = gv_identity_open(store, options, &identity, why, sizeof(why));
    ck_assert_msg(err == GV_OK, "%s", why);
    ck_assert_str_eq(why, "");
    return identity;
}

static void open_fails(gv_store_t *store, const gv_identity_options_t *options, gv_err_t expected,
                       const char *part_of_why)
{
    gv_identity_t identity;
    char why[256];
    ck_assert_int_eq(gv_identity_open(store, options, &identity, why, sizeof(why)), expected);
    ck_assert_msg(strstr(why, part_of_why) != NULL, "'%s' is not in: %s", part_of_why, why);
    ck_assert_ptr_null(strchr(why, '\n'));
}

START_TEST(a_new_store_gets_an_identity_and_keeps_it)
{
    fixture_t fx;
    fixture_open(&fx, (kind_t)_i, 0);
    gv_identity_options_t options = options_of("n1", "vineyard");
    gv_identity_t first = open_ok(fx.store, &options);
    ck_assert(first.is_new);
    ck_assert_uint_eq(first.start_counter, 1);
    ck_assert_uint_eq(first.hlc_floor, 0);
    ck_assert_uint_eq(first.hlc_bound, 1000);
    ck_assert_mem_eq(first.node_id, "fresh node id 16", GV_NODE_ID_SIZE);

    memcpy(options.fresh_node_id, "another node id ", GV_NODE_ID_SIZE);
    gv_identity_t second = open_ok(fx.store, &options);
    ck_assert(!second.is_new);
    ck_assert_uint_eq(second.start_counter, 2);
    ck_assert_mem_eq(second.node_id, first.node_id, GV_NODE_ID_SIZE);
    ck_assert_str_eq(second.node_name, "n1");
    ck_assert_str_eq(second.cluster_name, "vineyard");

    gv_identity_options_t unnamed = options_of("", "");
    gv_identity_t third = open_ok(fx.store, &unnamed);
    ck_assert_str_eq(third.node_name, "n1");
    ck_assert_str_eq(third.cluster_name, "vineyard");
    ck_assert_uint_eq(third.start_counter, 3);
    fixture_close(&fx);
}
END_TEST

/* The counter must be on the disk before the caller goes on to the network: in every mode. */
START_TEST(no_power_failure_gives_a_start_counter_twice)
{
    for (int mode = GV_STORE_SYNC_COMMIT; mode <= GV_STORE_SYNC_OFF; mode++) {
        gv_mem_options_t mem_options = {.seed = 5, .sync = (gv_store_sync_t)mode};
        gv_store_t *store;
        gv_mem_store_new(&mem_options, &store);
        gv_identity_options_t options = options_of("n1", "vineyard");
        for (uint64_t start = 1; start <= 20; start++) {
            ck_assert_uint_eq(open_ok(store, &options).start_counter, start);
            gv_mem_store_crash(store, GV_MEM_CRASH_POWER);
        }
        gv_store_close(&store);
    }
}
END_TEST

START_TEST(stamps_never_go_back)
{
    fixture_t fx;
    fixture_open(&fx, (kind_t)_i, 0);
    gv_identity_options_t options = options_of("n1", "vineyard");
    (void)open_ok(fx.store, &options);
    gv_batch_t *batch;
    gv_batch_new(&batch);
    gv_identity_put_hlc_bound(batch, 5000);
    ck_assert_ok(fixture_commit(&fx, batch));

    options.hlc_bound = 2000; /* the clock was set back */
    gv_identity_t identity = open_ok(fx.store, &options);
    ck_assert_uint_eq(identity.hlc_floor, 5000);
    ck_assert_uint_eq(identity.hlc_bound, 5000);

    options.hlc_bound = 7000;
    identity = open_ok(fx.store, &options);
    ck_assert_uint_eq(identity.hlc_floor, 5000);
    ck_assert_uint_eq(identity.hlc_bound, 7000);
    fixture_close(&fx);
}
END_TEST

START_TEST(another_nodes_store_is_refused_until_it_is_adopted)
{
    fixture_t fx;
    fixture_open(&fx, (kind_t)_i, 0);
    gv_identity_options_t options = options_of("n1", "vineyard");
    gv_identity_t first = open_ok(fx.store, &options);

    gv_identity_options_t other_node = options_of("n2", "vineyard");
    open_fails(fx.store, &other_node, GV_ERR_EXISTS, "belongs to node 'n1', not 'n2'");
    gv_identity_options_t other_cluster = options_of("n1", "cellar");
    open_fails(fx.store, &other_cluster, GV_ERR_EXISTS, "of cluster 'vineyard', not 'cellar'");

    other_node.adopt = true;
    gv_identity_t adopted = open_ok(fx.store, &other_node);
    ck_assert_mem_eq(adopted.node_id, first.node_id, GV_NODE_ID_SIZE);
    ck_assert_str_eq(adopted.node_name, "n2");
    ck_assert_uint_eq(adopted.start_counter, 2); /* the refused starts do not count */
    open_fails(fx.store, &options, GV_ERR_EXISTS, "belongs to node 'n2', not 'n1'");
    fixture_close(&fx);
}
END_TEST

START_TEST(a_default_name_is_taken_once_and_then_kept)
{
    fixture_t fx;
    fixture_open(&fx, KIND_MEM, 0);
    gv_identity_options_t options = options_of("", "vineyard");
    options.default_name = "host-1";
    ck_assert_str_eq(open_ok(fx.store, &options).node_name, "host-1");
    options.default_name = "host-2"; /* the container was made anew */
    ck_assert_str_eq(open_ok(fx.store, &options).node_name, "host-1");
    options.node_name = "n2";
    open_fails(fx.store, &options, GV_ERR_EXISTS, "belongs to node 'host-1', not 'n2'");
    fixture_close(&fx);
}
END_TEST

START_TEST(names_that_are_missing_or_too_long)
{
    fixture_t fx;
    fixture_open(&fx, KIND_MEM, 0);
    gv_identity_options_t options = options_of("", "vineyard");
    open_fails(fx.store, &options, GV_ERR_INVAL, "needs a name");
    char name[GV_NODE_NAME_SIZE_MAX + 2];
    memset(name, 'n', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    options = options_of(name, "vineyard");
    open_fails(fx.store, &options, GV_ERR_INVAL, "at most 255");
    name[sizeof(name) - 2] = '\0';
    ck_assert_str_eq(open_ok(fx.store, &options).node_name, name);
    fixture_close(&fx);
}
END_TEST

START_TEST(damage_is_refused_and_not_taken_for_a_new_store)
{
    static const char *const keys[] = {"identity", "start_counter", "hlc_bound"};
    for (size_t i = 0; i < 3; i++) {
        fixture_t fx;
        fixture_open(&fx, KIND_MEM, 0);
        gv_identity_options_t options = options_of("n1", "vineyard");
        (void)open_ok(fx.store, &options);
        gv_batch_t *batch;
        gv_batch_new(&batch);
        gv_batch_put(batch, GV_TABLE_META, text(keys[i]), text("garbage"));
        ck_assert_ok(fixture_commit(&fx, batch));
        open_fails(fx.store, &options, GV_ERR_CORRUPT, "damaged");
        fixture_close(&fx);
    }
    fixture_t fx;
    fixture_open(&fx, KIND_MEM, 0);
    gv_identity_options_t options = options_of("n1", "vineyard");
    (void)open_ok(fx.store, &options);
    gv_batch_t *batch;
    gv_batch_new(&batch);
    gv_batch_delete(batch, GV_TABLE_META, text("identity"));
    ck_assert_ok(fixture_commit(&fx, batch));
    open_fails(fx.store, &options, GV_ERR_CORRUPT, "damaged");
    fixture_close(&fx);
}
END_TEST

START_TEST(a_failing_disk_is_not_an_identity)
{
    fixture_t fx;
    fixture_open(&fx, KIND_MEM, 0);
    gv_identity_options_t options = options_of("n1", "vineyard");
    gv_mem_store_set_fault(fx.store, GV_ERR_IO, 100);
    open_fails(fx.store, &options, GV_ERR_IO, "cannot write");
    gv_mem_store_set_fault(fx.store, GV_OK, 0);
    ck_assert(open_ok(fx.store, &options).is_new);
    fixture_close(&fx);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("identity");
    tcase_add_loop_test(tc, a_new_store_gets_an_identity_and_keeps_it, 0, KIND_COUNT);
    tcase_add_test(tc, no_power_failure_gives_a_start_counter_twice);
    tcase_add_loop_test(tc, stamps_never_go_back, 0, KIND_COUNT);
    tcase_add_loop_test(tc, another_nodes_store_is_refused_until_it_is_adopted, 0, KIND_COUNT);
    tcase_add_test(tc, a_default_name_is_taken_once_and_then_kept);
    tcase_add_test(tc, names_that_are_missing_or_too_long);
    tcase_add_test(tc, damage_is_refused_and_not_taken_for_a_new_store);
    tcase_add_test(tc, a_failing_disk_is_not_an_identity);
    return run_case("storage", tc);
}
