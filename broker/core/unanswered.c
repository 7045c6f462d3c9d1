/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QoS 2 publishes whose PUBREC was still to come when their connection ended, in sessions that
 * stay.
 *
 * Other nodes may not have confirmed such a message, and may yet refuse it.  Its client sends it
 * again over its next connection, and since the packet id is known it is not routed a second time:
 * the new PUBREC waits for those the first one waited for.  Refused, the id is forgotten, and what
 * comes under it is a new message.
 *
 * They are found by the ticket that confirmations come with, and by session and packet id.
 */
#include "base/alloc.h"
#include "broker/core/shard_p.h"

struct gv_unanswered {
    gv_unanswered_t *next; /* of the session */
    gv_session_t *session;
    gv_ticket_t ticket;
    gv_ticket_t waiter; /* the PUBREC of a later connection; client UINT32_MAX: none */
    uint16_t packet_id;
    uint16_t missing;
    uint8_t reason;
};

/* A ticket's beginning, which names the publish on its shard. */
static gv_bytes_t key_of(const gv_ticket_t *ticket)
{
    return gv_bytes(ticket, offsetof(gv_ticket_t, shard));
}

gv_bytes_t gv__unanswered_key(const void *value)
{
    return key_of(&((const gv_unanswered_t *)value)->ticket);
}

static gv_unanswered_t *find(const gv_session_t *session, uint16_t packet_id)
{
    gv_unanswered_t *it = session->flow->unanswered;
    while (it != NULL && it->packet_id != packet_id) {
        it = it->next;
    }
    return it;
}

static void drop(gv_unanswered_t *unanswered)
{
    gv_session_t *session = unanswered->session;
    gv_unanswered_t **at = &session->flow->unanswered;
    while (*at != unanswered) {
        at = &(*at)->next;
    }
    *at = unanswered->next;
    void *removed = gv_map_remove(&session->shard->unanswered, key_of(&unanswered->ticket));
    GV_ASSERT(removed == unanswered);
    gv_free(unanswered);
}

void gv__unanswered_forget(gv_session_t *session, uint16_t packet_id)
{
    gv_unanswered_t *unanswered = find(session, packet_id);
    if (unanswered != NULL) {
        drop(unanswered);
    }
}

void gv__unanswered_clear(gv_session_t *session)
{
    while (session->flow->unanswered != NULL) {
        drop(session->flow->unanswered);
    }
}

void gv__received_forget(gv_session_t *session, uint16_t packet_id)
{
    if (gv_received_ids_remove(&session->flow->received, packet_id) && session->durable != NULL) {
        gv_journal_dirty(session->shard->journal, session->durable, GV_DIRTY_RECEIVED);
    }
}

void gv__unanswered_keep(gv_session_t *session, const gv_ticket_t *ticket, const gv_ack_t *ack)
{
    if (ack->missing == 0) {
        if (ack->reason >= GV_MQTT_UNSPECIFIED_ERROR) {
            gv__received_forget(session, ack->packet_id);
        }
        return;
    }
    if (find(session, ack->packet_id) != NULL) {
        return; /* of the connection before: this one's PUBREC has waited for it */
    }
    gv_unanswered_t *unanswered = GV_NEW(gv_unanswered_t);
    *unanswered = (gv_unanswered_t){
        .next = session->flow->unanswered,
        .session = session,
        .ticket = *ticket,
        .waiter = {.client = UINT32_MAX},
        .packet_id = ack->packet_id,
        .missing = ack->missing,
        .reason = ack->reason,
    };
    gv_session_flow(session)->unanswered = unanswered;
    gv_map_add(&session->shard->unanswered, unanswered);
}

bool gv__unanswered_wait(gv_session_t *session, uint16_t packet_id, const gv_ticket_t *waiter)
{
    gv_unanswered_t *unanswered = find(session, packet_id);
    if (unanswered == NULL) {
        return false;
    }
    const gv_client_t *earlier = gv__client_of(session->shard, &unanswered->waiter);
    if (earlier != NULL && earlier == session->client) {
        return false; /* twice on one connection: the PUBREC before this one waits for it */
    }
    unanswered->waiter = *waiter;
    return true;
}

void gv__unanswered_expect(gv_shard_t *shard, const gv_ticket_t *ticket)
{
    gv_unanswered_t *unanswered = gv_map_find(&shard->unanswered, key_of(ticket));
    if (unanswered != NULL) {
        unanswered->missing++;
    }
}

void gv__unanswered_confirm(gv_shard_t *shard, const gv_ticket_t *ticket, gv_mqtt_reason_t reason)
{
    gv_unanswered_t *unanswered = gv_map_find(&shard->unanswered, key_of(ticket));
    if (unanswered == NULL) {
        return;
    }
    if (reason > unanswered->reason) {
        unanswered->reason = (uint8_t)reason;
    }
    if (--unanswered->missing > 0) {
        return;
    }
    gv_session_t *session = unanswered->session;
    gv_ticket_t waiter = unanswered->waiter;
    uint16_t packet_id = unanswered->packet_id;
    gv_mqtt_reason_t worst = (gv_mqtt_reason_t)unanswered->reason;
    drop(unanswered);
    gv_client_t *client = gv__client_of(shard, &waiter);
    if (client != NULL && client == session->client) {
        gv__acks_confirm(client, waiter.number, 1, worst); /* forgets the id, if it comes to that */
    } else if (gv_mqtt_reason_is_error((uint8_t)worst)) {
        gv__received_forget(session, packet_id);
    }
}
