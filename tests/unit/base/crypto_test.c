/* SPDX-License-Identifier: Apache-2.0 */
#include "base/crypto.h"

#include <stdlib.h>

#include <check.h>

/* FIPS 180-2, example B.1 and of nothing. */
START_TEST(sha256_has_the_published_values)
{
    static const uint8_t abc[GV_SHA256_SIZE] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea,
                                                0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
                                                0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c,
                                                0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
    static const uint8_t start_of_nothing[] = {0xe3, 0xb0, 0xc4, 0x42};
    uint8_t out[GV_SHA256_SIZE];
    gv_sha256(GV_BYTES_LITERAL("abc"), out);
    ck_assert_mem_eq(out, abc, sizeof(out));
    gv_sha256(GV_BYTES_EMPTY, out);
    ck_assert_mem_eq(out, start_of_nothing, sizeof(start_of_nothing));
}
END_TEST

/* RFC 4231, test case 2. */
START_TEST(hmac_is_of_the_parts_together)
{
    static const uint8_t expected[GV_SHA256_SIZE] = {
        0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e, 0x6a, 0x04, 0x24,
        0x26, 0x08, 0x95, 0x75, 0xc7, 0x5a, 0x00, 0x3f, 0x08, 0x9d, 0x27,
        0x39, 0x83, 0x9d, 0xec, 0x58, 0xb9, 0x64, 0xec, 0x38, 0x43};
    const gv_bytes_t parts[] = {GV_BYTES_LITERAL("what do ya want "), GV_BYTES_EMPTY,
                                GV_BYTES_LITERAL("for nothing?")};
    uint8_t out[GV_SHA256_SIZE];
    gv_hmac_sha256(GV_BYTES_LITERAL("Jefe"), parts, 3, out);
    ck_assert_mem_eq(out, expected, sizeof(out));
    /* An empty key is a key. */
    uint8_t other[GV_SHA256_SIZE];
    gv_hmac_sha256(GV_BYTES_EMPTY, parts, 3, other);
    ck_assert_mem_ne(out, other, sizeof(out));
    gv_hmac_sha256(gv_bytes("", 0), parts, 3, out);
    ck_assert_mem_eq(out, other, sizeof(out));
}
END_TEST

/* RFC 7914, section 11, first 32 bytes. */
START_TEST(pbkdf2_has_the_published_values)
{
    static const uint8_t one[] = {0x55, 0xac, 0x04, 0x6e, 0x56, 0xe3, 0x08, 0x9f};
    static const uint8_t many[] = {0x4d, 0xdc, 0xd8, 0xf6, 0x0b, 0x98, 0xbe, 0x21};
    uint8_t out[GV_SHA256_SIZE];
    gv_pbkdf2_sha256(GV_BYTES_LITERAL("passwd"), GV_BYTES_LITERAL("salt"), 1, out);
    ck_assert_mem_eq(out, one, sizeof(one));
    gv_pbkdf2_sha256(GV_BYTES_LITERAL("Password"), GV_BYTES_LITERAL("NaCl"), 80000, out);
    ck_assert_mem_eq(out, many, sizeof(many));
}
END_TEST

START_TEST(secrets_are_compared_and_wiped)
{
    uint8_t a[] = {1, 2, 3};
    uint8_t b[] = {1, 2, 3};
    ck_assert(gv_secret_equal(a, b, sizeof(a)));
    b[2] ^= 0x80;
    ck_assert(!gv_secret_equal(a, b, sizeof(a)));
    gv_secret_wipe(a, sizeof(a));
    ck_assert_mem_eq(a, ((uint8_t[]){0, 0, 0}), sizeof(a));
}
END_TEST

/* ---- base64 -------------------------------------------------------------------------------- */

START_TEST(base64_has_the_published_values)
{
    /* RFC 4648, section 10; and the digits that are no letters. */
    static const char *const pairs[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"},
                                           {"\xfb\xff\xbf", "+/+/"}};
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        gv_bytes_t plain = gv_bytes_text(pairs[i][0]);
        gv_bytes_t text = gv_bytes_text(pairs[i][1]);
        uint8_t out[16];
        gv_writer_t w = gv_writer(out, text.size);
        gv_base64_write(&w, plain);
        ck_assert(!w.failed);
        ck_assert_uint_eq(GV_BASE64_SIZE(plain.size), text.size);
        ck_assert_mem_eq(out, text.data, text.size);
        size_t size = 99;
        ck_assert_int_eq(gv_base64_read(text, out, plain.size, &size), GV_OK);
        ck_assert_uint_eq(size, plain.size);
        ck_assert_mem_eq(out, plain.data, plain.size);
    }
}
END_TEST

START_TEST(base64_has_one_spelling)
{
    static const char *const bad[] = {
        "Zg",    "Zg=",    "Z===", "====",     "Zh==", "Zm9=", "Zm8",  "Zm9v ",
        " Zm9v", "Zm\n9v", "Zm-v", "Zg==Zg==", "=Zm9", "Z=9v", "Zm9vZ"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint8_t out[16];
        size_t size = 99;
        ck_assert_msg(gv_base64_read(gv_bytes_text(bad[i]), out, sizeof(out), &size) ==
                          GV_ERR_INVAL,
                      "'%s' was taken", bad[i]);
        ck_assert_uint_eq(size, 0);
    }
    uint8_t out[3];
    size_t size = 99;
    ck_assert_int_eq(gv_base64_read(gv_bytes("Zm9\0", 4), out, sizeof(out), &size), GV_ERR_INVAL);
}
END_TEST

START_TEST(base64_stays_in_its_room)
{
    uint8_t out[8] = {0};
    size_t size = 99;
    ck_assert_int_eq(gv_base64_read(GV_BYTES_LITERAL("Zm9v"), out, 2, &size), GV_ERR_INVAL);
    gv_writer_t w = gv_writer(out, 7);
    gv_base64_write(&w, GV_BYTES_LITERAL("foob"));
    ck_assert(w.failed);
    ck_assert_mem_eq(out, ((uint8_t[8]){0}), 2);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("crypto");
    tcase_add_test(tc, sha256_has_the_published_values);
    tcase_add_test(tc, hmac_is_of_the_parts_together);
    tcase_add_test(tc, pbkdf2_has_the_published_values);
    tcase_add_test(tc, secrets_are_compared_and_wiped);
    tcase_add_test(tc, base64_has_the_published_values);
    tcase_add_test(tc, base64_has_one_spelling);
    tcase_add_test(tc, base64_stays_in_its_room);

    Suite *suite = suite_create("base/crypto");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
