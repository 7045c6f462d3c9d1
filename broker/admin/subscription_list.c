/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/admin/subscription_list.h"

#include <string.h>

#include "base/alloc.h"
#include "broker/core/session.h"

/* ---- one subscription ----------------------------------------------------------------------- */

/* The group in "$share/group/filter"; empty if it is not shared. */
static gv_bytes_t group_of(const gv_subscription_view_t *subscription)
{
    static const size_t before = sizeof("$share/") - 1;
    gv_bytes_t text = subscription->filter;
    if (!subscription->is_shared || text.size <= before) {
        return GV_BYTES_EMPTY;
    }
    const uint8_t *group = text.data + before;
    const uint8_t *slash = memchr(group, '/', text.size - before);
    return slash != NULL ? gv_bytes(group, (size_t)(slash - group)) : GV_BYTES_EMPTY;
}

bool gv_subscription_filter_takes(const gv_subscription_filter_t *filter,
                                  const gv_subscription_view_t *subscription)
{
    return (!filter->has_qos || filter->qos == subscription->qos) &&
           (filter->group.size == 0 || gv_bytes_equal(filter->group, group_of(subscription)));
}

json_t *gv_subscription_json(const gv_subscription_view_t *subscription, const char *node)
{
    gv_bytes_t group = group_of(subscription);
    json_t *object =
        json_pack("{s:o, s:s, s:o, s:i, s:i, s:i, s:o, s:o}", "clientid",
                  gv_admin_json_text(subscription->client_id), "node", node, "topic",
                  gv_admin_json_text(subscription->filter), "qos", (int)subscription->qos, "nl",
                  (int)subscription->no_local, "rap", (int)subscription->retain_as_published,
                  "share", group.size > 0 ? gv_admin_json_text(group) : json_null(), "subid",
                  subscription->id != 0 ? json_integer(subscription->id) : json_null());
    GV_ASSERT(object != NULL);
    return object;
}

/* ---- the list ------------------------------------------------------------------------------- */

typedef struct subscription_walk {
    gv_walk_t walk;
    gv_subscription_query_t query;
    gv_subscription_filter_t filter;
    bool has_to_be_known; /* the client: else 404 */
    bool is_known;
    uint8_t texts[]; /* of query and filter */
} subscription_walk_t;

/* One block: the view, then its texts. */
static bool on_subscription(const gv_subscription_view_t *subscription, void *arg)
{
    subscription_walk_t *list = arg;
    if (!gv_subscription_filter_takes(&list->filter, subscription)) {
        return true;
    }
    gv_walk_step_t step = gv_walk_step(&list->walk);
    if (step == GV_WALK_TAKE) {
        gv_subscription_view_t *row = gv_walk_add(
            &list->walk, sizeof(*row) + subscription->client_id.size + subscription->filter.size);
        *row = *subscription;
        uint8_t *end = (uint8_t *)(row + 1);
        row->client_id = gv_walk_copy(subscription->client_id, &end);
        row->filter = gv_walk_copy(subscription->filter, &end);
    }
    return step != GV_WALK_END;
}

static bool slice(gv_walk_t *walk, gv_shard_t *shard)
{
    subscription_walk_t *list = gv_container_of(walk, subscription_walk_t, walk);
    list->is_known =
        !list->has_to_be_known || gv_session_find(shard, list->query.client_id) != NULL;
    return gv_shard_list_subscriptions(shard, &list->query, &walk->at.cursor, GV_WALK_VISITS_MAX,
                                       on_subscription, list);
}

static json_t *row_json(const gv_walk_t *walk, const void *row)
{
    return gv_subscription_json(row, walk->host->node);
}

static void answer(gv_walk_t *walk)
{
    const subscription_walk_t *list = gv_container_of(walk, subscription_walk_t, walk);
    gv_loop_assert_current(gv_loop_current());
    if (list->is_known) {
        gv_walk_answer_page(walk);
    } else {
        gv_admin_answer_error(walk->call, 404, "CLIENTID_NOT_FOUND",
                              "this node has no such client");
    }
}

static void walk_free(gv_walk_t *walk)
{
    gv_free(gv_container_of(walk, subscription_walk_t, walk));
}

static const gv_walk_kind_t kind = {
    .slice = slice, .row = row_json, .answer = answer, .free = walk_free};

static uint64_t count_all(const gv_walk_host_t *host)
{
    uint64_t count = 0;
    for (uint16_t i = 0; i < host->shard_count; i++) {
        count += gv_counter_get(&host->stats(host->arg, i)->subscriptions);
    }
    return count;
}

/* An empty value is no wish. */
static gv_bytes_t parameter(const gv_admin_call_t *call, const char *name)
{
    const char *value = gv_admin_query(call, name);
    return gv_bytes_text(value != NULL ? value : "");
}

static GV_LOOP_ONLY void begin(gv_admin_call_t *call, const gv_walk_host_t *host,
                               gv_bytes_t client_id, bool has_to_be_known)
{
    gv_page_t page;
    const char *problem = gv_page_of(call, host->shard_count, &page);
    gv_bytes_t qos = parameter(call, "qos");
    if (problem == NULL && qos.size > 0 &&
        (qos.size != 1 || qos.data[0] < '0' || qos.data[0] > '2')) {
        problem = "qos: expected 0, 1 or 2";
    }
    if (problem != NULL) {
        gv_admin_answer_error(call, 400, "BAD_REQUEST", problem);
        return;
    }
    gv_bytes_t topic = parameter(call, "topic");
    gv_bytes_t group = parameter(call, "share");
    subscription_walk_t *list =
        gv_xcalloc(1, sizeof(*list) + client_id.size + topic.size + group.size);
    list->walk = (gv_walk_t){.host = host, .kind = &kind, .call = call, .page = page};
    list->walk.at = page.from;
    list->has_to_be_known = has_to_be_known;
    uint8_t *end = list->texts;
    list->query.client_id = gv_walk_copy(client_id, &end);
    list->query.filter = gv_walk_copy(topic, &end);
    list->filter.group = gv_walk_copy(group, &end);
    list->filter.has_qos = qos.size > 0;
    list->filter.qos = qos.size > 0 ? (uint8_t)(qos.data[0] - '0') : 0;
    bool is_filtered = client_id.size + topic.size + group.size + qos.size > 0;
    list->walk.count = is_filtered ? UINT64_MAX : count_all(host);
    if (client_id.size > 0) {
        list->walk.is_on_one_shard = true;
        list->walk.at.shard = gv_shard_home(client_id, host->hash_seed, host->shard_count);
    }
    gv_walk_begin(&list->walk);
}

static void on_list(gv_admin_call_t *call, void *arg)
{
    static const char *const names[] = {"limit", "page", "cursor", "clientid",
                                        "topic", "qos",  "share"};
    gv_loop_assert_current(gv_loop_current());
    if (gv_admin_accept_parameters(call, names, sizeof(names) / sizeof(names[0]))) {
        begin(call, arg, parameter(call, "clientid"), false);
    }
}

static void on_list_of_client(gv_admin_call_t *call, void *arg)
{
    static const char *const names[] = {"limit", "page", "cursor"};
    gv_loop_assert_current(gv_loop_current());
    if (gv_admin_accept_parameters(call, names, sizeof(names) / sizeof(names[0]))) {
        begin(call, arg, gv_bytes_text(gv_admin_path_value(call)), true);
    }
}

static const gv_admin_route_t routes[] = {
    {"GET", "/api/v1/subscriptions", "who on this node has subscribed to what", on_list, false},
    {"GET", "/api/v1/clients/{clientid}/subscriptions", "those of one client", on_list_of_client,
     false},
};

void gv_admin_add_subscription_routes(gv_admin_t *admin, const gv_walk_host_t *host)
{
    GV_ASSERT(host != NULL);
    gv_admin_add(admin, routes, sizeof(routes) / sizeof(routes[0]), (void *)(uintptr_t)host);
}
