/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The inside of gv_outbox, shared by outbox.c (boxes, nodes, the turn), outbox_write.c (to the disk
 * and back), outbox_send.c (to the other node) and outbox_insure.c (on the disk as well).
 */

#include "base/list.h"
#include "broker/core/outbox.h"
#include "storage/outbox_store.h"

/* A record is closed when it has so much [bytes], or so many messages. */
#define GV_OUTBOX_RECORD_BYTES    ((size_t)256 << 10)
#define GV_OUTBOX_RECORD_MESSAGES 4096U

typedef struct gv_outbox_kept {
    uint8_t *body; /* as it goes over a link */
    size_t size;
    uint64_t expires_at_ms; /* real time; 0: never */
    uint64_t token;         /* of who waits for it to be durable */
    uint64_t join;          /* 0: none */
    uint32_t join_parts;
} gv_outbox_kept_t;

typedef enum gv_outbox_state {
    GV_OUTBOX_GATHERING, /* insured, to be written at the end of the turn */
    GV_OUTBOX_WRITING,
    GV_OUTBOX_STORED,
    GV_OUTBOX_LOADING,
    GV_OUTBOX_SENT, /* handed over, not all of it confirmed */
    GV_OUTBOX_LOST, /* insured, on its way, and not on the disk: that has failed */
} gv_outbox_state_t;

/* A message that was on its way before it was put here. */
typedef struct gv_outbox_insured {
    uint64_t waiter; /* 0: none, or answered */
    bool is_held;    /* who waits is not answered when it is durable */
    bool is_away;    /* it is on its way */
} gv_outbox_insured_t;

typedef struct gv_outbox_box gv_outbox_box_t;

typedef struct gv_outbox_record {
    gv_link_t link; /* in box->records, or in outbox->orphans */
    gv_outbox_t *outbox;
    gv_outbox_box_t *box; /* NULL: its node has been forgotten meanwhile */
    gv_outbox_place_t place;
    size_t bytes;
    gv_outbox_kept_t *messages;   /* place.count, counted in box->image_bytes; NULL: on disk only */
    bool *done;                   /* place.count: confirmed, or expired; NULL: none */
    uint32_t missing;             /* answers to come: it is on its way while there are */
    uint32_t slot;                /* while there are: its number in tokens */
    gv_outbox_insured_t *insured; /* place.count; NULL: they were not */
    uint32_t capacity;            /* GATHERING: of `messages`, `done` and `insured` */
    gv_outbox_state_t state;
} gv_outbox_record_t;

struct gv_outbox_box {
    gv_node_id_t id;
    gv_node_index_t node; /* GV_NODE_NONE: not met yet */
    gv_outbox_kind_t kind;
    uint64_t retry_at_ms; /* it has refused something */
    bool is_halted;       /* EXACT: nothing is handed over until all answers have come */
    uint32_t outstanding; /* answers to come */
    uint64_t last_sent;   /* EXACT: the last number that was handed over, ... */
    uint64_t last_run;    /* ... and its run */
    gv_list_t records;    /* by number */
    uint32_t unhanded;    /* records that are not on their way */
    uint32_t writes;
    gv_outbox_record_t *gathering; /* SPOOL: what was insured in this turn, or NULL */
    bool is_insuring;              /* the one before it is WRITING */
    uint32_t lost;                 /* records that are LOST */
    uint64_t gathered_ms;          /* since when the first one waits */
    size_t image_bytes;            /* of messages that are on disk and in memory */
    gv_outbox_kept_t *gathered;    /* not in a record yet */
    size_t gathered_count;
    size_t gathered_capacity;
    size_t gathered_bytes;
    uint64_t messages; /* all that wait */
    uint64_t bytes;
};

struct gv_outbox {
    gv_store_t *store;
    gv_store_lane_t lane;
    uint64_t bytes_max;
    uint64_t spool_after_ms;
    _Atomic uint64_t *nodes_full;
    gv_outbox_ports_t ports;
    uint64_t run;
    uint64_t next_number;
    gv_outbox_box_t **boxes;
    size_t box_count;
    struct {
        gv_node_id_t id;
        bool is_known;
        bool is_there;
    } nodes[GV_NODES_MAX];
    gv_outbox_record_t **slots; /* records on their way */
    uint32_t slot_count;
    uint32_t slot_hint;         /* below it none is free */
    gv_list_t orphans;          /* WRITING or LOADING, of boxes that are gone */
    gv_list_t nothings;         /* gv__outbox_write_nothing(): not answered yet */
    gv_outbox_place_t *deletes; /* records that are to go */
    uint32_t delete_count;
    uint32_t delete_capacity;
    uint64_t deletes_at_ms; /* not before: it has failed */
    gv_list_t deletions;    /* that the store has */
    bool is_failing;        /* the last write failed: logged once */
    bool is_finished;
    gv_outbox_stats_t stats;
};

/* Its node can be reached. */
static inline bool gv__outbox_is_there(const gv_outbox_t *outbox, const gv_outbox_box_t *box)
{
    return box->node != GV_NODE_NONE && outbox->nodes[box->node].is_there;
}

/* The token of a message that was handed over. */
#define GV__OUTBOX_INDEX_BITS 24
static inline uint64_t gv__outbox_token(const gv_outbox_record_t *record, uint32_t index)
{
    return GV_OUTBOX_TOKEN | (uint64_t)record->slot << GV__OUTBOX_INDEX_BITS | index;
}

static inline uint32_t gv__outbox_index_of_token(uint64_t token)
{
    return (uint32_t)(token & ((1U << GV__OUTBOX_INDEX_BITS) - 1));
}

/* NULL: its node has been forgotten meanwhile. */
static inline gv_outbox_record_t *gv__outbox_record_of_token(const gv_outbox_t *outbox,
                                                             uint64_t token)
{
    uint32_t slot = (uint32_t)((token & ~GV_OUTBOX_TOKEN) >> GV__OUTBOX_INDEX_BITS);
    return slot < outbox->slot_count ? outbox->slots[slot] : NULL;
}

_Static_assert(GV_OUTBOX_RECORD_MESSAGES <= 1U << GV__OUTBOX_INDEX_BITS, "a token has both");

/* ---- outbox.c -------------------------------------------------------------------------------- */

gv_outbox_box_t *gv__outbox_box_of(const gv_outbox_t *outbox, gv_node_index_t node,
                                   gv_outbox_kind_t kind);

/* The spool for a node that is known; made if there is none. */
gv_outbox_box_t *gv__outbox_spool_for(gv_outbox_t *outbox, gv_node_index_t node);

/* For so much more that waits for the node [bytes], and on the disk at all. */
bool gv__outbox_has_room(const gv_outbox_t *outbox, gv_node_index_t node, size_t size);

/* The message as it is kept, without its shared subscriptions. */
gv_outbox_kept_t gv__outbox_encode(const gv_outbox_t *outbox, const gv_forward_t *message,
                                   uint64_t token);

/* ---- outbox_write.c -------------------------------------------------------------------------- */

gv_outbox_record_t *gv__outbox_record_new(gv_outbox_t *outbox, gv_outbox_box_t *box,
                                          const gv_outbox_place_t *place);
void gv__outbox_record_free(gv_outbox_record_t *record);

/* What is on disk leaves the memory. */
void gv__outbox_drop_image(gv_outbox_record_t *record);

/* Messages that are in no record; they have been answered. */
void gv__outbox_drop_gathered(gv_outbox_box_t *box);

/* A message that is gathered. */
void gv__outbox_gather(gv_outbox_box_t *box, const gv_outbox_kept_t *message);

/* The first messages that were gathered become a record on its way to the disk. */
void gv__outbox_write(gv_outbox_t *outbox, gv_outbox_box_t *box);

/* Hands a record, which has its messages and its place, to the store. */
void gv__outbox_submit(gv_outbox_t *outbox, gv_outbox_record_t *record, gv_store_done_cb_t *cb);

/* Nothing is to be written for this one after all, but others wait for it in a join. */
void gv__outbox_write_nothing(gv_outbox_t *outbox, const gv_outbox_kept_t *message);
void gv__outbox_nothing_free(gv_link_t *link);

/*
 * A record is to leave the disk, with this turn; if that fails it is tried again.  Whether one
 * still has to; handing over what there is, and the memory of what was handed over.
 */
void gv__outbox_delete(gv_outbox_t *outbox, const gv_outbox_place_t *place);
bool gv__outbox_is_deleting(const gv_outbox_t *outbox);
void gv__outbox_submit_deletes(gv_outbox_t *outbox);
void gv__outbox_deletion_free(gv_link_t *link);

/* Brings a STORED record's messages back. */
void gv__outbox_load_image(gv_outbox_t *outbox, gv_outbox_record_t *record);

void gv__outbox_note_failure(gv_outbox_t *outbox, gv_err_t result);

/* ---- outbox_send.c --------------------------------------------------------------------------- */

/* Hands over what may be, and what need not be written. */
void gv__outbox_hand_over(gv_outbox_t *outbox, gv_outbox_box_t *box);

/* A number for a record that is on its way. */
void gv__outbox_take_slot(gv_outbox_t *outbox, gv_outbox_record_t *record);
void gv__outbox_free_slot(gv_outbox_t *outbox, const gv_outbox_record_t *record);

/* The other node has no room: nothing is handed over for a while. */
void gv__outbox_not_taken(gv_outbox_t *outbox, gv_outbox_box_t *box, gv_forward_result_t result);

/* A message is done, or all of a record that is on the disk. */
void gv__outbox_set_done(gv_outbox_record_t *record, uint32_t index);
void gv__outbox_finish_record(gv_outbox_record_t *record);
bool gv__outbox_is_all_done(const gv_outbox_record_t *record);

/* ---- outbox_insure.c ------------------------------------------------------------------------- */

/* Writes what was insured in this turn; false: it has to wait, and what is behind it too. */
bool gv__outbox_write_insured(gv_outbox_t *outbox, gv_outbox_box_t *box);

/* What has become of an insured message, until it is known that it has to be sent from here. */
bool gv__outbox_insured_confirmed(gv_outbox_t *outbox, gv_outbox_record_t *record, uint32_t index,
                                  gv_forward_result_t result, uint64_t *waiter_out);

/* Its node is forgotten: nobody waits for it any more. */
void gv__outbox_forget_insured(gv_outbox_t *outbox, gv_outbox_record_t *record);
