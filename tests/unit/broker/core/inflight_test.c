/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/inflight.h"

#include <stdlib.h>

#include <check.h>

#include "base/rng.h"
#include "tests/unit/seed.h"

START_TEST(ids_are_given_in_turn_and_wrap_without_zero)
{
    gv_inflight_t inflight = {0};
    for (uint32_t i = 0; i < 70000; i++) {
        gv_flight_t *flight = NULL;
        uint16_t id = gv_inflight_start(&inflight, GV_STAGE_AWAITS_PUBACK, &flight);
        ck_assert_uint_eq(id, i % 65535 + 1);
        ck_assert_ptr_eq(gv_inflight_find(&inflight, id), flight);
        gv_inflight_finish(&inflight, flight);
        ck_assert_ptr_null(gv_inflight_find(&inflight, id));
    }
    gv_inflight_clear(&inflight);
}
END_TEST

START_TEST(no_id_is_given_twice_at_a_time)
{
    gv_inflight_t inflight = {0};
    gv_flight_t *flight = NULL;
    for (uint32_t i = 0; i < 65535; i++) {
        ck_assert(gv_inflight_has_id(&inflight));
        (void)gv_inflight_start(&inflight, GV_STAGE_AWAITS_PUBACK, &flight);
    }
    ck_assert(!gv_inflight_has_id(&inflight));
    gv_inflight_finish(&inflight, gv_inflight_find(&inflight, 40000));
    /* The oldest is still out, so the ids behind it cannot come round yet. */
    ck_assert(!gv_inflight_has_id(&inflight));
    gv_inflight_finish(&inflight, gv_inflight_find(&inflight, 1));
    ck_assert(gv_inflight_has_id(&inflight));
    ck_assert_uint_eq(gv_inflight_start(&inflight, GV_STAGE_AWAITS_PUBREC, &flight), 1);
    gv_inflight_clear(&inflight);
}
END_TEST

START_TEST(a_cancelled_start_has_never_been)
{
    gv_inflight_t inflight = {0};
    gv_flight_t *flight = NULL;
    ck_assert_uint_eq(gv_inflight_start(&inflight, GV_STAGE_AWAITS_PUBACK, &flight), 1);
    ck_assert_uint_eq(gv_inflight_start(&inflight, GV_STAGE_AWAITS_PUBACK, &flight), 2);
    gv_inflight_cancel(&inflight, flight);
    ck_assert_uint_eq(inflight.count, 1);
    ck_assert_uint_eq(gv_inflight_start(&inflight, GV_STAGE_AWAITS_PUBACK, &flight), 2);
    gv_inflight_clear(&inflight);
}
END_TEST

/* Against a plain table of what is out, with acknowledgements in any order. */
START_TEST(agrees_with_a_simple_model)
{
    enum {
        WINDOW = 300
    };
    static bool is_out[65536];
    memset(is_out, 0, sizeof(is_out));
    gv_rng_t rng;
    gv_rng_init(&rng, test_seed(__func__), 0);
    gv_inflight_t inflight = {0};
    uint32_t count = 0;
    for (int step = 0; step < 30000; step++) {
        if (count < WINDOW && gv_inflight_has_id(&inflight) && gv_rng_chance(&rng, 55)) {
            gv_flight_t *flight = NULL;
            uint16_t id = gv_inflight_start(&inflight, GV_STAGE_AWAITS_PUBACK, &flight);
            ck_assert(!is_out[id]);
            is_out[id] = true;
            count++;
        } else {
            uint16_t id = (uint16_t)gv_rng_below(&rng, 65536);
            if (gv_rng_chance(&rng, 95)) {
                if (count == 0) {
                    continue;
                }
                for (uint32_t skip = gv_rng_below(&rng, 8); !is_out[id] || skip > 0;) {
                    id++;
                    skip -= is_out[id] && skip > 0;
                }
            }
            gv_flight_t *flight = gv_inflight_find(&inflight, id);
            ck_assert_int_eq(flight != NULL, is_out[id]);
            if (flight != NULL) {
                gv_inflight_finish(&inflight, flight);
                is_out[id] = false;
                count--;
            }
        }
        ck_assert_uint_eq(inflight.count, count);
    }
    gv_inflight_clear(&inflight);
}
END_TEST

START_TEST(a_rewound_window_is_sent_again_in_order)
{
    gv_inflight_t inflight = {0};
    gv_flight_t *flight = NULL;
    uint16_t id = 0;
    for (uint32_t i = 0; i < 65535 + 20; i++) { /* the ring and the ids have wrapped */
        (void)gv_inflight_start(&inflight, GV_STAGE_AWAITS_PUBACK, &flight);
        if (i < 65535 + 10) {
            gv_inflight_finish(&inflight, flight);
        }
    }
    ck_assert_uint_eq(gv_inflight_open(&inflight), 10);
    gv_inflight_rewind(&inflight);
    ck_assert_uint_eq(gv_inflight_open(&inflight), 0);
    ck_assert_ptr_nonnull(gv_inflight_resend(&inflight, &id));
    ck_assert_uint_eq(id, 11);
    ck_assert_uint_eq(gv_inflight_open(&inflight), 1);
    /* One that was sent, and two that were not, are acknowledged. */
    gv_inflight_finish(&inflight, gv_inflight_find(&inflight, 11));
    gv_inflight_finish(&inflight, gv_inflight_find(&inflight, 12));
    gv_inflight_finish(&inflight, gv_inflight_find(&inflight, 15));
    ck_assert_uint_eq(gv_inflight_open(&inflight), 0);
    ck_assert_uint_eq(inflight.unsent, 7);
    for (uint16_t expected = 13; expected <= 20; expected++) {
        if (expected != 15) {
            ck_assert_ptr_eq(gv_inflight_resend(&inflight, &id),
                             gv_inflight_find(&inflight, expected));
            ck_assert_uint_eq(id, expected);
        }
    }
    ck_assert_ptr_null(gv_inflight_resend(&inflight, &id));
    ck_assert_uint_eq(inflight.unsent, 0);
    ck_assert_uint_eq(gv_inflight_start(&inflight, GV_STAGE_AWAITS_PUBACK, &flight), 21);
    gv_inflight_clear(&inflight);
}
END_TEST

START_TEST(received_ids_are_a_set)
{
    static bool is_in[65536];
    memset(is_in, 0, sizeof(is_in));
    gv_rng_t rng;
    gv_rng_init(&rng, test_seed(__func__), 0);
    gv_received_ids_t set = {0};
    uint32_t count = 0;
    for (int step = 0; step < 100000; step++) {
        /* Few numbers, so that they meet; now and then from the whole range. */
        uint16_t id = (uint16_t)(1 + gv_rng_below(&rng, step % 16 == 0 ? 65535 : 300));
        ck_assert_int_eq(gv_received_ids_has(&set, id), is_in[id]);
        if (gv_rng_chance(&rng, 50)) {
            ck_assert_int_eq(gv_received_ids_remove(&set, id), is_in[id]);
            count -= is_in[id];
            is_in[id] = false;
        } else if (!is_in[id]) {
            gv_received_ids_add(&set, id);
            is_in[id] = true;
            count++;
        }
        ck_assert_uint_eq(set.count, count);
    }
    gv_received_ids_clear(&set);
    ck_assert(!gv_received_ids_has(&set, 1));
    ck_assert(!gv_received_ids_remove(&set, 1));
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("inflight");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, ids_are_given_in_turn_and_wrap_without_zero);
    tcase_add_test(tc, no_id_is_given_twice_at_a_time);
    tcase_add_test(tc, a_cancelled_start_has_never_been);
    tcase_add_test(tc, agrees_with_a_simple_model);
    tcase_add_test(tc, a_rewound_window_is_sent_again_in_order);
    tcase_add_test(tc, received_ids_are_a_set);
    Suite *suite = suite_create("broker/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
