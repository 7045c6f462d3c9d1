/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Users and their verifiers, as the configuration has them (auth.scram).  One immutable snapshot; a
 * reload makes another, and what began with the old one ends with it.
 *
 * Life: gv_users_new() gives one reference, the last gv_users_unref() frees.  Threads: any.
 */

#include "base/bytes.h"
#include "base/defs.h"
#include "broker/config.h"
#include "proto/scram/scram.h"
#include "proto/scram/verifier.h"

typedef struct gv_users gv_users_t;

/* Copies what it is given.  Names are different from each other. */
gv_users_t *gv_users_new(const gv_user_config_t *items, size_t count);

GV_MUST_USE GV_ANY_THREAD gv_users_t *gv_users_ref(gv_users_t *users);
GV_ANY_THREAD void gv_users_unref(gv_users_t **usersp);

GV_ANY_THREAD size_t gv_users_count(const gv_users_t *users);

/* NULL: no such user. */
GV_ANY_THREAD const gv_scram_verifier_t *gv_users_find(const gv_users_t *users, gv_bytes_t name);

/*
 * What a stranger is shown, so that nobody can ask which users there are: a verifier that no
 * password fits, the same for a name whenever it is asked for with the same key.  Salt size and
 * iterations are those of the first user.  There is at least one.
 */
GV_ANY_THREAD void gv_users_invent(const gv_users_t *users, gv_bytes_t name, gv_bytes_t key,
                                   gv_scram_verifier_t *out);
