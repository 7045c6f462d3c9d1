/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_handshake: how two nodes make sure of each other before a link between them is used.
 *
 *        dialer                                acceptor
 *          | ---- HELLO  who I am, a challenge --> |  same cluster? common version? not myself?
 *          | <--- HELLO  who I am, a challenge --- |
 *          | ---- PROOF  mac("dialer", hellos) --> |  knows the secret?
 *          | <--- PROOF  mac("acceptor", hellos) - |  the link is open for the acceptor
 *          |  the link is open for the dialer      |
 *
 * Either side may answer REFUSED with a reason instead, and then both can say why.
 *
 * The proof is HMAC-SHA256 under the cluster's shared secret, over the role and both hellos exactly
 * as they went over the wire.  Both hellos carry a fresh challenge, so an old proof is worth
 * nothing (replay); the role is in it, so a proof cannot be sent back to who made it (reflection);
 * all the rest of the hellos is in it, so nobody in between can lower the version or change an
 * address. The dialer proves first: who only knocks at an open port never gets a mac to guess the
 * secret by. What follows on the link is neither encrypted nor signed: that is what TLS will be
 * for, and it slides in below this, at the stream.
 *
 * Life: gv_handshake_new() - gv_handshake_input() for each frame, gv_handshake_output() sent after
 * each - OPEN or REFUSED, both final - gv_handshake_free().  The owner bounds the time
 * (GV_HANDSHAKE_TIMEOUT_MS, gv_handshake_expire()) and the size of frames
 * (GV_HANDSHAKE_BODY_MAX).  The core looks at the identity once more when the link is given to it,
 * since only the core knows who else is there.
 *
 * Threads: the owner's.  Memory: one allocation of 6 KiB for the time of the handshake.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/defs.h"
#include "base/err.h"
#include "cluster/core/core.h"
#include "proto/link.h"

#define GV_HANDSHAKE_TIMEOUT_MS      3000U
#define GV_HANDSHAKE_BODY_MAX        ((size_t)2048) /* of any frame before the link is open */
#define GV_HANDSHAKE_CHALLENGE_BYTES 32U
#define GV_HANDSHAKE_MAC_BYTES       32U
#define GV_HANDSHAKE_TEXT_SIZE       160U

/* The mac as a port: OpenSSL in the product (cluster/link/hmac.h), something plain in tests. */
typedef struct gv_hmac {
    /* HMAC-SHA256 over the concatenation of the parts.  Returns GV_OK or GV_ERR_IO. */
    gv_err_t (*sha256)(void *arg, gv_bytes_t key, const gv_bytes_t *parts, size_t part_count,
                       uint8_t mac_out[GV_HANDSHAKE_MAC_BYTES]);
    void *arg;
} gv_hmac_t;

/* What a node brings to all its handshakes; outlives them. */
typedef struct gv_handshake_self {
    gv_peer_identity_t identity; /* .protocol is not used; .address may be ":port", see below */
    uint32_t protocol_oldest;    /* GV_PROTOCOL_VERSION_OLDEST, except in tests */
    uint32_t protocol_newest;    /* GV_PROTOCOL_VERSION, except in tests */
    uint64_t features;
    gv_bytes_t secret; /* empty: the operator chose to run the cluster without one */
    gv_hmac_t hmac;
} gv_handshake_self_t;

typedef enum gv_handshake_role {
    GV_HANDSHAKE_DIALER,
    GV_HANDSHAKE_ACCEPTOR,
} gv_handshake_role_t;

/*
 *     HELLO_AWAITED --hello--> PROOF_AWAITED --proof--> OPEN
 *           '---- refused by either side, expired ----> REFUSED
 */
typedef enum gv_handshake_state {
    GV_HANDSHAKE_HELLO_AWAITED,
    GV_HANDSHAKE_PROOF_AWAITED,
    GV_HANDSHAKE_OPEN,
    GV_HANDSHAKE_REFUSED,
} gv_handshake_state_t;

/* Why there will be no link. */
typedef struct gv_handshake_refusal {
    gv_link_close_t reason;
    bool is_by_peer;                   /* the peer said so */
    char text[GV_HANDSHAKE_TEXT_SIZE]; /* one printable line */
} gv_handshake_refusal_t;

typedef struct gv_handshake gv_handshake_t;

/* challenge: fresh random bytes, for this connection only.  A dialer has output at once. */
void gv_handshake_new(const gv_handshake_self_t *self, gv_handshake_role_t role,
                      const uint8_t challenge[GV_HANDSHAKE_CHALLENGE_BYTES],
                      gv_handshake_t **handshake_out);

void gv_handshake_free(gv_handshake_t **handshakep);

/* Takes one frame from the peer and returns the new state.  Not after OPEN or REFUSED. */
gv_handshake_state_t gv_handshake_input(gv_handshake_t *handshake, const gv_linkframe_t *frame);

/* The time is over: REFUSED. */
void gv_handshake_expire(gv_handshake_t *handshake);

/*
 * The bytes to send now, whole frames; empty when there are none.  Borrowed until the next input.
 * After REFUSED they tell the peer why, before the connection is closed.
 */
gv_bytes_t gv_handshake_output(const gv_handshake_t *handshake);

gv_handshake_state_t gv_handshake_state(const gv_handshake_t *handshake);

/*
 * What the peer says it is: known from its hello on (NULL before), true only in OPEN.  An address
 * without a host (":7883") means: the host you see me at.  Texts are printable, without blanks and
 * quotes.
 */
const gv_peer_identity_t *gv_handshake_peer(const gv_handshake_t *handshake);

/* The feature bits that both sides have.  Only in OPEN. */
uint64_t gv_handshake_features(const gv_handshake_t *handshake);

/* Only in REFUSED. */
const gv_handshake_refusal_t *gv_handshake_refusal(const gv_handshake_t *handshake);

/* 1 to GV_NODE_NAME_MAX printable characters without blanks and quotes. */
bool gv_handshake_name_is_valid(const char *name);
