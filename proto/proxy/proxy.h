/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The PROXY protocol, versions 1 (a line of text) and 2 (binary): what a load balancer says in
 * front of a connection's bytes about the client on its other side.
 *
 * The specification is HAProxy's doc/proxy-protocol.txt.  Of the addresses only the client's is
 * kept.  Additional fields (TLVs) are skipped, except for the checksum, which is checked.
 *
 * Threads: plain functions.  Memory: nothing is allocated.
 */

#include <stdint.h>

#include "base/bytes.h"
#include "base/defs.h"
#include "base/err.h"

/* The longest header that is accepted; addresses and the usual fields need a few hundred bytes. */
#define GV_PROXY_HEADER_MAX ((size_t)4096)

#define GV_PROXY_PATH_SIZE 109

typedef enum gv_proxy_family {
    GV_PROXY_OWN, /* none told: a health check of the balancer, or it does not know */
    GV_PROXY_IPV4,
    GV_PROXY_IPV6,
    GV_PROXY_UNIX,
} gv_proxy_family_t;

typedef struct gv_proxy_header {
    gv_proxy_family_t family;
    uint16_t port;
    uint8_t address[16];           /* network order; 4 of them for IPv4 */
    char path[GV_PROXY_PATH_SIZE]; /* unix: NUL-terminated, empty for a client without a name */
    size_t size;                   /* of the header; what follows is the client's */
} gv_proxy_header_t;

/*
 * Reads the header at the front of the input.
 *
 * GV_OK: *out is set.  GV_ERR_AGAIN: more is needed, and everything so far is as it should be;
 * out->size is the header's size if that is known already, else 0.  GV_ERR_MALFORMED: this is no
 * PROXY header, or a wrong one.  GV_ERR_TOO_LARGE: more than GV_PROXY_HEADER_MAX.
 */
GV_MUST_USE gv_err_t gv_proxy_decode(gv_bytes_t input, gv_proxy_header_t *out);
