/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Values of command line options.  Each gives NULL, or what is wrong as a text to be freed.
 */

#include <stdint.h>

#include "base/defs.h"
#include "proto/mqtt/packet.h"

/* A decimal number; `option` as it was typed: "-k", "--keep-alive". */
GV_MUST_USE char *gv_take_number(const char *option, const char *text, uint32_t min, uint32_t max,
                                 uint32_t *out);

GV_MUST_USE char *gv_take_qos(const char *option, const char *text, uint8_t *out);

/* 3.1, 3.1.1 or 5; also as mosquitto_pub writes them. */
GV_MUST_USE char *gv_take_version(const char *option, const char *text, gv_mqtt_version_t *out);
