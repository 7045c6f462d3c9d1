/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include <check.h>

#include "broker/net/ws_accept_p.h"

START_TEST(the_example_of_the_standard_comes_out)
{
    uint8_t accept[GV__WS_ACCEPT_SIZE];
    gv__ws_accept(GV_BYTES_LITERAL("dGhlIHNhbXBsZSBub25jZQ=="), accept); /* RFC 6455, 1.3 */
    ck_assert_mem_eq(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", sizeof(accept));
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("ws_accept");
    tcase_add_test(tc, the_example_of_the_standard_comes_out);
    Suite *suite = suite_create("broker/net/ws_accept");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
