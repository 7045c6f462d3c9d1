/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Draining over HTTP:
 *
 *     POST /api/v1/drain?server_reference=HOST:PORT&clients_per_second=100    both may be left out
 *     POST /api/v1/undrain
 *
 * Both answer what /api/v1/status has at "drain", at once: clients go after that.
 *
 * Threads: the admin loop.
 */

#include "broker/admin/admin.h"
#include "broker/admin/status.h"

typedef struct gv_drain_request {
    const char *server_reference; /* NULL: as configured; valid UTF-8 */
    uint64_t clients_per_second;  /* 0: all at once */
    bool has_clients_per_second;  /* false: as configured */
} gv_drain_request_t;

/* What the node does when it is asked.  GV_ERR_CLOSED: it is ending, and stays at that. */
typedef struct gv_drain_ops {
    gv_err_t (*begin)(void *arg, const gv_drain_request_t *request, gv_status_drain_t *state_out);
    gv_err_t (*end)(void *arg, gv_status_drain_t *state_out);
    void *arg;
} gv_drain_ops_t;

/* `ops` is borrowed for the life of the server. */
GV_LOOP_ONLY void gv_admin_add_drain_routes(gv_admin_t *admin, const gv_drain_ops_t *ops);
