/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The inside of gv_hub, shared by hub.c, hub_forward.c and hub_retained.c. */

#include "base/rng.h"
#include "broker/core/hub.h"
#include "broker/core/inbox.h"
#include "broker/core/office.h"
#include "broker/core/pending.h"

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
    gv_list_t waiting; /* parcels of routes that the cluster has not answered */
    uint8_t *restored; /* filters to announce: size u16, text */
    size_t restored_size;
    size_t restored_capacity;
    uint64_t hash_seed;
    uint16_t shard_count;
    gv_hub_stats_t stats;
};

static inline uint16_t gv__hub_own_desk(const gv_hub_t *hub)
{
    return hub->shard_count;
}

/* ---- hub_forward.c --------------------------------------------------------------------------- */

/* Ports of the outbox. */
void gv__hub_send_again(void *arg, const gv_forward_t *message, gv_node_index_t node,
                        uint64_t token);
void gv__hub_answer(void *arg, uint64_t token, bool is_refused);

/* Port of the inbox. */
void gv__hub_settled(void *arg, uint64_t token, bool is_refused);

/* Tells the cluster what is done. */
void gv__hub_tell_applied(gv_hub_t *hub);

/* Parcels of ours that come back, and those that the hub has written to itself. */
void gv__hub_returned(gv_letter_t *letter);
void gv__hub_passed_on(gv_letter_t *letter);

/* A member of a group has left without acknowledging: somebody else gets the message. */
void gv__hub_give_again(gv_hub_t *hub, gv_entry_t *entry);

/* A message as other nodes get it. */
gv_forward_t gv__hub_forward_of(gv_hub_t *hub, const gv_publish_t *publish);

void gv__hub_forward_deinit(gv_hub_t *hub);

/* ---- hub_retained.c -------------------------------------------------------------------------- */

void gv__hub_retained_init(gv_hub_t *hub, const gv_hub_options_t *options);
void gv__hub_retained_deinit(gv_hub_t *hub);
void gv__hub_retained_turn_end(gv_hub_t *hub);

/* From a shard: for the other node that is named in it. */
void gv__hub_send_note(gv_hub_t *hub, gv_entry_t *entry);
void gv__hub_send_copy(gv_hub_t *hub, gv_entry_t *entry);

/* Which write a message of another node is; the clock follows its stamp. */
gv_entry_write_t gv__hub_write_of(gv_hub_t *hub, gv_node_index_t from, const gv_forward_t *message);
