/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A whole node under random use: connections that come, break, are taken over and resumed,
 * overlapping and shared subscriptions, publishes of all QoS, acknowledgements when it pleases, and
 * letters that overtake each other unless they have the same sender and receiver.
 *
 * What must hold, whatever the order:
 *  - answers to publishes leave in the order of the publishes, and none is missing in the end;
 *  - what one client publishes to one topic reaches each subscriber in that order;
 *  - a message at QoS 2 reaches a session once;
 *  - what was acknowledged has reached the witness, who is always there, and for a group, a member;
 *  - when all have gone for good, nothing is left of them.
 */
#include "broker/core/shard.h"
#include "broker/core/shard_p.h"

#include "house.h"

enum {
    ACTORS = 8, /* the last two are always there: the witness, and a member of the group */
    WITNESS = ACTORS - 2,
    MEMBER = ACTORS - 1,
    MESSAGES_MAX = 2000,
    PENDING_MAX = 16,
    TOPICS = 4,
    STEPS = 1500,
};

typedef enum {
    PLAIN,
    SHARED
} family_t;

typedef struct {
    uint16_t packet_id;
    uint16_t message;
    uint8_t qos;
    bool has_pubrec;
} pending_t;

typedef struct {
    gv_mqtt_type_t type;
    uint16_t packet_id;
} owed_t;

typedef struct {
    char id[8];
    guest_t *guest; /* NULL while away */
    bool is_clean;
    pending_t pending[PENDING_MAX]; /* published, not over; in order */
    size_t pending_count;
    owed_t owed[256]; /* acknowledgements it has not sent yet */
    size_t owed_count;
    uint16_t message_count;
    uint16_t packet_id; /* last used; an id of an exchange cut short is not used again */
    /* By who published what: */
    uint16_t last[ACTORS][TOPICS][3][2];
    bool seen[ACTORS][MESSAGES_MAX];
    bool is_held[65536]; /* QoS 2 ids received, not released */
} actor_t;

static struct {
    family_t family;
    bool is_acked;
    bool is_seen;
} messages[ACTORS][MESSAGES_MAX];

static house_t house;
static actor_t actors[ACTORS];
static gv_rng_t rng;
/* Letters arrive in the order they were sent, as in a mailbox, and each turn is one step. */
static bool is_mailbox;

static uint32_t below(uint32_t limit)
{
    return (uint32_t)gv_rng_below(&rng, limit);
}

/* ---- what an actor receives ------------------------------------------------------------------ */

static void owe(actor_t *actor, gv_mqtt_type_t type, uint16_t packet_id)
{
    ck_assert_uint_lt(actor->owed_count, 256);
    actor->owed[actor->owed_count++] = (owed_t){.type = type, .packet_id = packet_id};
}

static void on_message(actor_t *actor, const char *text)
{
    char family = 0;
    unsigned topic = 0;
    unsigned qos = 0;
    unsigned from = 0;
    unsigned number = 0;
    unsigned asked = 0;
    bool is_dup = strstr(text, " dup ") != NULL;
    const char *payload = strrchr(text, ' ');
    ck_assert_int_eq(sscanf(text, "PUBLISH %c/topic-%u q%u", &family, &topic, &qos), 3);
    ck_assert_int_eq(sscanf(payload, " %u:%u:%u", &from, &number, &asked), 3);
    ck_assert(from < ACTORS && topic < TOPICS && qos <= asked && asked < 3);
    ck_assert_uint_lt(number, actors[from].message_count);
    uint16_t packet_id = actor->guest->last_packet_id;
    if (qos > 0) {
        owe(actor, qos == 1 ? GV_MQTT_PUBACK : GV_MQTT_PUBREC, packet_id);
    }
    bool is_again = qos == 2 && actor->is_held[packet_id];
    if (family == 't' && !is_again) {
        uint16_t *last = &actor->last[from][topic][asked][qos > 0];
        ck_assert_msg(is_dup || number + 1 > *last, "%s: '%s' after number %d", actor->id, text,
                      *last - 1);
        ck_assert_msg(qos < 2 || !actor->seen[from][number], "%s: '%s' twice", actor->id, text);
        *last = number + 1 > *last ? (uint16_t)(number + 1) : *last;
    }
    if (qos == 2) {
        ck_assert(is_dup || !actor->is_held[packet_id]);
        actor->is_held[packet_id] = true;
    }
    actor->seen[from][number] = true;
    if (family == 's' || actor == &actors[WITNESS]) {
        messages[from][number].is_seen = true;
    }
}

static void on_answer(actor_t *actor, gv_mqtt_type_t type)
{
    uint16_t packet_id = actor->guest->last_packet_id;
    size_t i = 0;
    if (type == GV_MQTT_PUBCOMP) {
        while (i < actor->pending_count && actor->pending[i].packet_id != packet_id) {
            i++;
        }
        ck_assert(i < actor->pending_count && actor->pending[i].has_pubrec);
    } else {
        while (i < actor->pending_count && actor->pending[i].has_pubrec) {
            i++;
        }
        ck_assert_uint_lt(i, actor->pending_count);
        pending_t *pending = &actor->pending[i];
        ck_assert_msg(pending->packet_id == packet_id, "%s: %d answered before %d", actor->id,
                      packet_id, pending->packet_id);
        ck_assert_int_eq(type, pending->qos == 1 ? GV_MQTT_PUBACK : GV_MQTT_PUBREC);
        messages[actor - actors][pending->message].is_acked = true;
        if (type == GV_MQTT_PUBREC) {
            pending->has_pubrec = true;
            owe(actor, GV_MQTT_PUBREL, packet_id);
            return;
        }
    }
    actor->pending_count--;
    memmove(&actor->pending[i], &actor->pending[i + 1],
            (actor->pending_count - i) * sizeof(pending_t));
}

static void on_packet(actor_t *actor, const char *text)
{
    unsigned packet_id = 0;
    unsigned reason = 0;
    if (strncmp(text, "PUBLISH ", 8) == 0) {
        on_message(actor, text);
    } else if (sscanf(text, "PUBREL %u %x", &packet_id, &reason) == 2) {
        actor->is_held[packet_id] = false;
        owe(actor, GV_MQTT_PUBCOMP, (uint16_t)packet_id);
    } else if (sscanf(text, "PUBACK %u %x", &packet_id, &reason) == 2) {
        ck_assert_uint_lt(reason, 0x80);
        on_answer(actor, GV_MQTT_PUBACK);
    } else if (sscanf(text, "PUBREC %u %x", &packet_id, &reason) == 2) {
        ck_assert_uint_lt(reason, 0x80);
        on_answer(actor, GV_MQTT_PUBREC);
    } else if (sscanf(text, "PUBCOMP %u %x", &packet_id, &reason) == 2) {
        on_answer(actor, GV_MQTT_PUBCOMP);
    } else {
        ck_assert_msg(strncmp(text, "SUBACK", 6) == 0 || strncmp(text, "UNSUBACK", 8) == 0,
                      "%s: unexpected '%s'", actor->id, text);
    }
}

static void receive(actor_t *actor)
{
    (void)guest_collect(actor->guest);
    for (const char *text; *(text = guest_next(actor->guest)) != '\0';) {
        on_packet(actor, text);
    }
    ck_assert_msg(!actor->guest->is_closing, "%s was closed", actor->id);
}

/* ---- what an actor does ---------------------------------------------------------------------- */

static void push_ack(actor_t *actor, size_t i)
{
    uint8_t bytes[GV_MQTT_ACK_SIZE];
    gv_writer_t w = gv_writer(bytes, sizeof(bytes));
    gv_mqtt_write_ack(&w, actor->owed[i].type, actor->owed[i].packet_id);
    guest_push(actor->guest, bytes, sizeof(bytes));
    actor->owed_count--;
    memmove(&actor->owed[i], &actor->owed[i + 1], (actor->owed_count - i) * sizeof(owed_t));
}

/* Its connection is no more; what was on it is forgotten by both sides or sent again. */
static void lose(actor_t *actor)
{
    if (actor->guest != NULL) {
        guest_t *guest = actor->guest;
        actor->guest = NULL;
        actor->packet_id = guest->next_packet_id;
        if (!guest->is_gone) {
            guest->is_gone = true;
            gv_client_closed(&guest->conn.client);
        }
        gv_outbuf_clear(&guest->out, &house.pool);
    }
    actor->pending_count = 0;
    actor->owed_count = 0;
}

/* CONNACK is waited for; nothing else is. */
static void connect(actor_t *actor, bool is_clean)
{
    uint8_t bytes[256];
    guest_t *guest = house_visit(&house, below(2) == 0 ? GV_MQTT_V5 : GV_MQTT_V311);
    gv_mqtt_connect_t connect = {
        .client_id = gv_bytes_text(actor->id), .clean_start = is_clean, .version = guest->version};
    if (guest->version == GV_MQTT_V5) {
        gv_mqtt_props_set_number(&connect.props, GV_MQTT_PROP_RECEIVE_MAXIMUM, 1 + below(10));
        guest->alias_max = (uint16_t)below(4);
        gv_mqtt_props_set_number(&connect.props, GV_MQTT_PROP_TOPIC_ALIAS_MAXIMUM,
                                 guest->alias_max);
        if (!is_clean) {
            gv_mqtt_props_set_number(&connect.props, GV_MQTT_PROP_SESSION_EXPIRY, GV_EXPIRY_NEVER);
        }
    }
    gv_writer_t w = gv_writer(bytes, sizeof(bytes));
    guest_push(guest, bytes, gv_mqtt_encode_connect(&connect, &w));
    while (guest_offer(guest)) {
    }
    lose(actor); /* taken over, if it was connected */
    guest->next_packet_id = actor->packet_id;
    actor->guest = guest;
    (void)guest_collect(guest);
    const char *text = guest_next(guest);
    if (*text == '\0') { /* its shard waits for credit */
        house_settle(&house);
        text = guest_next(guest);
    }
    ck_assert_int_eq(strncmp(text, "CONNACK 00", 10), 0);
    if (strstr(text, "present") == NULL) {
        memset(actor->is_held, 0, sizeof(actor->is_held));
    }
    actor->is_clean = is_clean;
}

static void push_subscribe(actor_t *actor, const char *filter, uint8_t qos)
{
    guest_push_subscribe(actor->guest,
                         (gv_mqtt_subscription_t){.text = gv_bytes_text(filter), .qos = qos}, 0);
}

static void push_unsubscribe(actor_t *actor, const char *filter)
{
    uint8_t bytes[64];
    gv_writer_t w = gv_writer(bytes, sizeof(bytes));
    gv_mqtt_subscription_t entry = {.text = gv_bytes_text(filter)};
    gv_mqtt_props_t props = GV_MQTT_PROPS_NONE;
    gv_mqtt_subscribe_request_t request = {
        .packet_id = ++actor->guest->next_packet_id, .entries = &entry, .count = 1, .props = props};
    gv_mqtt_peer_t server = guest_server(actor->guest);
    guest_push(actor->guest, bytes, gv_mqtt_encode_unsubscribe(&request, &server, &w));
}

static void push_publish(actor_t *actor)
{
    if (actor->message_count == MESSAGES_MAX || actor->pending_count == PENDING_MAX) {
        return;
    }
    uint16_t number = actor->message_count++;
    uint8_t qos = (uint8_t)below(3);
    family_t family = below(3) == 0 ? SHARED : PLAIN;
    messages[actor - actors][number].family = family;
    char topic[24];
    char payload[32];
    (void)snprintf(topic, sizeof(topic), "%c/topic-%u", family == PLAIN ? 't' : 's', below(TOPICS));
    (void)snprintf(payload, sizeof(payload), "%d:%u:%u", (int)(actor - actors), number, qos);
    guest_push_publish(actor->guest, topic, payload, qos, false);
    if (qos > 0) {
        actor->pending[actor->pending_count++] =
            (pending_t){.packet_id = actor->guest->next_packet_id, .message = number, .qos = qos};
    }
}

static void act(actor_t *actor)
{
    static const char *const filters[] = {"t/#",       "t/+",       "t/topic-0",
                                          "t/topic-1", "+/topic-2", "t/topic-3"};
    bool is_steady = actor >= &actors[WITNESS];
    uint32_t what = below(100);
    if (actor->guest == NULL) {
        connect(actor, below(3) == 0);
    } else if (what < 40) {
        push_publish(actor);
    } else if (what < 75) {
        for (uint32_t left = below(8); left > 0 && actor->owed_count > 0; left--) {
            push_ack(actor, 0);
        }
    } else if (what < 80 && !is_steady) {
        push_subscribe(actor, filters[below(4)], (uint8_t)below(3));
    } else if (what < 84 && !is_steady) {
        push_unsubscribe(actor, filters[below(6)]);
    } else if (what < 87 && !is_steady) {
        push_subscribe(actor, "$share/g/s/#", 1);
    } else if (what < 90 && !is_steady) {
        lose(actor);
    } else if (what < 92 && !is_steady) {
        connect(actor, below(3) == 0);
    } else if (what < 94) {
        house.now_ms += 10;
        (void)gv_timerwheel_advance(house.wheel, house.now_ms);
    }
}

static void end_turn(const actor_t *actor)
{
    if (is_mailbox && actor->guest != NULL) {
        gv_shard_turn_end(house.shards[actor->guest->shard]);
    }
}

static void happen(void)
{
    house_free_retired(&house);
    uint32_t what = below(10);
    actor_t *actor = &actors[below(ACTORS)];
    if (what < 4) {
        act(actor);
        end_turn(actor);
    } else if (what < 6) {
        if (actor->guest != NULL) {
            (void)guest_offer(actor->guest);
        }
        end_turn(actor);
    } else if (what < 7) {
        if (actor->guest != NULL) {
            receive(actor);
        }
    } else if (what < 8) {
        gv_shard_turn_end(house.shards[below(house.shard_count)]);
        gv_hub_turn_end(house.hub);
    } else {
        (void)house_deliver(&house, (uint32_t)gv_rng_u32(&rng), is_mailbox);
        for (uint16_t i = 0; is_mailbox && i < house.shard_count; i++) {
            gv_shard_turn_end(house.shards[i]);
        }
        if (is_mailbox) {
            gv_hub_turn_end(house.hub);
        }
    }
}

/* Everybody says what he owes, until nobody owes anything. */
static void calm_down(void)
{
    for (bool goes_on = true; goes_on;) {
        goes_on = false;
        house_pass(&house, 50);
        for (size_t i = 0; i < ACTORS; i++) {
            actor_t *actor = &actors[i];
            if (actor->guest == NULL) {
                continue;
            }
            goes_on |= actor->guest->received_size > 0;
            receive(actor);
            while (actor->owed_count > 0) {
                push_ack(actor, 0);
                goes_on = true;
            }
        }
    }
}

static void leave_for_good(void)
{
    for (size_t i = 0; i < ACTORS; i++) {
        connect(&actors[i], true);
        lose(&actors[i]);
    }
    house_settle(&house);
    for (uint16_t i = 0; i < house.shard_count; i++) {
        const gv_shard_stats_t *stats = gv_shard_stats(house.shards[i]);
        ck_assert_uint_eq(gv_counter_get(&stats->connections), 0);
        ck_assert_uint_eq(gv_counter_get(&stats->sessions), 0);
        ck_assert_uint_eq(gv_counter_get(&stats->subscriptions), 0);
        ck_assert_uint_eq(gv_counter_get(&stats->queued_messages), 0);
        ck_assert_uint_eq(house.shards[i]->routes_out, 0);
        uint32_t cursor = 0;
        ck_assert_ptr_null(gv_subscriptions_next(&house.shards[i]->subscriptions, &cursor));
    }
}

static void storm(uint64_t seed)
{
    memset(actors, 0, sizeof(actors));
    memset(messages, 0, sizeof(messages));
    gv_rng_init(&rng, seed, 1);
    is_mailbox = seed % 2 == 0;
    house_open(&house, (uint16_t)(1 + below(HOUSE_SHARDS_MAX)));
    house.limits.queue_messages_max = 100000;
    house.limits.stored_queue_messages_max = house.limits.queue_messages_max;
    house.limits.inflight_max = (uint16_t)(1 + below(12));
    for (size_t i = 0; i < ACTORS; i++) {
        (void)snprintf(actors[i].id, sizeof(actors[i].id), "c%zu", i);
        connect(&actors[i], i >= WITNESS || below(2) == 0);
    }
    push_subscribe(&actors[WITNESS], "t/#", 2);
    push_subscribe(&actors[MEMBER], "$share/g/s/#", 1);
    calm_down();
    for (int i = 0; i < STEPS * 10; i++) {
        happen();
    }
    for (size_t i = 0; i < ACTORS; i++) { /* who is away may have something in the queue */
        if (actors[i].guest == NULL) {
            connect(&actors[i], false);
        }
    }
    calm_down();
    for (size_t i = 0; i < ACTORS; i++) {
        ck_assert_msg(actors[i].pending_count == 0, "%s still waits for %zu answers", actors[i].id,
                      actors[i].pending_count);
        for (size_t k = 0; k < actors[i].message_count; k++) {
            /* Where letters overtake, one that was routed by an old table may come when the slot it
             * names, of a group that has left this shard, is free already. */
            if (messages[i][k].family == SHARED && !is_mailbox) {
                continue;
            }
            ck_assert_msg(!messages[i][k].is_acked || messages[i][k].is_seen,
                          "%s: message %zu (%s) was acknowledged and is lost", actors[i].id, k,
                          messages[i][k].family == PLAIN ? "plain" : "shared");
        }
    }
    leave_for_good();
    house_close(&house);
}

START_TEST(what_was_promised_holds_in_any_order)
{
    for (uint64_t seed = 1; seed <= 5; seed++) {
        uint64_t real_seed = (uint64_t)_i * 1000 + seed;
        (void)fprintf(stderr, "seed %llu\n", (unsigned long long)real_seed);
        storm(real_seed);
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("storm");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, what_was_promised_holds_in_any_order, 0, 4);
    Suite *suite = suite_create("broker/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
