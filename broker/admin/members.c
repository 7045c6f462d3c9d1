/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/admin/members.h"

/* The parameter, or NULL and the call is answered. */
static GV_LOOP_ONLY const char *parameter(gv_admin_call_t *call, const char *name,
                                          const char *problem)
{
    const char *value = gv_admin_query(call, name);
    if (value == NULL || value[0] == '\0') {
        gv_admin_answer_error(call, 400, "BAD_REQUEST", problem);
        return NULL;
    }
    return value;
}

static GV_LOOP_ONLY void answer_not_in_cluster(gv_admin_call_t *call)
{
    gv_admin_answer_error(call, 409, "NOT_IN_CLUSTER", "the node is on its own, or leaving");
}

/* ---- join ---------------------------------------------------------------------------------------
 */

static void on_joined(gv_err_t err, void *arg)
{
    gv_admin_call_t *call = arg;
    gv_loop_assert_current(gv_loop_current());
    if (err == GV_ERR_CLOSED) {
        answer_not_in_cluster(call);
    } else if (err == GV_ERR_INVAL) {
        gv_admin_answer_error(call, 400, "BAD_REQUEST", "seed: expected HOST:PORT");
    } else if (err != GV_OK) {
        gv_admin_answer_error(call, 409, "LIMIT", "there are too many seeds");
    } else {
        /* Whether somebody answers there, the views tell. */
        gv_admin_answer_json(call, 200, json_pack("{s:b}", "dialling", 1));
    }
}

static void on_join(gv_admin_call_t *call, void *arg)
{
    const gv_members_ops_t *ops = arg;
    gv_loop_assert_current(gv_loop_current());
    const char *seed = parameter(call, "seed", "seed: expected HOST:PORT");
    if (seed != NULL) {
        ops->join(ops->arg, seed, on_joined, call);
    }
}

/* ---- leave --------------------------------------------------------------------------------------
 */

static void on_leave(gv_admin_call_t *call, void *arg)
{
    const gv_members_ops_t *ops = arg;
    gv_loop_assert_current(gv_loop_current());
    gv_err_t err = ops->leave(ops->arg);
    if (err == GV_ERR_CLOSED) {
        answer_not_in_cluster(call);
    } else if (err != GV_OK) {
        gv_admin_answer_error(call, 409, "STOPPING", "the node is stopping");
    } else {
        gv_admin_answer_json(call, 200, json_pack("{s:b}", "leaving", 1));
    }
}

/* ---- forget -------------------------------------------------------------------------------------
 */

static void on_forgotten(gv_err_t err, void *arg)
{
    gv_admin_call_t *call = arg;
    gv_loop_assert_current(gv_loop_current());
    if (err == GV_ERR_CLOSED) {
        answer_not_in_cluster(call);
    } else if (err == GV_ERR_BUSY) {
        gv_admin_answer_error(call, 409, "BUSY", "the node is alive: let it leave first");
    } else if (err != GV_OK) {
        gv_admin_answer_error(call, 404, "NOT_FOUND", "no node has this name or id");
    } else {
        gv_admin_answer_json(call, 200, json_pack("{s:b}", "forgotten", 1));
    }
}

static void on_forget(gv_admin_call_t *call, void *arg)
{
    const gv_members_ops_t *ops = arg;
    gv_loop_assert_current(gv_loop_current());
    const char *node = parameter(call, "node", "node: expected the name or the id of a node");
    if (node != NULL) {
        ops->forget(ops->arg, node, on_forgotten, call);
    }
}

static const gv_admin_route_t routes[] = {
    {"POST", "/api/v1/cluster/join", "dials one more seed", on_join, false},
    {"POST", "/api/v1/cluster/leave", "drains this node, says goodbye to the others and ends it",
     on_leave, false},
    {"POST", "/api/v1/cluster/forget", "forgets a dead or departed node, in the whole cluster",
     on_forget, false},
};

void gv_admin_add_member_routes(gv_admin_t *admin, const gv_members_ops_t *ops)
{
    GV_ASSERT(ops != NULL);
    gv_admin_add(admin, routes, sizeof(routes) / sizeof(routes[0]), (void *)(uintptr_t)ops);
}
