/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The real world behind broker/core/auth.h, for one shard: SCRAM-SHA-256 is offered, and passwords
 * in CONNECT are checked, while there are users.
 *
 * Life: gv_auth_init(), gv_auth_check_passwords() before it runs, gv_auth_set_users() whenever they
 * change, gv_auth_deinit() when no exchange begins any more.  Threads: the shard's; before it runs,
 * the one that builds it.
 */

#include "base/crypto.h"
#include "broker/auth/passwords.h"
#include "broker/auth/users.h"
#include "broker/core/auth.h"
#include "broker/core/shard.h"

typedef struct gv_auth {
    gv_users_t *_users;
    void (*_random)(void *out, size_t size);
    uint8_t _fake_key[GV_SHA256_SIZE];
    gv_passwords_t *_passwords; /* NULL: passwords are not looked at */
    gv_loop_t *_loop;
    gv_shard_t *_shard;
} gv_auth_t;

/*
 * Takes a reference to `users`.  `random` fills in bytes that nobody can guess.  `secret` makes the
 * salts of users that do not exist: the same on all nodes of a cluster and after each start, as
 * those of users are.
 */
void gv_auth_init(gv_auth_t *auth, gv_users_t *users, gv_bytes_t secret,
                  void (*random)(void *out, size_t size));
void gv_auth_deinit(gv_auth_t *auth);

/* From now on passwords in CONNECT are checked for this shard on this loop. */
void gv_auth_check_passwords(gv_auth_t *auth, gv_passwords_t *passwords, gv_loop_t *loop,
                             gv_shard_t *shard);

/* The reference becomes ours. */
void gv_auth_set_users(gv_auth_t *auth, gv_users_t *users);

/* What the core is given; `auth` outlives the shard. */
gv_auth_ports_t gv_auth_ports(gv_auth_t *auth);
