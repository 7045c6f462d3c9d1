/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Paths of the admin port with a value in them: /api/v1/clients/{clientid}/subscriptions.
 *
 * They are compared as they were sent, before %XX is decoded, so that a client id or a topic may
 * have a slash in it (%2F).  `{name...}` at the end of a pattern takes all that follows, slashes
 * included: a topic may be written there as it is.
 *
 * Threads: pure functions.
 */

#include <stdbool.h>

#include "base/bytes.h"

/*
 * Whether a path (without its query) is of this pattern, which has one value at most.  *value_out
 * gets what stands in its place, still encoded and never empty; or nothing.
 */
bool gv_url_match(const char *pattern, const char *path, gv_bytes_t *value_out);

/*
 * Decodes %XX into `out`, which has room for value.size + 1 bytes and ends with NUL then.  False: a
 * % without two hexadecimal digits, or a %00, which is in no name of MQTT.
 */
GV_MUST_USE bool gv_url_decode(gv_bytes_t value, char *out);
