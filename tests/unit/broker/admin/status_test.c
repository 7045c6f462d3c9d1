/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/admin/status.h"

#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "tests/unit/broker/admin/status_sample.h"

/* A value by its path, "connections.current" or "shards.0.turns"; never NULL. */
static const json_t *at(const json_t *object, const char *path)
{
    char copy[128];
    ck_assert_uint_lt(strlen(path), sizeof(copy));
    memcpy(copy, path, strlen(path) + 1);
    char *rest;
    for (char *key = strtok_r(copy, ".", &rest); key != NULL; key = strtok_r(NULL, ".", &rest)) {
        object = json_is_array(object) ? json_array_get(object, strtoul(key, NULL, 10))
                                       : json_object_get(object, key);
        ck_assert_msg(object != NULL, "%s: no %s", path, key);
    }
    return object;
}

#define assert_number(object, path, value) \
    ck_assert_int_eq(json_integer_value(at(object, path)), value)
#define assert_text(object, path, value) \
    ck_assert_str_eq(json_string_value(at(object, path)), value)

START_TEST(status_says_what_the_node_is_and_does)
{
    json_t *object = gv_status_json(&sample);
    assert_text(object, "node", "n1");
    assert_text(object, "version", "1.2.3");
    assert_number(object, "uptime_ms", 61500);
    ck_assert(json_is_false(at(object, "ready")));
    assert_text(object, "reasons.0", "tables are not synced");
    assert_number(object, "connections.current", 3);
    assert_number(object, "connections.total", 30);
    assert_number(object, "messages.received.qos0", 100);
    assert_number(object, "messages.sent.qos2", 2);
    assert_number(object, "messages.dropped.queue_full", 5);
    assert_number(object, "counters.forwards_sent_total", 77);
    assert_number(object, "bytes.sent", INT64_MAX);
    assert_text(object, "memory.state", "scarce");
    assert_number(object, "memory.max_bytes", 1000000);
    assert_number(object, "memory.in_use_bytes", 830000);
    assert_number(object, "memory.resident_bytes", 900000);
    assert_number(object, "memory.critical_times", 1);
    assert_number(object, "memory.by_kind.sessions", 800000);
    assert_text(object, "storage.promise", "on disk before it is acknowledged");
    assert_number(object, "message_log.live_bytes", 77);
    assert_number(object, "message_log.restored.ms", 12);
    assert_number(object, "storage.limit_bytes", 6144);
    assert_number(object, "storage.batches_per_commit_p50", 17);
    assert_number(object, "storage.commit.p99_us", 5000);
    assert_number(object, "storage.oldest_reader_us", 2500);
    ck_assert(json_is_true(at(object, "storage.full")));
    assert_number(object, "listeners.0.port", 4711);
    assert_number(object, "shards.0.turn_p99_us", 2000001);
    assert_number(object, "shards.1.connections", 1);
    assert_text(object, "cluster", "grapes");
    json_decref(object);
}
END_TEST

START_TEST(readiness_has_its_reasons)
{
    json_t *object = gv_status_ready_json(&sample);
    ck_assert(json_is_false(at(object, "ready")));
    ck_assert_uint_eq(json_array_size(at(object, "reasons")), 1);
    json_decref(object);
    const gv_status_t ready = {.node = "n"};
    object = gv_status_ready_json(&ready);
    ck_assert(json_is_true(at(object, "ready")));
    ck_assert_uint_eq(json_array_size(at(object, "reasons")), 0);
    json_decref(object);
}
END_TEST

START_TEST(cluster_shows_every_view_of_every_node)
{
    json_t *object = gv_status_cluster_json(&sample);
    assert_text(object, "cluster", "grapes");
    assert_text(object, "nodes.0.views.0.node", "n2");
    assert_text(object, "nodes.0.views.0.state", "suspect");
    assert_number(object, "nodes.0.views.0.incarnation", 4);
    assert_number(object, "nodes.0.views.0.last_heard_ms", 120);
    ck_assert(json_is_true(at(object, "nodes.0.views.0.link_up")));
    assert_number(object, "nodes.0.views.0.rtt_us", 350);
    assert_text(object, "nodes.0.views.0.table_version", "4.1000");
    assert_text(object, "nodes.0.views.0.table_hash", "fedcba9876543210");
    ck_assert_uint_eq(json_array_size(at(object, "nodes.1.views")), 0);
    ck_assert(json_is_null(at(object, "nodes.1.view_age_ms")));
    json_decref(object);
}
END_TEST

START_TEST(nodes_are_as_this_node_sees_them)
{
    json_t *object = gv_status_nodes_json(&sample);
    ck_assert(json_is_true(at(object, "data.0.self")));
    assert_text(object, "data.1.node", "n\"2\\");
    assert_text(object, "data.1.node_status", "suspect");
    assert_text(object, "data.1.relay", "n3");
    ck_assert(json_is_null(at(object, "data.1.last_heard_ms")));
    ck_assert(json_is_null(at(object, "data.1.rtt_us")));
    assert_number(object, "data.1.queued_messages", 12);
    json_decref(object);
}
END_TEST

START_TEST(a_node_alone_has_no_cluster)
{
    const gv_status_t alone = {.node = "n"};
    json_t *object = gv_status_json(&alone);
    ck_assert(json_is_null(at(object, "cluster")));
    json_decref(object);
    object = gv_status_cluster_json(&alone);
    ck_assert_uint_eq(json_array_size(at(object, "nodes")), 0);
    json_decref(object);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("status");
    tcase_add_test(tc, status_says_what_the_node_is_and_does);
    tcase_add_test(tc, readiness_has_its_reasons);
    tcase_add_test(tc, cluster_shows_every_view_of_every_node);
    tcase_add_test(tc, nodes_are_as_this_node_sees_them);
    tcase_add_test(tc, a_node_alone_has_no_cluster);

    Suite *suite = suite_create("broker");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
