/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/admin/url.h"

#include <stdlib.h>
#include <string.h>

#include <check.h>

/* The value, "" for a match without one, or NULL. */
static const char *matched(const char *pattern, const char *path)
{
    static char value[100];
    gv_bytes_t bytes;
    if (!gv_url_match(pattern, path, &bytes)) {
        ck_assert_uint_eq(bytes.size, 0);
        return NULL;
    }
    ck_assert_uint_lt(bytes.size, sizeof(value));
    if (bytes.size > 0) {
        memcpy(value, bytes.data, bytes.size);
    }
    value[bytes.size] = '\0';
    return value;
}

START_TEST(a_pattern_takes_one_level_and_no_less)
{
    ck_assert_str_eq(matched("/v1/clients", "/v1/clients"), "");
    ck_assert_ptr_null(matched("/v1/clients", "/v1/clients/"));
    ck_assert_str_eq(matched("/v1/clients/{id}", "/v1/clients/a"), "a");
    ck_assert_str_eq(matched("/v1/clients/{id}", "/v1/clients/a%2Fb"), "a%2Fb");
    ck_assert_ptr_null(matched("/v1/clients/{id}", "/v1/clients/"));
    ck_assert_ptr_null(matched("/v1/clients/{id}", "/v1/clients"));
    ck_assert_ptr_null(matched("/v1/clients/{id}", "/v1/clients/a/b"));
    ck_assert_ptr_null(matched("/v1/clients/{id}", "/v2/clients/a"));
    ck_assert_str_eq(matched("/c/{id}/subscriptions", "/c/x/subscriptions"), "x");
    ck_assert_ptr_null(matched("/c/{id}/subscriptions", "/c//subscriptions"));
    ck_assert_ptr_null(matched("/c/{id}/subscriptions", "/c/subscriptions"));
    ck_assert_ptr_null(matched("/c/{id}/subscriptions", "/c/x/y/subscriptions"));
    ck_assert_ptr_null(matched("/c/{id}/subscriptions", "/c/x/subscription"));
}
END_TEST

START_TEST(the_rest_of_a_path_may_have_slashes)
{
    ck_assert_str_eq(matched("/r/{topic...}", "/r/a"), "a");
    ck_assert_str_eq(matched("/r/{topic...}", "/r/a/b/"), "a/b/");
    ck_assert_str_eq(matched("/r/{topic...}", "/r//a"), "/a");
    ck_assert_str_eq(matched("/r/{topic...}", "/r//"), "/");
    ck_assert_ptr_null(matched("/r/{topic...}", "/r/"));
}
END_TEST

static const char *decoded(const char *text)
{
    static char out[100];
    return gv_url_decode(gv_bytes_text(text), out) ? out : NULL;
}

START_TEST(escapes_are_decoded_and_bad_ones_refused)
{
    ck_assert_str_eq(decoded(""), "");
    ck_assert_str_eq(decoded("a+b c"), "a+b c"); /* a plus is a plus in a path */
    ck_assert_str_eq(decoded("%61%2fb%2F%e2%82%AC%25"), "a/b/\xe2\x82\xac%");
    ck_assert_str_eq(decoded("%01%10"), "\x01\x10");
    static const char *const bad[] = {"%", "a%", "%6", "a%4", "%zz", "%6g", "%g6", "%00", "a%00b"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_ptr_null(decoded(bad[i]));
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("url");
    tcase_add_test(tc, a_pattern_takes_one_level_and_no_less);
    tcase_add_test(tc, the_rest_of_a_path_may_have_slashes);
    tcase_add_test(tc, escapes_are_decoded_and_bad_ones_refused);
    Suite *suite = suite_create("broker/admin");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
