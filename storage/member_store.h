/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The tables `members` and `member_routes`: the other nodes of the cluster, and for which topics
 * each of them has sessions that stay, as this node has last heard.
 *
 * Threads: plain functions.
 */

#include "storage/keys.h"
#include "storage/records.h"
#include "storage/store.h"

/* Views; who gives the struct says how long they are valid. */
typedef struct gv_stored_member {
    const uint8_t *node_id; /* GV_NODE_ID_SIZE bytes */
    gv_bytes_t name;
    gv_bytes_t address;  /* "host:port" where it can be dialled; may be empty */
    uint64_t gone_at_ms; /* real time it was found to be away; 0: it was there */
} gv_stored_member_t;

void gv_member_record_put(gv_batch_t *batch, const gv_stored_member_t *member);
void gv_member_record_delete(gv_batch_t *batch, const uint8_t *node_id);

/* The filter has at least one byte. */
void gv_member_route_put(gv_batch_t *batch, const uint8_t *node_id, gv_bytes_t filter);
void gv_member_route_delete(gv_batch_t *batch, const uint8_t *node_id, gv_bytes_t filter);

typedef gv_err_t gv_member_record_cb_t(const gv_stored_member_t *member, void *arg);
typedef gv_err_t gv_member_route_cb_t(const uint8_t *node_id, gv_bytes_t filter, void *arg);

/*
 * All there is, by node; the views are valid until the callback returns.  What is damaged is noted
 * and passed over.  Results as gv_store_scan().
 */
GV_MUST_USE gv_err_t gv_member_record_scan(gv_store_t *store, gv_member_record_cb_t *on_member,
                                           void *arg);
GV_MUST_USE gv_err_t gv_member_route_scan(gv_store_t *store, gv_member_route_cb_t *on_route,
                                          void *arg);
