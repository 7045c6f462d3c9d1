/* SPDX-License-Identifier: Apache-2.0 */
#include <openssl/evp.h>
#include <openssl/sha.h>

#include "broker/net/ws_accept_p.h"
#include "proto/ws/handshake.h"

void gv__ws_accept(gv_bytes_t key, uint8_t accept_out[GV__WS_ACCEPT_SIZE])
{
    GV_ASSERT(key.size == GV_WS_KEY_SIZE);
    uint8_t text[GV_WS_KEY_SIZE + sizeof(GV_WS_ACCEPT_SUFFIX) - 1];
    memcpy(text, key.data, key.size);
    memcpy(text + key.size, GV_WS_ACCEPT_SUFFIX, sizeof(GV_WS_ACCEPT_SUFFIX) - 1);
    uint8_t digest[SHA_DIGEST_LENGTH];
    int rc = EVP_Digest(text, sizeof(text), digest, NULL, EVP_sha1(), NULL);
    GV_ASSERT(rc == 1);
    uint8_t encoded[GV__WS_ACCEPT_SIZE + 1]; /* with the NUL that OpenSSL adds */
    int size = EVP_EncodeBlock(encoded, digest, sizeof(digest));
    GV_ASSERT(size == (int)GV__WS_ACCEPT_SIZE);
    memcpy(accept_out, encoded, GV__WS_ACCEPT_SIZE);
}
