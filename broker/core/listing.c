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
