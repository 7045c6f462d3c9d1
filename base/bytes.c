/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bytes.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/crc32c_p.h"

int gv_bytes_compare(gv_bytes_t a, gv_bytes_t b)
{
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common == 0 ? 0 : memcmp(a.data, b.data, common);
    if (order == 0) {
        return (a.size > b.size) - (a.size < b.size);
    }
    return order < 0 ? -1 : 1;
}

bool gv_bytes_has_prefix(gv_bytes_t bytes, gv_bytes_t prefix)
{
    return bytes.size >= prefix.size && gv_bytes_equal(gv_bytes(bytes.data, prefix.size), prefix);
}

uint64_t gv_bytes_hash(gv_bytes_t bytes, uint64_t seed)
{
    return XXH3_64bits_withSeed(bytes.data, bytes.size, seed);
}

uint32_t gv_crc32c(uint32_t crc, gv_bytes_t bytes)
{
    return gv__crc32c_has_instruction() ? gv__crc32c_by_instruction(crc, bytes)
                                        : gv__crc32c_by_table(crc, bytes);
}

/* How one byte looks in a log line: itself, or \xNN.  Returns the number of characters, 1 or 4. */
static size_t printable_byte(uint8_t byte, char out[4])
{
    static const char digits[16] = "0123456789abcdef";
    /* The quote would end the quoted text around us, and the backslash could fake an escape. */
    if (byte >= 0x20 && byte < 0x7f && byte != '\'' && byte != '\\') {
        out[0] = (char)byte;
        return 1;
    }
    out[0] = '\\';
    out[1] = 'x';
    out[2] = digits[byte >> 4];
    out[3] = digits[byte & 15];
    return 4;
}

const char *gv_bytes_printable(gv_bytes_t bytes, char *out, size_t out_size)
{
    static const char dots[] = "...";
    GV_ASSERT(out_size >= 8);

    size_t length = 0;
    size_t cut = 0; /* the longest text after which the dots still fit */
    for (size_t i = 0; i < bytes.size; i++) {
        char shown[4];
        size_t shown_length = printable_byte(bytes.data[i], shown);
        if (length + shown_length >= out_size) {
            memcpy(out + cut, dots, sizeof(dots));
            return out;
        }
        memcpy(out + length, shown, shown_length);
        length += shown_length;
        if (length + sizeof(dots) <= out_size) {
            cut = length;
        }
    }
    out[length] = '\0';
    return out;
}
