/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_msgbuf: the bytes of one message, written once and then shared.
 *
 * A publish to ten thousand subscribers must not copy its payload ten thousand times.  So the
 * payload lives in one buffer; every outgoing queue holds a reference to it and the last holder,
 * on whatever thread, frees it.
 *
 * Life of a buffer:
 *     gv_msgbuf_new()     one reference, writable, known to one thread only
 *     gv_msgbuf_data()    fill it
 *     gv_msgbuf_seal()    from here on the bytes never change; it may cross threads
 *     gv_msgbuf_ref()     one more holder
 *     gv_msgbuf_unref()   one holder fewer; the last one frees
 *
 * Threads: before the seal, the creating thread only.  After it, ref/unref/bytes from any thread.
 * Memory: one allocation per buffer, header and bytes together.
 */

#include <stdint.h>

#include "base/bytes.h"
#include "base/defs.h"
#include "base/err.h"

/* Longest payload we accept [bytes]: MQTT's own limit for a whole packet (256 MiB - 1). */
#define GV_MSGBUF_SIZE_MAX ((size_t)268435455)

typedef struct gv_msgbuf gv_msgbuf_t;

/*
 * Makes an unsealed buffer of `size` bytes (0 is allowed); the bytes are not initialised.
 *
 * Returns GV_OK and the caller's reference in *buf_out, GV_ERR_LIMIT when size is over
 * GV_MSGBUF_SIZE_MAX, or GV_ERR_NOMEM.  On an error *buf_out is NULL.  The size comes from a peer,
 * so running out of memory here is an answer and not a crash.
 */
GV_MUST_USE GV_ANY_THREAD gv_err_t gv_msgbuf_new(size_t size, gv_msgbuf_t **buf_out);

/* Where to write the bytes.  Only before gv_msgbuf_seal(), only by the creator. */
uint8_t *gv_msgbuf_data(gv_msgbuf_t *buf);

/* Ends the writing.  Call it once, before any other thread can see the buffer. */
void gv_msgbuf_seal(gv_msgbuf_t *buf);

/* Takes one more reference to a sealed buffer.  Returns buf, so that it reads `q->buf = ref(b)`. */
GV_MUST_USE GV_ANY_THREAD gv_msgbuf_t *gv_msgbuf_ref(gv_msgbuf_t *buf);

/*
 * Gives up the reference in *bufp and sets *bufp to NULL.  Frees the buffer if it was the last one.
 * *bufp == NULL is allowed and does nothing, so that cleanup paths need no test.
 */
GV_ANY_THREAD void gv_msgbuf_unref(gv_msgbuf_t **bufp);

/* The bytes of a sealed buffer; the view lives as long as the caller's reference. */
GV_ANY_THREAD gv_bytes_t gv_msgbuf_bytes(const gv_msgbuf_t *buf);
