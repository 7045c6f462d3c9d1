/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/link/notice.h"

#include <check.h>
#include <stdlib.h>

START_TEST(the_same_is_news_once_a_minute)
{
    gv_notices_t notices = {._next = 0};
    gv_bytes_t about = GV_BYTES_LITERAL("10.0.0.1");
    ck_assert(gv_notices_is_news(&notices, about, 1, 5000));
    ck_assert(!gv_notices_is_news(&notices, about, 1, 5000));
    ck_assert(!gv_notices_is_news(&notices, about, 1, 5000 + GV_NOTICE_PAUSE_MS - 1));
    ck_assert(gv_notices_is_news(&notices, about, 1, 5000 + GV_NOTICE_PAUSE_MS));
}
END_TEST

START_TEST(something_else_is_news_by_itself)
{
    gv_notices_t notices = {._next = 0};
    ck_assert(gv_notices_is_news(&notices, GV_BYTES_LITERAL("10.0.0.1"), 1, 0));
    ck_assert(gv_notices_is_news(&notices, GV_BYTES_LITERAL("10.0.0.2"), 1, 0));
    ck_assert(gv_notices_is_news(&notices, GV_BYTES_LITERAL("10.0.0.1"), 2, 0));
    ck_assert(!gv_notices_is_news(&notices, GV_BYTES_LITERAL("10.0.0.2"), 1, 0));
}
END_TEST

START_TEST(a_full_table_forgets_the_oldest)
{
    gv_notices_t notices = {._next = 0};
    gv_bytes_t about = GV_BYTES_LITERAL("10.0.0.1");
    for (uint64_t what = 0; what <= GV_NOTICES_MAX; what++) {
        ck_assert(gv_notices_is_news(&notices, about, what, 0));
    }
    ck_assert(!gv_notices_is_news(&notices, about, 1, 0));
    ck_assert(gv_notices_is_news(&notices, about, 0, 0));
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("notice");
    tcase_add_test(tc, the_same_is_news_once_a_minute);
    tcase_add_test(tc, something_else_is_news_by_itself);
    tcase_add_test(tc, a_full_table_forgets_the_oldest);

    Suite *suite = suite_create("cluster/link");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
