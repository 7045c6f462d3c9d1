/* SPDX-License-Identifier: Apache-2.0 */
/* What clients say. */
#include "shard_play.h"

const char *const play_topics[TOPICS] = {
    "t/alpha", "t/beta-with-a-longer-name", "t/gamma/deep", "s/shared-by-groups",
    "s/two",   "r/kept/for/later",          "plain",        "/",
};

const char *const play_filters[FILTERS] = {
    "t/#",     "t/+",
    "#",       "+/+",
    "t/alpha", "t/beta-with-a-longer-name",
    "s/#",     "r/#",
    "plain",   "/",
    "+",       "$share/g/s/#",
    "a#",      "",
    "$SYS/#",  "$share/h/s/+",
};

/* ---- seats ----------------------------------------------------------------------------------- */

seat_t *play_visit(play_t *play, gv_mqtt_version_t version)
{
    if (play->seat_count == SEATS_MAX) {
        return NULL;
    }
    seat_t *seat = GV_NEW(seat_t);
    seat->guest = house_visit(&play->house, version);
    seat->end_size = SIZE_MAX;
    play->seats[play->seat_count++] = seat;
    return seat;
}

void play_stand_up(play_t *play, seat_t *seat)
{
    role_t *role = seat->role;
    seat->role = NULL;
    play->wills_due += seat->has_will ? 1 : 0;
    if (role != NULL && role->seat == seat) {
        role->seat = NULL;
        role->is_lost |= !seat->has_connack; /* has the node seen its CONNECT? */
        role->ends_at_ms = play->house.now_ms + (uint64_t)role->expiry_s * 1000;
        if (role->expiry_s == 0) {
            role->has_session = false;
        }
    }
}

void play_cut(play_t *play, seat_t *seat)
{
    play_watch(play);
    play_stand_up(play, seat);
    if (!seat->guest->is_gone) {
        seat->guest->is_gone = true;
        gv_client_closed(&seat->guest->conn.client);
    }
}

void play_clear_table(play_t *play)
{
    for (size_t i = 0; i < play->seat_count; i++) {
        seat_t *seat = play->seats[i];
        if (!seat->guest->is_gone) {
            continue;
        }
        house_t *house = &play->house;
        for (size_t k = 0; k < house->guest_count; k++) {
            if (house->guests[k] == seat->guest) {
                house->guests[k] = house->guests[--house->guest_count];
                break;
            }
        }
        guest_free(seat->guest);
        gv_free(seat);
        play->seats[i--] = play->seats[--play->seat_count];
    }
}

/* What a client may still rely on when the node has lost what was not on the disk. */
static void survive_crash(role_t *role)
{
    role->is_unsure = role->has_session;
    role->has_crashed = true;
    size_t left = 0;
    for (size_t i = 0; i < role->flight_count; i++) {
        flight_t flight = role->flights[i];
        flight.is_taken = flight.has_pubrel; /* PUBREL says that PUBREC is on the disk */
        if (flight.qos == 2 && flight.stage != GV_STAGE_DONE) {
            role->flights[left++] = flight;
        }
    }
    role->flight_count = left;
}

void play_crash(play_t *play, gv_mem_crash_t kind, uint32_t steps)
{
    play_watch(play);
    house_die(&play->house, kind, steps);
    play_watch(play);
    play_trace("the node dies\n");
    for (size_t i = 0; i < play->seat_count; i++) {
        play_stand_up(play, play->seats[i]);
        gv_free(play->seats[i]);
    }
    play->seat_count = 0;
    house_revive(&play->house);
    play->crashed_at = play->message_count;
    for (size_t i = 0; i < ROLES; i++) {
        survive_crash(&play->roles[i]);
    }
    role_t *witness = &play->roles[WITNESS];
    witness->is_unsure = false; /* it has had its SUBACK */
    play_connect(play, witness, GV_MQTT_V5, &(play_connect_t){.expiry_s = GV_EXPIRY_NEVER});
}

/* The node may have understood something else than we meant. */
static void lose(play_t *play, seat_t *seat)
{
    play->has_damage = true;
    seat->is_wild = true;
    role_t *role = seat->role;
    if (role == NULL) {
        return;
    }
    role->is_lost = true;
    for (size_t i = 0; i < role->pending_count; i++) {
        play->messages[role->pending[i].message].is_lost = true;
    }
    role->pending_count = 0;
}

/* True: as it is; false: damaged. */
static bool push(play_t *play, seat_t *seat, uint8_t *bytes, size_t size)
{
    play_must(size > 0, "a packet of the fuzzer is none");
    bool is_whole = seat->damage == 0;
    if (!is_whole) {
        bytes[seat->damage_at % size] ^= seat->damage;
        seat->damage = 0;
        lose(play, seat);
    }
    guest_push(seat->guest, bytes, size);
    return is_whole;
}

void play_rant(play_t *play, seat_t *seat, const uint8_t *bytes, size_t size)
{
    lose(play, seat);
    guest_push(seat->guest, bytes, size);
}

/* ---- CONNECT, DISCONNECT --------------------------------------------------------------------- */

static gv_mqtt_connect_t connect_packet(const role_t *role, gv_mqtt_version_t version,
                                        const play_connect_t *options)
{
    gv_mqtt_connect_t connect = {
        .version = version,
        .client_id = gv_bytes_text(role->id),
        .clean_start = options->clean_start,
        .keep_alive_s = options->keep_alive_s,
        .has_will = options->has_will,
        .will = {.topic = GV_BYTES_LITERAL("t/will"), .payload = GV_BYTES_LITERAL("will")},
    };
    if (version < GV_MQTT_V5) {
        return connect;
    }
    gv_mqtt_props_t *props = &connect.props;
    gv_mqtt_props_set_number(props, GV_MQTT_PROP_SESSION_EXPIRY, options->expiry_s);
    gv_mqtt_props_set_number(props, GV_MQTT_PROP_TOPIC_ALIAS_MAXIMUM, options->alias_max);
    if (options->receive_max > 0) {
        gv_mqtt_props_set_number(props, GV_MQTT_PROP_RECEIVE_MAXIMUM, options->receive_max);
    }
    if (options->packet_size_max > 0) {
        gv_mqtt_props_set_number(props, GV_MQTT_PROP_MAXIMUM_PACKET_SIZE, options->packet_size_max);
    }
    if (options->is_terse) {
        gv_mqtt_props_set_number(props, GV_MQTT_PROP_REQUEST_PROBLEM_INFORMATION, 0);
    }
    if (options->has_will) {
        gv_mqtt_props_set_number(&connect.will.props, GV_MQTT_PROP_WILL_DELAY,
                                 options->keep_alive_s);
    }
    return connect;
}

static uint32_t agreed_expiry(gv_mqtt_version_t version, const play_connect_t *options)
{
    uint32_t wanted_s = options->expiry_s;
    if (version < GV_MQTT_V5) {
        wanted_s = options->clean_start ? 0 : GV_EXPIRY_NEVER;
    }
    return wanted_s < SESSION_EXPIRY_MAX_S ? wanted_s : SESSION_EXPIRY_MAX_S;
}

void play_connect(play_t *play, role_t *role, gv_mqtt_version_t version,
                  const play_connect_t *options)
{
    play_watch(play);
    seat_t *seat = play_visit(play, version);
    if (seat == NULL) {
        return;
    }
    seat->is_terse = version >= GV_MQTT_V5 && options->is_terse;
    seat->wants_session = !options->clean_start;
    seat->has_will = options->has_will;
    seat->expiry_s = agreed_expiry(version, options);
    seat->receive_max = play->house.limits.inflight_max;
    if (version >= GV_MQTT_V5) {
        seat->guest->alias_max = options->alias_max;
        seat->packet_size_max = options->packet_size_max;
        if (options->receive_max > 0 && options->receive_max < seat->receive_max) {
            seat->receive_max = options->receive_max;
        }
    }
    uint8_t bytes[256];
    gv_mqtt_connect_t connect = connect_packet(role, version, options);
    gv_writer_t w = gv_writer(bytes, sizeof(bytes));
    size_t size = gv_mqtt_encode_connect(&connect, &w);
    /* From here on the role speaks on the new seat; the node is to close the old one. */
    if (role->seat != NULL) {
        play_stand_up(play, role->seat);
    }
    seat->has_connect = push(play, seat, bytes, size);
    if (!seat->has_connect) {
        role->is_lost = true; /* what the node makes of it, only the node knows */
        house_settle(&play->house);
        play_watch(play);
        return;
    }
    seat->role = role;
    role->seat = seat;
    while (guest_offer(seat->guest)) {
    }
    if (gv_outbuf_size(&seat->guest->out) == 0 && !seat->guest->is_closing) {
        house_settle(&play->house); /* its shard has to wait for others */
    }
    play_watch(play);
}

void play_disconnect(play_t *play, seat_t *seat, bool with_will, uint8_t expiry)
{
    uint8_t bytes[64];
    gv_mqtt_peer_t server = guest_server(seat->guest);
    gv_mqtt_disconnect_t disconnect = {.reason = with_will ? GV_MQTT_DISCONNECT_WITH_WILL
                                                           : GV_MQTT_NORMAL_DISCONNECTION};
    if (server.version < GV_MQTT_V5) {
        disconnect.reason = GV_MQTT_NORMAL_DISCONNECTION;
    }
    role_t *role = seat->role;
    bool changes = server.version >= GV_MQTT_V5 && expiry > 0 && role->expiry_s > 0;
    if (changes) {
        gv_mqtt_props_set_number(&disconnect.props, GV_MQTT_PROP_SESSION_EXPIRY, expiry - 1U);
    }
    gv_writer_t w = gv_writer(bytes, sizeof(bytes));
    if (push(play, seat, bytes, gv_mqtt_encode_disconnect(&disconnect, &server, &w))) {
        while (guest_offer(seat->guest)) {
        }
        /* The node comes to it only when it reads; an answer to nothing is not expected. */
        if (seat->guest->input_size > 0) {
            role->is_lost = role->is_lost || changes;
            return;
        }
        role->expiry_s = changes ? expiry - 1U : role->expiry_s;
        seat->has_will &= disconnect.reason == GV_MQTT_DISCONNECT_WITH_WILL;
    }
}

/* ---- PUBLISH --------------------------------------------------------------------------------- */

/* "m00017:99982:" and filling: a number that damage is seen in. */
static gv_bytes_t payload_of(uint16_t number, const play_publish_t *options)
{
    static char payload[8192];
    int size = snprintf(payload, sizeof(payload), "m%05u:%05u:", number, 99999U - number);
    memset(payload + size, 'p', options->size);
    size += options->size;
    if (options->is_forbidden) {
        payload[size++] = '\xff';
    }
    return gv_bytes((const uint8_t *)payload, (size_t)size);
}

static void send_publish(play_t *play, seat_t *seat, const gv_mqtt_publish_t *publish,
                         uint16_t message)
{
    static uint8_t bytes[8192];
    gv_mqtt_peer_t server = guest_server(seat->guest);
    gv_writer_t w = gv_writer(bytes, sizeof(bytes));
    if (!push(play, seat, bytes, gv_mqtt_encode_publish(publish, &server, &w))) {
        play->messages[message].is_lost = true;
    } else if (publish->qos > 0 && !seat->role->is_lost) {
        play_must(seat->answer_count < OWED_MAX, "the fuzzer waits for too many answers");
        seat->answers[seat->answer_count++] =
            (owed_t){.type = publish->qos == 1 ? GV_MQTT_PUBACK : GV_MQTT_PUBREC,
                     .packet_id = publish->packet_id};
    }
}

void play_publish(play_t *play, seat_t *seat, const play_publish_t *options)
{
    role_t *role = seat->role;
    if (play->message_count == MESSAGES_MAX || role->pending_count == PENDING_MAX ||
        seat->answer_count == OWED_MAX) {
        return;
    }
    bool is_v5 = seat->guest->version >= GV_MQTT_V5;
    uint16_t number = play->message_count++;
    message_t *message = &play->messages[number];
    *message = (message_t){
        .from = (uint8_t)(role - play->roles),
        .topic = options->topic,
        .qos = options->qos,
        .retain = options->retain,
        .has_expiry = is_v5 && options->has_expiry,
        .is_forbidden = is_v5 && options->is_forbidden,
        .is_lost = role->is_lost,
    };
    gv_mqtt_publish_t publish = {
        .topic = gv_bytes_text(play_topics[options->topic]),
        .payload = payload_of(number, options),
        .qos = options->qos,
        .retain = options->retain,
    };
    if (options->qos > 0) {
        role->packet_id = role->packet_id == 65535 ? 1 : (uint16_t)(role->packet_id + 1);
        publish.packet_id = role->packet_id;
        if (!role->is_lost) {
            role->pending[role->pending_count++] =
                (pending_t){.packet_id = publish.packet_id, .message = number, .qos = options->qos};
        }
    }
    if (is_v5 && options->has_expiry) {
        gv_mqtt_props_set_number(&publish.props, GV_MQTT_PROP_MESSAGE_EXPIRY, 2);
    }
    if (is_v5 && options->is_forbidden) {
        gv_mqtt_props_set_number(&publish.props, GV_MQTT_PROP_PAYLOAD_FORMAT, 1);
    }
    if (is_v5 && options->alias > 0) {
        gv_mqtt_props_set_number(&publish.props, GV_MQTT_PROP_TOPIC_ALIAS, options->alias);
        uint8_t *meaning = &seat->aliases[options->alias - 1];
        if (options->by_alias) {
            /* Without a meaning it is an error, and arrives nowhere. */
            message->is_forbidden |= *meaning == 0;
            message->topic = *meaning == 0 ? 0 : (uint8_t)(*meaning - 1);
            publish.topic = GV_BYTES_EMPTY;
        } else {
            *meaning = (uint8_t)(options->topic + 1);
        }
    }
    play_trace("%s publishes %u to %s at QoS %u, id %u\n", role->id, number,
               play_topics[message->topic], publish.qos, publish.packet_id);
    send_publish(play, seat, &publish, number);
}

void play_publish_again(play_t *play, seat_t *seat, size_t which)
{
    role_t *role = seat->role;
    if (role->pending_count == 0 || seat->answer_count == OWED_MAX) {
        return;
    }
    pending_t *pending = &role->pending[which % role->pending_count];
    message_t *message = &play->messages[pending->message];
    if (pending->is_released || message->is_forbidden) {
        return;
    }
    message->is_repeated = true;
    play_publish_t options = {.topic = message->topic};
    gv_mqtt_publish_t publish = {
        .topic = gv_bytes_text(play_topics[message->topic]),
        .payload = payload_of(pending->message, &options),
        .packet_id = pending->packet_id,
        .qos = pending->qos,
        .dup = true,
        .retain = message->retain,
    };
    play_trace("%s publishes %u again\n", role->id, pending->message);
    send_publish(play, seat, &publish, pending->message);
}

/* ---- SUBSCRIBE, UNSUBSCRIBE ------------------------------------------------------------------ */

static request_t *new_request(seat_t *seat, uint16_t count)
{
    role_t *role = seat->role;
    request_t *request = &seat->requests[seat->request_count++];
    role->packet_id = role->packet_id == 65535 ? 1 : (uint16_t)(role->packet_id + 1);
    *request = (request_t){.packet_id = role->packet_id, .count = count};
    return request;
}

void play_subscribe(play_t *play, seat_t *seat, const uint8_t bytes[3])
{
    enum {
        ENTRIES_MAX = 2
    };
    if (seat->request_count == sizeof(seat->requests) / sizeof(seat->requests[0])) {
        return;
    }
    uint16_t count = bytes[0] >= 192 ? ENTRIES_MAX : 1;
    request_t *request = new_request(seat, count);
    gv_mqtt_subscription_t entries[ENTRIES_MAX];
    bool is_v5 = seat->guest->version >= GV_MQTT_V5;
    for (uint16_t i = 0; i < count; i++) {
        uint32_t filter = (bytes[0] + i * 5U) % FILTERS;
        seat->role->filters |= UINT32_C(1) << filter;
        play->has_shares |= play_filters[filter][0] == '$';
        entries[i] = (gv_mqtt_subscription_t){
            .text = gv_bytes_text(play_filters[filter]),
            .qos = (uint8_t)(bytes[1] % 3),
            .no_local = is_v5 && (bytes[1] & 0x10) != 0 && play_filters[filter][0] != '$',
            .retain_as_published = is_v5 && (bytes[1] & 0x20) != 0,
            .retain_handling = is_v5 ? (uint8_t)((bytes[1] >> 6) % 3) : 0,
        };
        request->qos[i] = entries[i].qos;
        play_trace("%s subscribes to '%s' at QoS %u\n", seat->role->id, play_filters[filter],
                   entries[i].qos);
    }
    gv_mqtt_subscribe_request_t packet = {
        .packet_id = request->packet_id, .entries = entries, .count = count};
    if (is_v5 && bytes[2] > 0) {
        gv_mqtt_props_set_number(&packet.props, GV_MQTT_PROP_SUBSCRIPTION_ID, bytes[2]);
    }
    uint8_t buffer[256];
    gv_mqtt_peer_t server = guest_server(seat->guest);
    gv_writer_t w = gv_writer(buffer, sizeof(buffer));
    (void)push(play, seat, buffer, gv_mqtt_encode_subscribe(&packet, &server, &w));
}

void play_unsubscribe(play_t *play, seat_t *seat, uint8_t filter)
{
    if (seat->request_count == sizeof(seat->requests) / sizeof(seat->requests[0])) {
        return;
    }
    request_t *request = new_request(seat, 1);
    request->is_unsubscribe = true;
    gv_mqtt_subscription_t entry = {.text = gv_bytes_text(play_filters[filter % FILTERS])};
    gv_mqtt_subscribe_request_t packet = {
        .packet_id = request->packet_id, .entries = &entry, .count = 1};
    uint8_t buffer[128];
    gv_mqtt_peer_t server = guest_server(seat->guest);
    gv_writer_t w = gv_writer(buffer, sizeof(buffer));
    play_trace("%s unsubscribes from '%s'\n", seat->role->id, play_filters[filter % FILTERS]);
    (void)push(play, seat, buffer, gv_mqtt_encode_unsubscribe(&packet, &server, &w));
}

/* ---- acknowledgements ------------------------------------------------------------------------ */

static void send_ack(play_t *play, seat_t *seat, owed_t ack, gv_mqtt_reason_t reason)
{
    uint8_t bytes[16];
    gv_mqtt_ack_t packet = {.packet_id = ack.packet_id, .reason = reason};
    gv_mqtt_peer_t server = guest_server(seat->guest);
    gv_writer_t w = gv_writer(bytes, sizeof(bytes));
    if (!push(play, seat, bytes, gv_mqtt_encode_ack(ack.type, &packet, &server, &w))) {
        return;
    }
    play_trace("%s sends %s %u %02x\n", seat->role->id, gv_mqtt_type_text(ack.type), ack.packet_id,
               (unsigned)reason);
    role_t *role = seat->role;
    if (ack.type != GV_MQTT_PUBREL) {
        play_flight_acked(role, ack.type, ack.packet_id, gv_mqtt_reason_is_error(reason));
        return;
    }
    seat->pubrels++;
    for (size_t i = 0; i < role->pending_count; i++) {
        role->pending[i].is_released |= role->pending[i].packet_id == ack.packet_id;
    }
}

void play_ack(play_t *play, seat_t *seat, size_t which, bool is_refusal)
{
    if (seat->owed_count == 0) {
        return;
    }
    which %= seat->owed_count;
    owed_t ack = seat->owed[which];
    seat->owed_count--;
    memmove(&seat->owed[which], &seat->owed[which + 1],
            (seat->owed_count - which) * sizeof(owed_t));
    bool may_refuse = seat->guest->version >= GV_MQTT_V5 &&
                      (ack.type == GV_MQTT_PUBREC || ack.type == GV_MQTT_PUBACK);
    send_ack(play, seat, ack,
             is_refusal && may_refuse ? GV_MQTT_UNSPECIFIED_ERROR : GV_MQTT_SUCCESS);
}

void play_wrong_ack(play_t *play, seat_t *seat, gv_mqtt_type_t type, uint16_t packet_id)
{
    send_ack(play, seat, (owed_t){.type = type, .packet_id = packet_id}, GV_MQTT_SUCCESS);
    while (guest_offer(seat->guest)) {
    }
    if (seat->guest->input_size > 0 && seat->role != NULL) {
        /* When the node reads it, it may be right for something that is not sent yet. */
        lose(play, seat);
    }
}

void play_ping(seat_t *seat)
{
    static const uint8_t pingreq[] = {0xc0, 0};
    seat->pings++;
    guest_push(seat->guest, pingreq, sizeof(pingreq));
}
