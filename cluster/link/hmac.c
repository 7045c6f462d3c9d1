/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/link/hmac.h"

#include "base/crypto.h"

_Static_assert(GV_HANDSHAKE_MAC_BYTES == GV_SHA256_SIZE, "the handshake's mac is HMAC-SHA-256");

static gv_err_t hmac_sha256(void *arg, gv_bytes_t key, const gv_bytes_t *parts, size_t part_count,
                            uint8_t mac_out[GV_HANDSHAKE_MAC_BYTES])
{
    (void)arg;
    gv_hmac_sha256(key, parts, part_count, mac_out);
    return GV_OK;
}

gv_hmac_t gv_hmac_openssl(void)
{
    return (gv_hmac_t){.sha256 = hmac_sha256, .arg = NULL};
}
