/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The inside of gv_ccore, shared by the files of this folder.
 *
 *     core.c     life, the turn, dispatch of frames, closing of links
 *     peers.c    links: seeds and dialling, duplicates, heartbeat, what "linked" means
 *     member.c   facts about members: who is alive, suspicion, refutation, forgetting
 *     remember.c members of an earlier run
 *     forget.c   members forgotten for good, in the whole cluster
 *     gossip.c   facts and views to peers; which path leads to a node
 *     table.c    one owner's rows (public to tests)
 *     routes.c   our own rows: set, withdraw, push; confirmations
 *     barrier.c  waiting until the others have our rows
 *     arrival.c  when a node that has just started is in step with the others
 *     replica.c  the others' rows: pieces, snapshots, anti-entropy
 *     detour.c   rows and their confirmations where two nodes do not hear each other
 *     forward.c  publishes to others: queue, credit, resend
 *     receive.c  publishes from others: order, assembly, acknowledgement
 *     note.c     what the hosts say to each other
 *     directory_link.c  the directory (directory.h): its peers and the way of its notes
 *     answer.c   what was applied and not simply taken: refused, returned
 *     status.c   looking in
 *
 * One rule keeps this simple: what changes here and now is the state; what has to be said to peers
 * is noted (tell masks, "due" flags) and said in gv_ccore_flush().
 */

#include <inttypes.h>

#include <protobuf-c/protobuf-c.h>

#include "base/list.h"
#include "base/rng.h"
#include "cluster/core/codec.h"
#include "cluster/core/core.h"
#include "cluster/core/forward_codec.h"
#include "cluster/core/table.h"
#include "proto/cluster.pb-c.h"

/* The most frames of our own table on their way to one peer. */
#define PUSH_PIECES_MAX 8U

/* Links one member may have at once: two cross-dialled ones and a dying one; more are closed. */
#define LINKS_PER_MEMBER_MAX 4U

/* More claims than a node can come by: a number a peer counts up. */
#define CLAIM_MAX ((uint32_t)1 << 31)

/* A view older than this says nothing about links any more. */
#define VIEW_TRUSTED_MS 5000U

/* What a channel may send before it has heard of any credit [bytes]. */
#define FORWARD_CREDIT_START ((uint64_t)65536)

/* With so many answers that the origin has not heard, it gets no more credit. */
#define FORWARD_ANSWERS_MAX ((size_t)4096)

/* What a message costs in credit beside its bytes. */
#define FORWARD_ITEM_OVERHEAD ((uint64_t)32)

typedef struct gv_member gv_member_t;

/* A growing ring of fixed-size entries, first in first out. */
typedef struct gv_fifo {
    void *_entries;
    size_t _entry_size;
    size_t _head;
    size_t _count;
    size_t _capacity;
} gv_fifo_t;

/* Dialling one address, again and again: a seed's or a member's. */
typedef struct gv_dial {
    uint64_t token; /* 0: not dialling now */
    uint64_t next_ms;
    uint32_t backoff_ms;
} gv_dial_t;

typedef struct gv_seed {
    char *address;
    gv_dial_t dial;
    gv_node_index_t member; /* found behind it, or GV_NODE_NONE */
    bool was_tried;         /* the first dial is over, whatever came of it */
    bool is_self;           /* found to be ourselves */
} gv_seed_t;

typedef struct gv_peer_link {
    gv_link_t _link; /* in core->links, oldest first */
    gv_link_id_t id;
    gv_member_t *member;
    uint64_t boot_id; /* of the life that shook hands */
    bool is_dialled;  /* by us */
    uint64_t opened_ms;
    uint64_t heard_ms;
    uint64_t heartbeat_ms; /* next one is due */
    bool has_echo;
    uint64_t echoed_ms; /* newest stamp of ours that came back; forgiven after a pause of ours */
    uint64_t stamp_ms;  /* the same, never forgiven */
} gv_peer_link_t;

/* ---- tables --------------------------------------------------------------------------------- */

/* Our copy of another node's table. */
typedef struct gv_replica {
    gv_table_t table;
    gv_table_t *staged;  /* a snapshot on its way, or NULL */
    bool is_complete;    /* the table is exactly what its owner had at its version */
    uint64_t target_seq; /* ... which it is again from this version on */
    uint64_t staged_target_seq;
    uint64_t staged_begin_seq; /* version of the sender of its first piece */
    bool wants_snapshot;
    bool is_purged;
    bool ack_due;              /* the owner should hear what we have */
    bool ack_resync;           /* ... and that a piece did not fit */
    bool relayed_ack_due;      /* it should hear so through a relay */
    bool notice_due;           /* peers that do not hear the owner should hear of this version */
    uint64_t progress_ms;      /* a piece was applied */
    uint64_t behind_ms;        /* since when we know of a newer version; 0: we do not */
    gv_node_index_t pull_from; /* a request is on its way to this member, or GV_NODE_NONE */
    uint64_t pull_until_ms;
} gv_replica_t;

/* How far our own table has come at one peer. */
typedef struct gv_push {
    bool is_known;    /* the cursor is where the peer is, or where what we sent will take it */
    bool is_snapshot; /* the cursor is inside a snapshot */
    uint64_t boot_id; /* of the peer's life all this is about */
    uint64_t cursor;
    uint64_t begin_seq;               /* our version when the snapshot was begun */
    gv_incarnation_t incarnation;     /* of our table, that the cursor belongs to */
    uint64_t pieces[PUSH_PIECES_MAX]; /* to_seq of those sent, not confirmed; oldest first */
    size_t piece_count;
    uint64_t progress_ms;
    uint64_t acked_seq; /* confirmed, complete, of acked_incarnation */
    gv_incarnation_t acked_incarnation;
    bool is_stale; /* confirmed before a pause of ours; see barrier.c */
} gv_push_t;

/* ---- forwarding ------------------------------------------------------------------------------ */

/* An encoded publish, shared by the queues of all nodes it goes to. */
typedef struct gv_forward_body {
    uint32_t refs;
    uint8_t qos;
    size_t size;
    uint8_t data[];
} gv_forward_body_t;

typedef struct gv_forward_item {
    gv_link_t _link;
    uint64_t seq; /* 0: QoS 0, gone as soon as it is sent */
    uint64_t token;
    uint64_t expires_ms; /* or GV_FORWARD_NO_EXPIRY */
    bool was_sent;
    bool is_overdue; /* the host has been asked to keep it as well */
    gv_forward_body_t *body;
} gv_forward_item_t;

/* What has not been confirmed for long; see overdue.c. */
typedef struct gv_overdue {
    uint64_t quiet_ms;       /* since then nothing was confirmed of what is on its way */
    uint64_t asked_ms;       /* when the host was asked last */
    uint64_t pause_until_ms; /* it did not want to be asked before */
    gv_forward_item_t *last; /* it was asked about everything up to this one; NULL: nothing */
    uint64_t bytes;          /* cost of what it was asked about and is on its way still */
    uint32_t backoff;        /* doublings of the patience */
    bool is_quiet;           /* it was asked, and nothing has been confirmed since */
} gv_overdue_t;

typedef struct gv_channel_out {
    gv_list_t items;         /* not confirmed, oldest first */
    gv_forward_item_t *next; /* to be sent next; NULL: nothing */
    uint64_t next_at;        /* how much of it has been sent */
    uint64_t next_cost;      /* ... and what that cost */
    uint64_t unsent_bytes;   /* what the rest, from next on, will cost */
    uint64_t boot_id;        /* the life of the peer that the numbers below are about */
    uint64_t seq;            /* of the newest item */
    uint64_t received;       /* arrived there */
    uint64_t applied;        /* confirmed */
    uint64_t offset;         /* bytes ever sent */
    uint64_t credit;         /* the offset may grow to this */
    uint64_t seen_offset;    /* the peer has seen us come this far */
    uint64_t progress_ms;
    uint32_t backoff;  /* doublings of the resend time */
    bool is_probe_due; /* send a batch, be it empty: the answer tells where we are */
    uint64_t queue_bytes;
    uint64_t queue_count;
    uint64_t path; /* identity of the way last used, see gv__path_identity() */
    gv_overdue_t overdue;
} gv_channel_out_t;

typedef struct gv_delivered {
    uint64_t seq;
    uint64_t cost;
    bool is_applied;
    bool is_refused;
    uint32_t returned_count;
    uint64_t *returned; /* see gv_answer_t */
} gv_delivered_t;

/* How some messages in a row have ended here; see answer.c. */
typedef struct gv_answer {
    uint64_t seq;
    uint64_t count;
    bool is_refused;
    uint32_t returned_count;
    uint64_t *returned; /* keys of groups, or NULL; owned */
} gv_answer_t;

/* A message that comes in pieces. */
typedef struct gv_assembly {
    uint64_t seq;
    uint64_t total; /* 0: nothing is being assembled */
    uint64_t expiry_ms;
    size_t size;
    size_t capacity;
    uint8_t *data;
} gv_assembly_t;

typedef struct gv_channel_in {
    uint64_t boot_id;  /* the origin's life */
    uint32_t epoch;    /* a new one for each life */
    uint64_t received; /* everything up to here was delivered, or will never come */
    gv_fifo_t window;  /* gv_delivered_t: delivered, from the first that is not applied on */
    gv_fifo_t answers; /* gv_answer_t, all below the window; the origin may not have heard them */
    uint64_t unapplied_bytes;
    uint64_t offset;
    uint64_t credit; /* granted; never taken back */
    bool ack_due;
    gv_assembly_t assembly[2]; /* [0]: QoS 0, [1]: the others */
} gv_channel_in_t;

/*
 * What is kept of both channels with a member that is forgotten.  It may not have forgotten us: if
 * the same two lives meet again, numbers that began anew would look like ones it has seen.
 */
typedef struct gv_parting {
    gv_node_id_t id;
    uint64_t out_boot_id;
    uint64_t out_seq;
    uint64_t out_offset;
    uint64_t out_credit;
    uint64_t in_boot_id;
    uint64_t in_received;
    uint64_t in_offset;
    uint64_t in_credit;
    gv_fifo_t in_answers;
} gv_parting_t;

/* ---- members --------------------------------------------------------------------------------- */

/* What a node says about how it sees the others; the rows are by our index. */
typedef struct gv_gossiped_view {
    uint64_t boot_id;
    uint64_t seq; /* 0: none yet */
    uint64_t received_ms;
    uint64_t known; /* mask of rows */
    gv_node_view_t rows[GV_NODES_MAX];
} gv_gossiped_view_t;

struct gv_member {
    gv_node_index_t index;
    gv_node_id_t id;
    char name[GV_NODE_NAME_MAX + 1];
    char address[GV_NODE_ADDRESS_MAX + 1];

    /* the fact */
    gv_incarnation_t incarnation;
    uint32_t claim;
    gv_member_state_t state;
    uint64_t state_ms; /* since when, by our clock; of the dead: as those say who saw it */
    uint64_t down_ms;  /* since when we ourselves do not hold it for alive or suspect */
    uint64_t fact_for; /* mask of peers that should hear the fact */
    bool is_routable;  /* as last told to the host */

    /* evidence */
    uint64_t alive_ms; /* newest sign of life, by anyone's word */
    bool was_heard;
    uint64_t heard_ms; /* over a link of ours */
    uint64_t probed_ms;
    uint32_t rtt_us;

    /* links */
    gv_peer_link_t *active; /* where we send; NULL: no link */
    bool is_linked;         /* it works, both ways */
    uint64_t told_boot_id;  /* its life that has told us whom it knows; 0: none */
    bool was_tried;         /* a dial is over, whatever came of it */
    gv_dial_t dial;

    gv_gossiped_view_t view;
    uint64_t view_for; /* mask of peers this view should be passed on to */
    gv_node_index_t relay;

    gv_replica_t replica; /* for ourselves: only .table is used */
    gv_push_t push;
    bool digest_due; /* it is behind us in something */
    gv_channel_out_t out;
    gv_channel_in_t in;
};

/* A member that was forgotten by word of an operator; see forget.c. */
typedef struct gv_tombstone {
    gv_node_id_t id;
    gv_incarnation_t incarnation;
    uint32_t claim;
    uint64_t made_ms;  /* by our clock */
    uint64_t told_for; /* mask of peers that should hear of it */
} gv_tombstone_t;

typedef struct gv_barrier_entry {
    uint64_t token;
    uint64_t seq;
    uint64_t until_ms;
} gv_barrier_entry_t;

typedef struct gv_withdrawal {
    gv_row_t *row;
    uint64_t due_ms;
} gv_withdrawal_t;

typedef struct gv_result {
    uint64_t token;
    gv_node_index_t node;
    gv_forward_result_t result;
    uint64_t expires_ms;
    gv_forward_body_t *lost; /* NULL: it need not be told */
} gv_result_t;

struct gv_ccore {
    gv_ccore_ports_t ports;
    gv_ccore_timing_t timing;
    gv_ccore_limits_t limits;
    gv_ccore_switches_t switches;
    gv_ccore_stats_t stats;
    char cluster[GV_NODE_NAME_MAX + 1];
    gv_rng_t rng;
    uint64_t table_seed;
    uint64_t now_ms;
    uint64_t woke_ms;   /* end of our last pause; 0: none yet */
    bool in_port_phase; /* a call that may run ports is on: no other may begin */
    bool is_leaving;
    bool said_goodbye;

    gv_member_t *members[GV_NODES_MAX];
    size_t member_end; /* one more than the highest index in use */
    gv_list_t links;
    gv_seed_t *seeds;
    size_t seed_count;
    uint64_t dial_token;
    bool is_introduced; /* somebody has told us whom he knows */

    uint32_t foreign_claims; /* times we met a newer life of ourselves */
    uint64_t foreign_ms;
    uint64_t gossip_ms; /* next digest */
    uint64_t view_ms;   /* next view of ours */
    uint64_t view_sent_ms;
    uint64_t view_seq;

    gv_fifo_t withdrawals; /* gv_row_t *, in the order of their first due time */
    gv_fifo_t barriers;    /* gv_barrier_entry_t, in the order of seq */
    gv_list_t notes;       /* note.c: to be sent in the next flush */
    struct gv_directory *directory;
    gv_fifo_t results; /* gv_result_t, to be told in the next flush */
    uint32_t epoch;    /* last given to an incoming channel */
    bool credit_paused;
    gv_tombstone_t tombstones[GV_NODES_MAX]; /* in no order */
    size_t tombstone_count;
    gv_parting_t partings[GV_NODES_MAX]; /* the newest ones; a ring */
    size_t parting_count;                /* ever */

    gv_bytes_t shared[GV_FORWARD_SHARED_MAX]; /* of the message being delivered */
    gv_arena_t arena;
    uint8_t *scratch; /* for packing */
    size_t scratch_capacity;
};

/* ---- core.c ---------------------------------------------------------------------------------- */

static inline gv_member_t *gv__self(const gv_ccore_t *core)
{
    return core->members[GV_NODE_SELF];
}

static inline uint64_t gv__bit(const gv_member_t *m)
{
    return (uint64_t)1 << m->index;
}

/* All members but ourselves: `m` is set in the body. */
#define gv__foreach_peer(core, m)                               \
    for (size_t m##_i = 1; m##_i < (core)->member_end; m##_i++) \
        for (gv_member_t *m = (core)->members[m##_i]; m != NULL; m = NULL)

/* Room for packing, valid until the next use. */
uint8_t *gv__scratch(gv_ccore_t *core, size_t size);

/* Arena memory for building our own messages, zeroed; bounded by what we build, so never NULL. */
void *gv__build(gv_ccore_t *core, size_t count, size_t size);

void gv__send(gv_ccore_t *core, const gv_peer_link_t *link, gv_frame_kind_t kind,
              const ProtobufCMessage *msg);

/* Says goodbye with the reason, closes the link and forgets it. */
void gv__close(gv_ccore_t *core, gv_peer_link_t *link, gv_link_close_t reason, const char *text);

void gv__report(gv_ccore_t *core, gv_ccore_event_t event, const char *format, ...) GV_PRINTF(3, 4);

uint64_t gv__since(const gv_ccore_t *core, uint64_t then_ms);

void gv__fifo_init(gv_fifo_t *fifo, size_t entry_size);
void gv__fifo_deinit(gv_fifo_t *fifo);
void gv__fifo_push(gv_fifo_t *fifo, const void *entry);
void *gv__fifo_peek(const gv_fifo_t *fifo); /* NULL when empty */
void gv__fifo_pop(gv_fifo_t *fifo);
size_t gv__fifo_count(const gv_fifo_t *fifo);
void *gv__fifo_at(const gv_fifo_t *fifo, size_t i);

/* ---- peers.c --------------------------------------------------------------------------------- */

void gv__peers_tick(gv_ccore_t *core);
void gv__peers_forgive_silence(gv_ccore_t *core);
gv_peer_link_t *gv__peer_link(const gv_ccore_t *core, gv_link_id_t id);
void gv__link_forget(gv_ccore_t *core, gv_peer_link_t *link);
bool gv__link_is_current(const gv_peer_link_t *link);
void gv__link_heard(gv_ccore_t *core, gv_peer_link_t *link);
void gv__close_other_lives(gv_ccore_t *core, gv_member_t *m);
bool gv__on_heartbeat(gv_ccore_t *core, gv_peer_link_t *link, const Gv__Heartbeat *msg);
bool gv__on_goodbye(gv_ccore_t *core, gv_peer_link_t *link, const Gv__Refused *msg);
void gv__on_link_opened(gv_ccore_t *core, gv_link_id_t id, const gv_peer_identity_t *peer,
                        uint64_t dial_token);
void gv__on_link_closed(gv_ccore_t *core, gv_link_id_t id);
void gv__on_dial_failed(gv_ccore_t *core, uint64_t token);

/* ---- member.c -------------------------------------------------------------------------------- */

gv_member_t *gv__member_by_id(const gv_ccore_t *core, const gv_node_id_t *id);
/* A new member, alive as of now; NULL when the cluster is full. */
gv_member_t *gv__member_add(gv_ccore_t *core, const gv_node_id_t *id, gv_incarnation_t incarnation);
void gv__member_free(gv_ccore_t *core, gv_member_t *m);
void gv__member_forget(gv_ccore_t *core, gv_member_t *m);
void gv__member_set_state(gv_ccore_t *core, gv_member_t *m, gv_member_state_t state);
/* Another life of the node is the current one from now on. */
void gv__member_set_incarnation(gv_ccore_t *core, gv_member_t *m, gv_incarnation_t incarnation);
void gv__member_evidence(gv_ccore_t *core, gv_member_t *m, uint64_t boot_id, uint64_t ago_ms);
void gv__member_link_lost(gv_ccore_t *core, gv_member_t *m);
void gv__members_tick(gv_ccore_t *core);
void gv__members_forgive_silence(gv_ccore_t *core);
bool gv__on_facts(gv_ccore_t *core, gv_peer_link_t *link, const Gv__Facts *msg);
bool gv__on_probe(gv_ccore_t *core, gv_peer_link_t *link, const Gv__Probe *msg);
bool gv__on_probe_answer(gv_ccore_t *core, gv_peer_link_t *link, const Gv__ProbeAnswer *msg);
/* Somebody says that this life of ours, under this claim, is not up: contradicts him. */
void gv__refute(gv_ccore_t *core, const gv_member_t *teller, gv_incarnation_t incarnation,
                uint32_t claim);
/* Somebody remembers a newer life of us: be newer still. */
void gv__raise_start_counter(gv_ccore_t *core, gv_incarnation_t seen);

static inline bool gv__is_up(gv_member_state_t state)
{
    return state == GV_MEMBER_ALIVE || state == GV_MEMBER_SUSPECT;
}

/* ---- remember.c ------------------------------------------------------------------------------ */

/* Nobody has said anything about it in this run. */
bool gv__is_remembered(const gv_member_t *m);

/* ---- forget.c -------------------------------------------------------------------------------- */

void gv__tombstones_tick(gv_ccore_t *core);
/*
 * Whether a fact is about a forgotten member; then the teller will be told.  A fact that is newer
 * than the tombstone ends it.
 */
bool gv__is_forgotten(gv_ccore_t *core, const gv_member_t *teller, const gv_node_id_t *id,
                      gv_incarnation_t incarnation, uint32_t claim, gv_member_state_t state);
bool gv__on_forgotten(gv_ccore_t *core, const gv_member_t *teller, const Gv__Forgotten *msg);
/* What the peer is to hear now, in arena memory; it counts as told. */
size_t gv__forgotten_for(gv_ccore_t *core, const gv_member_t *peer, Gv__Forgotten ***list_out);
/* Changes the masks of all tombstones: a peer is new, or a member is forgotten. */
void gv__tombstones_mask(gv_ccore_t *core, uint64_t keep, uint64_t add);

/* ---- gossip.c -------------------------------------------------------------------------------- */

void gv__gossip_session(gv_ccore_t *core, gv_member_t *m); /* a peer has a new active link */
void gv__gossip_tick(gv_ccore_t *core);
void gv__gossip_flush(gv_ccore_t *core);
void gv__send_fact(gv_ccore_t *core, gv_peer_link_t *link, const gv_member_t *about);
void gv__own_view_changed(gv_ccore_t *core);
gv_node_view_t gv__view_of(const gv_ccore_t *core, const gv_member_t *m);
bool gv__on_view(gv_ccore_t *core, gv_peer_link_t *link, const Gv__View *msg);

/* The link to send by towards m, itself or a relay; NULL: no path. */
gv_peer_link_t *gv__path(const gv_ccore_t *core, const gv_member_t *m);
void gv__choose_paths(gv_ccore_t *core);
/* Changes whenever something sent before may have been lost; 0: no path. */
uint64_t gv__path_identity(const gv_ccore_t *core, const gv_member_t *m);

/* ---- routes.c -------------------------------------------------------------------------------- */

void gv__routes_tick(gv_ccore_t *core);
void gv__routes_flush(gv_ccore_t *core);
uint64_t gv__routes_deadline(const gv_ccore_t *core);
bool gv__on_table_ack(gv_ccore_t *core, gv_peer_link_t *link, const Gv__TableAck *msg);
/* One piece of `table` after from_seq, about limits.piece_bytes long, into *piece. */
void gv__build_piece(gv_ccore_t *core, const gv_member_t *owner, bool is_snapshot,
                     uint64_t from_seq, Gv__TablePiece *piece);

/* ---- barrier.c ------------------------------------------------------------------------------- */

void gv__barriers_flush(gv_ccore_t *core);
uint64_t gv__barriers_deadline(const gv_ccore_t *core);
/* We have slept: what was confirmed before says nothing any more. */
void gv__barriers_woke(gv_ccore_t *core);
/* Whether m has confirmed our rows as they are now, and does not hide them. */
bool gv__has_our_rows(const gv_ccore_t *core, const gv_member_t *m);

/* ---- arrival.c ------------------------------------------------------------------------------- */

/* Who is behind the link has told us of all members it knows. */
void gv__arrival_told(gv_ccore_t *core, const gv_peer_link_t *link);

/* ---- detour.c -------------------------------------------------------------------------------- */

void gv__detours_flush(gv_ccore_t *core);
/* A member we have no link to has our rows up to seq; its word came over `link`. */
void gv__detour_confirmed(gv_ccore_t *core, gv_member_t *m, const gv_peer_link_t *link,
                          gv_incarnation_t incarnation, uint64_t seq);
bool gv__on_relayed_ack(gv_ccore_t *core, gv_peer_link_t *link, const Gv__RelayedAck *msg,
                        bool may_pass_on);

/* ---- replica.c ------------------------------------------------------------------------------- */

void gv__replica_init(gv_ccore_t *core, gv_replica_t *replica);
void gv__replica_deinit(gv_replica_t *replica);
/* Withdraws all rows from the host and forgets the version. */
void gv__replica_purge(gv_ccore_t *core, gv_member_t *owner);
void gv__replicas_tick(gv_ccore_t *core);
void gv__replicas_flush(gv_ccore_t *core);
void gv__send_digest(gv_ccore_t *core, gv_peer_link_t *link, bool is_answer);
/* The same of some tables only; the peer does not answer with what it thinks we lack. */
void gv__send_versions(gv_ccore_t *core, gv_peer_link_t *link, const gv_member_t *const *owners,
                       size_t count);
bool gv__on_digest(gv_ccore_t *core, gv_peer_link_t *link, const Gv__Digest *msg);
bool gv__on_table_piece(gv_ccore_t *core, gv_peer_link_t *link, const Gv__TablePiece *msg,
                        bool is_answer);
bool gv__on_table_request(gv_ccore_t *core, gv_peer_link_t *link, const Gv__TableRequest *msg);

/* ---- forward.c and receive.c ----------------------------------------------------------------- */

void gv__channel_out_init(gv_channel_out_t *out);
/* Another life of the peer: everything unconfirmed goes to it, from the beginning. */
void gv__channel_out_restart(gv_ccore_t *core, gv_member_t *m);
/* The peer is gone: its queue is confirmed as such. */
void gv__channel_out_abandon(gv_ccore_t *core, gv_member_t *m);
/* Both channels: m is about to be forgotten, nothing waits for it; m is new, or known again. */
void gv__channels_part(gv_ccore_t *core, gv_member_t *m);
void gv__channels_resume(gv_ccore_t *core, gv_member_t *m);
void gv__partings_deinit(gv_ccore_t *core);
/* Frees the queue without telling anybody. */
void gv__channel_out_deinit(gv_channel_out_t *out);
/* What the whole of it costs in credit, piece by piece. */
uint64_t gv__forward_cost(const gv_ccore_t *core, const gv_forward_body_t *body);
/* It decoded; valid until another one is. */
gv_forward_t gv__forward_message(gv_ccore_t *core, const gv_forward_body_t *body,
                                 uint64_t expires_ms);
void gv__forward_flush(gv_ccore_t *core);
/* Tells the host what has become of its publishes; frees what it was not told. */
void gv__results_flush(gv_ccore_t *core);
void gv__results_deinit(gv_ccore_t *core);
void gv__on_forward_ack(gv_ccore_t *core, gv_member_t *m, const Gv__ForwardAck *msg);

void gv__channel_in_init(gv_channel_in_t *in);
void gv__channel_in_deinit(gv_channel_in_t *in);
/*
 * The channel is given up, but the origin may ask again: what it has not heard, with the verdict
 * that it was refused over what nobody knows yet.  The caller's, in gv__answers_deinit()'s care.
 */
gv_fifo_t gv__channel_in_take_answers(gv_channel_in_t *in);
void gv__receive_flush(gv_ccore_t *core);
/* The batch or acknowledgement may be for somebody else: then it is passed on.  False: malformed.
 */
bool gv__on_forward(gv_ccore_t *core, gv_peer_link_t *link, gv_frame_kind_t kind, gv_bytes_t body);

/* ---- overdue.c ------------------------------------------------------------------------------- */

/* Asks the host to keep what has not been confirmed for long. */
void gv__overdue_flush(gv_ccore_t *core);
/* Something is about to be confirmed. */
void gv__overdue_progress(const gv_ccore_t *core, gv_channel_out_t *out);
/* It was us who slept. */
void gv__overdue_forgive_silence(gv_ccore_t *core);

/* ---- note.c ---------------------------------------------------------------------------------- */

void gv__notes_flush(gv_ccore_t *core);
void gv__notes_deinit(gv_ccore_t *core);

/* ---- directory_link.c ------------------------------------------------------------------------ */

void gv__directory_init(gv_ccore_t *core);
void gv__directory_flush(gv_ccore_t *core);
uint64_t gv__directory_deadline(const gv_ccore_t *core);
bool gv__on_directory(gv_ccore_t *core, const gv_peer_link_t *link, const Gv__DirectoryNote *msg,
                      bool may_pass_on);

/* ---- answer.c -------------------------------------------------------------------------------- */

void gv__answers_init(gv_fifo_t *answers);
void gv__answers_deinit(gv_fifo_t *answers);
/* Takes a delivery that has been applied, in the order of seq: nothing is kept if all is well. */
void gv__answers_add(gv_fifo_t *answers, const gv_delivered_t *delivered);
/* The origin has heard everything below that. */
void gv__answers_forget(gv_fifo_t *answers, uint64_t below);
/*
 * Puts as many answers into the acknowledgement as fit.  Returns up to where it then says
 * everything: `applied`, or less.
 */
uint64_t gv__answers_pack(gv_ccore_t *core, const gv_fifo_t *answers, uint64_t applied,
                          Gv__ForwardAck *ack);

/* The answer about a message, or NULL: all is well.  Ask in the order of seq, with *at = 0 first.
 */
const Gv__ForwardAnswer *gv__answer_about(const Gv__ForwardAck *ack, uint64_t seq, size_t *at);
/*
 * The encoded message of an item as it was returned, for the returned groups only; NULL if the
 * answer names none of its groups.  One reference, the caller's.
 */
gv_forward_body_t *gv__answer_body(gv_ccore_t *core, const gv_forward_body_t *body,
                                   const Gv__ForwardAnswer *answer);

/* forward.c: one reference, not counted yet (refs is 0). */
gv_forward_body_t *gv__forward_body_new(const gv_forward_t *msg);
