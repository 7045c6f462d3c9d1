/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared messages that a persistent session leaves to other members of its group.
 *
 * A message that is offered is lent: it stays where it is on disk, and is not sent.  Who takes it
 * writes it into a part of his journal that is joined with one of ours, in which our mark says that
 * it is done; so a crash leaves it with one of us, and a commit that fails leaves it here.
 *
 *      here                                        another shard
 *   lent     SLOTS with LOAN ------------------->  chooses a member: in its open part, joined
 *   given    mark in our open part, joined  <----  the parcel comes back
 *   done, when both parts are durable
 *
 * A member whose session ends with its connection has the message in memory only, so it stays lent:
 *
 *   lent     SLOTS with LOAN ------------------->  in its queue or window, with the loan's ticket
 *   done     <--------- CONFIRM with success ----  PUBACK, PUBREC, or it has expired
 *   ours     <--------- CONFIRM with an error ---  pushed out, too large
 *   given to another, or ours  <---- REGIVE -----  the session has ended without that
 *
 * Only here it is given on.  If our session has ended meanwhile, the message comes back all the
 * same, and goes to the group.  What was begun at QoS 2 is over with the other's session
 * [MQTT-4.8.2-5].  After a crash here it is ours, acknowledged or not, as far as the mark has not
 * become durable: at QoS 2 that may be twice for the group, and once for each session that has
 * survived.  P1 knows no exceptions, and P2 is about sessions that persist.
 *
 * From another node there is a confirmation when it has the message, be it in memory only: nodes
 * confirm in the order of arrival, and a client that is slow would hold up all others.  A crash in
 * between leaves it with both.  With a session that ends there is no time for questions: its
 * messages are put into the parts of others at once, joined with the one in which it ends.
 */
#include "base/alloc.h"
#include "broker/core/shard_p.h"

/* So far a lent message may stay behind: a kilobyte of each mark. */
#define BEHIND_MAX 4096U

/* ---- lending -----------------------------------------------------------------------------------
 */

static gv_ticket_t loan_of(gv_session_t *session, uint64_t number, gv_give_t why)
{
    gv_shard_t *shard = session->shard;
    uint32_t index = gv_loans_add(&shard->loans, session->uid, number);
    return (gv_ticket_t){.client = index,
                         .generation = gv_loans_at(&shard->loans, index)->generation,
                         .number = why,
                         .shard = shard->index,
                         .is_loan = 1};
}

static gv_ticket_t lend(gv_session_t *session, uint64_t number, gv_give_t why)
{
    gv_backlog_lend(&session->durable->backlog, number);
    return loan_of(session, number, why);
}

/* A message that is lent; NULL session: it is over, or its session is. */
typedef struct lent {
    gv_session_t *session;
    uint64_t number;
} lent_t;

static lent_t lent_by(gv_shard_t *shard, const gv_ticket_t *ticket)
{
    const gv_loan_t *loan = gv_loans_find(&shard->loans, ticket->client, ticket->generation);
    if (loan == NULL) {
        return (lent_t){.session = NULL};
    }
    lent_t lent = {.session = gv__durable_session(shard, loan->uid), .number = loan->number};
    if (lent.session != NULL) {
        const gv_backlog_entry_t *entry =
            gv_backlog_at(&lent.session->durable->backlog, lent.number);
        bool is_there = entry != NULL && entry->state != GV_BACKLOG_DONE && entry->is_lent;
        lent.session = is_there ? lent.session : NULL;
    }
    return lent;
}

/* The loan's message; the loan ends. */
static lent_t end_loan(gv_shard_t *shard, const gv_ticket_t *ticket)
{
    lent_t lent = lent_by(shard, ticket);
    gv_loan_t *loan = gv_loans_find(&shard->loans, ticket->client, ticket->generation);
    if (loan != NULL) {
        gv_loans_end(&shard->loans, loan);
    }
    return lent;
}

/* Our part says that we do not have it any more, and is joined with the one that has it. */
static void give(const lent_t *lent, const gv_ticket_t *loan)
{
    gv_journal_t *journal = lent->session->shard->journal;
    gv_durable_t *durable = lent->session->durable;
    gv_backlog_set_given(&durable->backlog, lent->number, true);
    gv_journal_dirty(journal, durable, GV_DIRTY_STAGE);
    gv_journal_then_given(journal, loan);
}

void gv__loan_settled(gv_shard_t *shard, const gv_ticket_t *ticket)
{
    lent_t lent = end_loan(shard, ticket);
    if (lent.session != NULL) {
        gv__durable_finish(lent.session, lent.number);
    }
}

void gv__loan_undone(gv_shard_t *shard, const gv_ticket_t *ticket)
{
    lent_t lent = lent_by(shard, ticket);
    if (lent.session != NULL) {
        gv_durable_t *durable = lent.session->durable;
        gv_backlog_set_given(&durable->backlog, lent.number, false);
        gv_journal_unmark(shard->journal, durable, lent.number);
        gv_journal_dirty(shard->journal, durable, GV_DIRTY_STAGE);
    }
    gv_journal_then_back(shard->journal, ticket);
}

/* ---- choosing ----------------------------------------------------------------------------------
 */

/*
 * Chooses somebody else for a message of this group, into shard->matches.  AWAY: only if there is
 * somebody who is online.
 */
static bool choose_other(gv_session_t *session, gv_give_t why, gv_bytes_t group)
{
    gv_shard_t *shard = session->shard;
    const gv_filter_t *filter = gv_subscriptions_find(&shard->subscriptions, group);
    bool is_member = filter != NULL && gv_subscriptions_of(filter, session) != NULL;
    if (why == GV_GIVE_AWAY && !is_member) {
        return false; /* it has left the group: what was begun is finished with it */
    }
    if (why != GV_GIVE_OVER && gv_journal_refuses(shard->journal)) {
        return false; /* it is safe here, and would not be there */
    }
    uint32_t others = filter == NULL ? 0 : filter->count - is_member;
    bool has_other_here = others > 0 && (why != GV_GIVE_AWAY || filter->online > 0);
    gv_share_wish_t wish = {
        .nodes_alive_mask = atomic_load_explicit(shard->nodes_alive, memory_order_relaxed),
        .random = gv_rng_u32(&shard->rng),
        /* The router may not have heard yet that the last one here has gone. */
        .but_shard = has_other_here ? UINT16_MAX : shard->index,
        .is_online = why == GV_GIVE_AWAY,
    };
    return gv_router_pick_other(shard->router, group, &wish, &shard->matches);
}

/* Whether the message is not this session's any more, for that reason; its group is not known yet.
 */
static bool may_go(const gv_backlog_entry_t *entry, gv_give_t why)
{
    if (!entry->is_shared || entry->is_lent || entry->state == GV_BACKLOG_DONE ||
        entry->state == GV_BACKLOG_RECEIVED) {
        return false;
    }
    bool is_begun = gv_backlog_was_sent(entry);
    return !is_begun || (!entry->is_qos2 && why != GV_GIVE_LEFT);
}

/* ---- giving ------------------------------------------------------------------------------------
 */

static void offer(gv_session_t *session, uint64_t number, const gv_publish_t *publish,
                  gv_give_t why)
{
    gv_shard_t *shard = session->shard;
    gv_route_hit_t hit = shard->matches.hits[0];
    gv_entry_t *entry = gv_office_append(&shard->office, hit.shard, publish, sizeof(hit.slot));
    if (entry == NULL) {
        return;
    }
    entry->kind = GV_ENTRY_SLOTS;
    entry->flags |= GV_ENTRY_LOAN;
    entry->slot_count = 1;
    memcpy(gv_parcel_extra(entry), &hit.slot, sizeof(hit.slot));
    entry->ticket = lend(session, number, why);
}

static void take_back(lent_t lent, bool may_offer);

/* An answer to an offer: from here, or another shard. */
static void on_taken(gv_shard_t *shard, const gv_ticket_t *loan, gv_taken_t taken)
{
    if (taken == GV_TAKEN_LENT) {
        return;
    }
    if (taken != GV_TAKEN_DURABLY) {
        lent_t lent = end_loan(shard, loan);
        if (lent.session != NULL && taken == GV_TAKEN_FOR_GOOD) {
            gv__durable_finish(lent.session, lent.number);
            gv_journal_dirty(shard->journal, lent.session->durable, GV_DIRTY_STAGE);
        } else if (lent.session != NULL) {
            take_back(lent, taken == GV_TAKEN_NOT);
        }
        return;
    }
    lent_t lent = lent_by(shard, loan);
    if (lent.session != NULL) {
        give(&lent, loan);
    } else {
        (void)end_loan(shard, loan);
    }
}

void gv__loan_answered(gv_shard_t *shard, uint16_t by, const gv_entry_t *entry)
{
    gv_taken_t taken = GV_TAKEN_FOR_GOOD;
    if ((entry->flags & GV_ENTRY_JOINED) != 0) {
        taken = GV_TAKEN_DURABLY;
        gv_journal_join(shard->journal, gv_join_of(by, entry->join), 2); /* they wait for us */
    } else if ((entry->flags & GV_ENTRY_DEFERRED) != 0) {
        taken = GV_TAKEN_LENT;
    } else if ((entry->flags & GV_ENTRY_NO_MATCH) != 0) {
        taken = GV_TAKEN_NOT;
    } else if ((entry->flags & GV_ENTRY_REFUSED) != 0) {
        taken = GV_TAKEN_REFUSED;
    }
    on_taken(shard, &entry->ticket, taken);
}

void gv__loan_confirmed(gv_shard_t *shard, const gv_ticket_t *loan, bool is_refused)
{
    on_taken(shard, loan, is_refused ? GV_TAKEN_REFUSED : GV_TAKEN_FOR_GOOD);
}

/* Through the hub, which answers when somebody has it, or nobody takes it. */
static void give_to_node(gv_session_t *session, uint64_t number,
                         const gv_waiting_message_t *message, gv_give_t why)
{
    gv_shard_t *shard = session->shard;
    if (why == GV_GIVE_OVER) {
        (void)gv__give_to_group(shard, &message->publish, message->share, NULL);
        gv__durable_finish(session, number);
        return;
    }
    gv_ticket_t loan = lend(session, number, why);
    if (!gv__give_to_group(shard, &message->publish, message->share, &loan)) {
        on_taken(shard, &loan, GV_TAKEN_REFUSED);
    }
}

/*
 * A session ends, and its message goes to who has been chosen, in one transaction with the open
 * part.  False: no memory.
 */
static bool give_over(gv_shard_t *shard, gv_msgbuf_t *kept, gv_msgbuf_t *group)
{
    gv_publish_t publish = gv_publish_of(kept);
    gv_route_hit_t hit = shard->matches.hits[0];
    if (!gv__pass_to_shard(shard, &publish, hit.shard, hit.slot)) {
        return false;
    }
    gv_journal_then_gone(shard->journal, gv_msgbuf_ref(kept), gv_msgbuf_ref(group));
    return true;
}

void gv__give_over_again(gv_shard_t *shard, gv_msgbuf_t *kept, gv_msgbuf_t *group)
{
    gv_share_wish_t wish = {
        .nodes_alive_mask = atomic_load_explicit(shard->nodes_alive, memory_order_relaxed),
        .random = gv_rng_u32(&shard->rng),
        .but_shard = UINT16_MAX,
    };
    gv_bytes_t text = gv_msgbuf_bytes(group);
    if (!gv_router_pick_other(shard->router, text, &wish, &shard->matches)) {
        return;
    }
    if (shard->matches.hit_count > 0) {
        (void)give_over(shard, kept, group);
        return;
    }
    gv_publish_t publish = gv_publish_of(kept);
    (void)gv__give_to_group(shard, &publish, text, NULL);
}

static gv_msgbuf_t *copy_of(gv_bytes_t text)
{
    gv_msgbuf_t *copy = NULL;
    if (gv_msgbuf_new(text.size, &copy) == GV_OK) {
        memcpy(gv_msgbuf_data(copy), text.data, text.size);
        gv_msgbuf_seal(copy);
    }
    return copy;
}

static void give_here_or_over(gv_session_t *session, uint64_t number, gv_waiting_message_t *message,
                              gv_give_t why)
{
    gv_shard_t *shard = session->shard;
    /* The views may be into the part that is written to now. */
    gv_msgbuf_t *kept = NULL;
    gv_msgbuf_t *group = why == GV_GIVE_OVER ? copy_of(message->share) : NULL;
    if (gv_publish_keep(&message->publish, &kept) != GV_OK) {
        gv_msgbuf_unref(&group);
        return;
    }
    if (why == GV_GIVE_OVER && group != NULL && give_over(shard, kept, group)) {
        gv__durable_finish(session, number);
        gv_journal_dirty(shard->journal, session->durable, GV_DIRTY_STAGE);
    } else if (why != GV_GIVE_OVER) {
        gv_publish_t publish = gv_publish_of(kept);
        uint32_t slot = shard->matches.hits[0].slot;
        gv_ticket_t loan = lend(session, number, why);
        gv_taken_t taken = gv__take_gift(shard, &publish, slot, &loan);
        on_taken(shard, &loan, taken == GV_TAKEN_NOT ? GV_TAKEN_REFUSED : taken);
    }
    gv_msgbuf_unref(&kept);
    gv_msgbuf_unref(&group);
}

/* Somebody has been chosen. */
static void give_away(gv_session_t *session, uint64_t number, gv_waiting_message_t *message,
                      gv_give_t why)
{
    gv_shard_t *shard = session->shard;
    const gv_matches_t *matches = &shard->matches;
    if (matches->hit_count == 0) {
        give_to_node(session, number, message, why);
    } else if (why != GV_GIVE_OVER && matches->hits[0].shard != shard->index) {
        offer(session, number, &message->publish, why);
    } else {
        give_here_or_over(session, number, message, why);
    }
}

/*
 * The message of a number, to be given or delivered anew; it has to be durable, or its publisher
 * may be refused after somebody else has it.  When the session ends there is no time to wait for
 * that.
 */
static gv_journal_read_t read_message(gv_session_t *session, uint64_t number, gv_give_t why,
                                      gv_waiting_message_t *message)
{
    gv_journal_t *journal = session->shard->journal;
    gv_durable_t *durable = session->durable;
    gv_place_t place = gv_backlog_at(&durable->backlog, number)->place;
    bool is_over = why == GV_GIVE_OVER;
    gv_journal_read_t read = gv_journal_read(journal, durable, place, !is_over, message);
    if (read == GV_READ_LATER && why != GV_GIVE_AWAY && gv_journal_fetch(journal, place)) {
        read = gv_journal_read(journal, durable, place, !is_over, message);
    }
    return read;
}

/* False: it has to wait. */
static bool give_one(gv_session_t *session, uint64_t number, gv_give_t why, gv_bytes_t group)
{
    gv_waiting_message_t message;
    gv_journal_read_t read = read_message(session, number, why, &message);
    if (read == GV_READ_LATER && why == GV_GIVE_AWAY) {
        return false;
    }
    if (read != GV_READ_OK) {
        return true;
    }
    if ((why != GV_GIVE_LEFT || gv_bytes_equal(message.share, group)) &&
        choose_other(session, why, message.share)) {
        give_away(session, number, &message, why);
    }
    gv_publish_done(&message.publish);
    return true;
}

void gv__durable_give(gv_session_t *session, gv_give_t why, gv_bytes_t group)
{
    gv_backlog_t *backlog = &session->durable->backlog;
    uint64_t n = backlog->low;
    if (why == GV_GIVE_AWAY && n < gv_backlog_give_from(backlog)) {
        n = gv_backlog_give_from(backlog);
    }
    for (; gv_backlog_shared_count(backlog) > 0 && n < gv_backlog_end(backlog); n++) {
        gv_backlog_entry_t *entry = gv_backlog_at(backlog, n);
        if (entry != NULL && entry->is_stuck && gv_backlog_take_back(backlog, n)) {
            entry->is_stuck = false;
        }
        if (entry != NULL && may_go(entry, why) && !give_one(session, n, why, group)) {
            gv_backlog_set_give_from(backlog, n); /* not from the start: images come and go */
            return;                               /* goes on in gv__durable_woken() */
        }
    }
}

/* ---- coming back -------------------------------------------------------------------------------
 */

/* As a new message of the session; the old one goes when that is durable.  False: not now. */
static bool deliver_anew(gv_session_t *session, uint64_t number, bool is_lent)
{
    gv_shard_t *shard = session->shard;
    gv_waiting_message_t message;
    if (gv_journal_refuses(shard->journal) ||
        read_message(session, number, GV_GIVE_LEFT, &message) != GV_READ_OK) {
        return false;
    }
    gv_msgbuf_t *kept = NULL;
    if (gv_publish_keep(&message.publish, &kept) != GV_OK) {
        return false;
    }
    gv_filter_t *filter = gv_subscriptions_find(&shard->subscriptions, message.share);
    bool is_member = filter != NULL && gv_subscriptions_of(filter, session) != NULL;
    gv_manner_t manner = {
        .ids = message.ids,
        .id_count = message.id_count,
        .qos = message.qos,
        .retain = message.retain,
        .share = is_member ? filter->slot + 1 : 0,
        .is_lent = is_lent,
    };
    gv_publish_t publish = gv_publish_of(kept);
    gv_fanout_begin(&shard->fanout, &publish, shard->now_ms);
    gv__durable_deliver(shard, session, &shard->fanout, &manner);
    bool is_delivered = shard->fanout.is_journaled;
    gv_msgbuf_unref(&kept);
    gv_publish_done(&message.publish);
    if (is_delivered) {
        lent_t lent = {.session = session, .number = number};
        gv_ticket_t loan = loan_of(session, number, GV_GIVE_AWAY);
        give(&lent, &loan);
    }
    return is_delivered;
}

/*
 * Of all that is behind the oldest message marks have to tell, and as far as packet ids reach
 * nothing more can be sent.  So when the client goes on and another member does not, the message is
 * written anew, at the end, and is lent there.  If that fails, it is with both.
 */
void gv__lent_behind(gv_session_t *session)
{
    gv_shard_t *shard = session->shard;
    const gv_backlog_t *backlog = &session->durable->backlog;
    uint64_t low = backlog->low;
    if (gv_backlog_next(backlog) - low <= gv_backlog_open(backlog) + BEHIND_MAX) {
        return;
    }
    const gv_backlog_entry_t *entry = gv_backlog_at(backlog, low);
    gv_loan_t *loan = gv_loans_of(&shard->loans, session->uid, low);
    if (!entry->is_lent || entry->is_given || entry->is_stuck || loan == NULL) {
        return;
    }
    loan->number = gv_backlog_end(backlog);
    if (!deliver_anew(session, low, true)) {
        loan->number = low;
    }
}

/*
 * Nobody has taken it.  To its client, should that be here again, it is sent in its turn, or as a
 * new message when that has passed.
 */
static void take_back(lent_t lent, bool may_offer)
{
    gv_session_t *session = lent.session;
    gv_backlog_t *backlog = &session->durable->backlog;
    if (!gv_backlog_take_back(backlog, lent.number)) {
        if (!deliver_anew(session, lent.number, false)) {
            gv_backlog_entry_t *entry = gv_backlog_at(backlog, lent.number);
            entry->is_stuck = true;
        }
    } else if (gv__is_online(session)) {
        gv__durable_pump(session);
    } else if (may_offer && !gv__drain_is_final(session->shard) &&
               !give_one(session, lent.number, GV_GIVE_AWAY, GV_BYTES_EMPTY) &&
               gv_backlog_give_from(backlog) > lent.number) {
        gv_backlog_set_give_from(backlog, lent.number);
    }
}

void gv__loan_returned(gv_shard_t *shard, gv_entry_t *entry)
{
    const gv_ticket_t *ticket = &entry->ticket;
    const gv_loan_t *loan = gv_loans_find(&shard->loans, ticket->client, ticket->generation);
    bool has_ended = loan == NULL || gv__durable_session(shard, loan->uid) == NULL;
    lent_t lent = end_loan(shard, ticket);
    if (lent.session != NULL) {
        take_back(lent, true);
    } else if (has_ended) {
        /* It was not given away with the others, which is to be done now. */
        gv_publish_t publish = gv_parcel_publish(entry);
        gv_bytes_t group = gv_bytes(gv_parcel_extra(entry), entry->slot_count);
        (void)gv__give_to_group(shard, &publish, group, NULL);
    }
}

void gv__loan_back(gv_shard_t *shard, const gv_ticket_t *ticket)
{
    lent_t lent = end_loan(shard, ticket);
    if (lent.session != NULL) {
        take_back(lent, true);
    }
}
