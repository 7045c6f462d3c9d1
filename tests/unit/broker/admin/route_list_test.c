/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/admin/route_list.h"

#include <stdlib.h>

#include <check.h>

static gv_route_names_t others;

static void check_json(const gv_route_view_t *route, const char *expected)
{
    json_t *object = gv_route_json(route, "self", &others);
    char *text = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);
    ck_assert_str_eq(text, expected);
    free(text);
    json_decref(object);
}

START_TEST(a_route_has_nodes_by_name_and_shards_by_number)
{
    char name[] = "vine2";
    others.names[3] = name;
    gv_route_view_t route = {.filter = GV_BYTES_LITERAL("a/+"), .shards = 5, .nodes = 1U << 3};
    check_json(&route,
               "{\"node\":\"self\",\"nodes\":[\"self\",\"vine2\"],\"shards\":[0,2],\"share\":null,"
               "\"topic\":\"a/+\"}");
    route = (gv_route_view_t){.filter = GV_BYTES_LITERAL("$share/g/a"),
                              .nodes = (uint64_t)1 << 63 | 1U << 3};
    check_json(&route,
               "{\"node\":\"self\",\"nodes\":[\"vine2\",null],\"shards\":[],\"share\":\"g\","
               "\"topic\":\"$share/g/a\"}");
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("route_list");
    tcase_add_test(tc, a_route_has_nodes_by_name_and_shards_by_number);
    Suite *suite = suite_create("broker/admin");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
