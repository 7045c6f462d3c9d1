/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The handshake's mac, made by OpenSSL.  Threads: any.
 */

#include "cluster/core/handshake.h"

gv_hmac_t gv_hmac_openssl(void);
