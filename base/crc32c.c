/* SPDX-License-Identifier: Apache-2.0 */
#include "base/crc32c_p.h"

/*
 * By table: eight bytes per step ("slicing by 8", Kounavis and Berry 2005).  tables[k][b] is the
 * remainder of byte b followed by k zero bytes.  The remainder is linear over exclusive or, so all
 * 256 entries of a table follow from the eight for single bits, and the compiler does that: no
 * start-up code, nothing to lock.
 */

/* clang-format off */
#define ENTRY(i, b0, b1, b2, b3, b4, b5, b6, b7)                                            \
    (((i) & 1U ? (b0) : 0U) ^ ((i) & 2U ? (b1) : 0U) ^ ((i) & 4U ? (b2) : 0U) ^             \
     ((i) & 8U ? (b3) : 0U) ^ ((i) & 16U ? (b4) : 0U) ^ ((i) & 32U ? (b5) : 0U) ^           \
     ((i) & 64U ? (b6) : 0U) ^ ((i) & 128U ? (b7) : 0U))
#define ENTRIES_4(i, ...)                                                                   \
    ENTRY((i), __VA_ARGS__), ENTRY((i) + 1U, __VA_ARGS__),                                  \
    ENTRY((i) + 2U, __VA_ARGS__), ENTRY((i) + 3U, __VA_ARGS__)
#define ENTRIES_16(i, ...)                                                                  \
    ENTRIES_4((i), __VA_ARGS__), ENTRIES_4((i) + 4U, __VA_ARGS__),                          \
    ENTRIES_4((i) + 8U, __VA_ARGS__), ENTRIES_4((i) + 12U, __VA_ARGS__)
#define ENTRIES_64(i, ...)                                                                  \
    ENTRIES_16((i), __VA_ARGS__), ENTRIES_16((i) + 16U, __VA_ARGS__),                       \
    ENTRIES_16((i) + 32U, __VA_ARGS__), ENTRIES_16((i) + 48U, __VA_ARGS__)
#define TABLE(...)                                                                          \
    ENTRIES_64(0U, __VA_ARGS__), ENTRIES_64(64U, __VA_ARGS__),                              \
    ENTRIES_64(128U, __VA_ARGS__), ENTRIES_64(192U, __VA_ARGS__)

/* The polynomial is 0x1edc6f41, read from the low bit: 0x82f63b78 (RFC 3720, appendix B.4). */
static const uint32_t tables[8][256] = {
    {TABLE(0xf26b8303U, 0xe13b70f7U, 0xc79a971fU, 0x8ad958cfU, 0x105ec76fU, 0x20bd8edeU, 0x417b1dbcU, 0x82f63b78U)},
    {TABLE(0x13a29877U, 0x274530eeU, 0x4e8a61dcU, 0x9d14c3b8U, 0x3fc5f181U, 0x7f8be302U, 0xff17c604U, 0xfbc3faf9U)},
    {TABLE(0xa541927eU, 0x4f6f520dU, 0x9edea41aU, 0x38513ec5U, 0x70a27d8aU, 0xe144fb14U, 0xc76580d9U, 0x8b277743U)},
    {TABLE(0xdd45aab8U, 0xbf672381U, 0x7b2231f3U, 0xf64463e6U, 0xe964b13dU, 0xd725148bU, 0xaba65fe7U, 0x52a0c93fU)},
    {TABLE(0x38116facU, 0x7022df58U, 0xe045beb0U, 0xc5670b91U, 0x8f2261d3U, 0x1ba8b557U, 0x37516aaeU, 0x6ea2d55cU)},
    {TABLE(0xef306b19U, 0xdb8ca0c3U, 0xb2f53777U, 0x6006181fU, 0xc00c303eU, 0x85f4168dU, 0x0e045bebU, 0x1c08b7d6U)},
    {TABLE(0x68032cc8U, 0xd0065990U, 0xa5e0c5d1U, 0x4e2dfd53U, 0x9c5bfaa6U, 0x3d5b83bdU, 0x7ab7077aU, 0xf56e0ef4U)},
    {TABLE(0x493c7d27U, 0x9278fa4eU, 0x211d826dU, 0x423b04daU, 0x847609b4U, 0x0d006599U, 0x1a00cb32U, 0x34019664U)},
};
/* clang-format on */

uint32_t gv__crc32c_by_table(uint32_t crc, gv_bytes_t bytes)
{
    const uint8_t *p = bytes.data;
    size_t left = bytes.size;
    crc = ~crc;
    for (; left >= 8; left -= 8, p += 8) {
        uint32_t low = crc ^ ((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
                              (uint32_t)p[3] << 24);
        crc = tables[7][low & 0xff] ^ tables[6][low >> 8 & 0xff] ^ tables[5][low >> 16 & 0xff] ^
              tables[4][low >> 24] ^ tables[3][p[4]] ^ tables[2][p[5]] ^ tables[1][p[6]] ^
              tables[0][p[7]];
    }
    for (; left > 0; left--, p++) {
        crc = crc >> 8 ^ tables[0][(crc ^ *p) & 0xff];
    }
    return ~crc;
}

#if defined(__x86_64__)

bool gv__crc32c_has_instruction(void)
{
    return __builtin_cpu_supports("sse4.2");
}

__attribute__((target("sse4.2"))) uint32_t gv__crc32c_by_instruction(uint32_t crc, gv_bytes_t bytes)
{
    const uint8_t *p = bytes.data;
    size_t left = bytes.size;
    uint64_t state = ~crc;
    for (; left >= 8; left -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, sizeof(word));
        state = __builtin_ia32_crc32di(state, word);
    }
    for (; left > 0; left--, p++) {
        state = __builtin_ia32_crc32qi((uint32_t)state, *p);
    }
    return ~(uint32_t)state;
}

#else

bool gv__crc32c_has_instruction(void)
{
    return false;
}

uint32_t gv__crc32c_by_instruction(uint32_t crc, gv_bytes_t bytes)
{
    return gv__crc32c_by_table(crc, bytes);
}

#endif
