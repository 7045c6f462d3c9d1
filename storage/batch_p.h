/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The inside of a batch, for the stores. */

#include "base/list.h"

#include "storage/store.h"

/* A join that a batch is one of `parts` parts of. */
typedef struct gv__join {
    uint64_t number;
    uint32_t parts;
} gv__join_t;

struct gv_batch {
    /* What it changes: an arena of operations, see batch.c. */
    uint8_t *_arena;
    size_t _size;
    size_t _capacity;
    size_t _count;
    gv_err_t _error; /* sticky */
    bool _has_puts;
    bool _draining; /* said by the caller */
    bool _follows;  /* fails with the one before it */

    gv__join_t *joins;
    uint32_t join_count;
    uint32_t _join_capacity;

    /* Its way through a store, from gv_store_submit() on. */
    gv_letter_t letter;
    gv_store_lane_t *lane;
    gv_store_done_cb_t *on_done;
    void *on_done_arg;
    gv_link_t link;        /* the store's queues */
    gv_err_t result;       /* the store's verdict, before it is posted */
    uint64_t submitted_ns; /* for stores that have a clock */
    bool synced_wanted;    /* gv_store_write(): to the disk, whatever the mode */
};

/*
 * Of a share or an unshare: the key of another holder of the same value, or with 0 the value's own.
 */
void gv__batch_shared_key(const gv_batch_op_t *op, uint64_t holder, gv_key_t *key_out);

/* Whether this is the key of a holder of the same value, or of the value. */
bool gv__batch_shares(const gv_batch_op_t *op, gv_bytes_t key);

/* Adds all changes of `from` to the end of `to`. */
void gv__batch_add_all(gv_batch_t *to, const gv_batch_t *from);
