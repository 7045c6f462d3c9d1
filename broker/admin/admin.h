/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_admin: the HTTP server of the admin port, on one loop (the node's main loop).
 *
 * It knows HTTP, limits, tokens and JSON errors, and nothing of the node: what there is to ask for
 * comes in as routes.  libmicrohttpd does the protocol, without threads of its own: its epoll
 * descriptor is one more descriptor that the loop watches.
 *
 *     gv_admin_open()      listens; knows "/" only, the list of the others
 *     gv_admin_add()       routes
 *     handler(call, arg)   somebody asks; answered by gv_admin_answer...(), at once or later
 *     gv_admin_close()
 *
 * A call belongs to its handler until it is answered, exactly once, on the admin loop, even if the
 * client has gone or the server has been closed meanwhile.  A client waits at most answer_ms.
 *
 * Who may ask: everybody who connects from this machine; others with `Authorization: Bearer TOKEN`,
 * and without it only what a route allows (health checks).
 *
 * Threads: all of it on the loop.  Memory: a connection is limited to 32 KiB of request head and
 * body_size_max of body, and there are at most connections_max.
 */

#include <stdint.h>

#include <jansson.h>

#include "base/bytes.h"
#include "base/defs.h"
#include "base/err.h"
#include "base/io/address.h"
#include "base/io/loop.h"
#include "base/text.h"

typedef struct gv_admin gv_admin_t;
typedef struct gv_admin_call gv_admin_call_t;

typedef void gv_admin_handler_t(gv_admin_call_t *call, void *arg);

typedef struct gv_admin_route {
    const char *method; /* "GET" (which answers HEAD too), "POST", ... */
    const char *path;   /* all of it, "/api/v1/status"; may have one value, as url.h has them */
    const char *doc;    /* one line, for the list at "/" */
    gv_admin_handler_t *handler;
    bool is_open; /* needs no token */
} gv_admin_route_t;

typedef struct gv_admin_options {
    const char *address;      /* as gv_listen_bind() takes it */
    const char *token;        /* copied; NULL or "": only this machine may ask */
    bool token_always;        /* this machine has to bring it too: a proxy may run here */
    uint32_t connections_max; /* more wait in the kernel's queue; 0: 256 */
    uint32_t body_size_max;   /* [bytes]; 0: 64 KiB */
    uint32_t idle_s;          /* of a connection; 0: 5 */
    uint32_t answer_ms;       /* 0: 5000 */
} gv_admin_options_t;

/*
 * GV_OK, or GV_ERR_BUSY (address in use), GV_ERR_DENIED, GV_ERR_NOENT, GV_ERR_IO with a sentence in
 * *error.
 */
GV_MUST_USE GV_LOOP_ONLY gv_err_t gv_admin_open(gv_loop_t *loop, const gv_admin_options_t *options,
                                                gv_admin_t **admin_out, gv_error_text_t *error);

/* The routes are borrowed for the life of the server; handlers get `arg`. */
GV_LOOP_ONLY void gv_admin_add(gv_admin_t *admin, const gv_admin_route_t *routes, size_t count,
                               void *arg);

/* For SIGHUP. */
GV_LOOP_ONLY void gv_admin_set_token(gv_admin_t *admin, const char *token);

/* The port it listens on (when the address had port 0). */
uint16_t gv_admin_port(const gv_admin_t *admin);

/* Ends all connections, before the loop stops.  Sets *adminp to NULL; NULL is allowed. */
GV_LOOP_ONLY void gv_admin_close(gv_admin_t **adminp);

/* ---- inside a handler --------------------------------------------------------------------- */

/* The value of `?name=value`, decoded, borrowed until the answer; NULL if it is not there. */
const char *gv_admin_query(const gv_admin_call_t *call, const char *name);

/*
 * Looks whether the request has no other parameters than these, none twice, and all with a value
 * that is a C string.  False: it is answered (400).
 */
GV_MUST_USE GV_LOOP_ONLY bool gv_admin_accept_parameters(gv_admin_call_t *call,
                                                         const char *const *names, size_t count);

/* The value in the path of a route that has one, decoded, borrowed until the answer. */
const char *gv_admin_path_value(const gv_admin_call_t *call);

/* Whether an answer will still be heard; work that takes long need not go on otherwise. */
bool gv_admin_is_waited_for(const gv_admin_call_t *call);

/* The request's body, borrowed until the answer. */
gv_bytes_t gv_admin_body(const gv_admin_call_t *call);

/* Answers with JSON; `body` is the server's from here on (json_decref). */
GV_LOOP_ONLY void gv_admin_answer_json(gv_admin_call_t *call, unsigned status, json_t *body);

/* Answers with text of the given type; *text is taken and left empty. */
GV_LOOP_ONLY void gv_admin_answer_text(gv_admin_call_t *call, unsigned status, const char *type,
                                       gv_text_t *text);

/* Answers {"code": ..., "message": ...}, as EMQX does. */
GV_LOOP_ONLY void gv_admin_answer_error(gv_admin_call_t *call, unsigned status, const char *code,
                                        const char *message);

/*
 * A JSON string of any bytes: jansson refuses what is not UTF-8, so such text comes with its odd
 * bytes written as \xNN.  Never NULL.
 */
GV_MUST_USE json_t *gv_admin_json_text(gv_bytes_t text);

/* A time of day [ms] as EMQX writes it, RFC 3339 with milliseconds; null when it is none. */
GV_MUST_USE json_t *gv_admin_json_time(uint64_t ms);
