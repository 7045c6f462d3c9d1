/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CONNECT and DISCONNECT: whose connection this is, where it belongs, and what becomes of the
 * session that was there before.
 */
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

static gv_step_t refuse_connect(gv_client_t *client, gv_mqtt_version_t version,
                                gv_mqtt_reason_t reason)
{
    gv_counter_add(&client->shard->stats.connections_refused, 1);
    gv_log_peer(GV_LOG_INFO, "connect_refused", "peer='%s' version='%s' reason='%s'",
                client->conn->peer, gv_mqtt_version_text(version),
                gv_mqtt_reason_text((uint8_t)reason));
    gv_mqtt_peer_t peer = {.version = version};
    gv_mqtt_connack_t connack = {.reason = reason, .props = GV_MQTT_PROPS_NONE};
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

/* GV_MQTT_SUCCESS, or why this client may not come in. */
static gv_mqtt_reason_t judge(const gv_client_t *client, const gv_mqtt_connect_t *connect)
{
    const gv_shard_t *shard = client->shard;
    if (connect->client_id.size > shard->limits->client_id_size_max) {
        return GV_MQTT_CLIENT_ID_INVALID;
    }
    if (gv_mqtt_props_has(&connect->props, GV_MQTT_PROP_AUTHENTICATION_METHOD)) {
        return GV_MQTT_BAD_AUTHENTICATION_METHOD;
    }
    if (!client->conn->anonymous_allowed) {
        return GV_MQTT_NOT_AUTHORIZED;
    }
    if (shard->is_draining) {
        return GV_MQTT_SERVER_UNAVAILABLE;
    }
    if (connect->has_will && connect->will.retain && !shard->limits->retain_available) {
        return GV_MQTT_RETAIN_NOT_SUPPORTED;
    }
    return GV_MQTT_SUCCESS;
}

/* ---- its session ----------------------------------------------------------------------------- */

/* Closes an older connection of the same id [MQTT-3.1.4-3] and ends a session not wanted any more.
 */
static gv_session_t *session_for(gv_shard_t *shard, gv_bytes_t id, bool clean_start,
                                 bool *is_present)
{
    gv_session_t *session = gv_session_find(shard, id);
    if (session != NULL && session->client != NULL) {
        gv_counter_add(&shard->stats.takeovers, 1);
        gv__client_end(session->client, GV_MQTT_SESSION_TAKEN_OVER, true);
        session = gv_session_find(shard, id);
    }
    if (session != NULL && clean_start) {
        gv_session_end(&session);
    }
    *is_present = session != NULL;
    return session != NULL ? session : gv_session_new(shard, id);
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

static void agree(gv_client_t *client, const gv_mqtt_connect_t *connect)
{
    const gv_limits_t *limits = client->shard->limits;
    const gv_mqtt_props_t *props = &connect->props;
    client->peer.version = connect->version;
    client->inflight_max = limits->inflight_max;
    if (gv_mqtt_props_has(props, GV_MQTT_PROP_RECEIVE_MAXIMUM) &&
        props->receive_maximum < client->inflight_max) {
        client->inflight_max = props->receive_maximum;
    }
    if (gv_mqtt_props_has(props, GV_MQTT_PROP_MAXIMUM_PACKET_SIZE)) {
        client->peer.packet_size_max = props->maximum_packet_size;
    }
    if (gv_mqtt_props_has(props, GV_MQTT_PROP_REQUEST_PROBLEM_INFORMATION)) {
        client->peer.is_terse = props->request_problem_information == 0;
    }
    client->keep_alive_s = connect->keep_alive_s;
    uint32_t max_s = limits->keepalive_max_s;
    if (max_s != 0 && (client->keep_alive_s == 0 || client->keep_alive_s > max_s) &&
        connect->version >= GV_MQTT_V5) {
        client->keep_alive_s = (uint16_t)max_s;
    }
}

static void tell(gv_client_t *client, const gv_mqtt_connect_t *connect, gv_bytes_t assigned_id,
                 bool is_present)
{
    const gv_limits_t *limits = client->shard->limits;
    gv_mqtt_connack_t connack = {.session_present = is_present, .props = GV_MQTT_PROPS_NONE};
    gv_mqtt_props_t *props = &connack.props;
    if (connect->version >= GV_MQTT_V5) {
        gv_mqtt_props_set_number(props, GV_MQTT_PROP_RECEIVE_MAXIMUM, limits->receive_max);
        gv_mqtt_props_set_number(props, GV_MQTT_PROP_MAXIMUM_PACKET_SIZE, limits->packet_size_max);
        if (limits->topic_alias_max > 0) {
            gv_mqtt_props_set_number(props, GV_MQTT_PROP_TOPIC_ALIAS_MAXIMUM,
                                     limits->topic_alias_max);
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
    }
    send_connack(client, &client->peer, &connack);
}

gv_step_t gv__on_connect(gv_client_t *client, const gv_mqtt_frame_t *frame)
{
    gv_shard_t *shard = client->shard;
    gv_mqtt_connect_t connect;
    gv_mqtt_reason_t reason = GV_MQTT_SUCCESS;
    if (gv_mqtt_decode_connect(frame, &connect, &reason) != GV_OK) {
        return refuse_connect(client, connect.version, reason);
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
    reason = judge(client, &connect);
    if (reason != GV_MQTT_SUCCESS) {
        return refuse_connect(client, connect.version, reason);
    }

    uint8_t assigned[ASSIGNED_ID_SIZE];
    gv_bytes_t id = connect.client_id;
    gv_bytes_t assigned_id = GV_BYTES_EMPTY;
    if (id.size == 0) {
        assign_id(shard, assigned);
        assigned_id = gv_bytes(assigned, sizeof(assigned));
        id = assigned_id;
    }
    bool is_present = false;
    gv_session_t *session = session_for(shard, id, connect.clean_start, &is_present);
    session->expiry_s = expiry_of(shard, &connect);
    session->is_persistent = session->expiry_s > 0;
    if (keep_will(session, &connect) != GV_OK) {
        session->expiry_s = is_present ? session->expiry_s : 0;
        if (!is_present) {
            gv_session_end(&session);
        }
        return refuse_connect(client, connect.version, GV_MQTT_QUOTA_EXCEEDED);
    }
    agree(client, &connect);
    client->state = GV_CLIENT_CONNECTED;
    client->session = session;
    gv_session_attach(session, client);
    gv_counter_add(&shard->stats.connections, 1);
    gv_counter_add(&shard->stats.connections_total, 1);
    tell(client, &connect, assigned_id, is_present);
    gv__client_watch(client);
    if (is_present) {
        gv__resend(session);
    }
    return GV_STEP_NEXT;
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
