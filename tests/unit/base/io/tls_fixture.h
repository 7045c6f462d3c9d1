/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Certificates for tests, made when they are needed: a folder with an authority (ca.pem), a server
 * (server.pem, server.key; for localhost and 127.0.0.1), a client (client.pem, client.key) and a
 * stranger whom the authority does not know (stranger.pem, stranger.key).
 */

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <check.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

typedef struct tls_files {
    char folder[64];
    char ca[96];
    char server_cert[96];
    char server_key[96];
    char client_cert[96];
    char client_key[96];
    char stranger_cert[96];
    char stranger_key[96];
} tls_files_t;

static inline void write_key(const char *path, EVP_PKEY *key)
{
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
    (void)fclose(file);
}

static inline void write_cert(const char *path, X509 *cert)
{
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(PEM_write_X509(file, cert), 1);
    (void)fclose(file);
}

static inline void add_extension(X509 *cert, int nid, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    ck_assert_ptr_nonnull(extension);
    ck_assert_int_eq(X509_add_ext(cert, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

/* A certificate for `key`, signed by the issuer; by itself if issuer is NULL. */
static inline X509 *make_cert(const char *name, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key)
{
    static long serial = 1;
    X509 *cert = X509_new();
    ck_assert_ptr_nonnull(cert);
    ck_assert_int_eq(X509_set_version(cert, 2), 1);
    ck_assert_int_eq(ASN1_INTEGER_set(X509_get_serialNumber(cert), serial++), 1);
    ck_assert_ptr_nonnull(X509_gmtime_adj(X509_getm_notBefore(cert), -3600));
    ck_assert_ptr_nonnull(X509_gmtime_adj(X509_getm_notAfter(cert), 86400));
    ck_assert_int_eq(X509_set_pubkey(cert, key), 1);
    X509_NAME *subject = X509_get_subject_name(cert);
    ck_assert_int_eq(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                                                (const unsigned char *)name, -1, -1, 0),
                     1);
    ck_assert_int_eq(
        X509_set_issuer_name(cert, issuer != NULL ? X509_get_subject_name(issuer) : subject), 1);
    if (issuer == NULL) {
        add_extension(cert, NID_basic_constraints, "critical,CA:TRUE");
    } else {
        add_extension(cert, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1");
    }
    ck_assert_int_gt(X509_sign(cert, issuer_key != NULL ? issuer_key : key, EVP_sha256()), 0);
    return cert;
}

static inline void tls_files_make(tls_files_t *files)
{
    (void)snprintf(files->folder, sizeof(files->folder), "/tmp/grapevine-tls-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(files->folder));
    struct {
        char *path;
        const char *name;
    } names[] = {
        {files->ca, "ca.pem"},
        {files->server_cert, "server.pem"},
        {files->server_key, "server.key"},
        {files->client_cert, "client.pem"},
        {files->client_key, "client.key"},
        {files->stranger_cert, "stranger.pem"},
        {files->stranger_key, "stranger.key"},
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void)snprintf(names[i].path, 96, "%s/%s", files->folder, names[i].name);
    }
    EVP_PKEY *keys[4];
    for (size_t i = 0; i < 4; i++) {
        keys[i] = EVP_EC_gen("P-256");
        ck_assert_ptr_nonnull(keys[i]);
    }
    X509 *ca = make_cert("test authority", keys[0], NULL, NULL);
    X509 *server = make_cert("server", keys[1], ca, keys[0]);
    X509 *client = make_cert("client", keys[2], ca, keys[0]);
    X509 *stranger = make_cert("stranger", keys[3], NULL, NULL);
    write_cert(files->ca, ca);
    write_cert(files->server_cert, server);
    write_key(files->server_key, keys[1]);
    write_cert(files->client_cert, client);
    write_key(files->client_key, keys[2]);
    write_cert(files->stranger_cert, stranger);
    write_key(files->stranger_key, keys[3]);
    X509_free(ca);
    X509_free(server);
    X509_free(client);
    X509_free(stranger);
    for (size_t i = 0; i < 4; i++) {
        EVP_PKEY_free(keys[i]);
    }
}

static inline void tls_files_remove(const tls_files_t *files)
{
    const char *paths[] = {files->ca,          files->server_cert, files->server_key,
                           files->client_cert, files->client_key,  files->stranger_cert,
                           files->stranger_key};
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        (void)unlink(paths[i]);
    }
    (void)rmdir(files->folder);
}
