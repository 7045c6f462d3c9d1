/* SPDX-License-Identifier: Apache-2.0 */
#include "base/io/mailbox.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include <check.h>

#include "base/io/loop.h"

enum {
    SENDERS = 4,
    LETTERS_EACH = 50000
};

typedef struct note {
    gv_letter_t letter;
    int sender;
    int number;
} note_t;

static gv_loop_t *loop;
static int next_expected[SENDERS];
static int received;
static int out_of_order;

static void receive(note_t *note)
{
    if (note->number != next_expected[note->sender]) {
        out_of_order++;
    }
    next_expected[note->sender] = note->number + 1;
    received++;
    free(note);
}

static void on_note(gv_letter_t *letter)
{
    receive(gv_container_of(letter, note_t, letter));
    if (received == SENDERS * LETTERS_EACH) {
        gv_loop_stop(loop);
    }
}

static note_t *new_note(gv_letter_cb_t *deliver, int sender, int number)
{
    note_t *note = malloc(sizeof(*note));
    *note = (note_t){.letter.deliver = deliver, .sender = sender, .number = number};
    return note;
}

static void *sender_main(void *arg)
{
    int sender = *(int *)arg;
    for (int i = 0; i < LETTERS_EACH; i++) {
        gv_loop_send(loop, &new_note(on_note, sender, i)->letter);
        if (i % 1000 == 0) {
            /* Lets the loop fall asleep in between, so that the bell is needed. */
            struct timespec pause = {.tv_nsec = 100000};
            (void)nanosleep(&pause, NULL);
        }
    }
    return NULL;
}

START_TEST(every_letter_arrives_in_its_senders_order)
{
    ck_assert_int_eq(gv_loop_new(NULL, &loop), GV_OK);
    pthread_t thread[SENDERS];
    int id[SENDERS];
    for (int i = 0; i < SENDERS; i++) {
        id[i] = i;
        ck_assert_int_eq(pthread_create(&thread[i], NULL, sender_main, &id[i]), 0);
    }
    gv_loop_run(loop);
    for (int i = 0; i < SENDERS; i++) {
        ck_assert_int_eq(pthread_join(thread[i], NULL), 0);
    }
    ck_assert_int_eq(received, SENDERS * LETTERS_EACH);
    ck_assert_int_eq(out_of_order, 0);
    ck_assert_uint_ge(gv_counter_get(&gv_loop_stats(loop)->letters), SENDERS * LETTERS_EACH);
    gv_loop_free(&loop);
}
END_TEST

static void on_counted_note(gv_letter_t *letter)
{
    receive(gv_container_of(letter, note_t, letter));
}

/* What is over the budget stays in front of what comes later. */
START_TEST(budget_keeps_the_order)
{
    gv_loop_assert_current(NULL); /* no loop runs: this thread may play the box's owner */
    gv_poller_t poller;
    gv_mailbox_t box;
    ck_assert_int_eq(gv_poller_open(&poller), GV_OK);
    ck_assert_int_eq(gv_mailbox_open(&box, &poller), GV_OK);
    for (int i = 0; i < 10; i++) {
        gv_mailbox_send(&box, &new_note(on_counted_note, 0, i)->letter);
    }
    ck_assert_uint_eq(gv_mailbox_deliver(&box, 4), 4);
    ck_assert(!gv_mailbox_sleep(&box));
    gv_mailbox_send(&box, &new_note(on_counted_note, 0, 10)->letter);
    ck_assert_uint_eq(gv_mailbox_deliver(&box, 4), 4);
    ck_assert_uint_eq(gv_mailbox_deliver(&box, 100), 3);
    ck_assert_uint_eq(gv_mailbox_deliver(&box, 100), 0);
    ck_assert_int_eq(received, 11);
    ck_assert_int_eq(out_of_order, 0);
    ck_assert(gv_mailbox_sleep(&box));
    gv_mailbox_close(&box, &poller);
    gv_poller_close(&poller);
}
END_TEST

/* The other half of the sleep protocol: a letter that is already there forbids to sleep. */
START_TEST(loop_does_not_sleep_over_a_letter)
{
    gv_loop_assert_current(NULL); /* no loop runs: this thread may play the box's owner */
    gv_poller_t poller;
    gv_mailbox_t box;
    ck_assert_int_eq(gv_poller_open(&poller), GV_OK);
    ck_assert_int_eq(gv_mailbox_open(&box, &poller), GV_OK);
    gv_mailbox_send(&box, &new_note(on_counted_note, 0, 0)->letter);
    ck_assert(!gv_mailbox_sleep(&box));
    ck_assert_uint_eq(gv_mailbox_deliver(&box, 1), 1);
    ck_assert(gv_mailbox_sleep(&box));
    gv_mailbox_close(&box, &poller);
    gv_poller_close(&poller);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("mailbox");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, every_letter_arrives_in_its_senders_order);
    tcase_add_test(tc, budget_keeps_the_order);
    tcase_add_test(tc, loop_does_not_sleep_over_a_letter);
    Suite *suite = suite_create("base/io");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
