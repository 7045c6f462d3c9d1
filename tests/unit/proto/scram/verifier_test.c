/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/scram/verifier.h"

#include <stdio.h>
#include <stdlib.h>

#include <check.h>

/* The password "pencil" with the salt of RFC 7677's example. */
#define KEYS                                        \
    "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:" \
    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
#define PENCIL "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$" KEYS

static gv_scram_verifier_t pencil(void)
{
    gv_scram_verifier_t verifier;
    ck_assert_int_eq(gv_scram_verifier_read(GV_BYTES_LITERAL(PENCIL), &verifier), GV_OK);
    return verifier;
}

static const char *written(const gv_scram_verifier_t *verifier)
{
    static char text[GV_SCRAM_VERIFIER_TEXT_SIZE_MAX];
    gv_writer_t w = gv_writer(text, sizeof(text) - 1);
    gv_scram_verifier_write(&w, verifier);
    ck_assert(!w.failed);
    *w.pos = '\0';
    return text;
}

START_TEST(a_password_makes_the_published_keys)
{
    gv_scram_verifier_t read = pencil();
    gv_scram_verifier_t made;
    gv_scram_verifier_make(GV_BYTES_LITERAL("pencil"), gv_scram_salt(&read), 4096, &made);
    ck_assert_str_eq(written(&made), PENCIL);
    ck_assert_str_eq(written(&read), PENCIL);
    gv_scram_verifier_make(GV_BYTES_LITERAL("pencils"), gv_scram_salt(&read), 4096, &made);
    ck_assert_str_ne(written(&made), PENCIL);
}
END_TEST

START_TEST(the_largest_verifier_can_be_written)
{
    uint8_t salt[GV_SCRAM_SALT_SIZE_MAX] = {0xff};
    gv_scram_verifier_t made;
    gv_scram_verifier_make(GV_BYTES_EMPTY, gv_bytes(salt, sizeof(salt)), 4096, &made);
    made.iterations = GV_SCRAM_ITERATIONS_MAX;
    gv_scram_verifier_t read;
    ck_assert_int_eq(gv_scram_verifier_read(gv_bytes_text(written(&made)), &read), GV_OK);
    ck_assert_uint_eq(read.iterations, GV_SCRAM_ITERATIONS_MAX);
    ck_assert_uint_eq(read.salt_size, sizeof(salt));
    ck_assert_mem_eq(read.salt, salt, sizeof(salt));
}
END_TEST

START_TEST(texts_that_are_no_verifier_are_refused)
{
    static const char *const bad[] = {
        "",
        "pencil",
        "SCRAM-SHA-1$4096:W22ZaJ0SNY7soEsUEjb6gQ==$" KEYS,
        "scram-sha-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$" KEYS,
        "SCRAM-SHA-256$4095:W22ZaJ0SNY7soEsUEjb6gQ==$" KEYS,
        "SCRAM-SHA-256$10000001:W22ZaJ0SNY7soEsUEjb6gQ==$" KEYS,
        "SCRAM-SHA-256$99999999999999999999:W22ZaJ0SNY7soEsUEjb6gQ==$" KEYS,
        "SCRAM-SHA-256$-4096:W22ZaJ0SNY7soEsUEjb6gQ==$" KEYS,
        "SCRAM-SHA-256$0x1000:W22ZaJ0SNY7soEsUEjb6gQ==$" KEYS,
        "SCRAM-SHA-256$:W22ZaJ0SNY7soEsUEjb6gQ==$" KEYS,
        "SCRAM-SHA-256$4096:$" KEYS,
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ=$" KEYS,
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==" KEYS,
        "SCRAM-SHA-256$4096$" KEYS,
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=",
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$AAAA:AAAA",
        PENCIL "x",
        PENCIL "\n",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        gv_scram_verifier_t verifier;
        ck_assert_msg(gv_scram_verifier_read(gv_bytes_text(bad[i]), &verifier) == GV_ERR_INVAL,
                      "'%s' was taken", bad[i]);
    }
    /* 65 bytes of salt. */
    char text[300];
    (void)snprintf(
        text, sizeof(text), "SCRAM-SHA-256$4096:%.84s%s$%s",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "AAA=", KEYS);
    gv_scram_verifier_t verifier;
    ck_assert_int_eq(gv_scram_verifier_read(gv_bytes_text(text), &verifier), GV_ERR_INVAL);
}
END_TEST

/* The exchange of RFC 7677. */
static gv_scram_exchange_text_t published(void)
{
    return (gv_scram_exchange_text_t){
        .parts = {
            GV_BYTES_LITERAL("n=user,r=rOprNGfwEbeRWgbNEkqO"),
            GV_BYTES_LITERAL(","),
            GV_BYTES_LITERAL("r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
                             "s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"),
            GV_BYTES_LITERAL(","),
            GV_BYTES_LITERAL("c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"),
        }};
}

static void from_base64(const char *text, uint8_t out[GV_SHA256_SIZE])
{
    size_t size;
    ck_assert_int_eq(gv_base64_read(gv_bytes_text(text), out, GV_SHA256_SIZE, &size), GV_OK);
    ck_assert_uint_eq(size, GV_SHA256_SIZE);
}

START_TEST(the_published_proof_holds_and_no_other)
{
    gv_scram_verifier_t verifier = pencil();
    gv_scram_exchange_text_t text = published();
    uint8_t proof[GV_SHA256_SIZE];
    from_base64("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", proof);
    ck_assert(gv_scram_proof_holds(&verifier, &text, proof));
    for (size_t bit = 0; bit < sizeof(proof) * 8; bit++) {
        proof[bit / 8] ^= (uint8_t)(1 << bit % 8);
        ck_assert(!gv_scram_proof_holds(&verifier, &text, proof));
        proof[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    /* The same proof for another exchange, or another verifier. */
    text.parts[2].size--;
    ck_assert(!gv_scram_proof_holds(&verifier, &text, proof));
    text.parts[2].size++;
    verifier.stored_key[0] ^= 1;
    ck_assert(!gv_scram_proof_holds(&verifier, &text, proof));
}
END_TEST

START_TEST(the_server_signs_as_published)
{
    gv_scram_verifier_t verifier = pencil();
    gv_scram_exchange_text_t text = published();
    uint8_t expected[GV_SHA256_SIZE];
    uint8_t signature[GV_SHA256_SIZE];
    from_base64("6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", expected);
    gv_scram_sign(&verifier, &text, signature);
    ck_assert_mem_eq(signature, expected, sizeof(signature));
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("verifier");
    tcase_add_test(tc, a_password_makes_the_published_keys);
    tcase_add_test(tc, the_largest_verifier_can_be_written);
    tcase_add_test(tc, texts_that_are_no_verifier_are_refused);
    tcase_add_test(tc, the_published_proof_holds_and_no_other);
    tcase_add_test(tc, the_server_signs_as_published);

    Suite *suite = suite_create("proto/scram");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
