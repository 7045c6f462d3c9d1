/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/admin/routes.h"

#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "tests/unit/broker/admin/rig.h"
#include "tests/unit/broker/admin/status_sample.h"

/* ---- a source that gathers at once, or a turn later --------------------------------------- */

static gv_status_t current;
static bool is_slow;
static gv_job_t later;
static gv_status_gathered_cb_t *waiting_cb;
static void *waiting_arg;

static void on_later(gv_job_t *job)
{
    (void)job;
    waiting_cb(&current, waiting_arg);
}

static void gather(void *source_arg, gv_status_gathered_cb_t *on_gathered, void *arg)
{
    gv_loop_assert_current(loop);
    ck_assert_str_eq(source_arg, "source");
    if (!is_slow) {
        on_gathered(&current, arg);
        return;
    }
    waiting_cb = on_gathered;
    waiting_arg = arg;
    gv_loop_defer(loop, &later);
}

static const gv_status_source_t source = {.gather = gather, .arg = (void *)(uintptr_t) "source"};

/* ---- the server and its client ------------------------------------------------------------- */

static void expect(const char *path, const char *status, const char *part)
{
    rig_expect("GET", path, status, part);
}

static void open_admin(void)
{
    gv_loop_assert_current(loop);
    rig_open_admin();
    gv_admin_add_status_routes(admin, &source);
    current = sample;
    later.run = on_later;
}

static void become_slow(void)
{
    is_slow = true;
}

static void become_ready(void)
{
    current.not_ready_count = 0;
}

START_TEST(every_endpoint_answers_at_once_and_later)
{
    rig_start_loop();
    on_loop_do(open_admin);
    expect("/livez", "200", "\"alive\": true");
    expect("/readyz", "503", "tables are not synced");
    expect("/metrics", "200", "\ngrapevine_connections 3\n");
    expect("/metrics", "200", "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n");
    expect("/api/v1/status", "200", "\"uptime_ms\": 61500");
    expect("/api/v1/nodes", "200", "\"node_status\": \"suspect\"");
    expect("/api/v1/cluster", "200", "\"table_hash\": \"fedcba9876543210\"");
    expect("/", "200", "/api/v1/cluster");
    on_loop_do(become_slow);
    expect("/readyz", "503", "tables are not synced");
    expect("/api/v1/status", "200", "\"uptime_ms\": 61500");
    on_loop_do(become_ready);
    expect("/readyz", "200", "\"ready\": true");
    on_loop_do(rig_close_admin);
    rig_stop_loop();
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("routes");
    tcase_add_test(tc, every_endpoint_answers_at_once_and_later);
    tcase_set_timeout(tc, 30);

    Suite *suite = suite_create("broker");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
