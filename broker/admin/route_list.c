/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/admin/route_list.h"

#include <string.h>

#include "base/alloc.h"
#include "proto/mqtt/topic.h"

/* Longest name of a node, and its NUL [bytes]. */
#define NODE_NAME_SIZE 256U

/* ---- one route ------------------------------------------------------------------------------ */

static void append(json_t *array, json_t *value)
{
    int rc = json_array_append_new(array, value);
    GV_ASSERT(rc == 0);
}

/* This node, if it has shards that want it, and the others. */
static json_t *nodes_json(const gv_route_view_t *route, const char *node,
                          const gv_route_names_t *others)
{
    json_t *nodes = json_array();
    if (route->shards != 0) {
        append(nodes, json_string(node));
    }
    for (unsigned i = 0; i < GV_ROUTER_NODES_MAX; i++) {
        if ((route->nodes >> i & 1) != 0) {
            const char *name = others->names[i];
            append(nodes, name != NULL ? gv_admin_json_text(gv_bytes_text(name)) : json_null());
        }
    }
    return nodes;
}

json_t *gv_route_json(const gv_route_view_t *route, const char *node,
                      const gv_route_names_t *others)
{
    json_t *shards = json_array();
    for (unsigned i = 0; i < GV_ROUTER_SHARDS_MAX; i++) {
        if ((route->shards >> i & 1) != 0) {
            append(shards, json_integer(i));
        }
    }
    gv_mqtt_filter_t parts;
    bool is_shared =
        gv_mqtt_filter_parse(route->filter, &parts) == GV_OK && gv_mqtt_filter_is_shared(&parts);
    json_t *object =
        json_pack("{s:o, s:s, s:o, s:o, s:o}", "topic", gv_admin_json_text(route->filter), "node",
                  node, "share", is_shared ? gv_admin_json_text(parts.group) : json_null(), "nodes",
                  nodes_json(route, node, others), "shards", shards);
    GV_ASSERT(object != NULL);
    return object;
}

/* ---- the list ------------------------------------------------------------------------------- */

typedef struct route_walk {
    gv_walk_t walk;
    gv_router_walk_t *way;
    gv_route_names_t others;
    uint64_t nodes; /* bits: that rows have, named or not */
    gv_bytes_t filter;
    gv_bytes_t match; /* a topic */
    uint8_t texts[];
} route_walk_t;

/* A shared group wants what its filter matches. */
static bool is_wanted(const route_walk_t *list, gv_bytes_t filter)
{
    gv_mqtt_filter_t parts;
    return list->match.size == 0 || (gv_mqtt_filter_parse(filter, &parts) == GV_OK &&
                                     gv_mqtt_topic_matches(list->match, parts.filter));
}

/* One block: the view, then the filter. */
static bool on_route(const gv_route_view_t *route, void *arg)
{
    route_walk_t *list = arg;
    if (!is_wanted(list, route->filter)) {
        return true;
    }
    gv_walk_step_t step = gv_walk_step(&list->walk);
    if (step == GV_WALK_TAKE) {
        gv_route_view_t *row = gv_walk_add(&list->walk, sizeof(*row) + route->filter.size);
        *row = *route;
        uint8_t *end = (uint8_t *)(row + 1);
        row->filter = gv_walk_copy(route->filter, &end);
        list->nodes |= route->nodes;
    }
    return step != GV_WALK_END;
}

/* Of nodes that have come up in this slice. */
static void name_nodes(route_walk_t *list)
{
    const gv_walk_host_t *host = list->walk.host;
    for (uint8_t i = 0; i < GV_ROUTER_NODES_MAX; i++) {
        char name[NODE_NAME_SIZE] = "";
        if ((list->nodes >> i & 1) != 0 && list->others.names[i] == NULL) {
            host->node_name(host->arg, i, name, sizeof(name));
            list->others.names[i] = name[0] != '\0' ? gv_xstrdup(name) : NULL;
        }
    }
}

static bool slice(gv_walk_t *walk, const gv_router_t *router)
{
    route_walk_t *list = gv_container_of(walk, route_walk_t, walk);
    bool is_end = true;
    if (list->filter.size > 0) {
        (void)gv_router_show(router, list->filter, on_route, list);
    } else {
        is_end = gv_router_walk_on(router, list->way, GV_WALK_VISITS_MAX, on_route, list);
    }
    name_nodes(list);
    return is_end;
}

static json_t *row_json(const gv_walk_t *walk, const void *row)
{
    const route_walk_t *list = gv_container_of(walk, const route_walk_t, walk);
    return gv_route_json(row, walk->host->node, &list->others);
}

static void walk_free(gv_walk_t *walk)
{
    route_walk_t *list = gv_container_of(walk, route_walk_t, walk);
    for (size_t i = 0; i < GV_ROUTER_NODES_MAX; i++) {
        gv_free(list->others.names[i]);
    }
    gv_router_walk_free(&list->way);
    gv_free(list);
}

static const gv_walk_kind_t kind = {
    .router_slice = slice, .row = row_json, .free = walk_free, .has_no_cursor = true};

/* An empty value is no wish. */
static gv_bytes_t parameter(const gv_admin_call_t *call, const char *name)
{
    const char *value = gv_admin_query(call, name);
    return gv_bytes_text(value != NULL ? value : "");
}

static void on_list(gv_admin_call_t *call, void *arg)
{
    static const char *const names[] = {"limit", "page", "topic", "match_topic"};
    const gv_walk_host_t *host = arg;
    gv_loop_assert_current(gv_loop_current());
    if (!gv_admin_accept_parameters(call, names, sizeof(names) / sizeof(names[0]))) {
        return;
    }
    gv_page_t page;
    const char *problem = gv_page_of(call, host->shard_count, &page);
    gv_bytes_t filter = parameter(call, "topic");
    gv_bytes_t match = parameter(call, "match_topic");
    gv_mqtt_filter_t parts;
    if (problem == NULL && filter.size > 0 && gv_mqtt_filter_parse(filter, &parts) != GV_OK) {
        problem = "topic: expected a topic filter";
    } else if (problem == NULL && match.size > 0 && gv_mqtt_topic_check(match) != GV_OK) {
        problem = "match_topic: expected a topic, without wildcards";
    }
    if (problem != NULL) {
        gv_admin_answer_error(call, 400, "BAD_REQUEST", problem);
        return;
    }
    route_walk_t *list = gv_xcalloc(1, sizeof(*list) + filter.size + match.size);
    list->walk = (gv_walk_t){.host = host, .kind = &kind, .call = call, .page = page};
    list->walk.count = UINT64_MAX;
    list->walk.is_on_one_shard = true; /* the router's writer is asked as one */
    uint8_t *end = list->texts;
    list->filter = gv_walk_copy(filter, &end);
    list->match = gv_walk_copy(match, &end);
    gv_router_walk_new(&list->way);
    gv_walk_begin(&list->walk);
}

static const gv_admin_route_t routes[] = {
    {"GET", "/api/v1/routes", "which nodes and shards messages go to, filter by filter", on_list,
     false},
};

void gv_admin_add_route_routes(gv_admin_t *admin, const gv_walk_host_t *host)
{
    GV_ASSERT(host != NULL);
    GV_ASSERT(host->node_name != NULL);
    gv_admin_add(admin, routes, sizeof(routes) / sizeof(routes[0]), (void *)(uintptr_t)host);
}
