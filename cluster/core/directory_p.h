/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The inside of gv_directory.
 *
 *     directory.c       life, the turn, who the registrar of a key is
 *     directory_own.c   connections of this node: claims, registering, letting go
 *     directory_note.c  notes to and from other nodes
 *     registrar.c       connections that are registered here
 *
 * What this node says to itself takes the same way as what it says to others, but for the wire.
 */

#include "base/hlc.h"
#include "cluster/core/core_p.h"
#include "cluster/core/directory.h"

/* On the wire; never reused. */
typedef enum gv_directory_kind {
    GV_DIRECTORY_CLAIM = 1,    /* to the registrar: I have a new connection; may it come in? */
    GV_DIRECTORY_GRANTED = 2,  /* to the claimant: nobody else has one */
    GV_DIRECTORY_AGAIN = 3,    /* to the claimant: say it with a stamp above this one */
    GV_DIRECTORY_DENIED = 4,   /* to the claimant: another user has it */
    GV_DIRECTORY_LET_GO = 5,   /* to an owner: close what is older than this */
    GV_DIRECTORY_LEFT = 6,     /* to the registrar: there is nothing older than this here */
    GV_DIRECTORY_REGISTER = 7, /* to the registrar: I have this one */
    GV_DIRECTORY_WITHDRAW = 8, /* to the registrar: I have it no more */
} gv_directory_kind_t;

/* Stamps are below this, so that there is always one above. */
#define DIRECTORY_HLC_MAX (GV_HLC_MAX - ((uint64_t)1 << 32))

/* Registrations in one note, and how many wait at most before they are looked for again. */
#define DIRECTORY_PIECE     ((size_t)512)
#define DIRECTORY_QUEUE_MAX (4 * DIRECTORY_PIECE)

/* Other words in one note. */
#define DIRECTORY_WORDS ((size_t)2048)

/* A piece that is not acknowledged for so long is taken for lost. */
#define DIRECTORY_ACK_MS 2000U

/* With an acknowledgement out for so long, a walk goes on without that registrar. */
#define DIRECTORY_STALL_MS 200U

/* Who does not answer LET_GO is asked again. */
#define DIRECTORY_ASK_MS 500U

/* Connections that are waited for to be closed; for more nobody waits. */
#define DIRECTORY_RELEASES_MAX ((size_t)65536)

/* Entries looked at in one turn of a walk. */
#define DIRECTORY_WALK 1000U

typedef struct gv_word {
    gv_id_key_t key;
    uint64_t hlc;
    uint64_t seen;       /* AGAIN */
    gv_node_id_t winner; /* LET_GO */
    uint32_t user;       /* CLAIM, REGISTER */
    uint8_t kind;        /* gv_directory_kind_t */
} gv_word_t;

typedef struct gv_words {
    gv_word_t *items;
    size_t count;
    size_t capacity;
} gv_words_t;

/* Another node; [GV_NODE_SELF] is this one. */
typedef struct gv_party {
    gv_directory_peer_t now;
    bool is_there;
    uint64_t weight_seed;
    gv_words_t words; /* to be said in the next flush */

    /* as a registrar of ours */
    gv_words_t pieces;    /* registrations, oldest first */
    uint64_t number;      /* of the last piece sent */
    uint64_t begun;       /* of the one that began everything anew */
    uint64_t known_begun; /* ... as the registrar knew it when it last said something */
    uint64_t outstanding; /* of the one that is not acknowledged, or 0 */
    uint64_t sent_ms;
    bool must_begin;
    bool has_missed; /* a walk has gone on without it */

    /* as an owner of what is registered here */
    uint64_t heard_begun; /* as `begun` there */
    uint64_t taken;       /* number of the last piece */
    uint16_t epoch;       /* what it has registered in earlier ones is void */
    bool ack_due;
    bool again_due;       /* it should begin anew: told from time to time until it does */
    uint64_t again_at_ms; /* next time */
} gv_party_t;

/* A connection of this node. */
typedef struct gv_own {
    gv_id_key_t key;
    uint64_t hlc;
    uint64_t token;
    uint32_t user;
    uint16_t desk;
    uint8_t registrar; /* that has been told, or GV_NODE_NONE */
    uint8_t is_pending;
} gv_own_t;

_Static_assert(sizeof(gv_own_t) == 40, "there is one for each client");

/* A connection that is registered here. */
typedef struct gv_seat {
    gv_id_key_t key;
    uint64_t hlc;
    uint32_t user;
    uint16_t epoch; /* of the owner */
    uint8_t owner;
    uint8_t _reserved;
} gv_seat_t;

_Static_assert(sizeof(gv_seat_t) == 32, "there is one for each client");

/* Nodes that have been asked to close their connection. */
typedef struct gv_release {
    gv_id_key_t key;
    uint64_t hlc;     /* of the one that stays */
    uint64_t waiting; /* mask of the nodes */
    uint64_t asked_ms;
    uint64_t winner; /* the node that has it */
} gv_release_t;

typedef struct gv_deadline {
    gv_id_key_t key;
    gv_holder_t holder;
    uint64_t at_ms;
} gv_deadline_t;

typedef struct gv_told {
    gv_claim_t claim;
    gv_claim_verdict_t verdict;
} gv_told_t;

struct gv_directory {
    gv_directory_ports_t ports;
    uint32_t wait_ms;
    uint64_t registered_max;
    uint64_t now_ms;
    gv_directory_stats_t stats;
    gv_party_t parties[GV_NODES_MAX];
    size_t party_end;
    gv_keytable_t own;           /* gv_own_t */
    gv_keytable_t seats;         /* gv_seat_t */
    gv_keytable_t releases;      /* gv_release_t */
    gv_fifo_t deadlines;         /* gv_deadline_t, of claims, oldest first */
    gv_fifo_t told;              /* gv_told_t */
    size_t walk_at;              /* own entries below this have to be looked at */
    uint64_t walk_stale;         /* mask of registrars that are told everything */
    size_t sweep_at;             /* seats below this may be void */
    uint64_t releases_at_ms;     /* next look */
    bool is_stalled;             /* the walk waits for an acknowledgement */
    Gv__DirectoryEntry *entries; /* scratch: of a note */
    Gv__DirectoryEntry **pointers;
};

static inline uint64_t gv__party_bit(gv_node_index_t node)
{
    return (uint64_t)1 << node;
}

static inline bool gv__party_is_reached(const gv_directory_t *directory, gv_node_index_t node)
{
    const gv_party_t *party = &directory->parties[node];
    return node == GV_NODE_SELF || (party->is_there && party->now.path != 0);
}

/* Whether the connection a stamp and a node name is older than another. */
static inline bool gv__is_older(const gv_directory_t *directory, uint64_t hlc, gv_node_index_t node,
                                uint64_t other_hlc, const gv_node_id_t *other)
{
    return hlc < other_hlc || (hlc == other_hlc && memcmp(directory->parties[node].now.id.bytes,
                                                          other->bytes, GV_NODE_ID_SIZE) < 0);
}

/* ---- directory.c ------------------------------------------------------------------------------
 */

void gv__words_push(gv_words_t *words, const gv_word_t *word);
void gv__words_clear(gv_words_t *words);

/* Something to be said to a node, perhaps to ourselves; nothing, if there is no way. */
void gv__say(gv_directory_t *directory, gv_node_index_t to, const gv_word_t *word);

/* Answers to claims that wait to be told. */
void gv__tell_answers(gv_directory_t *directory);

/* What a node has said. */
void gv__hear(gv_directory_t *directory, gv_node_index_t from, const gv_word_t *word);

/* ---- directory_own.c --------------------------------------------------------------------------
 */

void gv__own_hear(gv_directory_t *directory, gv_node_index_t from, const gv_word_t *word);
/* All own connections have to be looked at; `stale` is a mask of registrars to be told all. */
void gv__own_walk_again(gv_directory_t *directory, uint64_t stale);
/* Nothing of what this registrar was told can be relied on. */
void gv__own_begin_anew(gv_directory_t *directory, gv_node_index_t registrar);
void gv__own_walk(gv_directory_t *directory);
void gv__own_expire(gv_directory_t *directory);

/* ---- directory_note.c -------------------------------------------------------------------------
 */

void gv__note_flush(gv_directory_t *directory, gv_node_index_t to);
void gv__note_deinit(gv_directory_t *directory);

/* ---- registrar.c ------------------------------------------------------------------------------
 */

void gv__registrar_hear(gv_directory_t *directory, gv_node_index_t from, const gv_word_t *word);
/* What the owner has registered is void. */
void gv__registrar_forget(gv_directory_t *directory, gv_node_index_t owner);
void gv__registrar_sweep(gv_directory_t *directory);
/* Asks again who has not answered; waits no more for who cannot. */
void gv__registrar_ask_again(gv_directory_t *directory);
