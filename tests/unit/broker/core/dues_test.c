/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/dues.h"

#include <stdlib.h>

#include <check.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "broker/core/session.h"

enum {
    SESSIONS = 300,
    STEPS = 8000
};

static void make(gv_session_t **sessions, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        sessions[i] = GV_NEW(gv_session_t);
        sessions[i]->uid = i;
    }
}

static void drop(gv_session_t **sessions, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        gv_free(sessions[i]);
    }
}

/* Against the plain way: each session's time in an array, and a search for the first. */
START_TEST(it_behaves_as_a_plain_array)
{
    gv_session_t *sessions[SESSIONS];
    make(sessions, SESSIONS);
    static uint64_t times[SESSIONS]; /* 0: not there */
    gv_dues_t dues = {0};
    gv_rng_t rng;
    gv_rng_init(&rng, (uint64_t)_i, 1);
    uint64_t now_ms = 1;
    for (int step = 0; step < STEPS; step++) {
        uint32_t which = gv_rng_u32(&rng) % SESSIONS;
        uint32_t dice = gv_rng_u32(&rng) % 100;
        /* In turns there are ever more of them, and ever fewer. */
        if (dice < (step / 1000 % 2 == 0 ? 70U : 20U)) {
            times[which] = now_ms + gv_rng_u32(&rng) % 1000;
            gv_dues_set(&dues, sessions[which], times[which]);
        } else if (dice < 90) {
            times[which] = 0;
            gv_dues_drop(&dues, sessions[which]);
        } else {
            now_ms += gv_rng_u32(&rng) % 100;
            for (gv_session_t *due; (due = gv_dues_take(&dues, now_ms)) != NULL;) {
                ck_assert_uint_ne(times[due->uid], 0);
                ck_assert_uint_le(times[due->uid], now_ms);
                times[due->uid] = 0;
            }
        }
        bool is_alike = true;
        uint64_t first = UINT64_MAX;
        for (int i = 0; i < SESSIONS; i++) {
            is_alike &= (times[i] != 0) == (sessions[i]->due_place != 0);
            first = times[i] != 0 && times[i] < first ? times[i] : first;
        }
        ck_assert(is_alike);
        ck_assert_uint_eq(gv_dues_next_ms(&dues), first);
    }
    while (gv_dues_take(&dues, UINT64_MAX) != NULL) {
    }
    gv_dues_deinit(&dues);
    drop(sessions, SESSIONS);
    memset(times, 0, sizeof(times));
}
END_TEST

START_TEST(they_are_taken_in_order_of_time)
{
    gv_session_t *sessions[5];
    make(sessions, 5);
    const uint64_t times[] = {30, 10, 50, 20, 40};
    gv_dues_t dues = {0};
    for (int i = 0; i < 5; i++) {
        gv_dues_set(&dues, sessions[i], times[i]);
    }
    gv_dues_set(&dues, sessions[2], 5); /* moved */
    const int order[] = {2, 1, 3, 0};
    for (int i = 0; i < 4; i++) {
        ck_assert_ptr_eq(gv_dues_take(&dues, 39), sessions[order[i]]);
    }
    ck_assert_ptr_null(gv_dues_take(&dues, 39));
    ck_assert_ptr_eq(gv_dues_take(&dues, 40), sessions[4]);
    ck_assert_ptr_null(gv_dues_take(&dues, UINT64_MAX));
    gv_dues_deinit(&dues);
    drop(sessions, 5);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("broker/core/dues");
    TCase *tcase = tcase_create("dues");
    tcase_add_loop_test(tcase, it_behaves_as_a_plain_array, 0, 4);
    tcase_add_test(tcase, they_are_taken_in_order_of_time);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
