/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A shard's entry points: letters in, parcels out, start and end.
 */
#define GV_MEMORY_OF GV_MEMORY_SESSIONS

#include "broker/core/shard.h"

#include "base/alloc.h"
#include "broker/core/hub.h"
#include "broker/core/shard_p.h"

/* Route changes on their way at a time; what comes meanwhile shares the next parcel. */
#define ROUTE_PARCELS_OUT 4U

uint16_t gv_shard_home(gv_bytes_t client_id, uint64_t hash_seed, uint16_t shard_count)
{
    return (uint16_t)(gv_bytes_hash(client_id, hash_seed) % shard_count);
}

static gv_bytes_t session_key(const void *value)
{
    return gv_session_id(value);
}

static gv_bytes_t durable_key(const void *value)
{
    const gv_durable_t *durable = value;
    return gv_bytes(&durable->session->uid, sizeof(durable->session->uid));
}

void gv_shard_new(const gv_shard_options_t *options, gv_shard_t **shard_out)
{
    GV_ASSERT(options->count > 0);
    GV_ASSERT(options->count <= GV_ROUTER_SHARDS_MAX);
    GV_ASSERT(options->index < options->count);
    gv_shard_t *shard = GV_NEW(gv_shard_t);
    shard->index = options->index;
    shard->count = options->count;
    shard->router = options->router;
    shard->nodes_alive = options->nodes_alive;
    shard->nodes_away = options->nodes_away;
    shard->nodes_full = options->nodes_full;
    shard->connects = options->connects;
    shard->memory = options->memory;
    shard->wheel = options->wheel;
    shard->pool = options->pool;
    shard->hash_seed = options->hash_seed;
    shard->ports = options->ports;
    shard->presence_prefix = options->presence_prefix;
    gv_shard_set_limits(shard, options->limits);
    shard->retained_common = options->retained_common;
    memcpy(shard->node_id, options->node_id, sizeof(shard->node_id));
    shard->uid_base = options->start_number << 40 | (uint64_t)options->index << 32;
    gv_journal_new(shard, &options->journal, &shard->journal);
    gv_timer_init(&shard->dues_timer, gv__session_on_dues);
    gv_map_init(&shard->durables, durable_key, options->hash_seed);
    gv_map_init(&shard->unanswered, gv__unanswered_key, options->hash_seed);
    gv_rng_init(&shard->rng, options->random_seed, options->index);
    gv_matches_init(&shard->matches);
    gv_subscriptions_init(&shard->subscriptions, options->hash_seed);
    gv_map_init(&shard->sessions, session_key, options->hash_seed);
    gv__logins_init(shard);
    gv__claims_init(shard);
    gv_retained_init(&shard->retained, options->hash_seed, options->retained_common);
    gv__retain_init(shard);
    gv__replays_init(shard);
    gv__resting_init(shard);
    gv__drain_init(shard);
    gv__relief_init(shard);
    gv_list_init(&shard->waiting);
    gv_list_init(&shard->ending);
    gv_list_init(&shard->submissions);
    gv_office_init(&shard->office, shard, shard->index, (uint16_t)(shard->count + 2),
                   gv_shard_returned, &shard->ports);
    *shard_out = shard;
}

void gv_shard_connect(gv_shard_t *shard, gv_shard_t *const *shards, void *hub)
{
    for (uint16_t i = 0; i < shard->count; i++) {
        gv_office_connect(&shard->office, i, i, shards[i], gv_shard_take);
    }
    gv_office_connect(&shard->office, gv__desk_forward(shard), GV_HUB_INDEX, hub,
                      gv_hub_take_forward);
    gv_office_connect(&shard->office, gv__desk_routes(shard), GV_HUB_INDEX, hub,
                      gv_hub_take_routes);
    gv_office_set_patience(&shard->office, gv__desk_routes(shard), ROUTE_PARCELS_OUT);
}

void gv_shard_free(gv_shard_t **shardp)
{
    gv_shard_t *shard = *shardp;
    *shardp = NULL;
    size_t cursor = 0;
    for (gv_session_t *session; (session = gv_map_next(&shard->sessions, &cursor)) != NULL;) {
        gv_session_discard(&session);
    }
    gv__submissions_forget(shard);
    gv_timer_stop(&shard->dues_timer);
    gv_dues_deinit(&shard->dues);
    gv_journal_free(&shard->journal);
    gv_loans_deinit(&shard->loans);
    gv_map_deinit(&shard->durables);
    gv_map_deinit(&shard->unanswered);
    gv__replays_deinit(shard);
    gv__retain_deinit(shard);
    gv__resting_deinit(shard);
    gv_timer_stop(&shard->drain_timer);
    gv__relief_deinit(shard);
    gv_office_deinit(&shard->office);
    gv_fanout_deinit(&shard->fanout);
    gv_subscriptions_deinit(&shard->subscriptions);
    gv_map_deinit(&shard->sessions);
    gv__logins_deinit(shard);
    gv__claims_deinit(shard);
    gv_retained_deinit(&shard->retained);
    gv_matches_deinit(&shard->matches);
    gv_free(shard->slots);
    gv_free(shard->clients);
    gv_free(shard->paces);
    gv_free(shard->terms);
    gv_free(shard);
}

/* ---- the turn -------------------------------------------------------------------------------- */

void gv__shard_end_clients(gv_shard_t *shard)
{
    for (gv_link_t *link; (link = gv_list_take_first(&shard->ending)) != NULL;) {
        gv_client_t *client = gv_container_of(link, gv_client_t, link);
        shard->ports.read_begin(shard->ports.arg);
        gv__client_end(client, (gv_mqtt_reason_t)client->ending_reason, true);
        shard->ports.read_end(shard->ports.arg);
    }
}

void gv_shard_turn_end(gv_shard_t *shard)
{
    shard->work = 0;
    gv__relief_look(shard);
    gv__replays_run(shard);
    gv__shard_end_clients(shard);
    gv__confirm_now(shard);
    gv_journal_turn_end(shard->journal);
    gv__confirm_now(shard); /* what the journal has found to be over */
    gv_office_send(&shard->office);
}

void gv_shard_finish(gv_shard_t *shard)
{
    shard->now_ms = shard->ports.monotonic_ms(shard->ports.arg);
    gv_journal_finish(shard->journal);
}

/* ---- confirmations --------------------------------------------------------------------------- */

static gv_client_t *connected_client(gv_shard_t *shard, const gv_ticket_t *ticket)
{
    gv_client_t *client = gv__client_of(shard, ticket);
    return client != NULL && client->state == GV_CLIENT_CONNECTED ? client : NULL;
}

void gv__confirm_here(gv_shard_t *shard, const gv_ticket_t *ticket, gv_mqtt_reason_t reason)
{
    if (ticket->is_loan != 0) {
        gv__loan_confirmed(shard, ticket, gv_mqtt_reason_is_error(reason));
        return;
    }
    gv_client_t *client = connected_client(shard, ticket);
    if (client != NULL) {
        gv__acks_confirm(client, ticket->number, 1, reason);
    } else if (ticket->client == GV_TICKET_SUBMISSION) {
        gv__submission_confirm(shard, ticket, reason);
    } else {
        gv__unanswered_confirm(shard, ticket, reason);
    }
}

/* A publish of this shard's or another's client, and not a loan, or somebody's who is no client. */
static bool is_publish(const gv_ticket_t *ticket)
{
    return ticket->shard != GV_HUB_INDEX && ticket->client != GV_TICKET_SUBMISSION &&
           ticket->is_loan == 0;
}

static bool is_next(const gv_confirmed_t *confirmed, const gv_ticket_t *ticket)
{
    const gv_ticket_t *first = &confirmed->first;
    return confirmed->count > 0 && ticket->client == first->client &&
           ticket->number == first->number + confirmed->count &&
           ticket->generation == first->generation && ticket->shard == first->shard;
}

/* For a ticket, and so many in a row that it is the first of. */
static void confirm_here(gv_shard_t *shard, const gv_ticket_t *first, uint32_t count,
                         gv_mqtt_reason_t reason)
{
    gv_client_t *client = first->is_loan != 0 ? NULL : connected_client(shard, first);
    if (client != NULL) {
        gv__acks_confirm(client, first->number, count, reason);
        return;
    }
    gv_ticket_t ticket = *first;
    for (uint32_t i = 0; i < count; i++) {
        gv__confirm_here(shard, &ticket, reason);
        ticket.number++;
    }
}

static gv_entry_t *tell(gv_shard_t *shard, const gv_ticket_t *ticket, gv_entry_kind_t kind,
                        gv_mqtt_reason_t reason)
{
    gv_publish_t nothing = {.qos = (uint8_t)reason};
    uint16_t desk = ticket->shard == GV_HUB_INDEX ? gv__desk_forward(shard) : ticket->shard;
    gv_entry_t *entry = gv_office_append(&shard->office, desk, &nothing, 0);
    GV_ASSERT(entry != NULL);
    entry->kind = (uint8_t)kind;
    entry->ticket = *ticket;
    return entry;
}

void gv__confirm_now(gv_shard_t *shard)
{
    gv_confirmed_t confirmed = shard->confirmed;
    shard->confirmed.count = 0;
    if (confirmed.count == 0) {
        return;
    }
    if (confirmed.first.shard == shard->index) {
        confirm_here(shard, &confirmed.first, confirmed.count, GV_MQTT_SUCCESS);
        return;
    }
    gv_entry_t *entry = tell(shard, &confirmed.first, GV_ENTRY_CONFIRM, GV_MQTT_SUCCESS);
    entry->slot_count = confirmed.count - 1;
}

void gv__confirm(gv_shard_t *shard, const gv_ticket_t *ticket, gv_mqtt_reason_t reason)
{
    if (ticket->client == UINT32_MAX) {
        return; /* nobody's */
    }
    if (reason == GV_MQTT_SUCCESS && is_publish(ticket)) {
        if (!is_next(&shard->confirmed, ticket)) {
            gv__confirm_now(shard);
            shard->confirmed.first = *ticket;
        }
        shard->confirmed.count++;
        return;
    }
    if (ticket->shard == shard->index) {
        gv__confirm_here(shard, ticket, reason);
        return;
    }
    gv__tell(shard, ticket, GV_ENTRY_CONFIRM, reason);
}

void gv__tell(gv_shard_t *shard, const gv_ticket_t *ticket, gv_entry_kind_t kind,
              gv_mqtt_reason_t reason)
{
    (void)tell(shard, ticket, kind, reason);
}

/* ---- letters --------------------------------------------------------------------------------- */

/* Work for the entries of a parcel that somebody else has sent. */
static void take_entry(gv_shard_t *shard, gv_entry_t *entry)
{
    switch ((gv_entry_kind_t)entry->kind) {
    case GV_ENTRY_SLOTS:
        gv__take_slots(shard, entry);
        return;
    case GV_ENTRY_RETAIN:
        gv__take_retain(shard, entry);
        return;
    case GV_ENTRY_WANT:
        gv__take_want(shard, entry);
        return;
    case GV_ENTRY_REPLAY:
        gv__take_replay(shard, entry);
        return;
    case GV_ENTRY_CONFIRM:
        confirm_here(shard, &entry->ticket, entry->slot_count + 1, (gv_mqtt_reason_t)entry->qos);
        return;
    case GV_ENTRY_MORE: {
        gv_client_t *client = connected_client(shard, &entry->ticket);
        if (client != NULL) {
            gv__acks_expect(client, entry->ticket.number);
        } else if (entry->ticket.client == GV_TICKET_SUBMISSION) {
            gv__submission_expect(shard, &entry->ticket);
        } else {
            gv__unanswered_expect(shard, &entry->ticket);
        }
        return;
    }
    case GV_ENTRY_REGIVE:
        gv__loan_returned(shard, entry);
        return;
    case GV_ENTRY_NOTE:
        gv__take_note(shard, entry);
        return;
    case GV_ENTRY_CLAIMED:
        gv__take_claimed(shard, entry);
        return;
    case GV_ENTRY_LET_GO:
        gv__take_let_go(shard, entry);
        return;
    case GV_ENTRY_ENLIST:
        gv__take_enlist(shard);
        return;
    case GV_ENTRY_CLAIM:
    case GV_ENTRY_ENROLL:
    case GV_ENTRY_RELEASE:
    case GV_ENTRY_COPY:
    case GV_ENTRY_NODES:
    case GV_ENTRY_ROUTE:
    case GV_ENTRY_SUBACK:
        break; /* these go to the hub only */
    }
    GV_ASSERT(entry->kind == GV_ENTRY_SLOTS);
}

/* Whether the entry's sender will find something in it, now that it has been taken. */
static bool has_answer(const gv_entry_t *entry)
{
    switch ((gv_entry_kind_t)entry->kind) {
    case GV_ENTRY_SLOTS:
    case GV_ENTRY_RETAIN:
        return (entry->flags & (GV_ENTRY_LOAN | GV_ENTRY_CONGESTED)) != 0 ||
               (entry->flags & (GV_ENTRY_WANTS_CONFIRM | GV_ENTRY_DEFERRED)) ==
                   GV_ENTRY_WANTS_CONFIRM;
    case GV_ENTRY_REPLAY:
        return (entry->flags & GV_ENTRY_CONGESTED) != 0;
    case GV_ENTRY_WANT:
    case GV_ENTRY_CONFIRM:
    case GV_ENTRY_MORE:
    case GV_ENTRY_REGIVE:
    case GV_ENTRY_NOTE:
    case GV_ENTRY_COPY:
    case GV_ENTRY_CLAIM:
    case GV_ENTRY_CLAIMED:
    case GV_ENTRY_ENROLL:
    case GV_ENTRY_RELEASE:
    case GV_ENTRY_LET_GO:
    case GV_ENTRY_ENLIST:
        return false;
    case GV_ENTRY_NODES:
    case GV_ENTRY_ROUTE:
    case GV_ENTRY_SUBACK:
        break;
    }
    return true;
}

void gv_shard_take(gv_letter_t *letter)
{
    gv_parcel_t *parcel = gv_container_of(letter, gv_parcel_t, letter);
    gv_shard_t *shard = parcel->to;
    shard->now_ms = shard->ports.monotonic_ms(shard->ports.arg);
    gv__relief_look(shard);
    shard->ports.read_begin(shard->ports.arg);
    parcel->is_silent = true;
    for (gv_entry_t *e = gv_parcel_first(parcel); e != NULL; e = gv_parcel_next(parcel, e)) {
        gv_journal_breathe(shard->journal);
        take_entry(shard, e);
        parcel->is_silent = parcel->is_silent && !has_answer(e);
    }
    shard->ports.read_end(shard->ports.arg);
    gv_office_return(&shard->office, parcel);
}

/* What the answer in an entry of ours means. */
static void entry_returned(gv_shard_t *shard, const gv_parcel_t *parcel, gv_entry_t *entry)
{
    switch ((gv_entry_kind_t)entry->kind) {
    case GV_ENTRY_SLOTS:
    case GV_ENTRY_RETAIN:
    case GV_ENTRY_NODES: {
        if ((entry->flags & GV_ENTRY_LOAN) != 0) {
            gv__loan_answered(shard, parcel->to_index, entry);
            return;
        }
        if ((entry->flags & (GV_ENTRY_CONGESTED | GV_ENTRY_WANTS_CONFIRM)) == 0) {
            return;
        }
        gv_client_t *client = connected_client(shard, &entry->ticket);
        if (client != NULL && (entry->flags & GV_ENTRY_CONGESTED) != 0) {
            gv__client_congested(client);
        }
        if ((entry->flags & GV_ENTRY_WANTS_CONFIRM) != 0 &&
            (entry->flags & GV_ENTRY_DEFERRED) == 0) {
            bool is_refused = (entry->flags & GV_ENTRY_REFUSED) != 0;
            gv__confirm_here(shard, &entry->ticket,
                             is_refused ? GV_MQTT_QUOTA_EXCEEDED : GV_MQTT_SUCCESS);
        }
        return;
    }
    case GV_ENTRY_REPLAY:
        if ((entry->flags & GV_ENTRY_CONGESTED) != 0) {
            gv__replay_congested(shard, &entry->ticket);
        }
        return;
    case GV_ENTRY_ROUTE: {
        gv_entry_route_t route;
        memcpy(&route, gv_parcel_extra(entry), sizeof(route));
        shard->routes_out--;
        gv_filter_t *filter = gv_subscriptions_at(&shard->subscriptions, route.slot);
        if (route.is_set || filter == NULL) {
            return;
        }
        /* It may have come back and left again meanwhile: the router knows the slot until then. */
        filter->unsets_out--;
        if (filter->is_leaving && filter->unsets_out == 0) {
            gv_subscriptions_release(&shard->subscriptions, filter, shard->now_ms);
        }
        return;
    }
    case GV_ENTRY_SUBACK:
        gv__subscribe_done(shard, entry);
        return;
    case GV_ENTRY_WANT:
        /* It went to the hub to come back behind its SUBACK; from a shard it is simply done. */
        if (parcel->desk == gv__desk_routes(shard)) {
            gv_entry_replay_t to;
            memcpy(&to, gv_parcel_extra(entry), sizeof(to));
            gv__retained_want(shard, to, gv_parcel_publish(entry).topic);
        }
        return;
    case GV_ENTRY_CONFIRM:
    case GV_ENTRY_MORE:
    case GV_ENTRY_REGIVE:
    case GV_ENTRY_NOTE:
    case GV_ENTRY_COPY:
    case GV_ENTRY_CLAIM:
    case GV_ENTRY_CLAIMED:
    case GV_ENTRY_ENROLL:
    case GV_ENTRY_RELEASE:
    case GV_ENTRY_LET_GO:
    case GV_ENTRY_ENLIST:
        return;
    }
}

static void take_answers(gv_shard_t *shard, gv_parcel_t *parcel)
{
    for (gv_entry_t *e = gv_parcel_first(parcel); e != NULL; e = gv_parcel_next(parcel, e)) {
        entry_returned(shard, parcel, e);
    }
}

/* There is credit again.  Who finds that there is not enough for him waits in the list once more.
 */
void gv__resume_waiting(gv_shard_t *shard)
{
    gv_list_t list;
    gv_list_init(&list);
    gv_list_splice(&list, &shard->waiting);
    for (gv_link_t *link; (link = gv_list_take_first(&list)) != NULL;) {
        gv__client_resume(gv_container_of(link, gv_client_t, link), GV_PAUSE_CREDIT);
    }
}

void gv_shard_returned(gv_letter_t *letter)
{
    gv_parcel_t *parcel = gv_container_of(letter, gv_parcel_t, letter);
    gv_shard_t *shard = parcel->from;
    shard->now_ms = shard->ports.monotonic_ms(shard->ports.arg);
    shard->ports.read_begin(shard->ports.arg);
    if (!parcel->is_silent) {
        take_answers(shard, parcel);
    }
    shard->ports.read_end(shard->ports.arg);
    gv_office_reuse(&shard->office, parcel);
    if (!gv_office_is_full(&shard->office)) {
        gv__resume_waiting(shard);
    }
}

/* ---- the time of day ---------------------------------------------------------------------------
 */

uint64_t gv__to_realtime(const gv_shard_t *shard, uint64_t monotonic_ms)
{
    return shard->ports.realtime_ms(shard->ports.arg) + monotonic_ms - shard->now_ms;
}

int64_t gv__from_realtime(const gv_shard_t *shard, uint64_t realtime_ms)
{
    uint64_t now_ms = shard->ports.realtime_ms(shard->ports.arg);
    return (int64_t)(realtime_ms - now_ms + shard->now_ms);
}

/* ---- the node's own messages ---------------------------------------------------------------- */

void gv_shard_publish(gv_shard_t *shard, gv_publish_t *publish)
{
    shard->now_ms = shard->ports.monotonic_ms(shard->ports.arg);
    shard->ports.read_begin(shard->ports.arg);
    (void)gv__route(shard, publish, NULL, GV_ROUTE_PLAIN);
    shard->ports.read_end(shard->ports.arg);
}

/* ---- from outside ---------------------------------------------------------------------------- */

void gv_shard_set_limits(gv_shard_t *shard, const gv_limits_t *limits)
{
    shard->limits = limits;
    shard->alias_budget = (gv_alias_budget_t){
        .connection_max = limits->topic_alias_bytes_max,
        .total_max = limits->topic_alias_memory_max / shard->count,
        .used = &shard->stats.alias_bytes,
    };
}

const gv_shard_stats_t *gv_shard_stats(const gv_shard_t *shard)
{
    return &shard->stats;
}
