/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The one sentence about an address that cannot be listened on, for binding and for listening. */

#include "base/io/address.h"

/* code is an errno value.  Returns GV_ERR_BUSY, GV_ERR_DENIED or GV_ERR_IO. */
gv_err_t gv__bind_failed(const char *address, int code, gv_error_text_t *error);
