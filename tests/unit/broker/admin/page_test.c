/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/admin/page.h"

#include <stdlib.h>
#include <string.h>

#include <check.h>

static gv_page_t page;

/* What is wrong, or "". */
static const char *parsed(const char *limit, const char *number, const char *cursor)
{
    const char *problem = gv_page_parse(limit, number, cursor, 4, &page);
    return problem != NULL ? problem : "";
}

START_TEST(a_page_has_a_hundred_rows_unless_told_otherwise)
{
    ck_assert_str_eq(parsed(NULL, NULL, NULL), "");
    ck_assert_uint_eq(page.limit, 100);
    ck_assert_uint_eq(page.page, 1);
    ck_assert_uint_eq(page.skip, 0);
    ck_assert_str_eq(parsed("10000", "3", NULL), "");
    ck_assert_uint_eq(page.limit, 10000);
    ck_assert_uint_eq(page.page, 3);
    ck_assert_uint_eq(page.skip, 20000);
    ck_assert_str_eq(parsed("1", "1000001", NULL), "");
    ck_assert_uint_eq(page.skip, 1000000);
}
END_TEST

START_TEST(what_is_no_page_is_refused)
{
    static const char *const limits[] = {"",   "0",  "10001", "-1",  "+1",
                                         " 1", "1 ", "0x1",   "1e2", "9999999999999999999999"};
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        ck_assert_msg(strstr(parsed(limits[i], NULL, NULL), "limit:") != NULL, "%s", limits[i]);
    }
    static const char *const pages[] = {"", "0", "-1", "x", "4294967296", "99999999999999999999"};
    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
        ck_assert_msg(strstr(parsed("1", pages[i], NULL), "page:") != NULL, "%s", pages[i]);
    }
    ck_assert(strstr(parsed("1", "1000002", NULL), "meta.cursor") != NULL);
    ck_assert(strstr(parsed("10000", "4294967295", NULL), "meta.cursor") != NULL);
}
END_TEST

START_TEST(a_cursor_is_a_shard_and_a_place_in_it)
{
    ck_assert_str_eq(parsed("5", NULL, "3-ffffffffffffffff"), "");
    ck_assert_uint_eq(page.from.shard, 3);
    ck_assert_uint_eq(page.from.cursor, UINT64_MAX);
    ck_assert_uint_eq(page.page, 0);
    ck_assert_uint_eq(page.skip, 0);
    static const char *const bad[] = {"",           "-",    "0",   "0-",    "-0",
                                      "4-0",        "a-0",  "0-g", "0-0-0", "0-11111111111111111",
                                      "00000000-0", "0 -1", "0-F"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_msg(strstr(parsed(NULL, NULL, bad[i]), "cursor:") != NULL, "%s", bad[i]);
    }
    ck_assert(strstr(parsed(NULL, "1", "0-0"), "not together") != NULL);
}
END_TEST

static char *meta_of(const gv_place_in_list_t *next, uint64_t count)
{
    json_t *meta = gv_page_meta(&page, next != NULL, next, count);
    char *text = json_dumps(meta, JSON_SORT_KEYS | JSON_COMPACT);
    json_decref(meta);
    return text;
}

static void check_meta(const gv_place_in_list_t *next, uint64_t count, const char *expected)
{
    char *text = meta_of(next, count);
    ck_assert_str_eq(text, expected);
    free(text);
}

START_TEST(an_answer_says_how_to_go_on)
{
    const gv_place_in_list_t next = {.shard = 2, .cursor = 0xabcdef0123456789};
    ck_assert_str_eq(parsed("7", "2", NULL), "");
    check_meta(NULL, 9, "{\"count\":9,\"hasnext\":false,\"limit\":7,\"page\":2}");
    check_meta(&next, UINT64_MAX,
               "{\"cursor\":\"2-abcdef0123456789\",\"hasnext\":true,\"limit\":7,\"page\":2}");
    ck_assert_str_eq(parsed(NULL, NULL, "2-abcdef0123456789"), "");
    ck_assert_uint_eq(page.from.cursor, next.cursor);
    ck_assert_uint_eq(page.from.shard, next.shard);
    check_meta(NULL, 0, "{\"count\":0,\"hasnext\":false,\"limit\":100}");
}
END_TEST

START_TEST(a_number_is_digits_and_not_above_its_limit)
{
    uint64_t number;
    ck_assert(gv_parse_number("0", 0, &number) && number == 0);
    ck_assert(gv_parse_number("0065535", UINT16_MAX, &number) && number == 65535);
    ck_assert(!gv_parse_number("65536", UINT16_MAX, &number));
    ck_assert(!gv_parse_number("", 10, &number));
    ck_assert(!gv_parse_number("-0", 10, &number));
    ck_assert(!gv_parse_number("1000000000000000000", UINT64_MAX, &number));
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("page");
    tcase_add_test(tc, a_page_has_a_hundred_rows_unless_told_otherwise);
    tcase_add_test(tc, what_is_no_page_is_refused);
    tcase_add_test(tc, a_cursor_is_a_shard_and_a_place_in_it);
    tcase_add_test(tc, an_answer_says_how_to_go_on);
    tcase_add_test(tc, a_number_is_digits_and_not_above_its_limit);
    Suite *suite = suite_create("broker/admin");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
