/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Checks passwords on a thread of its own, because PBKDF2 takes milliseconds and a shard has none.
 *
 *     gv_passwords_new()  gv_passwords_start()
 *     gv_passwords_check()     from any loop; the answer comes as a letter to that loop
 *     gv_passwords_stop()      after those who ask, before their loops are freed
 *     gv_passwords_free()
 *
 * A fleet that comes back after a failure brings the same passwords again, so the last good one of
 * each user is remembered: not the password, but a keyed hash whose key is this process's own.  The
 * second time costs microseconds.  Wrong passwords and unknown users always cost the same.
 *
 * Threads: as marked.  Memory: at most GV_PASSWORDS_WAITING_MAX questions, of bounded size.
 */

#include "base/bytes.h"
#include "base/err.h"
#include "base/io/loop.h"
#include "broker/auth/users.h"
#include "broker/core/parcel.h"

/* Questions at a time: what one thread answers in about a second. */
#define GV_PASSWORDS_WAITING_MAX 256U

/* Longer ones are wrong [bytes]. */
#define GV_PASSWORD_SIZE_MAX 1024U

typedef struct gv_passwords gv_passwords_t;

/* On the loop that has asked; not when that loop is stopping. */
typedef void gv_password_cb_t(const gv_ticket_t *ticket, bool is_good, void *arg);

/* All borrowed for the call, but for `loop`, `done` and `arg`. */
typedef struct gv_password_question {
    gv_users_t *users;
    gv_bytes_t fake_key; /* of GV_SHA256_SIZE bytes, for gv_users_invent() */
    gv_bytes_t user;
    gv_bytes_t password;
    gv_ticket_t ticket;
    gv_loop_t *loop;
    gv_password_cb_t *done;
    void *arg;
} gv_password_question_t;

/* GV_OK, or GV_ERR_IO when the system gives no descriptors. */
GV_MUST_USE gv_err_t gv_passwords_new(gv_passwords_t **passwords_out);

/* GV_OK, or GV_ERR_IO when the system gives no thread. */
GV_MUST_USE gv_err_t gv_passwords_start(gv_passwords_t *passwords);

/* Ends the thread; what is asked still is answered with a no. */
void gv_passwords_stop(gv_passwords_t *passwords);

void gv_passwords_free(gv_passwords_t **passwordsp);

/* False: too much is asked already. */
GV_MUST_USE GV_ANY_THREAD bool gv_passwords_check(gv_passwords_t *passwords,
                                                  const gv_password_question_t *question);
