/* SPDX-License-Identifier: Apache-2.0 */
#include "base/crypto.h"

#include <limits.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>

/* ---- digests ------------------------------------------------------------------------------- */

void gv_sha256(gv_bytes_t bytes, uint8_t out[GV_SHA256_SIZE])
{
    unsigned size = 0;
    int rc = EVP_Digest(bytes.data, bytes.size, out, &size, EVP_sha256(), NULL);
    GV_ASSERT(rc == 1);
    GV_ASSERT(size == GV_SHA256_SIZE);
}

static bool feed(EVP_MAC_CTX *context, gv_bytes_t key, const gv_bytes_t *parts, size_t part_count)
{
    char digest[] = "SHA256";
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };
    /* A key of NULL would mean "the one there is". */
    const uint8_t *data = key.data != NULL ? key.data : (const uint8_t *)"";
    if (EVP_MAC_init(context, data, key.size, params) != 1) {
        return false;
    }
    for (size_t i = 0; i < part_count; i++) {
        if (EVP_MAC_update(context, parts[i].data, parts[i].size) != 1) {
            return false;
        }
    }
    return true;
}

/* Logins are rare, so everything is fetched anew; nothing global, nothing to clean up. */
void gv_hmac_sha256(gv_bytes_t key, const gv_bytes_t *parts, size_t part_count,
                    uint8_t out[GV_SHA256_SIZE])
{
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *context = mac != NULL ? EVP_MAC_CTX_new(mac) : NULL;
    size_t size = 0;
    bool is_done = context != NULL && feed(context, key, parts, part_count) &&
                   EVP_MAC_final(context, out, &size, GV_SHA256_SIZE) == 1;
    GV_ASSERT(is_done);
    GV_ASSERT(size == GV_SHA256_SIZE);
    EVP_MAC_CTX_free(context);
    EVP_MAC_free(mac);
}

void gv_pbkdf2_sha256(gv_bytes_t password, gv_bytes_t salt, uint32_t iterations,
                      uint8_t out[GV_SHA256_SIZE])
{
    GV_ASSERT(iterations > 0 && iterations <= INT_MAX);
    GV_ASSERT(password.size <= INT_MAX && salt.size <= INT_MAX);
    const char *text = password.size > 0 ? (const char *)password.data : "";
    int rc = PKCS5_PBKDF2_HMAC(text, (int)password.size, salt.data, (int)salt.size, (int)iterations,
                               EVP_sha256(), GV_SHA256_SIZE, out);
    GV_ASSERT(rc == 1);
}

/* ---- secrets ------------------------------------------------------------------------------- */

bool gv_secret_equal(const uint8_t *a, const uint8_t *b, size_t size)
{
    return CRYPTO_memcmp(a, b, size) == 0;
}

void gv_secret_wipe(void *secret, size_t size)
{
    OPENSSL_cleanse(secret, size);
}

/* ---- base64 -------------------------------------------------------------------------------- */

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void gv_base64_write(gv_writer_t *w, gv_bytes_t bytes)
{
    uint8_t *out = gv_writer_reserve(w, GV_BASE64_SIZE(bytes.size));
    if (out == NULL) {
        return;
    }
    for (size_t i = 0; i < bytes.size; i += 3) {
        size_t left = bytes.size - i;
        uint32_t group = (uint32_t)bytes.data[i] << 16;
        group |= left > 1 ? (uint32_t)bytes.data[i + 1] << 8 : 0;
        group |= left > 2 ? bytes.data[i + 2] : 0;
        *out++ = (uint8_t)digits[group >> 18];
        *out++ = (uint8_t)digits[group >> 12 & 63];
        *out++ = left > 1 ? (uint8_t)digits[group >> 6 & 63] : '=';
        *out++ = left > 2 ? (uint8_t)digits[group & 63] : '=';
    }
}

/* 0 to 63, or 64 for what is no digit. */
static uint32_t digit_value(uint8_t character)
{
    const char *found = character != '\0' ? strchr(digits, character) : NULL;
    return found != NULL ? (uint32_t)(found - digits) : 64;
}

gv_err_t gv_base64_read(gv_bytes_t text, uint8_t *out, size_t out_size, size_t *size_out)
{
    *size_out = 0;
    size_t padding = 0;
    while (padding < 2 && padding < text.size && text.data[text.size - 1 - padding] == '=') {
        padding++;
    }
    size_t size = text.size / 4 * 3 - (text.size > 0 ? padding : 0);
    if (text.size % 4 != 0 || size > out_size) {
        return GV_ERR_INVAL;
    }
    uint32_t bits = 0; /* not written yet: after the last digit they have to be 0 */
    size_t written = 0;
    for (size_t i = 0; i < text.size - padding; i++) {
        uint32_t value = digit_value(text.data[i]);
        if (value == 64) {
            return GV_ERR_INVAL;
        }
        bits = bits << 6 | value;
        if (i % 4 != 0) { /* the first digit of four completes no byte */
            size_t rest = 6 - i % 4 * 2;
            out[written++] = (uint8_t)(bits >> rest);
            bits &= (1U << rest) - 1;
        }
    }
    if (bits != 0) {
        return GV_ERR_INVAL;
    }
    *size_out = size;
    return GV_OK;
}
