/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A host and a port as people write them: `127.0.0.1:1883`, `[::1]:1883`, `node-2.example:7883`.
 *
 * This is text only: nothing is looked up, a name stays a name.  Threads: plain values.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/defs.h"
#include "base/err.h"

/* A DNS name is at most 253 characters. */
#define GV_ADDRESS_HOST_SIZE 256

/* Enough for gv_address_print(): brackets, colon, port, NUL. */
#define GV_ADDRESS_TEXT_SIZE (GV_ADDRESS_HOST_SIZE + 9)

typedef struct gv_address {
    char host[GV_ADDRESS_HOST_SIZE]; /* without brackets; "" is "no address" */
    uint16_t port;                   /* 0: the system chooses (listeners) */
} gv_address_t;

/* For gv_address_parse(): a text without a port is refused. */
#define GV_ADDRESS_PORT_REQUIRED (-1)

/*
 * HOST, HOST:PORT, [IPV6] or [IPV6]:PORT.  `port_default` is used when there is no port, or is
 * GV_ADDRESS_PORT_REQUIRED.
 *
 * Returns GV_OK or GV_ERR_INVAL: no host, a bad port, brackets around something that is no IPv6
 * address, an IPv6 address without brackets, or a character that no host name has.  *out is empty
 * on an error.
 */
GV_MUST_USE gv_err_t gv_address_parse(gv_bytes_t text, int port_default, gv_address_t *out);

static inline bool gv_address_is_set(const gv_address_t *address)
{
    return address->host[0] != '\0';
}

/* 127.0.0.0/8, ::1 or the name localhost: nobody on another machine gets there. */
bool gv_address_is_loopback(const gv_address_t *address);

/* 0.0.0.0 or ::, "all interfaces" for a listener and meaningless as a destination. */
bool gv_address_is_unspecified(const gv_address_t *address);

bool gv_address_equal(const gv_address_t *a, const gv_address_t *b);

/* HOST:PORT, with brackets where they are needed.  Returns `out`, which has GV_ADDRESS_TEXT_SIZE.
 */
const char *gv_address_print(const gv_address_t *address, char *out);
