/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/scram/scram.h"

#include <stdio.h>
#include <stdlib.h>

#include <check.h>

/* The example of RFC 7677. */
#define FIRST "n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
#define CHALLENGE \
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
#define FINAL                                                      \
    "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0," \
    "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
#define SUCCESS "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="

static bool is(gv_bytes_t bytes, const char *text)
{
    return gv_bytes_equal(bytes, gv_bytes_text(text));
}

START_TEST(the_published_messages_are_read)
{
    gv_scram_first_t first;
    ck_assert_int_eq(gv_scram_first_read(GV_BYTES_LITERAL(FIRST), &first), GV_OK);
    ck_assert(is(first.header, "n,,"));
    ck_assert(is(first.bare, "n=user,r=rOprNGfwEbeRWgbNEkqO"));
    ck_assert(is(first.user, "user"));
    ck_assert(is(first.nonce, "rOprNGfwEbeRWgbNEkqO"));

    gv_scram_final_t final;
    ck_assert_int_eq(gv_scram_final_read(GV_BYTES_LITERAL(FINAL), &final), GV_OK);
    ck_assert(
        is(final.without_proof, "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"));
    ck_assert(is(final.binding, "biws"));
    ck_assert(is(final.nonce, "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"));
    ck_assert_uint_eq(final.proof[0], 0x74);
    ck_assert_uint_eq(final.proof[31], 0x54);
}
END_TEST

START_TEST(the_published_messages_are_written)
{
    uint8_t salt[16];
    size_t size;
    ck_assert_int_eq(
        gv_base64_read(GV_BYTES_LITERAL("W22ZaJ0SNY7soEsUEjb6gQ=="), salt, sizeof(salt), &size),
        GV_OK);
    char text[200];
    gv_writer_t w = gv_writer(text, sizeof(text));
    gv_scram_challenge_write(&w, GV_BYTES_LITERAL("rOprNGfwEbeRWgbNEkqO"),
                             GV_BYTES_LITERAL("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"),
                             gv_bytes(salt, size), 4096);
    ck_assert(is(gv_bytes(text, sizeof(text) - gv_writer_left(&w)), CHALLENGE));

    uint8_t signature[GV_SHA256_SIZE];
    ck_assert_int_eq(
        gv_base64_read(GV_BYTES_LITERAL("6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), signature,
                       sizeof(signature), &size),
        GV_OK);
    w = gv_writer(text, GV_SCRAM_SUCCESS_SIZE);
    gv_scram_success_write(&w, signature);
    ck_assert(!w.failed);
    ck_assert(is(gv_bytes(text, GV_SCRAM_SUCCESS_SIZE), SUCCESS));
}
END_TEST

static gv_err_t read_first(const char *message)
{
    gv_scram_first_t first;
    return gv_scram_first_read(gv_bytes_text(message), &first);
}

START_TEST(first_messages_that_are_none_are_refused)
{
    static const char *const bad[] = {"",
                                      "n",
                                      "n,",
                                      "n,,",
                                      "n,,,",
                                      "n,,n=a",
                                      "n,,n=a,",
                                      "n,,r=b",
                                      "n,,r=b,n=a",
                                      "n,,n=a,r=",
                                      "n,,n=a,r=b,",
                                      "n,,n=a,r=b,,x=y",
                                      "n,,n=a,r=b,x=",
                                      "n,,n=a,r=b,1=2",
                                      "n,,n=a,r=b c",
                                      "n,,n=a,r=b\x7f",
                                      "x,,n=a,r=b",
                                      "nn,,n=a,r=b",
                                      "n,x=1,n=a,r=b",
                                      "n,b,n=a,r=b",
                                      "N,,n=a,r=b",
                                      "p,,n=a,r=b",
                                      "p=,,n=a",
                                      ",,n=a,r=b",
                                      "n=a,r=b"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_msg(read_first(bad[i]) != GV_OK, "'%s' was taken", bad[i]);
    }
}
END_TEST

START_TEST(what_we_do_not_do_is_told_from_nonsense)
{
    ck_assert_int_eq(read_first("p=tls-exporter,,n=a,r=b"), GV_ERR_PROTOCOL);
    ck_assert_int_eq(read_first("n,a=boss,n=a,r=b"), GV_ERR_PROTOCOL);
    ck_assert_int_eq(read_first("n,,m=must,n=a,r=b"), GV_ERR_PROTOCOL);
    ck_assert_int_eq(read_first("n,,n=a,r=b,x=may"), GV_OK);
    ck_assert_int_eq(read_first("y,,n=a,r=!~"), GV_OK);
}
END_TEST

START_TEST(messages_have_a_largest_size)
{
    char message[GV_SCRAM_MESSAGE_SIZE_MAX + 2];
    memset(message, 'x', sizeof(message));
    memcpy(message, "n,,n=a,r=", 9);
    gv_scram_first_t first;
    ck_assert_int_eq(gv_scram_first_read(gv_bytes(message, GV_SCRAM_MESSAGE_SIZE_MAX), &first),
                     GV_OK);
    ck_assert_int_eq(gv_scram_first_read(gv_bytes(message, GV_SCRAM_MESSAGE_SIZE_MAX + 1), &first),
                     GV_ERR_MALFORMED);
}
END_TEST

static const char *user(const char *escaped)
{
    static char out[GV_SCRAM_USER_SIZE_MAX + 1];
    size_t size = 99;
    gv_err_t err = gv_scram_user_read(gv_bytes_text(escaped), (uint8_t *)out, &size);
    out[size] = '\0';
    ck_assert_int_eq(err == GV_OK, size > 0);
    return err == GV_OK ? out : "refused";
}

START_TEST(user_names_are_unescaped)
{
    ck_assert_str_eq(user("alice"), "alice");
    ck_assert_str_eq(user("a=2Cb=3Dc"), "a,b=c");
    ck_assert_str_eq(user("=3D2C"), "=2C");
    ck_assert_str_eq(user("j\xc3\xbcrgen"), "j\xc3\xbcrgen");
    static const char *const bad[] = {"", "a=", "a=2", "a=2c", "a=20b", "=", "\xff", "\xc3"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_str_eq(user(bad[i]), "refused");
    }
    char text[GV_SCRAM_USER_SIZE_MAX + 2];
    memset(text, 'u', sizeof(text));
    text[GV_SCRAM_USER_SIZE_MAX] = '\0';
    ck_assert_str_eq(user(text), text);
    text[GV_SCRAM_USER_SIZE_MAX] = 'u';
    text[GV_SCRAM_USER_SIZE_MAX + 1] = '\0';
    ck_assert_str_eq(user(text), "refused");
}
END_TEST

START_TEST(final_messages_that_are_none_are_refused)
{
#define PROOF "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    static const struct {
        const char *message;
        bool is_good;
    } cases[] = {
        {"c=biws,r=a,p=" PROOF, true},
        {"c=biws,r=a,x=y,z=w,p=" PROOF, true},
        {"", false},
        {"c=biws", false},
        {"c=biws,r=a", false},
        {"c=biws,r=a,", false},
        {"c=biws,r=a,p=", false},
        {"c=biws,r=,p=" PROOF, false},
        {"r=a,c=biws,p=" PROOF, false},
        {"c=biws,p=" PROOF ",r=a", false},
        {"c=biws,r=a,p=" PROOF ",", false},
        {"c=biws,r=a,p=" PROOF ",x=y", false},
        {"c=biws,r=a,p=" PROOF ",p=" PROOF, false},
        {"c=biws,r=a,,p=" PROOF, false},
        {"c=biws,r=a,x,p=" PROOF, false},
        {"c=biws,r=a,p=AAAA", false},
        {"c=biws,r=a,p=AAAA" PROOF, false},
        {"c=biws,r=a,p=*HzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        gv_scram_final_t final;
        gv_err_t err = gv_scram_final_read(gv_bytes_text(cases[i].message), &final);
        ck_assert_msg((err == GV_OK) == cases[i].is_good, "'%s'", cases[i].message);
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("scram");
    tcase_add_test(tc, the_published_messages_are_read);
    tcase_add_test(tc, the_published_messages_are_written);
    tcase_add_test(tc, first_messages_that_are_none_are_refused);
    tcase_add_test(tc, what_we_do_not_do_is_told_from_nonsense);
    tcase_add_test(tc, messages_have_a_largest_size);
    tcase_add_test(tc, user_names_are_unescaped);
    tcase_add_test(tc, final_messages_that_are_none_are_refused);

    Suite *suite = suite_create("proto/scram");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
