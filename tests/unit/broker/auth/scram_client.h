/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The client's side of SCRAM-SHA-256, for tests of the server's. */

#include <stdio.h>
#include <stdlib.h>

#include <check.h>

#include "broker/auth/users.h"

#define SCRAM_CLIENT_NONCE "abcdefgh"

typedef struct scram_client {
    const char *user; /* escaped */
    const char *password;
    char final[512];
    char success[64]; /* what the server has to answer */
} scram_client_t;

static inline const char *scram_client_first(const scram_client_t *client)
{
    static char text[512];
    (void)snprintf(text, sizeof(text), "n,,n=%s,r=" SCRAM_CLIENT_NONCE, client->user);
    return text;
}

static inline void scram_client_base64(char *out, const uint8_t *bytes, size_t size)
{
    gv_writer_t w = gv_writer(out, GV_BASE64_SIZE(size));
    gv_base64_write(&w, gv_bytes(bytes, size));
    ck_assert(!w.failed);
    out[GV_BASE64_SIZE(size)] = '\0';
}

/* Answers server first: client->final, and client->success. */
static inline const char *scram_client_final(scram_client_t *client, gv_bytes_t challenge)
{
    char text[512];
    char salt_text[128];
    unsigned iterations = 0;
    (void)snprintf(text, sizeof(text), "%.*s", (int)challenge.size, (const char *)challenge.data);
    char nonce[200];
    ck_assert_int_eq(sscanf(text, "r=%199[^,],s=%127[^,],i=%u", nonce, salt_text, &iterations), 3);
    ck_assert_int_eq(strncmp(nonce, SCRAM_CLIENT_NONCE, strlen(SCRAM_CLIENT_NONCE)), 0);
    uint8_t salt[GV_SCRAM_SALT_SIZE_MAX];
    size_t salt_size;
    ck_assert_int_eq(gv_base64_read(gv_bytes_text(salt_text), salt, sizeof(salt), &salt_size),
                     GV_OK);

    uint8_t salted[GV_SHA256_SIZE];
    uint8_t client_key[GV_SHA256_SIZE];
    uint8_t proof[GV_SHA256_SIZE];
    gv_pbkdf2_sha256(gv_bytes_text(client->password), gv_bytes(salt, salt_size), iterations,
                     salted);
    gv_hmac_sha256(gv_bytes(salted, sizeof(salted)), &GV_BYTES_LITERAL("Client Key"), 1,
                   client_key);
    gv_scram_verifier_t verifier;
    gv_scram_verifier_make(gv_bytes_text(client->password), gv_bytes(salt, salt_size), iterations,
                           &verifier);
    char all[1536];
    char without_proof[256];
    (void)snprintf(without_proof, sizeof(without_proof), "c=biws,r=%s", nonce);
    (void)snprintf(all, sizeof(all), "%s,%s,%s", scram_client_first(client) + 3, text,
                   without_proof);
    gv_bytes_t whole = gv_bytes_text(all);
    gv_hmac_sha256(gv_bytes(verifier.stored_key, GV_SHA256_SIZE), &whole, 1, proof);
    for (size_t i = 0; i < sizeof(proof); i++) {
        proof[i] ^= client_key[i];
    }
    char proof_text[64];
    scram_client_base64(proof_text, proof, sizeof(proof));
    (void)snprintf(client->final, sizeof(client->final), "%s,p=%s", without_proof, proof_text);

    uint8_t signature[GV_SHA256_SIZE];
    gv_hmac_sha256(gv_bytes(verifier.server_key, GV_SHA256_SIZE), &whole, 1, signature);
    memcpy(client->success, "v=", 2);
    scram_client_base64(client->success + 2, signature, sizeof(signature));
    return client->final;
}

/* Users named in pairs of name and password, up to NULL; salts are their names. */
static inline gv_users_t *scram_users(const char *const *names_and_passwords)
{
    gv_user_config_t items[8];
    size_t count = 0;
    for (; names_and_passwords[2 * count] != NULL; count++) {
        ck_assert_uint_lt(count, 8);
        char *name = (char *)(uintptr_t)names_and_passwords[2 * count];
        items[count].name = name;
        gv_scram_verifier_make(gv_bytes_text(names_and_passwords[2 * count + 1]),
                               gv_bytes_text(name), GV_SCRAM_ITERATIONS_MIN,
                               &items[count].verifier);
    }
    return gv_users_new(items, count);
}

#define SCRAM_USERS(...) scram_users((const char *const[]){__VA_ARGS__, NULL})
