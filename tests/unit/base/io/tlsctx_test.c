/* SPDX-License-Identifier: Apache-2.0 */
#include "base/io/tlsctx.h"

#include <string.h>

#include "tests/unit/base/io/tls_fixture.h"

static tls_files_t files;

static void expect_refused(gv_tlsctx_options_t options, const char *file)
{
    gv_tlsctx_t *ctx = NULL;
    gv_error_text_t error;
    ck_assert_int_eq(gv_tlsctx_new(&options, &ctx, &error), GV_ERR_INVAL);
    ck_assert_ptr_null(ctx);
    ck_assert_msg(strstr(error.text, file) != NULL, "%s", error.text);
    ck_assert_ptr_null(strchr(error.text, '\n'));
}

START_TEST(what_an_operator_can_get_wrong_is_said_with_the_file)
{
    gv_tlsctx_options_t good = {
        .role = GV_TLS_SERVER, .cert = files.server_cert, .key = files.server_key};
    gv_tlsctx_options_t bad = good;
    bad.cert = "/nowhere/cert.pem";
    expect_refused(bad, "'/nowhere/cert.pem': No such file or directory");
    bad.cert = files.server_key;
    expect_refused(bad, files.server_key);
    bad = good;
    bad.key = "/nowhere/key.pem";
    expect_refused(bad, "'/nowhere/key.pem': No such file or directory");
    bad.key = files.client_key; /* somebody else's */
    expect_refused(bad, files.client_key);
    bad.key = "";
    expect_refused(bad, "private key");
    bad = good;
    bad.verify_client = true;
    bad.ca = "/nowhere/ca.pem";
    expect_refused(bad, "/nowhere/ca.pem");
    bad.ca = files.server_key;
    expect_refused(bad, files.server_key);
}
END_TEST

START_TEST(a_key_with_a_pass_phrase_is_refused_and_nobody_is_asked)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/locked.key", files.folder);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(PEM_write_PrivateKey(file, key, EVP_aes_128_cbc(),
                                          (const unsigned char *)"secret", 6, NULL, NULL),
                     1);
    (void)fclose(file);
    EVP_PKEY_free(key);
    expect_refused(
        (gv_tlsctx_options_t){.role = GV_TLS_SERVER, .cert = files.server_cert, .key = path}, path);
    (void)unlink(path);
}
END_TEST

START_TEST(the_last_holder_frees_it)
{
    gv_tlsctx_options_t options = {
        .role = GV_TLS_SERVER, .cert = files.server_cert, .key = files.server_key};
    gv_tlsctx_t *ctx = NULL;
    gv_error_text_t error;
    ck_assert_int_eq(gv_tlsctx_new(&options, &ctx, &error), GV_OK);
    gv_tlsctx_t *other = gv_tlsctx_ref(ctx);
    gv_tlsctx_unref(&ctx);
    ck_assert_ptr_null(ctx);
    ck_assert_ptr_nonnull(other);
    gv_tlsctx_unref(&other); /* what is lost or freed twice, the sanitizer tells */
    gv_tlsctx_unref(&other);
}
END_TEST

static void make_files(void)
{
    tls_files_make(&files);
}

static void remove_files(void)
{
    tls_files_remove(&files);
}

int main(void)
{
    TCase *tc = tcase_create("tlsctx");
    tcase_add_unchecked_fixture(tc, make_files, remove_files);
    tcase_add_test(tc, what_an_operator_can_get_wrong_is_said_with_the_file);
    tcase_add_test(tc, a_key_with_a_pass_phrase_is_refused_and_nobody_is_asked);
    tcase_add_test(tc, the_last_holder_frees_it);
    Suite *suite = suite_create("base/io/tlsctx");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
