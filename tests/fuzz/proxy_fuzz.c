/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The decoder of PROXY headers.  Whatever the whole input gives, each prefix of it must give the
 * same or AGAIN: the answer may not depend on where the network has cut the bytes.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/proxy/proxy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gv_proxy_header_t whole;
    gv_err_t err = gv_proxy_decode(gv_bytes(data, size), &whole);
    if (err == GV_OK && (whole.size > size || whole.size > GV_PROXY_HEADER_MAX ||
                         memchr(whole.path, '\0', sizeof(whole.path)) == NULL)) {
        abort();
    }
    size_t end = size < GV_PROXY_HEADER_MAX ? size : GV_PROXY_HEADER_MAX;
    for (size_t cut = 0; cut < end; cut++) {
        gv_proxy_header_t part;
        gv_err_t early = gv_proxy_decode(gv_bytes(data, cut), &part);
        if (early != GV_ERR_AGAIN && early != err) {
            abort();
        }
        if (early == GV_OK && (part.size != whole.size || part.size > cut)) {
            abort();
        }
    }
    return 0;
}
