/* SPDX-License-Identifier: Apache-2.0 */
/* What the node says, and what it must not say. */
#include "shard_play.h"

/* ---- sessions and flights -------------------------------------------------------------------- */

void play_forget_session(role_t *role)
{
    role->is_lost = false;
    role->has_crashed = false;
    role->flight_count = 0;
    role->pending_count = 0;
    role->filters = 0;
    memset(role->last, 0, sizeof(role->last));
    memset(role->seen, 0, sizeof(role->seen));
}

flight_t *play_flight(role_t *role, uint16_t packet_id)
{
    for (size_t i = 0; i < role->flight_count; i++) {
        if (role->flights[i].packet_id == packet_id) {
            return &role->flights[i];
        }
    }
    return NULL;
}

void play_flight_acked(role_t *role, gv_mqtt_type_t type, uint16_t packet_id, bool is_refusal)
{
    flight_t *flight = play_flight(role, packet_id);
    if (flight == NULL) {
        return;
    }
    uint8_t before = flight->stage;
    if (type == GV_MQTT_PUBACK && before == GV_STAGE_AWAITS_PUBACK) {
        flight->stage = GV_STAGE_DONE;
    } else if (type == GV_MQTT_PUBREC && before == GV_STAGE_AWAITS_PUBREC) {
        flight->stage = is_refusal ? GV_STAGE_DONE : GV_STAGE_AWAITS_PUBCOMP;
    } else if (type == GV_MQTT_PUBCOMP && before == GV_STAGE_AWAITS_PUBCOMP) {
        flight->stage = GV_STAGE_DONE;
    }
    flight->is_taken = flight->is_taken && flight->stage == before;
}

/* The node has read everything: what was acknowledged is over for both sides. */
static void note_what_is_taken(seat_t *seat)
{
    role_t *role = seat->role;
    if (seat->guest->input_size > 0 || seat->guest->is_closing || seat->guest->is_gone) {
        return;
    }
    size_t left = 0;
    for (size_t i = 0; i < role->flight_count; i++) {
        flight_t flight = role->flights[i];
        /* What was acknowledged on the connection before perhaps never got there. */
        flight.is_taken |= flight.is_sent_here && flight.stage == GV_STAGE_AWAITS_PUBCOMP;
        if (flight.stage != GV_STAGE_DONE || !flight.is_sent_here) {
            role->flights[left++] = flight;
        }
    }
    role->flight_count = left;
}

static void owe(seat_t *seat, gv_mqtt_type_t type, uint16_t packet_id)
{
    if (seat->owed_count < OWED_MAX) { /* the rest is never acknowledged */
        seat->owed[seat->owed_count++] = (owed_t){.type = type, .packet_id = packet_id};
    }
}

/* ---- CONNACK --------------------------------------------------------------------------------- */

static void on_connack(play_t *play, seat_t *seat, const gv_mqtt_connack_t *connack)
{
    role_t *role = seat->role;
    seat->has_connack = true;
    if (connack->reason != GV_MQTT_SUCCESS) {
        seat->has_goodbye = true;
        if (role != NULL) {
            /* Somebody else may still be connected by this id. */
            role->is_lost = true;
            play_stand_up(play, seat);
        }
        return;
    }
    if (role == NULL) {
        return;
    }
    play_trace("%s is connected%s\n", role->id, connack->session_present ? ", resumed" : "");
    uint64_t now_ms = play->house.now_ms;
    bool must_be_there = role->has_session && now_ms < role->ends_at_ms;
    bool may_be_there = role->has_session && now_ms < role->ends_at_ms + 2000;
    bool is_present = connack->session_present;
    if (role->is_unsure && seat->guest->version == GV_MQTT_V31 && seat->wants_session) {
        role->is_lost = true; /* it does not say */
    }
    if (!role->is_lost && !role->is_unsure && seat->wants_session) {
        if (seat->guest->version == GV_MQTT_V31) {
            is_present = must_be_there; /* it does not say */
            role->is_lost = must_be_there != may_be_there;
        }
        play_must(is_present || !must_be_there, "the session of %s is lost", role->id);
        play_must(!is_present || may_be_there, "the session of %s has outlived itself", role->id);
    }
    play_must(!is_present || seat->wants_session, "a clean start of %s found a session", role->id);
    if (seat->guest->version == GV_MQTT_V31 && seat->wants_session && role->is_lost) {
        is_present = true; /* perhaps: it stays lost */
    }
    if (!is_present) {
        play_forget_session(role);
    }
    for (size_t i = 0; i < role->flight_count; i++) {
        role->flights[i].is_sent_here = false;
    }
    role->has_session = true;
    role->is_unsure = false;
    role->expiry_s = seat->expiry_s;
}

/* ---- PUBLISH --------------------------------------------------------------------------------- */

/* The number of one of our messages, or -1. */
static int number_of(gv_bytes_t payload)
{
    char text[16] = "";
    unsigned number = 0;
    unsigned check = 0;
    if (payload.size < 13) {
        return -1;
    }
    memcpy(text, payload.data, 13);
    if (sscanf(text, "m%5u:%5u:", &number, &check) != 2 || number + check != 99999) {
        return -1;
    }
    return (int)number;
}

static bool has_asked_for(const role_t *role, gv_bytes_t topic)
{
    for (uint32_t i = 0; i < FILTERS; i++) {
        gv_mqtt_filter_t filter;
        if ((role->filters >> i & 1) != 0 &&
            gv_mqtt_filter_parse(gv_bytes_text(play_filters[i]), &filter) == GV_OK &&
            gv_mqtt_topic_matches(topic, filter.filter)) {
            return true;
        }
    }
    return false;
}

/* DUP: what was sent before, on another connection, and not acknowledged. */
static void check_repetition(const role_t *role, const flight_t *flight,
                             const gv_mqtt_publish_t *publish, uint16_t number)
{
    uint16_t id = publish->packet_id;
    if (flight == NULL) {
        /* After a crash also what was acknowledged, when that did not get to the disk. */
        play_must(role->has_crashed, "%s: id %u is repeated and was never sent", role->id, id);
        return;
    }
    play_must(!flight->is_sent_here, "%s: id %u is repeated on one connection", role->id, id);
    play_must(flight->message == number && flight->qos == publish->qos,
              "%s: id %u is repeated with another message", role->id, id);
    play_must(!flight->is_taken, "%s: id %u is repeated after its PUBREC", role->id, id);
}

/* Packet ids, repetitions and the window: true when the message comes for the first time. */
static bool check_flight(seat_t *seat, const gv_mqtt_publish_t *publish, uint16_t number)
{
    role_t *role = seat->role;
    flight_t *flight = play_flight(role, publish->packet_id);
    bool is_first = !publish->dup || flight == NULL;
    if (publish->dup) {
        check_repetition(role, flight, publish, number);
    } else {
        play_must(flight == NULL || flight->stage == GV_STAGE_DONE, "%s: id %u is in use", role->id,
                  publish->packet_id);
    }
    if (flight == NULL && role->flight_count == FLIGHTS_MAX) {
        role->is_lost = true; /* too many connections broke with acknowledgements unread */
        return false;
    }
    if (flight == NULL) {
        flight = &role->flights[role->flight_count++];
    }
    *flight = (flight_t){
        .packet_id = publish->packet_id,
        .message = number,
        .qos = publish->qos,
        .stage = publish->qos == 1 ? GV_STAGE_AWAITS_PUBACK : GV_STAGE_AWAITS_PUBREC,
        .is_sent_here = true,
    };
    uint32_t in_flight = 0;
    for (size_t i = 0; i < role->flight_count; i++) {
        const flight_t *other = &role->flights[i];
        in_flight += other->is_sent_here && other->stage != GV_STAGE_DONE ? 1 : 0;
    }
    play_must(in_flight <= seat->receive_max, "%s: %u messages in a window of %u", role->id,
              in_flight, seat->receive_max);
    return is_first;
}

/* Order, and QoS 2 once; only where one copy in one order is promised. */
static void check_message(const play_t *play, role_t *role, const gv_mqtt_publish_t *publish,
                          uint16_t number)
{
    const message_t *message = &play->messages[number];
    bool is_shared = play->has_shares && play_topics[message->topic][0] == 's';
    if (message->retain || is_shared) {
        return;
    }
    uint8_t bit = (uint8_t)(1U << number % 8);
    if (publish->qos == 2) {
        play_must((role->seen[number / 8] & bit) == 0, "%s: message %u came twice at QoS 2",
                  role->id, number);
        role->seen[number / 8] |= bit;
    }
    /* Sent again by its publisher, or by a node that does not know that it had sent it. */
    if (message->is_repeated || (publish->qos == 1 && number < play->crashed_at)) {
        return;
    }
    uint16_t *last = &role->last[message->from][message->topic][message->qos][publish->qos > 0];
    play_must(number + 1 > *last, "%s: message %u came after %d", role->id, number, *last - 1);
    *last = (uint16_t)(number + 1);
}

static void on_publish(play_t *play, seat_t *seat, const gv_mqtt_publish_t *publish)
{
    role_t *role = seat->role;
    int number = number_of(publish->payload);
    bool is_will = gv_bytes_equal(publish->payload, GV_BYTES_LITERAL("will"));
    bool is_ours = number >= 0 && number < play->message_count;
    play_must(is_ours || is_will || play->has_damage, "a message that nobody has sent");
    play->wills_seen += is_will && role == &play->roles[WITNESS] ? 1 : 0;
    if (publish->qos > 0) {
        owe(seat, publish->qos == 1 ? GV_MQTT_PUBACK : GV_MQTT_PUBREC, publish->packet_id);
    }
    if (role->is_lost) {
        return;
    }
    play_trace("%s gets %d at QoS %u, id %u%s\n", role->id, number, publish->qos,
               publish->packet_id, publish->dup ? " again" : "");
    play_must(has_asked_for(role, publish->topic), "%s never asked for '%.*s'", role->id,
              (int)publish->topic.size, (const char *)publish->topic.data);
    bool is_first =
        publish->qos == 0 || check_flight(seat, publish, is_ours ? (uint16_t)number : UINT16_MAX);
    if (!is_ours) {
        return;
    }
    message_t *message = &play->messages[number];
    message->is_witnessed |= role == &play->roles[WITNESS];
    if (message->is_lost) {
        return;
    }
    play_must(!message->is_forbidden, "message %d should have been refused", number);
    play_must(gv_bytes_equal(publish->topic, gv_bytes_text(play_topics[message->topic])),
              "message %d came by another topic", number);
    play_must(publish->qos <= message->qos, "message %d came with a higher QoS", number);
    play_must(!publish->retain || message->retain, "message %d was not published to be kept",
              number);
    if (is_first) {
        check_message(play, role, publish, (uint16_t)number);
    }
}

/* ---- answers --------------------------------------------------------------------------------- */

static void drop_pending(play_t *play, role_t *role, const gv_mqtt_ack_t *ack, bool is_over)
{
    for (size_t i = 0; i < role->pending_count; i++) {
        pending_t *pending = &role->pending[i];
        if (pending->packet_id != ack->packet_id) {
            continue;
        }
        message_t *message = &play->messages[pending->message];
        message->is_acked |= !gv_mqtt_reason_is_error(ack->reason);
        play_must(!message->is_forbidden || gv_mqtt_reason_is_error(ack->reason),
                  "%s: a payload that is no text was taken", role->id);
        if (is_over) {
            role->pending_count--;
            memmove(pending, pending + 1, (role->pending_count - i) * sizeof(*pending));
        }
        return;
    }
}

/* PUBACK and PUBREC come in the order of the publishes. */
static void on_answer(play_t *play, seat_t *seat, gv_mqtt_type_t type, const gv_mqtt_ack_t *ack)
{
    role_t *role = seat->role;
    play_must(seat->answer_count > 0, "%s: an answer to nothing", role->id);
    play_must(seat->answers[0].packet_id == ack->packet_id && seat->answers[0].type == type,
              "%s: %u is answered before %u", role->id, ack->packet_id, seat->answers[0].packet_id);
    seat->answer_count--;
    memmove(&seat->answers[0], &seat->answers[1], seat->answer_count * sizeof(owed_t));
    drop_pending(play, role, ack, type == GV_MQTT_PUBACK || gv_mqtt_reason_is_error(ack->reason));
    if (type == GV_MQTT_PUBREC && !gv_mqtt_reason_is_error(ack->reason)) {
        owe(seat, GV_MQTT_PUBREL, ack->packet_id);
    }
}

static void on_ack(play_t *play, seat_t *seat, gv_mqtt_type_t type, const gv_mqtt_ack_t *ack)
{
    role_t *role = seat->role;
    play_must(!seat->is_terse || gv_mqtt_props_size(&ack->props) == 0,
              "explanations for who wants none");
    if (role->is_lost || seat->is_wild) {
        if (type == GV_MQTT_PUBREL) {
            owe(seat, GV_MQTT_PUBCOMP, ack->packet_id);
        }
        return;
    }
    play_trace("%s hears %s %u %02x\n", role->id, gv_mqtt_type_text(type), ack->packet_id,
               (unsigned)ack->reason);
    if (type == GV_MQTT_PUBACK || type == GV_MQTT_PUBREC) {
        on_answer(play, seat, type, ack);
    } else if (type == GV_MQTT_PUBCOMP) {
        play_must(seat->pubrels > 0, "%s: PUBCOMP %u without a PUBREL", role->id, ack->packet_id);
        seat->pubrels--;
        drop_pending(play, role, &(gv_mqtt_ack_t){.packet_id = ack->packet_id}, true);
    } else {
        flight_t *flight = play_flight(role, ack->packet_id);
        bool is_due = flight != NULL && flight->qos == 2 &&
                      (flight->stage == GV_STAGE_AWAITS_PUBCOMP || flight->stage == GV_STAGE_DONE);
        bool is_known = seat->guest->version >= GV_MQTT_V5 && ack->reason == GV_MQTT_SUCCESS;
        play_must(is_due || !is_known || role->has_crashed, "%s: PUBREL %u without a PUBREC",
                  role->id, ack->packet_id);
        if (flight != NULL) {
            flight->has_pubrel = true;
        }
        owe(seat, GV_MQTT_PUBCOMP, ack->packet_id);
    }
}

static void on_suback(seat_t *seat, gv_mqtt_type_t type, const gv_mqtt_suback_t *suback)
{
    bool is_unsuback = type == GV_MQTT_UNSUBACK;
    size_t i = 0;
    while (i < seat->request_count && seat->requests[i].packet_id != suback->packet_id) {
        i++;
    }
    if (seat->is_wild) {
        return;
    }
    play_must(i < seat->request_count, "%s: SUBACK %u for nothing", seat->role->id,
              suback->packet_id);
    const request_t *request = &seat->requests[i];
    play_must(request->is_unsubscribe == is_unsuback, "SUBACK instead of UNSUBACK");
    bool has_codes = !is_unsuback || seat->guest->version >= GV_MQTT_V5;
    play_must(suback->codes.size == (has_codes ? request->count : 0U), "%zu codes for %u filters",
              suback->codes.size, request->count);
    for (size_t k = 0; !is_unsuback && k < suback->codes.size; k++) {
        uint8_t code = suback->codes.data[k];
        play_must(code <= request->qos[k] || code >= 0x80, "QoS %u granted, %u asked for", code,
                  request->qos[k]);
    }
    seat->request_count--;
    memmove(&seat->requests[i], &seat->requests[i + 1],
            (seat->request_count - i) * sizeof(request_t));
}

/* ---- packets --------------------------------------------------------------------------------- */

static void decode_publish(play_t *play, seat_t *seat, const gv_mqtt_frame_t *frame,
                           const gv_mqtt_peer_t *server)
{
    gv_mqtt_publish_t publish;
    gv_mqtt_reason_t reason = GV_MQTT_SUCCESS;
    play_must(gv_mqtt_decode_publish(frame, server, &publish, &reason) == GV_OK,
              "a PUBLISH nobody can read");
    guest_resolve(seat->guest, &publish);
    if (seat->role != NULL) {
        on_publish(play, seat, &publish);
    }
}

static void decode_ack(play_t *play, seat_t *seat, const gv_mqtt_frame_t *frame,
                       const gv_mqtt_peer_t *server)
{
    gv_mqtt_ack_t ack;
    gv_mqtt_reason_t reason = GV_MQTT_SUCCESS;
    play_must(gv_mqtt_decode_ack(frame, server, &ack, &reason) == GV_OK,
              "an acknowledgement nobody can read");
    if (seat->role != NULL) {
        on_ack(play, seat, frame->type, &ack);
    }
}

static void decode_suback(seat_t *seat, const gv_mqtt_frame_t *frame, const gv_mqtt_peer_t *server)
{
    gv_mqtt_suback_t suback;
    gv_mqtt_reason_t reason = GV_MQTT_SUCCESS;
    gv_err_t err = frame->type == GV_MQTT_SUBACK
                       ? gv_mqtt_decode_suback(frame, server, &suback, &reason)
                       : gv_mqtt_decode_unsuback(frame, server, &suback, &reason);
    play_must(err == GV_OK, "a SUBACK nobody can read");
    if (seat->role != NULL) {
        on_suback(seat, frame->type, &suback);
    }
}

static void on_packet(play_t *play, seat_t *seat, const gv_mqtt_frame_t *frame)
{
    gv_mqtt_peer_t server = guest_server(seat->guest);
    gv_mqtt_reason_t reason = GV_MQTT_SUCCESS;
    play_must(!seat->has_goodbye, "%s after the last packet", gv_mqtt_type_text(frame->type));
    if (!seat->has_connect) {
        return; /* of a version that only the node knows */
    }
    play_must(seat->has_connack == (frame->type != GV_MQTT_CONNACK), "%s %s CONNACK",
              gv_mqtt_type_text(frame->type), seat->has_connack ? "after" : "before");
    play_must(seat->packet_size_max == 0 || frame->size <= seat->packet_size_max,
              "%zu bytes for who takes %u", frame->size, seat->packet_size_max);
    switch (frame->type) {
    case GV_MQTT_CONNACK: {
        gv_mqtt_connack_t connack;
        play_must(gv_mqtt_decode_connack(frame, &server, &connack, &reason) == GV_OK,
                  "a CONNACK nobody can read");
        on_connack(play, seat, &connack);
        break;
    }
    case GV_MQTT_PUBLISH:
        decode_publish(play, seat, frame, &server);
        break;
    case GV_MQTT_PUBACK:
    case GV_MQTT_PUBREC:
    case GV_MQTT_PUBREL:
    case GV_MQTT_PUBCOMP:
        decode_ack(play, seat, frame, &server);
        break;
    case GV_MQTT_SUBACK:
    case GV_MQTT_UNSUBACK:
        decode_suback(seat, frame, &server);
        break;
    case GV_MQTT_PINGRESP:
        play_must(gv_mqtt_decode_ping(frame, &reason) == GV_OK, "a PINGRESP nobody can read");
        play_must(seat->pings > 0 || seat->is_wild, "a PINGRESP nobody asked for");
        seat->pings -= seat->pings > 0 ? 1 : 0;
        break;
    case GV_MQTT_DISCONNECT: {
        gv_mqtt_disconnect_t disconnect;
        play_must(server.version >= GV_MQTT_V5, "DISCONNECT from a server before v5");
        play_must(gv_mqtt_decode_disconnect(frame, &server, &disconnect, &reason) == GV_OK,
                  "a DISCONNECT nobody can read");
        seat->has_goodbye = true;
        break;
    }
    case GV_MQTT_CONNECT:
    case GV_MQTT_SUBSCRIBE:
    case GV_MQTT_UNSUBSCRIBE:
    case GV_MQTT_PINGREQ:
    case GV_MQTT_AUTH:
        play_fail("%s from a server", gv_mqtt_type_text(frame->type));
    }
}

/* ---- connections ----------------------------------------------------------------------------- */

static size_t stream_size(const guest_t *guest)
{
    return guest->received_size + gv_outbuf_size(&guest->out);
}

/* A copy of the bytes from `from` on, whether they have left or wait. */
static uint8_t *copy_stream(const guest_t *guest, size_t from, size_t size)
{
    uint8_t *copy = gv_xalloc(size);
    size_t at = 0;
    if (from < guest->received_size) {
        at = guest->received_size - from;
        memcpy(copy, guest->received + from, at);
    }
    size_t skipped = from < guest->received_size ? 0 : from - guest->received_size;
    gv_bytes_t vec[512];
    size_t count = gv_outbuf_iovec(&guest->out, vec, 512);
    for (size_t i = 0; i < count; i++) {
        size_t skip = skipped < vec[i].size ? skipped : vec[i].size;
        skipped -= skip;
        memcpy(copy + at, vec[i].data + skip, vec[i].size - skip);
        at += vec[i].size - skip;
    }
    play_must(at == size, "output in more pieces than the fuzzer looks at");
    return copy;
}

static void read_stream(play_t *play, seat_t *seat)
{
    size_t size = stream_size(seat->guest) - seat->parsed;
    if (size == 0) {
        return;
    }
    play_must(seat->end_size == SIZE_MAX, "output for a connection that has ended");
    uint8_t *bytes = copy_stream(seat->guest, seat->parsed, size);
    seat->parsed += size;
    for (size_t at = 0; at < size;) {
        gv_mqtt_frame_t frame;
        play_must(gv_mqtt_frame(gv_bytes(bytes + at, size - at), SIZE_MAX, &frame) == GV_OK,
                  "half a packet, or none");
        on_packet(play, seat, &frame);
        at += frame.size;
    }
    gv_free(bytes);
}

void play_watch(play_t *play)
{
    for (size_t i = 0; i < play->seat_count; i++) {
        seat_t *seat = play->seats[i];
        read_stream(play, seat);
        if ((seat->guest->is_closing || seat->guest->is_gone) && seat->end_size == SIZE_MAX) {
            seat->end_size = stream_size(seat->guest);
            if (seat->role != NULL) {
                play_trace("%s is disconnected\n", seat->role->id);
                play_stand_up(play, seat);
            }
        }
        if (seat->role != NULL) {
            note_what_is_taken(seat);
        }
    }
    /* One connection for a client id, whoever sits there. */
    for (size_t i = 0; i < ROLES; i++) {
        role_t *role = &play->roles[i];
        gv_bytes_t id = gv_bytes_text(role->id);
        house_t *house = &play->house;
        uint16_t home = gv_shard_home(id, house->shards[0]->hash_seed, house->shard_count);
        const gv_session_t *session = gv_session_find(house->shards[home], id);
        const gv_client_t *mine = role->seat == NULL ? NULL : role->seat->guest->conn.client;
        if (session != NULL && session->client != NULL && session->client != mine) {
            play_must(play->has_damage, "%s is connected, but not by us", role->id);
            role->is_lost = true;
        }
    }
}
