/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_ROUTER

#include "broker/core/router.h"

#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"
#include "broker/core/exact_table.h"
#include "broker/core/filter_trie.h"
#include "broker/core/matches.h"
#include "broker/core/routes.h"
#include "broker/core/share_group.h"
#include "broker/core/shared_heap.h"
#include "broker/core/slot_table.h"

/*
 * Parts of this file: filters and where they live; the writer's changes, plain and shared; looking
 * at all routes; the readers' calls.
 */

enum {
    CACHE_LINE_BYTES = 64
};

struct gv_router {
    /* What readers use.  The words change when an array is rebuilt, which is seldom. */
    gv_exact_table_t exact;
    gv_filter_trie_t trie;
    gv_slot_table_t groups; /* by their whole text */
    uint64_t hash_seed;
    /* What each change writes is kept off the readers' cache line. */
    uint8_t padding[CACHE_LINE_BYTES];
    _Atomic uint64_t version;
    gv_shared_heap_t heap;
    gv_router_counters_t counters; /* but for memory_bytes */
};

/* ---- filters --------------------------------------------------------------------------------- */

/* A filter text taken apart. */
typedef struct parsed_filter {
    gv_bytes_t text;  /* as it was given */
    gv_bytes_t plain; /* without "$share/GROUP/" */
    bool is_shared;
    bool is_wildcard;
} parsed_filter_t;

static bool has_wildcard(gv_bytes_t filter)
{
    return memchr(filter.data, '+', filter.size) != NULL ||
           memchr(filter.data, '#', filter.size) != NULL;
}

static gv_err_t parse_filter(gv_bytes_t text, parsed_filter_t *out)
{
    static const char prefix[] = "$share/";
    size_t prefix_size = sizeof(prefix) - 1;

    *out = (parsed_filter_t){.text = text, .plain = text};
    if (text.size > UINT16_MAX) {
        return GV_ERR_LIMIT;
    }
    out->is_shared = gv_bytes_has_prefix(text, gv_bytes(prefix, prefix_size));
    if (out->is_shared) {
        const uint8_t *group = text.data + prefix_size;
        const uint8_t *end = text.data + text.size;
        const uint8_t *slash = group < end ? memchr(group, '/', (size_t)(end - group)) : NULL;
        if (slash == NULL || slash == group) {
            return GV_ERR_INVAL;
        }
        out->plain = gv_bytes(slash + 1, (size_t)(end - slash - 1));
    }
    if (out->plain.size == 0) {
        return GV_ERR_INVAL;
    }
    out->is_wildcard = has_wildcard(out->plain);
    if (out->is_wildcard && !gv_filter_trie_accepts(out->plain)) {
        return GV_ERR_LIMIT;
    }
    return GV_OK;
}

static uint64_t hash_of(const gv_router_t *router, gv_bytes_t text)
{
    return gv_bytes_hash(text, router->hash_seed);
}

static gv_routes_t *find_routes(const gv_router_t *router, const parsed_filter_t *filter)
{
    return filter->is_wildcard
               ? gv_filter_trie_find(&router->trie, filter->plain)
               : gv_exact_table_find(&router->exact, filter->plain, hash_of(router, filter->plain));
}

/* The routes of a filter, empty ones if it is new; counts it. */
static gv_routes_t *find_or_add_routes(gv_router_t *router, const parsed_filter_t *filter)
{
    gv_routes_t *routes =
        filter->is_wildcard
            ? gv_filter_trie_find_or_add(&router->trie, &router->heap, filter->plain)
            : gv_exact_table_find_or_add(&router->exact, &router->heap, filter->plain,
                                         hash_of(router, filter->plain));
    if (gv_routes_are_empty(routes)) {
        router->counters.filters++;
        router->counters.wildcard_filters += filter->is_wildcard;
    }
    return routes;
}

/* Takes out a filter that has lost its last route. */
static void drop_filter(gv_router_t *router, const parsed_filter_t *filter)
{
    router->counters.filters--;
    router->counters.wildcard_filters -= filter->is_wildcard;
    if (filter->is_wildcard) {
        gv_filter_trie_prune(&router->trie, &router->heap, filter->plain);
    } else {
        gv_exact_table_remove(&router->exact, &router->heap, filter->plain,
                              hash_of(router, filter->plain));
    }
}

/* A gv_slot_is_t; the key is a gv_bytes_t. */
static inline bool group_is(const void *object, const void *key)
{
    return gv_bytes_equal(gv_share_group_text(object), *(const gv_bytes_t *)key);
}

static gv_share_group_t *find_group(const gv_router_t *router, gv_bytes_t text)
{
    return gv_slot_table_find(&router->groups, hash_of(router, text), group_is, &text);
}

/* ---- changing -------------------------------------------------------------------------------- */

/* Release: who sees the version sees the change it counts. */
static void commit(gv_router_t *router)
{
    uint64_t version = atomic_load_explicit(&router->version, memory_order_relaxed);
    atomic_store_explicit(&router->version, version + 1, memory_order_release);
}

void gv_router_new(const gv_router_options_t *options, gv_router_t **router_out)
{
    GV_ASSERT(options != NULL);
    GV_ASSERT(options->retire != NULL);
    GV_ASSERT(router_out != NULL);

    gv_router_t *router = GV_NEW(gv_router_t);
    router->heap.retire = options->retire;
    router->heap.retire_arg = options->retire_arg;
    router->hash_seed = options->hash_seed;
    atomic_init(&router->version, 0);
    gv_exact_table_init(&router->exact);
    gv_filter_trie_init(&router->trie, &router->heap, options->hash_seed);
    gv_slot_table_init(&router->groups);
    *router_out = router;
}

void gv_router_free(gv_router_t **routerp)
{
    GV_ASSERT(routerp != NULL);
    gv_router_t *router = *routerp;
    *routerp = NULL;
    if (router == NULL) {
        return;
    }
    size_t cursor = 0;
    gv_share_group_t *group;
    while ((group = gv_slot_table_next(&router->groups, &cursor)) != NULL) {
        gv_share_group_free(group, &router->heap);
    }
    gv_slot_table_deinit(&router->groups, &router->heap);
    gv_exact_table_deinit(&router->exact, &router->heap);
    gv_filter_trie_deinit(&router->trie, &router->heap);
    GV_ASSERT(router->heap.bytes == 0);
    gv_free(router);
}

/*
 * A new group is complete, with its first target, before it can be found: first by its text, then
 * from the routes of its filter.
 */
static void set_shared(gv_router_t *router, const parsed_filter_t *filter, gv_route_target_t target)
{
    gv_share_group_t *group = find_group(router, filter->text);
    if (group != NULL) {
        router->counters.routes += gv_share_group_set(group, &router->heap, target);
        return;
    }
    uint64_t hash = hash_of(router, filter->text);
    group = gv_share_group_new(&router->heap, filter->text, (uint32_t)hash);
    (void)gv_share_group_set(group, &router->heap, target);
    gv_slot_table_add(&router->groups, &router->heap, hash, &group->key);
    gv_routes_add_group(find_or_add_routes(router, filter), &router->heap, group);
    router->counters.routes++;
    router->counters.groups++;
}

gv_err_t gv_router_set(gv_router_t *router, gv_bytes_t filter, gv_route_target_t target)
{
    GV_ASSERT(router != NULL);
    GV_ASSERT(target.index <
              (target.kind == GV_ROUTE_NODE ? GV_ROUTER_NODES_MAX : GV_ROUTER_SHARDS_MAX));
    parsed_filter_t parsed;
    gv_err_t err = parse_filter(filter, &parsed);
    if (err != GV_OK) {
        return err;
    }
    if (parsed.is_shared) {
        set_shared(router, &parsed, target);
    } else {
        gv_routes_t *routes = find_or_add_routes(router, &parsed);
        router->counters.routes += gv_routes_set(routes, &router->heap, target);
    }
    commit(router);
    return GV_OK;
}

/* In the opposite order of set_shared().  Leaves the table of groups untidy: see its callers. */
static void drop_group(gv_router_t *router, const parsed_filter_t *filter, gv_share_group_t *group)
{
    gv_routes_t *routes = find_routes(router, filter);
    GV_ASSERT(routes != NULL);
    gv_routes_remove_group(routes, &router->heap, group);
    if (gv_routes_are_empty(routes)) {
        drop_filter(router, filter);
    }
    gv_slot_table_remove(&router->groups, &group->key);
    gv_share_group_retire(group, &router->heap);
    router->counters.groups--;
}

static bool unset_shared(gv_router_t *router, const parsed_filter_t *filter,
                         gv_share_group_t *group, gv_route_kind_t kind, uint8_t index)
{
    switch (gv_share_group_unset(group, &router->heap, kind, index)) {
    case GV_SHARE_UNSET_ABSENT:
        return false;
    case GV_SHARE_UNSET_REMOVED:
        break;
    case GV_SHARE_UNSET_LAST:
        drop_group(router, filter, group);
        break;
    }
    router->counters.routes--;
    return true;
}

static bool unset_plain(gv_router_t *router, const parsed_filter_t *filter, gv_route_kind_t kind,
                        uint8_t index)
{
    gv_routes_t *routes = find_routes(router, filter);
    if (routes == NULL || !gv_routes_unset(routes, &router->heap, kind, index)) {
        return false;
    }
    router->counters.routes--;
    if (gv_routes_are_empty(routes)) {
        drop_filter(router, filter);
    }
    return true;
}

bool gv_router_unset(gv_router_t *router, gv_bytes_t filter, gv_route_kind_t kind, uint8_t index)
{
    GV_ASSERT(router != NULL);
    parsed_filter_t parsed;
    if (parse_filter(filter, &parsed) != GV_OK) {
        return false;
    }
    bool found;
    if (parsed.is_shared) {
        gv_share_group_t *group = find_group(router, filter);
        found = group != NULL && unset_shared(router, &parsed, group, kind, index);
        gv_slot_table_tidy(&router->groups, &router->heap);
    } else {
        found = unset_plain(router, &parsed, kind, index);
    }
    if (found) {
        commit(router);
    }
    return found;
}

/* ---- forgetting a node ----------------------------------------------------------------------- */

typedef struct node_sweep {
    gv_router_t *router;
    uint8_t node;
    bool is_wildcard;
} node_sweep_t;

static void sweep_routes(gv_routes_t *routes, void *arg)
{
    node_sweep_t *sweep = arg;
    gv_router_t *router = sweep->router;
    if (!gv_routes_unset(routes, &router->heap, GV_ROUTE_NODE, sweep->node)) {
        return;
    }
    router->counters.routes--;
    if (gv_routes_are_empty(routes)) {
        router->counters.filters--;
        router->counters.wildcard_filters -= sweep->is_wildcard;
    }
}

static void sweep_groups(gv_router_t *router, uint8_t node)
{
    size_t cursor = 0;
    gv_share_group_t *group;
    while ((group = gv_slot_table_next(&router->groups, &cursor)) != NULL) {
        parsed_filter_t parsed;
        gv_err_t err = parse_filter(gv_share_group_text(group), &parsed);
        GV_ASSERT(err == GV_OK);
        (void)unset_shared(router, &parsed, group, GV_ROUTE_NODE, node);
    }
    gv_slot_table_tidy(&router->groups, &router->heap);
}

size_t gv_router_unset_node(gv_router_t *router, uint8_t node)
{
    GV_ASSERT(router != NULL);
    GV_ASSERT(node < GV_ROUTER_NODES_MAX);
    size_t routes_before = router->counters.routes;
    sweep_groups(router, node);
    node_sweep_t sweep = {.router = router, .node = node, .is_wildcard = false};
    gv_exact_table_sweep(&router->exact, &router->heap, sweep_routes, &sweep);
    sweep.is_wildcard = true;
    gv_filter_trie_sweep(&router->trie, &router->heap, sweep_routes, &sweep);
    commit(router);
    return routes_before - router->counters.routes;
}

/* ---- what the writer may ask ----------------------------------------------------------------- */

gv_router_local_t gv_router_local_weight(const gv_router_t *router, gv_bytes_t filter)
{
    GV_ASSERT(router != NULL);
    gv_router_local_t none = {.shards = 0, .weight = 0};
    parsed_filter_t parsed;
    if (parse_filter(filter, &parsed) != GV_OK) {
        return none;
    }
    if (parsed.is_shared) {
        const gv_share_group_t *group = find_group(router, filter);
        return group != NULL ? gv_share_group_local(group) : none;
    }
    const gv_routes_t *routes = find_routes(router, &parsed);
    if (routes == NULL) {
        return none;
    }
    return (gv_router_local_t){.shards = gv_routes_shard_count(routes),
                               .weight = gv_routes_lasting_shard_count(routes)};
}

bool gv_router_is_lasting_at(const gv_router_t *router, gv_bytes_t filter, uint8_t node)
{
    GV_ASSERT(router != NULL);
    parsed_filter_t parsed;
    if (parse_filter(filter, &parsed) != GV_OK || parsed.is_shared) {
        return false;
    }
    const gv_routes_t *routes = find_routes(router, &parsed);
    return routes != NULL && gv_routes_are_lasting_at(routes, node);
}

gv_router_counters_t gv_router_counters(const gv_router_t *router)
{
    GV_ASSERT(router != NULL);
    gv_router_counters_t counters = router->counters;
    counters.memory_bytes = sizeof(*router) + router->heap.bytes;
    return counters;
}

/* ---- looking at all -------------------------------------------------------------------------- */

/* The tables in the order in which they are walked through. */
typedef enum table {
    TABLE_EXACT,
    TABLE_GROUPS,
    TABLE_TRIE,
    TABLE_END,
} table_t;

struct gv_router_walk {
    table_t table;
    size_t cursor; /* of the first two */
    gv_filter_trie_walk_t trie;
};

/* Who looks. */
typedef struct looker {
    gv_route_view_cb_t *on_route;
    void *arg;
} looker_t;

static bool show_routes(gv_bytes_t filter, const gv_routes_t *routes, void *arg)
{
    const looker_t *looker = arg;
    gv_route_view_t view = {.filter = filter};
    gv_routes_targets(routes, &view.shards, &view.nodes);
    /* A filter that only leads to groups is shown as these. */
    return (view.shards | view.nodes) == 0 || looker->on_route(&view, looker->arg);
}

static bool show_group(const gv_share_group_t *group, const looker_t *looker)
{
    gv_route_view_t view = {.filter = gv_share_group_text(group)};
    gv_share_group_targets(group, &view.shards, &view.nodes);
    return looker->on_route(&view, looker->arg);
}

/* Shows the next filter of a table, *is_end if there is none.  False: enough. */
static bool show_next(const gv_router_t *router, table_t table, size_t *cursor, looker_t *looker,
                      bool *is_end)
{
    if (table == TABLE_GROUPS) {
        const gv_share_group_t *group = gv_slot_table_next(&router->groups, cursor);
        *is_end = group == NULL;
        return *is_end || show_group(group, looker);
    }
    gv_bytes_t filter;
    const gv_routes_t *routes = gv_exact_table_next(&router->exact, cursor, &filter);
    *is_end = routes == NULL;
    return *is_end || show_routes(filter, routes, looker);
}

bool gv_router_walk_on(const gv_router_t *router, gv_router_walk_t *walk, uint32_t visits_max,
                       gv_route_view_cb_t *on_route, void *arg)
{
    GV_ASSERT(visits_max > 0);
    looker_t looker = {.on_route = on_route, .arg = arg};
    for (uint32_t i = 0; i < visits_max && walk->table < TABLE_TRIE; i++) {
        size_t cursor = walk->cursor;
        bool is_end;
        if (!show_next(router, walk->table, &cursor, &looker, &is_end)) {
            return false;
        }
        walk->cursor = is_end ? 0 : cursor;
        walk->table += is_end;
    }
    if (walk->table == TABLE_TRIE &&
        gv_filter_trie_walk_on(&router->trie, &walk->trie, visits_max, show_routes, &looker)) {
        walk->table = TABLE_END;
    }
    return walk->table == TABLE_END;
}

void gv_router_walk_new(gv_router_walk_t **walk_out)
{
    *walk_out = GV_NEW(gv_router_walk_t);
}

void gv_router_walk_free(gv_router_walk_t **walkp)
{
    gv_router_walk_t *walk = *walkp;
    *walkp = NULL;
    if (walk != NULL) {
        gv_filter_trie_walk_deinit(&walk->trie);
        gv_free(walk);
    }
}

bool gv_router_show(const gv_router_t *router, gv_bytes_t filter, gv_route_view_cb_t *on_route,
                    void *arg)
{
    looker_t looker = {.on_route = on_route, .arg = arg};
    parsed_filter_t parsed;
    if (parse_filter(filter, &parsed) != GV_OK) {
        return false;
    }
    if (parsed.is_shared) {
        const gv_share_group_t *group = find_group(router, filter);
        if (group != NULL) {
            (void)show_group(group, &looker);
        }
        return group != NULL;
    }
    const gv_routes_t *routes = find_routes(router, &parsed);
    if (routes != NULL) {
        (void)show_routes(filter, routes, &looker);
    }
    return routes != NULL;
}

/* ---- readers --------------------------------------------------------------------------------- */

/* The slot of the topic is on its way from memory while the trie is walked. */
static void collect_all(const gv_router_t *router, gv_bytes_t topic,
                        const gv_collector_t *collector)
{
    gv_matches_clear(collector->out);
    uint64_t hash = hash_of(router, topic);
    gv_exact_table_prefetch(&router->exact, hash);
    gv_filter_trie_match(&router->trie, topic, collector);
    const gv_routes_t *routes = gv_exact_table_find(&router->exact, topic, hash);
    if (routes != NULL) {
        gv_routes_collect(routes, collector);
    }
}

void gv_router_match(const gv_router_t *router, gv_bytes_t topic, uint64_t nodes_alive_mask,
                     uint32_t random, gv_matches_t *out)
{
    gv_collector_t collector = {
        .out = out, .nodes_alive_mask = nodes_alive_mask, .random = random, .local_only = false};
    collect_all(router, topic, &collector);
}

void gv_router_match_local(const gv_router_t *router, gv_bytes_t topic, gv_matches_t *out)
{
    gv_collector_t collector = {.out = out, .local_only = true};
    collect_all(router, topic, &collector);
}

static bool add_share(const gv_router_t *router, gv_bytes_t share_filter, uint64_t nodes_alive_mask,
                      uint32_t random, gv_matches_t *out)
{
    const gv_share_group_t *group = find_group(router, share_filter);
    return group != NULL && gv_share_group_pick(group, nodes_alive_mask, random, out);
}

bool gv_router_add_share(const gv_router_t *router, gv_bytes_t share_filter, uint32_t random,
                         gv_matches_t *out)
{
    return add_share(router, share_filter, 0, random, out);
}

bool gv_router_pick_share(const gv_router_t *router, gv_bytes_t share_filter,
                          uint64_t nodes_alive_mask, uint32_t random, gv_matches_t *out)
{
    gv_matches_clear(out);
    return add_share(router, share_filter, nodes_alive_mask, random, out);
}

bool gv_router_pick_other(const gv_router_t *router, gv_bytes_t share_filter,
                          const gv_share_wish_t *wish, gv_matches_t *out)
{
    gv_matches_clear(out);
    const gv_share_group_t *group = find_group(router, share_filter);
    return group != NULL && gv_share_group_pick_other(group, wish, out);
}

uint64_t gv_router_version(const gv_router_t *router)
{
    return atomic_load_explicit(&router->version, memory_order_acquire);
}
