/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the broker's core may ask of the world.  The real world is broker/node.c with broker/net; a
 * simulated one may reorder whatever the order of calls does not promise.
 *
 * None of these calls back into the core before it returns.
 */

#include "base/err.h"
#include "base/letter.h"
#include "base/msgbuf.h"
#include "base/outbuf.h"
#include "broker/core/auth.h"
#include "proto/mqtt/packet.h"

typedef struct gv_client gv_client_t;
typedef struct gv_shard gv_shard_t;

/* The destination that is not a shard: the router's writer and the way to other nodes (hub.h). */
#define GV_HUB_INDEX 0xffffU

/*
 * A connection as the core sees it; the front end embeds it in its own object.  The core puts bytes
 * into *out and calls output() once; the front end writes them at the end of the turn.
 */
typedef struct gv_conn {
    gv_outbuf_t *out;
    gv_client_t *client;
    uint64_t progress_ms;   /* when bytes last left, or when the output was last empty */
    const char *peer;       /* address for the log; lives as long as the connection */
    uint16_t port;          /* of its listener; 0: a unix socket */
    bool has_output;        /* output() has been called this turn; cleared by the front end */
    bool anonymous_allowed; /* by its listener: who does not prove who he is may come in */
} gv_conn_t;

typedef struct gv_conn_ports {
    /* Bytes wait in conn->out. */
    void (*output)(gv_conn_t *conn);
    /* No input from now on; writes what waits, closes, then calls gv_client_closed(). */
    void (*close)(gv_conn_t *conn);
    /* Offers input again only after resuming; what was not consumed is offered again. */
    void (*pause)(gv_conn_t *conn, bool paused);
    /* The packet at the front of the input has this size [bytes]: nothing before it is there. */
    void (*expect)(gv_conn_t *conn, size_t size);
    /* Takes the connection and its unconsumed input to another shard; the client here is freed
     * already.  Over there gv_client_open() begins anew. */
    void (*move)(gv_conn_t *conn, uint16_t shard);
    /* Memory of input that the core has not used [bytes].  NULL: not known. */
    size_t (*held)(const gv_conn_t *conn);
    /* After close(): what waits is thrown away, now.  NULL: it takes the time it takes. */
    void (*drop)(gv_conn_t *conn);
} gv_conn_ports_t;

/* A client has come or gone, and somebody listens.  Everything is borrowed for the call. */
typedef struct gv_presence {
    gv_bytes_t topic; /* to tell it on */
    gv_bytes_t client_id;
    gv_bytes_t username; /* that it has said when it comes, or has proven */
    const char *peer;
    uint16_t port; /* of the listener; 0: none */
    gv_mqtt_version_t version;
    gv_mqtt_reason_t reason; /* when it goes */
    uint32_t expiry_s;       /* of its session */
    uint16_t keep_alive_s;
    bool is_connected; /* it comes */
    bool is_lost;      /* it goes without a word from either side */
    bool has_username;
    bool clean_start;
} gv_presence_t;

typedef struct gv_ports {
    void *arg;
    /* Letters of one sender to one receiver arrive in order.  `to` is a shard or GV_HUB_INDEX. */
    void (*post)(void *arg, uint16_t to, gv_letter_t *letter);
    /* Brackets around reads of the router. */
    void (*read_begin)(void *arg);
    void (*read_end)(void *arg);
    uint64_t (*monotonic_ms)(void *arg);
    uint64_t (*realtime_ms)(void *arg);
    /* To be published by gv_shard_publish(), later: it does not call back. */
    void (*presence)(void *arg, const gv_presence_t *presence);
    const gv_conn_ports_t *conn;
    gv_auth_ports_t auth;
} gv_ports_t;
