/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Packets as text, so that tests can show them:
 *
 *     10 [ <MQTT> 05 02 003c [ 21 000a ] <id> ]
 *
 *     00ff     bytes in hexadecimal
 *     'text'   the characters
 *     <text>   the characters behind their 16-bit length
 *     [ ... ]  what stands inside behind its length as a variable byte integer
 *
 * wire() gives an allocation of exactly the right size, so that AddressSanitizer sees every byte
 * that is read too far.  Free it with wire_free().
 */

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

#define WIRE_SIZE_MAX ((size_t)1 << 20)

typedef struct wire_parser {
    const char *pos;
    uint8_t *out;
    size_t size;
} wire_parser_t;

static inline void wire_put(wire_parser_t *p, uint8_t byte)
{
    if (p->size == WIRE_SIZE_MAX) {
        abort();
    }
    p->out[p->size++] = byte;
}

static inline uint8_t wire_digit(char c)
{
    const char *digits = "0123456789abcdef";
    const char *found = c != '\0' ? strchr(digits, c) : NULL;
    if (found == NULL) {
        abort();
    }
    return (uint8_t)(found - digits);
}

static inline void wire_chars(wire_parser_t *p, char end)
{
    while (*p->pos != end) {
        if (*p->pos == '\0') {
            abort();
        }
        wire_put(p, (uint8_t)*p->pos++);
    }
    p->pos++;
}

/* Puts `length` as a variable byte integer in front of the bytes that begin at `start`. */
static inline void wire_prefix_varint(wire_parser_t *p, size_t start)
{
    size_t length = p->size - start;
    uint8_t prefix[4];
    size_t count = 0;
    for (size_t left = length; left > 0 || count == 0; left /= 128) {
        prefix[count++] = (uint8_t)(left % 128 + (left >= 128 ? 128 : 0));
    }
    for (size_t i = 0; i < count; i++) {
        wire_put(p, 0);
    }
    memmove(p->out + start + count, p->out + start, length);
    memcpy(p->out + start, prefix, count);
}

static inline void wire_parse(wire_parser_t *p, char end)
{
    while (*p->pos != end) {
        char c = *p->pos++;
        size_t start = p->size;
        if (c == ' ') {
            continue;
        }
        if (c == '\'') {
            wire_chars(p, '\'');
        } else if (c == '<') {
            wire_put(p, 0);
            wire_put(p, 0);
            wire_chars(p, '>');
            size_t length = p->size - start - 2;
            p->out[start] = (uint8_t)(length >> 8);
            p->out[start + 1] = (uint8_t)length;
        } else if (c == '[') {
            wire_parse(p, ']');
            wire_prefix_varint(p, start);
        } else {
            uint8_t high = wire_digit(c);
            wire_put(p, (uint8_t)(high << 4 | wire_digit(*p->pos++)));
        }
    }
    p->pos += end != '\0' ? 1 : 0;
}

/* An exact copy on the heap; an empty one still has an address of its own. */
static inline gv_bytes_t wire_copy(gv_bytes_t bytes)
{
    uint8_t *copy = malloc(bytes.size > 0 ? bytes.size : 1);
    if (copy == NULL) {
        abort();
    }
    if (bytes.size > 0) {
        memcpy(copy, bytes.data, bytes.size);
    }
    return gv_bytes(copy, bytes.size);
}

static inline gv_bytes_t wire(const char *text)
{
    static uint8_t room[WIRE_SIZE_MAX];
    wire_parser_t parser = {.pos = text, .out = room};
    wire_parse(&parser, '\0');
    return wire_copy(gv_bytes(room, parser.size));
}

static inline void wire_free(gv_bytes_t bytes)
{
    free((void *)(uintptr_t)bytes.data);
}
