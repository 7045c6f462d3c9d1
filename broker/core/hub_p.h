/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The inside of gv_hub, shared by hub.c, hub_forward.c, hub_deliver.c and hub_retained.c. */

#include "base/rng.h"
#include "broker/core/hub.h"
#include "broker/core/inbox.h"
#include "broker/core/office.h"
#include "broker/core/pending.h"
#include "broker/core/texts.h"

/* The shared subscriptions of one message, with the nodes that are to choose a member. */
typedef struct gv_hub_shares {
    gv_bytes_t filters[GV_FORWARD_SHARED_MAX];
    uint8_t nodes[GV_FORWARD_SHARED_MAX];
    size_t count;
} gv_hub_shares_t;

/* A message of another node that is done here. */
typedef struct gv_hub_applied {
    gv_delivery_t delivery;
    gv_delivery_outcome_t outcome; /* its array is ours */
} gv_hub_applied_t;

struct gv_hub {
    gv_router_t *router;
    _Atomic uint64_t *nodes_alive;
    _Atomic uint64_t *nodes_away;
    gv_log_t *log;
    gv_store_t *store;
    gv_outbox_t *outbox;
    gv_inbox_t *inbox;
    gv_retained_common_t *retained;
    gv_reconcile_t *reconcile;
    gv_roster_t *roster;
    gv_node_id_t node_ids[GV_NODES_MAX];
    uint32_t next_join; /* with the shards that get a message of an exact box */
    gv_hub_cluster_t cluster;
    bool has_cluster;
    bool is_credit_paused;
    gv_ports_t ports;
    gv_office_t office; /* one desk per shard, and one for itself: see pass_on() */
    gv_matches_t matches;
    gv_rng_t rng;
    gv_hub_shares_t shares;      /* scratch */
    gv_pending_table_t outgoing; /* publishes that other nodes have not confirmed */
    gv_pending_table_t incoming; /* publishes that our shards have not confirmed */
    gv_hub_applied_t *applied;   /* to be told to the cluster at the turn's end */
    size_t applied_count;
    size_t applied_capacity;
    gv_list_t waiting;   /* parcels of routes that the cluster has not answered */
    gv_texts_t restored; /* filters to announce */
    uint64_t hash_seed;
    uint16_t shard_count;
    gv_hub_stats_t stats;
};

static inline uint16_t gv__hub_own_desk(const gv_hub_t *hub)
{
    return hub->shard_count;
}

/* ---- tickets --------------------------------------------------------------------------------- */

/* What the number in a ticket of the hub's says: which table it is in. */
enum {
    GV__HUB_INCOMING,
    GV__HUB_OUTGOING,
};

static inline gv_ticket_t gv__hub_ticket_of(const gv_pending_table_t *table, uint32_t index,
                                            uint32_t number)
{
    return (gv_ticket_t){.client = index,
                         .generation = table->items[index].generation,
                         .number = number,
                         .shard = GV_HUB_INDEX};
}

/* What others call an entry, and back.  0 is none: generations begin with 1. */
static inline uint64_t gv__hub_token_of(const gv_ticket_t *ticket)
{
    return (uint64_t)ticket->generation << 32 | ticket->client;
}

static inline gv_ticket_t gv__hub_ticket_of_token(uint64_t token, uint32_t number)
{
    return (gv_ticket_t){.client = (uint32_t)token,
                         .generation = (uint32_t)(token >> 32),
                         .number = number,
                         .shard = GV_HUB_INDEX};
}

/* ---- hub_forward.c --------------------------------------------------------------------------- */

/* Ports of the outbox. */
void gv__hub_send_again(void *arg, const gv_forward_t *message, gv_node_index_t node,
                        uint64_t token);
void gv__hub_answer(void *arg, uint64_t token, bool is_refused);

/* One of those who were to have a message has it, or will never have it: whose ticket it is. */
void gv__hub_answered(gv_hub_t *hub, const gv_ticket_t *ticket, uint8_t reason);

/*
 * A message did not find a member of a group where it was sent: one elsewhere is to have it.  The
 * cluster cannot be called now, so the hub writes to itself what a shard writes whose member has
 * left.  With a ticket it is answered when the message is safe; false: no memory.
 */
bool gv__hub_pass_on(gv_hub_t *hub, const gv_publish_t *publish, gv_bytes_t share_filter,
                     const gv_ticket_t *ticket);

/* Parcels of ours that come back, and those that the hub has written to itself. */
void gv__hub_returned(gv_letter_t *letter);
void gv__hub_passed_on(gv_letter_t *letter);

/* A member of a group has left without acknowledging: somebody else gets the message. */
void gv__hub_give_again(gv_hub_t *hub, gv_entry_t *entry);

/* A message as other nodes get it. */
gv_forward_t gv__hub_forward_of(gv_hub_t *hub, const gv_publish_t *publish);

void gv__hub_forward_deinit(gv_hub_t *hub);

/* ---- hub_deliver.c --------------------------------------------------------------------------- */

/* Port of the inbox. */
void gv__hub_settled(void *arg, uint64_t token, bool is_refused);

/* A shard has a message of another node, or will never have it. */
void gv__hub_incoming_done(gv_hub_t *hub, const gv_ticket_t *ticket, uint8_t reason);

/* Tells the cluster what is done. */
void gv__hub_tell_applied(gv_hub_t *hub);

/* A message of another node as it is here. */
gv_publish_t gv__hub_publish_of(const gv_hub_t *hub, const gv_forward_t *message);

/* To the member on this node that the router has picked. */
void gv__hub_give_to_member(gv_hub_t *hub, gv_publish_t *publish, const gv_ticket_t *ticket);

void gv__hub_deliver_deinit(gv_hub_t *hub);

/* ---- hub_directory.c ------------------------------------------------------------------------- */

/* From a shard: CLAIM, ENROLL and RELEASE. */
void gv__hub_take_claim(gv_hub_t *hub, gv_entry_t *entry);

/* A LET_GO of ours is back. */
void gv__hub_let_gone(gv_hub_t *hub, gv_entry_t *entry);

/* There is another node, at last: the shards are to say whom they have. */
void gv__hub_enlist(gv_hub_t *hub);

/* ---- hub_retained.c -------------------------------------------------------------------------- */

void gv__hub_retained_init(gv_hub_t *hub, const gv_hub_options_t *options);
void gv__hub_retained_deinit(gv_hub_t *hub);
void gv__hub_retained_turn_end(gv_hub_t *hub);

/* From a shard: for the other node that is named in it. */
void gv__hub_send_note(gv_hub_t *hub, gv_entry_t *entry);
void gv__hub_send_copy(gv_hub_t *hub, gv_entry_t *entry);

/* Which write a message of another node is; the clock follows its stamp. */
gv_entry_write_t gv__hub_write_of(gv_hub_t *hub, gv_node_index_t from, const gv_forward_t *message);
