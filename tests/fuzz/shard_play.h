/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A play of several clients on the stage of a whole node (tests/unit/broker/core/house.h), for the
 * sequence fuzzer:
 *
 *     shard_fuzz.c     bytes -> steps of the play; its beginning and end
 *     shard_speak.c    what clients say; each role remembers what a client has to remember
 *     shard_rules.c    what the node says, held against the standard and what the roles remember
 *     shard_mutate.c   changes plays step by step, for libFuzzer
 *
 * A role is a client id and what its client knows of the session; a seat is one connection.  A role
 * sits on one seat at a time: when it is taken over, the old seat has nobody any more and is
 * watched only to see that it ends.
 *
 * What a role remembers is exact as long as both sides keep to the rules.  After bytes that are no
 * packets, or not the ones we think, nobody can say what the node has made of them: the role is
 * lost (is_lost) until it has a new session, and only what holds for every client is checked.
 */

#include <stdarg.h>

#include "broker/core/shard_p.h"
#include "tests/unit/broker/core/house.h"

enum {
    ROLES = 6, /* the last is the witness: always there, takes everything, does nothing wrong */
    WITNESS = ROLES - 1,
    SEATS_MAX = 48,
    MESSAGES_MAX = 600,
    TOPICS = 8,
    FILTERS = 16,
    FLIGHTS_MAX = 128,
    PENDING_MAX = 64,
    OWED_MAX = 256,
    ALIASES = 4, /* what house.h lets a client use */
    SESSION_EXPIRY_MAX_S = 3600,
};

extern const char *const play_topics[TOPICS];
extern const char *const play_filters[FILTERS];

/* An application message; its payload tells its number. */
typedef struct message {
    uint8_t from;  /* role */
    uint8_t topic; /* in play_topics */
    uint8_t qos;
    bool retain;
    bool has_expiry;
    bool is_repeated;  /* sent again by its publisher */
    bool is_forbidden; /* not the text it promises to be: must not arrive */
    bool is_lost;      /* of a lost role: may be anything */
    bool is_acked;
    bool is_witnessed;
} message_t;

/* A QoS > 0 message of the node to a role. */
typedef struct flight {
    uint16_t packet_id;
    uint16_t message;
    uint8_t qos;
    uint8_t stage;     /* gv_stage_t, as the client sees it */
    bool is_sent_here; /* on this connection */
    bool is_taken;     /* the node has seen the last acknowledgement */
    bool has_pubrel;
} flight_t;

/* A QoS > 0 message of a role to the node. */
typedef struct pending {
    uint16_t packet_id;
    uint16_t message;
    uint8_t qos;
    bool is_released; /* PUBREL has been sent: PUBLISH will not be repeated */
} pending_t;

/* An acknowledgement: to be sent by a role, or to come from the node. */
typedef struct owed {
    gv_mqtt_type_t type;
    uint16_t packet_id;
} owed_t;

/* A SUBSCRIBE or UNSUBSCRIBE that has not been answered. */
typedef struct request {
    uint16_t packet_id;
    uint16_t count;
    uint8_t qos[4];
    bool is_unsubscribe;
} request_t;

typedef struct seat seat_t;

typedef struct role {
    char id[8];
    seat_t *seat; /* NULL: not connected */
    bool is_lost;
    bool has_session;
    bool is_unsure;      /* the node has crashed: what was not told to be safe may be gone */
    bool has_crashed;    /* in this session: what was told may be told again */
    uint32_t expiry_s;   /* of the session, as agreed */
    uint64_t ends_at_ms; /* while away */
    uint16_t packet_id;  /* last used */
    flight_t flights[FLIGHTS_MAX];
    size_t flight_count;
    pending_t pending[PENDING_MAX];
    size_t pending_count;
    uint32_t filters; /* ever subscribed to in this session: a bit each */
    uint16_t last[ROLES][TOPICS][3][2];
    uint8_t seen[MESSAGES_MAX / 8];
} role_t;

struct seat {
    guest_t *guest;
    role_t *role;
    size_t parsed;    /* bytes of the node that have been looked at */
    size_t end_size;  /* and all there were when it had closed; SIZE_MAX: open */
    bool has_connect; /* a CONNECT we understand has been sent */
    bool has_connack;
    bool has_goodbye; /* nothing may follow */
    bool is_wild;     /* has sent bytes that are no packets we know */
    bool is_terse;
    bool wants_session;
    bool has_will;
    uint32_t expiry_s;
    uint16_t receive_max;
    uint32_t packet_size_max;
    owed_t answers[OWED_MAX]; /* PUBACK and PUBREC to come, in this order */
    size_t answer_count;
    owed_t owed[OWED_MAX];
    size_t owed_count;
    request_t requests[16];
    size_t request_count;
    uint32_t pubrels; /* without a PUBCOMP */
    uint32_t pings;
    uint8_t aliases[ALIASES]; /* topic + 1 */
    uint8_t damage;           /* of the next packet: a byte ... */
    uint8_t damage_at;        /* ... at this place changes by so many bits */
};

typedef struct play {
    house_t house;
    role_t roles[ROLES];
    seat_t *seats[SEATS_MAX];
    size_t seat_count;
    message_t messages[MESSAGES_MAX];
    uint16_t message_count;
    uint32_t wills_due; /* at most */
    uint32_t wills_seen;
    bool has_shares;     /* somebody has subscribed to a group */
    bool has_damage;     /* somebody has sent bytes that are no packets we know */
    bool is_draining;    /* all are sent away */
    uint16_t crashed_at; /* messages from here on are younger than the last crash */
} play_t;

/* Ends the process with a sentence: a rule is broken. */
_Noreturn void play_fail(const char *format, ...) GV_PRINTF(1, 2);

#define play_must(condition, ...)   \
    do {                            \
        if (!(condition)) {         \
            play_fail(__VA_ARGS__); \
        }                           \
    } while (0)

/* Tells what happens, when GV_FUZZ_TRACE is set. */
void play_trace(const char *format, ...) GV_PRINTF(1, 2);

/* ---- shard_speak.c --------------------------------------------------------------------------- */

/* A new connection; NULL when there is no seat. */
seat_t *play_visit(play_t *play, gv_mqtt_version_t version);

/* The connection breaks: the node is told, the role's session waits. */
void play_cut(play_t *play, seat_t *seat);

/* The node has closed the connection, or it is cut: nobody sits there any more. */
void play_stand_up(play_t *play, seat_t *seat);

/* Frees seats of connections that are gone. */
void play_clear_table(play_t *play);

/* The node dies and starts again, having done so much of its work for the disk. */
void play_crash(play_t *play, gv_mem_crash_t kind, uint32_t steps);

/* What a role's CONNECT says. */
typedef struct play_connect {
    bool clean_start;
    uint32_t expiry_s; /* v5 */
    uint16_t receive_max;
    uint16_t alias_max;
    uint32_t packet_size_max;
    uint16_t keep_alive_s;
    bool has_will;
    bool is_terse;
} play_connect_t;

/* The role connects with a new seat and has the node's answer when this returns. */
void play_connect(play_t *play, role_t *role, gv_mqtt_version_t version,
                  const play_connect_t *options);

typedef struct play_publish {
    uint8_t topic;
    uint8_t qos;
    bool retain;
    bool has_expiry;
    bool is_forbidden;
    uint8_t alias; /* 0: none */
    bool by_alias; /* without the topic */
    uint16_t size; /* of the payload, beside its number */
} play_publish_t;

void play_publish(play_t *play, seat_t *seat, const play_publish_t *options);
void play_publish_again(play_t *play, seat_t *seat, size_t which);
void play_subscribe(play_t *play, seat_t *seat, const uint8_t bytes[3]);
void play_unsubscribe(play_t *play, seat_t *seat, uint8_t filter);
/* Sends an acknowledgement that is owed. */
void play_ack(play_t *play, seat_t *seat, size_t which, bool is_refusal);
/* Sends one that perhaps nobody waits for. */
void play_wrong_ack(play_t *play, seat_t *seat, gv_mqtt_type_t type, uint16_t packet_id);
void play_ping(seat_t *seat);
void play_disconnect(play_t *play, seat_t *seat, bool with_will, uint8_t expiry);
/* Sends bytes as they are. */
void play_rant(play_t *play, seat_t *seat, const uint8_t *bytes, size_t size);

/* Whether a role speaks MQTT on this seat and is served. */
static inline bool play_is_seated(const seat_t *seat)
{
    return seat != NULL && seat->has_connack && seat->end_size == SIZE_MAX && !seat->has_goodbye;
}

/* ---- shard_rules.c --------------------------------------------------------------------------- */

/* Looks at all that the node has said since the last call. */
void play_watch(play_t *play);

/* The role begins a new session: what it knew of the old one is over. */
void play_forget_session(role_t *role);

flight_t *play_flight(role_t *role, uint16_t packet_id);

/* The role has acknowledged; `is_refusal`: with a reason >= 0x80. */
void play_flight_acked(role_t *role, gv_mqtt_type_t type, uint16_t packet_id, bool is_refusal);
