/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_walk: a question whose answer the shards have: a list, or a single thing, gathered for one
 * call.
 *
 *     admin loop                               a shard's thread
 *     gv_walk_begin() ------ host->send() ---> gv_walk_slice(): kind->slice(), a bounded piece
 *     gv_walk_returned() <---------------------'
 *        |  the call still waits: the same shard again, or the next
 *        '- kind->answer(), or a page of kind->row(); kind->free()
 *
 * Between two slices the shard does its other work.  A walk belongs to whoever has its letter.
 *
 * What a slice finds it copies: gv_walk_add() gives it memory for a row, as many as the page wants.
 *
 * Threads: as drawn.  Memory: GV_WALK_BYTES_MAX per walk.
 */

#include "base/letter.h"
#include "broker/admin/admin.h"
#include "broker/admin/page.h"
#include "broker/core/shard.h"

/* What is looked at in one slice, and how much of it is copied [bytes]. */
#define GV_WALK_VISITS_MAX      1000U
#define GV_WALK_SLICE_BYTES_MAX ((size_t)256 * 1024)

/* Of an answer's rows [bytes]. */
#define GV_WALK_BYTES_MAX ((size_t)16 * 1024 * 1024)

typedef struct gv_walk gv_walk_t;

typedef struct gv_walk_kind {
    /* On the shard's thread: goes on from walk->at.cursor.  True: nothing is left here. */
    bool (*slice)(gv_walk_t *walk, gv_shard_t *shard);
    /* Instead of it: on the thread of the router's writer, which is asked as one shard would be. */
    bool (*router_slice)(gv_walk_t *walk, const gv_router_t *router);
    /* A row as JSON; on the admin loop, as are the next two. */
    json_t *(*row)(const gv_walk_t *walk, const void *row);
    /* Answers walk->call; NULL: a page of rows. */
    void (*answer)(gv_walk_t *walk);
    /* Frees what the kind has added, and the walk itself. */
    void (*free)(gv_walk_t *walk);
    bool has_no_cursor; /* where it goes on is nothing that can be given to others */
} gv_walk_kind_t;

/* What a walk needs of the node.  Threads: the admin loop. */
typedef struct gv_walk_host {
    /*
     * Has gv_walk_slice() called on the thread of shard walk->at.shard, or gv_walk_router_slice()
     * on that of the router's writer if the kind has such slices; then gv_walk_returned().
     */
    void (*send)(void *arg, gv_walk_t *walk);
    /* On the thread of the router's writer: the name of a node by its index, "" if it has none. */
    void (*node_name)(void *arg, uint8_t index, char *out, size_t out_size);
    /* The counters of a shard. */
    const gv_shard_stats_t *(*stats)(void *arg, uint16_t shard);
    void *arg;
    const char *node;
    uint64_t hash_seed;     /* gv_shard_home() */
    uint64_t retained_seed; /* gv_retained_bucket() */
    uint16_t shard_count;
} gv_walk_host_t;

/* The beginning of each kind's own struct, zeroed. */
struct gv_walk {
    gv_letter_t letter; /* the host's, as is the next */
    void *host_arg;
    const gv_walk_host_t *host;
    const gv_walk_kind_t *kind;
    gv_admin_call_t *call;
    gv_page_t page;
    uint64_t count;        /* of all there are; UINT64_MAX: not known */
    gv_place_in_list_t at; /* where the next slice begins */
    bool is_on_one_shard;  /* the others have nothing of it */
    bool has_next;         /* there is one more than the page has */
    bool is_shard_done;
    bool is_too_large;
    uint32_t skipped;
    void **rows; /* each one block of gv_xalloc */
    size_t row_count;
    size_t row_capacity;
    size_t bytes; /* of rows */
    size_t slice_bytes;
};

/* The walk has host, kind, call and page.  Ends in an answer, also when it is given up. */
GV_LOOP_ONLY void gv_walk_begin(gv_walk_t *walk);

/* For the host. */
void gv_walk_slice(gv_walk_t *walk, gv_shard_t *shard);
void gv_walk_router_slice(gv_walk_t *walk, const gv_router_t *router);
GV_LOOP_ONLY void gv_walk_returned(gv_walk_t *walk, bool is_stopping);

/* For a kind that answers with a page, sometimes. */
GV_LOOP_ONLY void gv_walk_answer_page(gv_walk_t *walk);

/* What to do with something that the walk wants. */
typedef enum gv_walk_step {
    GV_WALK_TAKE, /* gv_walk_add() */
    GV_WALK_PASS, /* it is of a page before */
    GV_WALK_END,  /* no more in this slice; the next begins with it, if there is one */
} gv_walk_step_t;

/* Asked in a slice, for each thing that matches. */
gv_walk_step_t gv_walk_step(gv_walk_t *walk);

/* A new row of this size [bytes], to be filled; 8-aligned. */
void *gv_walk_add(gv_walk_t *walk, size_t size);

/* Writes a copy of bytes at *end, moves that, and returns the copy: for texts behind a row. */
gv_bytes_t gv_walk_copy(gv_bytes_t bytes, uint8_t **end);
