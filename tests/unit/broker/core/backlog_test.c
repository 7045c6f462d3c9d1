/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/backlog.h"

#include <stdlib.h>

#include <check.h>

#include "base/rng.h"

static uint64_t push(gv_backlog_t *backlog, uint32_t units)
{
    return gv_backlog_push(backlog, (gv_backlog_entry_t){.place = 1, .units = units & 0xff});
}

static void send_one(gv_backlog_t *backlog)
{
    gv_backlog_entry_t *entry = gv_backlog_at(backlog, gv_backlog_next(backlog));
    entry->state = GV_BACKLOG_SENT;
    gv_backlog_advance(backlog);
}

START_TEST(what_is_lent_is_neither_open_nor_found_until_it_comes_back)
{
    gv_backlog_t backlog = {0};
    for (int i = 0; i < 4; i++) {
        (void)push(&backlog, 1);
    }
    send_one(&backlog);
    send_one(&backlog);
    gv_backlog_lend(&backlog, 1);
    gv_backlog_lend(&backlog, 2);
    ck_assert_uint_eq(gv_backlog_open(&backlog), 1);
    uint64_t number = 0;
    ck_assert_ptr_null(gv_backlog_by_id(&backlog, 2, &number));
    ck_assert(!gv_backlog_take_back(&backlog, 1)); /* next has passed it by */
    ck_assert(gv_backlog_take_back(&backlog, 2));
    gv_backlog_lend(&backlog, 2);
    gv_backlog_advance(&backlog);
    ck_assert_uint_eq(gv_backlog_open(&backlog), 1);
    gv_backlog_finish(&backlog, 2);
    gv_backlog_finish(&backlog, 1);
    ck_assert_uint_eq(gv_backlog_open(&backlog), 1);
    ck_assert_uint_eq(gv_backlog_count(&backlog), 2);
    gv_backlog_lend(&backlog, 3);
    gv_backlog_set_given(&backlog, 3, true);
    ck_assert_uint_eq(gv_backlog_done_end(&backlog), 4);
    gv_backlog_rewind(&backlog);
    gv_backlog_set_given(&backlog, 3, false);
    ck_assert(gv_backlog_take_back(&backlog, 3));
    gv_backlog_clear(&backlog);
}
END_TEST

START_TEST(messages_are_found_by_the_packet_id_they_were_sent_with)
{
    gv_backlog_t backlog = {0};
    gv_backlog_begin(&backlog, 65533);
    for (int i = 0; i < 6; i++) {
        ck_assert_uint_eq(push(&backlog, 1), 65533U + (unsigned)i);
    }
    for (int i = 0; i < 4; i++) {
        send_one(&backlog);
    }
    const uint16_t ids[] = {65534, 65535, 1, 2};
    for (size_t i = 0; i < 4; i++) {
        uint64_t number = 0;
        ck_assert_ptr_nonnull(gv_backlog_by_id(&backlog, ids[i], &number));
        ck_assert_uint_eq(number, 65533 + i);
        ck_assert_uint_eq(gv_backlog_packet_id(number), ids[i]);
    }
    uint64_t number = 0;
    ck_assert_ptr_null(gv_backlog_by_id(&backlog, 3, &number)); /* not sent yet */
    ck_assert_ptr_null(gv_backlog_by_id(&backlog, 0, &number));
    ck_assert_ptr_null(gv_backlog_by_id(&backlog, 40000, &number));
    gv_backlog_clear(&backlog);
}
END_TEST

START_TEST(an_id_in_flight_is_not_used_again)
{
    gv_backlog_t backlog = {0};
    push(&backlog, 1);
    send_one(&backlog);
    for (uint32_t i = 1; i < 65535; i++) {
        uint64_t number = push(&backlog, 1);
        ck_assert(gv_backlog_can_send(&backlog));
        send_one(&backlog);
        gv_backlog_finish(&backlog, number);
    }
    push(&backlog, 1);
    ck_assert(!gv_backlog_can_send(&backlog)); /* it would have the id of the first */
    gv_backlog_finish(&backlog, 0);
    ck_assert(gv_backlog_can_send(&backlog));
    gv_backlog_clear(&backlog);
}
END_TEST

START_TEST(a_restart_may_bring_messages_in_any_order)
{
    gv_backlog_t backlog = {0};
    gv_backlog_entry_t entry = {.place = 5, .units = 2, .state = GV_BACKLOG_OPEN};
    const uint64_t numbers[] = {100, 103, 90, 101, 90, 95};
    for (size_t i = 0; i < 6; i++) {
        ck_assert(gv_backlog_restore(&backlog, numbers[i], entry));
    }
    ck_assert_uint_eq(backlog.low, 90);
    ck_assert_uint_eq(gv_backlog_end(&backlog), 104);
    ck_assert_uint_eq(gv_backlog_count(&backlog), 5);
    ck_assert_uint_eq(gv_backlog_bytes(&backlog) / GV_BACKLOG_UNIT, 10);
    ck_assert_int_eq(gv_backlog_at(&backlog, 102)->state, GV_BACKLOG_DONE);
    ck_assert(!gv_backlog_restore(&backlog, (uint64_t)1 << 60, entry));
    gv_backlog_done_below(&backlog, 101);
    ck_assert_uint_eq(backlog.low, 101);
    ck_assert_uint_eq(gv_backlog_count(&backlog), 2);
    gv_backlog_done_below(&backlog, 200);
    ck_assert_uint_eq(gv_backlog_count(&backlog), 0);
    ck_assert_uint_eq(gv_backlog_end(&backlog), 200);
    gv_backlog_clear(&backlog);
}
END_TEST

/* Against an array of states. */
START_TEST(it_behaves_as_a_plain_array)
{
    enum {
        STEPS = 20000,
        LOOK = 16 /* at all of it, every so many steps */
    };
    gv_rng_t rng;
    gv_rng_init(&rng, (uint64_t)_i, 1);
    static struct {
        gv_backlog_state_t state;
        uint32_t units;
    } model[STEPS];
    size_t end = 0;
    size_t next = 0;
    gv_backlog_t backlog = {0};
    for (int step = 0; step < STEPS; step++) {
        uint32_t dice = gv_rng_u32(&rng) % 100;
        if (dice < 40) {
            uint32_t units = gv_rng_u32(&rng) % 50;
            ck_assert_uint_eq(push(&backlog, units), end);
            model[end].state = GV_BACKLOG_OPEN;
            model[end++].units = units;
        } else if (dice < 70 && gv_backlog_can_send(&backlog)) {
            next = gv_backlog_next(&backlog);
            if (model[next].state == GV_BACKLOG_DONE) {
                gv_backlog_advance(&backlog);
            } else {
                model[next].state = GV_BACKLOG_SENT;
                send_one(&backlog);
            }
        } else if (dice < 98 && end > 0) {
            size_t back = end < 200 ? end : 200;
            size_t number = end - 1 - gv_rng_u32(&rng) % back;
            if (model[number].state == GV_BACKLOG_SENT) {
                model[number].state = GV_BACKLOG_DONE;
                gv_backlog_finish(&backlog, number);
            }
        } else {
            gv_backlog_rewind(&backlog);
        }
        if (step % LOOK != 0) {
            continue;
        }
        uint32_t count = 0;
        uint64_t units = 0;
        uint32_t open = 0;
        bool is_alike = true;
        for (size_t i = backlog.low; i < end; i++) {
            bool is_done = model[i].state == GV_BACKLOG_DONE;
            is_alike &= (gv_backlog_at(&backlog, i)->state == GV_BACKLOG_DONE) == is_done;
            count += !is_done;
            units += is_done ? 0 : model[i].units;
            open += !is_done && i < gv_backlog_next(&backlog);
        }
        ck_assert(is_alike);
        ck_assert_uint_eq(gv_backlog_count(&backlog), count);
        ck_assert_uint_eq(gv_backlog_bytes(&backlog) / GV_BACKLOG_UNIT, units);
        ck_assert_uint_eq(gv_backlog_open(&backlog), open);
        ck_assert(backlog.low == end || model[backlog.low].state != GV_BACKLOG_DONE);
        if (end - backlog.low > 300) { /* keeps the comparison cheap */
            gv_backlog_finish(&backlog, backlog.low);
            for (size_t i = 0; i < backlog.low; i++) {
                model[i].state = GV_BACKLOG_DONE;
            }
        }
    }
    gv_backlog_clear(&backlog);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("broker/core/backlog");
    TCase *tcase = tcase_create("backlog");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, what_is_lent_is_neither_open_nor_found_until_it_comes_back);
    tcase_add_test(tcase, messages_are_found_by_the_packet_id_they_were_sent_with);
    tcase_add_test(tcase, an_id_in_flight_is_not_used_again);
    tcase_add_test(tcase, a_restart_may_bring_messages_in_any_order);
    tcase_add_loop_test(tcase, it_behaves_as_a_plain_array, 0, 4);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
