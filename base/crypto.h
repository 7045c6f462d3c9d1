/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The few pure functions of cryptography that more than one floor needs: SHA-256, HMAC-SHA-256,
 * PBKDF2, base64, and comparing and wiping secrets.  OpenSSL computes them; TLS is base/io/tls.h,
 * random bytes are gv_os_random() in base/io/os.h.
 *
 * Threads: any.  Memory: nothing is kept.  They cannot fail but for want of memory inside OpenSSL,
 * which stops the process as it does in gv_xalloc().
 */

#include "base/bytes.h"
#include "base/defs.h"
#include "base/err.h"

#define GV_SHA256_SIZE 32U

void gv_sha256(gv_bytes_t bytes, uint8_t out[GV_SHA256_SIZE]);

/* Of the concatenation of the parts. */
void gv_hmac_sha256(gv_bytes_t key, const gv_bytes_t *parts, size_t part_count,
                    uint8_t out[GV_SHA256_SIZE]);

/*
 * PBKDF2 with HMAC-SHA-256 (RFC 8018), one block.  Slow on purpose: 4096 iterations take
 * milliseconds, so never on an event loop.  iterations > 0.
 */
void gv_pbkdf2_sha256(gv_bytes_t password, gv_bytes_t salt, uint32_t iterations,
                      uint8_t out[GV_SHA256_SIZE]);

/* Whether two secrets of one size are equal, in a time that does not tell where they differ. */
bool gv_secret_equal(const uint8_t *a, const uint8_t *b, size_t size);

/* Overwrites a secret; a compiler does not leave it out. */
void gv_secret_wipe(void *secret, size_t size);

/* ---- base64 (RFC 4648, with padding) ------------------------------------------------------- */

/* Without a NUL. */
#define GV_BASE64_SIZE(size) (((size) + 2) / 3 * 4)

/* Writes GV_BASE64_SIZE(bytes.size) characters; nothing, and w->failed, if there is no room. */
void gv_base64_write(gv_writer_t *w, gv_bytes_t bytes);

/*
 * Reads the one spelling gv_base64_write() gives: no spaces, padding where it belongs, no bits
 * beyond the last byte.  GV_OK and *size_out; GV_ERR_INVAL when it is anything else, or more than
 * out_size bytes.
 */
GV_MUST_USE gv_err_t gv_base64_read(gv_bytes_t text, uint8_t *out, size_t out_size,
                                    size_t *size_out);
