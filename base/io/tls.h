/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_tls: one TLS connection as a filter between bytes and bytes.  It owns no socket and makes no
 * system call: wire bytes that have come are given to it, plaintext comes out, and what has to be
 * sent appears in the output buffer the caller names.
 *
 *                 wire bytes   ---->  gv_tls_receive()  ---->  plaintext
 *     to be sent  <----------------------'
 *     to be sent  <---- gv_tls_send(), gv_tls_close()   <----  plaintext
 *
 *     HANDSHAKE --done--> OPEN --close_notify, gv_tls_close()--> ENDED
 *         `------- error ---'-- error --> ENDED
 *
 * Whole records are written, never more than what is asked for; nothing stays behind inside but the
 * beginning of a record that has not come completely.
 *
 * Threads: one at a time; a connection may go from one thread to another.
 * Memory: what OpenSSL needs, some 10 KiB per connection, and 17 KiB more while half a record is
 * there.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/bytes.h"
#include "base/defs.h"
#include "base/err.h"
#include "base/io/tlsctx.h"
#include "base/outbuf.h"

typedef struct gv_tls gv_tls_t;

/*
 * OpenSSL's memory is counted as ours (base/alloc.h), and refused as ours is.  The first thing a
 * process does, for it cannot be changed once there is some.
 */
void gv_tls_count_memory(void);

/* The most plaintext a record holds: what to collect for gv_tls_send(). */
#define GV_TLS_RECORD_MAX ((size_t)16384)

/* Where records go that are to be sent. */
typedef struct gv_tls_sink {
    gv_outbuf_t *out;
    gv_chunkpool_t *pool;
} gv_tls_sink_t;

/*
 * GV_OK or GV_ERR_NOMEM.  A client gives the name that the server's certificate must have (which is
 * an address, if it looks like one); a server gives NULL.
 */
GV_MUST_USE gv_err_t gv_tls_new(gv_tlsctx_t *ctx, const char *server_name, gv_tls_t **tls_out);

/* Sets *tlsp to NULL; NULL is allowed.  Says nothing to the peer. */
void gv_tls_free(gv_tls_t **tlsp);

/*
 * Goes on with the handshake, and decrypts: takes bytes off the front of *wire and writes plaintext
 * to `room`.
 *
 * GV_OK: *size_out bytes are in room, and there may be more: call again.  GV_ERR_AGAIN: *wire is
 * used up and more is needed (a client begins its handshake this way, with no bytes at all).
 * GV_ERR_CLOSED: the peer has closed its side properly.  GV_ERR_MALFORMED: this is no TLS, or the
 * handshake has failed; gv_tls_error() says why, and a peer that speaks TLS gets an alert.
 * After the last two it only repeats its answer.
 */
GV_MUST_USE gv_err_t gv_tls_receive(gv_tls_t *tls, gv_bytes_t *wire, gv_tls_sink_t sink, void *room,
                                    size_t room_size, size_t *size_out);

/*
 * Encrypts: takes bytes off the front of *plain.  GV_OK: all of them.  GV_ERR_AGAIN: the rest not
 * before gv_tls_receive() has got more, because the handshake is not done or the peer has stopped
 * in the middle of changing keys.  GV_ERR_CLOSED: it has ended.  Small pieces should be collected:
 * each call makes a record, of some 30 bytes more.
 */
GV_MUST_USE gv_err_t gv_tls_send(gv_tls_t *tls, gv_bytes_t *plain, gv_tls_sink_t sink);

/* Tells the peer that nothing more comes, if it can be told. */
void gv_tls_close(gv_tls_t *tls, gv_tls_sink_t sink);

/* The handshake is done, and the connection has not ended. */
bool gv_tls_is_open(const gv_tls_t *tls);

/* Why it failed; static text. */
const char *gv_tls_error(const gv_tls_t *tls);
