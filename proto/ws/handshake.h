/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The beginning of a WebSocket connection, server side: an HTTP request that asks for the upgrade,
 * and its answer (RFC 6455, chapter 4; MQTT over WebSocket: [MQTT-6.0.0-3, -4]).
 *
 * This is no HTTP server: what is not the one request we are waiting for is refused.
 *
 * Threads: plain functions.  Memory: nothing is allocated; results are views into the input.
 */

#include <stdint.h>

#include "base/bytes.h"
#include "base/defs.h"
#include "base/err.h"

/* The longest request that is read [bytes]. */
#define GV_WS_REQUEST_MAX ((size_t)8192)

/* Enough for either answer. */
#define GV_WS_ANSWER_MAX ((size_t)512)

/*
 * The answer's Sec-WebSocket-Accept is base64(SHA-1(key + this)): 28 characters.  Computing it is
 * the caller's, who has a cryptographic library.
 */
#define GV_WS_ACCEPT_SUFFIX "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

/* Length of a key, which is base64 of 16 bytes. */
#define GV_WS_KEY_SIZE ((size_t)24)

typedef struct gv_ws_request {
    size_t size;         /* of the request; frames follow */
    gv_bytes_t key;      /* Sec-WebSocket-Key */
    gv_bytes_t protocol; /* the one we choose: "mqtt" or "mqttv3.1" */
    uint16_t status;     /* after GV_ERR_MALFORMED: what to answer */
} gv_ws_request_t;

/*
 * Reads the request at the front of the input.
 *
 * GV_OK: an upgrade for `path`.  GV_ERR_AGAIN: it has not come completely.  GV_ERR_MALFORMED:
 * refuse it with out->status: 400 for what is no proper request or asks for no protocol of ours,
 * 404 for another path, 426 for a request without upgrade or for another version, 431 for one that
 * is too long.
 */
GV_MUST_USE gv_err_t gv_ws_request_read(gv_bytes_t input, gv_bytes_t path, gv_ws_request_t *out);

/* 101 Switching Protocols. */
void gv_ws_write_accept(gv_writer_t *w, gv_bytes_t accept, gv_bytes_t protocol);

/* The refusal for a status of gv_ws_request_read(); the connection is to be closed behind it. */
void gv_ws_write_refusal(gv_writer_t *w, uint16_t status);
