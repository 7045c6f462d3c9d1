/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The proof in our answer to a WebSocket request; OpenSSL computes it. */

#include <stdint.h>

#include "base/bytes.h"

#define GV__WS_ACCEPT_SIZE ((size_t)28)

/* Writes Sec-WebSocket-Accept for a key of GV_WS_KEY_SIZE bytes. */
void gv__ws_accept(gv_bytes_t key, uint8_t accept_out[GV__WS_ACCEPT_SIZE]);
