/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The messages of SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding:
 *
 *     client first    n,,n=alice,r=CLIENTNONCE
 *     server first    r=CLIENTNONCESERVERNONCE,s=SALT,i=4096
 *     client final    c=biws,r=CLIENTNONCESERVERNONCE,p=PROOF
 *     server final    v=SIGNATURE
 *
 * What the keys and proofs mean is verifier.h; who sends what when is broker/auth/scram.h.
 *
 * Threads: any.  Memory: nothing is allocated; structs hold views into the message that was read.
 * Reading gives GV_ERR_MALFORMED for what the grammar does not have, and GV_ERR_PROTOCOL for what
 * it has and we do not: channel binding, extensions that must be understood, acting for somebody
 * else.
 */

#include "base/bytes.h"
#include "base/crypto.h"
#include "base/err.h"

#define GV_SCRAM_METHOD "SCRAM-SHA-256"

/* Longest message taken, and longest user name, unescaped [bytes]. */
#define GV_SCRAM_MESSAGE_SIZE_MAX 1024U
#define GV_SCRAM_USER_SIZE_MAX    255U

/* ---- client first -------------------------------------------------------------------------- */

typedef struct gv_scram_first {
    gv_bytes_t header; /* "n,," or "y,,": comes back in client final, base64 */
    gv_bytes_t bare;   /* all behind it, the first part of what is signed */
    gv_bytes_t user;   /* escaped */
    gv_bytes_t nonce;
} gv_scram_first_t;

GV_MUST_USE gv_err_t gv_scram_first_read(gv_bytes_t message, gv_scram_first_t *out);

/*
 * A user name as it is meant: "=2C" is a comma, "=3D" an equals sign.  GV_ERR_MALFORMED when
 * another escape is in it, it is empty, longer than GV_SCRAM_USER_SIZE_MAX or no UTF-8.
 */
GV_MUST_USE gv_err_t gv_scram_user_read(gv_bytes_t escaped, uint8_t out[GV_SCRAM_USER_SIZE_MAX],
                                        size_t *size_out);

/* ---- server first -------------------------------------------------------------------------- */

void gv_scram_challenge_write(gv_writer_t *w, gv_bytes_t client_nonce, gv_bytes_t server_nonce,
                              gv_bytes_t salt, uint32_t iterations);

/* ---- client final -------------------------------------------------------------------------- */

typedef struct gv_scram_final {
    gv_bytes_t without_proof; /* all before ",p=": the last part of what is signed */
    gv_bytes_t binding;       /* base64 */
    gv_bytes_t nonce;         /* the client's and the server's in one */
    uint8_t proof[GV_SHA256_SIZE];
} gv_scram_final_t;

GV_MUST_USE gv_err_t gv_scram_final_read(gv_bytes_t message, gv_scram_final_t *out);

/* ---- server final -------------------------------------------------------------------------- */

/* "v=" and base64 [bytes] */
#define GV_SCRAM_SUCCESS_SIZE (2U + GV_BASE64_SIZE(GV_SHA256_SIZE))

void gv_scram_success_write(gv_writer_t *w, const uint8_t signature[GV_SHA256_SIZE]);
