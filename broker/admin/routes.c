/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/admin/routes.h"

#include "broker/admin/metrics.h"

/* The call is the only thing that travels through a gathering, so each endpoint has its callback.
 */

static GV_LOOP_ONLY void answer_metrics(gv_admin_call_t *call, const gv_status_t *status)
{
    gv_text_t text = GV_TEXT_EMPTY;
    gv_metrics_put(status, &text);
    gv_admin_answer_text(call, 200, "text/plain; version=0.0.4; charset=utf-8", &text);
}

static void on_gathered_for_metrics(const gv_status_t *status, void *arg)
{
    gv_loop_assert_current(gv_loop_current());
    answer_metrics(arg, status);
}

static void on_gathered_for_ready(const gv_status_t *status, void *arg)
{
    gv_loop_assert_current(gv_loop_current());
    gv_admin_answer_json(arg, status->not_ready_count == 0 ? 200 : 503,
                         gv_status_ready_json(status));
}

static void on_gathered_for_status(const gv_status_t *status, void *arg)
{
    gv_loop_assert_current(gv_loop_current());
    gv_admin_answer_json(arg, 200, gv_status_json(status));
}

static void on_gathered_for_nodes(const gv_status_t *status, void *arg)
{
    gv_loop_assert_current(gv_loop_current());
    gv_admin_answer_json(arg, 200, gv_status_nodes_json(status));
}

static void on_gathered_for_cluster(const gv_status_t *status, void *arg)
{
    gv_loop_assert_current(gv_loop_current());
    gv_admin_answer_json(arg, 200, gv_status_cluster_json(status));
}

static void gather(void *arg, gv_status_gathered_cb_t *on_gathered, gv_admin_call_t *call)
{
    const gv_status_source_t *source = arg;
    source->gather(source->arg, on_gathered, call);
}

/* That this answers at all says that the main loop turns; it asks nobody. */
static void on_live(gv_admin_call_t *call, void *arg)
{
    (void)arg;
    gv_loop_assert_current(gv_loop_current());
    gv_admin_answer_json(call, 200, json_pack("{s:b}", "alive", 1));
}

static void on_ready(gv_admin_call_t *call, void *arg)
{
    gather(arg, on_gathered_for_ready, call);
}

static void on_metrics(gv_admin_call_t *call, void *arg)
{
    gather(arg, on_gathered_for_metrics, call);
}

static void on_status(gv_admin_call_t *call, void *arg)
{
    gather(arg, on_gathered_for_status, call);
}

static void on_nodes(gv_admin_call_t *call, void *arg)
{
    gather(arg, on_gathered_for_nodes, call);
}

static void on_cluster(gv_admin_call_t *call, void *arg)
{
    gather(arg, on_gathered_for_cluster, call);
}

static const gv_admin_route_t routes[] = {
    {"GET", "/livez", "200 while the process works", on_live, true},
    {"GET", "/readyz", "200 when clients are served, 503 with reasons when not", on_ready, true},
    {"GET", "/metrics", "all counters, for Prometheus", on_metrics, false},
    {"GET", "/api/v1/status", "this node", on_status, false},
    {"GET", "/api/v1/nodes", "the members of the cluster, as this node sees them", on_nodes, false},
    {"GET", "/api/v1/cluster", "every node's own view of every other", on_cluster, false},
};

void gv_admin_add_status_routes(gv_admin_t *admin, const gv_status_source_t *source)
{
    GV_ASSERT(source != NULL);
    GV_ASSERT(source->gather != NULL);
    gv_admin_add(admin, routes, sizeof(routes) / sizeof(routes[0]), (void *)(uintptr_t)source);
}
