/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hub's life, and the router.  Messages to other nodes: hub_forward.c; from them:
 * hub_deliver.c; what concerns retained ones only: hub_retained.c; who has which client id:
 * hub_directory.c.
 *
 * Parts: life - routes from shards - rows and nodes - what the last run has left.
 */
#include "broker/core/hub.h"

#include "base/alloc.h"
#include "broker/core/hub_p.h"
#include "broker/core/shard.h"

/* ---- life ------------------------------------------------------------------------------------ */

static uint64_t now_of(void *arg)
{
    const gv_hub_t *hub = arg;
    return hub->ports.monotonic_ms(hub->ports.arg);
}

static uint64_t realtime_of(void *arg)
{
    const gv_hub_t *hub = arg;
    return hub->ports.realtime_ms(hub->ports.arg);
}

void gv_hub_new(const gv_hub_options_t *options, gv_hub_t **hub_out)
{
    gv_hub_t *hub = GV_NEW(gv_hub_t);
    hub->router = options->router;
    hub->nodes_alive = options->nodes_alive;
    hub->nodes_away = options->nodes_away;
    hub->ports = options->ports;
    hub->log = options->log;
    hub->store = options->store;
    hub->hash_seed = options->hash_seed;
    hub->shard_count = options->shard_count;
    gv_rng_init(&hub->rng, options->random_seed, GV_HUB_INDEX);
    gv_matches_init(&hub->matches);
    gv_list_init(&hub->waiting);
    gv_office_init(&hub->office, hub, GV_HUB_INDEX, (uint16_t)(options->shard_count + 1),
                   gv__hub_returned, &hub->ports);
    gv_outbox_options_t outbox = {
        .store = options->store,
        .post = options->store_post,
        .post_arg = options->store_post_arg,
        .bytes_max = options->outbox_bytes_max,
        .spool_after_ms = options->spool_after_ms,
        .nodes_full = options->nodes_full,
        .run = options->run,
        .ports =
            {
                .arg = hub,
                .publish = gv__hub_send_again,
                .answered = gv__hub_answer,
                .monotonic_ms = now_of,
                .realtime_ms = realtime_of,
            },
    };
    gv_outbox_new(&outbox, &hub->outbox);
    gv_inbox_options_t inbox = {
        .store = options->store,
        .post = options->store_post,
        .post_arg = options->store_post_arg,
        .answered = gv__hub_settled,
        .arg = hub,
    };
    gv_inbox_new(&inbox, &hub->inbox);
    gv_roster_options_t roster = {
        .store = options->store,
        .post = options->store_post,
        .post_arg = options->store_post_arg,
    };
    gv_roster_new(&roster, &hub->roster);
    gv__hub_retained_init(hub, options);
    *hub_out = hub;
}

void gv_hub_connect(gv_hub_t *hub, void *const *shards, const gv_hub_cluster_t *cluster)
{
    for (uint16_t i = 0; i < hub->shard_count; i++) {
        gv_office_connect(&hub->office, i, i, shards[i], gv_shard_take);
    }
    gv_office_connect(&hub->office, gv__hub_own_desk(hub), GV_HUB_INDEX, hub, gv__hub_passed_on);
    if (cluster != NULL) {
        hub->cluster = *cluster;
        hub->has_cluster = true;
    }
}

void gv_hub_free(gv_hub_t **hubp)
{
    gv_hub_t *hub = *hubp;
    *hubp = NULL;
    gv_office_deinit(&hub->office);
    for (gv_link_t *link; (link = gv_list_take_first(&hub->waiting)) != NULL;) {
        gv_parcel_t *parcel = gv_container_of(link, gv_parcel_t, link);
        gv_parcel_free(&parcel);
    }
    gv_matches_deinit(&hub->matches);
    gv_outbox_free(&hub->outbox);
    gv_inbox_free(&hub->inbox);
    gv_roster_free(&hub->roster);
    gv__hub_retained_deinit(hub);
    gv__hub_forward_deinit(hub);
    gv__hub_deliver_deinit(hub);
    gv_texts_clear(&hub->restored);
    gv_free(hub);
}

void gv_hub_turn_end(gv_hub_t *hub)
{
    gv__hub_tell_applied(hub);
    gv_outbox_turn_end(hub->outbox);
    gv_inbox_turn_end(hub->inbox);
    gv_roster_turn_end(hub->roster, now_of(hub));
    gv__hub_retained_turn_end(hub);
    gv_office_send(&hub->office);
    bool is_full = gv_office_is_full(&hub->office);
    if (hub->has_cluster && is_full != hub->is_credit_paused) {
        hub->is_credit_paused = is_full;
        hub->cluster.pause_credit(hub->cluster.arg, is_full);
    }
}

void gv_hub_finish(gv_hub_t *hub)
{
    gv_outbox_finish(hub->outbox);
    gv_inbox_finish(hub->inbox);
    gv_roster_finish(hub->roster);
}

const gv_hub_stats_t *gv_hub_stats(const gv_hub_t *hub)
{
    return &hub->stats;
}

const gv_roster_stats_t *gv_hub_roster_stats(const gv_hub_t *hub)
{
    return gv_roster_stats(hub->roster);
}

const gv_outbox_t *gv_hub_outbox(const gv_hub_t *hub)
{
    return hub->outbox;
}

gv_err_t gv_hub_restore(gv_hub_t *hub)
{
    gv_err_t err = gv_roster_load(hub->roster);
    if (err == GV_OK) {
        err = gv_outbox_load(hub->outbox);
    }
    return err == GV_OK ? gv_inbox_load(hub->inbox) : err;
}

static void gauge(gv_counter_t *counter, uint64_t value)
{
    atomic_store_explicit(counter, value, memory_order_relaxed);
}

static void show_router(gv_hub_t *hub)
{
    gv_router_counters_t counters = gv_router_counters(hub->router);
    gauge(&hub->stats.routes, counters.routes);
    gauge(&hub->stats.filters, counters.filters);
    gauge(&hub->stats.router_bytes, counters.memory_bytes);
}

/* ---- routes from shards ---------------------------------------------------------------------- */

/* What other nodes are told of a filter with sessions that outlive their connections. */
#define LASTING 2U

static bool is_shared(gv_bytes_t filter)
{
    return gv_bytes_has_prefix(filter, GV_BYTES_LITERAL("$share/"));
}

/*
 * What other nodes are told: 0 is no route; a shared one says how many members are online, another
 * one whether there are sessions that outlive their connections.
 */
static uint32_t value_of(gv_router_local_t local, bool is_for_group)
{
    if (local.shards == 0) {
        return 0;
    }
    uint64_t weight = local.weight < GV_ROUTER_WEIGHT_MAX ? local.weight : GV_ROUTER_WEIGHT_MAX;
    return is_for_group ? 1 + (uint32_t)weight : weight > 0 ? LASTING : 1;
}

static void set_route(gv_hub_t *hub, gv_bytes_t filter, uint16_t shard, uint32_t slot,
                      uint32_t weight)
{
    gv_route_target_t target = {
        .kind = GV_ROUTE_SHARD, .index = (uint8_t)shard, .slot = slot, .weight = weight};
    gv_err_t err = gv_router_set(hub->router, filter, target);
    GV_ASSERT(err == GV_OK); /* the shard has checked levels and length */
}

static void announce(gv_hub_t *hub, gv_bytes_t filter)
{
    if (hub->has_cluster) {
        gv_router_local_t local = gv_router_local_weight(hub->router, filter);
        hub->cluster.route_set(hub->cluster.arg, filter, value_of(local, is_shared(filter)));
    }
}

static void take_route(gv_hub_t *hub, uint16_t shard, gv_entry_t *entry)
{
    gv_entry_route_t route;
    memcpy(&route, gv_parcel_extra(entry), sizeof(route));
    gv_bytes_t filter = gv_parcel_publish(entry).topic;
    if (route.is_set != 0) {
        set_route(hub, filter, shard, route.slot, route.weight);
    } else {
        (void)gv_router_unset(hub->router, filter, GV_ROUTE_SHARD, (uint8_t)shard);
    }
    announce(hub, filter);
}

void gv_hub_restore_route(gv_hub_t *hub, uint16_t shard, gv_bytes_t filter, uint32_t slot,
                          uint32_t weight)
{
    set_route(hub, filter, shard, slot, weight);
    show_router(hub);
    if (hub->has_cluster) {
        gv_texts_add(&hub->restored, filter);
    }
}

/*
 * Answers a shard's routes.  It then forgets the filters it has left, so what was sent to them goes
 * out first.
 */
static void answer_routes(gv_hub_t *hub, gv_parcel_t *parcel)
{
    gv_office_send(&hub->office);
    gv_office_return(&hub->office, parcel);
}

void gv_hub_take_routes(gv_letter_t *letter)
{
    gv_parcel_t *parcel = gv_container_of(letter, gv_parcel_t, letter);
    gv_hub_t *hub = parcel->to;
    for (gv_entry_t *e = gv_parcel_first(parcel); e != NULL; e = gv_parcel_next(parcel, e)) {
        if (e->kind == GV_ENTRY_ROUTE) {
            take_route(hub, parcel->from_index, e);
        } else if (e->kind == GV_ENTRY_REGIVE) {
            gv__hub_give_again(hub, e);
        }
    }
    show_router(hub);
    if (hub->has_cluster) {
        /* Back when the other nodes have the rows, or the wait is over. */
        gv_list_append(&hub->waiting, &parcel->link);
        hub->cluster.barrier(hub->cluster.arg, (uint64_t)(uintptr_t)parcel);
    } else {
        answer_routes(hub, parcel);
    }
}

void gv_hub_on_barrier(gv_hub_t *hub, uint64_t token, bool in_time)
{
    if (!in_time) {
        gv_counter_add(&hub->stats.barriers_late, 1);
    }
    gv_parcel_t *parcel = (gv_parcel_t *)(uintptr_t)token;
    gv_list_remove(&parcel->link);
    answer_routes(hub, parcel);
}

/* ---- rows and nodes -------------------------------------------------------------------------- */

static void set_bit(_Atomic uint64_t *bits, gv_node_index_t node, bool is_set)
{
    /* Relaxed: a shard that sees it a moment later forwards once more, and is told GONE. */
    uint64_t bit = (uint64_t)1 << node;
    uint64_t now = atomic_load_explicit(bits, memory_order_relaxed);
    atomic_store_explicit(bits, is_set ? now | bit : now & ~bit, memory_order_relaxed);
}

/* A node of which only others have told us is away, until it turns up itself. */
static void see(gv_hub_t *hub, gv_node_index_t node)
{
    uint64_t seen = atomic_load_explicit(hub->nodes_alive, memory_order_relaxed) |
                    atomic_load_explicit(hub->nodes_away, memory_order_relaxed);
    if ((seen >> node & 1) == 0) {
        gv_hub_on_node(hub, node, GV_NODE_HIDDEN);
    }
}

static void set_row(gv_hub_t *hub, gv_node_index_t node, gv_bytes_t key, uint32_t value)
{
    if (value == 0) {
        (void)gv_router_unset(hub->router, key, GV_ROUTE_NODE, node);
    } else {
        gv_route_target_t target = {.kind = GV_ROUTE_NODE, .index = node, .weight = value - 1};
        /* What another node accepted and we would not (more levels, say) attracts nothing here. */
        gv_err_t err = gv_router_set(hub->router, key, target);
        gv_counter_add(&hub->stats.rows_refused, err != GV_OK);
    }
}

void gv_hub_on_row(gv_hub_t *hub, gv_node_index_t node, gv_bytes_t key, uint32_t value)
{
    bool was_lasting = gv_router_is_lasting_at(hub->router, key, node);
    set_row(hub, node, key, value);
    if (value != 0) {
        see(hub, node);
    }
    bool is_lasting = value == LASTING && !is_shared(key);
    if (was_lasting != is_lasting) {
        gv_roster_set_route(hub->roster, &hub->node_ids[node], key, is_lasting);
    }
    show_router(hub);
}

static void note_event(gv_hub_t *hub, gv_node_index_t node, gv_node_event_t event)
{
    gv_outbox_on_node(hub->outbox, node, &hub->node_ids[node], event);
    gv_reconcile_on_node(hub->reconcile, node, event);
    bool was_alone = atomic_load_explicit(hub->nodes_alive, memory_order_relaxed) == 0;
    set_bit(hub->nodes_away, node, event == GV_NODE_HIDDEN);
    set_bit(hub->nodes_alive, node, event == GV_NODE_ROUTABLE);
    if (was_alone && event == GV_NODE_ROUTABLE) {
        gv__hub_enlist(hub);
    }
}

void gv_hub_on_node(gv_hub_t *hub, gv_node_index_t node, gv_node_event_t event)
{
    if (event == GV_NODE_FORGOTTEN) {
        gv_inbox_forget(hub->inbox, &hub->node_ids[node]);
        gv_roster_forget(hub->roster, &hub->node_ids[node]);
    } else {
        gv_remembered_t member;
        hub->cluster.who(hub->cluster.arg, node, &member);
        hub->node_ids[node] = member.id;
        gv_roster_set_member(hub->roster, &member, event == GV_NODE_HIDDEN ? realtime_of(hub) : 0);
    }
    note_event(hub, node, event);
}

/* ---- what the last run has left -------------------------------------------------------------- */

static gv_node_index_t recall_member(void *arg, const gv_remembered_t *member)
{
    gv_hub_t *hub = arg;
    if (!hub->has_cluster) {
        return GV_NODE_NONE; /* it has been in one, and may be again */
    }
    gv_node_index_t node = hub->cluster.remember(hub->cluster.arg, member);
    if (node != GV_NODE_NONE) {
        hub->node_ids[node] = member->id;
        note_event(hub, node, GV_NODE_HIDDEN);
    }
    return node;
}

static void recall_route(void *arg, gv_node_index_t node, gv_bytes_t filter)
{
    gv_hub_t *hub = arg;
    if (hub->cluster.remember_row(hub->cluster.arg, node, filter, LASTING) == GV_OK) {
        set_row(hub, node, filter, LASTING);
    }
}

static void announce_own(gv_hub_t *hub)
{
    gv_reader_t r = gv_texts_read(&hub->restored);
    while (gv_reader_left(&r) > 0) {
        announce(hub, gv_texts_next(&r));
    }
    gv_texts_clear(&hub->restored);
}

void gv_hub_announce_restored(gv_hub_t *hub)
{
    gv_roster_recall_t recall = {.arg = hub, .member = recall_member, .route = recall_route};
    gv_roster_recall(hub->roster, &recall, realtime_of(hub));
    announce_own(hub);
    show_router(hub);
}
