/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Who somebody is, as the core asks it of the world: a port.  The core carries the messages of an
 * authentication exchange in CONNECT, AUTH and CONNACK and keeps the rules of MQTT; what the
 * messages mean is known behind the port (broker/auth in the real world).
 *
 * Threads: the shard's.  Nothing here may take long; what does (a password against a hash made to
 * be slow) is done elsewhere, and told later.
 */

#include "base/bytes.h"
#include "base/defs.h"
#include "broker/core/parcel.h"

/* One exchange with one client; what it holds is the port's. */
typedef struct gv_exchange gv_exchange_t;

typedef enum gv_auth_step {
    GV_AUTH_CONTINUE, /* the client has to answer */
    GV_AUTH_DONE,     /* the client is who it says */
    GV_AUTH_REFUSED,
} gv_auth_step_t;

typedef struct gv_auth_ports {
    void *arg;
    /* Begins an exchange by a method; NULL if it is not offered.  NULL instead of the function:
     * none is.  The first step is with the data of CONNECT or of the AUTH that begins. */
    gv_exchange_t *(*begin)(void *arg, gv_bytes_t method);
    /* Takes what the client has sent.  But for GV_AUTH_REFUSED *answer_out is what it is to be
     * told; it is valid until the exchange ends.  No steps after GV_AUTH_DONE or GV_AUTH_REFUSED.
     */
    gv_auth_step_t (*step)(gv_exchange_t *exchange, gv_bytes_t data, gv_bytes_t *answer_out);
    /* Who it says it is; empty until it has, and the truth after GV_AUTH_DONE. */
    gv_bytes_t (*user)(const gv_exchange_t *exchange);
    /* Frees the exchange and sets *exchangep to NULL. */
    void (*end)(gv_exchange_t **exchangep);

    /* Whether user names and passwords in CONNECT are looked at.  NULL: no. */
    bool (*wants_passwords)(void *arg);
    /* Checks one, which takes its time: the shard is told by gv_shard_password_checked() with the
     * same ticket, later.  False: too many are being checked already. */
    bool (*check_password)(void *arg, gv_bytes_t user, gv_bytes_t password,
                           const gv_ticket_t *ticket);
} gv_auth_ports_t;
