/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The string rules of MQTT (5.0 section 1.5.4, 3.1.1 section 1.5.3).
 *
 * A string is well-formed UTF-8: no overlong forms, nothing above U+10FFFF, no surrogates
 * [MQTT-1.5.4-1], and without U+0000 [MQTT-1.5.4-2].  U+FEFF is a character like any other and is
 * never stripped [MQTT-1.5.4-3]; control characters and non-characters are let through, because a
 * server that refuses them breaks more clients than it protects.
 *
 * Topics are strings that also care for + and #, so one pass answers all three questions.
 *
 * Threads: any.  Memory: none.
 */

#include "base/bytes.h"

/* What one pass over a string found. */
typedef enum gv_mqtt_text {
    GV_MQTT_TEXT_BAD = 0,     /* not UTF-8, or holds U+0000 */
    GV_MQTT_TEXT_PLAIN = 1,   /* a valid string without + and # */
    GV_MQTT_TEXT_WILDCARD = 2 /* a valid string with a + or # somewhere */
} gv_mqtt_text_t;

GV_MUST_USE gv_mqtt_text_t gv_mqtt_text_scan(gv_bytes_t text);

/* True for a valid MQTT string; the empty one is valid. */
static inline bool gv_mqtt_text_valid(gv_bytes_t text)
{
    return gv_mqtt_text_scan(text) != GV_MQTT_TEXT_BAD;
}

/*
 * True for well-formed UTF-8 in the sense of Unicode, where U+0000 is a character: the rule for
 * payloads that claim Payload Format Indicator 1.
 */
GV_MUST_USE bool gv_mqtt_payload_is_utf8(gv_bytes_t payload);
