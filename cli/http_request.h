/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One request to a node's admin port, waited for.  It speaks as much HTTP as that port needs: one
 * request per connection, an answer that ends with the connection.
 *
 * Threads: any, but not a loop's: it runs a loop of its own.
 */

#include "base/bytes.h"
#include "base/err.h"
#include "base/text.h"

/* The longest answer we take [bytes]. */
#define GV_HTTP_ANSWER_SIZE_MAX ((size_t)64 * 1024 * 1024)

typedef struct gv_http_answer {
    unsigned status; /* 200, 503, ... */
    gv_text_t body;
    char problem[256]; /* on an error: a sentence */
} gv_http_answer_t;

/*
 * method is "GET" or "POST", which sends no body; address is HOST:PORT; token may be NULL.  GV_OK:
 * *out has status and body.  Otherwise out->problem: GV_ERR_INVAL (no address), GV_ERR_CLOSED,
 * GV_ERR_TIMEOUT, GV_ERR_NOENT, GV_ERR_MALFORMED (that was no HTTP), GV_ERR_LIMIT.
 * gv_http_answer_deinit() in each case.
 */
GV_MUST_USE gv_err_t gv_http_request(const char *method, const char *address, const char *path,
                                     const char *token, uint32_t timeout_ms, gv_http_answer_t *out);

/*
 * Takes an answer apart, for gv_http_request() and its tests: status line, headers, body.  GV_OK,
 * or GV_ERR_MALFORMED, also when the body is shorter than its Content-Length.
 */
GV_MUST_USE gv_err_t gv_http_answer_parse(gv_bytes_t bytes, gv_http_answer_t *out);

void gv_http_answer_deinit(gv_http_answer_t *answer);
