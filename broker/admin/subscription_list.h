/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Who on this node has subscribed to what, over HTTP:
 *
 *     GET /api/v1/subscriptions?limit=&page=&cursor=&clientid=&topic=&qos=&share=
 *     GET /api/v1/clients/{clientid}/subscriptions?limit=&page=&cursor=     404: no such client
 * here
 *
 * Threads: the admin loop; slices of walks on the shards'.
 */

#include "broker/admin/walk.h"
#include "broker/core/listing.h"

/* Besides the shard's own query. */
typedef struct gv_subscription_filter {
    gv_bytes_t group; /* of a shared subscription; empty: any */
    bool has_qos;
    uint8_t qos;
} gv_subscription_filter_t;

bool gv_subscription_filter_takes(const gv_subscription_filter_t *filter,
                                  const gv_subscription_view_t *subscription);

/* As the list shows it. */
GV_MUST_USE json_t *gv_subscription_json(const gv_subscription_view_t *subscription,
                                         const char *node);

/* `host` is borrowed for the life of the server. */
GV_LOOP_ONLY void gv_admin_add_subscription_routes(gv_admin_t *admin, const gv_walk_host_t *host);
