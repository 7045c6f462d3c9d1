/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The server's side of one SCRAM-SHA-256 exchange:
 *
 *      gv_scram_new()                        gv_scram_step()
 *     ---------------> WAITS_FOR_FIRST ----------------------> WAITS_FOR_FINAL
 *                            |        client first / server first     |
 *                            |                                        |  client final / server
 * final v                                        v OVER <----------------------------------- OVER
 *                        refused                             done, or refused
 *
 * A stranger is asked for a proof like everybody, and then refused like somebody with a wrong
 * password: neither what is said nor how long it takes tells which users there are.
 *
 * Threads: the owner's.  Memory: one object of about 3 KiB, wiped when it is freed.
 */

#include "broker/auth/users.h"
#include "broker/core/auth.h"

typedef struct gv_scram gv_scram_t;

/* Random characters the server adds to the nonce; base64 of GV_SCRAM_NONCE_BYTES. */
#define GV_SCRAM_NONCE_BYTES 18U

/* What the exchange needs of its surroundings; read in gv_scram_new() and in the first step. */
typedef struct gv_scram_options {
    gv_users_t *users;    /* a reference is taken */
    gv_bytes_t fake_key;  /* gv_users_invent(); copied */
    const uint8_t *nonce; /* GV_SCRAM_NONCE_BYTES bytes that nobody can guess; copied */
} gv_scram_options_t;

gv_scram_t *gv_scram_new(const gv_scram_options_t *options);
void gv_scram_free(gv_scram_t **scramp);

/* As gv_auth_ports_t.step. */
gv_auth_step_t gv_scram_step(gv_scram_t *scram, gv_bytes_t message, gv_bytes_t *answer_out);

/* The user's name, once the client has begun; valid as long as the exchange. */
gv_bytes_t gv_scram_user(const gv_scram_t *scram);
