/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/link/hmac.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

static bool feed(EVP_MAC_CTX *context, gv_bytes_t key, const gv_bytes_t *parts, size_t part_count)
{
    char digest[] = "SHA256";
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };
    if (EVP_MAC_init(context, key.data, key.size, params) != 1) {
        return false;
    }
    for (size_t i = 0; i < part_count; i++) {
        if (EVP_MAC_update(context, parts[i].data, parts[i].size) != 1) {
            return false;
        }
    }
    return true;
}

/* A handshake is rare, so everything is fetched anew; nothing global, nothing to clean up. */
static gv_err_t hmac_sha256(void *arg, gv_bytes_t key, const gv_bytes_t *parts, size_t part_count,
                            uint8_t mac_out[GV_HANDSHAKE_MAC_BYTES])
{
    (void)arg;
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *context = mac != NULL ? EVP_MAC_CTX_new(mac) : NULL;
    size_t size = 0;
    bool is_done = context != NULL && feed(context, key, parts, part_count) &&
                   EVP_MAC_final(context, mac_out, &size, GV_HANDSHAKE_MAC_BYTES) == 1 &&
                   size == GV_HANDSHAKE_MAC_BYTES;
    EVP_MAC_CTX_free(context);
    EVP_MAC_free(mac);
    return is_done ? GV_OK : GV_ERR_IO;
}

gv_hmac_t gv_hmac_openssl(void)
{
    return (gv_hmac_t){.sha256 = hmac_sha256, .arg = NULL};
}
