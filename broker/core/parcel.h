/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_parcel: messages from one thread of the node to another, many in one letter.
 *
 * A shard that has something for another shard (or for the hub) appends entries to the open parcel
 * for that destination; all open parcels are sent at the end of the loop's turn.  The receiver
 * works through the entries in place and sends the same parcel back: the way back is the
 * confirmation, the credit and the return of the memory in one.  So messages between threads cost
 * no allocation and no lock, and a slow receiver is felt by its senders as parcels that do not come
 * back.
 *
 *     entry = gv_entry_t, then `extra` (what kind says), topic, properties, payload
 *
 * Entries are 8-aligned.  A large message is not copied into the parcel: the entry holds a
 * reference to its shared buffer.
 *
 * Threads: whoever holds the parcel owns all of it.
 */

#include "base/hlc.h"
#include "base/letter.h"
#include "base/list.h"
#include "broker/core/message.h"
#include "cluster/core/keytable.h"

/* Usual size of a parcel [bytes]; one entry larger than that gets a parcel of its own. */
#define GV_PARCEL_SIZE ((size_t)65536 - 128)

/* Instead of a client: generation and number name a submission of that shard (submission.h). */
#define GV_TICKET_SUBMISSION (UINT32_MAX - 1)

/* Names one publish whose acknowledgement a connection waits to send. */
typedef struct gv_ticket {
    uint32_t client;     /* index in the shard's client table; UINT32_MAX: nobody waits */
    uint32_t generation; /* of that index */
    uint32_t number;     /* of the publish on that connection */
    uint16_t shard;
    uint16_t is_loan; /* it names a loan of that shard (durable_give.c), not a connection's publish;
                         or a publish of the hub's that waits for one */
} gv_ticket_t;

typedef enum gv_entry_kind {
    GV_ENTRY_SLOTS,   /* extra: uint32_t[], filter slots of the destination shard that matched */
    GV_ENTRY_NODES,   /* extra: gv_entry_nodes_t, then its shared subscriptions */
    GV_ENTRY_RETAIN,  /* extra: gv_entry_write_t; the destination shard keeps this topic's retained
                         message */
    GV_ENTRY_REPLAY,  /* extra: gv_entry_replay_t; a retained message for one subscription */
    GV_ENTRY_WANT,    /* extra: gv_entry_replay_t; topic holds a filter: send what is retained */
    GV_ENTRY_CONFIRM, /* a deferred entry is safe now; or it is not, for the reason in `qos`; and
                         so are slot_count more of that client, whose numbers follow */
    GV_ENTRY_ROUTE,   /* extra: gv_entry_route_t; topic holds a filter */
    GV_ENTRY_SUBACK,  /* extra: gv_entry_suback_t, then reason codes; goes there and back */
    GV_ENTRY_REGIVE,  /* extra: a shared filter, slot_count bytes; another member is to have this;
                         to a shard: who had it by the loan in the ticket has left it */
    GV_ENTRY_NOTE,    /* extra: gv_entry_note_t; payload: from a shard of another node, or to one */
    GV_ENTRY_COPY,    /* extra: gv_entry_write_t; a retained message that another node lacks */
    GV_ENTRY_CLAIM,   /* extra: gv_entry_claim_t; the ticket's client waits for its id */
    GV_ENTRY_CLAIMED, /* extra: gv_entry_claim_t; the answer */
    GV_ENTRY_ENROLL,  /* extra: gv_entry_claim_t; the ticket's client has been let in */
    GV_ENTRY_RELEASE, /* extra: gv_entry_claim_t; the ticket's client has gone */
    GV_ENTRY_LET_GO, /* extra: gv_letting_t; the ticket's client is to go; comes back when it has */
    GV_ENTRY_ENLIST, /* to a shard: enroll all */
    GV_ENTRY_MORE,   /* the ticket's publish has one more to wait for; sent before its entry
                        comes back */
} gv_entry_kind_t;

enum {
    GV_ENTRY_WANTS_CONFIRM = 1, /* the sender's ticket counts this entry */
    GV_ENTRY_DEFERRED = 2,      /* set by the receiver: the confirmation comes later, as CONFIRM */
    GV_ENTRY_CONGESTED = 4,     /* set by the receiver: some subscriber is behind, slow down */
    GV_ENTRY_RETAINED = 8,      /* the publisher set RETAIN */
    GV_ENTRY_NO_MATCH = 16,     /* set by the receiver: nobody there had a matching session */
    GV_ENTRY_REFUSED = 32, /* set by the receiver: no room on the disk for a persistent session */
    GV_ENTRY_JOINED = 64,  /* becomes durable together with what the sender knows as `join` */
    GV_ENTRY_LOAN = 128,   /* SLOTS: the sender keeps the message until it has an answer; set by the
                              receiver: JOINED and `join`, DEFERRED, NO_MATCH or REFUSED
                              (gv_taken_t) */
};

typedef struct gv_entry {
    uint32_t size; /* of the whole entry, padding included [bytes] */
    uint32_t extra_size;
    uint32_t props_size;
    uint32_t payload_size;
    uint16_t topic_size;
    uint8_t kind; /* gv_entry_kind_t */
    uint8_t flags;
    uint8_t qos;
    uint8_t _reserved[3];
    uint32_t slot_count; /* SLOTS: how many; CONFIRM: how many more */
    uint32_t join;       /* with the ticket's shard it is unique */
    gv_ticket_t ticket;
    uint64_t expires_at_ms;
    uint64_t publisher;
    uint64_t payload_number;
    gv_msgbuf_t
        *kept; /* the whole message by reference (topic etc. are not inline then), or NULL */
} gv_entry_t;

/* To which session a retained message is replayed, and how. */
typedef struct gv_entry_replay {
    gv_ticket_t subscriber;   /* number is the subscription's slot */
    uint32_t subscription_id; /* 0 is none */
    uint8_t qos_max;
    uint8_t _reserved[3];
} gv_entry_replay_t;

/* Which write of a retained message it is; a stamp of all zero: it has none yet. */
typedef struct gv_entry_write {
    gv_stamp_t stamp;
    uint8_t is_copy; /* of what a node has: not a message on its way */
    uint8_t node;    /* COPY: to which */
    uint8_t _reserved[6];
} gv_entry_write_t;

/* What nodes say to each other about a bucket of retained messages (reconcile.h). */
typedef struct gv_entry_note {
    uint64_t bytes;  /* WANT: of the copies */
    uint32_t count;  /* WANT: of them */
    uint8_t kind;    /* gv_frame_kind_t */
    uint8_t node;    /* from which, or to which */
    uint8_t is_last; /* gv_reconcile_wish_t, as is the next */
    uint8_t is_cut;
} gv_entry_note_t;

/* Who has a client id (cluster/core/directory.h). */
typedef struct gv_entry_claim {
    gv_id_key_t key;
    uint64_t hlc;
    uint32_t user;
    uint32_t verdict; /* CLAIMED: gv_claim_verdict_t */
} gv_entry_claim_t;

typedef struct gv_entry_route {
    uint32_t slot;
    uint32_t weight; /* online members of a shared group; 1 for an ordinary filter */
    uint32_t is_set; /* 1 set, 0 unset */
} gv_entry_route_t;

typedef struct gv_entry_suback {
    uint16_t packet_id;
    uint16_t _reserved;
    uint32_t stamp; /* the part of the journal that has to be durable first; 0: none */
} gv_entry_suback_t;

typedef struct gv_entry_nodes {
    uint64_t nodes; /* bitmap of node indices */
    uint64_t exact; /* those of them for which it goes to the disk, as one part each of the join */
    uint64_t hlc;   /* of a retained message: the write's stamp, which this node has given */
    uint32_t share_count;
    uint32_t _reserved;
    /* then, per share: uint8_t node, uint16_t size, filter text "$share/group/filter" */
} gv_entry_nodes_t;

#define GV_ENTRY_SHARE_HEAD 3U

typedef struct gv_parcel {
    gv_letter_t letter;
    gv_link_t link;           /* in a free list or a queue of its holder */
    void *to;                 /* the receiving gv_shard_t or gv_hub_t */
    void *from;               /* where it goes back to */
    gv_letter_cb_t *way_back; /* the sender's callback for it */
    uint16_t from_index;      /* shard index, or GV_HUB_INDEX */
    uint16_t to_index;
    uint16_t desk; /* of the sender's office */
    uint32_t count;
    uint32_t kept_count; /* entries that hold references */
    bool is_silent;      /* set by the receiver: it has put no answer into any entry */
    size_t used;         /* [bytes] */
    size_t capacity;     /* [bytes] */
    uint64_t mark;       /* the receiver's own while it holds the parcel */
    _Alignas(8) uint8_t data[];
} gv_parcel_t;

/*
 * Room for capacity bytes of entries; GV_PARCEL_SIZE is the usual one.  NULL when there is no
 * memory for a larger one; usual ones are few, and carry what frees memory: the limit is not for
 * them.
 */
gv_parcel_t *gv_parcel_new(size_t capacity);

/* Drops references that entries hold. */
void gv_parcel_free(gv_parcel_t **parcelp);

/* Empties the parcel for new entries; drops references that entries hold. */
void gv_parcel_reset(gv_parcel_t *parcel);

/* The bytes an entry for this message and that much extra needs. */
size_t gv_parcel_entry_size(const gv_publish_t *publish, size_t extra_size);

/*
 * Appends an entry for a message; kind, flags and ticket are the caller's to set in the result, as
 * is `extra` (gv_parcel_extra()).  NULL when it does not fit.  A message that has a shared buffer
 * goes by reference.
 */
gv_entry_t *gv_parcel_append(gv_parcel_t *parcel, const gv_publish_t *publish, size_t extra_size);

/* A join's name on the whole node: numbered by the shard, or the hub, that the message came to. */
static inline uint64_t gv_join_of(uint16_t owner, uint32_t join)
{
    return (uint64_t)(owner + 1) << 32 | join;
}

static inline void *gv_parcel_extra(gv_entry_t *entry)
{
    return entry + 1;
}

/* The message of an entry, as a view into it. */
gv_publish_t gv_parcel_publish(const gv_entry_t *entry);

/* The first entry, or NULL; the one after `entry`, or NULL. */
gv_entry_t *gv_parcel_first(gv_parcel_t *parcel);
gv_entry_t *gv_parcel_next(gv_parcel_t *parcel, gv_entry_t *entry);
