/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/scram/verifier.h"

#include <inttypes.h>
#include <stdio.h>

#include "proto/scram/scram.h"

/* ---- as text ------------------------------------------------------------------------------- */

#define PREFIX GV_BYTES_LITERAL(GV_SCRAM_METHOD "$")

/* What stands before the mark is taken off *text, and the mark too; false without one. */
static bool take_until(gv_bytes_t *text, uint8_t mark, gv_bytes_t *taken)
{
    const uint8_t *found = text->size > 0 ? memchr(text->data, mark, text->size) : NULL;
    if (found == NULL) {
        return false;
    }
    *taken = gv_bytes(text->data, (size_t)(found - text->data));
    *text = gv_bytes(found + 1, text->size - taken->size - 1);
    return true;
}

static bool read_iterations(gv_bytes_t digits, uint32_t *out)
{
    uint64_t value = 0;
    for (size_t i = 0; i < digits.size; i++) {
        if (digits.data[i] < '0' || digits.data[i] > '9' || value > GV_SCRAM_ITERATIONS_MAX) {
            return false;
        }
        value = value * 10 + (uint64_t)(digits.data[i] - '0');
    }
    *out = (uint32_t)value;
    return value >= GV_SCRAM_ITERATIONS_MIN && value <= GV_SCRAM_ITERATIONS_MAX;
}

static bool read_key(gv_bytes_t text, uint8_t out[GV_SHA256_SIZE])
{
    size_t size = 0;
    return gv_base64_read(text, out, GV_SHA256_SIZE, &size) == GV_OK && size == GV_SHA256_SIZE;
}

gv_err_t gv_scram_verifier_read(gv_bytes_t text, gv_scram_verifier_t *out)
{
    *out = (gv_scram_verifier_t){.iterations = 0};
    if (!gv_bytes_has_prefix(text, PREFIX)) {
        return GV_ERR_INVAL;
    }
    gv_bytes_t rest = gv_bytes(text.data + PREFIX.size, text.size - PREFIX.size);
    gv_bytes_t iterations;
    gv_bytes_t salt;
    gv_bytes_t stored_key;
    size_t salt_size = 0;
    bool is_good =
        take_until(&rest, ':', &iterations) && take_until(&rest, '$', &salt) &&
        take_until(&rest, ':', &stored_key) && read_iterations(iterations, &out->iterations) &&
        gv_base64_read(salt, out->salt, sizeof(out->salt), &salt_size) == GV_OK && salt_size > 0 &&
        read_key(stored_key, out->stored_key) && read_key(rest, out->server_key);
    out->salt_size = (uint8_t)salt_size;
    return is_good ? GV_OK : GV_ERR_INVAL;
}

void gv_scram_verifier_write(gv_writer_t *w, const gv_scram_verifier_t *verifier)
{
    gv_writer_put(w, PREFIX);
    char text[16];
    int size = snprintf(text, sizeof(text), "%" PRIu32 ":", verifier->iterations);
    gv_writer_put(w, gv_bytes(text, (size_t)size));
    gv_base64_write(w, gv_scram_salt(verifier));
    gv_writer_u8(w, '$');
    gv_base64_write(w, gv_bytes(verifier->stored_key, GV_SHA256_SIZE));
    gv_writer_u8(w, ':');
    gv_base64_write(w, gv_bytes(verifier->server_key, GV_SHA256_SIZE));
}

/* ---- keys ---------------------------------------------------------------------------------- */

void gv_scram_verifier_make(gv_bytes_t password, gv_bytes_t salt, uint32_t iterations,
                            gv_scram_verifier_t *out)
{
    GV_ASSERT(salt.size > 0 && salt.size <= GV_SCRAM_SALT_SIZE_MAX);
    *out = (gv_scram_verifier_t){.iterations = iterations, .salt_size = (uint8_t)salt.size};
    memcpy(out->salt, salt.data, salt.size);

    uint8_t salted[GV_SHA256_SIZE];
    uint8_t client_key[GV_SHA256_SIZE];
    gv_bytes_t salted_key = gv_bytes(salted, sizeof(salted));
    gv_pbkdf2_sha256(password, salt, iterations, salted);
    gv_hmac_sha256(salted_key, &GV_BYTES_LITERAL("Client Key"), 1, client_key);
    gv_sha256(gv_bytes(client_key, sizeof(client_key)), out->stored_key);
    gv_hmac_sha256(salted_key, &GV_BYTES_LITERAL("Server Key"), 1, out->server_key);
    gv_secret_wipe(salted, sizeof(salted));
    gv_secret_wipe(client_key, sizeof(client_key));
}

bool gv_scram_proof_holds(const gv_scram_verifier_t *verifier, const gv_scram_exchange_text_t *text,
                          const uint8_t proof[GV_SHA256_SIZE])
{
    uint8_t client_key[GV_SHA256_SIZE];
    uint8_t hashed[GV_SHA256_SIZE];
    gv_hmac_sha256(gv_bytes(verifier->stored_key, GV_SHA256_SIZE), text->parts, 5, client_key);
    for (size_t i = 0; i < GV_SHA256_SIZE; i++) {
        client_key[i] ^= proof[i];
    }
    gv_sha256(gv_bytes(client_key, sizeof(client_key)), hashed);
    gv_secret_wipe(client_key, sizeof(client_key));
    return gv_secret_equal(hashed, verifier->stored_key, GV_SHA256_SIZE);
}

void gv_scram_sign(const gv_scram_verifier_t *verifier, const gv_scram_exchange_text_t *text,
                   uint8_t signature_out[GV_SHA256_SIZE])
{
    gv_hmac_sha256(gv_bytes(verifier->server_key, GV_SHA256_SIZE), text->parts, 5, signature_out);
}
