/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The sessions of this node over HTTP, online and offline:
 *
 *     GET    /api/v1/clients?limit=&page=&cursor=&clientid=&like_clientid=&username=&conn_state=
 *     GET    /api/v1/clients/{clientid}
 *     DELETE /api/v1/clients/{clientid}?keep_session=true
 *     POST   /api/v1/kick?clientid=&keep_session=true
 *
 * Each node answers for itself.  Names and shapes are EMQX's; what a node does not keep of a
 * session is not there, or null (docs/admin.md).
 *
 * Threads: the admin loop; slices of walks on the shards'.
 */

#include "broker/admin/walk.h"
#include "broker/core/listing.h"

/* Which clients are wanted; empty: all. */
typedef struct gv_client_filter {
    gv_bytes_t client_id;
    gv_bytes_t like; /* part of the client id */
    gv_bytes_t username;
    bool has_state;
    bool is_connected;
} gv_client_filter_t;

bool gv_client_filter_takes(const gv_client_filter_t *filter, const gv_session_view_t *session);

/* As the list shows it. */
GV_MUST_USE json_t *gv_client_json(const gv_session_view_t *session, const char *node);

/* `host` is borrowed for the life of the server. */
GV_LOOP_ONLY void gv_admin_add_client_routes(gv_admin_t *admin, const gv_walk_host_t *host);
