/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "base/rng.h"
#include "broker/net/inbuf_p.h"
#include "tests/unit/seed.h"

START_TEST(an_empty_one_owns_no_memory)
{
    gv__inbuf_t inbuf = {.data = NULL};
    ck_assert_uint_eq(gv__inbuf_size(&inbuf), 0);
    ck_assert_uint_eq(gv__inbuf_bytes(&inbuf).size, 0);
    ck_assert_int_eq(gv__inbuf_append(&inbuf, GV_BYTES_EMPTY), GV_OK);
    ck_assert_ptr_null(inbuf.data);
    ck_assert_int_eq(gv__inbuf_append(&inbuf, GV_BYTES_LITERAL("grape")), GV_OK);
    gv__inbuf_use(&inbuf, 0);
    ck_assert(gv_bytes_equal(gv__inbuf_bytes(&inbuf), GV_BYTES_LITERAL("grape")));
    gv__inbuf_use(&inbuf, 5);
    ck_assert_ptr_null(inbuf.data);
}
END_TEST

START_TEST(bytes_come_out_in_the_order_they_went_in)
{
    gv_rng_t rng;
    gv_rng_init(&rng, test_seed("broker/net/inbuf"), 1);
    gv__inbuf_t inbuf = {.data = NULL};
    uint64_t in = 0; /* byte number n has the value n * 31 */
    uint64_t out = 0;
    for (int step = 0; step < 20000; step++) {
        if (gv_rng_below(&rng, 2) == 0) {
            uint8_t bytes[3000];
            size_t size = gv_rng_below(&rng, gv_rng_below(&rng, 10) == 0 ? 3000 : 40);
            for (size_t i = 0; i < size; i++) {
                bytes[i] = (uint8_t)(in++ * 31);
            }
            ck_assert_int_eq(gv__inbuf_append(&inbuf, gv_bytes(bytes, size)), GV_OK);
        } else {
            gv_bytes_t bytes = gv__inbuf_bytes(&inbuf);
            ck_assert_uint_eq(bytes.size, in - out);
            size_t size = gv_rng_below(&rng, (uint32_t)bytes.size + 1);
            size_t wrong = 0;
            for (size_t i = 0; i < size; i++) {
                wrong += bytes.data[i] != (uint8_t)(out++ * 31);
            }
            ck_assert_uint_eq(wrong, 0);
            gv__inbuf_use(&inbuf, size);
        }
    }
    gv__inbuf_clear(&inbuf);
}
END_TEST

START_TEST(using_more_than_there_is_is_our_mistake)
{
    gv__inbuf_t inbuf = {.data = NULL};
    ck_assert_int_eq(gv__inbuf_append(&inbuf, GV_BYTES_LITERAL("grape")), GV_OK);
    gv__inbuf_use(&inbuf, 6);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("inbuf");
    tcase_add_test(tc, an_empty_one_owns_no_memory);
    tcase_add_test(tc, bytes_come_out_in_the_order_they_went_in);
    tcase_add_test_raise_signal(tc, using_more_than_there_is_is_our_mistake, 6 /* SIGABRT */);
    Suite *suite = suite_create("broker/net/inbuf");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
