/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CONNECT and DISCONNECT: whose connection this is, where it belongs, and what becomes of the
 * session that was there before.
 */
#include "base/alloc.h"
#include "base/log.h"
#include "broker/core/shard_p.h"

static void send_connack(gv_client_t *client, const gv_mqtt_peer_t *peer,
                         const gv_mqtt_connack_t *connack)
{
    size_t size = gv_mqtt_encode_connack(connack, peer, NULL);
    if (size == 0) {
        return;
    }
    gv_writer_t w = gv_writer(gv__client_reserve(client, size), size);
    gv__client_commit(client, gv_mqtt_encode_connack(connack, peer, &w));
}

/* What the client has said about the packets it takes. */
static gv_mqtt_peer_t peer_of(const gv_mqtt_connect_t *connect)
{
    const gv_mqtt_props_t *props = &connect->props;
    gv_mqtt_peer_t peer = {.version = connect->version};
    if (gv_mqtt_props_has(props, GV_MQTT_PROP_MAXIMUM_PACKET_SIZE)) {
        peer.packet_size_max = props->maximum_packet_size;
    }
    if (gv_mqtt_props_has(props, GV_MQTT_PROP_REQUEST_PROBLEM_INFORMATION)) {
        peer.is_terse = props->request_problem_information == 0;
    }
    return peer;
}

gv_step_t gv__connect_refuse(gv_client_t *client, gv_mqtt_version_t version,
                             gv_mqtt_reason_t reason)
{
    gv_counter_add(&client->shard->stats.connections_refused, 1);
    gv_log_peer(GV_LOG_INFO, "connect_refused", "peer='%s' version='%s' reason='%s'",
                client->conn->peer, gv_mqtt_version_text(version),
                gv_mqtt_reason_text((uint8_t)reason));
    gv_mqtt_peer_t peer = client->peer;
    peer.version = version;
    gv_mqtt_connack_t connack = {.reason = reason, .props = GV_MQTT_PROPS_NONE};
    gv__explain(&connack.props, &peer, gv__why(GV_MQTT_CONNACK, reason));
    gv_bytes_t elsewhere = gv__drain_reference(client->shard, reason);
    if (elsewhere.size > 0) {
        gv_mqtt_props_set_bytes(&connack.props, GV_MQTT_PROP_SERVER_REFERENCE, elsewhere);
    }
    if (gv_mqtt_encode_connack(&connack, &peer, NULL) == 0) {
        connack.props = GV_MQTT_PROPS_NONE; /* too large for it: the reason alone */
    }
    send_connack(client, &peer, &connack);
    gv__client_end(client, GV_MQTT_SUCCESS, false);
    return GV_STEP_END;
}

/* ---- who it is ------------------------------------------------------------------------------- */

#define ASSIGNED_ID_SIZE 19U

/* An id nobody has, whose home is this shard. */
static void assign_id(gv_shard_t *shard, uint8_t id[ASSIGNED_ID_SIZE])
{
    static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";
    gv_bytes_t view = gv_bytes(id, ASSIGNED_ID_SIZE);
    do {
        memcpy(id, "gv-", 3);
        uint64_t random = gv_rng_u64(&shard->rng);
        for (size_t i = 3; i < ASSIGNED_ID_SIZE; i++) {
            id[i] = (uint8_t)digits[random & 31];
            random = i == 10 ? gv_rng_u64(&shard->rng) : random >> 5;
        }
    } while (gv_shard_home(view, shard->hash_seed, shard->count) != shard->index ||
             gv_session_find(shard, view) != NULL);
}

/* GV_MQTT_SUCCESS, or why this client may not come in, whoever it is. */
static gv_mqtt_reason_t judge(const gv_client_t *client, const gv_mqtt_connect_t *connect)
{
    const gv_shard_t *shard = client->shard;
    if (connect->client_id.size > shard->limits->client_id_size_max) {
        return GV_MQTT_CLIENT_ID_INVALID;
    }
    const gv_mqtt_will_t *will = &connect->will;
    return connect->has_will ? gv__judge_message(shard->limits, will->topic, &will->props,
                                                 will->payload, will->retain)
                             : GV_MQTT_SUCCESS;
}

/* ---- its session ----------------------------------------------------------------------------- */

/* What there was of this client id. */
typedef enum found {
    FOUND_NOTHING,
    FOUND_SESSION,
    FOUND_STORED, /* and ended, as the client wished: it is still on the disk */
} found_t;

void gv__connect_take_over(gv_shard_t *shard, gv_bytes_t id)
{
    gv_session_t *session = gv_session_find(shard, id);
    if (session != NULL && session->client != NULL) {
        gv_counter_add(&shard->stats.takeovers, 1);
        gv__client_end(session->client, GV_MQTT_SESSION_TAKEN_OVER, true);
    }
}

/* Closes an older connection of the same id and ends a session not wanted any more. */
static gv_session_t *session_for(gv_client_t *client, gv_bytes_t id, bool clean_start,
                                 found_t *found)
{
    gv_shard_t *shard = client->shard;
    gv__connect_take_over(shard, id);
    gv_session_t *session = gv_session_find(shard, id);
    *found = session != NULL ? FOUND_SESSION : FOUND_NOTHING;
    if (session != NULL && clean_start) {
        *found = session->durable != NULL ? FOUND_STORED : FOUND_NOTHING;
        gv_session_end(&session);
    }
    if (session == NULL && !gv_journal_is_stored(shard->journal, shard->ended_stamp)) {
        *found = FOUND_STORED; /* it may be this client's that has ended just now */
    }
    return session != NULL ? session : gv_session_new(shard, id, gv__auth_user(client));
}

/* Somebody else's: neither its messages nor its end are this user's business. */
static bool is_anothers(const gv_client_t *client, gv_bytes_t id)
{
    const gv_session_t *session = gv_session_find(client->shard, id);
    return session != NULL && session->owner_size > 0 &&
           !gv_bytes_equal(gv_session_owner(session), gv__auth_user(client));
}

static uint32_t expiry_of(const gv_shard_t *shard, const gv_mqtt_connect_t *connect)
{
    uint32_t wanted_s = 0;
    if (connect->version < GV_MQTT_V5) {
        wanted_s = connect->clean_start ? 0 : GV_EXPIRY_NEVER;
    } else if (gv_mqtt_props_has(&connect->props, GV_MQTT_PROP_SESSION_EXPIRY)) {
        wanted_s = connect->props.session_expiry_s;
    }
    uint32_t max_s = shard->limits->session_expiry_max_s;
    return wanted_s < max_s ? wanted_s : max_s;
}

/* Keeps the will as a message; its expiry is a time span until it is published. */
static gv_err_t keep_will(gv_session_t *session, const gv_mqtt_connect_t *connect)
{
    gv_msgbuf_unref(&session->will);
    session->will_delay_s = 0;
    if (!connect->has_will) {
        return GV_OK;
    }
    const gv_mqtt_will_t *will = &connect->will;
    if (gv_mqtt_props_has(&will->props, GV_MQTT_PROP_WILL_DELAY)) {
        session->will_delay_s = will->props.will_delay_s;
    }
    size_t props_size = gv_mqtt_props_travel_size(&will->props);
    gv_msgbuf_t *props = NULL;
    gv_err_t err = gv_msgbuf_new(props_size, &props);
    if (err != GV_OK) {
        return err;
    }
    gv_writer_t w = gv_writer(gv_msgbuf_data(props), props_size);
    gv_mqtt_props_travel_write(&will->props, &w);
    gv_msgbuf_seal(props);
    gv_publish_t publish = {
        .topic = will->topic,
        .payload = will->payload,
        .props = gv_msgbuf_bytes(props),
        .publisher = session->uid,
        .qos = will->qos,
        .retain = will->retain,
    };
    if (gv_mqtt_props_has(&will->props, GV_MQTT_PROP_MESSAGE_EXPIRY)) {
        /* One more, because none at all is "never". */
        publish.expires_at_ms = (uint64_t)will->props.message_expiry_s * 1000 + 1;
    }
    err = gv_publish_keep(&publish, &session->will);
    gv_publish_done(&publish);
    gv_msgbuf_unref(&props);
    return err;
}

/* ---- what was agreed ------------------------------------------------------------------------- */

/* The number of the terms that the limits of this moment make. */
static uint16_t terms_now(gv_shard_t *shard)
{
    const gv_limits_t *limits = shard->limits;
    gv_terms_t now = {
        .packet_size_max = limits->packet_size_max,
        .receive_max = limits->receive_max,
        .topic_alias_max = limits->topic_alias_max,
    };
    uint32_t i = shard->terms_count;
    while (i > 0 && memcmp(&shard->terms[i - 1], &now, sizeof(now)) != 0) {
        i--;
    }
    if (i > 0) {
        return (uint16_t)(i - 1);
    }
    if (shard->terms_count <= UINT16_MAX) {
        shard->terms_count++;
        shard->terms = gv_xrealloc(shard->terms, shard->terms_count * sizeof(now));
    }
    /* After so many different reloads the newest replace each other. */
    shard->terms[shard->terms_count - 1] = now;
    return (uint16_t)(shard->terms_count - 1);
}

static void agree(gv_client_t *client, const gv_mqtt_connect_t *connect)
{
    const gv_limits_t *limits = client->shard->limits;
    const gv_mqtt_props_t *props = &connect->props;
    client->peer = peer_of(connect);
    client->terms = terms_now(client->shard);
    client->inflight_max = limits->inflight_max;
    if (gv_mqtt_props_has(props, GV_MQTT_PROP_RECEIVE_MAXIMUM) &&
        props->receive_maximum < client->inflight_max) {
        client->inflight_max = props->receive_maximum;
    }
    if (gv_mqtt_props_has(props, GV_MQTT_PROP_TOPIC_ALIAS_MAXIMUM)) {
        client->alias_max = props->topic_alias_maximum < limits->topic_alias_send_max
                                ? props->topic_alias_maximum
                                : limits->topic_alias_send_max;
    }
    client->keep_alive_s = connect->keep_alive_s;
    uint32_t max_s = limits->keepalive_max_s;
    if (max_s != 0 && (client->keep_alive_s == 0 || client->keep_alive_s > max_s) &&
        connect->version >= GV_MQTT_V5) {
        client->keep_alive_s = (uint16_t)max_s;
    }
}

/*
 * CONNACK says that the session of before is gone: it goes out when that is durable, or a crash
 * would bring the session back.
 */
static void send_connack_when_stored(gv_client_t *client, const gv_mqtt_connack_t *connack)
{
    size_t size = gv_mqtt_encode_connack(connack, &client->peer, NULL);
    gv_msgbuf_t *bytes = NULL;
    if (size == 0 || gv_msgbuf_new(size, &bytes) != GV_OK) {
        return;
    }
    gv_writer_t w = gv_writer(gv_msgbuf_data(bytes), size);
    (void)gv_mqtt_encode_connack(connack, &client->peer, &w);
    gv_msgbuf_seal(bytes);
    gv__client_pause(client, GV_PAUSE_STORE);
    gv_ticket_t ticket = gv__client_ticket(client, 0);
    gv_journal_then_send(client->shard->journal, &ticket, bytes);
}

static void tell(gv_client_t *client, const gv_mqtt_connect_t *connect, gv_bytes_t assigned_id,
                 found_t found, gv_bytes_t auth_data)
{
    const gv_limits_t *limits = client->shard->limits;
    const gv_terms_t *terms = gv__client_terms(client);
    gv_mqtt_connack_t connack = {.session_present = found == FOUND_SESSION,
                                 .props = GV_MQTT_PROPS_NONE};
    gv_mqtt_props_t *props = &connack.props;
    if (connect->version >= GV_MQTT_V5) {
        gv_mqtt_props_set_number(props, GV_MQTT_PROP_RECEIVE_MAXIMUM, terms->receive_max);
        gv_mqtt_props_set_number(props, GV_MQTT_PROP_MAXIMUM_PACKET_SIZE, terms->packet_size_max);
        if (terms->topic_alias_max > 0) {
            gv_mqtt_props_set_number(props, GV_MQTT_PROP_TOPIC_ALIAS_MAXIMUM,
                                     terms->topic_alias_max);
        }
        uint32_t wanted_s = gv_mqtt_props_has(&connect->props, GV_MQTT_PROP_SESSION_EXPIRY)
                                ? connect->props.session_expiry_s
                                : 0;
        if (client->session->expiry_s != wanted_s) {
            gv_mqtt_props_set_number(props, GV_MQTT_PROP_SESSION_EXPIRY, client->session->expiry_s);
        }
        if (!limits->retain_available) {
            gv_mqtt_props_set_number(props, GV_MQTT_PROP_RETAIN_AVAILABLE, 0);
        }
        if (client->keep_alive_s != connect->keep_alive_s) {
            gv_mqtt_props_set_number(props, GV_MQTT_PROP_SERVER_KEEP_ALIVE, client->keep_alive_s);
        }
        if (assigned_id.size > 0) {
            gv_mqtt_props_set_bytes(props, GV_MQTT_PROP_ASSIGNED_CLIENT_ID, assigned_id);
        }
        gv_bytes_t method = gv__auth_method(client);
        if (method.size > 0) { /* [MQTT-4.12.0-5] */
            gv_mqtt_props_set_bytes(props, GV_MQTT_PROP_AUTHENTICATION_METHOD, method);
            gv_mqtt_props_set_bytes(props, GV_MQTT_PROP_AUTHENTICATION_DATA, auth_data);
        }
    }
    if (found == FOUND_STORED) {
        send_connack_when_stored(client, &connack);
    } else {
        send_connack(client, &client->peer, &connack);
    }
}

/* Whether one more session is too much for the node. */
static bool is_too_much(gv_shard_t *shard)
{
    uint64_t sessions_max = shard->limits->sessions_max;
    if (gv__memory_is_scarce(shard)) {
        gv_counter_add(&shard->stats.connects_memory_refused, 1);
        return true;
    }
    if (sessions_max != 0 && shard->memory != NULL &&
        gv_memory_sessions(shard->memory) >= sessions_max) {
        gv_counter_add(&shard->stats.sessions_max_refused, 1);
        return true;
    }
    return false;
}

/* Whoever it is may come in. */
static gv_step_t welcome(gv_client_t *client, const gv_mqtt_connect_t *connect,
                         gv_bytes_t auth_data)
{
    gv_shard_t *shard = client->shard;
    uint8_t assigned[ASSIGNED_ID_SIZE];
    gv_bytes_t id = connect->client_id;
    gv_bytes_t assigned_id = GV_BYTES_EMPTY;
    if (id.size == 0) {
        assign_id(shard, assigned);
        assigned_id = gv_bytes(assigned, sizeof(assigned));
        id = assigned_id;
    }
    if (is_anothers(client, id)) {
        return gv__connect_refuse(client, connect->version, GV_MQTT_NOT_AUTHORIZED);
    }
    if (gv_session_find(shard, id) == NULL && is_too_much(shard)) {
        return gv__connect_refuse(client, connect->version, GV_MQTT_QUOTA_EXCEEDED);
    }
    uint32_t expiry_s = expiry_of(shard, connect);
    if (expiry_s > 0 && gv_journal_refuses(shard->journal) &&
        (connect->clean_start || gv_session_find(shard, id) == NULL)) {
        return gv__connect_refuse(client, connect->version, GV_MQTT_QUOTA_EXCEEDED);
    }
    if (assigned_id.size == 0 && gv__claim_must_wait(client, id)) {
        return GV_STEP_AGAIN;
    }
    found_t found = FOUND_NOTHING;
    gv_session_t *session = session_for(client, id, connect->clean_start, &found);
    session->expiry_s = expiry_s;
    session->is_persistent = session->expiry_s > 0;
    if (keep_will(session, connect) != GV_OK) {
        session->expiry_s = found == FOUND_SESSION ? session->expiry_s : 0;
        if (found != FOUND_SESSION) {
            gv_session_end(&session);
        }
        return gv__connect_refuse(client, connect->version, GV_MQTT_QUOTA_EXCEEDED);
    }
    agree(client, connect);
    client->state = GV_CLIENT_CONNECTED;
    client->session = session;
    gv_session_attach(session, client);
    gv__claim_attached(client, assigned_id.size > 0);
    gv__durable_connect(session);
    gv_counter_add(&shard->stats.connections, 1);
    gv_counter_add(&shard->stats.connections_total, 1);
    tell(client, connect, assigned_id, found, auth_data);
    gv__presence_connected(client, connect);
    gv__client_watch(client);
    if (found == FOUND_SESSION) {
        gv__resend(session);
    }
    return GV_STEP_NEXT;
}

gv_step_t gv__connect_accept(gv_client_t *client, const gv_mqtt_connect_t *connect,
                             gv_bytes_t auth_data)
{
    gv_mqtt_reason_t drains = gv__drain_refusal(client->shard);
    gv_mqtt_reason_t reason = drains != GV_MQTT_SUCCESS ? drains : judge(client, connect);
    return reason == GV_MQTT_SUCCESS ? welcome(client, connect, auth_data)
                                     : gv__connect_refuse(client, connect->version, reason);
}

gv_step_t gv__on_connect(gv_client_t *client, const gv_mqtt_frame_t *frame)
{
    gv_shard_t *shard = client->shard;
    gv_mqtt_connect_t connect;
    gv_mqtt_reason_t reason = GV_MQTT_SUCCESS;
    if (gv_mqtt_decode_connect(frame, &connect, &reason) != GV_OK) {
        return gv__connect_refuse(client, connect.version, reason);
    }
    if (client->has_login) {
        return gv__auth_connect_again(client, &connect);
    }
    if (gv__claim_is_granted(client)) {
        return gv__connect_accept(client, &connect, GV_BYTES_EMPTY);
    }
    if (connect.client_id.size > 0) {
        uint16_t home = gv_shard_home(connect.client_id, shard->hash_seed, shard->count);
        if (home != shard->index) {
            gv_conn_t *conn = client->conn;
            gv__client_forget(client);
            shard->ports.conn->move(conn, home);
            return GV_STEP_MOVED;
        }
    }
    client->peer = peer_of(&connect);
    reason = gv__drain_refusal(shard);
    if (reason != GV_MQTT_SUCCESS) {
        return gv__connect_refuse(client, connect.version, reason);
    }
    if (!gv_bucket_try(shard->connects, &shard->limits->connects, shard->now_ms)) {
        gv_counter_add(&shard->stats.connects_rate_refused, 1);
        return gv__connect_refuse(client, connect.version, GV_MQTT_CONNECTION_RATE_EXCEEDED);
    }
    reason = judge(client, &connect);
    if (reason != GV_MQTT_SUCCESS) {
        return gv__connect_refuse(client, connect.version, reason);
    }
    if (gv_mqtt_props_has(&connect.props, GV_MQTT_PROP_AUTHENTICATION_METHOD)) {
        return gv__auth_begin(client, &connect, frame);
    }
    if (connect.has_password && gv__auth_wants_passwords(shard)) {
        return gv__auth_password(client, &connect);
    }
    if (!client->conn->anonymous_allowed) {
        return gv__connect_refuse(client, connect.version,
                                  connect.has_username ? GV_MQTT_BAD_CREDENTIALS
                                                       : GV_MQTT_NOT_AUTHORIZED);
    }
    return welcome(client, &connect, GV_BYTES_EMPTY);
}

gv_step_t gv__on_disconnect(gv_client_t *client, const gv_mqtt_frame_t *frame)
{
    gv_mqtt_disconnect_t disconnect;
    gv_mqtt_reason_t reason = GV_MQTT_SUCCESS;
    if (gv_mqtt_decode_disconnect(frame, &client->peer, &disconnect, &reason) != GV_OK) {
        return gv__client_refuse(client, reason);
    }
    gv_session_t *session = client->session;
    if (gv_mqtt_props_has(&disconnect.props, GV_MQTT_PROP_SESSION_EXPIRY)) {
        uint32_t wanted_s = disconnect.props.session_expiry_s;
        /* [MQTT-3.1.2-23] and 3.14.2.2.2: a session that was to end cannot be kept after all. */
        if (session->expiry_s == 0 && wanted_s != 0) {
            return gv__client_refuse(client, GV_MQTT_PROTOCOL_ERROR);
        }
        uint32_t max_s = client->shard->limits->session_expiry_max_s;
        session->expiry_s = wanted_s < max_s ? wanted_s : max_s;
    }
    /* [MQTT-3.14.4-3]: a normal goodbye takes the will back. */
    gv__client_end(client, GV_MQTT_SUCCESS, disconnect.reason != GV_MQTT_NORMAL_DISCONNECTION);
    return GV_STEP_END;
}
