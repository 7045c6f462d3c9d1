/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Enhanced authentication (section 4.12): the messages of an exchange, carried by CONNECT, AUTH and
 * CONNACK, or by AUTH alone when a connected client shows anew who it is.
 *
 *     CONNECT ---> begin, step ---> AUTH 0x18 ---> step ---> CONNACK 0x00
 *                       `----------> CONNACK 0x87 <---'        |
 *                                                              v
 *               AUTH 0x19 ---> begin, step ---> AUTH 0x18 ---> step ---> AUTH 0x00
 *                                    `------> DISCONNECT 0x87 <---'
 *
 * and the older way, a name and a password in CONNECT, which are checked elsewhere meanwhile.
 *
 * What the messages mean is the port's (auth.h).  Until CONNACK a client costs a copy of its
 * CONNECT and what the method keeps, a few kilobytes at most; afterwards its name.
 */
#define GV_MEMORY_OF GV_MEMORY_CONNECTIONS

#include "base/alloc.h"
#include "base/log.h"
#include "broker/core/shard_p.h"

/* Largest CONNECT kept while its client authenticates [bytes]. */
#define KEPT_CONNECT_SIZE_MAX 8192U

/* What an exchange needs, and only as long as it lasts. */
typedef struct gv_pending {
    gv_exchange_t *exchange;
    gv_login_t *login;
    gv_timer_t deadline; /* of a re-authentication; before CONNACK the connection has its own */
    gv_bytes_t answer;   /* the last one, for CONNACK */
    bool is_done;        /* it is over, and CONNACK waits for something else */
    uint8_t connect_flags;
    size_t connect_size;
    uint8_t connect[]; /* the body of the CONNECT that waits for its CONNACK */
} gv_pending_t;

/* What is known of the password in a CONNECT. */
enum {
    PASSWORD_NONE, /* the client logs in by a method */
    PASSWORD_IS_CHECKED,
    PASSWORD_GOOD,
    PASSWORD_BAD,
};

/* A client that authenticates, or has. */
struct gv_login {
    gv_client_t *client;
    gv_pending_t *pending; /* NULL unless an exchange is under way */
    uint8_t *user;         /* NULL until it has shown who it is */
    uint32_t index;        /* the client's: the key */
    uint16_t user_size;
    uint8_t password;
    uint16_t method_size; /* 0: by password */
    uint8_t method[];
};

/* ---- who has logged in ----------------------------------------------------------------------- */

static gv_bytes_t login_key(const void *value)
{
    const gv_login_t *login = value;
    return gv_bytes(&login->index, sizeof(login->index));
}

void gv__logins_init(gv_shard_t *shard)
{
    gv_map_init(&shard->logins, login_key, shard->hash_seed);
}

void gv__logins_deinit(gv_shard_t *shard)
{
    GV_ASSERT(gv_map_count(&shard->logins) == 0);
    gv_map_deinit(&shard->logins);
}

static gv_login_t *login_of(const gv_client_t *client)
{
    return client->has_login ? gv_map_find(&client->shard->logins,
                                           gv_bytes(&client->index, sizeof(client->index)))
                             : NULL;
}

static gv_login_t *login_new(gv_client_t *client, gv_bytes_t method)
{
    gv_login_t *login = gv_xcalloc(1, sizeof(*login) + method.size);
    login->client = client;
    login->index = client->index;
    login->method_size = (uint16_t)method.size;
    if (method.size > 0) {
        memcpy(login->method, method.data, method.size);
    }
    gv_map_add(&client->shard->logins, login);
    client->has_login = true;
    return login;
}

gv_bytes_t gv__auth_method(const gv_client_t *client)
{
    const gv_login_t *login = login_of(client);
    return login != NULL ? gv_bytes(login->method, login->method_size) : GV_BYTES_EMPTY;
}

gv_bytes_t gv__auth_user(const gv_client_t *client)
{
    const gv_login_t *login = login_of(client);
    return login != NULL ? gv_bytes(login->user, login->user_size) : GV_BYTES_EMPTY;
}

static void end_exchange(gv_login_t *login)
{
    gv_pending_t *pending = login->pending;
    if (pending == NULL) {
        return;
    }
    login->pending = NULL;
    gv_timer_stop(&pending->deadline);
    login->client->shard->ports.auth.end(&pending->exchange);
    gv_free(pending);
}

void gv__auth_forget(gv_client_t *client)
{
    gv_login_t *login = login_of(client);
    if (login == NULL) {
        return;
    }
    client->has_login = false;
    (void)gv_map_remove(&client->shard->logins, login_key(login));
    end_exchange(login);
    gv_free(login->user);
    gv_free(login);
}

/* ---- failure --------------------------------------------------------------------------------- */

static void note_failure(const gv_client_t *client, gv_bytes_t user)
{
    gv_counter_add(&client->shard->stats.authentications_failed, 1);
    char text[64];
    gv_log_peer(GV_LOG_INFO, "authentication_failed", "peer='%s' user='%s'", client->conn->peer,
                gv_bytes_printable(user, text, sizeof(text)));
}

/* Whom an exchange that is under way is about. */
static gv_bytes_t said_user(const gv_login_t *login)
{
    return login->client->shard->ports.auth.user(login->pending->exchange);
}

/* [MQTT-4.12.1-2] */
static gv_step_t refuse_again(gv_client_t *client)
{
    gv__client_end(client, GV_MQTT_NOT_AUTHORIZED, true);
    return GV_STEP_END;
}

static void on_deadline(gv_timer_t *timer)
{
    gv_pending_t *pending = gv_container_of(timer, gv_pending_t, deadline);
    gv_client_t *client = pending->login->client;
    gv_shard_t *shard = client->shard;
    shard->now_ms = shard->ports.monotonic_ms(shard->ports.arg);
    note_failure(client, said_user(pending->login));
    shard->ports.read_begin(shard->ports.arg);
    (void)refuse_again(client);
    shard->ports.read_end(shard->ports.arg);
}

/* ---- the exchange ---------------------------------------------------------------------------- */

/* The exchange of a method, or NULL when there is none of that name. */
static gv_exchange_t *begin(const gv_shard_t *shard, gv_bytes_t method)
{
    const gv_auth_ports_t *port = &shard->ports.auth;
    return port->begin != NULL ? port->begin(port->arg, method) : NULL;
}

static gv_pending_t *pending_new(gv_login_t *login, gv_exchange_t *exchange, gv_bytes_t connect)
{
    gv_pending_t *pending = gv_xcalloc(1, sizeof(*pending) + connect.size);
    pending->exchange = exchange;
    pending->login = login;
    gv_timer_init(&pending->deadline, on_deadline);
    pending->connect_size = connect.size;
    if (connect.size > 0) {
        memcpy(pending->connect, connect.data, connect.size);
    }
    login->pending = pending;
    return pending;
}

/* Only the first time: who is connected stays the same. */
static bool is_or_becomes(gv_login_t *login, gv_bytes_t user)
{
    if (login->user != NULL) {
        return gv_bytes_equal(gv_bytes(login->user, login->user_size), user);
    }
    login->user = gv_xalloc(user.size);
    login->user_size = (uint16_t)user.size;
    memcpy(login->user, user.data, user.size);
    return true;
}

static gv_auth_step_t step(gv_login_t *login, const gv_mqtt_props_t *props, gv_bytes_t *answer)
{
    const gv_auth_ports_t *port = &login->client->shard->ports.auth;
    bool has_data = gv_mqtt_props_has(props, GV_MQTT_PROP_AUTHENTICATION_DATA);
    gv_auth_step_t result = port->step(
        login->pending->exchange, has_data ? props->authentication_data : GV_BYTES_EMPTY, answer);
    if (result == GV_AUTH_DONE && !is_or_becomes(login, said_user(login))) {
        result = GV_AUTH_REFUSED;
    }
    if (result == GV_AUTH_REFUSED) {
        note_failure(login->client, said_user(login));
    }
    return result;
}

/* False: the client takes no packet of that size, so there can be no exchange. */
static bool send_auth(const gv_login_t *login, gv_mqtt_reason_t reason, gv_bytes_t data)
{
    gv_client_t *client = login->client;
    gv_mqtt_auth_t auth = {.reason = reason, .props = GV_MQTT_PROPS_NONE};
    gv_mqtt_props_set_bytes(&auth.props, GV_MQTT_PROP_AUTHENTICATION_METHOD,
                            gv_bytes(login->method, login->method_size));
    gv_mqtt_props_set_bytes(&auth.props, GV_MQTT_PROP_AUTHENTICATION_DATA, data);
    size_t size = gv_mqtt_encode_auth(&auth, &client->peer, NULL);
    if (size == 0) {
        return false;
    }
    gv_writer_t w = gv_writer(gv__client_reserve(client, size), size);
    gv__client_commit(client, gv_mqtt_encode_auth(&auth, &client->peer, &w));
    return true;
}

/* An AUTH that belongs here: of the method agreed on [MQTT-4.12.1-1]. */
static bool read_auth(const gv_login_t *login, const gv_mqtt_frame_t *frame, gv_mqtt_auth_t *out,
                      gv_mqtt_reason_t *reason)
{
    if (gv_mqtt_decode_auth(frame, &login->client->peer, out, reason) != GV_OK) {
        return false;
    }
    *reason = GV_MQTT_PROTOCOL_ERROR;
    return gv_bytes_equal(out->props.authentication_method,
                          gv_bytes(login->method, login->method_size));
}

/* ---- before CONNACK -------------------------------------------------------------------------- */

/* `answer` is valid until the exchange ends, so that comes last. */
static gv_step_t go_on_connecting(gv_login_t *login, const gv_mqtt_connect_t *connect,
                                  gv_auth_step_t result, gv_bytes_t answer)
{
    gv_client_t *client = login->client;
    gv_step_t next = GV_STEP_NEXT;
    switch (result) {
    case GV_AUTH_CONTINUE: /* [MQTT-4.12.0-2] */
        if (!send_auth(login, GV_MQTT_CONTINUE_AUTHENTICATION, answer)) {
            return gv__connect_refuse(client, connect->version, GV_MQTT_PACKET_TOO_LARGE);
        }
        client->state = GV_CLIENT_AUTHENTICATES;
        return GV_STEP_NEXT;
    case GV_AUTH_DONE:
        next = gv__connect_accept(client, connect, answer);
        if (next == GV_STEP_AGAIN) { /* and its packet is offered again */
            login->pending->is_done = true;
            login->pending->answer = answer;
        } else if (client->has_login) { /* it has not ended again */
            end_exchange(login);
        }
        return next;
    case GV_AUTH_REFUSED: /* [MQTT-4.12.0-4] */
        break;
    }
    return gv__connect_refuse(client, connect->version, GV_MQTT_NOT_AUTHORIZED);
}

gv_step_t gv__auth_begin(gv_client_t *client, const gv_mqtt_connect_t *connect,
                         const gv_mqtt_frame_t *frame)
{
    if (frame->body.size > KEPT_CONNECT_SIZE_MAX) {
        return gv__connect_refuse(client, connect->version, GV_MQTT_PACKET_TOO_LARGE);
    }
    gv_exchange_t *exchange = begin(client->shard, connect->props.authentication_method);
    if (exchange == NULL) { /* [MQTT-4.12.0-1] */
        return gv__connect_refuse(client, connect->version, GV_MQTT_BAD_AUTHENTICATION_METHOD);
    }
    gv_login_t *login = login_new(client, connect->props.authentication_method);
    pending_new(login, exchange, frame->body)->connect_flags = frame->flags;
    gv_bytes_t answer = GV_BYTES_EMPTY;
    gv_auth_step_t result = step(login, &connect->props, &answer);
    return go_on_connecting(login, connect, result, answer);
}

/* The CONNECT that waits, which has been read without an error once. */
static gv_mqtt_connect_t kept_connect(const gv_pending_t *pending)
{
    gv_mqtt_frame_t frame = {
        .type = GV_MQTT_CONNECT,
        .flags = pending->connect_flags,
        .body = gv_bytes(pending->connect, pending->connect_size),
    };
    gv_mqtt_connect_t connect;
    gv_mqtt_reason_t reason;
    gv_err_t err = gv_mqtt_decode_connect(&frame, &connect, &reason);
    GV_ASSERT(err == GV_OK);
    return connect;
}

gv_step_t gv__auth_packet(gv_client_t *client, const gv_mqtt_frame_t *frame)
{
    gv_login_t *login = login_of(client);
    GV_ASSERT(login != NULL && login->pending != NULL);
    if (login->pending->is_done) {
        gv_mqtt_connect_t connect = kept_connect(login->pending);
        return go_on_connecting(login, &connect, GV_AUTH_DONE, login->pending->answer);
    }
    if (frame->type == GV_MQTT_DISCONNECT) { /* the other thing it may say [MQTT-3.1.2-30] */
        gv__client_end(client, GV_MQTT_SUCCESS, false);
        return GV_STEP_END;
    }
    gv_mqtt_auth_t auth;
    gv_mqtt_reason_t reason = GV_MQTT_PROTOCOL_ERROR;
    if (frame->type != GV_MQTT_AUTH || !read_auth(login, frame, &auth, &reason)) {
        return gv__client_refuse(client, reason);
    }
    if (auth.reason != GV_MQTT_CONTINUE_AUTHENTICATION) {
        return gv__client_refuse(client, GV_MQTT_PROTOCOL_ERROR);
    }
    gv_mqtt_connect_t connect = kept_connect(login->pending);
    gv_bytes_t answer = GV_BYTES_EMPTY;
    gv_auth_step_t result = step(login, &auth.props, &answer);
    return go_on_connecting(login, &connect, result, answer);
}

/* ---- by password ----------------------------------------------------------------------------- */

bool gv__auth_wants_passwords(const gv_shard_t *shard)
{
    const gv_auth_ports_t *port = &shard->ports.auth;
    return port->wants_passwords != NULL && port->wants_passwords(port->arg);
}

/*
 * The CONNECT stays where it is, in the input, which is not read on: what a client has sent behind
 * it (before v5 it may, section 3.1.4) waits with it.
 */
gv_step_t gv__auth_password(gv_client_t *client, const gv_mqtt_connect_t *connect)
{
    const gv_auth_ports_t *port = &client->shard->ports.auth;
    gv_ticket_t ticket = gv__client_ticket(client, 0);
    if (!port->check_password(port->arg, connect->username, connect->password, &ticket)) {
        return gv__connect_refuse(client, connect->version, GV_MQTT_SERVER_BUSY);
    }
    login_new(client, GV_BYTES_EMPTY)->password = PASSWORD_IS_CHECKED;
    gv__client_pause(client, GV_PAUSE_PASSWORD);
    return GV_STEP_AGAIN;
}

void gv_shard_password_checked(gv_shard_t *shard, const gv_ticket_t *ticket, bool is_good)
{
    gv_client_t *client = gv__client_of(shard, ticket);
    gv_login_t *login = client != NULL ? login_of(client) : NULL;
    if (login != NULL && login->password == PASSWORD_IS_CHECKED) {
        login->password = is_good ? PASSWORD_GOOD : PASSWORD_BAD;
        gv__client_resume(client, GV_PAUSE_PASSWORD);
    }
}

gv_step_t gv__auth_connect_again(gv_client_t *client, const gv_mqtt_connect_t *connect)
{
    gv_login_t *login = login_of(client);
    if (login->pending != NULL) { /* a method with one step */
        GV_ASSERT(login->pending->is_done);
        return go_on_connecting(login, connect, GV_AUTH_DONE, login->pending->answer);
    }
    GV_ASSERT(login->password == PASSWORD_GOOD || login->password == PASSWORD_BAD);
    if (login->password == PASSWORD_BAD) {
        note_failure(client, connect->username);
        return gv__connect_refuse(client, connect->version, GV_MQTT_BAD_CREDENTIALS);
    }
    bool is_first = is_or_becomes(login, connect->username);
    GV_ASSERT(is_first);
    return gv__connect_accept(client, connect, GV_BYTES_EMPTY);
}

/* ---- on a connection that lives -------------------------------------------------------------- */

/* False: that is no AUTH that could come now, or the method is offered no more. */
static bool begin_again(gv_login_t *login, gv_mqtt_reason_t *reason)
{
    gv_shard_t *shard = login->client->shard;
    *reason = GV_MQTT_PROTOCOL_ERROR;
    if (login->pending != NULL) {
        return false;
    }
    gv_exchange_t *exchange = begin(shard, gv_bytes(login->method, login->method_size));
    if (exchange == NULL) {
        *reason = GV_MQTT_NOT_AUTHORIZED;
        return false;
    }
    gv_pending_t *pending = pending_new(login, exchange, GV_BYTES_EMPTY);
    gv_timer_start(shard->wheel, &pending->deadline,
                   shard->now_ms + shard->limits->connect_timeout_ms);
    return true;
}

gv_step_t gv__on_auth(gv_client_t *client, const gv_mqtt_frame_t *frame)
{
    gv_login_t *login = login_of(client);
    if (login == NULL || login->method_size == 0) { /* no method agreed on [MQTT-4.12.0-7] */
        return gv__client_refuse(client, GV_MQTT_PROTOCOL_ERROR);
    }
    gv_mqtt_auth_t auth;
    gv_mqtt_reason_t reason = GV_MQTT_PROTOCOL_ERROR;
    if (!read_auth(login, frame, &auth, &reason)) {
        return gv__client_refuse(client, reason);
    }
    bool begins = auth.reason == GV_MQTT_REAUTHENTICATE;
    reason = GV_MQTT_PROTOCOL_ERROR;
    if (begins ? !begin_again(login, &reason) : login->pending == NULL) {
        return gv__client_refuse(client, reason);
    }
    gv_bytes_t answer = GV_BYTES_EMPTY;
    gv_auth_step_t result = step(login, &auth.props, &answer);
    if (result == GV_AUTH_REFUSED ||
        !send_auth(login,
                   result == GV_AUTH_DONE ? GV_MQTT_SUCCESS : GV_MQTT_CONTINUE_AUTHENTICATION,
                   answer)) {
        return refuse_again(client);
    }
    if (result == GV_AUTH_DONE) {
        end_exchange(login);
    }
    return GV_STEP_NEXT;
}
