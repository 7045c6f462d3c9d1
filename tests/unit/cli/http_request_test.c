/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/http_request.h"

#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "base/alloc.h"
#include "base/rng.h"

/* The fetching itself is tested by tests/cli/cli_test.py. */

static gv_err_t parse(const char *text, gv_http_answer_t *answer)
{
    memset(answer, 0, sizeof(*answer));
    return gv_http_answer_parse(gv_bytes_text(text), answer);
}

START_TEST(status_and_body_are_found)
{
    gv_http_answer_t answer;
    ck_assert_int_eq(parse("HTTP/1.1 200 OK\r\nX: y\r\ncontent-LENGTH:  3\r\n\r\nabcdef", &answer),
                     GV_OK);
    ck_assert_uint_eq(answer.status, 200);
    ck_assert_str_eq(gv_text_get(&answer.body), "abc");
    gv_http_answer_deinit(&answer);
    ck_assert_int_eq(parse("HTTP/1.0 503 \r\n\r\nuntil the end", &answer), GV_OK);
    ck_assert_uint_eq(answer.status, 503);
    ck_assert_str_eq(gv_text_get(&answer.body), "until the end");
    gv_http_answer_deinit(&answer);
    ck_assert_int_eq(parse("HTTP/1.1 204\r\n\r\n", &answer), GV_OK);
    gv_http_answer_deinit(&answer);
}
END_TEST

START_TEST(what_is_no_answer_is_refused)
{
    static const char *const bad[] = {
        "",
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nX: y",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1 2x0 OK\r\n\r\n",
        "HTTP/1.1\r\n\r\n",
        "SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nabc",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        gv_http_answer_t answer;
        ck_assert_msg(parse(bad[i], &answer) == GV_ERR_MALFORMED, "'%s' was taken", bad[i]);
        ck_assert_uint_eq(gv_text_size(&answer.body), 0);
    }
}
END_TEST

START_TEST(no_cut_and_no_flipped_byte_is_read_beyond)
{
    static const char whole[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
    gv_rng_t rng;
    gv_rng_init(&rng, 20261121, 5);
    for (int round = 0; round < 20000; round++) {
        size_t size = gv_rng_below(&rng, sizeof(whole));
        uint8_t *exact = gv_xalloc(size); /* so that AddressSanitizer sees one byte too many */
        memcpy(exact, whole, size);
        if (size > 0) {
            exact[gv_rng_below(&rng, (uint32_t)size)] ^= (uint8_t)gv_rng_u32(&rng);
        }
        gv_http_answer_t answer;
        memset(&answer, 0, sizeof(answer));
        (void)!gv_http_answer_parse(gv_bytes(exact, size), &answer);
        gv_http_answer_deinit(&answer);
        gv_free(exact);
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("http_request");
    tcase_add_test(tc, status_and_body_are_found);
    tcase_add_test(tc, what_is_no_answer_is_refused);
    tcase_add_test(tc, no_cut_and_no_flipped_byte_is_read_beyond);

    Suite *suite = suite_create("cli");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
