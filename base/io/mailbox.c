/* SPDX-License-Identifier: Apache-2.0 */
#include "base/io/mailbox.h"

#include <sys/eventfd.h>
#include <unistd.h>

/* The bell only ends the loop's sleep; the letters are taken by gv_mailbox_deliver() afterwards. */
static void on_bell(gv_watch_t *bell, uint32_t events)
{
    (void)bell;
    (void)events;
}

/* Takes the whole stack at once and turns it round: oldest first. */
static gv_letter_t *take_all(gv_mailbox_t *box)
{
    if (atomic_load_explicit(&box->_stack, memory_order_relaxed) == NULL) {
        return NULL; /* the usual case, without a locked instruction */
    }
    /* Acquire: pairs with the release in gv_mailbox_send(). */
    gv_letter_t *newest = atomic_exchange_explicit(&box->_stack, NULL, memory_order_acquire);
    gv_letter_t *oldest = NULL;
    while (newest != NULL) {
        gv_letter_t *next = newest->_next;
        newest->_next = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}

gv_err_t gv_mailbox_open(gv_mailbox_t *box, gv_poller_t *poller)
{
    GV_ASSERT(box != NULL);
    GV_ASSERT(poller != NULL);
    atomic_init(&box->_stack, NULL);
    atomic_init(&box->_asleep, false);
    box->_waiting = NULL;
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fd < 0) {
        return GV_ERR_IO;
    }
    gv_watch_init(&box->_bell, fd, on_bell);
    /* Nobody reads it: that would be a system call for each time it rings. */
    if (gv_watch_set(poller, &box->_bell, GV_POLL_IN | GV_POLL_ONCE) != GV_OK) {
        (void)close(fd);
        return GV_ERR_IO;
    }
    return GV_OK;
}

void gv_mailbox_send(gv_mailbox_t *box, gv_letter_t *letter)
{
    GV_ASSERT(letter->deliver != NULL);
    gv_letter_t *head = atomic_load_explicit(&box->_stack, memory_order_relaxed);
    do {
        letter->_next = head;
        /*
         * Release: what the sender wrote into its object is visible to deliver().  Sequentially
         * consistent beyond that, for the look at _asleep below.
         */
    } while (!atomic_compare_exchange_weak_explicit(&box->_stack, &head, letter,
                                                    memory_order_seq_cst, memory_order_relaxed));
    /* A letter that finds others rides along: whoever put the first one has seen to the bell. */
    if (head == NULL && atomic_load_explicit(&box->_asleep, memory_order_seq_cst)) {
        int rc = eventfd_write(box->_bell.fd, 1);
        GV_ASSERT(rc == 0); /* could only fail after 2^64 - 2 rings that nobody heard */
    }
}

static uint32_t deliver_waiting(gv_mailbox_t *box, uint32_t count_max)
{
    uint32_t count = 0;
    while (count < count_max && box->_waiting != NULL) {
        gv_letter_t *letter = box->_waiting;
        box->_waiting = letter->_next; /* first: deliver() may free the letter or send it again */
        letter->deliver(letter);
        count++;
    }
    return count;
}

uint32_t gv_mailbox_deliver(gv_mailbox_t *box, uint32_t count_max)
{
    uint32_t count = deliver_waiting(box, count_max);
    if (count < count_max) {
        box->_waiting = take_all(box);
        count += deliver_waiting(box, count_max - count);
    }
    return count;
}

bool gv_mailbox_sleep(gv_mailbox_t *box)
{
    if (box->_waiting != NULL) {
        return false;
    }
    /* First say so, then look: see the top of mailbox.h. */
    atomic_store_explicit(&box->_asleep, true, memory_order_seq_cst);
    if (atomic_load_explicit(&box->_stack, memory_order_seq_cst) == NULL) {
        return true;
    }
    gv_mailbox_wake(box);
    return false;
}

void gv_mailbox_wake(gv_mailbox_t *box)
{
    /* Relaxed: a sender that still sees "asleep" rings once too often, which is harmless. */
    atomic_store_explicit(&box->_asleep, false, memory_order_relaxed);
}

void gv_mailbox_close(gv_mailbox_t *box, gv_poller_t *poller)
{
    gv_mailbox_wake(box);
    gv_watch_end(poller, &box->_bell);
    (void)close(box->_bell.fd);
}
