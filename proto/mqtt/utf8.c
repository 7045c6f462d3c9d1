/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/mqtt/utf8.h"

/* The same byte eight times. */
#define EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

/*
 * Nearly all topics are ASCII, so eight bytes are looked at in one word.  The two below give words
 * whose high bits say whether there is such a byte, and exactly so only for words without high
 * bits: a byte plus 0x7f then reaches 0x80 just when it is not zero, and nothing carries into its
 * neighbour.
 */
static inline bool has_high_bits(uint64_t word)
{
    return (word & EACH(0x80)) != 0;
}

static inline uint64_t nuls_in(uint64_t ascii_word)
{
    return ~(ascii_word + EACH(0x7f));
}

/* '#' is 0x23 and '+' is 0x2b: they differ in one bit, so one test finds both. */
static inline uint64_t wildcards_in(uint64_t ascii_word)
{
    return nuls_in((ascii_word | EACH(0x08)) ^ EACH('+'));
}

static inline uint64_t load_word(const uint8_t *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof(word));
    return word;
}

/*
 * Length of the character of two to four bytes at `pos`, or 0 if it is none: Unicode's table 3-7 of
 * well-formed byte sequences, which leaves out overlong forms, surrogates and what is above
 * U+10FFFF.  The second byte decides; the others only have to continue.
 */
static size_t multibyte_size(const uint8_t *pos, size_t left)
{
    uint8_t lead = pos[0];
    uint8_t low = 0x80;
    uint8_t high = 0xbf;
    size_t size;
    if (lead >= 0xc2 && lead <= 0xdf) {
        size = 2;
    } else if (lead >= 0xe0 && lead <= 0xef) {
        size = 3;
        low = lead == 0xe0 ? 0xa0 : low;   /* below: overlong */
        high = lead == 0xed ? 0x9f : high; /* above: surrogates [MQTT-1.5.4-1] */
    } else if (lead >= 0xf0 && lead <= 0xf4) {
        size = 4;
        low = lead == 0xf0 ? 0x90 : low;   /* below: overlong */
        high = lead == 0xf4 ? 0x8f : high; /* above: over U+10FFFF */
    } else {
        return 0;
    }
    if (left < size || pos[1] < low || pos[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < size; i++) {
        if ((pos[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return size;
}

static gv_mqtt_text_t scan_by_character(gv_bytes_t text)
{
    const uint8_t *bytes = text.data;
    size_t at = 0;
    bool wildcard = false;

    while (at < text.size) {
        uint8_t byte = bytes[at];
        if (byte >= 0x80) {
            size_t size = multibyte_size(bytes + at, text.size - at);
            if (size == 0) {
                return GV_MQTT_TEXT_BAD; /* [MQTT-1.5.4-1] */
            }
            at += size;
            continue;
        }
        if (byte == 0) {
            return GV_MQTT_TEXT_BAD; /* [MQTT-1.5.4-2] */
        }
        wildcard |= byte == '+' || byte == '#';
        at++;
    }
    return wildcard ? GV_MQTT_TEXT_WILDCARD : GV_MQTT_TEXT_PLAIN;
}

gv_mqtt_text_t gv_mqtt_text_scan(gv_bytes_t text)
{
    if (text.size < 8) {
        return scan_by_character(text);
    }
    uint64_t all = 0;
    uint64_t nuls = 0;
    uint64_t wildcards = 0;
    for (size_t at = 0; at < text.size; at += 8) {
        /* The last word may overlap the one before: looking twice is cheaper than byte by byte. */
        uint64_t word = load_word(text.data + (text.size - at >= 8 ? at : text.size - 8));
        all |= word;
        nuls |= nuls_in(word);
        wildcards |= wildcards_in(word);
    }
    if (has_high_bits(all)) {
        return scan_by_character(text);
    }
    if (has_high_bits(nuls)) {
        return GV_MQTT_TEXT_BAD; /* [MQTT-1.5.4-2] */
    }
    return has_high_bits(wildcards) ? GV_MQTT_TEXT_WILDCARD : GV_MQTT_TEXT_PLAIN;
}

bool gv_mqtt_payload_is_utf8(gv_bytes_t payload)
{
    const uint8_t *bytes = payload.data;
    size_t at = 0;
    while (at < payload.size) {
        if (payload.size - at >= 8 && !has_high_bits(load_word(bytes + at))) {
            at += 8;
        } else if (bytes[at] < 0x80) {
            at++;
        } else {
            size_t size = multibyte_size(bytes + at, payload.size - at);
            if (size == 0) {
                return false;
            }
            at += size;
        }
    }
    return true;
}
