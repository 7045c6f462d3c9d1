/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Who belongs to the cluster, over HTTP:
 *
 *     POST /api/v1/cluster/join?seed=HOST:PORT    dials one more seed; until the node restarts
 *     POST /api/v1/cluster/leave                  drains the node, says goodbye, ends it
 *     POST /api/v1/cluster/forget?node=NAME       in the whole cluster; a name, or an id
 *
 * Errors: 400 (parameters), 404 (no such node), 409 (BUSY: the node is alive; NOT_IN_CLUSTER;
 * STOPPING).
 *
 * Threads: the admin loop.
 */

#include "broker/admin/admin.h"

/* On the admin loop, once, later. */
typedef void gv_members_done_cb_t(gv_err_t err, void *arg);

/* What the node does when it is asked; texts are borrowed for the call. */
typedef struct gv_members_ops {
    /* GV_ERR_INVAL: no HOST:PORT; GV_ERR_LIMIT; GV_ERR_CLOSED: not in a cluster. */
    void (*join)(void *arg, const char *seed, gv_members_done_cb_t *done, void *done_arg);
    /* GV_ERR_NOENT, GV_ERR_BUSY: alive or suspect, GV_ERR_CLOSED: not in a cluster. */
    void (*forget)(void *arg, const char *node, gv_members_done_cb_t *done, void *done_arg);
    /* GV_OK: it has begun; GV_ERR_BUSY: it is ending already; GV_ERR_CLOSED: not in a cluster. */
    gv_err_t (*leave)(void *arg);
    void *arg;
} gv_members_ops_t;

/* `ops` is borrowed for the life of the server. */
GV_LOOP_ONLY void gv_admin_add_member_routes(gv_admin_t *admin, const gv_members_ops_t *ops);
