/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_node: one running node: its loops, shards, hub, cluster, store and admin port put together.
 *
 *     gv_node_new()    opens the store, binds every address; all errors of a start come here
 *     gv_node_run()    runs until gv_node_stop(); the calling thread becomes the main loop
 *     gv_node_free()
 *
 *        main loop          cluster loop             shard loops (one per core)       writer thread
 *     admin, signals     router's writer, links     listeners, clients, sessions         LMDB
 *
 * Threads: new, run and free on one thread; stop from any, also from a signal handler's callback.
 */

#include "base/err.h"
#include "base/io/address.h"
#include "broker/config.h"

typedef struct gv_node gv_node_t;

/*
 * Everything a node needs is taken or made here, in this order: the data directory and identity,
 * the addresses of clients, cluster and admin.  GV_OK, or an error with one line for the operator
 * in *error; *node_out is NULL then.  `config` gets a reference.
 */
GV_MUST_USE gv_err_t gv_node_new(const gv_config_t *config, gv_node_t **node_out,
                                 gv_error_text_t *error);

/* How SIGHUP reads the configuration again; set before running. */
typedef gv_err_t gv_node_reload_cb_t(const gv_config_t *old, const gv_config_t **config_out,
                                     void *arg);
void gv_node_on_reload(gv_node_t *node, gv_node_reload_cb_t *reload, void *arg);

/*
 * Runs the node.  SIGTERM and SIGINT end it: listeners close, clients are sent away (v5: 0x8B, or
 * where to go, see broker/node_drain.c), peers hear that it leaves, what is to be durable is
 * written.  A second one ends it at once.  GV_OK, or
 * GV_ERR_IO when something failed on the way up (one line is in the log).
 */
GV_MUST_USE gv_err_t gv_node_run(gv_node_t *node);

void gv_node_free(gv_node_t **nodep);
