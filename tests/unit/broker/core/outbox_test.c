/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/outbox.h"

#include "base/rng.h"
#include "outbox_rig.h"

START_TEST(messages_wait_on_disk_and_go_in_order)
{
    see(GV_NODE_HIDDEN);
    put_some(1, 10);
    ck_assert(gv_outbox_is_open(outbox, PEER, GV_OUTBOX_SPOOL));
    ck_assert_int_eq(answers[1], 0); /* nothing is durable yet */
    settle();
    put_some(11, 5);
    settle();
    ck_assert_int_eq(answers[1], 1);
    ck_assert_int_eq(answers[15], 1);
    ck_assert_uint_eq(on_disk(), 15);
    ck_assert_uint_eq(handed_count, 0);
    uint64_t messages = 0;
    uint64_t bytes = 0;
    gv_outbox_waiting(outbox, PEER, &messages, &bytes);
    ck_assert_uint_eq(messages, 15);
    ck_assert_uint_gt(bytes, 15);

    see(GV_NODE_ROUTABLE);
    settle();
    assert_handed(1, 15);
    ck_assert(
        !gv_outbox_is_open(outbox, PEER, GV_OUTBOX_SPOOL)); /* what comes now is behind it anyway */
    ck_assert_uint_eq(on_disk(), 15);
    confirm(15, GV_FORWARD_APPLIED);
    settle();
    ck_assert_uint_eq(on_disk(), 0);
    gv_outbox_waiting(outbox, PEER, &messages, &bytes);
    ck_assert_uint_eq(messages + bytes, 0);
}
END_TEST

START_TEST(what_is_durable_survives_a_crash)
{
    see(GV_NODE_HIDDEN);
    put_some(1, 3);
    settle();
    put_some(4, 3);
    crash();
    ck_assert_int_eq(answers[4], 0); /* and nobody was told that it would */
    ck_assert_uint_eq(gv_counter_get(&gv_outbox_stats(outbox)->messages), 3);
    see(GV_NODE_HIDDEN);
    ck_assert(gv_outbox_is_open(outbox, PEER, GV_OUTBOX_SPOOL));
    see(GV_NODE_ROUTABLE);
    settle();
    assert_handed(1, 3);
    confirm(3, GV_FORWARD_APPLIED);
    settle();
    ck_assert_uint_eq(on_disk(), 0);
}
END_TEST

START_TEST(what_was_not_confirmed_goes_once_more)
{
    see(GV_NODE_HIDDEN);
    put_some(1, 6);
    settle();
    see(GV_NODE_ROUTABLE);
    settle();
    confirm(2, GV_FORWARD_APPLIED);
    confirm(4, GV_FORWARD_GONE);
    see(GV_NODE_HIDDEN);
    settle();
    ck_assert_uint_eq(handed_count, 0);
    ck_assert(gv_outbox_is_open(outbox, PEER, GV_OUTBOX_SPOOL));
    see(GV_NODE_ROUTABLE);
    settle();
    assert_handed(3, 4);
    confirm(4, GV_FORWARD_APPLIED);
    settle();
    ck_assert_uint_eq(on_disk(), 0);
}
END_TEST

START_TEST(a_refusal_is_tried_again_after_a_pause)
{
    see(GV_NODE_HIDDEN);
    put_some(1, 2);
    settle();
    see(GV_NODE_ROUTABLE);
    settle();
    confirm(1, GV_FORWARD_APPLIED);
    confirm(1, GV_FORWARD_REFUSED);
    settle();
    ck_assert_uint_eq(handed_count, 0);
    now_ms += 1000;
    settle();
    assert_handed(2, 1);
    confirm(1, GV_FORWARD_APPLIED);
}
END_TEST

/* The node is back, and more comes while there is something to be read. */
START_TEST(what_comes_last_is_not_written_when_its_turn_comes_soon)
{
    see(GV_NODE_HIDDEN);
    put_some(1, 2);
    settle();
    see(GV_NODE_ROUTABLE);
    put_some(3, 2);
    gv_outbox_turn_end(outbox); /* asks for the record */
    ck_assert(gv_outbox_is_open(outbox, PEER, GV_OUTBOX_SPOOL));
    put_some(5, 1);
    settle();
    assert_handed(1, 5);
    ck_assert_uint_eq(on_disk(), 2);
    ck_assert_uint_eq(handed[2].token, 3); /* its publisher waits for the other node now */
    ck_assert_int_eq(answers[3], 0);
    confirm(2, GV_FORWARD_APPLIED);
}
END_TEST

START_TEST(no_room_is_a_refusal)
{
    gv_outbox_free(&outbox);
    start(60);
    see(GV_NODE_HIDDEN);
    put_some(3, 4);
    settle();
    ck_assert_int_eq(answers[3], 1);
    ck_assert_int_eq(answers[6], -1);
    gv_outbox_free(&outbox);
    start(1 << 20);
    see(GV_NODE_HIDDEN);
    size_t before = on_disk();
    gv_mem_store_set_fault(store, GV_ERR_FULL, 100);
    put_some(10, 2);
    settle();
    ck_assert_int_eq(answers[10], -1);
    ck_assert_int_eq(answers[11], -1);
    ck_assert_uint_eq(on_disk(), before);
    gv_mem_store_set_fault(store, GV_OK, 0);
}
END_TEST

/* What is done with would be sent again after a restart. */
START_TEST(a_deletion_that_fails_is_made_again)
{
    see(GV_NODE_HIDDEN);
    put_some(1, 3);
    settle();
    ck_assert_uint_eq(on_disk(), 3);
    see(GV_NODE_ROUTABLE);
    settle();
    assert_handed(1, 3);
    gv_mem_store_set_fault(store, GV_ERR_IO, 100);
    confirm(3, GV_FORWARD_APPLIED);
    settle();
    ck_assert_uint_eq(on_disk(), 3);
    gv_mem_store_set_fault(store, GV_OK, 0);
    settle();
    ck_assert_uint_eq(on_disk(), 3); /* after a pause */
    now_ms += 1000;
    settle();
    ck_assert_uint_eq(on_disk(), 0);
    ck_assert_uint_eq(handed_count, 0);
}
END_TEST

START_TEST(what_has_expired_is_not_sent)
{
    see(GV_NODE_HIDDEN);
    put(1, 500);
    put(2, 5000);
    settle();
    now_ms += 1000;
    see(GV_NODE_ROUTABLE);
    settle();
    assert_handed(2, 1);
    ck_assert_uint_eq(handed[0].expiry_ms, 4000);
    confirm(1, GV_FORWARD_APPLIED);
    settle();
    ck_assert_uint_eq(on_disk(), 0);
    ck_assert_uint_eq(gv_counter_get(&gv_outbox_stats(outbox)->expired), 1);
}
END_TEST

START_TEST(with_a_node_that_is_forgotten_goes_what_waits_for_it)
{
    see(GV_NODE_HIDDEN);
    put_some(1, 3);
    settle();
    put_some(4, 1);
    gv_outbox_turn_end(outbox); /* on its way to the disk */
    see(GV_NODE_FORGOTTEN);
    settle();
    ck_assert_int_eq(answers[4], 1);
    ck_assert_uint_eq(on_disk(), 0);
    ck_assert(!gv_outbox_is_open(outbox, PEER, GV_OUTBOX_SPOOL));
}
END_TEST

/*
 * A node that comes and goes, a disk that takes its time, and crashes: what was said to be durable
 * arrives, and nothing arrives before what came earlier has been handed over.
 */
static void live(uint64_t seed)
{
    static bool is_there[MESSAGES_MAX];
    memset(is_there, 0, sizeof(is_there));
    gv_rng_t rng;
    gv_rng_init(&rng, seed, 1);
    unsigned next = 1;
    unsigned newest = 0; /* handed over since the node came, or we */
    bool is_up = false;
    see(GV_NODE_HIDDEN);
    for (int step = 0;
         step < 3000 || gv_outbox_is_open(outbox, PEER, GV_OUTBOX_SPOOL) || handed_count > 0;
         step++) {
        bool is_over = step >= 3000;
        uint32_t what = gv_rng_below(&rng, 100);
        size_t before = handed_count;
        if (what < 30 && !is_over && next < MESSAGES_MAX) {
            /* As the hub does it. */
            if (is_up && !gv_outbox_is_open(outbox, PEER, GV_OUTBOX_SPOOL)) {
                handed[handed_count++] = (handed_t){.number = next, .token = next};
            } else {
                put(next, GV_FORWARD_NO_EXPIRY);
            }
            next++;
        } else if (what < 55) {
            gv_outbox_turn_end(outbox);
        } else if (what < 75) {
            (void)gv_mem_store_step(store);
        } else if (what < 85) {
            deliver_letters();
        } else if (what < 97 && handed_count > 0 && is_up) {
            handed_t first = handed[0];
            memmove(handed, handed + 1, --handed_count * sizeof(handed[0]));
            before--;
            is_there[first.number] = true;
            if ((first.token & GV_OUTBOX_TOKEN) != 0) {
                tell(&first, GV_FORWARD_APPLIED);
            }
        } else if (what < 98 || (is_over && !is_up)) {
            is_up = !is_up;
            see(is_up ? GV_NODE_ROUTABLE : GV_NODE_HIDDEN);
            newest = 0;
            /* The cluster hands back what the node had not got, in order. */
            size_t count = is_up ? 0 : handed_count;
            handed_t back[MESSAGES_MAX];
            memcpy(back, handed, count * sizeof(handed[0]));
            handed_count = is_up ? handed_count : 0;
            for (size_t i = 0; i < count; i++) {
                if ((back[i].token & GV_OUTBOX_TOKEN) != 0) {
                    tell(&back[i], GV_FORWARD_GONE);
                } else {
                    put(back[i].number, GV_FORWARD_NO_EXPIRY);
                }
            }
            before = handed_count;
        } else if (what == 98 && !is_over && gv_rng_below(&rng, 8) == 0) {
            crash();
            handed_count = 0;
            before = 0;
            newest = 0;
            see(is_up ? GV_NODE_ROUTABLE : GV_NODE_HIDDEN);
        }
        for (size_t i = before; i < handed_count; i++) {
            ck_assert_msg(handed[i].number > newest, "seed %lu: %u after %u", (unsigned long)seed,
                          handed[i].number, newest);
            newest = handed[i].number;
        }
    }
    for (unsigned i = 1; i < next; i++) {
        ck_assert_msg(answers[i] != 1 || is_there[i], "seed %lu: %u is lost", (unsigned long)seed,
                      i);
    }
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
    Suite *suite = suite_create("broker/core/outbox");
    TCase *tcase = tcase_create("outbox");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, messages_wait_on_disk_and_go_in_order);
    tcase_add_test(tcase, what_is_durable_survives_a_crash);
    tcase_add_test(tcase, what_was_not_confirmed_goes_once_more);
    tcase_add_test(tcase, a_refusal_is_tried_again_after_a_pause);
    tcase_add_test(tcase, what_comes_last_is_not_written_when_its_turn_comes_soon);
    tcase_add_test(tcase, no_room_is_a_refusal);
    tcase_add_test(tcase, a_deletion_that_fails_is_made_again);
    tcase_add_test(tcase, what_has_expired_is_not_sent);
    tcase_add_test(tcase, with_a_node_that_is_forgotten_goes_what_waits_for_it);
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
