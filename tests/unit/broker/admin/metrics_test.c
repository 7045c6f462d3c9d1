/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/admin/metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "base/alloc.h"
#include "tests/unit/broker/admin/status_sample.h"

static void assert_line(const char *text, const char *line)
{
    char searched[256];
    (void)snprintf(searched, sizeof(searched), "\n%s\n", line);
    ck_assert_msg(strstr(text, searched) != NULL, "no line '%s' in\n%s", line, text);
}

START_TEST(samples_have_their_values_and_labels)
{
    gv_text_t text = GV_TEXT_EMPTY;
    gv_metrics_put(&sample, &text);
    const char *got = gv_text_get(&text);
    assert_line(got, "grapevine_build_info{node=\"n1\",version=\"1.2.3\"} 1");
    assert_line(got, "grapevine_ready 0");
    assert_line(got, "grapevine_uptime_seconds 61.500000000");
    assert_line(got, "grapevine_connections 3");
    assert_line(got, "grapevine_messages_received_total{qos=\"1\"} 10");
    assert_line(got, "grapevine_messages_dropped_total{reason=\"queue_full\"} 5");
    assert_line(got, "# TYPE grapevine_forwards_sent_total counter");
    assert_line(got, "grapevine_forwards_sent_total 77");
    assert_line(got, "# TYPE grapevine_store_entries gauge");
    assert_line(got, "grapevine_sent_bytes_total 18446744073709551615");
    assert_line(got, "grapevine_loop_turn_seconds{shard=\"0\",quantile=\"0.99\"} 2.000001500");
    assert_line(got, "grapevine_loop_lag_seconds{shard=\"1\"} 0.000000000");
    assert_line(got, "grapevine_memory_bytes{kind=\"sessions\"} 800000");
    assert_line(got, "grapevine_memory_in_use_bytes 830000");
    assert_line(got, "grapevine_log_head 5");
    assert_line(got, "grapevine_log_tail 9");
    assert_line(got, "grapevine_memory_scarce 1");
    assert_line(got, "grapevine_memory_critical 0");
    assert_line(got, "grapevine_memory_scarce_total 3");
    assert_line(got, "grapevine_storage_full 1");
    assert_line(got, "# TYPE grapevine_storage_commit_seconds histogram");
    assert_line(got, "grapevine_storage_commit_seconds_bucket{le=\"0.000131072\"} 0");
    assert_line(got, "grapevine_storage_commit_seconds_bucket{le=\"0.000524288\"} 9");
    assert_line(got, "grapevine_storage_commit_seconds_bucket{le=\"2.147483648\"} 11");
    assert_line(got, "grapevine_storage_commit_seconds_bucket{le=\"+Inf\"} 12");
    assert_line(got, "grapevine_storage_commit_seconds_sum 3.009000000");
    assert_line(got, "grapevine_storage_commit_seconds_count 12");
    assert_line(got, "grapevine_storage_durable_seconds_count 0");
    assert_line(got, "grapevine_storage_oldest_reader_seconds 0.002500000");
    /* The quotes and the backslash of a name are escaped, and the node itself is no peer. */
    assert_line(got, "grapevine_peer_alive{peer=\"n\\\"2\\\\\"} 0");
    assert_line(got, "grapevine_peer_queued_bytes{peer=\"n\\\"2\\\\\"} 1200");
    ck_assert_ptr_null(strstr(got, "peer=\"n1\""));
    gv_text_deinit(&text);
}
END_TEST

/* The format's own rules: HELP, then TYPE, once per family, before its samples, which are together.
 */
START_TEST(every_family_is_introduced_once)
{
    gv_text_t text = GV_TEXT_EMPTY;
    gv_metrics_put(&sample, &text);
    char *copy = gv_text_take(&text);
    char seen[100][64];
    size_t count = 0;
    bool help = false;
    char *rest;
    bool is_histogram = false;
    for (char *line = strtok_r(copy, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        char name[64];
        if (strncmp(line, "# HELP ", 7) == 0) {
            ck_assert_int_eq(sscanf(line, "# HELP %63s ", name), 1);
            for (size_t i = 0; i < count; i++) {
                ck_assert_msg(strcmp(seen[i], name) != 0, "%s twice", name);
            }
            ck_assert_uint_lt(count, 100);
            memcpy(seen[count++], name, sizeof(name));
            help = true;
            continue;
        }
        if (line[0] == '#') {
            char type[16];
            ck_assert_int_eq(sscanf(line, "# TYPE %63s %15s", name, type), 2);
            ck_assert(help);
            ck_assert_str_eq(name, seen[count - 1]);
            bool grows = strcmp(type, "counter") == 0;
            size_t size = strlen(name);
            ck_assert_msg(grows == (size > 6 && strcmp(name + size - 6, "_total") == 0),
                          "%s is a %s", name, type);
            help = false;
            is_histogram = strcmp(type, "histogram") == 0;
            continue;
        }
        ck_assert(!help);
        ck_assert_int_eq(sscanf(line, "%63[a-z_]", name), 1);
        size_t family = strlen(seen[count - 1]);
        ck_assert_int_eq(strncmp(name, seen[count - 1], family), 0);
        const char *suffix = name + family;
        ck_assert_msg(!is_histogram
                          ? suffix[0] == '\0'
                          : strcmp(suffix, "_bucket") == 0 || strcmp(suffix, "_sum") == 0 ||
                                strcmp(suffix, "_count") == 0,
                      "%s of %s", name, seen[count - 1]);
    }
    ck_assert_uint_gt(count, 25);
    gv_free(copy);
}
END_TEST

START_TEST(a_node_alone_has_no_peers)
{
    const gv_status_t alone = {.node = "n", .version = "v"};
    gv_text_t text = GV_TEXT_EMPTY;
    gv_metrics_put(&alone, &text);
    ck_assert_ptr_null(strstr(gv_text_get(&text), "peer"));
    assert_line(gv_text_get(&text), "grapevine_ready 1");
    gv_text_deinit(&text);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("metrics");
    tcase_add_test(tc, samples_have_their_values_and_labels);
    tcase_add_test(tc, every_family_is_introduced_once);
    tcase_add_test(tc, a_node_alone_has_no_peers);

    Suite *suite = suite_create("broker");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
