/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The router with real threads and real grace periods: one writer changes it as fast as it can, two
 * readers match and check what must hold at every moment.  Run under ThreadSanitizer it also shows
 * that the memory orders are enough, under AddressSanitizer that nothing is freed too early.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "base/io/rcu.h"
#include "base/rng.h"
#include "broker/core/router.h"
#include "tests/unit/seed.h"

enum {
    READERS = 2,
    CHANGES = 200000,
    FILTERS = 1500, /* they come and go; their slot is their number */
    PERMANENT = 50, /* these stay; slots from PERMANENT_SLOT on */
    PERMANENT_SLOT = 1000000,
    NEW_SLOT = 2000000, /* one filter changes its slot between these two */
    OLD_SLOT = 3000000,
    TEXT_MAX = 64
};

static gv_router_t *router;
static uint64_t seed;
static atomic_bool writer_done;
static atomic_uint failures;
static atomic_ullong matches_done;

/* ck_assert() is for the test's own thread only. */
static void expect(bool cond, const char *what)
{
    if (!cond && atomic_fetch_add_explicit(&failures, 1, memory_order_relaxed) < 10) {
        (void)fprintf(stderr, "not so: %s\n", what);
    }
}

static void retire(void *arg, void *ptr, void (*free_fn)(void *ptr))
{
    (void)arg;
    gv_rcu_retire(ptr, free_fn);
}

/* ---- what is in the router --------------------------------------------------------------------
 */

/* All shapes, close together: they share nodes and arrays of the trie.  A number goes in between.
 */
typedef struct shape {
    const char *before;
    const char *after_in_filter;
    const char *after_in_topic;
} shape_t;

static const shape_t churn_shapes[] = {
    {"a/", "/b", "/b"},   {"a/", "/+", "/b"}, {"a/+/", "/#", "/y"},
    {"a/", "/#", "/x/y"}, {"", "", ""},
};
static const shape_t permanent_shapes[] = {
    {"a/p", "/b", "/b"},   {"a/p", "/+", "/x"}, {"a/+/p", "/#", "/y"},
    {"a/p", "/#", "/x/y"}, {"p", "", ""},
};

static void make_filter(const shape_t shapes[5], uint32_t number, char out[TEXT_MAX])
{
    const shape_t *shape = &shapes[number % 5];
    (void)snprintf(out, TEXT_MAX, "%s%u%s", shape->before, number / 5, shape->after_in_filter);
}

/* A topic that the filter of the same number matches; a `+` before the number becomes a word. */
static void make_topic(const shape_t shapes[5], uint32_t number, char out[TEXT_MAX])
{
    const shape_t *shape = &shapes[number % 5];
    (void)snprintf(out, TEXT_MAX, "%s%u%s", shape->before, number / 5, shape->after_in_topic);
    char *plus = strchr(out, '+');
    if (plus != NULL) {
        *plus = 'x';
    }
}

/* The shard can be told from the slot: a hit that mixes two routes is noticed. */
static gv_route_target_t shard_target(uint32_t slot)
{
    return (gv_route_target_t){
        .kind = GV_ROUTE_SHARD, .index = (uint8_t)(slot % 64), .slot = slot, .weight = 1};
}

static gv_route_target_t node_target(uint8_t node)
{
    return (gv_route_target_t){.kind = GV_ROUTE_NODE, .index = node, .weight = 1};
}

static void set(const char *filter, gv_route_target_t target)
{
    expect(gv_router_set(router, gv_bytes_text(filter), target) == GV_OK, "a route can be set");
}

/* ---- the writer --------------------------------------------------------------------------------
 */

static void change_churning(gv_rng_t *rng, bool growing)
{
    uint32_t number = gv_rng_below(rng, FILTERS);
    char filter[TEXT_MAX];
    make_filter(churn_shapes, number, filter);
    if (gv_rng_chance(rng, growing ? 80 : 20)) {
        set(filter, shard_target(number));
        if (gv_rng_chance(rng, 30)) {
            set(filter, node_target((uint8_t)(number % 8)));
        }
    } else {
        (void)gv_router_unset(router, gv_bytes_text(filter), GV_ROUTE_SHARD,
                              (uint8_t)(number % 64));
        (void)gv_router_unset(router, gv_bytes_text(filter), GV_ROUTE_NODE, (uint8_t)(number % 8));
    }
}

/* The group never loses its members on shard 1 and on node 20. */
static void change_group(gv_rng_t *rng)
{
    uint8_t node = (uint8_t)(10 + gv_rng_below(rng, 5));
    if (gv_rng_chance(rng, 50)) {
        set("$share/g/group/+", node_target(node));
    } else {
        (void)gv_router_unset(router, GV_BYTES_LITERAL("$share/g/group/+"), GV_ROUTE_NODE, node);
    }
}

static void change_slot(gv_rng_t *rng)
{
    gv_route_target_t target = shard_target(gv_rng_chance(rng, 50) ? NEW_SLOT : OLD_SLOT);
    target.index = 7;
    set("moving/+", target);
}

static void *writer_main(void *arg)
{
    (void)arg;
    gv_rcu_thread_register();
    gv_rng_t rng;
    gv_rng_init(&rng, seed, 0);
    for (int i = 0; i < CHANGES; i++) {
        bool growing = i / 5000 % 2 == 0;
        change_churning(&rng, growing);
        change_group(&rng);
        change_slot(&rng);
        if (i % 64 == 0) {
            gv_rcu_retire_flush();
        }
        if (i % 10000 == 0) {
            (void)gv_router_unset_node(router, (uint8_t)gv_rng_below(&rng, 8));
        }
    }
    atomic_store_explicit(&writer_done, true, memory_order_relaxed);
    gv_rcu_thread_unregister();
    return NULL;
}

/* ---- the readers -------------------------------------------------------------------------------
 */

static size_t count_slot(const gv_matches_t *matches, uint32_t slot)
{
    size_t count = 0;
    for (size_t i = 0; i < matches->hit_count; i++) {
        count += matches->hits[i].slot == slot;
    }
    return count;
}

static void check_permanent(gv_rng_t *rng, gv_matches_t *matches)
{
    uint32_t number = gv_rng_below(rng, PERMANENT);
    char topic[TEXT_MAX];
    make_topic(permanent_shapes, number, topic);
    gv_router_match(router, gv_bytes_text(topic), UINT64_MAX, gv_rng_u32(rng), matches);
    expect(count_slot(matches, PERMANENT_SLOT + number) == 1,
           "a filter that stays is always found");
    gv_router_match_local(router, gv_bytes_text(topic), matches);
    expect(count_slot(matches, PERMANENT_SLOT + number) == 1, "and for a peer's message too");
}

static void check_churning(gv_rng_t *rng, gv_matches_t *matches)
{
    uint32_t number = gv_rng_below(rng, FILTERS);
    char topic[TEXT_MAX];
    make_topic(churn_shapes, number, topic);
    gv_router_match(router, gv_bytes_text(topic), UINT64_MAX, gv_rng_u32(rng), matches);
    expect(count_slot(matches, number) <= 1, "a filter is found once at most");
    uint64_t shards = 0;
    for (size_t i = 0; i < matches->hit_count; i++) {
        expect(matches->hits[i].shard == matches->hits[i].slot % 64, "a hit is whole");
        shards |= UINT64_C(1) << matches->hits[i].shard;
    }
    expect(shards == matches->shards, "the bitmap says what the hits say");
    expect(matches->nodes < 1U << 8, "only nodes that were ever set");
}

static void check_group(gv_rng_t *rng, gv_matches_t *matches)
{
    gv_router_match(router, GV_BYTES_LITERAL("group/x"), UINT64_MAX, gv_rng_u32(rng), matches);
    expect(matches->hit_count + matches->node_share_count == 1, "a group gets one copy");
    if (matches->node_share_count == 1) {
        expect(gv_bytes_equal(matches->node_shares[0].filter, GV_BYTES_LITERAL("$share/g/group/+")),
               "the name of the group is whole");
    }
    gv_router_match_local(router, GV_BYTES_LITERAL("group/x"), matches);
    expect(
        gv_router_add_share(router, GV_BYTES_LITERAL("$share/g/group/+"), gv_rng_u32(rng), matches),
        "the group has a local member");
    expect(count_slot(matches, PERMANENT_SLOT + 1) == 1, "and it is that one");
}

static void check_moving(gv_matches_t *matches)
{
    gv_router_match(router, GV_BYTES_LITERAL("moving/x"), UINT64_MAX, 0, matches);
    expect(matches->hit_count == 1, "a route that is replaced is never absent and never double");
    expect(count_slot(matches, NEW_SLOT) + count_slot(matches, OLD_SLOT) == 1, "new or old");
}

static void *reader_main(void *arg)
{
    gv_rcu_thread_register();
    gv_rng_t rng;
    gv_rng_init(&rng, seed, 1 + *(const uint64_t *)arg);
    gv_matches_t matches;
    gv_matches_init(&matches);
    unsigned long long rounds = 0;
    while (!atomic_load_explicit(&writer_done, memory_order_relaxed)) {
        gv_rcu_read_begin();
        check_permanent(&rng, &matches);
        check_churning(&rng, &matches);
        check_group(&rng, &matches);
        check_moving(&matches);
        gv_rcu_read_end();
        rounds++;
    }
    atomic_fetch_add_explicit(&matches_done, rounds, memory_order_relaxed);
    gv_matches_deinit(&matches);
    gv_rcu_thread_unregister();
    return NULL;
}

START_TEST(readers_never_wait_and_never_see_half_a_filter)
{
    seed = test_seed(__func__);
    gv_router_options_t options = {.hash_seed = seed, .retire = retire};
    gv_router_new(&options, &router);
    gv_rcu_thread_register();
    for (uint32_t i = 0; i < PERMANENT; i++) {
        char filter[TEXT_MAX];
        make_filter(permanent_shapes, i, filter);
        set(filter, shard_target(PERMANENT_SLOT + i));
    }
    gv_route_target_t member = shard_target(PERMANENT_SLOT + 1);
    set("$share/g/group/+", member);
    set("$share/g/group/+", node_target(20));
    gv_route_target_t moving = shard_target(OLD_SLOT);
    moving.index = 7;
    set("moving/+", moving);

    pthread_t writer;
    pthread_t readers[READERS];
    uint64_t numbers[READERS];
    for (uint64_t i = 0; i < READERS; i++) {
        numbers[i] = i;
        ck_assert_int_eq(pthread_create(&readers[i], NULL, reader_main, &numbers[i]), 0);
    }
    ck_assert_int_eq(pthread_create(&writer, NULL, writer_main, NULL), 0);
    ck_assert_int_eq(pthread_join(writer, NULL), 0);
    for (int i = 0; i < READERS; i++) {
        ck_assert_int_eq(pthread_join(readers[i], NULL), 0);
    }
    ck_assert_uint_eq(atomic_load(&failures), 0);
    ck_assert_uint_gt(atomic_load(&matches_done), 1000);

    gv_rcu_barrier();
    gv_rcu_thread_unregister();
    gv_router_free(&router);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("router_concurrency");
    tcase_set_timeout(tc, 100);
    tcase_add_test(tc, readers_never_wait_and_never_see_half_a_filter);

    Suite *suite = suite_create("broker");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
