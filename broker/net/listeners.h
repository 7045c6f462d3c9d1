/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The listeners of a node: every configured address, open on every shard's loop.
 *
 *     gv_listeners_bind()     takes the addresses; all errors an operator can make come here
 *     gv_listeners_open()     begins to accept, when the node is ready for clients
 *     gv_listeners_reload_tls()   new certificates for connections that come from now on
 *     gv_listeners_close()    no new connections: draining, stopping
 *     gv_listeners_free()     when the loops are freed
 *
 * The sockets are bound early, so that a wrong address stops the program at once, and listen late,
 * so that nobody is accepted by a node that is still reading its tables.
 *
 * Threads: open and close send letters to the loops and return; call them from one thread.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/err.h"
#include "base/io/address.h"
#include "base/io/loop.h"
#include "broker/listener_url.h"
#include "broker/net/frontend.h"

typedef struct gv_listeners gv_listeners_t;

/* Of tls:// and wss:// listeners; paths of PEM files, "" or NULL: none. */
typedef struct gv_listeners_tls {
    const char *cert;
    const char *key;
    const char *ca;
    bool verify_client;
} gv_listeners_tls_t;

typedef struct gv_listeners_options {
    const gv_listener_config_t *items; /* read during gv_listeners_bind() only */
    size_t count;
    gv_loop_t **loops; /* of the shards, by index; outlive the listeners */
    gv_frontend_t *const *frontends;
    uint32_t loop_count;
    gv_listeners_tls_t tls; /* read if an item needs it */
} gv_listeners_options_t;

/* One of them, for status pages. */
typedef struct gv_listeners_info {
    const char *url; /* as it was configured */
    uint16_t port;   /* the real one, if 0 was configured; 0 for a unix socket */
    uint32_t connections;
    bool is_bound; /* false: an optional address this machine does not have */
} gv_listeners_info_t;

/*
 * Takes all addresses.  GV_OK, or with one line for the operator in *error: GV_ERR_BUSY (address in
 * use), GV_ERR_NOENT (unknown host), GV_ERR_DENIED, GV_ERR_INVAL (also: certificates), GV_ERR_IO.
 * Nothing stays bound after an error and *listeners_out is NULL.  Optional addresses that do not
 * exist are left out.
 */
GV_MUST_USE gv_err_t gv_listeners_bind(const gv_listeners_options_t *options,
                                       gv_listeners_t **listeners_out, gv_error_text_t *error);

/*
 * Begins to accept on all loops, each when it has its letter: gv_listeners_are_open().  Once.
 * GV_ERR_BUSY, with one line in *error: somebody else has begun to listen on one of the addresses
 * since they were bound; nothing is opened then.
 */
GV_MUST_USE gv_err_t gv_listeners_open(gv_listeners_t *listeners, gv_error_text_t *error);

/*
 * Reads the certificates again.  GV_OK: connections that come from now on (as soon as each loop has
 * its letter) get the new ones; without TLS listeners nothing is read.  GV_ERR_INVAL, with one line
 * in *error: everything stays as it was.
 */
GV_MUST_USE gv_err_t gv_listeners_reload_tls(gv_listeners_t *listeners,
                                             const gv_listeners_tls_t *tls, gv_error_text_t *error);

/* Stops accepting on all loops; connections that are open stay.  More calls do nothing. */
void gv_listeners_close(gv_listeners_t *listeners);

/* Whether every loop has opened its sockets, as far as they could be opened: clients are accepted.
 */
GV_ANY_THREAD bool gv_listeners_are_open(const gv_listeners_t *listeners);

/*
 * How many sockets could not be opened after all, because another program took the address between
 * bind and open.  Each has been logged.
 */
GV_ANY_THREAD uint32_t gv_listeners_failed(const gv_listeners_t *listeners);

GV_ANY_THREAD size_t gv_listeners_count(const gv_listeners_t *listeners);
GV_ANY_THREAD gv_listeners_info_t gv_listeners_info(const gv_listeners_t *listeners, size_t index);

/* The loops are freed: letters to them may still need us.  Sets *listenersp to NULL; NULL is
 * allowed. */
void gv_listeners_free(gv_listeners_t **listenersp);
