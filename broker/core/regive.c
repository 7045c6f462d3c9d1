/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What members of shared groups leave behind goes to other members [MQTT-4.8.2-6].
 *
 *     connection lost      not sent, or at QoS 1 not acknowledged: to another member
 *     UNSUBSCRIBE          not sent: to another member; in flight: finished with this client, which
 *                          may take until it comes back
 *     end of the session   whatever of QoS 1 is left: to another member
 *
 * What was lent by a persistent session goes back to that one, which gives it to another member, if
 * there is one; so it is given once, and is safe meanwhile.
 */
#define GV_MEMORY_OF GV_MEMORY_QUEUES

#include "base/alloc.h"
#include "broker/core/shard_p.h"

static void write_regive(gv_entry_t *entry, gv_bytes_t group, const gv_ticket_t *ticket)
{
    entry->kind = GV_ENTRY_REGIVE;
    entry->slot_count = (uint32_t)group.size;
    if (ticket != NULL) {
        entry->ticket = *ticket;
        entry->flags |= GV_ENTRY_WANTS_CONFIRM;
    }
    memcpy(gv_parcel_extra(entry), group.data, group.size);
}

bool gv__give_to_group(gv_shard_t *shard, const gv_publish_t *publish, gv_bytes_t group,
                       const gv_ticket_t *ticket)
{
    if (ticket != NULL && ticket->shard != shard->index) {
        /* Now, and not with the turn: before the parcel that this is about goes back. */
        gv__tell(shard, ticket, GV_ENTRY_MORE, GV_MQTT_SUCCESS);
        gv_office_send(&shard->office);
    }
    gv_entry_t *entry =
        gv_office_append(&shard->office, gv__desk_routes(shard), publish, group.size);
    if (entry == NULL) {
        gv_counter_add(&shard->stats.dropped_no_memory, 1);
        if (ticket != NULL && ticket->shard != shard->index) {
            gv__confirm(shard, ticket, GV_MQTT_QUOTA_EXCEEDED);
        }
        return false;
    }
    write_regive(entry, group, ticket);
    return true;
}

/* To who has lent it, or to the hub if that is who waits.  The message goes along: the session may
 * be no more. */
static void give_back(gv_shard_t *shard, const gv_publish_t *publish, gv_bytes_t group,
                      const gv_ticket_t *loan)
{
    uint16_t desk = loan->shard == GV_HUB_INDEX ? gv__desk_routes(shard) : loan->shard;
    gv_entry_t *entry = gv_office_append(&shard->office, desk, publish, group.size);
    if (entry != NULL) {
        write_regive(entry, group, loan);
    } else {
        gv__tell(shard, loan, GV_ENTRY_CONFIRM, GV_MQTT_QUOTA_EXCEEDED);
    }
}

/* ---- groups that were left ---------------------------------------------------------------------
 */

static gv_left_group_t *left_group(const gv_flow_t *flow, uint32_t share)
{
    gv_left_group_t *left = flow->left;
    while (left != NULL && left->share != share) {
        left = left->next;
    }
    return left;
}

static void remember(gv_flow_t *flow, uint32_t share, gv_bytes_t group)
{
    gv_left_group_t *left = gv_xalloc(sizeof(*left) + group.size);
    *left = (gv_left_group_t){.next = flow->left, .share = share, .size = (uint16_t)group.size};
    memcpy(left->text, group.data, group.size);
    flow->left = left;
}

void gv__left_group_forget(gv_flow_t *flow, uint32_t share)
{
    for (gv_left_group_t **at = &flow->left; *at != NULL; at = &(*at)->next) {
        if ((*at)->share == share) {
            gv_left_group_t *left = *at;
            *at = left->next;
            gv_free(left);
            return;
        }
    }
}

/* No more groups are remembered than messages are in flight. */
static void forget_finished(gv_flow_t *flow)
{
    gv_left_group_t **at = &flow->left;
    while (*at != NULL) {
        gv_left_group_t *left = *at;
        if (gv_inflight_has_share(&flow->inflight, left->share)) {
            at = &left->next;
        } else {
            *at = left->next;
            gv_free(left);
        }
    }
}

void gv__left_groups_clear(gv_flow_t *flow)
{
    while (flow->left != NULL) {
        gv__left_group_forget(flow, flow->left->share);
    }
}

/* ---- giving
 * -------------------------------------------------------------------------------------- */

static void give_away(gv_session_t *session, gv_msgbuf_t *kept, uint32_t share,
                      gv_queued_extra_t *extra)
{
    gv_shard_t *shard = session->shard;
    const gv_left_group_t *left = left_group(session->flow, share);
    const gv_filter_t *filter =
        left == NULL ? gv_subscriptions_at(&shard->subscriptions, share - 1) : NULL;
    GV_ASSERT(left != NULL || filter != NULL); /* it is a member, or has left */
    gv_publish_t publish = gv_publish_of(kept);
    gv_bytes_t group = left != NULL ? gv_bytes(left->text, left->size) : gv_filter_text(filter);
    gv_ticket_t loan = gv_queued_take_loan(extra);
    if (loan.is_loan != 0) {
        give_back(shard, &publish, group, &loan);
    } else {
        (void)gv__give_to_group(shard, &publish, group, NULL);
    }
}

/* What has not been sent: of one group, or (share 0) of all. */
static void give_queued(gv_session_t *session, uint32_t share)
{
    gv_queue_t *queue = &session->flow->queue;
    for (uint32_t left = queue->count; left > 0; left--) {
        gv_queued_t queued = gv_queue_take(queue);
        if (queued.share == 0 || (share != 0 && queued.share != share)) {
            gv_queue_push(queue, queued); /* round once: the order stays */
            continue;
        }
        give_away(session, queued.kept, queued.share, queued.extra);
        gv_queued_drop(&queued);
        gv_counter_sub(&session->shard->stats.queued_messages, 1);
    }
}

static void give_unacknowledged(gv_session_t *session, bool is_over)
{
    gv_flow_t *flow = session->flow;
    uint16_t packet_id = 0;
    if (flow->inflight.count > 0) {
        gv_inflight_rewind(&flow->inflight);
    }
    for (gv_flight_t *flight; (flight = gv_inflight_resend(&flow->inflight, &packet_id)) != NULL;) {
        bool is_qos1 = flight->stage == GV_STAGE_AWAITS_PUBACK;
        if (flight->share != 0 && is_qos1 && flight->kept != NULL &&
            (is_over || left_group(flow, flight->share) == NULL)) {
            give_away(session, flight->kept, flight->share, flight->extra);
            gv_inflight_finish(&flow->inflight, flight);
        } else if (is_over) {
            /* What was begun at QoS 2 is for nobody else [MQTT-4.8.2-5]. */
            (void)gv__end_loan(session->shard, flight->extra,
                               is_qos1 ? GV_MQTT_QUOTA_EXCEEDED : GV_MQTT_SUCCESS);
        }
    }
}

void gv__give_to_others(gv_session_t *session, bool is_over)
{
    give_unacknowledged(session, is_over);
    give_queued(session, 0);
}

void gv__leave_group(gv_session_t *session, const gv_filter_t *filter)
{
    gv_flow_t *flow = session->flow;
    uint32_t share = filter->slot + 1;
    give_queued(session, share);
    if (flow->left != NULL) {
        forget_finished(flow);
    }
    if (gv_inflight_has_share(&flow->inflight, share)) {
        remember(flow, share, gv_filter_text(filter));
    }
}
