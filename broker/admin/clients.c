/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/admin/clients.h"

#include <string.h>

#include "base/alloc.h"
#include "base/log.h"

/* Map: one client as JSON - filters - the list - one client - kicking - routes. */

/* ---- one client as JSON --------------------------------------------------------------------- */

static void add(json_t *object, const char *key, json_t *value)
{
    int rc = json_object_set_new(object, key, value);
    GV_ASSERT(rc == 0);
}

/* "10.0.0.1:4711", "[::1]:4711", or something without a port. */
static void add_peer(json_t *object, const char *peer)
{
    const char *colon = peer != NULL ? strrchr(peer, ':') : NULL;
    uint64_t port = 0;
    bool has_port = colon != NULL && gv_parse_number(colon + 1, UINT16_MAX, &port);
    if (peer == NULL) {
        add(object, "ip_address", json_null());
    } else {
        size_t size = has_port ? (size_t)(colon - peer) : strlen(peer);
        bool is_bracketed = size >= 2 && peer[0] == '[' && peer[size - 1] == ']';
        add(object, "ip_address",
            gv_admin_json_text(is_bracketed ? gv_bytes(peer + 1, size - 2) : gv_bytes(peer, size)));
    }
    add(object, "port", has_port ? json_integer((json_int_t)port) : json_null());
}

static json_t *if_connected(const gv_session_view_t *session, unsigned value)
{
    return session->is_connected ? json_integer(value) : json_null();
}

json_t *gv_client_json(const gv_session_view_t *session, const char *node)
{
    json_t *object = json_object();
    add(object, "clientid", gv_admin_json_text(session->client_id));
    add(object, "node", json_string(node));
    add(object, "connected", json_boolean(session->is_connected));
    add(object, "username",
        session->username.size > 0 ? gv_admin_json_text(session->username) : json_null());
    add(object, "proto_name", json_string("MQTT"));
    add(object, "proto_ver", if_connected(session, session->version));
    add_peer(object, session->peer);
    add(object, "listener_port", if_connected(session, session->listener_port));
    add(object, "keepalive", if_connected(session, session->keep_alive_s));
    add(object, "expiry_interval", json_integer(session->expiry_s));
    add(object, "disconnected_at",
        session->is_connected ? json_null() : gv_admin_json_time(session->left_ms));
    add(object, "subscriptions_cnt", json_integer(session->subscriptions));
    add(object, "mqueue_len", json_integer((json_int_t)session->queued));
    add(object, "inflight_cnt", json_integer(session->inflight));
    add(object, "inflight_max", if_connected(session, session->inflight_max));
    add(object, "awaiting_rel_cnt", json_integer(session->receiving));
    add(object, "has_will", json_boolean(session->has_will));
    return object;
}

/* ---- filters -------------------------------------------------------------------------------- */

static bool is_or_any(gv_bytes_t wanted, gv_bytes_t text)
{
    return wanted.size == 0 || gv_bytes_equal(wanted, text);
}

bool gv_client_filter_takes(const gv_client_filter_t *filter, const gv_session_view_t *session)
{
    gv_bytes_t id = session->client_id;
    return is_or_any(filter->client_id, id) && is_or_any(filter->username, session->username) &&
           (filter->like.size == 0 ||
            memmem(id.data, id.size, filter->like.data, filter->like.size) != NULL) &&
           (!filter->has_state || filter->is_connected == session->is_connected);
}

/* ---- the list ------------------------------------------------------------------------------- */

typedef struct client_walk {
    gv_walk_t walk;
    gv_client_filter_t filter;
    bool keep_session; /* of a kick, as is the next */
    bool was_connected;
    bool is_found; /* of a single client */
    bool is_brief; /* answered without a body */
    char texts[];  /* of the filter */
} client_walk_t;

/* One block: the view, then its texts. */
static void keep(gv_walk_t *walk, const gv_session_view_t *session)
{
    gv_bytes_t peer = session->peer != NULL ? gv_bytes_text(session->peer) : GV_BYTES_EMPTY;
    gv_session_view_t *row = gv_walk_add(walk, sizeof(*row) + session->client_id.size +
                                                   session->username.size + peer.size + 1);
    *row = *session;
    uint8_t *end = (uint8_t *)(row + 1);
    row->client_id = gv_walk_copy(session->client_id, &end);
    row->username = gv_walk_copy(session->username, &end);
    if (session->peer != NULL) {
        row->peer = (const char *)end; /* the block ends with zero */
        (void)gv_walk_copy(peer, &end);
    }
}

static bool on_session(const gv_session_view_t *session, void *arg)
{
    client_walk_t *clients = arg;
    if (!gv_client_filter_takes(&clients->filter, session)) {
        return true;
    }
    gv_walk_step_t step = gv_walk_step(&clients->walk);
    if (step == GV_WALK_TAKE) {
        keep(&clients->walk, session);
    }
    return step != GV_WALK_END;
}

static bool slice(gv_walk_t *walk, gv_shard_t *shard)
{
    client_walk_t *clients = gv_container_of(walk, client_walk_t, walk);
    if (walk->is_on_one_shard) {
        clients->is_found =
            gv_shard_show_session(shard, clients->filter.client_id, on_session, clients);
        return true;
    }
    return gv_shard_list_sessions(shard, &walk->at.cursor, GV_WALK_VISITS_MAX, on_session, clients);
}

static json_t *row_json(const gv_walk_t *walk, const void *row)
{
    return gv_client_json(row, walk->host->node);
}

static void walk_free(gv_walk_t *walk)
{
    gv_free(gv_container_of(walk, client_walk_t, walk));
}

static const gv_walk_kind_t list_kind = {.slice = slice, .row = row_json, .free = walk_free};

/* A copy of text (or NULL) at *end, which is moved. */
static gv_bytes_t keep_text(const char *text, char **end)
{
    uint8_t *at = (uint8_t *)*end;
    gv_bytes_t copy = gv_walk_copy(gv_bytes_text(text != NULL ? text : ""), &at);
    *end = (char *)at;
    return copy;
}

static size_t size_of(const char *text)
{
    return text != NULL ? strlen(text) : 0;
}

/* A walk for the client with this id (NULL: all of them), with room for `more` bytes of text. */
static client_walk_t *walk_new(gv_admin_call_t *call, const gv_walk_host_t *host,
                               const gv_walk_kind_t *kind, const char *client_id, size_t more,
                               char **end)
{
    client_walk_t *clients = gv_xcalloc(1, sizeof(*clients) + size_of(client_id) + more);
    *end = clients->texts;
    clients->walk = (gv_walk_t){.host = host, .kind = kind, .call = call, .count = UINT64_MAX};
    clients->walk.page = (gv_page_t){.limit = 1, .page = 1};
    if (client_id != NULL) {
        clients->filter.client_id = keep_text(client_id, end);
        clients->walk.is_on_one_shard = true;
        clients->walk.at.shard =
            gv_shard_home(clients->filter.client_id, host->hash_seed, host->shard_count);
    }
    return clients;
}

static uint64_t count_all(const gv_walk_host_t *host)
{
    uint64_t count = 0;
    for (uint16_t i = 0; i < host->shard_count; i++) {
        count += gv_counter_get(&host->stats(host->arg, i)->sessions);
    }
    return count;
}

static bool is_state(const char *text)
{
    return text == NULL || strcmp(text, "connected") == 0 || strcmp(text, "disconnected") == 0;
}

static void on_list(gv_admin_call_t *call, void *arg)
{
    static const char *const names[] = {"limit",         "page",     "cursor",    "clientid",
                                        "like_clientid", "username", "conn_state"};
    const gv_walk_host_t *host = arg;
    gv_loop_assert_current(gv_loop_current());
    if (!gv_admin_accept_parameters(call, names, sizeof(names) / sizeof(names[0]))) {
        return;
    }
    gv_page_t page;
    const char *state = gv_admin_query(call, "conn_state");
    const char *problem = gv_page_of(call, host->shard_count, &page);
    if (problem == NULL && !is_state(state)) {
        problem = "conn_state: expected connected or disconnected";
    }
    if (problem != NULL) {
        gv_admin_answer_error(call, 400, "BAD_REQUEST", problem);
        return;
    }
    const char *id = gv_admin_query(call, "clientid");
    const char *like = gv_admin_query(call, "like_clientid");
    const char *username = gv_admin_query(call, "username");
    id = size_of(id) > 0 ? id : NULL;
    char *end;
    client_walk_t *clients =
        walk_new(call, host, &list_kind, id, size_of(like) + size_of(username), &end);
    clients->walk.page = page;
    clients->filter.like = keep_text(like, &end);
    clients->filter.username = keep_text(username, &end);
    clients->filter.has_state = state != NULL;
    clients->filter.is_connected = state != NULL && state[0] == 'c';
    if (id == NULL) {
        clients->walk.at = page.from;
        if (size_of(like) + size_of(username) + size_of(state) == 0) {
            clients->walk.count = count_all(host);
        }
    }
    gv_walk_begin(&clients->walk);
}

/* ---- one client ----------------------------------------------------------------------------- */

static GV_LOOP_ONLY void answer_unknown(gv_admin_call_t *call)
{
    gv_admin_answer_error(call, 404, "CLIENTID_NOT_FOUND", "this node has no such client");
}

static void answer_one(gv_walk_t *walk)
{
    gv_loop_assert_current(gv_loop_current());
    if (walk->row_count == 0) {
        answer_unknown(walk->call);
    } else {
        gv_admin_answer_json(walk->call, 200, row_json(walk, walk->rows[0]));
    }
}

static const gv_walk_kind_t one_kind = {
    .slice = slice, .row = row_json, .answer = answer_one, .free = walk_free};

static void on_one(gv_admin_call_t *call, void *arg)
{
    gv_loop_assert_current(gv_loop_current());
    if (gv_admin_accept_parameters(call, NULL, 0)) {
        char *end;
        client_walk_t *clients = walk_new(call, arg, &one_kind, gv_admin_path_value(call), 0, &end);
        gv_walk_begin(&clients->walk);
    }
}

/* ---- kicking -------------------------------------------------------------------------------- */

static bool kick(gv_walk_t *walk, gv_shard_t *shard)
{
    client_walk_t *clients = gv_container_of(walk, client_walk_t, walk);
    clients->is_found = gv_shard_kick(shard, clients->filter.client_id, clients->keep_session,
                                      &clients->was_connected) == GV_OK;
    return true;
}

static void answer_kicked(gv_walk_t *walk)
{
    const client_walk_t *clients = gv_container_of(walk, client_walk_t, walk);
    gv_loop_assert_current(gv_loop_current());
    if (!clients->is_found) {
        answer_unknown(walk->call);
        return;
    }
    char printable[200];
    gv_log_info("client_kicked", "client='%s' was_connected=%d keep_session=%d",
                gv_bytes_printable(clients->filter.client_id, printable, sizeof(printable)),
                clients->was_connected, clients->keep_session);
    if (clients->is_brief) {
        gv_text_t nothing = GV_TEXT_EMPTY;
        gv_admin_answer_text(walk->call, 204, "application/json", &nothing);
        return;
    }
    gv_admin_answer_json(walk->call, 200,
                         json_pack("{s:o, s:s, s:b, s:b}", "clientid",
                                   gv_admin_json_text(clients->filter.client_id), "node",
                                   walk->host->node, "was_connected", clients->was_connected,
                                   "keep_session", clients->keep_session));
}

static const gv_walk_kind_t kick_kind = {.slice = kick, .answer = answer_kicked, .free = walk_free};

static GV_LOOP_ONLY void begin_kick(gv_admin_call_t *call, const gv_walk_host_t *host,
                                    const char *client_id, bool is_brief)
{
    const char *keeps = gv_admin_query(call, "keep_session");
    const char *problem = NULL;
    if (size_of(client_id) == 0) {
        problem = "clientid: expected the id of a client";
    } else if (keeps != NULL && strcmp(keeps, "true") != 0 && strcmp(keeps, "false") != 0) {
        problem = "keep_session: expected true or false";
    }
    if (problem != NULL) {
        gv_admin_answer_error(call, 400, "BAD_REQUEST", problem);
        return;
    }
    char *end;
    client_walk_t *clients = walk_new(call, host, &kick_kind, client_id, 0, &end);
    clients->keep_session = keeps != NULL && strcmp(keeps, "true") == 0;
    clients->is_brief = is_brief;
    gv_walk_begin(&clients->walk);
}

static void on_kick(gv_admin_call_t *call, void *arg)
{
    static const char *const names[] = {"clientid", "keep_session"};
    gv_loop_assert_current(gv_loop_current());
    if (gv_admin_accept_parameters(call, names, 2)) {
        begin_kick(call, arg, gv_admin_query(call, "clientid"), false);
    }
}

static void on_delete(gv_admin_call_t *call, void *arg)
{
    static const char *const names[] = {"keep_session"};
    gv_loop_assert_current(gv_loop_current());
    if (gv_admin_accept_parameters(call, names, 1)) {
        begin_kick(call, arg, gv_admin_path_value(call), true);
    }
}

/* ---- routes --------------------------------------------------------------------------------- */

static const gv_admin_route_t routes[] = {
    {"GET", "/api/v1/clients", "sessions of this node, online and offline", on_list, false},
    {"GET", "/api/v1/clients/{clientid}", "one of them", on_one, false},
    {"DELETE", "/api/v1/clients/{clientid}", "ends its connection and its session", on_delete,
     false},
    {"POST", "/api/v1/kick", "the same, for clientid=", on_kick, false},
};

void gv_admin_add_client_routes(gv_admin_t *admin, const gv_walk_host_t *host)
{
    GV_ASSERT(host != NULL);
    GV_ASSERT(host->send != NULL);
    gv_admin_add(admin, routes, sizeof(routes) / sizeof(routes[0]), (void *)(uintptr_t)host);
}
