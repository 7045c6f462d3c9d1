/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_tlsctx: certificates and rules of TLS connections, read from files once and never changed.
 *
 * A reload makes another one; connections that are open keep theirs.  So a reload that fails half
 * way changes nothing.
 *
 * TLS 1.2 and 1.3, no renegotiation, stateless session tickets.
 *
 * Threads: any may hold and use one.  Memory: counted; each loop that opens connections holds a
 * reference of its own.
 */

#include <stdbool.h>

#include "base/defs.h"
#include "base/err.h"
#include "base/io/address.h"

typedef struct gv_tlsctx gv_tlsctx_t;

typedef enum gv_tls_role {
    GV_TLS_SERVER,
    GV_TLS_CLIENT,
} gv_tls_role_t;

/* Paths of PEM files; NULL or "": none. */
typedef struct gv_tlsctx_options {
    gv_tls_role_t role;
    const char *cert;   /* our chain, our own certificate first; servers must have one */
    const char *key;    /* its private key, without a pass phrase */
    const char *ca;     /* who vouches for peers; a client without it trusts the system's */
    bool verify_client; /* servers: refuse peers without a certificate that `ca` vouches for */
} gv_tlsctx_options_t;

/*
 * GV_OK, or GV_ERR_INVAL with one line that names the file and what is wrong with it; *ctx_out is
 * NULL then.
 */
GV_MUST_USE GV_ANY_THREAD gv_err_t gv_tlsctx_new(const gv_tlsctx_options_t *options,
                                                 gv_tlsctx_t **ctx_out, gv_error_text_t *error);

/* One more holder.  Returns ctx. */
GV_ANY_THREAD gv_tlsctx_t *gv_tlsctx_ref(gv_tlsctx_t *ctx);

/* One holder fewer, *ctxp = NULL; the last one frees.  NULL is allowed. */
GV_ANY_THREAD void gv_tlsctx_unref(gv_tlsctx_t **ctxp);
