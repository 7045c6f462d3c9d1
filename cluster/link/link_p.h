/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the files of cluster/link share.
 *
 *     link.c    the set: opening, accepting, the functions of link.h, what is said in the log
 *     conn.c    one connection: handshake, frames in, two priorities out
 *     dial.c    one call of gv_links_dial(): lookup, one address after the other
 */

#include "base/io/connect.h"
#include "base/io/listener.h"
#include "base/io/stream.h"
#include "base/map.h"
#include "base/timerwheel.h"
#include "cluster/link/discovery.h"
#include "cluster/link/link.h"
#include "cluster/link/notice.h"
#include "proto/link.h"

typedef struct gv_conn gv_conn_t;
typedef struct gv_dialling gv_dialling_t;

/* ---- the set ------------------------------------------------------------------------------ */

struct gv_links {
    gv_loop_t *loop;
    const gv_handshake_self_t *self;
    gv_links_ops_t ops;
    void *arg;
    gv_listener_t *listener;
    gv_list_t conns;     /* gv_conn_t: all of them, oldest first */
    gv_map_t open_conns; /* gv_conn_t by link id: those the owner knows */
    gv_list_t diallings; /* gv_dialling_t */
    gv_own_addresses_t own;
    gv_notices_t notices;
    gv_link_id_t last_id;
    uint32_t stranger_count; /* accepted, not open yet */
    gv_links_stats_t stats;

    bool is_closing;
    gv_job_t closed_job;
    gv_links_closed_cb_t *on_closed;
    void *on_closed_arg;
};

/* A handshake came to nothing; `peer` is NULL when nobody has said who he is. */
GV_LOOP_ONLY void gv__links_report_refusal(gv_links_t *links, const char *address,
                                           const gv_peer_identity_t *peer,
                                           const gv_handshake_refusal_t *refusal, bool is_dialled);

/* Nobody, or nobody like us, could be reached at an address. */
GV_LOOP_ONLY void gv__links_report_unreachable(gv_links_t *links, const char *address,
                                               const char *reason);

/* A connection has ended and is freed: count, and see whether it was the last one. */
GV_LOOP_ONLY void gv__links_conn_gone(gv_links_t *links);

/* ---- one connection ----------------------------------------------------------------------- */

/*
 *     SHAKING --handshake open--> OPEN --ended by us or the peer--> ENDING --on_closed--> freed
 *        '---- refused, expired, garbage, closed by the peer ---------^
 */
typedef enum gv_conn_state {
    GV_CONN_SHAKING,
    GV_CONN_OPEN,
    GV_CONN_ENDING,
} gv_conn_state_t;

struct gv_conn {
    gv_link_t link; /* in links->conns */
    gv_links_t *links;
    gv_conn_state_t state;
    gv_link_id_t id;
    gv_dialling_t *dialling; /* whose attempt this is, until the handshake is decided; or NULL */
    bool is_dialled;
    bool is_stranger;   /* counted in links->stranger_count */
    bool is_owner_told; /* ops.opened was called, ops.closed is due */
    gv_stream_t stream;
    gv_linkframe_decoder_t decoder;
    gv_handshake_t *handshake; /* NULL once open */
    gv_timer_t handshake_timer;
    gv_address_t peer_address;
    gv_peer_identity_t peer;
    uint64_t opened_at_ms;
    gv_list_t queue; /* data frames that wait */
    size_t queue_bytes;
};

/*
 * Takes a socket and begins the handshake.  dialling is NULL for an accepted connection.  NULL, and
 * the socket is closed, when the system has no room for it.
 */
GV_LOOP_ONLY gv_conn_t *gv__conn_begin(gv_links_t *links, gv_socket_t *socket,
                                       const gv_address_t *peer_address, gv_dialling_t *dialling);

GV_LOOP_ONLY void gv__conn_send(gv_conn_t *conn, gv_link_priority_t priority, uint8_t kind,
                                gv_bytes_t body);

/* Ends it from our side; the owner is not told. */
GV_LOOP_ONLY void gv__conn_end(gv_conn_t *conn, gv_close_mode_t mode);

/* ---- one dialling ------------------------------------------------------------------------- */

GV_LOOP_ONLY void gv__dialling_begin(gv_links_t *links, const char *address, uint64_t dial_token);

uint64_t gv__dialling_token(const gv_dialling_t *dialling);
const char *gv__dialling_address(const gv_dialling_t *dialling);

/* The attempt has led to an open link. */
GV_LOOP_ONLY void gv__dialling_succeeded(gv_dialling_t *dialling);

/* The attempt has led to nothing: on to the next address. */
GV_LOOP_ONLY void gv__dialling_attempt_failed(gv_dialling_t *dialling, bool is_self);

/* Gives all of them up without telling anybody. */
GV_LOOP_ONLY void gv__diallings_cancel(gv_links_t *links);

/* After the loop has ended: frees those whose lookup it was stopped over. */
void gv__diallings_free(gv_links_t *links);
