/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/admin/drain.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "tests/unit/broker/admin/rig.h"

/* ---- a node that can be drained ----------------------------------------------------------- */

static struct {
    char reference[2000];
    uint64_t per_second;
    bool has_per_second;
    int begun;
    int ended;
    bool is_stopping;
} node;

static gv_err_t begin(void *arg, const gv_drain_request_t *request, gv_status_drain_t *state_out)
{
    gv_loop_assert_current(loop);
    ck_assert_str_eq(arg, "node");
    if (node.is_stopping) {
        return GV_ERR_CLOSED;
    }
    node.begun++;
    const char *reference = request->server_reference;
    (void)snprintf(node.reference, sizeof(node.reference), "%s",
                   reference != NULL ? reference : "(none)");
    node.per_second = request->clients_per_second;
    node.has_per_second = request->has_clients_per_second;
    *state_out = (gv_status_drain_t){
        .state = "draining", .server_reference = node.reference, .clients_left = 7};
    return GV_OK;
}

static gv_err_t end(void *arg, gv_status_drain_t *state_out)
{
    gv_loop_assert_current(loop);
    ck_assert_str_eq(arg, "node");
    node.ended++;
    *state_out = (gv_status_drain_t){.state = "no"};
    return node.is_stopping ? GV_ERR_CLOSED : GV_OK;
}

static const gv_drain_ops_t ops = {.begin = begin, .end = end, .arg = (void *)(uintptr_t) "node"};

static void open_admin(void)
{
    gv_loop_assert_current(loop);
    rig_open_admin();
    gv_admin_add_drain_routes(admin, &ops);
}

static void setup(void)
{
    memset(&node, 0, sizeof(node));
    rig_start_loop();
    on_loop_do(open_admin);
}

static void teardown(void)
{
    on_loop_do(rig_close_admin);
    rig_stop_loop();
}

static void expect(const char *path, const char *status, const char *part)
{
    rig_expect("POST", path, status, part);
}

/* ---- tests -------------------------------------------------------------------------------- */

START_TEST(a_drain_takes_what_was_configured_unless_it_is_told)
{
    expect("/api/v1/drain", "200", "\"clients_left\": 7");
    ck_assert_str_eq(node.reference, "(none)");
    ck_assert(!node.has_per_second);
    expect("/api/v1/drain?server_reference=b%3A1883&clients_per_second=0", "200", "b:1883");
    ck_assert_str_eq(node.reference, "b:1883");
    ck_assert(node.has_per_second);
    ck_assert_uint_eq(node.per_second, 0);
    expect("/api/v1/drain?clients_per_second=250", "200", "draining");
    ck_assert_uint_eq(node.per_second, 250);
    expect("/api/v1/undrain", "200", "\"state\": \"no\"");
    ck_assert_int_eq(node.ended, 1);
}
END_TEST

START_TEST(nonsense_is_refused_and_changes_nothing)
{
    static const char *const bad[] = {
        "clients_per_second=",   "clients_per_second=-1",          "clients_per_second=1.5",
        "clients_per_second=x",  "clients_per_second=99999999999", "clients_per_second=2000000000",
        "server_reference=%FFx",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char path[200];
        (void)snprintf(path, sizeof(path), "/api/v1/drain?%s", bad[i]);
        expect(path, "400", "expected");
    }
    char path[GV_SERVER_REFERENCE_SIZE_MAX + 100] = "/api/v1/drain?server_reference=";
    size_t size = strlen(path);
    memset(path + size, 'x', GV_SERVER_REFERENCE_SIZE_MAX + 1);
    expect(path, "400", "server_reference");
    ck_assert_int_eq(node.begun, 0);
}
END_TEST

START_TEST(a_node_that_stops_stays_at_that)
{
    node.is_stopping = true;
    expect("/api/v1/drain", "409", "STOPPING");
    expect("/api/v1/undrain", "409", "STOPPING");
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("drain");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_drain_takes_what_was_configured_unless_it_is_told);
    tcase_add_test(tc, nonsense_is_refused_and_changes_nothing);
    tcase_add_test(tc, a_node_that_stops_stays_at_that);
    Suite *suite = suite_create("broker/admin");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
