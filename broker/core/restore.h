/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A node's start: sessions, subscriptions, wills and the positions of waiting messages come back
 * from the store, before anybody can connect.  The messages themselves stay where they are.
 *
 * A record that is damaged, or belongs to no session, is left alone and counted.  Wills that fell
 * due and sessions that expired while the node was down are seen to at once.
 *
 * Threads: one, before the loops run.
 */

#include "broker/core/hub.h"
#include "broker/core/log.h"
#include "broker/core/shard.h"
#include "storage/store.h"

typedef struct gv_restored {
    uint64_t sessions;
    uint64_t subscriptions;
    uint64_t wills;
    uint64_t segments;
    uint64_t messages; /* that wait */
    uint64_t orphans;  /* records of sessions that are not there */
    uint64_t damaged;  /* segments that could not be read */
} gv_restored_t;

/*
 * GV_OK, or GV_ERR_IO when the store cannot be read.  The log is filled with the segments of the
 * runs before.
 */
GV_MUST_USE gv_err_t gv_restore(gv_shard_t *const *shards, uint16_t shard_count, gv_hub_t *hub,
                                gv_log_t *log, gv_store_t *store, gv_restored_t *restored_out);
