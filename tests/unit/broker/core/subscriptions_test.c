/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/subscriptions.h"

#include <stdio.h>
#include <stdlib.h>

#include <check.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "broker/core/session.h"
#include "tests/unit/seed.h"

enum {
    SESSIONS = 8,
    FILTERS = 20
};

static gv_session_t *sessions[SESSIONS];
static gv_subscriptions_t table;

static void open_table(void)
{
    for (int i = 0; i < SESSIONS; i++) {
        sessions[i] = GV_NEW(gv_session_t);
        gv_list_init(&sessions[i]->subscriptions);
    }
    gv_subscriptions_init(&table, 1);
}

static void close_table(void)
{
    gv_subscriptions_deinit(&table);
    for (int i = 0; i < SESSIONS; i++) {
        gv_free(sessions[i]);
    }
}

static gv_subscription_t *add(int session, const char *text, bool *is_new)
{
    gv_subscription_t *subscription = NULL;
    ck_assert_int_eq(gv_subscriptions_add(&table, sessions[session], gv_bytes_text(text), false, 1,
                                          0, &subscription, is_new),
                     GV_OK);
    return subscription;
}

START_TEST(a_second_subscription_to_the_same_replaces)
{
    open_table();
    bool is_new = false;
    gv_subscription_t *first = add(0, "a", &is_new);
    ck_assert(is_new);
    ck_assert_ptr_eq(add(0, "a", &is_new), first);
    ck_assert(!is_new);
    ck_assert_uint_eq(first->filter->count, 1);
    (void)add(1, "a", &is_new);
    ck_assert_uint_eq(first->filter->count, 2);
    ck_assert_ptr_eq(gv_subscriptions_of(first->filter, sessions[0]), first);
    ck_assert_ptr_null(gv_subscriptions_of(first->filter, sessions[2]));
    gv_filter_t *filter = first->filter;
    gv_subscriptions_remove(&table, first);
    gv_subscriptions_remove(&table, gv_subscriptions_of(filter, sessions[1]));
    gv_subscriptions_release(&table, filter, 0);
    close_table();
}
END_TEST

START_TEST(a_released_slot_finds_nothing)
{
    open_table();
    bool is_new = false;
    for (int round = 0; round < 300; round++) {
        gv_subscription_t *subscription = add(0, "a", &is_new);
        gv_filter_t *filter = subscription->filter;
        uint32_t slot = filter->slot;
        ck_assert_ptr_eq(gv_subscriptions_at(&table, slot), filter);
        gv_subscriptions_remove(&table, subscription);
        gv_subscriptions_release(&table, filter, 0);
        ck_assert_ptr_null(gv_subscriptions_at(&table, slot));
        /* Not even when the index is in use again, under another generation. */
        (void)add(0, "b", &is_new);
        gv_filter_t *other = gv_subscriptions_find(&table, GV_BYTES_LITERAL("b"));
        ck_assert_ptr_ne(gv_subscriptions_at(&table, slot), other);
        gv_subscriptions_remove(&table, gv_subscriptions_of(other, sessions[0]));
        gv_subscriptions_release(&table, other, 0);
    }
    close_table();
}
END_TEST

/* A filter that comes and goes all the time: no slot is seen twice in four minutes. */
START_TEST(a_slot_is_the_same_again_only_after_minutes)
{
    enum {
        PER_STEP = 20,
        STEP_MS = 100,
    };
    open_table();
    bool is_new = false;
    gv_subscription_t *subscription = add(0, "a", &is_new);
    const uint32_t slot = subscription->filter->slot;
    uint64_t now_ms = 5000;
    uint64_t released_ms = 0;
    uint32_t uses = 0;
    for (; uses < 2; now_ms += STEP_MS) {
        ck_assert_uint_lt(now_ms, 400000);
        for (int i = 0; i < PER_STEP; i++) {
            if (subscription == NULL) {
                subscription = add(0, "a", &is_new);
            }
            gv_filter_t *filter = subscription->filter;
            bool is_same = filter->slot == slot;
            ck_assert(!is_same || released_ms == 0 || now_ms - released_ms > 240000);
            uses += is_same;
            released_ms = is_same ? now_ms : released_ms;
            gv_subscriptions_remove(&table, subscription);
            gv_subscriptions_release(&table, filter, now_ms);
            subscription = NULL;
        }
    }
    /* About as many indices as are released in a second. */
    ck_assert_uint_le(table._index_count, 2 * PER_STEP * 1000 / STEP_MS);
    close_table();
}
END_TEST

START_TEST(agrees_with_a_table_of_booleans)
{
    open_table();
    gv_rng_t rng;
    gv_rng_init(&rng, test_seed(__func__), 0);
    bool has[SESSIONS][FILTERS] = {{false}};
    for (int step = 0; step < 20000; step++) {
        int s = (int)gv_rng_below(&rng, SESSIONS);
        int f = (int)gv_rng_below(&rng, FILTERS);
        char text[16];
        (void)snprintf(text, sizeof(text), "filter/%d", f);
        gv_filter_t *filter = gv_subscriptions_find(&table, gv_bytes_text(text));
        gv_subscription_t *subscription =
            filter == NULL ? NULL : gv_subscriptions_of(filter, sessions[s]);
        ck_assert_int_eq(subscription != NULL, has[s][f]);
        if (gv_rng_chance(&rng, 50)) {
            bool is_new = false;
            (void)add(s, text, &is_new);
            ck_assert_int_eq(is_new, !has[s][f]);
            has[s][f] = true;
        } else if (subscription != NULL) {
            gv_subscriptions_remove(&table, subscription);
            has[s][f] = false;
            if (filter->count == 0) {
                gv_subscriptions_release(&table, filter, 0);
            }
        }
    }
    size_t total = 0;
    for (int s = 0; s < SESSIONS; s++) {
        uint32_t own = 0;
        for (int f = 0; f < FILTERS; f++) {
            own += has[s][f];
        }
        ck_assert_uint_eq(sessions[s]->subscription_count, own);
        total += own;
        for (gv_link_t *link; (link = gv_list_first(&sessions[s]->subscriptions)) != NULL;) {
            gv_subscriptions_remove(&table, gv_container_of(link, gv_subscription_t, link));
        }
    }
    ck_assert_uint_gt(total, 0);
    ck_assert_uint_eq(table.subscription_count, 0);
    close_table();
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("subscriptions");
    tcase_add_test(tc, a_second_subscription_to_the_same_replaces);
    tcase_add_test(tc, a_released_slot_finds_nothing);
    tcase_add_test(tc, a_slot_is_the_same_again_only_after_minutes);
    tcase_add_test(tc, agrees_with_a_table_of_booleans);
    Suite *suite = suite_create("broker/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
