/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_links: the connections of this node to the other nodes of its cluster.
 *
 * It accepts and dials, lets nobody in without a handshake (cluster/core/handshake.h), cuts the
 * stream into frames (proto/link.h) and hands them up.  What the frames mean is the core's matter.
 *
 *     gv_links_open()
 *     gv_links_dial() / _send() / _end_link(), and the ops, for as long as it takes
 *     gv_links_close()      everybody gets what is still to be written; on_closed() comes at the
 * end gv_links_free()
 *
 * One connection per pair of nodes, two priorities.  Control frames go straight to the socket. Data
 * frames do so only while less than GV_LINK_SOCKET_BYTES wait there; the others stand in a queue of
 * their own, which every control frame overtakes.  The kernel is told to take no more than half of
 * that ahead of the network (TCP_NOTSENT_LOWAT), or the megabytes of its send buffer would be a
 * queue that nothing overtakes.  Two connections would need pairing, and could be cut one without
 * the other: "alive" would no longer mean that data flows.
 *
 * What strangers can cost: GV_LINK_STRANGERS_MAX connections that have not proved themselves, each
 * for GV_HANDSHAKE_TIMEOUT_MS and GV_HANDSHAKE_BODY_MAX bytes at a time.  Whoever sends something
 * else than a handshake is closed without an answer and counted.
 *
 * Threads: one loop's.  Memory: what is queued per link is the core's to limit (credit); over
 * GV_LINK_QUEUE_MAX the link is cut.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/defs.h"
#include "base/err.h"
#include "base/io/address.h"
#include "base/io/loop.h"
#include "cluster/core/core.h"
#include "cluster/core/handshake.h"

#define GV_LINK_SOCKET_BYTES    ((size_t)256 * 1024)
#define GV_LINK_QUEUE_MAX       ((size_t)128 * 1024 * 1024)
#define GV_LINK_STRANGERS_MAX   64U
#define GV_LINK_DIAL_TIMEOUT_MS 3000U

/* The peer's machine has acknowledged nothing for so long: the connection is over [ms]. */
#define GV_LINK_USER_TIMEOUT_MS 5000U

typedef struct gv_links gv_links_t;

/*
 * What happened.  Called on the loop, never from inside a function of this header, except that
 * `frame` and `opened` may come several times in a row for one read.
 */
typedef struct gv_links_ops {
    /* A peer has proved itself.  dial_token is 0 for an accepted connection. */
    void (*opened)(gv_link_id_t link, const gv_peer_identity_t *peer, uint64_t dial_token,
                   void *arg);
    /* `body` is borrowed for the call. */
    void (*frame)(gv_link_id_t link, uint8_t kind, gv_bytes_t body, void *arg);
    /* An opened link is gone, and not because of gv_links_end_link(). */
    void (*closed)(gv_link_id_t link, void *arg);
    void (*dial_failed)(uint64_t dial_token, void *arg);
} gv_links_ops_t;

typedef struct gv_links_stats {
    uint64_t accepted;
    uint64_t dialled;
    uint64_t opened;                             /* handshakes that went through, either way */
    uint64_t dials_failed;                       /* nobody there, or refused */
    uint64_t strangers_refused;                  /* connections over GV_LINK_STRANGERS_MAX */
    uint64_t garbage;                            /* connections that sent no handshake */
    uint64_t refused[GV_LINK_CLOSE_TIMEOUT + 1]; /* handshakes refused, by gv_link_close_t */
    uint64_t frames_bad;                         /* links lost because of a damaged frame */
    uint64_t frames_in;
    uint64_t frames_out;
    uint64_t bytes_in;     /* bodies */
    uint64_t bytes_out;    /* bodies */
    uint64_t data_delayed; /* data frames that had to wait in the queue */
} gv_links_stats_t;

typedef struct gv_link_info {
    gv_link_id_t link;
    bool is_dialled;                    /* by us */
    char address[GV_ADDRESS_TEXT_SIZE]; /* the other end of the connection */
    uint32_t protocol;
    uint64_t opened_ms;   /* how long it has been open */
    uint64_t queue_bytes; /* data frames waiting, and what waits for the socket */
    uint64_t stalled_ms;  /* for how long the peer has taken nothing although something waits */
} gv_link_info_t;

typedef struct gv_links_options {
    gv_loop_t *loop;
    const gv_handshake_self_t *self; /* borrowed for the life of the links */
    int listen_fd;                   /* from gv_listen_bind(); -1: nobody can dial us */
    gv_links_ops_t ops;
    void *arg;
} gv_links_options_t;

/*
 * Begins to listen.  GV_OK: listen_fd belongs to *links_out.  GV_ERR_BUSY or GV_ERR_IO with the
 * reason in *error.
 */
GV_MUST_USE GV_LOOP_ONLY gv_err_t gv_links_open(const gv_links_options_t *options,
                                                gv_links_t **links_out, gv_error_text_t *error);

/*
 * Dials "host:port".  Answered once, later, by ops.opened or ops.dial_failed with this token.  All
 * addresses of a name are tried before it counts as failed.
 */
GV_LOOP_ONLY void gv_links_dial(gv_links_t *links, const char *address, uint64_t dial_token);

/* Queues a frame; a link that is gone takes it and forgets it. */
GV_LOOP_ONLY void gv_links_send(gv_links_t *links, gv_link_id_t link, gv_link_priority_t priority,
                                uint8_t kind, gv_bytes_t body);

/*
 * Ends a link after what was given to the socket; data frames that wait in the queue are dropped.
 * No op is called for it any more.
 */
GV_LOOP_ONLY void gv_links_end_link(gv_links_t *links, gv_link_id_t link);

typedef void gv_links_closed_cb_t(void *arg);

/*
 * Ends everything: no op is called any more, links get what was given to the socket, all within the
 * loop's linger time.  on_closed comes once, later.
 */
GV_LOOP_ONLY void gv_links_close(gv_links_t *links, gv_links_closed_cb_t *on_closed, void *arg);

/* After on_closed, or after the loop has ended. */
void gv_links_free(gv_links_t **linksp);

GV_LOOP_ONLY const gv_links_stats_t *gv_links_stats(const gv_links_t *links);

/* The open link to this node, the newest if there are two for a moment; false if there is none. */
GV_LOOP_ONLY bool gv_links_info(const gv_links_t *links, const gv_node_id_t *node,
                                gv_link_info_t *info_out);
