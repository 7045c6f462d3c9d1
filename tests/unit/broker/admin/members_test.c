/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/admin/members.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "tests/unit/broker/admin/rig.h"

/* ---- a node with others --------------------------------------------------------------------- */

static struct {
    char text[200];
    gv_err_t err;
    int asked;
} node;

static void keep(void *arg, const char *text, gv_members_done_cb_t *finished, void *done_arg)
{
    gv_loop_assert_current(loop);
    ck_assert_str_eq(arg, "node");
    node.asked++;
    (void)snprintf(node.text, sizeof(node.text), "%s", text);
    finished(node.err, done_arg);
}

static gv_err_t leave(void *arg)
{
    gv_loop_assert_current(loop);
    ck_assert_str_eq(arg, "node");
    node.asked++;
    return node.err;
}

static const gv_members_ops_t ops = {
    .join = keep, .forget = keep, .leave = leave, .arg = (void *)(uintptr_t) "node"};

static void open_admin(void)
{
    gv_loop_assert_current(loop);
    rig_open_admin();
    gv_admin_add_member_routes(admin, &ops);
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

START_TEST(what_is_asked_for_is_done)
{
    expect("/api/v1/cluster/join?seed=n2%3A7883", "200", "\"dialling\": true");
    ck_assert_str_eq(node.text, "n2:7883");
    expect("/api/v1/cluster/forget?node=n%202", "200", "\"forgotten\": true");
    ck_assert_str_eq(node.text, "n 2");
    expect("/api/v1/cluster/leave", "200", "\"leaving\": true");
    ck_assert_int_eq(node.asked, 3);
}
END_TEST

START_TEST(nobody_is_asked_for_nothing)
{
    static const char *const bad[] = {"join", "join?seed=", "join?node=a:1", "forget",
                                      "forget?node="};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char path[100];
        (void)snprintf(path, sizeof(path), "/api/v1/cluster/%s", bad[i]);
        expect(path, "400", "expected");
    }
    ck_assert_int_eq(node.asked, 0);
}
END_TEST

START_TEST(a_refusal_says_why)
{
    static const struct {
        const char *path;
        gv_err_t err;
        const char *status;
        const char *part;
    } refusals[] = {
        {"join?seed=x", GV_ERR_INVAL, "400", "HOST:PORT"},
        {"join?seed=a:1", GV_ERR_LIMIT, "409", "too many"},
        {"join?seed=a:1", GV_ERR_CLOSED, "409", "NOT_IN_CLUSTER"},
        {"forget?node=a", GV_ERR_NOENT, "404", "NOT_FOUND"},
        {"forget?node=a", GV_ERR_BUSY, "409", "alive"},
        {"forget?node=a", GV_ERR_CLOSED, "409", "NOT_IN_CLUSTER"},
        {"leave", GV_ERR_BUSY, "409", "STOPPING"},
        {"leave", GV_ERR_CLOSED, "409", "NOT_IN_CLUSTER"},
    };
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        char path[100];
        (void)snprintf(path, sizeof(path), "/api/v1/cluster/%s", refusals[i].path);
        node.err = refusals[i].err;
        expect(path, refusals[i].status, refusals[i].part);
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("members");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, what_is_asked_for_is_done);
    tcase_add_test(tc, nobody_is_asked_for_nothing);
    tcase_add_test(tc, a_refusal_says_why);
    Suite *suite = suite_create("broker/admin");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
