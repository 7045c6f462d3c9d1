/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The router against a model: a plain list of routes, which is searched from one end to the other.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "base/rng.h"
#include "broker/core/router.h"
#include "tests/unit/broker/core/retire_bin.h"
#include "tests/unit/seed.h"

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

/*
 * The naive router: a list of routes.  Each set gives the route a slot of its own, so a hit names
 * its route; texts come from a small alphabet, so that filters meet and share nodes.
 */
enum {
    MODEL_ROUTES_MAX = 400,
    MODEL_TEXT_MAX = 48,
    MODEL_STEPS = 20000,
    MODEL_INDEXES = 5 /* shards and nodes */
};

typedef struct model_route {
    char text[MODEL_TEXT_MAX];
    const char *plain; /* behind "$share/g/", or the text itself */
    gv_route_target_t target;
    bool seen; /* in the answer that is being checked */
} model_route_t;

typedef struct model {
    model_route_t routes[MODEL_ROUTES_MAX];
    size_t count;
    uint32_t slot_next;
    gv_rng_t rng;
} model_t;

static const char *plain_part(const char *text)
{
    return strncmp(text, "$share/", 7) == 0 ? strchr(text + 7, '/') + 1 : text;
}

static bool is_shared(const model_route_t *route)
{
    return route->plain != route->text;
}

static bool naive_match_levels(const char *filter, const char *topic)
{
    if (strcmp(filter, "#") == 0) {
        return true;
    }
    const char *topic_end = strchrnul(topic, '/');
    const char *filter_end = strchrnul(filter, '/');
    size_t size = (size_t)(filter_end - filter);
    bool is_same = size == (size_t)(topic_end - topic) && strncmp(filter, topic, size) == 0;
    if (!is_same && strncmp(filter, "+", size > 0 ? size : 1) != 0) {
        return false;
    }
    if (*topic_end == '\0') {
        return *filter_end == '\0' || strcmp(filter_end, "/#") == 0;
    }
    return *filter_end == '/' && naive_match_levels(filter_end + 1, topic_end + 1);
}

static bool naive_match(const char *filter, const char *topic)
{
    if (topic[0] == '$' && (filter[0] == '+' || filter[0] == '#')) {
        return false;
    }
    return naive_match_levels(filter, topic);
}

static void random_text(gv_rng_t *rng, bool is_filter, char out[MODEL_TEXT_MAX])
{
    static const char *const words[] = {"a", "b", "", "$x", "long-level", "ab"};
    out[0] = '\0';
    if (is_filter && gv_rng_chance(rng, 30)) {
        (void)snprintf(out, MODEL_TEXT_MAX, "$share/g%u/", gv_rng_below(rng, 2));
    }
    uint32_t levels = 1 + gv_rng_below(rng, 4);
    for (uint32_t i = 0; i < levels; i++) {
        const char *word = words[gv_rng_below(rng, 6)];
        if (is_filter && gv_rng_chance(rng, 25)) {
            word = "+";
        } else if (is_filter && i == levels - 1 && gv_rng_chance(rng, 25)) {
            word = "#";
        } else if (levels == 1 && word[0] == '\0') {
            word = "a"; /* an empty filter or topic is not valid */
        }
        (void)strncat(out, word, MODEL_TEXT_MAX - strlen(out) - 1);
        (void)strncat(out, i + 1 < levels ? "/" : "", MODEL_TEXT_MAX - strlen(out) - 1);
    }
}

static model_route_t *model_find(model_t *model, const char *text, gv_route_kind_t kind,
                                 uint8_t index)
{
    for (size_t i = 0; i < model->count; i++) {
        model_route_t *route = &model->routes[i];
        if (route->target.kind == kind && route->target.index == index &&
            strcmp(route->text, text) == 0) {
            return route;
        }
    }
    return NULL;
}

static void model_remove(model_t *model, model_route_t *route)
{
    *route = model->routes[--model->count];
    route->plain = plain_part(route->text);
}

static void random_set(model_t *model)
{
    if (model->count == MODEL_ROUTES_MAX) {
        return;
    }
    char text[MODEL_TEXT_MAX];
    random_text(&model->rng, true, text);
    gv_route_target_t target = {.kind =
                                    gv_rng_chance(&model->rng, 50) ? GV_ROUTE_NODE : GV_ROUTE_SHARD,
                                .index = (uint8_t)gv_rng_below(&model->rng, MODEL_INDEXES),
                                .slot = model->slot_next++,
                                .weight = gv_rng_below(&model->rng, 3)};
    REQUIRE(gv_router_set(router, gv_bytes_text(text), target) == GV_OK);
    model_route_t *route = model_find(model, text, target.kind, target.index);
    if (route == NULL) {
        route = &model->routes[model->count++];
        memcpy(route->text, text, sizeof(text));
        route->plain = plain_part(route->text);
    }
    route->target = target;
}

static void random_unset(model_t *model)
{
    if (model->count > 0 && gv_rng_chance(&model->rng, 80)) {
        model_route_t *route = &model->routes[gv_rng_below(&model->rng, (uint32_t)model->count)];
        REQUIRE(gv_router_unset(router, gv_bytes_text(route->text), route->target.kind,
                                route->target.index));
        model_remove(model, route);
        return;
    }
    char text[MODEL_TEXT_MAX];
    random_text(&model->rng, true, text);
    uint8_t index = (uint8_t)gv_rng_below(&model->rng, MODEL_INDEXES);
    model_route_t *route = model_find(model, text, GV_ROUTE_SHARD, index);
    REQUIRE(gv_router_unset(router, gv_bytes_text(text), GV_ROUTE_SHARD, index) == (route != NULL));
    if (route != NULL) {
        model_remove(model, route);
    }
}

static void random_forget(model_t *model)
{
    uint8_t node = (uint8_t)gv_rng_below(&model->rng, MODEL_INDEXES);
    size_t before = model->count;
    for (size_t i = model->count; i > 0; i--) {
        model_route_t *route = &model->routes[i - 1];
        if (route->target.kind == GV_ROUTE_NODE && route->target.index == node) {
            model_remove(model, route);
        }
    }
    REQUIRE(gv_router_unset_node(router, node) == (before - model->count));
}

/* Marks the route a hit or node share names; each answer may name a route once. */
static void mark_seen(model_route_t *route)
{
    REQUIRE(route != NULL);
    REQUIRE(!route->seen);
    route->seen = true;
}

static void mark_answer(model_t *model)
{
    uint64_t shards = 0;
    for (size_t i = 0; i < matches.hit_count; i++) {
        model_route_t *found = NULL;
        for (size_t k = 0; k < model->count; k++) {
            model_route_t *route = &model->routes[k];
            if (route->target.kind == GV_ROUTE_SHARD &&
                route->target.slot == matches.hits[i].slot) {
                found = route;
            }
        }
        mark_seen(found);
        REQUIRE(found->target.index == matches.hits[i].shard);
        shards |= UINT64_C(1) << matches.hits[i].shard;
    }
    REQUIRE(matches.shards == shards);
    for (size_t i = 0; i < matches.node_share_count; i++) {
        char text[MODEL_TEXT_MAX] = {0};
        memcpy(text, matches.node_shares[i].filter.data, matches.node_shares[i].filter.size);
        mark_seen(model_find(model, text, GV_ROUTE_NODE, matches.node_shares[i].node));
    }
}

/* Of all eligible targets of this route's group exactly one is seen, an online one if there is any.
 */
static void check_group(const model_t *model, const char *text, uint64_t alive)
{
    size_t eligible = 0;
    size_t seen = 0;
    size_t online = 0;
    const model_route_t *chosen = NULL;
    for (size_t i = 0; i < model->count; i++) {
        const model_route_t *route = &model->routes[i];
        if (strcmp(route->text, text) != 0) {
            continue;
        }
        bool is_eligible = route->target.kind == GV_ROUTE_SHARD ||
                           (alive & UINT64_C(1) << route->target.index) != 0;
        eligible += is_eligible;
        online += is_eligible && route->target.weight > 0;
        seen += route->seen;
        chosen = route->seen ? route : chosen;
        REQUIRE(is_eligible || !route->seen);
    }
    REQUIRE(seen == (eligible > 0));
    REQUIRE(online == 0 || chosen->target.weight > 0);
}

static void check_match(model_t *model)
{
    char topic[MODEL_TEXT_MAX];
    random_text(&model->rng, false, topic);
    uint64_t alive = gv_rng_u64(&model->rng);
    gv_router_match(router, gv_bytes_text(topic), alive, gv_rng_u32(&model->rng), &matches);

    uint64_t nodes = 0;
    for (size_t i = 0; i < model->count; i++) {
        model->routes[i].seen = false;
    }
    mark_answer(model);
    for (size_t i = 0; i < model->count; i++) {
        const model_route_t *route = &model->routes[i];
        bool is_match = naive_match(route->plain, topic);
        if (!is_match) {
            REQUIRE(!route->seen);
        } else if (is_shared(route)) {
            check_group(model, route->text, alive);
        } else if (route->target.kind == GV_ROUTE_NODE) {
            nodes |= UINT64_C(1) << route->target.index;
        } else {
            REQUIRE(route->seen);
        }
    }
    REQUIRE(matches.nodes == nodes);
}

static void check_match_local(model_t *model)
{
    char topic[MODEL_TEXT_MAX];
    random_text(&model->rng, false, topic);
    gv_router_match_local(router, gv_bytes_text(topic), &matches);
    REQUIRE(matches.nodes == 0);
    REQUIRE(matches.node_share_count == 0);
    for (size_t i = 0; i < model->count; i++) {
        model->routes[i].seen = false;
    }
    mark_answer(model);
    for (size_t i = 0; i < model->count; i++) {
        const model_route_t *route = &model->routes[i];
        bool is_expected = !is_shared(route) && route->target.kind == GV_ROUTE_SHARD &&
                           naive_match(route->plain, topic);
        REQUIRE(route->seen == is_expected);
    }
}

static void check_pick_and_weight(model_t *model)
{
    char text[MODEL_TEXT_MAX];
    random_text(&model->rng, true, text);
    gv_router_local_t expected = {0};
    for (size_t i = 0; i < model->count; i++) {
        model_route_t *route = &model->routes[i];
        route->seen = false;
        if (route->target.kind == GV_ROUTE_SHARD && strcmp(route->text, text) == 0) {
            expected.shards++;
            uint32_t weight = route->target.weight;
            expected.weight += is_shared(route) ? weight : weight > 0;
        }
    }
    gv_router_local_t local = gv_router_local_weight(router, gv_bytes_text(text));
    REQUIRE(local.shards == expected.shards);
    REQUIRE(local.weight == expected.weight);

    bool is_group = plain_part(text) != text;
    REQUIRE(gv_router_pick_share(router, gv_bytes_text(text), 0, gv_rng_u32(&model->rng),
                                 &matches) == (is_group && expected.shards > 0));
    mark_answer(model);
    if (is_group) {
        check_group(model, text, 0);
    }
}

static bool is_first_with(const model_t *model, size_t i, bool by_plain)
{
    const model_route_t *route = &model->routes[i];
    for (size_t k = 0; k < i; k++) {
        const model_route_t *other = &model->routes[k];
        if (strcmp(by_plain ? other->plain : other->text, by_plain ? route->plain : route->text) ==
            0) {
            return false;
        }
    }
    return true;
}

static void check_counters(const model_t *model)
{
    gv_router_counters_t expected = {.routes = model->count};
    for (size_t i = 0; i < model->count; i++) {
        if (is_first_with(model, i, true)) {
            expected.filters++;
            expected.wildcard_filters += strpbrk(model->routes[i].plain, "+#") != NULL;
        }
        expected.groups += is_shared(&model->routes[i]) && is_first_with(model, i, false);
    }
    gv_router_counters_t counters = gv_router_counters(router);
    REQUIRE(counters.routes == expected.routes);
    REQUIRE(counters.filters == expected.filters);
    REQUIRE(counters.wildcard_filters == expected.wildcard_filters);
    REQUIRE(counters.groups == expected.groups);
}

START_TEST(behaves_as_a_list_of_routes)
{
    static model_t model;
    gv_rng_init(&model.rng, test_seed(__func__), 0);
    size_t empty_bytes = gv_router_counters(router).memory_bytes;
    for (int step = 0; step < MODEL_STEPS; step++) {
        /* Phases of growth and decline, so that tables fill, empty and shrink. */
        bool growing = step / 1000 % 2 == 0;
        if (gv_rng_chance(&model.rng, growing ? 70 : 30)) {
            random_set(&model);
        } else {
            random_unset(&model);
        }
        if (gv_rng_below(&model.rng, 2000) == 0) {
            random_forget(&model);
        }
        check_match(&model);
        check_match_local(&model);
        check_pick_and_weight(&model);
        if (step % 100 == 0) {
            check_counters(&model);
            empty_bin(&bin);
        }
    }
    while (model.count > 0) {
        model_route_t *route = &model.routes[0];
        REQUIRE(gv_router_unset(router, gv_bytes_text(route->text), route->target.kind,
                                route->target.index));
        model_remove(&model, route);
    }
    REQUIRE(gv_router_counters(router).memory_bytes == empty_bytes);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("router_model");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, behaves_as_a_list_of_routes);

    Suite *suite = suite_create("broker/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
