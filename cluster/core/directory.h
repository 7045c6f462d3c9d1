/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_directory: who owns which client id in the cluster, so that an id has one live connection.
 *
 * The registrar of an id is the routable node with the highest rendezvous hash of (node, id), this
 * one included.  It knows only what the owners of connections have told it, and loses nothing that
 * they would not tell again: no disk, no consensus.
 *
 *     claimant                    registrar                      old owner
 *        | CLAIM ------------------> | nobody has it: GRANTED        |
 *        |                           | LET_GO ---------------------> | closes its connection
 *        |                           | <----------------------- LEFT |
 *        | <---------------- GRANTED |                               |
 *
 * A node can be all three.  (Hand-over of a session will be one step more: between LET_GO and LEFT
 * the old owner has something to give to the node that is named in LET_GO.)
 *
 * Everything is decided by stamps: the hybrid clock's time of CONNECT, then the node.  The higher
 * one keeps the connection, so a message that comes late, twice or out of order never closes the
 * newest.  A claim that finds a higher stamp there is newer all the same, for it comes later, and a
 * clock is wrong: it is told to be above (AGAIN).  Who has been connected for a while and says so
 * only now (REGISTER) is told to let go instead: that is how two owners become one after a
 * partition.
 *
 * A claim is answered within `wait_ms`.  If registrar or old owner are too slow, it is granted, and
 * the rest is done when they are there again: nobody is kept out because somebody else is down.
 *
 * What owners tell (REGISTER, WITHDRAW) goes in pieces, each acknowledged before the next is sent.
 * When a piece or its acknowledgement may have been lost, or the registrar is another one (a new
 * life, a new path), the owner begins anew: the registrar forgets what it has of that owner, and
 * gets all of it again, in bounded pieces per turn.  If the registrars of ids change because a node
 * comes or goes, each owner moves what is to be moved.
 *
 * Keys: an id is known by 128 bits of SHA-256, so no two ids that anybody can find have the same.
 * If they had, one of the two connections would not be known here and nothing else would happen, or
 * the older one of two on different nodes would be closed.
 *
 * Whose id it is: a claim by another user than the one whose connection is registered is denied,
 * as the shard does with the session; the user 0 owns nothing.
 *
 * Threads: the owner's.  Memory: 40 bytes and an index for each connection of this node, 32 and an
 * index for each one registered here, `registered_max` of them; what is beyond is granted and not
 * registered.  What waits for another node is bounded by our own connections.
 */

#include <stdbool.h>
#include <stdint.h>

#include "cluster/core/core.h"
#include "cluster/core/keytable.h"
#include "proto/cluster.pb-c.h"

typedef struct gv_directory gv_directory_t;

typedef struct gv_directory_ports {
    /* A note for another node, to which there is a path; it may get lost.  Borrowed for the call;
     * ids and boot ids in it are the caller's to fill in. */
    void (*send)(gv_node_index_t to, Gv__DirectoryNote *note, void *arg);
    /* The answer to gv_directory_claim(), once; hlc: the stamp that the connection has now. */
    void (*claimed)(const gv_claim_t *claim, gv_claim_verdict_t verdict, void *arg);
    /* This connection is to be closed; answered by gv_directory_let_gone(). */
    void (*let_go)(const gv_letting_t *letting, void *arg);
    void *arg;
} gv_directory_ports_t;

typedef struct gv_directory_options {
    uint32_t wait_ms;        /* longest wait of a claim */
    uint64_t registered_max; /* connections registered here */
    gv_node_id_t self;
    gv_directory_ports_t ports;
} gv_directory_options_t;

/* What is known of another node. */
typedef struct gv_directory_peer {
    gv_node_id_t id;
    uint64_t boot_id;
    uint64_t path; /* another one whenever something may have been lost; 0: there is no way */
    bool is_routable;
} gv_directory_peer_t;

void gv_directory_new(const gv_directory_options_t *options, gv_directory_t **directory_out);
void gv_directory_free(gv_directory_t **directoryp);

/* Another node, as it is now; to be called before each flush. */
void gv_directory_set_peer(gv_directory_t *directory, gv_node_index_t node,
                           const gv_directory_peer_t *peer);

/* The node is forgotten: its index may become another's. */
void gv_directory_forget_peer(gv_directory_t *directory, gv_node_index_t node);

/* See gv_ccore_claim() and those that follow it. */
void gv_directory_claim(gv_directory_t *directory, const gv_claim_t *claim);
void gv_directory_register(gv_directory_t *directory, const gv_claim_t *claim);
void gv_directory_withdraw(gv_directory_t *directory, const gv_id_key_t *key, gv_holder_t holder);
void gv_directory_let_gone(gv_directory_t *directory, const gv_letting_t *letting);

/* A note of another node.  False: malformed. */
bool gv_directory_take(gv_directory_t *directory, gv_node_index_t from,
                       const Gv__DirectoryNote *note);

/* Does what is due, sends what has gathered, gives the answers.  Calls ports. */
void gv_directory_flush(gv_directory_t *directory, uint64_t now_ms);

/* When to flush at the latest, as of the last flush; UINT64_MAX: whenever. */
uint64_t gv_directory_deadline_ms(const gv_directory_t *directory);

const gv_directory_stats_t *gv_directory_stats(const gv_directory_t *directory);

/* Who registers this id, as we see it. */
gv_node_index_t gv_directory_registrar(const gv_directory_t *directory, const gv_id_key_t *key);
