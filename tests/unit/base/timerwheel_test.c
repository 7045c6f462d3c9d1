/* SPDX-License-Identifier: Apache-2.0 */
#include "base/timerwheel.h"

#include <signal.h>
#include <stdlib.h>

#include <check.h>

#include "base/rng.h"
#include "tests/unit/seed.h"

enum {
    TIMERS = 40,
    FIRED_MAX = 100
};

typedef struct probe {
    int id;
    gv_timer_t timer;
} probe_t;

static gv_timerwheel_t *wheel;
static probe_t probe[TIMERS];
static int fired[FIRED_MAX]; /* ids, in order */
static int fired_count;

static void on_probe(gv_timer_t *timer)
{
    ck_assert(!gv_timer_is_armed(timer));
    ck_assert_int_lt(fired_count, FIRED_MAX);
    fired[fired_count++] = gv_container_of(timer, probe_t, timer)->id;
}

static void setup_at(uint64_t now_ms, gv_timer_cb_t *on_expired)
{
    gv_timerwheel_new(now_ms, &wheel);
    for (int i = 0; i < TIMERS; i++) {
        probe[i].id = i;
        gv_timer_init(&probe[i].timer, on_expired);
    }
    fired_count = 0;
}

static void start(int id, uint64_t at_ms)
{
    gv_timer_start(wheel, &probe[id].timer, at_ms);
}

/* Advances; exactly these fired, in this order. */
static void assert_fires(uint64_t now_ms, const int *ids, int count)
{
    fired_count = 0;
    ck_assert_uint_eq(gv_timerwheel_advance(wheel, now_ms), (unsigned)count);
    ck_assert_int_eq(fired_count, count);
    for (int i = 0; i < count; i++) {
        ck_assert_int_eq(fired[i], ids[i]);
    }
}

START_TEST(fires_at_its_millisecond_and_not_before)
{
    static const uint64_t delays[] = {1,          63,
                                      64,         65,
                                      4095,       4096,
                                      262144,     1800000,
                                      1ULL << 30, 1ULL << 36,
                                      1ULL << 37, (1ULL << 36) + 1,
                                      UINT32_MAX, 4294967294000,
                                      1ULL << 60};
    static const uint64_t starts[] = {0, 1, 63, 1000000007, (1ULL << 36) - 1, (1ULL << 36) - 5000};
    for (size_t s = 0; s < sizeof(starts) / sizeof(starts[0]); s++) {
        for (size_t d = 0; d < sizeof(delays) / sizeof(delays[0]); d++) {
            uint64_t at = starts[s] + delays[d];
            setup_at(starts[s], on_probe);
            start(0, at);
            ck_assert(gv_timer_is_armed(&probe[0].timer));
            assert_fires(at - 1, NULL, 0);
            ck_assert_uint_eq(gv_timerwheel_next_ms(wheel, at - 1), 1);
            assert_fires(at, (int[]){0}, 1);
            ck_assert_uint_eq(gv_timerwheel_next_ms(wheel, at), UINT64_MAX);
            gv_timerwheel_free(&wheel);
        }
    }
}
END_TEST

START_TEST(the_last_moment_of_all_time_comes)
{
    setup_at(5, on_probe);
    start(0, UINT64_MAX);
    assert_fires(UINT64_MAX - 1, NULL, 0);
    assert_fires(UINT64_MAX, (int[]){0}, 1);
    gv_timerwheel_free(&wheel);
}
END_TEST

START_TEST(a_deadline_that_has_passed_fires_in_the_next_advance)
{
    setup_at(1000, on_probe);
    start(0, 1000);
    start(1, 7);
    ck_assert_int_eq(fired_count, 0);
    ck_assert_uint_eq(gv_timerwheel_next_ms(wheel, 1000), 0);
    assert_fires(1000, (int[]){0, 1}, 2);
    gv_timerwheel_free(&wheel);
}
END_TEST

START_TEST(one_late_advance_fires_in_the_order_of_deadlines)
{
    setup_at(0, on_probe);
    start(0, 100000);
    start(1, 70);
    start(2, 3);
    start(3, 69);
    start(4, 200000);
    assert_fires(150000, (int[]){2, 3, 1, 0}, 4);
    gv_timerwheel_free(&wheel);
}
END_TEST

/* The four are started from different distances, so they begin on different levels.
 */
START_TEST(same_millisecond_fires_in_the_order_of_starts)
{
    setup_at(0, on_probe);
    start(0, 300000);
    assert_fires(250000, NULL, 0);
    start(1, 300000);
    start(2, 299999);
    assert_fires(299990, NULL, 0);
    start(3, 300000);
    start(4, 300000);
    start(0, 300000); /* again: it is now the last */
    assert_fires(300001, (int[]){2, 1, 3, 4, 0}, 5);
    gv_timerwheel_free(&wheel);
}
END_TEST

START_TEST(starting_again_moves_and_stopping_stops)
{
    setup_at(0, on_probe);
    start(0, 10);
    start(0, 5000);
    start(1, 20);
    gv_timer_stop(&probe[1].timer);
    gv_timer_stop(&probe[1].timer);
    ck_assert(!gv_timer_is_armed(&probe[1].timer));
    assert_fires(4999, NULL, 0);
    assert_fires(5000, (int[]){0}, 1);
    ck_assert_uint_eq(gv_timerwheel_next_ms(wheel, 5000), UINT64_MAX);
    gv_timerwheel_free(&wheel);
}
END_TEST

/* An idle loop may sleep long, wakes a few times too early at most, and
 * never too late. */
START_TEST(next_ms_leads_to_the_deadline_in_few_steps)
{
    uint64_t now = 123456789;
    uint64_t at = now + 36 * 3600000;
    setup_at(now, on_probe);
    start(0, at);
    int steps = 0;
    while (fired_count == 0) {
        uint64_t wait = gv_timerwheel_next_ms(wheel, now);
        ck_assert_uint_gt(wait, 0);
        ck_assert_uint_le(now + wait, at);
        now += wait;
        (void)gv_timerwheel_advance(wheel, now);
        steps++;
    }
    ck_assert_uint_eq(now, at);
    ck_assert_int_le(steps, 7);
    gv_timerwheel_free(&wheel);
}
END_TEST

static void on_stop_the_next(gv_timer_t *timer)
{
    on_probe(timer);
    gv_timer_stop(&probe[fired[fired_count - 1] + 1].timer);
}

START_TEST(a_callback_may_stop_one_that_is_due_too)
{
    setup_at(0, on_stop_the_next);
    for (int i = 0; i < 6; i++) {
        start(i, 10);
    }
    assert_fires(10, (int[]){0, 2, 4}, 3);
    gv_timerwheel_free(&wheel);
}
END_TEST

static void on_start_for_now(gv_timer_t *timer)
{
    on_probe(timer);
    gv_timer_start(wheel, timer, 20);
    if (gv_timer_is_armed(&probe[2].timer)) {
        gv_timer_stop(&probe[2].timer);
        start(1, 20); /* it was due, and is moved behind */
    }
}

START_TEST(what_a_callback_starts_for_now_waits_for_the_next_advance)
{
    setup_at(0, on_start_for_now);
    start(0, 10);
    start(1, 20);
    start(2, 30);
    assert_fires(20, (int[]){0}, 1);
    ck_assert_uint_eq(gv_timerwheel_next_ms(wheel, 20), 0);
    assert_fires(20, (int[]){0, 1}, 2);
    gv_timerwheel_free(&wheel);
}
END_TEST

static void on_free(gv_timer_t *timer)
{
    fired_count++;
    free(gv_container_of(timer, probe_t, timer));
}

START_TEST(a_callback_may_free_its_object)
{
    setup_at(0, on_probe);
    for (int i = 0; i < 10; i++) {
        probe_t *object = calloc(1, sizeof(*object));
        gv_timer_init(&object->timer, on_free);
        gv_timer_start(wheel, &object->timer, (uint64_t)(10 + i / 3));
    }
    ck_assert_uint_eq(gv_timerwheel_advance(wheel, 100), 10);
    ck_assert_int_eq(fired_count, 10);
    gv_timerwheel_free(&wheel);
}
END_TEST

START_TEST(freeing_the_wheel_stops_its_timers)
{
    setup_at(50, on_probe);
    start(0, 7);
    start(1, 60);
    start(2, 1000000);
    start(3, UINT64_MAX);
    gv_timerwheel_free(&wheel);
    ck_assert_ptr_null(wheel);
    for (int i = 0; i < 4; i++) {
        ck_assert(!gv_timer_is_armed(&probe[i].timer));
        gv_timer_stop(&probe[i].timer);
    }
    gv_timerwheel_free(&wheel);
}
END_TEST

/* ---- the model: an array of deadlines
 * -----------------------------------------------------
 */

typedef struct expectation {
    bool armed;
    bool firing;    /* part of the advance that is going on
                     */
    uint64_t due;   /* the deadline, or when it was
                       started if that was later */
    uint64_t start; /* running number of the start */
} expectation_t;

static expectation_t model[TIMERS];
static gv_rng_t rng;
static uint64_t model_now;
static uint64_t starts_so_far;

static uint64_t random_delay(void)
{
    uint32_t bits = gv_rng_below(&rng, gv_rng_chance(&rng, 10) ? 45 : 20);
    return gv_rng_u64(&rng) & ((1ULL << bits) - 1);
}

static void start_or_stop_one(void)
{
    int id = (int)gv_rng_below(&rng, TIMERS);
    if (gv_rng_chance(&rng, 30)) {
        gv_timer_stop(&probe[id].timer);
        model[id].armed = false;
    } else {
        uint64_t at = model_now + random_delay();
        if (gv_rng_chance(&rng, 10)) {
            at = gv_rng_u64(&rng) % (model_now + 1);
        } else if (gv_rng_chance(&rng, 30)) {
            at = probe[gv_rng_below(&rng, TIMERS)].timer._at_ms; /* meet another one */
        }
        start(id, at);
        model[id].armed = true;
        model[id].due = at > model_now ? at : model_now;
        model[id].start = starts_so_far++;
    }
    model[id].firing = false;
    ck_assert_int_eq(gv_timer_is_armed(&probe[id].timer), model[id].armed);
}

/* The one of those that are armed (and firing, if
 * asked) that comes first, or -1. */
static int first_expected(bool only_firing)
{
    int first = -1;
    for (int i = 0; i < TIMERS; i++) {
        if (!model[i].armed || (only_firing && !model[i].firing)) {
            continue;
        }
        if (first < 0 || model[i].due < model[first].due ||
            (model[i].due == model[first].due && model[i].start < model[first].start)) {
            first = i;
        }
    }
    return first;
}

static void on_modelled(gv_timer_t *timer)
{
    int id = gv_container_of(timer, probe_t, timer)->id;
    ck_assert_int_eq(id, first_expected(true));
    model[id].armed = false;
    model[id].firing = false;
    while (gv_rng_chance(&rng, 40)) {
        start_or_stop_one();
    }
}

START_TEST(behaves_like_a_sorted_array)
{
    gv_rng_init(&rng, test_seed(__func__), 0);
    /* Half of the runs cross the horizon of the
     * highest level. */
    model_now = gv_rng_u64(&rng) & ((1ULL << 40) - 1);
    if (gv_rng_chance(&rng, 50)) {
        model_now = (model_now | ((1ULL << 36) - 1)) - gv_rng_below(&rng, 1000000);
    }
    setup_at(model_now, on_modelled);
    for (int round = 0; round < 20000; round++) {
        for (uint32_t n = gv_rng_below(&rng, 4); n > 0; n--) {
            start_or_stop_one();
        }
        int first = first_expected(false);
        uint64_t wait = gv_timerwheel_next_ms(wheel, model_now);
        if (first < 0) {
            ck_assert_uint_eq(wait, UINT64_MAX);
        } else {
            ck_assert_uint_le(wait, model[first].due - model_now);
        }
        bool as_told = first >= 0 && gv_rng_chance(&rng, 50);
        model_now += as_told ? wait : random_delay();
        for (int i = 0; i < TIMERS; i++) {
            model[i].firing = model[i].armed && model[i].due <= model_now;
        }
        (void)gv_timerwheel_advance(wheel, model_now);
        ck_assert_int_eq(first_expected(true), -1); /* nothing due was left out */
    }
    gv_timerwheel_free(&wheel);
}
END_TEST

/* ---- negative space
 * -----------------------------------------------------------------------
 */

START_TEST(time_that_goes_back_aborts)
{
    setup_at(1000, on_probe);
    (void)gv_timerwheel_advance(wheel, 999);
}
END_TEST

START_TEST(an_armed_timer_on_another_wheel_aborts)
{
    setup_at(0, on_probe);
    gv_timerwheel_t *other = NULL;
    gv_timerwheel_new(0, &other);
    start(0, 10);
    gv_timer_start(other, &probe[0].timer, 10);
}
END_TEST

START_TEST(a_timer_that_was_never_initialised_aborts)
{
    setup_at(0, on_probe);
    gv_timer_t timer = {0};
    gv_timer_start(wheel, &timer, 10);
}
END_TEST

static void on_free_the_wheel(gv_timer_t *timer)
{
    (void)timer;
    gv_timerwheel_free(&wheel);
}

START_TEST(freeing_the_wheel_in_a_callback_aborts)
{
    setup_at(0, on_free_the_wheel);
    start(0, 10);
    (void)gv_timerwheel_advance(wheel, 10);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("timerwheel");
    tcase_add_test(tc, fires_at_its_millisecond_and_not_before);
    tcase_add_test(tc, the_last_moment_of_all_time_comes);
    tcase_add_test(tc, a_deadline_that_has_passed_fires_in_the_next_advance);
    tcase_add_test(tc, one_late_advance_fires_in_the_order_of_deadlines);
    tcase_add_test(tc, same_millisecond_fires_in_the_order_of_starts);
    tcase_add_test(tc, starting_again_moves_and_stopping_stops);
    tcase_add_test(tc, next_ms_leads_to_the_deadline_in_few_steps);
    tcase_add_test(tc, a_callback_may_stop_one_that_is_due_too);
    tcase_add_test(tc, what_a_callback_starts_for_now_waits_for_the_next_advance);
    tcase_add_test(tc, a_callback_may_free_its_object);
    tcase_add_test(tc, freeing_the_wheel_stops_its_timers);
    tcase_add_test(tc, behaves_like_a_sorted_array);
    tcase_add_test_raise_signal(tc, time_that_goes_back_aborts, SIGABRT);
    tcase_add_test_raise_signal(tc, an_armed_timer_on_another_wheel_aborts, SIGABRT);
    tcase_add_test_raise_signal(tc, a_timer_that_was_never_initialised_aborts, SIGABRT);
    tcase_add_test_raise_signal(tc, freeing_the_wheel_in_a_callback_aborts, SIGABRT);

    Suite *suite = suite_create("base");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
