/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What this node knows of who wants what, over HTTP:
 *
 *     GET /api/v1/routes?topic=FILTER&match_topic=NAME&limit=&page=
 *
 * One row per filter or shared group: the nodes that messages for it go to, and the shards of this
 * one.  topic is a filter as it stands; match_topic shows the filters that match a topic.
 *
 * Threads: the admin loop; slices of walks on that of the router's writer.
 */

#include "broker/admin/walk.h"

/* Names of nodes, by index; NULL: not known. */
typedef struct gv_route_names {
    char *names[GV_ROUTER_NODES_MAX];
} gv_route_names_t;

/* As the list shows it. */
GV_MUST_USE json_t *gv_route_json(const gv_route_view_t *route, const char *node,
                                  const gv_route_names_t *others);

/* `host` is borrowed for the life of the server. */
GV_LOOP_ONLY void gv_admin_add_route_routes(gv_admin_t *admin, const gv_walk_host_t *host);
