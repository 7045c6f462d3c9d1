/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The retained messages that this node has, over HTTP:
 *
 *     GET    /api/v1/retained?topic=FILTER&limit=&page=     without payloads; # unless given
 *     GET    /api/v1/retained/{topic...}                    with payload and properties; 404
 *     DELETE /api/v1/retained/{topic...}                    204; 404
 *
 * Deleting is what a client does that publishes an empty retained message, so all nodes hear of it,
 * and so does who has subscribed to the topic.
 *
 * Threads: the admin loop; slices of walks on the shards'.
 */

#include "broker/admin/publish.h"
#include "broker/admin/walk.h"
#include "broker/core/listing.h"

typedef struct gv_retained_source {
    const gv_walk_host_t *host;
    const gv_publish_ops_t *publish;
} gv_retained_source_t;

/* As the list shows it; with_all: with payload and properties. */
GV_MUST_USE json_t *gv_retained_json(const gv_retained_view_t *message, const char *node,
                                     bool with_all);

/* `source` is borrowed for the life of the server. */
GV_LOOP_ONLY void gv_admin_add_retained_routes(gv_admin_t *admin,
                                               const gv_retained_source_t *source);
