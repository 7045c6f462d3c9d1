/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Visitors that come through TLS: OpenSSL as a client, on the visitor's blocking socket. */

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "tests/unit/base/io/tls_fixture.h"
#include "tests/unit/broker/net/rig.h"

static tls_files_t tls_files;

static inline void tls_send(visitor_t *visitor, const void *bytes, size_t size)
{
    size_t sent = 0;
    ERR_clear_error();
    if (size > 0 && SSL_write_ex(visitor->data, bytes, size, &sent) != 1) {
        return; /* who wants to know receives */
    }
    ck_assert_uint_eq(sent, size);
}

static inline ssize_t tls_receive(visitor_t *visitor, void *room, size_t size)
{
    size_t got = 0;
    ERR_clear_error();
    return SSL_read_ex(visitor->data, room, size, &got) == 1 ? (ssize_t)got : 0;
}

static inline void tls_leave(visitor_t *visitor)
{
    SSL_free(visitor->data);
}

static const visitor_way_t tls_way = {.send = tls_send, .receive = tls_receive, .leave = tls_leave};

/* With or without a certificate of the client; false: the handshake has failed. */
static inline bool tls_begin(visitor_t *visitor, bool with_cert)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    ck_assert_int_eq(SSL_CTX_load_verify_locations(ctx, tls_files.ca, NULL), 1);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    if (with_cert) {
        ck_assert_int_eq(SSL_CTX_use_certificate_file(ctx, tls_files.client_cert, SSL_FILETYPE_PEM),
                         1);
        ck_assert_int_eq(SSL_CTX_use_PrivateKey_file(ctx, tls_files.client_key, SSL_FILETYPE_PEM),
                         1);
    }
    SSL *ssl = SSL_new(ctx);
    SSL_CTX_free(ctx);
    ck_assert_int_eq(SSL_set_fd(ssl, visitor->fd), 1);
    visitor->data = ssl;
    visitor->way = &tls_way;
    ERR_clear_error();
    return SSL_connect(ssl) == 1;
}

static inline void tls_rig_init(const char *url)
{
    rig_init();
    rig_add_listener(url);
    rig.tls = (gv_listeners_tls_t){.cert = tls_files.server_cert, .key = tls_files.server_key};
}

static inline visitor_t *tls_visit(size_t listener)
{
    visitor_t *visitor = rig_visit(listener);
    ck_assert(tls_begin(visitor, false));
    return visitor;
}

static inline void tls_make_files(void)
{
    tls_files_make(&tls_files);
}

static inline void tls_remove_files(void)
{
    tls_files_remove(&tls_files);
}
