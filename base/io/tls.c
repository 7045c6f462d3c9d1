/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_TLS

#include "base/io/tls.h"

#include <pthread.h>

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/alloc.h"
#include "base/io/tlsctx_p.h"

/*
 * OpenSSL reads and writes through a BIO.  Ours reads from the view the caller has given and writes
 * into the caller's output buffer, both set for the time of a call: with OpenSSL's own memory BIOs
 * every byte would be copied twice more, and every idle connection would own two buffers.
 *
 * Three rules that are easy to get wrong, and where they are kept:
 * - the thread's error queue is emptied before each operation, or an old error is taken for a new
 *   one (begin());
 * - reading goes on until OpenSSL wants more: what it has taken in is seen by no poll any more
 *   (the callers of gv_tls_receive());
 * - after a fatal error nothing is called again, not even SSL_shutdown() (ENDED).
 */

/* ---- OpenSSL's memory ----------------------------------------------------------------------- */

static void *count_malloc(size_t size, const char *file, int line)
{
    (void)file, (void)line;
    return size > 0 ? gv_try_alloc(size) : NULL;
}

static void count_free(void *ptr, const char *file, int line)
{
    (void)file, (void)line;
    gv_free(ptr);
}

static void *count_realloc(void *ptr, size_t size, const char *file, int line)
{
    if (size == 0) {
        count_free(ptr, file, line);
        return NULL;
    }
    return gv_try_realloc(ptr, size);
}

void gv_tls_count_memory(void)
{
    int rc = CRYPTO_set_mem_functions(count_malloc, count_realloc, count_free);
    GV_ASSERT(rc == 1); /* fails only when there is some already */
}

/* ---- connections ---------------------------------------------------------------------------- */

typedef enum tls_state {
    STATE_HANDSHAKE,
    STATE_OPEN,
    STATE_CLOSED, /* properly */
    STATE_FAILED,
} tls_state_t;

struct gv_tls {
    SSL *ssl;
    gv_bytes_t *wire;    /* during a call; else NULL */
    gv_tls_sink_t *sink; /* during a call; else NULL */
    tls_state_t state;
    const char *error;
};

/* ---- the BIO -------------------------------------------------------------------------------- */

static int on_bio_read(BIO *bio, char *room, size_t size, size_t *got)
{
    const gv_tls_t *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    *got = 0;
    if (tls->wire == NULL || tls->wire->size == 0) {
        BIO_set_retry_read(bio);
        return 0;
    }
    size_t taken = size < tls->wire->size ? size : tls->wire->size;
    memcpy(room, tls->wire->data, taken);
    tls->wire->data += taken;
    tls->wire->size -= taken;
    *got = taken;
    return 1;
}

static int on_bio_write(BIO *bio, const char *bytes, size_t size, size_t *written)
{
    const gv_tls_t *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    GV_ASSERT(tls->sink != NULL);
    gv_outbuf_append(tls->sink->out, tls->sink->pool, gv_bytes(bytes, size));
    *written = size;
    return 1;
}

static long on_bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH ? 1 : 0; /* flushed is all that it ever is asked to be */
}

static BIO_METHOD *bio_method;

static void make_bio_method(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "grapevine");
    GV_ASSERT(method != NULL);
    (void)BIO_meth_set_read_ex(method, on_bio_read);
    (void)BIO_meth_set_write_ex(method, on_bio_write);
    (void)BIO_meth_set_ctrl(method, on_bio_ctrl);
    bio_method = method; /* for the life of the process */
}

static BIO *new_bio(gv_tls_t *tls)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, make_bio_method);
    BIO *bio = BIO_new(bio_method);
    if (bio != NULL) {
        BIO_set_data(bio, tls);
        BIO_set_init(bio, 1);
    }
    return bio;
}

/* ---- life ----------------------------------------------------------------------------------- */

/* Whom the server's certificate must name. */
static gv_err_t set_server_name(SSL *ssl, const char *name)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    if (X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1) {
        return GV_OK; /* addresses are not sent as server names */
    }
    ERR_clear_error();
    bool is_set = X509_VERIFY_PARAM_set1_host(param, name, 0) == 1 &&
                  SSL_set_tlsext_host_name(ssl, name) == 1;
    return is_set ? GV_OK : GV_ERR_NOMEM;
}

gv_err_t gv_tls_new(gv_tlsctx_t *ctx, const char *server_name, gv_tls_t **tls_out)
{
    GV_ASSERT(ctx != NULL);
    bool is_client = gv__tlsctx_role(ctx) == GV_TLS_CLIENT;
    GV_ASSERT(is_client == (server_name != NULL));
    *tls_out = NULL;
    ERR_clear_error();
    gv_tls_t *tls = gv_try_alloc(sizeof(*tls));
    if (tls == NULL) {
        return GV_ERR_NOMEM;
    }
    *tls = (gv_tls_t){.ssl = SSL_new(gv__tlsctx_ssl(ctx)), .error = ""};
    BIO *bio = tls->ssl != NULL ? new_bio(tls) : NULL;
    if (bio == NULL) {
        gv_tls_free(&tls);
        return GV_ERR_NOMEM;
    }
    SSL_set_bio(tls->ssl, bio, bio); /* takes one reference for both */
    if (!is_client) {
        SSL_set_accept_state(tls->ssl);
    } else {
        SSL_set_connect_state(tls->ssl);
        if (set_server_name(tls->ssl, server_name) != GV_OK) {
            gv_tls_free(&tls);
            return GV_ERR_NOMEM;
        }
    }
    *tls_out = tls;
    return GV_OK;
}

void gv_tls_free(gv_tls_t **tlsp)
{
    gv_tls_t *tls = *tlsp;
    *tlsp = NULL;
    if (tls == NULL) {
        return;
    }
    SSL_free(tls->ssl);
    gv_free(tls);
}

/* ---- working -------------------------------------------------------------------------------- */

static void begin(gv_tls_t *tls, gv_bytes_t *wire, gv_tls_sink_t *sink)
{
    GV_ASSERT(tls->sink == NULL);
    ERR_clear_error();
    tls->wire = wire;
    tls->sink = sink;
}

static void end(gv_tls_t *tls)
{
    tls->wire = NULL;
    tls->sink = NULL;
    if (tls->state == STATE_HANDSHAKE && SSL_is_init_finished(tls->ssl)) {
        tls->state = STATE_OPEN;
    }
}

static void fail(gv_tls_t *tls)
{
    tls->state = STATE_FAILED;
    long verified = SSL_get_verify_result(tls->ssl);
    tls->error = gv__tls_error_text("connection broken");
    if (verified != X509_V_OK) {
        tls->error = X509_verify_cert_error_string(verified);
    }
}

/* What an operation of OpenSSL that did not succeed means. */
static gv_err_t explain(gv_tls_t *tls, int rc)
{
    switch (SSL_get_error(tls->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
        return GV_ERR_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        tls->state = STATE_CLOSED;
        return GV_ERR_CLOSED;
    default:
        fail(tls);
        return GV_ERR_MALFORMED;
    }
}

gv_err_t gv_tls_receive(gv_tls_t *tls, gv_bytes_t *wire, gv_tls_sink_t sink, void *room,
                        size_t room_size, size_t *size_out)
{
    GV_ASSERT(room_size > 0);
    *size_out = 0;
    if (tls->state == STATE_CLOSED) {
        return GV_ERR_CLOSED;
    }
    if (tls->state == STATE_FAILED) {
        return GV_ERR_MALFORMED;
    }
    begin(tls, wire, &sink);
    int rc = SSL_read_ex(tls->ssl, room, room_size, size_out);
    gv_err_t err = rc == 1 ? GV_OK : explain(tls, rc);
    end(tls);
    return err;
}

gv_err_t gv_tls_send(gv_tls_t *tls, gv_bytes_t *plain, gv_tls_sink_t sink)
{
    if (tls->state == STATE_CLOSED || tls->state == STATE_FAILED) {
        return GV_ERR_CLOSED;
    }
    if (tls->state == STATE_HANDSHAKE) {
        return GV_ERR_AGAIN;
    }
    gv_err_t err = GV_OK;
    begin(tls, NULL, &sink);
    while (plain->size > 0 && err == GV_OK) {
        size_t written = 0;
        int rc = SSL_write_ex(tls->ssl, plain->data, plain->size, &written);
        err = rc == 1 ? GV_OK : explain(tls, rc);
        plain->data += written;
        plain->size -= written;
    }
    end(tls);
    return err == GV_OK || err == GV_ERR_AGAIN ? err : GV_ERR_CLOSED;
}

void gv_tls_close(gv_tls_t *tls, gv_tls_sink_t sink)
{
    /* Also after the peer's close_notify: it is to be answered. */
    bool can_tell = tls->state == STATE_OPEN || tls->state == STATE_CLOSED;
    if (!can_tell || (SSL_get_shutdown(tls->ssl) & SSL_SENT_SHUTDOWN) != 0) {
        return;
    }
    begin(tls, NULL, &sink);
    (void)SSL_shutdown(tls->ssl);
    ERR_clear_error();
    end(tls);
    tls->state = STATE_CLOSED;
}

bool gv_tls_is_open(const gv_tls_t *tls)
{
    return tls->state == STATE_OPEN;
}

const char *gv_tls_error(const gv_tls_t *tls)
{
    return tls->error;
}
