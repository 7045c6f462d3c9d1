/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/admin/drain.h"

#include <stdlib.h>
#include <string.h>

#include "base/bucket.h"
#include "proto/mqtt/utf8.h"

/* Digits alone, up to what a bucket takes. */
static bool parse_rate(const char *text, uint64_t *out)
{
    if (text[0] == '\0' || strspn(text, "0123456789") != strlen(text) || strlen(text) > 10) {
        return false;
    }
    *out = strtoull(text, NULL, 10);
    return *out <= GV_BUCKET_RATE_MAX;
}

/* What is wrong with the request, or NULL. */
static const char *parse(const gv_admin_call_t *call, gv_drain_request_t *out)
{
    *out = (gv_drain_request_t){.server_reference = gv_admin_query(call, "server_reference")};
    const char *reference = out->server_reference;
    if (reference != NULL && (strlen(reference) > GV_SERVER_REFERENCE_SIZE_MAX ||
                              !gv_mqtt_text_valid(gv_bytes_text(reference)))) {
        return "server_reference: expected a short text, like HOST:PORT";
    }
    const char *rate = gv_admin_query(call, "clients_per_second");
    out->has_clients_per_second = rate != NULL;
    if (rate != NULL && !parse_rate(rate, &out->clients_per_second)) {
        return "clients_per_second: expected a whole number; 0 is all at once";
    }
    return NULL;
}

static GV_LOOP_ONLY void answer(gv_admin_call_t *call, gv_err_t err, const gv_status_drain_t *state)
{
    if (err != GV_OK) {
        gv_admin_answer_error(call, 409, "STOPPING", "the node is stopping");
    } else {
        gv_admin_answer_json(call, 200, gv_status_drain_json(state));
    }
}

static void on_drain(gv_admin_call_t *call, void *arg)
{
    const gv_drain_ops_t *ops = arg;
    gv_loop_assert_current(gv_loop_current());
    gv_drain_request_t request;
    const char *problem = parse(call, &request);
    if (problem != NULL) {
        gv_admin_answer_error(call, 400, "BAD_REQUEST", problem);
        return;
    }
    gv_status_drain_t state = {.state = NULL};
    gv_err_t err = ops->begin(ops->arg, &request, &state);
    answer(call, err, &state);
}

static void on_undrain(gv_admin_call_t *call, void *arg)
{
    const gv_drain_ops_t *ops = arg;
    gv_loop_assert_current(gv_loop_current());
    gv_status_drain_t state = {.state = NULL};
    gv_err_t err = ops->end(ops->arg, &state);
    answer(call, err, &state);
}

static const gv_admin_route_t routes[] = {
    {"POST", "/api/v1/drain", "sends the clients of this node elsewhere, a few at a time", on_drain,
     false},
    {"POST", "/api/v1/undrain", "takes clients again", on_undrain, false},
};

void gv_admin_add_drain_routes(gv_admin_t *admin, const gv_drain_ops_t *ops)
{
    GV_ASSERT(ops != NULL);
    gv_admin_add(admin, routes, sizeof(routes) / sizeof(routes[0]), (void *)(uintptr_t)ops);
}
