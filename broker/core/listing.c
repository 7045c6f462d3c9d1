/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/listing.h"

#include "broker/core/shard_p.h"

static void begin(gv_shard_t *shard)
{
    shard->now_ms = shard->ports.monotonic_ms(shard->ports.arg);
}

/* ---- sessions -------------------------------------------------------------------------------- */

static void add_client(const gv_client_t *client, gv_session_view_t *view)
{
    view->is_connected = true;
    view->peer = client->conn->peer;
    view->version = client->peer.version;
    view->listener_port = client->conn->port;
    view->keep_alive_s = client->keep_alive_s;
    view->inflight_max = client->inflight_max;
    gv_bytes_t user = gv__auth_user(client);
    if (user.size > 0) {
        view->username = user;
    }
}

static gv_session_view_t view_of(const gv_session_t *session)
{
    const gv_flow_t *flow = session->flow;
    gv_session_view_t view = {
        .client_id = gv_session_id(session),
        .username = gv_session_owner(session),
        .queued = flow->queue.count,
        .inflight = flow->inflight.count,
        .receiving = flow->received.count,
        .subscriptions = session->subscription_count,
        .expiry_s = session->expiry_s,
        .has_will = session->will != NULL,
    };
    if (session->durable != NULL) {
        view.queued += gv_backlog_waiting(&session->durable->backlog);
        view.inflight += gv_backlog_open(&session->durable->backlog);
    }
    if (gv__is_online(session)) {
        add_client(session->client, &view);
    } else {
        view.left_ms = gv__to_realtime(session->shard, (uint64_t)session->left_ms);
    }
    return view;
}

bool gv_shard_list_sessions(gv_shard_t *shard, uint64_t *cursor, uint32_t visits_max,
                            gv_session_view_cb_t *on_session, void *arg)
{
    GV_ASSERT(visits_max > 0);
    begin(shard);
    size_t at = *cursor;
    for (uint32_t i = 0; i < visits_max; i++) {
        const gv_session_t *session = gv_map_next(&shard->sessions, &at);
        if (session == NULL) {
            return true;
        }
        gv_session_view_t view = view_of(session);
        if (!on_session(&view, arg)) {
            return false;
        }
        *cursor = at;
    }
    return false;
}

bool gv_shard_show_session(gv_shard_t *shard, gv_bytes_t client_id,
                           gv_session_view_cb_t *on_session, void *arg)
{
    begin(shard);
    const gv_session_t *session = gv_session_find(shard, client_id);
    if (session == NULL) {
        return false;
    }
    gv_session_view_t view = view_of(session);
    (void)on_session(&view, arg);
    return true;
}

/* ---- subscriptions --------------------------------------------------------------------------- */

/*
 * A cursor is a filter's index and a place among its members; or, with this bit, how many of one
 * session's list have been seen.
 */
#define IN_SESSION ((uint64_t)1 << 63)

/* A slice on its way. */
typedef struct slice {
    uint32_t visits_left;
    gv_subscription_view_cb_t *show;
    void *arg;
} slice_t;

/* False: the slice is over, and this one is for the next. */
static bool show_subscription(slice_t *slice, const gv_subscription_t *subscription)
{
    const gv_filter_t *filter = subscription->filter;
    gv_subscription_view_t view = {
        .client_id = gv_session_id(subscription->session),
        .filter = gv_filter_text(filter),
        .id = subscription->id,
        .qos = subscription->options & GV_SUB_QOS_MASK,
        .no_local = (subscription->options & GV_SUB_NO_LOCAL) != 0,
        .retain_as_published = (subscription->options & GV_SUB_RETAIN_AS_PUBLISHED) != 0,
        .is_shared = filter->is_shared,
    };
    return slice->show(&view, slice->arg);
}

/* From *position on; true: all members have been looked at. */
static bool walk_filter(slice_t *slice, const gv_filter_t *filter, const gv_session_t *of,
                        uint32_t *position)
{
    while (*position < filter->count) {
        const gv_subscription_t *subscription = gv_filter_member(filter, *position);
        if (slice->visits_left == 0 || ((of == NULL || subscription->session == of) &&
                                        !show_subscription(slice, subscription))) {
            return false;
        }
        slice->visits_left--;
        ++*position;
    }
    return true;
}

static bool walk_filters(gv_shard_t *shard, slice_t *slice, const gv_session_t *of,
                         uint64_t *cursor)
{
    uint32_t index = (uint32_t)(*cursor >> 32);
    uint32_t position = (uint32_t)*cursor;
    while (slice->visits_left > 0) {
        uint32_t next = index;
        const gv_filter_t *filter = gv_subscriptions_next(&shard->subscriptions, &next);
        if (filter == NULL) {
            return true;
        }
        position = next == index + 1 ? position : 0; /* the one it began in may be gone */
        index = next - 1;
        if (!walk_filter(slice, filter, of, &position)) {
            *cursor = (uint64_t)index << 32 | position;
            return false;
        }
        slice->visits_left -= slice->visits_left > 0;
        index = next;
        position = 0;
        *cursor = (uint64_t)index << 32;
    }
    return false;
}

static bool walk_session(slice_t *slice, const gv_session_t *session, gv_bytes_t only,
                         uint64_t *cursor)
{
    uint64_t number = 0;
    gv_list_foreach (&session->subscriptions, link) {
        const gv_subscription_t *subscription = gv_container_of(link, gv_subscription_t, link);
        if (number++ < (*cursor & ~IN_SESSION)) {
            continue;
        }
        bool is_wanted =
            only.size == 0 || gv_bytes_equal(only, gv_filter_text(subscription->filter));
        if (slice->visits_left == 0 || (is_wanted && !show_subscription(slice, subscription))) {
            return false;
        }
        slice->visits_left--;
        *cursor = IN_SESSION | number;
    }
    return true;
}

bool gv_shard_list_subscriptions(gv_shard_t *shard, const gv_subscription_query_t *query,
                                 uint64_t *cursor, uint32_t visits_max,
                                 gv_subscription_view_cb_t *on_subscription, void *arg)
{
    GV_ASSERT(visits_max > 0);
    slice_t slice = {.visits_left = visits_max, .show = on_subscription, .arg = arg};
    const gv_session_t *session = NULL;
    if (query->client_id.size > 0) {
        session = gv_session_find(shard, query->client_id);
        if (session == NULL) {
            return true;
        }
        /* A longer list has no places to go on at, but through the filters each has its own. */
        if ((*cursor & IN_SESSION) != 0 ||
            (*cursor == 0 && session->subscription_count <= visits_max)) {
            return walk_session(&slice, session, query->filter, cursor);
        }
    }
    if (query->filter.size == 0) {
        return walk_filters(shard, &slice, session, cursor);
    }
    const gv_filter_t *filter = gv_subscriptions_find(&shard->subscriptions, query->filter);
    uint32_t position = (uint32_t)*cursor;
    bool is_end = filter == NULL || walk_filter(&slice, filter, session, &position);
    *cursor = position;
    return is_end;
}

/* ---- retained messages ----------------------------------------------------------------------- */

typedef struct retained_slice {
    gv_shard_t *shard;
    gv_retained_view_cb_t *show;
    void *arg;
} retained_slice_t;

static bool show_retained(gv_msgbuf_t *kept, void *arg)
{
    const retained_slice_t *slice = arg;
    gv_publish_t publish = gv_publish_of(kept);
    gv_retained_view_t view = {
        .topic = publish.topic,
        .payload = publish.payload,
        .props = publish.props,
        .kept = kept,
        .qos = publish.qos,
    };
    if (publish.expires_at_ms != 0) {
        view.expires_at_ms = gv__to_realtime(slice->shard, publish.expires_at_ms);
    }
    return slice->show(&view, slice->arg);
}

bool gv_shard_list_retained(gv_shard_t *shard, gv_retained_walk_t *walk, uint32_t visits_max,
                            gv_retained_view_cb_t *on_message, void *arg)
{
    begin(shard);
    retained_slice_t slice = {.shard = shard, .show = on_message, .arg = arg};
    return gv_retained_walk_on(&shard->retained, walk, visits_max, show_retained, &slice);
}

bool gv_shard_show_retained(gv_shard_t *shard, gv_bytes_t topic, gv_retained_view_cb_t *on_message,
                            void *arg)
{
    begin(shard);
    GV_ASSERT(gv__retained_home(shard, topic) == shard->index);
    retained_slice_t slice = {.shard = shard, .show = on_message, .arg = arg};
    gv_msgbuf_t *kept = gv_retained_find(&shard->retained, topic);
    if (kept != NULL) {
        (void)show_retained(kept, &slice);
    }
    return kept != NULL;
}
