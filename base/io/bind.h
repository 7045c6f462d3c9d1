/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Taking an address to listen on.  Done once, when the program starts, so that everything that can
 * be wrong with an address is known, in words, before any loop runs; base/io/listener.h goes on
 * from there.
 *
 * Threads: any.  Memory: none; the descriptors are the caller's.
 */

#include <stdint.h>

#include "base/defs.h"
#include "base/err.h"
#include "base/io/address.h"

/*
 * Binds up to `count` sockets to the address ("host:port", "[v6]:port", path) and writes them to
 * fds; *count_out is `count` for TCP and 1 for a unix socket.  Port 0: all get the same free port
 * (gv_address_of_socket() tells which).  The sockets do not listen before gv_listener_open().
 * A stale unix socket file (nobody listens) is replaced; its new one has mode 0660.
 *
 * A host name is resolved here, which may take time: for the start of the program, not for a loop.
 * Another program on the same port is an error even if it allows sharing.
 * Errors: GV_ERR_INVAL, GV_ERR_NOENT (unknown host), GV_ERR_BUSY (address in use), GV_ERR_DENIED,
 * GV_ERR_IO; always with a sentence in *error.
 */
GV_MUST_USE GV_ANY_THREAD gv_err_t gv_listen_bind(const char *address, uint32_t count, int *fds,
                                                  uint32_t *count_out, gv_error_text_t *error);
