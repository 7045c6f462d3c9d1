/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Who this node is, for ever: kept in the meta table of its store.
 *
 * gv_identity_open() is called once per start, after the store is open and before the node says
 * anything to the network: when it returns, the start counter it gives is on the disk, so no two
 * runs of a node ever share one.
 *
 * The upper bound of the hybrid logical clock.  A clock that was set back must not make this node
 * give out stamps it has given before.  So the disk holds a bound: gv_identity_put_hlc_bound() goes
 * into the batch that stores what has a stamp above it, and after a restart stamps begin above the
 * bound that was found.  A stamp that was given and is not on the disk may be given again.
 *
 * Works on any store.  Threads: one.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/err.h"

#include "storage/store.h"

#define GV_NODE_NAME_SIZE_MAX 255 /* without the NUL; cluster names too */

typedef struct gv_identity {
    uint8_t node_id[GV_NODE_ID_SIZE];
    char node_name[GV_NODE_NAME_SIZE_MAX + 1];
    char cluster_name[GV_NODE_NAME_SIZE_MAX + 1];
    uint64_t start_counter; /* 1 at the first start */
    uint64_t hlc_floor;     /* what this node has stored before this start is at or below it */
    uint64_t hlc_bound;     /* the bound on disk now */
    bool is_new;            /* the store was empty */
} gv_identity_t;

typedef struct gv_identity_options {
    const char *node_name;    /* empty: the stored one, or for a new store the default */
    const char *default_name; /* as the host's, which may change: then the stored one stays */
    const char *cluster_name; /* empty: the stored one; a new store needs one */
    const char *where;        /* what to call the store in messages: the data directory */
    bool adopt;               /* this node's store, under a new name; the id stays */
    uint8_t fresh_node_id[GV_NODE_ID_SIZE]; /* random; used when the store is new */
    uint64_t hlc_bound; /* the bound wanted; the higher of this and the stored one holds */
} gv_identity_options_t;

/*
 * Reads the identity or makes it, counts the start and writes both.
 *
 * Returns GV_OK; GV_ERR_EXISTS: the store is another node's or cluster's; GV_ERR_VERSION: written
 * by a newer Grapevine; GV_ERR_CORRUPT: the record is damaged; GV_ERR_INVAL: a name is missing or
 * too long; GV_ERR_FULL, GV_ERR_IO: from writing.  With an error, `why` holds one line that says
 * what is wrong and what to do.
 */
GV_MUST_USE gv_err_t gv_identity_open(gv_store_t *store, const gv_identity_options_t *options,
                                      gv_identity_t *identity_out, char *why, size_t why_size);

/*
 * Reads what is there and changes nothing, for tools.  GV_OK; GV_ERR_NOENT: no node has used the
 * store; GV_ERR_VERSION; GV_ERR_CORRUPT; GV_ERR_IO.
 */
GV_MUST_USE gv_err_t gv_identity_read(gv_store_t *store, gv_identity_t *identity_out);

/*
 * Adds a higher bound to the batch.  Whether the batch may use the reserve of a full store is the
 * caller's to say.
 */
void gv_identity_put_hlc_bound(gv_batch_t *batch, uint64_t bound);
