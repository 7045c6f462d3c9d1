/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* For tls.c: OpenSSL's types stay inside base/io. */

#include <openssl/ssl.h>

#include "base/io/tlsctx.h"

/* Borrowed, valid as long as ctx is held. */
SSL_CTX *gv__tlsctx_ssl(const gv_tlsctx_t *ctx);
gv_tls_role_t gv__tlsctx_role(const gv_tlsctx_t *ctx);

/* The newest error of this thread's queue as text, or `otherwise`; empties the queue. */
const char *gv__tls_error_text(const char *otherwise);
