/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/admin/subscription_list.h"

#include <stdlib.h>

#include <check.h>

static gv_subscription_view_t shared(const char *filter)
{
    return (gv_subscription_view_t){.client_id = GV_BYTES_LITERAL("c"),
                                    .filter = gv_bytes_text(filter),
                                    .qos = 1,
                                    .is_shared = true};
}

static bool takes(gv_subscription_filter_t filter)
{
    gv_subscription_view_t subscription = shared("$share/group/a/b");
    return gv_subscription_filter_takes(&filter, &subscription);
}

START_TEST(a_filter_takes_what_is_all_that_it_says)
{
    ck_assert(takes((gv_subscription_filter_t){.has_qos = false}));
    ck_assert(takes((gv_subscription_filter_t){.has_qos = true, .qos = 1}));
    ck_assert(!takes((gv_subscription_filter_t){.has_qos = true}));
    ck_assert(takes((gv_subscription_filter_t){.group = GV_BYTES_LITERAL("group")}));
    ck_assert(!takes((gv_subscription_filter_t){.group = GV_BYTES_LITERAL("grou")}));
    ck_assert(!takes((gv_subscription_filter_t){.group = GV_BYTES_LITERAL("group/a")}));
    ck_assert(!takes(
        (gv_subscription_filter_t){.group = GV_BYTES_LITERAL("group"), .has_qos = true, .qos = 2}));
}
END_TEST

static void check_json(const gv_subscription_view_t *subscription, const char *expected)
{
    json_t *object = gv_subscription_json(subscription, "n");
    char *text = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);
    ck_assert_str_eq(text, expected);
    free(text);
    json_decref(object);
}

START_TEST(the_group_of_a_shared_one_is_named)
{
    gv_subscription_view_t subscription = shared("$share/g/a/b");
    check_json(&subscription,
               "{\"clientid\":\"c\",\"nl\":0,\"node\":\"n\",\"qos\":1,\"rap\":0,\"share\":\"g\","
               "\"subid\":null,\"topic\":\"$share/g/a/b\"}");
    subscription.is_shared = false;
    subscription.filter = GV_BYTES_LITERAL("a");
    subscription.id = 268435455;
    subscription.no_local = true;
    subscription.retain_as_published = true;
    check_json(&subscription, "{\"clientid\":\"c\",\"nl\":1,\"node\":\"n\",\"qos\":1,\"rap\":1,"
                              "\"share\":null,\"subid\":268435455,\"topic\":\"a\"}");
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("subscription_list");
    tcase_add_test(tc, a_filter_takes_what_is_all_that_it_says);
    tcase_add_test(tc, the_group_of_a_shared_one_is_named);
    Suite *suite = suite_create("broker/admin");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
