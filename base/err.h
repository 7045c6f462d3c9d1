/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The one result type of the code base.
 *
 * A gv_err_t says why WE could not do something.  It is never sent to a client: the MQTT reason
 * code for a failure is chosen at the edge (proto/mqtt/reason.h), where the protocol version is
 * known.  Codes of other libraries are turned into gv_err_t in the one file that calls the library
 * (gv_err_from_uv() in base/io, gv_err_from_mdb() in storage), and nowhere else.
 */

#include "base/defs.h"

/* clang-format off */
#define GV_ERR_MAP(X)                                                   \
    X(GV_OK,           0, "success")                                    \
    X(GV_ERR_NOMEM,   -1, "out of memory")                              \
    X(GV_ERR_AGAIN,   -2, "would block; call again when told to")       \
    X(GV_ERR_INVAL,   -3, "argument refused")                           \
    X(GV_ERR_MALFORMED, -4, "peer sent bytes that break the protocol")  \
    X(GV_ERR_LIMIT,   -5, "a configured limit was reached")             \
    X(GV_ERR_NOENT,   -6, "not found")                                  \
    X(GV_ERR_EXISTS,  -7, "already there")                              \
    X(GV_ERR_DENIED,  -8, "not authorised")                             \
    X(GV_ERR_CLOSED,  -9, "connection or store is closed")              \
    X(GV_ERR_TIMEOUT, -10, "deadline passed")                           \
    X(GV_ERR_STALE,   -11, "an older epoch lost to a newer one")        \
    X(GV_ERR_IO,      -12, "input/output error")                        \
    X(GV_ERR_PROTOCOL, -13, "well-formed, but not allowed here by the protocol") \
    X(GV_ERR_TOO_LARGE, -14, "larger than the receiver said it would take") \
    X(GV_ERR_VERSION, -15, "a format or protocol version we do not speak") \
    X(GV_ERR_CORRUPT, -16, "checksum or structure of stored bytes is wrong") \
    X(GV_ERR_BUSY,    -17, "held by somebody else")                     \
    X(GV_ERR_FULL,    -18, "no space left for new data")
/* clang-format on */

typedef enum gv_err {
#define X(name, value, text) name = (value),
    GV_ERR_MAP(X)
#undef X
} gv_err_t;

/* Static text; never NULL, also for a value that is not in the map. */
const char *gv_err_text(gv_err_t err);
