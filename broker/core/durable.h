/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_durable: what a session has that outlives the process: it exists for sessions that expire
 * later than their connection, from CONNECT until the end of the session.
 *
 * Its QoS > 0 messages go to the journal and into the backlog, not into the queue and the window of
 * other sessions (queue.h, inflight.h).  While the client is there and keeps up, a QoS 1 message is
 * sent straight from the publisher's buffer and only noted in the backlog; everything else is read
 * back from the log when its turn comes.
 *
 * Threads: the shard's.
 */

#include "broker/core/fanout.h"
#include "broker/core/journal.h"
#include "broker/core/session.h"

typedef struct gv_manner gv_manner_t;

struct gv_durable {
    gv_session_t *session;
    gv_backlog_t backlog;
    union {
        gv_link_t waits; /* in a volume's list while the next message cannot be had */
        struct {
            uint64_t sent; /* by the last mark, ... */
            uint64_t end;  /* ... which was written when this number was the next */
        } marked;          /* only during a restart */
    };
    uint32_t dirty_at;        /* place in the journal's list while `dirty_what` is not 0 */
    uint32_t stage_stamp;     /* the part with the last mark that somebody waited for */
    uint32_t stored_expiry;   /* as the store has it [s] */
    uint8_t dirty_what;       /* GV_DIRTY_... */
    bool is_stored : 1;       /* the session's record has been written ... */
    bool is_stored_left : 1;  /* ... and says when its client left */
    bool has_stored_will : 1; /* the will's as well ... */
    bool is_stored_due : 1;   /* ... and says when it is due */
    bool is_prompt : 1;       /* its client acknowledges sooner than a commit takes */
    bool is_held : 1;         /* what waits goes out when the mark of this connection is durable */
    bool was_connected : 1;   /* by the last mark; only during a restart */
    bool is_expiring : 1;     /* in the journal's list of those with messages that expire */
};

_Static_assert(sizeof(struct gv_durable) <= 56, "every sleeping session pays for this");

/* CONNECT: the session is to be durable from now on, or is so already; writes what has changed. */
void gv__durable_connect(gv_session_t *session);

/* Its client has gone, the session stays. */
void gv__durable_left(gv_session_t *session);

/* The will has been published, or taken back. */
void gv__durable_will_gone(gv_session_t *session);

/* The session ends for good: nothing of it stays on disk. */
void gv__durable_end(gv_session_t *session);

/* Frees the struct and what is in memory only. */
void gv__durable_free(gv_session_t *session);

void gv__durable_subscribed(gv_session_t *session, const gv_subscription_t *subscription);
void gv__durable_unsubscribed(gv_session_t *session, gv_bytes_t filter);

/* A change of that kind did not become durable: it is written again, as things are now. */
void gv__durable_change_again(gv_shard_t *shard, gv_change_t what, uint64_t uid, gv_bytes_t text);

/* A QoS > 0 message for it. */
void gv__durable_deliver(gv_shard_t *shard, gv_session_t *session, gv_fanout_t *fanout,
                         const gv_manner_t *manner);

/* Sends what waits, as far as the window allows. */
void gv__durable_pump(gv_session_t *session);

/* What the journal waited for has come: pumps, or gives shared messages away. */
void gv__durable_woken(gv_durable_t *durable);

/* After CONNACK: sends again what is not done, when gv__durable_known() allows it. */
void gv__durable_resend(gv_session_t *session);

/* It is durable that its client is here. */
void gv__durable_known(gv_session_t *session);

/* PUBACK, PUBREC or PUBCOMP. */
void gv__durable_ack(gv_session_t *session, const gv_mqtt_ack_t *ack, gv_mqtt_type_t type);

/* The message of a number is over; its neighbours may go too. */
void gv__durable_finish(gv_session_t *session, uint64_t number);

/* Whether a message will expire if it is not sent before. */
bool gv__durable_may_expire(const gv_backlog_entry_t *entry);

/*
 * Whether it has expired, and may be dropped: as far as the entry knows, which has seconds only and
 * lets a message live up to one too long.
 */
bool gv__durable_has_expired(const gv_shard_t *shard, const gv_backlog_entry_t *entry);

/* The message of a number has expired and was never sent. */
void gv__durable_expire(gv_session_t *session, uint64_t number);

/* The message of a number cannot be read any more. */
void gv__durable_damaged(gv_session_t *session, uint64_t number);

/*
 * The message of a number will not become durable: it is over, unless it has been sent already.
 * True: it was live at that place until now.
 */
bool gv__durable_lost(gv_session_t *session, uint64_t number, gv_place_t place);

/* ---- shared subscriptions (durable_give.c) ---- */

/* Why messages of shared subscriptions go to other members (regive.c). */
typedef enum gv_give {
    GV_GIVE_AWAY, /* the client has gone: to whoever is online, if anybody is */
    GV_GIVE_LEFT, /* it has left this group: what it has not been sent */
    GV_GIVE_OVER, /* the session ends */
} gv_give_t;

/*
 * Gives them to others.  AWAY asks the disk for what is not in memory and goes on when it is there;
 * the others cannot wait for it.
 */
void gv__durable_give(gv_session_t *session, gv_give_t why, gv_bytes_t group);

/* What has become of a message that somebody else was to have. */
typedef enum gv_taken {
    GV_TAKEN_DURABLY,  /* it is in the open part of the journal there */
    GV_TAKEN_FOR_GOOD, /* at QoS 0, or acknowledged */
    GV_TAKEN_LENT,     /* a session that ends with its connection has it: its answer comes later */
    GV_TAKEN_NOT,      /* nobody is there */
    GV_TAKEN_REFUSED,  /* who is there does not take it now */
} gv_taken_t;

/* The shard that was asked has answered. */
void gv__loan_answered(gv_shard_t *shard, uint16_t by, const gv_entry_t *entry);

/*
 * Who had the message in memory only has acknowledged it, or does not take it now; or somebody on
 * another node has it, or has refused it.
 */
void gv__loan_confirmed(gv_shard_t *shard, const gv_ticket_t *loan, bool is_refused);

/* A message that was acknowledged has left: one that stays lent must not keep those behind it. */
void gv__lent_behind(gv_session_t *session);

/* Who had the message in memory only is gone; here it is again. */
void gv__loan_returned(gv_shard_t *shard, gv_entry_t *entry);

/* The part that takes the message away from here is durable, or will not be. */
void gv__loan_settled(gv_shard_t *shard, const gv_ticket_t *loan);
void gv__loan_undone(gv_shard_t *shard, const gv_ticket_t *loan);

/* Nobody has it, surely: it is ours again. */
void gv__loan_back(gv_shard_t *shard, const gv_ticket_t *loan);

/* A session has ended, and what had the group's message instead did not become durable. */
void gv__give_over_again(gv_shard_t *shard, gv_msgbuf_t *kept, gv_msgbuf_t *group);
