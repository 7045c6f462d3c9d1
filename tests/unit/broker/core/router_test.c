/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/router.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "base/alloc.h"
#include "tests/unit/broker/core/retire_bin.h"

#define ALL_ALIVE UINT64_MAX

static retire_bin_t bin;
static gv_router_t *router;
static gv_matches_t matches;

static void set_up(void)
{
    gv_router_options_t options = {.hash_seed = 1, .retire = retire_into_bin, .retire_arg = &bin};
    gv_router_new(&options, &router);
    gv_matches_init(&matches);
}

static void tear_down(void)
{
    gv_router_free(&router);
    ck_assert_ptr_null(router);
    gv_matches_deinit(&matches);
    bin_deinit(&bin);
}

static gv_err_t try_set_shard(const char *filter, uint8_t shard, uint32_t slot, uint32_t weight)
{
    return gv_router_set(
        router, gv_bytes_text(filter),
        (gv_route_target_t){
            .kind = GV_ROUTE_SHARD, .index = shard, .slot = slot, .weight = weight});
}

static void set_shard(const char *filter, uint8_t shard, uint32_t slot)
{
    ck_assert_int_eq(try_set_shard(filter, shard, slot, 1), GV_OK);
}

static void set_weighted_shard(const char *filter, uint8_t shard, uint32_t slot, uint32_t weight)
{
    ck_assert_int_eq(try_set_shard(filter, shard, slot, weight), GV_OK);
}

static void set_node(const char *filter, uint8_t node, uint32_t weight)
{
    gv_err_t err =
        gv_router_set(router, gv_bytes_text(filter),
                      (gv_route_target_t){.kind = GV_ROUTE_NODE, .index = node, .weight = weight});
    ck_assert_int_eq(err, GV_OK);
}

static bool unset_shard(const char *filter, uint8_t shard)
{
    return gv_router_unset(router, gv_bytes_text(filter), GV_ROUTE_SHARD, shard);
}

static bool unset_node(const char *filter, uint8_t node)
{
    return gv_router_unset(router, gv_bytes_text(filter), GV_ROUTE_NODE, node);
}

static void match(const char *topic)
{
    gv_router_match(router, gv_bytes_text(topic), ALL_ALIVE, 0, &matches);
}

static bool matches_topic(const char *filter, const char *topic)
{
    set_shard(filter, 3, 30);
    match(topic);
    bool hit = matches.hit_count > 0;
    ck_assert_uint_eq(matches.shards, hit ? 1U << 3 : 0);
    ck_assert(unset_shard(filter, 3));
    return hit;
}

/* ---- examples -------------------------------------------------------------------------------- */

START_TEST(an_exact_filter_matches_its_topic_only)
{
    ck_assert(matches_topic("sport/tennis", "sport/tennis"));
    ck_assert(!matches_topic("sport/tennis", "sport/tennis/"));
    ck_assert(!matches_topic("sport/tennis", "sport"));
    ck_assert(!matches_topic("sport/tennis", "/sport/tennis"));
    ck_assert(matches_topic("/", "/"));
    ck_assert(!matches_topic("a", "A"));
}
END_TEST

START_TEST(wildcards_match_as_the_standard_says)
{
    ck_assert(matches_topic("#", "sport"));
    ck_assert(matches_topic("#", "/"));
    ck_assert(matches_topic("sport/#", "sport"));
    ck_assert(matches_topic("sport/#", "sport/"));
    ck_assert(matches_topic("sport/#", "sport/tennis/player1"));
    ck_assert(!matches_topic("sport/#", "sports"));
    ck_assert(matches_topic("sport/tennis/+", "sport/tennis/player1"));
    ck_assert(!matches_topic("sport/tennis/+", "sport/tennis/player1/ranking"));
    ck_assert(!matches_topic("sport/+", "sport"));
    ck_assert(matches_topic("sport/+", "sport/"));
    ck_assert(matches_topic("+/+", "/finance"));
    ck_assert(matches_topic("/+", "/finance"));
    ck_assert(!matches_topic("+", "/finance"));
    ck_assert(matches_topic("+", "finance"));
    ck_assert(matches_topic("+/#", "finance"));
    ck_assert(matches_topic("+//+", "a//b"));
    ck_assert(!matches_topic("+//+", "a/b"));
    ck_assert(matches_topic("a/+/c/#", "a/b/c"));
}
END_TEST

START_TEST(wildcards_in_the_first_level_do_not_see_dollar_topics)
{
    ck_assert(!matches_topic("#", "$SYS/broker"));
    ck_assert(!matches_topic("+/broker", "$SYS/broker"));
    ck_assert(!matches_topic("+", "$SYS"));
    ck_assert(!matches_topic("+/#", "$SYS"));
    ck_assert(matches_topic("$SYS/#", "$SYS/broker"));
    ck_assert(matches_topic("$SYS/#", "$SYS"));
    ck_assert(matches_topic("$SYS/+", "$SYS/broker"));
    ck_assert(matches_topic("$SYS/broker", "$SYS/broker"));
    ck_assert(matches_topic("+/$SYS", "a/$SYS"));
    ck_assert(matches_topic("a/#", "a/$SYS"));
}
END_TEST

START_TEST(each_matching_filter_gives_its_own_hit)
{
    set_shard("a/b", 0, 10);
    set_shard("a/+", 0, 11);
    set_shard("#", 63, 12);
    set_node("a/#", 63, 0);
    set_node("a/b", 0, 0);
    set_node("a/b", 63, 0);
    match("a/b");
    ck_assert_uint_eq(matches.shards, UINT64_C(1) << 63 | 1);
    ck_assert_uint_eq(matches.nodes, UINT64_C(1) << 63 | 1);
    ck_assert_uint_eq(matches.hit_count, 3);
    uint32_t slots = 0;
    for (size_t i = 0; i < matches.hit_count; i++) {
        ck_assert_uint_eq(matches.hits[i].shard, matches.hits[i].slot == 12 ? 63 : 0);
        slots |= 1U << matches.hits[i].slot;
    }
    ck_assert_uint_eq(slots, 1U << 10 | 1U << 11 | 1U << 12);
    match("b");
    ck_assert_uint_eq(matches.hit_count, 1);
    ck_assert_uint_eq(matches.nodes, 0);
}
END_TEST

START_TEST(set_again_replaces_the_slot)
{
    set_shard("a", 1, 10);
    set_shard("a", 2, 20);
    set_shard("a", 1, 11);
    match("a");
    ck_assert_uint_eq(matches.hit_count, 2);
    ck_assert_uint_eq(matches.hits[0].slot, 11);
    ck_assert_uint_eq(matches.hits[1].slot, 20);
    ck_assert_uint_eq(gv_router_counters(router).routes, 2);
}
END_TEST

START_TEST(unset_finds_only_what_is_there)
{
    set_shard("a/+", 1, 10);
    ck_assert(!unset_shard("a/+", 2));
    ck_assert(!unset_node("a/+", 1));
    ck_assert(!unset_shard("a/b", 1));
    ck_assert(!unset_shard("a/+/c", 1));
    ck_assert(!unset_shard("a/#", 1));
    ck_assert(!unset_shard("+", 1));
    ck_assert(!unset_shard("$share/g/a/+", 1));
    ck_assert(!unset_shard("", 1));
    ck_assert(unset_shard("a/+", 1));
    ck_assert(!unset_shard("a/+", 1));
}
END_TEST

START_TEST(wrong_filters_are_refused_and_change_nothing)
{
    size_t before = gv_router_counters(router).memory_bytes;
    ck_assert_int_eq(try_set_shard("", 0, 0, 0), GV_ERR_INVAL);
    ck_assert_int_eq(try_set_shard("$share/", 0, 0, 0), GV_ERR_INVAL);
    ck_assert_int_eq(try_set_shard("$share/g", 0, 0, 0), GV_ERR_INVAL);
    ck_assert_int_eq(try_set_shard("$share/g/", 0, 0, 0), GV_ERR_INVAL);
    ck_assert_int_eq(try_set_shard("$share//a", 0, 0, 0), GV_ERR_INVAL);

    char *text = gv_xalloc(65537);
    memset(text, 'a', 65536);
    text[65536] = '\0';
    ck_assert_int_eq(try_set_shard(text, 0, 0, 0), GV_ERR_LIMIT);
    ck_assert_uint_eq(gv_router_counters(router).memory_bytes, before);
    ck_assert_uint_eq(gv_router_version(router), 0);
    text[65535] = '\0';
    ck_assert(matches_topic(text, text));
    gv_free(text);
}
END_TEST

/* "+/+/.../+" with that many levels. */
static char *plus_levels(size_t levels)
{
    char *text = gv_xalloc(levels * 2);
    for (size_t i = 0; i < levels; i++) {
        memcpy(text + i * 2, "+/", 2);
    }
    text[levels * 2 - 1] = '\0';
    return text;
}

START_TEST(depth_is_limited_for_filters_and_not_for_topics)
{
    char *deepest = plus_levels(GV_ROUTER_LEVELS_MAX);
    char *too_deep = plus_levels(GV_ROUTER_LEVELS_MAX + 1);
    set_shard(deepest, 0, 1);
    ck_assert_int_eq(try_set_shard(too_deep, 0, 1, 1), GV_ERR_LIMIT);
    ck_assert(!unset_shard(too_deep, 0));
    set_shard("#", 0, 2);

    /* `#` may be the last of the levels. */
    deepest[strlen(deepest) - 1] = '#';
    set_shard(deepest, 0, 3);
    too_deep[strlen(too_deep) - 1] = '#';
    ck_assert_int_eq(try_set_shard(too_deep, 0, 1, 1), GV_ERR_LIMIT);

    char *topic = gv_xalloc(65536);
    memset(topic, '/', 65535);
    topic[65535] = '\0';
    match(topic);
    ck_assert_uint_eq(matches.hit_count, 2);
    topic[GV_ROUTER_LEVELS_MAX] = '\0'; /* one level more than the deepest filter */
    match(topic);
    ck_assert_uint_eq(matches.hit_count, 2);
    topic[GV_ROUTER_LEVELS_MAX - 1] = '\0';
    match(topic);
    ck_assert_uint_eq(matches.hit_count, 3);
    topic[GV_ROUTER_LEVELS_MAX - 2] = '\0'; /* `#` matches its parent level too */
    match(topic);
    ck_assert_uint_eq(matches.hit_count, 2);
    topic[GV_ROUTER_LEVELS_MAX - 3] = '\0';
    match(topic);
    ck_assert_uint_eq(matches.hit_count, 1);

    gv_free(topic);
    gv_free(deepest);
    gv_free(too_deep);
}
END_TEST

/* Two ways through the trie come to its bottom, where the topic goes on by one level. */
START_TEST(a_topic_one_level_too_deep_is_so_on_every_way)
{
    char *filter = plus_levels(GV_ROUTER_LEVELS_MAX);
    char *topic = plus_levels(GV_ROUTER_LEVELS_MAX + 1);
    for (size_t i = 0; topic[i] != '\0'; i++) {
        topic[i] = topic[i] == '+' ? 'a' : topic[i];
    }
    set_shard(filter, 0, 1);
    filter[0] = 'a';
    set_shard(filter, 0, 2);
    filter[2] = 'a';
    set_shard(filter, 0, 3);
    match(topic);
    ck_assert_uint_eq(matches.hit_count, 0);
    topic[strlen(topic) - 2] = '\0';
    match(topic);
    ck_assert_uint_eq(matches.hit_count, 3);
    gv_free(filter);
    gv_free(topic);
}
END_TEST

START_TEST(exact_filters_have_no_depth_limit)
{
    char *text = gv_xalloc(65536);
    memset(text, '/', 65535);
    text[65535] = '\0';
    ck_assert(matches_topic(text, text));
    gv_free(text);
}
END_TEST

START_TEST(the_walk_visits_matching_prefixes_only)
{
    for (int i = 0; i < 1000; i++) {
        char filter[32];
        (void)snprintf(filter, sizeof(filter), "site/%d/+", i);
        set_shard(filter, 0, (uint32_t)i);
    }
    match("site/77/temperature");
    ck_assert_uint_eq(matches.hit_count, 1);
    ck_assert_uint_eq(matches.hits[0].slot, 77);
    ck_assert_uint_eq(matches.nodes_visited, 4); /* root, site, 77, + */
}
END_TEST

/* ---- shared subscriptions -------------------------------------------------------------------- */

START_TEST(a_group_gets_one_copy)
{
    set_weighted_shard("$share/g/a/+", 1, 10, 1);
    set_weighted_shard("$share/g/a/+", 2, 20, 1);
    set_node("$share/g/a/+", 5, 1);
    set_weighted_shard("$share/h/a/+", 3, 30, 1);
    set_shard("a/+", 4, 40);
    int chosen[3] = {0};
    for (uint32_t i = 0; i < 3000; i++) {
        gv_router_match(router, GV_BYTES_LITERAL("a/b"), ALL_ALIVE, i * UINT32_C(1431655),
                        &matches);
        ck_assert_uint_eq(matches.nodes, 0);
        ck_assert_uint_eq(matches.hit_count + matches.node_share_count, 3);
        if (matches.node_share_count == 1) {
            ck_assert_uint_eq(matches.node_shares[0].node, 5);
            ck_assert(
                gv_bytes_equal(matches.node_shares[0].filter, GV_BYTES_LITERAL("$share/g/a/+")));
            chosen[2]++;
        } else {
            bool first = (matches.shards & 1U << 1) != 0;
            ck_assert_uint_eq(matches.shards, 1U << 3 | 1U << 4 | (first ? 1U << 1 : 1U << 2));
            chosen[first ? 0 : 1]++;
        }
    }
    for (int i = 0; i < 3; i++) {
        ck_assert_int_gt(chosen[i], 850);
        ck_assert_int_lt(chosen[i], 1150);
    }
    ck_assert_uint_eq(gv_router_counters(router).groups, 2);
}
END_TEST

START_TEST(the_choice_is_weighted_by_members_online)
{
    set_weighted_shard("$share/g/a", 0, 10, 1);
    set_node("$share/g/a", 0, 3);
    set_weighted_shard("$share/g/a", 1, 11, 0);
    int remote = 0;
    for (uint32_t i = 0; i < 4000; i++) {
        gv_router_match(router, GV_BYTES_LITERAL("a"), ALL_ALIVE, i * UINT32_C(1073743), &matches);
        ck_assert_uint_eq(matches.shards & 1U << 1, 0);
        remote += matches.node_share_count == 1;
    }
    ck_assert_int_gt(remote, 2800);
    ck_assert_int_lt(remote, 3200);
}
END_TEST

START_TEST(offline_targets_are_used_only_when_nobody_is_online)
{
    set_weighted_shard("$share/g/a", 0, 10, 0);
    set_weighted_shard("$share/g/a", 1, 11, 0);
    set_node("$share/g/a", 2, 5);
    uint64_t shards = 0;
    for (uint32_t i = 0; i < 100; i++) {
        gv_router_match(router, GV_BYTES_LITERAL("a"), ALL_ALIVE, i << 25, &matches);
        ck_assert_uint_eq(matches.node_share_count, 1);
        /* The node is dead: what is left is offline, but it is what there is. */
        gv_router_match(router, GV_BYTES_LITERAL("a"), ALL_ALIVE & ~UINT64_C(4), i << 25, &matches);
        ck_assert_uint_eq(matches.hit_count, 1);
        shards |= matches.shards;
    }
    ck_assert_uint_eq(shards, 3);
    ck_assert(unset_shard("$share/g/a", 0));
    ck_assert(unset_shard("$share/g/a", 1));
    gv_router_match(router, GV_BYTES_LITERAL("a"), 0, 0, &matches);
    ck_assert_uint_eq(matches.hit_count + matches.node_share_count, 0);
}
END_TEST

START_TEST(huge_weights_do_not_overflow_the_choice)
{
    for (uint8_t i = 0; i < 64; i++) {
        set_weighted_shard("$share/g/a", i, i, UINT32_MAX);
        set_node("$share/g/a", i, UINT32_MAX);
    }
    uint64_t shards = 0;
    uint64_t nodes = 0;
    for (uint32_t i = 0; i < 20000; i++) {
        gv_router_match(router, GV_BYTES_LITERAL("a"), ALL_ALIVE, i * UINT32_C(214741), &matches);
        ck_assert_uint_eq(matches.hit_count + matches.node_share_count, 1);
        shards |= matches.shards;
        nodes |= matches.node_share_count > 0 ? UINT64_C(1) << matches.node_shares[0].node : 0;
    }
    ck_assert_uint_eq(shards, UINT64_MAX);
    ck_assert_uint_eq(nodes, UINT64_MAX);
}
END_TEST

START_TEST(messages_from_a_peer_reach_plain_local_subscriptions_only)
{
    set_shard("a/#", 1, 10);
    set_shard("a/b", 2, 20);
    set_node("a/b", 3, 0);
    set_node("a/+", 4, 0);
    set_weighted_shard("$share/g/a/b", 5, 50, 1);
    gv_router_match_local(router, GV_BYTES_LITERAL("a/b"), &matches);
    ck_assert_uint_eq(matches.shards, 1U << 1 | 1U << 2);
    ck_assert_uint_eq(matches.nodes, 0);
    ck_assert_uint_eq(matches.hit_count, 2);
    ck_assert_uint_eq(matches.node_share_count, 0);

    ck_assert(gv_router_add_share(router, GV_BYTES_LITERAL("$share/g/a/b"), 7, &matches));
    ck_assert_uint_eq(matches.hit_count, 3);
    ck_assert_uint_eq(matches.hits[2].slot, 50);
    ck_assert_uint_eq(matches.shards, 1U << 1 | 1U << 2 | 1U << 5);
}
END_TEST

START_TEST(a_message_that_has_come_for_a_group_is_not_sent_on_to_another_node)
{
    set_node("$share/g/a", 1, 100);
    ck_assert(!gv_router_add_share(router, GV_BYTES_LITERAL("$share/g/a"), 7, &matches));
    ck_assert(!gv_router_add_share(router, GV_BYTES_LITERAL("$share/h/a"), 7, &matches));
    ck_assert(!gv_router_add_share(router, GV_BYTES_LITERAL("a"), 7, &matches));
    ck_assert_uint_eq(matches.hit_count + matches.node_share_count, 0);
    set_weighted_shard("$share/g/a", 0, 10, 0);
    ck_assert(gv_router_add_share(router, GV_BYTES_LITERAL("$share/g/a"), 7, &matches));
    ck_assert_uint_eq(matches.hits[0].slot, 10);
}
END_TEST

START_TEST(a_member_that_is_picked_is_the_only_answer)
{
    set_node("$share/g/a", 1, 100);
    set_shard("a", 2, 20);
    match("a");
    ck_assert_uint_eq(matches.hit_count, 1);
    ck_assert(
        gv_router_pick_share(router, GV_BYTES_LITERAL("$share/g/a"), UINT64_MAX, 7, &matches));
    ck_assert_uint_eq(matches.hit_count, 0);
    ck_assert_uint_eq(matches.shards, 0);
    ck_assert_uint_eq(matches.node_share_count, 1);
    ck_assert_uint_eq(matches.node_shares[0].node, 1);
    ck_assert(!gv_router_pick_share(router, GV_BYTES_LITERAL("$share/g/a"), 0, 7, &matches));
    ck_assert_uint_eq(matches.hit_count + matches.node_share_count, 0);
}
END_TEST

START_TEST(groups_and_plain_routes_of_a_filter_come_and_go_apart)
{
    set_weighted_shard("$share/g/a", 1, 10, 1);
    set_shard("a", 1, 11);
    ck_assert_uint_eq(gv_router_counters(router).filters, 1);
    ck_assert_uint_eq(gv_router_counters(router).routes, 2);
    ck_assert(unset_shard("a", 1));
    match("a");
    ck_assert_uint_eq(matches.hit_count, 1);
    ck_assert_uint_eq(matches.hits[0].slot, 10);
    ck_assert_uint_eq(gv_router_counters(router).filters, 1);
    ck_assert(unset_shard("$share/g/a", 1));
    match("a");
    ck_assert_uint_eq(matches.hit_count, 0);
    ck_assert_uint_eq(gv_router_counters(router).filters, 0);
    ck_assert_uint_eq(gv_router_counters(router).groups, 0);
}
END_TEST

START_TEST(names_that_only_look_shared_are_plain)
{
    ck_assert(matches_topic("$share", "$share"));
    ck_assert(matches_topic("$shared/g/a", "$shared/g/a"));
    ck_assert(!matches_topic("$share/g/a", "$share/g/a"));
    ck_assert(matches_topic("$share/g/$SYS/#", "$SYS/x"));
    ck_assert(!matches_topic("$share/g/#", "$SYS/x"));
    ck_assert(matches_topic("$share/g//a", "/a"));
}
END_TEST

/* ---- what the writer asks -------------------------------------------------------------------- */

START_TEST(local_weight_tells_when_to_announce)
{
    gv_bytes_t plain = GV_BYTES_LITERAL("a/+");
    gv_bytes_t shared = GV_BYTES_LITERAL("$share/g/a/+");
    ck_assert_uint_eq(gv_router_local_weight(router, plain).shards, 0);
    set_node("a/+", 1, 0);
    ck_assert_uint_eq(gv_router_local_weight(router, plain).shards, 0);
    set_shard("a/+", 1, 0);
    ck_assert_uint_eq(gv_router_local_weight(router, plain).shards, 1);
    set_shard("a/+", 2, 0);
    ck_assert_uint_eq(gv_router_local_weight(router, plain).shards, 2);
    ck_assert_uint_eq(gv_router_local_weight(router, GV_BYTES_LITERAL("a/#")).shards, 0);
    ck_assert_uint_eq(gv_router_local_weight(router, GV_BYTES_LITERAL("a")).shards, 0);
    ck_assert_uint_eq(gv_router_local_weight(router, GV_BYTES_EMPTY).shards, 0);

    ck_assert_uint_eq(gv_router_local_weight(router, shared).shards, 0);
    set_node("$share/g/a/+", 3, 100);
    set_weighted_shard("$share/g/a/+", 1, 0, 5);
    set_weighted_shard("$share/g/a/+", 2, 0, 0);
    ck_assert_uint_eq(gv_router_local_weight(router, shared).shards, 2);
    ck_assert_uint_eq(gv_router_local_weight(router, shared).weight, 5);
    set_weighted_shard("$share/g/a/+", 1, 0, 7);
    ck_assert_uint_eq(gv_router_local_weight(router, shared).weight, 7);
}
END_TEST

START_TEST(the_version_grows_with_each_change)
{
    uint64_t version = gv_router_version(router);
    set_shard("a", 1, 1);
    ck_assert_uint_gt(gv_router_version(router), version);
    version = gv_router_version(router);
    match("a");
    ck_assert(!unset_shard("b", 1));
    ck_assert_uint_eq(gv_router_version(router), version);
    ck_assert(unset_shard("a", 1));
    ck_assert_uint_gt(gv_router_version(router), version);
}
END_TEST

START_TEST(memory_comes_back)
{
    size_t before = gv_router_counters(router).memory_bytes;
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < 5000; i++) {
            char filter[64];
            (void)snprintf(filter, sizeof(filter), i % 3 == 0 ? "x/%u/+/y/#" : "x/%u/y", i);
            set_shard(filter, (uint8_t)(i % 64), i);
            set_node(filter, 1, 0);
            (void)snprintf(filter, sizeof(filter), "$share/g%u/x/%u", i % 7, i % 11);
            set_node(filter, (uint8_t)(i % 64), i);
        }
        gv_router_counters_t counters = gv_router_counters(router);
        ck_assert_uint_eq(counters.groups, 77);
        ck_assert_uint_eq(counters.filters, 5000 + 11);
        ck_assert_uint_eq(counters.wildcard_filters, 1667);
        ck_assert_uint_gt(counters.memory_bytes, 5000 * 64);
        for (uint32_t i = 0; i < 5000; i++) {
            char filter[64];
            (void)snprintf(filter, sizeof(filter), i % 3 == 0 ? "x/%u/+/y/#" : "x/%u/y", i);
            ck_assert(unset_shard(filter, (uint8_t)(i % 64)));
            ck_assert(unset_node(filter, 1));
            (void)snprintf(filter, sizeof(filter), "$share/g%u/x/%u", i % 7, i % 11);
            (void)unset_node(filter, (uint8_t)(i % 64));
        }
        empty_bin(&bin);
        counters = gv_router_counters(router);
        ck_assert_uint_eq(counters.routes, 0);
        ck_assert_uint_eq(counters.filters, 0);
        ck_assert_uint_eq(counters.wildcard_filters, 0);
        ck_assert_uint_eq(counters.groups, 0);
        ck_assert_uint_eq(counters.memory_bytes, before);
    }
}
END_TEST

START_TEST(a_forgotten_node_leaves_nothing_behind)
{
    size_t before = gv_router_counters(router).memory_bytes;
    for (uint32_t i = 0; i < 500; i++) {
        char filter[64];
        (void)snprintf(filter, sizeof(filter), "x/%u", i);
        set_node(filter, 7, 0);
        (void)snprintf(filter, sizeof(filter), "+/%u/#", i);
        set_node(filter, 7, 0);
        (void)snprintf(filter, sizeof(filter), "$share/g/%u/+", i);
        set_node(filter, 7, 1);
    }
    set_node("keep/+", 8, 0);
    set_node("$share/g/keep/+", 8, 0);
    set_node("$share/g/keep/+", 7, 0);
    set_shard("keep", 7, 0);
    ck_assert_uint_eq(gv_router_unset_node(router, 7), 1501);
    ck_assert_uint_eq(gv_router_unset_node(router, 7), 0);
    gv_router_counters_t counters = gv_router_counters(router);
    ck_assert_uint_eq(counters.routes, 3);
    ck_assert_uint_eq(counters.filters, 2);
    ck_assert_uint_eq(counters.groups, 1);
    match("x/1");
    ck_assert_uint_eq(matches.nodes, 0);
    match("keep/x");
    ck_assert_uint_eq(matches.nodes, 1U << 8);
    ck_assert_uint_eq(matches.node_share_count, 1);
    ck_assert_uint_eq(gv_router_unset_node(router, 8), 2);
    ck_assert(unset_shard("keep", 7));
    ck_assert_uint_eq(gv_router_counters(router).memory_bytes, before);
}
END_TEST

START_TEST(an_index_out_of_range_aborts)
{
    set_node("a", GV_ROUTER_NODES_MAX, 0);
}
END_TEST

/* ---- looking at all ------------------------------------------------------------------------- */

static char shown[4096];
static int shown_left; /* below 0: any number */

static bool on_route(const gv_route_view_t *route, void *arg)
{
    (void)arg;
    if (shown_left-- == 0) {
        return false;
    }
    size_t size = strlen(shown);
    (void)snprintf(shown + size, sizeof(shown) - size, "[%.*s %llx %llx]", (int)route->filter.size,
                   (const char *)route->filter.data, (unsigned long long)route->shards,
                   (unsigned long long)route->nodes);
    return true;
}

static size_t walk_all(uint32_t visits_max, int taken)
{
    shown[0] = '\0';
    gv_router_walk_t *walk = NULL;
    gv_router_walk_new(&walk);
    int slices = 0;
    do {
        ck_assert_int_lt(slices++, 1000);
        shown_left = taken;
    } while (!gv_router_walk_on(router, walk, visits_max, on_route, NULL));
    gv_router_walk_free(&walk);
    ck_assert_ptr_null(walk);
    return strlen(shown);
}

START_TEST(a_walk_shows_filters_and_groups_with_all_their_targets)
{
    ck_assert_uint_eq(walk_all(1, -1), 0);
    set_shard("a/b", 0, 1);
    set_shard("a/b", 2, 1);
    set_node("a/b", 5, 1);
    set_node("far", 63, 1);
    set_shard("a/+", 1, 7);
    set_shard("#", 0, 8);
    set_weighted_shard("$share/g/a/b", 3, 9, 1);
    set_node("$share/g/a/b", 1, 0);
    set_weighted_shard("$share/g/only/+", 0, 9, 1);
    static const char *const expected[] = {
        "[a/b 5 20]", "[far 0 8000000000000000]", "[a/+ 2 0]",
        "[# 1 0]",    "[$share/g/a/b 8 2]",       "[$share/g/only/+ 1 0]",
    };
    size_t size = 0;
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        size += strlen(expected[i]);
    }
    for (uint32_t visits_max = 1; visits_max < 50; visits_max = visits_max * 2 + 1) {
        for (int taken = -1; taken < 3; taken += taken == -1 ? 2 : 1) {
            ck_assert_uint_eq(walk_all(visits_max, taken), size);
            for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
                ck_assert_msg(strstr(shown, expected[i]) != NULL, "%s in %s", expected[i], shown);
            }
        }
    }
}
END_TEST

static bool shows(const char *filter, const char *expected)
{
    shown[0] = '\0';
    shown_left = -1;
    bool is_there = gv_router_show(router, gv_bytes_text(filter), on_route, NULL);
    return is_there && strcmp(shown, expected) == 0;
}

START_TEST(one_filter_is_shown_by_its_text)
{
    set_shard("a/b", 0, 1);
    set_shard("a/+", 1, 7);
    set_weighted_shard("$share/g/a/b", 3, 9, 1);
    ck_assert(shows("a/b", "[a/b 1 0]"));
    ck_assert(shows("a/+", "[a/+ 2 0]"));
    ck_assert(shows("$share/g/a/b", "[$share/g/a/b 8 0]"));
    ck_assert(!shows("a", ""));
    ck_assert(!shows("$share/h/a/b", ""));
    ck_assert(!shows("$share/g", ""));
    ck_assert(unset_shard("a/b", 0));
    ck_assert(shows("a/b", "")); /* it leads to the group only */
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("router");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, an_exact_filter_matches_its_topic_only);
    tcase_add_test(tc, wildcards_match_as_the_standard_says);
    tcase_add_test(tc, wildcards_in_the_first_level_do_not_see_dollar_topics);
    tcase_add_test(tc, each_matching_filter_gives_its_own_hit);
    tcase_add_test(tc, set_again_replaces_the_slot);
    tcase_add_test(tc, unset_finds_only_what_is_there);
    tcase_add_test(tc, wrong_filters_are_refused_and_change_nothing);
    tcase_add_test(tc, depth_is_limited_for_filters_and_not_for_topics);
    tcase_add_test(tc, a_topic_one_level_too_deep_is_so_on_every_way);
    tcase_add_test(tc, exact_filters_have_no_depth_limit);
    tcase_add_test(tc, the_walk_visits_matching_prefixes_only);
    tcase_add_test(tc, a_group_gets_one_copy);
    tcase_add_test(tc, the_choice_is_weighted_by_members_online);
    tcase_add_test(tc, offline_targets_are_used_only_when_nobody_is_online);
    tcase_add_test(tc, huge_weights_do_not_overflow_the_choice);
    tcase_add_test(tc, messages_from_a_peer_reach_plain_local_subscriptions_only);
    tcase_add_test(tc, a_message_that_has_come_for_a_group_is_not_sent_on_to_another_node);
    tcase_add_test(tc, a_member_that_is_picked_is_the_only_answer);
    tcase_add_test(tc, groups_and_plain_routes_of_a_filter_come_and_go_apart);
    tcase_add_test(tc, names_that_only_look_shared_are_plain);
    tcase_add_test(tc, local_weight_tells_when_to_announce);
    tcase_add_test(tc, the_version_grows_with_each_change);
    tcase_add_test(tc, memory_comes_back);
    tcase_add_test(tc, a_forgotten_node_leaves_nothing_behind);
    tcase_add_test(tc, a_walk_shows_filters_and_groups_with_all_their_targets);
    tcase_add_test(tc, one_filter_is_shown_by_its_text);
    tcase_add_test_raise_signal(tc, an_index_out_of_range_aborts, SIGABRT);

    Suite *suite = suite_create("broker/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
