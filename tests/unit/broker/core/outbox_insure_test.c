/* SPDX-License-Identifier: Apache-2.0 */
/* What is on its way to a node, and on the disk as well. */
#include "broker/core/outbox.h"

#include "base/rng.h"
#include "outbox_rig.h"

/* The cluster has it already, as the last one. */
static void hand(unsigned number)
{
    ck_assert(!gv_outbox_is_open(outbox, PEER, GV_OUTBOX_SPOOL));
    handed[handed_count++] = (handed_t){.number = number, .token = number};
}

static bool insure(handed_t *item, bool is_held)
{
    gv_forward_t message = make_message(item->number, GV_FORWARD_NO_EXPIRY);
    bool is_insured = gv_outbox_insure(outbox, PEER, &message, &item->token, is_held);
    ck_assert((item->token & GV_OUTBOX_TOKEN) != 0 || !is_insured);
    return is_insured;
}

/* The node is there, and these are on their way to it, and insured. */
static void insure_some(unsigned count, bool is_held)
{
    see(GV_NODE_ROUTABLE);
    for (unsigned i = 0; i < count; i++) {
        hand(i + 1);
        ck_assert(insure(&handed[i], is_held));
    }
}

/* What the outbox says of the oldest that is on its way: who has to be told, or 0. */
static uint64_t end_of_first(gv_forward_result_t result)
{
    uint64_t waiter = 0;
    handed_t first = handed[0];
    memmove(handed, handed + 1, --handed_count * sizeof(handed[0]));
    ck_assert((first.token & GV_OUTBOX_TOKEN) != 0);
    bool is_callers = gv_outbox_on_confirmed(outbox, first.token, result, &waiter);
    ck_assert(is_callers == (waiter != 0));
    return waiter;
}

static uint64_t waiting(void)
{
    uint64_t messages = 0;
    uint64_t bytes = 0;
    gv_outbox_waiting(outbox, PEER, &messages, &bytes);
    ck_assert((messages == 0) == (bytes == 0));
    return messages;
}

START_TEST(what_is_insured_is_answered_when_it_is_durable)
{
    insure_some(3, false);
    gv_outbox_turn_end(outbox);
    ck_assert_int_eq(answers[1], 0);
    settle();
    ck_assert_int_eq(answers[1], 1);
    ck_assert_int_eq(answers[3], 1);
    ck_assert_uint_eq(on_disk(), 3);
    ck_assert_uint_eq(waiting(), 3);
    ck_assert_uint_eq(handed_count, 3); /* nothing is sent from here */
    ck_assert_uint_eq(gv_counter_get(&gv_outbox_stats(outbox)->early), 3);
    /* What comes now goes its way: it is behind them there. */
    ck_assert(!gv_outbox_is_open(outbox, PEER, GV_OUTBOX_SPOOL));
    for (int i = 0; i < 3; i++) {
        ck_assert_uint_eq(end_of_first(GV_FORWARD_APPLIED), 0);
    }
    settle();
    ck_assert_uint_eq(on_disk(), 0);
    ck_assert_uint_eq(waiting(), 0);
    ck_assert_uint_eq(handed_count, 0);
}
END_TEST

START_TEST(a_confirmation_may_be_faster_than_the_disk)
{
    insure_some(2, false);
    ck_assert_uint_eq(end_of_first(GV_FORWARD_APPLIED), 1);
    ck_assert_uint_eq(end_of_first(GV_FORWARD_APPLIED), 2);
    settle();
    ck_assert_uint_eq(on_disk(), 0);
    ck_assert_uint_eq(gv_counter_get(&gv_outbox_stats(outbox)->stored), 0); /* not even begun */

    insure_some(2, false);
    gv_outbox_turn_end(outbox);
    ck_assert_uint_eq(end_of_first(GV_FORWARD_REFUSED), 1); /* nobody has promised anything yet */
    ck_assert_uint_eq(end_of_first(GV_FORWARD_APPLIED), 2);
    settle();
    ck_assert_int_eq(answers[1], 0);
    ck_assert_uint_eq(on_disk(), 0);
    ck_assert_uint_eq(waiting(), 0);
}
END_TEST

START_TEST(with_the_node_gone_it_is_sent_in_its_place)
{
    insure_some(2, false);
    settle();
    hand(3);
    ck_assert(insure(&handed[2], false)); /* not written yet */
    ck_assert_uint_eq(end_of_first(GV_FORWARD_APPLIED), 0);
    ck_assert_uint_eq(end_of_first(GV_FORWARD_GONE), 0);
    ck_assert_uint_eq(end_of_first(GV_FORWARD_GONE), 0);
    put_some(4, 2); /* was handed back without having been insured */
    see(GV_NODE_HIDDEN);
    ck_assert(gv_outbox_is_open(outbox, PEER, GV_OUTBOX_SPOOL));
    settle();
    ck_assert_int_eq(answers[3], 1);
    ck_assert_int_eq(answers[5], 1);
    ck_assert_uint_eq(handed_count, 0);
    see(GV_NODE_ROUTABLE);
    settle();
    assert_handed(2, 4);
    confirm(4, GV_FORWARD_APPLIED);
    settle();
    ck_assert_uint_eq(on_disk(), 0);
}
END_TEST

START_TEST(what_was_promised_survives_a_crash_of_ours)
{
    insure_some(3, false);
    settle();
    crash();
    handed_count = 0;
    see(GV_NODE_ROUTABLE);
    settle();
    assert_handed(1, 3);
    confirm(3, GV_FORWARD_APPLIED);
    settle();
    ck_assert_uint_eq(on_disk(), 0);
}
END_TEST

START_TEST(a_refusal_after_the_promise_is_tried_again)
{
    insure_some(2, false);
    settle();
    ck_assert_uint_eq(end_of_first(GV_FORWARD_REFUSED), 0);
    ck_assert_uint_eq(end_of_first(GV_FORWARD_APPLIED), 0);
    settle();
    ck_assert_uint_eq(handed_count, 0);
    now_ms += 1000;
    settle();
    assert_handed(1, 1);
    confirm(1, GV_FORWARD_APPLIED);
}
END_TEST

/* A message that has groups to care for besides. */
START_TEST(who_is_held_is_answered_by_the_node_or_its_end)
{
    insure_some(3, true);
    settle();
    ck_assert_int_eq(answers[1], 0);
    ck_assert_uint_eq(gv_outbox_waiter(outbox, handed[0].token), 1);
    ck_assert_uint_eq(end_of_first(GV_FORWARD_RETURNED), 1);
    ck_assert_uint_eq(end_of_first(GV_FORWARD_REFUSED), 2);
    ck_assert_uint_eq(end_of_first(GV_FORWARD_GONE), 0);
    ck_assert_int_eq(answers[3], 1);
    see(GV_NODE_HIDDEN);
    see(GV_NODE_ROUTABLE);
    settle();
    assert_handed(3, 1);
    confirm(1, GV_FORWARD_APPLIED);

    insure_some(1, true);
    ck_assert_uint_eq(end_of_first(GV_FORWARD_GONE), 0);
    ck_assert_int_eq(answers[1], 0);
    see(GV_NODE_HIDDEN);
    settle();
    ck_assert_int_eq(answers[1], 1); /* now that it is durable */
}
END_TEST

START_TEST(who_cannot_be_insured_waits_for_the_node)
{
    insure_some(1, false);
    gv_outbox_turn_end(outbox);
    hand(2);
    ck_assert(insure(&handed[1], false));
    gv_mem_store_set_fault(store, GV_ERR_IO, 100);
    settle();
    ck_assert_int_eq(answers[1], 0);
    ck_assert_int_eq(answers[2], 0); /* was not even tried: it must not stand before the first */
    ck_assert_uint_eq(waiting(), 0);
    gv_mem_store_set_fault(store, GV_OK, 0);
    hand(3);
    ck_assert(!insure(&handed[2], false));
    ck_assert_uint_eq(handed[2].token, 3);
    ck_assert_uint_eq(end_of_first(GV_FORWARD_APPLIED), 1);
    ck_assert_uint_eq(end_of_first(GV_FORWARD_GONE), 2);
    ck_assert(insure(&handed[0], false)); /* all before it is settled */
    settle();
    ck_assert_int_eq(answers[3], 1);
    ck_assert_uint_eq(end_of_first(GV_FORWARD_APPLIED), 0);
}
END_TEST

START_TEST(there_is_no_insurance_where_there_is_no_room)
{
    gv_outbox_free(&outbox);
    start(60);
    see(GV_NODE_ROUTABLE);
    unsigned count = 0;
    do {
        hand(++count);
    } while (insure(&handed[count - 1], false));
    ck_assert_uint_gt(count, 1);
    settle();
    ck_assert_int_eq(answers[count - 1], 1);
    ck_assert_int_eq(answers[count], 0);
    while (handed_count > 1) {
        ck_assert_uint_eq(end_of_first(GV_FORWARD_APPLIED), 0);
    }
    settle();
    ck_assert(insure(&handed[0], false));
}
END_TEST

START_TEST(nothing_is_insured_behind_what_was_not_handed_over)
{
    see(GV_NODE_ROUTABLE);
    hand(1);
    put(2, GV_FORWARD_NO_EXPIRY);
    ck_assert(gv_outbox_is_open(outbox, PEER, GV_OUTBOX_SPOOL));
    ck_assert(!insure(&handed[0], false));
}
END_TEST

/* Otherwise their publishers would wait for a silent node that has not had its turn. */
START_TEST(what_waits_for_its_turn_is_written_after_a_while)
{
    see(GV_NODE_HIDDEN);
    for (unsigned i = 1; i <= GV_OUTBOX_WINDOW + 2; i++) {
        put(i, GV_FORWARD_NO_EXPIRY);
        settle();
    }
    see(GV_NODE_ROUTABLE);
    settle();
    put(100, GV_FORWARD_NO_EXPIRY);
    settle();
    ck_assert_int_eq(answers[100], 0);
    now_ms += 201;
    settle();
    ck_assert_int_eq(answers[100], 1);
    assert_handed(1, GV_OUTBOX_WINDOW);
}
END_TEST

START_TEST(with_a_node_that_is_forgotten_nobody_waits)
{
    insure_some(1, false);
    gv_outbox_turn_end(outbox);
    hand(2);
    ck_assert(insure(&handed[1], false));
    ck_assert_uint_eq(end_of_first(GV_FORWARD_GONE), 0);
    ck_assert_uint_eq(end_of_first(GV_FORWARD_GONE), 0);
    see(GV_NODE_HIDDEN);
    see(GV_NODE_FORGOTTEN);
    ck_assert_int_eq(answers[2], 1);
    settle();
    ck_assert_int_eq(answers[1], 1);
    ck_assert_uint_eq(on_disk(), 0);
    ck_assert_uint_eq(waiting(), 0);
}
END_TEST

/* ---- at random --------------------------------------------------------------------------------
 */

typedef struct life {
    gv_rng_t rng;
    unsigned next;
    unsigned newest;              /* on its way, of what has been since the node came, or we */
    size_t asked;                 /* about so many of those that are on their way */
    size_t heard;                 /* so many of them the node has taken */
    unsigned times[MESSAGES_MAX]; /* a message has come there */
    unsigned ends;                /* of the node, or of us */
    bool is_up;
} life_t;

static void set_answer(unsigned number, int answer)
{
    ck_assert_int_eq(answers[number], 0);
    answers[number] = answer;
}

static void publish(life_t *life)
{
    unsigned number = life->next++;
    if (life->is_up && !gv_outbox_is_open(outbox, PEER, GV_OUTBOX_SPOOL)) {
        hand(number);
    } else {
        put(number, GV_FORWARD_NO_EXPIRY);
    }
}

/* As the cluster does it: in order, and again from the one that was not taken. */
static void ask(life_t *life)
{
    for (; life->asked < handed_count; life->asked++) {
        handed_t *item = &handed[life->asked];
        if ((item->token & GV_OUTBOX_TOKEN) == 0 &&
            !insure(item, gv_rng_below(&life->rng, 4) == 0)) {
            return;
        }
    }
}

static void end_of(const handed_t *item, gv_forward_result_t result)
{
    uint64_t waiter = item->token;
    if ((item->token & GV_OUTBOX_TOKEN) != 0 &&
        !gv_outbox_on_confirmed(outbox, item->token, result, &waiter)) {
        return;
    }
    if (result == GV_FORWARD_APPLIED) {
        set_answer((unsigned)waiter, 1);
    } else {
        put(item->number, GV_FORWARD_NO_EXPIRY);
    }
}

static void confirm_first(life_t *life)
{
    handed_t first = handed[0];
    memmove(handed, handed + 1, --handed_count * sizeof(handed[0]));
    life->heard--;
    life->asked -= life->asked > 0 ? 1 : 0;
    end_of(&first, GV_FORWARD_APPLIED);
}

/* It dies, and what it has not confirmed comes back in order; or it comes back itself. */
static void toggle(life_t *life)
{
    static handed_t back[MESSAGES_MAX];
    size_t count = handed_count;
    memcpy(back, handed, count * sizeof(handed[0]));
    handed_count = 0;
    life->heard = 0;
    life->asked = 0;
    life->newest = 0;
    life->is_up = !life->is_up;
    life->ends++;
    bool is_told_first = gv_rng_below(&life->rng, 2) == 0;
    if (is_told_first) {
        see(life->is_up ? GV_NODE_ROUTABLE : GV_NODE_HIDDEN);
    }
    for (size_t i = 0; i < count; i++) {
        end_of(&back[i], GV_FORWARD_GONE);
    }
    if (!is_told_first) {
        see(life->is_up ? GV_NODE_ROUTABLE : GV_NODE_HIDDEN);
    }
}

static void step(life_t *life, bool is_over, bool has_ends)
{
    uint32_t what = gv_rng_below(&life->rng, 1000);
    if (what < 250 && !is_over && life->next < MESSAGES_MAX) {
        publish(life);
    } else if (what < 300) {
        ask(life);
    } else if (what < 500) {
        gv_outbox_turn_end(outbox);
    } else if (what < 700) {
        (void)gv_mem_store_step(store);
    } else if (what < 800) {
        deliver_letters();
    } else if (what < 880 && life->heard < handed_count && life->is_up) {
        life->times[handed[life->heard++].number]++;
    } else if (what < 960 && life->heard > 0) {
        confirm_first(life);
    } else if (what < 970) {
        bool is_failing = gv_rng_below(&life->rng, 4) == 0 && !is_over;
        gv_mem_store_set_fault(store, is_failing ? GV_ERR_IO : GV_OK, is_failing ? 100 : 0);
    } else if ((what < 980 && has_ends && !is_over) || (is_over && !life->is_up)) {
        toggle(life);
    } else if (what == 999 && has_ends && !is_over) {
        gv_mem_store_set_fault(store, GV_OK, 0);
        crash();
        handed_count = 0;
        life->heard = 0;
        life->asked = 0;
        life->newest = 0;
        life->ends++;
        see(life->is_up ? GV_NODE_ROUTABLE : GV_NODE_HIDDEN);
    }
}

/*
 * Silences, deaths, crashes and a disk that is slow and fails: what was acknowledged arrives, what
 * is on its way is in the order of publishing, and while nobody dies nothing comes twice.
 */
static void live(uint64_t seed)
{
    static life_t life;
    memset(&life, 0, sizeof(life));
    life.next = 1;
    life.is_up = true;
    gv_rng_init(&life.rng, seed, 1);
    see(GV_NODE_ROUTABLE);
    bool has_ends = seed % 4 != 0;
    for (int i = 0; i < 4000 || handed_count > 0 || waiting() > 0; i++) {
        size_t before = handed_count;
        unsigned ends = life.ends;
        ck_assert_int_lt(i, 1000000);
        step(&life, i >= 4000, has_ends);
        before = ends != life.ends ? 0 : before;
        for (size_t at = before; at < handed_count; at++) {
            ck_assert_msg(handed[at].number > life.newest, "seed %lu: %u after %u",
                          (unsigned long)seed, handed[at].number, life.newest);
            life.newest = handed[at].number;
        }
    }
    for (unsigned i = 1; i < life.next; i++) {
        ck_assert_msg(answers[i] != 1 || life.times[i] > 0, "seed %lu: %u is lost",
                      (unsigned long)seed, i);
        ck_assert_msg(has_ends || life.times[i] == 1, "seed %lu: %u has come %u times",
                      (unsigned long)seed, i, life.times[i]);
        ck_assert_msg(has_ends || answers[i] == 1, "seed %lu: %u was not answered",
                      (unsigned long)seed, i);
    }
    gv_mem_store_set_fault(store, GV_OK, 0);
    settle();
    now_ms += 1000; /* a deletion that has failed is made again */
    settle();
    ck_assert_uint_eq(on_disk(), 0);
}

START_TEST(what_was_promised_arrives_in_order)
{
    for (uint64_t seed = (uint64_t)_i * 25; seed < (uint64_t)_i * 25 + 25; seed++) {
        set_up();
        live(seed);
        tear_down();
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("broker/core/outbox_insure");
    TCase *tcase = tcase_create("insure");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, what_is_insured_is_answered_when_it_is_durable);
    tcase_add_test(tcase, a_confirmation_may_be_faster_than_the_disk);
    tcase_add_test(tcase, with_the_node_gone_it_is_sent_in_its_place);
    tcase_add_test(tcase, what_was_promised_survives_a_crash_of_ours);
    tcase_add_test(tcase, a_refusal_after_the_promise_is_tried_again);
    tcase_add_test(tcase, who_is_held_is_answered_by_the_node_or_its_end);
    tcase_add_test(tcase, who_cannot_be_insured_waits_for_the_node);
    tcase_add_test(tcase, there_is_no_insurance_where_there_is_no_room);
    tcase_add_test(tcase, nothing_is_insured_behind_what_was_not_handed_over);
    tcase_add_test(tcase, what_waits_for_its_turn_is_written_after_a_while);
    tcase_add_test(tcase, with_a_node_that_is_forgotten_nobody_waits);
    suite_add_tcase(suite, tcase);
    TCase *random = tcase_create("random");
    tcase_set_timeout(random, 120);
    tcase_add_loop_test(random, what_was_promised_arrives_in_order, 0, 8);
    suite_add_tcase(suite, random);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
