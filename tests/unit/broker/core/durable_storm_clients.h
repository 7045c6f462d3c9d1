/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The clients of the storm: what they do with what they receive, and what they send.  They behave
 * as the standard wants it: they keep what is not over, send it again over the next connection, and
 * know a QoS 2 message by its packet id until it is released.
 */
#include "durable_storm_ledger.h"

/* ---- what an actor receives ------------------------------------------------------------------ */

static inline void owe(actor_t *actor, gv_mqtt_type_t type, uint16_t packet_id)
{
    ck_assert_uint_lt(actor->owed_count, 256);
    actor->owed[actor->owed_count++] = (owed_t){.type = type, .packet_id = packet_id};
}

/* What was dropped may come back after a crash, behind what came after it. */
static inline void check_order(actor_t *actor, unsigned from, unsigned number, unsigned qos,
                               bool is_dup)
{
    const message_t *message = &messages[from][number];
    uint16_t *last = &actor->last[from][message->topic][message->qos][qos > 0];
    bool is_first = (message->seen_by >> index_of(actor) & 1) == 0;
    bool may_be_dropped = is_lossy || message->may_vanish;
    ck_assert_msg(!is_first || message->is_resent || number + 1 > *last ||
                      (may_be_dropped && is_dup),
                  "%s: %u:%u (topic %u, QoS %u of %u) after number %d", actor->id, from, number,
                  message->topic, qos, message->qos, *last - 1);
    *last = number + 1 > *last ? (uint16_t)(number + 1) : *last;
}

/*
 * [MQTT-3.3.1-1]: DUP says that it may have been sent before.  It has not if it was published since
 * the connection before this one; it has if it was received over that one under the same packet id,
 * unless it was published again, too.
 */
static inline void check_dup(actor_t *actor, unsigned from, unsigned number, const char *text)
{
    const message_t *message = &messages[from][number];
    uint16_t packet_id = actor->guest->last_packet_id;
    bool is_dup = strstr(text, " dup ") != NULL;
    ck_assert_msg(!is_dup || message->sent_at <= actor->lost_at, "%s: '%s', but it is new",
                  actor->id, text);
    bool was_had = actor->had_as[from][number] == packet_id;
    ck_assert_msg(is_dup || !was_had || message->family != PLAIN || message->is_resent || is_rough,
                  "%s: '%s', but it has come before", actor->id, text);
    actor->has_as[from][number] = packet_id;
}

static inline void check_reason_to_come(const actor_t *actor, const message_t *message,
                                        const char *text)
{
    bool may_come = false;
    for (unsigned f = 0; f < FILTERS; f++) {
        may_come |= matches(f, message) && message->sent_at < actor->gone[f];
    }
    ck_assert_msg(may_come, "%s: '%s', but it is not subscribed", actor->id, text);
    ck_assert_msg(message->family == SHARED || message->acked_at == 0 ||
                      message->acked_at > actor->since,
                  "%s: '%s' from a session before", actor->id, text);
}

/* How long a message is: some so long that several shards share them on the disk. */
static inline int pad_of(unsigned number)
{
    static const int pads[16] = {200, 1, 1, 1, 2500, 1, 1, 1, 200, 1, 1, 1, 5200, 1, 1, 1};
    return pads[number % 16];
}

static inline void on_message(actor_t *actor, const char *text)
{
    char family = 0;
    unsigned qos = 0;
    unsigned from = 0;
    unsigned number = 0;
    const char *payload = strrchr(text, ' ');
    ck_assert_int_eq(sscanf(text, "PUBLISH %c/%*s q%u", &family, &qos), 2);
    bool is_deletion = family == 'r' && payload[1] == '\0';
    ck_assert(is_deletion || sscanf(payload, " %u:%u:", &from, &number) == 2);
    bool is_whole = is_deletion || family == 'w' ||
                    strspn(strrchr(payload, ':') + 1, "0") == (size_t)pad_of(number);
    ck_assert_msg(is_whole, "'%s' is not whole", text);
    uint16_t packet_id = actor->guest->last_packet_id;
    if (qos > 0) {
        owe(actor, qos == 1 ? GV_MQTT_PUBACK : GV_MQTT_PUBREC, packet_id);
    }
    bool is_known = qos == 2 && actor->is_held[packet_id];
    actor->is_held[packet_id] = actor->is_held[packet_id] || qos == 2;
    if (family == 'w' || is_deletion || is_damaged) {
        return;
    }
    ck_assert(from < ACTORS && number < actors[from].message_count);
    if (qos > 0 && family != 'r') {
        check_dup(actor, from, number, text);
    }
    if (is_known) {
        return;
    }
    message_t *message = &messages[from][number];
    ck_assert_uint_le(qos, message->qos);
    uint16_t me = (uint16_t)(1U << index_of(actor));
    if (message->family != RETAINED) {
        check_reason_to_come(actor, message, text);
    }
    if (message->family == PLAIN) {
        check_order(actor, from, number, qos, strstr(text, " dup ") != NULL);
    }
    if (qos == 2 && message->family != RETAINED) {
        uint16_t others = message->family == SHARED ? 0xffff : me;
        ck_assert_msg((message->seen_once_by & others) == 0, "%s: '%s' twice", actor->id, text);
        message->seen_once_by |= me;
    }
    message->seen_by |= me;
}

static inline void resume(actor_t *actor);

static inline void lose(actor_t *actor)
{
    if (actor->guest != NULL) {
        tell("%s is lost", actor->id);
        guest_t *guest = actor->guest;
        actor->guest = NULL;
        actor->packet_id = guest->next_packet_id;
        if (!guest->is_gone) {
            guest->is_gone = true;
            gv_client_closed(&guest->conn.client);
        }
        gv_outbuf_clear(&guest->out, &house.pool);
    }
    if (actor->expiry_s == 0) {
        forget(actor); /* it ends with its connection */
        actor->is_helper = false;
    }
    if (actor->presence == HERE) {
        actor->heard_ms = house.now_ms;
    }
    actor->presence = AWAY;
    actor->owed_count = 0;
    actor->asked_count = 0;
    actor->lost_at = ++moment;
    for (unsigned from = 0; from < ACTORS; from++) {
        for (unsigned i = 0; i < MESSAGES_MAX; i++) {
            uint16_t packet_id = actor->has_as[from][i];
            actor->had_as[from][i] = packet_id != 0 ? packet_id : actor->had_as[from][i];
            actor->has_as[from][i] = 0;
        }
    }
}

static inline void on_connack(actor_t *actor, const char *text)
{
    if (strncmp(text, "CONNACK 00", 10) != 0) {
        ck_assert_msg(is_rough, "%s: '%s'", actor->id, text);
        lose(actor);
        return;
    }
    bool may_be_over = is_past(actor);
    actor->presence = HERE;
    actor->shortest_s = actor->expiry_s;
    if (actor->is_clean) {
        actor->must_clean = false;
    }
    bool is_present = strstr(text, "present") != NULL;
    ck_assert_msg(is_present || actor->owned_s == 0 || may_be_over || is_damaged,
                  "%s: its session is lost", actor->id);
    if (!is_present) {
        on_session_begun(actor);
        return;
    }
    resume(actor);
}

static inline void on_answer(actor_t *actor, gv_mqtt_type_t type, unsigned reason)
{
    size_t i = 0;
    while (i < actor->pending_count &&
           actor->pending[i].packet_id != actor->guest->last_packet_id) {
        i++;
    }
    if (i == actor->pending_count) {
        ck_assert(type == GV_MQTT_PUBCOMP); /* answered a second time, after a reconnect */
        return;
    }
    pending_t *pending = &actor->pending[i];
    message_t *message = &messages[index_of(actor)][pending->message];
    if (type != GV_MQTT_PUBCOMP && reason < 0x80) {
        message->acked_at = message->acked_at != 0 ? message->acked_at : ++moment;
    }
    if (type == GV_MQTT_PUBREC && reason < 0x80) {
        pending->has_pubrec = true;
        owe(actor, GV_MQTT_PUBREL, pending->packet_id);
        return;
    }
    ck_assert_int_eq(type == GV_MQTT_PUBACK, message->qos == 1);
    ck_assert_msg(type == GV_MQTT_PUBCOMP || reason < 0x80 || is_rough, "refused: %x", reason);
    actor->pending_count--;
    memmove(&actor->pending[i], &actor->pending[i + 1],
            (actor->pending_count - i) * sizeof(pending_t));
}

static inline void on_suback(actor_t *actor, unsigned code)
{
    size_t i = 0;
    while (i < actor->asked_count && actor->asked[i].packet_id != actor->guest->last_request_id) {
        i++;
    }
    ck_assert_uint_lt(i, actor->asked_count);
    asked_t asked = actor->asked[i];
    actor->asked_count--;
    memmove(&actor->asked[i], &actor->asked[i + 1], (actor->asked_count - i) * sizeof(asked_t));
    if (asked.packet_id != actor->last_asked[asked.filter]) {
        return; /* it has changed its mind meanwhile */
    }
    if (asked.is_unsubscribe) {
        actor->gone[asked.filter] = ++moment;
    } else if (code < 0x80) {
        actor->firm[asked.filter] = (int8_t)code;
        actor->owned_s = actor->expiry_s; /* so the session is durable as well */
    }
}

static inline void on_packet(actor_t *actor, const char *text)
{
    unsigned packet_id = 0;
    unsigned reason = 0;
    tell("%s hears %.60s", actor->id, text);
    if (strncmp(text, "CONNACK", 7) == 0) {
        on_connack(actor, text);
    } else if (strncmp(text, "PUBLISH ", 8) == 0) {
        on_message(actor, text);
    } else if (sscanf(text, "PUBREL %u %x", &packet_id, &reason) == 2) {
        actor->is_held[packet_id] = false;
        owe(actor, GV_MQTT_PUBCOMP, (uint16_t)packet_id);
    } else if (sscanf(text, "PUBACK %u %x", &packet_id, &reason) == 2) {
        on_answer(actor, GV_MQTT_PUBACK, reason);
    } else if (sscanf(text, "PUBREC %u %x", &packet_id, &reason) == 2) {
        on_answer(actor, GV_MQTT_PUBREC, reason);
    } else if (sscanf(text, "PUBCOMP %u %x", &packet_id, &reason) == 2) {
        on_answer(actor, GV_MQTT_PUBCOMP, reason);
    } else if (sscanf(text, "SUBACK %x", &reason) == 1 ||
               sscanf(text, "UNSUBACK %x", &reason) == 1) {
        on_suback(actor, reason);
    } else {
        ck_assert_msg(strncmp(text, "UNSUBACK", 8) == 0 || is_rough || is_lossy,
                      "%s: unexpected '%s'", actor->id, text);
        if (strncmp(text, "UNSUBACK", 8) == 0) {
            on_suback(actor, 0);
        }
    }
}

static inline void receive(actor_t *actor)
{
    (void)guest_collect(actor->guest);
    for (const char *text; actor->guest != NULL && *(text = guest_next(actor->guest)) != '\0';) {
        on_packet(actor, text);
    }
    if (actor->guest != NULL && (actor->guest->is_closing || actor->guest->is_gone)) {
        /* Who waits too long before his CONNECT is read is closed, too. */
        bool is_late = actor->presence == COMING;
        ck_assert_msg(is_rough || is_lossy || is_late, "%s was closed", actor->id);
        lose(actor);
    }
}

/* ---- what an actor sends --------------------------------------------------------------------- */

static inline void push_ack(actor_t *actor)
{
    uint8_t bytes[GV_MQTT_ACK_SIZE];
    gv_writer_t w = gv_writer(bytes, sizeof(bytes));
    gv_mqtt_write_ack(&w, actor->owed[0].type, actor->owed[0].packet_id);
    guest_push(actor->guest, bytes, sizeof(bytes));
    tell("%s says %s %u", actor->id, gv_mqtt_type_text(actor->owed[0].type),
         actor->owed[0].packet_id);
    actor->owed_count--;
    memmove(&actor->owed[0], &actor->owed[1], actor->owed_count * sizeof(owed_t));
}

static inline void push_connect(actor_t *actor, bool clean_start, uint32_t expiry_s)
{
    uint8_t bytes[512];
    char topic[16];
    gv_mqtt_connect_t connect = {
        .client_id = gv_bytes_text(actor->id),
        .clean_start = clean_start,
        .version = actor->version,
        .has_will = below(4) == 0,
    };
    if (connect.has_will) {
        (void)snprintf(topic, sizeof(topic), "w/x/%u", below(3));
        connect.will.topic = gv_bytes_text(topic);
        connect.will.payload = GV_BYTES_LITERAL("0:0:gone");
        connect.will.qos = (uint8_t)below(3);
        connect.will.retain = below(4) == 0;
    }
    if (actor->version == GV_MQTT_V5) {
        gv_mqtt_props_set_number(&connect.props, GV_MQTT_PROP_RECEIVE_MAXIMUM,
                                 1 + below(is_brisk ? 100 : 10));
        gv_mqtt_props_set_number(&connect.props, GV_MQTT_PROP_SESSION_EXPIRY, expiry_s);
        if (connect.has_will) {
            gv_mqtt_props_set_number(&connect.will.props, GV_MQTT_PROP_WILL_DELAY, below(8));
        }
    }
    gv_writer_t w = gv_writer(bytes, sizeof(bytes));
    guest_push(actor->guest, bytes, gv_mqtt_encode_connect(&connect, &w));
}

/* Seats are used again: nobody keeps the one of a connection that the node has closed. */
static inline void give_back_seats(void)
{
    for (size_t i = 0; i < ACTORS; i++) {
        if (actors[i].guest != NULL && actors[i].guest->is_gone) {
            lose(&actors[i]);
        }
    }
}

/* Over a new connection, whether there is an old one or not. */
static inline void connect(actor_t *actor, bool clean_start, uint32_t expiry_s)
{
    if (is_past(actor)) {
        disown(actor);
    }
    /* Its session may have ended, and another may be made that the client never hears of. */
    bool may_be_over = actor->shortest_s != GV_EXPIRY_NEVER && actor->presence != HERE &&
                       house.now_ms + 1000 >= actor->heard_ms + (uint64_t)actor->shortest_s * 1000;
    clean_start = clean_start || actor->must_clean || may_be_over;
    lose(actor); /* if it was connected, the node may see the new connection first */
    if (clean_start) {
        forget(actor);
    }
    actor->is_clean = clean_start;
    actor->expiry_s = clean_start && actor->version < GV_MQTT_V5 ? 0 : expiry_s;
    actor->must_clean = clean_start || actor->expiry_s == 0;
    actor->shortest_s = actor->expiry_s < actor->shortest_s ? actor->expiry_s : actor->shortest_s;
    actor->owned_s = expiry_s < actor->owned_s ? expiry_s : actor->owned_s;
    give_back_seats();
    actor->guest = house_visit(&house, actor->version);
    actor->guest->alias_max = (uint16_t)below(4);
    actor->guest->next_packet_id = actor->packet_id;
    actor->presence = COMING;
    push_connect(actor, clean_start, expiry_s);
    tell("%s connects, v%d%s, expiry %u", actor->id, (int)actor->version,
         clean_start ? ", clean" : "", actor->expiry_s);
}

static inline void connect_somehow(actor_t *actor)
{
    bool is_steady = index_of(actor) >= WITNESS || actor->is_bound;
    bool clean_start = !is_steady && below(6) == 0;
    uint32_t expiry_s = GV_EXPIRY_NEVER;
    if (actor->version < GV_MQTT_V5) {
        expiry_s = clean_start ? 0 : GV_EXPIRY_NEVER;
    } else if (!is_steady && below(3) == 0) {
        expiry_s = below(2) == 0 ? 0 : 3 + below(30);
    }
    connect(actor, clean_start, expiry_s);
}

static inline void push_subscribe(actor_t *actor, unsigned filter, uint8_t qos)
{
    bool is_helper = filter == GROUP && actor->expiry_s == 0;
    if (actor->asked_count == ASKED_MAX ||
        (filter == GROUP && !is_helper && actor->expiry_s != GV_EXPIRY_NEVER)) {
        return;
    }
    if (is_helper) {
        actor->is_helper = true;
        qos = 1; /* what is begun at QoS 2 ends with its session */
        expose();
    } else if (filter == GROUP) {
        actor->is_bound = true;
        qos = qos == 0 ? 1 : qos; /* else what it gets is not anybody's any more */
    }
    excuse(actor, false); /* what is on its way may come by the old subscription or the new */
    actor->firm[filter] = -1;
    actor->gone[filter] = UINT32_MAX;
    gv_mqtt_subscription_t entry = {.text = gv_bytes_text(filters[filter]), .qos = qos};
    guest_push_subscribe(actor->guest, entry, actor->version == GV_MQTT_V5 ? below(3) : 0);
    tell("%s subscribes to %s q%u", actor->id, filters[filter], qos);
    actor->last_asked[filter] = actor->guest->next_packet_id;
    actor->asked[actor->asked_count++] =
        (asked_t){.packet_id = actor->guest->next_packet_id, .filter = (uint8_t)filter};
}

static inline void push_unsubscribe(actor_t *actor, unsigned filter)
{
    if (actor->asked_count == ASKED_MAX) {
        return;
    }
    uint8_t bytes[64];
    gv_writer_t w = gv_writer(bytes, sizeof(bytes));
    gv_mqtt_subscription_t entry = {.text = gv_bytes_text(filters[filter])};
    gv_mqtt_props_t props = GV_MQTT_PROPS_NONE;
    gv_mqtt_subscribe_request_t request = {
        .packet_id = ++actor->guest->next_packet_id, .entries = &entry, .count = 1, .props = props};
    gv_mqtt_peer_t server = guest_server(actor->guest);
    guest_push(actor->guest, bytes, gv_mqtt_encode_unsubscribe(&request, &server, &w));
    tell("%s unsubscribes from %s", actor->id, filters[filter]);
    excuse(actor, false);
    actor->firm[filter] = -1;
    actor->last_asked[filter] = actor->guest->next_packet_id;
    actor->asked[actor->asked_count++] = (asked_t){
        .packet_id = request.packet_id, .filter = (uint8_t)filter, .is_unsubscribe = true};
}

static inline void push_message(actor_t *actor, uint16_t number, uint16_t packet_id, bool dup)
{
    const message_t *message = &messages[index_of(actor)][number];
    uint8_t bytes[6144];
    char topic[24];
    char payload[6000];
    (void)snprintf(topic, sizeof(topic), "%s%u", topics[message->family], message->topic);
    (void)snprintf(payload, sizeof(payload), "%u:%u:%0*d", index_of(actor), number, pad_of(number),
                   0);
    payload[0] = message->is_deletion ? '\0' : payload[0];
    tell("%s publishes %s q%u %u:%u as %u%s", actor->id, topic, message->qos, index_of(actor),
         number, packet_id, dup ? " dup" : "");
    gv_mqtt_publish_t publish = {
        .topic = gv_bytes_text(topic),
        .payload = gv_bytes_text(payload),
        .packet_id = packet_id,
        .qos = message->qos,
        .retain = message->family == RETAINED,
        .dup = dup,
    };
    if (message->may_vanish) {
        gv_mqtt_props_set_number(&publish.props, GV_MQTT_PROP_MESSAGE_EXPIRY, 1 + number % 4);
    }
    gv_mqtt_peer_t server = guest_server(actor->guest);
    gv_writer_t w = gv_writer(bytes, sizeof(bytes));
    size_t size = gv_mqtt_encode_publish(&publish, &server, &w);
    ck_assert_uint_gt(size, 0);
    guest_push(actor->guest, bytes, size);
}

static inline void publish(actor_t *actor)
{
    if (actor->message_count == MESSAGES_MAX || actor->pending_count == PENDING_MAX) {
        return;
    }
    uint16_t number = actor->message_count++;
    uint32_t what = below(8);
    message_t *message = &messages[index_of(actor)][number];
    *message = (message_t){.family = what < 5 ? PLAIN : what < 7 ? SHARED : RETAINED};
    message->topic = (uint8_t)below(TOPICS);
    message->qos = (uint8_t)below(3);
    if (is_brisk && below(20) != 0) {
        message->family = what < 7 ? PLAIN : SHARED;
        message->qos = 1;
    }
    message->may_vanish = actor->version == GV_MQTT_V5 && below(10) == 0;
    message->is_deletion = message->family == RETAINED && below(6) == 0;
    message->is_exposed = has_helper();
    message->sent_at = ++moment;
    message->owed_to = receivers_of(message);
    uint16_t packet_id = message->qos > 0 ? ++actor->guest->next_packet_id : 0;
    push_message(actor, number, packet_id, false);
    if (message->qos > 0) {
        actor->pending[actor->pending_count++] =
            (pending_t){.packet_id = packet_id, .message = number};
    }
}

/* The session is there: what is not over is sent again, in order [MQTT-4.4.0-1]. */
static inline void resume(actor_t *actor)
{
    for (size_t i = 0; i < actor->pending_count; i++) {
        const pending_t *pending = &actor->pending[i];
        if (pending->has_pubrec) {
            owe(actor, GV_MQTT_PUBREL, pending->packet_id);
        } else {
            messages[index_of(actor)][pending->message].is_resent = true;
            push_message(actor, pending->message, pending->packet_id, true);
        }
    }
}

static inline void act(actor_t *actor)
{
    bool is_steady = index_of(actor) >= WITNESS;
    uint32_t what = below(100);
    if (is_brisk && what >= 78 && below(10) != 0) {
        what = 40;
    }
    if (actor->presence == AWAY) {
        if (is_brisk || below(3) == 0) {
            connect_somehow(actor);
        }
    } else if (actor->presence == COMING) {
        if (what < 3) {
            lose(actor);
        }
    } else if (what < 40) {
        publish(actor);
    } else if (what < 78) {
        for (uint32_t left = below(8); left > 0 && actor->owed_count > 0; left--) {
            push_ack(actor);
        }
    } else if (what < 82 && !is_steady) {
        uint32_t filter = below(FILTERS);
        push_subscribe(actor, filter, (uint8_t)below(3));
    } else if (what < 84 && !is_steady) {
        push_unsubscribe(actor, below(FILTERS));
    } else if (what < 88) {
        lose(actor);
    } else if (what < 90) {
        connect_somehow(actor);
    } else if (what < 91) {
        guest_push(actor->guest, "\xe0\x00", 2);
        (void)guest_offer(actor->guest);
        lose(actor);
    }
}
