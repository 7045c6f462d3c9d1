/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_ccore: the cluster brain of one node, as one deterministic machine.
 *
 * It knows who the members are, replicates the route tables, and carries publishes to other nodes
 * exactly once and in order.  It makes no system call: inputs come in through the functions below,
 * effects go out through gv_ccore_ports_t, the time is what gv_ccore_tick() said last, and all
 * randomness comes from one seed.  cluster/link puts it on sockets; tests/sim runs whole clusters
 * of it in one process.
 *
 * Life cycle: gv_ccore_new() - one loop turn after another - gv_ccore_leave() on a clean shutdown
 * and a last gv_ccore_flush() - gv_ccore_free().
 *
 * A turn of the host:
 *     gv_ccore_tick(core, now)        first, always: it sets the time for all that follows
 *     inputs and local calls          in any number and order
 *     gv_ccore_flush(core)            last: sends what has gathered, answers what can be answered
 *     sleep until gv_ccore_next_deadline_ms() or the next input
 *
 * When ports run: only from within gv_ccore_tick(), gv_ccore_flush() and the inputs
 * gv_ccore_link_opened(), _link_closed(), _link_frame(), _dial_failed().  The local calls
 * (route_set, barrier, publish, applied, claim, leave, forget, remember) never call a port: their
 * effects come out of the next flush.  A port must not call the core, except for the functions
 * marked "const" (asserted): it writes down what happened, and the host acts on it after the call
 * has returned.
 *
 * Threads: the cluster loop's only.  Memory: what a peer can make us hold is bounded by
 * gv_ccore_limits_t; whoever goes over a limit, or sends bytes that make no sense, loses its link
 * with a reason and nothing else happens.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/defs.h"
#include "base/err.h"
#include "cluster/core/frame_kind.h"
#include "cluster/core/keytable.h"
#include "cluster/core/switches.h"

/* ---- names --------------------------------------------------------------------------------- */

/* Members there can be, ourselves included: a set of nodes is one uint64_t. */
#define GV_NODES_MAX 64U

/*
 * A small number for a member, this process's own: other nodes number differently.  Stable until
 * the member is forgotten (port `node` with GV_NODE_FORGOTTEN).  Our own index is always 0.
 */
typedef uint8_t gv_node_index_t;
#define GV_NODE_SELF ((gv_node_index_t)0)
#define GV_NODE_NONE ((gv_node_index_t)255)

#define GV_NODE_ID_SIZE            16U
#define GV_NODE_NAME_MAX           63U  /* node and cluster names [bytes] */
#define GV_NODE_ADDRESS_MAX        255U /* "host:port" [bytes] */
#define GV_ROUTE_KEY_MAX           65535U
#define GV_SEEDS_MAX               256U
#define GV_PROTOCOL_VERSION        1U /* newest version of the peer protocol we speak */
#define GV_PROTOCOL_VERSION_OLDEST 1U

/* Random, made once, lives in the data directory. */
typedef struct gv_node_id {
    uint8_t bytes[GV_NODE_ID_SIZE];
} gv_node_id_t;

/*
 * Which life of a node: ordered by start_counter, then boot_id.  The counter is raised and stored
 * before a node sends anything; the boot id is random at each start, so that a restored backup or a
 * lost volume cannot make two lives look the same.
 */
typedef struct gv_incarnation {
    uint64_t start_counter;
    uint64_t boot_id;
} gv_incarnation_t;

/* What a node says about itself in the handshake; texts are NUL-terminated. */
typedef struct gv_peer_identity {
    gv_node_id_t id;
    gv_incarnation_t incarnation;
    uint32_t protocol; /* the version both sides agreed on */
    char cluster[GV_NODE_NAME_MAX + 1];
    char name[GV_NODE_NAME_MAX + 1];
    char address[GV_NODE_ADDRESS_MAX + 1]; /* where others can dial it; "" if nowhere */
} gv_peer_identity_t;

/* Who a member is, for hosts that remember members over restarts; texts are NUL-terminated. */
typedef struct gv_remembered {
    gv_node_id_t id;
    char name[GV_NODE_NAME_MAX + 1];
    char address[GV_NODE_ADDRESS_MAX + 1]; /* "" if unknown */
    uint64_t gone_ms;                      /* it has been away for so long already */
} gv_remembered_t;

/* Chosen by the host, never 0, never used twice in the life of a process. */
typedef uint64_t gv_link_id_t;

typedef enum gv_link_priority {
    GV_LINK_CONTROL, /* overtakes data; small frames */
    GV_LINK_DATA,    /* publishes */
} gv_link_priority_t;

/* Why the core closes a link.  The text that goes with it says what exactly. */
typedef enum gv_link_close {
    GV_LINK_CLOSE_MALFORMED, /* a frame that cannot be decoded; on the wire this is 1, and so on */
    GV_LINK_CLOSE_LIMIT,     /* a limit on what peers may send */
    GV_LINK_CLOSE_REPLACED,  /* another link to the same peer is kept */
    GV_LINK_CLOSE_SELF,      /* we dialled ourselves */
    GV_LINK_CLOSE_DUPLICATE, /* another live process uses this node id */
    GV_LINK_CLOSE_STALE,     /* an older life of a node we know a newer life of */
    GV_LINK_CLOSE_CLUSTER,   /* another cluster's name */
    GV_LINK_CLOSE_VERSION,   /* no protocol version in common */
    GV_LINK_CLOSE_FULL,      /* GV_NODES_MAX members already */
    GV_LINK_CLOSE_SILENT,    /* nothing heard, or our stamps are not echoed */
    GV_LINK_CLOSE_LEAVING,   /* one of the two nodes is shutting down */
    GV_LINK_CLOSE_SECRET,    /* handshake: the shared secrets differ */
    GV_LINK_CLOSE_NO_SECRET, /* handshake: one side has a shared secret and the other has none */
    GV_LINK_CLOSE_TIMEOUT,   /* handshake: not through in time */
} gv_link_close_t;

const char *gv_link_close_text(gv_link_close_t reason);

/* ---- members ------------------------------------------------------------------------------- */

/*
 *                 silence, or our link broke          suspect_ms over
 *      ALIVE ------------------------------> SUSPECT -----------------> DEAD
 *        ^  <-- the node itself refutes -------'                          |
 *        '------- the node itself refutes, or comes back ----------------'
 *      any --- the node says so ---> LEFT --- a new incarnation ---> ALIVE
 */
typedef enum gv_member_state {
    GV_MEMBER_ALIVE = 1,
    GV_MEMBER_SUSPECT = 2,
    GV_MEMBER_DEAD = 3,
    GV_MEMBER_LEFT = 4,
} gv_member_state_t;

const char *gv_member_state_text(gv_member_state_t state);

/* What the host is told about the use of a node's rows (port `node`). */
typedef enum gv_node_event {
    GV_NODE_ROUTABLE,  /* alive or suspect: its rows count */
    GV_NODE_HIDDEN,    /* dead or left: its rows stay known, but must not attract messages */
    GV_NODE_FORGOTTEN, /* all its rows have been withdrawn one by one; the index is free again */
} gv_node_event_t;

/* One node's view of another, as gossiped: any node can show every node's view of every other. */
typedef struct gv_node_view {
    gv_member_state_t state; /* by anyone's word */
    bool is_linked;          /* the viewer itself has a working link, both ways */
    gv_incarnation_t incarnation;
    uint32_t claim;    /* how often that life of the node has refuted */
    uint32_t heard_ms; /* since anything came from it over a link; UINT32_MAX: never */
    uint32_t rtt_us;   /* 0: not measured */
    gv_incarnation_t table_incarnation;
    uint64_t table_seq;  /* of the viewer's copy of that node's routes */
    uint64_t table_hash; /* 0 while the copy is on its way */
    uint64_t table_rows;
} gv_node_view_t;

typedef struct gv_member_status {
    gv_node_id_t id;
    char name[GV_NODE_NAME_MAX + 1];
    char address[GV_NODE_ADDRESS_MAX + 1];
    gv_node_view_t view;  /* ours */
    uint64_t view_age_ms; /* of the views it gossips; 0 for ourselves; UINT64_MAX: none */
    uint64_t table_bytes; /* memory of our copy of its routes */
    uint64_t acked_seq;   /* of our own routes, confirmed by it */
    uint64_t forward_queued_messages; /* waiting here for it, sent or not */
    uint64_t forward_queued_bytes;
    gv_node_index_t relay; /* GV_NODE_NONE: direct or no path at all */
    bool has_path;
} gv_member_status_t;

/* ---- forwarding ---------------------------------------------------------------------------- */

/* Names a publish for ever. */
typedef struct gv_uid {
    gv_node_id_t node;
    uint64_t boot_id;
    uint64_t seq;
} gv_uid_t;

#define GV_FORWARD_NO_EXPIRY  UINT64_MAX
#define GV_FORWARD_SHARED_MAX 1024U

/*
 * What a message is called on the sender's disk, if it is there and must not come twice; all 0: it
 * is not.  The hosts' business (broker/core/inbox.h).
 */
typedef struct gv_forward_exact {
    uint64_t run;      /* of the process that has numbered it: random */
    uint64_t number;   /* from 1 */
    uint64_t previous; /* was sent before it and is not known to be settled; 0: none, always for
                          the first one of a run */
} gv_forward_exact_t;

/* Which write of a retained message it is, for hosts that let the last one win; all 0: none. */
typedef struct gv_forward_write {
    uint64_t hlc;        /* a stamp (base/hlc.h) ... */
    gv_node_id_t writer; /* ... and the node that has given it; all 0: the origin */
    uint8_t qos;         /* of a copy: what the message was published with */
    bool is_copy;        /* for the host's table only, not for those who have subscribed */
} gv_forward_write_t;

/* A publish between nodes.  All views are borrowed for the length of the call it is passed to. */
typedef struct gv_forward {
    gv_bytes_t topic;
    gv_bytes_t payload;
    gv_bytes_t properties; /* those that travel with the message, encoded by the host; opaque */
    gv_bytes_t publisher;  /* client id, for "no local"; may be empty */
    const gv_bytes_t
        *shared;         /* $share filters for which the receiving node is to choose a member */
    size_t shared_count; /* at most GV_FORWARD_SHARED_MAX */
    gv_uid_t uid;
    uint64_t expiry_ms; /* what is left of it now, or GV_FORWARD_NO_EXPIRY */
    gv_forward_exact_t exact;
    gv_forward_write_t write;
    uint8_t qos; /* of the publish, 0..2; above 0 it travels reliably */
    bool retain;
    bool is_for_groups; /* for members of `shared` only: it goes on from one to another */
} gv_forward_t;

/* Names a delivered message towards gv_ccore_applied(); copied, not interpreted, by the host. */
typedef struct gv_delivery {
    uint64_t seq; /* 0 for QoS 0: nothing to confirm */
    uint32_t epoch;
    gv_node_index_t from; /* the origin, whatever the path was */
} gv_delivery_t;

/* What has become of a delivery at its host.  All zero: everybody who is to have it has it. */
typedef struct gv_delivery_outcome {
    bool is_refused;          /* somebody cannot have it, for lack of room */
    const uint64_t *returned; /* gv_forward_group_key() of `shared` groups without a member here */
    size_t returned_count;
} gv_delivery_outcome_t;

/* How nodes name a group to each other that both know. */
static inline uint64_t gv_forward_group_key(gv_bytes_t share_filter)
{
    return gv_bytes_hash(share_filter, 0);
}

typedef enum gv_forward_result {
    GV_FORWARD_APPLIED, /* the peer's host said `applied` */
    /*
     * The peer is dead, has left or is unknown.  It may have the message all the same: it may have
     * applied it without our hearing of it, and a node that was only cut off and comes back in the
     * same life keeps what reached it before the cut.
     */
    GV_FORWARD_GONE,
    /*
     * The same for a message of QoS 2 that had been sent, so that it must not be sent once more; or
     * we are leaving, and it will not be.
     */
    GV_FORWARD_IN_DOUBT,
    GV_FORWARD_FULL,    /* the queue for that peer is at its limit: refuse the publisher (0x97) */
    GV_FORWARD_REFUSED, /* the peer's host has no room for all of it: refuse the publisher (0x97) */
    /* Applied, but for groups whose last member there has left: members elsewhere are to have it.
     */
    GV_FORWARD_RETURNED,
} gv_forward_result_t;

enum {
    GV_FORWARD_RESULTS = GV_FORWARD_RETURNED + 1
};

/* ---- directory (directory.h) ------------------------------------------------------------------
 */

/* Who of the host holds a connection: numbers of its own. */
typedef struct gv_holder {
    uint64_t token;
    uint16_t desk;
} gv_holder_t;

static inline bool gv_holder_equal(gv_holder_t a, gv_holder_t b)
{
    return a.token == b.token && a.desk == b.desk;
}

/* A connection that says it is the one of a client id. */
typedef struct gv_claim {
    gv_id_key_t key; /* of the id */
    uint64_t hlc;    /* when it has come: a stamp of this node (base/hlc.h) */
    uint32_t user;   /* a hash of who has logged in; 0: nobody */
    gv_holder_t holder;
} gv_claim_t;

typedef enum gv_claim_verdict {
    GV_CLAIM_GRANTED,
    GV_CLAIM_LATE,   /* granted, but it is not known that nobody else has one */
    GV_CLAIM_LOST,   /* a newer one has come meanwhile, here or elsewhere */
    GV_CLAIM_DENIED, /* the id is somebody else's */
} gv_claim_verdict_t;

/* A connection of this node that is to be closed because there is a newer one elsewhere. */
typedef struct gv_letting {
    gv_id_key_t key;
    uint64_t hlc;        /* of the newer one */
    gv_node_id_t winner; /* the node that has it */
    uint64_t boot_id;    /* of the registrar that waits for the answer */
    gv_holder_t holder;
    gv_node_index_t registrar;
} gv_letting_t;

typedef struct gv_directory_stats {
    uint64_t registered; /* connections of all nodes that are registered here: gauge */
    uint64_t held;       /* connections of this node that are known to the directory: gauge */
    uint64_t claims;
    uint64_t claims_granted; /* in time, as all other answers are; */
    uint64_t claims_late;    /* ... granted without an answer */
    uint64_t claims_lost;
    uint64_t claims_denied;
    uint64_t claims_again;        /* stamps that were too low, because a clock is wrong */
    uint64_t let_go;              /* connections of this node that lost to a newer one elsewhere */
    uint64_t registrations_sent;  /* and withdrawals */
    uint64_t registrations_begun; /* times that a registrar was told everything anew */
    uint64_t registrations_refused; /* not registered here, for there are too many */
} gv_directory_stats_t;

/* ---- ports --------------------------------------------------------------------------------- */

typedef enum gv_ccore_event {
    GV_CCORE_EVENT_DUPLICATE_IDENTITY, /* two live processes with one node id: ours or a peer's */
    GV_CCORE_EVENT_REFUSED_PEER,       /* wrong cluster, version, cluster full, ... */
    GV_CCORE_EVENT_TABLE_MISMATCH,     /* equal version, unequal hash: a bug, healed by snapshot */
    GV_CCORE_EVENT_MEMBER,             /* a member changed its state */
    GV_CCORE_EVENT_LINK,               /* a link came up, went down or was closed */
} gv_ccore_event_t;

typedef struct gv_ccore_ports {
    /*
     * Queues a frame on a link.  Never fails; frames of one priority stay in order, control may
     * overtake data at every frame border.  `body` is valid during the call only.
     */
    void (*send)(gv_link_id_t link, gv_link_priority_t priority, gv_frame_kind_t kind,
                 gv_bytes_t body, void *arg);
    /*
     * Asks for a connection and a handshake.  Answered once, later, by gv_ccore_link_opened() or
     * gv_ccore_dial_failed() with the same token (never 0).
     */
    void (*dial)(const char *address, uint64_t token, void *arg);
    /*
     * Closes a link after what was queued on its control priority (the core has sent a
     * GV_FRAME_GOODBYE with the reason).  The core has forgotten the link already: nothing need be
     * reported about it any more.
     */
    void (*close)(gv_link_id_t link, gv_link_close_t reason, const char *text, void *arg);
    /*
     * A row of a remote node changed: value 0 means withdrawn.  Comes for hidden nodes too, so that
     * the host may keep the rows and mask whole nodes.
     */
    void (*row)(gv_node_index_t node, gv_bytes_t key, uint32_t value, void *arg);
    /* A remote node became routable, hidden or forgotten.  A new one starts hidden. */
    void (*node)(gv_node_index_t node, gv_node_event_t event, void *arg);
    /*
     * A publish from another node, QoS >= 1 once and in the order of its origin.  The host answers
     * a delivery with seq != 0 by gv_ccore_applied(), later, in any order.
     */
    void (*deliver)(const gv_delivery_t *delivery, const gv_forward_t *msg, void *arg);
    /*
     * What became of a QoS >= 1 publish at one node: exactly one call for each node in its mask.
     *
     * `lost` is the message, with GV_FORWARD_RETURNED, _GONE and _IN_DOUBT; else NULL.  NULL also
     * if we are leaving.  With GV_FORWARD_RETURNED its `shared` are the groups that did not get it:
     * members elsewhere are to have it.  With GV_FORWARD_GONE nobody knows who has it; at QoS 1
     * somebody may get it once more.  What was on its way to a node that is given up comes back
     * within that call, in order: before anything can be published to the node again.
     */
    void (*confirmed)(uint64_t token, gv_node_index_t node, gv_forward_result_t result,
                      const gv_forward_t *lost, void *arg);
    /*
     * Nothing has been confirmed by a node for timing.overdue, this publish of QoS >= 1 is on its
     * way there, and the host may want to keep it somewhere else as well, so that its publisher
     * need not wait until it is known whether the node is dead.  It stays on its way, and
     * `confirmed` comes as always, with the token that `*token` is set to.  In the order of
     * publishing and once for each; false: not now, ask again.
     */
    bool (*overdue)(uint64_t *token, gv_node_index_t node, const gv_forward_t *msg, void *arg);
    /* A note of a linked node's host; `body` is borrowed for the call. */
    void (*note)(gv_node_index_t node, gv_frame_kind_t kind, gv_bytes_t body, void *arg);
    /* The answer to gv_ccore_claim(), once; its hlc is what the connection has from now on. */
    void (*claimed)(const gv_claim_t *claim, gv_claim_verdict_t verdict, void *arg);
    /* A connection has to be closed; the host answers by gv_ccore_let_gone() when it is. */
    void (*let_go)(const gv_letting_t *letting, void *arg);
    /* A barrier is through; `in_time` is false when the bound was hit instead. */
    void (*barrier)(uint64_t token, bool in_time, void *arg);
    /*
     * Our start counter had to be raised because others remember a newer life of us.  The host
     * stores it; that may take its time (the boot id protects meanwhile).
     */
    void (*start_counter)(uint64_t start_counter, void *arg);
    /* Something the operator should know; `text` is one line of printable text. */
    void (*report)(gv_ccore_event_t event, const char *text, void *arg);
    void *arg;
} gv_ccore_ports_t;

/* ---- options ------------------------------------------------------------------------------- */

/* All in milliseconds. */
typedef struct gv_ccore_timing {
    uint32_t heartbeat;      /* between heartbeats on a link */
    uint32_t silence;        /* nothing heard for this long: ask others about the node */
    uint32_t probe;          /* nobody else has heard it for this long either: suspect */
    uint32_t suspect;        /* from suspect to dead, unless refuted */
    uint32_t echo;           /* our stamps not echoed for this long: the link is not up */
    uint32_t gossip;         /* between two digests to a random peer */
    uint32_t view;           /* between two views, while nothing changes; grows with the cluster */
    uint32_t dial_min;       /* first pause before dialling again */
    uint32_t dial_max;       /* longest pause; each is jittered by half */
    uint32_t withdraw;       /* a withdrawn route is announced so much later */
    uint32_t barrier;        /* longest wait of a barrier */
    uint32_t resend_relayed; /* no progress of a forward channel: send again, relayed path */
    uint32_t resend_direct;  /* same, direct link (where nothing is lost: a safety net) */
    uint32_t overdue;        /* nothing confirmed by a node for this long: the host may want to keep
                                what is on its way there (port `overdue`); 0: it does not */
    uint32_t claim;          /* longest wait of a claim */
    uint64_t purge;          /* rows of a dead or departed node are dropped, its name is kept */
    uint64_t forget;         /* a dead or departed node is forgotten altogether */
} gv_ccore_timing_t;

typedef struct gv_ccore_limits {
    uint64_t table_rows;            /* of one remote node */
    uint64_t table_bytes;           /* of one remote node */
    uint64_t forward_queue_bytes;   /* waiting for one node; one message always fits */
    uint64_t overdue_bytes;         /* so much of it the host is asked to keep as well */
    uint64_t forward_window_bytes;  /* credit we grant to each node */
    uint64_t forward_message_bytes; /* longest message accepted from a node */
    uint32_t tombstones;            /* kept per table before the oldest are dropped */
    uint64_t registered_max;        /* connections registered here; more are granted, not kept */
    uint32_t piece_bytes;           /* about what one table piece or forward batch may hold */
} gv_ccore_limits_t;

typedef struct gv_ccore_options {
    gv_peer_identity_t self;  /* .protocol is not used */
    const char *const *seeds; /* "host:port"; copied */
    size_t seed_count;
    uint64_t random_seed;
    uint64_t now_ms;
    gv_ccore_timing_t timing;
    gv_ccore_limits_t limits;
    gv_ccore_switches_t switches; /* tests only; all zero in production */
    gv_ccore_ports_t ports;
} gv_ccore_options_t;

typedef struct gv_ccore gv_ccore_t;

/* Fills in timing and limits with the defaults and zeroes the rest. */
void gv_ccore_options_init(gv_ccore_options_t *options);

/*
 * All ports must be set, self.cluster and self.name must not be empty.  Never fails; calls no port.
 * *core_out is the caller's, destroy it with gv_ccore_free().
 */
void gv_ccore_new(const gv_ccore_options_t *options, gv_ccore_t **core_out);

/* Says goodbye to nobody and calls no port (see gv_ccore_leave()). */
void gv_ccore_free(gv_ccore_t **corep);

/* ---- inputs -------------------------------------------------------------------------------- */

/*
 * Sets the time and does what is due.  now_ms never goes back.  When it comes much later than
 * gv_ccore_next_deadline_ms() asked for (SIGSTOP, suspended machine), everybody's silence is
 * forgiven: it was ours.
 */
void gv_ccore_tick(gv_ccore_t *core, uint64_t now_ms);

/* When to call gv_ccore_tick() at the latest; may be in the past.  const */
uint64_t gv_ccore_next_deadline_ms(const gv_ccore_t *core);

/* Sends what has gathered in this turn; answers barriers and publishes that are decided. */
void gv_ccore_flush(gv_ccore_t *core);

/*
 * A handshake is through.  dial_token: the dial's, or 0 for an accepted connection.  The core
 * checks the identity again and may close the link at once.
 */
void gv_ccore_link_opened(gv_ccore_t *core, gv_link_id_t link, const gv_peer_identity_t *peer,
                          uint64_t dial_token);

/* The connection is gone, not by our wish.  Unknown links are ignored, here and below. */
void gv_ccore_link_closed(gv_ccore_t *core, gv_link_id_t link);

/* One frame, checked for length and checksum.  `body` is borrowed for the call. */
void gv_ccore_link_frame(gv_ccore_t *core, gv_link_id_t link, gv_frame_kind_t kind,
                         gv_bytes_t body);

/* Nobody there, or the handshake failed: tried again later. */
void gv_ccore_dial_failed(gv_ccore_t *core, uint64_t dial_token);

/* ---- local calls --------------------------------------------------------------------------- */

/*
 * Sets our own route `key` to `value`; 0 withdraws it, which is announced timing.withdraw later and
 * only if it has not been set again by then.  Setting the value it has changes nothing.
 * A change costs one frame per peer, however many changes a turn has, and for each pair of nodes
 * that do not hear each other one notice, one request and one answer (detour.c).
 * Returns GV_OK, or GV_ERR_LIMIT for a key that is empty or over GV_ROUTE_KEY_MAX.
 */
GV_MUST_USE gv_err_t gv_ccore_route_set(gv_ccore_t *core, gv_bytes_t key, uint32_t value);

/*
 * Answers through port `barrier` as soon as all members that are alive and reached, directly or
 * through a relay, have confirmed our routes as they are now, or after timing.barrier.  Costs O(1);
 * answers come in call order.
 */
void gv_ccore_barrier(gv_ccore_t *core, uint64_t token);

/*
 * Carries a publish to each node of the mask (bit i = node index i; our own bit is ignored).
 *
 * QoS >= 1: each node is answered exactly once through port `confirmed` with `token`.
 * QoS 0: no answer; dropped and counted where there is no path or no credit.
 * The bytes are copied once, whatever the number of nodes.  Nodes that get different `shared`
 * filters need calls of their own.
 */
void gv_ccore_publish(gv_ccore_t *core, const gv_forward_t *msg, uint64_t node_mask,
                      uint64_t token);

/*
 * The host has made a delivered message safe, or has refused it (outcome is copied; NULL: all is
 * well).  A delivery of an earlier life, and a second word about the same one, is ignored.
 */
void gv_ccore_applied(gv_ccore_t *core, gv_delivery_t delivery,
                      const gv_delivery_outcome_t *outcome);

/*
 * Sends a frame of the host's own (kind: gv_frame_is_note()) to a node, on the link to it, behind
 * what has been published before.  It may get lost: the host makes do with that.  The body is
 * copied; it has at most GV_FRAME_BODY_MAX bytes.  False: there is no link, and nothing is sent.
 */
bool gv_ccore_note(gv_ccore_t *core, gv_node_index_t node, gv_frame_kind_t kind, gv_bytes_t body);

/*
 * A client has connected here: answered through port `claimed`, when its older connection on
 * another node is closed, or there is none, or after timing.claim.  The stamp is above that of all
 * earlier claims of this key here: who of those still waits has lost, and who does not is gone.
 */
void gv_ccore_claim(gv_ccore_t *core, const gv_claim_t *claim);

/* A connection that has been there before there was anybody to ask: no answer, but perhaps let_go.
 */
void gv_ccore_register(gv_ccore_t *core, const gv_claim_t *claim);

/* The connection is gone, or whoever claimed it.  Unless the holder has it, nothing happens. */
void gv_ccore_withdraw(gv_ccore_t *core, const gv_id_key_t *key, gv_holder_t holder);

/* What let_go has asked for is done. */
void gv_ccore_let_gone(gv_ccore_t *core, const gv_letting_t *letting);

/* While paused no new credit is granted: the host has more in hand than it wants. */
void gv_ccore_pause_credit(gv_ccore_t *core, bool is_paused);

/*
 * Before any link is open: a member that an earlier run of this node knew (remember.c).  It counts
 * as dead, under the index that is returned, is dialled, and is forgotten like others if it never
 * comes.  GV_NODE_NONE: it is ourselves, known already, or there is no room.
 */
gv_node_index_t gv_ccore_remember(gv_ccore_t *core, const gv_remembered_t *member);

/*
 * One of its rows, which port `row` need not tell the host; it is withdrawn there when the member
 * or somebody who knows its table says so.  GV_OK, GV_ERR_LIMIT (as for rows that peers send) or
 * GV_ERR_NOMEM.
 */
GV_MUST_USE gv_err_t gv_ccore_remember_row(gv_ccore_t *core, gv_node_index_t node, gv_bytes_t key,
                                           uint32_t value);

/* Tells everybody that this node stops now.  Flush, then let the links drain and free the core. */
void gv_ccore_leave(gv_ccore_t *core);

/*
 * One more seed, dialled with the next tick and from time to time while nobody linked is behind it.
 * GV_OK, also if it is one already, or GV_ERR_LIMIT (an empty or overlong address, too many seeds).
 */
GV_MUST_USE gv_err_t gv_ccore_join(gv_ccore_t *core, const char *address);

/*
 * Forgets a dead or departed node, here with the next tick, and on all other nodes as the word
 * reaches them; who was away hears it when it is back, up to timing.forget later.  Should the node
 * itself turn up again, it is a member again.  GV_ERR_NOENT; GV_ERR_BUSY while it is alive or
 * suspect.
 */
GV_MUST_USE gv_err_t gv_ccore_forget(gv_ccore_t *core, gv_node_index_t node);

/* ---- looking in (all const: may be called from ports) ---------------------------------------- */

typedef struct gv_ccore_stats {
    uint64_t frames_bad;
    uint64_t links_closed;
    uint64_t refutations;
    uint64_t wakeups_late; /* own ticks that came so late that silence was forgiven */
    uint64_t table_pieces_sent;
    uint64_t table_pieces_applied;
    uint64_t table_pieces_refused; /* a gap; asked again */
    uint64_t table_snapshots;      /* staged and taken */
    uint64_t table_notices_sent;   /* to nodes that do not hear the owner */
    uint64_t table_mismatches;     /* equal version, unequal hash: must stay 0 */
    uint64_t barriers;
    uint64_t barriers_late; /* the bound was hit */
    uint64_t forwards_sent; /* messages of QoS >= 1, first sending */
    uint64_t forwards_resent;
    uint64_t forwards_delivered;
    uint64_t forwards_repeated; /* dropped here because seen already */
    uint64_t forwards_overdue;  /* the host was asked to keep them as well */
    uint64_t forwards_gone;
    uint64_t forwards_refused_full;
    uint64_t forwards_refused_there; /* by the peer's host */
    uint64_t forwards_returned;      /* groups had no member there */
    uint64_t forwards_relayed;       /* frames passed on for others */
    uint64_t relays_failed;          /* frames for others with no link to pass them on */
    uint64_t qos0_sent;
    uint64_t qos0_dropped_no_path;
    uint64_t qos0_dropped_no_credit;
    uint64_t qos0_dropped_incomplete; /* long ones of which a piece was lost */
    uint64_t qos0_dropped_late;       /* overtaken, when a path changed */
} gv_ccore_stats_t;

const gv_ccore_stats_t *gv_ccore_stats(const gv_ccore_t *core);

const gv_directory_stats_t *gv_ccore_directory_stats(const gv_ccore_t *core);

/* Bit i is set when index i is a member (ours is always set). */
uint64_t gv_ccore_members(const gv_ccore_t *core);

/* Bit i is set when node i is alive or suspect and not ourselves: where publishes can go. */
uint64_t gv_ccore_routable(const gv_ccore_t *core);

/* False when there is no such member. */
bool gv_ccore_member(const gv_ccore_t *core, gv_node_index_t node, gv_member_status_t *status_out);

/* How `viewer` sees `node`, as far as we know; false if we do not. */
bool gv_ccore_view(const gv_ccore_t *core, gv_node_index_t viewer, gv_node_index_t node,
                   gv_node_view_t *view_out);

/* The member with this id, or GV_NODE_NONE. */
gv_node_index_t gv_ccore_index_of(const gv_ccore_t *core, const gv_node_id_t *id);

/* The value of a row in our copy of a node's table (for our own: as announced), 0 if none. */
uint32_t gv_ccore_route_value(const gv_ccore_t *core, gv_node_index_t node, gv_bytes_t key);

/* Walks the live rows of a node's table in the order of change; start with *cursor = 0. */
bool gv_ccore_route_next(const gv_ccore_t *core, gv_node_index_t node, uint64_t *cursor,
                         gv_bytes_t *key_out, uint32_t *value_out);

/* True once every member that is linked has told us its table version and we hold it. */
bool gv_ccore_is_synced(const gv_ccore_t *core);

/*
 * Whether a node that has just started is in step: somebody has told it who the members are (or it
 * has no seeds but itself), it has the routes of all that are alive, and they have its own. Whoever
 * is suspect, dead or gone is not waited for.  It is not for ever: ask until it is so, and no more.
 */
bool gv_ccore_has_arrived(const gv_ccore_t *core);
