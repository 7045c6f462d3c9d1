/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_journal: a shard's way to the disk.
 *
 * Everything a shard wants to be durable goes into its open part: deliveries to persistent
 * sessions, marks of how far these have come, and changes of the small tables (sessions,
 * subscriptions, wills, retained messages).  At the end of a turn the part is handed to the store
 * as one batch, unless two are on their way already: then it goes on filling.  So a lonely message
 * is committed at once, and under load thousands share a commit.
 *
 *      turn's end                store                  on_stored
 *   open ---------> submitted ------------> durable --> publishers are confirmed, SUBACK, PUBREL
 * and PUBCOMP go out, QoS 2 messages are sent
 *
 * A part's deliveries become one segment of the log (proto/segment.h).  What its receivers have
 * acknowledged before it is submitted is not written; and a part in which all are about to do so
 * waits for them, for about as long as two commits take.
 *
 * What may be acknowledged when:
 *   PUBACK, PUBREC   when every delivery of the message is durable or acknowledged
 *   PUBREL           when the mark that says RECEIVED is durable: else the message would be sent
 *                    again after a crash, under an id that the receiver has forgotten
 *   PUBCOMP          when the released packet id is durable: else the next message under that id
 *                    would be taken for a repetition
 *   QoS 2 PUBLISH    goes out when its delivery is durable: else another message might get its
 *                    number, and its packet id, after a crash, and be taken for a repetition
 *
 * Threads: the shard's.
 */

#include "broker/core/backlog.h"
#include "broker/core/log.h"
#include "broker/core/parcel.h"
#include "broker/core/shelf.h"
#include "proto/segment.h"
#include "storage/store.h"

typedef struct gv_shard gv_shard_t;
typedef struct gv_session gv_session_t;
typedef struct gv_durable gv_durable_t;
typedef struct gv_fanout gv_fanout_t;

typedef struct gv_journal_options {
    gv_store_t *store;
    gv_store_post_t *post; /* to the shard's thread */
    void *post_arg;
    gv_log_t *log;
    size_t image_bytes_max;   /* of segments kept in memory to send from */
    uint64_t clean_bytes_min; /* a log that is larger, and more than half done with, is cleaned */
} gv_journal_options_t;

typedef struct gv_journal gv_journal_t;

void gv_journal_new(gv_shard_t *shard, const gv_journal_options_t *options,
                    gv_journal_t **journal_out);

/* What is open is lost, and what was submitted to a store that has crashed. */
void gv_journal_free(gv_journal_t **journalp);

/* After a restart: sees to what earlier runs have left. */
void gv_journal_resume(gv_journal_t *journal);

/* ---- the turn ---- */

/* Submits what is due.  At the end of each turn. */
void gv_journal_turn_end(gv_journal_t *journal);

/* Submits everything, the last thing before the store is closed: nothing is asked of it after. */
void gv_journal_finish(gv_journal_t *journal);

/*
 * Between two messages: a part that is large enough is closed.  A message and what belongs to it
 * (packet id, all deliveries) thus stay in one part.
 */
void gv_journal_breathe(gv_journal_t *journal);

/* So much waits for the disk that publishers have to wait too. */
bool gv_journal_is_full(const gv_journal_t *journal);

/* The store has no room for new messages, subscriptions or sessions. */
bool gv_journal_refuses(const gv_journal_t *journal);

/* ---- writing ---- */

/*
 * The batch for changes of the small tables.  Valid until the next call of this module; the part it
 * belongs to is submitted with this turn.
 */
gv_batch_t *gv_journal_tables(gv_journal_t *journal);

/* What of the small tables is about to change. */
typedef enum gv_change {
    GV_CHANGE_SESSION,      /* by uid, of the client id `text` */
    GV_CHANGE_WILL,         /* by uid */
    GV_CHANGE_SUBSCRIPTION, /* by uid, to the filter `text` */
    GV_CHANGE_RETAINED,     /* of the topic `text` */
} gv_change_t;

/* The same for a change that is made again, as things are then, if it does not become durable. */
gv_batch_t *gv_journal_change(gv_journal_t *journal, gv_change_t what, uint64_t uid,
                              gv_bytes_t text);

/* Names the open part; gv_journal_is_stored() tells whether it is durable by now. */
uint32_t gv_journal_stamp(gv_journal_t *journal);
bool gv_journal_is_stored(const gv_journal_t *journal, uint32_t stamp);

/*
 * Writes a delivery of the fanout's message; the body is written with the first one, and its index
 * is put into the delivery here.  Gives its place.  Unless the receiver gets it now and is expected
 * to acknowledge it soon, it is submitted with this turn.
 */
gv_place_t gv_journal_deliver(gv_journal_t *journal, gv_fanout_t *fanout,
                              gv_segment_delivery_t *delivery, const uint32_t *ids, size_t id_count,
                              bool is_done_soon);

/* Whether what is at this place, and done now, was done so soon that it is worth waiting for. */
bool gv_journal_was_soon(gv_journal_t *journal, gv_place_t place);

/*
 * The fanout's message, of which there was a delivery, is confirmed to this ticket when it is
 * durable or acknowledged by all.
 */
void gv_journal_confirm_body(gv_journal_t *journal, const gv_fanout_t *fanout,
                             const gv_ticket_t *ticket);

/* The delivery at this place is done. */
void gv_journal_release(gv_journal_t *journal, gv_place_t place);

/* The session has a message that expires then, if it has not been sent (real time). */
void gv_journal_expires(gv_journal_t *journal, gv_durable_t *durable, uint32_t expires_s);

/* What of a session has to be written anew. */
enum {
    GV_DIRTY_MARK = 1,     /* soon */
    GV_DIRTY_STAGE = 2,    /* now: somebody waits for it */
    GV_DIRTY_RECEIVED = 4, /* now: the received packet ids */
};
void gv_journal_dirty(gv_journal_t *journal, gv_durable_t *durable, unsigned what);

/* Writes the session's mark into the open part, with what is there already. */
void gv_journal_mark_now(gv_journal_t *journal, gv_durable_t *durable);

/* What is not submitted yet may say that this message of the session is done: it is not. */
void gv_journal_unmark(gv_journal_t *journal, const gv_durable_t *durable, uint64_t number);

/* The session is being freed: forgets what is dirty, and that it waits. */
void gv_journal_forget(gv_durable_t *durable);

/*
 * The open part is durable together with the others, of other shards or of the outbox, that name
 * the same join.  With it there are `parts`.
 */
void gv_journal_join(gv_journal_t *journal, uint64_t join, uint32_t parts);

/* ---- what happens when the open part is durable ---- */

void gv_journal_then_confirm(gv_journal_t *journal, const gv_ticket_t *ticket);

/* PUBREL or PUBCOMP to the session's client, if it is the same then. */
void gv_journal_then_ack(gv_journal_t *journal, gv_session_t *session, uint8_t type,
                         uint16_t packet_id, uint8_t reason);

/* As then_confirm(); and if it fails, the packet id has not been received. */
void gv_journal_then_received(gv_journal_t *journal, const gv_session_t *session,
                              const gv_ticket_t *ticket, uint16_t packet_id);

/* The session's client, if it is the same then, may be sent what waits: gv__durable_known(). */
void gv_journal_then_resend(gv_journal_t *journal, gv_session_t *session);

/*
 * The open part, or one that it is joined with, has what a session had that is lent (durable.h): it
 * is settled, or undone if the part fails.  then_back(): nobody else has it, surely, when the part
 * is durable, and it comes back.
 */
void gv_journal_then_given(gv_journal_t *journal, const gv_ticket_t *loan);
void gv_journal_then_back(gv_journal_t *journal, const gv_ticket_t *loan);

/*
 * The same for a message of a session that ends with the open part, and the text of its group.  The
 * references are the journal's.
 */
void gv_journal_then_gone(gv_journal_t *journal, gv_msgbuf_t *kept, gv_msgbuf_t *group);

/* Sends bytes (the reference is the journal's) and lets the client, paused for it, go on. */
void gv_journal_then_send(gv_journal_t *journal, const gv_ticket_t *client, gv_msgbuf_t *bytes);

/*
 * As then_confirm(), for a packet id that has been received before and may be on its way to the
 * disk still: if it does not get there, this is a refusal as well.
 */
void gv_journal_then_again(gv_journal_t *journal, const gv_session_t *session,
                           const gv_ticket_t *ticket, uint16_t packet_id);

/* For the part of that stamp, which is not stored yet.  The codes are copied. */
void gv_journal_then_suback(gv_journal_t *journal, uint32_t stamp, const gv_ticket_t *client,
                            uint16_t packet_id, gv_bytes_t codes, gv_bytes_t why, bool is_unsuback);

/* ---- reading ---- */

typedef enum gv_journal_read {
    GV_READ_OK,
    GV_READ_LATER, /* the session is pumped again when it can be had */
    GV_READ_LOST,  /* it cannot be had */
} gv_journal_read_t;

/* A waiting message as it is to be sent; views, valid until the next call of this module. */
typedef struct gv_waiting_message {
    gv_publish_t publish;
    uint8_t qos;
    bool retain;
    gv_bytes_t share;
    const uint32_t *ids; /* subscription identifiers */
    size_t id_count;
} gv_waiting_message_t;

/* Reads the message at a place.  With `wants_durable` one that is not durable yet is LATER. */
gv_journal_read_t gv_journal_read(gv_journal_t *journal, gv_durable_t *durable, gv_place_t place,
                                  bool wants_durable, gv_waiting_message_t *message_out);

/* There is no memory to send what has been read: the session is pumped again in a while. */
void gv_journal_wait_for_memory(gv_journal_t *journal, gv_durable_t *durable);

/*
 * Fetches what gv_journal_read() has said LATER of, at once.  Blocks on the disk, so it is for what
 * is rare and cannot wait: a session that ends.  False: it cannot be had.
 */
bool gv_journal_fetch(gv_journal_t *journal, gv_place_t place);

gv_shelf_t *gv_journal_shelf(gv_journal_t *journal);
gv_log_t *gv_journal_log(const gv_journal_t *journal);
