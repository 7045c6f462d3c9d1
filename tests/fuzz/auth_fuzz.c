/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Logins in every order: CONNECT with a method or a password, AUTH right and wrong, other packets
 * in between, connections that break, time that passes, answers about passwords that come late,
 * nodes that drain; against whole shards with a port (broker/core/auth.h) that lets the input
 * decide.
 *
 * The input is pairs of bytes: what happens, and how.  After each the packets that came are held
 * against section 4.12, and the port sees that no exchange is forgotten or used after its end.
 */
#include "base/log.h"
#include "broker/core/shard_p.h"
#include "tests/unit/broker/core/house.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    SEATS = 4,
    VISITS_MAX = 60, /* what house.h has room for */
    QUESTIONS_MAX = 16,
};

static void require(bool condition, const char *rule)
{
    if (!condition) {
        (void)fprintf(stderr, "broken rule: %s\n", rule);
        abort();
    }
}

/* house.h uses the macros of Check, which call these. */
void _mark_point(const char *file, int line)
{
    (void)file, (void)line;
}

void _ck_assert_failed(const char *file, int line, const char *expr, const char *msg, ...)
{
    (void)msg;
    (void)fprintf(stderr, "%s:%d: %s\n", file, line, expr);
    abort();
}

/* ---- the port ------------------------------------------------------------------------------ */

struct gv_exchange {
    bool is_over;
    uint8_t user;
};

static struct {
    uint32_t alive;   /* exchanges */
    uint32_t credits; /* logins that were good and have not been told */
    bool has_methods;
    gv_ticket_t questions[QUESTIONS_MAX];
    size_t question_count;
} port;

static gv_exchange_t *port_begin(void *arg, gv_bytes_t method)
{
    (void)arg;
    if (!port.has_methods || !gv_bytes_equal(method, GV_BYTES_LITERAL("M"))) {
        return NULL;
    }
    port.alive++;
    return GV_NEW(gv_exchange_t);
}

/* The data says what becomes of it: "c" go on, "d" and a user, anything else is refused. */
static gv_auth_step_t port_step(gv_exchange_t *exchange, gv_bytes_t data, gv_bytes_t *answer_out)
{
    require(!exchange->is_over, "no step after the last");
    *answer_out = GV_BYTES_LITERAL("answer");
    if (data.size > 0 && data.data[0] == 'c') {
        return GV_AUTH_CONTINUE;
    }
    exchange->is_over = true;
    if (data.size < 2 || data.data[0] != 'd') {
        return GV_AUTH_REFUSED;
    }
    exchange->user = data.data[1];
    port.credits++;
    return GV_AUTH_DONE;
}

static gv_bytes_t port_user(const gv_exchange_t *exchange)
{
    return gv_bytes(&exchange->user, exchange->user != 0 ? 1 : 0);
}

static void port_end(gv_exchange_t **exchangep)
{
    require(port.alive > 0, "each exchange ends once");
    port.alive--;
    gv_free(*exchangep);
    *exchangep = NULL;
}

static bool port_wants_passwords(void *arg)
{
    (void)arg;
    return true;
}

static bool port_check_password(void *arg, gv_bytes_t user, gv_bytes_t password,
                                const gv_ticket_t *ticket)
{
    (void)arg, (void)user, (void)password;
    if (port.question_count == QUESTIONS_MAX) {
        return false;
    }
    port.questions[port.question_count++] = *ticket;
    return true;
}

/* ---- clients ------------------------------------------------------------------------------- */

typedef struct seat {
    guest_t *guest; /* NULL: nobody */
    bool has_method;
    bool is_connected;
    bool is_over; /* refused, or told goodbye */
} seat_t;

static struct {
    house_t house;
    size_t visits;
    gv_drain_t drain;
    seat_t seats[SEATS];
} play;

static void set_auth(gv_mqtt_props_t *props, uint8_t how)
{
    static const char *const data[] = {"c", "d1", "d2", "r", "", "d", "c", "d1"};
    static const char *const methods[] = {"M", "M", "M", "N"};
    gv_mqtt_props_set_bytes(props, GV_MQTT_PROP_AUTHENTICATION_METHOD,
                            gv_bytes_text(methods[how >> 3 & 3]));
    if (how < 0xe0) {
        gv_mqtt_props_set_bytes(props, GV_MQTT_PROP_AUTHENTICATION_DATA,
                                gv_bytes_text(data[how & 7]));
    }
}

static void connect(seat_t *seat, uint8_t how, bool by_method)
{
    static const gv_mqtt_version_t versions[] = {GV_MQTT_V5, GV_MQTT_V311, GV_MQTT_V31, GV_MQTT_V5};
    static const char *const ids[] = {"a", "b", "c", "d"};
    if (play.visits == VISITS_MAX) {
        return;
    }
    play.visits++;
    gv_mqtt_version_t version = by_method ? GV_MQTT_V5 : versions[how & 3];
    *seat = (seat_t){.guest = house_visit(&play.house, version), .has_method = by_method};
    seat->guest->conn.anonymous_allowed = false;
    gv_mqtt_connect_t packet = {
        .client_id = gv_bytes_text(ids[how >> 5 & 3]),
        .clean_start = true,
        .has_username = !by_method,
        .username = GV_BYTES_LITERAL("u"),
        .has_password = !by_method,
        .password = GV_BYTES_LITERAL("p"),
    };
    if (by_method) {
        set_auth(&packet.props, how);
        if (how == 0x1f) {
            gv_mqtt_props_set_number(&packet.props, GV_MQTT_PROP_MAXIMUM_PACKET_SIZE, 8);
        }
    }
    guest_connect(seat->guest, packet);
}

static void send_auth(seat_t *seat, uint8_t how)
{
    static const gv_mqtt_reason_t reasons[] = {GV_MQTT_CONTINUE_AUTHENTICATION,
                                               GV_MQTT_REAUTHENTICATE,
                                               GV_MQTT_CONTINUE_AUTHENTICATION, GV_MQTT_SUCCESS};
    uint8_t bytes[64];
    gv_mqtt_auth_t packet = {.reason = reasons[how >> 5 & 3]};
    set_auth(&packet.props, how & 0x9f);
    /* As a server, which may say all three. */
    gv_mqtt_peer_t peer = {.version = GV_MQTT_V5, .is_server = packet.reason != GV_MQTT_SUCCESS};
    gv_writer_t w = gv_writer(bytes, sizeof(bytes));
    guest_send(seat->guest, bytes, gv_mqtt_encode_auth(&packet, &peer, &w));
}

static void send_other(seat_t *seat, uint8_t how)
{
    static const char *const packets[] = {"\xc0\x00",              /* PINGREQ */
                                          "\xe0\x00",              /* DISCONNECT */
                                          "\x30\x04\x00\x01t\x00", /* PUBLISH */
                                          "\xf0\x00",              /* AUTH that says nothing */
                                          "\xf1\x00",
                                          "\x10\x00",
                                          "\x20\x02\x00\x00",
                                          "\x40\x02\x00\x01"};
    static const size_t sizes[] = {2, 2, 6, 2, 2, 2, 4, 4};
    guest_send(seat->guest, packets[how & 7], sizes[how & 7]);
}

/* ---- what comes ---------------------------------------------------------------------------- */

static void look_at_connack(seat_t *seat, const gv_mqtt_frame_t *frame)
{
    gv_mqtt_peer_t server = guest_server(seat->guest);
    gv_mqtt_connack_t connack;
    gv_mqtt_reason_t reason;
    require(gv_mqtt_decode_connack(frame, &server, &connack, &reason) == GV_OK, "CONNACK");
    require(!seat->is_connected, "one CONNACK");
    if (connack.reason != GV_MQTT_SUCCESS) {
        seat->is_over = true;
        return;
    }
    require(port.credits > 0, "nobody comes in who has not shown who it is");
    port.credits--;
    seat->is_connected = true;
    bool has_method = gv_mqtt_props_has(&connack.props, GV_MQTT_PROP_AUTHENTICATION_METHOD);
    require(has_method == seat->has_method, "[MQTT-4.12.0-5], [MQTT-4.12.0-6]");
}

static void look_at_auth(seat_t *seat, const gv_mqtt_frame_t *frame)
{
    gv_mqtt_peer_t server = guest_server(seat->guest);
    gv_mqtt_auth_t auth;
    gv_mqtt_reason_t reason;
    require(gv_mqtt_decode_auth(frame, &server, &auth, &reason) == GV_OK, "AUTH");
    require(seat->has_method, "[MQTT-4.12.0-6]");
    require(gv_bytes_equal(auth.props.authentication_method, GV_BYTES_LITERAL("M")), "the method");
    if (auth.reason == GV_MQTT_SUCCESS) {
        require(seat->is_connected && port.credits > 0, "success is shown before it is told");
        port.credits--;
    }
}

static void look(seat_t *seat)
{
    guest_t *guest = seat->guest;
    gv_mqtt_frame_t frame;
    while (guest != NULL && gv_mqtt_frame(gv_bytes(guest->received, guest->received_size),
                                          GV_MQTT_PACKET_SIZE_MAX, &frame) == GV_OK) {
        require(!seat->is_over, "nothing after the end");
        if (frame.type == GV_MQTT_CONNACK) {
            look_at_connack(seat, &frame);
        } else if (frame.type == GV_MQTT_AUTH) {
            look_at_auth(seat, &frame);
        } else {
            require(seat->is_connected, "before CONNACK only AUTH");
            seat->is_over = frame.type == GV_MQTT_DISCONNECT;
        }
        memmove(guest->received, guest->received + frame.size, guest->received_size - frame.size);
        guest->received_size -= frame.size;
    }
    require(guest == NULL || !seat->is_over || guest->is_gone, "who is told so is closed");
}

/* ---- steps --------------------------------------------------------------------------------- */

static void answer_question(uint8_t how)
{
    if (port.question_count == 0) {
        return;
    }
    gv_ticket_t *place = &port.questions[how % port.question_count];
    gv_ticket_t ticket = *place;
    port.question_count--;
    *place = port.questions[port.question_count];
    /* An answer for somebody who has gone is told nobody. */
    bool is_awaited = gv__client_of(play.house.shards[ticket.shard], &ticket) != NULL;
    bool is_good = how < 0xc0;
    port.credits += is_good && is_awaited ? 1 : 0;
    gv_shard_password_checked(play.house.shards[ticket.shard], &ticket, is_good);
    house_settle(&play.house);
}

static void drain(bool begins)
{
    play.drain = (gv_drain_t){.reason = GV_MQTT_SERVER_SHUTTING_DOWN, .is_final = true};
    for (uint16_t i = 0; i < play.house.shard_count; i++) {
        if (begins) {
            gv_shard_drain(play.house.shards[i], &play.drain);
        } else {
            gv_shard_undrain(play.house.shards[i]);
        }
    }
    house_settle(&play.house);
}

static void leave(seat_t *seat)
{
    if (seat->guest != NULL) {
        guest_leave(seat->guest);
        look(seat);
        seat->guest = NULL;
    }
}

static void take_step(uint8_t what, uint8_t how)
{
    seat_t *seat = &play.seats[what >> 4 & 3];
    bool is_there = seat->guest != NULL && !seat->guest->is_gone;
    switch (what & 15) {
    case 0:
    case 1:
    case 2:
        leave(seat);
        connect(seat, how, (what & 15) != 2);
        break;
    case 3:
    case 4:
    case 5:
    case 6:
        if (is_there) {
            send_auth(seat, how);
        }
        break;
    case 7:
    case 8:
        if (is_there) {
            send_other(seat, how);
        }
        break;
    case 9:
        if (is_there) { /* bytes of no packet, or the beginning of one */
            guest_send(seat->guest, &how, 1);
        }
        break;
    case 10:
    case 11:
        answer_question(how);
        break;
    case 12:
        play.house.now_ms += (uint64_t)how * 100;
        (void)gv_timerwheel_advance(play.house.wheel, play.house.now_ms);
        house_settle(&play.house);
        break;
    case 13:
        leave(seat);
        break;
    case 14:
        port.has_methods = how < 0xc0;
        break;
    default:
        drain(how < 0x40);
        break;
    }
    for (size_t i = 0; i < SEATS; i++) {
        look(&play.seats[i]);
    }
    /* Whom the node could not tell: a packet too large for its client, or it was just leaving. */
    port.credits = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gv_log_set_level(GV_LOG_ERROR);
    memset(&play, 0, sizeof(play));
    memset(&port, 0, sizeof(port));
    port.has_methods = true;
    house_open_with(&play.house, 2,
                    (gv_auth_ports_t){.begin = port_begin,
                                      .step = port_step,
                                      .user = port_user,
                                      .end = port_end,
                                      .wants_passwords = port_wants_passwords,
                                      .check_password = port_check_password});
    for (size_t i = 0; i + 1 < size; i += 2) {
        take_step(data[i], data[i + 1]);
    }
    for (size_t i = 0; i < SEATS; i++) {
        leave(&play.seats[i]);
    }
    house_close(&play.house);
    require(port.alive == 0, "each exchange ends");
    return 0;
}
