/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/link/hmac.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* RFC 4231, test cases 2 and 6 (a key longer than a block). */
START_TEST(the_published_vectors_come_out)
{
    static const uint8_t expected_2[GV_HANDSHAKE_MAC_BYTES] = {
        0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e, 0x6a, 0x04, 0x24,
        0x26, 0x08, 0x95, 0x75, 0xc7, 0x5a, 0x00, 0x3f, 0x08, 0x9d, 0x27,
        0x39, 0x83, 0x9d, 0xec, 0x58, 0xb9, 0x64, 0xec, 0x38, 0x43};
    static const uint8_t expected_6[GV_HANDSHAKE_MAC_BYTES] = {
        0x60, 0xe4, 0x31, 0x59, 0x1e, 0xe0, 0xb6, 0x7f, 0x0d, 0x8a, 0x26,
        0xaa, 0xcb, 0xf5, 0xb7, 0x7f, 0x8e, 0x0b, 0xc6, 0x21, 0x37, 0x28,
        0xc5, 0x14, 0x05, 0x46, 0x04, 0x0f, 0x0e, 0xe3, 0x7f, 0x54};
    gv_hmac_t hmac = gv_hmac_openssl();
    uint8_t mac[GV_HANDSHAKE_MAC_BYTES];

    /* In pieces: the concatenation is what counts. */
    const gv_bytes_t parts[] = {GV_BYTES_LITERAL("what do ya want "), GV_BYTES_LITERAL(""),
                                GV_BYTES_LITERAL("for nothing?")};
    ck_assert_int_eq(hmac.sha256(hmac.arg, GV_BYTES_LITERAL("Jefe"), parts, 3, mac), GV_OK);
    ck_assert_mem_eq(mac, expected_2, sizeof(mac));

    uint8_t long_key[131];
    memset(long_key, 0xaa, sizeof(long_key));
    const gv_bytes_t whole =
        GV_BYTES_LITERAL("Test Using Larger Than Block-Size Key - Hash Key First");
    ck_assert_int_eq(hmac.sha256(hmac.arg, gv_bytes(long_key, sizeof(long_key)), &whole, 1, mac),
                     GV_OK);
    ck_assert_mem_eq(mac, expected_6, sizeof(mac));
}
END_TEST

START_TEST(another_key_gives_another_mac)
{
    gv_hmac_t hmac = gv_hmac_openssl();
    const gv_bytes_t part = GV_BYTES_LITERAL("grape");
    uint8_t a[GV_HANDSHAKE_MAC_BYTES];
    uint8_t b[GV_HANDSHAKE_MAC_BYTES];
    ck_assert_int_eq(hmac.sha256(hmac.arg, GV_BYTES_LITERAL("a"), &part, 1, a), GV_OK);
    ck_assert_int_eq(hmac.sha256(hmac.arg, GV_BYTES_LITERAL("b"), &part, 1, b), GV_OK);
    ck_assert_mem_ne(a, b, sizeof(a));
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("hmac");
    tcase_add_test(tc, the_published_vectors_come_out);
    tcase_add_test(tc, another_key_gives_another_mac);

    Suite *suite = suite_create("cluster/link");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
