/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/post.h"

#include "base/io/loop.h"

#include "tests/unit/storage/fixture.h"

/* A turn of the whole way: a loop submits, the writer commits, the loop hears of it. */
enum {
    ROUNDS = 100
};

typedef struct node {
    gv_loop_t *loop;
    gv_store_t *store;
    gv_store_lane_t lane;
    pthread_t loop_thread;
    int rounds;
    int on_other_threads;
} node_t;

static void submit_round(node_t *node);

static void on_done(gv_err_t result, void *arg)
{
    node_t *node = arg;
    node->on_other_threads += result != GV_OK || !pthread_equal(pthread_self(), node->loop_thread);
    if (++node->rounds < ROUNDS) {
        submit_round(node);
    } else if (node->rounds == ROUNDS) {
        gv_loop_stop(node->loop);
    }
}

static void submit_round(node_t *node)
{
    gv_batch_t *batch;
    gv_batch_new(&batch);
    gv_batch_put(batch, GV_TABLE_META, text("round"), gv_bytes(&node->rounds, sizeof(int)));
    gv_store_submit(&node->lane, &batch, on_done, node);
}

START_TEST(completions_run_on_the_lanes_loop)
{
    workdir_t dir;
    workdir_make(&dir);
    node_t node = {.store = lmdb_open_at(&dir)};
    ck_assert_ok(gv_loop_new(NULL, &node.loop));
    gv_store_lane_init(&node.lane, node.store, gv_store_post_to_loop, node.loop);
    node.loop_thread = pthread_self();
    submit_round(&node);
    gv_loop_run(node.loop);
    ck_assert_int_eq(node.rounds, ROUNDS);
    ck_assert_int_eq(node.on_other_threads, 0);

    /* Submitted to a loop that is gone: delivered when the loop is freed. */
    submit_round(&node);
    gv_store_close(&node.store);
    ck_assert_int_eq(node.rounds, ROUNDS);
    gv_loop_free(&node.loop);
    ck_assert_int_eq(node.rounds, ROUNDS + 1);
    gv_store_lane_deinit(&node.lane);
    workdir_remove(&dir);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("post");
    tcase_add_test(tc, completions_run_on_the_lanes_loop);
    return run_case("storage", tc);
}
