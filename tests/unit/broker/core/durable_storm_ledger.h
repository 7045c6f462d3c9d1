/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the storm of durable_storm_test.c knows of its clients and messages, and what must hold.
 *
 * Each actor is a client; each message is named by its publisher and a number.  The ledger notes
 * who must get it, who has seen it, and when it was sent and acknowledged.
 */
#include <stdarg.h>

#include "house.h"

enum {
    ACTORS = 7, /* the last two never end their sessions: the witness, and a member of the group */
    WITNESS = ACTORS - 2,
    MEMBER = ACTORS - 1,
    MESSAGES_MAX = 600,
    PENDING_MAX = 16,
    ASKED_MAX = 64,
    TOPICS = 4,
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
    uint64_t heard_ms;   /* when the last connection ended that got its CONNACK ... */
    uint32_t shortest_s; /* ... and the shortest expiry it has asked for since, and then */
    uint32_t expiry_s;   /* of this connection, or the last one */
    bool is_bound;       /* it has been in the group: its sessions do not end */
    bool is_helper;      /* it is, or has been, and its session ends with this connection */
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
    uint32_t lost_at;                      /* when the connection before this one was lost */
    uint16_t had_as[ACTORS][MESSAGES_MAX]; /* packet id of a message over an earlier connection */
    uint16_t has_as[ACTORS][MESSAGES_MAX]; /* the same of this one */
    bool is_held[65536];                   /* QoS 2 ids received, not released */
} actor_t;

typedef struct message {
    uint8_t family;
    uint8_t topic;
    uint8_t qos;
    bool is_resent;
    bool may_vanish;   /* it expires */
    bool is_deletion;  /* of what is retained */
    bool is_exposed;   /* a helper may have had it before it was acknowledged */
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
static bool is_told;    /* DURABLE_STORM_TELL: who hears and says what */

/* Tells the story of a seed. */
GV_PRINTF(1, 2) static inline void tell(const char *format, ...)
{
    if (is_told) {
        va_list args;
        va_start(args, format);
        (void)fprintf(stderr, "%u: ", moment);
        (void)vfprintf(stderr, format, args);
        (void)fprintf(stderr, "\n");
        va_end(args);
    }
}

/* The kind of weather. */
static bool is_lossy;   /* queues are short: messages may be dropped */
static bool is_brisk;   /* clients stay, and QoS is 1: parts wait for their receivers */
static bool is_rough;   /* commits fail: clients may be refused */
static bool is_damaged; /* records are damaged: nothing is promised but to survive it */

static inline uint32_t below(uint32_t limit)
{
    return (uint32_t)gv_rng_below(&rng, limit);
}

static inline unsigned index_of(const actor_t *actor)
{
    return (unsigned)(actor - actors);
}

/* ---- the ledger ------------------------------------------------------------------------------ */

static inline bool matches(unsigned filter, const message_t *message)
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

static inline bool is_past(const actor_t *actor)
{
    return actor->presence != HERE && actor->owned_s != GV_EXPIRY_NEVER &&
           house.now_ms + 1000 >= actor->heard_ms + (uint64_t)actor->owned_s * 1000;
}

/* Whom a message that is being published is owed to. */
static inline uint16_t receivers_of(const message_t *message)
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

/*
 * Who keeps no session may take to the grave what he is given before its publisher has an answer;
 * what members leave to him later they still have.
 */
static inline bool has_helper(void)
{
    bool is_there = false;
    for (unsigned i = 0; i < ACTORS; i++) {
        is_there = is_there || actors[i].is_helper;
    }
    return is_there;
}

static inline void expose(void)
{
    for (unsigned from = 0; from < ACTORS; from++) {
        for (unsigned i = 0; i < actors[from].message_count; i++) {
            messages[from][i].is_exposed |= messages[from][i].acked_at == 0;
        }
    }
}

/* Nothing of these kinds is owed to the actor any more. */
static inline void excuse(const actor_t *actor, bool also_acked)
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
static inline void disown(actor_t *actor)
{
    excuse(actor, true);
    actor->owned_s = 0;
    memset(actor->firm, -1, sizeof(actor->firm));
}

/* The client has no session any more, whatever the node has. */
static inline void forget(actor_t *actor)
{
    disown(actor);
    actor->pending_count = 0;
    memset(actor->had_as, 0, sizeof(actor->had_as));
    memset(actor->has_as, 0, sizeof(actor->has_as));
    memset(actor->is_held, 0, sizeof(actor->is_held));
}

static inline void on_session_begun(actor_t *actor)
{
    forget(actor);
    actor->since = ++moment;
    for (unsigned f = 0; f < FILTERS; f++) {
        actor->gone[f] = moment;
    }
}

static inline void check_ledger(void)
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
            bool may_be_lost = message->family != SHARED || message->is_exposed;
            ck_assert_msg(may_be_lost || message->seen_by != 0, "%u:%u (QoS %u, shared) is lost",
                          from, i, message->qos);
        }
    }
}
