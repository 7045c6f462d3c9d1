/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A SCRAM-SHA-256 verifier: what a server keeps instead of a password.  It can check a proof of the
 * password and prove in turn that it knows the user; who steals it can pose as the server, but has
 * to guess the password to be the user.
 *
 *     salted password = PBKDF2(password, salt, iterations)
 *     client key = HMAC(salted, "Client Key")      stored key = SHA-256(client key)
 *     server key = HMAC(salted, "Server Key")
 *     proof      = client key XOR HMAC(stored key, exchange)
 *     signature  = HMAC(server key, exchange)
 *
 * As text it is what PostgreSQL writes: SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY, base64.
 *
 * Threads: any.  Memory: nothing is allocated.
 */

#include "base/bytes.h"
#include "base/crypto.h"
#include "base/err.h"

/* RFC 7677 asks for no less than the first; the second keeps a typing error from being a stall. */
#define GV_SCRAM_ITERATIONS_MIN 4096U
#define GV_SCRAM_ITERATIONS_MAX 10000000U

#define GV_SCRAM_SALT_SIZE     16U /* of the ones we make [bytes] */
#define GV_SCRAM_SALT_SIZE_MAX 64U

typedef struct gv_scram_verifier {
    uint32_t iterations;
    uint8_t salt_size; /* 1 to GV_SCRAM_SALT_SIZE_MAX */
    uint8_t salt[GV_SCRAM_SALT_SIZE_MAX];
    uint8_t stored_key[GV_SHA256_SIZE];
    uint8_t server_key[GV_SHA256_SIZE];
} gv_scram_verifier_t;

static inline gv_bytes_t gv_scram_salt(const gv_scram_verifier_t *verifier)
{
    return gv_bytes(verifier->salt, verifier->salt_size);
}

/* GV_OK, or GV_ERR_INVAL when the text is no verifier or its iterations are out of range. */
GV_MUST_USE gv_err_t gv_scram_verifier_read(gv_bytes_t text, gv_scram_verifier_t *out);

#define GV_SCRAM_VERIFIER_TEXT_SIZE_MAX 256U

void gv_scram_verifier_write(gv_writer_t *w, const gv_scram_verifier_t *verifier);

/*
 * The verifier of a password.  Slow (gv_pbkdf2_sha256()).  Passwords are bytes: non-ASCII ones are
 * to be the same bytes on both sides, SASLprep is not applied.
 */
void gv_scram_verifier_make(gv_bytes_t password, gv_bytes_t salt, uint32_t iterations,
                            gv_scram_verifier_t *out);

/*
 * What is signed is the exchange so far: client first without its header, server first, client
 * final without its proof, with commas between them.
 */
typedef struct gv_scram_exchange_text {
    gv_bytes_t parts[5];
} gv_scram_exchange_text_t;

/* Whether the proof shows that the client knows the password. */
GV_MUST_USE bool gv_scram_proof_holds(const gv_scram_verifier_t *verifier,
                                      const gv_scram_exchange_text_t *text,
                                      const uint8_t proof[GV_SHA256_SIZE]);

/* What shows the client that we know the verifier. */
void gv_scram_sign(const gv_scram_verifier_t *verifier, const gv_scram_exchange_text_t *text,
                   uint8_t signature_out[GV_SHA256_SIZE]);
