/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the journal's files share: journal.c (the turn), journal_part.c (what is written),
 * journal_wait.c (what may not have to be), journal_done.c (what happens when it is durable),
 * journal_read.c, journal_apart.c (large messages of several shards), journal_clean.c,
 * journal_expiry.c. */

#include "base/alloc.h"
#include "base/log.h"
#include "broker/core/durable.h"
#include "broker/core/journal.h"
#include "broker/core/shard_p.h"

/*
 * How long a mark that nobody waits for may wait; and the pause after a commit that failed, twice
 * as long each time up to the longest [ms].
 */
#define GV_JOURNAL_LAZY_MS      100U
#define GV_JOURNAL_PAUSE_MS     100U
#define GV_JOURNAL_PAUSE_MS_MAX 1600U

/* How often the log is looked at, whether it is to be cleaned, when nothing happens [ms]. */
#define GV_JOURNAL_CLEAN_MS 1000U

/* So many segments are deleted in one part: each costs the writer many pages. */
#define GV_JOURNAL_DELETES_MAX 1024U

/* Bytes that grow. */
typedef struct gv_pile {
    uint8_t *data;
    size_t size;
    size_t capacity;
} gv_pile_t;

/* So many bytes more have room; journal_part.c. */
void gv__pile_grow(gv_pile_t *pile, size_t size);

static inline uint8_t *gv__pile_room(gv_pile_t *pile, size_t size)
{
    if (pile->size + size > pile->capacity) {
        gv__pile_grow(pile, size);
    }
    uint8_t *room = pile->data + pile->size;
    pile->size += size;
    return room;
}

#define GV_PILE_PUSH(pile, type)      ((type *)(void *)gv__pile_room((pile), sizeof(type)))
#define GV_PILE_COUNT(pile, type)     ((pile)->size / sizeof(type))
#define GV_PILE_AT(pile, type, index) (&((type *)(void *)(pile)->data)[index])

/* A message of the part: how many of its deliveries are not done, and who wants to know. */
typedef struct gv_part_body {
    uint32_t live;
    bool is_awaited;
    gv_ticket_t ticket;
    uint64_t apart; /* its number if it is to stand apart, or 0 */
} gv_part_body_t;

/* A segment that goes with a part, or what it holds of the payloads. */
typedef struct gv_part_delete {
    uint64_t segment;
    uint64_t payload; /* 0: the segment itself */
} gv_part_delete_t;

/* Deliveries of an older segment, or of this one, that are done. */
typedef struct gv_part_release {
    uint64_t number;
    uint32_t count;
} gv_part_release_t;

/* A delivery that was written anew, to make an older segment free. */
typedef struct gv_part_move {
    uint64_t uid;
    uint64_t number;
    gv_place_t from;
    gv_place_t to;
} gv_part_move_t;

/* A shared message that goes to another member with this part, or comes back. */
typedef struct gv_part_gift {
    gv_ticket_t loan;
    gv_msgbuf_t *kept;  /* of a session that ends: the message, else NULL, ... */
    gv_msgbuf_t *group; /* ... and whose it is */
    bool is_back;
} gv_part_gift_t;

/* A change of the small tables; the text follows. */
typedef struct gv_part_change {
    uint64_t uid;
    uint32_t size; /* of the text */
    gv_change_t what;
} gv_part_change_t;

typedef enum gv_note_kind {
    GV_NOTE_CONFIRM,
    GV_NOTE_RECEIVED,
    GV_NOTE_AGAIN,
    GV_NOTE_ACK,
    GV_NOTE_SUBACK,
    GV_NOTE_SEND,
    GV_NOTE_RESEND,
} gv_note_kind_t;

typedef struct gv_note {
    gv_note_kind_t kind;
    uint8_t type; /* of the acknowledgement */
    uint8_t reason;
    bool is_unsuback;
    uint16_t packet_id;
    gv_ticket_t ticket;
    uint64_t uid;       /* of the session */
    gv_msgbuf_t *bytes; /* SUBACK: the codes, and behind them the Reason String */
    uint32_t code_count;
    uint32_t failures; /* AGAIN: of parts, when it was noted */
} gv_part_note_t;

struct gv_part {
    gv_link_t link; /* in closed or submitted */
    gv_journal_t *journal;
    gv_volume_t *volume; /* its segment, or NULL */
    gv_batch_t *batch;   /* other tables */
    gv_pile_t items;
    gv_pile_t bodies;
    gv_pile_t ends;     /* uint32_t */
    gv_pile_t body;     /* gv_part_body_t */
    gv_pile_t releases; /* gv_part_release_t */
    gv_pile_t notes;    /* gv_part_note_t */
    gv_pile_t moves;    /* gv_part_move_t */
    gv_pile_t gifts;    /* gv_part_gift_t */
    gv_pile_t changes;  /* gv_part_change_t with their texts, padded */
    gv_pile_t deletes;  /* gv_part_delete_t */
    uint32_t stamp;
    uint32_t live;     /* deliveries not done */
    uint32_t total;    /* deliveries */
    uint32_t latest_s; /* when the last one will have expired */
    bool has_eternal;  /* one never expires */
    bool is_urgent;    /* to be submitted with this turn */
    bool is_submitted;
    bool is_joined;
    bool has_tables; /* changes of other tables */
    bool has_marks;
    uint32_t deleting_old; /* old segments that are gone when this is durable, or 0 */
    uint32_t apart_count;  /* bodies that are to stand apart */
    size_t stored_size;    /* of its segment, with what stands apart */
    uint64_t submitted_ms;
};

/* Which sessions have messages that expire; journal_expiry.c. */
typedef struct gv_expiry {
    gv_pile_t uids;  /* uint64_t; some may have ended */
    uint32_t next_s; /* before this nothing expires, real time */
    bool is_looking; /* goes through the list: */
    bool is_kept;    /* ... the session that it is at stays in it */
    size_t at;       /* ... which is this one */
    size_t kept;     /* ... so many before it have stayed */
    uint64_t number; /* ... and the message of it that is next */
} gv_expiry_t;

struct gv_journal {
    gv_shard_t *shard;
    gv_log_t *log;
    gv_store_t *store;
    gv_store_lane_t lane;
    uint64_t clean_bytes_min;
    gv_part_t *open;      /* NULL: nothing yet */
    gv_part_t *spare;     /* as new, with the room of one that was left out; or NULL */
    gv_list_t closed;     /* parts that are full and not submitted */
    gv_list_t submitted;  /* oldest first */
    uint32_t flushes;     /* groups of parts on their way */
    size_t pending_bytes; /* of parts not durable */
    uint32_t next_stamp;
    uint32_t failures;   /* parts that were not stored */
    uint32_t redo_stamp; /* the part in which what they changed is written again */
    gv_pile_t undeleted; /* gv_part_delete_t: what they were to delete */
    bool has_undeleted_old;
    uint32_t stored_stamp; /* all parts up to this one have been answered */
    gv_pile_t dirty;       /* gv_durable_t *; NULL: it has ended */
    bool has_urgent_dirty;
    bool is_failing;  /* the last commit failed */
    bool is_finished; /* the store is being closed */
    uint64_t rests_until_ms;
    uint32_t pause_ms; /* the last one, while it is failing */
    gv_timer_t timer;
    uint64_t timer_at_ms;
    gv_timer_t patience;   /* a turn ends when a part is due that waited for its receivers */
    uint64_t commit_ms_x8; /* how long a commit takes, smoothed */
    gv_shelf_t shelf;
    gv_expiry_t expiry;
    gv_pile_t ids;     /* scratch: uint32_t */
    gv_list_t loads;   /* that were not answered yet */
    gv_list_t resting; /* that found no memory */
    gv_list_t thirsty; /* sessions that found none for what they were to be sent */
};

/* ---- journal.c ---- */

/* The timer fires in so many milliseconds, or sooner. */
void gv__journal_arm(gv_journal_t *journal, uint64_t delay_ms);

/* Whether there are segments to be deleted. */
bool gv__journal_has_garbage(const gv_journal_t *journal);

/* ---- journal_part.c ---- */

/* The open part; made if there is none. */
gv_part_t *gv__part_open(gv_journal_t *journal);
void gv__part_free(gv_part_t *part);

/* The open part is full: it waits to be submitted. */
void gv__part_close(gv_journal_t *journal);

/* Its segment; made if it has none. */
gv_volume_t *gv__part_volume(gv_part_t *part);

/* The open part, with room for one delivery more. */
gv_part_t *gv__part_for_delivery(gv_journal_t *journal);

/* Room for a body in the part, which is to stand apart if it has a number; its index in *index_out.
 */
uint8_t *gv__part_add_body(gv_part_t *part, size_t size, uint64_t apart, uint32_t *index_out);
gv_bytes_t gv__part_body(const gv_part_t *part, uint32_t index);
gv_place_t gv__part_add_delivery(gv_part_t *part, const gv_segment_delivery_t *delivery,
                                 const uint32_t *ids, size_t id_count);
void gv__part_add_note(gv_part_t *part, gv_part_note_t note);

/* A part has failed: what it changed in the small tables goes into the open part. */
void gv__part_change_again(gv_journal_t *journal, const gv_part_t *part);

/* `what` of all dirty sessions goes into the open part. */
void gv__part_write_dirty(gv_journal_t *journal, unsigned what);

/* So many deliveries of a segment are done when the part is durable. */
void gv__part_release(gv_part_t *part, uint64_t number, uint32_t count);

/* The segment becomes a record; its image stays in memory for those that will read it soon. */
void gv__part_write(gv_journal_t *journal, gv_part_t *part);

/* ---- journal_wait.c ---- */

/* Parts in which everything is done are left out; one that may wait and is half through is closed.
 */
void gv__journal_leave_out(gv_journal_t *journal);

/* When something is to be submitted: 0 is now, UINT64_MAX is never, as things are. */
uint64_t gv__journal_due_ms(const gv_journal_t *journal);

void gv__journal_note_commit(gv_journal_t *journal, uint64_t took_ms);

/* ---- journal_done.c ---- */

/* A part is durable, or will not be; the store's callback. */
void gv__journal_on_stored(gv_err_t result, void *arg);

/* Those that wait for this volume go on. */
void gv__journal_wake(gv_volume_t *volume);
void gv__journal_wake_all(gv_list_t *waiting);

/* ---- journal_read.c ---- */

/* Asks the store for the volume's image; those that wait for it are woken. */
void gv__journal_load(gv_journal_t *journal, gv_volume_t *volume);

/* Asks once more for what there was no memory for, and wakes those who wait for some. */
void gv__journal_load_again(gv_journal_t *journal);

/* gv_store_get(): into a buffer, a gv_msgbuf_t *. */
gv_err_t gv__copy_value(gv_bytes_t key, gv_bytes_t value, void *arg);

/* A segment, or something in it, cannot be read: counted and logged. */
void gv__journal_note_damaged(gv_journal_t *journal, uint64_t number, gv_err_t error);

/* The store has crashed: they will not be answered. */
void gv__journal_drop_loads(gv_journal_t *journal);

/* ---- journal_apart.c ---- */

/*
 * The bodies that have a number go into the table of payloads, where another shard may have put
 * them already, and become the volume's.  False: there is no memory to keep them as well.
 */
bool gv__apart_write(gv_part_t *part, const uint64_t *numbers);

/* Which of a volume's bodies stand apart: what an earlier run has written says it only itself. */
void gv__apart_find(gv_volume_t *volume, const gv_segment_view_t *segment);

/* A payload has come, or cannot be had, now or at all; takes the reference. */
void gv__apart_take(gv_journal_t *journal, gv_apart_t *apart, gv_err_t result, gv_msgbuf_t *value);

/* The same at once; blocks on the disk. */
void gv__apart_fetch(gv_journal_t *journal, gv_apart_t *apart);

/*
 * A body of a volume that has its image, checked.  GV_ERR_CORRUPT; GV_ERR_NOENT: it was left out,
 * or stands apart and cannot be had, which has been noted.
 */
gv_err_t gv__volume_body(const gv_volume_t *volume, const gv_segment_view_t *segment,
                         uint32_t index, gv_bytes_t *body_out);

/* ---- journal_clean.c ---- */

/* So much of the log is done with that cleaning it gains room. */
bool gv__journal_is_wasteful(const gv_journal_t *journal);

bool gv__journal_needs_cleaning(const gv_journal_t *journal);

/* Writes anew what is live in the oldest segments, now or when they have been loaded. */
void gv__journal_clean(gv_journal_t *journal);

/* ---- journal_expiry.c ---- */

/* Drops what has expired, for a while.  True: there is more to look at. */
bool gv__journal_expire(gv_journal_t *journal);
