/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/proxy/proxy.h"

#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "base/alloc.h"
#include "base/rng.h"

#define CLIENT_BYTES "client's bytes"

/* Headers as the specification gives them, each followed by bytes of the client. */
typedef struct golden {
    gv_bytes_t header;
    gv_proxy_family_t family;
    uint16_t port;
    gv_bytes_t address;
    const char *path;
} golden_t;

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define IPV6_A    "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
#define IPV6_B    "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02"
#define NUL_16    "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
#define NUL_96    NUL_16 NUL_16 NUL_16 NUL_16 NUL_16 NUL_16
#define TLV        \
    "\xe0\x00\x03" \
    "abc"          \
    "\xe1\x00\x00"

/* A gv_bytes_t as an initializer of static data. */
#define BYTES(text)                                               \
    {                                                             \
        .data = (const uint8_t *)(text), .size = sizeof(text) - 1 \
    }

static const golden_t goldens[] = {
    {.header = BYTES("PROXY TCP4 192.0.2.7 198.51.100.1 56324 1883\r\n"),
     .family = GV_PROXY_IPV4,
     .port = 56324,
     .address = BYTES("\xc0\x00\x02\x07")},
    {.header = BYTES("PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n"),
     .family = GV_PROXY_IPV4,
     .port = 65535,
     .address = BYTES("\xff\xff\xff\xff")},
    {.header = BYTES("PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n"),
     .family = GV_PROXY_IPV6,
     .port = 1,
     .address = BYTES(IPV6_A)},
    {.header = BYTES("PROXY UNKNOWN\r\n"), .family = GV_PROXY_OWN},
    {.header =
         BYTES("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
               "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"), /* the longest line */
     .family = GV_PROXY_OWN},
    {.header = BYTES(SIGNATURE "\x21\x11\x00\x0c"
                               "\xc0\x00\x02\x07\xc6\x33\x64\x01\xdc\x04\x07\x5b"),
     .family = GV_PROXY_IPV4,
     .port = 56324,
     .address = BYTES("\xc0\x00\x02\x07")},
    {.header = BYTES(SIGNATURE "\x21\x11\x00\x15"
                               "\xc0\x00\x02\x07\xc6\x33\x64\x01\xdc\x04\x07\x5b" TLV),
     .family = GV_PROXY_IPV4,
     .port = 56324,
     .address = BYTES("\xc0\x00\x02\x07")},
    {.header = BYTES(SIGNATURE "\x21\x21\x00\x24" IPV6_A IPV6_B "\x00\x01\x00\x02"),
     .family = GV_PROXY_IPV6,
     .port = 1,
     .address = BYTES(IPV6_A)},
    {.header = BYTES(SIGNATURE "\x21\x31\x00\xd8"
                               "/run/client" /* 11 + 5 + 96 - 4 = 108 */
                               "\0\0\0\0\0" NUL_16 NUL_16 NUL_16 NUL_16 NUL_16
                               "\0\0\0\0\0\0\0\0\0\0\0\0" NUL_96 "\0\0\0\0\0\0\0\0\0\0\0\0"),
     .family = GV_PROXY_UNIX,
     .path = "/run/client"},
    /* A health check of the balancer: whatever follows is to be skipped, sense or not. */
    {.header = BYTES(SIGNATURE "\x20\x00\x00\x00"), .family = GV_PROXY_OWN},
    {.header = BYTES(SIGNATURE "\x20\xff\x00\x03"
                               "xyz"),
     .family = GV_PROXY_OWN},
    /* The balancer does not know. */
    {.header = BYTES(SIGNATURE "\x21\x00\x00\x00"), .family = GV_PROXY_OWN},
};

enum {
    GOLDENS = sizeof(goldens) / sizeof(goldens[0])
};

/* In an allocation of its own, so that the sanitizer sees a read too far. */
static gv_err_t decode_copy(gv_bytes_t bytes, gv_proxy_header_t *out)
{
    uint8_t *copy = gv_xalloc(bytes.size);
    if (bytes.size > 0) {
        memcpy(copy, bytes.data, bytes.size);
    }
    gv_err_t err = gv_proxy_decode(gv_bytes(copy, bytes.size), out);
    gv_free(copy);
    return err;
}

static gv_err_t decode_text(const char *text)
{
    gv_proxy_header_t header;
    return decode_copy(gv_bytes_text(text), &header);
}

START_TEST(headers_of_the_specification_are_understood)
{
    const golden_t *golden = &goldens[_i];
    uint8_t input[512];
    memcpy(input, golden->header.data, golden->header.size);
    memcpy(input + golden->header.size, CLIENT_BYTES, strlen(CLIENT_BYTES));
    gv_proxy_header_t header;
    gv_bytes_t bytes = gv_bytes(input, golden->header.size + strlen(CLIENT_BYTES));
    ck_assert_int_eq(decode_copy(bytes, &header), GV_OK);
    ck_assert_uint_eq(header.size, golden->header.size);
    ck_assert_int_eq(header.family, golden->family);
    ck_assert_uint_eq(header.port, golden->port);
    ck_assert(gv_bytes_equal(gv_bytes(header.address, golden->address.size), golden->address));
    ck_assert_str_eq(header.path, golden->path != NULL ? golden->path : "");
}
END_TEST

START_TEST(a_header_cut_at_any_byte_waits_for_more)
{
    const golden_t *golden = &goldens[_i];
    for (size_t size = 0; size < golden->header.size; size++) {
        gv_proxy_header_t header;
        ck_assert_int_eq(decode_copy(gv_bytes(golden->header.data, size), &header), GV_ERR_AGAIN);
        ck_assert(header.size == 0 || header.size == golden->header.size);
    }
}
END_TEST

START_TEST(what_is_no_header_is_refused_at_the_first_wrong_byte)
{
    ck_assert_int_eq(decode_text("\x10"), GV_ERR_MALFORMED); /* an MQTT CONNECT */
    ck_assert_int_eq(decode_text("G"), GV_ERR_MALFORMED);
    ck_assert_int_eq(decode_text("PROXI"), GV_ERR_MALFORMED);
    ck_assert_int_eq(decode_text("\r\n\r\nx"), GV_ERR_MALFORMED);
    for (size_t i = 0; i < 12; i++) {
        uint8_t bytes[16];
        memcpy(bytes, SIGNATURE "\x20\x00\x00\x00", 16);
        bytes[i] ^= 0x20;
        gv_proxy_header_t header;
        ck_assert_int_eq(decode_copy(gv_bytes(bytes, i + 1), &header), GV_ERR_MALFORMED);
    }
}
END_TEST

static const char *const bad_lines[] = {
    "PROXY TCP4 192.0.2.7 198.51.100.1 56324 1883\n",
    "PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n",
    "PROXY TCP4 192.0.2.7 198.51.100.1 56324 1883 1\r\n",
    "PROXY TCP4 192.0.2.7 198.51.100.1 56324 1883 \r\n",
    "PROXY TCP4  192.0.2.7 198.51.100.1 56324 1883\r\n",
    "PROXY TCP4 192.0.2.7 198.51.100.1 65536 1883\r\n",
    "PROXY TCP4 192.0.2.7 198.51.100.1 056 1883\r\n",
    "PROXY TCP4 192.0.2.7 198.51.100.1 -1 1883\r\n",
    "PROXY TCP4 192.0.2.7 198.51.100.1 1x 1883\r\n",
    "PROXY TCP4 192.0.2.7 198.51.100.1 1 4294967297\r\n",
    "PROXY TCP4 192.0.2 198.51.100.1 1 2\r\n",
    "PROXY TCP4 192.0.2.256 198.51.100.1 1 2\r\n",
    "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
    "PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n",
    "PROXY TCP6 2001:db8::1 2001:db8:::2 1 2\r\n",
    "PROXY TCP5 192.0.2.7 198.51.100.1 1 2\r\n",
    "PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n",
    "PROXY tcp4 192.0.2.7 198.51.100.1 1 2\r\n",
    "PROXY UNKNOWNS\r\n",
    "PROXY \r\n",
    /* 108 bytes: one more than a line may have. */
    "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 655350\r\n",
    /* No end of line in sight. */
    "PROXY TCP4 192.0.2.7 198.51.100.1 56324 1883xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
};

START_TEST(wrong_lines_are_refused)
{
    ck_assert_int_eq(decode_text(bad_lines[_i]), GV_ERR_MALFORMED);
}
END_TEST

static gv_err_t decode_v2(const char *fixed, const char *rest, size_t rest_size)
{
    uint8_t bytes[512];
    memcpy(bytes, SIGNATURE, 12);
    memcpy(bytes + 12, fixed, 2);
    bytes[14] = (uint8_t)(rest_size >> 8);
    bytes[15] = (uint8_t)rest_size;
    memcpy(bytes + 16, rest, rest_size);
    gv_proxy_header_t header;
    return decode_copy(gv_bytes(bytes, 16 + rest_size), &header);
}

START_TEST(wrong_binary_headers_are_refused)
{
    static const char v4[] = "\xc0\x00\x02\x07\xc6\x33\x64\x01\xdc\x04\x07\x5b"
                             "\x05\x00\x04"
                             "abcd";
    ck_assert_int_eq(decode_v2("\x21\x11", v4, 19), GV_OK);
    ck_assert_int_eq(decode_v2("\x11\x11", v4, 12), GV_ERR_MALFORMED); /* version 1 */
    ck_assert_int_eq(decode_v2("\x31\x11", v4, 12), GV_ERR_MALFORMED);
    ck_assert_int_eq(decode_v2("\x22\x11", v4, 12), GV_ERR_MALFORMED); /* a third command */
    ck_assert_int_eq(decode_v2("\x21\x12", v4, 12), GV_ERR_MALFORMED); /* datagrams */
    ck_assert_int_eq(decode_v2("\x21\x41", v4, 12), GV_ERR_MALFORMED); /* unknown family */
    ck_assert_int_eq(decode_v2("\x21\x13", v4, 12), GV_ERR_MALFORMED);
    for (size_t size = 0; size < 12; size++) { /* no room for the addresses it announces */
        ck_assert_int_eq(decode_v2("\x21\x11", v4, size), GV_ERR_MALFORMED);
        ck_assert_int_eq(decode_v2("\x21\x21", v4, size), GV_ERR_MALFORMED);
        ck_assert_int_eq(decode_v2("\x21\x31", v4, size), GV_ERR_MALFORMED);
    }
    for (size_t size = 13; size < 19; size++) { /* a field longer than the header */
        ck_assert_int_eq(decode_v2("\x21\x11", v4, size), GV_ERR_MALFORMED);
    }
}
END_TEST

START_TEST(a_lying_length_costs_no_memory_and_no_patience)
{
    gv_proxy_header_t header;
    /* 16 + 4081 is one byte more than is accepted: known as soon as the length is. */
    ck_assert_int_eq(gv_proxy_decode(GV_BYTES_LITERAL(SIGNATURE "\x21\x11\x0f\xf1"), &header),
                     GV_ERR_TOO_LARGE);
    ck_assert_int_eq(gv_proxy_decode(GV_BYTES_LITERAL(SIGNATURE "\x21\x11\x0f\xf0"), &header),
                     GV_ERR_AGAIN);
    ck_assert_uint_eq(header.size, GV_PROXY_HEADER_MAX);
}
END_TEST

START_TEST(a_checksum_is_checked)
{
    uint8_t bytes[35];
    memcpy(bytes,
           SIGNATURE "\x21\x11\x00\x13"
                     "\xc0\x00\x02\x07\xc6\x33\x64\x01\xdc\x04\x07\x5b"
                     "\x03\x00\x04\0\0\0\0",
           sizeof(bytes));
    uint32_t crc = gv_crc32c(0, gv_bytes(bytes, sizeof(bytes)));
    gv_writer_t w = gv_writer(bytes + 31, 4);
    gv_writer_u32(&w, crc);
    gv_proxy_header_t header;
    ck_assert_int_eq(decode_copy(gv_bytes(bytes, sizeof(bytes)), &header), GV_OK);
    ck_assert_int_eq(header.family, GV_PROXY_IPV4);
    for (size_t i = 16; i < 28; i++) {
        bytes[i] ^= 1;
        ck_assert_int_eq(decode_copy(gv_bytes(bytes, sizeof(bytes)), &header), GV_ERR_MALFORMED);
        bytes[i] ^= 1;
    }
}
END_TEST

START_TEST(random_damage_never_reads_too_far)
{
    gv_rng_t rng;
    gv_rng_init(&rng, 20, 1);
    for (int round = 0; round < 20000; round++) {
        const golden_t *golden = &goldens[gv_rng_below(&rng, GOLDENS)];
        uint8_t bytes[512];
        size_t size = gv_rng_below(&rng, (uint32_t)golden->header.size) + 1;
        memcpy(bytes, golden->header.data, golden->header.size);
        bytes[gv_rng_below(&rng, (uint32_t)size)] = (uint8_t)gv_rng_below(&rng, 256);
        gv_proxy_header_t header;
        if (decode_copy(gv_bytes(bytes, size), &header) == GV_OK) {
            ck_assert_uint_le(header.size, size);
        }
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("proxy");
    tcase_add_loop_test(tc, headers_of_the_specification_are_understood, 0, GOLDENS);
    tcase_add_loop_test(tc, a_header_cut_at_any_byte_waits_for_more, 0, GOLDENS);
    tcase_add_test(tc, what_is_no_header_is_refused_at_the_first_wrong_byte);
    tcase_add_loop_test(tc, wrong_lines_are_refused, 0,
                        (int)(sizeof(bad_lines) / sizeof(bad_lines[0])));
    tcase_add_test(tc, wrong_binary_headers_are_refused);
    tcase_add_test(tc, a_lying_length_costs_no_memory_and_no_patience);
    tcase_add_test(tc, a_checksum_is_checked);
    tcase_add_test(tc, random_damage_never_reads_too_far);
    Suite *suite = suite_create("proto/proxy");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
