/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The front end: between sockets and the broker's core.  One gv_frontend_t per shard; it makes an
 * object for each accepted connection, brings its bytes to gv_client_input() and what the core
 * answers to the socket, and carries connections to the shard where their client lives.
 *
 *     gv_frontend_new()       one per shard, before the loops run
 *     gv_frontend_accept()    is the gv_accept_cb_t of all listeners; its arg is a gv_door_t
 *     gv_frontend_free()      when the loops are freed
 *
 * Connections end by themselves: the client, the core or the end of the loop closes them.
 *
 * Threads: functions are marked; each connection belongs to one loop at a time.
 * Memory: about 400 bytes per connection; TLS and the like cost nothing where they are not used.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/io/listener.h"
#include "base/io/loop.h"
#include "base/io/stream.h"
#include "base/io/tlsctx.h"
#include "base/stats.h"
#include "broker/core/ports.h"
#include "broker/core/shard.h"

typedef struct gv_frontend gv_frontend_t;

/* Written by the front end's loop, readable from any thread. */
typedef struct gv_frontend_stats {
    gv_counter_t connections;  /* open on this shard now, with or without a session */
    gv_counter_t accepted;     /* here, since the start */
    gv_counter_t moved;        /* to other shards, since the start */
    gv_counter_t failed;       /* no memory, or gone before they could be opened */
    gv_counter_t proxy_errors; /* closed for a missing or wrong PROXY header */
    gv_counter_t tls_errors;   /* handshakes that failed, broken records */
    gv_counter_t ws_errors;    /* WebSocket requests refused, frames that broke a rule */
} gv_frontend_stats_t;

typedef struct gv_frontend_options {
    gv_loop_t *loop; /* with the index of its shard (gv_loop_options_t) */
    gv_shard_t *shard;
    gv_frontend_t *const *frontends; /* of all shards by index; filled before the loops run */
} gv_frontend_options_t;

/* What listeners tell about the connections they accept.  Outlives all of them. */
typedef struct gv_door {
    gv_frontend_t *const *frontends; /* of all shards by index */
    gv_admission_t *admission;       /* left once per connection; or NULL */
    gv_tlsctx_t *const *tls; /* by shard, each read and changed on its loop only; NULL: no TLS */
    const char *ws_path;     /* WebSocket, by requests for this path; NULL: none */
    uint16_t port;           /* where they came to; 0: a unix socket */
    bool anonymous_allowed;
    bool proxy_protocol; /* connections begin with a PROXY header; without it they are closed */
} gv_door_t;

/* For gv_ports_t.conn of every shard. */
GV_ANY_THREAD const gv_conn_ports_t *gv_frontend_ports(void);

void gv_frontend_new(const gv_frontend_options_t *options, gv_frontend_t **frontend_out);

/* All loops are freed, so that no connection is left, not even on its way.  Sets *frontendp to
 * NULL. */
void gv_frontend_free(gv_frontend_t **frontendp);

/* A gv_accept_cb_t; door is a const gv_door_t.  Runs on the loop of one of door->frontends. */
void gv_frontend_accept(gv_socket_t *socket, const gv_address_t *peer, void *door);

GV_ANY_THREAD const gv_frontend_stats_t *gv_frontend_stats(const gv_frontend_t *frontend);
