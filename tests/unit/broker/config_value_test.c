/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/config_p.h"

#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "base/alloc.h"

START_TEST(sizes_and_durations_have_units)
{
    uint64_t value;
    ck_assert(gv__config_parse_size("0", &value));
    ck_assert_uint_eq(value, 0);
    ck_assert(gv__config_parse_size("64KiB", &value));
    ck_assert_uint_eq(value, 65536);
    ck_assert(gv__config_parse_size("3gib", &value));
    ck_assert_uint_eq(value, (uint64_t)3 << 30);
    ck_assert(gv__config_parse_duration("7", 1000, &value));
    ck_assert_uint_eq(value, 7000);
    ck_assert(gv__config_parse_duration("7ms", 1000, &value));
    ck_assert_uint_eq(value, 7);
    ck_assert(gv__config_parse_duration("2d", 1, &value));
    ck_assert_uint_eq(value, 172800000);
}
END_TEST

START_TEST(numbers_that_wrap_or_trail_are_refused)
{
    static const char *const bad[] = {"",    "-1",  "+1",  " 1", "1 ",
                                      "1.5", "0x1", "1e3", "1K", "18446744073709551616"};
    uint64_t value;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_msg(!gv__config_parse_integer(bad[i], &value), "integer '%s'", bad[i]);
        ck_assert_msg(!gv__config_parse_size(bad[i], &value), "size '%s'", bad[i]);
        ck_assert_msg(!gv__config_parse_duration(bad[i], 1, &value), "duration '%s'", bad[i]);
    }
    ck_assert(gv__config_parse_integer("18446744073709551615", &value));
    ck_assert_uint_eq(value, UINT64_MAX);
    ck_assert(!gv__config_parse_size("16777216TiB", &value));
    ck_assert(!gv__config_parse_duration("18446744073709551615", 1000, &value));
}
END_TEST

START_TEST(booleans_have_three_spellings)
{
    bool value = false;
    ck_assert(gv__config_parse_bool("yes", &value) && value);
    ck_assert(gv__config_parse_bool("off", &value) && !value);
    ck_assert(gv__config_parse_bool("true", &value) && value);
    ck_assert(!gv__config_parse_bool("TRUE", &value));
    ck_assert(!gv__config_parse_bool("1", &value));
}
END_TEST

/* Every type, through the table: a copy is equal and its own, an error leaves nothing behind. */
START_TEST(every_value_can_be_set_copied_compared_and_released)
{
    static const struct {
        const char *key;
        const char *one;
        const char *other;
        const char *bad;
    } cases[] = {
        {"cluster.insecure", "true", "false", "x"},
        {"node.shards", "3", "4", "x"},
        {"mqtt.packet_size_max", "1MiB", "2MiB", "x"},
        {"mqtt.connect_timeout", "1s", "2s", "x"},
        {"node.name", "a", "b", "a b"},
        {"log.level", "info", "warn", "x"},
        {"cluster.listen", "a:1", "", ":"},
        {"cluster.seeds", "a:1,b:2", "a:1,b:3", "a:1,:"},
        {"listeners", "tcp://a:1,tcp://b:2", "tcp://a:1,tcp://b:2?proxy_protocol=true",
         "tcp://a:1,x"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const gv__config_row_t *row = gv__config_find(cases[i].key);
        gv_config_t a = {.is_default = false};
        gv_config_t b = {.is_default = false};
        ck_assert_ptr_null(gv__config_set_text(row, cases[i].one, &a));
        ck_assert_ptr_null(gv__config_set_text(row, cases[i].other, &b));
        ck_assert(!gv__config_equal(row, &a, &b));
        gv__config_copy(row, &a, &b);
        ck_assert(gv__config_equal(row, &a, &b));
        char *problem = gv__config_set_text(row, cases[i].bad, &a);
        ck_assert_ptr_nonnull(problem);
        gv_free(problem);
        gv__config_release(row, &a);
        ck_assert_ptr_null(gv__config_set_text(row, cases[i].one, &a));
        ck_assert(gv__config_equal(row, &a, &b));
        gv__config_release(row, &a);
        gv__config_release(row, &b);
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("config_value");
    tcase_add_test(tc, sizes_and_durations_have_units);
    tcase_add_test(tc, numbers_that_wrap_or_trail_are_refused);
    tcase_add_test(tc, booleans_have_three_spellings);
    tcase_add_test(tc, every_value_can_be_set_copied_compared_and_released);

    Suite *suite = suite_create("broker");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
