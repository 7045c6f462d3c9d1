/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Acknowledgements of received publishes.  They leave in the order of the publishes [MQTT-4.6.0-2,
 * -3], each when everybody who got the message has confirmed it; so a late confirmation holds up
 * those behind it, and a publish that nobody has to confirm is answered at once when none waits.
 */
#define GV_MEMORY_OF GV_MEMORY_CONNECTIONS

#include "base/alloc.h"
#include "broker/core/shard_p.h"

static gv_ack_t *at(gv_ack_fifo_t *fifo, uint32_t number)
{
    return &fifo->ring[number & (fifo->capacity - 1)];
}

uint32_t gv__acks_waiting(const gv_client_t *client)
{
    return client->acks == NULL ? 0 : client->acks->tail - client->acks->head;
}

void gv__received_done(gv_client_t *client)
{
    /* An exchange of the connection before this one has not been counted here. */
    if (client->receiving > 0) {
        client->receiving--;
    }
}

/*
 * Before v5 there is no way to say that a message could not be kept: it is not acknowledged, and
 * the client sends it again over its next connection.
 */
static bool is_silent(const gv_client_t *client, const gv_ack_t *ack)
{
    return ack->reason == GV_MQTT_QUOTA_EXCEEDED && client->peer.version < GV_MQTT_V5;
}

static void answer(gv_client_t *client, const gv_ack_t *ack)
{
    uint8_t *room = NULL;
    if (is_silent(client, ack)) {
        gv__relief_starve(client);
    } else if (ack->reason == GV_MQTT_SUCCESS || client->peer.version < GV_MQTT_V5) {
        room = gv__client_reserve(client, GV_MQTT_ACK_SIZE);
        gv_writer_t w = gv_writer(room, GV_MQTT_ACK_SIZE);
        gv_mqtt_write_ack(&w, (gv_mqtt_type_t)ack->type, ack->packet_id);
        gv__client_commit(client, GV_MQTT_ACK_SIZE);
    } else {
        gv__client_send_ack(client, (gv_mqtt_type_t)ack->type, ack->packet_id,
                            (gv_mqtt_reason_t)ack->reason);
    }
    bool is_refused = ack->reason >= GV_MQTT_UNSPECIFIED_ERROR;
    if (ack->type == GV_MQTT_PUBACK || is_refused) {
        gv__received_done(client);
    }
    if (ack->type == GV_MQTT_PUBREC && is_refused) {
        /* A refused QoS 2 message is over: its id is free again [MQTT-4.3.3-9]. */
        gv__received_forget(client->session, ack->packet_id);
    }
}

/*
 * A refused QoS 2 message whose packet id may be on disk: another node has refused it.  Over a
 * crash the next message under that id would pass for this one, and be lost: so the id is forgotten
 * there before the client hears that it is free.  True: the acknowledgement waits for that.
 */
static bool forgets_first(gv_client_t *client, gv_ack_t *ack, uint32_t number)
{
    gv_session_t *session = client->session;
    if (ack->type != GV_MQTT_PUBREC || ack->reason < GV_MQTT_UNSPECIFIED_ERROR ||
        ack->is_forgotten || session->durable == NULL ||
        !gv_received_ids_has(&session->flow->received, ack->packet_id)) {
        return false;
    }
    gv_ticket_t ticket = gv__client_ticket(client, number);
    ack->is_forgotten = true;
    ack->missing = 1;
    gv__received_forget(session, ack->packet_id);
    gv_journal_then_again(session->shard->journal, session, &ticket, ack->packet_id);
    return true;
}

/* The client's fifo with room for one more. */
static gv_ack_fifo_t *with_room(gv_client_t *client)
{
    gv_ack_fifo_t *old = client->acks;
    if (old != NULL && old->tail - old->head < old->capacity) {
        return old;
    }
    uint32_t capacity = old == NULL ? 8 : old->capacity * 2;
    gv_ack_fifo_t *fifo = gv_xalloc(sizeof(*fifo) + capacity * sizeof(gv_ack_t));
    *fifo = (gv_ack_fifo_t){.capacity = capacity};
    if (old != NULL) {
        fifo->head = old->head;
        fifo->tail = old->tail;
        for (uint32_t n = old->head; n != old->tail; n++) {
            *at(fifo, n) = *at(old, n);
        }
        gv_free(old);
    }
    client->acks = fifo;
    return fifo;
}

uint32_t gv__acks_next(const gv_client_t *client)
{
    return client->acks == NULL ? 0 : client->acks->tail;
}

void gv__acks_push(gv_client_t *client, gv_ack_t ack)
{
    if (ack.missing == 0 && gv__acks_waiting(client) == 0) {
        answer(client, &ack);
        return;
    }
    gv_ack_fifo_t *fifo = with_room(client);
    *at(fifo, fifo->tail++) = ack;
}

void gv__acks_expect(gv_client_t *client, uint32_t number)
{
    gv_ack_fifo_t *fifo = client->acks;
    if (fifo != NULL && number - fifo->head < fifo->tail - fifo->head) {
        at(fifo, number)->missing++;
    }
}

void gv__acks_confirm(gv_client_t *client, uint32_t number, uint32_t count, gv_mqtt_reason_t reason)
{
    gv_ack_fifo_t *fifo = client->acks;
    if (fifo == NULL) {
        return; /* answered already */
    }
    for (uint32_t end = number + count; number != end; number++) {
        if (number - fifo->head >= fifo->tail - fifo->head) {
            continue; /* as before */
        }
        gv_ack_t *ack = at(fifo, number);
        GV_ASSERT(ack->missing > 0);
        ack->missing--;
        if (reason > ack->reason) {
            ack->reason = (uint8_t)reason;
        }
    }
    while (fifo->head != fifo->tail && at(fifo, fifo->head)->missing == 0 &&
           !forgets_first(client, at(fifo, fifo->head), fifo->head)) {
        answer(client, at(fifo, fifo->head));
        fifo->head++;
    }
    if ((client->paused & GV_PAUSE_ACKS) != 0 &&
        gv__acks_waiting(client) < gv__client_terms(client)->receive_max) {
        gv__client_resume(client, GV_PAUSE_ACKS);
    }
}

void gv__acks_leave(const gv_client_t *client, gv_session_t *session)
{
    gv_ack_fifo_t *fifo = client->acks;
    if (fifo == NULL || session->durable == NULL) {
        return;
    }
    for (uint32_t n = fifo->head; n != fifo->tail; n++) {
        const gv_ack_t *ack = at(fifo, n);
        if (ack->type == GV_MQTT_PUBREC && !ack->is_forgotten) {
            gv_ticket_t ticket = gv__client_ticket(client, n);
            gv__unanswered_keep(session, &ticket, ack);
        }
    }
}
