/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Persistent sessions under random use, on a node that crashes, restarts with another number of
 * shards, and has a disk that is slow, full, or lies.
 *
 * Clients behave as the standard wants it: they keep what is not over, send it again over the next
 * connection, and know a QoS 2 message by its packet id until it is released.  A ledger says what
 * must hold whatever happens:
 *  - who has been told that a session is there finds it again, with its subscriptions;
 *  - what has been acknowledged to its publisher reaches every persistent subscriber (P1);
 *  - at QoS 2 once (P2), and for each publisher and topic in order (P3);
 *  - nothing comes by a subscription that has ended, or out of a session that has;
 *  - when all have gone for good, nothing is left: in memory, in the log, in the tables (P9).
 *
 * DURABLE_STORM_SEEDS=FIRST-LAST runs other seeds than the usual ones, and DURABLE_STORM_ROUGH=1
 * lets commits fail in some of them.
 */
#include "broker/core/shard.h"
#include "broker/core/shard_p.h"

#include "house.h"

enum {
    ACTORS = 7, /* the last two never end their sessions: the witness, and a member of the group */
    WITNESS = ACTORS - 2,
    MEMBER = ACTORS - 1,
    MESSAGES_MAX = 600,
    PENDING_MAX = 16,
    ASKED_MAX = 64,
    TOPICS = 4,
    STEPS = 6000,
    SEEDS = 48, /* of a usual run */
};

typedef enum family {
    PLAIN,
    SHARED,
    RETAINED,
} family_t;

static const char *const topics[] = {"t/topic-", "s/g/", "r/x/"};

enum {
    T_ALL,
    T_ANY,
    T_0,
    T_1,
    ANY_2,
    GROUP,
    R_ALL,
    FILTERS
};

static const char *const filters[FILTERS] = {
    "t/#", "t/+", "t/topic-0", "t/topic-1", "+/topic-2", "$share/g/s/g/#", "r/#"};

typedef enum presence {
    AWAY,
    COMING, /* CONNECT is sent */
    HERE,
} presence_t;

typedef struct pending {
    uint16_t packet_id;
    uint16_t message;
    bool has_pubrec;
} pending_t;

typedef struct owed {
    gv_mqtt_type_t type;
    uint16_t packet_id;
} owed_t;

/* SUBSCRIBE and UNSUBSCRIBE without an answer. */
typedef struct asked {
    uint16_t packet_id;
    uint8_t filter;
    bool is_unsubscribe;
} asked_t;

typedef struct actor {
    char id[8];
    gv_mqtt_version_t version;
    presence_t presence;
    guest_t *guest;
    uint64_t left_ms;
    uint64_t heard_ms;   /* when the last connection ended that got its CONNACK ... */
    uint32_t shortest_s; /* ... and the shortest expiry it has asked for since, and then */
    uint32_t expiry_s;   /* of this connection, or the last one */
    bool is_bound;       /* it has been in the group: its sessions do not end */
    bool is_clean;       /* this connection began with a clean start */
    bool must_clean;     /* the node may have a session that the client knows nothing of */
    uint32_t owned_s;    /* its session lasts so long, surely; 0: perhaps there is none */
    uint32_t since;      /* when its session began */
    uint16_t packet_id;
    uint16_t message_count;
    pending_t pending[PENDING_MAX]; /* published, not over; in order */
    size_t pending_count;
    owed_t owed[256]; /* acknowledgements it has not sent yet */
    size_t owed_count;
    asked_t asked[ASKED_MAX];
    size_t asked_count;
    uint16_t last_asked[FILTERS]; /* the last request about each, answered or not */
    int8_t firm[FILTERS];         /* the QoS it has been granted; -1: perhaps not subscribed */
    uint32_t gone[FILTERS];       /* what is published from then on does not come by it */
    uint16_t last[ACTORS][TOPICS][3][2];
    bool is_held[65536]; /* QoS 2 ids received, not released */
} actor_t;

typedef struct message {
    uint8_t family;
    uint8_t topic;
    uint8_t qos;
    bool is_resent;
    bool may_vanish;   /* it expires */
    uint32_t sent_at;  /* in `moment`s */
    uint32_t acked_at; /* 0: not acknowledged */
    uint16_t owed_to;  /* actors that must get it */
    uint16_t seen_by;
    uint16_t seen_once_by; /* of these, at QoS 2 */
} message_t;

static message_t messages[ACTORS][MESSAGES_MAX];
static actor_t actors[ACTORS];
static house_t house;
static gv_rng_t rng;
static uint32_t moment; /* counts what matters for before and after */

/* The kind of weather. */
static bool is_lossy;   /* queues are short: messages may be dropped */
static bool is_rough;   /* commits fail: clients may be refused */
static bool is_damaged; /* records are damaged: nothing is promised but to survive it */

static uint32_t below(uint32_t limit)
{
    return (uint32_t)gv_rng_below(&rng, limit);
}

static unsigned index_of(const actor_t *actor)
{
    return (unsigned)(actor - actors);
}

/* ---- the ledger ------------------------------------------------------------------------------ */

static bool matches(unsigned filter, const message_t *message)
{
    switch (filter) {
    case T_ALL:
    case T_ANY:
        return message->family == PLAIN;
    case T_0:
        return message->family == PLAIN && message->topic == 0;
    case T_1:
        return message->family == PLAIN && message->topic == 1;
    case ANY_2:
        return message->family == PLAIN && message->topic == 2;
    case GROUP:
        return message->family == SHARED;
    default:
        return message->family == RETAINED;
    }
}

static bool is_past(const actor_t *actor)
{
    return actor->presence == AWAY && actor->owned_s != GV_EXPIRY_NEVER &&
           house.now_ms + 1000 >= actor->left_ms + (uint64_t)actor->owned_s * 1000;
}

/* Whom a message that is being published is owed to. */
static uint16_t receivers_of(const message_t *message)
{
    uint16_t receivers = 0;
    for (unsigned i = 0; i < ACTORS && message->family == PLAIN; i++) {
        const actor_t *actor = &actors[i];
        for (unsigned f = 0; f < FILTERS && actor->owned_s > 0 && !is_past(actor); f++) {
            if (actor->firm[f] > 0 && matches(f, message)) {
                receivers |= (uint16_t)(1U << i);
            }
        }
    }
    return receivers;
}

/* Nothing of these kinds is owed to the actor any more. */
static void excuse(const actor_t *actor, bool also_acked)
{
    for (unsigned from = 0; from < ACTORS; from++) {
        for (unsigned i = 0; i < actors[from].message_count; i++) {
            message_t *message = &messages[from][i];
            if (also_acked || message->acked_at == 0) {
                message->owed_to &= (uint16_t) ~(1U << index_of(actor));
            }
        }
    }
}

/* Its session ends, or may do so. */
static void disown(actor_t *actor)
{
    excuse(actor, true);
    actor->owned_s = 0;
    memset(actor->firm, -1, sizeof(actor->firm));
}

/* The client has no session any more, whatever the node has. */
static void forget(actor_t *actor)
{
    disown(actor);
    actor->pending_count = 0;
    memset(actor->is_held, 0, sizeof(actor->is_held));
}

static void on_session_begun(actor_t *actor)
{
    forget(actor);
    actor->since = ++moment;
    for (unsigned f = 0; f < FILTERS; f++) {
        actor->gone[f] = moment;
    }
}

static void check_ledger(void)
{
    for (unsigned from = 0; from < ACTORS && !is_damaged; from++) {
        const actor_t *publisher = &actors[from];
        ck_assert_msg(publisher->pending_count == 0 || is_lossy, "%s waits for %zu answers",
                      publisher->id, publisher->pending_count);
        for (unsigned i = 0; i < publisher->message_count; i++) {
            const message_t *message = &messages[from][i];
            if (message->acked_at == 0 || message->may_vanish || is_lossy) {
                continue;
            }
            unsigned missing = message->owed_to & (unsigned)~message->seen_by;
            ck_assert_msg(missing == 0, "%u:%u (QoS %u, topic %u) is lost for %x", from, i,
                          message->qos, message->topic, missing);
            ck_assert_msg(message->family != SHARED || message->seen_by != 0,
                          "%u:%u (QoS %u, shared) is lost", from, i, message->qos);
        }
    }
}

/* ---- what an actor receives ------------------------------------------------------------------ */

static void owe(actor_t *actor, gv_mqtt_type_t type, uint16_t packet_id)
{
    ck_assert_uint_lt(actor->owed_count, 256);
    actor->owed[actor->owed_count++] = (owed_t){.type = type, .packet_id = packet_id};
}

static void check_order(actor_t *actor, unsigned from, unsigned number, unsigned qos)
{
    const message_t *message = &messages[from][number];
    uint16_t *last = &actor->last[from][message->topic][message->qos][qos > 0];
    bool is_first = (message->seen_by >> index_of(actor) & 1) == 0;
    ck_assert_msg(!is_first || message->is_resent || number + 1 > *last,
                  "%s: %u:%u (topic %u, QoS %u of %u) after number %d", actor->id, from, number,
                  message->topic, qos, message->qos, *last - 1);
    *last = number + 1 > *last ? (uint16_t)(number + 1) : *last;
}

static void check_reason_to_come(const actor_t *actor, const message_t *message, const char *text)
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

static void on_message(actor_t *actor, const char *text)
{
    char family = 0;
    unsigned qos = 0;
    unsigned from = 0;
    unsigned number = 0;
    const char *payload = strrchr(text, ' ');
    ck_assert_int_eq(sscanf(text, "PUBLISH %c/%*s q%u", &family, &qos), 2);
    ck_assert_int_eq(sscanf(payload, " %u:%u:", &from, &number), 2);
    uint16_t packet_id = actor->guest->last_packet_id;
    if (qos > 0) {
        owe(actor, qos == 1 ? GV_MQTT_PUBACK : GV_MQTT_PUBREC, packet_id);
    }
    if (qos == 2) {
        if (actor->is_held[packet_id]) {
            return;
        }
        actor->is_held[packet_id] = true;
    }
    if (family == 'w' || is_damaged) {
        return;
    }
    ck_assert(from < ACTORS && number < actors[from].message_count);
    message_t *message = &messages[from][number];
    ck_assert_uint_le(qos, message->qos);
    uint16_t me = (uint16_t)(1U << index_of(actor));
    if (message->family != RETAINED) {
        check_reason_to_come(actor, message, text);
    }
    if (message->family == PLAIN) {
        check_order(actor, from, number, qos);
    }
    if (qos == 2 && message->family != RETAINED) {
        uint16_t others = message->family == SHARED ? 0xffff : me;
        ck_assert_msg((message->seen_once_by & others) == 0, "%s: '%s' twice", actor->id, text);
        message->seen_once_by |= me;
    }
    message->seen_by |= me;
}

static void resume(actor_t *actor);

static void lose(actor_t *actor)
{
    if (actor->guest != NULL) {
        guest_t *guest = actor->guest;
        actor->guest = NULL;
        actor->packet_id = guest->next_packet_id;
        actor->left_ms = house.now_ms;
        if (!guest->is_gone) {
            guest->is_gone = true;
            gv_client_closed(&guest->conn.client);
        }
        gv_outbuf_clear(&guest->out, &house.pool);
    }
    if (actor->expiry_s == 0) {
        forget(actor); /* it ends with its connection */
    }
    if (actor->presence == HERE) {
        actor->heard_ms = house.now_ms;
    }
    actor->presence = AWAY;
    actor->owed_count = 0;
    actor->asked_count = 0;
}

static void on_connack(actor_t *actor, const char *text)
{
    if (strncmp(text, "CONNACK 00", 10) != 0) {
        ck_assert_msg(is_rough, "%s: '%s'", actor->id, text);
        lose(actor);
        return;
    }
    actor->presence = HERE;
    actor->shortest_s = actor->expiry_s;
    if (actor->is_clean) {
        actor->must_clean = false;
    }
    bool is_present = strstr(text, "present") != NULL;
    ck_assert_msg(is_present || actor->owned_s == 0 || is_damaged, "%s: its session is lost",
                  actor->id);
    if (!is_present) {
        on_session_begun(actor);
        return;
    }
    resume(actor);
}

static void on_answer(actor_t *actor, gv_mqtt_type_t type, unsigned reason)
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

static void on_suback(actor_t *actor, unsigned code)
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

static void on_packet(actor_t *actor, const char *text)
{
    unsigned packet_id = 0;
    unsigned reason = 0;
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

static void receive(actor_t *actor)
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

static void push_ack(actor_t *actor)
{
    uint8_t bytes[GV_MQTT_ACK_SIZE];
    gv_writer_t w = gv_writer(bytes, sizeof(bytes));
    gv_mqtt_write_ack(&w, actor->owed[0].type, actor->owed[0].packet_id);
    guest_push(actor->guest, bytes, sizeof(bytes));
    actor->owed_count--;
    memmove(&actor->owed[0], &actor->owed[1], actor->owed_count * sizeof(owed_t));
}

static void push_connect(actor_t *actor, bool clean_start, uint32_t expiry_s)
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
        gv_mqtt_props_set_number(&connect.props, GV_MQTT_PROP_RECEIVE_MAXIMUM, 1 + below(10));
        gv_mqtt_props_set_number(&connect.props, GV_MQTT_PROP_SESSION_EXPIRY, expiry_s);
        if (connect.has_will) {
            gv_mqtt_props_set_number(&connect.will.props, GV_MQTT_PROP_WILL_DELAY, below(8));
        }
    }
    gv_writer_t w = gv_writer(bytes, sizeof(bytes));
    guest_push(actor->guest, bytes, gv_mqtt_encode_connect(&connect, &w));
}

/* Seats are used again: nobody keeps the one of a connection that the node has closed. */
static void give_back_seats(void)
{
    for (size_t i = 0; i < ACTORS; i++) {
        if (actors[i].guest != NULL && actors[i].guest->is_gone) {
            lose(&actors[i]);
        }
    }
}

/* Over a new connection, whether there is an old one or not. */
static void connect(actor_t *actor, bool clean_start, uint32_t expiry_s)
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
}

static void connect_somehow(actor_t *actor)
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

static void push_subscribe(actor_t *actor, unsigned filter, uint8_t qos)
{
    if (actor->asked_count == ASKED_MAX ||
        (filter == GROUP && actor->expiry_s != GV_EXPIRY_NEVER)) {
        return;
    }
    if (filter == GROUP) {
        actor->is_bound = true;
        qos = qos == 0 ? 1 : qos; /* else what it gets is not anybody's any more */
    }
    excuse(actor, false); /* what is on its way may come by the old subscription or the new */
    actor->firm[filter] = -1;
    actor->gone[filter] = UINT32_MAX;
    gv_mqtt_subscription_t entry = {.text = gv_bytes_text(filters[filter]), .qos = qos};
    guest_push_subscribe(actor->guest, entry, actor->version == GV_MQTT_V5 ? below(3) : 0);
    actor->last_asked[filter] = actor->guest->next_packet_id;
    actor->asked[actor->asked_count++] =
        (asked_t){.packet_id = actor->guest->next_packet_id, .filter = (uint8_t)filter};
}

static void push_unsubscribe(actor_t *actor, unsigned filter)
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
    excuse(actor, false);
    actor->firm[filter] = -1;
    actor->last_asked[filter] = actor->guest->next_packet_id;
    actor->asked[actor->asked_count++] = (asked_t){
        .packet_id = request.packet_id, .filter = (uint8_t)filter, .is_unsubscribe = true};
}

static void push_message(actor_t *actor, uint16_t number, uint16_t packet_id, bool dup)
{
    const message_t *message = &messages[index_of(actor)][number];
    uint8_t bytes[1024];
    char topic[24];
    char payload[300];
    (void)snprintf(topic, sizeof(topic), "%s%u", topics[message->family], message->topic);
    int pad = number % 8 == 0 ? 200 : 1;
    (void)snprintf(payload, sizeof(payload), "%u:%u:%0*d", index_of(actor), number, pad, 0);
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

static void publish(actor_t *actor)
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
    message->may_vanish = actor->version == GV_MQTT_V5 && below(10) == 0;
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
static void resume(actor_t *actor)
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

static void act(actor_t *actor)
{
    bool is_steady = index_of(actor) >= WITNESS;
    uint32_t what = below(100);
    if (actor->presence == AWAY) {
        if (below(3) == 0) {
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

/* ---- what happens to the node ---------------------------------------------------------------- */

static void end_turns(void)
{
    for (uint16_t i = 0; i < house.shard_count; i++) {
        gv_shard_turn_end(house.shards[i]);
    }
    gv_hub_turn_end(house.hub);
}

static void pass(uint64_t ms)
{
    house.now_ms += ms;
    (void)gv_timerwheel_advance(house.wheel, house.now_ms);
}

/* Connections that the node has closed are gone. */
static void tidy(void)
{
    for (size_t i = 0; i < house.guest_count; i++) {
        guest_t *guest = house.guests[i];
        if (!guest->is_gone && guest->is_closing) {
            (void)guest_collect(guest);
            guest->is_gone = true;
            gv_client_closed(&guest->conn.client);
        }
    }
}

/* The machine fails, or the node is restarted; nobody has heard what it said last. */
static void fall(bool is_crash)
{
    for (size_t i = 0; i < ACTORS; i++) {
        if (actors[i].guest != NULL) {
            actors[i].packet_id = actors[i].guest->next_packet_id;
            actors[i].left_ms = house.now_ms;
            actors[i].guest = NULL;
        }
        lose(&actors[i]);
    }
    house.next_shard_count = (uint16_t)(1 + below(HOUSE_SHARDS_MAX));
    if (is_crash) {
        gv_mem_crash_t kind = below(2) == 0 ? GV_MEM_CRASH_PROCESS : GV_MEM_CRASH_POWER;
        house_crash(&house, kind, below(8));
    } else {
        gv_mem_store_set_fault(house.store, GV_OK, 0);
        house.is_store_slow = false;
        house_restart(&house);
    }
    if (is_damaged && below(2) == 0) {
        (void)gv_mem_store_damage(house.store,
                                  below(3) == 0 ? GV_TABLE_SESSIONS : GV_TABLE_QUEUE_LOG);
    }
}

static void change_weather(void)
{
    house.is_store_slow = below(4) == 0;
    if (is_rough) {
        gv_err_t fault = below(2) == 0 ? GV_ERR_FULL : GV_ERR_IO;
        fault = below(3) == 0 ? fault : GV_OK;
        gv_mem_store_set_fault(house.store, fault, 20 + below(81));
    }
    if (below(4) == 0) {
        pass(500 + below(4000));
    }
}

static void happen(void)
{
    house_free_retired(&house);
    uint32_t what = below(100);
    actor_t *actor = &actors[below(ACTORS)];
    if (what < 30) {
        act(actor);
        end_turns();
    } else if (what < 48) {
        if (actor->guest != NULL) {
            (void)guest_offer(actor->guest);
        }
        end_turns();
    } else if (what < 60) {
        if (actor->guest != NULL) {
            receive(actor);
        }
    } else if (what < 78) {
        if (!house.is_store_slow || below(10) == 0) {
            (void)gv_mem_store_step(house.store);
        }
    } else if (what < 96) {
        (void)house_deliver(&house, below(1 << 16), true);
        end_turns();
    } else if (what < 98) {
        pass(10);
        end_turns();
    } else {
        tidy();
        if (below(4) == 0) {
            change_weather();
        }
    }
    if (below(STEPS / 5) == 0) {
        fall(below(5) != 0 && !(is_rough && house.is_store_slow && below(2) == 0));
    }
}

/* ---- the end --------------------------------------------------------------------------------- */

/* Everybody says what he owes, until nobody owes anything. */
static void calm_down(void)
{
    for (int quiet = 0; quiet < 3; quiet++) {
        house_pass(&house, 50);
        for (size_t i = 0; i < ACTORS; i++) {
            actor_t *actor = &actors[i];
            if (actor->guest == NULL) {
                continue;
            }
            quiet = actor->guest->received_size > 0 || actor->owed_count > 0 ? 0 : quiet;
            receive(actor);
            while (actor->owed_count > 0) {
                push_ack(actor);
            }
        }
    }
}

/* All connect until nobody waits for an answer: who was refused silently has to come again. */
static void gather(void)
{
    house.is_store_slow = false;
    gv_mem_store_set_fault(house.store, GV_OK, 0);
    house_pass(&house, 2000);
    bool is_done = false;
    for (int round = 0; round < 5 && !is_done; round++) {
        is_done = true;
        for (size_t i = 0; i < ACTORS; i++) {
            if (actors[i].presence == HERE && (actors[i].pending_count > 0 || is_lossy)) {
                lose(&actors[i]);
            }
            if (actors[i].presence == AWAY) {
                connect(&actors[i], false, GV_EXPIRY_NEVER);
            }
        }
        calm_down();
        for (size_t i = 0; i < ACTORS; i++) {
            is_done = is_done && actors[i].presence == HERE && actors[i].pending_count == 0;
        }
    }
}

static gv_err_t count_record(gv_bytes_t key, gv_bytes_t value, void *arg)
{
    (void)key, (void)value;
    ++*(size_t *)arg;
    return GV_OK;
}

static size_t records_in(gv_table_t table)
{
    size_t count = 0;
    ck_assert_int_eq(gv_store_scan(house.store, table, count_record, &count), GV_OK);
    return count;
}

static void leave_for_good(void)
{
    is_rough = false;
    for (int round = 0; round < 4; round++) { /* more than once: each commit clears up a little */
        for (size_t i = 0; i < ACTORS; i++) {
            connect(&actors[i], true, 0);
        }
        calm_down();
        for (size_t i = 0; i < ACTORS; i++) {
            ck_assert_int_eq(actors[i].presence, HERE);
            lose(&actors[i]);
        }
        house_pass(&house, 200);
    }
    house_pass(&house, 5000); /* what is done with is cleared away when there is time */
    for (uint16_t i = 0; i < house.shard_count; i++) {
        const gv_shard_t *shard = house.shards[i];
        const gv_shard_stats_t *stats = gv_shard_stats(shard);
        ck_assert_uint_eq(gv_counter_get(&stats->connections), 0);
        ck_assert_uint_eq(gv_counter_get(&stats->sessions), 0);
        ck_assert_uint_eq(gv_counter_get(&stats->subscriptions), 0);
        ck_assert_uint_eq(gv_counter_get(&stats->queued_messages), 0);
        ck_assert_uint_eq(shard->routes_out, 0);
        ck_assert_uint_le(gv_shelf_count(gv_journal_shelf(shard->journal)), 2);
    }
    if (!is_damaged) { /* what is damaged stays, as evidence */
        ck_assert_uint_eq(records_in(GV_TABLE_SESSIONS), 0);
        ck_assert_uint_eq(records_in(GV_TABLE_SUBSCRIPTIONS), 0);
        ck_assert_uint_eq(records_in(GV_TABLE_WILLS), 0);
        ck_assert_uint_eq(records_in(GV_TABLE_INFLIGHT), 0);
        ck_assert_uint_le(records_in(GV_TABLE_QUEUE_LOG), 2U * HOUSE_SHARDS_MAX);
    }
}

static void begin(uint64_t seed)
{
    memset(actors, 0, sizeof(actors));
    memset(messages, 0, sizeof(messages));
    moment = 0;
    gv_rng_init(&rng, seed, 2);
    is_rough = getenv("DURABLE_STORM_ROUGH") != NULL && (seed % 8 == 4 || seed % 8 == 5);
    is_lossy = seed % 8 == 5 || seed % 8 == 6;
    is_damaged = seed % 8 == 7;
    house_open(&house, (uint16_t)(1 + below(HOUSE_SHARDS_MAX)));
    house.limits.queue_messages_max = is_lossy ? 4 + below(20) : 100000;
    house.limits.queue_policy = (gv_queue_policy_t)below(3);
    house.limits.inflight_max = (uint16_t)(1 + below(12));
    house.image_bytes_max = below(2) == 0 ? 1 + below(5000) : 1 << 20;
    house_restart(&house);
    for (unsigned i = 0; i < ACTORS; i++) {
        actor_t *actor = &actors[i];
        (void)snprintf(actor->id, sizeof(actor->id), "c%u", i);
        actor->version = below(2) == 0 ? GV_MQTT_V5 : GV_MQTT_V311;
        memset(actor->firm, -1, sizeof(actor->firm));
        actor->expiry_s = GV_EXPIRY_NEVER;
        actor->shortest_s = GV_EXPIRY_NEVER;
        connect(actor, false, GV_EXPIRY_NEVER);
    }
    calm_down();
    push_subscribe(&actors[WITNESS], T_ALL, 2);
    push_subscribe(&actors[MEMBER], GROUP, (uint8_t)(1 + below(2)));
    calm_down();
}

static void storm(uint64_t seed)
{
    begin(seed);
    for (int i = 0; i < STEPS; i++) {
        happen();
    }
    gather();
    check_ledger();
    leave_for_good();
    house_close(&house);
}

static void seeds(uint64_t *first, uint64_t *last)
{
    *first = 1;
    *last = SEEDS;
    const char *wish = getenv("DURABLE_STORM_SEEDS");
    char *end = NULL;
    if (wish != NULL) {
        *first = strtoull(wish, &end, 10);
        *last = *end == '-' ? strtoull(end + 1, NULL, 10) : *first;
    }
}

START_TEST(what_was_promised_survives)
{
    uint64_t first = 0;
    uint64_t last = 0;
    seeds(&first, &last);
    for (uint64_t seed = first + (uint64_t)_i; seed <= last; seed += 8) {
        (void)fprintf(stderr, "seed %llu\n", (unsigned long long)seed);
        storm(seed);
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("storm");
    tcase_set_timeout(tc, getenv("DURABLE_STORM_SEEDS") == NULL ? 120 : 0);
    tcase_add_loop_test(tc, what_was_promised_survives, 0, 8);
    Suite *suite = suite_create("broker/core/durable_storm");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
