/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_client: the protocol state of one connection.
 *
 *     gv_client_open()          a connection has come: waits for CONNECT, not for long
 *     gv_client_input()         bytes have come; may be called with the same bytes and more again
 *     gv_client_drained()       output has left: what waited for room follows
 *     gv_client_check_output()  output has not left yet: perhaps it never will
 *     gv_client_closed()        the connection is gone, for whatever reason; frees
 *
 * A CONNECT for a client id that lives on another shard moves the connection there, with the bytes
 * as they came; the other shard reads the CONNECT again as if it had come there.
 *
 * Threads: the shard's.
 */

#include "broker/core/shard.h"

/* conn->out, conn->peer and conn->progress_ms are set; conn->client is set here. */
void gv_client_open(gv_shard_t *shard, gv_conn_t *conn);

/*
 * Works through whole packets at the front of `bytes`.  Returns how many bytes are used up; the
 * rest is offered again with more, or after a pause.  After ports.close() or ports.move() nothing
 * is offered any more.
 */
GV_MUST_USE size_t gv_client_input(gv_client_t *client, gv_bytes_t bytes);

/*
 * Output has left.  Acknowledgements let the queue move, too, but when all that filled the output
 * was QoS 0, none will come.  May be called at any time outside of the other calls.
 */
void gv_client_drained(gv_client_t *client);

/*
 * Output waits still, and conn->progress_ms says since when: ends a reader that has taken nothing
 * for too long.  To be called now and then while there is output.
 */
void gv_client_check_output(gv_client_t *client);

/* The connection is gone.  Frees the client and sets *clientp to NULL. */
void gv_client_closed(gv_client_t **clientp);
