/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A letter: how one thread asks another to do something.  The struct lives inside the sender's own
 * object, so sending allocates nothing and cannot fail.  The real post office is
 * base/io/mailbox.h; a simulated one queues letters in the scheduler.
 *
 * From the moment of sending until deliver() runs the letter belongs to the post office; deliver()
 * owns it then, on the receiver's thread, and may free it or send it on.
 */

typedef struct gv_letter gv_letter_t;
typedef void gv_letter_cb_t(gv_letter_t *letter);

struct gv_letter {
    gv_letter_cb_t *deliver; /* set by the sender */
    gv_letter_t *_next;      /* the post office's own */
};
