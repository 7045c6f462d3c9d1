/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Inside of the admin server: the server (admin.c) and its calls (call.c).
 *
 * A call (one request) has two holders: the server, from the request's head to its end, and the
 * handler, from being called to its answer.  Whoever is last frees it.
 *
 *     READING -- request complete --> ASKED -- gv_admin_answer...() or answer_ms over --> ANSWERED
 *        '------------- refused by the server itself: 401, 404, 405, 413 ----------------^
 *
 * While ASKED the connection is suspended, unless the handler has answered before it returned.
 */

#include <microhttpd.h>
#include <uv.h>

#include "base/list.h"
#include "base/timerwheel.h"
#include "broker/admin/admin.h"

typedef struct gv__route_group {
    const gv_admin_route_t *routes;
    size_t count;
    void *arg;
} gv__route_group_t;

struct gv_admin {
    gv_loop_t *loop;
    struct MHD_Daemon *daemon;
    uv_poll_t poll; /* on libmicrohttpd's epoll descriptor */
    gv_timer_t timer;
    gv_list_t calls;
    gv__route_group_t *groups;
    size_t group_count;
    char *token;
    uint32_t body_size_max;
    uint32_t answer_ms;
    uint16_t port;
    bool token_always;
};

typedef enum gv__call_state {
    GV__CALL_READING,
    GV__CALL_ASKED,
    GV__CALL_ANSWERED,
} gv__call_state_t;

struct gv_admin_call {
    gv_admin_t *admin; /* NULL when the server has let go of it */
    struct MHD_Connection *connection;
    struct MHD_Response *response; /* from ANSWERED on */
    gv_link_t link;
    gv_timer_t timer; /* while suspended */
    gv_text_t body;
    char *sent_path; /* without the query, %XX as they came */
    char *value;     /* in that path, decoded; or NULL */
    unsigned status;
    gv__call_state_t state;
    bool is_with_handler;
    bool is_suspended;
    bool body_too_large;
    bool has_head;
};

/* ---- admin.c ------------------------------------------------------------------------------ */

/* A call has been resumed: libmicrohttpd has to run soon. */
GV_LOOP_ONLY void gv__admin_wake(gv_admin_t *admin);

/* ---- call.c ------------------------------------------------------------------------------- */

GV_LOOP_ONLY gv_admin_call_t *gv__call_new(gv_admin_t *admin, struct MHD_Connection *connection,
                                           const char *uri);

/* Decodes the value in its path.  False: that cannot be done. */
GV_MUST_USE bool gv__call_take_value(gv_admin_call_t *call, gv_bytes_t value);

/* The request is over for the server. */
GV_LOOP_ONLY void gv__call_let_go(gv_admin_call_t *call);

/* The server's own answer, instead of the handler's. */
GV_LOOP_ONLY void gv__call_refuse(gv_admin_call_t *call, unsigned status, const char *code,
                                  const char *message);
