/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages that expire while they wait.
 *
 * What is kept of them in memory tells when (backlog.h), so nothing is read from disk to find them.
 * The sessions that have any are in a list, which is gone through when one may have expired: so
 * many steps at a time, often when the store is full, and else now and then.  Marks say then that
 * they are done, and their segments go like any others.
 */
#define GV_MEMORY_OF GV_MEMORY_LOG

#include "broker/core/journal_p.h"

/* Messages that are looked at without a pause, some tens of microseconds; and what a session costs
 * besides. */
#define STEPS_MAX     8192U
#define STEPS_SESSION 8U

/*
 * A mark has two bits for each message that waits, and each pause may have one written: with a
 * million of them it comes at least after so many parts.
 */
#define PAUSES_MAX 64U

/* So many sessions that have ended may be in the list, or as many as there are others. */
#define ENDED_MAX 1024U

void gv_journal_expires(gv_journal_t *journal, gv_durable_t *durable, uint32_t expires_s)
{
    gv_expiry_t *expiry = &journal->expiry;
    if (!durable->is_expiring) {
        durable->is_expiring = true;
        *GV_PILE_PUSH(&expiry->uids, uint64_t) = durable->session->uid;
    }
    if (expires_s < expiry->next_s || expiry->next_s == 0) {
        expiry->next_s = expires_s;
    }
    size_t sessions = gv_map_count(&journal->shard->durables);
    if (GV_PILE_COUNT(&expiry->uids, uint64_t) / 2 > sessions + ENDED_MAX) {
        expiry->next_s = 1; /* most have ended: they are to leave the list */
    }
}

/* Its next messages.  True: that were all. */
static bool look_at(gv_expiry_t *expiry, gv_session_t *session, uint32_t *steps)
{
    gv_shard_t *shard = session->shard;
    const gv_backlog_t *backlog = &session->durable->backlog;
    uint32_t share = gv_backlog_span(backlog) / PAUSES_MAX;
    uint64_t n = expiry->number > backlog->low ? expiry->number : backlog->low;
    uint64_t end = n + (*steps > share ? *steps : share);
    for (; n < end && n < gv_backlog_end(backlog); n++) {
        const gv_backlog_entry_t *entry = gv_backlog_at(backlog, n);
        if (entry == NULL) {
            continue; /* it was done, and went with the one before */
        }
        if (gv__durable_has_expired(shard, entry)) {
            gv__durable_expire(session, n);
        } else if (gv__durable_may_expire(entry)) {
            expiry->is_kept = true;
            gv_journal_expires(shard->journal, session->durable, entry->expires_s);
        }
    }
    expiry->number = n;
    *steps = n < end ? (uint32_t)(end - n) : 0;
    return n >= gv_backlog_end(backlog);
}

/* On to the next session. */
static void pass(gv_expiry_t *expiry, gv_durable_t *durable)
{
    uint64_t *uids = (uint64_t *)(void *)expiry->uids.data;
    if (expiry->is_kept) {
        uids[expiry->kept++] = uids[expiry->at];
    } else if (durable != NULL) {
        durable->is_expiring = false;
    }
    expiry->at++;
    expiry->number = 0;
    expiry->is_kept = false;
}

static void look(gv_journal_t *journal)
{
    gv_expiry_t *expiry = &journal->expiry;
    for (uint32_t steps = STEPS_MAX;
         steps > STEPS_SESSION && expiry->at < GV_PILE_COUNT(&expiry->uids, uint64_t);) {
        steps -= STEPS_SESSION;
        uint64_t uid = *GV_PILE_AT(&expiry->uids, uint64_t, expiry->at);
        gv_session_t *session = gv__durable_session(journal->shard, uid);
        if (session == NULL) {
            expiry->is_kept = false;
            pass(expiry, NULL);
        } else if (look_at(expiry, session, &steps)) {
            pass(expiry, session->durable);
        }
    }
}

bool gv__journal_expire(gv_journal_t *journal)
{
    gv_expiry_t *expiry = &journal->expiry;
    if (!expiry->is_looking && !gv__is_past(journal->shard, expiry->next_s)) {
        return false;
    }
    if (!expiry->is_looking) {
        expiry->is_looking = true;
        expiry->next_s = 0; /* the earliest of what is left, and of what comes meanwhile */
    }
    look(journal);
    if (expiry->at < GV_PILE_COUNT(&expiry->uids, uint64_t)) {
        return true;
    }
    expiry->uids.size = expiry->kept * sizeof(uint64_t);
    expiry->at = 0;
    expiry->kept = 0;
    expiry->is_looking = false;
    return false;
}
