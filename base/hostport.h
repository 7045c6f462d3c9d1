/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A host and a port as people write them: `127.0.0.1:1883`, `[::1]:1883`, `node-2.example:7883`.
 *
 * This is text only: nothing is looked up, a name stays a name.  Its printed form is what
 * gv_listen_bind() and gv_connect() take (base/io).  Threads: plain values.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/defs.h"
#include "base/err.h"

/* A DNS name may have 253 characters; ours a little less, so that the printed form fits in 255. */
#define GV_HOSTPORT_HOST_SIZE 247

/* Enough for gv_hostport_print(): brackets, colon, port, NUL. */
#define GV_HOSTPORT_TEXT_SIZE (GV_HOSTPORT_HOST_SIZE + 9)

typedef struct gv_hostport {
    char host[GV_HOSTPORT_HOST_SIZE]; /* without brackets; "" is "no address" */
    uint16_t port;                    /* 0: the system chooses (listeners) */
} gv_hostport_t;

/* For gv_hostport_parse(): a text without a port is refused. */
#define GV_HOSTPORT_PORT_REQUIRED (-1)

/*
 * HOST, HOST:PORT, [IPV6] or [IPV6]:PORT.  `port_default` is used when there is no port, or is
 * GV_HOSTPORT_PORT_REQUIRED.
 *
 * Returns GV_OK or GV_ERR_INVAL: no host, a bad port, brackets around something that is no IPv6
 * address, an IPv6 address without brackets, or a character that no host name has.  *out is empty
 * on an error.
 */
GV_MUST_USE gv_err_t gv_hostport_parse(gv_bytes_t text, int port_default, gv_hostport_t *out);

static inline bool gv_hostport_is_set(const gv_hostport_t *hostport)
{
    return hostport->host[0] != '\0';
}

/* 127.0.0.0/8, ::1 or the name localhost: nobody on another machine gets there. */
bool gv_hostport_is_loopback(const gv_hostport_t *hostport);

/* 0.0.0.0 or ::, "all interfaces" for a listener and meaningless as a destination. */
bool gv_hostport_is_unspecified(const gv_hostport_t *hostport);

bool gv_hostport_equal(const gv_hostport_t *a, const gv_hostport_t *b);

/* HOST:PORT, with brackets where they are needed.  Returns `out`, which has GV_HOSTPORT_TEXT_SIZE.
 */
const char *gv_hostport_print(const gv_hostport_t *hostport, char *out);
