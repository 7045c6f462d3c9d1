/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_SESSIONS

#include "broker/core/session.h"

#include "base/alloc.h"
#include "broker/core/shard_p.h"

gv_session_t *gv_session_find(gv_shard_t *shard, gv_bytes_t id)
{
    return gv_map_find(&shard->sessions, id);
}

/* Sessions that end, or wills, between two looks at the sockets. */
#define DUES_AT_ONCE 1000

/* ---- memory that comes when it is needed --------------------------------------------------------
 */

/* What sessions without QoS > 0 traffic read.  Nobody writes it: it is in read-only memory. */
static const gv_flow_t no_flow;

static gv_flow_t *nothing(void)
{
    return (gv_flow_t *)(uintptr_t)&no_flow;
}

gv_flow_t *gv_session_flow(gv_session_t *session)
{
    if (session->flow == nothing()) {
        session->flow = GV_NEW(gv_flow_t);
    }
    return session->flow;
}

static void drop_flow(gv_session_t *session)
{
    if (session->flow != nothing()) {
        gv_queue_clear(&session->flow->queue);
        gv_inflight_clear(&session->flow->inflight);
        gv_received_ids_clear(&session->flow->received);
        gv__left_groups_clear(session->flow);
        gv__unanswered_clear(session);
        gv_free(session->flow);
        session->flow = nothing();
    }
}

/* Its client has gone: what is empty goes as well. */
static void rest(gv_session_t *session)
{
    const gv_flow_t *flow = session->flow;
    if (flow->queue.count == 0 && flow->inflight.count == 0 && flow->received.count == 0 &&
        flow->left == NULL && flow->unanswered == NULL) {
        drop_flow(session);
    }
}

/* ---- what falls due while the client is away ---------------------------------------------------
 */

/* Not 0, which dues_watched_ms is when there is none. */
static uint64_t after_leaving(const gv_session_t *session, uint32_t seconds)
{
    int64_t at_ms = session->left_ms + (int64_t)seconds * 1000;
    return at_ms > 0 ? (uint64_t)at_ms : 1;
}

uint64_t gv__session_will_at(const gv_session_t *session)
{
    return session->will == NULL ? UINT64_MAX : after_leaving(session, session->will_delay_s);
}

static uint64_t ends_at(const gv_session_t *session)
{
    return session->expiry_s == GV_EXPIRY_NEVER ? UINT64_MAX
                                                : after_leaving(session, session->expiry_s);
}

static void set_due(gv_session_t *session)
{
    uint64_t will_at_ms = gv__session_will_at(session);
    uint64_t ends_at_ms = ends_at(session);
    uint64_t at_ms = will_at_ms < ends_at_ms ? will_at_ms : ends_at_ms;
    if (at_ms != UINT64_MAX) {
        gv_dues_set(&session->shard->dues, session, at_ms);
    }
}

/* The timer follows the first of them; one that fires for nothing is no harm. */
static void watch_dues(gv_shard_t *shard)
{
    uint64_t at_ms = gv_dues_next_ms(&shard->dues);
    if (!shard->holds_dues && at_ms != UINT64_MAX && at_ms != shard->dues_watched_ms) {
        shard->dues_watched_ms = at_ms;
        gv_timer_start(shard->wheel, &shard->dues_timer, at_ms);
    }
}

void gv__session_away(gv_session_t *session)
{
    set_due(session);
    watch_dues(session->shard);
}

void gv_shard_hold_dues(gv_shard_t *shard)
{
    GV_ASSERT(shard->dues_watched_ms == 0);
    shard->holds_dues = true;
}

void gv_shard_release_dues(gv_shard_t *shard)
{
    shard->holds_dues = false;
    watch_dues(shard);
}

/* ---- wills and ends -----------------------------------------------------------------------------
 */

static void publish_will(gv_session_t *session)
{
    gv_shard_t *shard = session->shard;
    if (session->will == NULL) {
        return;
    }
    gv_publish_t publish = gv_publish_of(session->will);
    if (publish.expires_at_ms != 0) {
        /* Kept as a time span and one; it begins now. */
        publish.expires_at_ms += shard->now_ms - 1;
        publish.kept = NULL;
    }
    gv_counter_add(&shard->stats.wills, 1);
    bool is_borrowed = publish.kept != NULL;
    if (is_borrowed) {
        /* gv__route() drops the view's reference, so it gets one of its own. */
        publish.kept = gv_msgbuf_ref(session->will);
    }
    /* That it is not there any more becomes durable together with the messages it has caused. */
    bool is_stored = session->durable != NULL && session->durable->has_stored_will;
    gv_ticket_t nobody = {.client = UINT32_MAX, .shard = shard->index};
    (void)gv__route(shard, &publish, &nobody, is_stored ? GV_ROUTE_JOINED : GV_ROUTE_PLAIN);
    gv_msgbuf_unref(&session->will);
    gv__durable_will_gone(session);
}

static void on_due(gv_session_t *session)
{
    uint64_t now_ms = session->shard->now_ms;
    if (ends_at(session) <= now_ms) {
        gv_counter_add(&session->shard->stats.sessions_expired, 1);
        gv_session_end(&session);
        return;
    }
    if (gv__session_will_at(session) <= now_ms) {
        publish_will(session);
    }
    set_due(session);
}

void gv__session_on_dues(gv_timer_t *timer)
{
    gv_shard_t *shard = gv_container_of(timer, gv_shard_t, dues_timer);
    shard->now_ms = shard->ports.monotonic_ms(shard->ports.arg);
    shard->dues_watched_ms = 0;
    shard->ports.read_begin(shard->ports.arg);
    gv_session_t *session;
    for (int i = 0; i < DUES_AT_ONCE && (session = gv_dues_take(&shard->dues, shard->now_ms));
         i++) {
        on_due(session);
    }
    shard->ports.read_end(shard->ports.arg);
    watch_dues(shard);
}

gv_session_t *gv_session_new(gv_shard_t *shard, gv_bytes_t id, gv_bytes_t owner)
{
    GV_ASSERT(id.size > 0);
    GV_ASSERT(id.size <= UINT16_MAX);
    GV_ASSERT(owner.size <= UINT16_MAX);
    /* The id begins inside the padding at the structure's end. */
    size_t size = offsetof(gv_session_t, id) + id.size + owner.size;
    gv_session_t *session = gv_xcalloc(1, size > sizeof(*session) ? size : sizeof(*session));
    session->shard = shard;
    session->uid = shard->uid_base | ++shard->next_uid;
    gv_list_init(&session->subscriptions);
    session->flow = nothing();
    session->id_size = (uint16_t)id.size;
    memcpy(session->id, id.data, id.size);
    if (owner.size > 0) {
        session->owner_size = (uint16_t)owner.size;
        memcpy(session->id + id.size, owner.data, owner.size);
    }
    gv_map_add(&shard->sessions, session);
    gv_counter_add(&shard->stats.sessions, 1);
    if (shard->memory != NULL) {
        gv_counter_add(&gv_memory_part(shard->memory, shard->index)->sessions, 1);
    }
    return session;
}

/* ---- subscriptions --------------------------------------------------------------------------- */

void gv_session_unsubscribe(gv_session_t *session, gv_subscription_t *subscription)
{
    gv_shard_t *shard = session->shard;
    gv_filter_t *filter = subscription->filter;
    gv__durable_unsubscribed(session, gv_filter_text(filter));
    if (filter->is_shared) {
        session->shared_count--;
        gv_counter_sub(&shard->stats.shared_subscriptions, 1);
        filter->online -= session->client != NULL ? 1U : 0U;
    } else if (session->durable != NULL) {
        filter->lasting--;
    }
    gv_subscriptions_remove(&shard->subscriptions, subscription);
    gv_counter_sub(&shard->stats.subscriptions, 1);
    if (filter->count == 0) {
        gv__route_unset(shard, filter);
    } else if (gv__route_weight(filter) != filter->announced) {
        gv__route_set(shard, filter);
    }
    if (filter->is_shared && session->durable != NULL) {
        gv__durable_give(session, GV_GIVE_LEFT, gv_filter_text(filter));
    } else if (filter->is_shared &&
               (session->flow->inflight.count > 0 || session->flow->queue.count > 0)) {
        gv__leave_group(session, filter);
    }
}

static void count_shared(gv_session_t *session, bool is_coming)
{
    if (session->shared_count == 0) {
        return;
    }
    gv_list_foreach (&session->subscriptions, link) {
        gv_filter_t *filter = gv_container_of(link, gv_subscription_t, link)->filter;
        if (filter->is_shared) {
            filter->online += is_coming ? 1U : (uint32_t)-1;
            gv__route_set(session->shard, filter);
        }
    }
}

/* ---- coming and going ------------------------------------------------------------------------ */

void gv_session_attach(gv_session_t *session, gv_client_t *client)
{
    GV_ASSERT(session->client == NULL);
    session->client = client;
    gv_dues_drop(&session->shard->dues, session);
    count_shared(session, true);
}

void gv_session_detach(gv_session_t *session, bool is_will_due)
{
    gv_shard_t *shard = session->shard;
    GV_ASSERT(session->client != NULL);
    session->client = NULL;
    session->left_ms = (int64_t)shard->now_ms;
    count_shared(session, false);
    if (!is_will_due) {
        gv_msgbuf_unref(&session->will);
        gv__durable_will_gone(session);
    }
    if (session->expiry_s == 0) {
        gv_session_end(&session);
        return;
    }
    if (session->flow->inflight.count > 0 || session->flow->queue.count > 0) {
        gv__give_to_others(session, false);
    }
    if (session->will != NULL && session->will_delay_s == 0) {
        publish_will(session);
    }
    rest(session);
    if (session->durable != NULL) {
        gv__durable_left(session);
        if (!gv__drain_is_final(shard)) { /* else the others are going too */
            gv__durable_give(session, GV_GIVE_AWAY, GV_BYTES_EMPTY);
        }
    }
    gv__session_away(session);
}

static void session_free(gv_session_t *session)
{
    gv_shard_t *shard = session->shard;
    if (session->durable != NULL) {
        gv__durable_free(session);
    }
    drop_flow(session);
    gv_dues_drop(&shard->dues, session);
    gv_msgbuf_unref(&session->will);
    void *removed = gv_map_remove(&shard->sessions, gv_session_id(session));
    GV_ASSERT(removed == session);
    gv_free(session);
    if (shard->memory != NULL) {
        gv_counter_sub(&gv_memory_part(shard->memory, shard->index)->sessions, 1);
    }
}

void gv_session_end(gv_session_t **sessionp)
{
    gv_session_t *session = *sessionp;
    gv_shard_t *shard = session->shard;
    *sessionp = NULL;
    GV_ASSERT(session->client == NULL);
    /* The end of the session is also the end of the will's delay [MQTT-3.1.3-9]. */
    publish_will(session);
    if (session->flow->inflight.count > 0 || session->flow->queue.count > 0) {
        gv__give_to_others(session, true); /* the group may have a member elsewhere */
    }
    for (gv_link_t *link; (link = gv_list_first(&session->subscriptions)) != NULL;) {
        gv_session_unsubscribe(session, gv_container_of(link, gv_subscription_t, link));
    }
    if (session->durable != NULL) {
        gv__durable_give(session, GV_GIVE_OVER, GV_BYTES_EMPTY);
        gv__durable_end(session);
    }
    gv_counter_sub(&shard->stats.queued_messages, session->flow->queue.count);
    gv_counter_add(&shard->stats.dropped_session_ended, session->flow->queue.count);
    gv_counter_sub(&shard->stats.sessions, 1);
    session_free(session);
}

void gv_session_discard(gv_session_t **sessionp)
{
    gv_session_t *session = *sessionp;
    *sessionp = NULL;
    for (gv_link_t *link; (link = gv_list_first(&session->subscriptions)) != NULL;) {
        gv_subscriptions_remove(&session->shard->subscriptions,
                                gv_container_of(link, gv_subscription_t, link));
    }
    session_free(session);
}
