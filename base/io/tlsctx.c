/* SPDX-License-Identifier: Apache-2.0 */
#include "base/io/tlsctx.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/alloc.h"
#include "base/io/tlsctx_p.h"

struct gv_tlsctx {
    SSL_CTX *ssl;
    gv_tls_role_t role;
    atomic_uint_least32_t refs;
};

/* Sessions made under one context are no good under another: any fixed text will do. */
static const unsigned char session_id_context[] = "grapevine";

static bool is_given(const char *path)
{
    return path != NULL && path[0] != '\0';
}

const char *gv__tls_error_text(const char *otherwise)
{
    /* Of a file that cannot be opened the last error only says that it was the system's. */
    unsigned long first = ERR_peek_error();
    unsigned long code = ERR_peek_last_error();
    ERR_clear_error();
    const char *text = code != 0 ? ERR_reason_error_string(code) : NULL;
    if (ERR_SYSTEM_ERROR(first)) {
        text = strerrordesc_np(ERR_GET_REASON(first));
    }
    return text != NULL ? text : otherwise;
}

static gv_err_t refuse(const char *what, const char *path, gv_error_text_t *error)
{
    (void)snprintf(error->text, sizeof(error->text), "%s '%.90s': %.40s", what, path,
                   gv__tls_error_text("not usable"));
    return GV_ERR_INVAL;
}

/* OpenSSL would ask the terminal; a broker has none. */
static int no_passphrase(char *buffer, int size, int writing, void *arg)
{
    (void)buffer;
    (void)size;
    (void)writing;
    (void)arg;
    return 0;
}

static gv_err_t load_own_certificate(SSL_CTX *ssl, const gv_tlsctx_options_t *options,
                                     gv_error_text_t *error)
{
    if (SSL_CTX_use_certificate_chain_file(ssl, options->cert) != 1) {
        return refuse("cannot use the certificate in", options->cert, error);
    }
    if (!is_given(options->key) ||
        SSL_CTX_use_PrivateKey_file(ssl, options->key, SSL_FILETYPE_PEM) != 1) {
        return refuse("cannot use the private key in", is_given(options->key) ? options->key : "",
                      error);
    }
    if (SSL_CTX_check_private_key(ssl) != 1) {
        return refuse("the certificate does not belong to the private key in", options->key, error);
    }
    return GV_OK;
}

static gv_err_t load_authorities(SSL_CTX *ssl, const gv_tlsctx_options_t *options,
                                 gv_error_text_t *error)
{
    if (!is_given(options->ca)) {
        return SSL_CTX_set_default_verify_paths(ssl) == 1
                   ? GV_OK
                   : refuse("cannot use the authorities of", "the system", error);
    }
    if (SSL_CTX_load_verify_locations(ssl, options->ca, NULL) != 1) {
        return refuse("cannot use the authorities in", options->ca, error);
    }
    if (options->role == GV_TLS_SERVER) {
        /* Tells clients which certificate to send. */
        STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(options->ca);
        if (names == NULL) {
            return refuse("cannot use the authorities in", options->ca, error);
        }
        SSL_CTX_set_client_CA_list(ssl, names);
    }
    return GV_OK;
}

static void set_rules(SSL_CTX *ssl, const gv_tlsctx_options_t *options)
{
    (void)SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION);
    (void)SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    /* An idle connection gives its 17 KiB buffers back.  What is written may be taken in parts, and
     * be somewhere else when it is tried again. */
    (void)SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                    SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_default_passwd_cb(ssl, no_passphrase);
    bool is_server = options->role == GV_TLS_SERVER;
    int verify = SSL_VERIFY_NONE;
    if (!is_server || options->verify_client) {
        verify = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    }
    SSL_CTX_set_verify(ssl, verify, NULL);
    if (is_server) {
        /* Tickets carry the session, so nothing is kept (and nothing locked) here. */
        (void)SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
        (void)SSL_CTX_set_num_tickets(ssl, 1);
        (void)SSL_CTX_set_session_id_context(ssl, session_id_context, sizeof(session_id_context));
    }
}

gv_err_t gv_tlsctx_new(const gv_tlsctx_options_t *options, gv_tlsctx_t **ctx_out,
                       gv_error_text_t *error)
{
    GV_ASSERT(options != NULL);
    GV_ASSERT(error != NULL);
    *ctx_out = NULL;
    error->text[0] = '\0';
    ERR_clear_error();
    bool is_server = options->role == GV_TLS_SERVER;
    SSL_CTX *ssl = SSL_CTX_new(is_server ? TLS_server_method() : TLS_client_method());
    if (ssl == NULL) {
        return refuse("cannot set up", "TLS", error);
    }
    set_rules(ssl, options);
    gv_err_t err = GV_OK;
    if (is_server || is_given(options->cert)) {
        err = load_own_certificate(ssl, options, error);
    }
    bool needs_authorities = !is_server || options->verify_client;
    if (err == GV_OK && needs_authorities) {
        err = load_authorities(ssl, options, error);
    }
    if (err != GV_OK) {
        SSL_CTX_free(ssl);
        return err;
    }
    gv_tlsctx_t *ctx = GV_NEW(gv_tlsctx_t);
    ctx->ssl = ssl;
    ctx->role = options->role;
    atomic_init(&ctx->refs, 1);
    *ctx_out = ctx;
    return GV_OK;
}

gv_tlsctx_t *gv_tlsctx_ref(gv_tlsctx_t *ctx)
{
    GV_ASSERT(ctx != NULL);
    /* The caller holds a reference, so nothing has to be ordered. */
    atomic_fetch_add_explicit(&ctx->refs, 1, memory_order_relaxed);
    return ctx;
}

void gv_tlsctx_unref(gv_tlsctx_t **ctxp)
{
    gv_tlsctx_t *ctx = *ctxp;
    *ctxp = NULL;
    if (ctx == NULL) {
        return;
    }
    /* Acquire and release: what all holders did comes before the end. */
    if (atomic_fetch_sub_explicit(&ctx->refs, 1, memory_order_acq_rel) == 1) {
        SSL_CTX_free(ctx->ssl);
        gv_free(ctx);
    }
}

SSL_CTX *gv__tlsctx_ssl(const gv_tlsctx_t *ctx)
{
    return ctx->ssl;
}

gv_tls_role_t gv__tlsctx_role(const gv_tlsctx_t *ctx)
{
    return ctx->role;
}
