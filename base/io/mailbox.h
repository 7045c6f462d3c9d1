/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_mailbox: how one thread asks a loop to do something.
 *
 * Everything a loop owns may be touched by that loop's thread only.  The single
 * door for all other threads is the loop's mailbox: put a letter in, the loop calls letter->deliver
 * on its own thread, soon.  Senders use gv_loop_send() (base/io/loop.h); this is what it is made
 * of.
 *
 * Order: letters of one sender arrive in the order sent.  Letters of two senders in any order.
 * Cost: one compare-and-swap per letter; a system call only when the box was empty and the loop may
 * be asleep.
 * Memory: the letter lives inside the sender's own object (intrusive), so sending cannot fail and
 * allocates nothing.  From gv_mailbox_send() until deliver() runs it belongs to the mailbox.
 *
 * The bell is an eventfd of our own: libuv's uv_async_t marks itself busy around its system call,
 * and the woken loop spins until the ringing thread has come back from it (uv__async_spin; 16 % of
 * the time under QoS 1 load on two cores).
 *
 * How the bell is saved without losing a wake-up: a sender first puts its letter in and then looks
 * whether the loop sleeps; the loop first says that it sleeps and then looks for letters.  All four
 * steps are sequentially consistent, so at least one of the two sees the other.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/err.h"
#include "base/io/poller.h"
#include "base/letter.h"

/* Public only so that a loop can embed it. */
typedef struct gv_mailbox {
    _Atomic(gv_letter_t *) _stack; /* newest first */
    atomic_bool _asleep;           /* the loop may be blocked and needs the bell */
    gv_letter_t *_waiting;         /* taken out, oldest first, not delivered yet; the loop's own */
    gv_watch_t _bell;              /* on an eventfd */
} gv_mailbox_t;

/* GV_OK or GV_ERR_IO.  Call before any other thread sends. */
GV_MUST_USE gv_err_t gv_mailbox_open(gv_mailbox_t *box, gv_poller_t *poller);

/* Hands the letter over.  deliver must be set.  Never blocks, never fails. */
GV_ANY_THREAD void gv_mailbox_send(gv_mailbox_t *box, gv_letter_t *letter);

/*
 * Delivers up to `count_max` letters that were in the box at the moment of the call; what is over
 * stays in front of everything that comes later.  Returns how many were delivered.
 */
GV_LOOP_ONLY uint32_t gv_mailbox_deliver(gv_mailbox_t *box, uint32_t count_max);

/*
 * The loop is about to block.  Returns true if it may: from then on the next sender rings.  False
 * if there are letters.
 */
GV_LOOP_ONLY bool gv_mailbox_sleep(gv_mailbox_t *box);

/* The loop is awake again; senders need not ring. */
GV_LOOP_ONLY void gv_mailbox_wake(gv_mailbox_t *box);

/* Closes the bell.  From here on letters are still taken in, but nobody is woken. */
GV_LOOP_ONLY void gv_mailbox_close(gv_mailbox_t *box, gv_poller_t *poller);
