/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parts: pending tables - routes from shards - messages to nodes - messages from nodes - events.
 */
#include "broker/core/hub.h"

#include "base/alloc.h"
#include "base/rng.h"
#include "broker/core/office.h"
#include "broker/core/shard.h"

/* ---- pending: things that somebody else has to answer ---------------------------------------- */

typedef struct pending {
    union {
        gv_ticket_t ticket;     /* outgoing: who is waiting */
        gv_delivery_t delivery; /* incoming: what is to be applied */
    };
    uint32_t missing;
    uint32_t generation;
    uint32_t next_free; /* index + 1 */
    uint32_t uncounted; /* outgoing: of those missing, those the shard does not wait for */
    uint8_t reason;     /* outgoing: the worst so far */
} pending_t;

/* What the number in a ticket of the hub's says: which table it is in. */
enum {
    OF_INCOMING,
    OF_OUTGOING,
};

typedef struct pending_table {
    pending_t *items;
    uint32_t count;
    uint32_t capacity;
    uint32_t free;
} pending_table_t;

static uint32_t pending_take(pending_table_t *table)
{
    if (table->free != 0) {
        uint32_t index = table->free - 1;
        table->free = table->items[index].next_free;
        return index;
    }
    if (table->count == table->capacity) {
        table->capacity = table->capacity == 0 ? 256 : table->capacity * 2;
        table->items = gv_xrealloc(table->items, table->capacity * sizeof(*table->items));
    }
    table->items[table->count].generation = 1;
    return table->count++;
}

static void pending_give_back(pending_table_t *table, uint32_t index)
{
    table->items[index].generation++;
    table->items[index].next_free = table->free;
    table->free = index + 1;
}

static pending_t *pending_at(pending_table_t *table, uint32_t index, uint32_t generation)
{
    if (index >= table->count || table->items[index].generation != generation) {
        return NULL;
    }
    return &table->items[index];
}

/* The shared subscriptions of one message, with the nodes that are to choose a member. */
typedef struct shares {
    gv_bytes_t filters[GV_FORWARD_SHARED_MAX];
    uint8_t nodes[GV_FORWARD_SHARED_MAX];
    size_t count;
} shares_t;

/* ---- the hub --------------------------------------------------------------------------------- */

struct gv_hub {
    gv_router_t *router;
    _Atomic uint64_t *nodes_alive;
    gv_hub_cluster_t cluster;
    bool has_cluster;
    bool is_credit_paused;
    gv_ports_t ports;
    gv_office_t office; /* one desk per shard, and one for itself: see pass_on() */
    gv_matches_t matches;
    gv_rng_t rng;
    shares_t shares;          /* scratch */
    pending_table_t outgoing; /* publishes that other nodes have not confirmed */
    pending_table_t incoming; /* publishes that our shards have not confirmed */
    gv_delivery_t *applied;   /* to be told to the cluster at the turn's end */
    size_t applied_count;
    size_t applied_capacity;
    gv_list_t waiting; /* parcels of routes that the cluster has not answered */
    uint8_t *restored; /* filters to announce: size u16, text */
    size_t restored_size;
    size_t restored_capacity;
    uint64_t hash_seed;
    uint16_t shard_count;
    gv_hub_stats_t stats;
};

static void on_returned(gv_letter_t *letter);
static void on_passed_on(gv_letter_t *letter);

static uint16_t own_desk(const gv_hub_t *hub)
{
    return hub->shard_count;
}

void gv_hub_new(const gv_hub_options_t *options, gv_hub_t **hub_out)
{
    gv_hub_t *hub = GV_NEW(gv_hub_t);
    hub->router = options->router;
    hub->nodes_alive = options->nodes_alive;
    hub->ports = options->ports;
    hub->hash_seed = options->hash_seed;
    hub->shard_count = options->shard_count;
    gv_rng_init(&hub->rng, options->random_seed, GV_HUB_INDEX);
    gv_matches_init(&hub->matches);
    gv_list_init(&hub->waiting);
    gv_office_init(&hub->office, hub, GV_HUB_INDEX, (uint16_t)(options->shard_count + 1),
                   on_returned, &hub->ports);
    *hub_out = hub;
}

void gv_hub_connect(gv_hub_t *hub, void *const *shards, const gv_hub_cluster_t *cluster)
{
    for (uint16_t i = 0; i < hub->shard_count; i++) {
        gv_office_connect(&hub->office, i, i, shards[i], gv_shard_take);
    }
    gv_office_connect(&hub->office, own_desk(hub), GV_HUB_INDEX, hub, on_passed_on);
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
    gv_free(hub->outgoing.items);
    gv_free(hub->incoming.items);
    gv_free(hub->applied);
    gv_free(hub->restored);
    gv_free(hub);
}

void gv_hub_turn_end(gv_hub_t *hub)
{
    for (size_t i = 0; i < hub->applied_count; i++) {
        hub->cluster.applied(hub->cluster.arg, hub->applied[i]);
    }
    hub->applied_count = 0;
    gv_office_send(&hub->office);
    bool is_full = gv_office_is_full(&hub->office);
    if (hub->has_cluster && is_full != hub->is_credit_paused) {
        hub->is_credit_paused = is_full;
        hub->cluster.pause_credit(hub->cluster.arg, is_full);
    }
}

const gv_hub_stats_t *gv_hub_stats(const gv_hub_t *hub)
{
    return &hub->stats;
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

/* What other nodes are told: 0 is no route; a shared one says how many members are online. */
static uint32_t value_of(gv_router_local_t local, bool is_shared)
{
    if (local.shards == 0) {
        return 0;
    }
    uint64_t weight = local.weight < GV_ROUTER_WEIGHT_MAX ? local.weight : GV_ROUTER_WEIGHT_MAX;
    return is_shared ? 1 + (uint32_t)weight : 1;
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
        bool is_shared = gv_bytes_has_prefix(filter, GV_BYTES_LITERAL("$share/"));
        uint32_t value = value_of(gv_router_local_weight(hub->router, filter), is_shared);
        hub->cluster.route_set(hub->cluster.arg, filter, value);
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
    if (!hub->has_cluster) {
        return;
    }
    size_t needed = hub->restored_size + sizeof(uint16_t) + filter.size;
    if (needed > hub->restored_capacity) {
        hub->restored_capacity = needed * 2;
        hub->restored = gv_xrealloc(hub->restored, hub->restored_capacity);
    }
    gv_writer_t w = gv_writer(hub->restored + hub->restored_size, needed - hub->restored_size);
    gv_writer_u16(&w, (uint16_t)filter.size);
    gv_writer_put(&w, filter);
    GV_ASSERT(!w.failed);
    hub->restored_size = needed;
}

void gv_hub_announce_restored(gv_hub_t *hub)
{
    gv_reader_t r = gv_reader(gv_bytes(hub->restored, hub->restored_size));
    while (gv_reader_left(&r) > 0) {
        uint16_t size = gv_reader_u16(&r);
        announce(hub, gv_reader_take(&r, size));
    }
    GV_ASSERT(!r.failed);
    gv_free(hub->restored);
    hub->restored = NULL;
    hub->restored_size = 0;
    hub->restored_capacity = 0;
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

void gv_hub_on_barrier(gv_hub_t *hub, uint64_t token, bool in_time)
{
    if (!in_time) {
        gv_counter_add(&hub->stats.barriers_late, 1);
    }
    gv_parcel_t *parcel = (gv_parcel_t *)(uintptr_t)token;
    gv_list_remove(&parcel->link);
    answer_routes(hub, parcel);
}

/* ---- messages to other nodes ----------------------------------------------------------------- */

static gv_entry_nodes_t read_nodes(gv_entry_t *entry, shares_t *shares)
{
    gv_entry_nodes_t head;
    gv_reader_t r = gv_reader(gv_bytes(gv_parcel_extra(entry), entry->extra_size));
    memcpy(&head, gv_reader_take(&r, sizeof(head)).data, sizeof(head));
    shares->count = 0;
    for (uint32_t i = 0; i < head.share_count && shares->count < GV_FORWARD_SHARED_MAX; i++) {
        shares->nodes[shares->count] = gv_reader_u8(&r);
        uint16_t size = gv_reader_u16(&r);
        shares->filters[shares->count] = gv_reader_take(&r, size);
        shares->count++;
    }
    GV_ASSERT(!r.failed);
    return head;
}

/* A message as other nodes get it. */
static gv_forward_t forward_of(gv_hub_t *hub, const gv_publish_t *publish)
{
    uint64_t now_ms = hub->ports.monotonic_ms(hub->ports.arg);
    gv_forward_t message = {
        .topic = publish->topic,
        .payload = publish->payload,
        .properties = publish->props,
        .expiry_ms = GV_FORWARD_NO_EXPIRY,
        .qos = publish->qos,
        .retain = publish->retain,
    };
    if (publish->expires_at_ms != 0) {
        message.expiry_ms = publish->expires_at_ms > now_ms ? publish->expires_at_ms - now_ms : 0;
    }
    return message;
}

static void forward(gv_hub_t *hub, gv_entry_t *entry)
{
    const shares_t *shares = &hub->shares;
    gv_entry_nodes_t head = read_nodes(entry, &hub->shares);
    gv_publish_t publish = gv_parcel_publish(entry);
    gv_forward_t message = forward_of(hub, &publish);
    uint64_t token = 0;
    if ((entry->flags & GV_ENTRY_WANTS_CONFIRM) != 0) {
        uint32_t index = pending_take(&hub->outgoing);
        pending_t *pending = &hub->outgoing.items[index];
        pending->ticket = entry->ticket;
        pending->missing = (uint32_t)__builtin_popcountll(head.nodes);
        pending->uncounted = 0;
        pending->reason = 0;
        token = (uint64_t)pending->generation << 32 | index;
        entry->flags |= GV_ENTRY_DEFERRED;
    }
    gv_counter_add(&hub->stats.forwarded, 1);
    uint64_t with_shares = 0;
    for (size_t i = 0; i < shares->count; i++) {
        with_shares |= (uint64_t)1 << shares->nodes[i];
    }
    if ((head.nodes & ~with_shares) != 0) {
        hub->cluster.publish(hub->cluster.arg, &message, head.nodes & ~with_shares, token);
    }
    for (uint64_t left = with_shares; left != 0; left &= left - 1) {
        uint8_t node = (uint8_t)__builtin_ctzll(left);
        gv_bytes_t own[GV_FORWARD_SHARED_MAX];
        message.shared = own;
        message.shared_count = 0;
        for (size_t i = 0; i < shares->count; i++) {
            if (shares->nodes[i] == node) {
                own[message.shared_count++] = shares->filters[i];
            }
        }
        hub->cluster.publish(hub->cluster.arg, &message, (uint64_t)1 << node, token);
    }
}

static void answered(gv_hub_t *hub, const gv_ticket_t *ticket, uint8_t reason);

void gv_hub_take_forward(gv_letter_t *letter)
{
    gv_parcel_t *parcel = gv_container_of(letter, gv_parcel_t, letter);
    gv_hub_t *hub = parcel->to;
    for (gv_entry_t *e = gv_parcel_first(parcel); e != NULL; e = gv_parcel_next(parcel, e)) {
        if (e->kind == GV_ENTRY_CONFIRM) {
            answered(hub, &e->ticket, e->qos);
        } else {
            GV_ASSERT(e->kind == GV_ENTRY_NODES);
            GV_ASSERT(hub->has_cluster);
            forward(hub, e);
        }
    }
    gv_office_return(&hub->office, parcel);
}

/* One of those a publish has gone to has it, or will never have it. */
static void outgoing_done(gv_hub_t *hub, uint32_t index, uint32_t generation, uint8_t reason)
{
    pending_t *pending = pending_at(&hub->outgoing, index, generation);
    if (pending == NULL) {
        return;
    }
    pending->reason = reason > pending->reason ? reason : pending->reason;
    pending->missing--;
    if (pending->uncounted > 0) {
        pending->uncounted--;
        return;
    }
    /* The reason travels where a message's QoS would. */
    gv_publish_t nothing = {.qos = pending->reason};
    gv_entry_t *entry = gv_office_append(&hub->office, pending->ticket.shard, &nothing, 0);
    GV_ASSERT(entry != NULL);
    entry->kind = GV_ENTRY_CONFIRM;
    entry->ticket = pending->ticket;
    if (pending->missing == 0) {
        pending_give_back(&hub->outgoing, index);
    }
}

static bool pass_on(gv_hub_t *hub, const gv_publish_t *publish, gv_bytes_t share_filter,
                    const gv_ticket_t *ticket);
static gv_publish_t publish_of(const gv_hub_t *hub, const gv_forward_t *message);

/* A node has died with messages for members of groups there: others get them, and confirm. */
static void give_lost(gv_hub_t *hub, uint64_t token, const gv_forward_t *lost)
{
    gv_ticket_t ticket = {.client = (uint32_t)token,
                          .generation = (uint32_t)(token >> 32),
                          .number = OF_OUTGOING,
                          .shard = GV_HUB_INDEX};
    pending_t *pending = pending_at(&hub->outgoing, ticket.client, ticket.generation);
    gv_publish_t publish = publish_of(hub, lost);
    for (size_t i = 0; i < lost->shared_count; i++) {
        bool is_awaited = pass_on(hub, &publish, lost->shared[i], &ticket) && pending != NULL;
        if (is_awaited) {
            pending->missing++;
            pending->uncounted++;
        }
    }
    gv_publish_done(&publish);
}

void gv_hub_on_confirmed(gv_hub_t *hub, uint64_t token, gv_forward_result_t result,
                         const gv_forward_t *lost)
{
    gv_counter_add(&hub->stats.forward_gone, result == GV_FORWARD_GONE);
    gv_counter_add(&hub->stats.forward_full, result == GV_FORWARD_FULL);
    if (lost != NULL) {
        give_lost(hub, token, lost);
    }
    bool is_refused = result == GV_FORWARD_FULL || result == GV_FORWARD_REFUSED;
    outgoing_done(hub, (uint32_t)token, (uint32_t)(token >> 32), is_refused ? 0x97 : 0);
}

/* ---- messages from other nodes --------------------------------------------------------------- */

static void apply_later(gv_hub_t *hub, gv_delivery_t delivery)
{
    if (delivery.seq == 0) {
        return;
    }
    if (hub->applied_count == hub->applied_capacity) {
        hub->applied_capacity = hub->applied_capacity == 0 ? 256 : hub->applied_capacity * 2;
        hub->applied = gv_xrealloc(hub->applied, hub->applied_capacity * sizeof(*hub->applied));
    }
    hub->applied[hub->applied_count++] = delivery;
}

static void incoming_done(gv_hub_t *hub, const gv_ticket_t *ticket)
{
    pending_t *pending = pending_at(&hub->incoming, ticket->client, ticket->generation);
    if (pending == NULL) {
        return;
    }
    pending->missing--;
    if (pending->missing == 0) {
        apply_later(hub, pending->delivery);
        pending_give_back(&hub->incoming, ticket->client);
    }
}

/* What a node has confirmed cannot be refused; a message that was given to another member can. */
static void answered(gv_hub_t *hub, const gv_ticket_t *ticket, uint8_t reason)
{
    if (ticket->number == OF_OUTGOING) {
        outgoing_done(hub, ticket->client, ticket->generation, reason);
    } else {
        incoming_done(hub, ticket);
    }
}

/* One entry for a shard; false when there is no memory for it. */
static bool give(gv_hub_t *hub, uint16_t shard, gv_publish_t *publish, gv_entry_kind_t kind,
                 const gv_ticket_t *ticket, bool wants_confirm)
{
    size_t count = 0;
    for (size_t i = 0; kind == GV_ENTRY_SLOTS && i < hub->matches.hit_count; i++) {
        count += hub->matches.hits[i].shard == shard;
    }
    gv_entry_t *entry = gv_office_append(&hub->office, shard, publish, count * sizeof(uint32_t));
    if (entry == NULL) {
        return false;
    }
    entry->kind = (uint8_t)kind;
    entry->slot_count = (uint32_t)count;
    entry->ticket = *ticket;
    entry->flags |= wants_confirm ? GV_ENTRY_WANTS_CONFIRM : 0;
    uint32_t *slots = gv_parcel_extra(entry);
    for (size_t i = 0; count > 0 && i < hub->matches.hit_count; i++) {
        if (hub->matches.hits[i].shard == shard) {
            *slots++ = hub->matches.hits[i].slot;
        }
    }
    return true;
}

/*
 * A message did not find a member of a group where it was sent: one elsewhere is to have it.  The
 * cluster cannot be called now, so the hub writes to itself what a shard writes whose member has
 * left.  With a ticket it is answered when the message is safe; false: no memory.
 */
static bool pass_on(gv_hub_t *hub, const gv_publish_t *publish, gv_bytes_t share_filter,
                    const gv_ticket_t *ticket)
{
    gv_entry_t *entry = gv_office_append(&hub->office, own_desk(hub), publish, share_filter.size);
    if (entry == NULL) {
        gv_counter_add(&hub->stats.shares_without_member, 1);
        return false;
    }
    entry->kind = GV_ENTRY_REGIVE;
    entry->slot_count = (uint32_t)share_filter.size;
    if (ticket != NULL) {
        entry->ticket = *ticket;
        entry->flags |= GV_ENTRY_WANTS_CONFIRM;
    }
    memcpy(gv_parcel_extra(entry), share_filter.data, share_filter.size);
    return true;
}

/* A message of another node as it is here. */
static gv_publish_t publish_of(const gv_hub_t *hub, const gv_forward_t *message)
{
    gv_publish_t publish = {
        .topic = message->topic,
        .props = message->properties,
        .payload = message->payload,
        .qos = message->qos,
        .retain = message->retain,
    };
    if (message->expiry_ms != GV_FORWARD_NO_EXPIRY) {
        publish.expires_at_ms = hub->ports.monotonic_ms(hub->ports.arg) + message->expiry_ms + 1;
    }
    if (publish.payload.size >= GV_PAYLOAD_SHARED_MIN) {
        gv_msgbuf_t *kept = NULL;
        if (gv_publish_keep(&publish, &kept) == GV_OK) {
            gv_msgbuf_unref(&kept);
        }
    }
    return publish;
}

void gv_hub_on_deliver(gv_hub_t *hub, const gv_delivery_t *delivery, const gv_forward_t *message)
{
    gv_publish_t publish = publish_of(hub, message);
    gv_counter_add(&hub->stats.received, 1);
    hub->ports.read_begin(hub->ports.arg);
    gv_router_match_local(hub->router, publish.topic, &hub->matches);
    for (size_t i = 0; i < message->shared_count; i++) {
        bool has_member = gv_router_add_share(hub->router, message->shared[i],
                                              gv_rng_u32(&hub->rng), &hub->matches);
        if (!has_member) {
            /*
             * The last member here has left, and the sender had not heard of it yet.  Its
             * confirmation does not wait for what becomes of the message: nodes confirm in the
             * order of arrival, and two that pass messages to each other would wait for each other.
             */
            (void)pass_on(hub, &publish, message->shared[i], NULL);
        }
    }
    hub->ports.read_end(hub->ports.arg);

    uint32_t index = pending_take(&hub->incoming);
    pending_t *pending = &hub->incoming.items[index];
    pending->delivery = *delivery;
    pending->missing = 0;
    gv_ticket_t ticket = {
        .client = index, .generation = pending->generation, .shard = GV_HUB_INDEX};
    bool wants_confirm = delivery->seq != 0;
    for (uint64_t left = hub->matches.shards; left != 0; left &= left - 1) {
        uint16_t shard = (uint16_t)__builtin_ctzll(left);
        pending->missing +=
            give(hub, shard, &publish, GV_ENTRY_SLOTS, &ticket, wants_confirm) && wants_confirm;
    }
    if (publish.retain) {
        uint16_t home = (uint16_t)(gv_bytes_hash(publish.topic, hub->hash_seed) % hub->shard_count);
        pending->missing +=
            give(hub, home, &publish, GV_ENTRY_RETAIN, &ticket, wants_confirm) && wants_confirm;
    }
    gv_publish_done(&publish);
    if (pending->missing == 0) {
        apply_later(hub, *delivery);
        pending_give_back(&hub->incoming, index);
    }
}

/* A member of a group has left without acknowledging: somebody else gets the message. */
static void give_again(gv_hub_t *hub, gv_entry_t *entry)
{
    static const gv_ticket_t nobody = {.client = UINT32_MAX};
    bool is_awaited = (entry->flags & GV_ENTRY_WANTS_CONFIRM) != 0;
    const gv_ticket_t *ticket = is_awaited ? &entry->ticket : &nobody;
    gv_publish_t publish = gv_parcel_publish(entry);
    gv_bytes_t filter = gv_bytes(gv_parcel_extra(entry), entry->slot_count);
    uint64_t alive = atomic_load_explicit(hub->nodes_alive, memory_order_relaxed);
    gv_matches_t *matches = &hub->matches;
    hub->ports.read_begin(hub->ports.arg);
    if (!gv_router_pick_share(hub->router, filter, alive, gv_rng_u32(&hub->rng), matches)) {
        gv_counter_add(&hub->stats.shares_without_member, 1);
    } else if (matches->hit_count > 0) {
        bool is_given =
            give(hub, matches->hits[0].shard, &publish, GV_ENTRY_SLOTS, ticket, is_awaited);
        entry->flags |= is_given && is_awaited ? GV_ENTRY_DEFERRED : 0;
    } else {
        gv_forward_t message = forward_of(hub, &publish);
        message.shared = &matches->node_shares[0].filter;
        message.shared_count = 1;
        uint64_t token = is_awaited ? (uint64_t)ticket->generation << 32 | ticket->client : 0;
        hub->cluster.publish(hub->cluster.arg, &message,
                             (uint64_t)1 << matches->node_shares[0].node, token);
        entry->flags |= is_awaited ? GV_ENTRY_DEFERRED : 0;
    }
    hub->ports.read_end(hub->ports.arg);
}

/* What pass_on() wrote, a turn later. */
static void on_passed_on(gv_letter_t *letter)
{
    gv_parcel_t *parcel = gv_container_of(letter, gv_parcel_t, letter);
    gv_hub_t *hub = parcel->to;
    for (gv_entry_t *e = gv_parcel_first(parcel); e != NULL; e = gv_parcel_next(parcel, e)) {
        GV_ASSERT(e->kind == GV_ENTRY_REGIVE);
        give_again(hub, e);
    }
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
            give_again(hub, e);
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

static void on_returned(gv_letter_t *letter)
{
    gv_parcel_t *parcel = gv_container_of(letter, gv_parcel_t, letter);
    gv_hub_t *hub = parcel->from;
    for (gv_entry_t *e = gv_parcel_first(parcel); e != NULL; e = gv_parcel_next(parcel, e)) {
        if ((e->flags & GV_ENTRY_WANTS_CONFIRM) != 0 && (e->flags & GV_ENTRY_DEFERRED) == 0) {
            answered(hub, &e->ticket, (e->flags & GV_ENTRY_REFUSED) != 0 ? 0x97 : 0);
        }
    }
    gv_office_reuse(&hub->office, parcel);
}

/* ---- rows and nodes -------------------------------------------------------------------------- */

void gv_hub_on_row(gv_hub_t *hub, gv_node_index_t node, gv_bytes_t key, uint32_t value)
{
    if (value == 0) {
        (void)gv_router_unset(hub->router, key, GV_ROUTE_NODE, node);
    } else {
        gv_route_target_t target = {.kind = GV_ROUTE_NODE, .index = node, .weight = value - 1};
        /* What another node accepted and we would not (more levels, say) attracts nothing here. */
        gv_err_t err = gv_router_set(hub->router, key, target);
        gv_counter_add(&hub->stats.rows_refused, err != GV_OK);
    }
    show_router(hub);
}

void gv_hub_on_node(gv_hub_t *hub, gv_node_index_t node, gv_node_event_t event)
{
    uint64_t bit = (uint64_t)1 << node;
    uint64_t alive = atomic_load_explicit(hub->nodes_alive, memory_order_relaxed);
    alive = event == GV_NODE_ROUTABLE ? alive | bit : alive & ~bit;
    /* Relaxed: a shard that sees it a moment later forwards once more, and is told GONE. */
    atomic_store_explicit(hub->nodes_alive, alive, memory_order_relaxed);
}
