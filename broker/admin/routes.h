/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The endpoints that show a node's status: /livez /readyz /metrics /api/v1/status /api/v1/nodes
 * /api/v1/cluster.  The node only has to know how to gather a snapshot.
 *
 * Threads: the admin loop.
 */

#include "broker/admin/admin.h"
#include "broker/admin/status.h"

/* Gives a snapshot back; `status` is valid during the call only. */
typedef void gv_status_gathered_cb_t(const gv_status_t *status, void *arg);

typedef struct gv_status_source {
    /* Calls on_gathered exactly once, before it returns or later, on the admin loop. */
    void (*gather)(void *source_arg, gv_status_gathered_cb_t *on_gathered, void *arg);
    void *arg;
} gv_status_source_t;

/* `source` is borrowed for the life of the server. */
GV_LOOP_ONLY void gv_admin_add_status_routes(gv_admin_t *admin, const gv_status_source_t *source);
