/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Every kind of frame between two nodes, in one place.  The number is on the wire and never reused.
 *
 * Bodies are messages of proto/cluster.proto.  Kinds below GV_FRAME_CORE_FIRST belong to the
 * handshake in cluster/link and never reach the core.  A kind nobody knows is skipped, so that a
 * newer peer may send more; a feature that needs an answer is used only when the peer has offered
 * it.
 *
 * Reserved for what comes later in the same structure:
 *   64..79    outbox: replay after a break (the forward channel's sequence numbers go on)
 *   82..95    directory: what hand-over adds to it
 *   96..111   hand-over of a session: ask, freeze, state, queue slices, done
 *   112..127  shadows: the stream of a session's durable changes
 */

#include <stdbool.h>
#include <stdint.h>

typedef enum gv_frame_kind {
    /* handshake, cluster/link's own */
    GV_FRAME_HELLO = 1,   /* Hello: who I am, and a challenge */
    GV_FRAME_PROOF = 2,   /* Proof: the answer to the other's challenge */
    GV_FRAME_REFUSED = 3, /* Refused: why the connection ends now */

    /* membership */
    GV_FRAME_HEARTBEAT = 16,    /* Heartbeat: a stamp, and an echo of the peer's */
    GV_FRAME_FACTS = 17,        /* Facts: states of members the peer may not know */
    GV_FRAME_VIEW = 18,         /* View: how one node sees all others */
    GV_FRAME_PROBE = 19,        /* Probe: have you heard this node? */
    GV_FRAME_PROBE_ANSWER = 20, /* ProbeAnswer */
    GV_FRAME_GOODBYE = 21,      /* Refused: sent before a link is closed on purpose */

    /* single-writer tables */
    GV_FRAME_DIGEST = 24,            /* Digest: versions and hashes of all tables held */
    GV_FRAME_TABLE_PIECE = 25,       /* TablePiece: rows, pushed by their owner */
    GV_FRAME_TABLE_ACK = 26,         /* TableAck: what I have of your table */
    GV_FRAME_TABLE_REQUEST = 27,     /* TableRequest: send me a piece of that node's table */
    GV_FRAME_TABLE_ANSWER = 28,      /* TablePiece: the answer, from whoever holds the table */
    GV_FRAME_TABLE_ACK_RELAY = 29,   /* RelayedAck: to be passed on to the owner, as the next */
    GV_FRAME_TABLE_ACK_RELAYED = 30, /* RelayedAck: from a node the owner does not hear */

    /*
     * Forwarding.  "_RELAY" is the first of two hops: the receiver passes the same body on, over
     * its own link to the addressee, as the plain kind.  A plain kind is never passed on, so there
     * is no loop and no hop counter to get wrong.
     */
    GV_FRAME_FORWARD = 32,           /* ForwardBatch */
    GV_FRAME_FORWARD_RELAY = 33,     /* ForwardBatch */
    GV_FRAME_FORWARD_ACK = 34,       /* ForwardAck */
    GV_FRAME_FORWARD_ACK_RELAY = 35, /* ForwardAck */

    /*
     * Retained messages: notes of the hosts (broker/core/reconcile.h), which the core only carries.
     * The messages themselves are forwarded as publishes.
     */
    GV_FRAME_RETAINED_DIGEST = 48, /* RetainedDigest: a hash of all that I have */
    GV_FRAME_RETAINED_ASK = 49,    /* RetainedNote: what is in this bucket? */
    GV_FRAME_RETAINED_LIST = 50,   /* RetainedNote: topics and stamps */
    GV_FRAME_RETAINED_WANT = 51,   /* RetainedNote: topics, to be sent */

    /* Who owns which client id; directory.h.  "_RELAY" as in forwarding. */
    GV_FRAME_DIRECTORY = 80,       /* DirectoryNote */
    GV_FRAME_DIRECTORY_RELAY = 81, /* DirectoryNote */
} gv_frame_kind_t;

static inline bool gv_frame_is_note(gv_frame_kind_t kind)
{
    return kind >= GV_FRAME_RETAINED_DIGEST && kind <= GV_FRAME_RETAINED_WANT;
}

#define GV_FRAME_CORE_FIRST GV_FRAME_HEARTBEAT

/*
 * Longest body of any frame [bytes].  Check it before allocating.  Long messages are cut into
 * pieces by the core (64 KiB each), so that control never waits behind more than one such frame.
 */
#define GV_FRAME_BODY_MAX ((uint32_t)262144)
